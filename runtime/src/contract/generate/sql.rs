//! A contract as a `CREATE TABLE`, in the words of a dialect.
//!
//! The table refuses what the contract refuses, as far as a check on one row can say it: null, allowed values, ranges and lengths.
//! Patterns and rules over several fields are left to the gate; they stand in comments.

use std::fmt::Write as _;

use lockstep_core::contract::{Contract, Field};
use lockstep_core::value::{Type, Value};

use super::words;

/// Whose SQL is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    MySql,
    /// SQLite.
    Sqlite,
    /// Microsoft SQL Server.
    MsSql,
    /// What the standard says, and most understand.
    Ansi,
}

/// Longest text that MySQL holds in a key without saying more.
const MYSQL_KEY_MAX: u64 = 191;

/// The statements that make the table; `table` is its name where it is not the entity's.
#[must_use]
pub fn ddl(contract: &Contract, dialect: Dialect, table: Option<&str>) -> String {
    let table = quote(table.unwrap_or(&contract.entity), dialect);
    let mut out = String::new();
    let _ = writeln!(
        out,
        "-- The entity {} of version {}.",
        contract.entity, contract.version
    );
    for rule in &contract.rules {
        let _ = writeln!(
            out,
            "-- The rule {} is checked by the gate.",
            line(&rule.name)
        );
    }
    let _ = writeln!(out, "CREATE TABLE {table} (");
    let mut parts: Vec<(String, Option<String>)> = Vec::new();
    for (i, field) in contract.fields.iter().enumerate() {
        // What an index holds has a length in some dialects.
        let indexed = contract.key.contains(&i) || field.unique;
        parts.push(column(field, indexed, dialect));
    }
    let key: Vec<String> = contract
        .key
        .iter()
        .filter_map(|i| contract.fields.get(*i))
        .map(|field| quote(&field.name, dialect))
        .collect();
    if !key.is_empty() {
        parts.push((format!("PRIMARY KEY ({})", key.join(", ")), None));
    }
    for field in &contract.fields {
        if field.unique {
            parts.push((format!("UNIQUE ({})", quote(&field.name, dialect)), None));
        }
        parts.extend(
            checks(field, dialect)
                .into_iter()
                .map(|check| (format!("CHECK ({check})"), None)),
        );
    }
    let last = parts.len().saturating_sub(1);
    for (i, (part, remark)) in parts.into_iter().enumerate() {
        let comma = if i == last { "" } else { "," };
        let remark = remark.map(|text| format!(" -- {text}")).unwrap_or_default();
        let _ = writeln!(out, "    {part}{comma}{remark}");
    }
    let strict = if dialect == Dialect::Sqlite {
        " STRICT"
    } else {
        ""
    };
    let about = contract.description.as_deref().map(line);
    match (&about, dialect) {
        (Some(about), Dialect::MySql) => {
            _ = writeln!(out, ") COMMENT = {};", literal_text(about, dialect));
        }
        _ => _ = writeln!(out, "){strict};"),
    }
    if dialect == Dialect::Postgres {
        if let Some(about) = about {
            let _ = writeln!(
                out,
                "COMMENT ON TABLE {table} IS {};",
                literal_text(&about, dialect)
            );
        }
        for field in &contract.fields {
            if let Some(about) = &field.description {
                let name = quote(&field.name, dialect);
                let _ = writeln!(
                    out,
                    "COMMENT ON COLUMN {table}.{name} IS {};",
                    literal_text(&line(about), dialect)
                );
            }
        }
    }
    out
}

/// A column, and what is said beside it.
fn column(field: &Field, key: bool, dialect: Dialect) -> (String, Option<String>) {
    let name = quote(&field.name, dialect);
    let kind = kind(field, key, dialect);
    // A field that may be absent is null in a table.
    let null = if field.required && !field.nullable {
        " NOT NULL"
    } else {
        ""
    };
    let default = field.default.as_ref().filter(|default| !default.is_null());
    let default = default
        .filter(|_| {
            !(dialect == Dialect::MySql && matches!(kind.as_str(), "TEXT" | "JSON" | "LONGBLOB"))
        })
        .and_then(|value| literal(value, field.kind, dialect))
        .map(|value| format!(" DEFAULT {value}"))
        .unwrap_or_default();
    let mut text = format!("{name} {kind}{default}{null}");
    let about = field.description.as_deref().map(line);
    if dialect == Dialect::MySql
        && let Some(about) = &about
    {
        text.push_str(&format!(" COMMENT {}", literal_text(about, dialect)));
    }
    let mut remarks = Vec::new();
    if !matches!(dialect, Dialect::Postgres | Dialect::MySql) {
        remarks.extend(about);
    }
    remarks.extend(
        field
            .limits
            .pattern
            .as_ref()
            .map(|pattern| format!("matches {}", line(pattern))),
    );
    remarks.extend(
        field
            .limits
            .format
            .map(|format| format!("of the form {}", words::form(format))),
    );
    // That it is unique is a constraint of the table.
    let facts = words::facts(&Field {
        unique: false,
        ..field.clone()
    });
    remarks.extend(facts.iter().map(|fact| line(fact)));
    (
        text,
        Some(remarks.join("; ")).filter(|text| !text.is_empty()),
    )
}

