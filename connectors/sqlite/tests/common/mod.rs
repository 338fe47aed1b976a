//! A SQLite file of a business system, and a source that is followed.

#![allow(dead_code, reason = "each test program uses a part of this")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lockstep_core::change::Op;
use lockstep_core::connector::{Batch, Feed, Finding, LaneProgress, OpenContext, RawConfig, feed};
use lockstep_core::diagnostic::Severity;
use lockstep_core::position::Mark;
use lockstep_core::{Change, Column, Error, Position, Result, Row, Shape, Type, Value};
use lockstep_sqlite::connector;
use lockstep_tests::State;
use rusqlite::Connection;
use rusqlite::types::Value as Stored;
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A SQLite file with the business system's tables.
pub(crate) struct File {
    pub(crate) folder: TempDir,
}

impl File {
    pub(crate) fn with(sql: &str) -> File {
        let file = File {
            folder: tempfile::tempdir().unwrap(),
        };
        file.conn()
            .execute_batch("PRAGMA journal_mode = WAL")
            .unwrap();
        file.run(sql);
        file
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("app.db")
    }

    pub(crate) fn conn(&self) -> Connection {
        let conn = Connection::open(self.path()).unwrap();
        conn.busy_timeout(DEADLINE).unwrap();
        conn
    }

    pub(crate) fn run(&self, sql: &str) {
        self.conn().execute_batch(sql).unwrap();
    }

    pub(crate) fn context(&self, tables: &[&str]) -> OpenContext {
        OpenContext {
            system: "app".to_owned(),
            folder: self.folder.path().to_owned(),
            tables: tables.iter().map(|name| (*name).to_owned()).collect(),
            reads: Default::default(),
        }
    }

    /// The table as the file holds it, in plain values.
    pub(crate) fn truth(&self, shape: &Shape) -> State {
        let conn = self.conn();
        let mut statement = conn
            .prepare(&format!("SELECT * FROM {}", shape.name))
            .unwrap();
        let width = statement.column_count();
        let rows = statement
            .query_map([], |row| {
                let values = (0..width).map(|i| row.get(i).map(plain));
                values.collect::<rusqlite::Result<Vec<_>>>()
            })
            .unwrap();
        State::of(shape, rows.map(|row| Row::of(row.unwrap())))
    }
}

pub(crate) fn plain(stored: Stored) -> Value {
    match stored {
        Stored::Null => Value::Null,
        Stored::Integer(number) => Value::Int(number),
        Stored::Real(number) => Value::Float(number),
        Stored::Text(text) => Value::Text(text),
        Stored::Blob(bytes) => Value::Bytes(bytes),
    }
}

pub(crate) fn config() -> RawConfig {
    serde_json::from_value(
        json!({ "path": "app.db", "poll_ms": 1, "chunk_rows": 50, "busy_timeout_ms": 20000 }),
    )
    .unwrap()
}

/// A running source and the state it has told so far.
pub(crate) struct Tail {
    pub(crate) feed: Feed,
    pub(crate) task: JoinHandle<Result<()>>,
    pub(crate) shape: Arc<Shape>,
    pub(crate) state: State,
    pub(crate) seen: Vec<Change>,
    pub(crate) position: Option<Position>,
}

impl Tail {
    pub(crate) async fn start(file: &File, tables: &[&str], resume: Option<Position>) -> Tail {
        Tail::open(file, tables, resume).await.unwrap()
    }

    pub(crate) async fn open(
        file: &File,
        tables: &[&str],
        resume: Option<Position>,
    ) -> Result<Tail> {
        let source = connector()
            .open_source(config(), file.context(tables))
            .await?;
        let shape = source.discover().await?.remove(0);
        let (emitter, feed) = feed(resume.clone(), 4);
        Ok(Tail {
            feed,
            task: tokio::spawn(source.run(resume, emitter)),
            shape,
            state: State::default(),
            seen: Vec::new(),
            position: None,
        })
    }

    /// Takes one more batch, if one comes soon.
    pub(crate) async fn more(&mut self) -> bool {
        let wait = Duration::from_millis(100);
        match tokio::time::timeout(wait, self.feed.batches.recv()).await {
            Ok(Some(batch)) => {
                for change in batch.changes {
                    if change.shape.name == self.shape.name {
                        self.state.apply(&change);
                    }
                    self.seen.push(change);
                }
                self.position = Some(batch.position);
                true
            }
            Ok(None) => panic!("the source ended: {:?}", (&mut self.task).await),
            Err(_) => false,
        }
    }

    /// Takes batches until `done`.
    pub(crate) async fn until(&mut self, what: &str, mut done: impl FnMut(&Tail) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < DEADLINE, "{what}; seen: {:#?}", self.seen);
            self.more().await;
        }
    }

    /// Takes batches until the state is the file's.
    pub(crate) async fn settle(&mut self, file: &File) {
        let start = Instant::now();
        loop {
            let truth = file.truth(&self.shape);
            if self.position.is_some() && self.state == truth {
                return;
            }
            assert!(
                start.elapsed() < DEADLINE,
                "{}",
                self.state.difference(&truth)
            );
            self.more().await;
        }
    }

    /// Waits for the end of a run that cannot go on.
    pub(crate) async fn end(self) -> Error {
        let end = tokio::time::timeout(DEADLINE, self.task).await;
        end.expect("the source goes on").unwrap().unwrap_err()
    }

    pub(crate) async fn kill(self) -> Option<Position> {
        self.task.abort();
        let _ = self.task.await;
        self.position
    }

    pub(crate) fn ops(&self) -> Vec<Op> {
        self.seen.iter().map(|change| change.op).collect()
    }
}

pub(crate) const USERS: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, email TEXT UNIQUE, n INT)";

pub(crate) fn says(findings: &[Finding], severity: Severity, part: &str) -> bool {
    findings
        .iter()
        .any(|finding| finding.severity == severity && finding.message.contains(part))
}

pub(crate) fn shape_of(names: &[&str]) -> Shape {
    let column = |name: &&str| Column::new(*name, Type::Int, true);
    Shape {
        name: "t".to_owned(),
        columns: names.iter().map(column).collect(),
        key: vec![0],
    }
}

pub(crate) fn target(table: &str, names: &[&str]) -> Arc<Shape> {
    Arc::new(Shape {
        name: table.to_owned(),
        ..shape_of(names)
    })
}

pub(crate) fn batch(shape: &Arc<Shape>, rows: &[(i64, i64)]) -> Batch {
    let change = |(id, n): &(i64, i64)| Change {
        shape: Arc::clone(shape),
        op: Op::Created,
        row: Row::of([Value::Int(*id), Value::Int(*n)]),
        before: None,
        mark: Mark::default(),
        committed_at: Timestamp::UNIX_EPOCH,
        origin: None,
    };
    Batch {
        flow: "f".to_owned(),
        changes: rows.iter().map(change).collect(),
        progress: vec![LaneProgress {
            lane: "lane".to_owned(),
            expected: 0,
            reached: 1,
            position: None,
        }],
        follows: false,
    }
}

pub(crate) fn triggers(file: &File, table: &str) -> i64 {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1";
    file.conn()
        .query_row(sql, [table], |row| row.get(0))
        .unwrap()
}
