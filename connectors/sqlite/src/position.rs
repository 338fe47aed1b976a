//! How far the source has read, and the note that says how to go on.
//!
//! A change of the change table at sequence `s` stands at `(s, 0)`; the rows of a snapshot step that was read when the highest sequence was `h` stand at `(h, 1)`, `(h, 2)` and so on.
//! So a snapshot row comes after every change it already contains and before every change it does not.

use std::sync::Arc;

use lockstep_core::Position;
use lockstep_core::connector::Parts;
use lockstep_core::position::Mark;
use rusqlite::types::{ToSqlOutput, Value as Owned, ValueRef};
use serde::{Deserialize, Serialize};

/// How far a run has read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    /// The life of the change table in which `mark` counts.
    pub(crate) incarnation: Arc<str>,
    /// The last change or snapshot row that was emitted.
    pub(crate) mark: Mark,
    /// What else it takes to go on.
    pub(crate) cursor: Cursor,
}

/// The connector's note in a [`Position`].
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// When the change at the position's commit was logged: by it a file that was restored from a backup and went on its own way is told from the one that was read.
    pub(crate) at: i64,
    /// Tables whose snapshot is complete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) done: Vec<String>,
    /// Tables still to be snapshotted, the one in work first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) todo: Vec<String>,
    /// The last row read of the first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<After>,
    /// Which rows are wanted of those that are read again in part.
    #[serde(default, skip_serializing_if = "Parts::is_empty")]
    pub(crate) parts: Parts,
}

/// The last row that a snapshot has read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum After {
    /// By its rowid. Where the rowid is not the key, `VACUUM` may deal rowids anew, which moves the schema version: then the table is begun again.
    Rowid {
        /// The rowid.
        rowid: i64,
        /// The schema version under which it counts, for tables whose rowids are not stable.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        schema: Option<i64>,
    },
    /// By its key.
    Key(Vec<Part>),
}

/// One stored value, exactly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    /// Null.
    Null,
    /// An integer.
    Int(i64),
    /// The bits of a double.
    Real(u64),
    /// A text.
    Text(String),
    /// A text that is not Unicode.
    Raw(Vec<u8>),
    /// Bytes.
    Blob(Vec<u8>),
}

impl Reading {
    /// The position that stands for it.
    pub(crate) fn position(&self) -> Position {
        Position {
            incarnation: Arc::clone(&self.incarnation),
            commit: self.mark.commit,
            ordinal: self.mark.ordinal,
            // A struct of texts and numbers always has a JSON form; an empty note would only mean a new snapshot.
            cursor: serde_json::to_string(&self.cursor).ok().map(Into::into),
        }
    }
}

impl Cursor {
    /// The note of a position, if it is one of this connector's.
    pub(crate) fn of(position: &Position) -> Option<Cursor> {
        serde_json::from_str(position.cursor.as_deref()?).ok()
    }
}

impl Part {
    pub(crate) fn of(raw: ValueRef<'_>) -> Part {
        match raw {
            ValueRef::Null => Part::Null,
            ValueRef::Integer(number) => Part::Int(number),
            ValueRef::Real(number) => Part::Real(number.to_bits()),
            ValueRef::Blob(bytes) => Part::Blob(bytes.to_vec()),
            ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Part::Text(text.to_owned()),
                Err(_) => Part::Raw(bytes.to_vec()),
            },
        }
    }

    /// The value as a parameter.
    pub(crate) fn bind(&self) -> ToSqlOutput<'_> {
        match self {
            Part::Null => ToSqlOutput::Owned(Owned::Null),
            Part::Int(number) => ToSqlOutput::Owned(Owned::Integer(*number)),
            Part::Real(bits) => ToSqlOutput::Owned(Owned::Real(f64::from_bits(*bits))),
            Part::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Part::Raw(bytes) => ToSqlOutput::Borrowed(ValueRef::Text(bytes)),
            Part::Blob(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn positions_of_earlier_releases_are_still_read() {
        let text = "6b1f/0000000000000007.00000003/{\"at\":1700000000123,\"done\":[\"a\"],\"todo\":[\"b\",\"c\"],\"after\":{\"rowid\":{\"rowid\":41}}}";
        let position: Position = text.parse().unwrap();
        let cursor = Cursor::of(&position).unwrap();
        assert_eq!(cursor.todo, ["b", "c"]);
        let reading = Reading {
            incarnation: Arc::clone(&position.incarnation),
            mark: position.mark(),
            cursor,
        };
        assert_eq!(reading.position().to_string(), text);
    }

    #[test]
    fn a_foreign_note_is_no_note() {
        for text in ["a/0.0", "a/0.0/x", "a/0.0/{\"done\":3}"] {
            assert_eq!(Cursor::of(&text.parse().unwrap()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn keys_survive_the_note(number: i64, bits: u64, text in ".*", bytes: Vec<u8>) {
            let parts = vec![
                Part::of(ValueRef::Integer(number)),
                Part::Real(bits),
                Part::of(ValueRef::Text(text.as_bytes())),
                Part::of(ValueRef::Blob(&bytes)),
            ];
            let after = After::Key(parts.clone());
            let note = serde_json::to_string(&after).unwrap();
            prop_assert_eq!(serde_json::from_str::<After>(&note).unwrap(), After::Key(parts.clone()));
            prop_assert_eq!(parts[3].bind(), ToSqlOutput::Borrowed(ValueRef::Blob(&bytes)));
        }
    }
}
