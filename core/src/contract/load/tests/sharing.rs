//! Types that contracts share: found by reference, read in place, never outside, never in circles.

use std::collections::BTreeMap;

use super::super::*;
use crate::contract::{Class, Inner};

/// Types in memory.
struct Shelf(BTreeMap<&'static str, String>);

impl Library for Shelf {
    fn text(&self, reference: &str) -> Result<(String, String), String> {
        let text = self.0.get(reference).ok_or("there is no such file")?;
        Ok((text.clone(), format!("contracts/{reference}.odcs.yaml")))
    }
}

fn shared(properties: &str) -> String {
    format!(
        "apiVersion: v3.1.0\nkind: DataContract\nid: t\nversion: 1.0.0\nstatus: active\nschema:\n  - name: t\n    properties:\n{properties}"
    )
}

fn contract(property: &str) -> String {
    let owner = "    customProperties: [{property: lockstep.owner, value: erp}]\n";
    let key = "      - {name: id, logicalType: string, primaryKey: true, required: true}\n";
    shared(&format!("{key}      - {property}\n"))
        .replace("    properties:\n", &format!("{owner}    properties:\n"))
}

fn of_type(logical: &str, reference: &str) -> String {
    format!(
        "{{name: x, logicalType: {logical}, customProperties: [{{property: lockstep.type, value: {reference}}}]}}"
    )
}

fn shelf() -> Shelf {
    Shelf(BTreeMap::from([
        (
            "types/address",
            shared(
                "      - {name: street, logicalType: string, required: true, logicalTypeOptions: {maxLength: 9}}\n      - {name: land, logicalType: string, customProperties: [{property: lockstep.type, value: types/land}]}\n",
            ),
        ),
        (
            "types/land",
            shared(
                "      - {name: land, logicalType: string, description: A country., customProperties: [{property: lockstep.enum, value: [DE, FR]}]}\n",
            ),
        ),
        (
            "types/money",
            shared(
                "      - {name: money, logicalType: number, physicalType: 'decimal(12,2)', classification: personal, logicalTypeOptions: {minimum: 0}}\n",
            ),
        ),
        ("types/a", shared("      - {name: b, logicalType: object, customProperties: [{property: lockstep.type, value: types/b}]}\n")),
        ("types/b", shared("      - {name: a, logicalType: object, customProperties: [{property: lockstep.type, value: types/a}]}\n")),
        ("types/broken", shared("      - {name: c, logicalType: strng}\n")),
        ("types/wide", shared(&(0..40).map(|i| format!("      - {{name: w{i}, logicalType: object, customProperties: [{{property: lockstep.type, value: types/wide1}}]}}\n")).collect::<String>())),
        ("types/wide1", shared(&(0..40).map(|i| format!("      - {{name: w{i}, logicalType: object, customProperties: [{{property: lockstep.type, value: types/wide2}}]}}\n")).collect::<String>())),
        ("types/wide2", shared(&(0..40).map(|i| format!("      - {{name: w{i}, logicalType: string}}\n")).collect::<String>())),
    ]))
}

#[test]
fn a_shared_document_and_a_shared_value_stand_where_they_are_named() {
    let text = contract(&of_type("object", "types/address"));
    let loaded = load("c.odcs.yaml", &text, &shelf()).unwrap();
    let Some(Inner::Object { fields, .. }) = &loaded.contract.fields[1].inner else {
        panic!()
    };
    assert_eq!(fields[0].limits.max_length, Some(9));
    assert_eq!(fields[1].allowed.as_ref().unwrap().values.len(), 2);
    assert_eq!(fields[1].description.as_deref(), Some("A country."));
    let place = loaded
        .places
        .at("/fields/x/fields/street/limits/maxLength")
        .unwrap();
    assert_eq!(
        (place.file.as_str(), place.line),
        ("contracts/types/address.odcs.yaml", 9)
    );
    assert_eq!(loaded.places.at("/fields/x").unwrap().file, "c.odcs.yaml");

    let text = contract(&of_type("number", "types/money"));
    let money = load("c", &text, &shelf()).unwrap().contract.fields[1].clone();
    assert_eq!(money.kind.to_string(), "decimal(12,2)");
    assert_eq!((money.class, money.name.as_str()), (Class::Personal, "x"));

    let items = "{name: x, logicalType: array, items: {logicalType: object, customProperties: [{property: lockstep.type, value: types/address}]}}";
    let loaded = load("c", &contract(items), &shelf()).unwrap();
    let Some(Inner::List { items, .. }) = &loaded.contract.fields[1].inner else {
        panic!()
    };
    assert_eq!(items.inner.as_ref().unwrap().fields().len(), 2);
}

#[test]
fn what_cannot_be_shared_is_named_at_its_place() {
    for (property, expected) in [
        (
            of_type("object", "types/none"),
            "c: LS-C038 the shared type `types/none` cannot be read: there is no such file",
        ),
        (
            of_type("object", "../secrets"),
            "c: LS-C038 `../secrets` is not the name of a shared type",
        ),
        (
            of_type("object", "types/../x"),
            "c: LS-C038 `types/../x` is not the name of a shared type",
        ),
        (
            of_type("object", "/etc/passwd"),
            "c: LS-C038 `/etc/passwd` is not the name of a shared type",
        ),
        (
            of_type("object", "https://example.com/types"),
            "c: LS-C038 `https://example.com/types` is not the name of a shared type",
        ),
        (
            of_type("object", "types/a"),
            "contracts/types/b.odcs.yaml: LS-C039 the shared types lead back to themselves: types/a → types/b → types/a",
        ),
        (
            of_type("object", "types/broken"),
            "contracts/types/broken.odcs.yaml: LS-C016 no such logical type `strng`",
        ),
        (
            of_type("string", "types/money"),
            "c: LS-C040 the shared type is of the logical type `number`, not `string`",
        ),
        (
            of_type("string", "types/address"),
            "c: LS-C040 the shared type has 2 properties, so it is no `string`",
        ),
        (
            of_type("number, logicalTypeOptions: {minimum: 1}", "types/money"),
            "c: LS-C040 `logicalTypeOptions` stands beside a shared type, which says it already",
        ),
        (
            of_type("object", "types/wide"),
            "contracts/types/wide2.odcs.yaml: LS-C039 the contract has more than 10000 properties, those inside documents and shared types included",
        ),
    ] {
        let started = std::time::Instant::now();
        let found = load("c", &contract(&property), &shelf()).expect_err(expected);
        let said: Vec<String> = found
            .iter()
            .map(|found| {
                format!(
                    "{}: {} {}",
                    found.place.as_ref().unwrap().file,
                    found.code,
                    found.message
                )
            })
            .collect();
        assert!(said.contains(&expected.to_owned()), "{said:#?}");
        assert!(found.iter().all(|found| found.help.is_some()));
        assert!(started.elapsed().as_secs() < 20, "{expected}");
    }
}
