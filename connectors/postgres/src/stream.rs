//! From what the server sends to changes with their marks: transactions are opened and closed, rows are fitted to their tables, snapshot rows find their place.
//!
//! No socket and no clock: whoever owns those feeds it, so its rules can be read and tested alone.
//!
//! Invariants: marks never decrease; `reading.cursor.from` is never inside a transaction; a change that the resume position covers is not told again; a transaction that a Lockstep sink wrote is not told at all.

mod apply;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use lockstep_core::connector::{Filter, News};
use lockstep_core::position::Mark;
use lockstep_core::{Change, Op, Result, Row, Shape};

use crate::enter::say;
use crate::messages::Messages;
use crate::pgoutput::{Message, Relation};
use crate::position::{Lsn, Reading, RowKey};
use crate::snapshot::{Chunk, PREFIX, Waiting};
use crate::stamp::{Since, Stamp};
use crate::tables::{Captured, Fit, Layout};

/// Transactions that are remembered to notice one that was told before a snapshot contained it.
const RECENT_MAX: usize = 4096;
/// Most rows that wait to be read once more.
const AGAIN_MAX: usize = 200;
/// What the name of a replication origin of ours begins with.
const OURS: &str = "lockstep";
/// Microseconds between 1970 and 2000, where PostgreSQL's clock begins.
const EPOCH_US: i64 = 946_684_800_000_000;

/// What has been read and not yet been emitted, and all that it takes to read on.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The tables.
    pub(crate) tables: Vec<Captured>,
    /// How far everything is read that `batch` and what was emitted before hold.
    pub(crate) reading: Reading,
    /// Changes to be emitted.
    pub(crate) batch: Vec<Change>,
    /// About how many bytes they take.
    pub(crate) bytes: usize,
    /// Rows that wait for their place.
    pub(crate) chunk: Option<Chunk>,
    placed: Option<Placed>,
    /// Messages that are rows.
    messages: Vec<Messages>,
    /// Whether tables are read again unasked.
    reads: bool,
    /// When the server sent what is taken: microseconds since 2000.
    pub(crate) sent_at: i64,
    layouts: HashMap<u32, Option<Arc<Layout>>>,
    covered: Mark,
    open: Option<Open>,
    recent: VecDeque<u32>,
    /// What became of tables since the last batch.
    news: Vec<News>,
}

/// The transaction that is being read.
#[derive(Debug)]
struct Open {
    commit: u64,
    at: Timestamp,
    xid: u32,
    ordinal: u64,
    /// Whether a sink of Lockstep wrote it.
    ours: bool,
    /// Whether it holds the mark of the chunk.
    marks: bool,
}

/// Snapshot rows whose place has come.
#[derive(Debug)]
struct Placed {
    table: usize,
    mark: Mark,
    /// Where what comes after its transaction begins.
    end: u64,
    at: Timestamp,
    rows: VecDeque<Waiting>,
    again: Vec<RowKey>,
    last: Option<RowKey>,
    complete: bool,
    clears: bool,
}

/// What is to be read next of the table whose snapshot is in work.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    /// The table.
    pub(crate) table: usize,
    /// The key behind which to read.
    pub(crate) after: Option<RowKey>,
    /// Rows to read beside that.
    pub(crate) again: Vec<RowKey>,
}

/// What a message asks of whoever feeds the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Nothing.
    Nothing,
    /// To look at this table again: it is not what the catalog said. Feed the message again afterwards, to [`Stream::fit`].
    Look(usize),
}

impl Stream {
    /// A stream that goes on after `reading`.
    pub(crate) fn new(
        tables: Vec<Captured>,
        messages: Vec<Messages>,
        reading: Reading,
        reads: bool,
    ) -> Stream {
        Stream {
            messages,
            reads,
            sent_at: 0,
            covered: reading.mark,
            tables,
            reading,
            batch: Vec::new(),
            bytes: 0,
            chunk: None,
            placed: None,
            layouts: HashMap::new(),
            open: None,
            recent: VecDeque::new(),
            news: Vec::new(),
        }
    }

