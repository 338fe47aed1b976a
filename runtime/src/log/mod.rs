//! Step three, **log**: the durable ordered event log, the only thing between processes.
//!
//! One interface, [`Log`]; engines: [`embedded`] (one SQLite file, one process) and [`nats`] (NATS JetStream, for several machines).
//! The interface follows JetStream's semantics, so that an engine can be changed by one line of configuration; the conformance suite in `tests/` is what an engine has to pass.
//!
//! This module knows messages, not changes: what they carry is `lockstep_core::log`'s business.

pub mod embedded;
mod failure;
pub mod nats;
pub mod rules;

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use lockstep_core::connector::Boxed;

pub use failure::{CODES, not_published, to_error};

/// A durable, ordered log of messages in streams, with consumers and key-value buckets.
///
/// # Guarantees
/// - Sequences of a stream start at 1 and grow by one per stored message; they are never reused.
/// - When `publish` returns an [`Ack`], the message survives the death of the process and of the machine.
/// - Messages of one call are stored in their order; other calls' messages may stand between them.
/// - A full stream refuses new messages ([`PublishError::Full`]); it never drops old ones to make room.
pub trait Log: Send + Sync + 'static {
    /// Creates a stream, or checks that it is as declared.
    ///
    /// # Errors
    /// A stream of that name exists with other subjects or limits; the message says which differ.
    fn ensure_stream<'a>(&'a self, config: &'a StreamConfig) -> Boxed<'a, Result<()>>;

    /// The state of a stream.
    fn stream<'a>(&'a self, stream: &'a str) -> Boxed<'a, Result<StreamInfo>>;

    /// Stores messages, each on its own terms; one answer per message, in order.
    fn publish<'a>(
        &'a self,
        stream: &'a str,
        messages: Vec<Message>,
    ) -> Boxed<'a, Vec<Result<Ack, PublishError>>>;

    /// Stores all messages or none (at most [`ATOMIC_MAX`]); expectations are judged together, at the commit.
    ///
    /// # Errors
    /// The first message that was refused, by index.
    fn publish_atomic<'a>(
        &'a self,
        stream: &'a str,
        messages: Vec<Message>,
    ) -> Boxed<'a, Result<Vec<Ack>, (usize, PublishError)>>;

    /// The last message on a subject, which may hold no wildcard. The payload of one that is larger than a server takes at once may be left out; consumers bring it.
    fn last<'a>(&'a self, stream: &'a str, subject: &'a str) -> Boxed<'a, Result<Option<Stored>>>;

    /// The message of a sequence, if it is still kept; of a large one as with [`Log::last`].
    fn get(&self, stream: &str, seq: u64) -> Boxed<'_, Result<Option<Stored>>>;

    /// Removes messages by age and limit now, and for the rest of the time whenever the engine sees fit.
    fn enforce_limits<'a>(&'a self, stream: &'a str) -> Boxed<'a, Result<()>>;

    /// Opens a consumer: creates it, or goes on with the durable one of that name.
    ///
    /// # Errors
    /// A start behind the first kept sequence is [`LogError::Gap`]: messages were lost to it, which nobody may skip silently.
    fn consume<'a>(
        &'a self,
        stream: &'a str,
        config: ConsumerConfig,
    ) -> Boxed<'a, Result<Box<dyn Consumer>>>;

    /// Forgets a durable consumer.
    fn delete_consumer<'a>(&'a self, stream: &'a str, name: &'a str) -> Boxed<'a, Result<()>>;

    /// Opens a key-value bucket, creating it if need be.
    fn bucket<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<Box<dyn Bucket>>>;

    /// Sends a request to whoever serves the subject and waits for the answer.
    ///
    /// # Errors
    /// [`LogError::NoResponders`] when nobody serves it.
    fn request<'a>(
        &'a self,
        subject: &'a str,
        payload: Bytes,
        deadline: Duration,
    ) -> Boxed<'a, Result<Bytes>>;

    /// Sends a plain message to whoever listens on a subject at this moment; nobody listening is no error, and nothing is kept.
    ///
    /// # Errors
    /// A subject that is none, or a log that cannot send.
    fn tell<'a>(&'a self, subject: &'a str, payload: Bytes) -> Boxed<'a, Result<()>>;

    /// Serves a subject until the returned service is dropped.
    fn serve<'a>(&'a self, subject: &'a str) -> Boxed<'a, Result<Service>>;
}

