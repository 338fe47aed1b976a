//! What the tests of this connector share.

#![allow(dead_code, reason = "each test uses its part")]

use lockstep_core::connector::{OpenContext, RawConfig};
use lockstep_servers::mariadb::Database;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use serde_json::json;

/// A new database.
pub(crate) fn fresh() -> Database {
    match Database::fresh() {
        Some(database) => database,
        None => panic!("MariaDB was there a moment ago"),
    }
}

/// Whether there is a MariaDB to test with.
pub(crate) fn is_installed() -> bool {
    let found = lockstep_servers::find::mariadb().is_some();
    if !found {
        lockstep_servers::skip("MariaDB");
    }
    found
}

/// Settings with small batches and chunks, so that there are many.
pub(crate) fn config(url: &str) -> RawConfig {
    let settings = json!({ "url": url, "snapshot_rows": 7, "batch_max": 5, "heartbeat_ms": 100 });
    serde_json::from_value(settings).unwrap()
}

/// What a connector is told when it is opened.
pub(crate) fn context(database: &Database, tables: &[&str]) -> OpenContext {
    OpenContext {
        system: database.name().to_owned(),
        folder: ".".into(),
        tables: tables.iter().map(|table| (*table).to_owned()).collect(),
        reads: Default::default(),
    }
}

/// A connection of a business system's own: loose settings, another time zone.
pub(crate) async fn connect(url: &str) -> Conn {
    let mut conn = Conn::new(Opts::from_url(url).unwrap()).await.unwrap();
    conn.query_drop(
        "SET NAMES utf8mb4; SET time_zone = '+05:30', sql_mode = 'NO_BACKSLASH_ESCAPES'",
    )
    .await
    .unwrap();
    conn
}

/// Rows as texts.
pub(crate) async fn rows(url: &str, sql: &str) -> Vec<Vec<Option<String>>> {
    let mut conn = connect(url).await;
    conn.query_drop("SET time_zone = '+00:00'").await.unwrap();
    let rows: Vec<mysql_async::Row> = conn.query(sql).await.unwrap();
    let text = |value: mysql_async::Value| match value {
        mysql_async::Value::NULL => None,
        mysql_async::Value::Bytes(bytes) => Some(String::from_utf8(bytes).unwrap()),
        other => Some(other.as_sql(true).trim_matches('\'').to_owned()),
    };
    rows.into_iter()
        .map(|row| row.unwrap().into_iter().map(text).collect())
        .collect()
}
