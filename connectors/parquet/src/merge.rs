//! Rows of many files in the order of their keys, all rows of a key together.
//!
//! A file is opened when its first key is reached, so that of files with different keys one is open at a time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use lockstep_core::change::Op;
use lockstep_core::{Error, Result, Value};

use crate::file::Record;
use crate::lake::Lake;
use crate::order::{self, Sorted};
use crate::read::{Cursor, Want};
use crate::state::{DataFile, Table};

/// Most files that are open at once.
const OPEN_MAX: usize = 1024;

/// A merge of files.
pub(crate) struct Merge {
    lake: Arc<Lake>,
    want: Want,
    /// Where the columns of the table's key stand in what is read.
    key: Vec<usize>,
    heap: BinaryHeap<Head>,
    open: usize,
}

/// What comes next of a file: a row, or, before it is opened, the least that its rows may be.
struct Head {
    key: Option<Sorted>,
    backwards: bool,
    next: Next,
}

enum Next {
    File(String, Box<DataFile>),
    Row(Record, Box<Cursor>),
}

impl Merge {
    /// Begins a merge; `want` names columns among which are those of the key.
    pub(crate) fn new<'a>(
        lake: &Arc<Lake>,
        table: &Table,
        files: impl Iterator<Item = (&'a String, &'a DataFile)>,
        want: Want,
    ) -> Result<Merge> {
        let key = table.key_names().map(|name| {
            let place = want.columns.iter().position(|(column, _)| column == name);
            place
                .ok_or_else(|| Error::unexpected(format!("column `{name}` of the key is not read")))
        });
        let key = key.collect::<Result<_>>()?;
        let mut heap = BinaryHeap::new();
        for (path, file) in files.filter(|(_, file)| want.touches(&file.keys)) {
            let bounds = file.keys.clone();
            heap.push(Head {
                key: bounds.map(|(first, last)| Sorted(if want.backwards { last } else { first })),
                backwards: want.backwards,
                next: Next::File(path.clone(), Box::new(file.clone())),
            });
        }
        Ok(Merge {
            lake: Arc::clone(lake),
            want,
            key,
            heap,
            open: 0,
        })
    }

    /// The rows of the next key, oldest first; outside of the wanted keys there may be some, too.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Record>>> {
        let mut rows: Vec<Record> = Vec::new();
        let mut key: Option<Sorted> = None;
        while let Some(head) = self.heap.peek() {
            let is_file = matches!(head.next, Next::File(..));
            if !is_file && key.is_some() && head.key != key {
                break;
            }
            // A file whose rows all come later is left closed.
            if is_file && key.is_some() && head.key.is_some() && head.key != key {
                break;
            }
            let Some(head) = self.heap.pop() else {
                break;
            };
            match head.next {
                Next::File(path, file) => {
                    if self.open >= OPEN_MAX {
                        return Err(Error::unsupported(format!(
                            "more than {OPEN_MAX} files of a table would have to be read at once"
                        ))
                        .help("say `compact = true` for the table, or let batches be larger"));
                    }
                    let cursor = self.lake.cursor(&path, &file, self.want.clone()).await?;
                    self.open += 1;
                    self.advance(Box::new(cursor)).await?;
                }
                Next::Row(row, cursor) => {
                    key = key.or(head.key);
                    rows.push(row);
                    self.advance(cursor).await?;
                }
            }
        }
        rows.sort_by_key(|row| row.version);
        Ok((!rows.is_empty()).then_some(rows))
    }

    async fn advance(&mut self, mut cursor: Box<Cursor>) -> Result<()> {
        match cursor.next().await? {
            Some(row) => self.heap.push(Head {
                key: Some(Sorted(self.key_of(&row))),
                backwards: self.want.backwards,
                next: Next::Row(row, cursor),
            }),
            None => self.open -= 1,
        }
        Ok(())
    }

    /// The key of a row.
    pub(crate) fn key_of(&self, row: &Record) -> Vec<Value> {
        let value = |at: &usize| row.values.get(*at).cloned().unwrap_or(Value::Null);
        self.key.iter().map(value).collect()
    }
}

/// The row of now among all rows of a key, oldest first.
pub(crate) fn now(mut rows: Vec<Record>, since: i64) -> Option<Record> {
    let last = rows.pop()?;
    (last.op.is_upsert() && last.version >= since).then_some(last)
}

impl Head {
    /// Later heads are lesser; of one key files come before rows, and files of which nothing is known before all.
    fn order(&self, other: &Head) -> Ordering {
        let side = match (&self.key, &other.key) {
            (None, None) => Ordering::Equal,
            (None, _) => return Ordering::Greater,
            (_, None) => return Ordering::Less,
            (Some(left), Some(right)) => order::compare(&left.0, &right.0),
        };
        let side = if self.backwards { side } else { side.reverse() };
        let is_file = |head: &Head| matches!(head.next, Next::File(..));
        side.then_with(|| is_file(self).cmp(&is_file(other)))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.order(other).is_eq()
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order(other)
    }
}

/// Whether a row is of a record, and not of the table as a whole.
pub(crate) fn is_of_a_record(row: &Record) -> bool {
    row.op != Op::Truncated
}
