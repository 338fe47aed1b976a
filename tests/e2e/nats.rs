//! The same systems with their log on a real nats-server: what a user relies on does not depend on the engine.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lockstep_servers::nats::{Options, Server};

use crate::kill::{Random, assert_each_once_and_in_order, edit, rounds, seed};
use crate::stage::{Stage, put};

/// A server, and a stage whose log is there.
fn stage() -> Option<(Server, Stage)> {
    let server = Server::start(&Options::default())?;
    let stage = Stage::new();
    stage.log_on(
        &format!("\"{}\"", server.url()),
        &format!("monitor = \"{}\"", server.monitor_url()),
    );
    Some((server, stage))
}

#[test]
fn what_is_there_and_what_comes_arrives() {
    let Some((server, stage)) = stage() else {
        return;
    };
    many(&stage, (0..500).map(|n| (format!("A{n:03}"), n)));
    let runtime = stage.run();
    stage.until_equal();
    stage.put("A001", 700);
    stage.put("B1", 1);
    let bad = "UPDATE accounts SET land = 'Atlantis', version = 900 WHERE no = 'A003'";
    stage.crm().execute(bad, []).unwrap();
    stage.until("the bad record is in quarantine", || {
        stage.quarantined().len() == 1
    });
    stage.put("A003", 901);
    stage.until_equal();
    stage.until("the good version closes the entry", || {
        stage.quarantined().is_empty()
    });
    stage.until("the flow rests", || stage.state() == "idle");
    let status = stage.status();
    let log = &status["log"];
    assert_eq!(log["engine"], "nats");
    assert_eq!(log["servers"][0], server.url());
    assert_eq!(
        (&log["sync"], &log["replicas"]),
        (&"always".into(), &1.into())
    );
    assert_eq!(log["streams"][0]["name"], "LS_SET");
    assert_eq!(stage.lockstep(&["verify"]).status.code(), Some(0));
    assert_eq!(runtime.stop(), 0);
    // What was done is not done again.
    let writes = stage.writes().len();
    let _runtime = stage.run();
    stage.put("C1", 1);
    stage.until_equal();
    assert_eq!(stage.writes().len(), writes + 1);
}

/// A nats-server that is killed while it makes a stream leaves it out whenever it starts from then on. Here it leaves out all of them.
#[test]
fn streams_that_a_killed_server_left_half_made_are_whole_again() {
    let Some((mut server, stage)) = stage() else {
        return;
    };
    many(&stage, (0..500).map(|n| (format!("A{n:03}"), n)));
    let runtime = stage.run();
    stage.until_equal();
    stage.until("the flow rests", || stage.state() == "idle");
    assert_eq!(runtime.stop(), 0);
    let writes = stage.writes().len();
    server.kill().unwrap();
    let mut left_out = 0;
    for stream in std::fs::read_dir(server.stream_folder("")).unwrap() {
        std::fs::remove_file(stream.unwrap().path().join("meta.sum")).unwrap();
        left_out += 1;
    }
    assert!(left_out > 3, "{left_out} streams");
    for more in 1..3 {
        server.restart().unwrap();
        let runtime = stage.run();
        stage.put("A001", 700 + more);
        stage.until_equal();
        stage.until("the flow rests", || stage.state() == "idle");
        // Everything that was known is known: nothing was written again.
        assert_eq!(
            stage.writes().len(),
            writes + usize::try_from(more).unwrap()
        );
        assert_eq!(runtime.stop(), 0);
        server.kill().unwrap();
    }
}

#[test]
fn killed_at_random_moments_runtime_and_server_lose_double_and_reorder_nothing() {
    let Some((mut server, stage)) = stage() else {
        return;
    };
    let seed = seed();
    many(&stage, (0..10_000).map(|n| (format!("S{n:05}"), 0)));

    let over = AtomicBool::new(false);
    let history = std::thread::scope(|scope| {
        let editor = scope.spawn(|| edit(&stage, seed, &over));
        let mut random = Random(seed.rotate_left(17) | 1);
        let mut runtime = Some(stage.spawn());
        for _ in 0..rounds(8) {
            std::thread::sleep(Duration::from_millis(100 + random.below(900)));
            match random.below(3) {
                0 => {
                    runtime.take().unwrap().kill();
                    runtime = Some(stage.spawn());
                }
                1 => {
                    server.kill().unwrap();
                    std::thread::sleep(Duration::from_millis(random.below(300)));
                    server.restart().unwrap();
                }
                _ => {
                    server.kill().unwrap();
                    runtime.take().unwrap().kill();
                    server.restart().unwrap();
                    runtime = Some(stage.spawn());
                }
            }
        }
        over.store(true, Ordering::Relaxed);
        drop(runtime);
        editor.join().unwrap()
    });
    let runtime = stage.run();
    stage.until_equal();
    stage.until("the flow rests", || stage.state() == "idle");
    drop(runtime);
    assert_each_once_and_in_order(&stage, &history);
    assert_eq!(stage.lockstep(&["verify"]).status.code(), Some(0));
}

