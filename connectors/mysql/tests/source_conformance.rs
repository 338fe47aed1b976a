//! The conformance kit's source checks on real MariaDB databases: odd names and values, composite keys, partitions, a compressed log.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use lockstep_core::connector::{Connector, OpenContext, RawConfig};
use lockstep_core::{Row, Value};
use lockstep_servers::mariadb::Database;
use lockstep_tests::{Edit, SourceHarness, System};
use mysql_async::prelude::Queryable;

/// A composite key in an order of its own.
const KEYED: usize = 0;
/// Partitions, and a log that is compressed.
const COMPRESSED: usize = 1;

mod keyed_by_two_columns {
    use super::*;
    lockstep_tests::source_conformance!(Odd<KEYED>);
}

mod partitioned_and_compressed {
    use super::*;
    lockstep_tests::source_conformance!(Odd<COMPRESSED>);
}

struct Odd<const KIND: usize> {
    database: Database,
}

const NAME: &str = "`odd.tabl'e ü`";

impl<const KIND: usize> System for Odd<KIND> {
    async fn start() -> Self {
        let database = common::fresh();
        let tail = match KIND {
            KEYED => "",
            _ => {
                "PARTITION BY RANGE (no) (PARTITION p0 VALUES LESS THAN (1500), PARTITION p1 VALUES LESS THAN MAXVALUE)"
            }
        };
        let sql = format!(
            "CREATE TABLE {NAME}(`re``gion` varchar(20) CHARACTER SET latin1 NOT NULL, name longtext, amount decimal(20,2), `big int` bigint, big bigint unsigned, ratio double, small float,
                 raw varbinary(20), fixed binary(4), due date, seen timestamp(3) NULL, at datetime(6), clock time(1), ok boolean, mood enum('good','b''ad'), tags set('a','b c','d'),
                 no int NOT NULL, doc json, id uuid, host inet6, bits bit(9), age year, code char(5) CHARACTER SET utf8mb3, hidden int INVISIBLE,
                 twice int GENERATED ALWAYS AS (no * 2) STORED, thrice int GENERATED ALWAYS AS (no * 3) VIRTUAL, PRIMARY KEY (no, `re``gion`)) ENGINE=InnoDB CHARACTER SET utf8mb4 {tail};
             CREATE TABLE plain(id int PRIMARY KEY, x text) ENGINE=InnoDB;"
        );
        database.sql(&sql).unwrap();
        Odd { database }
    }

    fn is_available() -> bool {
        common::is_installed()
    }

    fn connector() -> Connector {
        lockstep_mysql::connector()
    }

    fn config(&self) -> RawConfig {
        common::config(&self.database.url())
    }

    fn tables(&self) -> Vec<String> {
        vec![NAME.to_owned(), "plain".to_owned()]
    }

    fn context(&self) -> OpenContext {
        common::context(&self.database, &[NAME, "plain"])
    }
}

fn region(id: i64) -> &'static str {
    ["north", "s€ü'd|\t\\N", ""][usize::try_from(id).unwrap() % 3]
}

