//! The source: snapshot, then changes, by polling the change table.
//!
//! One loop: ask for room, read a step, emit it; when nothing is left, wait until SQLite says that another connection has committed.
//! All state of a run travels through that loop as a value ([`Reading`]), so dropping the run at any await loses nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_core::connector::{
    Control, Emitter, Filter, Finding, Need, News, OpenContext, Parts, Reads, Source,
};
use lockstep_core::{Error, Kind, Position, Result, Shape};
use rusqlite::{Connection, TransactionBehavior};

use crate::capture::{Capture, install};
use crate::catalog::Table;
use crate::check::{self, journal_mode};
use crate::client::{Access, Client, failure};
use crate::config::Config;
use crate::position::Reading;
use crate::resume::{backfill, begin};
use crate::step::{Bounds, Found, Step, data_version, step};

/// A quiet file is looked at no less often than this.
const IDLE_POLL_MAX: Duration = Duration::from_millis(50);
/// How long after the last change the file is still looked at as often as configured.
const BUSY_FOR: Duration = Duration::from_secs(2);
/// How long a migration may leave a table missing or odd before the run gives up.
const MIGRATION_MAX: Duration = Duration::from_secs(2);
/// How often, at most, changes that are durable downstream are forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(1);
/// How long pruning waits for a lock; it can be done another time.
const PRUNE_WAIT: Duration = Duration::from_millis(10);
/// Most rows that one pruning transaction deletes, so that nobody waits long for it.
const PRUNE_ROWS: i64 = 5000;
/// Most pruning transactions in a row.
const PRUNE_ROUNDS: usize = 20;

/// Reads a SQLite file: its tables, then every change to them.
pub struct SqliteSource {
    client: Client<()>,
    config: Config,
    system: String,
    tables: Vec<String>,
    /// What of them is wanted.
    reads: Arc<BTreeMap<String, Reads>>,
}

impl Source for SqliteSource {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        let client = Client::open(&config, &cx, Access::Write, ()).await?;
        client.call(|worker| relax(&worker.conn)).await?;
        Ok(SqliteSource {
            client,
            config,
            system: cx.system,
            tables: cx.tables,
            reads: Arc::new(cx.reads),
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        let names = self.tables.clone();
        self.client
            .call(move |worker| {
                let shape = |name: &String| {
                    let table = Table::read(&worker.conn, name)?;
                    table.must_be_capturable()?;
                    Ok(table.shape())
                };
                names.iter().map(shape).collect()
            })
            .await
    }

    async fn check(&self, _needs: &[Need]) -> Result<Vec<Finding>> {
        let (names, system) = (self.tables.clone(), self.system.clone());
        self.client
            .call(move |worker| check::source(&worker.conn, &system, &names))
            .await
    }

    async fn run(self, resume: Option<Position>, out: Emitter) -> Result<()> {
        let identity = identity(self.client.path());
        let known = resume
            .as_ref()
            .map(|position| Arc::clone(&position.incarnation));
        let (mut capture, mut reading) = self.enter(resume).await?;
        let mut care = Care::new(identity);
        // The life of the file whose beginning the runtime knows.
        let mut begun = known.filter(|life| *life == reading.incarnation);
        // The first step is told even if it found nothing: that is how the runtime knows that there was nothing.
        let mut told = false;
        let mut news = Vec::new();
        loop {
            let slot = out.room().await?;
            if begun.as_ref() != Some(&reading.incarnation) {
                slot.emit(Vec::new(), reading.position())?;
                begun = Some(reading.incarnation.clone());
                told = false;
                continue;
            }
            let found = loop {
                match self.step(&capture, reading.clone()).await? {
                    Step::Read(found)
                        if !told || !news.is_empty() || worth_telling(&found, &reading) =>
                    {
                        break Some(found);
                    }
                    Step::Read(found) => {
                        self.prune(&out, &mut care).await?;
                        if let Some((table, filter)) =
                            self.wait(&out, &mut care, found.data_version).await?
                        {
                            self.backfill(&capture, &mut reading, table, filter).await?;
                        }
                    }
                    Step::Moved | Step::Lost => {
                        let (entered, at) = self.reenter(&reading, &capture, &out).await?;
                        news.extend(reshaped(&capture, &entered));
                        (capture, reading) = (entered, at);
                        if begun.as_ref() != Some(&reading.incarnation) {
                            break None;
                        }
                    }
                }
            };
            // Another life begins by saying where.
            let Some(found) = found else { continue };
            let done = &reading.cursor.done;
            let mut parts: Parts = reading.cursor.parts.clone();
            let whole = found.reading.cursor.done.iter();
            let whole = whole.filter(|table| !done.contains(table));
            news.extend(whole.map(|table| parts.complete(table)));
            reading = found.reading;
            care.busy();
            slot.tell(found.changes, reading.position(), std::mem::take(&mut news))?;
            told = true;
            self.prune(&out, &mut care).await?;
            while let Some(Control::Backfill { table, filter }) = asked(&out).await {
                self.backfill(&capture, &mut reading, table, filter).await?;
            }
        }
    }
}

/// What the source itself writes may be lost with the machine's power: pruning is done again, and a lost stamp shows as another life.
///
/// With a write-ahead log that saves a wait for the disk at every pruning, and cannot harm the file.
fn relax(conn: &Connection) -> Result<()> {
    let failed = |error| failure("cannot set up the file", error);
    if journal_mode(conn).map_err(failed)? == "wal" {
        conn.execute_batch("PRAGMA synchronous = NORMAL")
            .map_err(failed)?;
    }
    Ok(())
}

/// The tables that have another shape than before.
fn reshaped(before: &Capture, now: &Capture) -> Vec<News> {
    let shapes = now.tables.iter().map(|table| &table.shape);
    let known = |shape: &&Arc<Shape>| before.tables.iter().any(|table| table.shape == **shape);
    shapes
        .filter(|shape| !known(shape))
        .map(|shape| News::Shape(Arc::clone(shape)))
        .collect()
}

/// What is worth a batch: changes, or a position that moved without any.
fn worth_telling(found: &Found, before: &Reading) -> bool {
    !found.changes.is_empty() || found.reading != *before
}

/// What the runtime has asked for by now.
async fn asked(out: &Emitter) -> Option<Control> {
    tokio::select! {
        biased;
        control = out.control() => Some(control),
        () = std::future::ready(()) => None,
    }
}

impl SqliteSource {
    /// Installs the capture, or finds it installed, and finds where to begin.
    async fn enter(&self, resume: Option<Position>) -> Result<(Arc<Capture>, Reading)> {
        let (system, names) = (self.system.clone(), self.tables.clone());
        let (capture, reading) = self
            .client
            .call(move |worker| {
                let conn = &mut worker.conn;
                let mut attempt = |how| enter(conn, how, &system, &names, resume.as_ref());
                // Mostly there is nothing to write, and a file under heavy writing would let nobody in for long.
                match attempt(TransactionBehavior::Deferred) {
                    Err(error) if error.kind() == Kind::Transient => {
                        attempt(TransactionBehavior::Immediate)
                    }
                    entered => entered,
                }
            })
            .await?;
        Ok((Arc::new(capture), reading))
    }

