//! Programs from outside, over a real nats-server: ordinary Python clients that subscribe to settled events and publish observations.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lockstep_servers::{find, nats, skip};
use serde_json::{Value, json};

use crate::stage::{DEADLINE, Stage};

const ARTICLE: &str = r#"
apiVersion: v3.1.0
kind: DataContract
id: article
name: Articles
version: 1.0.0
status: active
schema:
  - name: article
    logicalType: object
    customProperties:
      - {property: lockstep.owner, value: shop}
    properties:
      - {name: id, logicalType: string, primaryKey: true, required: true}
      - name: stock
        logicalType: integer
        required: true
        logicalTypeOptions: {minimum: 0}
"#;

const SHOP: &str = r#"
[systems.shop]
connector = "inbox"

[systems.erp.map.article]
table = "articles"
fields = { id = "no", stock = "stock" }

[flows.articles]
entity = "article"
from = "shop"
to = ["erp"]
"#;

/// The stage of the other scenarios on a nats-server, with a shop that other programs speak for.
pub(crate) struct Outside {
    pub(crate) stage: Stage,
    server: nats::Server,
    python: PathBuf,
}

impl Outside {
    pub(crate) fn new() -> Option<Outside> {
        let server = nats::Server::start(&nats::Options::default())?;
        let Some(python) = find::python() else {
            skip("nats-py");
            return None;
        };
        let stage = Stage::new();
        stage.log_on(&format!("\"{}\"", server.url()), "");
        let path = stage.path().join("lockstep.toml");
        let config = fs::read_to_string(&path).unwrap();
        fs::write(path, config + SHOP).unwrap();
        fs::write(stage.path().join("contracts/article.odcs.yaml"), ARTICLE).unwrap();
        let table = "CREATE TABLE articles (no TEXT PRIMARY KEY, stock INTEGER NOT NULL)";
        stage.erp().execute_batch(table).unwrap();
        Some(Outside {
            stage,
            server,
            python,
        })
    }

    pub(crate) fn script(&self, name: &str) -> Command {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/examples");
        let mut command = Command::new(&self.python);
        command
            .arg(examples.join(name))
            .args(["--server", &self.server.url()])
            .stdin(Stdio::null())
            .stdout(self.output("out"))
            .stderr(self.output("err"));
        command
    }

    /// A file for what a script says; a pipe that nobody reads would stop it.
    fn output(&self, name: &str) -> File {
        File::create(self.stage.path().join(name)).unwrap()
    }

    /// Reads a number of settled events of accounts, as a major of theirs has them.
    fn subscribe(&self, major: u64, durable: &str, count: usize) -> Vec<Value> {
        let (major, count) = (major.to_string(), count.to_string());
        let mut command = self.script("subscribe.py");
        command.args([
            "--entity",
            "account",
            "--major",
            &major,
            "--durable",
            durable,
            "--count",
            &count,
        ]);
        self.lines(command.spawn().unwrap()).0
    }

    /// Publishes records for the shop; gives the verdicts and the exit code.
    fn publish(&self, more: &[&str], records: &[Value]) -> (Vec<Value>, i32) {
        let mut command = self.script("publish.py");
        command
            .args(["--system", "shop", "--entity", "article"])
            .args(more);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        for record in records {
            writeln!(input, "{record}").unwrap();
        }
        drop(input);
        self.lines(child)
    }

