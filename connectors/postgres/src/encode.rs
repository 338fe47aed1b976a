//! Lockstep's values → columns of values that a statement takes as arrays.
//!
//! A [`Values`] is one parameter: a whole column of a batch, in PostgreSQL's binary array form, so that a batch of any size is one statement with as many parameters as columns.
//! Types with a binary form of fixed width travel in it, everything else as text that the statement casts.
//! A value that the column could only hold altered (a fraction finer than a microsecond, a whole number out of range) is refused here, by name and without the value.
//! Pure: no connection.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use lockstep_core::diagnostic::a;
use lockstep_core::gate::cast::cast;
use lockstep_core::{Type, Value};
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo};
use sqlx::{Postgres, Type as SqlType};

use crate::array;
use crate::convert::oid;

/// How the values of a column are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoder {
    form: Form,
    kind: Type,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Bool,
    /// With the bounds of the column's type.
    Int(i64, i64),
    Float {
        single: bool,
    },
    Bytes,
    Uuid,
    Date,
    /// With the microseconds that are the column's finest step.
    Time(i64),
    Timestamp(i64),
    Timestamptz(i64),
    Text,
    Array(array::Element),
}

/// Microseconds from the Unix epoch to PostgreSQL's, which is 2000-01-01.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

impl Encoder {
    /// The encoder of a column, given the type that its domain (if it is one) is made of.
    pub(crate) fn for_type(oid: u32, typmod: i32, kind: Type) -> Encoder {
        let step = || match u32::try_from(typmod) {
            Ok(digits @ 0..=5) => 10_i64.pow(6 - digits),
            _ => 1,
        };
        let form = match oid {
            oid::BOOL => Form::Bool,
            oid::INT2 => Form::Int(i16::MIN.into(), i16::MAX.into()),
            oid::INT4 => Form::Int(i32::MIN.into(), i32::MAX.into()),
            oid::INT8 => Form::Int(i64::MIN, i64::MAX),
            oid::OID => Form::Int(0, u32::MAX.into()),
            oid::FLOAT4 => Form::Float { single: true },
            oid::FLOAT8 => Form::Float { single: false },
            oid::BYTEA => Form::Bytes,
            oid::UUID => Form::Uuid,
            oid::DATE => Form::Date,
            oid::TIME => Form::Time(step()),
            oid::TIMESTAMP => Form::Timestamp(step()),
            oid::TIMESTAMPTZ => Form::Timestamptz(step()),
            oid::JSON | oid::JSONB => Form::Text,
            _ if kind == Type::Json => Form::Array(array::Element::of(oid)),
            _ => Form::Text,
        };
        Encoder { form, kind }
    }

