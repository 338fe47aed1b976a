//! The sink: one transaction a batch, with the lanes' progress in it.
//!
//! Progress is compared first: where it is not what the batch expects, another writer took over, and nothing is written.
//! A batch that holds a refused change is rolled back and tried again change by change, only to learn every change that is refused.

use std::sync::Arc;

use lockstep_core::connector::{
    Batch, Finding, Incarnation, LaneProgress, Limits, OpenContext, Outcome, Receipt, Sink,
};
use lockstep_core::{Column, Error, Kind, Result, Shape};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use uuid::Uuid;

use crate::capture::{create_origin, has_table};
use crate::catalog::{Table, TableKind, is_there};
use crate::check;
use crate::client::{Access, Client, Worker, failure, quote};
use crate::config::Config;
use crate::convert;
use crate::writer::{Failed, Targets, Writer};

/// Writes to a SQLite file.
pub struct SqliteSink {
    client: Client<Targets>,
    tables: Vec<String>,
    batch_max: usize,
}

impl Sink for SqliteSink {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        Ok(SqliteSink {
            client: Client::open(&config, &cx, Access::Write, Targets::default()).await?,
            tables: cx.tables,
            batch_max: config.batch_max,
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        let names = self.tables.clone();
        self.client
            .call(move |worker| {
                let shape = |name: &String| Ok(Table::read(&worker.conn, name)?.shape());
                names.iter().map(shape).collect()
            })
            .await
    }

    async fn check(&self, targets: &[Arc<Shape>]) -> Result<Vec<Finding>> {
        let (targets, tables) = (targets.to_vec(), self.tables.clone());
        self.client
            .call(move |worker| check::sink(&worker.conn, &targets, &tables))
            .await
    }

    async fn prepare(&self, targets: &[Arc<Shape>]) -> Result<()> {
        let targets = targets.to_vec();
        self.client
            .call(move |worker| {
                for shape in &targets {
                    worker.state.of(&worker.conn, shape)?;
                }
                prepare(&worker.conn)
                    .map_err(|error| failure("cannot create the progress table", error))
            })
            .await
    }

    async fn add_columns(&self, table: &str, columns: &[Column]) -> Result<()> {
        let (table, columns) = (table.to_owned(), columns.to_vec());
        self.client
            .call(move |worker| add_columns(&mut worker.conn, &table, &columns))
            .await
    }

    async fn incarnation(&self, table: &str) -> Result<Option<Incarnation>> {
        let table = table.to_owned();
        self.client
            .call(move |worker| {
                // Nothing that goes with it can stand on a view or a virtual table.
                if Table::read(&worker.conn, &table)?.kind != TableKind::Table {
                    return Ok(None);
                }
                let mark = incarnation(&mut worker.conn, &table)
                    .map_err(|error| failure("cannot mark the table", error))?;
                // A column leaves no trace in the file.
                Ok(mark.map(|table| Incarnation {
                    table,
                    ..Incarnation::default()
                }))
            })
            .await
    }

    async fn missing(&self) -> Result<Vec<String>> {
        let names = self.tables.clone();
        self.client
            .call(move |worker| {
                let mut missing = Vec::new();
                for name in names {
                    let there = is_there(&worker.conn, &name);
                    let failed = |error| failure("cannot read the file's schema", error);
                    if !there.map_err(failed)? {
                        missing.push(name);
                    }
                }
                Ok(missing)
            })
            .await
    }

    async fn create_table(&self, table: &Shape) -> Result<()> {
        let statement = declare(table);
        self.client
            .call(move |worker| {
                let made = worker.conn.execute_batch(&statement);
                made.map_err(|error| failure("cannot make a table", error))
            })
            .await
    }

    async fn progress(&self, flow: &str) -> Result<Vec<LaneProgress>> {
        let flow = flow.to_owned();
        self.client
            .call(move |worker| {
                progress(&worker.conn, &flow)
                    .map_err(|error| failure("cannot read the lanes' progress", error))
            })
            .await
    }

    async fn apply(&self, batch: &Batch) -> Result<Receipt> {
        let batch = batch.clone();
        self.client.call(move |worker| apply(worker, &batch)).await
    }

    fn limits(&self) -> Limits {
        Limits {
            batch_max: self.batch_max,
            progress: true,
            ..Limits::default()
        }
    }
}

fn prepare(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "CREATE TABLE IF NOT EXISTS _lockstep_progress(flow TEXT NOT NULL, lane TEXT NOT NULL, seq INTEGER NOT NULL, position TEXT, PRIMARY KEY (flow, lane)) WITHOUT ROWID;",
    )?;
    create_origin(conn)
}

