//! What the triggers see: REPLACE, other triggers, our own writes, heavy writing.

mod common;

use std::sync::Arc;
use std::time::Duration;

use lockstep_core::change::Op;
use lockstep_core::connector::Receipt;
use lockstep_core::{Change, Value};
use lockstep_sqlite::connector;

use common::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_replace_removes_by_another_unique_index_is_seen_to_go() {
    let file = File::with(USERS);
    file.run("INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 1), (3, 'c', 1), (4, NULL, 1)");
    let mut tail = Tail::start(&file, &["t"], None).await;
    tail.settle(&file).await;
    for sql in [
        "INSERT OR REPLACE INTO t VALUES (10, 'a', 2)",
        "INSERT OR REPLACE INTO t VALUES (2, 'c', 2)",
        "UPDATE OR REPLACE t SET email = 'x' WHERE id = 10; UPDATE OR REPLACE t SET email = 'c' WHERE id = 10",
        "UPDATE OR REPLACE t SET id = 4 WHERE id = 10",
        "REPLACE INTO t(email, n) VALUES ('c', 5)",
        "PRAGMA recursive_triggers = ON; REPLACE INTO t(email, n) VALUES ('c', 6)",
    ] {
        file.run(sql);
        tail.settle(&file).await;
    }
    assert!(tail.seen.iter().any(|change| change.op == Op::Deleted));
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_replace_nothing_delete_nothing() {
    let file = File::with(USERS);
    file.run("INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 1)");
    let mut tail = Tail::start(&file, &["t"], None).await;
    tail.settle(&file).await;
    for sql in [
        "INSERT OR IGNORE INTO t VALUES (9, 'a', 2)",
        "INSERT INTO t VALUES (9, 'a', 2) ON CONFLICT(email) DO UPDATE SET n = 7",
        "INSERT INTO t VALUES (9, 'a', 2) ON CONFLICT DO NOTHING",
        "UPDATE OR IGNORE t SET email = 'a'",
        "INSERT INTO t VALUES (8, 'h', 1)",
    ] {
        file.run(sql);
    }
    let conn = file.conn();
    assert!(
        conn.execute_batch("INSERT OR FAIL INTO t VALUES (11, 'k', 1), (12, 'a', 1)")
            .is_err()
    );
    assert!(
        conn.execute_batch("INSERT INTO t VALUES (13, 'm', 1), (14, 'a', 1)")
            .is_err()
    );
    tail.settle(&file).await;
    assert!(!tail.ops().contains(&Op::Deleted), "{:?}", tail.seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_replaced_in_another_spelling_is_another_key() {
    let file = File::with("CREATE TABLE t(id TEXT PRIMARY KEY COLLATE NOCASE, n INT)");
    file.run("INSERT INTO t VALUES ('abc', 1), ('def', 1)");
    let mut tail = Tail::start(&file, &["t"], None).await;
    tail.settle(&file).await;
    file.run("REPLACE INTO t VALUES ('ABC', 2)");
    tail.settle(&file).await;
    file.run("UPDATE t SET id = 'DEF' WHERE id = 'def'");
    tail.settle(&file).await;
    file.run("DELETE FROM t WHERE id = 'Abc'");
    tail.settle(&file).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_business_systems_own_triggers_may_touch_the_row_again() {
    let triggers = "
        CREATE TRIGGER u1 AFTER UPDATE ON t WHEN NEW.n < 100 BEGIN UPDATE t SET n = NEW.n + 100 WHERE id = NEW.id; END;
        CREATE TRIGGER i1 AFTER INSERT ON t WHEN NEW.email = 'gone' BEGIN DELETE FROM t WHERE id = NEW.id; END;
        CREATE TRIGGER i2 AFTER INSERT ON t WHEN NEW.email = 'moves' BEGIN UPDATE t SET id = NEW.id + 1000 WHERE id = NEW.id; END;
        CREATE TRIGGER i3 AFTER INSERT ON t WHEN NEW.email = 'stamped' BEGIN UPDATE t SET n = 777 WHERE id = NEW.id; END;
        CREATE TRIGGER u2 AFTER UPDATE OF id ON t WHEN NEW.id = 500 BEGIN UPDATE t SET id = 501 WHERE id = 500; END;
        CREATE TRIGGER d1 AFTER DELETE ON t WHEN OLD.email = 'stays' BEGIN INSERT INTO t VALUES (OLD.id, 'back', 0); END;";
    // Whichever trigger SQLite runs first: the business system's stand before ours, or come after them.
    for late in [false, true] {
        let file = File::with(USERS);
        if !late {
            file.run(triggers);
        }
        let mut tail = Tail::start(&file, &["t"], None).await;
        tail.until("the first position", |tail| tail.position.is_some())
            .await;
        if late {
            file.run(triggers);
        }
        for sql in [
            "INSERT INTO t VALUES (1, 'a', 1), (2, 'gone', 1), (3, 'moves', 1), (4, 'stays', 1), (5, 'e', 200), (6, 'stamped', 1)",
            "UPDATE t SET n = 2 WHERE id = 1",
            "DELETE FROM t WHERE id = 4",
            "UPDATE t SET id = 500 WHERE id = 5",
            "DELETE FROM t",
        ] {
            file.run(sql);
            tail.settle(&file).await;
        }
        tail.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_sink_writes_does_not_come_back() {
    let file = File::with(USERS);
    file.run(
        "CREATE TABLE log(id INTEGER PRIMARY KEY, n INT);
         CREATE TRIGGER l AFTER INSERT ON t BEGIN INSERT INTO log VALUES (NEW.id, 1); END;",
    );
    let mut tail = Tail::start(&file, &["t", "log"], None).await;
    tail.until("the first position", |tail| tail.position.is_some())
        .await;

    let sink = connector()
        .open_sink(config(), file.context(&["t"]))
        .await
        .unwrap();
    let shape = target("t", &["id", "n"]);
    sink.prepare(&[Arc::clone(&shape)]).await.unwrap();
    let receipt = sink.apply(&batch(&shape, &[(7, 7), (8, 8)])).await.unwrap();
    assert!(matches!(receipt, Receipt::Committed(_)));
    file.run("INSERT INTO t VALUES (9, 'theirs', 9)");
    tail.until("three rows in the log", |tail| {
        tail.seen
            .iter()
            .filter(|change| change.shape.name == "log")
            .count()
            == 3
    })
    .await;
    // The system's own reaction in another table is its own change; the write itself is not.
    let of_t: Vec<&Change> = tail
        .seen
        .iter()
        .filter(|change| change.shape.name == "t")
        .collect();
    assert_eq!(of_t.len(), 1, "{of_t:?}");
    assert_eq!(of_t[0].row.value(0), Some(&Value::Int(9)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_under_heavy_writing_ends_where_the_file_stands() {
    let file = File::with("CREATE TABLE t(id TEXT PRIMARY KEY, email TEXT UNIQUE, n INT)");
    file.run("WITH RECURSIVE k(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < 3000) INSERT INTO t SELECT 'k' || i, 'e' || i, 0 FROM k");
    let writing = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let writer = {
        let (conn, writing) = (file.conn(), Arc::clone(&writing));
        std::thread::spawn(move || {
            let mut n: i64 = 0;
            while writing.load(std::sync::atomic::Ordering::Relaxed) {
                n += 1;
                let (a, b) = (n * 7919 % 3500, n * 104_729 % 3500);
                let sql = match n % 6 {
                    0 => format!("DELETE FROM t WHERE id = 'k{a}'"),
                    1 => format!("INSERT OR REPLACE INTO t VALUES ('k{a}', 'e{b}', {n})"),
                    2 => format!("UPDATE OR REPLACE t SET id = 'k{a}' WHERE id = 'k{b}'"),
                    3 if n % 60 == 3 => "VACUUM".to_owned(),
                    _ => format!("UPDATE t SET n = {n} WHERE id = 'k{a}'"),
                };
                conn.execute_batch(&sql).unwrap();
                // Even a busy program thinks now and then; SQLite's locks know no queue.
                if n % 5 == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        })
    };
    let mut tail = Tail::start(&file, &["t"], None).await;
    let done = |tail: &Tail| {
        let cursor = tail
            .position
            .as_ref()
            .and_then(|position| position.cursor.clone());
        cursor.is_some_and(|cursor| cursor.contains("\"done\":[\"t\"]"))
    };
    tail.until("the end of the snapshot", done).await;
    writing.store(false, std::sync::atomic::Ordering::Relaxed);
    writer.join().unwrap();
    tail.settle(&file).await;
}
