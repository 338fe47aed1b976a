//! Pairs of schemas and documents by chance: what contradicts an answer?

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::super::Verdict;
use super::{asked_within, valid};

fn scalar() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        (-2..4_i64).prop_map(Json::from),
        (-3..6_i64).prop_map(|at| json!(at as f64 / 2.0)),
        "[ab1]{0,3}".prop_map(Json::from),
    ]
}

fn document() -> impl Strategy<Value = Json> {
    scalar().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map("[ab]{0,2}|q", inner, 0..4)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}

/// One keyword with its value.
fn keyword(inner: &BoxedStrategy<Json>) -> BoxedStrategy<(&'static str, Json)> {
    const KINDS: [&str; 7] = [
        "null", "boolean", "integer", "number", "string", "array", "object",
    ];
    const PATTERNS: [&str; 6] = ["^a", "b$", "^[ab]+$", "1", "^(?!a)", "^.{1,2}$"];
    let pattern = || prop::sample::select(&PATTERNS[..]);
    let count = |name| (0..4_u64).prop_map(move |count| (name, json!(count)));
    let bound = |name| (-2..6_i64).prop_map(move |at| (name, json!(at as f64 / 2.0)));
    let one =
        |name, inner: &BoxedStrategy<Json>| inner.clone().prop_map(move |schema| (name, schema));
    let list = |name, inner: &BoxedStrategy<Json>| {
        prop::collection::vec(inner.clone(), 1..4).prop_map(move |list| (name, json!(list)))
    };
    let named = |name, inner: &BoxedStrategy<Json>| {
        prop::collection::btree_map("a|b|ab", inner.clone(), 1..3)
            .prop_map(move |map| (name, json!(map)))
    };
    let by_pattern =
        prop::collection::btree_map(pattern().prop_map(str::to_owned), inner.clone(), 1..3)
            .prop_map(|map| ("patternProperties", json!(map)));
    let names = || prop::collection::btree_set("a|b|ab", 1..3).prop_map(|names| json!(names));
    prop_oneof![
        6 => prop::sample::select(&KINDS[..]).prop_map(|kind| ("type", json!(kind))),
        2 => prop::sample::subsequence(KINDS.to_vec(), 1..4).prop_map(|kinds| ("type", json!(kinds))),
        2 => prop::collection::vec(document(), 1..4).prop_map(|list| ("enum", json!(list))),
        1 => document().prop_map(|value| ("const", value)),
        2 => prop_oneof![bound("minimum"), bound("maximum"), bound("exclusiveMinimum"), bound("exclusiveMaximum")],
        1 => prop::sample::select(vec![0.5, 1.0, 1.5, 2.0, 3.0]).prop_map(|of| ("multipleOf", json!(of))),
        2 => prop_oneof![count("minLength"), count("maxLength"), count("minItems"), count("maxItems"), count("minProperties"), count("maxProperties")],
        1 => prop_oneof![count("minContains"), count("maxContains")],
        1 => pattern().prop_map(|pattern| ("pattern", json!(pattern))),
        1 => Just(("uniqueItems", json!(true))),
        2 => names().prop_map(|names| ("required", names)),
        1 => ("a|b", names()).prop_map(|(name, names)| ("dependentRequired", json!({name: names}))),
        3 => named("properties", inner),
        1 => named("dependentSchemas", inner),
        1 => by_pattern,
        2 => one("additionalProperties", inner),
        1 => one("propertyNames", inner),
        1 => one("unevaluatedProperties", inner),
        1 => one("unevaluatedItems", inner),
        2 => one("items", inner),
        1 => one("contains", inner),
        1 => one("not", inner),
        2 => prop_oneof![one("if", inner), one("then", inner), one("else", inner)],
        1 => list("prefixItems", inner),
        2 => list("allOf", inner),
        2 => list("anyOf", inner),
        2 => list("oneOf", inner),
        // Only below something that steps into a part, so that no reference leads to itself at once.
        1 => Just(("items", json!({"$ref": "#"}))),
        1 => Just(("properties", json!({"a": {"$ref": "#"}}))),
    ]
    .boxed()
}

fn schema() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Json::from),
        prop::collection::vec(keyword(&any::<bool>().prop_map(Json::from).boxed()), 0..3)
            .prop_map(object),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop::collection::vec(keyword(&inner.boxed()), 1..4).prop_map(object)
    })
}

