//! A PostgreSQL database of a business system, and a sink or reader on it.

#![allow(dead_code, reason = "each test program uses a part of this")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use lockstep_core::change::Op;
use lockstep_core::connector::{
    Batch, DynReader, DynSink, Finding, LaneProgress, OpenContext, Outcome, RawConfig, Receipt,
};
use lockstep_core::diagnostic::Severity;
use lockstep_core::position::Mark;
use lockstep_core::{Change, Error, Result, Row, Shape, Value};
use lockstep_postgres::connector;
use lockstep_servers::postgres::Database;
use serde_json::json;

/// A database with the business system's tables, or nothing where there is no PostgreSQL.
pub(crate) fn database(sql: &str) -> Option<Database> {
    let database = Database::fresh()?;
    database.sql(sql).unwrap();
    Some(database)
}

pub(crate) fn config(url: &str) -> RawConfig {
    serde_json::from_value(json!({ "url": url, "batch_max": 300, "connections": 2 })).unwrap()
}

/// Origins belong to the whole cluster and go with the database whose name they hold, so a system bears that name.
pub(crate) fn context(database: &Database, tables: &[&str]) -> OpenContext {
    OpenContext {
        system: database.name().to_owned(),
        folder: PathBuf::from("."),
        tables: tables.iter().map(|name| (*name).to_owned()).collect(),
        reads: Default::default(),
    }
}

pub(crate) async fn sink(database: &Database, tables: &[&str]) -> Box<dyn DynSink> {
    let cx = context(database, tables);
    connector()
        .open_sink(config(&database.url()), cx)
        .await
        .unwrap()
}

pub(crate) async fn reader(database: &Database, tables: &[&str]) -> Box<dyn DynReader> {
    let cx = context(database, tables);
    connector()
        .open_reader(config(&database.url()), cx)
        .await
        .unwrap()
}

/// A prepared sink, and the whole shape of its only table.
pub(crate) async fn prepared(database: &Database, table: &str) -> (Box<dyn DynSink>, Arc<Shape>) {
    let sink = sink(database, &[table]).await;
    let shape = sink.discover().await.unwrap().remove(0);
    sink.prepare(&[Arc::clone(&shape)]).await.unwrap();
    (sink, shape)
}

/// Some columns of a table as a target; its key is the first of them.
pub(crate) fn part(shape: &Shape, columns: &[&str]) -> Arc<Shape> {
    let column = |name: &&str| shape.columns[shape.position(name).unwrap()].clone();
    Arc::new(Shape {
        name: shape.name.clone(),
        columns: columns.iter().map(column).collect(),
        key: vec![0],
    })
}

pub(crate) fn change(
    shape: &Arc<Shape>,
    op: Op,
    values: impl IntoIterator<Item = Value>,
) -> Change {
    Change {
        shape: Arc::clone(shape),
        op,
        row: Row::of(values),
        before: None,
        mark: Mark::default(),
        committed_at: Timestamp::UNIX_EPOCH,
        origin: None,
    }
}

pub(crate) fn upsert(shape: &Arc<Shape>, values: impl IntoIterator<Item = Value>) -> Change {
    change(shape, Op::Updated, values)
}

/// A batch without progress.
pub(crate) fn batch(changes: Vec<Change>) -> Batch {
    Batch {
        flow: "f".to_owned(),
        changes,
        progress: Vec::new(),
        follows: false,
    }
}

/// A batch that moves its lane by one.
pub(crate) fn step(expected: u64, changes: Vec<Change>) -> Batch {
    Batch {
        progress: vec![LaneProgress {
            lane: "lane".to_owned(),
            expected,
            reached: expected + 1,
            position: None,
        }],
        ..batch(changes)
    }
}

/// What was refused, by index.
pub(crate) fn refused(receipt: Result<Receipt>) -> Vec<(usize, Outcome)> {
    match receipt.unwrap() {
        Receipt::RolledBack(refused) => refused,
        committed => panic!("nothing was refused: {committed:?}"),
    }
}

pub(crate) fn is_committed(receipt: &Result<Receipt>) -> bool {
    matches!(receipt, Ok(Receipt::Committed(_)))
}

pub(crate) fn says(findings: &[Finding], severity: Severity, part: &str) -> bool {
    let fits = |finding: &&Finding| finding.severity == severity && finding.message.contains(part);
    findings
        .iter()
        .any(|finding| fits(&finding) && !finding.help.is_empty())
}

/// The error of something that must not work.
pub(crate) fn fails<T>(result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("it worked"),
        Err(error) => error,
    }
}
