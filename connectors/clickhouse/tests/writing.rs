//! What is special to ClickHouse: tables of our making, versions, tombstones, refusals, and servers that are not well.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use jiff::Timestamp;
use lockstep_clickhouse::connector;
use lockstep_core::change::Op;
use lockstep_core::connector::{Batch, DynReader, DynSink, OpenContext, Outcome, Page, Receipt};
use lockstep_core::position::Mark;
use lockstep_core::{Change, Column, Kind, Result, Row, Shape, Type, Value};
use lockstep_servers::clickhouse::Server;
use serde_json::{Value as Json, json};

fn context() -> OpenContext {
    OpenContext {
        system: "warehouse".to_owned(),
        folder: ".".into(),
        tables: vec!["facts".to_owned()],
        reads: Default::default(),
    }
}

async fn sink(config: Json) -> Result<Box<dyn DynSink>> {
    let config = serde_json::from_value(config).unwrap();
    connector().open_sink(config, context()).await
}

async fn reader(config: Json) -> Box<dyn DynReader> {
    let config = serde_json::from_value(config).unwrap();
    connector().open_reader(config, context()).await.unwrap()
}

fn settings(server: &Server) -> Json {
    json!({ "url": server.url(), "password": server.password() })
}

fn shape(columns: Vec<Column>) -> Arc<Shape> {
    Arc::new(Shape {
        name: "facts".to_owned(),
        columns,
        key: vec![0],
    })
}

fn simple() -> Arc<Shape> {
    shape(vec![
        Column::new("id", Type::Int, false),
        Column::new("name", Type::Text, true),
    ])
}

fn change(shape: &Arc<Shape>, op: Op, commit: u64, row: Row) -> Change {
    Change {
        shape: Arc::clone(shape),
        op,
        row,
        before: None,
        mark: Mark { commit, ordinal: 0 },
        committed_at: Timestamp::UNIX_EPOCH,
        origin: None,
    }
}

fn named(id: i64, commit: u64, name: &str) -> Change {
    change(
        &simple(),
        Op::Updated,
        commit,
        Row::of([Value::Int(id), Value::text(name)]),
    )
}

fn gone(id: i64, commit: u64) -> Change {
    change(&simple(), Op::Deleted, commit, Row::of([Value::Int(id)]))
}

fn batch(changes: Vec<Change>) -> Batch {
    Batch {
        flow: "flow".to_owned(),
        changes,
        progress: Vec::new(),
        follows: false,
    }
}

async fn apply(sink: &dyn DynSink, changes: Vec<Change>) -> Vec<Outcome> {
    match sink.apply(&batch(changes)).await.unwrap() {
        Receipt::Committed(outcomes) => outcomes,
        receipt => panic!("{receipt:?}"),
    }
}

async fn all(reader: &dyn DynReader, shape: &Shape) -> Vec<Row> {
    let columns: Vec<String> = shape.names().map(str::to_owned).collect();
    let page = Page {
        table: "facts",
        columns: &columns,
        key: &columns[..1],
        limit: 1000,
        ..Page::default()
    };
    reader.scan(page).await.unwrap()
}

