//! Casts between column types and contract types that lose nothing.
//!
//! A cast gives the same fact in another type or an error; it never rounds, cuts or guesses.
//! Null casts to null.
//! Errors name types, never values: whoever knows how protected a field is decides what to show.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use uuid::Uuid;

use super::json::canonical_json;
use crate::value::{Decimal, Type, Value};

/// The greatest whole number below which a double holds every integer.
const DOUBLE_EXACT: i64 = 1 << 53;

/// How values of one declared type become values of another, chosen once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CastPlan {
    to: Option<Type>,
}

/// Says that no value of one type could ever be cast to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{from} can never become {to}")]
pub struct NeverCasts {
    /// The declared type.
    pub from: Type,
    /// The wanted type.
    pub to: Type,
}

/// Says why a value cannot be cast without loss.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{from} cannot become {to}: {why}")]
pub struct CastError {
    /// The type of the value.
    pub from: &'static str,
    /// The wanted type.
    pub to: Type,
    /// What would be lost, or what is wrong with the value.
    pub why: Cow<'static, str>,
}

impl CastPlan {
    /// Chooses the way from a declared type (`None` where the system declares none) to another.
    ///
    /// # Errors
    /// Types between which no value can be cast, such as bytes and date.
    pub fn choose(from: Option<Type>, to: Type) -> Result<CastPlan, NeverCasts> {
        match from {
            Some(from) if !can_cast(from, to) => Err(NeverCasts { from, to }),
            _ => Ok(CastPlan { to: Some(to) }),
        }
    }

    /// The plan that leaves every value as it is, for columns that take any type.
    #[must_use]
    pub fn keep() -> CastPlan {
        CastPlan { to: None }
    }

    /// Casts a value; one that has the type already is moved.
    ///
    /// # Errors
    /// A value that would lose something.
    pub fn apply(self, value: Value) -> Result<Value, CastError> {
        match self.to {
            Some(to) => cast(value, to),
            None => Ok(value),
        }
    }

    /// Casts a borrowed value, copying only what the result needs.
    ///
    /// # Errors
    /// A value that would lose something.
    pub fn apply_ref(self, value: &Value) -> Result<Value, CastError> {
        match (self.to, value) {
            // Text that becomes something else is not worth a copy first.
            (Some(to), Value::Text(text)) if to != Type::Text => from_text(text, to),
            _ => self.apply(value.clone()),
        }
    }
}

/// Casts a value to a type.
///
/// # Errors
/// A value that would lose something.
pub fn cast(value: Value, to: Type) -> Result<Value, CastError> {
    match (value, to) {
        (Value::Null, _) => Ok(Value::Null),
        (value @ Value::Bool(_), Type::Bool)
        | (value @ Value::Int(_), Type::Int)
        | (value @ Value::Float(_), Type::Float)
        | (value @ Value::Text(_), Type::Text)
        | (value @ Value::Bytes(_), Type::Bytes)
        | (value @ Value::Date(_), Type::Date)
        | (value @ Value::Time(_), Type::Time)
        | (value @ Value::Timestamp(_), Type::Timestamp)
        | (value @ Value::Uuid(_), Type::Uuid) => Ok(value),
        (Value::Json(text), Type::Json) => canonical_json(&text)
            .map(document)
            .ok_or_else(|| fail("json", to, "it is not a JSON document")),
        (Value::Decimal(number), to) => from_decimal(number, to),
        (Value::Bool(flag), to) => from_bool(flag, to),
        (Value::Int(number), to) => from_int(number, to),
        (Value::Float(number), to) => from_float(number, to),
        (Value::Text(text), to) => from_text(&text, to),
        (Value::Date(date), to) => from_date(date, to),
        (Value::Timestamp(at), to) => from_timestamp(at, to),
        (Value::Time(time), Type::Text) => Ok(Value::Text(time.to_string())),
        (Value::Time(_), to) => Err(never("time", to)),
        (Value::Uuid(id), to) => match to {
            Type::Text => Ok(Value::Text(id.to_string())),
            Type::Bytes => Ok(Value::Bytes(id.as_bytes().to_vec())),
            _ => Err(never("uuid", to)),
        },
        (Value::Bytes(raw), Type::Uuid) => Uuid::from_slice(&raw)
            .map(Value::Uuid)
            .map_err(|_| fail("bytes", to, "a uuid has 16 bytes")),
        (Value::Bytes(_), to) => Err(never("bytes", to)),
        (Value::Json(text), Type::Text) => Ok(Value::Text(text.into_string())),
        (Value::Json(_), to) => Err(never("json", to)),
    }
}

