//! The lanes of an entity, read ahead in the log's order and decoded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::Position;
use lockstep_core::contract::{Contract, Violation};
use lockstep_core::error::{Error, Kind, Result};
use lockstep_core::log::{DecodeError, Event, decode_among, subject};
use tokio::sync::mpsc;

use super::plan::carried;
use super::progress::Progress;
use crate::log::{
    self, AckPolicy, Consumer, ConsumerConfig, Log, LogError, SETTLED, Start, Stored,
};
use crate::versions::{Readings, Versions};

/// Most messages of one fetch.
const FETCH_MAX: usize = 32;
/// Changes after which a chunk takes no further message.
const CHUNK_EVENTS: usize = 1000;
/// Most versions that the events of one message are of.
const VERSIONS_MAX: usize = 1000;
/// How long a fetch waits for something to come.
const FETCH_WAIT: Duration = Duration::from_secs(5);

/// What one fetch brought, decoded.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// The changes, in the log's order.
    pub(super) events: Vec<Event>,
    /// Which lanes they came by: how many there were after each message, and its subject.
    pub(super) spans: Vec<(usize, String)>,
    /// Messages that are not ours.
    pub(super) foreign: Vec<(Stored, DecodeError)>,
    /// Events that cannot be carried over to the version that the target gets, with their own version.
    pub(super) unfit: Vec<(Event, String, Vec<Violation>)>,
    /// Per lane, the last sequence and the source position it covers.
    pub(super) ends: BTreeMap<String, (u64, Option<Position>)>,
    /// The last sequence of all.
    pub(super) reached: u64,
    /// Whether what follows is of a version that the target goes on to.
    pub(super) changes: bool,
    /// Whether more is at hand behind it, so that another batch comes at once.
    pub(super) follows: bool,
    /// Whether it came past the log, so that no lane moves with it.
    pub(super) stays: bool,
}

impl Chunk {
    /// Adds what came next.
    pub(super) fn append(&mut self, next: Chunk) {
        let before = self.events.len();
        let spans = next.spans.into_iter();
        self.spans
            .extend(spans.map(|(end, subject)| (before + end, subject)));
        self.events.extend(next.events);
        self.foreign.extend(next.foreign);
        self.unfit.extend(next.unfit);
        self.ends.extend(next.ends);
        self.reached = self.reached.max(next.reached);
        self.changes |= next.changes;
        self.follows = next.follows;
    }
}

/// Reads ahead.
pub(super) struct Feed {
    consumer: Box<dyn Consumer>,
    versions: Versioned,
    progress: Progress,
}

/// What a reader knows of the versions that it meets.
pub(super) struct Versioned {
    pub(super) versions: Arc<Versions>,
    pub(super) readings: Readings,
    /// The contract that the target is on by the configuration, and whether it stays there.
    pub(super) own: Arc<Contract>,
    pub(super) pinned: bool,
}

/// What a version is to a reader that did not know it.
enum Learnt {
    Known,
    Unknown,
    /// The target goes on to it.
    GoesOn,
}

impl Versioned {
    async fn learn(&mut self, urn: &str) -> Result<Learnt> {
        let Some(kept) = self.versions.find(urn).await? else {
            return Ok(Learnt::Unknown);
        };
        if kept.contract.entity != self.own.entity {
            return Ok(Learnt::Unknown);
        }
        let (own, version) = (self.readings.version(), &kept.contract.version);
        let newer = version.major == own.major && version > own;
        if newer && !self.pinned && !kept.taken.is_empty() {
            return Ok(Learnt::GoesOn);
        }
        self.readings.add(&kept.contract, &self.versions.known());
        Ok(Learnt::Known)
    }

    /// Puts a message's events into a chunk, as records of the version that the target gets.
    fn take(&self, events: Vec<Event>, chunk: &mut Chunk) {
        for mut event in events {
            let reading = self.readings.of_shape(&event.change.shape);
            let Some((version, Some(route))) = reading else {
                chunk.events.push(event);
                continue;
            };
            match carried(&event.change, route.as_ref()) {
                Ok(change) => {
                    event.change = change;
                    chunk.events.push(event);
                }
                Err(violations) => chunk.unfit.push((event, version.to_string(), violations)),
            }
        }
    }
}

