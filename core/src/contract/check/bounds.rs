//! Bounds of one field, compiled: lengths, lists, least and greatest values.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::scan::canonical;
use crate::contract::Field;
use crate::value::{Type, Value};

/// Lists of texts up to this length are compared one by one, longer ones by hash.
const SHORT_LIST: usize = 8;
/// 0000-01-01T00:00:00Z.
pub(super) const FIRST_SECOND: i64 = -62_167_219_200;
/// 9999-12-31T23:59:59Z.
pub(super) const LAST_SECOND: i64 = 253_402_300_799;
/// The years that ISO 8601 writes with four digits, as events do.
pub(super) const YEARS: std::ops::RangeInclusive<i16> = 0..=9999;

/// How long a value may be.
#[derive(Debug)]
pub(super) struct Length {
    pub(super) least: usize,
    pub(super) most: usize,
}

/// A least or greatest value.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) value: Value,
    pub(super) exclusive: bool,
}

/// A list of values.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) values: Vec<Value>,
    texts: Option<HashSet<Box<str>>>,
    /// The documents among the values, in one form.
    documents: Vec<String>,
}

/// The range of a decimal as a count of its smallest unit: the quick way to a yes.
#[derive(Debug)]
pub(super) struct Units {
    scale: usize,
    low: i64,
    high: i64,
}

/// Compares two values of one ordered type; `None` for all others.
pub(in crate::contract) fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Decimal(a), Value::Decimal(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Date(a), Value::Date(b)) => Some(a.cmp(b)),
        (Value::Time(a), Value::Time(b)) => Some(a.cmp(b)),
        (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

impl Units {
    /// Most digits whose count fits; wider decimals are compared as text.
    const DIGITS_MAX: u32 = 18;

    pub(super) fn of(field: &Field) -> Option<Units> {
        let Type::Decimal {
            precision: Some(precision @ 1..=Self::DIGITS_MAX),
            scale: Some(scale),
        } = field.kind
        else {
            return None;
        };
        let limits = &field.limits;
        let greatest = 10_i64.pow(precision) - 1;
        // A bound between two units or far out leaves the judgement to the slow way.
        let bound = |value: &Option<Value>, none: i64, step: i64| match value {
            None => Some(none),
            Some(Value::Decimal(number)) => number.to_units(scale)?.checked_add(step),
            Some(_) => None,
        };
        let low = bound(&limits.minimum, -greatest, limits.exclusive_minimum.into())?;
        let high = bound(
            &limits.maximum,
            greatest,
            -i64::from(limits.exclusive_maximum),
        )?;
        Some(Units {
            scale: scale as usize,
            low: low.max(-greatest),
            high: high.min(greatest),
        })
    }

    /// Whether a plain decimal text has the scale and lies in the range.
    pub(super) fn holds(&self, text: &str) -> bool {
        let (negative, digits) = match text.as_bytes() {
            [b'-', rest @ ..] => (true, rest),
            all => (false, all),
        };
        let fraction = self.scale + usize::from(self.scale > 0);
        if digits.len() > Self::DIGITS_MAX as usize + usize::from(self.scale > 0) {
            return false;
        }
        let point = digits.len().checked_sub(fraction);
        let Some(point) = point.filter(|point| *point > 0) else {
            return false;
        };
        let mut units = 0_i64;
        for (i, byte) in digits.iter().enumerate() {
            match byte {
                b'0'..=b'9' => units = units * 10 + i64::from(byte - b'0'),
                b'.' if i == point && self.scale > 0 => {}
                _ => return false,
            }
        }
        if self.scale > 0 && digits[point] != b'.' {
            return false;
        }
        // No canonical decimal is a negative zero.
        if negative && units == 0 {
            return false;
        }
        let units = if negative { -units } else { units };
        (self.low..=self.high).contains(&units)
    }
}

impl Length {
    /// A length between two bounds; `None` where there are none.
    pub(super) fn of(least: Option<u64>, most: Option<u64>) -> Option<Length> {
        let size = |length: u64| usize::try_from(length).unwrap_or(usize::MAX);
        (least.is_some() || most.is_some()).then(|| Length {
            least: least.map_or(0, size),
            most: most.map_or(usize::MAX, size),
        })
    }

    #[inline]
    pub(super) fn holds(&self, length: usize) -> bool {
        (self.least..=self.most).contains(&length)
    }

    /// Whether a text has so many characters.
    #[inline]
    pub(super) fn holds_text(&self, text: &str) -> bool {
        // A character has one to four bytes, so most texts need no counting.
        (text.len() <= self.most && text.len().div_ceil(4) >= self.least)
            || self.holds(text.chars().count())
    }
}

/// A length beside its bounds, for messages.
pub(super) fn amount(count: usize, length: &Length) -> String {
    let Length { least, most } = length;
    match (count < *least, *most) {
        (true, _) => format!("the length {count}; at least {least} is needed"),
        (false, most) => format!("the length {count}; at most {most} is allowed"),
    }
}

impl Bound {
    /// Whether a value of the bound's type is not below it.
    pub(super) fn is_least(&self, value: &Value) -> bool {
        match compare(value, &self.value) {
            Some(Ordering::Greater) | None => true,
            Some(Ordering::Equal) => !self.exclusive,
            Some(Ordering::Less) => false,
        }
    }

    /// Whether a value of the bound's type is not above it.
    pub(super) fn is_greatest(&self, value: &Value) -> bool {
        match compare(value, &self.value) {
            Some(Ordering::Less) | None => true,
            Some(Ordering::Equal) => !self.exclusive,
            Some(Ordering::Greater) => false,
        }
    }
}

impl Listed {
    pub(super) fn new(values: &[Value]) -> Self {
        let text = |value: &Value| match value {
            Value::Text(text) => Some(text.as_str().into()),
            _ => None,
        };
        let document = |value: &Value| match value {
            Value::Json(text) => canonical(text),
            _ => None,
        };
        let long = values.len() > SHORT_LIST;
        Listed {
            values: values.to_vec(),
            texts: long.then(|| values.iter().map(text).collect()).flatten(),
            documents: values.iter().filter_map(document).collect(),
        }
    }

    pub(super) fn holds(&self, value: &Value) -> bool {
        match value {
            Value::Text(text) => self.holds_text(text),
            Value::Json(text) => {
                canonical(text).is_some_and(|document| self.documents.contains(&document))
            }
            _ => self.values.contains(value),
        }
    }

    #[inline]
    pub(super) fn holds_text(&self, wanted: &str) -> bool {
        match &self.texts {
            Some(texts) => texts.contains(wanted),
            None => self
                .values
                .iter()
                .any(|value| matches!(value, Value::Text(text) if text == wanted)),
        }
    }
}
