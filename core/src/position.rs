//! How far a source has been read.
//!
//! A position is made by its connector and compared by the runtime: `commit` and `ordinal` order the changes of one `incarnation` of a source, and `cursor` is the connector's own note on how to go on.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How far a source has been read: everything up to and including this is covered.
///
/// Positions of different incarnations (a database restored from a backup, a recreated slot) say nothing about each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Names the life of the source in which `commit` counts.
    pub incarnation: Arc<str>,
    /// Orders commits: an LSN, a sequence, a binlog position.
    pub commit: u64,
    /// Orders changes inside the commit.
    pub ordinal: u64,
    /// What the connector needs beside that to go on, such as how far a snapshot got. Not compared.
    pub cursor: Option<Arc<str>>,
}

/// The place of one change inside an incarnation.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Mark {
    /// See [`Position::commit`].
    pub commit: u64,
    /// See [`Position::ordinal`].
    pub ordinal: u64,
}

impl Position {
    /// The place without incarnation and cursor.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark {
            commit: self.commit,
            ordinal: self.ordinal,
        }
    }

    /// Tells whether a change at `mark` of `incarnation` is covered by this position.
    #[must_use]
    pub fn covers(&self, incarnation: &str, mark: Mark) -> bool {
        *self.incarnation == *incarnation && mark <= self.mark()
    }
}

impl Mark {
    /// The mark as fixed-width text that sorts as the mark does: 16 hexadecimal digits, a dot, 8 more.
    #[must_use]
    pub fn to_text(self) -> String {
        let mut text = String::with_capacity(25);
        self.write(&mut text);
        text
    }

    /// Appends that text.
    pub(crate) fn write(self, out: &mut String) {
        // Every event bears it twice, and the general way costs several times as much.
        for shift in (0..16).rev() {
            out.push(digit(self.commit >> (4 * shift)));
        }
        out.push('.');
        let digits = (64 - self.ordinal.leading_zeros()).div_ceil(4);
        for shift in (0..digits.max(8)).rev() {
            out.push(digit(self.ordinal >> (4 * shift)));
        }
    }
}

/// The last of a number's hexadecimal digits.
fn digit(number: u64) -> char {
    char::from(b"0123456789abcdef"[(number & 15) as usize])
}

impl FromStr for Mark {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let fail = || NotAPosition(text.chars().take(80).collect());
        let (commit, ordinal) = text.split_once('.').ok_or_else(fail)?;
        Ok(Mark {
            commit: u64::from_str_radix(commit, 16).map_err(|_| fail())?,
            ordinal: u64::from_str_radix(ordinal, 16).map_err(|_| fail())?,
        })
    }
}

/// The position as it stands in message headers: `incarnation/commit.ordinal[/cursor]`.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.incarnation, self.mark().to_text())?;
        match &self.cursor {
            Some(cursor) => write!(f, "/{cursor}"),
            None => Ok(()),
        }
    }
}

/// Says why a text is not a position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a position; expected incarnation/commit.ordinal[/cursor]")]
pub struct NotAPosition(String);

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let fail = || NotAPosition(text.chars().take(80).collect());
        let mut parts = text.splitn(3, '/');
        let incarnation = parts
            .next()
            .filter(|part| !part.is_empty())
            .ok_or_else(fail)?;
        let mark = parts
            .next()
            .ok_or_else(fail)?
            .parse::<Mark>()
            .map_err(|_| fail())?;
        Ok(Position {
            incarnation: incarnation.into(),
            commit: mark.commit,
            ordinal: mark.ordinal,
            cursor: parts.next().map(Into::into),
        })
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_position_covers_its_own_incarnation_only() {
        let position: Position = "a/0000000000000005.00000002".parse().unwrap();
        assert!(position.covers(
            "a",
            Mark {
                commit: 5,
                ordinal: 2
            }
        ));
        assert!(position.covers(
            "a",
            Mark {
                commit: 4,
                ordinal: 9
            }
        ));
        assert!(!position.covers(
            "a",
            Mark {
                commit: 5,
                ordinal: 3
            }
        ));
        assert!(!position.covers(
            "b",
            Mark {
                commit: 1,
                ordinal: 0
            }
        ));
    }

    proptest! {
        #[test]
        fn positions_survive_their_text(
            incarnation in "[a-z0-9-]{1,40}", commit: u64, ordinal: u32, cursor in proptest::option::of(".*")
        ) {
            let position = Position {
                incarnation: incarnation.into(),
                commit,
                ordinal: ordinal.into(),
                cursor: cursor.map(Into::into),
            };
            prop_assert_eq!(position.to_string().parse::<Position>().unwrap(), position);
        }

        #[test]
        fn marks_sort_as_their_text_does(a: (u64, u32), b: (u64, u32)) {
            let a = Mark { commit: a.0, ordinal: a.1.into() };
            let b = Mark { commit: b.0, ordinal: b.1.into() };
            prop_assert_eq!(a.cmp(&b), a.to_text().cmp(&b.to_text()));
            for mark in [a, b, Mark { ordinal: a.commit, ..a }] {
                let general = format!("{:016x}.{:08x}", mark.commit, mark.ordinal);
                prop_assert_eq!(mark.to_text(), general);
            }
        }
    }
}
