//! The embedded engine: one SQLite file, one process.
//!
//! A change to the file is a task for the writer's thread, which commits whatever waits in one transaction with one fsync; reads go to a few connections of their own (`reader`).
//! No asynchronous thread ever waits for the disk.
//!
//! # Promises beside those of [`Log`]
//! - One runtime at a time: a lock file beside the database, released when its holder dies ([`LogError::InUse`] names it).
//! - Damage is told, never panicked over or read as if it were sound: each message, subject and entry carries a checksum (the module `file` says where else damage is looked for).
//! - A full disk refuses publishes ([`PublishError::Storage`]) and loses nothing that was acknowledged; the log goes on when there is room again.
//! - Dropping a publish does not take it back: what was handed over is stored.
//!
//! A subject of which nothing is kept any more has the last sequence 0, as on a server.
//! Each handle is cheap and shares one log; [`Embedded::close`] ends it in good order, and a log that is merely dropped is closed by its thread soon after.

mod append;
mod bucket;
mod consumer;
mod delivery;
mod fault;
mod file;
mod lock;
mod reader;
mod row;
mod service;
mod stage;
mod state;
mod table;
mod trim;
mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use lockstep_core::connector::Boxed;

pub use fault::FaultPlan;

use self::lock::Lock;
use self::reader::Readers;
use self::row::Prepared;
use self::service::Services;
use self::state::{Stream, micros};
use self::writer::Writer;
use super::rules::{self, Pattern};
use super::{
    ATOMIC_MAX, Ack, Bucket, Consumer, ConsumerConfig, Log, LogError, Message, PublishError,
    Result, Service, Stored, StreamConfig, StreamInfo,
};

/// The embedded log.
#[derive(Debug)]
pub struct Embedded {
    inner: Arc<Inner>,
}

/// How an embedded log is opened.
#[derive(Clone, Debug, Default)]
pub struct EmbeddedOptions {
    /// Most bytes of the database file; as large as the disk allows if absent.
    pub max_bytes: Option<u64>,
    /// Declarations of streams whose limits in the file give way to these: who owns the file decides what it keeps.
    ///
    /// A stream with other subjects, or one that the file does not have, is left to [`Log::ensure_stream`].
    pub limits: Vec<StreamConfig>,
    /// Faults to show, for tests.
    pub faults: FaultPlan,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    writer: Writer,
    readers: Arc<Readers>,
    streams: RwLock<HashMap<String, Arc<Stream>>>,
    consumers: tokio::sync::Mutex<HashMap<(i64, String), Arc<consumer::Shared>>>,
    buckets: tokio::sync::Mutex<HashMap<String, Arc<bucket::Shared>>>,
    services: Services,
    faults: FaultPlan,
}

impl Embedded {
    /// Opens a log, making the file and its folder if they do not exist.
    ///
    /// # Errors
    /// [`LogError::InUse`], [`LogError::Corrupt`], [`LogError::Refused`] for a file of a later version, [`LogError::Storage`] for a place that cannot be written.
    pub async fn open(path: impl AsRef<Path>, options: EmbeddedOptions) -> Result<Arc<Self>> {
        let path = path.as_ref().to_owned();
        tokio::task::spawn_blocking(move || Self::open_blocking(path, &options))
            .await
            .map_err(|error| LogError::Storage(format!("opening was cut short: {error}")))?
    }

