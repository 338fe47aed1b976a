//! What a run is made of: the configuration compiled against the real systems.
//!
//! [`preflight`](crate::config::preflight()) makes it; the steps only carry it out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockstep_core::Shape;
use lockstep_core::contract::Contract;
use lockstep_core::contract::drift::Policy;
use lockstep_core::gate::{Mapping, ReadPlan, ValueMaps, WritePlan};

use crate::config::preflight::Preflight;
use crate::config::{Config, Consistency, Flow, Mode};
use crate::direct::Way;

/// One entity that is captured from one system.
#[derive(Clone, Debug)]
pub struct Captured {
    /// The contract.
    pub contract: Arc<Contract>,
    /// The mapping, for when the table's shape changes.
    pub mapping: Mapping,
    /// The value maps, likewise.
    pub values: Arc<ValueMaps>,
    /// The shape that `read` was compiled for.
    pub shape: Arc<Shape>,
    /// The shape that the table had when it was looked at.
    pub found: Arc<Shape>,
    /// From rows to records.
    pub read: Arc<ReadPlan>,
    /// What to do when the table no longer fits.
    pub policy: Policy,
    /// Older majors that are published whatever their sunset says.
    pub publish: Vec<u64>,
    /// The flow and the target whose first copy goes past the log.
    pub direct: Option<Way>,
}

/// One flow into one target.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// The flow's name.
    pub flow: String,
    /// The contract, in the version that the target is on.
    pub contract: Arc<Contract>,
    /// Whether the target stays on that version, whatever is captured.
    pub pinned: bool,
    /// What to do when the target's table no longer fits.
    pub policy: Policy,
    /// When what is captured is applied.
    pub mode: Mode,
    /// The system the entity comes from.
    pub from: String,
    /// The target.
    pub to: String,
    /// The mapping, for when the table's shape changes.
    pub mapping: Mapping,
    /// The value maps, likewise.
    pub values: Arc<ValueMaps>,
    /// Whether it arrives in whole transactions, with the other flows of the pair that do.
    pub whole: bool,
    /// Whether rows of copies come past the log.
    pub direct: bool,
    /// Tables of the target that are not there and are made at the start.
    pub makes: Vec<Arc<Shape>>,
    /// The shape that `write` was compiled for.
    pub shape: Arc<Shape>,
    /// From records to rows.
    pub write: Arc<WritePlan>,
}

/// Everything that runs.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// By source system, the entities captured from it.
    pub captures: BTreeMap<String, Vec<Captured>>,
    /// The flows, one per target.
    pub deliveries: Vec<Delivered>,
}

impl Plan {
    /// What a configuration amounts to, compiled: each entity is captured once, however many flows carry it.
    #[must_use]
    pub fn of(config: &Config, preflight: &Preflight) -> Plan {
        let values = Arc::new(config.values.clone());
        let mut plan = Plan::default();
        for flow in &preflight.flows {
            let captured = plan.captures.entry(flow.from.clone()).or_default();
            let known = captured
                .iter()
                .any(|known| known.contract.entity == flow.entity);
            if let Some(mapping) = config.mapping(&flow.from, &flow.entity).filter(|_| !known) {
                captured.push(Captured {
                    contract: Arc::clone(&flow.contract),
                    mapping: mapping.clone(),
                    values: Arc::clone(&values),
                    shape: Arc::clone(&flow.source),
                    found: Arc::clone(&flow.found),
                    read: Arc::clone(&flow.read),
                    policy: config.source_policy(&flow.from, &flow.entity),
                    publish: config.publish_majors(&flow.entity).to_vec(),
                    direct: config.flows.get(&flow.name).and_then(Flow::direct),
                });
            }
            let targets = flow.targets.iter().filter_map(|target| {
                Some(Delivered {
                    flow: flow.name.clone(),
                    contract: Arc::clone(&target.contract),
                    pinned: target.pinned,
                    policy: config
                        .flows
                        .get(&flow.name)
                        .map_or(config.drift, |written| {
                            config.policy(&target.system, written)
                        }),
                    mode: config
                        .flows
                        .get(&flow.name)
                        .map(|written| written.mode.clone())
                        .unwrap_or_default(),
                    from: flow.from.clone(),
                    to: target.system.clone(),
                    mapping: config.mapping(&target.system, &flow.entity)?.clone(),
                    values: Arc::clone(&values),
                    whole: config
                        .flows
                        .get(&flow.name)
                        .is_some_and(|flow| flow.consistency == Consistency::Transaction),
                    direct: config
                        .flows
                        .get(&flow.name)
                        .is_some_and(|flow| flow.direct().is_some()),
                    makes: target.makes.clone(),
                    shape: Arc::clone(&target.table),
                    write: Arc::clone(&target.write),
                })
            });
            plan.deliveries.extend(targets);
        }
        plan
    }

    /// Takes the flows out that arrive in whole transactions, pair by pair; a pair of which a flow cannot run yet waits for it.
    pub fn take_whole(&mut self, config: &Config) -> Vec<Vec<Delivered>> {
        let (whole, apart) = std::mem::take(&mut self.deliveries)
            .into_iter()
            .partition(|delivered| delivered.whole);
        self.deliveries = apart;
        let mut pairs: BTreeMap<(String, String), Vec<Delivered>> = BTreeMap::new();
        for delivered in whole {
            let pair = (delivered.from.clone(), delivered.to.clone());
            pairs.entry(pair).or_default().push(delivered);
        }
        pairs.retain(|(from, to), members| {
            let mut flows = config
                .flows
                .values()
                .filter(|flow| flow.consistency == Consistency::Transaction && flow.from == *from);
            flows.by_ref().filter(|flow| flow.to.contains(to)).count() == members.len()
        });
        pairs.into_values().collect()
    }

    /// What it amounts to once nothing is missing any more: how many captures and deliveries.
    #[must_use]
    pub fn parts_of(config: &Config) -> usize {
        let sources: BTreeSet<&String> = config.flows.values().map(|flow| &flow.from).collect();
        let targets = config.flows.values().map(|flow| flow.to.len());
        sources.len() + targets.sum::<usize>()
    }

    /// Leaves out what runs already.
    #[must_use]
    pub fn without(mut self, running: &Started) -> Plan {
        self.captures
            .retain(|system, _| !running.captures.contains(system));
        self.deliveries.retain(|delivered| {
            let name = (delivered.flow.clone(), delivered.to.clone());
            !running.deliveries.contains(&name)
        });
        self
    }
}

/// What of a configuration runs already.
#[derive(Clone, Debug, Default)]
pub struct Started {
    /// By system.
    captures: BTreeSet<String>,
    /// By flow and target.
    deliveries: BTreeSet<(String, String)>,
}

impl Started {
    /// Takes note of what is started now.
    pub fn add(&mut self, plan: &Plan) {
        self.captures.extend(plan.captures.keys().cloned());
        let names = plan.deliveries.iter();
        self.deliveries
            .extend(names.map(|delivered| (delivered.flow.clone(), delivered.to.clone())));
    }

    /// Takes note of flows that are started together.
    pub fn add_whole(&mut self, members: &[Delivered]) {
        let names = members.iter();
        self.deliveries
            .extend(names.map(|delivered| (delivered.flow.clone(), delivered.to.clone())));
    }

    /// Whether a flow runs into a target.
    #[must_use]
    pub fn delivers(&self, flow: &str, to: &str) -> bool {
        self.deliveries.contains(&(flow.to_owned(), to.to_owned()))
    }

    /// How many captures and deliveries that is.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.captures.len() + self.deliveries.len()
    }
}
