//! Quality checks: those with `engine: cel` are rules over the record, the others stay documentation.

use super::findings::Findings;
use super::yaml::{Node, Span, shorten};
use crate::contract::Rule;
use crate::gate::expression::{Expression, ExpressionError, Scope};
use crate::shape::Shape;
use crate::value::Type;

/// Reads the checks of the object and of its properties; all rules share one set of names.
pub(super) fn rules(object: &Node, shape: &Shape, findings: &mut Findings<'_>) -> Vec<Rule> {
    let own = object.get("quality").into_iter();
    let properties = object.get("properties").map_or(&[][..], Node::items);
    let theirs = properties.iter().filter_map(|node| node.get("quality"));
    let mut rules: Vec<Rule> = Vec::new();
    for check in own.chain(theirs).flat_map(Node::items) {
        let Some(rule) = rule(check, shape, findings) else {
            continue;
        };
        if rules.iter().any(|other| other.name == rule.name) {
            findings.error(
                "LS-C034",
                check.get("name").or(check.get("id")).unwrap_or(check).at,
                format!("two rules are named `{}`", shorten(&rule.name)),
                "rename one of them",
            );
            continue;
        }
        rules.push(rule);
    }
    rules
}

fn rule(check: &Node, shape: &Shape, findings: &mut Findings<'_>) -> Option<Rule> {
    let text = |key: &str| check.get(key).and_then(Node::text);
    match (text("type"), text("engine")) {
        (Some("text"), _) => return None,
        (Some("custom"), Some("cel")) => {}
        _ => {
            findings.warning(
                "LS-C035",
                check.at,
                "the quality check is not checked record by record",
                "write what must hold for every record as `type: custom`, `engine: cel`, `implementation: <expression>`",
            );
            return None;
        }
    }
    let name = text("name").or(text("id"));
    if name.is_none() {
        findings.error(
            "LS-C034",
            check.at,
            "the rule has no name",
            "add `name:`; quarantine reasons show it",
        );
    }
    let Some(implementation) = check.get("implementation") else {
        findings.error(
            "LS-C006",
            check.at,
            "the rule has no `implementation`",
            "add the expression as `implementation:`",
        );
        return None;
    };
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
    if let Err(error) = Expression::compile(expression, Scope::Fields(shape), Some(Type::Bool)) {
        findings.error(
            "LS-C033",
            place(implementation, expression, &error, findings),
            format!(
                "the rule `{}` does not compile: {}",
                shorten(name.unwrap_or("without a name")),
                error.message
            ),
            "write CEL over the contract's properties by their names; it must give true or false",
        );
    }
    Some(Rule {
        name: name?.to_owned(),
        expression: expression.to_owned(),
    })
}

/// The offending part of an expression where the YAML holds it as it is, otherwise the whole value.
fn place(node: &Node, expression: &str, error: &ExpressionError, findings: &Findings<'_>) -> Span {
    let verbatim = findings.source(node.at).find(expression);
    match (verbatim, error.span) {
        (Some(start), Some((from, to))) if to <= expression.len() && from <= to => Span {
            offset: node.at.offset + start + from,
            length: (to - from).max(1),
        },
        _ => node.at,
    }
}
