//! The conformance kit on real MariaDB databases: odd names, odd values, several kinds of keys.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::sync::Arc;

use lockstep_core::connector::{Connector, OpenContext, RawConfig};
use lockstep_core::{Column, Decimal, Row, Shape, Type, Value};
use lockstep_servers::mariadb::Database;
use lockstep_tests::{ReaderHarness, SinkHarness, System};

/// A target whose contract key is a unique column beside the table's own number.
const UNIQUE: usize = 0;
/// A target keyed by a number that the database itself gives.
const NUMBER: usize = 1;
/// A target with a composite key, in partitions.
const COMPOSITE: usize = 2;

mod keyed_by_a_unique_column {
    use super::*;
    lockstep_tests::sink_conformance!(Shop<UNIQUE>);
}

mod keyed_by_a_number {
    use super::*;
    lockstep_tests::sink_conformance!(Shop<NUMBER>);
}

mod keyed_by_two_columns_in_partitions {
    use super::*;
    lockstep_tests::sink_conformance!(Shop<COMPOSITE>);
}

lockstep_tests::reader_conformance!(Odd);

async fn rows(database: &Database, sql: &str) -> Vec<Vec<Option<String>>> {
    common::rows(&database.url(), sql).await
}

/// A target with an audit of every write and a column that nobody maps.
struct Shop<const KIND: usize> {
    database: Database,
}

const TABLE: &str = "`weird. ``name`";

impl<const KIND: usize> System for Shop<KIND> {
    async fn start() -> Self {
        let database = common::fresh();
        let exact = "varchar(30) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL";
        let (key, tail) = match KIND {
            UNIQUE => (
                format!("pk bigint AUTO_INCREMENT PRIMARY KEY, id {exact}, UNIQUE (id)"),
                "",
            ),
            NUMBER => ("id bigint AUTO_INCREMENT PRIMARY KEY".to_owned(), ""),
            _ => (
                format!("id {exact}, PRIMARY KEY (shelf, id)"),
                "PARTITION BY LIST (shelf) (PARTITION a VALUES IN (0), PARTITION b VALUES IN (1), PARTITION c VALUES IN (2))",
            ),
        };
        let shelf = if KIND == COMPOSITE { "NOT NULL" } else { "" };
        let sql = format!(
            "CREATE TABLE {TABLE}({key}, shelf int {shelf}, `Na'me` varchar(20) NOT NULL, amount decimal(12,2) CHECK (amount >= 0), due date, seen datetime(6), `order` boolean,
                 mood enum('good','b\"ad'), tags set('a','b'), raw json, blob_ blob, note varchar(20) NOT NULL DEFAULT 'ours') ENGINE=InnoDB CHARACTER SET utf8mb4 {tail};
             CREATE TABLE audit(writes int) ENGINE=InnoDB; INSERT INTO audit VALUES (0);
             CREATE TRIGGER ai AFTER INSERT ON {TABLE} FOR EACH ROW UPDATE audit SET writes = writes + 1;
             CREATE TRIGGER au AFTER UPDATE ON {TABLE} FOR EACH ROW UPDATE audit SET writes = writes + 1;
             CREATE TRIGGER ad AFTER DELETE ON {TABLE} FOR EACH ROW UPDATE audit SET writes = writes + 1;"
        );
        database.sql(&sql).unwrap();
        Shop { database }
    }

    fn is_available() -> bool {
        common::is_installed()
    }

    fn connector() -> Connector {
        lockstep_mysql::connector()
    }

    fn config(&self) -> RawConfig {
        common::config(&self.database.url())
    }

    fn tables(&self) -> Vec<String> {
        vec![TABLE.to_owned()]
    }

    fn context(&self) -> OpenContext {
        common::context(&self.database, &[TABLE])
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
            name: TABLE.to_owned(),
            columns: vec![
                Column::new("Na'me", Type::Text, false),
                Column::new("id", id, false),
                Column::new("shelf", Type::Int, true),
                Column::new("amount", money, true),
                Column::new("due", Type::Date, true),
                Column::new("seen", Type::Timestamp, true),
                Column::new("order", Type::Bool, true),
                Column::new("mood", Type::Text, true),
                Column::new("tags", Type::Text, true),
                Column::new("raw", Type::Json, true),
                Column::new("blob_", Type::Bytes, true),
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
            Value::text(if odd { "a,b" } else { "" }),
            if odd {
                Value::Json(r#"{"a":[1.10,"x\\y"]}"#.into())
            } else {
                Value::Null
            },
            Value::Bytes(vec![0, 255, u8::try_from(version % 250).unwrap()]),
        ])
    }

    fn refused(&self, id: i64) -> Option<Row> {
        let mut row = self.row(id, 1);
        row.0[3] = Value::Decimal("-1.00".parse().unwrap()).into();
        Some(row)
    }

    async fn read_back(&self) -> Vec<Row> {
        let notes = rows(
            &self.database,
            &format!("SELECT count(*) FROM {TABLE} WHERE note <> 'ours'"),
        )
        .await;
        assert_eq!(
            notes[0][0].as_deref(),
            Some("0"),
            "a column that nobody maps was written"
        );
        let sql = format!(
            "SELECT `Na'me`, id, shelf, amount, due, seen, `order`, mood, tags, raw, hex(blob_) FROM {TABLE}"
        );
        let shape = self.target();
        let value = |(i, text): (usize, Option<String>)| {
            let Some(text) = text else { return Value::Null };
            match shape.columns[i].kind.unwrap() {
                Type::Int => Value::Int(text.parse().unwrap()),
                Type::Decimal { .. } => Value::Decimal(text.parse().unwrap()),
                Type::Date => Value::Date(text.parse().unwrap()),
                Type::Timestamp => {
                    Value::Timestamp(format!("{}Z", text.replace(' ', "T")).parse().unwrap())
                }
                Type::Bool => Value::Bool(text == "1"),
                Type::Json => Value::Json(text.into()),
                Type::Bytes => {
                    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
                    Value::Bytes((0..text.len()).step_by(2).map(byte).collect())
                }
                _ => Value::Text(text),
            }
        };
        let row = |row: Vec<Option<String>>| Row::of(row.into_iter().enumerate().map(value));
        rows(&self.database, &sql)
            .await
            .into_iter()
            .map(row)
            .collect()
    }

    async fn writes(&self) -> Option<u64> {
        let writes = rows(&self.database, "SELECT writes FROM audit").await;
        writes[0][0].as_ref().map(|text| text.parse().unwrap())
    }
}

