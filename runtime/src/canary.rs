//! The canary: a mark that goes from the source to the target again and again, so that an idle flow can be told from a dead one.
//!
//! Each round asks, one after the other: does the log take a mark, does the source answer, does its capture, does the delivery, does the target.
//! Whoever does not answer within the deadline is where the flow is stuck. A mark has passed once the target holds all that the log had when the capture answered.
//! It writes nothing into any system, and one small entry into the log's bucket `LS_CANARY`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jiff::Timestamp;
use lockstep_core::connector::Registry;
use lockstep_core::error::{Error, Result};
use lockstep_core::log::subject;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Role};
use crate::control::Rests;
use crate::links;
use crate::log::{self, Log, LogError};
use crate::quarantine::{Answer, Ask};
use crate::query;
use crate::status::Board;

/// Code → page, for where a flow is stuck.
pub(crate) const CODES: &[(&str, &str)] = &[
    (
        "LS-H001",
        "A source does not answer, so nobody knows whether it has anything to say.\n\
         Check: that the system runs, accepts connections and answers a query in the time that `canary.deadline` gives; a server that hangs looks like this while its port is open.\n\
         Safe: nothing is lost; the capture goes on where it was once the system answers.",
    ),
    (
        "LS-H002",
        "A capture does not answer though its source does: it waits for something in the runtime, or the process is starved.\n\
         Check: the processor and memory of the machine, and the log output of the runtime for what it did last.\n\
         Safe: `lockstep retry SYSTEM` begins the capture anew where it was; so does a restart of the runtime.",
    ),
    (
        "LS-H003",
        "The log takes no mark, so nothing can be captured or delivered.\n\
         Check: the disk of the embedded log, or the servers of `log.servers`: that they run, have a leader for the streams, and room.\n\
         Safe: nothing that was acknowledged is lost; sources wait, and everything goes on by itself.",
    ),
    (
        "LS-H004",
        "A delivery does not answer though its target does.\n\
         Check: a batch that takes very long in the target (locks, triggers), and the log output of the runtime.\n\
         Safe: `lockstep retry FLOW` begins the delivery anew where its target's progress says.",
    ),
    (
        "LS-H005",
        "A target does not answer, so what waits for it stays in the log.\n\
         Check: that the system runs, accepts connections and answers a query in the time that `canary.deadline` gives; locks that somebody holds on the progress table look like this, too.\n\
         Safe: nothing is lost; the delivery goes on where it was once the target answers.",
    ),
];

/// The bucket of marks.
pub(crate) const BUCKET: &str = "LS_CANARY";
/// How often is looked whether a paused delivery will lose what it needs.
const LOOK_AT_RESTS: Duration = Duration::from_secs(600);
/// What is left of the deadline for the way of an answer.
const WAY: Duration = Duration::from_secs(1);

/// Where a flow is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Spot {
    /// Its source, or the capture of it.
    Capture,
    /// The log.
    Log,
    /// The delivery.
    Delivery,
    /// The target.
    Target,
}

/// Where something is stuck, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stuck {
    pub(crate) at: Spot,
    pub(crate) reason: String,
}

/// What the canary of one runtime knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Marks {
    /// Where everything is stuck.
    log: Option<Stuck>,
    /// By system.
    captures: BTreeMap<String, Stuck>,
    /// By flow and target, joined by a dot.
    flows: BTreeMap<String, Stuck>,
    /// By flow and target, how long ago the last mark set out that passed all the way.
    passed_ms: BTreeMap<String, u64>,
}

impl Marks {
    /// Adds what another runtime knows.
    pub(crate) fn join(&mut self, other: Marks) {
        self.log = self.log.take().or(other.log);
        self.captures.extend(other.captures);
        self.flows.extend(other.flows);
        self.passed_ms.extend(other.passed_ms);
    }

    /// Where a flow is stuck.
    pub(crate) fn stuck(&self, flow: &str, from: &str, to: &str) -> Option<&Stuck> {
        let log = self.log.as_ref();
        let capture = || self.captures.get(from);
        log.or_else(capture)
            .or_else(|| self.flows.get(&name(flow, to)))
    }

    /// How long ago the last mark set out that passed from the source to the target.
    pub(crate) fn passed_ms(&self, flow: &str, to: &str) -> Option<u64> {
        self.passed_ms.get(&name(flow, to)).copied()
    }
}

fn name(flow: &str, to: &str) -> String {
    format!("{flow}.{to}")
}

/// Where the canary of this runtime tells what it found.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    marks: Marks,
    passed: BTreeMap<String, Instant>,
}

