//! Compares a repository of contracts with an older one, and gives everything that was found as items of a report.
//!
//! `core` judges each pair of versions; this module finds the pairs (by contract id, so that a renamed file is the same contract), and holds releases to what they were.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use lockstep_core::contract::compat::{self, Circumstances, Side};
use lockstep_core::contract::{Loaded, Reference};
use lockstep_core::diagnostic::{Diagnostic, Place, Severity};
use semver::Version;
use serde_json::Value as Json;

use super::approvals::{self, Approval, Past, Teams};
use super::base::Older;
use super::changelog::{Breach, Change, changes};
use super::consumers::Consumers;
use super::files::Files;
use super::links;
use super::report::Item;
use super::repository::{Entry, Release, Repository, in_parallel};

/// What a rule or a code means: one sentence, and what to do.
#[must_use]
pub fn explain(id: &str) -> Option<(&'static str, &'static str)> {
    if let Some(rule) = compat::RULES.iter().find(|rule| rule.id == id) {
        return Some((rule.summary, rule.explanation));
    }
    let (_, page) = crate::explain::page(id)?;
    Some(page.split_once('\n').unwrap_or((page, page)))
}

/// The older side, loaded.
#[derive(Debug)]
pub enum Before {
    /// A repository of its own.
    Repository(Box<Repository>),
    /// The releases of the newer one.
    Releases,
}

impl Before {
    /// Loads whatever was found.
    #[must_use]
    pub fn load(older: Older) -> Before {
        match older {
            Older::Files(files) => Before::Repository(Box::new(Repository::load(*files))),
            Older::Releases => Before::Releases,
        }
    }

    /// The files of the older side, if it has its own.
    #[must_use]
    pub fn files(&self) -> Option<&Files> {
        match self {
            Before::Repository(repository) => Some(&repository.files),
            Before::Releases => None,
        }
    }
}

/// What a comparison is made under.
#[derive(Clone, Debug)]
pub struct Setting<'a> {
    /// Who receives which entity.
    pub consumers: &'a Consumers,
    /// The day to judge sunsets and approvals by.
    pub today: Date,
}

/// Compares everything, and excuses what was approved.
#[must_use]
pub fn judge(new: &Repository, before: &Before, setting: &Setting<'_>) -> Vec<Item> {
    let pairs = pairs(new, before);
    let found = in_parallel(&pairs, |pair| compare(pair, setting));
    let mut items: Vec<Item> = found.into_iter().flatten().collect();
    if let Before::Repository(old) = before {
        items.extend(releases_kept(new, old));
        items.extend(unread(new, old).into_iter().map(Item::from));
    }
    let past = |approval: &Approval| {
        let Some(files) = before.files() else {
            // Nothing tells when an approval was written where there are only releases to compare with.
            return Past::Unknown;
        };
        let was = files.text(&approval.file);
        if was.is_some_and(|text| **text == *approval.text) {
            Past::Settled
        } else if is_whole(new) && is_compared(&approval.contract, new, before) {
            Past::New
        } else {
            Past::Unknown
        }
    };
    let faults = approvals::apply(
        &mut items,
        &new.approvals,
        &teams(new, before),
        setting.today,
        &past,
    );
    items.extend(faults.into_iter().map(Item::from));
    items
}

/// Excuses what was approved, as far as the contracts and their releases tell who may.
pub fn excuse(items: &mut [Item], repository: &Repository, today: Date) {
    let teams = teams(repository, &Before::Releases);
    let approvals = &repository.approvals;
    approvals::apply(items, approvals, &teams, today, &|_| Past::Unknown);
}

/// Whether a contract could be read on both sides, so that an approval for it that excuses nothing is out of place.
fn is_compared(id: &str, new: &Repository, before: &Before) -> bool {
    let all_read = |side: &Repository| side.broken.is_empty() || side.contract(id).is_some();
    all_read(new) && !matches!(before, Before::Repository(old) if !all_read(old))
}

/// Who holds which role: what the contract said before the change counts, even where it named nobody; only a contract that is new names its own.
///
/// Against releases alone nothing tells what stood before the change: whoever holds a role by the contract or by its last release holds it.
#[must_use]
pub fn teams(new: &Repository, before: &Before) -> Teams {
    let mut teams = new.teams();
    let Before::Repository(old) = before else {
        for release in last_releases(new) {
            let contract = &release.loaded.contract;
            let known = teams.entry(contract.id.clone()).or_default();
            for (role, names) in &contract.terms.approvers {
                let members = known.entry(role.clone()).or_default();
                for name in names {
                    if !members.contains(name) {
                        members.push(name.clone());
                    }
                }
            }
        }
        return teams;
    };
    teams.extend(old.teams());
    teams
}

