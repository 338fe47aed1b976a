//! A table of a running system as its connector describes it, with a look at its rows where asked for.

use lockstep_core::contract::{Extra, Field, wire};
use lockstep_core::value::Type;
use lockstep_core::{Row, Shape};

use super::draft::{Asked, Record};
use super::names::Names;
use super::notes::Notes;
use super::sample::Seen;
use super::{Imported, sound};

/// Imports the shape of a table; `rows` add lengths and lists of values where there are any.
///
/// # Errors
/// A key that was asked for and is not there.
pub fn import(system: &str, shape: &Shape, rows: &[Row], asked: &Asked) -> Imported {
    let mut notes = Notes::new(system, "");
    let mut record = Record::new(shape.name.rsplit('.').next().unwrap_or(&shape.name));
    record.extra = Extra::Reject;
    record.key = shape
        .key
        .iter()
        .filter_map(|i| shape.columns.get(*i))
        .map(|column| column.name.clone())
        .collect();
    let mut names = Names::default();
    for (i, column) in shape.columns.iter().enumerate() {
        let name = names.give(&column.name);
        let mut field = Field::new(&name, column.kind.unwrap_or(Type::Text));
        field.nullable = column.nullable;
        field.required = !column.nullable;
        if column.kind.is_none() {
            let what = "the system fixes no type for it, so it is read as a text";
            notes.warn(
                "LS-I110",
                &name,
                None,
                what,
                "name the type that its values have",
            );
        }
        if column.kind == Some(Type::Text)
            && !rows.is_empty()
            && !super::draft::reads_personal(&name)
        {
            let mut seen = Seen::default();
            for value in rows.iter().filter_map(|row| row.value(i)) {
                seen.add(&wire::to_json(value), 0);
            }
            seen.listed(&mut field, rows.len() as u64, &name, &mut notes);
        }
        sound::settle(&mut field, &name, None, &mut notes);
        record.fields.push(field);
        record.written.push(column.name.clone());
    }
    Ok(vec![record.finish(asked, notes)?])
}
