//! The commit log of a root: numbered commits, each created only where no other one has its number, and checkpoints from which to read on.
//!
//! Invariants: whoever created commit N had taken in all commits below it; commits are removed only long after a checkpoint holds what they say;
//! a writer that slept that long looks before it writes, and again afterwards.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use lockstep_core::{Error, Kind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use crate::partition;
use crate::state::{Commit, FORMAT, State};
use crate::store::Store;

/// The folder of everything that is not a table.
pub(crate) const OURS: &str = "_lockstep";
/// Where commits are.
pub(crate) const COMMITS: &str = "_lockstep/commits";
/// Where checkpoints are.
pub(crate) const CHECKPOINTS: &str = "_lockstep/checkpoints";
/// Where the lists of tables' files are, for query engines.
pub(crate) const LISTS: &str = "_lockstep/tables";
/// What says that a root is a lake, and shows whether the store takes a second one.
const MARKER: &str = "_lockstep/lake.json";

/// How often a checkpoint that goes while it is looked for is looked for again.
const LOADS: usize = 5;
/// Up to how many files the list of a table is written with every commit, and not with checkpoints only.
const LISTED_MAX: usize = 2000;

/// The log of a root as one process knows it.
#[derive(Debug)]
pub(crate) struct Journal {
    store: Arc<Store>,
    every: u64,
    keep: Duration,
    held: Mutex<Held>,
    /// Taken while lists are written, so that no older one comes over a newer one.
    publishing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Held {
    state: Arc<State>,
    /// When the store was last seen to hold no later commit; never before the first look.
    as_of: Option<Timestamp>,
    checkpoint: u64,
}

/// What became of a commit.
#[derive(Debug, PartialEq)]
pub(crate) enum Committed {
    Done,
    /// Another writer was first; what it did is known now.
    Outrun,
}

impl Journal {
    pub(crate) fn new(store: Arc<Store>, every: u64, keep: Duration) -> Journal {
        Journal {
            store,
            every,
            keep,
            held: Mutex::default(),
            publishing: Mutex::default(),
        }
    }

    /// The state as it is now.
    pub(crate) async fn now(&self) -> Result<Arc<State>> {
        let mut held = self.held.lock().await;
        self.follow(&mut held).await?;
        Ok(Arc::clone(&held.state))
    }

    /// The state as it was last seen, which a commit compares with what is.
    pub(crate) async fn known(&self) -> Result<Arc<State>> {
        let mut held = self.held.lock().await;
        if self.is_old(&held) {
            self.follow(&mut held).await?;
        }
        Ok(Arc::clone(&held.state))
    }

    /// Commits what was made of a state; `began` is when its first file was written.
    ///
    /// # Errors
    /// [`Kind::Transient`] where so much time went by that the files may have been swept.
    pub(crate) async fn commit(&self, commit: Commit, began: Timestamp) -> Result<Committed> {
        let mut held = self.held.lock().await;
        if self.is_old(&held) {
            self.follow(&mut held).await?;
        }
        if commit.version != held.state.version + 1 {
            return Ok(Committed::Outrun);
        }
        if self.is_past(began) {
            return Err(Error::transient(
                "making a commit took so long that its files may have been swept",
            )
            .help("let batches be smaller, or `keep_minutes` be larger"));
        }
        let path = numbered(COMMITS, commit.version);
        let created = self.store.create(&path, json(&commit)?).await;
        if matches!(created, Ok(true)) {
            return self.done(&mut held, commit).await;
        }
        // It may be ours all the same: done, and the answer lost.
        let there = match self.read::<Commit>(&path).await {
            Ok(there) => there,
            Err(error) => return Err(created.err().unwrap_or(error)),
        };
        match there {
            Some(there) if there.id == commit.id => self.done(&mut held, commit).await,
            Some(_) => {
                self.follow(&mut held).await?;
                Ok(Committed::Outrun)
            }
            None => Err(created.err().unwrap_or_else(|| {
                Error::transient(format!(
                    "commit {} was refused, and is not there",
                    commit.version
                ))
            })),
        }
    }

    /// Takes in a commit that stands in the store.
    async fn done(&self, held: &mut Held, commit: Commit) -> Result<Committed> {
        if self.is_old(held) {
            // Everything may have gone on meanwhile, and our number may have been swept and taken again.
            let newest = self.checkpoints().await?.last().map_or(0, |newest| *newest);
            if newest >= commit.version {
                self.store
                    .delete(&numbered(COMMITS, commit.version))
                    .await?;
                held.as_of = None;
                return Err(Error::new(
                    Kind::Stopped,
                    format!(
                        "commit {} came after {newest}: this process slept meanwhile",
                        commit.version
                    ),
                ));
            }
        }
        Arc::make_mut(&mut held.state).take(commit)?;
        held.as_of = Some(Timestamp::now());
        Ok(Committed::Done)
    }

