//! Reading: a few connections of their own, each used by one blocking task at a time.
//!
//! Read transactions last for one query of bounded size, so they never keep the write-ahead log from being copied back.
//! Every message is checked against its seal, and a message that is missing between kept ones is damage.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row};
use tokio::sync::Semaphore;

use super::file::{self, Damage};
use super::row;
use super::state::{Stream, lock, signed};
use crate::log::rules::Pattern;
use crate::log::{LogError, Result, Stored};

/// Most reads at a time.
const READERS: usize = 4;
/// Most bytes one fetch gives, beyond its first message.
const FETCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most messages looked at by one query for those of a filter.
const SCAN_MAX: usize = 20_000;

/// The reading side of the file.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    room: Semaphore,
    closed: AtomicBool,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            idle: Mutex::default(),
            room: Semaphore::new(READERS),
            closed: AtomicBool::new(false),
        }
    }

    /// Runs a query on a thread that may block.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        query: impl FnOnce(&Connection) -> Result<T, Damage> + Send + 'static,
    ) -> Result<T> {
        let _room = self.room.acquire().await.map_err(|_| LogError::Closed)?;
        let this = Arc::clone(self);
        tokio::task::spawn_blocking(move || this.run(query))
            .await
            .map_err(|error| LogError::Storage(format!("a read was cut short: {error}")))?
    }

    fn run<T>(&self, query: impl FnOnce(&Connection) -> Result<T, Damage>) -> Result<T> {
        if self.is_closed() {
            return Err(LogError::Closed);
        }
        let idle = lock(&self.idle).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => file::open_reader(&self.path)?,
        };
        let answer = query(&conn).map_err(|damage| damage.into_error(&self.path));
        let mut idle = lock(&self.idle);
        if !self.is_closed() {
            idle.push(conn);
        }
        answer
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Refuses further reads and waits for those under way.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let all = u32::try_from(READERS).unwrap_or(u32::MAX);
        let under_way = self.room.acquire_many(all).await;
        lock(&self.idle).clear();
        drop(under_way);
        self.room.close();
    }
}

/// The subjects a consumer reads; each is looked up once.
#[derive(Debug)]
pub(super) struct Wanted {
    patterns: Vec<Pattern>,
    known: Vec<Option<bool>>,
}

impl Wanted {
    pub(super) fn new(patterns: Vec<Pattern>) -> Self {
        Self {
            patterns,
            known: Vec::new(),
        }
    }

    pub(super) fn is_all(&self) -> bool {
        self.patterns.is_empty()
    }

    pub(super) fn takes(&self, subject: &str) -> bool {
        self.is_all() || self.patterns.iter().any(|pattern| pattern.matches(subject))
    }

    fn takes_id(&mut self, stream: &Stream, id: u32) -> bool {
        if self.is_all() {
            return true;
        }
        let at = id as usize;
        if let Some(&Some(known)) = self.known.get(at) {
            return known;
        }
        // The row may be committed a moment before the subject's name is known here.
        let Some((name, _)) = stream.subject_at(id) else {
            return true;
        };
        let takes = self.takes(&name);
        if self.known.len() <= at {
            self.known.resize(at + 1, None);
        }
        self.known[at] = Some(takes);
        takes
    }
}

/// What a range query found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) messages: Vec<Stored>,
    /// Where the next query goes on.
    pub(super) next: u64,
    /// Age took what was to be read.
    pub(super) trimmed: bool,
}

/// Reads messages of `wanted` from `from` on, at most `max`, up to `last`, which is known to be committed.
pub(super) fn range(
    conn: &Connection,
    stream: &Stream,
    wanted: &mut Wanted,
    (from, last): (u64, u64),
    max: usize,
) -> Result<Found, Damage> {
    let filtered = !wanted.is_all();
    let (sql, limit) = match filtered {
        true => (&stream.sql.scan, SCAN_MAX),
        false => (&stream.sql.range, max),
    };
    let mut found = Found {
        next: from,
        ..Found::default()
    };
    let mut bytes = 0;
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([signed(from), signed(limit as u64)])?;
    let mut seen = 0;
    while let Some(row) = rows.next()? {
        let seq: u64 = row.get(0)?;
        if seq > last {
            break;
        }
        if seq != found.next && hole(conn, stream, found.next)? {
            found.trimmed = true;
            return Ok(found);
        }
        seen += 1;
        found.next = seq + 1;
        let message = match filtered {
            true if !wanted.takes_id(stream, row.get(1)?) => None,
            true => one(conn, stream, seq)?,
            false => alive(stream, row)?,
        };
        if let Some(message) = message {
            bytes += message.payload.len();
            found.messages.push(message);
        }
        if found.messages.len() >= max || bytes >= FETCH_BYTES_MAX {
            return Ok(found);
        }
    }
    if seen < limit && found.next <= last {
        found.trimmed = hole(conn, stream, found.next)?;
        if !found.trimmed {
            found.next = last + 1;
        }
    }
    Ok(found)
}

