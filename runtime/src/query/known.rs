//! What is known of tables that are captured by query, in the log's bucket `LS_QUERY`.
//!
//! Per table: an index of its pages in the order of their ranges, the pages (`core::capture::listing`), and what was told of late, in pieces, which goes before what the pages say.
//! A page is found by its number only; its range is from the end of the page before it to its own.
//! Everything is bounded: a page by its bytes, what is recent by [`RECENT_MAX`], at which a listing is due that makes pages of it; an index takes 20 bytes a page, so a million rows take about 20 kB there and 40 MB of pages, of which one or two are in memory.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use lockstep_core::capture::listing::{Known, Page, UNSURE, token};
use lockstep_core::error::{Error, Result};
use lockstep_core::value::Value;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::rows::Table;
use crate::log::{self, Bucket, Log};

/// The bucket.
const BUCKET: &str = "LS_QUERY";
/// Most rows of which it is remembered that they were told of late.
pub(super) const RECENT_MAX: usize = 200_000;
/// Most of them in one piece.
const PIECE_MAX: usize = 2_000;

/// What is known of the tables of one system.
pub(super) struct Store {
    bucket: Box<dyn Bucket>,
    system: String,
}

/// The pages of a table, in the order of their ranges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Index {
    /// What its rows are hashed with.
    pub(super) secret: String,
    /// What its rows are named by; pages that name them by something else say nothing.
    #[serde(default)]
    pub(super) named: Vec<String>,
    /// The number of the next new page.
    next: u64,
    /// Page by page, its number and how many rows it has.
    pub(super) pages: Vec<(u64, u64)>,
}

/// Something to be written once what it stands for is durable.
#[derive(Debug)]
pub(super) struct Save {
    key: String,
    /// What; nothing where it is to go.
    value: Option<Bytes>,
}

impl Save {
    /// Has a key forgotten.
    pub(super) fn gone(key: String) -> Save {
        Save { key, value: None }
    }
}

impl Store {
    /// Opens it, making the bucket if need be.
    pub(super) async fn open(log: &Arc<dyn Log>, system: &str) -> Result<Store> {
        let bucket = log.bucket(BUCKET).await.map_err(log::to_error)?;
        Ok(Store {
            bucket,
            system: system.to_owned(),
        })
    }

    /// The index of a table whose rows are named like this; a new one where nothing is known of them.
    pub(super) async fn index(&self, table: &Table) -> Result<Index> {
        let known: Option<Index> = self.read(&self.key(&table.shape.name, "index")).await?;
        let known = known.unwrap_or_else(Index::new);
        let named = table.named();
        Ok(if known.named == named {
            known
        } else {
            known.renamed(named)
        })
    }

    /// A page of a table; an empty one without end where it is not known.
    pub(super) async fn page(&self, table: &str, page: u64) -> Result<Page> {
        let known = self.read(&self.key(table, &format!("p{page}"))).await?;
        Ok(known.unwrap_or_default())
    }

    /// What of a table was told of late.
    pub(super) async fn recent(&self, table: &Table) -> Result<Recent> {
        let mut recent = Recent::of(table);
        let prefix = self.key(&table.shape.name, "r");
        let mut pieces = self.bucket.list(&prefix).await.map_err(log::to_error)?;
        pieces.sort_by(|a, b| a.key.cmp(&b.key));
        for entry in pieces {
            let number = entry.key.get(prefix.len()..).unwrap_or_default();
            if let Ok(number) = u64::from_str_radix(number, 16) {
                recent.load(number, serde_json::from_slice(&entry.value).ok());
            }
        }
        Ok(recent)
    }

    fn save_piece(&self, table: &str, number: u64, piece: &Piece) -> Result<Save> {
        self.save(self.key(table, &format!("r{number:016x}")), piece)
    }

    pub(super) async fn write(&self, saves: Vec<Save>) -> Result<()> {
        for Save { key, value } in saves {
            match value {
                Some(value) => self.bucket.put(&key, value).await.map(drop),
                None => self.bucket.delete(&key).await,
            }
            .map_err(log::to_error)?;
        }
        Ok(())
    }

    pub(super) fn save_index(&self, table: &str, index: &Index) -> Result<Save> {
        self.save(self.key(table, "index"), index)
    }

    pub(super) fn save_page(&self, table: &str, number: u64, page: &Page) -> Result<Save> {
        self.save(self.key(table, &format!("p{number}")), page)
    }

    /// Has a page forgotten.
    pub(super) fn drop_page(&self, table: &str, number: u64) -> Save {
        Save {
            key: self.key(table, &format!("p{number}")),
            value: None,
        }
    }

    fn save<T: Serialize>(&self, key: String, value: &T) -> Result<Save> {
        let value = serde_json::to_vec(value).map_err(|error| {
            Error::unexpected("what is known of a table cannot be written").because(error)
        })?;
        Ok(Save {
            key,
            value: Some(value.into()),
        })
    }

    /// Where what calls named is kept.
    pub(super) fn heard_prefix(&self) -> String {
        format!("{}.heard.", self.system)
    }

