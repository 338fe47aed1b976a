//! Types that contracts share by reference: `lockstep.type: types/address`.
//!
//! A shared type is an ODCS file of its own whose one schema object gives the members of a document, or whose one property gives a single value such as an amount of money.
//! Reading a property that names one puts the type's keys in the property's place, so that everything after this module sees a contract without references.

use std::rc::Rc;

use super::field::custom;
use super::grammar;
use super::reading::Reading;
use super::yaml::{Content, Entry, Node, Span, parse, shorten};

/// Most shared types inside each other.
const CHAIN_MAX: usize = 8;
/// Most nodes of shared types, counted at each use.
const COPIED_MAX: usize = 1_000_000;
/// What a type says, and what a property that names one leaves to it.
const OF_THE_TYPE: [&str; 5] = ["enum", "items", "logicalTypeOptions", "map", "properties"];
/// What a type may say with Lockstep's own properties.
const CUSTOM_OF_THE_TYPE: [&str; 5] = [
    "lockstep.enum",
    "lockstep.enumFallback",
    "lockstep.enumOpen",
    "lockstep.extra",
    "lockstep.type",
];

/// What a property is once its shared types are read.
pub(super) enum Resolved {
    /// It names none.
    Own,
    /// The property with the type's keys.
    Shared(Node),
    /// The type cannot be used, which was reported.
    Broken,
}

/// Replaces the shared types that a property names; their references stay on the reading's chain for what stands inside.
pub(super) fn resolve(node: &Node, reading: &mut Reading<'_>) -> Resolved {
    let mut resolved: Option<Node> = None;
    loop {
        let current = resolved.as_ref().unwrap_or(node);
        let Some(written) = custom(current, "lockstep.type") else {
            return resolved.map_or(Resolved::Own, Resolved::Shared);
        };
        let Some(reference) = reference(written, reading) else {
            return Resolved::Broken;
        };
        let Some(object) = shared(&reference, written.at, reading) else {
            return Resolved::Broken;
        };
        reading.chain.push(reference);
        reading.copied += size(&object);
        if reading.copied > COPIED_MAX {
            reading.findings.error(
                "LS-C039",
                written.at,
                format!(
                    "the shared types have more than {COPIED_MAX} parts once they are written out"
                ),
                "use fewer or smaller shared types",
            );
            return Resolved::Broken;
        }
        let Some(merged) = merge(current, &object, reading) else {
            return Resolved::Broken;
        };
        resolved = Some(merged);
    }
}

/// The reference, if it can name a shared type and does not lead back to where it came from.
fn reference(written: &Node, reading: &mut Reading<'_>) -> Option<String> {
    let segment = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    let text = written.text().unwrap_or_default();
    let plain = text.starts_with("types/") && text.len() <= 200 && text.split('/').all(segment);
    if !plain {
        reading.findings.error(
            "LS-C038",
            written.at,
            format!("{} is not the name of a shared type", written.describe()),
            "write `types/<name>` for the file `types/<name>.odcs.yaml` in the folder of the contracts; other places are not read",
        );
        return None;
    }
    let again = reading.chain.iter().position(|seen| seen == text);
    let chain = |from: usize| {
        let names: Vec<&str> = reading.chain[from..].iter().map(String::as_str).collect();
        [&names[..], &[text]].concat().join(" → ")
    };
    let (message, help) = if let Some(from) = again {
        (
            format!("the shared types lead back to themselves: {}", chain(from)),
            "take one of the references out",
        )
    } else if reading.chain.len() >= CHAIN_MAX {
        (
            format!(
                "shared types stand inside each other more than {CHAIN_MAX} deep: {}",
                chain(0)
            ),
            "take a level out",
        )
    } else {
        return Some(text.to_owned());
    };
    reading.findings.error("LS-C039", written.at, message, help);
    None
}

/// The schema object of a shared type, read once.
fn shared(reference: &str, at: Span, reading: &mut Reading<'_>) -> Option<Rc<Node>> {
    if let Some(known) = reading.types.get(reference) {
        return known.clone();
    }
    let object = read(reference, at, reading).map(Rc::new);
    reading.types.insert(reference.to_owned(), object.clone());
    object
}

fn read(reference: &str, at: Span, reading: &mut Reading<'_>) -> Option<Node> {
    let findings = &mut reading.findings;
    let (text, file) = match reading.library.text(reference) {
        Ok(found) => found,
        Err(why) => {
            findings.error(
                "LS-C038",
                at,
                format!("the shared type `{reference}` cannot be read: {why}"),
                format!("write it as `{reference}.odcs.yaml` in the folder of the contracts"),
            );
            return None;
        }
    };
    let source = findings.add(&file, &text);
    let root = parse(&text, source, findings)?;
    let before = findings.errors();
    grammar::walk(&root, &grammar::ROOT, findings);
    if findings.errors() > before {
        return None;
    }
    let schema = root.get("schema").map_or(&[][..], Node::items);
    let [object] = schema else {
        findings.error(
            "LS-C038",
            root.get("schema").map_or(root.at, |node| node.at),
            format!("a shared type is one schema object, not {}", schema.len()),
            "write one file for each shared type",
        );
        return None;
    };
    Some(object.clone())
}

