//! The forms that GitHub and GitLab show beside the lines of a change.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lockstep_core::diagnostic::Severity;
use serde_json::{Value as Json, json};

use super::{Item, Report, clean};

/// Workflow commands, one a line: `::error file=…,line=…,col=…,title=…::message`.
pub(super) fn github(report: &Report) -> String {
    let mut text = String::new();
    for item in &report.findings {
        let command = match (&item.approved, item.severity) {
            (None, Severity::Error) => "error",
            (None, Severity::Warning) => "warning",
            _ => "notice",
        };
        let mut properties = Vec::new();
        if let Some((place, _)) = item.place() {
            properties.push(format!("file={}", property(&report.uri(&place.file))));
            properties.push(format!("line={}", place.line));
            properties.push(format!("col={}", place.column));
        }
        properties.push(format!("title={}", property(&title(item))));
        let _ = writeln!(
            text,
            "::{command} {}::{}",
            properties.join(","),
            data(&long_message(report, item))
        );
    }
    text
}

/// A text in a workflow command.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// A text in a property of a workflow command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// The report that GitLab calls code quality.
pub(super) fn gitlab(report: &Report) -> Json {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let issues = report.findings.iter().map(|item| {
        let severity = match (&item.approved, item.severity) {
            (None, Severity::Error) => "major",
            (None, Severity::Warning) => "minor",
            _ => "info",
        };
        let (path, line) = item.place().map_or_else(
            || {
                (
                    report
                        .files
                        .first()
                        .map_or_else(|| ".".to_owned(), |file| report.uri(file)),
                    1,
                )
            },
            |(place, _)| (report.uri(&place.file), place.line),
        );
        // GitLab drops an issue whose fingerprint another one has.
        let again = seen.entry(item.fingerprint.clone()).or_default();
        *again += 1;
        let fingerprint = match *again {
            1 => item.fingerprint.clone(),
            n => format!("{}-{n}", item.fingerprint),
        };
        json!({
            "description": long_message(report, item),
            "check_name": item.rule,
            "fingerprint": fingerprint,
            "severity": severity,
            "location": { "path": path, "lines": { "begin": line } },
        })
    });
    Json::Array(issues.collect())
}

fn title(item: &Item) -> String {
    let approved = if item.approved.is_some() {
        "approved: "
    } else {
        ""
    };
    format!("{approved}{}", item.rule)
}

/// Everything about a finding that fits into one annotation.
fn long_message(report: &Report, item: &Item) -> String {
    let mut text = clean(&item.message);
    let breaks = item.breaks();
    if !breaks.is_empty() {
        text += &format!("\nbreaks: {breaks}");
    }
    if let Some(witness) = &item.witness {
        text += &format!("\nwitness: {witness}");
    }
    if !item.consumers.is_empty() {
        text += &format!("\naffects: {}", clean(&item.consumers.join(", ")));
    }
    if let Some(hint) = &item.hint {
        text += &format!("\nhelp: {}", clean(hint));
    }
    match (&item.approved, report.approver(item)) {
        (Some(excuse), _) => {
            text += &format!(
                "\napproved by {} until {}: {}",
                clean(&excuse.by),
                excuse.expires,
                clean(&excuse.reason)
            );
        }
        (None, Some(role)) => {
            text += &format!(
                "\napproval: lockstep contract approve {} (role {role})",
                item.fingerprint
            );
        }
        (None, None) => {}
    }
    text
}
