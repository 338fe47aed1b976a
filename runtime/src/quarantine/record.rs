//! A held record as people write it: its columns as JSON or as plain text, typed by the column.

use std::collections::BTreeMap;

use lockstep_core::contract::{Contract, wire};
use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Cell, Column, Row, Shape, Type, Value};
use serde_json::Value as Json;

use super::Entry;

/// Why a correction cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Wrong {
    /// What is wrong; never a value.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

/// The record of an entry with other values in some columns, and the columns that changed.
///
/// What could not be read at all begins as the contract says of fields that are left out.
///
/// # Errors
/// A column that the record does not have, or nothing to correct.
pub fn corrected(
    entry: &Entry,
    contract: Option<&Contract>,
    values: BTreeMap<String, Value>,
) -> Result<(Row, Vec<String>), Wrong> {
    let shape = &entry.held.shape;
    let mut row = entry.row().clone();
    row.0.resize(shape.columns.len(), Cell::Unchanged);
    if entry.held.raw.is_some() {
        let fields = contract.map_or(&[][..], |contract| contract.fields.as_slice());
        for (cell, field) in row.0.iter_mut().zip(fields) {
            match &field.default {
                _ if field.required => {}
                Some(default) => *cell = Cell::Set(default.clone()),
                None if field.nullable => *cell = Cell::Set(Value::Null),
                None => {}
            }
        }
    }
    let mut columns = Vec::new();
    for (name, value) in values {
        let at = column(shape, &name)?;
        if row.0[at].value() != Some(&value) {
            row.0[at] = Cell::Set(value);
            columns.push(name);
        }
    }
    if columns.is_empty() {
        return Err(Wrong {
            message: "the correction changes nothing".to_owned(),
            help: "name a column and its value: `--set column=value`".to_owned(),
        });
    }
    Ok((row, columns))
}

/// The position of a column.
///
/// # Errors
/// The record has none of that name.
pub(super) fn column(shape: &Shape, name: &str) -> Result<usize, Wrong> {
    shape.position(name).ok_or_else(|| Wrong {
        message: format!("the record has no column `{name}`"),
        help: suggestion(name, shape.names().collect::<Vec<_>>()),
    })
}

/// A value as somebody wrote it on a command line, read as its column's type.
///
/// # Errors
/// No such column, or a text that is not of its type.
pub fn read_value(entry: &Entry, name: &str, text: &str) -> Result<Value, Wrong> {
    let shape = &entry.held.shape;
    let at = column(shape, name)?;
    let column = &shape.columns[at];
    let Some(kind) = kind(entry, at) else {
        return Ok(Value::text(text));
    };
    let quoted = || Json::String(text.to_owned());
    let json = match kind {
        Type::Bool | Type::Int | Type::Float | Type::Json => serde_json::from_str(text).ok(),
        _ => Some(quoted()),
    };
    let value = json.and_then(|json| wire::from_json(kind, &json));
    value
        .filter(|value| !value.is_null() || kind == Type::Json)
        .ok_or_else(|| unfit(column, kind))
}

/// The type of a column: as declared, or as of the value that stands there.
fn kind(entry: &Entry, at: usize) -> Option<Type> {
    let declared = entry.held.shape.columns[at].kind;
    declared.or_else(|| {
        Some(match entry.row().value(at)? {
            Value::Bool(_) => Type::Bool,
            Value::Int(_) => Type::Int,
            Value::Decimal(_) => Type::DECIMAL,
            Value::Float(_) => Type::Float,
            Value::Bytes(_) => Type::Bytes,
            Value::Date(_) => Type::Date,
            Value::Time(_) => Type::Time,
            Value::Timestamp(_) => Type::Timestamp,
            Value::Uuid(_) => Type::Uuid,
            Value::Json(_) => Type::Json,
            Value::Text(_) | Value::Null => return None,
        })
    })
}

fn unfit(column: &Column, kind: Type) -> Wrong {
    let form = match kind {
        Type::Bool => "`true` or `false`",
        Type::Int => "a whole number",
        Type::Decimal { .. } => "a decimal such as `12.50`",
        Type::Float => "a number",
        Type::Text => "a text",
        Type::Bytes => "base64",
        Type::Date => "a date such as `2026-01-31`",
        Type::Time => "a time such as `13:45:00`",
        Type::Timestamp => "a time with its zone such as `2026-01-31T13:45:00Z`",
        Type::Uuid => "a UUID",
        Type::Json => "a JSON document",
    };
    Wrong {
        message: format!(
            "the value of `{}` is not of its type, {}",
            column.name,
            kind.name()
        ),
        help: format!("write {form}; `--null {}` makes it null", column.name),
    }
}