impl Told {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // What was found stays meaningful even if a thread died while it held it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known by now.
    pub(crate) fn marks(&self) -> Marks {
        let inner = self.inner();
        let age = |at: &Instant| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
        let passed = inner.passed.iter();
        Marks {
            passed_ms: passed.map(|(name, at)| (name.clone(), age(at))).collect(),
            ..inner.marks.clone()
        }
    }
}

/// A part of the run that the canary looks at.
#[derive(Clone, Debug)]
pub(crate) struct Delivering {
    pub(crate) flow: String,
    pub(crate) entity: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) reached: u64,
}

/// Sends marks while Lockstep runs.
pub(crate) struct Canary {
    pub(crate) config: Arc<Config>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) board: Arc<Board>,
}

impl Canary {
    /// Sends a mark every while, until `stop`.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        let Some(every) = self.config.canary.every else {
            return stop.cancelled().await;
        };
        let mut looked_at: Option<Instant> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
            if looked_at.is_none_or(|at| at.elapsed() > LOOK_AT_RESTS) {
                looked_at = Some(Instant::now());
                self.look_at_rests().await;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.round() => {}
            }
        }
    }

    async fn round(&self) {
        let set_out = Instant::now();
        let mut marks = Marks {
            log: self.log_takes_it().await.err(),
            ..Marks::default()
        };
        if marks.log.is_none() {
            let systems = self.board.capturing();
            let asked = systems.iter().map(|system| self.capture(system));
            let found = join_all(asked).await;
            let found = systems.into_iter().zip(found);
            marks.captures = found
                .filter_map(|(system, stuck)| Some((system, stuck?)))
                .collect();
            let flows = self.board.delivering();
            // What the log has by now is what the mark stands behind.
            let heads: Vec<u64> = flows
                .iter()
                .map(|flow| self.board.head_of(&flow.entity))
                .collect();
            let asked = flows.iter().map(|flow| self.deliver(flow));
            let found = join_all(asked).await;
            for ((flow, head), stuck) in flows.iter().zip(heads).zip(found) {
                let name = name(&flow.flow, &flow.to);
                let reached = self.board.reached_by(&flow.flow, &flow.to).unwrap_or(0);
                let said = !marks.captures.contains_key(&flow.from);
                match stuck {
                    Some(stuck) => drop(marks.flows.insert(name, stuck)),
                    None if said && reached >= head => {
                        self.board.told.inner().passed.insert(name, set_out);
                    }
                    None => {}
                }
            }
        }
        self.tell(&marks);
    }

    /// Keeps what was found, and says what is new of it.
    fn tell(&self, marks: &Marks) {
        let before = std::mem::replace(&mut self.board.told.inner().marks, marks.clone());
        for (name, stuck) in all(marks) {
            if !all(&before).any(|(known, was)| known == name && was.at == stuck.at) {
                let (at, reason) = (stuck.at, &stuck.reason);
                tracing::warn!(part = name, ?at, reason, "stuck");
            }
        }
        for (name, _) in all(&before) {
            if !all(marks).any(|(known, _)| known == name) {
                tracing::info!(part = name, "answers again");
            }
        }
    }

    async fn log_takes_it(&self) -> Result<(), Stuck> {
        let put = async {
            let bucket = self.log.bucket(BUCKET).await?;
            let who = self.board.me().map_or("runtime", |me| me.id.as_str());
            let at = Timestamp::now().to_string();
            bucket.put(&format!("mark.{who}"), at.into()).await
        };
        let error = match tokio::time::timeout(self.deadline(), put).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => log::to_error(error),
            Err(_) => Error::transient("it did not answer in time"),
        };
        Err(Stuck {
            at: Spot::Log,
            reason: format!(
                "the log takes no mark: {}; see that it runs and has room, nothing is lost meanwhile (LS-H003)",
                error.chain()
            ),
        })
    }

    async fn capture(&self, system: &str) -> Option<Stuck> {
        let stuck = |reason: String| {
            Some(Stuck {
                at: Spot::Capture,
                reason,
            })
        };
        if let Err(error) = self.source_answers(system).await {
            return stuck(format!(
                "the source `{system}` does not answer: {}; see that it runs and answers queries, nothing is lost meanwhile (LS-H001)",
                error.chain()
            ));
        }
        let subject = subject::capture_control(system);
        match self.ask(&subject, self.deadline()).await {
            Err(LogError::Timeout(_)) => stuck(format!(
                "the capture of `{system}` does not answer; `lockstep retry {system}` begins it anew (LS-H002)"
            )),
            // It begins anew just now, and its trouble is told by itself.
            _ => None,
        }
    }

    async fn deliver(&self, flow: &Delivering) -> Option<Stuck> {
        let Delivering {
            flow: name,
            to,
            reached,
            ..
        } = flow;
        let target = |reason: &str| {
            Some(Stuck {
                at: Spot::Target,
                reason: format!(
                    "the target `{to}` does not answer: {reason}; see that it runs and answers queries, what waits for it stays in the log (LS-H005)"
                ),
            })
        };
        let subject = subject::deliver_control(name, to);
        match self.ask(&subject, self.deadline() + WAY).await {
            Ok(Answer::Failed { reason }) => target(&reason),
            Err(LogError::Timeout(_)) => {
                // A batch that is being applied is answer enough.
                if self.board.reached_by(name, to) != Some(*reached) {
                    return None;
                }
                if let Err(error) = self.target_answers(to).await {
                    return target(&error.chain());
                }
                Some(Stuck {
                    at: Spot::Delivery,
                    reason: format!(
                        "the delivery of {name} to {to} does not answer though its target does; `lockstep retry {name} --to {to}` begins it anew (LS-H004)"
                    ),
                })
            }
            _ => None,
        }
    }

    async fn ask(&self, subject: &str, within: Duration) -> Result<Answer, LogError> {
        let ask = Ask::Mark {
            within_ms: u64::try_from(self.deadline().as_millis()).unwrap_or(u64::MAX),
        };
        let answer = self.log.request(subject, ask.to_bytes(), within).await?;
        Ok(Answer::read(&answer))
    }

    async fn source_answers(&self, system: &str) -> Result<()> {
        let Some(known) = self.config.systems.get(system) else {
            return Ok(());
        };
        if known.is_inbox() {
            return Ok(());
        }
        let cx = self.config.open_context(system, Role::Source);
        self.in_time(async {
            let names = query::Names::new();
            let source = query::open_source(&self.config, &self.registry, cx, &names, None).await?;
            source.discover().await.map(drop)
        })
        .await
    }

    async fn target_answers(&self, system: &str) -> Result<()> {
        if !self.config.systems.contains_key(system) {
            return Ok(());
        }
        let cx = self.config.open_context(system, Role::Sink);
        self.in_time(async {
            let sink = links::open_sink(&self.config, &self.registry, cx, None).await?;
            sink.discover().await.map(drop)
        })
        .await
    }

    async fn in_time(&self, asking: impl Future<Output = Result<()>>) -> Result<()> {
        match tokio::time::timeout(self.deadline(), asking).await {
            // A system that refuses answers; its capture or delivery tells why.
            Ok(Err(error)) if !error.kind().is_retryable() => Ok(()),
            Ok(answer) => answer,
            Err(_) => Err(Error::transient("no answer in time")),
        }
    }

    fn deadline(&self) -> Duration {
        self.config.canary.deadline
    }

    /// Warns before the log forgets what a paused delivery needs.
    async fn look_at_rests(&self) {
        let read = Rests::read(&self.config, &*self.log);
        if let Ok(Ok(rests)) = tokio::time::timeout(self.deadline(), read).await {
            for (part, until) in rests.ending() {
                tracing::warn!(
                    %part,
                    %until,
                    "the log will soon forget what a paused delivery needs: resume it, or raise `max_age` (LS-F001)"
                );
            }
        }
    }
}

