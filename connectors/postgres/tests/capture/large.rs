//! Transactions larger than the server's memory for them, which it tells while they are under way.

use std::collections::BTreeSet;
use std::time::Instant;

use lockstep_core::change::Op;
use lockstep_core::{Change, Value};
use lockstep_servers::postgres::{Database, Options, Server};
use serde_json::json;

use crate::ops;
use crate::running::{DEADLINE, Setup, fold, spool};

/// A cluster that tells transactions in blocks from 64 kB on.
fn server() -> Option<Server> {
    let options = Options {
        fsync: false,
        settings: vec!["logical_decoding_work_mem = 64kB".to_owned()],
        ..Options::default()
    };
    let server = Server::start(&options)?;
    server
        .sql("postgres", "CREATE TABLE t(id int PRIMARY KEY, x text, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL; CREATE TABLE u(id int PRIMARY KEY)")
        .unwrap();
    Some(server)
}

/// A transaction of several blocks, parts of which are taken back: in the middle, nested, with a column that never was.
const TANGLED: &str = "BEGIN;
    INSERT INTO t SELECT i, 'first', repeat('x', 100) FROM generate_series(1, 2000) i;
    SAVEPOINT a;
      INSERT INTO t SELECT i, 'gone', repeat('x', 100) FROM generate_series(5001, 7000) i;
      INSERT INTO u SELECT generate_series(1, 1000);
      SAVEPOINT b; UPDATE t SET x = 'gone too' WHERE id <= 1000; RELEASE b;
    ROLLBACK TO a;
    UPDATE t SET x = 'second' WHERE id <= 500;
    SAVEPOINT c;
      ALTER TABLE t ADD never int;
      INSERT INTO t SELECT i, 'never', '', 1 FROM generate_series(8001, 9500) i;
    ROLLBACK TO c;
    INSERT INTO u SELECT generate_series(1, 1000);
    SAVEPOINT d;
      INSERT INTO t SELECT i, 'kept', repeat('y', 100) FROM generate_series(2001, 3000) i;
    RELEASE d;
    DELETE FROM t WHERE id % 10 = 0;
    UPDATE t SET id = id + 100000 WHERE id BETWEEN 501 AND 600;
    COMMIT;";

/// Changes that `TANGLED` makes.
const TANGLED_COUNT: usize = 2000 + 500 + 1000 + 1000 + 300 + 90;

fn streamed(server: &Server, slot: &str) -> u64 {
    let sql =
        format!("SELECT stream_txns FROM pg_stat_replication_slots WHERE slot_name = '{slot}'");
    server.sql("postgres", &sql).unwrap().parse().unwrap_or(0)
}

