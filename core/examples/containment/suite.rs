//! Pairs made from the schemas of the official test suite.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::{Pair, files, read};

/// Schemas of the test suite: each against its neighbours, against less and more of itself, against its documents, and in other clothes.
pub(super) fn pairs(folder: &Path) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for file in files(folder) {
        let stem = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let groups = read(&file);
        let groups = groups.as_array().unwrap();
        let every: Vec<Json> = groups
            .iter()
            .flat_map(|group| group["tests"].as_array().unwrap())
            .map(|case| case["data"].clone())
            .filter(|data| data.to_string().len() < 2_000)
            .collect();
        let documents = Arc::new(every);
        let mut put = |how: &str, old: &Json, new: &Json| {
            let pair = |old: &Json, new: &Json| Pair {
                name: format!("suite {stem} {how}"),
                old: Arc::new(old.clone()),
                new: Arc::new(new.clone()),
                documents: documents.clone(),
                contained: false,
            };
            pairs.push(pair(old, new));
            pairs.push(pair(new, old));
        };
        for (at, group) in groups.iter().enumerate() {
            let schema = &group["schema"];
            for other in groups.iter().skip(at + 1) {
                put("other", schema, &other["schema"]);
            }
            let cases = group["tests"].as_array().unwrap();
            let of = |valid: bool| -> Vec<&Json> {
                cases
                    .iter()
                    .filter(|case| case["valid"] == valid)
                    .map(|case| &case["data"])
                    .collect()
            };
            put("enum of valid", schema, &json!({ "enum": of(true) }));
            put("enum of invalid", schema, &json!({ "enum": of(false) }));
            let Some(map) = schema.as_object() else {
                continue;
            };
            for keyword in map.keys().filter(|key| !key.starts_with('$')) {
                let mut less = map.clone();
                less.remove(keyword);
                put("less", schema, &Json::Object(less));
            }
            let plain = !map
                .keys()
                .any(|key| key.starts_with("$id") || key.contains("nchor"));
            let local =
                !schema.to_string().contains("$ref") && !schema.to_string().contains("ynamic");
            if plain && local {
                let mut bare = map.clone();
                let header = bare.remove("$schema");
                let bare = Json::Object(bare);
                let with = |mut body: Json| {
                    if let Some(header) = &header {
                        body["$schema"] = header.clone();
                    }
                    body
                };
                put("allOf", schema, &with(json!({"allOf": [bare]})));
                put(
                    "ref",
                    schema,
                    &with(json!({"$ref": "#/$defs/it", "$defs": {"it": bare}})),
                );
                put("twice not", schema, &with(json!({"not": {"not": bare}})));
                put("not", schema, &with(json!({"not": bare})));
                put(
                    "or null",
                    schema,
                    &with(json!({"anyOf": [bare, {"type": "null"}]})),
                );
                put(
                    "oneOf with",
                    schema,
                    &with(json!({"oneOf": [bare, {"const": "zz"}]})),
                );
                put("if", schema, &with(json!({"if": bare, "else": false})));
                put(
                    "inside",
                    &with(json!({"properties": {"a": bare}, "required": ["a"]})),
                    &with(json!({"properties": {"a": bare}})),
                );
                put(
                    "items",
                    &with(json!({"items": bare, "minItems": 1})),
                    &with(json!({"contains": bare})),
                );
                put(
                    "split",
                    schema,
                    &with(
                        json!({"anyOf": [{"allOf": [bare, {"type": "object"}]}, {"allOf": [bare, {"not": {"type": "object"}}]}]}),
                    ),
                );
            }
        }
    }
    pairs
}
