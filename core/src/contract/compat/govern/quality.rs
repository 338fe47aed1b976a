//! Rules on the data: what is looser than before is less that consumers can rely on, what is tighter sets aside records that passed.

use std::cmp::Ordering;

use serde_json::{Value as Json, json};

use super::Review;
use crate::contract::check::compare;
use crate::contract::compat::change::json_of;
use crate::contract::compat::texts::{Found, Texts};
use crate::contract::wire::to_json;
use crate::contract::{Check, Field, Rule, Tolerance};
use crate::diagnostic::Severity::{Error, Info, Warning};
use crate::gate::expression::Expression;
use crate::value::Value;

/// How one thing compares with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shift {
    Same,
    Looser,
    Tighter,
    /// Both, or nobody can say.
    Other,
}

impl Shift {
    fn and(self, other: Shift) -> Shift {
        match (self, other) {
            (Shift::Same, shift) | (shift, Shift::Same) => shift,
            (a, b) if a == b => a,
            _ => Shift::Other,
        }
    }

    /// From how strictly each side takes it.
    fn of(order: Option<Ordering>) -> Shift {
        match order {
            Some(Ordering::Equal) => Shift::Same,
            Some(Ordering::Less) => Shift::Looser,
            Some(Ordering::Greater) => Shift::Tighter,
            None => Shift::Other,
        }
    }
}

pub(super) fn review(review: &mut Review<'_>) {
    let (before, after) = (review.old.contract, review.new.contract);
    let named = |rules: &[Rule], name: &str| rules.iter().any(|rule| rule.name == name);
    // What a service level implies comes and goes with the level, which says so itself.
    let gone = before.rules.iter().filter(|rule| {
        !named(&after.rules, &rule.name) && !before.terms.implies(&before.entity, rule)
    });
    let mut fresh: Vec<&Rule> = after
        .rules
        .iter()
        .filter(|rule| {
            !named(&before.rules, &rule.name) && !after.terms.implies(&after.entity, rule)
        })
        .collect();
    for rule in gone {
        let pointer = format!("/rules/{}", rule.name);
        let same = |other: &&Rule| shift(rule, other) == Shift::Same && rule.field == other.field;
        if let Some(at) = fresh.iter().position(same) {
            let other = fresh.remove(at);
            let message = format!("the rule `{}` is now called `{}`", rule.name, other.name);
            let pointer = format!("/rules/{}", other.name);
            let names = (rule.name.as_str(), other.name.as_str());
            review.add("LSC-RULE-RENAMED", Info, pointer, message, names.0, names.1);
            continue;
        }
        let (severity, what) = match is_dead(review, rule) {
            true => (Info, "led nowhere and is gone"),
            false => (Error, "is gone"),
        };
        let message = format!("the rule `{}` {what}", rule.name);
        review.add(
            "LSC-RULE-REMOVED",
            severity,
            pointer,
            message,
            shown(rule),
            (),
        );
    }
    for rule in &before.rules {
        let Some(other) = after.rules.iter().find(|other| other.name == rule.name) else {
            continue;
        };
        let levels =
            before.terms.implies(&before.entity, rule) && after.terms.implies(&after.entity, other);
        let (id, severity, how) = match shift(rule, other) {
            _ if levels => continue,
            Shift::Same if rule.field == other.field => continue,
            _ if is_dead(review, rule) => ("LSC-RULE-TIGHTENED", Warning, "led nowhere before"),
            Shift::Tighter => ("LSC-RULE-TIGHTENED", Warning, "is tighter than before"),
            Shift::Looser => ("LSC-RULE-LOOSENED", Error, "is looser than before"),
            Shift::Same | Shift::Other => ("LSC-RULE-CHANGED", Error, "is another one"),
        };
        let message = format!("the rule `{}` {how}", rule.name);
        let pointer = format!("/rules/{}", rule.name);
        review.add(id, severity, pointer, message, shown(rule), shown(other));
    }
    for rule in fresh {
        let message = format!("the rule `{}` is new", rule.name);
        let pointer = format!("/rules/{}", rule.name);
        review.add("LSC-RULE-ADDED", Warning, pointer, message, (), shown(rule));
    }
    for pair in review.pairs() {
        if let (Some(a), Some(b)) = (pair.old, pair.new) {
            field(review, &pair.pointer, &pair.name, a, b);
        }
    }
}

