//! Tests of the decision: by table, by the public test suite, and by hunting for counter-examples to every "yes".

mod hunted;
mod published;

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::{Budget, Decision, Verdict, decide};

/// Decides on a deep stack with time enough for an unoptimised build.
fn asked(old: &Json, new: &Json) -> Decision {
    asked_within(old, new, Duration::from_secs(20))
}

fn asked_within(old: &Json, new: &Json, total: Duration) -> Decision {
    let run = || {
        let began = Instant::now();
        let elapsed = || began.elapsed();
        let budget = Budget {
            total,
            elapsed: &elapsed,
        };
        decide(old, new, budget)
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(super::STACK_BYTES);
        thread.spawn_scoped(scope, run).unwrap().join().unwrap()
    })
}

fn valid(schema: &Json, document: &Json) -> bool {
    let options = jsonschema::options().should_validate_formats(false);
    options.build(schema).unwrap().is_valid(document)
}

/// Checks both directions; `!` stands for no and `=` for yes, backward first.
fn both(name: &str, old: &Json, new: &Json, expected: &str) {
    for (at, (from, to)) in [(old, new), (new, old)].into_iter().enumerate() {
        let decision = asked(from, to);
        let mark = match decision.verdict {
            Verdict::Yes => '=',
            Verdict::No => '!',
            Verdict::Unproven => '?',
        };
        let direction = ["backward", "forward"][at];
        assert_eq!(
            Some(mark),
            expected.chars().nth(at),
            "{name} {direction}: {decision:?}"
        );
        if let Some(witness) = &decision.witness {
            assert!(
                valid(from, witness) && !valid(to, witness),
                "{name} {direction}: {witness}"
            );
        }
    }
}