/// A document as a value. A document that is `null` is a null: events cannot tell the two apart, so nobody does.
fn document(text: Box<str>) -> Value {
    match &*text {
        "null" => Value::Null,
        _ => Value::Json(text),
    }
}

/// Tells whether some value of one type can be cast to the other.
fn can_cast(from: Type, to: Type) -> bool {
    use Type::{Bool, Bytes, Date, Decimal, Float, Int, Json, Text, Time, Timestamp, Uuid};
    match (from, to) {
        (Decimal { .. }, Decimal { .. }) => true,
        (a, b) if a == b => true,
        (Bytes, to) => to == Uuid,
        (from, Bytes) => from == Uuid,
        (Text, _) | (_, Text) => true,
        (Bool | Int | Decimal { .. } | Float, Json) => true,
        (Bool, to) => to == Int,
        (Int | Decimal { .. } | Float, Bool | Int | Decimal { .. } | Float) => true,
        (Date, Timestamp) | (Timestamp, Date) => true,
        (Int | Decimal { .. } | Float | Date | Time | Timestamp | Uuid | Json, _) => false,
    }
}

fn fail(from: &'static str, to: Type, why: impl Into<Cow<'static, str>>) -> CastError {
    CastError {
        from,
        to,
        why: why.into(),
    }
}

fn never(from: &'static str, to: Type) -> CastError {
    fail(from, to, "there is no such cast")
}

fn from_bool(flag: bool, to: Type) -> Result<Value, CastError> {
    match to {
        Type::Bool => Ok(Value::Bool(flag)),
        Type::Int => Ok(Value::Int(i64::from(flag))),
        Type::Text => Ok(Value::text(if flag { "true" } else { "false" })),
        Type::Json => Ok(Value::Json(if flag { "true" } else { "false" }.into())),
        _ => Err(never("bool", to)),
    }
}

fn from_int(number: i64, to: Type) -> Result<Value, CastError> {
    match to {
        Type::Int => Ok(Value::Int(number)),
        Type::Bool => match number {
            0 => Ok(Value::Bool(false)),
            1 => Ok(Value::Bool(true)),
            _ => Err(fail("int", to, "only 0 and 1 are truth values")),
        },
        Type::Decimal { .. } => fitted(Decimal::from(number), "int", to).map(Value::Decimal),
        Type::Float if (-DOUBLE_EXACT..=DOUBLE_EXACT).contains(&number) => {
            Ok(Value::Float(number as f64))
        }
        Type::Float => Err(fail("int", to, "a double cannot hold every digit")),
        Type::Text => Ok(Value::Text(number.to_string())),
        Type::Json => Ok(Value::Json(number.to_string().into())),
        _ => Err(never("int", to)),
    }
}

fn from_float(number: f64, to: Type) -> Result<Value, CastError> {
    if to == Type::Float {
        return Ok(Value::Float(number));
    }
    if !number.is_finite() {
        return Err(fail("float", to, "it is not a finite number"));
    }
    match to {
        Type::Int | Type::Bool => {
            // Minus zero would come back as zero, which is the same number.
            if number.fract() != 0.0 {
                return Err(fail("float", to, "it is not a whole number"));
            }
            if number.abs() > DOUBLE_EXACT as f64 {
                return Err(fail(
                    "float",
                    to,
                    "it is beyond what a double counts exactly",
                ));
            }
            from_int(number as i64, to)
        }
        // The shortest text that reads back as the same double is what the writer meant.
        Type::Decimal { .. } => match number.to_string().parse() {
            Ok(decimal) => fitted(decimal, "float", to).map(Value::Decimal),
            Err(_) => Err(never("float", to)),
        },
        Type::Text => Ok(Value::Text(number.to_string())),
        Type::Json => Ok(Value::Json(
            serde_json::Value::from(number).to_string().into(),
        )),
        _ => Err(never("float", to)),
    }
}

