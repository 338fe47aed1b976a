//! Opening, making, resuming and forgetting consumers, and what all handles of one share.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rusqlite::{OptionalExtension as _, params};
use tokio::sync::watch;

use super::{Handle, WAIT_MAX};
use crate::log::embedded::delivery::Delivery;
use crate::log::embedded::file::Damage;
use crate::log::embedded::reader::{self, Wanted};
use crate::log::embedded::state::{SUBJECTS_MAX, Stream, lock, signed};
use crate::log::embedded::writer::Group;
use crate::log::embedded::{Inner, row};
use crate::log::{AckPolicy, ConsumerConfig, LogError, Result, Start, rules};

/// Most deliveries that may be in flight for one consumer.
const IN_FLIGHT_MAX: usize = 1_000_000;
/// Most sequences a consumer's row may hold: what is in flight and the last message of every subject.
const UNDONE_MAX: u64 = (IN_FLIGHT_MAX + SUBJECTS_MAX) as u64;

/// What all handles of a consumer share.
#[derive(Debug)]
pub(in crate::log::embedded) struct Shared {
    pub(super) stream: Arc<Stream>,
    /// None for one that lives as long as its handle.
    pub(super) name: Option<String>,
    filters: Vec<String>,
    pub(super) ack: AckPolicy,
    pub(super) delivery: Mutex<Delivery>,
    pub(super) wanted: Arc<Mutex<Wanted>>,
    /// One fetch reads at a time.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// Rises when a fetch that found nothing might find something now.
    pub(super) changed: watch::Sender<u64>,
    /// The version of the state that the file has.
    pub(super) saved: AtomicU64,
    /// Whether a save nobody waits for is queued.
    pub(super) saving: AtomicBool,
    pub(super) deleted: AtomicBool,
    /// What was counted last: from where, up to where, how many.
    pub(super) counted: Mutex<Option<(u64, u64, u64)>>,
}

impl Shared {
    fn new(stream: &Arc<Stream>, config: &ConsumerConfig, delivery: Delivery) -> Result<Self> {
        Ok(Self {
            stream: Arc::clone(stream),
            name: config.durable.clone(),
            filters: config.filters.clone(),
            ack: config.ack,
            delivery: Mutex::new(delivery),
            wanted: Arc::new(Mutex::new(Wanted::new(rules::patterns(&config.filters)?))),
            turn: tokio::sync::Mutex::default(),
            changed: watch::Sender::new(0),
            saved: AtomicU64::new(0),
            saving: AtomicBool::new(false),
            deleted: AtomicBool::new(false),
            counted: Mutex::default(),
        })
    }

