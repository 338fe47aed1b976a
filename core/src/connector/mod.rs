//! The author's side: what a connector is and what it promises.
//!
//! A connector is one crate that knows one kind of system and gives a [`Source`], a [`Sink`], a [`Reader`], or several of them, as a [`Connector`] value that a [`Registry`] holds.
//! Authors write plain `async fn`s; the registry keeps an object-safe twin of each trait, so the runtime can hold connectors of all kinds side by side.
//!
//! What the runtime promises an author: one `run` per source at a time, `apply` never concurrently for the same lane, positions stored only after what they cover is durable.
//! What an author promises: see the traits.

mod described;
mod emitter;
mod erased;
mod filter;
mod notice;
mod registry;
mod secret;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::change::Change;
use crate::error::{Error, Kind, Result};
use crate::position::Position;
use crate::shape::{Column, Row, Shape};
use crate::value::Value;

pub use described::{CODES, FindSecret, Trial, Tried, TriedTable, TryFile};
pub use emitter::{Control, Emitted, Emitter, Feed, News, Slot, feed};
pub use erased::{Boxed, DynReader, DynSink, DynSource};
pub use filter::{Filter, Parts, Reads, Sign};
pub use notice::{Call, Growing, Heard, Notice, Noticed};
pub use registry::{Connector, Registry};
pub use secret::Secret;

/// What a connector is told when it is opened.
#[derive(Clone, Debug)]
pub struct OpenContext {
    /// The system's name in the configuration.
    pub system: String,
    /// The folder of the configuration file; relative paths in it start there.
    pub folder: PathBuf,
    /// The tables (or the system's like) that flows of this configuration use, sorted.
    pub tables: Vec<String>,
    /// What of them is wanted, as far as that is not all; told to sources.
    pub reads: BTreeMap<String, Reads>,
}

impl OpenContext {
    /// What of a table is wanted.
    #[must_use]
    pub fn reads(&self, table: &str) -> Reads {
        self.reads.get(table).cloned().unwrap_or_default()
    }
}

/// Observes a system: reads what is there, then every change, in order.
///
/// # Promises of an author
/// - **Order.** Changes are emitted in the order of their marks; inside one incarnation marks never decrease, and no two changes share one.
/// - **Resumption.** `run(Some(position))` emits every change after `position`, and may emit earlier ones again, under the same marks.
/// - **Room first.** Ask [`Emitter::room`] before reading, so that nothing is in hand that a cancelled future could lose; dropping `run` at any await is allowed and loses nothing.
/// - **Say where you begin.** The first batch of an incarnation that `resume` does not name is empty, and its position is one from which a later run misses nothing that follows. The runtime stores it before any change: were the first changes stored without it, a crash would begin again later, and the deletes in between would never be told.
/// - **Say that there is nothing.** After that emit a batch, if need be an empty one, as soon as the system has been looked at: until then nobody can tell an idle system from a slow one.
/// - **Tell of tables.** Where a table's shape changes while it is read, say so with [`News::Shape`] although no row came, and with [`News::Read`] that a table was read to its last row; a source that cannot see either says nothing.
/// - **Release late.** Tell the system to forget only what [`Emitter::safe`] covers.
///
/// Once the runtime is stopping, every call of the emitter returns [`Kind::Stopped`]: `?` is the graceful exit.
pub trait Source: Sized + Send + 'static {
    /// The connector's configuration; its JSON Schema is derived from it.
    type Config: DeserializeOwned + JsonSchema + Send;

    /// Connects, without reading yet.
    fn open(config: Self::Config, cx: OpenContext) -> impl Future<Output = Result<Self>> + Send;

    /// The shapes of the context's tables as the system declares them, in the order of the context.
    ///
    /// # Errors
    /// Names a table that does not exist, under the code [`GONE`](crate::contract::drift::GONE), or that has no key.
    fn discover(&self) -> impl Future<Output = Result<Vec<Arc<Shape>>>> + Send;

    /// Looks for what would keep `run` from working, or from telling what `needs` names, and says how to mend it; changes nothing.
    fn check(&self, needs: &[Need]) -> impl Future<Output = Result<Vec<Finding>>> + Send {
        let _ = needs;
        async { Ok(Vec::new()) }
    }

    /// Reads the system until stopped: from the beginning (snapshot, then changes) or after `resume`.
    fn run(self, resume: Option<Position>, out: Emitter)
    -> impl Future<Output = Result<()>> + Send;
}

