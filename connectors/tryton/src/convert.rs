//! Values to and from the JSON that Tryton speaks: pure, exact, and total over whatever comes.
//!
//! Decimals travel as text, instants in parts and in UTC without saying so.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use lockstep_core::{Decimal, Error, Result, Row, Value};
use serde_json::{Value as Json, json};

use crate::model::{Field, Form, Model, Strip};

/// The row of some columns of a record.
pub(crate) fn row(model: &Model, columns: &[String], record: &Json) -> Result<Row> {
    let cells = columns.iter().map(|name| {
        let field = model.field(name)?;
        value(field.form, model.cell(record, name)).ok_or_else(|| {
            Error::unexpected(format!(
                "a record of `{}` holds in `{name}` what is no {}",
                model.name(),
                field.form.kind()
            ))
            .help("the model may have changed: discover it again")
        })
    });
    Ok(Row::of(cells.collect::<Result<Vec<_>>>()?))
}

/// What JSON of the server means; none for what the form cannot hold.
pub(crate) fn value(form: Form, json: &Json) -> Option<Value> {
    if json.is_null() {
        return Some(Value::Null);
    }
    Some(match form {
        // On SQLite the server gives numbers for them.
        Form::Bool => match json.as_i64() {
            Some(number @ 0..=1) => Value::Bool(number == 1),
            _ => Value::Bool(json.as_bool()?),
        },
        Form::Int | Form::Link => Value::Int(json.as_i64()?),
        Form::Float => Value::Float(json.as_f64()?),
        Form::Decimal { .. } => Value::Decimal(
            tagged(json, "Decimal")?
                .get("decimal")?
                .as_str()?
                .parse()
                .ok()?,
        ),
        Form::Text { .. } => Value::text(json.as_str()?),
        Form::Links | Form::Texts => Value::Json(ordered(json)?.to_string().into()),
        Form::Object => Value::Json(json.as_object().map(|_| json.to_string())?.into()),
        Form::Date => Value::Date(date(tagged(json, "date")?)?),
        Form::Time => Value::Time(time(tagged(json, "time")?)?),
        Form::DateTime | Form::Timestamp => {
            let parts = tagged(json, "datetime")?;
            let civil = DateTime::from_parts(date(parts)?, time(parts)?);
            Value::Timestamp(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
        }
        Form::Duration => {
            let seconds = tagged(json, "timedelta")?.get("seconds")?.as_f64()?;
            Value::Decimal(format!("{seconds}").parse().ok()?)
        }
        Form::Bytes => {
            let text = tagged(json, "bytes")?.get("base64")?.as_str()?;
            // Lines are broken every 76 characters.
            let joined: String = text.split_ascii_whitespace().collect();
            Value::Bytes(BASE64_STANDARD.decode(joined).ok()?)
        }
    })
}

/// What the server is told; the reason for what the field cannot hold.
pub(crate) fn json(field: &Field, value: &Value) -> Result<Json, String> {
    let wrong = || {
        let (name, kind) = (&field.name, field.form.kind());
        format!("column `{name}` takes {kind}, not {}", value.type_name())
    };
    Ok(match (field.form, value) {
        (_, Value::Null) => Json::Null,
        (Form::Bool, Value::Bool(v)) => json!(v),
        (Form::Int | Form::Link, Value::Int(v)) => json!(v),
        (Form::Float, Value::Float(v)) if v.is_finite() => json!(v),
        (Form::Float, Value::Int(v)) => json!(*v as f64),
        (Form::Decimal { .. }, Value::Decimal(v)) => decimal(v.as_str()),
        (Form::Decimal { .. }, Value::Int(v)) => decimal(&v.to_string()),
        (Form::Text { .. }, Value::Text(v)) => json!(stripped(field.strip, v)),
        (Form::Links | Form::Texts, Value::Json(v)) => {
            let parsed = serde_json::from_str(v).ok();
            parsed.as_ref().and_then(ordered).ok_or_else(wrong)?
        }
        (Form::Object, Value::Json(v)) => {
            let parsed: Option<Json> = serde_json::from_str(v).ok();
            parsed.filter(Json::is_object).ok_or_else(wrong)?
        }
        (Form::Date, Value::Date(v)) => parts(Some(*v), None),
        (Form::Time, Value::Time(v)) => parts(None, Some(*v)),
        (Form::DateTime | Form::Timestamp, Value::Timestamp(v)) => {
            let civil = v.to_zoned(TimeZone::UTC).datetime();
            let mut time = civil.time();
            if field.form == Form::DateTime {
                // Stored to the second; what is cut off here would be cut off there.
                time = Time::constant(time.hour(), time.minute(), time.second(), 0);
            }
            parts(Some(civil.date()), Some(time))
        }
        (Form::Duration, Value::Decimal(v)) => {
            let seconds: f64 = v.as_str().parse().map_err(|_| wrong())?;
            json!({ "__class__": "timedelta", "seconds": seconds })
        }
        (Form::Bytes, Value::Bytes(v)) => {
            json!({ "__class__": "bytes", "base64": BASE64_STANDARD.encode(v) })
        }
        _ => return Err(wrong()),
    })
}

/// A text as the server stores it.
pub(crate) fn stripped(strip: Strip, text: &str) -> Cow<'_, str> {
    Cow::Borrowed(match strip {
        Strip::No => text,
        Strip::Leading => text.trim_start(),
        Strip::Trailing => text.trim_end(),
        Strip::Both => text.trim(),
    })
}

