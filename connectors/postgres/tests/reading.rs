//! What is special to reading PostgreSQL: names, views, collations, altered tables, values at their limits.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use lockstep_core::connector::{DynReader, Page};
use lockstep_core::{Row, Value};

use common::*;

async fn all(reader: &dyn DynReader, table: &str, columns: &[&str], key: &[&str]) -> Vec<Row> {
    let owned = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let (columns, key) = (owned(columns), owned(key));
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let after: Option<Vec<Value>> = rows.last().map(|row| {
            (0..key.len())
                .map(|i| row.value(i).unwrap().clone())
                .collect()
        });
        let page = Page {
            table,
            columns: &columns,
            key: &key,
            after: after.as_deref(),
            limit: 2,
            ..Page::default()
        };
        let more = reader.scan(page).await.unwrap();
        let last = more.len() < 2;
        rows.extend(more);
        if last {
            return rows;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_found_by_the_names_people_write() {
    let Some(database) = database(
        "CREATE SCHEMA sales; CREATE TABLE sales.orders(id int PRIMARY KEY); CREATE TABLE customers(id int PRIMARY KEY);
         CREATE SCHEMA \"a.b\"; CREATE TABLE \"a.b\".c(id int PRIMARY KEY); CREATE SCHEMA a; CREATE TABLE a.\"b.c\"(n int);",
    ) else {
        return;
    };
    let shapes = reader(
        &database,
        &["\"a.b\".c", "customers", "public.customers", "sales.orders"],
    )
    .await
    .discover()
    .await
    .unwrap();
    let names: Vec<&str> = shapes.iter().map(|shape| shape.name.as_str()).collect();
    assert_eq!(
        names,
        ["\"a.b\".c", "customers", "public.customers", "sales.orders"]
    );
    for (name, message, help) in [
        ("orders", "no such table `orders`", "sales.orders"),
        (
            "customer",
            "no such table `customer`",
            "did you mean `customers`?",
        ),
        (
            "Customers",
            "no such table `Customers`",
            "did you mean `customers`?",
        ),
        (
            "a.b.c",
            "`a.b.c` means more than one table",
            "\"a\".\"b.c\"",
        ),
        ("pg_class", "no such table `pg_class`", ""),
    ] {
        let error = match reader(&database, &[name]).await.discover().await {
            Err(error) => error,
            Ok(_) if name == "pg_class" => continue,
            Ok(shapes) => panic!("{shapes:?}"),
        };
        assert_eq!(error.to_string(), message);
        assert!(
            error.help_text().unwrap().contains(help),
            "{error:?}: {:?}",
            error.help_text()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn views_and_lax_keys_are_paged_without_loss() {
    let Some(database) = database(
        "CREATE COLLATION lax (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE t(id text COLLATE lax, n int);
         INSERT INTO t VALUES ('a', 1), ('A', 2), ('b', 3), ('B', 4), (NULL, 5);
         CREATE VIEW v AS SELECT id, n FROM t;",
    ) else {
        return;
    };
    let reader = reader(&database, &["v"]).await;
    let rows = all(&*reader, "v", &["id", "n"], &["id"]).await;
    let numbers: Vec<_> = rows
        .iter()
        .map(|row| row.value(1).unwrap().to_string())
        .collect();
    assert_eq!(
        numbers,
        ["2", "4", "1", "3"],
        "by bytes, and no row without a key"
    );
    let key = ["id".to_owned()];
    let found = reader
        .fetch(
            "v",
            &["n".to_owned()],
            &key,
            &[vec![Value::text("A")], vec![Value::text("c\0")]],
        )
        .await
        .unwrap();
    assert_eq!(found, [Row::of([Value::Int(2)])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_altered_meanwhile_is_read_as_it_is() {
    let Some(database) =
        database("CREATE TABLE t(id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 2)")
    else {
        return;
    };
    let reader = reader(&database, &["t"]).await;
    assert_eq!(
        all(&*reader, "t", &["id", "n"], &["id"]).await,
        [Row::of([Value::Int(1), Value::Int(2)])]
    );
    database.sql("ALTER TABLE t ALTER id TYPE text; DROP TABLE t; CREATE TABLE t(id text PRIMARY KEY, n int); INSERT INTO t VALUES ('x', 3)").unwrap();
    let one = [Row::of([Value::text("x"), Value::Int(3)])];
    assert_eq!(all(&*reader, "t", &["id", "n"], &["id"]).await[..], one);
    let error = reader
        .fetch(
            "t",
            &["m".to_owned()],
            &["id".to_owned()],
            &[vec![Value::Int(1)]],
        )
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "table `t` has no column `m`");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_read_back_to_the_digit() {
    let Some(database) = database(
        "CREATE EXTENSION IF NOT EXISTS citext; CREATE TYPE mood AS ENUM ('so so'); CREATE DOMAIN cents AS numeric(30, 2);
         CREATE TABLE t(id bigint PRIMARY KEY, i2 int2, f4 real, f8 float8, num numeric, cents cents, b bool, t text, ci citext, raw bytea, d date, tm time, ts timestamp, tz timestamptz,
             u uuid, j json, jb jsonb, m mood, ip inet, span interval, texts text[], nums numeric[], docs jsonb[], days date[])",
    ) else {
        return;
    };
    let (sink, shape) = prepared(&database, "t").await;
    let json = |text: &str| Value::Json(text.into());
    let at = |text: &str| Value::Timestamp(text.parse().unwrap());
    let long = format!("-{}.{}", "9".repeat(300), "1".repeat(200));
    let rows = [
        vec![
            Value::Int(i64::MIN),
            Value::Int(-32768),
            Value::Float(-3.402_823_5e38),
            Value::Float(f64::MIN_POSITIVE),
            Value::Decimal(long.parse().unwrap()),
            Value::Decimal("1234567890123456789012345678.90".parse().unwrap()),
            Value::Bool(false),
            Value::text("ü\n\\,{}\""),
            Value::text("Ann"),
            Value::Bytes((0..=255).collect()),
            Value::Date(jiff::civil::date(-4000, 1, 1)),
            Value::Time(jiff::civil::time(0, 0, 0, 1000)),
            at("-004000-01-01T00:00:00Z"),
            at("9999-12-30T22:00:00.999999Z"),
            Value::Uuid(uuid::Uuid::max()),
            json("[1.10, null]"),
            json("{\"a\": 1.10}"),
            Value::text("so so"),
            Value::text("10.0.0.0/8"),
            Value::text("1 year 2 mons -3 days +04:05:06.7"),
            json("[\"NULL\",null,\"a,b\",\"\\\"\\\\\"]"),
            json("[\"1.50\",\"NaN\"]"),
            json("[{\"a\": [1]}]"),
            json("[\"2024-02-29\"]"),
        ],
        std::iter::once(Value::Int(i64::MAX))
            .chain(std::iter::repeat_n(Value::Null, 23))
            .collect(),
        vec![
            Value::Int(0),
            Value::Int(0),
            Value::Float(f64::INFINITY),
            Value::Float(f64::NAN),
            Value::text("NaN"),
            Value::Decimal("0.00".parse().unwrap()),
            Value::Bool(true),
            Value::text(""),
            Value::text(""),
            Value::Bytes(Vec::new()),
            Value::Date(jiff::civil::date(9999, 12, 31)),
            Value::Time(jiff::civil::time(23, 59, 59, 999_999_000)),
            at("1999-12-31T23:59:59.999999Z"),
            at("2000-01-01T00:00:00Z"),
            Value::Uuid(uuid::Uuid::nil()),
            json("null"),
            json("\"x\""),
            Value::Null,
            Value::text("::1"),
            Value::text("00:00:00"),
            json("[]"),
            json("[[\"1\"],[\"2\"]]"),
            json("[null]"),
            json("[]"),
        ],
    ];
    let changes = rows.iter().map(|row| upsert(&shape, row.clone())).collect();
    let applied = sink.apply(&batch(changes)).await;
    assert!(is_committed(&applied), "{applied:?}");
    let reader = reader(&database, &["t"]).await;
    let columns: Vec<&str> = shape.names().collect();
    let read = all(&*reader, "t", &columns, &["id"]).await;
    for (row, place) in [(0, 0), (2, 1), (1, 2)] {
        for (at, name) in columns.iter().enumerate() {
            assert_eq!(
                read[place].value(at),
                Some(&rows[row][at]),
                "{name} of row {row}"
            );
        }
    }
}
