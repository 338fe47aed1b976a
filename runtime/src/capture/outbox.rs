//! What waits to be published: events by lane, cut into segments that go to the log one at a time.
//!
//! A segment holds at most one message per lane, so that each can expect the lane's last sequence, or rows that go to their target past the log.
//! A new segment begins where order across lanes matters (a key change, a truncate), where a lane's message is full, and where another life of the source begins.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use lockstep_core::capture::Ticket;
use lockstep_core::log::{Channel, Event, FrameBuilder, TooLarge};
use lockstep_core::position::Mark;
use lockstep_core::{Cell, Value};
use tokio::sync::oneshot;

use crate::log::MESSAGE_MAX;
use crate::quarantine::Entry;

/// Most events of one message.
const FRAME_EVENTS: usize = 1000;
/// Bytes after which a message takes no further event.
const FRAME_BYTES: usize = 256 * 1024;
/// Most bytes of one event.
pub(super) const EVENT_MAX: usize = MESSAGE_MAX - FRAME_BYTES;
/// Most events that may wait; beyond, nothing more is taken from the source.
const OUTBOX_EVENTS: usize = 10_000;
/// Most bytes that may wait.
const OUTBOX_BYTES: usize = 8 * 1024 * 1024;

/// Most rows, and most bytes of them, that go past the log at once.
const DIRECT_ROWS: usize = 8000;
const DIRECT_BYTES: usize = 4 * 1024 * 1024;
/// A row beyond this goes through the log, whatever its way: what is not taken has to fit there.
const DIRECT_ROW_BYTES: usize = 256 * 1024;

/// Events on their way to the log.
#[derive(Debug)]
pub(super) struct Outbox {
    segments: VecDeque<Segment>,
    slots: usize,
    /// Events and quarantine entries that wait.
    events: usize,
    bytes: usize,
}

/// What one publish carries.
#[derive(Debug, Default)]
pub(super) struct Segment {
    /// Messages in the making, for the lane slots that have any.
    pub(super) lanes: Vec<Outgoing>,
    /// Rows that go past the log; such a segment has no messages.
    pub(super) direct: Option<Rows>,
    /// The life of the source that the marks of its events belong to; none where no mark counts.
    pub(super) incarnation: Option<Arc<str>>,
    /// Where a slot's message stands in `lanes`.
    index: Vec<Option<u32>>,
    /// Entries that must be durable before anything that covers them.
    pub(super) quarantined: Vec<Entry>,
    /// Quarantine entries that a change of this segment supersedes.
    pub(super) superseded: Vec<String>,
    /// Quarantine entries whose record's former key another record has now.
    pub(super) taken: Vec<String>,
    /// Batches that are complete with this segment.
    pub(super) tickets: Vec<Ticket>,
    /// Retried quarantine entries that are answered when this segment is durable.
    pub(super) retried: Vec<(String, oneshot::Sender<bytes::Bytes>)>,
    /// Entries of changes that waited in line and go on with this segment.
    pub(super) released: Vec<String>,
    /// Whether the next event begins a segment of its own.
    closed: bool,
}

/// Rows of one entity that go to their target past the log.
#[derive(Debug)]
pub(super) struct Rows {
    /// The entity.
    pub(super) entity: usize,
    /// What they have in common.
    channel: Arc<Channel>,
    /// The rows.
    pub(super) events: Arc<Vec<Event>>,
    /// The lane of each.
    slots: Vec<u32>,
    bytes: usize,
    /// The log's sequence behind which they went.
    pub(super) after: u64,
}

/// One message in the making.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Its lane.
    pub(super) slot: usize,
    /// What its events have in common.
    pub(super) channel: Arc<Channel>,
    /// Its events.
    pub(super) frame: FrameBuilder,
    /// The greatest mark among them.
    pub(super) mark: Mark,
    /// When the oldest of them was committed.
    pub(super) oldest: Timestamp,
}

