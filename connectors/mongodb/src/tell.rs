//! What a run has read and not yet handed over: events as changes, documents as rows of a snapshot.
//!
//! Changes that belong to a transaction of our own sinks are left out: such a transaction writes our progress first, so its first event says whose it is.

use std::collections::VecDeque;

use lockstep_core::change::Op;
use lockstep_core::position::Mark;
use lockstep_core::{Change, Error, Result, Row};
use mongodb::bson::{RawDocument, RawDocumentBuf};

use crate::catalog::PROGRESS;
use crate::client::Client;
use crate::columns::Table;
use crate::convert::committed_at;
use crate::event::{Event, Happened};
use crate::patch;
use crate::position::{Reading, time_of};
use crate::record;
use crate::snapshot::{self, Read, pack};

/// A batch in the making, and how far the source is read with it.
pub(crate) struct Teller {
    pub(crate) tables: Vec<Table>,
    pub(crate) reading: Reading,
    pub(crate) batch: Vec<Change>,
    /// Bytes of the documents in the batch.
    pub(crate) bytes: usize,
    /// Everything up to this time is told, and nothing that came later.
    pub(crate) through: Option<u64>,
    /// Documents of a snapshot that wait to be told, and the time as of which they were read.
    pub(crate) waiting: VecDeque<RawDocumentBuf>,
    pub(crate) as_of: u64,
    sharded: bool,
}

impl Teller {
    pub(crate) fn new(tables: Vec<Table>, reading: Reading, sharded: bool) -> Teller {
        Teller {
            tables,
            reading,
            batch: Vec::new(),
            bytes: 0,
            through: None,
            waiting: VecDeque::new(),
            as_of: 0,
            sharded,
        }
    }

    /// Takes note that nothing more has happened up to a token.
    pub(crate) fn quiet(&mut self, token: String) -> Result<()> {
        let Some(time) = time_of(&token) else {
            return Err(Error::unexpected(
                "a resume token does not begin with a time",
            ));
        };
        // A token at which a stream begins, and any token of a router, says nothing of changes of its own time.
        let unmoved = token == self.reading.cursor.token;
        let through = if self.sharded || unmoved {
            time.saturating_sub(1)
        } else {
            time
        };
        if time > self.reading.mark.commit {
            self.reading.pass(through);
            self.reading.cursor.token = token;
            self.reading.cursor.own = None;
        }
        if !self.sharded || through >= self.reading.mark.commit {
            self.through = Some(self.reading.mark.commit);
        }
        Ok(())
    }

    /// Takes note that the next event is of a later time.
    pub(crate) fn comes_later(&mut self, event: &Event) {
        if event
            .commit()
            .is_some_and(|commit| commit > self.reading.mark.commit)
        {
            self.through = Some(self.reading.mark.commit);
        }
    }

    /// Takes an event.
    pub(crate) async fn take(&mut self, event: &Event, client: &Client) -> Result<()> {
        let (Some(token), Some(commit)) = (event.token(), event.commit()) else {
            return Ok(());
        };
        let mark = self.reading.step(commit);
        token.clone_into(&mut self.reading.cursor.token);
        let transaction = event.transaction();
        // One write of its own is all that a time has; a transaction may have more to come.
        self.through = (transaction.is_none() && !self.sharded).then_some(commit);
        if event.collection() == Some(PROGRESS) {
            self.reading.cursor.own = transaction;
            return Ok(());
        }
        if self.reading.cursor.own != transaction {
            self.reading.cursor.own = None;
        } else if transaction.is_some() {
            return Ok(());
        }
        self.bytes += event.bytes();
        let table = event.collection().and_then(|name| self.table(name));
        match (event.happened(), table) {
            (Happened::Drop, Some(table)) => self.emptied(event, table, mark),
            (Happened::Rename, from) => self.renamed(event, from, mark),
            (Happened::Create, Some(table)) => {
                if let Some(uuid) = event.uuid() {
                    let name = self.tables[table].collection.name.clone();
                    self.reading.cursor.known.insert(name, uuid);
                }
            }
            (Happened::Insert | Happened::Replace | Happened::Update, Some(table)) => {
                self.upsert(event, table, mark, client).await?;
            }
            (Happened::Delete, Some(table)) => self.delete(event, table, mark),
            _ => {}
        }
        Ok(())
    }

    fn table(&self, name: &str) -> Option<usize> {
        let mut tables = self.tables.iter();
        tables.position(|table| table.collection.name == name)
    }

    async fn upsert(
        &mut self,
        event: &Event,
        table: usize,
        mark: Mark,
        client: &Client,
    ) -> Result<()> {
        let op = match event.happened() {
            Happened::Insert => Op::Created,
            _ => Op::Updated,
        };
        let known = &self.tables[table];
        let row = match event.after() {
            Some(document) => record::row(&known.fields, document),
            None => match patched(event, known, client).await? {
                Patched::Row(row) => row,
                Patched::Nothing => return Ok(()),
                Patched::Part(row) => {
                    let name = known.collection.name.clone();
                    tracing::warn!(
                        collection = %name,
                        help = images_help(&name),
                        "an update was not recorded whole, and how the document was after it cannot be read any more: the collection is read again"
                    );
                    self.reading.cursor.read_again(&name);
                    row
                }
            },
        };
        let known = &self.tables[table];
        let before = event
            .before()
            .map(|before| record::row(&known.fields, before));
        self.push(event, table, op, row, before, mark);
        Ok(())
    }

