//! What goes wrong between a description's API and its reader and sink.

use std::sync::Arc;

use lockstep_core::change::Op;
use lockstep_core::connector::{
    Batch, DynReader, DynSink, OpenContext, Outcome, Page, RawConfig, Receipt,
};
use lockstep_core::position::Mark;
use lockstep_core::{Change, Column, Kind, Row, Shape, Type, Value};

use crate::desk::{self, Desk, Fault, Style};

pub(crate) fn opened(
    desk: &Desk,
    description: &str,
) -> (RawConfig, OpenContext, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("desk.yaml"), description).unwrap();
    let settings = serde_json::json!({
        "file": "desk.yaml",
        "secrets": { "token": desk::TOKEN, "hook": "whsec" },
        "url": desk.base,
    });
    let cx = OpenContext {
        system: "desk".to_owned(),
        folder: folder.path().to_owned(),
        tables: vec!["items".to_owned()],
        reads: Default::default(),
    };
    (serde_json::from_value(settings).unwrap(), cx, folder)
}

pub(crate) async fn reader(desk: &Desk, description: &str) -> Box<dyn DynReader> {
    let (config, cx, _folder) = opened(desk, description);
    lockstep_http::connector()
        .open_reader(config, cx)
        .await
        .unwrap()
}

async fn sink(desk: &Desk, description: &str) -> Box<dyn DynSink> {
    let (config, cx, _folder) = opened(desk, description);
    lockstep_http::connector()
        .open_sink(config, cx)
        .await
        .unwrap()
}

async fn ids(reader: &dyn DynReader) -> lockstep_core::Result<Vec<String>> {
    let columns = ["id".to_owned()];
    let page = Page {
        table: "items",
        columns: &columns,
        key: &columns,
        limit: 1000,
        ..Page::default()
    };
    let rows = reader.scan(page).await?;
    Ok(rows
        .iter()
        .map(|row| row.value(0).unwrap().to_string())
        .collect())
}

fn sorted(desk: &Desk) -> Vec<String> {
    let id = |record: &lockstep_http_client::Json| record.get("id").unwrap().plain().unwrap();
    let mut ids: Vec<String> = desk.records().iter().map(id).collect();
    ids.sort();
    ids
}

fn filled(desk: &Desk, count: usize) {
    for i in 0..count {
        desk.add(&format!("r{i}"), "thing", "1.00");
    }
}

#[tokio::test]
async fn records_that_move_between_pages_are_neither_lost_nor_doubled() {
    for style in [Style::Offset, Style::Number] {
        let desk = Desk::start(style).await;
        filled(&desk, 23);
        let reader = reader(&desk, &desk.description()).await;
        // A new record pushes all others back while they are read, then an old one's end pulls them forward.
        desk.fail([
            Fault::Then(Box::new(|books| {
                books.add("new", "thing", "1.00");
            })),
            Fault::Fine,
            Fault::Then(Box::new(|books| {
                let id = books
                    .records
                    .last()
                    .and_then(|r| r.get("id")?.plain())
                    .unwrap();
                books.remove(&id);
            })),
        ]);
        assert_eq!(ids(&*reader).await.unwrap(), sorted(&desk));
    }
}

#[tokio::test]
async fn a_listing_that_never_holds_still_is_an_error() {
    let desk = Desk::start(Style::Offset).await;
    filled(&desk, 13);
    let reader = reader(&desk, &desk.description()).await;
    desk.fail((0..2000).map(|i| {
        Fault::Then(Box::new(move |books: &mut desk::Books| {
            books.add(&format!("new {i}"), "thing", "1.00");
        }))
    }));
    let error = ids(&*reader).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Transient, "{error:?}");
}

#[tokio::test]
async fn trouble_in_the_middle_of_a_listing_is_got_over_or_told() {
    let desk = Desk::start(Style::Cursor).await;
    filled(&desk, 23);
    let reader = reader(&desk, &desk.description()).await;
    desk.fail([
        Fault::Fine,
        Fault::Status(429),
        Fault::Status(502),
        Fault::Status(500),
    ]);
    assert_eq!(ids(&*reader).await.unwrap(), sorted(&desk));
    desk.fail([Fault::Fine, Fault::Html]);
    let error = ids(&*reader).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unexpected);
    assert!(error.to_string().contains("Sign in"), "{error}");
    desk.fail([Fault::Fine, Fault::Status(403)]);
    assert_eq!(ids(&*reader).await.unwrap_err().kind(), Kind::Unauthorized);
}

