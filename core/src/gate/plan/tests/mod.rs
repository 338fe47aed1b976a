//! What users rely on in the two plans, on one small contract.

mod problems;
mod properties;
mod reading;
mod writing;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::contract::{Allowed, Contract};
use crate::gate::mapping::{ColumnMap, FieldMap, FieldRule};
use crate::gate::{Mapping, Problem, ValueMaps};
use crate::position::Mark;
use crate::shape::{Column, Row, Shape};
use crate::value::{Cell, Type};

use super::*;
use crate::change::Op;

pub(super) const MONEY: Type = Type::Decimal {
    precision: Some(12),
    scale: Some(2),
};

fn field(name: &str, kind: Type, nullable: bool) -> Field {
    Field {
        required: !nullable,
        nullable,
        ..Field::new(name, kind)
    }
}

/// invoice: id K, order_id (lane), amount, country, status, issued_on?, email? (personal), paid.
fn contract() -> Contract {
    let mut email = field("email", Type::Text, true);
    email.class = Class::Personal;
    let mut status = field("status", Type::Text, false);
    status.allowed = Some(Allowed {
        values: ["open", "shut"].map(Value::text).to_vec(),
        open: false,
        fallback: None,
    });
    Contract::new(
        "invoice",
        semver::Version::new(1, 0, 0),
        vec![
            field("id", Type::Text, false),
            field("amount", MONEY, false),
            field("country", Type::Text, false),
            status,
            field("issued_on", Type::Date, true),
            email,
            field("paid", Type::Bool, false),
        ],
    )
}

fn table() -> Arc<Shape> {
    Arc::new(Shape {
        name: "bills".to_owned(),
        columns: vec![
            Column::new("rowno", Type::Int, false),
            Column::new("bill_no", Type::Text, false),
            Column::new("cents", Type::Int, false),
            Column::new("land", Type::Text, false),
            Column::new("state", Type::Int, false),
            Column::new("issued", Type::Text, true),
            Column::new("mail", Type::Text, true),
            Column::new("settled", Type::Int, false),
            Column::new("kind", Type::Text, true),
        ],
        key: vec![1],
    })
}

fn column(name: &str) -> FieldMap {
    FieldMap::Column(name.to_owned())
}

fn rule(change: impl FnOnce(&mut FieldRule)) -> FieldMap {
    let mut rule = FieldRule::default();
    change(&mut rule);
    FieldMap::Rule(rule)
}

fn on(name: &str, change: impl FnOnce(&mut FieldRule)) -> FieldMap {
    rule(|rule| {
        rule.column = Some(name.to_owned());
        change(rule);
    })
}

fn mapping() -> Mapping {
    Mapping {
        table: "bills".to_owned(),
        fields: BTreeMap::from([
            (
                "id".to_owned(),
                on("bill_no", |r| r.prefix = Some("B-".to_owned())),
            ),
            ("amount".to_owned(), on("cents", |r| r.scale = Some(2))),
            (
                "country".to_owned(),
                on("land", |r| r.values = Some("countries".to_owned())),
            ),
            (
                "status".to_owned(),
                on("state", |r| r.values = Some("states".to_owned())),
            ),
            (
                "issued_on".to_owned(),
                on("issued", |r| r.format = Some("%d.%m.%Y".to_owned())),
            ),
            ("email".to_owned(), column("mail")),
            ("paid".to_owned(), column("settled")),
        ]),
        columns: BTreeMap::new(),
        filter: None,
    }
}

fn values() -> ValueMaps {
    let map = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    };
    BTreeMap::from([
        (
            "countries".to_owned(),
            map(&[("United States", "US"), ("Germany", "DE")]),
        ),
        ("states".to_owned(), map(&[("1", "open"), ("2", "shut")])),
    ])
}

fn read(mapping: &Mapping) -> ReadPlan {
    ReadPlan::compile(mapping, &table(), &contract(), &values(), false).unwrap()
}

fn bill(number: &str) -> Row {
    Row::of([
        Value::Int(1),
        Value::text(format!("B-{number}")),
        Value::Int(1250),
        Value::text("Germany"),
        Value::Int(1),
        Value::text("31.12.2024"),
        Value::text("ann@example.com"),
        Value::Int(1),
        Value::text("bill"),
    ])
}

fn record(id: &str) -> Row {
    Row::of([
        Value::text(id),
        Value::Decimal("12.50".parse().unwrap()),
        Value::text("DE"),
        Value::text("open"),
        Value::Date("2024-12-31".parse().unwrap()),
        Value::text("ann@example.com"),
        Value::Bool(true),
    ])
}

fn with(mut row: Row, at: usize, cell: impl Into<Cell>) -> Row {
    row.0[at] = cell.into();
    row
}

fn change(op: Op, row: Row, before: Option<Row>) -> Change {
    Change {
        shape: table(),
        op,
        row,
        before,
        mark: Mark {
            commit: 7,
            ordinal: 1,
        },
        committed_at: "2024-12-31T00:00:00Z".parse().unwrap(),
        origin: None,
    }
}

fn passed(verdict: Verdict) -> Gated {
    match verdict {
        Verdict::Pass(gated) => gated,
        other => panic!("{other:?}"),
    }
}

fn rejected(verdict: Verdict) -> Vec<Violation> {
    match verdict {
        Verdict::Reject(rejection) => rejection.violations,
        other => panic!("{other:?}"),
    }
}

fn key(id: &str) -> Key {
    Key::encode([Some(&Value::text(id))]).unwrap()
}

fn key_only(width: usize, at: usize, value: Value) -> Row {
    with(Row::unchanged(width), at, value)
}

fn codes(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|problem| problem.code).collect()
}

#[test]
fn a_rejected_row_has_a_name_whatever_it_holds() {
    let table = table();
    let name = |row: &Row, place| row_name(&table, row, place);
    assert_eq!(name(&bill("7"), "i/1"), "B-7");
    assert_eq!(name(&with(bill("7"), 1, Value::Float(1.5)), "i/1"), "1.5");
    let null = with(bill("7"), 1, Value::Null);
    assert_eq!(name(&null, "i/1"), name(&null, "i/1"));
    assert_ne!(
        name(&null, "i/1"),
        name(&null, "i/2"),
        "two rows without a key are one"
    );
    assert_ne!(name(&Row::default(), "i/1"), name(&Row::default(), "i/2"));
    let keyless = Shape {
        key: Vec::new(),
        ..(*table).clone()
    };
    assert_ne!(
        row_name(&keyless, &bill("7"), "i/1"),
        row_name(&keyless, &bill("7"), "i/2")
    );
}
