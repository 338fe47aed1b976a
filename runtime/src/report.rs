//! Answers about a run, made from its log and, while it runs, from what its steps tell.

use std::collections::BTreeMap;
use std::time::Duration;

use lockstep_core::contract::Outcome;
use lockstep_core::error::{Error, Result};

use crate::capture::LINE_MAX;
use crate::config::{Config, LogConfig};
use crate::control::Rests;
use crate::log::nats::survey;
use crate::log::{self, Log, POSITIONS, SETTLED};
use crate::quarantine::{self, Broken, Guarded, Place, Quarantine, Stage, State as EntryState};
use crate::rules;
use crate::status::{self, Board, FlowStatus, Halted, LogStatus, State, Status, StreamStatus};

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
        rules: board.rules(),
        sets: board.sets(),
        majors: board.older_majors(),
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
    let mut halts = Halts::default();
    for entry in quarantine.places().await? {
        halts.take(config, &entry);
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
    let rests = Rests::read(config, log).await?;
    let now = jiff::Timestamp::now();
    let mut majors = board.map(Board::older_majors).unwrap_or_default();
    let (flows, (rules, sets), running) = match board {
        _ if config.log.is_shared() => {
            let gathered = status::gather(config, log, board).await?;
            let running = board.is_some() || gathered.somebody;
            majors = gathered.majors();
            if running {
                let flows = gathered.flows(config, now, quarantined);
                (flows, gathered.rules(), true)
            } else {
                (stopped(config, quarantined), Default::default(), false)
            }
        }
        Some(board) => {
            let rules = (board.rules(), board.sets());
            (board.flows(now, quarantined), rules, true)
        }
        None => (stopped(config, quarantined), Default::default(), false),
    };
    Ok(Status {
        flows: flows
            .into_iter()
            .map(|flow| rests.show(halts.show(flow), running))
            .collect(),
        log: log_status(config, log).await?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        running,
        rules,
        sets,
        majors,
    })
}

/// What halts entities, by the system they come from and their name.
#[derive(Default)]
struct Halts {
    halted: BTreeMap<(String, String), Halted>,
    waiting: BTreeMap<(String, String), u64>,
}

impl Halts {
    fn take(&mut self, config: &Config, place: &Place) {
        let of = (place.system.clone(), place.entity.clone());
        if place.state == EntryState::Waiting {
            *self.waiting.entry(of).or_default() += 1;
            return;
        }
        let asked = |broken: &&Broken| broken.outcome == Outcome::Halt;
        let Some(broken) = place
            .violations
            .iter()
            .find(asked)
            .filter(|_| place.halts())
        else {
            return;
        };
        let halted = Halted {
            id: place.id.clone(),
            rule: broken.rule.clone(),
            // A rule over all records is at no record.
            key: Guarded::of(config, &place.system, &place.entity)
                .key(&place.key)
                .filter(|_| !rules::is_over_all(&place.id)),
            since: place.at.to_string(),
            waiting: 0,
        };
        let earlier = self.halted.get(&of);
        if earlier.is_none_or(|known| known.since > halted.since) {
            self.halted.insert(of, halted);
        }
    }

    fn show(&self, flow: FlowStatus) -> FlowStatus {
        let of = (flow.from.clone(), flow.entity.clone());
        match self.halted.get(&of) {
            Some(halted) => flow.halted(Halted {
                waiting: self.waiting.get(&of).copied().unwrap_or(0),
                ..halted.clone()
            }),
            None => self.moves(flow),
        }
    }

    /// A flow that nothing halts: it is not idle while others wait in line or its source is not read on.
    fn moves(&self, mut flow: FlowStatus) -> FlowStatus {
        if flow.state != State::Idle {
            return flow;
        }
        let of = (flow.from.clone(), flow.entity.clone());
        if self.waiting.contains_key(&of) {
            flow.state = State::Behind;
        }
        let full = |(of, waiting): (&(String, String), &u64)| {
            (of.0 == flow.from && *waiting >= LINE_MAX as u64).then(|| of.1.clone())
        };
        if let Some(entity) = self.waiting.iter().find_map(full) {
            flow.state = State::Behind;
            flow.reason = Some(format!(
                "its source is not read on while so many changes of `{entity}` wait in line (LS-R002)"
            ));
        }
        flow
    }
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
        rules: Vec::new(),
        sets: Vec::new(),
        majors: Vec::new(),
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
            halted: None,
            paused: None,
            stuck: None,
            mark_ms: None,
            contract: None,
            reading: None,
            drift: Vec::new(),
        })
        .collect()
}
