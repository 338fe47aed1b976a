//! What a batch makes of the rows that are there; pure.
//!
//! Rows are whole in ClickHouse, so the current ones are read first; then every change is played on them in its order, and what differs at the end is written, each row with a version above the one it replaces.

use std::collections::HashMap;
use std::sync::Arc;

use lockstep_core::change::Op;
use lockstep_core::{Cell, Change, Key, Row, Shape, Value};

use crate::convert::fit;
use crate::form::{Kind, Version};
use crate::table::Table;

/// Highest version that a change's place in its source gives; what follows counts up from there.
const MARK_MAX: u64 = 1 << 62;

/// One table's rows while a batch is played.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) target: Arc<Target>,
    held: HashMap<Key, Held>,
    /// Keys in the order in which they were first changed.
    order: Vec<Key>,
}

/// A table, and where the columns of changes stand in it.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) table: Table,
    pub(crate) shape: Arc<Shape>,
    /// The table's column of each column of the shape.
    pub(crate) places: Vec<usize>,
    pub(crate) version: Version,
}

/// The row of a key.
#[derive(Clone, Debug, Default)]
struct Held {
    /// As it was found: every column of the table that can be written.
    found: Option<Vec<Value>>,
    /// The highest version of any row of the key, deleted ones included.
    version: u64,
    /// As it shall be.
    now: Option<Vec<Cell>>,
    /// The place of the last change in its source.
    mark: u64,
    /// Whether a change was played on it.
    touched: bool,
}

/// A row to be written.
#[derive(Debug, PartialEq)]
pub(crate) struct Written {
    /// By the table's columns; what is unset takes the column's default.
    pub(crate) cells: Vec<Cell>,
    pub(crate) version: u64,
    pub(crate) deleted: bool,
}

impl Target {
    /// The keys that changes name, the old ones of key changes included, each once.
    pub(crate) fn keys<'a>(&self, changes: impl Iterator<Item = &'a Change>) -> Vec<Vec<Value>> {
        let mut seen = std::collections::HashSet::new();
        let mut keys = Vec::new();
        for change in changes {
            for row in std::iter::once(&change.row).chain(&change.before) {
                if let Ok(values) = self.key_of(row)
                    && let Ok(key) = Key::encode(values.iter().map(Some))
                    && seen.insert(key)
                {
                    keys.push(values);
                }
            }
        }
        keys
    }

    /// The values of a row's key as the table holds them.
    fn key_of(&self, row: &Row) -> Result<Vec<Value>, String> {
        let value = |column: &usize| {
            let name = &self.shape.columns[*column].name;
            let value = row
                .value(*column)
                .ok_or_else(|| format!("column `{name}` of the key was not sent"))?;
            self.fit(*column, value)
        };
        self.shape.key.iter().map(value).collect()
    }

    fn fit(&self, column: usize, value: &Value) -> Result<Value, String> {
        let form = &self.table.columns[self.places[column]].form;
        fit(form, value, self.version)
            .map_err(|why| format!("column `{}`: {why}", self.shape.columns[column].name))
    }
}

impl Rows {
    pub(crate) fn new(target: Arc<Target>) -> Rows {
        Rows {
            target,
            held: HashMap::new(),
            order: Vec::new(),
        }
    }

    /// Takes note of a row that is there; of several of one key the one with the highest version counts.
    pub(crate) fn found(&mut self, values: Vec<Value>, version: u64, deleted: bool) {
        let target = &self.target;
        let key = target
            .shape
            .key
            .iter()
            .map(|column| values.get(target.places[*column]));
        let Ok(key) = Key::encode(key) else {
            return;
        };
        let held = self.held.entry(key).or_default();
        if version < held.version {
            return;
        }
        held.version = version;
        held.now = (!deleted).then(|| values.iter().cloned().map(Cell::Set).collect());
        held.found = (!deleted).then_some(values);
    }

