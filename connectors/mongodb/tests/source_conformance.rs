//! The conformance kit's source checks on real MongoDB databases: with recorded documents, and without.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::Db;
use lockstep_core::connector::{Connector, RawConfig};
use lockstep_core::{Decimal, Row, Value};
use lockstep_servers::mongodb::Database;
use lockstep_tests::{Edit, SourceHarness, System};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, doc};
use serde_json::json;

/// A collection that records its documents before and after each change.
const RECORDED: bool = true;
/// A collection whose updates are told by what they changed.
const PATCHED: bool = false;

mod told_whole {
    use super::*;
    lockstep_tests::source_conformance!(Odd<RECORDED>);
}

mod told_by_what_changed {
    use super::*;
    lockstep_tests::source_conformance!(Odd<PATCHED>);
}

const NAME: &str = "odd. coll-ü";

struct Odd<const RECORDS: bool> {
    /// Goes with the system.
    _database: Database,
    db: Db,
}

impl<const RECORDS: bool> System for Odd<RECORDS> {
    async fn start() -> Self {
        let Some(database) = Database::fresh() else {
            panic!("mongod was there a moment ago");
        };
        let db = Db::at(&database.url()).await;
        if RECORDS {
            db.recording(NAME).await;
        } else {
            db.run(doc! { "create": NAME }).await;
        }
        db.run(doc! { "create": "plain" }).await;
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
        let columns = json!({ NAME: {
            "_id": "object_id", "name": "text", "amount": "decimal", "big int": "int", "ratio": "float", "raw": "bytes", "id": "uuid",
            "seen": "timestamp", "due": "date", "ok": "bool", "address": "json", "address.city": "text", "address.zip": "int", "tags": "json",
        } });
        self.db
            .config(&json!({ "snapshot_rows": 7, "batch_max": 5, "columns": columns }))
    }

    fn tables(&self) -> Vec<String> {
        vec![NAME.to_owned(), "plain".to_owned()]
    }
}

/// An identity that orders as its number does.
fn id(id: i64) -> ObjectId {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&id.to_be_bytes());
    ObjectId::from_bytes(bytes)
}

/// What a document holds beside its identity.
fn document(version: i64) -> Document {
    let pick =
        |choices: &[Bson]| choices[usize::try_from(version).unwrap() % choices.len()].clone();
    let decimal = |text: &str| Bson::Decimal128(text.parse().unwrap());
    let binary = |subtype, bytes: &[u8]| {
        Bson::Binary(Binary {
            subtype,
            bytes: bytes.to_vec(),
        })
    };
    let mut document = doc! {
        "name": pick(&["".into(), Bson::Null, "a 'quoted' \"twice\" ü 🚲\0".into()]),
        "amount": pick(&[decimal("12.50"), decimal("1234567890123456789012345678901.99"), Bson::Int32(7)]),
        "big int": pick(&[Bson::Int64(i64::MIN), Bson::Int64(i64::MAX), Bson::Int32(-1)]),
        "ratio": version as f64 / 3.0,
        "raw": pick(&[binary(BinarySubtype::Generic, &[0, 255]), binary(BinarySubtype::Generic, &[])]),
        "id": binary(BinarySubtype::Uuid, &u128::try_from(version).unwrap().to_be_bytes()),
        "seen": DateTime::from_millis(1_700_000_000_123 + version),
        "due": pick(&[Bson::DateTime(DateTime::from_millis(1_709_164_800_000)), Bson::Null]),
        "ok": version % 2 == 0,
        "nobody": { "maps": version },
        "address": { "city": format!("City {version}"), "zip": 7, "list": [version, { "x": version }] },
    };
    if version % 3 > 0 {
        document.insert(
            "tags",
            vec![Bson::Int64(version), Bson::String("b".to_owned())],
        );
    }
    document
}

impl<const RECORDS: bool> SourceHarness for Odd<RECORDS> {
    fn rekeys() -> bool {
        false
    }

