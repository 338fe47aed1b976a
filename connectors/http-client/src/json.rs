//! JSON whose numbers keep every digit, and whose objects keep the order of their members.
//!
//! `serde_json` makes doubles of numbers; an amount of money must not pass through one.

use std::fmt;

use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};

/// How deep lists and objects may stand in each other.
const DEPTH_MAX: usize = 128;

/// A JSON document.
#[derive(Clone, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it is written.
    Number(Box<str>),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// An object; of members of one name, the last counts.
    Object(Vec<(String, Json)>),
}

/// Says where a text stops being JSON; quotes nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotJson {
    at: usize,
    early: bool,
}

impl Json {
    /// Reads a document.
    ///
    /// # Errors
    /// Says at which byte it stops being JSON, or that it nests deeper than 128 levels.
    pub fn parse(bytes: &[u8]) -> Result<Json, NotJson> {
        let mut parser = Parser { bytes, at: 0 };
        let value = parser.value(0)?;
        parser.space();
        if parser.at < bytes.len() {
            return Err(parser.wrong());
        }
        Ok(value)
    }

    /// The member of an object.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members
                .iter()
                .rev()
                .find(|(member, _)| member == name)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// What stands under names joined by dots (`data.items.0.id`), numbers being places in lists; the document itself for an empty path.
    ///
    /// A member whose own name holds dots is found too, where no other is.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<&Json> {
        if path.is_empty() {
            return Some(self);
        }
        if let Some(member) = self.get(path) {
            return Some(member);
        }
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        let inner = match self {
            Json::List(items) => items.get(first.parse::<usize>().ok()?)?,
            other => other.get(first)?,
        };
        inner.at(rest)
    }

    /// The text, where it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items, where it is a list.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Json]> {
        match self {
            Json::List(items) => Some(items),
            _ => None,
        }
    }

    /// The number as a whole one, where it is one and fits.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Json::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The truth value, where it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Json::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// Tells whether it is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Json::Null)
    }

    /// A text, number or truth value as plain text, such as for an id that some systems quote and others do not.
    #[must_use]
    pub fn plain(&self) -> Option<String> {
        match self {
            Json::Text(text) => Some(text.clone()),
            Json::Number(text) => Some(text.to_string()),
            Json::Bool(truth) => Some(truth.to_string()),
            Json::Null | Json::List(_) | Json::Object(_) => None,
        }
    }

    /// The word for what it is.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "bool",
            Json::Number(_) => "number",
            Json::Text(_) => "text",
            Json::List(_) => "list",
            Json::Object(_) => "object",
        }
    }
}

/// The document, compact, every digit as it came.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(truth) => write!(f, "{truth}"),
            Json::Number(text) => f.write_str(text),
            Json::Text(text) => quoted(f, text),
            Json::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        f.write_str(",")?;
                    }
                    fmt::Display::fmt(item, f)?;
                }
                f.write_str("]")
            }
            Json::Object(members) => {
                f.write_str("{")?;
                for (i, (name, value)) in members.iter().enumerate() {
                    if i > 0 {
                        f.write_str(",")?;
                    }
                    quoted(f, name)?;
                    f.write_str(":")?;
                    fmt::Display::fmt(value, f)?;
                }
                f.write_str("}")
            }
        }
    }
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let text = serde_json::to_string(text).map_err(|_| fmt::Error)?;
    f.write_str(&text)
}

/// What a document is made of, never what it says: documents hold records.
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::List(items) => write!(f, "list of {}", items.len()),
            Json::Object(members) => write!(f, "object of {}", members.len()),
            other => f.write_str(other.type_name()),
        }
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(truth) => serializer.serialize_bool(*truth),
            Json::Number(text) => {
                let raw = serde_json::value::RawValue::from_string(text.to_string())
                    .map_err(serde::ser::Error::custom)?;
                raw.serialize(serializer)
            }
            Json::Text(text) => serializer.serialize_str(text),
            Json::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(item)?;
                }
                list.end()
            }
            Json::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

impl NotJson {
    /// Whether the text just ended too early.
    #[must_use]
    pub fn is_early_end(self) -> bool {
        self.early
    }
}

impl fmt::Display for NotJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}", self.at)
    }
}

