//! What a source tells of a live server, beyond the conformance kit.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{Db, says, step, upsert};
use lockstep_core::change::Op;
use lockstep_core::connector::Need;
use lockstep_core::diagnostic::Severity::{Error, Warning};
use lockstep_core::{Kind, Position, Value};
use lockstep_servers::mongodb::Database;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, DateTime, Document, doc};
use serde_json::{Value as Json, json};

/// A database, or a test that is skipped.
macro_rules! database {
    () => {
        match Database::fresh() {
            Some(database) => database,
            None => return,
        }
    };
}

fn columns() -> Json {
    json!({ "columns": { "c": { "_id": "int", "no": "text", "address": "json" } } })
}

/// Runs a source over everything that is there, and gives where it stands then.
async fn settled(db: &Db, more: &Json) -> Position {
    let mut running = db.run_source(&["c"], more, None).await;
    running
        .until("the end of the snapshot", |running| {
            let cursor = running.position.as_ref().and_then(|at| at.cursor.clone());
            cursor.is_some_and(|cursor| !cursor.contains("todo"))
        })
        .await;
    running.kill().await.unwrap()
}

#[tokio::test]
async fn an_update_that_was_not_recorded_is_told_as_it_was_then() {
    let database = database!();
    let db = Db::at(&database.url()).await;
    db.run(doc! { "create": "c" }).await;
    let c = db.collection("c");
    c.insert_one(doc! { "_id": 1, "no": "a", "address": { "city": "Ulm", "zip": 1 } })
        .await
        .unwrap();
    let position = settled(&db, &columns()).await;
    for city in ["Bonn", "Kiel"] {
        c.update_one(doc! { "_id": 1 }, doc! { "$set": { "address.city": city } })
            .await
            .unwrap();
    }
    c.update_one(
        doc! { "_id": 1 },
        doc! { "$set": { "no": "b", "nobody": "maps" } },
    )
    .await
    .unwrap();
    c.update_one(doc! { "_id": 1 }, doc! { "$set": { "nobody": "cares" } })
        .await
        .unwrap();
    c.delete_one(doc! { "_id": 1 }).await.unwrap();
    let mut running = db.run_source(&["c"], &columns(), Some(position)).await;
    running
        .until("the delete", |running| running.ops().contains(&Op::Deleted))
        .await;
    assert_eq!(
        running.ops(),
        [Op::Updated, Op::Updated, Op::Updated, Op::Deleted]
    );
    // Columns come by name, behind the identity.
    let address = |at: usize| running.changes[at].row.value(1).cloned();
    let json = |city: &str| {
        Some(Value::Json(
            format!("{{\"city\":\"{city}\",\"zip\":1}}").into(),
        ))
    };
    assert_eq!((address(0), address(1)), (json("Bonn"), json("Kiel")));
    assert_eq!(address(2), None, "what was not touched is unchanged");
    assert_eq!(running.changes[2].row.value(2), Some(&Value::text("b")));
    running.kill().await;
}

#[tokio::test]
async fn recorded_documents_tell_what_was_before() {
    let database = database!();
    let db = Db::at(&database.url()).await;
    db.recording("c").await;
    let c = db.collection("c");
    c.insert_one(doc! { "_id": 1, "no": "a", "address": [1] })
        .await
        .unwrap();
    let position = settled(&db, &columns()).await;
    c.update_one(
        doc! { "_id": 1 },
        doc! { "$set": { "no": "b" }, "$push": { "address": 2 } },
    )
    .await
    .unwrap();
    c.replace_one(doc! { "_id": 1 }, doc! { "no": "d" })
        .await
        .unwrap();
    c.delete_one(doc! { "_id": 1 }).await.unwrap();
    let mut running = db.run_source(&["c"], &columns(), Some(position)).await;
    running
        .until("the delete", |running| running.ops().contains(&Op::Deleted))
        .await;
    let no = |at: usize| {
        running.changes[at]
            .before
            .as_ref()
            .and_then(|before| before.value(2).cloned())
    };
    assert_eq!(
        (no(0), no(1), no(2)),
        (
            Some(Value::text("a")),
            Some(Value::text("b")),
            Some(Value::text("d"))
        )
    );
    let update = &running.changes[0].row;
    assert_eq!(update.value(1), Some(&Value::Json("[1,2]".into())));
    assert!(
        running
            .changes
            .iter()
            .take(2)
            .all(|change| change.row.is_whole())
    );
    running.kill().await;
}

