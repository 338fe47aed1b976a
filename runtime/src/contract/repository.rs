//! A repository of contracts: the contracts themselves, their releases and the approvals, loaded and linted.
//!
//! Owns which file belongs to which contract and what is wrong with the files as a whole; what is wrong inside a text is said by `core`.
//! Works the same over a folder and over an older commit; everything is in memory, so the same repository is judged however long that takes.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::sync::Arc;

use lockstep_core::contract::lock::Lock;
use lockstep_core::contract::{self, Contract, Library, Loaded};
use lockstep_core::diagnostic::{Diagnostic, Place, Severity};
use semver::Version;

use super::approvals::{Approval, Teams};
use super::files::{self, Files, Root, Sort};
use super::migrations;

/// The contracts of some folders.
#[derive(Debug, Default)]
pub struct Repository {
    /// The files that it was made of.
    pub files: Files,
    /// The contracts that could be loaded, by file.
    pub contracts: Vec<Entry>,
    /// Every contract file that was looked at, loaded or not.
    pub looked_at: Vec<String>,
    /// The releases, by contract and version.
    pub releases: Vec<Release>,
    /// The approvals, by file.
    pub approvals: Vec<Approval>,
    /// What is wrong.
    pub findings: Vec<Diagnostic>,
    /// Contracts that were asked for and have errors, by file.
    pub broken: Vec<String>,
    /// Whether a contract could not be read at all.
    pub unreadable: bool,
    /// Whether a contract, asked for or not, is not among `contracts` because of its errors.
    pub incomplete: bool,
}

/// A contract of a repository.
#[derive(Debug)]
pub struct Entry {
    /// Its file.
    pub file: String,
    /// The contract.
    pub loaded: Loaded,
    /// Whether it was asked for, and not only needed for one that was.
    pub asked: bool,
}

/// A frozen version of a contract.
#[derive(Debug)]
pub struct Release {
    /// Its file.
    pub file: String,
    /// The contract as it was released.
    pub loaded: Loaded,
    /// The digest of the contract.
    pub digest: String,
    /// The release before it, as far as its file tells.
    pub after: Option<Version>,
}

impl Entry {
    /// The contract's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.loaded.contract.id
    }

    /// The folder of its releases, with `/` at its end.
    #[must_use]
    pub fn releases_folder(&self) -> String {
        let (folder, name) = self.file.rsplit_once('/').unwrap_or(("", &self.file));
        files::releases(folder, name.strip_suffix(files::CONTRACT).unwrap_or(name))
    }
}

impl Repository {
    /// Whether a file, or the contract whose releases it is among, could not be made sense of.
    #[must_use]
    pub fn is_broken(&self, file: &str) -> bool {
        let releases = |broken: &str| {
            let (folder, name) = broken.rsplit_once('/').unwrap_or(("", broken));
            files::releases(folder, name.strip_suffix(files::CONTRACT).unwrap_or(name))
        };
        let broken = |broken: &String| broken == file || file.starts_with(&releases(broken));
        self.broken.iter().any(broken)
    }

    /// Loads and lints everything.
    #[must_use]
    pub fn load(files: Files) -> Repository {
        let mut repository = Repository::default();
        let mut texts = Vec::new();
        for root in &files.roots {
            for (path, text) in &files.by_path {
                let Some((below, sort)) = root
                    .below(path)
                    .and_then(|below| Some((below, root.sort(below)?)))
                else {
                    continue;
                };
                let asked = root.asks_for(below);
                match (text, sort) {
                    (Err(finding), _) => {
                        repository.incomplete |= sort == Sort::Contract;
                        repository.unreadable |= asked && sort == Sort::Contract;
                        repository.findings.push(finding.clone());
                        if asked && sort == Sort::Contract {
                            repository.looked_at.push(path.clone());
                            repository.broken.push(path.clone());
                        }
                    }
                    (Ok(text), Sort::Approval) => match Approval::read(path, text) {
                        Ok(approval) => repository.approvals.push(approval),
                        Err(finding) => repository.findings.push(finding),
                    },
                    (Ok(text), _) => texts.push(Text {
                        root,
                        path,
                        below,
                        text,
                        sort,
                        asked,
                    }),
                }
            }
        }
        let outcomes = in_parallel(&texts, |text| text.load(&files));
        for (text, outcome) in texts.iter().zip(outcomes) {
            repository.take(text, outcome);
        }
        drop(texts);
        repository.files = files;
        repository.looked_at.sort();
        repository.releases.sort_by(|a, b| {
            let key = |release: &Release| {
                (
                    release.loaded.contract.id.clone(),
                    release.loaded.contract.version.clone(),
                )
            };
            key(a).cmp(&key(b))
        });
        repository.check_near();
        repository.check_names();
        repository.check_gaps();
        repository.check_migrations();
        repository
    }

