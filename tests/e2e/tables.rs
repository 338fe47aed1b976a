//! Tables that go and come back, that were made anew, or that no longer fit, while changes flow: only their own entity waits, and nothing is missing in the end.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::stage::Stage;

const ITEM: &str = "apiVersion: v3.1.0\nkind: DataContract\nid: item\nversion: 1.0.0\nstatus: active\nschema:\n  - name: item\n    customProperties:\n      - {property: lockstep.owner, value: crm}\n    properties:\n      - {name: id, logicalType: string, primaryKey: true, required: true}\n      - {name: amount, logicalType: integer, required: true}\n";

const ITEMS: &str = "\n[systems.crm.map.item]\ntable = \"items\"\nfields = { id = \"id\", amount = \"amount\" }\n\n[systems.erp.map.item]\ntable = \"items\"\nfields = { id = \"id\", amount = \"amount\" }\n\n[flows.items]\nentity = \"item\"\nfrom = \"crm\"\nto = [\"erp\"]\n";

const TABLE: &str = "CREATE TABLE items (id TEXT PRIMARY KEY NOT NULL, amount INTEGER NOT NULL)";

/// The stage with a second entity in the same files, looked at every second.
fn stage(drift: &str) -> Stage {
    let stage = Stage::new();
    fs::write(stage.path().join("contracts/item.odcs.yaml"), ITEM).unwrap();
    let config = stage.path().join("lockstep.toml");
    let text = fs::read_to_string(&config).unwrap();
    let drift = format!("\n[drift]\nevery = \"1s\"\n{drift}");
    fs::write(config, text + ITEMS + &drift).unwrap();
    stage.crm().execute_batch(TABLE).unwrap();
    stage.erp().execute_batch(TABLE).unwrap();
    stage
}

fn item(stage: &Stage, id: &str, amount: i64) {
    let put = "INSERT OR REPLACE INTO items VALUES (?1, ?2)";
    stage.crm().execute(put, (id, amount)).unwrap();
}

