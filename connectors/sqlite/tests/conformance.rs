//! The conformance kit on SQLite files: tables with a rowid and without one, odd names, odd values, both kinds of journal.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::connector::{Connector, RawConfig};
use lockstep_core::position::Mark;
use lockstep_core::{Column, Decimal, Row, Shape, Type, Value};
use lockstep_tests::{Edit, ReaderHarness, SinkHarness, SourceHarness, System};
use rusqlite::types::{Value as Stored, ValueRef};
use rusqlite::{Connection, params, params_from_iter};
use serde_json::json;
use tempfile::TempDir;

/// A table with a rowid and a composite key in an order of its own.
const ROWID: usize = 0;
/// The same without a rowid, in a file with a rollback journal.
const NO_ROWID: usize = 1;

mod with_rowid {
    use super::*;
    lockstep_tests::source_conformance!(Odd<ROWID>);
    lockstep_tests::reader_conformance!(Odd<ROWID>);
}

mod without_rowid {
    use super::*;
    lockstep_tests::source_conformance!(Odd<NO_ROWID>);
    lockstep_tests::reader_conformance!(Odd<NO_ROWID>);
}

/// A target whose contract key is a unique column beside the table's own number.
const UNIQUE: usize = 0;
/// A target keyed by its rowid.
const NUMBER: usize = 1;
/// A target with a composite key, without a rowid, in a file with a rollback journal.
const COMPOSITE: usize = 2;

mod keyed_by_a_unique_column {
    use super::*;
    lockstep_tests::sink_conformance!(Shop<UNIQUE>);
}

mod keyed_by_the_rowid {
    use super::*;
    lockstep_tests::sink_conformance!(Shop<NUMBER>);
}

mod keyed_by_two_columns {
    use super::*;
    lockstep_tests::sink_conformance!(Shop<COMPOSITE>);
}

const TABLE: &str = r#"odd "tabl'e" ü"#;

/// A file with a table of odd names and odd values.
struct Odd<const KIND: usize> {
    folder: TempDir,
}

impl<const KIND: usize> System for Odd<KIND> {
    async fn start() -> Self {
        let odd = Odd {
            folder: tempfile::tempdir().unwrap(),
        };
        let (journal, tail) = match KIND {
            ROWID => ("wal", ""),
            _ => ("delete", "WITHOUT ROWID"),
        };
        let conn = Connection::open(odd.folder.path().join("odd.db")).unwrap();
        conn.pragma_update(None, "journal_mode", journal).unwrap();
        conn.execute_batch(&format!(
            r#"CREATE TABLE "odd ""tabl'e"" ü"(
                "re""gion" TEXT NOT NULL, no INTEGER NOT NULL, name TEXT, amount DECIMAL(12,2),
                "big int" INTEGER, ratio REAL, [raw data] BLOB, due DATE, seen DATETIME, ok BOOLEAN, anything,
                twice INTEGER GENERATED ALWAYS AS (no * 2), PRIMARY KEY (no, "re""gion")) {tail};
               CREATE TABLE plain(id INTEGER PRIMARY KEY, x);"#
        ))
        .unwrap();
        odd
    }

    fn connector() -> Connector {
        lockstep_sqlite::connector()
    }

    fn config(&self) -> RawConfig {
        let settings = json!({ "path": "odd.db", "chunk_rows": 7, "batch_max": 5, "poll_ms": 1 });
        serde_json::from_value(settings).unwrap()
    }

    fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn tables(&self) -> Vec<String> {
        vec![TABLE.to_owned(), "plain".to_owned()]
    }
}

impl<const KIND: usize> Odd<KIND> {
    fn conn(&self) -> Connection {
        let conn = Connection::open(self.folder.path().join("odd.db")).unwrap();
        conn.busy_timeout(Duration::from_secs(10)).unwrap();
        conn
    }
}