#[tokio::test]
async fn a_token_that_expires_between_pages_is_renewed() {
    let desk = Desk::start(Style::Link).await;
    filled(&desk, 13);
    let auth = "auth: { type: oauth2, token_url: token, client_id: x, secret: token }";
    let reader = reader(&desk, &desk.described(auth, "")).await;
    desk.fail([Fault::Then(Box::new(|books: &mut desk::Books| {
        // The token that was given is forgotten, and the next one has another name.
        books.tokens = vec!["gone".to_owned(), "gone".to_owned()];
    }))]);
    assert_eq!(ids(&*reader).await.unwrap(), sorted(&desk));
}

#[tokio::test]
async fn requests_may_be_signed() {
    let desk = Desk::start(Style::Url).await;
    filled(&desk, 7);
    let auth = "auth: { type: hmac, secret: hook, header: X-Mac, timestamp_header: X-Time, signed: \"{method}\\n{path}\\n{timestamp}\\n{body}\" }";
    let reader = reader(&desk, &desk.described(auth, "")).await;
    assert_eq!(ids(&*reader).await.unwrap(), sorted(&desk));
}

#[tokio::test]
async fn revoked_credentials_are_a_finding() {
    let desk = Desk::start(Style::Cursor).await;
    let reader = reader(&desk, &desk.description()).await;
    assert!(reader.check().await.unwrap().is_empty());
    desk.books.lock().unwrap().tokens.clear();
    let findings = reader.check().await.unwrap();
    assert!(findings[0].help.contains("credentials"), "{findings:?}");
}

#[tokio::test]
async fn a_record_that_goes_between_listing_and_reading_is_left_out() {
    let desk = Desk::start(Style::Cursor).await;
    filled(&desk, 3);
    let reader = reader(&desk, &desk.description()).await;
    let columns = ["id".to_owned()];
    let keys: Vec<Vec<Value>> = sorted(&desk)
        .iter()
        .map(|id| vec![Value::text(id)])
        .collect();
    let gone = sorted(&desk)[1].clone();
    desk.books.lock().unwrap().remove(&gone);
    let rows = reader
        .fetch("items", &columns, &columns, &keys)
        .await
        .unwrap();
    assert_eq!(rows.len(), 2);
    // By a field that holds somebody else's id: the search finds more than was asked for.
    let by = ["ref".to_owned()];
    filled(&desk, 20);
    let rows = reader
        .fetch("items", &columns, &by, &[vec![Value::text("r13")]])
        .await
        .unwrap();
    assert_eq!(rows.len(), 1);
}

#[tokio::test]
async fn fields_that_changed_their_type_are_named_and_their_values_are_not() {
    let desk = Desk::start(Style::Cursor).await;
    desk.add("r", "Anna", "\"a lot\"");
    let reader = reader(&desk, &desk.description()).await;
    let error = ids(&*reader).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(
        error
            .to_string()
            .contains("field `amount` of `items` is a text"),
        "{error}"
    );
    assert!(!error.chain().contains("a lot"), "{}", error.chain());
}

fn shape(key: &str) -> Arc<Shape> {
    Arc::new(Shape {
        name: "items".to_owned(),
        columns: vec![
            Column::new(key, Type::Text, false),
            Column::new("name", Type::Text, true),
        ],
        key: vec![0],
    })
}

fn upsert(reference: &str, name: &str, commit: u64) -> Change {
    Change {
        shape: shape("ref"),
        op: Op::Updated,
        row: Row::of([Value::text(reference), Value::text(name)]),
        before: None,
        mark: Mark { commit, ordinal: 0 },
        committed_at: jiff::Timestamp::UNIX_EPOCH,
        origin: None,
    }
}

fn batch(changes: Vec<Change>) -> Batch {
    Batch {
        flow: "flow".to_owned(),
        changes,
        progress: Vec::new(),
        follows: false,
    }
}

fn outcomes(receipt: Receipt) -> Vec<Outcome> {
    match receipt {
        Receipt::Committed(outcomes) => outcomes,
        Receipt::RolledBack(refused) => panic!("rolled back: {refused:?}"),
    }
}

