//! Places in a YAML file: where the value under a path of names stands.

use std::fmt;

use lockstep_core::diagnostic::Place;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::{Location, Spanned};

/// A document whose scalars do not matter.
pub(crate) struct Tree {
    root: Option<Spanned<Node>>,
}

enum Node {
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
    List(Vec<Spanned<Node>>),
    Scalar,
}

impl Tree {
    /// Reads a document; one that cannot be read has no places.
    pub(crate) fn of(text: &str) -> Tree {
        Tree {
            root: serde_saphyr::from_str(text).ok(),
        }
    }

    /// Where the value under a path stands, or the nearest thing around it.
    pub(crate) fn place(&self, path: &[&str], file: &str, text: &str) -> Place {
        let Some(mut at) = self.root.as_ref() else {
            return Place::in_text(file, text, 0, 1);
        };
        let mut location = Location::UNKNOWN;
        for name in path {
            let next = match &at.value {
                Node::Map(members) => members.iter().find(|(member, _)| member.value == *name),
                Node::List(items) => {
                    let item = name.parse::<usize>().ok().and_then(|i| items.get(i));
                    let Some(item) = item else { break };
                    (at, location) = (item, item.referenced);
                    continue;
                }
                Node::Scalar => None,
            };
            let Some((name, value)) = next else { break };
            location = match value.value {
                Node::Scalar => value.referenced,
                Node::Map(_) | Node::List(_) => name.referenced,
            };
            at = value;
        }
        place(location, file, text)
    }
}

/// A location of the parser as a place; the parser knows line and column, not always the byte.
pub(crate) fn place(location: Location, file: &str, text: &str) -> Place {
    let number = |number: u64| usize::try_from(number).unwrap_or(0);
    let span = location.span();
    let length = number(span.byte_len().unwrap_or(1)).max(1);
    if let Some(offset) = span.byte_offset().filter(|offset| *offset > 0) {
        return Place::in_text(file, text, number(offset), length);
    }
    let line = number(location.line()).max(1);
    let column = number(location.column()).max(1);
    let before: usize = text
        .split_inclusive('\n')
        .take(line - 1)
        .map(str::len)
        .sum();
    let inside = text[before..].char_indices().nth(column - 1);
    Place::in_text(file, text, before + inside.map_or(0, |(at, _)| at), length)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Node::Map(members))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Node::List(items))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_str<E>(self, _: &str) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_none<E>(self) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Node, D::Error> {
                Node::deserialize(inner)
            }
        }
        deserializer.deserialize_any(Any)
    }
}
