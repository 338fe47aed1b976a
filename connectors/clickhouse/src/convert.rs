//! Values ↔ fields of tab-separated rows; pure.
//!
//! [`fit`] says what a column makes of a value: the value as it is read back, or why the column cannot hold it exactly. Nothing is rounded, cut or moved into a range in silence, as the server would.

use jiff::Timestamp;
use jiff::civil::{Date, Time, date};
use lockstep_core::{Decimal, Error, Result, Value};
use uuid::Uuid;

use crate::form::{Form, Kind, Version};
use crate::tsv::Field;

/// The last second that servers of every age keep: the end of 2105.
const SECONDS_MAX: i64 = 4_291_747_199;

/// The value as the column gives it back, or why it cannot hold it.
pub(crate) fn fit(form: &Form, value: &Value, version: Version) -> Result<Value, String> {
    if value.is_null() {
        return if form.nullable {
            Ok(Value::Null)
        } else {
            Err("the column takes no null".to_owned())
        };
    }
    let other = || format!("the column takes no {}", value.type_name());
    match &form.kind {
        Kind::Bool => match value {
            Value::Bool(_) => Ok(value.clone()),
            Value::Int(number @ (0 | 1)) => Ok(Value::Bool(*number == 1)),
            _ => Err(other()),
        },
        Kind::Int { bits, signed } => whole(value, *bits, *signed).unwrap_or_else(|| Err(other())),
        Kind::Decimal { precision, scale } => {
            let number = match value {
                Value::Decimal(number) => number.clone(),
                Value::Int(number) => Decimal::from(*number),
                _ => return Err(other()),
            };
            let fits = number.integer_digits() <= precision - scale;
            let exact = number.rescale(*scale).filter(|_| fits);
            exact.map(Value::Decimal).ok_or_else(|| {
                format!("the number does not fit into Decimal({precision}, {scale})")
            })
        }
        Kind::Float { double } => match value {
            Value::Float(number) if *double => Ok(Value::Float(*number)),
            // The text of the smaller float is what is read back.
            Value::Float(number) => (*number as f32)
                .to_string()
                .parse()
                .map(Value::Float)
                .map_err(|_| other()),
            _ => Err(other()),
        },
        Kind::Text { fixed } => text(value, *fixed).unwrap_or_else(|| Err(other())),
        Kind::Enum(names) => match value {
            Value::Text(name) if names.contains(name) => Ok(value.clone()),
            Value::Text(_) => Err("the column's enum has no such name".to_owned()),
            _ => Err(other()),
        },
        Kind::Date { wide } => match value {
            Value::Date(day) => day_fits(*day, *wide, version).map(Value::Date),
            _ => Err(other()),
        },
        Kind::DateTime => match value {
            Value::Timestamp(at) => seconds(*at),
            _ => Err(other()),
        },
        Kind::DateTime64(digits) => match value {
            Value::Timestamp(at) => instant(*at, *digits),
            _ => Err(other()),
        },
        Kind::Bytes
        | Kind::Json
        | Kind::Day
        | Kind::Time
        | Kind::Instant
        | Kind::Uuid
        | Kind::Address => {
            let same = matches!(
                (&form.kind, value),
                (Kind::Bytes, Value::Bytes(_))
                    | (Kind::Json, Value::Json(_))
                    | (Kind::Time, Value::Time(_))
                    | (Kind::Day, Value::Date(_))
                    | (Kind::Instant, Value::Timestamp(_))
                    | (Kind::Uuid, Value::Uuid(_))
                    | (Kind::Address, Value::Text(_))
            );
            if same {
                Ok(value.clone())
            } else {
                Err(other())
            }
        }
        Kind::Composite => Err("columns of this type can only be read".to_owned()),
    }
}

fn whole(value: &Value, bits: u32, signed: bool) -> Option<Result<Value, String>> {
    let number: i128 = match value {
        Value::Int(number) => (*number).into(),
        Value::Bool(flag) => i128::from(*flag),
        Value::Decimal(number) => match number.rescale(0).map(|whole| whole.as_str().parse()) {
            Some(Ok(number)) => number,
            _ => return Some(Err("the number is not whole, or too large".to_owned())),
        },
        _ => return None,
    };
    let (low, high) = match (bits, signed) {
        (128.., true) => (i128::MIN, i128::MAX),
        (128.., false) => (0, i128::MAX),
        (bits, true) => (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1),
        (bits, false) => (0, (1i128 << bits) - 1),
    };
    if !(low..=high).contains(&number) {
        return Some(Err(format!("the number is not within {low} to {high}")));
    }
    Some(Ok(
        integer(&number.to_string(), bits, signed).unwrap_or(Value::Null)
    ))
}

/// A whole number as its column's type says: wide ones are decimals.
fn integer(text: &str, bits: u32, signed: bool) -> Option<Value> {
    if bits > 64 || (bits == 64 && !signed) {
        return text.parse().ok().map(Value::Decimal);
    }
    text.parse().ok().map(Value::Int)
}