/// The compatibility rules of contracts, as plain containment sees them.
#[test]
fn every_rule_of_the_table_in_both_directions() {
    let closed = |properties: Json, required: Json| json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
    let open = |properties: Json, required: Json| json!({"type": "object", "properties": properties, "required": required});
    let a = json!({"a": {"type": "string"}});
    let ab = json!({"a": {"type": "string"}, "b": {"type": "integer"}});
    let ab_default = json!({"a": {"type": "string"}, "b": {"type": "integer", "default": 3}});
    let none = json!([]);
    let table = [
        (
            "optional field added, open",
            open(a.clone(), none.clone()),
            open(ab.clone(), none.clone()),
            "!=",
        ),
        (
            "optional field added, closed",
            closed(a.clone(), none.clone()),
            closed(ab.clone(), none.clone()),
            "=!",
        ),
        (
            "required field added",
            open(a.clone(), json!(["a"])),
            open(ab.clone(), json!(["a", "b"])),
            "!=",
        ),
        (
            "required field added with a default",
            open(a.clone(), none.clone()),
            open(ab_default.clone(), json!(["b"])),
            "!=",
        ),
        (
            "default added",
            open(ab, none.clone()),
            open(ab_default, none.clone()),
            "==",
        ),
        (
            "optional to required",
            open(a.clone(), none.clone()),
            open(a, json!(["a"])),
            "!=",
        ),
        (
            "null allowed",
            json!({"type": "string"}),
            json!({"type": ["string", "null"]}),
            "=!",
        ),
        (
            "null spelt otherwise",
            json!({"type": ["string", "null"]}),
            json!({"anyOf": [{"type": "null"}, {"type": "string"}]}),
            "==",
        ),
        (
            "integer to number",
            json!({"type": "integer"}),
            json!({"type": "number"}),
            "=!",
        ),
        (
            "other scalar",
            json!({"type": "string"}),
            json!({"type": "integer"}),
            "!!",
        ),
        (
            "maximum raised",
            json!({"maximum": 3}),
            json!({"maximum": 4}),
            "=!",
        ),
        (
            "maxLength removed",
            json!({"maxLength": 3}),
            json!({}),
            "=!",
        ),
        (
            "minItems raised",
            json!({"minItems": 1}),
            json!({"minItems": 2}),
            "!=",
        ),
        (
            "inclusive to exclusive",
            json!({"minimum": 1}),
            json!({"exclusiveMinimum": 1}),
            "!=",
        ),
        (
            "the same bound on integers",
            json!({"type": "integer", "minimum": 1}),
            json!({"type": "integer", "exclusiveMinimum": 0}),
            "==",
        ),
        (
            "multipleOf coarser",
            json!({"type": "integer", "multipleOf": 2}),
            json!({"type": "integer", "multipleOf": 4}),
            "!=",
        ),
        (
            "multipleOf neither",
            json!({"multipleOf": 2}),
            json!({"multipleOf": 3}),
            "!!",
        ),
        (
            "pattern widened",
            json!({"type": "string", "pattern": "^[a-z]+$"}),
            json!({"type": "string", "pattern": "^[a-z0-9]+$"}),
            "=!",
        ),
        (
            "pattern spelt otherwise",
            json!({"pattern": "^[0-9]{2}$"}),
            json!({"pattern": "^\\d\\d$"}),
            "==",
        ),
        (
            "format changed",
            json!({"type": "string", "format": "date"}),
            json!({"type": "string", "format": "uuid"}),
            "==",
        ),
        (
            "enum value added",
            json!({"enum": ["a", "b"]}),
            json!({"enum": ["b", "c", "a"]}),
            "=!",
        ),
        (
            "const changed",
            json!({"const": 1}),
            json!({"const": 2}),
            "!!",
        ),
        (
            "const is an enum of one",
            json!({"const": 1}),
            json!({"enum": [1.0]}),
            "==",
        ),
        (
            "items narrowed",
            json!({"items": {"type": "number"}}),
            json!({"items": {"type": "integer"}}),
            "!=",
        ),
        (
            "map value widened",
            json!({"additionalProperties": {"type": "integer"}}),
            json!({"additionalProperties": {"type": "number"}}),
            "=!",
        ),
        (
            "uniqueItems added",
            json!({"type": "array"}),
            json!({"type": "array", "uniqueItems": true}),
            "!=",
        ),
        (
            "contains counted",
            json!({"contains": {"const": 1}, "minContains": 2}),
            json!({"contains": {"const": 1}}),
            "=!",
        ),
        (
            "array and scalar",
            json!({"type": "array", "items": {"type": "string"}}),
            json!({"type": "string"}),
            "!!",
        ),
        (
            "anyOf branch added",
            json!({"anyOf": [{"type": "string"}]}),
            json!({"anyOf": [{"type": "string"}, {"type": "null"}]}),
            "=!",
        ),
        (
            "allOf conjunct added",
            json!({"allOf": [{"minimum": 1}]}),
            json!({"allOf": [{"minimum": 1}, {"maximum": 5}]}),
            "!=",
        ),
        (
            "oneOf branch added, disjoint",
            json!({"oneOf": [{"type": "string"}]}),
            json!({"oneOf": [{"type": "string"}, {"type": "null"}]}),
            "=!",
        ),
        (
            "oneOf branch added, overlapping",
            json!({"oneOf": [{"type": "string"}]}),
            json!({"oneOf": [{"type": "string"}, {"maxLength": 3}]}),
            "!!",
        ),
        (
            "not widened",
            json!({"not": {"type": "string"}}),
            json!({"not": {"type": ["string", "null"]}}),
            "!=",
        ),
        (
            "if/then added",
            json!({"type": "object"}),
            json!({"type": "object", "if": {"required": ["a"]}, "then": {"required": ["b"]}}),
            "!=",
        ),
        (
            "dependentRequired is if/then",
            json!({"type": "object", "dependentRequired": {"a": ["b"]}}),
            json!({"type": "object", "if": {"required": ["a"]}, "then": {"required": ["b"]}}),
            "==",
        ),
        (
            "unevaluatedProperties",
            json!({"allOf": [{"properties": {"a": true}}], "unevaluatedProperties": false}),
            json!({"properties": {"a": true}, "additionalProperties": false}),
            "==",
        ),
        (
            "reference to a shared type",
            open(json!({"a": {"type": "string"}}), none),
            json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/t"}}, "$defs": {"t": {"type": "string", "title": "T"}}}),
            "==",
        ),
    ];
    for (name, old, new, expected) in table {
        both(name, &old, &new, expected);
    }
}

#[test]
fn recursive_schemas_are_decided() {
    let list = |value: Json, name: &str| {
        let target = format!("#/$defs/{name}");
        let node = json!({"type": "object", "required": ["v"], "additionalProperties": false,
            "properties": {"v": value, "next": {"$ref": target}}});
        json!({"$ref": target, "$defs": {name: node}})
    };
    let integers = list(json!({"type": "integer"}), "node");
    both(
        "values widened",
        &integers,
        &list(json!({"type": "number"}), "n"),
        "=!",
    );
    both(
        "another name",
        &integers,
        &list(json!({"type": "integer"}), "n"),
        "==",
    );
    let endless =
        json!({"type": "object", "required": ["next"], "properties": {"next": {"$ref": "#"}}});
    both("no finite document", &endless, &json!(false), "==");
}

