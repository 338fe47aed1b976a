//! How far the source has read, and the note that says how to go on.
//!
//! A change stands at (where its transaction begins in the binary log, where in the transaction its event stands plus its number in the event).
//! A [`Place`] is the number of a file of the log and a place in it; the mark of a transaction is one more than the place where it begins, so that rows of a snapshot, which is taken between transactions, stand before the transaction that begins there and after every change they contain.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_core::connector::Parts;
use lockstep_core::position::Mark;
use lockstep_core::{Position, Value};
use serde::{Deserialize, Serialize};

use crate::gtid::Gtids;
use crate::tables::Stamp;

/// A place in the binary log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Place {
    /// The number that the file's name ends with.
    pub(crate) file: u32,
    /// The place in the file.
    pub(crate) at: u64,
}

impl Place {
    /// The place in a file by its name; none where the name ends with no number.
    pub(crate) fn of(file: &str, at: u64) -> Option<Place> {
        let (_, number) = file.rsplit_once('.')?;
        Some(Place {
            file: number.parse().ok()?,
            at,
        })
    }

    /// The place as a number that orders places. A transaction never begins beyond the four gigabytes that 32 bits hold: the server begins another file before.
    pub(crate) fn commit(self) -> u64 {
        u64::from(self.file) << 32 | self.at.min(u64::from(u32::MAX))
    }
}

/// How far a run has read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    /// The life of the source in which `mark` counts.
    pub(crate) incarnation: Arc<str>,
    /// The last change or snapshot row that was told.
    pub(crate) mark: Mark,
    /// The transactions that are told wholly.
    pub(crate) gtids: Gtids,
    /// What else it takes to go on.
    pub(crate) cursor: Cursor,
}

/// The connector's note in a [`Position`].
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// The transactions that are told wholly, by their names.
    pub(crate) gtid: String,
    /// The file of the log in which the next one begins, or a later one follows.
    pub(crate) file: String,
    /// The place in it; never inside a transaction.
    pub(crate) at: u64,
    /// When the server began the file, in seconds since 1970: a log that is reset gives its files the same names again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) born: Option<u32>,
    /// Tables whose snapshot is complete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) done: Vec<String>,
    /// Tables still to be snapshotted, the one in work first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) todo: Vec<String>,
    /// The key of the last row read of the first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<RowKey>,
    /// What the tables were when they were last looked at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) known: BTreeMap<String, Stamp>,
    /// Which rows are wanted of those that are read again in part.
    #[serde(default, skip_serializing_if = "Parts::is_empty")]
    pub(crate) parts: Parts,
}

/// The values of a row's key, in key order.
pub(crate) type RowKey = Vec<Value>;

impl Reading {
    /// The position that stands for it.
    pub(crate) fn position(&self) -> Position {
        let mut cursor = self.cursor.clone();
        cursor.gtid = self.gtids.to_string();
        Position {
            incarnation: Arc::clone(&self.incarnation),
            commit: self.mark.commit,
            ordinal: self.mark.ordinal,
            // A struct of texts and numbers always has a JSON form.
            cursor: serde_json::to_string(&cursor).ok().map(Into::into),
        }
    }
}

impl Cursor {
    /// The note of a position, if it is one of this connector's.
    pub(crate) fn of(position: &Position) -> Option<Cursor> {
        serde_json::from_str(position.cursor.as_deref()?).ok()
    }

    /// Where to go on.
    pub(crate) fn place(&self) -> Place {
        Place::of(&self.file, self.at).unwrap_or_default()
    }
}

/// Names a life: the server, and where the life began.
pub(crate) fn incarnation(server: &str, start: Place) -> Arc<str> {
    format!("{server}-{:x}", start.commit()).into()
}

/// Whether a life is of a server.
pub(crate) fn is_of(incarnation: &str, server: &str) -> bool {
    let named = incarnation.rsplit_once('-').map(|(named, _)| named);
    // Earlier releases wrote `maria:` before the number.
    named.is_some_and(|named| named == server || named.replacen(':', "-", 1) == server)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn positions_of_earlier_releases_are_still_read() {
        let text = r#"maria:77-100000004/0000000100000200.00000042/{"gtid":"0-1-7","file":"binlog.000001","at":512,"done":["a"],"todo":["b"],"after":[{"int":7},{"text":"x/y"}],"known":{"a":{"columns":[2,99]}}}"#;
        let position: Position = text.parse().unwrap();
        let cursor = Cursor::of(&position).unwrap();
        assert_eq!(cursor.place(), Place { file: 1, at: 512 });
        assert_eq!(cursor.after, Some(vec![Value::Int(7), Value::text("x/y")]));
        assert_eq!(cursor.born, None);
        assert!(is_of(&position.incarnation, "maria-77"));
        assert!(!is_of(&position.incarnation, "maria-7"));
        let newer = incarnation("maria-77", cursor.place());
        assert!(is_of(&newer, "maria-77") && !newer.contains(':'), "{newer}");
        let reading = Reading {
            incarnation: Arc::clone(&position.incarnation),
            mark: position.mark(),
            gtids: cursor.gtid.parse().unwrap(),
            cursor,
        };
        assert_eq!(reading.position().to_string(), text);
    }

    #[test]
    fn a_foreign_note_is_no_note() {
        for text in ["a/0.0", "a/0.0/x", "a/0.0/{\"from\":\"0/1\"}"] {
            assert_eq!(Cursor::of(&text.parse().unwrap()), None, "{text}");
        }
        assert_eq!(Place::of("binlog", 4), None);
        assert_eq!(Place::of("binlog.x", 4), None);
    }

    proptest! {
        #[test]
        fn numbers_order_places(a: (u32, u32), b: (u32, u32)) {
            let place = |(file, at): (u32, u32)| Place { file, at: at.into() };
            prop_assert_eq!(place(a).cmp(&place(b)), place(a).commit().cmp(&place(b).commit()));
        }
    }
}
