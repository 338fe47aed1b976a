//! What needs a running system to be judged: tables, columns, permissions, the log's place.
//!
//! [`preflight`] opens every system once, compiles every mapping against the tables that are really there and keeps what it compiled: `run` builds from the result and checks nothing again.
//! It changes nothing anywhere.

mod between;
mod chain;
mod links;
mod majors;
mod place;
mod running;
mod servers;
mod survey;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;
use lockstep_core::Shape;
use lockstep_core::connector::{DynSink, Need, Registry};
use lockstep_core::contract::Contract;
use lockstep_core::contract::drift::{self, Action, Decision, Expected, Policy, Side, compare};
use lockstep_core::contract::migrate::Route;
use lockstep_core::diagnostic::{Diagnostic, Severity};
use lockstep_core::gate::{Mapping, Problem, ReadPlan, WritePlan};

use super::flows::version_of;
use super::{Config, Flow, Role};
use crate::drift::FAILED;
use crate::versions::{UNKNOWN_VERSION, source_key, target_key};
use survey::{Survey, survey};

pub use between::between;
pub use links::links;
pub use place::holder;
pub use running::running;
pub(crate) use survey::{diagnostic, look, open_reader, target_shape, within_deadline};

/// A configuration compiled against the systems as they are.
#[derive(Debug)]
pub struct Preflight {
    /// The flows that can run; a flow or target with an error is left out.
    pub flows: Vec<PlannedFlow>,
    /// Everything that was found, in the order of the configuration.
    pub findings: Vec<Diagnostic>,
    /// The systems that did not answer, which may be over in a moment.
    pub away: BTreeSet<String>,
}

/// A flow, compiled.
#[derive(Clone, Debug)]
pub struct PlannedFlow {
    /// Its name.
    pub name: String,
    /// Its entity.
    pub entity: String,
    /// The entity's contract.
    pub contract: Arc<Contract>,
    /// The system that says it.
    pub from: String,
    /// The table it is read from, as the plan was compiled for it.
    pub source: Arc<Shape>,
    /// The table as it is, where its entity is held because it does not fit.
    pub found: Arc<Shape>,
    /// From the source's rows to records.
    pub read: Arc<ReadPlan>,
    /// The systems that hear it.
    pub targets: Vec<PlannedTarget>,
}

/// One target of a flow, compiled.
#[derive(Clone, Debug)]
pub struct PlannedTarget {
    /// The system.
    pub system: String,
    /// The contract, in the version that the target is on.
    pub contract: Arc<Contract>,
    /// Whether that is an older version, on which the target stays.
    pub pinned: bool,
    /// The table as the system declares it, with the columns that are added at the start.
    pub table: Arc<Shape>,
    /// Columns that are added at the start.
    pub adds: Vec<String>,
    /// The tables of this system that are not there and are made at the start.
    pub makes: Vec<Arc<Shape>>,
    /// From records to the target's rows.
    pub write: Arc<WritePlan>,
    /// From the target's rows back to records, as far as the mapping can be read, for verification.
    pub read_back: Arc<ReadPlan>,
    /// Whether the table drifted, so that the delivery to it is held until it fits again.
    pub is_held: bool,
}

impl PlannedTarget {
    /// Whether its table is made at the start.
    fn is_made(&self) -> bool {
        self.makes.iter().any(|made| made.name == self.table.name)
    }
}

impl Preflight {
    /// Tells whether nothing stands in the way of running everything.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.errors().next().is_none()
    }

    /// Tells whether something is wrong, and only with the surroundings: a system out of reach, a folder that cannot be written.
    #[must_use]
    pub fn is_environment(&self) -> bool {
        !self.is_sound() && self.errors().all(|finding| is_environment(finding.code))
    }

    /// Tells whether nothing is wrong but that systems are away: what does not need them can run, and they can be waited for.
    #[must_use]
    pub fn is_only_away(&self) -> bool {
        !self.away.is_empty() && self.errors().all(|finding| finding.code == AWAY)
    }

    fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
    }
}

/// The code of a system that does not answer, or that does not let us in.
const AWAY: &str = "LS-P001";

/// Whether a finding is about the surroundings and not about what is configured.
fn is_environment(code: &str) -> bool {
    matches!(
        code,
        AWAY | "LS-P005" | "LS-P007" | "LS-P008" | "LS-P010" | "LS-L006" | "LS-L007" | "LS-L008"
    )
}