    /// What a script printed, a JSON value a line, once it has ended; killed when it takes too long.
    fn lines(&self, mut child: Child) -> (Vec<Value>, i32) {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if started.elapsed() > DEADLINE {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("the script did not end");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let read = |name: &str| fs::read_to_string(self.stage.path().join(name)).unwrap();
        let (text, errors) = (read("out"), read("err"));
        let values = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let values: Vec<Value> = values.collect();
        let code = status.code().unwrap();
        assert!(
            code == 0 || !values.is_empty(),
            "the script failed: {errors}"
        );
        (values, code)
    }

    pub(crate) fn articles(&self) -> Vec<(String, i64)> {
        let erp = self.stage.erp();
        let mut select = erp
            .prepare("SELECT no, stock FROM articles ORDER BY no")
            .unwrap();
        let rows = select
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        rows.map(Result::unwrap).collect()
    }
}

#[test]
fn an_ordinary_client_reads_settled_events_single_and_framed_and_goes_on_where_it_stopped() {
    let Some(outside) = Outside::new() else {
        return;
    };
    let stage = &outside.stage;
    // A snapshot of many rows comes in frames.
    for n in 0..200 {
        stage.put(&format!("A{n:03}"), n);
    }
    let _runtime = stage.run();
    stage.until_equal();
    let events = outside.subscribe(1, "reader", 200);
    assert_eq!(events.len(), 200);
    assert!(
        events
            .iter()
            .all(|event| event["type"] == "io.lockstep.account.snapshot.v1")
    );
    // One change at a time comes as it is.
    stage.put("A007", 507);
    let events = outside.subscribe(1, "reader", 1);
    assert_eq!(events.len(), 1, "something came twice");
    let event = &events[0];
    assert_eq!(
        (&event["subject"], &event["type"]),
        (&json!("A007"), &json!("io.lockstep.account.updated.v1"))
    );
    assert_eq!(event["data"]["version"], 507);
    assert_eq!(event["source"], "/lockstep/crm/account");
}

#[test]
fn an_ordinary_client_publishes_and_is_told_what_became_of_it() {
    let Some(outside) = Outside::new() else {
        return;
    };
    let stage = &outside.stage;
    let _runtime = stage.run();
    let (verdicts, code) = outside.publish(
        &[],
        &[
            json!({"id": "A", "stock": 3}),
            json!({"id": "B", "stock": -1}),
            json!({"id": "C", "sotck": 1}),
        ],
    );
    assert_eq!(code, 1, "a refusal shows in the exit code");
    assert_eq!(verdicts[0]["outcome"], "accepted");
    assert_eq!(
        (
            &verdicts[1]["outcome"],
            &verdicts[1]["field"],
            &verdicts[1]["rule"]
        ),
        (&json!("refused"), &json!("stock"), &json!("minimum"))
    );
    assert_eq!(
        (&verdicts[2]["field"], &verdicts[2]["rule"]),
        (&json!("sotck"), &json!("unknown"))
    );
    let reason = verdicts[2]["reason"].as_str().unwrap();
    assert!(reason.contains("did you mean `stock`"), "{reason}");
    stage.until("the good one reached the target", || {
        outside.articles() == [("A".to_owned(), 3)]
    });
    assert_eq!(stage.quarantined().len(), 2);

    // A frame is judged event by event, and what is mended closes its entry.
    let frame = [
        json!({"id": "B", "stock": 5}),
        json!({"id": "D", "stock": "many"}),
    ];
    let (verdicts, code) = outside.publish(&["--frame"], &frame);
    assert_eq!(
        (code, &verdicts[0]["accepted"], &verdicts[0]["refused"]),
        (1, &json!(1), &json!(1))
    );
    assert_eq!(verdicts[0]["events"][1]["field"], "stock");
    let (verdicts, code) = outside.publish(&["--delete"], &[json!({"id": "A"})]);
    assert_eq!((code, &verdicts[0]["refused"]), (0, &json!(0)));
    stage.until("the targets follow", || {
        outside.articles() == [("B".to_owned(), 5)]
    });
    assert_eq!(
        stage.quarantined().len(),
        2,
        "the mended record is still in quarantine"
    );
}

/// Raises the accounts to a new major in which their name is called otherwise; `down` says how it becomes one of the older.
fn raise(stage: &Stage, down: &str) {
    let contract = "contracts/account.odcs.yaml";
    stage.edit(contract, "version: 1.0.0", "version: 2.0.0");
    stage.edit(contract, "      - name: name\n", "      - name: title\n");
    let owner = "      - property: lockstep.owner\n        value: crm\n";
    let migrations = format!(
        "      - property: lockstep.migrations\n        value:\n          - from: 1.0.0\n            to: 2.0.0\n            up:\n              - rename: {{ from: name, to: title }}\n{down}"
    );
    stage.edit(contract, owner, &format!("{owner}{migrations}"));
    stage.configure("name = \"title\"", "title = \"title\"");
    stage.configure("name = \"name\"", "title = \"name\"");
    stage.configure(
        "[flows.accounts]",
        "[versions]\npublish_majors = { account = [1] }\n\n[flows.accounts]",
    );
}

#[test]
fn a_subscriber_of_an_older_major_goes_on_hearing_and_no_target_hears_it_twice() {
    let Some(outside) = Outside::new() else {
        return;
    };
    let stage = &outside.stage;
    for n in 0..30 {
        stage.put(&format!("A{n:02}"), n);
    }
    let runtime = stage.run();
    stage.until_equal();
    assert_eq!(outside.subscribe(1, "old", 30).len(), 30);
    assert_eq!(runtime.stop(), 0);
    let down = "            down:\n              - rename: { from: title, to: name }\n";
    raise(stage, down);
    let runtime = stage.run();
    stage.until("the flow rests", || stage.state() == "idle");
    // The new major begins with every record, and so does what the older one hears.
    assert_eq!(outside.subscribe(1, "old", 30).len(), 30);
    let writes = stage.writes().len();
    stage.put("A05", 105);
    stage.put("B", 1);
    stage
        .crm()
        .execute("DELETE FROM accounts WHERE no = 'A06'", [])
        .unwrap();
    stage.until_equal();
    let heard = |events: &[Value]| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let told = events.iter();
        told.map(|event| (text(&event["subject"]), text(&event["type"])))
            .collect()
    };
    let old = outside.subscribe(1, "old", 3);
    let mut told = heard(&old);
    told.sort();
    let expected = [("A05", "updated"), ("A06", "deleted"), ("B", "created")];
    assert_eq!(
        told,
        expected.map(|(key, op)| (key.to_owned(), format!("io.lockstep.account.{op}.v1")))
    );
    let of = |key: &str| old.iter().find(|event| event["subject"] == key).unwrap();
    assert_eq!(of("B")["data"]["name"], "account B");
    assert_eq!(of("B")["dataschema"], "urn:lockstep:contract:account:1.0.0");
    // The same events under the new major, with the same ids.
    let new = outside.subscribe(2, "new", 33);
    let same = new.iter().find(|event| event["subject"] == "B").unwrap();
    assert_eq!(same["data"]["title"], "account B");
    assert_eq!(same["id"], of("B")["id"]);
    stage.until("the flow rests again", || stage.state() == "idle");
    assert_eq!(
        stage.writes().len(),
        writes + 2,
        "a copy was applied as well"
    );
    let majors = stage.status()["majors"].clone();
    assert_eq!(
        json!([
            majors[0]["major"],
            majors[0]["published"],
            majors[0]["left_out"]
        ]),
        json!([1, 33, 0])
    );
    // A kill between makes nobody hear anything twice or never.
    runtime.kill();
    stage.put("C", 1);
    let _runtime = stage.run();
    stage.until_equal();
    assert_eq!(heard(&outside.subscribe(1, "old", 1))[0].0, "C");
    assert!(stage.quarantined().is_empty());
}

#[test]
fn an_older_major_that_records_cannot_become_is_said_at_the_start_and_counted() {
    let Some(outside) = Outside::new() else {
        return;
    };
    let stage = &outside.stage;
    stage.put("A", 1);
    let runtime = stage.run();
    stage.until_equal();
    assert_eq!(runtime.stop(), 0);
    // What is not written comes from `up` where that can be turned round.
    raise(stage, "            down: []\n");
    let checked = stage.lockstep(&["check"]);
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!(checked.status.code(), Some(0), "{told}");
    assert!(told.contains("LS-E009") && told.contains("down"), "{told}");
    let _runtime = stage.run();
    stage.put("B", 1);
    stage.until_equal();
    stage.until("what they miss is counted", || {
        let majors = stage.status()["majors"].clone();
        majors[0]["left_out"].as_u64().unwrap_or(0) >= 2 && majors[0]["reason"].as_str().is_some()
    });
}
