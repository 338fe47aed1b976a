//! What stands in a contract and only people read: tags, support, price, servers, roles, names elsewhere, words.
//!
//! Lockstep makes nothing of it but the difference between two versions, so it is kept as JSON under pointers and is no part of a contract.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::odcs::KIND;
use super::yaml::Node;

/// What only people read, by the pointer of the part it stands at.
pub(super) type Remarks = BTreeMap<String, Json>;

/// Keys of the root that the contract itself holds, or that say nothing of it.
pub(super) const ROOT: &[&str] = &[
    "apiVersion",
    "customProperties",
    "description",
    "id",
    "kind",
    "schema",
    "slaProperties",
    "status",
    "team",
    "version",
];
pub(super) const OBJECT: &[&str] = &[
    "customProperties",
    "deprecated",
    "description",
    "logicalType",
    "name",
    "properties",
    "quality",
];
pub(super) const PROPERTY: &[&str] = &[
    "classification",
    "customProperties",
    "deprecated",
    "description",
    "enum",
    "items",
    "logicalType",
    "logicalTypeOptions",
    "map",
    "name",
    "physicalType",
    "primaryKey",
    "primaryKeyPosition",
    "properties",
    "quality",
    "relationships",
    "required",
    "unique",
];
/// Keys of a check that its rule holds.
const RULE: &[&str] = &[
    "arguments",
    "customProperties",
    "engine",
    "id",
    "implementation",
    "metric",
    "mustBe",
    "mustBeBetween",
    "mustBeGreaterOrEqualTo",
    "mustBeGreaterThan",
    "mustBeLessOrEqualTo",
    "mustBeLessThan",
    "mustNotBe",
    "mustNotBeBetween",
    "name",
    "rule",
    "severity",
    "type",
    "unit",
    "validValues",
];
const LEVEL: &[&str] = &["element", "property", "unit", "value"];
const MEMBER: &[&str] = &["role", "username"];
/// Lists of the root whose entries have names.
const NAMED: [(&str, &str); 3] = [
    ("roles", "role"),
    ("servers", "server"),
    ("support", "channel"),
];

/// Everything of a document and one of its objects that only people read.
pub(super) fn remarks(root: &Node, object: &Node) -> Remarks {
    let mut all = Collected::default();
    if root.get("kind").and_then(Node::text) != Some(KIND) {
        return all.remarks;
    }
    let lists: Vec<&str> = NAMED.iter().map(|(list, _)| *list).collect();
    all.rest("", root, &[ROOT, &lists].concat());
    for (list, name) in NAMED {
        for (i, item) in items(root, list).iter().enumerate() {
            let named = item.get(name).and_then(Node::text).map(str::to_owned);
            let named = named.unwrap_or_else(|| i.to_string());
            all.put(format!("/{list}/{named}"), item.to_json());
        }
    }
    // The purpose is the contract's description where its object has none.
    if let Some(description) = root.get("description") {
        all.rest("/description", description, &["purpose"]);
    }
    if let (Some(purpose), Some(_)) = (
        root.get("description")
            .and_then(|words| words.get("purpose")),
        object.get("description"),
    ) {
        all.put("/description/purpose".to_owned(), purpose.to_json());
    }
    for level in items(root, "slaProperties") {
        let name = level
            .get("property")
            .and_then(Node::text)
            .unwrap_or_default();
        all.rest(&format!("/levels/{name}"), level, LEVEL);
    }
    all.team(root);
    all.rest("", object, OBJECT);
    all.checks(object, "");
    for property in items(object, "properties") {
        all.property("", property);
    }
    all.remarks
}

#[derive(Default)]
struct Collected {
    remarks: Remarks,
}

impl Collected {
    fn put(&mut self, pointer: String, value: Json) {
        // A tag at the root and one at the object are two remarks.
        match self.remarks.entry(pointer) {
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(value);
            }
            std::collections::btree_map::Entry::Occupied(mut taken) => {
                let both = Json::Array(vec![taken.get().clone(), value]);
                taken.insert(both);
            }
        }
    }

    /// What stands at a mapping beside these keys, and other vendors' properties.
    fn rest(&mut self, at: &str, node: &Node, known: &[&str]) {
        for entry in node.entries() {
            let is_known = known.contains(&entry.key.as_str());
            if !is_known {
                self.put(format!("{at}/{}", entry.key), entry.value.to_json());
            }
        }
        for property in items(node, "customProperties") {
            let name = property
                .get("property")
                .and_then(Node::text)
                .unwrap_or_default();
            if !name.starts_with("lockstep.") {
                self.put(format!("{at}/customProperties/{name}"), property.to_json());
            }
        }
    }

    /// Who is in the team, beside the roles in which they approve.
    fn team(&mut self, root: &Node) {
        let Some(team) = root.get("team") else { return };
        self.rest("/team", team, &["members"]);
        let members = team.get("members").unwrap_or(team);
        for (i, member) in members.items().iter().enumerate() {
            let name = member.get("username").and_then(Node::text);
            let name = name.map_or_else(|| i.to_string(), str::to_owned);
            let approves = member.get("role").is_some() && member.get("username").is_some();
            let mut rest = Map::new();
            for entry in member.entries() {
                if !(approves && MEMBER.contains(&entry.key.as_str())) {
                    rest.insert(entry.key.clone(), entry.value.to_json());
                }
            }
            if !rest.is_empty() {
                self.put(format!("/team/{name}"), Json::Object(rest));
            }
        }
    }

    fn checks(&mut self, node: &Node, at: &str) {
        for (i, check) in items(node, "quality").iter().enumerate() {
            let name = check.get("name").or(check.get("id")).and_then(Node::text);
            let words = check.get("type").and_then(Node::text) == Some("text");
            match name {
                Some(name) if !words => self.rest(&format!("/rules/{name}"), check, RULE),
                Some(name) => self.put(format!("{at}/quality/{name}"), check.to_json()),
                None if words => self.put(format!("{at}/quality/{i}"), check.to_json()),
                None => self.rest(&format!("{at}/quality/{i}"), check, RULE),
            }
        }
    }

    fn property(&mut self, at: &str, property: &Node) {
        let name = property
            .get("name")
            .and_then(Node::text)
            .unwrap_or_default();
        let at = format!("{at}/fields/{name}");
        self.inside(&at, property);
    }

    /// What stands at a property, and at the parts of it; the depth of texts bounds this.
    fn inside(&mut self, at: &str, property: &Node) {
        self.rest(at, property, PROPERTY);
        self.checks(property, at);
        for allowed in items(property, "enum") {
            let value = allowed.get("value").map(Node::to_json);
            let value = match value {
                Some(Json::String(text)) => text,
                Some(other) => other.to_string(),
                None => continue,
            };
            self.rest(&format!("{at}/enum/{value}"), allowed, &["value"]);
        }
        for (i, relationship) in items(property, "relationships").iter().enumerate() {
            // The first one is the field's reference.
            let known: &[&str] = if i == 0 { &["to"] } else { &[] };
            let known = [known, &["customProperties"]].concat();
            self.rest(&format!("{at}/relationships/{i}"), relationship, &known);
        }
        for inner in items(property, "properties") {
            self.property(at, inner);
        }
        if let Some(items) = property.get("items") {
            self.inside(&format!("{at}/items"), items);
        }
        if let Some(values) = property.get("map").and_then(|map| map.get("value")) {
            self.inside(&format!("{at}/values"), values);
        }
    }
}

pub(super) fn items<'n>(node: &'n Node, key: &str) -> &'n [Node] {
    node.get(key).map_or(&[][..], Node::items)
}
