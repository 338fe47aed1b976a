//! JSON values as JSON Schema compares them: numbers by their value, objects without order.

use std::fmt::Write as _;
use std::str::FromStr as _;

use bigdecimal::BigDecimal;
use serde_json::{Number, Value as Json};

use super::node::Kind;

/// A text that two values share exactly when JSON Schema calls them equal.
pub(super) fn canonical(value: &Json) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Json, out: &mut String) {
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Json::Number(number) => out.push_str(&plain(number)),
        Json::String(text) => {
            let _ = write!(out, "{text:?}");
        }
        Json::Array(items) => {
            out.push('[');
            for item in items {
                write(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Json::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort_unstable();
            out.push('{');
            for name in names {
                let _ = write!(out, "{name:?}:");
                write(&members[name], out);
                out.push(',');
            }
            out.push('}');
        }
    }
}

/// A number's one spelling.
fn plain(number: &Number) -> String {
    if number.is_i64() || number.is_u64() {
        return number.to_string();
    }
    let exact = decimal(number);
    // Far exponents are written with their exponent: a plain spelling would have hundreds of digits.
    let (digits, scale) = exact.as_bigint_and_exponent();
    if !(-18..=0).contains(&scale) {
        return format!("{digits}e{}", -scale);
    }
    exact.to_plain_string()
}

/// The number as it is written, exactly.
pub(super) fn decimal(number: &Number) -> BigDecimal {
    BigDecimal::from_str(&number.to_string())
        .unwrap_or_default()
        .normalized()
}

/// The nearest JSON number, an integer where it is one.
pub(super) fn number(exact: &BigDecimal) -> Option<Json> {
    if exact.is_integer() {
        let text = exact.with_scale(0).to_plain_string();
        if let Ok(small) = text.parse::<i64>() {
            return Some(small.into());
        }
        if let Ok(large) = text.parse::<u64>() {
            return Some(large.into());
        }
    }
    let near: f64 = exact.to_plain_string().parse().ok()?;
    Number::from_f64(near).map(Json::Number)
}

/// The kind of a value; `1.0` is an integer.
pub(super) fn kind(value: &Json) -> Kind {
    match value {
        Json::Null => Kind::Null,
        Json::Bool(_) => Kind::Bool,
        Json::Number(number) => {
            let whole = number.is_i64()
                || number.is_u64()
                || number.as_f64().is_some_and(|near| near.fract() == 0.0);
            if whole { Kind::Integer } else { Kind::Fraction }
        }
        Json::String(_) => Kind::Text,
        Json::Array(_) => Kind::Array,
        Json::Object(_) => Kind::Object,
    }
}
