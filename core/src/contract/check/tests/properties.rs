//! The compiled check, the check of text and the writer schema agree on every record, as other validators confirm.

use proptest::prelude::*;
use serde_json::{Map, Value as Json};

use super::generate::fields;
use super::*;
use crate::contract::wire::to_json;

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

/// A second opinion.
fn boon_accepts(schema: &Json, document: &Json) -> bool {
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler
        .add_resource("memory:schema", schema.clone())
        .unwrap();
    let compiled = compiler.compile("memory:schema", &mut schemas).unwrap();
    schemas.validate(document, compiled).is_ok()
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
        // The second judge takes numbers for doubles, which the largest integers are not.
        if !document.to_string().contains("922337203685477580") {
            prop_assert_eq!(boon_accepts(&schema, &document), theirs, "{} under {}", document, schema);
        }
    }
}

/// Values that look like something and are not quite, or are after all.
const TEXTS: &[&str] = &[
    "2024-02-30",
    "2024-02-29",
    "2024-2-3",
    "24:00:00",
    "12:00:60",
    "12:00:00.1234567891",
    "12:00",
    "2024-01-01T00:00:00+00:00",
    "2024-01-01t00:00:00Z",
    "2024-01-01T00:00:00Z",
    "-0.00",
    "-0",
    "01.5",
    "+1.5",
    "1.",
    "1e2",
    "QQ==",
    "QR==",
    "QQ",
    "QQ=",
    "00000000-0000-0000-0000-00000000000A",
    "00000000-0000-0000-0000-00000000000a",
    "00000000000000000000000000000000",
    "NaN",
    "",
];
const OTHERS: &[&str] = &[
    "1.0",
    "1e2",
    "-0.0",
    "1.5",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "1e300",
    "true",
    "[]",
    "{}",
];

fn oddities() -> impl Strategy<Value = Json> {
    prop_oneof![
        proptest::sample::select(TEXTS).prop_map(Json::from),
        proptest::sample::select(OTHERS).prop_map(|text| serde_json::from_str(text).unwrap()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_record_is_judged_alike_as_text_and_in_typed_form((mut contract, row) in records(), whole: bool) {
        contract.rules = vec![Rule {
            name: "there".to_owned(),
            field: Some(contract.fields[0].name.clone()),
            check: Check::NotNull,
            outcome: Outcome::Halt,
            tolerance: None,
        }];
        prop_assume!(!foreign(&contract, &row));
        let text = wire(&contract, &row).to_string();
        let mut lines = LineChecker::compile(&contract, &[]).unwrap();
        let (mut of_text, mut of_row) = (Tally::new(1), Tally::new(1));
        let ours = lines.check(text.as_bytes(), whole, &"here", &mut of_text);
        let theirs = lines.checker().count(&row, whole, &[], &"here", &mut of_row);
        let typed = violations(&contract, &row, whole);
        prop_assert_eq!(ours.is_some(), theirs.is_some(), "{} {:?}", text, typed);
        prop_assert_eq!(theirs, worst(&typed));
        prop_assert_eq!(lines.violations(text.as_bytes(), whole).is_empty(), typed.is_empty());
    }

    #[test]
    fn any_json_is_judged_as_the_writer_schema_judges_it(
        (contract, row) in records(), odd in oddities(), at in 0usize..6, whole: bool,
    ) {
        let schema = if whole { schema::writer(&contract) } else { schema::patch(&contract) };
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        let mut document = wire(&contract, &row);
        document[format!("f{at}")] = odd;
        let mut lines = LineChecker::compile(&contract, &[]).unwrap();
        let found = lines.violations(document.to_string().as_bytes(), whole);
        prop_assert_eq!(found.is_empty(), validator.is_valid(&document), "{} under {}: {:?}", document, schema, found);
    }

    #[test]
    fn no_bytes_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..40),
        text in "\\{\"(id|tags|address|prices)\":[\\[\\]{}\":,a-c0-9.]{0,20}\\}?",
    ) {
        let mut lines = LineChecker::compile(&customer(), &[1, 2]).unwrap();
        prop_assert!(!lines.violations(&bytes, true).is_empty());
        let _ = lines.violations(text.as_bytes(), false);
    }
}

/// As canonical decimals have it: systems' values lose the sign on their way in, and events never carry it.
#[test]
fn a_negative_zero_is_refused_by_check_and_schema_alike() {
    use crate::contract::Field;
    let exact = Type::Decimal {
        precision: Some(4),
        scale: Some(2),
    };
    let contract = contract(vec![Field::new("d", exact)]);
    let mut lines = LineChecker::compile(&contract, &[]).unwrap();
    let writer = jsonschema::validator_for(&schema::writer(&contract)).unwrap();
    for (text, sound) in [("0.00", true), ("-0.00", false), ("-0.01", true)] {
        let document = serde_json::json!({ "d": text });
        let found = lines.violations(document.to_string().as_bytes(), true);
        assert_eq!(
            (found.is_empty(), writer.is_valid(&document)),
            (sound, sound),
            "{text}"
        );
    }
    let cast = crate::gate::cast::cast(Value::text("-0.00"), exact).unwrap();
    assert_eq!(to_json(&cast), serde_json::json!("0.00"));
}
