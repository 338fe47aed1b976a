//! One ODCS property as a field of the contract.

use std::collections::BTreeMap;

use super::findings::Findings;
use super::values::value;
use super::words::{CLASSES, HANDLINGS, TRUTHS, system, word};
use super::yaml::{Content, Node, Span, shorten};
use crate::contract::check::FieldCheck;
use crate::contract::{Allowed, Class, Field, Handling, Limits, Truth};
use crate::value::{Type, Value};

mod kind;
mod limits;

/// Most digits of a decimal.
const PRECISION_MAX: u32 = 100;

/// A field with the places that later findings point at.
pub(super) struct Draft {
    pub(super) field: Field,
    pub(super) name_at: Span,
    /// Whether it is part of the key, and at which position where one is given.
    pub(super) key: Option<Option<i64>>,
    pub(super) key_at: Span,
}

/// Reads a property; `None` where not even name and type are known.
pub(super) fn field(node: &Node, findings: &mut Findings<'_>) -> Option<Draft> {
    let name_node = node.get("name")?;
    let name = name(name_node, "property", findings);
    let kind = kind::kind(node, findings);
    documentation(node, kind, findings);
    let owner = custom(node, "lockstep.owner")
        .and_then(|owner| system(owner, "`lockstep.owner`", findings));
    let class = class(node, findings);
    let handling = handling(node, findings);
    let truth = truth(node, kind, findings);
    let (required, nullable) = presence(node, findings);
    let (key, key_at) = key(node, findings);
    let (name, kind) = (name?, kind?);
    let mut field = Field {
        name,
        kind,
        required,
        nullable,
        description: node
            .get("description")
            .and_then(Node::text)
            .map(str::to_owned),
        limits: Limits::default(),
        allowed: None,
        default: None,
        class,
        handling,
        owner,
        truth,
    };
    let before = findings.errors();
    field.limits = limits::limits(node, kind, findings);
    // Limits that are at fault themselves would only repeat it at each listed value.
    let sound = findings.errors() == before;
    field.allowed = allowed(node, &field, sound, findings);
    let sound = findings.errors() == before;
    field.default = default(node, &field, sound, findings);
    Some(Draft {
        field,
        name_at: name_node.at,
        key,
        key_at,
    })
}

/// Checks a name of an entity or a property.
pub(super) fn name(node: &Node, what: &str, findings: &mut Findings<'_>) -> Option<String> {
    const LENGTH_MAX: usize = 64;
    const WORDS_OF_CEL: [&str; 4] = ["true", "false", "null", "in"];
    let text = node.text()?;
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.len() <= LENGTH_MAX
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if plain && !WORDS_OF_CEL.contains(&text) {
        return Some(text.to_owned());
    }
    findings.error(
        "LS-C010",
        node.at,
        format!("`{}` cannot be the name of a {what}", shorten(text)),
        format!(
            "use letters, digits and `_`, beginning with a letter, at most {LENGTH_MAX} characters, and none of {}",
            WORDS_OF_CEL.join(", ")
        ),
    );
    None
}

/// The value of a Lockstep property.
pub(super) fn custom<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    node.get("customProperties")?
        .items()
        .iter()
        .find(|item| item.get("property").and_then(Node::text) == Some(name))?
        .get("value")
}

fn truth(node: &Node, kind: Option<Type>, findings: &mut Findings<'_>) -> Option<Truth> {
    let written = custom(node, "lockstep.truth")?;
    let truth = word(written, "`lockstep.truth`", TRUTHS, "LS-C014", findings)?;
    let kind = kind?;
    let numeric = matches!(kind, Type::Int | Type::Decimal { .. } | Type::Float);
    let fits = match truth {
        Truth::Delta => numeric,
        Truth::Union => kind == Type::Json,
        Truth::Max | Truth::Min => kind != Type::Json && kind != Type::Bytes,
        _ => true,
    };
    if !fits {
        findings.error(
            "LS-C037",
            written.at,
            format!("{} has no meaning for a {kind}", written.describe()),
            "`delta` adds numbers, `union` joins lists, `max` and `min` need an order; `owner` and `latest` fit everything",
        );
    }
    Some(truth)
}

