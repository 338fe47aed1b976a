//! What becomes of a record that breaks a rule: it goes on, is set aside, is refused for good, or halts its entity; and what people decide then.

use std::fs;

use serde_json::{Value, json};

use crate::stage::Stage;

/// One rule per outcome, by the version of the account.
const RULES: &str = r#"implementation: decCmp(balance, credit_limit) <= 0
      - name: counted
        type: custom
        engine: cel
        implementation: version != 101
        customProperties: [{property: lockstep.outcome, value: pass}]
      - name: suspicious
        type: custom
        engine: cel
        implementation: version != 102
        customProperties: [{property: lockstep.outcome, value: warn}]
      - name: refused
        type: custom
        engine: cel
        implementation: version != 104
        customProperties: [{property: lockstep.outcome, value: reject}]
      - name: stops
        type: custom
        engine: cel
        implementation: version != 105
        customProperties: [{property: lockstep.outcome, value: halt}]"#;

const ITEM: &str = r#"
apiVersion: v3.1.0
kind: DataContract
id: item
name: Items
version: 1.0.0
status: active
schema:
  - name: item
    logicalType: object
    customProperties:
      - {property: lockstep.owner, value: crm}
    properties:
      - {name: id, logicalType: string, primaryKey: true, required: true}
      - {name: stock, logicalType: integer, required: true}
"#;

const ITEMS: &str = r#"
[systems.crm.map.item]
table = "items"
fields = { id = "no", stock = "stock" }

[systems.erp.map.item]
table = "items"
fields = { id = "no", stock = "stock" }

[flows.items]
entity = "item"
from = "crm"
to = ["erp"]
"#;

