//! Tables that are read while they are written.

use lockstep_core::change::Op;
use lockstep_core::connector::Control;
use lockstep_core::{Change, Value};
use lockstep_servers::postgres::{Options, Server};
use serde_json::json;

use crate::running::{Setup, fold};
use crate::{TABLE, database, ops};

#[tokio::test]
async fn a_snapshot_under_heavy_writing_ends_in_the_same_state() {
    let Some(database) = database(
        "CREATE TABLE t(id int PRIMARY KEY, x text, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
         INSERT INTO t SELECT i, 'old', repeat(i::text, 3000) FROM generate_series(1, 400) i",
    ) else {
        return;
    };
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let url = database.url();
            let away = 100_000 * (writer + 1);
            // Transactions of one step and of several; rows that move behind the snapshot and back, go and come again.
            let sql = format!(
                "DO $$ DECLARE k int; BEGIN FOR i IN 1..150 LOOP k := 1 + (random() * 399)::int;
                   IF i % 7 = 0 THEN UPDATE t AS a SET id = CASE WHEN id = k THEN k - {away} ELSE k END
                     WHERE id IN (k, k - {away}) AND NOT EXISTS (SELECT FROM t b WHERE b.id IN (k, k - {away}) AND b.id <> a.id);
                   ELSIF i % 11 = 0 THEN DELETE FROM t WHERE id = k; INSERT INTO t VALUES (k, 'again', repeat('z', 5000)) ON CONFLICT DO NOTHING;
                   ELSE UPDATE t SET x = 'w{writer}-' || i WHERE id = k; END IF;
                   IF i % 3 > 0 THEN COMMIT; END IF; PERFORM pg_sleep(0.001); END LOOP; END $$"
            );
            let psql = lockstep_servers::find::postgres_bin().unwrap().join("psql");
            std::thread::spawn(move || {
                std::process::Command::new(psql).args(["-XAtq", "-d", &url, "-c", &sql]).output().unwrap()
            })
        })
        .collect();
    let setup = Setup::of(&database, &["t"])
        .with("snapshot_rows", json!(25))
        .with("batch_max", json!(20));
    let mut run = setup.run(None).await;
    let mut told = run.settled().await;
    while writers.iter().any(|writer| !writer.is_finished()) {
        // One snapshot after the other, as long as somebody writes.
        let table = "t".to_owned();
        let asked = run.feed.control.send(Control::Backfill {
            table,
            filter: None,
        });
        asked.await.unwrap();
        told.extend(
            run.until(|told| told.iter().any(|change| change.op == Op::Snapshot))
                .await,
        );
        told.extend(run.settled().await);
    }
    for writer in writers {
        // Writers may run into each other; what they had committed by then stands.
        let error = String::from_utf8(writer.join().unwrap().stderr).unwrap();
        assert!(
            error.is_empty() || error.contains("deadlock") || error.contains("duplicate key"),
            "{error}"
        );
    }
    assert_ne!(
        database
            .sql("SELECT count(*) FROM t WHERE x LIKE 'w%'")
            .unwrap(),
        "0"
    );
    database
        .sql("INSERT INTO t VALUES (0, 'last', '')")
        .unwrap();
    told.extend(
        run.until(|told| ops(told).contains(&(Op::Created, 0)))
            .await,
    );
    let rows = database
        .sql("SELECT id || '|' || x || '|' || md5(big) FROM t ORDER BY id")
        .unwrap();
    // A fresh run tells the truth in one go; both must agree on every row, whole.
    run.kill().await;
    let fresh = Setup {
        system: format!("{}_fresh", database.name()),
        ..Setup::of(&database, &["t"])
    };
    let truth = fresh.run(None).await.settled().await;
    assert_eq!(truth.len(), rows.lines().count());
    let (told, truth) = (fold(&told), fold(&truth));
    assert!(told == truth, "{}", told.difference(&truth));
}

