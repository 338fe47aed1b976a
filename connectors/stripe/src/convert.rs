//! Stripe's values and Lockstep's; pure.
//!
//! A value of another JSON type than its column's is given as what it is, so that the gate finds and names it; nothing is cast here and nothing is lost.
//! Stripe knows no empty text: writing one unsets a field, and so an empty text is read as null.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lockstep_core::{Decimal, Row, Type, Value};
use serde_json::Value as Json;

use crate::table::Item;

/// How values of a column stand in objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A boolean.
    Bool,
    /// A whole number; amounts are in the smallest unit of their currency.
    Int,
    /// An exact number, as a string or a number.
    Decimal,
    /// A string.
    Text,
    /// The id of another object, or the object itself where it is expanded.
    Reference,
    /// Seconds since 1970.
    Time,
    /// Anything.
    Json,
}

/// A value as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Written {
    /// Nothing, which unsets a field.
    Nothing,
    /// One parameter.
    Plain(String),
    /// One for each field within.
    Document(Json),
}

impl Form {
    /// The type of the column.
    pub(crate) fn kind(self) -> Type {
        match self {
            Form::Bool => Type::Bool,
            Form::Int => Type::Int,
            Form::Decimal => Type::DECIMAL,
            Form::Text | Form::Reference => Type::Text,
            Form::Time => Type::Timestamp,
            Form::Json => Type::Json,
        }
    }
}

/// What stands at a path of an object.
pub(crate) fn find<'a>(object: &'a Json, path: &[String]) -> Option<&'a Json> {
    path.iter().try_fold(object, |at, name| match at {
        Json::Object(fields) => fields.get(name),
        Json::Array(values) => values.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

/// A text field of an object.
pub(crate) fn text<'a>(object: &'a Json, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str()
}

/// The row of an object, by columns.
pub(crate) fn row(object: &Json, items: &[Item]) -> Row {
    Row::of(items.iter().map(|item| cell(object, item)))
}

/// The value of an object's column.
pub(crate) fn cell(object: &Json, item: &Item) -> Value {
    find(object, &item.path).map_or(Value::Null, |value| read(value, item.form))
}

/// The value of a field in a column of a form.
fn read(value: &Json, form: Form) -> Value {
    match (value, form) {
        (Json::Null, _) => Value::Null,
        (value, Form::Json) => Value::Json(value.to_string().into()),
        (Json::String(text), _) if text.is_empty() => Value::Null,
        (Json::String(text), Form::Decimal) => match text.parse::<Decimal>() {
            Ok(number) => Value::Decimal(number),
            Err(_) => Value::text(text),
        },
        (Json::String(text), _) => Value::text(text),
        (Json::Bool(is), _) => Value::Bool(*is),
        (Json::Number(number), Form::Time) => {
            let seconds = number.as_i64();
            let instant = seconds.and_then(|at| Timestamp::from_second(at).ok());
            instant.map_or_else(|| plain(number), Value::Timestamp)
        }
        (Json::Number(number), Form::Decimal) => match number.to_string().parse::<Decimal>() {
            Ok(number) => Value::Decimal(number),
            Err(_) => plain(number),
        },
        (Json::Number(number), _) => plain(number),
        (Json::Object(fields), Form::Reference) => match fields.get("id") {
            Some(Json::String(id)) => Value::text(id),
            _ => Value::Json(value.to_string().into()),
        },
        (Json::Object(_) | Json::Array(_), _) => Value::Json(value.to_string().into()),
    }
}

fn plain(number: &serde_json::Number) -> Value {
    match number.as_i64() {
        Some(whole) => Value::Int(whole),
        None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
    }
}

/// A value as it is written into a column.
///
/// # Errors
/// Why it cannot stand there, without the value.
pub(crate) fn write(value: &Value, item: &Item) -> Result<Written, String> {
    let refuse = |what: &str| Err(format!("`{}` takes {what}", item.name));
    let plain = |text: String| Ok(Written::Plain(text));
    match (value, item.form) {
        (Value::Null, _) => Ok(Written::Nothing),
        (Value::Text(text), _) if text.is_empty() => Ok(Written::Nothing),
        (Value::Json(_) | Value::Text(_), Form::Json) => {
            match serde_json::from_str(&value.to_string()) {
                Ok(document) => Ok(Written::Document(document)),
                Err(_) => refuse("a JSON document"),
            }
        }
        (_, Form::Json) => refuse("a JSON document"),
        (Value::Bool(is), Form::Bool | Form::Text) => plain(is.to_string()),
        (_, Form::Bool) => refuse("true or false"),
        (Value::Int(number), Form::Int | Form::Decimal | Form::Text) => plain(number.to_string()),
        (Value::Decimal(number), Form::Int) => match number.to_units(0) {
            Some(whole) => plain(whole.to_string()),
            None => refuse("whole numbers, in the smallest unit of a currency"),
        },
        (_, Form::Int) => refuse("whole numbers"),
        (Value::Decimal(number), Form::Decimal) => plain(shortest(number)),
        (_, Form::Decimal) => refuse("exact numbers"),
        (Value::Timestamp(at), Form::Time) => {
            if at.subsec_nanosecond() != 0 {
                return refuse("whole seconds");
            }
            plain(at.as_second().to_string())
        }
        (Value::Date(day), Form::Time) => match day.to_zoned(TimeZone::UTC) {
            Ok(midnight) => plain(midnight.timestamp().as_second().to_string()),
            Err(_) => refuse("instants"),
        },
        (_, Form::Time) => refuse("instants"),
        (Value::Bytes(_) | Value::Float(_), Form::Text | Form::Reference) => refuse("text"),
        (value, Form::Text | Form::Reference) => plain(value.to_string()),
    }
}

/// A number without zeros behind the last digit that counts.
fn shortest(number: &Decimal) -> String {
    let text = number.as_str();
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text.to_owned()
    }
}

