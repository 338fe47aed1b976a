//! Names, values and conditions as the server's SQL writes them; pure.

use lockstep_core::connector::{Filter, Sign};
use lockstep_core::{Error, Result, Value};

use crate::convert::fit;
use crate::form::{Form, Kind, Version};
use crate::table::Table;

/// A name.
pub(crate) fn name(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 2);
    out.push('`');
    escape(&mut out, name, '`');
    out.push('`');
    out
}

/// A text.
pub(crate) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    escape(&mut out, text, '\'');
    out.push('\'');
    out
}

fn escape(out: &mut String, text: &str, quote: char) {
    for char in text.chars() {
        match char {
            '\\' => out.push_str("\\\\"),
            '\0' => out.push_str("\\0"),
            '\n' => out.push_str("\\n"),
            char if char == quote => {
                out.push('\\');
                out.push(char);
            }
            char => out.push(char),
        }
    }
}

/// A value that its column can hold; nothing for one that it cannot, so that no row has it.
pub(crate) fn value(form: &Form, value: &Value, version: Version) -> Option<String> {
    if value.is_null() {
        return None;
    }
    let value = fit(form, value, version).ok()?;
    Some(match (&form.kind, &value) {
        (Kind::Decimal { scale, precision }, number) => {
            let function = if *precision > 38 {
                "toDecimal256"
            } else {
                "toDecimal128"
            };
            format!("{function}('{number}', {scale})")
        }
        (Kind::Float { .. }, number) => format!("toFloat64('{number}')"),
        (Kind::Text { fixed: Some(size) }, Value::Text(words)) => {
            format!("toFixedString({}, {size})", text(words))
        }
        (_, Value::Bool(flag)) => u8::from(*flag).to_string(),
        (_, Value::Bytes(_)) => format!("unhex('{value}')"),
        (_, Value::Uuid(id)) => format!("toUUID('{id}')"),
        (Kind::Date { wide: true }, day) => format!("toDate32('{day}')"),
        (Kind::Date { .. }, day) => format!("toDate('{day}')"),
        (Kind::DateTime, Value::Timestamp(at)) => format!("toDateTime({})", at.as_second()),
        (Kind::DateTime64(_), Value::Timestamp(at)) => {
            format!("fromUnixTimestamp64Nano(toInt64({}))", at.as_nanosecond())
        }
        (Kind::Int { .. }, number) => number.to_string(),
        (_, other) => text(&other.to_string()),
    })
}

/// Whether a list of such values may stand behind `IN` on servers of every age.
pub(crate) fn is_listable(form: &Form) -> bool {
    matches!(
        form.kind,
        Kind::Int { bits: ..=64, .. } | Kind::Text { fixed: None } | Kind::Date { wide: false }
    )
}

/// The condition of a page. What the server's types cannot say lets every row through, and the gate judges.
pub(crate) fn condition(table: &Table, filter: &Filter, version: Version) -> Result<String> {
    let mut named = |column: &str| table.place(column).map(|_| name(column));
    let mut compared = |column: &str, sign: Sign, wanted: &Value| -> Result<String> {
        let place = table.place(column)?;
        Ok(comparison(
            &table.columns[place].form,
            &name(column),
            sign,
            wanted,
            version,
        ))
    };
    filter.sql(&mut named, &mut compared)
}

fn comparison(form: &Form, column: &str, sign: Sign, wanted: &Value, version: Version) -> String {
    if let Some(literal) = value(form, wanted, version) {
        return format!("{column} {} {literal}", sign.sql());
    }
    // A window that begins within the column's last digit begins with that digit.
    let begins = matches!(sign, Sign::Greater | Sign::GreaterOrEqual);
    let second = match (&form.kind, wanted) {
        (Kind::DateTime | Kind::DateTime64(_), Value::Timestamp(at)) if begins => {
            at.as_second() - i64::from(at.subsec_nanosecond() < 0)
        }
        _ => return "1 = 1".to_owned(),
    };
    let down = jiff::Timestamp::from_second(second).ok();
    match down.and_then(|down| value(form, &Value::Timestamp(down), version)) {
        Some(literal) => format!("{column} >= {literal}"),
        None => "1 = 1".to_owned(),
    }
}

/// On which side of a key rows lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Those with a larger key.
    Behind,
    /// Those with a smaller one.
    Before,
    /// That key's, and those with a smaller one.
    UpTo,
    /// That key's, and those with a larger one.
    From,
}

