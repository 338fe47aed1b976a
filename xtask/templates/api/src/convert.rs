//! Values of the system ↔ values of Lockstep; pure.
//!
//! Amounts are texts in the API (`"12.50"`), so that no digit is lost.
//! Where a system has numbers instead, `Json::Number` keeps the digits as well; a double never may stand in between.

use lockstep_core::{Type, Value};
use lockstep_http_client::Json;

/// A member of a record as a value of its column.
///
/// What cannot be read as its type is given as text: the gate then names the field and the record, which nobody here can.
pub(crate) fn read(member: Option<&Json>, kind: Type) -> Value {
    let member = match member {
        None | Some(Json::Null) => return Value::Null,
        Some(member) => member,
    };
    let text = member.plain().unwrap_or_else(|| member.to_string());
    let value = match kind {
        Type::Bool => member.as_bool().map(Value::Bool),
        Type::Int => text.parse().ok().map(Value::Int),
        Type::Decimal { .. } => text.parse().ok().map(Value::Decimal),
        Type::Date => text.parse().ok().map(Value::Date),
        Type::Timestamp => text.parse().ok().map(Value::Timestamp),
        _ => None,
    };
    value.unwrap_or(Value::Text(text))
}

/// A value as a member of a record.
///
/// # Errors
/// Why the system cannot take it, without the value itself.
pub(crate) fn write(value: &Value, kind: Type) -> Result<Json, String> {
    match (value, kind) {
        (Value::Null, _) => Ok(Json::Null),
        (Value::Bool(truth), Type::Bool) => Ok(Json::Bool(*truth)),
        (Value::Int(number), Type::Int) => Ok(Json::Number(number.to_string().into())),
        (Value::Int(_) | Value::Decimal(_), Type::Decimal { .. })
        | (Value::Date(_), Type::Date)
        | (Value::Timestamp(_), Type::Timestamp)
        | (_, Type::Text) => Ok(Json::Text(value.to_string())),
        (value, kind) => Err(format!("a {} where {kind} is wanted", value.type_name())),
    }
}

/// Whether a record holds a value already: `12.5` is `12.50`.
pub(crate) fn is_held(record: &Json, column: &str, value: &Value, kind: Type) -> bool {
    let held = read(record.get(column), kind);
    match (&held, value) {
        (Value::Decimal(held), Value::Int(wanted)) => *held == (*wanted).into(),
        (held, wanted) => held == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_were_written() {
        let decimal = |text: &str| Value::Decimal(text.parse().unwrap());
        for (value, kind) in [
            (Value::Null, Type::Text),
            (Value::text(""), Type::Text),
            (Value::Bool(false), Type::Bool),
            (Value::Int(i64::MIN), Type::Int),
            (decimal("-12345678901234567890.1234567890"), Type::DECIMAL),
            (
                Value::Timestamp("2026-01-31T13:45:00.123Z".parse().unwrap()),
                Type::Timestamp,
            ),
        ] {
            let written = write(&value, kind).unwrap();
            let read = read(Some(&written), kind);
            assert_eq!(format!("{read:?}"), format!("{value:?}"));
        }
        assert!(write(&Value::text("a lot"), Type::DECIMAL).is_err());
    }

    #[test]
    fn equal_amounts_are_equal_however_they_are_written() {
        let record = Json::parse(br#"{"credit": "12.50"}"#).unwrap();
        let held = |text: &str| {
            let value = Value::Decimal(text.parse().unwrap());
            is_held(&record, "credit", &value, Type::DECIMAL)
        };
        assert!(held("12.5") && !held("12.51"));
    }
}
