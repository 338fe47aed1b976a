//! Avro schemas (`.avsc`): records with their logical types, enums, defaults and named types.

use std::collections::BTreeMap;

use lockstep_core::contract::{Allowed, Extra, Field, Inner, wire};
use lockstep_core::diagnostic::{Diagnostic, suggestion};
use lockstep_core::value::{Type, Value};
use serde_json::Value as Json;

use super::draft::{Asked, Record};
use super::json::{self, Node};
use super::json_schema::kind_of;
use super::names::{self, Names};
use super::notes::{Notes, shorten};
use super::{DEPTH_MAX, FIELDS_MAX, Imported, sound};

/// Attribute of generated schemas: a type that Avro has no word for, such as `json`.
pub(crate) const TYPE: &str = "lockstep.type";
/// Attribute of generated schemas: the fields that identify a record.
pub(crate) const KEY: &str = "lockstep.key";
/// Attribute of generated schemas: the default as events have it, also where Avro has no form for it.
pub(crate) const DEFAULT: &str = "lockstep.default";
/// Attribute of generated schemas: whether a field with a default that may be null is always there.
pub(crate) const REQUIRED: &str = "lockstep.required";
/// Attribute of generated schemas: false where a field is absent, never null.
pub(crate) const NULLABLE: &str = "lockstep.nullable";

/// Imports a record schema; of several, the one that `asked` names, or each where it names none.
///
/// # Errors
/// Why nothing comes out, with its place.
pub fn import(file: &str, text: &str, asked: &Asked) -> Imported {
    let notes = Notes::new(file, text);
    let root = json::parse(&notes, text)?;
    let mut named = BTreeMap::new();
    collect(&root, "", 0, &mut named);
    let tops: Vec<&Node> = match root.items() {
        [] => vec![&root],
        items => items.iter().collect(),
    };
    let records: Vec<&Node> = tops
        .into_iter()
        .filter(|node| node.get("type").and_then(Node::text) == Some("record"))
        .filter(|node| {
            let name = node.get("name").and_then(Node::text).unwrap_or_default();
            let asked = asked.entity.as_deref().filter(|_| !root.items().is_empty());
            asked.is_none_or(|asked| asked == name || asked == names::entity(short(name)))
        })
        .collect();
    if records.is_empty() {
        let known = named.keys().map(String::as_str);
        return Err(notes.fail(
            "LS-I105",
            Some(root.at),
            "the schema describes no such record",
            match &asked.entity {
                Some(entity) => suggestion(entity, known),
                None => "an entity is a `record` with `fields`".to_owned(),
            },
        ));
    }
    let mut drafts = Vec::new();
    for record in records {
        let mut importer = Importer {
            named: &named,
            notes: notes.fresh(),
            fields: 0,
            open: Vec::new(),
        };
        let name = record.get("name").and_then(Node::text).unwrap_or("record");
        let mut read = Record::new(short(name));
        read.description = doc(record);
        read.key = record
            .get(KEY)
            .map(|list| {
                list.items()
                    .iter()
                    .filter_map(Node::text)
                    .map(str::to_owned)
                    .collect()
            })
            .unwrap_or_default();
        let space = space_of(record, "");
        importer.open.push(record.at);
        let (fields, written) = importer.members(record, &space, "")?;
        read.fields = fields;
        read.written = written;
        drafts.push(read.finish(asked, importer.notes)?);
    }
    Ok(drafts)
}

/// Every named type by its full name.
fn collect<'n>(
    node: &'n Node,
    space: &str,
    depth: usize,
    named: &mut BTreeMap<String, (&'n Node, String)>,
) {
    // serde_json has bounded the depth of the text; this bounds what a type inside a type adds.
    if depth > 128 {
        return;
    }
    for item in node.items() {
        collect(item, space, depth + 1, named);
    }
    let kind = node.get("type");
    let mut own = space.to_owned();
    if let Some("record" | "error" | "enum" | "fixed") = kind.and_then(Node::text)
        && let Some(name) = node.get("name").and_then(Node::text)
    {
        own = space_of(node, space);
        named.entry(full(name, &own)).or_insert((node, own.clone()));
    }
    for part in ["type", "items", "values"]
        .iter()
        .filter_map(|key| node.get(key))
    {
        collect(part, &own, depth + 1, named);
    }
    for field in node.get("fields").map_or(&[][..], Node::items) {
        if let Some(kind) = field.get("type") {
            collect(kind, &own, depth + 1, named);
        }
    }
}

