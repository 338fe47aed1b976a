//! How records of one version become records of another: `lockstep.migrations`.

use super::findings::Findings;
use super::reading::Reading;
use super::values::value;
use super::words::mapping;
use super::yaml::{Content, Node, shorten};
use crate::contract::compat::Bump;
use crate::contract::{Field, Migration, Step};
use crate::diagnostic::a;
use crate::value::{Type, Value};

/// Most steps of one direction.
const STEPS_MAX: usize = 1000;

/// Which way steps lead: to the contract's own version, whose types are known, or from it.
#[derive(Clone, Copy)]
enum Way {
    Up,
    Down,
}

/// Reads the migrations; `version` is the contract's own.
///
/// One may lead to a version beyond it: the one that the next release makes of this text.
pub(super) fn migrations(
    written: Option<&Node>,
    fields: &[Field],
    version: Option<&semver::Version>,
    reading: &mut Reading<'_>,
) -> Vec<Migration> {
    let Some(written) = written else {
        return Vec::new();
    };
    if !matches!(written.content, Content::List(_)) {
        reading.findings.error(
            "LS-C044",
            written.at,
            format!(
                "`lockstep.migrations` must be a list, not {}",
                written.describe()
            ),
            "write a list of `{from: 1.0.0, to: 1.1.0, up: […], down: […]}`",
        );
    }
    let current = ahead(written, version);
    let mut migrations: Vec<Migration> = Vec::new();
    for (i, node) in written.items().iter().enumerate() {
        reading.mark(format!("/migrations/{i}"), node.at);
        reading.mark_node(format!("/migrations/{i}/to"), node.get("to"));
        for key in ["up", "down"] {
            let steps = node.get(key);
            reading.mark_node(format!("/migrations/{i}/{key}"), steps);
            for (n, step) in steps.map_or(&[][..], Node::items).iter().enumerate() {
                reading.mark(format!("/migrations/{i}/{key}/{n}"), step.at);
            }
        }
        let findings = &mut reading.findings;
        let Some(migration) = migration(node, fields, version, current.as_ref(), findings) else {
            continue;
        };
        let same = |other: &&Migration| other.from == migration.from && other.to == migration.to;
        if migrations.iter().any(|other| same(&other)) {
            findings.error(
                "LS-C044",
                node.at,
                format!(
                    "two migrations lead from {} to {}",
                    migration.from, migration.to
                ),
                "write all steps between two versions in one",
            );
            continue;
        }
        migrations.push(migration);
    }
    migrations
}

/// The version whose fields are the contract's: its own, or the one that the next release makes where a migration leads there already.
fn ahead(written: &Node, version: Option<&semver::Version>) -> Option<semver::Version> {
    let own = version?;
    let targets = written.items().iter().filter_map(|node| {
        let to = semver::Version::parse(node.get("to")?.text()?).ok()?;
        Bump::steps(own).contains(&to).then_some(to)
    });
    Some(targets.max().unwrap_or_else(|| own.clone()))
}

fn migration(
    node: &Node,
    fields: &[Field],
    own: Option<&semver::Version>,
    current: Option<&semver::Version>,
    findings: &mut Findings,
) -> Option<Migration> {
    const KEYS: [&str; 4] = ["down", "from", "to", "up"];
    let before = findings.errors();
    mapping(node, "a migration", &KEYS, "LS-C044", findings);
    if findings.errors() > before {
        return None;
    }
    let from = version(node, "from", findings);
    let to = version(node, "to", findings);
    let (from, to) = (from?, to?);
    if from >= to {
        findings.error(
            "LS-C044",
            node.get("from").unwrap_or(node).at,
            format!("the migration leads from {from} to {to}, which is not newer"),
            "write the older version as `from` and the newer as `to`; `down` is the way back",
        );
        return None;
    }
    if let Some(own) = own.filter(|own| to > **own)
        && !Bump::steps(own).contains(&to)
    {
        let [patch, minor, major] = Bump::steps(own);
        findings.error(
            "LS-C044",
            node.get("to").unwrap_or(node).at,
            format!("the migration leads to {to}, which no release after {own} is"),
            format!("the next release is {patch}, {minor} or {major}: mend `to`, or write the contract's `version`"),
        );
    }
    // Only the version that this text is, or becomes, has fields whose types are known here.
    let known = if current == Some(&to) { fields } else { &[] };
    let up = steps(node, Way::Up, known, findings)?;
    if let Some(up_node) = node.get("up") {
        ends(&up, up_node, known, findings);
    }
    let down = match node.get("down") {
        Some(_) => steps(node, Way::Down, known, findings)?,
        None => reverse(&up).or_else(|| {
            findings.error(
                "LS-C044",
                node.at,
                "the way back cannot be found from `up`: a dropped field or merged values do not come back by themselves",
                "add `down:` with the steps that make a record of the newer version one of the older; `[]` for none",
            );
            None
        })?,
    };
    Some(Migration { from, to, up, down })
}

