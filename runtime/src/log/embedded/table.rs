//! Streams as the file has them: their rows, their seals, a table of messages for each.
//!
//! Loading trusts nothing: a row that does not agree with its seal, or counters that do not agree with the messages, are damage.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::file::Damage;
use super::row;
use super::state::{Head, Stream, Subject, micros, signed};
use crate::log::rules::{self, Pattern};
use crate::log::{Result, StreamConfig};

/// The statements of a stream's own table.
#[derive(Debug)]
pub(super) struct Sql {
    pub(super) insert: String,
    pub(super) one: String,
    pub(super) range: String,
    pub(super) scan: String,
    pub(super) oldest: String,
    pub(super) oldest_of_subject: String,
    pub(super) expired: String,
    pub(super) next_expiry: String,
    pub(super) remove: String,
    pub(super) remove_range: String,
    pub(super) before: String,
    pub(super) at_or_after: String,
}

impl Sql {
    pub(super) fn new(id: i64) -> Self {
        let table = format!("message_{id}");
        let columns = "seq, subject, at, expires, seal, headers, payload";
        let size = "length(headers) + length(payload)";
        Self {
            insert: format!("insert into {table} ({columns}) values (?1, ?2, ?3, ?4, ?5, ?6, ?7)"),
            one: format!("select {columns} from {table} where seq = ?1"),
            range: format!("select {columns} from {table} where seq >= ?1 order by seq limit ?2"),
            scan: format!("select seq, subject from {table} where seq >= ?1 order by seq limit ?2"),
            oldest: format!(
                "select seq, subject, at, {size} from {table} where seq >= ?1 order by seq limit ?2"
            ),
            oldest_of_subject: format!(
                "select seq, subject, at, {size} from {table} where subject = ?1 order by seq limit ?2"
            ),
            expired: format!(
                "select seq, subject, at, {size} from {table} where expires is not null and expires <= ?1 order by expires limit ?2"
            ),
            next_expiry: format!("select min(expires) from {table} where expires is not null"),
            remove: format!("delete from {table} where seq = ?1"),
            remove_range: format!("delete from {table} where seq between ?1 and ?2"),
            before: format!(
                "select seq from {table} where subject = ?1 and seq < ?2 order by seq desc limit 1"
            ),
            at_or_after: format!(
                "select seq, at from {table} where seq >= ?1 order by seq limit 1"
            ),
        }
    }
}