/// What a delete of a table's row has to tell beside the table's own key, so that the record it was can be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The table.
    pub table: String,
    /// The columns that the contract's key, its lane and the mapping's filter come from.
    pub columns: Vec<String>,
}

/// Applies changes to a system.
///
/// # Promises of an author
/// - **Returning means durable.** What `apply` reports as committed survives a crash of anything; of a batch that says [`Batch::follows`], a crash may take the data and its progress back together.
/// - **Twice is once.** Applying a batch again, or an older one after a newer, leaves the same state.
/// - **Fencing.** Where [`Limits::progress`] is true the sink stores [`LaneProgress`] in the same transaction as the rows, as a compare-and-set; a mismatch is [`Kind::Stopped`] and writes nothing.
/// - **All or nothing.** A sink with progress commits a batch only whole: when one change is refused it rolls back and says which ([`Receipt::RolledBack`]); the runtime quarantines those first and sends the rest again.
/// - **Unchanged means untouched.** A cell that is [`Cell::Unchanged`](crate::Cell::Unchanged) leaves the column as it is, never null.
/// - **Quiet where equal.** A row that already holds the values is not written again where the system can tell.
pub trait Sink: Sized + Send + Sync + 'static {
    /// The connector's configuration; its JSON Schema is derived from it.
    type Config: DeserializeOwned + JsonSchema + Send;

    /// Connects, without writing yet.
    fn open(config: Self::Config, cx: OpenContext) -> impl Future<Output = Result<Self>> + Send;

    /// The shapes of the context's tables as the system declares them, in the order of the context.
    fn discover(&self) -> impl Future<Output = Result<Vec<Arc<Shape>>>> + Send;

    /// Looks for what would keep writes of these shapes from working (no unique key, a missing permission) and says how to mend it; changes nothing.
    ///
    /// A target's shape holds the columns that the mapping writes; its key is what the contract's key maps to, not necessarily the table's primary key.
    fn check(&self, targets: &[Arc<Shape>]) -> impl Future<Output = Result<Vec<Finding>>> + Send {
        let _ = targets;
        async { Ok(Vec::new()) }
    }

    /// Makes what `apply` needs beside the targets themselves, such as the progress table; called once before the first `apply`.
    fn prepare(&self, targets: &[Arc<Shape>]) -> impl Future<Output = Result<()>> + Send;

    /// Adds columns to a table, each of which takes null; one that is there already is left as it is.
    ///
    /// Asked for only where the configuration says that additions are propagated, and never while `apply` runs.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] where the system's tables cannot be altered from here, which is the default.
    fn add_columns(
        &self,
        table: &str,
        columns: &[Column],
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = columns;
        let error = Error::new(
            Kind::Unsupported,
            format!("columns cannot be added to `{table}` from here"),
        )
        .help("add them yourself, and the flow goes on by itself");
        async move { Err(error) }
    }

    /// What tells a table, and each of its columns, from another one that takes its place under the same name; none where nobody can tell, which is the default.
    ///
    /// What was applied to the one is not in the other, so the runtime has it brought again.
    fn incarnation(&self, table: &str) -> impl Future<Output = Result<Option<Incarnation>>> + Send {
        let _ = table;
        async { Ok(None) }
    }

    /// Which of the context's tables are not there; asked for only where tables may be made.
    fn missing(&self) -> impl Future<Output = Result<Vec<String>>> + Send {
        async { Ok(Vec::new()) }
    }

    /// Makes a table with these columns and this key; one that is there already is left as it is, whatever it holds.
    ///
    /// Asked for only where the configuration says so, and before anything else is asked about the table.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] where tables cannot be made from here, which is the default.
    fn create_table(&self, table: &Shape) -> impl Future<Output = Result<()>> + Send {
        let error = Error::new(
            Kind::Unsupported,
            format!("table `{}` cannot be made from here", table.name),
        )
        .help("make it yourself, and the flow goes on by itself");
        async move { Err(error) }
    }

    /// How far each lane of a flow got, by the system's own record; empty where the system keeps none.
    fn progress(&self, flow: &str) -> impl Future<Output = Result<Vec<LaneProgress>>> + Send {
        let _ = flow;
        async { Ok(Vec::new()) }
    }

    /// Applies a batch; see the promises above. The batch's lanes are this call's alone while it runs.
    fn apply(&self, batch: &Batch) -> impl Future<Output = Result<Receipt>> + Send;

    /// What sizes of batches suit the system.
    fn limits(&self) -> Limits {
        Limits::default()
    }
}

