//! What is REST's own: keys, fields that are left out without a word, pages instead of answers, and warnings.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]
#![allow(
    clippy::needless_pass_by_value,
    reason = "tests write values where they are used"
)]

mod common;
#[path = "common/proxy.rs"]
mod proxy;
#[path = "common/sink.rs"]
mod sink;

use common::{Erp, config};
use lockstep_core::change::Op;
use lockstep_core::connector::{DynReader, OpenContext, Outcome, Page};
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Kind, Result, Row, Value};
use proxy::{Script, Trouble};
use serde_json::{Value as Json, json};
use sink::Sink;

const CATEGORY: &str = "party.category";
const PARTY: &str = "party.party";
const KEY: &str = "0123456789abcdef";

async fn reader(url: &str, table: &str, key: Option<&str>) -> Box<dyn DynReader> {
    let cx = OpenContext {
        system: "erp".to_owned(),
        folder: ".".into(),
        tables: vec![table.to_owned()],
        reads: Default::default(),
    };
    let mut settings = json!({ "api": "rest", "page_max": 5 });
    if let Some(key) = key {
        settings["key"] = json!(key);
    }
    let connector = lockstep_tryton::connector();
    let config = config(url, settings);
    connector.open_reader(config, cx).await.unwrap()
}

async fn all(reader: &dyn DynReader, table: &str, columns: &[&str]) -> Result<Vec<Row>> {
    let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
    let page = Page {
        table,
        columns: &columns,
        key: &["id".to_owned()],
        limit: 1000,
        ..Page::default()
    };
    reader.scan(page).await
}

/// Makes a user who is no administrator; gives the application of its own.
async fn user(erp: &Erp) -> i64 {
    let user = json!({ "name": "Lockstep", "login": "lockstep" });
    let user = erp.create("res.user", user).await;
    let application = json!({ "user": user, "key": KEY, "application": "rest" });
    erp.create("res.user.application", application).await
}

#[tokio::test]
async fn a_key_that_is_wrong_or_was_cancelled_is_named_and_never_shown() {
    if !common::is_installed() {
        return;
    }
    let erp = Erp::start().await;
    let application = user(&erp).await;
    let refused = async |key: &'static str| {
        let script = Script::default();
        let url = proxy::start(&erp.server.url(), script.clone()).await;
        let reader = reader(&url, CATEGORY, Some(key)).await;
        for error in [
            reader.check().await.unwrap_err(),
            all(&*reader, CATEGORY, &["id"]).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), Kind::Unauthorized, "{error:?}");
            assert!(!error.chain().contains(key), "{error:?}");
            assert!(error.help_text().unwrap().contains("`key`"), "{error:?}");
        }
        assert_eq!(
            script.called.lock().unwrap().len(),
            2,
            "asked again in vain"
        );
    };
    refused("wrong-key").await;
    let reader = reader(&erp.server.url(), CATEGORY, Some(KEY)).await;
    all(&*reader, CATEGORY, &["id"]).await.unwrap();
    let cancelled = json!([[application]]);
    erp.call("res.user.application", "cancel", cancelled).await;
    let error = all(&*reader, CATEGORY, &["id"]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized, "{error:?}");
    refused(KEY).await;
}

#[tokio::test]
async fn what_the_keys_user_may_not_do_or_see_is_said_and_not_read_as_null() {
    if !common::is_installed() {
        return;
    }
    let erp = Erp::start().await;
    user(&erp).await;
    let id = erp.create(CATEGORY, json!({ "name": "a" })).await;
    erp.create("ir.model.field.access", json!({ "model": CATEGORY, "field": "active", "perm_read": false, "perm_write": false, "perm_create": false, "perm_delete": false })).await;
    let url = erp.server.url();
    let categories = reader(&url, CATEGORY, Some(KEY)).await;
    let error = all(&*categories, CATEGORY, &["id", "active"])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized, "{error:?}");
    assert!(error.to_string().contains("`active`"), "{error:?}");
    assert_eq!(
        all(&*categories, CATEGORY, &["id", "name"])
            .await
            .unwrap()
            .len(),
        1
    );

    let rights = json!({ "model": CATEGORY, "perm_read": true, "perm_write": false, "perm_create": false, "perm_delete": false });
    erp.create("ir.model.access", rights).await;
    let settings = json!({ "api": "rest", "key": KEY });
    let sink = Sink::open(&url, CATEGORY, &[("name", true)], settings).await;
    let findings = sink.sink.check(std::slice::from_ref(&sink.shape)).await;
    let findings = findings.unwrap();
    let is_missing = |message: &str| message.contains("create, write, delete");
    assert!(
        findings
            .iter()
            .any(|one| one.severity == Severity::Error && is_missing(&one.message)),
        "{findings:?}"
    );
    assert!(
        findings.iter().any(|one| one.message.contains("over REST")),
        "{findings:?}"
    );
    let error = sink.apply(&[sink.upsert([json!("b")])]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized, "{error:?}");
    // A right to delete may be held back for good: it is said of the record.
    let delete = sink.change(Op::Deleted, Row::of([Value::text("a")]));
    let outcomes = sink.apply(&[delete]).await.unwrap();
    assert!(
        matches!(outcomes[..], [Outcome::Rejected { .. }]),
        "{outcomes:?}"
    );
    assert_eq!(
        erp.search(CATEGORY, json!([["id", "=", id]]), &["id"])
            .await
            .len(),
        1
    );

    // Invoices are for accountants.
    let reader = reader(&url, "account.invoice", Some(KEY)).await;
    let error = all(&*reader, "account.invoice", &["id", "number"]).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized, "{error:?}");
    let findings = reader.check().await.unwrap();
    assert!(findings[0].message.contains("read"), "{findings:?}");
}

