//! The stage on real PostgreSQL, with a stand-in for the runtime: editor, oracle and servers by themselves.

use std::time::Duration;

use lockstep_business::editor::{Pace, edit};
use lockstep_business::{Servers, Setup, Stage, Victim, journal};

/// How often the database is killed under the editor.
const KILLS: u64 = 3;

/// A small stage whose ERP and warehouse are PostgreSQL databases; `None` where there is no PostgreSQL.
#[expect(clippy::unwrap_used, reason = "only tests call it")]
fn stage(seed: u64) -> Option<(tempfile::TempDir, Stage)> {
    let servers = Servers::start(false, true)?;
    let folder = tempfile::tempdir().unwrap();
    let contracts = vec![("order".to_owned(), "kind: DataContract".to_owned())];
    let stand_in = env!("CARGO_BIN_EXE_stand-in").into();
    let setup = Setup::with(stand_in, seed, contracts)
        .customers(25)
        .grace(Duration::from_secs(30));
    let stage = Stage::create_on(folder.path(), &setup, servers).unwrap();
    Some((folder, stage))
}

#[test]
fn a_right_copy_converges_and_a_wrong_one_does_not() {
    let Some((_folder, mut stage)) = stage(3) else {
        return;
    };
    stage.start().unwrap();
    stage.wait_idle(Duration::from_secs(60)).unwrap();
    assert!(stage.edit(250, 5).unwrap() >= 250);
    stage.settle(Duration::from_secs(60)).unwrap();
    stage.kill().unwrap();
    let report = stage.report().unwrap();
    assert!(report.converged, "{:?}", report.error);
    assert!(report.quarantined > 0);
    let connectors: Vec<&str> = report
        .systems
        .iter()
        .map(|s| s.connector.as_str())
        .collect();
    assert_eq!(connectors, ["sqlite", "postgres", "sqlite", "postgres"]);

    // The state is right again afterwards; only the triggers saw what happened.
    let mut erp = lockstep_business::systems::open(stage.folder(), "erp").unwrap();
    erp.batch("UPDATE partners SET city = city WHERE id = 3")
        .unwrap();
    erp.batch("UPDATE partners SET city = city || '?' WHERE id = 4")
        .unwrap();
    erp.batch("UPDATE partners SET city = trim(trailing '?' from city) WHERE id = 4")
        .unwrap();
    let judgement = stage.judge().unwrap();
    // Two versions were written again, one never was.
    assert_eq!((judgement.duplicated(), judgement.disorder()), (2, 1));
    assert_eq!((judgement.lost(), judgement.differences()), (0, 0));
}

#[test]
fn the_editor_works_through_kills_of_the_database_and_knows_what_it_did() {
    let Some((_folder, mut stage)) = stage(4) else {
        return;
    };
    let (folder, world) = (stage.folder().to_owned(), stage.world().clone());
    let editor = std::thread::spawn(move || {
        let pace = Pace {
            edits: 500,
            seed: 9,
            per_second: None,
        };
        edit(&folder, &world, pace, &mut |_| true)
    });
    let mut kills = 0;
    while !editor.is_finished() && kills < KILLS {
        let before = journal::path(stage.folder())
            .metadata()
            .map_or(0, |file| file.len());
        // Only a server that is being written to is worth killing.
        let written = || {
            journal::path(stage.folder())
                .metadata()
                .map_or(0, |file| file.len())
        };
        while !editor.is_finished() && written() < before + 20_000 {
            std::thread::sleep(Duration::from_millis(1));
        }
        stage.kill_one(Victim::System("erp")).unwrap();
        stage.restart_one(Victim::System("erp")).unwrap();
        kills += 1;
    }
    assert!(editor.join().unwrap().unwrap() >= 500);
    assert_eq!(kills, KILLS);
    // Nothing was delivered, so targets lack everything; but the sources hold exactly what the journal says.
    let findings = stage.judge().unwrap().findings;
    let wrong: Vec<_> = findings
        .iter()
        .filter(|finding| finding.what == lockstep_business::oracle::Trouble::Journal)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_transaction_whose_connection_breaks_takes_effect_once() {
    let Some((_folder, stage)) = stage(5) else {
        return;
    };
    let mut erp = lockstep_business::systems::open(stage.folder(), "erp").unwrap();
    erp.batch("CREATE TABLE tries (n bigint GENERATED ALWAYS AS IDENTITY, try integer)")
        .unwrap();
    let mut tries = 0;
    let done = erp.transaction("a mark", &mut |db| {
        tries += 1;
        db.execute("INSERT INTO tries (try) VALUES (?)", &[tries.into()])?;
        if tries == 1 {
            db.batch("SELECT pg_terminate_backend(pg_backend_pid())")?;
        }
        Ok(tries)
    });
    assert_eq!(done.unwrap(), 2);
    let there = erp.query("SELECT try FROM tries", &[]).unwrap();
    assert_eq!(there.len(), 1);
    assert_eq!(there[0]["try"], 2);
    // The database's own refusal is no reason to try again.
    let refused = erp.transaction("another", &mut |db| {
        db.batch("INSERT INTO tries (n) VALUES (1)")
    });
    assert!(refused.is_err());
    erp.batch("DROP TABLE tries").unwrap();
}
