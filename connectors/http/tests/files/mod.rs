//! Descriptions: what is wrong with one is said where it stands, and one that is right can be tried.

use std::path::Path;
use std::sync::Arc;

use lockstep_core::Value;
use lockstep_core::connector::{Trial, Tried};
use lockstep_core::diagnostic::Severity;

use crate::desk::{self, Desk, Style};

async fn tried(text: &str, offline: bool, secret: Option<&'static str>) -> Tried {
    let connector = lockstep_http::connector();
    let (_, try_file) = connector.description().unwrap();
    try_file(Trial {
        file: "desk.yaml".to_owned(),
        text: text.to_owned(),
        url: None,
        table: None,
        rows: 3,
        offline,
        secret: Arc::new(move |_| secret.map(str::to_owned)),
    })
    .await
}

#[tokio::test]
async fn a_description_is_tried_with_its_first_rows_and_the_next_cursor() {
    let desk = Desk::start(Style::Cursor).await;
    for i in 0..20 {
        desk.add(&format!("r{i}"), "thing", "12.50");
    }
    let tried = tried(&desk.description(), false, Some(desk::TOKEN)).await;
    assert!(tried.findings.is_empty(), "{:?}", tried.findings);
    let table = &tried.tables[0];
    assert_eq!(table.rows.len(), 3);
    assert_eq!(
        table.rows[0].value(0),
        Some(&Value::Decimal("12.50".parse().unwrap()))
    );
    assert_eq!(table.growing.as_deref(), Some("updated"));
    let mut ids: Vec<String> = desk
        .records()
        .iter()
        .map(|r| r.get("id").unwrap().plain().unwrap())
        .collect();
    ids.sort();
    assert_eq!(table.cursor.as_deref(), Some(&*ids[6]));
}

#[tokio::test]
async fn missing_secrets_and_refused_ones_are_told() {
    let desk = Desk::start(Style::Cursor).await;
    let without = tried(&desk.description(), false, None).await;
    assert_eq!(without.missing, ["token"]);
    assert!(desk.books.lock().unwrap().seen.is_empty());
    let wrong = tried(&desk.description(), false, Some("wrong")).await;
    let error = wrong.tables[0].error.as_ref().unwrap();
    assert!(error.to_string().contains("answered 401"), "{error}");
}

const RIGHT: &str = "\
base: https://api.example.com
auth: { type: bearer, secret: token }
tables:
  tickets:
    key: [id]
    fields:
      id: text
      amount: { type: decimal, at: money.amount }
    list:
      path: tickets
      page: { type: cursor, query: after, next: next }
    get: { path: 'tickets/{id}' }
    create: { path: tickets }
    update: { path: 'tickets/{id}' }
";

#[tokio::test]
async fn mistakes_are_found_where_they_stand() {
    let judged = tried(RIGHT, true, None).await;
    assert!(judged.findings.is_empty(), "{:?}", judged.findings);
    for (from, to, code, line, says) in [
        ("base: https", "bass: https", "LS-Y001", 1, "bass"),
        ("https:", "ftp:", "LS-Y003", 1, "no address"),
        ("type: bearer", "type: beerer", "LS-Y001", 2, "beerer"),
        ("key: [id]", "key: [ids]", "LS-Y002", 5, "no field `ids`"),
        ("key: [id]", "key: []", "LS-Y003", 5, "has no key"),
        ("id: text", "id: string", "LS-Y002", 7, "no type `string`"),
        ("at: money", "et: money", "LS-Y001", 8, "et"),
        ("next: next }", "size: 3 }", "LS-Y003", 11, "next cursor"),
        (
            "type: cursor, query: after, next: next",
            "type: offset, query: o, size_query: s, size: 1",
            "LS-Y003",
            11,
            "overlap",
        ),
        (
            "get: { path: 'tickets/{id}' }",
            "get: { path: 'tickets/{i}' }",
            "LS-Y002",
            12,
            "no word `i`",
        ),
        (
            "    get: { path: 'tickets/{id}' }\n",
            "",
            "LS-Y003",
            12,
            "done twice",
        ),
        (
            "create: { path: tickets }",
            "create: { path: tickets, method: GET }",
            "LS-Y003",
            13,
            "does not write",
        ),
        ("    update:", "\tupdate:", "LS-Y001", 14, ""),
    ] {
        assert!(RIGHT.contains(from), "{from}");
        let judged = tried(&RIGHT.replacen(from, to, 1), true, None).await;
        let finding = judged
            .findings
            .first()
            .unwrap_or_else(|| panic!("nothing: {to}"));
        let shown = finding.to_string();
        assert_eq!(finding.code, code, "{shown}");
        assert_eq!(
            finding.place.as_ref().map(|place| place.line),
            Some(line),
            "{shown}"
        );
        assert!(finding.message.contains(says), "{shown}");
        assert!(finding.help.is_some(), "{shown}");
    }
    let risky = RIGHT.replace(
        "type: cursor, query: after, next: next",
        "type: number, query: page",
    );
    let judged = tried(&risky, true, None).await;
    assert_eq!(judged.findings[0].severity, Severity::Warning);
}

#[tokio::test]
async fn nothing_that_somebody_writes_panics() {
    let deep = "[".repeat(10_000);
    for text in [
        "",
        "a",
        "- 1",
        "{",
        "tables: {}",
        "base: 1",
        "\0",
        &deep,
        "&a [*a]",
    ] {
        let judged = tried(text, true, None).await;
        assert!(!judged.findings.is_empty(), "{text:.20}");
    }
}

#[test]
fn the_schema_of_descriptions_is_the_one_that_is_committed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("description.schema.json");
    let connector = lockstep_http::connector();
    let (schema, _) = connector.description().unwrap();
    let text = serde_json::to_string_pretty(schema).unwrap() + "\n";
    if std::env::var_os("LOCKSTEP_UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(
        committed == text,
        "run the test again with LOCKSTEP_UPDATE=1"
    );
}
