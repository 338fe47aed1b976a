//! Answers about a run, made from its log and, while it runs, from what its steps tell.

use std::collections::BTreeMap;

use lockstep_core::error::Result;

use crate::config::{Config, LogConfig};
use crate::log::{self, Log, SETTLED};
use crate::quarantine::{Quarantine, Stage};
use crate::status::{Board, FlowStatus, LogStatus, State, Status};

/// The status of a run; without a board, of a run that is not running.
///
/// # Errors
/// A log that cannot be read.
pub async fn status(
    config: &Config,
    log: &dyn Log,
    quarantine: &Quarantine,
    board: Option<&Board>,
) -> Result<Status> {
    let mut at_gate: BTreeMap<String, u64> = BTreeMap::new();
    let mut at_target: BTreeMap<(String, String), u64> = BTreeMap::new();
    for entry in quarantine.list(true).await? {
        match (entry.stage, entry.flow) {
            (Stage::Deliver, Some(flow)) => {
                *at_target.entry((flow, entry.system)).or_default() += 1;
            }
            _ => *at_gate.entry(entry.entity).or_default() += 1,
        }
    }
    let quarantined = |entity: &str, flow: &str, to: &str| {
        let here = at_target
            .get(&(flow.to_owned(), to.to_owned()))
            .copied()
            .unwrap_or(0);
        at_gate.get(entity).copied().unwrap_or(0) + here
    };
    let flows = match board {
        Some(board) => board.flows(jiff::Timestamp::now(), quarantined),
        None => stopped(config, quarantined),
    };
    let info = log.stream(SETTLED).await.map_err(log::to_error)?;
    let LogConfig::Embedded { path, .. } = &config.log;
    Ok(Status {
        flows,
        log: LogStatus {
            engine: "embedded".to_owned(),
            location: path.display().to_string(),
            messages: info.messages,
            bytes: info.bytes,
            first_seq: info.first_seq,
            last_seq: info.last_seq,
        },
        version: env!("CARGO_PKG_VERSION").to_owned(),
        running: board.is_some(),
    })
}

/// The status where nothing ever ran.
#[must_use]
pub fn never_ran(config: &Config) -> Status {
    let LogConfig::Embedded { path, .. } = &config.log;
    Status {
        flows: stopped(config, |_, _, _| 0),
        log: LogStatus {
            engine: "embedded".to_owned(),
            location: path.display().to_string(),
            first_seq: 1,
            ..LogStatus::default()
        },
        version: env!("CARGO_PKG_VERSION").to_owned(),
        running: false,
    }
}

fn stopped(config: &Config, quarantined: impl Fn(&str, &str, &str) -> u64) -> Vec<FlowStatus> {
    let flows = config.flows.values();
    flows
        .flat_map(|flow| flow.to.iter().map(move |to| (flow, to)))
        .map(|(flow, to)| FlowStatus {
            flow: flow.name.clone(),
            entity: flow.entity.clone(),
            from: flow.from.clone(),
            to: to.clone(),
            state: State::Stalled,
            lag_ms: 0,
            rate: 0.0,
            applied: 0,
            quarantined: quarantined(&flow.entity, &flow.name, to),
            reason: Some("no runtime is running; start one with `lockstep run`".to_owned()),
        })
        .collect()
}
