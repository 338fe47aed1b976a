//! Which draft a schema is written in, also where it does not say so in the usual way.
//!
//! Published schemas name drafts in many spellings, name their own house's dialect, or name none and use words of an older draft.
//! Such a schema gets a reading for each draft that it may be of, and what is said of it must hold in all of them.

use std::borrow::Cow;

use serde_json::{Map, Value as Json};

use super::read::Draft;

/// Words, besides those told by their value, that drafts read differently.
const DIFFERING: [&str; 22] = [
    "const",
    "contains",
    "minContains",
    "maxContains",
    "propertyNames",
    "if",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "additionalItems",
    "prefixItems",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedProperties",
    "unevaluatedItems",
    "$anchor",
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
    "$id",
    "id",
];

/// Words that drafts before 2019-09 did not have.
const NEWER: [&str; 7] = [
    "$defs",
    "prefixItems",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedProperties",
    "unevaluatedItems",
    "$dynamicRef",
];

/// Words that assert nothing beside a reference.
const SILENT: [&str; 11] = [
    "$ref",
    "$schema",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "definitions",
    "$defs",
    "deprecated",
    "readOnly",
];

/// What the name of a draft says.
enum Named {
    One(Draft),
    /// One of those that are known, or its own.
    Any,
    /// One that is not read here.
    Older,
}

/// The readings of a schema, each naming its draft in the usual way.
pub(super) fn readings(schema: &Json) -> Result<Vec<Cow<'_, Json>>, String> {
    let Json::Object(map) = schema else {
        return Ok(vec![Cow::Borrowed(schema)]);
    };
    let drafts = match map.get("$schema") {
        None if is_of(Draft::Y2020, schema) => return Ok(vec![Cow::Borrowed(schema)]),
        // The words of newer drafts rule the older ones out.
        None if mentions(schema, &NEWER) => among(schema, map, &Draft::ALL[..2]),
        None => among(schema, map, &Draft::ALL),
        Some(Json::String(name)) => match named(name) {
            Named::One(draft) if Draft::of(schema) == Some(draft) => {
                return Ok(vec![Cow::Borrowed(schema)]);
            }
            Named::One(draft) => vec![draft],
            Named::Any if !differs(schema, true) => vec![Draft::Y2020],
            Named::Any => among(schema, map, &[Draft::Y2020, Draft::Seven, Draft::Four]),
            Named::Older => return Err(format!("is of the draft `{name}`, which is not read")),
        },
        Some(other) => return Err(format!("names its draft by `{other}`, which is no text")),
    };
    if drafts.is_empty() {
        // Of no draft: the validator of the newest one says what is wrong.
        return Ok(vec![Cow::Owned(of_draft(map, Draft::Y2020))]);
    }
    let each = drafts.into_iter().map(|draft| of_draft(map, draft));
    Ok(each.map(Cow::Owned).collect())
}

/// The drafts whose own schema accepts this one.
fn among(schema: &Json, map: &Map<String, Json>, drafts: &[Draft]) -> Vec<Draft> {
    let mut bare = Cow::Borrowed(schema);
    if map.contains_key("$schema") {
        let mut map = map.clone();
        map.remove("$schema");
        bare = Cow::Owned(Json::Object(map));
    }
    let drafts = drafts.iter().copied();
    drafts.filter(|&draft| is_of(draft, &bare)).collect()
}

fn is_of(draft: Draft, schema: &Json) -> bool {
    match draft {
        Draft::Four => jsonschema::draft4::meta::is_valid(schema),
        Draft::Six => jsonschema::draft6::meta::is_valid(schema),
        Draft::Seven => jsonschema::draft7::meta::is_valid(schema),
        Draft::Y2019 => jsonschema::draft201909::meta::is_valid(schema),
        Draft::Y2020 => jsonschema::draft202012::meta::is_valid(schema),
    }
}

