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
use crate::contract::{Class, Field, Outcome, Violation};
use crate::key::Key;
use crate::shape::{Row, Shape};
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
    /// The rules it breaks though it goes on: those whose outcome is pass or warn.
    pub noted: Vec<Violation>,
}

/// Why a change did not pass.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rejection {
    /// Every rule that was broken.
    pub violations: Vec<Violation>,
}

impl Rejection {
    /// What becomes of the change: the worst that a broken rule asks for.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let outcomes = self.violations.iter().map(|broken| broken.outcome);
        // What cannot be mapped breaks no rule of the contract; it is set aside at least.
        outcomes.max().unwrap_or_default().max(Outcome::Quarantine)
    }
}

/// Tells whether a record goes on though it breaks these rules.
fn goes_on(broken: &[Violation]) -> bool {
    broken.iter().all(|broken| broken.outcome <= Outcome::Warn)
}

/// What a row is called in quarantine: its own key in its system as text, so that it can be followed even where the contract's key cannot be made.
///
/// A row whose key is null, was not sent, or does not exist is called by `place`, the place of its change in the source: two rows without a key are never taken for one.
#[must_use]
pub fn row_name(shape: &Shape, row: &Row, place: &str) -> String {
    let values: Vec<Option<&Value>> = shape.key.iter().map(|at| row.value(*at)).collect();
    let known = |value: &Option<&Value>| value.is_some_and(|value| !value.is_null());
    if values.is_empty() || !values.iter().all(known) {
        return format!("?#{place}");
    }
    match Key::encode(values.iter().copied()) {
        Ok(key) => key.to_string(),
        // A float or a document cannot be part of a canonical key, but it tells rows apart.
        Err(_) => {
            let texts: Vec<String> = values
                .into_iter()
                .flatten()
                .map(ToString::to_string)
                .collect();
            texts.join("|")
        }
    }
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
        outcome: Outcome::Quarantine,
    }
}
