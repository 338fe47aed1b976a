//! Tests of reading PostgreSQL's values.

use jiff::civil;
use lockstep_core::{Decimal, Kind};
use proptest::prelude::*;

use super::*;

fn read(oid: u32, text: &str) -> Value {
    Decoder::for_type(oid, -1, kind(oid, -1))
        .decode(text.as_bytes())
        .unwrap()
}

fn at(text: &str) -> Value {
    Value::Timestamp(text.parse().unwrap())
}

#[test]
fn values_are_read_as_their_types() {
    let decimal = |text: &str| Value::Decimal(text.parse::<Decimal>().unwrap());
    for (oid, text, value) in [
        (oid::BOOL, "t", Value::Bool(true)),
        (oid::BOOL, "false", Value::Bool(false)),
        (oid::INT2, "-32768", Value::Int(-32768)),
        (oid::INT8, "-9223372036854775808", Value::Int(i64::MIN)),
        (oid::INT8, "9223372036854775807", Value::Int(i64::MAX)),
        (
            oid::NUMERIC,
            "-0012345678901234567890.10",
            decimal("-12345678901234567890.10"),
        ),
        (oid::FLOAT8, "-Infinity", Value::Float(f64::NEG_INFINITY)),
        (oid::FLOAT8, "NaN", Value::Float(f64::NAN)),
        (oid::FLOAT4, "0.1", Value::Float(0.1)),
        (oid::BPCHAR, "ab  ", Value::text("ab")),
        (oid::VARCHAR, "ab  ", Value::text("ab  ")),
        (oid::BYTEA, "\\x00fF", Value::Bytes(vec![0, 255])),
        (oid::BYTEA, "\\x", Value::Bytes(vec![])),
        (
            oid::DATE,
            "2024-02-29",
            Value::Date(civil::date(2024, 2, 29)),
        ),
        (
            oid::DATE,
            "0044-03-15 BC",
            Value::Date(civil::date(-43, 3, 15)),
        ),
        (
            oid::TIME,
            "23:59:59.5",
            Value::Time(civil::time(23, 59, 59, 500_000_000)),
        ),
        (
            oid::TIMESTAMP,
            "2024-01-31 09:30:00.000001",
            at("2024-01-31T09:30:00.000001Z"),
        ),
        (
            oid::TIMESTAMPTZ,
            "2024-01-31 09:30:00+05:30",
            at("2024-01-31T04:00:00Z"),
        ),
        (
            oid::TIMESTAMPTZ,
            "1900-01-01 00:00:00-00:44:30",
            at("1900-01-01T00:44:30Z"),
        ),
        (
            oid::TIMESTAMPTZ,
            "0001-12-31 00:00:00+00 BC",
            at("0000-12-31T00:00:00Z"),
        ),
        (
            oid::JSONB,
            "{\"a\": 1.10}",
            Value::Json("{\"a\": 1.10}".into()),
        ),
        (
            oid::UUID,
            "018f3c1e-9b7a-7c3e-8f00-000000000001",
            Value::Uuid(Uuid::from_u128(0x018f_3c1e_9b7a_7c3e_8f00_0000_0000_0001)),
        ),
        (1007, "{1,2}", Value::Json("[1,2]".into())),
        // An enum, an address, an interval: types without a counterpart.
        (99_999, "sad", Value::text("sad")),
    ] {
        assert_eq!(read(oid, text), value, "{text}");
    }
}

#[test]
fn a_legal_value_without_room_becomes_its_text() {
    for (oid, text) in [
        (oid::NUMERIC, "NaN"),
        (oid::NUMERIC, "Infinity"),
        (oid::DATE, "infinity"),
        (oid::DATE, "12024-01-01"),
        (oid::DATE, "4713-01-01 XC"),
        (oid::TIMESTAMPTZ, "-infinity"),
        (oid::TIMESTAMPTZ, "294276-12-31 00:00:00+00"),
        (oid::TIME, "24:00:00"),
        (1007, "[0:1]={1,2}"),
    ] {
        assert_eq!(read(oid, text), Value::text(text));
    }
    let decoder = Decoder::for_type(oid::TEXT, -1, Type::Text);
    assert_eq!(decoder.decode(b"\xff").unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn numerics_keep_their_bounds() {
    let typmod = |precision: i32, scale: i32| ((precision << 16) | (scale & 0x7ff)) + 4;
    for (typmod, precision, scale) in [
        (typmod(12, 2), 12, 2),
        (typmod(5, 0), 5, 0),
        (typmod(3, 5), 5, 5),
        (typmod(3, -2), 5, 0),
        (typmod(1000, 1000), 1000, 1000),
    ] {
        let bounds = Type::Decimal {
            precision: Some(precision),
            scale: Some(scale),
        };
        assert_eq!(kind(oid::NUMERIC, typmod), bounds);
    }
    assert_eq!(kind(oid::NUMERIC, -1), Type::DECIMAL);
}

proptest! {
    #[test]
    fn foreign_texts_never_panic(text in "\\PC{0,24}", raw: Vec<u8>, typmod: i32) {
        for oid in [16, 17, 20, 700, 1042, 1082, 1083, 1114, 1184, 1700, 2950, 3802, 1007, 199, 5] {
            let decoder = Decoder::for_type(oid, typmod, kind(oid, typmod));
            prop_assert!(decoder.decode(text.as_bytes()).is_ok());
            let _ = decoder.decode(&raw);
        }
    }

    #[test]
    fn shapes_of_dates_and_times_never_panic(text in "[0-9]{0,5}-?[0-9]{0,3}-[0-9]{0,3} ?[0-9]{0,2}:[0-9]{2}:?[0-9]{0,3}\\.?[0-9]{0,10}[+-]?[0-9:]{0,9}( BC)?") {
        for oid in [oid::DATE, oid::TIME, oid::TIMESTAMP, oid::TIMESTAMPTZ] {
            prop_assert!(Decoder::for_type(oid, -1, kind(oid, -1)).decode(text.as_bytes()).is_ok());
        }
    }

    #[test]
    fn instants_survive_their_text(second in -377_705_000_000_i64..253_402_000_000, micro in 0..1_000_000_i32) {
        let instant = Timestamp::new(second, micro * 1000).unwrap();
        let at = Offset::UTC.to_datetime(instant);
        let (year, era) = if at.year() > 0 { (at.year(), "") } else { (1 - at.year(), " BC") };
        let text = format!("{year:04}-{} {}+00{era}", at.strftime("%m-%d"), at.time());
        prop_assert_eq!(read(oid::TIMESTAMPTZ, &text), Value::Timestamp(instant));
    }
}
