//! When something that is not always done is done: every so often, or at the times that a cron expression names.
//!
//! Pure: it is told the time and gives the next one. Cron times are those of a time zone, so they follow its summer time.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// How many days ahead a time is looked for; 29 February comes within eight years.
const DAYS_MAX: usize = 8 * 366 + 2;

/// When something is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// So long after it was done last.
    Every(Duration),
    /// At the times of a cron expression.
    Cron(Box<Cron>),
}

impl Schedule {
    /// The next time after `now`; none where there is none within eight years.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Schedule::Every(every) => {
                let every = SignedDuration::try_from(*every).ok()?;
                now.checked_add(every).ok()
            }
            Schedule::Cron(cron) => cron.next(now),
        }
    }
}

/// A cron expression: minute, hour, day of the month, month, day of the week (0 or 7 is Sunday), each `*`, a number, `a-b`, `*/n`, `a-b/n` or a list of these.
///
/// Where both days are given, either will do, as everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether either of the two days is enough.
    either: bool,
    zone: TimeZone,
}

impl Cron {
    /// Reads an expression for a time zone.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, zone: TimeZone) -> Result<Cron, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return Err(format!(
                "a cron expression has five fields (minute, hour, day, month, day of the week), this one {}",
                fields.len()
            ));
        };
        let named = |name: &'static str, text: &str, least, most| {
            field(text, least, most).ok_or_else(|| {
                let shown: String = text.chars().take(40).collect();
                format!("`{shown}` is no {name}: write numbers from {least} to {most}, `*`, ranges, steps or lists")
            })
        };
        let sundays = named("day of the week", weekdays, 0, 7)?;
        Ok(Cron {
            minutes: named("minute", minutes, 0, 59)?,
            hours: named("hour", hours, 0, 23)?,
            days: named("day of the month", days, 1, 31)?,
            months: named("month", months, 1, 12)?,
            weekdays: sundays | (sundays >> 7 & 1),
            either: !days.starts_with('*') && !weekdays.starts_with('*'),
            zone,
        })
    }

    /// The next time after `now`.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let mut date = now.to_zoned(self.zone.clone()).date();
        for _ in 0..DAYS_MAX {
            if self.takes(date)
                && let Some(at) = self.first_of(date, now)
            {
                return Some(at);
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn takes(&self, date: Date) -> bool {
        let has = |set: u64, at: i8| set >> at & 1 == 1;
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let fits = if self.either {
            day || weekday
        } else {
            day && weekday
        };
        fits && has(self.months, date.month())
    }

    /// The first time of a day that is after `now`.
    fn first_of(&self, date: Date, now: Timestamp) -> Option<Timestamp> {
        let hours = (0..24).filter(|hour| self.hours >> hour & 1 == 1);
        let times = hours.flat_map(|hour| {
            let minutes = (0..60).filter(|minute| self.minutes >> minute & 1 == 1);
            minutes.map(move |minute| (hour, minute))
        });
        let at = |(hour, minute): (i8, i8)| {
            let time = date.at(hour, minute, 0, 0);
            // A time that summer time skips comes as much later; one that comes twice counts once.
            time.to_zoned(self.zone.clone())
                .ok()
                .map(|at| at.timestamp())
        };
        times.filter_map(at).filter(|at| *at > now).min()
    }
}

/// The numbers of a field as a set of bits.
fn field(text: &str, least: u64, most: u64) -> Option<u64> {
    let mut set = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, number(step).filter(|step| *step > 0)?),
            None => (part, 1),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((from, to)) => (number(from)?, number(to)?),
            None => {
                let only = number(range)?;
                (only, if part.contains('/') { most } else { only })
            }
        };
        if from < least || to > most || from > to {
            return None;
        }
        let step = usize::try_from(step).ok()?;
        for value in (from..=to).step_by(step) {
            set |= 1 << value;
        }
    }
    Some(set)
}

fn number(text: &str) -> Option<u64> {
    let fits =
        !text.is_empty() && text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| fits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn next(cron: &str, zone: &str, now: &str) -> String {
        let zone = TimeZone::get(zone).unwrap();
        let cron = Cron::parse(cron, zone).unwrap();
        cron.next(now.parse().unwrap())
            .map_or_else(String::new, |at| at.to_string())
    }

    #[test]
    fn the_next_time_is_the_first_that_every_field_takes() {
        for (cron, now, then) in [
            (
                "*/15 * * * *",
                "2026-01-01T00:00:00Z",
                "2026-01-01T00:15:00Z",
            ),
            ("0 2 * * *", "2026-01-01T02:00:00Z", "2026-01-02T02:00:00Z"),
            (
                "30 1-3 * * *",
                "2026-01-01T01:45:00Z",
                "2026-01-01T02:30:00Z",
            ),
            ("0 0 1 1 *", "2026-01-01T00:00:01Z", "2027-01-01T00:00:00Z"),
            (
                "0 6 * * 1-5",
                "2026-01-02T06:00:00Z",
                "2026-01-05T06:00:00Z",
            ),
            ("0 6 * * 7", "2026-01-01T00:00:00Z", "2026-01-04T06:00:00Z"),
            ("0 0 13 * 5", "2026-02-01T00:00:00Z", "2026-02-06T00:00:00Z"),
            ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("0 0 31 2 *", "2026-01-01T00:00:00Z", ""),
            (
                "5,10 0 * * *",
                "2026-01-01T00:05:00Z",
                "2026-01-01T00:10:00Z",
            ),
        ] {
            assert_eq!(next(cron, "UTC", now), then, "{cron}");
        }
    }

    #[test]
    fn times_are_those_of_the_time_zone() {
        assert_eq!(
            next("0 2 * * *", "Europe/Berlin", "2026-07-01T00:30:00Z"),
            "2026-07-02T00:00:00Z"
        );
        // At 02:30 there is no such time on the last Sunday of March.
        assert_eq!(
            next("30 2 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z"),
            "2026-03-29T01:30:00Z"
        );
    }

    #[test]
    fn what_is_no_expression_is_named() {
        for (text, word) in [
            ("* * * *", "five fields"),
            ("60 * * * *", "minute"),
            ("* 24 * * *", "hour"),
            ("* * 0 * *", "day of the month"),
            ("* * * 13 *", "month"),
            ("* * * * 8", "day of the week"),
            ("*/0 * * * *", "minute"),
            ("5-1 * * * *", "minute"),
            ("a * * * *", "minute"),
        ] {
            let error = Cron::parse(text, TimeZone::UTC).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_every_next_time_is_later(text in "[0-9*/, -]{0,30}", second in 0_i64..4_000_000_000) {
            let now = Timestamp::from_second(second).unwrap();
            if let Ok(cron) = Cron::parse(&text, TimeZone::UTC) {
                prop_assert!(cron.next(now).is_none_or(|at| at > now));
            }
        }

        #[test]
        fn five_fields_of_numbers_are_an_expression(
            minute in 0_u8..60, hour in 0_u8..24, day in 1_u8..29, month in 1_u8..13, second in 0_i64..4_000_000_000,
        ) {
            let cron = Cron::parse(&format!("{minute} {hour} {day} {month} *"), TimeZone::UTC).unwrap();
            let now = Timestamp::from_second(second).unwrap();
            let next = cron.next(now).unwrap().to_zoned(TimeZone::UTC);
            prop_assert_eq!(
                (next.minute() as u8, next.hour() as u8, next.day() as u8, next.month() as u8),
                (minute, hour, day, month)
            );
            prop_assert!(next.timestamp().duration_since(now) <= SignedDuration::from_hours(24 * 366));
        }
    }
}