    /// Tells every handle that the consumer is gone.
    pub(in crate::log::embedded) fn delete(&self) {
        self.deleted.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn wake(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    pub(super) fn check_gap(&self, from: u64) -> Result<()> {
        let gap = self
            .stream
            .gap(from, |subject| lock(&self.wanted).takes(subject));
        match gap {
            Some(first) => Err(LogError::Gap {
                stream: self.stream.config.name.clone(),
                first,
                wanted: from,
            }),
            None => Ok(()),
        }
    }

    /// Writes the state; gives the version written.
    pub(super) fn save(&self, group: &Group<'_>) -> rusqlite::Result<u64> {
        self.saving.store(false, Ordering::Release);
        let (version, next, undone) = {
            let delivery = lock(&self.delivery);
            (delivery.version(), delivery.next(), delivery.undone())
        };
        let undone = row::encode_set(undone.into_iter());
        let name = self.name.as_deref().unwrap_or_default();
        group
            .conn
            .prepare_cached(
                "update consumer set next_seq = ?3, undone = ?4, seal = ?5 where stream = ?1 and name = ?2",
            )?
            .execute(params![
                self.stream.id,
                name,
                signed(next),
                undone,
                seal(self, name, next, &undone)
            ])?;
        Ok(version)
    }

    fn create(&self, group: &Group<'_>) -> rusqlite::Result<u64> {
        group.conn.execute(
            "insert or ignore into consumer (stream, name, filters, ack, next_seq, undone, seal)
             values (?1, ?2, ?3, ?4, 1, x'', 0)",
            params![
                self.stream.id,
                self.name,
                self.filters.join("\n"),
                ack_word(self.ack)
            ],
        )?;
        self.save(group)
    }
}

/// Opens a consumer, making it if need be.
pub(in crate::log::embedded) async fn open(
    log: &Arc<Inner>,
    stream: &Arc<Stream>,
    config: ConsumerConfig,
) -> Result<Handle> {
    check(stream, &config)?;
    let ack_wait = config.ack_wait.min(WAIT_MAX);
    let shared = match &config.durable {
        None => Arc::new(begin(log, stream, &config).await?),
        Some(name) => {
            let mut known = log.consumers.lock().await;
            let key = (stream.id, name.clone());
            let shared = match known.get(&key) {
                Some(shared) => Arc::clone(shared),
                None => Arc::new(match resume(log, stream, &config, name).await? {
                    Some(shared) => shared,
                    None => begin(log, stream, &config).await?,
                }),
            };
            same(&shared, &config)?;
            let from = {
                let delivery = lock(&shared.delivery);
                delivery
                    .undone()
                    .first()
                    .copied()
                    .unwrap_or(delivery.next())
            };
            shared.check_gap(from)?;
            known.insert(key, Arc::clone(&shared));
            shared
        }
    };
    lock(&shared.delivery).configure(ack_wait, config.max_ack_pending);
    Ok(Handle {
        commits: stream.changed.subscribe(),
        changes: shared.changed.subscribe(),
        log: Arc::clone(log),
        shared,
        echo: Vec::new(),
    })
}

/// Forgets a durable consumer.
pub(in crate::log::embedded) async fn delete(
    log: &Arc<Inner>,
    stream: &Arc<Stream>,
    name: &str,
) -> Result<()> {
    let mut known = log.consumers.lock().await;
    let key = (stream.id, name.to_owned());
    let (id, owned) = (stream.id, name.to_owned());
    let rows = log
        .writer
        .run(0, move |group| {
            group.conn.execute(
                "delete from consumer where stream = ?1 and name = ?2",
                params![id, owned],
            )
        })
        .await?;
    if let Some(shared) = known.remove(&key) {
        shared.delete();
    }
    if rows == 0 {
        return Err(missing(name));
    }
    Ok(())
}

fn check(stream: &Stream, config: &ConsumerConfig) -> Result<()> {
    if let Some(name) = &config.durable {
        rules::check_name("consumer", name)?;
    }
    let bound = 1..=IN_FLIGHT_MAX;
    if config.ack != AckPolicy::None && !bound.contains(&config.max_ack_pending) {
        return Err(LogError::Refused(format!(
            "max_ack_pending {} is not between 1 and {IN_FLIGHT_MAX}",
            config.max_ack_pending
        )));
    }
    for (filter, text) in rules::patterns(&config.filters)?
        .iter()
        .zip(&config.filters)
    {
        if !stream
            .patterns
            .iter()
            .any(|pattern| pattern.overlaps(filter))
        {
            return Err(LogError::Refused(format!(
                "filter `{text}` matches no subject of stream `{}` ({})",
                stream.config.name,
                stream.config.subjects.join(", ")
            )));
        }
    }
    Ok(())
}

/// A durable consumer's settings stay what they were; its times and limits may change.
fn same(shared: &Shared, config: &ConsumerConfig) -> Result<()> {
    let mut differences = Vec::new();
    if shared.filters != config.filters {
        differences.push(format!(
            "filters {:?}, not {:?}",
            shared.filters, config.filters
        ));
    }
    if shared.ack != config.ack {
        differences.push(format!(
            "ack {}, not {}",
            ack_word(shared.ack),
            ack_word(config.ack)
        ));
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(LogError::Differs {
        stream: shared.stream.config.name.clone(),
        differences: format!(
            "its consumer `{}` has {}",
            config.durable.as_deref().unwrap_or_default(),
            differences.join(", ")
        ),
    })
}

/// Makes a new consumer.
async fn begin(log: &Arc<Inner>, stream: &Arc<Stream>, config: &ConsumerConfig) -> Result<Shared> {
    let wanted = Wanted::new(rules::patterns(&config.filters)?);
    let (next, queued) = match config.start {
        Start::All => (stream.head().first, BTreeSet::new()),
        Start::New => (stream.head().last + 1, BTreeSet::new()),
        Start::Seq(seq) => (check_start(stream, seq)?, BTreeSet::new()),
        Start::Time(at) => {
            let head = stream.head();
            let source = Arc::clone(stream);
            let first = log
                .readers
                .read(move |conn| reader::first_at(conn, &source, at, (head.first, head.last)));
            (first.await?, BTreeSet::new())
        }
        Start::LastPerSubject => {
            let (last, end) = stream.last_per_subject(|subject| wanted.takes(subject));
            (end + 1, last.into_iter().collect())
        }
    };
    let shared = Shared::new(stream, config, Delivery::new(config.ack, next, queued))?;
    shared.check_gap(next)?;
    if config.durable.is_none() {
        return Ok(shared);
    }
    let shared = Arc::new(shared);
    let made = Arc::clone(&shared);
    log.writer.run(0, move |group| made.create(group)).await?;
    // The writer has answered, so its clone is gone; should it not be, reading it back does the same.
    match Arc::try_unwrap(shared) {
        Ok(shared) => Ok(shared),
        Err(shared) => {
            let name = shared.name.clone().unwrap_or_default();
            resume(log, stream, config, &name)
                .await?
                .ok_or_else(|| missing(&name))
        }
    }
}

pub(super) fn check_start(stream: &Stream, seq: u64) -> Result<u64> {
    let last = stream.head().last;
    if seq == 0 || seq > last + 1 {
        return Err(LogError::Refused(format!(
            "stream `{}` has no sequence {seq} to start at; it has 1 to {last}, and {} comes next",
            stream.config.name,
            last + 1
        )));
    }
    Ok(seq)
}

/// Reads a durable consumer back from the file.
async fn resume(
    log: &Arc<Inner>,
    stream: &Arc<Stream>,
    config: &ConsumerConfig,
    name: &str,
) -> Result<Option<Shared>> {
    type Saved = (String, String, u64, Vec<u8>, i64);
    let (id, key) = (stream.id, name.to_owned());
    let saved: Option<Saved> = log
        .readers
        .read(move |conn| {
            let mut statement = conn.prepare_cached(
                "select filters, ack, next_seq, undone, seal from consumer where stream = ?1 and name = ?2",
            )?;
            let read = statement.query_row(params![id, key], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
            });
            Ok(read.optional()?)
        })
        .await?;
    let Some((filters, ack, next, undone, sealed)) = saved else {
        return Ok(None);
    };
    let config = ConsumerConfig {
        filters: filters
            .split('\n')
            .filter(|filter| !filter.is_empty())
            .map(str::to_owned)
            .collect(),
        ack: match ack.as_str() {
            "none" => AckPolicy::None,
            "all" => AckPolicy::All,
            _ => AckPolicy::Explicit,
        },
        ..config.clone()
    };
    let shared = Shared::new(
        stream,
        &config,
        Delivery::new(config.ack, next, BTreeSet::new()),
    )?;
    // Only what is as it was written is decoded.
    let set = (sealed == seal(&shared, name, next, &undone))
        .then(|| row::decode_set(&undone, UNDONE_MAX))
        .flatten();
    let Some(set) = set else {
        let damage = Damage::Found(format!(
            "the row of consumer `{name}` does not agree with its seal"
        ));
        return Err(damage.into_error(&log.path));
    };
    *lock(&shared.delivery) = Delivery::new(config.ack, next, set);
    Ok(Some(shared))
}

fn seal(shared: &Shared, name: &str, next: u64, undone: &[u8]) -> i64 {
    let filters = shared.filters.join("\n");
    let sum = row::sum(&[
        name.as_bytes(),
        filters.as_bytes(),
        ack_word(shared.ack).as_bytes(),
        undone,
    ]);
    row::seal(sum, &[shared.stream.id, signed(next)])
}

fn ack_word(ack: AckPolicy) -> &'static str {
    match ack {
        AckPolicy::None => "none",
        AckPolicy::All => "all",
        AckPolicy::Explicit => "explicit",
    }
}

pub(super) fn missing(name: &str) -> LogError {
    LogError::Missing {
        what: "consumer",
        name: name.to_owned(),
    }
}