#[test]
fn a_discriminated_union_may_grow() {
    let branch = |kind: &str, extra: &str| json!({"type": "object", "properties": {"kind": {"const": kind}, extra: {"type": "number"}}, "required": ["kind", extra]});
    let branches = |count: usize| -> Json {
        let each = (0..count).map(|at| branch(&format!("k{at}"), &format!("p{at}")));
        json!({"oneOf": each.collect::<Vec<_>>()})
    };
    both("branch added", &branches(20), &branches(21), "=!");
}

#[test]
fn nothing_is_contained_in_everything() {
    for empty in [
        json!(false),
        json!({"not": {}}),
        json!({"type": "integer", "minimum": 2, "maximum": 1}),
        json!({"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 2}),
        json!({"type": "string", "pattern": "^a", "allOf": [{"pattern": "^b"}]}),
        json!({"type": "object", "required": ["a"], "properties": {"a": false}}),
        json!({"type": "array", "minItems": 3, "uniqueItems": true, "items": {"enum": [1, 2]}}),
        json!({"enum": [1, 2], "type": "string"}),
        json!({"allOf": [{"type": "string"}, {"type": "null"}]}),
    ] {
        assert_eq!(
            asked(&empty, &json!(false)).verdict,
            Verdict::Yes,
            "{empty}"
        );
    }
}

#[test]
fn older_drafts_are_read_in_their_words() {
    let four = "http://json-schema.org/draft-04/schema#";
    let seven = "http://json-schema.org/draft-07/schema#";
    both(
        "exclusive bounds",
        &json!({"$schema": four, "minimum": 1, "exclusiveMinimum": true}),
        &json!({"exclusiveMinimum": 1}),
        "==",
    );
    both(
        "tuples",
        &json!({"$schema": seven, "items": [{"type": "string"}], "additionalItems": false}),
        &json!({"prefixItems": [{"type": "string"}], "items": false}),
        "==",
    );
    both(
        "dependencies",
        &json!({"$schema": seven, "dependencies": {"a": ["b"], "c": {"required": ["d"]}}}),
        &json!({"dependentRequired": {"a": ["b"]}, "dependentSchemas": {"c": {"required": ["d"]}}}),
        "==",
    );
    both(
        "nothing counts beside a reference",
        &json!({"$schema": seven, "allOf": [{"$ref": "#/definitions/t", "maxLength": 1}], "definitions": {"t": {"type": "string"}}}),
        &json!({"type": "string"}),
        "==",
    );
}

#[test]
fn witnesses_do_not_hang_on_a_line_end() {
    for (new, expected) in [
        ("^.*$", Some('\n')),
        ("^[a-z]*$", None),
        ("^\\S*$", None),
        ("^(?!a).*$", None),
    ] {
        let decision = asked(&json!({"type": "string"}), &json!({"pattern": new}));
        let witness = decision.witness.unwrap();
        let text = witness.as_str().unwrap();
        assert!(!text.ends_with('\n'), "{new}: {text:?}");
        assert_eq!(text.chars().find(char::is_ascii_control), expected, "{new}");
    }
    let only = asked(&json!({"pattern": "^a\\n$"}), &json!(false));
    assert_eq!(only.verdict, Verdict::No);
    both(
        "only a line end differs",
        &json!({"type": "string", "pattern": "^a\\n?$"}),
        &json!({"type": "string", "pattern": "^a$"}),
        "!=",
    );
    let names = asked(
        &json!({"type": "object"}),
        &json!({"type": "object", "propertyNames": {"pattern": "^.*$"}}),
    );
    let witness = names.witness.unwrap();
    let mut members = witness.as_object().unwrap().keys();
    assert!(members.all(|name| !name.ends_with('\n')), "{witness}");
}

#[test]
fn what_cannot_be_read_is_unproven_and_says_why() {
    for schema in [
        json!(3),
        json!({"type": "strin"}),
        json!({"$ref": "#/$defs/none"}),
        json!({"$schema": "http://json-schema.org/draft-03/schema#", "type": "string"}),
        json!({"pattern": "("}),
        json!({"$ref": "#"}),
        json!({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"not": {"$ref": "#"}}}}),
        json!({"$ref": "#a", "$defs": {"x": {"$anchor": "a"}, "y": {"$anchor": "a", "type": "null"}}}),
    ] {
        let decision = asked(&schema, &json!(true));
        assert_eq!(decision.verdict, Verdict::Unproven, "{schema}");
        assert!(decision.error.is_some(), "{schema}");
    }
}

