//! What contract owners rely on: good files load, and each fault is named at its place.

mod language;
mod relationships;
mod sharing;

use proptest::prelude::*;

use super::findings::FINDINGS_MAX;
use super::*;
use crate::contract::{Class, Deletes, Handling, Truth};
use crate::diagnostic::Severity;
use crate::value::{Type, Value};

/// A contract that uses every part of the vocabulary; the table below breaks it at one place at a time.
const GOOD: &str = r#"apiVersion: v3.1.0
kind: DataContract
id: sales-line
version: 1.2.0
status: active
customProperties:
  - {property: lockstep.compatibility, value: full}
  - {property: lockstep.consumers, value: [billing]}
  - {property: acme.costCentre, value: {any: [thing]}}
schema:
  - name: line
    description: One line.
    customProperties:
      - {property: lockstep.owner, value: erp}
      - {property: lockstep.truth, value: latest}
      - {property: lockstep.deletes, value: soft-delete}
      - {property: lockstep.lanes, value: 16}
      - {property: lockstep.laneKey, value: [order_id]}
    quality:
      - {name: known_buyer, type: custom, engine: cel, implementation: quantity > 0}
    properties:
      - {name: line_no, logicalType: integer, primaryKey: true, primaryKeyPosition: 2, required: true}
      - {name: order_id, logicalType: string, primaryKey: true, primaryKeyPosition: 1, required: true}
      - name: quantity
        logicalType: integer
        required: true
        logicalTypeOptions: {minimum: 1, exclusiveMaximum: 1000, multipleOf: 1}
      - name: price
        logicalType: number
        physicalType: decimal(12,2)
        logicalTypeOptions: {minimum: 0.10, maximum: 99}
        customProperties:
          - {property: lockstep.default, value: 1.5}
      - name: buyer
        logicalType: string
        classification: personal
        logicalTypeOptions: {minLength: 2, maxLength: 5, pattern: '^[A-Z]+$'}
        customProperties:
          - {property: lockstep.enum, value: [ANN, BOB]}
          - {property: lockstep.enumOpen, value: true}
          - {property: lockstep.nullable, value: false}
          - {property: lockstep.owner, value: crm}
          - {property: lockstep.truth, value: ask}
          - {property: lockstep.privacy, value: {systems: {billing: mask, warehouse: drop}}}
      - {name: day, logicalType: date, logicalTypeOptions: {minimum: '2020-01-01'}}
      - {name: weight, logicalType: number, physicalType: double}
      - {name: ref, logicalType: string, physicalType: uuid}
      - {name: extra, logicalType: object}
"#;

#[test]
fn a_full_contract_means_what_it_says() {
    let Loaded {
        contract,
        findings: warnings,
        ..
    } = load("line.odcs.yaml", GOOD, &NoLibrary).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(contract.urn(), "urn:lockstep:contract:line:1.2.0");
    assert_eq!(contract.description.as_deref(), Some("One line."));
    assert_eq!((contract.key, contract.lane_key), (vec![1, 0], vec![1]));
    assert_eq!((contract.lanes, contract.truth), (16, Truth::Latest));
    assert_eq!(contract.deletes, Deletes::SoftDelete);
    assert_eq!(contract.owner.as_deref(), Some("erp"));
    assert_eq!(contract.rules[0].name, "known_buyer");
    let field = |name: &str| {
        let found = contract.fields.iter().find(|field| field.name == name);
        found.unwrap().clone()
    };
    let quantity = field("quantity");
    assert!(quantity.required && !quantity.nullable && quantity.limits.exclusive_maximum);
    let price = field("price");
    assert_eq!(price.kind.to_string(), "decimal(12,2)");
    assert!(!price.required && price.nullable);
    // A bound keeps its digits and takes the field's scale.
    let text = |value: &Option<Value>| value.as_ref().unwrap().to_string();
    assert_eq!(text(&price.limits.minimum), "0.10");
    assert_eq!(text(&price.default), "1.50");
    let buyer = field("buyer");
    assert!(!buyer.required && !buyer.nullable);
    assert_eq!(
        (buyer.class, buyer.truth),
        (Class::Personal, Some(Truth::Ask))
    );
    assert_eq!(buyer.handling["billing"], Handling::Mask);
    assert!(buyer.allowed.unwrap().open);
    assert_eq!(field("weight").kind, Type::Float);
    assert_eq!(field("ref").kind, Type::Uuid);
    assert_eq!(field("extra").kind, Type::Json);
}

