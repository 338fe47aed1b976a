//! JSON with places: what serde_json reads, and where each part of it stands.
//!
//! A name that stands twice in one object is refused, because readers differ in which one they take.

use std::collections::HashSet;

use lockstep_core::diagnostic::Diagnostic;
use serde_json::Value as Json;

use super::notes::{Notes, shorten};

/// One value of a text and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: usize,
    pub(super) content: Content,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Null, a flag, a number or a text.
    Plain(Json),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One member of an object.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: usize,
    pub(super) value: Node,
}

impl Node {
    /// The member of this name, of an object.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let entry = self.entries().iter().find(|entry| entry.key == key)?;
        Some(&entry.value)
    }

    pub(super) fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(super) fn items(&self) -> &[Node] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Plain(Json::String(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn flag(&self) -> Option<bool> {
        match &self.content {
            Content::Plain(Json::Bool(flag)) => Some(*flag),
            _ => None,
        }
    }

    pub(super) fn whole(&self) -> Option<u64> {
        match &self.content {
            Content::Plain(Json::Number(number)) => match number.as_u64() {
                Some(whole) => Some(whole),
                // JSON Schema takes 2.0 for a whole number.
                None => number
                    .as_f64()
                    .filter(|n| n.fract() == 0.0 && (0.0..9e15).contains(n))
                    .map(|n| n as u64),
            },
            _ => None,
        }
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.content, Content::Map(_))
    }

    /// The value without its places.
    pub(super) fn json(&self) -> Json {
        match &self.content {
            Content::Plain(json) => json.clone(),
            Content::List(items) => items.iter().map(Node::json).collect(),
            Content::Map(entries) => Json::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.json()))
                    .collect(),
            ),
        }
    }
}

/// Reads a text.
///
/// # Errors
/// Where it is not JSON, and where a name stands twice.
pub(super) fn parse(notes: &Notes<'_>, text: &str) -> Result<Node, Vec<Diagnostic>> {
    // serde_json bounds the depth and finds every fault of the form; what follows may rely on both.
    if let Err(error) = serde_json::from_str::<Json>(text) {
        return Err(notes.fail_at(
            "LS-I102",
            error.line(),
            error.column(),
            format!("the text is not JSON: {}", reason(&error)),
            "mend the text at this place",
        ));
    }
    let mut reader = Reader { text, at: 0 };
    match reader.value() {
        Some(Ok(node)) => Ok(node),
        Some(Err((at, name))) => Err(notes.fail(
            "LS-I115",
            Some(at),
            format!("`{}` stands twice in one object", shorten(&name)),
            "keep one of them",
        )),
        None => Err(notes.fail(
            "LS-I102",
            Some(reader.at),
            "the text is not JSON",
            "mend the text at this place",
        )),
    }
}

fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.find(" at line ").unwrap_or(text.len());
    text[..end].to_owned()
}

/// A name that stands twice, and where.
type Twice = (usize, String);

/// Walks a text that is known to be JSON.
struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Option<Result<Node, Twice>> {
        self.blank();
        let at = self.at;
        let content = match self.peek()? {
            b'{' => match self.map()? {
                Ok(entries) => Content::Map(entries),
                Err(twice) => return Some(Err(twice)),
            },
            b'[' => match self.list()? {
                Ok(items) => Content::List(items),
                Err(twice) => return Some(Err(twice)),
            },
            b'"' => Content::Plain(Json::String(self.string()?)),
            _ => {
                let rest = &self.text[at..];
                let end = rest
                    .find(|c: char| ",]} \t\r\n".contains(c))
                    .unwrap_or(rest.len());
                self.at += end;
                Content::Plain(serde_json::from_str(&rest[..end]).ok()?)
            }
        };
        Some(Ok(Node { at, content }))
    }

    fn map(&mut self) -> Option<Result<Vec<Entry>, Twice>> {
        self.at += 1;
        let mut entries = Vec::new();
        let mut names = HashSet::new();
        loop {
            self.blank();
            match self.peek()? {
                b'}' => break,
                b',' => self.at += 1,
                _ => {
                    let at = self.at;
                    let key = self.string()?;
                    if !names.insert(key.clone()) {
                        return Some(Err((at, key)));
                    }
                    self.blank();
                    // The colon.
                    self.at += 1;
                    match self.value()? {
                        Ok(value) => entries.push(Entry { key, at, value }),
                        Err(twice) => return Some(Err(twice)),
                    }
                }
            }
        }
        self.at += 1;
        Some(Ok(entries))
    }

    fn list(&mut self) -> Option<Result<Vec<Node>, Twice>> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.blank();
            match self.peek()? {
                b']' => break,
                b',' => self.at += 1,
                _ => match self.value()? {
                    Ok(item) => items.push(item),
                    Err(twice) => return Some(Err(twice)),
                },
            }
        }
        self.at += 1;
        Some(Ok(items))
    }

    fn string(&mut self) -> Option<String> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        self.at += 1;
        while self.peek()? != b'"' {
            self.at += if bytes[self.at] == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        serde_json::from_str(self.text.get(start..self.at)?).ok()
    }

    fn blank(&mut self) {
        while self.peek().is_some_and(|b| b.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Node, Vec<Diagnostic>> {
        parse(&Notes::new("a.json", text), text)
    }

    #[test]
    fn faults_have_a_place() {
        for (text, code, line, column) in [
            ("{\n  \"a\": 1,\n  \"a\": 2}", "LS-I115", 3, 3),
            ("{\n \"a\": }", "LS-I102", 2, 7),
            ("", "LS-I102", 1, 1),
        ] {
            let found = read(text).unwrap_err();
            let place = found[0].place.as_ref().unwrap();
            assert_eq!(
                (found[0].code, place.line, place.column),
                (code, line, column),
                "{text}"
            );
        }
        let deep = "[".repeat(100_000);
        assert_eq!(read(&deep).unwrap_err()[0].code, "LS-I102");
    }

    proptest! {
        #[test]
        fn it_reads_what_serde_reads(text in r#"[\[\]{}:,"\\a-c0-2 .eE+\-tu\n]{0,40}|.{0,40}"#) {
            let theirs = serde_json::from_str::<Json>(&text);
            match read(&text) {
                Ok(node) => prop_assert_eq!(node.json(), theirs.unwrap()),
                Err(found) => prop_assert!(theirs.is_err() || found[0].code == "LS-I115"),
            }
        }
    }
}