#[tokio::test]
async fn a_create_whose_answer_was_lost_is_not_done_again() {
    let changes = || batch(vec![upsert("a", "x", 1), upsert("b", "y", 2)]);
    // With an idempotency key the request itself is repeated.
    let desk = Desk::start(Style::Cursor).await;
    let writer = sink(&desk, &desk.description()).await;
    desk.fail([Fault::Fine, Fault::Fine, Fault::Done, Fault::Done]);
    let done = outcomes(writer.apply(&changes()).await.unwrap());
    assert!(
        done.iter()
            .all(|o| matches!(o, Outcome::Applied { target_id: Some(_) })),
        "{done:?}"
    );
    assert_eq!(desk.records().len(), 2);

    // Without one the batch fails, and whoever comes again finds what was made.
    let desk = Desk::start(Style::Cursor).await;
    desk.books.lock().unwrap().remembers_keys = false;
    let plain = desk.described("auth: { type: bearer, secret: token }", "");
    let writer = sink(&desk, &plain).await;
    desk.fail([Fault::Fine, Fault::Fine, Fault::Done]);
    let error = writer.apply(&changes()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Transient, "{error:?}");
    let again = sink(&desk, &plain).await;
    let first = outcomes(again.apply(&changes()).await.unwrap());
    assert_eq!(first, outcomes(again.apply(&changes()).await.unwrap()));
    assert_eq!(desk.records().len(), 2);
}

#[tokio::test]
async fn whoever_was_quicker_is_updated_instead() {
    let desk = Desk::start(Style::Cursor).await;
    let writer = sink(&desk, &desk.description()).await;
    desk.fail([Fault::Then(Box::new(|books| {
        books.add("a", "theirs", "1.00");
    }))]);
    let done = outcomes(
        writer
            .apply(&batch(vec![upsert("a", "ours", 1)]))
            .await
            .unwrap(),
    );
    assert!(matches!(&done[..], [Outcome::Applied { .. }]), "{done:?}");
    let records = desk.records();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].at("name").unwrap().as_str(), Some("ours"));
    assert_eq!(records[0].at("money.amount").unwrap().to_string(), "1.00");
}

#[tokio::test]
async fn a_record_that_somebody_changed_meanwhile_is_a_conflict() {
    let desk = Desk::start(Style::Cursor).await;
    desk.add("a", "before", "1.00");
    let writer = sink(&desk, &desk.description()).await;
    desk.fail([Fault::Then(Box::new(|books| {
        // Its tag is another one now.
        let text = books.records[0].to_string().replace("\"e1\"", "\"e99\"");
        books.records[0] = lockstep_http_client::Json::parse(text.as_bytes()).unwrap();
    }))]);
    let done = outcomes(
        writer
            .apply(&batch(vec![upsert("a", "ours", 1)]))
            .await
            .unwrap(),
    );
    assert!(matches!(&done[..], [Outcome::Conflict { .. }]), "{done:?}");
    assert_eq!(
        desk.records()[0].at("name").unwrap().as_str(),
        Some("before")
    );
}

#[tokio::test]
async fn trouble_in_the_middle_of_a_batch_is_no_fault_of_its_records() {
    let desk = Desk::start(Style::Cursor).await;
    let writer = sink(&desk, &desk.description()).await;
    let changes = || batch((0..9).map(|i| upsert(&format!("k{i}"), "x", i)).collect());
    desk.fail((0..9).map(|_| Fault::Fine));
    desk.fail((0..40).map(|_| Fault::Status(503)));
    let error = writer.apply(&changes()).await.unwrap_err();
    assert!(error.kind().is_retryable(), "{error:?}");
    desk.books.lock().unwrap().faults.clear();
    outcomes(writer.apply(&changes()).await.unwrap());
    assert_eq!(desk.records().len(), 9);
}

#[tokio::test]
async fn two_records_of_one_key_are_written_by_nobody() {
    let desk = Desk::start(Style::Cursor).await;
    desk.add("a", "one", "1.00");
    desk.add("a", "two", "1.00");
    let writer = sink(&desk, &desk.description()).await;
    let done = outcomes(
        writer
            .apply(&batch(vec![upsert("a", "ours", 1)]))
            .await
            .unwrap(),
    );
    let said = matches!(&done[..], [Outcome::Rejected { reason }] if reason.contains("2 records"));
    assert!(said, "{done:?}");
}

#[tokio::test]
async fn targets_that_could_be_created_twice_are_refused() {
    let desk = Desk::start(Style::Cursor).await;
    let writer = sink(&desk, &desk.description()).await;
    assert!(writer.check(&[shape("ref")]).await.unwrap().is_empty());
    let findings = writer.check(&[shape("note")]).await.unwrap();
    assert!(
        findings[0].message.contains("created twice") || findings[0].message.contains("done twice"),
        "{findings:?}"
    );
    let target = Arc::new(Shape {
        columns: vec![
            Column::new("ref", Type::Text, false),
            Column::new("updated", Type::Timestamp, false),
        ],
        ..(*shape("ref")).clone()
    });
    let findings = writer.check(&[target]).await.unwrap();
    assert!(findings[0].message.contains("read-only"), "{findings:?}");
}
