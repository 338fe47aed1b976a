//! Lockstep's own checks: `engine: lockstep` with one check in its `implementation`.
//!
//! Owns the type check of every kind of [`Check`] against the contract; the standard's metrics are read through it as well.

use std::cmp::Ordering;

use super::{Said, expression, number, seconds};
use crate::contract::check::compare;
use crate::contract::load::findings::Findings;
use crate::contract::load::relationships::referenced;
use crate::contract::load::values::value;
use crate::contract::load::words::mapping;
use crate::contract::load::yaml::{Content, Node, shorten};
use crate::contract::{Check, Class, Contract, Field, Tolerance, pattern};
use crate::diagnostic::suggestion;
use crate::value::{Type, Value};

/// Every check by the key that asks for it.
const CHECKS: [&str; 11] = [
    "between",
    "exists",
    "fresh",
    "holds",
    "length",
    "matches",
    "notMissing",
    "notNull",
    "oneOf",
    "unique",
    "volume",
];

/// Reads `implementation: {field: …, <check>: …, tolerate: …}`.
pub(super) fn read(
    node: &Node,
    field: Option<&Field>,
    contract: &Contract,
    findings: &mut Findings,
) -> Option<Said> {
    // One that is missing was reported with the grammar.
    let body = node.get("implementation")?;
    let known: Vec<&str> = [&CHECKS[..], &["field", "tolerate"]].concat();
    let before = findings.errors();
    if !mapping(body, "the rule", &known, "LS-C041", findings) || findings.errors() > before {
        return None;
    }
    let checks: Vec<_> = body
        .entries()
        .iter()
        .filter(|entry| CHECKS.contains(&entry.key.as_str()))
        .collect();
    let [check] = checks[..] else {
        findings.error(
            "LS-C041",
            body.at,
            format!("the rule has {} checks, where it needs one", checks.len()),
            format!("write one of {} for each rule", CHECKS.join(", ")),
        );
        return None;
    };
    let field = match body.get("field") {
        None => field,
        Some(written) => Some(named(written, contract, findings)?),
    };
    let tolerance = match body.get("tolerate") {
        None => None,
        Some(written) => tolerance(written, findings)?,
    };
    let at = Asked {
        node: &check.value,
        contract,
        strict: true,
    };
    at.said(&check.key, field, tolerance, findings)
}

/// A check that is asked for, by the key of Lockstep's own checks.
pub(super) struct Asked<'n> {
    pub(super) node: &'n Node,
    pub(super) contract: &'n Contract,
    /// Whether a fault is one in any case; otherwise it only keeps Lockstep from running the entity.
    pub(super) strict: bool,
}

