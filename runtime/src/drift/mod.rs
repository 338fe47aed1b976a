//! Drift as the commands and the running parts tell it: every table that the configuration uses beside what its contract and mapping expect.
//!
//! The comparison is `lockstep_core::contract::drift`'s. Looking changes nothing.

use lockstep_core::connector::Registry;
use lockstep_core::contract::drift::{Drift, Expected, Kind, Side, compare, field_yaml, worst};
use lockstep_core::error::Error;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::preflight::{look, within_deadline};
use crate::config::{Config, Role};
use crate::versions::{source_key, target_key, terms};

/// Every table that was looked at.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Report {
    /// The gravest kind of drift that was found.
    pub kind: Kind,
    /// One entry per entity and system, in the order of the configuration.
    pub tables: Vec<TableReport>,
    /// Fields that were taken along from sources and that no contract's file has yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taken: Vec<Taken>,
}

/// A table beside what is expected of it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TableReport {
    /// The system.
    pub system: String,
    /// The entity.
    pub entity: String,
    /// The table.
    pub table: String,
    /// Whether it is read or written.
    pub side: Side,
    /// The version of the contract that it was compared with.
    pub contract: String,
    /// Whether it was seen before, so that changes are told from what was always so.
    pub seen_before: bool,
    /// The gravest kind of its drift.
    pub kind: Kind,
    /// Each field, then each further column that matters.
    pub fields: Vec<Drift>,
    /// Why it could not be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Fields that were taken along.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Taken {
    /// The entity.
    pub entity: String,
    /// The version that has them.
    pub version: String,
    /// Their names.
    pub fields: Vec<String>,
    /// What to put among the `properties` of the contract's file, under that version.
    pub yaml: String,
}

/// One table to look at.
struct Wanted {
    system: String,
    entity: String,
    flow: String,
    side: Side,
    key: String,
}

/// Compares the tables that flows use; `only` names a system or an entity.
pub async fn report(config: &Config, registry: &Registry, only: Option<&str>) -> Report {
    let asked =
        |wanted: &Wanted| only.is_none_or(|name| wanted.system == name || wanted.entity == name);
    let mut tables = Vec::new();
    for wanted in wanted(config).into_iter().filter(asked) {
        tables.extend(one(config, registry, wanted).await);
    }
    let kinds = tables.iter().map(|table| table.kind);
    Report {
        kind: kinds.max().unwrap_or(Kind::Ok),
        tables,
        taken: taken(config, only),
    }
}

/// Every table of every flow, once.
fn wanted(config: &Config) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for flow in config.flows.values() {
        let is_inbox = config.systems.get(&flow.from).is_none_or(|s| s.is_inbox());
        let source = (!is_inbox).then(|| Wanted {
            system: flow.from.clone(),
            entity: flow.entity.clone(),
            flow: flow.name.clone(),
            side: Side::Source,
            key: source_key(&flow.from, &flow.entity),
        });
        let targets = flow.to.iter().map(|to| Wanted {
            system: to.clone(),
            entity: flow.entity.clone(),
            flow: flow.name.clone(),
            side: Side::Target,
            key: target_key(&flow.name, to),
        });
        for one in source.into_iter().chain(targets) {
            let same = |known: &Wanted| {
                (&known.system, &known.entity, known.side) == (&one.system, &one.entity, one.side)
            };
            if !wanted.iter().any(same) {
                wanted.push(one);
            }
        }
    }
    wanted
}

async fn one(config: &Config, registry: &Registry, wanted: Wanted) -> Option<TableReport> {
    let contract = match wanted.side {
        Side::Source => config.contracts.get(&wanted.entity)?,
        Side::Target => config.contract_of(&wanted.flow, &wanted.system)?,
    };
    let mapping = config.mapping(&wanted.system, &wanted.entity)?;
    let role = match wanted.side {
        Side::Source => Role::Source,
        Side::Target => Role::Sink,
    };
    let policy = match wanted.side {
        Side::Source => config.source_policy(&wanted.system, &wanted.entity),
        Side::Target => config.policy(&wanted.system, config.flows.get(&wanted.flow)?),
    };
    let terms = terms(contract, mapping);
    let known = config.known.tables.get(&wanted.key);
    let before = known.filter(|known| known.terms == terms);
    let found = within_deadline(look(config, registry, &wanted.system, role, &mapping.table)).await;
    let (fields, error) = match found {
        Ok(now) => {
            let expected = Expected {
                contract,
                mapping,
                values: &config.values,
                side: wanted.side,
                before: before.map(|known| &known.shape),
                policy,
            };
            (compare(expected, &now), None)
        }
        Err(error) => (Vec::new(), Some(config.redact(&error.chain()))),
    };
    Some(TableReport {
        table: mapping.table.clone(),
        contract: contract.version.to_string(),
        seen_before: before.is_some(),
        kind: worst(&fields),
        system: wanted.system,
        entity: wanted.entity,
        side: wanted.side,
        fields,
        error,
    })
}

fn taken(config: &Config, only: Option<&str>) -> Vec<Taken> {
    let entities = config.known.contracts.iter();
    let entities = entities.filter(|(entity, _)| only.is_none_or(|name| name == *entity));
    entities
        .filter_map(|(entity, versions)| {
            let kept = versions.last().filter(|kept| !kept.taken.is_empty())?;
            // Otherwise the file has them: it is as new.
            config.taken.get(entity)?;
            let fields = kept.taken.iter().filter_map(|name| {
                let at = kept.contract.field(name)?;
                Some(field_yaml(&kept.contract.fields[at]))
            });
            Some(Taken {
                entity: entity.clone(),
                version: kept.contract.version.to_string(),
                fields: kept.taken.clone(),
                yaml: fields.collect(),
            })
        })
        .collect()
}

/// What the end of a flow is reported under that a policy asked for.
pub const FAILED: &str = "LS-E007";

/// The error of a policy that ends a flow.
#[must_use]
pub fn failed(reason: &str) -> Error {
    Error::config(format!("the policy about drift is `fail`: {reason}"))
        .code(FAILED)
        .help("see `lockstep contract drift`; mend it and start again")
}
