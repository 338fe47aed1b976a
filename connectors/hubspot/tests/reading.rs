//! What is special to reading: windows beyond what a search gives, tokens that end, limits, and an emulator that is not ours.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::time::Duration;

use lockstep_core::connector::{DynReader, Filter, OpenContext, Page, RawConfig, Sign};
use lockstep_core::{Kind, Row, Value};
use lockstep_servers::backlot;
use lockstep_simulators::hubspot::{Options, Simulator, TOKEN};
use serde_json::{Value as Json, json};

fn config(url: &str, more: &Json) -> RawConfig {
    let mut config: RawConfig = [
        ("url".to_owned(), json!(url)),
        ("calls_per_second".to_owned(), json!(1000)),
    ]
    .into();
    config.extend(more.as_object().unwrap().clone());
    config
}

async fn reader(url: &str, tables: &[&str], more: &Json) -> Box<dyn DynReader> {
    let connector = lockstep_hubspot::connector();
    let context = OpenContext {
        system: format!("reading {url}"),
        folder: ".".into(),
        tables: tables.iter().map(|table| (*table).to_owned()).collect(),
        reads: Default::default(),
    };
    let opened = connector.open_reader(config(url, more), context);
    opened.await.unwrap()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn token() -> Json {
    json!({ "access_token": TOKEN })
}

/// Rows of a table that changed from an instant on, page by page.
async fn window(reader: &dyn DynReader, from: jiff::Timestamp, limit: usize) -> Vec<Row> {
    let (columns, key) = (
        names(&["hs_lastmodifieddate", "id", "dealname"]),
        names(&["hs_lastmodifieddate", "id"]),
    );
    let filter = Filter::Compare(key[0].clone(), Sign::GreaterOrEqual, Value::Timestamp(from));
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let after: Option<Vec<Value>> = rows
            .last()
            .map(|row| vec![row.value(0).unwrap().clone(), row.value(1).unwrap().clone()]);
        let page = Page {
            table: "deals",
            columns: &columns,
            key: &key,
            after: after.as_deref(),
            filter: Some(&filter),
            limit,
            ..Page::default()
        };
        let read = reader.scan(page).await.unwrap();
        let is_last = read.len() < limit;
        rows.extend(read);
        if is_last {
            return rows;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_goes_beyond_what_a_search_gives() {
    let options = Options {
        search_max: 120,
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let before = simulator.edit("deals", None, &[("dealname", "before")]);
    tokio::time::sleep(Duration::from_millis(2)).await;
    let from = jiff::Timestamp::now();
    let from = jiff::Timestamp::from_millisecond(from.as_millisecond()).unwrap();
    for n in 0..350 {
        simulator.edit("deals", None, &[("dealname", &format!("d{n}"))]);
    }
    let reader = reader(&simulator.url(), &["deals"], &token()).await;
    let rows = window(&*reader, from, 40).await;
    assert_eq!(rows.len(), 350);
    let before = Value::text(before.to_string());
    assert!(rows.iter().all(|row| row.value(1) != Some(&before)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_search_does_not_know_yet_is_within_the_overlap() {
    let delay = Duration::from_millis(700);
    let options = Options {
        search_delay: delay,
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let reader = reader(&simulator.url(), &["deals"], &token()).await;
    let from = jiff::Timestamp::now() - Duration::from_secs(1);
    simulator.edit("deals", None, &[("dealname", "new")]);
    assert!(window(&*reader, from, 10).await.is_empty());
    // A later window begins as much earlier as the search may be behind.
    let overlap = reader.growing("deals").unwrap().overlap;
    assert!(overlap >= delay);
    let started = std::time::Instant::now();
    loop {
        let rows = window(&*reader, jiff::Timestamp::now() - overlap, 10).await;
        if rows.len() == 1 {
            break;
        }
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "it is never found"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn associations_are_columns() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let company = simulator.edit("companies", None, &[("name", "Northwind")]);
    let deal = simulator.edit("deals", None, &[("dealname", "d")]);
    let alone = simulator.edit("deals", None, &[("dealname", "e")]);
    simulator.associate("deals", deal, "companies", company);
    let reader = reader(&simulator.url(), &["deals"], &token()).await;
    let shape = reader.discover().await.unwrap().remove(0);
    assert!(shape.position("associations.companies").is_some());
    let keys = [deal, alone].map(|id| vec![Value::text(id.to_string())]);
    let columns = names(&["id", "associations.companies"]);
    let mut rows = reader
        .fetch("deals", &columns, &names(&["id"]), &keys)
        .await
        .unwrap();
    rows.sort_by_key(|row| row.value(0).unwrap().to_string());
    assert_eq!(rows[0].value(1), Some(&Value::text(company.to_string())));
    assert_eq!(rows[1].value(1), Some(&Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_in_the_middle_is_renewed_and_one_that_cannot_be_is_told() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    for n in 0..30 {
        simulator.edit("deals", None, &[("dealname", &format!("d{n}"))]);
    }
    let oauth = json!({"oauth": {"client_id": "i", "client_secret": "s", "refresh_token": "refresh-test"}, "page_max": 10});
    let renewing = reader(&simulator.url(), &["deals"], &oauth).await;
    let fixed = reader(&simulator.url(), &["deals"], &token()).await;
    let columns = names(&["id"]);
    let page = Page {
        table: "deals",
        columns: &columns,
        key: &columns,
        limit: 100,
        ..Page::default()
    };
    assert_eq!(renewing.scan(page).await.unwrap().len(), 30);
    simulator.expire_tokens();
    assert_eq!(renewing.scan(page).await.unwrap().len(), 30);
    let error = fixed.scan(page).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
    assert!(!error.chain().contains(TOKEN), "{}", error.chain());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_used_up_is_waited_for_and_nothing_is_left_out() {
    let options = Options {
        calls: Some(4),
        window: Duration::from_secs(1),
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    for n in 0..25 {
        simulator.edit("deals", None, &[("dealname", &format!("d{n}"))]);
    }
    let more = json!({"access_token": TOKEN, "page_max": 10});
    let reader = reader(&simulator.url(), &["deals"], &more).await;
    let columns = names(&["id", "dealname"]);
    let key = names(&["id"]);
    let page = Page {
        table: "deals",
        columns: &columns,
        key: &key,
        limit: 100,
        ..Page::default()
    };
    for _ in 0..2 {
        assert_eq!(reader.scan(page).await.unwrap().len(), 25);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emulator_that_is_not_ours_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = folder.path().join("corpus.jsonl");
    let record = |n: u32, object: &str, properties: Json, to: Json| {
        json!({
            "source_type": "hubspot", "doc_id": format!("r{n}"), "object_type": object, "group": "sales",
            "title": format!("r{n}"), "content": "x", "properties": properties, "associations": to,
            "created": "2026-01-14T09:00:00Z", "visibility": "public",
            "author_email": "ann@acme.com", "author_name": "Ann", "author_groups": ["sales"],
        })
        .to_string()
    };
    let mut lines: Vec<String> = (0..23)
        .map(|n| {
            record(
                n,
                "companies",
                json!({"name": format!("Company {n}"), "numberofemployees": "420"}),
                json!([]),
            )
        })
        .collect();
    lines.push(record(
        90,
        "deals",
        json!({"dealname": "Big", "amount": "620000.50"}),
        json!([{"to": "r3"}]),
    ));
    std::fs::write(&corpus, lines.join("\n")).unwrap();
    let Some(server) = backlot::Server::start(&corpus) else {
        return;
    };
    let more = json!({"access_token": backlot::TOKEN, "page_max": 5});
    let reader = reader(&server.url(), &["companies", "deals"], &more).await;
    let shapes = reader.discover().await.unwrap();
    assert!(shapes[0].position("name").is_some());
    let columns = names(&["id", "name", "numberofemployees", "createdAt"]);
    let key = names(&["id"]);
    let page = Page {
        table: "companies",
        columns: &columns,
        key: &key,
        limit: 100,
        ..Page::default()
    };
    let rows = reader.scan(page).await.unwrap();
    assert_eq!(rows.len(), 23);
    assert!(
        rows.iter()
            .all(|row| row.value(2) == Some(&Value::Decimal("420".parse().unwrap())))
    );
    assert!(
        rows.iter()
            .all(|row| matches!(row.value(3), Some(Value::Timestamp(_))))
    );
    // One that is there, one that is not, and a text that is no id.
    let keys = [
        rows[4].value(0).unwrap().clone(),
        Value::text("9223372036854775807"),
        Value::text("abc"),
    ]
    .map(|id| vec![id]);
    let fetched = reader
        .fetch("companies", &columns, &key, &keys)
        .await
        .unwrap();
    assert_eq!(fetched, rows[4..5]);
    let columns = names(&["dealname", "amount", "associations.companies"]);
    let page = Page {
        table: "deals",
        columns: &columns,
        ..page
    };
    let deals = reader.scan(page).await.unwrap();
    let three = rows
        .iter()
        .find(|row| row.value(1) == Some(&Value::text("Company 3")))
        .unwrap();
    assert_eq!(
        deals[0].value(1),
        Some(&Value::Decimal("620000.50".parse().unwrap()))
    );
    assert_eq!(deals[0].value(2), three.value(0));
    let stranger = json!({"access_token": "nobody"});
    let stranger = self::reader(&format!("{}/", server.url()), &["companies"], &stranger).await;
    let findings = stranger.check().await;
    let told = match findings {
        Ok(findings) => findings
            .iter()
            .any(|finding| finding.message.contains("may not read")),
        Err(error) => error.kind() == Kind::Unauthorized,
    };
    assert!(told);
}
