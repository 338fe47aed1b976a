use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::contract::Field;
use crate::shape::Row;
use crate::value::{Cell, Type, Value};

fn channel() -> Channel {
    let kinds = [
        ("id", Type::Text),
        ("no", Type::Int),
        ("amount", Type::DECIMAL),
        ("ratio", Type::Float),
        ("flag", Type::Bool),
        ("raw", Type::Bytes),
        ("day", Type::Date),
        ("at", Type::Timestamp),
        ("doc", Type::Json),
    ];
    let field = |(name, kind): (&str, Type)| Field {
        required: false,
        nullable: true,
        ..Field::new(name, kind)
    };
    Channel::new(
        "crm",
        Arc::new(Contract {
            key: vec![0, 1],
            lane_key: vec![0, 1],
            ..Contract::new(
                "thing",
                semver::Version::new(2, 1, 0),
                kinds.into_iter().map(field).collect(),
            )
        }),
    )
}

fn encode_frame(channel: &Channel, events: &[Event], position: &Position, epoch: u64) -> Frame {
    let mut builder = FrameBuilder::default();
    for event in events {
        builder.push(channel, event.clone(), usize::MAX).unwrap();
    }
    builder.finish(channel, Some(position), epoch)
}

fn position() -> Position {
    Position {
        incarnation: "inc".into(),
        commit: 7,
        ordinal: 2,
        cursor: Some("{\"a\":1}".into()),
    }
}

fn event(channel: &Channel, op: Op, row: Row, n: u64) -> Event {
    let mark = Mark {
        commit: n,
        ordinal: 0,
    };
    Event {
        key: Key::encode(channel.contract.key.iter().map(|i| row.value(*i))).ok(),
        replaces: None,
        replaced_by: None,
        id: event_id("inc", mark).into(),
        change: Change {
            shape: Arc::clone(&channel.shape),
            op,
            row,
            before: None,
            mark,
            committed_at: Timestamp::from_microsecond(1_700_000_000_123_456).unwrap(),
            origin: None,
        },
    }
}

fn value(kind: Type) -> BoxedStrategy<Value> {
    match kind {
        Type::Text => ".*".prop_map(Value::Text).boxed(),
        Type::Int => any::<i64>().prop_map(Value::Int).boxed(),
        Type::Decimal { .. } => "-?[1-9][0-9]{0,40}(\\.[0-9]{1,30})?"
            .prop_map(|text| Value::Decimal(text.parse().unwrap()))
            .boxed(),
        Type::Float => any::<f64>().prop_map(Value::Float).boxed(),
        Type::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Type::Bytes => any::<Vec<u8>>().prop_map(Value::Bytes).boxed(),
        Type::Date => (-9999..9999_i16, 1..=12_i8, 1..=28_i8)
            .prop_map(|(y, m, d)| Value::Date(jiff::civil::date(y, m, d)))
            .boxed(),
        Type::Timestamp => (-377_705_023_201_000_000..253_402_207_200_000_000_i64)
            .prop_map(|us| Value::Timestamp(Timestamp::from_microsecond(us).unwrap()))
            .boxed(),
        _ => prop_oneof![
            Just("{\"a\":[1,null]}"),
            Just("[]"),
            Just("12345678901234567890123")
        ]
        .prop_map(|text| Value::Json(text.into()))
        .boxed(),
    }
}

fn rows() -> impl Strategy<Value = Row> {
    let channel = channel();
    channel
        .contract
        .fields
        .iter()
        .enumerate()
        .map(|(i, field)| {
            let set = value(field.kind).prop_map(Cell::Set);
            if i < 2 {
                set.boxed()
            } else {
                prop_oneof![6 => set, 1 => Just(Cell::Set(Value::Null)), 1 => Just(Cell::Unchanged)]
                    .boxed()
            }
        })
        .collect::<Vec<_>>()
        .prop_map(Row)
}

proptest! {
    #[test]
    fn what_is_encoded_comes_back(rows in proptest::collection::vec(rows(), 1..5)) {
        let channel = channel();
        let events: Vec<Event> = rows
            .into_iter()
            .enumerate()
            .map(|(n, row)| event(&channel, Op::Updated, row, n as u64))
            .collect();
        let frame = encode_frame(&channel, &events, &position(), 3);
        let decoded = decode(&channel, &frame.headers, &frame.payload).unwrap();
        prop_assert_eq!(decoded.position, Some(position()));
        prop_assert_eq!(decoded.epoch, 3);
        prop_assert_eq!(decoded.events.len(), events.len());
        for (back, event) in decoded.events.iter().zip(&events) {
            prop_assert_eq!(&back.change.row, &event.change.row);
            prop_assert_eq!(&back.key, &event.key);
            prop_assert_eq!(&back.id, &event.id);
            prop_assert_eq!(back.change.mark, event.change.mark);
            prop_assert_eq!(back.change.committed_at, event.change.committed_at);
        }
    }

    #[test]
    fn foreign_bytes_never_panic(
        headers in proptest::collection::vec(("(ce-[a-z]{1,8}|ls-pos|content-type)", ".*"), 0..6),
        payload: Vec<u8>,
        batch: bool,
    ) {
        let mut headers = headers;
        if batch {
            headers.push((CONTENT_TYPE.into(), BATCH.into()));
        }
        let _ = decode(&channel(), &headers, &payload);
    }
}

