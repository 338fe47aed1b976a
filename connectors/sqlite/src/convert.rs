//! SQLite's values and declared types ↔ Lockstep's.
//!
//! SQLite stores what it is given: a declared type is a wish.
//! A value that is what its column declares becomes that type; any other is passed on as what it is, so that the gate can say what is wrong with it.
//! Pure: no connection, no clock.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use lockstep_core::connector::{Filter, Sign};
use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Decimal, Error, Kind, Result, Type, Value};
use rusqlite::types::{ToSqlOutput, Value as Owned, ValueRef};
use serde::de::IgnoredAny;
use uuid::Uuid;

use crate::catalog::Table;
use crate::client::quote;

/// The type that a column declaration stands for; `None` where SQLite holds the column to nothing.
///
/// Names that say more than SQLite's affinities do (`DATE`, `BOOLEAN`, `DECIMAL(12,2)`) are taken at their word; for the rest SQLite's own rules decide.
pub(crate) fn declared(text: &str) -> Option<Type> {
    let upper = text.trim().to_ascii_uppercase();
    let (name, arguments) = match upper.split_once('(') {
        Some((name, rest)) => (name.trim(), rest.trim_end_matches(')')),
        None => (upper.as_str(), ""),
    };
    let mut numbers = arguments
        .split(',')
        .map(|part| part.trim().parse::<u32>().ok());
    let mut number = || numbers.next().flatten();
    Some(match name {
        "" | "ANY" => return None,
        "BOOL" | "BOOLEAN" => Type::Bool,
        "DATE" => Type::Date,
        "TIME" => Type::Time,
        "DATETIME"
        | "TIMESTAMP"
        | "TIMESTAMPTZ"
        | "TIMESTAMP WITH TIME ZONE"
        | "TIMESTAMP WITHOUT TIME ZONE" => Type::Timestamp,
        "DECIMAL" | "NUMERIC" | "DEC" | "NUMBER" => {
            let precision = number();
            let scale = number().or(precision.map(|_| 0));
            Type::Decimal { precision, scale }
        }
        "UUID" | "GUID" | "UNIQUEIDENTIFIER" => Type::Uuid,
        "JSON" | "JSONB" => Type::Json,
        _ => return affinity(name),
    })
}

/// How many characters a declaration such as `VARCHAR(40)` speaks of.
pub(crate) fn length(text: &str) -> Option<u32> {
    if declared(text) != Some(Type::Text) {
        return None;
    }
    let (_, rest) = text.split_once('(')?;
    rest.trim().trim_end_matches(')').trim().parse().ok()
}

/// The declaration of a column that holds values of a type exactly: [`declared`] gives the type back, or text for what SQLite's numbers cannot hold.
pub(crate) fn declaration(kind: Type) -> String {
    match kind {
        Type::Bool => "BOOLEAN".to_owned(),
        Type::Int => "INTEGER".to_owned(),
        // Beyond 15 digits SQLite would round: numbers there are doubles.
        Type::Decimal {
            precision: Some(precision @ 0..=15),
            scale,
        } => format!("DECIMAL({precision},{})", scale.unwrap_or(0)),
        Type::Decimal { .. } => "TEXT".to_owned(),
        Type::Float => "REAL".to_owned(),
        Type::Text => "TEXT".to_owned(),
        Type::Bytes => "BLOB".to_owned(),
        Type::Date => "DATE".to_owned(),
        Type::Time => "TIME".to_owned(),
        Type::Timestamp => "TIMESTAMP".to_owned(),
        Type::Uuid => "UUID".to_owned(),
        Type::Json => "JSON".to_owned(),
    }
}

/// SQLite's rules, in SQLite's order; what is left has numeric affinity, which fixes no type.
fn affinity(name: &str) -> Option<Type> {
    let has = |part: &str| name.contains(part);
    if has("INT") {
        Some(Type::Int)
    } else if has("CHAR") || has("CLOB") || has("TEXT") {
        Some(Type::Text)
    } else if has("BLOB") {
        Some(Type::Bytes)
    } else if has("REAL") || has("FLOA") || has("DOUB") {
        Some(Type::Float)
    } else {
        None
    }
}

/// What a stored value is, given its column's type.
pub(crate) fn read(raw: ValueRef<'_>, kind: Option<Type>) -> Value {
    match raw {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => integer(number, kind),
        ValueRef::Real(number) => real(number, kind),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => texts(text, kind),
            // SQLite does not check its texts; what is not Unicode travels as the bytes it is.
            Err(_) => Value::Bytes(bytes.to_vec()),
        },
    }
}

/// How many bytes a stored value holds, for the bounds of batches.
pub(crate) fn size(raw: ValueRef<'_>) -> usize {
    match raw {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len() + 8,
        _ => 8,
    }
}

