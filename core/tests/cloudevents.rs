//! The public cases of the CloudEvents JSON format through the decoder of inboxes.
//!
//! The cases are public test data, found by `LOCKSTEP_TEST_DATA`; without it these tests say that they were skipped.
//! An inbox takes changes of one entity, so a case's event is given a type and data that the inbox would take, unless the case is about them: what is refused then is refused for the case's own fault.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its data has failed"
)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use lockstep_core::Type;
use lockstep_core::contract::{Contract, Field, Violation};
use lockstep_core::log::{Arrival, Channel, observe};
use serde_json::{Value as Json, json};

/// Cases that are judged otherwise, and why.
const OTHERWISE: &[(&str, &str)] = &[(
    "invalidNoSource",
    "who publishes into an inbox is told by the inbox itself, so a source may be left out",
)];

fn cases(file: &str) -> Option<Vec<Json>> {
    let Some(folder) = std::env::var_os("LOCKSTEP_TEST_DATA") else {
        let mut out = std::io::stderr();
        let _ = std::io::Write::write_all(&mut out, b"skipped: LOCKSTEP_TEST_DATA is not set\n");
        return None;
    };
    let path = Path::new(&folder)
        .join("contracts/cloudevents-conformance/format/json")
        .join(file);
    let text: Json = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    Some(text["tests"].as_array().unwrap().clone())
}

fn id(case: &Json) -> &str {
    case["id"].as_str().unwrap()
}

/// The event of a case as one that the inbox would take.
fn dressed(event: &Json) -> Json {
    let mut event = event.clone();
    if event["type"] == "io.cloudevents.test" {
        event["type"] = "thing.updated".into();
    }
    if event.is_object() && event.get("data_base64").is_none() {
        event["data"] = json!({ "id": "1" });
    }
    event
}

fn judged(content: &str, body: &Json) -> Result<Vec<Vec<Violation>>, Violation> {
    let contract = Contract::new(
        "thing",
        semver::Version::new(1, 0, 0),
        vec![Field::new("id", Type::Text)],
    );
    let channel = Channel::new("shop", Arc::new(contract));
    let headers = [("Content-Type".to_owned(), content.to_owned())];
    let arrival = Arrival {
        seq: 1,
        at: Timestamp::UNIX_EPOCH,
    };
    let observed = observe(&channel, &headers, body.to_string().as_bytes(), arrival)?;
    Ok(observed
        .into_iter()
        .map(|observed| observed.violations)
        .collect())
}

fn event(body: &Json) -> Vec<Violation> {
    judged("application/cloudevents+json", body)
        .unwrap()
        .remove(0)
}

#[test]
fn valid_events_are_taken() {
    for case in cases("valid-events.json").into_iter().flatten() {
        let found = event(&dressed(&case["event"]));
        assert!(found.is_empty(), "{}: {found:?}", id(&case));
    }
}

#[test]
fn invalid_events_are_refused() {
    let Some(cases) = cases("invalid-events.json") else {
        return;
    };
    let mut taken = Vec::new();
    for case in &cases {
        if event(&dressed(&case["event"])).is_empty() {
            taken.push(id(case));
        }
    }
    let known: Vec<&str> = OTHERWISE.iter().map(|(case, _)| *case).collect();
    assert_eq!(taken, known, "of {}", cases.len());
}

#[test]
fn each_event_of_a_batch_is_judged_by_itself() {
    let batch = |case: &Json| -> Json {
        let events = case["batch"].as_array().unwrap();
        events.iter().map(dressed).collect()
    };
    let content = "application/cloudevents-batch+json";
    for case in cases("valid-batches.json").into_iter().flatten() {
        let events = batch(&case);
        let found = judged(content, &events).unwrap();
        assert_eq!(found.len(), events.as_array().unwrap().len());
        assert!(found.iter().all(Vec::is_empty), "{}: {found:?}", id(&case));
    }
    for case in cases("invalid-batches.json").into_iter().flatten() {
        let refused = match judged(content, &batch(&case)) {
            Ok(found) => found.iter().any(|found| !found.is_empty()),
            Err(_) => true,
        };
        assert!(refused, "{}", id(&case));
    }
}
