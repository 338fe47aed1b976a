//! The inbox as a source: its stream from the first message that is not covered, in order.
//!
//! A position's commit is the stream's sequence, its ordinal the place in a frame; the incarnation is when the stream was made.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::connector::{Boxed, DynSource, Emitter, Finding, Need};
use lockstep_core::contract::{Outcome, Violation};
use lockstep_core::error::{Error, Kind, Result};
use lockstep_core::log::{
    Arrival, BATCH, CONTENT_TYPE, Channel, Observed, REPLY_TO, observe, subject,
};
use lockstep_core::position::Mark;
use lockstep_core::{Change, Op, Position, Row, Shape};

use super::{Contracts, Desk, Settings};
use crate::log::{
    self, AckPolicy, Consumer, ConsumerConfig, INBOX, Log, LogError, Start, Stored, StreamInfo,
};

/// Most messages of one fetch.
const FETCH_MAX: usize = 32;
/// This many observations are handed on before the next message is read.
const EMIT_MIN: usize = 500;
/// How long a fetch waits for something to come.
const FETCH_WAIT: Duration = Duration::from_secs(5);
/// How long the first fetch waits before the inbox counts as empty.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// One inbox, opened.
pub(crate) struct Inbox {
    system: String,
    settings: Settings,
    channels: HashMap<String, Channel>,
    log: Arc<dyn Log>,
    desk: Arc<Desk>,
}

impl Inbox {
    /// The inbox of a system that takes these entities.
    pub(crate) fn new(
        system: &str,
        settings: Settings,
        contracts: &Contracts,
        log: Arc<dyn Log>,
        desk: Arc<Desk>,
    ) -> Inbox {
        let channel = |(entity, contract): (&String, &Arc<_>)| {
            (entity.clone(), Channel::new(system, Arc::clone(contract)))
        };
        Inbox {
            system: system.to_owned(),
            settings,
            channels: contracts.iter().map(channel).collect(),
            log,
            desk,
        }
    }

    async fn read(self, resume: Option<Position>, out: Emitter) -> Result<()> {
        self.desk.clear();
        let info = self.log.stream(INBOX).await.map_err(log::to_error)?;
        let (mut at, is_new) = self.begin(resume, &info);
        let mut consumer = self.open(at.commit + 1).await?;
        if is_new {
            // Where this life begins, before any change of it.
            out.emit(Vec::new(), at.clone()).await?;
        }
        let mut looked = false;
        loop {
            let slot = out.room().await?;
            let known = self.log.stream(INBOX).await.map_err(log::to_error)?;
            let wait = if looked { FETCH_WAIT } else { FIRST_WAIT };
            let messages = tokio::select! {
                () = out.stopped() => return Err(Error::stopped()),
                fetched = consumer.fetch(FETCH_MAX, wait) => fetched.map_err(|error| self.gap(error))?,
            };
            if messages.is_empty() {
                // Other inboxes' messages move the stream on: without this a quiet inbox would fall behind what is kept.
                let caught_up =
                    known.last_seq > at.commit && matches!(consumer.pending().await, Ok((0, _)));
                if caught_up {
                    at = self.position(&at, known.last_seq, 0);
                }
                if caught_up || !std::mem::replace(&mut looked, true) {
                    slot.emit(Vec::new(), at.clone())?;
                }
                continue;
            }
            looked = true;
            let mut slot = Some(slot);
            let mut changes = Vec::new();
            let last = messages.len() - 1;
            for (n, message) in messages.into_iter().enumerate() {
                let seen = self.take(&message);
                at = self.position(&at, message.seq, seen.len().saturating_sub(1) as u64);
                changes.extend(seen.into_iter().map(|seen| seen.change));
                // A few bytes of a frame may be many observations: what is in memory is bounded by their number.
                if n < last && changes.len() < EMIT_MIN {
                    continue;
                }
                let slot = match slot.take() {
                    Some(slot) => slot,
                    None => out.room().await?,
                };
                slot.emit(std::mem::take(&mut changes), at.clone())?;
            }
        }
    }

    /// Where to go on, and whether a new life of the stream begins there.
    fn begin(&self, resume: Option<Position>, info: &StreamInfo) -> (Position, bool) {
        let incarnation: Arc<str> = format!("inbox-{}", info.created.as_microsecond()).into();
        let skipped = self
            .settings
            .begin
            .unwrap_or(0)
            .saturating_sub(1)
            .min(info.last_seq);
        match resume {
            Some(resume) if resume.incarnation == incarnation => {
                let commit = resume.commit.max(skipped);
                (self.position(&resume, commit, 0), false)
            }
            other => {
                if other.is_some() {
                    tracing::warn!(
                        system = self.system,
                        "the stream LS_INBOX was made anew; what it held before and nobody had read is gone"
                    );
                }
                let commit = info.first_seq.saturating_sub(1).max(skipped);
                let position = Position {
                    incarnation,
                    commit,
                    ordinal: 0,
                    cursor: None,
                };
                (position, true)
            }
        }
    }

