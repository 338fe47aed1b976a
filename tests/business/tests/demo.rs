//! The demo program from outside, with a stand-in for the runtime that does right, or wrong in a way that has a name.

use std::path::Path;
use std::process::{Command, Output};

use lockstep_business::Report;

/// Runs the demo on a small stage and reads the one object it prints.
#[expect(clippy::unwrap_used, reason = "only tests call it")]
fn demo(fault: &str, more: &[&str]) -> (Option<i32>, Report, String) {
    let contracts = tempfile::tempdir().unwrap();
    let own = contracts.path().join("order");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("order.odcs.yaml"), "kind: DataContract").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command
        .args(["--json", "--customers", "25", "--edits", "200"])
        .args(["--seconds", "3", "--grace", "2", "--contracts"])
        .arg(contracts.path())
        .args(more)
        .env("STAND_IN_FAULT", fault);
    if !more.contains(&"--lockstep") {
        command.args(["--lockstep", env!("CARGO_BIN_EXE_stand-in")]);
    }
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    let report = serde_json::from_slice(&stdout).unwrap_or_else(|error| {
        panic!("{error}: {}\n{stderr}", String::from_utf8_lossy(&stdout));
    });
    (status.code(), report, stderr)
}

#[test]
fn a_right_copy_with_a_kill_converges() {
    let (code, report, stderr) = demo("", &[]);
    assert_eq!(report.error, None, "{stderr}");
    assert_eq!(code, Some(0));
    assert!(report.converged);
    assert_eq!((report.lost, report.duplicated, report.kills), (0, 0, 1));
    assert!(report.changes >= 200);
    assert!(report.quarantined > 0);
    assert_eq!(report.systems.len(), 4);
    assert_eq!(report.entities.len(), 14);
    assert!(report.latency_ms.p50.is_some());
    assert!(report.entities.iter().all(|entity| entity.records > 0));
}

#[test]
fn doubled_writes_are_reported() {
    let (code, report, _) = demo("double", &["--kills", "0"]);
    assert_eq!(code, Some(1));
    assert!(!report.converged);
    assert!(report.duplicated > 1_000);
    assert_eq!(report.lost, 0);
}

#[test]
fn records_that_should_have_gone_are_reported() {
    let (code, report, _) = demo("lose", &["--kills", "0"]);
    assert_eq!(code, Some(1));
    assert!(report.entities.iter().any(|entity| entity.differences > 0));
}

#[test]
fn broken_records_that_passed_are_reported() {
    let (code, report, _) = demo("dumb", &["--kills", "0"]);
    assert_eq!(code, Some(1));
    assert!(report.entities.iter().any(|entity| entity.differences > 0));
    assert!(report.error.unwrap().contains("not in quarantine"));
}

#[test]
fn a_runtime_that_dies_is_reported_with_its_last_words() {
    let (code, report, stderr) = demo("die", &[]);
    assert_eq!(code, Some(1));
    let error = report.error.unwrap();
    assert!(error.contains("the stand-in was told to die"), "{error}");
    assert!(stderr.contains("the stand-in was told to die"), "{stderr}");
}

#[test]
fn without_a_runtime_there_is_an_object_too() {
    let (code, report, _) = demo("", &["--lockstep", "no-such-lockstep"]);
    assert_eq!(code, Some(3));
    assert!(report.error.unwrap().contains("no-such-lockstep"));
}

#[test]
fn a_stage_that_is_kept_can_be_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    let path = kept.to_str().unwrap();
    let (code, _, stderr) = demo("die", &["--keep", "--folder", path]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("Look around"), "{stderr}");
    for file in ["crm.db", "lockstep.toml", "runtime.log"] {
        assert!(Path::new(path).join(file).is_file(), "{file}");
    }
}
