//! HubSpot's values and Lockstep's; pure.
//!
//! Every property is text on the wire, whatever its type; an empty one is unset, which is read as null.

use jiff::Timestamp;
use jiff::civil::Date;
use lockstep_core::{Decimal, Type, Value};
use serde_json::Value as Json;

/// How values of a property stand in records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `true` or `false`.
    Bool,
    /// A number; HubSpot does not say how many digits it has.
    Decimal,
    /// A string, or one of a list of choices.
    Text,
    /// `2024-02-29`, or the milliseconds of its midnight in UTC.
    Date,
    /// An instant, in ISO 8601 or milliseconds.
    Instant,
}

impl Form {
    /// The form of a property's type.
    pub(crate) fn of(kind: &str) -> Form {
        match kind {
            "bool" => Form::Bool,
            "number" => Form::Decimal,
            "date" => Form::Date,
            "datetime" => Form::Instant,
            _ => Form::Text,
        }
    }

    /// The type of the column.
    pub(crate) fn kind(self) -> Type {
        match self {
            Form::Bool => Type::Bool,
            Form::Decimal => Type::DECIMAL,
            Form::Text => Type::Text,
            Form::Date => Type::Date,
            Form::Instant => Type::Timestamp,
        }
    }
}

/// The value of a property; what is not of its type is given as the text that it is.
pub(crate) fn read(value: &Json, form: Form) -> Value {
    let text = match value {
        Json::Null => return Value::Null,
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.is_empty() {
        return Value::Null;
    }
    let read = match form {
        Form::Bool => text.parse().ok().map(Value::Bool),
        Form::Decimal => text.parse::<Decimal>().ok().map(Value::Decimal),
        Form::Text => None,
        Form::Date => text
            .parse::<Date>()
            .ok()
            .or_else(|| Some(instant(&text)?.to_zoned(jiff::tz::TimeZone::UTC).date()))
            .map(Value::Date),
        Form::Instant => instant(&text).map(Value::Timestamp),
    };
    read.unwrap_or(Value::Text(text))
}

fn instant(text: &str) -> Option<Timestamp> {
    match text.parse::<i64>() {
        Ok(ms) => Timestamp::from_millisecond(ms).ok(),
        Err(_) => text.parse().ok(),
    }
}

/// A value as it is written; empty unsets.
///
/// # Errors
/// Why it cannot stand in the column, without the value.
pub(crate) fn write(value: &Value, column: &str, form: Form) -> Result<String, String> {
    let refuse = |what: &str| Err(format!("`{column}` takes {what}"));
    Ok(match (value, form) {
        (Value::Null, _) => String::new(),
        (Value::Bool(is), Form::Bool | Form::Text) => is.to_string(),
        (_, Form::Bool) => return refuse("true or false"),
        (Value::Int(number), Form::Decimal) => number.to_string(),
        (Value::Decimal(number), Form::Decimal) => number.to_string(),
        (_, Form::Decimal) => return refuse("exact numbers"),
        (Value::Date(day), Form::Date) => day.to_string(),
        (_, Form::Date) => return refuse("days"),
        (Value::Timestamp(at), Form::Instant) => {
            if at.subsec_nanosecond() % 1_000_000 != 0 {
                return refuse("instants of whole milliseconds");
            }
            at.as_millisecond().to_string()
        }
        (_, Form::Instant) => return refuse("instants"),
        (Value::Bytes(_) | Value::Float(_), Form::Text) => return refuse("text"),
        (value, Form::Text) => value.to_string(),
    })
}

/// Whether a property holds what would be written.
pub(crate) fn is_same(held: &Json, wanted: &str, form: Form) -> bool {
    read(held, form) == read(&Json::String(wanted.to_owned()), form)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn properties_are_texts_of_their_types() {
        let at: Timestamp = "2024-05-06T07:08:09.123Z".parse().unwrap();
        let day = jiff::civil::date(2024, 2, 29);
        for (text, form, expected) in [
            (
                "620000.10",
                Form::Decimal,
                Value::Decimal("620000.10".parse().unwrap()),
            ),
            ("true", Form::Bool, Value::Bool(true)),
            ("maybe", Form::Bool, Value::text("maybe")),
            ("2024-02-29", Form::Date, Value::Date(day)),
            ("1709164800000", Form::Date, Value::Date(day)),
            (
                "2024-05-06T07:08:09.123Z",
                Form::Instant,
                Value::Timestamp(at),
            ),
            ("1714979289123", Form::Instant, Value::Timestamp(at)),
            ("", Form::Text, Value::Null),
            ("420", Form::Text, Value::text("420")),
        ] {
            assert_eq!(read(&json!(text), form), expected, "{text}");
        }
        assert!(is_same(&json!("1.50"), "1.5", Form::Decimal));
        assert!(is_same(&Json::Null, "", Form::Text));
        let why = write(&Value::text("x@y"), "amount", Form::Decimal).unwrap_err();
        assert!(why.contains("`amount`") && !why.contains("x@y"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(text in "\\PC{1,40}", number: i64, ms in 0..4_000_000_000_000_i64) {
            for (value, form) in [
                (Value::text(&text), Form::Text),
                (Value::Decimal(Decimal::from_units(number, 3)), Form::Decimal),
                (Value::Timestamp(Timestamp::from_millisecond(ms).unwrap()), Form::Instant),
                (Value::Bool(number > 0), Form::Bool),
            ] {
                let written = write(&value, "x", form).unwrap();
                prop_assert_eq!(read(&json!(written), form), value);
            }
        }
    }
}
