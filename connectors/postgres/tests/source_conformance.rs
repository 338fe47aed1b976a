//! The conformance kit's source checks on real PostgreSQL databases: odd names and values, composite keys, partitions, every replica identity.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::Mutex;

use lockstep_core::connector::{Connector, OpenContext, RawConfig};
use lockstep_core::position::Mark;
use lockstep_core::{Row, Value};
use lockstep_servers::postgres::Database;
use lockstep_tests::{Edit, SourceHarness, System};
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection, Row as _};

/// A table in a schema of its own, with a composite key in an order of its own, whose old rows are told by key.
const KEYED: usize = 0;
/// A table in partitions without a primary key, whose old rows are told whole.
const WHOLE: usize = 1;

mod told_by_key {
    use super::*;
    lockstep_tests::source_conformance!(Odd<KEYED>);
}

mod told_whole_in_partitions {
    use super::*;
    lockstep_tests::source_conformance!(Odd<WHOLE>);
}

struct Odd<const KIND: usize> {
    database: Database,
    /// What the server's log surely lay between, edit by edit.
    bounds: Mutex<Vec<(u64, u64)>>,
}

const NAME: &str = "\"odd \"\"schema\".\"tabl'e ü\"";

impl<const KIND: usize> System for Odd<KIND> {
    async fn start() -> Self {
        let Some(database) = Database::fresh() else {
            panic!("PostgreSQL was there a moment ago");
        };
        let (key, tail) = match KIND {
            KEYED => (", PRIMARY KEY (no, \"re\"\"gion\")", ""),
            _ => ("", "PARTITION BY RANGE (no)"),
        };
        let mut sql = format!(
            "CREATE SCHEMA \"odd \"\"schema\"; CREATE TYPE mood AS ENUM ('good', 'b\"ad'); CREATE DOMAIN money_ AS numeric(20, 2);
             CREATE TABLE {NAME}(gone int, \"re\"\"gion\" text NOT NULL, name text, amount money_, \"big int\" bigint, ratio float8, raw bytea, due date, seen timestamptz,
                 ok bool, mood mood, tags text[], no int NOT NULL, doc jsonb, id uuid, twice int GENERATED ALWAYS AS (no * 2) STORED{key}) {tail};
             ALTER TABLE {NAME} DROP COLUMN gone;
             CREATE TABLE plain(id int PRIMARY KEY, x text);"
        );
        if KIND == WHOLE {
            sql += &format!(
                "CREATE TABLE half0 PARTITION OF {NAME} FOR VALUES FROM (MINVALUE) TO (1500); CREATE TABLE half1 PARTITION OF {NAME} FOR VALUES FROM (1500) TO (MAXVALUE);
                 CREATE UNIQUE INDEX ON {NAME}(no, \"re\"\"gion\");
                 ALTER TABLE {NAME} REPLICA IDENTITY FULL; ALTER TABLE half0 REPLICA IDENTITY FULL; ALTER TABLE half1 REPLICA IDENTITY FULL;"
            );
        }
        database.sql(&sql).unwrap();
        Odd {
            database,
            bounds: Mutex::default(),
        }
    }

    fn is_available() -> bool {
        let found = lockstep_servers::find::postgres_bin().is_some();
        if !found {
            lockstep_servers::skip("PostgreSQL");
        }
        found
    }

    fn connector() -> Connector {
        lockstep_postgres::connector()
    }

    fn config(&self) -> RawConfig {
        let settings = json!({ "url": self.database.url(), "snapshot_rows": 7, "batch_max": 5 });
        serde_json::from_value(settings).unwrap()
    }

    fn tables(&self) -> Vec<String> {
        vec![NAME.to_owned(), "plain".to_owned()]
    }

    fn context(&self) -> OpenContext {
        OpenContext {
            system: self.database.name().to_owned(),
            folder: self.folder(),
            tables: self.tables(),
            reads: Default::default(),
        }
    }
}

fn region(id: i64) -> &'static str {
    ["north", "sü'd|\t\\N", ""][usize::try_from(id).unwrap() % 3]
}