impl std::error::Error for NotJson {}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn value(&mut self, depth: usize) -> Result<Json, NotJson> {
        self.space();
        match self.peek() {
            Some(b'{' | b'[') if depth >= DEPTH_MAX => Err(self.wrong()),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => Ok(Json::Text(self.text()?)),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.wrong()),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, NotJson> {
        self.at += 1;
        let mut members = Vec::new();
        self.space();
        if self.eat(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.wrong());
            }
            let name = self.text()?;
            self.space();
            if !self.eat(b':') {
                return Err(self.wrong());
            }
            members.push((name, self.value(depth + 1)?));
            self.space();
            if self.eat(b'}') {
                return Ok(Json::Object(members));
            }
            if !self.eat(b',') {
                return Err(self.wrong());
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Json, NotJson> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.eat(b']') {
            return Ok(Json::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            if self.eat(b']') {
                return Ok(Json::List(items));
            }
            if !self.eat(b',') {
                return Err(self.wrong());
            }
        }
    }

    /// A text: its end is found here, what escapes in it mean is the library's business.
    fn text(&mut self) -> Result<String, NotJson> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                None => return Err(self.wrong()),
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        let text = self.bytes.get(start..self.at);
        text.and_then(|text| serde_json::from_slice(text).ok())
            .ok_or(NotJson {
                at: start,
                early: self.at > self.bytes.len(),
            })
    }

    fn number(&mut self) -> Result<Json, NotJson> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        let text = String::from_utf8_lossy(&self.bytes[start..self.at]);
        Ok(Json::Number(text.into()))
    }

    fn digits(&mut self) -> Result<(), NotJson> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.wrong());
        }
        Ok(())
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, NotJson> {
        for byte in word.bytes() {
            if !self.eat(byte) {
                return Err(self.wrong());
            }
        }
        Ok(value)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn wrong(&self) -> NotJson {
        NotJson {
            at: self.at.min(self.bytes.len()),
            early: self.at >= self.bytes.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Json, NotJson> {
        Json::parse(text.as_bytes())
    }

    #[test]
    fn numbers_keep_every_digit() {
        for text in [
            "12.50",
            "-0.10",
            "1e400",
            "123456789012345678901234567890.5",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
            let written = serde_json::to_string(&parse(text).unwrap()).unwrap();
            assert_eq!(written, text);
        }
    }

    #[test]
    fn paths_lead_through_lists_and_dotted_names() {
        let tree = parse(r#"{"a": {"b": [{"c": 1}, {"c": 2}]}, "x.y": 3, "a": {"b": [4, 5]}}"#);
        let tree = tree.unwrap();
        assert_eq!(tree.at("a.b.1").and_then(Json::as_int), Some(5));
        assert_eq!(tree.at("x.y").and_then(Json::as_int), Some(3));
        assert_eq!(tree.at("a.b.9"), None);
        assert_eq!(tree.at(""), Some(&tree));
    }

    #[test]
    fn depth_and_early_ends_are_told() {
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(r#"{"a": [1, 2"#).unwrap_err().is_early_end());
        assert!(parse(r#"{"a": "b\"#).unwrap_err().is_early_end());
        assert!(!parse(r#"{"a": nope}"#).unwrap_err().is_early_end());
        let error = parse(r#"{"name": "Anna" x}"#).unwrap_err();
        assert!(!error.to_string().contains("Anna"));
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(|members| {
                    serde_json::Value::Object(members.into_iter().collect())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn documents_come_back_as_they_were(value in any_json()) {
            let tree = parse(&value.to_string()).unwrap();
            prop_assert_eq!(tree.to_string(), value.to_string());
            prop_assert_eq!(serde_json::to_value(&tree).unwrap(), value);
        }

        #[test]
        fn what_is_json_is_what_the_library_says(bytes in prop::collection::vec(
            prop::sample::select(b"{}[]\",:0123.eE+-\\ntrufals u0041".to_vec()), 0..24)) {
            let ours = Json::parse(&bytes).is_ok();
            let theirs = serde_json::from_slice::<&serde_json::value::RawValue>(&bytes).is_ok();
            prop_assert_eq!(ours, theirs);
        }
    }
}
