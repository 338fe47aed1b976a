//! Every kind of value, from one MariaDB to another: as it was, or refused by name; never altered.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
mod running;

use std::collections::BTreeMap;

use lockstep_core::connector::{Batch, Outcome, Receipt};
use lockstep_core::{Change, Value};
use lockstep_servers::mariadb::Database;

use crate::common::context;
use crate::running::Setup;

/// What a type is declared as, values that travel whole, and values that a target refuses because Lockstep has no room for them.
const TYPES: &[(&str, &[&str], &[&str])] = &[
    ("tinyint", &["-128", "127", "NULL"], &[]),
    ("tinyint unsigned", &["0", "255"], &[]),
    ("boolean", &["0", "1", "2", "-1"], &[]),
    ("smallint", &["-32768", "32767"], &[]),
    ("smallint unsigned zerofill", &["7", "65535"], &[]),
    ("mediumint", &["-8388608", "8388607"], &[]),
    ("mediumint unsigned", &["16777215"], &[]),
    ("int", &["-2147483648", "2147483647"], &[]),
    ("int unsigned", &["4294967295"], &[]),
    (
        "bigint",
        &["-9223372036854775808", "9223372036854775807"],
        &[],
    ),
    (
        "bigint unsigned",
        &["0", "9223372036854775808", "18446744073709551615"],
        &[],
    ),
    (
        "decimal(65,30)",
        &[
            "-99999999999999999999999999999999999.999999999999999999999999999999",
            "0.000000000000000000000000000001",
        ],
        &[],
    ),
    ("decimal(10,0) unsigned", &["9999999999"], &[]),
    ("decimal(5,2)", &["-999.99", "0.10"], &[]),
    (
        "float",
        &["3.40282e38", "-1.17549e-38", "0.1", "16777217"],
        &[],
    ),
    (
        "double",
        &[
            "1.7976931348623157e308",
            "2.2250738585072014e-308",
            "0.1",
            "-0.0",
        ],
        &[],
    ),
    ("bit(1)", &["b'0'", "b'1'"], &[]),
    ("bit(64)", &["b'0'", "0xFFFFFFFFFFFFFFFF"], &[]),
    ("char(5)", &["''", "'äöü€𝄞'"], &[]),
    (
        "varchar(200)",
        &["''", "'  blanks  '", "'a\\0b\\n\\\\ '' \"'", "'𝄞 ä'"],
        &[],
    ),
    ("varchar(20) CHARACTER SET latin1", &["'äöü€'"], &[]),
    ("varchar(20) CHARACTER SET utf16", &["'ä𝄞'"], &[]),
    ("text", &["repeat('ä', 30000)"], &[]),
    ("mediumtext", &["repeat('x', 1000000)"], &[]),
    ("binary(4)", &["0x00FF0000", "0x01"], &[]),
    ("varbinary(300)", &["''", "0x00FF27225C"], &[]),
    ("blob", &["repeat(0x00FF, 30000)"], &[]),
    (
        "date",
        &["'1000-01-01'", "'9999-12-31'", "'0001-01-01'"],
        &["'0000-00-00'", "'2024-00-15'"],
    ),
    (
        "time",
        &["'00:00:00'", "'23:59:59'", "'24:00:00'", "'-838:59:59'"],
        &[],
    ),
    ("time(6)", &["'12:34:56.000001'", "'838:59:59.999999'"], &[]),
    (
        "datetime",
        &["'1000-01-01 00:00:00'", "'9999-12-30 21:59:59'"],
        &["'0000-00-00 00:00:00'"],
    ),
    ("datetime(6)", &["'2024-02-29 23:59:59.999999'"], &[]),
    (
        "timestamp",
        &["'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'"],
        &["0"],
    ),
    ("timestamp(6)", &["'2024-10-27 01:30:00.123456'"], &[]),
    ("year", &["1901", "2155", "0"], &[]),
    ("enum('a','b''c','ü')", &["'a'", "'b''c'", "'ü'"], &["''"]),
    ("set('a','b','c')", &["''", "'a,c'", "'a,b,c'"], &[]),
    (
        "json",
        &[
            "'{\"b\": 1.10, \"a\": [1, null]}'",
            "'123456789012345678901234567890.5'",
            "'\"x\"'",
            "'{\"a\": 1, \"a\": 2}'",
        ],
        &[],
    ),
    ("uuid", &["'123e4567-e89b-12d3-a456-426655440000'"], &[]),
    (
        "inet6",
        &["'2001:db8::ff00:42:8329'", "'::ffff:1.2.3.4'"],
        &[],
    ),
    ("inet4", &["'255.255.255.255'"], &[]),
];