fn items(db: &rusqlite::Connection) -> Vec<(String, i64)> {
    let Ok(mut select) = db.prepare("SELECT id, amount FROM items ORDER BY id") else {
        return Vec::new();
    };
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

fn flow(stage: &Stage, entity: &str) -> Value {
    let status = stage.status();
    let flows = status["flows"].as_array().cloned().unwrap_or_default();
    let of = |flow: &Value| flow["entity"] == entity;
    flows.into_iter().find(of).unwrap_or_default()
}

fn is_held(stage: &Stage, entity: &str, code: &str) -> bool {
    let flow = flow(stage, entity);
    flow["state"] == "held" && flow["reason"].as_str().unwrap_or("").contains(code)
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

#[test]
fn a_dropped_source_table_holds_its_own_entity_and_is_taken_up_when_it_is_back() {
    let stage = stage("");
    stage.put("A", 1);
    item(&stage, "i", 1);
    let runtime = stage.run();
    stage.until_equal();
    stage.until("the item arrives", || items(&stage.erp()).len() == 1);
    stage.crm().execute_batch("DROP TABLE items").unwrap();
    stage.until("the items are held", || is_held(&stage, "item", "LS-E010"));
    stage.put("A", 2);
    stage.put("B", 1);
    stage.until_equal();
    stage.until("the accounts rest", || {
        flow(&stage, "account")["state"] == "idle"
    });
    assert_eq!(items(&stage.erp()).len(), 1, "targets keep what they have");
    // A start finds it so.
    runtime.kill();
    let checked = stage.lockstep(&["check"]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked));
    assert!(text(&checked).contains("LS-E010"), "{}", text(&checked));
    let _runtime = stage.run();
    stage.put("C", 1);
    stage.until_equal();
    stage.until("the items are still held", || {
        is_held(&stage, "item", "LS-E010")
    });
    stage.crm().execute_batch(TABLE).unwrap();
    item(&stage, "i", 5);
    item(&stage, "j", 6);
    stage.until("the items are taken up by themselves", || {
        items(&stage.erp()) == items(&stage.crm())
    });
    stage.until("everything rests", || {
        ["item", "account"].map(|entity| flow(&stage, entity)["state"] == "idle") == [true, true]
    });
    assert_eq!(stage.lockstep(&["verify"]).status.code(), Some(0));
}

#[test]
fn a_target_table_that_was_made_anew_is_filled_again() {
    let stage = stage("");
    for n in 0..40 {
        item(&stage, &format!("i{n:02}"), n);
    }
    let runtime = stage.run();
    let equal = || items(&stage.erp()) == items(&stage.crm());
    stage.until("the items arrive", equal);
    let anew = format!("DROP TABLE items; {TABLE}");
    stage.erp().execute_batch(&anew).unwrap();
    item(&stage, "i03", 100);
    stage.until("they are all there again", equal);
    // Also when nobody looked.
    runtime.kill();
    stage.erp().execute_batch(&anew).unwrap();
    let _runtime = stage.run();
    stage.until("they are all there once more", equal);
    stage.until("the flow rests", || flow(&stage, "item")["state"] == "idle");
    assert_eq!(stage.lockstep(&["verify"]).status.code(), Some(0));
}

/// The items with what may have been lost; nothing while the column is not there.
fn amounts(db: &rusqlite::Connection) -> Vec<(String, Option<i64>)> {
    let Ok(mut select) = db.prepare("SELECT id, amount FROM items ORDER BY id") else {
        return Vec::new();
    };
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

const DROP_AMOUNT: &str = "ALTER TABLE items DROP COLUMN amount";
const ADD_AMOUNT: &str = "ALTER TABLE items ADD COLUMN amount INTEGER";

#[test]
fn a_field_that_is_mapped_later_is_filled_in_the_rows_of_before() {
    let stage = stage("");
    let mapped =
        "table = \"items\"\nfields = { id = \"id\", amount = \"amount\" }\n\n[flows.items]";
    let without = "table = \"items\"\nfields = { id = \"id\" }\n\n[flows.items]";
    stage.configure(mapped, without);
    let nullable =
        "DROP TABLE items; CREATE TABLE items (id TEXT PRIMARY KEY NOT NULL, amount INTEGER)";
    stage.erp().execute_batch(nullable).unwrap();
    for n in 0..40 {
        item(&stage, &format!("i{n:02}"), n);
    }
    let runtime = stage.run();
    stage.until("the items arrive", || amounts(&stage.erp()).len() == 40);
    stage.until("the flow rests", || flow(&stage, "item")["state"] == "idle");
    assert_eq!(runtime.stop(), 0);
    stage.configure(without, mapped);
    let _runtime = stage.run();
    stage.until("their amounts are there", || {
        amounts(&stage.erp()) == amounts(&stage.crm())
    });
    assert_eq!(stage.lockstep(&["verify"]).status.code(), Some(0));
}

#[test]
fn a_column_of_a_target_that_propagate_adds_again_is_filled_again() {
    let stage = stage("additive = \"propagate\"\n");
    for n in 0..40 {
        item(&stage, &format!("i{n:02}"), n);
    }
    let runtime = stage.run();
    let equal = || amounts(&stage.erp()) == amounts(&stage.crm());
    stage.until("the items arrive", equal);
    stage.until("the flow rests", || flow(&stage, "item")["state"] == "idle");
    stage.erp().execute_batch(DROP_AMOUNT).unwrap();
    stage.until("their amounts are all there again", equal);
    // Also when nobody looked, and although it is killed as soon as the column is there.
    runtime.kill();
    stage.erp().execute_batch(DROP_AMOUNT).unwrap();
    let runtime = stage.run();
    stage.until("the column is there", || !amounts(&stage.erp()).is_empty());
    runtime.kill();
    let _runtime = stage.run();
    stage.until("their amounts are all there once more", equal);
    stage.until("the flow rests again", || {
        flow(&stage, "item")["state"] == "idle"
    });
    assert_eq!(stage.lockstep(&["verify"]).status.code(), Some(0));
}

#[test]
fn a_column_of_a_target_that_comes_back_by_hand_is_filled_again_although_lockstep_is_killed() {
    let stage = stage("");
    for n in 0..40 {
        item(&stage, &format!("i{n:02}"), n);
    }
    let runtime = stage.run();
    let equal = || amounts(&stage.erp()) == amounts(&stage.crm());
    stage.until("the items arrive", equal);
    stage.erp().execute_batch(DROP_AMOUNT).unwrap();
    stage.until("the items are held", || is_held(&stage, "item", "LS-E003"));
    // What is lost is not forgotten with the process that saw it.
    runtime.kill();
    stage.erp().execute_batch(ADD_AMOUNT).unwrap();
    let _runtime = stage.run();
    stage.until("their amounts are all there again", equal);
    stage.until("the flow rests", || flow(&stage, "item")["state"] == "idle");
    assert_eq!(stage.lockstep(&["verify"]).status.code(), Some(0));
}

#[test]
fn a_new_column_reaches_the_target_although_nothing_is_written() {
    let stage = stage("additive = \"propagate\"\n");
    item(&stage, "i", 1);
    let _runtime = stage.run();
    stage.until("the item arrives", || items(&stage.erp()).len() == 1);
    stage.until("the flow rests", || flow(&stage, "item")["state"] == "idle");
    stage
        .crm()
        .execute_batch("ALTER TABLE items ADD COLUMN memo TEXT DEFAULT 'none'")
        .unwrap();
    stage.until("the column is there with its values", || {
        let memo = "SELECT memo FROM items";
        let memo = stage
            .erp()
            .query_row(memo, [], |row| row.get::<_, String>(0));
        memo.is_ok_and(|memo| memo == "none")
    });
    assert_eq!(flow(&stage, "item")["contract"], "1.1.0");
}

#[test]
fn a_renamed_column_is_one_hold_and_not_an_entry_a_row() {
    let stage = stage("");
    for n in 0..30 {
        stage.put(&format!("A{n:02}"), n);
    }
    let _runtime = stage.run();
    stage.until_equal();
    let crm = stage.crm();
    crm.execute_batch("ALTER TABLE accounts RENAME COLUMN title TO caption")
        .unwrap();
    crm.execute("UPDATE accounts SET version = version + 100", [])
        .unwrap();
    crm.execute("DELETE FROM accounts WHERE no = 'A29'", [])
        .unwrap();
    stage.until("it is held, and says how much passed by", || {
        let flow = flow(&stage, "account");
        let reason = flow["reason"].as_str().unwrap_or("").to_owned();
        flow["state"] == "held"
            && reason.contains("title")
            && reason.contains(" changes passed by since")
    });
    // What a reading cannot tell is kept, and nothing else.
    assert_eq!(stage.quarantined().len(), 1);
    crm.execute_batch("ALTER TABLE accounts RENAME COLUMN caption TO title")
        .unwrap();
    stage.until_equal();
    stage.until("the hold is over", || {
        stage.quarantined().is_empty() && flow(&stage, "account")["state"] == "idle"
    });
    let all = stage.lockstep(&["quarantine", "list", "--state", "all"]);
    assert!(
        text(&all).contains("1 superseded entries"),
        "{}",
        text(&all)
    );
    let closed = stage.json(&["quarantine", "list", "--state", "superseded", "--json"]);
    let id = closed["entries"][0]["id"].as_str().unwrap();
    let edited = stage.lockstep(&["quarantine", "edit", id, "--set", "version=1"]);
    assert_eq!(edited.status.code(), Some(1));
    assert!(
        text(&edited).contains("is closed: superseded") && text(&edited).contains("later version"),
        "{}",
        text(&edited)
    );
    assert_eq!(stage.lockstep(&["verify"]).status.code(), Some(0));
}

#[test]
fn a_policy_that_fails_ends_one_entity_and_the_others_of_its_system_go_on() {
    let stage = stage("breaking = \"fail\"\n");
    stage.put("A", 1);
    item(&stage, "i", 1);
    let runtime = stage.run();
    stage.until_equal();
    stage
        .crm()
        .execute_batch("ALTER TABLE items RENAME COLUMN amount TO sum")
        .unwrap();
    stage.until("the items ended", || is_held(&stage, "item", "LS-E007"));
    stage.put("B", 1);
    stage.until_equal();
    // It does not go on by itself, but at the next start.
    stage
        .crm()
        .execute_batch("ALTER TABLE items RENAME COLUMN sum TO amount")
        .unwrap();
    item(&stage, "j", 2);
    stage.put("C", 1);
    stage.until_equal();
    assert!(is_held(&stage, "item", "LS-E007"));
    assert_eq!(runtime.stop(), 1, "its end tells that a flow ended");
    let _runtime = stage.run();
    stage.until("the items go on", || items(&stage.erp()).len() == 2);
}

#[test]
fn a_start_that_finds_drift_ends_one_entity_as_a_run_does() {
    let stage = stage("breaking = \"fail\"\n");
    stage.put("A", 1);
    item(&stage, "i", 1);
    let runtime = stage.run();
    stage.until_equal();
    stage.until("the item arrives", || items(&stage.erp()).len() == 1);
    runtime.kill();
    let rename = |db: rusqlite::Connection, from: &str, to: &str| {
        let rename = format!("ALTER TABLE items RENAME COLUMN {from} TO {to}");
        db.execute_batch(&rename).unwrap();
    };
    let ended_alone = |version| {
        let checked = stage.lockstep(&["check"]);
        assert!(text(&checked).contains("LS-E007"), "{}", text(&checked));
        let runtime = stage.run();
        stage.until("the items ended", || is_held(&stage, "item", "LS-E007"));
        stage.put("A", version);
        stage.until_equal();
        assert_eq!(runtime.stop(), 1);
    };
    rename(stage.crm(), "amount", "sum");
    ended_alone(2);
    rename(stage.crm(), "sum", "amount");
    rename(stage.erp(), "amount", "sum");
    ended_alone(3);
    rename(stage.erp(), "sum", "amount");
    stage.crm().execute_batch("DROP TABLE items").unwrap();
    let runtime = stage.run();
    stage.until("a table that is gone ends it, too", || {
        is_held(&stage, "item", "LS-E007")
    });
    stage.put("A", 4);
    stage.until_equal();
    assert_eq!(runtime.stop(), 1);
    stage.crm().execute_batch(TABLE).unwrap();
    item(&stage, "j", 2);
    stage.erp().execute_batch("DROP TABLE items").unwrap();
    let runtime = stage.run();
    stage.until("so does one in a target", || {
        is_held(&stage, "item", "LS-E007")
    });
    stage.put("A", 5);
    stage.until_equal();
    assert_eq!(runtime.stop(), 1);
    stage.erp().execute_batch(TABLE).unwrap();
    let _runtime = stage.run();
    stage.until("the items go on", || {
        items(&stage.erp()) == items(&stage.crm())
    });
}

#[test]
fn a_run_may_end_with_the_first_flow_that_a_policy_ends() {
    let stage = stage("breaking = \"fail\"\nexit = true\n");
    stage.put("A", 1);
    let mut runtime = stage.run();
    stage.until_equal();
    stage
        .crm()
        .execute_batch("ALTER TABLE items RENAME COLUMN amount TO sum")
        .unwrap();
    assert_eq!(runtime.wait(), 1);
    assert!(runtime.log().contains("LS-E007"), "{}", runtime.log());
}