    /// Writes what others read: a checkpoint where one is due, and the lists of these tables' files.
    ///
    /// Nothing depends on it, so what fails is only told.
    pub(crate) async fn publish<'a>(
        &self,
        tables: impl Iterator<Item = &'a String>,
        at_once: bool,
    ) {
        let _one = self.publishing.lock().await;
        let (state, checkpoint) = {
            let held = self.held.lock().await;
            (Arc::clone(&held.state), held.checkpoint)
        };
        let is_due = state.version >= checkpoint + self.every;
        let lists: Vec<&String> = if is_due {
            state.tables.keys().collect()
        } else {
            tables.collect()
        };
        for name in lists {
            let Some(table) = state.tables.get(name) else {
                continue;
            };
            if is_due || (at_once && table.files.len() <= LISTED_MAX) {
                let path = format!("{LISTS}/{}.json", partition::encoded(name));
                let bytes = json(&serde_json::json!({
                    "table": name,
                    "version": state.version,
                    "key": table.key_names().collect::<Vec<_>>(),
                    "files": table.files.iter().map(|(path, file)| serde_json::json!({
                        "path": path, "rows": file.rows, "bytes": file.bytes,
                    })).collect::<Vec<_>>(),
                }));
                let put = match bytes {
                    Ok(bytes) => self.store.put(&path, bytes).await,
                    Err(error) => Err(error),
                };
                warn(put, "the list of a table's files");
            }
        }
        if is_due {
            let written = self.checkpoint(&state).await;
            if written.is_ok() {
                self.held.lock().await.checkpoint = state.version;
            }
            warn(written, "a checkpoint");
        }
    }

    async fn checkpoint(&self, state: &State) -> Result<()> {
        let mut state = state.clone();
        let long_ago = Timestamp::now().checked_sub(self.keep.saturating_mul(2));
        if let Ok(long_ago) = long_ago {
            state.removed.retain(|_, at| *at > long_ago);
        }
        let path = numbered(CHECKPOINTS, state.version);
        self.store.put(&path, json(&state)?).await
    }

    /// Marks the root, and makes sure that the store keeps two writers apart.
    pub(crate) async fn mark(&self) -> Result<()> {
        let marker = json(&serde_json::json!({ "format": FORMAT }))?;
        self.store.create(MARKER, marker.clone()).await?;
        self.probe(marker).await
    }

    /// Makes sure of that where the root is marked; changes nothing.
    pub(crate) async fn check(&self) -> Result<()> {
        match self.store.get(MARKER).await? {
            // A store that does not refuse puts the same bytes in their place.
            Some(marker) => self.probe(marker).await,
            None => Ok(()),
        }
    }

    async fn probe(&self, marker: Bytes) -> Result<()> {
        if self.store.create(MARKER, marker).await? {
            return Err(Error::config(
                "the store ignores `If-None-Match`, so that two writers could commit at once",
            )
            .help(
                "use a store that knows conditional writes (Amazon S3, MinIO, R2), or a folder",
            ));
        }
        Ok(())
    }

    /// Reads on until there is no later commit.
    async fn follow(&self, held: &mut Held) -> Result<()> {
        let now = Timestamp::now();
        if self.is_old(held) {
            self.load(held).await?;
        }
        loop {
            let path = numbered(COMMITS, held.state.version + 1);
            let Some(commit) = self.read::<Commit>(&path).await? else {
                break;
            };
            Arc::make_mut(&mut held.state).take(commit)?;
        }
        held.as_of = Some(now);
        Ok(())
    }

    /// Begins from the newest checkpoint.
    async fn load(&self, held: &mut Held) -> Result<()> {
        for _ in 0..LOADS {
            let Some(newest) = self.checkpoints().await?.last().copied() else {
                return Ok(());
            };
            if let Some(state) = self.read::<State>(&numbered(CHECKPOINTS, newest)).await? {
                if state.format != FORMAT {
                    return Err(Error::config(format!(
                        "the root is of format {}, and this Lockstep writes {FORMAT}",
                        state.format
                    ))
                    .help("use the Lockstep that wrote it, or a newer one"));
                }
                if state.version >= held.state.version {
                    held.state = Arc::new(state);
                }
                held.checkpoint = newest;
                return Ok(());
            }
        }
        Err(Error::transient(
            "checkpoints go faster than they can be read",
        ))
    }