#[tokio::test]
async fn a_table_of_ours_holds_every_type_exactly() {
    let Some(server) = Server::start() else {
        return;
    };
    let kinds = [
        Type::Bool,
        Type::Decimal {
            precision: Some(30),
            scale: Some(5),
        },
        Type::DECIMAL,
        Type::Float,
        Type::Text,
        Type::Bytes,
        Type::Date,
        Type::Time,
        Type::Timestamp,
        Type::Uuid,
        Type::Json,
    ];
    let mut columns = vec![Column::new("id", Type::Int, false)];
    columns.extend(
        kinds
            .iter()
            .enumerate()
            .map(|(n, kind)| Column::new(format!("c{n}"), *kind, true)),
    );
    let shape = shape(columns);
    let sink = sink(settings(&server)).await.unwrap();
    assert_eq!(sink.missing().await.unwrap(), ["facts"]);
    sink.create_table(&shape).await.unwrap();
    sink.create_table(&shape).await.unwrap();
    assert!(sink.missing().await.unwrap().is_empty());
    assert!(sink.check(&[Arc::clone(&shape)]).await.unwrap().is_empty());
    let found = sink.discover().await.unwrap().remove(0);
    assert_eq!(found.columns[9].kind, Some(Type::Timestamp));
    assert_eq!(found.key, [0]);

    let decimal = |text: &str| Value::Decimal(text.parse().unwrap());
    let full = Row::of([
        Value::Int(i64::MIN),
        Value::Bool(true),
        decimal("-1234567890123456789012345.67891"),
        decimal("0.000000001"),
        Value::Float(-0.1e-300),
        Value::text("\u{1f600}\t\\N\n"),
        Value::Bytes((0..=255).collect()),
        Value::Date(jiff::civil::date(1815, 12, 10)),
        Value::Time("23:59:59.999999".parse().unwrap()),
        Value::Timestamp("1815-12-10T00:00:00.000001Z".parse().unwrap()),
        Value::Uuid("00000000-0000-0000-0000-0000000000ff".parse().unwrap()),
        Value::Json(r#"{"a":[1.50,"\u0000"]}"#.into()),
    ]);
    let mut empty = vec![Value::Null; kinds.len() + 1];
    empty[0] = Value::Int(i64::MAX);
    let empty = Row::of(empty);
    let changes = [&full, &empty].map(|row| change(&shape, Op::Created, 1, row.clone()));
    let outcomes = apply(&*sink, changes.to_vec()).await;
    assert_eq!(outcomes, [Outcome::APPLIED, Outcome::APPLIED]);
    let reader = reader(settings(&server)).await;
    assert_eq!(all(&*reader, &shape).await, [full, empty]);

    let mut wide = vec![Value::Null; kinds.len() + 1];
    (wide[0], wide[2]) = (Value::Int(5), decimal("0.000001"));
    let outcomes = apply(&*sink, vec![change(&shape, Op::Created, 1, Row::of(wide))]).await;
    assert!(
        matches!(&outcomes[0], Outcome::Rejected { reason } if reason.contains("`c1`")),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn versions_grow_whatever_the_source_says_and_a_delete_keeps_the_key_alone() {
    let Some(server) = Server::start() else {
        return;
    };
    let sink = sink(settings(&server)).await.unwrap();
    sink.create_table(&simple()).await.unwrap();
    let newest = || {
        server
            .sql("SELECT id, name, _version, _deleted FROM facts FINAL ORDER BY id")
            .unwrap()
    };
    apply(&*sink, vec![named(1, 500, "Ada"), named(2, 500, "Bob")]).await;
    // The source was restored: it counts from the beginning again.
    apply(
        &*sink,
        vec![
            named(1, 7, "Ada L."),
            gone(2, 7),
            named(3, 7, "Cy"),
            gone(3, 8),
        ],
    )
    .await;
    assert_eq!(newest(), "1\tAda L.\t501\t0\n2\t\\N\t501\t1\n");
    apply(&*sink, vec![named(2, 8, "Bea")]).await;
    assert_eq!(newest(), "1\tAda L.\t501\t0\n2\tBea\t502\t0\n");
    let rows = server.sql("SELECT count() FROM facts").unwrap();
    // Again, by another process: nothing is written.
    let again = self::sink(settings(&server)).await.unwrap();
    apply(&*again, vec![named(1, 7, "Ada L."), named(2, 8, "Bea")]).await;
    assert_eq!(server.sql("SELECT count() FROM facts").unwrap(), rows);
    server.sql("OPTIMIZE TABLE facts FINAL").unwrap();
    assert_eq!(newest(), "1\tAda L.\t501\t0\n2\tBea\t502\t0\n");
}

#[tokio::test]
async fn a_server_that_is_killed_has_what_was_committed() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let sink = sink(settings(&server)).await.unwrap();
    sink.create_table(&simple()).await.unwrap();
    apply(&*sink, vec![named(1, 1, "a")]).await;
    server.kill().unwrap();
    let away = sink
        .apply(&batch(vec![named(2, 2, "b")]))
        .await
        .unwrap_err();
    assert_eq!(away.kind(), Kind::Transient, "{away:?}");
    server.restart().unwrap();
    apply(&*sink, vec![named(2, 2, "b")]).await;
    assert_eq!(
        server
            .sql("SELECT id FROM facts FINAL ORDER BY id")
            .unwrap(),
        "1\n2\n"
    );
}

#[tokio::test]
async fn tables_that_cannot_be_targets_are_explained() {
    let Some(server) = Server::start() else {
        return;
    };
    let sink = sink(settings(&server)).await.unwrap();
    let own = "_version UInt64, _deleted UInt8";
    let cases = [
        (format!("(id Int64, name String, {own}) ENGINE = MergeTree ORDER BY id"), "no row replaces"),
        (format!("(id Int64, name String, {own}) ENGINE = ReplacingMergeTree ORDER BY id"), "versions"),
        ("(id Int64, name String, _version UInt64) ENGINE = ReplacingMergeTree(_version) ORDER BY id".to_owned(), "`_deleted`"),
        (format!("(id Int64, name String, {own}) ENGINE = ReplacingMergeTree(_version) ORDER BY (name, id)"), "sorted by"),
        (format!("(id Int64, title String, {own}) ENGINE = ReplacingMergeTree(_version) ORDER BY id"), "no column `name`"),
        (format!("(id Int64, name Array(String), {own}) ENGINE = ReplacingMergeTree(_version) ORDER BY id"), "only be read"),
        (format!("(id Int64, name String MATERIALIZED 'x', {own}) ENGINE = ReplacingMergeTree(_version) ORDER BY id"), "computed"),
    ];
    for (table, part) in cases {
        server.sql(&format!("CREATE TABLE facts {table}")).unwrap();
        let findings = sink.check(&[simple()]).await.unwrap();
        assert!(
            findings
                .iter()
                .any(|finding| finding.message.contains(part)),
            "{table}: {findings:?}"
        );
        assert!(findings.iter().all(|finding| !finding.help.is_empty()));
        server.sql("DROP TABLE facts").unwrap();
    }
    let missing = sink.discover().await.unwrap_err();
    assert_eq!(
        missing.error_code(),
        Some(lockstep_core::contract::drift::GONE)
    );
}

#[tokio::test]
async fn columns_are_added_and_lists_are_kept_and_read() {
    let Some(server) = Server::start() else {
        return;
    };
    server.sql("CREATE TABLE facts (id Int64, name Nullable(String), tags Array(String), _version UInt64, _deleted UInt8) ENGINE = ReplacingMergeTree(_version) ORDER BY id").unwrap();
    server
        .sql("INSERT INTO facts VALUES (1, 'a', ['it\\'s', '\\t\\\\'], 4, 0)")
        .unwrap();
    let sink = sink(settings(&server)).await.unwrap();
    let more = [
        Column::new(
            "score",
            Type::Decimal {
                precision: Some(6),
                scale: Some(2),
            },
            true,
        ),
        Column::new("name", Type::Text, true),
    ];
    sink.add_columns("facts", &more).await.unwrap();
    sink.add_columns("facts", &more).await.unwrap();
    apply(&*sink, vec![named(1, 1, "b")]).await;
    let reader = reader(settings(&server)).await;
    let found = reader.discover().await.unwrap().remove(0);
    assert_eq!(
        found.names().collect::<Vec<_>>(),
        ["id", "name", "tags", "score"]
    );
    let row = Row::of([
        Value::Int(1),
        Value::text("b"),
        Value::text("['it\\'s','\\t\\\\']"),
        Value::Null,
    ]);
    assert_eq!(all(&*reader, &found).await, [row]);
}

#[tokio::test]
async fn wrong_credentials_and_wrong_places_are_told_apart() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut wrong = settings(&server);
    wrong["password"] = json!("not-the-password");
    let error = sink(wrong).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Unauthorized, "{error:?}");
    assert!(!error.chain().contains("not-the-password"));
    let mut wrong = settings(&server);
    wrong["database"] = json!("nowhere");
    let error = sink(wrong).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Config, "{error:?}");
}