    fn open_blocking(path: PathBuf, options: &EmbeddedOptions) -> Result<Arc<Self>> {
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            std::fs::create_dir_all(folder).map_err(|error| {
                LogError::Storage(format!(
                    "cannot make the folder `{}`: {error}",
                    folder.display()
                ))
            })?;
        }
        let lock = Lock::take(&path)?;
        let conn = file::open(&path, options, lock.unclean)?;
        let mut streams = Stream::load_all(&conn).map_err(|damage| damage.into_error(&path))?;
        for stream in &mut streams {
            let declared = options.limits.iter().find(|declared| {
                declared.name == stream.config.name && declared.subjects == stream.config.subjects
            });
            if let Some(declared) = declared {
                stream.set_limits(&conn, declared).map_err(|error| {
                    LogError::Storage(format!("the limits of a stream cannot be set: {error}"))
                })?;
            }
        }
        let streams: Vec<Arc<Stream>> = streams.into_iter().map(Arc::new).collect();
        let by_name = streams
            .iter()
            .map(|stream| (stream.config.name.clone(), Arc::clone(stream)));
        let inner = Inner {
            streams: RwLock::new(by_name.collect()),
            writer: Writer::start(path.clone(), conn, lock, streams, options.faults.clone())?,
            readers: Arc::new(Readers::new(path.clone())),
            consumers: tokio::sync::Mutex::default(),
            buckets: tokio::sync::Mutex::default(),
            services: Services::default(),
            faults: options.faults.clone(),
            path,
        };
        Ok(Arc::new(Self {
            inner: Arc::new(inner),
        }))
    }

    /// Closes the log: what was handed over is stored, counters are saved, the lock is released. Everything asked of it later is [`LogError::Closed`].
    ///
    /// # Errors
    /// The file could not be brought into good order; nothing acknowledged is lost by it.
    pub async fn close(&self) -> Result<()> {
        self.inner.stop(false).await
    }

    /// Stops as if the process had been killed: nothing is saved that was not. For tests of what a restart finds.
    pub async fn crash(&self) {
        // A crash has no outcome.
        let _ = self.inner.stop(true).await;
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }
}

impl Inner {
    fn stream(&self, name: &str) -> Result<Arc<Stream>> {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        streams.get(name).cloned().ok_or_else(|| LogError::Missing {
            what: "stream",
            name: name.to_owned(),
        })
    }

    fn all_streams(&self) -> Vec<Arc<Stream>> {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        streams.values().cloned().collect()
    }

    async fn stop(&self, crash: bool) -> Result<()> {
        self.readers.close().await;
        let stopped = self.writer.stop(crash).await;
        self.services.close();
        for stream in self.all_streams() {
            stream.wake();
        }
        for bucket in self.buckets.lock().await.values() {
            bucket.close();
        }
        stopped
    }

    async fn ensure(self: &Arc<Self>, config: &StreamConfig) -> Result<()> {
        let patterns = rules::check_stream(config)?;
        let (this, config) = (Arc::clone(self), config.clone());
        self.writer
            .run(0, move |group| {
                if let Err(error) = this.compare(&config, &patterns) {
                    return Ok(error);
                }
                let stream = Arc::new(Stream::create(group.conn, &config, patterns.clone())?);
                let this = Arc::clone(&this);
                group.after(move || {
                    let mut streams = this.streams.write().unwrap_or_else(PoisonError::into_inner);
                    streams.insert(stream.config.name.clone(), stream);
                });
                Ok(Ok(()))
            })
            .await?
    }

    /// `Ok` if the stream is new; otherwise the answer to its declaration.
    fn compare(&self, config: &StreamConfig, patterns: &[Pattern]) -> Result<(), Result<()>> {
        for other in self.all_streams() {
            if other.config.name == config.name {
                return Err(same(&other.config, config));
            }
            let overlap = |one: &Pattern| patterns.iter().any(|two| one.overlaps(two));
            if other.patterns.iter().any(overlap) {
                return Err(Err(LogError::Refused(format!(
                    "stream `{}` would share subjects with stream `{}` ({})",
                    config.name,
                    other.config.name,
                    other.config.subjects.join(", ")
                ))));
            }
        }
        Ok(())
    }

