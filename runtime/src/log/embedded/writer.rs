//! The writer: one thread, one connection, every change to the file.
//!
//! **Group commit.** Whatever waits when the writer comes round goes into one transaction with one fsync; answers leave after the commit, never before.
//! **Back-pressure.** A task needs room in the queue before it is queued, by its bytes ([`QUEUE_KIB`]); who publishes faster than the disk writes waits, asynchronously.
//! **Failure.** A failed group is rolled back whole and its tasks are tried one by one, so that one task that cannot be stored (the disk is full) does not fail its neighbours.
//!
//! It does not know what tasks do; those stand in [`append`](super::append), [`trim`], [`consumer`](super::consumer) and [`bucket`](super::bucket).

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::fault::FaultPlan;
use super::lock::Lock;
use super::stage::Stage;
use super::state::Stream;
use super::{file, trim};
use crate::log::{LogError, PublishError, Result};

/// Most that may wait for the writer, in KiB; a task counts at least one.
const QUEUE_KIB: usize = 64 * 1024;
/// A group is closed once its tasks hold this many KiB.
const GROUP_KIB: usize = 16 * 1024;
/// Most tasks of a group.
const GROUP_TASKS: usize = 1024;
/// How long the writer leaves ageing messages alone after a failed attempt to remove them.
const UPKEEP_PAUSE_US: i64 = 1_000_000;

/// Why a task was not done, or may not have been.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The log is closed.
    Closed,
    /// Nothing was stored.
    NotStored(LogError),
    /// The commit itself failed: what it wrote may come to light after a crash.
    Unknown(String),
}

impl From<Failure> for LogError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Closed => Self::Closed,
            Failure::NotStored(error) => error,
            Failure::Unknown(reason) => Self::Storage(reason),
        }
    }
}

impl From<Failure> for PublishError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unknown(reason) => Self::Unknown(reason),
            Failure::Closed => Self::Storage(LogError::Closed.to_string()),
            Failure::NotStored(LogError::Storage(reason)) => Self::Storage(reason),
            Failure::NotStored(error) => Self::Storage(error.to_string()),
        }
    }
}

/// What tasks see of the transaction they share.
pub(super) struct Group<'a> {
    pub(super) conn: &'a Connection,
    /// The time of the group, in microseconds.
    pub(super) now: i64,
    stages: HashMap<i64, Stage>,
    after: Vec<Box<dyn FnOnce() + Send>>,
}

impl Group<'_> {
    /// The state of a stream inside the transaction.
    pub(super) fn stage(&mut self, stream: &Arc<Stream>) -> &mut Stage {
        self.stages
            .entry(stream.id)
            .or_insert_with(|| Stage::new(stream))
    }

    /// Does something once the transaction is committed, before anybody is answered.
    pub(super) fn after(&mut self, action: impl FnOnce() + Send + 'static) {
        self.after.push(Box::new(action));
    }
}

/// The writer as the rest of the log sees it.
#[derive(Debug)]
pub(super) struct Writer {
    orders: Sender<Order>,
    room: Arc<Semaphore>,
}

enum Order {
    Work(Box<dyn Work>),
    Stop {
        crash: bool,
        done: oneshot::Sender<Result<()>>,
    },
}