fn text(value: &Value, fixed: Option<usize>) -> Option<Result<Value, String>> {
    let Value::Text(text) = value else {
        return None;
    };
    Some(match fixed {
        Some(size) if text.len() > size => Err(format!("the text is longer than {size} bytes")),
        // The server fills up with zeros, so that those of the text would be lost.
        Some(_) if text.ends_with('\0') => Err("the text ends with a zero byte".to_owned()),
        _ => Ok(value.clone()),
    })
}

fn day_fits(day: Date, wide: bool, version: Version) -> Result<Date, String> {
    let (low, high) = match (wide, version >= Version(22, 8)) {
        (true, true) => (date(1900, 1, 1), date(2299, 12, 31)),
        (true, false) => (date(1925, 1, 1), date(2283, 11, 11)),
        (false, true) => (date(1970, 1, 1), date(2149, 6, 6)),
        (false, false) => (date(1970, 1, 1), date(2105, 12, 31)),
    };
    if (low..=high).contains(&day) {
        return Ok(day);
    }
    Err(format!("the day is not within {low} to {high}"))
}

fn seconds(at: Timestamp) -> Result<Value, String> {
    if at.subsec_nanosecond() != 0 {
        return Err("the column holds whole seconds only".to_owned());
    }
    if !(0..=SECONDS_MAX).contains(&at.as_second()) {
        return Err("the instant is not within 1970 to 2105".to_owned());
    }
    Ok(Value::Timestamp(at))
}

fn instant(at: Timestamp, digits: u32) -> Result<Value, String> {
    let unit = 10i32.pow(9 - digits.min(9));
    if at.subsec_nanosecond() % unit != 0 {
        return Err(format!("the column holds {digits} digits of a second only"));
    }
    // 1900 to 2299, and what 64 bits count in nanoseconds.
    let high = if digits > 6 {
        9_214_646_400
    } else {
        10_413_791_999
    };
    if !(-2_208_988_800..=high).contains(&at.as_second()) {
        return Err("the instant is not within what the column holds".to_owned());
    }
    Ok(Value::Timestamp(at))
}

/// The field of a value that fits.
pub(crate) fn encode(form: &Form, value: &Value) -> Field {
    let text = match (&form.kind, value) {
        (_, Value::Null) => return None,
        (_, Value::Bytes(bytes)) => return Some(bytes.clone()),
        (_, Value::Bool(flag)) => u8::from(*flag).to_string(),
        // Ten digits are seconds since 1970 in whatever way the server reads instants.
        (Kind::DateTime, Value::Timestamp(at)) => format!("{:010}", at.as_second()),
        (_, other) => other.to_string(),
    };
    Some(text.into_bytes())
}

/// What a `SELECT` says to get a column in the form that [`decode`] reads.
pub(crate) fn selected(form: &Form, name: &str, version: Version) -> String {
    match form.kind {
        Kind::DateTime => format!("toUnixTimestamp({name})"),
        Kind::DateTime64(0..=3) => format!("toUnixTimestamp64Milli({name})"),
        Kind::DateTime64(4..=6) => format!("toUnixTimestamp64Micro({name})"),
        Kind::DateTime64(_) => format!("toUnixTimestamp64Nano({name})"),
        Kind::Composite if version.has_json_text() => format!("toJSONString({name})"),
        Kind::Composite => format!("toString({name})"),
        _ => name.to_owned(),
    }
}

/// Reads a field.
///
/// # Errors
/// A field that is none of its type; the message does not quote it.
pub(crate) fn decode(form: &Form, field: &Field, version: Version) -> Result<Value> {
    let Some(bytes) = field else {
        return Ok(Value::Null);
    };
    if form.kind == Kind::Bytes {
        return Ok(Value::Bytes(bytes.clone()));
    }
    let bytes = match form.kind {
        Kind::Text { fixed: Some(_) } => {
            let end = bytes
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |last| last + 1);
            &bytes[..end]
        }
        _ => bytes.as_slice(),
    };
    let Ok(text) = std::str::from_utf8(bytes) else {
        return match form.kind {
            Kind::Text { .. } => Ok(Value::Bytes(bytes.to_vec())),
            _ => Err(unreadable(form)),
        };
    };
    parsed(form, text, version).ok_or_else(|| unreadable(form))
}

fn unreadable(form: &Form) -> Error {
    Error::unexpected(format!(
        "the server answered with what is no {:?}",
        form.kind
    ))
}

