//! Pausing, resuming, skipping and trying again: what an operator asks of one flow touches no other, and lasts.

use lockstep_servers::nats::{Options, Server};
use serde_json::Value;

use crate::stage::Stage;

/// Adds a second target of the same flow.
fn with_second_target(stage: &Stage) {
    let dwh = rusqlite::Connection::open(stage.path().join("dwh.db")).unwrap();
    dwh.execute_batch(
        "CREATE TABLE partners (code TEXT PRIMARY KEY, name TEXT NOT NULL, country TEXT NOT NULL, \
         balance TEXT NOT NULL, credit_limit TEXT NOT NULL, version INTEGER NOT NULL)",
    )
    .unwrap();
    stage.configure(
        "[flows.accounts]",
        "[systems.dwh]\nconnector = \"sqlite\"\npath = \"dwh.db\"\n\n[systems.dwh.map.account]\ntable = \"partners\"\n[systems.dwh.map.account.fields]\nid = \"code\"\nname = \"name\"\ncountry = \"country\"\nbalance = \"balance\"\ncredit_limit = \"credit_limit\"\nversion = \"version\"\n\n[flows.accounts]",
    );
    stage.configure("to = [\"erp\"]", "to = [\"erp\", \"dwh\"]");
}

fn in_dwh(stage: &Stage) -> i64 {
    let dwh = rusqlite::Connection::open(stage.path().join("dwh.db")).unwrap();
    dwh.busy_timeout(crate::stage::DEADLINE).unwrap();
    dwh.query_row("SELECT count(*) FROM partners", [], |row| row.get(0))
        .unwrap()
}

fn flow(stage: &Stage, to: &str) -> Value {
    let status = stage.status();
    let flows = status["flows"].as_array().unwrap();
    flows.iter().find(|flow| flow["to"] == to).unwrap().clone()
}

fn code(stage: &Stage, args: &[&str]) -> Option<i32> {
    stage.lockstep(args).status.code()
}

/// What the whole life cycle promises, whatever the log.
fn a_paused_target_rests_alone_over_restarts(stage: &Stage) {
    with_second_target(stage);
    stage.put("A", 1);
    let runtime = stage.run();
    stage.until_equal();
    let paused = stage.json(&["pause", "erp.partners", "--reason", "month end", "--json"]);
    assert_eq!(paused["ok"], true, "{paused}");
    assert_eq!(paused["parts"].as_array().unwrap().len(), 1, "{paused}");
    assert_eq!(
        (
            &paused["parts"][0]["outcome"],
            &paused["parts"][0]["changed"]
        ),
        (&"paused".into(), &true.into())
    );
    // Once more leaves the first word standing.
    let again = stage.json(&["pause", "accounts", "--to", "erp", "--json"]);
    assert_eq!(
        (
            &again["parts"][0]["changed"],
            &again["parts"][0]["pause"]["reason"]
        ),
        (&false.into(), &"month end".into())
    );
    stage.until("the delivery rests", || {
        flow(stage, "erp")["paused"]["reached"].is_u64()
    });
    stage.put("B", 1);
    stage.until("the other target has it", || in_dwh(stage) == 2);
    let resting = flow(stage, "erp");
    assert_eq!(resting["state"], "paused", "{resting}");
    let reason = resting["reason"].as_str().unwrap();
    assert!(
        reason.contains("month end") && reason.contains("lockstep resume accounts --to erp"),
        "{reason}"
    );
    assert_ne!(flow(stage, "dwh")["state"], "paused");
    assert_eq!(stage.partners().len(), 1);
    assert_eq!(runtime.stop(), 0);

    // Where nothing runs, status says both.
    let stopped = flow(stage, "erp");
    assert!(stopped["paused"].is_object(), "{stopped}");
    let _runtime = stage.run();
    stage.put("C", 1);
    stage.until("the other target has it", || in_dwh(stage) == 3);
    assert_eq!(flow(stage, "erp")["state"], "paused");
    assert_eq!(stage.partners().len(), 1, "a restart forgot the pause");
    assert_eq!(code(stage, &["status"]), Some(0), "a pause is no finding");

    let resumed = stage.json(&["resume", "erp", "--json"]);
    assert_eq!(resumed["parts"][0]["changed"], true, "{resumed}");
    stage.until_equal();
    stage.until("the flow rests", || flow(stage, "erp")["state"] == "idle");
    assert_eq!(stage.writes().len(), 3, "something was written twice");
    let again = stage.json(&["resume", "accounts", "--json"]);
    assert_eq!(
        (&again["ok"], &again["parts"][1]["changed"]),
        (&true.into(), &false.into())
    );
}

#[test]
fn a_paused_target_rests_alone_over_restarts_with_the_embedded_log() {
    a_paused_target_rests_alone_over_restarts(&Stage::new());
}

#[test]
fn a_paused_target_rests_alone_over_restarts_with_the_log_on_nats() {
    let Some(server) = Server::start(&Options::default()) else {
        return;
    };
    let stage = Stage::new();
    stage.log_on(&format!("\"{}\"", server.url()), "");
    a_paused_target_rests_alone_over_restarts(&stage);
}

