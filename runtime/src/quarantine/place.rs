//! An entry without its record: enough to count entries, to find what halts an entity, and to keep a line in its order.

use jiff::Timestamp;
use lockstep_core::contract::Outcome;
use serde::Deserialize;

use super::entry::{Stage, State};

/// Where an entry stopped and what became of it: an entry without its record.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Place {
    /// The entry's id.
    pub id: String,
    /// Where it stopped.
    pub stage: Stage,
    /// The system at which it stopped.
    pub system: String,
    /// The flow, for delivery.
    pub flow: Option<String>,
    /// The entity.
    pub entity: String,
    /// The record's key.
    pub key: String,
    /// When it was quarantined.
    pub at: Timestamp,
    /// Which rules it breaks, and what they ask for.
    pub violations: Vec<Broken>,
    /// Its change's place in the source.
    pub held: HeldPlace,
    /// Its place in the line behind the change that halted its entity.
    #[serde(default)]
    pub line: Option<u64>,
    /// What became of it.
    pub state: State,
    /// When it was closed.
    #[serde(default)]
    pub closed_at: Option<Timestamp>,
}

/// A broken rule, without words.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Broken {
    /// The rule.
    pub rule: String,
    /// What it asks for.
    #[serde(default)]
    pub outcome: Outcome,
}

/// The place of a held change.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HeldPlace {
    /// The id of its event; empty where it has none.
    pub event: String,
}

impl Place {
    /// Tells whether its entity stands still until somebody decides about it.
    #[must_use]
    pub fn halts(&self) -> bool {
        let asked = |broken: &Broken| broken.outcome == Outcome::Halt;
        self.stage == Stage::Gate && self.state == State::Open && self.violations.iter().any(asked)
    }
}
