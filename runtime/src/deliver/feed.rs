//! The lanes of an entity, read ahead in the log's order and decoded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::Position;
use lockstep_core::error::{Error, Kind, Result};
use lockstep_core::log::{Channel, DecodeError, Event, decode, subject};
use tokio::sync::mpsc;

use super::progress::Progress;
use crate::log::{
    self, AckPolicy, Consumer, ConsumerConfig, Log, LogError, SETTLED, Start, Stored,
};

/// Most messages of one fetch.
const FETCH_MAX: usize = 32;
/// Changes after which a chunk takes no further message.
const CHUNK_EVENTS: usize = 1000;
/// How long a fetch waits for something to come.
const FETCH_WAIT: Duration = Duration::from_secs(5);

/// What one fetch brought, decoded.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// The changes, in the log's order.
    pub(super) events: Vec<Event>,
    /// Messages that are not ours.
    pub(super) foreign: Vec<(Stored, DecodeError)>,
    /// Per lane, the last sequence and the source position it covers.
    pub(super) ends: BTreeMap<String, (u64, Option<Position>)>,
    /// The last sequence of all.
    pub(super) reached: u64,
}

impl Chunk {
    /// Adds what came next.
    pub(super) fn append(&mut self, next: Chunk) {
        self.events.extend(next.events);
        self.foreign.extend(next.foreign);
        self.ends.extend(next.ends);
        self.reached = next.reached;
    }
}

/// Reads ahead.
pub(super) struct Feed {
    consumer: Box<dyn Consumer>,
    channel: Arc<Channel>,
    progress: Progress,
}

impl Feed {
    /// Starts after what is applied.
    pub(super) async fn open(
        log: &dyn Log,
        channel: Arc<Channel>,
        progress: &Progress,
    ) -> Result<Feed> {
        let contract = &channel.contract;
        let config = ConsumerConfig {
            durable: None,
            filters: vec![subject::settled_lanes(
                &contract.entity,
                contract.version.major,
            )],
            start: Start::Seq(progress.next()),
            // The target remembers what is applied, so there is nothing to acknowledge.
            ack: AckPolicy::None,
            ack_wait: Duration::from_secs(60),
            max_ack_pending: 0,
        };
        let consumer = log
            .consume(SETTLED, config)
            .await
            .map_err(|error| gap(error, channel.as_ref()))?;
        Ok(Feed {
            consumer,
            channel,
            progress: progress.clone(),
        })
    }

    /// Hands chunks on until nobody takes them any more.
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
                    let _ = chunks.send(Err(gap(error, &self.channel))).await;
                    return;
                }
            };
            let mut chunk = Chunk::default();
            for message in messages {
                self.decode(message, &mut chunk);
                if chunk.events.len() >= CHUNK_EVENTS
                    && chunks.send(Ok(std::mem::take(&mut chunk))).await.is_err()
                {
                    return;
                }
            }
            if chunk.reached > 0 && chunks.send(Ok(chunk)).await.is_err() {
                return;
            }
        }
    }

    fn decode(&self, message: Stored, chunk: &mut Chunk) {
        chunk.reached = message.seq;
        if self.progress.covers(&message.subject, message.seq) {
            return;
        }
        let position = match decode(&self.channel, &message.headers, &message.payload) {
            Ok(decoded) => {
                chunk.events.extend(decoded.events);
                decoded.position
            }
            Err(error) => {
                chunk.foreign.push((message.clone(), error));
                None
            }
        };
        chunk.ends.insert(message.subject, (message.seq, position));
    }
}

/// A consumer that would have to skip messages is an alarm, never a skip.
fn gap(error: LogError, channel: &Channel) -> Error {
    match error {
        LogError::Gap { first, wanted, .. } => Error::new(
            Kind::Unsupported,
            format!(
                "the log no longer keeps what this target needs next of `{}`: it starts at {first}, {wanted} is wanted",
                channel.contract.entity
            ),
        )
        .code("LS-L003")
        .help("have every source read anew: see `lockstep explain LS-L003`; rows that are equal already are not written again"),
        error => log::to_error(error),
    }
}