impl Feed {
    /// Starts after what is applied; `lanes` says how many lanes each major version of the entity has.
    pub(super) async fn open(
        log: &dyn Log,
        versions: Versioned,
        lanes: &BTreeMap<u64, u32>,
        progress: &Progress,
    ) -> Result<Feed> {
        let entity = &versions.own.entity;
        let majors = lanes.keys();
        let config = ConsumerConfig {
            durable: None,
            filters: majors
                .map(|major| subject::settled_lanes(entity, *major))
                .collect(),
            start: Start::Seq(progress.next()),
            // The target remembers what is applied, so there is nothing to acknowledge.
            ack: AckPolicy::None,
            ack_wait: Duration::from_secs(60),
            max_ack_pending: 0,
        };
        let consumer = log
            .consume(SETTLED, config)
            .await
            .map_err(|error| gap(error, entity))?;
        Ok(Feed {
            consumer,
            versions,
            progress: progress.clone(),
        })
    }

    /// Hands chunks on until nobody takes them any more, or until the target goes on to another version.
    pub(super) async fn run(mut self, chunks: mpsc::Sender<Result<Chunk>>) {
        loop {
            let fetched = tokio::select! {
                () = chunks.closed() => return,
                fetched = self.consumer.fetch(FETCH_MAX, FETCH_WAIT) => fetched,
            };
            let messages = match fetched {
                Ok(messages) => messages,
                Err(error) => {
                    // Nobody to tell means that the delivery is over anyway.
                    let error = gap(error, &self.versions.own.entity);
                    let _ = chunks.send(Err(error)).await;
                    return;
                }
            };
            let mut chunk = Chunk::default();
            let mut messages = messages.into_iter();
            while let Some(message) = messages.next() {
                if let Err(error) = self.decode(message, &mut chunk).await {
                    let _ = chunks.send(Err(error)).await;
                    return;
                }
                if chunk.changes {
                    let _ = chunks.send(Ok(chunk)).await;
                    return;
                }
                if chunk.events.len() < CHUNK_EVENTS {
                    continue;
                }
                let mut rest = messages.as_slice().iter();
                chunk.follows = rest.any(|next| !self.progress.covers(&next.subject, next.seq));
                if chunks.send(Ok(std::mem::take(&mut chunk))).await.is_err() {
                    return;
                }
            }
            if chunk.reached > 0 && chunks.send(Ok(chunk)).await.is_err() {
                return;
            }
        }
    }

    async fn decode(&mut self, message: Stored, chunk: &mut Chunk) -> Result<()> {
        if self.progress.covers(&message.subject, message.seq) {
            chunk.reached = message.seq;
            return Ok(());
        }
        self.versions.decode(message, chunk).await
    }
}

impl Versioned {
    /// Puts what a message holds into a chunk.
    pub(super) async fn decode(&mut self, message: Stored, chunk: &mut Chunk) -> Result<()> {
        let mut position = None;
        // Each version that is not known yet is looked up once.
        for _ in 0..VERSIONS_MAX {
            let readings = &self.readings;
            let channel = |urn: &str| readings.get(urn).map(|reading| &*reading.channel);
            match decode_among(&channel, &message.headers, &message.payload) {
                Ok(decoded) => {
                    position = decoded.position;
                    self.take(decoded.events, chunk);
                }
                Err(DecodeError::Version(urn)) => match self.learn(&urn).await? {
                    Learnt::Known => continue,
                    Learnt::Unknown => {
                        let error = DecodeError::Version(urn);
                        chunk.foreign.push((message.clone(), error));
                    }
                    Learnt::GoesOn => {
                        // Read again by the next life, which is on that version.
                        chunk.changes = true;
                        return Ok(());
                    }
                },
                Err(error) => chunk.foreign.push((message.clone(), error)),
            }
            break;
        }
        chunk.reached = message.seq;
        chunk
            .spans
            .push((chunk.events.len(), message.subject.clone()));
        chunk.ends.insert(message.subject, (message.seq, position));
        Ok(())
    }
}

/// A consumer that would have to skip messages is an alarm, never a skip.
pub(super) fn gap(error: LogError, entity: &str) -> Error {
    match error {
        LogError::Gap { first, wanted, .. } => Error::new(
            Kind::Unsupported,
            format!(
                "the log no longer keeps what this target needs next of `{entity}`: it starts at {first}, {wanted} is wanted"
            ),
        )
        .code("LS-L003")
        .help("have every source read anew: see `lockstep explain LS-L003`; rows that are equal already are not written again"),
        error => log::to_error(error),
    }
}
