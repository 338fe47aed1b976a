//! One step of reading: in one short read transaction, the changes since the last step and then, where a snapshot is under way and nothing newer is left, its next rows.
//!
//! Everything of a step is seen at one instant, at which the highest sequence is `h`: changes up to `h` come first, then rows that already contain them.
//! So a snapshot hands over to streaming without a gap, table by table, while other programs write.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use lockstep_core::connector::{Filter, Reads};
use lockstep_core::position::Mark;
use lockstep_core::{Cell, Change, Error, Op, Result, Row, Shape, Type, Value};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ToSql, Transaction};

use crate::capture::{Capture, Captured, Layout, highest, schema_version};
use crate::client::{failure, quote};
use crate::convert;
use crate::position::{After, Part, Reading};

/// What one step may read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) changes: usize,
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

/// What a step found.
#[derive(Debug)]
pub(crate) enum Step {
    /// Changes, possibly none, and where they end.
    Read(Box<Found>),
    /// The schema moved: look at the tables again before reading on.
    Moved,
    /// What was to be read next is gone: find out where to begin.
    Lost,
}

#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) changes: Vec<Change>,
    pub(crate) reading: Reading,
    /// SQLite's own word for this state of the file; it moves when another connection commits.
    pub(crate) data_version: i64,
}

/// Reads one step.
pub(crate) fn step(
    conn: &mut Connection,
    (capture, reads): (&Capture, &BTreeMap<String, Reads>),
    reading: Reading,
    bounds: Bounds,
) -> Result<Step> {
    let failed = |error| failure("cannot read changes", error);
    let tx = conn.transaction().map_err(failed)?;
    if schema_version(&tx).map_err(failed)? != capture.schema {
        return Ok(Step::Moved);
    }
    let highest = highest(&tx).map_err(failed)?;
    if !same_life(&tx, &reading).map_err(failed)? || highest < reading.mark.commit {
        return Ok(Step::Lost);
    }
    let mut reader = Reader {
        tx: &tx,
        capture,
        reads,
        bounds,
        bytes: 0,
        found: Found {
            changes: Vec::new(),
            reading,
            data_version: data_version(&tx).map_err(failed)?,
        },
    };
    if highest > reader.found.reading.mark.commit && !reader.changes()? {
        return Ok(Step::Lost);
    }
    let mut left = bounds.rows;
    while reader.found.reading.mark.commit == highest && left > 0 && reader.bytes < bounds.bytes {
        let Some(table) = reader.found.reading.cursor.todo.first().cloned() else {
            break;
        };
        left -= reader.rows(&table, left)?;
    }
    Ok(Step::Read(Box::new(reader.found)))
}

/// SQLite's own word for the state of the file.
pub(crate) fn data_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("PRAGMA data_version")?
        .query_row([], |row| row.get(0))
}

fn same_life(conn: &Connection, reading: &Reading) -> rusqlite::Result<bool> {
    conn.prepare_cached("SELECT 1 FROM _lockstep_source WHERE incarnation = ?1")?
        .exists([&*reading.incarnation])
}

struct Reader<'a> {
    tx: &'a Transaction<'a>,
    capture: &'a Capture,
    reads: &'a BTreeMap<String, Reads>,
    bounds: Bounds,
    bytes: usize,
    found: Found,
}

