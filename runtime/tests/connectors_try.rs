//! `connectors try` as scripts see it: exit codes, standard output, standard error.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value as Json;

fn lockstep(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(args)
        .current_dir(folder)
        .env_remove("LOCKSTEP_SECRET_TOKEN")
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Json {
    serde_json::from_str(&out(output)).unwrap()
}

#[test]
fn a_description_is_judged_where_its_mistakes_stand() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("desk.yaml");
    let text = "base: https://desk.example.com\nauth: { type: bearer, secret: token }\ntables:\n  tickets:\n    key: [id]\n    fields: { id: text }\n    list: { path: tickets }\n";
    std::fs::write(&file, text).unwrap();
    let right = lockstep(
        folder.path(),
        &["connectors", "try", "desk.yaml", "--offline", "--json"],
    );
    assert_eq!(right.status.code(), Some(0), "{}", out(&right));
    assert_eq!(
        json(&right),
        serde_json::json!({"ok": true, "findings": [], "tables": []})
    );

    let secret = lockstep(folder.path(), &["connectors", "try", "desk.yaml"]);
    assert_eq!(secret.status.code(), Some(1));
    assert!(
        err(&secret).contains("LOCKSTEP_SECRET_TOKEN"),
        "{}",
        err(&secret)
    );

    std::fs::write(&file, text.replace("key: [id]", "key: [nr]")).unwrap();
    let wrong = lockstep(folder.path(), &["connectors", "try", "desk.yaml", "--json"]);
    assert_eq!(wrong.status.code(), Some(1));
    let finding = &json(&wrong)["findings"][0];
    assert_eq!(finding["code"], "LS-Y002");
    assert_eq!(finding["place"]["line"], 5);
}