#[test]
fn one_change_is_binary_mode_and_many_are_a_batch() {
    let channel = channel();
    let row = Row::of([
        Value::text("ö 1"),
        Value::Int(1),
        Value::Null,
        Value::Null,
        Value::Null,
        Value::Null,
        Value::Null,
        Value::Null,
        Value::Null,
    ]);
    let one = event(&channel, Op::Created, row, 1);
    let frame = encode_frame(&channel, std::slice::from_ref(&one), &position(), 1);
    let header = |name: &str| {
        frame
            .headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(header("ce-type"), Some("io.lockstep.thing.created.v2"));
    assert_eq!(header("ce-subject"), Some("%C3%B6%201|1"));
    assert_eq!(header("ce-id"), Some("inc/0000000000000001.00000000"));
    let frame = encode_frame(&channel, &[one.clone(), one], &position(), 1);
    assert_eq!(frame.headers[0].1, BATCH);
    let batch: serde_json::Value = serde_json::from_slice(&frame.payload).unwrap();
    assert_eq!(batch[1]["data"]["id"], "ö 1");
    assert_eq!(batch[1]["specversion"], "1.0");
}

#[test]
fn a_key_change_names_both_keys() {
    let channel = channel();
    let cells = |id: &str| {
        let mut row = Row::unchanged(9);
        row.0[0] = Cell::Set(Value::text(id));
        row.0[1] = Cell::Set(Value::Int(1));
        row
    };
    let mut upsert = event(&channel, Op::Updated, cells("new|er"), 1);
    let mut tombstone = event(&channel, Op::Deleted, cells("old"), 1);
    upsert.replaces = tombstone.key.clone();
    tombstone.replaced_by = upsert.key.clone();
    for event in [&upsert, &tombstone] {
        let frame = encode_frame(&channel, std::slice::from_ref(event), &position(), 1);
        let back = decode(&channel, &frame.headers, &frame.payload).unwrap();
        assert_eq!(back.events[0].replaces, event.replaces);
        assert_eq!(back.events[0].replaced_by, event.replaced_by);
        let before = back.events[0]
            .change
            .before
            .as_ref()
            .and_then(|row| row.value(0).cloned());
        assert_eq!(
            before,
            event.replaces.as_ref().map(|_| Value::text("old")),
            "targets need the old key"
        );
    }
}

#[test]
fn messages_that_are_not_ours_are_named() {
    let channel = channel();
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        decode(&channel, &[], b"{}").unwrap_err(),
        DecodeError::Missing("specversion")
    );
    let foreign = [
        header("ce-specversion", "1.0"),
        header("ce-id", "1"),
        header("ce-type", "com.example.other"),
        header("ce-dataschema", &channel.urn),
    ];
    assert!(matches!(
        decode(&channel, &foreign, b"{}"),
        Err(DecodeError::Foreign(..))
    ));
}

#[test]
fn every_event_names_its_version_and_is_read_as_that() {
    let older = channel();
    let contract = Contract {
        version: "1.9.0".parse().unwrap(),
        fields: older.contract.fields.iter().rev().cloned().collect(),
        key: vec![older.contract.fields.len() - 1],
        ..(*older.contract).clone()
    };
    let newer = Channel::new("crm", Arc::new(contract));
    let row = || Row::of([Value::text("a"), Value::Int(1)]);
    for count in [1, 3] {
        let events: Vec<Event> = (0..count)
            .map(|n| event(&older, Op::Created, row(), n))
            .collect();
        let frame = encode_frame(&older, &events, &position(), 1);
        let text = String::from_utf8_lossy(&frame.payload);
        let named = frame.headers.iter().any(|(_, value)| *value == older.urn);
        assert!(named || text.matches(&older.urn).count() == events.len());
        assert_eq!(
            decode(&newer, &frame.headers, &frame.payload).unwrap_err(),
            DecodeError::Version(older.urn.clone())
        );
        let all = [&older, &newer];
        let find = |urn: &str| all.into_iter().find(|channel| channel.urn == urn);
        let decoded = decode_among(&find, &frame.headers, &frame.payload).unwrap();
        for back in decoded.events {
            assert_eq!(back.change.shape, older.shape);
            assert_eq!(back.change.row.0[..2], row().0);
        }
    }
}

#[test]
fn an_event_too_large_is_handed_back_and_leaves_no_trace() {
    let channel = channel();
    let row = |text: &str| Row::of([Value::text(text), Value::Int(1)]);
    let mut builder = FrameBuilder::default();
    let small = event(&channel, Op::Created, row("a"), 1);
    builder.push(&channel, small.clone(), 1000).unwrap();
    let refused = builder.push(
        &channel,
        event(&channel, Op::Created, row(&"x".repeat(2000)), 2),
        1000,
    );
    assert!(refused.unwrap_err().bytes > 2000);
    builder.push(&channel, small, 1000).unwrap();
    let frame = builder.finish(&channel, Some(&position()), 1);
    assert_eq!(
        decode(&channel, &frame.headers, &frame.payload)
            .unwrap()
            .events
            .len(),
        2
    );
}

#[test]
fn ids_of_one_life_of_a_source_have_an_order() {
    let id = |commit| event_id("inc", Mark { commit, ordinal: 0 });
    assert!(is_later(&id(17), &id(16)));
    assert!(!is_later(&id(16), &id(17)));
    assert!(!is_later(&id(16), &id(16)));
    assert!(is_later(&event_id("other", Mark::default()), &id(16)));
}
