//! The database file: how it is opened, recognised and mistrusted, and what its tables are.
//!
//! Invariants: one writing connection (held by [`writer`](super::writer)), any number of short-lived readers; write-ahead log with an fsync per commit; deleted rows leave free pages that later rows use (the file does not shrink, and does not grow while something is free).
//!
//! Damage is looked for in three places.
//! At each open: the header, the program's mark and version, the length of the file, the seals of streams and subjects, the agreement of counters and rows; all of it takes time that does not depend on how much is kept.
//! After an unclean stop of a small log ([`QUICK_CHECK_MAX`]): SQLite's own `quick_check`; in a large one it would take minutes, and the next line catches the same.
//! At each read: every message carries a checksum, and a message missing between kept ones is damage, not silence.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::EmbeddedOptions;
use crate::log::{LogError, Result};

/// The version of the tables below; a file of a later one is refused.
const FORMAT: i32 = 1;
/// What marks a database as a Lockstep log: "LSLG".
const APPLICATION: i32 = 0x4c53_4c47;
/// The largest file that is checked whole after an unclean stop.
const QUICK_CHECK_MAX: u64 = 128 * 1024 * 1024;
/// The write-ahead log is copied back once it has this many pages, and then cut to [`WAL_KEPT`] bytes.
const WAL_PAGES: u32 = 4000;
/// Most bytes the write-ahead log keeps on disk between checkpoints.
const WAL_KEPT: u32 = 64 * 1024 * 1024;
/// What a lone change writes is pages, what a frame writes is bytes: small pages serve both.
const PAGE_SIZE: u32 = 4096;
const WRITER_CACHE_KIB: u32 = 8 * 1024;
const READER_CACHE_KIB: u32 = 2 * 1024;
/// How long a connection waits for a lock; only other programs looking into the file ever hold one.
const BUSY_MS: u32 = 5000;

const TABLES: &str = "
create table stream (
    id integer primary key, name text not null unique, subjects text not null, created integer not null,
    max_age integer, max_bytes integer, max_per_subject integer, duplicate_window integer not null,
    first_seq integer not null, last_seq integer not null, messages integer not null,
    bytes integer not null, last_at integer not null, sparse integer not null, seal integer not null
) strict;
create table subject (
    stream integer not null, id integer not null, name text not null, last_seq integer not null,
    messages integer not null, lost_seq integer not null, seal integer not null,
    primary key (stream, id)
) strict, without rowid;
create table duplicate (
    stream integer not null, slot integer not null, id text not null, seq integer not null,
    at integer not null, primary key (stream, slot, id)
) strict, without rowid;
create table consumer (
    stream integer not null, name text not null, filters text not null, ack text not null,
    next_seq integer not null, undone blob not null, seal integer not null,
    primary key (stream, name)
) strict, without rowid;
create table bucket (
    id integer primary key, name text not null unique, revision integer not null
) strict;
create table entry (
    bucket integer not null, key text not null, revision integer not null, value blob not null,
    seal integer not null, primary key (bucket, key)
) strict, without rowid;
";

/// Opens the database for writing, making or recognising it; `unclean` says that its last user did not close it.
///
/// # Errors
/// [`LogError::Corrupt`] for what is not a sound log, [`LogError::Refused`] for one of a later version.
pub(super) fn open(path: &Path, options: &EmbeddedOptions, unclean: bool) -> Result<Connection> {
    check_header(path)?;
    let prepare = || -> rusqlite::Result<Connection> {
        let conn = connect(path, WRITER_CACHE_KIB)?;
        conn.pragma_update(None, "page_size", PAGE_SIZE)?;
        conn.pragma_update(None, "journal_mode", "wal")?;
        conn.pragma_update(None, "synchronous", "full")?;
        conn.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
        conn.pragma_update(None, "journal_size_limit", WAL_KEPT)?;
        if let Some(pages) = options.max_bytes.map(|bytes| bytes / u64::from(PAGE_SIZE)) {
            conn.pragma_update(
                None,
                "max_page_count",
                i64::try_from(pages).unwrap_or(i64::MAX),
            )?;
        }
        Ok(conn)
    };
    let conn = prepare().map_err(|error| failure(path, &error))?;
    recognise(path, &conn)?;
    check_length(path, &conn)?;
    if unclean {
        check_pages(path, &conn)?;
    }
    Ok(conn)
}

/// Opens the database for reading.
///
/// # Errors
/// As SQLite says.
pub(super) fn open_reader(path: &Path) -> Result<Connection> {
    let prepare = || -> rusqlite::Result<Connection> {
        let conn = connect(path, READER_CACHE_KIB)?;
        conn.pragma_update(None, "query_only", true)?;
        Ok(conn)
    };
    prepare().map_err(|error| failure(path, &error))
}