    /// Takes one message of the output plug-in. None may be taken while [`Stream::is_placing`].
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Ask> {
        match Message::parse(bytes)? {
            Message::Insert { table, new } => self.insert(table, new)?,
            Message::Update { table, old, new } => self.update(table, old, new)?,
            Message::Delete { table, old } => self.delete(table, old)?,
            Message::Truncate { tables } => self.truncate(&tables)?,
            Message::Begin { commit, at, xid } => self.begin(commit, at, xid),
            Message::Commit { end, .. } => self.commit(end),
            Message::Origin { name } => {
                if let Some(open) = &mut self.open {
                    open.ours = name.starts_with(OURS);
                }
            }
            Message::Relation(relation) => return self.relation(&relation),
            Message::Note {
                transactional,
                at,
                prefix,
                content,
            } if prefix != PREFIX.as_bytes() => {
                let alone = (!transactional).then_some(at);
                self.message(alone, prefix, content);
            }
            Message::Note {
                prefix, content, ..
            } => {
                let awaited = self.chunk.as_ref().map(|chunk| chunk.plan.nonce.as_bytes());
                if let Some(open) = &mut self.open
                    && prefix == PREFIX.as_bytes()
                    && awaited == Some(content)
                {
                    open.marks = true;
                }
            }
            Message::Type => {}
        }
        Ok(Ask::Nothing)
    }

    /// Fits a table of the stream to what the catalog says now, as well as it goes.
    pub(crate) fn fit(&mut self, bytes: &[u8], table: usize) -> Result<()> {
        let Message::Relation(relation) = Message::parse(bytes)? else {
            return Ok(());
        };
        let (layout, fit) = Layout::of(&relation, table, &self.tables[table])?;
        if fit == Fit::Renamed {
            // Some values came under names that mean nothing now; the rows tell them again.
            self.mend(table, Since::Rewritten);
        }
        self.layouts.insert(relation.table, Some(Arc::new(layout)));
        Ok(())
    }

    fn relation(&mut self, relation: &Relation<'_>) -> Result<Ask> {
        let same_name =
            |table: &Captured| table.schema == relation.schema && table.relation == relation.name;
        let same = |table: &Captured| table.oid == relation.table;
        let by_oid = self.tables.iter().position(same);
        // A table that was made anew bears another number.
        let Some(table) = by_oid.or_else(|| self.tables.iter().position(same_name)) else {
            // The publication tells more than anybody asked for.
            self.layouts.insert(relation.table, None);
            return Ok(Ask::Nothing);
        };
        match Layout::of(relation, table, &self.tables[table]) {
            Ok((layout, Fit::Same)) => {
                self.layouts.insert(relation.table, Some(Arc::new(layout)));
                Ok(Ask::Nothing)
            }
            fitted => {
                if matches!(fitted, Ok((_, Fit::Retyped))) {
                    // A rewrite of its rows is not told.
                    self.mend(table, Since::Rewritten);
                }
                Ok(Ask::Look(table))
            }
        }
    }

