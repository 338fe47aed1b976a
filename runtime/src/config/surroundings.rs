//! What a configuration looks at outside its own text: variables, files, contracts.
//!
//! Loading is pure but for this one trait, so a test says what the world is.

use std::io;
use std::path::Path;

use lockstep_core::contract::{self, Contract};
use lockstep_core::diagnostic::Diagnostic;

/// Deepest folder below the contracts folder that is looked into.
const DEPTH_MAX: usize = 16;

/// The world outside the configuration's text.
pub(super) trait Surroundings {
    /// The value of an environment variable.
    fn variable(&self, name: &str) -> Option<String>;

    /// The text of a file.
    fn read(&self, path: &Path) -> io::Result<String>;

    /// Every contract file below a folder, by path: the path to show, and the text or why it cannot be read.
    fn contracts(&self, folder: &Path) -> io::Result<Vec<(String, io::Result<String>)>>;

    /// Parses a contract.
    fn contract(
        &self,
        file: &str,
        text: &str,
    ) -> Result<(Contract, Vec<Diagnostic>), Vec<Diagnostic>> {
        contract::load(file, text)
    }
}

/// The process's environment and file system.
pub(super) struct Process;

impl Surroundings for Process {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }

    fn contracts(&self, folder: &Path) -> io::Result<Vec<(String, io::Result<String>)>> {
        let mut files = Vec::new();
        collect(folder, 0, &mut files)?;
        files.sort();
        Ok(files
            .into_iter()
            .map(|path| {
                let text = std::fs::read_to_string(&path);
                (path.display().to_string(), text)
            })
            .collect())
    }
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<std::path::PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        // A link to a folder is not followed: it could lead back here.
        if entry.file_type()?.is_dir() {
            if depth < DEPTH_MAX {
                collect(&path, depth + 1, files)?;
            }
        } else if entry.file_name().to_string_lossy().ends_with(".odcs.yaml") {
            files.push(path);
        }
    }
    Ok(())
}
