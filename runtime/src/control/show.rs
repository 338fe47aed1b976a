//! What rests, as `status` shows it, and how long the log keeps what it needs.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lockstep_core::error::Result;
use lockstep_core::log::subject;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BUCKET, Part, Pause, Wish, read};
use crate::config::Config;
use crate::log::{self, AckPolicy, ConsumerConfig, Log, LogError, SETTLED, Start};
use crate::status::{FlowStatus, State};

/// How long a look for the next message may take.
const LOOK: Duration = Duration::from_millis(300);
/// The part of `max_age` that must be left, as one in so many, before the log warns.
const WARN_BEFORE: i32 = 4;

/// A flow that rests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Paused {
    /// What of it: its capture, its delivery, or both.
    pub parts: Vec<Part>,
    /// Since when, by whom and why.
    #[serde(flatten)]
    pub pause: Pause,
    /// Until when the log keeps what its delivery needs next, where something waits and the log forgets by age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_until: Option<String>,
}

/// Everything that rests.
pub(crate) struct Rests {
    pauses: BTreeMap<Part, Pause>,
    /// By delivery, when the message was stored that it needs next; none where the log has it no more.
    needs: BTreeMap<Part, Option<Timestamp>>,
    max_age: Option<Duration>,
}

impl Rests {
    /// Reads what rests from a log, where one ever rested.
    pub(crate) async fn read(config: &Config, log: &dyn Log) -> Result<Rests> {
        let mut rests = Rests {
            pauses: BTreeMap::new(),
            needs: BTreeMap::new(),
            max_age: config.log.max_age(),
        };
        let bucket = match log.bucket(BUCKET).await {
            Ok(bucket) => bucket,
            // Who only looks makes none.
            Err(LogError::Missing { .. } | LogError::Denied(_)) => return Ok(rests),
            Err(error) => return Err(log::to_error(error)),
        };
        for entry in bucket.list("").await.map_err(log::to_error)? {
            let Wish { pause, .. } = read(&entry.value);
            if let (Some(part), Some(pause)) = (Part::of(&entry.key), pause) {
                rests.pauses.insert(part, pause);
            }
        }
        for (part, pause) in &rests.pauses {
            let Part::Deliver { flow, .. } = part else {
                continue;
            };
            let Some(flow) = config.flows.get(flow) else {
                continue;
            };
            if let Some(needs) = needed(log, &flow.entity, pause.reached).await? {
                rests.needs.insert(part.clone(), needs);
            }
        }
        Ok(rests)
    }

    /// A flow with what of it rests.
    pub(crate) fn show(&self, mut flow: FlowStatus, running: bool) -> FlowStatus {
        let parts = [
            Part::Capture {
                system: flow.from.clone(),
            },
            Part::Deliver {
                flow: flow.flow.clone(),
                to: flow.to.clone(),
            },
        ];
        let resting: Vec<(&Part, &Pause)> = self
            .pauses
            .iter()
            .filter(|(part, _)| parts.contains(part))
            .collect();
        let Some((_, first)) = resting.iter().min_by_key(|(_, pause)| pause.since) else {
            return flow;
        };
        let mut said: Vec<String> = resting
            .iter()
            .map(|(part, pause)| self.say(part, pause))
            .collect();
        let kept_until = resting.iter().find_map(|(part, _)| self.kept_until(part));
        said.extend(flow.reason.take());
        flow.reason = Some(said.join("; "));
        flow.paused = Some(Paused {
            parts: resting.iter().map(|(part, _)| (*part).clone()).collect(),
            pause: (*first).clone(),
            kept_until: kept_until.map(|at| at.to_string()),
        });
        if running {
            flow.state = State::Paused;
        }
        if resting
            .iter()
            .any(|(part, _)| matches!(part, Part::Deliver { .. }))
        {
            // Nothing is applied, whatever was a moment ago.
            flow.rate = 0.0;
        }
        flow
    }

    /// The deliveries whose next message the log will soon forget, and when.
    pub(crate) fn ending(&self) -> impl Iterator<Item = (&Part, Timestamp)> {
        let paused = self.pauses.keys();
        let until = paused.filter_map(|part| Some((part, self.kept_until(part)?)));
        until.filter(|(_, until)| self.is_near(*until))
    }

    fn say(&self, part: &Part, pause: &Pause) -> String {
        let why = pause.reason.as_ref();
        let why = why.map_or_else(String::new, |reason| format!(" ({reason})"));
        let what = format!("paused since {:.0} by {}{why}", pause.since, pause.by);
        match part {
            Part::Capture { system } => format!(
                "capture {what}: its position is kept, so the changes of `{system}` pile up there; watch the space it has for them, and go on with `lockstep resume {system}`"
            ),
            Part::Deliver { flow, to } => {
                format!(
                    "delivery {what}: {}; go on with `lockstep resume {flow} --to {to}`",
                    self.kept(part)
                )
            }
        }
    }

    /// What the log keeps of what a delivery needs.
    fn kept(&self, part: &Part) -> String {
        match (self.needs.get(part), self.kept_until(part)) {
            (None, _) => "nothing waits for it".to_owned(),
            (Some(None), _) => "the log has forgotten what it needs next (LS-L003)".to_owned(),
            (Some(Some(_)), None) => "the log keeps what it needs".to_owned(),
            (Some(Some(_)), Some(until)) if self.is_near(until) => {
                format!(
                    "the log keeps what it needs only until {until:.0}: resume it before, or raise `max_age` (LS-F001)"
                )
            }
            (Some(Some(_)), Some(until)) => format!("the log keeps what it needs until {until:.0}"),
        }
    }

    fn kept_until(&self, part: &Part) -> Option<Timestamp> {
        let stored = (*self.needs.get(part)?)?;
        let age = SignedDuration::try_from(self.max_age?).ok()?;
        stored.checked_add(age).ok()
    }

    fn is_near(&self, until: Timestamp) -> bool {
        let age = self
            .max_age
            .and_then(|age| SignedDuration::try_from(age).ok());
        let left = until.duration_since(Timestamp::now());
        age.is_some_and(|age| left < age / WARN_BEFORE)
    }
}

/// When the message was stored that a delivery needs next: nothing where none waits, and no time where the log has it no more.
async fn needed(
    log: &dyn Log,
    entity: &str,
    reached: Option<u64>,
) -> Result<Option<Option<Timestamp>>> {
    let config = ConsumerConfig {
        durable: None,
        filters: vec![subject::settled_all(entity)],
        // Where nobody noted how far it is, everything that is kept may be needed.
        start: reached.map_or(Start::All, |seq| Start::Seq(seq + 1)),
        ack: AckPolicy::None,
        ack_wait: Duration::from_secs(60),
        max_ack_pending: 0,
    };
    let next = match log.consume(SETTLED, config).await {
        Ok(mut consumer) => consumer.fetch(1, LOOK).await,
        Err(error) => Err(error),
    };
    match next {
        Ok(messages) => Ok(messages.first().map(|message| Some(message.at))),
        Err(LogError::Gap { .. }) => Ok(Some(None)),
        Err(error) => Err(log::to_error(error)),
    }
}