/// Two versions to compare, of which one may be missing.
#[derive(Debug)]
pub struct Pair<'a> {
    /// The version before.
    pub old: Option<&'a Loaded>,
    /// The version now.
    pub new: Option<&'a Loaded>,
    /// Every release of the contract, the oldest first.
    pub releases: Vec<&'a Release>,
    /// References of the version before that led nowhere and never did.
    pub dead: Vec<Reference>,
}

/// The pairs of versions that belong together: by id and entity, else by what is left over on both sides.
#[must_use]
pub fn pairs<'a>(new: &'a Repository, before: &'a Before) -> Vec<Pair<'a>> {
    let old = match before {
        Before::Repository(old) => units(old, true),
        Before::Releases => last_releases(new).map(Unit::of_release).collect(),
    };
    let now = units(new, !is_whole(new));
    // Two files that were named are compared, whatever contracts they hold.
    let named = matches!(before, Before::Repository(old) if !is_whole(old)) && !is_whole(new);
    let single = named && old.len() == 1 && now.iter().filter(|unit| unit.asked).count() == 1;
    let mut left: Vec<&Unit<'a>> = old
        .iter()
        .filter(|old| !now.iter().any(|now| now.name() == old.name()))
        .collect();
    let known = links::before(new, before);
    let mut pairs = Vec::new();
    for unit in now.iter().filter(|unit| unit.asked) {
        // One that got another id or entity is still the same if its file or its other name is.
        let same = |other: &&&Unit<'a>| {
            other.id() == unit.id() || other.file == unit.file || other.name().1 == unit.name().1
        };
        let named = old.iter().find(|old| old.name() == unit.name());
        let found = named.or_else(|| {
            left.iter()
                .find(same)
                .or(left.first().filter(|_| single))
                .copied()
        });
        left.retain(|other| found.is_none_or(|found| found.name() != other.name()));
        let releases = releases(new, before, found.unwrap_or(unit).id());
        let old = found.map(|old| old.loaded);
        let last = releases.last().map(|last| &last.loaded);
        pairs.push(Pair {
            old,
            new: Some(unit.loaded),
            dead: links::dead(&known, old.or(last).map(|old| &old.contract)),
            releases,
        });
    }
    for unit in left {
        // With single files asked for, nothing is known of the others; and a file that does not load is not gone.
        let known = is_whole(new) || new.looked_at.iter().any(|file| file == unit.file);
        if known && !new.is_broken(unit.file) {
            pairs.push(Pair {
                old: Some(unit.loaded),
                new: None,
                releases: releases(new, before, unit.id()),
                dead: Vec::new(),
            });
        }
    }
    pairs
}

/// One contract of a side.
#[derive(Debug)]
struct Unit<'a> {
    file: &'a str,
    loaded: &'a Loaded,
    asked: bool,
}

impl<'a> Unit<'a> {
    fn of_release(release: &'a Release) -> Unit<'a> {
        Unit {
            file: &release.file,
            loaded: &release.loaded,
            asked: true,
        }
    }

    fn id(&self) -> &'a str {
        &self.loaded.contract.id
    }

    fn name(&self) -> (&'a str, &'a str) {
        (self.id(), &self.loaded.contract.entity)
    }
}

/// The contracts of a side, or its releases where these may stand for contracts and there is nothing else.
fn units(repository: &Repository, by_releases: bool) -> Vec<Unit<'_>> {
    if by_releases && repository.looked_at.is_empty() && repository.contracts.is_empty() {
        return last_releases(repository).map(Unit::of_release).collect();
    }
    let units = repository.contracts.iter().map(|entry| Unit {
        file: &entry.file,
        loaded: &entry.loaded,
        asked: entry.asked,
    });
    units.collect()
}

/// Whether everything below the roots was asked for.
pub(super) fn is_whole(repository: &Repository) -> bool {
    repository
        .files
        .roots
        .iter()
        .all(|root| root.only.is_empty())
}

/// The releases of a contract on either side: one that was deleted still counts.
fn releases<'a>(new: &'a Repository, before: &'a Before, id: &str) -> Vec<&'a Release> {
    let mut releases: BTreeMap<&Version, &Release> = BTreeMap::new();
    if let Before::Repository(old) = before {
        releases.extend(of(old, id));
    }
    releases.extend(of(new, id));
    releases.into_values().collect()
}

fn of<'a>(repository: &'a Repository, id: &str) -> Vec<(&'a Version, &'a Release)> {
    let own = repository
        .releases
        .iter()
        .filter(|release| release.loaded.contract.id == id);
    own.map(|release| (&release.loaded.contract.version, release))
        .collect()
}

fn last_releases(repository: &Repository) -> impl Iterator<Item = &Release> {
    let mut last: BTreeMap<&str, &Release> = BTreeMap::new();
    // The list is in the order of versions.
    for release in &repository.releases {
        last.insert(&release.loaded.contract.id, release);
    }
    last.into_values()
}

