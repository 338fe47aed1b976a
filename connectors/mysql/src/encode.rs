//! Lockstep's values → literals of statements, for columns of this system.
//!
//! What a column would round, cut, pad or take for something else without a word is refused here; what the server refuses itself is left to it.
//! Pure.

use lockstep_core::connector::Filter;
use lockstep_core::diagnostic::a;
use lockstep_core::{Error, Result, Value};

use crate::catalog::ColumnInfo;
use crate::convert::Form;
use crate::names::{push_bytes, push_literal, quote};

/// Appends the literal of a value.
///
/// # Errors
/// Why the column cannot hold it; never the value itself.
pub(crate) fn push(out: &mut String, column: &ColumnInfo, value: &Value) -> Result<(), String> {
    match (column.form, value) {
        (_, Value::Null) => out.push_str("NULL"),
        (
            Form::Bool | Form::Flag | Form::Int | Form::Bit | Form::Year | Form::Decimal,
            Value::Bool(flag),
        ) => {
            out.push(if *flag { '1' } else { '0' });
        }
        (
            Form::Bool
            | Form::Flag
            | Form::Int
            | Form::Bit
            | Form::Year
            | Form::Decimal
            | Form::Double,
            Value::Int(number),
        ) => {
            out.push_str(&number.to_string());
        }
        (Form::Int | Form::Bit | Form::Decimal, Value::Decimal(number)) => {
            let scale = if column.form == Form::Decimal {
                column.scale.unwrap_or(0)
            } else {
                0
            };
            let exact = number.rescale(scale).ok_or_else(|| {
                format!("the column holds {scale} digits after the point, and the number has more")
            })?;
            out.push_str(exact.as_str());
        }
        (Form::Double, Value::Float(number)) => double(out, *number)?,
        (Form::Float, Value::Float(number)) => single(out, *number)?,
        (Form::Text | Form::Inet, Value::Text(text)) => push_literal(out, text),
        (Form::Padded, Value::Text(text)) => {
            if text.ends_with(' ') {
                return Err("a char column drops blanks at the end".to_owned());
            }
            push_literal(out, text);
        }
        (Form::Enum, Value::Text(text)) => {
            if !column.members.contains(text) {
                return Err("the value is not one of the column's own".to_owned());
            }
            push_literal(out, text);
        }
        (Form::Set, Value::Text(text)) => set(out, column, text)?,
        (Form::Text | Form::Padded, Value::Uuid(id)) => push_literal(out, &id.to_string()),
        (Form::Uuid, Value::Uuid(id)) => push_literal(out, &id.to_string()),
        (Form::Fixed(16) | Form::Bytes, Value::Uuid(id)) => push_bytes(out, id.as_bytes()),
        (Form::Json, Value::Json(text)) | (Form::Text, Value::Json(text)) => {
            push_literal(out, text);
        }
        (Form::Bytes, Value::Bytes(bytes)) => push_bytes(out, bytes),
        (Form::Fixed(size), Value::Bytes(bytes)) => {
            if bytes.len() != usize::from(size) {
                return Err(format!(
                    "the column holds exactly {size} bytes, and fills up what is shorter"
                ));
            }
            push_bytes(out, bytes);
        }
        (Form::Date, Value::Date(date)) => {
            in_calendar(date.year())?;
            push_literal(out, &date.to_string());
        }
        (Form::Time, Value::Time(time)) => {
            fits_fraction(column, time.subsec_nanosecond())?;
            push_literal(out, &time.to_string());
        }
        (Form::Datetime | Form::Timestamp, Value::Timestamp(at)) => {
            let civil = jiff::tz::Offset::UTC.to_datetime(*at);
            in_calendar(civil.year())?;
            fits_fraction(column, civil.subsec_nanosecond())?;
            push_literal(out, &format!("{} {}", civil.date(), civil.time()));
        }
        // What has no room in our type came as a text; the server knows whether it is one of its own.
        (
            Form::Date | Form::Time | Form::Datetime | Form::Timestamp | Form::Decimal | Form::Uuid,
            Value::Text(text),
        ) => {
            push_literal(out, text);
        }
        (_, other) => {
            return Err(format!(
                "{} does not fit the column's type {}",
                a(other.type_name()),
                column.declared
            ));
        }
    }
    Ok(())
}

