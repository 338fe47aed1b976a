//! The system's values and types → Lockstep's; the other way is [`crate::encode`].
//!
//! Values come from two places, the binary log and the results of statements, and must be the same from both, so both end in the functions of this module.
//! A legal value for which Lockstep's type has no room (a zero date, a time beyond a day, an unsigned number beyond 64 bits with a sign) becomes its text or a decimal, so that the contract's gate can say what is wrong with that record instead of the whole source standing still.
//! Pure: no connection, no clock.

use jiff::civil::{Date, Time};
use jiff::tz::Offset;
use lockstep_core::{Type, Value};
use uuid::Uuid;

/// How a column's values look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `tinyint(1)`, which is what `boolean` makes.
    Bool,
    /// Whole numbers.
    Int,
    /// `bit(n)` with more than one bit.
    Bit,
    /// `bit(1)`.
    Flag,
    Decimal,
    Float,
    Double,
    /// Texts.
    Text,
    /// `char(n)`, which drops blanks at the end.
    Padded,
    Enum,
    Set,
    /// Bytes.
    Bytes,
    /// `binary(n)`, which holds exactly so many.
    Fixed(u16),
    Date,
    Time,
    Datetime,
    Timestamp,
    Year,
    Json,
    /// MariaDB's own type.
    Uuid,
    /// MariaDB's addresses, which travel as their text.
    Inet,
}

impl Form {
    /// The form of a column by its declaration; none for what no value of ours can hold.
    pub(crate) fn of(
        data_type: &str,
        column_type: &str,
        charset: Option<&str>,
        is_json: bool,
    ) -> Option<Form> {
        Some(match data_type {
            "tinyint" if column_type == "tinyint(1)" => Form::Bool,
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => Form::Int,
            "bit" if column_type == "bit(1)" => Form::Flag,
            "bit" => Form::Bit,
            "decimal" => Form::Decimal,
            "float" => Form::Float,
            "double" => Form::Double,
            "json" => Form::Json,
            "longtext" if is_json => Form::Json,
            "binary" => Form::Fixed(length(column_type)?),
            "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Form::Bytes,
            "char" if charset.is_some_and(|name| name != "binary") => Form::Padded,
            "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => Form::Text,
            "enum" => Form::Enum,
            "set" => Form::Set,
            "date" => Form::Date,
            "time" => Form::Time,
            "datetime" => Form::Datetime,
            "timestamp" => Form::Timestamp,
            "year" => Form::Year,
            "uuid" => Form::Uuid,
            "inet4" | "inet6" => Form::Inet,
            _ => return None,
        })
    }

    /// Lockstep's type of it.
    pub(crate) fn kind(self, precision: Option<u32>, scale: Option<u32>) -> Type {
        match self {
            Form::Bool | Form::Flag => Type::Bool,
            Form::Int | Form::Bit | Form::Year => Type::Int,
            Form::Decimal => Type::Decimal { precision, scale },
            Form::Float | Form::Double => Type::Float,
            Form::Text | Form::Padded | Form::Enum | Form::Set | Form::Inet => Type::Text,
            Form::Bytes | Form::Fixed(_) => Type::Bytes,
            Form::Date => Type::Date,
            Form::Time => Type::Time,
            Form::Datetime | Form::Timestamp => Type::Timestamp,
            Form::Json => Type::Json,
            Form::Uuid => Type::Uuid,
        }
    }

    /// Whether values are texts whose equality is a matter of collations.
    pub(crate) fn is_textual(self) -> bool {
        matches!(
            self,
            Form::Text | Form::Padded | Form::Enum | Form::Set | Form::Json
        )
    }
}

/// The number in brackets.
fn length(column_type: &str) -> Option<u16> {
    let (_, rest) = column_type.split_once('(')?;
    rest.split_once(')')?.0.parse().ok()
}

/// The declaration of a column that holds values of a type: the form of it gives the type back.
pub(crate) fn declaration(kind: Type) -> String {
    match kind {
        Type::Bool => "boolean".to_owned(),
        Type::Int => "bigint".to_owned(),
        Type::Decimal {
            precision: Some(precision @ 1..=65),
            scale,
        } => format!("decimal({precision},{})", scale.unwrap_or(0)),
        Type::Decimal { .. } => "decimal(65,30)".to_owned(),
        Type::Float => "double".to_owned(),
        Type::Text => "longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin".to_owned(),
        Type::Bytes => "longblob".to_owned(),
        Type::Date => "date".to_owned(),
        Type::Time => "time(6)".to_owned(),
        Type::Timestamp => "datetime(6)".to_owned(),
        Type::Uuid => "char(36) CHARACTER SET ascii COLLATE ascii_bin".to_owned(),
        Type::Json => "json".to_owned(),
    }
}

