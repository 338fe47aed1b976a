//! A contract as an Avro record schema.
//!
//! Bounds and patterns have no word in Avro: they stand in `doc`, and the gate checks them.
//! A field that may be null or absent is a union with null; defaults are of the union's first branch, as Avro demands.
//! Attributes beginning with `lockstep.` keep what Avro's readers ignore and `lockstep contract import avro` reads again.

use std::collections::HashSet;

use lockstep_core::contract::{Allowed, Contract, Field, Inner, wire};
use lockstep_core::value::{Type, Value};
use serde_json::{Map, Value as Json, json};

use super::words;
use crate::contract::import::avro::{DEFAULT, KEY, NULLABLE, REQUIRED, TYPE};

/// The namespace of generated records.
pub const NAMESPACE: &str = "io.lockstep.contract";

/// The record schema.
#[must_use]
pub fn schema(contract: &Contract) -> Json {
    let mut writer = Writer {
        names: HashSet::from([contract.entity.clone()]),
    };
    let mut record = Map::new();
    record.insert("type".to_owned(), "record".into());
    record.insert("name".to_owned(), contract.entity.as_str().into());
    record.insert("namespace".to_owned(), NAMESPACE.into());
    let mut said: Vec<String> = contract
        .description
        .iter()
        .map(|text| text.trim().to_owned())
        .collect();
    said.extend(
        words::rules(contract)
            .iter()
            .map(|text| words::sentence(text)),
    );
    if !said.is_empty() {
        record.insert("doc".to_owned(), said.join("\n").into());
    }
    let key: Vec<&str> = contract
        .key
        .iter()
        .filter_map(|i| contract.fields.get(*i))
        .map(|f| f.name.as_str())
        .collect();
    record.insert(KEY.to_owned(), key.into());
    record.insert("lockstep.contract".to_owned(), contract.urn().into());
    let fields: Vec<Json> = contract
        .fields
        .iter()
        .map(|field| writer.field(&contract.entity, field))
        .collect();
    record.insert("fields".to_owned(), fields.into());
    record.into()
}

struct Writer {
    names: HashSet<String>,
}

impl Writer {
    fn field(&mut self, owner: &str, field: &Field) -> Json {
        let mut out = Map::new();
        out.insert("name".to_owned(), field.name.as_str().into());
        let mut said: Vec<String> = field
            .description
            .iter()
            .map(|text| text.trim().to_owned())
            .collect();
        let kind = self.kind(&format!("{owner}_{}", field.name), field);
        let mut rules = words::limits(field);
        // An enum says its values by itself.
        rules.extend(words::allowed(field).filter(|_| kind.get("symbols").is_none()));
        rules.extend(words::facts(field));
        said.extend(rules.into_iter().map(|text| format!("Rule: {text}.")));
        if !said.is_empty() {
            out.insert("doc".to_owned(), said.join(" ").into());
        }
        let optional = field.nullable || !field.required;
        let default = field.default.as_ref().filter(|default| !default.is_null());
        let own = default.filter(|_| field.inner.is_none());
        let default = own.and_then(|default| literal(field, &kind, default));
        let (kind, default) = match (optional, default) {
            (false, default) => (kind, default),
            (true, Some(default)) => (json!([kind, "null"]), Some(default)),
            // A field that may be absent must have a default, so that readers of Avro accept its absence.
            (true, None) if !field.required => (json!(["null", kind]), Some(Json::Null)),
            (true, None) => (json!(["null", kind]), None),
        };
        out.insert("type".to_owned(), kind);
        if let Some(default) = default {
            out.insert("default".to_owned(), default);
        }
        if let Some(own) = own {
            out.insert(DEFAULT.to_owned(), wire::to_json(own));
            if field.nullable {
                out.insert(REQUIRED.to_owned(), field.required.into());
            }
        }
        if !field.nullable && !field.required {
            out.insert(NULLABLE.to_owned(), false.into());
        }
        out.into()
    }

