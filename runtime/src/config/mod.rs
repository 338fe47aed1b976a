//! The configuration: one TOML file that names systems, contracts, flows and the log.
//!
//! [`load`] parses once, with the place of everything it does not like, and gives a [`Config`] that the rest of the runtime trusts.
//! What needs a running system to be judged is the business of [`preflight`](mod@preflight).
//!
//! Values that `${…}` brought in are shown nowhere: not in findings, not by `Debug`, not in the log; [`Config::redact`] strikes them from texts of others.

mod codes;
mod contracts;
mod file;
mod flows;
mod interpolate;
mod limits;
mod log;
mod mode;
pub mod preflight;
mod query;
mod read;
mod redact;
mod schema;
mod surroundings;
mod text;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod toy;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lockstep_core::connector::{OpenContext, RawConfig, Reads, Registry, Secret};
use lockstep_core::contract::Contract;
use lockstep_core::contract::drift::{Action, Policy};
use lockstep_core::diagnostic::{Diagnostic, Place};
use lockstep_core::gate::{Mapping, ValueMaps};
use lockstep_core::schedule::Schedule;

pub use codes::CODES;
pub(crate) use file::FileText;
pub use file::{Consistency, Snapshot};
pub(crate) use limits::duration;
pub use preflight::{PlannedFlow, PlannedTarget, Preflight, preflight};
pub(crate) use redact::{redact, strike};
pub use text::Places;

use crate::direct::Way;
use crate::inbox;
use crate::query::Query;
use crate::versions::Known;
pub(crate) use interpolate::reason;
use surroundings::{Process, Surroundings};

/// Reads a configuration and the contracts it names, and gives it together with its warnings.
///
/// # Errors
/// Every finding, warnings included, if one of them is an error.
pub fn load(
    path: &Path,
    registry: &Registry,
) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (config, warnings) = read::read(path, &text(path)?, registry, &Process)?;
    redact::remember(config.secrets());
    Ok((config, warnings))
}

/// Reads one system of a configuration; what else the file says, contracts and flows included, is not looked at.
///
/// # Errors
/// Every finding, if one of them is an error.
pub fn load_system(
    path: &Path,
    system: &str,
    registry: &Registry,
) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (config, warnings) = read::read_system(path, &text(path)?, system, registry, &Process)?;
    redact::remember(config.secrets());
    Ok((config, warnings))
}

/// Reads what it takes to reach a run and to name its parts; what is wrong with contracts, mappings or settings of systems is given beside it.
///
/// # Errors
/// Every finding about the file's form, its log and its interface, if one of them is an error.
pub fn load_to_operate(
    path: &Path,
    registry: &Registry,
) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (config, beside) = read::read_to_operate(path, &text(path)?, registry, &Process)?;
    redact::remember(config.secrets());
    Ok((config, beside))
}

fn text(path: &Path) -> Result<String, Vec<Diagnostic>> {
    Process.read(path).map_err(|error| {
        let message = format!(
            "the configuration `{}` cannot be read: {}",
            path.display(),
            reason(&error)
        );
        vec![
            Diagnostic::error("LS-G001", message)
                .help("name the file with `-c FILE` or in LOCKSTEP_CONFIG"),
        ]
    })
}

/// A configuration, parsed and checked as far as that needs no system.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// The file's folder: relative paths in the configuration start there.
    pub folder: PathBuf,
    /// Which log, and where.
    pub log: LogConfig,
    /// The runtime's own HTTP interface.
    pub api: ApiConfig,
    /// Rules over all records of an entity.
    pub rules: RulesConfig,
    /// How idle flows are told from dead ones.
    pub canary: CanaryConfig,
    /// The contracts, by entity.
    pub contracts: BTreeMap<String, Arc<Contract>>,
    /// By entity, the released versions below its contract's, from the oldest on.
    pub released: BTreeMap<String, Vec<Arc<Contract>>>,
    /// Value maps, by name.
    pub values: ValueMaps,
    /// The systems, by name.
    pub systems: BTreeMap<String, System>,
    /// The flows, by name.
    pub flows: BTreeMap<String, Flow>,
    /// What to do about drift where nothing else is said.
    pub drift: Policy,
    /// How often every system is looked at for drift.
    pub drift_every: std::time::Duration,
    /// Whether the run ends once a policy ended a flow.
    pub drift_exit: bool,
    /// By entity, the version that may run although the log has run a newer one.
    pub accept_older: BTreeMap<String, semver::Version>,
    /// By entity, the older majors that are published whatever their sunset says.
    pub publish_majors: BTreeMap<String, Vec<u64>>,
    /// By entity, the fields that its contract has from a source's columns and not from its file.
    pub taken: BTreeMap<String, Vec<String>>,
    /// What the log knows of earlier runs; nothing until somebody looks.
    pub known: Arc<Known>,
    /// Where everything is written.
    pub places: Places,
}

