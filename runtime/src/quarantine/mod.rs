//! Where a change goes that breaks its contract or that a target refuses, until somebody retries or drops it.
//!
//! An entry is durable, in the log's quarantine stream and in a key-value bucket that keeps its state, before the position or progress that covers its change moves on.
//! Its id is a pure function of the change, so a replay finds the entry instead of making a second one.
//! This module knows neither gate nor targets: it stores, lists and closes entries.

mod decision;
mod entry;
mod guarded;
mod place;
mod record;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lockstep_core::contract::Outcome;
use lockstep_core::error::{Error, Result};
use lockstep_core::log::subject;
use serde::de::DeserializeOwned;

use crate::log::{Bucket, Log, LogError, Message, PublishError, StreamConfig};

pub use decision::{Ask, Attempt, Closing, Edit, ORIGINAL_MAX, Tried};
pub use entry::{
    Answer, Entry, Former, Held, Original, Reason, Stage, State, Stopped, Summary, entry_id,
};
pub use guarded::{Guarded, HIDDEN};
pub use place::{Broken, HeldPlace, Place};
pub use record::{Wrong, corrected, from_json, read_value, to_json};

/// Code → page, for rules on data at run time.
pub const CODES: &[(&str, &str)] = &[
    (
        "LS-R001",
        "An entity is halted: a record broke a rule whose outcome is halt, and nothing of the entity goes on behind it.\n\
         Check: `lockstep status` names the entry, `lockstep quarantine show ID` its rule; what came after it waits in line, in order.\n\
         Safe: every other entity goes on, and nothing is lost. \
         Correct the record (`lockstep quarantine edit ID`), send it again after the contract was mended (`retry`), or do without it (`drop`): then the entity goes on by itself. \
         A rule over all records has no record to correct: mend them in their source and it goes on once the rule holds, or let it go on with `drop`.",
    ),
    (
        "LS-R002",
        "An entity is halted, and as much as may wait behind it is waiting: its source is not read on, so that nothing is lost.\n\
         Check: `lockstep status` names the entry that halts it.\n\
         Safe: decide about that entry with `lockstep quarantine edit`, `retry` or `drop`. \
         The other entities of the same system wait as long as the source does; those of other systems go on.",
    ),
    (
        "LS-R003",
        "A correction of a quarantined record cannot be read: it names a column that the record does not have, or a value that is not of its column's type.\n\
         Check: `lockstep quarantine show ID` lists the columns with their types.\n\
         Safe: nothing was changed; write it again.",
    ),
    (
        "LS-R004",
        "A rule over all records of an entity (unique, exists, volume, fresh) could not be judged.\n\
         Check: the message says which system did not answer or what the rule needs.\n\
         Safe: it is judged again at the next time; until then its last result stands in `lockstep status`.",
    ),
];

/// The stream of quarantined changes.
pub const STREAM: &str = "LS_DLQ";
/// The bucket of their states.
pub(crate) const BUCKET: &str = "LS_QUARANTINE";
/// How long quarantined changes stay in the stream; their states stay until closed and then as long.
const KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

/// The stream of quarantined changes.
pub(crate) fn stream() -> StreamConfig {
    StreamConfig {
        name: STREAM.to_owned(),
        subjects: vec!["ls.dlq.>".to_owned()],
        max_age: Some(KEPT),
        max_bytes: None,
        max_per_subject: None,
        duplicate_window: Duration::from_secs(120),
    }
}

/// How long a capture may take to hear that what halted it is decided.
const DISCARD_WAIT: Duration = Duration::from_secs(10);
/// Most entries stored together.
const PUT_MAX: usize = 256;

/// The quarantine of one log.
pub struct Quarantine {
    log: Arc<dyn Log>,
    bucket: Box<dyn Bucket>,
}

impl Quarantine {
    /// Opens the quarantine of a log.
    ///
    /// # Errors
    /// A log that cannot make the stream or the bucket.
    pub async fn open(log: Arc<dyn Log>) -> Result<Quarantine> {
        Quarantine::over(log).await.map_err(failed_log)
    }

    /// The same, for who wants to know what the log says.
    pub(crate) async fn over(log: Arc<dyn Log>) -> Result<Quarantine, LogError> {
        log.ensure_stream(&stream()).await?;
        let bucket = log.bucket(BUCKET).await?;
        Ok(Quarantine { log, bucket })
    }