#[test]
fn a_server_that_goes_away_is_named_and_waited_for() {
    let Some((mut server, stage)) = stage() else {
        return;
    };
    server.stop().unwrap();
    let check = stage.json(&["check", "--json"]);
    assert_eq!(check["findings"][0]["code"], "LS-L006", "{check}");
    let mut runtime = stage.spawn();
    assert_eq!(runtime.wait(), 3, "{}", runtime.log());
    server.restart().unwrap();
    stage.put("A", 1);
    let _runtime = stage.run();
    stage.until_equal();
    server.kill().unwrap();
    stage.put("A", 2);
    stage.put("B", 1);
    std::thread::sleep(Duration::from_millis(500));
    server.restart().unwrap();
    stage.until_equal();
}

#[test]
fn a_full_stream_holds_the_source_back_and_loses_nothing() {
    let Some((_server, stage)) = stage() else {
        return;
    };
    stage.configure("monitor = ", "max_bytes = \"64KiB\"\nmonitor = ");
    let runtime = stage.run();
    for part in 0..4 {
        let part = part * 500..(part + 1) * 500;
        many(&stage, part.map(|n| (format!("A{n:04}"), n)));
    }
    stage.until("status says that the log is full", || {
        let status = stage.status();
        let reason = status["flows"][0]["reason"]
            .as_str()
            .unwrap_or("")
            .to_owned();
        status["flows"][0]["state"] == "stalled"
            && reason.contains("max_bytes")
            && status["log"]["streams"][0]["fill"].is_f64()
    });
    assert_eq!(runtime.stop(), 0);
    assert!(stage.partners().len() < 2000);
    stage.configure("max_bytes = \"64KiB\"", "max_bytes = \"64MiB\"");
    let check = stage.json(&["check", "--json"]);
    assert!(check.to_string().contains("LS-L008"), "{check}");
    let _runtime = stage.run();
    stage.until_equal();
}

#[test]
fn a_message_that_is_not_ours_is_set_aside_and_stops_nothing() {
    let Some((server, stage)) = stage() else {
        return;
    };
    stage.put("A", 1);
    let runtime = stage.run();
    stage.until_equal();
    // Somebody publishes to every lane, by hand.
    for lane in 0..8 {
        publish(&server, &format!("ls.set.account.v1.{lane}"), "hello");
    }
    many(&stage, (0..50).map(|n| (format!("B{n:02}"), 1)));
    stage.put("A", 2);
    stage.until_equal();
    let entries = stage.quarantined();
    assert!(!entries.is_empty());
    for entry in &entries {
        assert!(
            entry["key"]
                .as_str()
                .unwrap()
                .starts_with("ls.set.account.v1."),
            "{entry}"
        );
        let id = entry["id"].as_str().unwrap();
        assert_eq!(
            stage.lockstep(&["quarantine", "drop", id]).status.code(),
            Some(0)
        );
    }
    stage.until("the flow rests", || stage.state() == "idle");
    assert_eq!(runtime.stop(), 0);
    let mut writes = stage.writes();
    let all = writes.len();
    writes.sort();
    writes.dedup();
    assert_eq!(writes.len(), all, "something was written twice");
}

#[test]
fn a_target_that_needs_what_is_gone_is_held_and_says_so() {
    let Some((_server, stage)) = stage() else {
        return;
    };
    stage.configure("monitor = ", "max_age = \"2s\"\nmonitor = ");
    many(&stage, (0..20).map(|n| (format!("A{n:02}"), 1)));
    let runtime = stage.run();
    stage.until_equal();
    stage.until("the messages are gone", || {
        let log = &stage.status()["log"];
        log["last_seq"].as_u64() > Some(0) && log["messages"] == 0
    });
    // Nothing was missed, so nothing is wrong, also after a restart long after the last message.
    assert_eq!(runtime.stop(), 0);
    let runtime = stage.run();
    stage.put("A00", 2);
    stage.until_equal();
    stage.until("the messages are gone", || {
        stage.status()["log"]["messages"] == 0
    });
    assert_eq!(runtime.stop(), 0);
    // The target is restored from a backup that is older than the log.
    stage
        .erp()
        .execute("DELETE FROM _lockstep_progress", [])
        .unwrap();
    let _runtime = stage.run();
    stage.put("A01", 2);
    stage.until("the flow is held", || {
        let flow = &stage.status()["flows"][0];
        flow["state"] == "held" && flow["reason"].as_str().unwrap().contains("no longer keeps")
    });
}

/// Inserts or replaces accounts in one transaction.
fn many(stage: &Stage, accounts: impl Iterator<Item = (String, i64)>) {
    let mut crm = stage.crm();
    let transaction = crm.transaction().unwrap();
    for (no, version) in accounts {
        put(&transaction, &no, version);
    }
    transaction.commit().unwrap();
}

/// Publishes a text as a program of somebody else's would.
fn publish(server: &Server, subject: &str, text: &str) {
    let mut connection = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    let line = format!(
        "CONNECT {{}}\r\nPUB {subject} {}\r\n{text}\r\nPING\r\n",
        text.len()
    );
    connection.write_all(line.as_bytes()).unwrap();
    let mut reader = BufReader::new(connection);
    let mut answer = String::new();
    while !answer.contains("PONG") {
        assert!(reader.read_line(&mut answer).unwrap() > 0, "{answer}");
    }
}