/// Which log, and where.
#[derive(Clone, Debug)]
pub enum LogConfig {
    /// One SQLite file, for one runtime.
    Embedded {
        /// The file.
        path: PathBuf,
        /// How long settled events are kept.
        max_age: Option<std::time::Duration>,
        /// Most bytes of settled events.
        max_bytes: Option<u64>,
    },
    /// NATS JetStream, for several runtimes.
    Nats(Box<NatsConfig>),
}

/// The log on NATS JetStream.
#[derive(Clone, Debug)]
pub struct NatsConfig {
    /// The addresses of the servers.
    pub servers: Vec<String>,
    /// A user, with `password`.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret<String>>,
    /// A token.
    pub token: Option<Secret<String>>,
    /// A credentials file.
    pub credentials: Option<PathBuf>,
    /// The seed of an nkey.
    pub nkey: Option<Secret<String>>,
    /// Files for an encrypted connection.
    pub tls: Option<crate::log::nats::Tls>,
    /// How many servers keep each stream.
    pub replicas: u8,
    /// A server's monitoring address.
    pub monitor: Option<String>,
    /// How long settled events are kept.
    pub max_age: Option<std::time::Duration>,
    /// Most bytes of settled events.
    pub max_bytes: Option<u64>,
    /// The values that `${…}` brought in.
    pub secrets: Vec<Secret<String>>,
}

impl LogConfig {
    /// Whether several runtimes may work on one log at a time.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        !matches!(self, LogConfig::Embedded { .. })
    }

    /// The engine's name, as the configuration writes it.
    #[must_use]
    pub fn engine(&self) -> &'static str {
        match self {
            LogConfig::Embedded { .. } => "embedded",
            LogConfig::Nats(_) => "nats",
        }
    }

    /// Where the log is, for people.
    #[must_use]
    pub fn location(&self) -> String {
        match self {
            LogConfig::Embedded { path, .. } => path.display().to_string(),
            LogConfig::Nats(nats) => nats.servers.join(", "),
        }
    }

    /// How long settled events are kept.
    #[must_use]
    pub fn max_age(&self) -> Option<std::time::Duration> {
        match self {
            LogConfig::Embedded { max_age, .. } => *max_age,
            LogConfig::Nats(nats) => nats.max_age,
        }
    }

    /// Most bytes of settled events.
    #[must_use]
    pub fn max_bytes(&self) -> Option<u64> {
        match self {
            LogConfig::Embedded { max_bytes, .. } => *max_bytes,
            LogConfig::Nats(nats) => nats.max_bytes,
        }
    }
}

/// The runtime's own HTTP interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    /// Where it listens; port 0 takes a free one.
    pub listen: std::net::SocketAddr,
    /// The folder of its token and address files.
    pub folder: PathBuf,
}

/// When rules over all records of an entity are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RulesConfig {
    /// How often; never if absent.
    pub every: Option<std::time::Duration>,
}

impl Default for RulesConfig {
    fn default() -> Self {
        RulesConfig {
            every: Some(std::time::Duration::from_secs(3600)),
        }
    }
}

/// How often marks are sent from the sources to the targets, and how long each part of the way may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CanaryConfig {
    /// How often; never if absent.
    pub every: Option<std::time::Duration>,
    /// How long each part may take to answer.
    pub deadline: std::time::Duration,
}

impl Default for CanaryConfig {
    fn default() -> Self {
        CanaryConfig {
            every: Some(std::time::Duration::from_secs(15)),
            deadline: std::time::Duration::from_secs(30),
        }
    }
}

