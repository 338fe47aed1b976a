//! What capture keeps inside the business system's file: the change table, the triggers that fill it, and the names by which a run knows that nothing was missed.
//!
//! - `_lockstep_source`: one row, the incarnation of the change table and the system it is captured for.
//! - `_lockstep_changes`: one row per change, in commit order; `c0…` hold the row's image and, for an update, the image before.
//! - `_lockstep_captures`: one row per installation of triggers on a table, with its columns (so older rows of the change table can still be read), the text of the triggers (so a change to them is seen) and since when they have run without a gap.
//! - `_lockstep_replaced`, `_lockstep_origin`: see [`triggers`](crate::triggers).

use std::collections::HashMap;
use std::sync::Arc;

use lockstep_core::{Error, Result, Shape};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use uuid::Uuid;

use crate::catalog::Table;
use crate::client::{failure, quote};
use crate::triggers::{NOW_MS, triggers};

/// A capture in force: what a run needs to read the change table.
#[derive(Clone, Debug)]
pub(crate) struct Capture {
    /// The life of the change table.
    pub(crate) incarnation: Arc<str>,
    /// The schema version under which all this holds.
    pub(crate) schema: i64,
    /// The captured tables, in the order of the configuration.
    pub(crate) tables: Vec<Captured>,
    /// How rows of each capture number are laid out.
    pub(crate) layouts: HashMap<i64, Layout>,
    /// How many value columns a row of the change table has at most.
    pub(crate) width: usize,
}

/// A captured table.
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    pub(crate) table: Table,
    pub(crate) shape: Arc<Shape>,
    /// The sequence since which its changes have been logged without a gap.
    pub(crate) since: u64,
}

/// How one capture number's rows are laid out.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// Index into [`Capture::tables`].
    pub(crate) table: usize,
    /// For each logged column its position in the table's shape, if it is still there.
    pub(crate) places: Vec<Option<usize>>,
}

/// Installs the capture, or finds it installed, inside one transaction.
///
/// # Errors
/// A table that cannot be captured, or a file that is captured for another system.
pub(crate) fn install(tx: &Transaction<'_>, system: &str, names: &[String]) -> Result<Capture> {
    let failed = |error| failure("cannot install the capture", error);
    let incarnation = keep_house(tx, system)?;
    let tables = names
        .iter()
        .map(|name| {
            let table = Table::read(tx, name)?;
            table.must_be_capturable()?;
            Ok(table)
        })
        .collect::<Result<Vec<_>>>()?;
    let widest = tables
        .iter()
        .map(|table| table.columns.len())
        .max()
        .unwrap_or(0);
    widen(tx, "_lockstep_changes", 2 * widest).map_err(failed)?;
    widen(tx, "_lockstep_replaced", widest).map_err(failed)?;
    let mut captured = Vec::with_capacity(tables.len());
    for table in tables {
        let since = install_table(tx, &table).map_err(failed)?;
        captured.push(Captured {
            shape: table.shape(),
            table,
            since,
        });
    }
    drop_strays(tx, names).map_err(failed)?;
    Ok(Capture {
        incarnation: incarnation.into(),
        schema: schema_version(tx).map_err(failed)?,
        layouts: layouts(tx, &captured).map_err(failed)?,
        width: 2 * widest,
        tables: captured,
    })
}

