//! What the gate relies on: the compiled verdict is the writer schema's, and messages keep what they must not show.

use proptest::prelude::*;
use serde_json::{Map, Value as Json};

use super::*;
use crate::contract::wire::to_json;
use crate::contract::{Allowed, Deletes, Field, Limits, Truth, schema};
use crate::value::{Decimal, Type};

fn field(name: &str, kind: Type) -> Field {
    Field {
        name: name.to_owned(),
        kind,
        required: true,
        nullable: false,
        description: None,
        limits: Limits::default(),
        allowed: None,
        default: None,
        class: Class::Internal,
        handling: Default::default(),
        owner: None,
        truth: None,
    }
}

fn contract(fields: Vec<Field>) -> Contract {
    Contract {
        id: "test".to_owned(),
        entity: "thing".to_owned(),
        version: semver::Version::new(1, 0, 0),
        description: None,
        fields,
        key: vec![0],
        lane_key: vec![0],
        lanes: 8,
        owner: None,
        truth: Truth::Owner,
        deletes: Deletes::Propagate,
        rules: Vec::new(),
    }
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
            "type: a text stands where a int belongs",
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
    contract.rules = vec![crate::contract::Rule {
        name: "reserved_in_stock".to_owned(),
        expression: "reserved <= on_hand".to_owned(),
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

/// A field with its limits, and values on both sides of them.
fn fields() -> impl Strategy<Value = (Field, BoxedStrategy<Cell>)> {
    (kinds(), any::<(bool, bool)>()).prop_map(|((mut field, values), (required, nullable))| {
        field.required = required;
        field.nullable = nullable;
        let cell = prop_oneof![
            8 => values.prop_map(Cell::Set),
            1 => Just(Cell::Set(Value::Null)),
            1 => Just(Cell::Unchanged),
            1 => Just(Cell::Set(Value::text("of another type"))),
            1 => Just(Cell::Set(Value::Bool(true))),
        ];
        (field, cell.boxed())
    })
}

fn kinds() -> impl Strategy<Value = (Field, BoxedStrategy<Value>)> {
    prop_oneof![
        texts(),
        lists(),
        integers(),
        decimals(),
        floats(),
        dates(),
        bytes(),
        plain()
    ]
}

fn texts() -> impl Strategy<Value = (Field, BoxedStrategy<Value>)> {
    let patterns = prop_oneof![
        Just(None),
        Just(Some("^[A-Z]{2}$".to_owned())),
        Just(Some(r"^[^@\s]+@[^@\s]+$".to_owned())),
        Just(Some(r"\d".to_owned())),
    ];
    let lengths = (proptest::option::of(0u64..4), proptest::option::of(0u64..6));
    (patterns, lengths).prop_map(|(pattern, (min_length, max_length))| {
        let limits = Limits {
            min_length,
            max_length,
            pattern,
            ..Limits::default()
        };
        let values = prop_oneof!["[A-Z]{2}", "[a-z@ äß१1]{0,6}", ".{0,8}"];
        let field = Field {
            limits,
            ..field("", Type::Text)
        };
        (field, values.prop_map(Value::Text).boxed())
    })
}

fn lists() -> impl Strategy<Value = (Field, BoxedStrategy<Value>)> {
    let list = proptest::collection::hash_set("[a-d]{1,2}", 1..14);
    (list, any::<bool>()).prop_map(|(list, open)| {
        let values = list.into_iter().map(Value::Text).collect();
        let field = Field {
            allowed: Some(Allowed { values, open }),
            ..field("", Type::Text)
        };
        (field, "[a-d]{1,2}".prop_map(Value::Text).boxed())
    })
}

fn integers() -> impl Strategy<Value = (Field, BoxedStrategy<Value>)> {
    let step = prop_oneof![Just(None), (1i64..4).prop_map(Some)];
    (bounds(-5i64..5), step).prop_map(|((low, high, exclusive), step)| {
        let limits = Limits {
            minimum: low.map(Value::Int),
            maximum: high.map(Value::Int),
            exclusive_minimum: exclusive.0,
            exclusive_maximum: exclusive.1,
            multiple_of: step.map(Value::Int),
            ..Limits::default()
        };
        let values = prop_oneof![4 => -8i64..8, 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
        let field = Field {
            limits,
            ..field("", Type::Int)
        };
        (field, values.prop_map(Value::Int).boxed())
    })
}

fn decimals() -> impl Strategy<Value = (Field, BoxedStrategy<Value>)> {
    // Decimals are judged in two ways, by their width.
    let more = prop_oneof![0u32..3, 13u32..22];
    (bounds(-250i64..250), 0u32..4, more).prop_map(|((low, high, exclusive), scale, more)| {
        let at = move |units: i64| Value::Decimal(Decimal::from_units(units, scale));
        let limits = Limits {
            minimum: low.map(at),
            maximum: high.map(at),
            exclusive_minimum: exclusive.0,
            exclusive_maximum: exclusive.1,
            ..Limits::default()
        };
        let kind = Type::Decimal {
            precision: Some((scale + more).max(1)),
            scale: Some(scale),
        };
        let values = (
            prop_oneof![-300i64..300, -20_000i64..20_000, any::<i64>()],
            0u32..5,
        );
        let values = values.prop_map(move |(units, other)| {
            // Now and then a scale that is not the contract's.
            let scale = if other == 4 { scale + 1 } else { scale };
            Value::Decimal(Decimal::from_units(units, scale))
        });
        let field = Field {
            limits,
            ..field("", kind)
        };
        (field, values.boxed())
    })
}

fn floats() -> impl Strategy<Value = (Field, BoxedStrategy<Value>)> {
    bounds(-5i64..5).prop_map(|(low, high, exclusive)| {
        let limits = Limits {
            minimum: low.map(|low| Value::Float(low as f64 / 2.0)),
            maximum: high.map(|high| Value::Float(high as f64 / 2.0)),
            exclusive_minimum: exclusive.0,
            exclusive_maximum: exclusive.1,
            ..Limits::default()
        };
        let values = prop_oneof![
            (-10i64..10).prop_map(|half| half as f64 / 2.0),
            proptest::num::f64::NORMAL
        ];
        let field = Field {
            limits,
            ..field("", Type::Float)
        };
        (field, values.prop_map(Value::Float).boxed())
    })
}

fn dates() -> impl Strategy<Value = (Field, BoxedStrategy<Value>)> {
    let day = |days: i64| {
        let start = jiff::civil::date(2024, 2, 20);
        Value::Date(start.saturating_add(jiff::Span::new().days(days)))
    };
    bounds(-400i64..400).prop_map(move |(low, high, exclusive)| {
        let limits = Limits {
            minimum: low.map(day),
            maximum: high.map(day),
            exclusive_minimum: exclusive.0,
            exclusive_maximum: exclusive.1,
            ..Limits::default()
        };
        let values = prop_oneof![8 => -450i64..450, 1 => Just(-1_000_000), 1 => Just(5_000_000)];
        let field = Field {
            limits,
            ..field("", Type::Date)
        };
        (field, values.prop_map(day).boxed())
    })
}

fn bytes() -> impl Strategy<Value = (Field, BoxedStrategy<Value>)> {
    let lengths = (
        proptest::option::of(0u64..8),
        proptest::option::of(0u64..10),
    );
    lengths.prop_map(|(min_length, max_length)| {
        let limits = Limits {
            min_length,
            max_length,
            ..Limits::default()
        };
        let values = proptest::collection::vec(any::<u8>(), 0..12);
        let field = Field {
            limits,
            ..field("", Type::Bytes)
        };
        (field, values.prop_map(Value::Bytes).boxed())
    })
}

/// The types without limits of their own, each with extreme values.
fn plain() -> impl Strategy<Value = (Field, BoxedStrategy<Value>)> {
    let times = (0i8..24, 0i8..60, 0i8..60, 0i32..1_000_000_000)
        .prop_map(|(h, m, s, n)| Value::Time(jiff::civil::time(h, m, s, n)));
    let instants = prop_oneof![
        Just(jiff::Timestamp::MIN),
        Just(jiff::Timestamp::MAX),
        (-70_000_000_000i64..253_000_000_000, 0i32..1_000_000_000)
            .prop_map(|(s, n)| jiff::Timestamp::new(s, n).unwrap()),
    ]
    .prop_map(Value::Timestamp);
    let documents = prop_oneof![
        Just("null"),
        Just("{\"a\": [1]}"),
        Just(" 1.5"),
        Just("\"x\"")
    ]
    .prop_map(|text| Value::Json(text.into()));
    prop_oneof![
        Just((
            field("", Type::Bool),
            any::<bool>().prop_map(Value::Bool).boxed()
        )),
        Just((field("", Type::Time), times.boxed())),
        Just((field("", Type::Timestamp), instants.boxed())),
        Just((
            field("", Type::Uuid),
            any::<u128>()
                .prop_map(|id| Value::Uuid(uuid::Uuid::from_u128(id)))
                .boxed()
        )),
        Just((field("", Type::Json), documents.boxed())),
    ]
}

fn bounds(
    range: std::ops::Range<i64>,
) -> impl Strategy<Value = (Option<i64>, Option<i64>, (bool, bool))> {
    let bound = proptest::option::of(range);
    (bound.clone(), bound, any::<(bool, bool)>())
}

fn records() -> impl Strategy<Value = (Contract, Row)> {
    proptest::collection::vec(fields(), 1..6).prop_flat_map(|columns| {
        let (mut fields, cells): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        for (i, field) in fields.iter_mut().enumerate() {
            field.name = format!("f{i}");
        }
        // A contract that loads has a key, which is always there.
        fields[0].required = true;
        fields[0].nullable = false;
        (Just(contract(fields)), cells).prop_map(|(contract, cells)| (contract, Row(cells)))
    })
}

/// The record's wire form: what is unchanged is absent.
fn wire(contract: &Contract, row: &Row) -> Json {
    let mut object = Map::new();
    for (field, cell) in contract.fields.iter().zip(&row.0) {
        if let Cell::Set(value) = cell {
            object.insert(field.name.clone(), to_json(value));
        }
    }
    object.into()
}

/// Whether both judge alike; a value of another type may look right as JSON, so those differ in one direction.
fn foreign(contract: &Contract, row: &Row) -> bool {
    contract.fields.iter().zip(&row.0).any(|(field, cell)| {
        let name = cell.value().map(Value::type_name);
        name.is_some_and(|name| name != "null" && name != field.kind.name())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_verdict_is_the_writer_schemas((contract, row) in records(), whole: bool) {
        let schema = if whole { schema::writer(&contract) } else { schema::patch(&contract) };
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        let document = wire(&contract, &row);
        let theirs = validator.is_valid(&document);
        let ours = violations(&contract, &row, whole);
        if foreign(&contract, &row) {
            // A text that looks like a date passes as JSON; as a value it is of another type.
            prop_assert!(!ours.is_empty());
        } else {
            prop_assert_eq!(ours.is_empty(), theirs, "{} under {}: {:?}", document, schema, ours);
        }
        // What may be written is always accepted by readers, and without formats judged alike.
        if theirs && whole {
            let reader = jsonschema::validator_for(&schema::reader(&contract)).unwrap();
            prop_assert!(reader.is_valid(&document));
        }
        let plain = jsonschema::options().should_validate_formats(false).build(&schema).unwrap();
        prop_assert_eq!(plain.is_valid(&document), theirs);
    }
}
