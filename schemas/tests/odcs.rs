//! Our contracts are valid in the Open Data Contract Standard, and its own examples are understood.
//!
//! The standard's schemas and examples are public test data, found by `LOCKSTEP_TEST_DATA`; without it these tests say that they were skipped.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its data has failed"
)]

use std::fs;
use std::path::{Path, PathBuf};

use lockstep_core::contract::load;
use lockstep_core::diagnostic::Severity;
use serde_json::Value as Json;

/// One entity with properties in one file.
const ONE_ENTITY: &str = "LS-C009";
/// A number says how exact it is.
const EXACT_NUMBER: &str = "LS-C017";
/// A timestamp, also as a bound, is an instant.
const BOUND_IN_UTC: &str = "LS-C022";
/// Something identifies a record.
const KEY: &str = "LS-C025";
/// What identifies a record is always there.
const WHOLE_KEY: &str = "LS-C026";

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

/// What becomes of the standard's examples: the codes of the errors, each of which is something Lockstep needs and the standard leaves open.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("all/full-example.odcs.yaml", &[ONE_ENTITY]),
    (
        "all/postgresql-adventureworks-contract.odcs.yaml",
        &[ONE_ENTITY],
    ),
    ("data-types/all-data-types.odcs.yaml", &[BOUND_IN_UTC, KEY]),
    ("fundamentals/table-column-description.odcs.yaml", &[KEY]),
    ("quality/column-accuracy.odcs.yaml", &[EXACT_NUMBER, KEY]),
    (
        "quality/column-completeness.odcs.yaml",
        &[EXACT_NUMBER, KEY],
    ),
    ("quality/column-custom.odcs.yaml", &[EXACT_NUMBER, KEY]),
    ("quality/column-validity.odcs.yaml", &[WHOLE_KEY]),
    (
        "roles/service-and-operational-roles.odcs.yaml",
        &[ONE_ENTITY],
    ),
    ("schema/all-schema-types.odcs.yaml", &[ONE_ENTITY]),
    ("schema/kafka-schema.odcs.yaml", &[KEY]),
    ("schema/kafka-schemaregistry.odcs.yaml", &[ONE_ENTITY, KEY]),
    ("schema/table-column.odcs.yaml", &[KEY]),
    (
        "schema/table-columns-with-partition.odcs.yaml",
        &[WHOLE_KEY],
    ),
    ("server/azure-server.odcs.yaml", &[ONE_ENTITY]),
    ("server/kafka-server.odcs.yaml", &[ONE_ENTITY, KEY]),
    ("sla/database-table-sla.odcs.yaml", &[ONE_ENTITY]),
    ("stakeholders/basic-four-dpo.odcs.yaml", &[ONE_ENTITY]),
];

#[test]
fn the_standards_examples_are_refused_for_what_lockstep_needs_and_nothing_else() {
    let Some(data) = data() else { return };
    let root = data.join("odcs-examples/docs/examples");
    let mut outcomes: Vec<(String, Vec<&str>)> = files(&root)
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap();
            let name = name.to_string_lossy().replace('\\', "/");
            let text = fs::read_to_string(&path).unwrap();
            let found = load(&name, &text).err().unwrap_or_default();
            let mut codes: Vec<&str> = found
                .iter()
                .filter(|found| found.severity == Severity::Error)
                .map(|found| found.code)
                .collect();
            codes.sort_unstable();
            codes.dedup();
            (name, codes)
        })
        .collect();
    outcomes.sort();
    let expected: Vec<(String, Vec<&str>)> = EXAMPLES
        .iter()
        .map(|(name, codes)| ((*name).to_owned(), codes.to_vec()))
        .collect();
    assert_eq!(outcomes, expected);
}

#[test]
fn a_standard_example_is_accepted_once_it_says_what_lockstep_needs() {
    let Some(data) = data() else { return };
    let path =
        data.join("odcs-examples/docs/examples/schema/table-columns-with-partition.odcs.yaml");
    let text = fs::read_to_string(path).unwrap();
    let text = text.replace("primaryKey: true", "{KEY}");
    let indented = "primaryKey: true\n        required: true";
    let text = text.replace("{KEY}", indented);
    let (contract, _) = load("example", &text).unwrap_or_else(|found| panic!("{found:#?}"));
    assert_eq!(contract.key.len(), 2);
}

/// The large examples, cut into one entity per file: the objects of real databases meet nothing but Lockstep's own needs.
#[test]
fn every_object_of_the_large_examples_is_understood() {
    let Some(data) = data() else { return };
    let needs = [
        EXACT_NUMBER,
        BOUND_IN_UTC,
        KEY,
        WHOLE_KEY,
        ONE_ENTITY,
        "LS-C016",
        "LS-C018",
        "LS-C027",
    ];
    let mut objects = 0;
    for path in files(&data.join("odcs-examples/docs/examples/all")) {
        let document = yaml(&fs::read_to_string(&path).unwrap());
        for object in document["schema"].as_array().unwrap() {
            let mut one = document.clone();
            one["schema"] = Json::Array(vec![object.clone()]);
            // JSON is YAML, too.
            let found = load("example", &one.to_string()).err().unwrap_or_default();
            for finding in found.iter().filter(|f| f.severity == Severity::Error) {
                assert!(
                    needs.contains(&finding.code),
                    "{}: {finding}",
                    path.display()
                );
            }
            objects += 1;
        }
    }
    assert!(objects > 60, "{objects}");
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
