//! Quality checks as rules on the data: CEL over a record, the standard's own metrics, and Lockstep's checks.
//!
//! Every rule is type-checked against the contract here; what cannot be checked at all stays documentation, and is said to be that.

mod library;
mod own;

use super::field::{custom, text};
use super::findings::Findings;
use super::reading::Reading;
use super::relationships::referenced;
use super::words::{OUTCOMES, word};
use super::yaml::{Content, Node, Span, shorten};
use crate::contract::terms::is_freshness;
use crate::contract::{Check, Contract, Field, Level, Outcome, Rule, Tolerance};
use crate::gate::expression::{Expression, ExpressionError, Scope};
use crate::shape::Shape;
use crate::value::Type;

/// What a check says before it has a name.
struct Said {
    field: Option<String>,
    check: Check,
    tolerance: Option<Tolerance>,
}

/// Reads the checks of the object and of its properties; all rules share one set of names.
pub(super) fn rules(object: &Node, contract: &Contract, reading: &mut Reading<'_>) -> Vec<Rule> {
    let shape = contract.shape();
    let mut rules = Rules {
        contract,
        shape: &shape,
        rules: Vec::new(),
    };
    for check in object.get("quality").map_or(&[][..], Node::items) {
        rules.read(check, None, reading);
    }
    for property in object.get("properties").map_or(&[][..], Node::items) {
        // A property whose name cannot be used was reported; its checks follow once that is mended.
        let name = property.get("name").and_then(Node::text);
        let field = name.and_then(|name| contract.field(name));
        let Some(field) = field.map(|i| &contract.fields[i]) else {
            continue;
        };
        for check in property.get("quality").map_or(&[][..], Node::items) {
            rules.read(check, Some(field), reading);
        }
        let relationships = property.get("relationships");
        for relationship in relationships.map_or(&[][..], Node::items) {
            rules.relationship(relationship, field, reading);
        }
    }
    for level in &contract.terms.levels {
        rules.level(level, reading);
    }
    rules.rules
}

/// Says of the checks inside a document that nobody makes them.
pub(super) fn nested(node: &Node, findings: &mut Findings) {
    for check in node.get("quality").map_or(&[][..], Node::items) {
        if check.get("type").and_then(Node::text) != Some("text") {
            undone(check.at, findings);
        }
    }
}

fn undone(at: Span, findings: &mut Findings) {
    findings.warning(
        "LS-C035",
        at,
        "the quality check is not made by Lockstep",
        "write what must hold as `type: custom` with `engine: cel` or `engine: lockstep`, or as a `library` metric of a property of the first level with `mustBe: 0` or an upper bound",
    );
}

/// The rules read so far.
struct Rules<'c> {
    contract: &'c Contract,
    shape: &'c Shape,
    rules: Vec<Rule>,
}