/// The stage with a rule per outcome, and a second entity in the same systems.
fn stage() -> Stage {
    let stage = Stage::new();
    let contract = "contracts/account.odcs.yaml";
    stage.edit(
        contract,
        "implementation: decCmp(balance, credit_limit) <= 0",
        RULES,
    );
    fs::write(stage.path().join("contracts/item.odcs.yaml"), ITEM).unwrap();
    let config = stage.path().join("lockstep.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(config, text + ITEMS).unwrap();
    let table = "CREATE TABLE items (no TEXT PRIMARY KEY, stock INTEGER) WITHOUT ROWID";
    stage.crm().execute_batch(table).unwrap();
    let table = "CREATE TABLE items (no TEXT PRIMARY KEY, stock INTEGER NOT NULL)";
    stage.erp().execute_batch(table).unwrap();
    stage
}

fn item(stage: &Stage, no: &str, stock: i64) {
    let put = "INSERT OR REPLACE INTO items VALUES (?1, ?2)";
    stage.crm().execute(put, (no, stock)).unwrap();
}

fn has_item(stage: &Stage, no: &str) -> bool {
    let count = "SELECT count(*) FROM items WHERE no = ?1";
    let count: i64 = stage
        .erp()
        .query_row(count, [no], |row| row.get(0))
        .unwrap();
    count == 1
}

fn flow(stage: &Stage, entity: &str) -> Value {
    let status = stage.status();
    let flows = status["flows"].as_array().unwrap();
    let found = flows.iter().find(|flow| flow["entity"] == entity);
    found.unwrap().clone()
}

fn listed(stage: &Stage, more: &[&str]) -> Vec<Value> {
    let args = [&["quarantine", "list", "--json"], more].concat();
    stage.json(&args)["entries"].as_array().unwrap().clone()
}

/// How often a rule was broken, by its outcome.
fn broken(stage: &Stage, rule: &str) -> Value {
    let status = stage.status();
    let rules = status["rules"].as_array().cloned().unwrap_or_default();
    let found = rules.into_iter().find(|count| count["rule"] == rule);
    found.map_or(Value::Null, |count| {
        json!([count["outcome"], count["changes"]])
    })
}

/// Halts the accounts at `X`, with others behind it.
fn halted(stage: &Stage) -> String {
    stage.put("A", 1);
    stage.put("X", 1);
    stage.until_equal();
    stage.put("X", 105);
    stage.until("the accounts are halted", || {
        flow(stage, "account")["halted"]["rule"] == "stops"
    });
    stage.put("A", 2);
    stage.put("X", 7);
    stage.put("B", 1);
    stage.until("the others stand in line", || {
        flow(stage, "account")["halted"]["waiting"] == 3
    });
    let id = flow(stage, "account")["halted"]["id"].clone();
    id.as_str().unwrap().to_owned()
}

fn did(output: &std::process::Output, code: i32) {
    assert_eq!(
        output.status.code(),
        Some(code),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn what_only_counts_or_warns_goes_on_and_is_counted() {
    let stage = stage();
    let _runtime = stage.run();
    stage.put("A", 101);
    stage.put("B", 102);
    stage.put("C", 102);
    stage.until_equal();
    assert_eq!(broken(&stage, "counted"), json!(["pass", 1]));
    assert_eq!(broken(&stage, "suspicious"), json!(["warn", 2]));
    assert_eq!(listed(&stage, &["--all"]), Vec::<Value>::new());
}

#[test]
fn what_is_refused_for_good_is_kept_closed_and_a_later_good_version_stands_for_it() {
    let stage = stage();
    stage.put("A", 1);
    let runtime = stage.run();
    stage.until_equal();
    stage.put("A", 104);
    stage.put("B", 1);
    stage.until("the other arrives", || stage.partners().len() == 2);
    stage.until("it is refused", || {
        listed(&stage, &["--state", "rejected"]).len() == 1
    });
    assert_eq!(stage.quarantined().len(), 0, "nobody has to decide");
    assert_eq!(stage.partners()[0], ("A".to_owned(), 1));
    // Verification knows why the target differs, also after a kill.
    runtime.kill();
    let _runtime = stage.run();
    assert_eq!(stage.json(&["verify", "--json"])["equal"], true);
    let id = listed(&stage, &["--state", "rejected"])[0]["id"].clone();
    did(
        &stage.lockstep(&["quarantine", "retry", id.as_str().unwrap()]),
        1,
    );
    stage.put("A", 5);
    stage.until_equal();
    stage.until("it is superseded", || {
        listed(&stage, &["--all"])[0]["state"] == "superseded"
    });
}

#[test]
fn a_halted_entity_keeps_what_follows_and_nothing_else_waits() {
    let stage = stage();
    let runtime = stage.run();
    let id = halted(&stage);
    // The other entity of the same source goes on.
    item(&stage, "I1", 5);
    stage.until("the item arrives", || has_item(&stage, "I1"));
    let shown = flow(&stage, "account");
    assert_eq!(shown["state"], "held");
    assert_eq!(shown["halted"]["key"], "X");
    let reason = shown["reason"].as_str().unwrap().to_owned();
    assert!(
        reason.contains("`stops`") && reason.contains("LS-R001"),
        "{reason}"
    );
    assert_eq!(stage.partners().len(), 2);
    assert_eq!(listed(&stage, &["--state", "waiting"]).len(), 3);
    // A kill changes nothing about that.
    runtime.kill();
    assert_eq!(
        flow(&stage, "account")["halted"]["waiting"],
        3,
        "while nothing runs"
    );
    let runtime = stage.run();
    stage.put("C", 1);
    item(&stage, "I2", 5);
    stage.until("the next item arrives", || has_item(&stage, "I2"));
    stage.until("the next account stands in line", || {
        flow(&stage, "account")["halted"]["waiting"] == 4
    });
    assert_eq!(stage.partners(), [("A".to_owned(), 1), ("X".to_owned(), 1)]);
    // Somebody decides to do without it.
    let writes = stage.writes().len();
    did(
        &stage.lockstep(&["quarantine", "drop", &id, "--reason", "a test"]),
        0,
    );
    stage.until_equal();
    let order: Vec<(String, i64)> = stage.writes()[writes..].to_vec();
    let expected = [("A", 2), ("X", 7), ("B", 1), ("C", 1)];
    assert_eq!(
        order,
        expected.map(|(no, version)| (no.to_owned(), version))
    );
    stage.until("nothing waits", || {
        listed(&stage, &["--state", "waiting"]).is_empty()
    });
    stage.until("it flows as before", || {
        flow(&stage, "account")["state"] == "idle"
    });
    let entry = stage.json(&["quarantine", "show", &id, "--json"]);
    assert_eq!(entry["state"], "superseded", "a later good version came");
    // Nothing is said again after another kill.
    runtime.kill();
    let _runtime = stage.run();
    stage.put("D", 1);
    stage.until_equal();
    assert_eq!(stage.writes().len(), writes + 5);
}

#[test]
fn a_corrected_record_lets_its_entity_go_on_and_so_does_a_mended_contract() {
    let stage = stage();
    let runtime = stage.run();
    let id = halted(&stage);
    let writes = stage.writes().len();
    did(&stage.lockstep(&["quarantine", "retry", &id]), 1);
    did(
        &stage.lockstep(&["quarantine", "edit", &id, "--set", "version=6"]),
        0,
    );
    stage.until_equal();
    let order: Vec<(String, i64)> = stage.writes()[writes..].to_vec();
    let expected = [("X", 6), ("A", 2), ("X", 7), ("B", 1)];
    assert_eq!(
        order,
        expected.map(|(no, version)| (no.to_owned(), version))
    );

    // The next one halts again, and two more behind it.
    for (no, version) in [("Y", 105), ("Z", 105), ("Y", 3)] {
        stage.put(no, version);
    }
    stage.until("two wait", || {
        flow(&stage, "account")["halted"]["waiting"] == 2
    });
    assert_eq!(runtime.stop(), 0);
    stage.edit(
        "contracts/account.odcs.yaml",
        "version != 105",
        "version != 1050",
    );
    stage.edit(
        "contracts/account.odcs.yaml",
        "version: 1.0.0",
        "version: 1.0.1",
    );
    let _runtime = stage.run();
    assert_eq!(
        flow(&stage, "account")["halted"]["waiting"],
        2,
        "a mended contract decides nothing by itself"
    );
    did(
        &stage.lockstep(&["quarantine", "retry", "--rule", "stops"]),
        0,
    );
    stage.until_equal();
    assert_eq!(listed(&stage, &[]), Vec::<Value>::new());
}

#[test]
fn one_that_halts_again_in_line_holds_those_behind_it() {
    let stage = stage();
    let runtime = stage.run();
    stage.put("A", 105);
    stage.until("it halts", || {
        flow(&stage, "account")["halted"]["key"] == "A"
    });
    for (no, version) in [("B", 1), ("C", 105), ("D", 104), ("B", 2)] {
        stage.put(no, version);
    }
    stage.until("four wait", || {
        flow(&stage, "account")["halted"]["waiting"] == 4
    });
    // Decided while nothing runs.
    runtime.kill();
    let id = flow(&stage, "account")["halted"]["id"].clone();
    did(
        &stage.lockstep(&["quarantine", "drop", id.as_str().unwrap()]),
        0,
    );
    let _runtime = stage.run();
    stage.until("the next one halts", || {
        flow(&stage, "account")["halted"]["key"] == "C"
    });
    stage.until("B arrives", || stage.partners() == [("B".to_owned(), 1)]);
    assert_eq!(flow(&stage, "account")["halted"]["waiting"], 2);
    did(&stage.lockstep(&["quarantine", "drop", "--all"]), 0);
    stage.until("the rest arrives", || {
        stage.partners() == [("B".to_owned(), 2)]
    });
    let states: Vec<Value> = listed(&stage, &["--all"])
        .into_iter()
        .map(|entry| json!([entry["key"], entry["state"]]))
        .collect();
    for expected in [
        json!(["A", "dropped"]),
        json!(["C", "dropped"]),
        json!(["D", "rejected"]),
    ] {
        assert!(states.contains(&expected), "{expected} in {states:?}");
    }
}

/// Puts an account into quarantine whose personal name must not be seen.
fn secret(stage: &Stage) -> String {
    let insert = "INSERT INTO accounts VALUES ('S', 'Secret Name', 'Atlantis', 100, 100000000, 1)";
    stage.crm().execute(insert, []).unwrap();
    stage.until("it is in quarantine", || stage.quarantined().len() == 1);
    stage.quarantined()[0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_correction_is_judged_at_once_and_kept_beside_the_original() {
    let stage = stage();
    let runtime = stage.run();
    let id = secret(&stage);
    let edit = |more: &[&str]| {
        let args = [&["quarantine", "edit", &id], more].concat();
        stage.lockstep(&args)
    };
    // What cannot be read teaches.
    let wrong = edit(&["--set", "country=Germany"]);
    did(&wrong, 2);
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(
        said.contains("LS-R003") && said.contains("column `land`"),
        "{said}"
    );
    did(&edit(&["--set", "balance_cents=much"]), 2);
    did(&edit(&[]), 2);
    // What does not pass is not kept, and another key is another record.
    did(&edit(&["--set", "land=Utopia"]), 1);
    did(&edit(&["--set", "land=Germany", "--set", "no=T"]), 1);
    assert_eq!(stage.partners(), []);
    let reason = ["--reason", "a typo", "--by", "mara"];
    did(
        &edit(&[&["--set", "land=Germany"][..], &reason].concat()),
        0,
    );
    stage.until("it arrives", || stage.partners() == [("S".to_owned(), 1)]);
    runtime.kill();
    let shown = stage.json(&["quarantine", "show", &id, "--show-values", "--json"]);
    assert_eq!(shown["state"], "retried");
    assert_eq!(shown["values"]["land"], "Atlantis", "the original stays");
    let kept = &shown["edits"][0];
    assert_eq!(
        json!([kept["by"], kept["reason"], kept["columns"], kept["values"]]),
        json!(["mara", "a typo", ["land"], {"land": "Germany"}])
    );
    let tried = shown["attempts"].as_array().unwrap();
    assert_eq!(tried.len(), 3);
    assert_eq!(tried[0]["reasons"][0]["field"], "country");
    assert_eq!(tried[2]["what"], "edit");
}

#[test]
fn what_is_exported_and_corrected_comes_back() {
    let stage = stage();
    let _runtime = stage.run();
    secret(&stage);
    stage.put("B", 3);
    stage.until("the good one arrives", || stage.partners().len() == 1);
    did(
        &stage.lockstep(&["quarantine", "export", "--out", "out.jsonl"]),
        0,
    );
    let path = stage.path().join("out.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let line: Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(line["hidden"], json!(["title"]));
    assert_eq!(line["record"]["land"], "Atlantis");
    assert!(!text.contains("Secret Name"));
    fs::write(
        &path,
        text.replace("\"land\":\"Atlantis\"", "\"land\":\"France\""),
    )
    .unwrap();
    did(
        &stage.lockstep(&["quarantine", "edit", "--from", "out.jsonl", "--json"]),
        0,
    );
    stage.until_equal();
    let all = ["quarantine", "export", "--state", "all", "--format", "csv"];
    let csv = stage.lockstep(&[&all[..], &["--show-values"]].concat());
    let csv = String::from_utf8(csv.stdout).unwrap();
    assert_eq!(csv.lines().count(), 2, "{csv}");
    assert!(csv.starts_with("id,state,") && csv.contains("Secret Name"));
}

#[test]
fn entries_are_found_counted_and_decided_by_what_is_wrong_with_them() {
    let stage = stage();
    let _runtime = stage.run();
    secret(&stage);
    let crm = stage.crm();
    let insert = "INSERT INTO accounts VALUES (?1, 'n', 'Germany', 100, 1, 1)";
    for no in ["L1", "L2"] {
        crm.execute(insert, [no]).unwrap();
    }
    stage.until("all three are there", || stage.quarantined().len() == 3);
    let found = |more: &[&str]| listed(&stage, more).len();
    assert_eq!(found(&["--rule", "limit_covers_balance"]), 2);
    assert_eq!(found(&["--key", "L1"]), 1);
    assert_eq!(found(&["--system", "erp"]), 0);
    assert_eq!(found(&["--since", "1h"]), 3);
    assert_eq!(found(&["--since", "2100-01-01"]), 0);
    did(
        &stage.lockstep(&["quarantine", "list", "--state", "opne"]),
        2,
    );
    let counts = stage.json(&["quarantine", "list", "--by", "rule", "--json"]);
    let count = counts["counts"].as_array().unwrap().iter();
    let mut count = count.filter(|count| count["rule"] == "limit_covers_balance");
    assert_eq!(count.next().unwrap()["entries"], 2);
    let dropped = ["quarantine", "drop", "--rule", "limit_covers_balance"];
    did(
        &stage.lockstep(&[&dropped[..], &["--reason", "tests"]].concat()),
        0,
    );
    assert_eq!(found(&[]), 1);
}

#[test]
fn a_protected_value_stands_in_no_output() {
    let stage = stage();
    stage.edit(
        "contracts/account.odcs.yaml",
        "implementation: version != 105",
        "implementation: version != 105 && name != 'Secret Name'",
    );
    let runtime = stage.run();
    let insert = "INSERT INTO accounts VALUES ('S', 'Secret Name', 'Germany', 1, 100, 105)";
    stage.crm().execute(insert, []).unwrap();
    stage.until("it halts", || {
        flow(&stage, "account")["halted"]["key"] == "S"
    });
    let insert = "INSERT INTO accounts VALUES ('T', 'Secret Name', 'Narnia', 1, 100, 102)";
    stage.crm().execute(insert, []).unwrap();
    stage.until("the other waits", || {
        flow(&stage, "account")["halted"]["waiting"] == 1
    });
    let id = flow(&stage, "account")["halted"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for args in [
        &["status"][..],
        &["status", "--json"],
        &["quarantine", "list", "--all"],
        &["quarantine", "list", "--all", "--json"],
        &["quarantine", "show", &id],
        &["quarantine", "show", &id, "--json"],
        &["quarantine", "export", "--state", "all"],
        &["quarantine", "export", "--state", "all", "--format", "csv"],
        &["quarantine", "retry", &id],
        &["quarantine", "edit", &id, "--set", "title=Secret Name"],
        &["quarantine", "edit", &id, "--set", "version=Secret Name"],
        &["verify"],
    ] {
        let output = stage.lockstep(args);
        for text in [&output.stdout, &output.stderr] {
            let text = String::from_utf8_lossy(text);
            assert!(!text.contains("Secret"), "{args:?}: {text}");
        }
    }
    assert!(!runtime.log().contains("Secret"), "{}", runtime.log());
}

#[test]
fn a_rule_over_all_records_is_judged_told_and_may_halt_its_entity() {
    let stage = stage();
    stage.edit(
        "contracts/item.odcs.yaml",
        "    properties:",
        "    quality:
      - name: few
        metric: rowCount
        mustBeLessOrEqualTo: 3
        customProperties: [{property: lockstep.outcome, value: halt}]
      - name: distinct
        type: library
        metric: duplicateValues
        mustBe: 0
        severity: warning
        arguments: {properties: [stock]}
    properties:",
    );
    stage.edit("lockstep.toml", "[log]", "[rules]\nevery = \"1s\"\n\n[log]");
    for (no, stock) in [("A", 1), ("B", 2), ("C", 2)] {
        item(&stage, no, stock);
    }
    let runtime = stage.run();
    let judged = |rule: &str| {
        let sets = stage.status()["sets"].clone();
        let mut found = sets.as_array().into_iter().flatten();
        found
            .find(|set| set["rule"] == rule)
            .cloned()
            .unwrap_or_default()
    };
    stage.until("it is told", || judged("distinct")["verdict"] == "broken");
    let distinct = judged("distinct");
    assert_eq!(
        json!([
            distinct["broken"],
            distinct["checked"],
            distinct["examples"]
        ]),
        json!([1, 3, ["C"]])
    );
    assert_eq!(judged("few")["verdict"], "holds");
    item(&stage, "D", 4);
    stage.until("the items are halted", || {
        flow(&stage, "item")["halted"]["rule"] == "few"
    });
    item(&stage, "A", 9);
    stage.until("what comes waits", || {
        flow(&stage, "item")["halted"]["waiting"] == 1
    });
    stage.put("X", 1);
    stage.until("accounts go on", || stage.partners().len() == 1);
    // Also after a kill.
    runtime.kill();
    let _runtime = stage.run();
    let reason = flow(&stage, "item")["reason"].to_string();
    assert!(
        reason.contains("mend the records in `crm`") && reason.contains("quarantine drop rule."),
        "{reason}"
    );
    assert!(
        !reason.contains("edit") && !reason.contains("`*`"),
        "{reason}"
    );
    let id = flow(&stage, "item")["halted"]["id"].clone();
    let id = id.as_str().unwrap_or_default();
    let edited = stage.lockstep(&["quarantine", "edit", id, "--set", "stock=1"]);
    did(&edited, 2);
    assert_eq!(flow(&stage, "item")["halted"]["rule"], "few");
    // The rule holds again, so the entity goes on by itself.
    stage
        .crm()
        .execute("DELETE FROM items WHERE no = 'B'", [])
        .unwrap();
    stage.until("nothing halts", || flow(&stage, "item")["halted"].is_null());
    stage.until("everything arrives", || {
        let sum = "SELECT coalesce(sum(stock), 0) FROM items";
        let sum = |db: rusqlite::Connection| db.query_row(sum, [], |row| row.get::<_, i64>(0));
        sum(stage.erp()).unwrap() == sum(stage.crm()).unwrap()
    });
    // Somebody may do without it until it has held once.
    item(&stage, "E", 5);
    stage.until("the items are halted again", || {
        flow(&stage, "item")["halted"]["rule"] == "few"
    });
    did(&stage.lockstep(&["quarantine", "drop", "--rule", "few"]), 0);
    item(&stage, "F", 6);
    stage.until("it arrives", || has_item(&stage, "F"));
}
