//! How each entity stands in each system: the oracle's own translation, in plain Rust.
//!
//! It says the same as `lockstep.toml`, but shares neither code nor text with it, so that a mapping engine that translates wrongly is caught.
//! [`Table::to_row`] goes from a record to a system's columns, [`Table::to_record`] back; [`Table::project`] is the part of a record that a table can hold.
//! This module knows no files and no SQL.

use serde_json::Value;

use crate::decimal;
use crate::record::{Entity, Record, plain, text};

/// A row of a system, by column name, as SQLite would give it in JSON.
pub type Raw = serde_json::Map<String, Value>;

/// How one entity stands in one system.
#[derive(Debug)]
pub struct Table {
    /// The system.
    pub system: &'static str,
    /// The entity.
    pub entity: Entity,
    /// The table.
    pub name: &'static str,
    /// Its columns.
    pub columns: &'static [Column],
    /// A column and the value it must have for a row to be of the entity.
    pub only: Option<(&'static str, &'static str)>,
}

/// Where a contract field stands.
#[derive(Debug)]
pub struct Column {
    /// The column.
    pub name: &'static str,
    /// The contract's field.
    pub field: &'static str,
    /// The translation between them.
    pub how: How,
}

/// A translation between a column and a field.
#[derive(Debug)]
pub enum How {
    /// Text, or null, as it is.
    Text,
    /// An integer as it is.
    Int,
    /// A boolean as 0 or 1, or as a boolean.
    Bool,
    /// A boolean as its opposite.
    Not,
    /// A decimal as plain text, or as a number in a column that makes numbers of all it can.
    Decimal,
    /// A decimal as a count of units of 10^-n.
    Units(u32),
    /// A date as `2017-12-30`.
    Date,
    /// A date as `30.12.2017`.
    DayFirst,
    /// An instant in UTC.
    Instant,
    /// Text behind a prefix.
    Prefix(&'static str),
    /// The system's code for the contract's value.
    Codes(&'static [(&'static str, &'static str)]),
    /// The first word of a name.
    FirstName,
    /// The rest of a name; stands after the first in the list of columns.
    LastName,
    /// Computed from the record on the way in, never a field.
    Computed(fn(&Record) -> String),
}

/// Every table of every system.
#[must_use]
pub fn tables() -> &'static [Table] {
    crate::tables::TABLES
}

/// How an entity stands in a system.
#[must_use]
pub fn table(system: &str, entity: Entity) -> Option<&'static Table> {
    tables()
        .iter()
        .find(|table| table.system == system && table.entity == entity)
}

/// How an entity stands in the system that owns it.
#[must_use]
pub fn source(entity: Entity) -> &'static Table {
    #[expect(
        clippy::expect_used,
        reason = "a test walks over every entity, so a missing table cannot ship"
    )]
    table(entity.owner(), entity).expect("every entity has a table in the system that owns it")
}

