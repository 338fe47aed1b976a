//! What people agreed on that no record shows: who relies on the contract, how it may change, who approves.

use std::collections::BTreeMap;

use super::rules::{Check, Outcome, Rule};
use crate::value::Value;

/// The agreement around the records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terms {
    /// ODCS `status`, such as `active`.
    pub status: Option<String>,
    /// What a new version owes the older ones.
    pub compatibility: Compatibility,
    /// The systems that rely on the contract.
    pub consumers: Vec<String>,
    /// By role (`owner`, `dataProtection`, …), who may approve.
    pub approvers: BTreeMap<String, Vec<String>>,
    /// Names of removed fields that may not come back.
    pub reserved: Vec<String>,
    /// Since when the whole entity should not be used.
    pub deprecation: Option<Deprecation>,
    /// Promised service levels: freshness, retention, support.
    pub levels: Vec<Level>,
    /// Rules by which records of different systems are the same one, as written.
    pub matching: Option<serde_json::Value>,
    /// Who wins among matched records, as written.
    pub survivorship: Option<serde_json::Value>,
}

impl Terms {
    /// Whether a rule of the entity says no more than a promised freshness does.
    #[must_use]
    pub fn implies(&self, entity: &str, rule: &Rule) -> bool {
        let plain = matches!(rule.check, Check::Fresh { .. }) && rule.outcome == Outcome::Warn;
        let (Some(field), true, None) = (&rule.field, plain, rule.tolerance) else {
            return false;
        };
        self.levels.iter().any(|level| {
            let element = level.element.as_deref().unwrap_or_default();
            let name = match element.split_once('.') {
                Some((of, name)) if of == entity => name,
                _ => element,
            };
            is_freshness(&level.property) && name == field
        })
    }
}

/// Whether a service level promises that data are fresh.
pub(super) fn is_freshness(property: &str) -> bool {
    matches!(property, "latency" | "freshness")
}

/// What a new version owes the older ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Compatibility {
    /// Which way; none promises nothing.
    pub direction: Option<Direction>,
    /// Whether every release of the major counts, not only the last one.
    pub transitive: bool,
}

impl Default for Compatibility {
    fn default() -> Self {
        Compatibility {
            direction: Some(Direction::Full),
            transitive: true,
        }
    }
}

/// Which way two versions understand each other.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Readers of the new version understand what was written under the old one.
    Backward,
    /// Readers of the old version understand what is written under the new one.
    Forward,
    /// Both.
    Full,
}

/// Since when something should not be used, and until when it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deprecation {
    /// The version that said so first.
    pub since: Option<semver::Version>,
    /// The day from which it may be gone.
    pub sunset: Option<jiff::civil::Date>,
    /// What to use instead.
    pub replacement: Option<String>,
}

/// A promised service level, as ODCS `slaProperties` has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// Which one, such as `latency`, `retention` or `endOfSupport`.
    pub property: String,
    /// The field it is about, if any.
    pub element: Option<String>,
    /// The value as written.
    pub value: serde_json::Value,
    /// Its unit, such as `d`.
    pub unit: Option<String>,
}

/// Whose data a field is and how long it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Personal {
    /// What kind of personal data, such as `contact`.
    pub category: Option<String>,
    /// The field that says whose data it is.
    pub subject: Option<String>,
    /// How many days it is kept.
    pub retention_days: Option<u64>,
}

/// How records of one version become records of another.
#[derive(Clone, Debug, PartialEq)]
pub struct Migration {
    /// The older version.
    pub from: semver::Version,
    /// The newer version.
    pub to: semver::Version,
    /// What makes a record of the older version one of the newer.
    pub up: Vec<Step>,
    /// What makes a record of the newer version one of the older.
    pub down: Vec<Step>,
}

/// One step of a migration; steps are taken in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A field gets another name.
    Rename {
        /// Its name before.
        from: String,
        /// Its name after.
        to: String,
    },
    /// A field gets a fixed value.
    Set {
        /// The field.
        field: String,
        /// The value.
        value: Value,
    },
    /// A field's values are replaced.
    Map {
        /// The field.
        field: String,
        /// Old and new values.
        values: Vec<(Value, Value)>,
    },
    /// A field gets the value of a CEL expression over the record before the step.
    Compute {
        /// The field.
        field: String,
        /// The expression.
        expression: String,
    },
    /// A field goes.
    Drop {
        /// The field.
        field: String,
    },
}
