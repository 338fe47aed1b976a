//! What stands inside a document: named members, the items of a list, the values of a map.

use std::collections::HashSet;

use super::limits::{length, unfit};
use super::{Draft, Level, custom, field};
use crate::contract::load::reading::{DEPTH_MAX, Reading};
use crate::contract::load::words::{EXTRAS, word};
use crate::contract::load::yaml::{Content, Node, shorten};
use crate::contract::{Extra, Field, Inner, Limits};
use crate::value::{Type, Value};

/// Reads the inside of a document; `None` where the contract says nothing of it, so that any JSON may stand there.
pub(super) fn inner(node: &Node, pointer: &str, reading: &mut Reading<'_>) -> Option<Inner> {
    let logical = node.get("logicalType").and_then(Node::text);
    let extra = extra(node, logical, reading);
    options(node, logical, reading);
    if reading.depth >= DEPTH_MAX {
        reading.findings.error(
            "LS-C039",
            node.at,
            format!("documents stand inside documents more than {DEPTH_MAX} deep"),
            "make the inner ones entities of their own",
        );
        return None;
    }
    reading.depth += 1;
    let inner = match logical {
        Some("object") => object(node, pointer, extra, reading),
        Some("array") => list(node, pointer, reading),
        Some("map") => map(node, pointer, reading),
        Some("vector") => vector(node, reading),
        _ => None,
    };
    reading.depth -= 1;
    inner
}

fn extra(node: &Node, logical: Option<&str>, reading: &mut Reading<'_>) -> Extra {
    let Some(written) = custom(node, "lockstep.extra") else {
        return Extra::Reject;
    };
    let findings = &mut reading.findings;
    if logical != Some("object") || node.get("properties").is_none() {
        findings.error(
            "LS-C013",
            written.at,
            "`lockstep.extra` stands on a property without members",
            "list the members under `properties:`, or remove `lockstep.extra`",
        );
    }
    word(written, "`lockstep.extra`", EXTRAS, "LS-C014", findings).unwrap_or_default()
}

/// Refuses what the type of document has no such option for.
fn options(node: &Node, logical: Option<&str>, reading: &mut Reading<'_>) {
    let Some(options) = node.get("logicalTypeOptions") else {
        return;
    };
    let fitting: &[&str] = match logical {
        Some("object") => &["minProperties", "maxProperties", "required"],
        Some("array") => &["minItems", "maxItems", "uniqueItems"],
        Some("map") => &["minProperties", "maxProperties"],
        Some("vector") => &[
            "dimensions",
            "distanceMetric",
            "elementType",
            "embeddingModel",
            "embeddingModelVersion",
            "normalized",
        ],
        // Without a logical type nothing is known to be wrong.
        _ => return,
    };
    for entry in options.entries() {
        let known = crate::contract::load::grammar::is_option(&entry.key);
        if known && !fitting.contains(&entry.key.as_str()) {
            unfit(&entry.key, &entry.value, Type::Json, &mut reading.findings);
        }
    }
}

fn object(node: &Node, pointer: &str, extra: Extra, reading: &mut Reading<'_>) -> Option<Inner> {
    let options = node.get("logicalTypeOptions");
    let members = node.get("properties").map_or(&[][..], Node::items);
    let (least, most) = counts(options, ["minProperties", "maxProperties"], reading);
    if members.is_empty() {
        if let Some(required) = options.and_then(|options| options.get("required")) {
            reading.findings.warning(
                "LS-C035",
                required.at,
                "`required` without members is not checked",
                "list the members under `properties:`",
            );
        }
        return (least.is_some() || most.is_some()).then(|| Inner::Map {
            values: Box::new(anything("values")),
            least,
            most,
        });
    }
    for key in ["minProperties", "maxProperties"] {
        if let Some(option) = options.and_then(|options| options.get(key)) {
            reading.findings.warning(
                "LS-C035",
                option.at,
                format!("`{key}` beside named members is not checked"),
                "say with `required` which members there must be",
            );
        }
    }
    let demanded = demanded(options, members, reading);
    let mut names = HashSet::new();
    let mut fields = Vec::with_capacity(members.len());
    for member in members {
        let name = member.get("name");
        let text = name.and_then(Node::text);
        if let (Some(name), Some(text)) = (name, text)
            && !names.insert(text)
        {
            reading.findings.error(
                "LS-C011",
                name.at,
                format!("there are two properties `{}`", shorten(text)),
                "rename one of them",
            );
            continue;
        }
        let demanded = text.is_some_and(|text| demanded.contains(&text));
        let draft = field(member, Level::Member, pointer, demanded, reading);
        fields.extend(draft.map(plain));
    }
    Some(Inner::Object { fields, extra })
}

/// A member without what only a field of the entity itself has.
fn plain(draft: Draft) -> Field {
    draft.field
}