trait Work: Send {
    fn kib(&self) -> usize;
    /// May be called again when the transaction it ran in was rolled back.
    fn run(&mut self, group: &mut Group<'_>) -> rusqlite::Result<()>;
    fn answer(self: Box<Self>, verdict: Result<(), Failure>);
}

struct Task<T, F> {
    work: F,
    out: Option<T>,
    reply: oneshot::Sender<Result<T, Failure>>,
    room: OwnedSemaphorePermit,
}

impl<T: Send, F> Work for Task<T, F>
where
    F: FnMut(&mut Group<'_>) -> rusqlite::Result<T> + Send,
{
    fn kib(&self) -> usize {
        self.room.num_permits()
    }

    fn run(&mut self, group: &mut Group<'_>) -> rusqlite::Result<()> {
        self.out = Some((self.work)(group)?);
        Ok(())
    }

    fn answer(self: Box<Self>, verdict: Result<(), Failure>) {
        let answer = match (verdict, self.out) {
            (Ok(()), Some(out)) => Ok(out),
            (Ok(()), None) => Err(Failure::Closed),
            (Err(failure), _) => Err(failure),
        };
        // Whoever asked may have gone; what was stored stays stored.
        let _ = self.reply.send(answer);
    }
}

impl Writer {
    /// Starts the thread; it owns the lock from here on.
    pub(super) fn start(
        path: PathBuf,
        conn: Connection,
        lock: Lock,
        streams: Vec<Arc<Stream>>,
        faults: FaultPlan,
    ) -> Result<Self> {
        let (orders, receiver) = channel();
        let mut books = HashMap::new();
        for stream in streams {
            let due =
                trim::next_due(&conn, &stream).map_err(|error| file::failure(&path, &error))?;
            books.insert(stream.id, Book::new(stream, due));
        }
        let thread = Thread {
            path,
            conn,
            lock,
            books,
            faults,
            upkeep_after: 0,
        };
        std::thread::Builder::new()
            .name("lockstep-log".to_owned())
            .spawn(move || thread.run(receiver))
            .map_err(|error| {
                LogError::Storage(format!("cannot start the writer's thread: {error}"))
            })?;
        Ok(Self {
            orders,
            room: Arc::new(Semaphore::new(QUEUE_KIB)),
        })
    }

    /// Waits for room, then for the commit of what `work` does.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnMut(&mut Group<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let room = self.room(bytes).await?;
        self.post(room, work)?.await.unwrap_or(Err(Failure::Closed))
    }

    /// Waits for room in the queue.
    pub(super) async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Failure> {
        let kib = (bytes / 1024 + 1).min(QUEUE_KIB);
        let room = Arc::clone(&self.room);
        room.acquire_many_owned(u32::try_from(kib).unwrap_or(u32::MAX))
            .await
            .map_err(|_| Failure::Closed)
    }

    /// Queues work; the answer comes after its commit.
    pub(super) fn post<T: Send + 'static>(
        &self,
        room: OwnedSemaphorePermit,
        work: impl FnMut(&mut Group<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, Failure>>, Failure> {
        let (reply, answer) = oneshot::channel();
        let task = Task {
            work,
            out: None,
            reply,
            room,
        };
        self.orders
            .send(Order::Work(Box::new(task)))
            .map_err(|_| Failure::Closed)?;
        Ok(answer)
    }

    /// Does what is queued, then stops: properly, or as a crash would.
    pub(super) async fn stop(&self, crash: bool) -> Result<()> {
        let (done, stopped) = oneshot::channel();
        let sent = self.orders.send(Order::Stop { crash, done });
        self.room.close();
        match sent {
            Ok(()) => stopped.await.unwrap_or(Ok(())),
            // Somebody else stopped it.
            Err(_) => Ok(()),
        }
    }
}

/// What the thread keeps per stream beside the committed state.
struct Book {
    stream: Arc<Stream>,
    /// Subjects whose counters the file does not have yet.
    unsaved: HashSet<u32>,
    /// When something may have to be removed.
    due: i64,
}

impl Book {
    fn new(stream: Arc<Stream>, due: i64) -> Self {
        Self {
            stream,
            unsaved: HashSet::new(),
            due,
        }
    }
}

struct Thread {
    path: PathBuf,
    conn: Connection,
    lock: Lock,
    books: HashMap<i64, Book>,
    faults: FaultPlan,
    upkeep_after: i64,
}

impl Thread {
    fn run(mut self, orders: Receiver<Order>) {
        loop {
            let first = match self.idle() {
                Some(wait) => orders.recv_timeout(wait),
                None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let mut tasks = Vec::new();
            let mut stop = None;
            match first {
                Ok(order) => collect(&orders, order, &mut tasks, &mut stop),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    if let Err(error) = self.close() {
                        tracing::warn!(log = %self.path.display(), %error, "the log was not closed properly");
                    }
                    return;
                }
            }
            self.serve(tasks);
            if let Some((crash, done)) = stop {
                let outcome = if crash { Ok(()) } else { self.close() };
                drop(orders);
                // The lock and the connection are gone before anybody hears of it.
                drop(self);
                let _ = done.send(outcome);
                return;
            }
        }
    }

    /// How long nothing is due; forever if absent.
    fn idle(&self) -> Option<Duration> {
        let due = self.books.values().map(|book| book.due).min()?;
        if due == i64::MAX {
            return None;
        }
        let wait = due.max(self.upkeep_after).saturating_sub(now());
        Some(Duration::from_micros(u64::try_from(wait).unwrap_or(0)))
    }

    fn serve(&mut self, mut tasks: Vec<Box<dyn Work>>) {
        let due = self.is_due();
        let verdict = self.attempt(&mut tasks, due);
        match verdict {
            Err(Failure::NotStored(error)) if tasks.len() > 1 || due => {
                if due {
                    tracing::warn!(log = %self.path.display(), %error, "a commit failed, removing old messages is put off");
                    self.upkeep_after = now() + UPKEEP_PAUSE_US;
                }
                for task in tasks {
                    let mut alone = vec![task];
                    let verdict = self.attempt(&mut alone, false);
                    answer(alone, &verdict);
                }
            }
            verdict => answer(tasks, &verdict),
        }
    }

    fn is_due(&self) -> bool {
        let now = now();
        now >= self.upkeep_after && self.books.values().any(|book| book.due <= now)
    }

    /// Runs tasks in one transaction.
    fn attempt(&mut self, tasks: &mut [Box<dyn Work>], upkeep: bool) -> Result<(), Failure> {
        let outcome = self.transact(tasks, upkeep);
        if outcome.is_err() && !self.conn.is_autocommit() {
            // If this fails too, the next "begin" says so.
            let _ = self.conn.execute_batch("rollback");
        }
        outcome
    }

    fn transact(&mut self, tasks: &mut [Box<dyn Work>], upkeep: bool) -> Result<(), Failure> {
        let conn = &self.conn;
        let not_stored = |error: rusqlite::Error| {
            if error.sqlite_error_code() == Some(ErrorCode::DiskFull) {
                // The write-ahead log may hold space that the database could use.
                let _ = conn
                    .execute_batch("rollback")
                    .and_then(|()| file::checkpoint(conn));
            }
            Failure::NotStored(file::failure(&self.path, &error))
        };
        conn.execute_batch("begin immediate").map_err(not_stored)?;
        let mut group = Group {
            conn,
            now: now(),
            stages: HashMap::new(),
            after: Vec::new(),
        };
        let mut dues = Vec::new();
        if upkeep {
            dues = remove_due(&mut group, &self.books).map_err(not_stored)?;
        }
        for task in tasks.iter_mut() {
            task.run(&mut group).map_err(not_stored)?;
        }
        let none = HashSet::new();
        for stage in group.stages.values_mut() {
            let unsaved = self
                .books
                .get(&stage.stream.id)
                .map_or(&none, |book| &book.unsaved);
            stage.finish(conn, unsaved).map_err(not_stored)?;
        }
        let delay = self.faults.commit_delay();
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        if self.faults.commit_fails() {
            return Err(Failure::NotStored(LogError::Storage(
                "a fault was asked for".into(),
            )));
        }
        conn.execute_batch("commit")
            .map_err(|error| match error.sqlite_error_code() {
                Some(ErrorCode::SystemIoFailure) => Failure::Unknown(error.to_string()),
                _ => not_stored(error),
            })?;
        let Group { stages, after, .. } = group;
        self.settle(stages, dues);
        for action in after {
            action();
        }
        Ok(())
    }

    /// Makes the transaction's view the committed one.
    fn settle(&mut self, stages: HashMap<i64, Stage>, dues: Vec<(i64, i64)>) {
        for (id, due) in dues {
            if let Some(book) = self.books.get_mut(&id) {
                book.due = due;
            }
        }
        for (id, stage) in stages {
            let book = self
                .books
                .entry(id)
                .or_insert_with(|| Book::new(Arc::clone(&stage.stream), i64::MAX));
            book.due = book.due.min(stage.due);
            stage.commit(&mut book.unsaved);
        }
    }

    /// Saves every counter, empties the write-ahead log and says in the lock file that all is well.
    fn close(&mut self) -> Result<()> {
        let failed = |error| file::failure(&self.path, &error);
        let transaction = self.conn.unchecked_transaction().map_err(failed)?;
        for book in self.books.values() {
            let mut stage = Stage::new(&book.stream);
            stage.save = stage.head.last > stage.head.saved || !book.unsaved.is_empty();
            stage.finish(&self.conn, &book.unsaved).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        file::checkpoint(&self.conn).map_err(failed)?;
        self.lock
            .clean()
            .map_err(|error| LogError::Storage(format!("cannot release the log's lock: {error}")))
    }
}

/// Takes what waits behind the first order, up to the limits of a group.
fn collect(
    orders: &Receiver<Order>,
    first: Order,
    tasks: &mut Vec<Box<dyn Work>>,
    stop: &mut Option<(bool, oneshot::Sender<Result<()>>)>,
) {
    let mut kib = 0;
    let mut next = Some(first);
    while let Some(order) = next {
        match order {
            Order::Work(task) => {
                kib += task.kib();
                tasks.push(task);
            }
            Order::Stop { crash, done } => {
                *stop = Some((crash, done));
                return;
            }
        }
        if kib >= GROUP_KIB || tasks.len() >= GROUP_TASKS {
            return;
        }
        next = orders.try_recv().ok();
    }
}

/// Removes a step of what is due from each stream; gives when each is due again.
fn remove_due(
    group: &mut Group<'_>,
    books: &HashMap<i64, Book>,
) -> rusqlite::Result<Vec<(i64, i64)>> {
    let (conn, now) = (group.conn, group.now);
    let mut dues = Vec::new();
    for (id, book) in books.iter().filter(|(_, book)| book.due <= now) {
        let full = trim::step(conn, group.stage(&book.stream), now)?;
        dues.push((
            *id,
            if full {
                now
            } else {
                trim::next_due(conn, &book.stream)?
            },
        ));
    }
    Ok(dues)
}

fn answer(tasks: Vec<Box<dyn Work>>, verdict: &Result<(), Failure>) {
    for task in tasks {
        task.answer(verdict.clone());
    }
}

/// The time in microseconds.
pub(super) fn now() -> i64 {
    Timestamp::now().as_microsecond()
}
