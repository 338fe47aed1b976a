//! `lockstep contract compat --raw` and `--pairs`: containment of plain JSON Schemas.
//!
//! Questions are answered in worker processes, this same binary with a hidden option: one that takes too long, grows too large or dies is replaced, and its question is unproven.
//! The decision itself is [`lockstep_core::contract::contain`]'s.

mod line;
mod pool;
mod worker;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use futures_util::{StreamExt as _, stream};
use lockstep_core::contract::contain::{self, Verdict};
use lockstep_core::diagnostic::Diagnostic;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use self::line::{Numbered, Pair};
use self::pool::Pool;
use crate::cli::{Context, Exit};

/// Most lines read ahead.
const LINES_MAX: usize = 64;

/// Which documents must be valid where.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// What is valid under OLD is valid under NEW
    #[default]
    Backward,
    /// What is valid under NEW is valid under OLD
    Forward,
    /// Both
    Full,
}

/// What plain schemas need beside the options of contracts.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Compare plain JSON Schemas, in JSON or YAML, not contracts
    #[arg(long)]
    raw: bool,
    /// Compare every pair of a file, or of standard input with `-`: lines of `{"id", "old", "new"}`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["old", "new"])]
    pairs: Option<PathBuf>,
    /// The time of the processor for one pair of plain schemas
    #[arg(long, value_name = "MS", default_value_t = 200)]
    budget_ms: u64,
    /// Answer questions on standard input, as the other processes of a comparison do
    #[arg(long, hide = true, conflicts_with_all = ["old", "new", "pairs"])]
    answer: bool,
}

/// The result of `lockstep contract compat --raw` for machines.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Compared {
    #[serde(flatten)]
    answer: Answer,
    /// Plain schemas have no findings: the witness says it all.
    findings: [(); 0],
}

/// The result of one line of `lockstep contract compat --pairs`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct Line {
    /// The line's own id, whatever it is.
    #[schemars(with = "serde_json::Value")]
    id: Box<RawValue>,
    #[serde(flatten)]
    answer: Answer,
}

/// What became of a question.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Answer {
    /// Whether every document is still valid.
    verdict: Verdict,
    /// A document that is not; absent where there is none, for null can be one.
    #[serde(default, with = "present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "serde_json::Value")]
    witness: Option<serde_json::Value>,
    /// In which direction the witness shows a break.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    witness_direction: Option<Mode>,
    /// Why the question could not be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A value that is there even where it is null.
mod present {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    pub(super) fn serialize<S: Serializer>(
        value: &Option<Value>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Value>, D::Error> {
        Value::deserialize(from).map(Some)
    }
}

impl Answer {
    fn unproven(error: Option<String>) -> Answer {
        Answer {
            verdict: Verdict::Unproven,
            witness: None,
            witness_direction: None,
            error,
        }
    }
}

/// A question as it goes to a worker.
#[derive(Serialize)]
struct Question<'a> {
    old: &'a RawValue,
    new: &'a RawValue,
    mode: Mode,
    budget_ms: u64,
}

impl Options {
    /// Whether plain schemas are asked about, and not contracts.
    pub(super) fn is_asked(&self) -> bool {
        self.raw || self.pairs.is_some() || self.answer
    }

    /// Answers; `json` asks for the form for machines, which `--pairs` always has.
    pub(super) async fn run(
        self,
        cx: &Context,
        old: Option<PathBuf>,
        new: Option<PathBuf>,
        mode: Mode,
        json: bool,
    ) -> Exit {
        if self.answer {
            return worker::serve();
        }
        if let Some(file) = &self.pairs {
            return self.every_pair(cx, file, mode).await;
        }
        match (old, new) {
            (Some(old), Some(new)) => {
                self.one_pair(cx, &old, &new, mode, json || cx.output.is_json())
                    .await
            }
            _ => cx.unknown(
                "two schemas are needed".to_owned(),
                "name OLD and NEW, or give `--pairs FILE`".to_owned(),
            ),
        }
    }

    async fn one_pair(&self, cx: &Context, old: &Path, new: &Path, mode: Mode, json: bool) -> Exit {
        let (old, new) = match (schema(old), schema(new)) {
            (Ok(old), Ok(new)) => (old, new),
            (Err(finding), _) | (_, Err(finding)) => return cx.fail(&[*finding], Exit::Usage),
        };
        let mut rounded = [("old", &old), ("new", &new)].into_iter();
        let rounded = rounded.find_map(|(name, file)| Some((name, file.rounded.as_deref()?)));
        let answer = if let Some((name, number)) = rounded {
            Answer::unproven(Some(self::rounded(name, number)))
        } else {
            let question = Question {
                old: &old.schema,
                new: &new.schema,
                mode,
                budget_ms: self.budget_ms,
            };
            Pool::new(1).ask(&question).await
        };
        let exit = match (&answer.error, answer.verdict) {
            (Some(_), _) => Exit::Usage,
            (None, Verdict::Yes) => Exit::Clean,
            (None, _) => Exit::Findings,
        };
        if json {
            cx.output.json(&Compared {
                answer,
                findings: [],
            });
        } else {
            cx.output.text(&told(&answer));
        }
        exit
    }

