//! How often each rule was broken, and a line in the log for rules that warn, now and then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_core::contract::{Contract, Outcome, Violation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::status::Board;

/// How long after a warning of a rule the next one is told at the earliest.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// Most rules that are told apart; the rest counts together.
const RULES_MAX: usize = 1000;

/// How often a rule was broken since the runtime started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuleCount {
    /// The system whose changes broke it.
    pub system: String,
    /// The entity.
    pub entity: String,
    /// The field, for a rule about one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    /// The rule.
    pub rule: String,
    /// What became of the changes that broke it, as far as this rule asks.
    pub outcome: Outcome,
    /// How many changes broke it; one that comes again after a restart counts again.
    pub changes: u64,
}

/// Counts and tells broken rules of one system.
pub struct Tally {
    system: String,
    board: Arc<Board>,
    told: HashMap<(String, String), Told>,
}

/// When a rule was last told, and how often it was broken since.
struct Told {
    at: Instant,
    since: u64,
}

impl Tally {
    /// A tally that shows on a board.
    #[must_use]
    pub fn new(system: &str, board: &Arc<Board>) -> Tally {
        Tally {
            system: system.to_owned(),
            board: Arc::clone(board),
            told: HashMap::new(),
        }
    }

    /// Takes note of the rules that one change broke; without a contract, of an entity that nobody knows.
    pub fn note(&mut self, contract: Option<&Contract>, violations: &[Violation]) {
        let entity = contract.map_or("", |contract| contract.entity.as_str());
        for broken in violations {
            // What publishers make up must not make the list long.
            let field = broken.field.as_deref();
            let field = field.filter(|field| contract.is_some_and(|c| c.field(field).is_some()));
            self.board.broke(RuleCount {
                system: self.system.clone(),
                entity: entity.to_owned(),
                field: field.map(str::to_owned),
                rule: broken.rule.clone(),
                outcome: broken.outcome,
                changes: 1,
            });
            if broken.outcome == Outcome::Warn {
                self.warn(entity, broken, Instant::now());
            }
        }
    }

    /// One line per rule and minute, however many records break it.
    fn warn(&mut self, entity: &str, broken: &Violation, now: Instant) {
        let place = (entity.to_owned(), broken.rule.clone());
        let told = self.told.get_mut(&place);
        let since = match told {
            Some(told) if now - told.at < TOLD_EVERY => {
                told.since += 1;
                return;
            }
            Some(told) => std::mem::take(&mut told.since),
            None => 0,
        };
        if self.told.len() < RULES_MAX || self.told.contains_key(&place) {
            self.told.insert(place, Told { at: now, since: 0 });
        }
        tracing::warn!(
            system = self.system,
            entity,
            rule = broken.rule,
            field = broken.field,
            changes = since + 1,
            "changes break a rule that warns, and go on"
        );
    }
}

/// Adds a count to counts, of which there are never very many.
pub(crate) fn add(counts: &mut Vec<RuleCount>, one: RuleCount) {
    let same = |known: &&mut RuleCount| {
        known.system == one.system
            && known.entity == one.entity
            && known.field == one.field
            && known.rule == one.rule
            && known.outcome == one.outcome
    };
    if let Some(known) = counts.iter_mut().find(same) {
        known.changes += one.changes;
    } else if counts.len() < RULES_MAX {
        counts.push(one);
    }
}
