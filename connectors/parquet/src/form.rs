//! Columns of tables as columns of Parquet files: which type each has, which values it takes, and how they stand there.
//!
//! Nothing is rounded, cut or moved into a range: a value that its column cannot hold exactly is refused by name.

use jiff::civil::{Date, Time, date};
use jiff::{Span, Timestamp, Unit as Span_};
use lockstep_core::{Column, Decimal, Error, Result, Shape, Type, Value};
use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::schema::types::{Type as Schema, TypePtr};
use serde::de::IgnoredAny;

use crate::config::{Config, Unit};

/// The column that says what a row's change was.
pub(crate) const OPERATION: &str = "_operation";
/// The column that orders the rows of a key; no two rows of a lake share one.
pub(crate) const VERSION: &str = "_version";
/// The column that tells when the source committed the change.
pub(crate) const COMMITTED_AT: &str = "_committed_at";
/// The columns that every file has beside its table's.
pub(crate) const OWN: [&str; 3] = [OPERATION, VERSION, COMMITTED_AT];

/// Most digits of a decimal.
const DIGITS_MAX: u32 = 38;

/// The type of a column in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Bool,
    Int,
    Decimal { precision: u32, scale: u32 },
    Float,
    Text,
    Bytes,
    Date,
    Time,
    Timestamp(Unit),
    Uuid,
    Json,
}

/// Values of one column on their way into a file or out of one; nulls stand in the levels beside them.
#[derive(Debug)]
pub(crate) enum Buffer {
    Bool(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Double(Vec<f64>),
    Bytes(Vec<ByteArray>),
    Fixed(Vec<FixedLenByteArray>),
}

/// The columns that a new table has for these: of types that files hold.
///
/// # Errors
/// [`lockstep_core::Kind::Unsupported`] for a column that no file can hold exactly.
pub(crate) fn declared(config: &Config, column: &Column) -> Result<Column> {
    if OWN.contains(&column.name.as_str()) || column.name.is_empty() {
        return Err(Error::config(format!(
            "a table cannot have a column `{}`: every file has one of its own",
            column.name
        ))
        .help("map the field to a column of another name"));
    }
    let kind = match column.kind.unwrap_or(Type::Text) {
        Type::Decimal { precision, scale } => {
            let precision_ = precision.unwrap_or(config.decimal_precision);
            let scale = scale.unwrap_or(config.decimal_scale.min(precision_));
            if precision_ == 0 || precision_ > DIGITS_MAX || scale > precision_ {
                return Err(Error::unsupported(format!(
                    "column `{}` is decimal({precision_},{scale}), and files hold at most {DIGITS_MAX} digits exactly",
                    column.name
                ))
                .help("state fewer digits in the contract, or map the field to a text"));
            }
            Type::Decimal {
                precision: Some(precision_),
                scale: Some(scale),
            }
        }
        kind => kind,
    };
    Ok(Column {
        kind: Some(kind),
        ..column.clone()
    })
}

impl Form {
    /// The form of a declared column.
    pub(crate) fn of(kind: Option<Type>, timestamps: Unit) -> Form {
        match kind.unwrap_or(Type::Text) {
            Type::Bool => Form::Bool,
            Type::Int => Form::Int,
            Type::Decimal { precision, scale } => Form::Decimal {
                precision: precision.unwrap_or(DIGITS_MAX).min(DIGITS_MAX),
                scale: scale.unwrap_or_default().min(DIGITS_MAX),
            },
            Type::Float => Form::Float,
            Type::Text => Form::Text,
            Type::Bytes => Form::Bytes,
            Type::Date => Form::Date,
            Type::Time => Form::Time,
            Type::Timestamp => Form::Timestamp(timestamps),
            Type::Uuid => Form::Uuid,
            Type::Json => Form::Json,
        }
    }

