//! MongoDB's values and Lockstep's; pure.
//!
//! A column has a [`Form`]: how its values stand in documents.
//! A value of another BSON type than the column's is given as what it is, so that the gate finds and names it; nothing is cast here and nothing is lost.
//! What has no form at all (a name twice in a document, text that is not UTF-8) becomes a value that the column's type can never be, holding the reason as text.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Unit};
use lockstep_core::{Decimal, Type, Value};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Decimal128, RawBsonRef};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::json;
use crate::parse;

/// How values of a column stand in documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Form {
    /// As they come.
    Any,
    /// A boolean.
    Bool,
    /// An integer; in 32 bits where it fits and `narrow` is true, because a validator asks for it.
    Int {
        /// Whether 32 bits are wanted.
        narrow: bool,
    },
    /// A double.
    Float,
    /// A Decimal128.
    Decimal,
    /// A string.
    Text,
    /// An ObjectId, outside of documents its hexadecimal digits.
    ObjectId,
    /// Binary data without a meaning.
    Bytes,
    /// Binary data that is a UUID.
    Uuid,
    /// A date that is a midnight in UTC.
    Date,
    /// A string such as `09:30:00`.
    Time,
    /// A date.
    Timestamp,
    /// Anything, outside of documents as JSON.
    Json,
}

/// The greatest whole number below which a double holds every integer.
const DOUBLE_EXACT: u64 = 1 << 53;
/// Digits of a Decimal128.
const DIGITS_MAX: usize = 34;

impl Form {
    /// What a message calls it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Form::ObjectId => "object_id",
            form => form.kind().map_or("what it is", Type::name),
        }
    }

    /// The type of the column.
    pub(crate) fn kind(self) -> Option<Type> {
        Some(match self {
            Form::Any => return None,
            Form::Bool => Type::Bool,
            Form::Int { .. } => Type::Int,
            Form::Float => Type::Float,
            Form::Decimal => Type::DECIMAL,
            Form::Text | Form::ObjectId => Type::Text,
            Form::Bytes => Type::Bytes,
            Form::Uuid => Type::Uuid,
            Form::Date => Type::Date,
            Form::Time => Type::Time,
            Form::Timestamp => Type::Timestamp,
            Form::Json => Type::Json,
        })
    }
}

/// The value of a field in a column of a form.
pub(crate) fn read(value: RawBsonRef<'_>, form: Form) -> Value {
    match (value, form) {
        (RawBsonRef::Null, _) => Value::Null,
        (value, Form::Json) => as_json(value, form),
        (RawBsonRef::ObjectId(id), Form::ObjectId) => Value::Text(id.to_hex()),
        // A string of such digits is not the ObjectId of these digits.
        (RawBsonRef::String(text), Form::ObjectId) if ObjectId::parse_str(text).is_ok() => {
            as_json(value, form)
        }
        (RawBsonRef::Double(number), Form::Int { .. }) => match whole(number) {
            Some(whole) => Value::Int(whole),
            None => Value::Float(number),
        },
        (RawBsonRef::Int32(number), Form::Float) => Value::Float(f64::from(number)),
        (RawBsonRef::Int64(number), Form::Float) if is_exact(number) => Value::Float(number as f64),
        (RawBsonRef::Int32(number), Form::Decimal) => Value::Decimal(i64::from(number).into()),
        (RawBsonRef::Int64(number), Form::Decimal) => Value::Decimal(number.into()),
        (RawBsonRef::DateTime(at), Form::Date) => match midnight(at) {
            Some(day) => Value::Date(day),
            None => plain(value, form),
        },
        (RawBsonRef::String(text), Form::Time) => match text.parse::<Time>() {
            Ok(time) => Value::Time(time),
            Err(_) => plain(value, form),
        },
        _ => plain(value, form),
    }
}

