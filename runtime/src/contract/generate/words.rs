//! Names and phrases that several forms share.

use lockstep_core::contract::{Extra, Field, Format, Inner, Limits};
use lockstep_core::value::Type;

/// `order_line` as `OrderLine`; what cannot stand in a type's name is left out.
pub(super) fn pascal(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = true;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() {
            upper = true;
        } else if upper {
            out.push(c.to_ascii_uppercase());
            upper = false;
        } else {
            out.push(c);
        }
    }
    out
}

/// `orderLine` as `order_line`.
pub(super) fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    let mut before = '_';
    for c in name.chars() {
        if c.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit()) {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
        before = c;
    }
    out
}

pub(super) fn extra(extra: Extra) -> &'static str {
    match extra {
        Extra::Reject => "refused",
        Extra::Keep => "kept",
        Extra::Drop => "left out",
    }
}

/// The type as people read it, its inside included.
pub(super) fn kind(field: &Field) -> String {
    match (&field.inner, field.kind) {
        (Some(Inner::Object { .. }), _) => "object".to_owned(),
        (Some(Inner::List { items, .. }), _) => format!("list of {}", kind(items)),
        (Some(Inner::Map { values, .. }), _) => format!("map to {}", kind(values)),
        (None, Type::Json) => "any document".to_owned(),
        (None, kind) => kind.to_string(),
    }
}

/// Bounds as phrases: `1 to 64 characters`, `at least 0`.
pub(super) fn limits(field: &Field) -> Vec<String> {
    let Limits {
        min_length,
        max_length,
        pattern,
        minimum,
        maximum,
        exclusive_minimum,
        exclusive_maximum,
        multiple_of,
        format,
    } = &field.limits;
    let mut said = Vec::new();
    let unit = if field.kind == Type::Bytes {
        "bytes"
    } else {
        "characters"
    };
    match (min_length, max_length) {
        (Some(least), Some(most)) if least == most => said.push(format!("{least} {unit}")),
        (Some(least), Some(most)) => said.push(format!("{least} to {most} {unit}")),
        (Some(least), None) => said.push(format!("at least {least} {unit}")),
        (None, Some(most)) => said.push(format!("at most {most} {unit}")),
        (None, None) => {}
    }
    let bound = |value: &lockstep_core::Value| value.to_string();
    if let Some(least) = minimum {
        let word = if *exclusive_minimum {
            "above"
        } else {
            "at least"
        };
        said.push(format!("{word} {}", bound(least)));
    }
    if let Some(most) = maximum {
        let word = if *exclusive_maximum {
            "below"
        } else {
            "at most"
        };
        said.push(format!("{word} {}", bound(most)));
    }
    if let Some(step) = multiple_of {
        said.push(format!("a multiple of {}", bound(step)));
    }
    if let Some(pattern) = pattern {
        said.push(format!("matches {pattern}"));
    }
    if let Some(format) = format {
        said.push(format!("of the form {}", form(*format)));
    }
    said
}

/// The word for a form of texts.
pub(super) fn form(format: Format) -> &'static str {
    match format {
        Format::Email => "email",
        Format::Hostname => "hostname",
        Format::Ipv4 => "ipv4",
        Format::Ipv6 => "ipv6",
        Format::Uri => "uri",
    }
}

/// The allowed values as a phrase.
pub(super) fn allowed(field: &Field) -> Option<String> {
    let allowed = field.allowed.as_ref()?;
    let values: Vec<String> = allowed.values.iter().map(ToString::to_string).collect();
    let more = if allowed.open { "; more may come" } else { "" };
    Some(format!("one of {}{more}", values.join(", ")))
}