/// A server that says what a test wants it to say.
async fn scripted(
    answer: impl Fn(&str) -> (u16, String) + Clone + Send + Sync + 'static,
) -> String {
    let app = Router::new().fallback(move |body: String| {
        let (status, text) = answer(&body);
        async move { (StatusCode::from_u16(status).unwrap(), text).into_response() }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// The catalogue of a modern server with the table of [`simple`].
fn catalogue(query: &str) -> Option<(u16, String)> {
    let text = if query.starts_with("SELECT version()") {
        "24.8.1.1\n"
    } else if query.contains("system.tables") {
        "SharedReplacingMergeTree\tSharedReplacingMergeTree('/x/{uuid}', '{replica}', _version, _deleted) ORDER BY id SETTINGS index_granularity = 8192\tid\n"
    } else if query.contains("system.columns") {
        "id\tInt64\t\t\t0\nname\tNullable(String)\t\t\t0\n_version\tUInt64\t\t\t0\n_deleted\tUInt8\t\t\t0\n"
    } else if query.starts_with("SELECT") {
        ""
    } else {
        return None;
    };
    Some((200, text.to_owned()))
}

#[tokio::test]
async fn rows_that_a_constraint_refuses_are_found_by_halving_and_the_others_go_in() {
    let inserted = Arc::new(std::sync::Mutex::new(Vec::<String>::new()));
    let kept = Arc::clone(&inserted);
    let url = scripted(move |query| {
        if let Some(answer) = catalogue(query) {
            return answer;
        }
        if query.contains("bad") {
            let text = "Code: 469. DB::Exception: Constraint `nice` for table x.facts is violated at row 2. Expression: (name != 'bad'). Column values: name = 'bad'. (VIOLATED_CONSTRAINT)";
            return (500, text.to_owned());
        }
        kept.lock().unwrap().extend(query.lines().skip(1).map(str::to_owned));
        (200, String::new())
    })
    .await;
    let sink = sink(json!({ "url": url })).await.unwrap();
    let changes = (0..9)
        .map(|id| named(id, 3, if id == 2 || id == 7 { "bad" } else { "good" }))
        .collect();
    let outcomes = apply(&*sink, changes).await;
    for (id, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Outcome::Rejected { reason } => {
                assert!(id == 2 || id == 7, "{id}");
                assert!(
                    reason.contains("`nice`") && !reason.contains("values"),
                    "{reason}"
                );
            }
            outcome => assert_eq!(*outcome, Outcome::APPLIED),
        }
    }
    let mut lines = inserted.lock().unwrap().clone();
    lines.sort();
    assert_eq!(
        lines,
        [0, 1, 3, 4, 5, 6, 8].map(|id| format!("{id}\tgood\t3\t0"))
    );
}

#[tokio::test]
async fn trouble_of_the_server_is_of_the_kind_that_helps() {
    let too_many = "Code: 252. DB::Exception: Too many parts (600). (TOO_MANY_PARTS)";
    let cases = [
        (500, too_many, Kind::Throttled),
        (503, "<html><h1>Bad gateway</h1></html>", Kind::Transient),
        (
            500,
            "Code: 242. DB::Exception: Table is in readonly mode (TABLE_IS_READ_ONLY)",
            Kind::Transient,
        ),
        (
            403,
            "Code: 497. DB::Exception: lockstep: Not enough privileges. (ACCESS_DENIED)",
            Kind::Unauthorized,
        ),
        (
            500,
            "Code: 516. DB::Exception: lockstep: Authentication failed",
            Kind::Unauthorized,
        ),
    ];
    for (status, text, kind) in cases {
        let tries = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&tries);
        let url = scripted(move |query| {
            catalogue(query).unwrap_or_else(|| {
                counted.fetch_add(1, Ordering::SeqCst);
                (status, text.to_owned())
            })
        })
        .await;
        let sink = sink(json!({ "url": url })).await.unwrap();
        let error = sink
            .apply(&batch(vec![named(1, 1, "a"), named(2, 1, "b")]))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert_eq!(
            tries.load(Ordering::SeqCst),
            1,
            "the runtime decides when it is tried again"
        );
    }
}