/// Creates Lockstep's own tables where they are missing, and gives the incarnation.
fn keep_house(tx: &Transaction<'_>, system: &str) -> Result<String> {
    let failed = |error| failure("cannot create the change table", error);
    let fresh = !has_table(tx, "_lockstep_changes").map_err(failed)?;
    tx.execute_batch(
        "CREATE TABLE IF NOT EXISTS _lockstep_source(id INTEGER PRIMARY KEY CHECK (id = 1), incarnation TEXT NOT NULL, system TEXT NOT NULL);
         CREATE TABLE IF NOT EXISTS _lockstep_changes(seq INTEGER PRIMARY KEY AUTOINCREMENT, cap INTEGER NOT NULL, op TEXT NOT NULL, at INTEGER NOT NULL);
         CREATE TABLE IF NOT EXISTS _lockstep_captures(id INTEGER PRIMARY KEY, tbl TEXT NOT NULL COLLATE NOCASE, columns TEXT NOT NULL, sql TEXT NOT NULL, since INTEGER NOT NULL);
         CREATE TABLE IF NOT EXISTS _lockstep_replaced(cap INTEGER NOT NULL);",
    )
    .map_err(failed)?;
    create_origin(tx).map_err(failed)?;
    let known: Option<(String, String)> = tx
        .query_row(
            "SELECT incarnation, system FROM _lockstep_source",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
        .map_err(failed)?;
    match known {
        Some((_, other)) if other != system => Err(Error::config(format!(
            "the file is already captured for system `{other}`, and two systems cannot share one capture"
        ))
        .help(format!("use `{other}` in the flows, or, if `{other}` is gone for good, run: UPDATE _lockstep_source SET system = '{system}'"))),
        Some((incarnation, _)) if !fresh => Ok(incarnation),
        // A new change table counts from 1 again, so it is another life even where the old name is still known.
        _ => renew(tx, system).map_err(failed),
    }
}

/// The table by which the sink's own writes are known.
pub(crate) fn create_origin(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "CREATE TABLE IF NOT EXISTS _lockstep_origin(tbl TEXT PRIMARY KEY COLLATE NOCASE) WITHOUT ROWID;",
    )
}

/// Begins a new incarnation.
pub(crate) fn renew(conn: &Connection, system: &str) -> rusqlite::Result<String> {
    let incarnation = Uuid::now_v7().simple().to_string();
    conn.execute(
        "INSERT OR REPLACE INTO _lockstep_source(id, incarnation, system) VALUES (1, ?1, ?2)",
        params![incarnation, system],
    )?;
    Ok(incarnation)
}

/// Writes a row that is no change, so that the sequence moves on; gives its sequence and time.
pub(crate) fn stamp(conn: &Connection) -> rusqlite::Result<(u64, i64)> {
    conn.query_row(
        &format!(
            "INSERT INTO _lockstep_changes(cap, op, at) VALUES (0, 'M', {NOW_MS}) RETURNING seq, at"
        ),
        [],
        |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?)),
    )
}

/// The highest sequence ever given out.
pub(crate) fn highest(conn: &Connection) -> rusqlite::Result<u64> {
    conn.prepare_cached(
        "SELECT max(coalesce((SELECT max(seq) FROM _lockstep_changes), 0), coalesce((SELECT seq FROM sqlite_sequence WHERE name = '_lockstep_changes'), 0))",
    )?
    .query_row([], |row| Ok(row.get::<_, i64>(0)?.unsigned_abs()))
}

pub(crate) fn schema_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("PRAGMA schema_version")?
        .query_row([], |row| row.get(0))
}

pub(crate) fn has_table(conn: &Connection, name: &str) -> rusqlite::Result<bool> {
    conn.prepare_cached(
        "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE",
    )?
    .exists([name])
}

