//! What a log knows of contracts and tables, and what that makes of a configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockstep_core::contract::Contract;
use lockstep_core::contract::drift::{Action, extended, is_list, with_columns};
use lockstep_core::contract::lock::digest;
use lockstep_core::diagnostic::Diagnostic;
use lockstep_core::gate::Mapping;
use lockstep_core::{Column, Shape};
use semver::Version;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use lockstep_core::contract::drift::Side;

use super::{Versions, hex};
use crate::api::Reach;
use crate::config::Config;
use crate::supervise::Store;

/// What a log knows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Known {
    /// By entity, every version that ran, from the oldest on.
    pub contracts: BTreeMap<String, Vec<Kept>>,
    /// By where it stands, each table as it was when all was well.
    pub tables: BTreeMap<String, Table>,
}

/// A version of a contract that ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// What tells it from another contract of its version.
    pub digest: String,
    /// The contract, kept as its canonical document.
    #[serde(with = "document")]
    pub contract: Arc<Contract>,
    /// Fields that were taken along from a source's columns and that no file has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taken: Vec<String>,
    /// Fields that were taken along once and that the file has by now: mappings that do not name them go on with the columns of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub took: Vec<String>,
}

/// A table that is read or written, as it was when all was well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Its columns.
    pub shape: Shape,
    /// What the contract and the mapping made of it.
    pub terms: String,
    /// The contract's version.
    pub version: Version,
    /// Why a table that is read has to be read again from its first row, until a position says that this began; of one that is written, why its source has to be, until that took the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<String>,
    /// Whether its entity was ever held, so that rows which its filter leaves out may be in targets all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub was_held: bool,
    /// What tells a table that is written from another one of its name, where its system says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
    /// The same of the columns of a table that is written, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    /// The columns that a mapping writes, of a table that is written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<String>,
    /// The older majors whose subscribers know every record of a table that is read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub majors: Vec<u64>,
    /// Of a table that is read and whose rows went to their target past the log: the log's sequence that they came after. A target that stands before it lacks them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct: Option<u64>,
}

/// A contract as its canonical document, which every version of Lockstep reads.
mod document {
    use std::sync::Arc;

    use lockstep_core::contract::{Contract, NoLibrary, document, load};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        contract: &Arc<Contract>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        document::write(contract).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<Contract>, D::Error> {
        let document = serde_json::Value::deserialize(deserializer)?;
        let text = document.to_string();
        match load("a contract in the log", &text, &NoLibrary) {
            Ok(loaded) => Ok(Arc::new(loaded.contract)),
            Err(findings) => {
                let first = findings.first().map(ToString::to_string);
                Err(serde::de::Error::custom(first.unwrap_or_default()))
            }
        }
    }
}

/// The key of a table that is read.
#[must_use]
pub fn source_key(system: &str, entity: &str) -> String {
    format!("source.{system}.{entity}")
}

/// By entity, the systems whose mappings have what is taken along: those that are read, and targets that take additions and are not on an older version.
fn takers(config: &Config) -> BTreeMap<String, BTreeSet<String>> {
    let mut takers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for flow in config.flows.values() {
        let takes = |to: &&String| {
            let propagates = config.policy(to, flow).additive == Action::Propagate;
            propagates && !flow.versions.contains_key(*to)
        };
        let targets = flow.to.iter().filter(takes);
        let of = takers.entry(flow.entity.clone()).or_default();
        of.extend(targets.chain([&flow.from]).cloned());
    }
    takers
}

/// The key of a table that is written.
#[must_use]
pub fn target_key(flow: &str, system: &str) -> String {
    format!("target.{flow}.{system}")
}

/// What of a contract and a mapping decides what records are made of rows.
#[must_use]
pub fn terms(contract: &Contract, mapping: &Mapping) -> String {
    let mut hash = Sha256::new();
    hash.update(contract.version.major.to_be_bytes());
    for field in &contract.fields {
        hash.update(format!("{}\0{:?}\0", field.name, field.kind));
    }
    hash.update(format!("{:?}{:?}{mapping:?}", contract.key, contract.lanes));
    hex(&hash.finalize()[..8])
}

impl Kept {
    /// A contract from its file.
    #[must_use]
    pub fn of(contract: Arc<Contract>) -> Kept {
        Kept {
            digest: digest(&contract),
            contract,
            taken: Vec::new(),
            took: Vec::new(),
        }
    }

