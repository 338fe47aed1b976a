//! Segments as messages: one frame per lane, each expecting its lane's last sequence.

use std::collections::BTreeMap;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use lockstep_core::contract::Contract;
use lockstep_core::error::{Error, Kind, Result};
use lockstep_core::log::{Channel, Event, KIND, KIND_COPY, TooLarge, subject};
use lockstep_core::position::{Mark, Position};

use super::Capture;
use super::copies::{self, Older, Outgo};
use super::lanes::{self, Lane, Owned, Reach};
use super::outbox::Segment;
use crate::direct::{Exit, Way};
use crate::log::{self, ATOMIC_MAX, Ack, Log, Message, POSITIONS, PublishError, SETTLED};
use crate::quarantine::Quarantine;
use crate::status::{Board, Head};
use crate::versions::{Known, today};

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
    /// The lanes as they were when the system was taken over.
    at_first: Vec<Lane>,
    /// For each entity, its first slot.
    first_slot: Vec<usize>,
    /// For each entity, the older majors that are published.
    older: Vec<Vec<Older>>,
    /// For each entity, what decides which older majors are published.
    majors: Vec<Majors>,
    board: Arc<Board>,
    /// For each entity, the way of its rows past the log.
    ways: Vec<Option<Way>>,
    exit: Exit,
}

/// The majors before an entity's newest.
struct Majors {
    /// Those that the configuration lists.
    listed: Vec<u64>,
    /// Where the lanes of each are.
    slots: BTreeMap<u64, Range<usize>>,
}

/// What became durable.
#[derive(Debug, Default)]
pub(super) struct Landed {
    /// The segment, without its messages.
    pub(super) segment: Option<Segment>,
    /// The position that the log says now.
    pub(super) position: Option<Position>,
    /// By slot, the lane's new last sequence and how far it is covered.
    lanes: Vec<(usize, u64, Reach)>,
    /// The new last sequence of the position's subject.
    position_seq: Option<u64>,
    /// Whether the segment's rows were to go past the log and were not taken.
    pub(super) comes_back: bool,
    /// What was published.
    pub(super) heads: Vec<Head>,
}

/// A message on its way.
struct Sent {
    slot: usize,
    reach: Reach,
    /// What is told of it; nothing of a copy.
    told: Option<Told>,
}

/// What is told of a message.
struct Told {
    events: usize,
    oldest: jiff::Timestamp,
    entity: String,
}

impl Publisher {
    /// Takes the system over and fences every lane of its entities.
    pub(super) async fn take_over(capture: &Capture) -> Result<Publisher> {
        let log = Arc::clone(&capture.log);
        let mut owned = lanes::own(&*log, &capture.system).await?;
        let known = capture.versions.known();
        let mut fenced = Vec::with_capacity(capture.entities.len());
        for captured in &capture.entities {
            let contract = &captured.contract;
            let subject = |lane| subject::settled(&contract.entity, contract.version.major, lane);
            let subjects: Vec<String> = (0..contract.lanes).map(subject).collect();
            let mut lanes = lanes::fence_all(&*log, &capture.system, &mut owned, &subjects).await?;
            // Whoever still writes another major must not come after what is written here.
            let mut others = BTreeMap::new();
            for (major, count) in known.lanes(contract) {
                if major == contract.version.major {
                    continue;
                }
                let subject = |lane| subject::settled(&contract.entity, major, lane);
                let subjects: Vec<String> = (0..count).map(subject).collect();
                let older = lanes::fence_all(&*log, &capture.system, &mut owned, &subjects).await?;
                carry_on(&mut lanes, &older);
                others.insert(major, older);
            }
            fenced.push((lanes, others));
        }
        let mut publisher = Publisher {
            system: capture.system.clone(),
            quarantine: Arc::clone(&capture.quarantine),
            log,
            owned,
            channels: Vec::new(),
            lanes: Vec::new(),
            at_first: Vec::new(),
            first_slot: Vec::new(),
            older: Vec::new(),
            majors: Vec::new(),
            board: Arc::clone(&capture.board),
            ways: Vec::new(),
            exit: capture.direct.exit(),
        };
        for (entity, (captured, (lanes, others))) in capture.entities.iter().zip(fenced).enumerate()
        {
            let contract = &captured.contract;
            publisher.channels.push(Arc::new(Channel::new(
                &capture.system,
                Arc::clone(contract),
            )));
            publisher.first_slot.push(publisher.lanes.len());
            let head = lanes.iter().map(|lane| lane.last_seq).max().unwrap_or(0);
            capture.board.head(&contract.entity, head);
            publisher.knows(head);
            publisher.lanes.extend(lanes);
            let mut slots = BTreeMap::new();
            for (major, lanes) in others {
                let first = publisher.lanes.len();
                slots.insert(major, first..first + lanes.len());
                let takes_copies = |lane| Lane {
                    takes_copies: true,
                    ..lane
                };
                publisher.lanes.extend(lanes.into_iter().map(takes_copies));
            }
            publisher.majors.push(Majors {
                listed: captured.publish.clone(),
                slots,
            });
            publisher.older.push(Vec::new());
            publisher.ways.push(captured.direct.clone());
            publisher.find_older(entity, &known);
        }
        publisher.at_first.clone_from(&publisher.lanes);
        Ok(publisher)
    }