#[tokio::test]
async fn pages_of_a_gateway_are_no_answers_and_blame_no_record() {
    if !common::is_installed() {
        return;
    }
    let erp = Erp::start().await;
    let names: Vec<Json> = (0..12)
        .map(|at| json!({ "name": format!("c{at}") }))
        .collect();
    erp.call(CATEGORY, "create", json!([names])).await;
    let script = Script::default()
        .then(
            "GET party.category",
            Trouble::Answer(503, Some(("retry-after", "0")), "busy"),
        )
        .then("GET party.category", Trouble::Answer(429, None, "patience"));
    let url = proxy::start(&erp.server.url(), script.clone()).await;
    let reader = reader(&url, CATEGORY, None).await;
    assert_eq!(all(&*reader, CATEGORY, &["id"]).await.unwrap().len(), 12);
    for (answer, kind) in [
        (
            Trouble::Answer(200, None, "<title>Sign in</title>"),
            Kind::Unexpected,
        ),
        (Trouble::Answer(200, None, "{\"id\": 1}"), Kind::Unexpected),
        (
            Trouble::Answer(403, None, "<h1>Forbidden</h1>"),
            Kind::Unauthorized,
        ),
        (
            Trouble::Answer(401, None, "<h1>Unauthorized</h1>"),
            Kind::Unauthorized,
        ),
        (
            Trouble::Answer(404, None, "<h1>Not Found</h1>"),
            Kind::Invalid,
        ),
    ] {
        // In the middle of a listing: the first page was good.
        let _script = script
            .clone()
            .then("GET party.category", Trouble::None)
            .then("GET party.category", answer);
        let error = all(&*reader, CATEGORY, &["id"]).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
    }
    let sink = Sink::open(&url, CATEGORY, &[("name", true)], json!({ "api": "rest" })).await;
    let _script = script.then(
        "POST party.category",
        Trouble::Answer(500, None, "<h1>500 Internal Server Error</h1>"),
    );
    let change = [sink.upsert([json!("new")])];
    let error = sink.apply(&change).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Transient, "{error:?}");
    assert!(matches!(
        sink.apply(&change).await.unwrap()[..],
        [Outcome::Applied { .. }]
    ));
    // A server without REST, or another database.
    let wrong = config(
        &erp.server.url(),
        json!({ "api": "rest", "database": "other" }),
    );
    let cx = OpenContext {
        system: "erp".to_owned(),
        folder: ".".into(),
        tables: vec![CATEGORY.to_owned()],
        reads: Default::default(),
    };
    let reader = lockstep_tryton::connector()
        .open_reader(wrong, cx)
        .await
        .unwrap();
    let error = reader.discover().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config, "{error:?}");
    // A model that is not there is named, and not taken for a server that fails.
    let reader = self::reader(&erp.server.url(), "party.prty", None).await;
    let error = reader.discover().await.unwrap_err();
    assert!(
        error.to_string().contains("no model `party.prty`"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_record_that_goes_between_the_look_up_and_the_write_is_made_again() {
    if !common::is_installed() {
        return;
    }
    let erp = Erp::start().await;
    for call in ["GET party.party/#", "PUT party.party/#"] {
        let id = erp
            .create(PARTY, json!({ "code": call, "name": "before" }))
            .await;
        let script = Script::default().then(call, Trouble::Deleted(PARTY, vec![id]));
        let url = proxy::start(&erp.server.url(), script).await;
        let columns = [("code", true), ("name", false)];
        let sink = Sink::open(&url, PARTY, &columns, json!({ "api": "rest" })).await;
        let change = sink.upsert([json!(call), json!("after")]);
        let outcomes = sink.apply(&[change]).await.unwrap();
        let found = erp
            .search(PARTY, json!([["code", "=", call]]), &["id", "name"])
            .await;
        assert_eq!((found.len(), &found[0]["name"]), (1, &json!("after")));
        let target_id = found[0]["id"].as_i64().map(Value::Int);
        assert_eq!(outcomes, [Outcome::Applied { target_id }]);
        // And one that goes between the look-up and the delete is as wanted.
        let made = found[0]["id"].as_i64().unwrap();
        let script =
            Script::default().then("DELETE party.party/#", Trouble::Deleted(PARTY, vec![made]));
        let url = proxy::start(&erp.server.url(), script).await;
        let sink = Sink::open(&url, PARTY, &columns, json!({ "api": "rest" })).await;
        let mut row = Row::unchanged(2);
        row.0[0] = Value::text(call).into();
        let outcomes = sink.apply(&[sink.change(Op::Deleted, row)]).await.unwrap();
        assert!(
            matches!(outcomes[..], [Outcome::Applied { .. }]),
            "{outcomes:?}"
        );
    }
}