/// The rows on one side of a key.
pub(crate) fn bound(
    table: &Table,
    key: &[usize],
    values: &[Value],
    side: Side,
    version: Version,
) -> Result<String> {
    if values.len() != key.len() {
        return Err(Error::invalid(format!(
            "a page after {} values was asked for, but the key has {}",
            values.len(),
            key.len()
        )));
    }
    let mut literals = Vec::with_capacity(key.len());
    for (place, wanted) in key.iter().zip(values) {
        let column = &table.columns[*place];
        let literal = value(&column.form, wanted, version).ok_or_else(|| {
            Error::invalid("a page cannot begin after this key").with("column", &column.name)
        })?;
        literals.push((name(&column.name), literal));
    }
    let sign = match side {
        Side::Behind | Side::From => ">",
        Side::Before | Side::UpTo => "<",
    };
    let mut choices = Vec::with_capacity(literals.len() + 1);
    for last in 0..literals.len() {
        let (column, literal) = &literals[last];
        let mut parts: Vec<String> = equal(&literals[..last]).collect();
        parts.push(format!("{column} {sign} {literal}"));
        choices.push(format!("({})", parts.join(" AND ")));
    }
    if matches!(side, Side::UpTo | Side::From) {
        choices.push(format!(
            "({})",
            equal(&literals).collect::<Vec<_>>().join(" AND ")
        ));
    }
    Ok(format!("({})", choices.join(" OR ")))
}

fn equal(pairs: &[(String, String)]) -> impl Iterator<Item = String> {
    pairs
        .iter()
        .map(|(column, literal)| format!("{column} = {literal}"))
}

/// The rows of some keys; nothing where none of them can be in the table.
pub(crate) fn any_of(
    table: &Table,
    key: &[usize],
    keys: &[Vec<Value>],
    version: Version,
) -> Option<String> {
    let forms: Vec<&Form> = key
        .iter()
        .map(|place| &table.columns[*place].form)
        .collect();
    let names: Vec<String> = key
        .iter()
        .map(|place| name(&table.columns[*place].name))
        .collect();
    let written = keys
        .iter()
        .filter(|values| values.len() == key.len())
        .filter_map(|values| {
            let each = forms.iter().zip(values);
            each.map(|(form, wanted)| value(form, wanted, version))
                .collect::<Option<Vec<_>>>()
        });
    let listable = forms.iter().all(|form| is_listable(form) && !form.nullable);
    let mut choices = Vec::new();
    for literals in written {
        choices.push(if listable {
            match literals.as_slice() {
                [one] => one.clone(),
                several => format!("({})", several.join(", ")),
            }
        } else {
            let pairs: Vec<(String, String)> = names.iter().cloned().zip(literals).collect();
            format!("({})", equal(&pairs).collect::<Vec<_>>().join(" AND "))
        });
    }
    if choices.is_empty() {
        return None;
    }
    Some(if listable {
        let names = names.join(", ");
        format!("({names}) IN ({})", choices.join(", "))
    } else {
        format!("({})", choices.join(" OR "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_quotes() {
        assert_eq!(name("a`b\\"), "`a\\`b\\\\`");
        assert_eq!(text("it's \\ \0\n"), "'it\\'s \\\\ \\0\\n'");
    }

    #[test]
    fn values_are_written_as_their_columns_want_them() {
        let written =
            |kind: &str, wanted: Value| value(&Form::parse(kind, ""), &wanted, Version(24, 8));
        assert_eq!(
            written("Decimal(9, 2)", Value::Int(5)).unwrap(),
            "toDecimal128('5.00', 2)"
        );
        assert_eq!(
            written("DateTime", Value::Timestamp(jiff::Timestamp::UNIX_EPOCH)).unwrap(),
            "toDateTime(0)"
        );
        assert_eq!(written("Int8", Value::Int(1000)), None);
        let half = Value::Timestamp("2024-01-01T00:00:00.5Z".parse().unwrap());
        let form = Form::parse("DateTime", "");
        let window = |sign| comparison(&form, "t", sign, &half, Version(18, 16));
        assert_eq!(window(Sign::Greater), "t >= toDateTime(1704067200)");
        assert_eq!(window(Sign::Less), "1 = 1");
    }
}
