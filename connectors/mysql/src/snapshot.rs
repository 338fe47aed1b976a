//! A table's rows, piece by piece, while its changes go on.
//!
//! A [`Chunk`] is read in one short transaction in key order, and the server says at which place of the binary log that transaction stands: everything before the place is in it, nothing after.
//! When the stream reaches that place, the rows are told; so each row of a chunk holds every change that was told before it and none that comes after, no snapshot is held open for long, and a run that is killed goes on behind the last row that it told.
//! MariaDB knows the place of every consistent snapshot. MySQL does not, so there the table is locked against writers for the instant in which the transaction begins.

use std::collections::VecDeque;

use futures_util::TryStreamExt;
use lockstep_core::connector::Filter;
use lockstep_core::{Cell, Error, Result, Row, Value};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::client::{Server, failure, texts};
use crate::convert::{self, Form};
use crate::encode;
use crate::names::quote;
use crate::position::{Place, RowKey};
use crate::tables::Captured;

/// How long a chunk waits for a lock that a migration holds, in seconds.
const LOCK_MAX_S: u32 = 5;
/// About how many bytes a row is taken to have beside its values.
const ROW_BYTES: usize = 16;

/// What to read next.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Which captured table.
    pub(crate) table: usize,
    /// The key behind which to read.
    pub(crate) after: Option<RowKey>,
    /// What the rows fulfil that are wanted.
    pub(crate) filter: Option<Filter>,
    /// Most rows to read.
    pub(crate) rows: usize,
    /// About how many bytes to read.
    pub(crate) bytes: usize,
}

/// Rows that wait for the stream to reach the place at which they were read.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Which captured table.
    pub(crate) table: usize,
    /// Where in the log they stand.
    pub(crate) place: Place,
    /// The rows, in key order.
    pub(crate) rows: VecDeque<(RowKey, Row)>,
    /// Whether the table ends here.
    pub(crate) complete: bool,
    /// Bytes of values.
    pub(crate) bytes: usize,
}

impl Plan {
    fn sql(&self, table: &Captured) -> Result<String> {
        let read = table.read().map(|place| &table.columns[place].name);
        let names: Vec<String> = read.map(|name| quote(name)).collect();
        let key: Vec<String> = table
            .shape
            .key
            .iter()
            .map(|column| key_term(table, *column))
            .collect();
        let mut terms = Vec::new();
        if let Some(after) = &self.after {
            terms.push(format!("({})", beyond(table, &key, after)?));
        }
        if let Some(filter) = &self.filter {
            terms.push(encode::condition(filter, |name| table.column(name))?);
        }
        let beyond = if terms.is_empty() {
            String::new()
        } else {
            format!("WHERE {} ", terms.join(" AND "))
        };
        Ok(format!(
            "SELECT {} FROM {} {beyond}ORDER BY {} LIMIT {}",
            names.join(", "),
            table.name.quoted(),
            key.join(", "),
            self.rows
        ))
    }
}

/// A key column as rows are ordered by it: a value of an `enum` or a `set` stands for a number there, but is compared as a text.
fn key_term(table: &Captured, column: usize) -> String {
    let known = &table.columns[column];
    match known.form {
        Form::Enum | Form::Set => format!("CAST({} AS BINARY)", quote(&known.name)),
        _ => quote(&known.name),
    }
}

/// Rows behind a key. Written out, because not every server reads an index by a comparison of tuples.
fn beyond(table: &Captured, key: &[String], after: &RowKey) -> Result<String> {
    let mut values = Vec::with_capacity(key.len());
    for (column, value) in table.shape.key.iter().zip(after) {
        values.push(
            encode::key_literal(&table.columns[*column], value).map_err(|why| {
                Error::unexpected(format!(
                    "the snapshot of table `{}` cannot go on: {why}",
                    table.spelled
                ))
            })?,
        );
    }
    Ok(encode::beyond(key, &values))
}

