//! Relationships as references: at a property, and at the schema object from one property to another.
//!
//! Owns which of them is a field's reference and what is said of the others; whether a reference leads somewhere is asked once all contracts are known.

use super::field::{Draft, Level};
use super::findings::Findings;
use super::grammar;
use super::reading::Reading;
use super::remarks::items;
use super::yaml::{Node, Span, shorten};
use crate::contract::Reference;
use crate::diagnostic::suggestion;

/// The field of another entity that the value names: the first relationship to a single one.
pub(super) fn of_property(
    node: &Node,
    pointer: &str,
    level: Level,
    reading: &mut Reading<'_>,
) -> Option<Reference> {
    let mut found = None;
    for relationship in items(node, "relationships") {
        // What is no reference at all was reported as that.
        let Some(to) = relationship
            .get("to")
            .filter(|to| grammar::refers("to", to))
        else {
            continue;
        };
        match to.text().and_then(referenced) {
            Some(_) if level == Level::Entity && found.is_some() => {
                further(to.at, &mut reading.findings);
            }
            Some(reference) if level == Level::Entity => {
                reading.mark(format!("{pointer}/reference"), to.at);
                found = Some(reference);
            }
            _ => reading.findings.warning(
                "LS-C035",
                to.at,
                "the relationship is not used",
                "a property of the first level names one property of another entity, as `entity.property`",
            ),
        }
    }
    found
}

/// Gives the fields the references that the object's relationships say of them.
pub(super) fn of_object(object: &Node, drafts: &mut [Draft], reading: &mut Reading<'_>) {
    for relationship in items(object, "relationships") {
        let side = |key| {
            let side = relationship.get(key);
            side.filter(|side| grammar::refers(key, side))
        };
        let (Some(from), Some(to)) = (side("from"), side("to")) else {
            continue;
        };
        let findings = &mut reading.findings;
        let (Some(from_text), Some(to_text)) = (single(from), single(to)) else {
            findings.warning(
                "LS-C035",
                relationship.at,
                "a relationship of several properties is not used",
                "a relationship leads from one property to one property of another entity, as `from: entity.property` and `to: entity.property`",
            );
            continue;
        };
        let (name, reference) = (own(object, from_text), referenced(to_text));
        let (Some(name), Some(reference)) = (name, reference) else {
            let at = if name.is_none() { from.at } else { to.at };
            findings.warning(
                "LS-C035",
                at,
                "the relationship is not used",
                "`from` names a property of this entity and `to` one of another, as `entity.property`",
            );
            continue;
        };
        let known: Vec<&str> = drafts
            .iter()
            .map(|draft| draft.field.name.as_str())
            .collect();
        let Some(at) = known.iter().position(|known| *known == name) else {
            findings.warning(
                "LS-C035",
                from.at,
                format!(
                    "the relationship is not used: there is no property `{}`",
                    shorten(name)
                ),
                suggestion(name, known),
            );
            continue;
        };
        match &drafts[at].field.reference {
            None => {
                reading.mark(format!("/fields/{name}/reference"), to.at);
                drafts[at].field.reference = Some(reference);
            }
            // Said at the property, too.
            Some(same) if *same == reference => {}
            Some(_) => further(to.at, findings),
        }
    }
}

fn further(at: Span, findings: &mut Findings) {
    findings.warning(
        "LS-C035",
        at,
        "only the first relationship is used",
        "a property refers to one property of another entity; remove the others, or write an `exists` rule with `engine: lockstep` for each",
    );
}

/// The only property that a side of a relationship names.
fn single(side: &Node) -> Option<&str> {
    match side.items() {
        [one] => one.text(),
        _ => side.text(),
    }
}

/// The property of this object that a text names, with the object's name before it or alone.
fn own<'t>(object: &Node, text: &'t str) -> Option<&'t str> {
    match text.split_once('.') {
        None => (!text.contains('/')).then_some(text),
        Some((of, name)) => {
            let mut names = ["name", "physicalName"].into_iter();
            let is_own = names.any(|key| object.get(key).and_then(Node::text) == Some(of));
            (is_own && !name.contains('.')).then_some(name)
        }
    }
}

/// Reads `entity.property`.
pub(super) fn referenced(text: &str) -> Option<Reference> {
    let (entity, field) = text.split_once('.')?;
    let plain = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    (plain(entity) && plain(field)).then(|| Reference {
        entity: entity.to_owned(),
        field: field.to_owned(),
    })
}