#[tokio::test]
async fn what_our_sinks_write_is_left_out() {
    let database = database!();
    let db = Db::at(&database.url()).await;
    db.recording("c").await;
    let position = settled(&db, &columns()).await;
    let (sink, shape) = db.prepared("c", &columns()).await;
    let row = |id| [Value::Int(id), Value::Null, Value::text("ours")];
    for at in 0..3_i64 {
        let changes = (0..4).map(|n| upsert(&shape, row(at * 10 + n))).collect();
        let receipt = sink.apply(&step(at.cast_unsigned(), changes)).await;
        assert!(common::is_committed(&receipt), "{receipt:?}");
    }
    db.collection("c")
        .insert_one(doc! { "_id": 99, "no": "theirs" })
        .await
        .unwrap();
    let mut running = db.run_source(&["c"], &columns(), Some(position)).await;
    running
        .until("their change", |running| !running.changes.is_empty())
        .await;
    assert_eq!(running.changes[0].row.value(0), Some(&Value::Int(99)));
    // From inside one of our transactions nothing more is told either.
    running.kill().await;
}

#[tokio::test]
async fn a_collection_that_is_dropped_renamed_or_gone_with_its_database_is_followed() {
    let database = database!();
    let db = Db::at(&database.url()).await;
    db.recording("c").await;
    let c = db.collection("c");
    c.insert_one(doc! { "_id": 1, "no": "a" }).await.unwrap();
    let mut running = db.run_source(&["c"], &columns(), None).await;
    running
        .until("the row", |running| running.state.len() == 1)
        .await;
    c.drop().await.unwrap();
    running
        .until("the drop", |running| running.state.is_empty())
        .await;
    c.insert_one(doc! { "_id": 2, "no": "b" }).await.unwrap();
    running
        .until("the new row", |running| running.state.len() == 1)
        .await;

    db.collection("next")
        .insert_many([doc! { "_id": 3 }, doc! { "_id": 4 }])
        .await
        .unwrap();
    let name = |collection: &str| format!("{}.{collection}", db.db.name());
    let rename = doc! { "renameCollection": name("next"), "to": name("c"), "dropTarget": true };
    db.db
        .client()
        .database("admin")
        .run_command(rename)
        .await
        .unwrap();
    running
        .until("the renamed one's rows", |running| running.state.len() == 2)
        .await;

    db.db.drop().await.unwrap();
    running
        .until("the end of the database", |running| {
            running.state.is_empty()
        })
        .await;
    c.insert_one(doc! { "_id": 5 }).await.unwrap();
    running
        .until("a row of the next", |running| running.state.len() == 1)
        .await;
    running.kill().await;
}

#[tokio::test]
async fn identities_of_every_type_are_read_in_small_steps() {
    let database = database!();
    let db = Db::at(&database.url()).await;
    db.run(doc! { "create": "c" }).await;
    let ids = [
        Bson::Null,
        Bson::Int32(1),
        Bson::Double(1.5),
        Bson::Int64(2),
        Bson::String("a".to_owned()),
        Bson::String("b".to_owned()),
        Bson::Document(doc! { "a": 1 }),
        Bson::Document(doc! { "a": 2 }),
        Bson::ObjectId(ObjectId::new()),
        Bson::Boolean(true),
        Bson::DateTime(DateTime::from_millis(5)),
        Bson::MaxKey,
    ];
    let documents = ids.iter().map(|id| doc! { "_id": id.clone() });
    db.collection("odd").insert_many(documents).await.unwrap();
    let more = json!({ "snapshot_rows": 2 });
    // The table of odd keys stands second, because no state can be kept of it.
    let mut running = db.run_source(&["c", "odd"], &more, None).await;
    let count = ids.len();
    running
        .until("every document", |running| running.changes.len() >= count)
        .await;
    running
        .until("the end of the snapshot", |running| {
            let cursor = running.position.as_ref().and_then(|at| at.cursor.clone());
            cursor.is_some_and(|cursor| !cursor.contains("todo"))
        })
        .await;
    let told = running.changes.iter().map(|change| change.row.value(0));
    let told: Vec<String> = told.map(|id| format!("{id:?}")).collect();
    assert_eq!(told.len(), count, "{told:?}");
    running.kill().await;
}

