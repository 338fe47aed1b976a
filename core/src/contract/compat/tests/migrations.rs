//! What migrations change about verdicts.

use super::*;
use crate::contract::compat::Verdict::{No, Unproven, Yes};
use crate::contract::{Migration, Step};

fn migrated(new: Contract, up: Vec<Step>, down: Vec<Step>) -> Contract {
    let migration = Migration {
        from: "1.0.0".parse().unwrap(),
        to: "1.1.0".parse().unwrap(),
        up,
        down,
    };
    Contract {
        migrations: vec![migration],
        ..new
    }
}

fn verdicts(old: &Contract, new: &Contract) -> (Verdict, Verdict) {
    let places = Places::default();
    let ask = |direction| compare(side(old, &places), side(new, &places), direction).verdict;
    (ask(Direction::Backward), ask(Direction::Forward))
}

fn rename(from: &str, to: &str) -> Vec<Step> {
    vec![Step::Rename {
        from: from.into(),
        to: to.into(),
    }]
}

pub(super) fn rules() -> Vec<&'static str> {
    let old = contract("1.0.0", vec![text("a")]);
    let new = migrated(contract("1.1.0", vec![text("b")]), rename("a", "b"), vec![]);
    let places = Places::default();
    let report = compare(side(&old, &places), side(&new, &places), Direction::Full);
    report.findings.iter().map(|finding| finding.rule).collect()
}

#[test]
fn a_rename_is_bridged_where_a_migration_says_so() {
    let old = contract("1.0.0", vec![text("a")]);
    let new = contract("1.1.0", vec![text("b")]);
    assert_eq!(
        verdicts(&old, &new),
        (No, No),
        "without a migration it is one field gone and one new"
    );
    assert_eq!(
        verdicts(&old, &migrated(new.clone(), rename("a", "b"), vec![])),
        (Yes, No)
    );
    assert_eq!(
        verdicts(&old, &migrated(new, rename("a", "b"), rename("b", "a"))),
        (Yes, No),
        "a way down serves targets, not whoever reads the log"
    );
    let optional = |name: &str| with(text(name), |f| f.required = false);
    let old = contract("1.0.0", vec![optional("a")]);
    let new = migrated(
        contract("1.1.0", vec![optional("b")]),
        rename("a", "b"),
        vec![],
    );
    assert_eq!(verdicts(&old, &new), (Yes, Yes));
    assert_eq!(rules(), ["LSC-FIELD-RENAMED"]);
}

#[test]
fn a_renamed_field_is_still_judged_by_its_values() {
    let old = contract("1.0.0", vec![text("a")]);
    let short = with(text("b"), |f| f.limits.max_length = Some(3));
    let new = migrated(
        contract("1.1.0", vec![short]),
        rename("a", "b"),
        rename("b", "a"),
    );
    assert_eq!(verdicts(&old, &new), (No, No));
    let places = Places::default();
    let report = compare(
        side(&old, &places),
        side(&new, &places),
        Direction::Backward,
    );
    assert_eq!(
        report.witness.unwrap(),
        serde_json::json!({"id": "a", "a": "aaaa"})
    );
}

#[test]
fn a_fixed_value_fills_a_required_field() {
    let old = contract("1.0.0", vec![]);
    let set = |value: &str| {
        vec![Step::Set {
            field: "a".into(),
            value: Value::text(value),
        }]
    };
    let short = with(text("a"), |f| f.limits.max_length = Some(3));
    let new = |value| migrated(contract("1.1.0", vec![short.clone()]), set(value), vec![]);
    assert_eq!(verdicts(&old, &new("abc")).0, Yes);
    assert_eq!(verdicts(&old, &new("abcd")).0, No);
}

#[test]
fn replaced_values_are_judged_by_what_they_become() {
    let one_of = |values: &[&str]| vec![with(text("a"), |f| f.allowed = listed(values))];
    let old = contract("1.0.0", one_of(&["x", "y"]));
    let map = |pairs: &[(&str, &str)]| {
        let values = pairs
            .iter()
            .map(|(a, b)| (Value::text(*a), Value::text(*b)));
        vec![Step::Map {
            field: "a".into(),
            values: values.collect(),
        }]
    };
    let new = |pairs| migrated(contract("1.1.0", one_of(&["x", "z"])), map(pairs), vec![]);
    assert_eq!(verdicts(&old, &new(&[("y", "z")])).0, Yes);
    assert_eq!(verdicts(&old, &new(&[("x", "z")])).0, No);
}

#[test]
fn an_expression_is_trusted_with_a_field_that_takes_anything_only() {
    let old = contract("1.0.0", vec![]);
    let compute = || {
        vec![Step::Compute {
            field: "a".into(),
            expression: "id".into(),
        }]
    };
    let free = with(text("a"), |f| f.nullable = true);
    let new = migrated(contract("1.1.0", vec![free]), compute(), vec![]);
    assert_eq!(verdicts(&old, &new).0, Yes);
    let new = migrated(contract("1.1.0", vec![text("a")]), compute(), vec![]);
    assert_eq!(verdicts(&old, &new).0, Unproven);
}