    async fn every_pair(&self, cx: &Context, file: &Path, mode: Mode) -> Exit {
        let input: Box<dyn BufRead + Send> = if file == Path::new("-") {
            Box::new(BufReader::new(std::io::stdin()))
        } else {
            match std::fs::File::open(file) {
                Ok(file) => Box::new(BufReader::new(file)),
                Err(error) => return cx.fail(&[unreadable(file, &error)], Exit::Usage),
            }
        };
        let workers = std::thread::available_parallelism().map_or(2, usize::from);
        let pool = Pool::new(workers);
        let (lines, taken) = mpsc::channel(LINES_MAX);
        // Reading blocks, so it has a thread of its own; it ends with the input or when nobody takes its lines.
        std::thread::spawn(move || line::read(input, &lines));
        let lines = stream::unfold(taken, |mut taken| async move {
            let line = taken.recv().await?;
            Some((line, taken))
        });
        let budget_ms = self.budget_ms;
        // A few more in hand than there are workers, so that one slow pair does not leave the others idle.
        let answers = lines
            .map(|line| answer_line(&pool, line, mode, budget_ms))
            .buffered(workers * 8);
        let mut answers = std::pin::pin!(answers);
        while let Some(line) = answers.next().await {
            cx.output.json(&line);
        }
        Exit::Clean
    }
}

/// Answers a line; an error names it.
async fn answer_line(pool: &Pool, (number, line): Numbered, mode: Mode, budget_ms: u64) -> Line {
    let pair = line
        .and_then(|line| Pair::of(&line))
        .unwrap_or_else(|why| Pair {
            fault: Some(why),
            ..Pair::default()
        });
    let fault = pair.fault.or_else(|| match (&pair.old, &pair.new) {
        (None, _) => Some("it has no `old`".to_owned()),
        (_, None) => Some("it has no `new`".to_owned()),
        _ => None,
    });
    let mut answer = match (&pair.old, &pair.new, fault) {
        (Some(old), Some(new), None) => {
            let question = Question {
                old,
                new,
                mode,
                budget_ms,
            };
            pool.ask(&question).await
        }
        (_, _, fault) => Answer::unproven(fault),
    };
    answer.error = answer.error.map(|error| format!("line {number}: {error}"));
    Line {
        id: pair.id.unwrap_or_else(|| RawValue::NULL.to_owned()),
        answer,
    }
}

/// A schema of a file, and the number in it that reading has rounded; workers look at JSON themselves.
struct File {
    schema: Box<RawValue>,
    rounded: Option<String>,
}

/// Reads a file: JSON, or YAML where the name says so.
fn schema(file: &Path) -> Result<File, Box<Diagnostic>> {
    let text = std::fs::read_to_string(file).map_err(|error| Box::new(unreadable(file, &error)))?;
    let yaml = file
        .extension()
        .is_some_and(|end| end.eq_ignore_ascii_case("yaml") || end.eq_ignore_ascii_case("yml"));
    let (text, rounded) = if yaml {
        let value: serde_json::Value = serde_saphyr::from_str(&text)
            .map_err(|error| Box::new(wrong(file, &error.to_string())))?;
        (value.to_string(), contain::inexact_yaml(&text))
    } else {
        // Line ends are white space in JSON, and a question is one line.
        (text.replace(['\n', '\r'], " "), None)
    };
    let schema =
        serde_json::from_str(&text).map_err(|error| Box::new(wrong(file, &error.to_string())))?;
    Ok(File { schema, rounded })
}

/// What is wrong with a schema whose number cannot be compared exactly.
fn rounded(name: &str, number: &str) -> String {
    format!("the {name} schema has the number `{number}`, which would be rounded")
}

fn unreadable(file: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::error(
        "LS-U001",
        format!("`{}` cannot be read: {error}", file.display()),
    )
    .help("check the name and who may read it")
}

fn wrong(file: &Path, error: &str) -> Diagnostic {
    Diagnostic::error(
        "LS-U001",
        format!("`{}` holds no JSON: {error}", file.display()),
    )
    .help("a schema is JSON, or YAML in a file that ends in `.yaml` or `.yml`")
}

/// The answer for people.
fn told(answer: &Answer) -> String {
    match (answer.verdict, &answer.witness, &answer.error) {
        (_, _, Some(error)) => format!("unproven: {error}"),
        (Verdict::Yes, ..) => "yes: every document stays valid".to_owned(),
        (Verdict::No, Some(witness), _) => {
            let (from, to) = match answer.witness_direction {
                Some(Mode::Forward) => ("NEW", "OLD"),
                _ => ("OLD", "NEW"),
            };
            format!("no: valid under {from} and not under {to}:\n{witness}")
        }
        (Verdict::No, ..) => "no".to_owned(),
        (Verdict::Unproven, ..) => {
            "unproven: neither a proof nor a document that shows a break was found; `--budget-ms` gives more time".to_owned()
        }
    }
}