/// What a row holds beside its key, as literals; a long name is stored apart, so updates that leave it alone do not tell it.
fn values(version: i64) -> Vec<(&'static str, String)> {
    let pick =
        |choices: &[&str]| choices[usize::try_from(version).unwrap() % choices.len()].to_owned();
    vec![
        (
            "amount",
            pick(&["12.50", "123456789012345678.99", "NULL", "0"]),
        ),
        (
            "\"big int\"",
            pick(&["-9223372036854775808", "9223372036854775807"]),
        ),
        ("ratio", format!("{version}::float8 / 3")),
        ("raw", pick(&["'\\x00ff'", "''", "NULL", "'\\x5c6e090a'"])),
        ("due", pick(&["'2024-02-29'", "NULL"])),
        (
            "seen",
            pick(&["'2024-02-29 09:30:00.125+02'", "'1999-12-31 23:59:59Z'"]),
        ),
        ("ok", pick(&["true", "false", "NULL"])),
        ("mood", pick(&["'good'", "'b\"ad'"])),
        (
            "tags",
            pick(&["ARRAY['a', 'b \"c\"', NULL]", "'{}'", "NULL"]),
        ),
        (
            "doc",
            pick(&["'{\"a\": [1.10, \"x\\ty\"]}'", "NULL", "'null'"]),
        ),
        ("id", format!("lpad(to_hex({version}), 32, '0')::uuid")),
    ]
}

fn name(version: i64) -> String {
    match version % 4 {
        0 => "NULL".to_owned(),
        1 => "''".to_owned(),
        2 => "E'a \\t\\n\\\\ \\'quoted\\' \"twice\" ü 🚲'".to_owned(),
        // Longer than fits into a row, even packed.
        _ => format!(
            "(SELECT string_agg(md5((i * {version})::text), '') FROM generate_series(1, 300) i)"
        ),
    }
}

fn statement(edit: Edit) -> String {
    match edit {
        Edit::Insert { id, version } => {
            let values = values(version);
            let (names, set): (Vec<&str>, Vec<&str>) =
                values.iter().map(|(n, v)| (*n, v.as_str())).unzip();
            format!(
                "INSERT INTO {NAME} (no, \"re\"\"gion\", name, {}) VALUES ({id}, {}, {}, {})",
                names.join(", "),
                text(region(id)),
                name(id),
                set.join(", ")
            )
        }
        // The name is changed now and then only.
        Edit::Update { id, version } => {
            let mut set: Vec<String> = values(version)
                .iter()
                .map(|(n, v)| format!("{n} = {v}"))
                .collect();
            if version % 5 == 0 {
                set.push(format!("name = {}", name(version)));
            }
            format!(
                "UPDATE {NAME} SET {} WHERE no = {id} AND \"re\"\"gion\" = {}",
                set.join(", "),
                text(region(id))
            )
        }
        Edit::Delete { id } => format!("DELETE FROM {NAME} WHERE no = {id}"),
        Edit::Rekey { from, to } => {
            format!(
                "UPDATE {NAME} SET no = {to}, \"re\"\"gion\" = {} WHERE no = {from}",
                text(region(to))
            )
        }
    }
}

fn text(text: &str) -> String {
    format!(
        "E'{}'",
        text.replace('\\', "\\\\")
            .replace('\'', "''")
            .replace('\t', "\\t")
    )
}

impl<const KIND: usize> Odd<KIND> {
    async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.database.url()).await.unwrap()
    }
}

/// How far the server's log is.
async fn end(conn: &mut PgConnection) -> u64 {
    lsn(conn, "SELECT pg_current_wal_insert_lsn()::text")
        .await
        .unwrap()
}

async fn lsn(conn: &mut PgConnection, sql: &str) -> Option<u64> {
    let row = conn.fetch_optional(sql).await.unwrap()?;
    let text: String = row.get(0);
    let (high, low) = text.split_once('/')?;
    Some(u64::from_str_radix(high, 16).unwrap() << 32 | u64::from_str_radix(low, 16).unwrap())
}

