//! The whole stage of the demo, smaller: four systems edited while the runtime is killed, judged from the tables.

use std::path::Path;
use std::time::Duration;

use lockstep_business::editor::{Pace, edit};
use lockstep_business::random::Random;
use lockstep_business::{Servers, Setup, Stage, setup};

use crate::kill::{rounds, seed};
use crate::stage::binary;

/// How long a copy of everything may take.
const DEADLINE: Duration = Duration::from_secs(120);
/// How often the runtime is killed.
const KILLS: u64 = 4;

#[test]
fn four_systems_come_out_the_same_however_often_the_runtime_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::create(folder.path(), &small(11)).unwrap();
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

#[test]
fn on_nats_and_postgres_they_come_out_the_same_whatever_is_killed() {
    let Some(servers) = Servers::start(true, true) else {
        return;
    };
    let seed = seed();
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::create_on(folder.path(), &small(seed), servers).unwrap();
    stage.check().unwrap();
    // What the oracle calls the last good version must have been seen once.
    stage.start().unwrap();
    stage.wait_idle(DEADLINE).unwrap();

    let kills = rounds(8);
    let (at, world) = (stage.folder().to_owned(), stage.world().clone());
    let editor = std::thread::spawn(move || {
        let pace = Pace {
            edits: 75 * kills,
            seed,
            per_second: Some(40.0),
        };
        edit(&at, &world, pace, &mut |_| true)
    });
    let mut random = Random::named(seed, "kills");
    let victims = stage.victims();
    for kill in 0..kills {
        // Each of them in turn, so that none is left out, at a moment nobody chose.
        let victim = victims[kill as usize % victims.len()];
        let moment = Duration::from_millis(random.between(0, 1_500).unsigned_abs());
        std::thread::sleep(moment);
        stage.kill_one(victim).unwrap();
        std::thread::sleep(moment / 4);
        stage.restart_one(victim).unwrap();
    }
    editor.join().unwrap().unwrap();
    stage.settle(DEADLINE).unwrap();
    let report = stage.report().unwrap();
    assert!(
        report.converged,
        "repeat with LOCKSTEP_SEED={seed}\n{}",
        serde_json::to_string_pretty(&report).unwrap()
    );
    assert_eq!((report.lost, report.duplicated), (0, 0));
    assert_eq!(report.kills, kills);
    assert!(report.changes >= 600, "{} changes", report.changes);
}

/// The stage with few customers.
fn small(seed: u64) -> Setup {
    let contracts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/contracts");
    Setup::with(binary(), seed, setup::contracts(&contracts).unwrap()).customers(40)
}