fn integer(number: i64, kind: Option<Type>) -> Value {
    match (kind, number) {
        (Some(Type::Bool), 0) => Value::Bool(false),
        (Some(Type::Bool), 1) => Value::Bool(true),
        (Some(Type::Decimal { .. }), _) => Value::Decimal(number.into()),
        _ => Value::Int(number),
    }
}

fn real(number: f64, kind: Option<Type>) -> Value {
    match kind {
        Some(Type::Decimal { scale, .. }) => {
            decimal(number, scale).map_or(Value::Float(number), Value::Decimal)
        }
        _ => Value::Float(number),
    }
}

/// The decimal that a double was stored for.
///
/// Numeric affinity turns `12.50` into a double, and the shortest text that gives the same double again is the decimal that was meant.
/// Where a program summed doubles, the noise behind the fifteenth digit is dropped if the declared scale proves that it is noise.
fn decimal(number: f64, scale: Option<u32>) -> Option<Decimal> {
    let shortest: Decimal = format!("{number}").parse().ok()?;
    let Some(scale) = scale else {
        return Some(shortest);
    };
    if shortest.scale() <= scale {
        return Some(shortest);
    }
    let fifteen: Decimal = format!("{number:.14e}").parse().ok()?;
    fifteen.rescale(scale)
}

fn texts(text: &str, kind: Option<Type>) -> Value {
    let typed = match kind {
        Some(Type::Date) if text.len() == 10 => text.parse::<Date>().ok().map(Value::Date),
        Some(Type::Time) if text.len() >= 5 => text.parse::<Time>().ok().map(Value::Time),
        Some(Type::Timestamp) => timestamp(text).map(Value::Timestamp),
        Some(Type::Decimal { .. }) => text.parse().ok().map(Value::Decimal),
        Some(Type::Bool) => boolean(text),
        Some(Type::Uuid) => uuid(text),
        Some(Type::Json) => serde_json::from_str::<IgnoredAny>(text)
            .ok()
            .map(|_| Value::Json(text.into())),
        _ => None,
    };
    typed.unwrap_or_else(|| Value::Text(text.to_owned()))
}

/// Reads `2024-01-31 09:30:00`, with `T` for the blank, fractions and an offset where they are; without an offset it is UTC, as SQLite's own functions have it.
fn timestamp(text: &str) -> Option<Timestamp> {
    // A bare date is no instant, whatever the column declares.
    let clock = text.get(11..)?;
    if clock.contains(['Z', 'z', '+', '-']) {
        return text.parse().ok();
    }
    let civil: DateTime = text.parse().ok()?;
    Some(TimeZone::UTC.to_zoned(civil).ok()?.timestamp())
}

fn boolean(text: &str) -> Option<Value> {
    if text.eq_ignore_ascii_case("true") {
        Some(Value::Bool(true))
    } else if text.eq_ignore_ascii_case("false") {
        Some(Value::Bool(false))
    } else {
        None
    }
}

/// Only the canonical spelling, because another one would not be found again by its value.
fn uuid(text: &str) -> Option<Value> {
    let id = Uuid::try_parse(text).ok()?;
    let mut buffer = Uuid::encode_buffer();
    (id.hyphenated().encode_lower(&mut buffer) == text).then_some(Value::Uuid(id))
}

/// How a value is stored in a column of a type. Decimals go as their text: SQLite's affinity makes a number of it only where that loses nothing.
pub(crate) fn write(value: &Value, kind: Option<Type>) -> ToSqlOutput<'_> {
    let owned = |text: String| ToSqlOutput::Owned(Owned::Text(text));
    let borrowed = |text: &str| -> ToSqlOutput<'_> { owned(text.to_owned()) };
    match value {
        Value::Null => ToSqlOutput::Owned(Owned::Null),
        Value::Bool(flag) => ToSqlOutput::Owned(Owned::Integer((*flag).into())),
        Value::Int(number) => ToSqlOutput::Owned(Owned::Integer(*number)),
        Value::Float(number) => ToSqlOutput::Owned(Owned::Real(*number)),
        Value::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        Value::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        Value::Decimal(number) => ToSqlOutput::Borrowed(ValueRef::Text(number.as_str().as_bytes())),
        Value::Json(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        Value::Date(date) => owned(date.to_string()),
        Value::Time(time) => owned(time.to_string()),
        Value::Timestamp(at) => owned(at.strftime("%Y-%m-%d %H:%M:%S%.f").to_string()),
        Value::Uuid(id) if kind == Some(Type::Bytes) => {
            ToSqlOutput::Owned(Owned::Blob(id.as_bytes().to_vec()))
        }
        Value::Uuid(id) => borrowed(id.hyphenated().encode_lower(&mut Uuid::encode_buffer())),
    }
}

