//! Who waits for a verdict: observations between their arrival and the moment they are durable, in the log or in quarantine.
//!
//! A verdict is told before the position that covers its message is stored, so a crash tells it again rather than never; whoever is not listening then has to publish again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use lockstep_core::contract::Violation;
use lockstep_core::gate::Rejection;
use lockstep_core::log::Observed;
use lockstep_core::position::Mark;
use serde::Serialize;

use crate::log::{Log, PAYLOAD_MAX, rules};

/// Most bytes kept of an observation that cannot be read.
const RAW_MAX: usize = 64 * 1024;
/// Most characters of a reason.
const REASON_MAX: usize = 500;

/// The observations of one inbox that nobody has answered yet.
pub struct Desk {
    log: Arc<dyn Log>,
    waiting: Mutex<BTreeMap<u64, Message>>,
}

/// One message that waits for its verdict.
#[derive(Default)]
struct Message {
    /// Where the verdict goes.
    reply: Option<String>,
    /// Whether it held a batch, however small.
    is_frame: bool,
    observations: Vec<Observation>,
}

struct Observation {
    id: Option<Box<str>>,
    /// Why it cannot be read, with its beginning.
    unreadable: Option<(Vec<Violation>, String)>,
    /// What it broke.
    refused: Option<Verdict>,
}

/// What became of one observation.
#[derive(Clone, Debug, Serialize)]
struct Verdict {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Box<str>>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
}

/// The answer to a message with one observation.
#[derive(Serialize)]
struct Single {
    #[serde(flatten)]
    verdict: Verdict,
    sequence: u64,
}

/// The answer to a frame.
#[derive(Serialize)]
struct Several {
    sequence: u64,
    accepted: usize,
    refused: usize,
    /// One per event in its order; of a frame with very many, the refused ones alone.
    events: Vec<Verdict>,
}

