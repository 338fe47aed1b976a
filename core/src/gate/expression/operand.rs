//! Values while an expression runs: borrowed from the row where they come from it.

use std::borrow::Cow;
use std::cmp::Ordering;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use uuid::Uuid;

use super::ExpressionError;
use crate::value::{Decimal, Value};

/// One value of a running expression.
#[derive(Clone, Debug)]
pub(super) enum Operand<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Decimal(Cow<'a, Decimal>),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    Date(Date),
    Time(Time),
    Timestamp(Timestamp),
    Uuid(Uuid),
    List(Vec<Operand<'a>>),
    Map(Vec<(Operand<'a>, Operand<'a>)>),
}

impl<'a> Operand<'a> {
    /// A column's value. JSON documents are taken apart here, because expressions look into them.
    pub(super) fn of(value: &'a Value) -> Result<Operand<'a>, ExpressionError> {
        Ok(match value {
            Value::Null => Operand::Null,
            Value::Bool(v) => Operand::Bool(*v),
            Value::Int(v) => Operand::Int(*v),
            Value::Decimal(v) => Operand::Decimal(Cow::Borrowed(v)),
            Value::Float(v) => Operand::Double(*v),
            Value::Text(v) => Operand::Text(Cow::Borrowed(v)),
            Value::Bytes(v) => Operand::Bytes(Cow::Borrowed(v)),
            Value::Date(v) => Operand::Date(*v),
            Value::Time(v) => Operand::Time(*v),
            Value::Timestamp(v) => Operand::Timestamp(*v),
            Value::Uuid(v) => Operand::Uuid(*v),
            Value::Json(text) => serde_json::from_str(text)
                .map(Operand::of_json)
                .map_err(|_| ExpressionError::new("the JSON document does not parse"))?,
        })
    }

    fn of_json(json: serde_json::Value) -> Operand<'a> {
        match json {
            serde_json::Value::Null => Operand::Null,
            serde_json::Value::Bool(v) => Operand::Bool(v),
            serde_json::Value::String(v) => Operand::Text(Cow::Owned(v)),
            serde_json::Value::Number(v) => match (v.as_i64(), v.as_u64(), v.as_f64()) {
                (Some(v), _, _) => Operand::Int(v),
                (_, Some(v), _) => match v.to_string().parse() {
                    Ok(number) => Operand::Decimal(Cow::Owned(number)),
                    Err(_) => Operand::Null,
                },
                (_, _, v) => Operand::Double(v.unwrap_or_default()),
            },
            serde_json::Value::Array(items) => {
                Operand::List(items.into_iter().map(Operand::of_json).collect())
            }
            serde_json::Value::Object(fields) => Operand::Map(
                fields
                    .into_iter()
                    .map(|(name, value)| (Operand::Text(Cow::Owned(name)), Operand::of_json(value)))
                    .collect(),
            ),
        }
    }

    /// The value of a record that this is.
    pub(super) fn into_value(self) -> Result<Value, ExpressionError> {
        Ok(match self {
            Operand::Null => Value::Null,
            Operand::Bool(v) => Value::Bool(v),
            Operand::Int(v) => Value::Int(v),
            Operand::Double(v) => Value::Float(v),
            Operand::Decimal(v) => Value::Decimal(v.into_owned()),
            Operand::Text(v) => Value::Text(v.into_owned()),
            Operand::Bytes(v) => Value::Bytes(v.into_owned()),
            Operand::Date(v) => Value::Date(v),
            Operand::Time(v) => Value::Time(v),
            Operand::Timestamp(v) => Value::Timestamp(v),
            Operand::Uuid(v) => Value::Uuid(v),
            Operand::List(_) | Operand::Map(_) => return self.into_json(),
        })
    }

    /// The JSON document that this is; dates and the like become their texts, decimals JSON numbers.
    pub(super) fn into_json(self) -> Result<Value, ExpressionError> {
        let mut text = String::new();
        self.write_json(&mut text)?;
        crate::gate::json::canonical_json(&text)
            .map(Value::Json)
            .ok_or_else(|| ExpressionError::new("the result is not a JSON document"))
    }

    fn write_json(&self, out: &mut String) -> Result<(), ExpressionError> {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        match self {
            Operand::Null => out.push_str("null"),
            Operand::Bool(v) => out.push_str(if *v { "true" } else { "false" }),
            Operand::Int(v) => out.push_str(&v.to_string()),
            Operand::Decimal(v) => out.push_str(v.as_str()),
            Operand::Double(v) if v.is_finite() => {
                out.push_str(&serde_json::Value::from(*v).to_string());
            }
            Operand::Double(_) | Operand::Bytes(_) => {
                return Err(ExpressionError::new(format!(
                    "{} cannot stand in a JSON document",
                    self.type_name()
                )));
            }
            Operand::Text(v) => out.push_str(&quoted(v)),
            Operand::Date(v) => out.push_str(&quoted(&v.to_string())),
            Operand::Time(v) => out.push_str(&quoted(&v.to_string())),
            Operand::Timestamp(v) => out.push_str(&quoted(&v.to_string())),
            Operand::Uuid(v) => out.push_str(&quoted(&v.to_string())),
            Operand::List(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    item.write_json(out)?;
                }
                out.push(']');
            }
            Operand::Map(entries) => {
                out.push('{');
                for (i, (key, value)) in entries.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    let Operand::Text(name) = key else {
                        return Err(ExpressionError::new("a JSON object needs text keys"));
                    };
                    out.push_str(&quoted(name));
                    out.push(':');
                    value.write_json(out)?;
                }
                out.push('}');
            }
        }
        Ok(())
    }

    /// The type's name in messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Operand::Null => "null",
            Operand::Bool(_) => "bool",
            Operand::Int(_) => "int",
            Operand::Double(_) => "double",
            Operand::Decimal(_) => "decimal",
            Operand::Text(_) => "text",
            Operand::Bytes(_) => "bytes",
            Operand::Date(_) => "date",
            Operand::Time(_) => "time",
            Operand::Timestamp(_) => "timestamp",
            Operand::Uuid(_) => "uuid",
            Operand::List(_) => "list",
            Operand::Map(_) => "map",
        }
    }

    /// The number as an exact decimal, if it is one.
    pub(super) fn to_decimal(&self) -> Option<Decimal> {
        match self {
            Operand::Int(v) => Some(Decimal::from(*v)),
            Operand::Decimal(v) => Some(v.as_ref().clone()),
            Operand::Double(v) if v.is_finite() => v.to_string().parse().ok(),
            _ => None,
        }
    }

    /// Equality: numbers by their value, values of different types never.
    pub(super) fn equals(&self, other: &Operand<'_>) -> bool {
        match (self, other) {
            (Operand::Null, Operand::Null) => true,
            (Operand::Bytes(a), Operand::Bytes(b)) => a == b,
            (Operand::Uuid(a), Operand::Uuid(b)) => a == b,
            (Operand::List(a), Operand::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equals(b))
            }
            (Operand::Map(a), Operand::Map(b)) => {
                a.len() == b.len()
                    && a.iter()
                        .all(|(key, value)| b.iter().any(|(k, v)| key.equals(k) && value.equals(v)))
            }
            _ => self.order(other) == Some(Ordering::Equal),
        }
    }

    /// The order of two values, where they have one.
    pub(super) fn order(&self, other: &Operand<'_>) -> Option<Ordering> {
        Some(match (self, other) {
            (Operand::Bool(a), Operand::Bool(b)) => a.cmp(b),
            (Operand::Int(a), Operand::Int(b)) => a.cmp(b),
            (Operand::Double(a), Operand::Double(b)) => return a.partial_cmp(b),
            (Operand::Decimal(a), Operand::Decimal(b)) => a.cmp(b),
            (Operand::Text(a), Operand::Text(b)) => a.cmp(b),
            (Operand::Date(a), Operand::Date(b)) => a.cmp(b),
            (Operand::Time(a), Operand::Time(b)) => a.cmp(b),
            (Operand::Timestamp(a), Operand::Timestamp(b)) => a.cmp(b),
            // Numbers of different types meet as exact decimals.
            (
                Operand::Int(_) | Operand::Double(_) | Operand::Decimal(_),
                Operand::Int(_) | Operand::Double(_) | Operand::Decimal(_),
            ) => self.to_decimal()?.cmp(&other.to_decimal()?),
            _ => return None,
        })
    }
}
