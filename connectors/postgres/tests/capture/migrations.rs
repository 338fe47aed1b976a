//! Tables that change while they are captured.

use lockstep_core::change::Op;
use lockstep_core::{Change, Kind, Value};
use lockstep_servers::postgres::Database;
use serde_json::json;

use crate::running::{Setup, says};
use crate::{TABLE, database, ops};

#[tokio::test]
async fn columns_that_are_added_are_told_and_others_stop_the_run() {
    let Some(database) = database(TABLE) else {
        return;
    };
    let setup = Setup::of(&database, &["t"]);
    let mut run = setup.run(None).await;
    run.settled().await;
    database
        .sql("ALTER TABLE t ADD y int DEFAULT 5; INSERT INTO t VALUES (4, 'a', 6)")
        .unwrap();
    let told = run.changes(1).await;
    assert_eq!(told[0].shape.columns[2].name, "y");
    assert_eq!(told[0].row.value(2), Some(&Value::Int(6)));
    let position = run.position();
    database
        .sql("ALTER TABLE t RENAME x TO z; INSERT INTO t VALUES (5, 'b', 7)")
        .unwrap();
    let error = run.error().await;
    assert_eq!(error.kind(), Kind::Config);
    says(&error, "columns of table `t` changed");
    // A new start takes the table as it is now, and reads it again.
    database.sql("INSERT INTO t VALUES (6, 'c', 8)").unwrap();
    let mut run = setup.run(Some(&position)).await;
    let told = run
        .until(|told| {
            told.iter()
                .any(|change| ops(std::slice::from_ref(change))[0].1 == 6)
        })
        .await;
    assert!(
        told.iter()
            .all(|change| change.shape.columns[1].name == "z"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_table_that_left_the_publication_and_came_back_is_read_again() {
    let Some(database) = database(TABLE) else {
        return;
    };
    let setup = Setup::of(&database, &["t"]);
    let mut run = setup.run(None).await;
    run.settled().await;
    let position = run.position();
    run.kill().await;
    let publication = format!("lockstep_{}", database.name());
    database
        .sql(&format!(
            "ALTER PUBLICATION {publication} DROP TABLE t; INSERT INTO t VALUES (8, 'untold'); ALTER PUBLICATION {publication} ADD TABLE ONLY t"
        ))
        .unwrap();
    let mut run = setup.run(Some(&position)).await;
    assert_eq!(
        ops(&run.settled().await).last(),
        Some(&(Op::Snapshot, 8)),
        "what nobody told is read"
    );
    // Once is enough.
    let position = run.position();
    run.kill().await;
    let mut run = setup.run(Some(&position)).await;
    database.sql("DELETE FROM t WHERE id = 8").unwrap();
    assert_eq!(ops(&run.changes(1).await), [(Op::Deleted, 8)]);
}

#[tokio::test]
async fn a_table_that_was_made_anew_takes_the_rows_of_the_old_one_with_it() {
    let Some(database) = database(TABLE) else {
        return;
    };
    let setup = Setup::of(&database, &["t"]).with("snapshot_rows", json!(2));
    let mut run = setup.run(None).await;
    let mut told = run.settled().await;
    let publication = format!("lockstep_{}", database.name());
    let anew = |first: u32| {
        format!(
            "DROP TABLE t; CREATE TABLE t(id int PRIMARY KEY, x text); INSERT INTO t SELECT i, 'new' FROM generate_series({first}, {first} + 4) i; ALTER PUBLICATION {publication} ADD TABLE ONLY t"
        )
    };
    // Under way, where the next change tells that it is another table; then while nobody runs.
    database
        .sql(&format!("{}; INSERT INTO t VALUES (30, 'new')", anew(10)))
        .unwrap();
    let truncated = |told: &[Change]| told.iter().any(|change| change.op == Op::Truncated);
    told.extend(run.until(truncated).await);
    told.extend(run.settled().await);
    let truth = |database: &Database| {
        let rows = database.sql("SELECT id FROM t ORDER BY id").unwrap();
        rows.lines()
            .map(|id| id.parse::<i64>().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(left(&told), truth(&database));
    let position = run.position();
    run.kill().await;
    database.sql(&anew(12)).unwrap();
    let mut run = setup.run(Some(&position)).await;
    told.extend(run.settled().await);
    assert_eq!(left(&told), truth(&database));
}

/// The numbers of the rows that changes leave behind.
fn left(told: &[Change]) -> Vec<i64> {
    let mut left = std::collections::BTreeSet::new();
    for (op, id) in ops(told) {
        match op {
            Op::Truncated => left.clear(),
            Op::Deleted => drop(left.remove(&id)),
            _ => drop(left.insert(id)),
        }
    }
    left.into_iter().collect()
}

#[tokio::test]
async fn a_migration_that_rewrites_a_table_has_it_read_again() {
    let Some(database) = database(
        "CREATE TABLE t(id int PRIMARY KEY, v bigint); INSERT INTO t SELECT i, 7 FROM generate_series(1, 3) i",
    ) else {
        return;
    };
    let setup = Setup::of(&database, &["t"]);
    let mut run = setup.run(None).await;
    run.settled().await;
    database
        .sql("ALTER TABLE t ALTER COLUMN v TYPE int USING 1; INSERT INTO t VALUES (4, 1)")
        .unwrap();
    let all = |told: &[Change]| {
        let read = |id| {
            told.iter().any(|change| {
                change.row.value(0) == Some(&Value::Int(id))
                    && change.row.value(1) == Some(&Value::Int(1))
            })
        };
        (1..=4).all(read)
    };
    run.until(all).await;
    run.settled().await;
    // A type that the mapping does not fit ends the run; whoever starts again reads all of it.
    let position = run.position();
    database
        .sql("ALTER TABLE t ALTER COLUMN v TYPE text USING 'x'; INSERT INTO t VALUES (5, 'x')")
        .unwrap();
    says(&run.error().await, "columns of table `t` changed");
    let mut run = setup.run(Some(&position)).await;
    run.until(|told| {
        let read = |id| {
            told.iter()
                .any(|change| *change.row.value(0).unwrap() == Value::Int(id))
        };
        (1..=5).all(read)
    })
    .await;
    run.settled().await;
    // So does one that began when the migration was over already.
    let position = run.position();
    run.kill().await;
    database
        .sql("ALTER TABLE t ALTER COLUMN v TYPE varchar(9) USING 'y'")
        .unwrap();
    let mut run = setup.run(Some(&position)).await;
    assert_eq!(run.settled().await.len(), 5);
}