impl Desk {
    pub(crate) fn new(log: Arc<dyn Log>) -> Desk {
        Desk {
            log,
            waiting: Mutex::default(),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, Message>> {
        // Every change of the map is complete in itself.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what another life of the source left; it is read again.
    pub(super) fn clear(&self) {
        self.waiting().clear();
    }

    /// Takes a message in.
    pub(super) fn enter(&self, seq: u64, reply: Option<&str>, is_frame: bool, seen: &[Observed]) {
        let observations = seen.iter().map(|seen| Observation {
            id: seen.id.clone(),
            unreadable: (!seen.violations.is_empty()).then(|| {
                let raw = seen.raw.as_deref().unwrap_or_default().as_bytes();
                let beginning = &raw[..raw.len().min(RAW_MAX)];
                let raw = base64::engine::general_purpose::STANDARD.encode(beginning);
                (seen.violations.clone(), raw)
            }),
            refused: None,
        });
        let message = Message {
            reply: reply
                .filter(|subject| may_answer(subject))
                .map(str::to_owned),
            is_frame,
            observations: observations.collect(),
        };
        self.waiting().insert(seq, message);
    }

    /// Why the observation at a mark cannot be read, with its beginning as base64.
    pub(crate) fn unreadable(&self, mark: Mark) -> Option<(Rejection, String)> {
        let waiting = self.waiting();
        let observation = waiting.get(&mark.commit)?.at(mark)?;
        let (violations, raw) = observation.unreadable.clone()?;
        Some((Rejection { violations }, raw))
    }

    /// The observation at a mark goes to quarantine for these reasons.
    pub(crate) fn refused(&self, mark: Mark, violations: &[Violation]) {
        let mut waiting = self.waiting();
        let Some(message) = waiting.get_mut(&mark.commit) else {
            return;
        };
        let at = usize::try_from(mark.ordinal).unwrap_or(usize::MAX);
        if let Some(observation) = message.observations.get_mut(at) {
            observation.refused = Some(Verdict::refused(observation.id.clone(), violations));
        }
    }

    /// Everything up to this sequence is durable: answers whoever asked for it.
    pub(crate) async fn durable(&self, seq: u64) {
        let done = {
            let mut waiting = self.waiting();
            let later = waiting.split_off(&seq.saturating_add(1));
            std::mem::replace(&mut *waiting, later)
        };
        for (seq, mut message) in done {
            let Some(reply) = message.reply.take() else {
                continue;
            };
            let answer = message.answer(seq);
            if let Err(error) = self.log.tell(&reply, answer.into()).await {
                tracing::debug!(seq, %error, "a publisher could not be answered");
            }
        }
    }
}

impl Message {
    fn at(&self, mark: Mark) -> Option<&Observation> {
        self.observations.get(usize::try_from(mark.ordinal).ok()?)
    }

    fn answer(self, seq: u64) -> Vec<u8> {
        let verdicts = self.observations.into_iter().map(|observation| {
            let accepted = || Verdict::accepted(observation.id);
            observation.refused.unwrap_or_else(accepted)
        });
        let mut events: Vec<Verdict> = verdicts.collect();
        if !self.is_frame && events.len() == 1 {
            let verdict = events.remove(0);
            return body(&Single {
                verdict,
                sequence: seq,
            });
        }
        let refused = events
            .iter()
            .filter(|verdict| verdict.reason.is_some())
            .count();
        let mut several = Several {
            sequence: seq,
            accepted: events.len() - refused,
            refused,
            events,
        };
        let whole = body(&several);
        if whole.len() <= PAYLOAD_MAX {
            return whole;
        }
        // Too many for one message: what was accepted is counted, and so are in the end the last of the refused.
        several.events.retain(|verdict| verdict.reason.is_some());
        several.events.truncate(PAYLOAD_MAX / (8 * REASON_MAX));
        body(&several)
    }
}

impl Verdict {
    fn accepted(id: Option<Box<str>>) -> Verdict {
        Verdict {
            id,
            outcome: "accepted",
            reason: None,
            field: None,
            rule: None,
        }
    }

    fn refused(id: Option<Box<str>>, violations: &[Violation]) -> Verdict {
        let reasons: Vec<&str> = violations.iter().map(|v| v.message.as_str()).collect();
        let first = violations.first();
        Verdict {
            id,
            outcome: "refused",
            reason: Some(reasons.join("; ").chars().take(REASON_MAX).collect()),
            field: first.and_then(|violation| violation.field.clone()),
            rule: first.map(|violation| violation.rule.clone()),
        }
    }
}

/// Tells whether a verdict may go to a subject: a publisher must not make the runtime speak where only the runtime or the server does.
fn may_answer(subject: &str) -> bool {
    let first = subject.split('.').next().unwrap_or_default();
    !first.eq_ignore_ascii_case("ls")
        && !first.starts_with('$')
        && rules::check_subject(subject).is_ok()
}

fn body(answer: &impl Serialize) -> Vec<u8> {
    // Texts and numbers always serialise.
    serde_json::to_vec(answer).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_never_goes_where_only_the_runtime_or_the_server_speaks() {
        for subject in [
            "ls.set.account.v1.0",
            "LS.x",
            "$JS.API.STREAM.PURGE.LS_SET",
            "a.*",
            "a b",
            "",
        ] {
            assert!(!may_answer(subject), "{subject}");
        }
        assert!(may_answer("_INBOX.abc.1") && may_answer("shop.verdicts"));
    }

    #[test]
    fn a_frame_of_very_many_refused_events_is_answered_in_one_message() {
        let violations = [Violation {
            field: Some("f".repeat(60)),
            rule: "r".into(),
            message: "\u{1}".repeat(5000),
        }];
        let refused = |n: usize| Observation {
            id: Some(n.to_string().into()),
            unreadable: None,
            refused: n
                .is_multiple_of(2)
                .then(|| Verdict::refused(Some(n.to_string().into()), &violations)),
        };
        let message = Message {
            reply: None,
            is_frame: true,
            observations: (0..20_000).map(refused).collect(),
        };
        let answer = message.answer(5);
        assert!(answer.len() <= PAYLOAD_MAX, "{}", answer.len());
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(
            (answer["accepted"].as_u64(), answer["refused"].as_u64()),
            (Some(10_000), Some(10_000))
        );
    }
}
