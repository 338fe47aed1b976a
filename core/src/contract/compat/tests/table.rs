//! The table of rules about records, row by row and in both directions.

use std::collections::BTreeSet;

use super::rows::fields;
use super::*;
use crate::contract::Extra;
use crate::contract::compat::Verdict::{self, No, Yes};

/// What changes, and the verdicts backward and forward.
struct Row {
    rule: &'static str,
    old: Contract,
    new: Contract,
    verdicts: (Verdict, Verdict),
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (rule, reverse, old, new, verdicts) in fields() {
        let (old, new) = (contract("1.0.0", vec![old]), contract("1.1.0", vec![new]));
        rows.push(Row {
            rule,
            old: old.clone(),
            new: new.clone(),
            verdicts,
        });
        rows.push(Row {
            rule: reverse,
            old: new,
            new: old,
            verdicts: (verdicts.1, verdicts.0),
        });
    }
    let optional = with(text("a"), |f| f.required = false);
    let filled = with(text("a"), |f| f.default = Some(Value::text("x")));
    let other = with(text("a"), |f| f.default = Some(Value::text("y")));
    let none = || contract("1.0.0", vec![]);
    let one = |field: &Field| contract("1.1.0", vec![field.clone()]);
    let extra = |extra| Contract { extra, ..none() };
    for (rule, old, new, verdicts) in [
        ("LSC-FIELD-ADDED", none(), one(&optional), (Yes, Yes)),
        (
            "LSC-FIELD-ADDED-REQUIRED",
            none(),
            one(&text("a")),
            (No, Yes),
        ),
        ("LSC-FIELD-ADDED-DEFAULT", none(), one(&filled), (Yes, Yes)),
        ("LSC-FIELD-REMOVED", one(&optional), none(), (Yes, Yes)),
        (
            "LSC-FIELD-REMOVED-REQUIRED",
            one(&text("a")),
            none(),
            (Yes, No),
        ),
        (
            "LSC-FIELD-REMOVED-REQUIRED",
            one(&filled),
            none(),
            (Yes, Yes),
        ),
        (
            "LSC-REQUIRED-ADDED",
            one(&optional),
            one(&text("a")),
            (No, Yes),
        ),
        (
            "LSC-REQUIRED-ADDED",
            one(&optional),
            one(&filled),
            (Yes, Yes),
        ),
        (
            "LSC-REQUIRED-REMOVED",
            one(&text("a")),
            one(&optional),
            (Yes, No),
        ),
        (
            "LSC-REQUIRED-REMOVED",
            one(&filled),
            one(&optional),
            (Yes, Yes),
        ),
        (
            "LSC-DEFAULT-ADDED",
            one(&text("a")),
            one(&filled),
            (Yes, Yes),
        ),
        ("LSC-DEFAULT-CHANGED", one(&filled), one(&other), (Yes, Yes)),
        (
            "LSC-DEFAULT-REMOVED",
            one(&filled),
            one(&text("a")),
            (Yes, Yes),
        ),
        ("LSC-EXTRA", extra(Extra::Keep), none(), (No, Yes)),
        ("LSC-EXTRA", extra(Extra::Drop), none(), (No, Yes)),
        ("LSC-EXTRA", none(), extra(Extra::Keep), (Yes, No)),
        // Where unknown fields are kept, any value may stand under a new name.
        (
            "LSC-FIELD-ADDED",
            extra(Extra::Keep),
            Contract {
                extra: Extra::Keep,
                ..one(&optional)
            },
            (No, Yes),
        ),
    ] {
        rows.push(Row {
            rule,
            old,
            new,
            verdicts,
        });
    }
    rows
}

#[test]
fn every_row_holds_in_both_directions() {
    for Row {
        rule,
        old,
        new,
        verdicts,
    } in rows()
    {
        let (backward, forward) = asked(&old, &new);
        let ids: Vec<&str> = backward
            .findings
            .iter()
            .map(|finding| finding.rule)
            .collect();
        assert!(ids.contains(&rule), "{rule} is not among {ids:?}");
        let got = (backward.verdict, forward.verdict);
        assert_eq!(got, verdicts, "{rule}\n{backward:#?}\n{forward:#?}");
    }
}

