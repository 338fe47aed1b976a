//! Key-value buckets: one row per key, a revision that rises with every change of the bucket, watchers.
//!
//! A removed key leaves no row: its revision is 0 again, as if it had never been, and the bucket's own revision goes on.
//! A watcher remembers keys, not values: of changes that follow each other faster than it is read, it tells the last one, so a slow reader costs as much memory as the bucket has keys and no more.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use lockstep_core::connector::Boxed;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tokio::sync::{Notify, mpsc};

use super::Inner;
use super::file::Damage;
use super::reader::Readers;
use super::row;
use super::state::{lock, signed};
use super::writer::Group;
use crate::log::{Entry, LogError, Result, rules};

/// Most entries that wait for a watch's receiver.
const WATCH_QUEUE: usize = 256;

/// What all handles of a bucket share.
#[derive(Debug)]
pub(super) struct Shared {
    id: i64,
    watches: Mutex<Vec<Weak<Watch>>>,
}

impl Shared {
    /// Ends every watch.
    pub(super) fn close(&self) {
        for watch in lock(&self.watches)
            .drain(..)
            .filter_map(|watch| watch.upgrade())
        {
            watch.close();
        }
    }

    fn announce(&self, key: &str, revision: u64, removed: bool) {
        let mut watches = lock(&self.watches);
        watches.retain(|watch| match watch.upgrade() {
            Some(watch) => {
                watch.note(key, revision, removed);
                true
            }
            None => false,
        });
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close();
    }
}

/// Opens a bucket, making it if need be.
pub(super) async fn open(log: &Arc<Inner>, name: &str) -> Result<Bucket> {
    rules::check_name("bucket", name)?;
    let mut known = log.buckets.lock().await;
    if log.readers.is_closed() {
        return Err(LogError::Closed);
    }
    let shared = match known.get(name) {
        Some(shared) => Arc::clone(shared),
        None => {
            let owned = name.to_owned();
            let id = log.writer.run(0, move |group| {
                group.conn.execute(
                    "insert or ignore into bucket (name, revision) values (?1, 0)",
                    [&owned],
                )?;
                group
                    .conn
                    .query_row("select id from bucket where name = ?1", [&owned], |row| {
                        row.get(0)
                    })
            });
            let shared = Arc::new(Shared {
                id: id.await?,
                watches: Mutex::default(),
            });
            known.insert(name.to_owned(), Arc::clone(&shared));
            shared
        }
    };
    Ok(Bucket {
        log: Arc::clone(log),
        shared,
    })
}

/// A bucket of the embedded log.
#[derive(Debug)]
pub(super) struct Bucket {
    log: Arc<Inner>,
    shared: Arc<Shared>,
}

/// What is to become of a key.
#[derive(Clone, Debug)]
enum Change {
    Set(Bytes, Option<u64>),
    Remove,
}

impl Bucket {
    async fn change(&self, key: &str, change: Change) -> Result<u64> {
        rules::check_key(key)?;
        let bytes = match &change {
            Change::Set(value, _) => {
                rules::check_value(key, value)?;
                value.len()
            }
            Change::Remove => 0,
        };
        let (shared, key) = (Arc::clone(&self.shared), key.to_owned());
        self.log
            .writer
            .run(bytes, move |group| apply(group, &shared, &key, &change))
            .await?
    }
}

/// Changes a key inside the writer's transaction.
fn apply(
    group: &mut Group<'_>,
    shared: &Arc<Shared>,
    key: &str,
    change: &Change,
) -> rusqlite::Result<Result<u64>> {
    let conn = group.conn;
    let actual: u64 = conn
        .prepare_cached("select revision from entry where bucket = ?1 and key = ?2")?
        .query_row(params![shared.id, key], |row| row.get(0))
        .optional()?
        .unwrap_or(0);
    let removed = match change {
        Change::Set(_, Some(expected)) if *expected != actual => {
            return Ok(Err(LogError::WrongRevision {
                key: key.to_owned(),
                actual,
            }));
        }
        Change::Set(..) => false,
        Change::Remove if actual == 0 => return Ok(Ok(0)),
        Change::Remove => true,
    };
    let revision: u64 = conn
        .prepare_cached(
            "update bucket set revision = revision + 1 where id = ?1 returning revision",
        )?
        .query_row([shared.id], |row| row.get(0))?;
    match change {
        Change::Set(value, _) => conn
            .prepare_cached(
                "insert or replace into entry (bucket, key, revision, value, seal) values (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                shared.id,
                key,
                signed(revision),
                &value[..],
                seal(shared.id, key, revision, value)
            ])?,
        Change::Remove => conn
            .prepare_cached("delete from entry where bucket = ?1 and key = ?2")?
            .execute(params![shared.id, key])?,
    };
    let (shared, key) = (Arc::clone(shared), key.to_owned());
    group.after(move || shared.announce(&key, revision, removed));
    Ok(Ok(revision))
}

