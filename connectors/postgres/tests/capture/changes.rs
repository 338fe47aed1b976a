//! What is told of each kind of change.

use lockstep_core::change::Op;
use lockstep_core::{Cell, Change, Value};
use serde_json::json;

use crate::running::{Setup, row};
use crate::{TABLE, database, ops};

#[tokio::test]
async fn a_transaction_that_was_cut_goes_on_where_it_was_cut_under_the_same_marks() {
    let Some(database) = database("CREATE TABLE t(id int PRIMARY KEY, x text)") else {
        return;
    };
    let setup = Setup::of(&database, &["t"]).with("batch_max", json!(10));
    let mut run = setup.run(None).await;
    run.settled().await;
    database
        .sql("INSERT INTO t SELECT i, 'x' FROM generate_series(1, 95) i")
        .unwrap();
    let mut whole = Vec::new();
    while whole.len() < 95 {
        whole.extend(run.next().await);
    }
    let marks = |changes: &[Change]| changes.iter().map(|change| change.mark).collect::<Vec<_>>();
    let mut told = 0;
    let cuts = run
        .taken
        .iter()
        .filter(|(changes, _)| !changes.is_empty())
        .map(|(changes, cut)| {
            told += changes.len();
            (told, cut.clone())
        });
    let cuts: Vec<_> = cuts.collect();
    assert!(cuts.len() > 5, "the transaction was not cut");
    run.kill().await;
    for (told, cut) in cuts.iter().step_by(3) {
        let mut run = setup.run(Some(cut)).await;
        let left = 95 - told;
        let rest = if left == 0 {
            Vec::new()
        } else {
            run.changes(left).await
        };
        assert_eq!(marks(&rest), marks(&whole[95 - left..]), "cut at {cut}");
        run.kill().await;
    }
}

#[tokio::test]
async fn every_kind_of_change_is_told() {
    let Some(database) = database(
        "CREATE TABLE t(id int PRIMARY KEY, x text, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL; CREATE TABLE u(id int PRIMARY KEY)",
    ) else {
        return;
    };
    let mut run = Setup::of(&database, &["t", "u"]).run(None).await;
    run.settled().await;
    database.sql("INSERT INTO t VALUES (1, 'a', repeat('b', 9000)); UPDATE t SET x = 'c'; UPDATE t SET id = 2; DELETE FROM t; INSERT INTO u VALUES (1); TRUNCATE t, u").unwrap();
    let told = run.changes(7).await;
    assert_eq!(
        ops(&told),
        [
            (Op::Created, 1),
            (Op::Updated, 1),
            (Op::Updated, 2),
            (Op::Deleted, 2),
            (Op::Created, 1),
            (Op::Truncated, 0),
            (Op::Truncated, 0)
        ]
    );
    // What was not touched is not sent, and is no null.
    assert_eq!(told[1].row.cell(2), &Cell::Unchanged);
    assert_eq!(told[1].before, None);
    // A key change is one change.
    assert_eq!(
        told[2].before.as_ref().unwrap().value(0),
        Some(&Value::Int(1))
    );
    assert_eq!(told[2].row.cell(2), &Cell::Unchanged);
    assert_eq!(told[5].shape.name, "t");
    assert!(
        told[0]
            .committed_at
            .duration_since(jiff::Timestamp::now())
            .as_secs()
            .abs()
            < 60
    );
    // Where the old row is told whole, nothing is left out.
    database.sql("ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t VALUES (1, 'a', repeat('b', 9000)); UPDATE t SET x = 'c'").unwrap();
    let told = run.changes(2).await;
    assert!(told[1].row.is_whole() && told[1].before.as_ref().unwrap().is_whole());
}

#[tokio::test]
async fn what_a_sink_of_ours_wrote_is_not_told() {
    let Some(database) = database(TABLE) else {
        return;
    };
    let mut run = Setup::of(&database, &["t"]).run(None).await;
    run.settled().await;
    let name = database.name();
    let written = |origin: &str, id: i64| {
        database
            .sql(&format!(
                "SELECT pg_replication_origin_create('{origin}'); SELECT pg_replication_origin_session_setup('{origin}'); INSERT INTO t VALUES ({id}, 'x')"
            ))
            .unwrap()
    };
    written(&format!("lockstep_{name}"), 10);
    written(&format!("theirs_{name}"), 11);
    database.sql("INSERT INTO t VALUES (12, 'x')").unwrap();
    assert_eq!(
        ops(&run.changes(2).await),
        [(Op::Created, 11), (Op::Created, 12)]
    );
}

#[tokio::test]
async fn changes_that_happen_while_nobody_runs_are_told_in_order() {
    let Some(database) = database(TABLE) else {
        return;
    };
    let setup = Setup::of(&database, &["t"]);
    let mut run = setup.run(None).await;
    let snapshot = run.settled().await;
    assert_eq!(snapshot[0].row, row(1, "old"));
    let position = run.position();
    run.kill().await;
    database.sql("UPDATE t SET x = 'new' WHERE id = 1; DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (4, 'x')").unwrap();
    let mut run = setup.run(Some(&position)).await;
    assert_eq!(
        ops(&run.changes(3).await),
        [(Op::Updated, 1), (Op::Deleted, 2), (Op::Created, 4)]
    );
}