#[test]
fn a_pause_is_heard_from_another_machine() {
    let Some(server) = Server::start(&Options::default()) else {
        return;
    };
    let stage = Stage::new();
    stage.log_on(&format!("\"{}\"", server.url()), "max_age = \"7d\"");
    let _runtime = stage.run();
    stage.put("A", 1);
    stage.until_equal();
    // Nothing of this configuration's folder leads to the running process; the log does.
    let elsewhere = std::fs::read_to_string(stage.path().join("lockstep.toml")).unwrap();
    let elsewhere = format!("{elsewhere}\n[api]\nfolder = \"elsewhere\"\n");
    std::fs::write(stage.path().join("elsewhere.toml"), elsewhere).unwrap();
    let order = |word: &str| code(&stage, &[word, "accounts", "-c", "elsewhere.toml"]);
    assert_eq!(order("pause"), Some(0));
    stage.until("the delivery rests", || {
        flow(&stage, "erp")["paused"]["reached"].is_u64()
    });
    stage.put("B", 1);
    stage.until("status says how long the log keeps what waits", || {
        flow(&stage, "erp")["paused"]["kept_until"].is_string()
    });
    assert_eq!(stage.partners().len(), 1);
    assert_eq!(order("resume"), Some(0));
    stage.until_equal();
    assert_eq!(order("retry"), Some(0));
    let skipped = stage.lockstep(&["skip", "accounts", "-c", "elsewhere.toml", "--json"]);
    assert_eq!(skipped.status.code(), Some(1), "there is nothing to skip");
    let said = String::from_utf8_lossy(&skipped.stdout).into_owned();
    assert!(said.contains("nothing stands in its way"), "{said}");
}

#[test]
fn a_paused_capture_keeps_its_position() {
    let stage = Stage::new();
    stage.put("A", 1);
    let runtime = stage.run();
    stage.until_equal();
    assert_eq!(code(&stage, &["pause", "crm"]), Some(0));
    stage.until("the capture rests", || {
        flow(&stage, "erp")["state"] == "paused"
    });
    let before = stage.status()["log"]["messages"].clone();
    stage.put("B", 1);
    runtime.kill();
    let _runtime = stage.run();
    let resting = flow(&stage, "erp");
    let reason = resting["reason"].as_str().unwrap();
    assert!(reason.contains("pile up"), "{reason}");
    assert_eq!(stage.status()["log"]["messages"], before);
    assert_eq!(code(&stage, &["resume", "system:crm"]), Some(0));
    stage.until_equal();
}

#[test]
fn a_flow_that_is_paused_before_the_first_start_does_not_begin() {
    let stage = Stage::new();
    stage.put("A", 1);
    assert_eq!(code(&stage, &["pause", "accounts"]), Some(0));
    let _runtime = stage.run();
    stage.until("the record is in the log", || {
        stage.status()["log"]["last_seq"].as_u64() > Some(0)
    });
    assert_eq!(flow(&stage, "erp")["state"], "paused");
    assert!(stage.partners().is_empty());
    assert_eq!(code(&stage, &["resume", "flow:accounts"]), Some(0));
    stage.until_equal();
}

#[test]
fn a_change_that_cannot_be_applied_is_skipped_when_somebody_says_so() {
    let stage = Stage::new();
    // Not a refusal of the record but a failure of the target: the whole batch stands still.
    stage
        .erp()
        .execute_batch(
            "CREATE TRIGGER broken BEFORE INSERT ON partners WHEN new.code = 'P-X' \
             BEGIN SELECT abs(-9223372036854775807 - length(substr(new.code, 1, 1))); END",
        )
        .unwrap();
    let _runtime = stage.run();
    for no in ["A", "X", "B"] {
        stage.put(no, 1);
    }
    stage.until("the flow stands still", || {
        let flow = flow(&stage, "erp");
        flow["reason"]
            .as_str()
            .unwrap_or_default()
            .contains("overflow")
    });
    assert_eq!(
        code(&stage, &["skip", "crm", "--json"]),
        Some(1),
        "a capture has nothing to skip"
    );
    let skipped = stage.json(&[
        "skip",
        "accounts",
        "--reason",
        "known bad",
        "--by",
        "ann",
        "--json",
    ]);
    assert_eq!(skipped["parts"][0]["outcome"], "skipped", "{skipped}");
    stage.until("the others arrive", || stage.partners().len() == 2);
    let entry = skipped["parts"][0]["entry"].as_str().unwrap();
    let kept = stage.quarantined();
    assert_eq!((kept.len(), &kept[0]["id"]), (1, &entry.into()));
    let why = kept[0]["reasons"][0]["message"].as_str().unwrap();
    assert!(
        why.contains("ann") && why.contains("known bad") && why.contains("overflow"),
        "{why}"
    );
    stage.until("the flow rests", || flow(&stage, "erp")["state"] == "idle");
    let nothing = stage.json(&["skip", "accounts", "--json"]);
    assert_eq!(nothing["ok"], false, "{nothing}");

    stage.erp().execute_batch("DROP TRIGGER broken").unwrap();
    assert_eq!(code(&stage, &["quarantine", "retry", entry]), Some(0));
    stage.until_equal();
}

