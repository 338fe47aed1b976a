//! What one runtime knows of a run that several share, and what their parts say together.
//!
//! Times are told as ages, because clocks of other machines are nobody's business; only commit times of sources are times.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use lockstep_core::contract::drift::Drift;
use serde::{Deserialize, Serialize};

use super::{DriftStatus, FlowStatus, State, Trouble};
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
    /// How often each rule was broken.
    #[serde(default)]
    pub(super) rules: Vec<RuleCount>,
    /// How rules over all records were last judged.
    #[serde(default)]
    pub(super) sets: Vec<SetStatus>,
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
    /// What of the tables does not fit, by entity.
    #[serde(default)]
    pub(super) drift: BTreeMap<String, Vec<Drift>>,
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
    #[serde(default)]
    pub(super) contract: Option<String>,
    #[serde(default)]
    pub(super) drift: Vec<Drift>,
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
        for count in other.rules {
            rules::add(&mut self.rules, count);
        }
        self.sets.extend(other.sets);
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
                let (state, reason) = self.state(flow);
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
                    contract: flow.contract.clone(),
                    drift: self.drift(flow),
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

    fn state(&self, flow: &FlowPart) -> (State, Option<String>) {
        let capture = self.captures.get(&flow.from);
        let trouble = flow.trouble.as_ref();
        let trouble = trouble.or(capture.and_then(|capture| capture.trouble.as_ref()));
        let held = capture.and_then(|capture| capture.held.get(&flow.entity));
        let trouble = trouble.or(held);
        if let Some(trouble) = trouble {
            let state = if trouble.held {
                State::Held
            } else {
                State::Stalled
            };
            return (state, Some(trouble.reason.clone()));
        }
        let quiet = capture.is_some_and(|capture| capture.quiet);
        let head = self.entities.get(&flow.entity);
        let head = head.map_or(0, |entity| entity.head);
        if flow.reached >= head && quiet {
            return (State::Idle, None);
        }
        let unmoved = Duration::from_millis(flow.unmoved_ms);
        if flow.reached < head && unmoved > STALLED_AFTER {
            let reason = format!("nothing was applied for {} s", unmoved.as_secs());
            return (State::Stalled, Some(reason));
        }
        (State::Behind, None)
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
