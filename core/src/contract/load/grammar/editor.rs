//! The grammar as a JSON Schema, for editors and other validators: ODCS with the closed set of Lockstep's properties.
//!
//! It is made of the same tables that a contract is read with, so the two know the same keys and words.
//! What a schema cannot say (a value that must fit the property's type, names that must exist) only reading a contract finds.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::{Block, FIELD_KEYS, Form, ROOT};
use crate::contract::load::odcs::{API_VERSIONS, KIND};
use crate::contract::load::words::{
    COMPATIBILITIES, DELETES, EXTRAS, FIELD_OUTCOMES, HANDLINGS, OUTCOMES, TRUTHS, Words,
};

/// The JSON Schema (2020-12) of contract files.
#[must_use]
pub fn editor_schema() -> Json {
    let mut definitions = BTreeMap::new();
    define(&ROOT, &mut definitions);
    let definitions: Map<String, Json> = definitions.into_iter().collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:lockstep:contract-file",
        "title": "A Lockstep contract: the Open Data Contract Standard v3 with Lockstep's properties",
        "$ref": reference(&ROOT),
        "properties": {
            "apiVersion": { "enum": API_VERSIONS },
            "kind": { "const": KIND },
        },
        "$defs": definitions,
    })
}

fn slug(block: &Block) -> String {
    let words: Vec<&str> = block
        .name
        .split(' ')
        .filter(|word| !["a", "an", "the", "of", "or"].contains(word))
        .collect();
    words.join("-")
}

fn reference(block: &Block) -> String {
    format!("#/$defs/{}", slug(block))
}

/// Adds a block and those it leads to; each is entered once, so blocks inside themselves end.
fn define(block: &'static Block, definitions: &mut BTreeMap<String, Json>) {
    if definitions.contains_key(&slug(block)) {
        return;
    }
    definitions.insert(slug(block), Json::Null);
    let mut properties = Map::new();
    for (key, form) in block.keys {
        for inner in inside(form) {
            define(inner, definitions);
        }
        properties.insert((*key).to_owned(), schema(form, block));
    }
    let mut schema = json!({ "type": "object", "properties": properties });
    if !block.required.is_empty() {
        schema["required"] = json!(block.required);
    }
    if !block.open {
        schema["additionalProperties"] = false.into();
    }
    definitions.insert(slug(block), schema);
}

fn inside(form: &Form) -> Vec<&'static Block> {
    match form {
        Form::One(block) | Form::Many(block) => vec![block],
        Form::OneOrMany(one, many) => vec![one, many],
        _ => Vec::new(),
    }
}

fn schema(form: &Form, block: &Block) -> Json {
    let many = |block: &Block| json!({ "type": "array", "items": { "$ref": reference(block) } });
    match form {
        Form::Any => json!({}),
        Form::Text => json!({ "type": "string" }),
        Form::Flag => json!({ "type": "boolean" }),
        Form::Whole => json!({ "type": "integer" }),
        Form::Number => json!({ "type": "number" }),
        Form::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Form::Items => json!({ "type": "array" }),
        Form::TextOrMap => json!({ "type": ["string", "object"] }),
        Form::Scalar => json!({ "type": ["string", "number", "boolean", "null"] }),
        Form::References => {
            json!({ "type": ["string", "array"], "items": { "type": "string" }, "minItems": 1 })
        }
        Form::Word(words) => json!({ "enum": words }),
        Form::One(block) => json!({ "$ref": reference(block) }),
        Form::Many(block) => many(block),
        Form::OneOrMany(one, other) => {
            json!({ "anyOf": [{ "$ref": reference(one) }, many(other)] })
        }
        Form::Custom => custom(block),
    }
}

/// Custom properties: others' as they are, ours from the closed set with their values.
fn custom(block: &Block) -> Json {
    let mut rules = vec![json!({
        "if": { "properties": { "property": { "pattern": "^[Ll][Oo][Cc][Kk][Ss][Tt][Ee][Pp]\\." } }, "required": ["property"] },
        "then": { "properties": { "property": { "enum": block.lockstep } } },
    })];
    for key in block.lockstep {
        rules.push(json!({
            "if": { "properties": { "property": { "const": key } }, "required": ["property"] },
            "then": { "properties": { "value": value(key, block) } },
        }));
    }
    let examples = block.lockstep;
    json!({
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "property": { "type": "string", "examples": examples },
                "value": {},
                "description": { "type": "string" },
                "id": { "type": "string" },
                "vendor": { "type": "string" },
            },
            "required": ["property", "value"],
            "additionalProperties": false,
            "allOf": rules,
        },
    })
}

fn words<T>(words: Words<T>) -> Vec<&'static str> {
    words.iter().map(|(word, _)| *word).collect()
}

