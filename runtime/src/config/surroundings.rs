//! What a configuration looks at outside its own text: variables, files, contracts.
//!
//! Loading is pure but for this one trait, so a test says what the world is.

use std::io;
use std::path::Path;

use lockstep_core::contract::{self, Loaded};
use lockstep_core::diagnostic::{Diagnostic, Place};

use crate::contract::files::{TYPES, Texts, releases_beside};
use crate::contract::library::Folder;

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

    /// Parses a contract without shared types.
    fn contract(&self, file: &str, text: &str) -> Result<Loaded, Vec<Diagnostic>> {
        contract::load(file, text, &contract::NoLibrary)
    }

    /// Parses a contract of a folder, with the types that it shares with others there.
    fn contract_in(
        &self,
        _folder: &Path,
        file: &str,
        text: &str,
    ) -> Result<Loaded, Vec<Diagnostic>> {
        self.contract(file, text)
    }

    /// The texts of the releases of a contract's file, by path, or why there is none.
    fn releases(&self, _file: &str) -> Texts {
        Texts::new()
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

    fn contract_in(
        &self,
        folder: &Path,
        file: &str,
        text: &str,
    ) -> Result<Loaded, Vec<Diagnostic>> {
        contract::load(file, text, &Folder::new(folder))
    }

    fn releases(&self, file: &str) -> Texts {
        releases_beside(file)
    }

    fn contracts(&self, folder: &Path) -> io::Result<Vec<(String, io::Result<String>)>> {
        let mut files = Vec::new();
        collect(folder, 0, &mut files)?;
        // Types that contracts share are read when a contract names them.
        files.retain(|path| !path.starts_with(folder.join(TYPES)));
        files.sort();
        Ok(files
            .into_iter()
            .map(|path| {
                let text = std::fs::read(&path).and_then(utf8);
                (path.display().to_string(), text)
            })
            .collect())
    }
}

/// The text of a file, or where it stops being one.
fn utf8(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let read = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
        let place = Place::in_text("", &read, read.len(), 1);
        let message = format!(
            "it is not UTF-8 text from line {}, column {} on",
            place.line, place.column
        );
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
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
