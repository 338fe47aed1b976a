//! What the gate relies on: the compiled verdict is the writer schema's, and messages keep what they must not show.

mod generate;
mod properties;

use super::*;
use crate::contract::{Allowed, Check, Extra, Field, Inner, Limits, Outcome, Rule, schema};
use crate::value::Type;
use lines::LineChecker;
use tally::Tally;

fn field(name: &str, kind: Type) -> Field {
    Field::new(name, kind)
}

fn contract(fields: Vec<Field>) -> Contract {
    Contract::new("thing", semver::Version::new(1, 0, 0), fields)
}

fn violations(contract: &Contract, row: &Row, whole: bool) -> Vec<Violation> {
    let mut found = Vec::new();
    Checker::compile(contract)
        .unwrap()
        .check(row, whole, &mut found);
    found
}

fn one(field: Field, value: Value) -> Option<Violation> {
    violations(&contract(vec![field]), &Row::of([value]), true).pop()
}

#[test]
fn a_violation_names_field_rule_and_value() {
    let mut country = field("country", Type::Text);
    country.allowed = Some(Allowed {
        values: vec![Value::text("US"), Value::text("DE")],
        open: false,
        fallback: None,
    });
    let found = one(country, Value::text("Frence")).unwrap();
    assert_eq!(found.field.as_deref(), Some("country"));
    assert_eq!(found.rule, "allowed");
    assert_eq!(found.message, "`Frence` is not one of US, DE");
}

#[test]
fn each_limit_has_its_rule_and_message() {
    let limited = |kind, limits: Limits| Field {
        limits,
        ..field("x", kind)
    };
    let decimal = |text: &str| Value::Decimal(text.parse().unwrap());
    let exact = Type::Decimal {
        precision: Some(4),
        scale: Some(2),
    };
    let positive = Limits {
        minimum: Some(decimal("0.00")),
        exclusive_minimum: true,
        maximum: Some(decimal("20.00")),
        ..Limits::default()
    };
    let sized = Limits {
        min_length: Some(2),
        max_length: Some(3),
        ..Limits::default()
    };
    let matched = Limits {
        pattern: Some("^a".to_owned()),
        ..Limits::default()
    };
    let even = Limits {
        multiple_of: Some(Value::Int(2)),
        ..Limits::default()
    };
    let far = Value::Date(jiff::civil::date(-1, 1, 1));
    for (kind, limits, value, expected) in [
        (
            Type::Int,
            Limits::default(),
            Value::text("7"),
            "type: a text stands where an int belongs",
        ),
        (
            Type::Int,
            Limits::default(),
            Value::Null,
            "nullable: the field may not be null",
        ),
        (
            Type::Int,
            even,
            Value::Int(3),
            "multiple_of: `3` is not a multiple of 2",
        ),
        (
            exact,
            Limits::default(),
            decimal("1.5"),
            "scale: `1.5` has not the digits after the point of decimal(4,2)",
        ),
        (
            exact,
            Limits::default(),
            decimal("100.00"),
            "precision: `100.00` has too many digits for decimal(4,2)",
        ),
        (
            exact,
            positive.clone(),
            decimal("0.00"),
            "minimum: `0.00` is not above 0.00",
        ),
        (
            exact,
            positive,
            decimal("20.01"),
            "maximum: `20.01` is above 20.00",
        ),
        (
            Type::Text,
            sized.clone(),
            Value::text("ä"),
            "min_length: the value has 1 characters; at least 2 are needed",
        ),
        (
            Type::Text,
            sized.clone(),
            Value::text("äöüß"),
            "max_length: the value has 4 characters; at most 3 are allowed",
        ),
        (
            Type::Bytes,
            sized,
            Value::Bytes(vec![0]),
            "min_length: the value has 1 bytes; at least 2 are needed",
        ),
        (
            Type::Text,
            matched,
            Value::text("b"),
            "pattern: `b` does not match `^a`",
        ),
        (
            Type::Float,
            Limits::default(),
            Value::Float(f64::NAN),
            "type: `NaN` is not a finite number",
        ),
        (
            Type::Date,
            Limits::default(),
            far,
            "year: `-000001-01-01` is not in the years 0000 to 9999",
        ),
        (
            Type::Json,
            Limits::default(),
            Value::Json(" null".into()),
            "nullable: the field may not be null",
        ),
    ] {
        let found = one(limited(kind, limits), value).expect(expected);
        assert_eq!(format!("{}: {}", found.rule, found.message), expected);
    }
}

