//! What the delivery of whole transactions reads: the events of all lanes in the log's order, and how far their source is whole in the log.
//!
//! Knows neither the target nor what is applied.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use lockstep_core::deliver::Part;
use lockstep_core::error::Result;
use lockstep_core::log::{LIFE, POSITION};
use lockstep_core::position::Position;
use tokio::sync::mpsc;

use super::{refused, told};
use crate::deliver::feed::{Chunk, Versioned, gap};
use crate::log::{self, Consumer, Stored};

/// Most messages of one fetch.
const FETCH_MAX: usize = 32;
/// How long a fetch waits; when one brings nothing, all that was published before is here.
const FETCH_WAIT: Duration = Duration::from_millis(100);
/// How long a fetch of positions waits.
const POSITION_WAIT: Duration = Duration::from_secs(5);

/// What the reader of events brings.
pub(super) struct Fetched {
    pub(super) parts: Vec<Part>,
    pub(super) reached: u64,
    /// The last question, before which nothing was stored that is not here.
    pub(super) quiet: Option<u64>,
    pub(super) changes: bool,
}

/// A place up to which everything of a source is in the log.
#[derive(Clone, Debug)]
pub(super) struct Whole {
    pub(super) position: Position,
    /// Everything that it covers has a sequence up to this.
    pub(super) seq: u64,
}

/// Hands on how far the source is whole in the log.
pub(super) async fn watch(
    mut consumer: Box<dyn Consumer>,
    made: i64,
    places: mpsc::Sender<Result<Whole>>,
) {
    loop {
        let fetched = tokio::select! {
            () = places.closed() => return,
            fetched = consumer.fetch(FETCH_MAX, POSITION_WAIT) => fetched,
        };
        let messages = match fetched {
            Ok(messages) => messages,
            Err(error) => {
                let _ = places.send(Err(log::to_error(error))).await;
                return;
            }
        };
        // Only the newest matters.
        let newest = messages.iter().rev().find_map(|stored| place(stored, made));
        if let Some(place) = newest
            && places.send(Ok(place)).await.is_err()
        {
            return;
        }
    }
}

/// What a message on a position's subject says of this life of the stream; anything else on it is not ours.
fn place(stored: &Stored, made: i64) -> Option<Whole> {
    let (created, seq) = stored.header(LIFE)?.split_once('/')?;
    if created.parse() != Ok(made) {
        return None;
    }
    Some(Whole {
        position: stored.header(POSITION)?.parse().ok()?,
        seq: seq.parse().ok()?,
    })
}

/// Reads the lanes of all members in the log's order.
pub(super) struct Reader {
    pub(super) consumer: Box<dyn Consumer>,
    pub(super) members: BTreeMap<String, (usize, Versioned)>,
    pub(super) reached: u64,
    pub(super) asked: Arc<AtomicU64>,
}

impl Reader {
    pub(super) async fn run(mut self, fetches: mpsc::Sender<Result<Fetched>>) {
        loop {
            let fetched = tokio::select! {
                () = fetches.closed() => return,
                fetched = self.fetch() => fetched,
            };
            let over = !matches!(&fetched, Ok(fetched) if !fetched.changes);
            if fetches.send(fetched).await.is_err() || over {
                return;
            }
        }
    }

    async fn fetch(&mut self) -> Result<Fetched> {
        let messages = self.consumer.fetch(FETCH_MAX, FETCH_WAIT).await;
        let messages = messages.map_err(|error| gap(error, "these entities"))?;
        let mut fetched = Fetched {
            parts: Vec::new(),
            reached: self.reached,
            quiet: None,
            changes: false,
        };
        if messages.is_empty() {
            // What was asked for before is looked for after.
            let asked = self.asked.load(SeqCst);
            let (missing, _) = self.consumer.pending().await.map_err(log::to_error)?;
            fetched.quiet = (missing == 0).then_some(asked);
        }
        for message in messages {
            let (seq, subject) = (message.seq, message.subject.clone());
            let mut chunk = Chunk::default();
            let entity = subject.split('.').nth(2).unwrap_or_default();
            let Some((member, versioned)) = self.members.get_mut(entity) else {
                continue;
            };
            versioned.decode(message, &mut chunk).await?;
            if chunk.changes {
                fetched.changes = true;
                break;
            }
            if let Some((_, error)) = chunk.foreign.first() {
                tracing::warn!(subject, seq, %error, "a message that is not lockstep's is passed over");
            }
            if let Some((event, _, violations)) = chunk.unfit.into_iter().next() {
                return Err(refused(entity, &event.id, &told(&violations)));
            }
            let member = *member;
            let part = |event| Part { member, seq, event };
            fetched.parts.extend(chunk.events.into_iter().map(part));
            fetched.reached = seq;
            self.reached = seq;
        }
        Ok(fetched)
    }
}
