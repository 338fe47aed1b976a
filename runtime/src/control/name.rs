//! From what somebody writes to the parts of a run that it means.

use std::collections::BTreeSet;

use lockstep_core::diagnostic::suggestion;

use super::Part;
use crate::config::Config;

/// The parts that a name means: a flow (its deliveries), a system (its capture, and the deliveries into it), or `SYSTEM.TABLE` (the deliveries out of that table and into it).
///
/// `flow:` or `system:` before it says which of the two, where both have the name.
/// With `to`, only deliveries into that system are meant.
///
/// # Errors
/// What is wrong with the name, and what to write instead.
pub fn parts(config: &Config, name: &str, to: Option<&str>) -> Result<Vec<Part>, (String, String)> {
    if let Some(to) = to.filter(|to| !config.systems.contains_key(*to)) {
        let known = config.systems.keys().map(String::as_str);
        return Err((format!("no such system `{to}`"), suggestion(to, known)));
    }
    let mut parts = match name.split_once(':') {
        Some(("flow", flow)) if config.flows.contains_key(flow) => of_flow(config, flow),
        Some(("system", system)) if config.systems.contains_key(system) => {
            of_system(config, system)
        }
        _ => match (
            config.flows.contains_key(name),
            config.systems.contains_key(name),
        ) {
            (true, true) => {
                let message = format!("`{name}` is a flow and a system");
                let help = format!("write `flow:{name}` or `system:{name}`");
                return Err((message, help));
            }
            (true, false) => of_flow(config, name),
            (false, true) => of_system(config, name),
            (false, false) => of_table(config, name)?,
        },
    };
    if let Some(to) = to {
        parts.retain(|part| matches!(part, Part::Deliver { to: target, .. } if target == to));
    }
    if parts.is_empty() {
        let what = to.map_or_else(String::new, |to| format!(" into `{to}`"));
        let message = format!("no flow of `{name}` runs{what}");
        return Err((
            message,
            "`lockstep status` names every flow with its systems".to_owned(),
        ));
    }
    Ok(parts.into_iter().collect())
}

fn of_flow(config: &Config, name: &str) -> BTreeSet<Part> {
    let flow = config.flows.get(name);
    flow.into_iter()
        .flat_map(|flow| flow.to.iter())
        .map(|to| deliver(name, to))
        .collect()
}

fn of_system(config: &Config, system: &str) -> BTreeSet<Part> {
    let mut parts = BTreeSet::new();
    for flow in config.flows.values() {
        if flow.from == system {
            let system = system.to_owned();
            parts.insert(Part::Capture { system });
        }
        if flow.to.iter().any(|to| to == system) {
            parts.insert(deliver(&flow.name, system));
        }
    }
    parts
}

fn of_table(config: &Config, name: &str) -> Result<BTreeSet<Part>, (String, String)> {
    let known = || {
        let tables = config.systems.values().flat_map(|system| {
            let tables = system.map.values();
            tables.map(|mapping| format!("{}.{}", system.name, mapping.table))
        });
        let names = config.flows.keys().chain(config.systems.keys()).cloned();
        let known: Vec<String> = names.chain(tables).collect();
        suggestion(name, known.iter().map(String::as_str))
    };
    let no_such = || (format!("no such flow, system or table `{name}`"), known());
    let (system, table) = name.split_once('.').ok_or_else(no_such)?;
    let stands_there = |system: &str, entity: &str| {
        let mapping = config.mapping(system, entity);
        mapping.is_some_and(|mapping| mapping.table == table || entity == table)
    };
    let mut parts = BTreeSet::new();
    let mut is_known = false;
    for flow in config.flows.values() {
        let here = stands_there(system, &flow.entity);
        is_known |= here;
        for to in flow
            .to
            .iter()
            .filter(|to| here && (flow.from == system || *to == system))
        {
            parts.insert(deliver(&flow.name, to));
        }
    }
    if is_known { Ok(parts) } else { Err(no_such()) }
}

fn deliver(flow: &str, to: &str) -> Part {
    Part::Deliver {
        flow: flow.to_owned(),
        to: to.to_owned(),
    }
}
