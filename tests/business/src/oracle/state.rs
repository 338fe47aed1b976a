//! Is the final state right? Rows of a table against the stories of its entity.
//!
//! Pure: rows come in as they stand in the table.

use std::collections::BTreeMap;

use super::{FINDINGS_MAX, Finding, Trouble};
use crate::record::{Key, Record, plain};
use crate::shape::{Raw, Table};
use crate::story::{Stories, Story};

/// What differs in one table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Records that are not there.
    pub missing: u64,
    /// Records that are there in an older version.
    pub older: u64,
    /// Records that should not be there.
    pub extra: u64,
    /// Records with values they never had, and rows nobody can understand.
    pub different: u64,
    /// Rows beyond the first of their key.
    pub twice: u64,
    /// The first of all that.
    pub findings: Vec<Finding>,
}

impl State {
    /// Records that are not as they should be.
    #[must_use]
    pub fn differences(&self) -> u64 {
        self.missing + self.older + self.extra + self.different
    }
}

/// Compares a target's rows with what should be there.
#[must_use]
pub fn compare(table: &Table, stories: &Stories, rows: &[Raw]) -> State {
    let mut state = State::default();
    let mut found: BTreeMap<Key, Record> = BTreeMap::new();
    for row in rows {
        match keyed(table, row) {
            Ok(None) => {}
            Ok(Some((key, record))) => {
                if found.insert(key.clone(), record).is_some() {
                    state.twice += 1;
                    state.note(table, Trouble::Twice, &key.to_string(), String::new());
                }
            }
            Err(reason) => {
                state.different += 1;
                state.note(table, Trouble::Unreadable, "?", reason);
            }
        }
    }
    for (key, story) in stories.of(table.entity) {
        compare_one(&mut state, table, key, story, found.remove(key));
    }
    for (key, _) in found {
        state.extra += 1;
        let never = "no system ever had such a record".to_owned();
        state.note(table, Trouble::Extra, &key.to_string(), never);
    }
    state
}

fn compare_one(state: &mut State, table: &Table, key: &Key, story: &Story, found: Option<Record>) {
    let expected = story.expected().map(|record| table.project(record));
    let key = key.to_string();
    match (expected, found) {
        (None, None) => {}
        (Some(_), None) => {
            state.missing += 1;
            let versions = story.steps.len();
            let detail = format!("version {versions} of {versions} should be there");
            state.note(table, Trouble::Missing, &key, detail);
        }
        (None, Some(_)) => {
            state.extra += 1;
            let why = if story.steps.is_empty() {
                "it was never good"
            } else {
                "it was deleted"
            };
            state.note(table, Trouble::Extra, &key, why.to_owned());
        }
        (Some(expected), Some(found)) if expected == found => {}
        (Some(expected), Some(found)) => {
            let detail = difference(&expected, &found);
            let mut versions = story.steps.iter().filter_map(|step| step.record.as_ref());
            if versions.any(|version| table.project(version) == found) {
                state.older += 1;
                state.note(table, Trouble::Older, &key, detail);
            } else {
                state.different += 1;
                state.note(table, Trouble::Different, &key, detail);
            }
        }
    }
}

/// Makes sure that a source holds what the journal says, broken records aside: otherwise the oracle's expectation means nothing.
#[must_use]
pub fn check_source(table: &Table, stories: &Stories, rows: &[Raw]) -> Vec<Finding> {
    let mut state = State::default();
    let mut good: BTreeMap<Key, Record> = BTreeMap::new();
    for row in rows {
        // A row that cannot be read is a broken one; whether all the good ones are there is seen below.
        if let Ok(Some((key, record))) = keyed(table, row) {
            good.insert(key, record);
        }
    }
    for (key, story) in stories.of(table.entity) {
        let found = good.remove(key);
        let expected = story.alive().map(|record| table.project(record));
        if story.broken.is_none() && expected != found {
            let detail = format!("expected {expected:?}, found {found:?}");
            state.note(table, Trouble::Journal, &key.to_string(), detail);
        }
    }
    for key in good.into_keys() {
        let detail = "the journal does not know it".to_owned();
        state.note(table, Trouble::Journal, &key.to_string(), detail);
    }
    state.findings
}

impl State {
    fn note(&mut self, table: &Table, what: Trouble, key: &str, detail: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding {
                what,
                entity: table.entity,
                system: table.system,
                key: key.to_owned(),
                detail,
            });
        }
    }
}

/// The key and record of a row.
pub(super) fn keyed(table: &Table, row: &Raw) -> Result<Option<(Key, Record)>, String> {
    let Some(record) = table.to_record(row)? else {
        return Ok(None);
    };
    match table.entity.key(&record) {
        Some(key) => Ok(Some((key, record))),
        None => Err(format!("a row of {} has no key", table.name)),
    }
}

/// The fields that differ, with both values.
pub(super) fn difference(expected: &Record, found: &Record) -> String {
    let differing = expected
        .iter()
        .filter(|(field, value)| found.get(*field) != Some(value));
    let told: Vec<String> = differing
        .map(|(field, value)| {
            let other = found.get(field).map_or_else(|| "nothing".to_owned(), plain);
            format!("{field} is `{other}`, not `{}`", plain(value))
        })
        .collect();
    told.join(", ")
}
