//! Tables that keep what was: the conformance kit on the rows of now, and what stays of the past.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::sync::Arc;

use lockstep_core::change::Op;
use lockstep_core::connector::{Connector, DynReader, DynSink, Page, RawConfig};
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Cell, Change, Column, Decimal, Row, Shape, Type, Value};
use lockstep_servers::postgres::Database;
use lockstep_tests::{ReaderHarness, SinkHarness, System};
use serde_json::json;
use sqlx::{Connection, Executor as _, PgConnection, Row as _};

/// A slowly changing dimension.
const SCD2: bool = true;
/// Append-only events.
const APPEND: bool = false;

mod of_a_dimension {
    use super::*;
    lockstep_tests::sink_conformance!(Kept<SCD2>);
    lockstep_tests::reader_conformance!(Kept<SCD2>);
}

mod of_events {
    use super::*;
    lockstep_tests::sink_conformance!(Kept<APPEND>);
    lockstep_tests::reader_conformance!(Kept<APPEND>);
}

const NAME: &str = "dim";

/// A table that Lockstep made, with a column more that nobody maps.
struct Kept<const DIMENSION: bool> {
    database: Database,
}

fn settings(database: &Database, dimension: bool) -> RawConfig {
    let mut config = common::config(&database.url());
    let kind = if dimension { "scd2" } else { "append" };
    config.insert("tables".to_owned(), json!({ NAME: { "history": kind } }));
    config
}

fn target() -> Arc<Shape> {
    Arc::new(Shape {
        name: NAME.to_owned(),
        columns: vec![
            Column::new("na'me", Type::Text, false),
            Column::new("id", Type::Text, false),
            Column::new("shelf", Type::Int, false),
            Column::new("amount", Type::DECIMAL, true),
            Column::new("seen", Type::Timestamp, true),
        ],
        key: vec![1, 2],
    })
}

async fn rows(database: &Database, sql: &str) -> Vec<Vec<Option<String>>> {
    let mut conn = PgConnection::connect(&database.url()).await.unwrap();
    let rows = conn.fetch_all(sql).await.unwrap();
    let texts =
        |row: &sqlx::postgres::PgRow| (0..row.len()).map(|i| row.get_unchecked(i)).collect();
    rows.iter().map(texts).collect()
}

async fn open(database: &Database, dimension: bool) -> Box<dyn DynSink> {
    let cx = common::context(database, &[NAME]);
    let sink = lockstep_postgres::connector()
        .open_sink(settings(database, dimension), cx)
        .await;
    sink.unwrap()
}

impl<const DIMENSION: bool> System for Kept<DIMENSION> {
    async fn start() -> Self {
        let Some(database) = Database::fresh() else {
            panic!("PostgreSQL was there a moment ago");
        };
        let sink = open(&database, DIMENSION).await;
        sink.create_table(&target()).await.unwrap();
        sink.create_table(&target()).await.unwrap();
        Kept { database }
    }

    fn is_available() -> bool {
        let found = lockstep_servers::find::postgres_bin().is_some();
        if !found {
            lockstep_servers::skip("PostgreSQL");
        }
        found
    }

    fn connector() -> Connector {
        lockstep_postgres::connector()
    }

    fn config(&self) -> RawConfig {
        settings(&self.database, DIMENSION)
    }

    fn tables(&self) -> Vec<String> {
        vec![NAME.to_owned()]
    }
}

/// The rows of now, by another way than the reader's.
fn now(dimension: bool) -> &'static str {
    if dimension {
        "SELECT \"na'me\", id, shelf::text, amount::text, (extract(epoch FROM seen) * 1000000)::int8::text FROM dim WHERE valid_to IS NULL ORDER BY id COLLATE \"C\", shelf"
    } else {
        "SELECT \"na'me\", id, shelf::text, amount::text, (extract(epoch FROM seen) * 1000000)::int8::text FROM dim d \
         WHERE operation <> 'deleted' AND NOT EXISTS (SELECT FROM dim e WHERE (e.id, e.shelf) = (d.id, d.shelf) AND e.version > d.version) ORDER BY id COLLATE \"C\", shelf"
    }
}

fn stored(row: Vec<Option<String>>) -> Row {
    let [name, id, shelf, amount, seen] = <[Option<String>; 5]>::try_from(row).unwrap();
    Row::of([
        Value::text(name.unwrap()),
        Value::text(id.unwrap()),
        Value::Int(shelf.unwrap().parse().unwrap()),
        amount.map_or(Value::Null, |text| Value::Decimal(text.parse().unwrap())),
        seen.map_or(Value::Null, |text| {
            Value::Timestamp(jiff::Timestamp::from_microsecond(text.parse().unwrap()).unwrap())
        }),
    ])
}

impl<const DIMENSION: bool> SinkHarness for Kept<DIMENSION> {
    fn target(&self) -> Arc<Shape> {
        target()
    }