    /// The numbers of all checkpoints, in their order.
    pub(crate) async fn checkpoints(&self) -> Result<Vec<u64>> {
        let entries = self.store.list(CHECKPOINTS).await?;
        let numbers = entries
            .iter()
            .filter_map(|entry| number(CHECKPOINTS, &entry.path));
        Ok(numbers.collect())
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        let Some(bytes) = self.store.get(path).await? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            // Only the place: serde's message quotes values, and bounds hold keys.
            let place = format!("line {} column {}", error.line(), error.column());
            Error::unexpected(format!("`{path}` cannot be read at {place}")).help(
                "it was changed by hand, or written by another Lockstep; bring it back from a copy",
            )
        })
    }

    /// Whether the store has not been looked at for so long that commits may have been swept unseen.
    fn is_old(&self, held: &Held) -> bool {
        held.as_of.is_none_or(|as_of| self.is_past(as_of))
    }

    fn is_past(&self, moment: Timestamp) -> bool {
        let age = Timestamp::now().duration_since(moment);
        age.is_negative() || age.unsigned_abs() > self.keep / 2
    }
}

/// The path of a numbered commit or checkpoint.
pub(crate) fn numbered(folder: &str, number: u64) -> String {
    format!("{folder}/{number:020}.json")
}

/// The number in the path of a commit or checkpoint.
pub(crate) fn number(folder: &str, path: &str) -> Option<u64> {
    let rest = path.strip_prefix(folder)?;
    rest.strip_prefix('/')?.strip_suffix(".json")?.parse().ok()
}

fn json(value: &impl Serialize) -> Result<Bytes> {
    let bytes = serde_json::to_vec(value);
    let bytes = bytes
        .map_err(|error| Error::unexpected("a commit cannot be written as JSON").because(error))?;
    Ok(bytes.into())
}

fn warn(done: Result<()>, what: &str) {
    if let Err(error) = done {
        tracing::warn!(error = %error.chain(), "cannot write {what}; the next commit tries again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use lockstep_core::connector::OpenContext;
    use std::collections::BTreeMap;

    fn store(root: &std::path::Path) -> Arc<Store> {
        let config: Config = serde_json::from_str(r#"{"root": "lake"}"#).unwrap();
        let cx = OpenContext {
            system: "lake".to_owned(),
            folder: root.to_owned(),
            tables: Vec::new(),
            reads: Default::default(),
        };
        Arc::new(Store::open(&config, &cx).unwrap())
    }

    fn journal(store: &Arc<Store>) -> Journal {
        Journal::new(Arc::clone(store), 2, Duration::from_secs(3600))
    }

    async fn go(journal: &Journal) -> Commit {
        let commit = Commit::of(&journal.now().await.unwrap(), BTreeMap::new());
        let done = journal
            .commit(commit.clone(), Timestamp::now())
            .await
            .unwrap();
        assert_eq!(done, Committed::Done);
        journal.publish([].iter(), true).await;
        commit
    }

    #[tokio::test]
    async fn a_root_is_read_from_its_newest_checkpoint_on() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        let writer = journal(&store);
        for _ in 0..5 {
            go(&writer).await;
        }
        for version in 1..=4 {
            store.delete(&numbered(COMMITS, version)).await.unwrap();
        }
        let state = journal(&store).now().await.unwrap();
        assert_eq!((state.version, &state), (5, &writer.now().await.unwrap()));
    }

    #[tokio::test]
    async fn a_writer_that_slept_while_commits_were_swept_does_not_write_into_the_past() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        let (sleeper, writer) = (journal(&store), journal(&store));
        go(&sleeper).await;
        let late = Commit::of(&sleeper.now().await.unwrap(), BTreeMap::new());
        for _ in 0..5 {
            go(&writer).await;
        }
        for version in 1..=4 {
            store.delete(&numbered(COMMITS, version)).await.unwrap();
        }
        let long_ago = Timestamp::now() - Duration::from_secs(7200);
        // It slept before it looked.
        sleeper.held.lock().await.as_of = Some(long_ago);
        let outrun = sleeper
            .commit(late.clone(), Timestamp::now())
            .await
            .unwrap();
        assert_eq!(outrun, Committed::Outrun);
        // It slept between its look and its write: the commit is there, and taken back.
        let mut held = Held {
            as_of: Some(long_ago),
            ..Held::default()
        };
        let bytes = json(&late).unwrap();
        assert!(store.create(&numbered(COMMITS, 2), bytes).await.unwrap());
        let error = sleeper.done(&mut held, late).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Stopped);
        assert_eq!(store.get(&numbered(COMMITS, 2)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_took_too_long_to_make_is_not_committed() {
        let root = tempfile::tempdir().unwrap();
        let journal = journal(&store(root.path()));
        let commit = Commit::of(&journal.now().await.unwrap(), BTreeMap::new());
        let began = Timestamp::now() - Duration::from_secs(3000);
        assert!(
            journal
                .commit(commit, began)
                .await
                .unwrap_err()
                .kind()
                .is_retryable()
        );
        assert_eq!(journal.now().await.unwrap().version, 0);
    }
}
