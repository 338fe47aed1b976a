//! Faults on demand: what a log does to its users on a bad day, for tests.
//!
//! A plan that nobody touches does nothing; the price is a relaxed load here and there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The faults a log is to show; clones share them, so a test keeps one and hands the other to the log.
///
/// Each count is used up: `lose_acks(2)` concerns the next two publishes and no later one.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    lost_acks: AtomicU32,
    failing_commits: AtomicU32,
    duplicate_fetches: AtomicU32,
    stale_reads: AtomicU32,
    failing_fetches: AtomicU32,
    commit_delay_us: AtomicU64,
}

impl FaultPlan {
    /// The next `times` publishes are stored, but answered with [`PublishError::Unknown`](crate::log::PublishError::Unknown).
    pub fn lose_acks(&self, times: u32) {
        self.counts.lost_acks.store(times, Ordering::Relaxed);
    }

    /// The next `times` commits fail; nothing of them is stored.
    pub fn fail_commits(&self, times: u32) {
        self.counts.failing_commits.store(times, Ordering::Relaxed);
    }

    /// The messages of the next `times` fetches that give any are given once more by the same handle.
    pub fn duplicate_fetches(&self, times: u32) {
        self.counts
            .duplicate_fetches
            .store(times, Ordering::Relaxed);
    }

    /// The next `times` reads of a subject's last message see the one before it, as a lagging replica would.
    pub fn stale_reads(&self, times: u32) {
        self.counts.stale_reads.store(times, Ordering::Relaxed);
    }

    /// The next `times` fetches fail, as when the connection to a server is cut.
    pub fn fail_fetches(&self, times: u32) {
        self.counts.failing_fetches.store(times, Ordering::Relaxed);
    }

    /// Every commit takes this much longer, until set to zero.
    pub fn slow_commits(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.counts.commit_delay_us.store(delay, Ordering::Relaxed);
    }

    pub(super) fn ack_lost(&self) -> bool {
        used(&self.counts.lost_acks)
    }

    pub(super) fn commit_fails(&self) -> bool {
        used(&self.counts.failing_commits)
    }

    pub(super) fn fetch_doubles(&self) -> bool {
        used(&self.counts.duplicate_fetches)
    }

    pub(super) fn read_stale(&self) -> bool {
        used(&self.counts.stale_reads)
    }

    pub(super) fn fetch_fails(&self) -> bool {
        used(&self.counts.failing_fetches)
    }

    pub(super) fn commit_delay(&self) -> Duration {
        Duration::from_micros(self.counts.commit_delay_us.load(Ordering::Relaxed))
    }
}

fn used(count: &AtomicU32) -> bool {
    count.load(Ordering::Relaxed) > 0
        && count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .is_ok()
}