    fn row(&self, id: i64, version: i64) -> Row {
        Row::of([
            Value::text(["Ann", "ann", "O'Neil\\"][usize::try_from(version).unwrap() % 3]),
            Value::text(format!("C-{id}")),
            Value::Int(id % 3),
            Value::Decimal(Decimal::from_units(version * 125, 2)),
            if version % 4 == 0 {
                Value::Null
            } else {
                Value::Timestamp(jiff::Timestamp::from_microsecond(version).unwrap())
            },
        ])
    }

    fn refused(&self, id: i64) -> Option<Row> {
        let mut row = self.row(id, 1);
        row.0[0] = Value::text("no\0zero").into();
        Some(row)
    }

    async fn read_back(&self) -> Vec<Row> {
        rows(&self.database, now(DIMENSION))
            .await
            .into_iter()
            .map(stored)
            .collect()
    }

    async fn writes(&self) -> Option<u64> {
        let count = rows(&self.database, "SELECT count(*)::text FROM dim").await;
        count[0][0].as_deref()?.parse().ok()
    }
}

impl<const DIMENSION: bool> ReaderHarness for Kept<DIMENSION> {
    /// Three states of each record, and as many records that are gone.
    async fn fill(&self, count: usize) {
        let sink = open(&self.database, DIMENSION).await;
        sink.prepare(&[target()]).await.unwrap();
        let count = i64::try_from(count).unwrap();
        for (step, (ids, op)) in [
            (0..2 * count, Op::Created),
            (0..2 * count, Op::Updated),
            (count..2 * count, Op::Deleted),
            (0..count, Op::Updated),
        ]
        .into_iter()
        .enumerate()
        {
            let version = i64::try_from(step).unwrap();
            let change = |id| change(op, self.row(id * 31 % 997, version), version);
            let step = common::step(u64::try_from(step).unwrap(), ids.map(change).collect());
            assert!(common::is_committed(&sink.apply(&step).await));
        }
    }

    async fn rows_by_key(&self) -> Vec<Row> {
        let shape = open(&self.database, DIMENSION)
            .await
            .discover()
            .await
            .unwrap()
            .remove(0);
        assert_eq!(
            shape.names().collect::<Vec<_>>(),
            target().names().collect::<Vec<_>>()
        );
        let order = "ORDER BY id, shelf";
        let sql = now(DIMENSION).replace("ORDER BY id COLLATE \"C\", shelf", order);
        rows(&self.database, &sql)
            .await
            .into_iter()
            .map(stored)
            .collect()
    }

    fn missing_key(&self) -> Vec<Value> {
        vec![Value::text("no such"), Value::Int(1)]
    }
}

fn at(second: i64) -> jiff::Timestamp {
    // Finer than PostgreSQL keeps: the sources' clocks are.
    jiff::Timestamp::new(1_700_000_000 + second, 123_456_789).unwrap()
}

fn change(op: Op, row: Row, second: i64) -> Change {
    let row = if op == Op::Deleted {
        let key = |place: usize| {
            if place == 1 || place == 2 {
                row.cell(place).clone()
            } else {
                Cell::Unchanged
            }
        };
        Row((0..row.0.len()).map(key).collect())
    } else {
        row
    };
    let shape = target();
    Change {
        shape,
        op,
        row,
        before: None,
        mark: Default::default(),
        committed_at: at(second),
        origin: None,
    }
}

fn record(name: &str, amount: &str) -> Row {
    let amount = Value::Decimal(amount.parse().unwrap());
    Row::of([
        Value::text(name),
        Value::text("k"),
        Value::Int(1),
        amount,
        Value::Null,
    ])
}

async fn told(dimension: bool, columns: &str) -> Option<Vec<Vec<Option<String>>>> {
    let database = Database::fresh()?;
    let sink = open(&database, dimension).await;
    sink.create_table(&target()).await.unwrap();
    database
        .sql("ALTER TABLE dim ADD COLUMN note text; ALTER TABLE dim ALTER note SET DEFAULT 'ours'")
        .unwrap();
    sink.prepare(&[target()]).await.unwrap();
    let mut part = change(Op::Updated, record("b", "2"), 20);
    part.row.0[3] = Cell::Unchanged;
    let steps = [
        vec![change(Op::Created, record("a", "1"), 10)],
        // A state that is told again is no news; one that held for no time is a row all the same.
        vec![
            change(Op::Snapshot, record("a", "1.0"), 15),
            part,
            change(Op::Updated, record("c", "1"), 20),
        ],
        vec![change(Op::Deleted, record("", "0"), 30)],
        // A clock that went back does not let a state begin before the one before it ended.
        vec![change(Op::Created, record("d", "4"), 25)],
    ];
    for (step, changes) in steps.into_iter().enumerate() {
        let batch = common::step(u64::try_from(step).unwrap(), changes);
        assert!(
            common::is_committed(&sink.apply(&batch).await),
            "step {step}"
        );
        // Another worker with the same batch is fenced off by the progress.
        assert!(sink.apply(&batch).await.is_err());
    }
    Some(
        rows(
            &database,
            &format!("SELECT {columns} FROM dim ORDER BY version"),
        )
        .await,
    )
}

fn words(rows: &[Vec<Option<String>>]) -> Vec<String> {
    let line = |row: &Vec<Option<String>>| {
        let cells = row.iter().map(|cell| cell.as_deref().unwrap_or("-"));
        cells.collect::<Vec<_>>().join(" ")
    };
    rows.iter().map(line).collect()
}