/// What a row holds beside its key, as literals.
fn values(version: i64) -> Vec<(&'static str, String)> {
    let pick =
        |choices: &[&str]| choices[usize::try_from(version).unwrap() % choices.len()].to_owned();
    vec![
        ("name", name(version)),
        (
            "amount",
            pick(&[
                "12.50",
                "123456789012345678.99",
                "NULL",
                "0",
                "-0.01",
                "-123456789012345678.99",
            ]),
        ),
        (
            "`big int`",
            pick(&["-9223372036854775808", "9223372036854775807"]),
        ),
        ("big", pick(&["18446744073709551615", "7", "NULL"])),
        ("ratio", format!("{version} / 3e0")),
        ("small", pick(&["0.1", "-3.5e30", "16777216"])),
        ("raw", pick(&["x'00ff'", "''", "NULL", "x'5c6e0900'"])),
        ("fixed", pick(&["x'01020000'", "x'00000000'", "'abcd'"])),
        (
            "due",
            pick(&["'2024-02-29'", "NULL", "'0000-00-00'", "'2024-00-00'"]),
        ),
        (
            "seen",
            pick(&["'2024-02-29 09:30:00.125'", "'1999-12-31 23:59:59'", "NULL"]),
        ),
        (
            "at",
            pick(&[
                "'2024-02-29 09:30:00.123456'",
                "'9999-12-31 23:59:59'",
                "'0000-00-00 00:00:00'",
                "'1000-01-01'",
            ]),
        ),
        (
            "clock",
            pick(&[
                "'09:30:00.5'",
                "'-838:59:59'",
                "'-00:00:00.5'",
                "'25:00:00'",
                "'00:00:00'",
            ]),
        ),
        ("ok", pick(&["true", "false", "NULL", "7"])),
        ("mood", pick(&["'good'", "'b''ad'", "NULL"])),
        ("tags", pick(&["'a,d'", "''", "'b c'"])),
        (
            "doc",
            pick(&["'{\"a\": [1.10, \"x\\\\ty\"]}'", "NULL", "'null'"]),
        ),
        (
            "id",
            pick(&[
                "'01020304-0506-1708-890a-0b0c0d0e0f10'",
                "'01020304-0506-7708-890a-0b0c0d0e0f00'",
                "NULL",
                "'00000000-0000-0000-0000-000000000000'",
            ]),
        ),
        (
            "host",
            pick(&["'::1'", "'2001:db8::ff00:0'", "NULL", "'::ffff:1.2.3.4'"]),
        ),
        ("bits", pick(&["b'100000001'", "b'0'", "NULL"])),
        ("age", pick(&["2024", "0", "1901"])),
        ("code", pick(&["'ab '", "'ü€'", "''"])),
        ("hidden", pick(&["1", "-2147483648"])),
    ]
}

fn name(version: i64) -> String {
    match version % 4 {
        0 => "NULL".to_owned(),
        1 => "''".to_owned(),
        2 => "'a \t\n\\ ''quoted'' \"twice\" ü 🚲 '".to_owned(),
        // Longer than 64 KiB now and then.
        _ => format!(
            "repeat(md5({version}), {})",
            if version % 8 == 3 { 3000 } else { 30 }
        ),
    }
}

fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn statement(edit: Edit) -> String {
    match edit {
        Edit::Insert { id, version } => {
            let values = values(version);
            let (names, set): (Vec<&str>, Vec<&str>) =
                values.iter().map(|(n, v)| (*n, v.as_str())).unzip();
            format!(
                "INSERT INTO {NAME} (no, `re``gion`, {}) VALUES ({id}, {}, {})",
                names.join(", "),
                text(region(id)),
                set.join(", ")
            )
        }
        Edit::Update { id, version } => {
            let set: Vec<String> = values(version)
                .iter()
                .map(|(n, v)| format!("{n} = {v}"))
                .collect();
            format!("UPDATE {NAME} SET {} WHERE no = {id}", set.join(", "))
        }
        Edit::Delete { id } => format!("DELETE FROM {NAME} WHERE no = {id}"),
        Edit::Rekey { from, to } => {
            format!(
                "UPDATE {NAME} SET no = {to}, `re``gion` = {} WHERE no = {from}",
                text(region(to))
            )
        }
    }
}