    async fn publish(
        &self,
        stream: &str,
        messages: Vec<Message>,
    ) -> Vec<Result<Ack, PublishError>> {
        let count = messages.len();
        let fail = |error: PublishError| vec![Err(error); count];
        let stream = match self.stream(stream) {
            Ok(stream) => stream,
            Err(error) => return fail(PublishError::Refused(error.to_string())),
        };
        let prepared: Vec<_> = messages.into_iter().map(prepare).collect();
        let bytes = prepared.iter().flatten().map(Prepared::size).sum::<u64>();
        let work = move |group: &mut writer::Group<'_>| {
            let (conn, now) = (group.conn, group.now);
            append::each(conn, group.stage(&stream), now, &prepared)
        };
        match self.writer.run(bytes as usize, work).await {
            Ok(_) if self.faults.ack_lost() => fail(lost()),
            Ok(answers) => answers,
            Err(failure) => fail(failure.into()),
        }
    }

    async fn publish_atomic(
        &self,
        stream: &str,
        messages: Vec<Message>,
    ) -> Result<Vec<Ack>, (usize, PublishError)> {
        let first = |error| (0, error);
        let stream = self
            .stream(stream)
            .map_err(|error| first(PublishError::Refused(error.to_string())))?;
        if messages.len() > ATOMIC_MAX {
            let refused = format!(
                "{} messages are more than the {ATOMIC_MAX} of an atomic batch",
                messages.len()
            );
            return Err((ATOMIC_MAX, PublishError::Refused(refused)));
        }
        let prepared: Vec<Prepared> = messages
            .into_iter()
            .enumerate()
            .map(|(at, message)| prepare(message).map_err(|error| (at, error)))
            .collect::<Result<_, _>>()?;
        let bytes = prepared.iter().map(Prepared::size).sum::<u64>();
        let work = move |group: &mut writer::Group<'_>| {
            let (conn, now) = (group.conn, group.now);
            append::all(conn, group.stage(&stream), now, &prepared)
        };
        match self.writer.run(bytes as usize, work).await {
            Ok(Ok(_)) if self.faults.ack_lost() => Err(first(lost())),
            Ok(answer) => answer,
            Err(failure) => Err(first(failure.into())),
        }
    }

    async fn last(&self, stream: &str, subject: &str) -> Result<Option<Stored>> {
        rules::check_subject(subject).map_err(LogError::Refused)?;
        let stream = self.stream(stream)?;
        let Some((id, known)) = stream.subject(subject).filter(|(_, known)| known.last > 0) else {
            return self.open(None);
        };
        let stale = self.faults.read_stale();
        self.readers
            .read(move |conn| match stale {
                true => reader::before(conn, &stream, id, known.last),
                false => reader::one(conn, &stream, known.last),
            })
            .await
            .map(|found| found.map(once))
    }

    async fn get(&self, stream: &str, seq: u64) -> Result<Option<Stored>> {
        let stream = self.stream(stream)?;
        let head = stream.head();
        if seq < head.first || seq > head.last {
            return self.open(None);
        }
        let found = self
            .readers
            .read(move |conn| reader::one(conn, &stream, seq))
            .await;
        found.map(|found| found.map(once))
    }

    /// An answer that needed no reading; a closed log has none.
    fn open<T>(&self, answer: T) -> Result<T> {
        match self.readers.is_closed() {
            true => Err(LogError::Closed),
            false => Ok(answer),
        }
    }

    async fn enforce(&self, stream: &str) -> Result<()> {
        let stream = self.stream(stream)?;
        loop {
            let stream = Arc::clone(&stream);
            let step = self.writer.run(0, move |group| {
                let (conn, now) = (group.conn, group.now);
                trim::step(conn, group.stage(&stream), now)
            });
            if !step.await? {
                return Ok(());
            }
        }
    }
}

fn prepare(message: Message) -> Result<Prepared, PublishError> {
    rules::check_message(&message).map_err(PublishError::Refused)?;
    Ok(Prepared::new(message))
}

fn lost() -> PublishError {
    PublishError::Unknown("the acknowledgement was lost, as a fault asked for".into())
}

/// A message as a plain read shows it.
fn once(message: Stored) -> Stored {
    Stored {
        deliveries: 1,
        ..message
    }
}

