//! Our contracts are valid in the Open Data Contract Standard, and its own examples are understood.
//!
//! The standard's schemas and examples are public test data, found by `LOCKSTEP_TEST_DATA`; without it these tests say that they were skipped.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its data has failed"
)]

use std::fs;
use std::path::{Path, PathBuf};

use lockstep_core::contract::load::editor_schema;
use lockstep_core::contract::{Loaded, NoLibrary, lint, load};
use lockstep_core::diagnostic::{Diagnostic, Severity};
use serde_json::Value as Json;

fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("LOCKSTEP_TEST_DATA");
    if folder.is_none() {
        let mut out = std::io::stderr();
        let _ = std::io::Write::write_all(&mut out, b"skipped: LOCKSTEP_TEST_DATA is not set\n");
    }
    folder.map(|folder| Path::new(&folder).join("contracts"))
}

#[test]
fn our_contracts_are_valid_in_every_version_of_the_standard_that_knows_them() {
    let Some(data) = data() else { return };
    for version in ["3.1.0", "3.2.0"] {
        let path = data.join(format!("odcs-schemas/odcs-{version}.schema.json"));
        let schema: Json = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for source in lockstep_schemas::contracts() {
            let document = yaml(source.text);
            let errors: Vec<String> = validator
                .iter_errors(&document)
                .map(|error| format!("{}: {error}", error.instance_path()))
                .collect();
            assert!(
                errors.is_empty(),
                "{} under {version}: {errors:?}",
                source.path
            );
        }
    }
}

#[test]
fn every_example_of_the_standard_is_accepted() {
    let Some(data) = data() else { return };
    let mut objects = 0;
    for (name, text) in examples(&data) {
        let linted = lint(&name, &text, &NoLibrary);
        let errors: Vec<String> = errors(&linted.findings).map(ToString::to_string).collect();
        assert_eq!(errors, [""; 0], "{name}");
        let document = yaml(&text);
        let expected = document["schema"].as_array().map_or(0, Vec::len);
        assert_eq!(linted.contracts.len(), expected, "{name}");
        for loaded in &linted.contracts {
            assert!(loaded.places.at("/entity").is_some());
        }
        objects += expected;
    }
    assert!(objects > 60, "{objects}");
}

#[test]
fn editors_accept_our_contracts_and_the_standards_examples_and_mark_misspelt_properties() {
    let validator = jsonschema::validator_for(&editor_schema()).unwrap();
    let valid = |name: &str, document: &Json| {
        let errors: Vec<String> = validator
            .iter_errors(document)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert_eq!(errors, [""; 0], "{name}");
    };
    for source in lockstep_schemas::contracts() {
        let document = yaml(source.text);
        valid(source.path, &document);
        for (from, to) in [
            ("lockstep.owner", "lockstep.owners"),
            ("lockstep.owner", "lockstep.lanes"),
            ("lockstep.owner", "lockstep.enum"),
            ("logicalType", "logicaltype"),
        ] {
            let broken = document.to_string().replacen(from, to, 1);
            assert_ne!(broken, document.to_string(), "{}", source.path);
            assert!(
                !validator.is_valid(&serde_json::from_str(&broken).unwrap()),
                "{to}"
            );
        }
    }
    let Some(data) = data() else { return };
    for (name, text) in examples(&data) {
        valid(&name, &yaml(&text));
    }
}

/// Every example is broken at every one of its parts in three ways: the part is of another kind, it is not there, and it has a neighbour nobody knows.
/// What the standard's own schema refuses is refused here at a line; what it accepts is accepted, where both can know it.
#[test]
fn broken_examples_are_refused_with_a_line_and_others_are_not() {
    let Some(data) = data() else { return };
    let (mut refused, mut accepted, mut wrong) = (0, 0, Vec::new());
    let mut seen = std::collections::HashSet::new();
    for version in ["3.1.0", "3.2.0"] {
        let path = data.join(format!("odcs-schemas/odcs-{version}.schema.json"));
        let schema: Json = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for (name, text) in examples(&data) {
            let mut document = yaml(&text);
            document["apiVersion"] = format!("v{version}").into();
            // Two objects of a large database say as much as seventy.
            if let Some(objects) = document["schema"].as_array_mut() {
                objects.truncate(2);
            }
            // Some examples are of a version that spelt things otherwise.
            if !validator.is_valid(&document) {
                continue;
            }
            for pointer in pointers(&document, "") {
                // A part of the same path is broken in the same ways in every example.
                let general: String = pointer.replace(|c: char| c.is_ascii_digit(), "");
                if !seen.insert((version, general)) {
                    continue;
                }
                for way in ["list", "mapping", "number", "gone", "neighbour"] {
                    let Some(broken) = broken(&document, &pointer, way) else {
                        continue;
                    };
                    let linted = lint(&name, &format!("{broken:#}"), &NoLibrary);
                    let found = errors(&linted.findings).next();
                    match (validator.is_valid(&broken), found) {
                        (false, Some(found)) => {
                            assert!(found.place.as_ref().unwrap().line > 0);
                            refused += 1;
                        }
                        (true, None) => accepted += 1,
                        (official, found) => {
                            let found = found.map(ToString::to_string);
                            wrong.push(format!("{name} {pointer} {way}: {official} {found:?}"));
                        }
                    }
                }
            }
        }
    }
    let shown: Vec<&String> = wrong.iter().take(200).collect();
    assert!(
        wrong.is_empty(),
        "{refused} {accepted} {}: {shown:#?}",
        wrong.len()
    );
}

