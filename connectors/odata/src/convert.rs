//! OData's values and Lockstep's: in JSON, and as literals of addresses; pure.
//!
//! Numbers of more than 53 bits travel as texts (`IEEE754Compatible=true`); both forms are read.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE;
use jiff::Timestamp;
use jiff::civil::{Date, Time};
use lockstep_core::{Type, Value};
use lockstep_http_client::Json;

/// How values of a property stand in records and in addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `Edm.Boolean`.
    Bool,
    /// Whole numbers; whether they may need more than 53 bits.
    Int { is_wide: bool },
    /// `Edm.Decimal`.
    Decimal {
        precision: Option<u32>,
        /// Digits after the point; any number of them where absent.
        scale: Option<u32>,
    },
    /// `Edm.Double` and `Edm.Single`.
    Float,
    /// `Edm.String`.
    Text,
    /// `Edm.Binary`.
    Binary,
    /// `Edm.Date`.
    Date,
    /// `Edm.TimeOfDay`.
    Time,
    /// `Edm.DateTimeOffset`, with the digits of its seconds where the service says.
    Instant { precision: Option<u32> },
    /// `Edm.Guid`.
    Guid,
    /// `Edm.Duration`, kept as the text that it is.
    Duration,
    /// An enumeration of this name: the names of its members.
    Enum(String),
    /// Whatever has parts: collections, places, untyped values.
    Json { is_list: bool },
}

impl Form {
    /// The type of the column.
    pub(crate) fn kind(&self) -> Type {
        match self {
            Form::Bool => Type::Bool,
            Form::Int { .. } => Type::Int,
            Form::Decimal { precision, scale } => Type::Decimal {
                precision: *precision,
                scale: *scale,
            },
            Form::Float => Type::Float,
            Form::Text | Form::Duration | Form::Enum(_) => Type::Text,
            Form::Binary => Type::Bytes,
            Form::Date => Type::Date,
            Form::Time => Type::Time,
            Form::Instant { .. } => Type::Timestamp,
            Form::Guid => Type::Uuid,
            Form::Json { .. } => Type::Json,
        }
    }

    /// Whether services order by it as they compare it.
    pub(crate) fn is_ordered(&self) -> bool {
        matches!(
            self,
            Form::Int { .. }
                | Form::Decimal { .. }
                | Form::Text
                | Form::Date
                | Form::Time
                | Form::Instant { .. }
        )
    }

    /// What it takes, for messages.
    fn takes(&self) -> &'static str {
        match self {
            Form::Bool => "true or false",
            Form::Int { .. } => "whole numbers",
            Form::Decimal { .. } => "exact numbers",
            Form::Float => "numbers",
            Form::Text | Form::Enum(_) => "text",
            Form::Duration => "durations such as PT1H",
            Form::Binary => "bytes",
            Form::Date => "days",
            Form::Time => "times of day",
            Form::Instant { .. } => "instants",
            Form::Guid => "UUIDs",
            Form::Json { .. } => "documents",
        }
    }
}

/// The value of a property; what is not of its type is given as the text that it is.
pub(crate) fn read(value: &Json, form: &Form) -> Value {
    if value.is_null() {
        return Value::Null;
    }
    let Some(text) = value.plain().filter(|_| !matches!(form, Form::Json { .. })) else {
        return Value::Json(value.to_string().into());
    };
    parse(&text, form).unwrap_or(Value::Text(text))
}

fn parse(text: &str, form: &Form) -> Option<Value> {
    Some(match form {
        Form::Bool => Value::Bool(text.parse().ok()?),
        Form::Int { .. } => Value::Int(text.parse().ok()?),
        Form::Decimal { .. } => Value::Decimal(text.parse().ok()?),
        Form::Float => Value::Float(match text {
            "INF" => f64::INFINITY,
            "-INF" => f64::NEG_INFINITY,
            "NaN" => f64::NAN,
            number => number
                .parse()
                .ok()
                .filter(|number: &f64| number.is_finite())?,
        }),
        Form::Text | Form::Duration | Form::Enum(_) => Value::text(text),
        Form::Binary => {
            // Some services write the other alphabet, or leave the padding out.
            let plain = text.trim_end_matches('=').replace('+', "-");
            let padded = plain.replace('/', "_");
            let bytes = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(padded);
            Value::Bytes(bytes.ok()?)
        }
        Form::Date => Value::Date(text.parse::<Date>().ok()?),
        Form::Time => Value::Time(text.parse::<Time>().ok()?),
        Form::Instant { .. } => Value::Timestamp(text.parse::<Timestamp>().ok()?),
        Form::Guid => Value::Uuid(uuid::Uuid::parse_str(text).ok()?),
        Form::Json { .. } => Value::Json(text.into()),
    })
}