/// What stands in [`GOOD`], what takes its place, and the one finding that follows: line, column, code and the text that is marked.
const FAULTS: &[(&str, &str, &str)] = &[
    (
        "status: active",
        "status: active\nstatus: draft",
        "6:1 LS-C003 status",
    ),
    (
        "lockstep.truth, value: latest",
        "lockstep.owner, value: b",
        "15:20 LS-C003 lockstep.owner",
    ),
    ("version: 1.2.0", "version: 1.0", "4:10 LS-C004 1.0"),
    ("status: active", "status: [a]", "5:9 LS-C004 ["),
    ("value: [billing]", "value: billing", "8:43 LS-C004 billing"),
    (
        "nullable, value: false",
        "nullable, value: no",
        "41:50 LS-C004 no",
    ),
    ("owner, value: erp", "owner, value: 7", "14:43 LS-C004 7"),
    ("status: active", "statsu: active", "5:1 LS-C005 statsu"),
    ("{minimum: 1,", "{minimun: 1,", "27:30 LS-C005 minimun"),
    ("id: sales-line\n", "", "1:1 LS-C006 a"),
    ("v3.1.0", "v2.2.2", "1:13 LS-C007 v2.2.2"),
    ("DataContract", "DataProduct", "2:7 LS-C007 DataProduct"),
    ("version: 1.2.0", "version: v1", "4:10 LS-C008 v1"),
    (
        "    properties:\n",
        "  - name: second\n    properties:\n",
        "21:11 LS-C009 second",
    ),
    ("name: weight", "name: wei-ght", "46:16 LS-C010 wei-ght"),
    ("name: weight", "name: in", "46:16 LS-C010 in"),
    ("name: weight", "name: day", "46:16 LS-C011 day"),
    (
        "lockstep.lanes",
        "lockstep.lane",
        "17:20 LS-C012 lockstep.lane",
    ),
    (
        "lockstep.lanes",
        "Lockstep.lanes",
        "17:20 LS-C012 Lockstep.lanes",
    ),
    (
        "lockstep.enumOpen",
        "lockstep.deletes",
        "40:24 LS-C013 lockstep.deletes",
    ),
    (
        "lockstep.lanes, value: 16",
        "lockstep.consumers, value: [erp]",
        "17:47 LS-C013 [",
    ),
    ("value: latest", "value: last", "15:43 LS-C014 last"),
    ("value: soft-delete", "value: soft", "16:45 LS-C014 soft"),
    ("value: full", "value: FULL", "7:47 LS-C014 FULL"),
    (
        "logicalType: object",
        "logicalType: text",
        "48:36 LS-C016 text",
    ),
    ("extra, logicalType: object", "extra", "48:16 LS-C016 extra"),
    (", physicalType: double", "", "46:37 LS-C017 number"),
    (
        "decimal(12,2)",
        "decimal(2,12)",
        "30:23 LS-C018 decimal(2,12)",
    ),
    ("decimal(12,2)", "uuid", "30:23 LS-C018 uuid"),
    (
        "logicalType: date, logicalTypeOptions: {minimum: '2020-01-01'",
        "logicalType: date, logicalTypeOptions: {multipleOf: 2",
        "45:73 LS-C019 2",
    ),
    ("minimum: '2020-01-01'", "pattern: x", "45:70 LS-C019 x"),
    ("^[A-Z]+$", "^(?!ANN)", "37:67 LS-C020 '^(?!ANN)'"),
    ("minLength: 2", "minLength: 20", "37:41 LS-C021 20"),
    ("minimum: 0.10", "minimum: 100", "31:39 LS-C021 100"),
    (
        "exclusiveMaximum: 1000",
        "exclusiveMaximum: 1",
        "27:39 LS-C021 1",
    ),
    (
        "exclusiveMaximum: 1000",
        "exclusiveMinimum: 1",
        "27:60 LS-C021 1",
    ),
    ("minimum: 0.10", "minimum: 0.105", "31:39 LS-C022 0.105"),
    ("'2020-01-01'", "'2020-1-1'", "45:70 LS-C022 '2020-1-1'"),
    ("[ANN, BOB]", "[ANN, 7]", "39:52 LS-C022 7"),
    ("value: 1.5", "value: cheap", "33:49 LS-C022 cheap"),
    ("[ANN, BOB]", "[ANN, ANN]", "39:52 LS-C023 ANN"),
    ("[ANN, BOB]", "[ANN, Bob]", "39:52 LS-C023 Bob"),
    ("[ANN, BOB]", "[]", "39:46 LS-C023 ["),
    ("value: 1.5", "value: 100", "33:49 LS-C024 100"),
    (
        "lockstep.owner, value: crm",
        "lockstep.default, value: EVE",
        "42:49 LS-C024 EVE",
    ),
    (
        "2, required: true",
        "2, required: false",
        "22:16 LS-C026 line_no",
    ),
    (
        "line_no, logicalType: integer",
        "line_no, logicalType: object",
        "22:16 LS-C027 line_no",
    ),
    (
        "primaryKeyPosition: 2",
        "primaryKeyPosition: 3",
        "22:85 LS-C028 3",
    ),
    ("primaryKeyPosition: 2, ", "", "22:59 LS-C028 true"),
    (
        "logicalType: object",
        "logicalType: object, primaryKeyPosition: 3",
        "48:64 LS-C028 3",
    ),
    (
        "value: [order_id]",
        "value: [quantity]",
        "18:46 LS-C029 quantity",
    ),
    (
        "value: [order_id]",
        "value: order_id",
        "18:45 LS-C029 order_id",
    ),
    (
        "value: [order_id]",
        "value: [order_id, order_id]",
        "18:56 LS-C029 order_id",
    ),
    ("value: 16", "value: 0", "17:43 LS-C030 0"),
    ("value: 16", "value: 257", "17:43 LS-C030 257"),
    (
        "classification: personal",
        "classification: privat",
        "36:25 LS-C031 privat",
    ),
    ("billing: mask", "billing: masked", "44:69 LS-C032 masked"),
    ("{systems:", "{sinks:", "44:50 LS-C032 sinks"),
    ("quantity > 0", "quantiti > 0", "20:72 LS-C033 quantiti"),
    ("name: known_buyer, ", "", "20:9 LS-C034 {"),
    ("value: ask", "value: delta", "43:47 LS-C037 delta"),
];