/// A list of ids or texts in an order of its own: the server promises none.
fn ordered(json: &Json) -> Option<Json> {
    let list = json.as_array()?;
    if let Some(mut ids) = list.iter().map(Json::as_i64).collect::<Option<Vec<_>>>() {
        ids.sort_unstable();
        return Some(json!(ids));
    }
    let mut texts = list.iter().map(Json::as_str).collect::<Option<Vec<_>>>()?;
    texts.sort_unstable();
    Some(json!(texts))
}

/// Python writes large and small numbers with an exponent, and reads both.
fn decimal(text: &str) -> Json {
    json!({ "__class__": "Decimal", "decimal": text })
}

fn tagged<'a>(json: &'a Json, class: &str) -> Option<&'a Json> {
    (json.get("__class__")?.as_str()? == class).then_some(json)
}

fn date(parts: &Json) -> Option<Date> {
    let part = |name: &str| parts.get(name)?.as_i64();
    Date::new(
        i16::try_from(part("year")?).ok()?,
        i8::try_from(part("month")?).ok()?,
        i8::try_from(part("day")?).ok()?,
    )
    .ok()
}

fn time(parts: &Json) -> Option<Time> {
    let part = |name: &str| parts.get(name)?.as_i64();
    Time::new(
        i8::try_from(part("hour")?).ok()?,
        i8::try_from(part("minute")?).ok()?,
        i8::try_from(part("second")?).ok()?,
        i32::try_from(part("microsecond")?.checked_mul(1000)?).ok()?,
    )
    .ok()
}

fn parts(date: Option<Date>, time: Option<Time>) -> Json {
    let mut parts = serde_json::Map::new();
    let class = match (date, time) {
        (Some(_), Some(_)) => "datetime",
        (None, _) => "time",
        (_, None) => "date",
    };
    parts.insert("__class__".to_owned(), json!(class));
    if let Some(date) = date {
        parts.insert("year".to_owned(), json!(date.year()));
        parts.insert("month".to_owned(), json!(date.month()));
        parts.insert("day".to_owned(), json!(date.day()));
    }
    if let Some(time) = time {
        parts.insert("hour".to_owned(), json!(time.hour()));
        parts.insert("minute".to_owned(), json!(time.minute()));
        parts.insert("second".to_owned(), json!(time.second()));
        let micros = time.subsec_nanosecond() / 1000;
        parts.insert("microsecond".to_owned(), json!(micros));
    }
    Json::Object(parts)
}