/// What the source should make of PostgreSQL's own JSON of a row.
fn expected(row: &sqlx::postgres::PgRow) -> Row {
    let text = |name: &str| row.get::<Option<String>, _>(name);
    let value = |name: &str, of: &dyn Fn(String) -> Value| text(name).map_or(Value::Null, of);
    Row::of([
        value("region", &Value::Text),
        value("name", &Value::Text),
        value("amount", &|text| Value::Decimal(text.parse().unwrap())),
        value("big", &|text| Value::Int(text.parse().unwrap())),
        value("ratio", &|text| Value::Float(text.parse().unwrap())),
        row.get::<Option<Vec<u8>>, _>("raw")
            .map_or(Value::Null, Value::Bytes),
        value("due", &|text| Value::Date(text.parse().unwrap())),
        value("seen", &|text| Value::Timestamp(text.parse().unwrap())),
        row.get::<Option<bool>, _>("ok")
            .map_or(Value::Null, Value::Bool),
        value("mood", &Value::Text),
        value("tags", &|text| Value::Json(text.into())),
        value("no", &|text| Value::Int(text.parse().unwrap())),
        value("doc", &|text| Value::Json(text.into())),
        value("id", &|text| Value::Uuid(text.parse().unwrap())),
    ])
}

impl<const KIND: usize> SourceHarness for Odd<KIND> {
    async fn edit(&self, edits: &[Edit]) {
        let mut conn = self.connect().await;
        let before = end(&mut conn).await;
        let mut tx = conn.begin().await.unwrap();
        for edit in edits {
            let done = sqlx::query(&statement(*edit))
                .execute(&mut *tx)
                .await
                .unwrap();
            assert_eq!(done.rows_affected(), 1, "{edit:?}");
        }
        tx.commit().await.unwrap();
        let after = end(&mut conn).await;
        self.bounds.lock().unwrap().push((before, after));
    }

    async fn rows(&self) -> Vec<Row> {
        let mut conn = self.connect().await;
        let sql = format!(
            "SELECT \"re\"\"gion\" AS region, name, amount::text AS amount, \"big int\"::text AS big, ratio::text AS ratio, raw, due::text AS due,
                to_char(seen AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS seen, ok, mood::text AS mood, array_to_json(tags)::text AS tags, no::text AS no, doc::text AS doc, id::text AS id FROM {NAME}"
        );
        let rows = sqlx::query(&sql).fetch_all(&mut conn).await.unwrap();
        rows.iter().map(expected).collect()
    }

    async fn sever(&self) -> bool {
        let mut conn = self.connect().await;
        let sql = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = current_database() AND active_pid IS NOT NULL";
        !sqlx::query(sql)
            .fetch_all(&mut conn)
            .await
            .unwrap()
            .is_empty()
    }

    /// Where the last edit begins that was released; the server keeps no word on the edit itself.
    async fn kept(&self) -> Option<Mark> {
        let mut conn = self.connect().await;
        let sql = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE database = current_database()";
        let confirmed = lsn(&mut conn, sql).await?;
        let bounds = self.bounds.lock().unwrap();
        let released = bounds
            .iter()
            .take_while(|(_, after)| *after <= confirmed)
            .last();
        Some(Mark {
            commit: released.map_or(0, |(before, _)| *before),
            ordinal: 0,
        })
    }

    fn golden_positions() -> Vec<&'static str> {
        vec![
            r#"7300000000000000001-16b3748/00000000016b3810.00000002/{"from":"0/16B3900","timeline":1,"done":["plain"]}"#,
            r#"7300000000000000001-16b3748/00000000016b3810.00000002/{"from":"0/16B3748","timeline":1,"done":["a"],"todo":["plain"],"after":["7","x/y"],"again":[["3","z"]]}"#,
        ]
    }
}
