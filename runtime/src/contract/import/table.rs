//! A table of a running system as its connector describes it, with what its own SQL says, and a look at its rows where asked for.

use lockstep_core::connector::Definition;
use lockstep_core::contract::profile::{Guess, Profiler};
use lockstep_core::contract::{Extra, Field};
use lockstep_core::value::Type;
use lockstep_core::{Row, Shape};

use super::draft::{Asked, Draft, Record};
use super::names::Names;
use super::notes::Notes;
use super::sample::{self, Seen};
use super::{Imported, links, sound, sql};

/// Imports the shape of a table; `definition` adds what its own SQL says, and `rows` add lengths, lists of values and what stands in documents where there are any.
///
/// # Errors
/// A key that was asked for and is not there.
pub fn import(
    system: &str,
    shape: &Shape,
    definition: Option<&Definition>,
    rows: &[Row],
    asked: &Asked,
) -> Imported {
    let mut notes = Notes::unplaced(system);
    let mut record = Record::new(shape.name.rsplit('.').next().unwrap_or(&shape.name));
    record.extra = Extra::Reject;
    record.key = shape
        .key
        .iter()
        .filter_map(|i| shape.columns.get(*i))
        .map(|column| column.name.clone())
        .collect();
    let mut profiler = Profiler::new();
    for row in rows {
        profiler.row(shape, row);
    }
    let profile = profiler.finish();
    let seen = Seen::new(&profile, false);
    let mut names = Names::default();
    for column in &shape.columns {
        let name = names.give(&column.name);
        let mut field = Field::new(&name, column.kind.unwrap_or(Type::Text));
        let found = seen.of(&column.name);
        match (column.kind, found) {
            (None, _) => {
                let what = "the system fixes no type for it, so it is read as a text";
                let help = "name the type that its values have";
                notes.warn("LS-I110", &name, None, what, help);
            }
            (Some(Type::Text), Some(found)) if found.guess.kind == Guess::Text => {
                sample::texts(&mut field, &name, found, &mut notes);
            }
            (Some(Type::Json), Some(found)) => {
                seen.describe(&mut field, &name, found, &mut notes);
            }
            _ => {}
        }
        field.nullable = column.nullable;
        field.required = !column.nullable;
        record.fields.push(field);
        record.written.push(column.name.clone());
    }
    if let Some(definition) = definition {
        sql::live::enrich(definition, &mut record, &mut notes);
    }
    for field in &mut record.fields {
        let name = field.name.clone();
        sound::settle(field, &name, None, &mut notes);
    }
    let table = record.name.clone();
    let mut drafts = vec![Draft {
        table: Some(table),
        ..record.finish(asked, notes)?
    }];
    links::settle(&mut drafts, &asked.others);
    Ok(drafts)
}
