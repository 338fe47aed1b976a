//! Releasing: the version that a change needs, the frozen file of it, and nothing ever written over.
//!
//! Which version is right is what `core` says about each candidate; this module tries the least one first.
//! The contract's own text is written before the release file, so that a release that was cut short is taken up again by the same command.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use lockstep_core::contract::compat::Bump;
use lockstep_core::contract::{self, Contract, Loaded};
use lockstep_core::diagnostic::{Diagnostic, Severity};
use semver::Version;

use super::Trouble;
use super::changelog::changes;
use super::files::{RELEASE, reason, shown};
use super::judge::{self, Before, Pair, Setting};
use super::links;
use super::migrations;
use super::report::Item;
use super::repository::{Entry, Release, Repository};

/// Which version is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The one that is written, if it is high enough, else the least that is.
    Auto,
    /// The last one, grown.
    Step(Bump),
    /// This one.
    Version(Version),
}

/// A release that may be performed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The entity.
    pub entity: String,
    /// The contract's id.
    pub contract: String,
    /// The contract's file.
    pub file: String,
    /// The last release.
    pub last: Option<Version>,
    /// The version that is written in the file.
    pub written: Version,
    /// The version to release.
    pub version: Version,
    /// The release file.
    pub lock: String,
    /// What `core` finds about the release, with what was approved.
    pub items: Vec<Item>,
}

impl Plan {
    /// The plan for a contract; `None` where nothing changed since its last release.
    ///
    /// A step that somebody approved is high enough.
    ///
    /// # Errors
    /// The version asked for cannot be used.
    pub fn of(
        repository: &Repository,
        entry: &Entry,
        wanted: &Wanted,
        setting: &Setting<'_>,
    ) -> Result<Option<Plan>, Trouble> {
        let contract = &entry.loaded.contract;
        let last = repository.releases_of(&contract.id).next_back();
        let explicit = matches!(wanted, Wanted::Version(_));
        if let Some(last) = last
            && !explicit
            && contract.version == last.loaded.contract.version
            && changes(&last.loaded, &entry.loaded, &[]).is_empty()
        {
            return Ok(None);
        }
        let judged = |version: &Version| judged(repository, entry, version, setting);
        let version = match (wanted, last) {
            (Wanted::Version(version), _) => version.clone(),
            (Wanted::Auto, _) => next(repository, entry, setting),
            (Wanted::Step(step), None) => step.after(&contract.version),
            (Wanted::Step(step), Some(last)) => step.after(&last.loaded.contract.version),
        };
        if let Some(taken) = repository.release(&contract.id, &version) {
            return Err(refused(
                "LS-K017",
                entry,
                format!(
                    "version {version} of `{}` is published already",
                    contract.id
                ),
                format!(
                    "`{}` stays as it is; `--bump auto` finds the next version",
                    taken.file
                ),
            ));
        }
        let last = last.map(|last| &last.loaded.contract.version);
        let mut items = judged(&version);
        let astray = migrations::astray(&entry.loaded, last, &version);
        items.extend(astray.into_iter().map(Item::from));
        Ok(Some(Plan {
            entity: contract.entity.clone(),
            contract: contract.id.clone(),
            file: entry.file.clone(),
            last: last.cloned(),
            written: contract.version.clone(),
            lock: format!("{}{version}{RELEASE}", entry.releases_folder()),
            version,
            items,
        }))
    }

    /// The findings that stand in the way.
    pub fn obstacles(&self) -> impl Iterator<Item = &Item> {
        self.items
            .iter()
            .filter(|item| item.approved.is_none() && item.severity == Severity::Error)
    }

