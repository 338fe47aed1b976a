//! The key of an entity, its lane key and its lanes.

use super::field::Draft;
use super::findings::Findings;
use super::yaml::{Content, Node, Span, shorten};
use crate::contract::Handling;
use crate::diagnostic::suggestion;
use crate::value::Type;

const LANES_MAX: i64 = 256;
const LANES_DEFAULT: u32 = 8;

/// Finds the positions of the key's fields, in key order.
pub(super) fn key(drafts: &[Draft], object_at: Span, findings: &mut Findings) -> Vec<usize> {
    let mut key: Vec<(usize, Option<i64>)> = drafts
        .iter()
        .enumerate()
        .filter_map(|(i, draft)| draft.key.map(|position| (i, position)))
        .collect();
    if key.is_empty() {
        findings.needed(
            "LS-C025",
            object_at,
            "no property is marked as the key",
            "add `primaryKey: true` to the properties that identify a record",
        );
    }
    for (i, _) in &key {
        fitting(&drafts[*i], findings);
    }
    if key.iter().any(|(_, position)| position.is_some()) {
        key.sort_by_key(|(_, position)| *position);
        for (expected, (i, position)) in (1..).zip(&key) {
            if *position != Some(expected) {
                findings.needed(
                    "LS-C028",
                    drafts[*i].key_at,
                    format!(
                        "the key property `{}` has {}, where position {expected} is needed",
                        drafts[*i].field.name,
                        position.map_or("no position".to_owned(), |p| format!("position {p}")),
                    ),
                    "number the key's properties 1, 2, 3 … each once, or none of them",
                );
                break;
            }
        }
    }
    key.into_iter().map(|(i, _)| i).collect()
}

fn fitting(draft: &Draft, findings: &mut Findings) {
    let field = &draft.field;
    if field.nullable || !field.required {
        let state = if field.required { "null" } else { "absent" };
        findings.needed(
            "LS-C026",
            draft.name_at,
            format!("the key property `{}` may be {state}", field.name),
            "set `required: true` and leave `lockstep.nullable` out",
        );
    }
    if matches!(field.kind, Type::Float | Type::Json) {
        findings.needed(
            "LS-C027",
            draft.name_at,
            format!(
                "`{}` is of type {}, which cannot be part of a key",
                field.name, field.kind
            ),
            "use a text, integer, decimal, date, timestamp, UUID or bytes",
        );
    }
    for (system, handling) in &field.handling {
        if matches!(handling, Handling::Mask | Handling::Drop) {
            findings.error(
                "LS-C032",
                draft.name_at,
                format!(
                    "`{}` is part of the key, but `{}` could not tell its records apart without it",
                    field.name,
                    shorten(system)
                ),
                "use hash, tokenize or encrypt: they keep different keys different",
            );
        }
    }
}

/// Reads the lane key, which is a part of the key.
pub(super) fn lane_key(
    written: Option<&Node>,
    drafts: &[Draft],
    key: &[usize],
    findings: &mut Findings,
) -> Vec<usize> {
    let Some(written) = written else {
        return key.to_vec();
    };
    if !matches!(&written.content, Content::List(items) if !items.is_empty()) {
        findings.error(
            "LS-C029",
            written.at,
            format!(
                "`lockstep.laneKey` must be a list of key properties, not {}",
                written.describe()
            ),
            "write `value: [order_id]`",
        );
        return key.to_vec();
    }
    let mut lane_key = Vec::new();
    for item in written.items() {
        let name = item.text().unwrap_or_default();
        let found = key.iter().find(|i| drafts[**i].field.name == name);
        match found {
            Some(i) if !lane_key.contains(i) => lane_key.push(*i),
            Some(_) => findings.error(
                "LS-C029",
                item.at,
                format!("`{}` stands twice in the lane key", shorten(name)),
                "keep one of them",
            ),
            None => findings.error(
                "LS-C029",
                item.at,
                format!(
                    "the lane key names {}, which is not part of the key",
                    item.describe()
                ),
                suggestion(name, key.iter().map(|i| drafts[*i].field.name.as_str())),
            ),
        }
    }
    lane_key
}

/// Reads the number of lanes.
pub(super) fn lanes(written: Option<&Node>, findings: &mut Findings) -> u32 {
    let Some(written) = written else {
        return LANES_DEFAULT;
    };
    let lanes = written
        .integer()
        .filter(|lanes| (1..=LANES_MAX).contains(lanes));
    match lanes.and_then(|lanes| u32::try_from(lanes).ok()) {
        Some(lanes) => lanes,
        None => {
            findings.error(
                "LS-C030",
                written.at,
                format!(
                    "the number of lanes must be 1 to {LANES_MAX}, not {}",
                    written.describe()
                ),
                format!("leave `lockstep.lanes` out for {LANES_DEFAULT}"),
            );
            LANES_DEFAULT
        }
    }
}