const SECONDS: &str = "(extract(epoch FROM {}) - 1700000000)::int::text";

#[tokio::test]
async fn a_dimension_tells_since_when_and_until_when_each_state_held() {
    let since = SECONDS.replace("{}", "valid_from");
    let until = SECONDS.replace("{}", "valid_to");
    let columns =
        format!("version::text, \"na'me\", amount::text, {since}, {until}, is_current::text, note");
    let Some(rows) = told(SCD2, &columns).await else {
        return;
    };
    assert_eq!(
        words(&rows),
        [
            "1 a 1 10 20 false ours",
            "2 b 1 20 20 false ours",
            "3 c 1 20 30 false ours",
            "4 d 4 30 - true ours",
        ]
    );
}

#[tokio::test]
async fn events_are_added_and_never_changed() {
    let when = SECONDS.replace("{}", "committed_at");
    let columns = format!("version::text, operation, \"na'me\", amount::text, {when}, note");
    let Some(rows) = told(APPEND, &columns).await else {
        return;
    };
    assert_eq!(
        words(&rows),
        [
            "1 created a 1 10 ours",
            "2 updated b 1 20 ours",
            "3 updated c 1 20 ours",
            "4 deleted c 1 30 ours",
            "5 created d 4 25 ours",
        ]
    );
}

#[tokio::test]
async fn what_a_table_lacks_is_said_with_the_statement_that_mends_it() {
    let Some(database) = Database::fresh() else {
        return;
    };
    database.sql("CREATE TABLE dim (id text, shelf int, \"na'me\" text, amount numeric, seen timestamptz, version text, PRIMARY KEY (id, shelf))").unwrap();
    for dimension in [SCD2, APPEND] {
        let sink = open(&database, dimension).await;
        let findings = sink.check(&[target()]).await.unwrap();
        let own = if dimension {
            ["`version`", "`valid_from`", "`valid_to`", "`is_current`"].as_slice()
        } else {
            &["`version`", "`operation`", "`committed_at`"]
        };
        for own in own {
            assert!(
                common::says(&findings, Severity::Error, own),
                "{own}: {findings:?}"
            );
        }
        assert!(sink.prepare(&[target()]).await.is_err());
    }
    database.sql("ALTER TABLE dim DROP version, ADD version bigint, ADD operation text, ADD committed_at timestamptz").unwrap();
    let findings = open(&database, APPEND)
        .await
        .check(&[target()])
        .await
        .unwrap();
    assert!(
        common::says(&findings, Severity::Error, "no unique key"),
        "{findings:?}"
    );
    let mended = findings
        .iter()
        .find_map(|finding| finding.help.strip_prefix("run: "));
    database
        .sql(&format!(
            "ALTER TABLE dim DROP CONSTRAINT dim_pkey; {}",
            mended.unwrap()
        ))
        .unwrap();
    let findings = open(&database, APPEND)
        .await
        .check(&[target()])
        .await
        .unwrap();
    assert!(
        findings
            .iter()
            .all(|finding| finding.severity != Severity::Error),
        "{findings:?}"
    );
}

#[tokio::test]
async fn a_reader_of_events_gives_the_rows_of_now() {
    let Some(database) = Database::fresh() else {
        return;
    };
    let sink = open(&database, APPEND).await;
    sink.create_table(&target()).await.unwrap();
    sink.prepare(&[target()]).await.unwrap();
    let changes = vec![
        change(Op::Created, record("a", "1"), 1),
        change(Op::Updated, record("b", "1"), 2),
    ];
    assert!(common::is_committed(
        &sink.apply(&common::step(0, changes)).await
    ));
    let cx = common::context(&database, &[NAME]);
    let reader: Box<dyn DynReader> = lockstep_postgres::connector()
        .open_reader(settings(&database, APPEND), cx)
        .await
        .unwrap();
    let key = ["id".to_owned()];
    let columns = ["na'me".to_owned()];
    let page = Page {
        table: NAME,
        columns: &columns,
        key: &key,
        limit: 9,
        ..Page::default()
    };
    assert_eq!(
        reader.scan(page).await.unwrap(),
        [Row::of([Value::text("b")])]
    );
    let found = reader
        .fetch(NAME, &columns, &key, &[vec![Value::text("k")]])
        .await
        .unwrap();
    assert_eq!(found, [Row::of([Value::text("b")])]);
}

#[test]
fn two_columns_of_one_name_are_refused() {
    let text = r#"{"url": "postgres://h/d", "tables": {"dim": {"history": "scd2", "valid_to": "valid_from"}}}"#;
    let config = serde_json::from_str(text).unwrap();
    let cx = lockstep_core::connector::OpenContext {
        system: "dwh".to_owned(),
        folder: ".".into(),
        tables: Vec::new(),
        reads: Default::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let opened = runtime.block_on(lockstep_postgres::connector().open_sink(config, cx));
    let error = opened.err().unwrap();
    assert!(error.to_string().contains("`valid_from`"), "{error:?}");
}
