//! The editor's own account of what it did: one line before each transaction commits and one after.
//!
//! It is the oracle's only knowledge of the edits, so each line is on disk before the editor goes on.
//! A transaction that was announced and not confirmed may or may not have happened; reading such a journal says so instead of guessing.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::record::{Entity, Key, Record};

/// What an edit made of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It stands there now, in keeping with its contract.
    Good(Record),
    /// It stands there now and breaks its contract, for this reason.
    Broken(String),
    /// It is gone.
    Gone,
}

/// One edit of one record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edit {
    /// The entity.
    pub entity: Entity,
    /// The record's key after the edit.
    pub key: Key,
    /// What the edit made of it.
    pub outcome: Outcome,
    /// Whether anything of the contract changed; false where only a column was touched that nobody maps.
    pub counts: bool,
}

/// One committed transaction of the editor.
#[derive(Clone, Debug, PartialEq)]
pub struct Transaction {
    /// The system.
    pub system: String,
    /// Its edits in order.
    pub edits: Vec<Edit>,
    /// When its commit began, in milliseconds since 1970: latency is measured from here, so it is never flattered.
    pub commit_ms: i64,
}

/// The journal of a stage's folder.
#[must_use]
pub fn path(folder: &Path) -> PathBuf {
    folder.join("journal.jsonl")
}

/// Now, in milliseconds since 1970.
#[must_use]
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Announced {
        transaction: u64,
        system: String,
        edits: Vec<Edit>,
    },
    Committed {
        committed: u64,
        commit_ms: i64,
    },
}

/// Writes a journal.
#[derive(Debug)]
pub struct Writer {
    file: File,
    next: u64,
}

impl Writer {
    /// Goes on with the journal of a folder.
    ///
    /// # Errors
    /// It cannot be opened, or what is in it cannot be trusted.
    pub fn open(folder: &Path) -> Result<Writer> {
        let next = read(folder)?.len() as u64 + 1;
        let path = path(folder);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("cannot open `{}`", path.display()))?;
        Ok(Writer { file, next })
    }

    /// The number of the transaction that will be announced next.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Announces a transaction; durable when it returns.
    ///
    /// # Errors
    /// The line could not be written.
    pub fn announce(&mut self, system: &str, edits: &[Edit]) -> Result<()> {
        self.write(&Line::Announced {
            transaction: self.next,
            system: system.to_owned(),
            edits: edits.to_vec(),
        })
    }

    /// Confirms that the announced transaction is committed; durable when it returns.
    ///
    /// # Errors
    /// The line could not be written.
    pub fn confirm(&mut self, commit_ms: i64) -> Result<()> {
        let committed = self.next;
        self.next += 1;
        self.write(&Line::Committed {
            committed,
            commit_ms,
        })
    }

    fn write(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.file.write_all(text.as_bytes())?;
        self.file.sync_data()?;
        Ok(())
    }
}

/// Reads a folder's journal; empty where there is none yet.
///
/// # Errors
/// A damaged line, or a transaction that was announced and never confirmed.
pub fn read(folder: &Path) -> Result<Vec<Transaction>> {
    let path = path(folder);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read `{}`", path.display()));
        }
    };
    let mut transactions = Vec::new();
    let mut open: Option<(u64, String, Vec<Edit>)> = None;
    for (at, line) in BufReader::new(file).lines().enumerate() {
        let line: Line = serde_json::from_str(&line?)
            .with_context(|| format!("line {} of `{}` is damaged", at + 1, path.display()))?;
        match (line, open.take()) {
            (
                Line::Announced {
                    transaction,
                    system,
                    edits,
                },
                None,
            ) => open = Some((transaction, system, edits)),
            (
                Line::Committed {
                    committed,
                    commit_ms,
                },
                Some((transaction, system, edits)),
            ) if committed == transaction => transactions.push(Transaction {
                system,
                edits,
                commit_ms,
            }),
            _ => bail!(
                "line {} of `{}` does not follow from the one before",
                at + 1,
                path.display()
            ),
        }
    }
    if let Some((transaction, system, _)) = open {
        bail!(
            "the editor ended inside transaction {transaction} on {system}: nobody can say whether it was committed"
        );
    }
    Ok(transactions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(key: &str) -> Edit {
        Edit {
            entity: Entity::Product,
            key: Key::one(key),
            outcome: Outcome::Gone,
            counts: true,
        }
    }

    #[test]
    fn what_was_confirmed_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap().is_empty());
        for (key, at) in [("A", 10), ("B", 20)] {
            let mut writer = Writer::open(folder.path()).unwrap();
            writer.announce("erp", &[gone(key)]).unwrap();
            writer.confirm(at).unwrap();
        }
        let read = read(folder.path()).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[1].edits, [gone("B")]);
        assert_eq!(read[1].commit_ms, 20);
    }

    #[test]
    fn an_unconfirmed_transaction_is_never_guessed_at() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(folder.path()).unwrap();
        writer.announce("erp", &[gone("A")]).unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("inside transaction 1"), "{error}");
    }
}
