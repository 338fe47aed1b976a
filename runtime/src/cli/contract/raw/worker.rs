//! The inside of a worker process: reads a question a line, writes an answer a line.
//!
//! A budget is time of the processor, so that a busy machine does not change verdicts; the pool sees to the time of the clock.

use std::fs::File;
use std::io::{BufRead as _, Read as _, Seek as _, Write as _};
use std::time::{Duration, Instant};

use lockstep_core::contract::contain::{self, Budget, Decision, Verdict};
use serde::Deserialize;
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::line::Distinct;
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

/// The time that this thread has had the processor, or, where the system does not tell, that has passed.
struct Clock {
    told: Option<File>,
    began: Instant,
}

impl Clock {
    fn start() -> Clock {
        Clock {
            told: File::open("/proc/thread-self/schedstat").ok(),
            began: Instant::now(),
        }
    }

    fn now(&self) -> Duration {
        self.processor().unwrap_or_else(|| self.began.elapsed())
    }

    fn processor(&self) -> Option<Duration> {
        let mut told = self.told.as_ref()?;
        let mut text = [0; 64];
        told.rewind().ok()?;
        let count = told.read(&mut text).ok()?;
        let text = std::str::from_utf8(&text[..count]).ok()?;
        let nanos = text.split(' ').next()?.parse().ok()?;
        Some(Duration::from_nanos(nanos))
    }
}

fn answers() {
    let clock = Clock::start();
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        let answer = answer(&line, &clock);
        let Ok(text) = serde_json::to_string(&answer) else {
            return;
        };
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

fn answer(line: &str, clock: &Clock) -> Answer {
    // Reading is no part of the budget: it is in proportion to the schemas.
    match Question::read(line) {
        Err(error) => Answer::unproven(Some(error)),
        Ok(question) => question.answer(clock),
    }
}

/// A schema, where none of its numbers is rounded.
fn schema(text: &str, name: &str) -> Result<Json, String> {
    if let Some(number) = contain::inexact_schema(text) {
        return Err(super::rounded(name, &number));
    }
    let distinct = serde_json::from_str::<Distinct>(text);
    let read = distinct.and_then(|_| serde_json::from_str(text));
    read.map_err(|error| format!("the {name} schema cannot be read: {error}"))
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

    fn answer(&self, clock: &Clock) -> Answer {
        let began = clock.now();
        let passed = || clock.now().saturating_sub(began);
        let one = |from: &Json, to: &Json, total: Duration, direction| {
            let budget = Budget {
                total,
                elapsed: &passed,
            };
            one(contain::decide(from, to, budget), direction)
        };
        let (old, new) = (&self.old, &self.new);
        let total = Duration::from_millis(self.budget_ms);
        match self.mode {
            Mode::Backward => one(old, new, total, Mode::Backward),
            Mode::Forward => one(new, old, total, Mode::Forward),
            Mode::Full => {
                let first = one(old, new, total / 2, Mode::Backward);
                if first.verdict == Verdict::No || first.error.is_some() {
                    return first;
                }
                let second = one(new, old, total, Mode::Forward);
                match (first.verdict, second.verdict) {
                    (Verdict::Unproven, Verdict::Yes) => first,
                    _ => second,
                }
            }
        }
    }
}

fn one(decision: Decision, direction: Mode) -> Answer {
    let Decision {
        verdict,
        witness,
        error,
    } = decision;
    Answer {
        verdict,
        witness_direction: witness.is_some().then_some(direction),
        witness,
        error,
    }
}
