//! A schema in other words: those that every validator reads, and those that settle what validators read differently.

use std::collections::HashSet;

use serde_json::{Map, Value as Json, json};

use super::ecma;
use super::read::{Draft, is_data};
use super::value::canonical;

/// The schema without annotations and repetitions, its patterns and references spelled so that every validator reads them.
pub(super) fn plain(schema: &Json) -> Json {
    let mut kept = Kept::default();
    kept.look(schema);
    kept.copy(schema, true)
}

/// Which annotations references lead into.
#[derive(Default)]
struct Kept {
    defaults: bool,
    examples: bool,
}

impl Kept {
    /// Looks at every reference; the depth of JSON texts bounds this.
    fn look(&mut self, value: &Json) {
        match value {
            Json::Object(map) => {
                if let Some(Json::String(target)) = map.get("$ref") {
                    self.defaults |= target.contains("/default");
                    self.examples |= target.contains("/examples");
                }
                map.values().for_each(|inner| self.look(inner));
            }
            Json::Array(list) => list.iter().for_each(|inner| self.look(inner)),
            _ => {}
        }
    }

    fn copy(&self, value: &Json, is_schema: bool) -> Json {
        match value {
            Json::Array(list) => list.iter().map(|inner| self.copy(inner, true)).collect(),
            Json::Object(map) if is_schema => {
                let members = map.iter();
                let kept = members.filter(|(word, value)| !self.is_silent(word, value));
                Json::Object(
                    kept.map(|(word, value)| (word.clone(), self.keyword(word, value)))
                        .collect(),
                )
            }
            Json::Object(map) => {
                let members = map.iter();
                let copied = members.map(|(name, inner)| (name.clone(), self.copy(inner, true)));
                Json::Object(copied.collect())
            }
            other => other.clone(),
        }
    }

    /// Whether a keyword says nothing about any document.
    fn is_silent(&self, word: &str, value: &Json) -> bool {
        match word {
            "title" | "description" | "$comment" | "deprecated" | "readOnly" | "writeOnly" => {
                !value.is_object()
            }
            "default" => !self.defaults,
            "examples" => !self.examples,
            "required" | "allOf" => value.as_array().is_some_and(Vec::is_empty),
            // Some generators write where a schema stands as its name, which is none.
            "id" | "$id" => value.as_str().is_some_and(|name| name.starts_with("#/")),
            _ => false,
        }
    }

    fn keyword(&self, word: &str, value: &Json) -> Json {
        match (word, value) {
            ("pattern", Json::String(pattern)) => {
                spelled(pattern).unwrap_or_else(|| pattern.clone()).into()
            }
            ("$ref", Json::String(target)) => {
                encoded(target).unwrap_or_else(|| target.clone()).into()
            }
            ("patternProperties", Json::Object(map)) => {
                let each = map.iter().map(|(pattern, inner)| {
                    let pattern = spelled(pattern).unwrap_or_else(|| pattern.clone());
                    (pattern, self.copy(inner, true))
                });
                Json::Object(each.collect())
            }
            ("type" | "required" | "enum", Json::Array(list)) => {
                let mut met = HashSet::new();
                let each = list.iter().filter(|one| met.insert(canonical(one)));
                each.cloned().collect()
            }
            (word, value) if is_data(word) => value.clone(),
            (word, value) => self.copy(value, !holds_names(word)),
        }
    }
}

/// Whether a keyword holds schemas by names that are not keywords.
fn holds_names(word: &str) -> bool {
    matches!(
        word,
        "properties"
            | "patternProperties"
            | "$defs"
            | "definitions"
            | "dependentSchemas"
            | "dependencies"
    )
}

fn text<'m>(map: &'m Map<String, Json>, word: &str) -> Option<&'m str> {
    map.get(word).and_then(Json::as_str)
}

