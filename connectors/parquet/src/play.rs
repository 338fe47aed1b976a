//! What a batch makes of a table: the rows that are written for it. Pure.
//!
//! Whole rows need no look at what is there. Rows of which something was not sent take it from the row of now, which is looked up before.

use std::collections::HashMap;
use std::sync::Arc;

use lockstep_core::change::Op;
use lockstep_core::connector::Outcome;
use lockstep_core::{Cell, Change, Key, Result, Row, Shape, Value};

use crate::file::{Record, forms};
use crate::form::{Form, truncated};
use crate::lake::place;
use crate::state::Table;

/// How many rows a commit may have; versions are numbers of commits and of rows in them.
pub(crate) const ROWS_MAX: i64 = 1_000_000;

/// One table's rows while a batch is played.
pub(crate) struct Play<'a> {
    table: &'a Table,
    forms: Vec<Form>,
    /// Where the columns of a shape stand in the table.
    places: Vec<(Arc<Shape>, Vec<usize>)>,
    /// The rows of now that were looked up or written by this batch; none for those that are gone.
    now: HashMap<Key, Option<Vec<Value>>>,
    /// Whether the batch emptied the table, so that there is only what it wrote since.
    pub(crate) emptied: Option<i64>,
    rows: Vec<Record>,
    pub(crate) refused: Vec<(usize, Outcome)>,
}