fn parsed(form: &Form, text: &str, version: Version) -> Option<Value> {
    Some(match &form.kind {
        Kind::Bool => Value::Bool(matches!(text, "1" | "true")),
        Kind::Int { bits, signed } => integer(text, *bits, *signed)?,
        Kind::Decimal { scale, .. } => {
            Value::Decimal(text.parse::<Decimal>().ok()?.rescale(*scale)?)
        }
        Kind::Float { .. } => Value::Float(text.parse().ok()?),
        Kind::Date { .. } | Kind::Day => Value::Date(day(text)?),
        Kind::DateTime => Value::Timestamp(Timestamp::from_second(text.parse().ok()?).ok()?),
        Kind::DateTime64(digits) => {
            let count: i64 = text.parse().ok()?;
            Value::Timestamp(match digits {
                0..=3 => Timestamp::from_millisecond(count).ok()?,
                4..=6 => Timestamp::from_microsecond(count).ok()?,
                _ => Timestamp::from_nanosecond(count.into()).ok()?,
            })
        }
        Kind::Instant => Value::Timestamp(text.parse().ok()?),
        Kind::Time => Value::Time(text.parse::<Time>().ok()?),
        Kind::Uuid => Value::Uuid(Uuid::parse_str(text).ok()?),
        Kind::Json => Value::Json(text.into()),
        Kind::Composite if version.has_json_text() => Value::Json(text.into()),
        Kind::Text { .. } | Kind::Enum(_) | Kind::Address | Kind::Composite | Kind::Bytes => {
            Value::text(text)
        }
    })
}

/// Old servers write the first day as zeros.
fn day(text: &str) -> Option<Date> {
    if text == "0000-00-00" {
        return Some(date(1970, 1, 1));
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEW: Version = Version(24, 8);

    fn form(text: &str) -> Form {
        Form::parse(text, "")
    }

    fn decimal(text: &str) -> Value {
        Value::Decimal(text.parse().unwrap())
    }

    #[test]
    fn what_a_column_cannot_hold_exactly_is_refused() {
        let at = |text: &str| Value::Timestamp(text.parse().unwrap());
        let bad = [
            ("Int8", Value::Int(128)),
            ("UInt64", Value::Int(-1)),
            ("Int32", decimal("1.5")),
            ("String", Value::Null),
            ("Decimal(5, 2)", decimal("1000")),
            ("Decimal(5, 2)", decimal("1.005")),
            ("FixedString(2)", Value::text("äb")),
            ("FixedString(2)", Value::text("a\0")),
            ("Enum8('a' = 1)", Value::text("b")),
            ("Date", Value::Date(date(1969, 12, 31))),
            ("Date32", Value::Date(date(1899, 12, 31))),
            ("DateTime", at("2024-01-01T00:00:00.5Z")),
            ("DateTime", at("1969-12-31T23:59:59Z")),
            ("DateTime64(3)", at("2024-01-01T00:00:00.0005Z")),
            ("Array(String)", Value::text("[]")),
            ("Int64", Value::text("1")),
        ];
        for (kind, value) in bad {
            assert!(fit(&form(kind), &value, NEW).is_err(), "{kind} {value}");
        }
        let good = [
            (
                "UInt64",
                decimal("18446744073709551615"),
                "18446744073709551615",
            ),
            ("Int64", Value::Bool(true), "1"),
            (
                "Decimal(76, 2)",
                decimal("123456789012345678901234567890.1"),
                "123456789012345678901234567890.10",
            ),
            ("DateTime", at("1970-01-01T00:00:05Z"), "0000000005"),
            (
                "DateTime64(6)",
                at("2024-01-01T00:00:00.000001Z"),
                "2024-01-01T00:00:00.000001Z",
            ),
            ("Float32", Value::Float(0.1), "0.1"),
            ("Bool", Value::Int(1), "1"),
        ];
        for (kind, value, text) in good {
            let form = form(kind);
            let fitted = fit(&form, &value, NEW).unwrap();
            assert_eq!(encode(&form, &fitted).unwrap(), text.as_bytes(), "{kind}");
        }
    }

    proptest! {
        #[test]
        fn no_field_panics(kind in 0usize..12, bytes: Vec<u8>) {
            let kinds = ["Bool", "Int64", "UInt256", "Decimal(9, 3)", "Float32", "FixedString(4)", "Date", "DateTime", "DateTime64(9)", "UUID", "Array(Int8)", "String"];
            let _ = decode(&form(kinds[kind]), &Some(bytes), NEW);
        }

        #[test]
        fn what_fits_is_read_back(number: i64, units in -99_999i64..99_999, text: String) {
            for (kind, value) in [
                ("Int64", Value::Int(number)),
                ("Nullable(Decimal(8, 3))", Value::Decimal(Decimal::from_units(units, 2))),
                ("String", Value::text(text)),
            ] {
                let form = form(kind);
                let fitted = fit(&form, &value, NEW).unwrap();
                prop_assert_eq!(&fitted, &value);
                prop_assert_eq!(decode(&form, &encode(&form, &fitted), NEW).unwrap(), value);
            }
        }
    }
}
