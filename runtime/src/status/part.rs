//! What one runtime knows of a run that several share, and what their parts say together.
//!
//! Times are told as ages, because clocks of other machines are nobody's business; only commit times of sources are times.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use lockstep_core::contract::drift::Drift;
use serde::{Deserialize, Serialize};

use super::{DriftStatus, FlowStatus, MajorStatus, ReadingStatus, State, Trouble};
use crate::canary::{Marks, Spot};
use crate::rules::{self, RuleCount, SetStatus};

/// How long a flow may make no progress before it counts as stalled.
const STALLED_AFTER: Duration = Duration::from_secs(30);
/// Most publishes per entity whose time is told.
pub(super) const RECENT_MAX: usize = 256;

/// What one runtime knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The systems it captures.
    pub(super) captures: BTreeMap<String, CapturePart>,
    /// How far the log has events of each entity.
    pub(super) entities: BTreeMap<String, EntityPart>,
    /// The flows it delivers.
    pub(super) flows: Vec<FlowPart>,
    /// What its canary found.
    #[serde(default)]
    pub(super) marks: Marks,
    /// How often each rule was broken.
    #[serde(default)]
    pub(super) rules: Vec<RuleCount>,
    /// How rules over all records were last judged.
    #[serde(default)]
    pub(super) sets: Vec<SetStatus>,
    /// Older majors whose subscribers are served.
    #[serde(default)]
    pub(super) majors: Vec<MajorStatus>,
}

/// A system that is captured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct CapturePart {
    /// Whether everything it said is in the log.
    pub(super) quiet: bool,
    pub(super) trouble: Option<Trouble>,
    /// Entities that are held by themselves.
    #[serde(default)]
    pub(super) held: BTreeMap<String, Trouble>,
    /// How many changes of held entities passed by since.
    #[serde(default)]
    pub(super) passed: BTreeMap<String, u64>,
    /// What of the tables does not fit, by entity.
    #[serde(default)]
    pub(super) drift: BTreeMap<String, Vec<Drift>>,
    /// Entities whose deletes are withheld.
    #[serde(default)]
    pub(super) withheld: BTreeMap<String, Trouble>,
    /// Tables that are being read, by entity.
    #[serde(default)]
    pub(super) readings: BTreeMap<String, ReadingStatus>,
}

/// An entity in the log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct EntityPart {
    pub(super) head: u64,
    /// Sequences with the commit time of their oldest change, in order.
    pub(super) recent: Vec<(u64, Timestamp)>,
}

/// A flow that is delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct FlowPart {
    pub(super) flow: String,
    pub(super) to: String,
    pub(super) entity: String,
    pub(super) from: String,
    pub(super) reached: u64,
    pub(super) applied: u64,
    pub(super) rate: f64,
    /// How long ago it last moved.
    pub(super) unmoved_ms: u64,
    pub(super) trouble: Option<Trouble>,
    /// For what it waits by its configuration.
    #[serde(default)]
    pub(super) waits: Option<String>,
    #[serde(default)]
    pub(super) lacks: Option<String>,
    #[serde(default)]
    pub(super) contract: Option<String>,
    #[serde(default)]
    pub(super) drift: Vec<Drift>,
}

impl CapturePart {
    /// Why an entity is held by itself.
    fn held(&self, entity: &str) -> Option<String> {
        let held = self.held.get(entity).or_else(|| self.withheld.get(entity));
        let Trouble { reason, .. } = held?;
        let passed = self.passed.get(entity).copied().unwrap_or(0);
        if passed == 0 {
            return Some(reason.clone());
        }
        Some(format!(
            "{reason}; {passed} changes passed by since, and its table is read again once it goes on"
        ))
    }
}

impl Part {
    /// Adds what another runtime knows.
    pub fn join(&mut self, other: Part) {
        self.captures.extend(other.captures);
        for (entity, part) in other.entities {
            let known = self.entities.entry(entity).or_default();
            known.head = known.head.max(part.head);
            // Whoever captures it told more of it than whoever only saw its head.
            if part.recent.len() > known.recent.len() {
                known.recent = part.recent;
            }
        }
        self.flows.extend(other.flows);
        self.marks.join(other.marks);
        for count in other.rules {
            rules::add(&mut self.rules, count);
        }
        self.sets.extend(other.sets);
        self.majors.extend(other.majors);
    }