/// What a row holds beside its key.
fn values(version: i64) -> Vec<Stored> {
    let pick =
        |choices: Vec<Stored>| choices[usize::try_from(version).unwrap() % choices.len()].clone();
    let text = |text: &str| Stored::Text(text.to_owned());
    vec![
        pick(vec![
            Stored::Null,
            text(""),
            text("a\0b 'quoted' \"twice\" ü 🚲"),
            text(&"long ".repeat(700)),
            text(&format!("version {version}")),
        ]),
        pick(vec![
            text("12.50"),
            text("12345678901234567.89"),
            Stored::Integer(version),
            Stored::Null,
        ]),
        pick(vec![
            Stored::Integer(i64::MIN + version),
            Stored::Integer(i64::MAX - version),
        ]),
        pick(vec![
            Stored::Real(version as f64 / 3.0),
            Stored::Real(-0.0),
            Stored::Real(1e300),
            Stored::Real(5.0),
        ]),
        pick(vec![
            Stored::Blob(vec![0, 255, version as u8]),
            Stored::Blob(Vec::new()),
            Stored::Null,
        ]),
        pick(vec![text("2024-02-29"), Stored::Null, text("not a date")]),
        pick(vec![
            text("2024-02-29 09:30:00.125"),
            text("2024-02-29T09:30:00Z"),
        ]),
        Stored::Integer(version % 2),
        pick(vec![
            Stored::Integer(version),
            Stored::Real(1.0),
            text("1"),
            Stored::Blob(b"1".to_vec()),
            Stored::Null,
        ]),
    ]
}

fn region(id: i64) -> &'static str {
    ["north", "sü'd|", ""][usize::try_from(id).unwrap() % 3]
}

/// What the source should make of a stored value, by the words of the table's declaration.
fn expected(column: &str, raw: ValueRef<'_>) -> Value {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    match (column, raw) {
        (_, ValueRef::Null) => Value::Null,
        ("amount", ValueRef::Integer(number)) => Value::Decimal(Decimal::from(number)),
        ("amount", ValueRef::Real(number)) => Value::Decimal(number.to_string().parse().unwrap()),
        ("amount", ValueRef::Text(bytes)) => Value::Decimal(text(bytes).parse().unwrap()),
        ("ok", ValueRef::Integer(number)) => Value::Bool(number == 1),
        ("due", ValueRef::Text(bytes)) => match text(bytes).parse() {
            Ok(date) => Value::Date(date),
            Err(_) => Value::Text(text(bytes)),
        },
        ("seen", ValueRef::Text(bytes)) => {
            let text = text(bytes).replace(' ', "T");
            Value::Timestamp(format!("{}Z", text.trim_end_matches('Z')).parse().unwrap())
        }
        (_, ValueRef::Integer(number)) => Value::Int(number),
        (_, ValueRef::Real(number)) => Value::Float(number),
        (_, ValueRef::Text(bytes)) => Value::Text(text(bytes)),
        (_, ValueRef::Blob(bytes)) => Value::Bytes(bytes.to_vec()),
    }
}

impl<const KIND: usize> Odd<KIND> {
    fn all(&self, order: &str) -> Vec<Row> {
        let conn = self.conn();
        let sql = format!(r#"SELECT * FROM "odd ""tabl'e"" ü" {order}"#);
        let mut statement = conn.prepare(&sql).unwrap();
        let names: Vec<String> = statement
            .column_names()
            .into_iter()
            .map(str::to_owned)
            .collect();
        let mut rows = statement.query([]).unwrap();
        let mut all = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let value = |(i, name): (usize, &String)| expected(name, row.get_ref(i).unwrap());
            all.push(Row::of(names.iter().enumerate().map(value)));
        }
        all
    }
}

