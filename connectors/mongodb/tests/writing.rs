//! What a sink does to a live server, beyond the conformance kit.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Db, is_committed, part, refused, says, step, upsert};
use lockstep_core::diagnostic::Severity::Error;
use lockstep_core::{Cell, Column, Kind, Row, Shape, Type, Value};
use lockstep_servers::mongodb::Database;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, doc};
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
    json!({ "columns": { "c": { "_id": "object_id", "email": "text", "address.city": "text", "seen": "timestamp", "doc": "json" } } })
}

fn oid(n: u8) -> ObjectId {
    ObjectId::from_bytes([n; 12])
}

fn row(n: u8, email: &str) -> Vec<Value> {
    vec![Value::text(oid(n).to_hex()), Value::text(email)]
}

#[tokio::test]
async fn a_refusal_names_the_record_and_the_rule_but_no_value() {
    let database = database!();
    let db = Db::at(&database.url()).await;
    let schema = doc! { "properties": { "email": { "bsonType": "string", "minLength": 2 } } };
    db.run(doc! { "create": "c", "validator": { "$jsonSchema": schema } })
        .await;
    db.run(doc! { "createIndexes": "c", "indexes": [{ "key": { "email": 1 }, "name": "email_1", "unique": true }] }).await;
    db.collection("c")
        .insert_one(doc! { "_id": oid(9), "email": "taken@secret" })
        .await
        .unwrap();
    let (sink, known) = db.prepared("c", &columns()).await;
    let shape = part(&known, &["_id", "email"]);
    let mut partial = upsert(&shape, row(7, "x"));
    partial.row.0[1] = Cell::Unchanged;
    let changes = vec![
        upsert(&shape, row(1, "good@x")),
        upsert(&shape, row(2, "taken@secret")),
        upsert(&shape, row(3, "s")),
        upsert(&shape, vec![Value::text("secret"), Value::text("fine@x")]),
        partial,
        upsert(&shape, row(4, "also@good")),
    ];
    let refusals = refused(sink.apply(&step(0, changes)).await);
    let places: Vec<usize> = refusals.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, [1, 2, 3, 4], "{refusals:?}");
    for (at, part) in [
        (0, "`email`"),
        (1, "validator"),
        (2, "ObjectId"),
        (3, "whole row"),
    ] {
        assert!(refusals[at].1.contains(part), "{refusals:?}");
    }
    assert!(
        refusals
            .iter()
            .all(|(_, reason)| !reason.contains("secret")),
        "{refusals:?}"
    );
    assert_eq!(
        db.all("c").await.len(),
        1,
        "something of the batch was written"
    );
    assert!(sink.progress("f").await.unwrap().is_empty());
}

#[tokio::test]
async fn only_what_is_mapped_and_sent_is_written() {
    let database = database!();
    let db = Db::at(&database.url()).await;
    db.run(doc! { "create": "c" }).await;
    let theirs =
        doc! { "_id": oid(1), "email": "a", "address": { "city": "Ulm", "zip": 7 }, "own": [1] };
    db.collection("c").insert_one(theirs).await.unwrap();
    let (sink, known) = db.prepared("c", &columns()).await;
    let shape = part(&known, &["_id", "email", "address.city", "doc"]);
    let id = Value::text(oid(1).to_hex());
    let json = |text: &str| Value::Json(text.into());
    let mut city = upsert(
        &shape,
        [
            id.clone(),
            Value::Null,
            Value::text("Bonn"),
            json(r#"{"a":[1,{"$oid":"010101010101010101010101"}]}"#),
        ],
    );
    city.row.0[1] = Cell::Unchanged;
    assert!(is_committed(&sink.apply(&step(0, vec![city])).await));
    let expected = doc! { "_id": oid(1), "email": "a", "address": { "city": "Bonn", "zip": 7 }, "own": [1], "doc": { "a": [1, oid(1)] } };
    assert_eq!(db.all("c").await, [expected]);

    // A null is a field that is not there; a field within something that is no document cannot be written.
    let nulls = upsert(&shape, [id.clone(), Value::Null, Value::Null, Value::Null]);
    assert!(is_committed(&sink.apply(&step(1, vec![nulls])).await));
    assert_eq!(
        db.all("c").await,
        [doc! { "_id": oid(1), "address": { "zip": 7 }, "own": [1] }]
    );
    // A null where its document would stand is in nobody's way.
    db.collection("c")
        .update_one(doc! {}, doc! { "$set": { "address": null } })
        .await
        .unwrap();
    let values = [id.clone(), Value::Null, Value::text("Trier"), Value::Null];
    let inside = sink.apply(&step(2, vec![upsert(&shape, values)])).await;
    assert!(is_committed(&inside));
    assert_eq!(
        db.all("c").await,
        [doc! { "_id": oid(1), "address": { "city": "Trier" }, "own": [1] }]
    );
    db.collection("c")
        .update_one(doc! {}, doc! { "$set": { "address": "Main street" } })
        .await
        .unwrap();
    let within = upsert(&shape, [id, Value::Null, Value::text("Kiel"), Value::Null]);
    let refusals = refused(sink.apply(&step(3, vec![within])).await);
    assert!(
        refusals[0].1.contains("no document") && !refusals[0].1.contains("Main"),
        "{refusals:?}"
    );
}

#[tokio::test]
async fn a_document_moves_to_its_new_identity_with_what_nobody_maps() {
    let database = database!();
    let db = Db::at(&database.url()).await;
    db.run(doc! { "create": "c" }).await;
    db.collection("c")
        .insert_one(doc! { "_id": oid(1), "email": "a", "own": 5 })
        .await
        .unwrap();
    let (sink, known) = db.prepared("c", &columns()).await;
    let shape = part(&known, &["_id", "email"]);
    let mut moved = upsert(&shape, row(2, "b"));
    moved.before = Some(Row::of(row(1, "a")));
    assert!(is_committed(&sink.apply(&step(0, vec![moved])).await));
    assert_eq!(
        db.all("c").await,
        [doc! { "_id": oid(2), "email": "b", "own": 5 }]
    );
}

#[tokio::test]
async fn what_mongodb_cannot_hold_is_refused_before_it_is_sent() {
    let database = database!();
    let db = Db::at(&database.url()).await;
    db.run(doc! { "create": "c" }).await;
    let (sink, known) = db.prepared("c", &columns()).await;
    let shape = part(&known, &["_id", "email", "seen"]);
    let at = |text: &str| Value::Timestamp(text.parse().unwrap());
    let record = |n, email: String, seen| {
        upsert(
            &shape,
            [Value::text(oid(n).to_hex()), Value::Text(email), seen],
        )
    };
    let changes = vec![
        record(1, "a".to_owned(), at("2024-01-01T00:00:00.123456Z")),
        record(2, "x".repeat(16 * 1024 * 1024), Value::Null),
        record(
            3,
            "x".repeat(9 * 1024 * 1024),
            at("2024-01-01T00:00:00.123Z"),
        ),
        record(4, "y".repeat(9 * 1024 * 1024), Value::Null),
    ];
    let refusals = refused(sink.apply(&step(0, changes.clone())).await);
    let places: Vec<usize> = refusals.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, [0, 1], "{refusals:?}");
    assert!(
        refusals[0].1.contains("`seen`") && refusals[1].1.contains("15 MB"),
        "{refusals:?}"
    );
    assert!(is_committed(
        &sink.apply(&step(0, changes[2..].to_vec())).await
    ));
    assert_eq!(db.all("c").await.len(), 2);
}