#[test]
fn patterns_of_other_languages_are_only_equal_to_themselves() {
    let text = |pattern: &str| json!({"type": "string", "pattern": pattern});
    for (pattern, near) in [
        ("(?i)^a$", "^[aA]$"),
        ("^a\\z", "^a$"),
        ("\\Aa", "^a"),
        ("\\pL", "\\p{L}"),
    ] {
        let (foreign, own) = (text(pattern), text(near));
        both("read otherwise", &foreign, &own, "??");
        let wider = json!({"pattern": pattern});
        assert_eq!(asked(&foreign, &wider).verdict, Verdict::Yes, "{pattern}");
        assert_eq!(asked(&wider, &foreign).verdict, Verdict::No, "{pattern}");
    }
    let by_name =
        |kind: &str| json!({"patternProperties": {"\\Aa": {"type": kind}}, "required": ["b"]});
    let more = json!({"patternProperties": {"\\Aa": {"type": "null"}}, "required": ["b", "c"]});
    assert_eq!(asked(&by_name("null"), &more).verdict, Verdict::No);
    assert_eq!(asked(&more, &by_name("null")).verdict, Verdict::Yes);
    both(
        "a dash at the end of a class",
        &text("^[\\w-]+$"),
        &text("^[\\w.-]+$"),
        "=!",
    );
}

#[test]
fn what_there_is_little_of_is_counted() {
    let flags = json!({"type": "object", "properties": {"a": {"type": "boolean"}, "b": {"const": 1}},
        "required": ["a"], "additionalProperties": false});
    let listed =
        |last: Json| json!({"enum": [{"a": true}, {"a": false}, {"a": true, "b": 1}, last]});
    both(
        "objects",
        &flags,
        &listed(json!({"a": false, "b": 1})),
        "==",
    );
    both("an object less", &flags, &listed(json!({"a": true})), "!=");
    both(
        "lists",
        &json!({"type": "array", "items": {"enum": [1, 2]}, "maxItems": 2}),
        &json!({"enum": [[], [1], [2], [1, 1], [1, 2], [2, 1], [2, 2]]}),
        "==",
    );
    both(
        "a list less",
        &json!({"type": "array", "items": {"enum": [1, 2]}, "maxItems": 2}),
        &json!({"enum": [[], [1], [2], [1, 1], [1, 2], [2, 2]]}),
        "!=",
    );
    both(
        "items that must be so",
        &json!({"type": "array", "minItems": 3, "items": {"type": "integer"}}),
        &json!({"contains": {"type": "number"}, "minContains": 3}),
        "=!",
    );
    both(
        "one item short",
        &json!({"type": "array", "minItems": 3, "prefixItems": [{"type": "null"}], "items": {"type": "integer"}}),
        &json!({"contains": {"type": "number"}, "minContains": 3}),
        "!!",
    );
    both(
        "few names",
        &json!({"type": "object", "propertyNames": {"pattern": "^[ab]$"}}),
        &json!({"maxProperties": 2}),
        "=!",
    );
    both(
        "a name more",
        &json!({"type": "object", "propertyNames": {"pattern": "^[abc]$"}}),
        &json!({"maxProperties": 2}),
        "!!",
    );
}

#[test]
fn keywords_of_older_drafts_are_decided_where_every_reading_agrees() {
    let needs = |names: Json| json!({"dependencies": {"a": names}, "required": ["c"]});
    let less = json!({"dependencies": {"a": ["b", "d"]}});
    both("needed more", &needs(json!(["b"])), &less, "?!");
    both(
        "required less",
        &needs(json!(["b"])),
        &json!({"dependencies": {"a": ["b"]}}),
        "=!",
    );
}

#[test]
fn letters_of_all_scripts_are_understood() {
    let letters = json!({"pattern": "^\\p{Letter}+$"});
    both("some", &json!({"enum": ["Hello", "π"]}), &letters, "=!");
    both(
        "any",
        &json!({"type": "string"}),
        &json!({"type": "string", "pattern": "^\\p{Nd}+$"}),
        "!=",
    );
}