    fn take(&mut self, text: &Text<'_>, outcome: Outcome) {
        match outcome {
            Outcome::Contract(contracts, findings) => {
                self.incomplete |= contracts.is_empty();
                self.looked_at
                    .extend(text.asked.then(|| text.path.to_owned()));
                if text.asked {
                    self.unreadable |= findings.iter().any(is_unreadable);
                    if findings
                        .iter()
                        .any(|finding| finding.severity == Severity::Error)
                    {
                        self.broken.push(text.path.to_owned());
                    }
                    self.findings.extend(findings);
                }
                for loaded in contracts {
                    self.contracts.push(Entry {
                        file: text.path.to_owned(),
                        loaded,
                        asked: text.asked,
                    });
                }
            }
            Outcome::Release(Ok(lock)) => self.releases.push(Release {
                file: text.path.to_owned(),
                loaded: lock.contract,
                digest: lock.digest,
                after: lock.after,
            }),
            Outcome::Release(Err(findings)) => self.findings.extend(findings),
            Outcome::Type(findings) if text.asked => self.findings.extend(findings),
            Outcome::Type(_) => {}
        }
    }

    /// Loads a contract of this repository as if its text were another.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn load_again(&self, file: &str, text: &str) -> Result<Loaded, Vec<Diagnostic>> {
        let root = self
            .files
            .roots
            .iter()
            .find(|root| root.below(file).is_some());
        match root {
            Some(root) => contract::load(
                file,
                text,
                &Shelf {
                    files: &self.files,
                    root,
                },
            ),
            None => contract::load(file, text, &contract::NoLibrary),
        }
    }

    /// What keeps the contracts from being compared or released: errors, and contracts that stand twice.
    pub fn obstacles(&self) -> impl Iterator<Item = Diagnostic> {
        let stands = |finding: &&Diagnostic| {
            finding.severity == Severity::Error || finding.code == "LS-K010"
        };
        self.findings
            .iter()
            .filter(stands)
            .cloned()
            .map(|finding| Diagnostic {
                severity: Severity::Error,
                ..finding
            })
    }

    /// The contract of an id.
    #[must_use]
    pub fn contract(&self, id: &str) -> Option<&Entry> {
        self.contracts.iter().find(|entry| entry.id() == id)
    }

    /// The releases of a contract, the oldest first.
    pub fn releases_of<'a>(
        &'a self,
        id: &'a str,
    ) -> impl DoubleEndedIterator<Item = &'a Release> + 'a {
        self.releases
            .iter()
            .filter(move |release| release.loaded.contract.id == id)
    }

    /// The release of a version.
    #[must_use]
    pub fn release(&self, id: &str, version: &Version) -> Option<&Release> {
        self.releases.iter().find(|release| {
            let contract = &release.loaded.contract;
            contract.id == id && contract.version == *version
        })
    }

    /// Who holds which role, as the contracts say.
    #[must_use]
    pub fn teams(&self) -> Teams {
        let teams = self.contracts.iter().map(|entry| {
            let contract = &entry.loaded.contract;
            (contract.id.clone(), contract.terms.approvers.clone())
        });
        teams.collect()
    }

    /// The folder of the approvals, with `/` at its end.
    #[must_use]
    pub fn approvals_folder(&self, entry: &Entry) -> String {
        let root = self
            .files
            .roots
            .iter()
            .find(|root| root.below(&entry.file).is_some());
        root.map_or_else(String::new, |root| {
            root.path(&format!("{}/", files::APPROVALS))
        })
    }

    /// Finds migrations that do not lead from one version to another.
    fn check_migrations(&mut self) {
        let mut findings = Vec::new();
        let asked = self.contracts.iter().filter(|entry| entry.asked);
        for entry in asked.filter(|entry| !entry.loaded.contract.migrations.is_empty()) {
            let releases = self.releases_of(entry.id());
            let releases: Vec<_> = releases.map(|release| &release.loaded.contract).collect();
            findings.extend(migrations::check(&entry.loaded, &releases));
        }
        self.findings.extend(findings);
    }

    /// Finds files that nobody reads though somebody may think so.
    fn check_near(&mut self) {
        let unread = self.files.near.iter().map(|path| {
            let message = format!(
                "`{path}` is not read: contracts end in `{}`",
                files::CONTRACT
            );
            Diagnostic::warning("LS-K026", message)
                .at(Place::in_text(path, "", 0, 0))
                .help("rename the file, or move it elsewhere")
        });
        let unread: Vec<_> = unread.collect();
        self.findings.extend(unread);
    }

    /// Finds releases that a later one, or a migration, shows to be gone.
    ///
    /// A later release names the one that it followed; older files do not, but a migration leads from one release to the next.
    fn check_gaps(&mut self) {
        let mut findings = Vec::new();
        let mut told: BTreeSet<(&str, &Version)> = BTreeSet::new();
        let named = self.releases.iter().filter_map(|release| {
            let contract = &release.loaded.contract;
            Some((contract, release.after.as_ref()?, &release.file))
        });
        let releases = self.releases.iter();
        let releases = releases.map(|release| (&release.loaded.contract, &release.file));
        let entries = self.contracts.iter().filter(|entry| entry.asked);
        let entries = entries.map(|entry| (&entry.loaded.contract, &entry.file));
        let moved = releases.chain(entries).flat_map(|(contract, file)| {
            let between = contract.migrations.iter();
            let between = between.flat_map(|one| [&one.from, &one.to]);
            let between = between.filter(|version| self.is_between(contract, version));
            between.map(move |version| (contract, version, file))
        });
        for (contract, version, file) in named.chain(moved) {
            let id = contract.id.as_str();
            let folder = self.releases_folder(contract, file);
            let lock = format!("{folder}{version}{}", files::RELEASE);
            // One that cannot be read is a finding of its own; releases without their contract may be only a few that were named.
            let there = self.release(id, version).is_some()
                || self.files.by_path.contains_key(&lock)
                || self.contract(id).is_none();
            if there || !told.insert((id, version)) {
                continue;
            }
            let message = format!(
                "version {version} of `{id}` was released before {} and is gone from `{folder}`",
                contract.version
            );
            let quoted = super::git::quoted(&lock);
            findings.push(
                Diagnostic::error("LS-K025", message)
                    .at(Place::in_text(file, "", 0, 0))
                    .help(format!(
                        "bring the file back: `git log -- {quoted}` finds the commit that has it"
                    )),
            );
        }
        self.findings.extend(findings);
    }

    /// Whether a version lies between two releases of a contract.
    fn is_between(&self, contract: &Contract, version: &Version) -> bool {
        let mut versions = self.releases_of(&contract.id);
        let mut later = self.releases_of(&contract.id);
        versions.any(|release| release.loaded.contract.version < *version)
            && later.any(|release| release.loaded.contract.version > *version)
    }

    /// The folder of the releases of a contract, which a file of it tells where the contract is not here.
    fn releases_folder(&self, contract: &Contract, file: &str) -> String {
        let entry = self.contract(&contract.id);
        entry.map_or_else(
            || {
                file.rsplit_once('/')
                    .map_or_else(String::new, |(folder, _)| format!("{folder}/"))
            },
            Entry::releases_folder,
        )
    }

    /// Finds contracts of one name and releases in the wrong place.
    fn check_names(&mut self) {
        let mut findings = Vec::new();
        let mut ids: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        let mut entities: BTreeMap<&str, &str> = BTreeMap::new();
        for entry in &self.contracts {
            let contract = &entry.loaded.contract;
            let (id, entity) = (contract.id.as_str(), contract.entity.as_str());
            let finding = if let Some(other) = ids.insert((id, entity), &entry.file) {
                let message = format!(
                    "contract `{id}` of entity `{entity}` stands twice: in `{other}` and `{}`",
                    entry.file
                );
                Diagnostic::warning("LS-K010", message)
            } else if let Some(other) = entities.get(entity) {
                let message = format!(
                    "entity `{entity}` has two contracts: `{other}` and `{}`",
                    entry.file
                );
                Diagnostic::warning("LS-K024", message)
            } else {
                entities.insert(entity, &entry.file);
                continue;
            };
            let place = entry.loaded.places.at("/entity").cloned();
            let place = place.unwrap_or_else(|| Place::in_text(&entry.file, "", 0, 0));
            findings.push(
                finding
                    .at(place)
                    .help("rename or delete one of them; older versions are kept in `releases/`"),
            );
        }
        for release in &self.releases {
            let contract = &release.loaded.contract;
            let start = Place::in_text(&release.file, "", 0, 0);
            let name = format!("{}{}", contract.version, files::RELEASE);
            let (folder, written) = release.file.rsplit_once('/').unwrap_or(("", &release.file));
            if written != name {
                let message = format!(
                    "the file holds version {} of `{}`",
                    contract.version, contract.id
                );
                findings.push(
                    Diagnostic::error("LS-K011", message)
                        .at(start)
                        .help(format!("its name has to be `{name}`")),
                );
                continue;
            }
            // With single files asked for, the contract of a release may not have been read.
            let whole = self
                .files
                .roots
                .iter()
                .any(|root| root.only.is_empty() && root.below(&release.file).is_some());
            match self.contract(&contract.id) {
                Some(entry) if entry.releases_folder() != format!("{folder}/") => {
                    let message = format!(
                        "the release of `{}` stands apart from its contract",
                        contract.id
                    );
                    let help = format!("move it to `{}`", entry.releases_folder());
                    findings.push(Diagnostic::warning("LS-K011", message).at(start).help(help));
                }
                None if whole && !self.unreadable && !self.is_broken(&release.file) => {
                    let message =
                        format!("no contract has the id `{}` of this release", contract.id);
                    let help = "restore the contract, or its id; a retired one says so in `lockstep.deprecation`";
                    findings.push(Diagnostic::warning("LS-K011", message).at(start).help(help));
                }
                _ => {}
            }
        }
        self.findings.extend(findings);
    }
}

