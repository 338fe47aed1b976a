//! What waits in quarantine at one gate: which entry stands for which row, and what a later change of the row makes of it.
//!
//! Rows are known by their own key in their system, because a rejected record may have none in the contract; rows without any key are each known by their place in the source.
//! A change only ever settles what stands before it in its source, so a replay never closes a newer entry.

use std::collections::HashMap;
use std::sync::Arc;

use lockstep_core::Key;
use lockstep_core::log::is_later;

use crate::quarantine::{Entry, Former, Held, State};

/// The rows of one entity whose last change stands in quarantine.
#[derive(Debug, Default)]
pub(super) struct Book {
    rows: HashMap<String, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    /// The entry's id.
    id: String,
    /// The id of the change's event, which gives its place in the source.
    event: String,
    /// The key under which targets still hold the record, where the change would have given it another, and its lane.
    former: Option<(Key, u32)>,
    /// The change, until the quarantine has it: the outbox's limits are its limits.
    held: Option<Arc<Held>>,
}

/// A change that waits, as a patch of its row needs it.
#[derive(Debug, PartialEq)]
pub(super) enum Below {
    /// It is on its way into quarantine.
    Here(Arc<Held>),
    /// The quarantine has it, under this id.
    Stored(String),
}

/// What a change that passed makes of what waits.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Passed {
    /// Entries that have no meaning any more.
    pub(super) superseded: Vec<String>,
    /// Keys under which targets still hold the record, though it has another now.
    pub(super) farewells: Vec<(Key, u32)>,
    /// Entries whose former key the change's record has now.
    pub(super) taken: Vec<String>,
    /// Whether the change itself stood in quarantine, so that its lane may be past it without holding it.
    pub(super) returned: bool,
}

impl Book {
    /// Whether a change of a row stands in quarantine.
    pub(super) fn knows(&self, row: &str) -> bool {
        self.rows.contains_key(row)
    }

    /// The book of these entries; with it, ids of entries that a newer one of the same row made meaningless.
    pub(super) fn load(mut entries: Vec<Entry>) -> (Book, Vec<String>) {
        entries.sort_by(|a, b| {
            if is_later(&a.held.event, &b.held.event) {
                std::cmp::Ordering::Greater
            } else {
                std::cmp::Ordering::Less
            }
        });
        let mut book = Book::default();
        let mut superseded = Vec::new();
        for mut entry in entries {
            let row = entry.row_name();
            superseded.extend(book.set_aside(std::iter::once(row), &mut entry));
            book.stored(&entry);
        }
        (book, superseded)
    }

    /// What of a row (known by these keys, as it is and as it was) a patch has to be laid over: what waits before it, or the patch itself.
    pub(super) fn below(&self, rows: impl Iterator<Item = String>, event: &str) -> Option<Below> {
        let mut below = None;
        for row in rows {
            let waiting = self.rows.get(&row);
            if let Some(waiting) = waiting.filter(|waiting| waiting.event == event) {
                return Some(waiting.below());
            }
            // What it was called before the change tells which row it is; the new name may have been another's.
            below = waiting.filter(|waiting| is_later(event, &waiting.event));
        }
        below.map(Waiting::below)
    }

