//! What goes wrong around a sink or a reader: credentials, permissions, TLS, cut connections, servers that are down or killed. Nothing is lost, and the message says what to do.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_core::connector::{DynSink, OpenContext};
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Error, Kind, Shape, Value};
use lockstep_postgres::connector;
use lockstep_servers::certificates::Authority;
use lockstep_servers::postgres::{Options, Server};

use common::*;

const DEADLINE: Duration = Duration::from_secs(60);

async fn open_error(url: &str, folder: &Path) -> Error {
    let cx = OpenContext {
        system: "app".to_owned(),
        folder: folder.to_owned(),
        tables: Vec::new(),
        reads: Default::default(),
    };
    fails(connector().open_reader(config(url), cx).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_and_places_are_told_apart() {
    let Some(database) = database("") else {
        return;
    };
    let here = PathBuf::from(".");
    let (address, _) = {
        let url = database.url();
        let (address, name) = url.rsplit_once('/').unwrap();
        (address.to_owned(), name.to_owned())
    };
    let user_less = address.rsplit_once('@').unwrap().1;
    for (url, kind, words, help) in [
        (
            format!("postgres://postgres:s3cr3t@{user_less}/postgres"),
            Kind::Unauthorized,
            "password authentication failed",
            "check user and password",
        ),
        (
            format!("postgres://nobody:s3cr3t@{user_less}/postgres"),
            Kind::Unauthorized,
            "password authentication failed",
            "pg_hba.conf",
        ),
        (
            format!("{address}/n0where"),
            Kind::Config,
            "database \"n0where\" does not exist",
            "check the database's name",
        ),
        (
            "postgres://u:s3cr3t@127.0.0.1:1/x".to_owned(),
            Kind::Transient,
            "127.0.0.1:1/x",
            "nothing listens there",
        ),
        (
            "postgres://u:s3cr3t@/x?host=/nowhere/at/all".to_owned(),
            Kind::Config,
            "/nowhere/at/all",
            "there is no socket",
        ),
        (
            format!("{address}/x?sslrootcert=none.pem"),
            Kind::Config,
            "the file of `sslrootcert` cannot be read",
            "relative paths start",
        ),
        (
            format!("{address}/postgres?sslmode=require"),
            Kind::Config,
            "does not support TLS",
            "check `sslmode`",
        ),
    ] {
        let error = open_error(&url, &here).await;
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.chain().contains(words), "{words}: {error:?}");
        assert!(
            error.help_text().unwrap_or_default().contains(help),
            "{help}: {:?}",
            error.help_text()
        );
        assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_permissions_are_named_with_the_statements_that_grant_them() {
    let Some(database) =
        database("CREATE SCHEMA sales; CREATE TABLE sales.t(id int PRIMARY KEY, n int, other int)")
    else {
        return;
    };
    let role = format!("app_{}", database.name());
    database
        .sql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'pw'"))
        .unwrap();
    let url = database.url_as(&role, "pw");
    let open = async || {
        let cx = context(&database, &["sales.t"]);
        connector().open_sink(config(&url), cx).await
    };
    let sink = open().await.unwrap();
    let shape = part(&sink.discover().await.unwrap()[0], &["id", "n"]);
    let targets = [Arc::clone(&shape)];
    let findings = sink.check(&targets).await.unwrap();
    for (severity, part) in [
        (Severity::Error, "may not create the schema `lockstep`"),
        (Severity::Error, "may not use the schema of table `sales.t`"),
        (
            Severity::Error,
            "lacks SELECT, INSERT, UPDATE, DELETE on table `sales.t`",
        ),
        (Severity::Warning, "may not use replication origins"),
    ] {
        assert!(says(&findings, severity, part), "{part}: {findings:?}");
    }
    let error = fails(sink.prepare(&targets).await);
    assert_eq!(error.kind(), Kind::Unauthorized, "{error:?}");
    let cures = findings
        .iter()
        .filter(|finding| finding.help.starts_with("run"));
    for (_, sql) in cures.filter_map(|finding| finding.help.split_once(": ")) {
        database.sql(sql).unwrap();
    }
    let sink = open().await.unwrap();
    let findings = sink.check(&targets).await.unwrap();
    assert!(
        findings
            .iter()
            .all(|finding| finding.message.contains("fsync")),
        "{findings:?}"
    );
    sink.prepare(&targets).await.unwrap();
    let row = |n: i64| {
        step(
            n.unsigned_abs(),
            vec![upsert(&shape, [Value::Int(1), Value::Int(n)])],
        )
    };
    assert!(is_committed(&sink.apply(&row(0)).await));
    // One that is taken away later stops the flow; it does not blame the record.
    database
        .sql(&format!("REVOKE UPDATE ON sales.t FROM {role}"))
        .unwrap();
    let error = fails(sink.apply(&row(1)).await);
    assert_eq!(error.kind(), Kind::Unauthorized, "{error:?}");
    assert_eq!(sink.progress("f").await.unwrap()[0].reached, 1);
    database.sql(&format!("GRANT UPDATE ON sales.t TO {role}; ALTER ROLE {role} SET default_transaction_read_only = on")).unwrap();
    // Sessions that are open already go on as before.
    assert!(is_committed(&sink.apply(&row(1)).await));
    let sink = open().await.unwrap();
    let findings = sink.check(&targets).await.unwrap();
    assert!(
        says(&findings, Severity::Error, "the server takes no writes"),
        "{findings:?}"
    );
    let error = fails(sink.apply(&row(2)).await);
    assert_eq!(error.kind(), Kind::Transient, "{error:?}");
    assert!(error.help_text().unwrap().contains("standby"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_were_cut_while_idle_are_made_anew() {
    let Some(database) = database("CREATE TABLE t(id int PRIMARY KEY)") else {
        return;
    };
    let (sink, shape) = prepared(&database, "t").await;
    let reader = reader(&database, &["t"]).await;
    let cut = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for number in 0..3_i64 {
        assert_ne!(database.sql(cut).unwrap(), "0");
        let receipt = sink
            .apply(&step(
                number.unsigned_abs(),
                vec![upsert(&shape, [Value::Int(number)])],
            ))
            .await;
        assert!(is_committed(&receipt), "{receipt:?}");
        assert_eq!(reader.discover().await.unwrap().len(), 1);
    }
    assert_eq!(database.sql("SELECT count(*) FROM t").unwrap(), "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_at_any_moment_loses_nothing_and_doubles_nothing() {
    let options = Options {
        fsync: false,
        ..Options::default()
    };
    let Some(mut server) = Server::start(&options) else {
        return;
    };
    // Every insert is counted where nothing is ever made equal again.
    server
        .sql(
            "postgres",
            "CREATE TABLE t(id int PRIMARY KEY, n int); CREATE TABLE audit(id int, n int);
             CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO audit VALUES (NEW.id, NEW.n); RETURN NULL; END';
             CREATE TRIGGER a AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()",
        )
        .unwrap();
    let cx = OpenContext {
        system: "killed".to_owned(),
        folder: PathBuf::from("."),
        tables: vec!["t".to_owned()],
        reads: Default::default(),
    };
    let sink: Arc<dyn DynSink> = connector()
        .open_sink(config(&server.url("postgres")), cx)
        .await
        .unwrap()
        .into();
    let shape = sink.discover().await.unwrap().remove(0);
    sink.prepare(&[Arc::clone(&shape)]).await.unwrap();
    let mut reached = 0;
    for (kill, moment_us) in [500_u64, 3000, 9000, 20_000].into_iter().enumerate() {
        let target = reached + 5;
        let writing = tokio::spawn(write_until_cut(
            Arc::clone(&sink),
            Arc::clone(&shape),
            reached,
        ));
        let began = Instant::now();
        while sink
            .progress("f")
            .await
            .unwrap()
            .first()
            .map_or(0, |lane| lane.reached)
            < target
        {
            assert!(began.elapsed() < DEADLINE, "nothing is written");
        }
        tokio::time::sleep(Duration::from_micros(moment_us)).await;
        server.kill().unwrap();
        let error = writing.await.unwrap();
        assert!(error.kind().is_retryable(), "kill {kill}: {error:?}");
        assert!(fails(sink.progress("f").await).kind().is_retryable());
        server.restart().unwrap();
        reached = sink.progress("f").await.unwrap()[0].reached;
        assert!(
            reached >= target,
            "what was committed is gone: {reached} < {target}"
        );
    }
    let counts = "SELECT (SELECT max(n) + 1 FROM t), (SELECT count(*) FROM audit), (SELECT count(DISTINCT (id, n)) FROM audit)";
    let writes = reached * ROWS.unsigned_abs();
    assert_eq!(
        server.sql("postgres", counts).unwrap(),
        format!("{reached}|{writes}|{writes}")
    );
}

const ROWS: i64 = 50;

/// Applies batches, each of which gives every row another value, until one fails.
async fn write_until_cut(sink: Arc<dyn DynSink>, shape: Arc<Shape>, from: u64) -> Error {
    let mut at = from;
    loop {
        let rows =
            (0..ROWS).map(|id| upsert(&shape, [Value::Int(id), Value::Int(at.cast_signed())]));
        match sink.apply(&step(at, rows.collect())).await {
            Ok(_) => at += 1,
            Err(error) => return error,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_who_its_certificate_says_or_it_is_not_spoken_to() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority").unwrap();
    let options = Options {
        fsync: false,
        hba: vec!["hostssl all certified 127.0.0.1/32 cert".to_owned()],
        tls: Some(authority.server("server", &["localhost"]).unwrap()),
        ..Options::default()
    };
    let Some(server) = Server::start(&options) else {
        return;
    };
    server
        .sql("postgres", "CREATE ROLE certified LOGIN")
        .unwrap();
    authority.client("client", "certified").unwrap();
    Authority::new(folder.path(), "stranger").unwrap();
    let (port, password) = (server.port(), server.password());
    let url = |host: &str, rest: &str| {
        format!("postgres://postgres:{password}@{host}:{port}/postgres?{rest}")
    };
    let certified = format!(
        "postgres://certified@localhost:{port}/postgres?sslmode=verify-full&sslrootcert=authority.pem"
    );
    for good in [
        url("localhost", "sslmode=verify-full&sslrootcert=authority.pem"),
        url("localhost", "sslmode=verify-ca&sslrootcert=authority.pem"),
        url("127.0.0.1", "sslmode=require"),
        url("127.0.0.1", "sslmode=prefer"),
        url("127.0.0.1", "sslmode=disable"),
        format!("{certified}&sslcert=client.pem&sslkey=client.key"),
    ] {
        let cx = OpenContext {
            system: "tls".to_owned(),
            folder: folder.path().to_owned(),
            tables: Vec::new(),
            reads: Default::default(),
        };
        let reader = connector().open_reader(config(&good), cx).await;
        assert!(reader.is_ok(), "{good}: {:?}", reader.err());
    }
    for bad in [
        url("127.0.0.1", "sslmode=verify-full&sslrootcert=authority.pem"),
        // Stricter than its name: the driver checks the server's name as well.
        url("127.0.0.1", "sslmode=verify-ca&sslrootcert=authority.pem"),
        url("127.0.0.1", "sslmode=require&sslrootcert=stranger.pem"),
        url("localhost", "sslmode=verify-full"),
        url("localhost", "sslmode=verify-full&sslrootcert=stranger.pem"),
    ] {
        let error = open_error(&bad, folder.path()).await;
        assert_eq!(error.kind(), Kind::Config, "{bad}: {error:?}");
        assert!(
            error.help_text().unwrap().contains("certificate"),
            "{error:?}"
        );
    }
    let error = open_error(&certified, folder.path()).await;
    assert_eq!(error.kind(), Kind::Unauthorized, "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_whose_apply_is_dropped_anywhere_goes_on_with_a_clean_connection() {
    let Some(database) = database("CREATE TABLE t(id int PRIMARY KEY, n int)") else {
        return;
    };
    let (sink, shape) = prepared(&database, "t").await;
    let mut reached = 0;
    for polls in 0..24 {
        let rows = |n: u64| {
            let rows =
                (0..20_i64).map(|id| upsert(&shape, [Value::Int(id), Value::Int(n.cast_signed())]));
            step(n, rows.collect())
        };
        drop_after(polls, sink.apply(&rows(reached))).await;
        // What was cut off may still come to its end; whoever comes next finds that out.
        loop {
            let stored = sink.progress("f").await.unwrap();
            reached = stored.first().map_or(0, |lane| lane.reached);
            match sink.apply(&rows(reached)).await {
                Ok(_) => break,
                Err(error) => assert_eq!(error.kind(), Kind::Stopped, "{error:?}"),
            }
        }
        reached += 1;
        let sums = format!("{}|{reached}", 20 * (reached - 1));
        let held = "SELECT sum(n), (SELECT seq FROM lockstep.progress) FROM t";
        assert_eq!(database.sql(held).unwrap(), sums, "after {polls} polls");
    }
}

/// Polls a future that often, and drops it.
async fn drop_after(polls: u32, future: impl Future) {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(|cx| {
        if left == 0 || future.as_mut().poll(cx).is_ready() {
            return std::task::Poll::Ready(());
        }
        left -= 1;
        if left == 0 {
            return std::task::Poll::Ready(());
        }
        std::task::Poll::Pending
    })
    .await;
}
