//! The file by which the command line finds the running process.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use lockstep_core::connector::Secret;
use lockstep_core::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The name of the file.
const FILE: &str = "api.json";

/// Address and token of a running process.
#[derive(Debug)]
pub struct Access {
    file: PathBuf,
    token: Secret<String>,
}

#[derive(Serialize, Deserialize)]
struct Content {
    address: SocketAddr,
    token: String,
    pid: u32,
}

impl Access {
    /// Makes a new token for a run whose files are in `folder`.
    ///
    /// # Errors
    /// A folder that cannot be made.
    pub fn create(folder: &Path) -> Result<Access> {
        let is_new = !folder.exists();
        fs::create_dir_all(folder).map_err(|error| unwritable(folder, error))?;
        if is_new {
            // The token is nothing to commit; a folder that somebody made is left alone.
            let _ = fs::write(folder.join(".gitignore"), "*\n");
        }
        let token = format!(
            "{}{}",
            uuid::Uuid::new_v4().simple(),
            uuid::Uuid::new_v4().simple()
        );
        Ok(Access {
            file: folder.join(FILE),
            token: Secret::new(token),
        })
    }

    /// Writes the file, once the address is known.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn publish(&self, address: SocketAddr) -> Result<()> {
        let content = Content {
            address,
            token: self.token.expose().clone(),
            pid: std::process::id(),
        };
        let text = serde_json::to_string(&content).map_err(|error| {
            Error::unexpected("the access file cannot be written").because(error)
        })?;
        let draft = self.file.with_extension("json.new");
        let _ = fs::remove_file(&draft);
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options
            .open(&draft)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        // Renamed into place, so that nobody ever reads half a file.
        written
            .and_then(|()| fs::rename(&draft, &self.file))
            .map_err(|error| unwritable(&self.file, error))
    }

    /// The token.
    pub(super) fn token(&self) -> &Secret<String> {
        &self.token
    }

    /// Removes the file at the end of the run.
    pub fn remove(&self) {
        let _ = fs::remove_file(&self.file);
    }

    /// Reads the file of a run, if there is one.
    pub(super) fn read(folder: &Path) -> Option<(SocketAddr, Secret<String>)> {
        let text = fs::read_to_string(folder.join(FILE)).ok()?;
        let content: Content = serde_json::from_str(&text).ok()?;
        Some((content.address, Secret::new(content.token)))
    }
}

fn unwritable(path: &Path, error: std::io::Error) -> Error {
    Error::config(format!("`{}` cannot be written", path.display()))
        .because(error)
        .help("the runtime keeps its address and token there: check the folder's permissions")
}
