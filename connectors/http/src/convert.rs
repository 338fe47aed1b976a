//! Records of an API ↔ rows; pure. No message of this module quotes a value.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use lockstep_core::{Column, Decimal, Error, Result, Row, Shape, Type, Value};
use lockstep_http_client::Json;

use crate::describe::{Field, Format, Table};

/// A table whose types were read: its shape, and the fields in the order of its columns.
#[derive(Debug)]
pub(crate) struct Columns {
    pub(crate) shape: Shape,
    fields: Vec<(Field, Type)>,
}

/// The type that a word of a description names.
pub(crate) fn kind(word: &str) -> Option<Type> {
    Some(match word.trim() {
        "text" => Type::Text,
        "int" => Type::Int,
        "decimal" => Type::DECIMAL,
        "float" => Type::Float,
        "bool" => Type::Bool,
        "date" => Type::Date,
        "time" => Type::Time,
        "timestamp" => Type::Timestamp,
        "uuid" => Type::Uuid,
        "bytes" => Type::Bytes,
        "json" => Type::Json,
        word => {
            let inner = word.strip_prefix("decimal(")?.strip_suffix(')')?;
            let (precision, scale) = inner.split_once(',')?;
            let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
            if precision == 0 || scale > precision {
                return None;
            }
            Type::Decimal {
                precision: Some(precision),
                scale: Some(scale),
            }
        }
    })
}

impl Columns {
    pub(crate) fn of(name: &str, table: &Table) -> Result<Columns> {
        let mut columns = Vec::new();
        let mut fields = Vec::new();
        for (column, field) in &table.fields {
            let kind = kind(&field.kind).ok_or_else(|| {
                Error::config(format!("field `{column}` has no type `{}`", field.kind))
            })?;
            let nullable = !field.required && !table.key.contains(column);
            columns.push(Column::new(column, kind, nullable));
            fields.push((field.clone(), kind));
        }
        let position = |key: &String| {
            let position = columns.iter().position(|column| column.name == *key);
            position.ok_or_else(|| Error::config(format!("`{key}` is no field of `{name}`")))
        };
        let key = table.key.iter().map(position).collect::<Result<_>>()?;
        Ok(Columns {
            shape: Shape {
                name: name.to_owned(),
                columns,
                key,
            },
            fields,
        })
    }

    /// A record as a row with every column.
    pub(crate) fn read(&self, record: &Json) -> Result<Row> {
        let mut values = Vec::with_capacity(self.fields.len());
        for (column, (field, kind)) in self.shape.columns.iter().zip(&self.fields) {
            let found = record.at(field.at.as_deref().unwrap_or(&column.name));
            let value = found.map_or(Some(Value::Null), |json| read(json, *kind, field.format));
            values.push(value.ok_or_else(|| {
                let found = found.map_or("nothing", Json::type_name);
                Error::invalid(format!(
                    "field `{}` of `{}` is a {found} that is no {kind}",
                    column.name, self.shape.name
                ))
                .help("say another `type` or `format` of the field in the description")
            })?);
        }
        Ok(Row::of(values))
    }

    /// The values of the key columns of a row; none where one is null.
    pub(crate) fn key(&self, row: &Row, key: &[usize]) -> Option<Vec<Value>> {
        key.iter()
            .map(|column| row.value(*column).filter(|value| !value.is_null()).cloned())
            .collect()
    }

    /// The body of a call that writes these columns.
    pub(crate) fn body(
        &self,
        values: &[(usize, &Value)],
        envelope: &str,
        fixed: &BTreeMap<String, serde_json::Value>,
    ) -> Result<Json> {
        let mut body = Json::Object(Vec::new());
        for (name, value) in fixed {
            let parsed = Json::parse(value.to_string().as_bytes());
            put(&mut body, name, parsed.unwrap_or(Json::Null));
        }
        if values.is_empty() && !envelope.is_empty() && fixed.is_empty() {
            put(&mut body, envelope, Json::Object(Vec::new()));
        }
        for (column, value) in values {
            let (field, _) = &self.fields[*column];
            let name = &self.shape.columns[*column].name;
            let at = field.at.as_deref().unwrap_or(name);
            let path = if envelope.is_empty() {
                at.to_owned()
            } else {
                format!("{envelope}.{at}")
            };
            put(&mut body, &path, write(value, field)?);
        }
        Ok(body)
    }

