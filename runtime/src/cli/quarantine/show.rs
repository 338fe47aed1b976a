//! `lockstep quarantine show`: all that is known of one entry.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::export::Sent;
use super::guards::Guards;
use super::{missing, plain, told};
use crate::api::Reach;
use crate::cli::{Context, Exit};
use crate::config::Config;
use crate::quarantine::{Attempt, Closing, Entry, Summary, Tried, to_json};

/// The result of `lockstep quarantine show --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct Shown {
    /// The entry.
    #[serde(flatten)]
    entry: Summary,
    /// The source position of the change.
    position: String,
    /// The contract's version.
    contract: String,
    /// The contract's digest, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// When the source committed the change.
    committed_at: String,
    /// The columns of the record, in the shape it is held in.
    columns: Vec<Named>,
    /// The record in the shape it was held in, by column; only with `--show-values`.
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Map<String, Json>>,
    /// What the publisher sent; only with `--show-values`.
    #[serde(skip_serializing_if = "Option::is_none")]
    original: Option<Sent>,
    /// Corrections, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    edits: Vec<Edited>,
    /// What was tried with it, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<Attempt>,
    /// When it was closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_at: Option<String>,
    /// Who closed it, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    closing: Option<Closing>,
}

/// A column of a held record.
#[derive(Debug, Serialize, JsonSchema)]
struct Named {
    /// Its name.
    name: String,
    /// Its type, where the system fixes one.
    #[serde(skip_serializing_if = "Option::is_none", rename = "type")]
    kind: Option<String>,
    /// Whether a protected field comes from it.
    protected: bool,
}

/// A correction.
#[derive(Debug, Serialize, JsonSchema)]
struct Edited {
    /// When.
    at: String,
    /// Who.
    by: String,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The columns that it changed.
    columns: Vec<String>,
    /// Their values after it; only with `--show-values`.
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Map<String, Json>>,
}

pub(super) async fn show(
    cx: &Context,
    config: &Config,
    reach: &Reach,
    id: &str,
    show_values: bool,
) -> lockstep_core::Result<Exit> {
    let Some(entry) = reach.entry(id).await? else {
        return Ok(missing(cx, id));
    };
    let shown = Shown::of(config, &entry, show_values);
    if cx.output.is_json() {
        cx.output.json(&shown);
    } else {
        cx.output.text(&shown.text());
    }
    Ok(Exit::Clean)
}

impl Shown {
    fn of(config: &Config, entry: &Entry, show_values: bool) -> Shown {
        let mut guards = Guards::new(config);
        let summary = guards.summary(entry, show_values);
        let guarded = guards.of(entry);
        let columns = entry.held.shape.columns.iter().map(|column| Named {
            name: column.name.clone(),
            kind: column.kind.map(|kind| kind.name().to_owned()),
            protected: !guarded.shows(entry, &column.name),
        });
        let edits = entry.edits.iter().map(|edit| Edited {
            at: edit.at.to_string(),
            by: edit.by.clone(),
            reason: edit.reason.clone(),
            columns: edit.columns.clone(),
            values: show_values.then(|| {
                to_json(entry, &edit.row, |name| {
                    edit.columns.iter().any(|column| column == name)
                })
            }),
        });
        Shown {
            entry: summary,
            position: entry.position.clone(),
            contract: entry.contract.clone(),
            digest: entry.digest.clone(),
            committed_at: entry.held.committed_at.to_string(),
            columns: columns.collect(),
            values: show_values.then(|| to_json(entry, &entry.held.row, |_| true)),
            original: entry
                .original
                .as_ref()
                .filter(|_| show_values)
                .map(Sent::of),
            edits: edits.collect(),
            attempts: entry.attempts.clone(),
            closed_at: entry.closed_at.map(|at| at.to_string()),
            closing: entry.closing.clone(),
        }
    }

    fn text(&self) -> String {
        let entry = &self.entry;
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "  {name:<12} {}", plain(&value));
        };
        let at = entry.flow.as_deref();
        let at = at.map_or_else(|| "gate".to_owned(), |flow| format!("flow {flow}"));
        line("stopped at", format!("{} ({at})", entry.system));
        line("entity", format!("{} {}", entry.entity, self.contract));
        line("key", entry.key.clone());
        line("change", format!("{} at {}", entry.op, self.position));
        line("committed", self.committed_at.clone());
        line("quarantined", entry.at.clone());
        line("state", entry.state.name().to_owned());
        if let Some(place) = entry.line {
            line("in line", format!("place {place}"));
        }
        for reason in &entry.reasons {
            let outcome = reason.outcome.name();
            line(
                "why",
                format!("{} [{}, {outcome}]", told(reason), reason.rule),
            );
        }
        for attempt in &self.attempts {
            line("tried", tried(attempt));
        }
        for edit in &self.edits {
            let why = edit.reason.as_deref().unwrap_or("no reason given");
            let columns = edit.columns.join(", ");
            line(
                "corrected",
                format!("{} by {}: {columns} ({why})", edit.at, edit.by),
            );
        }
        if let (Some(at), Some(closing)) = (&self.closed_at, &self.closing) {
            let by = closing.by.as_deref().unwrap_or("unknown");
            let why = closing.reason.as_deref().unwrap_or("no reason given");
            line("closed", format!("{at} by {by} ({why})"));
        }
        let column = |column: &Named| {
            let kind = column.kind.as_deref().unwrap_or("any type");
            let guard = if column.protected { ", protected" } else { "" };
            format!("{} ({kind}{guard})", column.name)
        };
        let columns: Vec<String> = self.columns.iter().map(column).collect();
        line("columns", columns.join(", "));
        match &self.values {
            Some(values) => {
                for (column, value) in values {
                    line("", format!("{column} = {value}"));
                }
            }
            None => line("values", "hidden; `--show-values` shows them".to_owned()),
        }
        if let Some(sent) = &self.original {
            let body = sent.text.as_deref().or(sent.base64.as_deref());
            line("original", body.unwrap_or_default().to_owned());
        }
        format!("{}\n{text}", entry.id)
    }
}

fn tried(attempt: &Attempt) -> String {
    let what = match attempt.what {
        Tried::Retry => "sent again",
        Tried::Edit => "corrected",
    };
    let by = attempt.by.as_deref().unwrap_or("unknown");
    let reasons: Vec<String> = attempt.reasons.iter().map(told).collect();
    let end = if reasons.is_empty() {
        "passed".to_owned()
    } else {
        format!("did not pass: {}", reasons.join("; "))
    };
    format!("{} by {by}: {what}, {end}", attempt.at)
}
