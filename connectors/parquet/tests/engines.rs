//! What a query engine that knows nothing of Lockstep reads: exact types, folders as columns, and only committed files by a table's list.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Lane, delete, in_folder, shape, until};
use lockstep_core::{Column, Type, Value};
use serde_json::json;

/// Asks DuckDB; every value comes as its text.
fn ask(root: &Path, sql: &str) -> Option<Vec<Vec<String>>> {
    const SCRIPT: &str = "\
import duckdb, json, os, sys
os.chdir(sys.argv[1])
db = duckdb.connect()
db.execute(\"SET TimeZone = 'UTC'\")
*before, last = sys.argv[2].split(';')
for statement in before:
    db.execute(statement)
if last.split()[0] == 'SELECT':
    last = f'SELECT COLUMNS(*)::VARCHAR FROM ({last})'
print(json.dumps([[str(value) for value in row] for row in db.execute(last).fetchall()]))
";
    let Some(python) = lockstep_servers::find::duckdb() else {
        lockstep_servers::skip("DuckDB");
        return None;
    };
    let output = Command::new(python)
        .args(["-c", SCRIPT, root.to_str().unwrap(), sql])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// The query of the README for a table of current rows.
const CURRENT: &str = "SET VARIABLE files = (SELECT list(file.path) FROM (SELECT unnest(files) AS file FROM '_lockstep/tables/things.json')); \
    SELECT COLUMNS('^[^_]') FROM read_parquet(getvariable('files'), union_by_name = true) \
    QUALIFY row_number() OVER (PARTITION BY code, id ORDER BY _version DESC) = 1 AND _operation <> 'deleted'";

#[tokio::test]
async fn current_rows_are_read_with_their_types_and_every_digit() {
    let root = tempfile::tempdir().unwrap();
    let settings = in_folder(root.path());
    let mut lane = Lane::open(&settings, "f", &shape("things")).await;
    for version in 1..12 {
        lane.upserts(0..20, version).await;
        let gone = delete(&lane.shape, version, 0);
        lane.commit(vec![gone]).await;
    }
    lane.upserts(1..2, 7).await;
    let Some(types) = ask(
        root.path(),
        &format!("{CURRENT} LIMIT 0; DESCRIBE SELECT * FROM read_parquet(getvariable('files'))"),
    ) else {
        return;
    };
    let types: Vec<(&str, &str)> = types
        .iter()
        .map(|row| (row[0].as_str(), row[1].as_str()))
        .collect();
    let expected = [
        ("id", "BIGINT"),
        ("code", "VARCHAR"),
        ("amount", "DECIMAL(12,2)"),
        ("long", "DECIMAL(38,10)"),
        ("due", "DATE"),
        ("seen", "TIMESTAMP WITH TIME ZONE"),
        ("hour", "TIME"),
        ("ref", "UUID"),
        ("doc", "JSON"),
        ("raw", "BLOB"),
        ("ok", "BOOLEAN"),
        ("ratio", "DOUBLE"),
        ("_operation", "VARCHAR"),
        ("_version", "BIGINT"),
        ("_committed_at", "TIMESTAMP WITH TIME ZONE"),
    ];
    assert_eq!(types, expected);
    let held = ask(root.path(), &format!("{CURRENT} ORDER BY code, id")).unwrap();
    let ours = common::rows(&settings, &lane.shape).await;
    // Of 20 rows, 11 were deleted one after the other and came back, the last and the first by name.
    assert_eq!(ours.len(), 19);
    let text = |value: &Value| match value {
        Value::Null => "None".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Bytes(_) => "\\x00\\xFF\\x27".to_owned(),
        Value::Timestamp(at) => at.strftime("%Y-%m-%d %H:%M:%S.%6f+00").to_string(),
        Value::Time(time) => time.strftime("%H:%M:%S.%6f").to_string(),
        other => other.to_string(),
    };
    let ours: Vec<Vec<String>> = ours
        .iter()
        .map(|row| {
            row.0
                .iter()
                .map(|cell| text(cell.value().unwrap()))
                .collect()
        })
        .collect();
    assert_eq!(held.len(), ours.len());
    for (held, ours) in held.iter().zip(&ours) {
        assert_eq!(held, ours);
    }
}

#[tokio::test]
async fn events_are_read_by_a_plain_glob_with_folders_as_columns() {
    let root = tempfile::tempdir().unwrap();
    let mut settings = in_folder(root.path());
    settings["tables"] =
        json!({ "things": { "history": "append", "partition": ["code", "_committed_at:day"] } });
    settings["timestamps"] = json!("nanos");
    let mut lane = Lane::open(&settings, "f", &shape("things")).await;
    for version in 1..5 {
        lane.upserts(0..6, version).await;
    }
    let gone = delete(&lane.shape, 3, 5);
    lane.commit(vec![gone]).await;
    // What was uploaded and never committed.
    let (_, orphan) = files(root.path(), "things").pop().unwrap();
    std::fs::copy(
        &orphan,
        orphan.with_file_name("018f0000-0000-7000-8000-000000000000.parquet"),
    )
    .unwrap();
    let glob = "FROM read_parquet('things/**/*.parquet', hive_partitioning = true)";
    let count = |sql: &str| ask(root.path(), sql).map(|rows| rows[0].join(" "));
    let Some(all) = count(&format!(
        "SELECT count(DISTINCT _version), count(DISTINCT code_value) {glob}"
    )) else {
        return;
    };
    assert_eq!(all, "25 3");
    let day = count(&format!(
        "SELECT count(*), min(_committed_at) {glob} WHERE _committed_at_day = DATE '2024-02-03'"
    ));
    assert_eq!(day.unwrap(), "6 2024-02-03 00:00:00+00");
    let listed = "SET VARIABLE files = (SELECT list(file.path) FROM (SELECT unnest(files) AS file FROM '_lockstep/tables/things.json')); \
        SELECT count(*), count(*) FILTER (_operation = 'deleted'), any_value(typeof(seen)) FROM read_parquet(getvariable('files'))";
    assert_eq!(count(listed).unwrap(), "25 1 TIMESTAMPTZ_NS");
    let deleted = count(&format!(
        "SELECT id, code, amount {glob} WHERE _operation = 'deleted'"
    ));
    assert_eq!(deleted.unwrap(), "3 C-0'{\"ü None");
    assert_eq!(common::rows(&settings, &lane.shape).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_leaves_few_files_and_the_same_rows() {
    let root = tempfile::tempdir().unwrap();
    let mut settings = in_folder(root.path());
    settings["file_max"] = json!(65_536);
    let mut lane = Lane::open(&settings, "f", &shape("things")).await;
    for version in 0..40 {
        lane.upserts((0..400).filter(|id| (id + version) % 3 == 0), version)
            .await;
    }
    let listed = || {
        let list = std::fs::read(root.path().join("_lockstep/tables/things.json")).unwrap();
        let list: serde_json::Value = serde_json::from_slice(&list).unwrap();
        list["files"].as_array().unwrap().len()
    };
    until("there are few files", || listed() < 20);
    assert_eq!(common::rows(&settings, &lane.shape).await.len(), 400);
    if let Some(rows) = ask(root.path(), &format!("{CURRENT} ORDER BY code, id")) {
        assert_eq!(rows.len(), 400);
    }
    // What was compacted away stays for whoever reads it.
    assert!(files(root.path(), "things").len() >= 40);
}

#[tokio::test]
async fn a_column_that_is_added_is_null_in_older_rows() {
    let root = tempfile::tempdir().unwrap();
    let settings = in_folder(root.path());
    let small = lockstep_core::Shape {
        columns: shape("things").columns[..2].to_vec(),
        ..shape("things")
    };
    let mut lane = Lane::open(&settings, "f", &small).await;
    let short = |id: i64| lockstep_core::Row(common::row(id, 1).0[..2].to_vec());
    let old = common::change(&lane.shape, lockstep_core::change::Op::Created, short(1), 0);
    lane.commit(vec![old.clone()]).await;
    let added = [
        Column::new("note", Type::Text, false),
        Column::new("id", Type::Int, false),
    ];
    lane.sink.add_columns("things", &added).await.unwrap();
    lane.sink.add_columns("things", &added).await.unwrap();
    let wide = lane.sink.discover().await.unwrap().remove(0);
    assert_eq!(wide.names().collect::<Vec<_>>(), ["id", "code", "note"]);
    let mut row = short(2);
    row.0.push(Value::text("new").into());
    let new = common::change(&wide, lockstep_core::change::Op::Created, row.clone(), 0);
    lane.commit(vec![new]).await;
    // A mapping that does not know the column leaves it as it is.
    let mut same = old.clone();
    same.row = short(2);
    lane.commit(vec![same]).await;
    let mut first = short(1);
    first.0.push(Value::Null.into());
    assert_eq!(common::rows(&settings, &wide).await, [first, row]);
}

/// The data files below a folder, the newest last.
fn files(root: &Path, folder: &str) -> Vec<(std::time::SystemTime, std::path::PathBuf)> {
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            match entry.metadata().unwrap() {
                meta if meta.is_dir() => folders.push(entry.path()),
                meta => found.push((meta.modified().unwrap(), entry.path())),
            }
        }
    }
    found.sort();
    found
}
