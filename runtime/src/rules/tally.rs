//! How often each rule was broken, and a line in the log for rules that warn, now and then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_core::contract::{Contract, Outcome, Violation};
use lockstep_core::position::{Mark, Position};
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
    /// How many changes broke it; one that is read again, because nobody knew that it had been read, counts once.
    pub changes: u64,
}

/// Counts and tells broken rules of one system.
pub struct Tally {
    system: String,
    board: Arc<Board>,
    /// Up to where an earlier life of the capture counted.
    before: Option<Position>,
    told: HashMap<(String, String), Told>,
}

/// Where a change stands that broke a rule.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// The life of its source.
    pub incarnation: &'a Arc<str>,
    /// Its place there.
    pub mark: Mark,
    /// Whether it waited in line since it was read, so that its place says nothing about whether it was judged before.
    pub waited: bool,
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
            before: board.counted(system),
            told: HashMap::new(),
        }
    }

    /// Takes note of the rules that one change broke, unless an earlier life of the capture did; without a contract, of an entity that nobody knows.
    pub fn note(&mut self, contract: Option<&Contract>, violations: &[Violation], at: At<'_>) {
        let counted = |before: &Position| before.covers(at.incarnation, at.mark);
        if !at.waited && self.before.as_ref().is_some_and(counted) {
            return;
        }
        if !violations.is_empty() {
            self.board.counted_at(&self.system, at.incarnation, at.mark);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_is_read_again_counts_once() {
        let board = Arc::new(Board::default());
        let incarnation = Arc::from("one");
        let other = Arc::from("two");
        let broken = |outcome| Violation {
            field: None,
            rule: "allowed".to_owned(),
            message: "not allowed".to_owned(),
            outcome,
        };
        let note = |tally: &mut Tally, incarnation, commit, waited| {
            let at = At {
                incarnation,
                mark: Mark { commit, ordinal: 0 },
                waited,
            };
            tally.note(None, &[broken(Outcome::Quarantine)], at);
            let counts = board.rules();
            counts.iter().map(|count| count.changes).sum::<u64>()
        };
        let mut tally = Tally::new("crm", &board);
        assert_eq!(note(&mut tally, &incarnation, 7, false), 1);
        // Of two entities of one table.
        assert_eq!(note(&mut tally, &incarnation, 7, false), 2);
        assert_eq!(note(&mut tally, &incarnation, 9, false), 3);
        // What failed begins again before what it had read.
        let mut tally = Tally::new("crm", &board);
        assert_eq!(note(&mut tally, &incarnation, 7, false), 3);
        assert_eq!(note(&mut tally, &incarnation, 9, false), 3);
        assert_eq!(note(&mut tally, &incarnation, 8, true), 4);
        assert_eq!(note(&mut tally, &incarnation, 10, false), 5);
        assert_eq!(note(&mut tally, &other, 1, false), 6);
        assert_eq!(
            note(&mut Tally::new("erp", &board), &incarnation, 1, false),
            7
        );
    }
}
