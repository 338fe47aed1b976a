//! The rules that no record shows: keys, owners, truth, privacy, service levels, quality, deprecation and versions.
//!
//! Their severity does not depend on the compatibility that the contract promises.

mod keys;
mod levels;
mod lifecycle;
mod privacy;
mod quality;
mod version;

use serde_json::Value as Json;

use super::finding::{Finding, Side, Verdict};
use super::set::Set;
use super::{Circumstances, Direction, change, members};
use crate::contract::{Contract, Field, schema};
use crate::diagnostic::Severity;

#[cfg(test)]
pub(super) use privacy::suspect;
pub use version::{Bump, release_edited};
pub(super) use version::{is_major_step, line};

/// Both versions and what was found, for one rule after the other.
struct Review<'a> {
    old: Side<'a>,
    new: Side<'a>,
    around: &'a Circumstances<'a>,
    found: Vec<Finding>,
}

impl<'a> Review<'a> {
    /// Adds a finding about a part that both versions have, or one of them.
    fn add(
        &mut self,
        rule: &'static str,
        severity: Severity,
        pointer: impl Into<String>,
        message: String,
        old: impl Into<Json>,
        new: impl Into<Json>,
    ) {
        let finding = Finding::new(rule, severity, self.old, self.new, pointer, message);
        let mut finding = finding.parts(old, new);
        finding.affects(self.old, self.new, self.around.consumers);
        self.found.push(finding);
    }

    /// The fields that both versions have, older and newer; inner fields included, with their pointers and names.
    fn pairs(&self) -> Vec<Pair<'a>> {
        let mut pairs = Vec::new();
        let (old, new) = (self.old.contract, self.new.contract);
        collect(
            &old.fields,
            &new.fields,
            "",
            "",
            &renames(old, new),
            &mut pairs,
        );
        pairs
    }
}

/// A field of the newer version, and of the older one where it was there.
struct Pair<'a> {
    old: Option<&'a Field>,
    new: Option<&'a Field>,
    pointer: String,
    name: String,
}

/// Old and new names of fields that migrations rename.
fn renames(old: &Contract, new: &Contract) -> Vec<(String, String)> {
    use super::carry::{Carry, Origin};
    let names = old.fields.iter().map(|field| field.name.as_str());
    let origins = Carry::up(old, new).origins(names);
    let moved = origins
        .into_iter()
        .filter_map(|(name, origin)| match origin {
            Origin::Field(from) | Origin::Mapped(from, _) => (from != name).then_some((from, name)),
            Origin::Fixed(_) | Origin::Computed => None,
        });
    moved.collect()
}

fn collect<'a>(
    old: &'a [Field],
    new: &'a [Field],
    pointer: &str,
    path: &str,
    renames: &[(String, String)],
    pairs: &mut Vec<Pair<'a>>,
) {
    let before = |name: &str| -> Option<&'a Field> {
        let renamed = renames
            .iter()
            .find(|(_, to)| to == name)
            .map(|(from, _)| from.as_str());
        let moved_away = renames.iter().any(|(from, _)| from == name);
        let name = renamed.or((!moved_away).then_some(name))?;
        old.iter().find(|field| field.name == name)
    };
    let mut met: Vec<&str> = Vec::new();
    for field in new {
        let old = before(&field.name);
        met.extend(old.map(|old| old.name.as_str()));
        both(old, Some(field), pointer, path, pairs);
    }
    for field in old
        .iter()
        .filter(|field| !met.contains(&field.name.as_str()))
    {
        both(Some(field), None, pointer, path, pairs);
    }
}

fn both<'a>(
    old: Option<&'a Field>,
    new: Option<&'a Field>,
    pointer: &str,
    path: &str,
    pairs: &mut Vec<Pair<'a>>,
) {
    use crate::contract::Inner;
    let Some(field) = new.or(old) else {
        return;
    };
    let pointer = format!("{pointer}/fields/{}", field.name);
    let name = format!("{path}{}", field.name);
    let inner = (
        old.and_then(|field| field.inner.as_ref()),
        new.and_then(|field| field.inner.as_ref()),
    );
    match inner {
        (Some(Inner::Object { fields: a, .. }), Some(Inner::Object { fields: b, .. })) => {
            collect(a, b, &pointer, &format!("{name}."), &[], pairs);
        }
        (None, Some(Inner::Object { fields, .. })) => {
            collect(&[], fields, &pointer, &format!("{name}."), &[], pairs);
        }
        _ => {}
    }
    pairs.push(Pair {
        old,
        new,
        pointer,
        name,
    });
}

/// Every finding that no record shows; `structural` are those that records show, for the step that the version must take.
#[must_use]
pub fn govern(
    new: Side<'_>,
    base: Option<Side<'_>>,
    releases: &[Side<'_>],
    structural: &[Finding],
    around: &Circumstances<'_>,
) -> Vec<Finding> {
    let last = releases
        .iter()
        .copied()
        .max_by(|a, b| a.contract.version.cmp(&b.contract.version));
    let Some(old) = base.or(last) else {
        return Vec::new();
    };
    let mut review = Review {
        old,
        new,
        around,
        found: Vec::new(),
    };
    keys::review(&mut review);
    privacy::review(&mut review);
    levels::review(&mut review);
    quality::review(&mut review);
    lifecycle::review(&mut review, releases);
    // A change may carry its own release; what it must step on from is what was published before it.
    let published = releases
        .iter()
        .copied()
        .filter(|side| side.contract != new.contract)
        .max_by(|a, b| a.contract.version.cmp(&b.contract.version));
    version::review(&mut review, published.unwrap_or(old), structural);
    review.found
}

/// What there is to say about a contract that is new.
#[must_use]
pub fn added(new: Side<'_>) -> Finding {
    let message = format!("the entity `{}` is new", new.contract.entity);
    let finding = Finding::new(
        "LSC-ENTITY-ADDED",
        Severity::Info,
        new,
        new,
        "/entity",
        message,
    );
    let mut finding = finding.parts(Json::Null, new.contract.entity.clone());
    finding.old_place = None;
    finding
}

/// What there is to say about a contract that is gone.
#[must_use]
pub fn removed(old: Side<'_>, around: &Circumstances<'_>) -> Vec<Finding> {
    let message = format!("the contract of `{}` is gone", old.contract.entity);
    let finding = Finding::new(
        "LSC-ENTITY-REMOVED",
        Severity::Error,
        old,
        old,
        "/entity",
        message,
    );
    let mut finding = finding.parts(change_of(old.contract), Json::Null);
    finding.new_place = None;
    finding.verdict = Verdict::No;
    finding.directions = vec![Direction::Backward, Direction::Forward];
    // Any record of it is one that nobody reads any more.
    finding.witness = Set::read(&schema::writer(old.contract))
        .object
        .and_then(|objects| members::object(&objects, &[], None));
    if finding.witness.is_some() {
        finding.witness_direction = Some(Direction::Backward);
    }
    finding.affects(old, old, around.consumers);
    let mut found = vec![finding];
    found.extend(lifecycle::gone_before_sunset(old, around));
    found
}

/// What identifies a contract that was deleted: entity, version and fields.
fn change_of(contract: &Contract) -> Json {
    let fields = contract
        .fields
        .iter()
        .map(|field| (field.name.clone(), change::values(field)));
    Json::Object(fields.collect())
}