    /// Makes entries durable. An entry that is there already is left as it is.
    ///
    /// # Errors
    /// A log that cannot store them; nothing may go on past them then.
    pub async fn put(&self, entries: &[Entry]) -> Result<()> {
        for entries in entries.chunks(PUT_MAX) {
            self.put_some(entries).await?;
        }
        Ok(())
    }

    async fn put_some(&self, entries: &[Entry]) -> Result<()> {
        let mut messages = Vec::with_capacity(entries.len());
        let mut bodies = Vec::with_capacity(entries.len());
        for entry in entries {
            let body = Bytes::from(entry.to_stored().map_err(unwritable)?);
            messages.push(Message {
                subject: subject::quarantine(&entry.system, &entry.entity),
                headers: vec![("ls-reason".to_owned(), entry.reason_header())],
                payload: body.clone(),
                id: Some(entry.id.clone()),
                ..Message::default()
            });
            bodies.push((&entry.id, body));
        }
        for outcome in self.log.publish(STREAM, messages).await {
            outcome.map_err(|error| not_stored(&error))?;
        }
        // Together, so that they share a commit of the log.
        let states = bodies
            .into_iter()
            .map(|(id, body)| self.bucket.update(id, body, 0));
        let outcomes = futures_util::future::join_all(states).await;
        for (entry, outcome) in entries.iter().zip(outcomes) {
            match outcome {
                Ok(_) => {}
                // What waited in line was judged now; anything else is there already.
                Err(LogError::WrongRevision { .. }) if entry.state == State::Waiting => {}
                Err(LogError::WrongRevision { .. }) => self.judged(entry).await?,
                Err(error) => return Err(failed_log(error)),
            }
        }
        Ok(())
    }

    /// A change that waited in line stands for itself now.
    async fn judged(&self, entry: &Entry) -> Result<()> {
        let judged = |stored: &mut Entry| {
            let waited = stored.state == State::Waiting;
            if waited {
                let original = stored.original.take();
                let attempts = std::mem::take(&mut stored.attempts);
                *stored = Entry {
                    original,
                    attempts,
                    ..entry.clone()
                };
            }
            waited
        };
        self.change(&entry.id, judged).await.map(|_| ())
    }

    /// The entry of an id.
    ///
    /// # Errors
    /// A log that cannot be read, or an entry that another version wrote.
    pub async fn get(&self, id: &str) -> Result<Option<Entry>> {
        let Some(found) = self.bucket.get(id).await.map_err(failed_log)? else {
            return Ok(None);
        };
        parse(&found.value).map(Some)
    }

    /// Entries that still stand for their record, from the oldest on: the open ones and, unless `open_only`, those that somebody dropped or a rule refused for good.
    ///
    /// # Errors
    /// A log that cannot be read, or an entry that another version wrote.
    pub async fn list(&self, open_only: bool) -> Result<Vec<Entry>> {
        let waits = |entry: &Entry| match entry.state {
            State::Open => true,
            State::Dropped | State::Rejected => !open_only,
            State::Superseded | State::Retried | State::Waiting => false,
        };
        self.entries(waits).await
    }

    /// Every entry, those that were closed in the last months included.
    ///
    /// # Errors
    /// A log that cannot be read, or an entry that another version wrote.
    pub async fn all(&self) -> Result<Vec<Entry>> {
        self.entries(|_| true).await
    }

    async fn entries(&self, wanted: impl Fn(&Entry) -> bool + Send + Sync) -> Result<Vec<Entry>> {
        let mut found = HashMap::new();
        self.each(|entry: Entry| {
            // What changes while it is read comes twice, the newer one later.
            if wanted(&entry) {
                found.insert(entry.id.clone(), entry);
            } else {
                found.remove(&entry.id);
            }
        })
        .await?;
        let mut entries: Vec<Entry> = found.into_values().collect();
        entries.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        Ok(entries)
    }

    /// Where the open and the waiting entries stopped: what counting takes, without a record in memory.
    ///
    /// # Errors
    /// A log that cannot be read, or an entry that another version wrote.
    pub async fn places(&self) -> Result<Vec<Place>> {
        let mut open = HashMap::new();
        self.each(|place: Place| {
            if matches!(place.state, State::Open | State::Waiting) {
                open.insert(place.id.clone(), place);
            } else {
                open.remove(&place.id);
            }
        })
        .await?;
        Ok(open.into_values().collect())
    }

