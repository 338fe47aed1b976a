//! `lockstep contract compat` on plain JSON Schemas, as scripts see it.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value as Json, json};

fn compat(folder: &Path, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(["contract", "compat"])
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

fn lines(output: &Output) -> Vec<Json> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn every_pair_has_its_line_in_order_whatever_it_is() {
    let deep = format!("{}true{}", "{\"not\":".repeat(10_000), "}".repeat(10_000));
    let input = [
        r#"{"id": 1, "old": {"type": "string"}, "new": {"type": ["string", "null"]}}"#.to_owned(),
        r#"{"id": ["x", null], "old": true, "new": false}"#.to_owned(),
        "no JSON".to_owned(),
        r#"{"id": {"a": 1}, "old": true}"#.to_owned(),
        format!(r#"{{"id": "deep", "old": {deep}, "new": true}}"#),
        r#"{"id": "far", "old": {"maximum": 1e400}, "new": true}"#.to_owned(),
        r#"{"id": "remote", "old": {"$ref": "http://example.invalid/x"}, "new": {"type": "string"}}"#.to_owned(),
        "[1, true, true]".to_owned(),
        r#"{"id": "last", "old": {"type": "integer"}, "new": {"type": "number"}, "label": "yes"}"#
            .to_owned(),
    ];
    let folder = tempfile::tempdir().unwrap();
    let output = compat(
        folder.path(),
        &["--pairs", "-", "--budget-ms", "3000"],
        &input.join("\n"),
    );
    assert_eq!(output.status.code(), Some(0));
    let lines = lines(&output);
    assert_eq!(lines.len(), input.len());
    assert_eq!(lines[0], json!({"id": 1, "verdict": "yes"}));
    let no = json!({"id": ["x", null], "verdict": "no", "witness": null, "witness_direction": "backward"});
    assert_eq!(lines[1], no);
    for (at, id) in [
        (2, Json::Null),
        (3, json!({"a": 1})),
        (4, json!("deep")),
        (5, json!("far")),
        (6, json!("remote")),
        (7, Json::Null),
    ] {
        assert_eq!(lines[at]["id"], id);
        assert_eq!(lines[at]["verdict"], "unproven", "{}", lines[at]);
        assert!(lines[at]["error"].is_string(), "{}", lines[at]);
    }
    assert_eq!(lines[8], json!({"id": "last", "verdict": "yes"}));
}

#[test]
fn no_line_goes_without_an_answer_and_no_name_twice() {
    let twice = r#"{"id": 4, "old": {"type": "string", "type": "integer"}, "new": true}"#;
    let input = [
        "",
        r#"{"id": 2, "old": false, "new": true}"#,
        "  \t",
        twice,
        r#"{"id": 5, "old": true, "new": true, "new": false}"#,
        r#"{"id": 6, "id": 7, "old": true, "new": true}"#,
        r#"{"id": 8, "old": true}"#,
        "",
    ];
    let folder = tempfile::tempdir().unwrap();
    let output = compat(
        folder.path(),
        &["--pairs", "-"],
        &(input.join("\r\n") + "\r\n"),
    );
    assert_eq!(output.status.code(), Some(0));
    let lines = lines(&output);
    assert_eq!(lines.len(), input.len(), "{lines:#?}");
    assert_eq!(lines[1], json!({"id": 2, "verdict": "yes"}));
    for (at, id, error) in [
        (0, json!(null), "line 1: it is empty"),
        (2, json!(null), "line 3: it is empty"),
        (
            3,
            json!(4),
            "line 4: the old schema cannot be read: `type` stands twice in one object",
        ),
        (4, json!(5), "line 5: `new` stands twice in it"),
        (5, json!(null), "line 6: `id` stands twice in it"),
        (6, json!(8), "line 7: it has no `new`"),
        (7, json!(null), "line 8: it is empty"),
    ] {
        assert_eq!(
            (&lines[at]["id"], &lines[at]["verdict"]),
            (&id, &json!("unproven"))
        );
        let said = lines[at]["error"].as_str().unwrap();
        assert!(said.starts_with(error), "{said}");
    }
}

#[test]
fn a_pair_that_needs_too_long_does_not_hold_up_the_others() {
    // Branches that overlap everywhere, so that no short proof is to be had.
    let branch = |at: usize, more: u64| json!({"properties": {format!("a{at}"): {"minimum": at}, format!("b{at}"): {"multipleOf": at + 2}}, "minProperties": at as u64 % 3 + more});
    let union = |more| json!({"oneOf": (0..40).map(|at| branch(at, more)).collect::<Vec<_>>()});
    let slow = json!({"id": "slow", "old": {"allOf": [union(0), union(1)]}, "new": union(2)});
    let quick = json!({"id": "quick", "old": {"const": 1}, "new": {"type": "integer"}});
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.jsonl"), format!("{slow}\n{quick}\n")).unwrap();
    let began = std::time::Instant::now();
    let output = compat(folder.path(), &["--pairs", "p.jsonl"], "");
    assert!(began.elapsed().as_secs() < 20);
    let lines = lines(&output);
    assert_eq!(lines[0]["id"], "slow");
    assert_ne!(lines[0]["verdict"], "yes");
    assert_eq!(lines[1], json!({"id": "quick", "verdict": "yes"}));
}

#[test]
fn two_files_are_compared_with_an_exit_code_for_each_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("old.json", "{\n  \"type\": \"string\"\n}\n");
    write("new.yaml", "type: [string, 'null']\n");
    write("bad.json", "{\"type\": 3}");
    let code = |args: &[&str]| compat(folder.path(), args, "").status.code();
    assert_eq!(code(&["old.json", "new.yaml", "--raw"]), Some(0));
    assert_eq!(
        code(&["old.json", "new.yaml", "--raw", "--mode", "forward"]),
        Some(1)
    );
    assert_eq!(code(&["old.json", "bad.json", "--raw"]), Some(2));
    assert_eq!(code(&["old.json", "none.json", "--raw"]), Some(2));
    let output = compat(
        folder.path(),
        &[
            "old.json", "new.yaml", "--raw", "--mode", "full", "--format", "json",
        ],
        "",
    );
    assert_eq!(output.status.code(), Some(1));
    let expected =
        json!({"verdict": "no", "witness": null, "witness_direction": "forward", "findings": []});
    assert_eq!(lines(&output), [expected]);
}
