//! What a table was when the source last looked at it, kept in the position: so a run knows what happened while nobody looked.
//!
//! A table that was dropped and made anew, that left the publication and came back, or whose columns were retyped, has rows that no change tells.
//! Knows nothing of the server; whoever asked it makes the stamps.

use serde::{Deserialize, Serialize};

use crate::tables::Captured;

/// What a table was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// Its number: another one is another table of the same name.
    pub(crate) oid: u32,
    /// The number of its entry in the publication, 0 where nobody has looked yet: another one is an entry that was made anew.
    #[serde(default)]
    pub(crate) member: u32,
    /// How many columns it had, and a digest of their names and types.
    columns: (usize, u32),
    /// A digest of its partitions, 0 where it has none or nobody has looked yet.
    #[serde(default, skip_serializing_if = "is_zero")]
    parts: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What happened to a table since its stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// Nothing that changes do not tell.
    Nothing,
    /// Its columns were retyped, moved, renamed or dropped, which rewrites rows without a word.
    Rewritten,
    /// The publication did not tell its changes for a while.
    Untold,
    /// It was made anew.
    Anew,
    /// Partitions came or went, or were truncated or rewritten one by one.
    Parted,
}

impl Stamp {
    /// What a table is now.
    pub(crate) fn of(table: &Captured, member: u32) -> Stamp {
        Stamp {
            oid: table.oid,
            member,
            columns: (table.columns.len(), digest(table, table.columns.len())),
            parts: table.parts,
        }
    }

    /// What happened until `now`, when the table is as `table` says.
    pub(crate) fn since(&self, now: &Stamp, table: &Captured) -> Since {
        let (count, was) = self.columns;
        if self.oid != now.oid {
            Since::Anew
        } else if self.member != 0 && now.member != 0 && self.member != now.member {
            Since::Untold
        } else if count > table.columns.len() || digest(table, count) != was {
            // Columns that were added behind are told with the next change of their row.
            Since::Rewritten
        } else if self.parts != 0 && now.parts != 0 && self.parts != now.parts {
            Since::Parted
        } else {
            Since::Nothing
        }
    }
}

/// A digest (FNV-1a) of the first columns; it is kept, so it must never change.
fn digest(table: &Captured, count: usize) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    };
    for column in table.columns.iter().take(count) {
        add(column.name.as_bytes());
        add(&[0]);
        add(&column.kind.to_le_bytes());
        add(&column.modifier.unwrap_or(-1).to_le_bytes());
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::tests::captured;

    #[test]
    fn what_happened_since_is_told_apart() {
        let table = captured(&["id", "a"]);
        let was = Stamp::of(&table, 7);
        let parted = |parts| Captured {
            parts,
            ..table.clone()
        };
        let first = Stamp::of(&parted(1), 7);
        for (parts, since) in [(1, Since::Nothing), (0, Since::Nothing), (2, Since::Parted)] {
            assert_eq!(first.since(&Stamp::of(&parted(parts), 7), &table), since);
        }
        let numbered = |oid| Captured {
            oid,
            ..table.clone()
        };
        for (now, member, since) in [
            (table.clone(), 7, Since::Nothing),
            (table.clone(), 0, Since::Nothing),
            (captured(&["id", "a", "b"]), 7, Since::Nothing),
            (captured(&["id", "b"]), 7, Since::Rewritten),
            (captured(&["id"]), 7, Since::Rewritten),
            (table.clone(), 8, Since::Untold),
            (numbered(2), 8, Since::Anew),
        ] {
            assert_eq!(was.since(&Stamp::of(&now, member), &now), since, "{now:?}");
        }
        let text = serde_json::to_string(&was).unwrap();
        assert_eq!(text, r#"{"oid":1,"member":7,"columns":[2,2465419881]}"#);
    }
}
