//! A row that is larger than the log's servers take at once, from PostgreSQL to PostgreSQL.

use lockstep_servers::{nats, postgres};

use crate::stage::Stage;

const MIB: usize = 1024 * 1024;

/// Bytes of memory that a process has at most had.
fn peak(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    let number: String = line.chars().filter(char::is_ascii_digit).collect();
    number.parse::<usize>().unwrap() * 1024
}

struct Pair {
    source: postgres::Server,
    target: postgres::Server,
    log: nats::Server,
    stage: Stage,
}

fn pair() -> Option<Pair> {
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
    stage.edit(
        "contracts/account.odcs.yaml",
        "        logicalTypeOptions:\n          maxLength: 40\n",
        "",
    );
    stage.log_on(&format!("\"{}\"", log.url()), "");
    Some(Pair {
        source,
        target,
        log,
        stage,
    })
}

impl Pair {
    fn put(&self, no: &str, bytes: usize, version: usize) {
        // Every row is another text, so that none finds the object of another.
        let insert = format!(
            "INSERT INTO accounts VALUES ('{no}', repeat('{no}-{version}-', {bytes} / length('{no}-{version}-')), 'Germany', 100, 200, {version}) \
             ON CONFLICT (no) DO UPDATE SET title = excluded.title, version = excluded.version"
        );
        self.source.sql("postgres", &insert).unwrap();
    }

    fn until_equal(&self) {
        let digest = "SELECT count(*), md5(string_agg(md5(%) || version, ',' ORDER BY version))";
        let there = self
            .source
            .sql(
                "postgres",
                &format!("{} FROM accounts", digest.replace('%', "title")),
            )
            .unwrap();
        self.stage
            .until("the target holds what the source holds", || {
                let here = format!("{} FROM partners", digest.replace('%', "name"));
                self.target
                    .sql("postgres", &here)
                    .is_ok_and(|here| here == there)
            });
    }
}

#[test]
fn a_row_of_twenty_megabytes_arrives_over_servers_that_take_one() {
    let Some(pair) = pair() else { return };
    pair.put("A", 100, 1);
    pair.put("big", 20 * MIB, 2);
    let runtime = pair.stage.run();
    pair.until_equal();
    pair.put("later", 20 * MIB, 3);
    pair.put("B", 100, 4);
    pair.until_equal();
    assert!(pair.stage.quarantined().is_empty());
    let peak = peak(runtime.pid()) / MIB;
    assert!(peak < 700, "the runtime took {peak} MiB");
    // A reader that begins now finds the objects as well.
    assert_eq!(runtime.stop(), 0);
    pair.target
        .sql(
            "postgres",
            "DROP SCHEMA lockstep CASCADE; TRUNCATE partners",
        )
        .unwrap();
    let _runtime = pair.stage.run();
    pair.until_equal();
    assert!(pair.log.pid().is_some());
}

#[test]
fn large_rows_survive_kills_at_any_moment() {
    let Some(pair) = pair() else { return };
    for round in 0..6 {
        let runtime = pair.stage.spawn();
        for n in 0..3 {
            pair.put(&format!("R{n}"), 3 * MIB, round * 10 + n);
        }
        // Somewhere between the first chunk and the last position.
        std::thread::sleep(std::time::Duration::from_millis(400 + 350 * round as u64));
        runtime.kill();
    }
    let _runtime = pair.stage.run();
    pair.until_equal();
    pair.stage
        .until("the flow rests", || pair.stage.state() == "idle");
    assert!(pair.stage.quarantined().is_empty());
}
