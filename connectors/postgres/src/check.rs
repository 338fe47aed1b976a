//! What would keep writing from working, and how to mend it; changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use lockstep_core::connector::Finding;
use lockstep_core::diagnostic::Severity::{self, Error, Warning};
use lockstep_core::{Result, Shape};
use sqlx::postgres::PgConnection;

use crate::catalog::{self, Table};
use crate::client::{failure, quote};
use crate::convert::oid;
use crate::history::History;
use crate::origin;
use crate::progress::CREATE_HELP;
use crate::statements::Target;

/// How far the server's clock may be from this machine's.
const CLOCK_MAX_S: i64 = 5;

/// Looks at what the sink needs; `mapped` are the tables that flows use.
pub(crate) async fn sink(
    conn: &mut PgConnection,
    targets: &[Arc<Shape>],
    mapped: &[String],
    histories: &BTreeMap<String, Arc<History>>,
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    server(conn, &mut findings).await?;
    let mut known = Vec::new();
    for name in mapped {
        if let Ok(table) = catalog::table(conn, name).await {
            known.push(table.oid);
        }
    }
    for shape in targets {
        let table = catalog::table(conn, &shape.name).await?;
        match histories.get(&shape.name) {
            Some(history) => findings.extend(history.findings(&table, shape)),
            None => fits(&table, shape, &mut findings),
        }
        permissions(conn, &table, shape, &mut findings).await?;
        surroundings(conn, &table, &known, &mut findings).await?;
    }
    Ok(findings)
}

fn find(findings: &mut Vec<Finding>, severity: Severity, message: String, help: impl Into<String>) {
    findings.push(Finding {
        severity,
        message,
        help: help.into(),
    });
}

/// The server's clock and settings; both directions look at them.
pub(crate) async fn clock_and_durability(
    conn: &mut PgConnection,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let failed = |error| failure("cannot check the server", error);
    let asked = Timestamp::now();
    let (server, fsync): (i64, String) = sqlx::query_as(
        "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8, current_setting('fsync')",
    )
    .fetch_one(conn)
    .await
    .map_err(failed)?;
    let answered = Timestamp::now();
    // The server looked at its clock somewhere between the question and the answer.
    let early = asked.as_microsecond() - server;
    let late = server - answered.as_microsecond();
    let off = early.max(late) / 1_000_000;
    if off > CLOCK_MAX_S {
        let which = if early > late { "behind" } else { "ahead of" };
        find(
            findings,
            Warning,
            format!("the server's clock is {off} s {which} this machine's"),
            "let both follow a time server; until then delays are shown wrong, and rules that compare times decide wrong",
        );
    }
    if fsync == "off" {
        find(
            findings,
            Warning,
            "the server runs with fsync = off: a crash of its machine loses rows that it confirmed"
                .to_owned(),
            "set fsync = on in postgresql.conf",
        );
    }
    Ok(())
}

