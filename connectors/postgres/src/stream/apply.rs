//! Rows of the stream: what each becomes, also while its table's snapshot is under way.

use std::sync::Arc;

use lockstep_core::position::Mark;
use lockstep_core::{Cell, Error, Op, Result, Row};

use super::{AGAIN_MAX, Stream, change, timestamp};
use crate::pgoutput::{Old, Tuple};
use crate::position::RowKey;
use crate::tables::Layout;

/// What becomes of a change of a table whose snapshot is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is told.
    Tell,
    /// Only that the old key is gone is told; the snapshot tells the row.
    TellGone,
    /// The snapshot tells the row.
    Leave,
}

/// Where a change stands.
struct Place {
    table: usize,
    /// Whether it is to be told at all: neither ours nor told before.
    wanted: bool,
    ours: bool,
    mark: Mark,
}

impl Stream {
    pub(super) fn insert(&mut self, table: u32, new: Tuple<'_>) -> Result<()> {
        let Some((place, layout)) = self.place_of(table)? else {
            return Ok(());
        };
        let mut row = layout.row(new);
        let mut fate = Fate::Tell;
        if self.is_pending(place.table) {
            fate = self.reconcile(&place, None, Some(&layout.key(new)), &mut row);
        }
        if fate == Fate::Tell {
            self.tell(&place, Op::Created, row, None, new.size());
        }
        Ok(())
    }

    pub(super) fn update(
        &mut self,
        table: u32,
        old: Option<Old<'_>>,
        new: Tuple<'_>,
    ) -> Result<()> {
        let Some((place, layout)) = self.place_of(table)? else {
            return Ok(());
        };
        if self.tables[place.table].outbox {
            return Ok(());
        }
        let mut row = layout.row(new);
        let before = old.map(|old| image(&layout, old));
        if let Some(Old::Full(_)) = old
            && let Some(before) = &before
        {
            fill(&mut row, before);
        }
        let size = new.size() + old.map_or(0, |old| old.tuple().size());
        if self.is_pending(place.table) {
            let key = layout.key(new);
            let old_key = old
                .map(|old| layout.key(old.tuple()))
                .filter(|old| *old != key);
            match self.reconcile(&place, old_key.as_ref(), Some(&key), &mut row) {
                Fate::Tell => {}
                Fate::TellGone => {
                    if let Some(before) = before {
                        let gone = self.key_only(place.table, &before);
                        self.tell(&place, Op::Deleted, gone, None, size);
                    }
                    return Ok(());
                }
                Fate::Leave => return Ok(()),
            }
        }
        self.tell(&place, Op::Updated, row, before, size);
        Ok(())
    }

    pub(super) fn delete(&mut self, table: u32, old: Old<'_>) -> Result<()> {
        let Some((place, layout)) = self.place_of(table)? else {
            return Ok(());
        };
        if self.tables[place.table].outbox {
            return Ok(());
        }
        let before = image(&layout, old);
        if self.is_pending(place.table) {
            let key = layout.key(old.tuple());
            let fate = self.reconcile(&place, Some(&key), None, &mut Row::default());
            if fate == Fate::Leave {
                return Ok(());
            }
        }
        let row = self.key_only(place.table, &before);
        let before = matches!(old, Old::Full(_)).then_some(before);
        self.tell(&place, Op::Deleted, row, before, old.tuple().size());
        Ok(())
    }

    pub(super) fn truncate(&mut self, tables: &[u32]) -> Result<()> {
        for table in tables {
            let Some((place, _)) = self.place_of(*table)? else {
                continue;
            };
            if self.tables[place.table].outbox {
                continue;
            }
            let seen = self.is_seen();
            if let Some(chunk) = &mut self.chunk
                && chunk.plan.table == place.table
                && !seen
            {
                chunk.clear();
            }
            self.tell(&place, Op::Truncated, Row::default(), None, 8);
        }
        Ok(())
    }

    /// A message of an application; `alone` is where it stands outside of any transaction.
    pub(super) fn message(&mut self, alone: Option<u64>, prefix: &[u8], content: &[u8]) {
        let (mark, at, wanted) = match (alone, &mut self.open) {
            (Some(commit), _) => {
                let mark = Mark { commit, ordinal: 1 };
                // Nobody says when it was written, but it is sent at once.
                (mark, timestamp(self.sent_at), true)
            }
            (None, Some(open)) => {
                open.ordinal += 1;
                let mark = Mark {
                    commit: open.commit,
                    ordinal: open.ordinal,
                };
                (mark, open.at, !open.ours)
            }
            (None, None) => return,
        };
        let known = self.messages.iter().find(|known| known.has(prefix));
        let Some(known) = known.filter(|_| wanted && mark > self.covered) else {
            return;
        };
        let row = known.row(mark, content);
        self.batch
            .push(change(&known.shape, Op::Created, row, None, mark, at));
        self.bytes += content.len();
        self.reading.mark = self.reading.mark.max(mark);
    }

