//! The way of somebody who writes contracts: from data and tables to a contract, and from it to other forms.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value as Json;

fn lockstep(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
    command.args(args).current_dir(folder);
    for name in ["LOCKSTEP_CONFIG", "LOCKSTEP_LOG", "SOURCE_DATE_EPOCH"] {
        command.env_remove(name);
    }
    // What stands above the folder of a test is nobody's business.
    command.env("GIT_CEILING_DIRECTORIES", folder.parent().unwrap());
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn done(folder: &Path, args: &[&str]) -> String {
    let output = lockstep(folder, args);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}\n{err}");
    text(&output)
}

/// What is inferred from data holds for that data.
#[test]
fn data_passes_the_contract_that_was_inferred_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut csv = "id,state,paid,amount,at,local,share,note,when_done\n".to_owned();
    let mut lines = String::new();
    for n in 0..80 {
        let state = ["open", "closed", "gone"][n % 3];
        let flag = ["t", "f"][n % 2];
        csv.push_str(&format!(
            "{n},{state},{flag},{n}.5{},2026-01-31 10:00:{:02}+01,2026-01-31 10:00:{:02},{},{},\n",
            n % 10,
            n % 60,
            n % 60,
            n as f64 / 3.0,
            if n % 4 == 0 { "x" } else { "" }
        ));
        lines.push_str(&format!(
            "{{\"id\": {n}, \"state\": \"{state}\", \"where\": {{\"street\": \"S {n}\", \"floors\": [1, {n}]}}, \"prices\": {{\"2024\": {n}, \"2025\": 2}}, \"share\": {n}.25}}\n"
        ));
    }
    for (name, data) in [("thing.csv", &csv), ("other.jsonl", &lines)] {
        fs::write(folder.path().join(name), data).unwrap();
        let args = [
            "contract",
            "import",
            "sample",
            name,
            "--owner",
            "shop",
            "--out",
            "contracts",
        ];
        done(folder.path(), &args);
        let entity = name.split('.').next().unwrap();
        let tested = done(
            folder.path(),
            &["contract", "test", entity, "--data", name, "--json"],
        );
        let tested: Json = serde_json::from_str(&tested).unwrap();
        assert_eq!(
            (&tested["records"], &tested["sound"]),
            (&80.into(), &80.into()),
            "{tested}"
        );
    }
    done(folder.path(), &["contract", "lint", "--fail-on", "warning"]);
}

/// A table of a system becomes a contract while the configuration has nothing but systems.
#[test]
fn the_first_contract_needs_no_contract() {
    let folder = tempfile::tempdir().unwrap();
    let db = rusqlite::Connection::open(folder.path().join("shop.db")).unwrap();
    db.execute_batch(
        "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;
         INSERT INTO customers VALUES (1, 'a'), (2, 'b');",
    )
    .unwrap();
    let config = "[systems.shop]\nconnector = \"sqlite\"\npath = \"shop.db\"\n\n[systems.far]\nconnector = \"postgres\"\nurl = \"${NOT_SET_ANYWHERE}\"\n";
    fs::write(folder.path().join("lockstep.toml"), config).unwrap();
    let imported = done(
        folder.path(),
        &[
            "contract",
            "import",
            "table",
            "shop.customers",
            "--entity",
            "customer",
            "--owner",
            "shop",
        ],
    );
    assert!(imported.contains("name: customer"), "{imported}");
    let profile = done(
        folder.path(),
        &[
            "contract",
            "profile",
            "--system",
            "shop",
            "--table",
            "customers",
            "--json",
        ],
    );
    let profile: Json = serde_json::from_str(&profile).unwrap();
    assert_eq!(profile["records"], 2);
    let output = lockstep(
        folder.path(),
        &["contract", "import", "table", "shopp.customers"],
    );
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(err.contains("did you mean `shop`?"), "{err}");
}

