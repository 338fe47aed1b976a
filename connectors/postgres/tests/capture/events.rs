//! Events that applications publish: rows of an outbox, and messages in the server's log.

use std::sync::Arc;

use lockstep_core::change::Op;
use lockstep_core::{Change, Value};
use serde_json::json;

use crate::running::{Setup, says};
use crate::{database, ops};

#[tokio::test]
async fn rows_of_an_outbox_are_told_once_whatever_becomes_of_them() {
    let Some(database) = database(
        "CREATE TABLE o(id int PRIMARY KEY, kind text); INSERT INTO o VALUES (1, 'left over'); CREATE TABLE t(id int PRIMARY KEY)",
    ) else {
        return;
    };
    let setup = Setup::of(&database, &["o", "t"]).with("outbox", json!(["o"]));
    let mut run = setup.run(None).await;
    assert_eq!(ops(&run.settled().await), [(Op::Snapshot, 1)]);
    database
        .sql(
            "BEGIN; INSERT INTO t VALUES (1); INSERT INTO o VALUES (2, 'made'), (3, 'paid'); DELETE FROM o; COMMIT;
             INSERT INTO o VALUES (4, 'sent'); UPDATE o SET kind = 'seen'; TRUNCATE o, t; DELETE FROM t",
        )
        .unwrap();
    let told = run.changes(5).await;
    let table = |change: &Change| (change.shape.name.clone(), change.op);
    assert_eq!(table(&told[0]), ("t".to_owned(), Op::Created));
    assert_eq!(
        ops(&told[1..4]),
        [(Op::Created, 2), (Op::Created, 3), (Op::Created, 4)]
    );
    assert_eq!(told[3].row.value(1), Some(&Value::text("sent")));
    // The tables beside it are told as ever.
    assert_eq!(table(&told[4]), ("t".to_owned(), Op::Truncated));
    let error = setup.with("outbox", json!(["p"])).refused(None).await;
    says(&error, "no flow reads table `p`");
}

#[tokio::test]
async fn messages_in_the_log_are_rows_in_the_order_of_commits() {
    let Some(database) = database("CREATE TABLE t(id int PRIMARY KEY)") else {
        return;
    };
    let setup = Setup::of(&database, &["events", "t"])
        .with("messages", json!({"events": "shop", "unread": "other"}));
    let mut run = setup.run(None).await;
    run.settled().await;
    let say = |transactional: bool, prefix: &str, content: &str| {
        format!("SELECT pg_logical_emit_message({transactional}, '{prefix}', '{content}');")
    };
    database
        .sql(&format!(
            "BEGIN; INSERT INTO t VALUES (1); {} INSERT INTO t VALUES (2); {} COMMIT; BEGIN; {} ROLLBACK; {} INSERT INTO t VALUES (3)",
            say(true, "shop", "{\"id\": 1}"),
            say(true, "other", "nobody reads it"),
            say(true, "shop", "taken back"),
            say(false, "shop", "alone"),
        ))
        .unwrap();
    let told = run.changes(5).await;
    let what = |change: &Change| match change.row.value(1) {
        Some(Value::Text(text)) => text.clone(),
        _ => change.row.value(0).unwrap().to_string(),
    };
    let all: Vec<String> = told.iter().map(what).collect();
    assert_eq!(all, ["1", "{\"id\": 1}", "2", "alone", "3"]);
    assert!(told.windows(2).all(|two| two[0].mark < two[1].mark));
    let age = |change: &Change| {
        jiff::Timestamp::now()
            .duration_since(change.committed_at)
            .as_secs()
            .abs()
    };
    assert!(told.iter().all(|change| age(change) < 60));
    // Each is named by where it stands, so that one that comes again is the same.
    assert_eq!(
        told[1].row.value(0),
        Some(&Value::text(told[1].mark.to_text()))
    );
    let cut = run
        .taken
        .iter()
        .find(|(changes, _)| !changes.is_empty())
        .unwrap()
        .1
        .clone();
    run.kill().await;
    let mut run = setup.run(Some(&cut)).await;
    database.sql(&say(true, "shop", "later")).unwrap();
    let again = run
        .until(|told| told.iter().any(|change| what(change) == "later"))
        .await;
    assert!(
        again.iter().all(|change| change.mark > cut.mark()),
        "{again:?}"
    );
    run.kill().await;

    // Messages need no table at all.
    let alone = Setup {
        system: format!("{}_alone", database.name()),
        ..setup.clone()
    };
    let alone = Setup {
        tables: vec!["events".to_owned()],
        ..alone
    };
    let mut run = alone.run(None).await;
    run.settled().await;
    database.sql(&say(true, "shop", "just this")).unwrap();
    let told = run.changes(1).await;
    assert_eq!(what(&told[0]), "just this");
    assert!(
        Arc::clone(&told[0].shape)
            .columns
            .iter()
            .all(|column| !column.nullable)
    );
    assert!(alone.check().await.unwrap().is_empty());
    let error = alone
        .with("messages", json!({"events": "lockstep"}))
        .refused(None)
        .await;
    says(&error, "is Lockstep's own");
}
