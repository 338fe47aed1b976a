//! What an operator relies on when MariaDB is a target: rows are never mixed, nothing changes without a word, and who is refused is named.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::Arc;

use lockstep_core::change::Op;
use lockstep_core::connector::{Batch, DynSink, OpenContext, Outcome, Receipt};
use lockstep_core::diagnostic::Severity;
use lockstep_core::position::Mark;
use lockstep_core::{Cell, Change, Column, Row, Shape, Type, Value};
use lockstep_servers::mariadb::Database;
use mysql_async::prelude::Queryable;
use serde_json::json;

fn database(sql: &str) -> Option<Database> {
    let database = Database::fresh()?;
    database.sql(sql).unwrap();
    Some(database)
}

async fn sink(url: &str, tables: &[&str]) -> Box<dyn DynSink> {
    let config = serde_json::from_value(json!({ "url": url })).unwrap();
    let cx = OpenContext {
        system: "target".to_owned(),
        folder: ".".into(),
        tables: tables.iter().map(|table| (*table).to_owned()).collect(),
        reads: Default::default(),
    };
    lockstep_mysql::connector()
        .open_sink(config, cx)
        .await
        .unwrap()
}

/// A prepared sink, and the shapes of its tables.
async fn prepared(database: &Database, tables: &[&str]) -> (Box<dyn DynSink>, Vec<Arc<Shape>>) {
    let sink = sink(&database.url(), tables).await;
    let shapes = sink.discover().await.unwrap();
    sink.prepare(&shapes).await.unwrap();
    (sink, shapes)
}

fn change(shape: &Arc<Shape>, op: Op, row: Row) -> Change {
    Change {
        shape: Arc::clone(shape),
        op,
        row,
        before: None,
        mark: Mark::default(),
        committed_at: jiff::Timestamp::UNIX_EPOCH,
        origin: None,
    }
}

fn upsert(shape: &Arc<Shape>, values: impl IntoIterator<Item = Value>) -> Change {
    change(shape, Op::Updated, Row::of(values))
}

fn batch(changes: Vec<Change>) -> Batch {
    Batch {
        flow: "f".to_owned(),
        changes,
        progress: Vec::new(),
        follows: false,
    }
}

async fn refused(sink: &dyn DynSink, changes: Vec<Change>) -> Vec<(usize, String)> {
    match sink.apply(&batch(changes)).await.unwrap() {
        Receipt::RolledBack(refused) => {
            let reason = |(place, outcome)| match outcome {
                Outcome::Rejected { reason } => (place, reason),
                Outcome::Waiting { on } => (place, format!("waits for {on}")),
                other => panic!("{other:?}"),
            };
            refused.into_iter().map(reason).collect()
        }
        Receipt::Committed(outcomes) => panic!("not refused: {outcomes:?}"),
    }
}

#[tokio::test]
async fn a_row_that_clashes_with_another_index_is_refused_and_no_value_is_shown() {
    let Some(database) = database(
        "CREATE TABLE t(id int PRIMARY KEY, mail varchar(40) UNIQUE, n int) ENGINE=InnoDB CHARACTER SET utf8mb4; INSERT INTO t VALUES (1, 'ann@example.org', 1)",
    ) else {
        return;
    };
    let (sink, shapes) = prepared(&database, &["t"]).await;
    let row = |id, mail: &str| {
        upsert(
            &shapes[0],
            [Value::Int(id), Value::text(mail), Value::Int(2)],
        )
    };
    let said = refused(
        &*sink,
        vec![
            row(5, "bob@example.org"),
            row(7, "ann@example.org"),
            row(8, "eve@example.org"),
        ],
    )
    .await;
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].0, 1);
    assert!(
        said[0].1.contains("mail") && !said[0].1.contains("ann@"),
        "{said:?}"
    );
    assert_eq!(
        database.sql("SELECT * FROM t").unwrap(),
        "1\tann@example.org\t1"
    );
}

