//! PostgreSQL's values and types → Lockstep's; the other way is [`crate::encode`].
//!
//! Values are read from PostgreSQL's own text form, which the replication stream sends and which the reader asks for, so that one decoder serves both.
//! A session must have `DateStyle = ISO`, `TimeZone = UTC` and `bytea_output = hex`.
//! A legal value for which Lockstep's type has no room (`NaN` as a numeric, an infinite date, a year beyond 9999) becomes its text, so that the contract's gate can say what is wrong with that record instead of the whole source standing still.
//! Pure: no connection, no clock.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;
use lockstep_core::{Error, Result, Type, Value};
use uuid::Uuid;

use crate::array;

/// Object identifiers of PostgreSQL's own types, which are the same in every database.
pub(crate) mod oid {
    pub(crate) const BOOL: u32 = 16;
    pub(crate) const BYTEA: u32 = 17;
    pub(crate) const INT8: u32 = 20;
    pub(crate) const INT2: u32 = 21;
    pub(crate) const INT4: u32 = 23;
    pub(crate) const TEXT: u32 = 25;
    pub(crate) const OID: u32 = 26;
    pub(crate) const JSON: u32 = 114;
    pub(crate) const FLOAT4: u32 = 700;
    pub(crate) const FLOAT8: u32 = 701;
    pub(crate) const BPCHAR: u32 = 1042;
    pub(crate) const VARCHAR: u32 = 1043;
    pub(crate) const DATE: u32 = 1082;
    pub(crate) const TIME: u32 = 1083;
    pub(crate) const TIMESTAMP: u32 = 1114;
    pub(crate) const TIMESTAMPTZ: u32 = 1184;
    pub(crate) const NUMERIC: u32 = 1700;
    pub(crate) const UUID: u32 = 2950;
    pub(crate) const JSONB: u32 = 3802;

    /// Array types of the types above, with their elements' types.
    pub(crate) const ARRAYS: [(u32, u32); 19] = [
        (1000, BOOL),
        (1001, BYTEA),
        (1016, INT8),
        (1005, INT2),
        (1007, INT4),
        (1009, TEXT),
        (1028, OID),
        (199, JSON),
        (1021, FLOAT4),
        (1022, FLOAT8),
        (1014, BPCHAR),
        (1015, VARCHAR),
        (1182, DATE),
        (1183, TIME),
        (1115, TIMESTAMP),
        (1185, TIMESTAMPTZ),
        (1231, NUMERIC),
        (2951, UUID),
        (3807, JSONB),
    ];
}

/// Lockstep's type of a PostgreSQL type that is neither a domain nor an array; what has no type of its own travels as its text.
pub(crate) fn kind(oid: u32, typmod: i32) -> Type {
    match oid {
        oid::BOOL => Type::Bool,
        oid::BYTEA => Type::Bytes,
        oid::INT8 | oid::INT2 | oid::INT4 | oid::OID => Type::Int,
        oid::JSON | oid::JSONB => Type::Json,
        oid::FLOAT4 | oid::FLOAT8 => Type::Float,
        oid::DATE => Type::Date,
        oid::TIME => Type::Time,
        oid::TIMESTAMP | oid::TIMESTAMPTZ => Type::Timestamp,
        oid::NUMERIC => numeric(typmod),
        oid::UUID => Type::Uuid,
        oid if oid::ARRAYS.iter().any(|(array, _)| *array == oid) => Type::Json,
        _ => Type::Text,
    }
}

/// The declaration of a column that holds values of a type: [`kind`] gives the type back.
pub(crate) fn declaration(kind: Type) -> String {
    match kind {
        Type::Bool => "boolean".to_owned(),
        Type::Int => "bigint".to_owned(),
        Type::Decimal {
            precision: Some(precision),
            scale,
        } => format!("numeric({precision},{})", scale.unwrap_or(0)),
        Type::Decimal { .. } => "numeric".to_owned(),
        Type::Float => "double precision".to_owned(),
        Type::Text => "text".to_owned(),
        Type::Bytes => "bytea".to_owned(),
        Type::Date => "date".to_owned(),
        Type::Time => "time".to_owned(),
        Type::Timestamp => "timestamp with time zone".to_owned(),
        Type::Uuid => "uuid".to_owned(),
        Type::Json => "jsonb".to_owned(),
    }
}

/// `numeric(precision, scale)`: since PostgreSQL 15 a scale may be negative or larger than the precision, which is the same as a number of more digits.
fn numeric(typmod: i32) -> Type {
    let Some(packed) = typmod.checked_sub(4).filter(|packed| *packed >= 0) else {
        return Type::DECIMAL;
    };
    let precision = (packed >> 16) & 0xffff;
    // Eleven bits with a sign.
    let scale = ((packed & 0x7ff) ^ 1024) - 1024;
    let digits = precision.max(precision - scale).max(scale);
    Type::Decimal {
        precision: Some(digits.unsigned_abs()),
        scale: Some(scale.max(0).unsigned_abs()),
    }
}

/// Reads the values of one column; made once, used for every row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decoder(Form);

/// How a column's text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Bool,
    Int,
    Decimal,
    Float,
    Text,
    /// `char(n)`, whose trailing blanks mean nothing.
    Padded,
    Bytes,
    Date,
    Time,
    /// Without a zone, taken as UTC.
    Timestamp,
    Timestamptz,
    Uuid,
    Json,
    Array(array::Element),
}

