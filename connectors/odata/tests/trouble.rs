//! What no independent server shows, and what goes wrong, on our own stand-in.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Asked, Stand, told};
use lockstep_core::change::Op;
use lockstep_core::connector::{
    Batch, DynReader, DynSink, LaneProgress, OpenContext, Outcome, RawConfig, Receipt,
};
use lockstep_core::position::Mark;
use lockstep_core::{Change, Column, Kind, Result, Row, Shape, Type, Value};
use serde_json::{Value as Json, json};

fn context(stand: &Stand, tables: &[&str]) -> OpenContext {
    OpenContext {
        system: stand.url(),
        folder: ".".into(),
        tables: tables.iter().map(|name| (*name).to_owned()).collect(),
        reads: Default::default(),
    }
}

fn config(stand: &Stand, more: Json) -> RawConfig {
    let mut config = json!({"url": stand.url(), "user": "u", "password": "p"});
    if let (Json::Object(config), Json::Object(more)) = (&mut config, more) {
        config.extend(more);
    }
    serde_json::from_value(config).unwrap()
}

async fn sink(stand: &Stand, more: Json) -> Box<dyn DynSink> {
    let connector = lockstep_odata::connector();
    let sink = connector.open_sink(config(stand, more), context(stand, &["Orders"]));
    sink.await.unwrap()
}

async fn reader(stand: &Stand, more: Json, tables: &[&str]) -> Box<dyn DynReader> {
    let connector = lockstep_odata::connector();
    let reader = connector.open_reader(config(stand, more), context(stand, tables));
    reader.await.unwrap()
}

fn orders(columns: &[(&str, Type)]) -> Arc<Shape> {
    let columns = columns
        .iter()
        .map(|(name, kind)| Column::new(*name, *kind, true));
    Arc::new(Shape {
        name: "Orders".to_owned(),
        columns: columns.collect(),
        key: vec![0],
    })
}

fn plain() -> Arc<Shape> {
    orders(&[("Number", Type::Text), ("Total", Type::DECIMAL)])
}

fn order(number: &str, total: &str) -> Change {
    change(
        plain(),
        [Value::text(number), Value::Decimal(total.parse().unwrap())],
    )
}

fn change<const N: usize>(shape: Arc<Shape>, values: [Value; N]) -> Change {
    Change {
        shape,
        op: Op::Updated,
        row: Row::of(values),
        before: None,
        mark: Mark {
            commit: 1,
            ordinal: 0,
        },
        committed_at: jiff::Timestamp::UNIX_EPOCH,
        origin: None,
    }
}

async fn apply(sink: &dyn DynSink, changes: Vec<Change>) -> Result<Vec<Outcome>> {
    let batch = Batch {
        flow: "flow".to_owned(),
        changes,
        progress: vec![LaneProgress {
            lane: "lane".to_owned(),
            expected: 0,
            reached: 1,
            position: None,
        }],
        follows: false,
    };
    match sink.apply(&batch).await? {
        Receipt::Committed(outcomes) => Ok(outcomes),
        receipt => panic!("{receipt:?}"),
    }
}

fn is_applied(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Applied { .. })
}

#[tokio::test]
async fn a_record_that_somebody_else_changed_is_looked_at_once_more_and_then_a_conflict() {
    let stand = Stand::start("4.0").await;
    let sink = sink(&stand, json!({})).await;
    apply(&*sink, vec![order("1", "1")]).await.unwrap();
    let stale = || Some(told(412, ""));
    let mut left = 1;
    stand.rule(move |asked: &Asked| {
        let is_first = asked.method == "PATCH" && left > 0;
        left -= i32::from(is_first);
        is_first.then(stale).flatten()
    });
    let outcomes = apply(&*sink, vec![order("1", "2")]).await.unwrap();
    assert!(outcomes.iter().all(is_applied), "{outcomes:?}");
    stand.rule(move |asked: &Asked| (asked.method == "PATCH").then(stale).flatten());
    let outcomes = apply(&*sink, vec![order("1", "3"), order("2", "1")])
        .await
        .unwrap();
    assert!(
        matches!(outcomes[0], Outcome::Conflict { .. }),
        "{outcomes:?}"
    );
    assert!(is_applied(&outcomes[1]), "{outcomes:?}");
    // Each write told which version it had looked at.
    let versions = stand.count(|asked| {
        let seen = asked.headers.get("if-match");
        asked.method == "PATCH" && seen.is_some_and(|seen| seen.starts_with("W/"))
    });
    assert_eq!(versions, stand.count(|asked| asked.method == "PATCH"));
}