#[test]
fn values_of_persons_and_secrets_are_never_shown() {
    for class in [Class::Personal, Class::Secret] {
        let secret = "ann@example.org";
        let limits = Limits {
            max_length: Some(3),
            pattern: Some("^x".to_owned()),
            ..Limits::default()
        };
        let protected = |limits| Field {
            class,
            limits,
            ..field("email", Type::Text)
        };
        let allowed = Field {
            allowed: Some(Allowed {
                values: vec![Value::text("other")],
                open: false,
                fallback: None,
            }),
            ..protected(Limits::default())
        };
        let short = Limits {
            max_length: None,
            ..limits.clone()
        };
        for field in [protected(limits), protected(short), allowed] {
            let found = one(field, Value::text(secret)).unwrap();
            assert!(!found.message.contains("ann"), "{}", found.message);
        }
    }
}

#[test]
fn a_whole_record_must_be_whole_and_a_patch_need_not() {
    let contract = contract(vec![field("id", Type::Text), field("name", Type::Text)]);
    let row = Row(vec![Cell::Set(Value::text("1")), Cell::Unchanged]);
    assert_eq!(violations(&contract, &row, false), []);
    let found = violations(&contract, &row, true);
    assert_eq!((found.len(), found[0].rule.as_str()), (1, "required"));
    // A row that ends early says nothing about the rest either.
    let short = Row::of([Value::text("1")]);
    assert_eq!(violations(&contract, &short, true), found);
    let long = Row::of([Value::text("1"), Value::text("2"), Value::text("3")]);
    assert_eq!(violations(&contract, &long, true)[0].rule, "shape");
}

fn stock() -> (Contract, impl Fn(Cell, Cell) -> Row) {
    let mut contract = contract(vec![
        field("id", Type::Text),
        field("on_hand", Type::Int),
        field("reserved", Type::Int),
    ]);
    contract.fields[2].nullable = true;
    contract.rules = vec![Rule {
        name: "reserved_in_stock".to_owned(),
        field: None,
        check: Check::Holds("reserved <= on_hand".to_owned()),
        outcome: Outcome::Quarantine,
        tolerance: None,
    }];
    let row = |on_hand, reserved| Row(vec![Cell::Set(Value::text("1")), on_hand, reserved]);
    (contract, row)
}

#[test]
fn a_rule_is_broken_by_anything_but_true() {
    let (contract, row) = stock();
    let int = |number| Cell::Set(Value::Int(number));
    let rules = |row: &Row| -> Vec<String> {
        let found = violations(&contract, row, false);
        found.into_iter().map(|found| found.rule).collect()
    };
    assert!(rules(&row(int(2), int(2))).is_empty());
    assert_eq!(rules(&row(int(2), int(3))), ["reserved_in_stock"]);
    assert_eq!(
        rules(&row(int(2), Cell::Set(Value::Null))),
        ["reserved_in_stock"]
    );
    // What the source did not send cannot break a rule.
    assert!(rules(&row(int(2), Cell::Unchanged)).is_empty());
    // A field at fault is named itself, and the rule over it says nothing more.
    assert_eq!(rules(&row(Cell::Set(Value::text("x")), int(3))), ["type"]);
}

/// An address with its parts, tags and prices by country.
fn customer() -> Contract {
    let nested = |name: &str, inner| Field {
        inner: Some(inner),
        ..field(name, Type::Json)
    };
    let mut zip = field("zip", Type::Text);
    zip.limits.pattern = Some("^[0-9]{5}$".to_owned());
    zip.outcome = Outcome::Reject;
    let address = Inner::Object {
        fields: vec![field("street", Type::Text), zip],
        extra: Extra::Reject,
    };
    let tags = Inner::List {
        items: Box::new(field("items", Type::Text)),
        least: Some(1),
        most: Some(3),
        unique: true,
    };
    let price = field(
        "values",
        Type::Decimal {
            precision: Some(5),
            scale: Some(2),
        },
    );
    let prices = Inner::Map {
        values: Box::new(price),
        least: None,
        most: Some(2),
    };
    contract(vec![
        field("id", Type::Text),
        nested("address", address),
        nested("tags", tags),
        nested("prices", prices),
    ])
}

fn documents(address: &str, tags: &str, prices: &str) -> Row {
    let json = |text: &str| Value::Json(text.into());
    Row::of([Value::text("1"), json(address), json(tags), json(prices)])
}