#[test]
fn large_schemas_are_judged_without_validators() {
    let definitions = |at_most: u64| {
        let each = (0..600).map(|at| {
            let next = format!("#/$defs/d{}", at / 20 * 20 + (at + 1) % 20);
            let own = json!({"type": "object", "required": ["name"], "additionalProperties": false,
                "properties": {"name": {"type": "string", "maxLength": if at == 300 { at_most } else { 100 }},
                    "next": {"$ref": next}, "tags": {"type": "array", "uniqueItems": true, "items": {"type": "string"}}}});
            (format!("d{at}"), own)
        });
        let definitions: serde_json::Map<String, Json> = each.collect();
        json!({"$ref": "#/$defs/d319", "$defs": definitions})
    };
    both(
        "a length far inside",
        &definitions(100),
        &definitions(90),
        "!=",
    );
    let mut wrong = definitions(90);
    wrong["$defs"]["d307"]["type"] = json!("strin");
    let decision = asked(&definitions(100), &wrong);
    assert!(decision.error.is_some(), "{decision:?}");
}

#[test]
fn lists_of_different_objects_are_made() {
    let items =
        json!({"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}});
    let list =
        |most: u64| json!({"type": "array", "uniqueItems": true, "items": items, "maxItems": most});
    both("fewer", &list(12), &list(8), "!=");
}

#[test]
fn hostile_schemas_are_bounded() {
    let values: Vec<Json> = (0..100_000).map(Json::from).collect();
    let nested = (0..50).fold(json!({"type": "string"}), |inner, at| {
        json!({"allOf": [{"anyOf": [inner, {"const": at}]}, {"anyOf": [{"minLength": at}, {"maxLength": 50 - at}]}]})
    });
    let wide: Vec<Json> = (0..12)
        .map(|at| json!({"anyOf": [{"required": [format!("a{at}")]}, {"required": [format!("b{at}")]}]}))
        .collect();
    for (old, new) in [
        (
            json!({"enum": values}),
            json!({"type": "integer", "minimum": 0}),
        ),
        (
            json!({"$ref": "#"}),
            json!({"$ref": "#/allOf/0", "allOf": [{"$ref": "#"}]}),
        ),
        (
            json!({"pattern": "^(a+)+$"}),
            json!({"pattern": "^(a|aa)+b$"}),
        ),
        (
            json!({"pattern": "^(.{0,200}x){20}$"}),
            json!({"pattern": "^(.{0,200}y){20}$"}),
        ),
        (json!({"multipleOf": 1e-300}), json!({"multipleOf": 1e300})),
        (json!({"minLength": 1e18}), json!({"minLength": 2e18})),
        (json!({"minItems": 1e9}), json!({"minProperties": 1e9})),
        (nested, json!({"type": "string", "maxLength": 2})),
        (json!({"allOf": wide}), json!({"required": ["z"]})),
    ] {
        let began = Instant::now();
        let _ = asked_within(&old, &new, Duration::from_secs(2));
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{}",
            old.to_string().len()
        );
    }
}

/// The subschemas of one group of the public suite, each against each, with its documents as counter-examples.
#[test]
fn the_public_suite_finds_no_counter_example() {
    let Some(data) = std::env::var_os("LOCKSTEP_TEST_DATA") else {
        eprintln!("skipped: LOCKSTEP_TEST_DATA is not set");
        return;
    };
    let folder =
        std::path::Path::new(&data).join("contracts/json-schema-test-suite/tests/draft2020-12");
    let (mut decided, mut all) = (0, 0);
    for name in [
        "allOf",
        "additionalProperties",
        "contains",
        "if-then-else",
        "not",
        "oneOf",
        "prefixItems",
        "propertyNames",
        "unevaluatedItems",
    ] {
        let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        let groups: Vec<Json> = serde_json::from_str(&text).unwrap();
        let documents: Vec<&Json> = groups
            .iter()
            .flat_map(|group| group["tests"].as_array().unwrap())
            .map(|test| &test["data"])
            .collect();
        for (at, old) in groups.iter().enumerate() {
            // Neighbours suffice here; every pair takes minutes in an unoptimised build.
            for new in groups.iter().skip(at + 1).take(2) {
                for (old, new) in [(old, new), (new, old)] {
                    let (old, new) = (&old["schema"], &new["schema"]);
                    let decision = asked(old, new);
                    all += 1;
                    decided += usize::from(decision.verdict != Verdict::Unproven);
                    if decision.verdict == Verdict::Yes {
                        for document in &documents {
                            assert!(
                                !valid(old, document) || valid(new, document),
                                "{name}: {old} {new} {document}"
                            );
                        }
                    }
                }
            }
        }
    }
    assert!(decided * 100 >= all * 97, "{decided} of {all}");
}
