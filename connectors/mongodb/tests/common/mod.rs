//! A MongoDB database of a business system, and what runs on it.

#![allow(dead_code, reason = "each test program uses a part of this")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lockstep_core::change::Op;
use lockstep_core::connector::{
    Batch, Control, DynReader, DynSink, DynSource, Feed, Finding, LaneProgress, OpenContext,
    Outcome, RawConfig, Receipt, feed,
};
use lockstep_core::diagnostic::Severity;
use lockstep_core::position::Mark;
use lockstep_core::{Change, Error, Position, Result, Row, Shape, Value};
use lockstep_mongodb::connector;
use lockstep_tests::State;
use mongodb::Collection;
use mongodb::bson::{Document, doc};
use serde_json::{Value as Json, json};
use tokio::task::JoinHandle;

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A database, by its address.
#[derive(Clone, Debug)]
pub(crate) struct Db {
    pub(crate) url: String,
    pub(crate) db: mongodb::Database,
}

impl Db {
    pub(crate) async fn at(url: &str) -> Db {
        let client = mongodb::Client::with_uri_str(url).await.unwrap();
        let db = client.default_database().unwrap();
        Db {
            url: url.to_owned(),
            db,
        }
    }

    pub(crate) fn collection(&self, name: &str) -> Collection<Document> {
        self.db.collection(name)
    }

    /// Makes a collection that records its documents before and after each change.
    pub(crate) async fn recording(&self, name: &str) {
        self.run(doc! { "create": name, "changeStreamPreAndPostImages": { "enabled": true } })
            .await;
    }

    pub(crate) async fn run(&self, command: Document) -> Document {
        self.db.run_command(command).await.unwrap()
    }

    pub(crate) async fn all(&self, name: &str) -> Vec<Document> {
        use futures_util::TryStreamExt;
        let documents = self.collection(name);
        let find = documents.find(doc! {}).sort(doc! { "_id": 1 });
        find.await.unwrap().try_collect().await.unwrap()
    }

    pub(crate) fn config(&self, more: &Json) -> RawConfig {
        let mut config = json!({ "url": self.url, "connections": 2 });
        let all = config.as_object_mut().unwrap();
        all.extend(more.as_object().cloned().unwrap_or_default());
        serde_json::from_value(config).unwrap()
    }

    pub(crate) async fn source(&self, tables: &[&str], more: &Json) -> Box<dyn DynSource> {
        connector()
            .open_source(self.config(more), context(tables))
            .await
            .unwrap()
    }

    pub(crate) async fn sink(&self, tables: &[&str], more: &Json) -> Box<dyn DynSink> {
        connector()
            .open_sink(self.config(more), context(tables))
            .await
            .unwrap()
    }

    pub(crate) async fn reader(&self, tables: &[&str], more: &Json) -> Box<dyn DynReader> {
        connector()
            .open_reader(self.config(more), context(tables))
            .await
            .unwrap()
    }

    /// A prepared sink, and the whole shape of its only collection.
    pub(crate) async fn prepared(
        &self,
        table: &str,
        more: &Json,
    ) -> (Box<dyn DynSink>, Arc<Shape>) {
        let sink = self.sink(&[table], more).await;
        let shape = sink.discover().await.unwrap().remove(0);
        sink.prepare(&[Arc::clone(&shape)]).await.unwrap();
        (sink, shape)
    }

    /// A source that runs.
    pub(crate) async fn run_source(
        &self,
        tables: &[&str],
        more: &Json,
        resume: Option<Position>,
    ) -> Running {
        let source = self.source(tables, more).await;
        let shape = source.discover().await.unwrap().remove(0);
        let (emitter, feed) = feed(resume.clone(), 3);
        Running {
            feed,
            shape,
            task: tokio::spawn(source.run(resume, emitter)),
            state: State::default(),
            changes: Vec::new(),
            position: None,
        }
    }
}

pub(crate) fn context(tables: &[&str]) -> OpenContext {
    OpenContext {
        system: "shop".to_owned(),
        folder: PathBuf::from("."),
        tables: tables.iter().map(|name| (*name).to_owned()).collect(),
        reads: Default::default(),
    }
}

/// A source that runs, and what it has told.
pub(crate) struct Running {
    pub(crate) feed: Feed,
    pub(crate) shape: Arc<Shape>,
    pub(crate) task: JoinHandle<Result<()>>,
    /// The first table.
    pub(crate) state: State,
    pub(crate) changes: Vec<Change>,
    pub(crate) position: Option<Position>,
}

