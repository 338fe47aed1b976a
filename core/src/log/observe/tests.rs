use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::contract::{NoLibrary, load};

const CONTRACT: &str = r#"
apiVersion: v3.1.0
kind: DataContract
id: thing
name: Things
version: 2.1.0
status: active
schema:
  - name: thing
    logicalType: object
    customProperties:
      - {property: lockstep.owner, value: shop}
    properties:
      - {name: id, logicalType: string, primaryKey: true, required: true}
      - {name: amount, logicalType: number, physicalType: "decimal(12,2)", required: true}
      - {name: count, logicalType: integer}
"#;

fn channel() -> Channel {
    let contract = load("thing.odcs.yaml", CONTRACT, &NoLibrary)
        .unwrap()
        .contract;
    Channel::new("shop", Arc::new(contract))
}

const ARRIVAL: Arrival = Arrival {
    seq: 7,
    at: Timestamp::UNIX_EPOCH,
};

fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = pairs.iter();
    pairs
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn one(pairs: &[(&str, &str)], body: &str) -> Observed {
    let mut observed = observe(&channel(), &headers(pairs), body.as_bytes(), ARRIVAL).unwrap();
    assert_eq!(observed.len(), 1);
    observed.remove(0)
}

/// An event in binary mode of a type, which stands for attributes and data.
fn event(kind: &str, more: &[(&str, &str)], body: &str) -> Observed {
    let mut pairs = vec![
        ("ce-specversion", "1.0"),
        ("ce-id", "e1"),
        ("ce-type", kind),
    ];
    pairs.extend_from_slice(more);
    one(&pairs, body)
}

fn reasons(observed: &Observed) -> Vec<(Option<&str>, &str)> {
    let violations = observed.violations.iter();
    violations
        .map(|v| (v.field.as_deref(), v.rule.as_str()))
        .collect()
}

const GOOD: &str = r#"{"id": "A", "amount": "12.50", "count": 3}"#;

