//! What would keep writing from working, and how to mend it; changes nothing.

use std::sync::Arc;

use lockstep_core::connector::Finding;
use lockstep_core::diagnostic::Severity::{Error, Warning};
use lockstep_core::{Result, Shape};
use mysql_async::Conn;

use crate::catalog::{self, Table};
use crate::client::{Client, failure, texts};
use crate::convert::Form;
use crate::names::quote;
use crate::progress::{self, CREATE_HELP};
use crate::readiness::{clock, find};
use crate::statements::Target;

/// Looks at what the sink needs.
pub(crate) async fn sink(
    conn: &mut Conn,
    client: &Client,
    targets: &[Arc<Shape>],
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    clock(conn, &mut findings).await?;
    let grants = Grants::ask(conn, client).await?;
    writable(conn, &mut findings).await?;
    if !progress::exists(conn).await? && !grants.may("CREATE", progress::TABLE) {
        find(
            &mut findings,
            Error,
            format!(
                "user `{}` may not create the table `{}`, where the lanes' progress is kept",
                grants.user,
                progress::TABLE
            ),
            CREATE_HELP,
        );
    }
    if !grants.may("CREATE TEMPORARY TABLES", "*") {
        find(
            &mut findings,
            Error,
            format!(
                "user `{}` may not create temporary tables, through which rows are written",
                grants.user
            ),
            format!(
                "run: GRANT CREATE TEMPORARY TABLES ON {}.* TO {}",
                quote(&grants.database),
                grants.user
            ),
        );
    }
    for shape in targets {
        let table = catalog::table(conn, &shape.name, &grants.database).await?;
        fits(&table, shape, &mut findings);
        if table.name.database == grants.database {
            for privilege in ["SELECT", "INSERT", "UPDATE", "DELETE"] {
                if !grants.may(privilege, &table.name.table) {
                    find(
                        &mut findings,
                        Error,
                        format!(
                            "user `{}` lacks {privilege} on table `{}`",
                            grants.user, table.spelled
                        ),
                        format!(
                            "run: GRANT {privilege} ON {} TO {}",
                            table.quoted(),
                            grants.user
                        ),
                    );
                }
            }
        }
    }
    Ok(findings)
}

/// Whether the server takes writes, and keeps them.
async fn writable(conn: &mut Conn, findings: &mut Vec<Finding>) -> Result<()> {
    let sql = "SELECT @@GLOBAL.read_only, @@GLOBAL.innodb_flush_log_at_trx_commit";
    let lines = texts(conn, sql)
        .await
        .map_err(|error| failure("cannot check the server", error))?;
    let of = |place: usize| {
        lines
            .first()
            .and_then(|line| line.get(place).cloned().flatten())
            .unwrap_or_default()
    };
    if of(0) == "1" {
        find(
            findings,
            Error,
            "the server takes no writes: it is read_only",
            "let `url` name the primary",
        );
    }
    if of(1) != "1" {
        find(
            findings,
            Warning,
            format!(
                "the server runs with innodb_flush_log_at_trx_commit = {}: a crash of its machine loses rows that it confirmed",
                of(1)
            ),
            "let an administrator run: SET GLOBAL innodb_flush_log_at_trx_commit = 1",
        );
    }
    Ok(())
}

/// What a user was granted, as far as it can be read from the server's own words; roles and patterns are given the benefit of the doubt.
struct Grants {
    user: String,
    database: String,
    lines: Vec<String>,
}

impl Grants {
    async fn ask(conn: &mut Conn, client: &Client) -> Result<Grants> {
        let lines = texts(conn, "SHOW GRANTS")
            .await
            .map_err(|error| failure("cannot check privileges", error))?;
        Ok(Grants {
            user: client.endpoint().user.clone(),
            database: client.endpoint().database.clone(),
            lines: lines.into_iter().flatten().flatten().collect(),
        })
    }

    fn may(&self, privilege: &str, table: &str) -> bool {
        self.lines.iter().any(|line| {
            let Some((privileges, rest)) = line
                .strip_prefix("GRANT ")
                .and_then(|line| line.split_once(" ON "))
            else {
                // A role, whose privileges are not listed here.
                return true;
            };
            let scope = rest.split(" TO ").next().unwrap_or_default();
            let database = scope
                .split('.')
                .next()
                .unwrap_or_default()
                .trim_matches('`')
                .replace("\\_", "_");
            let here = scope == "*.*"
                || (scope.ends_with(".*") && (database == self.database || database.contains('%')))
                || scope == format!("{}.{}", quote(&self.database), quote(table));
            let has = privileges.split(", ").any(|word| {
                word == privilege
                    || word.starts_with("ALL PRIVILEGES")
                    || word.starts_with(&format!("{privilege} ("))
            });
            here && has
        })
    }
}

/// Whether the shape can be written to the table at all.
fn fits(table: &Table, shape: &Arc<Shape>, findings: &mut Vec<Finding>) {
    let name = &table.spelled;
    if let Err(error) = Target::new(table, shape) {
        find(
            findings,
            Error,
            error.to_string(),
            error.help_text().unwrap_or_default(),
        );
    }
    if table
        .engine
        .as_deref()
        .is_some_and(|engine| !engine.eq_ignore_ascii_case("InnoDB"))
    {
        let engine = table.engine.as_deref().unwrap_or_default();
        find(
            findings,
            Error,
            format!(
                "table `{name}` is stored by {engine}, whose rows are not written in one transaction with the lanes' progress"
            ),
            format!("run: ALTER TABLE {} ENGINE = InnoDB", table.quoted()),
        );
    }
    for column in &table.columns {
        let needed = !column.has_default && !column.generated;
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
    for (place, written) in shape.columns.iter().enumerate() {
        let Some(column) = table.position(&written.name).map(|at| &table.columns[at]) else {
            continue;
        };
        let in_key = shape.key.contains(&place);
        if in_key && column.pads() && !column.is_lax() {
            find(
                findings,
                Warning,
                format!(
                    "key column `{}` of table `{name}` compares without blanks at the end; records whose keys end with one are refused",
                    column.name
                ),
                "give it a collation that does not pad (utf8mb4_nopad_bin on MariaDB, utf8mb4_0900_bin on MySQL), or make sure that no key ends with a blank",
            );
        }
        if matches!(column.form, Form::Datetime | Form::Timestamp | Form::Time)
            && column.fraction < 6
        {
            find(
                findings,
                Warning,
                format!(
                    "column `{}` of table `{name}` keeps {} digits of a second's fraction; more exact values are refused, not rounded",
                    column.name, column.fraction
                ),
                format!(
                    "run: ALTER TABLE {} MODIFY {} {}(6), or let the mapping cut them",
                    table.quoted(),
                    quote(&column.name),
                    column.declared.split('(').next().unwrap_or_default()
                ),
            );
        }
        let narrow = column
            .charset
            .as_deref()
            .filter(|name| !matches!(*name, "utf8mb4" | "binary"));
        if let Some(charset) = narrow.filter(|_| column.form.is_textual()) {
            find(
                findings,
                Warning,
                format!(
                    "column `{}` of table `{name}` has character set {charset}; records with other characters are refused",
                    column.name
                ),
                format!(
                    "run: ALTER TABLE {} CONVERT TO CHARACTER SET utf8mb4",
                    table.quoted()
                ),
            );
        }
    }
}
