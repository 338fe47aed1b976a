//! Systems that give no log: their tables are read by query, whole or by a column that grows, and read again on demand.

use std::fs::{self, File};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use lockstep_servers::nats::{Options, Server};
use lockstep_servers::postgres::Database;
use serde_json::Value;
use tempfile::TempDir;

use crate::stage::{DEADLINE, Stage, binary};

/// Has the source of a stage read by query, a few rows at once.
fn by_query(stage: &Stage) {
    stage.configure(
        "[systems.crm.map.account]",
        "capture = \"query\"\n[systems.crm.query]\nevery = \"100ms\"\nchunk_rows = 7\n\n[systems.crm.map.account]",
    );
}

fn delete(stage: &Stage, no: &str) {
    let crm = stage.crm();
    assert_eq!(
        crm.execute("DELETE FROM accounts WHERE no = ?1", [no])
            .unwrap(),
        1
    );
}

/// Every kind of change arrives, whenever the runtime is killed, and a crash writes no row twice.
fn a_source_without_a_log_is_followed_through_kills(stage: &Stage) {
    by_query(stage);
    for n in 0..60 {
        stage.put(&format!("A{n:03}"), 1);
    }
    // Killed in the middle of the first copy, and of what follows.
    for round in 0..6_i64 {
        let runtime = stage.spawn();
        let before = stage.writes().len();
        stage.until("something is written", || {
            stage.writes().len() > before || stage.partners() == stage.accounts()
        });
        runtime.kill();
        for n in 0..9 {
            stage.put(&format!("A{:03}", n * 7), 10 + round);
        }
        stage.put(&format!("B{round}"), 1);
        delete(stage, &format!("A{:03}", 59 - round));
    }
    let runtime = stage.run();
    stage.until_equal();
    stage.until("the flow rests", || stage.state() == "idle");
    // A row that is as it was is written no second time, whatever was told again.
    let writes = stage.writes();
    let distinct: std::collections::BTreeSet<_> = writes.iter().collect();
    assert_eq!(writes.len(), distinct.len(), "{writes:?}");
    // Nothing was left behind in the source.
    let tables: i64 = stage
        .crm()
        .query_row(
            "SELECT count(*) FROM sqlite_master WHERE name LIKE '_lockstep%'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(tables, 0, "capture by query writes nothing into its source");
    assert_eq!(runtime.stop(), 0);
}

#[test]
fn a_source_without_a_log_is_followed_through_kills_with_the_embedded_log() {
    a_source_without_a_log_is_followed_through_kills(&Stage::new());
}

#[test]
fn a_source_without_a_log_is_followed_through_kills_with_the_log_on_nats() {
    let Some(server) = Server::start(&Options::default()) else {
        return;
    };
    let stage = Stage::new();
    stage.log_on(&format!("\"{}\"", server.url()), "");
    a_source_without_a_log_is_followed_through_kills(&stage);
}

#[test]
fn a_listing_that_lacks_too_much_holds_the_flow_and_deletes_nothing() {
    let stage = Stage::new();
    by_query(&stage);
    for n in 0..20 {
        stage.put(&format!("A{n:03}"), 1);
    }
    let runtime = stage.run();
    stage.until_equal();
    // As a right that was taken away would show, or a database that was restored empty.
    stage
        .crm()
        .execute_batch(
            "CREATE TABLE away AS SELECT * FROM accounts; DELETE FROM accounts WHERE no >= 'A010'",
        )
        .unwrap();
    stage.put("A000", 2);
    stage.until("the flow is held", || stage.state() == "held");
    let reason = stage.status()["flows"][0]["reason"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        reason.contains("10 of the 20")
            && reason.contains("LS-Q001")
            && reason.contains("deletes_max_percent"),
        "{reason}"
    );
    stage.until("what changed is told all the same", || {
        stage.partners().contains(&("A000".to_owned(), 2))
    });
    assert_eq!(stage.partners().len(), 20, "rows were deleted");
    let page = stage.lockstep(&["explain", "LS-Q001"]);
    assert_eq!(page.status.code(), Some(0));
    // The rows come back, and the flow goes on by itself.
    stage
        .crm()
        .execute_batch("INSERT OR IGNORE INTO accounts SELECT * FROM away")
        .unwrap();
    stage.until("the flow goes on", || stage.state() == "idle");
    // Whoever means it says so.
    stage
        .crm()
        .execute_batch("DELETE FROM accounts WHERE no >= 'A010'")
        .unwrap();
    stage.until("the flow is held again", || stage.state() == "held");
    assert_eq!(runtime.stop(), 0);
    stage.configure("chunk_rows = 7", "chunk_rows = 7\ndeletes_max_percent = 50");
    let _runtime = stage.run();
    stage.until_equal();
}

#[test]
fn a_part_of_a_table_is_read_again_on_demand_and_then_the_whole_of_it() {
    let stage = Stage::new();
    for n in 0..30 {
        stage.put(&format!("A{n:03}"), 1);
    }
    let runtime = stage.run();
    stage.until_equal();
    stage.until("the flow rests", || stage.state() == "idle");
    let lose = |what: &str| {
        stage
            .erp()
            .execute_batch(&format!("DELETE FROM partners WHERE {what}"))
            .unwrap();
    };
    lose("code IN ('P-A003', 'P-A004', 'P-A020')");
    let part = &[
        "backfill",
        "crm.account",
        "--where",
        "row.no in ['A003', 'A004']",
        "--reason",
        "lost",
        "--json",
    ];
    let asked = stage.json(part);
    assert_eq!(
        (&asked["ok"], &asked["parts"][0]["outcome"]),
        (&true.into(), &"backfill".into()),
        "{asked}"
    );
    stage.until("the part is back", || stage.partners().len() == 29);
    assert!(!stage.partners().iter().any(|(no, _)| no == "A020"));
    let from = stage.lockstep(&["backfill", "accounts", "--from-key", "A010"]);
    assert_eq!(
        from.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&from.stderr)
    );
    stage.until_equal();
    assert_eq!(runtime.stop(), 0);

    // Asked for while nothing runs, it is done at the next start.
    lose("code < 'P-A010'");
    assert_eq!(
        stage.lockstep(&["backfill", "accounts"]).status.code(),
        Some(0)
    );
    let before = stage.writes().len();
    let _runtime = stage.run();
    stage.until_equal();
    assert_eq!(
        stage.writes().len() - before,
        10,
        "only what was lost is written"
    );
    for (args, why) in [
        (&["backfill", "account"][..], "no flow reads"),
        (
            &["backfill", "crm.account", "--where", "row.nope == 1"],
            "cannot be read",
        ),
        (
            &[
                "backfill",
                "crm.account",
                "--where",
                "row.title.startsWith('a')",
            ],
            "in the words of the system",
        ),
        (
            &[
                "backfill",
                "crm.account",
                "--from-key",
                "a,b,c",
                "--where",
                "1",
            ],
            "cannot be read",
        ),
    ] {
        let refused = stage.lockstep(args);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(why), "{args:?}: {said}");
    }
}

