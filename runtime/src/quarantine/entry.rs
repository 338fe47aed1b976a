//! One quarantined change.

use std::fmt::Write as _;

use jiff::Timestamp;
use lockstep_core::contract::{Outcome, Violation};
use lockstep_core::gate::row_name;
use lockstep_core::{Cell, Change, Op, Row, Shape, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::decision::{ATTEMPTS_MAX, Attempt, Closing, Edit};

/// Most bytes of a stored entry; well below what a message may hold.
const STORED_MAX: usize = 512 * 1024;
/// Most bytes of one value in an entry that had to be cut.
const CELL_MAX: usize = 1024;
/// Most violations of an entry that had to be cut.
const VIOLATIONS_MAX: usize = 20;
/// Most characters of the reasons in a header.
const REASON_HEADER_MAX: usize = 500;

/// A change in quarantine: what it was, where it stopped, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Deterministic: stage, place and change.
    pub id: String,
    /// Where it stopped.
    pub stage: Stage,
    /// The system at which it stopped: the source for the gate, the target for delivery.
    pub system: String,
    /// The flow, for delivery.
    pub flow: Option<String>,
    /// The entity.
    pub entity: String,
    /// The key as far as it is known: the contract's, or the row's own in its system.
    pub key: String,
    /// When it was quarantined.
    pub at: Timestamp,
    /// The source position of the change.
    pub position: String,
    /// The contract's version.
    pub contract: String,
    /// The contract's digest, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Why.
    pub violations: Vec<Violation>,
    /// The change itself.
    pub held: Held,
    /// What the source or a publisher gave, byte by byte, where that is not the row itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Original>,
    /// Its place in the line behind the change that halted its entity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Corrections of the record, oldest first; the last one is what is sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<Edit>,
    /// What was tried with it, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// The contract's key under which targets still hold the record, where the change would have given it another: the key, and its lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Former>,
    /// What became of it.
    pub state: State,
    /// When it was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Timestamp>,
    /// Who closed it, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closing: Option<Closing>,
}

/// Bytes as they came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    /// The bytes, as base64.
    pub base64: String,
    /// How many there were; fewer are kept of very many.
    pub bytes: usize,
}

/// Where a change stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It breaks its contract or cannot be mapped to it.
    Gate,
    /// A target refuses it.
    Deliver,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for somebody.
    Open,
    /// A later change of the same record made it meaningless.
    Superseded,
    /// It was sent again and passed.
    Retried,
    /// Somebody decided to do without it.
    Dropped,
    /// It was refused for good.
    Rejected,
    /// It stands in line behind the change that halted its entity, and goes on in its turn.
    Waiting,
}

impl State {
    /// The word for it in messages and outputs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Superseded => "superseded",
            State::Retried => "retried",
            State::Dropped => "dropped",
            State::Rejected => "rejected",
            State::Waiting => "waiting",
        }
    }

    /// Tells whether a change in this state explains why a target differs from its source.
    #[must_use]
    pub fn explains(self) -> bool {
        !matches!(self, State::Superseded | State::Retried)
    }
}

/// A change kept with its types, exactly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// What happened.
    pub op: Op,
    /// Names and types of the row's columns.
    pub shape: Shape,
    /// The row after the change.
    pub row: Row,
    /// The row before it, as far as known.
    pub before: Option<Row>,
    /// The change's place in its source.
    pub mark: lockstep_core::position::Mark,
    /// When the source committed it.
    pub committed_at: Timestamp,
    /// The deterministic id of the change's event.
    pub event: String,
    /// A message that could not even be read, as it stood in the log: its beginning, as base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// Whether values were left out because the record is too large to be kept here; it cannot be sent again then, but its source still has it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// A key that a record had, and the lane of that key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Former {
    /// The key's values.
    pub key: Vec<Value>,
    /// Its lane.
    pub lane: u32,
}

