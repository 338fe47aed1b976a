//! The form for people: `file:line:column: severity[rule]: message`, and on a terminal an excerpt of both sides.

use std::fmt::Write as _;

use lockstep_core::diagnostic::{Place, Severity};

use super::{Item, Report, Style, clean, word};

/// Columns of a line of text that an excerpt shows.
const WIDTH: usize = 100;

pub(super) fn render(report: &Report, style: Style) -> String {
    let mut text = String::new();
    for item in &report.findings {
        if style.drawn {
            drawn(&mut text, report, item, style.colour);
        } else {
            plain(&mut text, report, item);
        }
    }
    text + &report.summary() + "\n"
}

/// The details of a finding, one a line.
fn details(report: &Report, item: &Item) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let breaks = item.breaks();
    if !breaks.is_empty() {
        lines.push(("breaks", breaks));
    }
    // What is about a part as a whole has the same on both sides.
    let same = item.old == item.new;
    for (name, part) in [
        ("was", &item.old),
        ("is", &item.new),
        ("witness", &item.witness),
    ] {
        if let Some(part) = part.as_ref().filter(|_| !same || name == "witness") {
            lines.push((name, clean(&part.to_string())));
        }
    }
    if !item.consumers.is_empty() {
        lines.push(("affects", clean(&item.consumers.join(", "))));
    }
    if let Some(hint) = &item.hint {
        lines.push(("help", clean(hint)));
    }
    match (&item.approved, report.approver(item)) {
        (Some(excuse), _) => lines.push((
            "approved",
            clean(&format!(
                "by {} ({}) until {}: {}",
                excuse.by, excuse.role, excuse.expires, excuse.reason
            )),
        )),
        (None, Some(role)) => lines.push((
            "approval",
            format!(
                "lockstep contract approve {} (role {role})",
                item.fingerprint
            ),
        )),
        (None, None) => {}
    }
    lines
}

fn plain(text: &mut String, report: &Report, item: &Item) {
    let label = label(item);
    let at = match item.place() {
        Some((place, false)) => format!("{}: ", at(place)),
        Some((place, true)) => format!("{}: ", was_at(report, place)),
        None => String::new(),
    };
    let _ = writeln!(text, "{at}{label}: {}", clean(&item.message));
    if let (Some(_), Some(old)) = (&item.new_place, &item.old_place) {
        let _ = writeln!(text, "  before: {}", was_at(report, old));
    }
    for (name, detail) in details(report, item) {
        let _ = writeln!(text, "  {name}: {detail}");
    }
}

fn drawn(text: &mut String, report: &Report, item: &Item, colour: bool) {
    let paint = |code: &str, text: &str| {
        if colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    };
    let tint = match (&item.approved, item.severity) {
        (Some(_), _) => "32;1",
        (None, Severity::Error) => "31;1",
        (None, Severity::Warning) => "33;1",
        (None, Severity::Info) => "36;1",
    };
    let _ = writeln!(
        text,
        "{}: {}",
        paint(tint, &label(item)),
        paint("1", &clean(&item.message))
    );
    if let Some(place) = &item.new_place {
        let source = report.sources.new.get(&place.file);
        excerpt(
            text,
            &at(place),
            source.map(|text| &**text),
            place,
            &paint,
            tint,
        );
    }
    if let Some(place) = &item.old_place {
        let source = report.sources.old.get(&place.file);
        let at = format!("before: {}", was_at(report, place));
        excerpt(text, &at, source.map(|text| &**text), place, &paint, "34;1");
    }
    for (name, detail) in details(report, item) {
        let _ = writeln!(text, "   {} {name}: {detail}", paint("34;1", "="));
    }
    text.push('\n');
}

/// The line of a place with a mark under what is meant.
fn excerpt(
    text: &mut String,
    at: &str,
    source: Option<&str>,
    place: &Place,
    paint: &dyn Fn(&str, &str) -> String,
    tint: &str,
) {
    let _ = writeln!(text, "  {} {at}", paint("34;1", "-->"));
    // A place without length is a whole file.
    let line = source
        .filter(|_| place.length > 0)
        .and_then(|source| source.lines().nth(place.line - 1));
    let Some(line) = line else {
        return;
    };
    let first = place.column.saturating_sub(1);
    // A long line is shown from near the mark on.
    let skip = if first < WIDTH * 3 / 4 {
        0
    } else {
        first - WIDTH / 4
    };
    let shown: String = line
        .chars()
        .skip(skip)
        .take(WIDTH)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let rest = line.chars().count().saturating_sub(first);
    // Lengths are bytes of the text, which may go on behind this line.
    let marked = line
        .char_indices()
        .nth(first)
        .map_or(1, |(start, _)| {
            let end = (start + place.length).min(line.len());
            line.char_indices()
                .filter(|(at, _)| *at >= start && *at < end)
                .count()
        })
        .clamp(1, rest.max(1))
        .min(WIDTH.saturating_sub(first - skip).max(1));
    let number = place.line.to_string();
    let gutter = " ".repeat(number.len());
    let bar = paint("34;1", "|");
    let mark = format!(
        "{}{}",
        " ".repeat(first - skip),
        paint(tint, &"^".repeat(marked))
    );
    let _ = writeln!(
        text,
        "{gutter} {bar}\n{} {bar} {shown}\n{gutter} {bar} {mark}",
        paint("34;1", &number)
    );
}

fn label(item: &Item) -> String {
    let approved = if item.approved.is_some() {
        "approved "
    } else {
        ""
    };
    format!("{approved}{}[{}]", word(item.severity), item.rule)
}

fn at(place: &Place) -> String {
    let file = clean(&place.file);
    // A line that begins with `::` speaks to GitHub.
    let dot = if file.starts_with(':') { "./" } else { "" };
    format!("{dot}{file}:{}:{}", place.line, place.column)
}

/// A place in what was compared with, as `git show` takes it.
fn was_at(report: &Report, place: &Place) -> String {
    let commit = report
        .against
        .as_ref()
        .and_then(|base| base.commit.as_deref());
    match commit.and_then(|id| id.get(..10)) {
        Some(id) if !place.file.ends_with(crate::contract::files::RELEASE) => {
            format!("{id}:{}", at(place))
        }
        _ => at(place),
    }
}