/// What the source should make of the server's own texts of a row.
fn expected(row: Vec<Option<String>>) -> Row {
    let mut texts = row.into_iter();
    let mut value = |of: &dyn Fn(String) -> Value| texts.next().unwrap().map_or(Value::Null, of);
    let int = |text: String| Value::Int(text.parse().unwrap());
    let hex = |text: String| {
        let bytes = (0..text.len() / 2)
            .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap());
        Value::Bytes(bytes.collect())
    };
    let float = |text: String| Value::Float(text.parse().unwrap());
    let trimmed = |text: String| {
        let text = if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        };
        Value::Text(text)
    };
    let instant = |text: String| match format!("{}Z", text.replace(' ', "T")).parse() {
        Ok(at) => Value::Timestamp(at),
        Err(_) => trimmed(text),
    };
    Row::of([
        value(&Value::Text),
        value(&Value::Text),
        value(&|text| Value::Decimal(text.parse().unwrap())),
        value(&int),
        value(&|text| {
            text.parse()
                .map_or_else(|_| Value::Decimal(text.parse().unwrap()), Value::Int)
        }),
        value(&float),
        value(&float),
        value(&hex),
        value(&hex),
        value(&|text| text.parse().map_or(Value::Text(text), Value::Date)),
        value(&instant),
        value(&instant),
        value(&|text| match text.parse() {
            Ok(time) if text.len() == 10 => Value::Time(time),
            _ => trimmed(text),
        }),
        value(&|text| match text.as_str() {
            "0" => Value::Bool(false),
            "1" => Value::Bool(true),
            _ => Value::Int(text.parse().unwrap()),
        }),
        value(&Value::Text),
        value(&Value::Text),
        value(&int),
        value(&|text| Value::Json(text.into())),
        value(&|text| Value::Uuid(text.parse().unwrap())),
        value(&Value::Text),
        value(&int),
        value(&int),
        value(&Value::Text),
        value(&int),
    ])
}

impl<const KIND: usize> SourceHarness for Odd<KIND> {
    async fn edit(&self, edits: &[Edit]) {
        let mut conn = common::connect(&self.database.url()).await;
        if KIND == COMPRESSED {
            // Set for the whole server, which the other kind of tests share; small events stay as they are.
            conn.query_drop(
                "SET GLOBAL log_bin_compress = 1, GLOBAL log_bin_compress_min_len = 10",
            )
            .await
            .unwrap();
        }
        conn.query_drop("BEGIN").await.unwrap();
        for edit in edits {
            conn.query_drop(statement(*edit)).await.unwrap();
            // A row that has the values already does not count.
            assert!(
                conn.affected_rows() == 1 || matches!(edit, Edit::Update { .. }),
                "{edit:?}"
            );
        }
        conn.query_drop("COMMIT").await.unwrap();
    }

    async fn rows(&self) -> Vec<Row> {
        let sql = format!(
            "SELECT `re``gion`, name, amount, `big int`, big, ratio, CAST(small AS DOUBLE), hex(raw), hex(fixed), due, seen, at, clock, ok, mood, tags, no, doc, id, host, bits + 0, age + 0, code, hidden FROM {NAME}"
        );
        let rows = common::rows(&self.database.url(), &sql).await;
        let single = |mut row: Vec<Option<String>>| {
            let shortest = |text: String| {
                text.parse::<f64>()
                    .map_or(text, |number| (number as f32).to_string())
            };
            row[6] = row[6].take().map(shortest);
            expected(row)
        };
        rows.into_iter().map(single).collect()
    }

    async fn sever(&self) -> bool {
        let id = common::rows(
            &self.database.url(),
            "SELECT id FROM information_schema.processlist WHERE command = 'Binlog Dump' AND db = DATABASE()",
        )
        .await;
        let mut conn = common::connect(&self.database.url()).await;
        for row in &id {
            let id = row[0].clone().unwrap();
            // It may end by itself meanwhile.
            let _ = conn.query_drop(format!("KILL {id}")).await;
        }
        !id.is_empty()
    }

    fn golden_positions() -> Vec<&'static str> {
        vec![
            r#"maria:77-100000004/0000000100000200.00000042/{"gtid":"0-1-7","file":"binlog.000001","at":512,"done":["plain"]}"#,
            r#"maria:77-100000004/0000000100000200.00000042/{"gtid":"0-1-7","file":"binlog.000001","at":512,"done":["a"],"todo":["b"],"after":[{"int":7},{"text":"x/y"}],"known":{"a":{"columns":[2,99]}}}"#,
        ]
    }
}
