//! When chunks of a snapshot are read: the next one already while the rows of one are emitted.
//!
//! Knows nothing of what a chunk holds, nor of how its rows find their place.

use std::sync::Arc;
use std::time::Instant;

use lockstep_core::connector::Filter;
use lockstep_core::{Error, Kind, Result};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{CHUNK_PAUSE, CHUNK_PAUSE_MAX, Run};
use crate::snapshot::{self, Chunk, Lanes, Plan};
use crate::stream::Part;
use crate::tables::{Captured, Known};
use crate::wire;

/// How often in a row a chunk may fail.
const CHUNK_FAILURES_MAX: u32 = 3;

/// A chunk that is being read.
pub(super) struct Ahead {
    plan: Plan,
    /// The columns that the table had when it was begun.
    columns: Vec<Known>,
    /// The only task, which ends with this.
    reading: JoinSet<Result<(Lanes, Chunk)>>,
}

impl Ahead {
    async fn done(mut self) -> Result<(Lanes, Chunk)> {
        match self.reading.join_next().await {
            Some(Ok(read)) => read,
            Some(Err(error)) => {
                Err(Error::unexpected("reading a chunk of a snapshot panicked").because(error))
            }
            None => Err(Error::unexpected("a chunk of a snapshot was never read")),
        }
    }
}

/// Reads a chunk, and gives the connections back that are good for another one.
async fn read_with(mut lanes: Lanes, plan: Plan, table: Arc<Captured>) -> Result<(Lanes, Chunk)> {
    let chunk = lanes.read(plan, &table).await?;
    Ok((lanes, chunk))
}

impl Run<'_> {
    /// Reads the next chunk of a snapshot, if one is under way and none waits for its place.
    pub(super) async fn chunk(&mut self) -> Result<()> {
        if !self.wants_chunk() || Instant::now() < self.chunk_at {
            return Ok(());
        }
        let mut failures = 0;
        loop {
            let Some(plan) = self.plan(self.stream.next_part()) else {
                return Ok(());
            };
            let table = plan.table;
            match self.read(plan).await {
                // The server ends a transaction a little after it sent it; behind a standby that does not answer, much later.
                Ok(chunk) if self.stream.told_more_than(&chunk) => {
                    self.chunk_at = Instant::now() + self.chunk_pause;
                    self.chunk_pause = (self.chunk_pause * 2).min(CHUNK_PAUSE_MAX);
                    return Ok(());
                }
                Ok(chunk) => {
                    self.chunk_pause = CHUNK_PAUSE;
                    if !chunk.plan.clears {
                        let most = self.source.config.snapshot_rows;
                        self.rows = snapshot::next_rows(&chunk, most);
                    }
                    self.stream.chunk = Some(chunk);
                    return Ok(());
                }
                // A migration holds the table; meanwhile the stream goes on.
                Err(error) if wire::is_state(&error, "55P03") => {
                    tracing::warn!(
                        error = error.chain(),
                        "the table is locked, its snapshot waits"
                    );
                    self.chunk_at = Instant::now() + CHUNK_PAUSE_MAX;
                    return Ok(());
                }
                Err(error) if error.kind() == Kind::Config && failures < CHUNK_FAILURES_MAX => {
                    failures += 1;
                    self.look(table).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// How to read a part of the table in work.
    fn plan(&self, part: Option<Part>) -> Option<Plan> {
        let Part {
            table,
            after,
            again,
        } = part?;
        let clears = self.stream.clears(table);
        Some(Plan {
            table,
            after,
            again: if clears { Vec::new() } else { again },
            filter: self.wanted(table).filter(|_| !clears),
            clears,
            rows: if clears { 0 } else { self.rows },
            bytes: self.source.config.batch_bytes,
            nonce: Uuid::new_v4().to_string(),
        })
    }

    /// Reads a chunk, unless it is being read already.
    async fn read(&mut self, plan: Plan) -> Result<Chunk> {
        let table = &self.stream.tables[plan.table];
        let read = match self.ahead.take() {
            Some(ahead) if ahead.plan.is_like(&plan) && ahead.columns == table.columns => {
                ahead.done().await
            }
            _ => {
                let table = Arc::new(table.clone());
                read_with(self.lanes().await?, plan, table).await
            }
        };
        // Connections on which something failed are in the middle of something.
        let (lanes, chunk) = read?;
        let (side, others) = lanes.into_connections();
        self.side = Some(side);
        self.others = others;
        Ok(chunk)
    }

    /// Begins to read the chunk behind the one that is emitted. Nothing is taken from the stream until that is over, so it is as if it were read then.
    pub(super) async fn read_ahead(&mut self) -> Result<()> {
        if self.ahead.is_some() || Instant::now() < self.chunk_at {
            return Ok(());
        }
        let Some(plan) = self.plan(self.stream.part_behind()) else {
            return Ok(());
        };
        if plan.clears {
            return Ok(());
        }
        let table = Arc::new(self.stream.tables[plan.table].clone());
        let lanes = self.lanes().await?;
        let mut reading = JoinSet::new();
        reading.spawn(read_with(lanes, plan.clone(), Arc::clone(&table)));
        self.ahead = Some(Ahead {
            plan,
            columns: table.columns.clone(),
            reading,
        });
        Ok(())
    }

    /// The connections over which a chunk is read.
    async fn lanes(&mut self) -> Result<Lanes> {
        self.side().await?;
        let side = self.side.take();
        let side = side.ok_or_else(|| Error::unexpected("the connection for SQL is gone"))?;
        let others = std::mem::take(&mut self.others);
        let most = self.source.config.snapshot_connections;
        let to = (&self.source.endpoint, self.application.as_str());
        Ok(Lanes::over(side, others, most, to))
    }

    /// Whether there is a chunk to be read.
    pub(super) fn wants_chunk(&self) -> bool {
        self.stream.chunk.is_none()
            && !self.stream.is_placing()
            && !self.stream.reading.cursor.todo.is_empty()
    }

    /// What the rows of a table fulfil that it is read for.
    fn wanted(&self, table: usize) -> Option<Filter> {
        let table = &self.stream.tables[table];
        let parts = &self.stream.reading.cursor.parts;
        parts.wanted(&table.name, &table.reads, &table.shape)
    }
}
