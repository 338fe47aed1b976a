//! Types of columns as types of fields.

use lockstep_core::Decimal;
use lockstep_core::contract::{Field, Inner};
use lockstep_core::value::{Type, Value};
use sqlparser::ast::{ArrayElemTypeDef, DataType, EnumMember};

use super::super::notes::{Notes, shorten};
use super::{Script, listed};

/// Lengths from here on are what a system can hold, and bound nothing.
const UNBOUNDED: u64 = 1 << 24;

/// Fills in type, length and range.
pub(super) fn fill(
    field: &mut Field,
    kind: &DataType,
    script: &Script,
    at: Option<usize>,
    notes: &mut Notes<'_>,
) {
    let name = field.name.clone();
    let dialect = script.dialect.as_str();
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
    if let DataType::Set(_) = kind {
        let what = "a set of words is read as one text, with commas between them";
        let help = "make it a list in the mapping where its words matter";
        notes.tell("LS-I110", &name, at, what, help);
        return;
    }
    if let Some(labels) = script.enums.get(&bare(kind)) {
        field.allowed = listed(
            labels
                .iter()
                .map(|label| Value::text(label.as_str()))
                .collect(),
        );
        return;
    }
    if let DataType::Struct(..) | DataType::Map(..) | DataType::Tuple(_) | DataType::Nested(_) =
        kind
    {
        let what = "what stands in it is not described";
        field.kind = Type::Json;
        notes.tell("LS-I110", &name, at, what, "describe it with `properties`");
        return;
    }
    if let DataType::Array(element) = kind {
        return list(field, element, script, at, notes);
    }
    let mut range = |least: i64, most: i64| {
        field.limits.minimum = Some(Value::Int(least));
        field.limits.maximum = Some(Value::Int(most));
    };
    let unsigned = text.contains("UNSIGNED");
    let integer = match word.as_str() {
        // What these call a small integer is one of 64 bits.
        "INT" | "INTEGER" | "BIGINT" | "SMALLINT" | "TINYINT" | "BYTEINT" | "INT64" | "INT2"
        | "INT8"
            if matches!(dialect, "snowflake" | "bigquery") =>
        {
            Some((i64::MIN, i64::MAX))
        }
        "TINYINT" if number(0) == Some(1) => {
            field.kind = Type::Bool;
            return;
        }
        "TINYINT" if unsigned => Some((0, u8::MAX.into())),
        "TINYINT" if dialect == "mssql" => Some((0, u8::MAX.into())),
        "TINYINT" if matches!(dialect, "mysql" | "mariadb") => {
            Some((i8::MIN.into(), i8::MAX.into()))
        }
        "TINYINT" => Some((i8::MIN.into(), u8::MAX.into())),
        "YEAR" => Some((0, 2155)),
        "SMALLINT" | "INT2" | "SMALLSERIAL" | "SERIAL2" if unsigned => Some((0, u16::MAX.into())),
        "SMALLINT" | "INT2" | "SMALLSERIAL" | "SERIAL2" => Some((i16::MIN.into(), i16::MAX.into())),
        "MEDIUMINT" if unsigned => Some((0, (1 << 24) - 1)),
        "MEDIUMINT" => Some((-(1 << 23), (1 << 23) - 1)),
        "INT" | "INTEGER" | "INT4" | "SERIAL" | "SERIAL4" if unsigned => Some((0, u32::MAX.into())),
        "INT" | "INT4" | "SERIAL" | "SERIAL4" => Some((i32::MIN.into(), i32::MAX.into())),
        "INTEGER" if matches!(dialect, "postgres" | "mysql" | "mariadb" | "mssql") => {
            Some((i32::MIN.into(), i32::MAX.into()))
        }
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
        "BIGINT" | "INT8" if unsigned => {
            field.limits.minimum = Some(Value::Decimal(Decimal::from(0)));
            Type::Decimal {
                precision: Some(20),
                scale: Some(0),
            }
        }
        "BIGNUMERIC" | "BIGDECIMAL" if arguments.is_empty() => Type::Decimal {
            precision: Some(76),
            scale: Some(38),
        },
        "NUMERIC" | "DECIMAL" if dialect == "bigquery" && arguments.is_empty() => Type::Decimal {
            precision: Some(38),
            scale: Some(9),
        },
        "NUMERIC" | "DECIMAL" | "DEC" | "NUMBER"
            if dialect == "snowflake" && arguments.is_empty() =>
        {
            Type::Decimal {
                precision: Some(38),
                scale: Some(0),
            }
        }
        "NUMERIC" | "DECIMAL" | "DEC" | "NUMBER" | "BIGNUMERIC" | "BIGDECIMAL" => {
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
        "REAL" | "FLOAT" | "FLOAT4" | "FLOAT8" | "FLOAT32" | "FLOAT64" | "DOUBLE"
        | "DOUBLE PRECISION" | "BINARY_FLOAT" | "BINARY_DOUBLE" => Type::Float,
        // Oracle's days have a time.
        "DATE" if dialect == "oracle" => {
            local(&name, at, notes);
            Type::Timestamp
        }
        "DATE" => Type::Date,
        "TIME" | "TIME WITHOUT TIME ZONE" => Type::Time,
        // SQL Server calls a counter so, of eight bytes.
        "TIMESTAMP" | "ROWVERSION" if dialect == "mssql" => Type::Bytes,
        "TIMESTAMP" if dialect == "bigquery" => Type::Timestamp,
        "TIMESTAMPTZ"
        | "TIMESTAMP_TZ"
        | "TIMESTAMP_LTZ"
        | "TIMESTAMP WITH TIME ZONE"
        | "TIMESTAMP WITH LOCAL TIME ZONE"
        | "DATETIMEOFFSET" => Type::Timestamp,
        "TIMESTAMP"
        | "DATETIME"
        | "DATETIME2"
        | "SMALLDATETIME"
        | "TIMESTAMP_NTZ"
        | "TIMESTAMPNTZ"
        | "TIMESTAMP WITHOUT TIME ZONE" => {
            local(&name, at, notes);
            Type::Timestamp
        }
        "UUID" | "UNIQUEIDENTIFIER" => Type::Uuid,
        "JSON" | "JSONB" | "VARIANT" | "OBJECT" | "STRUCT" | "MAP" | "SUPER" => Type::Json,
        "BYTEA" | "BLOB" | "TINYBLOB" | "MEDIUMBLOB" | "LONGBLOB" | "BINARY" | "VARBINARY"
        | "BYTES" | "IMAGE" | "RAW" | "LONG RAW" | "ROWVERSION" => {
            let bounded = matches!(word, "BINARY" | "VARBINARY" | "RAW" | "BYTES");
            field.limits.max_length = number(0).filter(|_| bounded);
            Type::Bytes
        }
        "CHAR" | "CHARACTER" | "NCHAR" | "VARCHAR" | "VARCHAR2" | "NVARCHAR" | "NVARCHAR2"
        | "CHARACTER VARYING" | "CHAR VARYING" | "BPCHAR" => {
            let bare = matches!(word, "CHAR" | "CHARACTER" | "NCHAR").then_some(1);
            field.limits.max_length = number(0)
                .or(bare.filter(|_| arguments.is_empty()))
                .filter(|most| *most < UNBOUNDED);
            Type::Text
        }
        "STRING" => {
            field.limits.max_length = number(0).filter(|most| *most < UNBOUNDED);
            Type::Text
        }
        "TEXT"
        | "TINYTEXT"
        | "MEDIUMTEXT"
        | "LONGTEXT"
        | "CLOB"
        | "NTEXT"
        | "CITEXT"
        | "NCLOB"
        | "LONG"
        | "CHARACTER LARGE OBJECT"
        | "CHAR LARGE OBJECT"
        | "NAME" => Type::Text,
        // These have no type of their own here; connectors give their texts.
        "INET" | "INET4" | "INET6" | "CIDR" | "MACADDR" | "MACADDR8" | "XML" | "INTERVAL"
        | "TSVECTOR" | "INT4RANGE" | "INT8RANGE" | "NUMRANGE" | "TSRANGE" | "TSTZRANGE"
        | "DATERANGE" | "HSTORE" | "LTREE" => {
            let what = format!("`{}` is read as a text", word.to_lowercase());
            notes.tell(
                "LS-I110",
                &name,
                at,
                what,
                "it is the system's own way of writing it",
            );
            Type::Text
        }
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

/// A list, with what its items are where they stand in documents as in records.
fn list(
    field: &mut Field,
    element: &ArrayElemTypeDef,
    script: &Script,
    at: Option<usize>,
    notes: &mut Notes<'_>,
) {
    field.kind = Type::Json;
    let element = match element {
        ArrayElemTypeDef::AngleBracket(kind)
        | ArrayElemTypeDef::SquareBracket(kind, _)
        | ArrayElemTypeDef::Parenthesis(kind) => Some(&**kind),
        ArrayElemTypeDef::None => None,
    };
    let mut item = Field::new("items", Type::Json);
    item.required = true;
    // Databases let an item be null, and dimensions nest.
    item.nullable = true;
    if let Some(kind) = element.filter(|kind| !matches!(kind, DataType::Array(_))) {
        let mut told = notes.fresh();
        fill(&mut item, kind, script, at, &mut told);
        let alike = matches!(
            item.kind,
            Type::Bool
                | Type::Int
                | Type::Float
                | Type::Text
                | Type::Uuid
                | Type::Date
                | Type::Decimal { scale: Some(_), .. }
        );
        if !alike {
            item = Field {
                required: true,
                nullable: true,
                ..Field::new("items", Type::Json)
            };
        }
    }
    if item.kind == Type::Json {
        let what = "what its items are is not described";
        notes.tell(
            "LS-I110",
            &field.name,
            at,
            what,
            "describe them with `items`",
        );
    }
    field.inner = Some(Inner::List {
        items: Box::new(item),
        least: None,
        most: None,
        unique: false,
    });
}

fn local(name: &str, at: Option<usize>, notes: &mut Notes<'_>) {
    notes.tell(
        "LS-I110",
        name,
        at,
        "it has no offset from UTC; records carry it as UTC",
        "say in the mapping what offset it has, if another",
    );
}

/// A type's name in lower case, without its schema and quotes.
pub(super) fn bare(kind: &DataType) -> String {
    let text = kind.to_string().to_lowercase();
    let name = text.rsplit('.').next().unwrap_or_default();
    name.replace(['"', '`'], "")
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
