//! The conformance kit's sink and reader checks on a real server: odd names, odd values, keys of one column and of two.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::Arc;

use lockstep_core::connector::{Connector, RawConfig};
use lockstep_core::{Column, Decimal, Row, Shape, Type, Value};
use lockstep_servers::clickhouse::Server;
use lockstep_tests::{Creates, Deletes, Manifest, ReaderHarness, SinkHarness, System};
use serde_json::json;

mod keyed_by_one_column {
    use super::*;
    lockstep_tests::sink_conformance!(Shop<1>);
}

mod keyed_by_two_columns {
    use super::*;
    lockstep_tests::sink_conformance!(Shop<2>);
}

mod pages {
    use super::*;
    lockstep_tests::reader_conformance!(Things);
}

fn config(server: &Server) -> RawConfig {
    let config = json!({
        "url": server.url(), "password": server.password(), "batch_max": 300,
    });
    serde_json::from_value(config).unwrap()
}

fn start() -> Server {
    Server::start().expect("ClickHouse was there a moment ago")
}

fn is_installed() -> bool {
    let found = lockstep_servers::find::clickhouse().is_some();
    if !found {
        lockstep_servers::skip("ClickHouse");
    }
    found
}

/// A table with a column that nobody maps.
struct Shop<const KEYS: usize> {
    server: Server,
}

const NAME: &str = "weird. 'na\\me";
const QUOTED: &str = "`weird. 'na\\\\me`";

impl<const KEYS: usize> System for Shop<KEYS> {
    async fn start() -> Self {
        let server = start();
        let key = if KEYS == 1 { "code" } else { "shelf, code" };
        let table = format!(
            "CREATE TABLE {QUOTED} (`na me` String, code String, shelf Int32, amount Nullable(Decimal(18, 4)), due Nullable(Date), \
             seen Nullable(DateTime), ok Nullable(UInt8) COMMENT 'lockstep: bool', tags Nullable(String) COMMENT 'lockstep: json', \
             size Nullable(Enum8('S' = 1, 'L' = 2)), extra Array(String) DEFAULT ['x\\'y'], _version UInt64, _deleted UInt8) \
             ENGINE = ReplacingMergeTree(_version) ORDER BY ({key})"
        );
        server.sql(&table).unwrap();
        Shop { server }
    }

    fn is_available() -> bool {
        is_installed()
    }

    fn connector() -> Connector {
        lockstep_clickhouse::connector()
    }

    fn manifest() -> Manifest {
        // The newest version of a key counts, and a deleted record is a row that says so.
        Manifest {
            creates: Creates::Upsert,
            deletes: Deletes::Soft,
            ..Manifest::DATABASE
        }
    }

    fn config(&self) -> RawConfig {
        config(&self.server)
    }

    fn tables(&self) -> Vec<String> {
        vec![NAME.to_owned()]
    }
}

impl<const KEYS: usize> SinkHarness for Shop<KEYS> {
    fn target(&self) -> Arc<Shape> {
        Arc::new(Shape {
            name: NAME.to_owned(),
            columns: vec![
                Column::new("na me", Type::Text, false),
                Column::new("code", Type::Text, false),
                Column::new("shelf", Type::Int, false),
                Column::new("amount", Type::DECIMAL, true),
                Column::new("due", Type::Date, true),
                Column::new("seen", Type::Timestamp, true),
                Column::new("ok", Type::Bool, true),
                Column::new("tags", Type::Json, true),
                Column::new("size", Type::Text, true),
            ],
            key: if KEYS == 1 { vec![1] } else { vec![1, 2] },
        })
    }

