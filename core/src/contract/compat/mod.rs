//! Whether two versions of a contract understand each other, and what else people must agree to before the newer one is released.
//!
//! Owns the decision; knows neither files nor Git nor today's date. Every rule has an id in [`RULES`].
//!
//! [`compare`] answers for two versions: *backward* means that every record which the older writer schema allows is understood by the newer reader schema, *forward* the other way round.
//! The answer is exact for our contract language: *yes* is proved, *no* comes with a made-up record that both schemas were asked about, and everything else is *unproven*.
//! [`review`] is what CI asks: the comparison that the contract's own promise demands, against every release that the promise counts, and the rules that no record shows.

mod carry;
mod change;
mod finding;
mod fingerprint;
mod govern;
mod judge;
mod members;
mod rules;
mod set;
mod structure;
mod subset;
#[cfg(test)]
mod tests;
mod texts;

pub use finding::{Finding, Report, Side, Verdict};
pub use govern::{Bump, added, govern, release_edited, removed};
pub use rules::{RULES, RuleInfo};

use super::{Compatibility, Direction, Reference};
use crate::diagnostic::Severity;
use structure::Draft;

/// What the comparison cannot know by itself.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The day on which it is asked.
    pub today: jiff::civil::Date,
    /// Systems that rely on the entity, by the configurations, besides those that the contract names.
    pub consumers: &'a [String],
    /// References of the older version that led nowhere and never did: nobody relied on them.
    pub dead: &'a [Reference],
}

/// Compares the records of two versions.
///
/// Every difference that a record could show becomes a finding; those that break a direction asked for are errors.
#[must_use]
pub fn compare(old: Side<'_>, new: Side<'_>, direction: Direction) -> Report {
    let promise = Promise {
        directions: directions(Some(direction)),
        breach: Severity::Error,
    };
    Report::of(structural(old, new, &promise, &[]))
}

/// Everything to be said about a new version: its records against the versions that its promise counts, and what people must agree to.
///
/// `base` is the version that the change started from, such as the one at the merge base; `releases` are the published ones in any order.
/// Without a base, the last release is the base.
#[must_use]
pub fn review(
    new: Side<'_>,
    base: Option<Side<'_>>,
    releases: &[Side<'_>],
    around: &Circumstances<'_>,
) -> Report {
    let mut releases: Vec<Side<'_>> = releases.to_vec();
    releases.sort_by(|a, b| a.contract.version.cmp(&b.contract.version));
    let last = releases.last().copied();
    let mut findings: Vec<Finding> = Vec::new();
    for old in counted(new, base, &releases) {
        let promise = Promise::between(old, new);
        let published = published(old, base, last);
        for mut finding in structural(old, new, &promise, around.consumers) {
            name_lost_default(&mut finding, last, new);
            let mut known = findings.iter().chain(&published);
            if !known.any(|known| known.fingerprint == finding.fingerprint) {
                findings.push(finding);
            }
        }
    }
    findings.extend(govern(new, base, &releases, &findings, around));
    Report::of(findings)
}

/// How the last release differs from an older one: that is published, and no change of today's.
fn published(old: Side<'_>, base: Option<Side<'_>>, last: Option<Side<'_>>) -> Vec<Finding> {
    let is =
        |side: Option<Side<'_>>| side.is_some_and(|side| std::ptr::eq(side.contract, old.contract));
    match last {
        Some(newest) if !is(base) && !is(last) => {
            structural(old, newest, &Promise::between(old, newest), &[])
        }
        _ => Vec::new(),
    }
}

/// The older versions that a promise counts: the base, and the releases of the same major or the last of them.
fn counted<'a>(new: Side<'a>, base: Option<Side<'a>>, releases: &[Side<'a>]) -> Vec<Side<'a>> {
    let Compatibility { transitive, .. } = new.contract.terms.compatibility;
    let line = |side: &Side<'_>| govern::line(&side.contract.version);
    let mut counted: Vec<Side<'a>> = base.into_iter().collect();
    if transitive {
        let same = releases
            .iter()
            .rev()
            .filter(|side| line(side) == line(&new))
            // The base is mostly the last release; what was found against it would be found again.
            .filter(|side| base.is_none_or(|base| base.contract != side.contract));
        counted.extend(same.copied());
    }
    if counted.is_empty() {
        counted.extend(releases.last().copied());
    }
    counted
}

