//! What is special to writing SQLite files: refusals, locks, equal values, checks.

mod common;

use std::sync::Arc;

use lockstep_core::connector::Receipt;
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Column, Kind, Row, Shape, Type, Value};
use lockstep_sqlite::connector;
use serde_json::json;

use common::*;

#[tokio::test(flavor = "multi_thread")]
async fn checks_name_what_is_wrong_and_the_cure() {
    let file = File::with(
        "PRAGMA journal_mode = DELETE;
         CREATE TABLE parents(id INTEGER PRIMARY KEY);
         CREATE TABLE t(id TEXT, must TEXT NOT NULL, parent INT REFERENCES parents(id), twice AS (parent * 2));
         CREATE UNIQUE INDEX part ON t(must) WHERE parent IS NULL;
         CREATE TABLE k(id TEXT PRIMARY KEY, n INT);",
    );
    let source = connector()
        .open_source(config(), file.context(&["k", "t"]))
        .await
        .unwrap();
    let findings = source.check(&[]).await.unwrap();
    for (severity, part) in [
        (Severity::Warning, "journal mode is `delete`"),
        (
            Severity::Warning,
            "key column `id` of table `k` may hold null",
        ),
        (Severity::Error, "table `t` has no key"),
    ] {
        assert!(says(&findings, severity, part), "{part}: {findings:?}");
    }
    assert_eq!(triggers(&file, "k"), 0, "a check changes nothing");

    let sink = connector()
        .open_sink(config(), file.context(&["t"]))
        .await
        .unwrap();
    let findings = sink.check(&[target("t", &["id", "parent"])]).await.unwrap();
    for (severity, part) in [
        (Severity::Error, "no unique index"),
        (Severity::Error, "column `must` of table `t` is NOT NULL"),
        (Severity::Warning, "foreign key to `parents`"),
    ] {
        assert!(says(&findings, severity, part), "{part}: {findings:?}");
    }
    let index = findings
        .iter()
        .find(|finding| finding.message.contains("no unique index"))
        .unwrap();
    let sql = index.help.strip_prefix("run: ").unwrap();
    file.run(sql);
    let findings = sink
        .check(&[target("t", &["id", "must", "twice"])])
        .await
        .unwrap();
    assert!(
        says(
            &findings,
            Severity::Error,
            "column `twice` of table `t` is generated"
        ),
        "{findings:?}"
    );
    let findings = sink.check(&[target("t", &["id", "must"])]).await.unwrap();
    assert!(
        findings
            .iter()
            .all(|finding| finding.severity < Severity::Error),
        "{findings:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_named() {
    let file = File::with("CREATE TABLE orders(id INTEGER PRIMARY KEY, name TEXT)");
    let missing = serde_json::from_value(json!({ "path": "nowhere.db" })).unwrap();
    let error = connector()
        .open_reader(missing, file.context(&[]))
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), Kind::Config);
    assert!(
        error.to_string().starts_with("no such database file"),
        "{error}"
    );

    std::fs::write(
        file.folder.path().join("text.db"),
        "no database at all, but long enough to look at",
    )
    .unwrap();
    let text = serde_json::from_value(json!({ "path": "text.db" })).unwrap();
    let error = connector()
        .open_reader(text, file.context(&[]))
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), Kind::Config, "{error:?}");

    let sink = connector()
        .open_sink(config(), file.context(&["orders"]))
        .await
        .unwrap();
    let error = sink.prepare(&[target("order", &["id"])]).await.unwrap_err();
    assert_eq!(error.help_text(), Some("did you mean `orders`?"));
    let error = sink
        .prepare(&[target("orders", &["id", "nme"])])
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "table `orders` has no column `nme`");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_file_is_passing_trouble_and_nothing_is_written() {
    let file = File::with(USERS);
    let settings =
        serde_json::from_value(json!({ "path": "app.db", "busy_timeout_ms": 20 })).unwrap();
    let sink = connector()
        .open_sink(settings, file.context(&["t"]))
        .await
        .unwrap();
    let shape = target("t", &["id", "n"]);
    sink.prepare(&[Arc::clone(&shape)]).await.unwrap();
    let holder = file.conn();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = sink.apply(&batch(&shape, &[(1, 1)])).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Transient, "{error:?}");
    holder.execute_batch("COMMIT").unwrap();
    assert!(sink.progress("f").await.unwrap().is_empty());
    assert!(matches!(
        sink.apply(&batch(&shape, &[(1, 1)])).await,
        Ok(Receipt::Committed(_))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_that_ends_the_transaction_is_a_refusal_like_any_other() {
    let file = File::with(USERS);
    file.run("CREATE TRIGGER no BEFORE INSERT ON t WHEN NEW.n < 0 BEGIN SELECT RAISE(ROLLBACK, 'n must not be negative'); END");
    let sink = connector()
        .open_sink(config(), file.context(&["t"]))
        .await
        .unwrap();
    let shape = target("t", &["id", "n"]);
    sink.prepare(&[Arc::clone(&shape)]).await.unwrap();
    let receipt = sink
        .apply(&batch(&shape, &[(1, 1), (2, -1), (3, 3), (4, -4)]))
        .await
        .unwrap();
    let Receipt::RolledBack(refused) = receipt else {
        panic!("{receipt:?}");
    };
    let named: Vec<usize> = refused.iter().map(|(index, _)| *index).collect();
    assert_eq!(named, [1, 3]);
    assert!(format!("{refused:?}").contains("n must not be negative"));
    assert!(file.truth(&shape_of(&["id", "email", "n"])).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_equal_are_not_written_again_whatever_their_storage() {
    let file = File::with(
        "CREATE TABLE t(id TEXT PRIMARY KEY, d DECIMAL(12,2), i INTEGER, r REAL, x TEXT COLLATE NOCASE, b BLOB, ok BOOLEAN, u);
         CREATE TABLE audit(n); INSERT INTO audit VALUES (0);
         CREATE TRIGGER a AFTER UPDATE ON t BEGIN UPDATE audit SET n = n + 1; END;",
    );
    let sink = connector()
        .open_sink(config(), file.context(&["t"]))
        .await
        .unwrap();
    let names = ["id", "d", "i", "r", "x", "b", "ok", "u"];
    let shape = target("t", &names);
    sink.prepare(&[Arc::clone(&shape)]).await.unwrap();
    let row = |text: &str| {
        let decimal = |text: &str| Value::Decimal(text.parse().unwrap());
        Row::of([
            Value::text("a"),
            decimal("12.50"),
            decimal("12"),
            decimal("1.25"),
            Value::text(text),
            Value::Bytes(vec![1]),
            Value::Bool(true),
            decimal("7.10"),
        ])
    };
    let updates = || -> i64 {
        file.conn()
            .query_row("SELECT n FROM audit", [], |row| row.get(0))
            .unwrap()
    };
    for (text, writes) in [("a", 0), ("a", 0), ("A", 1), ("A", 1)] {
        let mut one = batch(&shape, &[(1, 1)]);
        one.progress.clear();
        one.changes[0].row = row(text);
        assert!(matches!(sink.apply(&one).await, Ok(Receipt::Committed(_))));
        assert_eq!(updates(), writes, "{text}, whole");
        one.changes[0].row.0[7] = lockstep_core::Cell::Unchanged;
        assert!(matches!(sink.apply(&one).await, Ok(Receipt::Committed(_))));
        assert_eq!(updates(), writes, "{text}, in part");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_made_as_its_shape_says_and_only_where_there_is_none() {
    let file = File::with("CREATE TABLE known(x INTEGER)");
    let cx = file.context(&["known", "orders"]);
    let sink = connector().open_sink(config(), cx).await.unwrap();
    assert_eq!(sink.missing().await.unwrap(), ["orders"]);
    let shape = Shape {
        name: "orders".to_owned(),
        columns: vec![
            Column::new("No", Type::Int, false),
            Column::new("at", Type::Timestamp, false),
            Column::new("note", Type::Text, true),
        ],
        key: vec![1, 0],
    };
    for _ in 0..2 {
        sink.create_table(&shape).await.unwrap();
    }
    let known = Shape {
        name: "known".to_owned(),
        ..shape.clone()
    };
    sink.create_table(&known).await.unwrap();
    let made = sink.discover().await.unwrap();
    assert_eq!(*made[1], shape);
    assert_eq!(made[0].columns.len(), 1, "what is there stays as it is");
}
