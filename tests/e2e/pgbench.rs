//! Two PostgreSQL databases under pgbench, compared by PostgreSQL itself.
//!
//! All four tables of pgbench are mapped.
//! `pgbench_history` has no key, so the source gets one: pgbench names its columns and never notices.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lockstep_servers::postgres::{Options, Server};
use tempfile::TempDir;

use crate::stage::{DEADLINE, binary};

/// The tables with the columns that identify a row.
const TABLES: [(&str, &str); 4] = [
    ("branches", "bid"),
    ("tellers", "tid"),
    ("accounts", "aid"),
    ("history", "id"),
];

const CONTRACTS: [(&str, &str); 4] = [
    ("branches", "bid! bbalance filler"),
    ("tellers", "tid! bid tbalance filler"),
    ("accounts", "aid! bid abalance filler"),
    ("history", "id! tid bid aid delta mtime filler"),
];

/// A contract with these fields: a text is called `filler`, an instant `mtime`, `!` marks the key.
fn contract(entity: &str, fields: &str) -> String {
    let mut text = format!(
        "apiVersion: v3.1.0\nkind: DataContract\nid: pgbench-{entity}\nversion: 1.0.0\nstatus: active\n\
         schema:\n  - name: {entity}\n    customProperties:\n      - property: lockstep.owner\n        value: from\n    properties:\n"
    );
    for field in fields.split(' ') {
        let name = field.trim_end_matches('!');
        let kind = match name {
            "filler" => "string",
            "mtime" => "timestamp",
            _ => "integer",
        };
        text.push_str(&format!(
            "      - name: {name}\n        logicalType: {kind}\n"
        ));
        if name != field {
            text.push_str("        primaryKey: true\n        required: true\n");
        }
    }
    text
}

/// The configuration: every table to the table of the same name, with further settings of the target and of every flow.
fn configuration(target: &str, flow: &str) -> String {
    let mut text = "contracts = \"contracts\"\n\n[log]\npath = \"lockstep.log\"\n".to_owned();
    for system in ["from", "to"] {
        text.push_str(&format!(
            "\n[systems.{system}]\nconnector = \"postgres\"\nurl = \"${{file:{system}.url}}\"\n"
        ));
        if system == "to" {
            text.push_str(target);
        }
        for (entity, fields) in CONTRACTS {
            text.push_str(&format!(
                "\n[systems.{system}.map.{entity}]\ntable = \"pgbench_{entity}\"\n[systems.{system}.map.{entity}.fields]\n"
            ));
            for field in fields.split(' ').map(|field| field.trim_end_matches('!')) {
                text.push_str(&format!("{field} = \"{field}\"\n"));
            }
        }
    }
    for (entity, _) in CONTRACTS {
        text.push_str(&format!(
            "\n[flows.{entity}]\nentity = \"{entity}\"\nfrom = \"from\"\nto = [\"to\"]\n{flow}\n"
        ));
    }
    text
}

/// Runs pgbench to its end.
fn pgbench(server: &Server, arguments: &[&str]) {
    let status = pgbench_command(server, arguments).status().unwrap();
    assert!(status.success(), "pgbench {arguments:?}: {status}");
}

