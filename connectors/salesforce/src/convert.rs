//! Salesforce's values and Lockstep's; pure.
//!
//! Salesforce keeps no empty texts and no blanks around a text: an empty one is null, and what is written with blanks is read without them.
//! Its instants are of whole seconds.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use lockstep_core::{Decimal, Type, Value};
use lockstep_http_client::Json;

use crate::id;

/// How values of a field stand in records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The record's own id, or that of another record.
    Id,
    /// A checkbox, which is never null.
    Bool,
    /// A whole number.
    Int,
    /// A number, an amount or a percentage.
    Decimal {
        /// Most digits in all; unknown where 0.
        precision: u32,
        /// Digits after the point.
        scale: u32,
    },
    /// A string, or one of a list of choices.
    Text,
    /// Several of a list of choices, whose order Salesforce decides.
    Choices,
    /// A day.
    Date,
    /// A time of day.
    Time,
    /// An instant.
    Instant,
}

impl Form {
    /// The form of a described type; none for what is no single value or cannot be had with others.
    pub(crate) fn of(kind: &str, precision: u32, scale: u32) -> Option<Form> {
        Some(match kind {
            "id" | "reference" => Form::Id,
            "boolean" => Form::Bool,
            "int" | "long" => Form::Int,
            "double" | "currency" | "percent" => Form::Decimal { precision, scale },
            "multipicklist" => Form::Choices,
            "date" => Form::Date,
            "time" => Form::Time,
            "datetime" => Form::Instant,
            "string"
            | "textarea"
            | "phone"
            | "url"
            | "email"
            | "picklist"
            | "combobox"
            | "encryptedstring"
            | "datacategorygroupreference" => Form::Text,
            _ => return None,
        })
    }

    /// The type of the column.
    pub(crate) fn kind(self) -> Type {
        match self {
            Form::Bool => Type::Bool,
            Form::Int => Type::Int,
            Form::Decimal { precision: 0, .. } => Type::DECIMAL,
            Form::Decimal { precision, scale } => Type::Decimal {
                precision: Some(precision),
                scale: Some(scale),
            },
            Form::Id | Form::Text | Form::Choices => Type::Text,
            Form::Date => Type::Date,
            Form::Time => Type::Time,
            Form::Instant => Type::Timestamp,
        }
    }
}

/// The value of a field; what is not of its type is given as the text that it is.
pub(crate) fn read(value: &Json, form: Form) -> Value {
    let Some(text) = value.plain().filter(|text| !text.is_empty()) else {
        return Value::Null;
    };
    let read = match form {
        Form::Bool => text.parse().ok().map(Value::Bool),
        Form::Int => whole(&text).map(Value::Int),
        Form::Decimal { precision, scale } => decimal(&text, precision, scale).map(Value::Decimal),
        Form::Id => id::full(&text).map(Value::Text),
        Form::Text | Form::Choices => None,
        Form::Date => text.parse::<Date>().ok().map(Value::Date),
        Form::Time => time(&text).map(Value::Time),
        Form::Instant => text.parse::<Timestamp>().ok().map(Value::Timestamp),
    };
    read.unwrap_or(Value::Text(text))
}

fn whole(text: &str) -> Option<i64> {
    text.parse::<Decimal>().ok()?.to_units(0)
}

/// A number with as many digits after the point as the field has; with its own where those would not hold it.
fn decimal(text: &str, precision: u32, scale: u32) -> Option<Decimal> {
    let number: Decimal = text.parse().ok()?;
    if precision == 0 {
        return Some(number);
    }
    Some(number.rescale(scale).unwrap_or(number))
}

fn time(text: &str) -> Option<Time> {
    text.strip_suffix('Z').unwrap_or(text).parse().ok()
}

/// A value as it is written.
///
/// # Errors
/// Why it cannot stand in the column, without the value.
pub(crate) fn write(value: &Value, column: &str, form: Form) -> Result<Json, String> {
    let refuse = |what: &str| Err(format!("`{column}` takes {what}"));
    let number = |number: &Decimal| Json::Number(number.as_str().into());
    Ok(match (value, form) {
        (Value::Null, Form::Bool) => return refuse("true or false, and no null"),
        (Value::Null, _) => Json::Null,
        (Value::Bool(is), Form::Bool) => Json::Bool(*is),
        (_, Form::Bool) => return refuse("true or false"),
        (Value::Int(it), Form::Int | Form::Decimal { .. }) => Json::Number(it.to_string().into()),
        (Value::Decimal(it), Form::Int) => match it.rescale(0) {
            Some(it) => number(&it),
            None => return refuse("whole numbers"),
        },
        (_, Form::Int) => return refuse("whole numbers"),
        (Value::Decimal(it), Form::Decimal { precision: 0, .. }) => number(it),
        (Value::Decimal(it), Form::Decimal { scale, .. }) => match it.rescale(scale) {
            Some(it) => number(&it),
            None => {
                return refuse(&format!(
                    "numbers of at most {scale} digits after the point"
                ));
            }
        },
        (_, Form::Decimal { .. }) => return refuse("exact numbers"),
        (Value::Text(text), Form::Id) if text.is_empty() => Json::Null,
        (Value::Text(text), Form::Id) => match id::full(text) {
            Some(id) => Json::Text(id),
            None => return refuse("ids of Salesforce"),
        },
        (_, Form::Id) => return refuse("ids of Salesforce"),
        (Value::Date(day), Form::Date) => Json::Text(day.to_string()),
        (_, Form::Date) => return refuse("days"),
        (Value::Time(time), Form::Time) => {
            if time.subsec_nanosecond() % 1_000_000 != 0 {
                return refuse("times of whole milliseconds");
            }
            Json::Text(time.strftime("%H:%M:%S%.3fZ").to_string())
        }
        (_, Form::Time) => return refuse("times of day"),
        (Value::Timestamp(at), Form::Instant) => {
            if at.subsec_nanosecond() != 0 {
                return refuse("instants of whole seconds");
            }
            Json::Text(instant(*at))
        }
        (_, Form::Instant) => return refuse("instants"),
        (Value::Bytes(_) | Value::Float(_), Form::Text | Form::Choices) => return refuse("text"),
        (value, Form::Text | Form::Choices) => match value.to_string() {
            text if text.is_empty() => Json::Null,
            text => Json::Text(text),
        },
    })
}

