//! When tables are read from their first row, and where a first start begins.

use std::time::Instant;

use lockstep_core::change::Op;
use lockstep_core::connector::Control;
use lockstep_core::{Kind, Value};
use lockstep_servers::postgres::{Options, Server};
use serde_json::json;

use crate::running::{DEADLINE, Setup, says};
use crate::slots::dropped;
use crate::{TABLE, database, ops};

#[tokio::test]
async fn a_source_that_never_reads_tables_tells_changes_only() {
    let Some(database) = database(TABLE) else {
        return;
    };
    database
        .sql("CREATE TABLE u(id int PRIMARY KEY); INSERT INTO u VALUES (7)")
        .unwrap();
    let never = Setup::of(&database, &["t"]).with("snapshot", json!("never"));
    let mut run = never.run(None).await;
    assert!(run.settled().await.is_empty());
    database.sql("UPDATE t SET x = 'new' WHERE id = 1").unwrap();
    assert_eq!(ops(&run.changes(1).await), [(Op::Updated, 1)]);
    // A table that joins is not read either, unless somebody asks.
    let position = run.position();
    run.kill().await;
    let both = Setup::of(&database, &["t", "u"]).with("snapshot", json!("never"));
    let mut run = both.run(Some(&position)).await;
    // Nothing has come, but by then the publication has the table.
    run.next().await;
    database.sql("INSERT INTO u VALUES (8)").unwrap();
    assert_eq!(ops(&run.changes(1).await), [(Op::Created, 8)]);
    let table = "u".to_owned();
    run.feed
        .control
        .send(Control::Backfill {
            table,
            filter: None,
        })
        .await
        .unwrap();
    let told = run.changes(2).await;
    assert_eq!(ops(&told), [(Op::Snapshot, 7), (Op::Snapshot, 8)]);
}

#[tokio::test]
async fn a_loss_is_healed_unasked_where_the_configuration_says_so() {
    let Some(database) = database(TABLE) else {
        return;
    };
    let setup = Setup::of(&database, &["t"]).with("snapshot", json!("when_needed"));
    let mut run = setup.run(None).await;
    assert_eq!(run.settled().await.len(), 3);
    let first = run.position();
    run.kill().await;
    // A slot that holds what follows is gone on from.
    let mut run = setup.run(Some(&first)).await;
    database.sql("INSERT INTO t VALUES (4, 'x')").unwrap();
    assert_eq!(ops(&run.changes(1).await), [(Op::Created, 4)]);
    let position = run.position();
    run.kill().await;
    let name = format!("lockstep_{}", database.name());
    dropped(&database, &name).await;
    database.sql("INSERT INTO t VALUES (5, 'untold')").unwrap();
    let mut run = setup.run(Some(&position)).await;
    assert_eq!(run.settled().await.len(), 5);
    let second = run.position();
    assert_ne!(second.incarnation, first.incarnation);
    run.kill().await;
    // So is a publication that did not exist when changes were written.
    database
        .sql(&format!(
            "DROP PUBLICATION {name}; INSERT INTO t VALUES (6, 'untold')"
        ))
        .unwrap();
    let mut run = setup.run(Some(&second)).await;
    assert_eq!(run.settled().await.len(), 6);
    let third = run.position();
    assert_ne!(third.incarnation, second.incarnation);
    run.kill().await;
    // One that somebody made anew did not tell what was written in between: the server may say so, or the run notices.
    database
        .sql(&format!("DROP PUBLICATION {name}; INSERT INTO t VALUES (7, 'untold'); CREATE PUBLICATION {name} FOR TABLE ONLY t"))
        .unwrap();
    let mut run = setup.run(Some(&third)).await;
    let version = database.sql("SHOW server_version_num").unwrap();
    if version.parse::<u32>().unwrap() < 180_000 {
        assert_eq!(run.error().await.kind(), Kind::Transient);
        run = setup.run(Some(&third)).await;
    }
    let told = run.settled().await;
    assert!(ops(&told).contains(&(Op::Snapshot, 7)), "{told:?}");
}

