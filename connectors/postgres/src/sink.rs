//! The sink: one transaction a batch, with the lanes' progress in it.
//!
//! Progress is compared and set first, all lanes in one statement: where one is not what the batch expects, another writer took over, and nothing is written.
//! A batch in which something is refused is rolled back and tried again in halves, inside savepoints, only to learn every change that is refused.
//! A connection that is dropped in the middle is closed and never used again, so an `apply` may be dropped at any await.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockstep_core::connector::{
    Batch, Finding, Incarnation, LaneProgress, Limits, OpenContext, Outcome, Receipt, Sink,
};
use lockstep_core::{Change, Column, Kind, Result, Shape, Type};
use sqlx::postgres::PgConnection;

use crate::catalog;
use crate::check;
use crate::client::{Client, Lease, failure, quote, run};
use crate::config::Config;
use crate::convert;
use crate::history::History;
use crate::names::{self, relations};
use crate::origin;
use crate::progress;
use crate::statements::Target;
use crate::writer::{self, Failed};

/// How long one `apply` may take: a table that may not be truncated is cleared row by row.
const DEADLINE: Duration = Duration::from_secs(180);
/// Most transactions of one delivery at once: more of them wait for the same index pages.
const WRITERS_MAX: usize = 4;
/// Begins a batch's transaction.
const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = '170s'";
/// Begins one that need not wait for the disk: a crash takes its rows back together with the progress that covers them, and the next batch that waits makes it durable.
const BEGIN_LAZY: &str =
    "BEGIN; SET LOCAL statement_timeout = '170s'; SET LOCAL synchronous_commit = off";
/// Two writers that make tables at once make one after the other.
const MAKE_LOCK: &str = "SELECT pg_advisory_xact_lock(7237089327862154097)";
/// Stops a statement before the deadline does, so that the server says which one it was and has nothing left to do.
pub(crate) const BOUND: &str = "SET LOCAL statement_timeout = '170s'";

/// Writes to a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresSink {
    client: Client,
    tables: Vec<String>,
    batch_max: usize,
    writers: usize,
    histories: BTreeMap<String, Arc<History>>,
    targets: Mutex<HashMap<String, Arc<Target>>>,
}