    /// A contract whose fields of these names were taken along.
    ///
    /// They are kept in the order of its fields: a start that puts them behind the file's fields makes the same contract.
    #[must_use]
    pub fn taking(contract: Arc<Contract>, taken: &BTreeSet<String>) -> Kept {
        let names = contract.fields.iter().map(|field| &field.name);
        let taken = names.filter(|name| taken.contains(*name)).cloned();
        Kept {
            taken: taken.collect(),
            ..Kept::of(contract)
        }
    }

    /// Whether a version from a file may stand in its place: that has all that was taken along.
    pub(super) fn is_taken_up_by(&self, file: &Kept) -> bool {
        let has = |name: &String| {
            let kind = |contract: &Contract| {
                let at = contract.field(name)?;
                Some(contract.fields[at].kind)
            };
            kind(&self.contract).is_some_and(|own| Some(own) == kind(&file.contract))
        };
        !self.taken.is_empty() && self.taken.iter().all(has)
    }

    /// The columns that its taken fields come from.
    #[must_use]
    pub fn columns(&self) -> Vec<Column> {
        let taken = self.taken.iter().filter_map(|name| {
            let at = self.contract.field(name)?;
            let field = &self.contract.fields[at];
            Some(Column::new(name.clone(), field.kind, true).listing(is_list(field)))
        });
        taken.collect()
    }
}

impl Known {
    /// Takes note of a version.
    pub fn add(&mut self, kept: Kept) {
        let of = self
            .contracts
            .entry(kept.contract.entity.clone())
            .or_default();
        match of.binary_search_by(|other| other.contract.version.cmp(&kept.contract.version)) {
            Ok(at) => of[at] = kept,
            Err(at) => of.insert(at, kept),
        }
    }

    /// Every version of an entity that ran, from the oldest on.
    #[must_use]
    pub fn of(&self, entity: &str) -> &[Kept] {
        self.contracts.get(entity).map_or(&[], Vec::as_slice)
    }

    /// The version that an event names.
    #[must_use]
    pub fn by_urn(&self, urn: &str) -> Option<&Kept> {
        let (entity, version) = urn
            .strip_prefix("urn:lockstep:contract:")?
            .split_once(':')?;
        let version: Version = version.parse().ok()?;
        let of = self.of(entity);
        of.iter().find(|kept| kept.contract.version == version)
    }

    /// The major versions of an entity that have lanes, with how many: those that ran up to `contract`'s, and its own.
    #[must_use]
    pub fn lanes(&self, contract: &Contract) -> BTreeMap<u64, u32> {
        let mut lanes = BTreeMap::new();
        let ran = self.of(&contract.entity).iter();
        for contract in ran.map(|kept| &*kept.contract).chain([contract]) {
            let known: &mut u32 = lanes.entry(contract.version.major).or_default();
            *known = contract.lanes.max(*known);
        }
        lanes
    }

    /// What the log of a configuration knows; nothing where it cannot be looked at now, which whoever opens it says.
    pub async fn look(config: &Config) -> Known {
        let store = match Store::look(config).await {
            Ok(Some(store)) => store,
            Ok(None) => return Known::default(),
            Err(error) => {
                tracing::debug!(error = error.chain(), "the log cannot be looked at");
                return Known::default();
            }
        };
        let known = match Versions::open(&*store.log).await {
            Ok(versions) => versions.known(),
            Err(error) => {
                tracing::debug!(error = error.chain(), "the log knows no versions");
                Known::default()
            }
        };
        store.close().await;
        known
    }

    /// What the running process knows, or its log where none runs; nothing where neither can be asked.
    pub async fn reach(config: &Config) -> Known {
        let Ok(reach) = Reach::find(config).await else {
            return Known::default();
        };
        let known = reach.known().await;
        reach.close().await;
        known.unwrap_or_default()
    }

    /// Whether there is something that a configuration should have been read with.
    #[must_use]
    pub fn is_news(&self, config: &Config) -> bool {
        let beyond = |contract: &Arc<Contract>| {
            let newest = self.of(&contract.entity).last();
            newest.is_some_and(|kept| kept.goes_beyond(contract))
        };
        let takers = takers(config);
        let unmapped = |contract: &Arc<Contract>| {
            let carried = self.carried(contract);
            let lacks = |system: &String| {
                let mapping = config.mapping(system, &contract.entity);
                mapping
                    .is_some_and(|map| carried.iter().any(|name| !map.fields.contains_key(*name)))
            };
            takers
                .get(&contract.entity)
                .is_some_and(|all| all.iter().any(lacks))
        };
        let mut contracts = config.contracts.values();
        contracts.any(|contract| beyond(contract) || unmapped(contract))
    }