/// Adds the columns that are not there, all or none.
fn add_columns(conn: &mut Connection, table: &str, columns: &[Column]) -> Result<()> {
    let failed = |error| failure("cannot add a column", error);
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    let known = Table::read(&tx, table)?;
    for column in columns {
        if known.position(&column.name).is_some() {
            continue;
        }
        let kind = column.kind.map(convert::declaration).unwrap_or_default();
        let (table, name) = (quote(table), quote(&column.name));
        tx.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {name} {kind}"))
            .map_err(failed)?;
    }
    tx.commit().map_err(failed)
}

/// What marks a table: a trigger that never does anything and goes with the table, because SQLite itself gives another table of the same name the same numbers.
const MARK: &str = "lockstep_mark_";

/// The mark of a table, made where there is none.
fn incarnation(conn: &mut Connection, table: &str) -> rusqlite::Result<Option<String>> {
    let known = |conn: &Connection| {
        conn.prepare_cached(
            "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE AND substr(name, 1, length(?2)) = ?2",
        )?
        .query_row(params![table, MARK], |row| row.get::<_, String>(0))
        .optional()
    };
    if let Some(mark) = known(conn)? {
        return Ok(Some(mark));
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another worker may have come between.
    if let Some(mark) = known(&tx)? {
        return Ok(Some(mark));
    }
    let mark = format!("{MARK}{}", Uuid::now_v7().simple());
    tx.execute_batch(&format!(
        "CREATE TRIGGER {} AFTER DELETE ON {} WHEN 0 BEGIN SELECT 1; END",
        quote(&mark),
        quote(table)
    ))?;
    tx.commit()?;
    Ok(Some(mark))
}

/// The statement that makes a table, unless it is there.
fn declare(table: &Shape) -> String {
    let column = |column: &Column| {
        let kind = column.kind.map(convert::declaration).unwrap_or_default();
        let null = if column.nullable { "" } else { " NOT NULL" };
        format!("{} {kind}{null}", quote(&column.name))
    };
    let columns: Vec<String> = table.columns.iter().map(column).collect();
    let key = table.key.iter();
    let key: Vec<String> = key.map(|at| quote(&table.columns[*at].name)).collect();
    format!(
        "CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY ({}))",
        quote(&table.name),
        columns.join(", "),
        key.join(", ")
    )
}

fn progress(conn: &Connection, flow: &str) -> rusqlite::Result<Vec<LaneProgress>> {
    if !has_table(conn, "_lockstep_progress")? {
        return Ok(Vec::new());
    }
    conn.prepare_cached(
        "SELECT lane, seq, position FROM _lockstep_progress WHERE flow = ?1 ORDER BY lane",
    )?
    .query_map([flow], |row| {
        let reached = row.get::<_, i64>(1)?.unsigned_abs();
        let position: Option<String> = row.get(2)?;
        Ok(LaneProgress {
            lane: row.get(0)?,
            expected: reached,
            reached,
            position: position.and_then(|text| text.parse().ok()),
        })
    })?
    .collect()
}

fn apply(worker: &mut Worker<Targets>, batch: &Batch) -> Result<Receipt> {
    let failed = |error| failure("cannot write to the file", error);
    let Worker { conn, state } = worker;
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    fence(&tx, batch)?;
    claim_origin(&tx, batch).map_err(failed)?;
    let mut writer = Writer::new(&tx, state);
    for change in &batch.changes {
        match writer.write(change) {
            Ok(()) => {}
            Err(Failed::Stop(error)) => return Err(error),
            Err(Failed::Refused(_)) => {
                drop(writer);
                // A trigger's RAISE(ROLLBACK) may have ended the transaction already.
                if !tx.is_autocommit() {
                    tx.rollback().map_err(failed)?;
                } else {
                    drop(tx);
                }
                return find_refused(conn, state, batch);
            }
        }
    }
    drop(writer);
    tx.execute("DELETE FROM _lockstep_origin", [])
        .map_err(failed)?;
    advance(&tx, batch).map_err(failed)?;
    tx.commit().map_err(failed)?;
    Ok(Receipt::Committed(vec![
        Outcome::APPLIED;
        batch.changes.len()
    ]))
}

/// Compares each lane's progress with what the batch expects.
fn fence(conn: &Connection, batch: &Batch) -> Result<()> {
    let failed = |error| failure("cannot read the lanes' progress", error);
    for lane in &batch.progress {
        let stored: Option<i64> = conn
            .prepare_cached("SELECT seq FROM _lockstep_progress WHERE flow = ?1 AND lane = ?2")
            .map_err(failed)?
            .query_row(params![batch.flow, lane.lane], |row| row.get(0))
            .optional()
            .map_err(failed)?;
        let stored = stored.unwrap_or(0).unsigned_abs();
        if stored != lane.expected {
            return Err(Error::new(
                Kind::Stopped,
                format!(
                    "lane `{}` of flow `{}` stands at {stored} in the target, not at {}: another writer took over, or this batch is already applied",
                    lane.lane, batch.flow, lane.expected
                ),
            ));
        }
    }
    Ok(())
}

/// Marks the tables that this transaction writes, so that a source on the same file leaves the writes out.
fn claim_origin(conn: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    let mut last: Option<&Arc<Shape>> = None;
    for change in &batch.changes {
        if last.is_none_or(|shape| !Arc::ptr_eq(shape, &change.shape)) {
            conn.prepare_cached("INSERT OR IGNORE INTO _lockstep_origin(tbl) VALUES (?1)")?
                .execute([&change.shape.name])?;
            last = Some(&change.shape);
        }
    }
    Ok(())
}

fn advance(conn: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    for lane in &batch.progress {
        conn.prepare_cached("INSERT OR REPLACE INTO _lockstep_progress(flow, lane, seq, position) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![
                batch.flow,
                lane.lane,
                lane.reached.cast_signed(),
                lane.position.as_ref().map(ToString::to_string),
            ])?;
    }
    Ok(())
}

