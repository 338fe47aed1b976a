//! Rules on the data beyond types and bounds, and what becomes of a record that breaks one.

use crate::value::Value;

/// A rule on the data.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name, which quarantine reasons give.
    pub name: String,
    /// The field it is about, or none for a rule over several.
    pub field: Option<String>,
    /// What must hold.
    pub check: Check,
    /// What becomes of what breaks it.
    pub outcome: Outcome,
    /// How many may break it before its outcome takes effect; a rule on single records has none.
    pub tolerance: Option<Tolerance>,
}

/// What must hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// A CEL expression over the contract's fields is true of every record.
    Holds(String),
    /// The rule's field is not null.
    NotNull,
    /// The rule's field has none of the values that stand for a missing one.
    NotMissing(Vec<Value>),
    /// The rule's field has one of these values.
    OneOf(Vec<Value>),
    /// The rule's field, a text, matches this regular expression.
    Matches(String),
    /// The rule's field lies between these bounds, themselves included.
    Between(Option<Value>, Option<Value>),
    /// The rule's field, a text, has a length between these bounds, themselves included.
    Length(Option<u64>, Option<u64>),
    /// No two records have the same values in these fields.
    Unique(Vec<String>),
    /// The value of the rule's field stands in this field of this entity.
    Exists {
        /// The entity.
        entity: String,
        /// Its field.
        field: String,
    },
    /// The entity has so many records.
    Volume {
        /// Fewest.
        least: Option<u64>,
        /// Most.
        most: Option<u64>,
    },
    /// The newest value of the rule's field, a timestamp or date, is at most so many seconds old.
    Fresh {
        /// Seconds.
        within: u64,
    },
}

impl Check {
    /// Whether the check judges one record by itself; all others need more than one record or a clock.
    #[must_use]
    pub fn is_of_records(&self) -> bool {
        !matches!(
            self,
            Check::Unique(_) | Check::Exists { .. } | Check::Volume { .. } | Check::Fresh { .. }
        )
    }
}

/// How many records may break a rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// So many.
    Records(u64),
    /// So many of a hundred.
    Percent(f64),
}

/// What becomes of a record that breaks a rule, from the mildest on.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It goes on, and is counted.
    Pass,
    /// It goes on, and is counted and told.
    Warn,
    /// It is set aside until somebody decides; later versions of its key supersede it.
    #[default]
    Quarantine,
    /// It is refused for good: kept as a closed entry, and told to whoever published it.
    Reject,
    /// Its entity stops until somebody decides.
    Halt,
}

impl Outcome {
    /// The word for it in contracts, messages and outputs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Warn => "warn",
            Outcome::Quarantine => "quarantine",
            Outcome::Reject => "reject",
            Outcome::Halt => "halt",
        }
    }
}
