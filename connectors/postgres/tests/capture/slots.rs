//! The slot and what it holds: nothing is lost, nothing is skipped silently.

use std::time::{Duration, Instant};

use lockstep_core::Kind;
use lockstep_core::change::Op;
use lockstep_servers::postgres::Database;
use serde_json::json;

use crate::running::{self, DEADLINE, Setup, says};
use crate::{TABLE, database, ops};

#[tokio::test]
async fn a_slot_that_is_gone_is_never_made_anew_unasked() {
    let Some(database) = database(TABLE) else {
        return;
    };
    let setup = Setup::of(&database, &["t"]);
    let mut run = setup.run(None).await;
    run.settled().await;
    let position = run.position();
    run.kill().await;
    let slot = format!("lockstep_{}", database.name());
    dropped(&database, &slot).await;
    database.sql("DELETE FROM t WHERE id = 1").unwrap();

    let error = setup.refused(Some(&position)).await;
    assert_eq!(error.kind(), Kind::Config);
    says(&error, "does not exist any more");
    says(
        &error,
        &format!("accept_gap_of = \"{}\"", position.incarnation),
    );
    assert_eq!(
        database
            .sql("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()")
            .unwrap(),
        "0"
    );

    let accepting = setup.with("accept_gap_of", json!(&*position.incarnation));
    let mut run = accepting.run(Some(&position)).await;
    let told = run.settled().await;
    assert_eq!(ops(&told), [(Op::Snapshot, 2), (Op::Snapshot, 3)]);
    assert_ne!(run.position().incarnation, position.incarnation);
    let begin = &run.taken[0];
    assert!(begin.0.is_empty(), "a life begins by saying where");
    // The setting may stay: it names a life that is over.
    let after = run.position();
    run.kill().await;
    let mut run = accepting.run(Some(&after)).await;
    database.sql("DELETE FROM t WHERE id = 2").unwrap();
    assert_eq!(ops(&run.changes(1).await), [(Op::Deleted, 2)]);
    dropped_again(&database, &slot, &accepting, run).await;
}

/// What was accepted once is not accepted for the next life.
async fn dropped_again(database: &Database, slot: &str, setup: &Setup, run: running::Running) {
    let position = run.position();
    run.kill().await;
    dropped(database, slot).await;
    says(
        &setup.refused(Some(&position)).await,
        "does not exist any more",
    );
}

pub(crate) async fn dropped(database: &Database, slot: &str) {
    let start = Instant::now();
    // The session that read from it ends a moment after its client.
    while database
        .sql(&format!("SELECT pg_drop_replication_slot('{slot}')"))
        .is_err()
    {
        assert!(start.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_slot_that_somebody_else_moved_on_is_noticed() {
    let Some(database) = database(TABLE) else {
        return;
    };
    let setup = Setup::of(&database, &["t"]);
    let mut run = setup.run(None).await;
    run.settled().await;
    let position = run.position();
    run.kill().await;
    let slot = format!("lockstep_{}", database.name());
    dropped(&database, &slot).await;
    database.sql("INSERT INTO t VALUES (9, 'missed')").unwrap();
    database
        .sql(&format!(
            "SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"
        ))
        .unwrap();
    says(&setup.refused(Some(&position)).await, "moved on");
}

#[tokio::test]
async fn a_slot_in_use_names_who_uses_it() {
    let Some(database) = database(TABLE) else {
        return;
    };
    let slot = format!("shared_{}", database.name());
    let first = Setup::of(&database, &["t"]).with("slot", json!(slot));
    let mut run = first.run(None).await;
    run.settled().await;
    let other = Setup {
        system: "another".to_owned(),
        ..first.clone()
    };
    let error = other.refused(None).await;
    assert_eq!(error.kind(), Kind::Transient);
    says(
        &error,
        &format!("application: `lockstep_{}`", database.name()),
    );
    says(&error, "pg_terminate_backend(");
    // A run without a position may be of another deployment that bears our name.
    let error = first.refused(None).await;
    assert_eq!(error.kind(), Kind::Transient);
    says(&error, "is in use");
    database.sql("INSERT INTO t VALUES (5, 'x')").unwrap();
    run.changes(1).await;
    // A session of our own name is a leftover of ours: a run that goes on takes the slot over.
    let position = run.position();
    let mut newer = first.run(Some(&position)).await;
    database.sql("INSERT INTO t VALUES (4, 'new')").unwrap();
    assert_eq!(ops(&newer.changes(1).await), [(Op::Created, 4)]);
    assert!(run.error().await.kind().is_retryable());
}

#[tokio::test]
async fn an_idle_slot_lets_the_server_forget() {
    let Some(database) = database(TABLE) else {
        return;
    };
    database.sql("CREATE TABLE busy(x int)").unwrap();
    let mut run = Setup::of(&database, &["t"]).run(None).await;
    run.settled().await;
    let confirmed = "SELECT pg_wal_lsn_diff(confirmed_flush_lsn, '0/0') FROM pg_replication_slots WHERE database = current_database()";
    let end: u64 = database
        .sql("INSERT INTO busy VALUES (1); SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")
        .unwrap()
        .parse()
        .unwrap();
    let start = Instant::now();
    while database.sql(confirmed).unwrap().parse::<u64>().unwrap() < end {
        assert!(start.elapsed() < DEADLINE, "the slot stands still");
        // Only what the log has is released, and a position without changes is what it gets.
        let changes = run.next().await;
        assert!(changes.is_empty(), "{changes:?}");
        run.keep();
    }
}

#[tokio::test]
async fn a_consumer_that_stalls_longer_than_the_server_waits_keeps_its_connection() {
    let Some(database) = database(TABLE) else {
        return;
    };
    database
        .sql(&format!(
            "ALTER DATABASE {} SET wal_sender_timeout = '2s'",
            database.name()
        ))
        .unwrap();
    let setup = Setup::of(&database, &["t"]).with("batch_max", json!(100));
    let mut run = setup.run_with(None, 1).await;
    run.settled().await;
    let pid = "SELECT active_pid FROM pg_replication_slots WHERE database = current_database()";
    let before = database.sql(pid).unwrap();
    // Far more than sockets and buffers between server and source hold.
    database
        .sql("INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(10, 40009) i")
        .unwrap();
    // The length of the stall is what is tested here.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let told = run.changes(40_000).await;
    assert_eq!(
        told.last()
            .map(|change| ops(std::slice::from_ref(change))[0]),
        Some((Op::Created, 40_009))
    );
    assert_eq!(
        database.sql(pid).unwrap(),
        before,
        "the connection was lost"
    );
}

#[tokio::test]
async fn a_publication_that_was_dropped_is_a_gap_that_can_be_accepted() {
    let Some(database) = database(TABLE) else {
        return;
    };
    let setup = Setup::of(&database, &["t"]);
    let mut run = setup.run(None).await;
    run.settled().await;
    let position = run.position();
    run.kill().await;
    database
        .sql(&format!(
            "DROP PUBLICATION lockstep_{}; INSERT INTO t VALUES (4, 'untold')",
            database.name()
        ))
        .unwrap();
    let error = setup.run(Some(&position)).await.error().await;
    assert_eq!(error.kind(), Kind::Config);
    let cure = format!("accept_gap_of = \"{}\"", position.incarnation);
    says(&error, &cure);
    let accepting = setup.with("accept_gap_of", json!(&*position.incarnation));
    let mut run = accepting.run(Some(&position)).await;
    assert_eq!(run.settled().await.len(), 4);
}
