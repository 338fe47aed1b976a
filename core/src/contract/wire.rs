//! The wire form of a value: what the writer schema describes, for one value at a time.
//!
//! Decimals, bytes, dates, times, timestamps and UUIDs are JSON strings; a JSON document stands as itself.
//! The log encodes whole records faster; this is for schemas, defaults and tools.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::{Date, Time};
use jiff::tz::Offset;
use serde_json::Value as Json;

use super::check::scan::{Next, Scanner};
use super::check::whole;
use crate::value::{Type, Value};

/// Writes a value.
///
/// A float that JSON cannot hold and a JSON document that does not parse become null; neither passes a [`Checker`](super::Checker) or a decoder.
#[must_use]
pub fn to_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(flag) => (*flag).into(),
        Value::Int(number) => (*number).into(),
        Value::Decimal(number) => number.as_str().into(),
        Value::Float(number) => (*number).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Bytes(bytes) => STANDARD.encode(bytes).into(),
        Value::Date(date) => date.to_string().into(),
        Value::Time(time) => time.to_string().into(),
        Value::Timestamp(at) => at.to_string().into(),
        Value::Uuid(id) => id.to_string().into(),
        Value::Json(text) => serde_json::from_str(text).unwrap_or_default(),
    }
}

/// Reads a value of `kind`; `None` where the JSON is not of its form.
#[must_use]
pub fn from_json(kind: Type, json: &Json) -> Option<Value> {
    if kind != Type::Json && json.is_null() {
        return Some(Value::Null);
    }
    Some(match kind {
        Type::Bool => Value::Bool(json.as_bool()?),
        Type::Int => Value::Int(json.as_i64()?),
        Type::Decimal { .. } => Value::Decimal(json.as_str()?.parse().ok()?),
        Type::Float => Value::Float(json.as_f64()?),
        Type::Text => Value::text(json.as_str()?),
        Type::Bytes => Value::Bytes(STANDARD.decode(json.as_str()?).ok()?),
        Type::Date => Value::Date(json.as_str()?.parse::<Date>().ok()?),
        Type::Time => Value::Time(json.as_str()?.parse::<Time>().ok()?),
        Type::Timestamp => Value::Timestamp(json.as_str()?.parse().ok()?),
        Type::Uuid => Value::Uuid(json.as_str()?.parse().ok()?),
        Type::Json if json.is_null() => Value::Null,
        Type::Json => Value::Json(json.to_string().into()),
    })
}

/// Reads one value of `kind` from its JSON text, exactly as the writer schema has it; `None` where it is not of that form.
#[must_use]
pub fn read(kind: Type, json: &str) -> Option<Value> {
    let mut scan = Scanner::new(json);
    let next = scan.next().ok()?;
    if next == Next::Null {
        return Some(Value::Null);
    }
    Some(match kind {
        Type::Json => Value::Json(json.into()),
        Type::Bool => Value::Bool(scan.bool().ok()?),
        Type::Int => Value::Int(whole(scan.number().ok()?)?),
        Type::Float => Value::Float(scan.number().ok()?.parse().ok()?),
        Type::Text => Value::Text(scan.text().ok()?.into_owned()),
        _ => return read_text(kind, &scan.text().ok()?),
    })
}

/// Reads a value that travels as text.
pub(super) fn read_text(kind: Type, text: &str) -> Option<Value> {
    Some(match kind {
        Type::Text => Value::text(text),
        Type::Decimal { precision, scale } => {
            let exact = precision.is_some() && scale.is_some();
            let zero = text.starts_with('-') && !text.bytes().any(|b| matches!(b, b'1'..=b'9'));
            if !is_decimal(text) || (exact && zero) {
                return None;
            }
            Value::Decimal(text.parse().ok()?)
        }
        Type::Bytes => Value::Bytes(STANDARD.decode(text).ok()?),
        Type::Date => Value::Date(date(text.as_bytes())?),
        Type::Time => Value::Time(time(text.as_bytes())?),
        Type::Timestamp => {
            let (day, rest) = text.as_bytes().split_at_checked(10)?;
            let [b'T', rest @ .., b'Z'] = rest else {
                return None;
            };
            let at = date(day)?.to_datetime(time(rest)?);
            Value::Timestamp(Offset::UTC.to_timestamp(at).ok()?)
        }
        Type::Uuid => {
            let plain = |(at, byte): (usize, u8)| match at {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            };
            if text.len() != 36 || !text.bytes().enumerate().all(plain) {
                return None;
            }
            Value::Uuid(text.parse().ok()?)
        }
        Type::Bool | Type::Int | Type::Float | Type::Json => return None,
    })
}

/// Whether a text is a plain decimal: no plus, no exponent, no needless zero in front.
pub(super) fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (integer, fraction) = match digits.split_once('.') {
        Some((integer, fraction)) => (integer, Some(fraction)),
        None => (digits, None),
    };
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    plain(integer) && (integer == "0" || !integer.starts_with('0')) && fraction.is_none_or(plain)
}

/// `2026-01-31`.
fn date(text: &[u8]) -> Option<Date> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else {
        return None;
    };
    let year = i16::from(two(*y1, *y2)?) * 100 + i16::from(two(*y3, *y4)?);
    Date::new(year, two(*m1, *m2)?, two(*d1, *d2)?).ok()
}

/// `13:45:00`, with up to nine digits after the second.
fn time(text: &[u8]) -> Option<Time> {
    let [h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..] = text else {
        return None;
    };
    let mut nanosecond = 0;
    match rest {
        [] => {}
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => {
            for at in 0..9 {
                let digit = digits.get(at).copied().unwrap_or(b'0');
                if !digit.is_ascii_digit() {
                    return None;
                }
                nanosecond = nanosecond * 10 + i32::from(digit - b'0');
            }
        }
        _ => return None,
    }
    Time::new(two(*h1, *h2)?, two(*m1, *m2)?, two(*s1, *s2)?, nanosecond).ok()
}

fn two(tens: u8, ones: u8) -> Option<i8> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| (byte - b'0') as i8);
    Some(digit(tens)? * 10 + digit(ones)?)
}
