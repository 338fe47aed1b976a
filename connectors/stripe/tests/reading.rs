//! What is special to reading: events, webhooks, listings that lose their place, searches that are behind, and servers in trouble.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Between, Fate, Stand, config, context};
use lockstep_core::connector::{Call, DynReader, Page};
use lockstep_core::{Error, Kind, Row, Value};
use lockstep_servers::stripe::Kind as Which;
use serde_json::{Value as Json, json};

const SECRET: &str = "whsec_test";

async fn reader(between: &Between, tables: &[&str], more: &Json) -> Box<dyn DynReader> {
    let name = format!("reading-{}", between.port);
    let connector = lockstep_stripe::connector();
    let opened = connector.open_reader(config(&between.url(), more), context(&name, tables));
    opened.await.unwrap()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

async fn scan(
    reader: &dyn DynReader,
    table: &str,
    columns: &[&str],
    key: &str,
    after: Option<&Value>,
    limit: usize,
) -> Result<Vec<Vec<Value>>, Error> {
    let (columns, key) = (names(columns), names(&[key]));
    let after = after.map(std::slice::from_ref);
    let page = Page {
        table,
        columns: &columns,
        key: &key,
        after,
        limit,
        ..Page::default()
    };
    Ok(reader.scan(page).await?.iter().map(values).collect())
}

fn values(row: &Row) -> Vec<Value> {
    (0..row.0.len())
        .map(|at| row.value(at).unwrap().clone())
        .collect()
}

fn ids(rows: &[Vec<Value>]) -> Vec<String> {
    rows.iter().map(|row| row[0].to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_name_what_may_have_changed_and_are_told_once() {
    let Some(stand) = Stand::start(Which::Local).await else {
        return;
    };
    let reader = reader(&stand.between, &["customers", "products"], &json!({})).await;
    let begin = reader.noticed(None).await.unwrap();
    assert!(begin.notices.is_empty() && !begin.more);
    let kept = stand.make("v1/customers", &[("description", "Ann")]).await;
    let gone = stand.make("v1/customers", &[("description", "Bob")]).await;
    let gone = gone["id"].as_str().unwrap().to_owned();
    stand.delete(&format!("v1/customers/{gone}")).await;
    stand
        .make(
            "v1/plans",
            &[
                ("amount", "1"),
                ("currency", "eur"),
                ("interval", "month"),
                ("product[name]", "Tea"),
            ],
        )
        .await;
    let first = reader.noticed(Some(&begin.cursor)).await.unwrap();
    let told = |noticed: &lockstep_core::connector::Noticed| -> Vec<(String, String)> {
        let mut told: Vec<_> = noticed
            .notices
            .iter()
            .map(|notice| (notice.table.clone(), notice.key[0].to_string()))
            .collect();
        told.sort();
        told
    };
    let tables: Vec<String> = told(&first).into_iter().map(|(table, _)| table).collect();
    assert_eq!(tables, ["customers", "customers", "products"]);
    // The same cursor tells the same, and the next one nothing more.
    let again = reader.noticed(Some(&begin.cursor)).await.unwrap();
    assert_eq!(told(&again), told(&first));
    let next = reader.noticed(Some(&first.cursor)).await.unwrap();
    assert!(next.notices.is_empty(), "{next:?}");
    // What is named is read again, and what is gone is left out.
    let keys = [&gone, kept["id"].as_str().unwrap()].map(|id| vec![Value::text(id)]);
    let rows = reader
        .fetch(
            "customers",
            &names(&["description"]),
            &names(&["id"]),
            &keys,
        )
        .await;
    assert_eq!(rows.unwrap(), [Row::of([Value::text("Ann")])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_forgotten_or_not_there_says_so() {
    if let Some(stand) = Stand::start(Which::Local).await {
        let reader = reader(&stand.between, &["customers"], &json!({})).await;
        let month = jiff::Timestamp::now().as_second() - 30 * 86_400;
        let error = reader
            .noticed(Some(&format!(r#"{{"since": {month}}}"#)))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{error:?}");
        assert!(error.help_text().unwrap().contains("30 days"));
    }
    if let Some(stand) = Stand::start(Which::Stateful).await {
        let reader = reader(&stand.between, &["customers"], &json!({})).await;
        let error = reader.noticed(None).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported, "{error:?}");
        let without = self::reader(&stand.between, &["customers"], &json!({"events": false})).await;
        assert!(!without.has_journal());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_was_really_sent_is_heard() {
    let Some(stand) = Stand::start(Which::Local).await else {
        return;
    };
    let hook = Between::to(None).await;
    let (send, mut sent) = tokio::sync::mpsc::unbounded_channel();
    hook.rule(move |asked| {
        // Nobody listens any more once the test has what it waits for.
        let _ = send.send(asked.clone());
        Fate::Answer(200, "", "{}".to_owned())
    });
    let at = hook.url();
    stand
        .make("_config/webhooks/test", &[("url", &at), ("secret", SECRET)])
        .await;
    let made = stand.make("v1/customers", &[("description", "Ann")]).await;
    let asked = tokio::time::timeout(Duration::from_secs(20), sent.recv()).await;
    let asked = asked.unwrap().unwrap();
    let headers: BTreeMap<String, String> = asked
        .head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let mut call = Call {
        method: asked.method,
        url: format!("{at}{}", asked.path),
        headers,
        body: asked.body.into_bytes(),
        at: jiff::Timestamp::now(),
    };
    let more = json!({"webhook_secrets": ["whsec_old", SECRET]});
    let reader = reader(&stand.between, &["customers"], &more).await;
    let heard = reader.hear(&call).unwrap();
    assert_eq!(
        heard.notices[0].key,
        [Value::text(made["id"].as_str().unwrap())]
    );
    call.body[0] ^= 1;
    assert_eq!(reader.hear(&call).unwrap_err().kind(), Kind::Unauthorized);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_again_is_not_told_older_by_the_rest_of_a_listing() {
    for which in [Which::Local, Which::Stateful] {
        let Some(stand) = Stand::start(which).await else {
            continue;
        };
        for n in 0..5 {
            let pairs = [
                ("metadata[crm_id]", format!("{n}")),
                ("description", "old".to_owned()),
            ];
            let pairs: Vec<(&str, &str)> = pairs
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            stand.make("v1/customers", &pairs).await;
        }
        let reader = reader(&stand.between, &["customers"], &json!({"page_max": 2})).await;
        let columns = ["metadata.crm_id", "description"];
        let key = "metadata.crm_id";
        let first = scan(&*reader, "customers", &columns, key, None, 2)
            .await
            .unwrap();
        assert_eq!(ids(&first), ["0", "1"]);
        let all = stand.all("v1/customers").await;
        let four = all
            .iter()
            .find(|object| object["metadata"]["crm_id"] == "4")
            .unwrap();
        let id = four["id"].as_str().unwrap();
        stand
            .make(&format!("v1/customers/{id}"), &[("description", "new")])
            .await;
        let keys = [vec![Value::text("4")], vec![Value::text("nobody")]];
        let fetched = reader
            .fetch("customers", &names(&columns), &names(&[key]), &keys)
            .await
            .unwrap();
        assert_eq!(fetched.len(), 1);
        let after = first[1][0].clone();
        let rest = scan(&*reader, "customers", &columns, key, Some(&after), 10)
            .await
            .unwrap();
        assert_eq!(ids(&rest), ["2", "3", "4"]);
        assert_eq!(rest[2][1], Value::text("new"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_of_other_objects_are_expanded() {
    let Some(stand) = Stand::start(Which::Local).await else {
        return;
    };
    let customer = stand.customer("ann@example.com", true).await;
    let columns = json!({"columns": {"invoices": {"customer.email": "text"}}});
    let reader = reader(&stand.between, &["invoices"], &columns).await;
    let shape = reader.discover().await.unwrap().remove(0);
    assert!(shape.position("customer.email").is_some());
    let columns = ["id", "customer", "customer.email", "total", "created"];
    let rows = scan(&*reader, "invoices", &columns, "id", None, 10)
        .await
        .unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        rows[0][1..4],
        [
            Value::text(&customer),
            Value::text("ann@example.com"),
            Value::Int(500)
        ]
    );
    assert!(matches!(rows[0][4], Value::Timestamp(_)));
    let fetched = reader
        .fetch(
            "invoices",
            &names(&columns),
            &names(&["id"]),
            &[vec![rows[0][0].clone()]],
        )
        .await;
    assert_eq!(
        fetched.unwrap().iter().map(values).collect::<Vec<_>>(),
        rows
    );
}

/// Lists objects newest first, two a page, and takes one away while it is read.
fn listing(mut gone_after: usize, restarts: bool) -> impl FnMut(&common::Asked) -> Fate + Send {
    let mut all: Vec<&str> = vec!["f", "e", "d", "c", "b", "a"];
    move |asked| {
        let after = asked
            .path
            .split(['?', '&'])
            .find_map(|part| part.strip_prefix("starting_after="));
        let at = after.map(|after| all.iter().position(|id| *id == after));
        let from = match at {
            Some(None) if !restarts => {
                let error = json!({"error": {"type": "invalid_request_error", "code": "resource_missing", "param": "starting_after", "message": "No such customer"}});
                return Fate::Answer(400, "", error.to_string());
            }
            Some(at) => at.map_or(0, |at| at + 1),
            None => 0,
        };
        let page: Vec<Json> = all
            .iter()
            .skip(from)
            .take(2)
            .map(|id| json!({"id": id, "object": "customer"}))
            .collect();
        let more = from + 2 < all.len();
        gone_after = gone_after.saturating_sub(1);
        if gone_after == 0 {
            // The last one that was listed goes, and new ones come before it.
            all.retain(|id| *id != "e");
            if !all.contains(&"h") {
                all.splice(0..0, ["h", "g"]);
            }
        }
        Fate::Answer(200, "", json!({"data": page, "has_more": more}).to_string())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_loses_its_place_misses_nothing_that_stays() {
    for restarts in [false, true] {
        let between = Between::to(None).await;
        between.rule(listing(1, restarts));
        let reader = reader(&between, &["customers"], &json!({"page_max": 2})).await;
        let rows = scan(&*reader, "customers", &["id"], "id", None, 100)
            .await
            .unwrap();
        let ids = ids(&rows);
        for stays in ["a", "b", "c", "d", "f"] {
            assert_eq!(ids.iter().filter(|id| *id == stays).count(), 1, "{ids:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_is_behind_is_not_believed() {
    let between = Between::to(None).await;
    let object =
        |id: &str, crm: &str| json!({"id": id, "object": "customer", "metadata": {"crm_id": crm}});
    between.rule(move |asked| {
        let list = |objects: &[Json]| {
            json!({"data": objects, "has_more": false, "object": "list"}).to_string()
        };
        let path = asked.path.as_str();
        if path.starts_with("/v1/customers/search") {
            // It knows what was moved to another record since, and one that is gone, but not the newest.
            return Fate::Answer(
                200,
                "",
                list(&[object("cus_moved", "x"), object("cus_gone", "y")]),
            );
        }
        match path {
            "/v1/customers/cus_moved" => {
                Fate::Answer(200, "", object("cus_moved", "z").to_string())
            }
            "/v1/customers/cus_gone" => Fate::Answer(
                200,
                "",
                json!({"id": "cus_gone", "object": "customer", "deleted": true}).to_string(),
            ),
            "/v1/customers/cus_new" => Fate::Answer(200, "", object("cus_new", "n").to_string()),
            _ if path.contains("created") => Fate::Answer(200, "", list(&[object("cus_new", "n")])),
            _ => Fate::Answer(200, "", list(&[])),
        }
    });
    let reader = reader(&between, &["customers"], &json!({})).await;
    let keys = ["x", "y", "n"].map(|key| vec![Value::text(key)]);
    let rows = reader
        .fetch(
            "customers",
            &names(&["id"]),
            &names(&["metadata.crm_id"]),
            &keys,
        )
        .await
        .unwrap();
    assert_eq!(rows, [Row::of([Value::text("cus_new")])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_in_trouble_are_asked_again_or_told_of_by_kind() {
    let page =
        json!({"data": [{"id": "cus_1", "object": "customer"}], "has_more": false}).to_string();
    let helped = [
        Fate::Answer(429, "Retry-After: 0\r\n", "{}".to_owned()),
        Fate::Answer(429, "", "{}".to_owned()),
        Fate::Answer(502, "", "<html>bad gateway</html>".to_owned()),
        Fate::Cut,
    ];
    for fate in helped {
        let between = Between::to(None).await;
        let (mut fate, page) = (Some(fate), page.clone());
        between.rule(move |_| fate.take().unwrap_or(Fate::Answer(200, "", page.clone())));
        let reader = reader(&between, &["customers"], &json!({})).await;
        let rows = scan(&*reader, "customers", &["id"], "id", None, 10)
            .await
            .unwrap();
        assert_eq!(ids(&rows), ["cus_1"]);
    }
    let lasting = [
        (Fate::Answer(401, "", "{}".to_owned()), Kind::Unauthorized),
        (Fate::Answer(403, "", "{}".to_owned()), Kind::Unauthorized),
        (
            Fate::Answer(200, "", "<html>login</html>".to_owned()),
            Kind::Unexpected,
        ),
        (
            Fate::Answer(200, "", page[..page.len() - 5].to_owned()),
            Kind::Transient,
        ),
        (Fate::Answer(404, "", "{}".to_owned()), Kind::Unsupported),
    ];
    for (fate, kind) in lasting {
        let between = Between::to(None).await;
        between.rule(move |_| fate.clone());
        let reader = reader(&between, &["customers"], &json!({})).await;
        let error = scan(&*reader, "customers", &["id"], "id", None, 10)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(!error.chain().contains("sk_test"), "{}", error.chain());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_a_permission_is_named_with_the_table() {
    let between = Between::to(None).await;
    between.rule(|asked| match asked.path.starts_with("/v1/invoices") {
        true => Fate::Answer(
            403,
            "",
            r#"{"error": {"type": "invalid_request_error", "message": "no permission"}}"#
                .to_owned(),
        ),
        false => Fate::Answer(200, "", r#"{"data": [], "has_more": false}"#.to_owned()),
    });
    let more = json!({"webhook_secrets": [SECRET]});
    let reader = reader(&between, &["customers", "invoices"], &more).await;
    let findings = reader.check().await.unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].message.contains("`invoices`"));
}
