//! Typed values that never lose precision.
//!
//! Decimals are exact text, timestamps are instants, and *unchanged* (a column that the source did not send) is a state of a [`Cell`], never a null.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// One value of a record.
///
/// Its serde form names the type (`{"int": 5}`), so that what is kept in quarantine comes back exactly; records in events have a form of their own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Known to be absent.
    Null,
    /// True or false.
    Bool(bool),
    /// A 64-bit signed integer.
    Int(i64),
    /// An exact decimal of any length.
    Decimal(Decimal),
    /// An IEEE double; only for quantities that are doubles at their origin.
    Float(#[serde(with = "any_float")] f64),
    /// Unicode text.
    Text(String),
    /// Raw bytes.
    Bytes(Vec<u8>),
    /// A calendar date.
    Date(Date),
    /// A time of day.
    Time(Time),
    /// An instant, kept in UTC.
    Timestamp(Timestamp),
    /// A UUID.
    Uuid(Uuid),
    /// A JSON document as its text.
    Json(Box<str>),
}

/// Doubles in JSON, those included that JSON has no numbers for.
mod any_float {
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Number(f64),
        Text(String),
    }

    pub(super) fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if number.is_finite() {
            serializer.serialize_f64(*number)
        } else {
            serializer.collect_str(number)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        match Form::deserialize(deserializer)? {
            Form::Number(number) => Ok(number),
            Form::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// What a source says about one column of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// The source did not send the column, because the change did not touch it.
    Unchanged,
    /// The column's value, null included.
    Set(Value),
}

/// The type of a column or a contract field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Type {
    /// [`Value::Bool`].
    Bool,
    /// [`Value::Int`].
    Int,
    /// [`Value::Decimal`], with at most `precision` digits, exactly `scale` of them after the point; unbounded where absent.
    Decimal {
        /// Most digits in all.
        precision: Option<u32>,
        /// Digits after the point.
        scale: Option<u32>,
    },
    /// [`Value::Float`].
    Float,
    /// [`Value::Text`].
    Text,
    /// [`Value::Bytes`].
    Bytes,
    /// [`Value::Date`].
    Date,
    /// [`Value::Time`].
    Time,
    /// [`Value::Timestamp`].
    Timestamp,
    /// [`Value::Uuid`].
    Uuid,
    /// [`Value::Json`].
    Json,
}

impl Type {
    /// A decimal without bounds.
    pub const DECIMAL: Type = Type::Decimal {
        precision: None,
        scale: None,
    };

    /// The word for it in contracts, configuration and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Decimal { .. } => "decimal",
            Type::Float => "float",
            Type::Text => "text",
            Type::Bytes => "bytes",
            Type::Date => "date",
            Type::Time => "time",
            Type::Timestamp => "timestamp",
            Type::Uuid => "uuid",
            Type::Json => "json",
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Decimal {
                precision: Some(p),
                scale: Some(s),
            } => write!(f, "decimal({p},{s})"),
            other => f.write_str(other.name()),
        }
    }
}

impl Value {
    /// Shorthand for text.
    pub fn text(text: impl Into<String>) -> Self {
        Value::Text(text.into())
    }

    /// Tells whether this is [`Value::Null`].
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The name of the value's type, `null` for null.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Decimal(_) => "decimal",
            Value::Float(_) => "float",
            Value::Text(_) => "text",
            Value::Bytes(_) => "bytes",
            Value::Date(_) => "date",
            Value::Time(_) => "time",
            Value::Timestamp(_) => "timestamp",
            Value::Uuid(_) => "uuid",
            Value::Json(_) => "json",
        }
    }
}

/// Equality as verification understands it: numerically equal decimals are equal whatever their scale, and a not-a-number equals itself.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Decimal(a), Value::Decimal(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a == b || (a.is_nan() && b.is_nan()),
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::Date(a), Value::Date(b)) => a == b,
            (Value::Time(a), Value::Time(b)) => a == b,
            (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
            (Value::Uuid(a), Value::Uuid(b)) => a == b,
            (Value::Json(a), Value::Json(b)) => a == b,
            _ => false,
        }
    }
}

/// Text for people and logs of structure; row values stay out of logs, so this is for quarantine pages and verification reports.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(v) => write!(f, "{v}"),
            Value::Int(v) => write!(f, "{v}"),
            Value::Decimal(v) => write!(f, "{v}"),
            Value::Float(v) => write!(f, "{v}"),
            Value::Text(v) => f.write_str(v),
            Value::Bytes(v) => {
                for byte in v {
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
            Value::Date(v) => write!(f, "{v}"),
            Value::Time(v) => write!(f, "{v}"),
            Value::Timestamp(v) => write!(f, "{v}"),
            Value::Uuid(v) => write!(f, "{v}"),
            Value::Json(v) => f.write_str(v),
        }
    }
}

