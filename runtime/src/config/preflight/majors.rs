//! Older majors whose subscribers are still to be served: whether they are known, and whether records can become records of theirs.

use std::collections::BTreeSet;

use lockstep_core::diagnostic::Diagnostic;

use crate::config::Config;
use crate::versions::{NO_WAY_DOWN, UNKNOWN_VERSION, older_majors, today};

/// Warnings of majors that cannot be published, errors of majors that nobody knows.
pub(super) fn check(config: &Config) -> Vec<Diagnostic> {
    let entities: BTreeSet<&String> = config.flows.values().map(|flow| &flow.entity).collect();
    let mut findings = Vec::new();
    for entity in entities {
        let Some(contract) = config.contracts.get(entity) else {
            continue;
        };
        let listed = config.publish_majors(entity);
        let released = config.released.get(entity).map_or(&[][..], Vec::as_slice);
        let published = older_majors(&config.known, released, contract, listed, today());
        let place = config.places.key(&["versions", "publish_majors", entity]);
        let is_known = |major: &&u64| {
            published
                .iter()
                .any(|one| one.contract.version.major == **major)
        };
        // What is no older major at all is the configuration's own fault, and said there.
        let older = listed
            .iter()
            .filter(|major| **major < contract.version.major);
        for major in older.filter(|major| !is_known(major)) {
            let message = format!("no version of major {major} of `{entity}` is known here");
            let finding = Diagnostic::error(UNKNOWN_VERSION, message).at(place.clone());
            findings.push(finding.help(
                "name a major that this log has run, or of which a version is among the contract's releases",
            ));
        }
        for one in &published {
            if let Err(reason) = &one.route {
                let major = one.contract.version.major;
                let message = format!(
                    "subscribers of major {major} of `{entity}` hear nothing new: {reason}"
                );
                let finding = Diagnostic::warning(NO_WAY_DOWN, message).at(place.clone());
                findings.push(finding.help(format!(
                    "write the `down` steps to version {} under `lockstep.migrations`",
                    one.contract.version
                )));
            }
        }
    }
    findings
}