    /// The value as the column holds it.
    ///
    /// # Errors
    /// Why it cannot be held exactly; without the value.
    pub(crate) fn fit(self, value: &Value) -> Result<Value, String> {
        let refused = |why: &str| Err(why.to_owned());
        Ok(match (self, value) {
            (_, Value::Null) => Value::Null,
            (Form::Int, Value::Decimal(number)) => match number.to_units(0) {
                Some(whole) => Value::Int(whole),
                None => return refused("the number is not whole, or takes more than 64 bits"),
            },
            (Form::Decimal { precision, scale }, Value::Int(_) | Value::Decimal(_)) => {
                let number = match value {
                    Value::Decimal(number) => number.clone(),
                    Value::Int(whole) => Decimal::from(*whole),
                    _ => return refused("it is no number"),
                };
                match number.rescale(scale) {
                    Some(exact) if exact.integer_digits() <= precision - scale => {
                        Value::Decimal(exact)
                    }
                    _ => {
                        return Err(format!(
                            "the number does not fit decimal({precision},{scale})"
                        ));
                    }
                }
            }
            (Form::Float, Value::Int(whole)) => {
                // Beyond 53 bits not every whole number is a double.
                if whole.unsigned_abs() > 1 << 53 {
                    return refused("the number has more digits than a double holds");
                }
                Value::Float(*whole as f64)
            }
            (Form::Text, Value::Json(text)) => Value::Text(text.to_string()),
            (Form::Json, Value::Text(text)) => {
                if serde_json::from_str::<IgnoredAny>(text).is_err() {
                    return refused("the text is no JSON");
                }
                Value::Json(text.as_str().into())
            }
            (Form::Time, Value::Time(time)) if time.subsec_nanosecond() % 1000 != 0 => {
                return refused("the time is finer than a microsecond");
            }
            (Form::Timestamp(unit), Value::Timestamp(at)) if units(*at, unit).is_none() => {
                return refused(match unit {
                    Unit::Micros => "the timestamp is finer than a microsecond",
                    Unit::Nanos => {
                        "the timestamp is not between 1677 and 2262, which nanoseconds reach"
                    }
                });
            }
            (Form::Bool, Value::Bool(_))
            | (Form::Int, Value::Int(_))
            | (Form::Float, Value::Float(_))
            | (Form::Text, Value::Text(_))
            | (Form::Bytes, Value::Bytes(_))
            | (Form::Date, Value::Date(_))
            | (Form::Time, Value::Time(_))
            | (Form::Timestamp(_), Value::Timestamp(_))
            | (Form::Uuid, Value::Uuid(_))
            | (Form::Json, Value::Json(_)) => value.clone(),
            (form, value) => {
                return Err(format!(
                    "a value of type {} does not fit a column of type {}",
                    value.type_name(),
                    form.name()
                ));
            }
        })
    }

    fn name(self) -> &'static str {
        match self {
            Form::Bool => "bool",
            Form::Int => "int",
            Form::Decimal { .. } => "decimal",
            Form::Float => "float",
            Form::Text => "text",
            Form::Bytes => "bytes",
            Form::Date => "date",
            Form::Time => "time",
            Form::Timestamp(_) => "timestamp",
            Form::Uuid => "uuid",
            Form::Json => "json",
        }
    }

    /// An empty buffer for the column's values.
    pub(crate) fn buffer(self) -> Buffer {
        match self {
            Form::Bool => Buffer::Bool(Vec::new()),
            Form::Date => Buffer::Int32(Vec::new()),
            Form::Int | Form::Time | Form::Timestamp(_) => Buffer::Int64(Vec::new()),
            Form::Decimal { precision, .. } if precision <= 18 => Buffer::Int64(Vec::new()),
            Form::Float => Buffer::Double(Vec::new()),
            Form::Text | Form::Bytes | Form::Json => Buffer::Bytes(Vec::new()),
            Form::Uuid | Form::Decimal { .. } => Buffer::Fixed(Vec::new()),
        }
    }

