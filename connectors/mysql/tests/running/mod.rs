//! A running source, fed and watched the way the runtime does it.

#![allow(dead_code, reason = "each test program uses a part of this")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lockstep_core::connector::{Emitted, Feed, Finding, Need, OpenContext, RawConfig, feed};
use lockstep_core::{Change, Error, Position, Result, Row, Value};
use lockstep_mysql::connector;
use lockstep_servers::mariadb::Database;
use lockstep_tests::State;
use serde_json::{Value as Json, json};
use tokio::task::JoinHandle;

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// How a source is opened.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) system: String,
    pub(crate) config: RawConfig,
    pub(crate) tables: Vec<String>,
}

/// A source that runs.
pub(crate) struct Running {
    pub(crate) feed: Feed,
    task: JoinHandle<Result<()>>,
    /// Every batch that was taken: its changes, and the position after them.
    pub(crate) taken: Vec<(Vec<Change>, Position)>,
}

impl Setup {
    pub(crate) fn new(url: &str, system: &str, tables: &[&str]) -> Setup {
        Setup {
            system: system.to_owned(),
            config: serde_json::from_value(json!({ "url": url, "heartbeat_ms": 100 })).unwrap(),
            tables: tables.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    /// The number under which a source reads follows from its name, so a system bears its database's.
    pub(crate) fn of(database: &Database, tables: &[&str]) -> Setup {
        Setup::new(&database.url(), database.name(), tables)
    }

    pub(crate) fn with(mut self, setting: &str, value: Json) -> Setup {
        self.config.insert(setting.to_owned(), value);
        self
    }

    fn context(&self) -> OpenContext {
        OpenContext {
            system: self.system.clone(),
            folder: PathBuf::from("."),
            tables: self.tables.clone(),
            reads: Default::default(),
        }
    }

    pub(crate) async fn check(&self) -> Result<Vec<Finding>> {
        self.check_for(&[]).await
    }

    pub(crate) async fn check_for(&self, needs: &[Need]) -> Result<Vec<Finding>> {
        let source = connector()
            .open_source(self.config.clone(), self.context())
            .await?;
        source.check(needs).await
    }

    pub(crate) async fn discover(&self) -> Result<()> {
        let source = connector()
            .open_source(self.config.clone(), self.context())
            .await?;
        source.discover().await.map(|_| ())
    }

    pub(crate) async fn run(&self, resume: Option<&Position>) -> Running {
        self.run_with(resume, 4).await
    }

    pub(crate) async fn run_with(&self, resume: Option<&Position>, room: usize) -> Running {
        let source = connector()
            .open_source(self.config.clone(), self.context())
            .await
            .unwrap();
        let (emitter, feed) = feed(resume.cloned(), room);
        let task = tokio::spawn(source.run(resume.cloned(), emitter));
        Running {
            feed,
            task,
            taken: Vec::new(),
        }
    }

    /// The error with which a run ends that cannot begin.
    pub(crate) async fn refused(&self, resume: Option<&Position>) -> Error {
        let opened = connector()
            .open_source(self.config.clone(), self.context())
            .await;
        let source = match opened {
            Ok(source) => source,
            Err(error) => return error,
        };
        let (emitter, _feed) = feed(resume.cloned(), 100);
        match tokio::time::timeout(DEADLINE, source.run(resume.cloned(), emitter)).await {
            Ok(Err(error)) => error,
            Ok(Ok(())) => panic!("the run ended by itself"),
            Err(_) => panic!("the run goes on"),
        }
    }
}

impl Running {
    /// Takes the next batch.
    pub(crate) async fn next(&mut self) -> Vec<Change> {
        match tokio::time::timeout(DEADLINE, self.feed.batches.recv()).await {
            Ok(Some(Emitted {
                changes, position, ..
            })) => {
                self.taken.push((changes.clone(), position));
                changes
            }
            Ok(None) => panic!("the source ended: {:?}", (&mut self.task).await),
            Err(_) => panic!("no batch within {DEADLINE:?}"),
        }
    }

    /// Takes batches until `done` says so of all changes taken by this call.
    pub(crate) async fn until(&mut self, done: impl Fn(&[Change]) -> bool) -> Vec<Change> {
        let mut all = Vec::new();
        let start = Instant::now();
        while !done(&all) {
            assert!(
                start.elapsed() < DEADLINE,
                "not within {DEADLINE:?}: {all:?}"
            );
            all.extend(self.next().await);
        }
        all
    }

    /// Takes what there is until nothing has come for a while after `count` changes.
    pub(crate) async fn changes(&mut self, count: usize) -> Vec<Change> {
        let all = self.until(|all| all.len() >= count).await;
        assert_eq!(all.len(), count, "{all:?}");
        all
    }

    /// Takes batches until every snapshot is complete.
    pub(crate) async fn settled(&mut self) -> Vec<Change> {
        let mut all = Vec::new();
        loop {
            all.extend(self.next().await);
            let (_, position) = self.taken.last().unwrap();
            if !position
                .cursor
                .as_deref()
                .unwrap_or_default()
                .contains("todo")
            {
                return all;
            }
        }
    }

    /// The position after the last batch that was taken.
    pub(crate) fn position(&self) -> Position {
        self.taken.last().unwrap().1.clone()
    }

    /// Says that everything taken is durable.
    pub(crate) fn keep(&self) {
        self.feed.safe.send_replace(Some(self.position()));
    }

    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// The error with which it ends.
    pub(crate) async fn error(mut self) -> Error {
        let task = self.task;
        let drain = async move { while self.feed.batches.recv().await.is_some() {} };
        tokio::spawn(drain);
        match tokio::time::timeout(DEADLINE, task).await {
            Ok(Ok(Err(error))) => error,
            other => panic!("no error: {other:?}"),
        }
    }
}

/// The state that changes lead to.
pub(crate) fn fold<'c>(changes: impl IntoIterator<Item = &'c Change>) -> State {
    let mut state = State::default();
    changes.into_iter().for_each(|change| state.apply(change));
    state
}

/// A row of numbers and texts.
pub(crate) fn row(id: i64, text: &str) -> Row {
    Row::of([Value::Int(id), Value::text(text)])
}

pub(crate) fn says(error: &Error, part: &str) {
    let whole = format!(
        "{} | {}",
        error.chain(),
        error.help_text().unwrap_or_default()
    );
    assert!(whole.contains(part), "`{part}` is not in: {whole}");
}
