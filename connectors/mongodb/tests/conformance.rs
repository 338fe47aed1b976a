//! The conformance kit's sink and reader checks on real MongoDB databases: odd names, odd values, several kinds of keys.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::sync::Arc;

use common::Db;
use lockstep_core::connector::{Connector, RawConfig};
use lockstep_core::{Column, Decimal, Row, Shape, Type, Value};
use lockstep_servers::mongodb::Database;
use lockstep_tests::{ReaderHarness, SinkHarness, System};
use mongodb::bson::{Bson, DateTime, Document, doc};
use serde_json::json;

/// A target keyed by `_id`.
const ID: usize = 0;
/// A target keyed by a unique field, whose `_id` MongoDB gives.
const UNIQUE: usize = 1;
/// A target keyed by two fields, one of them within a document.
const COMPOSITE: usize = 2;

mod keyed_by_id {
    use super::*;
    lockstep_tests::sink_conformance!(Shop<ID>);
}

mod keyed_by_a_unique_field {
    use super::*;
    lockstep_tests::sink_conformance!(Shop<UNIQUE>);
}

mod keyed_by_two_fields {
    use super::*;
    lockstep_tests::sink_conformance!(Shop<COMPOSITE>);
}

mod paged_by_id {
    use super::*;
    lockstep_tests::reader_conformance!(Odd<true>);
}

/// There is no index on the key, and its values are of several types.
mod paged_through_a_view {
    use super::*;
    lockstep_tests::reader_conformance!(Odd<false>);
}

async fn fresh() -> (Database, Db) {
    let Some(database) = Database::fresh() else {
        panic!("mongod was there a moment ago");
    };
    let db = Db::at(&database.url()).await;
    (database, db)
}

/// A target with a validator and a field that nobody maps.
struct Shop<const KIND: usize> {
    _database: Database,
    db: Db,
}

const NAME: &str = "weird. 'na\"me";

/// The names of the key's columns.
fn key_names(kind: usize) -> Vec<&'static str> {
    match kind {
        ID => vec!["_id"],
        UNIQUE => vec!["code"],
        _ => vec!["code", "where.shelf"],
    }
}

impl<const KIND: usize> System for Shop<KIND> {
    async fn start() -> Self {
        let (database, db) = fresh().await;
        db.run(doc! { "create": NAME, "validator": { "amount": { "$not": { "$lt": 0 } } } })
            .await;
        if KIND != ID {
            let key: Document = key_names(KIND)
                .into_iter()
                .map(|name| (name.to_owned(), Bson::Int32(1)))
                .collect();
            db.run(doc! { "createIndexes": NAME, "indexes": [{ "key": key, "name": "key", "unique": true }] }).await;
        }
        Shop {
            _database: database,
            db,
        }
    }

    fn is_available() -> bool {
        common::is_installed()
    }

    fn connector() -> Connector {
        lockstep_mongodb::connector()
    }

    fn config(&self) -> RawConfig {
        let id = if KIND == ID { "text" } else { "object_id" };
        let columns = json!({ NAME: {
            "_id": id, "code": "text", "na me": "text", "amount": "decimal", "due": "date", "seen": "timestamp", "ok": "bool", "tags": "json", "where.shelf": "int", "where.row": "text",
        } });
        self.db
            .config(&json!({ "batch_max": 300, "columns": columns }))
    }

    fn tables(&self) -> Vec<String> {
        vec![NAME.to_owned()]
    }
}

impl<const KIND: usize> SinkHarness for Shop<KIND> {
    fn target(&self) -> Arc<Shape> {
        let key = if KIND == ID { "_id" } else { "code" };
        Arc::new(Shape {
            name: NAME.to_owned(),
            columns: vec![
                Column::new("na me", Type::Text, false),
                Column::new(key, Type::Text, false),
                Column::new("where.shelf", Type::Int, true),
                Column::new("amount", Type::DECIMAL, true),
                Column::new("due", Type::Date, true),
                Column::new("seen", Type::Timestamp, true),
                Column::new("ok", Type::Bool, true),
                Column::new("tags", Type::Json, true),
                Column::new("where.row", Type::Text, true),
            ],
            key: if KIND == COMPOSITE {
                vec![1, 2]
            } else {
                vec![1]
            },
        })
    }

    fn row(&self, id: i64, version: i64) -> Row {
        let name = ["Ann|", "ann|", "O'Ne\"il\\\0", "$x"][usize::try_from(version).unwrap() % 4];
        let odd = version % 2 == 1;
        Row::of([
            Value::text(name),
            Value::text(format!("C-{id}")),
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
            Value::Json(
                if odd {
                    r#"["a","b \"c\"",null,{"$x":1.5}]"#
                } else {
                    "[]"
                }
                .into(),
            ),
            if odd { Value::text("r") } else { Value::Null },
        ])
    }

    fn refused(&self, id: i64) -> Option<Row> {
        let mut row = self.row(id, 1);
        row.0[3] = Value::Decimal("-1.00".parse().unwrap()).into();
        Some(row)
    }

