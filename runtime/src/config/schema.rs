//! Compares what is written with a JSON Schema and says, with places, what does not fit.
//!
//! The schemas are the ones derived from our own types and from the connectors' settings, so names, types and help texts are stated once, on the types.
//! What does not fit is left out of the result, so that one mistake hides no other.

use std::collections::BTreeSet;

use lockstep_core::diagnostic::{Diagnostic, nearest, suggestion};
use serde_json::{Map, Value as Json};

use super::text::Places;

/// Most references followed for one value.
const REFERENCES_MAX: usize = 16;

/// A comparison under way.
pub(super) struct Fit<'a> {
    /// Where things stand.
    pub(super) places: &'a Places,
    /// The whole schema, for its references.
    pub(super) root: &'a Json,
    /// The connector whose settings these are, if they are.
    pub(super) connector: Option<&'a str>,
    /// Paths of texts that `${…}` filled in: never shown, and read as a number or a truth value where that is asked for.
    pub(super) filled: &'a BTreeSet<Vec<String>>,
    /// What was found.
    pub(super) findings: &'a mut Vec<Diagnostic>,
}

impl Fit<'_> {
    /// The part of `value` that fits `schema`.
    pub(super) fn fit(
        &mut self,
        value: &Json,
        schema: &Json,
        path: &mut Vec<String>,
    ) -> Option<Json> {
        if value.is_null() && self.filled.contains(path.as_slice()) {
            // What could not be filled in has its finding already.
            return Some(Json::Null);
        }
        let schema = self.resolve(schema);
        if let Some(all) = schema.get("allOf").and_then(Json::as_array) {
            return all
                .iter()
                .try_fold(value.clone(), |value, part| self.fit(&value, part, path));
        }
        if let Some(any) = alternatives(schema) {
            return self.fit_any(value, schema, any, path);
        }
        let value = &self.coerce(value, schema, path)?;
        if let Some(listed) = listed(schema) {
            return self.fit_listed(value, &listed, path);
        }
        match value {
            Json::Object(object) => self.fit_table(object, schema, path),
            Json::Array(items) => Some(self.fit_list(items, schema, path)),
            Json::Number(number) => self.fit_number(number, schema, path),
            other => Some(other.clone()),
        }
    }

    fn resolve<'s>(&self, schema: &'s Json) -> &'s Json
    where
        Self: 's,
    {
        let mut schema = schema;
        for _ in 0..REFERENCES_MAX {
            let target = schema
                .get("$ref")
                .and_then(Json::as_str)
                .and_then(|reference| reference.strip_prefix('#'))
                .and_then(|pointer| self.root.pointer(pointer));
            match target {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    /// Checks the type. A filled-in text becomes the number or truth value that is asked for.
    fn coerce(&mut self, value: &Json, schema: &Json, path: &[String]) -> Option<Json> {
        let types = types(schema);
        if types.is_empty() || types.iter().any(|kind| is_a(value, kind)) {
            return Some(value.clone());
        }
        let filled = self.filled.contains(path);
        if let (true, Json::String(text)) = (filled, value) {
            let read = serde_json::from_str::<Json>(text.trim()).ok();
            if let Some(read) = read.filter(|read| types.iter().any(|kind| is_a(read, kind))) {
                return Some(read);
            }
        }
        let found = if filled {
            "what `${…}` stands for is not".to_owned()
        } else {
            format!("found {}", word(value))
        };
        let expected: Vec<&str> = types.iter().map(|kind| article(kind)).collect();
        self.wrong_type(&expected, &found, schema, path);
        None
    }

    fn wrong_type(&mut self, expected: &[&str], found: &str, schema: &Json, path: &[String]) {
        let expected = expected.join(" or ");
        let mut finding = Diagnostic::error(
            "LS-G004",
            format!("`{}` must be {expected}; {found}", last(path)),
        )
        .at(self.places.value(&parts(path)));
        if let Some(help) = description(schema) {
            finding = finding.help(format!("`{}`: {help}", last(path)));
        } else if expected == "text" {
            finding = finding.help("write it in quotes");
        } else {
            finding = finding.help(format!("write {expected} here"));
        }
        self.findings.push(finding);
    }

    fn fit_any(
        &mut self,
        value: &Json,
        schema: &Json,
        any: &[Json],
        path: &mut Vec<String>,
    ) -> Option<Json> {
        let filled = self.filled.contains(path.as_slice());
        let mut expected = Vec::new();
        for branch in any {
            let branch = self.resolve(branch);
            let types = types(branch);
            if types == ["null"] {
                continue;
            }
            // A filled-in text may still become what any branch asks for; the last one speaks if none takes it.
            if types.is_empty() || filled || types.iter().any(|kind| is_a(value, kind)) {
                let tagged = branch.get("properties").is_some() && any.len() > 2;
                if !tagged || self.would_fit(value, branch, path) {
                    return self.fit(value, branch, path);
                }
            }
            expected.extend(types.iter().map(|kind| article(kind)));
        }
        expected.dedup();
        let found = format!("found {}", word(value));
        self.wrong_type(&expected, &found, schema, path);
        None
    }

    /// Tells whether a branch takes a value without complaint.
    fn would_fit(&self, value: &Json, branch: &Json, path: &mut Vec<String>) -> bool {
        let mut findings = Vec::new();
        let mut trial = Fit {
            findings: &mut findings,
            ..*self
        };
        trial.fit(value, branch, path).is_some() && findings.is_empty()
    }

    fn fit_listed(&mut self, value: &Json, listed: &[&Json], path: &[String]) -> Option<Json> {
        if listed.contains(&value) {
            return Some(value.clone());
        }
        let names: Vec<&str> = listed.iter().filter_map(|known| known.as_str()).collect();
        let mut finding = Diagnostic::error(
            "LS-G008",
            if self.filled.contains(path) {
                format!("`{}` cannot be what `${{…}}` stands for", last(path))
            } else {
                format!("`{}` cannot be {}", last(path), show(value))
            },
        )
        .at(self.places.value(&parts(path)));
        finding = match value.as_str() {
            Some(written) if !self.filled.contains(path) => {
                finding.help(suggestion(written, names))
            }
            _ => finding.help(format!("known: {}", names.join(", "))),
        };
        self.findings.push(finding);
        None
    }

    fn fit_table(
        &mut self,
        object: &Map<String, Json>,
        schema: &Json,
        path: &mut Vec<String>,
    ) -> Option<Json> {
        let none = Map::new();
        let known = schema
            .get("properties")
            .and_then(Json::as_object)
            .unwrap_or(&none);
        // A connector that says nothing about other settings has none: a misspelt one must not pass in silence.
        let closed = Json::Bool(self.connector.is_none() || known.is_empty());
        let others = Some(schema.get("additionalProperties").unwrap_or(&closed));
        let mut fitting = Map::new();
        for (key, value) in object {
            path.push(key.clone());
            match (known.get(key), others) {
                (Some(schema), _) | (None, Some(schema @ Json::Object(_))) => {
                    if let Some(value) = self.fit(value, schema, path) {
                        fitting.insert(key.clone(), value);
                    }
                }
                (None, Some(Json::Bool(false))) => self.unknown(key, known, path),
                (None, _) => {
                    fitting.insert(key.clone(), value.clone());
                }
            }
            path.pop();
        }
        self.nothing_is_missing(object, &fitting, schema, known, path)
            .then_some(Json::Object(fitting))
    }

    fn unknown(&mut self, key: &str, known: &Map<String, Json>, path: &[String]) {
        let names = known.keys().map(String::as_str);
        let (code, message) = match (self.connector, path.len()) {
            // Settings of a connector stand directly under `systems.<name>`.
            (Some(connector), 3) => (
                "LS-G007",
                format!("connector `{connector}` has no setting `{key}`"),
            ),
            (_, 1) => ("LS-G003", format!("unknown key `{key}`")),
            _ => (
                "LS-G003",
                format!(
                    "unknown key `{key}` in `{}`",
                    path[..path.len() - 1].join(".")
                ),
            ),
        };
        let finding = Diagnostic::error(code, message)
            .at(self.places.key(&parts(path)))
            .help(suggestion(key, names));
        self.findings.push(finding);
    }

    fn nothing_is_missing(
        &mut self,
        written: &Map<String, Json>,
        fitting: &Map<String, Json>,
        schema: &Json,
        known: &Map<String, Json>,
        path: &[String],
    ) -> bool {
        let mut whole = true;
        let required = schema.get("required").and_then(Json::as_array);
        for key in required.into_iter().flatten().filter_map(Json::as_str) {
            whole &= fitting.contains_key(key);
            // A misspelt key has its finding already.
            let misspelt = |other: &String| {
                let names = known.keys().map(String::as_str);
                !known.contains_key(other) && nearest(other, names) == Some(key)
            };
            if written.contains_key(key) || written.keys().any(misspelt) {
                continue;
            }
            let place = if path.is_empty() {
                self.places.start()
            } else {
                self.places.value(&parts(path))
            };
            let help = known.get(key).and_then(description).map_or_else(
                || format!("add `{key} = …`"),
                |text| format!("add `{key} = …`: {text}"),
            );
            self.findings.push(
                Diagnostic::error("LS-G005", format!("`{}` lacks `{key}`", path.join(".")))
                    .at(place)
                    .help(help),
            );
        }
        whole
    }

    fn fit_list(&mut self, items: &[Json], schema: &Json, path: &mut Vec<String>) -> Json {
        let each = schema.get("items").cloned().unwrap_or(Json::Bool(true));
        let mut fitting = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            path.push(i.to_string());
            fitting.extend(self.fit(item, &each, path));
            path.pop();
        }
        Json::Array(fitting)
    }

    fn fit_number(
        &mut self,
        number: &serde_json::Number,
        schema: &Json,
        path: &[String],
    ) -> Option<Json> {
        let bound = |name| schema.get(name).and_then(Json::as_f64);
        let value = number.as_f64().unwrap_or_default();
        let (least, most) = (bound("minimum"), bound("maximum"));
        if least.is_none_or(|least| value >= least) && most.is_none_or(|most| value <= most) {
            return Some(Json::Number(number.clone()));
        }
        let shown = if self.filled.contains(path) {
            "what `${…}` stands for".to_owned()
        } else {
            number.to_string()
        };
        let range = match (least, most) {
            (Some(least), Some(most)) => format!("from {least} to {most}"),
            (Some(least), None) => format!("{least} or more"),
            (None, Some(most)) => format!("{most} or less"),
            (None, None) => String::new(),
        };
        self.findings.push(
            Diagnostic::error("LS-G008", format!("`{}` cannot be {shown}", last(path)))
                .at(self.places.value(&parts(path)))
                .help(format!("write a number of {range}")),
        );
        None
    }
}

/// A path as the places want it.
pub(super) fn parts(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}

/// The last name of a path: for an item of a list, the list's.
fn last(path: &[String]) -> &str {
    path.iter()
        .rev()
        .find(|part| part.parse::<usize>().is_err())
        .map_or("", String::as_str)
}

/// The alternatives of a schema, unless they only list values.
fn alternatives(schema: &Json) -> Option<&Vec<Json>> {
    let any = schema.get("anyOf").or_else(|| schema.get("oneOf"))?;
    let any = any.as_array()?;
    listed(schema).is_none().then_some(any)
}

/// The values that a schema lists, be it by `enum`, by `const` or by alternatives of them.
fn listed(schema: &Json) -> Option<Vec<&Json>> {
    if let Some(values) = schema.get("enum").and_then(Json::as_array) {
        return Some(values.iter().collect());
    }
    if let Some(value) = schema.get("const") {
        return Some(vec![value]);
    }
    let any = schema.get("anyOf").or_else(|| schema.get("oneOf"))?;
    let mut values = Vec::new();
    for branch in any.as_array()? {
        // Depth is that of the schema, which is ours; no reference is followed here.
        values.extend(listed(branch)?);
    }
    Some(values)
}

fn types(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(kind)) => vec![kind],
        // TOML has no null, so nobody is told to write one.
        Some(Json::Array(kinds)) => kinds
            .iter()
            .filter_map(Json::as_str)
            .filter(|kind| *kind != "null")
            .collect(),
        _ if schema.get("properties").is_some() => vec!["object"],
        _ => Vec::new(),
    }
}

fn is_a(value: &Json, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "null" => value.is_null(),
        _ => true,
    }
}

fn article(kind: &str) -> &str {
    match kind {
        "string" => "text",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "true or false",
        "object" => "a table",
        "array" => "a list",
        other => other,
    }
}

/// A value's type in words.
fn word(value: &Json) -> &'static str {
    match value {
        Json::Null => "nothing",
        Json::Bool(_) => "true or false",
        Json::Number(number) if number.is_f64() => "a number",
        Json::Number(_) => "an integer",
        Json::String(_) => "text",
        Json::Array(_) => "a list",
        Json::Object(_) => "a table",
    }
}

fn show(value: &Json) -> String {
    match value {
        Json::String(text) => format!("`{}`", text.chars().take(80).collect::<String>()),
        Json::Object(_) | Json::Array(_) => word(value).to_owned(),
        other => format!("`{other}`"),
    }
}

fn description(schema: &Json) -> Option<&str> {
    let text = schema.get("description")?.as_str()?;
    let first = text.lines().next().unwrap_or(text);
    Some(first.trim_end_matches('.'))
}