    /// The quarantine has an entry now.
    pub(super) fn stored(&mut self, entry: &Entry) {
        let waiting = self.rows.get_mut(&entry.row_name());
        if let Some(waiting) = waiting.filter(|waiting| waiting.id == entry.id) {
            waiting.held = None;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether an entry still stands for its row.
    pub(super) fn holds(&self, entry: &Entry) -> bool {
        self.rows
            .get(&entry.row_name())
            .is_some_and(|waiting| waiting.id == entry.id)
    }

    /// The key under which targets still hold an entry's record, if it is another one.
    pub(super) fn former(&self, entry: &Entry) -> Option<(Key, u32)> {
        self.rows.get(&entry.row_name())?.former.clone()
    }

    /// Forgets an entry that was settled.
    pub(super) fn forget(&mut self, entry: &Entry) {
        self.rows.remove(&entry.row_name());
    }

    /// A change of a row (known by these keys, as it is and as it was) passed, under this contract key if it left a record.
    pub(super) fn passed(
        &mut self,
        rows: impl Iterator<Item = String>,
        event: &str,
        key: Option<&Key>,
    ) -> Passed {
        let mut passed = Passed::default();
        for row in rows {
            let settles =
                |waiting: &Waiting| waiting.event == event || is_later(event, &waiting.event);
            if !self.rows.get(&row).is_some_and(settles) {
                continue;
            }
            let Some(waiting) = self.rows.remove(&row) else {
                continue;
            };
            passed.returned |= waiting.event == event;
            passed.superseded.push(waiting.id);
            passed
                .farewells
                .extend(waiting.former.filter(|(former, _)| key != Some(former)));
        }
        for waiting in self.rows.values_mut() {
            let taken = waiting
                .former
                .as_ref()
                .is_some_and(|(former, _)| key == Some(former));
            if taken && is_later(event, &waiting.event) {
                waiting.former = None;
                passed.taken.push(waiting.id.clone());
            }
        }
        passed
    }

    /// Every row is gone.
    pub(super) fn cleared(&mut self, event: &str) -> Vec<String> {
        let gone = self
            .rows
            .extract_if(|_, waiting| is_later(event, &waiting.event));
        gone.map(|(_, waiting)| waiting.id).collect()
    }

    /// A change of a row (known by these keys) did not pass. Gives the entries that it makes meaningless, and tells the entry under which key targets hold its record.
    pub(super) fn set_aside(
        &mut self,
        rows: impl Iterator<Item = String>,
        entry: &mut Entry,
    ) -> Vec<String> {
        let mut superseded = Vec::new();
        for row in rows {
            let Some(older) = self.rows.get(&row) else {
                continue;
            };
            if older.id != entry.id && !is_later(&entry.held.event, &older.event) {
                // A replay of what the newer entry made meaningless already, though perhaps it was never stored.
                // One that halts was decided about, or it would hold the newer one back: the store knows.
                if entry.state == State::Open && !entry.halts() {
                    entry.state = State::Superseded;
                    entry.closed_at = Some(entry.at);
                }
                return superseded;
            }
            let Some(older) = self.rows.remove(&row) else {
                continue;
            };
            // The targets hold the record under the key it had before the first change that did not pass.
            if let Some((key, lane)) = older.former {
                entry.former = key.values().ok().map(|key| Former { key, lane });
            }
            if older.id != entry.id {
                superseded.push(older.id);
            }
        }
        let former = entry.former.as_ref().and_then(|former| {
            let key = Key::encode(former.key.iter().map(Some)).ok()?;
            Some((key, former.lane))
        });
        let waiting = Waiting {
            id: entry.id.clone(),
            event: entry.held.event.clone(),
            former,
            held: Some(Arc::new(entry.held.clone())),
        };
        self.rows.insert(entry.row_name(), waiting);
        superseded
    }
}

impl Waiting {
    fn below(&self) -> Below {
        match &self.held {
            Some(held) => Below::Here(Arc::clone(held)),
            None => Below::Stored(self.id.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use lockstep_core::log::event_id;
    use lockstep_core::position::Mark;
    use lockstep_core::{Change, Column, Op, Row, Shape, Type, Value};

    use super::*;
    use crate::quarantine::{Held, Stage, Stopped};

    fn id(commit: u64) -> String {
        event_id("i", Mark { commit, ordinal: 0 })
    }

    fn key(text: &str) -> Key {
        Key::encode([Some(&Value::text(text))]).unwrap()
    }

    fn entry(row: &str, commit: u64, former: Option<&str>) -> Entry {
        let change = Change {
            shape: Arc::new(Shape {
                name: "t".into(),
                columns: vec![Column::new("id", Type::Text, false)],
                key: vec![0],
            }),
            op: Op::Updated,
            row: Row::of([Value::text(row)]),
            before: None,
            mark: Mark { commit, ordinal: 0 },
            committed_at: jiff::Timestamp::UNIX_EPOCH,
            origin: None,
        };
        let stopped = Stopped {
            stage: Stage::Gate,
            system: "crm",
            flow: None,
            entity: "thing",
            key: row.into(),
            contract: "1.0.0".into(),
        };
        let held = Held::of(&change, &id(commit));
        Entry {
            former: former.map(|text| Former {
                key: vec![Value::text(text)],
                lane: 3,
            }),
            ..Entry::open(format!("e{commit}"), stopped, held, Vec::new())
        }
    }

    fn row(text: &str) -> std::iter::Once<String> {
        std::iter::once(text.to_owned())
    }

    fn book(entries: Vec<Entry>) -> Book {
        Book::load(entries).0
    }

    #[test]
    fn a_later_good_change_closes_the_entry_and_an_earlier_one_replayed_does_not() {
        let mut book = book(vec![entry("a", 7, None)]);
        assert_eq!(
            book.passed(row("a"), &id(5), Some(&key("a"))),
            Passed::default()
        );
        assert_eq!(
            book.passed(row("a"), &id(8), Some(&key("a"))).superseded,
            ["e7"]
        );
        assert!(book.is_empty());
    }

    #[test]
    fn an_earlier_bad_change_replayed_leaves_the_newer_entry() {
        let mut book = book(vec![entry("a", 7, None)]);
        let mut older = entry("a", 5, None);
        assert_eq!(book.set_aside(row("a"), &mut older), Vec::<String>::new());
        assert!(book.holds(&entry("a", 7, None)));
    }

    #[test]
    fn of_several_open_entries_of_a_row_the_newest_stands() {
        let (book, superseded) = Book::load(vec![entry("a", 9, None), entry("a", 7, None)]);
        assert_eq!(superseded, ["e7"]);
        assert!(book.holds(&entry("a", 9, None)));
    }

    #[test]
    fn the_key_that_targets_hold_is_kept_over_several_refusals() {
        let mut book = book(vec![entry("new", 7, Some("old"))]);
        let mut again = entry("new", 8, None);
        assert_eq!(book.set_aside(row("new"), &mut again), ["e7"]);
        assert_eq!(again.former.as_ref().unwrap().lane, 3);
        let passed = book.passed(row("new"), &id(9), Some(&key("new")));
        assert_eq!(passed.farewells, [(key("old"), 3)]);
    }

    #[test]
    fn a_key_that_another_record_took_is_not_deleted() {
        let mut book = book(vec![entry("new", 7, Some("old"))]);
        let passed = book.passed(row("old"), &id(8), Some(&key("old")));
        assert_eq!(
            (passed.taken, passed.superseded),
            (vec!["e7".to_owned()], Vec::new())
        );
        assert_eq!(
            book.passed(row("new"), &id(9), Some(&key("new"))).farewells,
            []
        );
    }

    #[test]
    fn a_patch_finds_what_its_own_row_was_refused_with_and_nothing_of_another() {
        let mut book = book(vec![entry("a", 7, None)]);
        let stored = |id: &str| Some(Below::Stored(id.to_owned()));
        assert_eq!(book.below(row("a"), &id(8)), stored("e7"));
        assert_eq!(
            book.below(row("a"), &id(7)),
            stored("e7"),
            "the same again, after a crash"
        );
        assert_eq!(book.below(row("a"), &id(6)), None);
        let renamed = |from: &str, to: &str| [to.to_owned(), from.to_owned()].into_iter();
        assert_eq!(book.below(renamed("a", "b"), &id(8)), stored("e7"));
        assert_eq!(book.below(renamed("b", "a"), &id(8)), None);
        // What is not in quarantine yet is found all the same.
        let mut newer = entry("a", 9, None);
        book.set_aside(row("a"), &mut newer);
        let Some(Below::Here(held)) = book.below(row("a"), &id(10)) else {
            panic!("the change on its way is not found");
        };
        assert_eq!(*held, newer.held);
        book.stored(&newer);
        assert_eq!(book.below(row("a"), &id(10)), stored("e9"));
    }

    #[test]
    fn rows_without_a_key_are_never_taken_for_one() {
        let keyless = |commit| {
            let mut entry = entry("", commit, None);
            entry.held.row = Row::of([Value::Null]);
            entry
        };
        let (mut book, superseded) = Book::load(vec![keyless(7)]);
        assert_eq!(superseded, Vec::<String>::new());
        let mut newer = keyless(8);
        let row = std::iter::once(newer.row_name());
        assert_eq!(book.set_aside(row, &mut newer), Vec::<String>::new());
        assert!(
            book.holds(&keyless(7)),
            "another record's entry was superseded"
        );
        assert!(book.holds(&newer));
    }

    #[test]
    fn a_change_that_passes_after_its_contract_was_mended_is_known_to_have_been_held() {
        let mut book = book(vec![entry("a", 7, None)]);
        let passed = book.passed(row("a"), &id(7), Some(&key("a")));
        assert!(passed.returned);
        assert_eq!(passed.superseded, ["e7"]);
    }
}
