//! PostgreSQL's arrays ↔ JSON arrays.
//!
//! An array becomes a JSON array, nested where it has several dimensions.
//! Whole numbers and truth values stay what they are, JSON documents stand in it as they are, every other element becomes a JSON string of its text, decimals among them, since JSON numbers lose their digits in most readers.
//! Pure: no connection.

use serde_json::Value as Json;
use serde_json::value::RawValue;

use crate::convert::oid;

/// How an array's elements stand in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    Bool,
    Int,
    Float,
    Json,
    /// As a string of their text.
    Text,
}

/// Deepest nesting of an array; PostgreSQL's own limit.
const DIMENSIONS_MAX: usize = 6;

impl Element {
    /// By the array's type; elements of arrays that are not PostgreSQL's own are strings.
    pub(crate) fn of(array: u32) -> Element {
        let own = oid::ARRAYS.iter().find(|(own, _)| *own == array);
        match own.map(|(_, element)| *element) {
            Some(oid::BOOL) => Element::Bool,
            Some(oid::INT8 | oid::INT2 | oid::INT4 | oid::OID) => Element::Int,
            Some(oid::FLOAT4 | oid::FLOAT8) => Element::Float,
            Some(oid::JSON | oid::JSONB) => Element::Json,
            _ => Element::Text,
        }
    }
}

/// The JSON of an array's text; none for what JSON cannot say, such as an array that does not begin at 1.
pub(crate) fn to_json(text: &str, element: Element) -> Option<Box<str>> {
    let mut json = String::with_capacity(text.len() + 16);
    let mut at = Reader { rest: text };
    at.array(element, 1, &mut json)?;
    at.rest.is_empty().then(|| json.into())
}

/// The text of an array that PostgreSQL reads.
///
/// # Errors
/// Says why the document is not an array.
pub(crate) fn from_json(text: &str, element: Element) -> Result<String, String> {
    if element == Element::Json {
        return documents(text);
    }
    let json: Json = serde_json::from_str(text).map_err(|_| "it is not a JSON document")?;
    let Json::Array(items) = json else {
        return Err("it is not a JSON array".to_owned());
    };
    let mut out = String::with_capacity(text.len() + 16);
    write(&items, 1, &mut out)?;
    Ok(out)
}

/// The text of an array of documents, each of which stays as it is to the letter.
fn documents(text: &str) -> Result<String, String> {
    let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| "it is not a JSON array")?;
    let mut out = String::with_capacity(text.len() + 16);
    out.push('{');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        match item.get() {
            "null" => out.push_str("NULL"),
            document => quoted(document, &mut out),
        }
    }
    out.push('}');
    Ok(out)
}

fn write(items: &[Json], depth: usize, out: &mut String) -> Result<(), String> {
    if depth > DIMENSIONS_MAX {
        return Err(format!("an array has at most {DIMENSIONS_MAX} dimensions"));
    }
    out.push('{');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        match item {
            Json::Null => out.push_str("NULL"),
            Json::Array(items) => write(items, depth + 1, out)?,
            Json::String(text) => quoted(text, out),
            other => quoted(&other.to_string(), out),
        }
    }
    out.push('}');
    Ok(())
}

fn quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

/// What is left of an array's text.
struct Reader<'t> {
    rest: &'t str,
}

