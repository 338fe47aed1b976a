//! What the entities of flows refer to although no contract has it.

use lockstep_core::contract::links::Known;
use lockstep_core::diagnostic::{Diagnostic, Severity};

use crate::config::Config;

/// A warning for every reference of a flow's entity that leads nowhere: targets that hold references wait for what never comes.
#[must_use]
pub fn links(config: &Config) -> Vec<Diagnostic> {
    let known = Known {
        contracts: config.contracts.values().map(AsRef::as_ref).collect(),
        releases: config
            .released
            .values()
            .flatten()
            .map(AsRef::as_ref)
            .collect(),
        partial: false,
    };
    let mut findings: Vec<Diagnostic> = Vec::new();
    for flow in config.flows.values() {
        let Some(contract) = config.contracts.get(&flow.entity) else {
            continue;
        };
        for finding in known.missing(contract) {
            // Several flows may have one entity; it is said at the first of them.
            let told = |other: &Diagnostic| other.message == finding.message;
            if findings.iter().any(told) {
                continue;
            }
            let place = config.places.value(&["flows", &flow.name, "entity"]);
            findings.push(Diagnostic {
                severity: Severity::Warning,
                ..finding.at(place)
            });
        }
    }
    findings
}
