//! Contracts at work between two PostgreSQL databases: rules and what people decide, and tables that go and come back.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use lockstep_servers::postgres::{Options, Server};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::stage::{DEADLINE, binary};

const PARTY: &str = r#"
apiVersion: v3.1.0
kind: DataContract
id: party
version: 1.0.0
status: active
schema:
  - name: party
    customProperties:
      - {property: lockstep.owner, value: from}
    properties:
      - {name: id, logicalType: integer, primaryKey: true, required: true}
      - {name: name, logicalType: string, required: true, logicalTypeOptions: {maxLength: 40}}
"#;

const THING: &str = r#"
apiVersion: v3.1.0
kind: DataContract
id: thing
version: 1.0.0
status: active
schema:
  - name: thing
    customProperties:
      - {property: lockstep.owner, value: from}
    quality:
      - {name: few, metric: rowCount, mustBeLessOrEqualTo: 4}
      - name: distinct
        metric: duplicateValues
        mustBe: 0
        severity: warning
        arguments: {properties: [code]}
      - name: known
        type: custom
        engine: lockstep
        implementation: {field: party, exists: party.id}
        severity: warning
      - name: recent
        type: custom
        engine: lockstep
        implementation: {field: changed_at, fresh: 1h}
      - name: stops
        type: custom
        engine: cel
        implementation: weight != 105
        customProperties: [{property: lockstep.outcome, value: halt}]
      - name: light
        type: custom
        engine: cel
        implementation: weight < 1000
    properties:
      - {name: id, logicalType: integer, primaryKey: true, required: true}
      - {name: code, logicalType: string, required: true}
      - {name: party, logicalType: integer, required: true}
      - {name: weight, logicalType: integer, required: true}
      - {name: changed_at, logicalType: timestamp, required: true}
"#;

const CONFIG: &str = r#"contracts = "contracts"

[log]
path = "lockstep.log"

[rules]
every = "1s"

[drift]
every = "1s"

[systems.from]
connector = "postgres"
url = "${file:from.url}"
[systems.from.map.party]
table = "parties"
fields = { id = "id", name = "name" }
[systems.from.map.thing]
table = "things"
fields = { id = "id", code = "code", party = "party", weight = "weight", changed_at = "changed_at" }

[systems.to]
connector = "postgres"
url = "${file:to.url}"
[systems.to.map.party]
table = "parties"
fields = { id = "id", name = "name" }
[systems.to.map.thing]
table = "things"
fields = { id = "id", code = "code", party = "party", weight = "weight", changed_at = "changed_at" }

[flows.parties]
entity = "party"
from = "from"
to = ["to"]
[flows.things]
entity = "thing"
from = "from"
to = ["to"]
"#;

const PARTIES: &str = "CREATE TABLE parties (id bigint PRIMARY KEY, name varchar(40) NOT NULL)";
const THINGS: &str = "CREATE TABLE things (id bigint PRIMARY KEY, code text NOT NULL, party bigint NOT NULL, weight bigint NOT NULL, changed_at timestamptz NOT NULL DEFAULT now())";

/// Two databases, and the runtime between them.
pub(crate) struct Pair {
    pub(crate) from: Server,
    pub(crate) to: Server,
    folder: TempDir,
}

