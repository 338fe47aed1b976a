//! How far a system was read by query, and the note that says how to go on.
//!
//! A position's commit is the life of the run in its upper half and the number of the chunk in its lower half; its ordinal is the row in the chunk.
//! Every run begins a life of its own, which is stored before anything is told in it: what is read again after a crash may be another row than before, so it must not come under the same mark.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use lockstep_core::connector::Filter;
use lockstep_core::position::{Mark, Position};
use lockstep_core::value::Value;
use serde::{Deserialize, Serialize};

/// What names the incarnations of this source.
const PREFIX: &str = "query-";

/// How far a run has read.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) incarnation: Arc<str>,
    /// The chunk that was told last.
    pub(super) commit: u64,
    /// The last row of it.
    pub(super) ordinal: u64,
    /// What else it takes to go on.
    pub(super) cursor: Cursor,
}

/// The source's note in a position.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// What is known of each table.
    #[serde(default)]
    pub(super) tables: BTreeMap<String, State>,
    /// What is being read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) active: Option<Active>,
    /// What somebody wants read beside the schedule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) owed: Vec<Owed>,
    /// How far the system's journal was read, where it keeps one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) journal: Option<String>,
}

/// How far a table was read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// Whether it was told from its first row to its last once.
    #[serde(default)]
    pub(super) copied: bool,
    /// How far its watermark was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reached: Option<Value>,
    /// When it was read last, in whatever way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) read: Option<Timestamp>,
    /// When it was last listed as a whole, deletes included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) listed: Option<Timestamp>,
    /// Why its deletes are withheld.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) withheld: Option<String>,
}

/// What is being read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Active {
    /// A table from its first row to its last.
    List {
        table: String,
        /// What its rows are named by, in which the rest is said.
        named: Vec<String>,
        /// When it began.
        since: Timestamp,
        /// The page that comes next; none where all were read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        page: Option<u64>,
        /// The key behind which it goes on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Vec<Value>>,
        /// What every row is told for, whether it changed or not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        all: Option<Owed>,
        /// How far the watermark was when it began.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reached: Option<Value>,
    },
    /// The rows of a table that are new by its watermark.
    Window {
        table: String,
        /// What its rows are named by, in which the rest is said.
        named: Vec<String>,
        /// When it began.
        since: Timestamp,
        /// The first value of the watermark.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Value>,
        /// The watermark and the key behind which it goes on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Vec<Value>>,
        /// The largest value that was read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        high: Option<Value>,
    },
    /// Rows of a table that somebody wants again.
    Part {
        owed: Owed,
        /// What the table's rows are named by, in which the rest is said.
        named: Vec<String>,
        /// The key behind which it goes on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Vec<Value>>,
    },
}

/// What somebody wants read beside the schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Owed {
    pub(super) table: String,
    /// What the rows fulfil; what flows want where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) filter: Option<Filter>,
}

impl Active {
    /// The table that is being read.
    pub(super) fn table(&self) -> &str {
        match self {
            Active::List { table, .. } | Active::Window { table, .. } => table,
            Active::Part { owed, .. } => &owed.table,
        }
    }

    /// What the table's rows are named by, in which it says where it stands.
    pub(super) fn named(&self) -> &[String] {
        match self {
            Active::List { named, .. }
            | Active::Window { named, .. }
            | Active::Part { named, .. } => named,
        }
    }
}

impl Owed {
    /// Whether it is a table from its first row to its last.
    pub(super) fn is_whole(&self) -> bool {
        self.filter.as_ref().is_none_or(Filter::is_every)
    }
}

impl Reading {
    /// A life of its own behind a position, or the first one. `named` tells it from every other source.
    pub(super) fn after(resume: Option<&Position>, named: &str) -> Reading {
        let known = resume.filter(|resume| resume.incarnation.starts_with(PREFIX));
        let cursor = known.and_then(|resume| serde_json::from_str(resume.cursor.as_deref()?).ok());
        match (known, cursor) {
            (Some(resume), Some(cursor)) => Reading {
                incarnation: Arc::clone(&resume.incarnation),
                commit: ((resume.commit >> 32) + 1) << 32,
                ordinal: 0,
                cursor,
            },
            _ => Reading {
                incarnation: format!("{PREFIX}{named}").into(),
                commit: 1 << 32,
                ordinal: 0,
                cursor: Cursor::default(),
            },
        }
    }

    /// Begins another chunk.
    pub(super) fn next_chunk(&mut self) {
        self.commit += 1;
        self.ordinal = 0;
    }

    /// The place of its next row.
    pub(super) fn next(&mut self) -> Mark {
        self.ordinal += 1;
        Mark {
            commit: self.commit,
            ordinal: self.ordinal,
        }
    }

    /// The position that stands for it.
    pub(super) fn position(&self) -> Position {
        Position {
            incarnation: Arc::clone(&self.incarnation),
            commit: self.commit,
            ordinal: self.ordinal,
            // A struct of texts and numbers always has a JSON form; a position is a header, so it is plain letters.
            cursor: serde_json::to_string(&self.cursor)
                .ok()
                .map(|text| plain(&text).into()),
        }
    }
}

/// The same JSON in ASCII.
fn plain(json: &str) -> String {
    if json.is_ascii() {
        return json.to_owned();
    }
    let mut text = String::with_capacity(json.len() + 16);
    for letter in json.chars() {
        if letter.is_ascii() {
            text.push(letter);
            continue;
        }
        let mut units = [0; 2];
        for unit in letter.encode_utf16(&mut units) {
            text.push_str(&format!("\\u{unit:04x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_run_tells_under_marks_that_no_run_before_it_gave() {
        let mut first = Reading::after(None, "x");
        first.next_chunk();
        let told = first.next();
        let resumed = first.position();
        // The chunk after that was told as well, but no position says so.
        first.next_chunk();
        let lost = first.next();
        let mut second = Reading::after(Some(&resumed), "y");
        assert_eq!(second.incarnation, first.incarnation);
        second.next_chunk();
        let again = second.next();
        assert!(told < lost && lost < again);
    }

    #[test]
    fn a_position_of_another_source_begins_a_life_of_its_own() {
        let other: Position = "7300-16b3748/0000000000000010.00000002/{}".parse().unwrap();
        let reading = Reading::after(Some(&other), "new");
        assert_eq!(
            (&*reading.incarnation, reading.cursor),
            ("query-new", Cursor::default())
        );
    }

    proptest! {
        #[test]
        fn a_note_survives_in_plain_letters(table in ".{0,20}", key in ".{0,20}", number: i64) {
            let mut reading = Reading::after(None, "x");
            reading.cursor.active = Some(Active::List {
                table,
                named: Vec::new(),
                since: Timestamp::UNIX_EPOCH,
                page: Some(7),
                after: Some(vec![Value::Text(key), Value::Int(number)]),
                all: None,
                reached: None,
            });
            let position = reading.position();
            prop_assert!(position.cursor.as_ref().unwrap().is_ascii());
            prop_assert_eq!(Reading::after(Some(&position), "y").cursor, reading.cursor);
        }

        #[test]
        fn no_note_makes_it_panic(note in ".{0,60}") {
            let position = Position {
                incarnation: "query-x".into(),
                commit: 0,
                ordinal: 0,
                cursor: Some(note.into()),
            };
            Reading::after(Some(&position), "y");
        }
    }
}
