//! One open SQLite file, used from one thread of its own.
//!
//! Every access to SQLite happens on that thread, so no asynchronous task ever waits for a disk or a lock.
//! A call whose future is dropped before its turn is not run; one that has begun runs to its end.
//! This module also owns how names are quoted and how SQLite's errors become Lockstep's.

use std::path::{Path, PathBuf};

use lockstep_core::connector::OpenContext;
use lockstep_core::{Error, Kind, Result};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::{mpsc, oneshot};

use crate::config::Config;

/// Most calls that wait for the thread; further callers wait for room.
const CALLS_MAX: usize = 16;
/// Prepared statements that a connection keeps.
const STATEMENTS_MAX: usize = 256;

/// A handle to the thread that owns a connection and, beside it, some state of the owner's choice.
#[derive(Debug)]
pub(crate) struct Client<S> {
    calls: mpsc::Sender<Call<S>>,
    path: PathBuf,
}

/// What the thread owns.
pub(crate) struct Worker<S> {
    pub(crate) conn: Connection,
    pub(crate) state: S,
}

type Call<S> = Box<dyn FnOnce(&mut Worker<S>) + Send>;

/// What a connection is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reading only; works on files that this process may not write.
    Read,
    /// Reading and writing.
    Write,
}

impl<S: Send + 'static> Client<S> {
    /// Opens the configured file on a new thread.
    pub(crate) async fn open(
        config: &Config,
        cx: &OpenContext,
        access: Access,
        state: S,
    ) -> Result<Self> {
        config.check()?;
        let path = cx.folder.join(&config.path);
        let busy = config.busy_timeout();
        let (calls, mut queue) = mpsc::channel::<Call<S>>(CALLS_MAX);
        let (opened, answer) = oneshot::channel();
        let file = path.clone();
        std::thread::Builder::new()
            .name(format!("sqlite-{}", cx.system))
            .spawn(move || {
                let conn = match connect(&file, access, busy) {
                    Ok(conn) => conn,
                    Err(error) => {
                        let _ = opened.send(Err(error));
                        return;
                    }
                };
                if opened.send(Ok(())).is_err() {
                    return;
                }
                let mut worker = Worker { conn, state };
                while let Some(call) = queue.blocking_recv() {
                    call(&mut worker);
                }
            })
            .map_err(|error| Error::transient("cannot start a thread for SQLite").because(error))?;
        answer.await.map_err(|_| gone())??;
        Ok(Client { calls, path })
    }

    /// Runs `job` on the thread and waits for its answer.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Worker<S>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let call: Call<S> = Box::new(move |worker| {
            if !reply.is_closed() {
                let _ = reply.send(job(worker));
            }
        });
        self.calls.send(call).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn gone() -> Error {
    Error::unexpected("the thread that holds the SQLite file has ended")
}

fn connect(path: &Path, access: Access, busy: std::time::Duration) -> Result<Connection> {
    let missing = |message: String| {
        Error::config(message)
            .with("path", path.display())
            .help("set `path` to an existing SQLite file; Lockstep never creates one, because an empty database is rarely what was meant")
    };
    if !path.exists() {
        return Err(missing("no such database file".to_owned()));
    }
    if path.is_dir() {
        return Err(missing("the database file is a folder".to_owned()));
    }
    let mode = match access {
        Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let failed =
        |error| failure("cannot open the database file", error).with("path", path.display());
    let conn = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(failed)?;
    conn.busy_timeout(busy).map_err(failed)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Rows arrive in the order of their flow, not of the target's foreign keys, and deletes of children arrive as changes of their own: enforcement and cascades are the business system's.
    // Nested triggers must behave as they do for the file's other programs, whose default this is.
    conn.execute_batch(
        "PRAGMA foreign_keys = OFF; PRAGMA recursive_triggers = OFF; PRAGMA synchronous = FULL;",
    )
    .map_err(failed)?;
    // The first read of the file tells a database from anything else.
    conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        .map_err(failed)?;
    Ok(conn)
}

/// Quotes an identifier; the only place where a name becomes part of a statement.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a text literal, for the places where SQLite allows no parameter (the body of a trigger).
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Turns SQLite's error into Lockstep's, by what the runtime should do about it.
pub(crate) fn failure(what: &str, error: rusqlite::Error) -> Error {
    let code = error.sqlite_error_code();
    let (kind, help) = match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            Kind::Transient,
            Some("another program holds the file; a larger `busy_timeout_ms` waits longer"),
        ),
        Some(ErrorCode::DiskFull) => (
            Kind::Transient,
            Some("the disk is full: free some space, writing goes on by itself"),
        ),
        Some(ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory | ErrorCode::SchemaChanged) => {
            (Kind::Transient, None)
        }
        Some(
            ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::AuthorizationForStatementDenied,
        ) => (
            Kind::Unauthorized,
            Some(
                "give this process the right to write the file and its folder, where SQLite keeps its journal",
            ),
        ),
        Some(ErrorCode::CannotOpen) => (
            Kind::Config,
            Some("check that the path is right and that this process may read it"),
        ),
        Some(ErrorCode::NotADatabase) => (
            Kind::Config,
            Some("the file is not a SQLite database, or it is encrypted"),
        ),
        Some(ErrorCode::DatabaseCorrupt) => (
            Kind::Config,
            Some("run `PRAGMA integrity_check` and restore the file from a backup"),
        ),
        // SQLITE_ERROR is a statement that does not fit the schema: a table or column that is not there.
        Some(ErrorCode::Unknown) => (Kind::Config, None),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig) => {
            (Kind::Invalid, None)
        }
        _ => (Kind::Unexpected, None),
    };
    let failed = Error::new(kind, what.to_owned()).because(error);
    match help {
        Some(help) => failed.help(help),
        None => failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_their_quotes() {
        assert_eq!(quote(r#"a"b; DROP"#), r#""a""b; DROP""#);
        assert_eq!(literal("it's"), "'it''s'");
    }
}
