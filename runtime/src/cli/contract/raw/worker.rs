//! The inside of a worker process: reads a question a line, writes an answer a line.

use std::io::{BufRead as _, Write as _};
use std::time::{Duration, Instant};

use lockstep_core::contract::contain::{self, Budget, Decision, Verdict};
use serde::Deserialize;
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::{Answer, Mode};
use crate::cli::Exit;

/// A question as a worker gets it, the schemas as they are written.
#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    old: &'a RawValue,
    #[serde(borrow)]
    new: &'a RawValue,
    mode: Mode,
    budget_ms: u64,
}

/// A question as a worker reads it.
struct Question {
    old: Json,
    new: Json,
    mode: Mode,
    budget_ms: u64,
}

/// Answers until there are no more questions.
pub(super) fn serve() -> Exit {
    let thread = std::thread::Builder::new().stack_size(contain::STACK_BYTES);
    // Schemas are looked at recursively, which the stack of a first thread would bound.
    let served = thread.spawn(answers).map(std::thread::JoinHandle::join);
    match served {
        Ok(Ok(())) => Exit::Clean,
        _ => Exit::Environment,
    }
}

fn answers() {
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        let answer = answer(&line);
        let Ok(text) = serde_json::to_string(&answer) else {
            return;
        };
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

fn answer(line: &str) -> Answer {
    let began = Instant::now();
    match Question::read(line) {
        Err(error) => Answer::unproven(Some(error)),
        Ok(question) => question.answer(began),
    }
}

/// A schema, where none of its numbers is rounded.
fn schema(text: &str, name: &str) -> Result<Json, String> {
    if let Some(number) = contain::inexact_schema(text) {
        return Err(super::rounded(name, &number));
    }
    serde_json::from_str(text).map_err(|error| format!("the {name} schema cannot be read: {error}"))
}

impl Question {
    fn read(line: &str) -> Result<Question, String> {
        let asked: Asked<'_> = serde_json::from_str(line)
            .map_err(|error| format!("the schemas cannot be read: {error}"))?;
        Ok(Question {
            old: schema(asked.old.get(), "old")?,
            new: schema(asked.new.get(), "new")?,
            mode: asked.mode,
            budget_ms: asked.budget_ms,
        })
    }

    fn answer(&self, began: Instant) -> Answer {
        let total = Duration::from_millis(self.budget_ms);
        match self.mode {
            Mode::Backward => one(&self.old, &self.new, began, total, Mode::Backward),
            Mode::Forward => one(&self.new, &self.old, began, total, Mode::Forward),
            Mode::Full => {
                let first = one(&self.old, &self.new, began, total / 2, Mode::Backward);
                if first.verdict == Verdict::No || first.error.is_some() {
                    return first;
                }
                let second = one(&self.new, &self.old, began, total, Mode::Forward);
                match (first.verdict, second.verdict) {
                    (Verdict::Unproven, Verdict::Yes) => first,
                    _ => second,
                }
            }
        }
    }
}

fn one(from: &Json, to: &Json, began: Instant, total: Duration, direction: Mode) -> Answer {
    let elapsed = || began.elapsed();
    let budget = Budget {
        total,
        elapsed: &elapsed,
    };
    let Decision {
        verdict,
        witness,
        error,
    } = contain::decide(from, to, budget);
    Answer {
        verdict,
        witness_direction: witness.is_some().then_some(direction),
        witness,
        error,
    }
}
