//! The order of keys: of each type by what its values are, and the same in files, bounds and pages.

use std::cmp::Ordering;

use lockstep_core::Value;

/// Compares two keys, column by column.
pub(crate) fn compare(left: &[Value], right: &[Value]) -> Ordering {
    let pairs = left.iter().zip(right);
    pairs
        .map(|(left, right)| values(left, right))
        .find(|side| side.is_ne())
        .unwrap_or_else(|| left.len().cmp(&right.len()))
}

/// Compares two values; a column holds values of one type, and what is mixed all the same is ordered by type.
pub(crate) fn values(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::Int(left), Value::Int(right)) => left.cmp(right),
        (Value::Decimal(left), Value::Decimal(right)) => left.cmp(right),
        (Value::Int(left), Value::Decimal(right)) => lockstep_core::Decimal::from(*left).cmp(right),
        (Value::Decimal(left), Value::Int(right)) => {
            left.cmp(&lockstep_core::Decimal::from(*right))
        }
        (Value::Float(left), Value::Float(right)) => left.total_cmp(right),
        (Value::Text(left), Value::Text(right)) => left.cmp(right),
        (Value::Bytes(left), Value::Bytes(right)) => left.cmp(right),
        (Value::Date(left), Value::Date(right)) => left.cmp(right),
        (Value::Time(left), Value::Time(right)) => left.cmp(right),
        (Value::Timestamp(left), Value::Timestamp(right)) => left.cmp(right),
        (Value::Uuid(left), Value::Uuid(right)) => left.cmp(right),
        (Value::Json(left), Value::Json(right)) => left.cmp(right),
        (left, right) => rank(left).cmp(&rank(right)),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Int(_) | Value::Decimal(_) => 2,
        Value::Float(_) => 3,
        Value::Text(_) => 4,
        Value::Bytes(_) => 5,
        Value::Date(_) => 6,
        Value::Time(_) => 7,
        Value::Timestamp(_) => 8,
        Value::Uuid(_) => 9,
        Value::Json(_) => 10,
    }
}

/// A key that sorts and can be looked up.
#[derive(Clone, Debug)]
pub(crate) struct Sorted(pub(crate) Vec<Value>);

impl PartialEq for Sorted {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Sorted {}

impl PartialOrd for Sorted {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Sorted {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}
