//! A table's rows, piece by piece, while its changes go on.
//!
//! A [`Chunk`] is read in one short transaction in key order, and the same transaction writes a mark into the server's log.
//! When the stream reaches that mark, everything that the chunk contains has been told, because it was committed before; what the chunk does not contain though it stands before the mark is known by the number of its transaction, and its rows are taken out of the chunk.
//! So each row of a chunk holds every change that was told before it and none that comes after, no snapshot is held open for long, and a run that is killed goes on behind the last row that it told.
//!
//! Does not know how rows are told; that is the business of `stream`.

mod lanes;

use std::collections::HashMap;
use std::collections::VecDeque;

use lockstep_core::connector::Filter;
use lockstep_core::{Cell, Error, Result, Row, Value};

use crate::client::{literal, quote};
use crate::position::RowKey;
use crate::tables::{Captured, value};
use crate::wire::{Connection, copy_lines};

pub(crate) use lanes::Lanes;

/// How long a chunk waits for a lock that a migration holds.
const LOCK_MAX: &str = "5s";

/// How many times as many rows a chunk reads as the one before, at most.
const GROWTH_MAX: usize = 4;

/// The prefix of the messages that the source writes into the server's log.
pub(crate) const PREFIX: &str = "lockstep";

/// What to read next.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Which captured table.
    pub(crate) table: usize,
    /// The key behind which to read.
    pub(crate) after: Option<RowKey>,
    /// What the rows behind it fulfil that are wanted.
    pub(crate) filter: Option<Filter>,
    /// Rows to read beside that.
    pub(crate) again: Vec<RowKey>,
    /// Whether nothing is read yet: at its mark all rows of before are told to be gone, and what is read later holds every change before it.
    pub(crate) clears: bool,
    /// Most rows to read; none where it clears.
    pub(crate) rows: usize,
    /// About how many bytes to read.
    pub(crate) bytes: usize,
    /// What the mark in the log says.
    pub(crate) nonce: String,
}

/// Rows that wait for the stream to reach the instant at which they were read.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// What was to be read.
    pub(crate) plan: Plan,
    /// Which transactions it contains.
    pub(crate) seen: Seen,
    /// The rows, in key order, those that are read again first; none where a later change told the row.
    rows: Vec<Option<Waiting>>,
    /// Where a row stands; made when a change first asks, which for most chunks is never.
    index: Option<Index>,
    /// The last key that was read.
    pub(crate) last: Option<RowKey>,
    /// Whether the table ends here.
    pub(crate) complete: bool,
    /// Bytes of values.
    pub(crate) bytes: usize,
}

/// Where a row of a key stands: as one that is read again, and as one of the table's next.
type Index = HashMap<RowKey, [Option<usize>; 2]>;

/// A row that waits for its place.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) key: RowKey,
    pub(crate) row: Row,
    /// Whether it is read again, out of its order.
    pub(crate) again: bool,
}

/// The transactions that a snapshot of the server contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Every transaction before it is over.
    least: u64,
    /// No transaction from it on is contained.
    next: u64,
    /// Those between that were under way.
    open: Vec<u64>,
}

impl Seen {
    /// Reads `10:20:10,14,15`.
    pub(crate) fn parse(text: &str) -> Option<Seen> {
        let mut parts = text.split(':');
        let mut number = || parts.next()?.parse().ok();
        let (least, next) = (number()?, number()?);
        let open = parts.next()?.split(',').filter(|part| !part.is_empty());
        let open = open.map(|part| part.parse().ok()).collect::<Option<_>>()?;
        Some(Seen { least, next, open })
    }

    /// Whether a committed transaction is contained; the stream tells the lower half of its number.
    pub(crate) fn contains(&self, xid: u32) -> bool {
        // Numbers wrap around, so the distance counts, as it does in the server.
        let distance = |from: u64| xid.wrapping_sub(from as u32).cast_signed();
        if distance(self.next) >= 0 {
            return false;
        }
        distance(self.least) < 0 || !self.open.iter().any(|open| *open as u32 == xid)
    }
}

impl Plan {
    /// Whether it reads the same rows as another one, and as many of them as are read at once.
    pub(crate) fn is_like(&self, other: &Plan) -> bool {
        let of = |plan: &Plan| (plan.table, plan.clears, plan.after.clone());
        of(self) == of(other) && self.again == other.again && self.filter == other.filter
    }

    /// What ends its transaction. The mark belongs to it, so that it is on disk, and therefore sent, as soon as the commit is.
    fn closing(&self) -> String {
        let nonce = literal(&self.nonce);
        format!("SELECT pg_logical_emit_message(true, '{PREFIX}', {nonce}); COMMIT")
    }
}

/// The words of statements that read a table's rows.
struct Select<'t> {
    table: &'t Captured,
    /// The columns that are read.
    columns: String,
    /// What rows are ordered by.
    key: String,
    /// What rows fulfil.
    condition: Option<String>,
}

