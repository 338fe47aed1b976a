//! What a configuration says about one lake: a root folder or prefix with tables in it.
//!
//! Settings are checked once, when the lake is opened; the rest of the crate trusts them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use lockstep_core::connector::Secret;
use lockstep_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::partition::Part;

/// The settings of a lake of Parquet files.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the files are: a folder, or `s3://bucket/prefix`.
    pub root: String,
    /// The address of an S3-compatible store; Amazon's of the region where absent.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The region that requests are signed for; `us-east-1` where absent.
    #[serde(default = "defaults::region")]
    pub region: String,
    /// The access key of the store.
    #[serde(default)]
    pub access_key: Option<String>,
    /// The secret that belongs to the access key.
    #[serde(default)]
    pub secret_key: Option<Secret<String>>,
    /// The token of a temporary access key.
    #[serde(default)]
    pub session_token: Option<Secret<String>>,
    /// Whether the bucket stands in the path and not in the host; yes where an `endpoint` is given or the bucket's name holds a dot.
    #[serde(default)]
    pub path_style: Option<bool>,
    /// A PEM file of authorities that are trusted beside the machine's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How tables are kept, by table; tables that are not named hold the current rows.
    #[serde(default)]
    pub tables: BTreeMap<String, Keeping>,
    /// What timestamps of new tables are counted in.
    #[serde(default)]
    pub timestamps: Unit,
    /// Digits in all of decimals in new tables whose contract states none (1 to 38).
    #[serde(default = "defaults::precision")]
    #[schemars(range(min = 1, max = 38))]
    pub decimal_precision: u32,
    /// Digits after the point of such decimals (0 to 38).
    #[serde(default = "defaults::scale")]
    #[schemars(range(min = 0, max = 38))]
    pub decimal_scale: u32,
    /// Most changes of one batch (1 to 100000), each of which is a commit: few large ones make large files.
    #[serde(default = "defaults::batch_max")]
    #[schemars(range(min = 1, max = 100_000))]
    pub batch_max: usize,
    /// Most rows of a row group (100 to 1000000).
    #[serde(default = "defaults::group_rows")]
    #[schemars(range(min = 100, max = 1_000_000))]
    pub group_rows: usize,
    /// About how many bytes a compacted file has at most (65536 to 1073741824); as much is held in memory while it is made.
    #[serde(default = "defaults::file_max")]
    #[schemars(range(min = 65_536, max = 1_073_741_824))]
    pub file_max: usize,
    /// From how many runs of files on a table is compacted (2 to 100).
    #[serde(default = "defaults::compact_at")]
    #[schemars(range(min = 2, max = 100))]
    pub compact_at: usize,
    /// After how many commits the list of files is written anew (1 to 1000).
    #[serde(default = "defaults::checkpoint_every")]
    #[schemars(range(min = 1, max = 1000))]
    pub checkpoint_every: u64,
    /// For how many minutes files and commits are kept that nobody needs any more (10 to 525600): longer than any query and any batch takes.
    #[serde(default = "defaults::keep_minutes")]
    #[schemars(range(min = 10, max = 525_600))]
    pub keep_minutes: u64,
    /// Most requests at once to a store (1 to 64).
    #[serde(default = "defaults::connections")]
    #[schemars(range(min = 1, max = 64))]
    pub connections: usize,
}

/// How one table is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keeping {
    /// `append` where each change is a row that stays; the current rows where absent.
    #[serde(default)]
    pub history: Option<History>,
    /// With `append`, what the folders of files tell: `column` or `column:year`, `:month`, `:day`, `:hour`; `_committed_at:day` where absent.
    #[serde(default)]
    pub partition: Option<Vec<String>>,
    /// With `append`, whether small files of a partition are made into larger ones; plain globs then see rows twice for a while.
    #[serde(default)]
    pub compact: bool,
}

/// What a table keeps of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum History {
    /// Events, to which rows are only ever added.
    Append,
}

/// What timestamps are counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Millionths of a second.
    #[default]
    Micros,
    /// Billionths, from 1677 to 2262.
    Nanos,
}

/// What is taken where the configuration says nothing.
mod defaults {
    pub(super) fn region() -> String {
        "us-east-1".to_owned()
    }
    pub(super) fn precision() -> u32 {
        38
    }
    pub(super) fn scale() -> u32 {
        12
    }
    pub(super) fn batch_max() -> usize {
        10_000
    }
    pub(super) fn group_rows() -> usize {
        20_000
    }
    pub(super) fn file_max() -> usize {
        64 * 1024 * 1024
    }
    pub(super) fn compact_at() -> usize {
        8
    }
    pub(super) fn checkpoint_every() -> u64 {
        10
    }
    pub(super) fn keep_minutes() -> u64 {
        24 * 60
    }
    pub(super) fn connections() -> usize {
        8
    }
}

impl Config {
    /// Checks every bound, and what contradicts itself.
    ///
    /// # Errors
    /// The first setting that cannot be meant.
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
        within("decimal_precision", self.decimal_precision.into(), 1, 38)?;
        let precision = self.decimal_precision.into();
        within("decimal_scale", self.decimal_scale.into(), 0, precision)?;
        within("batch_max", self.batch_max as u64, 1, 100_000)?;
        within("group_rows", self.group_rows as u64, 100, 1_000_000)?;
        within("file_max", self.file_max as u64, 1 << 16, 1 << 30)?;
        within("compact_at", self.compact_at as u64, 2, 100)?;
        within("checkpoint_every", self.checkpoint_every, 1, 1000)?;
        within("keep_minutes", self.keep_minutes, 10, 525_600)?;
        within("connections", self.connections as u64, 1, 64)?;
        for (table, keeping) in &self.tables {
            if keeping.history.is_none() && (keeping.compact || keeping.partition.is_some()) {
                return Err(Error::config(format!(
                    "`tables.{table}` says `partition` or `compact`, but not `history = \"append\"`"
                ))
                .help("tables of current rows are sorted by their keys and always compacted: leave both out, or say `history = \"append\"`"));
            }
            for part in keeping.partition.iter().flatten() {
                part.parse::<Part>()?;
            }
        }
        Ok(())
    }

    /// How a table is kept.
    pub(crate) fn keeping(&self, table: &str) -> Keeping {
        self.tables.get(table).cloned().unwrap_or_default()
    }

    /// How long things are kept that nobody needs.
    pub(crate) fn keep(&self) -> Duration {
        Duration::from_secs(self.keep_minutes * 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> serde_json::Result<Config> {
        serde_json::from_str(text)
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        config(r#"{"root": "lake"}"#).unwrap().check().unwrap();
        for (name, value, part) in [
            ("batch_max", "0", "1 to 100000"),
            ("decimal_scale", "39", "0 to 38"),
            ("keep_minutes", "5", "10 to 525600"),
            (
                "tables",
                r#"{"t": {"compact": true}}"#,
                "history = \"append\"",
            ),
            (
                "tables",
                r#"{"t": {"history": "append", "partition": ["a:week"]}}"#,
                "`week`",
            ),
        ] {
            let text = format!(r#"{{"root": "lake", "{name}": {value}}}"#);
            let error = config(&text).unwrap().check().unwrap_err();
            assert!(error.to_string().contains(part), "{error:?}");
        }
        assert!(config(r#"{"root": "lake", "acess_key": "x"}"#).is_err());
    }
}
