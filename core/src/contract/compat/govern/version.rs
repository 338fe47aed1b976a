//! Whether the version says how much changed.

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;
use serde_json::{Map, Value as Json};

use super::Review;
use crate::contract::compat::finding::{Finding, Side, Verdict};
use crate::contract::{document, lock};
use crate::diagnostic::Severity::{Error, Warning};

/// Deepest difference that is shown as such; a contract's document nests no deeper.
const DEPTH_MAX: usize = 64;

/// How far a version must move.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Bump {
    /// Nothing changed.
    None,
    /// Only words changed.
    Patch,
    /// Something was added or agreed on anew, and nobody is broken.
    Minor,
    /// Somebody is broken.
    Major,
}

impl Bump {
    /// How far the version must move for these findings.
    #[must_use]
    pub fn needed(findings: &[Finding]) -> Bump {
        findings.iter().map(bump).max().unwrap_or(Bump::None)
    }

    /// Every version that can be the next one after this: by the least step, a minor and a major one.
    #[must_use]
    pub fn steps(version: &Version) -> [Version; 3] {
        [Bump::Patch, Bump::Minor, Bump::Major].map(|step| step.after(version))
    }

    /// The next version after this step; below 1.0 the minor number plays the major.
    #[must_use]
    pub fn after(self, version: &Version) -> Version {
        let young = version.major == 0;
        let (major, minor, patch) = (version.major, version.minor, version.patch);
        match self {
            Bump::None => version.clone(),
            // A pre-release becomes its release.
            Bump::Patch if !version.pre.is_empty() => Version::new(major, minor, patch),
            Bump::Patch => Version::new(major, minor, patch.saturating_add(1)),
            Bump::Minor if young => Version::new(0, minor, patch.saturating_add(1)),
            Bump::Minor => Version::new(major, minor.saturating_add(1), 0),
            Bump::Major if young => Version::new(0, minor.saturating_add(1), 0),
            Bump::Major => Version::new(major.saturating_add(1), 0, 0),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Bump::None => "none",
            Bump::Patch => "patch",
            Bump::Minor => "minor",
            Bump::Major => "major",
        }
    }
}

fn bump(finding: &Finding) -> Bump {
    match finding.rule {
        "LSC-VERSION-MAJOR"
        | "LSC-VERSION-MINOR"
        | "LSC-VERSION-UNCHANGED"
        | "LSC-VERSION-LOWERED"
        // A release leaves out what only people read.
        | "LSC-REMARK" => Bump::None,
        "LSC-DESCRIPTION" | "LSC-TERMS" | "LSC-RULE-RENAMED" => Bump::Patch,
        "LSC-KEY" | "LSC-KEY-TYPE" | "LSC-LANE-KEY" | "LSC-LANES" | "LSC-ID"
        | "LSC-ENTITY-REMOVED" => Bump::Major,
        _ if finding.verdict != Verdict::Yes => Bump::Major,
        _ => Bump::Minor,
    }
}

/// The numbers that versions which must understand each other share: the major, and below 1.0 the minor.
pub(in crate::contract::compat) fn line(version: &Version) -> (u64, u64) {
    match version.major {
        0 => (0, version.minor),
        major => (major, 0),
    }
}

/// Whether the newer version says that it owes the older one nothing: the major was raised, or the older one was a pre-release, which may change.
pub(in crate::contract::compat) fn is_major_step(old: Side<'_>, new: Side<'_>) -> bool {
    let (from, to) = (&old.contract.version, &new.contract.version);
    line(to) > line(from) || (!from.pre.is_empty() && to > from)
}

/// Judges the step from `last`, the version that was published last, by everything that was found.
pub(super) fn review(review: &mut Review<'_>, last: Side<'_>, structural: &[Finding]) {
    let (from, to) = (&last.contract.version, &review.new.contract.version);
    let needed = Bump::needed(structural).max(Bump::needed(&review.found));
    // A version stands for one document, so what no finding tells is a change all the same.
    let needed = match needed {
        Bump::None if lock::digest(last.contract) != lock::digest(review.new.contract) => {
            Bump::Patch
        }
        needed => needed,
    };
    let direction = review.new.contract.terms.compatibility.direction;
    let (rule, severity, message) = if to < from {
        (
            "LSC-VERSION-LOWERED",
            Error,
            format!("the version went down from {from} to {to}"),
        )
    } else if needed == Bump::None {
        return;
    } else if to == from {
        let message = format!(
            "the contract changed and its version is still {from}; it needs a {} step",
            needed.word()
        );
        ("LSC-VERSION-UNCHANGED", Error, message)
    } else if !from.pre.is_empty() {
        return;
    } else if needed == Bump::Major && line(to) == line(from) {
        let severity = if direction.is_none() { Warning } else { Error };
        let major = if from.major == 0 {
            "minor number, which plays the major below 1.0,"
        } else {
            "major"
        };
        let message = format!("somebody breaks, and the {major} of {from} is kept in {to}");
        ("LSC-VERSION-MAJOR", severity, message)
    } else if needed == Bump::Minor && is_patch_step(from, to) {
        (
            "LSC-VERSION-MINOR",
            Error,
            format!("something was added or agreed on anew, and {to} is only a patch of {from}"),
        )
    } else {
        return;
    };
    let ahead = review.new.contract.ahead();
    let (from, to) = (from.to_string(), to.to_string());
    review.add(rule, severity, "/version", message, from, to);
    if let Some(finding) = review.found.last_mut() {
        finding.old_place = last.places.at("/version").cloned();
        if let Some(ahead) = ahead {
            finding.hint = format!(
                "the migration to {ahead} counts once the contract is that version: `lockstep contract release` makes it, or write `version: {ahead}`"
            );
        }
    }
}