/// Whether validators refuse a pattern that is foreign; one that is not, and still refused, is a mistake.
pub(super) fn has_refused(schema: &Json) -> bool {
    let refused = |pattern: &str| {
        ecma::is_foreign(pattern)
            && !jsonschema::draft7::meta::is_valid(&json!({"pattern": pattern}))
    };
    let mut found = false;
    let mut todo = vec![schema];
    while let Some(value) = todo.pop() {
        match value {
            Json::Object(map) => {
                let names = map.get("patternProperties").and_then(Json::as_object);
                found |= text(map, "pattern").is_some_and(refused)
                    || names.is_some_and(|names| names.keys().any(|name| refused(name)));
                todo.extend(map.values());
            }
            Json::Array(list) => todo.extend(list),
            _ => {}
        }
    }
    found
}

/// A pattern whose brackets stand for themselves without saying so, as engines of the web allow; `None` where there are none.
fn spelled(pattern: &str) -> Option<String> {
    let letters: Vec<char> = pattern.chars().collect();
    let mut out = String::with_capacity(pattern.len() + 4);
    let (mut at, mut in_class, mut changed) = (0, false, false);
    while let Some(&letter) = letters.get(at) {
        at += 1;
        match letter {
            '\\' => {
                out.push('\\');
                let escaped = letters.get(at).copied();
                out.extend(escaped);
                at += 1;
                let is_set = matches!(escaped, Some('d' | 'D' | 's' | 'S' | 'w' | 'W'));
                let dash = letters.get(at) == Some(&'-');
                if in_class && is_set && dash && letters.get(at + 1) != Some(&']') {
                    // A set begins no range.
                    out.push_str("\\-");
                    at += 1;
                    changed = true;
                }
                // What stands in the braces is a name or a number.
                if matches!(escaped, Some('p' | 'P' | 'u' | 'x')) && letters.get(at) == Some(&'{') {
                    while let Some(&inner) = letters.get(at) {
                        out.push(inner);
                        at += 1;
                        if inner == '}' {
                            break;
                        }
                    }
                }
                continue;
            }
            '[' if !in_class => in_class = true,
            ']' if in_class => in_class = false,
            '{' if !in_class => {
                if let Some(end) = counted(&letters[at..]) {
                    out.push('{');
                    out.extend(&letters[at..at + end]);
                    at += end;
                    continue;
                }
                out.push('\\');
                changed = true;
            }
            '}' | ']' if !in_class => {
                out.push('\\');
                changed = true;
            }
            _ => {}
        }
        out.push(letter);
    }
    changed.then_some(out)
}

/// How long the rest of `{2,3}` is, where that is what it is.
fn counted(letters: &[char]) -> Option<usize> {
    let end = letters.iter().position(|&letter| letter == '}')?;
    let inside = &letters[..end];
    let is_count = inside.first()?.is_ascii_digit()
        && inside.iter().filter(|&&letter| letter == ',').count() < 2
        && inside
            .iter()
            .all(|&letter| letter.is_ascii_digit() || letter == ',');
    is_count.then_some(end + 1)
}

