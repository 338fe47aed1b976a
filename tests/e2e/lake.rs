//! A lake of Parquet files as a target, beside a database: killed at random moments, compacted meanwhile, and verified.

use lockstep_servers::s3;

use crate::stage::Stage;

/// Sends what the stage's flow tells to a lake, too: current rows and events.
fn with_lakes(stage: &Stage, settings: &str) {
    let map = |system: &str, table: &str| {
        format!(
            "[systems.{system}.map.account]\ntable = \"{table}\"\n[systems.{system}.map.account.fields]\n\
             id = \"code\"\nname = \"name\"\ncountry = \"country\"\nbalance = \"balance\"\n\
             credit_limit = \"credit_limit\"\nversion = \"version\"\n\n"
        )
    };
    let head = format!("connector = \"parquet\"\ncreate_tables = true\ncompact_at = 3\n{settings}");
    let systems = format!(
        "[systems.now]\n{head}\n{}[systems.ever]\n{head}\n[systems.ever.tables.events]\nhistory = \"append\"\npartition = [\"country\"]\ncompact = true\n\n{}",
        map("now", "partners"),
        map("ever", "events"),
    );
    stage.configure(
        "[flows.accounts]",
        &format!("{systems}[flows.accounts]\nmode = \"realtime\""),
    );
    stage.configure("to = [\"erp\"]", "to = [\"erp\", \"now\", \"ever\"]");
}

/// Whatever is killed when, every target holds what the source holds, and a verification says so.
fn lakes_are_kept_in_step_through_kills(settings: &str) {
    let stage = Stage::new();
    with_lakes(&stage, settings);
    for n in 0..60 {
        stage.put(&format!("A{n:03}"), 1);
    }
    for round in 0..5_i64 {
        let runtime = stage.spawn();
        stage.until("the database follows", || {
            stage.partners() == stage.accounts()
        });
        for n in 0..9 {
            stage.put(&format!("A{:03}", n * 6), 10 + round);
        }
        stage.put(&format!("B{round}"), 1);
        let gone = format!("A{:03}", 59 - round);
        let crm = stage.crm();
        crm.execute("DELETE FROM accounts WHERE no = ?1", [gone])
            .unwrap();
        // The database is the quickest of the targets: the lakes are in the middle of it then, or have not begun.
        if round % 2 == 0 {
            stage.until("the database follows", || {
                stage.partners() == stage.accounts()
            });
        }
        runtime.kill();
    }
    let runtime = stage.run();
    stage.until("all targets equal the source", || {
        let verified = stage.json(&["verify", "--json"]);
        stage.partners() == stage.accounts() && verified["equal"] == true
    });
    let verified = stage.json(&["verify", "--json"]);
    assert_eq!(verified["equal"], true, "{verified}");
    assert_eq!(runtime.stop(), 0);
    assert!(stage.quarantined().is_empty());
}

#[test]
fn lakes_in_a_folder_are_kept_in_step_through_kills() {
    lakes_are_kept_in_step_through_kills("root = \"lake\"\n");
}

#[test]
fn lakes_in_a_bucket_are_kept_in_step_through_kills() {
    let Some(server) = s3::Server::start() else {
        return;
    };
    server.make_bucket("shop").unwrap();
    lakes_are_kept_in_step_through_kills(&format!(
        "root = \"s3://shop/lake\"\nendpoint = \"{}\"\naccess_key = \"key\"\nsecret_key = \"secret\"\n",
        server.url()
    ));
}
