//! How far tables are that are being read: first copies, readings again, and parts that somebody asked for; and whose deletes are withheld.

use std::collections::BTreeMap;

use lockstep_core::error::Error;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Board, Trouble};

/// How far the reading of a table is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReadingStatus {
    /// Rows that were read since it began, or since the runtime started.
    pub rows: u64,
    /// How many there are, about, where that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub of: Option<u64>,
    /// How much of the table that is, from 0 to 1, where it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub share: Option<f64>,
}

/// The readings of a system, by entity.
#[derive(Clone, Debug, Default)]
pub(super) struct Readings {
    open: BTreeMap<String, ReadingStatus>,
    /// How many rows the last reading of a whole table had.
    last: BTreeMap<String, u64>,
}

impl Readings {
    /// A reading begins, of about so many rows.
    pub(super) fn begin(&mut self, entity: &str, of: Option<u64>) {
        let of = of.or_else(|| self.last.get(entity).copied());
        let reading = ReadingStatus {
            rows: 0,
            of,
            share: None,
        };
        self.open.insert(entity.to_owned(), reading);
    }

    /// Rows of one were read; one that nobody announced began before this runtime.
    pub(super) fn read(&mut self, entity: &str, rows: u64) {
        if !self.open.contains_key(entity) {
            self.begin(entity, None);
        }
        if let Some(reading) = self.open.get_mut(entity) {
            reading.rows += rows;
            let share = |of: u64| (reading.rows as f64 / of.max(1) as f64).min(1.0);
            reading.share = reading.of.map(share);
        }
    }

    /// One is over; `whole` says whether it was of the whole table.
    pub(super) fn end(&mut self, entity: &str, whole: bool) {
        let reading = self.open.remove(entity);
        if let Some(reading) = reading.filter(|reading| whole && reading.rows > 0) {
            self.last.insert(entity.to_owned(), reading.rows);
        }
    }

    /// Those that are under way.
    pub(super) fn open(&self) -> BTreeMap<String, ReadingStatus> {
        self.open.clone()
    }
}

impl Board {
    /// Deletes of an entity are withheld at its source, or told again.
    pub(crate) fn withheld(&self, system: &str, entity: &str, error: Option<&Error>) {
        let mut inner = self.inner();
        let withheld = &mut inner
            .captures
            .entry(system.to_owned())
            .or_default()
            .withheld;
        match error {
            Some(error) => drop(withheld.insert(entity.to_owned(), Trouble::new(error, true))),
            None => drop(withheld.remove(entity)),
        }
    }

    /// The table of an entity is being read, `Some` with how many rows it has about; or that is over, `whole` or in part.
    pub(crate) fn reading(&self, system: &str, entity: &str, of: Option<Option<u64>>, whole: bool) {
        let mut inner = self.inner();
        let readings = &mut inner
            .captures
            .entry(system.to_owned())
            .or_default()
            .readings;
        match of {
            Some(of) => readings.begin(entity, of),
            None => readings.end(entity, whole),
        }
    }

    /// Rows of an entity's table were read that are no changes.
    pub(crate) fn rows_read(&self, system: &str, entity: &str, rows: u64) {
        let mut inner = self.inner();
        let capture = inner.captures.entry(system.to_owned()).or_default();
        capture.readings.read(entity, rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_was_read_once_says_how_far_its_next_reading_is() {
        let mut readings = Readings::default();
        readings.read("customer", 30);
        readings.read("customer", 10);
        assert_eq!(readings.open()["customer"].share, None);
        readings.end("customer", true);
        assert!(readings.open().is_empty());
        readings.begin("customer", None);
        readings.read("customer", 10);
        assert_eq!(
            readings.open()["customer"],
            ReadingStatus {
                rows: 10,
                of: Some(40),
                share: Some(0.25)
            }
        );
        // A part says nothing of how many rows a table has.
        readings.end("customer", false);
        readings.begin("customer", None);
        assert_eq!(readings.open()["customer"].of, Some(40));
    }
}