/// Opens every system that a flow uses and compiles every flow.
pub async fn preflight(config: &Config, registry: &Registry) -> Preflight {
    let mut findings = place::check(config);
    findings.extend(servers::check(config).await);
    let names = |of: fn(&Flow) -> Vec<&String>| -> BTreeSet<&str> {
        config
            .flows
            .values()
            .flat_map(of)
            .map(String::as_str)
            .collect()
    };
    let sources = names(|flow| vec![&flow.from]);
    let sinks = names(|flow| flow.to.iter().collect());
    let surveys = |systems: BTreeSet<&'_ str>, role| {
        let systems: Vec<String> = systems.into_iter().map(str::to_owned).collect();
        async move {
            let found = systems
                .iter()
                .map(|name| survey(config, registry, name, role));
            let found = join_all(found).await;
            systems.into_iter().zip(found).collect::<BTreeMap<_, _>>()
        }
    };
    let (mut sources, mut sinks) =
        futures_util::join!(surveys(sources, Role::Source), surveys(sinks, Role::Sink));
    let mut away = BTreeSet::new();
    for (system, survey) in sources.iter_mut().chain(sinks.iter_mut()) {
        findings.append(&mut survey.findings);
        if survey.is_away {
            away.insert(system.clone());
        }
    }
    let mut planner = Planner {
        config,
        sources: &sources,
        sinks: &sinks,
        findings,
        held: BTreeSet::new(),
    };
    let flows: Vec<PlannedFlow> = config
        .flows
        .values()
        .filter_map(|flow| planner.flow(flow))
        .collect();
    let Planner {
        mut findings, held, ..
    } = planner;
    for (system, survey) in sources.iter().chain(&sinks) {
        let absent = survey.absent.iter().map(|(table, finding)| Diagnostic {
            severity: if held.contains(&(system.clone(), table.clone())) {
                Severity::Warning
            } else {
                finding.severity
            },
            ..finding.clone()
        });
        findings.extend(absent);
    }
    findings.extend(chain::check(config, &sources, &sinks));
    findings.extend(between(config));
    findings.extend(majors::check(config));
    findings.extend(check_sources(config, &flows, &mut sources).await);
    findings.extend(check_sinks(config, &flows, &sinks).await);
    Preflight {
        flows,
        findings: in_order(findings),
        away,
    }
}

/// Findings once each, in the order of the files.
fn in_order(mut findings: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let place = |finding: &Diagnostic| {
        finding
            .place
            .as_ref()
            .map(|place| (place.file.clone(), place.offset))
    };
    findings.sort_by(|a, b| (place(a), a.code, &a.message).cmp(&(place(b), b.code, &b.message)));
    // Reading and writing one mapping may meet the same problem.
    findings.dedup();
    findings
}

/// Compiles flows against surveyed systems.
struct Planner<'a> {
    config: &'a Config,
    sources: &'a BTreeMap<String, Survey>,
    sinks: &'a BTreeMap<String, Survey>,
    findings: Vec<Diagnostic>,
    /// By system, tables that are not there and were when they were seen before: their entities are held.
    held: BTreeSet<(String, String)>,
}

