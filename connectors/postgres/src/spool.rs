//! Transactions that the server tells before they end: kept aside, and given out as a whole once they are committed.
//!
//! What comes of a transaction is written as it came, so that giving it out is reading it: a record is its length, the part of the transaction it belongs to, and one message of version 1 of the protocol.
//! Knows neither tables nor positions.
//!
//! Invariants: nothing is given out before its commit, nothing of a part that was taken back is given out at all, and the order is that of the server; memory holds [`BUFFERED_MAX`] bytes and one message, however large a transaction is.
//! What is kept is needed by this run alone: the slot still holds it, so a run that begins throws away what an earlier one left, and a disk that is full loses nothing.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use lockstep_core::{Error, Result};

use crate::pgoutput::Frame;

/// How much of one transaction waits in memory to be written.
const BLOCK: usize = 256 * 1024;
/// How much of all transactions waits in memory to be written.
const BUFFERED_MAX: usize = 8 * 1024 * 1024;
/// How much is read at once.
const READ: usize = 512 * 1024;
/// Bytes before a record's message: its length and its part.
const HEADER: usize = 8;
/// What the names of the files end with.
const SUFFIX: &str = ".spool";

/// The transactions that have not ended, and the one that is given out.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    bytes_max: u64,
    /// How many bytes are kept of all of them.
    bytes: u64,
    /// How many of these are in memory.
    buffered: usize,
    open: HashMap<u32, Kept>,
    /// The transaction whose block is being read.
    inside: Option<u32>,
    given: Option<Given>,
    /// Descriptions of tables that came with a part that was taken back: the server counts them as told.
    late: HashMap<u32, Bytes>,
}

/// What is kept of one transaction.
#[derive(Debug)]
struct Kept {
    path: PathBuf,
    file: Option<Arc<File>>,
    /// How much is in the file.
    written: u64,
    buffer: Vec<u8>,
    /// Parts that never happened. The server forgets what it can itself, so these are few.
    gone: HashSet<u32>,
}

/// A committed transaction on its way out.
#[derive(Debug)]
struct Given {
    kept: Kept,
    /// How much of the file was read.
    read: u64,
    /// What was read and not given out yet.
    rest: BytesMut,
    first: Option<Bytes>,
    last: Bytes,
}