/// How many messages of `wanted` stand at or after `from`, up to `last`.
pub(super) fn count(
    conn: &Connection,
    stream: &Stream,
    wanted: &mut Wanted,
    (from, last): (u64, u64),
) -> Result<u64, Damage> {
    let mut statement = conn.prepare_cached(&stream.sql.scan)?;
    let (mut count, mut next) = (0, from);
    while next <= last {
        let mut rows = statement.query([signed(next), signed(SCAN_MAX as u64)])?;
        let mut ended = true;
        while let Some(row) = rows.next()? {
            let seq: u64 = row.get(0)?;
            ended = seq > last;
            if ended {
                break;
            }
            next = seq + 1;
            count += u64::from(wanted.takes_id(stream, row.get(1)?));
        }
        if ended {
            break;
        }
    }
    Ok(count)
}

/// Reads the message of a sequence, unless it is gone.
pub(super) fn one(conn: &Connection, stream: &Stream, seq: u64) -> Result<Option<Stored>, Damage> {
    let mut statement = conn.prepare_cached(&stream.sql.one)?;
    let mut rows = statement.query([signed(seq)])?;
    if let Some(row) = rows.next()? {
        return alive(stream, row);
    }
    hole(conn, stream, seq)?;
    Ok(None)
}

/// The last message of a subject before a sequence.
pub(super) fn before(
    conn: &Connection,
    stream: &Stream,
    subject: u32,
    seq: u64,
) -> Result<Option<Stored>, Damage> {
    let found: Option<u64> = conn
        .prepare_cached(&stream.sql.before)?
        .query_row([i64::from(subject), signed(seq)], |row| row.get(0))
        .optional()?;
    found.map_or(Ok(None), |seq| one(conn, stream, seq))
}

/// The first sequence stored at or after a time, found by halving: time does not go back inside a stream.
pub(super) fn first_at(
    conn: &Connection,
    stream: &Stream,
    at: Timestamp,
    (first, last): (u64, u64),
) -> Result<u64, Damage> {
    let (mut low, mut high) = (first, last + 1);
    let mut statement = conn.prepare_cached(&stream.sql.at_or_after)?;
    while low < high {
        let middle = low + (high - low) / 2;
        let found: Option<(u64, i64)> = statement
            .query_row([signed(middle)], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        match found {
            Some((seq, stored)) if stored < at.as_microsecond() => low = seq + 1,
            _ => high = middle,
        }
    }
    Ok(low.min(last + 1))
}

/// Judges a missing message: `true` when age took it, `false` when a stream of states may miss it, damage otherwise.
fn hole(conn: &Connection, stream: &Stream, seq: u64) -> Result<bool, Damage> {
    let (first, last, sparse): (u64, u64, bool) = conn
        .prepare_cached("select first_seq, last_seq, sparse from stream where id = ?1")?
        .query_row([stream.id], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    if sparse {
        return Ok(false);
    }
    if seq < first {
        return Ok(true);
    }
    // Beyond the saved counters, what was committed is what memory knows.
    if seq <= last.max(stream.head().last) {
        return Err(Damage::Found(format!(
            "message {seq} of stream `{}` is missing",
            stream.config.name
        )));
    }
    Ok(false)
}

/// Decodes and checks a row; none if its time to live is over.
fn alive(stream: &Stream, row: &Row<'_>) -> Result<Option<Stored>, Damage> {
    let seq: u64 = row.get(0)?;
    let at: i64 = row.get(2)?;
    let expires: Option<i64> = row.get(3)?;
    if expires.is_some_and(|expires| expires <= Timestamp::now().as_microsecond()) {
        return Ok(None);
    }
    let broken = || {
        Damage::Found(format!(
            "message {seq} of stream `{}` does not agree with its seal",
            stream.config.name
        ))
    };
    let (subject, _) = stream.subject_at(row.get(1)?).ok_or_else(broken)?;
    let blob = |at| row.get_ref(at).ok().and_then(|value| value.as_blob().ok());
    let (Some(headers), Some(payload)) = (blob(5), blob(6)) else {
        return Err(broken());
    };
    let sum = row::sum(&[subject.as_bytes(), headers, payload]);
    if row.get::<_, i64>(4)? != row::seal(sum, &[signed(seq), at, expires.unwrap_or(-1)]) {
        return Err(broken());
    }
    Ok(Some(Stored {
        seq,
        subject: subject.as_ref().to_owned(),
        headers: row::decode_headers(headers).ok_or_else(broken)?,
        payload: Bytes::copy_from_slice(payload),
        at: Timestamp::from_microsecond(at).map_err(|_| broken())?,
        deliveries: 0,
    }))
}