/// The runtime; killed when dropped.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Pair {
    pub(crate) fn new() -> Option<Pair> {
        let (from, to) = (
            Server::start(&Options::default())?,
            Server::start(&Options::default())?,
        );
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        fs::create_dir(at.join("contracts")).unwrap();
        fs::write(at.join("contracts/party.odcs.yaml"), PARTY).unwrap();
        fs::write(at.join("contracts/thing.odcs.yaml"), THING).unwrap();
        fs::write(at.join("lockstep.toml"), CONFIG).unwrap();
        for (server, name) in [(&from, "from"), (&to, "to")] {
            server.sql("postgres", "CREATE DATABASE work").unwrap();
            server.sql("work", PARTIES).unwrap();
            server.sql("work", THINGS).unwrap();
            fs::write(at.join(format!("{name}.url")), server.url("work")).unwrap();
        }
        Some(Pair { from, to, folder })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn run(&self) -> Running {
        let file = self.path().join("runtime.txt");
        let log = File::options().create(true).append(true).open(file);
        let mut command = Command::new(binary());
        command
            .arg("run")
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap());
        Running(command.spawn().unwrap())
    }

    pub(crate) fn say(&self, sql: &str) {
        self.from.sql("work", sql).unwrap();
    }

    fn thing(&self, id: i64, code: &str, weight: i64) {
        self.say(&format!(
            "INSERT INTO things VALUES ({id}, '{code}', 1, {weight}) ON CONFLICT (id) DO UPDATE SET weight = excluded.weight, changed_at = now()"
        ));
    }

    pub(crate) fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let started = Instant::now();
        while !holds() {
            let log = fs::read_to_string(self.path().join("runtime.txt")).unwrap_or_default();
            assert!(started.elapsed() < DEADLINE, "not in time: {what}\n{log}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    pub(crate) fn is_equal(&self, table: &str) -> bool {
        let all =
            format!("SELECT coalesce(string_agg(t::text, ';' ORDER BY id), '') FROM {table} t");
        let rows = |server: &Server| server.sql("work", &all).ok();
        rows(&self.from).is_some() && rows(&self.from) == rows(&self.to)
    }

    pub(crate) fn lockstep(&self, args: &[&str]) -> Output {
        Command::new(binary())
            .args(args)
            .current_dir(self.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_slice(&self.lockstep(args).stdout).unwrap_or_default()
    }

    pub(crate) fn flow(&self, entity: &str) -> Value {
        let status = self.json(&["status", "--json"]);
        let flows = status["flows"].as_array().cloned().unwrap_or_default();
        let of = |flow: &Value| flow["entity"] == entity;
        flows.into_iter().find(of).unwrap_or_default()
    }

    /// How a rule over all records was last judged.
    fn judged(&self, rule: &str) -> Value {
        let status = self.json(&["status", "--json"]);
        let sets = status["sets"].as_array().cloned().unwrap_or_default();
        let found = sets.into_iter().find(|set| set["rule"] == rule);
        found.map_or(Value::Null, |set| {
            json!([set["verdict"], set["broken"], set["checked"]])
        })
    }

    pub(crate) fn did(&self, args: &[&str]) {
        let output = self.lockstep(args);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {said}");
    }
}

#[test]
fn records_that_break_rules_halt_or_wait_until_they_are_corrected() {
    let Some(pair) = Pair::new() else { return };
    pair.say("INSERT INTO parties VALUES (1, 'one')");
    pair.thing(1, "a", 1);
    let running = pair.run();
    pair.until("the thing arrives", || pair.is_equal("things"));
    // One is set aside, corrected and sent; the original stays.
    pair.thing(2, "b", 5000);
    pair.thing(3, "c", 3);
    let open = || {
        let listed = pair.json(&["quarantine", "list", "--json"]);
        listed["entries"].as_array().cloned().unwrap_or_default()
    };
    pair.until("it is in quarantine", || open().len() == 1);
    let entry = open().remove(0);
    assert_eq!(entry["reasons"][0]["rule"], "light");
    let id = entry["id"].as_str().unwrap();
    assert_eq!(
        pair.lockstep(&["quarantine", "retry", id]).status.code(),
        Some(1)
    );
    pair.did(&[
        "quarantine",
        "edit",
        id,
        "--set",
        "weight=5",
        "--reason",
        "typo",
    ]);
    pair.until("it arrives corrected", || {
        pair.to
            .sql("work", "SELECT weight FROM things WHERE id = 2")
            .unwrap()
            == "5"
    });
    let shown = pair.json(&["quarantine", "show", id, "--show-values", "--json"]);
    assert_eq!(shown["values"]["weight"], 5000, "{shown}");
    pair.thing(2, "b", 6);
    pair.until("the source says it as well", || pair.is_equal("things"));
    // One halts its entity, and nothing else.
    pair.thing(1, "a", 105);
    pair.thing(3, "c", 7);
    pair.say("INSERT INTO parties VALUES (2, 'two')");
    pair.until("the things are halted", || {
        let halted = &pair.flow("thing")["halted"];
        halted["rule"] == "stops" && halted["waiting"] == 1
    });
    pair.until("the parties go on", || pair.is_equal("parties"));
    drop(running);
    let _running = pair.run();
    pair.until("they are still halted", || {
        let running = pair.json(&["status", "--json"])["running"] == true;
        running && pair.flow("thing")["halted"]["waiting"] == 1
    });
    let id = pair.flow("thing")["halted"]["id"].clone();
    pair.did(&[
        "quarantine",
        "edit",
        id.as_str().unwrap(),
        "--set",
        "weight=8",
    ]);
    pair.until("what waited arrives", || {
        let weights = "SELECT string_agg(weight::text, ',' ORDER BY id) FROM things";
        pair.to.sql("work", weights).unwrap() == "8,6,7"
    });
}

#[test]
fn rules_over_all_records_are_judged_in_the_source() {
    let Some(pair) = Pair::new() else { return };
    pair.say("INSERT INTO parties VALUES (1, 'one')");
    for (id, code) in [(1, "a"), (2, "b"), (3, "b")] {
        pair.thing(id, code, id);
    }
    pair.say("UPDATE things SET party = 9 WHERE id = 2");
    let _running = pair.run();
    for (rule, judged) in [
        ("distinct", json!(["broken", 1, 3])),
        ("known", json!(["broken", 1, 3])),
        ("few", json!(["holds", 0, 3])),
    ] {
        pair.until(rule, || pair.judged(rule) == judged);
    }
    pair.until("it is recent", || pair.judged("recent")[0] == "holds");
    pair.say("INSERT INTO parties VALUES (9, 'nine'); UPDATE things SET code = 'c', changed_at = now() - interval '2 hours'; UPDATE things SET code = 'd' || id; INSERT INTO things VALUES (4, 'x', 1, 1, now() - interval '3 hours'), (5, 'y', 1, 1, now() - interval '3 hours')");
    for (rule, verdict) in [
        ("distinct", "holds"),
        ("known", "holds"),
        ("few", "broken"),
        ("recent", "broken"),
    ] {
        pair.until(rule, || pair.judged(rule)[0] == verdict);
    }
}

#[test]
fn tables_that_are_dropped_hold_their_own_entity_and_are_filled_when_they_are_back() {
    let Some(pair) = Pair::new() else { return };
    pair.say("INSERT INTO parties SELECT n, 'p' || n FROM generate_series(1, 20) n");
    pair.thing(1, "a", 1);
    let _running = pair.run();
    let equal = || pair.is_equal("parties") && pair.is_equal("things");
    pair.until("both arrive", equal);
    // A target's table made anew lacks what was applied to it.
    let anew = format!("DROP TABLE parties; {PARTIES}");
    pair.to.sql("work", &anew).unwrap();
    pair.until("it is filled again", equal);
    // A source's table that is gone.
    pair.say("DROP TABLE parties");
    pair.until("the parties are held", || {
        let flow = pair.flow("party");
        flow["state"] == "held" && flow["reason"].as_str().unwrap_or("").contains("LS-E010")
    });
    pair.thing(2, "b", 2);
    pair.until("the things go on", || pair.is_equal("things"));
    pair.say(PARTIES);
    pair.say("INSERT INTO parties SELECT n, 'q' || n FROM generate_series(5, 30) n");
    pair.until("the parties are taken up by themselves", equal);
    pair.until("all rest", || {
        ["party", "thing"].map(|entity| pair.flow(entity)["state"] == "idle") == [true, true]
    });
    assert_eq!(pair.lockstep(&["verify"]).status.code(), Some(0));
}

#[test]
fn a_target_column_that_takes_less_than_the_contract_allows_holds_its_flow() {
    let Some(pair) = Pair::new() else { return };
    pair.say("INSERT INTO parties VALUES (1, 'one')");
    let _running = pair.run();
    pair.until("the party arrives", || pair.is_equal("parties"));
    let narrow = "ALTER TABLE parties ALTER COLUMN name TYPE varchar(20)";
    pair.to.sql("work", narrow).unwrap();
    pair.until("its flow is held", || {
        let flow = pair.flow("party");
        let reason = flow["reason"].as_str().unwrap_or("").to_owned();
        flow["state"] == "held" && reason.contains("20 characters") && reason.contains("LS-E003")
    });
    pair.say("INSERT INTO parties VALUES (2, 'two')");
    let widen = "ALTER TABLE parties ALTER COLUMN name TYPE varchar(60)";
    pair.to.sql("work", widen).unwrap();
    pair.until("it goes on", || pair.is_equal("parties"));
}
