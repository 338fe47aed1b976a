//! What stands at the keys that a contract is read from, as it is written.
//!
//! A contract holds what a key means and not how it is spelt; whoever tells two texts apart asks here whether a key changed all the same.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::remarks::{OBJECT, PROPERTY, ROOT, items};
use super::yaml::Node;

/// Values by pointer: `/status`, `/schema/name`, `/fields/email/required`, `/fields/email/logicalTypeOptions.maxLength`, `/fields/email/lockstep.enum`; under `properties` the names in their order, and under `/` everything.
pub(super) type Written = BTreeMap<String, Json>;

/// Keys whose value stands under pointers of its own.
const APART: &[&str] = &[
    "customProperties",
    "items",
    "logicalTypeOptions",
    "properties",
    "schema",
];

/// Every key of a document and one of its objects that the contract is read from.
pub(super) fn written(root: &Node, object: &Node) -> Written {
    let mut all = Written::new();
    keys(&mut all, "", root, ROOT);
    keys(&mut all, "/schema", object, OBJECT);
    members(&mut all, "/schema", "", object);
    let beside = root.entries().iter().filter(|entry| entry.key != "schema");
    let beside: Json = beside
        .map(|entry| (entry.key.clone(), entry.value.to_json()))
        .collect();
    all.insert("/".to_owned(), Json::Array(vec![beside, object.to_json()]));
    all
}

fn keys(all: &mut Written, at: &str, node: &Node, known: &[&str]) {
    for entry in node.entries() {
        let key = entry.key.as_str();
        if known.contains(&key) && !APART.contains(&key) {
            all.insert(format!("{at}/{key}"), entry.value.to_json());
        }
    }
    for option in node
        .get("logicalTypeOptions")
        .map_or(&[][..], Node::entries)
    {
        let pointer = format!("{at}/logicalTypeOptions.{}", option.key);
        all.insert(pointer, option.value.to_json());
    }
    for property in items(node, "customProperties") {
        let name = property.get("property").and_then(Node::text);
        if let Some(name) = name.filter(|name| name.starts_with("lockstep.")) {
            all.insert(format!("{at}/{name}"), property.to_json());
        }
    }
}

/// The properties of an object, whose pointer as a field is `fields`; the depth of texts bounds this.
fn members(all: &mut Written, at: &str, fields: &str, object: &Node) {
    let properties = items(object, "properties");
    let name = |property: &Node| {
        let name = property.get("name").and_then(Node::text);
        name.unwrap_or_default().to_owned()
    };
    if !properties.is_empty() {
        let names: Vec<String> = properties.iter().map(name).collect();
        all.insert(format!("{at}/properties"), names.into());
    }
    for property in properties {
        inside(
            all,
            &format!("{fields}/fields/{}", name(property)),
            property,
        );
    }
}

fn inside(all: &mut Written, at: &str, property: &Node) {
    keys(all, at, property, PROPERTY);
    members(all, at, at, property);
    if let Some(items) = property.get("items") {
        inside(all, &format!("{at}/items"), items);
    }
    if let Some(map) = property.get("map") {
        all.remove(&format!("{at}/map"));
        if let Some(key) = map.get("key") {
            all.insert(format!("{at}/map.key"), key.to_json());
        }
        if let Some(values) = map.get("value") {
            inside(all, &format!("{at}/values"), values);
        }
    }
}