impl Spool {
    /// A spool in a folder, which is made when it is needed; what an earlier run left there is removed.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub(crate) async fn open(folder: PathBuf, bytes_max: u64) -> Result<Spool> {
        let place = folder.clone();
        let cleaned = on_disk(move || clean(&place)).await;
        cleaned.map_err(|error| trouble("cleaned", &folder, error))?;
        Ok(Spool {
            folder,
            bytes_max,
            bytes: 0,
            buffered: 0,
            open: HashMap::new(),
            inside: None,
            given: None,
            late: HashMap::new(),
        })
    }

    /// Takes one message of the server; gives it back where it is one outside of blocks. None may be taken while [`Spool::next`] gives any.
    pub(crate) async fn take(&mut self, message: Bytes) -> Result<Option<Bytes>> {
        match Frame::parse(&message, self.inside.is_some())? {
            Frame::Plain => return Ok(Some(message)),
            Frame::Piece { part } => self.keep(part, &message).await?,
            Frame::Start { xid } => self.start(xid),
            Frame::Stop => self.inside = None,
            Frame::Abort { xid, part } if xid == part => self.forget(xid).await?,
            Frame::Abort { xid, part } => {
                if let Some(kept) = self.open.get_mut(&xid) {
                    kept.gone.insert(part);
                }
            }
            Frame::Commit {
                xid,
                commit,
                end,
                at,
            } => self.commit(xid, commit, end, at).await?,
        }
        Ok(None)
    }

    /// The next message of a committed transaction, from its begin to its commit; none when there is none under way.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let Some(given) = &mut self.given else {
                return Ok(None);
            };
            if let Some(first) = given.first.take() {
                return Ok(Some(first));
            }
            let Some((part, message)) = given.record(&self.folder).await? else {
                break;
            };
            if !given.kept.gone.contains(&part) {
                return Ok(Some(message));
            }
            if message.first() == Some(&b'R')
                && let Some(table) = message.get(1..5)
            {
                self.late.insert(number(table), message.clone());
            }
        }
        let last = self.given.take().map(|given| {
            self.bytes = self.bytes.saturating_sub(given.kept.written);
            given.last
        });
        Ok(last)
    }

    /// The description of a table that a message needs and that came with a part that was taken back; feed it first.
    pub(crate) fn description(&mut self, message: &[u8]) -> Option<Bytes> {
        if self.late.is_empty() {
            return None;
        }
        match message.first()? {
            b'I' | b'U' | b'D' => self.late.remove(&number(message.get(1..5)?)),
            b'R' => {
                self.late.remove(&number(message.get(1..5)?));
                None
            }
            b'T' => {
                let mut tables = message.get(6..)?.chunks_exact(4).map(number);
                let table = tables.find(|table| self.late.contains_key(table))?;
                self.late.remove(&table)
            }
            _ => None,
        }
    }

    fn start(&mut self, xid: u32) {
        self.inside = Some(xid);
        let path = self.folder.join(format!("{xid}{SUFFIX}"));
        self.open.entry(xid).or_insert_with(|| Kept {
            path,
            file: None,
            written: 0,
            buffer: Vec::new(),
            gone: HashSet::new(),
        });
    }

    async fn keep(&mut self, part: Option<u32>, message: &[u8]) -> Result<()> {
        let Some((xid, kept)) = self
            .inside
            .and_then(|xid| Some((xid, self.open.get_mut(&xid)?)))
        else {
            return Err(Error::unexpected(
                "the replication stream holds a piece outside of any block",
            ));
        };
        let content = &message[1 + Frame::piece_header(part)..];
        let length = HEADER + 1 + content.len();
        kept.buffer.put_u32(content.len() as u32 + 1);
        kept.buffer.put_u32(part.unwrap_or(xid));
        kept.buffer.put_u8(message[0]);
        kept.buffer.put_slice(content);
        self.bytes += length as u64;
        self.buffered += length;
        if self.bytes > self.bytes_max {
            return Err(Error::config(format!(
                "transactions that have not ended take more than `spool_bytes = {}`",
                self.bytes_max
            ))
            .with("folder", self.folder.display())
            .help("nothing is lost, the server still holds them: raise `spool_bytes`, or set `protocol = 1` for the system, and the server keeps them on its own disk until they end"));
        }
        if kept.buffer.len() >= BLOCK {
            self.write(xid).await?;
        }
        if self.buffered > BUFFERED_MAX {
            let all: Vec<u32> = self.open.keys().copied().collect();
            for xid in all {
                self.write(xid).await?;
            }
        }
        Ok(())
    }

    /// Writes what waits of a transaction.
    async fn write(&mut self, xid: u32) -> Result<()> {
        let Some(kept) = self
            .open
            .get_mut(&xid)
            .filter(|kept| !kept.buffer.is_empty())
        else {
            return Ok(());
        };
        let mut buffer = std::mem::take(&mut kept.buffer);
        let (length, file) = (buffer.len(), kept.file.clone());
        let (folder, path) = (self.folder.clone(), kept.path.clone());
        let written = on_disk(move || {
            let file = match file {
                Some(file) => file,
                None => Arc::new(create(&folder, &path)?),
            };
            (&*file).write_all(&buffer)?;
            buffer.clear();
            Ok((file, buffer))
        });
        let (file, buffer) = written
            .await
            .map_err(|error| trouble("written", &self.folder, error))?;
        kept.file = Some(file);
        kept.buffer = buffer;
        kept.written += length as u64;
        self.buffered -= length;
        Ok(())
    }

    async fn commit(&mut self, xid: u32, commit: u64, end: u64, at: i64) -> Result<()> {
        let Some(mut kept) = self.open.remove(&xid) else {
            return Err(Error::unexpected(
                "the replication stream ends a transaction of which no block came",
            ));
        };
        if let Some(file) = kept.file.clone() {
            let rewound = on_disk(move || (&*file).seek(SeekFrom::Start(0))).await;
            rewound.map_err(|error| trouble("read", &self.folder, error))?;
        }
        tracing::debug!(
            xid,
            bytes = kept.written,
            parts_gone = kept.gone.len(),
            "a transaction that came before it ended is committed"
        );
        let mut first = BytesMut::with_capacity(21);
        first.put_u8(b'B');
        first.put_u64(commit);
        first.put_i64(at);
        first.put_u32(xid);
        let mut last = BytesMut::with_capacity(26);
        last.put_slice(b"C\0");
        last.put_u64(commit);
        last.put_u64(end);
        last.put_i64(at);
        self.buffered -= kept.buffer.len();
        self.bytes = self.bytes.saturating_sub(kept.buffer.len() as u64);
        let rest = if kept.file.is_some() {
            BytesMut::new()
        } else {
            BytesMut::from(std::mem::take(&mut kept.buffer).as_slice())
        };
        self.given = Some(Given {
            kept,
            read: 0,
            rest,
            first: Some(first.freeze()),
            last: last.freeze(),
        });
        Ok(())
    }

    async fn forget(&mut self, xid: u32) -> Result<()> {
        let Some(kept) = self.open.remove(&xid) else {
            return Ok(());
        };
        self.buffered -= kept.buffer.len();
        self.bytes = self
            .bytes
            .saturating_sub(kept.buffer.len() as u64 + kept.written);
        let dropped = on_disk(move || {
            drop(kept);
            Ok(())
        });
        dropped
            .await
            .map_err(|error| trouble("cleaned", &self.folder, error))
    }
}