#[tokio::test]
async fn what_somebody_else_changed_meanwhile_stays() {
    let stand = Stand::start("4.01").await;
    let sink = sink(&stand, json!({})).await;
    apply(&*sink, vec![order("1", "1")]).await.unwrap();
    let mut left = 1;
    stand.rule(move |asked: &Asked| {
        let is_it = asked.method == "PATCH" && left > 0;
        left -= i32::from(is_it);
        is_it.then(|| told(412, ""))
    });
    stand.edit("Orders", |order| order["Status"] = json!("Done"));
    let outcomes = apply(&*sink, vec![order("1", "2")]).await.unwrap();
    assert!(is_applied(&outcomes[0]));
    let order = &stand.records("Orders")[0];
    assert_eq!(
        (&order["Status"], &order["Total"]),
        (&json!("Done"), &json!("2"))
    );
}

#[tokio::test]
async fn a_change_set_that_is_refused_is_halved_until_the_record_at_fault_stands_alone() {
    let stand = Stand::start("4.0").await;
    let sink = sink(&stand, json!({"change_sets": "together"})).await;
    stand.rule(|asked: &Asked| {
        let body = json!({"error": {"code": "V/1", "message": "total 666 of N-5 is not allowed"}});
        (asked.url == "Orders" && asked.body.contains("666")).then(|| told(400, body))
    });
    let changes = (0..9).map(|n| order(&format!("N-{n}"), if n == 5 { "666" } else { "1" }));
    let outcomes = apply(&*sink, changes.collect()).await.unwrap();
    let refused: Vec<usize> = (0..9).filter(|at| !is_applied(&outcomes[*at])).collect();
    assert_eq!(refused, [5]);
    let Outcome::Rejected { reason } = &outcomes[5] else {
        panic!("{outcomes:?}")
    };
    assert_eq!(reason, "V/1 (400): total … of … is not allowed");
    assert_eq!(stand.records("Orders").len(), 8);
}

#[tokio::test]
async fn what_was_done_and_not_answered_is_not_done_again() {
    for batch in ["multipart", "json", "none"] {
        let stand = Stand::start("4.01").await;
        let sink = sink(&stand, json!({ "batch": batch })).await;
        let mut left = 1;
        let name = if batch == "none" { "Orders" } else { "$batch" };
        stand.rule(move |asked: &Asked| {
            let is_it = asked.method == "POST" && asked.url == name && left > 0;
            left -= i32::from(is_it);
            // Done, and then answered so.
            is_it.then(|| told(599, ""))
        });
        let error = apply(&*sink, vec![order("O'1", "1")]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Transient, "{batch}: {error:?}");
        assert_eq!(stand.records("Orders").len(), 1, "{batch}");
        let outcomes = apply(&*sink, vec![order("O'1", "1")]).await.unwrap();
        assert!(is_applied(&outcomes[0]), "{batch}: {outcomes:?}");
        assert_eq!(stand.records("Orders").len(), 1, "{batch}");
    }
}

#[tokio::test]
async fn a_service_that_wants_to_be_left_alone_or_is_down_stops_a_batch_and_loses_nothing() {
    for (status, headers, kind, after) in [
        (429, Some("7"), Kind::Throttled, Some(7)),
        (429, None, Kind::Throttled, None),
        (503, Some("7"), Kind::Throttled, Some(7)),
        (500, None, Kind::Transient, None),
        (401, None, Kind::Unauthorized, None),
    ] {
        let stand = Stand::start("4.01").await;
        let sink = sink(&stand, json!({})).await;
        let mut seen = 0;
        stand.rule(move |asked: &Asked| {
            seen += i32::from(asked.url == "Orders" && asked.method == "POST");
            let mut told = told(
                status,
                json!({"error": {"code": "0x80072322", "message": "x"}}),
            );
            told.headers = headers
                .map(|wait| ("Retry-After".to_owned(), wait.to_owned()))
                .into_iter()
                .collect();
            // In the middle of the batch.
            (seen == 2 && asked.method == "POST").then_some(told)
        });
        let changes: Vec<Change> = (0..3).map(|n| order(&n.to_string(), "1")).collect();
        let error = apply(&*sink, changes.clone()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}: {error:?}");
        assert_eq!(
            error.retry_after(),
            after.map(Duration::from_secs),
            "{status}"
        );
        stand.rule(|_| None);
        let outcomes = apply(&*sink, changes).await.unwrap();
        assert!(outcomes.iter().all(is_applied), "{status}: {outcomes:?}");
        assert_eq!(stand.records("Orders").len(), 3, "{status}");
    }
}