    /// The type of a field's values; `name` is what a type of its own is called.
    fn kind(&mut self, name: &str, field: &Field) -> Json {
        match &field.inner {
            Some(Inner::Object { fields, .. }) => {
                let name = self.name(name);
                let fields: Vec<Json> = fields
                    .iter()
                    .map(|inner| self.field(&name, inner))
                    .collect();
                return json!({"type": "record", "name": name, "fields": fields});
            }
            Some(Inner::List { items, .. }) => {
                return json!({"type": "array", "items": self.inside(&format!("{name}_item"), items)});
            }
            Some(Inner::Map { values, .. }) => {
                return json!({"type": "map", "values": self.inside(&format!("{name}_value"), values)});
            }
            None => {}
        }
        match field.kind {
            Type::Bool => "boolean".into(),
            Type::Int if is_short(field) => "int".into(),
            Type::Int => "long".into(),
            Type::Float => "double".into(),
            Type::Text => match field
                .allowed
                .as_ref()
                .and_then(|list| self.listed(name, list))
            {
                Some(kind) => kind,
                None => "string".into(),
            },
            Type::Bytes => "bytes".into(),
            Type::Decimal {
                precision: Some(precision),
                scale: Some(scale),
            } => {
                json!({"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale})
            }
            // Without bounds there is no logical type that holds it.
            Type::Decimal { .. } => json!({"type": "string", TYPE: "decimal"}),
            Type::Date => json!({"type": "int", "logicalType": "date"}),
            Type::Time => json!({"type": "long", "logicalType": "time-micros"}),
            Type::Timestamp => json!({"type": "long", "logicalType": "timestamp-micros"}),
            Type::Uuid => json!({"type": "string", "logicalType": "uuid"}),
            Type::Json => json!({"type": "string", TYPE: "json"}),
        }
    }

    fn inside(&mut self, name: &str, field: &Field) -> Json {
        let kind = self.kind(name, field);
        if field.nullable {
            json!(["null", kind])
        } else {
            kind
        }
    }

    /// An enum, where every value is a name that Avro allows and readers know what to take for others.
    fn listed(&mut self, name: &str, list: &Allowed) -> Option<Json> {
        let symbols: Vec<String> = list.values.iter().map(ToString::to_string).collect();
        let legal = symbols.iter().all(|symbol| is_name(symbol));
        if !legal || list.open && list.fallback.is_none() {
            return None;
        }
        let mut kind = json!({"type": "enum", "name": self.name(name), "symbols": symbols});
        if let Some(fallback) = list.fallback.as_ref().filter(|_| list.open) {
            kind["default"] = fallback.to_string().into();
        }
        Some(kind)
    }

    /// A name for a type that nothing else has.
    fn name(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        let mut number = 2;
        while !self.names.insert(name.clone()) {
            name = format!("{wanted}_{number}");
            number += 1;
        }
        name
    }
}

/// Whether every value fits Avro's `int`.
fn is_short(field: &Field) -> bool {
    let within = |bound: &Option<Value>| matches!(bound, Some(Value::Int(number)) if i32::try_from(*number).is_ok());
    within(&field.limits.minimum) && within(&field.limits.maximum)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A default as Avro writes it; `None` where the type has no such form.
fn literal(field: &Field, kind: &Json, value: &Value) -> Option<Json> {
    if field.inner.is_some() {
        return None;
    }
    let epoch = jiff::civil::date(1970, 1, 1);
    Some(match value {
        Value::Bool(flag) => (*flag).into(),
        Value::Int(number) => (*number).into(),
        Value::Float(number) => serde_json::Number::from_f64(*number)?.into(),
        Value::Text(text) => {
            let listed = kind.get("symbols").and_then(Json::as_array);
            let known =
                listed.is_none_or(|symbols| symbols.iter().any(|s| s.as_str() == Some(text)));
            known.then(|| text.as_str().into())?
        }
        // A byte is the character of its number.
        Value::Bytes(bytes) => bytes
            .iter()
            .copied()
            .map(char::from)
            .collect::<String>()
            .into(),
        // The usual readers refuse the default of a decimal in the form that Avro gives it.
        Value::Decimal(number) => match field.kind {
            Type::Decimal { scale: Some(_), .. } => return None,
            _ => number.as_str().into(),
        },
        Value::Date(date) => i64::from(date.since(epoch).ok()?.get_days()).into(),
        Value::Time(time) => {
            let midnight = jiff::civil::time(0, 0, 0, 0);
            let nanoseconds = time.duration_since(midnight).as_nanos();
            i64::try_from(nanoseconds / 1000).ok()?.into()
        }
        Value::Timestamp(at) => at.as_microsecond().into(),
        Value::Uuid(id) => id.to_string().into(),
        Value::Json(text) => text.as_ref().into(),
        Value::Null => return None,
    })
}
