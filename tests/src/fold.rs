//! The state of a table as its changes tell it, in the simplest way that can be right.

use std::collections::BTreeMap;

use lockstep_core::change::Op;
use lockstep_core::{Cell, Change, Key, Row, Shape};

/// Rows by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State(BTreeMap<String, Row>);

impl State {
    /// The state that holds these rows.
    #[must_use]
    pub fn of(shape: &Shape, rows: impl IntoIterator<Item = Row>) -> State {
        let mut state = State::default();
        for row in rows {
            let key = key(shape, &row);
            let twice = state.0.insert(key.clone(), row);
            assert!(twice.is_none(), "two rows have the key {key}");
        }
        state
    }

    /// Applies one change.
    pub fn apply(&mut self, change: &Change) {
        let shape = &change.shape;
        match change.op {
            Op::Truncated => self.0.clear(),
            Op::Deleted => {
                self.0.remove(&key(shape, &change.row));
            }
            Op::Snapshot | Op::Created | Op::Updated => {
                let now = key(shape, &change.row);
                let old = old_key(change).filter(|old| *old != now);
                let known = match old {
                    Some(old) => self.0.remove(&old),
                    None => self.0.get(&now).cloned(),
                };
                self.0
                    .insert(now, merged(shape, &change.row, known.as_ref()));
            }
        }
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says where two states differ, for the message of a failed check.
    #[must_use]
    pub fn difference(&self, other: &State) -> String {
        let keys = self.0.keys().chain(other.0.keys());
        let lines = keys
            .filter(|key| self.0.get(*key) != other.0.get(*key))
            .take(6)
            .map(|key| format!("{key}: {:?} / {:?}", self.0.get(key), other.0.get(key)));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// The key of a row as text.
///
/// # Panics
/// When the row has none, which no change and no stored row may lack.
pub(crate) fn key(shape: &Shape, row: &Row) -> String {
    match Key::encode(shape.key.iter().map(|column| row.value(*column))) {
        Ok(key) => key.to_string(),
        Err(error) => panic!("a row of `{}` has no key: {error}; {row:?}", shape.name),
    }
}

fn old_key(change: &Change) -> Option<String> {
    let before = change.before.as_ref()?;
    let values = change.shape.key.iter().map(|column| before.value(*column));
    Key::encode(values).ok().map(|key| key.to_string())
}

fn merged(shape: &Shape, row: &Row, known: Option<&Row>) -> Row {
    let cell = |column: usize| match (row.cell(column), known) {
        (Cell::Unchanged, Some(known)) => known.cell(column).clone(),
        (cell, _) => cell.clone(),
    };
    Row((0..shape.columns.len()).map(cell).collect())
}
