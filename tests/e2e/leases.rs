//! Several runtimes on one log: each part of the work in one of them, and in another when that one is gone.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lockstep_servers::nats;
use serde_json::Value;

use crate::stage::{Stage, binary};

/// How long a takeover may take: a lease lasts 15 s, and a standby looks every second.
const TAKEOVER: Duration = Duration::from_secs(20);

/// One of several runtimes, with an interface of its own; killed when dropped.
struct Member<'s> {
    stage: &'s Stage,
    config: String,
    child: Child,
}

impl<'s> Member<'s> {
    /// Starts a runtime under the configuration of the stage.
    fn start(stage: &'s Stage, name: &str) -> Member<'s> {
        let config = format!("{name}.toml");
        let path = stage.path();
        let text = fs::read_to_string(path.join("lockstep.toml")).unwrap();
        let own = format!("{text}\n[api]\nfolder = \".{name}\"\n");
        fs::write(path.join(&config), own).unwrap();
        let log = File::options()
            .create(true)
            .append(true)
            .open(path.join("runtime.txt"))
            .unwrap();
        let child = Command::new(binary())
            .args(["-c", &config, "run"])
            .current_dir(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let member = Member {
            stage,
            config,
            child,
        };
        stage.until("the runtime answers", || member.status()["running"] == true);
        member
    }

    fn status(&self) -> Value {
        self.stage.json(&["-c", &self.config, "status", "--json"])
    }

    fn flow(&self) -> Value {
        self.status()["flows"][0].clone()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn stop(mut self) {
        let pid = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(told.success());
        self.child.wait().unwrap();
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stage() -> Option<(nats::Server, Stage)> {
    let server = nats::Server::start(&nats::Options::default())?;
    let stage = Stage::new();
    stage.log_on(&format!("\"{}\"", server.url()), "");
    Some((server, stage))
}

#[test]
fn a_killed_runtime_is_followed_by_another_and_nothing_is_lost_or_doubled() {
    let Some((_server, stage)) = stage() else {
        return;
    };
    for n in 0..500 {
        stage.put(&format!("A{n:03}"), 1);
    }
    let first = Member::start(&stage, "first");
    stage.until_equal();
    let second = Member::start(&stage, "second");
    // Whoever is asked, the answer is the same.
    let there = format!(":{}", first.child.id());
    stage.until("the standby says who works", || {
        let flow = second.flow();
        flow["state"] == "idle"
            && flow["reason"]
                .as_str()
                .unwrap_or_default()
                .ends_with(&there)
    });
    assert_eq!(first.flow()["reason"], Value::Null);
    for n in 0..100 {
        stage.put(&format!("A{n:03}"), 2);
    }
    first.kill();
    let killed = Instant::now();
    for n in 0..100 {
        stage.put(&format!("A{n:03}"), 3);
    }
    stage.until_equal();
    assert!(killed.elapsed() < TAKEOVER, "{:?}", killed.elapsed());
    let mut writes = stage.writes();
    let all = writes.len();
    writes.sort();
    writes.dedup();
    assert_eq!(writes.len(), all, "a version was written twice");
    stage.until("it says so", || {
        second.flow()["state"] == "idle" && second.flow()["reason"].is_null()
    });
}

#[test]
fn an_orderly_stop_hands_the_work_over_at_once() {
    let Some((_server, stage)) = stage() else {
        return;
    };
    stage.put("A", 1);
    let first = Member::start(&stage, "first");
    stage.until_equal();
    let second = Member::start(&stage, "second");
    first.stop();
    let stopped = Instant::now();
    stage.put("A", 2);
    stage.until_equal();
    assert!(
        stopped.elapsed() < Duration::from_secs(10),
        "{:?}",
        stopped.elapsed()
    );
    assert_eq!(second.status()["running"], true);
}

#[test]
fn a_flow_that_a_policy_ended_is_shown_with_its_reason_wherever_somebody_asks() {
    let Some((_server, stage)) = stage() else {
        return;
    };
    let drift = "[drift]\nevery = \"1s\"\nbreaking = \"fail\"\n\n[flows.accounts]";
    stage.configure("[flows.accounts]", drift);
    stage.put("A", 1);
    let first = Member::start(&stage, "first");
    stage.until_equal();
    let second = Member::start(&stage, "second");
    let rename = |from: &str, to: &str| {
        let rename = format!("ALTER TABLE partners RENAME COLUMN {from} TO {to}");
        stage.erp().execute_batch(&rename).unwrap();
    };
    rename("name", "label");
    let ended = |member: &Member<'_>| {
        let flow = member.flow();
        let reason = flow["reason"].as_str().unwrap_or_default().to_owned();
        flow["state"] == "held" && reason.contains("LS-E007") && reason.contains("`name`")
    };
    stage.until("both say that it ended, and why", || {
        ended(&first) && ended(&second)
    });
    let shown = stage.lockstep(&["-c", &second.config, "status"]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(text.contains("LS-E007"), "{text}");
    assert_eq!(shown.status.code(), Some(1));
    // Whoever goes on with the work finds the same.
    first.stop();
    stage.until("the other says so by itself", || {
        ended(&second)
            && !second.flow()["reason"]
                .as_str()
                .unwrap_or_default()
                .contains("another runtime")
    });
    second.stop();
    rename("label", "name");
    let _third = Member::start(&stage, "third");
    stage.put("A", 2);
    stage.until_equal();
}