async fn server(conn: &mut PgConnection, findings: &mut Vec<Finding>) -> Result<()> {
    let failed = |error| failure("cannot check the server", error);
    clock_and_durability(conn, findings).await?;
    let (standby, read_only, has_progress, may_create, role, database): (bool, bool, bool, bool, String, String) = sqlx::query_as(
        "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')::bool, to_regclass('lockstep.progress') IS NOT NULL,
             CASE WHEN to_regnamespace('lockstep') IS NULL THEN has_database_privilege(current_database(), 'CREATE') ELSE has_schema_privilege('lockstep', 'CREATE, USAGE') END,
             current_user::text, current_database()::text",
    )
    .fetch_one(&mut *conn)
    .await
    .map_err(failed)?;
    if standby || read_only {
        let why = if standby {
            "is a standby"
        } else {
            "has default_transaction_read_only = on"
        };
        find(
            findings,
            Error,
            format!("the server takes no writes: it {why}"),
            "let `url` name the primary, with a role that may write",
        );
    }
    if has_progress {
        let may_write: bool = sqlx::query_scalar(
            "SELECT has_schema_privilege('lockstep', 'USAGE') AND has_table_privilege('lockstep.progress', 'SELECT') AND has_table_privilege('lockstep.progress', 'INSERT') AND has_table_privilege('lockstep.progress', 'UPDATE')",
        )
        .fetch_one(&mut *conn)
        .await
        .map_err(failed)?;
        if !may_write {
            find(
                findings,
                Error,
                format!(
                    "role `{role}` may not write lockstep.progress, where the lanes' progress is kept"
                ),
                format!(
                    "run: GRANT USAGE ON SCHEMA lockstep TO {0}; GRANT SELECT, INSERT, UPDATE ON lockstep.progress TO {0}",
                    quote(&role)
                ),
            );
        }
    } else if !may_create {
        find(
            findings,
            Error,
            format!(
                "role `{role}` may not create the schema `lockstep` in database `{database}`, where the lanes' progress is kept"
            ),
            CREATE_HELP.replace("<the role of `url`>", &quote(&role)),
        );
    }
    let marks: bool = sqlx::query_scalar(
        "SELECT bool_and(has_function_privilege(f, 'EXECUTE')) FROM unnest($1::text[]) AS f",
    )
    .bind(origin::FUNCTIONS.map(str::to_owned).to_vec())
    .fetch_one(conn)
    .await
    .map_err(failed)?;
    if !marks {
        let grants =
            origin::FUNCTIONS.map(|f| format!("GRANT EXECUTE ON FUNCTION {f} TO {}", quote(&role)));
        find(
            findings,
            Warning,
            format!(
                "role `{role}` may not use replication origins, so a source on this database cannot tell Lockstep's writes from others'"
            ),
            format!("run, as a superuser: {}", grants.join("; ")),
        );
    }
    Ok(())
}

/// Whether the shape can be written to the table at all.
fn fits(table: &Table, shape: &Arc<Shape>, findings: &mut Vec<Finding>) {
    let name = &table.name;
    if let Err(error) = Target::new(table, shape, None) {
        find(
            findings,
            Error,
            error.to_string(),
            error.help_text().unwrap_or_default(),
        );
    }
    for column in &table.columns {
        let needed = !column.nullable && !column.has_default && !column.generated;
        if needed && shape.position(&column.name).is_none() {
            find(
                findings,
                Error,
                format!(
                    "column `{}` of table `{name}` is NOT NULL without a default, but the mapping does not write it",
                    column.name
                ),
                format!(
                    "map a field to it, or run: ALTER TABLE {} ALTER COLUMN {} SET DEFAULT <a value>",
                    table.quoted(),
                    quote(&column.name)
                ),
            );
        }
    }
    for key in &shape.key {
        let column = table
            .position(&shape.columns[*key].name)
            .map(|at| &table.columns[at]);
        if let Some(column) = column.filter(|column| column.base_oid == oid::BPCHAR) {
            find(
                findings,
                Warning,
                format!(
                    "key column `{}` of table `{name}` is a char(n), in which blanks at the end mean nothing",
                    column.name
                ),
                format!(
                    "run: ALTER TABLE {} ALTER COLUMN {} TYPE text, or make sure that no two keys differ in such blanks only",
                    table.quoted(),
                    quote(&column.name)
                ),
            );
        }
    }
}