    /// What would be written, after everything that would refuse it was looked at.
    ///
    /// # Errors
    /// The version cannot be put into the text, the contract with it cannot be run, or the release file is there already.
    pub fn prepare(&self, repository: &Repository) -> Result<Option<Prepared>, Trouble> {
        let (Some(entry), Some(text)) = (
            repository.contract(&self.contract),
            repository.files.text(&self.file),
        ) else {
            return Ok(None);
        };
        let edited = if self.written == self.version {
            text.to_string()
        } else {
            let edited = contract::edit::set_version(&self.file, text, &self.version);
            edited.map_err(|_| {
                let message = format!(
                    "the version of `{}` cannot be raised in its text",
                    self.contract
                );
                let help = format!(
                    "write `version: {}` by hand, and release again",
                    self.version
                );
                refused("LS-K018", entry, message, help)
            })?
        };
        let loaded = repository
            .load_again(&self.file, &edited)
            .map_err(|findings| Trouble {
                finding: findings
                    .into_iter()
                    .find(|finding| finding.severity == Severity::Error)
                    .unwrap_or_else(|| {
                        Diagnostic::error("LS-K022", format!("`{}` cannot be run", self.file))
                    }),
                environment: false,
            })?;
        let lock = PathBuf::from(&self.lock);
        if lock.exists() {
            return Err(taken(&lock));
        }
        Ok(Some(Prepared {
            file: PathBuf::from(&self.file),
            text: (*edited != **text).then_some(edited),
            lock,
            frozen: contract::lock::write(&loaded, self.last.as_ref()),
        }))
    }
}

/// A release whose texts are made and not yet written.
#[derive(Clone, Debug)]
pub struct Prepared {
    file: PathBuf,
    /// The contract's text with its version, where that is another one.
    text: Option<String>,
    lock: PathBuf,
    frozen: String,
}

impl Prepared {
    /// Writes the version into the contract and the release file beside it.
    ///
    /// # Errors
    /// The files cannot be written, or somebody published the version meanwhile.
    pub fn perform(&self) -> Result<(), Trouble> {
        if self.lock.exists() {
            return Err(taken(&self.lock));
        }
        if let Some(text) = &self.text {
            replace(&self.file, text)?;
        }
        create(&self.lock, &self.frozen)
    }
}

/// The version that the next release makes: the written one, if it is high enough, else the least that is.
#[must_use]
pub fn next(repository: &Repository, entry: &Entry, setting: &Setting<'_>) -> Version {
    let written = &entry.loaded.contract.version;
    let Some(last) = repository.releases_of(entry.id()).next_back() else {
        return written.clone();
    };
    let last = &last.loaded.contract.version;
    least(last, written, &|version| {
        !is_too_low(&judged(repository, entry, version, setting))
    })
}

/// Migrations of the contracts that were asked for which lead to another version than the next release makes.
#[must_use]
pub fn astray(repository: &Repository, setting: &Setting<'_>) -> Vec<Diagnostic> {
    let between = |entry: &&Entry| entry.asked && entry.loaded.contract.ahead().is_some();
    let entries = repository.contracts.iter().filter(between);
    entries
        .flat_map(|entry| {
            let last = repository.releases_of(entry.id()).next_back();
            let last = last.map(|last| &last.loaded.contract.version);
            let next = next(repository, entry, setting);
            migrations::astray(&entry.loaded, last, &next)
        })
        .collect()
}

/// What there is to say of a contract as this version.
fn judged(
    repository: &Repository,
    entry: &Entry,
    version: &Version,
    setting: &Setting<'_>,
) -> Vec<Item> {
    let loaded = Loaded {
        contract: Contract {
            version: version.clone(),
            ..entry.loaded.contract.clone()
        },
        places: entry.loaded.places.clone(),
        findings: Vec::new(),
    };
    let releases: Vec<&Release> = repository.releases_of(entry.id()).collect();
    let pair = Pair {
        old: releases.last().map(|last| &last.loaded),
        new: Some(&loaded),
        dead: links::dead(
            &links::before(repository, &Before::Releases),
            releases.last().map(|last| &last.loaded.contract),
        ),
        releases,
    };
    let mut items = judge::compare(&pair, setting);
    judge::excuse(&mut items, repository, setting.today);
    items
}