#[tokio::test]
async fn a_source_that_always_reads_tables_does_so_once_a_start() {
    let Some(database) = database(TABLE) else {
        return;
    };
    let setup = Setup::of(&database, &["t"])
        .with("snapshot", json!("always"))
        .with("snapshot_rows", json!(1));
    let mut run = setup.run(None).await;
    assert_eq!(run.settled().await.len(), 3);
    let position = run.position();
    run.kill().await;
    let mut run = setup.run(Some(&position)).await;
    let first = run.until(|told| !told.is_empty()).await;
    let middle = run.position();
    run.kill().await;
    // One that was cut off goes on.
    let mut run = setup.run(Some(&middle)).await;
    let rest = run.settled().await;
    assert_eq!(first.len() + rest.len(), 3, "{rest:?}");
}

#[tokio::test]
async fn another_tool_is_taken_over_from_where_it_stopped() {
    let Some(database) = database(TABLE) else {
        return;
    };
    let slot = format!("theirs_{}", database.name());
    database
        .sql(&format!(
            "CREATE PUBLICATION theirs FOR TABLE t; SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"
        ))
        .unwrap();
    let place = || {
        database
            .sql("INSERT INTO t SELECT max(id) + 1, 'x' FROM t; SELECT pg_current_wal_insert_lsn()")
            .unwrap()
    };
    let at = place();
    place();
    let theirs = Setup::of(&database, &["t"])
        .with("slot", json!(slot))
        .with("publication", json!("theirs"))
        .with("start_at", json!(at));
    let setup = |name: &str, value: &str| theirs.clone().with(name, json!(value));
    for (setup, why) in [
        (setup("slot", "nobodys"), "is not there"),
        (setup("start_at", "FFFF/0"), "the server's log ends at"),
        (
            setup("publication", "unknown"),
            "does not tell changes of table `t`",
        ),
        (
            setup("start_at", "here"),
            "is not a place in a server's log",
        ),
    ] {
        says(&setup.refused(None).await, why);
    }
    let mut run = theirs.run(None).await;
    // The other tool has told the row 4.
    assert_eq!(ops(&run.changes(1).await), [(Op::Created, 5)]);
    let position = run.position();
    run.kill().await;
    // From then on the position counts.
    place();
    let mut run = theirs.run(Some(&position)).await;
    assert_eq!(ops(&run.changes(1).await), [(Op::Created, 6)]);
    run.keep();
    run.kill().await;
    let start = Instant::now();
    loop {
        // The session that read from it ends a moment after its client.
        let moved = database.sql(&format!(
            "SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())"
        ));
        if moved.is_ok() {
            break;
        }
        assert!(start.elapsed() < DEADLINE, "{moved:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    says(&theirs.refused(None).await, "has moved on to");
}

#[tokio::test]
async fn a_slot_that_the_server_gave_up_is_a_loss() {
    let options = Options {
        fsync: false,
        settings: [
            "max_slot_wal_keep_size = '1MB'",
            "max_wal_size = '32MB'",
            "min_wal_size = '32MB'",
        ]
        .map(str::to_owned)
        .to_vec(),
        ..Options::default()
    };
    let Some(server) = Server::start(&options) else {
        return;
    };
    server.sql("postgres", TABLE).unwrap();
    let setup = Setup::new(&server.url("postgres"), "given_up", &["t"]);
    let mut run = setup.run(None).await;
    run.settled().await;
    let position = run.position();
    run.kill().await;
    let status = "SELECT wal_status FROM pg_replication_slots";
    let start = Instant::now();
    while server.sql("postgres", status).unwrap() != "lost" {
        assert!(start.elapsed() < DEADLINE);
        server
            .sql("postgres", "CREATE TABLE f(x text); INSERT INTO f SELECT repeat('x', 1000) FROM generate_series(1, 20000); DROP TABLE f")
            .unwrap();
        server
            .sql("postgres", "SELECT pg_switch_wal(); CHECKPOINT")
            .unwrap();
    }
    let error = setup.refused(Some(&position)).await;
    assert_eq!(error.kind(), Kind::Config);
    says(&error, "accept_gap_of");
    let findings = setup.check().await.unwrap();
    assert!(
        findings
            .iter()
            .any(|found| found.message.contains("lost the log that it needs")),
        "{findings:?}"
    );
    let healing = setup.with("snapshot", json!("when_needed"));
    let mut run = healing.run(Some(&position)).await;
    assert_eq!(run.settled().await.len(), 3);
    server
        .sql("postgres", "INSERT INTO t VALUES (4, 'x')")
        .unwrap();
    let told = run.changes(1).await;
    assert_eq!(told[0].row.value(0), Some(&Value::Int(4)));
}
