//! Types of columns as types of fields.

use std::collections::BTreeMap;

use lockstep_core::contract::Field;
use lockstep_core::value::{Type, Value};
use sqlparser::ast::{DataType, EnumMember};

use super::super::notes::{Notes, shorten};
use super::listed;

/// Fills in type, length and range.
pub(super) fn fill(
    field: &mut Field,
    kind: &DataType,
    enums: &BTreeMap<String, Vec<String>>,
    at: Option<usize>,
    notes: &mut Notes<'_>,
) {
    let name = field.name.clone();
    if let DataType::Enum(members, _) = kind {
        let values = members.iter().map(|member| match member {
            EnumMember::Name(name) | EnumMember::NamedValue(name, _) => Value::text(name.as_str()),
        });
        field.allowed = listed(values.collect());
        return;
    }
    let text = kind.to_string().to_uppercase();
    let (word, arguments) = split(&text);
    let number = |i: usize| {
        arguments
            .get(i)
            .and_then(|text| text.trim().parse::<u64>().ok())
    };
    if let Some(labels) = enums.get(
        &kind
            .to_string()
            .to_lowercase()
            .rsplit('.')
            .next()
            .unwrap_or_default()
            .replace('"', ""),
    ) {
        field.allowed = listed(
            labels
                .iter()
                .map(|label| Value::text(label.as_str()))
                .collect(),
        );
        return;
    }
    if text.ends_with("[]") || text.starts_with("ARRAY") {
        field.kind = Type::Json;
        notes.tell(
            "LS-I110",
            &name,
            at,
            format!("`{}` is read as a document", shorten(&text)),
            "its items can be described with `items`",
        );
        return;
    }
    let mut range = |least: i64, most: i64| {
        field.limits.minimum = Some(Value::Int(least));
        field.limits.maximum = Some(Value::Int(most));
    };
    let unsigned = text.contains("UNSIGNED");
    let integer = match word.as_str() {
        "TINYINT" if number(0) == Some(1) => {
            field.kind = Type::Bool;
            return;
        }
        "TINYINT" if unsigned => Some((0, u8::MAX.into())),
        "TINYINT" => Some((i8::MIN.into(), u8::MAX.into())),
        "SMALLINT" | "INT2" | "SMALLSERIAL" | "SERIAL2" if unsigned => Some((0, u16::MAX.into())),
        "SMALLINT" | "INT2" | "SMALLSERIAL" | "SERIAL2" => Some((i16::MIN.into(), i16::MAX.into())),
        "MEDIUMINT" if unsigned => Some((0, (1 << 24) - 1)),
        "MEDIUMINT" => Some((-(1 << 23), (1 << 23) - 1)),
        "INT" | "INTEGER" | "INT4" | "SERIAL" | "SERIAL4" if unsigned => Some((0, u32::MAX.into())),
        "INT" | "INT4" | "SERIAL" | "SERIAL4" => Some((i32::MIN.into(), i32::MAX.into())),
        // SQLite's integers have 64 bits, and so may others'.
        "INTEGER" | "BIGINT" | "INT8" | "BIGSERIAL" | "SERIAL8" if !unsigned => {
            Some((i64::MIN, i64::MAX))
        }
        _ => None,
    };
    if let Some((least, most)) = integer {
        field.kind = Type::Int;
        if least != i64::MIN {
            range(least, most);
        }
        return;
    }
    let word = word.as_str();
    field.kind = match word {
        "BOOL" | "BOOLEAN" => Type::Bool,
        "BIT" if number(0).unwrap_or(1) == 1 => Type::Bool,
        "BIGINT" | "INT8" if unsigned => Type::Decimal {
            precision: Some(20),
            scale: Some(0),
        },
        "NUMERIC" | "DECIMAL" | "DEC" | "NUMBER" => {
            // MySQL and others take ten digits where none are said; a larger room loses nothing.
            let precision = number(0).and_then(|n| u32::try_from(n).ok());
            let scale =
                precision.map(|_| number(1).and_then(|n| u32::try_from(n).ok()).unwrap_or(0));
            Type::Decimal { precision, scale }
        }
        "MONEY" | "SMALLMONEY" => Type::Decimal {
            precision: Some(19),
            scale: Some(4),
        },
        "REAL" | "FLOAT" | "FLOAT4" | "FLOAT8" | "DOUBLE" | "DOUBLE PRECISION" => Type::Float,
        "DATE" => Type::Date,
        "TIME" | "TIME WITHOUT TIME ZONE" => Type::Time,
        "TIMESTAMPTZ" | "TIMESTAMP WITH TIME ZONE" | "DATETIMEOFFSET" => Type::Timestamp,
        "TIMESTAMP"
        | "DATETIME"
        | "DATETIME2"
        | "SMALLDATETIME"
        | "TIMESTAMP WITHOUT TIME ZONE" => {
            notes.tell(
                "LS-I110",
                &name,
                at,
                "it has no offset from UTC; records carry it as UTC",
                "say in the mapping what offset it has, if another",
            );
            Type::Timestamp
        }
        "UUID" | "UNIQUEIDENTIFIER" => Type::Uuid,
        "JSON" | "JSONB" => Type::Json,
        "BYTEA" | "BLOB" | "TINYBLOB" | "MEDIUMBLOB" | "LONGBLOB" | "BINARY" | "VARBINARY"
        | "BYTES" | "IMAGE" => {
            field.limits.max_length = number(0).filter(|_| word.ends_with("BINARY"));
            Type::Bytes
        }
        "CHAR" | "CHARACTER" | "NCHAR" | "VARCHAR" | "VARCHAR2" | "NVARCHAR" | "NVARCHAR2"
        | "CHARACTER VARYING" | "CHAR VARYING" | "BPCHAR" => {
            let bare = matches!(word, "CHAR" | "CHARACTER" | "NCHAR").then_some(1);
            field.limits.max_length = number(0).or(bare.filter(|_| arguments.is_empty()));
            Type::Text
        }
        "TEXT"
        | "TINYTEXT"
        | "MEDIUMTEXT"
        | "LONGTEXT"
        | "CLOB"
        | "NTEXT"
        | "CITEXT"
        | "STRING"
        | "CHARACTER LARGE OBJECT"
        | "CHAR LARGE OBJECT"
        | "NAME" => Type::Text,
        // SQLite lets a column have no type at all.
        _ => {
            let what = match text.is_empty() {
                true => "the column has no type, so it is read as a text".to_owned(),
                false => format!("the type `{}` is read as a text", shorten(&text)),
            };
            notes.warn(
                "LS-I110",
                &name,
                at,
                what,
                "look whether the connector gives texts for it",
            );
            Type::Text
        }
    };
}

/// A type's words and its arguments: `NUMERIC(12,2)`, `TIMESTAMP(6) WITH TIME ZONE`.
fn split(text: &str) -> (String, Vec<&str>) {
    let Some((before, rest)) = text.split_once('(') else {
        return (plain(text), Vec::new());
    };
    let (inside, after) = rest.split_once(')').unwrap_or((rest, ""));
    let word = plain(&format!("{} {}", before.trim(), after.trim()));
    (word, inside.split(',').collect())
}

fn plain(text: &str) -> String {
    let words = text
        .split_whitespace()
        .filter(|word| !matches!(*word, "UNSIGNED" | "SIGNED" | "ZEROFILL"));
    words
        .collect::<Vec<_>>()
        .join(" ")
        .replace(['"', '`', '[', ']'], "")
}