fn kind(field: &Field, key: bool, dialect: Dialect) -> String {
    use Dialect::{Ansi, MsSql, MySql, Postgres, Sqlite};
    let most = field.limits.max_length;
    let word = match (field.kind, dialect) {
        (Type::Bool, Postgres | Ansi | MySql) => "BOOLEAN",
        (Type::Bool, Sqlite) => "INTEGER",
        (Type::Bool, MsSql) => "BIT",
        (Type::Int, Sqlite) => "INTEGER",
        (Type::Int, _) => "BIGINT",
        (Type::Float, Sqlite) => "REAL",
        (Type::Float, MsSql) => "FLOAT(53)",
        (Type::Float, MySql) => "DOUBLE",
        (Type::Float, _) => "DOUBLE PRECISION",
        // SQLite's numbers are doubles; only a text keeps every digit.
        (Type::Decimal { .. }, Sqlite) => "TEXT",
        (
            Type::Decimal {
                precision: Some(precision),
                scale: Some(scale),
            },
            _,
        ) => {
            return match dialect {
                MySql if precision > 65 || scale > 30 => "TEXT".to_owned(),
                MsSql if precision > 38 => "NVARCHAR(120)".to_owned(),
                Postgres => format!("NUMERIC({precision},{scale})"),
                _ => format!("DECIMAL({precision},{scale})"),
            };
        }
        (Type::Decimal { .. }, Postgres) => "NUMERIC",
        (Type::Decimal { .. }, _) => "DECIMAL(38,10)",
        (Type::Text, Postgres) => match most {
            Some(most) if most <= 10_485_760 => return format!("VARCHAR({most})"),
            _ => "TEXT",
        },
        (Type::Text, Sqlite) => "TEXT",
        (Type::Text, MySql) => match most {
            Some(most) if most <= 16_000 => return format!("VARCHAR({most})"),
            _ if key => return format!("VARCHAR({MYSQL_KEY_MAX})"),
            _ => "TEXT",
        },
        (Type::Text, MsSql) => match most {
            Some(most) if most <= 4000 => return format!("NVARCHAR({most})"),
            _ if key => "NVARCHAR(450)",
            _ => "NVARCHAR(MAX)",
        },
        (Type::Text, Ansi) => return format!("VARCHAR({})", most.unwrap_or(4000)),
        (Type::Bytes, Postgres) => "BYTEA",
        (Type::Bytes, Sqlite | Ansi) => "BLOB",
        (Type::Bytes, MySql) if key => "VARBINARY(255)",
        (Type::Bytes, MySql) => "LONGBLOB",
        (Type::Bytes, MsSql) => "VARBINARY(MAX)",
        (Type::Date | Type::Time | Type::Timestamp | Type::Uuid | Type::Json, Sqlite) => "TEXT",
        (Type::Date, _) => "DATE",
        (Type::Time, Postgres | MySql) => "TIME(6)",
        (Type::Time, MsSql) => "TIME(7)",
        (Type::Time, Ansi) => "TIME",
        (Type::Timestamp, Postgres) => "TIMESTAMPTZ",
        (Type::Timestamp, MySql) => "DATETIME(6)",
        (Type::Timestamp, MsSql) => "DATETIMEOFFSET(7)",
        (Type::Timestamp, Ansi) => "TIMESTAMP WITH TIME ZONE",
        (Type::Uuid, Postgres) => "UUID",
        (Type::Uuid, MsSql) => "UNIQUEIDENTIFIER",
        (Type::Uuid, MySql | Ansi) => "CHAR(36)",
        (Type::Json, Postgres) => "JSONB",
        (Type::Json, MySql) => "JSON",
        (Type::Json, MsSql) => "NVARCHAR(MAX)",
        (Type::Json, Ansi) => "CLOB",
    };
    word.to_owned()
}

