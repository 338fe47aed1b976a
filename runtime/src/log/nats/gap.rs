//! Whether a reader lost messages to age: never skipped, always told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::stream::{self, Known, State};
use super::{Inner, index};
use crate::log::rules::{self, Pattern};
use crate::log::{LogError, Result, Stored, StreamInfo};

/// Most of the time before a message's end from which a reader looks whether it is still there.
const SLACK_MAX: Duration = Duration::from_secs(60);

/// How often a reader that gets nothing looks whether something was lost.
const IDLE_LOOK: Duration = Duration::from_secs(60);

/// Watches over what one reader has been given.
#[derive(Debug)]
pub(super) struct Guard {
    stream: String,
    /// What it reads; everything if empty.
    patterns: Vec<Pattern>,
    /// After which time messages go; none where they do not, or where newer ones make way for older ones on purpose.
    max_age: Option<Duration>,
    /// When the stream was made.
    created: Timestamp,
    /// The first sequence that it has not been given.
    pub(super) next: u64,
    /// When the last message it was given was stored.
    last_at: Option<Timestamp>,
    /// The server's clock at a moment of ours.
    clock: (Timestamp, Instant),
}

impl Guard {
    pub(super) fn new(
        known: &Known,
        filters: &[String],
        state: &State,
        next: u64,
    ) -> Result<Guard> {
        let keeps_states = known.config.max_per_subject.is_some();
        Ok(Guard {
            stream: known.config.name.clone(),
            patterns: rules::patterns(filters)?,
            max_age: known.config.max_age.filter(|_| !keeps_states),
            created: state.info().created,
            next,
            last_at: None,
            clock: (state.ts, Instant::now()),
        })
    }

    /// Looks at the stream: a loss between what was given and what is kept is an error.
    pub(super) async fn look(&mut self, log: &Arc<Inner>) -> Result<StreamInfo> {
        let state = stream::state(log, &self.stream).await?;
        self.clock = (state.ts, Instant::now());
        let info = state.info();
        if info.created != self.created {
            return Err(LogError::Storage(format!(
                "stream `{}` was made anew",
                self.stream
            )));
        }
        self.judge(log, &info).await?;
        Ok(info)
    }

    /// Compares what was given with what is kept.
    pub(super) async fn judge(&self, log: &Arc<Inner>, info: &StreamInfo) -> Result<()> {
        if self.max_age.is_none() || info.first_seq <= self.next {
            return Ok(());
        }
        let (from, first) = (self.next, info.first_seq);
        let lost = self.patterns.is_empty()
            || index::lost(log, &self.stream, &self.patterns, from, first).await?;
        if lost {
            return Err(LogError::Gap {
                stream: self.stream.clone(),
                first,
                wanted: from,
            });
        }
        Ok(())
    }

    /// Hands out what is ready, unless something before it was lost.
    pub(super) async fn hand_out(
        &mut self,
        log: &Arc<Inner>,
        ready: &mut VecDeque<Stored>,
        max: usize,
    ) -> Result<Vec<Stored>> {
        let count = max.min(ready.len());
        let mut looked = false;
        for at in 0..count {
            let (seq, stored_at) = (ready[at].seq, ready[at].at);
            if !looked && self.must_look(seq) {
                looked = true;
                match self.look(log).await {
                    Ok(_) => {}
                    Err(error) if at == 0 => return Err(error),
                    // What came before the loss is whole; the next fetch tells of it.
                    Err(_) => return Ok(ready.drain(..at).collect()),
                }
            }
            self.given(seq, stored_at);
        }
        Ok(ready.drain(..count).collect())
    }

    /// Whether it takes a look to know that nothing was lost before this message.
    fn must_look(&self, seq: u64) -> bool {
        let Some(max_age) = self.max_age else {
            return false;
        };
        if seq <= self.next {
            return false;
        }
        // A hole in what should have none.
        if self.patterns.is_empty() {
            return true;
        }
        // Whatever stood between is younger than the last message given; only close to its end it may be gone.
        let Some(last_at) = self.last_at else {
            return true;
        };
        let slack = SLACK_MAX.min(max_age / 2);
        let now = self.clock.0 + signed(self.clock.1.elapsed());
        now.duration_since(last_at) + signed(slack) >= signed(max_age)
    }

    /// Whether a reader that got nothing should look: what it waits for may be gone.
    pub(super) fn must_look_idle(&self) -> bool {
        self.max_age
            .is_some_and(|max_age| self.clock.1.elapsed() >= IDLE_LOOK.min(max_age / 4))
    }

    /// Takes note of a message that was given.
    fn given(&mut self, seq: u64, at: Timestamp) {
        if seq >= self.next {
            self.next = seq + 1;
            self.last_at = Some(at);
        }
    }

    /// Goes on at a sequence.
    pub(super) fn restart(&mut self, next: u64) {
        self.next = next;
        self.last_at = None;
    }
}

fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}
