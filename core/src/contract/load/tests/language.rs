//! What stands inside documents, rules on the data, migrations and terms: read as they are meant, and each fault named at its place.

use proptest::prelude::*;

use super::super::*;
use crate::contract::{
    Check, Class, Compatibility, Direction, Extra, Field, Format, Inner, Outcome, Rule, Step,
    Tolerance,
};
use crate::diagnostic::Severity;
use crate::value::{Type, Value};

/// A contract that uses what the older one does not; the table below breaks it at one place at a time.
const FULL: &str = r#"apiVersion: v3.2.0
kind: DataContract
id: sales-order
version: 2.1.0
team:
  name: sales
  members:
    - {username: ann, role: owner}
    - {username: bob, role: owner, dateOut: '2024-01-01'}
    - {username: eve, role: dataProtection}
slaProperties:
  - {property: latency, value: 2, unit: h, element: order.changed_at}
  - {property: retention, value: 7, unit: y}
schema:
  - name: order
    deprecated: true
    customProperties:
      - {property: lockstep.owner, value: erp}
      - {property: lockstep.compatibility, value: backward-transitive}
      - {property: lockstep.consumers, value: [billing, warehouse]}
      - {property: lockstep.reserved, value: [old_name]}
      - {property: lockstep.extra, value: drop}
      - {property: lockstep.match, value: [{on: email, weight: 0.9}]}
      - property: lockstep.migrations
        value:
          - from: 1.4.0
            to: 2.1.0
            up:
              - rename: {from: total_old, to: total}
              - set: {field: state, value: open}
              - map: {field: state, values: {O: open, C: closed}}
          - {from: 1.0.0, to: 1.4.0, up: [{drop: gone}], down: [{compute: {field: gone, expression: '1'}}]}
    quality:
      - {name: paid, type: custom, engine: cel, implementation: total >= 0, severity: warning}
      - {name: one_each, type: custom, engine: lockstep, implementation: {unique: [id, state]}}
      - {metric: rowCount, mustBeGreaterThan: 10}
      - {name: few, type: custom, engine: lockstep, implementation: {field: total, between: [0, 99.5], tolerate: 2%}}
    properties:
      - {name: id, logicalType: string, primaryKey: true, required: true}
      - name: total
        logicalType: number
        physicalType: decimal(10,2)
        required: true
        quality:
          - {metric: nullValues, mustBe: 0}
      - name: state
        logicalType: string
        required: true
        unique: true
        quality:
          - {metric: invalidValues, arguments: {validValues: [open, closed]}, mustBeLessThan: 5, unit: rows}
          - {metric: missingValues, arguments: {missingValues: ['', n/a, null]}, mustBe: 0}
        customProperties:
          - {property: lockstep.enum, value: [open, closed]}
          - {property: lockstep.enumFallback, value: open}
          - {property: lockstep.outcome, value: reject}
          - {property: lockstep.deprecation, value: {since: 2.0.0, sunset: '2027-01-31', replacement: phase}}
      - {name: changed_at, logicalType: timestamp, required: true}
      - name: customer_id
        logicalType: string
        relationships:
          - to: customer.id
            customProperties: [{property: lockstep.outcome, value: warn}]
      - name: email
        logicalType: string
        classification: personal
        logicalTypeOptions: {format: email}
        customProperties:
          - {property: lockstep.privacy, value: {category: contact, subject: customer_id, retention: 7y, systems: {billing: hash}}}
      - name: ship_to
        logicalType: object
        customProperties: [{property: lockstep.extra, value: keep}]
        logicalTypeOptions: {required: [street]}
        properties:
          - {name: street, logicalType: string, logicalTypeOptions: {maxLength: 60}}
          - {name: price-list, logicalType: number, physicalType: 'decimal(6,3)', required: true}
      - name: lines
        logicalType: array
        logicalTypeOptions: {minItems: 1, maxItems: 9, uniqueItems: true}
        items:
          logicalType: object
          required: true
          properties:
            - {name: amount, logicalType: integer, logicalTypeOptions: {minimum: 1}}
      - name: labels
        logicalType: map
        logicalTypeOptions: {maxProperties: 5}
        map: {key: {logicalType: string}, value: {logicalType: string, required: true}}
      - {name: nearness, logicalType: vector, logicalTypeOptions: {dimensions: 3}}
      - {name: anything, logicalType: array}
      - {name: counted, logicalType: object, logicalTypeOptions: {maxProperties: 2}}