/// An entry as lists show it: without values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// The entry's id.
    pub id: String,
    /// Where it stopped.
    pub stage: Stage,
    /// The system at which it stopped.
    pub system: String,
    /// The flow, for delivery.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub flow: Option<String>,
    /// The entity.
    pub entity: String,
    /// The record's key.
    pub key: String,
    /// What the change was.
    pub op: String,
    /// When it was quarantined.
    pub at: String,
    /// What became of it.
    pub state: State,
    /// The worst that a broken rule asks for.
    #[serde(default)]
    pub outcome: Outcome,
    /// Its place in the line behind the change that halted its entity.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<u64>,
    /// Why it was quarantined: field, rule and message of each broken rule.
    pub reasons: Vec<Reason>,
}

/// One reason, as output shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// The field, or none for a rule over several.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    /// The broken rule.
    pub rule: String,
    /// What is wrong.
    pub message: String,
    /// What the rule asks for.
    #[serde(default)]
    pub outcome: Outcome,
}

/// The id of a change's entry, under which the log's buckets can keep it: whatever they do not take is spelled out.
#[must_use]
pub fn entry_id(place: &[&str], event: &str) -> String {
    let mut id = String::new();
    for (at, part) in place.iter().chain([&event]).enumerate() {
        if at > 0 {
            id.push('.');
        }
        for byte in part.bytes() {
            match byte {
                b'/' => id.push('.'),
                b'-' | b'_' | b'.' => id.push(char::from(byte)),
                byte if byte.is_ascii_alphanumeric() => id.push(char::from(byte)),
                byte => {
                    // Writing to a text cannot fail.
                    let _ = write!(id, "={byte:02X}");
                }
            }
        }
    }
    id
}

impl Entry {
    /// An open entry of a change that stopped just now.
    #[must_use]
    pub fn open(id: String, stopped: Stopped<'_>, held: Held, violations: Vec<Violation>) -> Entry {
        let Stopped {
            stage,
            system,
            flow,
            entity,
            key,
            contract,
        } = stopped;
        Entry {
            id,
            stage,
            system: system.to_owned(),
            flow: flow.map(str::to_owned),
            entity: entity.to_owned(),
            key,
            at: Timestamp::now(),
            position: held.event.clone(),
            contract,
            digest: None,
            violations,
            held,
            original: None,
            line: None,
            edits: Vec::new(),
            attempts: Vec::new(),
            former: None,
            state: State::Open,
            closed_at: None,
            closing: None,
        }
    }