/// Says that a default was lost where an older release lacks the field that the last one filled.
fn name_lost_default(finding: &mut Finding, last: Option<Side<'_>>, new: Side<'_>) {
    let Some(name) = finding.pointer.strip_prefix("/fields/") else {
        return;
    };
    let had = last.and_then(|last| {
        let i = last.contract.field(name)?;
        last.contract.fields[i].default.as_ref()
    });
    if finding.rule == "LSC-FIELD-ADDED-REQUIRED" && had.is_some() {
        finding.rule = "LSC-DEFAULT-REMOVED";
        finding.message =
            format!("`{name}` has no default any more, and an older release lacks it");
        finding.hint = rules::hint(finding.rule).to_owned();
        finding.fingerprint = fingerprint::of(finding);
        finding.new_place = new.places.at(&finding.pointer).cloned();
    }
}

/// What the newer version owes the older one.
struct Promise {
    directions: Vec<Direction>,
    /// How much a break matters.
    breach: Severity,
}

impl Promise {
    fn between(old: Side<'_>, new: Side<'_>) -> Promise {
        let Compatibility { direction, .. } = new.contract.terms.compatibility;
        let free = direction.is_none() || govern::is_major_step(old, new);
        Promise {
            directions: directions(direction),
            breach: if free {
                Severity::Info
            } else {
                Severity::Error
            },
        }
    }
}

/// The single directions of one; without a promise both are worth knowing.
fn directions(direction: Option<Direction>) -> Vec<Direction> {
    match direction {
        Some(Direction::Backward) => vec![Direction::Backward],
        Some(Direction::Forward) => vec![Direction::Forward],
        Some(Direction::Full) | None => vec![Direction::Backward, Direction::Forward],
    }
}

fn structural(
    old: Side<'_>,
    new: Side<'_>,
    promise: &Promise,
    consumers: &[String],
) -> Vec<Finding> {
    structure::compare(old.contract, new.contract)
        .into_iter()
        .map(|draft| settle(draft, old, new, promise, consumers))
        .collect()
}

/// Makes a finding of a difference under a promise.
fn settle(
    draft: Draft,
    old: Side<'_>,
    new: Side<'_>,
    promise: &Promise,
    consumers: &[String],
) -> Finding {
    let way = |direction: Direction| usize::from(direction == Direction::Forward);
    let verdict = |direction: &Direction| draft.verdicts[way(*direction)];
    let broken: Vec<Direction> = promise
        .directions
        .iter()
        .copied()
        .filter(|direction| verdict(direction) != Verdict::Yes)
        .collect();
    let worst = broken.iter().map(verdict).max().unwrap_or(Verdict::Yes);
    let shown = broken
        .iter()
        .copied()
        .find(|direction| draft.witnesses[way(*direction)].is_some());
    let severity = if broken.is_empty() {
        draft.mild
    } else {
        promise.breach.max(draft.mild)
    };
    let mut finding = Finding::new(draft.rule, severity, old, new, draft.pointer, draft.message);
    if let Some(pointer) = draft.old_pointer {
        finding.old_place = old.places.at(&pointer).cloned();
    }
    if broken.is_empty() && severity == Severity::Info {
        "nothing breaks; nothing has to be done".clone_into(&mut finding.hint);
    }
    finding.directions = broken;
    finding.verdict = worst;
    finding.witness = shown.and_then(|direction| draft.witnesses[way(direction)].clone());
    finding.witness_direction = shown;
    finding.old = draft.old;
    finding.new = draft.new;
    finding.affects(old, new, consumers);
    finding.fingerprint = fingerprint::of(&finding);
    finding
}