impl Decoder {
    /// The decoder of a column, given the type that its domain (if it is one) is made of, and Lockstep's type of it.
    pub(crate) fn for_type(oid: u32, _typmod: i32, kind: Type) -> Decoder {
        Decoder(match kind {
            Type::Bool => Form::Bool,
            Type::Int => Form::Int,
            Type::Decimal { .. } => Form::Decimal,
            Type::Float => Form::Float,
            Type::Text if oid == oid::BPCHAR => Form::Padded,
            Type::Text => Form::Text,
            Type::Bytes => Form::Bytes,
            Type::Date => Form::Date,
            Type::Time => Form::Time,
            Type::Timestamp if oid == oid::TIMESTAMP => Form::Timestamp,
            Type::Timestamp => Form::Timestamptz,
            Type::Uuid => Form::Uuid,
            Type::Json if oid == oid::JSON || oid == oid::JSONB => Form::Json,
            Type::Json => Form::Array(array::Element::of(oid)),
        })
    }

    /// The value that a text stands for; a null has no text.
    ///
    /// # Errors
    /// [`Kind::Invalid`](lockstep_core::Kind::Invalid) for bytes that are no text at all, which only a database with a broken encoding holds.
    pub(crate) fn decode(&self, text: &[u8]) -> Result<Value> {
        if self.0 == Form::Int {
            // The commonest of all need not be looked at as text first.
            if let Some(number) = int(text) {
                return Ok(Value::Int(number));
            }
        }
        let text = std::str::from_utf8(text).map_err(|_| {
            Error::invalid("the value is not UTF-8").help(
                "find such rows in the database, whose encoding is probably SQL_ASCII, and mend them",
            )
        })?;
        let value = match self.0 {
            Form::Text => return Ok(Value::text(text)),
            Form::Padded => return Ok(Value::text(text.trim_end_matches(' '))),
            Form::Json => return Ok(Value::Json(text.into())),
            Form::Bool => match text {
                "t" | "true" => Some(Value::Bool(true)),
                "f" | "false" => Some(Value::Bool(false)),
                _ => None,
            },
            Form::Int => None,
            Form::Decimal => text.parse().ok().map(Value::Decimal),
            Form::Float => text.parse().ok().map(Value::Float),
            Form::Bytes => bytes(text).map(Value::Bytes),
            Form::Date => date(text).map(Value::Date),
            Form::Time => time(text).map(Value::Time),
            Form::Timestamp => datetime(text)
                .filter(|(_, offset)| offset.is_none())
                .and_then(|(at, _)| Offset::UTC.to_timestamp(at).ok())
                .map(Value::Timestamp),
            Form::Timestamptz => timestamptz(text).map(Value::Timestamp),
            Form::Uuid => Uuid::try_parse(text).ok().map(Value::Uuid),
            Form::Array(element) => array::to_json(text, element).map(Value::Json),
        };
        Ok(value.unwrap_or_else(|| Value::text(text)))
    }
}

fn int(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_i64, |number, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        let number = number.checked_mul(10)?;
        if negative {
            number.checked_sub(digit.into())
        } else {
            number.checked_add(digit.into())
        }
    })
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let nibble = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
    if digits.len() % 2 == 1 {
        return None;
    }
    digits
        .chunks_exact(2)
        .map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?))
        .collect()
}

/// `2024-01-31`, with a longer year or ` BC` behind it where need be.
fn date(text: &str) -> Option<Date> {
    let (text, bc) = era(text);
    day(text, bc)
}

fn day(text: &str, bc: bool) -> Option<Date> {
    let mut parts = text.splitn(3, '-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if year.len() < 4 || month.len() != 2 || day.len() != 2 {
        return None;
    }
    let year = i16::try_from(int(year.as_bytes()).filter(|year| *year > 0)?).ok()?;
    // There is no year zero: 1 BC is the year before 1.
    let year = if bc { 1 - year } else { year };
    Date::new(year, number(month)?, number(day)?).ok()
}

/// `09:30:00.123456`.
fn time(text: &str) -> Option<Time> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let clock = clock.as_bytes();
    let [h1, h2, b':', m1, m2, b':', s1, s2] = clock else {
        return None;
    };
    let two = |tens: &u8, ones: &u8| number(std::str::from_utf8(&[*tens, *ones]).ok()?);
    if fraction.len() > 9 || (text.len() > 8 && fraction.is_empty()) {
        return None;
    }
    let mut nanos = if fraction.is_empty() {
        0
    } else {
        i32::try_from(int(fraction.as_bytes()).filter(|nanos| *nanos >= 0)?).ok()?
    };
    for _ in fraction.len()..9 {
        nanos *= 10;
    }
    Time::new(two(h1, h2)?, two(m1, m2)?, two(s1, s2)?, nanos).ok()
}

fn number(digits: &str) -> Option<i8> {
    let plain = digits.bytes().all(|digit| digit.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

/// `2024-01-31 09:30:00.5+00 BC`: date and time, and the seconds from UTC where an offset is given.
fn datetime(text: &str) -> Option<(DateTime, Option<i32>)> {
    let (text, bc) = era(text);
    let (date, clock) = text.split_once(' ')?;
    let (clock, offset) = match clock.find(['+', '-']) {
        Some(at) => (&clock[..at], Some(offset(&clock[at..])?)),
        None => (clock, None),
    };
    Some((day(date, bc)?.to_datetime(time(clock)?), offset))
}

fn timestamptz(text: &str) -> Option<Timestamp> {
    let (at, offset) = datetime(text)?;
    Offset::from_seconds(offset?).ok()?.to_timestamp(at).ok()
}

/// `+05`, `+05:30`, `-00:44:30`, in seconds.
fn offset(text: &str) -> Option<i32> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+')?),
    };
    let mut seconds = 0;
    let mut unit = 3600;
    for part in rest.split(':') {
        seconds += i32::from(number(part)?) * unit;
        unit /= 60;
    }
    Some(if negative { -seconds } else { seconds })
}

fn era(text: &str) -> (&str, bool) {
    match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    }
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
