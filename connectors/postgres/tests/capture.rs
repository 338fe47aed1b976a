//! What an operator relies on when PostgreSQL is a source: nothing is lost, nothing is skipped silently, and what is wrong says how to mend it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod running;

use std::time::{Duration, Instant};

use lockstep_core::change::Op;
use lockstep_core::connector::{Control, Need};
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Cell, Change, Kind, Value};
use lockstep_servers::postgres::{Database, Options, Server};
use running::{DEADLINE, Setup, fold, row, says};
use serde_json::json;

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

async fn dropped(database: &Database, slot: &str) {
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
async fn a_table_that_the_publication_lacks_is_added_and_read() {
    let Some(database) = database(TABLE) else {
        return;
    };
    database
        .sql("CREATE TABLE u(id int PRIMARY KEY, x text); INSERT INTO u VALUES (7, 'u')")
        .unwrap();
    let one = Setup::of(&database, &["t"]);
    let mut run = one.run(None).await;
    run.settled().await;
    let position = run.position();
    run.kill().await;
    let both = Setup::of(&database, &["t", "u"]);
    let mut run = both.run(Some(&position)).await;
    assert_eq!(ops(&run.settled().await), [(Op::Snapshot, 7)]);
    // A table that somebody took out has missed changes, so it is read again.
    let position = run.position();
    run.kill().await;
    database
        .sql(&format!(
            "ALTER PUBLICATION lockstep_{} DROP TABLE t; INSERT INTO t VALUES (8, 'missed')",
            database.name()
        ))
        .unwrap();
    let mut run = both.run(Some(&position)).await;
    let told = run.settled().await;
    assert_eq!(ops(&told).len(), 4, "{told:?}");
}

#[tokio::test]
async fn what_a_role_may_not_do_is_said_with_the_statement_that_grants_it() {
    let Some(database) = database(TABLE) else {
        return;
    };
    let role = format!("reader_{}", database.name());
    database
        .sql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'pw'"))
        .unwrap();
    let setup = Setup::new(&database.url_as(&role, "pw"), database.name(), &["t"]);
    let error = setup.refused(None).await;
    assert_eq!(error.kind(), Kind::Unauthorized);
    says(&error, &format!("ALTER ROLE \"{role}\" REPLICATION"));
    let findings = setup.check().await.unwrap();
    for part in [
        "may not replicate",
        "may not read table `t`",
        "the role may not add them",
    ] {
        let found = findings
            .iter()
            .find(|finding| finding.message.contains(part));
        assert_eq!(
            found
                .unwrap_or_else(|| panic!("{part}: {findings:?}"))
                .severity,
            Severity::Error
        );
    }
    database
        .sql(&format!("ALTER ROLE {role} REPLICATION"))
        .unwrap();
    let error = setup.refused(None).await;
    says(&error, "CREATE PUBLICATION");
    // Mended by what the message says.
    let create = error.help_text().unwrap().split_once(": ").unwrap().1;
    database
        .sql(&format!("{create}; GRANT SELECT ON t TO {role}"))
        .unwrap();
    assert!(setup.check().await.unwrap().is_empty());
    let mut run = setup.run(None).await;
    assert_eq!(run.settled().await.len(), 3);
}

#[tokio::test]
async fn a_replica_identity_that_does_not_name_the_record_is_found_before_a_delete_needs_it() {
    let Some(database) =
        database("CREATE TABLE p (id bigint PRIMARY KEY, code text NOT NULL UNIQUE)")
    else {
        return;
    };
    let setup = Setup::of(&database, &["p"]);
    let need = |column: &str| Need {
        table: "p".to_owned(),
        columns: vec![column.to_owned()],
    };
    assert_eq!(setup.check_for(&[need("id")]).await.unwrap(), []);
    let findings = setup.check_for(&[need("code")]).await.unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].severity, Severity::Error);
    assert!(
        findings[0].message.contains("does not tell code"),
        "{findings:?}"
    );
    // Mended by what the message says.
    let mend = findings[0].help.split(';').next().unwrap();
    database.sql(mend).unwrap();
    assert_eq!(setup.check_for(&[need("code")]).await.unwrap(), []);
}