impl Cell {
    /// The value, unless the column is unchanged.
    #[must_use]
    pub fn value(&self) -> Option<&Value> {
        match self {
            Cell::Unchanged => None,
            Cell::Set(value) => Some(value),
        }
    }

    /// Tells whether the source did not send the column.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        matches!(self, Cell::Unchanged)
    }
}

impl From<Value> for Cell {
    fn from(value: Value) -> Self {
        Cell::Set(value)
    }
}

/// An exact decimal number of any length, kept as its plain text (`-12.50`): no exponent, no leading plus, no needless leading zero.
///
/// Trailing zeros are kept, because a scale is part of what a system said; equality and order are numeric all the same.
#[derive(Clone)]
pub struct Decimal(Box<str>);

/// Says why a text is not a decimal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a decimal number")]
pub struct NotADecimal(String);

impl Decimal {
    /// The plain text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Digits after the point.
    #[must_use]
    pub fn scale(&self) -> u32 {
        self.0
            .split_once('.')
            .map_or(0, |(_, fraction)| fraction.len() as u32)
    }

    /// Significant digits before the point, a lone zero counting as none.
    #[must_use]
    pub fn integer_digits(&self) -> u32 {
        let digits = self.0.trim_start_matches('-');
        let integer = digits
            .split_once('.')
            .map_or(digits, |(integer, _)| integer);
        if integer == "0" {
            0
        } else {
            integer.len() as u32
        }
    }

    /// The same number with exactly `scale` digits after the point, or `None` where digits other than zero would be lost.
    #[must_use]
    pub fn rescale(&self, scale: u32) -> Option<Decimal> {
        let (integer, fraction) = self.0.split_once('.').unwrap_or((&self.0, ""));
        let scale = scale as usize;
        let mut text = String::with_capacity(integer.len() + 1 + scale);
        text.push_str(integer);
        if fraction.len() > scale && fraction[scale..].bytes().any(|b| b != b'0') {
            return None;
        }
        if scale > 0 {
            text.push('.');
            let kept = &fraction[..fraction.len().min(scale)];
            text.push_str(kept);
            text.extend(std::iter::repeat_n('0', scale - kept.len()));
        }
        Some(Decimal::canonical(&text))
    }

    /// The number as an integer count of its smallest unit at `scale` (cents for 2), or `None` where that is not whole or does not fit.
    #[must_use]
    pub fn to_units(&self, scale: u32) -> Option<i64> {
        let exact = self.rescale(scale)?;
        exact.0.replace('.', "").parse().ok()
    }

    /// The decimal that is `units` of the smallest unit at `scale`: 1250 at 2 is `12.50`.
    #[must_use]
    pub fn from_units(units: i64, scale: u32) -> Decimal {
        let digits = format!(
            "{:0width$}",
            units.unsigned_abs(),
            width = scale as usize + 1
        );
        let (integer, fraction) = digits.split_at(digits.len() - scale as usize);
        let sign = if units < 0 { "-" } else { "" };
        let dot = if scale > 0 { "." } else { "" };
        Decimal(format!("{sign}{integer}{dot}{fraction}").into())
    }

    /// The number for exact arithmetic.
    #[must_use]
    pub fn to_big(&self) -> bigdecimal::BigDecimal {
        // The text was checked when it was made, so this cannot fail; zero keeps the function total.
        bigdecimal::BigDecimal::from_str(&self.0).unwrap_or_default()
    }

    fn canonical(text: &str) -> Decimal {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let integer = integer.trim_start_matches('0');
        let integer = if integer.is_empty() { "0" } else { integer };
        let zero = integer == "0" && fraction.bytes().all(|b| b == b'0');
        let sign = if negative && !zero { "-" } else { "" };
        let dot = if fraction.is_empty() { "" } else { "." };
        if sign.is_empty() && dot.is_empty() {
            return Decimal(integer.into());
        }
        Decimal(format!("{sign}{integer}{dot}{fraction}").into())
    }

    fn parts(&self) -> (bool, &str, &str) {
        let (negative, digits) = match self.0.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, &*self.0),
        };
        let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        (negative, integer, fraction.trim_end_matches('0'))
    }
}