#[test]
fn a_backfill_outlives_kills() {
    let stage = Stage::new();
    for n in 0..400 {
        stage.put(&format!("A{n:03}"), 1);
    }
    stage.configure("path = \"crm.db\"", "path = \"crm.db\"\nchunk_rows = 5");
    let mut runtime = stage.run();
    stage.until_equal();
    for part in [
        &["backfill", "accounts"][..],
        &["backfill", "accounts", "--where", "row.version >= 0"],
    ] {
        stage.erp().execute_batch("DELETE FROM partners").unwrap();
        assert_eq!(stage.lockstep(part).status.code(), Some(0));
        for _ in 0..4 {
            let before = stage.partners().len();
            stage.until("some of it is back", || {
                stage.partners().len() > before || before == 400
            });
            runtime.kill();
            runtime = stage.spawn();
        }
        stage.until_equal();
    }
    stage.until("nothing is being read any more", || {
        stage.status()["flows"][0]["reading"].is_null() && stage.state() == "idle"
    });
}

const CONTRACT: &str = r#"
apiVersion: v3.1.0
kind: DataContract
id: thing
version: 1.0.0
status: active
schema:
  - name: thing
    customProperties:
      - {property: lockstep.owner, value: from}
    properties:
      - {name: id, logicalType: integer, primaryKey: true, required: true}
      - {name: code, logicalType: string, required: true}
"#;

const CONFIG: &str = r#"contracts = "contracts"

[log]
path = "lockstep.log"

[systems.from]
connector = "postgres"
url = "${file:from.url}"
CAPTURE
[systems.from.map.thing]
table = "TABLE"
fields = { id = "id", code = "code" }
FILTER

[systems.to]
connector = "postgres"
url = "${file:to.url}"
[systems.to.map.thing]
table = "things"
fields = { id = "id", code = "code" }

[flows.things]
entity = "thing"
from = "from"
to = ["to"]
"#;

/// Two PostgreSQL databases, of which the first lets its reader do little.
struct Pair {
    from: Database,
    to: Database,
    folder: TempDir,
}

