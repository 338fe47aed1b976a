//! The conformance kit on real PostgreSQL databases: odd names, odd values, several kinds of keys and tables.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::fmt::Write as _;
use std::sync::Arc;

use lockstep_core::connector::{Connector, OpenContext, RawConfig};
use lockstep_core::{Column, Decimal, Row, Shape, Type, Value};
use lockstep_servers::postgres::Database;
use lockstep_tests::{ReaderHarness, SinkHarness, System};
use sqlx::{Connection, Executor as _, PgConnection, Row as _};

/// A target whose contract key is a unique column beside the table's own number.
const UNIQUE: usize = 0;
/// A target keyed by a number that PostgreSQL itself gives.
const NUMBER: usize = 1;
/// A target with a composite key, in partitions.
const COMPOSITE: usize = 2;

mod keyed_by_a_unique_column {
    use super::*;
    lockstep_tests::sink_conformance!(Shop<UNIQUE>);
}

mod keyed_by_an_identity {
    use super::*;
    lockstep_tests::sink_conformance!(Shop<NUMBER>);
}

mod keyed_by_two_columns_in_partitions {
    use super::*;
    lockstep_tests::sink_conformance!(Shop<COMPOSITE>);
}

lockstep_tests::reader_conformance!(Odd);

fn fresh() -> Database {
    match Database::fresh() {
        Some(database) => database,
        None => panic!("PostgreSQL was there a moment ago"),
    }
}

fn is_installed() -> bool {
    let found = lockstep_servers::find::postgres_bin().is_some();
    if !found {
        lockstep_servers::skip("PostgreSQL");
    }
    found
}

async fn rows(database: &Database, sql: &str) -> Vec<Vec<Option<String>>> {
    let mut conn = PgConnection::connect(&database.url()).await.unwrap();
    let rows = conn.fetch_all(sql).await.unwrap();
    let texts =
        |row: &sqlx::postgres::PgRow| (0..row.len()).map(|i| row.get_unchecked(i)).collect();
    rows.iter().map(texts).collect()
}

/// A target with an audit of every write and a column that nobody maps.
struct Shop<const KIND: usize> {
    database: Database,
}

impl<const KIND: usize> System for Shop<KIND> {
    async fn start() -> Self {
        let database = fresh();
        let (key, tail) = match KIND {
            UNIQUE => (
                "pk bigserial PRIMARY KEY, id text NOT NULL, UNIQUE (id)",
                "",
            ),
            NUMBER => ("id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY", ""),
            _ => (
                "id text, PRIMARY KEY (shelf, id)",
                "PARTITION BY LIST (shelf)",
            ),
        };
        let mut sql = format!(
            "CREATE SCHEMA \"select\"; CREATE TYPE mood AS ENUM ('good', 'b\"ad'); CREATE DOMAIN money_ AS numeric(12, 2) CHECK (VALUE >= 0);
             CREATE TABLE \"select\".\"Weird. \"\"Name\"({key}, shelf int, \"Na'me\" varchar(20) NOT NULL, amount money_, due date, seen timestamptz, \"order\" bool,
                 mood mood, tags text[], raw json, note text NOT NULL DEFAULT 'ours') {tail};
             CREATE TABLE audit(writes int); INSERT INTO audit VALUES (0);
             CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN UPDATE public.audit SET writes = writes + 1; RETURN NULL; END';"
        );
        if KIND == COMPOSITE {
            for shelf in 0..3 {
                let _ = write!(
                    sql,
                    "CREATE TABLE part{shelf} PARTITION OF \"select\".\"Weird. \"\"Name\" FOR VALUES IN ({shelf});"
                );
            }
        }
        sql.push_str("CREATE TRIGGER a AFTER INSERT OR UPDATE OR DELETE ON \"select\".\"Weird. \"\"Name\" FOR EACH ROW EXECUTE FUNCTION count_it();");
        database.sql(&sql).unwrap();
        Shop { database }
    }

    fn is_available() -> bool {
        is_installed()
    }

    fn connector() -> Connector {
        lockstep_postgres::connector()
    }

    fn config(&self) -> RawConfig {
        common::config(&self.database.url())
    }

    fn tables(&self) -> Vec<String> {
        vec!["\"select\".\"Weird. \"\"Name\"".to_owned()]
    }

    fn context(&self) -> OpenContext {
        OpenContext {
            tables: self.tables(),
            ..common::context(&self.database, &[])
        }
    }
}

