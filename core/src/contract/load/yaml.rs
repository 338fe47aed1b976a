//! A contract's text as a tree in which every node knows its place.
//!
//! Owns the limits on hostile YAML (size, depth, aliases) and the reading of duplicate keys; knows nothing of contracts.
//! Numbers keep their spelling, so that a decimal bound is never read through a double.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, Spanned};

use super::findings::Findings;

/// Most bytes of a contract's text.
pub const CONTRACT_BYTES_MAX: usize = 1 << 20;
/// Most nodes of a contract once its aliases are written out.
const NODES_MAX: usize = 100_000;
/// Most levels of nesting.
const DEPTH_MAX: usize = 32;
/// A lock file holds the contract and two schemas, each of which nests about as deep again.
pub(super) const LOCK_TIMES: usize = 4;

/// A byte range of one of the texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::contract) struct Span {
    /// Which text: 0 is the contract's own, others are shared types.
    pub(in crate::contract) source: usize,
    pub(in crate::contract) offset: usize,
    pub(in crate::contract) length: usize,
}

/// A value of the text with its place.
#[derive(Clone, Debug)]
pub(in crate::contract) struct Node {
    pub(in crate::contract) at: Span,
    pub(in crate::contract) content: Content,
}

/// What stands at a node.
#[derive(Clone, Debug)]
pub(in crate::contract) enum Content {
    Null,
    Bool(bool),
    /// A number as it was written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One entry of a mapping.
#[derive(Clone, Debug)]
pub(in crate::contract) struct Entry {
    pub(in crate::contract) key: String,
    pub(in crate::contract) key_at: Span,
    pub(in crate::contract) value: Node,
}

impl Node {
    /// The value of a key, if this is a mapping that has it.
    pub(in crate::contract) fn get(&self, key: &str) -> Option<&Node> {
        match &self.content {
            Content::Map(entries) => entries
                .iter()
                .find(|entry| entry.key == key)
                .map(|entry| &entry.value),
            _ => None,
        }
    }

    /// The text, if this is one.
    pub(in crate::contract) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The flag, if this is one.
    pub(in crate::contract) fn flag(&self) -> Option<bool> {
        match self.content {
            Content::Bool(flag) => Some(flag),
            _ => None,
        }
    }

    /// The whole number, if this is one that fits.
    pub(in crate::contract) fn integer(&self) -> Option<i64> {
        match &self.content {
            Content::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The items of a list; none of anything else.
    pub(in crate::contract) fn items(&self) -> &[Node] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    /// The entries of a mapping; none of anything else.
    pub(in crate::contract) fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Map(entries) => entries,
            _ => &[],
        }
    }

    /// What stands here, in words for messages.
    pub(in crate::contract) fn describe(&self) -> String {
        match &self.content {
            Content::Null => "nothing".to_owned(),
            Content::Bool(flag) => format!("`{flag}`"),
            Content::Number(text) => format!("the number `{}`", shorten(text)),
            Content::Text(text) => format!("`{}`", shorten(text)),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a mapping".to_owned(),
        }
    }

    /// The node as JSON; numbers keep their digits where JSON can hold them.
    pub(in crate::contract) fn to_json(&self) -> serde_json::Value {
        match &self.content {
            Content::Null => serde_json::Value::Null,
            Content::Bool(flag) => (*flag).into(),
            Content::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| {
                text.parse::<f64>()
                    .map_or_else(|_| text.as_str().into(), Into::into)
            }),
            Content::Text(text) => text.as_str().into(),
            Content::List(items) => items.iter().map(Node::to_json).collect(),
            Content::Map(entries) => serde_json::Value::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.to_json()))
                    .collect(),
            ),
        }
    }
}

/// Most characters of what the library says of a text, which may quote all of it.
const MESSAGE_MAX: usize = 200;