    /// Adds a value that fits; a null adds nothing, and says so.
    ///
    /// # Errors
    /// [`lockstep_core::Kind::Unexpected`] for a value that was not made to fit.
    pub(crate) fn push(self, buffer: &mut Buffer, value: &Value) -> Result<bool> {
        match (self, buffer, value) {
            (_, _, Value::Null) => return Ok(false),
            (Form::Bool, Buffer::Bool(to), Value::Bool(flag)) => to.push(*flag),
            (Form::Int, Buffer::Int64(to), Value::Int(whole)) => to.push(*whole),
            (Form::Float, Buffer::Double(to), Value::Float(number)) => to.push(*number),
            (Form::Date, Buffer::Int32(to), Value::Date(date)) => to.push(days(*date)),
            (Form::Time, Buffer::Int64(to), Value::Time(time)) => to.push(micros(*time)),
            (Form::Timestamp(unit), Buffer::Int64(to), Value::Timestamp(at)) => {
                to.push(units(*at, unit).ok_or_else(unfit)?);
            }
            (Form::Decimal { scale, .. }, Buffer::Int64(to), Value::Decimal(number)) => {
                to.push(number.to_units(scale).ok_or_else(unfit)?);
            }
            (Form::Decimal { scale, .. }, Buffer::Fixed(to), Value::Decimal(number)) => {
                let exact = number.rescale(scale).ok_or_else(unfit)?;
                let digits = exact.as_str().replace('.', "");
                let units: i128 = digits.parse().map_err(|_| unfit())?;
                to.push(units.to_be_bytes().to_vec().into());
            }
            (Form::Text, Buffer::Bytes(to), Value::Text(text)) => {
                to.push(text.clone().into_bytes().into());
            }
            (Form::Json, Buffer::Bytes(to), Value::Json(text)) => {
                to.push(text.as_bytes().to_vec().into());
            }
            (Form::Bytes, Buffer::Bytes(to), Value::Bytes(bytes)) => to.push(bytes.clone().into()),
            (Form::Uuid, Buffer::Fixed(to), Value::Uuid(id)) => {
                to.push(id.as_bytes().to_vec().into());
            }
            _ => return Err(unfit()),
        }
        Ok(true)
    }

    /// The value at a place of a buffer.
    ///
    /// # Errors
    /// [`lockstep_core::Kind::Unexpected`] for bytes that are no value of the column.
    pub(crate) fn value(self, buffer: &Buffer, at: usize) -> Result<Value> {
        let read = match (self, buffer) {
            (Form::Bool, Buffer::Bool(from)) => from.get(at).copied().map(Value::Bool),
            (Form::Int, Buffer::Int64(from)) => from.get(at).copied().map(Value::Int),
            (Form::Float, Buffer::Double(from)) => from.get(at).copied().map(Value::Float),
            (Form::Date, Buffer::Int32(from)) => from.get(at).and_then(|days| {
                let date = EPOCH.checked_add(Span::new().try_days(*days).ok()?);
                Some(Value::Date(date.ok()?))
            }),
            (Form::Time, Buffer::Int64(from)) => from.get(at).and_then(|micros| {
                let span = Span::new().try_microseconds(*micros).ok()?;
                Some(Value::Time(Time::midnight().checked_add(span).ok()?))
            }),
            (Form::Timestamp(unit), Buffer::Int64(from)) => from.get(at).and_then(|units| {
                let at = match unit {
                    Unit::Micros => Timestamp::from_microsecond(*units),
                    Unit::Nanos => Timestamp::from_nanosecond((*units).into()),
                };
                Some(Value::Timestamp(at.ok()?))
            }),
            (Form::Decimal { scale, .. }, Buffer::Int64(from)) => {
                let units = from.get(at).copied();
                units.map(|units| Value::Decimal(Decimal::from_units(units, scale)))
            }
            (Form::Decimal { scale, .. }, Buffer::Fixed(from)) => from.get(at).and_then(|bytes| {
                let units = i128::from_be_bytes(bytes.data().try_into().ok()?);
                Some(Value::Decimal(scaled(units, scale)?))
            }),
            (Form::Text, Buffer::Bytes(from)) => from
                .get(at)
                .and_then(|bytes| Some(Value::Text(bytes.as_utf8().ok()?.to_owned()))),
            (Form::Json, Buffer::Bytes(from)) => from
                .get(at)
                .and_then(|bytes| Some(Value::Json(bytes.as_utf8().ok()?.into()))),
            (Form::Bytes, Buffer::Bytes(from)) => from
                .get(at)
                .map(|bytes| Value::Bytes(bytes.data().to_vec())),
            (Form::Uuid, Buffer::Fixed(from)) => from
                .get(at)
                .and_then(|bytes| Some(Value::Uuid(uuid::Uuid::from_slice(bytes.data()).ok()?))),
            _ => None,
        };
        read.ok_or_else(|| {
            Error::unexpected(format!("a value is no {} of this table", self.name()))
        })
    }

