//! How often a system may be asked: one budget for all clients of it in this process.
//!
//! Requests per second are kept by the time at which the next one is due; a burst may be ahead of it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use lockstep_core::{Error, Result};

/// The longest pause that a system can ask for: nonsense in a header must not silence a system for years.
const PAUSE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How often a system may be asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Most requests a second, in the long run; no bound where absent.
    pub per_second: Option<f64>,
    /// Most requests at once.
    pub concurrent: usize,
    /// Most requests that may follow each other without a pause.
    pub burst: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            per_second: None,
            concurrent: 4,
            burst: 1,
        }
    }
}

/// Keeps a budget.
#[derive(Debug)]
pub(crate) struct Meter {
    room: Arc<Semaphore>,
    interval: Option<Duration>,
    ahead: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the next request would be due if all came evenly.
    due: Instant,
    /// Until when the system asked to be left alone.
    silent_until: Instant,
}

/// The meters in use, by system and address.
static METERS: LazyLock<Mutex<Meters>> = LazyLock::new(Mutex::default);

type Meters = HashMap<(String, String), Weak<Meter>>;

impl Meter {
    /// The meter of a system, made where it has none; the first client's budget holds for all.
    pub(crate) fn of(system: &str, origin: &str, budget: Budget) -> Result<Arc<Meter>> {
        let mut meters = lock(&METERS);
        meters.retain(|_, meter| meter.strong_count() > 0);
        let place = (system.to_owned(), origin.to_owned());
        if let Some(meter) = meters.get(&place).and_then(Weak::upgrade) {
            return Ok(meter);
        }
        let meter = Arc::new(Meter::new(budget)?);
        meters.insert(place, Arc::downgrade(&meter));
        Ok(meter)
    }

    fn new(budget: Budget) -> Result<Meter> {
        let interval = match budget.per_second {
            None => None,
            Some(rate) if rate.is_finite() && (0.001..=100_000.0).contains(&rate) => {
                Some(Duration::from_secs_f64(1.0 / rate))
            }
            Some(rate) => {
                return Err(
                    Error::config(format!("`{rate}` requests a second are out of range"))
                        .help("give a number from 0.001 to 100000"),
                );
            }
        };
        if !(1..=1024).contains(&budget.concurrent) {
            return Err(Error::config(format!(
                "`{}` requests at once are out of range",
                budget.concurrent
            ))
            .help("give a number from 1 to 1024"));
        }
        let now = Instant::now();
        Ok(Meter {
            room: Arc::new(Semaphore::new(budget.concurrent)),
            interval,
            ahead: interval.unwrap_or_default() * budget.burst.clamp(1, 100_000).saturating_sub(1),
            state: Mutex::new(State {
                due: now,
                silent_until: now,
            }),
        })
    }

    /// Waits until one more request may be sent; the permit is held until its answer was read.
    ///
    /// `None` means that the system is silent for longer than `patience`; the wait that is left is in [`Meter::silent_for`].
    pub(crate) async fn admit(&self, patience: Duration) -> Option<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.room).acquire_owned().await.ok()?;
        loop {
            if self.silent_for() > patience {
                return None;
            }
            let wait = self.take();
            if wait.is_zero() {
                return Some(permit);
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes one request out of the budget, or says how long to wait before asking again.
    fn take(&self) -> Duration {
        let mut state = lock(&self.state);
        let now = Instant::now();
        if state.silent_until > now {
            return state.silent_until - now;
        }
        let Some(interval) = self.interval else {
            return Duration::ZERO;
        };
        let due = state.due.max(now);
        let early = due.saturating_duration_since(now);
        if early > self.ahead {
            return early - self.ahead;
        }
        state.due = due + interval;
        Duration::ZERO
    }

    /// Leaves the system alone for a while.
    pub(crate) fn slow_down(&self, pause: Duration) {
        let until = Instant::now() + pause.min(PAUSE_MAX);
        let mut state = lock(&self.state);
        state.silent_until = state.silent_until.max(until);
    }

    /// How long the system is still to be left alone.
    pub(crate) fn silent_for(&self) -> Duration {
        let until = lock(&self.state).silent_until;
        until.saturating_duration_since(Instant::now())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(per_second: f64, burst: u32) -> Budget {
        Budget {
            per_second: Some(per_second),
            concurrent: 2,
            burst,
        }
    }

    #[test]
    fn a_burst_passes_and_then_requests_come_evenly() {
        let meter = Meter::new(budget(10.0, 3)).unwrap();
        for _ in 0..3 {
            assert_eq!(meter.take(), Duration::ZERO);
        }
        let wait = meter.take();
        assert!(
            wait > Duration::from_millis(50) && wait <= Duration::from_millis(100),
            "{wait:?}"
        );
    }

    #[test]
    fn a_pause_holds_for_everybody_and_never_for_years() {
        let one = Meter::of("crm", "a", Budget::default()).unwrap();
        let other = Meter::of("crm", "a", Budget::default()).unwrap();
        assert_eq!(other.take(), Duration::ZERO);
        one.slow_down(Duration::from_secs(u64::MAX));
        assert!(other.take() > Duration::from_secs(60));
        assert!(other.silent_for() <= PAUSE_MAX);
        let elsewhere = Meter::of("crm", "b", Budget::default()).unwrap();
        assert_eq!(elsewhere.take(), Duration::ZERO);
    }

    #[test]
    fn budgets_out_of_range_are_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Meter::new(budget(rate, 1)).is_err(), "{rate}");
        }
        let none = Budget {
            concurrent: 0,
            ..Budget::default()
        };
        assert!(Meter::new(none).is_err());
    }
}