/// At most 60 characters of a text, for messages.
pub(in crate::contract) fn shorten(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Reads the one document of text number `source`; what is wrong with its YAML goes to `findings`.
pub(super) fn parse(text: &str, source: usize, findings: &mut Findings) -> Option<Node> {
    bounded(text, source, 1, findings)
}

/// Reads the text of a lock file, which may be larger than a contract by its schemas.
pub(super) fn parse_lock(text: &str, findings: &mut Findings) -> Option<Node> {
    bounded(text, 0, LOCK_TIMES, findings)
}

fn bounded(text: &str, source: usize, times: usize, findings: &mut Findings) -> Option<Node> {
    let here = |at: Span| Span { source, ..at };
    if text.len() > CONTRACT_BYTES_MAX * times {
        findings.error(
            "LS-C001",
            here(Span::default()),
            format!(
                "the contract has {} bytes; at most {} are read",
                text.len(),
                CONTRACT_BYTES_MAX * times
            ),
            "describe one entity per file, and keep long texts and examples elsewhere",
        );
        return None;
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: NODES_MAX * times,
            max_depth: DEPTH_MAX * times,
            max_documents: 1,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_merge_keys: 100,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Some(placed(raw, text, source, findings)),
        Err(error) => {
            let error = error.without_snippet();
            let at = error
                .location()
                .map_or_else(Span::default, |at| mark(at, text));
            // The place is said by the finding; the library repeats it at the end of its own message.
            let message = error.to_string();
            let message = message.lines().next().unwrap_or_default();
            let message = message.split(" at line ").next().unwrap_or(message);
            // The library's own word for it is the name of a limit.
            let message = if message.contains("Documents {") {
                "the text holds several documents, and a contract is one"
            } else {
                message
            };
            let message: String = message
                .trim_end_matches([' ', ':', ','])
                .chars()
                .take(MESSAGE_MAX)
                .collect();
            findings.error(
                "LS-C002",
                here(at),
                format!("not readable as YAML: {message}"),
                "mend the YAML at this place: look at the indentation, quotes and aliases",
            );
            None
        }
    }
}

/// The tree as the deserializer gives it.
enum Raw {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Raw, E> {
        Ok(Raw::Number(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Raw, E> {
        Ok(Raw::Number(number.to_string()))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Raw, E> {
        Ok(Raw::Number(number.to_string()))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Raw, E> {
        Ok(Raw::Number(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Raw, E> {
        Ok(Raw::Number(number.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Raw, E> {
        Ok(Raw::Text(text))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Raw, E> {
        Ok(Raw::Text(String::from_utf8_lossy(bytes).into_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

/// Turns the deserializer's tree into ours: places as bytes, numbers as written, each key once.
fn placed(raw: Spanned<Raw>, text: &str, source: usize, findings: &mut Findings) -> Node {
    let here = |at: Location| Span { source, ..span(at) };
    let at = here(raw.referenced);
    let content = match raw.value {
        Raw::Null => Content::Null,
        Raw::Bool(flag) => Content::Bool(flag),
        Raw::Text(value) => Content::Text(value),
        Raw::Number(read) => {
            let written = span(raw.defined);
            let written = text.get(written.offset..written.offset + written.length);
            let exact = written.filter(|text| text.parse::<crate::Decimal>().is_ok());
            Content::Number(exact.map_or(read, |text| text.trim().to_owned()))
        }
        Raw::List(items) => Content::List(
            items
                .into_iter()
                .map(|item| placed(item, text, source, findings))
                .collect(),
        ),
        Raw::Map(entries) => {
            let mut seen = HashSet::new();
            let mut kept = Vec::new();
            for (key, value) in entries {
                let key_at = here(key.referenced);
                if !seen.insert(key.value.clone()) {
                    findings.error(
                        "LS-C003",
                        key_at,
                        format!("the key `{}` stands here twice", shorten(&key.value)),
                        "keep one of them",
                    );
                    continue;
                }
                kept.push(Entry {
                    key: key.value,
                    key_at,
                    value: placed(value, text, source, findings),
                });
            }
            Content::Map(kept)
        }
    };
    Node { at, content }
}

/// Where the parser stopped; it knows line and column then, not always the byte.
fn mark(location: Location, text: &str) -> Span {
    let known = span(location);
    if known.offset > 0 || location.line() == 0 {
        return known;
    }
    let mut offset = 0;
    for (line, content) in (1..).zip(text.split_inclusive('\n')) {
        if line == location.line() {
            let column = usize::try_from(location.column()).unwrap_or(1).max(1);
            let inside = content.char_indices().nth(column - 1);
            offset += inside.map_or(content.trim_end().len(), |(i, _)| i);
            return Span {
                source: 0,
                offset,
                length: 1,
            };
        }
        offset += content.len();
    }
    Span {
        source: 0,
        offset,
        length: 1,
    }
}

fn span(location: Location) -> Span {
    let span = location.span();
    Span {
        source: 0,
        offset: span.byte_offset().unwrap_or_default() as usize,
        length: span.byte_len().unwrap_or_default() as usize,
    }
}