/// The columns of a JSON object, typed.
///
/// # Errors
/// A column that the record does not have, or a value that is not of its column's form.
pub fn from_json(
    entry: &Entry,
    object: &serde_json::Map<String, Json>,
) -> Result<BTreeMap<String, Value>, Wrong> {
    let mut values = BTreeMap::new();
    for (name, json) in object {
        let at = column(&entry.held.shape, name)?;
        let value = match (kind(entry, at), json) {
            (_, Json::Null) => Some(Value::Null),
            (Some(kind), json) => wire::from_json(kind, json),
            // A system that does not fix types takes what stands there.
            (None, Json::String(text)) => Some(Value::text(text)),
            (None, Json::Bool(flag)) => Some(Value::Bool(*flag)),
            (None, Json::Number(number)) => Some(match number.as_i64() {
                Some(whole) => Value::Int(whole),
                None => Value::Float(number.as_f64().unwrap_or_default()),
            }),
            (None, Json::Array(_) | Json::Object(_)) => Some(Value::Json(json.to_string().into())),
        };
        let column = &entry.held.shape.columns[at];
        let value = value.ok_or_else(|| unfit(column, column.kind.unwrap_or(Type::Text)))?;
        values.insert(name.clone(), value);
    }
    Ok(values)
}

/// The columns of an entry that may be shown, as JSON that [`from_json`] reads back.
pub fn to_json(
    entry: &Entry,
    row: &Row,
    shows: impl Fn(&str) -> bool,
) -> serde_json::Map<String, Json> {
    let columns = entry.held.shape.columns.iter().zip(&row.0);
    columns
        .filter(|(column, _)| shows(&column.name))
        .filter_map(|(column, cell)| Some((column.name.clone(), wire::to_json(cell.value()?))))
        .collect()
}

#[cfg(test)]
mod tests {
    use lockstep_core::position::Mark;
    use lockstep_core::{Change, Op};
    use proptest::prelude::*;

    use super::*;
    use crate::quarantine::{Held, Stage, Stopped};

    fn entry() -> Entry {
        let columns = vec![
            Column::new("no", Type::Text, false),
            Column::new("cents", Type::Int, true),
            Column::new("price", Type::DECIMAL, true),
            Column::new("since", Type::Date, true),
            Column {
                name: "any".into(),
                kind: None,
                nullable: true,
                length: None,
                list: false,
            },
        ];
        let change = Change {
            shape: std::sync::Arc::new(Shape {
                name: "t".into(),
                columns,
                key: vec![0],
            }),
            op: Op::Updated,
            row: Row::of([
                Value::text("A"),
                Value::Int(5),
                Value::Decimal("1.50".parse().unwrap()),
                Value::Null,
                Value::Int(7),
            ]),
            before: None,
            mark: Mark::default(),
            committed_at: jiff::Timestamp::UNIX_EPOCH,
            origin: None,
        };
        let stopped = Stopped {
            stage: Stage::Gate,
            system: "crm",
            flow: None,
            entity: "thing",
            key: "A".into(),
            contract: "1.0.0".into(),
        };
        Entry::open("e".into(), stopped, Held::of(&change, "i/1"), Vec::new())
    }

    #[test]
    fn a_value_is_read_as_its_columns_type_and_what_is_wrong_teaches() {
        let entry = entry();
        let read = |name, text| read_value(&entry, name, text);
        assert_eq!(read("cents", "12"), Ok(Value::Int(12)));
        assert_eq!(read("no", "12"), Ok(Value::text("12")));
        assert_eq!(read("any", "8"), Ok(Value::Int(8)));
        let wrong = read("cents", "four").unwrap_err();
        assert!(wrong.help.contains("a whole number"), "{wrong:?}");
        assert!(!wrong.message.contains("four"), "values are never shown");
        assert!(read("cents", "null").is_err());
        let wrong = read("cent", "1").unwrap_err();
        assert_eq!(wrong.help, "did you mean `cents`?");
        assert!(read("since", "31.1.2026").is_err());
    }

    #[test]
    fn a_correction_names_what_it_changes_and_leaves_the_rest() {
        let entry = entry();
        let values = BTreeMap::from([
            ("cents".to_owned(), Value::Int(5)),
            (
                "since".to_owned(),
                Value::Date("2026-01-31".parse().unwrap()),
            ),
        ]);
        let (row, columns) = corrected(&entry, None, values).unwrap();
        assert_eq!(columns, ["since"]);
        assert_eq!(row.value(0), Some(&Value::text("A")));
        assert!(corrected(&entry, None, BTreeMap::new()).is_err());
    }

    proptest! {
        #[test]
        fn what_is_exported_reads_back_the_same(cents in any::<i64>(), text in ".*") {
            let mut entry = entry();
            entry.held.row.0[0] = Cell::Set(Value::Text(text));
            entry.held.row.0[1] = Cell::Set(Value::Int(cents));
            let object = to_json(&entry, entry.row(), |_| true);
            let back = from_json(&entry, &object).unwrap();
            for (at, name) in entry.held.shape.names().enumerate() {
                prop_assert_eq!(Some(&back[name]), entry.held.row.value(at));
            }
        }
    }
}