impl Outbox {
    /// An outbox for this many lanes in all.
    pub(super) fn new(slots: usize) -> Self {
        Outbox {
            segments: VecDeque::new(),
            slots,
            events: 0,
            bytes: 0,
        }
    }

    /// Adds an event of a life of the source to its lane.
    ///
    /// # Errors
    /// The event, if it is too large for the log.
    pub(super) fn push(
        &mut self,
        slot: usize,
        channel: &Arc<Channel>,
        event: Event,
        incarnation: &Arc<str>,
    ) -> Result<(), TooLarge> {
        let other = |known: &Arc<str>| !Arc::ptr_eq(known, incarnation) && **known != **incarnation;
        let unfit = |segment: &Segment| {
            segment.closed
                || segment.direct.is_some()
                || segment.incarnation.as_ref().is_some_and(other)
                || segment.index[slot].is_some_and(|at| {
                    let Outgoing {
                        frame, channel: of, ..
                    } = &segment.lanes[at as usize];
                    // A message is of one version of the contract.
                    let other = !Arc::ptr_eq(of, channel);
                    other || frame.events() >= FRAME_EVENTS || frame.bytes() >= FRAME_BYTES
                })
        };
        if self.segments.back().is_none_or(unfit) {
            self.begin();
        }
        self.last()
            .incarnation
            .get_or_insert_with(|| Arc::clone(incarnation));
        self.add(slot, channel, event)
    }

    /// Adds a row that goes to its target past the log; gives it back where it is too large for that.
    pub(super) fn push_direct(
        &mut self,
        entity: usize,
        slot: usize,
        channel: &Arc<Channel>,
        event: Event,
        incarnation: &Arc<str>,
    ) -> Option<Event> {
        let bytes = size(&event);
        if bytes > DIRECT_ROW_BYTES {
            return Some(event);
        }
        let fits = |segment: &Segment| {
            let rows = segment.direct.as_ref();
            let rows = rows.filter(|_| !segment.closed);
            let same_life = segment.incarnation.as_deref() == Some(incarnation);
            same_life
                && rows.is_some_and(|rows| {
                    rows.entity == entity
                        && Arc::ptr_eq(&rows.channel, channel)
                        && rows.events.len() < DIRECT_ROWS
                        && rows.bytes < DIRECT_BYTES
                })
        };
        if !self.segments.back().is_some_and(fits) {
            self.begin();
            let segment = self.last();
            segment.incarnation = Some(Arc::clone(incarnation));
            segment.direct = Some(Rows {
                entity,
                channel: Arc::clone(channel),
                events: Arc::default(),
                slots: Vec::new(),
                bytes: 0,
                after: 0,
            });
        }
        if let Some(rows) = &mut self.last().direct {
            // Nobody else has them before the segment goes.
            Arc::make_mut(&mut rows.events).push(event);
            rows.slots.push(slot as u32);
            rows.bytes += bytes;
        }
        self.events += 1;
        self.bytes += bytes;
        None
    }

    /// Takes a segment back whose rows were not taken: they go through the log, before everything else.
    ///
    /// # Errors
    /// A row that is too large for the log after all.
    pub(super) fn take_back(&mut self, segment: Segment) -> Result<(), TooLarge> {
        let mut again = Outbox::new(self.slots);
        if let (Some(rows), Some(life)) = (segment.direct, &segment.incarnation) {
            let events = Arc::unwrap_or_clone(rows.events);
            for (event, slot) in events.into_iter().zip(rows.slots) {
                again.push(slot as usize, &rows.channel, event, life)?;
            }
        }
        let last = again.last();
        last.quarantined = segment.quarantined;
        last.superseded = segment.superseded;
        last.taken = segment.taken;
        last.tickets = segment.tickets;
        last.retried = segment.retried;
        last.released = segment.released;
        again.events += last.quarantined.len();
        again.seal();
        self.events += again.events;
        self.bytes += again.bytes;
        for segment in again.segments.into_iter().rev() {
            self.segments.push_front(segment);
        }
        Ok(())
    }

