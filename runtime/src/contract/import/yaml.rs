//! YAML as the JSON that it says, within bounds.

use lockstep_core::diagnostic::Diagnostic;
use serde_json::Value as Json;

use super::notes::{Notes, shorten};

/// Reads YAML within bounds.
pub(super) fn parse(notes: &Notes<'_>, text: &str) -> Result<Json, Vec<Diagnostic>> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: 200_000,
            max_depth: 32,
            max_documents: 1,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_merge_keys: 100,
        },
        strict_booleans: true,
    };
    let read: Result<Json, _> = serde_saphyr::from_str_with_options(text, options);
    read.map_err(|error| {
        let error = error.without_snippet();
        let (line, column) = error
            .location()
            .map_or((1, 1), |at| (at.line() as usize, at.column() as usize));
        let message = error.to_string();
        let message = message.lines().next().unwrap_or_default();
        let message = message
            .split(" at line ")
            .next()
            .unwrap_or(message)
            .trim_end_matches([' ', ':', ',']);
        notes.fail_at(
            "LS-I102",
            line,
            column,
            format!("the text is not YAML: {}", shorten(message)),
            "mend the text at this place",
        )
    })
}
