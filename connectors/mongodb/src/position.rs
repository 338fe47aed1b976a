//! How far the source has read, and the note that says how to go on.
//!
//! A change stands at (the cluster's time of its commit, its number among those of that time, from 1): changes of one transaction share the time and come in their order.
//! Rows of a snapshot stand at the time as of which they were read, behind the changes of that time, so each holds every change that was told before it and none that comes after.
//! A life of the source is named by the replica set and the time at which the life began.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_core::Position;
use lockstep_core::connector::{Filter, News, Parts};
use lockstep_core::position::Mark;
use serde::{Deserialize, Serialize};

use crate::catalog::unhex;
use crate::convert::Form;

/// How far a run has read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    /// The life of the source in which `mark` counts.
    pub(crate) incarnation: Arc<str>,
    /// The last change or snapshot row that was read.
    pub(crate) mark: Mark,
    /// What else it takes to go on.
    pub(crate) cursor: Cursor,
}

/// The connector's note in a [`Position`].
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// The `_data` of the resume token behind which the changes go on.
    pub(crate) token: String,
    /// The transaction of our own that the last change was of, whose other changes are ours as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) own: Option<String>,
    /// How many elections the replica set had seen.
    #[serde(default)]
    pub(crate) term: u64,
    /// What told each collection from another of its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) known: BTreeMap<String, String>,
    /// The form in which each collection's `_id` is told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) ids: BTreeMap<String, Form>,
    /// Collections whose snapshot is complete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) done: Vec<String>,
    /// Collections still to be snapshotted, the one in work first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) todo: Vec<String>,
    /// The `_id` of the last document read of the first of them, as the bytes of a document in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<String>,
    /// Which rows are wanted of those that are read again in part.
    #[serde(default, skip_serializing_if = "Parts::is_empty")]
    pub(crate) parts: Parts,
}

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

    /// Puts a change or row that happened at `commit` behind everything before it.
    pub(crate) fn step(&mut self, commit: u64) -> Mark {
        self.mark = if commit > self.mark.commit {
            Mark { commit, ordinal: 1 }
        } else {
            Mark {
                commit: self.mark.commit,
                ordinal: self.mark.ordinal + 1,
            }
        };
        self.mark
    }

    /// Takes note that nothing of `commit` or before it is still to come.
    pub(crate) fn pass(&mut self, commit: u64) {
        if commit > self.mark.commit {
            self.mark = Mark { commit, ordinal: 0 };
        }
    }
}

impl Cursor {
    /// The note of a position, if it is one of this connector's.
    pub(crate) fn of(position: &Position) -> Option<Cursor> {
        let cursor: Cursor = serde_json::from_str(position.cursor.as_deref()?).ok()?;
        time_of(&cursor.token).is_some().then_some(cursor)
    }

    /// Has a collection read from its first document, after those that are read already.
    pub(crate) fn read_again(&mut self, name: &str) {
        self.read_part(name, None);
    }

    /// Has documents of a collection read again: those that fulfil something, or all.
    pub(crate) fn read_part(&mut self, name: &str, filter: Option<Filter>) {
        let is_due = self.todo.iter().any(|todo| todo == name);
        self.parts.ask(name, filter, is_due);
        if self.todo.first().is_some_and(|first| first == name) {
            self.after = None;
            return;
        }
        self.done.retain(|done| done != name);
        self.todo.retain(|todo| todo != name);
        self.todo.push(name.to_owned());
    }

    /// The snapshot of the first collection is complete.
    pub(crate) fn complete(&mut self) -> Option<News> {
        self.after = None;
        if self.todo.is_empty() {
            return None;
        }
        let name = self.todo.remove(0);
        let news = self.parts.complete(&name);
        self.done.push(name);
        Some(news)
    }
}

/// Names a life: the set, and when the life began.
pub(crate) fn incarnation(set: &str, start: u64) -> Arc<str> {
    format!("{}-{start:x}", legal(set)).into()
}

/// Whether a life is one of this set's.
pub(crate) fn is_of(incarnation: &str, set: &str) -> bool {
    let named = incarnation.rsplit_once('-').map(|(named, _)| named);
    named == Some(&legal(set))
}

/// A set's name in letters that no position takes apart.
fn legal(set: &str) -> String {
    let legal = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' {
            c
        } else {
            '_'
        }
    };
    set.chars().map(legal).collect()
}

/// The cluster's time in a resume token, which stands first in it, behind the byte that says so.
pub(crate) fn time_of(token: &str) -> Option<u64> {
    let head = unhex(token.get(..18)?)?;
    let (kind, time) = head.split_first()?;
    let time: [u8; 8] = time.try_into().ok()?;
    (*kind == 0x82).then(|| u64::from_be_bytes(time))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &str = "8263E0C6A3000000022B0429296E1404";

    #[test]
    fn positions_of_earlier_releases_are_still_read() {
        let text = format!(
            "rs0-63e0c6a300000001/63e0c6a300000002.00000003/{{\"token\":\"{TOKEN}\",\"own\":\"ab:7\",\"term\":4,\"known\":{{\"a\":\"07\"}},\"done\":[\"a\"],\"todo\":[\"b\"],\"after\":\"0500000000\"}}"
        );
        let position: Position = text.parse().unwrap();
        let cursor = Cursor::of(&position).unwrap();
        assert_eq!(time_of(&cursor.token), Some(0x63e0_c6a3_0000_0002));
        assert!(is_of(&position.incarnation, "rs0") && !is_of(&position.incarnation, "rs1"));
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
            "a/0.0/{\"token\":3}",
            "a/0.0/{\"token\":\"92\"}",
        ] {
            assert_eq!(Cursor::of(&text.parse().unwrap()), None, "{text}");
        }
    }

    #[test]
    fn marks_never_go_back() {
        let mut reading = Reading {
            incarnation: incarnation("my/set-1", 7),
            mark: Mark::default(),
            cursor: Cursor::default(),
        };
        assert_eq!(&*reading.incarnation, "my_set_1-7");
        let marks = [5, 5, 6, 5].map(|commit| reading.step(commit));
        let expected = [(5, 1), (5, 2), (6, 1), (6, 2)];
        assert_eq!(marks.map(|mark| (mark.commit, mark.ordinal)), expected);
        reading.pass(6);
        assert_eq!(reading.mark.ordinal, 2);
        reading.pass(9);
        assert_eq!((reading.mark.commit, reading.mark.ordinal), (9, 0));
    }

    #[test]
    fn a_collection_that_is_read_again_waits_for_its_turn() {
        let mut cursor = Cursor {
            done: vec!["a".to_owned()],
            todo: vec!["b".to_owned()],
            after: Some("00".to_owned()),
            ..Cursor::default()
        };
        cursor.read_again("a");
        assert_eq!(
            (cursor.todo.join(" "), cursor.after.is_some()),
            ("b a".to_owned(), true)
        );
        cursor.read_again("b");
        assert_eq!(cursor.after, None);
        cursor.complete();
        assert_eq!(
            (cursor.done.join(" "), cursor.todo.join(" ")),
            ("b".to_owned(), "a".to_owned())
        );
    }

    proptest! {
        #[test]
        fn no_token_panics(token in "\\PC{0,40}") {
            let _ = time_of(&token);
        }
    }
}