impl Running {
    /// Takes the next batch; none when none came within `wait`.
    pub(crate) async fn next_within(&mut self, wait: Duration) -> Option<usize> {
        let batch = tokio::time::timeout(wait, self.feed.batches.recv()).await;
        let Some(batch) = batch.ok()? else {
            panic!("the source ended: {:?}", (&mut self.task).await);
        };
        for change in &batch.changes {
            if change.shape.name == self.shape.name {
                self.state.apply(change);
            }
        }
        let count = batch.changes.len();
        self.changes.extend(batch.changes.iter().cloned());
        self.position = Some(batch.position);
        Some(count)
    }

    /// Takes batches until what was told satisfies.
    pub(crate) async fn until(&mut self, what: &str, is_so: impl Fn(&Running) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            assert!(
                start.elapsed() < DEADLINE,
                "{what} did not come: {:?}",
                self.changes
            );
            self.next_within(Duration::from_millis(100)).await;
        }
    }

    /// How the source ends.
    pub(crate) async fn end(mut self) -> Error {
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < DEADLINE, "the source does not end");
            let batch = tokio::time::timeout(Duration::from_millis(100), self.feed.batches.recv());
            if let Ok(None) = batch.await {
                return fails(self.task.await.unwrap());
            }
        }
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) async fn kill(self) -> Option<Position> {
        self.task.abort();
        let _ = self.task.await;
        self.position
    }

    pub(crate) async fn ask_again(&self, table: &str) {
        let table = table.to_owned();
        self.feed
            .control
            .send(Control::Backfill {
                table,
                filter: None,
            })
            .await
            .unwrap();
    }

    pub(crate) fn ops(&self) -> Vec<Op> {
        self.changes.iter().map(|change| change.op).collect()
    }
}

/// Some columns of a collection as a target; its key is the first of them.
pub(crate) fn part(shape: &Shape, columns: &[&str]) -> Arc<Shape> {
    let column = |name: &&str| shape.columns[shape.position(name).unwrap()].clone();
    Arc::new(Shape {
        name: shape.name.clone(),
        columns: columns.iter().map(column).collect(),
        key: vec![0],
    })
}

pub(crate) fn change(shape: &Arc<Shape>, op: Op, row: Row) -> Change {
    Change {
        shape: Arc::clone(shape),
        op,
        row,
        before: None,
        mark: Mark::default(),
        committed_at: Timestamp::UNIX_EPOCH,
        origin: None,
    }
}

pub(crate) fn upsert(shape: &Arc<Shape>, values: impl IntoIterator<Item = Value>) -> Change {
    change(shape, Op::Updated, Row::of(values))
}

/// A batch that moves its lane by one.
pub(crate) fn step(expected: u64, changes: Vec<Change>) -> Batch {
    Batch {
        flow: "f".to_owned(),
        changes,
        progress: vec![LaneProgress {
            lane: "lane".to_owned(),
            expected,
            reached: expected + 1,
            position: None,
        }],
        follows: false,
    }
}

/// What was refused, by index, and why.
pub(crate) fn refused(receipt: Result<Receipt>) -> Vec<(usize, String)> {
    match receipt.unwrap() {
        Receipt::RolledBack(refused) => refused
            .into_iter()
            .map(|(index, outcome)| match outcome {
                Outcome::Rejected { reason } => (index, reason),
                other => panic!("{other:?}"),
            })
            .collect(),
        committed => panic!("nothing was refused: {committed:?}"),
    }
}

pub(crate) fn is_committed(receipt: &Result<Receipt>) -> bool {
    matches!(receipt, Ok(Receipt::Committed(_)))
}

pub(crate) fn says(findings: &[Finding], severity: Severity, part: &str) -> bool {
    let fits = |finding: &&Finding| finding.severity == severity && finding.message.contains(part);
    findings
        .iter()
        .any(|finding| fits(&finding) && !finding.help.is_empty())
}

/// The error of something that must not work.
pub(crate) fn fails<T>(result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("it worked"),
        Err(error) => error,
    }
}

pub(crate) fn is_installed() -> bool {
    let found = lockstep_servers::find::mongod().is_some();
    if !found {
        lockstep_servers::skip("mongod");
    }
    found
}