impl Planner<'_> {
    /// The flow, unless its source cannot be read; or no target can be written. What is captured for a target that is away waits in the log.
    fn flow(&mut self, flow: &Flow) -> Option<PlannedFlow> {
        let config = self.config;
        let contract = config.contracts.get(&flow.entity)?;
        let mapping = config.mapping(&flow.from, &flow.entity)?;
        let key = source_key(&flow.from, &flow.entity);
        let policy = config.source_policy(&flow.from, &flow.entity);
        let survey = self.sources.get(&flow.from)?;
        let found = self.found(survey, &flow.from, &mapping.table, &key);
        let read = found.as_ref().and_then(|found| {
            let compile =
                |shape: &Shape| ReadPlan::compile(mapping, shape, contract, &config.values, false);
            let place = (flow.from.as_str(), flow.entity.as_str());
            self.fits(
                place,
                &key,
                (policy, None),
                found,
                compile,
                ReadPlan::warnings,
            )
        });
        // Targets are compiled even where the source is not: their problems are their own.
        let targets: Vec<PlannedTarget> = flow
            .to
            .iter()
            .filter_map(|system| self.target(flow, contract, system))
            .collect();
        let away = |system: &String| self.sinks.get(system).is_some_and(|sink| sink.is_away);
        if targets.is_empty() && !flow.to.iter().any(away) {
            return None;
        }
        Some(PlannedFlow {
            name: flow.name.clone(),
            entity: flow.entity.clone(),
            contract: Arc::clone(contract),
            from: flow.from.clone(),
            found: found?,
            source: read.as_ref()?.0.clone(),
            read: Arc::new(read?.1),
            targets,
        })
    }

    /// A table as it is; or as it was, where it is not there and was when it was seen before: its entity is held then, or its flow ends, and nobody else's.
    fn found(
        &mut self,
        survey: &Survey,
        system: &str,
        table: &str,
        key: &str,
    ) -> Option<Arc<Shape>> {
        if let Some(found) = survey.shapes.get(table) {
            return Some(Arc::clone(found));
        }
        let known = self.config.known.tables.get(key);
        let known = known.filter(|_| survey.absent.contains_key(table))?;
        self.held.insert((system.to_owned(), table.to_owned()));
        Some(Arc::new(known.shape.clone()))
    }

    /// The plan for a table as it is; or, where it fitted when it was seen before, as it was: whoever works with it holds its entity then, or ends its flow, as when it drifts while it runs.
    fn fits<T>(
        &mut self,
        (system, entity): (&str, &str),
        key: &str,
        (policy, hold): (Policy, Option<String>),
        found: &Arc<Shape>,
        compile: impl Fn(&Shape) -> Result<T, Vec<Problem>>,
        warnings: fn(&T) -> &[Problem],
    ) -> Option<(Arc<Shape>, T)> {
        let compiled = compile(found);
        let known = self.config.known.tables.get(key);
        let drifted = compiled.is_err() || hold.is_some();
        if let Some(before) = known.filter(|_| drifted)
            && let Ok(plan) = compile(&before.shape)
        {
            let problems = compiled.as_ref().err().map_or(&[][..], Vec::as_slice);
            let problem = problems.iter().find(|p| p.severity == Severity::Error);
            let hold = hold.as_deref().unwrap_or_default();
            let reason = problem.map_or(hold, |problem| problem.message.as_str());
            let (code, becomes) = match policy.breaking {
                Action::Fail => (
                    FAILED,
                    format!("the flow of `{entity}` ends there, as the policy says"),
                ),
                _ => (drift::BREAKING, format!("`{entity}` is held there")),
            };
            let message = format!(
                "table `{}` of `{system}` does not fit any more, so {becomes}: {reason}",
                found.name
            );
            let path = problem.map_or(&[][..], |problem| problem.path.as_slice());
            let mut finding = Diagnostic::warning(code, message).help(
                "mend the table, the mapping or the contract; `lockstep contract drift` says more",
            );
            finding.place = self.config.place(system, entity, path);
            self.findings.push(finding);
            return Some((Arc::new(before.shape.clone()), plan));
        }
        let plan = self.compiled(system, entity, compiled, warnings)?;
        Some((Arc::clone(found), plan))
    }

    /// The older version of the contract that a target is on, if it is.
    fn older(
        &mut self,
        flow: &Flow,
        contract: &Arc<Contract>,
        system: &str,
    ) -> Option<Arc<Contract>> {
        let written = flow.versions.get(system)?;
        let wanted = version_of(written)?;
        if wanted.matches(&contract.version) {
            return None;
        }
        let found = self.config.contract_of(&flow.name, system);
        let place = self
            .config
            .places
            .value(&["flows", &flow.name, "versions", system]);
        let Some(found) = found else {
            let message = format!("version {written} of `{}` is not known here", flow.entity);
            let finding = Diagnostic::error(UNKNOWN_VERSION, message).at(place);
            self.findings.push(finding.help(
                "name a version that this log has run, or that is among the contract's releases",
            ));
            return None;
        };
        let found = Arc::clone(found);
        if let Err(faults) = Route::between(contract, &found, &[]) {
            let faults = faults.iter().map(|fault| Diagnostic {
                place: Some(place.clone()),
                ..fault.diagnostic(None)
            });
            self.findings.extend(faults);
        }
        Some(found)
    }

    fn target(
        &mut self,
        flow: &Flow,
        current: &Arc<Contract>,
        system: &str,
    ) -> Option<PlannedTarget> {
        let config = self.config;
        let mapping = config.mapping(system, &flow.entity)?;
        let older = self.older(flow, current, system);
        let pinned = older.is_some();
        let contract = older.unwrap_or_else(|| Arc::clone(current));
        let policy = config.policy(system, flow);
        let key = target_key(&flow.name, system);
        let survey = self.sinks.get(system)?;
        let found = &self.found(survey, system, &mapping.table, &key)?;
        let expected = Expected {
            contract: &contract,
            mapping,
            values: &config.values,
            side: Side::Target,
            before: None,
            policy,
        };
        let decision = policy.decide(&compare(expected, found));
        let (adds, hold) = match decision {
            Decision::Add(columns) => (columns, None),
            Decision::Hold(reason) | Decision::Fail(reason) => (Vec::new(), Some(reason)),
            Decision::GoOn => (Vec::new(), None),
        };
        let mut table = (**found).clone();
        table.columns.extend(adds.iter().cloned());
        let table = Arc::new(table);
        let place = (system, flow.entity.as_str());
        let compile = |shape: &Shape| WritePlan::compile(mapping, &contract, shape, &config.values);
        let drift = (policy, hold);
        let write = self.fits(place, &key, drift, &table, compile, WritePlan::warnings);
        let read_back = write.as_ref().and_then(|(table, _)| {
            let mapping = if pinned {
                &common(mapping, current, &contract)
            } else {
                mapping
            };
            let compiled = ReadPlan::compile(mapping, table, current, &config.values, true);
            self.compiled(system, &flow.entity, compiled, ReadPlan::warnings)
        });
        let (compiled, write) = write?;
        let is_held = !Arc::ptr_eq(&compiled, &table);
        let table = compiled;
        Some(PlannedTarget {
            system: system.to_owned(),
            contract,
            pinned,
            table,
            adds: adds.into_iter().map(|column| column.name).collect(),
            makes: self
                .sinks
                .get(system)
                .map(|sink| sink.makes.values().cloned().collect())
                .unwrap_or_default(),
            write: Arc::new(write),
            read_back: Arc::new(read_back?),
            is_held,
        })
    }

    fn compiled<T>(
        &mut self,
        system: &str,
        entity: &str,
        compiled: Result<T, Vec<Problem>>,
        warnings: fn(&T) -> &[Problem],
    ) -> Option<T> {
        let (plan, problems) = match compiled {
            Ok(plan) => {
                let warnings = warnings(&plan).to_vec();
                (Some(plan), warnings)
            }
            Err(problems) => (None, problems),
        };
        let problems = problems.into_iter();
        self.findings
            .extend(problems.map(|problem| placed(self.config, system, entity, problem)));
        plan
    }
}

