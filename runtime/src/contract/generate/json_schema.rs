//! The JSON Schemas of a contract, with comments that say what JSON Schema has no word for.

use crate::contract::import::json_schema::{EXCLUSIVE, HINT};
use lockstep_core::contract::{Contract, Field, Inner, schema};
use lockstep_core::value::Type;
use serde_json::Value as Json;

/// Whom a schema is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What may be written.
    Writer,
    /// What must be accepted.
    Reader,
    /// What a patch may hold.
    Patch,
}

/// The schema of a side; its comments let `lockstep contract import json-schema` find key and exact types again.
#[must_use]
pub fn schema(contract: &Contract, side: Side) -> Json {
    let mut schema = match side {
        Side::Writer => schema::writer(contract),
        Side::Reader => schema::reader(contract),
        Side::Patch => schema::patch(contract),
    };
    hints(&mut schema, &contract.fields);
    let key: Vec<&str> = contract
        .key
        .iter()
        .filter_map(|i| contract.fields.get(*i))
        .map(|field| field.name.as_str())
        .collect();
    comment(&mut schema, format!("{HINT}key {}", key.join(", ")));
    schema
}

fn hints(schema: &mut Json, fields: &[Field]) {
    for field in fields {
        if let Some(own) = schema.pointer_mut(&format!("/properties/{}", field.name)) {
            hint(own, field);
        }
    }
}

fn hint(schema: &mut Json, field: &Field) {
    match (&field.inner, field.kind) {
        (Some(Inner::Object { fields, .. }), _) => hints(schema, fields),
        (Some(Inner::List { items, .. }), _) => {
            if let Some(own) = schema.get_mut("items") {
                hint(own, items);
            }
        }
        (Some(Inner::Map { values, .. }), _) => {
            if let Some(own) = schema.get_mut("additionalProperties") {
                hint(own, values);
            }
        }
        (
            None,
            Type::Decimal { .. }
            | Type::Bytes
            | Type::Date
            | Type::Time
            | Type::Timestamp
            | Type::Uuid,
        ) => comment(schema, format!("{HINT}{}{}", field.kind, bounds(field))),
        (None, _) => {}
    }
}

/// The bounds that stand in patterns, which nobody reads back.
fn bounds(field: &Field) -> String {
    let limits = &field.limits;
    let minimum = if limits.exclusive_minimum {
        EXCLUSIVE[0]
    } else {
        "minimum"
    };
    let maximum = if limits.exclusive_maximum {
        EXCLUSIVE[1]
    } else {
        "maximum"
    };
    let parts = [
        (minimum, limits.minimum.as_ref().map(ToString::to_string)),
        (maximum, limits.maximum.as_ref().map(ToString::to_string)),
        (
            "minLength",
            limits.min_length.map(|length| length.to_string()),
        ),
        (
            "maxLength",
            limits.max_length.map(|length| length.to_string()),
        ),
    ];
    let said = parts
        .into_iter()
        .filter_map(|(word, value)| Some(format!(" {word} {}", value?)));
    said.collect()
}

fn comment(schema: &mut Json, text: String) {
    if let Some(own) = schema.as_object_mut() {
        own.insert("$comment".to_owned(), text.into());
    }
}