    /// Whether a column may be written.
    pub(crate) fn is_writable(&self, column: usize) -> bool {
        !self.fields[column].0.read_only
    }
}

fn read(json: &Json, kind: Type, format: Format) -> Option<Value> {
    let text = json.as_str();
    Some(match (kind, json) {
        (Type::Json, Json::Null) | (_, Json::Null) => Value::Null,
        (Type::Json, json) => Value::Json(json.to_string().into()),
        (Type::Text, json) => Value::Text(json.plain()?),
        (Type::Bool, json) => match (json.as_bool(), text) {
            (Some(truth), _) => Value::Bool(truth),
            (_, Some("true")) => Value::Bool(true),
            (_, Some("false")) => Value::Bool(false),
            _ => return None,
        },
        (Type::Int, json) => Value::Int(whole(&json.plain()?)?),
        (Type::Decimal { .. }, Json::Bool(_)) => return None,
        (Type::Decimal { .. }, json) => Value::Decimal(json.plain()?.parse().ok()?),
        (Type::Float, Json::Bool(_)) => return None,
        (Type::Float, json) => Value::Float(json.plain()?.parse().ok()?),
        (Type::Bytes, _) => Value::Bytes(BASE64_STANDARD.decode(text?).ok()?),
        (Type::Date, _) => Value::Date(text?.parse().ok()?),
        (Type::Time, _) => Value::Time(text?.parse().ok()?),
        (Type::Uuid, _) => Value::Uuid(text?.parse().ok()?),
        (Type::Timestamp, json) => Value::Timestamp(instant(&json.plain()?, format)?),
    })
}

/// A whole number, also one that is written with zeros behind a point.
fn whole(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| {
        let decimal: Decimal = text.parse().ok()?;
        decimal.to_units(0)
    })
}

fn instant(text: &str, format: Format) -> Option<Timestamp> {
    let units = |scale: u32| {
        text.parse::<Decimal>()
            .ok()?
            .rescale(scale)?
            .to_units(scale)
    };
    match format {
        Format::Rfc3339 => text.parse().ok(),
        Format::Utc => {
            let civil: DateTime = text.trim_end_matches('Z').parse().ok()?;
            Some(TimeZone::UTC.to_timestamp(civil).ok()?)
        }
        Format::Seconds => Timestamp::from_microsecond(units(6)?).ok(),
        Format::Millis => Timestamp::from_microsecond(units(3)?).ok(),
    }
}

fn write(value: &Value, field: &Field) -> Result<Json> {
    let number = |text: String| {
        if field.quoted {
            Json::Text(text)
        } else {
            Json::Number(text.into())
        }
    };
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Int(int) => number(int.to_string()),
        Value::Decimal(decimal) => number(decimal.to_string()),
        Value::Float(float) if float.is_finite() => number(float.to_string()),
        Value::Float(_) => return Err(Error::invalid("JSON has no number for a value")),
        Value::Bytes(bytes) => Json::Text(BASE64_STANDARD.encode(bytes)),
        Value::Json(text) => Json::parse(text.as_bytes())
            .map_err(|error| Error::invalid("a document is no JSON").because(error))?,
        Value::Timestamp(at) => match plain_instant(*at, field.format) {
            text if matches!(field.format, Format::Seconds | Format::Millis) => number(text),
            text => Json::Text(text),
        },
        other => Json::Text(other.to_string()),
    })
}

/// An instant as a format writes it.
pub(crate) fn plain_instant(at: Timestamp, format: Format) -> String {
    match format {
        Format::Rfc3339 => at.to_string(),
        Format::Utc => TimeZone::UTC.to_datetime(at).to_string(),
        Format::Seconds => Decimal::from_units(at.as_microsecond(), 6)
            .rescale(0)
            .map_or_else(
                || Decimal::from_units(at.as_microsecond(), 6).to_string(),
                |d| d.to_string(),
            ),
        Format::Millis => Decimal::from_units(at.as_microsecond(), 3)
            .rescale(0)
            .map_or_else(
                || Decimal::from_units(at.as_microsecond(), 3).to_string(),
                |d| d.to_string(),
            ),
    }
}