#[test]
fn each_fault_is_named_once_at_its_place_with_a_remedy() {
    for (from, to, expected) in FAULTS {
        assert_eq!(GOOD.matches(from).count(), 1, "`{from}` must be unique");
        let text = GOOD.replace(from, to);
        let found = load("line.odcs.yaml", &text, &NoLibrary).expect_err(expected);
        let errors: Vec<String> = found
            .iter()
            .filter(|found| found.severity == Severity::Error)
            .map(|found| {
                let place = found.place.as_ref().unwrap();
                let marked = &text[place.offset..place.offset + place.length];
                format!("{}:{} {} {marked}", place.line, place.column, found.code)
            })
            .collect();
        assert_eq!(errors, [*expected], "{from} → {to}: {found:#?}");
        assert!(found.iter().all(|found| found.help.is_some()), "{found:?}");
    }
}

#[test]
fn all_faults_of_a_text_are_found_at_once_in_its_order() {
    let mut text = GOOD.to_owned();
    for (from, to) in [
        ("v3.1.0", "v9"),
        ("value: latest", "value: last"),
        ("minLength: 2", "minLength: 20"),
        ("decimal(12,2)", "decimal"),
    ] {
        text = text.replace(from, to);
    }
    let found = load("line.odcs.yaml", &text, &NoLibrary).unwrap_err();
    let codes: Vec<&str> = found.iter().map(|found| found.code).collect();
    assert_eq!(codes, ["LS-C007", "LS-C014", "LS-C018", "LS-C021"]);
    assert_eq!(
        found[1].to_string(),
        "line.odcs.yaml:15:43: error[LS-C014]: `lockstep.truth` cannot be `last`"
    );
    assert!(found[1].help.as_deref().unwrap().contains("latest"));
}