#[tokio::test]
async fn a_table_read_over_several_connections_is_told_once_and_as_it_is() {
    let Some(database) = database(
        "CREATE TABLE t(k text COLLATE \"C\", n int, x text, PRIMARY KEY (k, n));
         INSERT INTO t SELECT chr(97 + i % 26), i, 'first' FROM generate_series(1, 45000) i",
    ) else {
        return;
    };
    let url = database.url();
    // Rows of every part change, go, come and move while parts are read.
    let sql = "DO $$ DECLARE at int; BEGIN FOR i IN 1..400 LOOP at := 1 + (random() * 44999)::int;
          UPDATE t SET x = x || '+' WHERE n BETWEEN at AND at + 30 AND k > 'c';
          DELETE FROM t WHERE n = at; INSERT INTO t VALUES ('m', 100000 + i, 'new');
          UPDATE t SET k = 'zz' WHERE n = at + 7 AND k <> 'zz'; COMMIT; END LOOP; END $$";
    let psql = lockstep_servers::find::postgres_bin().unwrap().join("psql");
    let writer = std::thread::spawn(move || {
        let mut command = std::process::Command::new(psql);
        command.args(["-XAtq", "-d", &url, "-c", sql]);
        command.output().unwrap()
    });
    let setup = Setup::of(&database, &["t"]).with("snapshot_connections", json!(4));
    let mut run = setup.run(None).await;
    let mut told = run.settled().await;
    let said = writer.join().unwrap();
    assert!(said.status.success(), "{said:?}");
    database
        .sql("INSERT INTO t VALUES ('last', 0, '')")
        .unwrap();
    let last = |told: &[Change]| {
        let key = |change: &Change| change.row.value(1) == Some(&Value::Int(0));
        told.iter().any(key)
    };
    told.extend(run.until(last).await);
    run.kill().await;
    let copied = told.iter().filter(|change| change.op == Op::Snapshot);
    let key = |change: &Change| format!("{:?}", [change.row.value(0), change.row.value(1)]);
    let mut keys: Vec<String> = copied.map(key).collect();
    let all = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(all, keys.len(), "no row is copied twice");
    let fresh = Setup {
        system: format!("{}_fresh", database.name()),
        ..Setup::of(&database, &["t"]).with("snapshot_connections", json!(1))
    };
    let truth = fresh.run(None).await.settled().await;
    let count = database.sql("SELECT count(*) FROM t").unwrap();
    assert_eq!(truth.len().to_string(), count);
    let (told, truth) = (fold(&told), fold(&truth));
    assert!(told == truth, "{}", told.difference(&truth));
}

#[tokio::test]
async fn a_snapshot_reads_every_row_whatever_orders_its_key() {
    let Some(database) = database(
        "CREATE EXTENSION citext;
         CREATE COLLATION lax (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TYPE mood AS ENUM ('zoo', 'bar', 'Abe');
         CREATE TABLE c(k citext PRIMARY KEY); CREATE TABLE l(k text COLLATE lax NOT NULL); CREATE UNIQUE INDEX one ON l(k COLLATE \"C\"); ALTER TABLE l REPLICA IDENTITY FULL;
         CREATE TABLE e(m mood, n int, PRIMARY KEY (m, n));
         INSERT INTO c SELECT CASE WHEN i % 2 = 0 THEN 'K' ELSE 'k' END || i FROM generate_series(1, 60) i;
         INSERT INTO l SELECT k || i FROM generate_series(1, 20) i, unnest('{a,A,b,B}'::text[]) k;
         INSERT INTO e SELECT m, i FROM generate_series(1, 20) i, unnest(enum_range(NULL::mood)) m",
    ) else {
        return;
    };
    let setup = Setup::of(&database, &["c", "l", "e"]).with("snapshot_rows", json!(7));
    let mut run = setup.run(None).await;
    assert_eq!(run.settled().await.len(), 60 + 80 + 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_waits_for_a_standby_holds_up_the_snapshot_and_not_the_changes() {
    let Some(server) = Server::start(&Options::default()) else {
        return;
    };
    server.sql("postgres", TABLE).unwrap();
    let setup = Setup::new(&server.url("postgres"), "waiting", &["t"]);
    let mut run = setup.run(None).await;
    run.settled().await;
    let set = "ALTER SYSTEM SET synchronous_standby_names =";
    server.sql("postgres", &format!("{set} 'nobody'")).unwrap();
    server.sql("postgres", "SELECT pg_reload_conf()").unwrap();
    let settled = server.sql("postgres", "SHOW synchronous_standby_names");
    assert_eq!(settled.unwrap(), "nobody");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.sql("postgres", "INSERT INTO t VALUES (10, 'x')"));
        let told = async {
            assert_eq!(ops(&run.changes(1).await), [(Op::Created, 10)]);
            let table = "t".to_owned();
            let asked = run.feed.control.send(Control::Backfill {
                table,
                filter: None,
            });
            asked.await.unwrap();
            for id in 11..14 {
                let insert =
                    format!("SET synchronous_commit = local; INSERT INTO t VALUES ({id}, 'x')");
                server.sql("postgres", &insert).unwrap();
                assert_eq!(ops(&run.changes(1).await), [(Op::Created, id)]);
            }
            assert!(!waiting.is_finished());
            server.sql("postgres", &format!("{set} ''")).unwrap();
            server.sql("postgres", "SELECT pg_reload_conf()").unwrap();
            assert_eq!(run.settled().await.len(), 7);
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(told));
        waiting.join().unwrap().unwrap();
    });
}