"#;

fn full() -> Loaded {
    load("order.odcs.yaml", FULL, &NoLibrary).unwrap_or_else(|found| panic!("{found:#?}"))
}

fn field<'c>(contract: &'c Contract, name: &str) -> &'c Field {
    &contract.fields[contract.field(name).unwrap()]
}

#[test]
fn documents_say_what_stands_inside() {
    let loaded = full();
    assert_eq!(loaded.findings, []);
    let contract = loaded.contract;
    let Some(Inner::Object { fields, extra }) = &field(&contract, "ship_to").inner else {
        panic!()
    };
    assert_eq!(*extra, Extra::Keep);
    assert_eq!((fields[0].required, fields[0].nullable), (true, true));
    assert_eq!(fields[0].limits.max_length, Some(60));
    assert_eq!(fields[1].kind.to_string(), "decimal(6,3)");
    let Some(Inner::List {
        items,
        least,
        most,
        unique,
    }) = &field(&contract, "lines").inner
    else {
        panic!()
    };
    assert_eq!((*least, *most, *unique), (Some(1), Some(9), true));
    assert!(!items.nullable && items.name == "items");
    assert_eq!(
        items.inner.as_ref().unwrap().fields()[0].limits.minimum,
        Some(Value::Int(1))
    );
    let Some(Inner::Map { values, most, .. }) = &field(&contract, "labels").inner else {
        panic!()
    };
    assert_eq!(
        (values.kind, values.nullable, *most),
        (Type::Text, false, Some(5))
    );
    let Some(Inner::List {
        items, least, most, ..
    }) = &field(&contract, "nearness").inner
    else {
        panic!()
    };
    assert_eq!((items.kind, *least, *most), (Type::Float, Some(3), Some(3)));
    assert_eq!(field(&contract, "anything").inner, None);
    let Some(Inner::Map { values, .. }) = &field(&contract, "counted").inner else {
        panic!()
    };
    assert_eq!((values.kind, values.nullable), (Type::Json, true));
}

#[test]
fn fields_say_what_they_promise() {
    let contract = full().contract;
    let state = field(&contract, "state");
    assert!(state.unique && state.outcome == Outcome::Reject);
    assert_eq!(
        state.allowed.as_ref().unwrap().fallback,
        Some(Value::text("open"))
    );
    let deprecation = state.deprecation.as_ref().unwrap();
    assert_eq!(deprecation.sunset.unwrap().to_string(), "2027-01-31");
    assert_eq!(deprecation.replacement.as_deref(), Some("phase"));
    let email = field(&contract, "email");
    assert_eq!(
        (email.limits.format, email.class),
        (Some(Format::Email), Class::Personal)
    );
    let personal = email.personal.as_ref().unwrap();
    assert_eq!(personal.category.as_deref(), Some("contact"));
    assert_eq!(personal.subject.as_deref(), Some("customer_id"));
    assert_eq!(personal.retention_days, Some(2555));
    assert_eq!(
        field(&contract, "customer_id")
            .reference
            .as_ref()
            .unwrap()
            .entity,
        "customer"
    );
}

