//! Keys whose value changed though no part of the contract did: spellings of one meaning, and what Lockstep makes nothing of.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::{Change, Group, What, message};

/// The pointer of a whole text.
const WHOLE: &str = "/";

/// That two texts differ, where nothing else tells it: entries that have names stand in another order.
pub(super) fn rearranged(
    was: &BTreeMap<String, Json>,
    is: &BTreeMap<String, Json>,
) -> Option<Change> {
    (was.get(WHOLE) != is.get(WHOLE)).then(|| Change {
        what: What::Changed,
        group: Group::Documentation,
        pointer: WHOLE.to_owned(),
        message: "entries stand in another order, and nothing else changed".to_owned(),
        old: None,
        new: None,
        rules: Vec::new(),
    })
}

/// The keys that differ between two texts and that no change tells; `is_both` says of a field whether both versions have it.
pub(super) fn unsaid(
    was: &BTreeMap<String, Json>,
    is: &BTreeMap<String, Json>,
    changes: &[Change],
    is_both: &dyn Fn(&str) -> bool,
) -> Vec<Change> {
    let pointers: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let mut found = Vec::new();
    for pointer in pointers {
        let (old, new) = (was.get(pointer), is.get(pointer));
        let Some((part, key)) = pointer.rsplit_once('/') else {
            continue;
        };
        if old == new || pointer == WHOLE || (part.starts_with("/fields/") && !is_both(part)) {
            continue;
        }
        if key == "properties" {
            found.extend(reordered(pointer, part, old, new));
            continue;
        }
        let said = sayings(part, key);
        let is_said = |change: &Change| said.iter().any(|said| is_at(&change.pointer, said));
        if changes.iter().any(is_said) {
            continue;
        }
        let what = match (old, new) {
            (None, _) => What::Added,
            (_, None) => What::Removed,
            _ => What::Changed,
        };
        found.push(Change {
            what,
            group: Group::Documentation,
            pointer: pointer.clone(),
            message: message(what, pointer, old, new),
            old: old.cloned(),
            new: new.cloned(),
            rules: Vec::new(),
        });
    }
    found
}

/// Whether a pointer is that of a part, or of something inside it.
fn is_at(pointer: &str, part: &str) -> bool {
    let rest = pointer.strip_prefix(part);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The parts of a contract that a key says something of.
fn sayings(part: &str, key: &str) -> Vec<String> {
    let own: &[&str] = match key {
        "classification" => &["class"],
        "deprecated" => &["deprecation"],
        "enum" => &["allowed", "enum"],
        "lockstep.enum" | "lockstep.enumOpen" | "lockstep.enumFallback" => &["allowed"],
        "lockstep.nullable" => &["required"],
        "lockstep.privacy" => &["personal", "handling"],
        "logicalType" | "physicalType" => &["type", "limits"],
        "logicalTypeOptions.dimensions" => &["type", "limits"],
        "logicalTypeOptions.required" => &["fields"],
        "quality" => &["quality"],
        "relationships" => &["reference", "relationships"],
        "slaProperties" => &["levels"],
        "team" => &["approvers", "team"],
        _ => &[],
    };
    // What the contract and its object say stands under one name.
    let part = if part == "/schema" { "" } else { part };
    let mut said: Vec<String> = own.iter().map(|own| format!("{part}/{own}")).collect();
    match key {
        "primaryKey" | "primaryKeyPosition" => {
            said.extend(["/key", "/laneKey"].map(str::to_owned));
        }
        "quality" | "relationships" | "slaProperties" => said.push("/rules".to_owned()),
        "name" if part.is_empty() => said.push("/entity".to_owned()),
        // A shared type says everything about what stands at it.
        "lockstep.type" => said.push(part.to_owned()),
        _ => {
            if let Some(option) = key.strip_prefix("logicalTypeOptions.") {
                said.push(format!("{part}/limits/{option}"));
            }
            let name = key.strip_prefix("lockstep.").unwrap_or(key);
            said.push(format!("{part}/{name}"));
        }
    }
    said
}

/// That properties which both versions have stand in another order.
fn reordered(pointer: &str, part: &str, old: Option<&Json>, new: Option<&Json>) -> Option<Change> {
    let (old, new) = (old?.as_array()?, new?.as_array()?);
    let kept: Vec<&Json> = old.iter().filter(|name| new.contains(name)).collect();
    let now: Vec<&Json> = new.iter().filter(|name| old.contains(name)).collect();
    (kept != now).then(|| {
        let of = part
            .strip_prefix("/fields/")
            .map_or_else(String::new, |path| {
                format!(" of `{}`", path.replace("/fields/", ".").replace('/', "."))
            });
        Change {
            what: What::Changed,
            group: Group::Documentation,
            pointer: pointer.to_owned(),
            message: format!("the order of the fields{of} changed"),
            old: Some(old.clone().into()),
            new: Some(new.clone().into()),
            rules: Vec::new(),
        }
    })
}
