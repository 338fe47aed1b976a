//! Records as JSON, straight from typed values and straight back, by field position.
//!
//! Decimals, dates, times, UUIDs and bytes are JSON strings, integers and floats are numbers, a JSON field stands as it is.

use std::fmt;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Channel;
use crate::diagnostic::a;
use crate::shape::{Row, Shape};
use crate::value::{Cell, Decimal, Type, Value};

/// Appends a record as a JSON object: every field that is set, in contract order.
pub fn write_record(channel: &Channel, row: &Row, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut first = true;
    for (name, cell) in channel.names.iter().zip(&row.0) {
        let Cell::Set(value) = cell else { continue };
        if !first {
            out.push(b',');
        }
        first = false;
        out.extend_from_slice(name.as_bytes());
        write_value(value, out);
    }
    out.push(b'}');
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(number) => {
            out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes());
        }
        Value::Float(number) if number.is_finite() => display(number, out),
        Value::Float(number) => quoted(number, out),
        Value::Text(text) => write_text(text, out),
        Value::Decimal(number) => write_plain(number.as_str(), out),
        Value::Bytes(raw) => {
            out.push(b'"');
            out.extend_from_slice(STANDARD.encode(raw).as_bytes());
            out.push(b'"');
        }
        Value::Date(date) => quoted(date, out),
        Value::Time(time) => quoted(time, out),
        Value::Timestamp(at) => quoted(at, out),
        Value::Uuid(id) => quoted(id, out),
        Value::Json(text) => out.extend_from_slice(text.as_bytes()),
    }
}

/// Appends a JSON string.
pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    // Without an early end, so that many bytes are looked at together.
    let is_plain = text.bytes().fold(true, |plain, byte| {
        plain & (byte >= b' ') & (byte != b'"') & (byte != b'\\')
    });
    if is_plain {
        return write_plain(text, out);
    }
    // Writing to a vector cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// Appends a JSON string of which nothing has to be escaped.
pub(super) fn write_plain(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

fn display(value: &impl fmt::Display, out: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{value}");
}

fn quoted(value: &impl fmt::Display, out: &mut Vec<u8>) {
    out.push(b'"');
    display(value, out);
    out.push(b'"');
}

/// Reads a record from JSON: fields that are not there are unchanged, fields that the shape does not know are left out.
///
/// # Errors
/// Text that is not a JSON object, or a value that is not of its field's type.
pub fn read_record(shape: &Shape, json: &str) -> Result<Row, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let row = RecordSeed(shape).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(row)
}

/// Reads one value of a type from its JSON; `None` where it is not of that type's form.
pub(super) fn read_value(kind: Type, json: &str) -> Option<Value> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let seed = ValueSeed { name: "", kind };
    let value = seed.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some(value)
}

/// Reads a record that is part of something larger.
pub(super) struct RecordSeed<'s>(pub(super) &'s Shape);

impl<'de> DeserializeSeed<'de> for RecordSeed<'_> {
    type Value = Row;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Row, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RecordSeed<'_> {
    type Value = Row;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with the fields of `{}`", self.0.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
        let columns = &self.0.columns;
        let mut row = Row::unchanged(columns.len());
        // Writers keep contract order, so the next field is nearly always the expected one.
        let mut expected = 0;
        let shape = self.0;
        while let Some(position) = map.next_key_seed(NameSeed { shape, expected })? {
            let Some(position) = position else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let column = &columns[position];
            let kind = column.kind.unwrap_or(Type::Json);
            let value = map.next_value_seed(ValueSeed {
                name: &column.name,
                kind,
            })?;
            row.0[position] = Cell::Set(value);
            expected = position + 1;
        }
        Ok(row)
    }
}

/// Finds the position of a field by its name, which need not be kept.
struct NameSeed<'s> {
    shape: &'s Shape,
    expected: usize,
}

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(match self.shape.columns.get(self.expected) {
            Some(column) if column.name == name => Some(self.expected),
            _ => self.shape.position(name),
        })
    }
}

struct ValueSeed<'n> {
    name: &'n str,
    kind: Type,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.kind == Type::Json {
            let raw: Box<RawValue> = serde::Deserialize::deserialize(deserializer)?;
            return Ok(match raw.get() {
                "null" => Value::Null,
                text => Value::Json(text.into()),
            });
        }
        deserializer.deserialize_any(self)
    }
}

impl ValueSeed<'_> {
    fn parse<T: std::str::FromStr, E: serde::de::Error>(&self, text: &str) -> Result<T, E> {
        text.parse().map_err(|_| {
            E::custom(format_args!(
                "field `{}` is not {}",
                self.name,
                a(&self.kind.to_string())
            ))
        })
    }
}

impl Visitor<'_> for ValueSeed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for field `{}`", a(&self.kind.to_string()), self.name)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<Value, E> {
        match self.kind {
            Type::Bool => Ok(Value::Bool(flag)),
            _ => Err(E::invalid_type(serde::de::Unexpected::Bool(flag), &self)),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Value, E> {
        match self.kind {
            Type::Int => Ok(Value::Int(number)),
            Type::Float => Ok(Value::Float(number as f64)),
            _ => Err(E::invalid_type(
                serde::de::Unexpected::Signed(number),
                &self,
            )),
        }
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value, E> {
        match i64::try_from(number) {
            Ok(number) => self.visit_i64(number),
            // A whole double beyond the integers is written without a point, too.
            Err(_) if self.kind == Type::Float => Ok(Value::Float(number as f64)),
            Err(_) => Err(E::invalid_value(
                serde::de::Unexpected::Unsigned(number),
                &self,
            )),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Value, E> {
        match self.kind {
            Type::Float => Ok(Value::Float(number)),
            // JSON Schema counts 1.0 as an integer.
            Type::Int if number.fract() == 0.0 && number.abs() < 9e15 => {
                Ok(Value::Int(number as i64))
            }
            _ => Err(E::invalid_type(serde::de::Unexpected::Float(number), &self)),
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(match self.kind {
            Type::Text => Value::Text(text.to_owned()),
            Type::Decimal { .. } => Value::Decimal(self.parse::<Decimal, E>(text)?),
            Type::Date => Value::Date(self.parse(text)?),
            Type::Time => Value::Time(self.parse(text)?),
            Type::Timestamp => Value::Timestamp(self.parse(text)?),
            Type::Uuid => Value::Uuid(self.parse(text)?),
            Type::Float => Value::Float(self.parse(text)?),
            Type::Bytes => Value::Bytes(
                STANDARD
                    .decode(text)
                    .map_err(|_| E::custom(format_args!("field `{}` is not base64", self.name)))?,
            ),
            Type::Bool | Type::Int | Type::Json => {
                return Err(E::invalid_type(serde::de::Unexpected::Str(text), &self));
            }
        })
    }
}
