//! Rows that are copied in are what they would be by a statement, whatever their types.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use lockstep_core::Value;
use lockstep_core::change::Op;

use common::*;

/// A column of every type that is copied, of a domain over one, and one more: that of the first argument is a type that is not.
fn tables(more: &str) -> String {
    let columns = format!(
        "id int8 PRIMARY KEY, b bool, s int2, i int4, o oid, r float4, f float8, x text, v varchar(20), c char(6), \
         y bytea, u uuid, d date, t time(3), a timestamp, z timestamptz(3), j json, k jsonb, n numeric, m numeric(12,2), g word, more {more}"
    );
    format!(
        "CREATE DOMAIN word AS varchar(8) CHECK (value <> ''); CREATE TABLE copied({columns}); CREATE TABLE stated({columns})"
    )
}

fn row(id: i64) -> Vec<Value> {
    let decimal = |text: String| Value::Decimal(text.parse().unwrap());
    let at = |text: &str| Value::Timestamp(text.parse().unwrap());
    let sign = if id % 2 == 0 { "" } else { "-" };
    vec![
        Value::Int(id),
        Value::Bool(id % 2 == 0),
        Value::Int(id - 50),
        Value::Int(-id * 1_000_000),
        Value::Int(id + i64::from(i32::MAX)),
        Value::Float(0.1),
        Value::Float(if id == 3 { f64::NAN } else { 1e300 }),
        Value::text(format!("tab\t, \\N and ünïcode {id}")),
        Value::text("varied"),
        Value::text("ab"),
        Value::Bytes(vec![0, 255, id as u8]),
        Value::Uuid(uuid::Uuid::from_u128(id as u128)),
        Value::Date("0044-03-15".parse().unwrap()),
        Value::Time("23:59:59.999".parse().unwrap()),
        at("0000-01-01T00:00:00.000001Z"),
        at("2026-11-23T14:00:00.125Z"),
        Value::Json("{\"a\": [1, null]}".into()),
        Value::Json("{\"a\": [1, null]}".into()),
        decimal(format!("{sign}{}0000.000{id}00", id * 7919)),
        if id % 5 == 0 {
            Value::Null
        } else {
            decimal(format!("{sign}{id}.5"))
        },
        Value::text("word"),
        Value::Null,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_copied_is_what_would_be_stated() {
    // The second has a column that keeps its table from being copied into, so it is written by statements all along.
    for more in ["text", "interval"] {
        let Some(database) = database(&tables(more)) else {
            return;
        };
        for (table, op) in [("copied", Op::Created), ("stated", Op::Updated)] {
            let (sink, shape) = prepared(&database, table).await;
            let changes = (1..=100).map(|id| change(&shape, op, row(id)));
            let receipt = sink.apply(&step(0, changes.collect())).await;
            assert!(is_committed(&receipt), "{table}: {receipt:?}");
            database.sql("DELETE FROM lockstep.progress").unwrap();
        }
        let differ = "SELECT count(*) FROM copied FULL JOIN stated USING (id) WHERE copied::text IS DISTINCT FROM stated::text";
        assert_eq!(database.sql(differ).unwrap(), "0");
        let held = "SELECT count(*), sum(m), min(n), min(octet_length(c)) FROM copied";
        assert_eq!(
            database.sql(held).unwrap(),
            "100|0.00|-7839810000.0009900|6"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_is_followed_where_a_copy_would_pass_it_by() {
    let Some(database) = database(
        "CREATE TABLE t(id int PRIMARY KEY, n int); CREATE TABLE seen(n int);
         CREATE RULE also AS ON INSERT TO t DO ALSO INSERT INTO seen VALUES (1)",
    ) else {
        return;
    };
    let (sink, shape) = prepared(&database, "t").await;
    let row = |id| change(&shape, Op::Created, [Value::Int(id), Value::Int(id)]);
    let receipt = sink.apply(&step(0, (0..100).map(row).collect())).await;
    assert!(is_committed(&receipt), "{receipt:?}");
    assert_ne!(database.sql("SELECT count(*) FROM seen").unwrap(), "0");
}
