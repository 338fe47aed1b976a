//! The source: a snapshot of each table, then every change, from one replication slot.
//!
//! One loop: ask for room, gather what the server has sent, emit it with the position after it.
//! What is in hand travels in [`Stream`]; the socket is served by a task of its own, so the server is content while the loop waits for room.
//! While the rows of a snapshot's chunk are emitted, the next one is read already.

mod chunks;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lockstep_core::connector::{Control, Emitter, Finding, Need, OpenContext, Reads, Source};
use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Error, Kind, Position, Result, Shape};

use crate::catalog;
use crate::client::Client;
use crate::config::{Config, Endpoint, Publish, Snapshot, own_name};
use crate::enter::{self, Entered, enter};
use crate::messages::Messages;
use crate::position::Cursor;
use crate::publication::{self, Publication};
use crate::readiness;
use crate::slot;
use crate::spool::Spool;
use crate::stamp::Since;
use crate::stream::{Ask, Stream};
use crate::tables::Captured;
use crate::wire::{self, Connection, Data, Purpose, Refusal, Release, Slab, Streaming};
use chunks::Ahead;

/// What the server says of a publication that does not exist.
const UNDEFINED: &str = "42704";
/// How often a position that moved over nothing of ours is told, so that the server can forget its log.
const IDLE_ADVANCE: Duration = Duration::from_secs(1);
/// How often what is durable is told to the server.
const RELEASE_POLL: Duration = Duration::from_millis(50);
/// How often the publication is looked at while nothing happens.
const TEND_EVERY: Duration = Duration::from_secs(30);
/// How long a migration may leave a table missing or odd before the run gives up.
const MIGRATION_MAX: Duration = Duration::from_secs(2);
/// How often a table is looked at meanwhile.
const MIGRATION_POLL: Duration = Duration::from_millis(50);
/// How long to wait at first, and at most, before a chunk that came too early is read again; a lock is given the longer time at once.
const CHUNK_PAUSE: Duration = Duration::from_millis(5);
const CHUNK_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Most changes that are emitted at once: what is gated in one go keeps what was published from being heard of.
const EMIT_MAX: usize = 1000;
/// How many rows the first chunk of a table reads at most; later ones follow from how wide they were.
const FIRST_ROWS: usize = 1000;

/// Reads a PostgreSQL database: its tables, then every change to them.
pub struct PostgresSource {
    client: Client,
    config: Config,
    endpoint: Endpoint,
    system: String,
    /// Where relative paths start.
    folder: PathBuf,
    /// What flows read, in their order: tables and messages.
    named: Vec<String>,
    /// The tables.
    tables: Vec<String>,
    /// What of them is wanted.
    reads: BTreeMap<String, Reads>,
    messages: Vec<Messages>,
}