fn double(out: &mut String, number: f64) -> Result<(), String> {
    if !number.is_finite() {
        return Err("the column holds neither infinity nor what is no number".to_owned());
    }
    // With an exponent it is a double to the server, and no exact decimal.
    out.push_str(&format!("{number:e}"));
    Ok(())
}

fn single(out: &mut String, number: f64) -> Result<(), String> {
    let single = number as f32;
    let back: f64 = single.to_string().parse().unwrap_or(f64::NAN);
    if back != number && f64::from(single) != number {
        return Err("the column holds about seven digits, and the number has more".to_owned());
    }
    double(out, number)
}

fn set(out: &mut String, column: &ColumnInfo, text: &str) -> Result<(), String> {
    let mut last = None;
    for member in text.split(',').filter(|_| !text.is_empty()) {
        let place = column.members.iter().position(|known| known == member);
        let place = place.ok_or("the value holds one that is not of the column's own")?;
        if last.is_some_and(|last| last >= place) {
            return Err(
                "the values are not in the order in which the column keeps them".to_owned(),
            );
        }
        last = Some(place);
    }
    push_literal(out, text);
    Ok(())
}

fn in_calendar(year: i16) -> Result<(), String> {
    match year {
        1..=9999 => Ok(()),
        _ => Err("the column holds years from 1 to 9999".to_owned()),
    }
}

fn fits_fraction(column: &ColumnInfo, nanos: i32) -> Result<(), String> {
    let digits = column.fraction.min(6);
    if nanos % 10_i32.pow(9 - digits) == 0 {
        return Ok(());
    }
    Err(format!(
        "the column keeps {digits} digits of a second's fraction, and the value has more"
    ))
}

/// The literal of a key's value, as [`crate::snapshot`] and [`crate::reader`] compare columns with it.
///
/// # Errors
/// Why no row can have such a key.
pub(crate) fn key_literal(column: &ColumnInfo, value: &Value) -> Result<String, String> {
    let mut out = String::new();
    match (column.form, value) {
        (Form::Enum | Form::Set, Value::Text(text)) => push_bytes(&mut out, text.as_bytes()),
        // Compared as a double, a number of single precision is not the decimal that means it.
        (Form::Float, Value::Float(number)) => double(&mut out, f64::from(*number as f32))?,
        (Form::Bool | Form::Int | Form::Bit, Value::Decimal(number)) => {
            out.push_str(number.as_str());
        }
        (Form::Text | Form::Padded, Value::Text(text)) => push_literal(&mut out, text),
        (Form::Fixed(_), Value::Bytes(bytes)) => push_bytes(&mut out, bytes),
        _ => push(&mut out, column, value)?,
    }
    Ok(out)
}

/// Rows behind a key: of columns, and the values of it in the same order.
pub(crate) fn beyond(key: &[String], values: &[String]) -> String {
    let mut terms = Vec::with_capacity(key.len());
    for place in 0..key.len() {
        let mut term: Vec<String> = key[..place]
            .iter()
            .zip(values)
            .map(|(column, value)| format!("{column} = {value}"))
            .collect();
        term.push(format!(
            "{} > {}",
            key[place],
            values.get(place).map_or("NULL", String::as_str)
        ));
        terms.push(format!("({})", term.join(" AND ")));
    }
    match (key, values) {
        // Said once more for the first column alone, so that an index is read from there.
        ([first, _, ..], [value, ..]) => format!("{first} >= {value} AND ({})", terms.join(" OR ")),
        _ => terms.join(" OR "),
    }
}

/// Rows up to a key, itself included; as [`beyond`].
pub(crate) fn up_to(key: &[String], values: &[String]) -> String {
    let term = format!("NOT ({})", beyond(key, values));
    match (key, values) {
        // Said once more for the first column alone, so that an index is read until there.
        ([first, _, ..], [value, ..]) => format!("{first} <= {value} AND {term}"),
        _ => term,
    }
}