/// A value as the type that a property has, where it is one.
pub(crate) fn fit(value: &Value, form: &Form) -> Option<Value> {
    Some(match (value, form) {
        (Value::Null, _) => Value::Null,
        (Value::Int(number), Form::Decimal { .. }) => Value::Decimal((*number).into()),
        (Value::Decimal(number), Form::Int { .. }) => Value::Int(number.to_units(0)?),
        (Value::Json(text), Form::Json { .. }) => document(text)?,
        (Value::Text(text), Form::Json { .. }) => document(text)?,
        (Value::Text(text), form) => parse(text, form)?,
        (Value::Uuid(id), Form::Text) => Value::text(id.to_string()),
        (Value::Int(_) | Value::Bool(_) | Value::Decimal(_), Form::Text) => {
            Value::text(value.to_string())
        }
        (Value::Date(_) | Value::Time(_) | Value::Timestamp(_), Form::Text) => {
            Value::text(value.to_string())
        }
        (value, form) if value.type_name() == form.kind().name() => value.clone(),
        _ => return None,
    })
}

fn document(text: &str) -> Option<Value> {
    let document = Json::parse(text.as_bytes()).ok()?;
    Some(Value::Json(document.to_string().into()))
}

/// A value as it is sent.
///
/// # Errors
/// Why it cannot stand in the column, without the value.
pub(crate) fn write(value: &Value, column: &str, form: &Form) -> Result<Json, String> {
    let value = fit(value, form).ok_or_else(|| format!("`{column}` takes {}", form.takes()))?;
    let text = |text: String| Ok(Json::Text(text));
    match (&value, form) {
        (Value::Null, _) => Ok(Json::Null),
        (Value::Bool(is), _) => Ok(Json::Bool(*is)),
        (Value::Int(number), Form::Int { is_wide: false }) => {
            Ok(Json::Number(number.to_string().into()))
        }
        (Value::Decimal(number), Form::Decimal { scale, .. }) => {
            let is_exact = scale.is_none_or(|scale| number.rescale(scale).is_some());
            if !is_exact {
                let most = scale.unwrap_or_default();
                return Err(format!("`{column}` takes {most} digits after the point"));
            }
            text(number.to_string())
        }
        (Value::Float(number), _) if number.is_finite() => {
            Ok(Json::Number(format!("{number:?}").into()))
        }
        (Value::Timestamp(at), Form::Instant { precision }) => match precision {
            Some(most) if trimmed(*at) > *most => {
                Err(format!("`{column}` takes {most} digits of a second"))
            }
            _ => text(instant(*at)),
        },
        (Value::Json(document), _) => Json::parse(document.as_bytes())
            .map_err(|_| format!("`{column}` takes {}", form.takes())),
        (value, _) => text(plain(value)),
    }
}

/// A value as a literal in an address, not yet encoded; none where the property cannot hold it.
pub(crate) fn literal(value: &Value, form: &Form) -> Option<String> {
    let value = fit(value, form)?;
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    Some(match (&value, form) {
        (Value::Null, _) => "null".to_owned(),
        (_, Form::Json { .. }) => return None,
        (Value::Text(text), Form::Text) => quoted(text),
        (Value::Text(text), Form::Duration) => format!("duration{}", quoted(text)),
        (Value::Text(text), Form::Enum(name)) => format!("{name}{}", quoted(text)),
        (Value::Bytes(_), _) => format!("binary{}", quoted(&plain(&value))),
        (value, _) => plain(value),
    })
}

/// The text of a value, as JSON and addresses share it.
fn plain(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) => BASE64_URL_SAFE.encode(bytes),
        Value::Timestamp(at) => instant(*at),
        Value::Time(time) => {
            let fraction = format!("{:09}", time.subsec_nanosecond());
            let fraction = fraction.trim_end_matches('0');
            let (h, m, s) = (time.hour(), time.minute(), time.second());
            let dot = if fraction.is_empty() { "" } else { "." };
            format!("{h:02}:{m:02}:{s:02}{dot}{fraction}")
        }
        Value::Float(number) if number.is_nan() => "NaN".to_owned(),
        Value::Float(number) if number.is_infinite() => {
            if *number > 0.0 { "INF" } else { "-INF" }.to_owned()
        }
        Value::Float(number) => format!("{number:?}"),
        other => other.to_string(),
    }
}

/// An instant whose fraction has a number of digits that every service reads.
fn instant(at: Timestamp) -> String {
    let fraction = fraction(at);
    let dot = if fraction.is_empty() { "" } else { "." };
    let whole = at.to_zoned(jiff::tz::TimeZone::UTC);
    format!("{}{dot}{fraction}Z", whole.strftime("%Y-%m-%dT%H:%M:%S"))
}

fn fraction(at: Timestamp) -> String {
    let zoned = at.to_zoned(jiff::tz::TimeZone::UTC);
    let digits = format!("{:09}", zoned.subsec_nanosecond());
    let length = match trimmed(at) {
        0 => 0,
        1..=3 => 3,
        4..=6 => 6,
        7 => 7,
        _ => 9,
    };
    digits[..length].to_owned()
}

/// How many digits of a second an instant needs.
fn trimmed(at: Timestamp) -> u32 {
    let zoned = at.to_zoned(jiff::tz::TimeZone::UTC);
    let digits = format!("{:09}", zoned.subsec_nanosecond());
    digits.trim_end_matches('0').len() as u32
}