    /// The column in a file's schema.
    fn schema(self, name: &str, repetition: Repetition) -> Result<TypePtr> {
        let (physical, logical, length) = match self {
            Form::Bool => (Physical::BOOLEAN, None, -1),
            Form::Int => (Physical::INT64, None, -1),
            Form::Float => (Physical::DOUBLE, None, -1),
            Form::Bytes => (Physical::BYTE_ARRAY, None, -1),
            Form::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String), -1),
            Form::Json => (Physical::BYTE_ARRAY, Some(LogicalType::Json), -1),
            Form::Date => (Physical::INT32, Some(LogicalType::Date), -1),
            Form::Time => {
                let logical = LogicalType::time(false, TimeUnit::MICROS);
                (Physical::INT64, Some(logical), -1)
            }
            Form::Timestamp(unit) => {
                let unit = match unit {
                    Unit::Micros => TimeUnit::MICROS,
                    Unit::Nanos => TimeUnit::NANOS,
                };
                (
                    Physical::INT64,
                    Some(LogicalType::timestamp(true, unit)),
                    -1,
                )
            }
            Form::Uuid => (Physical::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::Uuid), 16),
            Form::Decimal { precision, scale } => {
                let logical = LogicalType::decimal(scale.cast_signed(), precision.cast_signed());
                match precision {
                    ..=18 => (Physical::INT64, Some(logical), -1),
                    _ => (Physical::FIXED_LEN_BYTE_ARRAY, Some(logical), 16),
                }
            }
        };
        let mut builder = Schema::primitive_type_builder(name, physical)
            .with_repetition(repetition)
            .with_length(length)
            .with_logical_type(logical);
        if let Form::Decimal { precision, scale } = self {
            builder = builder
                .with_precision(precision.cast_signed())
                .with_scale(scale.cast_signed());
        }
        let built = builder.build().map_err(|error| {
            Error::unexpected(format!("column `{name}` cannot stand in a file")).because(error)
        })?;
        Ok(built.into())
    }
}

/// The schema of a table's files: its columns, then our own.
pub(crate) fn schema(shape: &Shape, forms: &[Form]) -> Result<TypePtr> {
    let mut fields = Vec::with_capacity(forms.len() + OWN.len());
    for (column, form) in shape.columns.iter().zip(forms) {
        // A delete says nothing of what is not null elsewhere.
        fields.push(form.schema(&column.name, Repetition::OPTIONAL)?);
    }
    for (name, form) in own() {
        fields.push(form.schema(name, Repetition::REQUIRED)?);
    }
    let built = Schema::group_type_builder("row")
        .with_fields(fields)
        .build();
    let built = built.map_err(|error| {
        Error::unexpected(format!("table `{}` cannot stand in a file", shape.name)).because(error)
    })?;
    Ok(built.into())
}