/// The value of `_id` in a column of a form: the same for the same `_id` whatever documents were looked at, and never the same for two.
///
/// What is not of the column's form goes to quarantine, because a cast could make it equal to another.
pub(crate) fn identity(value: RawBsonRef<'_>, form: Form) -> Value {
    let told = match (value, form) {
        (RawBsonRef::Null, _) => return Value::Null,
        (RawBsonRef::ObjectId(id), Form::Any | Form::ObjectId) => return Value::Text(id.to_hex()),
        // Strings that an ObjectId or a whole number could be told as are neither.
        (RawBsonRef::String(text), Form::Any | Form::ObjectId) if is_plain_text(text) => {
            return Value::text(text);
        }
        (RawBsonRef::String(_), Form::Any | Form::ObjectId | Form::Json) => None,
        (_, Form::Any | Form::ObjectId) => {
            Some(read(value, Form::Int { narrow: false })).filter(|is| matches!(is, Value::Int(_)))
        }
        _ => {
            Some(read(value, form)).filter(|is| Some(is.type_name()) == form.kind().map(Type::name))
        }
    };
    told.unwrap_or_else(|| foreign(value, form))
}

/// Whether a string is no text of an ObjectId or a whole number.
fn is_plain_text(text: &str) -> bool {
    let number: Option<i64> = text.parse().ok();
    ObjectId::parse_str(text).is_err() && number.is_none_or(|number| number.to_string() != text)
}

/// An `_id` that is not of its column's form, for whoever looks at it in quarantine.
fn foreign(value: RawBsonRef<'_>, form: Form) -> Value {
    let text = json::text(value).unwrap_or_else(|why| why.to_string());
    let why = format!("an `_id` of another type than the others: {text}");
    match form {
        Form::Bytes => Value::Text(why),
        // No type but bytes itself takes these bytes.
        _ => Value::Bytes(why.into_bytes()),
    }
}

/// What a value is by itself.
fn plain(value: RawBsonRef<'_>, form: Form) -> Value {
    match value {
        RawBsonRef::Null => Value::Null,
        RawBsonRef::Boolean(flag) => Value::Bool(flag),
        RawBsonRef::Int32(number) => Value::Int(number.into()),
        RawBsonRef::Int64(number) => Value::Int(number),
        RawBsonRef::Double(number) => Value::Float(number),
        RawBsonRef::String(text) => Value::text(text),
        RawBsonRef::DateTime(at) => match Timestamp::from_millisecond(at.timestamp_millis()) {
            Ok(at) => Value::Timestamp(at),
            Err(_) => as_json(value, form),
        },
        RawBsonRef::Decimal128(number) => match number.to_string().parse() {
            Ok(number) => Value::Decimal(number),
            // Not a number, or none that ends.
            Err(_) => as_json(value, form),
        },
        RawBsonRef::Binary(binary) => match (binary.subtype, Uuid::from_slice(binary.bytes)) {
            (BinarySubtype::Generic, _) => Value::Bytes(binary.bytes.to_vec()),
            (BinarySubtype::Uuid, Ok(id)) => Value::Uuid(id),
            _ => as_json(value, form),
        },
        _ => as_json(value, form),
    }
}

fn as_json(value: RawBsonRef<'_>, form: Form) -> Value {
    match json::text(value) {
        Ok(text) => Value::Json(text.into()),
        Err(why) => unfit(form, &why.to_string()),
    }
}

/// A value that a column of the form can never hold, with the reason for whoever looks at it in quarantine.
pub(crate) fn unfit(form: Form, why: &str) -> Value {
    match form {
        Form::Bool | Form::Int { .. } | Form::Float | Form::Decimal => Value::text(why),
        Form::Bytes | Form::Uuid | Form::Date | Form::Timestamp => Value::text(why),
        Form::Any | Form::Text | Form::ObjectId | Form::Time | Form::Json => {
            Value::Bytes(why.as_bytes().to_vec())
        }
    }
}

/// Whether a double holds a whole number, and every one below it.
fn is_exact(number: i64) -> bool {
    number.unsigned_abs() <= DOUBLE_EXACT
}

fn whole(number: f64) -> Option<i64> {
    let exact = number.fract() == 0.0 && number.abs() <= DOUBLE_EXACT as f64;
    exact.then_some(number as i64)
}

fn midnight(at: DateTime) -> Option<Date> {
    let at = Timestamp::from_millisecond(at.timestamp_millis()).ok()?;
    let at = at.to_zoned(TimeZone::UTC).datetime();
    (at.time() == Time::midnight()).then(|| at.date())
}

