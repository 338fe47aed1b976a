//! Step six, **verify**: do two systems hold the same records.
//!
//! [`Comparison`] is fed the records of both sides in contract form, in any order, and names the keys that differ; [`differing_fields`] says in what.
//! It holds 48 bytes a record and no values, so millions fit; what a key's values are is fetched again for the few that differ.

mod json;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use crate::key::Key;
use crate::shape::{Row, Shape};
use crate::value::{Cell, Value};

use json::one_form;

/// Compares the records of two sides.
#[derive(Debug)]
pub struct Comparison {
    /// Positions of the contract fields that both sides can tell.
    fields: Vec<usize>,
    seeds: (RandomState, RandomState),
    left: HashMap<Key, (u128, bool)>,
    extra: Vec<Key>,
    different: Vec<Key>,
    repeated: Vec<Key>,
    compared: u64,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Keys that both sides hold.
    pub compared: u64,
    /// Keys that only the left side holds.
    pub missing: Vec<Key>,
    /// Keys that only the right side holds, or holds more than once.
    pub extra: Vec<Key>,
    /// Keys whose fields differ.
    pub different: Vec<Key>,
}

impl Differences {
    /// Tells whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys().next().is_none()
    }

    /// Every key that was found.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.missing
            .iter()
            .chain(&self.extra)
            .chain(&self.different)
    }
}

impl Comparison {
    /// A comparison over these field positions.
    #[must_use]
    pub fn new(fields: Vec<usize>) -> Self {
        Comparison {
            fields,
            seeds: (RandomState::new(), RandomState::new()),
            left: HashMap::new(),
            extra: Vec::new(),
            different: Vec::new(),
            repeated: Vec::new(),
            compared: 0,
        }
    }

    /// Takes in a record of the left side; all of them come before those of the right side.
    pub fn left(&mut self, key: Key, row: &Row) {
        let hash = self.hash(row);
        self.left.insert(key, (hash, false));
    }

    /// Takes in a record of the right side.
    pub fn right(&mut self, key: Key, row: &Row) {
        let hash = self.hash(row);
        match self.left.get_mut(&key) {
            None => self.extra.push(key),
            Some((_, true)) => self.repeated.push(key),
            Some((expected, seen)) => {
                *seen = true;
                self.compared += 1;
                if *expected != hash {
                    self.different.push(key);
                }
            }
        }
    }

    /// What was found, each list in key order.
    #[must_use]
    pub fn finish(self) -> Differences {
        let mut found = Differences {
            compared: self.compared,
            missing: self
                .left
                .into_iter()
                .filter(|(_, (_, seen))| !seen)
                .map(|(k, _)| k)
                .collect(),
            extra: self.extra,
            different: self.different,
        };
        found.extra.extend(self.repeated);
        found.missing.sort_unstable();
        found.extra.sort_unstable();
        found.extra.dedup();
        found.different.sort_unstable();
        found
    }

    /// A 128-bit hash of the compared fields, each as tag, length and bytes, so that no two records share their input.
    fn hash(&self, row: &Row) -> u128 {
        let mut bytes = Vec::with_capacity(256);
        for position in &self.fields {
            canonical(row.cell(*position), &mut bytes);
        }
        let half = |seed: &RandomState| {
            let mut hasher = seed.build_hasher();
            hasher.write(&bytes);
            u128::from(hasher.finish())
        };
        half(&self.seeds.0) << 64 | half(&self.seeds.1)
    }
}

fn canonical(cell: &Cell, bytes: &mut Vec<u8>) {
    let mut push = |tag: u8, raw: &[u8]| {
        bytes.push(tag);
        bytes.extend_from_slice(&(raw.len() as u32).to_be_bytes());
        bytes.extend_from_slice(raw);
    };
    match cell {
        Cell::Unchanged => push(b'?', b""),
        Cell::Set(Value::Null) => push(b'0', b""),
        Cell::Set(Value::Text(text)) => push(b's', text.as_bytes()),
        Cell::Set(Value::Bytes(raw)) => push(b'x', raw),
        Cell::Set(Value::Decimal(number)) => {
            // Equal numbers are equal whatever their scale.
            let text = number.as_str();
            let text = if text.contains('.') {
                text.trim_end_matches('0').trim_end_matches('.')
            } else {
                text
            };
            push(b'n', text.as_bytes());
        }
        Cell::Set(Value::Float(number)) if number.is_nan() => push(b'f', b"NaN"),
        Cell::Set(Value::Float(number)) => push(b'f', &(number + 0.0).to_bits().to_be_bytes()),
        Cell::Set(Value::Json(text)) => push(b'j', one_form(text).as_bytes()),
        Cell::Set(value) => push(
            value.type_name().as_bytes()[0],
            value.to_string().as_bytes(),
        ),
    }
}

/// The names of the compared fields in which two records differ.
#[must_use]
pub fn differing_fields(shape: &Shape, fields: &[usize], left: &Row, right: &Row) -> Vec<String> {
    fields
        .iter()
        .filter(|position| !same(left.cell(**position), right.cell(**position)))
        .map(|position| shape.columns[*position].name.clone())
        .collect()
}

/// Whether two cells are one to the hash.
fn same(left: &Cell, right: &Cell) -> bool {
    match (left, right) {
        (Cell::Set(Value::Json(left)), Cell::Set(Value::Json(right))) => {
            left == right || one_form(left) == one_form(right)
        }
        (left, right) => left == right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: i64) -> Key {
        Key::encode([Some(&Value::Int(n))]).unwrap()
    }

    fn row(text: &str) -> Row {
        Row::of([Value::Int(0), Value::text(text)])
    }

    #[test]
    fn every_kind_of_difference_is_named() {
        let mut comparison = Comparison::new(vec![1]);
        for n in 1..=4 {
            comparison.left(key(n), &row("same"));
        }
        for (n, text) in [
            (2, "same"),
            (3, "other"),
            (4, "same"),
            (4, "same"),
            (5, "same"),
        ] {
            comparison.right(key(n), &row(text));
        }
        assert_eq!(
            comparison.finish(),
            Differences {
                compared: 3,
                missing: vec![key(1)],
                extra: vec![key(4), key(5)],
                different: vec![key(3)],
            }
        );
    }

    #[test]
    fn documents_are_compared_by_what_they_mean() {
        let json = |text: &str| Row::of([Value::Json(text.into())]);
        let shape = Shape {
            name: "t".to_owned(),
            columns: vec![crate::Column::new("data", crate::Type::Json, true)],
            key: Vec::new(),
        };
        let mut comparison = Comparison::new(vec![0]);
        let (left, right) = (json(r#"{"n":1.0}"#), json(r#"{"n":1}"#));
        comparison.left(key(1), &left);
        comparison.left(key(2), &left);
        comparison.right(key(1), &right);
        comparison.right(key(2), &json(r#"{"n":1.5}"#));
        assert_eq!(comparison.finish().different, [key(2)]);
        assert_eq!(
            differing_fields(&shape, &[0], &left, &right),
            Vec::<String>::new()
        );
    }

    #[test]
    fn null_is_not_empty_and_numbers_are_numbers() {
        let mut comparison = Comparison::new(vec![0]);
        comparison.left(key(1), &Row::of([Value::Null]));
        comparison.left(key(2), &Row::of([Value::Decimal("1.50".parse().unwrap())]));
        comparison.right(key(1), &Row::of([Value::text("")]));
        comparison.right(key(2), &Row::of([Value::Decimal("1.5".parse().unwrap())]));
        assert_eq!(comparison.finish().different, [key(1)]);
    }
}