struct Importer<'n, 't> {
    named: &'n BTreeMap<String, (&'n Node, String)>,
    notes: Notes<'t>,
    fields: usize,
    /// Where the records begin that are being read, to find circles.
    open: Vec<usize>,
}

impl<'n> Importer<'n, '_> {
    fn members(
        &mut self,
        record: &'n Node,
        space: &str,
        path: &str,
    ) -> Result<(Vec<Field>, Vec<String>), Vec<Diagnostic>> {
        let mut names = Names::default();
        let mut fields = Vec::new();
        let mut written = Vec::new();
        for node in record.get("fields").map_or(&[][..], Node::items) {
            let Some(own) = node.get("name").and_then(Node::text) else {
                return Err(self.notes.fail(
                    "LS-I102",
                    Some(node.at),
                    "a field has no name",
                    "a field is an object with `name` and `type`",
                ));
            };
            let Some(kind) = node.get("type") else {
                return Err(self.notes.fail(
                    "LS-I102",
                    Some(node.at),
                    format!("the field `{}` has no type", shorten(own)),
                    "a field is an object with `name` and `type`",
                ));
            };
            let name = names.give(own);
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            let mut field = Field::new(name, Type::Json);
            self.kind(&mut field, kind, space, &path)?;
            field.description = doc(node).or(field.description.take());
            self.default(&mut field, node, &path);
            if let Some(aliases) = node.get("aliases").filter(|list| !list.items().is_empty()) {
                let what = "older names (`aliases`) are not read";
                self.notes.tell(
                    "LS-I108",
                    &path,
                    Some(aliases.at),
                    what,
                    "a migration with `rename` says the same",
                );
            }
            if node.get(NULLABLE).and_then(Node::flag) == Some(false) {
                field.nullable = false;
                field.required = false;
                field.default = field.default.filter(|default| !default.is_null());
            }
            sound::settle(&mut field, &path, Some(node.at), &mut self.notes);
            fields.push(field);
            written.push(own.to_owned());
        }
        Ok((fields, written))
    }

    /// Fills in what a type says.
    fn kind(
        &mut self,
        field: &mut Field,
        node: &'n Node,
        space: &str,
        path: &str,
    ) -> Result<(), Vec<Diagnostic>> {
        self.fields += 1;
        if self.fields > FIELDS_MAX || path.matches('.').count() >= DEPTH_MAX {
            return Err(self.notes.fail(
                "LS-I103",
                Some(node.at),
                format!("the schema describes more than {FIELDS_MAX} fields, or nests deeper than {DEPTH_MAX}"),
                "import a part of it",
            ));
        }
        if !node.items().is_empty() {
            return self.union(field, node, space, path);
        }
        if let Some(word) = node.text() {
            return self.word(field, word, node, space, path);
        }
        let Some(kind) = node.get("type") else {
            return Err(self.notes.fail(
                "LS-I102",
                Some(node.at),
                "this is no type",
                "write a type's name, or an object with `type`",
            ));
        };
        match kind.text() {
            Some("record" | "error") => self.record(field, node, space, path),
            Some("enum") => {
                self.listed(field, node);
                Ok(())
            }
            Some("fixed") => {
                let size = node.get("size").and_then(Node::whole);
                field.kind = Type::Bytes;
                field.limits.min_length = size;
                field.limits.max_length = size;
                self.logical(field, node, path);
                Ok(())
            }
            Some("array") => {
                let mut items = Field::new("items", Type::Json);
                if let Some(inside) = node.get("items") {
                    self.kind(&mut items, inside, space, &format!("{path}.items"))?;
                }
                let items = Box::new(items);
                field.inner = Some(Inner::List {
                    items,
                    least: None,
                    most: None,
                    unique: false,
                });
                Ok(())
            }
            Some("map") => {
                let mut values = Field::new("values", Type::Json);
                if let Some(inside) = node.get("values") {
                    self.kind(&mut values, inside, space, &format!("{path}.values"))?;
                }
                let values = Box::new(values);
                field.inner = Some(Inner::Map {
                    values,
                    least: None,
                    most: None,
                });
                Ok(())
            }
            _ => {
                self.kind(field, kind, space, path)?;
                self.logical(field, node, path);
                Ok(())
            }
        }
    }

    fn word(
        &mut self,
        field: &mut Field,
        word: &str,
        node: &'n Node,
        space: &str,
        path: &str,
    ) -> Result<(), Vec<Diagnostic>> {
        field.kind = match word {
            "boolean" => Type::Bool,
            "int" => {
                field.limits.minimum = Some(Value::Int(i32::MIN.into()));
                field.limits.maximum = Some(Value::Int(i32::MAX.into()));
                Type::Int
            }
            "long" => Type::Int,
            "float" | "double" => Type::Float,
            "bytes" => Type::Bytes,
            "string" => Type::Text,
            "null" => {
                field.nullable = true;
                self.notes.warn(
                    "LS-I110",
                    path,
                    Some(node.at),
                    "it is always null",
                    "leave it out where it means nothing",
                );
                Type::Json
            }
            _ => {
                let name = full(word, space);
                let found = self.named.get(&name).or_else(|| self.named.get(word));
                let Some((type_node, own)) = found else {
                    return Err(self.notes.fail(
                        "LS-I104",
                        Some(node.at),
                        format!("no type `{}` is described here", shorten(word)),
                        suggestion(word, self.named.keys().map(String::as_str)),
                    ));
                };
                let (type_node, own) = (*type_node, own.clone());
                return self.kind(field, type_node, &own, path);
            }
        };
        Ok(())
    }

    fn record(
        &mut self,
        field: &mut Field,
        node: &'n Node,
        space: &str,
        path: &str,
    ) -> Result<(), Vec<Diagnostic>> {
        if self.open.contains(&node.at) {
            return Err(self.notes.fail(
                "LS-I104",
                Some(node.at),
                "the record holds itself, so its inside has no end",
                "cut the circle: describe the inner part as a `string` that holds JSON",
            ));
        }
        self.open.push(node.at);
        let (fields, _) = self.members(node, &space_of(node, space), path)?;
        self.open.pop();
        field.description = doc(node);
        field.inner = Some(Inner::Object {
            fields,
            extra: Extra::Reject,
        });
        Ok(())
    }

    fn union(
        &mut self,
        field: &mut Field,
        node: &'n Node,
        space: &str,
        path: &str,
    ) -> Result<(), Vec<Diagnostic>> {
        let is_null = |item: &&Node| item.text() == Some("null");
        field.nullable = node.items().iter().any(|item| is_null(&item));
        let others: Vec<&'n Node> = node.items().iter().filter(|item| !is_null(item)).collect();
        match others.as_slice() {
            [one] => {
                self.kind(field, one, space, path)?;
                field.nullable |= node.items().len() > 1;
            }
            others => {
                let what = format!(
                    "it is one of {} types, so any value is allowed",
                    others.len()
                );
                self.notes.warn(
                    "LS-I110",
                    path,
                    Some(node.at),
                    what,
                    "a field of a contract has one type",
                );
            }
        }
        Ok(())
    }

    fn listed(&mut self, field: &mut Field, node: &Node) {
        let symbols = node.get("symbols").map_or(&[][..], Node::items);
        let values: Vec<Value> = symbols
            .iter()
            .filter_map(Node::text)
            .map(Value::text)
            .collect();
        // The default stands for a symbol that a reader does not know: others may come.
        let fallback = node.get("default").and_then(Node::text).map(Value::text);
        field.kind = Type::Text;
        field.description = doc(node);
        if !values.is_empty() {
            field.allowed = Some(Allowed {
                values,
                open: fallback.is_some(),
                fallback,
            });
        }
    }

    /// A logical type, and what generated schemas say of their own.
    fn logical(&mut self, field: &mut Field, node: &Node, path: &str) {
        let number = |key: &str| {
            node.get(key)
                .and_then(Node::whole)
                .and_then(|n| u32::try_from(n).ok())
        };
        if let Some(kind) = node.get(TYPE).and_then(Node::text).and_then(kind_of) {
            field.kind = kind;
            return;
        }
        let Some(word) = node.get("logicalType").and_then(Node::text) else {
            return;
        };
        let kind = match (word, field.kind) {
            ("decimal", Type::Bytes) => Type::Decimal {
                precision: number("precision"),
                scale: Some(number("scale").unwrap_or(0)),
            },
            ("uuid", Type::Text | Type::Bytes) => Type::Uuid,
            ("date", Type::Int) => Type::Date,
            ("time-millis" | "time-micros", Type::Int) => Type::Time,
            ("timestamp-millis" | "timestamp-micros" | "timestamp-nanos", Type::Int) => {
                Type::Timestamp
            }
            (
                "local-timestamp-millis" | "local-timestamp-micros" | "local-timestamp-nanos",
                Type::Int,
            ) => {
                let what = "a local timestamp has no offset; it is read as UTC";
                self.notes.warn(
                    "LS-I110",
                    path,
                    Some(node.at),
                    what,
                    "say in the mapping what offset it has",
                );
                Type::Timestamp
            }
            (other, kind) => {
                // An unknown logical type is to be ignored, says Avro.
                let what = format!("the logical type `{}` is read as {kind}", shorten(other));
                self.notes.warn(
                    "LS-I110",
                    path,
                    Some(node.at),
                    what,
                    "say it as a rule (`quality`) where it matters",
                );
                return;
            }
        };
        field.kind = kind;
        field.limits = Default::default();
    }

    fn default(&mut self, field: &mut Field, node: &Node, path: &str) {
        if let Some(own) = node.get(DEFAULT) {
            field.default = wire::from_json(field.kind, &own.json());
            let required = node.get(REQUIRED).and_then(Node::flag);
            field.required = required.unwrap_or(true);
            return;
        }
        let Some(default) = node.get("default") else {
            return;
        };
        let json = default.json();
        if json.is_null() && field.nullable {
            // Absent and null are the same to Avro's readers.
            field.required = false;
            return;
        }
        field.default = match (field.kind, &json) {
            (Type::Date, Json::Number(days)) => days.as_i64().and_then(date),
            (Type::Bytes, Json::String(text)) => {
                Some(Value::Bytes(text.chars().map(|c| c as u8).collect()))
            }
            (Type::Decimal { scale, .. }, Json::String(text)) => decimal(text, scale.unwrap_or(0)),
            (Type::Time | Type::Timestamp, Json::Number(_)) => None,
            (kind, json) => wire::from_json(kind, json),
        };
        if field.default.is_none() {
            let what = "the default has no counterpart and was left out";
            self.notes.warn(
                "LS-I108",
                path,
                Some(default.at),
                what,
                "add `lockstep.default`",
            );
        }
    }
}