    pub(super) async fn put(&self, key: &str, value: Bytes) -> Result<()> {
        let put = self.bucket.put(key, value).await;
        put.map(drop).map_err(log::to_error)
    }

    pub(super) async fn entries(&self, prefix: &str) -> Result<Vec<(String, Bytes)>> {
        let entries = self.bucket.list(prefix).await.map_err(log::to_error)?;
        let entries = entries.into_iter();
        Ok(entries.map(|entry| (entry.key, entry.value)).collect())
    }

    /// What cannot be read is not known: its rows are told again.
    async fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let entry = self.bucket.get(key).await.map_err(log::to_error)?;
        Ok(entry.and_then(|entry| serde_json::from_slice(&entry.value).ok()))
    }

    /// A table's name may hold any letters, so a digest stands for it.
    fn key(&self, table: &str, part: &str) -> String {
        let digest = Sha256::digest(table.as_bytes());
        let digest: String = digest[..8].iter().map(|b| format!("{b:02x}")).collect();
        format!("{}.{digest}.{part}", self.system)
    }
}

impl Index {
    fn new() -> Index {
        Index {
            secret: uuid::Uuid::new_v4().simple().to_string(),
            named: Vec::new(),
            next: 2,
            // One page that has everything in its range and no row.
            pages: vec![(1, 0)],
        }
    }

    /// The same index for rows that are named by something else: nothing is known of them.
    pub(super) fn renamed(&self, named: Vec<String>) -> Index {
        Index {
            secret: self.secret.clone(),
            named,
            // Numbers are given once, so that what an older page says is never taken for a newer one's.
            next: self.next + 1,
            pages: vec![(self.next, 0)],
        }
    }

    /// How many rows are known.
    pub(super) fn rows(&self) -> u64 {
        self.pages.iter().map(|(_, rows)| rows).sum()
    }

    /// A number for a new page.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }
}

/// What is to be written with a chunk.
#[derive(Debug, Default)]
pub(super) struct Saves {
    /// Before it is told: every row that is about to be told is known, but with which values is not sure.
    pub(super) ahead: Vec<Save>,
    /// Once it is durable: what was told.
    pub(super) after: Vec<Save>,
}

/// What was told last of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Note {
    /// What names it.
    name: Vec<Value>,
    /// The hash of its values; none where nothing is to be remembered of it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<u64>,
}

/// Notes, the oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Piece {
    /// What rows are named by.
    named: Vec<String>,
    notes: Vec<Note>,
}

/// What was told of late, row by row: newer than what the pages say, and of rows that no page has yet.
#[derive(Debug)]
pub(super) struct Recent {
    /// What rows are named by.
    pub(super) named: Vec<String>,
    /// How many values of a name are the key.
    keys: usize,
    rows: HashMap<String, Known>,
    /// The numbers of the pieces in which it is kept, the oldest first.
    pieces: BTreeSet<u64>,
    /// The piece that is being filled.
    open: Vec<Note>,
    /// How many notes the pieces have.
    kept: usize,
    /// Rows that the last listing did not show although they are there.
    pub(super) hidden: BTreeSet<String>,
}

impl Note {
    /// A row that is told with these values.
    pub(super) fn told(known: Known) -> Note {
        Note {
            name: known.name,
            hash: Some(known.hash),
        }
    }

    /// A row that is told as gone.
    pub(super) fn gone(known: &Known) -> Note {
        Note {
            name: known.name.clone(),
            hash: None,
        }
    }
}

impl Recent {
    pub(super) fn of(table: &Table) -> Recent {
        Recent {
            named: table.named(),
            keys: table.keys(),
            rows: HashMap::new(),
            pieces: BTreeSet::new(),
            open: Vec::new(),
            kept: 0,
            hidden: BTreeSet::new(),
        }
    }

    /// Takes up a piece; what names rows otherwise, or cannot be read, only goes when the others do.
    fn load(&mut self, number: u64, piece: Option<Piece>) {
        self.pieces.insert(number);
        let Some(piece) = piece.filter(|piece| piece.named == self.named) else {
            return;
        };
        self.kept += piece.notes.len();
        for note in piece.notes {
            self.note(note);
        }
        // The next note begins a piece of its own.
        self.open = Vec::new();
    }

    fn note(&mut self, note: Note) {
        let key = token(&note.name[..self.keys.min(note.name.len())]);
        match note.hash {
            Some(hash) => {
                let name = note.name;
                self.rows.insert(key, Known { name, hash });
            }
            None => drop(self.rows.remove(&key)),
        }
    }

    /// What was told last of a row, if that is remembered here.
    pub(super) fn get(&self, key: &str) -> Option<&Known> {
        self.rows.get(key)
    }