/// What an object holds in a column, as it would be written.
pub(crate) fn written(object: &Json, item: &Item) -> Written {
    let value = cell(object, item);
    write(&value, item).unwrap_or_else(|_| Written::Plain(value.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn item(form: Form) -> Item {
        Item {
            name: "x".to_owned(),
            path: vec!["x".to_owned()],
            param: "x".to_owned(),
            form,
            write: crate::table::Write::Always,
        }
    }

    #[test]
    fn values_come_as_their_columns_say_or_as_what_they_are() {
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        for (value, form, expected) in [
            (json!(1250), Form::Int, Value::Int(1250)),
            (
                json!("0.5"),
                Form::Decimal,
                Value::Decimal("0.5".parse().unwrap()),
            ),
            (
                json!(19.6),
                Form::Decimal,
                Value::Decimal("19.6".parse().unwrap()),
            ),
            (json!(1_700_000_000), Form::Time, Value::Timestamp(at)),
            (json!(i64::MAX), Form::Time, Value::Int(i64::MAX)),
            (json!("cus_1"), Form::Reference, Value::text("cus_1")),
            (
                json!({"id": "cus_1", "a": 1}),
                Form::Reference,
                Value::text("cus_1"),
            ),
            (json!(""), Form::Text, Value::Null),
            (json!(null), Form::Int, Value::Null),
            (json!("x"), Form::Int, Value::text("x")),
            (json!([1]), Form::Json, Value::Json("[1]".into())),
        ] {
            assert_eq!(
                cell(&json!({ "x": value }), &item(form)),
                expected,
                "{value}"
            );
        }
        assert_eq!(cell(&json!({}), &item(Form::Text)), Value::Null);
    }

    #[test]
    fn what_a_column_does_not_take_is_refused_without_the_value() {
        let fraction: Timestamp = "2024-01-01T00:00:00.5Z".parse().unwrap();
        for (value, form, part) in [
            (
                Value::Decimal("1.5".parse().unwrap()),
                Form::Int,
                "smallest unit",
            ),
            (Value::text("yes"), Form::Bool, "true or false"),
            (Value::Timestamp(fraction), Form::Time, "whole seconds"),
            (Value::text("{"), Form::Json, "JSON"),
            (Value::Float(0.1), Form::Decimal, "exact"),
        ] {
            let why = write(&value, &item(form)).unwrap_err();
            assert!(
                why.contains(part) && !why.contains(&value.to_string()),
                "{why}"
            );
        }
        let cents = Value::Decimal("12.00".parse().unwrap());
        assert_eq!(
            write(&cents, &item(Form::Int)),
            Ok(Written::Plain("12".to_owned()))
        );
        assert_eq!(
            write(&Value::text(""), &item(Form::Text)),
            Ok(Written::Nothing)
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(text in "\\PC{1,40}", number: i64, at in 0..4_000_000_000_i64) {
            for (value, form) in [
                (Value::text(&text), Form::Text),
                (Value::Int(number), Form::Int),
                (Value::Timestamp(Timestamp::from_second(at).unwrap()), Form::Time),
            ] {
                let Ok(Written::Plain(plain)) = write(&value, &item(form)) else {
                    panic!("not plain");
                };
                let stored = match form {
                    Form::Text => json!({ "x": plain }),
                    _ => json!({ "x": plain.parse::<i64>().unwrap() }),
                };
                prop_assert_eq!(cell(&stored, &item(form)), value);
            }
        }
    }
}
