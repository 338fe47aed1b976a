//! What happens to a file over time: migrations, restores, lost history, tables that come and go.

mod common;

use std::time::Duration;
use std::time::Instant;

use lockstep_core::change::Op;
use lockstep_core::connector::{OpenContext, feed};
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Kind, Value};
use lockstep_sqlite::connector;

use common::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_added_while_running_is_captured() {
    let file = File::with(USERS);
    file.run("INSERT INTO t VALUES (1, 'a', 1)");
    let mut tail = Tail::start(&file, &["t"], None).await;
    tail.settle(&file).await;
    // One transaction, so that changes are logged before the triggers know the column.
    file.run("BEGIN; ALTER TABLE t ADD COLUMN city TEXT; INSERT INTO t VALUES (2, 'b', 2, 'Oslo'); COMMIT");
    file.run("UPDATE t SET n = 3 WHERE id = 1");
    tail.until("both changes", |tail| tail.seen.len() >= 3)
        .await;
    assert!(tail.seen[1].row.cell(3).is_unchanged());
    file.run("UPDATE t SET city = 'Bergen' WHERE id = 1; UPDATE t SET n = 9 WHERE id = 2");
    tail.until("the new column", |tail| {
        tail.seen.last().and_then(|change| change.row.value(3)) == Some(&Value::text("Oslo"))
    })
    .await;
    let snapshots = tail.ops().iter().filter(|op| **op == Op::Snapshot).count();
    assert_eq!(snapshots, 1, "nothing was missed, so nothing is read again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_a_migration_builds_anew_is_read_again() {
    let file = File::with(USERS);
    file.run("INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 1)");
    let mut tail = Tail::start(&file, &["t"], None).await;
    tail.settle(&file).await;
    file.run(
        "BEGIN; CREATE TABLE new_t(id INTEGER PRIMARY KEY, email TEXT UNIQUE, n INT);
         INSERT INTO new_t SELECT id, email, n + 1 FROM t; DROP TABLE t; ALTER TABLE new_t RENAME TO t; COMMIT",
    );
    tail.settle(&file).await;
    file.run("UPDATE t SET n = 50 WHERE id = 2");
    tail.settle(&file).await;
    // Also in several transactions.
    file.run("CREATE TABLE new_t(id INTEGER PRIMARY KEY, email TEXT UNIQUE, n INT)");
    file.run("INSERT INTO new_t SELECT id, email, n + 1 FROM t");
    file.run("DROP TABLE t");
    tokio::time::sleep(Duration::from_millis(100)).await;
    file.run("ALTER TABLE new_t RENAME TO t");
    tail.settle(&file).await;
    // And when it happens while nobody looks.
    let position = tail.kill().await;
    file.run("ALTER TABLE t RENAME TO old_t; CREATE TABLE t(id INTEGER PRIMARY KEY, email TEXT UNIQUE, n INT); INSERT INTO t SELECT id, email, n + 7 FROM old_t; INSERT INTO t VALUES (5, 'e', 5)");
    let mut tail = Tail::start(&file, &["t"], position).await;
    tail.settle(&file).await;
    file.run("DELETE FROM t WHERE id = 5");
    tail.settle(&file).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_dropped_or_changes_its_columns_ends_the_run_with_its_name() {
    for (sql, says) in [
        ("DROP TABLE t", "no such table `t`"),
        (
            "ALTER TABLE t RENAME COLUMN n TO m",
            "the columns of table `t` changed",
        ),
        (
            "BEGIN; DROP TABLE t; CREATE TABLE t(n INT, id INTEGER PRIMARY KEY); COMMIT",
            "the columns of table `t` changed",
        ),
    ] {
        let file = File::with(USERS);
        file.run("INSERT INTO t VALUES (1, 'a', 1)");
        let mut tail = Tail::start(&file, &["t"], None).await;
        tail.settle(&file).await;
        file.run(sql);
        let error = tail.end().await;
        assert_eq!(error.kind(), Kind::Config, "{sql}");
        assert!(error.to_string().starts_with(says), "{sql}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_restored_from_a_backup_is_read_again_in_another_life() {
    // Whether or not the restored file has grown past the position by then.
    for edits in [0, 40] {
        let file = File::with(USERS);
        file.run("INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 1)");
        let mut tail = Tail::start(&file, &["t"], None).await;
        tail.settle(&file).await;
        let backup = file.folder.path().join("backup.db");
        file.conn()
            .execute("VACUUM INTO ?1", [backup.to_str().unwrap()])
            .unwrap();
        for n in 0..20 {
            file.run(&format!("UPDATE t SET n = {n} + 100 WHERE id = 1"));
        }
        tail.settle(&file).await;
        let position = tail.kill().await.unwrap();
        for name in ["app.db-wal", "app.db-shm"] {
            let _ = std::fs::remove_file(file.folder.path().join(name));
        }
        std::fs::rename(&backup, file.path()).unwrap();
        for n in 0..edits {
            file.run(&format!("UPDATE t SET n = {n} + 500 WHERE id = 2"));
        }
        let mut tail = Tail::start(&file, &["t"], Some(position.clone())).await;
        tail.settle(&file).await;
        let now = tail.position.clone().unwrap();
        assert_ne!(now.incarnation, position.incarnation, "after {edits} edits");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_replaced_under_a_running_source_is_noticed() {
    let file = File::with(USERS);
    file.run("INSERT INTO t VALUES (1, 'a', 1)");
    let mut tail = Tail::start(&file, &["t"], None).await;
    tail.settle(&file).await;
    let other = File::with(USERS);
    other.run("PRAGMA journal_mode = DELETE");
    std::fs::rename(other.path(), file.path()).unwrap();
    let error = tail.end().await;
    assert_eq!(error.kind(), Kind::Transient);
    assert!(error.to_string().contains("was replaced"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_are_gone_are_never_skipped_silently() {
    for (sql, same_life) in [
        ("DELETE FROM _lockstep_changes", true),
        ("DROP TABLE _lockstep_changes", false),
        ("DROP TABLE _lockstep_source", false),
    ] {
        for running in [false, true] {
            let file = File::with(USERS);
            file.run("INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 1)");
            let mut tail = Tail::start(&file, &["t"], None).await;
            tail.settle(&file).await;
            let before = tail.position.clone().unwrap();
            if running {
                // Whatever was logged before this transaction ends is gone with it.
                let _ = file
                    .conn()
                    .execute_batch(&format!("BEGIN; UPDATE t SET n = 8; {sql}; COMMIT"));
            } else {
                let position = tail.kill().await;
                file.run("UPDATE t SET n = 9 WHERE id = 2");
                file.run(sql);
                tail = Tail::start(&file, &["t"], position).await;
                tail.until("a snapshot", |tail| tail.ops().contains(&Op::Snapshot))
                    .await;
            }
            tail.settle(&file).await;
            file.run("DELETE FROM t WHERE id = 1");
            tail.settle(&file).await;
            let after = tail.position.clone().unwrap();
            assert_eq!(
                before.incarnation == after.incarnation,
                same_life,
                "{sql}, running: {running}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_joins_the_configuration_is_the_only_one_read() {
    let file = File::with(USERS);
    file.run("INSERT INTO t VALUES (1, 'a', 1); CREATE TABLE u(id INTEGER PRIMARY KEY); INSERT INTO u VALUES (5)");
    let mut tail = Tail::start(&file, &["t"], None).await;
    tail.settle(&file).await;
    let position = tail.kill().await;
    let mut tail = Tail::start(&file, &["t", "u"], position).await;
    tail.until("the new table", |tail| !tail.seen.is_empty())
        .await;
    assert_eq!(tail.seen.len(), 1);
    assert_eq!(tail.seen[0].shape.name, "u");
    // One that leaves for a while was not captured meanwhile.
    let position = tail.kill().await;
    let tail = Tail::start(&file, &["t"], position.clone()).await;
    let start = Instant::now();
    while file.conn().execute_batch("SELECT 1").is_err() || triggers(&file, "u") > 0 {
        assert!(
            start.elapsed() < DEADLINE,
            "the triggers of a table without flows stay"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tail.kill().await;
    file.run("INSERT INTO u VALUES (6)");
    let mut tail = Tail::start(&file, &["t", "u"], position).await;
    tail.until("the table again", |tail| tail.seen.len() == 2)
        .await;
    assert!(tail.seen.iter().all(|change| change.shape.name == "u"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_systems_cannot_share_a_file() {
    let file = File::with(USERS);
    let mut tail = Tail::start(&file, &["t"], None).await;
    tail.until("the first position", |tail| tail.position.is_some())
        .await;
    let other = OpenContext {
        system: "other".to_owned(),
        ..file.context(&["t"])
    };
    let source = connector().open_source(config(), other).await.unwrap();
    let findings = source.check(&[]).await.unwrap();
    assert!(
        says(
            &findings,
            Severity::Error,
            "already captured for system `app`"
        ),
        "{findings:?}"
    );
    let (emitter, _feed) = feed(None, 1);
    let error = source.run(None, emitter).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
}
