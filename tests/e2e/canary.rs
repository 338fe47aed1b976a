//! Idle, behind and stalled: what stands still is told from what has nothing to do, and by its place.

use lockstep_servers::{nats, postgres};
use serde_json::Value;

use crate::stage::Stage;

/// Two PostgreSQL servers with the log on a third server, and a canary in a hurry.
struct Chain {
    source: postgres::Server,
    target: postgres::Server,
    log: nats::Server,
    stage: Stage,
}

impl Chain {
    fn new() -> Option<Chain> {
        let options = postgres::Options::default();
        let source = postgres::Server::start(&options)?;
        let target = postgres::Server::start(&options)?;
        let log = nats::Server::start(&nats::Options::default())?;
        let make = "CREATE TABLE accounts (no text PRIMARY KEY, title text, land text, balance_cents bigint, limit_cents bigint, version bigint)";
        source.sql("postgres", make).unwrap();
        let make = "CREATE TABLE partners (code text PRIMARY KEY, name text, country text, balance numeric, credit_limit numeric, version bigint)";
        target.sql("postgres", make).unwrap();
        let stage = Stage::new();
        for (path, server) in [("crm.db", &source), ("erp.db", &target)] {
            stage.configure(
                &format!("connector = \"sqlite\"\npath = \"{path}\""),
                &format!(
                    "connector = \"postgres\"\nurl = \"{}\"",
                    server.url("postgres")
                ),
            );
        }
        stage.log_on(
            &format!("\"{}\"", log.url()),
            "\n[canary]\nevery = \"500ms\"\ndeadline = \"2s\"\n",
        );
        Some(Chain {
            source,
            target,
            log,
            stage,
        })
    }

    fn put(&self, no: &str) {
        let insert = format!("INSERT INTO accounts VALUES ('{no}', 'Ann', 'Germany', 100, 200, 7)");
        self.source.sql("postgres", &insert).unwrap();
    }

    fn until_arrived(&self, count: usize) {
        self.stage.until("the records arrive", || {
            let counted = self.target.sql("postgres", "SELECT count(*) FROM partners");
            counted.is_ok_and(|text| text.trim() == count.to_string())
        });
    }

    fn flow(&self) -> Value {
        self.stage.status()["flows"][0].clone()
    }

    fn until_idle(&self) {
        self.stage
            .until("the flow is idle and a mark has passed", || {
                let flow = self.flow();
                flow["state"] == "idle" && flow["mark_ms"].as_u64().is_some_and(|age| age < 5000)
            });
    }

    fn until_stuck(&self, at: &str, word: &str) {
        self.stage
            .until(&format!("status says that it is stuck at the {at}"), || {
                let flow = self.flow();
                flow["state"] == "stalled"
                    && flow["stuck"] == at
                    && flow["reason"].as_str().unwrap_or_default().contains(word)
            });
    }
}

#[test]
fn a_flow_whose_source_log_or_target_is_frozen_is_stalled_at_that_place() {
    let Some(chain) = Chain::new() else { return };
    chain.put("A");
    let runtime = chain.stage.run();
    chain.until_arrived(1);
    chain.until_idle();

    chain.source.freeze().unwrap();
    chain.until_stuck("capture", "LS-H001");
    chain.source.thaw().unwrap();
    chain.until_idle();

    chain.target.freeze().unwrap();
    chain.until_stuck("target", "LS-H005");
    chain.target.thaw().unwrap();
    chain.until_idle();

    chain.log.freeze().unwrap();
    chain.until_stuck("log", "LS-");
    chain.log.thaw().unwrap();
    chain.until_idle();

    chain.put("B");
    chain.until_arrived(2);
    let log = runtime.log();
    for word in ["LS-H001", "LS-H005", "LS-H003", "answers again"] {
        assert!(log.contains(word), "the log does not say {word}: {log}");
    }
}

#[test]
fn a_target_that_freezes_while_something_waits_for_it_is_named() {
    let Some(chain) = Chain::new() else { return };
    chain.put("A");
    let _runtime = chain.stage.run();
    chain.until_arrived(1);
    chain.until_idle();
    chain.target.freeze().unwrap();
    chain.put("B");
    chain.until_stuck("target", "erp");
    chain.target.thaw().unwrap();
    chain.until_arrived(2);
    chain.until_idle();
}

#[test]
fn an_idle_flow_stays_idle_and_its_marks_are_young() {
    let stage = Stage::new();
    stage.configure(
        "[flows.accounts]",
        "[canary]\nevery = \"200ms\"\ndeadline = \"2s\"\n\n[flows.accounts]",
    );
    stage.put("A", 1);
    let runtime = stage.run();
    stage.until_equal();
    stage.until("a mark has passed", || {
        stage.status()["flows"][0]["mark_ms"].is_u64()
    });
    assert_eq!(stage.state(), "idle");
    let messages = stage.status()["log"]["messages"].clone();
    stage.until("more marks pass", || {
        stage.status()["flows"][0]["mark_ms"].as_u64() < Some(200)
    });
    assert_eq!(
        stage.status()["log"]["messages"],
        messages,
        "marks are no events"
    );
    assert!(!runtime.log().contains("stuck"), "{}", runtime.log());
    stage.configure("every = \"200ms\"", "every = \"now and then\"");
    assert_eq!(stage.lockstep(&["check"]).status.code(), Some(1));
}