fn class(node: &Node, findings: &mut Findings<'_>) -> Class {
    node.get("classification")
        .filter(|node| node.text().is_some())
        .and_then(|node| word(node, "the classification", CLASSES, "LS-C031", findings))
        .unwrap_or(Class::Internal)
}

fn handling(node: &Node, findings: &mut Findings<'_>) -> BTreeMap<String, Handling> {
    let mut handling = BTreeMap::new();
    let Some(privacy) = custom(node, "lockstep.privacy") else {
        return handling;
    };
    let systems = privacy.get("systems");
    let Some(systems) = systems.filter(|_| privacy.entries().len() == 1) else {
        findings.error(
            "LS-C032",
            privacy.at,
            "`lockstep.privacy` must be a mapping with the one key `systems`",
            "write `value: {systems: {billing: mask}}`",
        );
        return handling;
    };
    if !matches!(systems.content, Content::Map(_)) {
        findings.error(
            "LS-C032",
            systems.at,
            format!(
                "`systems` must map systems to words, not be {}",
                systems.describe()
            ),
            "write `value: {systems: {billing: mask}}`",
        );
    }
    for entry in systems.entries() {
        let what = format!("what `{}` sees", shorten(&entry.key));
        if let Some(word) = word(&entry.value, &what, HANDLINGS, "LS-C032", findings) {
            handling.insert(entry.key.clone(), word);
        }
    }
    handling
}

/// Whether a whole record must have the field, and whether it may be null.
fn presence(node: &Node, findings: &mut Findings<'_>) -> (bool, bool) {
    let required = node.get("required").and_then(Node::flag).unwrap_or(false);
    let nullable = match custom(node, "lockstep.nullable") {
        None => !required,
        Some(written) => written.flag().unwrap_or_else(|| {
            findings.error(
                "LS-C004",
                written.at,
                format!(
                    "`lockstep.nullable` must be true or false, not {}",
                    written.describe()
                ),
                "write true or false here",
            );
            !required
        }),
    };
    (required, nullable)
}

fn key(node: &Node, findings: &mut Findings<'_>) -> (Option<Option<i64>>, Span) {
    let flag = node.get("primaryKey");
    // The standard writes -1 for no position.
    let position = node
        .get("primaryKeyPosition")
        .filter(|node| node.integer().is_some_and(|position| position != -1));
    let is_key = flag.and_then(Node::flag).unwrap_or(false);
    if let Some(position) = position.filter(|_| !is_key) {
        findings.error(
            "LS-C028",
            position.at,
            "a property outside the key has a position in it",
            "add `primaryKey: true`, or remove `primaryKeyPosition`",
        );
    }
    let at = position.or(flag).map_or(node.at, |node| node.at);
    let key = is_key.then(|| position.and_then(Node::integer));
    (key, at)
}

