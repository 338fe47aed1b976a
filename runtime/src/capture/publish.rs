//! Segments as messages: one frame per lane, each expecting its lane's last sequence.

use std::pin::Pin;
use std::sync::Arc;

use lockstep_core::contract::Contract;
use lockstep_core::error::{Error, Kind, Result};
use lockstep_core::log::{Channel, subject};
use lockstep_core::position::{Mark, Position};

use super::Capture;
use super::lanes::{self, Lane, Owned};
use super::outbox::Segment;
use crate::log::{self, ATOMIC_MAX, Ack, Log, Message, POSITIONS, PublishError, SETTLED};
use crate::quarantine::Quarantine;
use crate::status::Head;

/// A publish under way.
pub(super) type Flight = Pin<Box<dyn Future<Output = Result<Landed>> + Send>>;

/// Writes a system's lanes and its position, as their only writer.
pub(super) struct Publisher {
    system: String,
    log: Arc<dyn Log>,
    quarantine: Arc<Quarantine>,
    owned: Owned,
    channels: Vec<Arc<Channel>>,
    lanes: Vec<Lane>,
    /// By slot, what each lane covered when the system was taken over.
    at_first: Vec<Option<Position>>,
    /// For each slot, the entity it belongs to.
    entity_of: Vec<usize>,
    /// For each entity, its first slot.
    first_slot: Vec<usize>,
}

/// What became durable.
#[derive(Debug, Default)]
pub(super) struct Landed {
    /// The segment, without its messages.
    pub(super) segment: Option<Segment>,
    /// The position that the log says now.
    pub(super) position: Option<Position>,
    /// By slot, the lane's new last sequence and what it covers.
    lanes: Vec<(usize, u64, Option<Position>)>,
    /// The new last sequence of the position's subject.
    position_seq: Option<u64>,
    /// What was published.
    pub(super) heads: Vec<Head>,
}

/// A message on its way.
struct Sent {
    slot: usize,
    position: Option<Position>,
    events: usize,
    oldest: jiff::Timestamp,
    entity: String,
}

impl Publisher {
    /// Takes the system over and fences every lane of its entities.
    pub(super) async fn take_over(capture: &Capture) -> Result<Publisher> {
        let log = Arc::clone(&capture.log);
        let mut owned = lanes::own(&*log, &capture.system).await?;
        let mut fenced = Vec::with_capacity(capture.entities.len());
        for captured in &capture.entities {
            let contract = &captured.contract;
            let subject = |lane| subject::settled(&contract.entity, contract.version.major, lane);
            let subjects: Vec<String> = (0..contract.lanes).map(subject).collect();
            let mut lanes = lanes::fence_all(&*log, &capture.system, &mut owned, &subjects).await?;
            // Whoever still writes another major must not come after what is written here.
            let known = capture.versions.known();
            for (major, count) in known.lanes(contract) {
                if major == contract.version.major {
                    continue;
                }
                let subject = |lane| subject::settled(&contract.entity, major, lane);
                let subjects: Vec<String> = (0..count).map(subject).collect();
                let older = lanes::fence_all(&*log, &capture.system, &mut owned, &subjects).await?;
                carry_on(&mut lanes, &older);
            }
            fenced.push(lanes);
        }
        let mut publisher = Publisher {
            system: capture.system.clone(),
            quarantine: Arc::clone(&capture.quarantine),
            log,
            owned,
            channels: Vec::new(),
            lanes: Vec::new(),
            at_first: Vec::new(),
            entity_of: Vec::new(),
            first_slot: Vec::new(),
        };
        for (entity, (captured, lanes)) in capture.entities.iter().zip(fenced).enumerate() {
            let contract = &captured.contract;
            publisher.channels.push(Arc::new(Channel::new(
                &capture.system,
                Arc::clone(contract),
            )));
            publisher.first_slot.push(publisher.lanes.len());
            let head = lanes.iter().map(|lane| lane.last_seq).max().unwrap_or(0);
            capture.board.head(&contract.entity, head);
            publisher.knows(head);
            publisher
                .entity_of
                .extend(std::iter::repeat_n(entity, lanes.len()));
            let covered = lanes.iter().map(|lane| lane.covered.clone());
            publisher.at_first.extend(covered);
            publisher.lanes.extend(lanes);
        }
        Ok(publisher)
    }