fn seal(bucket: i64, key: &str, revision: u64, value: &[u8]) -> i64 {
    row::seal(
        row::sum(&[key.as_bytes(), value]),
        &[bucket, signed(revision)],
    )
}

/// Most entries of a scan that are in memory at a time.
const SCAN_PAGE: usize = 32;
const ENTRY: &str = "select key, revision, value, seal from entry";

fn read(conn: &Connection, bucket: i64, key: &str) -> Result<Option<Entry>, Damage> {
    let mut statement = conn.prepare_cached(&format!("{ENTRY} where bucket = ?1 and key = ?2"))?;
    let mut rows = statement.query(params![bucket, key])?;
    rows.next()?.map(|row| decode(bucket, row)).transpose()
}

/// The entries of a prefix, and the revision of the bucket that shows them.
fn list(conn: &Connection, bucket: i64, prefix: &str) -> Result<(Vec<Entry>, u64), Damage> {
    let transaction = conn.unchecked_transaction()?;
    let revision = transaction
        .prepare_cached("select revision from bucket where id = ?1")?
        .query_row([bucket], |row| row.get(0))?;
    let mut entries = Vec::new();
    {
        let mut statement = transaction.prepare_cached(&format!(
            "{ENTRY} where bucket = ?1 and key >= ?2 order by key"
        ))?;
        let mut rows = statement.query(params![bucket, prefix])?;
        while let Some(row) = rows.next()? {
            let entry = decode(bucket, row)?;
            if !entry.key.starts_with(prefix) {
                break;
            }
            entries.push(entry);
        }
    }
    Ok((entries, revision))
}

/// Some entries after a key, by key.
fn page(conn: &Connection, bucket: i64, after: &str) -> Result<Vec<Entry>, Damage> {
    let mut statement = conn.prepare_cached(&format!(
        "{ENTRY} where bucket = ?1 and key > ?2 order by key limit {SCAN_PAGE}"
    ))?;
    let mut rows = statement.query(params![bucket, after])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(decode(bucket, row)?);
    }
    Ok(entries)
}

fn decode(bucket: i64, row: &Row<'_>) -> Result<Entry, Damage> {
    let (key, revision): (String, u64) = (row.get(0)?, row.get(1)?);
    let value = row.get_ref(2)?.as_blob().unwrap_or_default();
    if row.get::<_, i64>(3)? != seal(bucket, &key, revision, value) {
        return Err(Damage::Found(format!(
            "an entry at revision {revision} does not agree with its seal"
        )));
    }
    Ok(Entry {
        key,
        value: Bytes::copy_from_slice(value),
        revision,
        removed: false,
    })
}

impl crate::log::Bucket for Bucket {
    fn get<'a>(&'a self, key: &'a str) -> Boxed<'a, Result<Option<Entry>>> {
        Box::pin(async move {
            rules::check_key(key)?;
            let (id, key) = (self.shared.id, key.to_owned());
            self.log
                .readers
                .read(move |conn| read(conn, id, &key))
                .await
        })
    }

    fn put<'a>(&'a self, key: &'a str, value: Bytes) -> Boxed<'a, Result<u64>> {
        Box::pin(self.change(key, Change::Set(value, None)))
    }