/// Business systems of old write what strict ones refuse.
const LOOSE: &str = "SET SESSION sql_mode = '', time_zone = '+00:00';";

/// A table's rows as MariaDB itself has them, byte by byte.
fn stored(database: &Database, table: &str) -> BTreeMap<i64, String> {
    let sql =
        format!("{LOOSE} SELECT id, hex(CAST(v AS char)), hex(v), octet_length(v) FROM {table}");
    let rows = database.sql(&sql).unwrap();
    rows.lines()
        .map(|row| {
            let (id, rest) = row.split_once('\t').unwrap();
            (id.parse().unwrap(), rest.to_owned())
        })
        .collect()
}

fn id(change: &Change) -> usize {
    match change.row.value(0) {
        Some(Value::Int(id)) => usize::try_from(*id).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_arrives_as_it_was_or_is_refused() {
    let (Some(from), Some(to)) = (Database::fresh(), Database::fresh()) else {
        return;
    };
    let tables: Vec<String> = (0..TYPES.len()).map(|n| format!("t{n}")).collect();
    for (name, (kind, ..)) in tables.iter().zip(TYPES) {
        let make = format!(
            "CREATE TABLE {name}(id int PRIMARY KEY, v {kind} NULL) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
        );
        from.sql(&make).unwrap();
        to.sql(&make).unwrap();
    }
    let names: Vec<&str> = tables.iter().map(String::as_str).collect();
    let fill = |first: usize| {
        let mut sql = LOOSE.to_owned();
        for (name, (_, whole, refused)) in tables.iter().zip(TYPES) {
            for (n, value) in whole.iter().chain(*refused).enumerate() {
                sql += &format!("INSERT INTO {name} VALUES ({}, {value});\n", first + n);
            }
        }
        from.sql(&sql).unwrap();
        let count = |(_, whole, refused): &(&str, &[&str], &[&str])| whole.len() + refused.len();
        TYPES.iter().map(count).sum::<usize>()
    };
    fill(0);
    let mut run = Setup::of(&from, &names).run(None).await;
    let mut told = run.settled().await;
    // The log spells a value as the snapshot does.
    let count = fill(100);
    told.extend(run.changes(count).await);
    run.kill().await;
    let config = serde_json::from_value(serde_json::json!({ "url": to.url() })).unwrap();
    let sink = lockstep_mysql::connector()
        .open_sink(config, context(&to, &names))
        .await
        .unwrap();
    let shapes = sink.discover().await.unwrap();
    sink.prepare(&shapes).await.unwrap();
    let mut wrong = Vec::new();
    for (name, (kind, whole, refused)) in tables.iter().zip(TYPES) {
        let changes = told.iter().filter(|change| change.shape.name == *name);
        let changes: Vec<Change> = changes.cloned().collect();
        assert_eq!(changes.len(), 2 * (whole.len() + refused.len()), "{kind}");
        for change in changes {
            let number = id(&change);
            let expected = number % 100 >= whole.len();
            let value = whole.iter().chain(*refused).nth(number % 100).unwrap();
            let batch = Batch {
                flow: "f".to_owned(),
                changes: vec![change],
                progress: Vec::new(),
                follows: false,
            };
            match sink.apply(&batch).await.unwrap() {
                Receipt::RolledBack(refusals) => {
                    let said = matches!(&refusals[0].1, Outcome::Rejected { reason } if !reason.is_empty());
                    if !expected || !said {
                        wrong.push(format!("{kind} {number} {value} was refused: {refusals:?}"));
                    }
                }
                Receipt::Committed(_) if expected => {
                    wrong.push(format!("{kind} {number} {value} was written"));
                }
                Receipt::Committed(_) => {}
            }
        }
        let (there, here) = (stored(&from, name), stored(&to, name));
        for (number, bytes) in here {
            if there[&number] != bytes {
                let cut = |text: &str| text.chars().take(120).collect::<String>();
                wrong.push(format!(
                    "{kind} {number} was altered: {} became {}",
                    cut(&there[&number]),
                    cut(&bytes)
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
