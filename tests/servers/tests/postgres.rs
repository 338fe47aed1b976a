//! What tests rely on when they start PostgreSQL.

use std::process::{Command, Stdio};
use std::time::Duration;

use lockstep_servers::certificates::{Authority, LOOPBACK};
use lockstep_servers::postgres::{Database, Options, Server};
use lockstep_servers::wait;

#[test]
fn a_killed_server_comes_back_on_its_port_with_its_commits() {
    let Some(mut server) = Server::start(&Options::default()) else {
        return;
    };
    let url = server.url("postgres");
    let made = "CREATE TABLE kept (id int); INSERT INTO kept VALUES (7);
        SELECT pg_create_logical_replication_slot('slot', 'pgoutput') IS NOT NULL";
    assert_eq!(server.sql("postgres", made).unwrap(), "t");

    server.kill().unwrap();
    assert!(server.sql("postgres", "SELECT 1").is_err());
    server.restart().unwrap();

    assert_eq!(server.url("postgres"), url);
    let kept = "SELECT id FROM kept; SELECT slot_name FROM pg_replication_slots";
    assert_eq!(server.sql("postgres", kept).unwrap(), "7\nslot");
}

#[test]
fn settings_and_rules_of_a_test_come_before_ours() {
    let options = Options {
        settings: vec!["wal_level = replica".to_owned()],
        hba: vec!["host all refused 127.0.0.1/32 reject".to_owned()],
        ..Options::default()
    };
    let Some(server) = Server::start(&options) else {
        return;
    };
    let level = server.sql(
        "postgres",
        "CREATE ROLE refused LOGIN PASSWORD 'x'; SHOW wal_level",
    );
    assert_eq!(level.unwrap(), "replica");
    let psql = |url: &str| {
        let output = Command::new(server.bin("psql"))
            .args(["-XAt", "-c", "SELECT 1", "-d", url])
            .output()
            .unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let refused = psql(&server.url_as("refused", "x", "postgres"));
    assert!(refused.contains("pg_hba.conf rejects"), "{refused}");
    let wrong = psql(&server.url_as("postgres", "wrong", "postgres"));
    assert!(wrong.contains("password authentication failed"), "{wrong}");
}

#[test]
fn tls_is_served_with_a_certificate_that_names_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority").unwrap();
    let stranger = Authority::new(folder.path(), "stranger").unwrap();
    let client = authority.client("client", "postgres").unwrap();
    let options = Options {
        tls: Some(authority.server("server", &LOOPBACK).unwrap()),
        hba: vec![
            "hostssl postgres postgres 127.0.0.1/32 cert".to_owned(),
            "hostnossl all all 127.0.0.1/32 reject".to_owned(),
        ],
        ..Options::default()
    };
    let Some(server) = Server::start(&options) else {
        return;
    };
    let mode = |root: &Authority, with: &str| {
        let url = format!(
            "{}?sslmode=verify-full&sslrootcert={}{with}",
            server.url("postgres"),
            root.certificate().display()
        );
        let mut psql = Command::new(server.bin("psql"));
        let output = psql
            .args([
                "-XAt",
                "-c",
                "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
            ])
            .args(["-d", &url])
            .output()
            .unwrap();
        (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    // psql insists that nobody else may read a client's key.
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&client.key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let with = format!(
        "&sslcert={}&sslkey={}",
        client.certificate.display(),
        client.key.display()
    );
    let (answer, error) = mode(&authority, &with);
    assert_eq!(answer, "t\n", "{error}");
    let (_, error) = mode(&stranger, &with);
    assert!(error.contains("certificate verify failed"), "{error}");
    let (_, error) = mode(&authority, "");
    assert!(error.contains("client certificate"), "{error}");
}

#[test]
fn a_fresh_database_is_empty_and_goes_with_its_slots_roles_and_origins() {
    let Some(first) = Database::fresh() else {
        return;
    };
    // A second one keeps the cluster alive when nobody else does.
    let second = Database::fresh().unwrap();
    let name = first.name().to_owned();
    let made = format!(
        "CREATE ROLE {name}_app LOGIN PASSWORD 'x';
         SELECT pg_replication_origin_create('origin_{name}') > 0;
         SELECT slot_name FROM pg_create_logical_replication_slot('slot_{name}', 'pgoutput');
         CREATE PUBLICATION p FOR ALL TABLES"
    );
    assert_eq!(first.sql(&made).unwrap(), format!("t\nslot_{name}"));
    let bin = lockstep_servers::find::postgres_bin().unwrap();
    let mut reader = Command::new(bin.join("pg_recvlogical"))
        .args(["--start", "-f", "-", "--slot", &format!("slot_{name}")])
        .args(["-o", "proto_version=1", "-o", "publication_names=p"])
        .args(["-d", &first.url()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let active = format!("SELECT active FROM pg_replication_slots WHERE slot_name = 'slot_{name}'");
    wait::until("a reader of the slot", Duration::from_secs(20), || {
        Ok((second.sql(&active)? == "t").then_some(()))
    })
    .unwrap();

    drop(first);

    reader.kill().unwrap();
    reader.wait().unwrap();
    let left = format!(
        "SELECT count(*) FROM pg_database WHERE datname = '{name}';
         SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'slot_{name}';
         SELECT count(*) FROM pg_replication_origin WHERE roname = 'origin_{name}';
         SELECT count(*) FROM pg_roles WHERE rolname = '{name}_app'"
    );
    assert_eq!(second.sql(&left).unwrap(), "0\n0\n0\n0");
}