    fn begin(&mut self, commit: u64, at: i64, xid: u32) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(xid);
        self.open = Some(Open {
            commit,
            at: timestamp(at),
            xid,
            ordinal: 0,
            ours: false,
            marks: false,
        });
    }

    fn commit(&mut self, end: u64) {
        let Some(open) = self.open.take() else {
            return;
        };
        self.reading.cursor.from = self.reading.cursor.from.max(Lsn(end));
        let mark = Mark {
            commit: open.commit,
            ordinal: open.ordinal,
        };
        self.reading.mark = self.reading.mark.max(mark);
        if open.marks
            && let Some(chunk) = self.chunk.take()
        {
            self.placed = Some(Placed {
                table: chunk.plan.table,
                mark,
                end,
                at: open.at,
                again: chunk.plan.again.clone(),
                last: chunk.last.clone(),
                complete: chunk.complete,
                clears: chunk.plan.clears,
                rows: chunk.into_rows(),
            });
        } else {
            self.ends(end);
        }
    }

    /// A transaction is told to its end: whatever comes now has a later commit, or one that begins here.
    fn ends(&mut self, end: u64) {
        self.reading.mark = self.reading.mark.max(Mark {
            commit: end,
            ordinal: 0,
        });
    }

    /// Takes the server's word on how far it has read; gives whether that is news.
    pub(crate) fn is_ahead(&self, end: u64) -> bool {
        self.open.is_none() && self.placed.is_none() && Lsn(end) > self.reading.cursor.from
    }

    /// Moves on over a part of the log in which nothing is for us.
    pub(crate) fn skip_to(&mut self, end: u64) {
        if self.is_ahead(end) {
            self.reading.cursor.from = Lsn(end);
            let mark = Mark {
                commit: end,
                ordinal: 0,
            };
            self.reading.mark = self.reading.mark.max(mark);
        }
    }

    /// Whether snapshot rows have to be told before anything else is taken.
    pub(crate) fn is_placing(&self) -> bool {
        self.placed.is_some()
    }

    /// Tells snapshot rows whose place has come, up to the bounds of a batch.
    pub(crate) fn place(&mut self, changes_max: usize, bytes_max: usize) {
        let Some(placed) = &mut self.placed else {
            return;
        };
        let shape = &self.tables[placed.table].shape;
        if placed.clears {
            placed.mark.ordinal += 1;
            let gone = Row::default();
            self.batch.push(change(
                shape,
                Op::Truncated,
                gone,
                None,
                placed.mark,
                placed.at,
            ));
            let end = placed.end;
            self.reading.cursor.anew.retain(|name| *name != shape.name);
            self.placed = None;
            self.ends(end);
            return;
        }
        while self.batch.len() < changes_max && self.bytes < bytes_max {
            let Some(Waiting { key, row, again }) = placed.rows.pop_front() else {
                break;
            };
            placed.mark.ordinal += 1;
            self.bytes += size(&row);
            // What is read again is a change that could not be told when it came.
            let op = if again { Op::Updated } else { Op::Snapshot };
            self.batch
                .push(change(shape, op, row, None, placed.mark, placed.at));
            if !again {
                self.reading.cursor.after = Some(key);
            }
        }
        self.reading.mark = self.reading.mark.max(placed.mark);
        if !placed.rows.is_empty() {
            return;
        }
        let Some(placed) = self.placed.take() else {
            return;
        };
        // Otherwise nobody knew before the server's next word that no further row of it comes.
        self.ends(placed.end);
        let name = &self.tables[placed.table].name;
        let cursor = &mut self.reading.cursor;
        if cursor.todo.first() != Some(name) {
            return;
        }
        cursor.again.retain(|key| !placed.again.contains(key));
        if placed.last.is_some() {
            cursor.after = placed.last;
        }
        if placed.complete && cursor.again.is_empty() {
            tracing::info!(table = %name, "the table's snapshot is complete");
            cursor.after = None;
            cursor.todo.remove(0);
            cursor.done.push(name.clone());
            self.news.push(cursor.parts.complete(name));
        }
    }

    /// What is to be read next, as of what was told so far.
    pub(crate) fn next_part(&self) -> Option<Part> {
        let cursor = &self.reading.cursor;
        let first = cursor.todo.first()?;
        let table = self.tables.iter().position(|table| table.name == *first)?;
        Some(Part {
            table,
            after: cursor.after.clone(),
            again: cursor.again.clone(),
        })
    }

    /// What is to be read next once the rows are told whose place has come; none where that ends the table, or another one is in work.
    pub(crate) fn part_behind(&self) -> Option<Part> {
        let placed = self.placed.as_ref()?;
        let mut part = self.next_part()?;
        part.again.retain(|key| !placed.again.contains(key));
        let is_over = placed.complete && part.again.is_empty();
        if part.table != placed.table || placed.clears || is_over {
            return None;
        }
        part.after = placed.last.clone().or(part.after);
        Some(part)
    }

    /// Whether it has to be told first that the rows of a table are gone.
    pub(crate) fn clears(&self, table: usize) -> bool {
        let anew = &self.reading.cursor.anew;
        anew.contains(&self.tables[table].name)
    }

    /// Whether a transaction was told already that a chunk does not contain: the server ends a transaction a little after its commit is on disk.
    pub(crate) fn told_more_than(&self, chunk: &Chunk) -> bool {
        self.recent.iter().any(|xid| !chunk.seen.contains(*xid))
    }

    /// Reads a table anew from its first row.
    pub(crate) fn read_again(&mut self, table: usize) {
        self.read_part(table, None);
    }

    /// Reads rows of a table anew: those that fulfil something, or all.
    pub(crate) fn read_part(&mut self, table: usize, filter: Option<Filter>) {
        let name = &self.tables[table].name;
        let cursor = &mut self.reading.cursor;
        let is_due = cursor.todo.contains(name);
        cursor.parts.ask(name, filter, is_due);
        if cursor.todo.first() == Some(name) {
            cursor.after = None;
            cursor.again.clear();
            self.chunk = None;
            self.placed = None;
        } else if !cursor.todo.contains(name) {
            cursor.done.retain(|done| done != name);
            cursor.todo.push(name.clone());
        }
    }

    /// Sees to a table of which changes did not tell everything.
    pub(crate) fn mend(&mut self, table: usize, since: Since) {
        say(&self.tables[table], since, self.reads);
        if matches!(since, Since::Nothing | Since::Parted) || !self.reads {
            return;
        }
        self.read_again(table);
        let name = &self.tables[table].name;
        let anew = &mut self.reading.cursor.anew;
        // What the old one held is gone.
        if since == Since::Anew && !anew.contains(name) {
            anew.push(name.clone());
        }
    }

    /// Takes note of what the catalog says of a table by now.
    pub(crate) fn replace(&mut self, table: usize, newer: Captured) {
        if self.tables[table].parts != newer.parts && self.tables[table].oid == newer.oid {
            self.mend(table, Since::Parted);
        }
        let known = &mut self.reading.cursor.known;
        let was = known.get(&newer.name).map_or(0, |stamp| stamp.member);
        let is_same = self.tables[table].oid == newer.oid;
        let member = if is_same { was } else { 0 };
        known.insert(newer.name.clone(), Stamp::of(&newer, member));
        if !is_same {
            self.mend(table, Since::Anew);
        }
        let same_columns = is_same && self.tables[table].columns == newer.columns;
        if !same_columns
            && self
                .chunk
                .as_ref()
                .is_some_and(|chunk| chunk.plan.table == table)
        {
            // Its rows have the columns of before; they are read again.
            self.chunk = None;
        }
        if self.tables[table].shape != newer.shape {
            self.news.push(News::Shape(Arc::clone(&newer.shape)));
        }
        self.tables[table] = newer;
    }

    /// Whether there is news of tables.
    pub(crate) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// What became of tables since it was last asked.
    pub(crate) fn news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// What has been read, to be emitted.
    pub(crate) fn batch(&mut self) -> Vec<Change> {
        self.bytes = 0;
        std::mem::take(&mut self.batch)
    }
}

fn change(
    shape: &Arc<Shape>,
    op: Op,
    row: Row,
    before: Option<Row>,
    mark: Mark,
    committed_at: Timestamp,
) -> Change {
    Change {
        shape: Arc::clone(shape),
        op,
        row,
        before,
        mark,
        committed_at,
        origin: None,
    }
}

/// PostgreSQL's clock as an instant.
fn timestamp(microseconds: i64) -> Timestamp {
    let since_1970 = microseconds.saturating_add(EPOCH_US);
    Timestamp::from_microsecond(since_1970).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// About how many bytes the values of a row take.
fn size(row: &Row) -> usize {
    use lockstep_core::Value::{Bytes, Json, Text};
    let of = |cell: &lockstep_core::Cell| match cell.value() {
        Some(Text(text)) => text.len(),
        Some(Bytes(bytes)) => bytes.len(),
        Some(Json(text)) => text.len(),
        _ => 8,
    };
    row.0.iter().map(of).sum()
}