/// The runtime; killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Pair {
    fn new(capture: &str, table: &str, filter: &str) -> Option<Pair> {
        let (from, to) = (Database::fresh()?, Database::fresh()?);
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        fs::create_dir(at.join("contracts")).unwrap();
        fs::write(at.join("contracts/thing.odcs.yaml"), CONTRACT).unwrap();
        let config = CONFIG
            .replace("CAPTURE", capture)
            .replace("TABLE", table)
            .replace("FILTER", filter);
        fs::write(at.join("lockstep.toml"), config).unwrap();
        from.sql("CREATE TABLE things (id bigint PRIMARY KEY, code text NOT NULL, secret text, changed_at timestamptz NOT NULL DEFAULT clock_timestamp())").unwrap();
        from.sql("CREATE VIEW shown AS SELECT id, code, secret, changed_at FROM things")
            .unwrap();
        to.sql("CREATE TABLE things (id bigint PRIMARY KEY, code text NOT NULL)")
            .unwrap();
        let role = format!("reader_{}", from.name());
        let plain = format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT SELECT (id, code, changed_at) ON things, shown TO {role}"
        );
        from.sql(&plain).unwrap();
        fs::write(at.join("from.url"), from.url_as(&role, "x")).unwrap();
        fs::write(at.join("to.url"), to.url()).unwrap();
        Some(Pair { from, to, folder })
    }

    fn say(&self, sql: &str) {
        self.from.sql(sql).unwrap();
    }

    fn run(&self) -> Running {
        let file = self.folder.path().join("runtime.txt");
        let log = File::options().create(true).append(true).open(file);
        let mut command = Command::new(binary());
        command
            .arg("run")
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap());
        Running(command.spawn().unwrap())
    }

    fn lockstep(&self, args: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command
            .args(args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command.output().unwrap()
    }

    fn flow(&self) -> Value {
        let status: Value = serde_json::from_slice(&self.lockstep(&["status", "--json"]).stdout)
            .unwrap_or_default();
        status["flows"][0].clone()
    }

    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let started = Instant::now();
        while !holds() {
            let log =
                fs::read_to_string(self.folder.path().join("runtime.txt")).unwrap_or_default();
            assert!(started.elapsed() < DEADLINE, "not in time: {what}\n{log}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// The rows of the target, and of the source under a condition.
    fn is_equal(&self, condition: &str) -> bool {
        let all = |database: &Database, condition: &str| {
            database.sql(&format!("SELECT coalesce(string_agg(id || ':' || code, ';' ORDER BY id), '') FROM things WHERE {condition}")).unwrap()
        };
        all(&self.from, condition) == all(&self.to, "true")
    }
}

#[test]
fn a_view_is_followed_by_its_watermark_without_a_right_to_replicate() {
    let capture = "capture = \"query\"\n[systems.from.query]\nevery = \"200ms\"\nchunk_rows = 50\n[systems.from.query.tables.shown]\nkey = [\"id\"]\nwatermark = \"changed_at\"\noverlap = \"20s\"\nsweep = \"1s\"";
    let Some(pair) = Pair::new(capture, "shown", "") else {
        return;
    };
    pair.say("INSERT INTO things (id, code) SELECT n, 'c' || n FROM generate_series(1, 400) n");
    let checked = pair.lockstep(&["check"]);
    let said = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
    assert_eq!(checked.status.code(), Some(0), "{said}");
    let mut running = pair.run();
    pair.until("the first copy", || pair.is_equal("true"));
    // A transaction that began earlier commits later, with the earlier time.
    pair.say("BEGIN; INSERT INTO things (id, code, changed_at) VALUES (1001, 'late', clock_timestamp() - interval '10 seconds'); COMMIT");
    pair.say(
        "UPDATE things SET code = code || '!', changed_at = clock_timestamp() WHERE id % 10 = 0",
    );
    pair.until("changes and late commits", || pair.is_equal("true"));
    drop(running);
    pair.say("DELETE FROM things WHERE id % 50 = 7; INSERT INTO things (id, code) VALUES (2000, 'while away')");
    running = pair.run();
    pair.until("deletes by a sweep", || pair.is_equal("true"));
    pair.until("the flow rests", || pair.flow()["state"] == "idle");
    drop(running);
}

#[test]
fn a_column_that_nobody_maps_may_stay_hidden_and_rows_that_nobody_wants_stay_away() {
    let filter = "filter = \"row.code == 'open' || row.id > 1000\"";
    let Some(pair) = Pair::new("", "things", filter) else {
        return;
    };
    let role = format!("reader_{}", pair.from.name());
    pair.say(&format!("ALTER ROLE {role} REPLICATION; ALTER TABLE things REPLICA IDENTITY FULL; CREATE PUBLICATION lockstep_from FOR TABLE things"));
    pair.say("INSERT INTO things (id, code, secret) SELECT n, CASE WHEN n % 2 = 0 THEN 'open' ELSE 'closed' END, 'hidden' FROM generate_series(1, 40) n");
    let checked = pair.lockstep(&["check"]);
    let said = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
    assert_eq!(checked.status.code(), Some(0), "{said}");
    let _running = pair.run();
    let wanted = "code = 'open' OR id > 1000";
    pair.until("the wanted rows", || pair.is_equal(wanted));
    pair.say("UPDATE things SET code = 'closed' WHERE id = 2; UPDATE things SET code = 'open' WHERE id = 3; INSERT INTO things (id, code) VALUES (50, 'closed'), (1001, 'x'); DELETE FROM things WHERE id = 4");
    pair.until("rows that enter, leave and go", || pair.is_equal(wanted));
    // A row that changes without being wanted is nobody's business.
    pair.say(
        "UPDATE things SET code = 'shut' WHERE id = 5; UPDATE things SET id = 1500 WHERE id = 7",
    );
    pair.until("rows that get another key", || pair.is_equal(wanted));
}
