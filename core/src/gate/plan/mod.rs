//! Mappings compiled against both shapes.
//!
//! [`ReadPlan`] goes from a system's rows to the contract's records, [`WritePlan`] the other way; `translate` is what a column's rule does to one value in either direction.

mod read;
#[cfg(test)]
mod tests;
mod translate;
mod values;
mod write;

use crate::change::Change;
use crate::contract::{Class, Field, Violation};
use crate::key::Key;
use crate::value::Value;

pub use read::ReadPlan;
pub use write::WritePlan;

/// Most characters of a value that a message shows.
const SHOWN_MAX: usize = 60;

/// What the gate says of one change.
#[derive(Debug)]
pub enum Verdict {
    /// It passes, in contract form.
    Pass(Gated),
    /// Every record of the entity is gone: a barrier for all lanes.
    Barrier(Change),
    /// The row is not of this entity (the mapping's filter), neither before nor after.
    Skip,
    /// It breaks its contract or cannot be mapped.
    Reject(Rejection),
}

/// A change in contract form, with what routes it.
#[derive(Clone, Debug)]
pub struct Gated {
    /// The change; its shape is the contract's. `before` is set only where the key changed.
    pub change: Change,
    /// Its canonical key.
    pub key: Key,
    /// Its lane.
    pub lane: u32,
    /// The key and lane the record had before, where the change gave it another.
    pub replaces: Option<(Key, u32)>,
}

/// Why a change did not pass.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rejection {
    /// Every rule that was broken.
    pub violations: Vec<Violation>,
}

/// The canonical key of a row by its system's own key columns, so that a rejected row can be followed even where it has no key of the contract.
///
/// Always gives a key: what cannot stand in one is taken by its text, and a row of a table without a key is named by its place in the source.
#[must_use]
pub fn quarantine_key(change: &Change) -> Key {
    let value = |at: usize| {
        let known = change.row.value(at);
        let known = known.or_else(|| change.before.as_ref().and_then(|before| before.value(at)));
        match known {
            None | Some(Value::Null) => Value::Bytes(Vec::new()),
            Some(Value::Float(number)) => Value::Text(number.to_string()),
            Some(Value::Json(text)) => Value::text(&**text),
            Some(value) => value.clone(),
        }
    };
    let mut values: Vec<Value> = change.shape.key.iter().map(|at| value(*at)).collect();
    if values.is_empty() {
        values.push(Value::Text(change.mark.to_text()));
    }
    Key::encode(values.iter().map(Some)).expect("every value was made fit for a key above")
}

/// How a value is shown in a message about a field: in full words only where the field's class lets it be seen.
fn shown(field: &Field, value: &Value) -> String {
    if field.class >= Class::Personal {
        return "a value that is not shown".to_owned();
    }
    let text = value.to_string();
    if text.chars().count() > SHOWN_MAX {
        let cut: String = text.chars().take(SHOWN_MAX).collect();
        format!("`{cut}…`")
    } else {
        format!("`{text}`")
    }
}

fn violation(field: Option<&str>, rule: &str, message: impl Into<String>) -> Violation {
    Violation {
        field: field.map(ToOwned::to_owned),
        rule: rule.to_owned(),
        message: message.into(),
    }
}