impl Table {
    /// The columns that identify a record, in contract order.
    #[must_use]
    pub fn key_columns(&self) -> Vec<&'static str> {
        let fields = self.entity.key_fields().iter();
        fields
            .filter_map(|field| self.columns.iter().find(|column| column.field == *field))
            .map(|column| column.name)
            .collect()
    }

    /// The row that holds a record.
    #[must_use]
    pub fn to_row(&self, record: &Record) -> Raw {
        let mut row = Raw::new();
        if let Some((column, value)) = self.only {
            row.insert(column.to_owned(), Value::from(value));
        }
        for column in self.columns {
            let value = record.get(column.field).unwrap_or(&Value::Null);
            row.insert(column.name.to_owned(), column.how.write(value, record));
        }
        row
    }

    /// The record that a row holds, or `None` where the row is not of the entity.
    ///
    /// # Errors
    /// A column whose value cannot be translated, with both named.
    pub fn to_record(&self, row: &Raw) -> Result<Option<Record>, String> {
        if let Some((column, value)) = self.only
            && row.get(column).and_then(Value::as_str) != Some(value)
        {
            return Ok(None);
        }
        let mut record = Record::new();
        for column in self.columns {
            let raw = row.get(column.name).unwrap_or(&Value::Null);
            let value = column.how.read(raw).ok_or_else(|| {
                format!(
                    "`{}` in {}.{}.{} is not a {:?}",
                    plain(raw),
                    self.system,
                    self.name,
                    column.name,
                    column.how
                )
            })?;
            match column.how {
                How::LastName => join_name(&mut record, column.field, &value),
                _ => {
                    record.insert(column.field.to_owned(), value);
                }
            }
        }
        Ok(Some(record))
    }

    /// The part of a record that the table holds, computed columns included.
    #[must_use]
    pub fn project(&self, record: &Record) -> Record {
        let columns = self.columns.iter();
        columns
            .map(|column| {
                let value = match &column.how {
                    How::Computed(compute) => Value::from(compute(record)),
                    _ => record.get(column.field).cloned().unwrap_or(Value::Null),
                };
                (column.field.to_owned(), value)
            })
            .collect()
    }
}

impl How {
    fn write(&self, value: &Value, record: &Record) -> Value {
        let units = |scale| decimal::to_units(value.as_str()?, scale).map(Value::from);
        match self {
            How::Computed(compute) => Value::from(compute(record)),
            _ if value.is_null() => Value::Null,
            How::Text | How::Int | How::Decimal | How::Date | How::Instant => value.clone(),
            How::Bool => Value::from(i64::from(value.as_bool() == Some(true))),
            How::Not => Value::from(i64::from(value.as_bool() != Some(true))),
            How::Units(scale) => units(*scale).unwrap_or(Value::Null),
            How::DayFirst => {
                Value::from(turn(&plain(value), '-', '.').unwrap_or_else(|| plain(value)))
            }
            How::Prefix(prefix) => Value::from(format!("{prefix}{}", plain(value))),
            How::Codes(codes) => {
                let code = codes
                    .iter()
                    .find(|(_, meaning)| Some(*meaning) == value.as_str());
                code.map_or_else(|| value.clone(), |(code, _)| Value::from(*code))
            }
            How::FirstName => Value::from(split_name(&plain(value)).0),
            How::LastName => Value::from(split_name(&plain(value)).1),
        }
    }

    fn read(&self, raw: &Value) -> Option<Value> {
        if raw.is_null() {
            return Some(Value::Null);
        }
        let text = raw.as_str();
        Some(match self {
            How::Text | How::FirstName | How::LastName | How::Computed(_) => Value::from(text?),
            How::Int => Value::from(raw.as_i64()?),
            How::Bool => Value::from(zero_or_one(raw)?),
            How::Not => Value::from(!zero_or_one(raw)?),
            // A column of numeric affinity gives a number, whose shortest text is the decimal that was meant.
            How::Decimal => {
                let plain = text.map_or_else(|| raw.to_string(), str::to_owned);
                Value::from(decimal::from_units(decimal::to_units(&plain, 6)?, 6))
            }
            How::Units(scale) => Value::from(decimal::from_units(raw.as_i64()?, *scale)),
            How::Date => Value::from(iso_date(text?)?),
            How::DayFirst => Value::from(iso_date(&turn(text?, '.', '-')?)?),
            How::Instant => Value::from(instant(text?)?),
            How::Prefix(prefix) => Value::from(text?.strip_prefix(prefix)?),
            How::Codes(codes) => {
                let (_, meaning) = codes.iter().find(|(code, _)| Some(*code) == text)?;
                Value::from(*meaning)
            }
        })
    }
}

fn zero_or_one(raw: &Value) -> Option<bool> {
    match raw {
        Value::Bool(value) => Some(*value),
        _ => match raw.as_i64()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        },
    }
}

fn split_name(name: &str) -> (&str, &str) {
    name.split_once(' ').unwrap_or((name, ""))
}

