//! Reaching a server: passwords, TLS, servers that are down or die, and what each failure tells its operator.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod running;

use lockstep_core::Kind;
use lockstep_core::change::Op;
use lockstep_servers::certificates::{Authority, LOOPBACK};
use lockstep_servers::postgres::{Options, Server};
use lockstep_servers::wait;
use running::{Setup, says};

const TABLE: &str = "CREATE TABLE t(id int PRIMARY KEY, x text); INSERT INTO t VALUES (1, 'a')";

#[tokio::test]
async fn every_way_to_prove_who_we_are_works_and_a_wrong_password_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority").unwrap();
    let other = Authority::new(folder.path(), "other").unwrap();
    let leaf = authority.server("server", &LOOPBACK).unwrap();
    let client = authority.client("client", "cert").unwrap();
    let rule = |line: &str| line.to_owned();
    let options = Options {
        tls: Some(leaf),
        fsync: false,
        settings: vec![rule("password_encryption = 'scram-sha-256'")],
        hba: vec![
            rule("hostssl all cert 127.0.0.1/32 cert"),
            rule("host all md5 127.0.0.1/32 md5"),
            rule("hostssl all plain 127.0.0.1/32 password"),
            rule("host all plain 127.0.0.1/32 password"),
            rule("hostssl all tls 127.0.0.1/32 scram-sha-256"),
            rule("host all tls 127.0.0.1/32 reject"),
        ],
        ..Options::default()
    };
    let Some(server) = Server::start(&options) else {
        return;
    };
    server.sql("postgres", TABLE).unwrap();
    server
        .sql(
            "postgres",
            "SET password_encryption = 'md5'; CREATE ROLE md5 SUPERUSER LOGIN PASSWORD 'p|w'; SET password_encryption = 'scram-sha-256';
             CREATE ROLE scram SUPERUSER LOGIN PASSWORD 'pä w'; CREATE ROLE tls SUPERUSER LOGIN PASSWORD 'pw'; CREATE ROLE plain SUPERUSER LOGIN PASSWORD 'pw'; CREATE ROLE cert SUPERUSER LOGIN",
        )
        .unwrap();
    let port = server.port();
    let trusted = format!(
        "sslmode=verify-full&sslrootcert={}",
        authority.certificate().display()
    );
    let url = |who: &str, host: &str, query: &str| {
        format!("postgres://{who}@{host}:{port}/postgres?{query}")
    };
    let cert = format!(
        "{trusted}&sslcert={}&sslkey={}",
        client.certificate.display(),
        client.key.display()
    );
    let good = [
        url("scram:p%C3%A4%20w", "127.0.0.1", "sslmode=disable"),
        url("scram:p%C3%A4%20w", "127.0.0.1", &trusted),
        url("scram:p%C3%A4%20w", "localhost", &trusted),
        url("scram:p%C3%A4%20w", "localhost", "sslmode=require"),
        url("scram:p%C3%A4%20w", "localhost", "sslmode=prefer"),
        url("md5:p%7Cw", "127.0.0.1", "sslmode=disable"),
        url("plain:pw", "127.0.0.1", &trusted),
        url(
            "tls:pw",
            "127.0.0.1",
            &trusted.replace("verify-full", "verify-ca"),
        ),
        url("cert", "127.0.0.1", &cert),
    ];
    for (n, url) in good.iter().enumerate() {
        let mut run = Setup::new(url, &format!("good{n}"), &["t"]).run(None).await;
        assert_eq!(run.settled().await.len(), 1, "{url}");
    }
    let untrusted = format!(
        "sslmode=verify-full&sslrootcert={}",
        other.certificate().display()
    );
    for (url, kind, part) in [
        (
            url("scram:wrong", "127.0.0.1", &trusted),
            Kind::Unauthorized,
            "check user and password",
        ),
        (
            url("md5:wrong", "127.0.0.1", "sslmode=disable"),
            Kind::Unauthorized,
            "check user and password",
        ),
        (
            url("scram:p%C3%A4%20w", "127.0.0.1", &untrusted),
            Kind::Config,
            "sslrootcert",
        ),
        (
            url("scram:p%C3%A4%20w", "127.0.0.1", "sslmode=verify-full"),
            Kind::Config,
            "sslrootcert",
        ),
        (
            url("tls:pw", "127.0.0.1", "sslmode=disable"),
            Kind::Unauthorized,
            "pg_hba.conf",
        ),
    ] {
        let error = Setup::new(&url, "bad", &["t"]).refused(None).await;
        assert_eq!(error.kind(), kind, "{url}: {error:?}");
        says(&error, part);
        assert!(!format!("{error:?}").contains("wrong"), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_set_up_for_something_else_says_what_to_set() {
    let options = Options {
        fsync: false,
        settings: vec![
            "wal_level = replica".to_owned(),
            "max_replication_slots = 1".to_owned(),
        ],
        ..Options::default()
    };
    let Some(mut server) = Server::start(&options) else {
        return;
    };
    server.sql("postgres", TABLE).unwrap();
    let setup = Setup::new(&server.url("postgres"), "erp", &["t"]);
    let error = setup.refused(None).await;
    assert_eq!(error.kind(), Kind::Config);
    says(&error, "ALTER SYSTEM SET wal_level = logical");
    assert!(
        setup
            .check()
            .await
            .unwrap()
            .iter()
            .any(|finding| finding.message.contains("wal_level is `replica`"))
    );

    let logical = Options {
        settings: vec!["max_replication_slots = 1".to_owned()],
        ..options
    };
    server.configure(&logical).unwrap();
    server.restart().unwrap();
    server
        .sql(
            "postgres",
            "SELECT pg_create_physical_replication_slot('theirs')",
        )
        .unwrap();
    says(&setup.refused(None).await, "max_replication_slots");
    assert!(
        setup
            .check()
            .await
            .unwrap()
            .iter()
            .any(|finding| finding.message.contains("no replication slot left"))
    );
    server
        .sql("postgres", "SELECT pg_drop_replication_slot('theirs')")
        .unwrap();
    let mut run = setup.run(None).await;
    assert_eq!(run.settled().await.len(), 1);
}

#[tokio::test]
async fn a_killed_server_loses_nothing() {
    let Some(mut server) = Server::start(&Options::default()) else {
        return;
    };
    server.sql("postgres", TABLE).unwrap();
    let setup = Setup::new(&server.url("postgres"), "erp", &["t"]);
    let mut run = setup.run(None).await;
    run.settled().await;
    run.keep();
    for round in 0..2 {
        let (first, last) = (100 * round + 10, 100 * round + 59);
        server
            .sql(
                "postgres",
                &format!("INSERT INTO t SELECT i, 'x' FROM generate_series({first}, {last}) i"),
            )
            .unwrap();
        let told = run.next().await;
        let position = run.position();
        server.kill().unwrap();
        let error = run.error().await;
        assert_eq!(error.kind(), Kind::Transient, "{error:?}");
        let down = setup.refused(Some(&position)).await;
        assert_eq!(down.kind(), Kind::Transient, "{down:?}");
        server.restart().unwrap();
        // The next run begins where the last batch that was taken ended.
        run = setup.run(Some(&position)).await;
        let left = 50
            - told
                .iter()
                .filter(|change| change.op == Op::Created)
                .count();
        if left > 0 {
            assert_eq!(run.changes(left).await.len(), left);
        } else {
            run.next().await;
        }
    }
    // A server that is stopped in order waits until what it has sent is known to be safe.
    run.keep();
    let stopping = std::thread::spawn(move || server.stop().map(|()| server));
    wait::until("the end of the run", running::DEADLINE, || {
        Ok(stopping.is_finished().then_some(()))
    })
    .ok();
    stopping.join().unwrap().unwrap();
    assert!(run.error().await.kind().is_retryable());
}
