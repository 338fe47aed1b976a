//! Values of a field's type, read from a contract's text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::{Date, Time};

use super::yaml::{Content, Node};
use crate::value::{Decimal, Type, Value};

/// Reads a node as a value of `kind`, or says what was expected instead, without the node's own text: that may be a protected value.
///
/// Texts are never read from unquoted numbers or flags: `[010, true]` is not what a list of codes means.
pub(super) fn value(kind: Type, node: &Node) -> Result<Value, String> {
    let fail = |expected: &str| Err(expected.to_owned());
    let text = node.text();
    match kind {
        Type::Bool => match node.flag() {
            Some(flag) => Ok(Value::Bool(flag)),
            None => fail("true or false"),
        },
        Type::Int => match node.integer() {
            Some(number) => Ok(Value::Int(number)),
            None => fail("a 64-bit integer"),
        },
        Type::Decimal { precision, scale } => match decimal(node, precision, scale) {
            Some(number) => Ok(Value::Decimal(number)),
            None => fail(&format!("a {kind}")),
        },
        Type::Float => match number(node).and_then(|text| text.parse::<f64>().ok()) {
            Some(number) if number.is_finite() => Ok(Value::Float(number)),
            _ => fail("a finite number"),
        },
        Type::Text => match text {
            Some(text) => Ok(Value::text(text)),
            None => fail("a text; put it in quotes"),
        },
        Type::Bytes => match text.map(|text| STANDARD.decode(text)) {
            Some(Ok(bytes)) => Ok(Value::Bytes(bytes)),
            _ => fail("base64"),
        },
        // The parsers of dates and times are lenient; only the one written form is the contract's.
        Type::Date => match text.and_then(|text| Some((text, text.parse::<Date>().ok()?))) {
            Some((text, date)) if date.to_string() == text => Ok(Value::Date(date)),
            _ => fail("a date such as 2024-12-31"),
        },
        Type::Time => match text.and_then(|text| Some((text, text.parse::<Time>().ok()?))) {
            Some((text, time)) if time.to_string() == text => Ok(Value::Time(time)),
            _ => fail("a time such as 23:59:00"),
        },
        Type::Timestamp => match text.and_then(|text| text.parse().ok()) {
            Some(at) => Ok(Value::Timestamp(at)),
            None => fail("a timestamp such as 2024-12-31T23:59:00Z"),
        },
        Type::Uuid => match text.and_then(|text| text.parse().ok()) {
            Some(id) => Ok(Value::Uuid(id)),
            None => fail("a UUID"),
        },
        Type::Json => Ok(Value::Json(node.to_json().to_string().into())),
    }
}

fn decimal(node: &Node, precision: Option<u32>, scale: Option<u32>) -> Option<Decimal> {
    let text = number(node).or(node.text())?;
    let read: Decimal = text.parse().ok()?;
    let read = match scale {
        Some(scale) => read.rescale(scale)?,
        None => read,
    };
    let room = precision.map(|precision| precision.saturating_sub(read.scale()));
    (room.is_none_or(|room| read.integer_digits() <= room)).then_some(read)
}

fn number(node: &Node) -> Option<&str> {
    match &node.content {
        Content::Number(text) => Some(text),
        _ => None,
    }
}