/// What `core` finds about one pair.
#[must_use]
pub fn compare(pair: &Pair<'_>, setting: &Setting<'_>) -> Vec<Item> {
    let Some(any) = pair.new.or(pair.old) else {
        return Vec::new();
    };
    let consumers = setting.consumers.of(&any.contract.entity);
    let around = Circumstances {
        today: setting.today,
        consumers: &consumers,
        dead: &pair.dead,
    };
    let releases: Vec<Side<'_>> = pair
        .releases
        .iter()
        .map(|release| side(&release.loaded))
        .collect();
    let findings = match (pair.old, pair.new) {
        (Some(old), None) => compat::removed(side(old), &around),
        // A contract that is new where it is looked for may have been released elsewhere.
        (None, Some(new)) if releases.is_empty() => vec![compat::added(side(new))],
        (old, Some(new)) => compat::review(side(new), old.map(side), &releases, &around).findings,
        (None, None) => Vec::new(),
    };
    findings.into_iter().map(Item::from).collect()
}

/// What changed between the two versions of a pair, with what `core` finds broken as breaking; empty where one is missing.
///
/// What only the number of the version is about is no change of a part.
#[must_use]
pub fn changed(pair: &Pair<'_>, setting: &Setting<'_>) -> Vec<Change> {
    told(pair, &compare(pair, setting))
}

/// What changed in a pair of which this was found.
pub(super) fn told(pair: &Pair<'_>, items: &[Item]) -> Vec<Change> {
    let (Some(old), Some(new)) = (pair.old, pair.new) else {
        return Vec::new();
    };
    let breaks = items
        .iter()
        .filter(|item| item.severity == Severity::Error && !item.rule.starts_with("LSC-VERSION"));
    let breaches: Vec<Breach<'_>> = breaks
        .map(|item| Breach {
            pointer: item.pointer.as_deref().unwrap_or_default(),
            rule: item.rule,
            message: &item.message,
        })
        .collect();
    changes(old, new, &breaches)
}

fn side(loaded: &Loaded) -> Side<'_> {
    Side {
        contract: &loaded.contract,
        places: &loaded.places,
    }
}

/// Releases of the older side that are gone or edited.
fn releases_kept(new: &Repository, old: &Repository) -> Vec<Item> {
    let mut items = Vec::new();
    for release in &old.releases {
        let Some(was) = old.files.text(&release.file) else {
            continue;
        };
        let contract = &release.loaded.contract;
        let asked = new
            .contracts
            .iter()
            .any(|entry| entry.asked && entry.id() == contract.id);
        if !asked && !is_whole(new) {
            continue;
        }
        let now = new.files.by_path.get(&release.file);
        let moved = new.release(&contract.id, &contract.version);
        let before = side(&release.loaded);
        let edited = now.and_then(|now| now.as_ref().ok());
        let edited = edited.and_then(|text| serde_json::from_str::<Json>(text).ok());
        let document = edited.as_ref().and_then(|lock| lock.get("contract"));
        let finding = match (now, moved) {
            (Some(Ok(now)), _) if now == was => continue,
            (None, Some(moved)) if new.files.text(&moved.file) == Some(was) => continue,
            // An edited release may not be readable any more, and is edited all the same.
            (Some(_), now) | (None, now @ Some(_)) => {
                let now = now.map_or(before, |now| side(&now.loaded));
                compat::release_edited(before, Some(now), document)
            }
            (None, None) => compat::release_edited(before, None, None),
        };
        let mut item = Item::from(finding);
        item.hint = Some(old.files.commit.as_ref().map_or_else(
            || "restore the file; a change is a new version".to_owned(),
            |commit| {
                let file = super::git::quoted(&release.file);
                format!(
                    "restore the file with `git checkout {} -- {file}`; a change is a new version",
                    commit.short()
                )
            },
        ));
        items.push(item);
    }
    items
}

/// Contracts that could not be compared because their older text cannot be read.
fn unread(new: &Repository, old: &Repository) -> Vec<Diagnostic> {
    let loaded: BTreeSet<&str> = old
        .contracts
        .iter()
        .map(|entry| entry.file.as_str())
        .collect();
    let asked = |file: &str| {
        new.contracts
            .iter()
            .any(|entry: &Entry| entry.asked && entry.file == file)
    };
    let unread = old
        .looked_at
        .iter()
        .filter(|file| !loaded.contains(file.as_str()) && asked(file));
    unread
        .map(|file| {
            Diagnostic::warning(
                "LS-K023",
                "the older version of this contract has errors, so it was not compared",
            )
            .at(Place::in_text(file, "", 0, 0))
            .help("the releases were compared all the same, if there are any")
        })
        .collect()
}