/// Tries every change on its own, and takes all of it back.
fn find_refused(conn: &mut Connection, state: &mut Targets, batch: &Batch) -> Result<Receipt> {
    let failed = |error| failure("cannot write to the file", error);
    let mut refused = Vec::new();
    let mut from = 0;
    // A trigger's RAISE(ROLLBACK) ends the transaction in the middle; what is left is tried in another one.
    while from < batch.changes.len() {
        let tx = conn
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        claim_origin(&tx, batch).map_err(failed)?;
        let mut writer = Writer::new(&tx, state);
        while from < batch.changes.len() && !tx.is_autocommit() {
            tx.execute_batch("SAVEPOINT one_change").map_err(failed)?;
            match writer.write(&batch.changes[from]) {
                Ok(()) => {}
                Err(Failed::Stop(error)) => return Err(error),
                Err(Failed::Refused(reason)) => {
                    refused.push((from, Outcome::Rejected { reason }));
                    if !tx.is_autocommit() {
                        tx.execute_batch("ROLLBACK TO one_change").map_err(failed)?;
                    }
                }
            }
            if !tx.is_autocommit() {
                tx.execute_batch("RELEASE one_change").map_err(failed)?;
            }
            from += 1;
        }
    }
    if refused.is_empty() {
        return Err(Error::transient(
            "a change was refused, but not when it was tried again",
        ));
    }
    Ok(Receipt::RolledBack(refused))
}
