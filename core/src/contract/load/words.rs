//! The closed vocabularies of a contract: one spelling each, as the tables say.

use super::findings::Findings;
use super::yaml::{Content, Node, shorten};
use crate::contract::{
    Class, Compatibility, Deletes, Direction, Extra, Format, Handling, Outcome, Truth,
};
use crate::diagnostic::suggestion;

/// A vocabulary: its words and what they mean.
pub(in crate::contract) type Words<T> = &'static [(&'static str, T)];

pub(in crate::contract) const TRUTHS: Words<Truth> = &[
    ("owner", Truth::Owner),
    ("latest", Truth::Latest),
    ("versioned", Truth::Versioned),
    ("rule", Truth::Rule),
    ("ask", Truth::Ask),
    ("max", Truth::Max),
    ("min", Truth::Min),
    ("union", Truth::Union),
    ("delta", Truth::Delta),
];

pub(in crate::contract) const DELETES: Words<Deletes> = &[
    ("propagate", Deletes::Propagate),
    ("soft-delete", Deletes::SoftDelete),
    ("detach", Deletes::Detach),
    ("ignore", Deletes::Ignore),
];

pub(in crate::contract) const HANDLINGS: Words<Handling> = &[
    ("clear", Handling::Clear),
    ("mask", Handling::Mask),
    ("hash", Handling::Hash),
    ("tokenize", Handling::Tokenize),
    ("encrypt", Handling::Encrypt),
    ("drop", Handling::Drop),
];

/// ODCS leaves the classification free; these are its common words, each read as the class that protects at least as much.
pub(in crate::contract) const CLASSES: Words<Class> = &[
    ("public", Class::Public),
    ("internal", Class::Internal),
    ("personal", Class::Personal),
    ("confidential", Class::Personal),
    ("secret", Class::Secret),
    ("restricted", Class::Secret),
];

pub(in crate::contract) const COMPATIBILITIES: Words<Compatibility> = &[
    ("none", mode(None, false)),
    ("backward", mode(Some(Direction::Backward), false)),
    ("forward", mode(Some(Direction::Forward), false)),
    ("full", mode(Some(Direction::Full), false)),
    ("backward-transitive", mode(Some(Direction::Backward), true)),
    ("forward-transitive", mode(Some(Direction::Forward), true)),
    ("full-transitive", mode(Some(Direction::Full), true)),
];

const fn mode(direction: Option<Direction>, transitive: bool) -> Compatibility {
    Compatibility {
        direction,
        transitive,
    }
}

pub(in crate::contract) const EXTRAS: Words<Extra> = &[
    ("reject", Extra::Reject),
    ("keep", Extra::Keep),
    ("drop", Extra::Drop),
];

pub(in crate::contract) const OUTCOMES: Words<Outcome> = &[
    ("pass", Outcome::Pass),
    ("warn", Outcome::Warn),
    ("quarantine", Outcome::Quarantine),
    ("reject", Outcome::Reject),
    ("halt", Outcome::Halt),
];

/// What may become of a record whose value is not of its field's type or bounds: it never goes on.
pub(in crate::contract) const FIELD_OUTCOMES: Words<Outcome> = &[
    ("quarantine", Outcome::Quarantine),
    ("reject", Outcome::Reject),
    ("halt", Outcome::Halt),
];

/// The forms of texts that are checked.
pub(in crate::contract) const FORMATS: Words<Format> = &[
    ("email", Format::Email),
    ("hostname", Format::Hostname),
    ("ipv4", Format::Ipv4),
    ("ipv6", Format::Ipv6),
    ("uri", Format::Uri),
];

/// The word for a meaning, for writing a contract.
pub(in crate::contract) fn written<T: Copy + PartialEq>(
    words: Words<T>,
    meaning: T,
) -> &'static str {
    words
        .iter()
        .find(|(_, known)| *known == meaning)
        .map_or("", |(word, _)| word)
}

/// Reads a word of a vocabulary; `code` is the finding when it is none.
pub(super) fn word<T: Copy>(
    node: &Node,
    what: &str,
    words: Words<T>,
    code: &'static str,
    findings: &mut Findings,
) -> Option<T> {
    let written = node.text();
    if let Some((_, meaning)) = words.iter().find(|(word, _)| Some(*word) == written) {
        return Some(*meaning);
    }
    findings.error(
        code,
        node.at,
        format!("{what} cannot be {}", node.describe()),
        suggestion(
            written.unwrap_or_default(),
            words.iter().map(|(word, _)| *word),
        ),
    );
    None
}

/// Reads the name of a system.
pub(super) fn system(node: &Node, what: &str, findings: &mut Findings) -> Option<String> {
    let name = node.text().filter(|text| !text.trim().is_empty());
    if name.is_none() {
        findings.error(
            "LS-C004",
            node.at,
            format!(
                "{what} must be the name of a system, not {}",
                node.describe()
            ),
            "write the name that the configuration gives the system, such as `crm`",
        );
    }
    name.map(str::to_owned)
}

/// Names the keys of a mapping that are none of the known ones; says whether it is a mapping at all.
pub(super) fn mapping(
    node: &Node,
    what: &str,
    known: &[&str],
    code: &'static str,
    findings: &mut Findings,
) -> bool {
    if !matches!(node.content, Content::Map(_)) {
        findings.error(
            code,
            node.at,
            format!("{what} must be a mapping, not {}", node.describe()),
            format!("write a mapping with {}", known.join(", ")),
        );
        return false;
    }
    for entry in node.entries() {
        if !known.contains(&entry.key.as_str()) {
            findings.error(
                code,
                entry.key_at,
                format!("{what} has no key `{}`", shorten(&entry.key)),
                suggestion(&entry.key, known.iter().copied()),
            );
        }
    }
    true
}
