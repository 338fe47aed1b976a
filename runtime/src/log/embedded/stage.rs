//! What the transaction under way has changed of a stream: seen by the writer alone, and forgotten by a rollback.
//!
//! Counters are written to the file every [`SAVE_EVERY`] messages and in each transaction that removes something, not with every message: a lone publish then writes one page instead of three.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use rusqlite::Connection;

use super::state::{Head, Stream, Subject};

/// Most messages of a stream between two writes of its counters.
const SAVE_EVERY: u64 = 1024;

/// The state of a stream inside the transaction under way.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) stream: Arc<Stream>,
    pub(super) head: Head,
    /// Whether the counters must be in the file when this transaction is.
    pub(super) save: bool,
    touched: HashMap<u32, Subject>,
    fresh: Vec<Arc<str>>,
    fresh_ids: HashMap<Arc<str>, u32>,
    known: usize,
    /// The next time, in microseconds, at which something the transaction stored may have to go.
    pub(super) due: i64,
}

impl Stage {
    pub(super) fn new(stream: &Arc<Stream>) -> Self {
        Self {
            head: stream.head(),
            known: stream.subject_count(),
            stream: Arc::clone(stream),
            save: false,
            due: i64::MAX,
            touched: HashMap::new(),
            fresh: Vec::new(),
            fresh_ids: HashMap::new(),
        }
    }

    /// The number and state of a subject, if the stream ever had it.
    pub(super) fn find(&self, name: &str) -> Option<(u32, Subject)> {
        if let Some(&id) = self.fresh_ids.get(name) {
            return Some((id, self.subject(id)));
        }
        let (id, subject) = self.stream.subject(name)?;
        Some((id, self.touched.get(&id).copied().unwrap_or(subject)))
    }

    pub(super) fn subject(&self, id: u32) -> Subject {
        let committed = || self.stream.subject_at(id).map(|(_, subject)| subject);
        self.touched
            .get(&id)
            .copied()
            .or_else(committed)
            .unwrap_or_default()
    }

    pub(super) fn subjects(&self) -> usize {
        self.known + self.fresh.len()
    }

    /// Gives a new subject its number.
    pub(super) fn add(&mut self, conn: &Connection, name: &str) -> rusqlite::Result<u32> {
        let id = u32::try_from(self.subjects()).unwrap_or(u32::MAX);
        let name: Arc<str> = name.into();
        self.stream
            .save_subject(conn, id, &name, &Subject::default())?;
        self.fresh.push(Arc::clone(&name));
        self.fresh_ids.insert(name, id);
        self.touched.insert(id, Subject::default());
        Ok(id)
    }

    pub(super) fn set(&mut self, id: u32, subject: Subject) {
        self.touched.insert(id, subject);
    }

    /// Writes the counters if they have to be; `unsaved` are the subjects earlier transactions left.
    pub(super) fn finish(
        &mut self,
        conn: &Connection,
        unsaved: &HashSet<u32>,
    ) -> rusqlite::Result<()> {
        if !self.save && self.head.last < self.head.saved + SAVE_EVERY {
            return Ok(());
        }
        self.save = true;
        self.head.saved = self.head.last;
        for &id in unsaved.iter().chain(self.touched.keys()) {
            let subject = self.subject(id);
            if let Some(name) = self.name(id) {
                self.stream.save_subject(conn, id, &name, &subject)?;
            }
        }
        self.stream.save_head(conn, &self.head)
    }

    pub(super) fn name(&self, id: u32) -> Option<Arc<str>> {
        match (id as usize).checked_sub(self.known) {
            Some(fresh) => self.fresh.get(fresh).cloned(),
            None => self.stream.subject_at(id).map(|(name, _)| name),
        }
    }

    /// Makes this stage the committed state.
    pub(super) fn commit(self, unsaved: &mut HashSet<u32>) {
        if self.save {
            unsaved.clear();
        } else {
            unsaved.extend(self.touched.keys());
        }
        {
            let mut committed = self
                .stream
                .committed
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            for name in self.fresh {
                let id = u32::try_from(committed.subjects.len()).unwrap_or(u32::MAX);
                committed.by_name.insert(Arc::clone(&name), id);
                committed.subjects.push((name, Subject::default()));
            }
            for (id, subject) in self.touched {
                if let Some(slot) = committed.subjects.get_mut(id as usize) {
                    slot.1 = subject;
                }
            }
            committed.head = self.head;
        }
        self.stream.wake();
    }
}