/// What rows fulfil, with its values as literals; `column` finds one by its name.
pub(crate) fn condition<'c>(
    filter: &Filter,
    column: impl Fn(&str) -> Result<&'c ColumnInfo>,
) -> Result<String> {
    filter.sql(
        &mut |name: &str| Ok(quote(&column(name)?.name)),
        &mut |name: &str, sign, value: &Value| {
            let known = column(name)?;
            let literal = key_literal(known, value).map_err(|why| {
                Error::invalid(format!(
                    "rows cannot be sought by this value of column `{}`: {why}",
                    known.name
                ))
            })?;
            let name = match known.form {
                Form::Enum | Form::Set => format!("CAST({} AS BINARY)", quote(&known.name)),
                _ => quote(&known.name),
            };
            Ok(format!("{name} {} {literal}", sign.sql()))
        },
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn column(form: Form) -> ColumnInfo {
        ColumnInfo {
            name: "c".to_owned(),
            declared: "sometype".to_owned(),
            form,
            charset: Some("utf8mb4".to_owned()),
            collation: None,
            nullable: true,
            has_default: true,
            generated: false,
            precision: Some(10),
            scale: Some(2),
            unsigned: false,
            fraction: 3,
            members: vec!["a".to_owned(), "b'c".to_owned()],
        }
    }

    fn encoded(form: Form, value: &Value) -> Result<String, String> {
        let mut out = String::new();
        push(&mut out, &column(form), value).map(|()| out)
    }

    #[test]
    fn values_become_literals() {
        let at = "2024-02-29T01:02:03.25Z".parse().unwrap();
        for (form, value, literal) in [
            (Form::Int, Value::Int(i64::MIN), "-9223372036854775808"),
            (Form::Bool, Value::Bool(true), "1"),
            (
                Form::Decimal,
                Value::Decimal("1.5".parse().unwrap()),
                "1.50",
            ),
            (Form::Text, Value::text("O'Ne\\il"), "'O''Ne\\\\il'"),
            (Form::Bytes, Value::Bytes(vec![0, 255]), "x'00ff'"),
            (
                Form::Datetime,
                Value::Timestamp(at),
                "'2024-02-29 01:02:03.25'",
            ),
            (Form::Double, Value::Float(0.1), "1e-1"),
            (Form::Float, Value::Float(0.1), "1e-1"),
            (Form::Enum, Value::text("b'c"), "'b''c'"),
            (Form::Set, Value::text("a,b'c"), "'a,b''c'"),
            (Form::Text, Value::Null, "NULL"),
        ] {
            assert_eq!(encoded(form, &value).as_deref(), Ok(literal));
        }
    }

    #[test]
    fn what_would_change_without_a_word_is_refused() {
        let at = "2024-02-29T01:02:03.0001Z".parse().unwrap();
        for (form, value) in [
            (Form::Decimal, Value::Decimal("1.005".parse().unwrap())),
            (Form::Padded, Value::text("a ")),
            (Form::Fixed(4), Value::Bytes(vec![1])),
            (Form::Datetime, Value::Timestamp(at)),
            (Form::Double, Value::Float(f64::NAN)),
            (Form::Float, Value::Float(0.123_456_789)),
            (Form::Enum, Value::text("A")),
            (Form::Set, Value::text("b'c,a")),
            (Form::Int, Value::text("7")),
            (Form::Date, Value::Date(jiff::civil::date(-1, 1, 1))),
        ] {
            assert!(encoded(form, &value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn a_page_begins_behind_a_key() {
        let text = |words: &[&str]| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(beyond(&text(&["a"]), &text(&["1"])), "(a > 1)");
        assert_eq!(
            beyond(&text(&["a", "b"]), &text(&["1", "2"])),
            "a >= 1 AND ((a > 1) OR (a = 1 AND b > 2))"
        );
    }

    proptest! {
        #[test]
        fn a_text_never_leaves_its_quotes(text: String) {
            let literal = encoded(Form::Text, &Value::text(&text)).unwrap();
            let inner = &literal[1..literal.len() - 1];
            let mut characters = inner.chars();
            while let Some(character) = characters.next() {
                prop_assert_ne!(character, '\0');
                if matches!(character, '\\' | '\'') {
                    let next = characters.next();
                    prop_assert!(matches!((character, next), ('\'', Some('\'')) | ('\\', Some('\\' | '0'))));
                }
            }
        }
    }
}