/// What a field demands of more than one record, and what becomes of a record that it refuses.
fn field(review: &mut Review<'_>, pointer: &str, name: &str, old: &Field, new: &Field) {
    if old.unique != new.unique {
        let (rule, severity, what) = if new.unique {
            ("LSC-UNIQUE-ADDED", Warning, "have different values now")
        } else {
            ("LSC-UNIQUE-REMOVED", Error, "may have equal values now")
        };
        let message = format!("two records {what} in `{name}`");
        review.add(
            rule,
            severity,
            format!("{pointer}/unique"),
            message,
            old.unique,
            new.unique,
        );
    }
    if old.reference != new.reference {
        let text = |field: &Field| {
            let reference = field.reference.as_ref();
            reference.map(|reference| format!("{}.{}", reference.entity, reference.field))
        };
        let dead = old.reference.as_ref();
        let dead = dead.is_some_and(|old| review.around.dead.contains(old));
        let (rule, severity, what) = match (&old.reference, &new.reference) {
            // What never led anywhere was relied on by nobody: to mend it is no break.
            (Some(_), None) if dead => ("LSC-REFERENCE-REMOVED", Info, "led nowhere and is gone"),
            (Some(_), Some(_)) if dead => (
                "LSC-REFERENCE-ADDED",
                Warning,
                "led nowhere and leads elsewhere now",
            ),
            (None, _) => ("LSC-REFERENCE-ADDED", Warning, "is new"),
            (Some(_), None) => ("LSC-REFERENCE-REMOVED", Error, "is gone"),
            _ => ("LSC-REFERENCE-REMOVED", Error, "leads elsewhere"),
        };
        let message = format!("the reference of `{name}` {what}");
        review.add(
            rule,
            severity,
            format!("{pointer}/reference"),
            message,
            text(old),
            text(new),
        );
    }
    if old.outcome != new.outcome {
        let (rule, severity) = if new.outcome < old.outcome {
            ("LSC-OUTCOME-LOOSENED", Error)
        } else {
            ("LSC-OUTCOME-TIGHTENED", Warning)
        };
        let (a, b) = (old.outcome.name(), new.outcome.name());
        let message =
            format!("what becomes of a record with a wrong `{name}` changed from {a} to {b}");
        review.add(rule, severity, format!("{pointer}/outcome"), message, a, b);
    }
}

/// Whether a rule asks for values of what never was there, so that it judged nothing.
fn is_dead(review: &Review<'_>, rule: &Rule) -> bool {
    let dead = |entity: &str, field: &str| {
        let mut dead = review.around.dead.iter();
        dead.any(|to| to.entity == entity && to.field == field)
    };
    matches!(&rule.check, Check::Exists { entity, field } if dead(entity, field))
}

fn shift(old: &Rule, new: &Rule) -> Shift {
    check(&old.check, &new.check)
        .and(Shift::of(Some(new.outcome.cmp(&old.outcome))))
        .and(tolerance(old.tolerance, new.tolerance))
}

/// A rule that tolerates nothing is as strict as one that tolerates none.
fn tolerance(old: Option<Tolerance>, new: Option<Tolerance>) -> Shift {
    let zero = |tolerance: &Tolerance| match tolerance {
        Tolerance::Records(count) => *count == 0,
        Tolerance::Percent(share) => *share == 0.0,
    };
    match (old.filter(|t| !zero(t)), new.filter(|t| !zero(t))) {
        (None, None) => Shift::Same,
        (None, Some(_)) => Shift::Looser,
        (Some(_), None) => Shift::Tighter,
        (Some(Tolerance::Records(a)), Some(Tolerance::Records(b))) => Shift::of(Some(a.cmp(&b))),
        (Some(Tolerance::Percent(a)), Some(Tolerance::Percent(b))) => Shift::of(a.partial_cmp(&b)),
        _ => Shift::Other,
    }
}

