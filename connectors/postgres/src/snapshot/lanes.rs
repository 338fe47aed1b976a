//! One chunk over several connections at once: the first takes the snapshot, parts the chunk by keys and writes the mark; the others read their parts as of the same snapshot.
//!
//! What comes of it is what one connection alone would have read: the same rows in key order, as of one instant, with one mark.

use std::sync::Arc;

use lockstep_core::{Error, Result};
use tokio::task::JoinSet;

use super::{Chunk, LOCK_MAX, Plan, Select, Taken};
use crate::config::Endpoint;
use crate::position::RowKey;
use crate::tables::Captured;
use crate::wire::{Connection, Purpose};

/// Fewest rows that are worth a connection of their own.
const LANE_ROWS_MIN: usize = 4000;

/// The connections over which chunks are read.
pub(crate) struct Lanes {
    endpoint: Endpoint,
    application: String,
    first: Connection,
    others: Vec<Connection>,
    /// Most of them.
    most: usize,
}

impl Lanes {
    /// Goes on with what is open, and opens more, up to `most` in all, when a chunk is large enough.
    pub(crate) fn over(
        first: Connection,
        others: Vec<Connection>,
        most: usize,
        (endpoint, application): (&Endpoint, &str),
    ) -> Lanes {
        Lanes {
            endpoint: endpoint.clone(),
            application: application.to_owned(),
            first,
            others,
            most,
        }
    }

    /// The connections, which are good for other work: the first, and the others.
    pub(crate) fn into_connections(self) -> (Connection, Vec<Connection>) {
        (self.first, self.others)
    }

    /// Reads a chunk. After an error the connections are in the middle of something.
    pub(crate) async fn read(&mut self, plan: Plan, table: &Arc<Captured>) -> Result<Chunk> {
        let wanted = self.most.min(plan.rows / LANE_ROWS_MIN);
        if wanted < 2 {
            return super::read(&mut self.first, plan, table).await;
        }
        self.open(wanted - 1).await;
        match self.others.len().min(wanted - 1) {
            0 => super::read(&mut self.first, plan, table).await,
            others => self.read_parts(plan, table, others).await,
        }
    }

    /// Opens connections until there are so many beside the first; a server that has no more of them gives a slower snapshot, not a broken one.
    async fn open(&mut self, others: usize) {
        while self.others.len() < others {
            match Connection::open(&self.endpoint, &self.application, Purpose::Sql).await {
                Ok(connection) => self.others.push(connection),
                Err(error) => {
                    tracing::warn!(
                        error = error.chain(),
                        "a table is read over fewer connections"
                    );
                    self.most = self.others.len() + 1;
                    return;
                }
            }
        }
    }

    async fn read_parts(
        &mut self,
        plan: Plan,
        table: &Arc<Captured>,
        others: usize,
    ) -> Result<Chunk> {
        let select = Select::of(&plan, table)?;
        let mut again = Taken::within(plan.bytes);
        let lines = self
            .first
            .copy_out(&parting(&select, &plan, others), |_, line| {
                again.take(&line, table, true)
            })
            .await
            .map_err(|error| error.with("table", &table.name))?;
        let mut lines = lines.into_iter();
        let (seen, snapshot) = match lines.next().as_deref() {
            Some([Some(seen), Some(snapshot)]) => (seen.clone(), snapshot.clone()),
            _ => return Err(Error::unexpected("the server did not give its snapshot")),
        };
        // A table that ends early has fewer parts.
        let bounds: Vec<RowKey> = lines
            .filter_map(|line| line.into_iter().collect())
            .collect();
        let mut reading = JoinSet::new();
        let bytes = plan.bytes / (bounds.len() + 1);
        for (at, bound) in bounds.iter().enumerate() {
            let Some(mut connection) = self.others.pop() else {
                break;
            };
            let copy = match bounds.get(at + 1) {
                Some(end) => select.copy(Some(bound), Some(end), None),
                None => {
                    let read_before = part_rows(&plan, others) * bounds.len();
                    select.copy(Some(bound), None, Some(plan.rows - read_before))
                }
            };
            let sql = format!(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{snapshot}'; SET LOCAL lock_timeout = '{LOCK_MAX}'; {copy}; COMMIT"
            );
            let table = Arc::clone(table);
            reading.spawn(async move {
                let taken = part(&mut connection, &sql, bytes, &table).await?;
                Ok::<_, Error>((at + 1, connection, taken))
            });
        }
        let limit = bounds.is_empty().then_some(plan.rows);
        let copy = select.copy(plan.after.as_ref(), bounds.first(), limit);
        let mut parts = vec![(0, part(&mut self.first, &copy, bytes, table).await?)];
        while let Some(read) = reading.join_next().await {
            let (at, connection, taken) = read.map_err(|error| {
                Error::unexpected("reading a part of a table panicked").because(error)
            })??;
            self.others.push(connection);
            parts.push((at, taken));
        }
        parts.sort_by_key(|(at, _)| *at);
        self.first.query(&plan.closing()).await?;
        let mut next = Taken::within(plan.bytes);
        for (_, part) in parts {
            next.append(part);
        }
        Chunk::read(plan, &seen, again, next)
    }
}

/// How many rows each part but the last has.
fn part_rows(plan: &Plan, others: usize) -> usize {
    plan.rows / (others + 1)
}

/// The statements that begin a chunk of several parts, and ask where the parts meet.
fn parting(select: &Select<'_>, plan: &Plan, others: usize) -> String {
    let mut sql = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL lock_timeout = '{LOCK_MAX}'; SELECT pg_current_snapshot(), pg_export_snapshot(); {}; ",
        select.copy_again(&plan.again)
    );
    for part in 1..=others {
        let place = part_rows(plan, others) * part;
        sql += &select.key_at(plan.after.as_ref(), place - 1);
        sql += "; ";
    }
    sql
}

async fn part(
    connection: &mut Connection,
    sql: &str,
    bytes: usize,
    table: &Captured,
) -> Result<Taken> {
    let mut taken = Taken::within(bytes);
    connection
        .copy_out(sql, |_, line| taken.take(&line, table, false))
        .await
        .map_err(|error| error.with("table", &table.name))?;
    Ok(taken)
}
