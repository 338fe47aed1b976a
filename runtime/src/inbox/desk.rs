//! Who waits for a verdict: observations between their arrival and the moment they are durable, in the log or in quarantine.
//!
//! A verdict is told before the position that covers its message is stored, so a crash tells it again rather than never; whoever is not listening then has to publish again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lockstep_core::contract::{Outcome, Violation};
use lockstep_core::gate::Rejection;
use lockstep_core::log::Observed;
use lockstep_core::position::Mark;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::log::{INBOX, Log, PAYLOAD_MAX, rules};
use crate::quarantine::Original;

/// Most warnings of one verdict.
const WARNINGS_MAX: usize = 10;
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
    unreadable: Option<(Vec<Violation>, Original)>,
    /// What is told of it, where that is more than that it was accepted.
    told: Option<Verdict>,
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
    /// Every broken rule, where they are more than one or not what everybody expects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<String>,
    /// What became of a refused one: `quarantine` keeps it until somebody decides, `reject` refuses it for good, `halt` stops its entity.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    /// Rules that an accepted one breaks though it goes on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

/// A rule that an accepted observation breaks.
#[derive(Clone, Debug, Serialize)]
struct Warning {
    rule: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    reason: String,
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
    #[serde(skip_serializing_if = "is_none")]
    waiting: usize,
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
                let raw = seen.raw.as_deref().unwrap_or_default();
                (seen.violations.clone(), Original::of(raw.as_bytes()))
            }),
            told: None,
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

    /// The observation at a mark as its publisher sent it: the message, or its part of a frame.
    pub(crate) async fn original(&self, mark: Mark) -> Option<Original> {
        let is_frame = self.waiting().get(&mark.commit)?.is_frame;
        let stored = match self.log.get(INBOX, mark.commit).await {
            Ok(stored) => stored?,
            Err(error) => {
                tracing::debug!(seq = mark.commit, %error, "an observation cannot be looked at again");
                return None;
            }
        };
        if is_frame {
            let events: Vec<&RawValue> = serde_json::from_slice(&stored.payload).ok()?;
            let event = events.get(usize::try_from(mark.ordinal).ok()?)?;
            return Some(Original::of(event.get().as_bytes()));
        }
        Some(Original::of(&stored.payload))
    }

    /// Why the observation at a mark cannot be read, with what is left of it.
    pub(crate) fn unreadable(&self, mark: Mark) -> Option<(Rejection, Original)> {
        let waiting = self.waiting();
        let observation = waiting.get(&mark.commit)?.at(mark)?;
        let (violations, raw) = observation.unreadable.clone()?;
        Some((Rejection { violations }, raw))
    }

    /// The observation at a mark is refused for these reasons.
    pub(crate) fn refused(&self, mark: Mark, violations: &[Violation]) {
        self.tell(mark, |id| Verdict::refused(id, violations));
    }

    /// The observation at a mark goes on though it breaks rules; those that only count are not told.
    pub(crate) fn noted(&self, mark: Mark, violations: &[Violation]) {
        if violations
            .iter()
            .any(|broken| broken.outcome == Outcome::Warn)
        {
            self.tell(mark, |id| Verdict::warned(id, violations));
        }
    }

    /// The observation at a mark waits, because its entity is halted.
    pub(crate) fn waits(&self, mark: Mark, reason: &str) {
        self.tell(mark, |id| Verdict {
            outcome: "waiting",
            reason: Some(reason.to_owned()),
            ..Verdict::accepted(id)
        });
    }

    fn tell(&self, mark: Mark, verdict: impl FnOnce(Option<Box<str>>) -> Verdict) {
        let mut waiting = self.waiting();
        let Some(message) = waiting.get_mut(&mark.commit) else {
            return;
        };
        let at = usize::try_from(mark.ordinal).unwrap_or(usize::MAX);
        if let Some(observation) = message.observations.get_mut(at) {
            observation.told = Some(verdict(observation.id.clone()));
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
            observation.told.unwrap_or_else(accepted)
        });
        let mut events: Vec<Verdict> = verdicts.collect();
        if !self.is_frame && events.len() == 1 {
            let verdict = events.remove(0);
            return body(&Single {
                verdict,
                sequence: seq,
            });
        }
        let counted = |outcome| {
            let of = events.iter().filter(|verdict| verdict.outcome == outcome);
            of.count()
        };
        let mut several = Several {
            sequence: seq,
            accepted: counted("accepted"),
            refused: counted("refused"),
            waiting: counted("waiting"),
            events,
        };
        let whole = body(&several);
        if whole.len() <= PAYLOAD_MAX {
            return whole;
        }
        // Too many for one message: what was accepted is counted, and so are in the end the last of the refused.
        several
            .events
            .retain(|verdict| verdict.outcome == "refused");
        several.events.truncate(PAYLOAD_MAX / (10 * REASON_MAX));
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
            rules: Vec::new(),
            verdict: None,
            warnings: Vec::new(),
        }
    }

    fn warned(id: Option<Box<str>>, violations: &[Violation]) -> Verdict {
        let warns = violations
            .iter()
            .filter(|broken| broken.outcome == Outcome::Warn);
        let warning = |broken: &Violation| Warning {
            rule: broken.rule.clone(),
            field: broken.field.clone(),
            reason: short(&broken.message),
        };
        Verdict {
            warnings: warns.take(WARNINGS_MAX).map(warning).collect(),
            ..Verdict::accepted(id)
        }
    }

    fn refused(id: Option<Box<str>>, violations: &[Violation]) -> Verdict {
        let reasons: Vec<&str> = violations.iter().map(|v| v.message.as_str()).collect();
        let worst = violations.iter().map(|broken| broken.outcome).max();
        let worst = worst.unwrap_or_default().max(Outcome::Quarantine);
        // The rule that decided comes first.
        let first = violations.iter().find(|broken| broken.outcome == worst);
        let first = first.or(violations.first());
        let mut rules: Vec<String> = violations.iter().map(|v| v.rule.clone()).collect();
        rules.dedup();
        rules.truncate(WARNINGS_MAX);
        Verdict {
            outcome: "refused",
            reason: Some(short(&reasons.join("; "))),
            field: first.and_then(|violation| violation.field.clone()),
            rule: first.map(|violation| violation.rule.clone()),
            rules: if rules.len() > 1 { rules } else { Vec::new() },
            verdict: Some(worst.name()),
            ..Verdict::accepted(id)
        }
    }
}

fn short(reason: &str) -> String {
    reason.chars().take(REASON_MAX).collect()
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
fn is_none(count: &usize) -> bool {
    *count == 0
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
            outcome: Outcome::Quarantine,
            field: Some("f".repeat(60)),
            rule: "r".into(),
            message: "\u{1}".repeat(5000),
        }];
        let refused = |n: usize| Observation {
            id: Some(n.to_string().into()),
            unreadable: None,
            told: n
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
