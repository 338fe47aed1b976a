//! How far the source has read, and the note that says how to go on.
//!
//! A change stands at (where its transaction's commit is in the server's log, its number in the transaction, from 1).
//! A snapshot's rows stand in the transaction that the source wrote into the log to mark the instant at which they were read; so no two of them ever share a mark, and they come after every change they contain.
//! A life of the source is named by the server's own number and the place at which the life began.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use lockstep_core::Position;
use lockstep_core::connector::Parts;
use lockstep_core::position::Mark;
use serde::{Deserialize, Serialize};

use crate::stamp::Stamp;

/// A place in the server's log, in PostgreSQL's spelling: `16/B374D848`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Lsn(pub(crate) u64);

/// How far a run has read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    /// The life of the source in which `mark` counts.
    pub(crate) incarnation: Arc<str>,
    /// The last change or snapshot row that was told.
    pub(crate) mark: Mark,
    /// What else it takes to go on.
    pub(crate) cursor: Cursor,
}

/// The connector's note in a [`Position`].
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// Where to stream from: everything before it is told, and it is never inside a transaction.
    pub(crate) from: Lsn,
    /// The timeline of the server's history in which that is.
    #[serde(default)]
    pub(crate) timeline: u32,
    /// Tables whose snapshot is complete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) done: Vec<String>,
    /// Tables still to be snapshotted, the one in work first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) todo: Vec<String>,
    /// The key of the last row read of the first of them, as PostgreSQL's texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<RowKey>,
    /// Keys of its rows that have to be read once more, because only a part of them was told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) again: Vec<RowKey>,
    /// What the tables were when they were last looked at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) known: BTreeMap<String, Stamp>,
    /// Tables to be snapshotted that were made anew: the rows of before are gone, which is told first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) anew: Vec<String>,
    /// Which rows are wanted of those that are read again in part.
    #[serde(default, skip_serializing_if = "Parts::is_empty")]
    pub(crate) parts: Parts,
}

/// The key of a row, as PostgreSQL's texts in key order.
pub(crate) type RowKey = Vec<String>;

impl Reading {
    /// The position that stands for it.
    pub(crate) fn position(&self) -> Position {
        Position {
            incarnation: Arc::clone(&self.incarnation),
            commit: self.mark.commit,
            ordinal: self.mark.ordinal,
            // A struct of texts and numbers always has a JSON form.
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

/// Names a life: the server's number, and where the life began.
pub(crate) fn incarnation(server: &str, start: Lsn) -> Arc<str> {
    format!("{server}-{:x}", start.0).into()
}

/// The server that a life is of.
pub(crate) fn server_of(incarnation: &str) -> &str {
    incarnation
        .rsplit_once('-')
        .map_or("", |(server, _)| server)
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

/// Says why a text is not a place in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotAnLsn(String);

impl fmt::Display for NotAnLsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not a place in a log; expected something like 16/B374D848",
            self.0
        )
    }
}

impl std::error::Error for NotAnLsn {}

impl FromStr for Lsn {
    type Err = NotAnLsn;

    fn from_str(text: &str) -> Result<Self, NotAnLsn> {
        let fail = || NotAnLsn(text.chars().take(40).collect());
        let half = |half: &str| {
            u32::from_str_radix(half, 16)
                .map(u64::from)
                .map_err(|_| fail())
        };
        let (high, low) = text.split_once('/').ok_or_else(fail)?;
        Ok(Lsn(half(high)? << 32 | half(low)?))
    }
}

impl From<Lsn> for String {
    fn from(lsn: Lsn) -> String {
        lsn.to_string()
    }
}

impl TryFrom<String> for Lsn {
    type Error = NotAnLsn;

    fn try_from(text: String) -> Result<Self, NotAnLsn> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn positions_of_earlier_releases_are_still_read() {
        let text = "7300000000000000001-16b3748/00000000016b3810.00000002/{\"from\":\"0/16B3748\",\"timeline\":1,\"done\":[\"a\"],\"todo\":[\"b\"],\"after\":[\"7\",\"x/y\"],\"again\":[[\"3\",\"z\"]]}";
        let position: Position = text.parse().unwrap();
        let cursor = Cursor::of(&position).unwrap();
        assert_eq!(cursor.from, Lsn(0x16B_3748));
        assert_eq!(server_of(&position.incarnation), "7300000000000000001");
        let reading = Reading {
            incarnation: Arc::clone(&position.incarnation),
            mark: position.mark(),
            cursor,
        };
        assert_eq!(reading.position().to_string(), text);
    }

    #[test]
    fn a_foreign_note_is_no_note() {
        for text in [
            "a/0.0",
            "a/0.0/x",
            "a/0.0/{\"from\":3}",
            "a/0.0/{\"from\":\"1\"}",
        ] {
            assert_eq!(Cursor::of(&text.parse().unwrap()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn places_survive_their_text(place: u64) {
            prop_assert_eq!(Lsn(place).to_string().parse(), Ok(Lsn(place)));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<Lsn>();
        }
    }
}
