//! Contracts and tables that become something else while changes flow.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lockstep_servers::nats::{Options, Server};
use rusqlite::Connection;

use crate::stage::{Stage, binary, put};
use crate::things::{Running, THINGS, things, until_in};

const CONTRACT: &str = "contracts/account.odcs.yaml";

/// A further field, as the end of the contract's file has room for it.
fn field(yaml: &str) -> (&'static str, String) {
    let last = "      - name: version\n        logicalType: integer\n        required: true\n";
    (last, format!("{last}{yaml}"))
}

/// An entity of its own beside the accounts, in the same files.
fn add_items(stage: &Stage) {
    let contract = "apiVersion: v3.1.0\nkind: DataContract\nid: item\nversion: 1.0.0\nstatus: active\nschema:\n  - name: item\n    customProperties:\n      - property: lockstep.owner\n        value: crm\n    properties:\n      - name: id\n        logicalType: string\n        primaryKey: true\n        required: true\n      - name: amount\n        logicalType: integer\n        required: true\n";
    fs::write(stage.path().join("contracts/item.odcs.yaml"), contract).unwrap();
    let more = "[flows.items]\nentity = \"item\"\nfrom = \"crm\"\nto = [\"erp\"]\n\n[systems.crm.map.item]\ntable = \"items\"\nfields = { id = \"id\", amount = \"amount\" }\n\n[systems.erp.map.item]\ntable = \"items\"\nfields = { id = \"id\", amount = \"amount\" }\n\n[flows.accounts]";
    stage.configure("[flows.accounts]", more);
    let table = "CREATE TABLE items (id TEXT PRIMARY KEY NOT NULL, amount INTEGER NOT NULL)";
    stage.crm().execute_batch(table).unwrap();
    stage.erp().execute_batch(table).unwrap();
}

