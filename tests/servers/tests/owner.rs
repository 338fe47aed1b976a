//! Servers and their folders go with their owner, even when the owner is killed.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of a test, which may panic and print"
)]

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use lockstep_servers::{find, nats, postgres, skip, wait};

/// Set in the process that is to be killed.
const OWNER: &str = "LOCKSTEP_SERVERS_TEST_OWNER";

#[test]
fn nothing_outlives_a_killed_owner() {
    if env::var_os(OWNER).is_some() {
        own();
        return;
    }
    let mut owner = Command::new(env::current_exe().unwrap())
        .args(["--exact", "nothing_outlives_a_killed_owner", "--nocapture"])
        .env(OWNER, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let pids = lines.find_map(|line| Some(line.unwrap().strip_prefix("owns ")?.to_owned()));
    owner.kill().unwrap();
    owner.wait().unwrap();
    let Some(pids) = pids else {
        let missing = find::nats_server().is_none() || find::postgres_bin().is_none();
        assert!(missing, "the owner ended before it had started both");
        skip("nats-server or PostgreSQL");
        return;
    };
    let pids: Vec<&str> = pids.split(' ').collect();
    assert_eq!(pids.len(), 2);
    for pid in pids {
        wait::until(
            &format!("the end of {pid}"),
            Duration::from_secs(30),
            || Ok((!is_alive(pid)).then_some(())),
        )
        .unwrap();
    }
}

/// Starts both servers, tells their pids and waits to be killed.
fn own() {
    let Some(nats) = nats::Server::start(&nats::Options::default()) else {
        return;
    };
    let Some(postgres) = postgres::Server::start(&postgres::Options::default()) else {
        return;
    };
    println!("\nowns {} {}", nats.pid().unwrap(), postgres.pid().unwrap());
    loop {
        std::thread::park();
    }
}

/// A zombie nobody has reaped yet is dead.
fn is_alive(pid: &str) -> bool {
    let output = Command::new("ps")
        .args(["-o", "stat=", "-p", pid])
        .output()
        .unwrap();
    let state = String::from_utf8(output.stdout).unwrap();
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}