/// What every row must keep; a null passes any check.
fn checks(field: &Field, dialect: Dialect) -> Vec<String> {
    let name = quote(&field.name, dialect);
    let mut checks = Vec::new();
    if dialect == Dialect::Sqlite && field.kind == Type::Bool {
        checks.push(format!("{name} IN (0, 1)"));
    }
    if dialect == Dialect::Sqlite && matches!(field.kind, Type::Decimal { .. }) {
        // The text of a decimal is compared as a number below; only numbers may stand there.
        checks.push(format!("{name} NOT GLOB '*[^0-9.-]*'"));
    }
    if let Some(allowed) = &field.allowed {
        let values: Option<Vec<String>> = allowed
            .values
            .iter()
            .map(|value| literal(value, field.kind, dialect))
            .collect();
        if let Some(values) = values.filter(|_| !allowed.open) {
            checks.push(format!("{name} IN ({})", values.join(", ")));
        }
    }
    let limits = &field.limits;
    // A decimal that SQLite holds as a text is compared as a number.
    let own = match (dialect, field.kind) {
        (Dialect::Sqlite, Type::Decimal { .. }) => format!("CAST({name} AS REAL)"),
        _ => name.clone(),
    };
    let bound = |value: &Value| match (dialect, value) {
        (Dialect::Sqlite, Value::Decimal(number)) => Some(number.as_str().to_owned()),
        _ => literal(value, field.kind, dialect),
    };
    if let Some(least) = limits.minimum.as_ref().and_then(bound) {
        checks.push(format!(
            "{own} {} {least}",
            if limits.exclusive_minimum { ">" } else { ">=" }
        ));
    }
    if let Some(most) = limits.maximum.as_ref().and_then(bound) {
        checks.push(format!(
            "{own} {} {most}",
            if limits.exclusive_maximum { "<" } else { "<=" }
        ));
    }
    if let Some(step) = limits.multiple_of.as_ref().and_then(bound) {
        checks.push(format!("{own} % {step} = 0"));
    }
    let length = match (field.kind, dialect) {
        (Type::Text, Dialect::MsSql) => "LEN",
        (_, Dialect::MsSql) => "DATALENGTH",
        (Type::Text, Dialect::Sqlite) => "LENGTH",
        (Type::Text, _) => "CHAR_LENGTH",
        (_, Dialect::Ansi) => "OCTET_LENGTH",
        _ => "LENGTH",
    };
    if matches!(field.kind, Type::Text | Type::Bytes) {
        if let Some(least) = limits.min_length.filter(|least| *least > 0) {
            checks.push(format!("{length}({name}) >= {least}"));
        }
        let said = field.kind == Type::Text
            && kind(field, false, dialect).contains('(')
            && dialect != Dialect::Sqlite;
        if let Some(most) = limits.max_length.filter(|_| !said) {
            checks.push(format!("{length}({name}) <= {most}"));
        }
    }
    checks
}

/// A value as a literal; `None` where the dialect has no portable one.
fn literal(value: &Value, kind: Type, dialect: Dialect) -> Option<String> {
    Some(match value {
        Value::Null => "NULL".to_owned(),
        Value::Bool(flag) => match dialect {
            Dialect::Sqlite | Dialect::MsSql => u8::from(*flag).to_string(),
            _ => if *flag { "TRUE" } else { "FALSE" }.to_owned(),
        },
        Value::Int(number) => number.to_string(),
        Value::Decimal(number) if dialect == Dialect::Sqlite => format!("'{}'", number.as_str()),
        Value::Decimal(number) => number.as_str().to_owned(),
        Value::Float(number) => format!("{number:?}"),
        Value::Text(text) => literal_text(text, dialect),
        Value::Bytes(_) => return None,
        Value::Timestamp(at) if dialect == Dialect::MySql => {
            let at = at.strftime("%Y-%m-%d %H:%M:%S%.6f");
            format!("'{at}'")
        }
        Value::Date(_) if dialect == Dialect::Ansi => format!("DATE '{value}'"),
        Value::Time(_) if dialect == Dialect::Ansi => format!("TIME '{value}'"),
        Value::Timestamp(_) if dialect == Dialect::Ansi => return None,
        Value::Json(text) if kind == Type::Json => literal_text(text, dialect),
        other => literal_text(&other.to_string(), dialect),
    })
}

/// A text literal; control characters have no portable form and become blanks.
fn literal_text(text: &str, dialect: Dialect) -> String {
    let text = text.replace('\0', " ").replace('\'', "''");
    match dialect {
        // MySQL reads a backslash as the beginning of an escape.
        Dialect::MySql => format!("'{}'", text.replace('\\', "\\\\")),
        Dialect::MsSql => format!("N'{text}'"),
        _ => format!("'{text}'"),
    }
}

/// An identifier in the dialect's quotes.
#[must_use]
pub fn quote(name: &str, dialect: Dialect) -> String {
    match dialect {
        Dialect::MySql => format!("`{}`", name.replace('`', "``")),
        Dialect::MsSql => format!("[{}]", name.replace(']', "]]")),
        _ => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// Somebody's text on one line, so that it cannot end a comment.
fn line(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace(char::is_control, " ")
}