fn version(node: &Node, key: &str, findings: &mut Findings) -> Option<semver::Version> {
    let written = node.get(key);
    let read = written
        .and_then(Node::text)
        .and_then(|text| semver::Version::parse(text).ok());
    if read.is_none() {
        findings.error(
            "LS-C044",
            written.unwrap_or(node).at,
            match written {
                Some(written) => format!("`{key}` cannot be {}", written.describe()),
                None => format!("the migration has no `{key}`"),
            },
            format!("write a version, such as `{key}: 1.0.0`"),
        );
    }
    read
}

fn steps(node: &Node, way: Way, known: &[Field], findings: &mut Findings) -> Option<Vec<Step>> {
    let key = match way {
        Way::Up => "up",
        Way::Down => "down",
    };
    let Some(list) = node.get(key) else {
        findings.error(
            "LS-C044",
            node.at,
            format!("the migration has no `{key}`"),
            "add the steps; `[]` for none",
        );
        return None;
    };
    let items = match &list.content {
        Content::List(items) if items.len() <= STEPS_MAX => items,
        _ => {
            findings.error(
                "LS-C044",
                list.at,
                format!(
                    "`{key}` must be a list of at most {STEPS_MAX} steps, not {}",
                    list.describe()
                ),
                "write a list of steps, such as `- rename: {from: a, to: b}`",
            );
            return None;
        }
    };
    let before = findings.errors();
    let steps: Vec<Step> = items
        .iter()
        .filter_map(|item| step(item, way, known, findings))
        .collect();
    (findings.errors() == before).then_some(steps)
}

fn step(node: &Node, way: Way, known: &[Field], findings: &mut Findings) -> Option<Step> {
    const KINDS: [&str; 5] = ["compute", "drop", "map", "rename", "set"];
    if !mapping(node, "a step", &KINDS, "LS-C044", findings) {
        return None;
    }
    let [entry] = node.entries() else {
        findings.error(
            "LS-C044",
            node.at,
            format!(
                "a step has {} actions, where it needs one",
                node.entries().len()
            ),
            format!("write one of {} for each step", KINDS.join(", ")),
        );
        return None;
    };
    let body = &entry.value;
    let before = findings.errors();
    let step = match entry.key.as_str() {
        "rename" => {
            mapping(body, "`rename`", &["from", "to"], "LS-C044", findings);
            let from = name(body, "from", findings);
            let to = name(body, "to", findings);
            Step::Rename {
                from: from?,
                to: to?,
            }
        }
        "set" => {
            mapping(body, "`set`", &["field", "value"], "LS-C044", findings);
            let field = name(body, "field", findings)?;
            let written = part(body, "value", findings)?;
            let kind = match way {
                Way::Up => kind_of(&field, known),
                Way::Down => None,
            };
            let value = typed(written, kind, findings)?;
            Step::Set { field, value }
        }
        "map" => {
            mapping(body, "`map`", &["field", "values"], "LS-C044", findings);
            let field = name(body, "field", findings)?;
            let values = pairs(
                part(body, "values", findings)?,
                kind_of(&field, known),
                way,
                findings,
            )?;
            Step::Map { field, values }
        }
        "compute" => {
            mapping(
                body,
                "`compute`",
                &["expression", "field"],
                "LS-C044",
                findings,
            );
            let field = name(body, "field", findings)?;
            let expression = name(body, "expression", findings)?;
            Step::Compute { field, expression }
        }
        "drop" => Step::Drop {
            field: match body.text() {
                Some(field) if !field.is_empty() => field.to_owned(),
                _ => {
                    mapping(body, "`drop`", &["field"], "LS-C044", findings);
                    name(body, "field", findings)?
                }
            },
        },
        _ => return None,
    };
    (findings.errors() == before).then_some(step)
}

fn part<'n>(body: &'n Node, key: &str, findings: &mut Findings) -> Option<&'n Node> {
    let part = body.get(key);
    if part.is_none() && matches!(body.content, Content::Map(_)) {
        findings.error(
            "LS-C044",
            body.at,
            format!("the step has no `{key}`"),
            format!("add `{key}:`"),
        );
    }
    part
}

fn name(body: &Node, key: &str, findings: &mut Findings) -> Option<String> {
    let node = part(body, key, findings)?;
    let text = node.text().filter(|text| !text.trim().is_empty());
    if text.is_none() {
        findings.error(
            "LS-C044",
            node.at,
            format!("`{key}` must be a text, not {}", node.describe()),
            "write a text; quote it where it looks like something else",
        );
    }
    text.map(str::to_owned)
}

