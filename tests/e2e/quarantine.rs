//! What does not pass is set aside with its reason, and nothing else suffers.

use crate::stage::Stage;

fn broken(stage: &Stage, no: &str, land: &str) {
    stage
        .crm()
        .execute(
            "INSERT OR REPLACE INTO accounts VALUES (?1, 'Secret Name', ?2, 100, 100000000, 1)",
            [no, land],
        )
        .unwrap();
}

#[test]
fn a_record_that_breaks_its_contract_is_set_aside_and_the_others_go_on() {
    let stage = Stage::new();
    stage.put("A", 1);
    let _runtime = stage.run();
    stage.until_equal();
    broken(&stage, "BAD", "Atlantis");
    stage.put("B", 2);
    stage.until("the good one arrives", || stage.partners().len() == 2);
    stage.until("the bad one is in quarantine", || {
        stage.quarantined().len() == 1
    });
    let entry = stage.quarantined().remove(0);
    assert_eq!(entry["key"], "BAD");
    assert_eq!(entry["reasons"][0]["field"], "country");
    let id = entry["id"].as_str().unwrap();
    let shown = stage.lockstep(&["quarantine", "show", id]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(
        !text.contains("Secret Name"),
        "values are hidden unless asked for: {text}"
    );
    let shown = stage.json(&["quarantine", "show", id, "--show-values", "--json"]);
    assert_eq!(shown["values"]["land"], "Atlantis");
    // Verification knows that it is in quarantine and calls it no difference.
    let verified = stage.json(&["verify", "--json"]);
    assert_eq!(
        (
            verified["equal"].clone(),
            verified["pairs"][0]["quarantined"].clone()
        ),
        (true.into(), 1.into())
    );
    assert_eq!(stage.status()["flows"][0]["quarantined"], 1);

    // Sending it again changes nothing as long as nothing was mended.
    let retried = stage.lockstep(&["quarantine", "retry", id]);
    assert_eq!(retried.status.code(), Some(1));
    // A good version of the record supersedes it.
    stage.put("BAD", 5);
    stage.until_equal();
    stage.until("it is closed", || stage.quarantined().is_empty());
    let all = stage.json(&["quarantine", "list", "--all", "--json"]);
    assert_eq!(all["entries"][0]["state"], "superseded");
}

#[test]
fn a_mended_contract_lets_a_quarantined_record_through() {
    let stage = Stage::new();
    broken(&stage, "BAD", "Austria");
    let runtime = stage.run();
    stage.until("it is in quarantine", || stage.quarantined().len() == 1);
    assert_eq!(runtime.stop(), 0);
    stage.configure(
        "\"France\" = \"FR\"",
        "\"France\" = \"FR\"\n\"Austria\" = \"AT\"",
    );
    stage.edit(
        "contracts/account.odcs.yaml",
        "[DE, FR, US]",
        "[AT, DE, FR, US]",
    );
    // A version that ran never changes.
    stage.edit(
        "contracts/account.odcs.yaml",
        "version: 1.0.0",
        "version: 1.0.1",
    );
    let _runtime = stage.run();
    let done = stage.lockstep(&["quarantine", "retry", "--all"]);
    assert_eq!(
        done.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&done.stdout)
    );
    stage.until_equal();
    assert!(stage.quarantined().is_empty());
}

#[test]
fn what_a_target_refuses_is_set_aside_until_it_is_sent_again() {
    let stage = Stage::new();
    stage
        .erp()
        .execute_batch(
            "CREATE TRIGGER no_x BEFORE INSERT ON partners WHEN new.code LIKE 'P-X%' \
             BEGIN SELECT raise(ABORT, 'codes with X are not for here'); END",
        )
        .unwrap();
    let runtime = stage.run();
    for no in ["A", "X1", "B", "X2", "C"] {
        stage.put(no, 1);
    }
    stage.until("the others arrive", || stage.partners().len() == 3);
    stage.until("both are in quarantine", || stage.quarantined().len() == 2);
    let entries = stage.quarantined();
    assert_eq!(entries[0]["stage"], "deliver");
    assert!(
        entries[0]["reasons"][0]["message"]
            .as_str()
            .unwrap()
            .contains("codes with X")
    );
    // The decision survives a restart.
    runtime.kill();
    let _runtime = stage.run();
    assert_eq!(stage.quarantined().len(), 2);
    let dropped = stage.lockstep(&["quarantine", "drop", entries[0]["id"].as_str().unwrap()]);
    assert_eq!(dropped.status.code(), Some(0));
    stage.erp().execute_batch("DROP TRIGGER no_x").unwrap();
    let again = stage.lockstep(&["quarantine", "retry", "--all", "--json"]);
    assert_eq!(
        again.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&again.stdout)
    );
    stage.until("it arrives", || stage.partners().len() == 4);
    assert!(stage.quarantined().is_empty());
}

