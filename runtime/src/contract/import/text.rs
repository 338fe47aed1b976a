//! The text of an imported contract: ODCS YAML with comments that say what should be looked at.

use std::collections::BTreeMap;

use lockstep_core::contract::{NoLibrary, document, load};
use lockstep_core::diagnostic::{Diagnostic, Severity};
use serde_json::Value as Json;

use super::Draft;

/// Longest line of a comment, in characters.
const LINE_MAX: usize = 100;

/// Writes a draft as a contract file called `file`, with its remarks as comments.
///
/// # Errors
/// Why what would be written does not load; every finding names its place in the text.
pub fn text(file: &str, draft: &Draft) -> Result<String, Vec<Diagnostic>> {
    let written = match &draft.document {
        Some(own) => document::yaml(own),
        None => document::yaml(&physical(document::write(&draft.contract), draft)),
    };
    let text = commented(&written, &draft.remarks);
    match load(file, &text, &NoLibrary) {
        Ok(_) => Ok(text),
        Err(mut found) => {
            found.retain(|found| found.severity == Severity::Error);
            found.insert(
                0,
                Diagnostic::error("LS-I112", "what came out does not load as a contract").help(
                    "write it with `--out -`, mend it, and check it with `lockstep contract lint`",
                ),
            );
            Err(found)
        }
    }
}

/// Names the table that the entity stands in, where that is another name: references to it are found by it.
fn physical(mut document: Json, draft: &Draft) -> Json {
    let table = draft.table.as_ref();
    let object = document
        .pointer_mut("/schema/0")
        .and_then(Json::as_object_mut);
    if let (Some(table), Some(object)) = (table, object)
        && *table != draft.contract.entity
    {
        let own = std::mem::take(object);
        for (key, value) in own {
            let is_name = key == "name";
            object.insert(key, value);
            if is_name {
                object.insert("physicalName".to_owned(), table.as_str().into());
            }
        }
    }
    document
}

/// Puts remarks on the whole at the top, and those on a field above it.
pub(super) fn commented(text: &str, remarks: &BTreeMap<String, Vec<String>>) -> String {
    let mut out = String::with_capacity(text.len() + 256);
    comment(&mut out, "", remarks.get("").map_or(&[], Vec::as_slice));
    let mut indent = None;
    for line in text.lines() {
        let body = line.trim_start();
        let here = line.len() - body.len();
        // The fields of the record are the first list of `properties`; nested ones stand deeper.
        if body == "properties:" && indent.is_none() {
            indent = Some(here + 2);
        } else if let Some(name) = body.strip_prefix("- name: ")
            && indent.is_some_and(|indent| here == indent || here + 2 == indent)
            && let Some(remarks) = remarks.get(name.trim_matches(['"', '\'']))
        {
            comment(&mut out, &line[..here], remarks);
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

fn comment(out: &mut String, indent: &str, remarks: &[String]) {
    for remark in remarks {
        let mut line = String::new();
        for word in remark.split_whitespace() {
            if !line.is_empty() && line.chars().count() + word.chars().count() >= LINE_MAX {
                out.push_str(&format!("{indent}# {line}\n"));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        out.push_str(&format!("{indent}# {line}\n"));
    }
}