/// Whether two numbers written out are the same; kept apart so that the rule is said once.
pub(crate) fn is_same(form: Form, a: &Value, b: &Value) -> bool {
    match (form, a, b) {
        (Form::Decimal { .. }, Value::Int(a), b) | (Form::Decimal { .. }, b, Value::Int(a)) => {
            *b == Value::Decimal(Decimal::from_units(*a, 0))
        }
        (Form::Object, Value::Json(a), Value::Json(b)) => {
            let parsed = |text: &str| serde_json::from_str::<Json>(text).ok();
            parsed(a) == parsed(b)
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::model;
    use proptest::prelude::*;

    #[test]
    fn values_come_as_they_are_written() {
        for (form, text, expected) in [
            (
                Form::Decimal { scale: None },
                r#"{"__class__":"Decimal","decimal":"12.5000"}"#,
                Value::Decimal("12.5000".parse().unwrap()),
            ),
            (
                Form::Date,
                r#"{"__class__":"date","year":2024,"month":2,"day":29}"#,
                Value::Date(jiff::civil::date(2024, 2, 29)),
            ),
            (
                Form::Timestamp,
                r#"{"__class__":"datetime","year":1970,"month":1,"day":1,"hour":0,"minute":0,"second":1,"microsecond":5}"#,
                Value::Timestamp(jiff::Timestamp::from_microsecond(1_000_005).unwrap()),
            ),
            (
                Form::Duration,
                r#"{"__class__":"timedelta","seconds":86400.5}"#,
                Value::Decimal("86400.5".parse().unwrap()),
            ),
            (
                Form::Bytes,
                "{\"__class__\":\"bytes\",\"base64\":\"aGF\\nsbG8=\\n\"}",
                Value::Bytes(b"hallo".to_vec()),
            ),
            (Form::Links, "[3,1,2]", Value::Json("[1,2,3]".into())),
            (
                Form::Texts,
                r#"["b","a"]"#,
                Value::Json(r#"["a","b"]"#.into()),
            ),
            (Form::Link, "7", Value::Int(7)),
            (Form::Bool, "null", Value::Null),
            (Form::Bool, "1", Value::Bool(true)),
        ] {
            let json: Json = serde_json::from_str(text).unwrap();
            assert_eq!(value(form, &json), Some(expected), "{text}");
        }
        for (form, text) in [
            (Form::Int, "1.5"),
            (
                Form::Date,
                r#"{"__class__":"date","year":2023,"month":2,"day":29}"#,
            ),
            (
                Form::Date,
                r#"{"__class__":"datetime","year":2023,"month":2,"day":1}"#,
            ),
            (Form::Decimal { scale: None }, "1.5"),
            (Form::Links, "[1,\"a\"]"),
        ] {
            let json: Json = serde_json::from_str(text).unwrap();
            assert_eq!(value(form, &json), None, "{text}");
        }
    }

    #[test]
    fn what_a_field_cannot_hold_is_refused_without_its_value() {
        let model = model(true);
        let field = |name: &str| model.field(name).unwrap();
        let refused = json(field("party"), &Value::text("secret")).unwrap_err();
        assert_eq!(refused, "column `party` takes int, not text");
        assert!(json(field("weight"), &Value::Float(f64::NAN)).is_err());
        assert_eq!(
            json(field("code"), &Value::text(" a ")).unwrap(),
            json!("a")
        );
        assert_eq!(
            json(field("name"), &Value::text(" a ")).unwrap(),
            json!(" a ")
        );
    }

    fn arbitrary() -> impl Strategy<Value = (&'static str, Value)> {
        prop_oneof![
            any::<bool>().prop_map(|v| ("active", Value::Bool(v))),
            any::<i64>().prop_map(|v| ("party", Value::Int(v))),
            (any::<i64>(), 0_u32..20)
                .prop_map(|(v, scale)| ("price", Value::Decimal(Decimal::from_units(v, scale)))),
            any::<f64>()
                .prop_filter("finite", |v| v.is_finite())
                .prop_map(|v| ("weight", Value::Float(v))),
            any::<String>().prop_map(|v| ("name", Value::text(v))),
            (-60_000_000_000_i64..250_000_000_000).prop_map(|v| (
                "at",
                Value::Timestamp(jiff::Timestamp::from_second(v).unwrap())
            )),
            (-60_000_000_000_000_000_i64..250_000_000_000_000_000).prop_map(|v| (
                "seen",
                Value::Timestamp(jiff::Timestamp::from_microsecond(v).unwrap())
            )),
            prop::collection::btree_set(any::<i32>(), 0..5)
                .prop_map(|v| ("tags", Value::Json(json!(v).to_string().into()))),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back((name, before) in arbitrary()) {
            let model = model(true);
            let field = model.field(name).unwrap();
            let json = json(field, &before).unwrap();
            // As it travels.
            let json: Json = serde_json::from_str(&json.to_string()).unwrap();
            prop_assert_eq!(value(field.form, &json), Some(before));
        }

        #[test]
        fn no_answer_panics(text in r#"(\{"__class__":"(date|datetime|time|Decimal|bytes|timedelta)","(year|decimal|base64|seconds)":[0-9"e.]{1,8}\}|[-0-9e.\[\]"]{0,9})"#) {
            if let Ok(json) = serde_json::from_str::<Json>(&text) {
                for form in [Form::Date, Form::Time, Form::Timestamp, Form::Decimal { scale: None }, Form::Bytes, Form::Duration, Form::Links, Form::Int] {
                    let _ = value(form, &json);
                }
            }
        }
    }
}
