//! A MariaDB server keeps its data when it is killed, and gives databases of one's own.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use lockstep_servers::mariadb::{Database, Options, Server};

#[test]
fn a_killed_server_comes_back_with_its_data() {
    let Some(mut server) = Server::start(&Options::default()) else {
        return;
    };
    server
        .sql("mysql", "CREATE DATABASE d; CREATE TABLE d.t(a int PRIMARY KEY) ENGINE=InnoDB; INSERT INTO d.t VALUES (1), (2)")
        .unwrap();
    let port = server.port();
    server.kill().unwrap();
    assert!(server.sql("d", "SELECT 1").is_err());
    server.restart().unwrap();
    assert_eq!(server.port(), port);
    assert_eq!(
        server.sql("d", "SELECT a FROM t ORDER BY a").unwrap(),
        "1\n2"
    );
    let settings = server
        .sql(
            "d",
            "SELECT @@binlog_format, @@binlog_row_metadata, @@log_bin",
        )
        .unwrap();
    assert_eq!(settings, "ROW\tFULL\t1");
}

#[test]
fn databases_are_apart() {
    let (Some(one), Some(two)) = (Database::fresh(), Database::fresh()) else {
        return;
    };
    assert_ne!(one.name(), two.name());
    one.sql("CREATE TABLE t(a text); INSERT INTO t VALUES ('ü')")
        .unwrap();
    assert_eq!(one.sql("SELECT a FROM t").unwrap(), "ü");
    assert!(two.sql("SELECT a FROM t").is_err());
}