    fn delete(&mut self, event: &Event, table: usize, mark: Mark) {
        let known = &self.tables[table];
        let row = record::key(&known.fields, event.id());
        let before = event
            .before()
            .map(|before| record::row(&known.fields, before));
        self.push(event, table, Op::Deleted, row, before, mark);
    }

    /// Every document of a collection is gone.
    fn emptied(&mut self, event: &Event, table: usize, mark: Mark) {
        let cursor = &mut self.reading.cursor;
        let name = &self.tables[table].collection.name;
        cursor.known.remove(name);
        cursor.ids.remove(name);
        if cursor.todo.first() == Some(name) {
            cursor.after = None;
        }
        self.push(event, table, Op::Truncated, Row::default(), None, mark);
    }

    /// A collection has another name: what is read under the old one is gone, and what stands under the new one was not told.
    fn renamed(&mut self, event: &Event, from: Option<usize>, mut mark: Mark) {
        if let Some(from) = from {
            self.emptied(event, from, mark);
        }
        if let Some(to) = event.renamed_to().and_then(|name| self.table(name)) {
            if from.is_some() {
                mark = self.reading.step(mark.commit);
            }
            self.emptied(event, to, mark);
            let name = self.tables[to].collection.name.clone();
            self.reading.cursor.read_again(&name);
        }
    }

    fn push(
        &mut self,
        event: &Event,
        table: usize,
        op: Op,
        row: Row,
        before: Option<Row>,
        mark: Mark,
    ) {
        self.batch.push(Change {
            shape: self.tables[table].shape.clone(),
            op,
            row,
            before,
            mark,
            committed_at: committed_at(event.wall_ms().unwrap_or_default()),
            origin: None,
        });
    }

    /// Moves documents that wait into the batch, as far as it takes them.
    pub(crate) fn place(&mut self, changes_max: usize, bytes_max: usize) -> Result<()> {
        while self.batch.len() < changes_max && self.bytes < bytes_max {
            let Some(document) = self.waiting.pop_front() else {
                break;
            };
            let first = self.reading.cursor.todo.first();
            let Some(table) = first.and_then(|name| self.table(name)) else {
                self.waiting.clear();
                break;
            };
            self.bytes += document.as_bytes().len();
            self.place_one(table, &document)?;
        }
        Ok(())
    }

    fn place_one(&mut self, table: usize, document: &RawDocument) -> Result<()> {
        let after = pack(document).ok_or_else(|| {
            Error::unexpected("a document has no `_id`")
                .with("collection", &self.tables[table].collection.name)
        })?;
        let mark = self.reading.step(self.as_of);
        self.reading.cursor.after = Some(after);
        let known = &self.tables[table];
        self.batch.push(Change {
            shape: known.shape.clone(),
            op: Op::Snapshot,
            row: record::row(&known.fields, document),
            before: None,
            mark,
            committed_at: committed_at(i64::try_from(self.as_of >> 32).unwrap_or(0) * 1000),
            origin: None,
        });
        Ok(())
    }

    /// Hands the batch over.
    pub(crate) fn batch(&mut self) -> Vec<Change> {
        self.bytes = 0;
        std::mem::take(&mut self.batch)
    }
}

/// What is known of an update whose document was not recorded.
enum Patched {
    /// Everything.
    Row(Row),
    /// That it is not worth telling: no column changed, or the document is gone at the end of the very transaction.
    Nothing,
    /// Some of it.
    Part(Row),
}

/// The row of an update whose document was not recorded: by what changed, and where that does not say enough, by the document as it was when the change was committed.
async fn patched(event: &Event, table: &Table, client: &Client) -> Result<Patched> {
    let (Some(id), Some(commit), Some(description)) =
        (event.id(), event.commit(), event.description())
    else {
        return Ok(Patched::Nothing);
    };
    let patch = patch::read(&table.fields, Some(id), description);
    if patch.is_whole {
        let id_at = table.shape.key.first().copied();
        let mut cells = patch.row.0.iter().enumerate();
        let untouched = cells.all(|(at, cell)| Some(at) == id_at || cell.is_unchanged());
        return Ok(if untouched {
            Patched::Nothing
        } else {
            Patched::Row(patch.row)
        });
    }
    let found = snapshot::one(client, &table.collection.name, id, commit).await?;
    Ok(match found {
        Read::There(Some(document)) => Patched::Row(record::row(&table.fields, &document)),
        Read::There(None) => Patched::Nothing,
        Read::TooOld => Patched::Part(patch.row),
    })
}

/// What lets a collection record its documents before and after every change.
pub(crate) fn images_help(name: &str) -> String {
    format!(
        "run: db.runCommand({{collMod: \"{name}\", changeStreamPreAndPostImages: {{enabled: true}}}})"
    )
}

#[cfg(test)]
#[path = "tell_tests.rs"]
mod tests;