#[test]
fn a_flow_tries_again_at_once_when_told_to() {
    let stage = Stage::new();
    stage.put("A", 1);
    let runtime = stage.run();
    stage.until_equal();
    stage
        .erp()
        .execute_batch("ALTER TABLE partners RENAME TO away")
        .unwrap();
    stage.put("B", 1);
    stage.until("the flow is held", || {
        flow(&stage, "erp")["state"] == "held"
    });
    stage
        .erp()
        .execute_batch("ALTER TABLE away RENAME TO partners")
        .unwrap();
    let retried = stage.json(&["retry", "accounts", "--json"]);
    assert_eq!(retried["parts"][0]["when"], "now", "{retried}");
    stage.until_equal();
    assert!(
        runtime.log().contains("somebody asked"),
        "{}",
        runtime.log()
    );
    assert_eq!(runtime.stop(), 0);
    let retried = stage.json(&["retry", "accounts", "--json"]);
    assert_eq!(retried["parts"][0]["when"], "start", "{retried}");
}

#[test]
fn a_flow_that_waits_for_its_time_runs_when_told_to_or_at_the_next_start() {
    let stage = Stage::new();
    let to = "to = [\"erp\"]\n";
    let waits = format!("{to}mode = \"scheduled\"\ncron = \"0 0 29 2 *\"\n");
    stage.configure(to, &waits);
    stage.put("A", 1);
    let runtime = stage.run();
    stage.until("the flow waits for its time", || {
        let flow = flow(&stage, "erp");
        flow["state"] == "behind"
            && flow["reason"]
                .as_str()
                .unwrap_or("")
                .contains("scheduled: applied next at")
    });
    assert_eq!(stage.partners(), []);
    assert_eq!(code(&stage, &["retry", "accounts"]), Some(0));
    stage.until_equal();
    stage.put("B", 1);
    stage.until("it waits again", || {
        flow(&stage, "erp")["state"] == "behind"
    });
    assert_eq!(stage.partners().len(), 1);
    assert_eq!(runtime.stop(), 0);
    let output = stage.lockstep(&["retry", "accounts"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("at the next start"), "{text}");
    let _runtime = stage.run();
    stage.until_equal();
}

#[test]
fn a_run_is_shown_and_steered_although_the_contracts_on_disk_do_not_load() {
    let stage = Stage::new();
    stage.put("A", 1);
    let runtime = stage.run();
    stage.until_equal();
    stage.until("the flow rests", || stage.state() == "idle");
    let good = "logicalType: integer";
    stage.edit("contracts/account.odcs.yaml", good, "logicalType: integr");
    let status = stage.status();
    assert_eq!(status["flows"][0]["state"], "idle", "{status}");
    let place = &status["unloadable"]["place"];
    assert_eq!(place["file"], "contracts/account.odcs.yaml", "{status}");
    let line = place["line"].as_u64().unwrap();
    let shown = stage.lockstep(&["status"]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    let at = format!("contracts/account.odcs.yaml:{line}:");
    let told: Vec<&str> = text.lines().filter(|line| line.contains(&at)).collect();
    assert_eq!(told.len(), 1, "{text}");
    assert!(told[0].contains("`lockstep contract lint`"), "{text}");
    assert_eq!(shown.status.code(), Some(0));
    assert_eq!(code(&stage, &["pause", "accounts"]), Some(0));
    stage.until("the flow is paused", || stage.state() == "paused");
    assert_eq!(code(&stage, &["resume", "accounts"]), Some(0));
    assert_eq!(code(&stage, &["quarantine", "list"]), Some(0));
    // Neither does a folder that is gone, nor a system whose settings are filled in elsewhere.
    std::fs::rename(
        stage.path().join("contracts"),
        stage.path().join("elsewhere"),
    )
    .unwrap();
    stage.configure("path = \"erp.db\"", "path = \"${NOBODY_SET_THIS}\"");
    assert_eq!(code(&stage, &["status"]), Some(0));
    assert_eq!(code(&stage, &["retry", "accounts"]), Some(0));
    assert_eq!(code(&stage, &["run"]), Some(2), "a start needs all of it");
    stage.put("B", 1);
    stage.until_equal();
    assert_eq!(runtime.stop(), 0);
    assert_eq!(stage.status()["running"], false);
}

#[test]
fn a_name_that_means_nothing_is_refused_with_one_that_does() {
    let stage = Stage::new();
    for (args, word) in [
        (&["pause", "acounts"][..], "accounts"),
        (&["pause", "crm.acounts"], "crm.accounts"),
        (&["pause", "accounts", "--to", "erq"], "erp"),
        (&["resume", "accounts", "--to", "crm"], "lockstep status"),
    ] {
        let output = stage.lockstep(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(word), "{args:?}: {text}");
    }
}
