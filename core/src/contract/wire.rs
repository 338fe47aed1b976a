//! The wire form of a value: what the writer schema describes, for one value at a time.
//!
//! Decimals, bytes, dates, times, timestamps and UUIDs are JSON strings; a JSON document stands as itself.
//! The log encodes whole records faster; this is for schemas, defaults and tools.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::{Date, Time};
use serde_json::Value as Json;

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
