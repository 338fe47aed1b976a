//! Conditions on rows and the order of values, as this connector judges them in memory.

use std::cmp::Ordering;

use lockstep_core::connector::{Filter, Sign};
use lockstep_core::{Row, Shape, Value};

/// Whether a row fulfils a condition; a column that the table does not have is null.
pub(crate) fn fulfils(filter: &Filter, shape: &Shape, row: &Row) -> bool {
    let value = |column: &str| {
        let position = shape.position(column)?;
        row.value(position).filter(|value| !value.is_null())
    };
    match filter {
        Filter::Compare(column, sign, wanted) => value(column).is_some_and(|value| {
            let order = order(value, wanted);
            match sign {
                Sign::Equal => order.is_eq(),
                Sign::NotEqual => order.is_ne(),
                Sign::Less => order.is_lt(),
                Sign::LessOrEqual => order.is_le(),
                Sign::Greater => order.is_gt(),
                Sign::GreaterOrEqual => order.is_ge(),
            }
        }),
        Filter::IsNull(column) => value(column).is_none(),
        Filter::IsNotNull(column) => value(column).is_some(),
        Filter::All(parts) => parts.iter().all(|part| fulfils(part, shape, row)),
        Filter::Any(parts) => parts.iter().any(|part| fulfils(part, shape, row)),
    }
}

/// The value that a column of every wanted row is at least.
pub(crate) fn least<'a>(filter: &'a Filter, column: &str) -> Option<&'a Value> {
    match filter {
        Filter::Compare(name, Sign::Greater | Sign::GreaterOrEqual | Sign::Equal, value) => {
            (name == column).then_some(value)
        }
        Filter::All(parts) => {
            let bounds = parts.iter().filter_map(|part| least(part, column));
            bounds.max_by(|a, b| order(a, b))
        }
        _ => None,
    }
}

/// A total order of values: numbers by size, texts by their bytes, types among each other by name.
pub(crate) fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Decimal(a), Value::Decimal(b)) => a.cmp(b),
        (Value::Int(a), Value::Decimal(b)) => lockstep_core::Decimal::from(*a).cmp(b),
        (Value::Decimal(a), Value::Int(b)) => a.cmp(&lockstep_core::Decimal::from(*b)),
        (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (Value::Time(a), Value::Time(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        (Value::Uuid(a), Value::Uuid(b)) => a.cmp(b),
        (Value::Json(a), Value::Json(b)) => a.cmp(b),
        _ => a.type_name().cmp(b.type_name()),
    }
}

/// The order of keys, column by column.
pub(crate) fn keys(a: &[Value], b: &[Value]) -> Ordering {
    let pairs = a.iter().zip(b).map(|(a, b)| order(a, b));
    pairs
        .into_iter()
        .find(|order| order.is_ne())
        .unwrap_or_else(|| a.len().cmp(&b.len()))
}