impl Given {
    /// The next record; none at the end.
    async fn record(&mut self, folder: &Path) -> Result<Option<(u32, Bytes)>> {
        let wanted = |rest: &BytesMut| match rest.first_chunk::<4>() {
            Some(length) => HEADER + u32::from_be_bytes(*length) as usize,
            None => HEADER,
        };
        while self.rest.len() < wanted(&self.rest) {
            let left = self.kept.written - self.read;
            let Some(file) = self.kept.file.clone().filter(|_| left > 0) else {
                if !self.kept.buffer.is_empty() {
                    let buffer = std::mem::take(&mut self.kept.buffer);
                    self.rest.extend_from_slice(&buffer);
                    continue;
                }
                if self.rest.is_empty() {
                    return Ok(None);
                }
                return Err(Error::unexpected("a transaction that was kept aside ends too early")
                    .with("folder", folder.display())
                    .help("check the disk; the server still holds the transaction, so a new start reads it again"));
            };
            let want = (wanted(&self.rest).max(READ) as u64).min(left);
            let mut block = vec![0; usize::try_from(want).unwrap_or(READ)];
            let read = on_disk(move || {
                (&*file).read_exact(&mut block)?;
                Ok(block)
            });
            let block = read.await.map_err(|error| trouble("read", folder, error))?;
            self.read += block.len() as u64;
            self.rest.extend_from_slice(&block);
        }
        let mut record = self.rest.split_to(wanted(&self.rest));
        record.advance(4);
        let part = record.get_u32();
        Ok(Some((part, record.freeze())))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.file.take().is_some()
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "a file that is no longer needed cannot be removed; the next start tries again");
        }
    }
}

/// Four bytes as a number; none of the callers has fewer.
fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .take(4)
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// Removes what an earlier run left.
fn clean(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let ours = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.ends_with(SUFFIX));
        if ours {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Whether files can be made in a folder, or in the nearest one above it that exists; leaves nothing behind.
pub(crate) async fn must_be_writable(folder: PathBuf) -> Result<()> {
    let place = folder.clone();
    let probed = on_disk(move || {
        let exists = place.ancestors().find(|above| above.is_dir());
        let probe = exists.unwrap_or(&place).join(format!("probe{SUFFIX}"));
        File::create(&probe)?;
        fs::remove_file(probe)
    });
    probed
        .await
        .map_err(|error| trouble("written", &folder, error))
}

/// Makes a file that nobody else may read: it holds rows.
fn create(folder: &Path, path: &Path) -> io::Result<File> {
    fs::create_dir_all(folder)?;
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Does what may wait for a disk where it holds up nobody.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(io::Error::other(error)),
    }
}

/// The error of a folder in which something cannot be done.
fn trouble(what: &str, folder: &Path, error: io::Error) -> Error {
    let full = matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    );
    let message =
        format!("a transaction that has not ended cannot be {what} in the spool's folder");
    let made = if full {
        Error::transient(message).help("the disk is full; nothing is lost, the server still holds the transaction: make room, name another folder with `spool`, or set `protocol = 1` for the system, and the server keeps it on its own disk until it ends")
    } else {
        Error::config(message).help("nothing is lost: mend the folder's permissions, name another one with `spool`, or set `protocol = 1` for the system")
    };
    made.because(error).with("folder", folder.display())
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