/// Whether a property holds a value already.
pub(crate) fn is_same(held: &Json, wanted: &Value, form: &Form) -> bool {
    match (read(held, form), fit(wanted, form)) {
        (Value::Json(held), Some(Value::Json(wanted))) => {
            let read = |text: &str| Json::parse(text.as_bytes()).ok();
            read(&held) == read(&wanted)
        }
        (held, Some(wanted)) => held == wanted,
        (_, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use lockstep_core::Decimal;
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Value {
        Value::Decimal(text.parse::<Decimal>().unwrap())
    }

    const MONEY: Form = Form::Decimal {
        precision: Some(15),
        scale: Some(2),
    };
    const WIDE: Form = Form::Int { is_wide: true };
    const AT: Form = Form::Instant { precision: Some(7) };

    #[test]
    fn values_are_read_as_their_types() {
        let text = |text: &str| Json::Text(text.to_owned());
        for (json, form, expected) in [
            (text("12.50"), MONEY, decimal("12.50")),
            (Json::Number("12.50".into()), MONEY, decimal("12.50")),
            (
                text("9007199254740993"),
                WIDE,
                Value::Int(9_007_199_254_740_993),
            ),
            (text("_-8="), Form::Binary, Value::Bytes(vec![255, 239])),
            (text("/+8"), Form::Binary, Value::Bytes(vec![255, 239])),
            (text("PT1H"), Form::Duration, Value::text("PT1H")),
            (text("soon"), AT, Value::text("soon")),
            (text(""), Form::Text, Value::text("")),
            (Json::Null, Form::Text, Value::Null),
        ] {
            assert_eq!(read(&json, &form), expected);
        }
        let nan = read(&text("NaN"), &Form::Float);
        assert!(matches!(nan, Value::Float(number) if number.is_nan()));
    }

    #[test]
    fn literals_are_those_of_the_grammar() {
        let at = |text: &str| Value::Timestamp(text.parse().unwrap());
        let id = "ee1a9172-f3c3-47ce-b0f7-dd28c740210c";
        for (value, form, expected) in [
            (
                Value::text("O'Neil & co"),
                Form::Text,
                Some("'O''Neil & co'"),
            ),
            (Value::Int(5), WIDE, Some("5")),
            (decimal("1.50"), MONEY, Some("1.50")),
            (Value::text(id.to_uppercase()), Form::Guid, Some(id)),
            (Value::text("x"), Form::Guid, None),
            (
                Value::text("Red"),
                Form::Enum("a.Color".to_owned()),
                Some("a.Color'Red'"),
            ),
            (Value::text("PT1S"), Form::Duration, Some("duration'PT1S'")),
            (Value::Bytes(vec![255]), Form::Binary, Some("binary'_w=='")),
            (at("2024-05-06T07:08:09Z"), AT, Some("2024-05-06T07:08:09Z")),
            (
                at("2024-05-06T07:08:09.12Z"),
                AT,
                Some("2024-05-06T07:08:09.120Z"),
            ),
            (
                Value::Time("07:08:00.5".parse().unwrap()),
                Form::Time,
                Some("07:08:00.5"),
            ),
            (Value::Float(1.5), Form::Float, Some("1.5")),
        ] {
            assert_eq!(literal(&value, &form).as_deref(), expected, "{value:?}");
        }
    }

    #[test]
    fn what_would_lose_digits_is_refused_without_its_value() {
        let why = write(&decimal("1.005"), "Price", &MONEY).unwrap_err();
        assert_eq!(why, "`Price` takes 2 digits after the point");
        let at = Value::Timestamp("2024-05-06T07:08:09.123Z".parse().unwrap());
        let seconds = Form::Instant { precision: Some(0) };
        assert!(write(&at, "At", &seconds).is_err());
        let why = write(&Value::text("a lot"), "Price", &MONEY).unwrap_err();
        assert!(!why.contains("a lot"), "{why}");
        let wide = write(&Value::Int(i64::MAX), "N", &WIDE).unwrap();
        assert_eq!(wide.as_str(), Some("9223372036854775807"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(text in any::<String>(), number: i64, bytes: Vec<u8>, nanos in 0_i64..4_000_000_000_000_000_000) {
            let at = Timestamp::from_nanosecond(i128::from(nanos)).unwrap();
            let any = Form::Instant { precision: None };
            for (value, form) in [
                (Value::text(&text), Form::Text),
                (Value::Int(number), WIDE),
                (Value::Decimal(Decimal::from_units(number, 2)), MONEY),
                (Value::Bytes(bytes), Form::Binary),
                (Value::Timestamp(at), any),
                (Value::Uuid(uuid::Uuid::from_u128(number as u128)), Form::Guid),
            ] {
                let written = write(&value, "x", &form).unwrap();
                prop_assert_eq!(read(&written, &form), value.clone());
                prop_assert!(is_same(&written, &value, &form));
                prop_assert!(literal(&value, &form).is_some());
            }
        }
    }
}
