//! What a full reading of a table says beside what was known of it.
//!
//! Of every row that was told, its identity and a keyed hash are known, in pages: a page holds the rows up to a key, in the order that the system itself gives its keys.
//! Nothing here compares keys by order. A page is compared with the rows that the system finds in the page's own range, as sets, so no rule of a system's collation has to be known.
//! A row that was known and is not listed is only missing; whether it is gone is decided after the whole listing, by [`Share`], and by asking for the row itself.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::value::{Cell, Value};

/// A page that has more rows than this many times what is read at once is cut.
const CUT_AT: usize = 2;
/// A page is cut where it takes about so many bytes.
const PAGE_BYTES: usize = 192 * 1024;

/// The rows of a table up to a key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// The last key of its range; the last page has none.
    pub until: Option<Vec<Value>>,
    /// Its rows.
    pub rows: Vec<Known>,
}

/// The hash of a row of which nobody knows whether it was told, or with which values: no row has it.
pub const UNSURE: u64 = 0;

/// A row that was told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// What names it: the values of its key, then those of other columns that name its record.
    pub name: Vec<Value>,
    /// The hash of its values, or [`UNSURE`].
    pub hash: u64,
}

/// The rows of a page that were not listed yet.
#[derive(Debug, Default)]
pub struct Left {
    rows: HashMap<String, Known>,
}

/// What a listed row is beside what was known.
#[derive(Debug, PartialEq)]
pub enum Seen {
    /// Nothing was known of it.
    New,
    /// It was known with other values.
    Changed(Known),
    /// It is as it was known.
    Same,
}

impl Left {
    /// The rows of a page, of which the first `key` values of their names are the key.
    #[must_use]
    pub fn of(rows: Vec<Known>, key: usize) -> Left {
        let named = |row: Known| (token(&row.name[..key.min(row.name.len())]), row);
        Left {
            rows: rows.into_iter().map(named).collect(),
        }
    }

    /// Takes a listed row out.
    pub fn see(&mut self, key: &str, hash: u64) -> Seen {
        match self.rows.remove(key) {
            None => Seen::New,
            Some(known) if known.hash == hash => Seen::Same,
            Some(known) => Seen::Changed(known),
        }
    }

    /// How many are left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether none is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Those that are left, in the order of their keys' texts.
    #[must_use]
    pub fn into_rows(self) -> Vec<Known> {
        let mut rows: Vec<(String, Known)> = self.rows.into_iter().collect();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows.into_iter().map(|(_, row)| row).collect()
    }
}

/// Cuts the rows of a range, in their order, into pages of about `rows`; the last of them ends where the range does.
#[must_use]
pub fn cut(found: Vec<Known>, until: Option<Vec<Value>>, key: usize, rows: usize) -> Vec<Page> {
    let bytes = |row: &Known| row.name.iter().map(size).sum::<usize>() + 24;
    let total: usize = found.iter().map(bytes).sum();
    if found.len() <= rows.saturating_mul(CUT_AT) && total <= PAGE_BYTES * CUT_AT {
        return vec![Page { until, rows: found }];
    }
    let mut pages = Vec::new();
    let (mut page, mut taken) = (Vec::new(), 0);
    for row in found {
        if page.len() >= rows || taken >= PAGE_BYTES {
            let rows = std::mem::take(&mut page);
            let until = rows.last().map(|last: &Known| last.name[..key].to_vec());
            pages.push(Page { until, rows });
            taken = 0;
        }
        taken += bytes(&row);
        page.push(row);
    }
    pages.push(Page { until, rows: page });
    pages
}

fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len() + 12,
        Value::Bytes(bytes) => bytes.len() * 4 + 12,
        Value::Json(text) => text.len() + 12,
        _ => 40,
    }
}

/// A key as a text that tells it from every other one.
#[must_use]
pub fn token(key: &[Value]) -> String {
    // Values always have a JSON form.
    serde_json::to_string(key).unwrap_or_default()
}

/// Hashes rows with a key of their table's own, so that a hash says nothing to whoever has another table's.
#[derive(Clone, Debug)]
pub struct Hasher {
    keyed: Sha256,
}