    async fn edit(&self, edits: &[Edit]) {
        let mut session = self.db.db.client().start_session().await.unwrap();
        session.start_transaction().await.unwrap();
        let documents = self.db.collection(NAME);
        for edit in edits {
            match *edit {
                Edit::Insert { id: key, version } => {
                    let mut new = document(version);
                    new.insert("_id", id(key));
                    documents
                        .insert_one(new)
                        .session(&mut session)
                        .await
                        .unwrap();
                }
                Edit::Update { id: key, version } => {
                    // All of it, or only within a document and a list.
                    let update = match version % 3 {
                        0 => {
                            doc! { "$set": { "address.city": format!("Other {version}"), "address.list.0": version }, "$unset": { "tags": "", "ratio": "" } }
                        }
                        _ => doc! { "$set": document(version) },
                    };
                    let done = documents
                        .update_one(doc! { "_id": id(key) }, update)
                        .session(&mut session);
                    assert_eq!(done.await.unwrap().matched_count, 1, "{edit:?}");
                }
                Edit::Delete { id: key } => {
                    let done = documents
                        .delete_one(doc! { "_id": id(key) })
                        .session(&mut session);
                    assert_eq!(done.await.unwrap().deleted_count, 1, "{edit:?}");
                }
                Edit::Rekey { from, to } => {
                    let old = documents
                        .find_one_and_delete(doc! { "_id": id(from) })
                        .session(&mut session);
                    let mut moved = old.await.unwrap().unwrap();
                    moved.insert("_id", id(to));
                    documents
                        .insert_one(moved)
                        .session(&mut session)
                        .await
                        .unwrap();
                }
            }
        }
        session.commit_transaction().await.unwrap();
    }

    async fn rows(&self) -> Vec<Row> {
        self.db.all(NAME).await.iter().map(expected).collect()
    }

    fn golden_positions() -> Vec<&'static str> {
        vec![
            r#"rs0-63e0c6a300000001/63e0c6a300000002.00000003/{"token":"8263E0C6A3000000022B0429296E1404","own":"ab:7","term":4,"known":{"plain":"07"},"done":["plain"],"todo":["odd. coll-ü"],"after":"0500000000"}"#,
            r#"elsewhere-63e0c6a300000001/63e0c6a300000002.00000000/{"token":"8263E0C6A3000000022B0429296E1404","term":1}"#,
        ]
    }
}

/// What the source should make of a document, in the order of its columns: the identity first, then by name.
fn expected(document: &Document) -> Row {
    let of = |name: &str, value: &dyn Fn(&Bson) -> Value| match document.get(name) {
        None | Some(Bson::Null) => Value::Null,
        Some(bson) => value(bson),
    };
    let number = |bson: &Bson| bson.as_i64().or(bson.as_i32().map(i64::from)).unwrap();
    let address = document.get_document("address").unwrap();
    let list = address.get_array("list").unwrap();
    let first = number(&list[0]);
    let x = list[1].as_document().unwrap().get_i64("x").unwrap();
    let city = address.get_str("city").unwrap();
    let json = format!(r#"{{"city":"{city}","zip":7,"list":[{first},{{"x":{x}}}]}}"#);
    let millis = |bson: &Bson| {
        let millis = bson.as_datetime().unwrap().timestamp_millis();
        jiff::Timestamp::from_millisecond(millis).unwrap()
    };
    let bytes = |bson: &Bson| match bson {
        Bson::Binary(binary) => binary.bytes.clone(),
        other => panic!("{other:?}"),
    };
    Row::of([
        Value::text(document.get_object_id("_id").unwrap().to_hex()),
        Value::Json(json.into()),
        Value::text(city),
        Value::Int(7),
        of("amount", &|bson| {
            Value::Decimal(bson.to_string().parse::<Decimal>().unwrap())
        }),
        of("big int", &|bson| Value::Int(number(bson))),
        of("due", &|_| Value::Date(jiff::civil::date(2024, 2, 29))),
        of("id", &|bson| {
            Value::Uuid(uuid::Uuid::from_slice(&bytes(bson)).unwrap())
        }),
        of("name", &|bson| Value::text(bson.as_str().unwrap())),
        of("ok", &|bson| Value::Bool(bson.as_bool().unwrap())),
        of("ratio", &|bson| Value::Float(bson.as_f64().unwrap())),
        of("raw", &|bson| Value::Bytes(bytes(bson))),
        of("seen", &|bson| Value::Timestamp(millis(bson))),
        of("tags", &|bson| {
            let first = number(&bson.as_array().unwrap()[0]);
            Value::Json(format!("[{first},\"b\"]").into())
        }),
    ])
}
