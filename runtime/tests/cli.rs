//! The command line as scripts see it: exit codes, standard output, standard error.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value as Json;

const CONTRACT: &str = "apiVersion: v3.1.0
kind: DataContract
id: customer
version: 1.0.0
status: active
schema:
  - name: customer
    customProperties:
      - {property: lockstep.owner, value: crm}
    properties:
      - {name: id, logicalType: string, primaryKey: true, primaryKeyPosition: 1, required: true}
";

/// Runs the binary in a folder, with nothing of the caller's environment that it reads.
fn lockstep(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(args)
        .current_dir(folder)
        .env_remove("LOCKSTEP_CONFIG")
        .env_remove("LOCKSTEP_LOG")
        .env("CRM_PASSWORD", "hunter2-in-the-environment")
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The one JSON object that standard output holds, and nothing else.
fn json(output: &Output) -> Json {
    let text = out(output);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert_eq!(err(output), "");
    serde_json::from_str(&text).unwrap()
}

/// A folder with a contract and a configuration.
fn folder(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("contracts")).unwrap();
    let contract = folder.path().join("contracts/customer.odcs.yaml");
    std::fs::write(contract, CONTRACT).unwrap();
    std::fs::write(folder.path().join("lockstep.toml"), config).unwrap();
    folder
}

#[test]
fn a_configuration_that_cannot_be_read_is_wrong_input() {
    let folder = folder("a = \n[b\n");
    let missing = lockstep(folder.path(), &["check", "-c", "none.toml", "--json"]);
    assert_eq!(missing.status.code(), Some(2));
    assert_eq!(json(&missing)["findings"][0]["code"], "LS-G001");

    let broken = lockstep(folder.path(), &["check"]);
    assert_eq!(broken.status.code(), Some(2));
    assert_eq!(out(&broken), "");
    assert!(
        err(&broken).starts_with("lockstep.toml:1:5: error[LS-G002]: "),
        "{}",
        err(&broken)
    );
    assert!(
        err(&broken).contains("\nlockstep.toml:2:3: error[LS-G002]: "),
        "{}",
        err(&broken)
    );
}

/// What cannot be read is wrong input; what can be read and is wrong is a finding, as in every other command.
#[test]
fn a_contract_that_cannot_be_read_is_wrong_input_too() {
    let folder = folder("");
    let path = folder.path().join("contracts/thing.odcs.yaml");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    for (text, exit) in [
        (&b"a: [\n"[..], 2),
        (b"a: \xff\n", 2),
        (b"kind: DataContract\n", 1),
    ] {
        std::fs::write(&path, text).unwrap();
        for args in [&["check", "--offline"][..], &["contract", "lint"]] {
            let output = lockstep(folder.path(), args);
            assert_eq!(
                output.status.code(),
                Some(exit),
                "{args:?} {}",
                err(&output)
            );
        }
    }
}