/// Reads a system's rows for verification and repair.
pub trait Reader: Sized + Send + Sync + 'static {
    /// The connector's configuration; its JSON Schema is derived from it.
    type Config: DeserializeOwned + JsonSchema + Send;

    /// Connects, without reading yet.
    fn open(config: Self::Config, cx: OpenContext) -> impl Future<Output = Result<Self>> + Send;

    /// The shapes of the context's tables as the system declares them, in the order of the context.
    fn discover(&self) -> impl Future<Output = Result<Vec<Arc<Shape>>>> + Send;

    /// What the system's own SQL says of a table beside its shape: comments, checks, references, lengths; `None` where it has none, which is the default.
    ///
    /// Asked for when a contract is made of the table, and never while data flows.
    fn definition(&self, table: &str) -> impl Future<Output = Result<Option<Definition>>> + Send {
        let _ = table;
        async { Ok(None) }
    }

    /// How a table tells which of its rows are new, for systems without a log; `None` where only reading all of it tells, which is the default.
    fn growing(&self, table: &str) -> Option<Growing> {
        let _ = table;
        None
    }

    /// Whether the system keeps a journal of changes that [`Reader::noticed`] reads.
    fn has_journal(&self) -> bool {
        false
    }

    /// The records of the context's tables that the system's journal names behind `cursor`; without one, where the journal ends now, and no record.
    ///
    /// Reading from a cursor again names the same records again; the journal may name some that did not change.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a cursor that the journal no longer reaches back to: the runtime then compares whole tables.
    fn noticed(&self, cursor: Option<&str>) -> impl Future<Output = Result<Noticed>> + Send {
        let _ = cursor;
        async { Err(Error::unsupported("the system keeps no journal")) }
    }

    /// Takes a call of the system (a webhook), once it is certain that it comes from there; looks nothing up.
    ///
    /// # Errors
    /// [`Kind::Unauthorized`] for a missing, wrong or too old signature, [`Kind::Invalid`] for a body that cannot be read, [`Kind::Unsupported`] where the system does not call, which is the default.
    fn hear(&self, call: &Call) -> Result<Heard> {
        let _ = call;
        Err(Error::unsupported(
            "this connector takes no calls of its system",
        ))
    }

    /// Looks for what would keep reading from working (credentials, scopes) and says how to mend it; changes nothing.
    fn check(&self) -> impl Future<Output = Result<Vec<Finding>>> + Send {
        async { Ok(Vec::new()) }
    }

    /// One page of rows of `table`, each with every column of `columns`, in the order of `key`, starting after `after` (values of `key`).
    ///
    /// A page shorter than `limit` is the last. A row whose key holds a null is in none.
    fn scan(&self, page: Page<'_>) -> impl Future<Output = Result<Vec<Row>>> + Send;

    /// The rows whose `key` columns equal one of `keys`, in any order; missing ones are left out.
    fn fetch(
        &self,
        table: &str,
        columns: &[String],
        key: &[String],
        keys: &[Vec<Value>],
    ) -> impl Future<Output = Result<Vec<Row>>> + Send;
}