/// One deployed business system.
#[derive(Clone)]
pub struct System {
    /// Its name.
    pub name: String,
    /// The connector that knows its kind.
    pub connector: String,
    /// The connector's settings, secrets filled in.
    pub settings: RawConfig,
    /// How each entity stands in it.
    pub map: BTreeMap<String, Mapping>,
    /// What to do about drift of its tables, as far as it says.
    pub drift: PolicyPart,
    /// Whether tables that it does not have are made from their contracts.
    pub create_tables: bool,
    /// How it is captured, where that is by query.
    pub query: Option<Query>,
    /// The values that `${…}` brought into the settings.
    pub secrets: Vec<Secret<String>>,
}

/// An entity from a system to systems.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// Its name.
    pub name: String,
    /// The entity.
    pub entity: String,
    /// The system that says it.
    pub from: String,
    /// The systems that hear it.
    pub to: Vec<String>,
    /// When what is captured is applied in the targets.
    pub mode: Mode,
    /// What to do about drift at its ends, as far as it says.
    pub drift: PolicyPart,
    /// What stands in its targets together.
    pub consistency: Consistency,
    /// By target, the older version of the contract that it is on: all numbers, or only the first ones.
    pub versions: BTreeMap<String, String>,
    /// How rows that are there already get to its target.
    pub snapshot: Snapshot,
}

impl Flow {
    /// The way of its copies past the log, where they go past it.
    #[must_use]
    pub fn direct(&self) -> Option<Way> {
        let to = self
            .to
            .first()
            .filter(|_| self.snapshot == Snapshot::Direct)?;
        Some(Way {
            flow: self.name.clone(),
            to: to.clone(),
        })
    }
}

/// When what is captured is applied in the targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// At once.
    #[default]
    Realtime,
    /// Collected for a time or up to a number of changes.
    Batched {
        /// How long.
        every: std::time::Duration,
        /// How many.
        max: usize,
    },
    /// At certain times, all that is there by then.
    Scheduled(Schedule),
}

/// What a system or a flow says about drift.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyPart {
    /// About additions.
    pub additive: Option<Action>,
    /// About breaks.
    pub breaking: Option<Action>,
}

impl PolicyPart {
    /// The policy with what this part says.
    fn over(self, policy: Policy) -> Policy {
        Policy {
            additive: self.additive.unwrap_or(policy.additive),
            breaking: self.breaking.unwrap_or(policy.breaking),
        }
    }
}

/// What a system is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// To be observed: the tables of the flows that come from it.
    Source,
    /// To be written: the tables of the flows that go to it.
    Sink,
    /// To be read for verification: the tables of all its flows.
    Reader,
}

impl Config {
    /// Where something in a mapping is written, such as `["fields", "country", "values"]`; what encloses it where it is not written.
    #[must_use]
    pub fn place(&self, system: &str, entity: &str, path: &[String]) -> Option<Place> {
        let mut full = vec!["systems", system, "map", entity];
        if !self.places.holds(&full) {
            return None;
        }
        full.extend(path.iter().map(String::as_str));
        Some(self.places.value(&full))
    }

    /// What to tell a system's connector when it is opened for a role.
    #[must_use]
    pub fn open_context(&self, system: &str, role: Role) -> OpenContext {
        let of_role = |flow: &&Flow| {
            let says = flow.from == system;
            let hears = flow.to.iter().any(|to| to == system);
            match role {
                Role::Source => says,
                Role::Sink => hears,
                Role::Reader => says || hears,
            }
        };
        let flows = self.flows.values().filter(of_role);
        let mapped = flows.filter_map(|flow| Some((flow, self.mapping(system, &flow.entity)?)));
        let mapped: Vec<(&Flow, &Mapping)> = mapped.collect();
        let mut tables: Vec<String> = mapped
            .iter()
            .map(|(_, mapping)| mapping.table.clone())
            .collect();
        tables.sort();
        tables.dedup();
        let reads = tables.iter().filter(|_| role == Role::Source).map(|table| {
            let of = mapped.iter().filter(|(_, mapping)| mapping.table == *table);
            (table.clone(), self.reads(of))
        });
        OpenContext {
            system: system.to_owned(),
            folder: self.folder.clone(),
            reads: reads.collect(),
            tables,
        }
    }