/// What may stand as the value of one of Lockstep's properties.
fn value(key: &str, block: &Block) -> Json {
    let text = json!({ "type": "string", "minLength": 1 });
    let texts = json!({ "type": "array", "items": text, "minItems": 1 });
    let (description, schema) = match key {
        "lockstep.compatibility" => (
            "What a new version owes the older ones.",
            json!({ "enum": words(COMPATIBILITIES) }),
        ),
        "lockstep.consumers" => ("The systems that rely on the contract.", texts),
        "lockstep.deletes" => (
            "What a delete in one system does in the others.",
            json!({ "enum": words(DELETES) }),
        ),
        "lockstep.deprecation" => (
            "Since when it should not be used, and from which day it may be gone.",
            json!({
                "type": "object",
                "properties": { "since": text, "sunset": { "type": "string", "format": "date" }, "replacement": text },
                "additionalProperties": false,
            }),
        ),
        "lockstep.extra" => (
            "What becomes of fields that the contract does not know.",
            json!({ "enum": words(EXTRAS) }),
        ),
        "lockstep.laneKey" => ("The key properties that choose the lane.", texts),
        "lockstep.lanes" => (
            "How many lanes the entity has.",
            json!({ "type": "integer", "minimum": 1, "maximum": 256 }),
        ),
        "lockstep.migrations" => (
            "How records of one version become records of another.",
            migrations(),
        ),
        "lockstep.owner" => ("The system that is right where others differ.", text),
        "lockstep.reserved" => (
            "Names of removed properties that may not come back.",
            json!({ "type": "array", "items": text }),
        ),
        "lockstep.truth" => (
            "How differing values are settled.",
            json!({ "enum": words(TRUTHS) }),
        ),
        "lockstep.enum" => (
            "The allowed values.",
            json!({ "type": "array", "minItems": 1 }),
        ),
        "lockstep.enumOpen" => (
            "Whether readers must expect further values.",
            json!({ "type": "boolean" }),
        ),
        "lockstep.nullable" => ("Whether null is allowed.", json!({ "type": "boolean" })),
        "lockstep.outcome" => {
            let field = block.lockstep == FIELD_KEYS;
            let all = if field {
                words(FIELD_OUTCOMES)
            } else {
                words(OUTCOMES)
            };
            (
                "What becomes of a record that breaks it.",
                json!({ "enum": all }),
            )
        }
        "lockstep.privacy" => (
            "Whose data it is, how long it is kept, and what each system sees.",
            json!({
                "type": "object",
                "properties": {
                    "category": text,
                    "subject": text,
                    "retention": { "type": ["integer", "string"], "pattern": "^[0-9]+ *[dwy]$", "minimum": 1 },
                    "systems": { "type": "object", "additionalProperties": { "enum": words(HANDLINGS) } },
                },
                "additionalProperties": false,
            }),
        ),
        "lockstep.type" => (
            "The shared type that says what stands here: `types/<name>` for the file `types/<name>.odcs.yaml`.",
            json!({ "type": "string", "pattern": "^types(/[A-Za-z0-9_-]+)+$" }),
        ),
        "lockstep.default" => (
            "What a reader assumes where the property is absent.",
            json!({}),
        ),
        "lockstep.enumFallback" => (
            "The allowed value that stands for one a reader does not know.",
            json!({}),
        ),
        "lockstep.match" => (
            "By what records of different systems are the same one.",
            json!({}),
        ),
        "lockstep.survivorship" => ("Who wins among matched records.", json!({})),
        _ => ("", json!({})),
    };
    let mut schema = schema;
    schema["description"] = description.into();
    schema
}

fn migrations() -> Json {
    let text = json!({ "type": "string", "minLength": 1 });
    let action = |properties: Json| {
        let names: Vec<String> = properties
            .as_object()
            .map(|map| map.keys().cloned().collect())
            .unwrap_or_default();
        json!({ "type": "object", "properties": properties, "required": names, "additionalProperties": false })
    };
    let steps = json!({
        "type": "array",
        "items": {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": false,
            "properties": {
                "rename": action(json!({ "from": text, "to": text })),
                "set": action(json!({ "field": text, "value": {} })),
                "map": action(json!({ "field": text, "values": { "type": ["object", "array"] } })),
                "compute": action(json!({ "field": text, "expression": text })),
                "drop": { "type": ["string", "object"] },
            },
        },
    });
    json!({
        "type": "array",
        "items": {
            "type": "object",
            "properties": { "from": text, "to": text, "up": steps, "down": steps },
            "required": ["from", "to", "up"],
            "additionalProperties": false,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::document;
    use crate::contract::load::grammar::{ENTITY_KEYS, NESTED_KEYS, RULE_KEYS};
    use crate::contract::sample::contracts;
    use proptest::prelude::*;

    #[test]
    fn every_property_of_ours_is_described() {
        for keys in [ENTITY_KEYS, FIELD_KEYS, NESTED_KEYS, RULE_KEYS] {
            for key in keys {
                let schema = value(key, &ROOT);
                assert_ne!(schema["description"], "", "{key}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]

        #[test]
        fn what_can_be_written_is_valid(contract in contracts()) {
            let validator = jsonschema::validator_for(&editor_schema()).unwrap();
            let document = document::write(&contract);
            let errors: Vec<String> = validator
                .iter_errors(&document)
                .map(|error| format!("{} {error}", error.instance_path()))
                .collect();
            prop_assert!(errors.is_empty(), "{:#?}\n{:#}", errors, document);
        }
    }
}