#[tokio::test]
async fn a_publication_that_leaves_something_out_is_refused() {
    let Some(database) = database(TABLE) else {
        return;
    };
    let setup = Setup::of(&database, &["t"]).with("publication", json!("theirs"));
    for (sql, part) in [
        (
            "CREATE PUBLICATION theirs FOR TABLE t WHERE (id > 1)",
            "row filter",
        ),
        (
            "CREATE PUBLICATION theirs FOR TABLE t (id)",
            "leaves out columns",
        ),
        (
            "CREATE PUBLICATION theirs FOR TABLE t WITH (publish = 'insert')",
            "leaves out update, delete, truncate",
        ),
    ] {
        database.sql(sql).unwrap();
        says(&setup.refused(None).await, part);
        assert!(
            setup
                .check()
                .await
                .unwrap()
                .iter()
                .any(|finding| finding.message.contains(part))
        );
        database.sql("DROP PUBLICATION theirs").unwrap();
    }
}

#[tokio::test]
async fn a_table_that_cannot_tell_its_changes_is_refused_with_the_cure() {
    let Some(database) = database(TABLE) else {
        return;
    };
    for (sql, cure) in [
        (
            "ALTER TABLE t REPLICA IDENTITY NOTHING",
            "REPLICA IDENTITY DEFAULT",
        ),
        (
            "ALTER TABLE t REPLICA IDENTITY DEFAULT; ALTER TABLE t SET UNLOGGED",
            "SET LOGGED",
        ),
        (
            "ALTER TABLE t SET LOGGED; ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ALTER id SET NOT NULL; CREATE UNIQUE INDEX one ON t(id)",
            "USING INDEX \"one\"",
        ),
        ("DROP INDEX one", "primary key"),
    ] {
        database.sql(sql).unwrap();
        let error = Setup::of(&database, &["t"]).discover().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        says(&error, cure);
    }
    // Two rows with one key in the middle of a statement would become one.
    database
        .sql("ALTER TABLE t ADD PRIMARY KEY (id) DEFERRABLE; ALTER TABLE t REPLICA IDENTITY FULL")
        .unwrap();
    let setup = Setup::of(&database, &["t"]);
    let error = setup.discover().await.unwrap_err();
    says(&error, "is deferrable");
    let findings = setup.check().await.unwrap();
    assert!(findings.iter().any(|f| f.message.contains("is deferrable")));
    database.sql(error.help_text().unwrap()).unwrap();
    setup.discover().await.unwrap();
    database
        .sql("ALTER TABLE t DROP CONSTRAINT t_pkey; CREATE UNIQUE INDEX one ON t(id); ALTER TABLE t REPLICA IDENTITY USING INDEX one")
        .unwrap();
    let mut run = Setup::of(&database, &["t"]).run(None).await;
    run.settled().await;
    database.sql("DELETE FROM t WHERE id = 2").unwrap();
    assert_eq!(ops(&run.changes(1).await), [(Op::Deleted, 2)]);
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
async fn a_snapshot_under_heavy_writing_ends_in_the_same_state() {
    let Some(database) = database(
        "CREATE TABLE t(id int PRIMARY KEY, x text, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
         INSERT INTO t SELECT i, 'old', repeat(i::text, 3000) FROM generate_series(1, 400) i",
    ) else {
        return;
    };
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let url = database.url();
            let away = 100_000 * (writer + 1);
            // Transactions of one step and of several; rows that move behind the snapshot and back, go and come again.
            let sql = format!(
                "DO $$ DECLARE k int; BEGIN FOR i IN 1..150 LOOP k := 1 + (random() * 399)::int;
                   IF i % 7 = 0 THEN UPDATE t AS a SET id = CASE WHEN id = k THEN k - {away} ELSE k END
                     WHERE id IN (k, k - {away}) AND NOT EXISTS (SELECT FROM t b WHERE b.id IN (k, k - {away}) AND b.id <> a.id);
                   ELSIF i % 11 = 0 THEN DELETE FROM t WHERE id = k; INSERT INTO t VALUES (k, 'again', repeat('z', 5000)) ON CONFLICT DO NOTHING;
                   ELSE UPDATE t SET x = 'w{writer}-' || i WHERE id = k; END IF;
                   IF i % 3 > 0 THEN COMMIT; END IF; PERFORM pg_sleep(0.001); END LOOP; END $$"
            );
            let psql = lockstep_servers::find::postgres_bin().unwrap().join("psql");
            std::thread::spawn(move || {
                std::process::Command::new(psql).args(["-XAtq", "-d", &url, "-c", &sql]).output().unwrap()
            })
        })
        .collect();
    let setup = Setup::of(&database, &["t"])
        .with("snapshot_rows", json!(25))
        .with("batch_max", json!(20));
    let mut run = setup.run(None).await;
    let mut told = run.settled().await;
    while writers.iter().any(|writer| !writer.is_finished()) {
        // One snapshot after the other, as long as somebody writes.
        let table = "t".to_owned();
        let asked = run.feed.control.send(Control::Backfill { table });
        asked.await.unwrap();
        told.extend(
            run.until(|told| told.iter().any(|change| change.op == Op::Snapshot))
                .await,
        );
        told.extend(run.settled().await);
    }
    for writer in writers {
        // Writers may run into each other; what they had committed by then stands.
        let error = String::from_utf8(writer.join().unwrap().stderr).unwrap();
        assert!(
            error.is_empty() || error.contains("deadlock") || error.contains("duplicate key"),
            "{error}"
        );
    }
    assert_ne!(
        database
            .sql("SELECT count(*) FROM t WHERE x LIKE 'w%'")
            .unwrap(),
        "0"
    );
    database
        .sql("INSERT INTO t VALUES (0, 'last', '')")
        .unwrap();
    told.extend(
        run.until(|told| ops(told).contains(&(Op::Created, 0)))
            .await,
    );
    let rows = database
        .sql("SELECT id || '|' || x || '|' || md5(big) FROM t ORDER BY id")
        .unwrap();
    // A fresh run tells the truth in one go; both must agree on every row, whole.
    run.kill().await;
    let fresh = Setup {
        system: format!("{}_fresh", database.name()),
        ..Setup::of(&database, &["t"])
    };
    let truth = fresh.run(None).await.settled().await;
    assert_eq!(truth.len(), rows.lines().count());
    let (told, truth) = (fold(&told), fold(&truth));
    assert!(told == truth, "{}", told.difference(&truth));
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