    /// Shows every entry, or as much of it as is asked for.
    async fn each<T: DeserializeOwned>(&self, mut take: impl FnMut(T) + Send) -> Result<()> {
        let mut broken = None;
        let mut one = |found: crate::log::Entry| match parse(&found.value) {
            Ok(entry) => take(entry),
            Err(error) => {
                broken.get_or_insert(error);
            }
        };
        self.bucket.scan(&mut one).await.map_err(failed_log)?;
        broken.map_or(Ok(()), Err)
    }

    /// Closes an open entry: retried, dropped or superseded. Tells whether it was open.
    ///
    /// A dropped entry is superseded as well: its record is good again.
    ///
    /// # Errors
    /// A log that cannot be written.
    pub async fn close(&self, id: &str, state: State) -> Result<bool> {
        self.close_by(id, state, None).await
    }

    async fn close_by(&self, id: &str, state: State, closing: Option<&Closing>) -> Result<bool> {
        self.change(id, |entry| {
            let closes = match entry.state {
                State::Open => true,
                State::Dropped | State::Rejected => state == State::Superseded,
                State::Waiting => state != State::Dropped,
                State::Superseded | State::Retried => false,
            };
            if closes {
                entry.state = state;
                entry.closed_at = Some(jiff::Timestamp::now());
                entry.closing = closing.cloned();
            }
            closes
        })
        .await
    }

    /// Keeps what was tried with an open entry: a correction, and how the attempt ended.
    ///
    /// # Errors
    /// A log that cannot be written.
    pub async fn tried(&self, id: &str, edit: Option<&Edit>, attempt: Attempt) -> Result<bool> {
        self.change(id, |entry| {
            entry.edits.extend(edit.cloned());
            entry.note(attempt.clone());
            true
        })
        .await
    }

    /// An open entry breaks other rules by now.
    ///
    /// # Errors
    /// A log that cannot be written.
    pub async fn broken_by_now(
        &self,
        id: &str,
        violations: &[lockstep_core::contract::Violation],
    ) -> Result<bool> {
        self.change(id, |entry| {
            let changes = entry.state == State::Open && entry.violations != violations;
            if changes {
                entry.violations = violations.to_vec();
            }
            changes
        })
        .await
    }

    /// Opens the entry of something that stands for no single change, unless somebody decided about it since it last held. Tells whether it is open now.
    ///
    /// # Errors
    /// A log that cannot be written.
    pub async fn raise(&self, entry: &Entry) -> Result<bool> {
        self.put(std::slice::from_ref(entry)).await?;
        self.change(&entry.id, |stored| {
            if matches!(stored.state, State::Superseded | State::Retried) {
                *stored = entry.clone();
                return true;
            }
            false
        })
        .await?;
        let now = self.get(&entry.id).await?;
        Ok(now.is_some_and(|now| now.state == State::Open))
    }

    /// What an entry stands for holds again: it is closed, and what it halted goes on.
    ///
    /// # Errors
    /// A log that cannot be written.
    pub async fn settle(&self, id: &str) -> Result<bool> {
        let Some(entry) = self.get(id).await? else {
            return Ok(false);
        };
        let closed = self.close(id, State::Superseded).await?;
        // Also where it was closed before: who should have heard of it may not have.
        self.tell_closed(&entry).await;
        Ok(closed)
    }

    /// Tells whoever runs the step of an entry that it is closed.
    async fn tell_closed(&self, entry: &Entry) {
        let ask = Ask::Closed {
            id: entry.id.clone(),
        };
        // Where nothing runs, the next start sees that it is closed.
        if let Err(error) = self.tell(entry, &ask, DISCARD_WAIT).await {
            tracing::debug!(id = entry.id, %error, "nobody was told that an entry is closed");
        }
    }

    /// Forgets under which key targets hold an entry's record, because another record has that key now.
    ///
    /// # Errors
    /// A log that cannot be written.
    pub async fn forget_former(&self, id: &str) -> Result<bool> {
        self.change(id, |entry| entry.former.take().is_some()).await
    }