    /// The type of the parameter's elements, in SQL.
    pub(crate) fn parameter(&self) -> &'static str {
        match self.form {
            Form::Bool => "bool",
            Form::Int(..) => "int8",
            Form::Float { .. } => "float8",
            Form::Bytes => "bytea",
            Form::Uuid => "uuid",
            Form::Date => "date",
            Form::Time(_) => "time",
            Form::Timestamp(_) => "timestamp",
            Form::Timestamptz(_) => "timestamptz",
            Form::Text | Form::Array(_) => "text",
        }
    }

    /// Identifiers of the array type and of its elements.
    fn oids(&self) -> (u32, u32) {
        let element = match self.form {
            Form::Bool => oid::BOOL,
            Form::Int(..) => oid::INT8,
            Form::Float { .. } => oid::FLOAT8,
            Form::Bytes => oid::BYTEA,
            Form::Uuid => oid::UUID,
            Form::Date => oid::DATE,
            Form::Time(_) => oid::TIME,
            Form::Timestamp(_) => oid::TIMESTAMP,
            Form::Timestamptz(_) => oid::TIMESTAMPTZ,
            Form::Text | Form::Array(_) => oid::TEXT,
        };
        let array = oid::ARRAYS.iter().find(|(_, of)| *of == element);
        (array.map_or(0, |(array, _)| *array), element)
    }

    fn write(&self, value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
        match (self.form, value) {
            (_, Value::Null) => {}
            (Form::Bool, Value::Bool(flag)) => out.push(u8::from(*flag)),
            (Form::Int(low, high), Value::Int(number)) => {
                if !(low..=high).contains(number) {
                    return Err(format!("the number is not in {low} to {high}"));
                }
                out.extend(number.to_be_bytes());
            }
            (Form::Float { single }, Value::Float(number)) => {
                if single && !fits_single(*number) {
                    return Err("the number has more digits than a `real` keeps".to_owned());
                }
                out.extend(number.to_be_bytes());
            }
            (Form::Bytes, Value::Bytes(raw)) => out.extend(raw),
            (Form::Uuid, Value::Uuid(id)) => out.extend(id.as_bytes()),
            (Form::Date, Value::Date(date)) => out.extend(days(*date).to_be_bytes()),
            (Form::Time(step), Value::Time(time)) => {
                out.extend(stepped(time_nanos(*time), step)?.to_be_bytes());
            }
            (Form::Timestamp(step) | Form::Timestamptz(step), Value::Timestamp(at)) => {
                out.extend(instant(*at, step)?.to_be_bytes());
            }
            (Form::Array(element), Value::Json(json)) => {
                let text = array::from_json(json, element)
                    .map_err(|why| format!("the document is no array: {why}"))?;
                push_text(&text, out)?;
            }
            (Form::Text, Value::Text(text)) => push_text(text, out)?,
            (Form::Text, Value::Decimal(number)) => out.extend(number.as_str().as_bytes()),
            (Form::Text, Value::Json(json)) => push_text(json, out)?,
            (_, value) => return self.write_cast(value, out),
        }
        Ok(())
    }

    /// The gate gives values of the column's type; whoever else writes may give one that can become it.
    fn write_cast(&self, value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
        let unfit = || {
            format!(
                "{} cannot be {}",
                a(value.type_name()),
                a(&self.kind.to_string())
            )
        };
        let cast = cast(value.clone(), self.kind).map_err(|_| unfit())?;
        if cast.type_name() == value.type_name() {
            return Err(unfit());
        }
        self.write(&cast, out)
    }
}

fn push_text(text: &str, out: &mut Vec<u8>) -> Result<(), String> {
    if text.contains('\0') {
        return Err("the text holds a NUL character, which PostgreSQL cannot store".to_owned());
    }
    out.extend(text.as_bytes());
    Ok(())
}

/// Whether a single-precision column gives the same double again, as its shortest text.
fn fits_single(number: f64) -> bool {
    let single = number as f32;
    number.is_nan() || format!("{single}").parse() == Ok(number)
}

fn days(date: Date) -> i32 {
    let epoch = Date::constant(2000, 1, 1);
    (date - epoch).get_days()
}

fn time_nanos(time: Time) -> i128 {
    let seconds =
        i128::from(time.hour()) * 3600 + i128::from(time.minute()) * 60 + i128::from(time.second());
    seconds * 1_000_000_000 + i128::from(time.subsec_nanosecond())
}

fn instant(at: Timestamp, step: i64) -> Result<i64, String> {
    Ok(stepped(at.as_nanosecond(), step)? - EPOCH_MICROS)
}

/// Whole microseconds, of which `step` is the finest that the column keeps.
fn stepped(nanos: i128, step: i64) -> Result<i64, String> {
    let fail = || {
        let digits = 6 - step.ilog10();
        format!("the column keeps {digits} digits of a second, and the value has more")
    };
    if nanos % (i128::from(step) * 1000) != 0 {
        return Err(fail());
    }
    i64::try_from(nanos / 1000).map_err(|_| fail())
}

/// One column of a statement's rows: a parameter.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    array: u32,
    element: u32,
    count: i32,
    nulls: bool,
    body: Vec<u8>,
}

impl Values {
    /// An empty column.
    pub(crate) fn new(encoder: &Encoder) -> Values {
        let (array, element) = encoder.oids();
        Values {
            array,
            element,
            count: 0,
            nulls: false,
            body: Vec::new(),
        }
    }

    /// Adds a value; gives the bytes it takes.
    ///
    /// # Errors
    /// Says why the column cannot hold it, without the value; the column is as it was before.
    pub(crate) fn push(&mut self, encoder: &Encoder, value: &Value) -> Result<usize, String> {
        let start = self.body.len();
        if value.is_null() {
            self.nulls = true;
            self.body.extend((-1_i32).to_be_bytes());
        } else {
            self.body.extend([0; 4]);
            let written = encoder.write(value, &mut self.body);
            let length = i32::try_from(self.body.len() - start - 4);
            if let (Ok(()), Ok(length)) = (&written, length) {
                self.body[start..start + 4].copy_from_slice(&length.to_be_bytes());
            } else {
                self.body.truncate(start);
                return written.and(Err("the value is larger than a parameter can be".to_owned()));
            }
        }
        self.count += 1;
        Ok(self.body.len() - start)
    }

