//! What has been read, by the names that servers give to transactions.
//!
//! MariaDB counts in domains, and a position is the last transaction of each; MySQL counts for each server, and a position is a set.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// Most intervals of a set that is read from a text.
const INTERVALS_MAX: usize = 1_000_000;

/// The transactions that a position covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Gtids {
    /// Per domain the last one: the server on which it was born, and its number.
    Maria(BTreeMap<u32, (u32, u64)>),
    /// Per server those that are covered: first and last of each interval, in order and apart.
    Mysql(BTreeMap<Uuid, Vec<(u64, u64)>>),
}

/// Says why a text is not a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotGtids(String);

impl fmt::Display for NotGtids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not a GTID position; expected something like 0-1-200 (MariaDB) or 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5 (MySQL)",
            self.0
        )
    }
}

impl std::error::Error for NotGtids {}

impl Gtids {
    /// Reads a position of a server of either kind.
    ///
    /// # Errors
    /// A text that is none.
    pub(crate) fn parse(text: &str, maria: bool) -> Result<Gtids, NotGtids> {
        let fail = || NotGtids(text.chars().take(80).collect());
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        if maria {
            let mut domains = BTreeMap::new();
            for part in parts {
                let mut numbers = part.split('-');
                let mut next = || numbers.next().ok_or_else(fail);
                let domain = next()?.parse().map_err(|_| fail())?;
                let server = next()?.parse().map_err(|_| fail())?;
                let sequence = next()?.parse().map_err(|_| fail())?;
                if numbers.next().is_some() {
                    return Err(fail());
                }
                domains.insert(domain, (server, sequence));
            }
            return Ok(Gtids::Maria(domains));
        }
        let mut sets: BTreeMap<Uuid, Vec<(u64, u64)>> = BTreeMap::new();
        for (count, part) in parts.enumerate() {
            let (source, intervals) = part.split_once(':').ok_or_else(fail)?;
            let source = Uuid::try_parse(source).map_err(|_| fail())?;
            if count > INTERVALS_MAX {
                return Err(fail());
            }
            for interval in intervals.split(':') {
                let (first, last) = interval.split_once('-').unwrap_or((interval, interval));
                let first: u64 = first.parse().map_err(|_| fail())?;
                let last: u64 = last.parse().map_err(|_| fail())?;
                if first == 0 || last < first || last == u64::MAX {
                    return Err(fail());
                }
                insert(sets.entry(source).or_default(), first, last);
            }
        }
        Ok(Gtids::Mysql(sets))
    }

    /// Nothing at all.
    pub(crate) fn none(maria: bool) -> Gtids {
        if maria {
            Gtids::Maria(BTreeMap::new())
        } else {
            Gtids::Mysql(BTreeMap::new())
        }
    }

    /// Takes note of a transaction of MariaDB.
    pub(crate) fn add_maria(&mut self, domain: u32, server: u32, sequence: u64) {
        if let Gtids::Maria(domains) = self {
            domains.insert(domain, (server, sequence));
        }
    }

    /// Takes note of a transaction of MySQL.
    pub(crate) fn add_mysql(&mut self, source: [u8; 16], sequence: u64) {
        if let Gtids::Mysql(sets) = self
            && sequence > 0
            && sequence < u64::MAX
        {
            insert(
                sets.entry(Uuid::from_bytes(source)).or_default(),
                sequence,
                sequence,
            );
        }
    }

    /// The first domain in which `state` has not come as far, if there is one; for MariaDB only.
    pub(crate) fn beyond(&self, state: &Gtids) -> Option<u32> {
        let (Gtids::Maria(own), Gtids::Maria(state)) = (self, state) else {
            return None;
        };
        let behind = |(domain, (_, sequence)): (&u32, &(u32, u64))| {
            let known = state.get(domain).map_or(0, |(_, sequence)| *sequence);
            (known < *sequence).then_some(*domain)
        };
        own.iter().find_map(behind)
    }

    /// Whether everything in it is in `other`; for MySQL only.
    pub(crate) fn is_within(&self, other: &Gtids) -> bool {
        let (Gtids::Mysql(own), Gtids::Mysql(other)) = (self, other) else {
            return false;
        };
        own.iter().all(|(source, intervals)| {
            let known = other.get(source).map_or(&[][..], Vec::as_slice);
            intervals
                .iter()
                .all(|(first, last)| known.iter().any(|(from, to)| from <= first && last <= to))
        })
    }