/// A reference with what may not stand in one written by its bytes; `None` where all may.
fn encoded(reference: &str) -> Option<String> {
    let mut out = String::with_capacity(reference.len());
    let mut seen = false;
    for letter in reference.chars() {
        let second = letter == '#' && std::mem::replace(&mut seen, true);
        let fine = letter.is_ascii_alphanumeric() || "-._~:/?#@!$&'()*+,;=%".contains(letter);
        if fine && !second {
            out.push(letter);
            continue;
        }
        for byte in letter.to_string().bytes() {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    (out != reference).then_some(out)
}

/// The schema without the keyword that validators of newer drafts read differently; `None` where it has none.
pub(super) fn without_leftovers(schema: &Json) -> Option<Json> {
    if Draft::of(schema).is_none_or(|draft| draft < Draft::Y2019) {
        return None;
    }
    let mut bare = schema.clone();
    let mut found = false;
    each_schema(&mut bare, true, &mut |map| {
        found |= map.remove("dependencies").is_some();
    });
    found.then_some(bare)
}

/// The schema with its foreign patterns and dangling references replaced, such that all of them match or none does; `None` where it has none.
pub(super) fn with_foreign(
    schema: &Json,
    matching: bool,
    dangling: &HashSet<String>,
) -> Option<Json> {
    let mut other = schema.clone();
    let mut count = 0;
    let mut next = || {
        count += 1;
        // Names of members must differ.
        let stem = if matching { "^|" } else { "$" };
        format!("{stem}x{count}")
    };
    let mut held = false;
    let is_older = Draft::of(schema).is_some_and(|draft| draft <= Draft::Seven);
    each_schema(&mut other, true, &mut |map| {
        if let Some(Json::String(pattern)) = map.get_mut("pattern")
            && ecma::is_foreign(pattern)
        {
            *pattern = next();
        }
        if let Some(Json::Object(patterns)) = map.get_mut("patternProperties")
            && patterns.keys().any(|pattern| ecma::is_foreign(pattern))
        {
            let old = std::mem::take(patterns);
            patterns.extend(old.into_iter().map(|(pattern, inner)| {
                let foreign = ecma::is_foreign(&pattern);
                (if foreign { next() } else { pattern }, inner)
            }));
        }
        if text(map, "$ref").is_some_and(|target| dangling.contains(target)) {
            held = true;
            map.remove("$ref");
            if is_older {
                // Nothing else counted beside the reference, but may be referred to.
                map.retain(|word, _| matches!(word.as_str(), "$schema" | "definitions" | "$defs"));
            }
            if !matching {
                let all = map.remove("allOf");
                let mut all = all
                    .and_then(|all| all.as_array().cloned())
                    .unwrap_or_default();
                all.push(json!({"not": {}}));
                map.insert("allOf".to_owned(), all.into());
            }
        }
    });
    (count > 0 || held).then_some(other)
}

/// Changes every object that is a schema, outer ones first; the depth of JSON texts bounds this.
fn each_schema(value: &mut Json, is_schema: bool, change: &mut dyn FnMut(&mut Map<String, Json>)) {
    match value {
        Json::Object(map) => {
            if is_schema {
                change(map);
            }
            for (key, inner) in map.iter_mut() {
                if !(is_schema && is_data(key)) {
                    each_schema(inner, !(is_schema && holds_names(key)), change);
                }
            }
        }
        Json::Array(list) => list
            .iter_mut()
            .for_each(|inner| each_schema(inner, true, change)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_that_stand_for_themselves_say_so() {
        for (pattern, better) in [
            (r"^\${{\s*if(.*?)\s*}}$", Some(r"^\$\{\{\s*if(.*?)\s*\}\}$")),
            ("^[a-z]{2}]?$", Some(r"^[a-z]{2}\]?$")),
            ("a{,3}", Some(r"a\{,3\}")),
            (r"^[\w-.]+[\d-]$", Some(r"^[\w\-.]+[\d-]$")),
            (r"^[{}[]a{1,3}b{2,}\{\]\p{L}\u{61}$", None),
        ] {
            assert_eq!(spelled(pattern).as_deref(), better, "{pattern}");
        }
    }

    #[test]
    fn what_says_nothing_is_left_out() {
        let schema = json!({
            "title": "a", "description": ["b"], "required": [], "type": ["null", "null"],
            "$id": "#/definitions/a", "enum": [1, 1.0, {"title": 1}], "default": {"$ref": 1},
            "properties": {"title": {"type": "string", "examples": 1}},
        });
        let plain = json!({
            "type": ["null"], "enum": [1, {"title": 1}], "properties": {"title": {"type": "string"}},
        });
        assert_eq!(super::plain(&schema), plain);
        let kept = json!({"$ref": "#/default", "default": {"type": "null"}});
        assert_eq!(super::plain(&kept), kept);
    }

    #[test]
    fn references_are_written_as_such() {
        assert_eq!(
            encoded("#/definitions/Map<a,b>").as_deref(),
            Some("#/definitions/Map%3Ca,b%3E")
        );
        assert_eq!(encoded("http://a.b/c%20d#/e"), None);
    }
}
