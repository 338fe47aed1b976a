//! The keys that ODCS v3 knows, as tables, and the one walk that holds a text against them.
//!
//! Owns what is generic: unknown keys, missing keys, nodes of the wrong kind, and where a `lockstep.*` key may stand.
//! Knows nothing of what the keys mean.

mod editor;
mod further;
mod standard;

use super::findings::Findings;
use super::yaml::{Content, Node, shorten};
use crate::diagnostic::suggestion;

/// Keys under the root or under the schema object.
pub(super) const ENTITY_KEYS: &[&str] = &[
    "lockstep.compatibility",
    "lockstep.consumers",
    "lockstep.deletes",
    "lockstep.deprecation",
    "lockstep.extra",
    "lockstep.laneKey",
    "lockstep.lanes",
    "lockstep.match",
    "lockstep.migrations",
    "lockstep.owner",
    "lockstep.reserved",
    "lockstep.survivorship",
    "lockstep.truth",
];
/// Keys under a property of the first level.
pub(super) const FIELD_KEYS: &[&str] = &[
    "lockstep.default",
    "lockstep.deprecation",
    "lockstep.enum",
    "lockstep.enumFallback",
    "lockstep.enumOpen",
    "lockstep.extra",
    "lockstep.nullable",
    "lockstep.outcome",
    "lockstep.owner",
    "lockstep.privacy",
    "lockstep.truth",
    "lockstep.type",
];
/// Keys under what stands inside a document.
pub(super) const NESTED_KEYS: &[&str] = &[
    "lockstep.default",
    "lockstep.deprecation",
    "lockstep.enum",
    "lockstep.enumFallback",
    "lockstep.enumOpen",
    "lockstep.extra",
    "lockstep.nullable",
    "lockstep.type",
];
/// Keys under a quality check, and under a relationship that is to be checked.
pub(super) const RULE_KEYS: &[&str] = &["lockstep.outcome"];
/// Where the keys stand, for messages.
const WHERE: [(&[&str], &str); 4] = [
    (ENTITY_KEYS, "the contract or its schema object"),
    (FIELD_KEYS, "a property of the first level"),
    (NESTED_KEYS, "a property inside a document"),
    (RULE_KEYS, "a quality check or a relationship"),
];

/// A kind of mapping in the standard.
pub(super) struct Block {
    /// What it is called in messages.
    name: &'static str,
    keys: &'static [(&'static str, Form)],
    required: &'static [&'static str],
    /// Whether keys that are not in the table may stand there.
    open: bool,
    /// What no table says.
    also: Option<fn(&Node, &mut Findings)>,
    /// The `lockstep.*` keys that may stand in its custom properties.
    lockstep: &'static [&'static str],
}