#[test]
fn what_means_the_same_is_no_change() {
    let above = |least, out| {
        with(Field::new("a", Type::Int), |f| {
            f.limits.minimum = Some(Value::Int(least));
            f.limits.exclusive_minimum = out;
        })
    };
    let order = |fields: [&str; 2]| fields.map(text).to_vec();
    let labels = |values: &[&str]| with(text("a"), |f| f.allowed = listed(values));
    for (old, new) in [
        (vec![above(5, false)], vec![above(4, true)]),
        (order(["a", "b"]), order(["b", "a"])),
        (vec![labels(&["x", "y"])], vec![labels(&["y", "x"])]),
    ] {
        let (backward, forward) = asked(&contract("1.0.0", old), &contract("1.0.0", new));
        assert!(
            backward.findings.is_empty() && forward.findings.is_empty(),
            "{backward:#?}"
        );
    }
}

/// Keywords that differ are no break where the values do not.
#[test]
fn sets_are_compared_and_not_keywords() {
    let yes = |old: Field, new: Field| {
        let (backward, _) = asked(&contract("1.0.0", vec![old]), &contract("1.1.0", vec![new]));
        assert_eq!(backward.verdict, Yes, "{backward:#?}");
        assert!(
            backward
                .findings
                .iter()
                .all(|finding| finding.directions.is_empty())
        );
    };
    let limited = |edit: fn(&mut Field)| with(text("a"), edit);
    // The new bound is beyond all listed values.
    yes(
        limited(|f| f.allowed = listed(&["ab", "c"])),
        limited(|f| f.limits.max_length = Some(2)),
    );
    yes(
        limited(|f| f.allowed = listed(&["ab", "c"])),
        limited(|f| f.limits.pattern = Some("^[a-c]+$".into())),
    );
    // The pattern says the length already.
    yes(
        limited(|f| f.limits.pattern = Some("^[0-9]{3}$".into())),
        limited(|f| f.limits.max_length = Some(3)),
    );
    yes(
        limited(|f| f.limits.pattern = Some("^[AB]$".into())),
        limited(|f| f.allowed = listed(&["A", "B", "C"])),
    );
    // Precision and bound say the same.
    let decimal = |precision, low: Option<&str>| {
        with(
            Field::new(
                "a",
                Type::Decimal {
                    precision: Some(precision),
                    scale: Some(2),
                },
            ),
            |f| {
                f.limits.minimum = low.map(|low| Value::Decimal(low.parse().unwrap()));
                f.limits.maximum = low.map(|_| Value::Decimal("99.99".parse().unwrap()));
            },
        )
    };
    yes(decimal(9, Some("-99.99")), decimal(4, None));
    // Nothing at all can be written.
    let nothing = |f: &mut Field| {
        f.limits.min_length = Some(3);
        f.limits.max_length = Some(2);
    };
    yes(limited(nothing), with(Field::new("a", Type::Int), |_| {}));
    yes(
        limited(nothing),
        with(limited(nothing), |f| f.name = "b".into()),
    );
}

#[test]
fn only_the_directions_asked_for_are_judged() {
    let places = Places::default();
    let (old, new) = (
        contract("1.0.0", vec![]),
        contract("1.1.0", vec![text("a")]),
    );
    let full = compare(side(&old, &places), side(&new, &places), Direction::Full);
    assert_eq!(full.verdict, No);
    assert_eq!(full.witness_direction, Some(Direction::Backward));
    assert_eq!(full.witness.unwrap(), serde_json::json!({"id": "a"}));
    let swapped = compare(side(&new, &places), side(&old, &places), Direction::Full);
    assert_eq!(swapped.witness_direction, Some(Direction::Forward));
    assert_eq!(swapped.findings[0].directions, [Direction::Forward]);
}

/// Every rule is shown to be found, and nothing is found without a rule.
#[test]
fn rules_and_what_is_found_are_the_same() {
    let mut met: BTreeSet<&str> = BTreeSet::new();
    for Row { old, new, .. } in rows() {
        met.extend(
            asked(&old, &new)
                .0
                .findings
                .iter()
                .map(|finding| finding.rule),
        );
    }
    met.extend(migrations::rules());
    met.extend(agreement::rules());
    met.extend(remarks::rules());
    let known: BTreeSet<&str> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(known.len(), RULES.len(), "a rule stands twice");
    assert_eq!(met, known);
}