impl Rules<'_> {
    fn read(&mut self, check: &Node, field: Option<&Field>, reading: &mut Reading<'_>) {
        let word = |key: &str| check.get(key).and_then(Node::text);
        let metric = check.get("metric").or(check.get("rule"));
        let findings = &mut reading.findings;
        let said = match (word("type"), word("engine")) {
            (Some("text"), _) => return,
            (Some("custom"), Some("cel")) => self.cel(check, findings),
            (Some("custom"), Some("lockstep")) => own::read(check, field, self.contract, findings),
            (None | Some("library"), _) if metric.is_some() => {
                library::read(check, field, self.contract, findings)
            }
            _ => {
                undone(check.at, findings);
                None
            }
        };
        let explicit = text(check, "name").or_else(|| text(check, "id"));
        let library = metric.is_some();
        if explicit.is_none() && !library && said.is_some() {
            findings.error(
                "LS-C034",
                check.at,
                "the rule has no name",
                "add `name:`; quarantine reasons show it",
            );
        }
        let Some(said) = said else { return };
        let outcome = outcome(check, &said.check, findings);
        let at = check.get("name").or(check.get("id")).unwrap_or(check).at;
        let name = match explicit {
            Some(name) if self.rules.iter().any(|other| other.name == name) => {
                findings.error(
                    "LS-C034",
                    at,
                    format!("two rules are named `{}`", shorten(&name)),
                    "rename one of them",
                );
                return;
            }
            Some(name) => name,
            None => {
                let about = said.field.as_deref().unwrap_or(&self.contract.entity);
                self.fresh_name(&format!("{about}_{}", kind(&said.check)))
            }
        };
        reading.mark(format!("/rules/{name}"), at);
        for part in ["implementation", "arguments", "severity"] {
            reading.mark_node(format!("/rules/{name}/{part}"), check.get(part));
        }
        let implementation = check.get("implementation");
        let exists = implementation.and_then(|body| body.get("exists"));
        reading.mark_node(format!("/rules/{name}/exists"), exists);
        self.rules.push(Rule {
            name,
            field: said.field,
            check: said.check,
            outcome,
            tolerance: said.tolerance,
        });
    }

    fn cel(&self, check: &Node, findings: &mut Findings) -> Option<Said> {
        // One that is missing was reported with the grammar.
        let implementation = check.get("implementation")?;
        let Some(expression) = implementation.text() else {
            findings.error(
                "LS-C004",
                implementation.at,
                format!(
                    "the expression must be a text, not {}",
                    implementation.describe()
                ),
                "put the expression in quotes",
            );
            return None;
        };
        let name = text(check, "name").or_else(|| text(check, "id"));
        let name = name.as_deref().unwrap_or("without a name");
        self::expression(implementation, expression, name, self.shape, findings);
        Some(Said {
            field: None,
            check: Check::Holds(expression.to_owned()),
            tolerance: None,
        })
    }

    /// A relationship is checked where it says what becomes of a record whose other side is missing.
    fn relationship(&mut self, node: &Node, field: &Field, reading: &mut Reading<'_>) {
        let Some(outcome) = custom(node, "lockstep.outcome") else {
            return;
        };
        let findings = &mut reading.findings;
        let what = "`lockstep.outcome`";
        let outcome = word(outcome, what, OUTCOMES, "LS-C042", findings);
        let to = node.get("to");
        let reference = to.and_then(Node::text).and_then(referenced);
        let (Some(outcome), Some(to), Some(reference)) = (outcome, to, reference) else {
            return;
        };
        let check = Check::Exists {
            entity: reference.entity,
            field: reference.field,
        };
        self.derive(
            &format!("{}_exists", field.name),
            field,
            check,
            outcome,
            to.at,
            reading,
        );
    }

    /// A promised freshness of a field is a rule that warns.
    fn level(&mut self, level: &Level, reading: &mut Reading<'_>) {
        if !is_freshness(&level.property) {
            return;
        }
        let Some(element) = &level.element else {
            return;
        };
        let name = match element.split_once('.') {
            Some((entity, name)) if entity == self.contract.entity => name,
            Some(_) => return,
            None => element,
        };
        let Some(field) = self.contract.field(name) else {
            return;
        };
        let field = &self.contract.fields[field];
        let places = format!("/levels/{}", level.property);
        let Some(at) = reading.marked(&places) else {
            return;
        };
        let within = seconds(&level.value, level.unit.as_deref());
        let Some(within) = within.filter(|_| matches!(field.kind, Type::Timestamp | Type::Date))
        else {
            reading.findings.warning(
                "LS-C035",
                at,
                format!("the {} of `{}` is not checked", level.property, shorten(element)),
                "name a property that is a date or timestamp, and write a number with one of the units s, min, h, d, w, mo and y",
            );
            return;
        };
        let name = format!("{}_fresh", field.name);
        self.derive(
            &name,
            field,
            Check::Fresh { within },
            Outcome::Warn,
            at,
            reading,
        );
    }

    /// Adds a rule that follows from something else, unless somebody wrote the same rule.
    fn derive(
        &mut self,
        name: &str,
        field: &Field,
        check: Check,
        outcome: Outcome,
        at: Span,
        reading: &mut Reading<'_>,
    ) {
        let about = Some(field.name.clone());
        if self
            .rules
            .iter()
            .any(|rule| rule.field == about && rule.check == check)
        {
            return;
        }
        let name = self.fresh_name(name);
        reading.mark(format!("/rules/{name}"), at);
        self.rules.push(Rule {
            name,
            field: about,
            check,
            outcome,
            tolerance: None,
        });
    }

    fn fresh_name(&self, wanted: &str) -> String {
        let taken = |name: &str| self.rules.iter().any(|rule| rule.name == name);
        if !taken(wanted) {
            return wanted.to_owned();
        }
        (2..)
            .map(|n| format!("{wanted}_{n}"))
            .find(|name| !taken(name))
            .unwrap_or_default()
    }
}