#[tokio::test]
async fn a_place_that_is_forgotten_ends_the_run_or_begins_another_life() {
    let database = database!();
    let db = Db::at(&database.url()).await;
    db.recording("c").await;
    let c = db.collection("c");
    c.insert_one(doc! { "_id": 1, "no": "a" }).await.unwrap();
    let first = settled(&db, &columns()).await;
    // A place of which the server knows nothing: that of a change that never was.
    c.insert_one(doc! { "_id": 2, "no": "b" }).await.unwrap();
    let mut running = db.run_source(&["c"], &columns(), Some(first)).await;
    running
        .until("the change", |running| !running.changes.is_empty())
        .await;
    let known = running.kill().await.unwrap();
    let mut cursor: Json = serde_json::from_str(known.cursor.as_deref().unwrap()).unwrap();
    let token = cursor["token"].as_str().unwrap();
    let other = format!("82{:08X}{}", 0x6000_0000, &token[10..]);
    cursor["token"] = Json::String(other);
    let forgotten = Position {
        cursor: Some(cursor.to_string().into()),
        ..known.clone()
    };

    let running = db
        .run_source(&["c"], &columns(), Some(forgotten.clone()))
        .await;
    let error = running.end().await;
    assert_eq!(error.kind(), Kind::Config, "{error:?}");
    assert!(error.help_text().unwrap().contains("on_lost"), "{error:?}");

    let mut more = columns();
    more["on_lost"] = json!("resnapshot");
    let mut running = db.run_source(&["c"], &more, Some(forgotten)).await;
    running
        .until("everything again", |running| running.state.len() == 2)
        .await;
    assert_ne!(
        running.position.as_ref().unwrap().incarnation,
        known.incarnation
    );
    running.kill().await;
}

#[tokio::test]
async fn a_snapshot_is_read_when_it_is_wanted() {
    let database = database!();
    let db = Db::at(&database.url()).await;
    db.recording("c").await;
    let c = db.collection("c");
    c.insert_one(doc! { "_id": 1, "no": "a" }).await.unwrap();
    let with = |name: &str, value: &str| {
        let mut more = columns();
        more[name] = json!(value);
        more
    };
    let mut never = db
        .run_source(&["c"], &with("snapshot", "never"), None)
        .await;
    never
        .until("the beginning", |running| running.position.is_some())
        .await;
    c.insert_one(doc! { "_id": 2, "no": "b" }).await.unwrap();
    never
        .until("the change", |running| !running.changes.is_empty())
        .await;
    assert_eq!(never.ops(), [Op::Created]);
    let position = never.kill().await;

    let mut always = db
        .run_source(&["c"], &with("snapshot", "always"), position)
        .await;
    always
        .until("both rows", |running| running.state.len() == 2)
        .await;
    assert_eq!(always.ops(), [Op::Snapshot, Op::Snapshot]);
    always.kill().await;

    let mut past = with("snapshot", "never");
    let before = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(3);
    past["start_at"] = json!(before.to_string());
    let mut running = db.run_source(&["c"], &past, None).await;
    running
        .until("the changes of before", |running| running.state.len() == 2)
        .await;
    assert_eq!(running.ops(), [Op::Created, Op::Created]);
    running.kill().await;
}

#[tokio::test]
async fn a_value_of_another_type_is_told_as_what_it_is() {
    let database = database!();
    let db = Db::at(&database.url()).await;
    db.recording("c").await;
    let c = db.collection("c");
    let good = |id: i32| doc! { "_id": id, "n": id, "s": "x", "in": { "x": true } };
    c.insert_many((0..20).map(good)).await.unwrap();
    let mut running = db.run_source(&["c"], &json!({ "sample": 10 }), None).await;
    running
        .until("the snapshot", |running| running.state.len() == 20)
        .await;
    c.insert_one(doc! { "_id": 50, "n": "many", "s": 5_i64, "in": "none", "late": 1 })
        .await
        .unwrap();
    running
        .until("the odd one", |running| running.state.len() == 21)
        .await;
    let odd = running.changes.last().unwrap();
    let names: Vec<&str> = odd.shape.names().collect();
    assert_eq!(names, ["_id", "n", "s", "in", "in.x"]);
    let expected = [
        Value::Int(50),
        Value::text("many"),
        Value::Int(5),
        Value::Json("\"none\"".into()),
        Value::Null,
    ];
    let told: Vec<Value> = odd
        .row
        .0
        .iter()
        .map(|cell| cell.value().unwrap().clone())
        .collect();
    assert_eq!(told, expected);
    running.kill().await;
}

