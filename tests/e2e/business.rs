//! The whole stage of the demo, smaller: four systems edited while the runtime is killed, judged from the tables.

use std::path::Path;
use std::time::Duration;

use lockstep_business::{Setup, Stage, setup};

use crate::stage::binary;

/// How often the runtime is killed.
const KILLS: u64 = 4;

#[test]
fn four_systems_come_out_the_same_however_often_the_runtime_is_killed() {
    let contracts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/contracts");
    let setup = Setup::with(binary(), 11, setup::contracts(&contracts).unwrap()).customers(40);
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::create(folder.path(), &setup).unwrap();
    stage.check().unwrap();
    // What the oracle calls the last good version must have been seen once.
    stage.start().unwrap();
    stage.wait_idle(Duration::from_secs(60)).unwrap();
    stage.kill().unwrap();
    for round in 0..KILLS {
        stage.start().unwrap();
        stage.edit(120, round).unwrap();
        stage.kill().unwrap();
        // Edits go on while nothing runs.
        stage.edit(30, 100 + round).unwrap();
    }
    stage.start().unwrap();
    stage.settle(Duration::from_secs(120)).unwrap();
    let report = stage.report().unwrap();
    assert!(
        report.converged,
        "{}",
        serde_json::to_string_pretty(&report).unwrap()
    );
    assert_eq!(
        (report.lost, report.duplicated, report.kills),
        (0, 0, KILLS + 1)
    );
    assert!(report.changes > 500, "{} changes", report.changes);
}