    /// The worst that a broken rule asks for, as far as it can be had here.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let outcomes = self.violations.iter().map(|broken| broken.outcome);
        let worst = outcomes.max().unwrap_or_default();
        match self.stage {
            Stage::Gate => worst,
            // The log has the change already: whatever a rule asks for, a target can only do without it.
            Stage::Deliver => worst.min(Outcome::Quarantine),
        }
    }

    /// Tells whether its entity stands still until somebody decides about it.
    #[must_use]
    pub fn halts(&self) -> bool {
        self.stage == Stage::Gate && self.state == State::Open && self.outcome() == Outcome::Halt
    }

    /// Notes what was tried with it.
    pub fn note(&mut self, attempt: Attempt) {
        if self.attempts.len() >= ATTEMPTS_MAX {
            self.attempts.remove(0);
        }
        self.attempts.push(attempt);
    }

    /// The reasons on one line.
    #[must_use]
    pub fn reason(&self) -> String {
        let reasons: Vec<&str> = self.violations.iter().map(|v| v.message.as_str()).collect();
        reasons.join("; ")
    }

    /// The reasons as a header can hold them: one line, without control characters, not long.
    #[must_use]
    pub fn reason_header(&self) -> String {
        let reason = self.reason();
        let plain = reason
            .chars()
            .map(|letter| if letter.is_control() { ' ' } else { letter });
        plain.take(REASON_HEADER_MAX).collect()
    }

    /// The entry as it is stored: whole, or without what makes it too large.
    ///
    /// # Errors
    /// Nothing that an entry can hold.
    pub(super) fn to_stored(&self) -> serde_json::Result<Vec<u8>> {
        let body = serde_json::to_vec(self)?;
        if body.len() <= STORED_MAX {
            return Ok(body);
        }
        let mut cut = self.clone();
        cut.held.cut = true;
        cut.held.before = None;
        cut.original = None;
        cut.edits.clear();
        cut.violations.truncate(VIOLATIONS_MAX);
        for violation in &mut cut.violations {
            violation.message = violation.message.chars().take(REASON_HEADER_MAX).collect();
        }
        let shape = &cut.held.shape;
        for (position, cell) in cut.held.row.0.iter_mut().enumerate() {
            let bytes = match cell.value() {
                Some(Value::Text(text)) => text.len(),
                Some(Value::Bytes(raw)) => raw.len(),
                Some(Value::Json(text)) => text.len(),
                Some(Value::Decimal(number)) => number.as_str().len(),
                _ => 0,
            };
            if bytes > CELL_MAX && !shape.key.contains(&position) {
                *cell = Cell::Unchanged;
            }
        }
        let body = serde_json::to_vec(&cut)?;
        if body.len() <= STORED_MAX {
            return Ok(body);
        }
        // Very many columns, or an enormous key: nothing of the record itself is kept.
        cut.held.row = Row::default();
        cut.held.shape = Shape {
            name: cut.held.shape.name.clone(),
            columns: Vec::new(),
            key: Vec::new(),
        };
        cut.key = cut.key.chars().take(REASON_HEADER_MAX).collect();
        serde_json::to_vec(&cut)
    }

    /// The entry without values.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            id: self.id.clone(),
            stage: self.stage,
            system: self.system.clone(),
            flow: self.flow.clone(),
            entity: self.entity.clone(),
            key: self.key.clone(),
            op: self.held.op.name().to_owned(),
            at: self.at.to_string(),
            state: self.state,
            outcome: self.outcome(),
            line: self.line,
            reasons: self
                .violations
                .iter()
                .map(|broken| Reason {
                    outcome: broken.outcome.min(self.outcome()),
                    ..Reason::from(broken)
                })
                .collect(),
        }
    }

    /// What its row is called: its own key in its system, or its place there.
    #[must_use]
    pub fn row_name(&self) -> String {
        row_name(&self.held.shape, &self.held.row, &self.held.event)
    }

    /// The record as it was last corrected, or as it came.
    #[must_use]
    pub fn row(&self) -> &Row {
        self.edits.last().map_or(&self.held.row, |edit| &edit.row)
    }

    /// Tells whether it was sent as somebody corrected it, so that targets hold something else than its source.
    #[must_use]
    pub fn is_corrected(&self) -> bool {
        self.state == State::Retried && !self.edits.is_empty()
    }

    /// The change again, ready for the step it stopped at.
    #[must_use]
    pub fn change(&self) -> Change {
        Change {
            shape: std::sync::Arc::new(self.held.shape.clone()),
            op: self.held.op,
            row: self.row().clone(),
            before: self.held.before.clone(),
            mark: self.held.mark,
            committed_at: self.held.committed_at,
            origin: None,
        }
    }
}

/// What became of a request about an entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// It was done.
    Done,
    /// There is no such entry.
    Missing,
    /// The entry was closed before.
    Closed {
        /// As what.
        state: State,
    },
    /// The change still does not pass.
    Rejected {
        /// Why.
        reasons: Vec<Reason>,
    },
    /// It could not be tried.
    Failed {
        /// Why.
        reason: String,
    },
}

impl Answer {
    /// The answer to a change that still does not pass.
    #[must_use]
    pub fn rejected(violations: &[Violation]) -> Answer {
        Answer::Rejected {
            reasons: violations.iter().map(Reason::from).collect(),
        }
    }