/// Puts a value under names joined by dots, making objects on the way.
fn put(body: &mut Json, path: &str, value: Json) {
    let Json::Object(members) = body else {
        *body = Json::Object(Vec::new());
        return put(body, path, value);
    };
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let position = members.iter().position(|(name, _)| name == first);
    let position = position.unwrap_or_else(|| {
        members.push((first.to_owned(), Json::Object(Vec::new())));
        members.len() - 1
    });
    let place = &mut members[position].1;
    if rest.is_empty() {
        *place = value;
    } else {
        put(place, rest, value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(format: Format) -> Field {
        Field {
            kind: String::new(),
            at: None,
            format,
            required: false,
            read_only: false,
            quoted: false,
        }
    }

    #[test]
    fn values_are_read_exactly_or_not_at_all() {
        let parse = |text: &str| Json::parse(text.as_bytes()).unwrap();
        for (text, word, expected) in [
            ("12.50", "decimal(12,2)", Some("Decimal(Decimal(12.50))")),
            (r#""12.50""#, "decimal", Some("Decimal(Decimal(12.50))")),
            ("12.0", "int", Some("Int(12)")),
            ("12.5", "int", None),
            ("9223372036854775808", "int", None),
            ("null", "text", Some("Null")),
            (r#""""#, "text", Some(r#"Text("")"#)),
            ("17", "text", Some(r#"Text("17")"#)),
            (r#"{"b": 1.10}"#, "json", Some(r#"Json("{\"b\":1.10}")"#)),
            ("[1]", "text", None),
            (r#""true""#, "bool", Some("Bool(true)")),
            ("1", "bool", None),
            (
                r#""2024-05-01T12:00:00+02:00""#,
                "timestamp",
                Some("Timestamp(2024-05-01T10:00:00Z)"),
            ),
            (r#""2024-05-01 12:00:00""#, "timestamp", None),
            (r#""2024-05-01""#, "date", Some("Date(2024-05-01)")),
        ] {
            let kind = kind(word).unwrap();
            let value = read(&parse(text), kind, Format::Rfc3339);
            assert_eq!(
                value.map(|v| format!("{v:?}")).as_deref(),
                expected,
                "{text} as {word}"
            );
        }
        for word in ["", "string", "decimal(2,3)", "decimal(0,0)", "decimal(a,b)"] {
            assert!(kind(word).is_none(), "{word}");
        }
    }

    #[test]
    fn bodies_nest_what_has_a_path() {
        let mut body = Json::Object(Vec::new());
        put(&mut body, "data.a.b", Json::Bool(true));
        put(&mut body, "data.a.c", Json::Null);
        assert_eq!(body.to_string(), r#"{"data":{"a":{"b":true,"c":null}}}"#);
    }

    proptest! {
        #[test]
        fn instants_come_back_in_every_format(micros in -62_000_000_000_000_000_i64..250_000_000_000_000_000) {
            let at = Timestamp::from_microsecond(micros).unwrap();
            for format in [Format::Rfc3339, Format::Utc, Format::Seconds, Format::Millis] {
                let json = write(&Value::Timestamp(at), &field(format)).unwrap();
                prop_assert_eq!(read(&json, Type::Timestamp, format), Some(Value::Timestamp(at)));
            }
        }

        #[test]
        fn nothing_panics(text in ".{0,30}", number in "-?[0-9]{1,30}(\\.[0-9]{1,30})?(e[0-9]{1,4})?") {
            let jsons = [Json::Text(text), Json::Number(number.into())];
            let words = ["text", "int", "decimal", "float", "bool", "date", "time", "timestamp", "uuid", "bytes", "json"];
            for json in &jsons {
                for word in words {
                    for format in [Format::Rfc3339, Format::Utc, Format::Seconds, Format::Millis] {
                        let _ = read(json, kind(word).unwrap(), format);
                    }
                }
            }
        }
    }
}