/// The value of a column in the result of a prepared statement.
pub(crate) fn from_sql(form: Form, value: mysql_async::Value) -> Value {
    use mysql_async::Value as Sql;
    match value {
        Sql::NULL => Value::Null,
        Sql::Int(number) => int(form, number),
        Sql::UInt(number) => match i64::try_from(number) {
            Ok(number) => int(form, number),
            Err(_) => unsigned(number),
        },
        Sql::Float(number) => float(number),
        Sql::Double(number) => Value::Float(number),
        Sql::Date(year, month, day, ..) if form == Form::Date => date(year, month, day),
        Sql::Date(year, month, day, hour, minute, second, micros) => {
            datetime(year, month, day, [hour, minute, second], micros)
        }
        Sql::Time(negative, days, hour, minute, second, micros) => time(
            negative,
            days.saturating_mul(24).saturating_add(hour.into()),
            minute,
            second,
            micros,
        ),
        Sql::Bytes(bytes) => match form {
            Form::Bytes | Form::Fixed(_) => Value::Bytes(bytes),
            Form::Flag | Form::Bit => bits(form, &bytes),
            _ => match String::from_utf8(bytes) {
                Ok(text) => from_text(form, text),
                Err(error) => Value::Bytes(error.into_bytes()),
            },
        },
    }
}

/// The value that a text stands for.
pub(crate) fn from_text(form: Form, text: String) -> Value {
    let read = match form {
        Form::Decimal => text.parse().ok().map(Value::Decimal),
        Form::Json => return Value::Json(text.into()),
        Form::Uuid => Uuid::try_parse(&text).ok().map(Value::Uuid),
        _ => None,
    };
    read.unwrap_or(Value::Text(text))
}

/// A whole number.
pub(crate) fn int(form: Form, number: i64) -> Value {
    match (form, number) {
        (Form::Bool, 0) => Value::Bool(false),
        (Form::Bool, 1) => Value::Bool(true),
        _ => Value::Int(number),
    }
}

/// A whole number without a sign: a decimal where 64 bits with a sign have no room for it.
pub(crate) fn unsigned(number: u64) -> Value {
    match i64::try_from(number) {
        Ok(number) => Value::Int(number),
        Err(_) => match number.to_string().parse() {
            Ok(decimal) => Value::Decimal(decimal),
            Err(_) => Value::Text(number.to_string()),
        },
    }
}

/// Bits, the highest first.
pub(crate) fn bits(form: Form, bytes: &[u8]) -> Value {
    let number = bytes
        .iter()
        .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    match form {
        Form::Flag => Value::Bool(number & 1 == 1),
        _ => unsigned(number),
    }
}

/// A number of single precision, as the shortest decimal that means it: 0.1 and not 0.10000000149.
pub(crate) fn float(number: f32) -> Value {
    Value::Float(
        number
            .to_string()
            .parse()
            .unwrap_or_else(|_| f64::from(number)),
    )
}

/// A date; one that no calendar has, such as a zero date, as its text.
pub(crate) fn date(year: u16, month: u8, day: u8) -> Value {
    match civil(year, month, day) {
        Some(date) => Value::Date(date),
        None => Value::Text(format!("{year:04}-{month:02}-{day:02}")),
    }
}

/// Date and time of day, taken as UTC; what is no instant as its text.
pub(crate) fn datetime(
    year: u16,
    month: u8,
    day: u8,
    [hour, minute, second]: [u8; 3],
    micros: u32,
) -> Value {
    let instant = || {
        let at = civil(year, month, day)?.to_datetime(clock(hour, minute, second, micros)?);
        Offset::UTC.to_timestamp(at).ok()
    };
    match instant() {
        Some(at) => Value::Timestamp(at),
        None => Value::Text(format!(
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}{}",
            fraction(micros)
        )),
    }
}