#[test]
fn a_contract_without_owner_or_with_unchecked_parts_is_only_warned_about() {
    let text = GOOD
        .replace("lockstep.owner, value: erp", "acme.owner, value: erp")
        .replace("value: latest", "value: owner")
        .replace("type: custom, engine: cel", "type: custom, engine: soda");
    let Loaded {
        contract,
        findings: warnings,
        ..
    } = load("line.odcs.yaml", &text, &NoLibrary).unwrap();
    let codes: Vec<&str> = warnings.iter().map(|found| found.code).collect();
    assert_eq!(codes, ["LS-C015", "LS-C035"]);
    assert!(contract.rules.is_empty());
}

#[test]
fn allowed_values_of_odcs_3_2_are_read() {
    let text = GOOD.replace("v3.1.0", "v3.2.0").replace(
        "{name: ref, logicalType: string, physicalType: uuid}",
        "{name: ref, logicalType: string, enum: [{value: a, label: A}, {value: b}]}",
    );
    let contract = load("line.odcs.yaml", &text, &NoLibrary).unwrap().contract;
    let allowed = contract.fields[7].allowed.clone().unwrap();
    assert_eq!(allowed.values, [Value::text("a"), Value::text("b")]);
    assert!(!allowed.open);
}

#[test]
fn integer_formats_are_bounds_that_never_widen() {
    let text = GOOD.replace("multipleOf: 1}", "format: u8}");
    let contract = load("line.odcs.yaml", &text, &NoLibrary).unwrap().contract;
    let limits = &contract.fields[2].limits;
    assert_eq!(limits.minimum, Some(Value::Int(1)));
    assert_eq!(limits.maximum, Some(Value::Int(255)));
    assert!(!limits.exclusive_maximum);
}

/// Texts that must be refused, quickly and without a crash.
#[test]
fn hostile_texts_are_refused() {
    let code = |text: &str| load("x", text, &NoLibrary).unwrap_err()[0].code;
    assert_eq!(code(&"a".repeat(CONTRACT_BYTES_MAX + 1)), "LS-C001");
    assert_eq!(code(&"#".repeat(10 << 20)), "LS-C001");
    assert_eq!(code(&"[".repeat(10_000)), "LS-C002");
    assert_eq!(code(&"- ".repeat(10_000)), "LS-C002");
    assert_eq!(code("a: &a [*a]"), "LS-C002");
    assert_eq!(code("a: *nobody"), "LS-C002");
    assert_eq!(code("a: 1\n---\na: 2"), "LS-C002");
    assert_eq!(code("'"), "LS-C002");
    assert_eq!(code(""), "LS-C004");
    assert_eq!(code("just a text"), "LS-C004");
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let last = format!("*a{}", i - 1);
        let items = vec![last; 10].join(", ");
        bomb.push_str(&format!("a{i}: &a{i} [{items}]\n"));
    }
    assert_eq!(code(&bomb), "LS-C002");
}

#[test]
fn a_deeply_nested_rule_is_refused() {
    for rule in [
        "(".repeat(100_000),
        "!".repeat(100_000) + "true",
        "[".repeat(5_000),
    ] {
        let text = GOOD.replace("quantity > 0", &format!("'{rule}'"));
        let found = load("x", &text, &NoLibrary).unwrap_err();
        assert_eq!(found[0].code, "LS-C033");
    }
}

