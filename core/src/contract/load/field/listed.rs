//! The values that a property lists: those it may have, and the one it has by default.

use crate::contract::check::FieldCheck;
use crate::contract::load::field::custom;
use crate::contract::load::findings::Findings;
use crate::contract::load::values::value;
use crate::contract::load::yaml::{Content, Node};
use crate::contract::{Allowed, Class, Field};
use crate::value::{Type, Value};

/// Reads the list of allowed values; `sound` says whether the field's limits can be held against them.
pub(super) fn allowed(
    node: &Node,
    field: &Field,
    sound: bool,
    findings: &mut Findings,
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
    let listed = native.or(ours).is_some();
    let open = open(node, listed, findings);
    let fallback = custom(node, "lockstep.enumFallback");
    if let Some(fallback) = fallback.filter(|_| !listed) {
        without_list("lockstep.enumFallback", fallback, findings);
    }
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
        findings.needed(
            "LS-C019",
            list.at,
            "a JSON value cannot have a list of allowed values",
            "make the part that is listed a property of its own",
        );
        return None;
    }
    let values = values(&items, field, sound, findings);
    let fallback = fallback.and_then(|node| match value(field.kind, node) {
        Ok(read) if values.contains(&read) => Some(read),
        _ => {
            findings.error(
                "LS-C023",
                node.at,
                format!("{} is not one of the allowed values", shown(node, field)),
                "name the allowed value that stands for one a reader does not know",
            );
            None
        }
    });
    (!values.is_empty()).then_some(Allowed {
        values,
        open,
        fallback,
    })
}

fn values(items: &[&Node], field: &Field, sound: bool, findings: &mut Findings) -> Vec<Value> {
    let check = FieldCheck::compile(field).ok().filter(|_| sound);
    let mut values: Vec<Value> = Vec::with_capacity(items.len());
    let mut seen = std::collections::HashSet::new();
    for item in items {
        // The standard's lists are of any values; null is said by other means.
        if matches!(item.content, Content::Null) && field.nullable {
            continue;
        }
        let read = match value(field.kind, item) {
            Ok(read) => read,
            Err(expected) => {
                findings.needed(
                    "LS-C022",
                    item.at,
                    format!("{} is not {expected}", shown(item, field)),
                    format!("every allowed value must be a {} value", field.kind),
                );
                continue;
            }
        };
        if !seen.insert(read.to_string()) {
            findings.error(
                "LS-C023",
                item.at,
                format!("the allowed value {} is repeated", shown(item, field)),
                "keep one of them",
            );
            continue;
        }
        if let Some(broken) = check.as_ref().and_then(|check| check.judge(&read)) {
            findings.needed(
                "LS-C023",
                item.at,
                format!(
                    "the allowed value {} breaks the property's own `{}`",
                    shown(item, field),
                    broken.rule
                ),
                "mend the value or the limit",
            );
        }
        values.push(read);
    }
    values
}

fn open(node: &Node, listed: bool, findings: &mut Findings) -> bool {
    let Some(written) = custom(node, "lockstep.enumOpen") else {
        return false;
    };
    if !listed {
        without_list("lockstep.enumOpen", written, findings);
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

fn without_list(name: &str, written: &Node, findings: &mut Findings) {
    findings.error(
        "LS-C023",
        written.at,
        format!("`{name}` stands on a property without allowed values"),
        format!("list the values with `lockstep.enum`, or remove `{name}`"),
    );
}

/// Reads the value that a reader assumes where the field is absent.
pub(super) fn default(
    node: &Node,
    field: &Field,
    sound: bool,
    findings: &mut Findings,
) -> Option<Value> {
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
        Err(expected) => {
            findings.error(
                "LS-C022",
                written.at,
                format!("{} is not {expected}", shown(written, field)),
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

/// A written value for a message, or a stand-in where the field's class hides it.
fn shown(node: &Node, field: &Field) -> String {
    if field.class >= Class::Personal {
        "the value (protected, not shown)".to_owned()
    } else {
        node.describe()
    }
}