fn object(keywords: Vec<(&'static str, Json)>) -> Json {
    Json::Object(
        keywords
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

/// All lists of up to three values, and all objects of up to two members with them.
fn few() -> Vec<Json> {
    let values = [json!(1), json!(true), Json::Null];
    let mut lists = vec![Vec::new()];
    let mut last = lists.clone();
    for _ in 0..3 {
        let longer = last.iter().flat_map(|items: &Vec<Json>| {
            values
                .iter()
                .map(|value| [items.clone(), vec![value.clone()]].concat())
        });
        last = longer.collect();
        lists.extend(last.iter().cloned());
    }
    let mut documents: Vec<Json> = lists.iter().cloned().map(Json::from).collect();
    for list in &lists {
        let members = ["a", "b", "c"]
            .into_iter()
            .zip(list)
            .map(|(name, value)| (name.to_owned(), value.clone()));
        documents.push(Json::Object(members.collect()));
        let members = ["b", "d"]
            .into_iter()
            .zip(list)
            .map(|(name, value)| (name.to_owned(), value.clone()));
        documents.push(Json::Object(members.collect()));
    }
    documents
}

/// Schemas of few documents, or of counts.
fn counted() -> impl Strategy<Value = Json> {
    let value = || {
        prop::sample::subsequence(vec![json!(1), json!(true), Json::Null], 1..3)
            .prop_map(|list| json!({"enum": list}))
    };
    let count = || prop::option::of(0..4_u64);
    let set = |schema: &mut Json, name: &str, count: Option<u64>| {
        if let Some(count) = count {
            schema[name] = json!(count);
        }
    };
    let listed = prop::sample::subsequence(few(), 0..60).prop_map(|list| json!({"enum": list}));
    let lists = (
        value(),
        value(),
        prop::option::of(value()),
        [count(), count(), count(), count()],
    )
        .prop_map(
            move |(first, items, contains, [least, most, fewest, top])| {
                let mut schema = json!({"type": "array", "prefixItems": [first], "items": items});
                set(&mut schema, "minItems", least);
                set(&mut schema, "maxItems", most);
                if let Some(contains) = contains {
                    schema["contains"] = contains;
                    set(&mut schema, "minContains", fewest);
                    set(&mut schema, "maxContains", top);
                }
                schema
            },
        );
    let names = prop::sample::select(vec!["^[ab]$", "^[abc]$", "^[b-d]?$", "a"]);
    let required = prop::sample::subsequence(vec!["a", "b"], 0..2);
    let objects = (value(), value(), any::<bool>(), names, required, count(), count()).prop_map(
        move |(a, b, open, names, required, least, most)| {
            let mut schema = json!({"type": "object", "properties": {"a": a, "b": b}, "required": required,
                "additionalProperties": open, "propertyNames": {"pattern": names}});
            set(&mut schema, "minProperties", least);
            set(&mut schema, "maxProperties", most);
            schema
        },
    );
    prop_oneof![listed, lists, objects]
}

/// A second opinion; `None` where its validator takes no such schema.
fn boon_says(schema: &Json, documents: &[Json]) -> Option<Vec<bool>> {
    let mut compiler = boon::Compiler::new();
    compiler
        .add_resource("mem:///schema.json", schema.clone())
        .ok()?;
    let mut schemas = boon::Schemas::new();
    let index = compiler.compile("mem:///schema.json", &mut schemas).ok()?;
    Some(
        documents
            .iter()
            .map(|one| schemas.validate(one, index).is_ok())
            .collect(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_document_contradicts_a_yes(
        old in schema(), extra in schema(), how in 0..4, documents in prop::collection::vec(document(), 60)
    ) {
        // Half of the pairs are near each other, where "yes" is likely.
        let new = match how {
            0 => extra,
            1 => json!({"anyOf": [old, extra]}),
            2 => json!({"not": {"allOf": [extra, {"not": old}]}}),
            _ => {
                let mut new = old.clone();
                if let Json::Object(map) = &mut new {
                    let first = map.keys().next().cloned();
                    first.map(|name| map.remove(&name));
                }
                new
            }
        };
        for (old, new) in [(&old, &new), (&new, &old)] {
            let decision = asked_within(old, new, Duration::from_millis(700));
            if decision.verdict == Verdict::No {
                let witness = decision.witness.clone().unwrap();
                prop_assert!(valid(old, &witness) && !valid(new, &witness), "{old} {new} {witness}");
            }
            if decision.verdict == Verdict::Yes {
                for document in &documents {
                    prop_assert!(!valid(old, document) || valid(new, document), "{old} {new} {document}");
                }
                if let (Some(before), Some(after)) = (boon_says(old, &documents), boon_says(new, &documents)) {
                    let broken = before.iter().zip(&after).position(|(before, after)| *before && !after);
                    prop_assert!(broken.is_none(), "{old} {new} {}", documents[broken.unwrap_or(0)]);
                }
            }
        }
    }

    #[test]
    fn what_is_counted_is_counted_right(old in counted(), new in counted()) {
        let decision = asked_within(&old, &new, Duration::from_millis(700));
        let documents = few();
        let broken = documents.iter().find(|one| valid(&old, one) && !valid(&new, one));
        if decision.verdict == Verdict::Yes {
            prop_assert!(broken.is_none(), "{old} {new} {broken:?}");
        }
    }

    #[test]
    fn no_json_as_a_schema_panics(old in document(), keywords in prop::collection::vec((
        prop::sample::select(vec!["$ref", "$id", "$schema", "$anchor", "$dynamicRef", "type", "items", "properties",
            "required", "enum", "not", "allOf", "if", "contains", "pattern", "minimum", "dependencies", "$defs"]), document()), 0..4)) {
        let new = object(keywords);
        let _ = asked_within(&old, &new, Duration::from_millis(300));
        let _ = asked_within(&new, &old, Duration::from_millis(300));
    }
}