    /// Takes note that the settled stream has given a sequence out.
    fn knows(&mut self, seq: u64) {
        let life = &mut self.owned.life;
        life.last_seq = life.last_seq.max(seq);
    }

    pub(super) fn resume(&self) -> Option<Position> {
        self.owned.position.clone()
    }

    /// Whether the log says where this life of the source can be resumed.
    pub(super) fn can_resume(&self, incarnation: &str) -> bool {
        self.owned
            .position
            .as_ref()
            .is_some_and(|at| *at.incarnation == *incarnation)
    }

    pub(super) fn epoch(&self) -> u64 {
        self.owned.epoch
    }

    pub(super) fn slots(&self) -> usize {
        self.lanes.len()
    }

    pub(super) fn slot(&self, entity: usize, lane: u32) -> usize {
        self.first_slot[entity] + lane as usize
    }

    /// The slots of every lane of an entity.
    pub(super) fn slots_of(&self, entity: usize) -> std::ops::Range<usize> {
        let first = self.first_slot[entity];
        first..first + self.channels[entity].contract.lanes as usize
    }

    /// Goes on with another version of an entity's contract, of the same major and lanes.
    pub(super) fn goes_on_with(&mut self, entity: usize, contract: &Arc<Contract>) {
        let channel = Channel::new(&self.system, Arc::clone(contract));
        self.channels[entity] = Arc::new(channel);
    }

    pub(super) fn channel(&self, entity: usize) -> &Arc<Channel> {
        &self.channels[entity]
    }

    /// Tells whether a change stands in a lane already, because an earlier life of this source published it; of one that `waited` in line, whether an earlier life of the capture sent it and did not live to say so.
    ///
    /// What this life sent meanwhile says nothing about it.
    pub(super) fn has(&self, slot: usize, incarnation: &str, mark: Mark, waited: bool) -> bool {
        if !waited {
            return self.lanes[slot].covers(incarnation, mark);
        }
        let covered = self.at_first[slot].as_ref();
        covered.is_some_and(|covered| covered.covers(incarnation, mark))
    }

    /// Publishes a segment and a position, both if both are given, so that they share a commit of the log.
    pub(super) fn send(&mut self, segment: Option<Segment>, position: Option<Position>) -> Flight {
        let mut messages = Vec::new();
        let mut sent = Vec::new();
        let mut segment = segment;
        if let Some(segment) = &mut segment {
            self.encode(segment, &mut messages, &mut sent);
        }
        let together = messages.len() > 1 && segment.as_ref().is_some_and(Segment::is_sealed);
        let log = Arc::clone(&self.log);
        let quarantine = Arc::clone(&self.quarantine);
        let said = position.as_ref().map(|at| {
            lanes::position_message(
                &self.system,
                Some(at),
                self.owned.epoch,
                self.owned.last_seq,
                self.owned.life,
            )
        });
        let (system, epoch) = (self.system.clone(), self.owned.epoch);
        Box::pin(async move {
            if let Some(segment) = &segment {
                quarantine.put(&segment.quarantined).await?;
            }
            let frames = async {
                if messages.is_empty() {
                    Vec::new()
                } else if together && messages.len() <= ATOMIC_MAX {
                    all_or_none(&*log, messages).await
                } else {
                    log.publish(SETTLED, messages).await
                }
            };
            let saying = async {
                match said {
                    Some(message) => log.publish(POSITIONS, vec![message]).await,
                    None => Vec::new(),
                }
            };
            let (frames, saying) = tokio::join!(frames, saying);
            let mut outcomes = frames.iter().chain(&saying);
            if outcomes.any(|outcome| matches!(outcome, Err(PublishError::WrongLast { .. }))) {
                // Who holds a higher epoch has replaced this writer for good.
                lanes::still_ours(&*log, &system, epoch).await?;
            }
            let mut landed = Landed {
                segment,
                position,
                ..Landed::default()
            };
            for (sent, outcome) in sent.into_iter().zip(frames) {
                let ack = outcome.map_err(|error| refused(&error))?;
                landed.lanes.push((sent.slot, ack.seq, sent.position));
                landed.heads.push(Head {
                    entity: sent.entity,
                    seq: ack.seq,
                    events: sent.events,
                    oldest: sent.oldest,
                });
            }
            for outcome in saying {
                landed.position_seq = Some(outcome.map_err(|error| refused(&error))?.seq);
            }
            Ok(landed)
        })
    }

