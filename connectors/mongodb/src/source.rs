//! The source: a snapshot of each collection, then every change, from one change stream.
//!
//! One loop: ask for room, gather what the stream has told, emit it with the position after it.
//! What is in hand travels in [`Teller`]; the stream is read ahead by a task of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_core::connector::{Control, Emitter, Finding, Need, News, OpenContext, Reads, Source};
use lockstep_core::{Error, Position, Result, Shape};

use crate::client::{Client, is_lost};
use crate::columns::Table;
use crate::config::{Config, OnLost};
use crate::enter::{Entered, enter, forgotten, must_be_capturable};
use crate::readiness;
use crate::snapshot::{self, Read};
use crate::stream::{Stream, Told, ended};
use crate::tell::Teller;

/// How often a position that moved over nothing of ours is told.
const IDLE_ADVANCE: Duration = Duration::from_secs(1);
/// How long to wait before a chunk that could not be read yet is tried again.
const CHUNK_PAUSE: Duration = Duration::from_millis(500);
/// How long a snapshot may wait before somebody is told why.
const CHUNK_PATIENCE: Duration = Duration::from_secs(30);

/// Reads a MongoDB database: its collections, then every change to them.
pub struct MongoSource {
    client: Client,
    config: Config,
    tables: Vec<String>,
}

impl Source for MongoSource {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        Ok(MongoSource {
            client: Client::open(&config, &cx).await?,
            config,
            tables: cx.tables,
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        let tables = self.tables().await?;
        tables.iter().try_for_each(must_be_capturable)?;
        Ok(tables.into_iter().map(|table| table.shape).collect())
    }

    async fn check(&self, needs: &[Need]) -> Result<Vec<Finding>> {
        let tables = self.tables().await?;
        readiness::check(&self.client, &tables, needs).await
    }

    async fn run(self, resume: Option<Position>, out: Emitter) -> Result<()> {
        tokio::select! {
            biased;
            () = out.stopped() => Err(Error::stopped()),
            ended = self.sessions(resume, &out) => ended,
        }
    }
}

impl MongoSource {
    /// One session, and another life where the server forgets what comes next and that is accepted.
    async fn sessions(&self, resume: Option<Position>, out: &Emitter) -> Result<()> {
        let mut resume = resume;
        loop {
            let mut run = self.enter(resume.take(), out).await?;
            let Err(error) = run.pump(out).await else {
                return Ok(());
            };
            if !run.lost || self.config.on_lost == OnLost::Fail {
                return Err(error);
            }
            tracing::warn!(error = %error.chain(), "everything is read again");
        }
    }

    async fn enter(&self, resume: Option<Position>, out: &Emitter) -> Result<Run<'_>> {
        let mut tables = self.tables().await?;
        let entered = enter(&self.client, &self.config, &mut tables, resume.as_ref()).await?;
        let Entered {
            stream,
            reading,
            begins,
            sharded,
        } = entered;
        let run = Run {
            source: self,
            stream,
            next: None,
            told_token: reading.cursor.token.clone(),
            told_at: Instant::now(),
            looked: false,
            told: false,
            completed: Vec::new(),
            chunk_at: Instant::now(),
            waits_since: None,
            lost: false,
            teller: Teller::new(tables, reading, sharded),
        };
        if begins {
            let beginning = run.teller.reading.position();
            out.emit(Vec::new(), beginning).await?;
        }
        Ok(run)
    }

    async fn tables(&self) -> Result<Vec<Table>> {
        let mut tables = Vec::with_capacity(self.tables.len());
        for name in &self.tables {
            tables.push(Table::find(&self.client, &self.config, name).await?);
        }
        Ok(tables)
    }
}

/// A run under way.
struct Run<'s> {
    source: &'s MongoSource,
    stream: Stream,
    teller: Teller,
    /// What the stream told, where it has to wait for a chunk.
    next: Option<Told>,
    /// What was told last, and when.
    told_token: String,
    told_at: Instant,
    /// Whether the stream was at its end once.
    looked: bool,
    /// Whether anything was emitted since the beginning.
    told: bool,
    /// Collections whose reading is complete, which nobody knows yet.
    completed: Vec<News>,
    /// Before this no chunk is read.
    chunk_at: Instant,
    /// Since when no chunk could be read.
    waits_since: Option<Instant>,
    /// Whether the server has forgotten what comes next.
    lost: bool,
}