    /// The position after a message, which never goes back.
    fn position(&self, at: &Position, commit: u64, ordinal: u64) -> Position {
        let mark = at.mark().max(Mark { commit, ordinal });
        Position {
            incarnation: Arc::clone(&at.incarnation),
            commit: mark.commit,
            ordinal: mark.ordinal,
            cursor: None,
        }
    }

    async fn open(&self, next: u64) -> Result<Box<dyn Consumer>> {
        let config = ConsumerConfig {
            durable: None,
            filters: vec![subject::inbox(&self.system)],
            start: Start::Seq(next),
            // The position in the log remembers what is done.
            ack: AckPolicy::None,
            ack_wait: Duration::from_secs(60),
            max_ack_pending: 0,
        };
        let consumer = self.log.consume(INBOX, config).await;
        consumer.map_err(|error| self.gap(error))
    }

    /// The observations of a message, entered at the desk; always at least one.
    fn take(&self, message: &Stored) -> Vec<Observed> {
        let arrival = Arrival {
            seq: message.seq,
            at: message.at,
        };
        let is_frame = message
            .header(CONTENT_TYPE)
            .is_some_and(|kind| kind.to_ascii_lowercase().starts_with(BATCH));
        let entity = subject::inbox_entity(&self.system, &message.subject);
        let channel = entity.and_then(|entity| self.channels.get(entity));
        let seen = match channel {
            Some(channel) => observe(channel, &message.headers, &message.payload, arrival)
                .map_err(|violation| self.unreadable(&channel.shape, message, violation)),
            None => {
                let (shape, violation) = self.no_entity(entity, &message.subject);
                Err(self.unreadable(&shape, message, violation))
            }
        };
        let seen = seen.unwrap_or_else(|unreadable| vec![unreadable]);
        self.desk
            .enter(message.seq, message.header(REPLY_TO), is_frame, &seen);
        seen
    }

    /// A message that is no observation as a whole.
    fn unreadable(&self, shape: &Arc<Shape>, message: &Stored, violation: Violation) -> Observed {
        let id = message.header("ce-id").or(message.header("Nats-Msg-Id"));
        Observed {
            id: id.map(Into::into),
            change: Change {
                shape: Arc::clone(shape),
                op: Op::Updated,
                row: Row::unchanged(shape.columns.len()),
                before: None,
                mark: Mark {
                    commit: message.seq,
                    ordinal: 0,
                },
                committed_at: message.at,
                origin: None,
            },
            violations: vec![violation],
            raw: Some(String::from_utf8_lossy(&message.payload).into()),
        }
    }

    /// A shape for what no contract describes.
    fn no_entity(&self, entity: Option<&str>, subject: &str) -> (Arc<Shape>, Violation) {
        let known: Vec<&str> = self.channels.keys().map(String::as_str).collect();
        let shown: String = subject.chars().take(120).collect();
        let message = format!(
            "no flow reads what `{shown}` names; `{}` takes: {}",
            self.system,
            known.join(", ")
        );
        let shape = Shape {
            name: entity.unwrap_or("unknown").to_owned(),
            columns: Vec::new(),
            key: Vec::new(),
        };
        let violation = Violation {
            field: None,
            rule: "entity".to_owned(),
            message,
            outcome: Outcome::Quarantine,
        };
        (Arc::new(shape), violation)
    }

    /// Messages that were removed before they were read are an alarm, never a skip.
    fn gap(&self, error: LogError) -> Error {
        match error {
            LogError::Gap { first, wanted, .. } => Error::new(
                Kind::Unsupported,
                format!(
                    "the stream LS_INBOX no longer keeps what the inbox `{}` needs next: it starts at {first}, {wanted} is wanted",
                    self.system
                ),
            )
            .code("LS-I001")
            .help(format!(
                "let the programs publish the state of their records again, then set `begin = {first}` under `[systems.{}]`",
                self.system
            )),
            error => log::to_error(error),
        }
    }
}

impl DynSource for Inbox {
    fn discover(&self) -> Boxed<'_, Result<Vec<Arc<Shape>>>> {
        let mut channels: Vec<&Channel> = self.channels.values().collect();
        channels.sort_by(|a, b| a.shape.name.cmp(&b.shape.name));
        let shapes = channels
            .into_iter()
            .map(|channel| Arc::clone(&channel.shape));
        let shapes = shapes.collect();
        Box::pin(async move { Ok(shapes) })
    }

    fn check<'a>(&'a self, _needs: &'a [Need]) -> Boxed<'a, Result<Vec<Finding>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn run(self: Box<Self>, resume: Option<Position>, out: Emitter) -> Boxed<'static, Result<()>> {
        Box::pin(self.read(resume, out))
    }
}