/// The field's value for a column of a form.
///
/// # Errors
/// What MongoDB cannot hold without loss, in words without the value.
pub(crate) fn write(value: &Value, form: Form) -> Result<Bson, &'static str> {
    match (value, form) {
        (Value::Int(number), Form::Int { narrow: true }) => Ok(parse::narrow(*number)),
        (Value::Int(number), Form::Decimal) => decimal(&(*number).into()),
        (Value::Int(number), Form::Float) if is_exact(*number) => Ok(Bson::Double(*number as f64)),
        (Value::Text(text), Form::ObjectId) => ObjectId::parse_str(text)
            .map(Bson::ObjectId)
            .map_err(|_| "it is not an ObjectId, which has 24 hexadecimal digits"),
        _ => write_plain(value),
    }
}

/// The field's value where nothing may be refused: what a reader is asked to look for.
pub(crate) fn sought(value: &Value, form: Form) -> Option<Bson> {
    write(value, form).or_else(|_| write_plain(value)).ok()
}

/// The `_id` that [`identity`] told as a value.
pub(crate) fn sought_id(value: &Value, form: Form) -> Option<Bson> {
    match (value, form) {
        (Value::Text(text), Form::Any | Form::ObjectId) if !is_plain_text(text) => {
            let id = ObjectId::parse_str(text).map(Bson::ObjectId).ok();
            id.or_else(|| text.parse().map(Bson::Int64).ok())
        }
        _ => sought(value, form),
    }
}

fn write_plain(value: &Value) -> Result<Bson, &'static str> {
    Ok(match value {
        Value::Null => Bson::Null,
        Value::Bool(flag) => Bson::Boolean(*flag),
        Value::Int(number) => Bson::Int64(*number),
        Value::Decimal(number) => return decimal(number),
        Value::Float(number) => Bson::Double(*number),
        Value::Text(text) => Bson::String(text.clone()),
        Value::Bytes(bytes) => binary(BinarySubtype::Generic, bytes),
        Value::Uuid(id) => binary(BinarySubtype::Uuid, id.as_bytes()),
        Value::Date(day) => {
            let start = day.to_zoned(TimeZone::UTC);
            let start = start.map_err(|_| "the date is out of range")?;
            date(start.timestamp())?
        }
        Value::Time(time) => Bson::String(time.to_string()),
        Value::Timestamp(at) => date(*at)?,
        Value::Json(text) => return parse::value(text),
    })
}

fn binary(subtype: BinarySubtype, bytes: &[u8]) -> Bson {
    Bson::Binary(Binary {
        subtype,
        bytes: bytes.to_vec(),
    })
}

fn date(at: Timestamp) -> Result<Bson, &'static str> {
    let millis = at.as_millisecond();
    let kept = Timestamp::from_millisecond(millis).ok();
    if kept != Some(at) {
        return Err(
            "MongoDB's dates hold milliseconds, and the time has more digits: round it at its source, or map it to a text column",
        );
    }
    Ok(Bson::DateTime(DateTime::from_millis(millis)))
}

fn decimal(number: &Decimal) -> Result<Bson, &'static str> {
    let digits = number.as_str().trim_start_matches('-');
    let significant = digits.bytes().filter(u8::is_ascii_digit);
    let count = significant.skip_while(|digit| *digit == b'0').count();
    if count <= DIGITS_MAX
        && let Ok(exact) = number.as_str().parse::<Decimal128>()
    {
        return Ok(Bson::Decimal128(exact));
    }
    // Zeros at the end say nothing but a scale.
    let big = number.to_big().normalized();
    let text = big.to_scientific_notation();
    let exact = text.parse::<Decimal128>();
    let exact = exact.map_err(|_| "it has more digits than a Decimal128 holds, which are 34")?;
    let kept: Option<Decimal> = exact.to_string().parse().ok();
    if kept.as_ref() != Some(number) {
        return Err("it has more digits than a Decimal128 holds, which are 34");
    }
    Ok(Bson::Decimal128(exact))
}

/// When a change was committed, by the server's clock.
pub(crate) fn committed_at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis)
        .or_else(|_| Timestamp::UNIX_EPOCH.round(Unit::Second))
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