/// Our own columns and their forms.
pub(crate) fn own() -> [(&'static str, Form); 3] {
    [
        (OPERATION, Form::Text),
        (VERSION, Form::Int),
        (COMMITTED_AT, Form::Timestamp(Unit::Micros)),
    ]
}

const EPOCH: Date = date(1970, 1, 1);

fn days(date: Date) -> i32 {
    // Four digits of a year are four million days at most, either way.
    EPOCH
        .until((Span_::Day, date))
        .map_or(0, |span| span.get_days())
}

fn micros(time: Time) -> i64 {
    let seconds = i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60;
    (seconds + i64::from(time.second())) * 1_000_000 + i64::from(time.subsec_nanosecond() / 1000)
}

/// The instant in units, where it is a whole number of them.
fn units(at: Timestamp, unit: Unit) -> Option<i64> {
    match unit {
        Unit::Micros => (at.subsec_nanosecond() % 1000 == 0).then(|| at.as_microsecond()),
        Unit::Nanos => i64::try_from(at.as_nanosecond()).ok(),
    }
}

/// The instant in whole microseconds, as our own column holds it.
pub(crate) fn truncated(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

/// The day of an instant.
#[cfg(test)]
fn day(at: Timestamp) -> Date {
    at.to_zoned(jiff::tz::TimeZone::UTC).date()
}

fn scaled(units: i128, scale: u32) -> Option<Decimal> {
    let scale = scale as usize;
    let digits = format!("{:0width$}", units.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if units < 0 { "-" } else { "" };
    let dot = if scale > 0 { "." } else { "" };
    format!("{sign}{whole}{dot}{fraction}").parse().ok()
}

fn unfit() -> Error {
    Error::unexpected("a value was not made to fit its column")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn back(form: Form, value: &Value) -> Value {
        let fit = form.fit(value).unwrap();
        let mut buffer = form.buffer();
        assert!(form.push(&mut buffer, &fit).unwrap());
        form.value(&buffer, 0).unwrap()
    }

    proptest! {
        #[test]
        fn decimals_come_back_with_every_digit(units in any::<i64>(), more in 0u32..1_000_000_000, scale in 0u32..20) {
            let text = format!("{units}{more:09}.{:0width$}", more, width = scale.max(9) as usize);
            let number: Decimal = text.parse().unwrap();
            let form = Form::Decimal { precision: 38, scale: 9 };
            match form.fit(&Value::Decimal(number.clone())) {
                Ok(_) => assert_eq!(back(form, &Value::Decimal(number.clone())), Value::Decimal(number)),
                Err(_) => assert!(number.rescale(9).is_none_or(|n| n.integer_digits() > 29)),
            }
        }

        #[test]
        fn instants_and_days_come_back(micros in -60_000_000_000_000_000i64..250_000_000_000_000_000) {
            let at = Timestamp::from_microsecond(micros).unwrap();
            assert_eq!(back(Form::Timestamp(Unit::Micros), &Value::Timestamp(at)), Value::Timestamp(at));
            assert_eq!(back(Form::Date, &Value::Date(day(at))), Value::Date(day(at)));
            let time = at.to_zoned(jiff::tz::TimeZone::UTC).time();
            assert_eq!(back(Form::Time, &Value::Time(time)), Value::Time(time));
        }
    }

    #[test]
    fn what_a_column_cannot_hold_exactly_is_refused_by_what_it_is() {
        let number = |text: &str| Value::Decimal(text.parse().unwrap());
        let small = Form::Decimal {
            precision: 4,
            scale: 2,
        };
        for (form, value, why) in [
            (small, number("1.234"), "decimal(4,2)"),
            (small, number("123.4"), "decimal(4,2)"),
            (Form::Int, number("1.5"), "not whole"),
            (Form::Float, Value::Int(i64::MAX), "more digits"),
            (Form::Json, Value::text("{"), "no JSON"),
            (Form::Bool, Value::Int(1), "type int"),
            (
                Form::Timestamp(Unit::Micros),
                Value::Timestamp(Timestamp::from_nanosecond(1).unwrap()),
                "finer",
            ),
            (
                Form::Timestamp(Unit::Nanos),
                Value::Timestamp("2300-01-01T00:00:00Z".parse().unwrap()),
                "2262",
            ),
        ] {
            let said = form.fit(&value).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        assert_eq!(back(small, &number("-0.5")), number("-0.50"));
        assert_eq!(back(Form::Int, &number("7")), Value::Int(7));
        assert_eq!(back(Form::Text, &Value::text("")), Value::text(""));
    }
}