/// Every form is written, and the same contract gives the same text.
#[test]
fn every_form_is_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    done(
        folder.path(),
        &["contract", "init", "ticket", "--owner", "desk"],
    );
    let forms = [
        "jsonschema",
        "rust",
        "docs",
        "asyncapi",
        "avro",
        "sql",
        "odcs",
    ];
    for form in forms {
        let args = ["contract", "gen", form, "ticket"];
        let first = done(folder.path(), &args);
        assert!(first.len() > 100, "{form}\n{first}");
        assert_eq!(first, done(folder.path(), &args), "{form}");
    }
    // Without a commit, nothing says the time of an event.
    let args = ["contract", "gen", "openlineage", "ticket"];
    let output = lockstep(folder.path(), &args);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--at"));
    let git = |args: &[&str]| {
        let done = Command::new("git")
            .args(["-c", "user.name=x", "-c", "user.email=x@example.org"])
            .args(args)
            .current_dir(folder.path())
            .env("GIT_COMMITTER_DATE", "2026-02-03T04:05:06Z")
            .output()
            .unwrap();
        assert!(done.status.success(), "{args:?}");
    };
    git(&["init", "-q"]);
    git(&["add", "-A"]);
    git(&["commit", "-qm", "x"]);
    let event: Json = serde_json::from_str(&done(folder.path(), &args)).unwrap();
    assert_eq!(event["eventTime"], "2026-02-03T04:05:06Z");
    let event = done(
        folder.path(),
        &[&args[..], &["--at", "2026-01-01T00:00:00Z"]].concat(),
    );
    assert!(event.contains("2026-01-01T00:00:00Z"), "{event}");
}

/// The schemas of an OpenAPI document are found, in JSON and in YAML.
#[test]
fn schemas_of_an_openapi_document_become_contracts() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = "openapi: 3.0.3
info: {title: Shop, version: '1'}
paths: {}
components:
  schemas:
    Money: {type: string, pattern: '^[0-9]+$'}
    Order:
      type: object
      required: [id]
      properties:
        id: {type: integer, format: int64, xml: {attribute: true}}
        total: {$ref: '#/components/schemas/Money'}
        note: {type: string, nullable: true, externalDocs: {url: 'https://example.org'}}
    Line: {type: object, properties: {no: {type: integer}}}
";
    fs::write(folder.path().join("api.yaml"), yaml).unwrap();
    let several = lockstep(
        folder.path(),
        &["contract", "import", "json-schema", "api.yaml"],
    );
    let err = String::from_utf8_lossy(&several.stderr);
    assert_eq!(several.status.code(), Some(2));
    assert!(err.contains("--entity") && err.contains("Order"), "{err}");
    let args = [
        "contract",
        "import",
        "json-schema",
        "api.yaml",
        "--entity",
        "order",
        "--json",
    ];
    let written: Json = serde_json::from_str(&done(folder.path(), &args)).unwrap();
    let text = written["documents"][0]["text"].as_str().unwrap();
    assert!(
        text.contains("name: order") && text.contains("pattern: "),
        "{text}"
    );
    let codes = written["findings"].as_array().unwrap();
    let lost = codes.iter().filter(|found| found["code"] == "LS-I108");
    assert_eq!(lost.count(), 0, "{written}");
}

/// Whatever is named, an import ends with a reason and a place.
#[test]
fn what_cannot_be_imported_ends_with_2_and_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let deep = "[".repeat(200_000);
    let bomb = "a: &a [x,x]\nb: &b [*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b]\nd: [*c,*c,*c,*c]\n";
    let files: [(&str, &[u8]); 8] = [
        ("deep.json", deep.as_bytes()),
        ("bom.csv", b"\xef\xbb\xbfid,id\n1,2\n"),
        ("bytes.json", b"{\"a\": \"\xff\"}"),
        ("open.csv", b"a,b\n1,\"2\n"),
        ("empty.jsonl", b""),
        ("list.jsonl", b"[1]\n"),
        (
            "ring.schema.json",
            br##"{"properties": {"a": {"$ref": "#"}}}"##,
        ),
        ("bomb.yaml", bomb.as_bytes()),
    ];
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
        let form = if name.contains("schema") || name.ends_with("yaml") {
            "json-schema"
        } else {
            "sample"
        };
        let output = lockstep(folder.path(), &["contract", "import", form, name]);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name} {err}");
        assert!(
            err.contains("error[LS-I1") && err.contains("help: "),
            "{name} {err}"
        );
    }
    for gone in ["gone.csv", "."] {
        let output = lockstep(folder.path(), &["contract", "import", "avro", gone]);
        assert_eq!(output.status.code(), Some(2), "{gone}");
    }
}
