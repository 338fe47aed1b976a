//! The source: a snapshot of each table, then every change, from the binary log.
//!
//! One loop: ask for room, gather what the server has sent, emit it with the position after it.
//! What is in hand travels in [`Stream`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use jiff::Timestamp;
use lockstep_core::connector::{Control, Emitter, Finding, Need, OpenContext, Reads, Source};
use lockstep_core::{Error, Kind, Position, Result, Shape};
use mysql_async::BinlogStream;
use mysql_async::binlog::events::Event;

use crate::binlog::Header;
use crate::catalog;
use crate::client::{Client, Lease, failure};
use crate::config::Config;
use crate::enter::{Entered, enter, lost_at};
use crate::position::Place;
use crate::readiness;
use crate::snapshot::{self, Plan};
use crate::stream::{Ask, Stream};
use crate::tables::Captured;

/// How often a position that moved over nothing of ours is told.
const IDLE_ADVANCE: Duration = Duration::from_secs(1);
/// How long the server may be silent, beyond some of its heartbeats, until it counts as gone.
const SILENCE_MIN: Duration = Duration::from_secs(20);
/// How long a migration may leave a table missing or odd before the run gives up.
const MIGRATION_MAX: Duration = Duration::from_secs(2);
/// How often a table is looked at meanwhile.
const MIGRATION_POLL: Duration = Duration::from_millis(50);
/// How long to wait at first, and at most, before a chunk that came too early is read again; a lock is given the longer time at once.
const CHUNK_PAUSE: Duration = Duration::from_millis(5);
const CHUNK_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often in a row a chunk may fail.
const CHUNK_FAILURES_MAX: u32 = 3;
/// How many rows the first chunk of a table reads at most; later ones follow from how wide they were.
const FIRST_ROWS: usize = 1000;
/// The event by which a server describes the others.
const DESCRIPTION: u8 = 15;
/// How long the server may have nothing ready before what was gathered is emitted.
const LULL: Duration = Duration::from_millis(1);

/// Reads a MySQL or MariaDB database: its tables, then every change to them.
pub struct MysqlSource {
    client: Client,
    config: Config,
    system: String,
    tables: Vec<String>,
    /// What of them is wanted.
    reads: BTreeMap<String, Reads>,
}

impl Source for MysqlSource {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        Ok(MysqlSource {
            client: Client::open(&config, &cx).await?,
            config,
            system: cx.system,
            tables: cx.tables,
            reads: cx.reads,
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        let captured = self.captured().await?;
        Ok(captured.into_iter().map(|table| table.shape).collect())
    }

    async fn check(&self, needs: &[Need]) -> Result<Vec<Finding>> {
        // The log tells whole rows, so a delete tells whatever is needed.
        let _ = needs;
        let mut lease = self.client.begin("DO 0").await?;
        let mut tables = Vec::new();
        for name in &self.tables {
            tables
                .push(catalog::table(lease.conn(), name, &self.client.endpoint().database).await?);
        }
        let findings = readiness::check(
            lease.conn(),
            &self.client,
            &self.config,
            &self.system,
            &tables,
        )
        .await?;
        lease.keep();
        Ok(findings)
    }

    async fn run(self, resume: Option<Position>, out: Emitter) -> Result<()> {
        tokio::select! {
            biased;
            () = out.stopped() => Err(Error::stopped()),
            ended = self.session(resume, &out) => ended,
        }
    }
}

impl MysqlSource {
    async fn session(&self, resume: Option<Position>, out: &Emitter) -> Result<()> {
        let tables = self.captured().await?;
        let entered = enter(
            &self.client,
            &self.config,
            &self.system,
            &tables,
            resume.as_ref(),
        );
        let Entered {
            streaming,
            reading,
            target,
            begins,
        } = entered.await?;
        let told = reading.cursor.place();
        let mut run = Run {
            source: self,
            sides: None,
            rows: FIRST_ROWS.min(self.config.snapshot_rows),
            chunk_at: Instant::now(),
            chunk_pause: CHUNK_PAUSE,
            stream: Stream::new(tables, reading, self.client.server().case),
            streaming,
            target,
            described: false,
            spoken: false,
            told,
            advanced: Instant::now(),
        };
        if begins {
            out.emit(Vec::new(), run.stream.reading.position()).await?;
        }
        run.pump(out).await
    }

    /// What the catalog says of the tables.
    async fn captured(&self) -> Result<Vec<Captured>> {
        let mut lease = self.client.begin("DO 0").await?;
        let mut captured = Vec::with_capacity(self.tables.len());
        for name in &self.tables {
            let table =
                catalog::table(lease.conn(), name, &self.client.endpoint().database).await?;
            let reads = self.reads.get(&table.spelled).cloned().unwrap_or_default();
            captured.push(Captured::of(&table, reads)?);
        }
        lease.keep();
        Ok(captured)
    }