/// A table in SQL, as [`Reader::definition`] gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Whose SQL it is: `postgres`, `mysql`, `sqlite`.
    pub dialect: &'static str,
    /// Statements that make the table, and the types that its columns have.
    pub sql: String,
}

/// What [`Reader::scan`] reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Page<'a> {
    /// The table.
    pub table: &'a str,
    /// The columns of the rows, in the order they are wanted.
    pub columns: &'a [String],
    /// The columns to order by, which identify a row.
    pub key: &'a [String],
    /// The key of the last row of the page before.
    pub after: Option<&'a [Value]>,
    /// The last key that the page may hold.
    pub until: Option<&'a [Value]>,
    /// What its rows fulfil.
    pub filter: Option<&'a Filter>,
    /// Whether the page is read from the last key backwards.
    pub backwards: bool,
    /// Most rows of the page.
    pub limit: usize,
}

/// Changes of one flow for one target, with the lanes they came on.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The flow's name; progress is kept under it.
    pub flow: String,
    /// Changes in the target's shape; those of one key stand in their order.
    /// A key change carries the old key in [`Change::before`]: the old row goes in the same transaction.
    pub changes: Vec<Change>,
    /// The lanes of the batch: where each stood before it and stands after it.
    pub progress: Vec<LaneProgress>,
    /// Whether another batch of the flow comes at once. A sink with progress need not wait for the disk then, as long as the next batch that says otherwise makes both durable.
    pub follows: bool,
}

/// How far one lane of a flow has been applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneProgress {
    /// The lane's subject.
    pub lane: String,
    /// The log's sequence that the sink must find stored, 0 for none; when read back, equal to `reached`.
    pub expected: u64,
    /// The log's sequence that this batch ends at; batches hold whole messages.
    pub reached: u64,
    /// The source position of the last change, by which a re-published prefix is recognised.
    pub position: Option<Position>,
}

/// What a sink did with a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Receipt {
    /// Everything is durable, progress included. One outcome per change, in order.
    Committed(Vec<Outcome>),
    /// Nothing was written, because these changes were refused. Index into the batch, and why.
    RolledBack(Vec<(usize, Outcome)>),
}

/// What became of one change.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// Durably applied (or already so).
    Applied {
        /// The target's own id of the record, where it gave one.
        target_id: Option<Value>,
    },
    /// Older than what the target holds; left alone.
    Stale,
    /// Somebody else changed the record in between.
    Conflict {
        /// What stood in the way.
        reason: String,
    },
    /// Needs another record first.
    Waiting {
        /// What it waits for.
        on: String,
    },
    /// The target refuses the record itself.
    Rejected {
        /// Why, in the target's words.
        reason: String,
    },
}

impl Outcome {
    /// Applied, by a target that gives no id of its own.
    pub const APPLIED: Outcome = Outcome::Applied { target_id: None };
}

/// Something [`Source::check`] or [`Sink::check`] found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: crate::diagnostic::Severity,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub help: String,
}

/// What tells a table, and each of its columns, from the next one of its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incarnation {
    /// The table's.
    pub table: String,
    /// The columns', by name; empty where the system cannot tell.
    pub columns: BTreeMap<String, String>,
}

/// What sizes of batches suit a sink.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Most changes a batch.
    pub batch_max: usize,
    /// Whether the sink keeps lane progress in the data's own transaction.
    pub progress: bool,
    /// How many `apply`s it serves at once, each in a transaction of its own; lanes are shared out among them where much waits.
    pub writers: usize,
    /// How long one `apply` may take before it counts as failed.
    pub deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            batch_max: 1000,
            progress: false,
            writers: 1,
            deadline: Duration::from_secs(60),
        }
    }
}

/// A connector's configuration as it stands in the runtime's configuration, before it is parsed.
pub type RawConfig = BTreeMap<String, serde_json::Value>;