#[test]
fn what_is_wrong_inside_a_document_is_named_by_the_way_to_it() {
    let contract = customer();
    let good = documents(
        r#"{"zip": "12345", "street": "Main"}"#,
        r#"["a", "b"]"#,
        r#"{"US": "1.50"}"#,
    );
    assert_eq!(violations(&contract, &good, true), []);
    let bad = documents(
        r#"{"zip": "1234", "zip": "12345", "stret": "x"}"#,
        r#"["a", 2, "a", "b"]"#,
        r#"{"US": 1.50, "DE": "1.5", "FR": null}"#,
    );
    let found: Vec<String> = violations(&contract, &bad, true)
        .iter()
        .map(|v| {
            let field = v.field.as_deref().unwrap_or_default();
            format!("{field} {}: {}", v.rule, v.message)
        })
        .collect();
    assert_eq!(
        found,
        [
            "address.zip pattern: `1234` does not match `^[0-9]{5}$`",
            "address.zip duplicate: the field stands there twice",
            "address.stret unknown: the contract has no such field",
            "address.street required: the field is required and absent",
            "tags[1] type: a number stands where a text belongs",
            "tags unique_items: item 2 equals an earlier one",
            "tags max_items: the value has 4 items; at most 3 are allowed",
            "prices.US type: a number stands where a decimal(5,2) belongs",
            "prices.DE scale: `1.5` has not the digits after the point of decimal(5,2)",
            "prices.FR nullable: the field may not be null",
            "prices max_entries: the value has 3 entries; at most 2 are allowed",
        ]
    );
}

#[test]
fn neither_values_nor_names_inside_a_protected_document_are_shown() {
    let mut contract = customer();
    for field in &mut contract.fields {
        field.class = Class::Personal;
    }
    let bad = documents(
        r#"{"zip": "secret", "street": 1, "secret": 1}"#,
        r#"["secret", "secret"]"#,
        r#"{"secret": "1.5", "secret": "2.5"}"#,
    );
    let found = violations(&contract, &bad, true);
    assert!(found.len() >= 5, "{found:?}");
    for violation in found {
        assert!(
            !format!("{violation:?}").contains("secret"),
            "{violation:?}"
        );
    }
}