/// Whether only the patch number moved, where it does not play the minor.
fn is_patch_step(from: &Version, to: &Version) -> bool {
    from.major > 0 && (from.major, from.minor) == (to.major, to.minor)
}

/// What there is to say about a published version whose text is another one than before, or gone.
///
/// `document` is the contract as the edited file has it, which need not be one that can be read as such.
#[must_use]
pub fn release_edited(before: Side<'_>, now: Option<Side<'_>>, document: Option<&Json>) -> Finding {
    let version = &before.contract.version;
    let (message, side) = match now {
        Some(now) => (format!("the published version {version} was edited"), now),
        None => (
            format!("the published version {version} was deleted"),
            before,
        ),
    };
    let finding = Finding::new(
        "LSC-RELEASE-EDITED",
        Error,
        before,
        side,
        "/version",
        message,
    );
    let Some(now) = now else {
        let mut finding = finding.parts(version.to_string(), ());
        finding.new_place = None;
        return finding;
    };
    let written = document::write(now.contract);
    let document = document.unwrap_or(&written);
    match differing(&document::write(before.contract), document, DEPTH_MAX) {
        // Something beside the contract was edited: a schema, or the layout.
        (Json::Null, Json::Null) => finding.parts(version.to_string(), version.to_string()),
        (was, is) => finding.parts(was, is),
    }
}

/// What differs between two documents, and nothing that is the same; null where a side lacks it.
///
/// Members of lists are told apart by their names; a list whose members have none is shown whole.
fn differing(was: &Json, is: &Json, depth: usize) -> (Json, Json) {
    if was == is {
        return (Json::Null, Json::Null);
    }
    let (Some(old), Some(new)) = (members(was), members(is)) else {
        return (was.clone(), is.clone());
    };
    if depth == 0 {
        return (was.clone(), is.clone());
    }
    let (mut left, mut right) = (Map::new(), Map::new());
    let names: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    for name in names {
        let null = &Json::Null;
        let (a, b) = (
            old.get(name).unwrap_or(&null),
            new.get(name).unwrap_or(&null),
        );
        let (a, b) = differing(a, b, depth - 1);
        left.extend((!a.is_null()).then(|| (name.to_owned(), a)));
        right.extend((!b.is_null()).then(|| (name.to_owned(), b)));
    }
    let of = |map: Map<String, Json>| match map.is_empty() {
        true => Json::Null,
        false => Json::Object(map),
    };
    (of(left), of(right))
}

/// The members of an object, or of a list whose members have names that differ.
fn members(json: &Json) -> Option<BTreeMap<&str, &Json>> {
    match json {
        Json::Object(members) => Some(members.iter().map(|(k, v)| (k.as_str(), v)).collect()),
        Json::Array(items) => {
            let named = items.iter().map(|item| {
                let mut keys = ["name", "property"].into_iter();
                let name = keys.find_map(|key| item.get(key)?.as_str())?;
                Some((name, item))
            });
            let named: BTreeMap<&str, &Json> = named.collect::<Option<_>>()?;
            (named.len() == items.len()).then_some(named)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_is_shown() {
        let was = json!({"id": "t", "schema": [{"name": "t", "properties": [{"name": "a", "max": 1}, {"name": "b"}]}], "tags": ["x"]});
        let is = json!({"id": "t", "schema": [{"name": "t", "properties": [{"name": "a", "max": 2}, {"name": "c"}]}], "tags": ["x", "y"]});
        let shown = differing(&was, &is, DEPTH_MAX);
        let expected = (
            json!({"schema": {"t": {"properties": {"a": {"max": 1}, "b": {"name": "b"}}}}, "tags": ["x"]}),
            json!({"schema": {"t": {"properties": {"a": {"max": 2}, "c": {"name": "c"}}}}, "tags": ["x", "y"]}),
        );
        assert_eq!(shown, expected);
        assert_eq!(differing(&was, &was, DEPTH_MAX), (Json::Null, Json::Null));
    }
}
