//! Which entries a command is about.

use jiff::Timestamp;

use crate::cli::{Context, Exit};
use crate::config::duration;
use crate::quarantine::{Entry, State};

/// Which entries
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Filter {
    /// Only this entity
    #[arg(long)]
    pub(super) entity: Option<String>,
    /// Only what stopped at this system
    #[arg(long)]
    pub(super) system: Option<String>,
    /// Only what broke this rule
    #[arg(long)]
    pub(super) rule: Option<String>,
    /// Only this record
    #[arg(long)]
    pub(super) key: Option<String>,
    /// Only what was quarantined since then: a time, a date, or how long ago, such as `2h`
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,
}

/// A filter, read.
pub(super) struct Wanted {
    filter: Filter,
    since: Option<Timestamp>,
}

impl Filter {
    /// Whether it lets everything through.
    pub(super) fn is_empty(&self) -> bool {
        let Filter {
            entity,
            system,
            rule,
            key,
            since,
        } = self;
        let all = [entity, system, rule, key, since];
        all.into_iter().all(Option::is_none)
    }

    /// Reads the filter.
    pub(super) fn read(self, cx: &Context) -> Result<Wanted, Exit> {
        let since = self.since.as_deref().map(|text| {
            moment(text, Timestamp::now()).ok_or_else(|| {
                cx.unknown(
                    format!("`{text}` is not a time"),
                    "write a time such as `2026-01-31T13:45:00Z`, a date, or how long ago, such as `2h` or `7d`".to_owned(),
                )
            })
        });
        Ok(Wanted {
            since: since.transpose()?,
            filter: self,
        })
    }
}

impl Wanted {
    /// Whether an entry is meant.
    pub(super) fn takes(&self, entry: &Entry) -> bool {
        let is = |only: &Option<String>, value: &str| only.as_deref().is_none_or(|o| o == value);
        let Filter {
            entity,
            system,
            rule,
            key,
            ..
        } = &self.filter;
        let broke = |rule: &String| entry.violations.iter().any(|broken| broken.rule == *rule);
        is(entity, &entry.entity)
            && is(system, &entry.system)
            && is(key, &entry.key)
            && rule.as_ref().is_none_or(broke)
            && self.since.is_none_or(|since| entry.at >= since)
    }

    /// The open entries that are meant, in the order in which they may be sent: what halts an entity first, then oldest first.
    pub(super) fn in_order(&self, entries: Vec<Entry>) -> Vec<Entry> {
        let open = |entry: &Entry| entry.state == State::Open && self.takes(entry);
        let mut entries: Vec<Entry> = entries.into_iter().filter(open).collect();
        entries.sort_by_key(|entry| !entry.halts());
        entries
    }
}

/// A moment as people write it.
fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>() {
        let start = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        return Some(start.timestamp());
    }
    now.checked_sub(duration(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_a_date_or_how_long_ago() {
        let now: Timestamp = "2026-02-01T12:00:00Z".parse().unwrap();
        let read = |text| moment(text, now).map(|at| at.to_string());
        assert_eq!(read("2h").as_deref(), Some("2026-02-01T10:00:00Z"));
        assert_eq!(read("1d").as_deref(), Some("2026-01-31T12:00:00Z"));
        assert_eq!(read("2026-01-31").as_deref(), Some("2026-01-31T00:00:00Z"));
        assert_eq!(read("yesterday"), None);
    }
}
