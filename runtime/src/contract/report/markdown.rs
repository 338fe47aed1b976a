//! Markdown, for summaries of build servers and comments on changes.

use std::fmt::Write as _;

use super::{Item, Report, clean, word};

/// Most findings that are shown with their details: summaries have a limit of one mebibyte.
const DETAILED_MAX: usize = 100;

pub(super) fn render(report: &Report) -> String {
    let verdict = if report.ok { "passed" } else { "failed" };
    let mut text = format!(
        "## Contracts: {} {verdict}\n\n{}.\n",
        report.command,
        escaped(&report.summary())
    );
    if report.findings.is_empty() {
        return text;
    }
    text.push_str("\n| | rule | where | what |\n|---|---|---|---|\n");
    for item in &report.findings {
        let at = item.place().map_or_else(String::new, |(place, old)| {
            let before = if old { "before: " } else { "" };
            format!("{before}{}:{}", report.uri(&place.file), place.line)
        });
        let severity = if item.approved.is_some() {
            "approved"
        } else {
            word(item.severity)
        };
        let _ = writeln!(
            text,
            "| {severity} | {} | {} | {} |",
            code(item.rule),
            code(&at),
            escaped(&item.message)
        );
    }
    let detailed = report
        .findings
        .iter()
        .filter(|item| has_details(report, item));
    for item in detailed.take(DETAILED_MAX) {
        details(&mut text, report, item);
    }
    text
}

/// Whether there is more to say about a finding than its row does.
fn has_details(report: &Report, item: &Item) -> bool {
    item.witness.is_some()
        || report.approver(item).is_some()
        || item.approved.is_some()
        || !item.consumers.is_empty()
}

fn details(text: &mut String, report: &Report, item: &Item) {
    let what = item
        .pointer
        .as_deref()
        .or(item.entity.as_deref())
        .unwrap_or_default();
    let _ = writeln!(
        text,
        "\n### {} {}\n\n{}",
        code(item.rule),
        code(what),
        escaped(&item.message)
    );
    let breaks = item.breaks();
    if !breaks.is_empty() {
        let _ = writeln!(text, "\n- Breaks: {}", escaped(&breaks));
    } else {
        text.push('\n');
    }
    if !item.consumers.is_empty() {
        let _ = writeln!(text, "- Affects: {}", escaped(&item.consumers.join(", ")));
    }
    if let Some(hint) = &item.hint {
        let _ = writeln!(text, "- Help: {}", escaped(hint));
    }
    match (&item.approved, report.approver(item)) {
        (Some(excuse), _) => {
            let by = format!(
                "{} ({}) until {}: {}",
                excuse.by, excuse.role, excuse.expires, excuse.reason
            );
            let _ = writeln!(text, "- Approved by {}", escaped(&by));
        }
        (None, Some(role)) => {
            let command = format!("lockstep contract approve {}", item.fingerprint);
            let _ = writeln!(text, "- May be approved by role {role}: {}", code(&command));
        }
        (None, None) => {}
    }
    if let Some(witness) = &item.witness {
        let json = serde_json::to_string_pretty(witness).unwrap_or_default();
        let fence = "`".repeat(longest_run(&json).max(2) + 1);
        let _ = writeln!(text, "\n{fence}json\n{json}\n{fence}");
    }
}

/// A text that is shown as it is, in a table too; pairs of backticks go on marking names.
fn escaped(text: &str) -> String {
    let text = clean(text);
    // An odd backtick would swallow the rest of the line.
    let paired = text.matches('`').count().is_multiple_of(2);
    let mut escaped = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        match c {
            '`' if paired => {
                inside = !inside;
                escaped.push(c);
            }
            '|' => escaped.push_str("\\|"),
            c if inside => escaped.push(c),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '`' | '\\' | '*' | '_' | '[' | ']' | '#' | '~' | '!' | '@' | '$' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c => escaped.push(c),
        }
    }
    // A line that begins with `::` speaks to GitHub.
    if escaped.starts_with("::") {
        escaped.insert(0, '\\');
    }
    escaped
}

/// A text between backticks, in a table too.
fn code(text: &str) -> String {
    let text = clean(text).replace('|', "\\|");
    if text.is_empty() {
        return text;
    }
    let fence = "`".repeat(longest_run(&text) + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') {
        " "
    } else {
        ""
    };
    format!("{fence}{pad}{text}{pad}{fence}")
}

fn longest_run(text: &str) -> usize {
    let mut longest = 0;
    let mut run = 0;
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}
