//! A stage without a runtime: it can be made, edited, judged and stopped.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lockstep_business::editor::Pace;
use lockstep_business::setup::edit_folder;
use lockstep_business::{Setup, Stage, oracle};

#[expect(clippy::unwrap_used, reason = "only tests call it")]
fn stage(folder: &Path) -> Stage {
    let contracts = vec![("order".to_owned(), "kind: DataContract".to_owned())];
    let setup = Setup::with("no-such-lockstep".into(), 1, contracts).customers(20);
    Stage::create(folder, &setup).unwrap()
}

#[test]
fn a_stage_can_be_edited_and_judged_without_a_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = stage(folder.path());
    assert!(
        stage
            .folder()
            .join("contracts/order/order.odcs.yaml")
            .is_file()
    );
    assert!(stage.edit(50, 1).unwrap() >= 50);
    let judgement = stage.judge().unwrap();
    assert!(judgement.lost() > 100, "nothing was delivered");
    assert_eq!(judgement.duplicated(), 0);
    let report = stage.report().unwrap();
    assert!(!report.converged);
    assert!(report.error.unwrap().contains("no-such-lockstep"));
    let error = stage.start().unwrap_err();
    assert!(format!("{error:#}").contains("no-such-lockstep"));
}

#[test]
fn another_process_finds_the_same_world() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(folder.path());
    let pace = Pace {
        edits: 20,
        seed: 3,
        per_second: None,
    };
    edit_folder(folder.path(), pace, &mut |_| true).unwrap();
    let journalled = stage.judge().unwrap();
    let own = |finding: &oracle::Finding| finding.what == oracle::Trouble::Journal;
    assert!(!journalled.findings.iter().any(own));
    assert!(edit_folder(&folder.path().join("none"), pace, &mut |_| true).is_err());
}

#[test]
fn a_second_stage_in_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _first = stage(folder.path());
    let setup = Setup::with("lockstep".into(), 1, Vec::new());
    let error = Stage::create(folder.path(), &setup).unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
}

#[test]
fn a_stopped_stage_ends_every_wait() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = stage(folder.path());
    stage.stop_flag().store(true, Ordering::Relaxed);
    let error = stage.wait_idle(Duration::from_secs(60)).unwrap_err();
    assert_eq!(error.to_string(), "interrupted");
}
