//! The protocol: connecting, asking, and what errors of the server mean.
//!
//! Words of the server may quote values of documents, so an error of a write passes on the error's name only; [`failure`] is for everything else.

use std::sync::Once;

use lockstep_core::connector::OpenContext;
use lockstep_core::{Error, Kind, Result};
use mongodb::bson::{Bson, Document, Timestamp, doc};
use mongodb::error::ErrorKind;
use mongodb::{ClientSession, Database};

use crate::config::Config;
use crate::url;

/// A server that another one takes the place of, a lock, a shutdown: it passes.
const PASSING: [i32; 24] = [
    6, 7, 24, 43, 46, 50, 64, 84, 89, 91, 112, 133, 134, 189, 202, 244, 251, 262, 9001, 10107,
    11600, 11602, 13435, 13436,
];
/// Credentials or permissions are missing.
const DENIED: [i32; 4] = [11, 13, 18, 8000];
/// What comes next in the changes is forgotten.
const LOST: [i32; 4] = [136, 260, 280, 286];
/// The state at an instant cannot be read, or not any more.
const TOO_OLD: [i32; 2] = [239, 246];

/// A database that is open.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) inner: mongodb::Client,
    pub(crate) db: Database,
}

/// What kind of servers keep the database.
#[derive(Clone, Debug)]
pub(crate) struct Deployment {
    /// The replica set's name; none for a server that stands alone.
    pub(crate) set: Option<String>,
    /// Whether a router stands before several sets.
    pub(crate) sharded: bool,
    /// How often a primary was elected; never decreases while it is the same set.
    pub(crate) term: u64,
    /// The last thing that happened.
    pub(crate) now: Option<Timestamp>,
    /// The server's clock, in milliseconds.
    pub(crate) clock_ms: Option<i64>,
    /// Major and minor.
    pub(crate) version: (i32, i32),
}

impl Client {
    /// Connects, and asks for a sign of life.
    pub(crate) async fn open(config: &Config, cx: &OpenContext) -> Result<Client> {
        config.check()?;
        provide_cryptography();
        let application = format!("lockstep {}", cx.system);
        let (options, database) = url::options(config, &cx.folder, &application).await?;
        let inner = mongodb::Client::with_options(options)
            .map_err(|error| failure("cannot set up the connection", &error))?;
        let db = inner.database(&database);
        let client = Client { inner, db };
        client.ask("cannot connect", doc! { "ping": 1 }).await?;
        Ok(client)
    }

    /// Runs a command, in the words of what was to be done.
    pub(crate) async fn ask(&self, what: &str, command: Document) -> Result<Document> {
        let reply = self.db.run_command(command).await;
        reply.map_err(|error| failure(what, &error))
    }

    /// Runs a command inside a transaction.
    pub(crate) async fn inside(
        &self,
        session: &mut ClientSession,
        command: Document,
    ) -> mongodb::error::Result<Document> {
        self.db.run_command(command).session(session).await
    }

    /// What kind of servers these are.
    pub(crate) async fn deployment(&self) -> Result<Deployment> {
        let what = "cannot ask the server what it is";
        let hello = self.ask(what, doc! { "hello": 1 }).await?;
        let built = self.ask(what, doc! { "buildInfo": 1 }).await?;
        let number = |at: usize| {
            let parts = built.get_array("versionArray").ok();
            parts.and_then(|parts| parts.get(at)?.as_i32()).unwrap_or(0)
        };
        // The last eight bytes of the election's id count elections.
        let term = hello.get_object_id("electionId").ok().map(|id| {
            let bytes = id.bytes();
            bytes[4..]
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        });
        Ok(Deployment {
            set: hello.get_str("setName").ok().map(str::to_owned),
            sharded: hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid"),
            term: term.unwrap_or(0),
            now: hello.get_timestamp("operationTime").ok(),
            clock_ms: hello
                .get_datetime("localTime")
                .ok()
                .map(|at| at.timestamp_millis()),
            version: (number(0), number(1)),
        })
    }
}

