//! Events become changes in their order, without our own.

use mongodb::bson::{Binary, RawDocumentBuf, Timestamp, rawdoc, spec::BinarySubtype};

use super::*;
use crate::convert::Form;
use crate::position::{Cursor, incarnation};

fn teller() -> Teller {
    let mut a = Table::made(&[("_id", Form::Int { narrow: false }), ("x", Form::Text)]);
    a.rename("a");
    let mut b = a.clone();
    b.rename("b");
    let reading = Reading {
        incarnation: incarnation("rs0", 1),
        mark: Mark::default(),
        cursor: Cursor::default(),
    };
    Teller::new(vec![a, b], reading, false)
}

fn event(happened: &str, collection: &str, time: u32, transaction: Option<i64>) -> RawDocumentBuf {
    let mut event = rawdoc! {
        "_id": { "_data": format!("82{time:08X}00000001AA") },
        "operationType": happened,
        "clusterTime": Timestamp { time, increment: 1 },
        "ns": { "db": "d", "coll": collection },
        "documentKey": { "_id": 7 },
        "fullDocument": { "_id": 7, "x": "y" },
    };
    if let Some(number) = transaction {
        let id = Binary {
            subtype: BinarySubtype::Uuid,
            bytes: vec![1; 16],
        };
        event.append(mongodb::bson::raw::cstr!("lsid"), rawdoc! { "id": id });
        event.append(mongodb::bson::raw::cstr!("txnNumber"), number);
    }
    event
}

/// A client of nobody: what these events hold is enough.
async fn client() -> Client {
    let inner = mongodb::Client::with_uri_str("mongodb://127.0.0.1:1/d")
        .await
        .unwrap();
    let db = inner.database("d");
    Client { inner, db }
}

async fn told(teller: &mut Teller, events: &[RawDocumentBuf]) -> Vec<(Op, String, u64, u64)> {
    let client = client().await;
    for event in events {
        teller
            .take(&Event::new(event.clone()), &client)
            .await
            .unwrap();
    }
    let changes = teller.batch().into_iter();
    changes
        .map(|c| {
            (
                c.op,
                c.shape.name.clone(),
                c.mark.commit >> 32,
                c.mark.ordinal,
            )
        })
        .collect()
}

#[tokio::test]
async fn changes_of_one_time_come_in_their_order_and_ours_are_left_out() {
    let mut teller = teller();
    let events = [
        event("insert", "a", 5, None),
        event("update", PROGRESS, 6, Some(3)),
        event("insert", "a", 6, Some(3)),
        event("delete", "b", 6, Some(3)),
        event("replace", "a", 7, Some(4)),
        event("delete", "a", 7, Some(4)),
        event("insert", "elsewhere", 8, None),
    ];
    let changes = told(&mut teller, &events).await;
    let name = "a".to_owned();
    assert_eq!(
        changes,
        [
            (Op::Created, name.clone(), 5, 1),
            (Op::Updated, name.clone(), 7, 1),
            (Op::Deleted, name, 7, 2),
        ]
    );
    assert_eq!(teller.through, Some((8 << 32) + 1));
}

#[tokio::test]
async fn a_run_that_goes_on_inside_our_own_transaction_still_leaves_it_out() {
    let mut first = teller();
    told(&mut first, &[event("update", PROGRESS, 6, Some(3))]).await;
    assert_eq!(first.through, None, "more of the transaction may come");
    let mut second = teller();
    second.reading = first.reading;
    let changes = told(
        &mut second,
        &[
            event("insert", "a", 6, Some(3)),
            event("insert", "a", 7, Some(4)),
        ],
    )
    .await;
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].2, 7);
}

#[tokio::test]
async fn a_collection_that_goes_is_emptied_and_one_that_comes_is_read() {
    let mut teller = teller();
    teller.reading.cursor.done = vec!["a".to_owned(), "b".to_owned()];
    let mut renamed = event("rename", "a", 6, None);
    renamed.append(
        mongodb::bson::raw::cstr!("to"),
        rawdoc! { "db": "d", "coll": "b" },
    );
    let changes = told(&mut teller, &[event("drop", "a", 5, None), renamed]).await;
    let ops: Vec<(Op, &str, u64)> = changes.iter().map(|c| (c.0, c.1.as_str(), c.3)).collect();
    assert_eq!(
        ops,
        [
            (Op::Truncated, "a", 1),
            (Op::Truncated, "a", 1),
            (Op::Truncated, "b", 2)
        ]
    );
    assert_eq!(teller.reading.cursor.todo, ["b"]);
}

#[tokio::test]
async fn rows_of_a_snapshot_stand_behind_the_changes_of_their_time() {
    let mut teller = teller();
    teller.reading.cursor.todo = vec!["a".to_owned()];
    told(&mut teller, &[event("insert", "a", 5, None)]).await;
    teller.as_of = teller.through.unwrap();
    teller.waiting = vec![
        rawdoc! { "_id": 1 },
        rawdoc! { "_id": 2 },
        rawdoc! { "_id": 3 },
    ]
    .into();
    teller.place(2, 1000).unwrap();
    let marks: Vec<u64> = teller
        .batch()
        .iter()
        .map(|change| change.mark.ordinal)
        .collect();
    assert_eq!(marks, [2, 3]);
    assert_eq!(teller.waiting.len(), 1);
    assert!(teller.reading.cursor.after.is_some());
    // What follows on the stream is later.
    let next = Event::new(event("insert", "a", 6, None));
    teller.through = None;
    teller.comes_later(&next);
    assert_eq!(teller.through, Some((5 << 32) + 1));
}

#[tokio::test]
async fn silence_moves_on() {
    let mut teller = teller();
    // Where the stream began, a change of that very time may still come.
    teller.reading.cursor.token = "820000000800000002".to_owned();
    teller.quiet("820000000800000002".to_owned()).unwrap();
    assert_eq!(teller.through, Some((8 << 32) + 1));
    teller.quiet("820000000900000002".to_owned()).unwrap();
    assert_eq!(teller.through, Some((9 << 32) + 2));
    assert_eq!(teller.reading.position().commit, (9 << 32) + 2);
    assert!(teller.quiet("nonsense".to_owned()).is_err());
}
