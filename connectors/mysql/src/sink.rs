//! The sink: one transaction a batch, with the lanes' progress in it.
//!
//! Progress is compared and set first: where it is not what the batch expects, another writer took over, and nothing is written.
//! A batch in which something is refused is rolled back and tried again in halves, inside savepoints, only to learn every change that is refused.
//! A connection that is dropped in the middle is closed and never used again, so an `apply` may be dropped at any await.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockstep_core::connector::{
    Batch, Finding, LaneProgress, Limits, OpenContext, Outcome, Receipt, Sink,
};
use lockstep_core::{Change, Column, Kind, Result, Shape, Type};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::catalog::{self, Table};
use crate::check;
use crate::client::{Client, Lease, code, failure};
use crate::config::Config;
use crate::convert;
use crate::names::quote;
use crate::progress;
use crate::statements::Target;
use crate::writer::{self, Failed};

/// How long one `apply` may take: a table is cleared row by row.
const DEADLINE: Duration = Duration::from_secs(180);
/// How often a batch is tried when others hold what it needs.
const TRIES: u32 = 4;

/// Writes to a MySQL or MariaDB database.
#[derive(Debug)]
pub struct MysqlSink {
    client: Client,
    tables: Vec<String>,
    batch_max: usize,
    targets: Mutex<HashMap<String, Arc<Target>>>,
}

impl Sink for MysqlSink {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        Ok(MysqlSink {
            client: Client::open(&config, &cx).await?,
            batch_max: config.batch_max,
            tables: cx.tables,
            targets: Mutex::default(),
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        catalog::shapes(&self.client, &self.tables, Table::target_shape).await
    }

    async fn check(&self, targets: &[Arc<Shape>]) -> Result<Vec<Finding>> {
        let mut lease = self.client.begin("DO 0").await?;
        let findings = check::sink(lease.conn(), &self.client, targets).await?;
        lease.keep();
        Ok(findings)
    }

    async fn prepare(&self, targets: &[Arc<Shape>]) -> Result<()> {
        let mut lease = self.client.begin("DO 0").await?;
        for shape in targets {
            self.remember(lease.conn(), shape).await?;
        }
        progress::prepare(lease.conn()).await?;
        lease.keep();
        Ok(())
    }

    async fn add_columns(&self, table: &str, columns: &[Column]) -> Result<()> {
        let mut lease = self.client.begin("DO 0").await?;
        let known = catalog::table(lease.conn(), table, &self.client.endpoint().database).await?;
        let is_new = |column: &&Column| known.position(&column.name).is_none();
        let added: Vec<String> = columns
            .iter()
            .filter(is_new)
            .map(|column| {
                let kind = convert::declaration(column.kind.unwrap_or(Type::Text));
                format!("ADD COLUMN {} {kind} NULL", quote(&column.name))
            })
            .collect();
        if !added.is_empty() {
            let alter = format!("ALTER TABLE {} {}", known.quoted(), added.join(", "));
            match lease.conn().query_drop(alter).await {
                Ok(()) => {}
                // Somebody else was quicker.
                Err(error) if code(&error) == 1060 && added.len() == 1 => {}
                Err(error) => {
                    let error = failure("cannot add a column", error).with("table", table);
                    return Err(match error.kind() {
                        Kind::Unauthorized => error.help(format!(
                            "let the user of `url` alter the table: GRANT ALTER ON {} TO <the user>; or add the column by hand; with another policy than `propagate` nothing is added",
                            known.quoted()
                        )),
                        _ => error,
                    });
                }
            }
        }
        self.targets().remove(table);
        lease.keep();
        Ok(())
    }

    async fn progress(&self, flow: &str) -> Result<Vec<LaneProgress>> {
        let mut lease = self.client.begin("DO 0").await?;
        let lanes = progress::read(lease.conn(), flow).await?;
        lease.keep();
        Ok(lanes)
    }

    async fn apply(&self, batch: &Batch) -> Result<Receipt> {
        let mut tries = 1;
        loop {
            match self.attempt(batch).await {
                Ok(receipt) => return Ok(receipt),
                Err(Failed::Stop(error)) => return Err(error),
                Err(Failed::Again(error)) if tries >= TRIES => return Err(error),
                // The server has rolled everything back; who was in the way is probably done.
                Err(Failed::Again(_)) => tries += 1,
                Err(Failed::Refused(_)) => match self.find_refused(batch).await {
                    Ok(receipt) => return Ok(receipt),
                    Err(Failed::Again(_)) if tries < TRIES => tries += 1,
                    Err(Failed::Again(error) | Failed::Stop(error)) => return Err(error),
                    Err(Failed::Refused(outcome)) => {
                        return Ok(Receipt::RolledBack(vec![(0, outcome)]));
                    }
                },
            }
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            batch_max: self.batch_max,
            progress: true,
            deadline: DEADLINE,
            ..Limits::default()
        }
    }
}

impl MysqlSink {
    /// A connection on which the temporary tables of a batch exist, and what it writes to.
    async fn ready(&self, batch: &Batch) -> Result<(Lease, Vec<Arc<Target>>)> {
        let mut lease = self.client.begin(self.begin()).await?;
        let mut targets: Vec<Arc<Target>> = Vec::new();
        for change in &batch.changes {
            if !targets.iter().any(|target| is_for(target, &change.shape)) {
                targets.push(self.target(lease.conn(), &change.shape).await?);
            }
        }
        for target in &targets {
            lease.stage(target).await?;
        }
        let failed = |error| failure("cannot begin a transaction", error);
        lease
            .conn()
            .query_drop("START TRANSACTION")
            .await
            .map_err(failed)?;
        Ok((lease, targets))
    }