/// The members that the object's options name as required.
fn demanded<'n>(
    options: Option<&'n Node>,
    members: &[Node],
    reading: &mut Reading<'_>,
) -> Vec<&'n str> {
    let required = options.and_then(|options| options.get("required"));
    let mut names = Vec::new();
    for item in required.map_or(&[][..], Node::items) {
        let Some(name) = item.text() else { continue };
        let known = |member: &&Node| member.get("name").and_then(Node::text) == Some(name);
        if members.iter().any(|member| known(&member)) {
            names.push(name);
        } else {
            reading.findings.error(
                "LS-C041",
                item.at,
                format!("there is no property `{}` to require", shorten(name)),
                "name members of the object",
            );
        }
    }
    names
}

fn list(node: &Node, pointer: &str, reading: &mut Reading<'_>) -> Option<Inner> {
    let options = node.get("logicalTypeOptions");
    let (least, most) = counts(options, ["minItems", "maxItems"], reading);
    let unique = options.and_then(|options| options.get("uniqueItems"));
    let unique = unique.and_then(Node::flag).unwrap_or(false);
    let items = node
        .get("items")
        .filter(|items| !matches!(items.content, Content::Null));
    let items = match items {
        Some(items) => each(items, "items", pointer, reading)?,
        None if least.is_none() && most.is_none() && !unique => return None,
        None => anything("items"),
    };
    Some(Inner::List {
        items: Box::new(items),
        least,
        most,
        unique,
    })
}

fn map(node: &Node, pointer: &str, reading: &mut Reading<'_>) -> Option<Inner> {
    let options = node.get("logicalTypeOptions");
    let (least, most) = counts(options, ["minProperties", "maxProperties"], reading);
    let Some(map) = node.get("map") else {
        reading.findings.error(
            "LS-C006",
            node.at,
            "the map does not say what its keys and values are",
            "add `map: {key: {logicalType: string}, value: {…}}`, or use `logicalType: object`",
        );
        return None;
    };
    if let Some(key) = map.get("key") {
        let text = key.get("logicalType").and_then(Node::text);
        if text.is_some_and(|text| text != "string") {
            reading.findings.needed(
                "LS-C018",
                key.at,
                "the keys of a map in an event are texts",
                "write `key: {logicalType: string}`",
            );
        }
        for unchecked in ["logicalTypeOptions", "enum"] {
            if let Some(node) = key.get(unchecked) {
                reading.findings.warning(
                    "LS-C035",
                    node.at,
                    format!("`{unchecked}` of the keys of a map is not checked"),
                    "list the members under `properties:` of an object where their names matter",
                );
            }
        }
    }
    let values = each(map.get("value")?, "values", pointer, reading)?;
    Some(Inner::Map {
        values: Box::new(values),
        least,
        most,
    })
}

/// A list of exactly as many numbers.
fn vector(node: &Node, reading: &mut Reading<'_>) -> Option<Inner> {
    let options = node.get("logicalTypeOptions");
    let dimensions = options.and_then(|options| options.get("dimensions"));
    let length = dimensions.and_then(|node| length("dimensions", node, &mut reading.findings));
    let Some(length) = length.filter(|length| *length > 0) else {
        reading.findings.error(
            "LS-C006",
            dimensions.map_or(node.at, |node| node.at),
            "the vector does not say how many numbers it has",
            "add `logicalTypeOptions: {dimensions: 384}`",
        );
        return None;
    };
    let element = options.and_then(|options| options.get("elementType"));
    let bounds = match element.and_then(Node::text) {
        Some("int8") => Some((i8::MIN.into(), i8::MAX.into())),
        Some("uint8") => Some((0, u8::MAX.into())),
        Some("binary") => Some((0, 1)),
        _ => None,
    };
    let items = match bounds {
        None => Field::new("items", Type::Float),
        Some((least, greatest)) => Field {
            limits: Limits {
                minimum: Some(Value::Int(least)),
                maximum: Some(Value::Int(greatest)),
                ..Limits::default()
            },
            ..Field::new("items", Type::Int)
        },
    };
    Some(Inner::List {
        items: Box::new(items),
        least: Some(length),
        most: Some(length),
        unique: false,
    })
}

fn each(
    node: &Node,
    name: &'static str,
    pointer: &str,
    reading: &mut Reading<'_>,
) -> Option<Field> {
    field(node, Level::Each(name), pointer, false, reading).map(plain)
}

/// A part of which nothing is said.
fn anything(name: &str) -> Field {
    Field {
        required: false,
        nullable: true,
        ..Field::new(name, Type::Json)
    }
}

fn counts(
    options: Option<&Node>,
    keys: [&str; 2],
    reading: &mut Reading<'_>,
) -> (Option<u64>, Option<u64>) {
    let findings = &mut reading.findings;
    let [least_key, most_key] = keys;
    let at = |key: &str| options.and_then(|options| options.get(key));
    let least = at(least_key).and_then(|node| length(least_key, node, findings));
    let most = at(most_key).and_then(|node| length(most_key, node, findings));
    // Nothing has fewer than none.
    let least = least.filter(|least| *least > 0);
    if let (Some(least), Some(most), Some(node)) = (least, most, at(least_key))
        && least > most
    {
        findings.error(
            "LS-C021",
            node.at,
            format!("`{least_key}` {least} is above `{most_key}` {most}"),
            "mend one of them",
        );
    }
    (least, most)
}
