use proptest::prelude::*;

use super::*;

const MONEY: Type = Type::Decimal {
    precision: Some(6),
    scale: Some(2),
};

fn decimal(text: &str) -> Value {
    Value::Decimal(text.parse().unwrap())
}

fn date(text: &str) -> Value {
    Value::Date(text.parse().unwrap())
}

fn time(text: &str) -> Value {
    Value::Time(text.parse().unwrap())
}

fn at(text: &str) -> Value {
    Value::Timestamp(text.parse().unwrap())
}

fn json(text: &str) -> Value {
    Value::Json(text.into())
}

const ID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

#[test]
fn what_keeps_every_digit_is_cast() {
    let table = [
        (Value::Int(1), Type::Bool, Value::Bool(true)),
        (Value::Bool(false), Type::Int, Value::Int(0)),
        (Value::Int(7), MONEY, decimal("7.00")),
        (Value::Int(7), Type::Float, Value::Float(7.0)),
        (Value::Int(-7), Type::Text, Value::text("-7")),
        (Value::Float(0.1), Type::DECIMAL, decimal("0.1")),
        (Value::Float(19.9), MONEY, decimal("19.90")),
        (Value::Float(3.0), Type::Int, Value::Int(3)),
        (
            Value::Float(1e21),
            Type::DECIMAL,
            decimal("1000000000000000000000"),
        ),
        (decimal("12.500"), MONEY, decimal("12.50")),
        (decimal("3.00"), Type::Int, Value::Int(3)),
        (decimal("0.25"), Type::Float, Value::Float(0.25)),
        (decimal("0.1"), Type::Float, Value::Float(0.1)),
        (decimal("1.50"), Type::Text, Value::text("1.50")),
        (Value::text("12.5"), MONEY, decimal("12.50")),
        (Value::text("-12"), Type::Int, Value::Int(-12)),
        (Value::text("t"), Type::Bool, Value::Bool(true)),
        (Value::text("0"), Type::Bool, Value::Bool(false)),
        (Value::text("2024-02-29"), Type::Date, date("2024-02-29")),
        (Value::text("23:59"), Type::Time, time("23:59:00")),
        (Value::text("23:59:01.25"), Type::Time, time("23:59:01.25")),
        (
            Value::text("2024-01-01 10:00:00"),
            Type::Timestamp,
            at("2024-01-01T10:00:00Z"),
        ),
        (
            Value::text("2024-01-01T10:00:00.5"),
            Type::Timestamp,
            at("2024-01-01T10:00:00.5Z"),
        ),
        (
            Value::text("2024-01-01T10:00:00Z"),
            Type::Timestamp,
            at("2024-01-01T10:00:00Z"),
        ),
        (
            Value::text("2024-01-01 10:00:00+02"),
            Type::Timestamp,
            at("2024-01-01T08:00:00Z"),
        ),
        (
            Value::text("2024-01-01T10:00:00-05:30"),
            Type::Timestamp,
            at("2024-01-01T15:30:00Z"),
        ),
        (
            at("2024-01-01T10:00:00Z"),
            Type::Text,
            Value::text("2024-01-01T10:00:00Z"),
        ),
        (at("2024-01-01T00:00:00Z"), Type::Date, date("2024-01-01")),
        (
            date("2024-01-01"),
            Type::Timestamp,
            at("2024-01-01T00:00:00Z"),
        ),
        (date("2024-01-01"), Type::Text, Value::text("2024-01-01")),
        (
            Value::text(ID),
            Type::Uuid,
            Value::Uuid(ID.parse().unwrap()),
        ),
        (
            Value::Uuid(ID.parse().unwrap()),
            Type::Text,
            Value::text(ID),
        ),
        (
            Value::Bytes(ID.parse::<Uuid>().unwrap().as_bytes().to_vec()),
            Type::Uuid,
            Value::Uuid(ID.parse().unwrap()),
        ),
        (
            Value::text(r#" {"b": 1.10, "a": [1e400, "\u00e4"]} "#),
            Type::Json,
            json(r#"{"a":[1e400,"ä"],"b":1.10}"#),
        ),
        // A document that is null cannot be told from a null once it is an event.
        (json(" null "), Type::Json, Value::Null),
        (Value::text("null"), Type::Json, Value::Null),
        (json("[null]"), Type::Json, json("[null]")),
        (Value::Float(1.5), Type::Json, json("1.5")),
        (Value::Null, Type::Date, Value::Null),
    ];
    for (value, to, expected) in table {
        let result = cast(value.clone(), to);
        assert_eq!(result, Ok(expected.clone()), "{value:?} to {to}");
        let text = |value: &Value| value.to_string();
        assert_eq!(
            result.as_ref().map(text),
            Ok(text(&expected)),
            "{value:?} to {to}"
        );
        assert_eq!(
            CastPlan::choose(None, to).unwrap().apply_ref(&value),
            result
        );
    }
}

#[test]
fn what_would_lose_something_is_an_error_that_names_both_types() {
    let table = [
        (Value::Int(2), Type::Bool),
        (Value::Int(i64::MAX), Type::Float),
        (Value::Int(10_000), MONEY),
        (Value::Int(1), Type::Timestamp),
        (Value::Float(0.5), Type::Int),
        (Value::Float(f64::NAN), Type::DECIMAL),
        (Value::Float(f64::INFINITY), Type::Json),
        (Value::Float(f64::NAN), Type::Text),
        (Value::Float(0.125), MONEY),
        (Value::Float(1e300), Type::Int),
        (decimal("0.125"), MONEY),
        (decimal("10000.00"), MONEY),
        (decimal("0.5"), Type::Int),
        (decimal("0.1000000000000000055"), Type::Float),
        (decimal("99999999999999999999"), Type::Int),
        (Value::text("007"), Type::Int),
        (Value::text("+7"), Type::Int),
        (Value::text(" 7"), Type::Int),
        (Value::text("7 "), Type::DECIMAL),
        (Value::text("yes"), Type::Bool),
        (Value::text("2023-02-29"), Type::Date),
        (Value::text("2024-1-1"), Type::Date),
        (Value::text("2024-01-01 00:00:00"), Type::Date),
        (Value::text("24:00"), Type::Time),
        (Value::text("23:59:60"), Type::Time),
        (Value::text("2024-01-01"), Type::Timestamp),
        (
            Value::text("2024-01-01T10:00:00 Europe/Paris"),
            Type::Timestamp,
        ),
        (Value::text("2024-01-01T10:00:00+2"), Type::Timestamp),
        (Value::text("2024-01-01T10:00:00[UTC]"), Type::Timestamp),
        (Value::text(format!("{{{ID}}}")), Type::Uuid),
        (Value::text("{'a': 1}"), Type::Json),
        (Value::text(r#"{"a":1,"a":2}"#), Type::Json),
        (Value::text("[".repeat(200) + &"]".repeat(200)), Type::Json),
        (Value::text("x"), Type::Bytes),
        (at("2024-01-01T00:00:01Z"), Type::Date),
        (Value::Bytes(vec![1]), Type::Date),
        (Value::Bytes(vec![1]), Type::Uuid),
        (date("2024-01-01"), Type::Int),
    ];
    for (value, to) in table {
        let error = cast(value.clone(), to).unwrap_err();
        assert_eq!((error.from, error.to), (value.type_name(), to));
        let message = error.to_string();
        assert!(
            message.contains(value.type_name()) && message.contains(to.name()),
            "{message}"
        );
    }
}

#[test]
fn declared_types_that_never_cast_are_found_before_anything_runs() {
    for (from, to) in [
        (Type::Bytes, Type::Date),
        (Type::Date, Type::Int),
        (Type::Json, Type::Int),
        (Type::Time, Type::Timestamp),
        (Type::Bool, Type::DECIMAL),
        (Type::Text, Type::Bytes),
    ] {
        assert_eq!(
            CastPlan::choose(Some(from), to),
            Err(NeverCasts { from, to })
        );
    }
    for (from, to) in [
        (None, Type::Date),
        (Some(Type::Text), Type::Date),
        (Some(Type::DECIMAL), MONEY),
        (Some(Type::Int), Type::Bool),
        (Some(Type::Date), Type::Timestamp),
    ] {
        assert!(CastPlan::choose(from, to).is_ok(), "{from:?} to {to}");
    }
}

fn any_type() -> impl Strategy<Value = Type> {
    proptest::sample::select(vec![
        Type::Bool,
        Type::Int,
        Type::DECIMAL,
        MONEY,
        Type::Float,
        Type::Text,
        Type::Bytes,
        Type::Date,
        Type::Time,
        Type::Timestamp,
        Type::Uuid,
        Type::Json,
    ])
}

pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    let texts = [
        "1",
        "0",
        "-1",
        "1.50",
        "true",
        "2024-01-31",
        "10:00:00",
        "2024-01-31T10:00:00Z",
        ID,
        "{\"a\":1}",
        "null",
        "1e5",
        "",
    ];
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-3i64..4).prop_map(Value::Int),
        (any::<i64>(), 0u32..6)
            .prop_map(|(units, scale)| Value::Decimal(Decimal::from_units(units, scale))),
        any::<f64>().prop_map(Value::Float),
        (-100i32..100).prop_map(|n| Value::Float(f64::from(n) / 4.0)),
        ".{0,20}".prop_map(Value::Text),
        proptest::sample::select(texts.to_vec()).prop_map(Value::text),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
        (1i16..9999, 1i8..13, 1i8..29)
            .prop_map(|(y, m, d)| Value::Date(Date::new(y, m, d).unwrap())),
        (0i8..24, 0i8..60, 0i8..60, 0i32..1_000_000_000)
            .prop_map(|(h, m, s, n)| Value::Time(Time::new(h, m, s, n).unwrap())),
        (-10_000_000_000i64..100_000_000_000, 0i32..1_000_000_000)
            .prop_map(|(s, n)| Value::Timestamp(Timestamp::new(s, n.max(0)).unwrap_or_default())),
        any::<u128>().prop_map(|id| Value::Uuid(Uuid::from_u128(id))),
    ]
}

proptest! {
    #[test]
    fn a_cast_through_text_comes_back(value in any_value()) {
        let to = match &value {
            Value::Null | Value::Bytes(_) | Value::Json(_) => return Ok(()),
            Value::Bool(_) => Type::Bool,
            Value::Int(_) => Type::Int,
            Value::Decimal(_) => Type::DECIMAL,
            Value::Float(number) if !number.is_finite() => return Ok(()),
            Value::Float(_) => Type::Float,
            Value::Text(_) => Type::Text,
            Value::Date(_) => Type::Date,
            Value::Time(_) => Type::Time,
            Value::Timestamp(_) => Type::Timestamp,
            Value::Uuid(_) => Type::Uuid,
        };
        let text = cast(value.clone(), Type::Text).unwrap();
        prop_assert_eq!(cast(text, to).unwrap(), value);
    }

    #[test]
    fn casts_never_panic_and_what_is_cast_stays(value in any_value(), to in any_type()) {
        if let Ok(once) = cast(value, to) {
            prop_assert!(once.is_null() || Type::name(to) == once.type_name());
            prop_assert_eq!(cast(once.clone(), to).unwrap(), once);
        }
    }

    #[test]
    fn the_plan_refuses_only_what_no_value_survives(value in any_value(), to in any_type()) {
        let from = match value.type_name() {
            "null" => return Ok(()),
            "bool" => Type::Bool,
            "int" => Type::Int,
            "decimal" => Type::DECIMAL,
            "float" => Type::Float,
            "text" => Type::Text,
            "bytes" => Type::Bytes,
            "date" => Type::Date,
            "time" => Type::Time,
            "timestamp" => Type::Timestamp,
            "uuid" => Type::Uuid,
            _ => Type::Json,
        };
        if CastPlan::choose(Some(from), to).is_err() {
            prop_assert!(cast(value, to).is_err());
        }
    }
}
