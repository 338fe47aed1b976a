//! What a configuration says about one MongoDB database.
//!
//! Settings are checked once, when a database is opened; the rest of the crate trusts them.

use std::collections::BTreeMap;

use lockstep_core::connector::Secret;
use lockstep_core::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::convert::Form;

/// The settings of a MongoDB system.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the database is: `mongodb://user[:password]@host[:port][,host…]/database?replicaSet=rs0&sslmode=verify-full`; beside MongoDB's own parameters there are `sslmode`, `sslrootcert` and `sslcert`.
    pub url: Secret<String>,
    /// The password, where it does not stand in the `url`.
    #[serde(default)]
    pub password: Option<Secret<String>>,
    /// The columns of collections that neither a validator nor their documents describe: by collection, then by column (`address.city` for a field within), its type.
    #[serde(default)]
    pub columns: BTreeMap<String, BTreeMap<String, ColumnType>>,
    /// What the source reads beside the changes: `initial` (everything, once), `never`, or `always` (everything, at each start).
    #[serde(default)]
    pub snapshot: Snapshot,
    /// Where a source without a position begins its changes: an RFC 3339 time, or the `_data` of a resume token; now where absent.
    #[serde(default)]
    pub start_at: Option<String>,
    /// What the source does when the server has forgotten the changes that come next: `fail`, or `resnapshot`, which reads everything again.
    #[serde(default)]
    pub on_lost: OnLost,
    /// Most documents of a collection that are looked at to find its columns, half of them at each end (2 to 100000).
    #[serde(default = "defaults::sample")]
    #[schemars(range(min = 2, max = 100_000))]
    pub sample: usize,
    /// Most documents that one step of a snapshot reads (1 to 100000).
    #[serde(default = "defaults::snapshot_rows")]
    #[schemars(range(min = 1, max = 100_000))]
    pub snapshot_rows: usize,
    /// Most changes that the source emits, or the sink takes, in one batch (1 to 100000).
    #[serde(default = "defaults::batch_max")]
    #[schemars(range(min = 1, max = 100_000))]
    pub batch_max: usize,
    /// Most bytes of documents that the source emits in one batch (1024 to 268435456); one larger document still travels, alone.
    #[serde(default = "defaults::batch_bytes")]
    #[schemars(range(min = 1024, max = 268_435_456))]
    pub batch_bytes: usize,
    /// Most connections to each server that a source, sink or reader holds at once (1 to 64).
    #[serde(default = "defaults::connections")]
    #[schemars(range(min = 1, max = 64))]
    pub connections: u32,
}

/// What a source reads beside the changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Snapshot {
    /// Everything that is there, once; tables that are added later, when they are.
    #[default]
    Initial,
    /// Nothing.
    Never,
    /// Everything that is there, at each start.
    Always,
}

/// What a source does when the changes that come next are forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnLost {
    /// Ends with an error that says so.
    #[default]
    Fail,
    /// Begins another life with a snapshot.
    Resnapshot,
}

/// The type of a column, as a configuration says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// True or false.
    Bool,
    /// A whole number.
    Int,
    /// An exact number of at most 34 digits (Decimal128).
    Decimal,
    /// A double.
    Float,
    /// A string.
    Text,
    /// An ObjectId, as its 24 hexadecimal digits.
    ObjectId,
    /// Binary data.
    Bytes,
    /// A UUID (binary data of subtype 4).
    Uuid,
    /// A day: the date of its midnight in UTC.
    Date,
    /// A time of day, as a string.
    Time,
    /// An instant in milliseconds.
    Timestamp,
    /// A document, a list, or anything else as JSON.
    Json,
}

/// What is taken where the configuration says nothing.
mod defaults {
    pub(super) fn sample() -> usize {
        200
    }
    pub(super) fn snapshot_rows() -> usize {
        2000
    }
    pub(super) fn batch_max() -> usize {
        1000
    }
    pub(super) fn batch_bytes() -> usize {
        4 * 1024 * 1024
    }
    pub(super) fn connections() -> u32 {
        4
    }
}

impl Config {
    /// Checks every bound.
    ///
    /// # Errors
    /// The first setting outside its bounds, with both of them.
    pub(crate) fn check(&self) -> Result<()> {
        let within = |name: &str, value: usize, low: usize, high: usize| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(Error::config(format!(
                "`{name} = {value}` is out of bounds: it must be {low} to {high}"
            ))
            .help(format!("leave `{name}` out to get the default")))
        };
        within("sample", self.sample, 2, 100_000)?;
        within("snapshot_rows", self.snapshot_rows, 1, 100_000)?;
        within("batch_max", self.batch_max, 1, 100_000)?;
        within("batch_bytes", self.batch_bytes, 1024, 268_435_456)?;
        within("connections", self.connections as usize, 1, 64)?;
        for (collection, columns) in &self.columns {
            if let Some(name) = columns.keys().find(|name| !is_path(name)) {
                return Err(Error::config(format!(
                    "`columns.{collection}` names a column `{name}`, which no path leads to"
                ))
                .help("a column is a field's name, or names with dots between them; no name is empty or begins with `$`"));
            }
        }
        Ok(())
    }
}

/// Whether a column's name leads to a field: names with dots between them, none of them empty or beginning with `$`.
pub(crate) fn is_path(name: &str) -> bool {
    !name.contains('\0')
        && name
            .split('.')
            .all(|part| !part.is_empty() && !part.starts_with('$'))
}

impl From<ColumnType> for Form {
    fn from(kind: ColumnType) -> Form {
        match kind {
            ColumnType::Bool => Form::Bool,
            ColumnType::Int => Form::Int { narrow: false },
            ColumnType::Decimal => Form::Decimal,
            ColumnType::Float => Form::Float,
            ColumnType::Text => Form::Text,
            ColumnType::ObjectId => Form::ObjectId,
            ColumnType::Bytes => Form::Bytes,
            ColumnType::Uuid => Form::Uuid,
            ColumnType::Date => Form::Date,
            ColumnType::Time => Form::Time,
            ColumnType::Timestamp => Form::Timestamp,
            ColumnType::Json => Form::Json,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn defaults_are_within_their_bounds() {
        let config = config(r#"{"url": "mongodb://h/db"}"#).unwrap();
        config.check().unwrap();
        assert_eq!(config.snapshot, Snapshot::Initial);
        assert_eq!(config.on_lost, OnLost::Fail);
    }

    #[test]
    fn what_is_out_of_bounds_is_named_with_both_bounds() {
        for (name, value, part) in [
            ("batch_max", "0", "1 to 100000"),
            ("sample", "1", "2 to 100000"),
            ("connections", "65", "1 to 64"),
            ("columns", r#"{"c": {"a..b": "int"}}"#, "`a..b`"),
            ("columns", r#"{"c": {"$a": "int"}}"#, "`$a`"),
        ] {
            let text = format!(r#"{{"url": "mongodb://h/db", "{name}": {value}}}"#);
            let error = config(&text).unwrap().check().unwrap_err();
            assert!(error.to_string().contains(part), "{error:?}");
        }
        assert!(config(r#"{"url": "x", "colums": {}}"#).is_err());
    }
}
