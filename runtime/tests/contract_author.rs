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

const ORDER: &str = "apiVersion: v3.1.0
kind: DataContract
id: order
version: 1.0.0
status: active
schema:
  - name: order
    customProperties:
      - {property: lockstep.owner, value: shop}
    quality:
      - name: vendor_there
        type: custom
        engine: lockstep
        implementation: {field: vendor, exists: vendor.id}
    properties:
      - {name: id, logicalType: string, primaryKey: true, required: true}
      - {name: buyer, logicalType: string, relationships: [{to: customers.id}]}
      - {name: vendor, logicalType: string}
";

/// What leads nowhere is an error at its place, also where one file is named, and stops a release.
#[test]
fn a_reference_that_leads_nowhere_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    done(path, &["contract", "init", "customer", "--owner", "crm"]);
    fs::create_dir_all(path.join("contracts/order")).unwrap();
    let file = "contracts/order/order.odcs.yaml";
    fs::write(path.join(file), ORDER).unwrap();
    for args in [&["contract", "lint"][..], &["contract", "lint", file]] {
        let output = lockstep(path, args);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let place = format!(
            "{file}:17:65: error[LS-C050]: `buyer` refers to `customers.id`, and no contract here describes `customers`\n"
        );
        assert!(said.contains(&place), "{said}");
        assert!(said.contains("help: did you mean `customer`?"), "{said}");
        assert!(
            said.contains(&format!(
                "{file}:14:49: error[LS-C050]: `vendor` refers to `vendor.id`"
            )),
            "{said}"
        );
        assert!(said.contains(": 2 errors"), "{said}");
    }
    let refused = lockstep(path, &["contract", "release", "order", "--dry-run"]);
    assert_eq!(refused.status.code(), Some(1));
    // Whatever does not need the references works on.
    done(path, &["contract", "gen", "jsonschema", file]);

    let mended = ORDER
        .replace("customers.id", "customer.id")
        .replace("exists: vendor.id", "notNull: true");
    fs::write(path.join(file), mended).unwrap();
    done(path, &["contract", "lint", "--fail-on", "warning"]);
    done(path, &["contract", "lint", file]);
    // A neighbour with errors may well be what is meant.
    let customer = path.join("contracts/customer/customer.odcs.yaml");
    let sound = fs::read_to_string(&customer).unwrap();
    fs::write(
        &customer,
        sound.replace("logicalType: object", "logicalTyp: object"),
    )
    .unwrap();
    done(path, &["contract", "lint", file]);
}

/// Tables that are imported one by one refer to each other by their entities.
#[test]
fn imported_tables_refer_to_entities_and_pass_lint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let db = rusqlite::Connection::open(path.join("shop.db")).unwrap();
    db.execute_batch(
        "CREATE TABLE kunden (nr INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;
         CREATE TABLE orders (id INTEGER PRIMARY KEY, buyer INTEGER REFERENCES kunden(nr), first INTEGER REFERENCES orders(id)) STRICT;",
    )
    .unwrap();
    let import = |table: &str, entity: &str, out: &str| {
        let args = [
            "contract",
            "import",
            "table",
            "--url",
            "sqlite:shop.db",
            "--table",
            table,
            "--entity",
            entity,
            "--owner",
            "shop",
            "--out",
            out,
        ];
        let output = lockstep(path, &args);
        assert_eq!(output.status.code(), Some(0));
        let said = String::from_utf8(output.stderr).unwrap();
        (
            said,
            fs::read_to_string(path.join(format!("{out}/{entity}/{entity}.odcs.yaml"))).unwrap(),
        )
    };
    // The other table has no contract yet.
    let (said, order) = import("orders", "order", "early");
    assert!(
        said.contains("the reference to `kunden.nr` is left out"),
        "{said}"
    );
    assert!(
        order.contains("to: order.id") && !order.contains("kunden.nr\n"),
        "{order}"
    );
    done(path, &["contract", "lint", "early"]);

    let (_, customer) = import("kunden", "customer", "contracts");
    assert!(customer.contains("physicalName: kunden"), "{customer}");
    let (said, order) = import("orders", "order", "contracts");
    assert!(
        order.contains("to: customer.nr") && order.contains("to: order.id"),
        "{order}"
    );
    assert!(!said.contains("left out"), "{said}");
    done(path, &["contract", "lint"]);

    // A mapping tells the same, and what a column is called.
    done(
        path,
        &[
            "contract", "init", "client", "--owner", "crm", "--out", "mapped",
        ],
    );
    let config = "contracts = \"mapped\"\n[systems.shop]\nconnector = \"sqlite\"\npath = \"shop.db\"\n[systems.shop.map.client]\ntable = \"kunden\"\n[systems.shop.map.client.fields]\nid = { column = \"nr\" }\n";
    fs::write(path.join("lockstep.toml"), config).unwrap();
    let order = done(
        path,
        &[
            "contract",
            "import",
            "table",
            "shop.orders",
            "--entity",
            "order",
        ],
    );
    assert!(order.contains("to: client.id"), "{order}");
}

/// What a newcomer meets first says what is wrong and what to do.
#[test]
fn first_steps_that_go_wrong_are_told_in_plain_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let said = |args: &[&str], exit: i32| {
        let output = lockstep(path, args);
        let said = text(&output) + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{args:?} {said}");
        said
    };
    let lint = ["contract", "lint"];
    assert!(said(&lint, 2).contains("begin one: `lockstep contract init ENTITY`"));
    let named = said(&["contract", "init", "Bad Name"], 2);
    assert!(
        named.starts_with("error[LS-C010]: `Bad Name` cannot be the name of an entity\n"),
        "{named}"
    );

    done(path, &["contract", "init", "thing", "--owner", "crm"]);
    let contract = path.join("contracts/thing/thing.odcs.yaml");
    let sound = fs::read_to_string(&contract).unwrap();
    // A name that is nearly right is said to be read by nobody.
    fs::write(path.join("contracts/other.odcs.yml"), "a: 1\n").unwrap();
    let near = said(&lint, 0);
    assert!(
        near.contains("warning[LS-K026]: `contracts/other.odcs.yml` is not read"),
        "{near}"
    );
    fs::remove_file(path.join("contracts/other.odcs.yml")).unwrap();
    fs::write(&contract, format!("{sound}---\n{sound}")).unwrap();
    let several = said(&lint, 2);
    assert!(
        several.contains("not readable as YAML: the text holds several documents"),
        "{several}"
    );
    fs::write(&contract, &sound).unwrap();

    let git = |args: &[&str]| {
        let run = Command::new("git").args(args).current_dir(path).output();
        run.is_ok_and(|output| output.status.success())
    };
    if !git(&["init", "-q"]) {
        return;
    }
    let fresh = said(&["contract", "breaking"], 3);
    assert!(
        fresh.contains("the repository has no commit yet") && fresh.contains("--against releases"),
        "{fresh}"
    );
    done(path, &["contract", "release", "thing"]);
    fs::write(&contract, sound.replace("maxLength: 64", "maxLength: 32")).unwrap();
    let broken = said(&["contract", "breaking", "--against", "releases"], 1);
    assert!(broken.contains("was: 64\n  is: 32\n"), "{broken}");
    // The version is the same on both sides: that is the message, and no difference.
    assert!(!broken.contains("was: \"1.0.0\""), "{broken}");
}
