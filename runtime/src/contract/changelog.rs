//! What changed between two versions of a contract, part by part.
//!
//! A contract is taken apart into parts under the pointers that findings use, so a change and the finding about it meet by name.
//! Knows nothing of compatibility: whoever has findings says what breaks, and the part that it stands at is told as breaking.
//! Whatever differs between two texts is told: what no part says, as it is written.

mod parts;
#[cfg(test)]
mod tests;
mod unsaid;

use std::collections::{BTreeMap, BTreeSet};

use lockstep_core::contract::{Contract, Loaded, Rule};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

pub use parts::parts;

/// One part that changed.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Change {
    /// What became of it.
    pub what: What,
    /// Whom it concerns.
    pub group: Group,
    /// The part, such as `/fields/email/limits/maxLength`.
    pub pointer: String,
    /// The change in words.
    pub message: String,
    /// The part as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Json>,
    /// The part as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Json>,
    /// The rules that it breaks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<&'static str>,
}

/// What became of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is another.
    Changed,
}

/// Whom a change concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Whoever writes or reads the entity.
    Breaking,
    /// Nobody needs to do anything.
    Compatible,
    /// People who read the contract.
    Documentation,
}

/// Something that breaks, as a finding says it.
#[derive(Clone, Debug)]
pub struct Breach<'a> {
    /// The part that it stands at.
    pub pointer: &'a str,
    /// The rule that is broken.
    pub rule: &'static str,
    /// What is wrong.
    pub message: &'a str,
}

