//! What a lake holds: tables with their files, and how far each lane of each flow got; and the commits that change it. Pure.
//!
//! A state is what all commits up to its version make, so whoever reads the same commits has the same state.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lockstep_core::connector::{Batch, LaneProgress};
use lockstep_core::{Column, Error, Kind, Result, Shape, Value};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::{History, Unit};
use crate::partition::Part;

/// The format of commits and checkpoints; another one is refused.
pub(crate) const FORMAT: u32 = 1;

/// Everything that is committed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) format: u32,
    /// The number of the last commit.
    pub(crate) version: u64,
    pub(crate) tables: BTreeMap<String, Table>,
    /// By writer and lane: two systems of a configuration may share a root, and a flow may go to both.
    pub(crate) progress: BTreeMap<String, BTreeMap<String, Reached>>,
    /// Files that are no longer part of a table, with when they went.
    pub(crate) removed: BTreeMap<String, Timestamp>,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Table {
    /// Tells it from the next one of its name.
    pub(crate) id: Uuid,
    pub(crate) shape: Shape,
    pub(crate) history: Option<History>,
    #[serde(default)]
    pub(crate) partition: Vec<Part>,
    pub(crate) timestamps: Unit,
    pub(crate) files: BTreeMap<String, DataFile>,
    /// Rows of an append table with lower versions stand before its last truncate.
    #[serde(default)]
    pub(crate) since: i64,
}

/// One file of a table; its rows are sorted by key, then by version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DataFile {
    /// Which other files it was made with: files of a run hold different keys.
    pub(crate) run: Uuid,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// The lowest and the highest version of its rows.
    pub(crate) versions: (i64, i64),
    /// The lowest and the highest key, where they are short enough to be told.
    pub(crate) keys: Option<(Vec<Value>, Vec<Value>)>,
}

/// How far a lane got.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reached {
    pub(crate) seq: u64,
    pub(crate) position: Option<String>,
}

/// One commit: everything in it is there at once, or not at all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Commit {
    pub(crate) format: u32,
    pub(crate) version: u64,
    /// Tells whoever lost the answer whether the commit was his.
    pub(crate) id: Uuid,
    pub(crate) at: Timestamp,
    #[serde(default)]
    pub(crate) tables: BTreeMap<String, Edit>,
    #[serde(default)]
    pub(crate) progress: BTreeMap<String, BTreeMap<String, Reached>>,
}

/// What a commit does to one table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Edit {
    /// The table, where it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) make: Option<Table>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) columns: Vec<Column>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) add: BTreeMap<String, DataFile>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) remove: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<i64>,
}

impl Edit {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Edit::default()
    }
}

impl Commit {
    /// A commit of an edit to one table.
    pub(crate) fn of(state: &State, tables: BTreeMap<String, Edit>) -> Commit {
        Commit {
            format: FORMAT,
            version: state.version + 1,
            id: Uuid::now_v7(),
            at: Timestamp::now(),
            tables: tables
                .into_iter()
                .filter(|(_, edit)| !edit.is_empty())
                .collect(),
            progress: BTreeMap::new(),
        }
    }

    /// The files that it brings.
    pub(crate) fn added(&self) -> impl Iterator<Item = &String> {
        self.tables.values().flat_map(|edit| edit.add.keys())
    }

    /// The commit with the progress of a batch.
    pub(crate) fn reaching(mut self, writer: &str, batch: &Batch) -> Commit {
        for lane in &batch.progress {
            let reached = Reached {
                seq: lane.reached,
                position: lane.position.as_ref().map(ToString::to_string),
            };
            let lanes = self.progress.entry(writer.to_owned()).or_default();
            lanes.insert(lane.lane.clone(), reached);
        }
        self
    }
}

impl State {
    /// Takes the next commit in.
    ///
    /// # Errors
    /// [`Kind::Unexpected`] for one that is not the next, or of another format.
    pub(crate) fn take(&mut self, commit: Commit) -> Result<()> {
        if commit.format != FORMAT || commit.version != self.version + 1 {
            return Err(Error::unexpected(format!(
                "commit {} of format {} cannot follow commit {}",
                commit.version, commit.format, self.version
            ))
            .help("a newer Lockstep may write to this root, or its `_lockstep` folder was changed by hand"));
        }
        self.format = FORMAT;
        self.version = commit.version;
        for (name, edit) in commit.tables {
            if let Some(table) = edit.make {
                self.tables.entry(name.clone()).or_insert(table);
            }
            let Some(table) = self.tables.get_mut(&name) else {
                continue;
            };
            for column in edit.columns {
                if table.shape.position(&column.name).is_none() {
                    table.shape.columns.push(column);
                }
            }
            for path in edit.remove {
                table.files.remove(&path);
                self.removed.insert(path, commit.at);
            }
            table.files.extend(edit.add);
            table.since = edit.since.unwrap_or(table.since);
        }
        for (writer, lanes) in commit.progress {
            self.progress.entry(writer).or_default().extend(lanes);
        }
        Ok(())
    }

    /// A table.
    ///
    /// # Errors
    /// [`Kind::Config`] for one that is not there.
    pub(crate) fn table(&self, name: &str) -> Result<&Table> {
        self.tables.get(name).ok_or_else(|| {
            Error::config(format!("there is no table `{name}`"))
                .code(lockstep_core::contract::drift::GONE)
                .help("say `create_tables = true` in the system's configuration, and it is made from the contract")
        })
    }

    /// Compares each lane's progress with what a batch expects.
    ///
    /// # Errors
    /// [`Kind::Stopped`] where another writer was there.
    pub(crate) fn fence(&self, writer: &str, batch: &Batch) -> Result<()> {
        let lanes = self.progress.get(writer);
        for lane in &batch.progress {
            let stored = lanes
                .and_then(|lanes| lanes.get(&lane.lane))
                .map_or(0, |reached| reached.seq);
            if stored != lane.expected {
                return Err(Error::new(
                    Kind::Stopped,
                    format!(
                        "lane `{}` of flow `{}` stands at {stored} in the target, not at {}: another writer took over, or this batch is already applied",
                        lane.lane, batch.flow, lane.expected
                    ),
                ));
            }
        }
        Ok(())
    }

    /// How far each lane of a writer got.
    pub(crate) fn progress(&self, writer: &str) -> Vec<LaneProgress> {
        let lanes = self.progress.get(writer).into_iter().flatten();
        lanes
            .map(|(lane, reached)| LaneProgress {
                lane: lane.clone(),
                expected: reached.seq,
                reached: reached.seq,
                position: reached.position.as_ref().and_then(|text| text.parse().ok()),
            })
            .collect()
    }

    /// Whether a path is of a file that a table has.
    pub(crate) fn has(&self, path: &str) -> bool {
        let mut tables = self.tables.values();
        tables.any(|table| table.files.contains_key(path))
    }
}

impl Table {
    /// The values of a row's key.
    pub(crate) fn key_of<'a>(&self, values: &'a [Value]) -> Vec<&'a Value> {
        self.shape
            .key
            .iter()
            .filter_map(|at| values.get(*at))
            .collect()
    }

    /// The names of the key's columns.
    pub(crate) fn key_names(&self) -> impl Iterator<Item = &str> {
        let name = |at: &usize| self.shape.columns[*at].name.as_str();
        self.shape.key.iter().map(name)
    }

    /// Whether each change of it is kept.
    pub(crate) fn is_append(&self) -> bool {
        self.history == Some(History::Append)
    }
}
