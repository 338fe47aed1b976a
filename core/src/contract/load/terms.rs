//! What people agreed on that no record shows, and what applies to the entity as a whole.

use jiff::civil::Date;

use super::field::{custom, text};
use super::findings::Findings;
use super::odcs::Settings;
use super::reading::Reading;
use super::words::{COMPATIBILITIES, EXTRAS, mapping, system, word};
use super::yaml::{Content, Node, shorten};
use crate::contract::{Deprecation, Extra, Field, Level, Terms};

/// Reads the terms.
pub(super) fn terms(setting: &Settings<'_>, fields: &[Field], reading: &mut Reading<'_>) -> Terms {
    let compatibility = setting.get("lockstep.compatibility", reading);
    let consumers = setting.get("lockstep.consumers", reading);
    let reserved = setting.get("lockstep.reserved", reading);
    let matching = setting.get("lockstep.match", reading);
    let survivorship = setting.get("lockstep.survivorship", reading);
    reading.mark_node("/status", setting.root.get("status"));
    let findings = &mut reading.findings;
    let mode = compatibility.and_then(|node| {
        let what = "`lockstep.compatibility`";
        word(node, what, COMPATIBILITIES, "LS-C014", findings)
    });
    Terms {
        status: text(setting.root, "status"),
        compatibility: mode.unwrap_or_default(),
        consumers: consumers.map_or_else(Vec::new, |node| systems(node, findings)),
        reserved: reserved.map_or_else(Vec::new, |node| names(node, fields, findings)),
        deprecation: entity_deprecation(setting, reading),
        matching: matching.map(Node::to_json),
        survivorship: survivorship.map(Node::to_json),
        approvers: approvers(setting.root, reading),
        levels: levels(setting.root, reading),
    }
}

/// Reads what becomes of fields that the contract does not know.
pub(super) fn extra(setting: &Settings<'_>, reading: &mut Reading<'_>) -> Extra {
    let node = setting.get("lockstep.extra", reading);
    let findings = &mut reading.findings;
    node.and_then(|node| word(node, "`lockstep.extra`", EXTRAS, "LS-C014", findings))
        .unwrap_or_default()
}

fn systems(node: &Node, findings: &mut Findings) -> Vec<String> {
    if !matches!(node.content, Content::List(_)) {
        findings.error(
            "LS-C004",
            node.at,
            format!(
                "`lockstep.consumers` must be a list of systems, not {}",
                node.describe()
            ),
            "write `value: [billing, warehouse]`",
        );
    }
    let items = node.items().iter();
    let mut systems: Vec<String> = Vec::new();
    for system in items.filter_map(|item| system(item, "a consumer", findings)) {
        if !systems.contains(&system) {
            systems.push(system);
        }
    }
    systems
}

/// The names that may not come back.
fn names(node: &Node, fields: &[Field], findings: &mut Findings) -> Vec<String> {
    if !matches!(node.content, Content::List(_)) {
        findings.error(
            "LS-C046",
            node.at,
            format!(
                "`lockstep.reserved` must be a list of names, not {}",
                node.describe()
            ),
            "write `value: [old_name]`",
        );
    }
    let mut names: Vec<String> = Vec::new();
    for item in node.items() {
        let Some(name) = item.text() else {
            findings.error(
                "LS-C046",
                item.at,
                format!("a reserved name must be a text, not {}", item.describe()),
                "write the name of a property that was removed",
            );
            continue;
        };
        if fields.iter().any(|field| field.name == name) {
            findings.error(
                "LS-C046",
                item.at,
                format!("the name `{}` is reserved, and a property has it", shorten(name)),
                "name the property otherwise: readers of older versions know the old one under this name",
            );
        }
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

fn entity_deprecation(setting: &Settings<'_>, reading: &mut Reading<'_>) -> Option<Deprecation> {
    // Both places are looked at, so that what stands at the wrong one is reported.
    setting.get("lockstep.deprecation", reading);
    let (own, root) = (setting.object, setting.root);
    let findings = &mut reading.findings;
    deprecation(own, findings)
        .or_else(|| custom(root, "lockstep.deprecation").and_then(|_| deprecation(root, findings)))
}

/// Reads since when a property or entity should not be used.
pub(super) fn deprecation(node: &Node, findings: &mut Findings) -> Option<Deprecation> {
    let deprecated = node.get("deprecated").and_then(Node::flag) == Some(true);
    let none = Deprecation {
        since: None,
        sunset: None,
        replacement: None,
    };
    let Some(written) = custom(node, "lockstep.deprecation") else {
        return deprecated.then_some(none);
    };
    const KEYS: [&str; 3] = ["replacement", "since", "sunset"];
    if !mapping(
        written,
        "`lockstep.deprecation`",
        &KEYS,
        "LS-C045",
        findings,
    ) {
        return None;
    }
    let mut fault = |node: &Node, message: String, help: &str| {
        findings.error("LS-C045", node.at, message, help);
    };
    let since = written.get("since").and_then(|node| {
        let read = node
            .text()
            .and_then(|text| semver::Version::parse(text).ok());
        if read.is_none() {
            fault(
                node,
                format!("{} is not a version", node.describe()),
                "write the version that said so first, such as `1.4.0`",
            );
        }
        read
    });
    let sunset = written.get("sunset").and_then(|node| {
        let read = node.text().and_then(date);
        if read.is_none() {
            fault(
                node,
                format!("{} is not a day", node.describe()),
                "write the day from which it may be gone, such as `2026-12-31`",
            );
        }
        read
    });
    let replacement = written.get("replacement").and_then(|node| {
        if node.text().is_none() {
            fault(
                node,
                format!("{} is not a text", node.describe()),
                "say what to use instead, such as the name of another property",
            );
        }
        node.text().map(str::to_owned)
    });
    Some(Deprecation {
        since,
        sunset,
        replacement,
    })
}

/// A day in its one written form.
fn date(text: &str) -> Option<Date> {
    let date: Date = text.parse().ok()?;
    (date.to_string() == text).then_some(date)
}

/// Who may approve, by role: the members of the team who have not left it.
fn approvers(
    root: &Node,
    reading: &mut Reading<'_>,
) -> std::collections::BTreeMap<String, Vec<String>> {
    let team = root.get("team");
    let members = match team.map(|team| &team.content) {
        Some(Content::List(members)) => members,
        Some(Content::Map(_)) => team
            .and_then(|team| team.get("members"))
            .map_or(&[][..], Node::items),
        _ => return std::collections::BTreeMap::new(),
    };
    let mut approvers = std::collections::BTreeMap::new();
    for member in members {
        let (Some(role), Some(name)) = (text(member, "role"), text(member, "username")) else {
            continue;
        };
        if member.get("dateOut").and_then(Node::text).is_some() {
            continue;
        }
        reading.mark_node(format!("/approvers/{role}"), member.get("role"));
        let people: &mut Vec<String> = approvers.entry(role).or_default();
        if !people.contains(&name) {
            people.push(name);
        }
    }
    approvers
}

/// The promised service levels.
fn levels(root: &Node, reading: &mut Reading<'_>) -> Vec<Level> {
    let mut levels = Vec::new();
    for item in root.get("slaProperties").map_or(&[][..], Node::items) {
        let Some(property) = text(item, "property") else {
            continue;
        };
        let at = item.get("value").unwrap_or(item).at;
        reading.mark(format!("/levels/{property}"), at);
        levels.push(Level {
            property,
            element: text(item, "element"),
            value: item
                .get("value")
                .map_or(serde_json::Value::Null, Node::to_json),
            unit: text(item, "unit"),
        });
    }
    levels
}