    /// The state of every flow. `quarantined` gives the open entries of an entity's source and of a flow's target.
    pub fn flows(
        &self,
        now: Timestamp,
        quarantined: impl Fn(&str, &str, &str) -> u64,
    ) -> Vec<FlowStatus> {
        let mut flows: Vec<FlowStatus> = self
            .flows
            .iter()
            .map(|flow| {
                let (state, reason, stuck) = self.state(flow);
                FlowStatus {
                    flow: flow.flow.clone(),
                    entity: flow.entity.clone(),
                    from: flow.from.clone(),
                    to: flow.to.clone(),
                    state,
                    lag_ms: self.lag_ms(flow, now),
                    rate: flow.rate,
                    applied: flow.applied,
                    quarantined: quarantined(&flow.entity, &flow.flow, &flow.to),
                    reason,
                    halted: None,
                    paused: None,
                    stuck,
                    mark_ms: self.marks.passed_ms(&flow.flow, &flow.to),
                    contract: flow.contract.clone(),
                    drift: self.drift(flow),
                    reading: self
                        .captures
                        .get(&flow.from)
                        .and_then(|capture| capture.readings.get(&flow.entity).cloned()),
                }
            })
            .collect();
        flows.sort_by(|a, b| (&a.flow, &a.to).cmp(&(&b.flow, &b.to)));
        flows
    }

    /// What does not fit at either end of a flow.
    fn drift(&self, flow: &FlowPart) -> Vec<DriftStatus> {
        let capture = self.captures.get(&flow.from);
        let source = capture.and_then(|capture| capture.drift.get(&flow.entity));
        let source = source
            .into_iter()
            .flatten()
            .map(|drift| (&flow.from, drift));
        let target = flow.drift.iter().map(|drift| (&flow.to, drift));
        let status = |(system, drift): (&String, &Drift)| DriftStatus {
            system: system.clone(),
            drift: drift.clone(),
        };
        source.chain(target).map(status).collect()
    }

    /// What a flow is doing, why, and where it is stuck.
    fn state(&self, flow: &FlowPart) -> (State, Option<String>, Option<Spot>) {
        let capture = self.captures.get(&flow.from);
        let here = flow.trouble.as_ref().map(|trouble| (trouble, Spot::Target));
        let there = capture.and_then(|capture| capture.trouble.as_ref());
        let there = there.map(|trouble| (trouble, Spot::Capture));
        if let Some((trouble, spot)) = here.or(there) {
            // Whoever failed, what failed may be the log.
            let spot = if trouble.reason.contains("(LS-L") {
                Spot::Log
            } else {
                spot
            };
            let state = if trouble.held {
                State::Held
            } else {
                State::Stalled
            };
            return (state, Some(trouble.reason.clone()), Some(spot));
        }
        if let Some(reason) = capture.and_then(|capture| capture.held(&flow.entity)) {
            return (State::Held, Some(reason), Some(Spot::Capture));
        }
        if let Some(stuck) = self.marks.stuck(&flow.flow, &flow.from, &flow.to) {
            return (State::Stalled, Some(stuck.reason.clone()), Some(stuck.at));
        }
        if let Some(lacks) = &flow.lacks {
            return (State::Behind, Some(lacks.clone()), None);
        }
        let quiet = capture.is_some_and(|capture| capture.quiet);
        let head = self.entities.get(&flow.entity);
        let head = head.map_or(0, |entity| entity.head);
        if flow.reached >= head && quiet {
            return (State::Idle, None, None);
        }
        if flow.reached < head && flow.waits.is_some() {
            return (State::Behind, flow.waits.clone(), None);
        }
        let unmoved = Duration::from_millis(flow.unmoved_ms);
        if flow.reached < head && unmoved > STALLED_AFTER {
            let reason = format!("nothing was applied for {} s", unmoved.as_secs());
            return (State::Stalled, Some(reason), Some(Spot::Delivery));
        }
        (State::Behind, None, None)
    }

    fn lag_ms(&self, flow: &FlowPart, now: Timestamp) -> u64 {
        let Some(entity) = self.entities.get(&flow.entity) else {
            return 0;
        };
        let waiting = entity.recent.iter().find(|(seq, _)| *seq > flow.reached);
        let Some((_, since)) = waiting else { return 0 };
        u64::try_from(now.as_millisecond() - since.as_millisecond()).unwrap_or(0)
    }
}
