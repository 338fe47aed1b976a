//! Tables that became something else.

use std::collections::BTreeMap;

use super::*;
use crate::contract::{Field, NoLibrary, load};
use crate::value::Type;

fn shape(columns: &[(&str, Type, bool)]) -> Shape {
    let column = |(name, kind, nullable): &(&str, Type, bool)| Column::new(*name, *kind, *nullable);
    Shape {
        name: "accounts".to_owned(),
        columns: columns.iter().map(column).collect(),
        key: vec![0],
    }
}

const BEFORE: [(&str, Type, bool); 3] = [
    ("no", Type::Text, false),
    ("title", Type::Text, false),
    ("cents", Type::Int, true),
];

fn contract() -> Contract {
    let amount = Type::Decimal {
        precision: Some(12),
        scale: Some(2),
    };
    let fields = vec![
        Field::new("id", Type::Text),
        Field::new("name", Type::Text),
        Field {
            nullable: true,
            required: false,
            ..Field::new("amount", amount)
        },
    ];
    Contract::new("account", "1.4.2".parse().unwrap(), fields)
}

fn mapping() -> Mapping {
    let text = r#"{"table": "accounts", "fields": {"id": "no", "name": "title", "amount": {"column": "cents", "scale": 2}}}"#;
    serde_json::from_str(text).unwrap()
}

/// What is not as expected: field, kind and reason.
fn found(side: Side, before: bool, now: &[(&str, Type, bool)]) -> Vec<(String, Kind, String)> {
    drifts(side, before, now)
        .into_iter()
        .filter(|drift| drift.kind != Kind::Ok)
        .map(|drift| (drift.field, drift.kind, drift.reason))
        .collect()
}

fn drifts(side: Side, before: bool, now: &[(&str, Type, bool)]) -> Vec<Drift> {
    let (contract, mapping, values) = (contract(), mapping(), BTreeMap::new());
    let was = shape(&BEFORE);
    let expected = Expected {
        contract: &contract,
        mapping: &mapping,
        values: &values,
        side,
        before: before.then_some(&was),
        policy: Policy::default(),
    };
    compare(expected, &shape(now))
}

