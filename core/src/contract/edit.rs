//! Changes to a contract's text that keep everything else as it is written: comments, layout, other vendors' properties.
//!
//! An edit touches the lines that it is about and no others. Whatever an edit gives was read again and says exactly what was asked for; a text that cannot be edited so is refused, never guessed at.

mod layout;
mod lines;

use serde_json::{Value as Json, json};

use super::load::tree;
use super::load::yaml::{Content, Node, Span};
use super::{Field, document};
use crate::diagnostic::{Diagnostic, Place};
use lines::Lines;

pub use layout::format;

/// What a custom property stands under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// The contract itself.
    Contract,
    /// Its one schema object.
    Entity,
    /// A property of the object, by name.
    Field(&'a str),
}

/// Sets the contract's version.
///
/// # Errors
/// A text that is not readable, or has no version on one line.
pub fn set_version(
    file: &str,
    text: &str,
    version: &semver::Version,
) -> Result<String, Vec<Diagnostic>> {
    let root = tree(file, text)?;
    let Some(written) = root.get("version") else {
        return Err(refused(file, text, root.at, "the contract has no version"));
    };
    let quote = text[written.at.offset..].chars().next();
    let quote = quote.filter(|c| matches!(c, '"' | '\'')).map(String::from);
    let quote = quote.unwrap_or_default();
    let new = format!("{quote}{version}{quote}");
    let edited = replaced(text, written.at.offset, written.at.length, &new);
    let mut wanted = root.to_json();
    wanted["version"] = version.to_string().into();
    proven(file, text, edited, &wanted, written.at)
}

/// Sets the value of a custom property, adding the property where it is not there.
///
/// # Errors
/// A text that is not readable, has no such part, or is written in a form that cannot be edited safely.
pub fn set_custom(
    file: &str,
    text: &str,
    part: Part<'_>,
    name: &str,
    value: &Json,
) -> Result<String, Vec<Diagnostic>> {
    let root = tree(file, text)?;
    let (node, pointer) = find(&root, part)
        .ok_or_else(|| refused(file, text, root.at, "the contract has no such part"))?;
    let mut wanted = root.to_json();
    let target = wanted.pointer_mut(&pointer).and_then(Json::as_object_mut);
    let target = target.ok_or_else(|| refused(file, text, node.at, "the part is no mapping"))?;
    let items = target
        .entry("customProperties")
        .or_insert_with(|| json!([]));
    let entry = json!({ "property": name, "value": value });
    let items = items
        .as_array_mut()
        .ok_or_else(|| refused(file, text, node.at, "`customProperties` is no list"))?;
    let known = items.iter().position(|item| item["property"] == name);
    match known {
        Some(at) => items[at]["value"] = value.clone(),
        None => items.push(entry.clone()),
    }
    let lines = Lines::new(text);
    let list = node.get("customProperties");
    let edited = match (list, known) {
        (Some(list), Some(at)) => set_value(&lines, &list.items()[at], value),
        (Some(list), None) => lines.append(list, &entry),
        (None, _) => lines.add_key(node, "customProperties", &json!([entry])),
    };
    let edited = edited.ok_or_else(|| refused(file, text, node.at, UNSAFE))?;
    proven(file, text, edited, &wanted, node.at)
}

/// Adds a property to the contract's one object, after the others.
///
/// # Errors
/// A text that is not readable, has no properties, has one of this name, or is written in a form that cannot be edited safely.
pub fn add_field(file: &str, text: &str, field: &Field) -> Result<String, Vec<Diagnostic>> {
    let root = tree(file, text)?;
    let object = find(&root, Part::Entity).map(|(object, _)| object);
    let list = object.and_then(|object| object.get("properties"));
    let Some(list) = list.filter(|list| !list.items().is_empty()) else {
        return Err(refused(
            file,
            text,
            root.at,
            "the contract has no properties",
        ));
    };
    if let Some((known, _)) = find(&root, Part::Field(&field.name)) {
        let message = format!("the contract has a property `{}` already", field.name);
        return Err(refused(file, text, known.at, &message));
    }
    let entry = document::field(field);
    let mut wanted = root.to_json();
    if let Some(list) = wanted["schema"][0]["properties"].as_array_mut() {
        list.push(entry.clone());
    }
    let edited = Lines::new(text).append(list, &entry);
    let edited = edited.ok_or_else(|| refused(file, text, list.at, UNSAFE))?;
    proven(file, text, edited, &wanted, list.at)
}

/// The code of a refusal to edit or lay out a text that may be sound.
pub const UNSAFE_CODE: &str = "LS-C049";

const UNSAFE: &str = "the text is written in a form that cannot be edited safely";

/// The mapping of a part, and where it stands in the data.
fn find<'n>(root: &'n Node, part: Part<'_>) -> Option<(&'n Node, String)> {
    if part == Part::Contract {
        return Some((root, String::new()));
    }
    let [object] = root.get("schema")?.items() else {
        return None;
    };
    let Part::Field(name) = part else {
        return Some((object, "/schema/0".to_owned()));
    };
    let properties = object.get("properties")?.items();
    let named = |node: &Node| node.get("name").and_then(Node::text) == Some(name);
    let at = properties.iter().position(named)?;
    Some((&properties[at], format!("/schema/0/properties/{at}")))
}

/// Writes another value into a custom property that is there.
fn set_value(lines: &Lines<'_>, item: &Node, value: &Json) -> Option<String> {
    let old = item.get("value")?;
    let simple = match &old.content {
        Content::Map(_) | Content::List(_) => lines.flow_end(old.at).is_some(),
        _ => !lines.text[old.at.offset..].starts_with(['|', '>']),
    };
    if simple && (lines.is_flow(item) || document::is_short(value)) {
        let end = match &old.content {
            Content::Map(_) | Content::List(_) => lines.flow_end(old.at)?,
            _ => old.at.offset + old.at.length,
        };
        let new = document::line(value);
        // An empty value has no place of its own to write to.
        let gap = if old.at.length == 0 { " " } else { "" };
        return Some(replaced(
            lines.text,
            old.at.offset,
            end - old.at.offset,
            &format!("{gap}{new}"),
        ));
    }
    let entry = item.entries().iter().find(|entry| entry.key == "value")?;
    lines.replace_entry(entry.key_at, "value", value)
}

fn replaced(text: &str, offset: usize, length: usize, with: &str) -> String {
    let mut edited = text.to_owned();
    edited.replace_range(offset..offset + length, with);
    edited
}

/// The edited text, if it says exactly what was wanted.
fn proven(
    file: &str,
    text: &str,
    edited: String,
    wanted: &Json,
    at: Span,
) -> Result<String, Vec<Diagnostic>> {
    match tree(file, &edited) {
        Ok(root) if root.to_json() == *wanted => Ok(edited),
        _ => Err(refused(file, text, at, UNSAFE)),
    }
}

fn refused(file: &str, text: &str, at: Span, message: &str) -> Vec<Diagnostic> {
    let place = Place::in_text(file, text, at.offset, at.length.max(1));
    let help = "edit it by hand; plain block style without anchors can be edited for you";
    vec![Diagnostic::error("LS-C049", message).help(help).at(place)]
}

#[cfg(test)]
mod tests;