/// Says what a failure of SQLite means for the log.
pub(super) fn failure(path: &Path, error: &rusqlite::Error) -> LogError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            damaged(path, error.to_string())
        }
        Some(_) => LogError::Storage(format!("`{}`: {error}", path.display())),
        // SQLite itself is content, but a row is not what the log writes.
        None => damaged(path, format!("a row cannot be read: {error}")),
    }
}

pub(super) fn damaged(path: &Path, reason: impl Into<String>) -> LogError {
    LogError::Corrupt {
        path: path.display().to_string(),
        reason: reason.into(),
    }
}

fn connect(path: &Path, cache_kib: u32) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    // Closing the log checkpoints explicitly; a connection that merely goes away must not.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.pragma_update(None, "busy_timeout", BUSY_MS)?;
    conn.pragma_update(None, "cache_size", -i64::from(cache_kib))?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.set_prepared_statement_cache_capacity(128);
    Ok(conn)
}

fn check_header(path: &Path) -> Result<()> {
    let unreadable = |error: std::io::Error| {
        LogError::Storage(format!("cannot read `{}`: {error}", path.display()))
    };
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut header = Vec::new();
    (&mut file)
        .take(100)
        .read_to_end(&mut header)
        .map_err(unreadable)?;
    if header.is_empty() || header.len() == 100 && header.starts_with(b"SQLite format 3\0") {
        return Ok(());
    }
    Err(damaged(path, "it does not begin as an SQLite database"))
}

fn recognise(path: &Path, conn: &Connection) -> Result<()> {
    let number = |name| {
        conn.pragma_query_value(None, name, |row| row.get::<_, i32>(0))
            .map_err(|error| failure(path, &error))
    };
    let (application, format) = (number("application_id")?, number("user_version")?);
    let tables: i64 = conn
        .query_row("select count(*) from sqlite_schema", [], |row| row.get(0))
        .map_err(|error| failure(path, &error))?;
    match (application, format) {
        (0, 0) if tables == 0 => create(conn).map_err(|error| failure(path, &error)),
        (APPLICATION, FORMAT) => Ok(()),
        (APPLICATION, later) if later > FORMAT => Err(LogError::Refused(format!(
            "`{}` has format {later}, this version of Lockstep knows formats up to {FORMAT}; open it with the version that wrote it or a later one",
            path.display()
        ))),
        _ => Err(damaged(
            path,
            "it is an SQLite database, but not a Lockstep log",
        )),
    }
}

fn create(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(&format!(
        "begin immediate; {TABLES} pragma application_id = {APPLICATION}; pragma user_version = {FORMAT}; commit;"
    ))
}

/// Copies the write-ahead log back; after that the file has all its pages, or lost some.
fn check_length(path: &Path, conn: &Connection) -> Result<()> {
    let known = || -> rusqlite::Result<u64> {
        checkpoint(conn)?;
        let pages: i64 = conn.pragma_query_value(None, "page_count", |row| row.get(0))?;
        let size: i64 = conn.pragma_query_value(None, "page_size", |row| row.get(0))?;
        Ok(pages.unsigned_abs() * size.unsigned_abs())
    };
    let wanted = known().map_err(|error| failure(path, &error))?;
    let length = fs::metadata(path)
        .map_err(|error| LogError::Storage(format!("cannot read `{}`: {error}", path.display())))?
        .len();
    if length < wanted {
        return Err(damaged(
            path,
            format!("it has {length} bytes, its header says {wanted}: the end is missing"),
        ));
    }
    Ok(())
}

fn check_pages(path: &Path, conn: &Connection) -> Result<()> {
    let size = fs::metadata(path).map_or(u64::MAX, |meta| meta.len());
    if size > QUICK_CHECK_MAX {
        tracing::info!(
            log = %path.display(), size,
            "the log was not closed properly and is too large to be checked whole; every message is checked when it is read"
        );
        return Ok(());
    }
    let verdict: String = conn
        .query_row("pragma quick_check(1)", [], |row| row.get(0))
        .map_err(|error| failure(path, &error))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(damaged(path, verdict.replace('\n', "; ")))
}

/// Copies the write-ahead log into the database and empties it.
pub(super) fn checkpoint(conn: &Connection) -> rusqlite::Result<()> {
    conn.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()))
}

/// What is wrong with a file.
#[derive(Debug)]
pub(super) enum Damage {
    /// SQLite says so.
    Sqlite(rusqlite::Error),
    /// The rows contradict each other.
    Found(String),
}

impl Damage {
    pub(super) fn into_error(self, path: &Path) -> LogError {
        match self {
            Self::Sqlite(error) => failure(path, &error),
            Self::Found(reason) => damaged(path, reason),
        }
    }
}

impl From<rusqlite::Error> for Damage {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}