impl Sink for PostgresSink {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        let marks = origin::names(&cx.system, config.connections);
        Ok(PostgresSink {
            client: Client::marking(&config, &cx, marks).await?,
            batch_max: config.batch_max,
            writers: config.connections.min(WRITERS_MAX),
            histories: config.tables,
            tables: cx.tables,
            targets: Mutex::default(),
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        catalog::shapes(&self.client, &self.tables, &self.histories).await
    }

    async fn check(&self, targets: &[Arc<Shape>]) -> Result<Vec<Finding>> {
        let mut lease = self.client.begin("BEGIN READ ONLY").await?;
        let findings = check::sink(lease.conn(), targets, &self.tables, &self.histories).await?;
        commit(&mut lease)
            .await
            .map_err(|error| failure("cannot check the database", error))?;
        lease.keep();
        Ok(findings)
    }

    async fn prepare(&self, targets: &[Arc<Shape>]) -> Result<()> {
        let mut lease = self.client.begin(BEGIN).await?;
        for shape in targets {
            self.remember(lease.conn(), shape).await?;
        }
        progress::prepare(lease.conn()).await?;
        commit(&mut lease)
            .await
            .map_err(|error| failure("cannot prepare the database", error))?;
        lease.keep();
        Ok(())
    }

    async fn add_columns(&self, table: &str, columns: &[Column]) -> Result<()> {
        let mut lease = self.client.begin(BEGIN).await?;
        let known = catalog::table(lease.conn(), table).await?;
        let added: Vec<String> = columns
            .iter()
            .map(|column| {
                let kind = convert::declaration(column.kind.unwrap_or(Type::Text));
                let name = quote(&column.name);
                format!("ADD COLUMN IF NOT EXISTS {name} {kind}")
            })
            .collect();
        if !added.is_empty() {
            let alter = format!("ALTER TABLE {} {}", known.quoted(), added.join(", "));
            let altered = run(lease.conn(), &alter).await;
            altered.map_err(|error| {
                let error = failure("cannot add a column", error).with("table", table);
                match error.kind() {
                    Kind::Unauthorized => error.help(not_owner(&known.quoted(), &alter)),
                    _ => error,
                }
            })?;
        }
        commit(&mut lease)
            .await
            .map_err(|error| failure("cannot add a column", error))?;
        self.targets().remove(table);
        lease.keep();
        Ok(())
    }

    async fn incarnation(&self, table: &str) -> Result<Option<Incarnation>> {
        let mut lease = self.client.begin("SELECT 1").await?;
        let table = catalog::table(lease.conn(), table).await?;
        lease.keep();
        // A number is given to one column only, also after that is dropped.
        let columns = table.columns.iter();
        let columns = columns.map(|column| (column.name.clone(), column.number.to_string()));
        Ok(Some(Incarnation {
            table: table.oid.to_string(),
            columns: columns.collect(),
        }))
    }

    async fn missing(&self) -> Result<Vec<String>> {
        let mut lease = self.client.begin("BEGIN READ ONLY").await?;
        let failed = |error| failure("cannot read the database's catalogs", error);
        let mut missing = Vec::new();
        for name in &self.tables {
            let found = relations(lease.conn(), name).await.map_err(failed)?;
            if found.is_empty() {
                missing.push(name.clone());
            }
        }
        commit(&mut lease).await.map_err(failed)?;
        lease.keep();
        Ok(missing)
    }

    async fn create_table(&self, table: &Shape) -> Result<()> {
        let mut lease = self.client.begin(BEGIN).await?;
        let failed = |error| {
            let error = failure("cannot make a table", error).with("table", &table.name);
            if error.kind() == Kind::Unauthorized {
                return error.help("let the role of `url` create tables in that schema (GRANT CREATE ON SCHEMA …), or make the table yourself");
            }
            error
        };
        let locked = run(lease.conn(), MAKE_LOCK).await;
        locked.map_err(failed)?;
        let found = relations(lease.conn(), &table.name).await.map_err(failed)?;
        if found.is_empty() {
            let made = run(
                lease.conn(),
                &declare(table, self.histories.get(&table.name)),
            )
            .await;
            made.map_err(failed)?;
        }
        commit(&mut lease).await.map_err(failed)?;
        lease.keep();
        Ok(())
    }

    async fn progress(&self, flow: &str) -> Result<Vec<LaneProgress>> {
        let mut lease = self.client.begin("BEGIN READ ONLY").await?;
        let lanes = progress::read(lease.conn(), flow).await?;
        commit(&mut lease)
            .await
            .map_err(|error| failure("cannot read the lanes' progress", error))?;
        lease.keep();
        Ok(lanes)
    }

    async fn apply(&self, batch: &Batch) -> Result<Receipt> {
        // Without progress nothing would tell that a crash took it back.
        let lazy = batch.follows && !batch.progress.is_empty();
        let begin = if lazy { BEGIN_LAZY } else { BEGIN };
        let mut lease = self.client.begin(begin).await?;
        let mut applied = self.attempt(lease.conn(), batch, true).await;
        if matches!(applied, Err(Failed::NotNew)) {
            rollback(&mut lease).await?;
            let begun = run(lease.conn(), begin).await;
            begun.map_err(|error| failure("cannot begin a transaction", error))?;
            applied = self.attempt(lease.conn(), batch, false).await;
        }
        let applied = match applied {
            Ok(()) => match commit(&mut lease).await {
                Ok(()) => Ok(()),
                // A deferred constraint speaks only now.
                Err(error) => Err(writer::failed(error, false)),
            },
            Err(failed) => Err(failed),
        };
        let receipt = match applied {
            Ok(()) => committed(batch),
            Err(Failed::Stop(error)) => return Err(error),
            Err(Failed::Refused(_) | Failed::NotNew) => {
                rollback(&mut lease).await?;
                self.forget(batch);
                self.find_refused(&mut lease, batch).await?
            }
        };
        lease.keep();
        Ok(receipt)
    }

    fn limits(&self) -> Limits {
        Limits {
            batch_max: self.batch_max,
            progress: true,
            writers: self.writers,
            deadline: DEADLINE,
        }
    }
}

impl PostgresSink {
    /// Writes the whole batch; `fresh` says that rows may be tried as new ones.
    async fn attempt(
        &self,
        conn: &mut PgConnection,
        batch: &Batch,
        fresh: bool,
    ) -> Result<(), Failed> {
        progress::advance(conn, batch).await.map_err(Failed::Stop)?;
        let all = 0..batch.changes.len();
        let mut refused = Vec::new();
        self.write(conn, &batch.changes, all, fresh, &mut refused)
            .await?;
        match refused.pop() {
            Some((_, outcome)) => Err(Failed::Refused(outcome)),
            None => Ok(()),
        }
    }

    /// Writes some changes of a batch; those that cannot even be sent are named.
    async fn write(
        &self,
        conn: &mut PgConnection,
        changes: &[Change],
        places: Range<usize>,
        fresh: bool,
        refused: &mut Vec<(usize, Outcome)>,
    ) -> Result<(), Failed> {
        let mut targets: Vec<Arc<Target>> = Vec::new();
        for change in &changes[places.clone()] {
            if !targets.iter().any(|target| is_for(target, &change.shape)) {
                targets.push(
                    self.target(conn, &change.shape)
                        .await
                        .map_err(Failed::Stop)?,
                );
            }
        }
        let runs = writer::runs(changes, places, &targets, refused);
        if !refused.is_empty() {
            // Whoever asked has to take these out first.
            return Ok(());
        }
        for run in runs {
            run.write(conn, fresh).await?;
        }
        Ok(())
    }

