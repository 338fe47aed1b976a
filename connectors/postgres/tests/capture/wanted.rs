//! Columns and rows that nobody wants stay where they are: in snapshots, in publications, and when a part is read again.

use lockstep_core::change::Op;
use lockstep_core::connector::{Control, Filter, Sign};
use lockstep_core::{Change, Value};
use serde_json::json;

use crate::running::Setup;
use crate::{database, ops};

const WIDE: &str = "CREATE TABLE t(id int PRIMARY KEY, x text, secret text, n int); INSERT INTO t SELECT i, CASE WHEN i % 2 = 0 THEN 'even' ELSE 'odd' END, 'hidden', i FROM generate_series(1, 6) i;";

/// Which columns of a change are known.
fn known(change: &Change) -> Vec<usize> {
    (0..4)
        .filter(|at| change.row.value(*at).is_some())
        .collect()
}

#[tokio::test]
async fn a_column_without_a_right_to_it_hinders_nobody_who_does_not_want_it() {
    let Some(database) = database(WIDE) else {
        return;
    };
    let role = format!("reader_{}", database.name());
    database
        .sql(&format!(
            "CREATE ROLE {role} LOGIN REPLICATION PASSWORD 'pw'; GRANT SELECT (id, x) ON t TO {role}; CREATE PUBLICATION lockstep_{} FOR TABLE t",
            database.name()
        ))
        .unwrap();
    let url = database.url_as(&role, "pw");
    let every = Setup::new(&url, database.name(), &["t"]);
    let findings = every.check().await.unwrap();
    assert!(
        findings
            .iter()
            .any(|finding| finding.message.contains("may not read table `t`")),
        "{findings:?}"
    );
    let some = every.wanting("t", &["id", "x"], Some("row.x == 'even'"));
    assert!(some.check().await.unwrap().is_empty());
    let mut run = some.run(None).await;
    let told = run.settled().await;
    assert_eq!(ops(&told), [2, 4, 6].map(|id| (Op::Snapshot, id)));
    assert!(
        told.iter().all(|change| known(change) == [0, 1]),
        "{told:?}"
    );
    run.kill().await;
}

#[tokio::test]
async fn a_publication_of_our_own_tells_what_is_wanted_as_far_as_the_identity_allows() {
    let Some(database) = database(&format!(
        "{WIDE} CREATE TABLE f(id int PRIMARY KEY, x text, n int); ALTER TABLE f REPLICA IDENTITY FULL"
    )) else {
        return;
    };
    let name = database.name();
    let setup = Setup::of(&database, &["f", "t"])
        .with("publish", json!("wanted"))
        .wanting("t", &["id", "x"], Some("row.x == 'even'"))
        .wanting("f", &["id", "x"], Some("row.x == 'in'"));
    let mut run = setup.run(None).await;
    assert_eq!(
        ops(&run.settled().await),
        [2, 4, 6].map(|id| (Op::Snapshot, id))
    );
    let published = |table: &str| {
        database
            .sql(&format!("SELECT array_to_string(attnames, ',') || ' ' || coalesce(rowfilter, '') FROM pg_publication_tables WHERE pubname = 'lockstep_{name}' AND tablename = '{table}'"))
            .unwrap()
    };
    // Deletes of the one are told by their keys, so its rows cannot be left out; those of the other by all their columns, so none of these can.
    assert_eq!(published("t"), "id,x ");
    assert!(
        published("f").starts_with("id,x,n (x = 'in'"),
        "{}",
        published("f")
    );
    database
        .sql("INSERT INTO f VALUES (1, 'in', 0), (2, 'out', 0); UPDATE f SET x = 'in' WHERE id = 2; UPDATE f SET x = 'out' WHERE id = 1; UPDATE f SET n = 5 WHERE id = 1; DELETE FROM f WHERE id = 2; UPDATE t SET secret = 'x', n = 0 WHERE id = 1; INSERT INTO f VALUES (9, 'in', 0)")
        .unwrap();
    let told = run
        .until(|told| ops(told).contains(&(Op::Created, 9)))
        .await;
    let of_f: Vec<(Op, i64)> = ops(&told
        .iter()
        .filter(|change| change.shape.name == "f")
        .cloned()
        .collect::<Vec<_>>());
    assert_eq!(
        of_f,
        [
            (Op::Created, 1),
            (Op::Created, 2),
            (Op::Deleted, 1),
            (Op::Deleted, 2),
            (Op::Created, 9)
        ]
    );
    let of_t: Vec<&Change> = told
        .iter()
        .filter(|change| change.shape.name == "t")
        .collect();
    assert!(
        of_t.iter().all(|change| known(change) == [0, 1]),
        "{of_t:?}"
    );
    // Another wish makes another publication of it, and the table is read again.
    let position = run.position();
    run.kill().await;
    let more = setup.wanting("t", &["id", "n"], None);
    let mut run = more.run(Some(&position)).await;
    let told = run
        .until(|told| {
            told.iter()
                .filter(|change| change.op == Op::Snapshot && change.shape.name == "t")
                .count()
                == 6
        })
        .await;
    let of_t = |change: &&Change| change.op == Op::Snapshot && change.shape.name == "t";
    assert!(
        told.iter()
            .filter(of_t)
            .all(|change| known(change) == [0, 3]),
        "{told:?}"
    );
    assert_eq!(published("t"), "id,n ");
    run.kill().await;
    // And who wants everything gets everything.
    let mut run = Setup::of(&database, &["f", "t"]).run(None).await;
    run.settled().await;
    assert_eq!(
        (published("t"), published("f")),
        ("id,x,secret,n ".to_owned(), "id,x,n ".to_owned())
    );
    run.kill().await;
}

#[tokio::test]
async fn a_part_of_a_table_that_is_read_again_goes_on_behind_a_kill() {
    let Some(database) = database(
        "CREATE TABLE t(id int PRIMARY KEY, x text, secret text, n int); INSERT INTO t SELECT i, 'x', '', i FROM generate_series(1, 200) i;",
    ) else {
        return;
    };
    let setup = Setup::of(&database, &["t"])
        .with("snapshot_rows", json!(10))
        .with("batch_max", json!(10));
    let mut run = setup.run(None).await;
    run.settled().await;
    let filter = Filter::All(vec![
        Filter::Compare("n".to_owned(), Sign::Greater, Value::Int(50)),
        Filter::Compare("n".to_owned(), Sign::LessOrEqual, Value::Int(150)),
    ]);
    let part = Control::Backfill {
        table: "t".to_owned(),
        filter: Some(filter),
    };
    run.feed.control.send(part).await.unwrap();
    let mut told: Vec<i64> = Vec::new();
    let mut lives = 0;
    let mut position = run.position();
    while !told.contains(&150) {
        let batch = run.until(|told| !told.is_empty()).await;
        told.extend(ops(&batch).iter().map(|(_, id)| id));
        position = run.position();
        lives += 1;
        if lives % 3 == 0 {
            run.kill().await;
            run = setup.run(Some(&position)).await;
        }
    }
    let distinct: std::collections::BTreeSet<i64> = told.iter().copied().collect();
    assert_eq!(distinct, (51..=150).collect(), "{told:?}");
    assert_eq!(told.len(), 100, "a kill told more than its chunk again");
    run.kill().await;
    let _ = position;
}
