//! Answers about a run, made from its log and, while it runs, from what its steps tell.

use std::collections::BTreeMap;
use std::time::Duration;

use lockstep_core::error::{Error, Result};

use crate::config::{Config, LogConfig};
use crate::log::nats::survey;
use crate::log::{self, Log, POSITIONS, SETTLED};
use crate::quarantine::{self, Quarantine, Stage};
use crate::status::{self, Board, FlowStatus, LogStatus, State, Status, StreamStatus};

/// How long the log may take to be looked at while a run wants to answer.
const LOOK_MAX: Duration = Duration::from_secs(15);

/// The status of a run; without a board, of a run that is not running.
///
/// A run whose log does not answer says so by its flows: that is when somebody asks.
///
/// # Errors
/// A log that cannot be read, where nothing runs.
pub async fn status(
    config: &Config,
    log: &dyn Log,
    quarantine: &Quarantine,
    board: Option<&Board>,
) -> Result<Status> {
    let looked = look(config, log, quarantine, board);
    let Some(board) = board else {
        return looked.await;
    };
    let looked = tokio::time::timeout(LOOK_MAX, looked).await;
    let looked = looked.unwrap_or_else(|_| {
        let error = Error::transient("the log did not answer in time").code("LS-L006");
        Err(error.help("look at the log's servers; see `lockstep explain LS-L006`"))
    });
    Ok(looked.unwrap_or_else(|error| Status {
        flows: board.blind(&config.flows, &error),
        log: about(config),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        running: true,
    }))
}

async fn look(
    config: &Config,
    log: &dyn Log,
    quarantine: &Quarantine,
    board: Option<&Board>,
) -> Result<Status> {
    let mut at_gate: BTreeMap<String, u64> = BTreeMap::new();
    let mut at_target: BTreeMap<(String, String), u64> = BTreeMap::new();
    for entry in quarantine.places().await? {
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
    let now = jiff::Timestamp::now();
    let (flows, running) = match board {
        _ if config.log.is_shared() => {
            let gathered = status::gather(config, log, board).await?;
            let running = board.is_some() || gathered.somebody;
            if running {
                (gathered.flows(config, now, quarantined), true)
            } else {
                (stopped(config, quarantined), false)
            }
        }
        Some(board) => (board.flows(now, quarantined), true),
        None => (stopped(config, quarantined), false),
    };
    Ok(Status {
        flows,
        log: log_status(config, log).await?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        running,
    })
}

/// The status where nothing ever ran.
#[must_use]
pub fn never_ran(config: &Config) -> Status {
    Status {
        flows: stopped(config, |_, _, _| 0),
        log: LogStatus {
            first_seq: 1,
            ..about(config)
        },
        version: env!("CARGO_PKG_VERSION").to_owned(),
        running: false,
    }
}

/// The log as its engine and the configuration show it.
async fn log_status(config: &Config, log: &dyn Log) -> Result<LogStatus> {
    let info = log.stream(SETTLED).await.map_err(log::to_error)?;
    let mut status = LogStatus {
        messages: info.messages,
        bytes: info.bytes,
        first_seq: info.first_seq,
        last_seq: info.last_seq,
        ..about(config)
    };
    let limits = [
        (SETTLED, config.log.max_bytes()),
        (POSITIONS, None),
        (quarantine::STREAM, None),
    ];
    for (name, max_bytes) in limits {
        let info = log.stream(name).await.map_err(log::to_error)?;
        status.streams.push(StreamStatus {
            name: name.to_owned(),
            messages: info.messages,
            bytes: info.bytes,
            max_bytes,
            fill: max_bytes.map(|max| info.bytes as f64 / max as f64),
        });
    }
    if let LogConfig::Nats(nats) = &config.log {
        let monitored = survey::monitor(nats.monitor.as_deref()).await;
        status.sync = Some(monitored.sync.to_string());
    }
    Ok(status)
}

/// What the configuration says of the log.
fn about(config: &Config) -> LogStatus {
    let (servers, replicas) = match &config.log {
        LogConfig::Embedded { .. } => (Vec::new(), None),
        LogConfig::Nats(nats) => (nats.servers.clone(), Some(nats.replicas)),
    };
    LogStatus {
        engine: config.log.engine().to_owned(),
        location: config.log.location(),
        servers,
        replicas,
        ..LogStatus::default()
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