fn check(old: &Check, new: &Check) -> Shift {
    if old == new {
        return Shift::Same;
    }
    match (old, new) {
        (Check::Holds(a), Check::Holds(b)) if Expression::is_same(a, b) => Shift::Same,
        (Check::OneOf(a), Check::OneOf(b)) => Shift::of(fewer(a, b)),
        (Check::NotMissing(a), Check::NotMissing(b)) => Shift::of(fewer(b, a)),
        (Check::Unique(a), Check::Unique(b)) => {
            // Unique in fewer fields is unique in more.
            Shift::of(fewer(a, b))
        }
        (Check::Matches(a), Check::Matches(b)) => patterns(a, b),
        (Check::Between(a_low, a_high), Check::Between(b_low, b_high)) => low(
            a_low.as_ref(),
            b_low.as_ref(),
            compare,
        )
        .and(high(a_high.as_ref(), b_high.as_ref(), compare)),
        (Check::Length(a_low, a_high), Check::Length(b_low, b_high))
        | (
            Check::Volume {
                least: a_low,
                most: a_high,
            },
            Check::Volume {
                least: b_low,
                most: b_high,
            },
        ) => {
            let order = |a: &u64, b: &u64| Some(a.cmp(b));
            low(a_low.as_ref(), b_low.as_ref(), order).and(high(
                a_high.as_ref(),
                b_high.as_ref(),
                order,
            ))
        }
        (Check::Fresh { within: a }, Check::Fresh { within: b }) => Shift::of(Some(a.cmp(b))),
        _ => Shift::Other,
    }
}

/// `Greater` where all of `new` stands in `old` and something is gone.
fn fewer<T: PartialEq>(old: &[T], new: &[T]) -> Option<Ordering> {
    let lost = old.iter().any(|value| !new.contains(value));
    let won = new.iter().any(|value| !old.contains(value));
    match (lost, won) {
        (false, false) => Some(Ordering::Equal),
        (true, false) => Some(Ordering::Greater),
        (false, true) => Some(Ordering::Less),
        (true, true) => None,
    }
}

fn low<T>(old: Option<&T>, new: Option<&T>, order: fn(&T, &T) -> Option<Ordering>) -> Shift {
    match (old, new) {
        (None, None) => Shift::Same,
        (None, Some(_)) => Shift::Tighter,
        (Some(_), None) => Shift::Looser,
        (Some(old), Some(new)) => Shift::of(order(new, old)),
    }
}

fn high<T>(old: Option<&T>, new: Option<&T>, order: fn(&T, &T) -> Option<Ordering>) -> Shift {
    match (old, new) {
        (Some(old), Some(new)) => Shift::of(order(old, new)),
        (old, new) => low(old, new, order),
    }
}

fn patterns(old: &str, new: &str) -> Shift {
    let inside = |a: &str, b: &str| {
        let texts = Texts::build(&[a.to_owned()], &[b.to_owned()]);
        texts.is_some_and(|texts| texts.one(0, None) == Found::Nothing)
    };
    match (inside(old, new), inside(new, old)) {
        (true, true) => Shift::Same,
        (true, false) => Shift::Looser,
        (false, true) => Shift::Tighter,
        (false, false) => Shift::Other,
    }
}

fn shown(rule: &Rule) -> Json {
    let list = |values: &[Value]| Json::Array(values.iter().map(to_json).collect());
    let check = match &rule.check {
        Check::Holds(expression) => json!({ "holds": expression }),
        Check::NotNull => json!("not null"),
        Check::NotMissing(values) => json!({ "not_missing": list(values) }),
        Check::OneOf(values) => json!({ "one_of": list(values) }),
        Check::Matches(pattern) => json!({ "matches": pattern }),
        Check::Between(low, high) => {
            json!({ "between": [json_of(low.as_ref()), json_of(high.as_ref())] })
        }
        Check::Length(low, high) => json!({ "length": [low, high] }),
        Check::Unique(fields) => json!({ "unique": fields }),
        Check::Exists { entity, field } => json!({ "exists": format!("{entity}.{field}") }),
        Check::Volume { least, most } => json!({ "volume": [least, most] }),
        Check::Fresh { within } => json!({ "fresh_within_s": within }),
    };
    let tolerance = match rule.tolerance {
        None => Json::Null,
        Some(Tolerance::Records(count)) => count.into(),
        Some(Tolerance::Percent(share)) => format!("{share} %").into(),
    };
    json!({ "field": rule.field, "check": check, "outcome": rule.outcome.name(), "tolerance": tolerance })
}