/// Says of an expression that it does not compile.
fn expression(node: &Node, text: &str, rule: &str, shape: &Shape, findings: &mut Findings) {
    if let Err(error) = Expression::compile(text, Scope::Fields(shape), Some(Type::Bool)) {
        findings.error(
            "LS-C033",
            place(node, text, &error, findings),
            format!(
                "the rule `{}` does not compile: {}",
                shorten(rule),
                error.message
            ),
            "write CEL over the contract's properties by their names; it must give true or false",
        );
    }
}

/// What becomes of what breaks a rule: as it says itself, or by its severity.
fn outcome(node: &Node, check: &Check, findings: &mut Findings) -> Outcome {
    // A whole entity's records cannot be set aside or refused.
    let whole = matches!(check, Check::Volume { .. } | Check::Fresh { .. });
    let usual = if whole {
        Outcome::Warn
    } else {
        Outcome::Quarantine
    };
    let Some(written) = custom(node, "lockstep.outcome") else {
        return match node.get("severity").and_then(Node::text) {
            Some("info") => Outcome::Pass,
            Some("warn" | "warning") => Outcome::Warn,
            _ => usual,
        };
    };
    let what = "`lockstep.outcome`";
    let outcome = word(written, what, OUTCOMES, "LS-C042", findings).unwrap_or(usual);
    if whole && matches!(outcome, Outcome::Quarantine | Outcome::Reject) {
        findings.error(
            "LS-C042",
            written.at,
            format!(
                "a rule on all records together cannot {}",
                written.text().unwrap_or_default()
            ),
            "use pass, warn or halt: there is no single record to set aside",
        );
    }
    outcome
}

/// A word for the names of rules that have none.
fn kind(check: &Check) -> &'static str {
    match check {
        Check::Holds(_) => "holds",
        Check::NotNull => "not_null",
        Check::NotMissing(_) => "not_missing",
        Check::OneOf(_) => "one_of",
        Check::Matches(_) => "matches",
        Check::Between(..) => "between",
        Check::Length(..) => "length",
        Check::Unique(_) => "unique",
        Check::Exists { .. } => "exists",
        Check::Volume { .. } => "volume",
        Check::Fresh { .. } => "fresh",
    }
}

/// A time in seconds, from a number and a unit.
fn seconds(value: &serde_json::Value, unit: Option<&str>) -> Option<u64> {
    let number = match value {
        serde_json::Value::Number(number) => number.as_f64()?,
        serde_json::Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    let unit = match unit?.trim().to_ascii_lowercase().as_str() {
        "s" | "sec" | "second" | "seconds" => 1.0,
        "min" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86_400.0,
        "w" | "week" | "weeks" => 604_800.0,
        "mo" | "month" | "months" => 2_592_000.0,
        "y" | "yr" | "year" | "years" => 31_536_000.0,
        _ => return None,
    };
    let seconds = number * unit;
    (1.0..1e12).contains(&seconds).then_some(seconds as u64)
}

/// A number of the text as a double.
fn number(node: &Node) -> Option<f64> {
    match &node.content {
        Content::Number(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    }
}

/// The offending part of an expression where the YAML holds it as it is, otherwise the whole value.
fn place(node: &Node, expression: &str, error: &ExpressionError, findings: &Findings) -> Span {
    let verbatim = findings.source(node.at).find(expression);
    match (verbatim, error.span) {
        (Some(start), Some((from, to))) if to <= expression.len() && from <= to => Span {
            source: node.at.source,
            offset: node.at.offset + start + from,
            length: (to - from).max(1),
        },
        _ => node.at,
    }
}