    /// After how much silence the server counts as gone.
    fn silence_max(&self) -> Duration {
        Duration::from_millis(self.config.heartbeat_ms.saturating_mul(5)).max(SILENCE_MIN)
    }
}

/// A run under way.
struct Run<'s> {
    source: &'s MysqlSource,
    streaming: BinlogStream,
    stream: Stream,
    /// For SQL beside the stream; opened when it is needed.
    sides: Option<(Lease, Lease)>,
    /// Most rows of the next chunk.
    rows: usize,
    /// Before this no chunk is read.
    chunk_at: Instant,
    /// How long to wait when the next one comes too early.
    chunk_pause: Duration,
    /// Where the server's log ended when the run began: once that is reached, the system has been looked at.
    target: Place,
    /// Whether the server has described its events, so that the driver knows which of them end with a checksum.
    described: bool,
    /// Whether anything was emitted since the beginning.
    spoken: bool,
    /// The last place that was told.
    told: Place,
    advanced: Instant,
}

impl Run<'_> {
    async fn pump(&mut self, out: &Emitter) -> Result<()> {
        loop {
            let slot = out.room().await?;
            self.gather(out).await?;
            let changes = self.stream.batch();
            let news = std::mem::take(&mut self.stream.news);
            slot.tell(changes, self.stream.reading.position(), news)?;
            self.told = self.stream.reading.cursor.place();
            self.advanced = Instant::now();
            self.spoken = true;
        }
    }

    /// Reads until there is something to emit: a batch, or a position that is worth telling.
    async fn gather(&mut self, out: &Emitter) -> Result<()> {
        let config = &self.source.config;
        let (changes_max, bytes_max) = (config.batch_max, config.batch_bytes);
        while let Some(control) = asked(out).await {
            self.obey(control);
        }
        loop {
            if self.stream.is_waiting() {
                self.stream.tell(changes_max, bytes_max, Timestamp::now());
                // What ends a snapshot is told even where it holds no row.
                if self.stream.is_waiting() || !self.stream.batch.is_empty() {
                    if self.stream.batch.len() >= changes_max
                        || self.stream.bytes >= bytes_max
                        || self.stream.is_waiting()
                    {
                        return Ok(());
                    }
                } else {
                    return Ok(());
                }
            }
            if self.stream.batch.len() >= changes_max || self.stream.bytes >= bytes_max {
                return Ok(());
            }
            // Somebody waits for what is gathered: a server that has nothing more to say at once is not waited for.
            if !self.stream.batch.is_empty() {
                match tokio::time::timeout(LULL, self.streaming.next()).await {
                    Ok(event) => self.event(event).await?,
                    Err(_) => return Ok(()),
                }
                continue;
            }
            if self.is_worth_telling() {
                return Ok(());
            }
            if self.chunk().await? {
                continue;
            }
            self.wait(out).await?;
        }
    }

    /// Takes one event of the server.
    async fn event(&mut self, event: Option<mysql_async::Result<Event>>) -> Result<()> {
        let event = match event {
            Some(Ok(event)) => event,
            Some(Err(error)) => return Err(self.ended(error)),
            None => {
                return Err(Error::transient("the server ended the stream of its binary log")
                    .help("it is tried again; the server may be shutting down, or another reader bears the same `server_id`"));
            }
        };
        whole(&event)?;
        let header = header(&event);
        self.described |= header.kind == DESCRIPTION;
        let body = if self.described {
            event.data()
        } else {
            header.without_checksum(event.data())
        };
        if let Ask::Look(tables) = self.stream.take(&header, body)? {
            for table in tables {
                self.look(table).await?;
            }
        }
        Ok(())
    }

    fn ended(&self, error: mysql_async::Error) -> Error {
        let code = crate::client::code(&error);
        let error = failure("the stream of the binary log ended", error);
        if code == 1236 {
            return lost_at(&self.stream.reading, error);
        }
        match error.kind() {
            Kind::Unexpected => {
                Error::transient("the stream of the binary log ended").because(error)
            }
            _ => error,
        }
    }

    /// Whether a position without changes is worth a batch; moves to it.
    fn is_worth_telling(&mut self) -> bool {
        let looked = self.stream.end() >= self.target;
        let first = !self.spoken && looked;
        let ripe = self.advanced.elapsed() >= IDLE_ADVANCE;
        let moves = self.stream.is_ahead(self.told) && (first || ripe);
        if moves {
            self.stream.skip();
        }
        moves || first
    }

    /// Waits for the server, the runtime, or the time to look after something.
    async fn wait(&mut self, out: &Emitter) -> Result<()> {
        let silence = self.source.silence_max();
        let mut pause = silence;
        if self.stream.is_ahead(self.told) {
            pause = pause.min(IDLE_ADVANCE.saturating_sub(self.advanced.elapsed()));
        }
        if self.wants_chunk() {
            pause = pause.min(self.chunk_at.saturating_duration_since(Instant::now()));
        }
        tokio::select! {
            event = self.streaming.next() => self.event(event).await,
            control = out.control() => {
                self.obey(control);
                Ok(())
            }
            () = tokio::time::sleep(pause) => {
                if pause == silence {
                    return Err(Error::transient(format!("the server has been silent for {} s", silence.as_secs()))
                        .help("the connection is opened anew; look at the network between here and the server"));
                }
                Ok(())
            }
        }
    }

    fn obey(&mut self, control: Control) {
        match control {
            Control::Backfill { table, filter } => {
                let known = self
                    .stream
                    .tables
                    .iter()
                    .position(|known| known.spelled == table);
                match known {
                    Some(known) => self.stream.read_part(known, filter),
                    None => {
                        tracing::warn!(%table, known = ?self.source.tables, "no flow reads the table that was to be read again");
                    }
                }
            }
            other => tracing::warn!(?other, "the mysql source cannot do what was asked"),
        }
    }

    fn wants_chunk(&self) -> bool {
        self.stream.chunk.is_none()
            && !self.stream.is_waiting()
            && !self.stream.is_inside()
            && !self.stream.reading.cursor.todo.is_empty()
    }

    /// Reads the next chunk of a snapshot, if one is under way and none waits for its place; gives whether there is one now.
    async fn chunk(&mut self) -> Result<bool> {
        if !self.wants_chunk() || Instant::now() < self.chunk_at {
            return Ok(false);
        }
        let config = &self.source.config;
        let mut failures = 0;
        loop {
            let cursor = &self.stream.reading.cursor;
            let first = cursor.todo.first();
            let Some(table) =
                first.and_then(|name| self.stream.tables.iter().position(|t| t.spelled == *name))
            else {
                return Ok(false);
            };
            let captured = &self.stream.tables[table];
            let plan = Plan {
                table,
                filter: cursor
                    .parts
                    .wanted(&captured.spelled, &captured.reads, &captured.shape),
                after: cursor.after.clone(),
                rows: self.rows,
                bytes: config.batch_bytes,
            };
            let read = self.read(&plan).await;
            match read {
                Ok(chunk) if self.stream.told_more_than(&chunk) => {
                    self.chunk_at = Instant::now() + self.chunk_pause;
                    self.chunk_pause = (self.chunk_pause * 2).min(CHUNK_PAUSE_MAX);
                    return Ok(false);
                }
                Ok(chunk) => {
                    self.chunk_pause = CHUNK_PAUSE;
                    self.rows =
                        snapshot::next_rows(&chunk, config.batch_bytes, config.snapshot_rows);
                    self.stream.chunk = Some(chunk);
                    self.stream.settle();
                    return Ok(true);
                }
                // A migration holds or has just changed the table; meanwhile the stream goes on.
                Err(error) if error.kind() == Kind::Transient && failures < CHUNK_FAILURES_MAX => {
                    tracing::warn!(error = error.chain(), "the table's snapshot waits");
                    self.chunk_at = Instant::now() + CHUNK_PAUSE_MAX;
                    return Ok(false);
                }
                Err(error) if error.kind() == Kind::Config && failures < CHUNK_FAILURES_MAX => {
                    failures += 1;
                    self.look(table).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn read(&mut self, plan: &Plan) -> Result<snapshot::Chunk> {
        let client = &self.source.client;
        let (mut conn, mut locks) = match self.sides.take() {
            Some(sides) => sides,
            None => (client.side().await?, client.side().await?),
        };
        let table = &self.stream.tables[plan.table];
        let chunk = snapshot::read(conn.conn(), locks.conn(), client.server(), plan, table).await?;
        // One on which something failed is in the middle of something.
        self.sides = Some((conn, locks));
        Ok(chunk)
    }

    /// Looks at a table again. A migration may take several statements, so what does not fit gets a while to settle.
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
        let client = &self.source.client;
        let mut lease = client.begin("DO 0").await?;
        let newer =
            catalog::table(lease.conn(), &known.spelled, &client.endpoint().database).await?;
        let newer = Captured::of(&newer, known.reads.clone())?;
        lease.keep();
        known.still_fits(&newer)?;
        Ok(newer)
    }
}

/// What precedes an event.
fn header(event: &Event) -> Header {
    let header = event.header();
    Header {
        at: header.timestamp(),
        kind: header.event_type_raw(),
        server: header.server_id(),
        size: header.event_size(),
        end: header.log_pos(),
        flags: header.flags_raw(),
    }
}

/// Refuses an event whose checksum is wrong.
fn whole(event: &Event) -> Result<()> {
    let algorithm = event.footer().get_checksum_alg().ok().flatten();
    if let (Some(sum), Some(algorithm)) = (event.checksum(), algorithm)
        && event.header().event_type_raw() != DESCRIPTION
        && event.calc_checksum(algorithm) != u32::from_le_bytes(sum)
    {
        return Err(
            Error::transient("an event of the binary log was damaged on its way")
                .with("end", event.header().log_pos())
                .help("it is read again; if it comes again, the server's file is damaged"),
        );
    }
    Ok(())
}

/// What the runtime has asked for by now.
async fn asked(out: &Emitter) -> Option<Control> {
    tokio::select! {
        biased;
        control = out.control() => Some(control),
        () = std::future::ready(()) => None,
    }
}