impl Stream {
    /// Makes a stream in the file.
    pub(super) fn create(
        conn: &Connection,
        config: &StreamConfig,
        patterns: Vec<Pattern>,
    ) -> rusqlite::Result<Self> {
        // In whole microseconds, as it is kept.
        let created = Timestamp::now()
            .round(jiff::Unit::Microsecond)
            .unwrap_or_default();
        conn.execute(
            "insert into stream (name, subjects, max_age, max_bytes, max_per_subject, duplicate_window,
                created, first_seq, last_seq, messages, bytes, last_at, sparse, seal)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, 0, 0, 0, 0, 0, 0)",
            params![
                config.name,
                config.subjects.join("\n"),
                config.max_age.map(micros),
                config.max_bytes.map(signed),
                config.max_per_subject.map(signed),
                micros(config.duplicate_window),
                created.as_microsecond(),
            ],
        )?;
        let id = conn.last_insert_rowid();
        let table = format!("message_{id}");
        conn.execute_batch(&format!(
            "create table {table} (
                seq integer primary key, subject integer not null, at integer not null,
                expires integer, seal integer not null, headers blob not null, payload blob not null
             ) strict;
             create index {table}_expires on {table} (expires) where expires is not null;"
        ))?;
        if config.max_per_subject.is_some() {
            conn.execute_batch(&format!(
                "create index {table}_subject on {table} (subject);"
            ))?;
        }
        let head = Head {
            sparse: config.max_per_subject.is_some(),
            ..Head::default()
        };
        let stream = Self::new(id, config.clone(), created, patterns, head, Vec::new());
        stream.save_head(conn, &head)?;
        Ok(stream)
    }

    /// Loads every stream of the file.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(super) fn load_all(conn: &Connection) -> Result<Vec<Self>, Damage> {
        let mut statement = conn.prepare("select * from stream order by id")?;
        let mut rows = statement.query([])?;
        let mut streams = Vec::new();
        while let Some(row) = rows.next()? {
            streams.push(Self::load(conn, row)?);
        }
        Ok(streams)
    }

    fn load(conn: &Connection, row: &Row<'_>) -> Result<Self, Damage> {
        let optional = |name| -> rusqlite::Result<Option<u64>> { row.get(name) };
        let name: String = row.get("name")?;
        let subjects: String = row.get("subjects")?;
        let config = StreamConfig {
            subjects: subjects.split('\n').map(str::to_owned).collect(),
            max_age: optional("max_age")?.map(Duration::from_micros),
            max_bytes: optional("max_bytes")?,
            max_per_subject: optional("max_per_subject")?,
            duplicate_window: Duration::from_micros(row.get("duplicate_window")?),
            name,
        };
        let last = row.get("last_seq")?;
        let mut head = Head {
            first: row.get("first_seq")?,
            last,
            messages: row.get("messages")?,
            bytes: row.get("bytes")?,
            last_at: row.get("last_at")?,
            sparse: row.get("sparse")?,
            saved: last,
        };
        let created = Timestamp::from_microsecond(row.get("created")?)
            .map_err(|error| Damage::Found(error.to_string()))?;
        let id: i64 = row.get("id")?;
        let seal: i64 = row.get("seal")?;
        let patterns =
            rules::check_stream(&config).map_err(|error| Damage::Found(error.to_string()))?;
        if seal != head_seal(id, &config, &head) {
            return Err(Damage::Found(format!(
                "the row of stream {id} does not agree with its seal"
            )));
        }
        let mut subjects = load_subjects(conn, id)?;
        let sql = Sql::new(id);
        let touched = catch_up(conn, &sql, &mut head, &mut subjects)?;
        check_counters(conn, &sql, &config, &head)?;
        let stream = Self::new(id, config, created, patterns, head, subjects);
        stream.save(conn, touched)?;
        Ok(stream)
    }

    /// Gives a stream that nobody uses yet the age and size of its declaration.
    pub(super) fn set_limits(
        &mut self,
        conn: &Connection,
        declared: &StreamConfig,
    ) -> rusqlite::Result<()> {
        // Times are kept in microseconds.
        let max_age = declared.max_age.map(micros);
        if self.config.max_age.map(micros) == max_age && self.config.max_bytes == declared.max_bytes
        {
            return Ok(());
        }
        self.config.max_age = max_age.map(|age| Duration::from_micros(age.unsigned_abs()));
        self.config.max_bytes = declared.max_bytes;
        let transaction = conn.unchecked_transaction()?;
        transaction.execute(
            "update stream set max_age = ?2, max_bytes = ?3 where id = ?1",
            params![self.id, max_age, declared.max_bytes.map(signed)],
        )?;
        self.save_head(&transaction, &self.head())?;
        transaction.commit()
    }

    /// Writes what was counted again, so that it need not be a second time.
    fn save(&self, conn: &Connection, touched: BTreeSet<u32>) -> rusqlite::Result<()> {
        if touched.is_empty() {
            return Ok(());
        }
        let transaction = conn.unchecked_transaction()?;
        for id in touched {
            if let Some((name, subject)) = self.subject_at(id) {
                self.save_subject(conn, id, &name, &subject)?;
            }
        }
        let mut committed = self
            .committed
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        committed.head.saved = committed.head.last;
        self.save_head(conn, &committed.head)?;
        transaction.commit()
    }

    pub(super) fn save_head(&self, conn: &Connection, head: &Head) -> rusqlite::Result<()> {
        conn.prepare_cached(
            "update stream set first_seq = ?2, last_seq = ?3, messages = ?4, bytes = ?5,
                last_at = ?6, sparse = ?7, seal = ?8 where id = ?1",
        )?
        .execute(params![
            self.id,
            signed(head.first),
            signed(head.last),
            signed(head.messages),
            signed(head.bytes),
            head.last_at,
            head.sparse,
            head_seal(self.id, &self.config, head),
        ])?;
        Ok(())
    }

    pub(super) fn save_subject(
        &self,
        conn: &Connection,
        id: u32,
        name: &str,
        subject: &Subject,
    ) -> rusqlite::Result<()> {
        conn.prepare_cached(
            "insert or replace into subject (stream, id, name, last_seq, messages, lost_seq, seal)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            self.id,
            id,
            name,
            signed(subject.last),
            signed(subject.messages),
            signed(subject.lost),
            subject_seal(self.id, id, name, subject),
        ])?;
        Ok(())
    }
}