#[tokio::test]
async fn a_snapshot_reads_every_row_whatever_orders_its_key() {
    let Some(database) = database(
        "CREATE EXTENSION citext;
         CREATE COLLATION lax (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TYPE mood AS ENUM ('zoo', 'bar', 'Abe');
         CREATE TABLE c(k citext PRIMARY KEY); CREATE TABLE l(k text COLLATE lax NOT NULL); CREATE UNIQUE INDEX one ON l(k COLLATE \"C\"); ALTER TABLE l REPLICA IDENTITY FULL;
         CREATE TABLE e(m mood, n int, PRIMARY KEY (m, n));
         INSERT INTO c SELECT CASE WHEN i % 2 = 0 THEN 'K' ELSE 'k' END || i FROM generate_series(1, 60) i;
         INSERT INTO l SELECT k || i FROM generate_series(1, 20) i, unnest('{a,A,b,B}'::text[]) k;
         INSERT INTO e SELECT m, i FROM generate_series(1, 20) i, unnest(enum_range(NULL::mood)) m",
    ) else {
        return;
    };
    let setup = Setup::of(&database, &["c", "l", "e"]).with("snapshot_rows", json!(7));
    let mut run = setup.run(None).await;
    assert_eq!(run.settled().await.len(), 60 + 80 + 60);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_waits_for_a_standby_holds_up_the_snapshot_and_not_the_changes() {
    let Some(server) = Server::start(&Options::default()) else {
        return;
    };
    server.sql("postgres", TABLE).unwrap();
    let setup = Setup::new(&server.url("postgres"), "waiting", &["t"]);
    let mut run = setup.run(None).await;
    run.settled().await;
    let set = "ALTER SYSTEM SET synchronous_standby_names =";
    server.sql("postgres", &format!("{set} 'nobody'")).unwrap();
    server.sql("postgres", "SELECT pg_reload_conf()").unwrap();
    let settled = server.sql("postgres", "SHOW synchronous_standby_names");
    assert_eq!(settled.unwrap(), "nobody");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.sql("postgres", "INSERT INTO t VALUES (10, 'x')"));
        let told = async {
            assert_eq!(ops(&run.changes(1).await), [(Op::Created, 10)]);
            let table = "t".to_owned();
            let asked = run.feed.control.send(Control::Backfill { table });
            asked.await.unwrap();
            for id in 11..14 {
                let insert =
                    format!("SET synchronous_commit = local; INSERT INTO t VALUES ({id}, 'x')");
                server.sql("postgres", &insert).unwrap();
                assert_eq!(ops(&run.changes(1).await), [(Op::Created, id)]);
            }
            assert!(!waiting.is_finished());
            server.sql("postgres", &format!("{set} ''")).unwrap();
            server.sql("postgres", "SELECT pg_reload_conf()").unwrap();
            assert_eq!(run.settled().await.len(), 7);
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(told));
        waiting.join().unwrap().unwrap();
    });
}