#[test]
fn records_that_swap_a_unique_value_in_one_transaction_arrive() {
    let stage = Stage::new();
    stage
        .erp()
        .execute_batch("CREATE UNIQUE INDEX one_name ON partners (name)")
        .unwrap();
    let name = |no: &str, name: &str| {
        let change =
            "INSERT OR REPLACE INTO accounts VALUES (?1, ?2, 'Germany', 100, 100000000, 1)";
        stage.crm().execute(change, [no, name]).unwrap();
    };
    // Enough pairs that some stand in different lanes and some in one.
    for no in 0..20 {
        name(&format!("A{no}"), &format!("one {no}"));
        name(&format!("B{no}"), &format!("two {no}"));
    }
    name("Z", "nobody's");
    let _runtime = stage.run();
    stage.until_equal();
    let mut crm = stage.crm();
    let tx = crm.transaction().unwrap();
    let rename = "UPDATE accounts SET title = ?2, version = version + 1 WHERE no = ?1";
    for no in 0..20 {
        let (a, b) = (format!("A{no}"), format!("B{no}"));
        tx.execute(rename, [&a, "tmp"]).unwrap();
        tx.execute(rename, [&b, &format!("one {no}")]).unwrap();
        tx.execute(rename, [&a, &format!("two {no}")]).unwrap();
    }
    // What no order lets through does not keep the others out.
    tx.execute(rename, ["Z", "one 3"]).unwrap();
    tx.commit().unwrap();
    stage.until("only the hopeless one is refused", || {
        let open = stage.quarantined();
        open.len() == 1 && open[0]["key"] == "Z"
    });
    let arrived = |erp: &rusqlite::Connection| {
        let count = "SELECT count(*) FROM partners WHERE (code LIKE 'P-A%' AND name LIKE 'two %') OR (code LIKE 'P-B%' AND name LIKE 'one %')";
        erp.query_row(count, [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    stage.until("all others arrive", || arrived(&stage.erp()) == 40);
    assert_eq!(stage.quarantined().len(), 1);
}

#[test]
fn quarantine_can_be_looked_at_while_nothing_runs() {
    let stage = Stage::new();
    broken(&stage, "BAD", "Atlantis");
    let runtime = stage.run();
    stage.until("it is in quarantine", || stage.quarantined().len() == 1);
    runtime.kill();
    let entries = stage.quarantined();
    assert_eq!(entries.len(), 1);
    let retried = stage.lockstep(&["quarantine", "retry", "--all"]);
    assert_eq!(retried.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&retried.stderr).contains("lockstep run"));
}

#[test]
fn a_rejected_value_of_any_form_or_size_stops_nobody() {
    let stage = Stage::new();
    let _runtime = stage.run();
    let crm = stage.crm();
    let insert = "INSERT INTO accounts VALUES (?1, ?2, ?3, 1, 2, 1)";
    crm.execute(insert, ["LINES", "x", "two\nlines\tand \u{7} a bell"])
        .unwrap();
    crm.execute(insert, ["LARGE", &"y".repeat(2_000_000), "Germany"])
        .unwrap();
    crm.execute(insert, ["LARGER", &"z".repeat(700_000), "Atlantis"])
        .unwrap();
    stage.put("GOOD", 1);
    stage.until("the good one arrives", || stage.partners().len() == 1);
    stage.until("the others are in quarantine", || {
        stage.quarantined().len() == 3
    });
    for entry in stage.quarantined() {
        let retried = stage.lockstep(&["quarantine", "retry", entry["id"].as_str().unwrap()]);
        assert_eq!(retried.status.code(), Some(1), "{entry}");
    }
}

#[test]
fn a_record_whose_key_changed_while_it_was_in_quarantine_leaves_no_ghost() {
    let stage = Stage::new();
    for no in ["A", "B", "C"] {
        stage.put(no, 1);
    }
    let runtime = stage.run();
    stage.until_equal();
    let crm = stage.crm();
    // The key changes and the record breaks its contract in one edit.
    for no in ["A", "B"] {
        let edit =
            "UPDATE accounts SET no = no || '2', land = 'Atlantis', version = 2 WHERE no = ?1";
        crm.execute(edit, [no]).unwrap();
    }
    stage.until("both are in quarantine", || stage.quarantined().len() == 2);
    let verified = stage.json(&["verify", "--json"]);
    assert_eq!(verified["equal"], true, "{verified}");
    // Another record takes one of the old keys.
    stage.put("B", 7);
    stage.until("it arrives", || {
        stage.partners().contains(&("B".to_owned(), 7))
    });
    // Refused again, then a restart: what targets hold is still known.
    crm.execute(
        "UPDATE accounts SET land = 'Utopia' WHERE no IN ('A2', 'B2')",
        [],
    )
    .unwrap();
    stage.until("the newest refusals stand", || {
        stage.quarantined().iter().all(|entry| {
            entry["reasons"][0]["message"]
                .as_str()
                .unwrap()
                .contains("Utopia")
        })
    });
    runtime.kill();
    let _runtime = stage.run();
    crm.execute(
        "UPDATE accounts SET land = 'France', version = 3 WHERE no IN ('A2', 'B2')",
        [],
    )
    .unwrap();
    stage.until_equal();
    stage.until("nothing is left in quarantine", || {
        stage.quarantined().is_empty()
    });
}

#[test]
fn an_old_version_is_never_sent_over_a_newer_one() {
    let stage = Stage::new();
    stage
        .erp()
        .execute_batch(
            "CREATE TRIGGER no_v BEFORE INSERT ON partners WHEN new.version < 3 \
             BEGIN SELECT raise(ABORT, 'too young'); END",
        )
        .unwrap();
    let _runtime = stage.run();
    stage.put("A", 1);
    stage.until("the first is refused", || stage.quarantined().len() == 1);
    let first = stage.quarantined()[0]["id"].as_str().unwrap().to_owned();
    stage.put("A", 2);
    stage.until("the second is refused instead", || {
        let open = stage.quarantined();
        open.len() == 1 && open[0]["id"] != first.as_str()
    });
    let second = stage.quarantined()[0]["id"].as_str().unwrap().to_owned();
    stage.put("A", 3);
    stage.until_equal();
    stage.until("both are closed", || stage.quarantined().is_empty());
    for id in [first, second] {
        assert_eq!(
            stage.lockstep(&["quarantine", "retry", &id]).status.code(),
            Some(1)
        );
    }
    assert_eq!(stage.partners(), [("A".to_owned(), 3)]);
}