#[tokio::test]
async fn a_child_waits_for_its_parent() {
    let Some(database) = database(
        "CREATE TABLE p(id int PRIMARY KEY) ENGINE=InnoDB; CREATE TABLE c(id int PRIMARY KEY, p int, CONSTRAINT of_p FOREIGN KEY (p) REFERENCES p(id)) ENGINE=InnoDB",
    ) else {
        return;
    };
    let (sink, shapes) = prepared(&database, &["p", "c"]).await;
    let child = upsert(&shapes[1], [Value::Int(1), Value::Int(9)]);
    let said = refused(&*sink, vec![child.clone()]).await;
    assert!(
        said[0].1.starts_with("waits for the row that `of_p`"),
        "{said:?}"
    );
    sink.apply(&batch(vec![upsert(&shapes[0], [Value::Int(9)]), child]))
        .await
        .unwrap();
    let said = refused(
        &*sink,
        vec![change(&shapes[0], Op::Deleted, Row::of([Value::Int(9)]))],
    )
    .await;
    assert!(said[0].1.contains("to go"), "{said:?}");
    assert_eq!(database.sql("SELECT p FROM c").unwrap(), "9");
}

#[tokio::test]
async fn what_would_change_without_a_word_is_refused_by_value() {
    let Some(database) = database(
        "CREATE TABLE t(id bigint unsigned PRIMARY KEY, d decimal(10,2), at datetime, c char(5), b binary(4), f float, m enum('a','b'), v varchar(3), l varchar(9) CHARACTER SET latin1, ts timestamp NULL) ENGINE=InnoDB CHARACTER SET utf8mb4",
    ) else {
        return;
    };
    let (sink, shapes) = prepared(&database, &["t"]).await;
    let shape = &shapes[0];
    let at = |text: &str| Value::Timestamp(text.parse().unwrap());
    let bad = [
        ("d", Value::Decimal("1.005".parse().unwrap())),
        ("d", Value::Decimal("123456789.00".parse().unwrap())),
        ("at", at("2024-02-29T01:02:03.5Z")),
        ("c", Value::text("a ")),
        ("b", Value::Bytes(vec![1, 2])),
        ("f", Value::Float(0.123_456_789_012)),
        ("m", Value::text("A")),
        ("v", Value::text("four")),
        ("l", Value::text("日")),
        ("ts", at("2040-01-01T00:00:00Z")),
        ("id", Value::Int(-1)),
    ];
    let count = bad.len();
    let with = |(place, (column, value)): (usize, (&str, Value))| {
        let mut row = vec![Value::Null; shape.columns.len()];
        row[0] = Value::Int(i64::try_from(place).unwrap());
        row[shape.position(column).unwrap()] = value;
        upsert(shape, row)
    };
    let changes: Vec<Change> = bad.into_iter().enumerate().map(with).collect();
    // What cannot even be sent is named first, the rest when those are gone.
    let mut left: Vec<Change> = changes;
    let mut named = 0;
    while !left.is_empty() {
        let said = refused(&*sink, left.clone()).await;
        named += said.len();
        for (place, _) in said.iter().rev() {
            left.remove(*place);
        }
    }
    assert_eq!(named, count);
    assert_eq!(database.sql("SELECT count(*) FROM t").unwrap(), "0");
    let good = [
        Value::Decimal("18446744073709551615".parse().unwrap()),
        Value::Decimal("12345678.90".parse().unwrap()),
        at("1000-01-01T00:00:00Z"),
        Value::text("ü"),
        Value::Bytes(vec![1, 0, 0, 0]),
        Value::Float(0.1),
        Value::text("b"),
        Value::text("🚲\\'"),
        Value::text("€"),
        at("1999-12-31T23:59:59Z"),
    ];
    sink.apply(&batch(vec![upsert(shape, good.clone())]))
        .await
        .unwrap();
    let config = serde_json::from_value(json!({ "url": database.url() })).unwrap();
    let cx = OpenContext {
        system: "target".to_owned(),
        folder: ".".into(),
        tables: vec!["t".to_owned()],
        reads: Default::default(),
    };
    let reader = lockstep_mysql::connector()
        .open_reader(config, cx)
        .await
        .unwrap();
    let names: Vec<String> = shape.names().map(str::to_owned).collect();
    let key = ["id".to_owned()];
    let read = reader
        .fetch("t", &names, &key, &[vec![good[0].clone()]])
        .await
        .unwrap();
    assert_eq!(read, [Row::of(good)]);
}

