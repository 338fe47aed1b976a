//! How far a column that grows with every change has been read.
//!
//! A reading begins an overlap before what was reached, so that rows of one value and commits that come late are not lost; who reads leaves out what it told already.
//! A value that is ahead of the clock is told but never reached: everything behind it would be lost otherwise.
//! What is reached is a whole second, which every column of instants can hold, so that a system understands it in a comparison.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::value::{Type, Value};

/// An overlap does not go back behind this day, which is the first one that every system can hold.
const EARLIEST: Date = jiff::civil::date(1000, 1, 1);

/// How far back a reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// For columns of instants and days.
    Time(std::time::Duration),
    /// For columns of numbers.
    Count(u64),
}

/// Whether a column of this type can tell how far it was read.
#[must_use]
pub fn fits(kind: Option<Type>) -> bool {
    matches!(kind, Some(Type::Int | Type::Timestamp | Type::Date))
}

/// Where the next reading begins, itself included: an overlap before `reached`.
#[must_use]
pub fn begins(reached: &Value, overlap: Overlap) -> Value {
    match (reached, overlap) {
        (Value::Int(number), Overlap::Count(count)) => {
            Value::Int(number.saturating_sub(i64::try_from(count).unwrap_or(i64::MAX)))
        }
        (Value::Timestamp(at), Overlap::Time(time)) => {
            let begins = at.checked_sub(time).unwrap_or(Timestamp::MIN);
            let earliest = EARLIEST.at(0, 0, 0, 0).to_zoned(TimeZone::UTC);
            let begins = earliest.map_or(begins, |earliest| begins.max(earliest.timestamp()));
            Value::Timestamp(whole(begins.min(*at)))
        }
        // A day is read again as a whole, and with it every day that the overlap reaches.
        (Value::Date(day), Overlap::Time(time)) => {
            let days = i64::try_from(time.as_secs().div_ceil(86_400)).unwrap_or(i64::MAX);
            let span = Span::new().try_days(days);
            let begins = span.ok().and_then(|span| day.checked_sub(span).ok());
            Value::Date(begins.unwrap_or(Date::MIN).max(EARLIEST).min(*day))
        }
        (Value::Timestamp(at), Overlap::Count(_)) => Value::Timestamp(whole(*at)),
        (other, _) => other.clone(),
    }
}

/// The second that an instant is in: reading from there on reads more, never less.
fn whole(at: Timestamp) -> Timestamp {
    // Seconds are counted from 1970 and an instant before that is rounded towards it.
    let before = i64::from(at.subsec_nanosecond() < 0);
    Timestamp::from_second(at.as_second() - before).unwrap_or(Timestamp::MIN)
}

/// What is reached once a value was read: the larger one in whole seconds, but never ahead of `now`.
#[must_use]
pub fn reached(before: Option<&Value>, seen: &Value, now: Timestamp) -> Option<Value> {
    let seen = match seen {
        Value::Timestamp(at) => Value::Timestamp(whole((*at).min(now))),
        Value::Date(day) => Value::Date((*day).min(now.to_zoned(TimeZone::UTC).date())),
        Value::Int(number) => Value::Int(*number),
        _ => return before.cloned(),
    };
    Some(match before {
        // What was reached before this rule may have parts of a second.
        Some(Value::Timestamp(before)) if is_later(&Value::Timestamp(whole(*before)), &seen) => {
            Value::Timestamp(whole(*before))
        }
        Some(before @ (Value::Date(_) | Value::Int(_))) if is_later(before, &seen) => {
            before.clone()
        }
        _ => seen,
    })
}