    /// What a session of the sink is set to; a statement ends before the deadline does, so that the server has nothing left to do.
    fn begin(&self) -> &'static str {
        if self.client.server().maria {
            "SET SESSION max_statement_time = 170"
        } else {
            "DO 0"
        }
    }

    /// Writes the whole batch.
    async fn attempt(&self, batch: &Batch) -> Result<Receipt, Failed> {
        let (mut lease, targets) = self.ready(batch).await.map_err(Failed::Stop)?;
        self.advance(&mut lease, batch).await?;
        let all = 0..batch.changes.len();
        let mut refused = Vec::new();
        let written = self
            .write(lease.conn(), &targets, &batch.changes, all, &mut refused)
            .await;
        let written = match (written, refused.pop()) {
            (Ok(()), Some((_, outcome))) => Err(Failed::Refused(outcome)),
            (written, _) => written,
        };
        match written {
            Ok(()) => {
                commit(&mut lease).await.map_err(writer::failed)?;
                lease.keep();
                Ok(committed(batch))
            }
            Err(Failed::Refused(outcome)) => {
                rollback(&mut lease).await.map_err(Failed::Stop)?;
                lease.keep();
                self.forget(batch);
                Err(Failed::Refused(outcome))
            }
            Err(other) => Err(other),
        }
    }

    async fn advance(&self, lease: &mut Lease, batch: &Batch) -> Result<(), Failed> {
        progress::advance(lease.conn(), batch)
            .await
            .map_err(|error| {
                if error.kind() == Kind::Transient {
                    Failed::Again(error)
                } else {
                    Failed::Stop(error)
                }
            })
    }

    /// Writes some changes of a batch; those that cannot even be sent are named.
    async fn write(
        &self,
        conn: &mut Conn,
        targets: &[Arc<Target>],
        changes: &[Change],
        places: Range<usize>,
        refused: &mut Vec<(usize, Outcome)>,
    ) -> Result<(), Failed> {
        let packet_max = self.client.server().packet_max;
        let runs = writer::runs(changes, places, targets, packet_max, refused);
        if !refused.is_empty() {
            // Whoever asked has to take these out first.
            return Ok(());
        }
        for run in runs {
            run.write(conn, packet_max).await?;
        }
        Ok(())
    }

    /// Tries the batch in ever smaller parts, and takes all of it back; a batch in which nothing is refused after all is kept.
    async fn find_refused(&self, batch: &Batch) -> Result<Receipt, Failed> {
        let (mut lease, targets) = self.ready(batch).await.map_err(Failed::Stop)?;
        self.advance(&mut lease, batch).await?;
        let mut refused = Vec::new();
        let mut parts = Vec::new();
        push_halves(&mut parts, 0..batch.changes.len());
        while let Some(part) = parts.pop() {
            match self
                .try_part(lease.conn(), &targets, batch, part.clone())
                .await
            {
                Ok(()) => {}
                Err(Failed::Refused(outcome)) if part.len() == 1 => {
                    refused.push((part.start, outcome));
                }
                Err(Failed::Refused(_)) => push_halves(&mut parts, part),
                Err(other) => return Err(other),
            }
        }
        if refused.is_empty() {
            commit(&mut lease).await.map_err(writer::failed)?;
            lease.keep();
            return Ok(committed(batch));
        }
        rollback(&mut lease).await.map_err(Failed::Stop)?;
        lease.keep();
        Ok(Receipt::RolledBack(refused))
    }

    /// Writes a part, or nothing of it.
    async fn try_part(
        &self,
        conn: &mut Conn,
        targets: &[Arc<Target>],
        batch: &Batch,
        part: Range<usize>,
    ) -> Result<(), Failed> {
        let stop = |error| Failed::Stop(failure("cannot write to the database", error));
        conn.query_drop("SAVEPOINT part").await.map_err(stop)?;
        let mut refused = Vec::new();
        let mut written = self
            .write(conn, targets, &batch.changes, part, &mut refused)
            .await;
        if let (Ok(()), Some((_, outcome))) = (&written, refused.pop()) {
            written = Err(Failed::Refused(outcome));
        }
        match &written {
            Ok(()) => conn
                .query_drop("RELEASE SAVEPOINT part")
                .await
                .map_err(stop)?,
            Err(Failed::Refused(_)) => conn
                .query_drop("ROLLBACK TO SAVEPOINT part")
                .await
                .map_err(stop)?,
            Err(_) => {}
        }
        written
    }

    /// The statements for a shape, made once.
    async fn target(&self, conn: &mut Conn, shape: &Arc<Shape>) -> Result<Arc<Target>> {
        let known = self.targets().get(&shape.name).cloned();
        match known.filter(|target| is_for(target, shape)) {
            Some(target) => Ok(target),
            None => self.remember(conn, shape).await,
        }
    }

    async fn remember(&self, conn: &mut Conn, shape: &Arc<Shape>) -> Result<Arc<Target>> {
        let table = catalog::table(conn, &shape.name, &self.client.endpoint().database).await?;
        let target = Arc::new(Target::new(&table, shape)?);
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

async fn commit(lease: &mut Lease) -> mysql_async::Result<()> {
    lease.conn().query_drop("COMMIT").await
}

async fn rollback(lease: &mut Lease) -> Result<()> {
    let done = lease.conn().query_drop("ROLLBACK").await;
    done.map_err(|error| failure("cannot roll a batch back", error))
}
