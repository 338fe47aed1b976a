//! Changes in quarantine that wait for another record: tried again by themselves, the oldest first, until it is there.

use std::time::Duration;

use lockstep_core::error::Result;

use super::batch::Applier;
use crate::quarantine::{Entry, State};

/// How often they are tried.
const TRY_EVERY: Duration = Duration::from_secs(5);
/// Most of them at once: a target answers for other changes, too.
const TRY_MAX: usize = 50;
/// The rules whose breach passes by itself: another record comes, or the change before is applied.
const PASSING: [&str; 2] = ["reference", "order"];

/// Whether an entry waits for something that may come by itself.
pub(super) fn waits(entry: &Entry) -> bool {
    let mut rules = entry.violations.iter().map(|broken| broken.rule.as_str());
    rules.any(|rule| PASSING.contains(&rule))
}

/// When they are tried next.
pub(super) fn next() -> tokio::time::Instant {
    tokio::time::Instant::now() + TRY_EVERY
}

impl Applier<'_> {
    /// Whether there are any.
    pub(super) fn has_waiting(&self) -> bool {
        self.open.values().any(|open| open.waits)
    }

    /// Tries them again; what waits still stays where it is.
    pub(super) async fn try_waiting(&mut self) -> Result<()> {
        let waiting = self.open.iter().filter(|(_, open)| open.waits);
        let mut waiting: Vec<(String, String, String)> = waiting
            .map(|(key, open)| (open.event.clone(), open.id.clone(), key.clone()))
            .collect();
        // Places in a source sort as texts; a record has one entry here, so between records any order is right.
        waiting.sort();
        let mut left = TRY_MAX;
        for (_, id, key) in waiting {
            let entry = self.delivery.quarantine.get(&id).await?;
            let Some(entry) = entry.filter(|entry| entry.state == State::Open && !entry.held.cut)
            else {
                // Somebody decided about it meanwhile, or it cannot be sent.
                if let Some(open) = self.open.get_mut(&key) {
                    open.waits = false;
                }
                continue;
            };
            if self.again(&entry).await?.is_ok() {
                self.delivery.quarantine.close(&id, State::Retried).await?;
                continue;
            }
            left -= 1;
            if left == 0 {
                break;
            }
        }
        Ok(())
    }
}
