//! What a system's table has become beside what its contract and mapping expect, field by field, and what to do about it.
//!
//! Owns the comparison and the policy; looks at no system itself. A table that was seen before, when all was well, tells what is new in it and what has changed.

mod compare;
mod extend;
#[cfg(test)]
mod tests;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gate::{Mapping, ValueMaps};
use crate::shape::{Column, Shape};

use super::Contract;

pub use compare::compare;
pub use extend::{as_taken, extended, field_yaml, is_list, next_minor, with_columns};

/// What breaking drift is reported under.
pub const BREAKING: &str = "LS-E003";
/// What additive drift is reported under.
pub const ADDITIVE: &str = "LS-E004";

/// What a table is reported under that is not there.
pub const GONE: &str = "LS-E010";

/// What is expected of a table.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The contract.
    pub contract: &'a Contract,
    /// How the entity stands in the system.
    pub mapping: &'a Mapping,
    /// The value maps of the configuration.
    pub values: &'a ValueMaps,
    /// Whether the table is read or written.
    pub side: Side,
    /// The table when all was well, if it was ever seen so.
    pub before: Option<&'a Shape>,
    /// What is done about drift of it, on which depends what is left for somebody to do.
    pub policy: Policy,
}

/// Whether a table is read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// It is read.
    Source,
    /// It is written.
    Target,
}

/// How far a field has drifted.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It is as expected.
    Ok,
    /// There is more than expected, which harms nobody.
    Additive,
    /// What is expected is not there, or not so.
    Breaking,
}

/// One field beside its column, or one column beside no field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Drift {
    /// The contract's field; for a column that the mapping does not know, the column's name.
    pub field: String,
    /// The column, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub column: Option<String>,
    /// How far it has drifted.
    pub kind: Kind,
    /// Why, in a sentence; empty where all is well.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub reason: String,
    /// What mends it; empty where all is well.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub cure: String,
    /// The column that `propagate` may add, to the contract (where a source has it) or to the target (where the contract has it).
    #[serde(skip)]
    #[schemars(skip)]
    pub adds: Option<Column>,
}

/// What to do about drift of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Nothing, beyond telling.
    Ignore,
    /// Take the addition along: to the contract, and to the targets' tables.
    Propagate,
    /// Park the entity there, and let everything else go on.
    Hold,
    /// End the entity's flow with an error.
    Fail,
}

/// What to do about drift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// About additions.
    pub additive: Action,
    /// About breaks.
    pub breaking: Action,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            additive: Action::Ignore,
            breaking: Action::Hold,
        }
    }
}

/// What a policy makes of drift.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The entity goes on.
    GoOn,
    /// The entity goes on once these columns are taken along.
    Add(Vec<Column>),
    /// The entity is parked, for this reason.
    Hold(String),
    /// The entity's flow ends, for this reason.
    Fail(String),
}

impl Policy {
    /// What to do about all of a table's drift together: the gravest of it decides.
    #[must_use]
    pub fn decide(&self, drifts: &[Drift]) -> Decision {
        let mut adds = Vec::new();
        let mut graver: Vec<(Action, String)> = Vec::new();
        for drift in drifts.iter().filter(|drift| drift.kind != Kind::Ok) {
            let reason = || drift.to_string();
            match (drift.kind, &drift.adds) {
                // A column that a target lacks breaks it, unless it may be added.
                (_, Some(column)) if self.additive == Action::Propagate => {
                    adds.push(column.clone());
                }
                (Kind::Additive, _) => graver.push((self.additive, reason())),
                // What nobody can add is no addition.
                (_, _) if self.breaking == Action::Propagate => {
                    graver.push((Action::Hold, reason()));
                }
                (_, _) => graver.push((self.breaking, reason())),
            }
        }
        let of = |action: Action| -> Vec<&str> {
            let of = graver.iter().filter(|(other, _)| *other == action);
            of.map(|(_, reason)| reason.as_str()).collect()
        };
        let (fails, holds) = (of(Action::Fail), of(Action::Hold));
        if !fails.is_empty() {
            Decision::Fail(fails.join("; "))
        } else if !holds.is_empty() {
            Decision::Hold(holds.join("; "))
        } else if adds.is_empty() {
            Decision::GoOn
        } else {
            Decision::Add(adds)
        }
    }
}

/// The reason with its cure, for status and logs.
impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.reason.is_empty(), self.cure.is_empty()) {
            (true, _) => write!(f, "`{}` is as expected", self.field),
            (false, true) => f.write_str(&self.reason),
            (false, false) => write!(f, "{}: {}", self.reason, self.cure),
        }
    }
}

/// The gravest kind of drift among these.
#[must_use]
pub fn worst(drifts: &[Drift]) -> Kind {
    let kinds = drifts.iter().map(|drift| drift.kind);
    kinds.max().unwrap_or(Kind::Ok)
}