    /// The set as MySQL's protocol wants it.
    pub(crate) fn sids(&self) -> Vec<mysql_async::Sid<'static>> {
        let Gtids::Mysql(sets) = self else {
            return Vec::new();
        };
        let sid = |(source, intervals): (&Uuid, &Vec<(u64, u64)>)| {
            let intervals = intervals
                .iter()
                .map(|(first, last)| mysql_async::GnoInterval::new(*first, last + 1));
            mysql_async::Sid::new(*source.as_bytes()).with_intervals(intervals.collect())
        };
        sets.iter().map(sid).collect()
    }
}

/// Puts an interval among others, joining those that touch.
fn insert(intervals: &mut Vec<(u64, u64)>, first: u64, last: u64) {
    // The commonest of all: the next one of the last interval.
    if let Some(end) = intervals.last_mut()
        && first == end.1 + 1
    {
        end.1 = last;
        return;
    }
    let from = intervals.partition_point(|(_, end)| end + 1 < first);
    let to = intervals.partition_point(|(begin, _)| *begin <= last + 1);
    let joined = intervals[from..to.max(from)]
        .iter()
        .fold((first, last), |(first, last), (begin, end)| {
            (first.min(*begin), last.max(*end))
        });
    intervals.splice(from..to.max(from), [joined]);
}

impl fmt::Display for Gtids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gtids::Maria(domains) => {
                for (place, (domain, (server, sequence))) in domains.iter().enumerate() {
                    let lead = if place == 0 { "" } else { "," };
                    write!(f, "{lead}{domain}-{server}-{sequence}")?;
                }
            }
            Gtids::Mysql(sets) => {
                for (place, (source, intervals)) in sets.iter().enumerate() {
                    let lead = if place == 0 { "" } else { "," };
                    write!(f, "{lead}{source}")?;
                    for (first, last) in intervals {
                        if first == last {
                            write!(f, ":{first}")?;
                        } else {
                            write!(f, ":{first}-{last}")?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Either kind; an empty text is MariaDB's.
impl FromStr for Gtids {
    type Err = NotGtids;

    fn from_str(text: &str) -> Result<Gtids, NotGtids> {
        Gtids::parse(text, !text.contains(':'))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    #[test]
    fn positions_are_read_and_written() {
        for (text, maria) in [
            ("", true),
            ("0-1-200", true),
            ("0-1-200,5-2-7", true),
            (&format!("{ONE}:1-5"), false),
            (&format!("{ONE}:1-5:9"), false),
        ] {
            assert_eq!(Gtids::parse(text, maria).unwrap().to_string(), text);
        }
        for text in [
            "0-1",
            "a-b-c",
            "0-1-2-3",
            "x:1",
            &format!("{ONE}:0"),
            &format!("{ONE}:5-4"),
            &format!("{ONE}:"),
        ] {
            assert!(text.parse::<Gtids>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_server_lacks_is_noticed() {
        let maria = |text: &str| Gtids::parse(text, true).unwrap();
        assert_eq!(maria("0-1-5").beyond(&maria("0-2-5")), None);
        assert_eq!(maria("0-1-5,3-1-1").beyond(&maria("0-1-9")), Some(3));
        let mysql = |text: &str| Gtids::parse(&format!("{ONE}:{text}"), false).unwrap();
        assert!(mysql("2-4").is_within(&mysql("1-5:9")));
        assert!(!mysql("2-6").is_within(&mysql("1-5:9")));
        assert!(Gtids::none(false).is_within(&mysql("1")));
    }

    proptest! {
        #[test]
        fn a_set_is_what_was_put_in(numbers in prop::collection::vec(1..60_u64, 0..40)) {
            let mut set = Gtids::none(false);
            let source = *Uuid::try_parse(ONE).unwrap().as_bytes();
            for number in &numbers {
                set.add_mysql(source, *number);
            }
            let one = |number: u64| Gtids::parse(&format!("{ONE}:{number}"), false).unwrap();
            for number in 1..61 {
                prop_assert_eq!(one(number).is_within(&set), numbers.contains(&number));
            }
            let Gtids::Mysql(sets) = &set else { unreachable!() };
            for intervals in sets.values() {
                prop_assert!(intervals.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{:?}", intervals);
            }
            prop_assert_eq!(Gtids::parse(&set.to_string(), false).unwrap(), set);
        }

        #[test]
        fn no_text_panics(text in "[-0-9a-f:, ]*") {
            let _ = text.parse::<Gtids>();
            let _ = Gtids::parse(&text, true);
            let _ = Gtids::parse(&text, false);
        }
    }
}