impl Reader<'_> {
    /// Reads changes up to the bounds; false where a sequence is missing.
    fn changes(&mut self) -> Result<bool> {
        let failed = |error| failure("cannot read the change table", error);
        let columns: String = (0..self.capture.width).map(|i| format!(", c{i}")).collect();
        let sql = format!(
            "SELECT seq, cap, op, at{columns} FROM _lockstep_changes WHERE seq > ?1 ORDER BY seq LIMIT ?2"
        );
        let mut statement = self.tx.prepare_cached(&sql).map_err(failed)?;
        let after = self.found.reading.mark.commit.cast_signed();
        let limit = i64::try_from(self.bounds.changes).unwrap_or(i64::MAX);
        let mut rows = statement.query([after, limit]).map_err(failed)?;
        self.found.changes.reserve(self.bounds.changes.min(1024));
        while let Some(row) = rows.next().map_err(failed)? {
            let seq = row.get::<_, i64>(0).map_err(failed)?.unsigned_abs();
            if seq != self.found.reading.mark.commit + 1 {
                return Ok(false);
            }
            let at: i64 = row.get(3).map_err(failed)?;
            self.found.reading.mark = Mark {
                commit: seq,
                ordinal: 0,
            };
            self.found.reading.cursor.at = at;
            let capture: i64 = row.get(1).map_err(failed)?;
            if let Some(layout) = self.capture.layouts.get(&capture) {
                let table = &self.capture.tables[layout.table];
                let mut logged = Logged {
                    row,
                    layout,
                    table,
                    bytes: 0,
                };
                self.found.changes.push(logged.change(seq, at)?);
                self.bytes += logged.bytes;
            }
            if self.bytes >= self.bounds.bytes {
                break;
            }
        }
        // Rows are missing at the end where the sequence is known to go on.
        Ok(self.found.reading.mark.commit > after.unsigned_abs())
    }

    /// Reads up to `limit` rows of a table that is being snapshotted; gives how many it took.
    fn rows(&mut self, name: &str, limit: usize) -> Result<usize> {
        let of = |captured: &&Captured| captured.table.name == name;
        let Some(captured) = self.capture.tables.iter().find(of) else {
            self.found.reading.cursor.todo.retain(|known| known != name);
            return Ok(0);
        };
        let cursor = &mut self.found.reading.cursor;
        if stale(cursor.after.as_ref(), self.capture.schema) {
            cursor.after = None;
        }
        let reads = self.reads.get(name).cloned().unwrap_or_default();
        let filter = cursor.parts.wanted(name, &reads, &captured.shape);
        let scan = Scan::of(captured, cursor.after.as_ref(), filter.as_ref())?;
        let failed = |error| failure("cannot read the table", error).with("table", name);
        let mut statement = self.tx.prepare_cached(&scan.sql).map_err(failed)?;
        scan.bind(&mut statement, cursor.after.as_ref(), limit)
            .map_err(failed)?;
        let mut rows = statement.raw_query();
        let (now, mut taken, mut full) = (Timestamp::now(), 0, false);
        while let Some(row) = rows.next().map_err(failed)? {
            let mut cells = Vec::with_capacity(captured.shape.columns.len());
            for (i, column) in captured.shape.columns.iter().enumerate() {
                let raw = row.get_ref(i + scan.lead).map_err(failed)?;
                self.bytes += convert::size(raw);
                cells.push(Cell::Set(convert::read(raw, column.kind)));
            }
            let reading = &mut self.found.reading;
            reading.mark.ordinal += 1;
            reading.cursor.after = Some(
                scan.after(captured, row, self.capture.schema)
                    .map_err(failed)?,
            );
            self.found.changes.push(Change {
                shape: Arc::clone(&captured.shape),
                op: Op::Snapshot,
                row: Row(cells),
                before: None,
                mark: reading.mark,
                committed_at: now,
                origin: None,
            });
            taken += 1;
            full = self.bytes >= self.bounds.bytes;
            if full {
                break;
            }
        }
        if taken < limit && !full {
            let cursor = &mut self.found.reading.cursor;
            cursor.todo.remove(0);
            cursor.after = None;
            cursor.done.push(name.to_owned());
            cursor.parts.complete(name);
            tracing::info!(table = %name, "the table's snapshot is complete");
        }
        Ok(taken)
    }
}

fn stale(after: Option<&After>, now: i64) -> bool {
    matches!(after, Some(After::Rowid { schema: Some(schema), .. }) if *schema != now)
}

/// A logged change.
struct Logged<'a> {
    row: &'a rusqlite::Row<'a>,
    layout: &'a Layout,
    table: &'a Captured,
    bytes: usize,
}

impl Logged<'_> {
    fn change(&mut self, seq: u64, at: i64) -> Result<Change> {
        let failed = |error| failure("cannot read the change table", error);
        let op = self.row.get_ref(2).map_err(failed)?;
        let (op, row, before) = match op {
            ValueRef::Text(b"I") => (Op::Created, self.image(0).map_err(failed)?, None),
            ValueRef::Text(b"U") => {
                let before = self.image(self.layout.places.len()).map_err(failed)?;
                (Op::Updated, self.image(0).map_err(failed)?, Some(before))
            }
            ValueRef::Text(b"D") => {
                let before = self.image(0).map_err(failed)?;
                (
                    Op::Deleted,
                    key_only(&self.table.shape, &before),
                    Some(before),
                )
            }
            other => {
                return Err(Error::unexpected(format!(
                    "change {seq} has the unknown operation {other:?}; known: I, U, D"
                )));
            }
        };
        Ok(Change {
            shape: Arc::clone(&self.table.shape),
            op,
            row,
            before,
            mark: Mark {
                commit: seq,
                ordinal: 0,
            },
            committed_at: Timestamp::from_millisecond(at).unwrap_or(Timestamp::UNIX_EPOCH),
            origin: None,
        })
    }

    /// The image whose first column is the `from`th logged value.
    fn image(&mut self, from: usize) -> rusqlite::Result<Row> {
        const LEAD: usize = 4;
        let columns = &self.table.shape.columns;
        let mut cells = Vec::with_capacity(columns.len());
        for (i, place) in self.layout.places.iter().enumerate() {
            let Some(place) = *place else { continue };
            let raw = self.row.get_ref(LEAD + from + i)?;
            self.bytes += convert::size(raw);
            let cell = Cell::Set(convert::read(raw, columns[place].kind));
            if place == cells.len() {
                cells.push(cell);
            } else {
                // Columns moved since the row was logged; what is not logged stays unchanged.
                cells.resize(cells.len().max(place + 1), Cell::Unchanged);
                cells[place] = cell;
            }
        }
        cells.resize(columns.len(), Cell::Unchanged);
        Ok(Row(cells))
    }
}