/// An instant as requests and queries write it.
pub(crate) fn instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Whether a field holds what would be written.
pub(crate) fn is_same(held: &Json, wanted: &Json, form: Form) -> bool {
    let kept = |value: &Json| match (read(value, form), form) {
        (Value::Text(text), Form::Text) => match text.trim() {
            "" => Value::Null,
            text => Value::text(text),
        },
        (value, _) => value,
    };
    match (kept(held), kept(wanted), form) {
        (Value::Text(held), Value::Text(wanted), Form::Choices) => {
            let each = |text: &str| -> BTreeSet<String> {
                text.split(';').map(|one| one.trim().to_owned()).collect()
            };
            each(&held) == each(&wanted)
        }
        (held, wanted, _) => held == wanted,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MONEY: Form = Form::Decimal {
        precision: 18,
        scale: 2,
    };

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn fields_are_read_by_their_types() {
        let at: Timestamp = "2024-05-06T07:08:09Z".parse().unwrap();
        let shown = |value: Value| format!("{value:?}");
        for (text, form, expected) in [
            (
                "5.6E8",
                MONEY,
                Value::Decimal("560000000.00".parse().unwrap()),
            ),
            ("0.1", MONEY, Value::Decimal("0.10".parse().unwrap())),
            ("100.0", Form::Int, Value::Int(100)),
            // More digits than the field shows: none is dropped.
            ("1.005", MONEY, Value::Decimal("1.005".parse().unwrap())),
            ("true", Form::Bool, Value::Bool(true)),
            (
                "\"2024-05-06T07:08:09.000+0000\"",
                Form::Instant,
                Value::Timestamp(at),
            ),
            (
                "\"10:23:00.500Z\"",
                Form::Time,
                Value::Time(jiff::civil::time(10, 23, 0, 500_000_000)),
            ),
            (
                "\"2024-02-29\"",
                Form::Date,
                Value::Date(jiff::civil::date(2024, 2, 29)),
            ),
            (
                "\"001D000000IRFma\"",
                Form::Id,
                Value::text("001D000000IRFmaIAH"),
            ),
            ("\"\"", Form::Text, Value::Null),
            ("null", Form::Text, Value::Null),
            ("\"soon\"", Form::Date, Value::text("soon")),
        ] {
            assert_eq!(shown(read(&json(text), form)), shown(expected), "{text}");
        }
    }

    #[test]
    fn what_salesforce_keeps_otherwise_is_the_same() {
        for (held, wanted, form, same) in [
            ("null", "\"\"", Form::Text, true),
            ("null", "\"  \"", Form::Text, true),
            ("\"a\"", "\" a \"", Form::Text, true),
            ("\"a\"", "\"A\"", Form::Text, false),
            ("\"a;b\"", "\"b;a\"", Form::Choices, true),
            ("\"a;b\"", "\"a\"", Form::Choices, false),
            ("1.5E2", "150.00", MONEY, true),
            (
                "\"001D000000IRFmaIAH\"",
                "\"001D000000IRFma\"",
                Form::Id,
                true,
            ),
            (
                "\"2024-05-06T07:08:09.000+0000\"",
                "\"2024-05-06T07:08:09.000Z\"",
                Form::Instant,
                true,
            ),
            ("false", "null", Form::Bool, false),
        ] {
            assert_eq!(
                is_same(&json(held), &json(wanted), form),
                same,
                "{held} {wanted}"
            );
        }
    }

    #[test]
    fn what_a_field_cannot_hold_is_refused_without_the_value() {
        let at: Timestamp = "2024-05-06T07:08:09.25Z".parse().unwrap();
        for (value, form) in [
            (Value::text("x@y"), MONEY),
            (Value::Decimal("1.005".parse().unwrap()), MONEY),
            (Value::Decimal("1.5".parse().unwrap()), Form::Int),
            (Value::Null, Form::Bool),
            (Value::text("x@y"), Form::Id),
            (Value::Timestamp(at), Form::Instant),
            (Value::Float(0.5), Form::Text),
        ] {
            let why = write(&value, "Odd__c", form).unwrap_err();
            assert!(why.contains("`Odd__c`") && !why.contains("x@y"), "{why}");
        }
    }

    proptest! {
        #[test]
        fn exact_numbers_are_written_and_read_back(units in any::<i64>()) {
            let number = Decimal::from_units(units, 2);
            let written = write(&Value::Decimal(number.clone()), "c", MONEY).unwrap();
            prop_assert_eq!(written.to_string(), number.as_str());
            prop_assert_eq!(read(&json(&written.to_string()), MONEY), Value::Decimal(number));
        }

        #[test]
        fn no_text_panics(text in ".{0,30}") {
            for form in [Form::Id, Form::Bool, Form::Int, MONEY, Form::Text, Form::Choices, Form::Date, Form::Time, Form::Instant] {
                let value = read(&Json::Text(text.clone()), form);
                let _ = write(&value, "c", form);
                prop_assert!(is_same(&Json::Text(text.clone()), &Json::Text(text.clone()), form));
            }
        }
    }
}