#[test]
fn a_broken_yaml_is_shown_where_it_breaks() {
    let found = load(
        "x.yaml",
        "kind: DataContract\nid: [a, b\nversion: 1.0.0\n",
        &NoLibrary,
    )
    .unwrap_err();
    assert_eq!(found.len(), 1);
    let text = found[0].to_string();
    assert!(text.starts_with("x.yaml:3:"), "{text}");
    assert!(
        !text.contains(" at line ") && !text.contains('\n'),
        "{text}"
    );
}

#[test]
fn endless_findings_are_cut() {
    let keys: String = (0..5_000).map(|i| format!("unknown_{i}: 1\n")).collect();
    let found = load("x", &keys, &NoLibrary).unwrap_err();
    assert_eq!(found.len(), FINDINGS_MAX + 1);
    assert_eq!(found.last().unwrap().code, "LS-C036");
}

#[test]
fn every_code_that_is_used_is_explained() {
    let used = [
        include_str!("findings.rs"),
        include_str!("field.rs"),
        include_str!("field/kind.rs"),
        include_str!("field/limits.rs"),
        include_str!("grammar.rs"),
        include_str!("grammar/further.rs"),
        include_str!("keys.rs"),
        include_str!("odcs.rs"),
        include_str!("field/inner.rs"),
        include_str!("field/listed.rs"),
        include_str!("../edit.rs"),
        include_str!("../links.rs"),
        include_str!("../lock.rs"),
        include_str!("migrations.rs"),
        include_str!("quality.rs"),
        include_str!("quality/library.rs"),
        include_str!("quality/own.rs"),
        include_str!("terms.rs"),
        include_str!("types.rs"),
        include_str!("words.rs"),
        include_str!("yaml.rs"),
    ]
    .concat();
    for (i, _) in used.match_indices("\"LS-C") {
        let code = &used[i + 1..i + 8];
        assert!(CODES.iter().any(|(known, _)| *known == code), "{code}");
    }
    for (code, _) in CODES {
        assert!(used.contains(code), "{code} is explained and never used");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_texts_never_panic(text in "[ -~\\n]{0,200}|\\PC{0,60}") {
        let _ = load("x", &text, &NoLibrary);
        let _ = lint("x", &text, &NoLibrary);
    }

    #[test]
    fn mutated_contracts_never_panic(
        edits in proptest::collection::vec(
            (0usize..4000, 0usize..30, "[ -~\\n]{0,6}|\\PC{0,3}|[0-9.eE+-]{1,12}|[\\[\\]{}:,&*#|>'\"!-]{1,4}"), 1..5)
    ) {
        let mut text = GOOD.to_owned();
        for (at, length, with) in edits {
            let boundary = |mut i: usize| {
                i = i.min(text.len());
                while !text.is_char_boundary(i) { i -= 1; }
                i
            };
            let (from, to) = (boundary(at), boundary(at + length));
            text.replace_range(from..to, &with);
        }
        if let Err(found) = load("x", &text, &NoLibrary) {
            prop_assert!(found.iter().any(|found| found.severity == Severity::Error));
            prop_assert!(found.iter().all(|found| found.place.is_some()));
        }
    }
}

#[test]
fn a_key_without_a_value_is_refused_as_the_standard_does() {
    let text = "apiVersion: v3.1.0\nkind: DataContract\nid: x\nversion: 1.0.0\nstatus: active\nname:\nschema:\n  - name: x\n    description: ~\n    properties:\n      - name: id\n        logicalType: string\n        primaryKey: true\n        required: true\n        examples: [~]\n        customProperties: [{property: other, value: ~}]\n";
    let found = load("x", text, &NoLibrary).unwrap_err();
    let lines: Vec<(&str, usize)> = found
        .iter()
        .filter(|found| found.severity == Severity::Error)
        .map(|found| {
            (
                found.code,
                found.place.as_ref().map_or(0, |place| place.line),
            )
        })
        .collect();
    assert_eq!(lines, [("LS-C004", 6), ("LS-C004", 9)]);
}