    /// Adds an event that is sent again, in a segment of its own: its mark says nothing about how far the lane is covered.
    ///
    /// # Errors
    /// The event, if it is too large for the log.
    pub(super) fn push_again(
        &mut self,
        slot: usize,
        channel: &Arc<Channel>,
        event: Event,
    ) -> Result<(), TooLarge> {
        self.add(slot, channel, event)
    }

    fn add(&mut self, slot: usize, channel: &Arc<Channel>, event: Event) -> Result<(), TooLarge> {
        let (mark, at) = (event.change.mark, event.change.committed_at);
        let outgoing = self.last().lane(slot, channel, mark, at);
        let before = outgoing.frame.bytes();
        outgoing.frame.push(channel, event, EVENT_MAX)?;
        outgoing.mark = outgoing.mark.max(mark);
        outgoing.oldest = outgoing.oldest.min(at);
        let bytes = outgoing.frame.bytes() - before;
        self.events += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// Adds an entry that must be durable before anything that covers it.
    pub(super) fn set_aside(&mut self, entry: Entry) {
        self.events += 1;
        self.last().quarantined.push(entry);
    }

    /// Begins a segment for events whose order across lanes matters; [`Outbox::seal`] ends it.
    pub(super) fn begin(&mut self) {
        self.segments.push_back(Segment {
            index: vec![None; self.slots],
            ..Segment::default()
        });
    }

    /// Keeps later events out of the last segment.
    pub(super) fn seal(&mut self) {
        self.last().closed = true;
    }

    /// The segment that what comes now belongs to.
    pub(super) fn last(&mut self) -> &mut Segment {
        if self.segments.is_empty() {
            self.begin();
        }
        let last = self.segments.len() - 1;
        &mut self.segments[last]
    }

    /// The life of the source that the next segment belongs to.
    pub(super) fn next_life(&self) -> Option<&Arc<str>> {
        self.segments.front()?.incarnation.as_ref()
    }

    /// Takes the next segment.
    pub(super) fn take(&mut self) -> Option<Segment> {
        let segment = self.segments.pop_front()?;
        self.events -= segment.events() + segment.quarantined.len();
        self.bytes -= segment
            .lanes
            .iter()
            .map(|outgoing| outgoing.frame.bytes())
            .chain(segment.direct.as_ref().map(|rows| rows.bytes))
            .sum::<usize>();
        Some(segment)
    }

    /// Tells whether more may be taken from the source.
    pub(super) fn has_room(&self) -> bool {
        self.events < OUTBOX_EVENTS && self.bytes < OUTBOX_BYTES
    }
}

impl Segment {
    /// Whether the order of its messages matters across lanes.
    pub(super) fn is_sealed(&self) -> bool {
        self.closed
    }

    /// The number of its events.
    pub(super) fn events(&self) -> usize {
        self.lanes
            .iter()
            .map(|outgoing| outgoing.frame.events())
            .chain(self.direct.as_ref().map(|rows| rows.events.len()))
            .sum()
    }