impl Asked<'_> {
    /// The check with the field it is about.
    pub(super) fn said(
        &self,
        check: &str,
        field: Option<&Field>,
        tolerance: Option<Tolerance>,
        findings: &mut Findings,
    ) -> Option<Said> {
        let whole = matches!(check, "unique" | "volume");
        let check = match check {
            "holds" => self.holds(findings)?,
            "unique" => self.unique(field, findings)?,
            "volume" => {
                let (least, most) = self.counts(findings)?;
                Check::Volume { least, most }
            }
            _ => {
                let Some(field) = field else {
                    self.fault(
                        findings,
                        "the rule does not say which property it is about",
                        "put it under the property, or add `field:`",
                    );
                    return None;
                };
                self.of_field(check, field, findings)?
            }
        };
        Some(Said {
            field: field.filter(|_| !whole).map(|field| field.name.clone()),
            check,
            tolerance,
        })
    }

    fn of_field(&self, check: &str, field: &Field, findings: &mut Findings) -> Option<Check> {
        Some(match check {
            "notNull" => {
                if self.node.flag() != Some(true) {
                    self.fault(
                        findings,
                        "`notNull` is always true",
                        "write `notNull: true`",
                    );
                }
                Check::NotNull
            }
            "notMissing" => Check::NotMissing(self.values(field, findings)?),
            "oneOf" => Check::OneOf(self.values(field, findings)?),
            "matches" => self.matches(field, findings)?,
            "between" => self.between(field, findings)?,
            "length" => {
                if !matches!(field.kind, Type::Text | Type::Bytes) {
                    self.unfit("length", field, findings);
                    return None;
                }
                let (least, most) = self.counts(findings)?;
                Check::Length(least, most)
            }
            "exists" => {
                let Some(reference) = self.node.text().and_then(referenced) else {
                    self.fault(
                        findings,
                        "`exists` names no property of another entity",
                        "write `exists: entity.property`",
                    );
                    return None;
                };
                Check::Exists {
                    entity: reference.entity,
                    field: reference.field,
                }
            }
            "fresh" => self.fresh(field, findings)?,
            _ => return None,
        })
    }

    fn holds(&self, findings: &mut Findings) -> Option<Check> {
        let Some(text) = self.node.text() else {
            self.fault(
                findings,
                "the expression is not a text",
                "put the expression in quotes",
            );
            return None;
        };
        let shape = self.contract.shape();
        expression(self.node, text, "holds", &shape, findings);
        Some(Check::Holds(text.to_owned()))
    }

    fn fault(&self, findings: &mut Findings, message: impl Into<String>, help: impl Into<String>) {
        let report = if self.strict {
            Findings::error
        } else {
            Findings::needed
        };
        report(findings, "LS-C041", self.node.at, message, help);
    }

    fn unfit(&self, check: &str, field: &Field, findings: &mut Findings) {
        self.fault(
            findings,
            format!("`{check}` has no meaning for `{}`, a {}", field.name, field.kind),
            "lengths and patterns are of texts, bounds of numbers, dates and times, freshness of dates and timestamps",
        );
    }

    fn values(&self, field: &Field, findings: &mut Findings) -> Option<Vec<Value>> {
        let items = match &self.node.content {
            Content::List(items) if !items.is_empty() => items,
            _ => {
                self.fault(findings, "the values are not a list", "write `[a, b]`");
                return None;
            }
        };
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            values.push(self.value(item, field, findings)?);
        }
        Some(values)
    }

    fn value(&self, item: &Node, field: &Field, findings: &mut Findings) -> Option<Value> {
        if matches!(item.content, Content::Null) {
            return Some(Value::Null);
        }
        match value(field.kind, item) {
            Ok(value) => Some(value),
            Err(expected) => {
                let shown = if field.class >= Class::Personal {
                    "a value (protected, not shown)".to_owned()
                } else {
                    item.describe()
                };
                let message = format!("{shown} of the rule on `{}` is not {expected}", field.name);
                let help = format!("the values of the rule must be {} values", field.kind);
                let here = Asked {
                    node: item,
                    ..*self
                };
                here.fault(findings, message, help);
                None
            }
        }
    }

    fn matches(&self, field: &Field, findings: &mut Findings) -> Option<Check> {
        if field.kind != Type::Text {
            self.unfit("matches", field, findings);
            return None;
        }
        let Some(text) = self.node.text() else {
            self.fault(
                findings,
                "the pattern is not a text",
                "put the pattern in quotes",
            );
            return None;
        };
        if let Err(why) = pattern::compile(text) {
            self.fault(
                findings,
                format!("the pattern {} cannot be used: {why}", self.node.describe()),
                "use literals, classes, `\\d \\w \\s`, groups `(…)` and `(?:…)`, `|`, `^ $` and repetition",
            );
            return None;
        }
        Some(Check::Matches(text.to_owned()))
    }

    fn between(&self, field: &Field, findings: &mut Findings) -> Option<Check> {
        let ordered = matches!(
            field.kind,
            Type::Int
                | Type::Decimal { .. }
                | Type::Float
                | Type::Date
                | Type::Time
                | Type::Timestamp
        );
        if !ordered {
            self.unfit("between", field, findings);
            return None;
        }
        let [low, high] = self.node.items() else {
            self.fault(
                findings,
                "`between` has no two bounds",
                "write `between: [0, 10]`, with null for an open end",
            );
            return None;
        };
        let bound = |value: Value| (!value.is_null()).then_some(value);
        let low = bound(self.value(low, field, findings)?);
        let high = bound(self.value(high, field, findings)?);
        let crossed = match (&low, &high) {
            (Some(low), Some(high)) => compare(low, high) == Some(Ordering::Greater),
            (None, None) => true,
            _ => false,
        };
        if crossed {
            self.fault(
                findings,
                "no value, or every value, lies between the bounds",
                "write the lower bound first; leave the rule out where nothing is bounded",
            );
        }
        Some(Check::Between(low, high))
    }

    /// Two counts, of which one may be open.
    fn counts(&self, findings: &mut Findings) -> Option<(Option<u64>, Option<u64>)> {
        let count = |node: &Node| match &node.content {
            Content::Null => Some(None),
            _ => node.integer().and_then(|n| u64::try_from(n).ok()).map(Some),
        };
        let read = match self.node.items() {
            [least, most] => count(least).zip(count(most)),
            _ => None,
        };
        let fits = |(least, most): &(Option<u64>, Option<u64>)| match (least, most) {
            (Some(least), Some(most)) => least <= most,
            (None, None) => false,
            _ => true,
        };
        let read = read.filter(fits);
        if read.is_none() {
            self.fault(
                findings,
                format!("{} are no two counts", self.node.describe()),
                "write `[1, 10]`, the least first, with null for an open end",
            );
        }
        read
    }

    fn unique(&self, field: Option<&Field>, findings: &mut Findings) -> Option<Check> {
        if let (Some(true), Some(field)) = (self.node.flag(), field) {
            return Some(Check::Unique(vec![field.name.clone()]));
        }
        let items = self.node.items();
        if items.is_empty() {
            self.fault(
                findings,
                "`unique` names no properties",
                "write `unique: [a, b]`, or `unique: true` under a property",
            );
            return None;
        }
        let mut names: Vec<String> = Vec::with_capacity(items.len());
        for item in items {
            let field = named(item, self.contract, findings)?;
            if !names.contains(&field.name) {
                names.push(field.name.clone());
            }
        }
        Some(Check::Unique(names))
    }

    fn fresh(&self, field: &Field, findings: &mut Findings) -> Option<Check> {
        if !matches!(field.kind, Type::Timestamp | Type::Date) {
            self.unfit("fresh", field, findings);
            return None;
        }
        let within = match &self.node.content {
            Content::Number(_) => seconds(&self.node.to_json(), Some("s")),
            Content::Text(text) => {
                let text = text.trim();
                let unit = text.find(|c: char| c.is_ascii_alphabetic());
                unit.and_then(|at| seconds(&text[..at].trim().into(), Some(&text[at..])))
            }
            _ => None,
        };
        if within.is_none() {
            self.fault(
                findings,
                format!("{} is not a time", self.node.describe()),
                "write seconds, or a number with a unit: `90s`, `15min`, `4h`, `2d`",
            );
        }
        Some(Check::Fresh { within: within? })
    }
}