    /// Plays one change.
    ///
    /// # Errors
    /// Why the table cannot hold it; nothing of it is played then.
    pub(crate) fn play(&mut self, change: &Change) -> Result<(), String> {
        let target = Arc::clone(&self.target);
        let values = match target.key_of(&change.row) {
            Ok(values) => values,
            // No row has a key that its column cannot hold.
            Err(_) if change.op == Op::Deleted => return Ok(()),
            Err(why) => return Err(why),
        };
        let key = encoded(&values)?;
        let mark = change.mark.commit.min(MARK_MAX);
        if change.op == Op::Deleted {
            self.touch(key, mark).now = None;
            return Ok(());
        }
        let old = change
            .before
            .as_ref()
            .and_then(|before| target.key_of(before).ok());
        let old = old
            .as_deref()
            .map(encoded)
            .transpose()?
            .filter(|old| *old != key);
        let old_row = old.as_ref().and_then(|old| self.held.get(old)?.now.clone());
        let here = self.held.get(&key).and_then(|held| held.now.clone());
        // A row that is moved keeps what was not sent; where both are there, the old one's values go along.
        let base = old_row.or(here);
        let is_known = base.is_some();
        let mut cells = base.unwrap_or_else(|| vec![Cell::Unchanged; target.table.columns.len()]);
        for (column, place) in target.places.iter().enumerate() {
            match change.row.cell(column) {
                Cell::Set(value) => cells[*place] = Cell::Set(target.fit(column, value)?),
                Cell::Unchanged if !is_known => {
                    return Err("the target has no such row, and only some of its columns were sent: a whole row is needed".to_owned());
                }
                Cell::Unchanged => {}
            }
        }
        if let Some(old) = old {
            self.touch(old, mark).now = None;
        }
        self.touch(key, mark).now = Some(cells);
        Ok(())
    }

    fn touch(&mut self, key: Key, mark: u64) -> &mut Held {
        let held = self.held.entry(key.clone()).or_default();
        if !held.touched {
            held.touched = true;
            self.order.push(key);
        }
        held.mark = held.mark.max(mark);
        held
    }

    /// The rows that differ from what was found.
    pub(crate) fn written(&self) -> Vec<Written> {
        let each = self.order.iter().filter_map(|key| self.held.get(key));
        each.filter_map(|held| held.written(&self.target)).collect()
    }
}

impl Held {
    fn written(&self, target: &Target) -> Option<Written> {
        let version = self.mark.max(self.version.saturating_add(1));
        match (&self.found, &self.now) {
            (None, None) => None,
            (Some(found), Some(now)) if is_same(found, now) => None,
            (_, Some(now)) => Some(Written {
                cells: now.clone(),
                version,
                deleted: false,
            }),
            (Some(found), None) => Some(Written {
                cells: buried(target, found),
                version,
                deleted: true,
            }),
        }
    }
}

fn is_same(found: &[Value], now: &[Cell]) -> bool {
    let mut pairs = found.iter().zip(now);
    pairs.all(|(found, now)| now.value() == Some(found))
}

/// What stays of a deleted row: its key, and what keeps it in its partition, without which no merge would remove the values of before.
fn buried(target: &Target, found: &[Value]) -> Vec<Cell> {
    let keyed: Vec<usize> = target
        .shape
        .key
        .iter()
        .map(|column| target.places[*column])
        .collect();
    let cells = found.iter().zip(&target.table.columns).enumerate();
    cells
        .map(|(place, (value, column))| {
            let stays = keyed.contains(&place) || column.parts;
            if stays && column.form.kind != Kind::Composite {
                Cell::Set(value.clone())
            } else {
                Cell::Unchanged
            }
        })
        .collect()
}

fn encoded(values: &[Value]) -> Result<Key, String> {
    Key::encode(values.iter().map(Some)).map_err(|error| error.to_string())
}

impl Target {
    /// Whether a row is the one that a change is about.
    pub(crate) fn is_of(&self, written: &Written, change: &Change) -> bool {
        let Ok(key) = self.key_of(&change.row) else {
            return false;
        };
        let places = self.shape.key.iter().map(|column| self.places[*column]);
        places
            .zip(&key)
            .all(|(place, value)| written.cells[place].value() == Some(value))
    }
}