fn pgbench_command(server: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new(server.bin("pgbench"));
    command.args(arguments).args([
        "-h",
        "127.0.0.1",
        "-p",
        &server.port().to_string(),
        "-U",
        "postgres",
        "bench",
    ]);
    command.env("PGPASSWORD", server.password());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A number of rows and a hash over every row in key order, by PostgreSQL alone.
fn fingerprint(server: &Server, table: &str, key: &str) -> String {
    let (_, fields) = CONTRACTS.iter().find(|(name, _)| *name == table).unwrap();
    let columns = fields.replace('!', "").replace(' ', ", ");
    let sql = format!(
        "SET timezone = 'UTC'; SELECT count(*), md5(string_agg(md5(ROW({columns})::text), '' ORDER BY {key})) FROM pgbench_{table}"
    );
    server.sql("bench", &sql).unwrap()
}

/// The tables in which the two differ, with both fingerprints.
fn differences(from: &Server, to: &Server) -> Vec<String> {
    let pairs = TABLES.iter().map(|(table, key)| {
        let (left, right) = (fingerprint(from, table, key), fingerprint(to, table, key));
        (left != right).then(|| format!("{table}: {left} ≠ {right}"))
    });
    pairs.flatten().collect()
}

/// The runtime; killed when dropped.
struct Running(Child);

impl Running {
    fn start(folder: &Path) -> Running {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("runtime.txt"))
            .unwrap();
        let mut command = Command::new(binary());
        command.arg("run").current_dir(folder).stdin(Stdio::null());
        Running(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until the target equals the source.
fn until_equal(folder: &Path, from: &Server, to: &Server) {
    let started = Instant::now();
    loop {
        let differences = differences(from, to);
        if differences.is_empty() {
            return;
        }
        let log = fs::read_to_string(folder.join("runtime.txt")).unwrap_or_default();
        assert!(started.elapsed() < DEADLINE, "{differences:?}\n{log}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A folder with the contracts, a configuration, and the addresses of both databases.
fn folder(from: &Server, to: &Server, configuration: String) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir(at.join("contracts")).unwrap();
    for (entity, fields) in CONTRACTS {
        let file = format!("contracts/{entity}.odcs.yaml");
        fs::write(at.join(file), contract(entity, fields)).unwrap();
    }
    fs::write(at.join("lockstep.toml"), configuration).unwrap();
    fs::write(at.join("from.url"), from.url("bench")).unwrap();
    fs::write(at.join("to.url"), to.url("bench")).unwrap();
    folder
}

/// What every transaction of pgbench adds to four tables at once: as a reader sees them, and how many transactions.
const SUMS: &str = "SELECT (SELECT coalesce(sum(abalance), 0) FROM pgbench_accounts), (SELECT coalesce(sum(tbalance), 0) FROM pgbench_tellers), \
    (SELECT coalesce(sum(bbalance), 0) FROM pgbench_branches), (SELECT coalesce(sum(delta), 0) FROM pgbench_history), (SELECT count(*) FROM pgbench_history)";

/// The transactions that a reader of the target sees, all of them whole.
fn seen_whole(to: &Server) -> u64 {
    let said = to.sql("bench", SUMS).unwrap();
    let mut sums: Vec<&str> = said.trim().split('|').collect();
    let count = sums.pop().unwrap().parse().unwrap();
    sums.dedup();
    assert_eq!(
        sums.len(),
        1,
        "a reader saw a part of a transaction: {said}"
    );
    count
}

#[test]
fn whoever_reads_the_target_sees_whole_transactions_although_lockstep_is_killed() {
    let (Some(from), Some(to)) = (
        Server::start(&Options::default()),
        Server::start(&Options::default()),
    ) else {
        return;
    };
    for server in [&from, &to] {
        server.sql("postgres", "CREATE DATABASE bench").unwrap();
    }
    pgbench(&from, &["-i", "-q", "-s", "1"]);
    let key = "ALTER TABLE pgbench_history ADD id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY";
    from.sql("bench", key).unwrap();
    let configuration = configuration("create_tables = true\n", "consistency = \"transaction\"\n");
    let folder = folder(&from, &to, configuration);
    let at = folder.path();
    let mut running = Running::start(at);
    let started = Instant::now();
    // The target's tables are made by Lockstep; the first copy is no transaction, and is over once all of them are read.
    loop {
        let log = fs::read_to_string(at.join("runtime.txt")).unwrap_or_default();
        let read = log.matches("snapshot is complete").count();
        let there = to.sql("bench", "SELECT count(*) FROM pgbench_tellers");
        if read == TABLES.len() && there.is_ok_and(|there| there == "10") {
            break;
        }
        assert!(started.elapsed() < DEADLINE, "the copy does not end\n{log}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut writing = pgbench_command(&from, &["-n", "-c", "4", "-T", "6", "-R", "300"])
        .spawn()
        .unwrap();
    let (mut seen, mut kills) = (0, 0);
    while writing.try_wait().unwrap().is_none() {
        let now = seen_whole(&to);
        assert!(now >= seen, "transactions are gone: {seen}, then {now}");
        if now >= seen + 150 {
            seen = now;
            kills += 1;
            drop(running);
            running = Running::start(at);
        }
    }
    assert!(kills > 0, "nothing arrived while pgbench wrote");
    let total: u64 = from
        .sql("bench", "SELECT count(*) FROM pgbench_history")
        .unwrap()
        .parse()
        .unwrap();
    let started = Instant::now();
    while seen_whole(&to) < total {
        let log = fs::read_to_string(at.join("runtime.txt")).unwrap_or_default();
        assert!(started.elapsed() < DEADLINE, "not all arrives\n{log}");
    }
    // The tables that Lockstep made have types of its own, so values are compared and not how they are padded.
    let balances =
        "SELECT md5(string_agg(aid || ' ' || abalance, ',' ORDER BY aid)) FROM pgbench_accounts";
    let history = "SELECT md5(string_agg(concat_ws(' ', id, tid, bid, aid, delta), ',' ORDER BY id)) FROM pgbench_history";
    for sql in [balances, history] {
        assert_eq!(
            from.sql("bench", sql).unwrap(),
            to.sql("bench", sql).unwrap()
        );
    }
    drop(running);
}

#[test]
fn two_databases_under_pgbench_come_out_the_same_although_runtime_and_target_are_killed() {
    let (Some(from), Some(mut to)) = (
        Server::start(&Options::default()),
        Server::start(&Options::default()),
    ) else {
        return;
    };
    for server in [&from, &to] {
        server.sql("postgres", "CREATE DATABASE bench").unwrap();
    }
    pgbench(&from, &["-i", "-q", "-s", "2"]);
    let key = "ALTER TABLE pgbench_history ADD id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY";
    from.sql("bench", key).unwrap();
    pgbench(&to, &["-i", "-q", "-I", "tp", "-s", "2"]);
    let key = "ALTER TABLE pgbench_history ADD id bigint PRIMARY KEY";
    to.sql("bench", key).unwrap();

    let folder = folder(&from, &to, configuration("", ""));
    let at = folder.path();

    // The first copy while pgbench writes, and a kill in the middle of it.
    let mut writing = pgbench_command(&from, &["-n", "-c", "2", "-T", "4", "-R", "150"])
        .spawn()
        .unwrap();
    let running = Running::start(at);
    let there = || {
        to.sql("bench", "SELECT count(*) FROM pgbench_accounts")
            .unwrap()
    };
    let started = Instant::now();
    while there() == "0" {
        assert!(started.elapsed() < DEADLINE, "nothing arrives");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(running);
    let _running = Running::start(at);
    assert!(writing.wait().unwrap().success());
    until_equal(at, &from, &to);

    // This one empties the history before it begins, and its target dies.
    let mut writing = pgbench_command(&from, &["-c", "2", "-T", "3", "-R", "150"])
        .spawn()
        .unwrap();
    to.kill().unwrap();
    to.restart().unwrap();
    assert!(writing.wait().unwrap().success());
    until_equal(at, &from, &to);
    let moved = "SELECT count(*) > 100, sum(delta) <> 0 FROM pgbench_history";
    assert_eq!(to.sql("bench", moved).unwrap(), "t|t");
}
