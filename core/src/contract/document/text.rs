//! JSON data as readable YAML: block mappings and lists, short lists of plain values on one line, texts quoted only where they need it.

use serde_json::Value as Json;

/// Longest list that is written on one line.
const LINE_MAX: usize = 80;

/// Writes the YAML of a document; reading it gives the same data.
#[must_use]
pub fn yaml(document: &Json) -> String {
    let mut out = String::new();
    match document {
        Json::Object(entries) if !entries.is_empty() => block(document, 0, &mut out),
        Json::Array(items) if !items.is_empty() => block(document, 0, &mut out),
        other => {
            inline(other, &mut out);
            out.push('\n');
        }
    }
    out
}

/// Writes data on one line.
pub(in crate::contract) fn line(value: &Json) -> String {
    let mut out = String::new();
    inline(value, &mut out);
    out
}

/// Whether a value stands on the line of its key.
pub(in crate::contract) fn is_short(value: &Json) -> bool {
    !is_block(value) && !matches!(value, Json::String(text) if is_literal(text))
}

/// Writes a mapping or list whose first line is at the end of `out`, already indented.
fn block(value: &Json, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Json::Object(entries) => {
            for (i, (key, value)) in entries.iter().enumerate() {
                if i > 0 {
                    out.push_str(&pad);
                }
                scalar(key, out);
                out.push(':');
                below(value, indent, out);
            }
        }
        Json::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(&pad);
                }
                out.push('-');
                if is_block(item) {
                    out.push(' ');
                    block(item, indent + 2, out);
                } else {
                    below(item, indent, out);
                }
            }
        }
        _ => {}
    }
}

/// Writes what follows a key or a dash that is no mapping.
fn below(value: &Json, indent: usize, out: &mut String) {
    if is_block(value) {
        out.push('\n');
        out.push_str(&" ".repeat(indent + 2));
        block(value, indent + 2, out);
        return;
    }
    out.push(' ');
    match value {
        Json::String(text) if is_literal(text) => literal(text, indent + 2, out),
        other => {
            inline(other, out);
            out.push('\n');
        }
    }
}

/// Whether a value stands on lines of its own.
fn is_block(value: &Json) -> bool {
    match value {
        Json::Object(entries) => !entries.is_empty(),
        Json::Array(items) => {
            let nested = |item: &Json| matches!(item, Json::Object(_) | Json::Array(_));
            let mut line = String::new();
            inline(value, &mut line);
            !items.is_empty()
                && (items.iter().any(nested) && !is_pairs(items) || line.len() > LINE_MAX)
        }
        _ => false,
    }
}

/// Lists of short lists of plain values, such as pairs, stay on one line while they fit.
fn is_pairs(items: &[Json]) -> bool {
    let plain = |item: &Json| !matches!(item, Json::Object(_) | Json::Array(_));
    items.iter().all(|item| match item {
        Json::Array(items) => items.iter().all(plain),
        _ => false,
    })
}

/// Writes a value on one line.
fn inline(value: &Json, out: &mut String) {
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Json::Number(number) => out.push_str(&number.to_string()),
        Json::String(text) => scalar(text, out),
        Json::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                inline(item, out);
            }
            out.push(']');
        }
        Json::Object(entries) => {
            out.push('{');
            for (i, (key, value)) in entries.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                scalar(key, out);
                out.push_str(": ");
                inline(value, out);
            }
            out.push('}');
        }
    }
}

/// Whether a text reads best as a literal block: several whole lines of ordinary characters.
fn is_literal(text: &str) -> bool {
    let Some(body) = text.strip_suffix('\n').or(Some(text)) else {
        return false;
    };
    let ordinary = |line: &str| {
        !line.is_empty()
            && !line.ends_with([' ', '\t'])
            && line.chars().all(|c| !c.is_control() && !is_odd(c))
    };
    body.contains('\n') && !body.starts_with([' ', '\t']) && body.split('\n').all(ordinary)
}

fn literal(text: &str, indent: usize, out: &mut String) {
    let body = text.strip_suffix('\n');
    out.push_str(if body.is_some() { "|\n" } else { "|-\n" });
    for line in body.unwrap_or(text).split('\n') {
        out.push_str(&" ".repeat(indent));
        out.push_str(line);
        out.push('\n');
    }
}

/// Writes a text on one line, quoted where it would read as something else.
fn scalar(text: &str, out: &mut String) {
    if is_plain(text) {
        out.push_str(text);
    } else if text.chars().all(|c| !c.is_control() && !is_odd(c)) {
        out.push('\'');
        out.push_str(&text.replace('\'', "''"));
        out.push('\'');
    } else {
        double(text, out);
    }
}

/// Whether a text means itself without quotes, everywhere in a document.
fn is_plain(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '/');
    let inside = |c: char| c.is_alphanumeric() || "_-./ ()+%@=<>*^$".contains(c);
    let other = [
        "true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf",
    ];
    let version = text.split('.').count() == 3
        && text
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    version
        || starts
            && !text.ends_with(' ')
            && text.chars().all(|c| inside(c) && !is_odd(c))
            && !other.contains(&text.to_ascii_lowercase().as_str())
}

/// Characters that some readers of YAML take for line ends or do not read at all.
fn is_odd(c: char) -> bool {
    matches!(
        c,
        '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
    )
}

fn double(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || is_odd(c) => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
