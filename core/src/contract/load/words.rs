//! The closed vocabularies of a contract: one spelling each, as the tables say.

use super::findings::Findings;
use super::yaml::Node;
use crate::contract::{Class, Deletes, Handling, Truth};
use crate::diagnostic::suggestion;

/// A vocabulary: its words and what they mean.
pub(super) type Words<T> = &'static [(&'static str, T)];

pub(super) const TRUTHS: Words<Truth> = &[
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

pub(super) const DELETES: Words<Deletes> = &[
    ("propagate", Deletes::Propagate),
    ("soft-delete", Deletes::SoftDelete),
    ("detach", Deletes::Detach),
    ("ignore", Deletes::Ignore),
];

pub(super) const HANDLINGS: Words<Handling> = &[
    ("clear", Handling::Clear),
    ("mask", Handling::Mask),
    ("hash", Handling::Hash),
    ("tokenize", Handling::Tokenize),
    ("encrypt", Handling::Encrypt),
    ("drop", Handling::Drop),
];

/// ODCS leaves the classification free; these are its common words, each read as the class that protects at least as much.
pub(super) const CLASSES: Words<Class> = &[
    ("public", Class::Public),
    ("internal", Class::Internal),
    ("personal", Class::Personal),
    ("confidential", Class::Personal),
    ("secret", Class::Secret),
    ("restricted", Class::Secret),
];

pub(super) const COMPATIBILITIES: Words<()> = &[
    ("none", ()),
    ("backward", ()),
    ("forward", ()),
    ("full", ()),
    ("backward-transitive", ()),
    ("forward-transitive", ()),
    ("full-transitive", ()),
];

/// Reads a word of a vocabulary; `code` is the finding when it is none.
pub(super) fn word<T: Copy>(
    node: &Node,
    what: &str,
    words: Words<T>,
    code: &'static str,
    findings: &mut Findings<'_>,
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
pub(super) fn system(node: &Node, what: &str, findings: &mut Findings<'_>) -> Option<String> {
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
