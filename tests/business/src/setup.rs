//! What a stage is made of, and the note by which another process finds it again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::editor::{Pace, edit};
use crate::runtime;
use crate::world::World;

/// How long idle flows may take to be right after all: a source needs a moment to see the last edits.
const GRACE: Duration = Duration::from_secs(15);

/// The file that holds the note.
pub(crate) const NOTE: &str = "stage.json";

/// What a stage is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    pub(crate) seed: u64,
    pub(crate) customers: Option<usize>,
    pub(crate) grace: Duration,
    pub(crate) lockstep: PathBuf,
    pub(crate) contracts: Vec<(String, String)>,
}

/// What another process needs to know to edit a stage.
#[derive(Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) seed: u64,
    pub(crate) customers: Option<usize>,
}

impl Setup {
    /// All the data, contracts as (entity, YAML), and the runtime's binary where [`runtime::find`] finds it.
    ///
    /// # Errors
    /// There is no runtime's binary.
    pub fn new(seed: u64, contracts: Vec<(String, String)>) -> Result<Setup> {
        Ok(Setup::with(runtime::find()?, seed, contracts))
    }

    /// The same with a binary of your choice.
    #[must_use]
    pub fn with(lockstep: PathBuf, seed: u64, contracts: Vec<(String, String)>) -> Setup {
        Setup {
            seed,
            customers: None,
            grace: GRACE,
            lockstep,
            contracts,
        }
    }

    /// Only so many customers, with all that is theirs: a small stage for quick tests.
    #[must_use]
    pub fn customers(mut self, customers: usize) -> Setup {
        self.customers = Some(customers);
        self
    }

    /// How long idle flows may take to be right after all, instead of 15 s; only what is wrong for good takes so long.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Setup {
        self.grace = grace;
        self
    }
}

impl Note {
    pub(crate) fn world(&self) -> Result<World> {
        match self.customers {
            Some(customers) => World::sample(self.seed, customers),
            None => World::derive(self.seed),
        }
    }
}

/// Edits the stage in a folder, from whatever process.
///
/// # Errors
/// There is no stage, or its systems cannot be written.
pub fn edit_folder(
    folder: &Path,
    pace: Pace,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<u64> {
    let path = folder.join(NOTE);
    let note = fs::read_to_string(&path)
        .with_context(|| format!("`{}` cannot be read: this is no stage", path.display()))?;
    let note: Note = serde_json::from_str(&note)?;
    edit(folder, &note.world()?, pace, progress)
}

/// Reads the contracts below a folder: every `*.odcs.yaml`, as (entity, YAML), the entity by the name of its folder.
///
/// # Errors
/// The folder cannot be read or holds no contract.
pub fn contracts(folder: &Path) -> Result<Vec<(String, String)>> {
    let mut contracts = Vec::new();
    let listing = fs::read_dir(folder);
    for entry in listing.with_context(|| format!("no contracts at `{}`", folder.display()))? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let file = path.join(format!("{name}.odcs.yaml"));
        if file.is_file() {
            contracts.push((name.to_owned(), fs::read_to_string(file)?));
        }
    }
    ensure!(
        !contracts.is_empty(),
        "no `<entity>/<entity>.odcs.yaml` below `{}`",
        folder.display()
    );
    contracts.sort();
    Ok(contracts)
}