impl<'t> Select<'t> {
    fn of(plan: &Plan, table: &'t Captured) -> Result<Select<'t>> {
        let read = table.read().map(|place| &table.columns[place].name);
        let columns: Vec<String> = read.map(|name| quote(name)).collect();
        let key = table.shape.key.iter().map(|c| table.key_column(*c));
        let key: Vec<String> = key.collect();
        let condition = plan.filter.as_ref().map(|filter| table.condition(filter));
        Ok(Select {
            table,
            columns: columns.join(", "),
            key: key.join(", "),
            condition: condition.transpose()?,
        })
    }

    /// Copies rows by their keys.
    fn copy_again(&self, keys: &[RowKey]) -> String {
        let (columns, from, key) = (&self.columns, self.table.only(), &self.key);
        let keys: Vec<String> = keys.iter().map(row).collect();
        let among = if keys.is_empty() {
            "false".to_owned()
        } else {
            format!("({key}) IN ({})", keys.join(", "))
        };
        format!("COPY (SELECT {columns} FROM {from} WHERE {among}) TO STDOUT")
    }

    /// Copies rows in key order, from behind one key up to another.
    fn copy(&self, after: Option<&RowKey>, until: Option<&RowKey>, limit: Option<usize>) -> String {
        let (columns, from, key) = (&self.columns, self.table.only(), &self.key);
        let between = self.between(after, until);
        let limit = limit.map_or(String::new(), |limit| format!(" LIMIT {limit}"));
        format!("COPY (SELECT {columns} FROM {from} {between}ORDER BY {key}{limit}) TO STDOUT")
    }

    /// Asks for one key, so many rows further on.
    fn key_at(&self, after: Option<&RowKey>, place: usize) -> String {
        let (from, key) = (self.table.only(), &self.key);
        let names = self.table.shape.key.iter();
        let names: Vec<String> = names
            .map(|at| quote(&self.table.columns[*at].name))
            .collect();
        let (names, between) = (names.join(", "), self.between(after, None));
        format!("SELECT {names} FROM {from} {between}ORDER BY {key} OFFSET {place} LIMIT 1")
    }

    fn between(&self, after: Option<&RowKey>, until: Option<&RowKey>) -> String {
        let key = &self.key;
        let after = after.map(|after| format!("({key}) > {}", row(after)));
        let until = until.map(|until| format!("({key}) <= {}", row(until)));
        let terms: Vec<String> = [after, until, self.condition.clone()]
            .into_iter()
            .flatten()
            .collect();
        if terms.is_empty() {
            return String::new();
        }
        format!("WHERE {} ", terms.join(" AND "))
    }
}

/// A key in SQL.
fn row(key: &RowKey) -> String {
    let parts: Vec<String> = key.iter().map(|part| literal(part)).collect();
    format!("({})", parts.join(", "))
}

/// Rows as they come.
struct Taken {
    rows: Vec<Option<Waiting>>,
    bytes: usize,
    /// About how many bytes were asked for.
    wanted: usize,
    /// Whether it was too much: the rest is read again, with a smaller limit.
    cut: bool,
}

impl Taken {
    fn within(wanted: usize) -> Taken {
        Taken {
            rows: Vec::new(),
            bytes: 0,
            wanted,
            cut: false,
        }
    }

    fn take(&mut self, line: &[u8], table: &Captured, again: bool) -> Result<()> {
        self.cut |= !again && self.bytes > self.wanted.saturating_mul(2);
        if self.cut {
            return Ok(());
        }
        let (key, row) = parse(line, table)?;
        self.bytes += line.len();
        self.rows.push(Some(Waiting { key, row, again }));
        Ok(())
    }

    /// Takes what another one took behind this.
    fn append(&mut self, next: Taken) {
        if !self.cut {
            self.rows.extend(next.rows);
            self.bytes += next.bytes;
            self.cut = next.cut;
        }
    }
}

/// Reads a chunk over one connection.
async fn read(conn: &mut Connection, plan: Plan, table: &Captured) -> Result<Chunk> {
    let select = Select::of(&plan, table)?;
    let again = select.copy_again(&plan.again);
    let copy = select.copy(plan.after.as_ref(), None, Some(plan.rows));
    let sql = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL lock_timeout = '{LOCK_MAX}'; SELECT pg_current_snapshot(); {again}; {copy}; {}",
        plan.closing()
    );
    let mut again = Taken::within(plan.bytes);
    let mut next = Taken::within(plan.bytes);
    let lines = conn
        .copy_out(&sql, |copy, line| match copy {
            1 => again.take(&line, table, true),
            _ => next.take(&line, table, false),
        })
        .await
        .map_err(|error| error.with("table", &table.name))?;
    let seen = lines.first().and_then(|line| line.first());
    let seen = seen.and_then(Option::as_deref).unwrap_or_default();
    Chunk::read(plan, seen, again, next)
}

fn parse(line: &[u8], table: &Captured) -> Result<(RowKey, Row)> {
    let mut key = vec![String::new(); table.shape.key.len()];
    let mut cells = vec![Cell::Unchanged; table.columns.len()];
    for (place, text) in table.read().zip(copy_lines(line)) {
        let known = &table.columns[place];
        let at = table.shape.key.iter().position(|column| *column == place);
        if let (Some(at), Some(text)) = (at, &text) {
            key[at] = std::str::from_utf8(text)
                .map_err(|_| {
                    Error::config(format!("a key of table `{}` is no text", table.name))
                        .help("the database's encoding is SQL_ASCII; mend the row")
                })?
                .to_owned();
        }
        cells[place] = Cell::Set(text.map_or(Value::Null, |text| value(&known.decoder, &text)));
    }
    Ok((key, Row(cells)))
}

