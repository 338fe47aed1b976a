//! `lockstep contract test` and `contract profile` as scripts see them: exit codes, counts, places, and no protected value.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value as Json, json};

const ORDER: &str = "apiVersion: v3.1.0
kind: DataContract
id: order
version: 1.2.0
status: active
schema:
  - name: order
    customProperties:
      - {property: lockstep.owner, value: shop}
    quality:
      - {name: shipped_later, type: custom, engine: cel, implementation: shipped == null || shipped >= placed}
    properties:
      - {name: id, logicalType: integer, primaryKey: true, required: true}
      - name: customer
        logicalType: string
        required: true
        relationships: [{type: foreignKey, to: customer.id}]
      - name: mail
        logicalType: string
        classification: personal
        logicalTypeOptions: {pattern: '^[^@]+@[^@]+$'}
      - {name: placed, logicalType: date, required: true}
      - {name: shipped, logicalType: date}
      - {name: total, logicalType: number, physicalType: 'decimal(8,2)', required: true}
";

const LINES: &str = r#"{"id":1,"customer":"a","mail":"ann@example.org","placed":"2026-01-01","shipped":null,"total":"1.50"}
{"id":2,"customer":"a","mail":"secret-value","placed":"2026-01-01","total":"1.5"}
{"id":2,"customer":"gone","placed":"2026-01-02","shipped":"2026-01-01","total":"1.50"}
{"id":3,"customer":"b","placed":"2026-01-02","total":"1.50","more":1}
{"id":4
"#;

fn lockstep(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(args)
        .current_dir(folder)
        .env_remove("LOCKSTEP_CONFIG")
        .env_remove("LOCKSTEP_LOG")
        .output()
        .unwrap()
}

fn json(output: &Output) -> Json {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(text.lines().count(), 1, "{text} {err}");
    serde_json::from_str(&text).unwrap()
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("order.odcs.yaml"), ORDER).unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// The faults as `field rule count first-place`.
fn faults(tested: &Json) -> Vec<String> {
    let faults = tested["faults"].as_array().unwrap().iter();
    faults
        .map(|fault| {
            let text = |name: &str| fault[name].as_str().unwrap_or("-").to_owned();
            let first = fault["examples"][0]["at"].as_str().unwrap();
            format!(
                "{} {} {} {first}",
                text("field"),
                text("rule"),
                fault["count"]
            )
        })
        .collect()
}

fn verdict<'a>(tested: &'a Json, rule: &str) -> &'a Json {
    let mut rules = tested["rules"].as_array().unwrap().iter();
    rules.find(|found| found["rule"] == rule).unwrap()
}