/// Whether a finding says that a text cannot be read at all.
pub(crate) fn is_unreadable(finding: &Diagnostic) -> bool {
    matches!(finding.code, "LS-C001" | "LS-C002" | "LS-K008")
}

/// A text to load.
struct Text<'a> {
    root: &'a Root,
    path: &'a str,
    below: &'a str,
    text: &'a Arc<str>,
    sort: Sort,
    asked: bool,
}

enum Outcome {
    Contract(Vec<Loaded>, Vec<Diagnostic>),
    Release(Result<Box<Lock>, Vec<Diagnostic>>),
    Type(Vec<Diagnostic>),
}

impl Text<'_> {
    fn load(&self, files: &Files) -> Outcome {
        if self.sort == Sort::Release {
            return Outcome::Release(contract::lock::read(self.path, self.text).map(Box::new));
        }
        let shelf = Shelf {
            files,
            root: self.root,
        };
        let mut linted = contract::lint(self.path, self.text, &shelf);
        if files::is_type(self.below) {
            // A type has neither key nor owner, so what only contracts need is not asked of it.
            linted
                .findings
                .retain(|finding| finding.severity == Severity::Error);
            return Outcome::Type(linted.findings);
        }
        // An error may have left a part out, and half a contract is compared with nothing.
        if linted
            .findings
            .iter()
            .any(|finding| finding.severity == Severity::Error)
        {
            linted.contracts.clear();
        }
        Outcome::Contract(linted.contracts, linted.findings)
    }
}