#[tokio::test]
async fn a_check_refuses_keys_that_are_lax_and_tables_that_cannot_be_written() {
    let Some(database) = database(
        "CREATE TABLE lax(id varchar(9) PRIMARY KEY, need int NOT NULL) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
         CREATE TABLE flat(id int PRIMARY KEY) ENGINE=MyISAM; CREATE TABLE keyless(id int, x int) ENGINE=InnoDB; CREATE TABLE good(id int PRIMARY KEY, at datetime) ENGINE=InnoDB",
    ) else {
        return;
    };
    let name = database.name();
    database
        .sql(&format!(
            "CREATE USER {name}@'%' IDENTIFIED BY 'w'; GRANT SELECT ON {name}.* TO {name}@'%'"
        ))
        .unwrap();
    let all = sink(&database.url(), &["lax", "flat", "keyless", "good"]).await;
    let target = |table: &str, kind| {
        Arc::new(Shape {
            name: table.to_owned(),
            columns: vec![Column::new("id", kind, false)],
            key: vec![0],
        })
    };
    for (table, kind, part) in [
        ("lax", Type::Text, "COLLATE utf8mb4_bin"),
        ("lax", Type::Text, "SET DEFAULT"),
        ("flat", Type::Int, "ENGINE = InnoDB"),
        ("keyless", Type::Int, "CREATE UNIQUE INDEX"),
    ] {
        let findings = all.check(&[target(table, kind)]).await.unwrap();
        assert!(
            findings
                .iter()
                .any(|finding| finding.severity == Severity::Error && finding.help.contains(part)),
            "{table}: {findings:?}"
        );
    }
    let poor = sink(&database.url_as(name, "w"), &["good"]).await;
    let findings = poor.check(&[target("good", Type::Int)]).await.unwrap();
    for part in [
        "GRANT INSERT",
        "GRANT DELETE",
        "CREATE TEMPORARY TABLES",
        "lockstep_progress",
    ] {
        assert!(
            findings.iter().any(|finding| finding.help.contains(part)),
            "{part}: {findings:?}"
        );
    }
    // The least that is documented is enough.
    database
        .sql(&format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.good TO {name}@'%'; GRANT CREATE TEMPORARY TABLES ON {name}.* TO {name}@'%'; GRANT CREATE, SELECT, INSERT, UPDATE ON {name}.lockstep_progress TO {name}@'%'"
        ))
        .unwrap();
    let enough = sink(&database.url_as(name, "w"), &["good"]).await;
    let memo = [Column::new("memo", Type::Text, true)];
    let error = enough.add_columns("good", &memo).await.unwrap_err();
    let help = error.help_text().unwrap_or_default();
    assert!(help.contains("GRANT ALTER ON"), "{} {help}", error.chain());
    let shapes = enough.discover().await.unwrap();
    let findings = enough.check(&shapes).await.unwrap();
    assert!(
        findings
            .iter()
            .all(|finding| finding.severity != Severity::Error),
        "{findings:?}"
    );
    enough.prepare(&shapes).await.unwrap();
    enough
        .apply(&batch(vec![upsert(
            &shapes[0],
            [Value::Int(0), Value::Null],
        )]))
        .await
        .unwrap();
    assert_eq!(
        database.sql("SELECT id FROM good").unwrap(),
        "0",
        "zero is a key like any other"
    );
}