/// Everything that is stuck, by name.
fn all(marks: &Marks) -> impl Iterator<Item = (String, &Stuck)> {
    let log = marks.log.iter().map(|stuck| ("log".to_owned(), stuck));
    let captures = marks.captures.iter();
    let captures = captures.map(|(system, stuck)| (format!("capture of {system}"), stuck));
    let flows = marks.flows.iter();
    let flows = flows.map(|(name, stuck)| (format!("delivery {name}"), stuck));
    log.chain(captures).chain(flows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stuck(at: Spot) -> Stuck {
        Stuck {
            at,
            reason: String::new(),
        }
    }

    #[test]
    fn a_flow_is_stuck_at_the_first_place_that_does_not_answer() {
        let mut marks = Marks::default();
        assert_eq!(marks.stuck("f", "crm", "erp"), None);
        marks.flows.insert("f.erp".into(), stuck(Spot::Target));
        let at = |marks: &Marks| marks.stuck("f", "crm", "erp").map(|stuck| stuck.at);
        assert_eq!(at(&marks), Some(Spot::Target));
        assert_eq!(marks.stuck("f", "crm", "billing"), None);
        marks.captures.insert("crm".into(), stuck(Spot::Capture));
        assert_eq!(at(&marks), Some(Spot::Capture));
        let mut whole = Marks::default();
        whole.join(Marks {
            log: Some(stuck(Spot::Log)),
            ..marks
        });
        assert_eq!(at(&whole), Some(Spot::Log));
    }
}
