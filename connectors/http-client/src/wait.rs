//! How long a system asks to be left alone, and how long to wait where it does not say.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::HeaderMap;

use crate::settings::Retry;

/// The longest wait between two tries where the system names none.
const BACK_OFF_MAX: Duration = Duration::from_secs(20);

/// The wait that an answer's headers ask for: `Retry-After` in seconds or as a date, else when the rate limit begins anew.
pub(crate) fn asked(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(after) = text("retry-after") {
        return seconds(after, now).or_else(|| date(after, now));
    }
    ["ratelimit-reset", "x-ratelimit-reset"]
        .iter()
        .find_map(|name| seconds(text(name)?, now))
}

/// Whether an answer's headers say that the rate limit is used up.
pub(crate) fn is_used_up(headers: &HeaderMap) -> bool {
    ["ratelimit-remaining", "x-ratelimit-remaining"]
        .iter()
        .any(|name| headers.get(*name).is_some_and(|left| left == "0"))
}

/// A number of seconds, or an instant as seconds since 1970.
fn seconds(text: &str, now: Timestamp) -> Option<Duration> {
    let seconds: f64 = text.trim().parse().ok()?;
    if !seconds.is_finite() || seconds < 0.0 {
        return None;
    }
    // No limit lasts thirty years: so large a number is a point in time.
    let seconds = if seconds > 1e9 {
        seconds - now.as_second() as f64
    } else {
        seconds
    };
    Some(Duration::from_secs_f64(seconds.clamp(0.0, 1e9)))
}

fn date(text: &str, now: Timestamp) -> Option<Duration> {
    let at = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

/// The wait before try number `next` (from 2) where the system names none: twice as long each time, less up to half of it by chance, so that many do not come back at once.
pub(crate) fn back_off(retry: Retry, next: u32) -> Duration {
    let doubled = retry
        .first
        .saturating_mul(1 << next.saturating_sub(2).min(16));
    let whole = doubled.min(BACK_OFF_MAX);
    whole.mul_f64(1.0 - 0.5 * chance())
}

/// A number from 0 to 1, good enough to spread waits.
fn chance() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let bits = RandomState::new().hash_one(0_u8);
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn waits_are_read_in_every_form() {
        let now: Timestamp = "1994-11-06T08:49:07Z".parse().unwrap();
        for (name, value, expected) in [
            ("retry-after", "7", Some(7)),
            ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
            ("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("retry-after", "soon", None),
            ("retry-after", "-1", None),
            ("retry-after", "NaN", None),
            ("ratelimit-reset", "3", Some(3)),
            ("x-other", "3", None),
        ] {
            let wait = asked(&headers(name, value), now).map(|wait| wait.as_secs());
            assert_eq!(wait, expected, "{name}: {value}");
        }
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let wait = asked(&headers("x-ratelimit-reset", "1700000060"), now);
        assert_eq!(wait, Some(Duration::from_secs(60)));
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        let retry = Retry::default();
        let third = back_off(retry, 3);
        assert!(
            third >= retry.first && third <= retry.first * 2,
            "{third:?}"
        );
        assert!(back_off(retry, u32::MAX) <= BACK_OFF_MAX);
    }
}
