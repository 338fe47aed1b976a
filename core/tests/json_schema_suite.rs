//! The public JSON-Schema-Test-Suite through the validator that `lockstep contract test --schema` uses.
//!
//! The suite is public test data, found by `LOCKSTEP_TEST_DATA`; without it this test says that it was skipped.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its data has failed"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lockstep_core::contract::check::plain::{PlainSchema, Resources};
use serde_json::Value as Json;

/// Required cases that do not pass, as `file: group: case`, and why.
const REQUIRED: &[(&str, &str)] = &[];

/// Optional cases that do not pass, by file: how many, and why.
const OPTIONAL: &[(&str, usize, &str)] = &[];

fn suite() -> Option<PathBuf> {
    let folder = std::env::var_os("LOCKSTEP_TEST_DATA");
    if folder.is_none() {
        let mut out = std::io::stderr();
        let _ = std::io::Write::write_all(&mut out, b"skipped: LOCKSTEP_TEST_DATA is not set\n");
    }
    folder.map(|folder| Path::new(&folder).join("contracts/json-schema-test-suite"))
}

/// The schemas that cases refer to, under the addresses that the suite gives them.
fn remotes(suite: &Path) -> Resources {
    let mut resources = Resources::default();
    let root = suite.join("remotes");
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let below = path.strip_prefix(&root).unwrap().to_str().unwrap();
                let schema = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
                resources.add(format!("http://localhost:1234/{below}"), schema);
            }
        }
    }
    resources
}

/// The cases of a file that are judged otherwise than the suite says, and how many there are.
fn failing(file: &Path, remotes: &Resources, formats: bool) -> (Vec<String>, usize) {
    let groups: Vec<Json> = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let (mut wrong, mut cases) = (Vec::new(), 0);
    for group in &groups {
        let schema = PlainSchema::compile(&group["schema"], remotes.clone(), formats);
        for case in group["tests"].as_array().unwrap() {
            cases += 1;
            let judged = schema.as_ref().map(|schema| {
                let valid = schema.accepts(&case["data"]);
                assert_eq!(schema.judge(&case["data"]).is_empty(), valid);
                valid
            });
            if judged.ok() != case["valid"].as_bool() {
                let name = |of: &Json| of["description"].as_str().unwrap_or_default().to_owned();
                wrong.push(format!("{}: {}", name(group), name(case)));
            }
        }
    }
    (wrong, cases)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_required_case_is_judged_as_the_suite_says() {
    let Some(suite) = suite() else { return };
    let remotes = remotes(&suite);
    let (mut wrong, mut cases) = (Vec::new(), 0);
    for file in files(&suite.join("tests/draft2020-12")) {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let (failing, count) = failing(&file, &remotes, false);
        wrong.extend(failing.into_iter().map(|case| format!("{name}: {case}")));
        cases += count;
    }
    let known: Vec<&str> = REQUIRED.iter().map(|(case, _)| *case).collect();
    assert_eq!(wrong, known, "of {cases} cases");
    assert!(cases > 1_000, "{cases} cases");
}

#[test]
fn the_optional_cases_that_do_not_pass_are_listed() {
    let Some(suite) = suite() else { return };
    let remotes = remotes(&suite);
    let mut wrong = BTreeMap::new();
    for folder in ["optional", "optional/format"] {
        for file in files(&suite.join("tests/draft2020-12").join(folder)) {
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            let formats = folder.ends_with("format");
            let (failing, _) = failing(&file, &remotes, formats);
            if !failing.is_empty() {
                let folder = folder
                    .trim_start_matches("optional")
                    .trim_start_matches('/');
                wrong.insert(
                    format!("{folder}/{name}")
                        .trim_start_matches('/')
                        .to_owned(),
                    failing,
                );
            }
        }
    }
    let found: Vec<(&str, usize)> = wrong
        .iter()
        .map(|(name, cases)| (name.as_str(), cases.len()))
        .collect();
    let known: Vec<(&str, usize)> = OPTIONAL
        .iter()
        .map(|(name, count, _)| (*name, *count))
        .collect();
    assert_eq!(found, known, "{wrong:#?}");
}

#[test]
fn nothing_is_fetched_and_no_value_is_shown() {
    let remote = serde_json::json!({ "$ref": "https://example.org/a.json" });
    let error = PlainSchema::compile(&remote, Resources::default(), false).unwrap_err();
    assert!(
        error.chain().contains("https://example.org/a.json"),
        "{}",
        error.chain()
    );
    let schema = serde_json::json!({ "properties": { "mail": { "type": "integer" } } });
    let schema = PlainSchema::compile(&schema, Resources::default(), false).unwrap();
    let found = schema.judge(&serde_json::json!({ "mail": "ann@example.org" }));
    assert_eq!(
        (found[0].field.as_deref(), found[0].rule.as_str()),
        (Some("/mail"), "type")
    );
    assert!(!found[0].message.contains("ann"), "{}", found[0].message);
}
