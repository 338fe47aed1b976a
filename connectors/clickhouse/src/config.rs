//! What a configuration says about one ClickHouse database.
//!
//! Settings are checked once, when a database is opened; the rest of the crate trusts them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lockstep_core::connector::Secret;
use lockstep_core::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

/// The settings of a ClickHouse system.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the server's HTTP interface is: `http://host:8123` or `https://host:8443`.
    pub url: String,
    /// The database; `default` where absent.
    #[serde(default = "defaults::database")]
    pub database: String,
    /// Who writes and reads; `default` where absent.
    #[serde(default = "defaults::user")]
    pub user: String,
    /// The user's password.
    #[serde(default)]
    pub password: Option<Secret<String>>,
    /// A PEM file of authorities that are trusted beside the machine's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The column that tells which row of a key is the newest: the argument of `ReplacingMergeTree`.
    #[serde(default = "defaults::version_column")]
    pub version_column: String,
    /// The column that is 1 in the row of a deleted record.
    #[serde(default = "defaults::deleted_column")]
    pub deleted_column: String,
    /// The columns that identify a row of a view or of another table without `ORDER BY`, by table.
    #[serde(default)]
    pub keys: BTreeMap<String, Vec<String>>,
    /// Settings that the server gets with each query, such as `insert_quorum`.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Most changes of one batch (1 to 100000): ClickHouse likes few large inserts.
    #[serde(default = "defaults::batch_max")]
    #[schemars(range(min = 1, max = 100_000))]
    pub batch_max: usize,
    /// Most bytes of one answer (1048576 to 1073741824).
    #[serde(default = "defaults::answer_max")]
    #[schemars(range(min = 1_048_576, max = 1_073_741_824))]
    pub answer_max: usize,
    /// Most requests at once (1 to 64).
    #[serde(default = "defaults::connections")]
    #[schemars(range(min = 1, max = 64))]
    pub connections: usize,
}

/// What is taken where the configuration says nothing.
mod defaults {
    pub(super) fn database() -> String {
        "default".to_owned()
    }
    pub(super) fn user() -> String {
        "default".to_owned()
    }
    pub(super) fn version_column() -> String {
        "_version".to_owned()
    }
    pub(super) fn deleted_column() -> String {
        "_deleted".to_owned()
    }
    pub(super) fn batch_max() -> usize {
        5000
    }
    pub(super) fn answer_max() -> usize {
        256 * 1024 * 1024
    }
    pub(super) fn connections() -> usize {
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
        within("batch_max", self.batch_max, 1, 100_000)?;
        within("answer_max", self.answer_max, 1 << 20, 1 << 30)?;
        within("connections", self.connections, 1, 64)?;
        if self.version_column == self.deleted_column {
            return Err(Error::config(format!(
                "`version_column` and `deleted_column` are both `{}`",
                self.version_column
            ))
            .help("name two columns of the table"));
        }
        let ours = [
            "database",
            "query",
            "wait_end_of_query",
            "param_",
            "session_id",
        ];
        for name in self.settings.keys() {
            let word = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !word || name.is_empty() || ours.iter().any(|own| name.starts_with(own)) {
                return Err(Error::config(format!("`settings` cannot hold `{name}`"))
                    .help("name settings of the server, such as `insert_quorum`"));
            }
        }
        Ok(())
    }

    /// Whether a column is one that only the warehouse has.
    pub(crate) fn is_own(&self, column: &str) -> bool {
        column == self.version_column || column == self.deleted_column
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn what_is_out_of_bounds_is_named_with_both_bounds() {
        config(r#"{"url": "http://h:8123"}"#)
            .unwrap()
            .check()
            .unwrap();
        for (name, value, part) in [
            ("batch_max", "0", "1 to 100000"),
            ("connections", "65", "1 to 64"),
            ("answer_max", "5", "1048576 to"),
            ("version_column", r#""_deleted""#, "both `_deleted`"),
            ("settings", r#"{"query": "1"}"#, "`query`"),
            ("settings", r#"{"a=b&c": "1"}"#, "`a=b&c`"),
        ] {
            let text = format!(r#"{{"url": "http://h:8123", "{name}": {value}}}"#);
            let error = config(&text).unwrap().check().unwrap_err();
            assert!(error.to_string().contains(part), "{error:?}");
        }
        assert!(config(r#"{"url": "x", "pasword": "p"}"#).is_err());
    }
}