impl Run<'_> {
    async fn pump(&mut self, out: &Emitter) -> Result<()> {
        loop {
            let slot = out.room().await?;
            self.gather(out).await?;
            let changes = self.teller.batch();
            let reading = &self.teller.reading;
            self.told_token.clone_from(&reading.cursor.token);
            self.told_at = Instant::now();
            self.told = true;
            let news = std::mem::take(&mut self.completed);
            slot.tell(changes, reading.position(), news)?;
        }
    }

    /// Reads until there is something to emit: a batch, or a position that is worth telling.
    async fn gather(&mut self, out: &Emitter) -> Result<()> {
        let config = &self.source.config;
        let (changes_max, bytes_max) = (config.batch_max, config.batch_bytes);
        while let Some(control) = asked(out).await {
            self.obey(control);
        }
        self.chunk().await?;
        loop {
            if !self.teller.waiting.is_empty() {
                return self.teller.place(changes_max, bytes_max);
            }
            if self.teller.batch.len() >= changes_max || self.teller.bytes >= bytes_max {
                return Ok(());
            }
            if let Some(told) = self.ready()? {
                self.take(told).await?;
                continue;
            }
            if !self.teller.batch.is_empty() || self.is_worth_telling() {
                return Ok(());
            }
            if self.chunk().await? {
                continue;
            }
            self.wait(out).await?;
        }
    }

    fn ready(&mut self) -> Result<Option<Told>> {
        match self.next.take() {
            Some(told) => Ok(Some(told)),
            None => {
                let told = self.stream.ready();
                told.map_err(|error| self.ended(&error))
            }
        }
    }

    fn ended(&mut self, error: &mongodb::error::Error) -> Error {
        if is_lost(error) {
            self.lost = true;
            return forgotten(error);
        }
        ended(error)
    }

    async fn take(&mut self, told: Told) -> Result<()> {
        match told {
            // Its room is given back when it has become a change.
            Told::Event(event, _room) => self.teller.take(&event, &self.source.client).await,
            Told::Quiet(token) => {
                self.looked = true;
                self.teller.quiet(token)
            }
        }
    }

    /// Whether a position without changes is worth a batch.
    fn is_worth_telling(&self) -> bool {
        let first = !self.told && self.looked;
        let moved = self.teller.reading.cursor.token != self.told_token;
        first || !self.completed.is_empty() || (moved && self.told_at.elapsed() >= IDLE_ADVANCE)
    }

    /// Waits for the stream, the runtime, or the time to look after something.
    async fn wait(&mut self, out: &Emitter) -> Result<()> {
        let mut pause = IDLE_ADVANCE;
        if self.wants_chunk() && self.teller.through.is_some() {
            pause = pause.min(self.chunk_at.saturating_duration_since(Instant::now()));
        }
        tokio::select! {
            told = self.stream.next() => {
                let told = told.map_err(|error| self.ended(&error))?;
                self.take(told).await?;
            }
            control = out.control() => self.obey(control),
            () = tokio::time::sleep(pause) => {}
        }
        Ok(())
    }

    fn obey(&mut self, control: Control) {
        match control {
            Control::Backfill { table, filter } if self.source.tables.contains(&table) => {
                self.teller.reading.cursor.read_part(&table, filter);
            }
            Control::Backfill { table, .. } => {
                tracing::warn!(%table, known = ?self.source.tables, "no flow reads the table that was to be read again");
            }
            other => tracing::warn!(?other, "the mongodb source cannot do what was asked"),
        }
    }

    fn wants_chunk(&self) -> bool {
        self.teller.waiting.is_empty() && !self.teller.reading.cursor.todo.is_empty()
    }

    /// Reads the next documents of a snapshot, if one is under way and the stream stands where they can be placed. Whether it got on.
    async fn chunk(&mut self) -> Result<bool> {
        if !self.wants_chunk() || !self.teller.batch.is_empty() || Instant::now() < self.chunk_at {
            return Ok(false);
        }
        if self.teller.through.is_none() {
            // Between two events of different times there is room as well.
            self.next = self.ready()?;
            if let Some(Told::Event(event, _)) = &self.next {
                self.teller.comes_later(event);
            }
        }
        let cursor = &self.teller.reading.cursor;
        let (Some(as_of), Some(name)) = (self.teller.through, cursor.todo.first()) else {
            return Ok(false);
        };
        let mut tables = self.teller.tables.iter();
        let table = tables.find(|table| table.collection.name == *name);
        // Documents may hold anything anywhere; what a filter cannot judge is for the gate to name, so every document is read.
        let reads = Reads::default();
        let filter = table.and_then(|table| {
            let wanted = cursor.parts.wanted(name, &reads, &table.shape)?;
            Some(table.condition(&wanted))
        });
        let part = (cursor.after.as_deref(), filter.transpose()?);
        let client = &self.source.client;
        let rows = self.source.config.snapshot_rows;
        let read = snapshot::chunk(client, name, part, as_of, rows).await?;
        let Read::There(documents) = read else {
            self.chunk_at = Instant::now() + CHUNK_PAUSE;
            self.teller.through = None;
            self.complain();
            return Ok(false);
        };
        self.waits_since = None;
        if documents.is_empty() {
            self.completed.extend(self.teller.reading.cursor.complete());
        } else {
            self.teller.as_of = as_of;
            self.teller.waiting = documents.into();
        }
        Ok(true)
    }

    /// Says why a snapshot does not get on, now and then.
    fn complain(&mut self) {
        let since = *self.waits_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= CHUNK_PATIENCE {
            self.waits_since = Some(Instant::now());
            tracing::warn!(
                "the snapshot waits until the changes of the last minutes are told: the server keeps older states no longer"
            );
        }
    }
}

/// What the runtime has asked for by now.
async fn asked(out: &Emitter) -> Option<Control> {
    tokio::select! {
        biased;
        control = out.control() => Some(control),
        () = std::future::ready(()) => None,
    }
}
