//! Whether the log can stand where the configuration puts it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use lockstep_core::diagnostic::Diagnostic;

use crate::config::interpolate::reason;
use crate::config::{Config, LogConfig};

/// Most bytes read of what a holder wrote about itself.
const HOLDER_MAX: u64 = 256;

/// Looks at the log's folder and lock; a log in use is worth knowing, not an error.
pub(super) fn check(config: &Config) -> Vec<Diagnostic> {
    let LogConfig::Embedded { path, .. } = &config.log else {
        return Vec::new();
    };
    let written = if config.places.holds(&["log", "path"]) {
        config.places.value(&["log", "path"])
    } else {
        config.places.start()
    };
    let mut findings = Vec::new();
    if let Some(holder) = holder(path) {
        let message = format!(
            "the log `{}` is in use by a running Lockstep ({holder})",
            path.display()
        );
        findings.push(Diagnostic {
            severity: lockstep_core::diagnostic::Severity::Info,
            ..Diagnostic::warning("LS-P006", message)
                .at(written.clone())
                .help("nothing to do, unless you mean to start another runtime: a log has one")
        });
    }
    if is_foreign(path) {
        let message = format!("`{}` is not a log of Lockstep", path.display());
        findings.push(
            Diagnostic::error("LS-P007", message)
                .at(written.clone())
                .help("change `log.path`, or move the file away: every source is read anew then, and nothing equal is written twice"),
        );
    }
    if let Err(error) = try_writing(&folder_of(path)) {
        let message = format!(
            "the log's folder `{}` cannot be written: {}",
            folder_of(path).display(),
            reason(&error)
        );
        findings.push(
            Diagnostic::error("LS-P005", message)
                .at(written)
                .help("give this user the right to write there, or change `log.path`"),
        );
    }
    findings
}

/// Whether a file stands where the log should, and is none: a log is a SQLite file.
fn is_foreign(path: &Path) -> bool {
    let mut start = [0; 16];
    let Ok(mut file) = File::open(path) else {
        return false;
    };
    if file.metadata().is_ok_and(|about| about.len() == 0) {
        return false;
    }
    file.read_exact(&mut start).is_err() || start != *b"SQLite format 3\0"
}

/// Who holds the log at `path`, in its own words; nobody if nothing is said.
///
/// The log's lock file names its holder and is empty after a proper end; a text without a lock is left by one that died.
#[must_use]
pub fn holder(path: &Path) -> Option<String> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = File::open(PathBuf::from(name)).ok()?;
    let mut text = String::new();
    (&file).take(HOLDER_MAX).read_to_string(&mut text).ok()?;
    if text.trim().is_empty() {
        return None;
    }
    // Only asked where somebody claims it, so that a start at this moment is not disturbed.
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(text.trim().to_owned()),
        _ => None,
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Tries to write where the folder is, or where its first missing part would be made.
fn try_writing(folder: &Path) -> std::io::Result<()> {
    let mut folders = folder.ancestors();
    let there = folders.find(|folder| folder.exists());
    let there = there.unwrap_or(Path::new("."));
    let probe = there.join(format!(".lockstep-check-{}", std::process::id()));
    let file = OpenOptions::new().write(true).create_new(true).open(&probe);
    file?;
    std::fs::remove_file(&probe)
}