    /// The rows that are remembered.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&String, &Known)> {
        self.rows.iter()
    }

    /// How many rows are remembered.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no more should be remembered before a listing made pages of it.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= RECENT_MAX
    }

    /// Takes note of rows that are about to be told.
    pub(super) fn add(&mut self, store: &Store, table: &str, told: Vec<Note>) -> Result<Saves> {
        let mut saves = Saves::default();
        let mut told = told.into_iter().peekable();
        while told.peek().is_some() {
            if self.open.len() >= PIECE_MAX || self.open.is_empty() {
                self.open = Vec::new();
                let next = self.pieces.last().map_or(1, |number| number + 1);
                self.pieces.insert(next);
            }
            let number = self.pieces.last().copied().unwrap_or(1);
            let some: Vec<Note> = told.by_ref().take(PIECE_MAX - self.open.len()).collect();
            let unsure = some.iter().map(|note| Note {
                name: note.name.clone(),
                hash: Some(UNSURE),
            });
            let mut piece = Piece {
                named: self.named.clone(),
                notes: self.open.iter().cloned().chain(unsure).collect(),
            };
            saves.ahead.push(store.save_piece(table, number, &piece)?);
            self.open.extend(some.iter().cloned());
            piece.notes.clone_from(&self.open);
            saves.after.push(store.save_piece(table, number, &piece)?);
            self.kept += some.len();
            some.into_iter().for_each(|note| self.note(note));
        }
        if self.kept > RECENT_MAX * 2 {
            saves.after.extend(self.pack(store, table)?);
        }
        Ok(saves)
    }

    /// Keeps only some of the rows; gives what is to be written.
    pub(super) fn keep(
        &mut self,
        store: &Store,
        table: &str,
        keeps: impl Fn(&str) -> bool,
    ) -> Result<Vec<Save>> {
        let before = self.rows.len();
        self.rows.retain(|key, _| keeps(key));
        if self.rows.len() == before && self.kept <= before {
            return Ok(Vec::new());
        }
        self.pack(store, table)
    }

    /// Writes what is remembered into new pieces, and has the older ones forgotten, the oldest first: an older note never outlives a newer one.
    fn pack(&mut self, store: &Store, table: &str) -> Result<Vec<Save>> {
        let older = std::mem::take(&mut self.pieces);
        let mut number = older.last().copied().unwrap_or_default();
        let mut saves = Vec::new();
        let rows: Vec<&Known> = self.rows.values().collect();
        for some in rows.chunks(PIECE_MAX) {
            number += 1;
            let notes = some.iter().map(|known| Note::told((*known).clone()));
            let piece = Piece {
                named: self.named.clone(),
                notes: notes.collect(),
            };
            saves.push(store.save_piece(table, number, &piece)?);
            self.pieces.insert(number);
        }
        saves.extend(older.iter().map(|number| Save {
            key: store.key(table, &format!("r{number:016x}")),
            value: None,
        }));
        self.kept = self.rows.len();
        self.open = Vec::new();
        Ok(saves)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lockstep_core::connector::Reads;
    use lockstep_core::{Column, Shape, Type};

    use super::*;
    use crate::log::embedded::{Embedded, EmbeddedOptions};

    #[tokio::test]
    async fn what_is_recent_outlives_its_reader_and_the_newest_note_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.db");
        let log: Arc<dyn Log> = Embedded::open(&path, EmbeddedOptions::default())
            .await
            .unwrap();
        let store = Store::open(&log, "crm").await.unwrap();
        let shape = Arc::new(Shape {
            name: "t".to_owned(),
            columns: vec![Column::new("id", Type::Int, false)],
            key: vec![0],
        });
        let said = super::super::QueryTable::default();
        let table = Table::of(shape, &said, &Reads::default(), &BTreeSet::new()).unwrap();
        let known = |n: i64, hash: u64| Known {
            name: vec![Value::Int(n)],
            hash,
        };
        let key = |n: i64| token(&[Value::Int(n)]);
        let mut recent = Recent::of(&table);
        let all: Vec<Note> = (1..5001).map(|n| Note::told(known(n, 7))).collect();
        let saves = recent.add(&store, "t", all).unwrap();
        store.write(saves.ahead).await.unwrap();
        let unsure = store.recent(&table).await.unwrap();
        assert_eq!(unsure.get(&key(5000)), Some(&known(5000, UNSURE)));
        store.write(saves.after).await.unwrap();
        let later = vec![Note::told(known(1, 8)), Note::gone(&known(2, 7))];
        let saves = recent.add(&store, "t", later).unwrap();
        store.write(saves.after).await.unwrap();
        let read = store.recent(&table).await.unwrap();
        for recent in [&recent, &read] {
            assert_eq!(recent.len(), 4999);
            assert_eq!(recent.get(&key(1)), Some(&known(1, 8)));
            assert_eq!(recent.get(&key(2)), None);
        }
        let keeps = |of: &str| of == key(1);
        let saves = recent.keep(&store, "t", keeps).unwrap();
        store.write(saves).await.unwrap();
        let read = store.recent(&table).await.unwrap();
        assert_eq!((read.len(), read.pieces.len()), (1, 1));
        assert_eq!(read.get(&key(1)), Some(&known(1, 8)));
    }
}
