//! What would keep the source from working, and the statement that mends it; changes nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lockstep_core::connector::{Finding, Need, Reads};
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Error, Result};

use crate::catalog::Table;
use crate::client::{literal, quote};
use crate::config::{Config, Endpoint, Publish, own_name};
use crate::enter::Server;
use crate::publication;
use crate::slot;
use crate::spool::must_be_writable;
use crate::tables::{Captured, capturable, deferrable, told};
use crate::wire::{Connection, Line, Purpose};

/// Looks at everything that a run needs.
pub(crate) async fn check(
    endpoint: &Endpoint,
    config: &Config,
    system: &str,
    (tables, reads): (&[Table], &BTreeMap<String, Reads>),
    needs: &[Need],
    spool: PathBuf,
) -> Result<Vec<Finding>> {
    let mut conn = Connection::open(endpoint, &own_name(system), Purpose::Sql).await?;
    let server = Server::ask(&mut conn).await?;
    let mut findings = Vec::new();
    if let Err(error) = server.must_fit(endpoint) {
        findings.push(finding(&error));
    }
    if config.protocol == 2
        && let Err(error) = must_be_writable(spool).await
    {
        findings.push(finding(&error));
    }
    let mut captured = Vec::new();
    for table in tables {
        let reads = reads.get(&table.name).cloned().unwrap_or_default();
        match capturable(table).and_then(|()| Captured::of(table, reads)) {
            Ok(mut table) => {
                table.narrow = config.publish == Publish::Wanted;
                captured.push(table);
            }
            Err(error) => findings.push(finding(&error)),
        }
        findings.extend(generated(table));
        let needs = needs.iter().filter(|need| need.table == table.name);
        for need in needs {
            findings.extend(untold(table, need));
            findings.extend(late(table, need));
        }
    }
    role(&mut conn, endpoint, &captured, &mut findings).await?;
    slots(
        &mut conn,
        &config.slot(system),
        &server.database,
        &mut findings,
    )
    .await?;
    publications(
        &mut conn,
        &config.publication(system),
        &captured,
        server.version,
        &mut findings,
    )
    .await?;
    Ok(findings)
}

/// The columns that deletes have to tell and do not.
fn untold(table: &Table, need: &Need) -> Option<Finding> {
    let told = told(table)?;
    let is_untold = |name: &&String| {
        let position = table.shape.position(name);
        position.is_some_and(|column| !told.contains(&column))
    };
    let untold: Vec<&str> = need
        .columns
        .iter()
        .filter(is_untold)
        .map(String::as_str)
        .collect();
    (!untold.is_empty()).then(|| {
        error(
            format!(
                "the replica identity of table `{}` does not tell {} of rows that are deleted, and the mapping names records by it",
                table.name,
                untold.join(", ")
            ),
            format!(
                "ALTER TABLE {} REPLICA IDENTITY FULL; or, where they are NOT NULL and unique, REPLICA IDENTITY USING INDEX over them",
                table.quoted()
            ),
        )
    })
}

/// A record's columns that two rows may share for a while. The table's own key is looked at anyway.
fn late(table: &Table, need: &Need) -> Option<Finding> {
    let columns = need.columns.iter().map(|name| table.position(name));
    let columns: Vec<usize> = columns.collect::<Option<_>>()?;
    let is_key = columns.len() == table.key.len() && columns.iter().all(|c| table.key.contains(c));
    let (message, help) = deferrable(table, &columns).filter(|_| !is_key)?;
    Some(error(message, help))
}

/// What the role may do.
async fn role(
    conn: &mut Connection,
    endpoint: &Endpoint,
    tables: &[Captured],
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let role = quote(&endpoint.user);
    let may = conn
        .query("SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user")
        .await?;
    if !is_true(may.first()) {
        findings.push(error(
            format!("role `{}` may not replicate", endpoint.user),
            format!("let a superuser run: ALTER ROLE {role} REPLICATION"),
        ));
    }
    for table in tables {
        // Columns that nobody reads may stay hidden.
        let read = table
            .read()
            .map(|place| literal(&table.columns[place].name));
        let read: Vec<String> = read.collect();
        let sql = format!(
            "SELECT coalesce(bool_and(has_column_privilege({}, c, 'SELECT')), false) FROM unnest(ARRAY[{}]::text[]) AS c",
            table.oid,
            read.join(", ")
        );
        if !is_true(conn.query(&sql).await?.first()) {
            findings.push(error(
                format!(
                    "role `{}` may not read table `{}`",
                    endpoint.user, table.name
                ),
                format!(
                    "GRANT USAGE ON SCHEMA {} TO {role}; GRANT SELECT ON {} TO {role}",
                    quote(&table.schema),
                    table.quoted
                ),
            ));
        }
    }
    Ok(())
}