fn load_subjects(conn: &Connection, stream: i64) -> Result<Vec<(Arc<str>, Subject)>, Damage> {
    let mut statement = conn.prepare_cached(
        "select id, name, last_seq, messages, lost_seq, seal from subject where stream = ?1 order by id",
    )?;
    let mut rows = statement.query([stream])?;
    let mut subjects = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, name): (u32, String) = (row.get(0)?, row.get(1)?);
        let subject = Subject {
            last: row.get(2)?,
            messages: row.get(3)?,
            lost: row.get(4)?,
        };
        let seal: i64 = row.get(5)?;
        if id as usize != subjects.len() || seal != subject_seal(stream, id, &name, &subject) {
            return Err(Damage::Found(format!(
                "the row of subject {id} of stream {stream} does not agree with its seal"
            )));
        }
        subjects.push((name.into(), subject));
    }
    Ok(subjects)
}

/// Counts what was stored after the counters were last saved.
fn catch_up(
    conn: &Connection,
    sql: &Sql,
    head: &mut Head,
    subjects: &mut [(Arc<str>, Subject)],
) -> Result<BTreeSet<u32>, Damage> {
    let mut touched = BTreeSet::new();
    let mut statement = conn.prepare(&sql.oldest)?;
    let mut rows = statement.query(params![signed(head.last + 1), -1])?;
    while let Some(row) = rows.next()? {
        let (seq, id): (u64, u32) = (row.get(0)?, row.get(1)?);
        let size: u64 = row.get(3)?;
        let Some((name, subject)) = subjects.get_mut(id as usize) else {
            return Err(Damage::Found(format!("message {seq} has no subject")));
        };
        subject.last = seq;
        subject.messages += 1;
        head.bytes += size + name.len() as u64;
        head.messages += 1;
        head.last = seq;
        head.last_at = row.get(2)?;
        touched.insert(id);
    }
    Ok(touched)
}

fn check_counters(
    conn: &Connection,
    sql: &Sql,
    config: &StreamConfig,
    head: &Head,
) -> Result<(), Damage> {
    let at = |from: u64| -> rusqlite::Result<Option<u64>> {
        conn.prepare(&sql.at_or_after)?
            .query_row([signed(from)], |row| row.get(0))
            .optional()
    };
    let first = at(0)?;
    let sound = match first {
        None => head.messages == 0 && head.first == head.last + 1,
        Some(first) => first == head.first && head.messages > 0,
    };
    let dense = head.sparse || head.messages == head.last + 1 - head.first.min(head.last + 1);
    if sound && dense {
        return Ok(());
    }
    Err(Damage::Found(format!(
        "stream `{}` should hold {} messages from {} to {}, the first found is {}",
        config.name,
        head.messages,
        head.first,
        head.last,
        first.map_or_else(|| "none".to_owned(), |seq| seq.to_string())
    )))
}

fn head_seal(id: i64, config: &StreamConfig, head: &Head) -> i64 {
    let subjects = config.subjects.join("\n");
    let limit = |limit: Option<u64>| limit.map_or(-1, signed);
    row::seal(
        row::sum(&[config.name.as_bytes(), subjects.as_bytes()]),
        &[
            id,
            config.max_age.map_or(-1, micros),
            limit(config.max_bytes),
            limit(config.max_per_subject),
            micros(config.duplicate_window),
            signed(head.first),
            signed(head.last),
            signed(head.messages),
            signed(head.bytes),
            head.last_at,
            i64::from(head.sparse),
        ],
    )
}

fn subject_seal(stream: i64, id: u32, name: &str, subject: &Subject) -> i64 {
    row::seal(
        row::sum(&[name.as_bytes()]),
        &[
            stream,
            i64::from(id),
            signed(subject.last),
            signed(subject.messages),
            signed(subject.lost),
        ],
    )
}