#[tokio::test]
async fn a_transaction_that_a_killed_process_left_is_ended_at_once() {
    let database = database!();
    let db = Db::at(&database.url()).await;
    db.run(doc! { "create": "c" }).await;
    let (first, known) = db.prepared("c", &columns()).await;
    let shape = part(&known, &["_id", "email"]);
    assert!(is_committed(
        &first
            .apply(&step(0, vec![upsert(&shape, row(1, "a"))]))
            .await
    ));
    // As the first process would have left it: its transaction holds the lane and the document, and nobody ends it.
    let mut session = db.db.client().start_session().await.unwrap();
    let progress = db.collection("lockstep_progress");
    let writer = doc! { "_id": { "writer": "f" } };
    let mark = doc! { "$set": { "session": session.id().clone() } };
    progress.update_one(writer, mark).await.unwrap();
    session.start_transaction().await.unwrap();
    let lane = doc! { "_id.flow": "f" };
    progress
        .update_one(lane, doc! { "$set": { "seq": 99_i64 } })
        .session(&mut session)
        .await
        .unwrap();

    let started = Instant::now();
    let second = db.sink(&["c"], &columns()).await;
    let receipt = second
        .apply(&step(1, vec![upsert(&shape, row(1, "b"))]))
        .await;
    assert!(is_committed(&receipt), "{receipt:?}");
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(second.progress("f").await.unwrap()[0].reached, 2);
    std::mem::forget(session);
}

#[tokio::test]
async fn many_refusals_are_found_in_one_go() {
    let database = database!();
    let db = Db::at(&database.url()).await;
    db.run(doc! { "create": "c", "validator": { "email": { "$ne": "bad" } } })
        .await;
    let (sink, known) = db.prepared("c", &columns()).await;
    let shape = part(&known, &["_id", "email"]);
    let changes = (0..100).map(|n| upsert(&shape, row(n, if n % 4 == 0 { "bad" } else { "good" })));
    let refusals = refused(sink.apply(&step(0, changes.collect())).await);
    assert_eq!(refusals.len(), 25);
    assert!(db.all("c").await.is_empty());
}

#[tokio::test]
async fn what_keeps_writes_from_working_is_found() {
    let database = database!();
    let db = Db::at(&database.url()).await;
    let schema = doc! { "required": ["kind"], "properties": { "email": { "bsonType": "string" } } };
    db.run(doc! { "create": "c", "validator": { "$jsonSchema": schema } })
        .await;
    let sink = db.sink(&["c"], &json!({})).await;
    let target = |columns: &[&str]| {
        let columns = columns
            .iter()
            .map(|name| Column::new(*name, Type::Text, true))
            .collect();
        Arc::new(Shape {
            name: "c".to_owned(),
            columns,
            key: vec![0],
        })
    };
    let findings = sink.check(&[target(&["email"])]).await.unwrap();
    for part in ["no unique index of `c` is on email", "requires `kind`"] {
        assert!(says(&findings, Error, part), "{findings:?}");
    }
    db.run(doc! { "createIndexes": "c", "indexes": [{ "key": { "email": 1 }, "name": "e", "unique": true }] }).await;
    assert!(
        sink.check(&[target(&["email", "kind"])])
            .await
            .unwrap()
            .is_empty()
    );
    let missing = db.sink(&["gone"], &json!({})).await;
    assert_eq!(common::fails(missing.discover().await).kind(), Kind::Config);
    let none: Vec<Document> = db.all("lockstep_progress").await;
    assert!(none.is_empty(), "a check made something");
}