    /// Takes note of what became durable, for the next expectations.
    pub(super) fn landed(&mut self, landed: &Landed) {
        for (slot, seq, position) in &landed.lanes {
            self.knows(*seq);
            let lane = &mut self.lanes[*slot];
            lane.last_seq = *seq;
            lane.covered.clone_from(position);
        }
        if let Some(seq) = landed.position_seq {
            self.owned.last_seq = seq;
            self.owned.position.clone_from(&landed.position);
        }
    }

    /// One message per lane of the segment.
    fn encode(&self, segment: &mut Segment, messages: &mut Vec<Message>, sent: &mut Vec<Sent>) {
        for outgoing in segment.lanes.drain(..) {
            // An event too large for the log may leave its lane empty.
            if outgoing.frame.events() == 0 {
                continue;
            }
            let lane = &self.lanes[outgoing.slot];
            let channel = &outgoing.channel;
            let position = match &segment.incarnation {
                Some(incarnation) => Some(lane.reach(incarnation, outgoing.mark)),
                None => lane.covered.clone(),
            };
            let events = outgoing.frame.events();
            let frame = outgoing
                .frame
                .finish(channel, position.as_ref(), self.owned.epoch);
            messages.push(Message {
                subject: lane.subject.clone(),
                headers: frame.headers,
                payload: frame.payload.into(),
                expect_last: Some(lane.last_seq),
                ..Message::default()
            });
            sent.push(Sent {
                slot: outgoing.slot,
                position,
                events,
                oldest: outgoing.oldest,
                entity: channel.contract.entity.clone(),
            });
        }
    }
}

/// Lanes of one major go on where those of another ended, where the same records are in them: what a replay tells once more is there already.
fn carry_on(lanes: &mut [Lane], older: &[Lane]) {
    if lanes.len() != older.len() {
        return;
    }
    for (lane, older) in lanes.iter_mut().zip(older) {
        let further = match (&lane.covered, &older.covered) {
            (Some(own), Some(other)) => {
                own.incarnation == other.incarnation && other.mark() > own.mark()
            }
            (own, _) => own.is_none(),
        };
        if further {
            lane.covered.clone_from(&older.covered);
        }
    }
}

/// Stores messages whose order across lanes matters: a full log that took an old key's tombstone and not the upsert before it would have targets forget the record in between.
async fn all_or_none(log: &dyn Log, messages: Vec<Message>) -> Vec<Result<Ack, PublishError>> {
    match log.publish_atomic(SETTLED, messages).await {
        Ok(acks) => acks.into_iter().map(Ok).collect(),
        Err((_, error)) => vec![Err(error)],
    }
}

/// A refused expectation of a writer that was not replaced: somebody else wrote, and its next life goes on behind that.
fn refused(error: &PublishError) -> Error {
    match error {
        PublishError::WrongLast { .. } => {
            Error::new(Kind::Transient, "another writer used a lane of this system")
                .because(error.clone())
        }
        error => log::not_published(error),
    }
}