impl Deployment {
    /// Whether there are change streams and transactions.
    pub(crate) fn is_replicated(&self) -> bool {
        self.sharded || self.set.is_some()
    }
}

/// The driver takes rustls' process-wide provider of cryptography; whoever installed one already has decided.
fn provide_cryptography() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// The code of an error that the server answered with.
pub(crate) fn code(error: &mongodb::error::Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(command) => Some(command.code),
        ErrorKind::Write(mongodb::error::WriteFailure::WriteConcernError(error)) => {
            Some(error.code)
        }
        _ => None,
    }
}

/// Whether what comes next in the changes is forgotten.
pub(crate) fn is_lost(error: &mongodb::error::Error) -> bool {
    code(error).is_some_and(|code| LOST.contains(&code))
}

/// Whether the state at an instant cannot be read.
pub(crate) fn is_too_old(error: &mongodb::error::Error) -> bool {
    code(error).is_some_and(|code| TOO_OLD.contains(&code))
}

/// The error of something that reads or looks.
pub(crate) fn failure(what: &str, error: &mongodb::error::Error) -> Error {
    let words = match &*error.kind {
        ErrorKind::Command(command) => format!(
            "{} ({}): {}",
            command.code_name, command.code, command.message
        ),
        other => other.to_string(),
    };
    classified(what, error).because(words)
}

/// The error of something that writes: the server's words may hold values, so only its error's name is told.
pub(crate) fn write_failure(what: &str, error: &mongodb::error::Error) -> Error {
    let words = match &*error.kind {
        ErrorKind::Command(command) => format!("{} ({})", command.code_name, command.code),
        ErrorKind::Write(_) | ErrorKind::BulkWrite(_) | ErrorKind::InsertMany(_) => {
            "the server refused it".to_owned()
        }
        other => other.to_string(),
    };
    classified(what, error).because(words)
}

fn classified(what: &str, error: &mongodb::error::Error) -> Error {
    let help = match kind(error) {
        Kind::Unauthorized => {
            "check user, password and `authSource` in `url`, and what the user may do; the connector's README names the roles"
        }
        Kind::Config => "check `sslmode` and the certificates that `url` names",
        Kind::Transient => {
            "it is tried again; check that the servers run and that `url` names them"
        }
        _ => return Error::new(kind(error), what),
    };
    Error::new(kind(error), what).help(help)
}

fn kind(error: &mongodb::error::Error) -> Kind {
    if let Some(code) = code(error) {
        if DENIED.contains(&code) {
            return Kind::Unauthorized;
        }
        if PASSING.contains(&code) {
            return Kind::Transient;
        }
    }
    if error.contains_label("TransientTransactionError")
        || error.contains_label("RetryableWriteError")
    {
        return Kind::Transient;
    }
    match &*error.kind {
        ErrorKind::Authentication { .. } => Kind::Unauthorized,
        ErrorKind::InvalidTlsConfig { .. } => Kind::Config,
        ErrorKind::Io(_)
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::DnsResolve { .. } => Kind::Transient,
        _ => Kind::Unexpected,
    }
}

/// The documents of a reply's first and only batch.
pub(crate) fn first_batch(reply: &Document) -> Vec<&Document> {
    let batch = reply
        .get_document("cursor")
        .and_then(|cursor| cursor.get_array("firstBatch"));
    let documents = batch.into_iter().flatten().filter_map(Bson::as_document);
    documents.collect()
}

/// An instant of the server as one number that orders as instants do.
pub(crate) fn to_number(at: Timestamp) -> u64 {
    u64::from(at.time) << 32 | u64::from(at.increment)
}

/// The instant that a number stands for.
pub(crate) fn to_instant(number: u64) -> Timestamp {
    Timestamp {
        time: (number >> 32) as u32,
        increment: number as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_order_as_their_numbers() {
        let early = Timestamp {
            time: 7,
            increment: u32::MAX,
        };
        let late = Timestamp {
            time: 8,
            increment: 0,
        };
        assert_eq!(to_number(early) + 1, to_number(late));
        assert_eq!(to_instant(to_number(early)), early);
    }
}
