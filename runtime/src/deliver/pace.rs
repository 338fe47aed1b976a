//! When a delivery applies what the log has: at once, collected for a while, or at its times.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::feed::Chunk;
use crate::config::Mode;

/// Longest wait until the schedule is looked at again: clocks are set, and machines sleep.
const LOOK_MAX: Duration = Duration::from_secs(60);

/// What a delivery does with its time.
pub(super) struct Pace<'d> {
    mode: &'d Mode,
    /// Whether a scheduled time came and not everything that it is for is applied; it outlives failures.
    owes: &'d AtomicBool,
    /// What is collected.
    hand: Option<Chunk>,
    /// When that is applied.
    due: Option<Instant>,
    /// The next scheduled time.
    next: Option<Timestamp>,
}

impl<'d> Pace<'d> {
    pub(super) fn new(mode: &'d Mode, owes: &'d AtomicBool) -> Pace<'d> {
        let mut pace = Pace {
            mode,
            owes,
            hand: None,
            due: None,
            next: None,
        };
        pace.plan();
        pace
    }

    /// Whether more is taken from the log now.
    pub(super) fn takes(&self) -> bool {
        match self.mode {
            Mode::Realtime => true,
            Mode::Batched { max, .. } => self
                .hand
                .as_ref()
                .is_none_or(|hand| hand.events.len() < *max),
            Mode::Scheduled(_) => self.owes.load(Ordering::Relaxed),
        }
    }

    /// Takes what came; gives what is to be applied now.
    pub(super) fn take(&mut self, chunk: Chunk) -> Option<Chunk> {
        let Mode::Batched { every, max } = self.mode else {
            return Some(chunk);
        };
        let hand = match self.hand.take() {
            Some(mut hand) => {
                hand.append(chunk);
                hand
            }
            None => {
                self.due = Some(Instant::now() + *every);
                chunk
            }
        };
        if hand.events.len() >= *max || hand.changes {
            self.due = None;
            return Some(hand);
        }
        self.hand = Some(hand);
        None
    }

    /// Waits for the time at which something is to be done, for ever where there is none.
    pub(super) async fn time(&self) {
        match (self.due, self.next) {
            (Some(due), _) => tokio::time::sleep_until(due).await,
            (None, Some(next)) if !self.owes.load(Ordering::Relaxed) => {
                let left = Timestamp::now().duration_until(next);
                let left = Duration::try_from(left).unwrap_or_default();
                tokio::time::sleep(left.min(LOOK_MAX)).await;
            }
            _ => std::future::pending().await,
        }
    }

    /// The time came: gives what was collected. A scheduled delivery begins to take.
    pub(super) fn came(&mut self) -> Option<Chunk> {
        if self.next.is_some_and(|next| next <= Timestamp::now()) {
            self.owes.store(true, Ordering::Relaxed);
        }
        self.due = None;
        self.hand.take()
    }

    /// Whether a scheduled delivery has work to do, so that it has to ask when it is done.
    pub(super) fn owes(&self) -> bool {
        matches!(self.mode, Mode::Scheduled(_)) && self.owes.load(Ordering::Relaxed)
    }

    /// Everything that the log had at its time is applied: rests until the next.
    pub(super) fn rests(&mut self) {
        self.owes.store(false, Ordering::Relaxed);
        self.plan();
    }

    fn plan(&mut self) {
        if let Mode::Scheduled(schedule) = self.mode {
            self.next = schedule.next(Timestamp::now());
        }
    }

    /// For what it waits, in words.
    pub(super) fn waits(&self) -> Option<String> {
        match (self.mode, self.next) {
            (Mode::Scheduled(_), Some(next)) if !self.owes() => {
                Some(format!("scheduled: applied next at {next:.0}"))
            }
            (Mode::Scheduled(_), None) if !self.owes() => {
                Some("scheduled: its expression names no time to come".to_owned())
            }
            _ => self
                .hand
                .as_ref()
                .map(|hand| format!("batched: {} changes are collected", hand.events.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::tests::{channel, event};
    use lockstep_core::schedule::Schedule;

    fn chunk(events: u64) -> Chunk {
        let channel = channel();
        Chunk {
            events: (0..events).map(|n| event(&channel, n)).collect(),
            reached: events,
            ..Chunk::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_applied_when_it_is_full_or_its_time_came() {
        let mode = Mode::Batched {
            every: Duration::from_secs(10),
            max: 5,
        };
        let owes = AtomicBool::new(false);
        let mut pace = Pace::new(&mode, &owes);
        assert!(pace.take(chunk(2)).is_none());
        assert!(pace.waits().is_some());
        let full = pace.take(chunk(3)).unwrap();
        assert_eq!(full.events.len(), 5);
        assert!(pace.take(chunk(1)).is_none());
        let since = Instant::now();
        pace.time().await;
        assert_eq!(since.elapsed().as_secs(), 10);
        assert_eq!(pace.came().unwrap().events.len(), 1);
        let changes = Chunk {
            changes: true,
            ..chunk(1)
        };
        assert!(
            pace.take(changes).is_some(),
            "another version of the contract waits for nobody"
        );
    }

    #[test]
    fn a_scheduled_delivery_takes_only_at_its_times_and_until_it_has_all() {
        let mode = Mode::Scheduled(Schedule::Every(Duration::from_millis(1)));
        let owes = AtomicBool::new(false);
        let mut pace = Pace::new(&mode, &owes);
        assert!(!pace.takes());
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while !pace.owes() {
            assert!(std::time::Instant::now() < deadline);
            assert!(pace.came().is_none());
        }
        assert!(pace.takes() && pace.waits().is_none());
        assert!(pace.take(chunk(1)).is_some());
        // A life that failed in between leaves it owed.
        assert!(Pace::new(&mode, &owes).takes());
        pace.rests();
        assert!(!pace.takes());
    }
}