impl Source for PostgresSource {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        let client = Client::open(&config, &cx).await?;
        if let Some(name) = config.outbox.iter().find(|name| !cx.tables.contains(name)) {
            return Err(
                Error::config(format!("no flow reads table `{name}` of `outbox`"))
                    .help(suggestion(name, cx.tables.iter().map(String::as_str))),
            );
        }
        let messages = Messages::of(&config.messages, &cx.tables);
        let is_real = |name: &String| !config.messages.contains_key(name);
        Ok(PostgresSource {
            named: cx.tables.clone(),
            messages,
            tables: cx.tables.into_iter().filter(is_real).collect(),
            endpoint: config.endpoint(&cx.folder)?,
            reads: cx.reads,
            client,
            config,
            system: cx.system,
            folder: cx.folder,
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        let captured = self.captured().await?;
        let shapes = captured.into_iter().map(|table| table.shape);
        let messages = self.messages.iter().map(|known| Arc::clone(&known.shape));
        let mut shapes: Vec<Arc<Shape>> = shapes.chain(messages).collect();
        shapes.sort_by_key(|shape| self.named.iter().position(|name| *name == shape.name));
        Ok(shapes)
    }

    async fn check(&self, needs: &[Need]) -> Result<Vec<Finding>> {
        let mut lease = self.client.begin("SELECT 1").await?;
        let mut tables = Vec::new();
        for name in &self.tables {
            tables.push(catalog::table(lease.conn(), name).await?);
        }
        lease.keep();
        let spool = self.config.spool(&self.folder, &self.system);
        readiness::check(
            &self.endpoint,
            &self.config,
            &self.system,
            (&tables, &self.reads),
            needs,
            spool,
        )
        .await
    }

    async fn run(self, resume: Option<Position>, out: Emitter) -> Result<()> {
        tokio::select! {
            biased;
            () = out.stopped() => Err(Error::stopped()),
            ended = self.session(resume, &out) => ended,
        }
    }
}

impl PostgresSource {
    async fn session(&self, resume: Option<Position>, out: &Emitter) -> Result<()> {
        let tables = self.captured().await?;
        let application = own_name(&self.system);
        let entered = enter(
            &self.endpoint,
            &self.config,
            &self.system,
            tables,
            resume.as_ref(),
        );
        let Entered {
            streaming,
            reading,
            tables,
            target,
            begins,
            version,
        } = entered.await?;
        let release = streaming.release();
        let mut run = Run {
            source: self,
            side: None,
            others: Vec::new(),
            application,
            version,
            rows: FIRST_ROWS.min(self.config.snapshot_rows),
            chunk_at: Instant::now(),
            chunk_pause: CHUNK_PAUSE,
            ahead: None,
            slab: Slab::default(),
            spool: self.spool().await?,
            stream: Stream::new(
                tables,
                self.messages.clone(),
                reading,
                self.config.snapshot != Snapshot::Never,
            ),
            streaming,
            target,
            heard: 0,
            urgent: false,
            told: false,
            advanced: Instant::now(),
            tended: Instant::now(),
        };
        let incarnation = Arc::clone(&run.stream.reading.incarnation);
        let pumping = async {
            if begins {
                out.emit(Vec::new(), run.stream.reading.position()).await?;
            }
            run.pump(out).await
        };
        let ended = tokio::select! {
            ended = pumping => ended,
            never = releasing(out, &incarnation, &release) => match never {},
        };
        drop(run);
        match ended {
            Err(error) if self.config.heals() && wire::is_state(&error, UNDEFINED) => {
                self.give_up(error).await
            }
            ended => ended,
        }
    }

    /// Ends a life that cannot be gone on with: without its slot, the next run begins another one.
    async fn give_up(&self, why: Error) -> Result<()> {
        let mut conn = enter::open(&self.endpoint, &own_name(&self.system)).await?;
        slot::drop(&mut conn, &self.config.slot(&self.system)).await?;
        Err(Error::transient("changes are lost: this life of the source ends, and another one begins")
            .because(why)
            .help("`snapshot` says that a loss is accepted; `lockstep verify` names the deletes that fell into the gap"))
    }

    async fn spool(&self) -> Result<Spool> {
        let folder = self.config.spool(&self.folder, &self.system);
        Spool::open(folder, self.config.spool_bytes).await
    }

    /// What the catalog says of the tables.
    async fn captured(&self) -> Result<Vec<Captured>> {
        let mut lease = self.client.begin("SELECT 1").await?;
        let mut captured = Vec::with_capacity(self.tables.len());
        for name in &self.tables {
            let found = catalog::table(lease.conn(), name).await?;
            let reads = self.reads.get(name).cloned().unwrap_or_default();
            let mut table = Captured::of(&found, reads)?;
            table.outbox = self.config.outbox.contains(name);
            table.narrow = self.config.publish == Publish::Wanted;
            captured.push(table);
        }
        lease.keep();
        Ok(captured)
    }
}

/// Tells the server what is durable, and so may be forgotten.
async fn releasing(
    out: &Emitter,
    incarnation: &str,
    release: &Release,
) -> std::convert::Infallible {
    let mut known = None;
    let mut tick = tokio::time::interval(RELEASE_POLL);
    loop {
        tick.tick().await;
        let safe = out.safe().filter(|safe| *safe.incarnation == *incarnation);
        if safe == known {
            continue;
        }
        if let Some(cursor) = safe.as_ref().and_then(Cursor::of) {
            release.up_to(cursor.from.0);
        }
        known = safe;
    }
}

/// A run under way.
struct Run<'s> {
    source: &'s PostgresSource,
    streaming: Streaming,
    stream: Stream,
    slab: Slab,
    /// What came of transactions that have not ended.
    spool: Spool,
    /// For SQL beside the stream; opened when it is needed.
    side: Option<Connection>,
    /// For reading parts of a table beside each other.
    others: Vec<Connection>,
    application: String,
    version: u32,
    /// Most rows of the next chunk.
    rows: usize,
    /// Before this no chunk is read.
    chunk_at: Instant,
    /// How long to wait when the next one comes too early.
    chunk_pause: Duration,
    /// The chunk that is read while the one before it is emitted.
    ahead: Option<Ahead>,
    /// Where the server's log ended when the run began: once that is reached, the system has been looked at.
    target: u64,
    /// How far the server says it has read.
    heard: u64,
    /// Whether it wants an answer to that.
    urgent: bool,
    /// Whether anything was emitted since the beginning.
    told: bool,
    advanced: Instant,
    tended: Instant,
}

