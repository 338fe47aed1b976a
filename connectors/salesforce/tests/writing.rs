//! What is special to writing: records that are refused, answers that are lost, locks, duplicates, references, and values that Salesforce keeps otherwise.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::sync::Arc;

use common::{apply, change, is_applied, reason, shape, sink, sink_with, tried, upsert};
use lockstep_core::change::Op;
use lockstep_core::connector::Outcome;
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Kind, Shape, Type, Value};
use lockstep_simulators::salesforce::{Fault, Field, Options, Simulator};
use serde_json::json;

async fn simulator() -> Simulator {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    for object in ["Account", "Contact", "Opportunity"] {
        simulator.field(object, Field::external("Erp__c"));
    }
    simulator
}

fn accounts() -> Arc<Shape> {
    shape(
        "Account",
        &[
            ("Erp__c", Type::Text),
            ("Name", Type::Text),
            ("AnnualRevenue", Type::DECIMAL),
        ],
    )
}

fn account(shape: &Arc<Shape>, key: &str, name: &str) -> lockstep_core::Change {
    let revenue = Value::Decimal("1200000000.50".parse().unwrap());
    upsert(shape, &[Value::text(key), Value::text(name), revenue])
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_is_told_its_own_reason_without_its_values() {
    let simulator = simulator().await;
    simulator.forbid("Account", "Name", "Voldemort");
    let (sink, shape) = (sink(&simulator).await, accounts());
    let long = "x".repeat(300);
    let changes = [
        account(&shape, "A", "fine"),
        account(&shape, "B", "Voldemort"),
        account(&shape, "C", &long),
        upsert(&shape, &[Value::text("D"), Value::Null, Value::Null]),
        account(&shape, "E", "fine, too"),
        upsert(
            &shape,
            &[Value::text("F"), Value::text("n"), Value::text("much")],
        ),
        upsert(&shape, &[Value::text(" G"), Value::text("n"), Value::Null]),
        upsert(&shape, &[Value::Null, Value::text("n"), Value::Null]),
        change(&shape, Op::Truncated, &[]),
    ];
    let outcomes = apply(&*sink, &changes).await;
    assert!(is_applied(&outcomes[0]) && is_applied(&outcomes[4]));
    for (at, part) in [
        (
            1,
            "FIELD_CUSTOM_VALIDATION_EXCEPTION: Not like that: … [Name]",
        ),
        (2, "STRING_TOO_LONG"),
        (3, "REQUIRED_FIELD_MISSING"),
        (5, "`AnnualRevenue` takes exact numbers"),
        (6, "keeps no blanks"),
        (7, "the key is null"),
        (8, "not emptied"),
    ] {
        let why = reason(&outcomes[at]);
        assert!(why.contains(part), "{why}");
        assert!(!why.contains("Voldemort") && !why.contains(&long), "{why}");
    }
    let records = simulator.records("Account");
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].values["AnnualRevenue"], json!(1_200_000_000.5));
    assert_eq!(simulator.calls("PATCH"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_makes_nothing_twice() {
    let simulator = simulator().await;
    let shape = accounts();
    let changes: Vec<_> = (0..40)
        .map(|n| account(&shape, &format!("K{n}"), "n"))
        .collect();
    for (at, fault) in [
        Fault::DoneThenFailed,
        Fault::Failed,
        Fault::Expired,
        Fault::Maintenance,
        Fault::TooMany(None),
    ]
    .into_iter()
    .enumerate()
    {
        let mut changes = changes.clone();
        for change in &mut changes {
            change.row.0[1] = Value::text(format!("round {at}")).into();
        }
        simulator.fault(fault, "composite", 0, 1);
        let outcomes = apply(&*sink(&simulator).await, &changes).await;
        assert!(outcomes.iter().all(is_applied), "{fault:?} {outcomes:?}");
        let records = simulator.records("Account");
        let is_round = |name: &serde_json::Value| *name == json!(format!("round {at}"));
        assert_eq!(records.len(), 40, "{fault:?}");
        assert!(
            records
                .iter()
                .all(|record| is_round(&record.values["Name"]))
        );
    }
    // Whoever does not hear at all comes again, as another process.
    simulator.fault(Fault::DoneThenFailed, "composite", 0, 5);
    let more = [account(&shape, "new", "n")];
    let error = tried(&*sink(&simulator).await, &more).await.unwrap_err();
    assert!(error.kind().is_retryable(), "{error:?}");
    let writes = simulator.writes();
    assert!(is_applied(&apply(&*sink(&simulator).await, &more).await[0]));
    assert_eq!(
        (simulator.records("Account").len(), simulator.writes()),
        (41, writes)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_somebody_holds_is_tried_again() {
    let simulator = simulator().await;
    let (sink, shape) = (sink(&simulator).await, accounts());
    let changes = [account(&shape, "A", "a"), account(&shape, "B", "b")];
    simulator.fault(Fault::Locked, "composite", 0, 1);
    assert!(apply(&*sink, &changes).await.iter().all(is_applied));
    // The other one is not sent again.
    assert_eq!(simulator.writes(), 2);
    simulator.fault(Fault::Locked, "composite", 0, 5);
    let changes = [account(&shape, "A", "c"), account(&shape, "B", "d")];
    let error = tried(&*sink, &changes).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Transient, "{error:?}");
    assert!(apply(&*sink, &changes).await.iter().all(is_applied));
    assert_eq!(simulator.writes(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicate_rules_hold_unless_the_settings_say_otherwise() {
    let simulator = simulator().await;
    simulator.warn_of_duplicates("Account", "Name");
    let shape = accounts();
    let changes = [account(&shape, "A", "same"), account(&shape, "B", "same")];
    let outcomes = apply(&*sink(&simulator).await, &changes).await;
    assert!(is_applied(&outcomes[0]));
    assert!(
        reason(&outcomes[1]).contains("allow_duplicates"),
        "{outcomes:?}"
    );
    let lax = sink_with(&simulator, &json!({"allow_duplicates": true})).await;
    assert!(apply(&*lax, &changes).await.iter().all(is_applied));
    assert_eq!(simulator.records("Account").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_several_records_bear_is_refused() {
    let simulator = simulator().await;
    let lax = Field {
        unique: false,
        case_sensitive: false,
        ..Field::external("Erp__c")
    };
    simulator.field("Account", lax);
    let (sink, shape) = (sink(&simulator).await, accounts());
    for key in ["two", "two", "ABC"] {
        simulator.edit(
            "Account",
            None,
            &[("Name", json!("n")), ("Erp__c", json!(key))],
        );
    }
    let writes = simulator.writes();
    let outcomes = apply(
        &*sink,
        &[
            account(&shape, "two", "x"),
            account(&shape, "abc", "x"),
            change(&shape, Op::Deleted, &[Value::text("two")]),
            change(&shape, Op::Deleted, &[Value::text("abc")]),
        ],
    )
    .await;
    assert!(
        reason(&outcomes[0]).contains("2 records bear"),
        "{outcomes:?}"
    );
    assert!(
        reason(&outcomes[1]).contains("upper from lower case"),
        "{outcomes:?}"
    );
    assert!(
        reason(&outcomes[2]).contains("2 records bear"),
        "{outcomes:?}"
    );
    // The record in other letters is another one, and stays.
    assert!(is_applied(&outcomes[3]));
    assert_eq!(simulator.writes(), writes);
    let findings = sink.check(&[shape]).await.unwrap();
    let warned =
        |finding: &&lockstep_core::connector::Finding| finding.severity == Severity::Warning;
    assert!(
        findings
            .iter()
            .filter(warned)
            .any(|finding| finding.message.contains("need not be unique"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_waits_for_its_parent() {
    let simulator = simulator().await;
    let sink = sink(&simulator).await;
    let contacts = shape(
        "Contact",
        &[
            ("Erp__c", Type::Text),
            ("LastName", Type::Text),
            ("AccountId", Type::Text),
        ],
    );
    let parent = simulator.edit("Account", None, &[("Name", json!("p"))]);
    let child = |id: &str| {
        upsert(
            &contacts,
            &[Value::text("C"), Value::text("Ann"), Value::text(id)],
        )
    };
    simulator.delete("Account", &parent);
    let outcomes = apply(&*sink, &[child(&parent)]).await;
    let waits = matches!(&outcomes[0], Outcome::Waiting { on } if on.contains("AccountId"));
    assert!(waits, "{outcomes:?}");
    simulator.restore("Account", &parent);
    assert!(is_applied(&apply(&*sink, &[child(&parent)]).await[0]));
    // The short form is the same id.
    let writes = simulator.writes();
    assert!(is_applied(&apply(&*sink, &[child(&parent[..15])]).await[0]));
    assert_eq!(simulator.writes(), writes);
    let outcomes = apply(&*sink, &[child("17")]).await;
    assert!(reason(&outcomes[0]).contains("ids of Salesforce"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_salesforce_keeps_otherwise_is_not_written_again() {
    let simulator = simulator().await;
    simulator.field("Account", Field::new("Kinds__c", "multipicklist"));
    simulator.field("Account", Field::new("Seen__c", "datetime"));
    let shape = shape(
        "Account",
        &[
            ("Erp__c", Type::Text),
            ("Name", Type::Text),
            ("BillingCity", Type::Text),
            ("Description", Type::Text),
            ("Kinds__c", Type::Text),
            ("Seen__c", Type::Timestamp),
        ],
    );
    let at = Value::Timestamp("2024-05-06T07:08:09Z".parse().unwrap());
    let texts = ["A", " n ", "", "  ", "b;a"].map(Value::text);
    let values: Vec<Value> = texts.into_iter().chain([at]).collect();
    let sink = sink(&simulator).await;
    assert!(is_applied(
        &apply(&*sink, &[upsert(&shape, &values)]).await[0]
    ));
    let record = simulator.records("Account").remove(0);
    assert_eq!(record.values["Kinds__c"], json!("a;b"));
    assert_eq!(record.values["Name"], json!("n"));
    assert!(!record.values.contains_key("BillingCity"));
    let writes = simulator.writes();
    assert!(is_applied(
        &apply(&*sink, &[upsert(&shape, &values)]).await[0]
    ));
    assert_eq!(simulator.writes(), writes);
    let mut finer = values;
    finer[5] = Value::Timestamp("2024-05-06T07:08:09.5Z".parse().unwrap());
    let outcomes = apply(&*sink, &[upsert(&shape, &finer)]).await;
    assert!(reason(&outcomes[0]).contains("whole seconds"));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_known_by_their_own_ids_are_changed_and_never_made() {
    let simulator = simulator().await;
    let sink = sink(&simulator).await;
    let shape = shape("Account", &[("Id", Type::Text), ("Name", Type::Text)]);
    let id = simulator.edit("Account", None, &[("Name", json!("before"))]);
    let other = simulator.edit("Account", None, &[("Name", json!("other"))]);
    let of = |id: &str, name: &str| upsert(&shape, &[Value::text(id), Value::text(name)]);
    let outcomes = apply(
        &*sink,
        &[
            of(&id[..15], "after"),
            of("001zzzzzzzzzzzz", "x"),
            change(&shape, Op::Deleted, &[Value::text(&other), Value::Null]),
        ],
    )
    .await;
    let told = Outcome::Applied {
        target_id: Some(Value::text(&id)),
    };
    assert_eq!(outcomes[0], told);
    assert!(reason(&outcomes[1]).contains("gives ids itself"));
    assert!(is_applied(&outcomes[2]));
    let records = simulator.records("Account");
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].values["Name"], json!("after"));
    // It goes between the look and the write: the next look knows.
    simulator.fault(Fault::Busy, "nothing", 0, 1);
    simulator.delete_before("composite/sobjects", "Account", &id);
    let outcomes = apply(&*sink, &[of(&id, "late")]).await;
    assert!(reason(&outcomes[0]).contains("no such record"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_goes_while_it_is_written_is_made_again() {
    let simulator = simulator().await;
    let (sink, shape) = (sink(&simulator).await, accounts());
    apply(&*sink, &[account(&shape, "A", "a")]).await;
    let id = simulator.records("Account")[0].id.clone();
    simulator.delete_before("composite/sobjects", "Account", &id);
    let mut moved = account(&shape, "B", "b");
    moved.before = Some(lockstep_core::Row::of([Value::text("A")]));
    let error = tried(&*sink, std::slice::from_ref(&moved))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Transient, "{error:?}");
    assert!(is_applied(&apply(&*sink, &[moved]).await[0]));
    let records = simulator.records("Account");
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].values["Erp__c"], json!("B"));
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_go_together_and_what_is_gone_is_gone() {
    let simulator = simulator().await;
    let (sink, shape) = (sink(&simulator).await, accounts());
    let keys: Vec<String> = (0..30).map(|n| format!("K{n}")).collect();
    let made: Vec<_> = keys.iter().map(|key| account(&shape, key, "n")).collect();
    apply(&*sink, &made).await;
    let id = simulator.records("Account")[3].id.clone();
    simulator.delete_before("composite/sobjects", "Account", &id);
    let gone: Vec<_> = keys
        .iter()
        .map(|key| change(&shape, Op::Deleted, &[Value::text(key)]))
        .collect();
    assert!(apply(&*sink, &gone).await.iter().all(is_applied));
    assert!(simulator.records("Account").is_empty());
    assert_eq!(simulator.calls("DELETE"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_taken_away_stops_all_and_loses_none() {
    let simulator = simulator().await;
    let (sink, shape) = (sink(&simulator).await, accounts());
    sink.prepare(&[Arc::clone(&shape)]).await.unwrap();
    // The look-up sees it first where records are there, the write where none are.
    simulator.hide("Account", "AnnualRevenue");
    let error = tried(&*sink, &[account(&shape, "A", "a")])
        .await
        .unwrap_err();
    assert!(!matches!(error.kind(), Kind::Invalid), "{error:?}");
    assert!(error.to_string().contains("AnnualRevenue"), "{error:?}");
    let error = tried(&*sink, &[account(&shape, "A", "a")])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Config, "{error:?}");
    let findings = sink.check(&[shape]).await.unwrap();
    let told = |finding: &lockstep_core::connector::Finding| {
        finding.severity == Severity::Error && finding.help.contains("field-level security")
    };
    assert!(findings.iter().any(told), "{findings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_asks_for_a_place_for_identity_and_fields_that_can_be_written() {
    let simulator = simulator().await;
    let once = Field {
        updateable: false,
        ..Field::new("Once__c", "string")
    };
    simulator.field("Account", once);
    let sink = sink(&simulator).await;
    let no_place = shape("Account", &[("Name", Type::Text)]);
    let error = sink.prepare(&[Arc::clone(&no_place)]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    let odd = shape(
        "Account",
        &[
            ("Erp__c", Type::Text),
            ("Once__c", Type::Text),
            ("CreatedDate", Type::Timestamp),
        ],
    );
    let mut findings = sink.check(&[no_place]).await.unwrap();
    findings.extend(sink.check(&[odd]).await.unwrap());
    for (severity, part) in [
        (Severity::Error, "maps to no external id"),
        (
            Severity::Error,
            "`CreatedDate` of `Account` cannot be written",
        ),
        (
            Severity::Warning,
            "`Once__c` of `Account` can be written only",
        ),
        (Severity::Warning, "needs `Name`"),
        (Severity::Info, "recycle bin"),
    ] {
        let told = |finding: &&lockstep_core::connector::Finding| finding.message.contains(part);
        let found = findings.iter().find(told);
        assert_eq!(
            found.map(|found| found.severity),
            Some(severity),
            "{part}: {findings:?}"
        );
    }
}