impl<const KIND: usize> SourceHarness for Odd<KIND> {
    async fn edit(&self, edits: &[Edit]) {
        let mut conn = self.conn();
        let tx = conn
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .unwrap();
        for edit in edits {
            let touched = match *edit {
                Edit::Insert { id, version } => {
                    let mut row = vec![Stored::Text(region(id).to_owned()), Stored::Integer(id)];
                    row.extend(values(version));
                    let marks = vec!["?"; row.len()].join(", ");
                    let sql = format!(r#"INSERT INTO "odd ""tabl'e"" ü" VALUES ({marks})"#);
                    tx.execute(&sql, params_from_iter(row)).unwrap()
                }
                Edit::Update { id, version } => {
                    let mut row = values(version);
                    row.extend([Stored::Integer(id), Stored::Text(region(id).to_owned())]);
                    let sql = r#"UPDATE "odd ""tabl'e"" ü" SET name = ?, amount = ?, "big int" = ?, ratio = ?, [raw data] = ?, due = ?, seen = ?, ok = ?, anything = ? WHERE no = ? AND "re""gion" = ?"#;
                    tx.execute(sql, params_from_iter(row)).unwrap()
                }
                Edit::Delete { id } => tx
                    .execute(r#"DELETE FROM "odd ""tabl'e"" ü" WHERE no = ?"#, [id])
                    .unwrap(),
                Edit::Rekey { from, to } => tx
                    .execute(
                        r#"UPDATE "odd ""tabl'e"" ü" SET no = ?, "re""gion" = ? WHERE no = ?"#,
                        params![to, region(to), from],
                    )
                    .unwrap(),
            };
            assert_eq!(touched, 1, "{edit:?}");
        }
        tx.commit().unwrap();
    }

    async fn rows(&self) -> Vec<Row> {
        self.all("")
    }

    async fn kept(&self) -> Option<Mark> {
        let first: i64 = self
            .conn()
            .query_row("SELECT min(seq) FROM _lockstep_changes", [], |row| {
                row.get(0)
            })
            .unwrap();
        Some(Mark {
            commit: first.unsigned_abs(),
            ordinal: 0,
        })
    }

    fn golden_positions() -> Vec<&'static str> {
        vec![
            r#"018f3c1e9b7a7c3e8f00000000000001/0000000000000007.00000000/{"at":1700000000123,"done":["plain"]}"#,
            r#"018f3c1e9b7a7c3e8f00000000000001/0000000000000007.00000003/{"at":1700000000123,"todo":["plain"],"after":{"rowid":{"rowid":41}}}"#,
            r#"018f3c1e9b7a7c3e8f00000000000001/0000000000000007.00000003/{"at":1700000000123,"todo":["plain"],"after":{"key":[{"int":1},{"text":"a"}]}}"#,
        ]
    }
}

impl<const KIND: usize> ReaderHarness for Odd<KIND> {
    async fn fill(&self, count: usize) {
        let count = i64::try_from(count).unwrap();
        let edits = (0..count).map(|i| Edit::Insert {
            id: i * 31 % 1009,
            version: i,
        });
        self.edit(&edits.collect::<Vec<_>>()).await;
    }