    /// Enters again after the tables changed. A migration may take several transactions, so what does not fit gets a while to settle.
    async fn reenter(
        &self,
        reading: &Reading,
        known: &Capture,
        out: &Emitter,
    ) -> Result<(Arc<Capture>, Reading)> {
        let patience = Instant::now() + MIGRATION_MAX;
        loop {
            let entered = self.enter(Some(reading.position())).await;
            let fits = entered.and_then(|entered| {
                still_fits(known, &entered.0)?;
                Ok(entered)
            });
            match fits {
                Err(error) if error.kind() == Kind::Config && Instant::now() < patience => {
                    tokio::select! {
                        biased;
                        () = out.stopped() => return Err(Error::stopped()),
                        () = tokio::time::sleep(IDLE_POLL_MAX) => {}
                    }
                }
                settled => return settled,
            }
        }
    }

    async fn step(&self, capture: &Arc<Capture>, reading: Reading) -> Result<Step> {
        let (capture, reads) = (Arc::clone(capture), Arc::clone(&self.reads));
        let bounds = Bounds {
            changes: self.config.batch_max,
            rows: self.config.chunk_rows,
            bytes: self.config.batch_bytes,
        };
        self.client
            .call(move |worker| step(&mut worker.conn, (&capture, &reads), reading, bounds))
            .await
    }

    /// Waits until another connection has committed since `seen`, or the runtime wants a table again.
    async fn wait(
        &self,
        out: &Emitter,
        care: &mut Care,
        seen: i64,
    ) -> Result<Option<(String, Option<Filter>)>> {
        loop {
            tokio::select! {
                biased;
                () = out.stopped() => return Err(Error::stopped()),
                control = out.control() => match control {
                    Control::Backfill { table, filter } => return Ok(Some((table, filter))),
                    other => tracing::warn!(?other, "the sqlite source cannot do what was asked"),
                },
                () = tokio::time::sleep(care.interval(self.config.poll())) => {}
            }
            care.same_file(self.client.path())?;
            let moved = self
                .client
                .call(move |worker| match data_version(&worker.conn) {
                    Ok(now) => Ok(now != seen),
                    // Somebody is committing this very moment, so there is something to look at.
                    Err(error) if is_busy(&error) => Ok(true),
                    Err(error) => Err(failure("cannot look for changes", error)),
                });
            if moved.await? {
                return Ok(None);
            }
            self.prune(out, care).await?;
        }
    }

    async fn backfill(
        &self,
        capture: &Capture,
        reading: &mut Reading,
        table: String,
        filter: Option<Filter>,
    ) -> Result<()> {
        if !capture
            .tables
            .iter()
            .any(|captured| captured.table.name == table)
        {
            tracing::warn!(%table, known = ?self.tables, "no flow reads the table that was to be read again");
            return Ok(());
        }
        let mut planned = reading.clone();
        *reading = self
            .client
            .call(move |worker| {
                backfill(&worker.conn, &mut planned, &table, filter)?;
                Ok(planned)
            })
            .await?;
        Ok(())
    }