/// A mapping's problem at its place in the configuration.
pub(crate) fn placed(config: &Config, system: &str, entity: &str, problem: Problem) -> Diagnostic {
    Diagnostic {
        severity: problem.severity,
        code: problem.code,
        message: problem.message,
        help: problem.help,
        place: config.place(system, entity, &problem.path),
    }
}

/// Asks every source what would keep it from telling what the flows need.
async fn check_sources(
    config: &Config,
    flows: &[PlannedFlow],
    sources: &mut BTreeMap<String, Survey>,
) -> Vec<Diagnostic> {
    let checks = sources.iter_mut().filter_map(|(system, survey)| {
        let source = survey.source.take()?;
        let needs: Vec<Need> = flows
            .iter()
            .filter(|flow| flow.from == *system)
            .map(|flow| Need {
                table: flow.source.name.clone(),
                columns: flow.read.naming_columns(),
            })
            .collect();
        Some(async move {
            let found = within_deadline(source.check(&needs)).await;
            survey::findings(config, system, "LS-P003", found)
        })
    });
    join_all(checks).await.into_iter().flatten().collect()
}

/// Asks every sink what would keep it from writing what the flows bring.
async fn check_sinks(
    config: &Config,
    flows: &[PlannedFlow],
    sinks: &BTreeMap<String, Survey>,
) -> Vec<Diagnostic> {
    let checks = sinks.iter().filter_map(|(system, survey)| {
        let sink = survey.sink.as_deref()?;
        let targets: Vec<Arc<Shape>> = flows
            .iter()
            .flat_map(|flow| &flow.targets)
            .filter(|target| target.system == *system)
            // A table that drifted is held by whoever delivers to it, and nobody else is.
            .filter(|target| !target.is_held && !target.is_made())
            .map(written_now)
            .collect();
        (!targets.is_empty()).then(|| check_sink(config, system, sink, targets))
    });
    join_all(checks).await.into_iter().flatten().collect()
}

/// The columns that a target's mapping writes and that are there already.
fn written_now(target: &PlannedTarget) -> Arc<Shape> {
    let mut shape = (*target.write.target()).clone();
    // They stand behind all others, so the key's positions stay.
    shape
        .columns
        .retain(|column| !target.adds.contains(&column.name));
    Arc::new(shape)
}

/// The part of a mapping whose fields two versions have alike.
fn common(mapping: &Mapping, one: &Contract, other: &Contract) -> Mapping {
    let kind = |contract: &Contract, name: &str| {
        let at = contract.field(name)?;
        Some(contract.fields[at].kind)
    };
    let mut mapping = mapping.clone();
    mapping
        .fields
        .retain(|name, _| kind(one, name).is_some() && kind(one, name) == kind(other, name));
    mapping
}

async fn check_sink(
    config: &Config,
    system: &str,
    sink: &dyn DynSink,
    targets: Vec<Arc<Shape>>,
) -> Vec<Diagnostic> {
    let found = within_deadline(sink.check(&targets)).await;
    survey::findings(config, system, "LS-P004", found)
}