impl Chunk {
    /// A chunk of rows that are read again, and of the table's next.
    fn read(plan: Plan, seen: &str, again: Taken, next: Taken) -> Result<Chunk> {
        let seen = Seen::parse(seen).ok_or_else(|| {
            Error::unexpected("the server did not say which transactions a snapshot contains")
                .help("check that it is PostgreSQL 14 or newer")
        })?;
        let last = next.rows.last().and_then(Option::as_ref);
        let mut rows = again.rows;
        let chunk = Chunk {
            seen,
            last: last.map(|row| row.key.clone()),
            complete: next.rows.len() < plan.rows && !next.cut,
            bytes: again.bytes + next.bytes,
            index: None,
            rows: {
                rows.extend(next.rows);
                rows
            },
            plan,
        };
        Ok(chunk)
    }

    /// Where the rows of a key stand.
    fn places(&mut self, key: &RowKey) -> impl Iterator<Item = usize> + use<> {
        let rows = &self.rows;
        let index = self.index.get_or_insert_with(|| {
            let mut index = Index::with_capacity(rows.len());
            for (place, waiting) in rows.iter().enumerate() {
                let Some(waiting) = waiting else { continue };
                let places = index.entry(waiting.key.clone()).or_default();
                places[usize::from(!waiting.again)] = Some(place);
            }
            index
        });
        index.get(key).copied().into_iter().flatten().flatten()
    }

    /// Whether a row of this key waits.
    pub(crate) fn holds(&mut self, key: &RowKey) -> bool {
        let mut places = self.places(key);
        places.any(|place| self.rows[place].is_some())
    }

    /// Takes a row out, because a change that the chunk does not contain told it.
    pub(crate) fn take(&mut self, key: &RowKey) -> Option<Row> {
        let places = self.places(key);
        let taken = places.filter_map(|place| self.rows[place].take()).last();
        taken.map(|waiting| waiting.row)
    }

    /// Takes every row out.
    pub(crate) fn clear(&mut self) {
        self.rows.iter_mut().for_each(|row| *row = None);
    }

    /// How many rows were read.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The rows that are left.
    pub(crate) fn into_rows(self) -> VecDeque<Waiting> {
        self.rows.into_iter().flatten().collect()
    }
}

/// How many rows to read next, so that a chunk takes about `bytes`.
pub(crate) fn next_rows(chunk: &Chunk, rows_max: usize) -> usize {
    let average = chunk.bytes / chunk.len().max(1);
    // A few times as many as before at most: rows grow wider without notice.
    let fitting = chunk.plan.bytes / average.max(1);
    fitting
        .min(chunk.plan.rows.saturating_mul(GROWTH_MAX))
        .clamp(1, rows_max)
}

#[cfg(test)]
impl Chunk {
    /// A chunk as it was read.
    pub(crate) fn of(nonce: &str, seen: &str, rows: Vec<Waiting>, complete: bool) -> Chunk {
        let plan = Plan {
            table: 0,
            after: None,
            filter: None,
            again: rows
                .iter()
                .filter(|row| row.again)
                .map(|row| row.key.clone())
                .collect(),
            clears: false,
            rows: 10,
            bytes: 1000,
            nonce: nonce.to_owned(),
        };
        let mut chunk = Chunk {
            plan,
            seen: Seen::parse(seen).unwrap(),
            rows: Vec::new(),
            index: None,
            last: rows
                .iter()
                .rfind(|row| !row.again)
                .map(|row| row.key.clone()),
            complete,
            bytes: 0,
        };
        chunk.rows.extend(rows.into_iter().map(Some));
        chunk
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_snapshot_contains_what_was_over_when_it_was_taken() {
        let seen = Seen::parse("10:20:10,14").unwrap();
        for (xid, contained) in [
            (9, true),
            (10, false),
            (11, true),
            (14, false),
            (19, true),
            (20, false),
            (21, false),
        ] {
            assert_eq!(seen.contains(xid), contained, "{xid}");
        }
        assert_eq!(Seen::parse("7:7:").unwrap().open, Vec::<u64>::new());
        for text in ["", "1", "1:2", "1:x:", "1:2:3,x"] {
            assert_eq!(Seen::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn numbers_may_wrap_around(base: u64, xid in 0_u64..40) {
            // What holds near zero holds anywhere, also where the lower half begins anew.
            let base = base >> 1;
            let near = Seen { least: 10, next: 20, open: vec![10, 14] };
            let far = Seen { least: base + 10, next: base + 20, open: vec![base + 10, base + 14] };
            prop_assert_eq!(near.contains(xid as u32), far.contains((base + xid) as u32));
        }

        #[test]
        fn no_text_panics(text in "[0-9:,x]{0,20}") {
            let _ = Seen::parse(&text);
        }
    }
}