fn allowed(
    node: &Node,
    field: &Field,
    sound: bool,
    findings: &mut Findings<'_>,
) -> Option<Allowed> {
    let native = node.get("enum");
    let ours = custom(node, "lockstep.enum");
    if let (Some(_), Some(ours)) = (native, ours) {
        findings.error(
            "LS-C023",
            ours.at,
            "the allowed values are written twice, as `enum` and as `lockstep.enum`",
            "keep one of them; `enum` needs apiVersion v3.2.0",
        );
    }
    let open = open(node, native.or(ours).is_some(), findings);
    let list = native.or(ours)?;
    let items: Vec<&Node> = match native {
        Some(list) => list.items().iter().filter_map(|i| i.get("value")).collect(),
        None => list.items().iter().collect(),
    };
    if items.is_empty() {
        findings.error(
            "LS-C023",
            list.at,
            "the allowed values are not a list with at least one value",
            "list the values, or remove the key to allow all",
        );
        return None;
    }
    if field.kind == Type::Json {
        findings.error(
            "LS-C019",
            list.at,
            "a JSON value cannot have a list of allowed values",
            "make the part that is listed a property of its own",
        );
        return None;
    }
    let check = FieldCheck::compile(field).ok().filter(|_| sound);
    let mut values: Vec<Value> = Vec::with_capacity(items.len());
    let mut seen = std::collections::HashSet::new();
    for item in items {
        let read = match value(field.kind, item) {
            Ok(read) => read,
            Err(message) => {
                findings.error(
                    "LS-C022",
                    item.at,
                    message,
                    format!("every allowed value must be a {} value", field.kind),
                );
                continue;
            }
        };
        if !seen.insert(read.to_string()) {
            findings.error(
                "LS-C023",
                item.at,
                format!("the allowed value {} is repeated", item.describe()),
                "keep one of them",
            );
            continue;
        }
        if let Some(broken) = check.as_ref().and_then(|check| check.judge(&read)) {
            findings.error(
                "LS-C023",
                item.at,
                format!(
                    "the allowed value {} breaks the property's own `{}`",
                    item.describe(),
                    broken.rule
                ),
                "mend the value or the limit",
            );
        }
        values.push(read);
    }
    Some(Allowed { values, open })
}

fn open(node: &Node, listed: bool, findings: &mut Findings<'_>) -> bool {
    let Some(written) = custom(node, "lockstep.enumOpen") else {
        return false;
    };
    if !listed {
        findings.error(
            "LS-C023",
            written.at,
            "`lockstep.enumOpen` stands on a property without allowed values",
            "list the values with `lockstep.enum`, or remove `lockstep.enumOpen`",
        );
    }
    written.flag().unwrap_or_else(|| {
        findings.error(
            "LS-C004",
            written.at,
            format!(
                "`lockstep.enumOpen` must be true or false, not {}",
                written.describe()
            ),
            "write true or false here",
        );
        false
    })
}

fn default(node: &Node, field: &Field, sound: bool, findings: &mut Findings<'_>) -> Option<Value> {
    let written = custom(node, "lockstep.default")?;
    if matches!(written.content, Content::Null) {
        if !field.nullable {
            findings.error(
                "LS-C024",
                written.at,
                format!(
                    "the default of `{}` is null, which it may not be",
                    field.name
                ),
                "choose a value, or allow null with `lockstep.nullable: true`",
            );
        }
        return Some(Value::Null);
    }
    let read = match value(field.kind, written) {
        Ok(read) => read,
        Err(message) => {
            findings.error(
                "LS-C022",
                written.at,
                message,
                format!("the default must be a {} value", field.kind),
            );
            return None;
        }
    };
    if sound && let Some(broken) = FieldCheck::compile(field).ok()?.judge(&read) {
        findings.error(
            "LS-C024",
            written.at,
            format!("the default is refused: {}", broken.message),
            format!("choose a default that satisfies `{}`", broken.rule),
        );
    }
    Some(read)
}

/// Warns about parts that read like checks and are none.
fn documentation(node: &Node, kind: Option<Type>, findings: &mut Findings<'_>) {
    let mut note = |at: Span, what: &str, help: &str| {
        findings.warning("LS-C035", at, format!("{what} is not checked"), help);
    };
    if let Some(unique) = node.get("unique").filter(|node| node.flag() == Some(true)) {
        note(
            unique.at,
            "`unique`",
            "a record is judged by itself; the key is unique in any case",
        );
    }
    if kind == Some(Type::Json) {
        for key in ["properties", "items", "keys", "values"] {
            if let Some(entry) = node.entries().iter().find(|entry| entry.key == key) {
                note(
                    entry.key_at,
                    &format!("what `{key}` says of the inside of a JSON value"),
                    "make the parts an entity of their own where they matter",
                );
            }
        }
    }
}
