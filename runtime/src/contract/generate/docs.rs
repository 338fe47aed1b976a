//! A contract for people: Markdown, or one page of HTML that needs nothing else.

use std::fmt::Write as _;

use lockstep_core::contract::{
    Check, Class, Contract, Deletes, Direction, Extra, Field, Inner, Outcome, Rule, Step, Tolerance,
};

use super::{example, words};

/// A part of the page.
enum Block {
    Heading(u8, String),
    Text(String),
    Table(Vec<&'static str>, Vec<Vec<Cell>>),
    Code(String),
}

/// What stands in a cell.
enum Cell {
    Plain(String),
    Code(String),
}

fn plain(text: impl Into<String>) -> Cell {
    Cell::Plain(text.into())
}

fn code(text: impl Into<String>) -> Cell {
    Cell::Code(text.into())
}

/// The page as Markdown.
#[must_use]
pub fn markdown(contract: &Contract) -> String {
    let mut out = String::new();
    for block in page(contract) {
        match block {
            Block::Heading(level, text) => {
                _ = writeln!(out, "{} {}\n", "#".repeat(level.into()), inline(&text));
            }
            Block::Text(text) => _ = writeln!(out, "{}\n", inline(&text)),
            Block::Code(text) => _ = writeln!(out, "```json\n{text}\n```\n"),
            Block::Table(head, rows) => {
                let _ = writeln!(out, "| {} |", head.join(" | "));
                let _ = writeln!(out, "|{}", "---|".repeat(head.len()));
                for row in rows {
                    let cells: Vec<String> = row.iter().map(cell).collect();
                    let _ = writeln!(out, "| {} |", cells.join(" | "));
                }
                out.push('\n');
            }
        }
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Plain(text) => inline(text).replace('|', "\\|"),
        Cell::Code(text) if text.is_empty() => String::new(),
        // Inside of code nothing is an escape but what tables take for a border.
        Cell::Code(text) => {
            let text = one_line(text).replace('|', "\\|");
            let fence = if text.contains('`') { "``" } else { "`" };
            format!("{fence}{text}{fence}")
        }
    }
}

/// Somebody's text, so that nothing in it is markup.
fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in one_line(text).chars() {
        if matches!(c, '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '_' | '#') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The page as HTML.
#[must_use]
pub fn html(contract: &Contract) -> String {
    const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c1c1c;background:#fff}\
        table{border-collapse:collapse;width:100%;margin:1rem 0;font-size:.9rem}\
        th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid #ddd}\
        th{border-bottom:2px solid #999}code,pre{font:.9em ui-monospace,monospace;background:#f4f4f4}\
        pre{padding:1rem;overflow:auto}code{padding:.1em .25em;overflow-wrap:anywhere}\
        @media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#161616}td,th{border-color:#444}code,pre{background:#262626}}";
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>{} {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
        escape(&contract.entity),
        contract.version
    );
    for block in page(contract) {
        match block {
            Block::Heading(level, text) => {
                _ = writeln!(out, "<h{level}>{}</h{level}>", escape(&text));
            }
            Block::Text(text) => _ = writeln!(out, "<p>{}</p>", escape(&text)),
            Block::Code(text) => _ = writeln!(out, "<pre>{}</pre>", escape(&text)),
            Block::Table(head, rows) => {
                let _ = writeln!(out, "<table>\n<tr><th>{}</th></tr>", head.join("</th><th>"));
                for row in rows {
                    let cells: String = row
                        .iter()
                        .map(|cell| match cell {
                            Cell::Plain(text) => format!("<td>{}</td>", escape(text)),
                            Cell::Code(text) if text.is_empty() => "<td></td>".to_owned(),
                            Cell::Code(text) => format!("<td><code>{}</code></td>", escape(text)),
                        })
                        .collect();
                    let _ = writeln!(out, "<tr>{cells}</tr>");
                }
                out.push_str("</table>\n");
            }
        }
    }
    out.push_str("</body>\n</html>\n");
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

fn page(contract: &Contract) -> Vec<Block> {
    let mut page = vec![Block::Heading(
        1,
        format!("{} {}", contract.entity, contract.version),
    )];
    page.extend(contract.description.clone().map(Block::Text));
    if let Some(deprecation) = &contract.terms.deprecation {
        page.push(Block::Text(format!(
            "Deprecated{}.",
            deprecated(deprecation)
        )));
    }
    page.push(agreement(contract));
    page.push(Block::Heading(2, "Fields".to_owned()));
    let mut rows = Vec::new();
    for (i, field) in contract.fields.iter().enumerate() {
        fields(field, &field.name, contract.key.contains(&i), &mut rows);
    }
    page.push(Block::Table(
        vec!["field", "type", "presence", "class", "rules", "meaning"],
        rows,
    ));
    if !contract.rules.is_empty() {
        page.push(Block::Heading(2, "Rules".to_owned()));
        let rows = contract.rules.iter().map(rule).collect();
        page.push(Block::Table(
            vec!["rule", "about", "must hold", "else"],
            rows,
        ));
    }
    privacy(contract, &mut page);
    if !contract.terms.levels.is_empty() {
        page.push(Block::Heading(2, "Service levels".to_owned()));
        let rows = contract.terms.levels.iter().map(|level| {
            let value = match &level.value {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let unit = level
                .unit
                .as_ref()
                .map(|unit| format!(" {unit}"))
                .unwrap_or_default();
            vec![
                plain(level.property.clone()),
                code(level.element.clone().unwrap_or_default()),
                plain(format!("{value}{unit}")),
            ]
        });
        page.push(Block::Table(
            vec!["level", "of", "promised"],
            rows.collect(),
        ));
    }
    migrations(contract, &mut page);
    page.push(Block::Heading(2, "Example".to_owned()));
    page.push(Block::Code(format!("{:#}", example::record(contract))));
    page
}

/// Who owns it, who relies on it, how it changes.
fn agreement(contract: &Contract) -> Block {
    let names = |positions: &[usize]| {
        let names = positions
            .iter()
            .filter_map(|i| contract.fields.get(*i))
            .map(|field| field.name.clone());
        names.collect::<Vec<_>>().join(", ")
    };
    let terms = &contract.terms;
    let mut rows = vec![
        vec![plain("contract"), code(contract.id.clone())],
        vec![
            plain("status"),
            plain(
                terms
                    .status
                    .clone()
                    .unwrap_or_else(|| "not said".to_owned()),
            ),
        ],
        vec![
            plain("owner"),
            plain(
                contract
                    .owner
                    .clone()
                    .unwrap_or_else(|| "nobody named".to_owned()),
            ),
        ],
        vec![plain("where systems differ"), code(contract.truth.name())],
        vec![plain("key"), code(names(&contract.key))],
    ];
    if contract.lane_key != contract.key {
        rows.push(vec![plain("lane key"), code(names(&contract.lane_key))]);
    }
    let deletes = match contract.deletes {
        Deletes::Propagate => "deletes in the other systems",
        Deletes::SoftDelete => "marks the record as deleted in the other systems",
        Deletes::Detach => "detaches the record in the other systems",
        Deletes::Ignore => "is not told to the other systems",
    };
    rows.push(vec![plain("a delete"), plain(deletes)]);
    rows.push(vec![
        plain("unknown fields"),
        plain(format!("are {}", words::extra(contract.extra))),
    ]);
    let promise = match terms.compatibility.direction {
        None => "nothing",
        Some(Direction::Backward) => "new readers understand old records",
        Some(Direction::Forward) => "old readers understand new records",
        Some(Direction::Full) => "old and new readers understand old and new records",
    };
    let reach = match (
        terms.compatibility.direction,
        terms.compatibility.transitive,
    ) {
        (None, _) => "",
        (_, true) => ", for every release of the major version",
        (_, false) => ", for the last release",
    };
    rows.push(vec![
        plain("a new version promises"),
        plain(format!("{promise}{reach}")),
    ]);
    if !terms.consumers.is_empty() {
        rows.push(vec![plain("consumers"), plain(terms.consumers.join(", "))]);
    }
    for (role, people) in &terms.approvers {
        rows.push(vec![
            plain(format!("approves as {role}")),
            plain(people.join(", ")),
        ]);
    }
    if !terms.reserved.is_empty() {
        rows.push(vec![
            plain("reserved names"),
            code(terms.reserved.join(", ")),
        ]);
    }
    Block::Table(vec!["what", "agreed"], rows)
}

fn fields(field: &Field, path: &str, key: bool, rows: &mut Vec<Vec<Cell>>) {
    let presence = match (key, field.required, field.nullable) {
        (true, _, _) => "key",
        (_, true, false) => "always",
        (_, true, true) => "always, may be null",
        (_, false, true) => "optional, may be null",
        (_, false, false) => "optional",
    };
    let mut rules: Vec<String> = words::limits(field);
    rules.extend(words::allowed(field));
    rules.extend(inside(field));
    if let Some(default) = &field.default {
        rules.push(format!("absent means {default}"));
    }
    if field.unique {
        rules.push("unique".to_owned());
    }
    if let Some(reference) = &field.reference {
        rules.push(format!(
            "stands in {}.{}",
            reference.entity, reference.field
        ));
    }
    if let Some(owner) = &field.owner {
        rules.push(format!("owned by {owner}"));
    }
    if let Some(truth) = field.truth {
        rules.push(format!("where systems differ: {}", truth.name()));
    }
    if field.outcome != Outcome::default() {
        rules.push(format!("else {}", outcome(field.outcome)));
    }
    let mut meaning = field.description.clone().unwrap_or_default();
    if let Some(deprecation) = &field.deprecation {
        meaning.push_str(&format!(" Deprecated{}.", deprecated(deprecation)));
    }
    rows.push(vec![
        code(path),
        plain(words::kind(field)),
        plain(presence),
        plain(field.class.name()),
        plain(rules.join("; ")),
        plain(meaning.trim().to_owned()),
    ]);
    match &field.inner {
        Some(Inner::Object { fields: inner, .. }) => {
            for inner in inner {
                fields(inner, &format!("{path}.{}", inner.name), false, rows);
            }
        }
        Some(Inner::List { items, .. }) if items.inner.is_some() => {
            fields(items, &format!("{path}[]"), false, rows);
        }
        Some(Inner::Map { values, .. }) if values.inner.is_some() => {
            fields(values, &format!("{path}{{}}"), false, rows);
        }
        _ => {}
    }
}

/// What is agreed on lists, maps and objects as wholes.
fn inside(field: &Field) -> Vec<String> {
    let count = |least: Option<u64>, most: Option<u64>, what: &str| match (least, most) {
        (Some(least), Some(most)) => Some(format!("{least} to {most} {what}")),
        (Some(least), None) => Some(format!("at least {least} {what}")),
        (None, Some(most)) => Some(format!("at most {most} {what}")),
        (None, None) => None,
    };
    match &field.inner {
        Some(Inner::Object { extra, .. }) if *extra != Extra::Reject => {
            vec![format!("other members are {}", words::extra(*extra))]
        }
        Some(Inner::List {
            items,
            least,
            most,
            unique,
        }) => {
            let mut said: Vec<String> = count(*least, *most, "items").into_iter().collect();
            said.extend(unique.then(|| "no two equal".to_owned()));
            if items.inner.is_none() {
                said.extend(
                    words::limits(items)
                        .into_iter()
                        .chain(words::allowed(items))
                        .map(|text| format!("each {text}")),
                );
            }
            said
        }
        Some(Inner::Map {
            values,
            least,
            most,
        }) => {
            let mut said: Vec<String> = count(*least, *most, "entries").into_iter().collect();
            if values.inner.is_none() {
                said.extend(
                    words::limits(values)
                        .into_iter()
                        .chain(words::allowed(values))
                        .map(|text| format!("each {text}")),
                );
            }
            said
        }
        _ => Vec::new(),
    }
}

fn deprecated(deprecation: &lockstep_core::contract::Deprecation) -> String {
    let mut said = String::new();
    if let Some(since) = &deprecation.since {
        let _ = write!(said, " since {since}");
    }
    if let Some(sunset) = &deprecation.sunset {
        let _ = write!(said, ", gone from {sunset} on");
    }
    if let Some(replacement) = &deprecation.replacement {
        let _ = write!(said, "; use {replacement}");
    }
    said
}

fn rule(rule: &Rule) -> Vec<Cell> {
    let tolerance = match rule.tolerance {
        None => String::new(),
        Some(Tolerance::Records(count)) => format!(", from more than {count} records on"),
        Some(Tolerance::Percent(share)) => format!(", from more than {share} % on"),
    };
    vec![
        code(rule.name.clone()),
        code(rule.field.clone().unwrap_or_default()),
        plain(holds(&rule.check)),
        plain(format!("{}{tolerance}", outcome(rule.outcome))),
    ]
}

/// What a check demands, in words.
fn holds(check: &Check) -> String {
    let list = |values: &[lockstep_core::Value]| {
        values
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let between = |least: Option<String>, most: Option<String>, what: &str| match (least, most) {
        (Some(least), Some(most)) => format!("{what} {least} to {most}"),
        (Some(least), None) => format!("{what} at least {least}"),
        (None, Some(most)) => format!("{what} at most {most}"),
        (None, None) => format!("{what} anything"),
    };
    match check {
        Check::Holds(expression) => expression.clone(),
        Check::NotNull => "not null".to_owned(),
        Check::NotMissing(values) => format!("none of {}", list(values)),
        Check::OneOf(values) => format!("one of {}", list(values)),
        Check::Matches(pattern) => format!("matches {pattern}"),
        Check::Between(least, most) => between(
            least.as_ref().map(ToString::to_string),
            most.as_ref().map(ToString::to_string),
            "value",
        ),
        Check::Length(least, most) => between(
            least.map(|n| n.to_string()),
            most.map(|n| n.to_string()),
            "length",
        ),
        Check::Unique(fields) => format!("no two records with the same {}", fields.join(", ")),
        Check::Exists { entity, field } => format!("stands in {entity}.{field}"),
        Check::Volume { least, most } => between(
            least.map(|n| n.to_string()),
            most.map(|n| n.to_string()),
            "records",
        ),
        Check::Fresh { within } => format!("newest at most {within} seconds old"),
    }
}

pub(super) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "counted",
        Outcome::Warn => "warned of",
        Outcome::Quarantine => "quarantined",
        Outcome::Reject => "rejected",
        Outcome::Halt => "the entity halts",
    }
}

fn privacy(contract: &Contract, page: &mut Vec<Block>) {
    let protected = |field: &&Field| {
        matches!(field.class, Class::Personal | Class::Secret)
            || !field.handling.is_empty()
            || field.personal.is_some()
    };
    let rows: Vec<Vec<Cell>> = contract
        .fields
        .iter()
        .filter(protected)
        .map(|field| {
            let handling: Vec<String> = field
                .handling
                .iter()
                .map(|(system, how)| format!("{system}: {}", how.name()))
                .collect();
            let personal = field.personal.clone().unwrap_or_default();
            let kept = personal
                .retention_days
                .map(|days| format!("{days} days"))
                .unwrap_or_default();
            vec![
                code(field.name.clone()),
                plain(field.class.name()),
                plain(personal.category.unwrap_or_default()),
                code(personal.subject.unwrap_or_default()),
                plain(kept),
                plain(handling.join(", ")),
            ]
        })
        .collect();
    if !rows.is_empty() {
        page.push(Block::Heading(2, "Protected fields".to_owned()));
        page.push(Block::Table(
            vec!["field", "class", "category", "whose", "kept", "systems see"],
            rows,
        ));
    }
}

fn migrations(contract: &Contract, page: &mut Vec<Block>) {
    if contract.migrations.is_empty() {
        return;
    }
    page.push(Block::Heading(2, "Versions".to_owned()));
    let mut rows = Vec::new();
    for migration in &contract.migrations {
        for (way, steps) in [("up", &migration.up), ("down", &migration.down)] {
            let steps: Vec<String> = steps.iter().map(step).collect();
            rows.push(vec![
                plain(format!("{} to {}", migration.from, migration.to)),
                plain(way),
                plain(if steps.is_empty() {
                    "nothing".to_owned()
                } else {
                    steps.join("; ")
                }),
            ]);
        }
    }
    page.push(Block::Table(vec!["versions", "way", "steps"], rows));
}

fn step(step: &Step) -> String {
    match step {
        Step::Rename { from, to } => format!("{from} becomes {to}"),
        Step::Set { field, value } => format!("{field} is {value}"),
        Step::Map { field, values } => {
            let pairs: Vec<String> = values
                .iter()
                .map(|(from, to)| format!("{from} → {to}"))
                .collect();
            format!("{field}: {}", pairs.join(", "))
        }
        Step::Compute { field, expression } => format!("{field} is {expression}"),
        Step::Drop { field } => format!("{field} goes"),
    }
}