#[tokio::test]
async fn a_record_that_goes_between_look_up_and_write_is_made_again_or_gone_well_enough() {
    let stand = Stand::start("4.01").await;
    let sink = sink(&stand, json!({})).await;
    apply(&*sink, vec![order("1", "1"), order("2", "1")])
        .await
        .unwrap();
    let mut left = 2;
    stand.rule(move |asked: &Asked| {
        let is_it = matches!(asked.method.as_str(), "PATCH" | "DELETE") && left > 0;
        left -= i32::from(is_it);
        is_it.then(|| told(404, ""))
    });
    let mut gone = order("2", "1");
    gone.op = Op::Deleted;
    let outcomes = apply(&*sink, vec![order("1", "2"), gone]).await.unwrap();
    assert!(outcomes.iter().all(is_applied), "{outcomes:?}");
}

#[tokio::test]
async fn records_are_made_by_an_alternate_key_where_it_is_said_so() {
    let stand = Stand::start("4.01").await;
    let sink = sink(&stand, json!({"tables": {"Orders": {"create": "key"}}})).await;
    let outcomes = apply(&*sink, vec![order("A/1", "1.50")]).await.unwrap();
    let own = stand.records("Orders")[0]["ID"].as_i64().unwrap();
    assert_eq!(
        outcomes[0],
        Outcome::Applied {
            target_id: Some(Value::Int(own))
        }
    );
    let made = stand.count(|asked| {
        let none = asked.headers.get("if-none-match").map(String::as_str);
        asked.url == "Orders(Number='A/1')" && none == Some("*")
    });
    assert_eq!(made, 1);
}

#[tokio::test]
async fn references_are_written_by_navigation_and_read_as_ids() {
    let stand = Stand::start("4.0").await;
    let id = uuid::Uuid::from_u128(5);
    common::ask(
        &stand.url(),
        "POST",
        "Customers",
        &json!({"ID": id, "Code": "c"}),
    )
    .await;
    let sink = sink(&stand, json!({})).await;
    let shape = orders(&[
        ("Number", Type::Text),
        ("_customer_value", Type::Uuid),
        ("ShipTo.City", Type::Text),
    ]);
    let one = change(
        shape,
        [Value::text("1"), Value::Uuid(id), Value::text("Köln")],
    );
    assert!(is_applied(
        &apply(&*sink, vec![one.clone()]).await.unwrap()[0]
    ));
    let order = &stand.records("Orders")[0];
    assert_eq!(order["_customer_value"], json!(id.to_string()));
    assert_eq!(order["ShipTo"]["City"], json!("Köln"));
    let writes = stand.count(Asked::is_write);
    assert!(is_applied(&apply(&*sink, vec![one]).await.unwrap()[0]));
    assert_eq!(
        stand.count(Asked::is_write),
        writes,
        "what is equal is not written"
    );
}

