//! What an operator relies on when MariaDB is a source: nothing is lost, nothing is skipped silently, and what is wrong says how to mend it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod running;

use lockstep_core::change::Op;
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Change, Kind, Value};
use lockstep_servers::certificates::{Authority, LOOPBACK};
use lockstep_servers::mariadb::{Database, Options, Server};
use running::{Setup, fold, row, says};
use serde_json::json;

const TABLE: &str = "CREATE TABLE t(id int PRIMARY KEY, x varchar(50)) ENGINE=InnoDB CHARACTER SET utf8mb4; INSERT INTO t VALUES (1, 'old'), (2, 'old'), (3, 'old');";

fn database(sql: &str) -> Option<Database> {
    let database = Database::fresh()?;
    database.sql(sql).unwrap();
    Some(database)
}

fn own_server(settings: &[&str]) -> Option<Server> {
    let server = Server::start(&Options {
        fsync: false,
        settings: settings
            .iter()
            .map(|setting| (*setting).to_owned())
            .collect(),
        tls: None,
    })?;
    server.sql("mysql", "CREATE DATABASE d").unwrap();
    server.sql("d", TABLE).unwrap();
    Some(server)
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
async fn a_server_that_is_killed_loses_nothing() {
    let Some(mut server) = own_server(&[]) else {
        return;
    };
    let setup = Setup::new(&server.url("d"), "killed", &["t"]);
    let mut run = setup.run(None).await;
    let mut told = run.settled().await;
    for round in 0..3 {
        server
            .sql("d", &format!("INSERT INTO t VALUES ({0}, 'new'); UPDATE t SET x = 'round {round}' WHERE id = 1; DELETE FROM t WHERE id = {1}", 10 + round, 9 + round))
            .unwrap();
        let wanted = if round == 0 { 2 } else { 3 };
        told.extend(run.changes(wanted).await);
        let position = run.position();
        server.kill().unwrap();
        assert!(run.error().await.kind().is_retryable());
        server.restart().unwrap();
        server
            .sql(
                "d",
                &format!("INSERT INTO t VALUES ({}, 'after')", 50 + round),
            )
            .unwrap();
        run = setup.run(Some(&position)).await;
        told.extend(run.changes(1).await);
        assert_eq!(run.position().incarnation, position.incarnation);
    }
    let state = fold(&told);
    let rows = server.sql("d", "SELECT count(*) FROM t").unwrap();
    assert_eq!(state.len().to_string(), rows);
}

#[tokio::test]
async fn a_log_that_was_thrown_away_or_reset_is_never_passed_over() {
    let Some(server) = own_server(&[]) else {
        return;
    };
    let setup = Setup::new(&server.url("d"), "purged", &["t"]);
    let mut run = setup.run(None).await;
    run.settled().await;
    let position = run.position();
    run.kill().await;
    // A file that is gone, but of which everything was told, is no loss.
    server
        .sql(
            "d",
            "FLUSH BINARY LOGS; FLUSH BINARY LOGS; PURGE BINARY LOGS TO 'binlog.000003'",
        )
        .unwrap();
    let mut run = setup.run(Some(&position)).await;
    server.sql("d", "INSERT INTO t VALUES (4, 'kept')").unwrap();
    assert_eq!(ops(&run.changes(1).await), [(Op::Created, 4)]);
    let position = run.position();
    run.kill().await;

    server.sql("d", "INSERT INTO t VALUES (5, 'lost'); DELETE FROM t WHERE id = 1; FLUSH BINARY LOGS; FLUSH BINARY LOGS").unwrap();
    let last = server.sql("d", "SHOW MASTER STATUS").unwrap();
    let last = last.split('\t').next().unwrap();
    // The stream of the run that was killed may still hold a file.
    lockstep_servers::wait::until("the files are gone", running::DEADLINE, || {
        server.sql("d", &format!("PURGE BINARY LOGS TO '{last}'"))?;
        let first = server.sql("d", "SHOW BINARY LOGS")?;
        Ok(first.starts_with(last).then_some(()))
    })
    .unwrap();
    let error = setup.refused(Some(&position)).await;
    assert_eq!(error.kind(), Kind::Config);
    says(&error, "changes are lost");
    says(
        &error,
        &format!("accept_gap_of = \"{}\"", position.incarnation),
    );

    let needed = setup.clone().with("snapshot", json!("when_needed"));
    let mut run = needed.run(Some(&position)).await;
    let told = run.settled().await;
    assert_eq!(
        ops(&told),
        [
            (Op::Snapshot, 2),
            (Op::Snapshot, 3),
            (Op::Snapshot, 4),
            (Op::Snapshot, 5)
        ]
    );
    assert_ne!(run.position().incarnation, position.incarnation);
    let position = run.position();
    run.kill().await;

    server
        .sql(
            "d",
            "RESET MASTER; INSERT INTO t VALUES (6, 'after the reset')",
        )
        .unwrap();
    let error = setup.refused(Some(&position)).await;
    says(&error, "reset");
    let accepting = setup.with("accept_gap_of", json!(&*position.incarnation));
    let mut run = accepting.run(Some(&position)).await;
    assert_eq!(run.settled().await.len(), 5);
    assert!(run.taken[0].0.is_empty(), "a life begins by saying where");
}

#[tokio::test]
async fn a_reset_that_leads_to_the_same_place_is_not_passed_over() {
    let Some(server) = own_server(&[]) else {
        return;
    };
    let setup = Setup::new(&server.url("d"), "repeated", &["t"]);
    let write = "RESET MASTER; INSERT INTO t VALUES (7, 'twin')";
    server.sql("d", write).unwrap();
    let mut run = setup.run(None).await;
    run.settled().await;
    let position = run.position();
    run.kill().await;
    // The log counts in seconds when a file begins.
    let clock = || server.sql("d", "SELECT UNIX_TIMESTAMP()");
    let before = clock().unwrap();
    lockstep_servers::wait::until("another second", running::DEADLINE, || {
        Ok((clock()? != before).then_some(()))
    })
    .unwrap();
    let mut run = setup.run(Some(&position)).await;
    run.next().await;
    assert_eq!(run.position().incarnation, position.incarnation);
    run.kill().await;
    server.sql("d", "DELETE FROM t WHERE id IN (1, 7)").unwrap();
    server.sql("d", write).unwrap();
    let error = setup.refused(Some(&position)).await;
    says(&error, "began another file");
    says(
        &error,
        &format!("accept_gap_of = \"{}\"", position.incarnation),
    );
}

#[tokio::test]
async fn declarations_that_change_are_followed() {
    let Some(database) = database(TABLE) else {
        return;
    };
    let setup = Setup::of(&database, &["t"]);
    let mut run = setup.run(None).await;
    run.settled().await;
    // A column is added: rows of before the change keep silent about it.
    database.sql("INSERT INTO t VALUES (4, 'before'); ALTER TABLE t ADD COLUMN y int; INSERT INTO t VALUES (5, 'after', 7)").unwrap();
    let told = run.changes(2).await;
    assert_eq!(ops(&told), [(Op::Created, 4), (Op::Created, 5)]);
    assert_eq!(told[1].row.value(2), Some(&Value::Int(7)));
    // Values are rewritten without a word: the table is read again.
    database
        .sql("ALTER TABLE t MODIFY x varbinary(50)")
        .unwrap();
    let told = run.changes(5).await;
    assert!(
        told.iter().all(|change| change.op == Op::Snapshot),
        "{told:?}"
    );
    assert_eq!(told[0].row.value(1), Some(&Value::Bytes(b"old".to_vec())));
    database
        .sql("TRUNCATE TABLE t; INSERT INTO t VALUES (1, 'x', 1)")
        .unwrap();
    assert_eq!(
        ops(&run.changes(2).await),
        [(Op::Truncated, 0), (Op::Created, 1)]
    );
    // Made anew under the same name, as tools for migrations do.
    database
        .sql("CREATE TABLE n LIKE t; INSERT INTO n VALUES (8, 'new', 1); RENAME TABLE t TO o, n TO t")
        .unwrap();
    let told = run
        .until(|all| all.iter().any(|change| change.op == Op::Snapshot))
        .await;
    assert_eq!(told[0].op, Op::Truncated);
    assert_eq!(ops(&told).last(), Some(&(Op::Snapshot, 8)));
}

#[tokio::test]
async fn changes_of_before_a_migration_are_told_after_it() {
    let Some(database) = database(TABLE) else {
        return;
    };
    let setup = Setup::of(&database, &["t"]);
    let mut run = setup.run(None).await;
    run.settled().await;
    let position = run.position();
    run.kill().await;
    database
        .sql("INSERT INTO t VALUES (4, 'a'); ALTER TABLE t ADD COLUMN y int FIRST, DROP COLUMN x; INSERT INTO t VALUES (9, 5)")
        .unwrap();
    let mut run = setup.run(Some(&position)).await;
    let told = run.until(|all| all.len() >= 7).await;
    let created: Vec<&Change> = told
        .iter()
        .filter(|change| change.op == Op::Created)
        .collect();
    assert_eq!(created.len(), 2);
    assert!(
        created[0].row.cell(0).is_unchanged(),
        "an older row says nothing of a newer column"
    );
    assert_eq!(created[0].row.value(1), Some(&Value::Int(4)));
    assert_eq!(created[1].row.value(0), Some(&Value::Int(9)));
    assert_eq!(
        told.iter()
            .filter(|change| change.op == Op::Snapshot)
            .count(),
        5
    );
}

#[tokio::test]
async fn what_the_log_cannot_tell_is_said() {
    let Some(server) = own_server(&["--log-bin-compress=1", "--binlog-checksum=NONE"]) else {
        return;
    };
    let setup = Setup::new(&server.url("d"), "odd", &["t"]);
    let mut run = setup.run(None).await;
    run.settled().await;
    // A row beyond the protocol's packets, in a log without checksums.
    server.sql("d", "ALTER TABLE t ADD COLUMN big longtext; INSERT INTO t VALUES (20, 'big', repeat('ab', 9000000))").unwrap();
    let told = run.changes(1).await;
    assert!(matches!(told[0].row.value(2), Some(Value::Text(text)) if text.len() == 18_000_000));
    // Transactions with savepoints, parts of which were taken back.
    server.sql("d", "BEGIN; INSERT INTO t VALUES (21, 'a', NULL); SAVEPOINT s; INSERT INTO t VALUES (22, 'b', NULL); ROLLBACK TO s; INSERT INTO t VALUES (23, 'c', NULL); COMMIT").unwrap();
    assert_eq!(
        ops(&run.changes(2).await),
        [(Op::Created, 21), (Op::Created, 23)]
    );
    server.sql("d", "XA START 'x'; INSERT INTO t VALUES (24, 'd', NULL); XA END 'x'; XA COMMIT 'x' ONE PHASE").unwrap();
    assert_eq!(ops(&run.changes(1).await), [(Op::Created, 24)]);
    let position = run.position();
    server.sql("d", "XA START 'x'; INSERT INTO t VALUES (25, 'e', NULL); XA END 'x'; XA PREPARE 'x'; XA COMMIT 'x'").unwrap();
    let error = run.error().await;
    assert_eq!(error.kind(), Kind::Unsupported);
    says(&error, "XA");
    let server_side = server.sql("d", "SELECT @@gtid_binlog_pos").unwrap();
    // What comes after it can be asked for by its name.
    let after = Setup::new(&server.url("d"), "odd", &["t"])
        .with("snapshot", json!("never"))
        .with("start_at", json!(server_side));
    let mut run = after.run(None).await;
    server
        .sql(
            "d",
            "SET SESSION binlog_format = STATEMENT; DELETE FROM t WHERE id = 25",
        )
        .unwrap();
    let error = run.error().await;
    says(&error, "as a statement");
    says(&error, "binlog_format = 'ROW'");
    let _ = position;
    run = after.run(None).await;
    run.kill().await;
}

#[tokio::test]
async fn what_a_sink_of_ours_wrote_is_not_told() {
    let Some(database) = database(TABLE) else {
        return;
    };
    let mut run = Setup::of(&database, &["t"]).run(None).await;
    run.settled().await;
    let config = serde_json::from_value(json!({ "url": database.url() })).unwrap();
    let cx = lockstep_core::connector::OpenContext {
        system: "other".to_owned(),
        folder: ".".into(),
        tables: vec!["t".to_owned()],
        reads: Default::default(),
    };
    let sink = lockstep_mysql::connector()
        .open_sink(config, cx)
        .await
        .unwrap();
    let shape = sink.discover().await.unwrap().remove(0);
    sink.prepare(std::slice::from_ref(&shape)).await.unwrap();
    let change = Change {
        shape,
        op: Op::Created,
        row: row(40, "ours"),
        before: None,
        mark: lockstep_core::position::Mark::default(),
        committed_at: jiff::Timestamp::UNIX_EPOCH,
        origin: None,
    };
    let batch = lockstep_core::connector::Batch {
        flow: "f".to_owned(),
        changes: vec![change],
        progress: Vec::new(),
        follows: false,
    };
    sink.apply(&batch).await.unwrap();
    assert_eq!(
        database.sql("SELECT x FROM t WHERE id = 40").unwrap(),
        "ours"
    );
    database.sql("INSERT INTO t VALUES (41, 'theirs')").unwrap();
    assert_eq!(ops(&run.changes(1).await), [(Op::Created, 41)]);
}

#[tokio::test]
async fn a_check_says_how_to_mend_a_server_and_a_table() {
    let Some(server) = own_server(&[
        "--binlog-row-metadata=NO_LOG",
        "--binlog-row-image=MINIMAL",
        "--binlog-format=MIXED",
    ]) else {
        return;
    };
    let findings = Setup::new(&server.url("d"), "checked", &["t"])
        .check()
        .await
        .unwrap();
    for help in [
        "SET GLOBAL binlog_row_metadata = 'FULL'",
        "SET GLOBAL binlog_row_image = 'FULL'",
        "SET GLOBAL binlog_format = 'ROW'",
    ] {
        assert!(
            findings
                .iter()
                .any(|finding| finding.severity == Severity::Error && finding.help.contains(help)),
            "{findings:?}"
        );
    }
    let error = Setup::new(&server.url("d"), "checked", &["t"])
        .refused(None)
        .await;
    assert_eq!(error.kind(), Kind::Config);

    server
        .sql(
            "d",
            "CREATE TABLE keyless(a int) ENGINE=InnoDB; CREATE TABLE loose(a int PRIMARY KEY) ENGINE=MyISAM; CREATE VIEW seen AS SELECT * FROM t;
             CREATE TABLE foreign_(a varchar(9) CHARACTER SET gbk PRIMARY KEY) ENGINE=InnoDB; CREATE TABLE old(a int PRIMARY KEY) ENGINE=InnoDB WITH SYSTEM VERSIONING;
             CREATE TABLE child(a int PRIMARY KEY, p int, place geometry, FOREIGN KEY (p) REFERENCES t(id) ON DELETE CASCADE) ENGINE=InnoDB",
        )
        .unwrap();
    for (table, part) in [
        ("keyless", "ADD PRIMARY KEY"),
        ("loose", "ENGINE = InnoDB"),
        ("seen", "is a view"),
        ("foreign_", "CONVERT TO CHARACTER SET utf8mb4"),
        ("old", "history"),
        ("tt", "did you mean `t`"),
    ] {
        let error = Setup::new(&server.url("d"), "checked", &[table])
            .discover()
            .await
            .unwrap_err();
        says(&error, part);
    }
    let findings = Setup::new(&server.url("d"), "checked", &["child"])
        .check()
        .await
        .unwrap();
    assert!(
        findings
            .iter()
            .any(|finding| finding.message.contains("the binary log tells nobody")),
        "{findings:?}"
    );
    assert!(
        findings
            .iter()
            .any(|finding| finding.message.contains("`place`")),
        "{findings:?}"
    );
}

#[tokio::test]
async fn the_least_privileges_are_enough_and_fewer_are_said() {
    let Some(database) = database(TABLE) else {
        return;
    };
    let name = database.name();
    database
        .sql(&format!(
            "CREATE USER {name}@'%' IDENTIFIED BY 'secret-word'; GRANT SELECT ON {name}.t TO {name}@'%'; GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {name}@'%'"
        ))
        .unwrap();
    let setup = Setup::new(&database.url_as(name, "secret-word"), name, &["t"]);
    let findings = setup.check().await.unwrap();
    assert!(
        findings
            .iter()
            .all(|finding| finding.severity != Severity::Error),
        "{findings:?}"
    );
    let mut run = setup.run(None).await;
    assert_eq!(run.settled().await.len(), 3);
    run.kill().await;
    // What a declaration says is seen by whoever may read the table.
    database.sql(&format!("CREATE TABLE p(id int PRIMARY KEY) ENGINE=InnoDB; CREATE TABLE c(id int PRIMARY KEY, p int, j json, g int AS (id + 1) STORED, FOREIGN KEY (p) REFERENCES p(id) ON DELETE CASCADE) ENGINE=InnoDB; INSERT INTO c (id, j) VALUES (1, '{{}}'); GRANT SELECT ON {name}.c TO {name}@'%'")).unwrap();
    let child = Setup::new(&database.url_as(name, "secret-word"), name, &["c"]);
    let findings = child.check().await.unwrap();
    assert!(
        findings
            .iter()
            .any(|finding| finding.message.contains("when rows of `p` change")),
        "{findings:?}"
    );
    let computed = "generated columns of table `c` are not captured: g";
    assert!(
        findings.iter().any(|finding| finding.message == computed),
        "{findings:?}"
    );
    let mut run = child.run(None).await;
    let told = run.settled().await;
    assert_eq!(told[0].shape.names().collect::<Vec<_>>(), ["id", "p", "j"]);
    assert_eq!(told[0].row.value(2), Some(&Value::Json("{}".into())));
    run.kill().await;
    database
        .sql(&format!(
            "REVOKE REPLICATION SLAVE, REPLICATION CLIENT ON *.* FROM {name}@'%'"
        ))
        .unwrap();
    let findings = setup.check().await.unwrap();
    assert!(
        findings
            .iter()
            .any(|finding| finding.help.contains("GRANT REPLICATION SLAVE")),
        "{findings:?}"
    );
    assert!(
        findings
            .iter()
            .any(|finding| finding.help.contains("GRANT REPLICATION CLIENT")),
        "{findings:?}"
    );
    let error = Setup::new(&database.url_as(name, "wrong-word"), name, &["t"])
        .refused(None)
        .await;
    assert_eq!(error.kind(), Kind::Unauthorized);
    assert!(!error.chain().contains("wrong-word"), "{error:?}");
}

#[tokio::test]
async fn tls_is_verified_unless_it_is_said_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority").unwrap();
    let other = Authority::new(folder.path(), "other").unwrap();
    let leaf = authority.server("server", &LOOPBACK).unwrap();
    let Some(server) = Server::start(&Options {
        fsync: false,
        settings: vec!["--require-secure-transport=ON".to_owned()],
        tls: Some(leaf),
    }) else {
        return;
    };
    let url = |query: &str| format!("{}?{query}", server.url("mysql"));
    let root = |authority: &Authority| authority.certificate().display().to_string();
    for query in [
        "sslmode=require".to_owned(),
        "sslmode=prefer".to_owned(),
        format!("sslmode=verify-full&sslrootcert={}", root(&authority)),
        format!("sslmode=verify-ca&sslrootcert={}", root(&authority)),
    ] {
        let findings = Setup::new(&url(&query), "tls", &[]).check().await;
        assert!(findings.is_ok(), "{query}: {findings:?}");
    }
    for query in [
        "sslmode=disable".to_owned(),
        "sslmode=verify-full".to_owned(),
        format!("sslmode=verify-full&sslrootcert={}", root(&other)),
    ] {
        let error = Setup::new(&url(&query), "tls", &[])
            .check()
            .await
            .unwrap_err();
        assert!(
            matches!(error.kind(), Kind::Config | Kind::Unauthorized),
            "{query}: {error:?}"
        );
    }
}