impl From<bigdecimal::BigDecimal> for Decimal {
    fn from(number: bigdecimal::BigDecimal) -> Self {
        Decimal::canonical(&number.to_plain_string())
    }
}

impl From<i64> for Decimal {
    fn from(number: i64) -> Self {
        Decimal(number.to_string().into())
    }
}

impl FromStr for Decimal {
    type Err = NotADecimal;

    fn from_str(text: &str) -> Result<Self, NotADecimal> {
        let fail = || NotADecimal(text.chars().take(64).collect());
        let trimmed = text.trim();
        let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
        let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if plain(integer) && plain(fraction) && !(integer.is_empty() && fraction.is_empty()) {
            return Ok(Decimal::canonical(trimmed));
        }
        // An exponent is legal in what systems send, but a huge one would unfold into gigabytes of zeros.
        let (_, exponent) = digits.split_once(['e', 'E']).ok_or_else(fail)?;
        let exponent: i32 = exponent.parse().map_err(|_| fail())?;
        if exponent.abs() > 20_000 {
            return Err(fail());
        }
        bigdecimal::BigDecimal::from_str(trimmed)
            .map(Decimal::from)
            .map_err(|_| fail())
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decimal({})", self.0)
    }
}

/// As JSON string: a JSON number would pass through doubles in most readers.
impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Decimal {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Decimal".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?$"
        })
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.parts() == other.parts()
    }
}

impl Eq for Decimal {}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let (a_negative, a_integer, a_fraction) = self.parts();
        let (b_negative, b_integer, b_fraction) = other.parts();
        let magnitude = a_integer
            .len()
            .cmp(&b_integer.len())
            .then_with(|| a_integer.cmp(b_integer))
            .then_with(|| a_fraction.cmp(b_fraction));
        match (a_negative, b_negative) {
            (false, false) => magnitude,
            (true, true) => magnitude.reverse(),
            (true, false) => std::cmp::Ordering::Less,
            (false, true) => std::cmp::Ordering::Greater,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn decimals_keep_every_digit() {
        let long = "1234567890123456789012345678901234567890.000000000000000000000000001";
        assert_eq!(decimal(long).as_str(), long);
        assert_eq!(decimal("-0.00").as_str(), "0.00");
        assert_eq!(decimal("+007").as_str(), "7");
        assert_eq!(decimal("1.5e3").as_str(), "1500");
        assert_eq!(decimal(".5").as_str(), "0.5");
    }

    #[test]
    fn decimals_are_json_strings() {
        let number = decimal("12.50");
        let json = serde_json::to_string(&number).unwrap();
        assert_eq!(json, "\"12.50\"");
        let back: Decimal = serde_json::from_str(&json).unwrap();
        assert_eq!(back.as_str(), "12.50");
        assert!(serde_json::from_str::<Decimal>("12.5").is_err());
        assert!(serde_json::from_str::<Decimal>("\"x\"").is_err());
    }

    #[test]
    fn decimals_compare_as_numbers() {
        assert_eq!(decimal("12.5"), decimal("12.500"));
        assert!(decimal("-2") < decimal("-1.99"));
        assert!(decimal("9") < decimal("10"));
        assert!(decimal("0.09") < decimal("0.1"));
    }

    #[test]
    fn rescaling_never_drops_a_digit() {
        assert_eq!(decimal("12.5").rescale(2).unwrap().as_str(), "12.50");
        assert_eq!(decimal("12.500").rescale(1).unwrap().as_str(), "12.5");
        assert_eq!(decimal("12.51").rescale(1), None);
        assert_eq!(decimal("12.50").to_units(2), Some(1250));
        assert_eq!(Decimal::from_units(-5, 2).as_str(), "-0.05");
    }

    #[test]
    fn kept_values_come_back_exactly() {
        for value in [
            Value::Null,
            Value::Float(f64::NAN),
            Value::Float(f64::NEG_INFINITY),
            Value::Float(0.1 + 0.2),
            Value::Decimal(decimal("12.50")),
            Value::Bytes(vec![0, 255]),
            Value::Int(i64::MIN),
        ] {
            let text = serde_json::to_string(&Cell::Set(value.clone())).unwrap();
            assert_eq!(
                serde_json::from_str::<Cell>(&text).unwrap(),
                Cell::Set(value),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", ".", "1.2.3", "abc", "1e999999999", "--1", "1-2", "NaN"] {
            assert!(text.parse::<Decimal>().is_err(), "{text}");
        }
    }
}