/// The stream of settled events.
pub const SETTLED: &str = "LS_SET";
/// The stream of what other programs publish.
pub const INBOX: &str = "LS_INBOX";
/// The stream of leases.
pub const LEASES: &str = "LS_LEASE";
/// The stream of source positions.
pub const POSITIONS: &str = "LS_POS";

/// Most messages of [`Log::publish_atomic`].
pub const ATOMIC_MAX: usize = 1000;
/// Most bytes of a message's headers.
pub const HEADERS_MAX: usize = 64 * 1024;
/// Most bytes of a value of a bucket, and of a plain request or answer.
pub const PAYLOAD_MAX: usize = 1024 * 1024;
/// Most bytes of a stored message's payload; what is more than a server takes at once is kept beside its stream.
pub const MESSAGE_MAX: usize = 48 * 1024 * 1024;

/// The result of anything the log does but publishing.
pub type Result<T, E = LogError> = std::result::Result<T, E>;

/// What a stream keeps, and of which subjects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    /// Its name: letters, digits, `_` and `-`.
    pub name: String,
    /// The subjects it stores, wildcards allowed (`*` one token, `>` all that follow).
    pub subjects: Vec<String>,
    /// How long messages are kept; for ever if absent.
    pub max_age: Option<Duration>,
    /// Most bytes kept; new messages are refused beyond.
    pub max_bytes: Option<u64>,
    /// Most messages kept per subject; older ones make way. Only for streams of states, where the last one is the truth.
    pub max_per_subject: Option<u64>,
    /// How long a message id is remembered.
    pub duplicate_window: Duration,
}

/// The state of a stream.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct StreamInfo {
    /// The first sequence still kept; one past the last when nothing is kept.
    pub first_seq: u64,
    /// The last sequence given out, 0 for none.
    pub last_seq: u64,
    /// Messages kept.
    pub messages: u64,
    /// Bytes kept.
    pub bytes: u64,
    /// When the stream was made: a stream made anew begins at sequence 1 again, and this tells them apart.
    pub created: Timestamp,
}

/// A message to be stored.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Its subject: tokens of printable characters without `*`, `>` and blanks, joined by dots.
    pub subject: String,
    /// Headers; a name may come more than once, and its values keep their order. Names may come back in another order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub payload: Bytes,
    /// Store it only if the last sequence on its subject is this, 0 for none: compare-and-set. Never together with `id`.
    pub expect_last: Option<u64>,
    /// Store it only if no message of this id is remembered. Never together with `expect_last`.
    pub id: Option<String>,
    /// Forget the message after this time; for leases.
    pub ttl: Option<Duration>,
}

/// A stored message, as consumers and reads see it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its sequence in the stream.
    pub seq: u64,
    /// Its subject.
    pub subject: String,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub payload: Bytes,
    /// When it was stored.
    pub at: Timestamp,
    /// How often it was delivered to this consumer, from 1.
    pub deliveries: u32,
}

impl Stored {
    /// The first header of a name, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// The log's word that a message is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Its sequence; for a duplicate, the first one's.
    pub seq: u64,
    /// Whether a message of the same id was already there.
    pub duplicate: bool,
}

/// Why a message was not stored, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Another message came first: the subject's last sequence is `actual`.
    #[error("the last sequence on `{subject}` is {actual}, not the expected one")]
    WrongLast {
        /// The subject.
        subject: String,
        /// Its last sequence.
        actual: u64,
    },
    /// The stream is at its limit.
    #[error("stream `{stream}` is full ({limit})")]
    Full {
        /// The stream.
        stream: String,
        /// Which limit.
        limit: String,
    },
    /// The message breaks a rule of the log (a subject outside the stream, too large, id and expectation together).
    #[error("the log refuses the message: {0}")]
    Refused(String),
    /// The log's server does not permit us to write there.
    #[error("the log's server does not permit this user to publish to `{0}`")]
    Denied(String),
    /// The answer was lost: it may or may not be stored. Read the subject's last message to find out.
    #[error("the outcome of the publish is unknown: {0}")]
    Unknown(String),
    /// It was not stored, because the log's storage failed.
    #[error("the log could not store the message: {0}")]
    Storage(String),
}