    async fn rows_by_key(&self) -> Vec<Row> {
        self.all(r#"ORDER BY no, "re""gion""#)
    }

    fn missing_key(&self) -> Vec<Value> {
        vec![Value::Int(5000), Value::text("north")]
    }
}

/// A target with a key of its own, a record id beside it, a column that nobody maps, and an audit of every write.
struct Shop<const KIND: usize> {
    folder: TempDir,
}

impl<const KIND: usize> System for Shop<KIND> {
    async fn start() -> Self {
        let shop = Shop {
            folder: tempfile::tempdir().unwrap(),
        };
        let (journal, key, tail) = match KIND {
            UNIQUE => (
                "wal",
                "pk INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE",
                ")",
            ),
            NUMBER => ("wal", "id INTEGER PRIMARY KEY", ")"),
            _ => (
                "delete",
                "id TEXT",
                ", PRIMARY KEY (shelf, id)) WITHOUT ROWID",
            ),
        };
        let conn = shop.conn();
        conn.pragma_update(None, "journal_mode", journal).unwrap();
        conn.execute_batch(&format!(
            "CREATE TABLE customers({key}, shelf INTEGER, name TEXT NOT NULL COLLATE NOCASE, amount DECIMAL(12,2) CHECK (amount >= 0), due DATE, seen DATETIME, ok BOOLEAN, note TEXT NOT NULL DEFAULT 'ours'{tail};
             CREATE TABLE audit(writes INTEGER); INSERT INTO audit VALUES (0);
             CREATE TRIGGER a AFTER INSERT ON customers BEGIN UPDATE audit SET writes = writes + 1; END;
             CREATE TRIGGER b AFTER UPDATE ON customers BEGIN UPDATE audit SET writes = writes + 1; END;
             CREATE TRIGGER c AFTER DELETE ON customers BEGIN UPDATE audit SET writes = writes + 1; END;"
        ))
        .unwrap();
        shop
    }

    fn connector() -> Connector {
        lockstep_sqlite::connector()
    }

    fn config(&self) -> RawConfig {
        serde_json::from_value(json!({ "path": "shop.db", "batch_max": 300 })).unwrap()
    }

    fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn tables(&self) -> Vec<String> {
        vec!["customers".to_owned()]
    }
}

impl<const KIND: usize> Shop<KIND> {
    fn conn(&self) -> Connection {
        let conn = Connection::open(self.folder.path().join("shop.db")).unwrap();
        conn.busy_timeout(Duration::from_secs(10)).unwrap();
        conn
    }
}

impl<const KIND: usize> SinkHarness for Shop<KIND> {
    fn target(&self) -> Arc<Shape> {
        let money = Type::Decimal {
            precision: Some(12),
            scale: Some(2),
        };
        Arc::new(Shape {
            name: "customers".to_owned(),
            columns: vec![
                Column::new("name", Type::Text, false),
                Column::new(
                    "id",
                    if KIND == NUMBER {
                        Type::Int
                    } else {
                        Type::Text
                    },
                    false,
                ),
                Column::new("shelf", Type::Int, true),
                Column::new("amount", money, true),
                Column::new("due", Type::Date, true),
                Column::new("seen", Type::Timestamp, true),
                Column::new("ok", Type::Bool, true),
            ],
            key: if KIND == COMPOSITE {
                vec![1, 2]
            } else {
                vec![1]
            },
        })
    }

    fn row(&self, id: i64, version: i64) -> Row {
        let name = ["Ann|", "ann|", "O'Ne\"il", ""][usize::try_from(version).unwrap() % 4];
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
        ])
    }

    fn refused(&self, id: i64) -> Option<Row> {
        let mut row = self.row(id, 1);
        row.0[3] = Value::Decimal("-1.00".parse().unwrap()).into();
        Some(row)
    }

    async fn read_back(&self) -> Vec<Row> {
        let conn = self.conn();
        let notes: i64 = conn
            .query_row(
                "SELECT count(*) FROM customers WHERE note <> 'ours'",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(notes, 0, "a column that nobody maps was written");
        let mut statement = conn
            .prepare("SELECT name, id, shelf, amount, due, seen, ok FROM customers")
            .unwrap();
        let names: Vec<String> = statement
            .column_names()
            .into_iter()
            .map(str::to_owned)
            .collect();
        let mut rows = statement.query([]).unwrap();
        let mut all = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let value = |(i, name): (usize, &String)| expected(name, row.get_ref(i).unwrap());
            all.push(Row::of(names.iter().enumerate().map(value)));
        }
        all
    }

    async fn writes(&self) -> Option<u64> {
        let writes: i64 = self
            .conn()
            .query_row("SELECT writes FROM audit", [], |row| row.get(0))
            .unwrap();
        Some(writes.unsigned_abs())
    }
}