impl Run<'_> {
    async fn pump(&mut self, out: &Emitter) -> Result<()> {
        loop {
            let slot = out.room().await?;
            self.gather(out).await?;
            let changes = self.stream.batch();
            let news = self.stream.news();
            slot.tell(changes, self.stream.reading.position(), news)?;
            self.told = true;
        }
    }

    /// Reads until there is something to emit: a batch, or a position that is worth telling.
    async fn gather(&mut self, out: &Emitter) -> Result<()> {
        let config = &self.source.config;
        let (changes_max, bytes_max) = (config.batch_max.min(EMIT_MAX), config.batch_bytes);
        while let Some(control) = asked(out).await {
            self.obey(control);
        }
        self.chunk().await?;
        loop {
            if self.stream.is_placing() {
                self.read_ahead().await?;
                self.stream.place(changes_max, bytes_max);
                return Ok(());
            }
            if self.stream.batch.len() >= changes_max || self.stream.bytes >= bytes_max {
                return Ok(());
            }
            if let Some(message) = self.spool.next().await? {
                self.tell(&message).await?;
                continue;
            }
            if let Some((tag, body)) = self.slab.pop()? {
                self.take(tag, body).await?;
                continue;
            }
            if let Some(slab) = self.streaming.ready()? {
                self.slab = slab;
                continue;
            }
            if !self.stream.batch.is_empty() || self.stream.has_news() || self.is_worth_telling() {
                return Ok(());
            }
            self.chunk().await?;
            self.wait(out).await?;
        }
    }

    /// Takes one message of the server.
    async fn take(&mut self, tag: u8, body: Bytes) -> Result<()> {
        match tag {
            b'd' => match wire::data(&body)? {
                Data::Wal { at, bytes } => {
                    self.stream.sent_at = at;
                    match self.spool.take(bytes).await? {
                        Some(bytes) => self.tell(&bytes).await,
                        None => Ok(()),
                    }
                }
                Data::Keepalive { end, reply } => {
                    self.heard = self.heard.max(end);
                    self.urgent |= reply;
                    Ok(())
                }
            },
            b'E' => {
                let life = &self.stream.reading.incarnation;
                Err(ended(Refusal::parse(&body), life))
            }
            b'N' | b'S' => Ok(()),
            _ => Err(Error::transient("the server ended the replication stream")
                .help("it is tried again; the server may be shutting down")),
        }
    }

    /// Takes one message of a transaction that is committed.
    async fn tell(&mut self, message: &[u8]) -> Result<()> {
        while let Some(description) = self.spool.description(message) {
            self.fit(&description).await?;
        }
        self.fit(message).await
    }

    async fn fit(&mut self, message: &[u8]) -> Result<()> {
        if let Ask::Look(table) = self.stream.take(message)? {
            self.look(table).await?;
            self.stream.fit(message, table)?;
        }
        Ok(())
    }

    /// Whether a position without changes is worth a batch; moves to it.
    fn is_worth_telling(&mut self) -> bool {
        let looked = self.heard.max(self.stream.reading.cursor.from.0) >= self.target;
        let first = !self.told && looked;
        let ripe = self.urgent || self.advanced.elapsed() >= IDLE_ADVANCE;
        let moves = self.stream.is_ahead(self.heard) && (first || ripe);
        self.urgent = false;
        if moves {
            self.stream.skip_to(self.heard);
            self.advanced = Instant::now();
        }
        moves || first
    }

    /// Waits for the server, the runtime, or the time to look after something.
    async fn wait(&mut self, out: &Emitter) -> Result<()> {
        let mut pause = TEND_EVERY.saturating_sub(self.tended.elapsed());
        if self.stream.is_ahead(self.heard) {
            pause = pause.min(IDLE_ADVANCE.saturating_sub(self.advanced.elapsed()));
        }
        if self.wants_chunk() {
            pause = pause.min(self.chunk_at.saturating_duration_since(Instant::now()));
        }
        tokio::select! {
            slab = self.streaming.next() => self.slab = slab?,
            control = out.control() => self.obey(control),
            () = tokio::time::sleep(pause) => {
                if self.tended.elapsed() >= TEND_EVERY {
                    self.tended = Instant::now();
                    self.tend().await?;
                }
            }
        }
        Ok(())
    }

    fn obey(&mut self, control: Control) {
        match control {
            Control::Backfill { table, filter } => {
                let known = self
                    .stream
                    .tables
                    .iter()
                    .position(|known| known.name == table);
                match known {
                    Some(known) => self.stream.read_part(known, filter),
                    None => {
                        tracing::warn!(%table, known = ?self.source.tables, "no flow reads the table that was to be read again");
                    }
                }
            }
            other => tracing::warn!(?other, "the postgres source cannot do what was asked"),
        }
    }

    /// Sees to it that the publication still tells of every table: one that was dropped and made anew is not in it.
    async fn tend(&mut self) -> Result<()> {
        let name = self.source.config.publication(&self.source.system);
        let version = self.version;
        let found = publication::look(self.side().await?, &name, version).await;
        let Some(found) = self.beside(found)? else {
            return Err(Error::config(format!("publication `{name}` was dropped"))
                .help("start again: it is made anew where the role may, and the tables are read again"));
        };
        if let Some(table) = found.missing(&self.stream.tables).first() {
            let table = &self.stream.tables[*table];
            // The next run adds it and reads the table again.
            return Err(Error::transient(format!(
                "publication `{name}` lacks table `{}`",
                table.name
            ))
            .help(publication::add(&name, std::iter::once(table))));
        }
        for table in 0..self.stream.tables.len() {
            if self.stream.tables[table].partitioned {
                // Nothing in the stream tells what becomes of a single partition.
                self.look(table).await?;
            }
            self.compare(table, &found).await?;
        }
        Ok(())
    }

    /// Has a table read again that left the publication and came back, or is another one of the same name.
    async fn compare(&mut self, table: usize, told: &Publication) -> Result<()> {
        let captured = &self.stream.tables[table];
        let now = told.stamp(captured);
        let known = &self.stream.reading.cursor.known;
        if known.get(&captured.name) == Some(&now) {
            return Ok(());
        }
        let was = known.get(&captured.name).cloned();
        self.look(table).await?;
        let captured = &self.stream.tables[table];
        let now = told.stamp(captured);
        let since = was.map_or(Since::Nothing, |was| was.since(&now, captured));
        // The others are noticed where the stream describes the table, or were just now.
        if since == Since::Untold {
            self.stream.mend(table, since);
        }
        let name = self.stream.tables[table].name.clone();
        self.stream.reading.cursor.known.insert(name, now);
        Ok(())
    }

    /// Looks at a table again. A migration may take several transactions, so what does not fit gets a while to settle.
    async fn look(&mut self, table: usize) -> Result<()> {
        let patience = Instant::now() + MIGRATION_MAX;
        loop {
            match self.looked(table).await {
                Ok(newer) => {
                    self.stream.replace(table, newer);
                    return Ok(());
                }
                Err(error) if error.kind() == Kind::Config && Instant::now() < patience => {
                    tokio::time::sleep(MIGRATION_POLL).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn looked(&self, table: usize) -> Result<Captured> {
        let known = &self.stream.tables[table];
        let mut lease = self.source.client.begin("SELECT 1").await?;
        let found = catalog::table(lease.conn(), &known.name).await?;
        let mut newer = Captured::of(&found, known.reads.clone())?;
        lease.keep();
        newer.outbox = known.outbox;
        newer.narrow = known.narrow;
        known.still_fits(&newer)?;
        Ok(newer)
    }

    /// The connection for SQL.
    async fn side(&mut self) -> Result<&mut Connection> {
        let side = match self.side.take() {
            Some(side) => side,
            None => {
                Connection::open(&self.source.endpoint, &self.application, Purpose::Sql).await?
            }
        };
        Ok(self.side.insert(side))
    }

    /// A connection on which something failed is in the middle of something.
    fn beside<T>(&mut self, outcome: Result<T>) -> Result<T> {
        if outcome.is_err() {
            self.side = None;
        }
        outcome
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

/// Why the server ended the stream.
fn ended(refusal: Refusal, life: &str) -> Error {
    let state = refusal.state.clone();
    let error = refusal.into_error();
    match state.as_str() {
        // The plug-in looks for its publication as it stood at the time of each change.
        UNDEFINED => Error::config("changes are lost: the publication did not exist when they were written, or was dropped since")
            .because(error)
            .with("life", life)
            .help(format!(
                "nothing is skipped silently: to accept the gap, set `accept_gap_of = \"{life}\"` for the system; a new life then begins with a new slot and a snapshot, and `lockstep verify` names the deletes that fell into the gap"
            )),
        _ => error,
    }
}