impl Reader<'_> {
    fn array(&mut self, element: Element, depth: usize, json: &mut String) -> Option<()> {
        if depth > DIMENSIONS_MAX {
            return None;
        }
        self.take('{')?;
        json.push('[');
        if self.take('}').is_some() {
            json.push(']');
            return Some(());
        }
        loop {
            if self.rest.starts_with('{') {
                // In JSON nobody could tell a document that is an array from a further dimension.
                if element == Element::Json {
                    return None;
                }
                self.array(element, depth + 1, json)?;
            } else {
                self.item(element, json)?;
            }
            if self.take('}').is_some() {
                json.push(']');
                return Some(());
            }
            self.take(',')?;
            json.push(',');
        }
    }

    fn item(&mut self, element: Element, json: &mut String) -> Option<()> {
        let (text, bare) = if self.take('"').is_some() {
            (self.until_quote()?, false)
        } else {
            let end = self.rest.find([',', '}'])?;
            let (text, rest) = self.rest.split_at(end);
            self.rest = rest;
            (text.to_owned(), true)
        };
        if bare && text == "NULL" {
            json.push_str("null");
            return Some(());
        }
        match element {
            Element::Bool => json.push_str(match text.as_str() {
                "t" | "true" => "true",
                "f" | "false" => "false",
                _ => return None,
            }),
            Element::Int => json.push_str(&text.parse::<i64>().ok()?.to_string()),
            Element::Float if text.parse::<f64>().ok()?.is_finite() => {
                json.push_str(&Json::from(text.parse::<f64>().ok()?).to_string());
            }
            Element::Json => {
                let document: &RawValue = serde_json::from_str(&text).ok()?;
                // Nor a document that is null from an element that is.
                if document.get() == "null" {
                    return None;
                }
                json.push_str(document.get());
            }
            Element::Float | Element::Text => json.push_str(&Json::from(text).to_string()),
        }
        Some(())
    }

    fn until_quote(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Some(text);
                }
                '\\' => text.push(chars.next()?.1),
                c => text.push(c),
            }
        }
        None
    }

    fn take(&mut self, c: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(c)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn arrays_become_json_and_come_back() {
        for (text, element, json) in [
            ("{}", Element::Int, "[]"),
            ("{1,-2,NULL}", Element::Int, "[1,-2,null]"),
            ("{t,f}", Element::Bool, "[true,false]"),
            ("{{1,2},{3,4}}", Element::Int, "[[1,2],[3,4]]"),
            (
                r#"{a,"b c","NULL","q\"\\",""}"#,
                Element::Text,
                r#"["a","b c","NULL","q\"\\",""]"#,
            ),
            ("{1.10,2}", Element::Text, r#"["1.10","2"]"#),
            ("{1.5,NaN}", Element::Float, r#"[1.5,"NaN"]"#),
            (r#"{"{\"a\": [1]}"}"#, Element::Json, r#"[{"a": [1]}]"#),
            ("{NULL,1e-400}", Element::Json, "[null,1e-400]"),
        ] {
            assert_eq!(to_json(text, element).as_deref(), Some(json), "{text}");
            let back = from_json(json, element).unwrap();
            let again = to_json(&back, element);
            let same = |text: &str| serde_json::from_str::<Json>(text).unwrap();
            assert_eq!(same(&again.unwrap()), same(json), "{back}");
        }
    }

    #[test]
    fn what_is_no_array_is_told() {
        for text in [
            "",
            "{",
            "{1",
            "{1}}",
            "[2:3]={1,2}",
            "{\"a}",
            "{{{{{{{1}}}}}}}",
        ] {
            assert_eq!(to_json(text, Element::Text), None, "{text}");
        }
        for text in ["{\"null\"}", "{{1},{2}}"] {
            assert_eq!(to_json(text, Element::Json), None, "{text}");
        }
        let digits = "[123456789012345678901234567890,{\"a\":1,\"a\":2}]";
        let text = from_json(digits, Element::Json).unwrap();
        assert_eq!(to_json(&text, Element::Json).as_deref(), Some(digits));
        assert!(
            from_json("{\"a\": 1}", Element::Text)
                .unwrap_err()
                .contains("array")
        );
        assert!(
            from_json("[[[[[[[1]]]]]]]", Element::Text)
                .unwrap_err()
                .contains("6")
        );
    }

    proptest! {
        #[test]
        fn any_texts_survive(items in proptest::collection::vec(proptest::option::of("\\PC{0,8}"), 0..6)) {
            let json = serde_json::to_string(&items).unwrap();
            let text = from_json(&json, Element::Text).unwrap();
            prop_assert_eq!(to_json(&text, Element::Text).unwrap().into_string(), json);
        }

        #[test]
        fn foreign_texts_never_panic(text in "[{}\",\\\\NUL a1\\[\\]:=-]{0,20}") {
            for element in [Element::Bool, Element::Int, Element::Float, Element::Json, Element::Text] {
                let _ = to_json(&text, element);
                let _ = from_json(&text, element);
            }
        }
    }
}