#[test]
fn findings_go_where_they_belong() {
    let config = "[logs]\n[systems.crm]\nconnector = \"nosuch\"\npassword = \"${CRM_PASSWORD}\"\n";
    let folder = folder(config);
    let people = lockstep(folder.path(), &["check"]);
    assert_eq!(people.status.code(), Some(1));
    assert_eq!(out(&people), "", "findings are no result");
    let said = err(&people);
    assert!(
        said.contains(
            "lockstep.toml:1:2: error[LS-G003]: unknown key `logs`\n  help: did you mean `log`?\n"
        ),
        "{said}"
    );
    assert!(
        said.contains("lockstep.toml:3:13: error[LS-G006]: no such connector `nosuch`\n"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");

    let machines = lockstep(folder.path(), &["--json", "check"]);
    assert_eq!(machines.status.code(), Some(1));
    let result = json(&machines);
    assert_eq!(result["ok"], false);
    let place = &result["findings"][1]["place"];
    assert_eq!(
        (&place["file"], &place["line"], &place["column"]),
        (&"lockstep.toml".into(), &1.into(), &2.into())
    );
    assert!(!result.to_string().contains("hunter2"));
}

#[test]
fn sound_files_are_clean_and_the_file_may_come_from_the_environment() {
    let folder = folder("");
    std::fs::rename(
        folder.path().join("lockstep.toml"),
        folder.path().join("other.toml"),
    )
    .unwrap();
    let check = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(["check", "--offline", "--json"])
        .current_dir(folder.path())
        .env("LOCKSTEP_CONFIG", "other.toml")
        .output()
        .unwrap();
    assert_eq!(check.status.code(), Some(0), "{}", err(&check));
    let result = json(&check);
    assert_eq!(result["ok"], true);
    // Nothing flows, which is worth a warning and no more.
    assert_eq!(result["findings"][0]["code"], "LS-G028");
}

#[test]
fn a_reference_to_what_no_contract_describes_is_a_warning_of_check() {
    let config = "[systems.crm]
connector = \"sqlite\"
path = \"crm.db\"
[systems.crm.map.customer]
table = \"customers\"
fields = { id = \"id\" }
[systems.erp]
connector = \"sqlite\"
path = \"erp.db\"
[systems.erp.map.customer]
table = \"customers\"
fields = { id = \"id\" }
[flows.customers]
entity = \"customer\"
from = \"crm\"
to = [\"erp\"]
";
    let folder = folder(config);
    let path = folder.path().join("contracts/customer.odcs.yaml");
    let linked = "required: true, relationships: [{to: region.id}]}";
    std::fs::write(path, CONTRACT.replace("required: true}", linked)).unwrap();
    let check = lockstep(folder.path(), &["check", "--offline", "--json"]);
    assert_eq!(check.status.code(), Some(0), "{}", out(&check));
    let result = json(&check);
    let findings = result["findings"].as_array().unwrap();
    let found = findings.iter().find(|found| found["code"] == "LS-C050");
    let found = found.unwrap_or_else(|| panic!("{findings:?}"));
    assert_eq!(found["severity"], "warning");
}

#[test]
fn the_canonical_contracts_are_read() {
    let contracts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/contracts");
    let folder = folder(&format!(
        "contracts = {:?}\n",
        contracts.display().to_string()
    ));
    let check = lockstep(folder.path(), &["check", "--offline"]);
    assert_eq!(check.status.code(), Some(0), "{}", err(&check));
    assert!(out(&check).contains(": 7 contracts, "), "{}", out(&check));
}

#[test]
fn codes_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    for code in ["LS-G014", "LS-C003", "ls-p001"] {
        let page = lockstep(folder.path(), &["explain", code]);
        assert_eq!(page.status.code(), Some(0));
        assert!(
            out(&page).starts_with(&code.to_uppercase()),
            "{}",
            out(&page)
        );
    }
    // The rules that contracts are compared by have codes, too, and the same words everywhere.
    let page = lockstep(folder.path(), &["explain", "lsc-key"]);
    let rule = lockstep(
        folder.path(),
        &["contract", "rules", "--explain", "LSC-KEY"],
    );
    assert_eq!((page.status.code(), out(&page)), (Some(0), out(&rule)));
    assert!(out(&page).starts_with("LSC-KEY\n\n"), "{}", out(&page));
    let all = lockstep(folder.path(), &["explain", "--json"]);
    assert!(json(&all)["pages"].as_array().unwrap().len() > 30);
    let unknown = lockstep(folder.path(), &["explain", "LS-G14"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        err(&unknown).contains("help: did you mean `LS-G01"),
        "{}",
        err(&unknown)
    );
}

#[test]
fn wrong_usage_is_told_from_findings() {
    let folder = folder("");
    for args in [
        &["nonsense"][..],
        &[],
        &["check", "--no-such-option"],
        &["map", "try", "crm", "nosuch"],
        &["connectors", "schema", "nosuch"],
        &["map", "try", "crm", "customer", "--limit", "0"],
    ] {
        let output = lockstep(folder.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_eq!(out(&output), "", "{args:?}");
        assert_ne!(err(&output), "", "{args:?}");
    }
}

#[test]
fn shells_get_their_completions_and_people_their_examples() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = lockstep(folder.path(), &["completions", shell]);
        assert_eq!(script.status.code(), Some(0));
        assert!(out(&script).contains("completions"), "{shell}");
    }
    for command in [
        &["--help"][..],
        &["check", "--help"],
        &["map", "try", "--help"],
        &["explain", "--help"],
    ] {
        let help = lockstep(folder.path(), command);
        assert_eq!(help.status.code(), Some(0));
        assert!(out(&help).contains("Examples:"), "{command:?}");
    }
}

/// Two SQLite files with customers, a contract with a personal name, and the flow between them.
fn company() -> tempfile::TempDir {
    let folder = folder(
        "[values.countries]
Freedonia = \"FD\"
[systems.crm]
connector = \"sqlite\"
path = \"${CRM_FILE}\"
[systems.crm.map.customer]
table = \"companies\"
fields = { id = \"account_no\", name = \"name\", country = { column = \"land\", values = \"countries\" } }
[systems.erp]
connector = \"sqlite\"
path = \"erp.db\"
[systems.erp.map.customer]
table = \"customers\"
fields = { id = \"id\", name = \"name\", country = \"country\" }
[flows.customers]
entity = \"customer\"
from = \"crm\"
to = [\"erp\"]
",
    );
    let fields =
        "      - {name: name, logicalType: string, required: true, classification: personal}
      - {name: country, logicalType: string, required: true}
";
    let contract = folder.path().join("contracts/customer.odcs.yaml");
    std::fs::write(contract, CONTRACT.to_owned() + fields).unwrap();
    let sql = |file: &str, statements: &str| {
        let database = rusqlite::Connection::open(folder.path().join(file)).unwrap();
        database.execute_batch(statements).unwrap();
    };
    sql(
        "crm-hunter2.db",
        "PRAGMA journal_mode = WAL;
         CREATE TABLE companies (account_no TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, land TEXT NOT NULL);
         INSERT INTO companies VALUES ('C-1', 'Rufus Firefly', 'Freedonia'), ('C-2', 'Trentino', 'Sylvania');",
    );
    sql(
        "erp.db",
        "PRAGMA journal_mode = WAL;
         CREATE TABLE customers (id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, country TEXT NOT NULL);",
    );
    folder
}

fn in_company(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(args)
        .current_dir(folder)
        .env_remove("LOCKSTEP_CONFIG")
        .env("CRM_FILE", "crm-hunter2.db")
        .output()
        .unwrap()
}

#[test]
fn a_sound_company_is_ready_and_untouched() {
    let folder = company();
    // Everything that stands in the databases, and every file but SQLite's own companions.
    let state = || {
        let mut state: Vec<String> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm"))
            .collect();
        for file in ["crm-hunter2.db", "erp.db"] {
            let database = rusqlite::Connection::open(folder.path().join(file)).unwrap();
            let mut objects = database.prepare("SELECT name FROM sqlite_schema").unwrap();
            let names = objects.query_map([], |row| row.get(0)).unwrap();
            state.extend(names.map(Result::unwrap));
        }
        state.sort();
        state
    };
    let before = state();
    let check = in_company(folder.path(), &["check"]);
    assert_eq!(check.status.code(), Some(0), "{}", err(&check));
    assert_eq!(
        out(&check),
        "ready: 1 contract, 2 systems, 1 flow; 0 errors, 0 warnings\n"
    );
    assert_eq!(state(), before);
    let check = in_company(folder.path(), &["check", "--json"]);
    assert_eq!(
        json(&check),
        serde_json::json!({"ok": true, "findings": []})
    );
}

#[test]
fn what_the_databases_lack_is_found_at_the_line_that_asks_for_it() {
    let folder = company();
    let file = folder.path().join("lockstep.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    for (from, to, finding) in [
        (
            "\"land\"",
            "\"lnd\"",
            "lockstep.toml:8:56: error[LS-M001]: ",
        ),
        (
            "\"companies\"",
            "\"company\"",
            "lockstep.toml:7:9: error[LS-E010]: ",
        ),
        (
            "\"erp.db\"",
            "\"gone.db\"",
            "lockstep.toml:9:10: error[LS-P002]: ",
        ),
    ] {
        std::fs::write(&file, text.replace(from, to)).unwrap();
        let check = in_company(folder.path(), &["check"]);
        assert_eq!(check.status.code(), Some(1), "{}", err(&check));
        assert!(err(&check).starts_with(finding), "{}", err(&check));
        assert_eq!(err(&check).matches("error[").count(), 1, "{}", err(&check));
        assert!(!err(&check).contains("hunter2"), "{}", err(&check));
    }
}

#[test]
fn a_mapping_is_shown_on_live_rows_without_personal_data() {
    let folder = company();
    let read = in_company(folder.path(), &["map", "try", "crm", "customer", "--json"]);
    assert_eq!(read.status.code(), Some(1), "Sylvania is on no list");
    let result = json(&read);
    assert_eq!(
        result["rows"][0]["record"],
        serde_json::json!({"id": "C-1", "name": "[personal]", "country": "FD"})
    );
    assert_eq!(result["rows"][1]["violations"][0]["field"], "country");
    let text = in_company(folder.path(), &["map", "try", "crm", "customer"]);
    for shown in [out(&read), out(&text)] {
        assert!(
            !shown.contains("Rufus") && !shown.contains("Trentino"),
            "{shown}"
        );
    }

    let args = [
        "map",
        "try",
        "erp",
        "customer",
        "--limit",
        "1",
        "--show-values",
        "--json",
    ];
    let write = in_company(folder.path(), &args);
    assert_eq!(write.status.code(), Some(0), "{}", err(&write));
    let written = serde_json::json!({"id": "C-1", "name": "Rufus Firefly", "country": "FD"});
    assert_eq!(json(&write)["rows"][0]["written"], written);
}

#[test]
fn connectors_show_what_they_offer_and_take() {
    let folder = tempfile::tempdir().unwrap();
    let list = lockstep(folder.path(), &["connectors", "list", "--json"]);
    let listed = json(&list);
    let offers = |name: &str| {
        let mut connectors = listed["connectors"].as_array().unwrap().iter();
        let found = connectors.find(|connector| connector["name"] == name);
        found.unwrap()["offers"].clone()
    };
    assert_eq!(
        offers("sqlite"),
        serde_json::json!(["source", "sink", "reader"])
    );
    // The inbox comes with the runtime, not with the connectors.
    assert_eq!(offers("inbox"), serde_json::json!(["source"]));
    let schema = lockstep(folder.path(), &["connectors", "schema", "sqlite", "--json"]);
    assert!(json(&schema)["properties"]["path"].is_object());
}

#[test]
fn contracts_are_laid_out_or_left_as_they_are() {
    let folder = folder("");
    let file = folder.path().join("contracts/customer.odcs.yaml");
    let unordered = CONTRACT.replace(
        "kind: DataContract\nid: customer\n",
        "id: customer # whose\nkind: DataContract\n",
    );
    std::fs::write(&file, &unordered).unwrap();
    let odd = folder.path().join("contracts/odd.odcs.yaml");
    std::fs::write(&odd, "{kind: DataContract}\n").unwrap();

    let checked = lockstep(folder.path(), &["contract", "fmt", "--check", "contracts"]);
    assert_eq!(checked.status.code(), Some(1));
    assert_eq!(
        out(&checked),
        "not laid out: contracts/customer.odcs.yaml\nleft: contracts/odd.odcs.yaml\n"
    );
    assert!(
        err(&checked).contains("warning[LS-C049]"),
        "{}",
        err(&checked)
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), unordered);

    let written = lockstep(folder.path(), &["contract", "fmt", "contracts", "--json"]);
    assert_eq!(written.status.code(), Some(0));
    let object = json(&written);
    assert_eq!(
        object["changed"],
        serde_json::json!(["contracts/customer.odcs.yaml"])
    );
    assert_eq!(
        object["left"],
        serde_json::json!(["contracts/odd.odcs.yaml"])
    );
    let laid_out = CONTRACT.replace("id: customer\n", "id: customer # whose\n");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), laid_out);

    let again = lockstep(
        folder.path(),
        &["contract", "fmt", "--check", "contracts/customer.odcs.yaml"],
    );
    assert_eq!((again.status.code(), out(&again).as_str()), (Some(0), ""));
    let missing = lockstep(folder.path(), &["contract", "fmt", "nowhere"]);
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn contracts_of_a_configuration_share_types() {
    let folder = folder("[systems]\n[flows]\n");
    let types = folder.path().join("contracts/types");
    std::fs::create_dir(&types).unwrap();
    let shared = CONTRACT.replace("{name: id,", "{name: street,");
    std::fs::write(types.join("address.odcs.yaml"), shared).unwrap();
    let file = folder.path().join("contracts/customer.odcs.yaml");
    let property = "      - {name: home, logicalType: object, customProperties: [{property: lockstep.type, value: types/address}]}\n";
    std::fs::write(&file, format!("{CONTRACT}{property}")).unwrap();
    let checked = lockstep(folder.path(), &["check", "--json"]);
    assert_eq!(checked.status.code(), Some(0), "{}", out(&checked));

    std::fs::remove_file(types.join("address.odcs.yaml")).unwrap();
    let checked = lockstep(folder.path(), &["check", "--json"]);
    assert_eq!(checked.status.code(), Some(1));
    let object = json(&checked);
    let mut found = object["findings"].as_array().unwrap().iter();
    assert!(found.any(|found| found["code"] == "LS-C038"), "{object}");
}

#[test]
fn a_contract_is_begun_imported_and_written_in_other_forms() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let begun = lockstep(at, &["contract", "init", "order", "--owner", "shop"]);
    assert_eq!(begun.status.code(), Some(0), "{}", err(&begun));
    assert!(
        err(&begun).contains("lockstep contract lint"),
        "{}",
        err(&begun)
    );
    let again = lockstep(at, &["contract", "init", "order"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(err(&again).contains("error[LS-I111]"), "{}", err(&again));
    assert_eq!(lockstep(at, &["contract", "lint"]).status.code(), Some(0));

    let sql = "CREATE TABLE parcels (nr bigint PRIMARY KEY, \"in\" text CHECK (\"in\" <> 'x' OR nr > 1));";
    std::fs::write(at.join("a.sql"), sql).unwrap();
    let args = [
        "contract",
        "import",
        "sql",
        "a.sql",
        "--entity",
        "parcel",
        "--out",
        "contracts",
    ];
    let imported = lockstep(at, &args);
    assert_eq!(
        (imported.status.code(), out(&imported).as_str()),
        (Some(0), ""),
        "{}",
        err(&imported)
    );
    assert!(
        err(&imported).contains("warning[LS-I108]: `in_`: the check"),
        "{}",
        err(&imported)
    );
    let text = std::fs::read_to_string(at.join("contracts/parcel/parcel.odcs.yaml")).unwrap();
    assert!(text.contains("# the name was `in`"), "{text}");
    assert_eq!(
        lockstep(at, &args).status.code(),
        Some(2),
        "it is never overwritten"
    );
    assert_eq!(lockstep(at, &["contract", "lint"]).status.code(), Some(0));

    // Standard output holds the text and nothing else.
    let schema = lockstep(
        at,
        &[
            "contract",
            "gen",
            "jsonschema",
            "parcel",
            "--side",
            "reader",
        ],
    );
    let schema: Json = serde_json::from_str(&out(&schema)).unwrap();
    assert_eq!(schema["required"], serde_json::json!(["nr"]));
    let all = lockstep(at, &["contract", "gen", "avro"]);
    assert_eq!(
        out(&all)
            .lines()
            .filter(|line| serde_json::from_str::<Json>(line).is_ok())
            .count(),
        2
    );
    let docs = lockstep(at, &["contract", "gen", "docs", "--out", "site", "--json"]);
    let docs: Json = serde_json::from_str(&out(&docs)).unwrap();
    assert_eq!(docs["documents"].as_array().unwrap().len(), 2);
    assert!(at.join("site/order.md").exists());
    let unknown = lockstep(at, &["contract", "gen", "rust", "parcels"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        err(&unknown).contains("did you mean `parcel`?"),
        "{}",
        err(&unknown)
    );

    let broken = lockstep(at, &["contract", "import", "json-schema", "a.sql"]);
    assert_eq!(broken.status.code(), Some(2));
    assert!(
        err(&broken).starts_with("a.sql:1:1: error[LS-I102]"),
        "{}",
        err(&broken)
    );
}

#[test]
fn a_table_of_a_running_system_becomes_contract_and_mapping() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let database = rusqlite::Connection::open(at.join("shop.db")).unwrap();
    let sql = "CREATE TABLE kunden (nr INTEGER PRIMARY KEY, \"E-Mail\" TEXT NOT NULL, land TEXT);";
    database.execute_batch(sql).unwrap();
    let table = [
        "contract",
        "import",
        "table",
        "--url",
        "sqlite:shop.db",
        "--table",
        "kunden",
        "--entity",
        "customer",
        "--owner",
        "shop",
    ];
    let imported = lockstep(at, &table);
    assert_eq!(imported.status.code(), Some(0), "{}", err(&imported));
    let text = out(&imported);
    for part in [
        "name: customer",
        "name: E_Mail",
        "classification: personal",
        "primaryKey: true",
        "value: shop",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let mapping = lockstep(at, &[&table[..], &["--mapping", "shop"]].concat());
    assert_eq!(
        out(&mapping),
        "\n[systems.shop.map.customer]\ntable = \"kunden\"\n[systems.shop.map.customer.fields]\nnr = \"nr\"\nE_Mail = \"E-Mail\"\nland = \"land\"\n"
    );
    let missing = lockstep(
        at,
        &[
            "contract",
            "import",
            "table",
            "--url",
            "sqlite:shop.db",
            "--table",
            "none",
        ],
    );
    assert_eq!(missing.status.code(), Some(3), "{}", err(&missing));
    let odd = lockstep(
        at,
        &[
            "contract",
            "import",
            "table",
            "--url",
            "odd://x:secret@y",
            "--table",
            "none",
        ],
    );
    assert_eq!(odd.status.code(), Some(2));
    assert!(!err(&odd).contains("secret"));
}