    /// Reads an answer.
    #[must_use]
    pub fn read(body: &[u8]) -> Answer {
        serde_json::from_slice(body).unwrap_or_else(|_| Answer::Failed {
            reason: "the answer cannot be read".to_owned(),
        })
    }

    /// The answer as a message.
    #[must_use]
    pub fn to_bytes(&self) -> bytes::Bytes {
        // The type has only texts and a plain enum, which always serialise.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

impl From<&Violation> for Reason {
    fn from(violation: &Violation) -> Self {
        Reason {
            field: violation.field.clone(),
            rule: violation.rule.clone(),
            message: violation.message.clone(),
            outcome: violation.outcome,
        }
    }
}

/// Where a change stopped, and as what it is known there.
#[derive(Clone, Debug)]
pub struct Stopped<'a> {
    /// The step.
    pub stage: Stage,
    /// The system at which it stopped.
    pub system: &'a str,
    /// The flow, for delivery.
    pub flow: Option<&'a str>,
    /// The entity.
    pub entity: &'a str,
    /// The record's key, as far as it is known.
    pub key: String,
    /// The contract's version.
    pub contract: String,
}

impl Held {
    /// Keeps a change.
    #[must_use]
    pub fn of(change: &Change, event: &str) -> Held {
        Held {
            op: change.op,
            shape: (*change.shape).clone(),
            row: change.row.clone(),
            before: change.before.clone(),
            mark: change.mark,
            committed_at: change.committed_at,
            event: event.to_owned(),
            raw: None,
            cut: false,
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_are_keys_whatever_a_source_calls_its_changes() {
        let id = entry_id(&["gate", "crm", "order"], "maria:1-7/a ü/3.1");
        assert_eq!(id, "gate.crm.order.maria=3A1-7.a=20=C3=BC.3.1");
        crate::log::rules::check_key(&id).unwrap();
    }

    use lockstep_core::position::Mark;
    use lockstep_core::{Column, Type};

    use super::*;

    fn entry(text: &str) -> Entry {
        let columns = ["id", "note"].map(|name| Column::new(name, Type::Text, false));
        let change = Change {
            shape: std::sync::Arc::new(Shape {
                name: "t".into(),
                columns: columns.into(),
                key: vec![0],
            }),
            op: Op::Updated,
            row: Row::of([Value::text("k"), Value::text(text)]),
            before: Some(Row::of([Value::text("k"), Value::text(text)])),
            mark: Mark::default(),
            committed_at: Timestamp::UNIX_EPOCH,
            origin: None,
        };
        let stopped = Stopped {
            stage: Stage::Gate,
            system: "crm",
            flow: None,
            entity: "thing",
            key: "k".into(),
            contract: "1.0.0".into(),
        };
        let violations = vec![Violation {
            outcome: Outcome::Quarantine,
            field: None,
            rule: "r".into(),
            message: format!("holds\n\t{text}"),
        }];
        let held = Held::of(&change, "i/1");
        Entry::open("gate.crm.thing.i.1".into(), stopped, held, violations)
    }

    #[test]
    fn a_small_entry_is_kept_whole() {
        let small = entry("x");
        let back: Entry = serde_json::from_slice(&small.to_stored().unwrap()).unwrap();
        assert_eq!(back, small);
    }

    #[test]
    fn an_entry_of_any_size_can_be_stored_and_keeps_its_key() {
        for size in [400_000, 2_000_000] {
            let large = entry(&"\u{1}".repeat(size));
            let stored = large.to_stored().unwrap();
            assert!(stored.len() <= STORED_MAX);
            let back: Entry = serde_json::from_slice(&stored).unwrap();
            assert!(back.held.cut);
            assert_eq!(back.row_name(), "k");
        }
    }

    #[test]
    fn the_header_of_a_reason_holds_no_control_character() {
        let header = entry(&"\r\n".repeat(2000)).reason_header();
        assert!(!header.chars().any(char::is_control));
        assert!(header.chars().count() <= REASON_HEADER_MAX);
    }
}