#[test]
fn rules_are_read_from_every_spelling() {
    let contract = full().contract;
    let said: Vec<String> = contract
        .rules
        .iter()
        .map(|rule| {
            let field = rule.field.as_deref().unwrap_or("-");
            format!(
                "{} {field} {:?} {:?} {:?}",
                rule.name, rule.check, rule.outcome, rule.tolerance
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            "paid - Holds(\"total >= 0\") Warn None",
            "one_each - Unique([\"id\", \"state\"]) Quarantine None",
            "order_volume - Volume { least: Some(11), most: None } Warn None",
            "few total Between(Some(Decimal(Decimal(0.00))), Some(Decimal(Decimal(99.50)))) Quarantine Some(Percent(2.0))",
            "total_not_null total NotNull Quarantine None",
            "state_one_of state OneOf([Text(\"open\"), Text(\"closed\")]) Quarantine Some(Records(4))",
            "state_not_missing state NotMissing([Text(\"\"), Text(\"n/a\"), Null]) Quarantine None",
            "customer_id_exists customer_id Exists { entity: \"customer\", field: \"id\" } Warn None",
            "changed_at_fresh changed_at Fresh { within: 7200 } Warn None",
        ]
    );
}

#[test]
fn the_older_spelling_of_metrics_is_read() {
    for (written, expected) in [
        ("{rule: nullCheck, mustBe: 0}", Some((Check::NotNull, None))),
        (
            "{type: library, rule: nullCheck}",
            Some((Check::NotNull, None)),
        ),
        (
            "{rule: validValues, validValues: [open]}",
            Some((Check::OneOf(vec![Value::text("open")]), None)),
        ),
        (
            "{rule: duplicateCount, mustBeLessOrEqualTo: 1, unit: percent}",
            Some((
                Check::Unique(vec!["state".to_owned()]),
                Some(Tolerance::Percent(1.0)),
            )),
        ),
        (
            "{metric: invalidValues, arguments: {pattern: '^a'}, mustBe: 0}",
            Some((Check::Matches("^a".to_owned()), None)),
        ),
        (
            "{metric: invalidValues, arguments: {minLength: 2}, mustBeBetween: [0, 3]}",
            Some((Check::Length(Some(2), None), Some(Tolerance::Records(3)))),
        ),
        // What asks for failures is documentation.
        ("{metric: nullValues, mustBeGreaterThan: 3}", None),
        ("{rule: somethingElse, mustBe: 0}", None),
    ] {
        let text = FULL.replace(
            "{metric: missingValues, arguments: {missingValues: ['', n/a, null]}, mustBe: 0}",
            written,
        );
        let loaded = load("x", &text, &NoLibrary).unwrap_or_else(|found| panic!("{found:#?}"));
        let rules = &loaded.contract.rules;
        match expected {
            Some((check, tolerance)) => {
                let rule = rules.iter().find(|rule| rule.check == check);
                let rule = rule.unwrap_or_else(|| panic!("{written}: {rules:?}"));
                assert_eq!(rule.tolerance, tolerance, "{written}");
            }
            None => {
                let of_state = |rule: &&Rule| rule.name.starts_with("state_");
                assert_eq!(rules.iter().filter(of_state).count(), 1, "{written}");
                assert_eq!(loaded.findings[0].code, "LS-C035", "{written}");
            }
        }
    }
}

/// A change is written before its version is made, so its migration leads to the version that the next release makes.
#[test]
fn a_migration_may_lead_to_the_next_release() {
    for (to, good) in [
        ("2.0.1", true),
        ("2.1.0", true),
        ("3.0.0", true),
        ("2.0.2", false),
        ("2.2.0", false),
        ("4.0.0", false),
    ] {
        let text = FULL
            .replace("version: 2.1.0", "version: 2.0.0")
            .replace("to: 2.1.0", &format!("to: {to}"));
        match load("x", &text, &NoLibrary) {
            Ok(loaded) => {
                assert!(good, "{to}");
                assert_eq!(loaded.contract.ahead().unwrap().to_string(), to);
                assert!(loaded.places.exactly("/migrations/0/to").is_some());
            }
            Err(found) => {
                assert!(!good, "{to} {found:?}");
                assert!(found[0].message.contains(to), "{found:?}");
                let help = found[0].help.as_deref().unwrap();
                assert!(help.contains("2.0.1, 2.1.0 or 3.0.0"), "{help}");
            }
        }
        // The steps lead to the fields of this text, whatever its version says yet.
        let wrong = text.replace("to: total}", "to: totl}");
        assert!(load("x", &wrong, &NoLibrary).is_err(), "{to}");
    }
}

#[test]
fn migrations_are_turned_round_where_nothing_is_lost() {
    let contract = full().contract;
    let first = &contract.migrations[0];
    assert_eq!(
        (first.from.to_string(), first.to.to_string()),
        ("1.4.0".into(), "2.1.0".into())
    );
    assert_eq!(
        first.down,
        [
            Step::Map {
                field: "state".into(),
                values: vec![
                    (Value::text("open"), Value::text("O")),
                    (Value::text("closed"), Value::text("C"))
                ]
            },
            Step::Drop {
                field: "state".into()
            },
            Step::Rename {
                from: "total".into(),
                to: "total_old".into()
            },
        ]
    );
    assert_eq!(
        contract.migrations[1].up,
        [Step::Drop {
            field: "gone".into()
        }]
    );
}

#[test]
fn terms_are_kept() {
    let terms = full().contract.terms;
    let mode = Compatibility {
        direction: Some(Direction::Backward),
        transitive: true,
    };
    assert_eq!(terms.compatibility, mode);
    assert_eq!(terms.consumers, ["billing", "warehouse"]);
    // Who has left the team approves nothing.
    assert_eq!(terms.approvers["owner"], ["ann"]);
    assert_eq!(terms.approvers["dataProtection"], ["eve"]);
    assert_eq!(terms.reserved, ["old_name"]);
    assert!(terms.deprecation.is_some() && terms.matching.is_some());
    assert_eq!(
        (
            terms.levels[1].property.as_str(),
            terms.levels[1].unit.as_deref()
        ),
        ("retention", Some("y"))
    );
}

#[test]
fn every_part_has_its_place() {
    let places = full().places;
    for (pointer, text) in [
        ("/version", "2.1.0"),
        ("/id", "sales-order"),
        ("/entity", "order"),
        ("/key", "true"),
        ("/owner", "erp"),
        ("/extra", "drop"),
        ("/compatibility", "backward-transitive"),
        ("/approvers/dataProtection", "dataProtection"),
        ("/levels/retention", "7"),
        ("/rules/paid", "paid"),
        ("/fields/total", "total"),
        ("/fields/total/type", "number"),
        ("/fields/total/required", "true"),
        ("/fields/total/nullable", "true"),
        ("/fields/state/outcome", "reject"),
        ("/fields/state/allowed/fallback", "open"),
        ("/fields/email/class", "personal"),
        ("/fields/email/handling/billing", "hash"),
        ("/fields/email/limits/format", "email"),
        ("/fields/ship_to/fields/street", "street"),
        ("/fields/ship_to/fields/street/limits/maxLength", "60"),
        ("/fields/ship_to/fields/price-list/type", "number"),
        ("/fields/lines/limits/minItems", "1"),
        ("/fields/lines/items/fields/amount", "amount"),
        ("/fields/lines/items/fields/amount/limits/minimum", "1"),
        ("/fields/labels/values/type", "string"),
        // What is not written stands where the part that holds it does.
        ("/fields/total/limits/maximum", "total"),
        ("/lanes", "order"),
        ("/nothing/at/all", "order"),
    ] {
        let place = places.at(pointer).unwrap();
        assert_eq!(
            &FULL[place.offset..place.offset + place.length],
            text,
            "{pointer}"
        );
        let line = FULL.lines().nth(place.line - 1).unwrap();
        assert_eq!(&line[place.column - 1..][..text.len()], text, "{pointer}");
    }
    assert_eq!(places.at("/migrations/1").unwrap().line, 32);
    assert_eq!(places.at("/migrations/0/up/2").unwrap().line, 31);
}

/// What stands in [`FULL`], what takes its place, and the code and marked text of the one error that follows.
const FAULTS: &[(&str, &str, &str)] = &[
    ("value: drop}", "value: dorp}", "LS-C014 dorp"),
    ("[old_name]", "[total]", "LS-C046 total"),
    ("[old_name]", "old_name", "LS-C046 old_name"),
    ("from: 1.4.0", "from: 2.4.0", "LS-C044 2.4.0"),
    ("to: 2.1.0", "to: 4.0.0", "LS-C044 4.0.0"),
    ("to: total}", "to: totl}", "LS-C044 r"),
    ("{O: open, C: closed}", "{O: open, C: open}", "LS-C044 f"),
    ("- rename:", "- renam:", "LS-C044 renam"),
    (
        "field: state, value: open",
        "field: total, value: open",
        "LS-C044 open",
    ),
    ("{drop: gone}], down", "{drop: gone}], dwn", "LS-C044 dwn"),
    (
        ", down: [{compute: {field: gone, expression: '1'}}]",
        "",
        "LS-C044 {",
    ),
    ("unique: [id, state]", "unique: [id, stat]", "LS-C041 stat"),
    ("unique: [id, state]", "uniqe: [id, state]", "LS-C041 uniqe"),
    ("between: [0, 99.5]", "between: [100, 99.5]", "LS-C041 ["),
    ("between: [0, 99.5]", "between: [0, much]", "LS-C041 much"),
    (
        "between: [0, 99.5]",
        "between: [0, 9], length: [0, 1]",
        "LS-C041 {",
    ),
    ("field: total, between", "field: id, between", "LS-C041 ["),
    ("tolerate: 2%", "tolerate: two", "LS-C041 two"),
    (
        "engine: lockstep, implementation: {unique: [id, state]}",
        "engine: lockstep",
        "LS-C006 {",
    ),
    (
        "mustBeGreaterThan: 10}",
        "mustBeGreaterThan: 10, customProperties: [{property: lockstep.outcome, value: quarantine}]}",
        "LS-C042 quarantine",
    ),
    (
        "validValues: [open, closed]",
        "validValues: [open, 7]",
        "LS-C041 7",
    ),
    (
        "lockstep.outcome, value: reject",
        "lockstep.outcome, value: warn",
        "LS-C042 warn",
    ),
    (
        "enumFallback, value: open",
        "enumFallback, value: shut",
        "LS-C023 shut",
    ),
    ("since: 2.0.0", "since: two", "LS-C045 two"),
    ("'2027-01-31'", "'31.1.2027'", "LS-C045 '31.1.2027'"),
    ("sunset:", "sunsets:", "LS-C045 sunsets"),
    ("subject: customer_id", "subject: nobody", "LS-C032 nobody"),
    ("retention: 7y", "retention: 7m", "LS-C032 7m"),
    ("to: customer.id", "to: customer", "LS-C004 customer"),
    ("required: [street]", "required: [stret]", "LS-C041 stret"),
    ("name: price-list", "name: street", "LS-C011 street"),
    ("name: price-list", "name: a/b", "LS-C010 a/b"),
    (
        "name: street, logicalType: string",
        "name: street, classification: secret, logicalType: string",
        "LS-C043 ship_to",
    ),
    (
        "name: street, logicalType: string",
        "name: street, logicalType: strng",
        "LS-C016 strng",
    ),
    ("minItems: 1,", "minItems: 10,", "LS-C021 10"),
    ("minItems: 1,", "minItem: 1,", "LS-C005 minItem"),
    ("uniqueItems: true", "minLength: 3", "LS-C019 3"),
    ("{maxProperties: 5}", "{maxItems: 5}", "LS-C019 5"),
    (
        "        map: {key: {logicalType: string}, value: {logicalType: string, required: true}}\n",
        "",
        "LS-C006 n",
    ),
    (
        "key: {logicalType: string}",
        "key: {logicalType: integer}",
        "LS-C018 {",
    ),
    ("{dimensions: 3}", "{dimensions: 0}", "LS-C006 0"),
    (
        "lockstep.extra, value: keep",
        "lockstep.lanes, value: 3",
        "LS-C013 lockstep.lanes",
    ),
    (
        "{name: anything,",
        "{name: anything, customProperties: [{property: lockstep.extra, value: keep}],",
        "LS-C013 keep",
    ),
];

#[test]
fn each_fault_is_named_once_at_its_place_with_a_remedy() {
    let mut wrong = Vec::new();
    for (from, to, expected) in FAULTS {
        assert_eq!(FULL.matches(from).count(), 1, "`{from}` must be unique");
        let text = FULL.replace(from, to);
        let found = load("order.odcs.yaml", &text, &NoLibrary)
            .err()
            .unwrap_or_default();
        let errors: Vec<String> = found
            .iter()
            .filter(|found| found.severity == Severity::Error)
            .map(|found| {
                let place = found.place.as_ref().unwrap();
                format!(
                    "{} {}",
                    found.code,
                    &text[place.offset..place.offset + place.length]
                )
            })
            .collect();
        let shown: Vec<String> = errors
            .iter()
            .map(|error| error.lines().next().unwrap_or_default().to_owned())
            .collect();
        if shown != [*expected] {
            wrong.push(format!("{from} → {to}: {shown:?}, not {expected}"));
        }
        assert!(found.iter().all(|found| found.help.is_some()), "{found:?}");
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn patterns_that_are_costly_together_are_refused() {
    let property = |i: usize| {
        format!(
            "      - {{name: p{i}, logicalType: string, logicalTypeOptions: {{pattern: 'a{{1000}}{{900}}'}}}}\n"
        )
    };
    let many: String = (0..3).map(property).collect();
    let found = load("x", &format!("{FULL}{many}"), &NoLibrary).unwrap_err();
    let messages: Vec<&str> = found.iter().map(|found| found.message.as_str()).collect();
    assert_eq!(found.len(), 3, "{messages:?}");
    assert!(
        messages[0].contains("too large once compiled"),
        "{messages:?}"
    );
    assert!(messages[2].contains("too large together"), "{messages:?}");
}

#[test]
fn values_of_protected_fields_stand_in_no_message() {
    let secret = "Adelheid";
    let personal = |with: &str| {
        FULL.replace(
            "        logicalTypeOptions: {format: email}\n        customProperties:\n",
            &format!("        logicalTypeOptions: {{maxLength: 3}}\n        quality:\n          - {{metric: invalidValues, arguments: {{pattern: '^a'}}, mustBe: 0}}\n        customProperties:\n          - {with}\n"),
        )
    };
    for with in [
        "{property: lockstep.default, value: Adelheid}",
        "{property: lockstep.enum, value: [Adelheid]}",
        "{property: lockstep.enum, value: [[Adelheid]]}",
        "{property: lockstep.enum, value: [ann, Adelheid, Adelheid]}",
    ] {
        let text = personal(with);
        assert!(text.contains(secret));
        let found = load("x", &text, &NoLibrary).expect_err(with);
        for found in found {
            let said = format!("{} {}", found.message, found.help.unwrap_or_default());
            assert!(!said.contains(secret), "{with}: {said}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn mutated_contracts_never_panic(
        edits in proptest::collection::vec(
            (0usize..6000, 0usize..30, "[ -~\\n]{0,6}|\\PC{0,3}|[0-9.eE+-]{1,12}|[\\[\\]{}:,&*#|>'\"!-]{1,4}"), 1..4)
    ) {
        let mut text = FULL.to_owned();
        for (at, length, with) in edits {
            let from = (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap();
            let to = (0..=(from + length).min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap();
            text.replace_range(from..to.max(from), &with);
        }
        let run = load("x", &text, &NoLibrary);
        let linted = lint("x", &text, &NoLibrary);
        for found in run.err().iter().flatten().chain(&linted.findings) {
            prop_assert!(found.place.is_some() && found.help.is_some());
        }
    }
}