#[test]
fn every_fault_is_counted_with_its_place_and_no_protected_value_is_shown() {
    let folder = folder(&[
        ("orders.jsonl", LINES),
        ("c.csv", "name,id\nAnn,a\nBob,b\n"),
    ]);
    let args = [
        "contract",
        "test",
        "order.odcs.yaml",
        "--data",
        "orders.jsonl",
        "customer=c.csv",
    ];
    let output = lockstep(folder.path(), &[&args[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let tested = json(&output);
    assert_eq!(
        (&tested["records"], &tested["sound"]),
        (&json!(5), &json!(1))
    );
    assert_eq!(
        faults(&tested),
        [
            "- json 1 orders.jsonl:5",
            "- shipped_later 1 orders.jsonl:3",
            "mail pattern 1 orders.jsonl:2",
            "more unknown 1 orders.jsonl:4",
            "total scale 1 orders.jsonl:2",
        ]
    );
    let key = verdict(&tested, "key");
    assert_eq!(
        (&key["verdict"], &key["examples"][0]["at"]),
        (&json!("no"), &json!("orders.jsonl:3"))
    );
    let exists = verdict(&tested, "customer_exists");
    assert_eq!(
        (&exists["verdict"], &exists["broken"]),
        (&json!("no"), &json!(1))
    );
    assert_eq!(tested["outcomes"]["quarantine"], 4);
    let people = lockstep(folder.path(), &args);
    for output in [&output, &people] {
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!text.contains("secret-value"), "{text}");
    }
    let text = String::from_utf8_lossy(&people.stdout).into_owned();
    assert!(text.contains("5 records, 1 without a fault"), "{text}");
}

#[test]
fn good_data_of_every_form_is_clean() {
    let table = "id,customer,mail,placed,shipped,total,remark\n1,a,,2026-01-01,,1.50,x\n2,a,b@c.de,2026-01-01,2026-01-02,2,y\n";
    let document = r#"[{"id":1,"customer":"a","placed":"2026-01-01","total":"1.50"}]"#;
    let folder = folder(&[
        ("orders.csv", table),
        ("orders.json", document),
        ("patches.jsonl", "{\"id\":1}\n{\"id\":1}\n"),
    ]);
    for (data, notes) in [("orders.csv", 1), ("orders.json", 0)] {
        let args = [
            "contract",
            "test",
            "order.odcs.yaml",
            "--data",
            data,
            "--json",
        ];
        let output = lockstep(folder.path(), &args);
        let tested = json(&output);
        assert_eq!(output.status.code(), Some(0), "{tested}");
        assert_eq!(tested["notes"].as_array().unwrap().len(), notes, "{tested}");
        let unjudged = verdict(&tested, "customer_exists");
        assert_eq!(unjudged["verdict"], "not_judged");
        let cure = "give records of `customer` with their `id`: add `--data customer=FILE`";
        assert_eq!(unjudged["help"], cure);
    }
    let args = [
        "contract",
        "test",
        "order.odcs.yaml",
        "--data",
        "patches.jsonl",
        "--patch",
    ];
    assert_eq!(lockstep(folder.path(), &args).status.code(), Some(0));
}

#[test]
fn documents_are_tested_by_a_json_schema_without_fetching_or_showing_anything() {
    let schema =
        r#"{"properties":{"mail":{"$ref":"https://example.org/mail.json"}},"required":["id"]}"#;
    let folder = folder(&[
        ("s.json", schema),
        ("mail.json", r#"{"type":"string","maxLength":3}"#),
        ("d.jsonl", "{\"id\":1}\n{\"mail\":\"ann@example.org\"}\n[\n"),
    ]);
    let args = [
        "contract", "test", "--schema", "s.json", "--data", "d.jsonl",
    ];
    let output = lockstep(folder.path(), &args);
    assert_eq!(output.status.code(), Some(2));
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(err.contains("https://example.org/mail.json"), "{err}");
    let resource = [
        "--resource",
        "https://example.org/mail.json=mail.json",
        "--json",
    ];
    let output = lockstep(folder.path(), &[&args[..], &resource].concat());
    assert_eq!(output.status.code(), Some(1));
    let tested = json(&output);
    assert_eq!(
        faults(&tested),
        [
            "- json 1 d.jsonl:3",
            "- required 1 d.jsonl:2",
            "/mail maxLength 1 d.jsonl:2"
        ]
    );
    assert!(!tested.to_string().contains("ann@"), "{tested}");
}

#[test]
fn what_cannot_be_read_ends_with_the_exit_code_for_it() {
    let folder = folder(&[
        ("x.csv", "id,id2\n\"1\n"),
        ("x.txt", "1"),
        ("bad.odcs.yaml", "a: ["),
    ]);
    let order = "order.odcs.yaml";
    for (args, exit, said) in [
        (vec!["test", order, "--data", "gone.jsonl"], 3, "LS-U010"),
        (vec!["test", order, "--data", "x.txt"], 2, "LS-U010"),
        (
            vec!["test", order, "--data", "x.csv"],
            2,
            "line 2: a quote is never closed",
        ),
        (vec!["test", order], 2, "there is no data"),
        (
            vec!["test", "gone.yaml", "--data", "x.csv"],
            2,
            "does not exist",
        ),
        (
            vec!["test", "bad.odcs.yaml", "--data", "x.csv"],
            2,
            "bad.odcs.yaml:1",
        ),
        (
            vec!["test", order, "--data", "x.csv", "--data", "custmer=x.csv"],
            2,
            "did you mean `customer`",
        ),
        (vec!["test"], 2, "nothing to test by"),
        (vec!["profile", "gone.csv"], 3, "does not exist"),
    ] {
        let output = lockstep(folder.path(), &[&["contract"], &args[..]].concat());
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{args:?} {err}");
        assert!(err.contains(said), "{args:?} {err}");
    }
}

#[test]
fn a_contract_is_named_by_its_entity_or_its_file_and_brings_its_shared_types() {
    let folder = tempfile::tempdir().unwrap();
    for below in ["contracts/thing", "contracts/types"] {
        fs::create_dir_all(folder.path().join(below)).unwrap();
    }
    let head = "apiVersion: v3.1.0\nkind: DataContract\nversion: 1.0.0\nstatus: active\n";
    let address = format!(
        "{head}id: address\nschema:\n  - name: address\n    properties:\n      - {{name: street, logicalType: string, required: true}}\n"
    );
    let thing = format!(
        "{head}id: thing\nschema:\n  - name: thing\n    properties:\n      - {{name: id, logicalType: string, primaryKey: true, required: true}}\n      - {{name: home, logicalType: object, customProperties: [{{property: lockstep.type, value: types/address}}]}}\n"
    );
    let file = "contracts/thing/thing.odcs.yaml";
    for (name, text) in [
        ("contracts/types/address.odcs.yaml", address.as_str()),
        (file, &thing),
        ("x.jsonl", "{\"id\":\"1\",\"home\":{}}\n"),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let run = |args: &[&str]| lockstep(folder.path(), &[&["contract"], args].concat());
    for named in ["thing", file] {
        let output = run(&["test", named, "--data", "x.jsonl", "--json"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(
            faults(&json(&output))[0].starts_with("home.street"),
            "{output:?}"
        );
        let output = run(&["profile", "x.jsonl", "--contract", named, "--json"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    let output = run(&["compat", file, file, "--json"]);
    assert_eq!(json(&output)["verdict"], "yes", "{output:?}");
    for args in [
        &["test", "thign", "--data", "x.jsonl"][..],
        &["profile", "x.jsonl", "--contract", "thign"],
    ] {
        let output = run(args);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{err}");
        assert!(err.contains("did you mean `thing`"), "{err}");
    }
}

/// A shop whose tables are orders and customers.
fn shop() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("contracts");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("order.odcs.yaml"), ORDER).unwrap();
    let customer = "apiVersion: v3.1.0
kind: DataContract
id: customer
version: 1.0.0
status: active
schema:
  - name: customer
    customProperties: [{property: lockstep.owner, value: shop}]
    properties:
      - {name: id, logicalType: string, primaryKey: true, required: true}
";
    fs::write(place.join("customer.odcs.yaml"), customer).unwrap();
    let config = "[systems.shop]
connector = \"sqlite\"
path = \"shop.db\"
[systems.shop.map.order]
table = \"orders\"
fields = { id = \"id\", customer = \"who\", mail = \"mail\", placed = \"placed\", shipped = \"shipped\", total = \"total\" }
[systems.shop.map.customer]
table = \"customers\"
fields = { id = \"id\" }
";
    fs::write(folder.path().join("lockstep.toml"), config).unwrap();
    let database = rusqlite::Connection::open(folder.path().join("shop.db")).unwrap();
    let sql = "PRAGMA journal_mode = WAL;
        CREATE TABLE orders (id INTEGER PRIMARY KEY NOT NULL, who TEXT NOT NULL, mail TEXT, placed TEXT NOT NULL, shipped TEXT, total TEXT NOT NULL);
        CREATE TABLE customers (id TEXT PRIMARY KEY NOT NULL);
        INSERT INTO customers VALUES ('a');
        INSERT INTO orders VALUES (1, 'a', 'secret-value', '2026-01-01', NULL, '1.50'),
            (2, 'b', NULL, 'yesterday', NULL, '2.00'), (3, 'a', 'x@y.de', '2026-01-03', '2026-01-01', '3.00');";
    database.execute_batch(sql).unwrap();
    folder
}

#[test]
fn a_table_of_a_live_system_is_tested_through_its_mapping() {
    let folder = shop();
    let args = ["contract", "test", "order", "--system", "shop", "--json"];
    let output = lockstep(folder.path(), &args);
    let tested = json(&output);
    assert_eq!(output.status.code(), Some(1), "{tested}");
    assert_eq!(
        faults(&tested),
        [
            "- shipped_later 1 order/3",
            "mail pattern 1 order/1",
            "placed type 1 order/2"
        ]
    );
    assert_eq!(verdict(&tested, "key")["verdict"], "yes");
    let exists = verdict(&tested, "customer_exists");
    assert_eq!(
        (&exists["verdict"], &exists["broken"]),
        (&json!("no"), &json!(1))
    );
    assert!(!tested.to_string().contains("secret-value"), "{tested}");
    let args = ["contract", "test", "order", "--system", "shp"];
    assert_eq!(lockstep(folder.path(), &args).status.code(), Some(2));
}

/// An export has the system's columns; with the system named its mapping says what they are, and nothing is opened.
#[test]
fn a_file_with_a_systems_columns_is_tested_through_its_mapping() {
    let folder = shop();
    fs::remove_file(folder.path().join("shop.db")).unwrap();
    let csv = "id,who,mail,placed,shipped,total\n1,a,,2026-01-01,,1.50\n2,b,,yesterday,,2.00\n3,a,x@y.de,2026-01-03,2026-01-01,3.00\n";
    let lines = "{\"id\": 1, \"who\": \"a\", \"placed\": \"2026-01-01\", \"total\": 1.50, \"more\": 1}\n{\"id\": 2, \"who\": \"b\", \"placed\": \"yesterday\", \"total\": \"2.00\"}\n{\"id\": 3, \"who\": \"a\", \"mail\": \"x@y.de\", \"placed\": \"2026-01-03\", \"shipped\": \"2026-01-01\", \"total\": 3}\n";
    let live = [("orders.csv", csv), ("orders.jsonl", lines)];
    for (name, text) in live {
        fs::write(folder.path().join(name), text).unwrap();
        fs::write(folder.path().join("customers.csv"), "id\na\n").unwrap();
        let args = [
            "contract",
            "test",
            "order",
            "--system",
            "shop",
            "--data",
            name,
            "customer=customers.csv",
            "--json",
        ];
        let output = lockstep(folder.path(), &args);
        let tested = json(&output);
        assert_eq!(output.status.code(), Some(1), "{tested}");
        assert_eq!(tested["records"], 3, "{name}: {tested}");
        let found = faults(&tested);
        assert!(
            found.iter().any(|fault| fault.contains("placed")),
            "{name}: {found:?}"
        );
        // A renamed column is known, so nothing says that the customer is missing.
        assert!(
            !found.iter().any(|fault| fault.contains("customer")),
            "{name}: {found:?}"
        );
    }
    // A column that the mapping reads and no file has is named.
    fs::write(folder.path().join("bare.csv"), "id,who\n1,a\n").unwrap();
    let args = [
        "contract", "test", "order", "--system", "shop", "--data", "bare.csv",
    ];
    let output = lockstep(folder.path(), &args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("placed"), "{said}");
}

#[test]
fn a_profile_says_what_stands_in_files_and_tables() {
    let folder = shop();
    fs::write(folder.path().join("o.jsonl"), LINES).unwrap();
    let output = lockstep(folder.path(), &["contract", "profile", "o.jsonl", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let profile = json(&output);
    assert_eq!(profile["records"], 4);
    // Nothing says that values may be seen.
    assert!(!profile.to_string().contains("example.org"), "{profile}");
    let contract = [
        "--contract",
        "contracts/order.odcs.yaml",
        "--show-values",
        "--json",
    ];
    let output = lockstep(
        folder.path(),
        &[&["contract", "profile", "o.jsonl"], &contract[..]].concat(),
    );
    let text = json(&output).to_string();
    assert!(
        !text.contains("secret-value") && text.contains("2026-01-02"),
        "{text}"
    );
    let table = [
        "contract",
        "profile",
        "--system",
        "shop",
        "--table",
        "orders",
        "--show-values",
    ];
    let output = lockstep(folder.path(), &table);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in [
        "3 records, 6 fields",
        "no two records are alike in: id",
        "66.7 %",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

/// What refers to records of its own entity is looked up among those that are tested, whichever comes first.
#[test]
fn records_that_refer_to_their_own_entity_are_their_own_data() {
    let contract = "apiVersion: v3.1.0
kind: DataContract
id: t
version: 1.0.0
status: active
schema:
  - name: t
    customProperties: [{property: lockstep.owner, value: shop}]
    properties:
      - {name: id, logicalType: string, primaryKey: true, required: true}
      - {name: ref, logicalType: string, relationships: [{to: t.id}]}
";
    let lines =
        "{\"id\":\"a\",\"ref\":\"b\"}\n{\"id\":\"b\",\"ref\":null}\n{\"id\":\"c\",\"ref\":\"x\"}\n";
    let folder = folder(&[("t.odcs.yaml", contract), ("d.jsonl", lines)]);
    let args = [
        "contract",
        "test",
        "t.odcs.yaml",
        "--data",
        "d.jsonl",
        "--json",
    ];
    let tested = json(&lockstep(folder.path(), &args));
    let exists = verdict(&tested, "ref_exists");
    assert_eq!(
        (
            &exists["verdict"],
            &exists["broken"],
            &exists["examples"][0]["at"]
        ),
        (&json!("no"), &json!(1), &json!("d.jsonl:3"))
    );
}