/// Every part of a document, a few of each long list.
fn pointers(value: &Json, at: &str) -> Vec<String> {
    const OF_A_LIST: usize = 3;
    let below: Vec<String> = match value {
        Json::Object(entries) => entries
            .iter()
            .flat_map(|(key, value)| pointers(value, &format!("{at}/{}", key.replace('/', "~1"))))
            .collect(),
        Json::Array(items) => items
            .iter()
            .take(OF_A_LIST)
            .enumerate()
            .flat_map(|(i, value)| pointers(value, &format!("{at}/{i}")))
            .collect(),
        _ => Vec::new(),
    };
    [vec![at.to_owned()], below].concat()
}

/// The document with one part broken; none where the part cannot be broken this way.
fn broken(document: &Json, pointer: &str, way: &str) -> Option<Json> {
    let mut broken = document.clone();
    let part = broken.pointer_mut(pointer)?;
    match way {
        "list" if !part.is_array() => *part = serde_json::json!([1]),
        "mapping" if !part.is_object() => *part = serde_json::json!({ "x": 1 }),
        "number" if !part.is_number() => *part = 7.into(),
        "neighbour" => {
            part.as_object_mut()?
                .insert("unheardOf".to_owned(), 1.into());
        }
        "gone" => {
            let (above, key) = pointer.rsplit_once('/')?;
            let key = key.replace("~1", "/");
            broken
                .pointer_mut(above)?
                .as_object_mut()?
                .shift_remove(&key)?;
        }
        _ => return None,
    }
    Some(broken)
}

#[test]
fn a_key_that_stands_twice_is_refused_in_every_example() {
    let Some(data) = data() else { return };
    for (name, text) in examples(&data) {
        for key in ["kind:", "schema:", "id:"] {
            let Some(line) = text.lines().find(|line| line.starts_with(key)) else {
                continue;
            };
            let twice = format!(
                "{text}\n{}\n",
                if key == "schema:" { "schema: []" } else { line }
            );
            let linted = lint(&name, &twice, &NoLibrary);
            let found = errors(&linted.findings).next().unwrap();
            assert_eq!(found.code, "LS-C003", "{name}: {found}");
            let line = found.place.as_ref().unwrap().line;
            assert!(line >= text.lines().count(), "{name}: {found}");
        }
    }
}

#[test]
fn what_only_running_needs_is_a_warning_when_linting_and_an_error_when_running() {
    let Some(data) = data() else { return };
    let path =
        data.join("odcs-examples/docs/examples/schema/table-columns-with-partition.odcs.yaml");
    let text = fs::read_to_string(path).unwrap();
    let linted = lint("example", &text, &NoLibrary);
    let warning = linted
        .findings
        .iter()
        .find(|found| found.code == "LS-C026")
        .unwrap();
    assert_eq!(warning.severity, Severity::Warning);
    assert!(
        warning
            .help
            .as_deref()
            .unwrap()
            .contains("Lockstep cannot run this entity")
    );
    let found = load("example", &text, &NoLibrary).unwrap_err();
    assert!(errors(&found).any(|found| found.code == "LS-C026"));
    let whole = text.replace(
        "primaryKey: true",
        "primaryKey: true\n        required: true",
    );
    let Loaded { contract, .. } = load("example", &whole, &NoLibrary).unwrap();
    assert_eq!(contract.key.len(), 2);
}

fn errors(findings: &[Diagnostic]) -> impl Iterator<Item = &Diagnostic> {
    findings
        .iter()
        .filter(|found| found.severity == Severity::Error)
}

fn examples(data: &Path) -> Vec<(String, String)> {
    let root = data.join("odcs-examples/docs/examples");
    let read = |path: PathBuf| {
        let name = path
            .strip_prefix(&root)
            .unwrap()
            .to_string_lossy()
            .replace('\\', "/");
        (name, fs::read_to_string(&path).unwrap())
    };
    let mut all: Vec<_> = files(&root).into_iter().map(read).collect();
    all.sort();
    assert_eq!(all.len(), 18);
    all
}

fn yaml(text: &str) -> Json {
    // YAML 1.2: `y` is a unit of time, not a yes.
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            all.push(path);
        }
    }
    all
}