/// The changes from one version to another; `breaches` is what breaks.
#[must_use]
pub fn changes(old: &Loaded, new: &Loaded, breaches: &[Breach<'_>]) -> Vec<Change> {
    let (mut before, mut after) = (parts(&old.contract), parts(&new.contract));
    let mut words = BTreeSet::new();
    // A release leaves out what only people read, so that it says nothing of it.
    if let (Some(was), Some(is)) = (old.places.remarks(), new.places.remarks()) {
        for (parts, remarks) in [(&mut before, was), (&mut after, is)] {
            words.extend(remarks.keys().cloned());
            parts.extend(remarks.clone());
        }
    }
    let pointers: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut changes: Vec<Change> = pointers
        .into_iter()
        .filter_map(|pointer| change(pointer, &before, &after, &words))
        .collect();
    join_renamed(&old.contract, &new.contract, &mut changes);
    if let (Some(was), Some(is)) = (old.places.written(), new.places.written()) {
        let is_both = |field: &str| before.contains_key(field) && after.contains_key(field);
        let mut unsaid = unsaid::unsaid(was, is, &changes, &is_both);
        // Another version is said by whoever names both.
        let same_version = old.contract.version == new.contract.version;
        unsaid.retain(|change| same_version || change.pointer != "/version");
        changes.extend(unsaid);
        if changes.is_empty() && same_version {
            changes.extend(unsaid::rearranged(was, is));
        }
    }
    for breach in breaches {
        break_at(&mut changes, breach);
    }
    changes.sort_by(|a, b| (a.group, &a.pointer).cmp(&(b.group, &b.pointer)));
    changes
}

/// The change of one part, unless what holds it says as much.
fn change(
    pointer: &str,
    before: &BTreeMap<String, Json>,
    after: &BTreeMap<String, Json>,
    words: &BTreeSet<String>,
) -> Option<Change> {
    let (was, is) = (before.get(pointer), after.get(pointer));
    if was == is {
        return None;
    }
    let what = match (was, is) {
        (None, _) => What::Added,
        (_, None) => What::Removed,
        _ => What::Changed,
    };
    // What holds a part and came or went with it has said so already.
    let (gone, there) = match what {
        What::Added => (before, after),
        _ => (after, before),
    };
    let came_with = |holder: &str| is_whole(holder) && !gone.contains_key(holder);
    if what != What::Changed && holders(pointer).any(came_with) {
        return None;
    }
    let group = if is_documentation(pointer) || words.contains(pointer) {
        Group::Documentation
    } else {
        Group::Compatible
    };
    let whole = is_whole(pointer);
    Some(Change {
        message: if whole {
            self::whole(what, pointer, there)
        } else {
            message(what, pointer, was, is)
        },
        what,
        group,
        pointer: pointer.to_owned(),
        old: was.filter(|_| !whole).cloned(),
        new: is.filter(|_| !whole).cloned(),
        rules: Vec::new(),
    })
}

/// Says of the changes at a part that they break: those of the part itself, else those inside it, else of what holds it; a break that stands at none of them is told by itself.
fn break_at(changes: &mut Vec<Change>, breach: &Breach<'_>) {
    let inside = |outer: &str, inner: &str| {
        let rest = inner.strip_prefix(outer);
        rest.is_some_and(|rest| rest.starts_with('/'))
    };
    let fits: [&dyn Fn(&str) -> bool; 3] = [
        &|pointer| pointer == breach.pointer,
        &|pointer| inside(breach.pointer, pointer),
        &|pointer| inside(pointer, breach.pointer),
    ];
    let found = fits
        .iter()
        .find(|fits| changes.iter().any(|change| fits(&change.pointer)));
    let Some(found) = found else {
        changes.push(Change {
            what: What::Changed,
            group: Group::Breaking,
            pointer: breach.pointer.to_owned(),
            message: breach.message.to_owned(),
            old: None,
            new: None,
            rules: vec![breach.rule],
        });
        return;
    };
    for change in changes.iter_mut().filter(|change| found(&change.pointer)) {
        change.group = Group::Breaking;
        if !change.rules.contains(&breach.rule) {
            change.rules.push(breach.rule);
        }
    }
}

/// Says of a rule that came as another one went, and is the same, that it has another name.
fn join_renamed(old: &Contract, new: &Contract, changes: &mut Vec<Change>) {
    let only = |these: &Contract, those: &Contract| -> Vec<Rule> {
        let known = |rule: &&Rule| !those.rules.iter().any(|other| other.name == rule.name);
        these.rules.iter().filter(known).cloned().collect()
    };
    let mut fresh = only(new, old);
    for gone in only(old, new) {
        let same = |rule: &Rule| {
            let named = Rule {
                name: gone.name.clone(),
                ..rule.clone()
            };
            named == gone
        };
        let Some(at) = fresh.iter().position(same) else {
            continue;
        };
        let rule = fresh.remove(at);
        let pointer = |rule: &Rule| format!("/rules/{}", rule.name);
        let (was, is) = (pointer(&gone), pointer(&rule));
        changes.retain(|change| change.pointer != was && change.pointer != is);
        changes.push(Change {
            what: What::Changed,
            group: Group::Documentation,
            pointer: is,
            message: format!("rule `{}` renamed to `{}`", gone.name, rule.name),
            old: Some(gone.name.clone().into()),
            new: Some(rule.name.into()),
            rules: Vec::new(),
        });
    }
}

fn holders(pointer: &str) -> impl Iterator<Item = &str> {
    pointer
        .match_indices('/')
        .skip(1)
        .map(|(at, _)| &pointer[..at])
}

/// Whether a pointer is that of a field or a rule as a whole.
fn is_whole(pointer: &str) -> bool {
    let above = pointer.rsplit('/').nth(1);
    matches!(above, Some("fields" | "rules" | "migrations"))
        || pointer.ends_with("/items")
        || pointer.ends_with("/values")
}

/// The message about a field or a rule that came or went.
fn whole(what: What, pointer: &str, parts: &BTreeMap<String, Json>) -> String {
    let texts = ["type", "required", "check"]
        .into_iter()
        .filter_map(|part| parts.get(&format!("{pointer}/{part}")));
    let said: Vec<&str> = texts.filter_map(Json::as_str).collect();
    let verb = if what == What::Removed {
        "removed"
    } else {
        "added"
    };
    let said = match said.as_slice() {
        [] => String::new(),
        said => format!(" ({})", said.join(", ")),
    };
    format!("{} {verb}{said}", words(pointer))
}

fn is_documentation(pointer: &str) -> bool {
    pointer.ends_with("/description") || pointer == "/status" || pointer.starts_with("/approvers")
}

fn message(what: What, pointer: &str, was: Option<&Json>, is: Option<&Json>) -> String {
    let name = words(pointer);
    let value = |json: Option<&Json>| json.map_or_else(String::new, short);
    match what {
        What::Added => format!("{name} added: {}", value(is)),
        What::Removed => format!("{name} removed: it was {}", value(was)),
        What::Changed if pointer.ends_with("/description") => format!("{name} reworded"),
        What::Changed => format!("{name} changed from {} to {}", value(was), value(is)),
    }
}

/// A pointer as people say it: `field `address.street`, limits maxLength`.
fn words(pointer: &str) -> String {
    let mut names = Vec::new();
    let mut rest: Vec<&str> = Vec::new();
    let mut parts = pointer.split('/').skip(1);
    while let Some(part) = parts.next() {
        match part {
            "fields" if rest.is_empty() => names.extend(parts.next()),
            "items" | "values" if rest.is_empty() && !names.is_empty() => names.push(part),
            part => rest.push(part),
        }
    }
    match (names.is_empty(), rest.as_slice()) {
        (true, [kind @ ("rules" | "levels" | "migrations"), name @ ..]) => {
            format!("{} `{}`", kind.trim_end_matches('s'), name.join(" "))
        }
        (true, rest) => rest.join(" "),
        (false, []) => format!("field `{}`", names.join(".")),
        (false, rest) => format!("field `{}`, {}", names.join("."), rest.join(" ")),
    }
}

fn short(json: &Json) -> String {
    const SHOWN: usize = 80;
    let text = match json {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("`{short}`")
}