/// A condition on the rows of a table, as SQL; `mark` takes a value to be bound and gives its parameter.
///
/// # Errors
/// A column that the table has not, and a comparison with an instant: SQLite keeps instants in whatever form they were written in, whose order means nothing.
pub(crate) fn condition(
    filter: &Filter,
    table: &Table,
    mut mark: impl FnMut(Value, Option<Type>) -> String,
) -> Result<String> {
    let find = |column: &str| {
        let at = table.position(column).ok_or_else(|| {
            let known = table.columns.iter().map(|column| column.name.as_str());
            let message = format!("table `{}` has no column `{column}`", table.name);
            Error::config(message).help(suggestion(column, known))
        })?;
        Ok::<_, Error>((quote(column), table.columns[at].kind))
    };
    filter.sql(
        &mut |column: &str| Ok(find(column)?.0),
        &mut |column: &str, sign, value: &Value| {
            let (name, kind) = find(column)?;
            if matches!(value, Value::Timestamp(_) | Value::Date(_) | Value::Time(_)) {
                return Err(Error::new(
                    Kind::Unsupported,
                    format!("column `{column}` of table `{}` cannot be compared with an instant: SQLite keeps texts there", table.name),
                )
                .help("use a column of integers that grows with every change"));
            }
            let mark = mark(value.clone(), kind);
            let compared = format!("{name} {} {mark}", sign.sql());
            // A column holds what it likes: what is no number comes behind all numbers, and is for the gate to name.
            Ok(match (value, sign) {
                (Value::Int(_), Sign::Equal | Sign::Less | Sign::LessOrEqual) => {
                    format!("({compared} OR typeof({name}) NOT IN ('integer', 'null'))")
                }
                _ => compared,
            })
        },
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dec(text: &str) -> Value {
        Value::Decimal(text.parse().unwrap())
    }

    #[test]
    fn what_is_declared_for_a_type_is_read_as_that_type() {
        let small = Type::Decimal {
            precision: Some(12),
            scale: Some(2),
        };
        let kinds = [
            Type::Bool,
            Type::Int,
            small,
            Type::Float,
            Type::Text,
            Type::Bytes,
            Type::Date,
            Type::Time,
            Type::Timestamp,
            Type::Uuid,
            Type::Json,
        ];
        for kind in kinds {
            assert_eq!(declared(&declaration(kind)), Some(kind));
        }
        assert_eq!(declared(&declaration(Type::DECIMAL)), Some(Type::Text));
    }

    #[test]
    fn declarations_are_taken_at_their_word() {
        let scaled = |precision, scale| Type::Decimal {
            precision: Some(precision),
            scale: Some(scale),
        };
        for (text, kind) in [
            ("INTEGER", Some(Type::Int)),
            ("unsigned big int", Some(Type::Int)),
            ("VARCHAR(255)", Some(Type::Text)),
            ("nvarchar (40)", Some(Type::Text)),
            ("DOUBLE PRECISION", Some(Type::Float)),
            ("BLOB", Some(Type::Bytes)),
            ("decimal(12, 2)", Some(scaled(12, 2))),
            ("NUMERIC(9)", Some(scaled(9, 0))),
            ("NUMERIC", Some(Type::DECIMAL)),
            ("Boolean", Some(Type::Bool)),
            ("DATE", Some(Type::Date)),
            ("datetime", Some(Type::Timestamp)),
            ("timestamp(3)", Some(Type::Timestamp)),
            ("UUID", Some(Type::Uuid)),
            ("json", Some(Type::Json)),
            ("", None),
            ("ANY", None),
            ("STRING", None),
        ] {
            assert_eq!(declared(text), kind, "{text}");
        }
    }

    #[test]
    fn what_fits_its_declaration_is_typed_and_the_rest_is_passed_on() {
        let money = declared("DECIMAL(12,2)");
        for (raw, kind, value) in [
            (ValueRef::Integer(1), Some(Type::Bool), Value::Bool(true)),
            (ValueRef::Integer(7), Some(Type::Bool), Value::Int(7)),
            (ValueRef::Text(b"TRUE"), Some(Type::Bool), Value::Bool(true)),
            (
                ValueRef::Text(b"maybe"),
                Some(Type::Bool),
                Value::text("maybe"),
            ),
            (ValueRef::Real(12.5), money, dec("12.5")),
            (ValueRef::Integer(12), money, dec("12")),
            (
                ValueRef::Text(b"12345678901234567.89"),
                money,
                dec("12345678901234567.89"),
            ),
            (ValueRef::Real(0.1 + 0.2), money, dec("0.3")),
            (ValueRef::Real(12.345), money, Value::Float(12.345)),
            (ValueRef::Text(b"n/a"), money, Value::text("n/a")),
            (
                ValueRef::Integer(20240131),
                Some(Type::Date),
                Value::Int(20240131),
            ),
            (
                ValueRef::Text(b"31.01.2024"),
                Some(Type::Date),
                Value::text("31.01.2024"),
            ),
            (
                ValueRef::Text(b"2024-01-31"),
                Some(Type::Timestamp),
                Value::text("2024-01-31"),
            ),
            (ValueRef::Text(b"12"), Some(Type::Int), Value::text("12")),
            (
                ValueRef::Text(b"\xff"),
                Some(Type::Text),
                Value::Bytes(vec![0xff]),
            ),
            (
                ValueRef::Text(b"a\0b"),
                Some(Type::Text),
                Value::text("a\0b"),
            ),
            (
                ValueRef::Text(b"{\"a\":1}"),
                Some(Type::Json),
                Value::Json("{\"a\":1}".into()),
            ),
            (ValueRef::Text(b"{a}"), Some(Type::Json), Value::text("{a}")),
            (
                ValueRef::Real(f64::INFINITY),
                money,
                Value::Float(f64::INFINITY),
            ),
        ] {
            assert_eq!(read(raw, kind), value, "{raw:?} as {kind:?}");
        }
    }

    #[test]
    fn a_uuid_is_one_only_in_the_spelling_that_finds_it_again() {
        let text = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        let kind = Some(Type::Uuid);
        assert!(matches!(
            read(ValueRef::Text(text.as_bytes()), kind),
            Value::Uuid(_)
        ));
        let upper = text.to_uppercase();
        assert_eq!(
            read(ValueRef::Text(upper.as_bytes()), kind),
            Value::text(upper)
        );
    }

    #[test]
    fn instants_are_read_in_every_usual_spelling() {
        let at: Timestamp = "2024-01-31T09:30:00Z".parse().unwrap();
        for text in [
            "2024-01-31 09:30:00",
            "2024-01-31T09:30:00",
            "2024-01-31 09:30",
            "2024-01-31 09:30:00.000",
            "2024-01-31T09:30:00Z",
            "2024-01-31 10:30:00+01:00",
        ] {
            let value = read(ValueRef::Text(text.as_bytes()), Some(Type::Timestamp));
            assert_eq!(value, Value::Timestamp(at), "{text}");
        }
    }

    fn stored(value: &Value, kind: Type) -> Value {
        match write(value, Some(kind)) {
            ToSqlOutput::Borrowed(raw) => read(raw, Some(kind)),
            ToSqlOutput::Owned(owned) => read(ValueRef::from(&owned), Some(kind)),
            other => panic!("not a plain value: {other:?}"),
        }
    }

    proptest! {
        #[test]
        fn typed_values_come_back_as_they_were(
            seconds in -60_000_000_000i64..250_000_000_000, nanos in 0i32..1_000_000_000,
            days in -700_000i32..2_900_000, id: u128, units: i64, scale in 0u32..30, flag: bool,
        ) {
            let at = Timestamp::new(seconds, 0).unwrap()
                + jiff::SignedDuration::from_nanos(nanos.into());
            let date = jiff::civil::date(1970, 1, 1)
                .checked_add(jiff::Span::new().days(days)).unwrap_or(jiff::civil::date(1970, 1, 1));
            for (value, kind) in [
                (Value::Timestamp(at), Type::Timestamp),
                (Value::Date(date), Type::Date),
                (Value::Uuid(Uuid::from_u128(id)), Type::Uuid),
                (Value::Decimal(Decimal::from_units(units, scale)), Type::DECIMAL),
                (Value::Bool(flag), Type::Bool),
                (Value::Int(units), Type::Int),
            ] {
                prop_assert_eq!(stored(&value, kind), value);
            }
        }

        #[test]
        fn cents_stored_as_doubles_come_back_exactly(cents in -99_999_999_999i64..99_999_999_999) {
            let exact = Decimal::from_units(cents, 2);
            let double: f64 = exact.as_str().parse().unwrap();
            let money = declared("DECIMAL(14,2)");
            prop_assert_eq!(read(ValueRef::Real(double), money), Value::Decimal(exact));
        }

        #[test]
        fn foreign_values_never_panic(bytes: Vec<u8>, number: f64, text in ".*") {
            for kind in [
                Type::Bool, Type::Int, Type::DECIMAL, Type::Float, Type::Text, Type::Bytes,
                Type::Date, Type::Time, Type::Timestamp, Type::Uuid, Type::Json,
            ] {
                let _ = read(ValueRef::Text(&bytes), Some(kind));
                let _ = read(ValueRef::Text(text.as_bytes()), Some(kind));
                let _ = read(ValueRef::Real(number), Some(kind));
            }
            let _ = declared(&text);
        }
    }
}