impl<'a> Play<'a> {
    /// # Errors
    /// [`lockstep_core::Kind::Config`] for a change with a column that the table does not have.
    pub(crate) fn new(table: &'a Table, changes: &[(usize, &Change)]) -> Result<Play<'a>> {
        let mut places: Vec<(Arc<Shape>, Vec<usize>)> = Vec::new();
        for (_, change) in changes {
            let shape = &change.shape;
            if !places.iter().any(|(known, _)| is_same(known, shape)) {
                let each = shape.names().map(|name| place(&table.shape, name));
                places.push((Arc::clone(shape), each.collect::<Result<_>>()?));
            }
        }
        Ok(Play {
            forms: forms(table),
            table,
            places,
            now: HashMap::new(),
            emptied: None,
            rows: Vec::new(),
            refused: Vec::new(),
        })
    }

    /// The keys whose rows of now have to be known.
    pub(crate) fn unknown(&self, changes: &[(usize, &Change)]) -> Vec<Vec<Value>> {
        let mut keys = HashMap::new();
        for (_, change) in changes.iter().filter(|(_, change)| self.is_partial(change)) {
            for row in std::iter::once(&change.row).chain(&change.before) {
                if let Ok((key, values)) = self.key_of(&change.shape, row) {
                    keys.insert(key, values);
                }
            }
        }
        keys.into_values().collect()
    }

    /// Takes note of a row of now.
    pub(crate) fn found(&mut self, values: Vec<Value>) {
        if let Ok(key) = Key::encode(self.table.key_of(&values).into_iter().map(Some)) {
            self.now.insert(key, Some(values));
        }
    }

    /// Plays one change; what the table cannot hold is refused.
    pub(crate) fn play(&mut self, at: usize, change: &Change, version: &mut i64) {
        let done = match change.op {
            Op::Truncated => self.empty(change, version),
            Op::Deleted => self.delete(change, version),
            _ => self.upsert(change, version),
        };
        if let Err(reason) = done {
            self.refused.push((at, Outcome::Rejected { reason }));
        }
    }

    /// The rows to write: all of them, or of each key the last one.
    pub(crate) fn written(self) -> Vec<Record> {
        if self.table.is_append() {
            return self.rows;
        }
        let mut last: HashMap<Key, Record> = HashMap::with_capacity(self.rows.len());
        for row in self.rows {
            if let Ok(key) = Key::encode(self.table.key_of(&row.values).into_iter().map(Some)) {
                last.insert(key, row);
            }
        }
        last.into_values().collect()
    }

    fn empty(&mut self, change: &Change, version: &mut i64) -> Result<(), String> {
        self.now.clear();
        if self.table.is_append() {
            let nothing = vec![Value::Null; self.forms.len()];
            self.push(change, Op::Truncated, nothing, version);
        } else {
            self.rows.clear();
        }
        self.emptied = Some(*version);
        Ok(())
    }

    fn delete(&mut self, change: &Change, version: &mut i64) -> Result<(), String> {
        // No row has a key that its columns cannot hold.
        if let Ok((key, values)) = self.key_of(&change.shape, &change.row) {
            self.bury(change, key, &values, version);
        }
        Ok(())
    }

    fn bury(&mut self, change: &Change, key: Key, values: &[Value], version: &mut i64) {
        let mut row = vec![Value::Null; self.forms.len()];
        for (at, value) in self.table.shape.key.iter().zip(values) {
            row[*at] = value.clone();
        }
        self.now.insert(key, None);
        self.push(change, Op::Deleted, row, version);
    }

    fn upsert(&mut self, change: &Change, version: &mut i64) -> Result<(), String> {
        let (key, values) = self.key_of(&change.shape, &change.row)?;
        let old = change.before.as_ref();
        let old = old.and_then(|before| self.key_of(&change.shape, before).ok());
        let old = old.filter(|(old, _)| *old != key);
        let row_of = |key: &Key| self.now.get(key).cloned().flatten();
        // A row that is moved keeps what was not sent; where both are there, the old one's values go along.
        let base = old
            .as_ref()
            .and_then(|(old, _)| row_of(old))
            .or_else(|| row_of(&key));
        let is_known = base.is_some();
        let mut row = base.unwrap_or_else(|| vec![Value::Null; self.forms.len()]);
        for (column, place) in self.places_of(&change.shape).iter().enumerate() {
            match change.row.cell(column) {
                Cell::Set(value) => row[*place] = self.fit(*place, value)?,
                Cell::Unchanged if !is_known => {
                    return Err("the target has no such row, and only some of its columns were sent: a whole row is needed".to_owned());
                }
                Cell::Unchanged => {}
            }
        }
        for (at, value) in self.table.shape.key.iter().zip(values) {
            row[*at] = value;
        }
        for part in &self.table.partition {
            if let Some(place) = self.table.shape.position(&part.column) {
                part.folder(&row[place])?;
            }
        }
        if let Some((old, values)) = old {
            self.bury(change, old, &values, version);
        }
        self.now.insert(key, Some(row.clone()));
        self.push(change, change.op, row, version);
        Ok(())
    }

    fn push(&mut self, change: &Change, op: Op, values: Vec<Value>, version: &mut i64) {
        *version += 1;
        self.rows.push(Record {
            op,
            version: *version,
            at: truncated(change.committed_at),
            values,
        });
    }

    /// Whether a change leaves columns of the table unsaid.
    fn is_partial(&self, change: &Change) -> bool {
        let is_narrow = change.shape.columns.len() < self.forms.len();
        change.op.is_upsert()
            && (is_narrow
                || (0..change.shape.columns.len()).any(|at| change.row.cell(at).is_unchanged()))
    }

    /// The key that a change's row has in the table, by the table's columns.
    fn key_of(&self, shape: &Arc<Shape>, row: &Row) -> Result<(Key, Vec<Value>), String> {
        let places = self.places_of(shape);
        let mut values = Vec::with_capacity(self.table.shape.key.len());
        for at in &self.table.shape.key {
            let name = &self.table.shape.columns[*at].name;
            let column = places.iter().position(|place| place == at);
            let value = column.and_then(|column| row.value(column));
            let value = value.ok_or_else(|| format!("column `{name}` of the key was not sent"))?;
            if value.is_null() {
                return Err(format!("column `{name}` of the key is null"));
            }
            values.push(self.fit(*at, value)?);
        }
        let key = Key::encode(values.iter().map(Some)).map_err(|error| error.to_string())?;
        Ok((key, values))
    }

    fn fit(&self, place: usize, value: &Value) -> Result<Value, String> {
        let name = &self.table.shape.columns[place].name;
        let fit = self.forms[place].fit(value);
        fit.map_err(|why| format!("column `{name}`: {why}"))
    }

    fn places_of(&self, shape: &Arc<Shape>) -> &[usize] {
        let known = self.places.iter().find(|(known, _)| is_same(known, shape));
        known.map_or(&[], |(_, places)| places)
    }
}

fn is_same(a: &Arc<Shape>, b: &Arc<Shape>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}