/// The shared types of a root; nothing outside of it can be reached, because only its own files were read.
struct Shelf<'a> {
    files: &'a Files,
    root: &'a Root,
}

impl Library for Shelf<'_> {
    fn text(&self, reference: &str) -> Result<(String, String), String> {
        let path = self.root.path(&format!("{reference}{}", files::CONTRACT));
        match self.files.by_path.get(&path) {
            Some(Ok(text)) => Ok((text.to_string(), path)),
            Some(Err(finding)) => Err(finding.message.clone()),
            None => Err(format!("there is no file `{path}`")),
        }
    }
}

/// Does a piece of work for each item, on all processors, and gives the results in the items' order.
pub(super) fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    /// Fewer items than this are not worth a thread.
    const SHARE_MIN: usize = 8;
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = items.len().div_ceil(processors).max(SHARE_MIN);
    if items.len() <= share {
        return items.iter().map(work).collect();
    }
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = items
            .chunks(share)
            .map(|chunk| scope.spawn(move || chunk.iter().map(work).collect::<Vec<R>>()))
            .collect();
        let mut results = Vec::with_capacity(items.len());
        for thread in threads {
            match thread.join() {
                Ok(part) => results.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_in_parallel_keeps_the_order() {
        let items: Vec<usize> = (0..100).collect();
        assert_eq!(
            in_parallel(&items, |item| item * 2),
            items.iter().map(|item| item * 2).collect::<Vec<_>>()
        );
    }
}