#[test]
fn each_change_of_a_table_is_what_it_is() {
    let with = |changes: &[(usize, (&'static str, Type, bool))]| {
        let mut columns = BEFORE.to_vec();
        for (at, column) in changes {
            if *at < columns.len() {
                columns[*at] = *column;
            } else {
                columns.push(*column);
            }
        }
        columns
    };
    let (source, target) = (Side::Source, Side::Target);
    type Columns = Vec<(&'static str, Type, bool)>;
    type Case<'a> = (&'a str, Side, Columns, Option<(&'a str, Kind)>);
    let table: Vec<Case<'_>> = vec![
        ("as it was", source, BEFORE.to_vec(), None),
        (
            "a column more",
            source,
            with(&[(9, ("memo", Type::Text, true))]),
            Some(("memo", Kind::Additive)),
        ),
        (
            "a column more in a target",
            target,
            with(&[(9, ("memo", Type::Text, true))]),
            None,
        ),
        (
            "a column renamed",
            source,
            with(&[(1, ("titel", Type::Text, false))]),
            Some(("name", Kind::Breaking)),
        ),
        (
            "a column gone",
            source,
            BEFORE[..2].to_vec(),
            Some(("amount", Kind::Breaking)),
        ),
        (
            "a column gone in a target",
            target,
            BEFORE[..2].to_vec(),
            Some(("amount", Kind::Breaking)),
        ),
        (
            "another type",
            source,
            with(&[(2, ("cents", Type::Text, true))]),
            Some(("amount", Kind::Breaking)),
        ),
        (
            "a type that never fits",
            source,
            with(&[(1, ("title", Type::Bytes, false))]),
            Some(("name", Kind::Breaking)),
        ),
        (
            "null allowed",
            source,
            with(&[(1, ("title", Type::Text, true))]),
            Some(("name", Kind::Breaking)),
        ),
        (
            "null allowed where it may be",
            source,
            with(&[(2, ("cents", Type::Int, false))]),
            None,
        ),
        (
            "null refused in a target",
            target,
            with(&[(2, ("cents", Type::Int, false))]),
            Some(("amount", Kind::Breaking)),
        ),
    ];
    for (what, side, now, expected) in table {
        let found = found(side, true, &now);
        let named = found
            .iter()
            .map(|(field, kind, _)| (field.as_str(), *kind))
            .collect::<Vec<_>>();
        let named: Vec<_> = named
            .into_iter()
            .filter(|(field, _)| what != "a column renamed" || *field != "titel")
            .collect();
        assert_eq!(
            named,
            expected.into_iter().collect::<Vec<_>>(),
            "{what}: {found:?}"
        );
    }
}

#[test]
fn without_a_look_at_the_table_before_only_what_does_not_fit_is_drift() {
    assert_eq!(found(Side::Source, false, &BEFORE), []);
    let more = [&BEFORE[..], &[("memo", Type::Text, true)]].concat();
    assert_eq!(found(Side::Source, false, &more), []);
    let gone = found(Side::Source, false, &BEFORE[..2]);
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0].2, "column `cents` of table `accounts` is not there");
}

#[test]
fn another_key_is_a_break() {
    let (contract, mapping, values) = (contract(), mapping(), BTreeMap::new());
    let (was, mut now) = (shape(&BEFORE), shape(&BEFORE));
    now.key = vec![1];
    let expected = Expected {
        contract: &contract,
        mapping: &mapping,
        values: &values,
        side: Side::Source,
        before: Some(&was),
        policy: Policy::default(),
    };
    let drifts = compare(expected, &now);
    assert_eq!(worst(&drifts), Kind::Breaking);
    assert!(
        drifts
            .iter()
            .any(|drift| drift.reason.contains("is (title) now, it was (no)"))
    );
}

#[test]
fn the_policy_decides_by_the_gravest() {
    let more = [&BEFORE[..], &[("memo", Type::Text, true)]].concat();
    let added = drifts(Side::Source, true, &more);
    let gone = drifts(Side::Source, true, &BEFORE[..2]);
    let lacks = drifts(Side::Target, true, &BEFORE[..2]);
    let policy = |additive, breaking| Policy { additive, breaking };
    assert_eq!(Policy::default().decide(&added), Decision::GoOn);
    let Decision::Add(columns) = policy(Action::Propagate, Action::Hold).decide(&added) else {
        panic!("an addition is not taken along");
    };
    assert_eq!(columns[0].name, "memo");
    assert!(matches!(
        policy(Action::Hold, Action::Hold).decide(&added),
        Decision::Hold(_)
    ));
    assert!(matches!(Policy::default().decide(&gone), Decision::Hold(_)));
    assert!(matches!(
        policy(Action::Ignore, Action::Fail).decide(&gone),
        Decision::Fail(_)
    ));
    assert_eq!(
        policy(Action::Ignore, Action::Ignore).decide(&gone),
        Decision::GoOn
    );
    // What nobody can add is parked.
    assert!(matches!(
        policy(Action::Propagate, Action::Propagate).decide(&gone),
        Decision::Hold(_)
    ));
    assert!(matches!(
        Policy::default().decide(&lacks),
        Decision::Hold(_)
    ));
    let Decision::Add(columns) = policy(Action::Propagate, Action::Hold).decide(&lacks) else {
        panic!("a target's column is not added");
    };
    assert_eq!(
        (columns[0].name.as_str(), columns[0].kind),
        ("cents", Some(Type::Int))
    );
}

#[test]
fn a_reserved_or_odd_name_is_never_taken_along() {
    let mut contract = contract();
    contract.terms.reserved = vec!["memo".to_owned()];
    let (mapping, values, was) = (mapping(), BTreeMap::new(), shape(&BEFORE));
    let expected = Expected {
        contract: &contract,
        mapping: &mapping,
        values: &values,
        side: Side::Source,
        before: Some(&was),
        policy: Policy::default(),
    };
    let now = shape(
        &[
            &BEFORE[..],
            &[("memo", Type::Text, true), ("two words", Type::Text, true)],
        ]
        .concat(),
    );
    let adds = compare(expected, &now)
        .into_iter()
        .filter_map(|drift| drift.adds);
    assert_eq!(adds.collect::<Vec<_>>(), []);
}

#[test]
fn what_is_taken_along_can_be_pasted_into_the_contract() {
    let kinds = [
        Type::Bool,
        Type::Int,
        Type::DECIMAL,
        Type::Decimal {
            precision: Some(9),
            scale: Some(3),
        },
        Type::Float,
        Type::Text,
        Type::Bytes,
        Type::Date,
        Type::Time,
        Type::Timestamp,
        Type::Uuid,
    ];
    let columns: Vec<Column> = kinds
        .iter()
        .enumerate()
        .map(|(n, kind)| Column::new(format!("c{n}"), *kind, true))
        .collect();
    let base = contract();
    let extended = extended(&base, &columns, next_minor(&base.version));
    assert_eq!(extended.version.to_string(), "1.5.0");
    let mut text = "apiVersion: v3.1.0\nkind: DataContract\nid: account\nname: a\nversion: 1.5.0\nstatus: active\nschema:\n  - name: account\n    logicalType: object\n    customProperties:\n      - property: lockstep.owner\n        value: crm\n    properties:\n      - name: id\n        logicalType: string\n        primaryKey: true\n        required: true\n".to_owned();
    for field in &extended.fields[3..] {
        for line in field_yaml(field).lines() {
            text.push_str(&format!("      {line}\n"));
        }
    }
    let loaded = load("c.yaml", &text, &NoLibrary).unwrap().contract;
    for (pasted, taken) in loaded.fields[1..].iter().zip(&extended.fields[3..]) {
        let of = |field: &Field| {
            (
                field.name.clone(),
                field.required,
                field.nullable,
                field.class,
            )
        };
        assert_eq!(of(pasted), of(taken));
        assert_eq!(pasted.kind, taken.kind);
    }
}

/// What is found where a text column was bounded, and is now; `most` is what the contract allows.
fn bounded(side: Side, most: Option<u64>, was: Option<u32>, now: Option<u32>) -> Vec<Drift> {
    let (mut contract, mapping, values) = (contract(), mapping(), BTreeMap::new());
    contract.fields[1].limits.max_length = most;
    let of = |length| {
        let mut shape = shape(&BEFORE);
        shape.columns[1].length = length;
        shape
    };
    let before = of(was);
    let expected = Expected {
        contract: &contract,
        mapping: &mapping,
        values: &values,
        side,
        before: Some(&before),
        policy: Policy::default(),
    };
    let mut drifts = compare(expected, &of(now));
    drifts.retain(|drift| drift.kind != Kind::Ok);
    drifts
}

#[test]
fn a_text_that_takes_less_than_the_contract_allows_or_gives_more_is_a_break() {
    let (source, target) = (Side::Source, Side::Target);
    for (side, most, was, now, breaks) in [
        (target, Some(64), Some(100), Some(40), true),
        (target, Some(64), None, Some(40), true),
        (target, None, Some(100), Some(40), true),
        (target, Some(40), Some(100), Some(40), false),
        (target, Some(64), Some(40), Some(50), false),
        (target, Some(64), Some(40), Some(40), false),
        (target, Some(64), Some(40), None, false),
        (source, Some(64), Some(40), Some(100), true),
        (source, Some(64), Some(40), None, true),
        (source, Some(64), Some(40), Some(64), false),
        (source, Some(64), Some(100), Some(80), false),
        (source, None, Some(40), Some(100), false),
    ] {
        let found = bounded(side, most, was, now);
        assert_eq!(
            found.iter().any(|drift| drift.kind == Kind::Breaking),
            breaks,
            "{side:?} {most:?} {was:?} {now:?}: {found:?}"
        );
        for drift in found {
            assert_eq!(drift.field, "name");
            assert!(drift.cure.contains("maxLength"), "{drift}");
        }
    }
}

#[test]
fn what_stands_inside_a_mapped_document_is_not_new() {
    let mut mapping = mapping();
    mapping.fields.insert(
        "amount".to_owned(),
        crate::gate::FieldMap::Column("address".to_owned()),
    );
    let contract = Contract::new(
        "account",
        "1.0.0".parse().unwrap(),
        vec![
            Field::new("id", Type::Text),
            Field::new("name", Type::Text),
            Field::new("amount", Type::Json),
        ],
    );
    let was = [
        ("no", Type::Text, false),
        ("title", Type::Text, false),
        ("address", Type::Json, false),
    ];
    let now = [
        was[0],
        was[1],
        was[2],
        ("address.zip", Type::Text, true),
        ("addressee", Type::Text, true),
    ];
    let was = shape(&was);
    let expected = Expected {
        contract: &contract,
        mapping: &mapping,
        values: &BTreeMap::new(),
        side: Side::Source,
        before: Some(&was),
        policy: Policy::default(),
    };
    let drifts = compare(expected, &shape(&now));
    let told = drifts.iter().filter(|drift| drift.kind != Kind::Ok);
    let told: Vec<&str> = told.map(|drift| drift.field.as_str()).collect();
    assert_eq!(told, ["addressee"]);
}

#[test]
fn a_list_is_taken_along_as_a_list_and_what_cannot_be_is_told_on() {
    let mut now = shape(&[
        ("Größe (cm)", Type::Int, true),
        ("no", Type::Text, false),
        ("title", Type::Text, false),
        ("cents", Type::Int, true),
    ]);
    now.key = vec![1];
    let tags = Column::new("tags", Type::Json, true).listing(true);
    now.columns.push(tags.clone());
    let (contract, mapping, values) = (contract(), mapping(), BTreeMap::new());
    let was = shape(&BEFORE);
    let expected = |before| Expected {
        contract: &contract,
        mapping: &mapping,
        values: &values,
        side: Side::Source,
        before: Some(before),
        policy: Policy::default(),
    };
    let policy = Policy {
        additive: Action::Propagate,
        ..Policy::default()
    };
    let decision = policy.decide(&compare(expected(&was), &now));
    assert_eq!(decision, Decision::Add(vec![tags.clone()]));
    let extended = extended(
        &contract,
        std::slice::from_ref(&tags),
        next_minor(&contract.version),
    );
    let at = extended.field("tags").unwrap();
    let yaml = field_yaml(&extended.fields[at]);
    assert!(yaml.contains("logicalType: array"), "{yaml}");
    // The log keeps it as a document, and a restart makes the same of that.
    let text = crate::contract::document::write(&extended).to_string();
    let kept = load("kept", &text, &NoLibrary).unwrap().contract;
    assert_eq!(
        crate::contract::lock::digest(&kept),
        crate::contract::lock::digest(&extended)
    );
    let at = kept.field("tags").unwrap();
    assert!(is_list(&kept.fields[at]), "{text}");
    let taken = as_taken(&was, &now, &[tags]);
    assert_eq!(taken.key, [0]);
    let names: Vec<&str> = taken.names().collect();
    assert_eq!(names, ["no", "title", "cents", "tags"]);
    let told = compare(expected(&taken), &now);
    assert!(told.iter().any(|drift| drift.field == "Größe (cm)"));
}

#[test]
fn what_is_to_be_done_depends_on_the_policy() {
    let (contract, mapping, values, was) = (contract(), mapping(), BTreeMap::new(), shape(&BEFORE));
    let cure = |side, additive, now: &[(&str, Type, bool)]| {
        let policy = Policy {
            additive,
            ..Policy::default()
        };
        let expected = Expected {
            contract: &contract,
            mapping: &mapping,
            values: &values,
            side,
            before: Some(&was),
            policy,
        };
        let mut drifts = compare(expected, &shape(now));
        drifts.retain(|drift| drift.kind != Kind::Ok);
        drifts.remove(0).cure
    };
    let more = [&BEFORE[..], &[("memo", Type::Text, true)]].concat();
    let odd = [&BEFORE[..], &[("two words", Type::Text, true)]].concat();
    let (source, target) = (Side::Source, Side::Target);
    let set = "set `drift.additive = \"";
    for (side, additive, now, says, is_to_set) in [
        (
            target,
            Action::Propagate,
            &BEFORE[..2],
            "allowed to alter",
            false,
        ),
        (target, Action::Hold, &BEFORE[..2], "or set", true),
        (target, Action::Ignore, &BEFORE[..2], "or set", true),
        (
            source,
            Action::Propagate,
            &more,
            "nothing has to be done",
            false,
        ),
        (
            source,
            Action::Propagate,
            &odd,
            "cannot take it along",
            false,
        ),
        (source, Action::Ignore, &more, "or leave it out", false),
        (source, Action::Hold, &more, "to go on without it", true),
        (source, Action::Fail, &more, "then start again", true),
    ] {
        let cure = cure(side, additive, now);
        assert!(cure.contains(says), "{side:?} {additive:?}: {cure}");
        assert_eq!(
            cure.contains(set),
            is_to_set,
            "{side:?} {additive:?}: {cure}"
        );
    }
}
