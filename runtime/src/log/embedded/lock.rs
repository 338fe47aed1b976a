//! One runtime per log: a lock file beside the database.
//!
//! The operating system releases the lock when its holder dies, however it dies.
//! The file's text names the holder; an empty text says that the last holder closed the log properly.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::log::{LogError, Result};

/// Most bytes read of what a holder wrote about itself.
const HOLDER_MAX: u64 = 256;

/// A held lock.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    /// Whether the last holder stopped without closing the log.
    pub(super) unclean: bool,
}

impl Lock {
    /// Takes the lock of a database.
    ///
    /// # Errors
    /// [`LogError::InUse`] when somebody holds it, [`LogError::Storage`] when the file cannot be made.
    pub(super) fn take(database: &Path) -> Result<Self> {
        let path = beside(database);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| unwritable(&path, &error))?;
        let held = match file.try_lock() {
            Ok(()) => false,
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Error(error)) => return Err(unwritable(&path, &error)),
        };
        let mut holder = String::new();
        // What the file says is for people; if it cannot be read, the lock itself still tells the truth.
        let _ = (&mut file).take(HOLDER_MAX).read_to_string(&mut holder);
        if held {
            return Err(LogError::InUse {
                path: database.display().to_string(),
                holder: match holder.trim() {
                    "" => "its process is unknown".to_owned(),
                    holder => holder.to_owned(),
                },
            });
        }
        let mut lock = Self {
            file,
            unclean: !holder.is_empty(),
        };
        lock.write(&format!("process {}", std::process::id()))
            .map_err(|error| unwritable(&path, &error))?;
        Ok(lock)
    }

    /// Marks the log as properly closed; dropping the lock then releases it.
    pub(super) fn clean(&mut self) -> std::io::Result<()> {
        self.write("")
    }

    fn write(&mut self, text: &str) -> std::io::Result<()> {
        self.file.rewind()?;
        self.file.set_len(0)?;
        self.file.write_all(text.as_bytes())?;
        self.file.sync_all()
    }
}

fn beside(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn unwritable(path: &Path, error: &std::io::Error) -> LogError {
    LogError::Storage(format!(
        "cannot write `{}`: {error}; the log needs a folder that exists and that this process may write",
        path.display()
    ))
}
