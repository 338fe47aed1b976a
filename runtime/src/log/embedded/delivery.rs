//! What a consumer has been given and what it has said about it: a state machine without a file or a clock.
//!
//! Everything below `next` is done, in flight (given, waiting for its acknowledgement) or queued (to be given again or for the first time).
//! What must be remembered across a restart is therefore `next` and the sequences that are not done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::log::AckPolicy;

/// The state of a consumer.
#[derive(Debug)]
pub(super) struct Delivery {
    ack: AckPolicy,
    ack_wait: Duration,
    max_in_flight: usize,
    /// The next sequence to be looked at for the first time.
    next: u64,
    queued: BTreeSet<u64>,
    flights: BTreeMap<u64, Flight>,
    due: BTreeSet<(Instant, u64)>,
    /// Rises with everything that has to be remembered.
    version: u64,
    /// Rises when the consumer is told to go on elsewhere.
    era: u64,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    due: Instant,
    count: u32,
}

/// What a fetch should read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Given before, or queued; to be given now.
    pub(super) again: Vec<u64>,
    /// Where to read on.
    pub(super) next: u64,
    /// How many new messages there is room for.
    pub(super) room: usize,
    /// The era it was made in; in a later one it is void.
    pub(super) era: u64,
}

impl Delivery {
    pub(super) fn new(ack: AckPolicy, next: u64, queued: BTreeSet<u64>) -> Self {
        Self {
            ack,
            ack_wait: Duration::ZERO,
            max_in_flight: 0,
            next,
            queued,
            flights: BTreeMap::new(),
            due: BTreeSet::new(),
            version: 0,
            era: 0,
        }
    }

    /// Sets what may differ between two openings of a durable consumer.
    pub(super) fn configure(&mut self, ack_wait: Duration, max_in_flight: usize) {
        self.ack_wait = ack_wait;
        self.max_in_flight = max_in_flight;
    }

    /// What to read for a fetch of at most `max`: what is due first, then what is queued, then what is new.
    pub(super) fn plan(&self, now: Instant, max: usize) -> Plan {
        let due = self.due.range(..=(now, u64::MAX)).map(|(_, seq)| *seq);
        // Sorted by sequence, as a server does it; the set is sorted by time.
        let due: BTreeSet<u64> = due.collect();
        let mut again: Vec<u64> = due.into_iter().take(max).collect();
        let free = match self.ack {
            AckPolicy::None => usize::MAX,
            AckPolicy::All | AckPolicy::Explicit => {
                self.max_in_flight.saturating_sub(self.flights.len())
            }
        };
        let room = free.min(max - again.len());
        let before = again.len();
        again.extend(self.queued.iter().take(room));
        let room = room - (again.len() - before);
        Plan {
            again,
            next: self.next,
            room,
            era: self.era,
        }
    }

    /// Takes note that a message of a plan is given; gives its count of deliveries, or none if it was settled meanwhile.
    pub(super) fn give(&mut self, seq: u64, now: Instant) -> Option<u32> {
        let known = self.flights.get(&seq).map(|flight| flight.count);
        if known.is_none() && seq < self.next && !self.queued.remove(&seq) {
            return None;
        }
        if self.ack == AckPolicy::None {
            self.version += 1;
            return Some(1);
        }
        let count = known.unwrap_or(0).saturating_add(1);
        self.fly(seq, now + self.ack_wait, count);
        Some(count)
    }

    /// Takes note that everything before `next` was looked at.
    pub(super) fn advance(&mut self, next: u64) {
        if next > self.next {
            self.next = next;
            self.version += u64::from(self.ack == AckPolicy::None);
        }
    }

    /// Takes note that a sequence is done.
    pub(super) fn done(&mut self, seq: u64) {
        let settled = self.land(seq) | self.queued.remove(&seq);
        self.version += u64::from(settled);
    }

    /// Takes note of an acknowledgement.
    pub(super) fn ack(&mut self, seq: u64) {
        if self.ack == AckPolicy::All {
            let before: Vec<u64> = self.flights.range(..seq).map(|(seq, _)| *seq).collect();
            let queued: Vec<u64> = self.queued.range(..seq).copied().collect();
            for seq in before.into_iter().chain(queued) {
                self.done(seq);
            }
        }
        self.done(seq);
    }

    /// Lets a delivery fall due at another time; one that is not in flight is left alone.
    pub(super) fn postpone(&mut self, seq: u64, due: Instant) {
        if let Some(flight) = self.flights.get(&seq) {
            let count = flight.count;
            self.fly(seq, due, count);
        }
    }

