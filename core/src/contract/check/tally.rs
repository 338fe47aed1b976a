//! Counts of faults by field and rule, with a few examples each, in bounded space.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Display;
use std::hash::{Hash as _, Hasher as _};

use super::Violation;
use super::fault::{Broken, Fault, Path};
use crate::contract::Outcome;

/// Most faults that are told apart; further ones are counted together.
pub const FAULTS_MAX: usize = 1_000;

/// What checking many records found.
#[derive(Debug)]
pub struct Tally {
    records: u64,
    by_outcome: [u64; OUTCOMES.len()],
    counted: Vec<Counted>,
    by_identity: HashMap<u64, usize>,
    examples: usize,
    others: u64,
}

const OUTCOMES: [Outcome; 5] = [
    Outcome::Pass,
    Outcome::Warn,
    Outcome::Quarantine,
    Outcome::Reject,
    Outcome::Halt,
];

/// One fault and how often it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The field, with the way inside it such as `tags[]`; none for what is about the whole record.
    pub field: Option<String>,
    /// The broken rule.
    pub rule: String,
    /// What becomes of a record with it.
    pub outcome: Outcome,
    /// How often it came; several times in one record where it holds several values.
    pub count: u64,
    /// The first ones.
    pub examples: Vec<Example>,
}

/// Where a fault stood, and its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The place, such as `orders.jsonl:17`.
    pub at: String,
    /// What is wrong; never shows a protected value.
    pub message: String,
}

impl Tally {
    /// A tally that keeps so many examples of each fault.
    #[must_use]
    pub fn new(examples: usize) -> Tally {
        Tally {
            records: 0,
            by_outcome: [0; OUTCOMES.len()],
            counted: Vec::new(),
            by_identity: HashMap::new(),
            examples,
            others: 0,
        }
    }

    /// How many records were judged.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// How many records had a fault of this outcome as their severest.
    #[must_use]
    pub fn records_of(&self, outcome: Outcome) -> u64 {
        self.by_outcome[outcome as usize]
    }

    /// How many records had no fault at all.
    #[must_use]
    pub fn sound(&self) -> u64 {
        self.records - self.by_outcome.iter().sum::<u64>()
    }

    /// Every fault, the commonest first.
    #[must_use]
    pub fn faults(&self) -> Vec<&Counted> {
        let mut all: Vec<&Counted> = self.counted.iter().collect();
        all.sort_by(|a, b| {
            let name = |c: &Counted| (c.field.clone(), c.rule.clone());
            b.count.cmp(&a.count).then_with(|| name(a).cmp(&name(b)))
        });
        all
    }

    /// Faults beyond those that are told apart.
    #[must_use]
    pub fn others(&self) -> u64 {
        self.others
    }

    /// Counts a record, and its severest fault if it has one.
    pub fn record(&mut self, worst: Option<Outcome>) {
        self.records += 1;
        if let Some(outcome) = worst {
            self.by_outcome[outcome as usize] += 1;
        }
    }

    /// Counts a fault.
    pub(super) fn fault(&mut self, fault: &Fault<'_>, at: &dyn Display) {
        let mut hasher = DefaultHasher::new();
        fault.identify(&mut hasher);
        let counted = || Counted {
            field: fault.general(),
            rule: fault.rule().to_owned(),
            outcome: fault.check.outcome,
            count: 0,
            examples: Vec::new(),
        };
        self.count(hasher.finish(), counted, || fault.violation().told(), at);
    }

    /// Counts a violation that stands for itself, such as one of a rule.
    pub fn violation(&mut self, violation: &Violation, at: &dyn Display) {
        let mut hasher = DefaultHasher::new();
        (&violation.field, &violation.rule).hash(&mut hasher);
        let counted = || Counted {
            field: violation.field.clone(),
            rule: violation.rule.clone(),
            outcome: violation.outcome,
            count: 0,
            examples: Vec::new(),
        };
        let told = || violation.clone().told();
        self.count(hasher.finish(), counted, told, at);
    }

    fn count(
        &mut self,
        identity: u64,
        new: impl FnOnce() -> Counted,
        told: impl FnOnce() -> String,
        at: &dyn Display,
    ) {
        let position = match self.by_identity.get(&identity) {
            Some(position) => *position,
            None if self.counted.len() < FAULTS_MAX => {
                self.counted.push(new());
                self.by_identity.insert(identity, self.counted.len() - 1);
                self.counted.len() - 1
            }
            None => {
                self.others += 1;
                return;
            }
        };
        let counted = &mut self.counted[position];
        counted.count += 1;
        if counted.examples.len() < self.examples {
            counted.examples.push(Example {
                at: at.to_string(),
                message: told(),
            });
        }
    }
}

impl Violation {
    /// The message, led by the exact way where the field alone does not say it.
    fn told(self) -> String {
        match self.field {
            Some(field) if field.contains(['[', '.']) => format!("{field}: {}", self.message),
            _ => self.message,
        }
    }
}

impl Fault<'_> {
    /// What makes it the same fault as another: rule and field, positions and entries left out.
    fn identify(&self, hasher: &mut DefaultHasher) {
        self.rule().hash(hasher);
        let unknown = matches!(self.broken, Broken::Unknown | Broken::Twice);
        match self.path {
            Path::Member(of, _) if unknown && !self.check.is_visible() => of.identify(hasher),
            path => path.identify(hasher),
        }
    }
}

impl Path<'_> {
    fn identify(&self, hasher: &mut DefaultHasher) {
        match self {
            Path::Record => {}
            Path::Member(of, name) => {
                of.identify(hasher);
                name.hash(hasher);
            }
            Path::Item(of, _) => {
                of.identify(hasher);
                0_u8.hash(hasher);
            }
            Path::Entry(of, _) => {
                of.identify(hasher);
                1_u8.hash(hasher);
            }
        }
    }
}