/// What may stand under a key.
enum Form {
    Any,
    Text,
    Flag,
    Whole,
    Number,
    Texts,
    /// A list of anything.
    Items,
    /// A text or a mapping.
    TextOrMap,
    /// A text, a number, a flag or nothing.
    Scalar,
    /// A reference to a property, or several.
    References,
    /// One of these texts.
    Word(&'static [&'static str]),
    One(&'static Block),
    Many(&'static Block),
    /// Custom properties: a list of `{property, value}`.
    Custom,
    /// A mapping of one kind, or the older list of another.
    OneOrMany(&'static Block, &'static Block),
}

use Form::{
    Any, Custom, Flag, Items, Many, Number, One, OneOrMany, References, Scalar, Text, TextOrMap,
    Texts, Whole, Word,
};
use standard::{CUSTOM, OPTIONS};

pub use editor::editor_schema;
pub(super) use further::refers;
pub(super) use standard::ROOT;

/// Whether the standard knows an option of logical types; the walk reports those it does not.
pub(super) fn is_option(key: &str) -> bool {
    OPTIONS.keys.iter().any(|(known, _)| *known == key)
}

/// Holds a mapping against its table and goes on below it.
pub(super) fn walk(node: &Node, block: &'static Block, findings: &mut Findings) {
    let Content::Map(entries) = &node.content else {
        wrong_kind(node, block.name, "a mapping", findings);
        return;
    };
    for entry in entries {
        let Some((_, form)) = block.keys.iter().find(|(key, _)| *key == entry.key) else {
            if block.open {
                continue;
            }
            findings.error(
                "LS-C005",
                entry.key_at,
                format!(
                    "{} has no key `{}` in ODCS v3",
                    block.name,
                    shorten(&entry.key)
                ),
                format!(
                    "{}; additions belong into `customProperties`",
                    suggestion(&entry.key, block.keys.iter().map(|(key, _)| *key))
                ),
            );
            continue;
        };
        below(&entry.key, &entry.value, form, block, findings);
    }
    for key in block.required {
        if !entries.iter().any(|entry| entry.key == *key) {
            findings.error(
                "LS-C006",
                node.at,
                format!("{} has no `{key}`", block.name),
                format!("add `{key}:` here"),
            );
        }
    }
    if let Some(also) = block.also {
        also(node, findings);
    }
}

fn below(
    key: &str,
    node: &Node,
    form: &'static Form,
    block: &'static Block,
    findings: &mut Findings,
) {
    match form {
        Any => {}
        Scalar if matches!(node.content, Content::Null) => {}
        // The standard knows no key without a value.
        _ if matches!(node.content, Content::Null) => findings.error(
            "LS-C004",
            node.at,
            format!("`{key}` has no value"),
            "write a value, or leave the key out",
        ),
        Text => {
            if node.text().is_none() {
                let help = match node.content {
                    Content::Number(_) | Content::Bool(_) => "put it in quotes",
                    _ => "write a text",
                };
                findings.error(
                    "LS-C004",
                    node.at,
                    format!("`{key}` must be a text, not {}", node.describe()),
                    help,
                );
            }
        }
        Flag => {
            if node.flag().is_none() {
                wrong_kind(node, &format!("`{key}`"), "true or false", findings);
            }
        }
        Whole => {
            if node.integer().is_none() {
                wrong_kind(node, &format!("`{key}`"), "a whole number", findings);
            }
        }
        Number => {
            if !matches!(node.content, Content::Number(_)) {
                wrong_kind(node, &format!("`{key}`"), "a number", findings);
            }
        }
        Scalar => {
            if matches!(node.content, Content::List(_) | Content::Map(_)) {
                wrong_kind(node, &format!("`{key}`"), "a single value", findings);
            }
        }
        TextOrMap => {
            if !matches!(node.content, Content::Text(_) | Content::Map(_)) {
                wrong_kind(node, &format!("`{key}`"), "a text or a mapping", findings);
            }
        }
        Items => {
            list(key, node, findings);
        }
        References => further::references(key, node, findings),
        Word(words) => word(key, node, words, findings),
        Texts => {
            for item in list(key, node, findings) {
                if item.text().is_none() {
                    wrong_kind(item, &format!("every item of `{key}`"), "a text", findings);
                }
            }
        }
        One(inner) => walk(node, inner, findings),
        Many(inner) => {
            for item in list(key, node, findings) {
                walk(item, inner, findings);
            }
        }
        OneOrMany(one, many) => match &node.content {
            Content::List(items) => {
                for item in items {
                    walk(item, many, findings);
                }
            }
            _ => walk(node, one, findings),
        },
        Custom => custom(key, node, block, findings),
    }
}

fn word(key: &str, node: &Node, words: &'static [&'static str], findings: &mut Findings) {
    let written = node.text();
    if written.is_some_and(|written| words.contains(&written)) {
        return;
    }
    let (code, help) = match written {
        Some(written) => ("LS-C014", suggestion(written, words.iter().copied())),
        None => ("LS-C004", format!("known: {}", words.join(", "))),
    };
    findings.error(
        code,
        node.at,
        format!("`{key}` cannot be {}", node.describe()),
        help,
    );
}

fn list<'n>(key: &str, node: &'n Node, findings: &mut Findings) -> &'n [Node] {
    if !matches!(node.content, Content::List(_)) {
        wrong_kind(node, &format!("`{key}`"), "a list", findings);
    }
    node.items()
}

/// Custom properties: other vendors' stand as they are, ours come from a closed set and stand once.
fn custom(key: &str, node: &Node, block: &'static Block, findings: &mut Findings) {
    let mut seen: Vec<&str> = Vec::new();
    for item in list(key, node, findings) {
        walk(item, &CUSTOM, findings);
        let Some(property) = item.get("property") else {
            continue;
        };
        let Some(name) = property.text().filter(|name| is_ours(name)) else {
            continue;
        };
        if seen.contains(&name) {
            findings.error(
                "LS-C003",
                property.at,
                format!("the custom property `{name}` stands here twice"),
                "keep one of them",
            );
        }
        seen.push(name);
        if block.lockstep.contains(&name) {
            continue;
        }
        let places: Vec<&str> = WHERE
            .iter()
            .filter(|(keys, _)| keys.contains(&name))
            .map(|(_, place)| *place)
            .collect();
        if places.is_empty() {
            let mut known: Vec<&str> = WHERE.iter().flat_map(|(keys, _)| *keys).copied().collect();
            known.sort_unstable();
            known.dedup();
            findings.error(
                "LS-C012",
                property.at,
                format!("no such Lockstep property `{}`", shorten(name)),
                suggestion(name, known),
            );
        } else {
            findings.error(
                "LS-C013",
                property.at,
                format!("`{name}` has no meaning under {}", block.name),
                format!(
                    "move it to the `customProperties` of {}",
                    places.join(", or of ")
                ),
            );
        }
    }
}

/// Whether a custom property claims to be Lockstep's, a slip in the case of its prefix included.
fn is_ours(name: &str) -> bool {
    name.get(..9)
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case("lockstep."))
}

fn wrong_kind(node: &Node, what: &str, expected: &str, findings: &mut Findings) {
    findings.error(
        "LS-C004",
        node.at,
        format!("{what} must be {expected}, not {}", node.describe()),
        format!("write {expected} here"),
    );
}
