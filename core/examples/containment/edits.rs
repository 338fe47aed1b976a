//! Edits that people make, and what each does to the documents that are valid.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use self::Direction::{Either, Narrower, Same, Wider};
use super::{Pair, files, read};

/// What an edit does to a subschema.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Wider,
    Narrower,
    Same,
    /// That depends on the rest.
    Either,
}

/// An edit that people make.
type Edit = (&'static str, Direction, fn(&mut Map<String, Json>) -> bool);

const EDITS: &[Edit] = &[
    ("drop required", Wider, |map| {
        map.remove("required").is_some()
    }),
    ("less required", Wider, |map| {
        change_list(map, "required", |list| list.pop().is_some())
    }),
    ("more required", Narrower, |map| {
        map.contains_key("properties")
            && change_list(map, "required", |list| {
                list.push(json!("extraName"));
                true
            })
    }),
    ("optional property", Either, |map| {
        change_map(map, "properties", |members| {
            members.insert("extraName".to_owned(), json!({"type": "string"}));
            true
        })
    }),
    ("property removed", Either, |map| {
        change_map(map, "properties", |members| {
            let name = members.keys().next().cloned();
            name.is_some_and(|name| members.remove(&name).is_some())
        })
    }),
    ("close", Narrower, |map| {
        map.contains_key("properties")
            && map.insert("additionalProperties".to_owned(), json!(false)) != Some(json!(false))
    }),
    ("open", Wider, |map| {
        map.remove("additionalProperties").is_some()
    }),
    ("open unevaluated", Wider, |map| {
        map.remove("unevaluatedProperties").is_some()
    }),
    ("close unevaluated", Narrower, |map| {
        map.contains_key("properties")
            && map
                .insert("unevaluatedProperties".to_owned(), json!(false))
                .is_none()
    }),
    ("enum wider", Wider, |map| {
        change_list(map, "enum", |list| {
            list.push(json!("extraValue"));
            true
        })
    }),
    ("enum narrower", Narrower, |map| {
        change_list(map, "enum", |list| list.len() > 1 && list.pop().is_some())
    }),
    ("or null", Wider, |map| match map.get("type") {
        Some(Json::String(one)) => {
            let both = json!([one, "null"]);
            map.insert("type".to_owned(), both);
            true
        }
        _ => false,
    }),
    ("other type", Either, |map| match map.get("type") {
        Some(Json::String(one)) if one != "object" => {
            let other = if one == "string" { "integer" } else { "string" };
            map.insert("type".to_owned(), json!(other));
            true
        }
        _ => false,
    }),
    ("number or integer", Wider, |map| match map.get("type") {
        Some(Json::String(one)) if one == "integer" => {
            map.insert("type".to_owned(), json!("number")).is_some()
        }
        _ => false,
    }),
    ("oneOf to anyOf", Wider, |map| rename(map, "oneOf", "anyOf")),
    ("anyOf to oneOf", Narrower, |map| {
        rename(map, "anyOf", "oneOf")
    }),
    ("allOf to anyOf", Wider, |map| {
        !map.contains_key("anyOf") && rename(map, "allOf", "anyOf")
    }),
    ("branch removed", Either, |map| {
        change_union(map, |list| list.len() > 1 && list.pop().is_some())
    }),
    ("branch added", Either, |map| {
        change_union(map, |list| {
            list.push(json!({"type": "object", "properties": {"kind": {"const": "extraKind"}}, "required": ["kind"]}));
            true
        })
    }),
    ("text branch added", Either, |map| {
        change_union(map, |list| {
            list.push(json!({"type": "string", "maxLength": 3}));
            true
        })
    }),
    ("conjunct removed", Wider, |map| {
        change_list(map, "allOf", |list| list.pop().is_some())
    }),
    ("longer", Narrower, |map| {
        map.get("type") == Some(&json!("string"))
            && map.insert("minLength".to_owned(), json!(2)).is_none()
    }),
    ("pattern", Either, |map| {
        map.get("type") == Some(&json!("string"))
            && map
                .insert("pattern".to_owned(), json!("^[a-z]+$"))
                .is_none()
    }),
    ("no pattern", Wider, |map| map.remove("pattern").is_some()),
    ("format", Same, |map| {
        map.get("type") == Some(&json!("string"))
            && map.insert("format".to_owned(), json!("uuid")).is_none()
    }),
    ("few items", Either, |map| {
        map.contains_key("items") && map.insert("maxItems".to_owned(), json!(3)).is_none()
    }),
    ("some items", Either, |map| {
        map.contains_key("items") && map.insert("minItems".to_owned(), json!(1)).is_none()
    }),
    ("unique", Narrower, |map| {
        map.contains_key("items")
            && map.insert("uniqueItems".to_owned(), json!(true)) != Some(json!(true))
    }),
    ("not unique", Wider, |map| {
        map.remove("uniqueItems") == Some(json!(true))
    }),
    ("no if", Wider, |map| {
        map.remove("if").is_some() && (map.remove("then").is_some() | map.remove("else").is_some())
    }),
    ("no then", Wider, |map| map.remove("then").is_some()),
    ("no not", Wider, |map| map.remove("not").is_some()),
    ("no const", Wider, |map| map.remove("const").is_some()),
    ("bound", Either, |map| {
        matches!(map.get("type"), Some(Json::String(one)) if one == "integer" || one == "number")
            && map.insert("minimum".to_owned(), json!(1)) != Some(json!(1))
    }),
    ("no patternProperties", Either, |map| {
        map.remove("patternProperties").is_some()
    }),
    ("no propertyNames", Wider, |map| {
        map.remove("propertyNames").is_some()
    }),
    ("words", Same, |map| {
        map.insert("description".to_owned(), json!("other words"))
            .is_some()
    }),
    ("wrapped", Same, |map| {
        if map.contains_key("$id")
            || map.contains_key("$schema")
            || map.contains_key("unevaluatedProperties")
            || map.is_empty()
            || !map.values().any(|one| one.is_string() || one.is_object())
        {
            return false;
        }
        let whole = std::mem::take(map);
        map.insert("allOf".to_owned(), json!([whole]));
        true
    }),
    ("annotations only", Same, |map| {
        map.insert("$comment".to_owned(), json!("nobody reads this"));
        map.insert("default".to_owned(), json!(7));
        true
    }),
    ("enum to branches", Same, |map| {
        if map.contains_key("anyOf") {
            return false;
        }
        let Some(Json::Array(list)) = map.remove("enum") else {
            return false;
        };
        let each = list.into_iter().map(|one| json!({"enum": [one]}));
        let each: Vec<Json> = each.collect();
        map.insert("anyOf".to_owned(), each.into());
        true
    }),
    ("types to branches", Same, |map| {
        if map.contains_key("anyOf") {
            return false;
        }
        let Some(Json::Array(list)) = map.remove("type") else {
            return false;
        };
        let each = list.into_iter().map(|one| json!({"type": one}));
        let each: Vec<Json> = each.collect();
        map.insert("anyOf".to_owned(), each.into());
        true
    }),
    ("branches reversed", Same, |map| {
        change_union(map, |list| {
            list.reverse();
            list.len() > 1
        })
    }),
    ("required reversed", Same, |map| {
        change_list(map, "required", |list| {
            list.reverse();
            list.len() > 1
        })
    }),
    ("number to union", Same, |map| {
        map.get("type") == Some(&json!("number"))
            && map
                .insert("type".to_owned(), json!(["integer", "number"]))
                .is_some()
    }),
    ("shorter", Narrower, |map| {
        map.get("type") == Some(&json!("string"))
            && map.insert("maxLength".to_owned(), json!(40)).is_none()
    }),
    ("tighter maxLength", Narrower, |map| {
        map.get_mut("maxLength").is_some_and(|most| {
            let less = most.as_u64().unwrap() / 2;
            *most = json!(less);
            less > 0
        })
    }),
    ("higher maximum", Wider, |map| {
        map.get_mut("maximum").is_some_and(|most| {
            most.as_i64()
                .is_some_and(|at| std::mem::replace(most, json!(at + 1)).is_number())
        })
    }),
    ("no minimum", Wider, |map| {
        map.remove("exclusiveMinimum");
        map.remove("minimum").is_some()
    }),
    ("no maxLength", Wider, |map| {
        map.remove("maxLength").is_some()
    }),
    ("multiple", Narrower, |map| {
        map.get("type") == Some(&json!("integer"))
            && map.insert("multipleOf".to_owned(), json!(5)).is_none()
    }),
    ("pattern anchored", Either, |map| match map.get("pattern") {
        Some(Json::String(text)) => {
            let text = json!(format!("^(?:{text})$"));
            map.insert("pattern".to_owned(), text).is_some()
        }
        _ => false,
    }),
    ("property type widened", Either, |map| {
        change_map(map, "properties", |members| {
            let Some(Json::Object(one)) = members.values_mut().next_back() else {
                return false;
            };
            one.remove("type").is_some()
        })
    }),
    ("property renamed", Either, |map| {
        change_map(map, "properties", |members| {
            let Some(name) = members.keys().next().cloned() else {
                return false;
            };
            members
                .remove(&name)
                .is_some_and(|one| members.insert(format!("{name}2"), one).is_none())
        })
    }),
    ("others typed", Narrower, |map| {
        map.contains_key("properties")
            && !map.contains_key("additionalProperties")
            && map
                .insert("additionalProperties".to_owned(), json!({"type": "string"}))
                .is_none()
    }),
    ("others by pattern", Either, |map| {
        !map.contains_key("patternProperties")
            && map.get("additionalProperties") == Some(&json!(false))
            && map
                .insert("patternProperties".to_owned(), json!({"^x-": {}}))
                .is_none()
    }),
    ("at least one member", Narrower, |map| {
        map.get("type") == Some(&json!("object"))
            && map.insert("minProperties".to_owned(), json!(1)).is_none()
    }),
    ("nothing", Narrower, |map| {
        map.contains_key("type") && map.insert("not".to_owned(), json!({})).is_none()
    }),
    ("not a word", Narrower, |map| {
        map.get("type") == Some(&json!("string"))
            && map
                .insert("not".to_owned(), json!({"enum": ["forbidden"]}))
                .is_none()
    }),
];

fn change_list(
    map: &mut Map<String, Json>,
    name: &str,
    change: fn(&mut Vec<Json>) -> bool,
) -> bool {
    map.get_mut(name)
        .and_then(Json::as_array_mut)
        .is_some_and(change)
}

fn change_map(
    map: &mut Map<String, Json>,
    name: &str,
    change: fn(&mut Map<String, Json>) -> bool,
) -> bool {
    map.get_mut(name)
        .and_then(Json::as_object_mut)
        .is_some_and(change)
}

fn change_union(map: &mut Map<String, Json>, change: fn(&mut Vec<Json>) -> bool) -> bool {
    change_list(map, "oneOf", change) || change_list(map, "anyOf", change)
}

fn rename(map: &mut Map<String, Json>, from: &str, to: &str) -> bool {
    let Some(value) = map.remove(from) else {
        return false;
    };
    map.insert(to.to_owned(), value).is_none()
}

/// Makes the edit where it is possible for the `nth` time.
fn edit(
    value: &mut Json,
    is_schema: bool,
    left: &mut usize,
    edit: fn(&mut Map<String, Json>) -> bool,
) -> bool {
    match value {
        Json::Object(map) => {
            if is_schema {
                let before = map.clone();
                if edit(map) {
                    if *left == 0 {
                        return true;
                    }
                    *left -= 1;
                }
                *map = before;
            }
            for (key, inner) in map.iter_mut() {
                let names = is_schema
                    && matches!(
                        key.as_str(),
                        "properties"
                            | "patternProperties"
                            | "$defs"
                            | "definitions"
                            | "dependentSchemas"
                    );
                let data = is_schema
                    && matches!(
                        key.as_str(),
                        "enum" | "const" | "default" | "examples" | "required"
                    );
                if !data && self::edit(inner, !names, left, edit) {
                    return true;
                }
            }
            false
        }
        Json::Array(list) => list
            .iter_mut()
            .any(|inner| self::edit(inner, true, left, edit)),
        _ => false,
    }
}

/// Large published schemas, each against edits of it in both directions.
pub(super) fn published(root: &Path) -> Vec<Pair> {
    let mut paths = vec![
        root.join("asyncapi-schemas/3.0.0.json"),
        root.join("asyncapi-schemas/3.1.0.json"),
        root.join("odcs-schemas/odcs-3.0.2.schema.json"),
        root.join("odcs-schemas/odcs-3.1.0.schema.json"),
        root.join("odcs-schemas/odcs-3.2.0.schema.json"),
        root.join("sarif-schema/sarif-schema-2.1.0.json"),
    ];
    paths.extend(files(&root.join("openlineage/spec/facets")));
    paths.extend(
        files(&root.join("cloudevents-spec"))
            .into_iter()
            .filter(|file| {
                file.to_str()
                    .is_some_and(|name| name.ends_with("schema.json"))
            }),
    );
    let documents: Vec<Json> = files(&root.join("openlineage/spec/tests"))
        .iter()
        .map(|file| read(file))
        .collect();
    of(&paths, "published", &Arc::new(documents))
}

/// Schemas, each against edits of it in both directions.
pub(super) fn of(paths: &[PathBuf], name: &str, documents: &Arc<Vec<Json>>) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for file in paths {
        let schema = Arc::new(read(file));
        let text = schema.to_string();
        let stem = file.file_stem().unwrap().to_str().unwrap();
        let sort = if text.len() > 50_000 && name == "published" {
            stem
        } else if text.len() > 50_000 {
            "large"
        } else {
            "small"
        };
        let firm = is_monotone(&text);
        for (kind, direction, change) in EDITS {
            let mut sites = 0;
            for skip in (0..400).step_by(if sort == "small" { 3 } else { 17 }) {
                let mut new = Json::clone(&schema);
                if !edit(&mut new, true, &mut { skip }, *change) {
                    break;
                }
                let new = Arc::new(new);
                let turned = [(&schema, &new, Wider), (&new, &schema, Narrower)];
                for (old, new, within) in turned {
                    pairs.push(Pair {
                        name: format!("{name} {sort} {kind}"),
                        old: old.clone(),
                        new: new.clone(),
                        documents: documents.clone(),
                        contained: firm && (*direction == within || *direction == Same),
                    });
                }
                sites += 1;
                if sites >= 3 {
                    break;
                }
            }
        }
    }
    pairs
}

/// Whether a schema has no word under which less is more.
fn is_monotone(text: &str) -> bool {
    let turning = [
        "\"not\"",
        "\"oneOf\"",
        "\"if\"",
        "\"unevaluated",
        "\"contains\"",
        "\"properties\":{\"properties\"",
    ];
    turning.iter().all(|word| !text.contains(word))
}
