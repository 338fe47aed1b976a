//! What an operator relies on when PostgreSQL is a source: nothing is lost, nothing is skipped silently, and what is wrong says how to mend it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod changes;
#[path = "../common/mod.rs"]
mod common;
mod events;
mod large;
mod migrations;
mod network;
mod partitions;
mod publications;
#[path = "../running/mod.rs"]
mod running;
mod slots;
mod snapshots;
mod starts;
mod types;
mod wanted;

use lockstep_core::change::Op;
use lockstep_core::{Change, Value};
use lockstep_servers::postgres::Database;

const TABLE: &str = "CREATE TABLE t(id int PRIMARY KEY, x text); INSERT INTO t SELECT i, 'old' FROM generate_series(1, 3) i;";

fn database(sql: &str) -> Option<Database> {
    let database = Database::fresh()?;
    database.sql(sql).unwrap();
    Some(database)
}

fn ops(changes: &[Change]) -> Vec<(Op, i64)> {
    let id = |change: &Change| match change.row.value(0) {
        Some(Value::Int(id)) => *id,
        _ => 0,
    };
    changes
        .iter()
        .map(|change| (change.op, id(change)))
        .collect()
}
