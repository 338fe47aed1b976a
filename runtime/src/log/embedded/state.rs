//! What the log knows of its streams without asking the file: counters, subjects, the last sequence of each.
//!
//! This is the *committed* view, which every reader sees; what the transaction under way has changed stands in its [`Stage`](super::stage::Stage).
//!
//! The file's counters lag behind: they are written now and then, and what a stop leaves unsaved is counted again from the rows at the next open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::table::Sql;
use crate::log::rules::Pattern;
use crate::log::{StreamConfig, StreamInfo};

/// Most subjects a stream may ever have; they are kept in memory.
pub(super) const SUBJECTS_MAX: usize = 1_000_000;

/// A stream of the open log.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: i64,
    pub(super) config: StreamConfig,
    pub(super) created: Timestamp,
    pub(super) patterns: Vec<Pattern>,
    pub(super) sql: Sql,
    pub(super) committed: RwLock<Committed>,
    /// Rises with every commit that stores something, and once when the log closes.
    pub(super) changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Committed {
    pub(super) head: Head,
    pub(super) subjects: Vec<(Arc<str>, Subject)>,
    pub(super) by_name: HashMap<Arc<str>, u32>,
}

/// A stream's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// When the last message was stored, in microseconds; time does not go back inside a stream.
    pub(super) last_at: i64,
    /// Whether messages between kept ones may be missing, because a newer one on the subject or a time to live removed them.
    pub(super) sparse: bool,
    /// The last sequence that the file's counters cover.
    pub(super) saved: u64,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            first: 1,
            last: 0,
            messages: 0,
            bytes: 0,
            last_at: 0,
            sparse: false,
            saved: 0,
        }
    }
}

/// What is known of one subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Subject {
    /// Its last sequence; 0 once nothing of it is kept, as a server has it.
    pub(super) last: u64,
    /// How many messages of it are kept.
    pub(super) messages: u64,
    /// The highest sequence of it that age removed; readers that stand before it have lost something.
    pub(super) lost: u64,
}

impl Stream {
    pub(super) fn new(
        id: i64,
        config: StreamConfig,
        created: Timestamp,
        patterns: Vec<Pattern>,
        head: Head,
        subjects: Vec<(Arc<str>, Subject)>,
    ) -> Self {
        let by_name = (0..)
            .zip(&subjects)
            .map(|(id, (name, _))| (name.clone(), id))
            .collect();
        Self {
            id,
            config,
            created,
            patterns,
            sql: Sql::new(id),
            committed: RwLock::new(Committed {
                head,
                subjects,
                by_name,
            }),
            changed: watch::Sender::new(0),
        }
    }

    pub(super) fn head(&self) -> Head {
        self.read().head
    }

    pub(super) fn info(&self) -> StreamInfo {
        let head = self.head();
        StreamInfo {
            first_seq: head.first,
            last_seq: head.last,
            messages: head.messages,
            bytes: head.bytes,
            created: self.created,
        }
    }

    /// The committed state of a subject, with its number.
    pub(super) fn subject(&self, name: &str) -> Option<(u32, Subject)> {
        let committed = self.read();
        let id = *committed.by_name.get(name)?;
        committed
            .subjects
            .get(id as usize)
            .map(|(_, subject)| (id, *subject))
    }

    pub(super) fn subject_at(&self, id: u32) -> Option<(Arc<str>, Subject)> {
        self.read().subjects.get(id as usize).cloned()
    }

    pub(super) fn subject_count(&self) -> usize {
        self.read().subjects.len()
    }

    /// The last sequences of the subjects that `wanted` takes, and the stream's last one, at one moment.
    pub(super) fn last_per_subject(&self, wanted: impl Fn(&str) -> bool) -> (Vec<u64>, u64) {
        let committed = self.read();
        let kept = committed
            .subjects
            .iter()
            .filter(|(_, subject)| subject.last > 0);
        let last = kept
            .filter(|(name, _)| wanted(name))
            .map(|(_, subject)| subject.last);
        (last.collect(), committed.head.last)
    }

    /// The first kept sequence, if age has removed something at or after `from` that `wanted` takes.
    pub(super) fn gap(&self, from: u64, wanted: impl Fn(&str) -> bool) -> Option<u64> {
        let committed = self.read();
        let lost = |(name, subject): &(Arc<str>, Subject)| subject.lost >= from && wanted(name);
        (from < committed.head.first && committed.subjects.iter().any(lost))
            .then_some(committed.head.first)
    }

    /// Wakes everybody who waits for this stream.
    pub(super) fn wake(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn read(&self) -> RwLockReadGuard<'_, Committed> {
        self.committed
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number as SQLite keeps it; none here comes near the limit.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A length of time in microseconds.
pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Locks, whatever happened to the last holder: what is guarded is never left half-changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
