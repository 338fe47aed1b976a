//! A table as PostgreSQL would write it in SQL: columns, comments, checks, references, and the types that its columns have.
//!
//! Knows nothing of contracts; only reads PostgreSQL's catalogs, all in one snapshot.

use std::fmt::Write as _;

use lockstep_core::Result;
use lockstep_core::connector::Definition;
use sqlx::postgres::PgConnection;

use crate::catalog;
use crate::client::{Client, failure, run};

/// The columns: name, type, whether null is refused, comment, and what computes it where the database does.
const COLUMNS: &str = "SELECT pg_catalog.quote_ident(a.attname), pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_catalog.quote_literal(pg_catalog.col_description(a.attrelid, a.attnum)),
        CASE WHEN a.attgenerated <> '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END
    FROM pg_catalog.pg_attribute a
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = $1::int8::oid AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum";
/// A column as [`COLUMNS`] tells it.
type Listed = (String, String, bool, Option<String>, Option<String>);
/// Checks, references and what is unique; what was never proved of the rows that are there says nothing of them.
const CONSTRAINTS: &str = "SELECT pg_catalog.pg_get_constraintdef(c.oid)
    FROM pg_catalog.pg_constraint c
    WHERE c.conrelid = $1::int8::oid AND c.contype IN ('c', 'f', 'u') AND c.convalidated
    ORDER BY c.contype, c.conname";
/// The lists of values and the bounded types among the columns' types.
const TYPES: &str = "SELECT pg_catalog.format_type(t.oid, NULL), t.typtype = 'e',
        CASE WHEN t.typtype = 'e'
            THEN (SELECT string_agg(pg_catalog.quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid)
            ELSE pg_catalog.format_type(t.typbasetype, t.typtypmod)
                || coalesce((SELECT string_agg(' ' || pg_catalog.pg_get_constraintdef(c.oid), '' ORDER BY c.conname)
                    FROM pg_catalog.pg_constraint c WHERE c.contypid = t.oid AND c.contype = 'c' AND c.convalidated), '')
        END
    FROM pg_catalog.pg_type t
    WHERE t.typtype IN ('e', 'd') AND t.oid IN (SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1::int8::oid AND a.attnum > 0 AND NOT a.attisdropped)
    ORDER BY t.oid";

/// The statements that would make a table.
pub(crate) async fn read(client: &Client, name: &str) -> Result<Definition> {
    let mut lease = client
        .begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    let table = catalog::table(lease.conn(), name).await?;
    let failed = |error| failure("cannot read the database's catalogs", error).with("table", name);
    let sql = statements(lease.conn(), table.oid, &table.quoted())
        .await
        .map_err(failed)?;
    let done = run(lease.conn(), "COMMIT").await;
    done.map_err(failed)?;
    lease.keep();
    Ok(Definition {
        dialect: "postgres",
        sql,
    })
}

async fn statements(conn: &mut PgConnection, oid: u32, table: &str) -> sqlx::Result<String> {
    let mut sql = String::new();
    let types: Vec<(String, bool, Option<String>)> = sqlx::query_as(TYPES)
        .bind(i64::from(oid))
        .fetch_all(&mut *conn)
        .await?;
    for (name, is_list, body) in types {
        let body = body.unwrap_or_default();
        let _ = if is_list {
            writeln!(sql, "CREATE TYPE {name} AS ENUM ({body});")
        } else {
            writeln!(sql, "CREATE DOMAIN {name} AS {body};")
        };
    }
    let columns: Vec<Listed> = sqlx::query_as(COLUMNS)
        .bind(i64::from(oid))
        .fetch_all(&mut *conn)
        .await?;
    let listed = columns.iter().map(|(name, kind, required, _, computed)| {
        let required = if *required { " NOT NULL" } else { "" };
        let computed = computed.as_ref().map_or_else(String::new, |expression| {
            format!(" GENERATED ALWAYS AS ({expression}) STORED")
        });
        format!("{name} {kind}{computed}{required}")
    });
    let listed = listed.collect::<Vec<_>>().join(",\n    ");
    let _ = writeln!(sql, "CREATE TABLE {table} (\n    {listed}\n);");
    let constraints: Vec<String> = sqlx::query_scalar(CONSTRAINTS)
        .bind(i64::from(oid))
        .fetch_all(&mut *conn)
        .await?;
    for constraint in constraints {
        let _ = writeln!(sql, "ALTER TABLE {table} ADD {constraint};");
    }
    let comment: Option<String> = sqlx::query_scalar(
        "SELECT pg_catalog.quote_literal(pg_catalog.obj_description($1::int8::oid, 'pg_class'))",
    )
    .bind(i64::from(oid))
    .fetch_one(&mut *conn)
    .await?;
    if let Some(comment) = comment {
        let _ = writeln!(sql, "COMMENT ON TABLE {table} IS {comment};");
    }
    for (name, _, _, comment, _) in &columns {
        if let Some(comment) = comment {
            let _ = writeln!(sql, "COMMENT ON COLUMN {table}.{name} IS {comment};");
        }
    }
    Ok(sql)
}