    /// What keeps a configuration's contracts from running on this log.
    #[must_use]
    pub fn judge(&self, config: &Config) -> Vec<Diagnostic> {
        let used = |entity: &String| config.flows.values().any(|flow| flow.entity == *entity);
        let contracts = config.contracts.iter().filter(|(entity, _)| used(entity));
        contracts
            .filter_map(|(_, contract)| self.judge_one(config, contract))
            .collect()
    }

    fn judge_one(&self, config: &Config, contract: &Arc<Contract>) -> Option<Diagnostic> {
        let (entity, version) = (&contract.entity, &contract.version);
        let ran = self.of(entity);
        let same = ran.iter().find(|kept| kept.contract.version == *version);
        let ours = Kept::of(Arc::clone(contract));
        if let Some(same) = same
            && same.digest != ours.digest
            // A text between two versions is told as that, with its cure.
            && contract.ahead().is_none()
            && same.taken.is_empty()
        {
            let error = super::another(same, &ours);
            let help = error.help_text().unwrap_or_default().to_owned();
            return Some(Diagnostic::error("LS-E005", error.to_string()).help(help));
        }
        let newest = ran.iter().rev().find(|kept| kept.taken.is_empty())?;
        let newest = &newest.contract.version;
        let accepted = config.accept_older.get(entity) == Some(version);
        (version < newest && !accepted).then(|| {
            Diagnostic::error(
                "LS-E006",
                format!("the log has run version {newest} of `{entity}`, the file is {version}"),
            )
            .help(format!(
                "deploy the newer contract, or accept this one with `[versions] accept_older = {{ {entity} = \"{version}\" }}`"
            ))
        })
    }

    /// The configuration as the log knows it: what was taken along from sources belongs to contracts and mappings until their files say otherwise.
    pub fn apply(self, config: &mut Config) {
        let takers = takers(config);
        for contract in config.contracts.values_mut() {
            let newest = self.of(&contract.entity).last();
            if let Some(kept) = newest.filter(|kept| kept.goes_beyond(contract)) {
                let taken = (contract.entity.clone(), kept.taken.clone());
                config.taken.extend([taken]);
                let version = &kept.contract.version;
                *contract = Arc::new(self.taken_along(contract, &kept.columns(), version));
            }
            let carried = self.carried(contract);
            for system in takers.get(&contract.entity).into_iter().flatten() {
                let system = config.systems.get_mut(system);
                let mapping = system.and_then(|system| system.map.get_mut(&contract.entity));
                if let Some(mapping) = mapping {
                    *mapping = with_columns(mapping, carried.iter().copied());
                }
            }
        }
        config.known = Arc::new(self);
    }

    /// The fields of a contract that were taken along, whether its file has them by now or not: what was carried is not dropped because its owner wrote it down.
    fn carried(&self, contract: &Contract) -> BTreeSet<&str> {
        let of_major = |kept: &&Kept| kept.contract.version.major == contract.version.major;
        let ran = self.of(&contract.entity).iter().filter(of_major);
        ran.flat_map(|kept| kept.taken.iter().chain(&kept.took))
            .map(String::as_str)
            .filter(|name| contract.field(name).is_some())
            .collect()
    }

    /// A file's contract with what was taken along, as a version whose contents are these.
    fn taken_along(&self, contract: &Contract, columns: &[Column], version: &Version) -> Contract {
        let mut version = version.clone();
        loop {
            let extended = extended(contract, columns, version.clone());
            let same = self.by_urn(&extended.urn());
            if same.is_none_or(|kept| kept.digest == digest(&extended)) {
                return extended;
            }
            // The file changed below the version that columns were taken along with.
            version.patch += 1;
        }
    }
}

impl Kept {
    /// Whether it has more than a file of an older version of the same major.
    fn goes_beyond(&self, file: &Contract) -> bool {
        let version = &self.contract.version;
        !self.taken.is_empty() && version.major == file.version.major && *version > file.version
    }
}