fn kind_of(field: &str, known: &[Field]) -> Option<Type> {
    known
        .iter()
        .find(|known| known.name == field)
        .map(|field| field.kind)
}

/// A value in the type of its field, or as it is written where the field is not known here.
fn typed(node: &Node, kind: Option<Type>, findings: &mut Findings) -> Option<Value> {
    if matches!(node.content, Content::Null) {
        return Some(Value::Null);
    }
    let kind = kind.unwrap_or(match &node.content {
        Content::Bool(_) => Type::Bool,
        Content::Number(_) if node.integer().is_some() => Type::Int,
        Content::Number(_) => Type::Float,
        Content::Text(_) => Type::Text,
        _ => Type::Json,
    });
    match value(kind, node) {
        Ok(value) => Some(value),
        Err(expected) => {
            findings.error(
                "LS-C044",
                node.at,
                format!("the step's value is not {expected}"),
                format!("the field takes {}", a(&kind.to_string())),
            );
            None
        }
    }
}

/// Values before and after: a mapping of texts, or a list of pairs for values of any type.
///
/// `kind` is the field's type in the contract's own version, where `up` ends and `down` begins.
fn pairs(
    node: &Node,
    kind: Option<Type>,
    way: Way,
    findings: &mut Findings,
) -> Option<Vec<(Value, Value)>> {
    let (before, after) = match way {
        Way::Up => (None, kind),
        Way::Down => (kind, None),
    };
    match &node.content {
        Content::Map(entries) if !entries.is_empty() => entries
            .iter()
            .map(|entry| {
                let key = Node {
                    at: entry.key_at,
                    content: Content::Text(entry.key.clone()),
                };
                Some((
                    typed(&key, before, findings)?,
                    typed(&entry.value, after, findings)?,
                ))
            })
            .collect(),
        Content::List(items) if !items.is_empty() => items
            .iter()
            .map(|item| match item.items() {
                [old, new] => Some((typed(old, before, findings)?, typed(new, after, findings)?)),
                _ => {
                    findings.error(
                        "LS-C044",
                        item.at,
                        "a pair of values has one before and one after",
                        "write `[before, after]`",
                    );
                    None
                }
            })
            .collect(),
        _ => {
            findings.error(
                "LS-C044",
                node.at,
                format!("`values` cannot be {}", node.describe()),
                "write `{before: after}`, or a list of pairs `[[1, 2]]` for values that are no texts",
            );
            None
        }
    }
}

/// What the steps leave behind must be a field of the version they lead to.
fn ends(up: &[Step], node: &Node, known: &[Field], findings: &mut Findings) {
    if known.is_empty() {
        return;
    }
    for (i, step) in up.iter().enumerate() {
        let target = match step {
            Step::Rename { to: field, .. }
            | Step::Set { field, .. }
            | Step::Map { field, .. }
            | Step::Compute { field, .. } => field,
            Step::Drop { .. } => continue,
        };
        let goes = up[i + 1..].iter().any(|later| match later {
            Step::Rename { from, .. } => from == target,
            Step::Drop { field } => field == target,
            _ => false,
        });
        if !goes && !known.iter().any(|field| field.name == *target) {
            let at = node.items().get(i).unwrap_or(node).at;
            findings.error(
                "LS-C044",
                at,
                format!(
                    "the step leaves a field `{}`, which the contract does not have",
                    shorten(target)
                ),
                crate::diagnostic::suggestion(
                    target,
                    known.iter().map(|field| field.name.as_str()),
                ),
            );
        }
    }
}

/// The way back, where every step can be turned round.
fn reverse(up: &[Step]) -> Option<Vec<Step>> {
    up.iter()
        .rev()
        .map(|step| match step {
            Step::Rename { from, to } => Some(Step::Rename {
                from: to.clone(),
                to: from.clone(),
            }),
            Step::Set { field, .. } | Step::Compute { field, .. } => Some(Step::Drop {
                field: field.clone(),
            }),
            Step::Map { field, values } => {
                let turned: Vec<(Value, Value)> = values
                    .iter()
                    .map(|(old, new)| (new.clone(), old.clone()))
                    .collect();
                let once = turned
                    .iter()
                    .enumerate()
                    .all(|(i, (new, _))| !turned[..i].iter().any(|(other, _)| other == new));
                once.then(|| Step::Map {
                    field: field.clone(),
                    values: turned,
                })
            }
            Step::Drop { .. } => None,
        })
        .collect()
}