    fn row(&self, id: i64, version: i64) -> Row {
        let odd = version % 2 == 1;
        let name = ["Ann\t|", "\\N", "O'Ne\"il\\\0\r\n", "\u{1f600}"]
            [usize::try_from(version).unwrap() % 4];
        Row::of([
            Value::text(name),
            Value::text(format!("C'{id}\\")),
            Value::Int(id % 3),
            Value::Decimal(Decimal::from_units(version * -1250, 2)),
            Value::Date(jiff::civil::date(2024, 2, 1 + (version % 28) as i8)),
            Value::Timestamp(jiff::Timestamp::from_second(5 + version * 3600).unwrap()),
            if version % 3 == 0 {
                Value::Null
            } else {
                Value::Bool(version % 3 == 1)
            },
            Value::Json(if odd { r#"["a","b \"c\"",null]"# } else { "[]" }.into()),
            if odd { Value::text("S") } else { Value::Null },
        ])
    }

    fn refused(&self, id: i64) -> Option<Row> {
        let mut row = self.row(id, 1);
        row.0[8] = Value::text("XXL").into();
        Some(row)
    }

    async fn read_back(&self) -> Vec<Row> {
        // The server's own JSON, which the connector does not use, says what is there.
        let sql = format!(
            "SELECT hex(`na me`), hex(code), shelf, toString(amount), toString(due), toUnixTimestamp(seen), ok, tags, size, toString(extra) \
             FROM {QUOTED} FINAL WHERE _deleted = 0 FORMAT JSONCompact"
        );
        let answer: serde_json::Value =
            serde_json::from_str(&self.server.sql(&sql).unwrap()).unwrap();
        answer["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(stored)
            .collect()
    }

    async fn writes(&self) -> Option<u64> {
        let count = self.server.sql(&format!(
            "SELECT sum(_version) + count() FROM {QUOTED} FINAL"
        ));
        count.unwrap().trim().parse().ok()
    }
}

fn stored(row: &serde_json::Value) -> Row {
    let text = |place: usize| row[place].as_str().map(str::to_owned);
    let unhex = |place: usize| {
        let digits = text(place).unwrap();
        let bytes: Vec<u8> = (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
            .collect();
        Value::text(String::from_utf8(bytes).unwrap())
    };
    let or_null =
        |place: usize, read: fn(&str) -> Value| text(place).map_or(Value::Null, |text| read(&text));
    assert_eq!(text(9).unwrap(), "['x\\'y']", "a column that nobody maps");
    Row::of([
        unhex(0),
        unhex(1),
        Value::Int(row[2].as_i64().unwrap()),
        or_null(3, |text| Value::Decimal(text.parse().unwrap())),
        or_null(4, |text| Value::Date(text.parse().unwrap())),
        row[5].as_i64().map_or(Value::Null, |at| {
            Value::Timestamp(jiff::Timestamp::from_second(at).unwrap())
        }),
        row[6]
            .as_i64()
            .map_or(Value::Null, |flag| Value::Bool(flag == 1)),
        or_null(7, |text| Value::Json(text.into())),
        or_null(8, |text| Value::text(text)),
    ])
}

/// Rows in the table's own order, with older versions and deleted ones between them.
struct Things {
    server: Server,
}

impl System for Things {
    async fn start() -> Self {
        let server = start();
        server
            .sql("CREATE TABLE things (name String, no Int64, price Nullable(Decimal(9, 2)), at DateTime, f Float64, u UUID, fixed FixedString(4), big UInt64, _version UInt64, _deleted UInt8) ENGINE = ReplacingMergeTree(_version) ORDER BY (name, no)")
            .unwrap();
        Things { server }
    }

    fn is_available() -> bool {
        is_installed()
    }

    fn connector() -> Connector {
        lockstep_clickhouse::connector()
    }

    fn manifest() -> Manifest {
        // The newest version of a key counts, and a deleted record is a row that says so.
        Manifest {
            creates: Creates::Upsert,
            deletes: Deletes::Soft,
            ..Manifest::DATABASE
        }
    }

    fn config(&self) -> RawConfig {
        config(&self.server)
    }

    fn tables(&self) -> Vec<String> {
        vec!["things".to_owned()]
    }
}

const ID: &str = "61f0c404-5cb3-11e7-907b-a6006ad3dba0";

impl ReaderHarness for Things {
    async fn fill(&self, count: usize) {
        for (version, deleted) in [(1, 1), (2, 0)] {
            let line = |v: usize| {
                let price = if v.is_multiple_of(3) {
                    "\\N".to_owned()
                } else {
                    format!("{v}.5")
                };
                format!(
                    "it's \\\\{}\t{}\t{price}\t{}\tinf\t{ID}\tab\t{}\t{version}\t{deleted}\n",
                    v % 5,
                    v * 31 % 1009,
                    1_700_000_000 + v,
                    u64::MAX
                )
            };
            let rows: String = (0..count).map(line).collect();
            self.server
                .sql(&format!("INSERT INTO things FORMAT TabSeparated\n{rows}"))
                .unwrap();
        }
        self.server
            .sql("INSERT INTO things (name, no, _version, _deleted) FORMAT TabSeparated\na\t1\t1\t0\na\t1\t2\t1\n")
            .unwrap();
    }

    async fn rows_by_key(&self) -> Vec<Row> {
        let text = self.server.sql("SELECT no, name, price, toUnixTimestamp(at) FROM things WHERE _version = 2 AND _deleted = 0 ORDER BY name, no").unwrap();
        let row = |line: &str| {
            let fields: Vec<&str> = line.split('\t').collect();
            Row::of([
                Value::text(fields[1].replace("\\\\", "\\").replace("\\'", "'")),
                Value::Int(fields[0].parse().unwrap()),
                if fields[2] == "\\N" {
                    Value::Null
                } else {
                    Value::Decimal(fields[2].parse().unwrap())
                },
                Value::Timestamp(jiff::Timestamp::from_second(fields[3].parse().unwrap()).unwrap()),
                Value::Float(f64::INFINITY),
                Value::Uuid(ID.parse().unwrap()),
                Value::text("ab"),
                Value::Decimal("18446744073709551615".parse().unwrap()),
            ])
        };
        text.lines().map(row).collect()
    }

    fn missing_key(&self) -> Vec<Value> {
        vec![Value::text("no such"), Value::Int(-1)]
    }
}