#[tokio::test]
async fn lists_go_with_the_record_that_is_made_and_never_after() {
    let stand = Stand::start("4.01").await;
    let sink = sink(&stand, json!({"tables": {"Orders": {"expand": ["lines"]}}})).await;
    let shape = orders(&[("Number", Type::Text), ("lines", Type::Json)]);
    let with = |lines: &str| {
        change(
            Arc::clone(&shape),
            [Value::text("1"), Value::Json(lines.into())],
        )
    };
    let lines = r#"[{"No":1,"Amount":1.50},{"No":2,"Amount":2}]"#;
    assert!(is_applied(
        &apply(&*sink, vec![with(lines)]).await.unwrap()[0]
    ));
    assert_eq!(
        stand.records("Orders")[0]["lines"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert!(is_applied(
        &apply(&*sink, vec![with(lines)]).await.unwrap()[0]
    ));
    let outcomes = apply(&*sink, vec![with(r#"[{"No":1}]"#)]).await.unwrap();
    assert!(
        matches!(outcomes[0], Outcome::Rejected { .. }),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn a_token_that_ended_is_fetched_again() {
    let stand = Stand::start("4.0").await;
    let sink = sink(&stand, json!({})).await;
    apply(&*sink, vec![order("1", "1")]).await.unwrap();
    let mut left = 1;
    stand.rule(move |asked: &Asked| {
        let is_it = asked.url == "$batch" && left > 0;
        left -= i32::from(is_it);
        let mut ended = told(403, "");
        ended
            .headers
            .push(("x-csrf-token".to_owned(), "Required".to_owned()));
        is_it.then_some(ended)
    });
    let outcomes = apply(&*sink, vec![order("1", "2")]).await.unwrap();
    assert!(is_applied(&outcomes[0]), "{outcomes:?}");
}

#[tokio::test]
async fn delta_links_tell_what_changed_and_what_is_gone() {
    let stand = Stand::start("4.01").await;
    let make = async |n: u128| {
        let id = uuid::Uuid::from_u128(n);
        common::ask(
            &stand.url(),
            "POST",
            "Customers",
            &json!({"ID": id, "Code": n.to_string()}),
        )
        .await;
    };
    for n in 1..20 {
        make(n).await;
    }
    let tracked = json!({"tables": {"Customers": {"track_changes": true}}});
    let reader = reader(&stand, tracked, &["Customers", "Lines"]).await;
    assert!(reader.has_journal());
    let begin = reader.noticed(None).await.unwrap();
    assert!(begin.notices.is_empty());
    make(30).await;
    let gone = uuid::Uuid::from_u128(3);
    common::ask(
        &stand.url(),
        "DELETE",
        &format!("Customers({gone})"),
        &Json::Null,
    )
    .await;
    let told = reader.noticed(Some(&begin.cursor)).await.unwrap();
    let keys: Vec<Value> = told
        .notices
        .iter()
        .map(|notice| notice.key[0].clone())
        .collect();
    assert_eq!(
        keys,
        [Value::Uuid(uuid::Uuid::from_u128(30)), Value::Uuid(gone)]
    );
    let again = reader.noticed(Some(&told.cursor)).await.unwrap();
    assert!(again.notices.is_empty() && !again.more);
    let old = told.cursor.replace("deltatoken=", "deltatoken=x");
    for cursor in [old.as_str(), "{}", "nonsense"] {
        let error = reader.noticed(Some(cursor)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{cursor}: {error:?}");
    }
}

#[tokio::test]
async fn credentials_that_end_in_the_middle_of_a_listing_end_it() {
    let stand = Stand::start("4.01").await;
    for n in 0..9_u128 {
        let id = uuid::Uuid::from_u128(n);
        common::ask(&stand.url(), "POST", "Customers", &json!({"ID": id})).await;
    }
    let reader = reader(&stand, json!({"page_max": 3}), &["Customers"]).await;
    let (columns, key) = (["Code".to_owned()], ["ID".to_owned()]);
    let page = lockstep_core::connector::Page {
        table: "Customers",
        columns: &columns,
        key: &key,
        limit: 100,
        ..Default::default()
    };
    for (status, body, kind) in [
        (401, "", Kind::Unauthorized),
        (200, "<html><title>Log on</title></html>", Kind::Unexpected),
        (200, "{\"value\": [", Kind::Transient),
        (200, "{}", Kind::Unexpected),
    ] {
        stand
            .rule(move |asked: &Asked| asked.url.contains("skiptoken").then(|| told(status, body)));
        let error = reader.scan(page).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status} {body}: {error:?}");
    }
    stand.rule(|_| None);
    assert_eq!(reader.scan(page).await.unwrap().len(), 9);
}

#[tokio::test]
async fn addresses_that_are_too_long_go_inside_a_batch() {
    let stand = Stand::start("4.0").await;
    let sink = sink(&stand, json!({})).await;
    let number = "x/".repeat(1100);
    assert!(is_applied(
        &apply(&*sink, vec![order(&number, "1")]).await.unwrap()[0]
    ));
    assert!(is_applied(
        &apply(&*sink, vec![order(&number, "1")]).await.unwrap()[0]
    ));
    assert_eq!(stand.records("Orders").len(), 1);
    assert!(
        stand.count(|asked| asked.url == "$batch" && asked.body.contains("\r\nGET Orders?")) >= 2
    );
}