/// Why the log did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Somebody else holds the log.
    #[error("the log `{path}` is in use by another runtime ({holder})")]
    InUse {
        /// The file.
        path: String,
        /// What is known of the holder.
        holder: String,
    },
    /// The log's file is damaged.
    #[error("the log `{path}` is damaged: {reason}")]
    Corrupt {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A stream exists with other settings.
    #[error("stream `{stream}` differs from its declaration: {differences}")]
    Differs {
        /// The stream.
        stream: String,
        /// Setting by setting.
        differences: String,
    },
    /// No such stream, consumer or bucket.
    #[error("no such {what} `{name}`")]
    Missing {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The consumer would have to skip messages that are no longer kept.
    #[error(
        "stream `{stream}` starts at {first}, but {wanted} was to be read next: the messages between are gone"
    )]
    Gap {
        /// The stream.
        stream: String,
        /// Its first kept sequence.
        first: u64,
        /// The sequence that was to be read next.
        wanted: u64,
    },
    /// The stream is not what was there before: it lost its newest messages, and gives their sequences out again.
    #[error("stream `{stream}` was set back: {reason}")]
    SetBack {
        /// The stream.
        stream: String,
        /// How that shows.
        reason: String,
    },
    /// A key-value entry has another revision.
    #[error("`{key}` is at revision {actual}, not the expected one")]
    WrongRevision {
        /// The key.
        key: String,
        /// Its revision, 0 for none.
        actual: u64,
    },
    /// Nobody serves the subject.
    #[error("nobody serves `{0}`")]
    NoResponders(String),
    /// The deadline passed.
    #[error("no answer from `{0}` in time")]
    Timeout(String),
    /// A name, subject or size outside the log's rules.
    #[error("the log refuses: {0}")]
    Refused(String),
    /// A large message's payload, which is kept beside its stream, is missing or damaged.
    #[error("message {seq} of stream `{stream}` cannot be read: {reason}")]
    Object {
        /// The stream.
        stream: String,
        /// The message's sequence.
        seq: u64,
        /// What is wrong with its object.
        reason: String,
    },
    /// The log's storage failed.
    #[error("the log's storage failed: {0}")]
    Storage(String),
    /// The log's servers cannot be reached, or are not ready.
    #[error("the log's servers `{servers}` cannot be reached: {reason}")]
    Unreachable {
        /// Their addresses.
        servers: String,
        /// What is known.
        reason: String,
    },
    /// The log's servers do not know us.
    #[error("the log's credentials cannot be used: {0}")]
    Credentials(String),
    /// The log's server does not permit what was asked.
    #[error("the log's server does not permit this user to use `{0}`")]
    Denied(String),
    /// The log is closed.
    #[error("the log is closed")]
    Closed,
}

/// What a consumer reads, and how it says that it is done.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// Its name, under which a durable consumer's progress is kept; none for one that lives as long as its handle.
    pub durable: Option<String>,
    /// The subjects it reads, wildcards allowed; all of the stream's if empty.
    pub filters: Vec<String>,
    /// Where it starts, when it is new.
    pub start: Start,
    /// How it acknowledges.
    pub ack: AckPolicy,
    /// How long a delivery may stay unacknowledged before it is delivered again.
    pub ack_wait: Duration,
    /// Most deliveries that may be unacknowledged.
    pub max_ack_pending: usize,
}

/// Where a new consumer starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first message kept.
    All,
    /// With messages stored from now on.
    New,
    /// At this sequence, which must still be kept or be the next one.
    Seq(u64),
    /// At the first message stored at or after this time.
    Time(Timestamp),
    /// At the last message of every subject.
    LastPerSubject,
}