/// Whether the slot is there and ours, or can be made.
async fn slots(
    conn: &mut Connection,
    name: &str,
    database: &str,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let Some(found) = slot::look(conn, name).await? else {
        let free = "SELECT count(*) < current_setting('max_replication_slots')::int FROM pg_replication_slots";
        if !is_true(conn.query(free).await?.first()) {
            findings.push(error(
                "the server has no replication slot left".to_owned(),
                "raise max_replication_slots and restart the server, or drop a slot that nobody uses: SELECT slot_name FROM pg_replication_slots WHERE NOT active".to_owned(),
            ));
        }
        return Ok(());
    };
    let theirs = |why: String| {
        error(
            format!("replication slot `{name}` is not Lockstep's: {why}"),
            "name another slot with `slot`".to_owned(),
        )
    };
    match (found.plugin.as_deref(), found.database.as_deref()) {
        (Some("pgoutput"), Some(other)) if other == database => {}
        (Some("pgoutput"), other) => {
            findings.push(theirs(format!(
                "it belongs to database `{}`",
                other.unwrap_or_default()
            )));
        }
        (other, _) => findings.push(theirs(format!(
            "its output plug-in is {}, not pgoutput",
            other.unwrap_or("none")
        ))),
    }
    if found.lost {
        findings.push(error(
            format!("replication slot `{name}` lost the log that it needs"),
            "raise max_slot_wal_keep_size; `lockstep run` says how to accept the gap".to_owned(),
        ));
    }
    Ok(())
}

/// Whether the publication tells everything, or can be made to.
async fn publications(
    conn: &mut Connection,
    name: &str,
    tables: &[Captured],
    version: u32,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let found = publication::look(conn, name, version).await?;
    let wrong = found
        .iter()
        .flat_map(|found| found.wrong(name, tables, version));
    findings.extend(wrong.map(|(message, help)| error(message, help)));
    let missing = match &found {
        Some(found) => found.missing(tables),
        None => (0..tables.len()).collect(),
    };
    if missing.is_empty() {
        return Ok(());
    }
    let (may, sql) = match &found {
        Some(_) => (
            format!(
                "SELECT pg_has_role(pubowner, 'USAGE') FROM pg_publication WHERE pubname = {}",
                literal(name)
            ),
            publication::add(name, missing.iter().map(|table| &tables[*table])),
        ),
        None => (
            "SELECT has_database_privilege(current_database(), 'CREATE')".to_owned(),
            publication::create(name, tables, version),
        ),
    };
    let mut may = is_true(conn.query(&may).await?.first());
    for table in &missing {
        let owns = format!(
            "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = {}",
            tables[*table].oid
        );
        may &= is_true(conn.query(&owns).await?.first());
    }
    if !may {
        let names: Vec<&str> = missing
            .iter()
            .map(|table| tables[*table].name.as_str())
            .collect();
        findings.push(error(
            format!(
                "publication `{name}` lacks {}, and the role may not add them",
                names.join(", ")
            ),
            format!("let the tables' owner run: {sql}"),
        ));
    }
    Ok(())
}

fn generated(table: &Table) -> Option<Finding> {
    let names: Vec<&str> = table
        .columns
        .iter()
        .filter(|c| c.generated)
        .map(|c| c.name.as_str())
        .collect();
    (!names.is_empty()).then(|| Finding {
        severity: Severity::Info,
        message: format!(
            "generated columns of table `{}` are not captured, because the replication stream of most servers does not carry them: {}",
            table.name,
            names.join(", ")
        ),
        help: "map the columns that they are computed from".to_owned(),
    })
}

fn is_true(line: Option<&Line>) -> bool {
    line.and_then(|line| line.first())
        .and_then(Option::as_deref)
        == Some("t")
}

fn finding(found: &Error) -> Finding {
    error(
        found.to_string(),
        found.help_text().unwrap_or_default().to_owned(),
    )
}

fn error(message: String, help: String) -> Finding {
    Finding {
        severity: Severity::Error,
        message,
        help,
    }
}