impl<const KIND: usize> SinkHarness for Shop<KIND> {
    fn target(&self) -> Arc<Shape> {
        let money = Type::Decimal {
            precision: Some(12),
            scale: Some(2),
        };
        let id = if KIND == NUMBER {
            Type::Int
        } else {
            Type::Text
        };
        Arc::new(Shape {
            name: self.tables().remove(0),
            columns: vec![
                Column::new("Na'me", Type::Text, false),
                Column::new("id", id, false),
                Column::new("shelf", Type::Int, true),
                Column::new("amount", money, true),
                Column::new("due", Type::Date, true),
                Column::new("seen", Type::Timestamp, true),
                Column::new("order", Type::Bool, true),
                Column::new("mood", Type::Text, true),
                Column::new("tags", Type::Json, true),
                Column::new("raw", Type::Json, true),
            ],
            key: if KIND == COMPOSITE {
                vec![1, 2]
            } else {
                vec![1]
            },
        })
    }

    fn row(&self, id: i64, version: i64) -> Row {
        let name = ["Ann|", "ann|", "O'Ne\"il\\", ""][usize::try_from(version).unwrap() % 4];
        let odd = version % 2 == 1;
        Row::of([
            Value::text(name),
            if KIND == NUMBER {
                Value::Int(id)
            } else {
                Value::text(format!("C-{id}"))
            },
            Value::Int(id % 3),
            Value::Decimal(Decimal::from_units(version * 1250, 2)),
            Value::Date(jiff::civil::date(2024, 2, 1 + (version % 28) as i8)),
            Value::Timestamp(
                jiff::Timestamp::from_millisecond(1_700_000_000_000 + version).unwrap(),
            ),
            if version % 3 == 0 {
                Value::Null
            } else {
                Value::Bool(version % 3 == 1)
            },
            Value::text(if odd { "good" } else { "b\"ad" }),
            Value::Json(if odd { r#"["a","b \"c\"",null]"# } else { "[]" }.into()),
            if odd {
                Value::Json(r#"{"a":[1.10,"x"]}"#.into())
            } else {
                Value::Null
            },
        ])
    }

    fn refused(&self, id: i64) -> Option<Row> {
        let mut row = self.row(id, 1);
        row.0[3] = Value::Decimal("-1.00".parse().unwrap()).into();
        Some(row)
    }

    async fn read_back(&self) -> Vec<Row> {
        let table = &self.tables()[0];
        let notes = format!("SELECT count(*)::text FROM {table} WHERE note <> 'ours'");
        let notes = rows(&self.database, &notes).await;
        assert_eq!(
            notes[0][0].as_deref(),
            Some("0"),
            "a column that nobody maps was written"
        );
        let sql = format!(
            "SELECT \"Na'me\", id::text, shelf::text, amount::text, due::text, to_char(seen AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), \"order\"::text, mood::text, array_to_json(tags)::text, raw::text FROM {table}"
        );
        let all = rows(&self.database, &sql).await;
        let shape = self.target();
        let value = |(i, text): (usize, Option<String>)| {
            let Some(text) = text else { return Value::Null };
            match shape.columns[i].kind.unwrap() {
                Type::Int => Value::Int(text.parse().unwrap()),
                Type::Decimal { .. } => Value::Decimal(text.parse().unwrap()),
                Type::Date => Value::Date(text.parse().unwrap()),
                Type::Timestamp => Value::Timestamp(text.parse().unwrap()),
                Type::Bool => Value::Bool(text == "true"),
                Type::Json => Value::Json(text.into()),
                _ => Value::Text(text),
            }
        };
        let row = |row: Vec<Option<String>>| Row::of(row.into_iter().enumerate().map(value));
        all.into_iter().map(row).collect()
    }

    async fn writes(&self) -> Option<u64> {
        let writes = rows(&self.database, "SELECT writes::text FROM audit").await;
        writes[0][0].as_ref().map(|text| text.parse().unwrap())
    }
}

/// A table of odd names and odd values, with a composite key in an order of its own.
struct Odd {
    database: Database,
}

impl System for Odd {
    async fn start() -> Self {
        let database = fresh();
        let sql = "CREATE DOMAIN short AS varchar(9); CREATE DOMAIN shorter AS short;
            CREATE TABLE \"odd \"\"tabl'e\"\" ü\"(\"re\"\"gion\" text, big numeric, small real, raw bytea, no int, day date, at timestamp(3), clock time, id uuid, doc jsonb,
                span interval, numbers int[], fixed char(5), code shorter, twice int GENERATED ALWAYS AS (no * 2) STORED, PRIMARY KEY (no, \"re\"\"gion\"))";
        database.sql(sql).unwrap();
        Odd { database }
    }

    fn is_available() -> bool {
        is_installed()
    }

    fn connector() -> Connector {
        lockstep_postgres::connector()
    }

    fn config(&self) -> RawConfig {
        common::config(&self.database.url())
    }

    fn tables(&self) -> Vec<String> {
        vec!["odd \"tabl'e\" ü".to_owned()]
    }

    fn context(&self) -> OpenContext {
        OpenContext {
            tables: self.tables(),
            ..common::context(&self.database, &[])
        }
    }
}

const REGIONS: [&str; 3] = ["north", "süd", "a|b'\""];

impl ReaderHarness for Odd {
    async fn fill(&self, count: usize) {
        let table = "\"odd \"\"tabl'e\"\" ü\"";
        let sql = format!(
            "INSERT INTO {table} (\"re\"\"gion\", big, small, raw, no, day, at, clock, id, doc, span, numbers, fixed, code)
             SELECT (ARRAY['north', 'süd', 'a|b''\"'])[no % 3 + 1], CASE v % 7 WHEN 3 THEN 'NaN' ELSE 12345678901234567890.10 + v END, v / 4.0,
                 decode(lpad(to_hex(v % 256), 2, '0'), 'hex') || '\\x00', no, CASE v % 5 WHEN 2 THEN 'infinity' ELSE date '2024-02-29' END, timestamp '0044-03-15 01:02:03.125 BC',
                 CASE v % 4 WHEN 0 THEN time '24:00:00' ELSE time '23:59:59.5' END, ('00000000-0000-0000-0000-' || lpad(to_hex(no), 12, '0'))::uuid,
                 jsonb_build_object('a', v), interval '1 day 02:03:04', ARRAY[no, NULL], 'ab', NULL
             FROM (SELECT v, v * 31 % 1009 AS no FROM generate_series(0, {count} - 1) AS v) AS made"
        );
        let mut conn = PgConnection::connect(&self.database.url()).await.unwrap();
        conn.execute(sql.as_str()).await.unwrap();
    }

    async fn rows_by_key(&self) -> Vec<Row> {
        let sql = "SELECT no::text FROM \"odd \"\"tabl'e\"\" ü\"";
        let count = i64::try_from(rows(&self.database, sql).await.len()).unwrap();
        let mut made: Vec<(i64, i64)> = (0..count).map(|v| (v * 31 % 1009, v)).collect();
        made.sort_unstable();
        made.into_iter().map(|(no, v)| odd_row(no, v)).collect()
    }

    fn missing_key(&self) -> Vec<Value> {
        vec![Value::Int(5000), Value::text("north")]
    }
}

fn odd_row(no: i64, v: i64) -> Row {
    let big = format!("{}.10", 12_345_678_901_234_567_890_i128 + i128::from(v));
    Row::of([
        Value::text(REGIONS[usize::try_from(no % 3).unwrap()]),
        if v % 7 == 3 {
            Value::text("NaN")
        } else {
            Value::Decimal(big.parse().unwrap())
        },
        Value::Float(v as f64 / 4.0),
        Value::Bytes(vec![u8::try_from(v % 256).unwrap(), 0]),
        Value::Int(no),
        if v % 5 == 2 {
            Value::text("infinity")
        } else {
            Value::Date(jiff::civil::date(2024, 2, 29))
        },
        Value::Timestamp("-000043-03-15T01:02:03.125Z".parse().unwrap()),
        if v % 4 == 0 {
            Value::text("24:00:00")
        } else {
            Value::Time(jiff::civil::time(23, 59, 59, 500_000_000))
        },
        Value::Uuid(uuid::Uuid::from_u128(no.unsigned_abs().into())),
        Value::Json(format!("{{\"a\": {v}}}").into()),
        Value::text("1 day 02:03:04"),
        Value::Json(format!("[{no},null]").into()),
        Value::text("ab"),
        Value::Null,
        Value::Int(no * 2),
    ])
}