#[tokio::test]
async fn a_deadlock_is_tried_again() {
    let Some(database) = database(
        "CREATE TABLE t(id int PRIMARY KEY, x int) ENGINE=InnoDB; INSERT INTO t SELECT seq, 0 FROM seq_1_to_20",
    ) else {
        return;
    };
    let (sink, shapes) = prepared(&database, &["t"]).await;
    let sink: Arc<dyn DynSink> = sink.into();
    // Somebody who takes rows the other way round, again and again.
    let opts = mysql_async::Opts::from_url(&database.url()).unwrap();
    let mut other = mysql_async::Conn::new(opts).await.unwrap();
    for round in 1..15 {
        other.query_drop("BEGIN").await.unwrap();
        other
            .query_drop("UPDATE t SET x = -1 WHERE id = 20")
            .await
            .unwrap();
        let changes = (1..=20)
            .map(|id| upsert(&shapes[0], [Value::Int(id), Value::Int(round)]))
            .collect();
        let sink = Arc::clone(&sink);
        let applying = tokio::spawn(async move { sink.apply(&batch(changes)).await });
        for id in (1..20).rev() {
            if other
                .query_drop(format!("UPDATE t SET x = -1 WHERE id = {id}"))
                .await
                .is_err()
            {
                break;
            }
        }
        let _ = other.query_drop("COMMIT").await;
        let receipt = applying.await.unwrap().unwrap();
        assert!(matches!(receipt, Receipt::Committed(_)), "{receipt:?}");
        assert_eq!(
            database
                .sql(&format!("SELECT count(*) FROM t WHERE x = {round}"))
                .unwrap(),
            "20"
        );
    }
}

#[tokio::test]
async fn columns_are_added_and_parts_of_rows_leave_the_rest() {
    let Some(database) = database(
        "CREATE TABLE t(id int PRIMARY KEY, x varchar(9)) ENGINE=InnoDB; INSERT INTO t VALUES (1, 'kept')",
    ) else {
        return;
    };
    let (sink, _) = prepared(&database, &["t"]).await;
    let columns = [
        Column::new("at", Type::Timestamp, true),
        Column::new("doc", Type::Json, true),
        Column::new("x", Type::Text, true),
    ];
    sink.add_columns("t", &columns).await.unwrap();
    sink.add_columns("t", &columns).await.unwrap();
    let shape = sink.discover().await.unwrap().remove(0);
    assert_eq!(shape.columns[3].kind, Some(Type::Json));
    let mut part = Row::unchanged(4);
    part.0[0] = Cell::Set(Value::Int(1));
    part.0[3] = Cell::Set(Value::Json("{\"a\":1}".into()));
    sink.apply(&batch(vec![change(&shape, Op::Updated, part.clone())]))
        .await
        .unwrap();
    assert_eq!(
        database.sql("SELECT x, doc FROM t").unwrap(),
        "kept\t{\"a\":1}"
    );
    part.0[0] = Cell::Set(Value::Int(2));
    let said = refused(&*sink, vec![change(&shape, Op::Updated, part)]).await;
    assert!(said[0].1.contains("a whole row is needed"), "{said:?}");
}

#[tokio::test]
async fn what_the_database_computes_is_left_alone_and_refused_where_it_is_to_be_written() {
    let Some(database) = database(
        "CREATE TABLE t(id int PRIMARY KEY, x int, twice int AS (x * 2) STORED, thrice int AS (x * 3) VIRTUAL) ENGINE=InnoDB",
    ) else {
        return;
    };
    let sink = sink(&database.url(), &["t"]).await;
    let shape = sink.discover().await.unwrap().remove(0);
    let part = |names: &[&str]| {
        let column = |name: &&str| shape.columns[shape.position(name).unwrap()].clone();
        Arc::new(Shape {
            name: "t".to_owned(),
            columns: names.iter().map(column).collect(),
            key: vec![0],
        })
    };
    for computed in ["twice", "thrice"] {
        let findings = sink.check(&[part(&["id", computed])]).await.unwrap();
        let said = format!("column `{computed}` of table `t` is generated and cannot be written");
        assert!(
            findings
                .iter()
                .any(|finding| finding.severity == Severity::Error && finding.message == said),
            "{findings:?}"
        );
    }
    let written = part(&["id", "x"]);
    sink.prepare(&[Arc::clone(&written)]).await.unwrap();
    let row = upsert(&written, [Value::Int(1), Value::Int(7)]);
    let receipt = sink.apply(&batch(vec![row])).await.unwrap();
    assert!(matches!(receipt, Receipt::Committed(_)), "{receipt:?}");
    assert_eq!(
        database.sql("SELECT twice, thrice FROM t").unwrap(),
        "14\t21"
    );
}