    /// The values one after another, each as its length and its bytes; a null has the length -1.
    pub(crate) fn elements(&self) -> &[u8] {
        &self.body
    }

    /// Takes the last value back, which took `bytes`.
    pub(crate) fn pop(&mut self, bytes: usize) {
        self.body.truncate(self.body.len().saturating_sub(bytes));
        self.count -= 1;
    }
}

/// The declared type is never asked for, since every value says its own.
impl SqlType<Postgres> for Values {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1009))
    }
}

impl Encode<'_, Postgres> for Values {
    fn encode_by_ref(&self, buf: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        // An array without elements has no dimension.
        let dimensions = i32::from(self.count > 0);
        buf.extend(dimensions.to_be_bytes());
        buf.extend(i32::from(self.nulls).to_be_bytes());
        buf.extend(self.element.to_be_bytes());
        if dimensions > 0 {
            buf.extend(self.count.to_be_bytes());
            buf.extend(1_i32.to_be_bytes());
            buf.extend_from_slice(&self.body);
        }
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(Oid(self.array)))
    }

    fn size_hint(&self) -> usize {
        self.body.len() + 20
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil;
    use proptest::prelude::*;

    use super::*;
    use crate::convert::kind;

    fn refusal(oid: u32, typmod: i32, value: &Value) -> String {
        let encoder = Encoder::for_type(oid, typmod, kind(oid, typmod));
        Values::new(&encoder)
            .push(&encoder, value)
            .err()
            .unwrap_or_default()
    }

    #[test]
    fn what_a_column_could_only_hold_altered_is_refused() {
        let at = |text: &str| Value::Timestamp(text.parse().unwrap());
        for (oid, typmod, value, part) in [
            (oid::INT2, -1, Value::Int(40_000), "-32768 to 32767"),
            (oid::INT4, -1, Value::Int(i64::MAX), "2147483647"),
            (oid::FLOAT4, -1, Value::Float(1.000_000_000_1), "`real`"),
            (oid::TEXT, -1, Value::text("a\0b"), "NUL"),
            (oid::JSONB, -1, Value::Json("\"\0\"".into()), "NUL"),
            (
                oid::TIMESTAMPTZ,
                -1,
                at("2024-01-01T00:00:00.0000001Z"),
                "6 digits",
            ),
            (oid::TIMESTAMP, 0, at("2024-01-01T00:00:00.5Z"), "0 digits"),
            (
                oid::TIME,
                3,
                Value::Time(civil::time(1, 2, 3, 1000)),
                "3 digits",
            ),
            (oid::BYTEA, -1, Value::Int(1), "an int cannot be a bytes"),
            (1007, -1, Value::Json("{}".into()), "not a JSON array"),
        ] {
            let refusal = refusal(oid, typmod, &value);
            assert!(refusal.contains(part), "{part}: {refusal}");
        }
        for (oid, typmod, value) in [
            (oid::INT2, -1, Value::Int(-32_768)),
            (oid::FLOAT4, -1, Value::Float(0.1)),
            (oid::FLOAT4, -1, Value::Float(f64::NAN)),
            (oid::FLOAT4, -1, Value::Float(f64::INFINITY)),
            (oid::TIMESTAMP, 3, at("2024-01-01T00:00:00.123Z")),
            (oid::NUMERIC, -1, Value::Int(5)),
            (oid::TEXT, -1, Value::Int(5)),
            (oid::DATE, -1, Value::Null),
        ] {
            assert_eq!(refusal(oid, typmod, &value), "");
        }
    }

    #[test]
    fn a_refused_value_leaves_no_trace() {
        let encoder = Encoder::for_type(oid::TEXT, -1, Type::Text);
        let mut values = Values::new(&encoder);
        values.push(&encoder, &Value::text("ok")).unwrap();
        values.push(&encoder, &Value::text("n\0")).unwrap_err();
        assert_eq!((values.count, values.body.len()), (1, 6));
    }

    proptest! {
        #[test]
        fn days_count_from_the_year_2000(day in -700_000_i32..2_900_000) {
            let date = civil::date(2000, 1, 1).checked_add(jiff::Span::new().days(day)).unwrap();
            prop_assert_eq!(days(date), day);
        }
    }
}