    /// Forgets changes that are durable downstream, now and then.
    async fn prune(&self, out: &Emitter, care: &mut Care) -> Result<()> {
        let Some(safe) = out.safe().filter(|safe| care.may_prune(safe)) else {
            return Ok(());
        };
        let (below, busy) = (safe.clone(), self.config.busy_timeout());
        let done = self
            .client
            .call(move |worker| {
                let failed = |error| failure("cannot set up the file", error);
                worker.conn.busy_timeout(PRUNE_WAIT).map_err(failed)?;
                let done = prune(&worker.conn, &below);
                worker.conn.busy_timeout(busy).map_err(failed)?;
                done
            })
            .await?;
        care.pruned(safe, done);
        Ok(())
    }
}

fn enter(
    conn: &mut Connection,
    how: TransactionBehavior,
    system: &str,
    names: &[String],
    resume: Option<&Position>,
) -> Result<(Capture, Reading)> {
    let failed = |error| failure("cannot write to the file", error);
    let tx = conn.transaction_with_behavior(how).map_err(failed)?;
    let mut capture = install(&tx, system, names)?;
    let reading = begin(&tx, &mut capture, system, resume)?;
    tx.commit().map_err(failed)?;
    Ok((capture, reading))
}

/// What a run looks after beside reading.
struct Care {
    /// What told the file from another one of its name when it was opened.
    identity: Option<(u64, u64)>,
    active: Instant,
    prune_at: Instant,
    pruned: Option<Position>,
}

impl Care {
    fn new(identity: Option<(u64, u64)>) -> Self {
        Care {
            identity,
            active: Instant::now(),
            prune_at: Instant::now() + PRUNE_EVERY,
            pruned: None,
        }
    }

    fn busy(&mut self) {
        self.active = Instant::now();
    }

    /// The configured interval while there is something to do, then ever longer ones.
    fn interval(&self, poll: Duration) -> Duration {
        let quiet = self.active.elapsed().saturating_sub(BUSY_FOR);
        // After a second of quiet beyond that the longest interval is reached.
        let longer = quiet.mul_f64(0.05).min(IDLE_POLL_MAX);
        poll.max(longer)
    }

    fn may_prune(&self, safe: &Position) -> bool {
        Instant::now() >= self.prune_at && self.pruned.as_ref() != Some(safe)
    }

    fn pruned(&mut self, safe: Position, done: bool) {
        if done {
            self.pruned = Some(safe);
            self.prune_at = Instant::now() + PRUNE_EVERY;
        }
    }

    /// Notices that another file took the place of the one that is open.
    fn same_file(&self, path: &Path) -> Result<()> {
        if identity(path) == self.identity {
            return Ok(());
        }
        Err(Error::transient("the database file was replaced or removed while it was read")
            .with("path", path.display())
            .help("the source opens the file anew; to restore a backup without this, stop Lockstep first"))
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> Option<(u64, u64)> {
    path.exists().then_some((0, 0))
}

fn is_busy(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    matches!(
        error.sqlite_error_code(),
        Some(DatabaseBusy | DatabaseLocked)
    )
}

/// Deletes what is safe, without the last row, by which a later run knows that the file is still the one that was read. Gives whether all of it is gone.
fn prune(conn: &Connection, safe: &Position) -> Result<bool> {
    let round = || {
        conn.prepare_cached(
            "DELETE FROM _lockstep_changes WHERE seq < ?1 AND seq < (SELECT min(seq) FROM _lockstep_changes) + ?2 AND EXISTS (SELECT 1 FROM _lockstep_source WHERE incarnation = ?3)",
        )?
        .execute(rusqlite::params![safe.commit.cast_signed(), PRUNE_ROWS, &*safe.incarnation])
    };
    for _ in 0..PRUNE_ROUNDS {
        match round() {
            Ok(deleted) if deleted < PRUNE_ROWS.unsigned_abs() as usize => return Ok(true),
            Ok(_) => {}
            // Pruning can wait; the business system cannot.
            Err(error) if is_busy(&error) => return Ok(true),
            Err(error) => return Err(failure("cannot prune the change table", error)),
        }
    }
    Ok(false)
}

/// A run's rows are mapped by column position, so columns may be added behind the known ones, and nothing else may change under it.
fn still_fits(before: &Capture, now: &Capture) -> Result<()> {
    for (old, new) in before.tables.iter().zip(&now.tables) {
        let known = &old.shape.columns;
        if new.shape.columns.get(..known.len()) != Some(known) || new.shape.key != old.shape.key {
            let list = |shape: &Shape| shape.names().collect::<Vec<_>>().join(", ");
            return Err(Error::config(format!(
                "the columns of table `{}` changed while it was read",
                new.shape.name
            ))
            .with("were", list(&old.shape))
            .with("are", list(&new.shape))
            .code(lockstep_core::contract::drift::BREAKING)
            .help("check the mapping of the table, then start again"));
        }
    }
    Ok(())
}