/// A decimal as Avro writes it: the bytes of a big-endian two's complement, a character each.
fn decimal(text: &str, scale: u32) -> Option<Value> {
    let bytes: Vec<u8> = text
        .chars()
        .map(|c| u8::try_from(u32::from(c)).ok())
        .collect::<Option<_>>()?;
    let negative = *bytes.first()? >= 0x80;
    if bytes.len() > 16 || scale > 38 {
        return None;
    }
    let start: i128 = if negative { -1 } else { 0 };
    let units = bytes
        .iter()
        .fold(start, |units, byte| (units << 8) | i128::from(*byte));
    let digits = format!(
        "{:0>width$}",
        units.unsigned_abs(),
        width = scale as usize + 1
    );
    let (whole, rest) = digits.split_at(digits.len() - scale as usize);
    let sign = if units < 0 { "-" } else { "" };
    let point = if rest.is_empty() { "" } else { "." };
    Some(Value::Decimal(
        format!("{sign}{whole}{point}{rest}").parse().ok()?,
    ))
}

fn date(days: i64) -> Option<Value> {
    let epoch = jiff::civil::date(1970, 1, 1);
    let span = jiff::Span::new().try_days(days).ok()?;
    Some(Value::Date(epoch.checked_add(span).ok()?))
}

fn doc(node: &Node) -> Option<String> {
    node.get("doc").and_then(Node::text).map(str::to_owned)
}

/// The last part of a full name.
fn short(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn full(name: &str, space: &str) -> String {
    if name.contains('.') || space.is_empty() {
        name.to_owned()
    } else {
        format!("{space}.{name}")
    }
}

fn space_of(node: &Node, outer: &str) -> String {
    let name = node.get("name").and_then(Node::text).unwrap_or_default();
    match (
        name.rsplit_once('.'),
        node.get("namespace").and_then(Node::text),
    ) {
        (Some((space, _)), _) => space.to_owned(),
        (None, Some(space)) => space.to_owned(),
        (None, None) => outer.to_owned(),
    }
}