    /// Starts a delivery's time anew.
    pub(super) fn in_progress(&mut self, seq: u64, now: Instant) {
        self.postpone(seq, now + self.ack_wait);
    }

    /// Goes on at a sequence, forgetting everything else.
    pub(super) fn reset(&mut self, next: u64) {
        self.next = next;
        self.queued.clear();
        self.flights.clear();
        self.due.clear();
        self.version += 1;
        self.era += 1;
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    pub(super) fn queued(&self) -> usize {
        self.queued.len()
    }

    /// When the next delivery falls due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// The sequences below `next` that are not done, rising.
    pub(super) fn undone(&self) -> BTreeSet<u64> {
        self.flights.keys().chain(&self.queued).copied().collect()
    }

    fn fly(&mut self, seq: u64, due: Instant, count: u32) {
        self.land(seq);
        self.flights.insert(seq, Flight { due, count });
        self.due.insert((due, seq));
    }

    fn land(&mut self, seq: u64) -> bool {
        match self.flights.remove(&seq) {
            Some(flight) => self.due.remove(&(flight.due, seq)),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WAIT: Duration = Duration::from_secs(10);

    fn delivery(ack: AckPolicy, max_in_flight: usize) -> Delivery {
        let mut delivery = Delivery::new(ack, 1, BTreeSet::new());
        delivery.configure(WAIT, max_in_flight);
        delivery
    }

    /// Fetches as the engine does, from a stream that holds 1 to `last`.
    fn fetch(delivery: &mut Delivery, now: Instant, last: u64, max: usize) -> Vec<u64> {
        let plan = delivery.plan(now, max);
        let fresh = (plan.next..=last).take(plan.room);
        let wanted: Vec<u64> = plan.again.into_iter().chain(fresh).collect();
        let given = wanted.into_iter().filter(|&seq| {
            let given = delivery.give(seq, now).is_some();
            delivery.advance(seq + 1);
            given
        });
        given.collect()
    }

    #[test]
    fn a_second_worker_sees_newer_before_older() {
        let now = Instant::now();
        let mut delivery = delivery(AckPolicy::Explicit, 100);
        assert_eq!(
            fetch(&mut delivery, now, 15, 10),
            (1..=10).collect::<Vec<_>>()
        );
        assert_eq!(
            fetch(&mut delivery, now, 15, 10),
            (11..=15).collect::<Vec<_>>()
        );
        assert_eq!(
            fetch(&mut delivery, now + WAIT, 15, 100),
            (1..=15).collect::<Vec<_>>()
        );
    }

    #[test]
    fn no_more_than_agreed_is_in_flight() {
        let now = Instant::now();
        let mut delivery = delivery(AckPolicy::Explicit, 3);
        assert_eq!(fetch(&mut delivery, now, 10, 10), [1, 2, 3]);
        assert!(fetch(&mut delivery, now, 10, 10).is_empty());
        delivery.ack(2);
        assert_eq!(fetch(&mut delivery, now, 10, 10), [4]);
    }

    #[test]
    fn an_acknowledgement_of_all_covers_what_stands_before() {
        let now = Instant::now();
        let mut delivery = delivery(AckPolicy::All, 100);
        fetch(&mut delivery, now, 10, 10);
        delivery.ack(7);
        assert_eq!(delivery.undone(), (8..=10).collect());
    }

    proptest! {
        /// Whatever happens, a message is done or comes again: none is forgotten.
        #[test]
        fn nothing_is_forgotten(steps in prop::collection::vec((0u8..6, 1u64..30), 0..200)) {
            let mut now = Instant::now();
            let mut delivery = delivery(AckPolicy::Explicit, 8);
            let mut done = BTreeSet::new();
            for (step, number) in steps {
                match step {
                    0 | 1 => drop(fetch(&mut delivery, now, 30, number as usize % 5)),
                    2 => {
                        if number < delivery.next() {
                            done.insert(number);
                        }
                        delivery.ack(number);
                    }
                    3 => delivery.postpone(number, now + Duration::from_secs(number)),
                    4 => delivery.in_progress(number, now),
                    _ => now += Duration::from_secs(number),
                }
                prop_assert!(delivery.in_flight() <= 8);
            }
            for _ in 0..100 {
                now += WAIT * 4;
                for seq in fetch(&mut delivery, now, 30, 8) {
                    prop_assert!(!done.contains(&seq), "{} came again", seq);
                    delivery.ack(seq);
                    done.insert(seq);
                }
            }
            prop_assert_eq!(done, (1..=30).collect::<BTreeSet<u64>>());
        }
    }
}