fn from_decimal(number: Decimal, to: Type) -> Result<Value, CastError> {
    match to {
        Type::Decimal { .. } => fitted(number, "decimal", to).map(Value::Decimal),
        Type::Int | Type::Bool => number
            .to_units(0)
            .ok_or_else(|| fail("decimal", to, "it is not a whole number of 64 bits"))
            .and_then(|number| from_int(number, to)),
        Type::Float => {
            let nearest: Option<f64> = number.as_str().parse().ok().filter(|n: &f64| n.is_finite());
            let back = nearest.and_then(|n| n.to_string().parse::<Decimal>().ok());
            match (nearest, back) {
                (Some(nearest), Some(back)) if back == number => Ok(Value::Float(nearest)),
                _ => Err(fail("decimal", to, "a double cannot hold every digit")),
            }
        }
        Type::Text => Ok(Value::Text(number.as_str().to_owned())),
        Type::Json => Ok(Value::Json(number.as_str().into())),
        _ => Err(never("decimal", to)),
    }
}

/// The number inside the bounds of a decimal type, with its scale.
fn fitted(number: Decimal, from: &'static str, to: Type) -> Result<Decimal, CastError> {
    let Type::Decimal { precision, scale } = to else {
        return Ok(number);
    };
    let number = match scale {
        Some(scale) if number.scale() != scale => number
            .rescale(scale)
            .ok_or_else(|| fail(from, to, format!("it has more than {scale} decimal places")))?,
        _ => number,
    };
    let Some(precision) = precision else {
        return Ok(number);
    };
    // A number without a stated scale spends its own decimal places from the precision.
    let integer_max = precision.saturating_sub(scale.unwrap_or_else(|| number.scale()));
    if number.integer_digits() > integer_max {
        return Err(fail(
            from,
            to,
            format!("it has more than {integer_max} digits before the point"),
        ));
    }
    Ok(number)
}

fn from_text(text: &str, to: Type) -> Result<Value, CastError> {
    let wrong = |why: &'static str| fail("text", to, why);
    match to {
        Type::Text => Ok(Value::text(text)),
        Type::Bool => match text {
            "1" => Ok(Value::Bool(true)),
            "0" => Ok(Value::Bool(false)),
            _ => truth(text)
                .map(Value::Bool)
                .ok_or_else(|| wrong("only true, false, t, f, 1 and 0 are truth values")),
        },
        Type::Int => plain_int(text)
            .map(Value::Int)
            .ok_or_else(|| wrong("it is not a plain whole number of 64 bits")),
        Type::Decimal { .. } => {
            let number = text.parse::<Decimal>().ok();
            let number = number.filter(|_| text.trim() == text);
            let number = number.ok_or_else(|| wrong("it is not a decimal number"))?;
            fitted(number, "text", to).map(Value::Decimal)
        }
        Type::Float => {
            let number = text.parse::<Decimal>().ok();
            let number = number.filter(|_| text.trim() == text);
            let number = number.ok_or_else(|| wrong("it is not a number"))?;
            from_decimal(number, to)
        }
        Type::Date => strict_date(text)
            .map(Value::Date)
            .ok_or_else(|| wrong("it is not a date such as 2024-12-31")),
        Type::Time => strict_time(text)
            .map(Value::Time)
            .ok_or_else(|| wrong("it is not a time such as 23:59:00")),
        Type::Timestamp => instant(text).map(Value::Timestamp).ok_or_else(|| {
            wrong("it is neither RFC 3339 nor such as 2024-12-31 23:59:00, taken as UTC")
        }),
        Type::Uuid => Some(text)
            .filter(|text| text.len() == 36)
            .and_then(|text| Uuid::try_parse(text).ok())
            .map(Value::Uuid)
            .ok_or_else(|| wrong("it is not a uuid")),
        Type::Json => canonical_json(text)
            .map(document)
            .ok_or_else(|| wrong("it is not a JSON document")),
        Type::Bytes => Err(never("text", to)),
    }
}

/// A word that is a truth value, as databases, spreadsheets and programs write it.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "t" | "True" | "TRUE" => Some(true),
        "false" | "f" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Whether a text is an instant, or one without an offset that is taken as UTC.
