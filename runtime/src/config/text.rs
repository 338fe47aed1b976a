//! TOML as data with a place for every key and value.
//!
//! What follows (types, names, meanings) works on plain JSON values and on paths; this module is the only one that knows TOML and byte offsets.
//! A text with a syntax error gives no data: whatever a parser guesses behind an error would only add findings that are not true.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use lockstep_core::diagnostic::{Diagnostic, Place};
use serde_json::Value as Json;
use toml::de::{DeTable, DeValue};

/// Where every key and value of a configuration stands.
#[derive(Clone, Default)]
pub struct Places {
    file: String,
    text: String,
    spans: BTreeMap<Vec<String>, Spans>,
}

#[derive(Clone, Default)]
struct Spans {
    key: Range<usize>,
    value: Range<usize>,
}

/// Parses a text into data and places.
///
/// # Errors
/// Every syntax error, one a line.
pub(super) fn parse(file: &str, text: &str) -> Result<(Json, Places), Vec<Diagnostic>> {
    let mut places = Places {
        file: file.to_owned(),
        text: text.to_owned(),
        spans: BTreeMap::new(),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut findings: Vec<Diagnostic> = errors
        .iter()
        .map(|error| syntax(&places, text, error))
        .collect();
    let mut path = Vec::new();
    let data = places.table(table.get_ref(), &mut path, &mut findings);
    if findings.is_empty() {
        return Ok((data, places));
    }
    // One mistake makes the parser stumble several times in its line.
    findings.sort_by_key(|finding| finding.place.as_ref().map(|place| place.offset));
    findings.dedup_by_key(|finding| finding.place.as_ref().map(|place| place.line));
    Err(findings)
}

fn syntax(places: &Places, text: &str, error: &toml::de::Error) -> Diagnostic {
    let span = error.span().unwrap_or_default();
    let mut message = error.message().to_owned();
    let mut help = "see https://toml.io for the form of the file";
    if message == "duplicate key" {
        if let Some(key) = text.get(span.clone()) {
            message = format!("`{key}` is written twice");
        }
        help = "remove one of the two, or bring them together";
    } else if message.starts_with("string values must be quoted") {
        "a value is missing, or a text stands without quotes".clone_into(&mut message);
        help = "write texts in quotes: name = \"value\"";
    }
    Diagnostic::error("LS-G002", message)
        .at(places.at(&span))
        .help(help)
}

impl Places {
    /// The place of a key; of the nearest enclosing one where the path itself is not written.
    #[must_use]
    pub fn key(&self, path: &[&str]) -> Place {
        self.find(path)
            .map_or_else(|| self.start(), |spans| self.at(&spans.key))
    }

    /// The place of a value; of the nearest enclosing one where the path itself is not written.
    ///
    /// The value of a table is its header.
    #[must_use]
    pub fn value(&self, path: &[&str]) -> Place {
        self.find(path)
            .map_or_else(|| self.start(), |spans| self.at(&spans.value))
    }

    /// Tells whether something is written under a path.
    #[must_use]
    pub fn holds(&self, path: &[&str]) -> bool {
        let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        self.spans.contains_key(&path)
    }

    /// What is written as a value; empty where it is not written.
    pub(super) fn text_of(&self, path: &[&str]) -> &str {
        let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        self.spans
            .get(&path)
            .and_then(|spans| self.text.get(spans.value.clone()))
            .unwrap_or_default()
    }

    /// The file as a whole: its top, with nothing marked.
    #[must_use]
    pub fn start(&self) -> Place {
        Place::in_text(&self.file, &self.text, 0, 0)
    }

    fn find(&self, path: &[&str]) -> Option<&Spans> {
        let mut path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        while !path.is_empty() {
            if let Some(spans) = self.spans.get(&path) {
                return Some(spans);
            }
            path.pop();
        }
        None
    }

    fn at(&self, span: &Range<usize>) -> Place {
        Place::in_text(
            &self.file,
            &self.text,
            span.start,
            span.len().max(usize::from(!self.text.is_empty())),
        )
    }

    fn table(
        &mut self,
        table: &DeTable<'_>,
        path: &mut Vec<String>,
        findings: &mut Vec<Diagnostic>,
    ) -> Json {
        let mut object = serde_json::Map::new();
        for (key, value) in table {
            path.push(key.get_ref().to_string());
            let spans = Spans {
                key: key.span(),
                value: value.span(),
            };
            self.spans.insert(path.clone(), spans);
            let data = self.convert(value.get_ref(), path, findings);
            object.insert(key.get_ref().to_string(), data);
            path.pop();
        }
        Json::Object(object)
    }

    fn convert(
        &mut self,
        value: &DeValue<'_>,
        path: &mut Vec<String>,
        findings: &mut Vec<Diagnostic>,
    ) -> Json {
        match value {
            DeValue::String(text) => Json::String(text.to_string()),
            DeValue::Boolean(flag) => Json::Bool(*flag),
            DeValue::Datetime(at) => Json::String(at.to_string()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| self.no_number(path, findings), Json::from),
            DeValue::Float(number) => number
                .as_str()
                .parse()
                .ok()
                .and_then(serde_json::Number::from_f64)
                .map_or_else(|| self.no_number(path, findings), Json::Number),
            DeValue::Array(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (i, item) in items.iter().enumerate() {
                    path.push(i.to_string());
                    let spans = Spans {
                        key: item.span(),
                        value: item.span(),
                    };
                    self.spans.insert(path.clone(), spans);
                    list.push(self.convert(item.get_ref(), path, findings));
                    path.pop();
                }
                Json::Array(list)
            }
            DeValue::Table(table) => self.table(table, path, findings),
        }
    }

    fn no_number(&self, path: &[String], findings: &mut Vec<Diagnostic>) -> Json {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        findings.push(
            Diagnostic::error("LS-G002", "the number is outside the range of 64 bits")
                .at(self.value(&path))
                .help("write it in quotes if it is meant as text"),
        );
        Json::Null
    }
}

/// Shows the file's name only: the text may hold secrets that somebody wrote out.
impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_value_has_its_place() {
        let text = "[systems.crm]\nport = 1_000\nto = [\"a\", \"b\"]\nmap.x = { t = 1 }\n";
        let (data, places) = parse("f.toml", text).unwrap();
        assert_eq!(data["systems"]["crm"]["port"], 1000);
        let port = places.value(&["systems", "crm", "port"]);
        assert_eq!((port.line, port.column, port.length), (2, 8, 5));
        let item = places.value(&["systems", "crm", "to", "1"]);
        assert_eq!((item.line, item.column), (3, 12));
        let inline = places.key(&["systems", "crm", "map", "x", "t"]);
        assert_eq!((inline.line, inline.column), (4, 11));
        // What is not written is placed at what encloses it.
        let absent = places.value(&["systems", "crm", "map", "x", "fields"]);
        assert_eq!((absent.line, absent.column), (4, 9));
        assert!(!places.holds(&["systems", "crm", "pork"]));
    }

    #[test]
    fn every_syntax_error_is_reported_once() {
        let findings = parse(
            "f",
            "a = \nb = 1\nb = 2\nc = \"open\nd = 99999999999999999999\n",
        )
        .unwrap_err();
        let lines: Vec<usize> = findings
            .iter()
            .map(|f| f.place.as_ref().unwrap().line)
            .collect();
        assert_eq!(lines, [1, 3, 4, 5], "{findings:#?}");
        assert_eq!(findings[1].message, "`b` is written twice");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*|[\\[\\]={}\"'a-c.,0-9#\\n _-]*") {
            if let Ok((_, places)) = parse("f", &text) {
                let _ = places.value(&["a", "b"]);
            }
        }
    }
}