    /// Finds out which older majors of an entity are published.
    fn find_older(&mut self, entity: usize, known: &Known) {
        let Majors { listed, slots } = &self.majors[entity];
        let contract = &self.channels[entity].contract;
        self.older[entity] =
            copies::published(&self.system, contract, listed, known, slots, &self.board);
    }

    /// The older majors of an entity whose subscribers get what is said.
    pub(super) fn older(&self, entity: usize) -> Vec<u64> {
        let heard = self.older[entity].iter().filter(|older| older.is_heard());
        heard.map(Older::major).collect()
    }

    /// Publishes no more for majors whose sunset has come. Gives the entities of which that is true.
    pub(super) fn retire(&mut self) -> Vec<usize> {
        let today = today();
        let mut retired = Vec::new();
        for (entity, older) in self.older.iter_mut().enumerate() {
            let contract = &self.channels[entity].contract;
            let before = older.len();
            older.retain(|one| !one.is_over(today));
            if older.len() < before {
                let left: Vec<u64> = older.iter().map(Older::major).collect();
                self.board.majors_left(&contract.entity, &left);
                tracing::info!(
                    entity = contract.entity,
                    "the sunset of an older major has come: its subscribers hear nothing new"
                );
                retired.push(entity);
            }
        }
        retired
    }