    /// Removes entries that have been closed for long.
    ///
    /// # Errors
    /// A log that cannot be read or written.
    pub async fn expire(&self, now: jiff::Timestamp) -> Result<usize> {
        let kept = jiff::SignedDuration::try_from(KEPT).unwrap_or(jiff::SignedDuration::MAX);
        let mut removed = 0;
        let mut closed = HashMap::new();
        self.each(|place: Place| {
            if place.closed_at.is_some() {
                closed.insert(place.id.clone(), place);
            }
        })
        .await?;
        for entry in closed.into_values() {
            let long = entry
                .closed_at
                .is_some_and(|at| now.duration_since(at) > kept);
            // A dropped entry still tells verification why its record differs; what a rule refused is nobody's decision to remember for ever.
            let is_over =
                |state| matches!(state, State::Superseded | State::Retried | State::Rejected);
            if long && is_over(entry.state) {
                self.bucket.delete(&entry.id).await.map_err(failed_log)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Changes an entry by compare-and-set; `how` tells whether there is anything to change.
    async fn change(&self, id: &str, how: impl Fn(&mut Entry) -> bool) -> Result<bool> {
        loop {
            let Some(found) = self.bucket.get(id).await.map_err(failed_log)? else {
                return Ok(false);
            };
            let mut entry = parse(&found.value)?;
            if !how(&mut entry) {
                return Ok(false);
            }
            let body = entry.to_stored().map_err(unwritable)?;
            match self.bucket.update(id, body.into(), found.revision).await {
                Ok(_) => return Ok(true),
                // Somebody else changed it in between: look again.
                Err(LogError::WrongRevision { .. }) => {}
                Err(error) => return Err(failed_log(error)),
            }
        }
    }
}

impl Quarantine {
    /// Asks whoever runs the step at which an entry stopped to try it again, as it is or corrected.
    ///
    /// # Errors
    /// A log that cannot be read.
    pub async fn ask(&self, ask: &Ask, deadline: Duration) -> Result<Answer> {
        let Some(entry) = self.get(ask.id()).await? else {
            return Ok(Answer::Missing);
        };
        let failed = |reason: String| Ok(Answer::Failed { reason });
        match self.tell(&entry, ask, deadline).await {
            Ok(body) => serde_json::from_slice(&body)
                .map_err(|error| Error::unexpected("an answer cannot be read").because(error)),
            Err(LogError::NoResponders(_)) => failed(format!(
                "nothing runs for `{}` right now: see `lockstep status`",
                entry.system
            )),
            Err(LogError::Timeout(_)) => {
                failed("no answer in time; it may still be done".to_owned())
            }
            Err(error) => Err(failed_log(error)),
        }
    }

    async fn tell(&self, entry: &Entry, ask: &Ask, deadline: Duration) -> Result<Bytes, LogError> {
        let subject = match (entry.stage, &entry.flow) {
            (Stage::Deliver, Some(flow)) => subject::deliver_control(flow, &entry.system),
            _ => subject::capture_control(&entry.system),
        };
        self.log.request(&subject, ask.to_bytes(), deadline).await
    }

    /// Closes an entry for good: its change will never be applied. What it halted goes on.
    ///
    /// # Errors
    /// A log that cannot be written.
    pub async fn discard(&self, id: &str, closing: &Closing) -> Result<Answer> {
        let Some(entry) = self.get(id).await? else {
            return Ok(Answer::Missing);
        };
        if entry.state == State::Waiting {
            let reason = "it waits in line behind the change that halted its entity: decide about that one first";
            return Ok(Answer::Failed {
                reason: reason.to_owned(),
            });
        }
        let closed = self.close_by(id, State::Dropped, Some(closing)).await?;
        if entry.outcome() == Outcome::Halt {
            self.tell_closed(&entry).await;
        }
        Ok(if closed {
            Answer::Done
        } else {
            Answer::Closed { state: entry.state }
        })
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body)
        .map_err(|error| Error::unexpected("a quarantine entry cannot be read").because(error))
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::unexpected("a quarantine entry cannot be written").because(error)
}

fn failed_log(error: LogError) -> Error {
    crate::log::to_error(error)
}

fn not_stored(error: &PublishError) -> Error {
    crate::log::not_published(error)
}
