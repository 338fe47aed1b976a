//! What `lockstep status` shows, field by field.

use lockstep_core::contract::drift::Drift;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MajorStatus, ReadingStatus};
use crate::canary::Spot;
use crate::capture::LINE_MAX;
use crate::config::Flow;
use crate::control::Paused;
use crate::rules::{self, RuleCount, SetStatus};

/// The answer of `lockstep status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// One entry per flow and target.
    pub flows: Vec<FlowStatus>,
    /// The log.
    pub log: LogStatus,
    /// The runtime's version.
    pub version: String,
    /// Whether a runtime is running; if not, the rest is what its log says.
    pub running: bool,
    /// How often each rule of a contract was broken since the runtime started.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub rules: Vec<RuleCount>,
    /// How rules over all records of an entity were last judged.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub sets: Vec<SetStatus>,
    /// Older majors whose subscribers are still served.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub majors: Vec<MajorStatus>,
}

/// One flow into one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlowStatus {
    /// The flow.
    pub flow: String,
    /// The entity.
    pub entity: String,
    /// Where it comes from.
    pub from: String,
    /// Where it goes.
    pub to: String,
    /// Its state.
    pub state: State,
    /// How long the oldest change that is not applied has been waiting, in milliseconds.
    pub lag_ms: u64,
    /// Changes applied a second, over the last seconds.
    pub rate: f64,
    /// Changes applied since the start.
    pub applied: u64,
    /// Open quarantine entries that keep changes from this target: the source's and its own.
    pub quarantined: u64,
    /// Why it is stalled, held or paused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// What halts its entity, until somebody decides about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub halted: Option<Halted>,
    /// What of it rests, because somebody paused it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub paused: Option<Paused>,
    /// Where it is stuck.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stuck: Option<Spot>,
    /// How long ago the last mark set out at the source that has passed all the way to the target, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mark_ms: Option<u64>,
    /// The version of the contract that the target gets.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub contract: Option<String>,
    /// Where the tables at its ends differ from what the contract and their mappings expect.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub drift: Vec<DriftStatus>,
    /// How far the source's table is being read, where it is read from its first row or again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reading: Option<ReadingStatus>,
}

/// A quarantine entry that halts an entity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Halted {
    /// The entry's id.
    pub id: String,
    /// The rule that asks for it.
    pub rule: String,
    /// The record's key, where it may be shown.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    /// Since when.
    pub since: String,
    /// How many changes wait in line behind it.
    pub waiting: u64,
}

/// One difference between a system's table and what is expected of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DriftStatus {
    /// The system.
    pub system: String,
    /// What differs.
    #[serde(flatten)]
    pub drift: Drift,
}

impl FlowStatus {
    /// The same flow with its entity halted.
    #[must_use]
    pub(crate) fn halted(mut self, halted: Halted) -> FlowStatus {
        let key = halted.key.as_ref();
        let at = key.map_or_else(String::new, |key| format!(" at `{key}`"));
        let (full, code) = if halted.waiting >= LINE_MAX as u64 {
            (" and its source is not read on", "LS-R002")
        } else {
            ("", "LS-R001")
        };
        let decide = if rules::is_over_all(&halted.id) {
            format!(
                "mend the records in `{}` and it goes on once the rule holds, or let it go on with `lockstep quarantine drop {}`",
                self.from, halted.id
            )
        } else {
            format!(
                "decide with `lockstep quarantine edit|retry|drop {}`",
                halted.id
            )
        };
        let said = format!(
            "halted by the rule `{}`{at}, {} changes wait{full}; {decide} ({code})",
            halted.rule, halted.waiting
        );
        // What keeps the source from being read is worth saying as well.
        self.reason = Some(match self.reason.take() {
            Some(reason) => format!("{said}; {reason}"),
            None => said,
        });
        self.state = State::Held;
        self.halted = Some(halted);
        self
    }

    /// A flow of which nothing is known but why.
    pub(super) fn unseen(flow: &Flow, to: &str, state: State, reason: String) -> FlowStatus {
        FlowStatus {
            flow: flow.name.clone(),
            entity: flow.entity.clone(),
            from: flow.from.clone(),
            to: to.to_owned(),
            state,
            lag_ms: 0,
            rate: 0.0,
            applied: 0,
            quarantined: 0,
            reason: Some(reason),
            halted: None,
            paused: None,
            stuck: None,
            mark_ms: None,
            contract: None,
            drift: Vec::new(),
            reading: None,
        }
    }
}

/// What a flow is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Everything that is known is applied.
    Idle,
    /// There is more to apply, and it is being applied.
    Behind,
    /// There is more to apply, and nothing moves.
    Stalled,
    /// Something has to be mended first.
    Held,
    /// Somebody paused it.
    Paused,
}

/// The log, as `status` shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogStatus {
    /// Which engine.
    pub engine: String,
    /// Where it is.
    pub location: String,
    /// Settled messages kept.
    pub messages: u64,
    /// Bytes they take.
    pub bytes: u64,
    /// The first sequence kept.
    pub first_seq: u64,
    /// The last sequence given out.
    pub last_seq: u64,
    /// The servers, where there are some.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub servers: Vec<String>,
    /// How many servers keep each stream.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub replicas: Option<u8>,
    /// How soon the servers' disks hold what is acknowledged: `always` before that, anything else later or unknown.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sync: Option<String>,
    /// Its streams.
    #[serde(default)]
    pub streams: Vec<StreamStatus>,
}

impl LogStatus {
    /// Whether what is acknowledged may be lost with the power of a server.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        self.sync.as_deref().is_some_and(|sync| sync != "always")
    }
}

/// A stream of the log, as `status` shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamStatus {
    /// Its name.
    pub name: String,
    /// Messages kept.
    pub messages: u64,
    /// Bytes they take.
    pub bytes: u64,
    /// Most bytes, where there is a limit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_bytes: Option<u64>,
    /// How full it is, from 0 to 1, where there is a limit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fill: Option<f64>,
}
