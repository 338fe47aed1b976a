//! What the running system tells its operator: no more than is so, and what to do about it.

use std::fs;

use crate::stage::Stage;
use crate::things::{Running, THINGS, flow_in, things, until_in};

/// The only flow, as `status` shows it.
fn flow(stage: &Stage) -> serde_json::Value {
    stage.status()["flows"][0].clone()
}

#[test]
fn a_column_that_was_taken_along_is_told_no_longer() {
    let stage = Stage::new();
    stage.configure(
        "[flows.accounts]",
        "[drift]\nadditive = \"propagate\"\n\n[flows.accounts]",
    );
    stage.put("A", 1);
    let _runtime = stage.run();
    stage.until_equal();
    let alter = "ALTER TABLE accounts ADD COLUMN memo TEXT DEFAULT 'none'";
    stage.crm().execute_batch(alter).unwrap();
    stage.put("B", 2);
    stage.until("the target has the column", || {
        stage.erp().prepare("SELECT memo FROM partners").is_ok()
    });
    stage.until("nothing is told of it any more", || {
        let flow = flow(&stage);
        flow["contract"] == "1.1.0" && flow["drift"].is_null() && flow["state"] == "idle"
    });
    // What cannot be taken along is told on, with what is truly to be done about it.
    let alter = "ALTER TABLE accounts ADD COLUMN \"two words\" TEXT";
    stage.crm().execute_batch(alter).unwrap();
    stage.put("C", 3);
    stage.until("the other column is told", || {
        let drift = flow(&stage)["drift"][0].clone();
        let cure = drift["cure"].as_str().unwrap_or_default();
        drift["column"] == "two words" && cure.contains("cannot take it along")
    });
}

#[test]
fn a_target_that_lacks_a_column_is_held_by_that_and_not_by_what_its_server_says_of_it() {
    let Some((from, to, folder)) = things() else {
        return;
    };
    let at = folder.path();
    let rows = "SELECT count(*), md5(string_agg(id || name, ',' ORDER BY id)) FROM things";
    let equal = || from.sql("things", rows).unwrap() == to.sql("things", rows).unwrap_or_default();
    for more in ["", "consistency = \"transaction\"\n"] {
        let config = THINGS.replace("[drift]\nadditive = \"propagate\"\n", "");
        fs::write(at.join("lockstep.toml"), format!("{config}{more}")).unwrap();
        let running = Running::start(at);
        until_in(at, "both the same", &equal);
        to.sql("things", "ALTER TABLE things DROP COLUMN name")
            .unwrap();
        from.sql("things", "UPDATE things SET name = 'b' || name")
            .unwrap();
        let reasons = std::cell::RefCell::new(Vec::new());
        until_in(at, "it is held", &|| {
            let flow = flow_in(at);
            let reason = flow["reason"].as_str().unwrap_or_default().to_owned();
            let held = flow["state"] == "held" && reason.contains("LS-E003");
            reasons.borrow_mut().push(reason);
            held
        });
        let reasons = reasons.into_inner();
        let raw = |reason: &&String| reason.contains("SQLSTATE");
        assert_eq!(reasons.iter().find(raw), None, "{more}");
        let last = &reasons[reasons.len() - 1];
        assert!(
            last.contains("column `name` of table `things` is gone")
                && last.contains("drift.additive"),
            "{last}"
        );
        to.sql("things", "ALTER TABLE things ADD COLUMN name text")
            .unwrap();
        until_in(at, "it goes on once the column is there", &equal);
        drop(running);
    }
}

/// Sends an open entry corrected, and gives what is printed.
fn corrected(stage: &Stage, set: &str) -> String {
    let id = stage.quarantined().remove(0)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let edited = stage.lockstep(&["quarantine", "edit", &id, "--set", set]);
    let said = String::from_utf8(edited.stdout).unwrap();
    assert_eq!(edited.status.code(), Some(0), "{said}");
    said
}