/// Whether one value is larger than another of its kind.
#[must_use]
pub fn is_later(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Int(a), Value::Int(b)) => a > b,
        (Value::Timestamp(a), Value::Timestamp(b)) => a > b,
        (Value::Date(a), Value::Date(b)) => a > b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Value {
        Value::Timestamp(Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn a_row_ahead_of_the_clock_does_not_hide_those_behind_it() {
        let now = Timestamp::from_second(1000).unwrap();
        assert_eq!(reached(None, &at(5000), now), Some(at(1000)));
        assert_eq!(reached(Some(&at(900)), &at(950), now), Some(at(950)));
        assert_eq!(reached(Some(&at(950)), &at(900), now), Some(at(950)));
        assert_eq!(reached(Some(&at(950)), &Value::Null, now), Some(at(950)));
        let day = |text: &str| Value::Date(text.parse().unwrap());
        assert_eq!(
            reached(None, &day("2999-01-01"), now),
            Some(day("1970-01-01"))
        );
    }

    #[test]
    fn a_reading_begins_an_overlap_before() {
        let minute = Overlap::Time(Duration::from_secs(60));
        assert_eq!(begins(&at(1000), minute), at(940));
        assert_eq!(begins(&Value::Int(50), Overlap::Count(20)), Value::Int(30));
        let day = |text: &str| Value::Date(text.parse().unwrap());
        assert_eq!(begins(&day("2024-03-01"), minute), day("2024-02-29"));
    }

    #[test]
    fn no_overlap_leaves_what_a_column_can_hold() {
        let ages = Overlap::Time(Duration::from_secs(u64::MAX));
        let day = |text: &str| Value::Date(text.parse().unwrap());
        let instant = |text: &str| Value::Timestamp(text.parse().unwrap());
        assert_eq!(begins(&day("2024-03-01"), ages), day("1000-01-01"));
        assert_eq!(begins(&day("0900-03-01"), ages), day("0900-03-01"));
        assert_eq!(begins(&at(5), ages), instant("1000-01-01T00:00:00Z"));
        let early = instant("0900-01-01T00:00:00Z");
        assert_eq!(begins(&early, ages), early);
    }

    proptest! {
        #[test]
        fn nothing_is_reached_that_was_not_seen_and_nothing_goes_back(
            seen in prop::collection::vec(0_i64..2000, 1..20), now in 0_i64..2000, overlap in 0_u64..5000,
        ) {
            let clock = Timestamp::from_second(now).unwrap();
            let mut at_last = None;
            for second in &seen {
                let next = reached(at_last.as_ref(), &at(*second), clock);
                if let Some(before) = &at_last {
                    prop_assert!(!is_later(before, next.as_ref().unwrap()));
                }
                at_last = next;
            }
            let largest = seen.iter().max().copied().unwrap().min(now);
            prop_assert_eq!(&at_last, &Some(at(largest)));
            let begins = begins(&at_last.unwrap(), Overlap::Time(Duration::from_secs(overlap)));
            prop_assert!(!is_later(&begins, &at(largest)));
        }

        #[test]
        fn what_is_compared_with_is_no_later_than_now_and_has_whole_seconds(
            before in prop::option::of(any::<i32>()), seen: i32, now: i32, nanos in 0_i32..1_000_000_000, overlap in 0_u64..5000,
        ) {
            let instant = |second: i32| Timestamp::new(i64::from(second), if second < 0 { -nanos } else { nanos }).unwrap();
            let before = before.map(|before| Value::Timestamp(instant(before.min(now))));
            let next = reached(before.as_ref(), &Value::Timestamp(instant(seen)), instant(now)).unwrap();
            let overlap = Duration::new(overlap, nanos.unsigned_abs());
            for value in [begins(&next, Overlap::Time(overlap)), next] {
                let Value::Timestamp(at) = value else { unreachable!() };
                prop_assert!(at <= instant(now));
                prop_assert_eq!(at.subsec_nanosecond(), 0);
            }
        }

        #[test]
        fn no_bounds_make_it_panic(number: i64, count: u64, seconds: u64) {
            let _ = begins(&Value::Int(number), Overlap::Count(count));
            let _ = begins(&Value::Timestamp(Timestamp::MIN), Overlap::Time(Duration::from_secs(seconds)));
            let _ = begins(&Value::Date(Date::MIN), Overlap::Time(Duration::from_secs(seconds)));
        }
    }
}