    /// Where the next row stands; none where nobody asked for its table.
    fn place_of(&mut self, table: u32) -> Result<Option<(Place, Arc<Layout>)>> {
        let Some(open) = &mut self.open else {
            return Err(Error::unexpected(
                "the replication stream holds a row outside of any transaction",
            ));
        };
        // Rows of all tables count, so that a change has the same number whoever asks for whatever.
        open.ordinal += 1;
        let mark = Mark {
            commit: open.commit,
            ordinal: open.ordinal,
        };
        match self.layouts.get(&table) {
            Some(Some(layout)) => {
                let place = Place {
                    table: layout.table,
                    wanted: !open.ours && mark > self.covered,
                    ours: open.ours,
                    mark,
                };
                Ok(Some((place, Arc::clone(layout))))
            }
            Some(None) => Ok(None),
            None => Err(Error::unexpected(format!(
                "the replication stream holds a row of table {table}, which it did not describe"
            ))),
        }
    }

    fn tell(&mut self, place: &Place, op: Op, row: Row, before: Option<Row>, size: usize) {
        let Some(open) = self.open.as_ref().filter(|_| place.wanted) else {
            return;
        };
        let shape = &self.tables[place.table].shape;
        self.batch
            .push(change(shape, op, row, before, place.mark, open.at));
        self.bytes += size;
        self.reading.mark = self.reading.mark.max(place.mark);
    }

    /// Whether the table's snapshot is not complete.
    fn is_pending(&self, table: usize) -> bool {
        let todo = &self.reading.cursor.todo;
        !todo.is_empty() && todo.contains(&self.tables[table].name)
    }

    /// Whether the chunk contains the transaction that is being read.
    fn is_seen(&self) -> bool {
        match (&self.chunk, &self.open) {
            (Some(chunk), Some(open)) => chunk.seen.contains(open.xid),
            _ => true,
        }
    }

    /// Sees to it that a row's last word is either the change or the snapshot, and whole.
    ///
    /// `row` is the row after the change; what was not sent of it is filled in where a chunk knows it.
    fn reconcile(
        &mut self,
        place: &Place,
        old: Option<&RowKey>,
        new: Option<&RowKey>,
        row: &mut Row,
    ) -> Fate {
        let seen = self.is_seen();
        let chunk = self
            .chunk
            .as_mut()
            .filter(|chunk| chunk.plan.table == place.table);
        let mut told_by_chunk = false;
        if let Some(chunk) = chunk {
            if seen {
                told_by_chunk = new.is_some_and(|key| chunk.holds(key));
            } else {
                // The chunk is older than this change: it knows what the change did not touch.
                let base = old.or(new).and_then(|key| chunk.take(key));
                if let Some(key) = new {
                    chunk.take(key);
                }
                if let Some(base) = base {
                    fill(row, &base);
                }
            }
        }
        if place.ours {
            if let Some(key) = new.filter(|_| !seen)
                && !self.once_more(place.table, key)
            {
                self.read_again(place.table);
            }
            return Fate::Leave;
        }
        if new.is_none() || row.is_whole() {
            return Fate::Tell;
        }
        let left = if old.is_some() {
            Fate::TellGone
        } else {
            Fate::Leave
        };
        if told_by_chunk || !self.is_first(place.table) {
            return left;
        }
        // Nobody knows whether the row was told already, so it is read once more.
        let read = new.is_some_and(|key| self.once_more(place.table, key));
        match old {
            // Told as it is, the row lacks at worst what it is told with when its turn comes.
            None if !read => Fate::Tell,
            // A row that moved may have left what is still to be read for what was read already.
            Some(_) if !read => {
                self.read_again(place.table);
                left
            }
            _ => left,
        }
    }

    /// Whether the table's snapshot is the one in work.
    fn is_first(&self, table: usize) -> bool {
        self.reading.cursor.todo.first() == Some(&self.tables[table].name)
    }

    /// Has a row of a table that is not complete read once more, unless there are too many; gives whether it will be read.
    fn once_more(&mut self, table: usize, key: &RowKey) -> bool {
        if !self.is_first(table) {
            return true;
        }
        let again = &mut self.reading.cursor.again;
        if again.contains(key) {
            return true;
        }
        if again.len() < AGAIN_MAX {
            again.push(key.clone());
            return true;
        }
        false
    }

    fn key_only(&self, table: usize, before: &Row) -> Row {
        let shape = &self.tables[table].shape;
        let mut row = Row::unchanged(shape.columns.len());
        for column in &shape.key {
            row.0[*column] = before.cell(*column).clone();
        }
        row
    }
}

/// An old row, as far as it was sent.
fn image(layout: &Layout, old: Old<'_>) -> Row {
    match old {
        Old::Key(tuple) => layout.identity(tuple),
        Old::Full(tuple) => layout.row(tuple),
    }
}

/// Fills in what was not sent.
fn fill(row: &mut Row, known: &Row) {
    for (cell, known) in row.0.iter_mut().zip(&known.0) {
        if matches!(cell, Cell::Unchanged) {
            *cell = known.clone();
        }
    }
}