/// How a consumer acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckPolicy {
    /// Deliveries count as done.
    None,
    /// An acknowledgement covers everything before it.
    All,
    /// Every message on its own.
    Explicit,
}

/// A pull consumer.
///
/// When an unacknowledged delivery's time is up it is delivered again, possibly after newer messages: whoever consumes must cope with newer-before-older.
pub trait Consumer: Send + 'static {
    /// Waits up to `wait` for at least one message, then gives what is there, at most `max`. Empty when the time is up. Dropping the future loses nothing but the time until redelivery.
    fn fetch(&mut self, max: usize, wait: Duration) -> Boxed<'_, Result<Vec<Stored>>>;

    /// Says that a delivery (and, under [`AckPolicy::All`], everything before it) is done. Returning means remembered.
    fn ack(&mut self, seq: u64) -> Boxed<'_, Result<()>>;

    /// Asks for a delivery again, after `delay`.
    fn nak(&mut self, seq: u64, delay: Duration) -> Boxed<'_, Result<()>>;

    /// Says that a delivery will never succeed.
    fn term(&mut self, seq: u64) -> Boxed<'_, Result<()>>;

    /// Starts a delivery's time anew.
    fn in_progress(&mut self, seq: u64) -> Boxed<'_, Result<()>>;

    /// Goes on at this sequence, forgetting what is unacknowledged.
    fn reset(&mut self, seq: u64) -> Boxed<'_, Result<()>>;

    /// How many messages of its subjects it has not been given, and how many it has not acknowledged.
    fn pending(&self) -> Boxed<'_, Result<(u64, u64)>>;
}

/// A key-value bucket: the last value per key, with revisions.
pub trait Bucket: Send + Sync + 'static {
    /// The value of a key and its revision.
    fn get<'a>(&'a self, key: &'a str) -> Boxed<'a, Result<Option<Entry>>>;

    /// Sets a key, whatever it holds; gives the new revision.
    fn put<'a>(&'a self, key: &'a str, value: Bytes) -> Boxed<'a, Result<u64>>;

    /// Sets a key only if its revision is `revision`, 0 for none; gives the new one.
    ///
    /// # Errors
    /// [`LogError::WrongRevision`].
    fn update<'a>(&'a self, key: &'a str, value: Bytes, revision: u64) -> Boxed<'a, Result<u64>>;

    /// Removes a key; removing an absent one is fine.
    fn delete<'a>(&'a self, key: &'a str) -> Boxed<'a, Result<()>>;

    /// Every entry whose key begins with `prefix`, by key.
    fn list<'a>(&'a self, prefix: &'a str) -> Boxed<'a, Result<Vec<Entry>>>;

    /// Shows every entry to `each`, a few in memory at a time, in no order. A key that changes meanwhile may come twice, its newer value later.
    fn scan<'a>(&'a self, each: &'a mut (dyn FnMut(Entry) + Send)) -> Boxed<'a, Result<()>>;

    /// Entries as they are now and then as they change. Of changes to one key that come faster than the receiver reads, the last is told. Ends when the receiver is dropped.
    fn watch<'a>(
        &'a self,
        prefix: &'a str,
    ) -> Boxed<'a, Result<tokio::sync::mpsc::Receiver<Entry>>>;
}

/// An entry of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Its value; empty for a removed one in a watch.
    pub value: Bytes,
    /// Its revision.
    pub revision: u64,
    /// Whether it was removed; only in a watch.
    pub removed: bool,
}

/// A served subject: requests come in, answers go back.
#[derive(Debug)]
pub struct Service {
    /// The requests.
    pub requests: tokio::sync::mpsc::Receiver<Request>,
}

/// A request waiting for its answer; dropping it unanswered is a time-out for the asker.
#[derive(Debug)]
pub struct Request {
    /// The body.
    pub payload: Bytes,
    /// Where the answer goes.
    pub reply: tokio::sync::oneshot::Sender<Bytes>,
}