/// How many records differ, how many of them because of a correction, and the first of them.
fn verified(stage: &Stage) -> (u64, u64, serde_json::Value) {
    let pair = stage.json(&["verify", "--json"])["pairs"][0].clone();
    let count = |name: &str| pair[name].as_u64().unwrap();
    (
        count("different"),
        count("corrected"),
        pair["examples"][0].clone(),
    )
}

#[test]
fn what_was_corrected_in_quarantine_and_not_in_its_source_is_told_so() {
    let stage = Stage::new();
    stage
        .erp()
        .execute_batch(
            "CREATE TRIGGER no_x BEFORE INSERT ON partners WHEN new.name = 'account X' \
             BEGIN SELECT raise(ABORT, 'not for here'); END",
        )
        .unwrap();
    stage.put("A", 1);
    let _runtime = stage.run();
    stage.until_equal();
    let bad = "INSERT INTO accounts VALUES ('BAD', 'Name', 'Atlantis', 100, 100000000, 1)";
    stage.crm().execute(bad, []).unwrap();
    stage.until("it is in quarantine", || stage.quarantined().len() == 1);
    let said = corrected(&stage, "land=Germany");
    assert!(said.contains("`crm` still holds the old value"), "{said}");
    stage.until("the correction arrives", || stage.partners().len() == 2);
    stage.until("the flow rests", || stage.state() == "idle");
    let (different, of_them, example) = verified(&stage);
    assert_eq!((different, of_them), (1, 1));
    assert_eq!(example["corrected"], true);
    assert_eq!(example["fields"], serde_json::json!(["country"]));
    let told = stage.lockstep(&["verify"]);
    assert_eq!(told.status.code(), Some(1));
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("corrected in quarantine"), "{told}");

    // A target that holds neither the one nor the other differs by itself.
    let by_hand = "UPDATE partners SET country = 'US' WHERE code = 'P-BAD'";
    stage.erp().execute(by_hand, []).unwrap();
    let (different, of_them, example) = verified(&stage);
    assert_eq!((different, of_them), (1, 0));
    assert!(example["corrected"].is_null(), "{example}");

    stage.put("BAD", 5);
    stage.until_equal();
    stage.until("the flow rests again", || stage.state() == "idle");
    assert_eq!(verified(&stage).0, 0, "it was mended in its source");

    // What a target refused is held in the contract's form.
    stage.put("X", 1);
    stage.until("it is refused", || stage.quarantined().len() == 1);
    let said = corrected(&stage, "name=account Y");
    assert!(said.contains("`crm` still holds the old value"), "{said}");
    stage.until("it arrives", || stage.partners().len() == 3);
    let (different, of_them, example) = verified(&stage);
    assert_eq!((different, of_them), (1, 1));
    assert_eq!(example["fields"], serde_json::json!(["name"]));
}

#[test]
fn nothing_is_applied_a_second_where_nothing_is_applied() {
    let stage = Stage::new();
    let _runtime = stage.run();
    for n in 0..50 {
        stage.put(&format!("A{n:02}"), n);
    }
    stage.until_equal();
    stage.until("what was applied is told", || {
        flow(&stage)["rate"].as_f64().unwrap_or_default() > 0.0
    });
    let paused = stage.lockstep(&["pause", "accounts"]);
    assert_eq!(paused.status.code(), Some(0), "{paused:?}");
    stage.until("it rests", || flow(&stage)["state"] == "paused");
    assert_eq!(flow(&stage)["rate"], 0.0, "of a flow that is paused");
    let resumed = stage.lockstep(&["resume", "accounts"]);
    assert_eq!(resumed.status.code(), Some(0), "{resumed:?}");
    stage.put("B", 1);
    stage.until("the flow is idle, and so is its rate", || {
        let flow = flow(&stage);
        flow["state"] == "idle" && flow["rate"] == 0.0
    });
}