/// An instant by its seconds since 1970; 0 means the zero date here.
pub(crate) fn timestamp(seconds: u32, micros: u32) -> Value {
    if seconds == 0 && micros == 0 {
        return datetime(0, 0, 0, [0; 3], 0);
    }
    let nanos = i32::try_from(micros)
        .ok()
        .and_then(|micros| micros.checked_mul(1000));
    let at = nanos.and_then(|nanos| jiff::Timestamp::new(seconds.into(), nanos).ok());
    at.map_or_else(|| Value::Text(seconds.to_string()), Value::Timestamp)
}

/// A time of day; what is negative or a day and longer, as its text.
pub(crate) fn time(negative: bool, hours: u32, minute: u8, second: u8, micros: u32) -> Value {
    let of_day = u8::try_from(hours).ok().filter(|_| !negative);
    match of_day.and_then(|hour| clock(hour, minute, second, micros)) {
        Some(time) => Value::Time(time),
        None => {
            let sign = if negative { "-" } else { "" };
            Value::Text(format!(
                "{sign}{hours:02}:{minute:02}:{second:02}{}",
                fraction(micros)
            ))
        }
    }
}

fn civil(year: u16, month: u8, day: u8) -> Option<Date> {
    let small = |number: u8| i8::try_from(number).ok();
    Date::new(i16::try_from(year).ok()?, small(month)?, small(day)?).ok()
}

fn clock(hour: u8, minute: u8, second: u8, micros: u32) -> Option<Time> {
    let small = |number: u8| i8::try_from(number).ok();
    let nanos = i32::try_from(micros).ok()?.checked_mul(1000)?;
    Time::new(small(hour)?, small(minute)?, small(second)?, nanos).ok()
}

fn fraction(micros: u32) -> String {
    match micros {
        0 => String::new(),
        micros => format!(".{micros:06}").trim_end_matches('0').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_keeps_its_text() {
        for (value, text) in [
            (date(0, 0, 0), "0000-00-00"),
            (date(2024, 0, 0), "2024-00-00"),
            (date(2023, 2, 31), "2023-02-31"),
            (datetime(0, 0, 0, [0; 3], 0), "0000-00-00 00:00:00"),
            (
                datetime(9999, 12, 31, [23, 59, 59], 0),
                "9999-12-31 23:59:59",
            ),
            (time(true, 12, 30, 0, 500_000), "-12:30:00.5"),
            (time(false, 838, 59, 59, 0), "838:59:59"),
            (timestamp(0, 0), "0000-00-00 00:00:00"),
        ] {
            assert_eq!(value, Value::text(text));
        }
        assert_eq!(
            unsigned(u64::MAX),
            Value::Decimal("18446744073709551615".parse().unwrap())
        );
        assert_eq!(int(Form::Bool, 7), Value::Int(7));
    }

    #[test]
    fn ordinary_values_have_their_types() {
        assert_eq!(
            date(2024, 2, 29),
            Value::Date(jiff::civil::date(2024, 2, 29))
        );
        assert_eq!(
            time(false, 23, 59, 59, 5),
            Value::Time(jiff::civil::time(23, 59, 59, 5000))
        );
        let at = "2024-02-29T01:02:03.25Z".parse().unwrap();
        assert_eq!(
            datetime(2024, 2, 29, [1, 2, 3], 250_000),
            Value::Timestamp(at)
        );
        assert_eq!(float(0.1), Value::Float(0.1));
        assert_eq!(bits(Form::Bit, &[1, 0]), Value::Int(256));
        assert_eq!(bits(Form::Flag, &[1]), Value::Bool(true));
    }

    #[test]
    fn declared_columns_have_the_type_they_were_declared_for() {
        for kind in [
            Type::Bool,
            Type::Int,
            Type::Float,
            Type::Text,
            Type::Bytes,
            Type::Date,
            Type::Time,
            Type::Timestamp,
        ] {
            let declared = declaration(kind)
                .to_lowercase()
                .replace("boolean", "tinyint(1)");
            let column_type = declared.split(' ').next().unwrap_or_default();
            let data_type = column_type.split('(').next().unwrap_or_default();
            let form = Form::of(data_type, column_type, Some("utf8mb4"), false).unwrap();
            assert_eq!(form.kind(None, None), kind, "{declared}");
        }
    }
}