pub(crate) fn is_timestamp(text: &str) -> bool {
    instant(text).is_some()
}

fn from_date(date: Date, to: Type) -> Result<Value, CastError> {
    match to {
        Type::Date => Ok(Value::Date(date)),
        Type::Text => Ok(Value::Text(date.to_string())),
        Type::Timestamp => utc(date.at(0, 0, 0, 0))
            .map(Value::Timestamp)
            .ok_or_else(|| fail("date", to, "it is beyond the range of timestamps")),
        _ => Err(never("date", to)),
    }
}

fn from_timestamp(at: Timestamp, to: Type) -> Result<Value, CastError> {
    match to {
        Type::Timestamp => Ok(Value::Timestamp(at)),
        Type::Text => Ok(Value::Text(at.to_string())),
        Type::Date => {
            let at = at.to_zoned(TimeZone::UTC).datetime();
            if at.time() == Time::midnight() {
                Ok(Value::Date(at.date()))
            } else {
                Err(fail("timestamp", to, "it is not midnight in UTC"))
            }
        }
        _ => Err(never("timestamp", to)),
    }
}

/// `-12` but not `+12`, `012` or ` 12`: only what comes back as the same text.
fn plain_int(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.bytes().all(|b| b.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'))
        && text != "-0";
    plain.then(|| text.parse().ok()).flatten()
}

/// Exactly `YYYY-MM-DD`.
fn strict_date(text: &str) -> Option<Date> {
    let shaped = text.len() == 10
        && text.bytes().enumerate().all(|(i, b)| match i {
            4 | 7 => b == b'-',
            _ => b.is_ascii_digit(),
        });
    shaped.then(|| text.parse().ok()).flatten()
}

/// `HH:MM`, `HH:MM:SS` or with a fraction of up to nine digits.
fn strict_time(text: &str) -> Option<Time> {
    let clock = text.split_once('.').map_or(text, |(clock, _)| clock);
    let shaped = matches!(clock.len(), 5 | 8)
        && clock.bytes().enumerate().all(|(i, b)| match i {
            2 | 5 => b == b':',
            _ => b.is_ascii_digit(),
        })
        && (clock.len() == 8 || clock == text);
    // A leap second would silently become second 59.
    let leap = clock.ends_with(":60");
    (shaped && !leap).then(|| text.parse().ok()).flatten()
}

/// RFC 3339, or a date and time without an offset, taken as UTC.
fn instant(text: &str) -> Option<Timestamp> {
    let (date, rest) = text.split_at_checked(10)?;
    let date = strict_date(date)?;
    let clock = rest.strip_prefix(['T', 't', ' '])?;
    let offset = clock.find(['Z', 'z', '+', '-']);
    let (clock, offset) = clock.split_at_checked(offset.unwrap_or(clock.len()))?;
    let time = strict_time(clock)?;
    let local = utc(date.to_datetime(time))?;
    let shift = offset_seconds(offset)?;
    local
        .checked_sub(jiff::SignedDuration::from_secs(shift))
        .ok()
}

/// Seconds east of UTC: nothing and `Z` are zero, otherwise `+HH`, `+HHMM` or `+HH:MM`.
fn offset_seconds(text: &str) -> Option<i64> {
    let sign = match text.as_bytes().first() {
        None => return Some(0),
        Some(b'Z' | b'z') => return (text.len() == 1).then_some(0),
        Some(b'-') => -1,
        Some(_) => 1,
    };
    let digits: Vec<&str> = text[1..].split(':').collect();
    let number = |text: &str| {
        let plain = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| text.parse::<i64>().ok()).flatten()
    };
    let (hours, minutes) = match digits.as_slice() {
        [hours] if hours.len() == 2 => (number(hours)?, 0),
        [both] if both.len() == 4 => (number(both.get(..2)?)?, number(both.get(2..)?)?),
        [hours, minutes] => (number(hours)?, number(minutes)?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn utc(at: DateTime) -> Option<Timestamp> {
    TimeZone::UTC.to_timestamp(at).ok()
}

#[cfg(test)]
#[path = "cast_tests.rs"]
pub(crate) mod tests;
