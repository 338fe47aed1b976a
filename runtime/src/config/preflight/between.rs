//! Contracts between two versions: a change is written, its migration leads to the version that the next release makes, and that release is not made yet.
//!
//! Records of such a text would bear the version of the contract as it was before, so nothing runs from it; every other command takes it as it stands.

use std::collections::BTreeSet;

use lockstep_core::diagnostic::Diagnostic;

use crate::config::Config;

/// An error for every entity of a flow whose contract is between two versions.
#[must_use]
pub fn between(config: &Config) -> Vec<Diagnostic> {
    let mut told = BTreeSet::new();
    let mut findings = Vec::new();
    for flow in config.flows.values() {
        let Some(contract) = config.contracts.get(&flow.entity) else {
            continue;
        };
        let Some(ahead) = contract.ahead().filter(|_| told.insert(&flow.entity)) else {
            continue;
        };
        let message = format!(
            "the contract of `{}` is between two versions: it says {}, and a migration leads to {ahead}",
            flow.entity, contract.version
        );
        let place = config.places.value(&["flows", &flow.name, "entity"]);
        findings.push(Diagnostic::error("LS-C044", message).at(place).help(format!(
            "release it with `lockstep contract release {}`, or run from the contracts as they were released",
            flow.entity
        )));
    }
    findings
}
