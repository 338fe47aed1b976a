//! What to do after an error: again, later, or not without somebody's help.

use std::time::Duration;

use crate::error::{Error, Kind};

/// The back-off of one repeated action. Knows no clock: it says how long to wait, the caller waits.
#[derive(Clone, Debug, Default)]
pub struct Retry {
    failures: u32,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Try again after this long.
    Again(Duration),
    /// Hold, say so, and look again after this long whether somebody mended it.
    Hold(Duration),
    /// Somebody else took over: read the progress again before anything else.
    Restart,
}

/// The first wait.
const FIRST: Duration = Duration::from_millis(50);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(30);
/// How often a held action looks whether it was mended.
const HELD: Duration = Duration::from_secs(10);

impl Retry {
    /// Decides after a failure. `noise` is a random number that spreads waits over the upper half of their length.
    pub fn failed(&mut self, error: &Error, noise: u64) -> Step {
        match error.kind() {
            Kind::Stopped => Step::Restart,
            Kind::Unauthorized | Kind::Config | Kind::Unsupported | Kind::Invalid => {
                Step::Hold(HELD)
            }
            Kind::Transient | Kind::Throttled | Kind::Unexpected => {
                let full = FIRST
                    .saturating_mul(1 << self.failures.min(10))
                    .min(LONGEST);
                self.failures = self.failures.saturating_add(1);
                let half = full / 2;
                let spread = half.as_millis().max(1) as u64;
                let wait = half + Duration::from_millis(noise % spread);
                Step::Again(error.retry_after().map_or(wait, |asked| asked.max(wait)))
            }
        }
    }

    /// Forgets the failures so far.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// How often it failed in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_honour_what_was_asked() {
        let mut retry = Retry::default();
        let error = Error::transient("cut");
        let mut waits = Vec::new();
        for _ in 0..20 {
            let Step::Again(wait) = retry.failed(&error, 0) else {
                panic!("gave up")
            };
            waits.push(wait);
        }
        assert!(waits.is_sorted());
        assert_eq!(waits[19], LONGEST / 2);
        let slow = Error::new(Kind::Throttled, "slow down").after(Duration::from_secs(90));
        assert_eq!(retry.failed(&slow, 0), Step::Again(Duration::from_secs(90)));
        retry.succeeded();
        assert_eq!(retry.failures(), 0);
    }

    #[test]
    fn what_needs_a_person_is_held() {
        let mut retry = Retry::default();
        assert!(matches!(
            retry.failed(&Error::config("x"), 0),
            Step::Hold(_)
        ));
        assert_eq!(retry.failed(&Error::stopped(), 0), Step::Restart);
    }
}