/// The field of a name.
fn named<'c>(node: &Node, contract: &'c Contract, findings: &mut Findings) -> Option<&'c Field> {
    let name = node.text().unwrap_or_default();
    let found = contract.field(name).map(|i| &contract.fields[i]);
    if found.is_none() {
        findings.error(
            "LS-C041",
            node.at,
            format!("the rule names {}, which is no property", node.describe()),
            suggestion(
                &shorten(name),
                contract.fields.iter().map(|field| field.name.as_str()),
            ),
        );
    }
    found
}

/// How many records may break the rule: a count, or a share such as `2%`.
fn tolerance(node: &Node, findings: &mut Findings) -> Option<Option<Tolerance>> {
    let read = match &node.content {
        Content::Number(_) => node
            .integer()
            .and_then(|n| u64::try_from(n).ok())
            .map(Tolerance::Records),
        Content::Text(text) => text
            .trim()
            .strip_suffix('%')
            .and_then(|text| text.trim().parse().ok())
            .filter(|share| (0.0..=100.0).contains(share))
            .map(Tolerance::Percent),
        _ => None,
    };
    if read.is_none() {
        findings.error(
            "LS-C041",
            node.at,
            format!("{} is not how many may break the rule", node.describe()),
            "write a count such as `5`, or a share such as `2%`",
        );
    }
    read.map(some_tolerance)
}

/// None at all is the usual case and needs no word.
pub(super) fn some_tolerance(tolerance: Tolerance) -> Option<Tolerance> {
    let none = match tolerance {
        Tolerance::Records(count) => count == 0,
        Tolerance::Percent(share) => share <= 0.0,
    };
    (!none).then_some(tolerance)
}

/// The upper bound on failures that a metric of the standard states; the inner none is "no failure at all".
pub(super) fn stated_tolerance(check: &Node) -> Option<Option<Tolerance>> {
    let get = |key: &str| check.get(key);
    let percent = get("unit").and_then(Node::text) == Some("percent");
    let (bound, strict) = if let Some(node) = get("mustBe") {
        (number(node).filter(|n| *n == 0.0)?, false)
    } else if let Some(node) = get("mustBeLessOrEqualTo") {
        (number(node)?, false)
    } else if let Some(node) = get("mustBeLessThan") {
        (number(node)?, true)
    } else if let Some(node) = get("mustBeBetween") {
        let [least, most] = node.items() else {
            return None;
        };
        number(least).filter(|n| *n == 0.0)?;
        (number(most)?, false)
    } else {
        let other = [
            "mustNotBe",
            "mustBeGreaterThan",
            "mustBeGreaterOrEqualTo",
            "mustNotBeBetween",
        ];
        return other.iter().all(|key| get(key).is_none()).then_some(None);
    };
    let tolerance = if percent {
        Tolerance::Percent(if strict { bound.next_down() } else { bound })
    } else {
        let most = if strict {
            bound.ceil() - 1.0
        } else {
            bound.floor()
        };
        if most > 1e15 {
            return None;
        }
        Tolerance::Records(most.max(0.0) as u64)
    };
    (bound > 0.0 || bound == 0.0 && !strict).then(|| some_tolerance(tolerance))
}
