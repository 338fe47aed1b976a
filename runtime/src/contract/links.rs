//! What the contracts of a repository may refer to.
//!
//! `core` says which references lead nowhere; this module brings the contracts and releases together that they may lead to.
//! Contracts that were named alone are judged beside the others of their folder, which are read only where something would lead nowhere without them.

use lockstep_core::contract::links::Known;
use lockstep_core::contract::{Contract, Reference};
use lockstep_core::diagnostic::Diagnostic;

use super::files::{Files, Root};
use super::judge::{Before, is_whole};
use super::repository::Repository;

/// References of the contracts that were asked for which lead nowhere, each at its place.
#[must_use]
pub fn dangling(repository: &Repository) -> Vec<Diagnostic> {
    let found = judged(repository, &known(repository, &[repository]));
    if found.is_empty() || is_whole(repository) {
        return found;
    }
    let roots: Vec<Root> = repository.files.roots.iter().map(Root::whole).collect();
    let beside = Files::on_disk(&roots).map(Repository::load);
    let beside = beside.unwrap_or_else(|_| Repository {
        incomplete: true,
        ..Repository::default()
    });
    let mut all = known(&beside, &[&beside, repository]);
    all.contracts.extend(contracts(repository));
    all.partial |= repository.incomplete;
    judged(repository, &all)
}

fn judged(repository: &Repository, known: &Known<'_>) -> Vec<Diagnostic> {
    let asked = repository.contracts.iter().filter(|entry| entry.asked);
    asked
        .flat_map(|entry| known.dangling(&entry.loaded))
        .collect()
}

/// What the references of the older side could lead to.
#[must_use]
pub fn before<'r>(new: &'r Repository, before: &'r Before) -> Known<'r> {
    let old = match before {
        Before::Repository(old) => old,
        Before::Releases => new,
    };
    let known = known(old, &[old, new]);
    Known {
        partial: known.partial || !is_whole(old),
        ..known
    }
}

/// The references of an older version that led nowhere and never did.
#[must_use]
pub fn dead(known: &Known<'_>, old: Option<&Contract>) -> Vec<Reference> {
    old.map_or_else(Vec::new, |old| known.dead(old))
}

fn known<'r>(repository: &'r Repository, releases: &[&'r Repository]) -> Known<'r> {
    let releases = releases.iter().flat_map(|side| &side.releases);
    Known {
        contracts: contracts(repository).collect(),
        releases: releases.map(|one| &one.loaded.contract).collect(),
        partial: repository.incomplete,
    }
}

fn contracts(repository: &Repository) -> impl Iterator<Item = &Contract> {
    let entries = repository.contracts.iter();
    entries.map(|entry| &entry.loaded.contract)
}
