//! Waiting for a condition with a deadline, instead of sleeping for luck.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long to rest between two looks.
const REST: Duration = Duration::from_millis(10);

/// Looks again and again until there is something, and fails after the deadline with what was waited for.
///
/// # Errors
///
/// When the deadline passes, or at once when `look` fails.
pub fn until<T>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if started.elapsed() > deadline {
            bail!("{what} did not happen within {} s", deadline.as_secs_f64());
        }
        std::thread::sleep(REST);
    }
}