/// The number of nodes; the text's own limit on depth bounds the recursion.
fn size(node: &Node) -> usize {
    let below: usize = match &node.content {
        Content::List(items) => items.iter().map(size).sum(),
        Content::Map(entries) => entries.iter().map(|entry| size(&entry.value)).sum(),
        _ => 0,
    };
    1 + below
}

/// The property with what the type says; what both say is a contradiction.
fn merge(own: &Node, object: &Node, reading: &mut Reading<'_>) -> Option<Node> {
    let logical = own.get("logicalType");
    let word = logical.and_then(Node::text);
    let base = match word {
        Some("object") | None => object,
        Some(_) => scalar(own, object, reading)?,
    };
    let mut entries: Vec<Entry> = Vec::new();
    for entry in own.entries() {
        if OF_THE_TYPE.contains(&entry.key.as_str()) {
            reading.findings.error(
                "LS-C040",
                entry.key_at,
                format!(
                    "`{}` stands beside a shared type, which says it already",
                    entry.key
                ),
                "remove it here, or write the whole type here and remove `lockstep.type`",
            );
            return None;
        }
        let replaced = entry.key == "customProperties"
            || entry.key == "physicalType" && base.get("physicalType").is_some();
        if !replaced {
            entries.push(entry.clone());
        }
    }
    let has = |entries: &[Entry], key: &str| entries.iter().any(|entry| entry.key == key);
    if word.is_none() {
        entries.push(object_type(own.at));
    }
    for entry in base.entries() {
        let taken = OF_THE_TYPE.contains(&entry.key.as_str())
            || matches!(
                entry.key.as_str(),
                "physicalType" | "description" | "classification"
            );
        if taken && !has(&entries, &entry.key) {
            entries.push(entry.clone());
        }
    }
    // What a table of the standard calls the object itself says nothing about a value.
    if std::ptr::eq(base, object) {
        entries.retain(|entry| entry.key != "physicalType");
    }
    entries.push(customs(own, base));
    Some(Node {
        at: own.at,
        content: Content::Map(entries),
    })
}

/// The one property of a type that gives a single value.
fn scalar<'n>(own: &Node, object: &'n Node, reading: &mut Reading<'_>) -> Option<&'n Node> {
    let wanted = own.get("logicalType")?;
    let findings = &mut reading.findings;
    let properties = object.get("properties").map_or(&[][..], Node::items);
    let [property] = properties else {
        findings.error(
            "LS-C040",
            wanted.at,
            format!(
                "the shared type has {} properties, so it is no {}",
                properties.len(),
                wanted.describe()
            ),
            "write `logicalType: object` for a type with members; a type for a single value has one property",
        );
        return None;
    };
    let given = property.get("logicalType").and_then(Node::text);
    if given != wanted.text() {
        findings.error(
            "LS-C040",
            wanted.at,
            format!(
                "the shared type is of the logical type `{}`, not {}",
                shorten(given.unwrap_or("none")),
                wanted.describe()
            ),
            "write the logical type of the shared type here",
        );
        return None;
    }
    Some(property)
}

fn object_type(at: Span) -> Entry {
    Entry {
        key: "logicalType".to_owned(),
        key_at: at,
        value: Node {
            at,
            content: Content::Text("object".to_owned()),
        },
    }
}

/// The property's own custom properties but the reference, then what the type says with its.
fn customs(own: &Node, base: &Node) -> Entry {
    let listed = |node: &Node| {
        let list = node.get("customProperties").map_or(&[][..], Node::items);
        list.to_vec()
    };
    let name = |item: &Node| item.get("property").and_then(Node::text).map(str::to_owned);
    let mut items = listed(own);
    items.retain(|item| name(item).as_deref() != Some("lockstep.type"));
    let said: Vec<Option<String>> = items.iter().map(name).collect();
    items.extend(listed(base).into_iter().filter(|item| {
        let name = name(item);
        let taken = name
            .as_deref()
            .is_some_and(|name| CUSTOM_OF_THE_TYPE.contains(&name));
        taken && !said.contains(&name)
    }));
    Entry {
        key: "customProperties".to_owned(),
        key_at: own.at,
        value: Node {
            at: own.at,
            content: Content::List(items),
        },
    }
}
