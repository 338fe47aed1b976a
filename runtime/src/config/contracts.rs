//! The contracts that a configuration names, with their released versions.
//!
//! Releases are read for what is older than the contracts that run: events and targets may be on them.
//! One that cannot be read keeps nothing from running, so it is a warning here; `lockstep contract lint` is strict about it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lockstep_core::contract::{Contract, Loaded, lock};
use lockstep_core::diagnostic::{Diagnostic, Place, Severity};

use super::interpolate::reason;
use super::read::Reading;
use crate::contract::{files, migrations};

/// The contracts of a folder.
#[derive(Default)]
pub(super) struct Contracts {
    /// By entity.
    pub(super) current: BTreeMap<String, Arc<Contract>>,
    /// By entity, the released versions below its contract's, from the oldest on.
    pub(super) released: BTreeMap<String, Vec<Arc<Contract>>>,
    /// Whether every file could be read.
    pub(super) all_read: bool,
}

impl Reading<'_> {
    /// The contracts of the folder that is written.
    pub(super) fn contracts(&mut self, written: &str) -> Contracts {
        let folder = self.folder.join(written);
        // `./contracts/…` is how nobody writes it.
        let folder = match folder.strip_prefix(".") {
            Ok(plain) if plain != Path::new("") => plain,
            _ => &folder,
        };
        let shown = folder.display();
        let none = |message: String| {
            Diagnostic::error("LS-G023", message)
                .help("set `contracts` to the folder that holds the `*.odcs.yaml` files")
        };
        let place = self.places.value(&["contracts"]);
        let files = match self.world.contracts(folder) {
            Ok(files) if files.is_empty() => {
                let message = format!("there is no contract in `{shown}`");
                self.findings.push(none(message).at(place));
                return Contracts::default();
            }
            Ok(files) => files,
            Err(error) => {
                let why = reason(&error);
                let message = format!("the contracts folder `{shown}` cannot be read: {why}");
                self.findings.push(none(message).at(place));
                return Contracts::default();
            }
        };
        let mut contracts = Contracts {
            all_read: true,
            ..Contracts::default()
        };
        let mut origins: BTreeMap<String, String> = BTreeMap::new();
        for (path, text) in files {
            let Some(loaded) = self.contract(folder, &path, text) else {
                contracts.all_read = false;
                continue;
            };
            let entity = loaded.contract.entity.clone();
            if let Some(other) = origins.get(&entity) {
                let message =
                    format!("entity `{entity}` has two contracts: `{other}` and `{path}`");
                self.findings.push(
                    Diagnostic::error("LS-G024", message)
                        .at(Place::in_text(&path, "", 0, 0))
                        .help("keep one version of each contract in the folder; older ones belong elsewhere"),
                );
                continue;
            }
            let released = self.releases(&path, &loaded.contract);
            let known: Vec<&Contract> = released.iter().map(|one| &**one).collect();
            self.findings.extend(migrations::check(&loaded, &known));
            origins.insert(entity.clone(), path);
            contracts.released.insert(entity.clone(), released);
            contracts.current.insert(entity, Arc::new(loaded.contract));
        }
        contracts
    }

    fn contract(
        &mut self,
        folder: &Path,
        path: &str,
        text: std::io::Result<String>,
    ) -> Option<Loaded> {
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                let message = format!("the contract cannot be read: {}", reason(&error));
                self.findings.push(
                    Diagnostic::error("LS-G023", message)
                        .at(Place::in_text(path, "", 0, 0))
                        .help("mend the file's permissions or encoding"),
                );
                return None;
            }
        };
        match self.world.contract_in(folder, path, &text) {
            Ok(mut loaded) => {
                self.findings.append(&mut loaded.findings);
                Some(loaded)
            }
            Err(findings) => {
                self.findings.extend(findings);
                None
            }
        }
    }

    /// The released versions below a contract's, from the oldest on.
    fn releases(&mut self, path: &str, contract: &Contract) -> Vec<Arc<Contract>> {
        let mut released = Vec::new();
        for (file, text) in self.world.releases(path) {
            let read = text
                .map_err(|finding| vec![finding])
                .and_then(|text| lock::read(&file, &text));
            let found = match read {
                Ok(lock) => lock.contract.contract,
                Err(findings) => {
                    self.findings.extend(findings.into_iter().map(mild));
                    continue;
                }
            };
            let name = format!("{}{}", found.version, files::RELEASE);
            if file.rsplit('/').next() != Some(name.as_str()) || found.entity != contract.entity {
                let message = format!(
                    "the file holds version {} of `{}`",
                    found.version, found.entity
                );
                let finding = Diagnostic::warning("LS-K011", message)
                    .at(Place::in_text(&file, "", 0, 0))
                    .help("move it to where it belongs; it is left out here");
                self.findings.push(finding);
                continue;
            }
            if found.version < contract.version {
                released.push(Arc::new(found));
            }
        }
        released.sort_by(|a, b| a.version.cmp(&b.version));
        released
    }
}

/// What is wrong with an older version does not stop the one that runs.
fn mild(finding: Diagnostic) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        ..finding
    }
}