#[test]
fn a_hostile_document_is_refused_in_bounded_space() {
    let contract = customer();
    let many = format!("[{}1]", "1,".repeat(10_000));
    let found = violations(&contract, &documents("{}", &many, "{}"), true);
    assert_eq!(found.len(), VIOLATIONS_MAX);
    let deep = format!(r#"{{"zip": {}"#, "[".repeat(100_000));
    for text in [&deep, "{", "{\"a\"", "", "nul", "[1,]", "{} {}"] {
        let found = violations(&contract, &documents(text, "[\"a\"]", "{}"), true);
        assert!(found.iter().any(|v| v.rule == "json"), "{found:?}");
    }
}

#[test]
fn what_is_to_be_dropped_does_not_travel() {
    let mut contract = customer();
    let Some(Inner::Object { extra, .. }) = &mut contract.fields[1].inner else {
        panic!("an object");
    };
    *extra = Extra::Drop;
    let checker = Checker::compile(&contract).unwrap();
    let mut row = documents(
        r#"{"more": {"a": [1]}, "zip": "12345",  "b": 1, "street": "Main"}"#,
        r#"[ "a" ]"#,
        "{}",
    );
    checker.trim(&mut row);
    assert_eq!(
        row,
        documents(r#"{"zip":"12345","street":"Main"}"#, r#"[ "a" ]"#, "{}")
    );
    assert_eq!(violations(&contract, &row, true), []);
}

#[test]
fn each_rule_says_what_becomes_of_a_record() {
    let mut contract = contract(vec![
        field("id", Type::Text),
        field("name", Type::Text),
        field("count", Type::Int),
    ]);
    for field in &mut contract.fields {
        field.required = false;
        field.nullable = true;
    }
    contract.fields[0].outcome = Outcome::Halt;
    let rule = |name: &str, field: &str, check, outcome| Rule {
        name: name.to_owned(),
        field: Some(field.to_owned()),
        check,
        outcome,
        tolerance: None,
    };
    let int = |number| Some(Value::Int(number));
    contract.rules = vec![
        rule("there", "name", Check::NotNull, Outcome::Warn),
        rule(
            "meant",
            "name",
            Check::NotMissing(vec![Value::text("n/a")]),
            Outcome::Pass,
        ),
        rule(
            "known",
            "name",
            Check::OneOf(vec![Value::text("a"), Value::text("bb")]),
            Outcome::Reject,
        ),
        rule(
            "lower",
            "name",
            Check::Matches("^[a-z/]*$".to_owned()),
            Outcome::Quarantine,
        ),
        rule(
            "short",
            "name",
            Check::Length(None, Some(3)),
            Outcome::Quarantine,
        ),
        rule(
            "some",
            "count",
            Check::Between(int(1), int(9)),
            Outcome::Halt,
        ),
        rule(
            "once",
            "count",
            Check::Unique(vec!["count".to_owned()]),
            Outcome::Halt,
        ),
    ];
    let judged = |name: Cell, count: Cell| -> Vec<(String, String, Outcome)> {
        let row = Row(vec![Cell::Set(Value::text("1")), name, count]);
        let found = violations(&contract, &row, true);
        let told = |v: Violation| (v.rule, v.message, v.outcome);
        found.into_iter().map(told).collect()
    };
    let said = |rule: &str, message: &str, outcome| (rule.to_owned(), message.to_owned(), outcome);
    let text = |text: &str| Cell::Set(Value::text(text));
    let number = |number| Cell::Set(Value::Int(number));
    assert_eq!(judged(text("a"), number(1)), []);
    let null = said("there", "the value is null", Outcome::Warn);
    assert_eq!(
        judged(Cell::Set(Value::Null), Cell::Unchanged),
        std::slice::from_ref(&null)
    );
    assert_eq!(judged(Cell::Unchanged, Cell::Set(Value::Null)), [null]);
    assert_eq!(
        judged(text("n/a"), number(10)),
        [
            said("meant", "`n/a` stands for a missing value", Outcome::Pass),
            said("known", "`n/a` is not one of a, bb", Outcome::Reject),
            said("some", "`10` is above 9", Outcome::Halt),
        ]
    );
    assert_eq!(
        judged(text("ABCD"), number(0))[1..],
        [
            said(
                "lower",
                "`ABCD` does not match `^[a-z/]*$`",
                Outcome::Quarantine
            ),
            said(
                "short",
                "the value has the length 4; at most 3 is allowed",
                Outcome::Quarantine
            ),
            said("some", "`0` is below 1", Outcome::Halt),
        ]
    );
    let row = Row(vec![Cell::Set(Value::Int(1)), text("x"), number(5)]);
    let found = violations(&contract, &row, true);
    assert_eq!(worst(&found), Some(Outcome::Halt));
    assert_eq!(worst(&found[1..]), Some(Outcome::Reject));
    assert_eq!(worst(&[]), None);
}

#[test]
fn faults_are_counted_by_field_and_rule_with_the_first_examples() {
    let mut contract = customer();
    contract.fields[1].class = Class::Personal;
    let mut lines = LineChecker::compile(&contract, &[0]).unwrap();
    let mut tally = Tally::new(2);
    let good = r#"{"id":"1","address":{"street":"a","zip":"12345"},"tags":["a"],"prices":{}}"#;
    let bad =
        r#"{"id":"2","address":{"street":"a","zip":"x"},"tags":["a",1,2],"prices":{},"more":1}"#;
    for (line, text) in [good, bad, bad, bad, "{"].into_iter().enumerate() {
        lines.check(
            text.as_bytes(),
            true,
            &format_args!("f:{}", line + 1),
            &mut tally,
        );
    }
    assert_eq!((tally.records(), tally.sound()), (5, 1));
    assert_eq!(tally.records_of(Outcome::Reject), 3);
    let told: Vec<_> = tally
        .faults()
        .into_iter()
        .map(|c| {
            (
                c.field.as_deref().unwrap_or(""),
                c.rule.as_str(),
                c.count,
                c.examples[0].at.as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("tags[]", "type", 6, "f:2"),
            ("address.zip", "pattern", 3, "f:2"),
            ("more", "unknown", 3, "f:2"),
            ("", "json", 1, "f:5"),
        ]
    );
    let example = &tally.faults()[0].examples;
    assert_eq!(example.len(), 2);
    assert_eq!(
        example[1].message,
        "tags[2]: a number stands where a text belongs"
    );
}

#[test]
fn unknown_fields_are_refused_kept_or_dropped_as_the_contract_says() {
    let mut contract = contract(vec![field("id", Type::Text)]);
    for (extra, rules) in [
        (Extra::Reject, &["unknown"][..]),
        (Extra::Keep, &[]),
        (Extra::Drop, &[]),
    ] {
        contract.extra = extra;
        let mut lines = LineChecker::compile(&contract, &[]).unwrap();
        let found = lines.violations(br#"{"id":"1","more":{"a":1}}"#, true);
        let found: Vec<&str> = found.iter().map(|v| v.rule.as_str()).collect();
        assert_eq!(found, rules);
        let open = schema::writer(&contract)
            .get("additionalProperties")
            .is_none();
        assert_eq!(open, rules.is_empty());
    }
}

#[test]
fn a_timestamp_that_is_not_in_utc_is_told_so() {
    use crate::contract::check::fault::Broken;

    let check = FieldCheck::compile(&field("at", Type::Timestamp)).unwrap();
    for (text, expected) in [
        ("2026-01-02T03:04:05+01:00", Some(Broken::Offset)),
        ("2026-01-02T03:04:05", Some(Broken::Offset)),
        ("2026-01-02", Some(Broken::Type("text"))),
        ("yesterday", Some(Broken::Type("text"))),
        ("2026-01-02T03:04:05Z", None),
    ] {
        let found = check.written(text);
        assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{text}");
    }
}