async fn permissions(
    conn: &mut PgConnection,
    table: &Table,
    shape: &Shape,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let failed = |error| failure("cannot check permissions", error).with("table", &table.name);
    let (role, usage, select, insert, update, delete): (String, bool, bool, bool, bool, bool) = sqlx::query_as(
        "SELECT current_user::text, has_schema_privilege($1, 'USAGE'),
             bool_and(has_column_privilege($2::int8::oid, c, 'SELECT')), bool_and(has_column_privilege($2::int8::oid, c, 'INSERT')),
             bool_and(has_column_privilege($2::int8::oid, c, 'UPDATE')), has_table_privilege($2::int8::oid, 'DELETE')
         FROM unnest($3::int2[]) AS c",
    )
    .bind(&table.schema)
    .bind(i64::from(table.oid))
    .bind(numbers(table, shape))
    .fetch_one(conn)
    .await
    .map_err(failed)?;
    if !usage {
        find(
            findings,
            Error,
            format!(
                "role `{role}` may not use the schema of table `{}`",
                table.name
            ),
            format!(
                "run: GRANT USAGE ON SCHEMA {} TO {}",
                quote(&table.schema),
                quote(&role)
            ),
        );
    }
    let missing: Vec<&str> = [
        (select, "SELECT"),
        (insert, "INSERT"),
        (update, "UPDATE"),
        (delete, "DELETE"),
    ]
    .into_iter()
    .filter_map(|(has, word)| (!has).then_some(word))
    .collect();
    if !missing.is_empty() {
        let words = missing.join(", ");
        find(
            findings,
            Error,
            format!("role `{role}` lacks {words} on table `{}`", table.name),
            format!(
                "run: GRANT {words} ON {} TO {}",
                table.quoted(),
                quote(&role)
            ),
        );
    }
    Ok(())
}

fn numbers(table: &Table, shape: &Shape) -> Vec<i16> {
    let positions = shape.names().filter_map(|name| table.position(name));
    positions
        .map(|position| table.columns[position].number)
        .collect()
}

/// What else acts when the table is written: parents, triggers, rules, row security.
async fn surroundings(
    conn: &mut PgConnection,
    table: &Table,
    mapped: &[u32],
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let name = &table.name;
    let failed = |error| failure("cannot check the table", error).with("table", name);
    let parents: Vec<(i64, String, String)> = sqlx::query_as(
        "SELECT confrelid::int8, confrelid::regclass::text, conname::text FROM pg_catalog.pg_constraint
         WHERE conrelid = $1::int8::oid AND contype = 'f' AND confrelid <> conrelid AND conparentid = 0 ORDER BY conname",
    )
    .bind(i64::from(table.oid))
    .fetch_all(&mut *conn)
    .await
    .map_err(failed)?;
    for (parent, parent_name, constraint) in parents {
        if !mapped.iter().any(|known| i64::from(*known) == parent) {
            find(
                findings,
                Warning,
                format!(
                    "table `{name}` has a foreign key `{constraint}` to `{parent_name}`, which no flow writes"
                ),
                format!(
                    "make sure that the rows of `{parent_name}` are there; a record whose row is missing waits, and then goes to quarantine"
                ),
            );
        }
    }
    let (row_security, rules, triggers): (bool, Vec<String>, Vec<String>) = sqlx::query_as(
        "SELECT row_security_active($1::int8::oid),
             ARRAY(SELECT rulename::text FROM pg_catalog.pg_rewrite WHERE ev_class = $1::int8::oid AND ev_type <> '1' AND ev_enabled IN ('O', 'A') ORDER BY 1),
             ARRAY(SELECT tgname::text FROM pg_catalog.pg_trigger WHERE tgrelid = $1::int8::oid AND NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgtype & 3 = 3 ORDER BY 1)",
    )
    .bind(i64::from(table.oid))
    .fetch_one(conn)
    .await
    .map_err(failed)?;
    if row_security {
        find(
            findings,
            Warning,
            format!(
                "row security applies to table `{name}` for this role, so it may hide rows and refuse writes"
            ),
            "give the role BYPASSRLS, or a policy that lets it see and write every row that flows write",
        );
    }
    for rule in rules {
        find(
            findings,
            Error,
            format!(
                "rule `{rule}` of table `{name}` rewrites writes, and PostgreSQL has no upsert on such a table"
            ),
            format!(
                "run: DROP RULE {} ON {}, and put a trigger in its place",
                quote(&rule),
                table.quoted()
            ),
        );
    }
    for trigger in triggers {
        find(
            findings,
            Warning,
            format!(
                "trigger `{trigger}` of table `{name}` runs before each row and may alter or drop what is written"
            ),
            "make sure that it leaves alone what flows write; verification shows what it does not",
        );
    }
    Ok(())
}