    fn lane(
        &mut self,
        slot: usize,
        channel: &Arc<Channel>,
        mark: Mark,
        oldest: Timestamp,
    ) -> &mut Outgoing {
        let at = match self.index[slot] {
            Some(at) => at as usize,
            None => {
                let at = self.lanes.len();
                self.index[slot] = Some(at as u32);
                self.lanes.push(Outgoing {
                    slot,
                    channel: Arc::clone(channel),
                    frame: FrameBuilder::default(),
                    mark,
                    oldest,
                });
                at
            }
        };
        &mut self.lanes[at]
    }
}

/// About how many bytes a row takes.
fn size(event: &Event) -> usize {
    let of = |cell: &Cell| match cell.value() {
        Some(Value::Text(text)) => text.len(),
        Some(Value::Bytes(bytes)) => bytes.len(),
        Some(Value::Json(text)) => text.len(),
        _ => 8,
    };
    event.change.row.0.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use lockstep_core::Row;

    use super::*;
    use crate::capture::tests::{channel, event};

    #[test]
    fn rows_past_the_log_stand_apart_and_keep_their_place_when_they_come_back() {
        let (channel, life) = (Arc::new(channel()), Arc::from("i"));
        let mut outbox = Outbox::new(2);
        let row = |n| event(&channel, n);
        for n in 0..2 {
            assert!(outbox.push_direct(0, 0, &channel, row(n), &life).is_none());
        }
        outbox.last().superseded.push("old".to_owned());
        outbox.push(1, &channel, row(2), &life).unwrap();
        assert!(outbox.push_direct(0, 0, &channel, row(3), &life).is_none());
        let first = outbox.take().unwrap();
        assert_eq!((first.events(), first.lanes.len()), (2, 0));
        outbox.take_back(first).unwrap();
        let sizes = |segment: Segment| {
            let direct = segment.direct.as_ref().map_or(0, |rows| rows.events.len());
            (segment.events() - direct, direct, segment.superseded.len())
        };
        let order: Vec<_> = std::iter::from_fn(|| outbox.take()).map(sizes).collect();
        assert_eq!(order, [(2, 0, 1), (1, 0, 0), (0, 1, 0)]);
        assert_eq!((outbox.events, outbox.bytes), (0, 0));
    }

    #[test]
    fn a_row_that_may_not_fit_the_log_does_not_go_past_it() {
        let (channel, life) = (Arc::new(channel()), Arc::from("i"));
        let mut outbox = Outbox::new(1);
        let mut large = event(&channel, 1);
        large.change.row = Row::of([Value::text("x".repeat(DIRECT_ROW_BYTES + 1))]);
        assert!(outbox.push_direct(0, 0, &channel, large, &life).is_some());
        assert!(outbox.take().is_none());
    }

    #[test]
    fn a_lane_has_one_message_a_segment() {
        let (channel, life) = (Arc::new(channel()), Arc::from("i"));
        let mut outbox = Outbox::new(2);
        for n in 0..2500 {
            outbox.push(0, &channel, event(&channel, n), &life).unwrap();
        }
        outbox
            .push(1, &channel, event(&channel, 2500), &life)
            .unwrap();
        let mut sizes = Vec::new();
        while let Some(segment) = outbox.take() {
            assert!(segment.lanes.len() <= 2);
            sizes.push(segment.events());
        }
        assert_eq!(sizes.iter().sum::<usize>(), 2501);
        assert!(sizes.len() >= 3);
        assert!(outbox.has_room());
    }

    #[test]
    fn lives_of_a_source_are_never_mixed() {
        let channel = Arc::new(channel());
        let mut outbox = Outbox::new(1);
        for life in ["one", "one", "two"] {
            let (life, event) = (Arc::from(life), event(&channel, 1));
            outbox.push(0, &channel, event, &life).unwrap();
        }
        let lives: Vec<_> = std::iter::from_fn(|| outbox.take())
            .map(|s| s.incarnation)
            .collect();
        assert_eq!(lives, [Some("one".into()), Some("two".into())]);
    }

    #[test]
    fn a_sealed_segment_takes_nothing_more() {
        let (channel, life) = (Arc::new(channel()), Arc::from("i"));
        let mut outbox = Outbox::new(1);
        outbox.push(0, &channel, event(&channel, 1), &life).unwrap();
        outbox.begin();
        outbox.push(0, &channel, event(&channel, 2), &life).unwrap();
        outbox.seal();
        outbox.push(0, &channel, event(&channel, 3), &life).unwrap();
        let sizes: Vec<usize> = std::iter::from_fn(|| outbox.take())
            .map(|s| s.events())
            .collect();
        assert_eq!(sizes, [1, 1, 1]);
    }
}
