//! What is special to reading: tokens and pages that end in the middle, limits, deletes, and what is not there any more.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{named, names, open_reader, reader};
use lockstep_core::connector::{DynReader, Filter, Page, Reads, Sign};
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Kind, Result, Row, Value};
use lockstep_http_client::{Client, Settings, Url};
use lockstep_simulators::salesforce::{Fault, Field, Options, Simulator, USER};
use serde_json::json;

async fn simulator(page: usize) -> Simulator {
    let options = Options {
        page,
        ..Options::default()
    };
    Simulator::start(options).await.unwrap()
}

/// Accounts with these names; their ids.
fn accounts(simulator: &Simulator, count: usize) -> Vec<String> {
    let one = |n| simulator.edit("Account", None, &[("Name", json!(format!("a{n}")))]);
    (0..count).map(one).collect()
}

async fn page(
    reader: &dyn DynReader,
    columns: &[&str],
    key: &[&str],
    after: Option<&[Value]>,
    limit: usize,
) -> Result<Vec<Row>> {
    let (columns, key) = (names(columns), names(key));
    let page = Page {
        table: "Account",
        columns: &columns,
        key: &key,
        after,
        limit,
        ..Page::default()
    };
    reader.scan(page).await
}

async fn ids(reader: &dyn DynReader) -> Result<Vec<String>> {
    let rows = page(reader, &["Id", "Name"], &["Id"], None, 1000).await?;
    Ok(rows
        .iter()
        .map(|row| row.value(0).unwrap().to_string())
        .collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_its_own_lets_an_app_stand_for_a_user() {
    let simulator = simulator(10).await;
    let expected = accounts(&simulator, 3);
    let key = include_str!("../../http-client/tests/http/signing-key-of-tests.pem");
    let jwt = |user: &str| json!({"jwt": {"user": user, "key": key}});
    let reader = open_reader(&simulator, &["Account"], &jwt(USER))
        .await
        .unwrap();
    assert_eq!(ids(&*reader).await.unwrap(), expected);
    let stranger = open_reader(&simulator, &["Account"], &jwt("nobody@example.com")).await;
    let error = ids(&*stranger.unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized, "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_locators_may_end_between_pages() {
    let simulator = simulator(3).await;
    let expected = accounts(&simulator, 17);
    let reader = reader(&simulator, &["Account"]).await;
    for fault in [
        Fault::Expired,
        Fault::Forgotten,
        Fault::Failed,
        Fault::Maintenance,
        Fault::TooMany(None),
        Fault::TooMany(Some(1)),
    ] {
        for skip in [1, 3] {
            simulator.fault(fault, "/query", skip, 1);
            assert_eq!(ids(&*reader).await.unwrap(), expected, "{fault:?} {skip}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_told_with_the_wait_and_pages_for_people_are_no_records() {
    for (fault, kind, wait) in [
        (Fault::DayUsed, Kind::Throttled, Some(900)),
        (Fault::Busy, Kind::Throttled, Some(5)),
        (Fault::Html, Kind::Unexpected, None),
    ] {
        let simulator = simulator(10).await;
        accounts(&simulator, 2);
        let reader = reader(&simulator, &["Account"]).await;
        simulator.fault(fault, "/query", 0, 1);
        let error = ids(&*reader).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert_eq!(
            error.retry_after(),
            wait.map(Duration::from_secs),
            "{error:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulator_takes_faults_by_an_address() {
    let simulator = simulator(10).await;
    let expected = accounts(&simulator, 1);
    let reader = reader(&simulator, &["Account"]).await;
    let client = Client::new(Settings {
        system: "faults".to_owned(),
        base: Url::parse(&simulator.instance_url()).unwrap(),
        ..Settings::default()
    });
    let fault = json!({"fault": "html", "path": "/query", "skip": 1});
    let asked = client.unwrap().post("simulator/fault").json(&fault);
    asked.send().await.unwrap();
    assert_eq!(ids(&*reader).await.unwrap(), expected);
    assert_eq!(ids(&*reader).await.unwrap_err().kind(), Kind::Unexpected);
    assert_eq!(ids(&*reader).await.unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_the_day_are_left_to_others() {
    let options = Options {
        calls: 10,
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    accounts(&simulator, 1);
    let share = json!({"daily_share": 0.5});
    let reader = open_reader(&simulator, &["Account"], &share).await.unwrap();
    let mut answered = 0;
    let error = loop {
        match ids(&*reader).await {
            Ok(_) => answered += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), Kind::Throttled, "{error:?}");
    assert!(
        error
            .retry_after()
            .is_some_and(|wait| wait > Duration::from_secs(30))
    );
    assert!((1..5).contains(&answered), "{answered}");
    assert_eq!(simulator.calls(""), 5);
}

/// An object of so many fields that no address holds them, with some records.
async fn wide(count: usize) -> (Simulator, Vec<String>, Vec<String>) {
    let simulator = simulator(4).await;
    let mut columns = vec!["SystemModstamp".to_owned(), "Id".to_owned()];
    for n in 0..400 {
        let name = format!("A_rather_long_name_of_a_field_{n:04}__c");
        simulator.field("Account", Field::new(&name, "string"));
        columns.push(name);
    }
    let expected = accounts(&simulator, count);
    simulator.edit(
        "Account",
        Some(&expected[0]),
        &[(&columns[401], json!("here"))],
    );
    (simulator, columns, expected)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_goes_between_list_and_get_ends_no_page() {
    let (simulator, columns, expected) = wide(9).await;
    let reader = reader(&simulator, &["Account"]).await;
    simulator.delete_before("composite/sobjects", "Account", &expected[2]);
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let rows = page(&*reader, &columns, &["Id"], None, 5).await.unwrap();
    let told: Vec<String> = rows
        .iter()
        .map(|row| row.value(1).unwrap().to_string())
        .collect();
    let there: Vec<&String> = expected.iter().filter(|id| **id != expected[2]).collect();
    assert_eq!(told.iter().collect::<Vec<_>>(), there[..5]);
    assert_eq!(rows[0].value(401), Some(&Value::text("here")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_changes_between_list_and_get_hides_none_behind_it() {
    let (simulator, columns, expected) = wide(8).await;
    let reader = reader(&simulator, &["Account"]).await;
    simulator.touch_before("composite/sobjects", "Account", &expected[3]);
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let key = ["SystemModstamp", "Id"];
    let first = page(&*reader, &columns, &key, None, 4).await.unwrap();
    let after: Vec<Value> = (0..2)
        .map(|at| first[3].value(at).unwrap().clone())
        .collect();
    let rest = page(&*reader, &columns, &key, Some(&after), 10)
        .await
        .unwrap();
    let mut told: Vec<String> = first
        .iter()
        .chain(&rest)
        .map(|row| row.value(1).unwrap().to_string())
        .collect();
    told.sort();
    told.dedup();
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_and_merges_are_noticed_once() {
    let simulator = simulator(10).await;
    let all = accounts(&simulator, 5);
    let reader = reader(&simulator, &["Account", "Opportunity"]).await;
    let begin = reader.noticed(None).await.unwrap();
    assert!(begin.notices.is_empty() && !begin.more);
    simulator.delete("Account", &all[0]);
    simulator.merge("Account", &all[1], &all[2]);
    let first = reader.noticed(Some(&begin.cursor)).await.unwrap();
    assert_eq!(named(&first), all[..3]);
    assert!(first.notices.iter().all(|notice| notice.table == "Account"));
    // Whoever reads from a cursor again is told again; who goes on is not.
    let again = reader.noticed(Some(&begin.cursor)).await.unwrap();
    assert_eq!(named(&again), named(&first));
    let next = reader.noticed(Some(&first.cursor)).await.unwrap();
    assert!(next.notices.is_empty(), "{:?}", next.notices);
    // One that comes back and goes again is told again.
    simulator.pass(2);
    simulator.restore("Account", &all[0]);
    simulator.delete("Account", &all[0]);
    let next = reader.noticed(Some(&next.cursor)).await.unwrap();
    assert_eq!(named(&next), all[..1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_left_the_recycle_bin_is_in_the_list_of_deletes() {
    let simulator = simulator(10).await;
    let all = accounts(&simulator, 2);
    let reader = reader(&simulator, &["Account"]).await;
    let begin = reader.noticed(None).await.unwrap();
    simulator.purge("Account", &all[1]);
    let soon = reader.noticed(Some(&begin.cursor)).await.unwrap();
    assert!(soon.notices.is_empty());
    simulator.pass(400);
    // The account's clock counts, and it is told with its answers.
    ids(&*reader).await.unwrap();
    let later = reader.noticed(Some(&soon.cursor)).await.unwrap();
    assert_eq!(named(&later), all[1..]);
    let next = reader.noticed(Some(&later.cursor)).await.unwrap();
    assert!(next.notices.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accounts_clock_counts_however_wrong_ours_is() {
    for ahead_s in [-7200, 7200] {
        let options = Options {
            ahead_s,
            ..Options::default()
        };
        let simulator = Simulator::start(options).await.unwrap();
        let all = accounts(&simulator, 3);
        let reader = reader(&simulator, &["Account"]).await;
        let begin = reader.noticed(None).await.unwrap();
        simulator.delete("Account", &all[0]);
        simulator.purge("Account", &all[1]);
        let first = reader.noticed(Some(&begin.cursor)).await.unwrap();
        assert_eq!(named(&first), all[..1], "{ahead_s}");
        simulator.pass(400);
        ids(&*reader).await.unwrap();
        let next = reader.noticed(Some(&first.cursor)).await.unwrap();
        assert_eq!(named(&next), all[1..2], "{ahead_s}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_whose_deletes_are_not_listed_is_read_all_the_same() {
    let simulator = simulator(10).await;
    let all = accounts(&simulator, 2);
    let reader = reader(&simulator, &["Account"]).await;
    simulator.unlist("Account");
    let begin = reader.noticed(None).await.unwrap();
    simulator.delete("Account", &all[0]);
    simulator.pass(400);
    ids(&*reader).await.unwrap();
    let told = reader.noticed(Some(&begin.cursor)).await.unwrap();
    assert_eq!(named(&told), all[..1]);
    let findings = reader.check().await.unwrap();
    assert!(
        findings
            .iter()
            .any(|finding| finding.message.contains("are not listed"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_does_not_reach_back_says_so() {
    let simulator = simulator(10).await;
    accounts(&simulator, 1);
    let reader = reader(&simulator, &["Account"]).await;
    let begin = reader.noticed(None).await.unwrap();
    // Somebody emptied the bin of everything, long after the cursor.
    simulator.pass(2000);
    simulator.forget_deletes(100);
    ids(&*reader).await.unwrap();
    let error = reader.noticed(Some(&begin.cursor)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error:?}");
    let begin = reader.noticed(None).await.unwrap();
    assert!(reader.noticed(Some(&begin.cursor)).await.is_ok());
    simulator.pass(15 * 24 * 3600);
    ids(&*reader).await.unwrap();
    let error = reader.noticed(Some(&begin.cursor)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error:?}");
    let error = reader.noticed(Some("no cursor")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_deletes_are_told_in_parts() {
    let simulator = simulator(2000).await;
    let reader = reader(&simulator, &["Account"]).await;
    let begin = reader.noticed(None).await.unwrap();
    let mut all = accounts(&simulator, 2300);
    all.iter().for_each(|id| simulator.delete("Account", id));
    let mut told = Vec::new();
    let mut cursor = begin.cursor;
    loop {
        let noticed = reader.noticed(Some(&cursor)).await.unwrap();
        told.extend(named(&noticed));
        assert!(noticed.cursor.len() < 200_000);
        cursor = noticed.cursor;
        if !noticed.more {
            break;
        }
    }
    told.sort();
    told.dedup();
    all.sort();
    assert_eq!(told, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_found_by_external_ids_as_they_are_written() {
    let simulator = simulator(100).await;
    simulator.field(
        "Account",
        Field {
            unique: false,
            case_sensitive: false,
            ..Field::external("Erp__c")
        },
    );
    let odd = ["O'x \\", "ABC", "abc", "twice", "twice", "\"ü\"", "%_"];
    for value in odd {
        simulator.edit(
            "Account",
            None,
            &[("Name", json!("n")), ("Erp__c", json!(value))],
        );
    }
    for n in 0..500 {
        let value = json!(format!("long-{n:030}"));
        simulator.edit("Account", None, &[("Name", json!("n")), ("Erp__c", value)]);
    }
    let reader = reader(&simulator, &["Account"]).await;
    let fetch = async |values: Vec<String>| {
        let keys: Vec<Vec<Value>> = values
            .into_iter()
            .map(|value| vec![Value::text(value)])
            .collect();
        let (columns, key) = (names(&["Erp__c"]), names(&["Erp__c"]));
        let rows = reader
            .fetch("Account", &columns, &key, &keys)
            .await
            .unwrap();
        let mut found: Vec<String> = rows
            .iter()
            .map(|row| row.value(0).unwrap().to_string())
            .collect();
        found.sort();
        found
    };
    let asked = ["O'x \\", "abc", "twice", "\"ü\"", "%_", "missing", ""].map(str::to_owned);
    assert_eq!(
        fetch(asked.into()).await,
        ["\"ü\"", "%_", "O'x \\", "abc", "twice", "twice"]
    );
    let long: Vec<String> = (0..500).map(|n| format!("long-{n:030}")).collect();
    assert_eq!(fetch(long.clone()).await, long);

    // In the order of that column, whatever the vendor's is.
    let mut rows = Vec::new();
    loop {
        let after = rows
            .last()
            .map(|row: &Row| vec![row.value(0).unwrap().clone()]);
        let some = page(&*reader, &["Erp__c"], &["Erp__c"], after.as_deref(), 300)
            .await
            .unwrap();
        let is_last = some.len() < 300;
        rows.extend(some);
        if is_last {
            break;
        }
    }
    // Two of one value cannot be told apart by it, and at the end of a page one of them may be left out.
    let values: Vec<String> = rows
        .iter()
        .map(|row| row.value(0).unwrap().to_string())
        .collect();
    assert!(values.is_sorted() && values.len() >= odd.len() + 499);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_forms_of_an_id_are_one() {
    let simulator = simulator(10).await;
    let all = accounts(&simulator, 2);
    let reader = reader(&simulator, &["Account"]).await;
    let keys = [&all[0][..15], &all[1], "no id", "001000000000zzz"].map(|id| vec![Value::text(id)]);
    let (columns, key) = (names(&["Id"]), names(&["Id"]));
    let rows = reader
        .fetch("Account", &columns, &key, &keys)
        .await
        .unwrap();
    let told: Vec<String> = rows
        .iter()
        .map(|row| row.value(0).unwrap().to_string())
        .collect();
    assert_eq!(told, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_taken_away_is_named_and_seen_at_the_next_look() {
    let simulator = simulator(10).await;
    simulator.edit(
        "Account",
        None,
        &[
            ("Name", json!("secret name")),
            ("BillingCity", json!("Bern")),
        ],
    );
    let reader = reader(&simulator, &["Account"]).await;
    simulator.hide("Account", "BillingCity");
    let columns = names(&["Id", "BillingCity"]);
    let filter = Filter::Compare("Name".to_owned(), Sign::Equal, Value::text("secret name"));
    let asked = Page {
        table: "Account",
        columns: &columns,
        key: &columns[..1],
        filter: Some(&filter),
        limit: 10,
        ..Page::default()
    };
    let error = reader.scan(asked).await.unwrap_err();
    assert!(error.to_string().contains("BillingCity"), "{error:?}");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    let error = reader.scan(asked).await.unwrap_err();
    assert!(
        error.help_text().unwrap().contains("field-level security"),
        "{error:?}"
    );
    let shape = reader.discover().await.unwrap().remove(0);
    assert_eq!(shape.position("BillingCity"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_not_there_is_told_as_gone() {
    let simulator = simulator(10).await;
    let reader = reader(&simulator, &["Acount"]).await;
    let error = reader.discover().await.unwrap_err();
    assert_eq!(
        error.error_code(),
        Some(lockstep_core::contract::drift::GONE)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_what_is_missing() {
    let simulator = simulator(10).await;
    let computed = Field {
        calculated: true,
        ..Field::new("Score__c", "double")
    };
    simulator.field("Account", computed);
    let mut context = common::context(&simulator, &["Account", "Nothing__c"]);
    let reads = Reads {
        columns: Some(["Id", "Score__c"].map(str::to_owned).into()),
        filters: Vec::new(),
    };
    context.reads = BTreeMap::from([("Account".to_owned(), reads)]);
    let config = common::config(&simulator, &json!({}));
    let connector = lockstep_salesforce::connector();
    let reader = connector.open_reader(config, context).await.unwrap();
    let findings = reader.check().await.unwrap();
    let find = |part: &str| {
        let found = findings
            .iter()
            .find(|finding| finding.message.contains(part));
        found
            .unwrap_or_else(|| panic!("{part}: {findings:?}"))
            .severity
    };
    assert_eq!(
        find("`Score__c` of `Account` is computed"),
        Severity::Warning
    );
    assert_eq!(find("`Nothing__c`"), Severity::Error);

    // Limits are for those who may see the set-up; an object, for those who may see it.
    simulator.fault(Fault::Forbidden, "/limits", 0, 1);
    let findings = reader.check().await.unwrap();
    assert!(
        !findings
            .iter()
            .any(|finding| finding.message.contains("/limits")),
        "{findings:?}"
    );
    simulator.fault(Fault::Forbidden, "Account/describe", 0, 1);
    let findings = reader.check().await.unwrap();
    let told = |finding: &lockstep_core::connector::Finding| {
        finding.severity == Severity::Error && finding.help.contains("permission set")
    };
    assert!(findings.iter().any(told), "{findings:?}");

    for (more, part) in [
        (json!({"client_secret": "wrong"}), "invalid_client"),
        (json!({"api_version": "99.0"}), "version"),
    ] {
        let reader = open_reader(&simulator, &["Account"], &more).await.unwrap();
        let findings = reader.check().await.unwrap();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].message.contains(part), "{findings:?}");
        assert!(!format!("{findings:?}").contains("wrong"));
    }
}
