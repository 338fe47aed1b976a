//! Finds and reads files on the disk, within limits.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use lockstep_core::diagnostic::{Diagnostic, Place};

use super::{CONTRACT, Sort, Texts, reason, releases};
use crate::contract::Trouble;

/// Most files that are read.
const FILES_MAX: usize = 20_000;
/// Most entries of folders that are looked at.
const ENTRIES_MAX: usize = 500_000;
/// Deepest folder below a root that is looked into.
const DEPTH_MAX: usize = 16;
/// Folders that never hold contracts and are large.
const SKIPPED: [&str; 2] = ["node_modules", "target"];

/// Looks for files below a folder.
#[derive(Default)]
pub(super) struct Walk {
    pub(super) found: BTreeSet<String>,
    /// Files that look like contracts, and are none by their names.
    pub(super) near: BTreeSet<String>,
    entries: usize,
}

impl Walk {
    pub(super) fn scope(&mut self, root: &Path, scope: &str) -> Result<(), Trouble> {
        let path = root.join(scope);
        if scope.is_empty() {
            return self.folder(root, root, "", 0);
        }
        match scope.strip_suffix('/') {
            Some(_) if !path.is_dir() => Ok(()),
            Some(below) => self.folder(root, &path, below, 0),
            None => {
                if path.is_file() {
                    self.found.insert(scope.to_owned());
                }
                Ok(())
            }
        }
    }

    fn folder(
        &mut self,
        root: &Path,
        folder: &Path,
        below: &str,
        depth: usize,
    ) -> Result<(), Trouble> {
        let unreadable = |error: std::io::Error| {
            let message = format!(
                "the folder `{}` cannot be read: {}",
                folder.display(),
                reason(&error)
            );
            Trouble::environment("LS-K008", message, "mend its permissions")
        };
        for entry in std::fs::read_dir(folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(too_many_entries(root));
            }
            let name = entry.file_name();
            // A name that is not text cannot be one of ours, and Git's own folder is hidden.
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
                continue;
            };
            let path = if below.is_empty() {
                name.to_owned()
            } else {
                format!("{below}/{name}")
            };
            let kind = entry.file_type().map_err(unreadable)?;
            // A link is followed to a file inside the root only; a linked folder could lead back here.
            if kind.is_dir() {
                if depth < DEPTH_MAX && !SKIPPED.contains(&name) {
                    self.folder(root, &entry.path(), &path, depth + 1)?;
                }
            } else if Sort::of(&path).is_some()
                && (kind.is_file() || leads_inside(root, &entry.path()))
            {
                self.found.insert(path);
                too_many(self.found.len())?;
            } else if looks_like_contract(name) {
                self.near.insert(path);
            }
        }
        Ok(())
    }
}

/// Whether a name differs from a contract's by the spelling of its end only.
fn looks_like_contract(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with(CONTRACT) || name.ends_with(".odcs.yml")
}

/// The releases of a contract's file.
pub(crate) fn releases_beside(contract: &str) -> Texts {
    let (folder, name) = contract.rsplit_once('/').unwrap_or((".", contract));
    let whole = releases(folder, name.strip_suffix(CONTRACT).unwrap_or(name));
    let below = whole
        .strip_prefix(folder)
        .map_or(whole.as_str(), |below| below.trim_start_matches('/'));
    let mut walk = Walk::default();
    if let Err(trouble) = walk.scope(Path::new(folder), below) {
        return Texts::from([(whole, Err(trouble.finding))]);
    }
    let files = walk.found.into_iter().map(|below| {
        let path = format!("{folder}/{below}");
        let text = on_disk(&path, Sort::Release.bytes_max());
        (path, text)
    });
    files.collect()
}

fn leads_inside(root: &Path, link: &Path) -> bool {
    let (root, target) = (std::fs::canonicalize(root), std::fs::canonicalize(link));
    matches!((root, target), (Ok(root), Ok(target)) if target.starts_with(&root) && target.is_file())
}

pub(super) fn on_disk(path: &str, bytes_max: usize) -> Result<Arc<str>, Diagnostic> {
    let unreadable = |error: std::io::Error| {
        Diagnostic::error(
            "LS-K008",
            format!("the file cannot be read: {}", reason(&error)),
        )
        .at(Place::in_text(path, "", 0, 0))
        .help("mend the file's permissions")
    };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    // The size is asked first, so that a huge file is never held.
    if size > bytes_max as u64 {
        return Err(too_large(path, size, bytes_max));
    }
    text(path, std::fs::read(path).map_err(unreadable)?, bytes_max)
}

pub(super) fn text(path: &str, bytes: Vec<u8>, bytes_max: usize) -> Result<Arc<str>, Diagnostic> {
    if bytes.len() > bytes_max {
        return Err(too_large(path, bytes.len() as u64, bytes_max));
    }
    String::from_utf8(bytes).map(Arc::from).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let read = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
        Diagnostic::error("LS-K008", "the file is not UTF-8 text")
            .at(Place::in_text(path, &read, read.len(), 1))
            .help("save it as UTF-8; the place is that of the first byte that is not")
    })
}

pub(super) fn too_large(path: &str, size: u64, bytes_max: usize) -> Diagnostic {
    Diagnostic::error(
        "LS-K008",
        format!("the file has {size} bytes; at most {bytes_max} are read"),
    )
    .at(Place::in_text(path, "", 0, 0))
    .help("describe one entity per file and keep long texts elsewhere")
}

pub(super) fn too_many(files: usize) -> Result<(), Trouble> {
    if files <= FILES_MAX {
        return Ok(());
    }
    Err(Trouble::usage(
        "LS-K009",
        format!("there are more than {FILES_MAX} contract files"),
        "name the folder of the contracts",
    ))
}

fn too_many_entries(root: &Path) -> Trouble {
    Trouble::usage(
        "LS-K009",
        format!(
            "`{}` has more than {ENTRIES_MAX} files and folders",
            root.display()
        ),
        "name the folder of the contracts",
    )
}