fn of_draft(map: &Map<String, Json>, draft: Draft) -> Json {
    let mut map = map.clone();
    map.insert("$schema".to_owned(), draft.name().into());
    Json::Object(map)
}

fn named(name: &str) -> Named {
    let name = name.to_ascii_lowercase();
    if !name.contains("json-schema.org") && !name.contains("json-schema-org") {
        return Named::Any;
    }
    let drafts = [
        ("draft-04/", Draft::Four),
        ("draft-06/", Draft::Six),
        ("draft-07/", Draft::Seven),
        ("draft/2019-09/", Draft::Y2019),
        ("draft/2020-12/", Draft::Y2020),
    ];
    let found = drafts.iter().find(|(part, _)| name.contains(part));
    match found {
        Some((_, draft)) => Named::One(*draft),
        None if name.contains("draft-0") => Named::Older,
        None => Named::Any,
    }
}

/// Whether one of the words is a name anywhere; the depth of JSON texts bounds this.
fn mentions(value: &Json, words: &[&str]) -> bool {
    match value {
        Json::Array(list) => list.iter().any(|inner| mentions(inner, words)),
        Json::Object(map) => map
            .iter()
            .any(|(name, inner)| words.contains(&name.as_str()) || mentions(inner, words)),
        _ => false,
    }
}

/// Whether drafts may read the schema differently; the depth of JSON texts bounds this.
fn differs(value: &Json, is_top: bool) -> bool {
    match value {
        Json::Array(list) => list.iter().any(|inner| differs(inner, false)),
        Json::Object(map) => {
            let has =
                |word: &&str| map.contains_key(*word) && !(is_top && matches!(*word, "id" | "$id"));
            let beside = || map.keys().any(|word| !SILENT.contains(&word.as_str()));
            DIFFERING.iter().any(has)
                || map.get("items").is_some_and(Json::is_array)
                || (map.contains_key("$ref") && beside())
                || map.values().any(|inner| differs(inner, false))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn drafts(schema: &Json) -> Vec<Draft> {
        let readings = readings(schema).unwrap();
        readings
            .iter()
            .map(|reading| Draft::of(reading).unwrap())
            .collect()
    }

    #[test]
    fn drafts_are_found_by_every_spelling_in_use() {
        let all = Draft::ALL;
        for (name, found) in [
            ("http://json-schema.org/draft-04/schema", &[Draft::Four][..]),
            ("https://json-schema.org/draft-07/schema#", &[Draft::Seven]),
            ("http://json-schema.org/draft-07/schema#/", &[Draft::Seven]),
            ("http://json-schema-org/draft-06/schema#", &[Draft::Six]),
            (
                "http://json-schema.org/draft-04/hyper-schema#",
                &[Draft::Four],
            ),
            (
                "http://json-schema.org/draft/2019-09/schema#",
                &[Draft::Y2019],
            ),
            ("http://json-schema.org/schema#", &[Draft::Y2020]),
            ("http://example.invalid/own#", &[Draft::Y2020]),
        ] {
            assert_eq!(
                drafts(&json!({"$schema": name, "type": "null"})),
                found,
                "{name}"
            );
        }
        assert_eq!(drafts(&json!({"type": "null"})), [Draft::Y2020]);
        let tuple = json!({"items": [{"type": "null"}]});
        assert_eq!(drafts(&tuple), all[1..]);
        let mistaken = json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "strin"}}});
        assert_eq!(drafts(&mistaken), [Draft::Y2020]);
        let four = json!({"minimum": 1, "exclusiveMinimum": true});
        assert_eq!(drafts(&four), [Draft::Four]);
        let own = json!({"$schema": "http://example.invalid/own#", "const": 1});
        assert_eq!(drafts(&own), [Draft::Y2020, Draft::Seven, Draft::Four]);
        assert!(readings(&json!({"$schema": "http://json-schema.org/draft-03/schema#"})).is_err());
    }
}