    /// What subscribers of older majors get of an event on a lane of its entity.
    pub(super) fn copies(&self, entity: usize, slot: usize, event: &Event) -> Vec<Outgo> {
        let mut copies = Vec::new();
        let lane = u32::try_from(slot - self.first_slot[entity]).unwrap_or(0);
        for older in &self.older[entity] {
            older.copies(lane, event, &self.board, &mut copies);
        }
        copies
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

    /// Whether rows of an entity's copy go past the log: nobody but the one target needs them there.
    pub(super) fn goes_direct(&self, entity: usize) -> bool {
        self.ways[entity].is_some() && self.older[entity].is_empty()
    }

    /// The last sequence of an entity's lanes, those of older majors included.
    pub(super) fn last_seq(&self, entity: usize) -> u64 {
        let first = self.first_slot[entity];
        let next = self.first_slot.get(entity + 1).copied();
        let lanes = &self.lanes[first..next.unwrap_or(self.lanes.len())];
        lanes.iter().map(|lane| lane.last_seq).max().unwrap_or(0)
    }

    /// The slots of every lane of an entity.
    pub(super) fn slots_of(&self, entity: usize) -> Range<usize> {
        let first = self.first_slot[entity];
        first..first + self.channels[entity].contract.lanes as usize
    }

    /// Whether a lane is one of an older major.
    pub(super) fn takes_copies(&self, slot: usize) -> bool {
        self.lanes[slot].takes_copies
    }

    /// A copy is on its way, or is too large to be.
    pub(super) fn copied(&self, channel: &Channel, sent: &Result<(), TooLarge>) {
        let contract = &channel.contract;
        if sent.is_err() {
            self.board
                .copied(&contract.entity, contract.version.major, 0, 1);
        }
    }

    /// Goes on with another version of an entity's contract, of the same major and lanes.
    pub(super) fn goes_on_with(&mut self, entity: usize, contract: &Arc<Contract>, known: &Known) {
        let channel = Channel::new(&self.system, Arc::clone(contract));
        self.channels[entity] = Arc::new(channel);
        self.find_older(entity, known);
    }

    pub(super) fn channel(&self, entity: usize) -> &Arc<Channel> {
        &self.channels[entity]
    }

    /// Tells whether a change stands in a lane already, because an earlier life of this source published it; of one that `waited` in line, whether an earlier life of the capture sent it and did not live to say so.
    ///
    /// What this life sent meanwhile says nothing about it.
    pub(super) fn has(&self, slot: usize, incarnation: &str, mark: Mark, waited: bool) -> bool {
        let lanes = if waited { &self.at_first } else { &self.lanes };
        lanes[slot].covers(incarnation, mark)
    }

    /// Tells whether an earlier life of the capture took a change, so that whatever came of it is known: something as late as it stands in one of the lanes.
    pub(super) fn took(&self, incarnation: &str, mark: Mark) -> bool {
        let mut lanes = self.at_first.iter();
        lanes.any(|lane| lane.covers(incarnation, mark))
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
        let rows = segment.as_mut().and_then(|segment| segment.direct.as_mut());
        let has_rows = rows.is_some();
        let handing = rows.and_then(|rows| {
            let way = self.ways[rows.entity].clone()?;
            rows.after = self.last_seq(rows.entity);
            Some(self.exit.hand(way, Arc::clone(&rows.events), rows.after))
        });
        Box::pin(async move {
            if let Some(segment) = &segment {
                quarantine.put(&segment.quarantined).await?;
            }
            let handing = async {
                match handing {
                    Some(handing) => handing.await,
                    None => false,
                }
            };
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
            let (frames, saying, taken) = tokio::join!(frames, saying, handing);
            let mut outcomes = frames.iter().chain(&saying);
            if outcomes.any(|outcome| matches!(outcome, Err(PublishError::WrongLast { .. }))) {
                // Who holds a higher epoch has replaced this writer for good.
                lanes::still_ours(&*log, &system, epoch).await?;
            }
            let mut landed = Landed {
                comes_back: has_rows && !taken,
                segment,
                position,
                ..Landed::default()
            };
            for (sent, outcome) in sent.into_iter().zip(frames) {
                let ack = outcome.map_err(|error| refused(&error))?;
                landed.lanes.push((sent.slot, ack.seq, sent.reach));
                landed.heads.extend(sent.told.map(|told| Head {
                    entity: told.entity,
                    seq: ack.seq,
                    events: told.events,
                    oldest: told.oldest,
                }));
            }
            for outcome in saying {
                landed.position_seq = Some(outcome.map_err(|error| refused(&error))?.seq);
            }
            Ok(landed)
        })
    }

    /// Takes note of what became durable, for the next expectations.
    pub(super) fn landed(&mut self, landed: &Landed) {
        for (slot, seq, reach) in &landed.lanes {
            self.knows(*seq);
            let lane = &mut self.lanes[*slot];
            lane.last_seq = *seq;
            lane.reach.clone_from(reach);
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
            let reach = match &segment.incarnation {
                Some(incarnation) => lane.with(incarnation, outgoing.mark),
                None => lane.reach.clone(),
            };
            let events = outgoing.frame.events();
            let mut frame = outgoing
                .frame
                .finish(channel, reach.position(), self.owned.epoch);
            let entity = channel.contract.entity.clone();
            let told = if lane.takes_copies {
                frame.headers.push((KIND.to_owned(), KIND_COPY.to_owned()));
                frame.headers.extend(reach.own());
                let major = channel.contract.version.major;
                self.board.copied(&entity, major, events as u64, 0);
                None
            } else {
                Some(Told {
                    events,
                    oldest: outgoing.oldest,
                    entity,
                })
            };
            messages.push(Message {
                subject: lane.subject.clone(),
                headers: frame.headers,
                payload: frame.payload.into(),
                expect_last: Some(lane.last_seq),
                ..Message::default()
            });
            sent.push(Sent {
                slot: outgoing.slot,
                reach,
                told,
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
        let further = match (&lane.reach.covered, &older.reach.covered) {
            (Some(own), Some(other)) => {
                own.incarnation == other.incarnation && other.mark() > own.mark()
            }
            (own, _) => own.is_none(),
        };
        if further {
            lane.reach.covered.clone_from(&older.reach.covered);
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