#[test]
fn plain_data_is_an_upsert_of_the_whole_record() {
    let seen = one(&[], GOOD);
    assert_eq!((seen.change.op, seen.id), (Op::Updated, None));
    assert!(seen.change.row.is_whole() && seen.violations.is_empty());
    assert_eq!(
        seen.change.mark,
        Mark {
            commit: 7,
            ordinal: 0
        }
    );
    // What may be left out is null, not untouched.
    let seen = one(&[], r#"{"id": "A", "amount": "12.50"}"#);
    assert_eq!(seen.change.row.value(2), Some(&Value::Null));
    // What must be there and is not is for the gate to refuse, which judges a created record whole.
    let seen = one(&[], r#"{"id": "A"}"#);
    assert_eq!(
        (seen.change.op, seen.change.row.is_whole()),
        (Op::Created, false)
    );
}

#[test]
fn the_word_at_the_end_of_the_type_says_what_happened() {
    let table = [
        ("io.lockstep.thing.created.v2", Op::Created),
        ("io.lockstep.thing.snapshot.v2", Op::Snapshot),
        ("io.lockstep.thing.updated.v2", Op::Updated),
        ("com.acme.shop.thing.updated", Op::Updated),
        ("updated", Op::Updated),
    ];
    for (kind, op) in table {
        let seen = event(kind, &[], GOOD);
        assert_eq!((seen.change.op, reasons(&seen)), (op, vec![]), "{kind}");
        assert_eq!(seen.id.as_deref(), Some("e1"));
    }
    let patch = event("thing.patched.v2", &[], r#"{"id": "A", "count": null}"#);
    assert_eq!(patch.change.op, Op::Updated);
    assert!(patch.change.row.cell(1).is_unchanged() && patch.violations.is_empty());
    assert_eq!(patch.change.row.value(2), Some(&Value::Null));
    let cleared = event("thing.truncated.v2", &[], "");
    assert_eq!(
        (cleared.change.op, reasons(&cleared)),
        (Op::Truncated, vec![])
    );
}

#[test]
fn a_delete_needs_only_the_key_as_data_or_as_subject() {
    for seen in [
        event("thing.deleted", &[], GOOD),
        event("thing.deleted.v2", &[("ce-subject", "A")], ""),
    ] {
        assert_eq!((seen.change.op, reasons(&seen)), (Op::Deleted, vec![]));
        assert_eq!(seen.change.row.value(0), Some(&Value::text("A")));
        assert!(seen.change.row.cell(1).is_unchanged());
    }
    assert_eq!(reasons(&event("thing.deleted", &[], "")), [(None, "key")]);
}

#[test]
fn a_key_change_names_the_old_key() {
    let seen = event("thing.updated.v2", &[("ce-lsreplaces", "B%7CC")], GOOD);
    assert_eq!(
        reasons(&seen),
        [(None, "lsreplaces")],
        "two parts are no key of one field"
    );
    let seen = event("thing.updated.v2", &[("ce-lsreplaces", "B")], GOOD);
    let before = seen.change.before.unwrap();
    assert_eq!(before.value(0), Some(&Value::text("B")));
}

#[test]
fn what_cannot_be_read_is_named_field_by_field_without_values() {
    let seen = one(
        &[],
        r#"{"id": "A", "amount": 12.5, "cuont": 1, "count": "secret"}"#,
    );
    assert_eq!(
        reasons(&seen),
        [
            (Some("amount"), "type"),
            (Some("cuont"), "unknown"),
            (Some("count"), "type")
        ]
    );
    assert!(
        seen.violations
            .iter()
            .all(|v| !v.message.contains("secret"))
    );
    assert_eq!(
        seen.violations[1].message,
        "the contract has no such field; did you mean `count`?"
    );
    // What can be read is, so that the record is known by its key.
    assert_eq!(seen.change.row.value(0), Some(&Value::text("A")));
    assert!(seen.raw.is_some());
}

#[test]
fn messages_that_are_no_events_say_why() {
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a [&'a str]);
    let table: [Case<'_>; 8] = [
        (&[], "no json", &["message"]),
        (&[], "[1]", &["message"]),
        (
            &[("ce-type", "thing.updated")],
            GOOD,
            &["specversion", "id"],
        ),
        (
            &[("ce-specversion", "0.3"), ("ce-id", "e")],
            GOOD,
            &["specversion", "type"],
        ),
        (
            &[
                ("ce-specversion", "1.0"),
                ("ce-id", "e"),
                ("ce-type", "thing.moved"),
            ],
            GOOD,
            &["type"],
        ),
        (
            &[
                ("ce-specversion", "1.0"),
                ("ce-id", "e"),
                ("ce-type", "thing.updated.v3"),
            ],
            GOOD,
            &["version"],
        ),
        (
            &[
                ("ce-specversion", "1.0"),
                ("ce-id", "e"),
                ("ce-type", "io.lockstep.other.updated.v2"),
            ],
            GOOD,
            &["type"],
        ),
        (
            &[
                ("ce-specversion", "1.0"),
                ("ce-id", "e"),
                ("ce-type", "updated"),
                ("ce-dataschema", "urn:lockstep:contract:thing:1.0.0"),
                ("ce-time", "noon"),
            ],
            GOOD,
            &["version", "time"],
        ),
    ];
    for (pairs, body, expected) in table {
        let seen = one(pairs, body);
        let rules: Vec<&str> = seen.violations.iter().map(|v| v.rule.as_str()).collect();
        assert_eq!(rules, expected, "{pairs:?} {body}");
    }
    let not_text = observe(&channel(), &[], &[0xff], ARRIVAL);
    assert_eq!(not_text.unwrap_err().rule, "message");
    let no_batch = observe(
        &channel(),
        &headers(&[("Content-Type", BATCH)]),
        b"{}",
        ARRIVAL,
    );
    assert_eq!(no_batch.unwrap_err().rule, "message");
}

#[test]
fn one_bad_event_of_a_frame_leaves_the_others() {
    let body = r#"[
        {"specversion": "1.0", "id": "a", "type": "thing.updated", "data": {"id": "A", "amount": "1.00"}},
        7,
        {"specversion": "1.0", "id": "c", "type": "thing.deleted", "data": {"id": "C"}}
    ]"#;
    let batch = format!("{BATCH}; charset=utf-8");
    let headers = headers(&[("content-type", &batch)]);
    let seen = observe(&channel(), &headers, body.as_bytes(), ARRIVAL).unwrap();
    let faults: Vec<usize> = seen.iter().map(|seen| seen.violations.len()).collect();
    assert_eq!(faults, [0, 1, 0]);
    assert_eq!(
        seen[2].change.mark,
        Mark {
            commit: 7,
            ordinal: 2
        }
    );
    assert_eq!(seen[1].raw.as_deref(), Some("7"));
}

#[test]
fn an_event_in_structured_mode_is_read_as_in_a_frame() {
    let body = r#"{"specversion": "1.0", "id": "a", "type": "thing.updated", "time": "2026-01-31T00:00:00Z",
        "data": {"id": "A", "amount": "1.00"}}"#;
    let seen = one(&[("Content-Type", STRUCTURED)], body);
    assert_eq!(reasons(&seen), []);
    assert_eq!(seen.change.committed_at.to_string(), "2026-01-31T00:00:00Z");
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(
        body: Vec<u8>, kind in "[a-z.]{0,12}(deleted|updated|patched)?(\\.v[0-9]{0,30})?", subject in ".{0,8}",
    ) {
        let types = ["", BATCH, STRUCTURED];
        for content in types {
            let pairs = [("content-type", content), ("ce-type", &kind), ("ce-subject", &subject)];
            let _ = observe(&channel(), &headers(&pairs), &body, ARRIVAL);
        }
    }

    #[test]
    fn json_of_any_form_never_panics(data in "[\\[\\]{}\",:0-9a-z ]{0,40}") {
        let body = format!(r#"[{{"specversion":"1.0","id":"x","type":"thing.updated","data":{data}}}]"#);
        let _ = observe(&channel(), &headers(&[("content-type", BATCH)]), body.as_bytes(), ARRIVAL);
        let _ = observe(&channel(), &[], data.as_bytes(), ARRIVAL);
    }
}
