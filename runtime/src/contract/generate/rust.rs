//! Rust types of a contract: serde for the wire form, schemars for its schema.
//!
//! The text is formatted as `rustfmt` would; it needs the crates serde, schemars and, where its types occur, jiff, uuid, serde_json and lockstep_core.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;

use lockstep_core::contract::{Allowed, Contract, Extra, Field, Inner};
use lockstep_core::value::{Type, Value};

use super::words::{allowed, facts, form, limits, pascal, rules, sentence, snake};

/// Words that a field may only be named with `r#`.
const KEYWORDS: [&str; 46] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn",
    "else", "enum", "extern", "final", "fn", "for", "gen", "if", "impl", "let", "loop", "macro",
    "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "static", "struct",
    "trait", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while",
    "yield", "union",
];
/// Words that cannot be names at all.
const NEVER: [&str; 7] = ["crate", "self", "super", "true", "false", "in", "_"];

/// The types of a contract as Rust source.
#[must_use]
pub fn text(contract: &Contract) -> String {
    let mut writer = Writer {
        uses: BTreeSet::new(),
        items: Vec::new(),
        names: HashSet::new(),
    };
    let name = writer.name(&pascal(&contract.entity));
    let mut about = contract
        .description
        .clone()
        .unwrap_or_else(|| format!("One {}.", contract.entity.replace('_', " ")));
    let key: Vec<String> = contract
        .key
        .iter()
        .filter_map(|at| contract.fields.get(*at))
        .map(|field| format!("`{}`", field.name))
        .collect();
    let rules = rules(contract);
    if !key.is_empty() || !rules.is_empty() {
        about.push('\n');
    }
    if !key.is_empty() {
        about.push_str(&format!("\nIts key is {}.", key.join(", ")));
    }
    for rule in rules {
        about.push_str(&format!("\n{}", sentence(&rule)));
    }
    writer.record(&name, &about, &contract.fields, contract.extra);
    let mut out = format!(
        "// The entity `{}`, version {}: written by `lockstep contract gen rust`; edit the contract instead.\n\n",
        contract.entity, contract.version
    );
    let (date, time) = ("jiff::civil::Date", "jiff::civil::Time");
    let both = writer.uses.contains(date) && writer.uses.contains(time);
    if both {
        writer.uses.remove(date);
        writer.uses.remove(time);
        writer.uses.insert("jiff::civil::{Date, Time}");
    }
    for line in &writer.uses {
        let _ = writeln!(out, "use {line};");
    }
    out.push('\n');
    out.push_str(&writer.items.join("\n"));
    out
}

struct Writer {
    uses: BTreeSet<&'static str>,
    /// Types and functions, a record before what it holds.
    items: Vec<String>,
    names: HashSet<String>,
}

impl Writer {
    /// A type's name that nothing else has.
    fn name(&mut self, wanted: &str) -> String {
        const PRELUDE: [&str; 9] = [
            "Self",
            "Option",
            "String",
            "Vec",
            "Value",
            "Date",
            "Time",
            "Timestamp",
            "Decimal",
        ];
        let mut name = match wanted.chars().next() {
            Some(c) if c.is_ascii_alphabetic() => wanted.to_owned(),
            _ => format!("V{wanted}"),
        };
        while PRELUDE.contains(&name.as_str())
            || NEVER.contains(&name.as_str())
            || !self.names.insert(name.clone())
        {
            name.push('_');
            name = format!("{}Record", name.trim_end_matches('_'));
        }
        name
    }

    fn record(&mut self, name: &str, about: &str, fields: &[Field], extra: Extra) {
        // Its place is before the types of its fields.
        let place = self.items.len();
        self.items.push(String::new());
        self.uses
            .extend(["schemars::JsonSchema", "serde::{Deserialize, Serialize}"]);
        let mut text = doc(about, "");
        text.push_str("#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]\n");
        let _ = writeln!(text, "pub struct {name} {{");
        let mut given = HashSet::new();
        for field in fields {
            self.field(name, field, &mut given, &mut text);
        }
        if extra == Extra::Keep {
            let mut other = "other".to_owned();
            while !given.insert(other.clone()) {
                other.push('_');
            }
            self.uses.insert("std::collections::BTreeMap");
            text.push_str("    /// What else stands there.\n    #[serde(flatten)]\n");
            let _ = writeln!(
                text,
                "    pub {other}: BTreeMap<String, serde_json::Value>,"
            );
        }
        text.push_str("}\n");
        self.items[place] = text;
    }

