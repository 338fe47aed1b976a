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
struct Outside {
    stage: Stage,
    server: nats::Server,
    python: PathBuf,
}

impl Outside {
    fn new() -> Option<Outside> {
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

    fn script(&self, name: &str) -> Command {
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

    /// Reads a number of settled events of accounts.
    fn subscribe(&self, durable: &str, count: usize) -> Vec<Value> {
        let count = count.to_string();
        let mut command = self.script("subscribe.py");
        command.args([
            "--entity",
            "account",
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

    fn articles(&self) -> Vec<(String, i64)> {
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
    let events = outside.subscribe("reader", 200);
    assert_eq!(events.len(), 200);
    assert!(
        events
            .iter()
            .all(|event| event["type"] == "io.lockstep.account.snapshot.v1")
    );
    // One change at a time comes as it is.
    stage.put("A007", 507);
    let events = outside.subscribe("reader", 1);
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
