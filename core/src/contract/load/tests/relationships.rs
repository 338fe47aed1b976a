//! Which relationships are references, and what is said of the others.

use super::*;

/// A contract whose object and whose property `buyer` have these relationships.
fn linked(object: &str, property: &str) -> Result<Loaded, Vec<Diagnostic>> {
    let text = format!(
        "apiVersion: v3.1.0
kind: DataContract
id: o
version: 1.0.0
status: active
schema:
  - name: o
    physicalName: tbl_o
    relationships: {object}
    customProperties: [{{property: lockstep.owner, value: erp}}]
    properties:
      - {{name: id, logicalType: string, primaryKey: true, required: true}}
      - name: buyer
        logicalType: string
        relationships: {property}
"
    );
    load("o.odcs.yaml", &text, &NoLibrary)
}

fn buyer(loaded: &Loaded) -> Option<String> {
    let reference = loaded.contract.fields[1].reference.as_ref();
    reference.map(|to| format!("{}.{}", to.entity, to.field))
}

#[test]
fn a_relationship_of_the_object_is_the_reference_of_its_property() {
    for pair in [
        "from: o.buyer, to: customer.id",
        "from: buyer, to: customer.id",
        "from: tbl_o.buyer, to: customer.id",
        "from: [o.buyer], to: [customer.id]",
    ] {
        let loaded = linked(&format!("[{{type: foreignKey, {pair}}}]"), "[]");
        let loaded = loaded.unwrap_or_else(|found| panic!("{pair}: {found:#?}"));
        assert_eq!(loaded.findings, [], "{pair}");
        assert_eq!(buyer(&loaded).as_deref(), Some("customer.id"), "{pair}");
        let place = loaded.places.at("/fields/buyer/reference").unwrap();
        assert_eq!(place.line, 9, "{pair}");
    }
}

#[test]
fn relationships_that_are_not_used_are_named() {
    let several = "a relationship of several properties is not used";
    let first = "only the first relationship is used";
    let unused = "the relationship is not used";
    let absent = "the relationship is not used: there is no property `buyr`";
    let to = Some("customer.id");
    for (object, property, reference, message) in [
        (
            "[{from: [o.id, o.buyer], to: [c.id, c.no]}]",
            "[]",
            None,
            several,
        ),
        ("[{from: o.buyr, to: customer.id}]", "[]", None, absent),
        ("[{from: other.buyer, to: customer.id}]", "[]", None, unused),
        (
            "[{from: o.buyer, to: schema/c/properties/id}]",
            "[]",
            None,
            unused,
        ),
        (
            "[{from: o.buyer, to: vendor.id}]",
            "[{to: customer.id}]",
            to,
            first,
        ),
        ("[]", "[{to: customer.id}, {to: vendor.id}]", to, first),
        ("[]", "[{to: [customer.id, customer.no]}]", None, unused),
        // The same, said twice.
        (
            "[{from: o.buyer, to: customer.id}]",
            "[{to: customer.id}]",
            to,
            "",
        ),
    ] {
        let loaded = linked(object, property);
        let loaded = loaded.unwrap_or_else(|found| panic!("{object} {property}: {found:#?}"));
        let said: Vec<(&str, &str)> = loaded
            .findings
            .iter()
            .map(|found| (found.code, found.message.as_str()))
            .collect();
        let expected = [("LS-C035", message)];
        let expected = if message.is_empty() {
            &[][..]
        } else {
            &expected
        };
        assert_eq!(said, expected, "{object} {property}");
        assert_eq!(buyer(&loaded).as_deref(), reference, "{object} {property}");
    }
}

/// What is no reference at all is an error at its place, and nothing else is said there.
#[test]
fn what_is_no_reference_is_reported_once() {
    for (object, property) in [
        ("[]", "[{to: id}]"),
        ("[]", "[{to: [id]}]"),
        ("[{from: o.buyer, to: id}]", "[]"),
        ("[{from: 'o buyer', to: customer.id}]", "[]"),
    ] {
        let found = linked(object, property).unwrap_err();
        let codes: Vec<&str> = found.iter().map(|found| found.code).collect();
        assert_eq!(codes, ["LS-C004"], "{object} {property}");
    }
}
