//! One part of a run, begun again after what can be retried: the loop around every capture and delivery.
//!
//! It knows neither systems nor the log.
//! How long to wait is decided by `lockstep_core::deliver::Retry`; here the waiting is done, and told.

use std::time::{Duration, Instant};

use lockstep_core::deliver::{Retry, Step};
use lockstep_core::error::{Error, Result};
use tokio_util::sync::CancellationToken;

use crate::drift::FAILED;

/// How long a life must have lasted for its failure to count as the first.
const LONG_LIFE: Duration = Duration::from_secs(60);
/// How long to wait before reading again what somebody else moved.
const REREAD: Duration = Duration::from_millis(200);

/// What a part does when somebody took its work over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replaced {
    /// It ends: one writer is enough.
    Ends,
    /// It reads how far the work is and goes on from there.
    ReadsAgain,
}

/// Repeats `life` until it ends in order, or until `stop`; `told` hears of every failure and whether somebody has to mend something.
pub(crate) async fn again<F, L>(
    what: &str,
    replaced: Replaced,
    stop: &CancellationToken,
    told: impl Fn(&Error, bool),
    life: L,
) where
    L: Fn() -> F,
    F: Future<Output = Result<()>>,
{
    let mut retry = Retry::default();
    while !stop.is_cancelled() {
        let started = Instant::now();
        let Err(error) = life().await else {
            return;
        };
        if stop.is_cancelled() {
            return;
        }
        if started.elapsed() > LONG_LIFE {
            retry.succeeded();
        }
        let step = retry.failed(&error, started.elapsed().as_nanos() as u64);
        told(&error, !error.kind().is_retryable());
        if error.error_code() == Some(FAILED) {
            tracing::error!(what, error = error.chain(), "it ended, as the policy says");
            return;
        }
        let (error, help) = (error.chain(), error.help_text());
        let wait = match step {
            Step::Again(wait) => {
                tracing::warn!(what, error, help, ?wait, "it failed, trying again");
                wait
            }
            Step::Hold(wait) => {
                tracing::error!(what, error, help, "it is held");
                wait
            }
            Step::Restart if replaced == Replaced::Ends => {
                tracing::error!(what, error, "it ended");
                return;
            }
            Step::Restart => {
                tracing::warn!(what, error, "reading again how far it is");
                REREAD
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_can_be_retried_is_and_what_was_taken_over_ends() {
        let lives = Cell::new(0);
        let heard = RefCell::new(Vec::new());
        let life = || async {
            lives.set(lives.get() + 1);
            Err(match lives.get() {
                1 => Error::transient("cut"),
                2 => Error::config("no table"),
                _ => Error::stopped(),
            })
        };
        let told = |error: &Error, held| heard.borrow_mut().push((error.kind(), held));
        again(
            "a test",
            Replaced::Ends,
            &CancellationToken::new(),
            told,
            life,
        )
        .await;
        let held: Vec<bool> = heard.borrow().iter().map(|(_, held)| *held).collect();
        assert_eq!((lives.get(), held), (3, vec![false, true, true]));
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_moved_is_read_again_until_the_stop() {
        let stop = CancellationToken::new();
        let lives = Cell::new(0);
        let life = || async {
            lives.set(lives.get() + 1);
            if lives.get() == 3 {
                stop.cancel();
            }
            Err(Error::stopped())
        };
        again("a test", Replaced::ReadsAgain, &stop, |_, _| {}, life).await;
        assert_eq!(lives.get(), 3);
    }
}