#[tokio::test]
async fn both_protocols_tell_the_same_under_the_same_marks() {
    let Some(server) = server() else { return };
    let url = server.url("postgres");
    let setup = |protocol: u8| {
        let name = format!("v{protocol}");
        Setup::new(&url, &name, &["t", "u"]).with("protocol", json!(protocol))
    };
    let mut runs = [setup(1).run(None).await, setup(2).run(None).await];
    for run in &mut runs {
        run.settled().await;
    }
    server.sql("postgres", TANGLED).unwrap();
    // What follows relies on what the large one told of its tables.
    server
        .sql(
            "postgres",
            "INSERT INTO t VALUES (-1, 'after', ''); TRUNCATE u; INSERT INTO u VALUES (1)",
        )
        .unwrap();
    let [one, two] = &mut runs;
    let one = one.changes(TANGLED_COUNT + 3).await;
    let two = two.changes(TANGLED_COUNT + 3).await;
    for (a, b) in one.iter().zip(&two) {
        assert_eq!((a.mark, a.op, &a.row), (b.mark, b.op, &b.row));
    }
    assert!(
        streamed(&server, "lockstep_v2") > 0,
        "nothing came in blocks"
    );
    assert_eq!(streamed(&server, "lockstep_v1"), 0);
    let of = |table: &str| {
        two.iter()
            .filter(|change| change.shape.name == table)
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!((fold(&of("t")).len(), fold(&of("u")).len()), (2701, 1));
    assert_eq!(std::fs::read_dir(spool("v2")).map_or(0, Iterator::count), 0);
}

#[tokio::test]
async fn nothing_of_a_large_transaction_is_told_before_it_commits_and_a_cut_one_comes_again() {
    let Some(server) = server() else { return };
    let setup = Setup::new(&server.url("postgres"), "open", &["t"]).with("batch_max", json!(300));
    let mut run = setup.run(None).await;
    run.settled().await;
    run.keep();
    let url = server.url("postgres");
    let psql = server.bin("psql");
    let mut writing = std::process::Command::new(psql)
        .args(["-XAtq", "-d", &url])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut say = writing.stdin.take().unwrap();
    let mut tell = |sql: &str| {
        use std::io::Write as _;
        say.write_all(sql.as_bytes()).unwrap();
    };
    tell(
        "BEGIN; INSERT INTO t SELECT i, 'open', repeat('x', 200) FROM generate_series(1, 20000) i;\n",
    );
    let kept = || std::fs::read_dir(spool("open")).map_or(0, Iterator::count);
    // Others go on meanwhile.
    let start = Instant::now();
    let mut other = 100_000;
    while kept() == 0 {
        assert!(start.elapsed() < DEADLINE, "nothing is kept aside");
        other += 1;
        server
            .sql(
                "postgres",
                &format!("INSERT INTO t VALUES ({other}, 'other', '')"),
            )
            .unwrap();
        assert_eq!(ops(&run.changes(1).await), [(Op::Created, other)]);
    }
    run.keep();
    let position = run.position();
    run.kill().await;
    // The next run gets it from its beginning.
    let mut run = setup.run(Some(&position)).await;
    tell("COMMIT;\n");
    drop(say);
    let told = run.changes(20_000).await;
    let ids: BTreeSet<i64> = ops(&told).iter().map(|(_, id)| *id).collect();
    assert_eq!((ids.len(), told.len()), (20_000, 20_000));
    writing.wait().unwrap();
    // Cut in the middle, it goes on where it was cut.
    let (middle, seen) = run
        .taken
        .iter()
        .find(|(changes, _)| !changes.is_empty())
        .map(|(changes, position)| (position.clone(), changes.len()))
        .unwrap();
    run.kill().await;
    let mut run = setup.run(Some(&middle)).await;
    let rest = run.changes(20_000 - seen).await;
    assert_eq!(rest[0].mark, told[seen].mark);
}

#[tokio::test]
async fn a_spool_that_is_full_ends_the_run_and_loses_nothing() {
    let Some(server) = server() else { return };
    let setup = Setup::new(&server.url("postgres"), "full", &["t"]);
    let small = setup.clone().with("spool_bytes", json!(100_000));
    let mut run = small.run(None).await;
    run.settled().await;
    let position = run.position();
    server
        .sql(
            "postgres",
            "INSERT INTO t SELECT i, 'x', repeat('x', 200) FROM generate_series(1, 5000) i",
        )
        .unwrap();
    let error = run.error().await;
    assert!(
        error.help_text().unwrap().contains("spool_bytes"),
        "{error:?}"
    );
    let mut run = setup.with("protocol", json!(1)).run(Some(&position)).await;
    assert_eq!(run.changes(5000).await.len(), 5000);
}

#[tokio::test]
async fn a_large_transaction_of_a_server_that_is_killed_never_happened() {
    let Some(mut server) = server() else { return };
    let setup = Setup::new(&server.url("postgres"), "dies", &["t"]);
    let mut run = setup.run(None).await;
    run.settled().await;
    let position = run.position();
    let mut writing = std::process::Command::new(server.bin("psql"))
        .args(["-XAtq", "-d", &server.url("postgres"), "-c"])
        .arg("INSERT INTO t SELECT i, 'lost', repeat('x', 200) FROM generate_series(1, 20000) i; SELECT pg_sleep(60)")
        .args(["-c", "SELECT 1", "-1"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let kept = || std::fs::read_dir(spool("dies")).map_or(0, Iterator::count);
    let start = Instant::now();
    while kept() == 0 {
        assert!(start.elapsed() < DEADLINE, "nothing is kept aside");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    server.kill().unwrap();
    assert!(run.error().await.kind().is_retryable());
    writing.wait().unwrap();
    assert_eq!(kept(), 0, "a session that ends leaves nothing");
    server.restart().unwrap();
    let mut run = setup.run(Some(&position)).await;
    server
        .sql("postgres", "INSERT INTO t VALUES (1, 'next', '')")
        .unwrap();
    assert_eq!(ops(&run.changes(1).await), [(Op::Created, 1)]);
}

/// Bytes of memory that this process holds.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

#[tokio::test]
async fn memory_stays_bounded_however_large_a_transaction_is() {
    let Some(database) = Database::fresh() else {
        return;
    };
    database
        .sql("CREATE TABLE t(id int PRIMARY KEY, x text)")
        .unwrap();
    let mut run = Setup::of(&database, &["t"]).run(None).await;
    run.settled().await;
    let before = resident();
    let writing = {
        let url = database.url();
        let psql = lockstep_servers::find::postgres_bin().unwrap().join("psql");
        std::thread::spawn(move || {
            let sql = "INSERT INTO t SELECT i, repeat(md5(i::text), 12) FROM generate_series(1, 300000) i";
            std::process::Command::new(psql)
                .args(["-XAtq", "-d", &url, "-c", sql])
                .status()
                .unwrap()
        })
    };
    let (mut count, mut most, mut last) = (0, before, None);
    while count < 300_000 {
        let changes: Vec<Change> = run.next().await;
        // What was taken is not kept here either.
        run.taken.clear();
        count += changes.len();
        most = most.max(resident());
        last = changes
            .last()
            .and_then(|change| change.row.value(0).cloned())
            .or(last);
    }
    assert!(writing.join().unwrap().success());
    assert_eq!((count, last), (300_000, Some(Value::Int(300_000))));
    let grown = most.saturating_sub(before) >> 20;
    // The transaction itself is 120 MB.
    assert!(grown < 60, "memory grew by {grown} MB");
}