fn join_name(record: &mut Record, field: &str, last: &Value) {
    let last = plain(last);
    if !last.is_empty() {
        let whole = format!("{} {last}", text(record, field));
        record.insert(field.to_owned(), Value::from(whole));
    }
}

/// Turns the three parts of a date around: `2017-12-30` and `30.12.2017`.
fn turn(date: &str, from: char, to: char) -> Option<String> {
    let parts: Vec<&str> = date.split(from).collect();
    match parts[..] {
        [a, b, c] => Some(format!("{c}{to}{b}{to}{a}")),
        _ => None,
    }
}

fn iso_date(text: &str) -> Option<String> {
    let date: jiff::civil::Date = (text.len() == 10).then(|| text.parse().ok()).flatten()?;
    Some(date.to_string())
}

/// An instant in UTC to the second; SQLite's own form without a zone counts as UTC.
fn instant(text: &str) -> Option<String> {
    let zoned = if text.ends_with('Z') || text.get(10..)?.contains('+') {
        text.to_owned()
    } else {
        format!("{text}Z")
    };
    let instant: jiff::Timestamp = zoned.parse().ok()?;
    Some(instant.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::record::record;

    #[test]
    fn every_entity_has_a_source_and_all_its_targets() {
        for entity in Entity::ALL {
            assert!(!source(entity).key_columns().is_empty());
            for target in entity.targets() {
                let table = table(target, entity).unwrap();
                assert_eq!(
                    table.key_columns().len(),
                    entity.key_fields().len(),
                    "{target}"
                );
            }
        }
    }

    #[test]
    fn billing_speaks_cents_days_first_and_codes() {
        let invoice = record([
            ("id", json!("R1")),
            ("order_id", json!("O1")),
            ("customer_id", json!("C1")),
            ("issued_on", json!("2017-01-02")),
            ("due_on", json!("2017-02-01")),
            ("amount", json!("12.5")),
            ("status", json!("paid")),
        ]);
        let table = source(Entity::Invoice);
        let row = table.to_row(&invoice);
        assert_eq!(row["issued_on"], json!("02.01.2017"));
        assert_eq!(row["amount_cents"], json!(1250));
        assert_eq!(row["status"], json!("PAID"));
        assert_eq!(table.to_record(&row).unwrap().unwrap(), invoice);
    }

    #[test]
    fn names_of_any_length_survive() {
        let table = source(Entity::Customer);
        for name in ["Sue Ann Reed", "Corey-Lock", "Claire Gute"] {
            let row = table.to_row(&record([("name", json!(name)), ("active", json!(true))]));
            let back = table.to_record(&row).unwrap().unwrap();
            assert_eq!(back["name"], json!(name));
        }
    }

    #[test]
    fn rows_that_are_not_of_the_entity_are_left_out() {
        let table = source(Entity::Customer);
        let mut row = table.to_row(&record([("name", json!("A B"))]));
        row.insert("stage".into(), json!("prospect"));
        assert_eq!(table.to_record(&row), Ok(None));
    }

    #[test]
    fn what_cannot_be_translated_is_named() {
        let table = source(Entity::Invoice);
        for (column, value) in [
            ("issued_on", json!("31.02.2017")),
            ("issued_on", json!("2017-01-02")),
            ("status", json!("LOST")),
            ("amount_cents", json!("12.50")),
        ] {
            let mut row = table.to_row(&record([]));
            row.insert(column.into(), value);
            let error = table.to_record(&row).unwrap_err();
            assert!(error.contains(column), "{error}");
        }
        assert_eq!(
            instant("2017-01-02 10:11:12").unwrap(),
            "2017-01-02T10:11:12Z"
        );
        assert_eq!(
            instant("2017-01-02T10:11:12+00:00").unwrap(),
            "2017-01-02T10:11:12Z"
        );
        assert_eq!(instant("soon"), None);
    }
}
