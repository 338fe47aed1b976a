//! How often rules were broken, and how those over all records were last judged.

use std::sync::Arc;

use lockstep_core::position::{Mark, Position};

use super::Board;
use crate::rules::{self, RuleCount, SetStatus};

impl Board {
    /// A rule was broken.
    pub fn broke(&self, count: RuleCount) {
        rules::add(&mut self.inner().rules, count);
    }

    /// Up to where changes of a system are counted that broke a rule: what is read again is not counted again.
    pub(crate) fn counted(&self, system: &str) -> Option<Position> {
        self.inner().captures.get(system)?.counted.clone()
    }

    /// A change of a system that broke a rule is counted.
    pub(crate) fn counted_at(&self, system: &str, incarnation: &Arc<str>, mark: Mark) {
        let mut inner = self.inner();
        let capture = inner.captures.entry(system.to_owned()).or_default();
        let known = |counted: &Position| counted.covers(incarnation, mark);
        if !capture.counted.as_ref().is_some_and(known) {
            capture.counted = Some(Position {
                incarnation: Arc::clone(incarnation),
                commit: mark.commit,
                ordinal: mark.ordinal,
                cursor: None,
            });
        }
    }

    /// How often each rule was broken here.
    #[must_use]
    pub fn rules(&self) -> Vec<RuleCount> {
        self.inner().rules.clone()
    }

    /// Rules over all records of an entity were judged.
    pub fn judged(&self, system: &str, entity: &str, sets: Vec<SetStatus>) {
        let place = (system.to_owned(), entity.to_owned());
        self.inner().sets.insert(place, sets);
    }

    /// How rules over all records were last judged here.
    #[must_use]
    pub fn sets(&self) -> Vec<SetStatus> {
        self.inner().sets.values().flatten().cloned().collect()
    }
}
