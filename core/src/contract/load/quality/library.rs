//! The standard's own metrics, under their names of 3.1 and of 3.0.

use super::own::{Asked, stated_tolerance};
use super::{Said, number, undone};
use crate::contract::load::findings::Findings;
use crate::contract::load::yaml::{Content, Node, Span};
use crate::contract::{Check, Contract, Field};
use crate::diagnostic::suggestion;

/// The metrics of 3.1.
const METRICS: [&str; 5] = [
    "duplicateValues",
    "invalidValues",
    "missingValues",
    "nullValues",
    "rowCount",
];

/// Reads a check with a `metric`, or with a `rule` as 3.0 has it.
pub(super) fn read(
    node: &Node,
    field: Option<&Field>,
    contract: &Contract,
    findings: &mut Findings,
) -> Option<Said> {
    let metric = node.get("metric").or(node.get("rule"))?;
    let arguments = node.get("arguments");
    let word = metric.text()?;
    // What 3.0 calls by other names; it leaves the set of names open.
    let plain = match word {
        "nullCheck" | "nullCount" => "nullValues",
        "validValues" | "invalidCount" => "invalidValues",
        "duplicateCount" | "uniqueCheck" | "unique" => "duplicateValues",
        "countCheck" => "rowCount",
        other => other,
    };
    let known = METRICS.contains(&plain);
    if !known && node.get("metric").is_some() {
        findings.error(
            "LS-C014",
            metric.at,
            format!("`metric` cannot be {}", metric.describe()),
            suggestion(word, METRICS),
        );
        return None;
    }
    if plain == "rowCount" {
        return volume(node, findings);
    }
    let asked = |part: &'static str, written: Option<&Node>, findings: &mut Findings| {
        let Some(tolerance) = stated_tolerance(node) else {
            undone(node.at, findings);
            return None;
        };
        let always = Node {
            at: metric.at,
            content: Content::Bool(true),
        };
        let asked = Asked {
            node: written.unwrap_or(&always),
            contract,
            strict: false,
        };
        asked.said(part, field, tolerance, findings)
    };
    let argument = |key: &str| arguments.and_then(|arguments| arguments.get(key));
    match plain {
        "nullValues" if field.is_some() => asked("notNull", None, findings),
        "duplicateValues" => {
            let properties = argument("properties");
            let properties = properties.filter(|list| !list.items().is_empty());
            if properties.is_none() && field.is_none() {
                undone(node.at, findings);
                return None;
            }
            asked("unique", properties, findings)
        }
        "missingValues" if field.is_some() => {
            asked("notMissing", argument("missingValues"), findings)
        }
        "invalidValues" if field.is_some() => {
            let (part, written) = invalid(node, arguments, metric.at, findings)?;
            let low_high;
            let written = match written {
                Argument::As(node) => node,
                Argument::Bounds(low, high) => {
                    let open = |node: Option<&Node>| {
                        node.cloned().unwrap_or(Node {
                            at: metric.at,
                            content: Content::Null,
                        })
                    };
                    low_high = Node {
                        at: metric.at,
                        content: Content::List(vec![open(low), open(high)]),
                    };
                    &low_high
                }
            };
            asked(part, Some(written), findings)
        }
        _ => {
            undone(node.at, findings);
            None
        }
    }
}

/// What an invalid value is told by.
enum Argument<'n> {
    /// A list or a pattern as it is written.
    As(&'n Node),
    /// Two bounds with keys of their own.
    Bounds(Option<&'n Node>, Option<&'n Node>),
}

fn invalid<'n>(
    node: &'n Node,
    arguments: Option<&'n Node>,
    at: Span,
    findings: &mut Findings,
) -> Option<(&'static str, Argument<'n>)> {
    let argument = |key: &str| arguments.and_then(|arguments| arguments.get(key));
    let bounds = |low: &str, high: &str| {
        let (low, high) = (argument(low), argument(high));
        (low.is_some() || high.is_some()).then_some(Argument::Bounds(low, high))
    };
    let values = argument("validValues").or(node.get("validValues"));
    let told: Vec<(&'static str, Argument<'n>)> = [
        ("oneOf", values.map(Argument::As)),
        ("matches", argument("pattern").map(Argument::As)),
        ("between", bounds("minimum", "maximum")),
        ("length", bounds("minLength", "maxLength")),
    ]
    .into_iter()
    .filter_map(|(part, argument)| Some((part, argument?)))
    .collect();
    let count = told.len();
    let mut told = told.into_iter();
    match (told.next(), count) {
        (Some(first), 1) => Some(first),
        _ => {
            findings.needed(
                "LS-C041",
                arguments.map_or(at, |arguments| arguments.at),
                format!("the rule tells invalid values in {count} ways, where it needs one"),
                "give one of validValues, pattern, minimum and maximum, or minLength and maxLength for each rule",
            );
            None
        }
    }
}

/// How many records there are.
fn volume(node: &Node, findings: &mut Findings) -> Option<Said> {
    let get = |key: &str| node.get(key).and_then(number);
    let whole = |n: f64| (0.0..1e15).contains(&n).then_some(n as u64);
    let pair = node.get("mustBeBetween").map_or(&[][..], Node::items);
    let bounds = if let Some(count) = get("mustBe") {
        whole(count)
            .filter(|_| count.fract() == 0.0)
            .map(|count| (Some(count), Some(count)))
    } else if let Some(count) = get("mustBeGreaterThan") {
        whole(count.floor() + 1.0).map(|least| (Some(least), None))
    } else if let Some(count) = get("mustBeGreaterOrEqualTo") {
        whole(count.ceil()).map(|least| (Some(least), None))
    } else if let Some(count) = get("mustBeLessThan") {
        whole(count.ceil() - 1.0).map(|most| (None, Some(most)))
    } else if let Some(count) = get("mustBeLessOrEqualTo") {
        whole(count.floor()).map(|most| (None, Some(most)))
    } else if let [low, high] = pair {
        let bounds = (number(low).map(f64::ceil), number(high).map(f64::floor));
        match bounds {
            (Some(low), Some(high)) if low <= high => Some((whole(low), whole(high))),
            _ => None,
        }
    } else {
        None
    };
    let percent = node.get("unit").and_then(Node::text);
    let Some((least, most)) = bounds.filter(|_| percent != Some("percent")) else {
        undone(node.at, findings);
        return None;
    };
    Some(Said {
        field: None,
        check: Check::Volume { least, most },
        tolerance: None,
    })
}
