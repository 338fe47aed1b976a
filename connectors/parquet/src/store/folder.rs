//! A folder of this machine, or one that is mounted.
//!
//! Files are written under a name of their own, synced, and only then get their place: by a rename, or by a link where nobody else may have taken it.
//! So a crash, a full disk or a cut leaves a temporary file behind and never half of a real one.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use lockstep_core::{Error, Kind, Result};
use uuid::Uuid;

use super::{Entry, LISTED_MAX};

/// Where files are written before they get their place.
pub(crate) const TEMPORARY: &str = "_lockstep/tmp";
/// Most folders below one another.
const DEPTH_MAX: usize = 32;

/// The root of a lake.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(crate) fn new(root: PathBuf) -> Folder {
        Folder { root }
    }

    pub(super) async fn get(&self, path: &str) -> Result<Option<Bytes>> {
        let full = self.root.join(path);
        self.work(path, "read", move |_| match fs::read(&full) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    pub(super) async fn range(&self, path: &str, start: u64, length: u64) -> Result<Option<Bytes>> {
        let full = self.root.join(path);
        self.work(path, "read", move |_| {
            let mut file = match File::open(&full) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::new();
            file.take(length).read_to_end(&mut bytes)?;
            Ok(Some(bytes.into()))
        })
        .await
    }

    pub(super) async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        let full = self.root.join(path);
        self.work(path, "write", move |root| {
            let written = Written::new(root, &bytes)?;
            make_parent(root, &full)?;
            fs::rename(&written.0, &full)?;
            sync_parent(&full)
        })
        .await
    }

    pub(super) async fn create(&self, path: &str, bytes: Bytes) -> Result<bool> {
        let full = self.root.join(path);
        self.work(path, "write", move |root| {
            let written = Written::new(root, &bytes)?;
            make_parent(root, &full)?;
            match fs::hard_link(&written.0, &full) {
                Ok(()) => sync_parent(&full).map(|()| true),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(error),
            }
        })
        .await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<()> {
        let full = self.root.join(path);
        self.work(path, "remove", move |_| match fs::remove_file(&full) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }

    pub(super) async fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        let start = self.root.join(folder);
        self.work(folder, "list", move |root| {
            let mut entries = Vec::new();
            walk(root, &start, 0, &mut entries)?;
            Ok(entries)
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        path: &str,
        verb: &'static str,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let root = self.root.clone();
        let done = tokio::task::spawn_blocking(move || work(&root)).await;
        done.map_err(|_| Error::stopped())?
            .map_err(|error| failure(path, verb, error))
    }
}

/// A temporary file that is whole and durable; gone when this is.
struct Written(PathBuf);

impl Written {
    fn new(root: &Path, bytes: &[u8]) -> io::Result<Written> {
        let folder = root.join(TEMPORARY);
        fs::create_dir_all(&folder)?;
        let written = Written(folder.join(Uuid::now_v7().to_string()));
        let mut file = File::create_new(&written.0)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(written)
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        // After a rename there is nothing; what stays for another reason is swept one day.
        let _ = fs::remove_file(&self.0);
    }
}

/// Makes the folders above a file, and each of them durable.
fn make_parent(root: &Path, path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent().filter(|parent| !parent.is_dir()) else {
        return Ok(());
    };
    fs::create_dir_all(parent)?;
    let made = parent
        .ancestors()
        .take_while(|folder| folder.starts_with(root));
    made.into_iter().try_for_each(sync_parent)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn walk(root: &Path, folder: &Path, depth: usize, entries: &mut Vec<Entry>) -> io::Result<()> {
    let read = match fs::read_dir(folder) {
        Ok(read) => read,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in read {
        let entry = entry?;
        let path = entry.path();
        let meta = match entry.metadata() {
            Ok(meta) => meta,
            // Removed meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if meta.is_dir() {
            if depth < DEPTH_MAX {
                walk(root, &path, depth + 1, entries)?;
            }
        } else if let Some(path) = path.strip_prefix(root).ok().and_then(Path::to_str)
            && entries.len() < LISTED_MAX
        {
            entries.push(Entry {
                path: path.replace(std::path::MAIN_SEPARATOR, "/"),
                modified: Timestamp::try_from(meta.modified()?).unwrap_or(Timestamp::UNIX_EPOCH),
            });
        }
    }
    Ok(())
}

fn failure(path: &str, verb: &str, error: io::Error) -> Error {
    let (kind, help) = match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => (
            Kind::Unauthorized,
            "let the user that Lockstep runs as read and write the folder of `root`",
        ),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => (
            Kind::Transient,
            "make room; what was being written is written again",
        ),
        ErrorKind::Unsupported => (
            Kind::Config,
            "the file system of `root` makes no hard links, without which two writers could commit at once; choose another folder",
        ),
        ErrorKind::NotADirectory | ErrorKind::InvalidFilename => (
            Kind::Config,
            "check `root`, and the names of tables and of what they are partitioned by",
        ),
        _ => (Kind::Transient, "check the disk that `root` is on"),
    };
    Error::new(kind, format!("cannot {verb} `{path}`"))
        .because(error)
        .help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_two_that_create_one_file_one_succeeds_and_nothing_else_is_left() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path().join("lake"));
        let tries = (0..8).map(|n: u8| {
            let folder = folder.clone();
            tokio::spawn(async move { folder.create("a/b/1", Bytes::from(vec![n; 1000])).await })
        });
        let mut made = 0;
        for one in tries.collect::<Vec<_>>() {
            made += usize::from(one.await.unwrap().unwrap());
        }
        assert_eq!(made, 1);
        let held = folder.get("a/b/1").await.unwrap().unwrap();
        assert!(held.len() == 1000 && held.iter().all(|byte| *byte == held[0]));
        folder.put("a/c", Bytes::from_static(b"x")).await.unwrap();
        let paths = |entries: Vec<Entry>| {
            let mut paths: Vec<String> = entries.into_iter().map(|entry| entry.path).collect();
            paths.sort();
            paths
        };
        assert_eq!(paths(folder.list("").await.unwrap()), ["a/b/1", "a/c"]);
        folder.delete("a/c").await.unwrap();
        folder.delete("a/c").await.unwrap();
        assert_eq!(folder.get("a/c").await.unwrap(), None);
        assert!(folder.list("none").await.unwrap().is_empty());
    }
}