#[tokio::test]
async fn what_keeps_changes_from_being_told_is_found() {
    let database = database!();
    let db = Db::at(&database.url()).await;
    db.run(doc! { "create": "c" }).await;
    db.run(doc! { "create": "v", "viewOn": "c", "pipeline": [] })
        .await;
    let need = |columns: &[&str]| Need {
        table: "c".to_owned(),
        columns: columns.iter().map(|name| (*name).to_owned()).collect(),
    };
    let source = db.source(&["c"], &columns()).await;
    let findings = source.check(&[need(&["no"])]).await.unwrap();
    assert!(
        says(&findings, Error, "no, by which the record is named"),
        "{findings:?}"
    );
    let findings = source.check(&[need(&["_id"])]).await.unwrap();
    assert!(says(&findings, Warning, "does not record"), "{findings:?}");
    // The command that it gives helps.
    db.run(doc! { "collMod": "c", "changeStreamPreAndPostImages": { "enabled": true } })
        .await;
    assert!(source.check(&[need(&["no"])]).await.unwrap().is_empty());
    let sampled = db.source(&["c"], &json!({})).await;
    assert!(says(
        &sampled.check(&[]).await.unwrap(),
        Warning,
        "columns of `c`"
    ));

    let view = db.source(&["v"], &json!({})).await;
    assert_eq!(
        common::fails(view.discover().await).kind(),
        Kind::Unsupported
    );
    let missing = db.source(&["cc"], &json!({})).await;
    let error = common::fails(missing.discover().await);
    assert!(
        error.help_text().unwrap().contains("did you mean `c`"),
        "{error:?}"
    );
}

/// Documents of every type are read as rows and written as documents that are the same.
#[tokio::test]
async fn every_type_goes_there_and_back() {
    let database = database!();
    let db = Db::at(&database.url()).await;
    let decimal = |text: &str| Bson::Decimal128(text.parse().unwrap());
    let regex = mongodb::bson::Regex {
        pattern: "a.b".to_owned().try_into().unwrap(),
        options: "i".to_owned().try_into().unwrap(),
    };
    let everything = doc! {
        "_id": "one",
        "nan": f64::NAN, "inf": f64::NEG_INFINITY, "zero": 0.0, "int": 7, "long": i64::MAX,
        "dec": decimal("9.999999999999999999999999999999999E+6144"), "decnan": decimal("NaN"),
        "late": DateTime::from_millis(i64::MAX), "early": DateTime::from_millis(-62_200_000_000_001), "date": DateTime::from_millis(1),
        "ts": mongodb::bson::Timestamp { time: 7, increment: 9 }, "oid": ObjectId::new(),
        "bin": mongodb::bson::Binary { subtype: mongodb::bson::spec::BinarySubtype::Generic, bytes: vec![0, 1] },
        "md5": mongodb::bson::Binary { subtype: mongodb::bson::spec::BinarySubtype::Md5, bytes: vec![0, 1] },
        "uuid": mongodb::bson::Uuid::from_bytes([9; 16]), "regex": regex, "js": Bson::JavaScriptCode("f()".to_owned()),
        "min": Bson::MinKey, "max": Bson::MaxKey, "symbol": Bson::Symbol("s".to_owned()), "undefined": Bson::Undefined,
        "ref": { "$ref": "c", "$id": ObjectId::new() }, "list": [1, [2.5, { "a.b": 1, "$c": Bson::Null }], []], "empty": {},
        "text": "65f1a2b3c4d5e6f708192a3b",
    };
    db.collection("c")
        .insert_one(everything.clone())
        .await
        .unwrap();
    db.collection("d")
        .insert_one(everything.clone())
        .await
        .unwrap();
    let reader = db.reader(&["c"], &json!({})).await;
    let shape = reader.discover().await.unwrap().remove(0);
    // Documents are written whole, not field by field.
    let names: Vec<String> = shape
        .names()
        .filter(|name| !name.contains('.'))
        .map(str::to_owned)
        .collect();
    let rows = reader
        .fetch(
            "c",
            &names,
            &["_id".to_owned()],
            &[vec![Value::text("one")]],
        )
        .await
        .unwrap();
    let (sink, known) = db.prepared("d", &json!({})).await;
    db.collection("d").delete_many(doc! {}).await.unwrap();
    let parts: Vec<&str> = names.iter().map(String::as_str).collect();
    let target = common::part(&known, &parts);
    let mut change = upsert(&target, []);
    change.row = rows[0].clone();
    let receipt = sink.apply(&step(0, vec![change])).await;
    assert!(common::is_committed(&receipt), "{receipt:?}");
    let copy: Document = db.all("d").await.remove(0);
    for (name, value) in &everything {
        let (is, was) = (copy.get(name), format!("{value:?}"));
        assert_eq!(format!("{:?}", is.unwrap()), was, "{name}");
    }
}