    fn update<'a>(&'a self, key: &'a str, value: Bytes, revision: u64) -> Boxed<'a, Result<u64>> {
        Box::pin(self.change(key, Change::Set(value, Some(revision))))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Boxed<'a, Result<()>> {
        Box::pin(async move { self.change(key, Change::Remove).await.map(drop) })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Boxed<'a, Result<Vec<Entry>>> {
        Box::pin(async move {
            let (id, prefix) = (self.shared.id, prefix.to_owned());
            let read = self.log.readers.read(move |conn| list(conn, id, &prefix));
            Ok(read.await?.0)
        })
    }

    fn scan<'a>(&'a self, each: &'a mut (dyn FnMut(Entry) + Send)) -> Boxed<'a, Result<()>> {
        Box::pin(async move {
            let mut after = String::new();
            loop {
                let (id, from) = (self.shared.id, after.clone());
                let read = self.log.readers.read(move |conn| page(conn, id, &from));
                let entries = read.await?;
                // A key is never empty, so everything comes after nothing.
                let Some(last) = entries.last() else {
                    return Ok(());
                };
                after.clone_from(&last.key);
                entries.into_iter().for_each(&mut *each);
            }
        })
    }

    fn watch<'a>(&'a self, prefix: &'a str) -> Boxed<'a, Result<mpsc::Receiver<Entry>>> {
        Box::pin(async move {
            let watch = Arc::new(Watch {
                prefix: prefix.to_owned(),
                noted: Mutex::default(),
                ready: Notify::new(),
                closed: AtomicBool::new(false),
            });
            // Registered before it is listed: what changes between is noted, and told apart by its revision.
            lock(&self.shared.watches).push(Arc::downgrade(&watch));
            let (id, prefix) = (self.shared.id, prefix.to_owned());
            let read = self.log.readers.read(move |conn| list(conn, id, &prefix));
            let (entries, revision) = read.await?;
            let (sender, receiver) = mpsc::channel(WATCH_QUEUE);
            let readers = Arc::clone(&self.log.readers);
            tokio::spawn(async move {
                watch.tell(&readers, id, entries, revision, &sender).await;
            });
            Ok(receiver)
        })
    }
}

/// What one watcher has not been told yet.
#[derive(Debug)]
struct Watch {
    prefix: String,
    noted: Mutex<Noted>,
    ready: Notify,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Noted {
    by_revision: BTreeMap<u64, (String, bool)>,
    by_key: HashMap<String, u64>,
}

impl Watch {
    fn note(&self, key: &str, revision: u64, removed: bool) {
        if !key.starts_with(&self.prefix) {
            return;
        }
        let mut noted = lock(&self.noted);
        if let Some(earlier) = noted.by_key.insert(key.to_owned(), revision) {
            noted.by_revision.remove(&earlier);
        }
        noted
            .by_revision
            .insert(revision, (key.to_owned(), removed));
        drop(noted);
        self.ready.notify_one();
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.ready.notify_one();
    }

    fn next(&self) -> Option<(u64, String, bool)> {
        let mut noted = lock(&self.noted);
        let (revision, (key, removed)) = noted.by_revision.pop_first()?;
        noted.by_key.remove(&key);
        Some((revision, key, removed))
    }

    async fn tell(
        &self,
        readers: &Arc<Readers>,
        bucket: i64,
        now: Vec<Entry>,
        mut told: u64,
        to: &mpsc::Sender<Entry>,
    ) {
        for entry in now {
            if to.send(entry).await.is_err() {
                return;
            }
        }
        loop {
            let Some((revision, key, removed)) = self.next() else {
                if self.closed.load(Ordering::Acquire) {
                    return;
                }
                tokio::select! {
                    () = self.ready.notified() => continue,
                    () = to.closed() => return,
                }
            };
            if revision <= told {
                continue;
            }
            told = revision;
            let entry = match removed {
                true => Some(Entry {
                    key,
                    value: Bytes::new(),
                    revision,
                    removed,
                }),
                // A later change of the key stands behind this one and will be told then.
                false => match readers.read(move |conn| read(conn, bucket, &key)).await {
                    Ok(entry) => entry.filter(|entry| entry.revision == revision),
                    Err(_) => return,
                },
            };
            if let Some(entry) = entry
                && to.send(entry).await.is_err()
            {
                return;
            }
        }
    }
}
