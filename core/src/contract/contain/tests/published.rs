//! Schemas as they are published: with references elsewhere, loose patterns, formats and unions told apart by a member.

use serde_json::json;

use super::{asked, both, valid};
use crate::contract::contain::Verdict;

#[test]
fn what_is_elsewhere_is_the_same_for_both_sides() {
    let elsewhere = "http://example.invalid/remote.json#/definitions/a";
    let with = |name: &str, most: u32| json!({"properties": {name: {"$ref": elsewhere}, "b": {"type": "string", "maxLength": most}}});
    let same = asked(&with("a", 3), &with("a", 4));
    assert_eq!((same.verdict, same.error), (Verdict::Yes, None));
    let apart = asked(&with("a", 4), &with("a", 3));
    assert_eq!(apart.verdict, Verdict::No);
    assert_eq!(apart.witness, Some(json!({"b": "aaaa"})));
    let hanging = asked(&with("a", 3), &with("c", 3));
    assert_eq!(hanging.verdict, Verdict::Unproven);
    assert!(hanging.error.unwrap().contains(elsewhere));
    let any = asked(&json!({"$ref": elsewhere}), &json!(true));
    assert_eq!(any.verdict, Verdict::Yes);
}

#[test]
fn branches_told_apart_by_a_member_may_grow() {
    let branch = |kind: &str, most: u32| json!({"properties": {"kind": {"enum": [kind]}, "a": {"maxLength": most}}});
    let union = |most: u32| json!({"type": "object", "required": ["kind"], "oneOf": [branch("x", most), branch("y", 1)]});
    both("a branch grows", &union(3), &union(4), "=!");
    let loose = |most: u32| json!({"type": "object", "oneOf": [branch("x", 3), branch("y", most)]});
    both("both branches may hold", &loose(1), &loose(4), "!!");
    let twice = json!({"oneOf": [{"type": "null"}, {"type": "null"}, {"type": "string"}]});
    both(
        "a branch that stands twice holds never",
        &json!({"oneOf": [{"type": "null"}, {"type": "string"}]}),
        &twice,
        "!=",
    );
    both(
        "equal numbers are not apart",
        &json!({"type": "object", "required": ["k"], "oneOf": [{"properties": {"k": {"enum": [1]}}}, {"type": "string"}]}),
        &json!({"type": "object", "required": ["k"], "oneOf": [{"properties": {"k": {"enum": [1, 2]}}}, {"properties": {"k": {"enum": [1.0]}}}]}),
        "!!",
    );
}

#[test]
fn made_up_texts_suit_the_format_that_is_named() {
    let old = json!({"type": "object", "required": ["at"], "properties": {"at": {"type": "string", "format": "date-time"}, "b": true}});
    let new = json!({"type": "object", "required": ["b"]});
    let witness = asked(&old, &new).witness.unwrap();
    assert!(valid(&old, &witness) && !valid(&new, &witness), "{witness}");
    assert_eq!(witness["at"], "2024-01-01T00:00:00Z");
    both(
        "formats say nothing",
        &json!({"format": "date"}),
        &json!({"format": "uuid"}),
        "==",
    );
}

#[test]
fn loose_schemas_are_read_as_they_are_meant() {
    both(
        "brackets that stand for themselves",
        &json!({"type": "string", "pattern": "^\\${{a}}$"}),
        &json!({"type": "string", "pattern": "^\\$\\{\\{a\\}\\}$"}),
        "==",
    );
    both(
        "repetitions, empty lists and names of places",
        &json!({"$schema": "http://json-schema.org/draft-04/schema#", "id": "#/", "required": [], "type": ["null", "null"], "deprecated": "yes"}),
        &json!({"type": "null"}),
        "==",
    );
    both(
        "references that are no references",
        &json!({"$ref": "#/definitions/Map<a,b>", "definitions": {"Map<a,b>": {"type": "null"}}}),
        &json!({"type": "null"}),
        "==",
    );
    both(
        "words of an older draft without its name",
        &json!({"items": [{"type": "null"}], "additionalItems": false}),
        &json!({"prefixItems": [{"type": "null"}], "items": false}),
        "==",
    );
    let own = "http://example.invalid/own-draft#";
    let most = |most: u32| json!({"$schema": own, "type": "string", "maxLength": most});
    assert_eq!(asked(&most(3), &most(4)).verdict, Verdict::Yes);
    assert_eq!(asked(&most(4), &most(3)).verdict, Verdict::No);
    let hangs = asked(
        &json!({"$schema": own, "const": 1}),
        &json!({"type": "integer"}),
    );
    assert_eq!(hangs.verdict, Verdict::Unproven);
}

#[test]
fn the_schema_of_a_draft_that_is_brought_along_and_changed_shows_no_break() {
    let draft = "http://json-schema.org/draft-07/schema";
    let definitions = |kind: &str| {
        let mut all: serde_json::Map<String, serde_json::Value> = (0..2_000)
            .map(|at| (format!("d{at}"), json!({"type": "string", "maxLength": at})))
            .collect();
        all.insert("draft".to_owned(), json!({"$id": draft, "type": kind}));
        json!({"$schema": format!("{draft}#"), "type": "object", "properties": {"a": {"$ref": draft}}, "definitions": all})
    };
    let decision = asked(&definitions("object"), &definitions("boolean"));
    assert_ne!(decision.verdict, Verdict::Yes);
    if let Some(witness) = decision.witness {
        let parts =
            valid(&definitions("object"), &witness) && !valid(&definitions("boolean"), &witness);
        assert!(parts, "{witness}");
    }
}
