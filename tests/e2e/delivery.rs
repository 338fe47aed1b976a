//! What arrives, and in which form.

use crate::stage::{Stage, put};

#[test]
fn what_is_there_and_what_comes_arrives_in_the_targets_form() {
    let stage = Stage::new();
    for n in 0..500 {
        stage.put(&format!("A{n:03}"), n);
    }
    let _runtime = stage.run();
    stage.until_equal();
    stage.put("A001", 700);
    stage
        .crm()
        .execute("DELETE FROM accounts WHERE no = 'A002'", [])
        .unwrap();
    stage.put("B1", 1);
    stage.until_equal();
    let row: (String, String, String) = stage
        .erp()
        .query_row(
            "SELECT name, country, balance FROM partners WHERE code = 'P-A001'",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert_eq!(row, ("account A001".into(), "FR".into(), "707.00".into()));
    stage.until("verify is content", || {
        stage.lockstep(&["verify"]).status.code() == Some(0)
    });
}

#[test]
fn a_key_change_keeps_the_targets_own_id() {
    let stage = Stage::new();
    for n in 0..40 {
        stage.put(&format!("A{n:02}"), 1);
    }
    let _runtime = stage.run();
    stage.until_equal();
    let id = |code: &str| -> Option<i64> {
        stage
            .erp()
            .query_row("SELECT id FROM partners WHERE code = ?1", [code], |row| {
                row.get(0)
            })
            .ok()
    };
    let before: Vec<_> = (0..40).map(|n| id(&format!("P-A{n:02}"))).collect();
    // The old key is used again at once, by another record.
    let mut crm = stage.crm();
    for n in 0..40 {
        let transaction = crm.transaction().unwrap();
        let (old, new) = (format!("A{n:02}"), format!("N{n:02}"));
        transaction
            .execute(
                "UPDATE accounts SET no = ?2, version = 2 WHERE no = ?1",
                [&old, &new],
            )
            .unwrap();
        if n % 2 == 0 {
            put(&transaction, &old, 3);
        }
        transaction.commit().unwrap();
    }
    stage.until_equal();
    let after: Vec<_> = (0..40).map(|n| id(&format!("P-N{n:02}"))).collect();
    assert_eq!(before, after);
}

#[test]
fn a_source_made_anew_is_read_anew_and_nothing_equal_is_written_again() {
    let stage = Stage::new();
    for n in 0..100 {
        stage.put(&format!("A{n:02}"), n);
    }
    let runtime = stage.run();
    stage.until_equal();
    assert_eq!(runtime.stop(), 0);
    let writes = stage.writes().len();
    stage.make_source();
    for n in 0..100 {
        stage.put(&format!("A{n:02}"), n);
    }
    stage.put("B", 1);
    let _runtime = stage.run();
    stage.until("the new record arrives", || stage.partners().len() == 101);
    stage.until("the flow rests", || stage.state() == "idle");
    assert_eq!(stage.writes().len(), writes + 1);
}

#[test]
fn a_column_added_while_running_disturbs_nothing() {
    let stage = Stage::new();
    stage.put("A", 1);
    let _runtime = stage.run();
    stage.until_equal();
    stage
        .crm()
        .execute_batch("ALTER TABLE accounts ADD COLUMN phone TEXT")
        .unwrap();
    stage
        .crm()
        .execute(
            "UPDATE accounts SET phone = '1', version = 2 WHERE no = 'A'",
            [],
        )
        .unwrap();
    stage
        .crm()
        .execute(
            "INSERT INTO accounts VALUES ('B', 'b', 'France', 1, 2, 1, '2')",
            [],
        )
        .unwrap();
    stage.until_equal();
}

#[test]
fn a_locked_target_is_waited_for() {
    let stage = Stage::new();
    stage.put("A", 1);
    let _runtime = stage.run();
    stage.until_equal();
    let erp = stage.erp();
    erp.execute_batch("BEGIN EXCLUSIVE").unwrap();
    for n in 0..50 {
        stage.put(&format!("L{n:02}"), n);
    }
    stage.until("it is noticed", || stage.state() != "idle");
    erp.execute_batch("COMMIT").unwrap();
    stage.until_equal();
    let mut writes = stage.writes();
    writes.sort();
    let all = writes.len();
    writes.dedup();
    assert_eq!(writes.len(), all, "something was written twice");
}