impl Hasher {
    /// A hasher of rows with these columns.
    pub fn new<'a>(secret: &str, columns: impl Iterator<Item = &'a str>) -> Hasher {
        let mut keyed = Sha256::new();
        keyed.update(secret.as_bytes());
        for column in columns {
            keyed.update(column.as_bytes());
            keyed.update([0]);
        }
        Hasher { keyed }
    }

    /// The hash of a row's cells.
    #[must_use]
    pub fn hash(&self, cells: &[Cell]) -> u64 {
        let mut hash = self.keyed.clone();
        hash.update(serde_json::to_vec(cells).unwrap_or_default());
        let digest = hash.finalize();
        let hash = digest
            .iter()
            .take(8)
            .fold(0, |hash, byte| hash << 8 | u64::from(*byte));
        if hash == UNSURE { 1 } else { hash }
    }
}

/// How much of a table may go at once: a listing that lacks more is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// In percent of the rows that were known.
    pub percent: u8,
}

impl Share {
    /// Most rows that may go of so many, rounded up: one row may always go, unless none may.
    #[must_use]
    pub fn of(self, known: u64) -> u64 {
        (u128::from(known) * u128::from(self.percent))
            .div_ceil(100)
            .try_into()
            .unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn known(n: i64, hash: u64) -> Known {
        Known {
            name: vec![Value::Int(n)],
            hash,
        }
    }

    #[test]
    fn a_small_table_may_lose_a_row_and_a_large_one_its_share() {
        for (known, gone) in [(0, 0), (1, 1), (3, 1), (5, 1), (6, 2), (1_000_000, 200_000)] {
            assert_eq!(Share { percent: 20 }.of(known), gone, "{known}");
        }
        assert_eq!(Share { percent: 0 }.of(1000), 0);
        assert_eq!(Share { percent: 100 }.of(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_hash_depends_on_values_columns_and_secret() {
        let row = |n: i64| [Cell::Set(Value::Int(n)), Cell::Set(Value::Null)];
        let hash = |secret: &str, columns: &[&str], n| {
            Hasher::new(secret, columns.iter().copied()).hash(&row(n))
        };
        let base = hash("s", &["a", "b"], 1);
        assert_eq!(base, hash("s", &["a", "b"], 1));
        for other in [
            hash("t", &["a", "b"], 1),
            hash("s", &["a", "c"], 1),
            hash("s", &["ab", ""], 1),
            hash("s", &["a", "b"], 2),
        ] {
            assert_ne!(base, other);
        }
    }

    proptest! {
        #[test]
        fn a_page_and_its_rows_differ_as_sets(
            before in prop::collection::btree_map(0_i64..30, 0_u64..3, 0..20),
            now in prop::collection::btree_map(0_i64..30, 0_u64..3, 0..20),
        ) {
            let rows = before.iter().map(|(n, hash)| known(*n, *hash)).collect();
            let mut left = Left::of(rows, 1);
            let mut replayed: BTreeMap<i64, u64> = before;
            for (n, hash) in &now {
                match left.see(&token(&[Value::Int(*n)]), *hash) {
                    Seen::New => assert_eq!(replayed.insert(*n, *hash), None),
                    Seen::Changed(was) => assert_eq!(replayed.insert(*n, *hash), Some(was.hash)),
                    Seen::Same => assert_eq!(replayed[n], *hash),
                }
            }
            for gone in left.into_rows() {
                let Value::Int(n) = gone.name[0] else { unreachable!() };
                prop_assert!(replayed.remove(&n).is_some());
            }
            prop_assert_eq!(replayed, now);
        }

        #[test]
        fn cutting_loses_no_row_and_ends_where_the_range_ends(count in 0_usize..50, size in 1_usize..9) {
            let rows: Vec<Known> = (0..count as i64).map(|n| known(n, 0)).collect();
            let until = Some(vec![Value::Int(99)]);
            let pages = cut(rows.clone(), until.clone(), 1, size);
            prop_assert_eq!(&pages.last().unwrap().until, &until);
            prop_assert!(pages.iter().all(|page| page.rows.len() <= size * CUT_AT));
            for page in &pages[..pages.len() - 1] {
                prop_assert_eq!(page.until.as_ref(), page.rows.last().map(|row| &row.name));
            }
            let joined: Vec<Known> = pages.into_iter().flat_map(|page| page.rows).collect();
            prop_assert_eq!(joined, rows);
        }
    }
}