/// The first of the written version and the grown ones that is high enough.
fn least(last: &Version, written: &Version, is_enough: &dyn Fn(&Version) -> bool) -> Version {
    if written > last && is_enough(written) {
        return written.clone();
    }
    let grown = [Bump::Patch, Bump::Minor].map(|step| step.after(last));
    let found = grown
        .into_iter()
        .filter(|version| version >= written || written <= last)
        .find(is_enough);
    found.unwrap_or_else(|| Bump::Major.after(last))
}

/// Whether the version itself is one of the things found wrong.
fn is_too_low(items: &[Item]) -> bool {
    items
        .iter()
        .filter(|item| item.severity == Severity::Error && item.approved.is_none())
        .any(|item| item.rule.starts_with("LSC-VERSION"))
}

fn refused(code: &'static str, entry: &Entry, message: String, help: String) -> Trouble {
    let mut trouble = Trouble::usage(code, message, help);
    trouble.finding.place = entry.loaded.places.at("/version").cloned();
    trouble
}

fn taken(lock: &Path) -> Trouble {
    Trouble::usage(
        "LS-K017",
        format!("`{}` is there already", shown(lock)),
        "published versions never change; `--bump auto` finds the next version",
    )
}

/// Writes a file as a whole or not at all.
///
/// # Errors
/// It cannot be written.
pub fn replace(path: &Path, text: &str) -> Result<(), Trouble> {
    let beside = beside(path);
    let written = folder_of(path)
        .and_then(|()| std::fs::write(&beside, text))
        .and_then(|()| match std::fs::metadata(path) {
            Ok(known) => std::fs::set_permissions(&beside, known.permissions()),
            Err(_) => Ok(()),
        })
        .and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&beside);
        failed(path, &error)
    })
}

/// Writes a file that must not be there yet, as a whole or not at all.
fn create(path: &Path, text: &str) -> Result<(), Trouble> {
    let beside = beside(path);
    let written = folder_of(path)
        .and_then(|()| std::fs::File::create(&beside))
        .and_then(|mut file| {
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
        })
        // A link fails where the name is taken, which a rename would not.
        .and_then(|()| std::fs::hard_link(&beside, path));
    let _ = std::fs::remove_file(&beside);
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => taken(path),
        _ => failed(path, &error),
    })
}

fn folder_of(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all)
}

fn beside(path: &Path) -> PathBuf {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    path.with_file_name(format!(".{name}.{}.new", std::process::id()))
}

fn failed(path: &Path, error: &std::io::Error) -> Trouble {
    Trouble::environment(
        "LS-K020",
        format!("`{}` cannot be written: {}", shown(path), reason(error)),
        "mend the path, its permissions or the disk, and run the command again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn versions_grow_by_the_least_step_that_is_enough() {
        let needs = |least: &str| {
            let least = version(least);
            move |candidate: &Version| *candidate >= least
        };
        let table = [
            // last, written, needed, released
            ("1.2.3", "1.2.3", "1.2.4", "1.2.4"),
            ("1.2.3", "1.2.3", "1.3.0", "1.3.0"),
            ("1.2.3", "1.2.3", "2.0.0", "2.0.0"),
            ("1.2.3", "1.4.0", "1.3.0", "1.4.0"),
            ("1.2.3", "1.2.4", "2.0.0", "2.0.0"),
            ("1.2.3", "1.0.0", "1.2.4", "1.2.4"),
            ("0.3.1", "0.3.1", "0.4.0", "0.4.0"),
        ];
        for (last, written, needed, released) in table {
            let found = least(&version(last), &version(written), &needs(needed));
            assert_eq!(found, version(released), "{last} {written} {needed}");
        }
    }

    #[test]
    fn what_is_published_is_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("releases/1.0.0.lock.json");
        create(&path, "one").unwrap();
        assert_eq!(create(&path, "two").unwrap_err().finding.code, "LS-K017");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
        replace(&path, "three").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three");
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1
        );
    }
}
