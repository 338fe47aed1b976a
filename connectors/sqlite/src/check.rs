//! What would keep capture or writing from working, and how to mend it; changes nothing.

use std::sync::Arc;

use lockstep_core::connector::Finding;
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Result, Shape};
use rusqlite::Connection;

use crate::capture::has_table;
use crate::catalog::Table;
use crate::client::{failure, quote};
use crate::statements::{Statements, no_unique, no_unique_help};
use crate::triggers::unseen;

/// Looks at what the source needs.
pub(crate) fn source(conn: &Connection, system: &str, names: &[String]) -> Result<Vec<Finding>> {
    let failed = |error| failure("cannot check the file", error);
    let mut findings = Vec::new();
    let mut find = |severity, message: String, help: String| {
        findings.push(Finding {
            severity,
            message,
            help,
        });
    };
    if conn.is_readonly("main").map_err(failed)? {
        find(
            Severity::Error,
            "the file is read-only for this process, but capture installs triggers in it"
                .to_owned(),
            "give this process the right to write the file and its folder".to_owned(),
        );
    }
    let journal = journal_mode(conn).map_err(failed)?;
    if journal != "wal" {
        find(
            Severity::Warning,
            format!(
                "the file's journal mode is `{journal}`, in which readers and writers wait for each other"
            ),
            "consider running, once: PRAGMA journal_mode = WAL".to_owned(),
        );
    }
    let other: Option<String> = if has_table(conn, "_lockstep_source").map_err(failed)? {
        conn.query_row(
            "SELECT max(system) FROM _lockstep_source WHERE system <> ?1",
            [system],
            |row| row.get(0),
        )
        .map_err(failed)?
    } else {
        None
    };
    if let Some(other) = other {
        find(
            Severity::Error,
            format!("the file is already captured for system `{other}`"),
            format!(
                "use `{other}` in the flows, or, if `{other}` is gone for good, run: UPDATE _lockstep_source SET system = '{system}'"
            ),
        );
    }
    for name in names {
        let table = Table::read(conn, name)?;
        if let Err(error) = table.must_be_capturable() {
            find(
                Severity::Error,
                error.to_string(),
                error.help_text().unwrap_or_default().to_owned(),
            );
            continue;
        }
        for column in table.key.iter().map(|column| &table.columns[*column]) {
            if column.nullable {
                find(
                    Severity::Warning,
                    format!(
                        "key column `{}` of table `{name}` may hold null, and a row without a key goes to quarantine",
                        column.name
                    ),
                    format!(
                        "declare it NOT NULL; rows at fault: SELECT * FROM {} WHERE {} IS NULL",
                        quote(name),
                        quote(&column.name)
                    ),
                );
            }
        }
        for index in unseen(&table) {
            find(
                Severity::Warning,
                format!("a row of table `{name}` that REPLACE removes through index `{}` (over an expression, or partial) is not seen to go", index.name),
                "write with ON CONFLICT DO UPDATE instead of OR REPLACE, or rely on verification to find such rows".to_owned(),
            );
        }
    }
    Ok(findings)
}

/// Looks at what the sink needs; `mapped` are the tables that flows write.
pub(crate) fn sink(
    conn: &Connection,
    targets: &[Arc<Shape>],
    mapped: &[String],
) -> Result<Vec<Finding>> {
    let failed = |error| failure("cannot check the file", error);
    let mut findings = Vec::new();
    let mut find = |severity, message: String, help: String| {
        findings.push(Finding {
            severity,
            message,
            help,
        });
    };
    if conn.is_readonly("main").map_err(failed)? {
        find(
            Severity::Error,
            "the file is read-only for this process".to_owned(),
            "give this process the right to write the file and its folder, where SQLite keeps its journal".to_owned(),
        );
    }
    for shape in targets {
        let name = &shape.name;
        let table = Table::read(conn, name)?;
        let key: Option<Vec<usize>> = shape
            .key
            .iter()
            .map(|column| table.position(&shape.columns[*column].name))
            .collect();
        let unique = key.and_then(|key| table.unique_over(&key));
        let lax = unique
            .iter()
            .flatten()
            .find(|(_, collation)| collation != "BINARY");
        if let Some((column, collation)) = lax {
            let column = &table.columns[*column].name;
            find(
                Severity::Error,
                format!(
                    "key column `{column}` of table `{name}` is compared by {collation}, so records whose keys differ only to the eye of the contract would overwrite each other"
                ),
                format!(
                    "declare {} with COLLATE BINARY, or map the key to a column that is",
                    quote(column)
                ),
            );
        } else if unique.is_none() {
            find(
                Severity::Error,
                no_unique(&table),
                no_unique_help(&table, shape),
            );
        } else if let Err(error) = Statements::new(&table, shape) {
            find(
                Severity::Error,
                error.to_string(),
                error.help_text().unwrap_or_default().to_owned(),
            );
        }
        let written = |column: &str| shape.names().any(|name| name.eq_ignore_ascii_case(column));
        for column in &table.columns {
            let needed = !column.nullable && !column.has_default && !column.generated;
            if needed && !written(&column.name) {
                find(
                    Severity::Error,
                    format!(
                        "column `{}` of table `{name}` is NOT NULL without a default, but the mapping does not write it",
                        column.name
                    ),
                    format!(
                        "map a field to it, or recreate the table with a default for {}",
                        quote(&column.name)
                    ),
                );
            }
        }
        for parent in &table.parents {
            if !mapped
                .iter()
                .any(|known| known.eq_ignore_ascii_case(parent))
            {
                find(
                    Severity::Warning,
                    format!("table `{name}` has a foreign key to `{parent}`, which no flow writes"),
                    format!(
                        "make sure that the rows of `{parent}` are there; Lockstep's writes are not checked against foreign keys"
                    ),
                );
            }
        }
    }
    Ok(findings)
}

/// The file's journal mode, in SQLite's word.
pub(crate) fn journal_mode(conn: &Connection) -> rusqlite::Result<String> {
    conn.query_row("PRAGMA journal_mode", [], |row| row.get(0))
}
