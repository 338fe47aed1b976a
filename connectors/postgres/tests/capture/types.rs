//! Every kind of value, from one PostgreSQL to another: as it was, or refused by name; never altered.

use std::collections::BTreeMap;

use lockstep_core::change::Op;
use lockstep_core::connector::{Outcome, Receipt};
use lockstep_core::{Cell, Change, Value};
use lockstep_servers::postgres::Database;
use serde_json::json;

use crate::common::{batch, sink};
use crate::database;
use crate::running::{Setup, says};

/// What a type is declared as, values that travel whole, and values that a target refuses because Lockstep has no room for them.
const TYPES: &[(&str, &[&str], &[&str])] = &[
    ("boolean", &["true", "false", "NULL"], &[]),
    ("smallint", &["-32768", "32767"], &[]),
    ("integer", &["-2147483648", "2147483647"], &[]),
    (
        "bigint",
        &["-9223372036854775808", "9223372036854775807"],
        &[],
    ),
    ("oid", &["0", "4294967295"], &[]),
    (
        "numeric",
        &[
            "repeat('9', 131072)::numeric",
            "('0.' || repeat('0', 16382) || '1')::numeric",
            "-0.50",
            "1e-20",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
        ],
        &[],
    ),
    ("numeric(12,2)", &["-9999999999.99", "0.10", "'NaN'"], &[]),
    ("numeric(3,5)", &["0.00123"], &[]),
    ("numeric(3,-2)", &["99900"], &[]),
    (
        "real",
        &["3.4028235e38", "1.4e-45", "'NaN'", "'-Infinity'", "0.1"],
        &[],
    ),
    (
        "double precision",
        &[
            "1.7976931348623157e308",
            "5e-324",
            "'NaN'",
            "'Infinity'",
            "0.1",
        ],
        &[],
    ),
    ("money", &["'-92233720368547758.08'", "12.34::money"], &[]),
    (
        "text",
        &[
            "''",
            "E'a\\tb\\n\\\\N \\'\\' \"q\" ü 🚲'",
            "repeat('x', 300000)",
        ],
        &[],
    ),
    ("varchar(5)", &["'ab   '", "'üüüüü'"], &[]),
    ("char(6)", &["'ab'", "''"], &[]),
    ("\"char\"", &["'a'"], &[]),
    ("name", &["'a name'"], &[]),
    ("citext", &["'MiXed'"], &[]),
    (
        "bytea",
        &[
            "'\\x'",
            "'\\x00ff5c27'",
            "decode(repeat('00ff', 200000), 'hex')",
        ],
        &[],
    ),
    (
        "date",
        &[
            "'2024-02-29'",
            "'0044-03-15 BC'",
            "'9999-12-31'",
            "'0001-01-01'",
        ],
        &["'infinity'", "'-infinity'", "'5874897-12-31'"],
    ),
    ("time", &["'00:00'", "'23:59:59.999999'"], &["'24:00'"]),
    ("time(2)", &["'12:00:00.25'"], &[]),
    (
        "timetz",
        &["'12:00:00.123456+05:30'", "'24:00:00-15:59'"],
        &[],
    ),
    (
        "timestamp",
        &["'2024-02-29 23:59:59.999999'", "'0044-03-15 12:00 BC'"],
        &["'infinity'", "'294276-12-31'"],
    ),
    (
        "timestamptz",
        &[
            "'2024-02-29 23:59:59.999999+14'",
            "'1883-11-18 12:00:00-04:56:02'",
        ],
        &["'-infinity'"],
    ),
    (
        "interval",
        &[
            "'-178000000 years'",
            "'1 mon -2 days +03:04:05.678901'",
            "'0'",
        ],
        &[],
    ),
    (
        "uuid",
        &[
            "'00000000-0000-0000-0000-000000000000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        ],
        &[],
    ),
    (
        "json",
        &[
            "'{\"a\": 1, \"a\": 2, \"n\": 1.10e400}'",
            "'  [1 ,2]'",
            "'null'",
        ],
        &[],
    ),
    (
        "jsonb",
        &[
            "'{\"a\": {\"b\": [1.10, null, \"ü\"]}}'",
            "'123456789012345678901234567890.123'",
        ],
        &[],
    ),
    ("xml", &["'<a b=\"c\">ü</a>'"], &[]),
    ("bit(5)", &["B'10101'"], &[]),
    ("varbit", &["B''", "B'1'"], &[]),
    ("inet", &["'10.0.0.1/8'", "'::1'"], &[]),
    ("cidr", &["'10.0.0.0/8'"], &[]),
    ("macaddr", &["'08:00:2b:01:02:03'"], &[]),
    ("macaddr8", &["'08:00:2b:01:02:03:04:05'"], &[]),
    ("tsvector", &["'a:1A fat:2B,4C'"], &[]),
    ("tsquery", &["'fat & (rat | !cat)'"], &[]),
    ("point", &["'(1.5,-2)'"], &[]),
    ("box", &["'(3,4),(1,2)'"], &[]),
    ("path", &["'[(0,0),(1,1)]'"], &[]),
    ("polygon", &["'((0,0),(1,1),(1,0))'"], &[]),
    ("circle", &["'<(1,2),3>'"], &[]),
    ("lseg", &["'[(0,0),(1,1)]'"], &[]),
    ("line", &["'{1,-1,0}'"], &[]),
    ("int4range", &["'empty'", "'[1,5)'", "'(,)'"], &[]),
    ("numrange", &["'[1.10,2.20]'"], &[]),
    ("tstzrange", &["'[2024-01-01 00:00+00,infinity)'"], &[]),
    (
        "datemultirange",
        &["'{[2024-01-01,2024-02-01),[2024-03-01,2024-04-01)}'"],
        &[],
    ),
    ("hstore", &["'a=>1, b=>NULL, \"c d\"=>\"e\"'"], &[]),
    ("mood", &["'so so'", "'it''s \"bad\"'"], &[]),
    ("price", &["12.30"], &[]),
    ("pair", &["ROW(1, 'a \"b\", c')", "ROW(NULL, '')"], &[]),
    ("pg_lsn", &["'16/B374D848'"], &[]),
    (
        "int[]",
        &["'{}'", "'{1,NULL,-3}'", "'{{1,2},{3,4}}'"],
        &["'[5:6]={1,2}'"],
    ),
    (
        "text[]",
        &[
            "ARRAY['', 'NULL', NULL, 'a,b', '\"', E'\\\\ {}', 'ü']",
            "ARRAY[ARRAY['a'],ARRAY['b']]",
        ],
        &[],
    ),
    (
        "numeric[]",
        &["'{1.10,NULL,123456789012345678901234567890.5}'", "'{NaN}'"],
        &[],
    ),
    ("double precision[]", &["'{0.1,1e300}'"], &[]),
    ("boolean[]", &["'{t,f,NULL}'"], &[]),
    ("bytea[]", &["ARRAY['\\x00ff'::bytea, NULL]"], &[]),
    (
        "timestamptz[]",
        &["'{2024-01-01 00:00:00+00,infinity}'"],
        &[],
    ),
    (
        "jsonb[]",
        &[
            "ARRAY['{\"a\": [1, null]}'::jsonb, NULL]",
            "ARRAY['123456789012345678901234567890.5'::jsonb, '[]']",
        ],
        &["ARRAY['null'::jsonb]", "ARRAY[ARRAY['1'::jsonb]]"],
    ),
    (
        "uuid[]",
        &["ARRAY['00000000-0000-0000-0000-000000000001'::uuid]"],
        &[],
    ),
    ("mood[]", &["ARRAY['so so', NULL]::mood[]"], &[]),
    ("int4range[]", &["ARRAY['[1,5)'::int4range]"], &[]),
    ("pair[]", &["ARRAY[ROW(1, 'a')::pair]"], &[]),
];

const NEEDED: &str = "CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE TYPE mood AS ENUM ('so so', 'it''s \"bad\"');
    CREATE DOMAIN price AS numeric(10,2) CHECK (VALUE > 0); CREATE TYPE pair AS (n int, t text);";

/// A source and a target of all tables, or nothing where there is no PostgreSQL.
fn databases() -> Option<(Database, Database, Vec<String>)> {
    let tables: Vec<String> = (0..TYPES.len()).map(|n| format!("t{n}")).collect();
    let mut sql = NEEDED.to_owned();
    for (name, (kind, ..)) in tables.iter().zip(TYPES) {
        sql += &format!("CREATE TABLE {name}(id int PRIMARY KEY, v {kind});\n");
    }
    Some((database(&sql)?, database(&sql)?, tables))
}

/// A table's rows as PostgreSQL itself prints them.
fn printed(database: &Database, table: &str) -> BTreeMap<i64, String> {
    let rows = database
        .sql(&format!("SELECT id || ' ' || coalesce(encode(convert_to(v::text, 'UTF8'), 'base64'), 'NULL') || ';' FROM {table}"))
        .unwrap();
    let rows = rows.replace('\n', "");
    let row = |row: &str| {
        let (id, text) = row.split_once(' ')?;
        Some((id.parse().unwrap(), text.to_owned()))
    };
    rows.split(';').filter_map(row).collect()
}

fn id(change: &Change) -> i64 {
    match change.row.value(0) {
        Some(Value::Int(id)) => *id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_arrives_as_it_was_or_is_refused() {
    let Some((from, to, tables)) = databases() else {
        return;
    };
    let names: Vec<&str> = tables.iter().map(String::as_str).collect();
    let fill = |first: usize| {
        let mut sql = String::new();
        for (name, (kind, whole, refused)) in tables.iter().zip(TYPES) {
            for (n, value) in whole.iter().chain(*refused).enumerate() {
                sql += &format!(
                    "INSERT INTO {name} VALUES ({}, ({value})::{kind});\n",
                    first + n
                );
            }
        }
        from.sql(&sql).unwrap();
        TYPES
            .iter()
            .map(|(_, whole, refused)| whole.len() + refused.len())
            .sum::<usize>()
    };
    fill(0);
    let mut run = Setup::of(&from, &names).run(None).await;
    let mut told = run.settled().await;
    // The stream spells a value as the snapshot does.
    let count = fill(100);
    told.extend(run.changes(count).await);
    run.kill().await;
    let sink = sink(&to, &names).await;
    let shapes = sink.discover().await.unwrap();
    sink.prepare(&shapes).await.unwrap();
    let mut wrong = Vec::new();
    for (name, (kind, whole, refused)) in tables.iter().zip(TYPES) {
        let changes: Vec<Change> = told
            .iter()
            .filter(|change| change.shape.name == *name)
            .cloned()
            .collect();
        assert_eq!(changes.len(), 2 * (whole.len() + refused.len()), "{kind}");
        for change in changes {
            let number = id(&change);
            let expected = (number as usize) % 100 >= whole.len();
            let value = format!(
                "{kind} {}",
                whole
                    .iter()
                    .chain(*refused)
                    .nth(number as usize % 100)
                    .unwrap()
            );
            let receipt = sink.apply(&batch(vec![change])).await.unwrap();
            match receipt {
                Receipt::RolledBack(refusals) => {
                    let said = matches!(&refusals[0].1, Outcome::Rejected { reason } if !reason.is_empty());
                    if !expected || !said {
                        wrong.push(format!("{value} was refused: {refusals:?}"));
                    }
                }
                Receipt::Committed(_) if expected => wrong.push(format!("{value} was written")),
                Receipt::Committed(_) => {}
            }
        }
        let (there, here) = (printed(&from, name), printed(&to, name));
        for (number, text) in here {
            if there[&number] != text {
                wrong.push(format!("{kind} {number} was altered"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn as_many_columns_as_a_table_may_have_are_told() {
    let columns: Vec<String> = (1..1600).map(|n| format!("c{n} smallint")).collect();
    let Some(database) = database(&format!(
        "CREATE TABLE w(id int PRIMARY KEY, {}); INSERT INTO w(id, c1, c1599) VALUES (1, 1, 2)",
        columns.join(", ")
    )) else {
        return;
    };
    let mut run = Setup::of(&database, &["w"]).run(None).await;
    let mut told = run.settled().await;
    database
        .sql("INSERT INTO w(id, c1, c1599) VALUES (2, 1, 2)")
        .unwrap();
    told.extend(run.changes(1).await);
    for change in &told {
        assert_eq!(change.row.0.len(), 1600);
        assert_eq!(
            (change.row.value(1), change.row.value(1599)),
            (Some(&Value::Int(1)), Some(&Value::Int(2)))
        );
        assert_eq!(change.row.value(1598), Some(&Value::Null));
    }
}

#[tokio::test]
async fn columns_that_the_stream_does_not_carry_are_left_out_and_said() {
    let Some(database) = database(
        "CREATE TABLE g(gone int, id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED, big text, also_gone int);
         ALTER TABLE g ALTER big SET STORAGE EXTERNAL; ALTER TABLE g DROP gone; ALTER TABLE g DROP also_gone; INSERT INTO g(n, big) VALUES (4, repeat('x', 30000000))",
    ) else {
        return;
    };
    let setup = Setup::of(&database, &["g"]).with("snapshot_rows", json!(10));
    let findings = setup.check().await.unwrap();
    assert!(
        findings.iter().any(|found| found.message.contains("twice")),
        "{findings:?}"
    );
    let mut run = setup.run(None).await;
    let told = run.settled().await;
    let names: Vec<&str> = told[0].shape.names().collect();
    assert_eq!(names, ["id", "n", "big"]);
    // A value of thirty megabytes travels once, and not again while nobody touches it.
    assert!(matches!(told[0].row.value(2), Some(Value::Text(text)) if text.len() == 30_000_000));
    database.sql("UPDATE g SET n = 5").unwrap();
    let told = run.changes(1).await;
    assert_eq!(
        (told[0].op, told[0].row.cell(2)),
        (Op::Updated, &Cell::Unchanged)
    );
}

#[tokio::test]
async fn no_table_is_published_whose_rows_could_then_not_be_changed() {
    let Some(database) = database(
        "CREATE TABLE g(id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED); ALTER TABLE g REPLICA IDENTITY FULL; INSERT INTO g VALUES (1, 1)",
    ) else {
        return;
    };
    let setup = Setup::of(&database, &["g"]);
    let mut run = setup.run(None).await;
    run.settled().await;
    database.sql("UPDATE g SET n = 2; DELETE FROM g").unwrap();
    let told = run.changes(2).await;
    assert_eq!(told[0].row.value(1), Some(&Value::Int(2)));
    assert_eq!(told[1].op, Op::Deleted);
    let version = database.sql("SHOW server_version_num").unwrap();
    if version.parse::<u32>().unwrap() < 180_000 {
        return;
    }
    // The columns are told here, and left out all the same.
    assert_eq!(told[0].row.0.len(), 2);
    run.kill().await;
    let theirs = setup.with("publication", json!("theirs"));
    database
        .sql("CREATE PUBLICATION theirs FOR TABLE g")
        .unwrap();
    let error = theirs.refused(None).await;
    says(&error, "could not be updated");
    database.sql(error.help_text().unwrap()).unwrap();
    theirs.run(None).await.settled().await;
    database
        .sql("CREATE TABLE v(id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) VIRTUAL); ALTER TABLE v REPLICA IDENTITY FULL")
        .unwrap();
    let virtual_ = Setup::of(&database, &["v"]);
    says(&virtual_.refused(None).await, "REPLICA IDENTITY DEFAULT");
    database
        .sql("ALTER TABLE v REPLICA IDENTITY DEFAULT")
        .unwrap();
    let names = Setup {
        system: format!("{}_v", database.name()),
        ..virtual_
    };
    let mut run = names.run(None).await;
    run.settled().await;
    database
        .sql("INSERT INTO v VALUES (1, 1); UPDATE v SET n = 2")
        .unwrap();
    run.changes(2).await;
}