/// Compares a stream with its declaration, setting by setting.
fn same(kept: &StreamConfig, declared: &StreamConfig) -> Result<()> {
    fn compare<T: PartialEq + std::fmt::Debug>(
        out: &mut Vec<String>,
        what: &str,
        kept: &T,
        declared: &T,
    ) {
        if kept != declared {
            out.push(format!("{what} is {kept:?}, declared {declared:?}"));
        }
    }
    let mut out = Vec::new();
    // Times are kept in microseconds.
    let time = |time: Duration| Duration::from_micros(micros(time).unsigned_abs());
    let age = declared.max_age.map(time);
    let window = time(declared.duplicate_window);
    compare(&mut out, "subjects", &kept.subjects, &declared.subjects);
    compare(&mut out, "max_age", &kept.max_age, &age);
    compare(&mut out, "max_bytes", &kept.max_bytes, &declared.max_bytes);
    compare(
        &mut out,
        "max_per_subject",
        &kept.max_per_subject,
        &declared.max_per_subject,
    );
    compare(
        &mut out,
        "duplicate_window",
        &kept.duplicate_window,
        &window,
    );
    if out.is_empty() {
        return Ok(());
    }
    Err(LogError::Differs {
        stream: declared.name.clone(),
        differences: out.join("; "),
    })
}

impl Log for Embedded {
    fn ensure_stream<'a>(&'a self, config: &'a StreamConfig) -> Boxed<'a, Result<()>> {
        Box::pin(self.inner.ensure(config))
    }

    fn stream<'a>(&'a self, stream: &'a str) -> Boxed<'a, Result<StreamInfo>> {
        Box::pin(async move { self.inner.open(self.inner.stream(stream)?.info()) })
    }

    fn publish<'a>(
        &'a self,
        stream: &'a str,
        messages: Vec<Message>,
    ) -> Boxed<'a, Vec<Result<Ack, PublishError>>> {
        Box::pin(self.inner.publish(stream, messages))
    }

    fn publish_atomic<'a>(
        &'a self,
        stream: &'a str,
        messages: Vec<Message>,
    ) -> Boxed<'a, Result<Vec<Ack>, (usize, PublishError)>> {
        Box::pin(self.inner.publish_atomic(stream, messages))
    }

    fn last<'a>(&'a self, stream: &'a str, subject: &'a str) -> Boxed<'a, Result<Option<Stored>>> {
        Box::pin(self.inner.last(stream, subject))
    }

    fn get(&self, stream: &str, seq: u64) -> Boxed<'_, Result<Option<Stored>>> {
        let stream = stream.to_owned();
        Box::pin(async move { self.inner.get(&stream, seq).await })
    }

    fn enforce_limits<'a>(&'a self, stream: &'a str) -> Boxed<'a, Result<()>> {
        Box::pin(self.inner.enforce(stream))
    }

    fn consume<'a>(
        &'a self,
        stream: &'a str,
        config: ConsumerConfig,
    ) -> Boxed<'a, Result<Box<dyn Consumer>>> {
        Box::pin(async move {
            let stream = self.inner.open(self.inner.stream(stream)?)?;
            let handle = consumer::open(&self.inner, &stream, config).await?;
            Ok(Box::new(handle) as Box<dyn Consumer>)
        })
    }

    fn delete_consumer<'a>(&'a self, stream: &'a str, name: &'a str) -> Boxed<'a, Result<()>> {
        Box::pin(async move {
            let stream = self.inner.stream(stream)?;
            consumer::delete(&self.inner, &stream, name).await
        })
    }

    fn bucket<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<Box<dyn Bucket>>> {
        Box::pin(async move {
            let bucket = bucket::open(&self.inner, name).await?;
            Ok(Box::new(bucket) as Box<dyn Bucket>)
        })
    }

    fn request<'a>(
        &'a self,
        subject: &'a str,
        payload: Bytes,
        deadline: Duration,
    ) -> Boxed<'a, Result<Bytes>> {
        Box::pin(self.inner.services.request(subject, payload, deadline))
    }

    fn tell<'a>(&'a self, subject: &'a str, payload: Bytes) -> Boxed<'a, Result<()>> {
        Box::pin(async move { self.inner.services.tell(subject, &payload) })
    }

    fn serve<'a>(&'a self, subject: &'a str) -> Boxed<'a, Result<Service>> {
        Box::pin(async move { self.inner.open(self.inner.services.serve(subject)?) })
    }
}
