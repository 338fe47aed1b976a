//! Starting, stopping, looking on, and everything that can stand in the way of it.

use std::fs;

use crate::stage::Stage;

#[test]
fn a_second_runtime_on_the_same_log_is_refused_with_the_first_ones_pid() {
    let stage = Stage::new();
    let first = stage.run();
    let mut second = stage.spawn();
    assert_eq!(second.wait(), 3);
    let log = second.log();
    assert!(
        log.contains("LS-L004") && log.contains(&first.pid().to_string()),
        "{log}"
    );
    stage.put("A", 1);
    stage.until_equal();
}

#[test]
fn a_damaged_log_is_named_and_nothing_is_lost_without_it() {
    let stage = Stage::new();
    for n in 0..3000 {
        stage.put(&format!("A{n:04}"), n);
    }
    let runtime = stage.run();
    stage.until_equal();
    assert_eq!(runtime.stop(), 0);
    let log = stage.path().join("log/lockstep.log");
    for file in fs::read_dir(stage.path().join("log")).unwrap() {
        let path = file.unwrap().path();
        if path != log && path.is_file() {
            fs::remove_file(path).unwrap();
        }
    }
    fs::write(&log, "this is no log").unwrap();
    let mut broken = stage.spawn();
    assert_eq!(broken.wait(), 3);
    assert!(broken.log().contains("LS-P007"), "{}", broken.log());
    // The page tells what is safe: moving it away.
    fs::remove_file(&log).unwrap();
    stage.put("B", 2);
    let _runtime = stage.run();
    stage.until_equal();
    stage.until("the flow rests", || stage.state() == "idle");
    assert_eq!(
        stage.writes().len(),
        3001,
        "a record that was equal already was written again"
    );
}

#[test]
fn a_full_log_holds_the_source_back_and_loses_nothing() {
    let stage = Stage::new();
    stage.configure(
        "path = \"log/lockstep.log\"",
        "path = \"log/lockstep.log\"\nmax_bytes = \"64KiB\"",
    );
    let runtime = stage.run();
    for n in 0..2000 {
        stage.put(&format!("A{n:04}"), n);
    }
    stage.until("status says that the log is full", || {
        let status = stage.status();
        status["flows"][0]["state"] == "stalled"
            && status["flows"][0]["reason"]
                .as_str()
                .unwrap_or("")
                .contains("max_bytes")
    });
    assert_eq!(runtime.stop(), 0);
    assert!(stage.partners().len() < 2000);
    stage.configure("max_bytes = \"64KiB\"", "max_bytes = \"64MiB\"");
    let _runtime = stage.run();
    stage.until_equal();
}

#[test]
fn a_stopped_runtime_goes_on_where_it_was() {
    let stage = Stage::new();
    for n in 0..300 {
        stage.put(&format!("A{n:03}"), n);
    }
    let runtime = stage.run();
    stage.until_equal();
    assert_eq!(runtime.stop(), 0);
    let log = fs::read_to_string(stage.path().join("runtime.txt")).unwrap();
    assert!(log.contains("lockstep has stopped"), "{log}");
    assert!(!log.contains("did not end in time"), "{log}");
    stage.put("A000", 900);
    let writes = stage.writes().len();
    let _runtime = stage.run();
    stage.until_equal();
    assert_eq!(stage.writes().len(), writes + 1);
}

#[test]
fn status_says_that_nothing_runs_and_how_to_start() {
    let stage = Stage::new();
    let status = stage.lockstep(&["status", "--json"]);
    assert_eq!(status.status.code(), Some(1));
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["running"], false);
    assert!(
        status["flows"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("lockstep run")
    );
    assert!(
        !stage.path().join("log/lockstep.log").exists(),
        "looking makes no log"
    );
}