/// Reads a chunk.
pub(crate) async fn read(
    conn: &mut Conn,
    locks: &mut Conn,
    server: &Server,
    plan: &Plan,
    table: &Captured,
) -> Result<Chunk> {
    let failed =
        |error| failure("cannot read rows of a snapshot", error).with("table", &table.spelled);
    let sql = plan.sql(table)?;
    let place = begin(conn, locks, server, table).await?;
    let mut chunk = Chunk {
        table: plan.table,
        place,
        rows: VecDeque::new(),
        complete: false,
        bytes: 0,
    };
    let mut cut = false;
    let mut taken = 0;
    {
        let mut result = conn.exec_iter(sql, ()).await.map_err(failed)?;
        let rows = result.stream::<mysql_async::Row>().await.map_err(failed)?;
        if let Some(mut rows) = rows {
            while let Some(row) = rows.try_next().await.map_err(failed)? {
                // What is too much is read again, with a smaller limit.
                cut |= chunk.bytes > plan.bytes.saturating_mul(2);
                if cut {
                    continue;
                }
                taken += 1;
                let row = cells(row, table);
                chunk.bytes += size(&row);
                let key = table.key(&row).unwrap_or_default();
                chunk.rows.push_back((key, row));
            }
        }
    }
    conn.query_drop("COMMIT").await.map_err(failed)?;
    chunk.complete = taken < plan.rows && !cut;
    Ok(chunk)
}

/// Begins the transaction and says where in the log it stands.
async fn begin(
    conn: &mut Conn,
    locks: &mut Conn,
    server: &Server,
    table: &Captured,
) -> Result<Place> {
    let failed = |error| failure("cannot begin a snapshot", error).with("table", &table.spelled);
    let start = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
    if server.maria {
        conn.query_drop(start).await.map_err(failed)?;
        let status = texts(conn, "SHOW STATUS LIKE 'binlog_snapshot_%'")
            .await
            .map_err(failed)?;
        let of = |name: &str| {
            let line = status.iter().find(|line| {
                line.first().is_some_and(|key| {
                    key.as_deref()
                        .is_some_and(|key| key.eq_ignore_ascii_case(name))
                })
            });
            line.and_then(|line| line.get(1)?.clone())
        };
        let place = || {
            Place::of(
                &of("binlog_snapshot_file")?,
                of("binlog_snapshot_position")?.parse().ok()?,
            )
        };
        return place().ok_or_else(|| nowhere(table));
    }
    let lock = format!(
        "SET SESSION lock_wait_timeout = {LOCK_MAX_S}; LOCK TABLES {} READ",
        table.name.quoted()
    );
    locks.query_drop(lock).await.map_err(failed)?;
    let begun = async {
        conn.query_drop(start).await.map_err(failed)?;
        Ok(end(conn, server).await?.map(|(_, place)| place))
    };
    let begun: Result<Option<Place>> = begun.await;
    locks.query_drop("UNLOCK TABLES").await.map_err(failed)?;
    begun?.ok_or_else(|| nowhere(table))
}

fn nowhere(table: &Captured) -> Error {
    Error::config("the server does not say where in the binary log a snapshot stands")
        .with("table", &table.spelled)
        .help("check that log_bin is on, and that its files' names end with numbers")
}

/// Where the binary log ends: the file's name, and the place.
pub(crate) async fn end(conn: &mut Conn, server: &Server) -> Result<Option<(String, Place)>> {
    let sql = if !server.maria && server.version >= (8, 4, 0) {
        "SHOW BINARY LOG STATUS"
    } else {
        "SHOW MASTER STATUS"
    };
    let lines = texts(conn, sql)
        .await
        .map_err(|error| failure("cannot ask where the binary log ends", error))?;
    let read = |line: &Vec<Option<String>>| {
        let file = line.first()?.clone()?;
        let at = line.get(1)?.as_ref()?.parse().ok()?;
        let place = Place::of(&file, at)?;
        Some((file, place))
    };
    Ok(lines.first().and_then(read))
}

fn cells(row: mysql_async::Row, table: &Captured) -> Row {
    let mut cells = vec![Cell::Unchanged; table.columns.len()];
    for (place, value) in table.read().zip(row.unwrap()) {
        cells[place] = Cell::Set(convert::from_sql(table.columns[place].form, value));
    }
    Row(cells)
}

/// About how many bytes the values of a row take.
pub(crate) fn size(row: &Row) -> usize {
    let of = |cell: &Cell| match cell.value() {
        Some(Value::Text(text)) => text.len(),
        Some(Value::Bytes(bytes)) => bytes.len(),
        Some(Value::Json(text)) => text.len(),
        _ => 8,
    };
    row.0.iter().map(of).sum::<usize>() + ROW_BYTES
}

/// How many rows the next chunk should read, so that it takes about as many bytes as it may.
pub(crate) fn next_rows(chunk: &Chunk, bytes: usize, most: usize) -> usize {
    let rows = chunk.rows.len().max(1);
    let each = (chunk.bytes / rows).max(1);
    (bytes / each)
        .clamp(1, most)
        .min(rows.saturating_mul(4).max(64))
        .min(most)
}
