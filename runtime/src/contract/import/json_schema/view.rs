//! One schema with everything that its references and `allOf` add to it.

use lockstep_core::diagnostic::Diagnostic;

use super::super::DEPTH_MAX;
use super::super::json::{Content, Node};
use super::super::notes::shorten;
use super::{HINT, Importer};

/// Most schemas that one import looks at, however often references repeat them.
const VIEWS_MAX: usize = 5000;

/// A schema and the schemas that hold beside it.
#[derive(Clone, Debug, Default)]
pub(super) struct View<'n> {
    parts: Vec<&'n Node>,
    /// Keywords that were seen to.
    taken: Vec<&'static str>,
    /// The constants that alternatives list.
    pub(super) constants: Vec<&'n Node>,
    /// Whether its alternatives are beyond a contract.
    pub(super) anything: bool,
}

impl<'n> Importer<'n, '_> {
    /// Follows references and `allOf`.
    pub(super) fn view(&mut self, node: &'n Node, path: &str) -> Result<View<'n>, Vec<Diagnostic>> {
        let mut view = View::default();
        let mut waiting = vec![node];
        while let Some(node) = waiting.pop() {
            self.views += 1;
            if self.views > VIEWS_MAX {
                return Err(self.notes.fail(
                    "LS-I103",
                    Some(node.at),
                    format!("references repeat more than {VIEWS_MAX} schemas"),
                    "import a part of it",
                ));
            }
            let again = view.parts.iter().any(|part| part.at == node.at);
            let bare = |part: &&Node| part.entries().iter().all(|entry| entry.key == "$ref");
            if again && !view.parts.iter().all(bare) {
                // Two ways to one schema say no more than one.
                continue;
            }
            if again || self.open.contains(&node.at) {
                return Err(self.notes.fail(
                    "LS-I104",
                    Some(node.at),
                    "the schema refers back to itself, so its records have no end",
                    "cut the circle: describe the inner part as `{}`, any document",
                ));
            }
            view.parts.push(node);
            if let Some(reference) = node.get("$ref").or(node.get("$dynamicRef")) {
                waiting.push(self.resolve(reference)?);
            }
            if let Some(all) = node.get("allOf") {
                // The last one in is the next one out.
                waiting.extend(all.items().iter().rev());
            }
        }
        self.conflicts(&view, path);
        Ok(view)
    }

    /// Marks a view as being read, to find circles.
    pub(super) fn enter(&mut self, view: &View<'n>) -> usize {
        let depth = self.open.len();
        self.open.extend(view.parts.iter().map(|part| part.at));
        depth
    }

    pub(super) fn leave(&mut self, depth: usize) {
        self.open.truncate(depth);
    }

    fn resolve(&self, reference: &'n Node) -> Result<&'n Node, Vec<Diagnostic>> {
        let fail = |message: String, help: &str| {
            Err(self
                .notes
                .fail("LS-I104", Some(reference.at), message, help))
        };
        let Some(text) = reference.text() else {
            return fail(
                "a reference must be a text".to_owned(),
                "write `\"$ref\": \"#/$defs/name\"`",
            );
        };
        let own = self
            .root
            .get("$id")
            .or(self.root.get("id"))
            .and_then(Node::text);
        let local = match (text.strip_prefix('#'), own) {
            (Some(local), _) => Some(local),
            (None, Some(own)) => text
                .strip_prefix(own.trim_end_matches('#'))
                .and_then(|rest| {
                    if rest.is_empty() {
                        Some("")
                    } else {
                        rest.strip_prefix('#')
                    }
                }),
            (None, None) => None,
        };
        let Some(local) = local else {
            return fail(
                format!(
                    "`{}` stands in another place; nothing is ever fetched",
                    shorten(text)
                ),
                "put the definition into this file and refer to it as `#/$defs/name`",
            );
        };
        let found = match local.strip_prefix('/') {
            None if local.is_empty() => Some(self.root),
            None => anchor(self.root, local),
            Some(pointer) => pointer.split('/').try_fold(self.root, |node, step| {
                let step = decode(step);
                match &node.content {
                    Content::List(items) => items.get(step.parse::<usize>().ok()?),
                    _ => node.get(&step),
                }
            }),
        };
        match found {
            Some(node) => Ok(node),
            None => fail(
                format!("`{}` leads nowhere", shorten(text)),
                "mend the reference, or add the definition",
            ),
        }
    }

    /// Two parts that say one thing differently: the first one holds, and that is told.
    fn conflicts(&mut self, view: &View<'n>, path: &str) {
        const TOGETHER: [&str; 14] = [
            "$comment",
            "$defs",
            "$id",
            "$ref",
            "$schema",
            "allOf",
            "default",
            "definitions",
            "description",
            "examples",
            "id",
            "properties",
            "required",
            "title",
        ];
        let Some((first, rest)) = view.parts.split_first() else {
            return;
        };
        // The patterns of a generated schema are the bounds that its comment says.
        let generated = view
            .text("$comment")
            .is_some_and(|comment| comment.starts_with(HINT));
        if rest.is_empty() || generated {
            return;
        }
        let mut seen: Vec<(&str, &Node)> = Vec::new();
        for entry in std::iter::once(first)
            .chain(rest)
            .flat_map(|part| part.entries())
        {
            match seen.iter().find(|(key, _)| *key == entry.key) {
                Some((_, before))
                    if !TOGETHER.contains(&entry.key.as_str())
                        && before.json() != entry.value.json() =>
                {
                    let what = format!("`{}` is said twice; the first holds", shorten(&entry.key));
                    self.notes.warn(
                        "LS-I108",
                        path,
                        Some(entry.at),
                        what,
                        "say both as one in the source",
                    );
                }
                Some(_) => {}
                None => seen.push((&entry.key, &entry.value)),
            }
        }
    }
}

impl<'n> View<'n> {
    /// What the first part that has the keyword says.
    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        if self.taken.contains(&key) {
            return None;
        }
        self.parts.iter().find_map(|part| part.get(key))
    }

    pub(super) fn text(&self, key: &str) -> Option<&'n str> {
        self.get(key)?.text()
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.get(key).and_then(Node::flag).unwrap_or(false)
    }

    pub(super) fn at(&self) -> Option<usize> {
        self.parts.first().map(|part| part.at)
    }

    /// Takes a keyword out, as seen to.
    pub(super) fn take(&mut self, key: &'static str) {
        self.taken.push(key);
    }

    pub(super) fn is_taken(&self, key: &str) -> bool {
        self.taken.contains(&key)
    }

    pub(super) fn join(&mut self, other: View<'n>) {
        self.parts.extend(other.parts);
    }

    pub(super) fn types(&self) -> Vec<&'n str> {
        match self.get("type") {
            Some(node) => match node.text() {
                Some(one) => vec![one],
                None => node.items().iter().filter_map(Node::text).collect(),
            },
            None => Vec::new(),
        }
    }

    /// The type that the other keywords speak of.
    pub(super) fn meant(&self) -> Option<&'static str> {
        let any = |keys: &[&str]| keys.iter().any(|key| self.get(key).is_some());
        let constant = || {
            let listed = self
                .get("enum")
                .and_then(|list| list.items().iter().find(|n| !n.json().is_null()));
            let one = listed
                .or(self.get("const"))
                .or(self.constants.first().copied())?;
            match one.json() {
                serde_json::Value::String(_) => Some("string"),
                serde_json::Value::Bool(_) => Some("boolean"),
                serde_json::Value::Number(number) if number.is_f64() => Some("number"),
                serde_json::Value::Number(_) => Some("integer"),
                _ => None,
            }
        };
        if any(&["properties", "additionalProperties"]) {
            Some("object")
        } else if any(&["items", "prefixItems", "minItems", "maxItems"]) {
            Some("array")
        } else if any(&[
            "pattern",
            "minLength",
            "maxLength",
            "format",
            "contentEncoding",
        ]) {
            Some("string")
        } else if any(&[
            "minimum",
            "maximum",
            "multipleOf",
            "exclusiveMinimum",
            "exclusiveMaximum",
        ]) {
            Some("number")
        } else {
            constant()
        }
    }

    pub(super) fn says_object(&self) -> bool {
        self.parts
            .iter()
            .any(|part| part.get("properties").is_some_and(Node::is_map))
    }

    /// The properties of all parts, each once.
    pub(super) fn properties(&self) -> Vec<(&'n str, usize, &'n Node)> {
        let mut list: Vec<(&str, usize, &Node)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for part in &self.parts {
            for entry in part.get("properties").map_or(&[][..], Node::entries) {
                if seen.insert(entry.key.as_str()) {
                    list.push((&entry.key, entry.at, &entry.value));
                }
            }
        }
        list
    }

    /// The required properties of all parts.
    pub(super) fn required(&self) -> Vec<&'n str> {
        let lists = self.parts.iter().filter_map(|part| part.get("required"));
        let mut names: Vec<&str> = lists
            .flat_map(|list| list.items())
            .filter_map(Node::text)
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Every keyword and where it stands, each once.
    pub(super) fn keys(&self) -> Vec<(&'n str, usize)> {
        let mut keys: Vec<(&str, usize)> = Vec::new();
        for entry in self.parts.iter().flat_map(|part| part.entries()) {
            if keys.len() < 100 && !keys.iter().any(|(key, _)| *key == entry.key) {
                keys.push((&entry.key, entry.at));
            }
        }
        keys
    }
}

/// The schema that bears an anchor.
fn anchor<'n>(root: &'n Node, name: &str) -> Option<&'n Node> {
    let mut waiting = vec![root];
    while let Some(node) = waiting.pop() {
        let named = ["$anchor", "$dynamicAnchor"]
            .iter()
            .any(|key| node.get(key).and_then(Node::text) == Some(name));
        if named {
            return Some(node);
        }
        waiting.extend(node.items());
        waiting.extend(node.entries().iter().map(|entry| &entry.value));
    }
    None
}

/// A step of a pointer in a URI: percent signs and tildes stand for other characters.
fn decode(step: &str) -> String {
    let mut bytes = Vec::with_capacity(step.len());
    let mut rest = step.bytes();
    while let Some(byte) = rest.next() {
        let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        if byte == b'%' {
            let mut ahead = rest.clone();
            if let (Some(high), Some(low)) = (hex(ahead.next()), hex(ahead.next())) {
                bytes.push((high * 16 + low) as u8);
                rest = ahead;
                continue;
            }
        }
        bytes.push(byte);
    }
    String::from_utf8_lossy(&bytes)
        .replace("~1", "/")
        .replace("~0", "~")
}

const _: () = assert!(VIEWS_MAX > DEPTH_MAX);
