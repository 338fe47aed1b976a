//! Servers that are killed, elect another, ask who one is, or speak TLS.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::time::{Duration, Instant};

use common::{DEADLINE, Db, is_committed, part, says, step, upsert};
use lockstep_core::connector::{DynSink, Receipt};
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Kind, Result, Value};
use lockstep_mongodb::connector;
use lockstep_servers::certificates::{Authority, LOOPBACK};
use lockstep_servers::mongodb::{Cluster, Options, Server};
use mongodb::bson::doc;
use serde_json::json;

fn columns() -> serde_json::Value {
    json!({ "columns": { "c": { "_id": "int", "v": "int" } } })
}

/// Applies a batch as the runtime does: again while it may help, and by the progress that is stored.
async fn insist(sink: &dyn DynSink, batch: &lockstep_core::connector::Batch) {
    let start = Instant::now();
    loop {
        let receipt: Result<Receipt> = sink.apply(batch).await;
        if is_committed(&receipt) {
            return;
        }
        let error = common::fails(receipt);
        let stored = sink.progress(&batch.flow).await;
        if stored.is_ok_and(|lanes| {
            lanes
                .iter()
                .any(|lane| lane.reached == batch.progress[0].reached)
        }) {
            return;
        }
        assert!(error.kind().is_retryable(), "{error:?}");
        assert!(start.elapsed() < DEADLINE * 2, "{error:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_loses_nothing_that_was_told_or_written() {
    let Some(mut server) = Server::start(&Options::default()) else {
        return;
    };
    let db = Db::at(&server.url("shop")).await;
    db.recording("c").await;
    db.run(doc! { "create": "to" }).await;
    let c = db.collection("c");
    c.insert_many((0..50).map(|n| doc! { "_id": n, "v": 0 }))
        .await
        .unwrap();
    let mut more = columns();
    more["columns"]["to"] = more["columns"]["c"].clone();
    let (sink, shape) = db.prepared("to", &more).await;
    let mut position = None;
    let mut state = lockstep_tests::State::default();
    for round in 1..=3_i64 {
        let mut running = db.run_source(&["c"], &more, position.take()).await;
        running.state = state;
        c.update_many(
            doc! { "_id": { "$gte": round * 10 } },
            doc! { "$set": { "v": round } },
        )
        .await
        .unwrap();
        running
            .until("something", |running| !running.changes.is_empty())
            .await;
        let changes = (0..20)
            .map(|n| upsert(&shape, [Value::Int(n), Value::Int(round)]))
            .collect();
        let batch = step((round - 1).cast_unsigned(), changes);
        let applying = insist(&*sink, &batch);
        let killing = async {
            tokio::time::sleep(Duration::from_millis(5 * round.unsigned_abs())).await;
            tokio::task::block_in_place(|| {
                server.kill().unwrap();
                server.restart().unwrap();
            });
        };
        tokio::join!(applying, killing);
        state = std::mem::take(&mut running.state);
        position = running.kill().await;
    }
    let mut running = db.run_source(&["c"], &more, position).await;
    running.state = state;
    let shape = running.shape.clone();
    let rows = |documents: Vec<mongodb::bson::Document>| {
        let rows = documents.into_iter().map(|d| {
            lockstep_core::Row::of([
                Value::Int(d.get_i32("_id").unwrap().into()),
                Value::Int(d.get_i64("v").or(d.get_i32("v").map(i64::from)).unwrap()),
            ])
        });
        lockstep_tests::State::of(&shape, rows)
    };
    let truth = rows(db.all("c").await);
    running
        .until("what the server holds", |running| running.state == truth)
        .await;
    running.kill().await;
    let written = db.all("to").await;
    assert_eq!(written.len(), 20);
    assert!(
        written
            .iter()
            .all(|document| document.get_i64("v").is_ok_and(|v| v == 3))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_election_is_survived_by_source_and_sink() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    let db = Db::at(&cluster.url("shop")).await;
    db.recording("c").await;
    db.run(doc! { "create": "to" }).await;
    let mut more = columns();
    more["columns"]["to"] = more["columns"]["c"].clone();
    let (sink, shape) = db.prepared("to", &more).await;
    let mut running = db.run_source(&["c"], &more, None).await;
    let c = db.collection("c");
    c.insert_one(doc! { "_id": 1, "v": 1 }).await.unwrap();
    running
        .until("the first change", |running| running.state.len() == 1)
        .await;
    insist(
        &*sink,
        &step(0, vec![upsert(&shape, [Value::Int(1), Value::Int(1)])]),
    )
    .await;

    tokio::task::block_in_place(|| cluster.kill_primary().unwrap());
    insist(
        &*sink,
        &step(1, vec![upsert(&shape, [Value::Int(2), Value::Int(2)])]),
    )
    .await;
    let start = Instant::now();
    while c.insert_one(doc! { "_id": 2, "v": 2 }).await.is_err() {
        assert!(start.elapsed() < DEADLINE, "no primary takes writes");
    }
    // The stream goes on by itself, or the run ends to be begun again where it stood.
    while running.state.len() < 2 {
        assert!(
            start.elapsed() < DEADLINE * 2,
            "the change after the election is not told"
        );
        if running.task.is_finished() {
            let (state, position) = (running.state, running.position);
            running = db.run_source(&["c"], &more, position).await;
            running.state = state;
        }
        running.next_within(Duration::from_millis(100)).await;
    }
    running.kill().await;
    assert_eq!(db.all("to").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_needs_no_more_than_the_documented_rights() {
    let options = Options {
        auth: true,
        ..Options::default()
    };
    let Some(server) = Server::start(&options) else {
        return;
    };
    let db = Db::at(&server.url("shop")).await;
    db.recording("c").await;
    for (user, role) in [("reads", "read"), ("writes", "readWrite")] {
        db.run(doc! { "createUser": user, "pwd": "hunter2", "roles": [{ "role": role, "db": "shop" }] }).await;
    }
    db.collection("c")
        .insert_one(doc! { "_id": 1, "v": 1 })
        .await
        .unwrap();
    let as_user = |user: &str, password: &str| Db {
        url: server.url_as(user, password, "shop"),
        db: db.db.clone(),
    };
    let reads = as_user("reads", "hunter2");
    let source = reads.source(&["c"], &columns()).await;
    assert!(source.check(&[]).await.unwrap().is_empty());
    let mut running = reads.run_source(&["c"], &columns(), None).await;
    running
        .until("the row", |running| running.state.len() == 1)
        .await;
    running.kill().await;
    let shape = source.discover().await.unwrap();
    let findings = reads
        .sink(&["c"], &columns())
        .await
        .check(&shape)
        .await
        .unwrap();
    assert!(
        says(&findings, Severity::Error, "may not `insert`"),
        "{findings:?}"
    );

    let writes = as_user("writes", "hunter2");
    let (sink, shape) = writes.prepared("c", &columns()).await;
    assert!(
        sink.check(std::slice::from_ref(&shape))
            .await
            .unwrap()
            .is_empty()
    );
    let target = part(&shape, &["_id", "v"]);
    let row = |v| vec![upsert(&target, [Value::Int(1), Value::Int(v)])];
    assert!(is_committed(&sink.apply(&step(0, row(5))).await));
    // Another process of the same user takes over.
    let next = writes.sink(&["c"], &columns()).await;
    assert!(is_committed(&next.apply(&step(1, row(6))).await));

    let wrong = as_user("reads", "wrong-hunter2");
    let opened = connector()
        .open_source(wrong.config(&columns()), common::context(&["c"]))
        .await;
    let error = common::fails(opened);
    assert_eq!(error.kind(), Kind::Unauthorized, "{error:?}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_verified_by_its_authority() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ours").unwrap();
    let other = Authority::new(folder.path(), "other").unwrap();
    let leaf = authority.server("server", &LOOPBACK).unwrap();
    let options = Options {
        tls: Some(leaf),
        ..Options::default()
    };
    let Some(server) = Server::start(&options) else {
        return;
    };
    let plain = server.url("shop");
    Db::at(&plain).await.run(doc! { "create": "c" }).await;
    let verified = |authority: &Authority| {
        format!(
            "sslmode=verify-full&sslrootcert={}",
            authority.certificate().display()
        )
    };
    let cases = [
        (verified(&authority), true),
        ("sslmode=require".to_owned(), true),
        (verified(&other), false),
    ];
    let connector = connector();
    for (tls, works) in cases {
        let config = json!({ "url": format!("{plain}&{tls}"), "columns": columns()["columns"] });
        let config = serde_json::from_value(config).unwrap();
        let opened = connector.open_source(config, common::context(&["c"])).await;
        assert_eq!(opened.is_ok(), works, "{tls}");
    }
}