    fn field(
        &mut self,
        owner: &str,
        field: &Field,
        given: &mut HashSet<String>,
        text: &mut String,
    ) {
        let mut plain = snake(&field.name);
        while NEVER.contains(&plain.as_str()) || !given.insert(plain.clone()) {
            plain.push('_');
        }
        let written = if KEYWORDS.contains(&plain.as_str()) {
            format!("r#{plain}")
        } else {
            plain.clone()
        };
        let kind = self.kind(&format!("{owner}{}", pascal(&field.name)), field);
        let optional = field.nullable || !field.required;
        let kind = if optional {
            format!("Option<{kind}>")
        } else {
            kind
        };
        text.push_str(&doc(&about(field), "    "));
        let mut serde = Vec::new();
        if plain != field.name {
            serde.push(format!("rename = {:?}", field.name));
        }
        if !field.required && !field.nullable {
            serde.push("default".to_owned());
            serde.push("skip_serializing_if = \"Option::is_none\"".to_owned());
        } else if !optional && let Some(default) = &field.default {
            serde.push(format!(
                "default = {:?}",
                self.default(owner, &plain, &kind, field, default)
            ));
        }
        attribute(text, "serde", &serde);
        attribute(text, "schemars", &bounds(field));
        let _ = writeln!(text, "    pub {written}: {kind},");
    }

    /// The Rust type of a field; `name` is what a type of its own is called.
    fn kind(&mut self, name: &str, field: &Field) -> String {
        match &field.inner {
            Some(Inner::Object { fields, extra }) => {
                let name = self.name(name);
                self.record(&name, &about(field), fields, *extra);
                return name;
            }
            Some(Inner::List { items, .. }) => {
                let kind = self.kind(&format!("{name}Item"), items);
                let kind = if items.nullable {
                    format!("Option<{kind}>")
                } else {
                    kind
                };
                return format!("Vec<{kind}>");
            }
            Some(Inner::Map { values, .. }) => {
                self.uses.insert("std::collections::BTreeMap");
                let kind = self.kind(&format!("{name}Value"), values);
                let kind = if values.nullable {
                    format!("Option<{kind}>")
                } else {
                    kind
                };
                return format!("BTreeMap<String, {kind}>");
            }
            None => {}
        }
        let uses = match field.kind {
            Type::Text => match &field.allowed {
                Some(list) => return self.listed(name, field, list),
                None => return "String".to_owned(),
            },
            // Bytes travel as base64.
            Type::Bytes => return "String".to_owned(),
            Type::Bool => return "bool".to_owned(),
            Type::Int => return "i64".to_owned(),
            Type::Float => return "f64".to_owned(),
            Type::Json => return "serde_json::Value".to_owned(),
            Type::Decimal { .. } => ("lockstep_core::Decimal", "Decimal"),
            Type::Date => ("jiff::civil::Date", "Date"),
            Type::Time => ("jiff::civil::Time", "Time"),
            Type::Timestamp => ("jiff::Timestamp", "Timestamp"),
            Type::Uuid => ("uuid::Uuid", "Uuid"),
        };
        self.uses.insert(uses.0);
        uses.1.to_owned()
    }

    /// An enum of allowed texts.
    fn listed(&mut self, name: &str, field: &Field, list: &Allowed) -> String {
        let name = self.name(name);
        self.uses
            .extend(["schemars::JsonSchema", "serde::{Deserialize, Serialize}"]);
        let mut text = doc(&about(field), "");
        let copy = if list.open { "Clone" } else { "Clone, Copy" };
        let _ = writeln!(
            text,
            "#[derive({copy}, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]"
        );
        let _ = writeln!(text, "pub enum {name} {{");
        for (variant, value) in variants(list) {
            let _ = writeln!(
                text,
                "    /// `{}`",
                value.replace('`', "'").replace(char::is_control, " ")
            );
            if variant != value {
                attribute(&mut text, "serde", &[format!("rename = {value:?}")]);
            }
            let _ = writeln!(text, "    {variant},");
        }
        if list.open {
            text.push_str(
                "    /// Another one: more may come.\n    #[serde(untagged)]\n    Other(String),\n",
            );
        }
        text.push_str("}\n");
        self.items.push(text);
        name
    }

    /// A function that gives a default, and its name.
    fn default(
        &mut self,
        owner: &str,
        plain: &str,
        kind: &str,
        field: &Field,
        default: &Value,
    ) -> String {
        let name = format!("{}_{plain}_default", snake(owner));
        let value = match (default, &field.allowed) {
            (Value::Text(text), Some(list)) => {
                let known = variants(list).into_iter().find(|(_, value)| value == text);
                known.map_or_else(
                    || format!("{kind}::Other({text:?}.to_owned())"),
                    |(variant, _)| format!("{kind}::{variant}"),
                )
            }
            (Value::Text(text), None) => format!("{text:?}.to_owned()"),
            (Value::Bool(flag), _) => flag.to_string(),
            (Value::Int(number), _) => number.to_string(),
            (Value::Float(number), _) => format!("{number:?}"),
            (Value::Json(text), _) => {
                format!("serde_json::from_str({text:?}).expect(\"a constant\")")
            }
            (other, _) => format!("{:?}.parse().expect(\"a constant\")", other.to_string()),
        };
        self.items
            .push(format!("fn {name}() -> {kind} {{\n    {value}\n}}\n"));
        name
    }
}

