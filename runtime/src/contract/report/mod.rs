//! How findings about contracts are told, to people and to machines.
//!
//! A command makes one [`Report`]; each form is a pure function of it, so the same findings in the same order stand in all of them.
//! Nothing here depends on the time, the terminal or the machine; names of files are as the user gave them, or relative to the repository where a form asks for that.

mod forges;
mod human;
mod item;
mod junit;
mod markdown;
mod sarif;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_core::diagnostic::Severity;
use schemars::JsonSchema;
use serde::Serialize;

use super::base::Base;
pub use item::{Excuse, Item};

/// The outcome of a command about contracts.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Report {
    /// The command, such as `breaking`.
    pub command: &'static str,
    /// Whether nothing that was found fails the command.
    pub ok: bool,
    /// What the contracts were compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<Base>,
    /// How many contracts were looked at.
    pub contracts: usize,
    /// How many findings there are of each kind.
    pub counts: Counts,
    /// Everything found, by file and place.
    pub findings: Vec<Item>,
    /// The files that were looked at, for forms that list what is sound.
    #[serde(skip)]
    pub files: Vec<String>,
    /// Texts for excerpts.
    #[serde(skip)]
    pub sources: Sources,
    /// The way from the current folder to the top of the repository, as Git has it; forms for build servers name files from there.
    #[serde(skip)]
    pub prefix: String,
    /// The top of the repository, which absolute names of files are seen from.
    #[serde(skip)]
    pub top: String,
    /// The mildest severity that fails.
    #[serde(skip)]
    pub fail_on: Option<Severity>,
}

/// How many findings there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    /// Errors that nobody approved.
    pub error: usize,
    /// Warnings that nobody approved.
    pub warning: usize,
    /// Remarks.
    pub info: usize,
    /// Findings that somebody approved.
    pub approved: usize,
}

/// The texts that findings point into.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// By file, as it is now.
    pub new: BTreeMap<String, Arc<str>>,
    /// By file, as it was.
    pub old: BTreeMap<String, Arc<str>>,
}

/// A form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people: an excerpt of both sides on a terminal, `file:line:column:` elsewhere
    Human,
    /// One JSON object
    Json,
    /// One JSON object a line and finding
    Jsonl,
    /// Annotations on GitHub, and the step's summary
    Github,
    /// Code quality on GitLab
    Gitlab,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// JUnit XML, for everything that shows test results
    Junit,
    /// Markdown, for comments and summaries
    Markdown,
}

impl Format {
    /// Whether the form is one document that nothing else may stand beside.
    #[must_use]
    pub fn is_document(self) -> bool {
        !matches!(self, Format::Human | Format::Github | Format::Markdown)
    }
}

/// How the form for people is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// With excerpts.
    pub drawn: bool,
    /// In colour.
    pub colour: bool,
}

impl Report {
    /// A report of these findings, in its order and counted.
    #[must_use]
    pub fn new(command: &'static str, findings: Vec<Item>, fail_on: Severity) -> Report {
        let mut report = Report {
            command,
            findings,
            fail_on: Some(fail_on),
            ..Report::default()
        };
        report.settle();
        report
    }

    /// Puts the findings into order and counts them; for whoever adds some.
    pub fn settle(&mut self) {
        self.findings.sort_by(|a, b| a.order().cmp(&b.order()));
        self.findings.dedup();
        let mut counts = Counts::default();
        for item in &self.findings {
            let count = match (item.approved.is_some(), item.severity) {
                (true, _) => &mut counts.approved,
                (false, Severity::Error) => &mut counts.error,
                (false, Severity::Warning) => &mut counts.warning,
                (false, Severity::Info) => &mut counts.info,
            };
            *count += 1;
        }
        self.counts = counts;
        self.ok = !self.findings.iter().any(|item| self.fails(item));
    }

    /// Whether a finding fails the command.
    #[must_use]
    pub fn fails(&self, item: &Item) -> bool {
        item.approved.is_none() && item.severity >= self.fail_on.unwrap_or(Severity::Error)
    }

    /// The role that may approve a finding, where it needs an approval.
    fn approver(&self, item: &Item) -> Option<&'static str> {
        item.approver.filter(|_| self.fails(item))
    }

    /// The report in a form, with a line feed at its end.
    #[must_use]
    pub fn render(&self, format: Format, style: Style) -> String {
        let mut text = match format {
            Format::Human => human::render(self, style),
            Format::Json => json(self),
            Format::Jsonl => self.findings.iter().map(|item| json(item) + "\n").collect(),
            Format::Github => forges::github(self),
            Format::Gitlab => json(&forges::gitlab(self)),
            Format::Sarif => json(&sarif::render(self)),
            Format::Junit => junit::render(self),
            Format::Markdown => markdown::render(self),
        };
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text
    }

    /// `7 contracts: 1 error, 2 warnings; compared with …`; a command that came to no contract counts none.
    fn summary(&self) -> String {
        let count = crate::cli::count;
        let mut text = match self.contracts {
            0 => String::new(),
            contracts => format!("{}: ", count(contracts, "contract")),
        };
        text += &format!(
            "{}, {}",
            count(self.counts.error, "error"),
            count(self.counts.warning, "warning"),
        );
        if self.counts.approved > 0 {
            text += &format!(", {} approved", self.counts.approved);
        }
        if let Some(base) = &self.against {
            text += &format!("; compared with {}", clean(&base.words()));
        }
        text
    }

    /// A file's name from the top of the repository, for forms that build servers read.
    fn uri(&self, file: &str) -> String {
        let inside = file
            .strip_prefix(self.top.as_str())
            .and_then(|rest| rest.strip_prefix('/'));
        if let Some(inside) = inside.filter(|_| !self.top.is_empty()) {
            return inside.to_owned();
        }
        let absolute = file.starts_with('/') || self.prefix.starts_with('/');
        let joined = if absolute {
            file.to_owned()
        } else {
            format!("{}{file}", self.prefix)
        };
        let mut parts: Vec<&str> = Vec::new();
        for part in joined.split('/') {
            match part {
                "" | "." => {}
                ".." if parts.last().is_some_and(|last| *last != "..") => {
                    parts.pop();
                }
                part => parts.push(part),
            }
        }
        let path = parts.join("/");
        if joined.starts_with('/') {
            format!("/{path}")
        } else {
            path
        }
    }
}

fn json<T: Serialize>(value: &T) -> String {
    // Every map has texts for keys, so there is nothing that JSON could not hold.
    serde_json::to_string(value).unwrap_or_default()
}

/// The word for a severity.
fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// A text on one line without control characters: what stands in a contract must not speak to a terminal or a build server.
pub(crate) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => clean.push(' '),
            c if c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                clean.extend(c.escape_unicode());
            }
            c => clean.push(c),
        }
    }
    clean
}