fn texts(db: &Connection, sql: &str) -> Vec<(String, Option<String>)> {
    let mut select = db.prepare(sql).unwrap();
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

fn memos(stage: &Stage) -> [Vec<(String, Option<String>)>; 2] {
    [
        texts(&stage.crm(), "SELECT no, memo FROM accounts ORDER BY no"),
        texts(
            &stage.erp(),
            "SELECT substr(code, 3), memo FROM partners ORDER BY code",
        ),
    ]
}

/// The flow of an entity, as `status` shows it.
fn flow(stage: &Stage, entity: &str) -> serde_json::Value {
    let status = stage.status();
    let flows = status["flows"].as_array().cloned().unwrap_or_default();
    let of = |flow: &serde_json::Value| flow["entity"] == entity;
    flows.into_iter().find(of).unwrap_or_default()
}

/// Events of the old version that no target has yet, as a kill leaves them.
fn leave_events_on_their_way(stage: &Stage) {
    for n in 0..60 {
        stage.put(&format!("A{n:02}"), n);
    }
    let runtime = stage.run();
    stage.until_equal();
    let erp = stage.erp();
    erp.execute_batch("BEGIN IMMEDIATE").unwrap();
    for n in 0..30 {
        stage.put(&format!("A{n:02}"), 100 + n);
    }
    stage
        .crm()
        .execute("DELETE FROM accounts WHERE no IN ('A40', 'A41')", [])
        .unwrap();
    let before = stage.status()["log"]["last_seq"].as_u64().unwrap_or(0);
    stage.put("Z", 1);
    stage.until("the log has them", || {
        stage.status()["log"]["last_seq"].as_u64().unwrap_or(0) > before
            && flow(stage, "account")["lag_ms"].as_u64().unwrap_or(0) > 0
    });
    runtime.kill();
    drop(erp);
}

fn becomes(stage: &Stage, version: &str, yaml: &str) {
    stage.edit(CONTRACT, "version: 1.0.0", &format!("version: {version}"));
    let (from, to) = field(yaml);
    stage.edit(CONTRACT, from, &to);
}

fn upgraded(stage: &Stage, version: &str) {
    leave_events_on_their_way(stage);
    becomes(
        stage,
        version,
        "      - name: memo\n        logicalType: string\n",
    );
    for map in [
        "version = \"version\"\n\n[systems.erp]",
        "version = \"version\"\n\n[flows.accounts]",
    ] {
        stage.configure(map, &format!("memo = \"memo\"\n{map}"));
    }
    stage.crm().execute_batch("ALTER TABLE accounts ADD COLUMN memo TEXT; UPDATE accounts SET memo = 'm' || no WHERE version % 2 = 1").unwrap();
    stage
        .erp()
        .execute_batch("ALTER TABLE partners ADD COLUMN memo TEXT")
        .unwrap();
    let runtime = stage.run();
    stage.put("N", 7);
    stage.until_equal();
    stage.until(
        "the new field arrives, also for rows that nobody touched",
        || {
            let [crm, erp] = memos(stage);
            crm == erp
        },
    );
    assert_eq!(stage.quarantined(), Vec::<serde_json::Value>::new());
    assert_eq!(flow(stage, "account")["contract"], version);
    stage.until("the flow rests", || stage.state() == "idle");
    assert_eq!(stage.lockstep(&["verify"]).status.code(), Some(0));
    assert_eq!(runtime.stop(), 0);
    let writes = stage.writes().len();
    let _runtime = stage.run();
    stage.put("O", 1);
    stage.until_equal();
    stage.until("the flow rests again", || stage.state() == "idle");
    assert_eq!(
        stage.writes().len(),
        writes + 1,
        "what was done is done again"
    );
}

#[test]
fn events_of_an_older_minor_version_are_read_as_what_they_are() {
    upgraded(&Stage::new(), "1.1.0");
}

#[test]
fn a_new_major_loses_nothing_that_was_on_its_way_and_begins_with_all_records() {
    let stage = Stage::new();
    upgraded(&stage, "2.0.0");
}

#[test]
fn a_new_major_on_a_server_loses_nothing_either() {
    let Some(server) = Server::start(&Options::default()) else {
        return;
    };
    let stage = Stage::new();
    stage.log_on(&format!("\"{}\"", server.url()), "");
    upgraded(&stage, "2.0.0");
}

#[test]
fn a_migration_carries_events_on_their_way_into_the_new_major() {
    let stage = Stage::new();
    leave_events_on_their_way(&stage);
    becomes(&stage, "2.0.0", "");
    stage.edit(CONTRACT, "      - name: name\n", "      - name: title\n");
    stage.edit(CONTRACT, "      - property: lockstep.owner\n        value: crm\n", "      - property: lockstep.owner\n        value: crm\n      - property: lockstep.migrations\n        value:\n          - from: 1.0.0\n            to: 2.0.0\n            up:\n              - rename: { from: name, to: title }\n            down:\n              - rename: { from: title, to: name }\n");
    stage.configure("name = \"title\"", "title = \"title\"");
    stage.configure("name = \"name\"", "title = \"name\"");
    let _runtime = stage.run();
    stage.until_equal();
    stage.until("the flow rests", || stage.state() == "idle");
    assert_eq!(stage.quarantined(), Vec::<serde_json::Value>::new());
    assert_eq!(stage.lockstep(&["verify"]).status.code(), Some(0));
}

#[test]
fn a_target_may_stay_on_an_older_version() {
    let stage = Stage::new();
    for n in 0..20 {
        stage.put(&format!("A{n:02}"), n);
    }
    let runtime = stage.run();
    stage.until_equal();
    assert_eq!(runtime.stop(), 0);
    becomes(&stage, "2.0.0", "");
    stage.edit(CONTRACT, "      - name: name\n", "      - name: title\n");
    stage.edit(CONTRACT, "      - property: lockstep.owner\n        value: crm\n", "      - property: lockstep.owner\n        value: crm\n      - property: lockstep.migrations\n        value:\n          - from: 1.0.0\n            to: 2.0.0\n            up:\n              - rename: { from: name, to: title }\n            down:\n              - rename: { from: title, to: name }\n");
    stage.configure("name = \"title\"", "title = \"title\"");
    stage.configure(
        "to = [\"erp\"]\n",
        "to = [\"erp\"]\nversions = { erp = \"1\" }\n",
    );
    let _runtime = stage.run();
    stage.put("A05", 50);
    stage.put("B", 1);
    stage
        .crm()
        .execute("DELETE FROM accounts WHERE no = 'A07'", [])
        .unwrap();
    stage.until_equal();
    assert_eq!(flow(&stage, "account")["contract"], "1.0.0");
    assert_eq!(stage.quarantined(), Vec::<serde_json::Value>::new());
}

#[test]
fn a_target_may_stay_on_a_released_version_that_never_ran_here() {
    let stage = Stage::new();
    let released = stage.lockstep(&["contract", "release", "account"]);
    assert!(released.status.success(), "{released:?}");
    let lock = stage
        .path()
        .join("contracts/releases/account/1.0.0.lock.json");
    stage.edit(CONTRACT, "version: 1.0.0", "version: 2.0.0");
    stage.edit(CONTRACT, "      - name: name\n", "      - name: title\n");
    let owner = "      - property: lockstep.owner\n        value: crm\n";
    let migration = "      - property: lockstep.migrations\n        value:\n          - from: 1.0.0\n            to: 2.0.0\n            up:\n              - rename: { from: name, to: title }\n";
    stage.edit(CONTRACT, owner, &format!("{owner}{migration}"));
    stage.configure("name = \"title\"", "title = \"title\"");
    stage.configure(
        "to = [\"erp\"]\n",
        "to = [\"erp\"]\nversions = { erp = \"1\" }\n",
    );
    let check = || {
        let checked = stage.lockstep(&["check"]);
        let told = String::from_utf8(checked.stderr).unwrap();
        (checked.status.code(), told)
    };
    assert_eq!(check().0, Some(0), "{}", check().1);
    let text = fs::read_to_string(&lock).unwrap();
    fs::write(&lock, text.replace("\"format\": 1", "\"format\": 9")).unwrap();
    let (exit, told) = check();
    assert_eq!(exit, Some(1));
    assert!(
        told.contains("LS-C047") && told.contains("LS-E008"),
        "{told}"
    );
    fs::write(&lock, text).unwrap();

    let runtime = stage.run();
    stage.put("A", 1);
    stage.until_equal();
    assert_eq!(flow(&stage, "account")["contract"], "1.0.0");
    assert_eq!(stage.quarantined(), Vec::<serde_json::Value>::new());
    assert_eq!(runtime.stop(), 0);
    // The log keeps it, whatever becomes of the file.
    fs::remove_file(&lock).unwrap();
    assert_eq!(check().0, Some(0), "{}", check().1);
}

#[test]
fn a_version_that_ran_is_neither_rewritten_nor_taken_back_by_mistake() {
    let stage = Stage::new();
    stage.put("A", 1);
    assert_eq!(stage.run().stop(), 0);
    let file = fs::read_to_string(stage.path().join(CONTRACT)).unwrap();
    stage.edit(CONTRACT, "maxLength: 40", "maxLength: 41");
    let mut refused = stage.spawn();
    assert_eq!(refused.wait(), 1);
    assert!(refused.log().contains("LS-E005"), "{}", refused.log());
    stage.edit(CONTRACT, "version: 1.0.0", "version: 1.0.1");
    assert_eq!(stage.run().stop(), 0);
    fs::write(stage.path().join(CONTRACT), file).unwrap();
    let mut refused = stage.spawn();
    assert_eq!(refused.wait(), 1);
    assert!(refused.log().contains("LS-E006"), "{}", refused.log());
    stage.configure(
        "[flows.accounts]",
        "[versions]\naccept_older = { account = \"1.0.0\" }\n\n[flows.accounts]",
    );
    let _runtime = stage.run();
    stage.put("B", 2);
    stage.until_equal();
}

#[test]
fn a_table_that_does_not_fit_any_more_parks_its_entity_alone_until_it_fits_again() {
    let stage = Stage::new();
    add_items(&stage);
    for n in 0..20 {
        stage.put(&format!("A{n:02}"), n);
    }
    let runtime = stage.run();
    stage.until_equal();
    stage
        .crm()
        .execute_batch("ALTER TABLE accounts RENAME COLUMN title TO caption")
        .unwrap();
    let crm = stage.crm();
    let write = |no: &str, version: i64| {
        let sql = "INSERT INTO accounts VALUES (?1, 'x', 'France', 101, 100000000, ?2) ON CONFLICT (no) DO UPDATE SET version = excluded.version";
        crm.execute(sql, (no, version)).unwrap();
    };
    write("A00", 50);
    write("B", 1);
    write("B", 2);
    crm.execute("DELETE FROM accounts WHERE no = 'A01'", [])
        .unwrap();
    write("A02", 60);
    crm.execute("DELETE FROM accounts WHERE no = 'A02'", [])
        .unwrap();
    crm.execute("UPDATE accounts SET no = 'C03' WHERE no = 'A03'", [])
        .unwrap();
    stage.until("the accounts are held with the reason", || {
        let flow = flow(&stage, "account");
        flow["state"] == "held" && flow["reason"].as_str().unwrap_or("").contains("title")
    });
    crm.execute("INSERT INTO items VALUES ('i', 7)", [])
        .unwrap();
    stage.until("everything else goes on", || {
        texts(&stage.erp(), "SELECT id, amount || '' FROM items").len() == 1
    });
    stage.until("they rest", || flow(&stage, "item")["state"] == "idle");
    assert_eq!(
        stage.lockstep(&["contract", "drift", "crm"]).status.code(),
        Some(1)
    );
    let report = stage.json(&["contract", "drift", "account", "--json"]);
    assert_eq!(report["kind"], "breaking");
    assert_eq!(stage.partners().len(), 20);
    // The hold outlives a kill, and what comes meanwhile is kept as well.
    runtime.kill();
    write("D", 1);
    let _runtime = stage.run();
    stage.until("the accounts are still held", || {
        flow(&stage, "account")["state"] == "held"
    });
    crm.execute("DELETE FROM accounts WHERE no = 'A04'", [])
        .unwrap();
    crm.execute("INSERT INTO items VALUES ('j', 8)", [])
        .unwrap();
    stage.until("the others still go on", || {
        texts(&stage.erp(), "SELECT id, amount || '' FROM items").len() == 2
    });
    crm.execute_batch("ALTER TABLE accounts RENAME COLUMN caption TO title")
        .unwrap();
    stage.until_equal();
    stage.until("the hold is over", || {
        stage.quarantined().is_empty() && flow(&stage, "account")["state"] == "idle"
    });
    assert_eq!(stage.lockstep(&["verify"]).status.code(), Some(0));
}

#[test]
fn a_policy_that_fails_ends_the_run_when_nothing_else_is_left() {
    let stage = Stage::new();
    stage.configure(
        "[flows.accounts]",
        "[drift]\nbreaking = \"fail\"\n\n[flows.accounts]",
    );
    stage.put("A", 1);
    let mut runtime = stage.run();
    stage.until_equal();
    stage.erp().execute_batch("DROP TABLE partners").unwrap();
    stage
        .crm()
        .execute_batch("ALTER TABLE accounts RENAME COLUMN title TO caption")
        .unwrap();
    let sql = "INSERT INTO accounts VALUES ('B', 'x', 'France', 101, 100000000, 1)";
    stage.crm().execute(sql, []).unwrap();
    stage.until("the source's part ended", || {
        runtime.log().contains("LS-E007") || runtime.log().contains("policy")
    });
    let _ = &mut runtime;
}

#[test]
fn a_new_column_of_a_source_reaches_the_target_with_the_data_although_lockstep_is_killed() {
    let stage = Stage::new();
    stage.configure(
        "[flows.accounts]",
        "[drift]\nadditive = \"propagate\"\n\n[flows.accounts]",
    );
    for n in 0..200 {
        stage.put(&format!("S{n:03}"), n);
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let crm = stage.crm();
            let mut n = 0;
            while !over.load(Ordering::Relaxed) {
                n += 1;
                put(&crm, &format!("W{:02}", n % 50), n);
                // Fails until the column is there.
                let _ = crm.execute(
                    "UPDATE accounts SET memo = 'm' || version WHERE no = ?1",
                    [format!("W{:02}", n % 50)],
                );
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let runtime = stage.run();
        stage.until("something arrives", || stage.partners().len() > 100);
        stage
            .crm()
            .execute_batch("ALTER TABLE accounts ADD COLUMN memo TEXT DEFAULT 'none'")
            .unwrap();
        stage.until("the target has the column", || {
            stage.erp().prepare("SELECT memo FROM partners").is_ok()
        });
        runtime.kill();
        let runtime = stage.run();
        std::thread::sleep(Duration::from_millis(300));
        runtime.kill();
        over.store(true, Ordering::Relaxed);
    });
    let runtime = stage.run();
    stage.until_equal();
    stage.until("every value of it is there", || {
        let [crm, erp] = memos(&stage);
        crm == erp
    });
    assert_eq!(stage.quarantined(), Vec::<serde_json::Value>::new());
    assert_eq!(flow(&stage, "account")["contract"], "1.1.0");
    let report = stage.json(&["contract", "drift", "--json"]);
    assert_eq!(report["kind"], "ok", "{report}");
    let yaml = report["taken"][0]["yaml"].as_str().unwrap();
    assert!(yaml.contains("- name: memo"), "{yaml}");
    // The owner takes it up as it is told.
    assert_eq!(runtime.stop(), 0);
    let indented: String = yaml.lines().map(|line| format!("      {line}\n")).collect();
    becomes(&stage, "1.1.0", &indented);
    // Nobody has to map it: it goes on, at this start and at every later one.
    for round in 5..7 {
        let runtime = stage.run();
        stage.put("N", round);
        let edit = "UPDATE accounts SET memo = 'owned ' || version WHERE no IN ('N', 'S003')";
        stage.crm().execute(edit, []).unwrap();
        stage.until_equal();
        stage.until("what is edited in it arrives", || {
            let [crm, erp] = memos(&stage);
            crm == erp
        });
        assert_eq!(runtime.stop(), 0);
    }
    let report = stage.json(&["contract", "drift", "--json"]);
    assert_eq!(report["taken"], serde_json::Value::Null, "{report}");
}

#[test]
fn columns_that_came_while_lockstep_did_not_run_are_taken_along() {
    let stage = Stage::new();
    stage.configure(
        "[flows.accounts]",
        "[drift]\nadditive = \"propagate\"\n\n[flows.accounts]",
    );
    stage.put("A", 1);
    let runtime = stage.run();
    stage.until_equal();
    assert_eq!(runtime.stop(), 0);
    stage
        .crm()
        .execute_batch("ALTER TABLE accounts ADD COLUMN weight TEXT; ALTER TABLE accounts ADD COLUMN memo TEXT DEFAULT 'none'")
        .unwrap();
    let runtime = stage.run();
    stage.put("B", 2);
    stage.until("the columns are there with their values", || {
        stage
            .erp()
            .prepare("SELECT weight, memo FROM partners")
            .is_ok()
            && {
                let [crm, erp] = memos(&stage);
                crm == erp
            }
    });
    assert_eq!(flow(&stage, "account")["contract"], "1.1.0");
    assert_eq!(runtime.stop(), 0);
    let _runtime = stage.run();
    stage.put("C", 3);
    stage.until_equal();
    assert_eq!(flow(&stage, "account")["contract"], "1.1.0");
}

#[test]
fn a_field_that_a_target_has_no_column_for_is_added_before_its_first_value() {
    let stage = Stage::new();
    stage.put("A", 1);
    let runtime = stage.run();
    stage.until_equal();
    assert_eq!(runtime.stop(), 0);
    becomes(
        &stage,
        "1.1.0",
        "      - name: memo\n        logicalType: string\n",
    );
    for map in [
        "version = \"version\"\n\n[systems.erp]",
        "version = \"version\"\n\n[flows.accounts]",
    ] {
        stage.configure(map, &format!("memo = \"memo\"\n{map}"));
    }
    stage
        .crm()
        .execute_batch("ALTER TABLE accounts ADD COLUMN memo TEXT; UPDATE accounts SET memo = 'x'")
        .unwrap();
    stage.configure(
        "to = [\"erp\"]\n",
        "to = [\"erp\"]\ndrift = { additive = \"propagate\" }\n",
    );
    let _runtime = stage.run();
    stage.until("the column is there with its value", || {
        stage.erp().prepare("SELECT memo FROM partners").is_ok() && {
            let [crm, erp] = memos(&stage);
            crm == erp
        }
    });
}

#[test]
fn a_column_that_went_and_came_back_unseen_is_filled_again_and_a_list_stays_a_list() {
    let Some((from, to, folder)) = things() else {
        return;
    };
    let at = folder.path();
    let rows = "SELECT count(*), md5(string_agg(id || name, ',' ORDER BY id)) FROM things";
    let equal = || from.sql("things", rows).unwrap() == to.sql("things", rows).unwrap_or_default();
    let running = Running::start(at);
    until_in(at, "both the same", &equal);
    drop(running);
    let anew = "ALTER TABLE things DROP COLUMN name; ALTER TABLE things ADD COLUMN name text";
    to.sql("things", anew).unwrap();
    let _running = Running::start(at);
    until_in(at, "both the same again", &equal);
    let drift = || {
        let mut command = Command::new(binary());
        command.args(["contract", "drift", "--json"]);
        let output = command.current_dir(at).output().unwrap();
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let alter = "ALTER TABLE things ADD COLUMN \"Größe (cm)\" int; ALTER TABLE things ADD COLUMN tags text[] DEFAULT '{a,b}'";
    from.sql("things", alter).unwrap();
    from.sql("things", "UPDATE things SET name = 'z' WHERE id = 1")
        .unwrap();
    let tags = "SELECT count(*) FROM things WHERE tags::text = '[\"a\", \"b\"]'";
    until_in(at, "the lists are there", &|| {
        to.sql("things", tags).unwrap_or_default() == "500"
    });
    let report = drift();
    let yaml = report["taken"][0]["yaml"].as_str().unwrap_or_default();
    assert!(yaml.contains("logicalType: array"), "{report}");
    assert!(
        report["tables"][0].to_string().contains("Größe (cm)"),
        "what cannot be taken along is told on: {report}"
    );
}

#[test]
fn flows_that_arrive_in_whole_transactions_get_again_what_their_target_lost() {
    let Some((from, to, folder)) = things() else {
        return;
    };
    let at = folder.path();
    let config = THINGS.replace("additive", "every = \"1s\"\nadditive");
    let whole = format!("{config}consistency = \"transaction\"\n");
    fs::write(at.join("lockstep.toml"), whole).unwrap();
    let rows = "SELECT count(*), md5(string_agg(id || name, ',' ORDER BY id)) FROM things";
    let equal = || from.sql("things", rows).unwrap() == to.sql("things", rows).unwrap_or_default();
    let _running = Running::start(at);
    until_in(at, "both the same", &equal);
    to.sql("things", "ALTER TABLE things DROP COLUMN name")
        .unwrap();
    until_in(at, "the column is back with its values", &equal);
    let anew = "DROP TABLE things; CREATE TABLE things (id bigint PRIMARY KEY, name text)";
    to.sql("things", anew).unwrap();
    until_in(at, "so are the rows in a table that was made anew", &equal);
}

#[test]
fn a_new_column_of_a_postgres_table_reaches_the_target_although_lockstep_is_killed() {
    let Some((from, to, folder)) = things() else {
        return;
    };
    let at = folder.path();
    let until = |what: &str, holds: &dyn Fn() -> bool| until_in(at, what, holds);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !over.load(Ordering::Relaxed) {
                n += 1;
                let change = format!(
                    "INSERT INTO things (id, name) VALUES ({}, 'b{n}'); UPDATE things SET name = 'c{n}' WHERE id = {}",
                    1000 + n,
                    1 + n % 500
                );
                from.sql("things", &change).unwrap();
            }
        });
        let running = Running::start(at);
        let count = "SELECT count(*) >= 500 FROM things";
        until("the first rows", &|| {
            to.sql("things", count).unwrap() == "t"
        });
        let alter = "ALTER TABLE things ADD COLUMN weight numeric(9,3) DEFAULT 1.5";
        from.sql("things", alter).unwrap();
        let there = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'things' AND column_name = 'weight'";
        until("the column", &|| to.sql("things", there).unwrap() == "1");
        drop(running);
        let running = Running::start(at);
        from.sql("things", "UPDATE things SET weight = id WHERE id < 100")
            .unwrap();
        std::thread::sleep(Duration::from_millis(200));
        drop(running);
        over.store(true, Ordering::Relaxed);
    });
    let _running = Running::start(at);
    let rows =
        "SELECT count(*), md5(string_agg(id || name || weight, ',' ORDER BY id)) FROM things";
    until("both the same", &|| {
        from.sql("things", rows).unwrap() == to.sql("things", rows).unwrap_or_default()
    });
}