#[test]
fn verify_names_every_difference_by_key_and_field() {
    let stage = Stage::new();
    for no in ["A", "B", "C"] {
        stage.put(no, 1);
    }
    let runtime = stage.run();
    stage.until_equal();
    assert_eq!(runtime.stop(), 0);
    let erp = stage.erp();
    erp.execute(
        "UPDATE partners SET country = 'US', name = 'x' WHERE code = 'P-A'",
        [],
    )
    .unwrap();
    erp.execute("DELETE FROM partners WHERE code = 'P-B'", [])
        .unwrap();
    erp.execute(
        "INSERT INTO partners VALUES (99, 'P-Z', 'z', 'DE', '0.00', '0.00', 1)",
        [],
    )
    .unwrap();
    let output = stage.lockstep(&["verify", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let verified: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let pair = &verified["pairs"][0];
    assert_eq!(
        (&pair["missing"], &pair["extra"], &pair["different"]),
        (&1.into(), &1.into(), &1.into())
    );
    let different = pair["examples"]
        .as_array()
        .unwrap()
        .iter()
        .find(|example| example["kind"] == "different")
        .unwrap();
    assert_eq!(different["key"], "A");
    assert_eq!(different["fields"], serde_json::json!(["name", "country"]));
}

#[test]
fn check_says_how_to_mend_a_target_without_a_key() {
    let stage = Stage::new();
    stage
        .erp()
        .execute_batch(
            "DROP TABLE partners; CREATE TABLE partners (id INTEGER PRIMARY KEY, code TEXT, name TEXT, \
             country TEXT, balance TEXT, credit_limit TEXT, version INTEGER)",
        )
        .unwrap();
    let output = stage.lockstep(&["check"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("CREATE UNIQUE INDEX"), "{text}");
}

#[test]
fn check_refuses_a_target_that_cannot_tell_keys_apart() {
    let stage = Stage::new();
    stage
        .erp()
        .execute_batch(
            "DROP TABLE partners; CREATE TABLE partners (code TEXT COLLATE NOCASE NOT NULL PRIMARY KEY, \
             name TEXT, country TEXT, balance TEXT, credit_limit TEXT, version INTEGER)",
        )
        .unwrap();
    let output = stage.lockstep(&["check"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("NOCASE") && text.contains("COLLATE BINARY"),
        "{text}"
    );
}

#[test]
fn check_says_how_to_mend_a_source_without_a_key() {
    let stage = Stage::new();
    stage
        .crm()
        .execute_batch("DROP TABLE accounts; CREATE TABLE accounts (no TEXT, title TEXT)")
        .unwrap();
    let output = stage.lockstep(&["check"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("accounts") && text.contains("key"), "{text}");
}

#[test]
fn a_missing_database_is_named_with_its_line() {
    let stage = Stage::new();
    stage.configure("path = \"erp.db\"", "path = \"gone/erp.db\"");
    let output = stage.lockstep(&["check"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("lockstep.toml:") && text.contains("gone/erp.db"),
        "{text}"
    );
}

#[test]
fn a_mapping_of_the_wrong_type_is_named_with_its_line() {
    let stage = Stage::new();
    stage.configure(
        "version = \"version\"",
        "version = { read = \"row.title\" }",
    );
    let output = stage.lockstep(&["check"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("lockstep.toml:") && text.contains("LS-M011"),
        "{text}"
    );
}

#[test]
fn the_api_lets_nobody_in_without_the_token() {
    let stage = Stage::new();
    let _runtime = stage.run();
    let mut found = Vec::new();
    find(stage.path(), "api.json", &mut found);
    let access: serde_json::Value = serde_json::from_slice(&fs::read(&found[0]).unwrap()).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(
            fs::metadata(&found[0]).unwrap().permissions().mode() & 0o077,
            0
        );
    }
    let address = access["address"].as_str().unwrap();
    for header in ["", "Authorization: Bearer wrong\r\n"] {
        let answer = get(address, header);
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
}

fn get(address: &str, header: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn find(folder: &std::path::Path, name: &str, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, name, found);
        } else if path.file_name().is_some_and(|known| known == name) {
            found.push(path);
        }
    }
}
