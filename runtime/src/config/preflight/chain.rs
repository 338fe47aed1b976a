//! Flows that stand one behind the other: what Lockstep writes to a table is left out when the table is read, so that nothing goes in circles, and so a second flow from there brings nothing of the first.

use std::collections::BTreeMap;

use lockstep_core::diagnostic::Diagnostic;

use super::survey::Survey;
use crate::config::{Config, Flow};

/// An error for every flow that reads what another one writes, for a system that does not hear the other; a warning where a filter may keep the two apart.
pub(super) fn check(
    config: &Config,
    sources: &BTreeMap<String, Survey>,
    sinks: &BTreeMap<String, Survey>,
) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for reads in config.flows.values() {
        for writes in config.flows.values() {
            let system = &reads.from;
            if !writes.to.contains(system) {
                continue;
            }
            let read = table(config, sources, system, &reads.entity);
            if read.is_none() || read != table(config, sinks, system, &writes.entity) {
                continue;
            }
            let deaf: Vec<&str> = reads
                .to
                .iter()
                .filter(|to| **to != writes.from && !writes.to.contains(to))
                .map(String::as_str)
                .collect();
            if !deaf.is_empty() {
                findings.push(finding(config, reads, writes, &deaf));
            }
        }
    }
    findings
}

/// The table of an entity, as the system calls it where it answered.
fn table<'a>(
    config: &'a Config,
    surveys: &'a BTreeMap<String, Survey>,
    system: &str,
    entity: &str,
) -> Option<&'a str> {
    let name = &config.mapping(system, entity)?.table;
    let shape = surveys.get(system).and_then(|found| found.shapes.get(name));
    Some(shape.map_or(name, |shape| &shape.name))
}

fn finding(config: &Config, reads: &Flow, writes: &Flow, deaf: &[&str]) -> Diagnostic {
    let mapping = config.mapping(&reads.from, &reads.entity);
    let table = mapping.map_or("", |mapping| &mapping.table);
    let deaf = deaf.join("`, `");
    let message = format!(
        "flow `{}` reads table `{table}` of `{}`, which flow `{}` writes: what Lockstep wrote is left out there, so `{deaf}` would hear nothing of it",
        reads.name, reads.from, writes.name
    );
    let finding = if mapping.is_some_and(|mapping| mapping.filter.is_some()) {
        Diagnostic::warning("LS-P011", message)
    } else {
        Diagnostic::error("LS-P011", message)
    };
    let help = format!(
        "add `{deaf}` to the `to` of flow `{}`, which brings the records from where they are made",
        writes.name
    );
    finding
        .at(config.places.key(&["flows", &reads.name, "from"]))
        .help(help)
}
