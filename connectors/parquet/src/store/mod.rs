//! Where a lake's files are: a folder, or a bucket of an S3-compatible store. Knows bytes under paths and nothing of what is in them.
//!
//! Invariants: what is under a path is whole, durable once a write returned, and never changed except where it is put again;
//! of two that create the same path one succeeds, whatever happens to either.

mod bucket;
mod folder;
mod sigv4;
mod xml;

use bytes::Bytes;
use jiff::Timestamp;
use lockstep_core::connector::OpenContext;
use lockstep_core::{Error, Kind, Result};

use crate::config::Config;
use bucket::Bucket;
use folder::Folder;

/// Most objects of one listing.
const LISTED_MAX: usize = 5_000_000;

/// Where the files are.
#[derive(Debug)]
pub(crate) enum Store {
    Folder(Folder),
    Bucket(Bucket),
}

/// A file of a listing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) path: String,
    /// By the store's clock.
    pub(crate) modified: Timestamp,
}

impl Store {
    pub(crate) fn open(config: &Config, cx: &OpenContext) -> Result<Store> {
        match config.root.split_once("://") {
            Some(("s3", rest)) => Ok(Store::Bucket(Bucket::open(config, cx, rest)?)),
            Some((scheme, _)) => Err(Error::config(format!("`root` has the scheme `{scheme}`"))
                .help("give a folder, or `s3://bucket/prefix`")),
            None if config.root.is_empty() => {
                Err(Error::config("`root` is empty").help("give a folder, or `s3://bucket/prefix`"))
            }
            None => Ok(Store::Folder(Folder::new(cx.folder.join(&config.root)))),
        }
    }

    /// What is under a path.
    pub(crate) async fn get(&self, path: &str) -> Result<Option<Bytes>> {
        match self {
            Store::Folder(folder) => folder.get(path).await,
            Store::Bucket(bucket) => bucket.get(path).await,
        }
    }

    /// A part of what is under a path.
    ///
    /// # Errors
    /// [`Kind::Transient`] with [`Gone`] under it where there is nothing any more.
    pub(crate) async fn range(&self, path: &str, start: u64, length: u64) -> Result<Bytes> {
        let part = match self {
            Store::Folder(folder) => folder.range(path, start, length).await?,
            Store::Bucket(bucket) => bucket.range(path, start, length).await?,
        };
        let part = part.ok_or_else(|| {
            Error::transient(format!("file `{path}` is not there any more"))
                .because(Gone)
                .help("somebody removed it, or it was compacted away longer ago than `keep_minutes`; it is looked up anew")
        })?;
        if part.len() as u64 != length {
            return Err(Error::new(
                Kind::Unexpected,
                format!("file `{path}` holds less than was written to it"),
            )
            .help("bring the file back from a copy, or have the table read again"));
        }
        Ok(part)
    }

    /// Puts something under a path; what was there before goes.
    pub(crate) async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        match self {
            Store::Folder(folder) => folder.put(path, bytes).await,
            Store::Bucket(bucket) => bucket.put(path, bytes).await,
        }
    }

    /// Puts something under a path unless something is there; whether it did.
    ///
    /// A `false` may mean that it did and did not hear of it.
    pub(crate) async fn create(&self, path: &str, bytes: Bytes) -> Result<bool> {
        match self {
            Store::Folder(folder) => folder.create(path, bytes).await,
            Store::Bucket(bucket) => bucket.create(path, bytes).await,
        }
    }

    /// Removes what is under a path, if something is.
    pub(crate) async fn delete(&self, path: &str) -> Result<()> {
        match self {
            Store::Folder(folder) => folder.delete(path).await,
            Store::Bucket(bucket) => bucket.delete(path).await,
        }
    }

    /// What is below a folder, sorted by path.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        let mut entries = match self {
            Store::Folder(root) => root.list(folder).await?,
            Store::Bucket(bucket) => bucket.list(folder).await?,
        };
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }
}

/// The file was there and is not any more.
#[derive(Debug)]
pub(crate) struct Gone;

impl Gone {
    /// Whether an error says so.
    pub(crate) fn is_under(error: &Error) -> bool {
        std::error::Error::source(error).is_some_and(|source| source.is::<Gone>())
    }
}

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("gone")
    }
}

impl std::error::Error for Gone {}
