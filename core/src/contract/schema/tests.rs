//! What subscribers and validators in other languages rely on.

use serde_json::json;

use super::*;
use crate::contract::{NoLibrary, load};

fn contract() -> Contract {
    let text = r"
apiVersion: v3.1.0
kind: DataContract
id: t
version: 2.0.1
schema:
  - name: thing
    description: A thing.
    customProperties: [{property: lockstep.owner, value: erp}]
    properties:
      - {name: id, logicalType: string, primaryKey: true, required: true, description: Its id.}
      - name: state
        logicalType: string
        required: true
        customProperties:
          - {property: lockstep.enum, value: [new, old]}
          - {property: lockstep.enumOpen, value: true}
          - {property: lockstep.default, value: new}
      - name: price
        logicalType: number
        physicalType: decimal(4,2)
        logicalTypeOptions: {minimum: 0}
      - {name: at, logicalType: timestamp, logicalTypeOptions: {minimum: '2020-01-01T00:00:00Z'}}
";
    load("thing.yaml", text, &NoLibrary).unwrap().contract
}

#[test]
fn the_writer_schema_is_strict() {
    let schema = writer(&contract());
    assert_eq!(schema["$id"], "urn:lockstep:contract:thing:2.0.1:writer");
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["required"], json!(["id", "state"]));
    assert_eq!(
        schema["properties"]["state"],
        json!({"title": "state", "type": "string", "enum": ["new", "old"], "default": "new"})
    );
    assert_eq!(
        schema["properties"]["price"],
        json!({"title": "price", "type": ["string", "null"], "pattern": r"^(?:[0-9]\.[0-9]{2}|[1-9][0-9]\.[0-9]{2})$"})
    );
    assert_eq!(
        schema["properties"]["at"]["formatMinimum"],
        "2020-01-01T00:00:00Z"
    );
}

#[test]
fn the_reader_schema_accepts_what_is_still_to_come() {
    let contract = contract();
    let reads = jsonschema::validator_for(&reader(&contract)).unwrap();
    let writes = jsonschema::validator_for(&writer(&contract)).unwrap();
    for (document, read, written) in [
        (json!({"id": "1", "state": "new"}), true, true),
        (json!({"id": "1", "state": "newer"}), true, false),
        (json!({"id": "1"}), true, false),
        (json!({"id": "1", "state": "new", "later": 1}), true, false),
        (json!({"state": "new"}), false, false),
        (json!({"id": "1", "price": "1.5"}), false, false),
        (
            json!({"id": "1", "state": "new", "price": "-1.50"}),
            false,
            false,
        ),
        (
            json!({"id": "1", "state": "new", "price": 1.5}),
            false,
            false,
        ),
        (
            json!({"id": "1", "state": "new", "price": null}),
            true,
            true,
        ),
    ] {
        assert_eq!(reads.is_valid(&document), read, "{document}");
        assert_eq!(writes.is_valid(&document), written, "{document}");
    }
}

#[test]
fn a_patch_may_be_anything_less_but_nothing_else() {
    let patch = jsonschema::validator_for(&patch(&contract())).unwrap();
    assert!(patch.is_valid(&json!({})));
    assert!(patch.is_valid(&json!({"price": "1.50"})));
    assert!(!patch.is_valid(&json!({"price": "1.5"})));
    assert!(!patch.is_valid(&json!({"later": 1})));
}

#[test]
fn schemas_are_themselves_valid() {
    for schema in [writer(&contract()), reader(&contract()), patch(&contract())] {
        assert!(jsonschema::meta::is_valid(&schema), "{schema}");
    }
}
