//! What a configuration says about one SQLite file.
//!
//! Settings are checked once, when a file is opened; the rest of the crate trusts them.

use std::path::PathBuf;
use std::time::Duration;

use lockstep_core::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

/// The settings of a SQLite system.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The database file, which must exist; a relative path starts at the configuration's folder.
    pub path: PathBuf,
    /// How long to wait for another program's lock before the attempt counts as failed, in milliseconds (0 to 600000).
    #[serde(default = "defaults::busy_timeout_ms")]
    #[schemars(range(max = 600_000))]
    pub busy_timeout_ms: u64,
    /// How often to look for new changes while there are some, in milliseconds (1 to 1000); a quiet file is looked at less often, down to every 50 ms.
    #[serde(default = "defaults::poll_ms")]
    #[schemars(range(min = 1, max = 1000))]
    pub poll_ms: u64,
    /// Most rows that one step of a snapshot reads (1 to 100000); a step is one short read transaction.
    #[serde(default = "defaults::chunk_rows")]
    #[schemars(range(min = 1, max = 100_000))]
    pub chunk_rows: usize,
    /// Most changes that the source emits, or the sink takes, in one batch (1 to 100000).
    #[serde(default = "defaults::batch_max")]
    #[schemars(range(min = 1, max = 100_000))]
    pub batch_max: usize,
    /// Most bytes of values that the source emits in one batch (1024 to 268435456); one larger row still travels, alone.
    #[serde(default = "defaults::batch_bytes")]
    #[schemars(range(min = 1024, max = 268_435_456))]
    pub batch_bytes: usize,
}

/// What is taken where the configuration says nothing.
mod defaults {
    pub(super) fn busy_timeout_ms() -> u64 {
        5000
    }
    pub(super) fn poll_ms() -> u64 {
        5
    }
    pub(super) fn chunk_rows() -> usize {
        1000
    }
    pub(super) fn batch_max() -> usize {
        1000
    }
    pub(super) fn batch_bytes() -> usize {
        4 * 1024 * 1024
    }
}

impl Config {
    /// Checks every bound.
    ///
    /// # Errors
    /// The first setting outside its bounds, with both of them.
    pub(crate) fn check(&self) -> Result<()> {
        let within = |name: &str, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(Error::config(format!(
                "`{name} = {value}` is out of bounds: it must be {low} to {high}"
            ))
            .help(format!("leave `{name}` out to get the default")))
        };
        within("busy_timeout_ms", self.busy_timeout_ms, 0, 600_000)?;
        within("poll_ms", self.poll_ms, 1, 1000)?;
        within("chunk_rows", self.chunk_rows as u64, 1, 100_000)?;
        within("batch_max", self.batch_max as u64, 1, 100_000)?;
        within("batch_bytes", self.batch_bytes as u64, 1024, 268_435_456)
    }

    pub(crate) fn busy_timeout(&self) -> Duration {
        Duration::from_millis(self.busy_timeout_ms)
    }

    pub(crate) fn poll(&self) -> Duration {
        Duration::from_millis(self.poll_ms)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(value: serde_json::Value) -> Result<Config, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn a_path_is_enough() {
        let config = parse(json!({ "path": "crm.db" })).unwrap();
        assert_eq!(config.poll_ms, 5);
        assert!(config.check().is_ok());
    }

    #[test]
    fn unknown_settings_are_refused_by_name() {
        let error = parse(json!({ "path": "crm.db", "pol_ms": 5 })).unwrap_err();
        assert!(
            error.contains("pol_ms") && error.contains("poll_ms"),
            "{error}"
        );
    }

    #[test]
    fn bounds_are_named() {
        let config = parse(json!({ "path": "crm.db", "poll_ms": 0 })).unwrap();
        let error = config.check().unwrap_err().to_string();
        assert_eq!(
            error,
            "`poll_ms = 0` is out of bounds: it must be 1 to 1000"
        );
    }
}