    /// Tries the batch in ever smaller parts, and takes all of it back; a batch in which nothing is refused after all is kept.
    async fn find_refused(&self, lease: &mut Lease, batch: &Batch) -> Result<Receipt> {
        let failed = |error| failure("cannot write to the database", error);
        run(lease.conn(), BEGIN).await.map_err(failed)?;
        progress::advance(lease.conn(), batch).await?;
        let mut refused = Vec::new();
        let mut parts = Vec::new();
        push_halves(&mut parts, 0..batch.changes.len());
        while let Some(part) = parts.pop() {
            match self.try_part(lease.conn(), batch, part.clone()).await {
                Ok(()) => {}
                Err(Failed::Stop(error)) => return Err(error),
                Err(Failed::Refused(outcome)) if part.len() == 1 => {
                    refused.push((part.start, outcome));
                }
                Err(Failed::Refused(_) | Failed::NotNew) => push_halves(&mut parts, part),
            }
        }
        if refused.is_empty() {
            commit(lease).await.map_err(failed)?;
            return Ok(committed(batch));
        }
        rollback(lease).await?;
        Ok(Receipt::RolledBack(refused))
    }

    /// Writes a part, or nothing of it.
    async fn try_part(
        &self,
        conn: &mut PgConnection,
        batch: &Batch,
        part: Range<usize>,
    ) -> Result<(), Failed> {
        let stop = |error| Failed::Stop(failure("cannot write to the database", error));
        run(&mut *conn, "SAVEPOINT part").await.map_err(stop)?;
        let mut refused = Vec::new();
        let written = self.write(conn, &batch.changes, part, false, &mut refused);
        let mut written = written.await;
        if let Some((_, outcome)) = refused.pop() {
            written = Err(Failed::Refused(outcome));
        }
        if written.is_ok() {
            match run(conn, "SET CONSTRAINTS ALL IMMEDIATE; RELEASE part").await {
                Ok(_) => return Ok(()),
                Err(error) => written = Err(writer::failed(error, false)),
            }
        }
        if let Err(Failed::Refused(_)) = &written {
            let back = run(conn, "ROLLBACK TO part; RELEASE part").await;
            back.map_err(stop)?;
        }
        written
    }

    /// The statements for a shape, made once.
    async fn target(&self, conn: &mut PgConnection, shape: &Arc<Shape>) -> Result<Arc<Target>> {
        let known = self.targets().get(&shape.name).cloned();
        match known.filter(|target| is_for(target, shape)) {
            Some(target) => Ok(target),
            None => self.remember(conn, shape).await,
        }
    }

    async fn remember(&self, conn: &mut PgConnection, shape: &Arc<Shape>) -> Result<Arc<Target>> {
        let table = catalog::table(conn, &shape.name).await?;
        let target = Arc::new(Target::new(&table, shape, self.histories.get(&shape.name))?);
        self.targets()
            .insert(shape.name.clone(), Arc::clone(&target));
        Ok(target)
    }

    /// Somebody may have altered the tables since their statements were made.
    fn forget(&self, batch: &Batch) {
        let mut targets = self.targets();
        for change in &batch.changes {
            targets.remove(&change.shape.name);
        }
    }

    fn targets(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Target>>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether statements were made for a shape.
pub(crate) fn is_for(target: &Target, shape: &Arc<Shape>) -> bool {
    Arc::ptr_eq(&target.shape, shape) || target.shape == *shape
}

/// The statement that makes a table.
fn declare(table: &Shape, history: Option<&Arc<History>>) -> String {
    let mut columns = String::new();
    for column in &table.columns {
        let kind = convert::declaration(column.kind.unwrap_or(Type::Text));
        let null = if column.nullable { "" } else { " NOT NULL" };
        // Writing to a text cannot fail.
        let _ = write!(columns, "{} {kind}{null}, ", quote(&column.name));
    }
    let name = names::quoted(&table.name);
    let key = table.key.iter();
    let key: Vec<String> = key.map(|at| quote(&table.columns[*at].name)).collect();
    let key = key.join(", ");
    match history {
        Some(history) => history.declare(&name, &columns, &key),
        None => format!("CREATE TABLE {name} ({columns}PRIMARY KEY ({key}))"),
    }
}

/// What to do where the role may write a table's rows and not alter it: no grant lets it, as only owners alter.
fn not_owner(table: &str, alter: &str) -> String {
    format!(
        "only a table's owner may add columns, and no GRANT on the table gives that: run ALTER TABLE {table} OWNER TO <the role of `url`>, or GRANT <the owner> TO <the role of `url`>, or let the owner run {alter}; with another policy than `propagate` nothing is added"
    )
}

fn committed(batch: &Batch) -> Receipt {
    Receipt::Committed(vec![Outcome::APPLIED; batch.changes.len()])
}

/// The later half is tried later, so it is pushed first.
fn push_halves(parts: &mut Vec<Range<usize>>, part: Range<usize>) {
    let middle = part.start + part.len() / 2;
    for half in [middle..part.end, part.start..middle] {
        if !half.is_empty() {
            parts.push(half);
        }
    }
}

async fn commit(lease: &mut Lease) -> sqlx::Result<()> {
    run(lease.conn(), "COMMIT").await?;
    Ok(())
}

async fn rollback(lease: &mut Lease) -> Result<()> {
    let done = run(lease.conn(), "ROLLBACK").await;
    done.map_err(|error| failure("cannot roll a batch back", error))?;
    Ok(())
}