/// The variants of a list and the values they stand for.
fn variants(list: &Allowed) -> Vec<(String, String)> {
    let mut given: HashSet<String> = HashSet::from(["Other".to_owned(), "Self".to_owned()]);
    list.values
        .iter()
        .map(|value| {
            let value = value.to_string();
            let mut name = pascal(&value);
            if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
                name = format!("V{name}");
            }
            let plain = name.clone();
            let mut number = 2;
            while !given.insert(name.clone()) {
                name = format!("{plain}{number}");
                number += 1;
            }
            (name, value)
        })
        .collect()
}

/// What readers of a field should know.
fn about(field: &Field) -> String {
    let what = field
        .description
        .clone()
        .unwrap_or_else(|| snake(&field.name).replace('_', " "));
    let mut parts = vec![sentence(&what)];
    if field.kind == Type::Bytes && field.inner.is_none() {
        parts.push("Bytes in base64.".to_owned());
    }
    // Lists of texts are enums, and lengths and patterns of texts stand in attributes.
    let mut said: Vec<String> = match field.kind {
        Type::Text => field
            .limits
            .format
            .map(|format| format!("of the form {}", form(format)))
            .into_iter()
            .collect(),
        _ => allowed(field).into_iter().chain(limits(field)).collect(),
    };
    said.extend(facts(field));
    let optional = field.nullable || !field.required;
    let default = field
        .default
        .as_ref()
        .filter(|default| optional && !default.is_null());
    if let Some(default) = default {
        said.push(format!("taken as {default} where absent"));
    }
    parts.extend(said.iter().map(|text| sentence(text)));
    parts.join(" ")
}

fn doc(text: &str, indent: &str) -> String {
    let lines = text.lines().map(str::trim_end);
    lines
        .map(|line| {
            if line.is_empty() {
                format!("{indent}///\n")
            } else {
                format!("{indent}/// {line}\n")
            }
        })
        .collect()
}

/// Bounds that schemars can say.
fn bounds(field: &Field) -> Vec<String> {
    let limits = &field.limits;
    let mut said = Vec::new();
    let pair = |least: Option<String>, most: Option<String>| {
        let parts = [
            least.map(|n| format!("min = {n}")),
            most.map(|n| format!("max = {n}")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    };
    match field.kind {
        Type::Text if field.allowed.is_none() => {
            let (least, most) = (
                limits.min_length.map(|n| n.to_string()),
                limits.max_length.map(|n| n.to_string()),
            );
            if least.is_some() || most.is_some() {
                said.push(format!("length({})", pair(least, most)));
            }
            if let Some(pattern) = &limits.pattern {
                said.push(format!("regex(pattern = {})", raw(pattern)));
            }
        }
        Type::Int => {
            let number = |bound: &Option<Value>, step: i64| match bound {
                Some(Value::Int(number)) => Some(number.saturating_add(step).to_string()),
                _ => None,
            };
            let least = number(&limits.minimum, limits.exclusive_minimum.into());
            let most = number(&limits.maximum, -i64::from(limits.exclusive_maximum));
            if least.is_some() || most.is_some() {
                said.push(format!("range({})", pair(least, most)));
            }
        }
        _ => {}
    }
    said
}

/// A raw string literal.
fn raw(text: &str) -> String {
    if !text.contains('\\') && !text.contains('"') {
        return format!("{text:?}");
    }
    let mut hashes = String::new();
    while text.contains(&format!("\"{hashes}")) {
        hashes.push('#');
    }
    format!("r{hashes}\"{text}\"{hashes}")
}

/// An attribute, one part a line where it is too long for one.
fn attribute(text: &mut String, name: &str, parts: &[String]) {
    if parts.is_empty() {
        return;
    }
    let line = format!("    #[{name}({})]", parts.join(", "));
    if line.chars().count() <= 100 || parts.len() == 1 {
        let _ = writeln!(text, "{line}");
        return;
    }
    let _ = writeln!(text, "    #[{name}(");
    let last = parts.len() - 1;
    for (i, part) in parts.iter().enumerate() {
        let _ = writeln!(text, "        {part}{}", if i == last { "" } else { "," });
    }
    text.push_str("    )]\n");
}