/// A table of odd names and odd values, with a composite key in an order of its own.
struct Odd {
    database: Database,
}

const ODD: &str = "`odd \"tabl'e\" ü`";
const REGIONS: [&str; 3] = ["north", "süd", "a|b'\""];

impl System for Odd {
    async fn start() -> Self {
        let database = common::fresh();
        let sql = format!(
            "CREATE TABLE {ODD}(`re\"gion` varchar(20), big decimal(65,30), small float, raw varbinary(9), no int, day date, at datetime(3), clock time(1), id uuid, doc json,
                mood enum('b','a'), fixed char(5), twice int AS (no * 2) STORED, PRIMARY KEY (no, mood, `re\"gion`)) ENGINE=InnoDB CHARACTER SET latin1"
        );
        database.sql(&sql).unwrap();
        Odd { database }
    }

    fn is_available() -> bool {
        common::is_installed()
    }

    fn connector() -> Connector {
        lockstep_mysql::connector()
    }

    fn config(&self) -> RawConfig {
        common::config(&self.database.url())
    }

    fn tables(&self) -> Vec<String> {
        vec![ODD.to_owned()]
    }

    fn context(&self) -> OpenContext {
        common::context(&self.database, &[ODD])
    }
}

impl ReaderHarness for Odd {
    async fn fill(&self, count: usize) {
        let mut sql = String::new();
        for v in 0..count {
            let no = v * 31 % 1009;
            let region = REGIONS[no % 3].replace('\'', "''");
            let day = if v % 5 == 2 {
                "0000-00-00"
            } else {
                "2024-02-29"
            };
            let clock = if v.is_multiple_of(4) {
                "-25:00:00"
            } else {
                "23:59:59.5"
            };
            let mood = ["a", "b"][v % 2];
            sql += &format!(
                "INSERT INTO {ODD} (`re\"gion`, big, small, raw, no, day, at, clock, id, doc, mood, fixed) VALUES ('{region}', 12345678901234567890.10 + {v}, {v} / 4.0 + 0.1, x'{:02x}00', {no}, '{day}', '1000-03-15 01:02:03.125', '{clock}', '00000000-0000-0000-0000-{no:012x}', '{{\"a\":{v}}}', '{mood}', 'ab');",
                v % 256
            );
        }
        self.database
            .sql(&format!("SET sql_mode = '';{sql}"))
            .unwrap();
    }

    async fn rows_by_key(&self) -> Vec<Row> {
        let count = rows(&self.database, &format!("SELECT no FROM {ODD}"))
            .await
            .len();
        let mut made: Vec<(usize, usize)> = (0..count).map(|v| (v * 31 % 1009, v)).collect();
        made.sort_unstable();
        made.into_iter().map(|(no, v)| odd_row(no, v)).collect()
    }

    fn missing_key(&self) -> Vec<Value> {
        vec![Value::Int(5000), Value::text("b"), Value::text("north")]
    }
}

fn odd_row(no: usize, v: usize) -> Row {
    let big = format!("{}.10", 12_345_678_901_234_567_890_u128 + v as u128);
    let number = i64::try_from(no).unwrap();
    Row::of([
        Value::text(REGIONS[no % 3]),
        Value::Decimal(big.parse().unwrap()),
        Value::Float(((v as f64 / 4.0 + 0.1) as f32).to_string().parse().unwrap()),
        Value::Bytes(vec![u8::try_from(v % 256).unwrap(), 0]),
        Value::Int(number),
        if v % 5 == 2 {
            Value::text("0000-00-00")
        } else {
            Value::Date(jiff::civil::date(2024, 2, 29))
        },
        Value::Timestamp("1000-03-15T01:02:03.125Z".parse().unwrap()),
        if v.is_multiple_of(4) {
            Value::text("-25:00:00")
        } else {
            Value::Time(jiff::civil::time(23, 59, 59, 500_000_000))
        },
        Value::Uuid(uuid::Uuid::from_u128(no as u128)),
        Value::Json(format!("{{\"a\":{v}}}").into()),
        Value::text(["a", "b"][v % 2]),
        Value::text("ab"),
        Value::Int(number * 2),
    ])
}