    async fn read_back(&self) -> Vec<Row> {
        let all = self.db.all(NAME).await;
        all.iter().map(stored).collect()
    }

    /// Every write is in the server's log, which the transactions' entries list.
    async fn writes(&self) -> Option<u64> {
        let space = format!("{}.{NAME}", self.db.db.name());
        let log = self
            .db
            .db
            .client()
            .database("local")
            .collection::<Document>("oplog.rs");
        let pipeline = [
            doc! { "$match": { "$or": [{ "ns": &space }, { "o.applyOps.ns": &space }] } },
            doc! { "$project": { "all": { "$filter": { "input": { "$ifNull": ["$o.applyOps", ["$$ROOT"]] }, "cond": { "$eq": ["$$this.ns", &space] } } } } },
            doc! { "$group": { "_id": null, "count": { "$sum": { "$size": "$all" } } } },
        ];
        let mut counted = log.aggregate(pipeline).await.unwrap();
        if !counted.advance().await.unwrap() {
            return Some(0);
        }
        let count = counted.current().get_i32("count").unwrap();
        u64::try_from(count).ok()
    }
}

fn stored(document: &Document) -> Row {
    let empty = Document::new();
    let place = document.get_document("where").unwrap_or(&empty);
    let text = |document: &Document, name: &str| match document.get_str(name) {
        Ok(text) => Value::text(text),
        Err(_) => Value::Null,
    };
    let millis = |name: &str| {
        let at = document.get_datetime(name).unwrap();
        jiff::Timestamp::from_millisecond(at.timestamp_millis()).unwrap()
    };
    let tags = document.get_array("tags").unwrap();
    let key = if document.contains_key("code") {
        "code"
    } else {
        "_id"
    };
    Row::of([
        text(document, "na me"),
        text(document, key),
        Value::Int(place.get_i64("shelf").unwrap()),
        Value::Decimal(document.get("amount").unwrap().to_string().parse().unwrap()),
        Value::Date(millis("due").to_zoned(jiff::tz::TimeZone::UTC).date()),
        Value::Timestamp(millis("seen")),
        document.get_bool("ok").map_or(Value::Null, Value::Bool),
        Value::Json(
            if tags.is_empty() {
                "[]"
            } else {
                r#"["a","b \"c\"",null,{"$x":1.5}]"#
            }
            .into(),
        ),
        text(place, "row"),
    ])
}

/// Documents whose identities are numbers and texts, as they are or through a view, where they have no index.
struct Odd<const BY_ID: bool> {
    _database: Database,
    db: Db,
}

impl<const BY_ID: bool> System for Odd<BY_ID> {
    async fn start() -> Self {
        let (database, db) = fresh().await;
        db.run(doc! { "create": "things" }).await;
        if !BY_ID {
            db.run(doc! { "create": "seen", "viewOn": "things", "pipeline": [] })
                .await;
        }
        Odd {
            _database: database,
            db,
        }
    }

    fn is_available() -> bool {
        common::is_installed()
    }

    fn connector() -> Connector {
        lockstep_mongodb::connector()
    }

    fn config(&self) -> RawConfig {
        self.db.config(&json!({ "sample": 100 }))
    }

    fn tables(&self) -> Vec<String> {
        vec![if BY_ID { "things" } else { "seen" }.to_owned()]
    }
}

impl<const BY_ID: bool> ReaderHarness for Odd<BY_ID> {
    async fn fill(&self, count: usize) {
        let count = i64::try_from(count).unwrap();
        let things = (0..count).map(|v| {
            let no = v * 31 % 1009;
            let id = if v % 2 == 0 { Bson::Int64(no) } else { Bson::String(format!("k{no:04}")) };
            doc! { "_id": id, "v": v, "at": DateTime::from_millis(v), "in": { "x": [v] }, "odd": if v % 3 == 0 { Bson::Null } else { Bson::Double(f64::NAN) } }
        });
        self.db
            .collection("things")
            .insert_many(things)
            .await
            .unwrap();
    }

    async fn rows_by_key(&self) -> Vec<Row> {
        let all = self.db.all("things").await;
        let row = |document: &Document| {
            let v = document.get_i64("v").unwrap();
            Row::of([
                match document.get("_id").unwrap() {
                    Bson::Int64(number) => Value::Int(*number),
                    other => Value::text(other.as_str().unwrap()),
                },
                Value::Int(v),
                Value::Timestamp(jiff::Timestamp::from_millisecond(v).unwrap()),
                Value::Json(format!("{{\"x\":[{v}]}}").into()),
                Value::Json(format!("[{v}]").into()),
                if v % 3 == 0 {
                    Value::Null
                } else {
                    Value::Float(f64::NAN)
                },
            ])
        };
        all.iter().map(row).collect()
    }

    fn missing_key(&self) -> Vec<Value> {
        vec![Value::text("no such thing")]
    }
}