    /// What flows want of a table that they read by these mappings.
    fn reads<'c>(&self, mapped: impl Iterator<Item = &'c (&'c Flow, &'c Mapping)>) -> Reads {
        let mut reads = Reads {
            columns: Some(BTreeSet::new()),
            filters: Vec::new(),
        };
        let mut is_filtered = true;
        for (flow, mapping) in mapped {
            let policy = self.source_policy(&flow.from, &flow.entity);
            // A column that nobody mapped may be taken along, values included.
            let read = mapping
                .columns_read()
                .filter(|_| policy.additive != Action::Propagate);
            reads.columns = reads.columns.take().zip(read).map(|(mut columns, read)| {
                columns.extend(read);
                columns
            });
            match &mapping.filter {
                Some(filter) if !reads.filters.contains(filter) => {
                    reads.filters.push(filter.clone());
                }
                Some(_) => {}
                None => is_filtered = false,
            }
        }
        if !is_filtered {
            reads.filters.clear();
        }
        reads
    }

    /// What to do about drift of a system's table of an entity that a flow reads or writes: the flow's word over the system's over everybody's.
    #[must_use]
    pub fn policy(&self, system: &str, flow: &Flow) -> Policy {
        let system = self
            .systems
            .get(system)
            .map(|system| system.drift)
            .unwrap_or_default();
        flow.drift.over(system.over(self.drift))
    }

    /// The policy for the table that an entity is captured from: that of the first flow that says something.
    #[must_use]
    pub fn source_policy(&self, system: &str, entity: &str) -> Policy {
        let from = |flow: &&Flow| flow.from == system && flow.entity == entity;
        let said = |flow: &&Flow| flow.drift != PolicyPart::default();
        let mut flows = self.flows.values().filter(from);
        let flow = flows.clone().find(said).or_else(|| flows.next());
        flow.map_or(self.drift, |flow| self.policy(system, flow))
    }

    /// The contract of a flow's target: in the version that the target is said to be on, where one is known that fits.
    #[must_use]
    pub fn contract_of(&self, flow: &str, system: &str) -> Option<&Arc<Contract>> {
        let flow = self.flows.get(flow)?;
        let current = self.contracts.get(&flow.entity)?;
        let written = flow.versions.get(system);
        let Some(wanted) = written.and_then(|text| flows::version_of(text)) else {
            return Some(current);
        };
        if wanted.matches(&current.version) {
            return Some(current);
        }
        self.known_version(&flow.entity, &wanted)
    }

    /// The newest version of an entity that fits, of those that ran or were released.
    fn known_version(&self, entity: &str, wanted: &semver::Comparator) -> Option<&Arc<Contract>> {
        let ran = self.known.of(entity).iter().map(|kept| &kept.contract);
        let released = self.released.get(entity);
        // What ran comes last: of one version with two contents, the log's counts.
        released
            .into_iter()
            .flatten()
            .chain(ran)
            .filter(|older| wanted.matches(&older.version))
            .max_by(|a, b| a.version.cmp(&b.version))
    }

    /// The older majors of an entity that are published whatever their sunset says.
    #[must_use]
    pub fn publish_majors(&self, entity: &str) -> &[u64] {
        self.publish_majors.get(entity).map_or(&[], Vec::as_slice)
    }

    /// How an entity stands in a system.
    #[must_use]
    pub fn mapping(&self, system: &str, entity: &str) -> Option<&Mapping> {
        self.systems.get(system)?.map.get(entity)
    }

    /// The text without the values that `${…}` brought in, for texts that connectors and parsers wrote.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        redact(text, self.secrets().map(|secret| secret.expose().as_str()))
    }

    fn secrets(&self) -> impl Iterator<Item = &Secret<String>> {
        let log: &[Secret<String>] = match &self.log {
            LogConfig::Embedded { .. } => &[],
            LogConfig::Nats(nats) => &nats.secrets,
        };
        self.systems
            .values()
            .flat_map(|system| &system.secrets)
            .chain(log)
    }
}

impl System {
    /// A system of which nothing else is known.
    fn named(name: String, connector: String) -> System {
        System {
            name,
            connector,
            settings: RawConfig::new(),
            map: BTreeMap::new(),
            drift: PolicyPart::default(),
            secrets: Vec::new(),
            query: None,
            create_tables: false,
        }
    }

    /// Whether other programs speak for it.
    #[must_use]
    pub fn is_inbox(&self) -> bool {
        self.connector == inbox::NAME
    }
}

/// Shows the names of the settings, never what they hold.
impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System")
            .field("name", &self.name)
            .field("connector", &self.connector)
            .field("settings", &self.settings.keys().collect::<Vec<_>>())
            .field("map", &self.map)
            .finish_non_exhaustive()
    }
}
