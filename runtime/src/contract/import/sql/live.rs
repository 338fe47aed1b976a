//! What a table of a running system says in its own SQL beside its shape: comments, lengths, lists of values, checks, references.
//!
//! Types, key and what may be null are the shape's: it says what records will hold, but for columns that the database computes.

use lockstep_core::connector::Definition;
use lockstep_core::contract::{Field, Limits};
use lockstep_core::value::Type;
use sqlparser::ast::TableConstraint;

use super::super::draft::Record;
use super::super::notes::Notes;
use super::{is_computed, known, left_out, script};

/// Adds to the fields of a record, whose types are known, what the definition of its table says.
pub(in super::super) fn enrich(
    definition: &Definition,
    record: &mut Record,
    notes: &mut Notes<'_>,
) {
    let Some(dialect) = known(definition.dialect) else {
        return;
    };
    // What cannot be read of a type says nothing new: the shape has it.
    let mut quiet = notes.fresh();
    let (mut script, _) = script::read(&definition.sql, dialect.as_ref(), &mut quiet);
    script.dialect = definition.dialect.to_owned();
    let Some(at) = script
        .tables
        .iter()
        .position(|table| !table.columns.is_empty())
    else {
        return;
    };
    // Offsets are those of a text that nobody wrote.
    script.tables[at].at = None;
    let table = &script.tables[at];
    record.description.clone_from(&table.comment);
    for column in &table.columns {
        let named = |written: &String| written.eq_ignore_ascii_case(&column.name.value);
        let Some(at) = record.written.iter().position(named) else {
            continue;
        };
        if is_computed(column) && !record.key.contains(&record.written[at]) {
            // Sources do not tell it, and no target of the same form can be written there.
            record.fields.remove(at);
            let name = record.written.remove(at);
            left_out(&name, None, notes);
            continue;
        }
        let field = &mut record.fields[at];
        let (required, nullable) = (field.required, field.nullable);
        let mut declared = Field::new(&field.name, Type::Text);
        script.kind(&mut declared, &column.data_type, None, &mut quiet);
        if declared.kind == field.kind {
            if declared.limits != Limits::default() {
                field.limits = declared.limits;
            }
            field.allowed = declared.allowed.or(field.allowed.take());
        }
        table.options(field, column, &mut Vec::new(), notes);
        (field.required, field.nullable) = (required, nullable);
    }
    let key = record.key.clone();
    for constraint in &table.constraints {
        if !matches!(constraint, TableConstraint::PrimaryKey { .. }) {
            table.constraint(constraint, record, notes);
        }
    }
    record.key = key;
}