fn key_only(shape: &Shape, before: &Row) -> Row {
    let mut row = Row::unchanged(shape.columns.len());
    for column in &shape.key {
        row.0[*column] = before.cell(*column).clone();
    }
    row
}

/// How a table is read piece by piece.
struct Scan {
    sql: String,
    /// Columns before the table's own.
    lead: usize,
    /// What the condition compares with, bound behind the last row that was read.
    values: Vec<(Value, Option<Type>)>,
}

impl Scan {
    fn of(captured: &Captured, after: Option<&After>, filter: Option<&Filter>) -> Result<Scan> {
        let table = &captured.table;
        let columns: Vec<String> = table
            .columns
            .iter()
            .map(|column| quote(&column.name))
            .collect();
        let (lead, order) = match table.rowid {
            Some(rowid) => (1, rowid.to_owned()),
            None => {
                let key: Vec<&str> = table
                    .key
                    .iter()
                    .map(|column| columns[*column].as_str())
                    .collect();
                (0, key.join(", "))
            }
        };
        let first = if lead == 1 {
            format!("{order}, ")
        } else {
            String::new()
        };
        let (mut terms, mut bound) = (Vec::new(), 1);
        match after {
            None => {}
            Some(After::Rowid { .. }) => {
                bound += 1;
                terms.push(format!("{order} > ?2"));
            }
            Some(After::Key(parts)) => {
                bound += parts.len();
                let marks: Vec<String> = (0..parts.len()).map(|i| format!("?{}", i + 2)).collect();
                terms.push(format!("({order}) > ({})", marks.join(", ")));
            }
        }
        let mut values = Vec::new();
        if let Some(filter) = filter {
            terms.push(convert::condition(filter, table, |value, kind| {
                values.push((value, kind));
                format!("?{}", bound + values.len())
            })?);
        }
        let beyond = if terms.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", terms.join(" AND "))
        };
        let sql = format!(
            "SELECT {first}{} FROM {}{beyond} ORDER BY {order} LIMIT ?1",
            columns.join(", "),
            quote(&table.name),
        );
        Ok(Scan { sql, lead, values })
    }

    fn bind(
        &self,
        statement: &mut rusqlite::Statement<'_>,
        after: Option<&After>,
        limit: usize,
    ) -> rusqlite::Result<()> {
        statement.raw_bind_parameter(1, i64::try_from(limit).unwrap_or(i64::MAX))?;
        match after {
            None => {}
            Some(After::Rowid { rowid, .. }) => statement.raw_bind_parameter(2, *rowid)?,
            Some(After::Key(parts)) => {
                for (i, part) in parts.iter().enumerate() {
                    statement.raw_bind_parameter(i + 2, Bound(part))?;
                }
            }
        }
        let first = match after {
            None => 2,
            Some(After::Rowid { .. }) => 3,
            Some(After::Key(parts)) => parts.len() + 2,
        };
        for (i, (value, kind)) in self.values.iter().enumerate() {
            statement.raw_bind_parameter(first + i, convert::write(value, *kind))?;
        }
        Ok(())
    }

    fn after(
        &self,
        captured: &Captured,
        row: &rusqlite::Row<'_>,
        schema: i64,
    ) -> rusqlite::Result<After> {
        if self.lead == 1 {
            return Ok(After::Rowid {
                rowid: row.get(0)?,
                schema: (!captured.table.rowid_is_key).then_some(schema),
            });
        }
        let part = |column: &usize| row.get_ref(*column).map(Part::of);
        Ok(After::Key(
            captured
                .table
                .key
                .iter()
                .map(part)
                .collect::<rusqlite::Result<_>>()?,
        ))
    }
}

struct Bound<'a>(&'a Part);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        Ok(self.0.bind())
    }
}