/// Installs the triggers of one table; gives the sequence since which its changes have been logged without a gap.
fn install_table(tx: &Transaction<'_>, table: &Table) -> rusqlite::Result<u64> {
    let last: Option<(i64, String, String, i64)> = tx
        .prepare_cached("SELECT id, columns, sql, since FROM _lockstep_captures WHERE tbl = ?1 ORDER BY id DESC LIMIT 1")?
        .query_row([&table.name], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let columns = column_list(table);
    let standing = standing(tx, &table.name)?;
    let continuous = last.as_ref().is_some_and(|(_, _, sql, _)| *sql == standing);
    if let (true, Some((id, listed, sql, since))) = (continuous, &last)
        && *listed == columns
        && *sql == joined(&triggers(table, *id))
    {
        return Ok(since.unsigned_abs());
    }
    let since = match &last {
        Some((_, listed, _, since)) if continuous => {
            tracing::warn!(table = %table.name, was = %listed, now = %columns, "the table's declaration changed: its triggers are made anew; values that were written to a new column in between follow with the next change of their row, or with a backfill");
            *since
        }
        gap => {
            if gap.is_some() {
                tracing::warn!(table = %table.name, "the table's triggers were missing or altered: it is read again from its first row; deletes in between show up in verification");
            }
            stamp(tx)?.0.cast_signed()
        }
    };
    drop_triggers(tx, &table.name)?;
    let id: i64 = tx.query_row(
        "INSERT INTO _lockstep_captures(tbl, columns, sql, since) VALUES (?1, ?2, '', ?3) RETURNING id",
        params![table.name, columns, since],
        |row| row.get(0),
    )?;
    for sql in triggers(table, id) {
        tx.execute_batch(&sql)?;
    }
    tx.execute(
        "UPDATE _lockstep_captures SET sql = ?2 WHERE id = ?1",
        params![id, self::standing(tx, &table.name)?],
    )?;
    Ok(since.unsigned_abs())
}

/// The text of the triggers that stand on a table.
fn standing(conn: &Connection, table: &str) -> rusqlite::Result<String> {
    let mut statement = conn.prepare_cached(
        "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE AND name LIKE '\\_lockstep\\_%' ESCAPE '\\' ORDER BY name",
    )?;
    let texts = statement.query_map([table], |row| row.get::<_, String>(0))?;
    Ok(joined(&texts.collect::<rusqlite::Result<Vec<_>>>()?))
}

fn joined(texts: &[String]) -> String {
    texts.join(";\n")
}

fn drop_triggers(conn: &Connection, table: &str) -> rusqlite::Result<()> {
    let mut statement = conn.prepare_cached(
        "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE AND name LIKE '\\_lockstep\\_%' ESCAPE '\\'",
    )?;
    let names = statement
        .query_map([table], |row| row.get::<_, String>(0))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    // A trigger of this table's name may stand on a table that was renamed away.
    let own = [
        "insert",
        "update",
        "delete",
        "before_insert",
        "before_update",
    ]
    .map(|what| format!("_lockstep_{table}_{what}"));
    for name in names.iter().chain(&own) {
        conn.execute_batch(&format!("DROP TRIGGER IF EXISTS {}", quote(name)))?;
    }
    Ok(())
}

/// Takes the triggers off tables that no flow uses any more, so the change table does not grow for nobody.
fn drop_strays(conn: &Connection, names: &[String]) -> rusqlite::Result<()> {
    let mut statement = conn.prepare_cached(
        "SELECT DISTINCT tbl_name FROM sqlite_schema WHERE type = 'trigger' AND name LIKE '\\_lockstep\\_%' ESCAPE '\\'",
    )?;
    let tables = statement
        .query_map([], |row| row.get::<_, String>(0))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    for table in tables {
        if !names.iter().any(|name| name.eq_ignore_ascii_case(&table)) {
            tracing::info!(table = %table, "no flow uses the table any more: its triggers are removed");
            drop_triggers(conn, &table)?;
        }
    }
    Ok(())
}

fn widen(conn: &Connection, table: &str, width: usize) -> rusqlite::Result<()> {
    let has: i64 = conn.query_row(
        "SELECT count(*) FROM pragma_table_info(?1) WHERE name GLOB 'c[0-9]*'",
        [table],
        |row| row.get(0),
    )?;
    for i in has..i64::try_from(width).unwrap_or(i64::MAX) {
        // No type: a value is kept exactly as it is.
        conn.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN c{i}"))?;
    }
    Ok(())
}

fn column_list(table: &Table) -> String {
    let names: Vec<&str> = table
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    serde_json::Value::from(names).to_string()
}

fn layouts(conn: &Connection, tables: &[Captured]) -> rusqlite::Result<HashMap<i64, Layout>> {
    let mut statement = conn.prepare_cached("SELECT id, tbl, columns FROM _lockstep_captures")?;
    let mut rows = statement.query([])?;
    let mut layouts = HashMap::new();
    while let Some(row) = rows.next()? {
        let (id, name, list): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let same = |captured: &Captured| captured.table.name.eq_ignore_ascii_case(&name);
        let Some(table) = tables.iter().position(same) else {
            continue;
        };
        let logged: Vec<String> = serde_json::from_str(&list).unwrap_or_default();
        let places = logged
            .iter()
            .map(|column| tables[table].table.position(column));
        layouts.insert(
            id,
            Layout {
                table,
                places: places.collect(),
            },
        );
    }
    Ok(layouts)
}
