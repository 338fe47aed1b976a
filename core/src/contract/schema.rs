//! The JSON Schemas (2020-12) of a contract: strict for writers, tolerant for readers.
//!
//! [`writer`] says what may be written, exactly as the compiled [`Checker`](super::Checker) does, rules aside.
//! [`reader`] says what a reader must accept: unknown fields and, in lists that are open or have a value for the unknown, unknown values, so that adding an optional field breaks nobody.
//! The same holds inside documents, at every depth.
//! Where the contract keeps or drops unknown fields, writers may send them.
//! [`patch`] is the writer schema with nothing required, for events that carry changed fields only.
//!
//! Every string form has a pattern, so that validators which treat `format` as a remark judge alike; bounds of decimals, dates, times and timestamps are patterns too.
//! Bounds of times and timestamps also stand as `formatMinimum` and the like, which people and some validators read.

use serde_json::{Map, Value as Json, json};

use super::range::End;
use super::wire::to_json;
use super::{Allowed, Contract, Extra, Field, Inner, Limits, range};
use crate::value::{Type, Value};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
const DATE: &str = "[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])";
const TIME: &str = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?";
const UUID: &str = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
const ANY_DECIMAL: &str = r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?$";
/// Longest bounded byte string whose length a pattern can say without growing large.
const EXACT_BYTES_MAX: u64 = 3000;

/// The schema of whole records as they are written.
#[must_use]
pub fn writer(contract: &Contract) -> Json {
    build(contract, Side::Writer)
}

/// The schema of whole records as they must be accepted.
#[must_use]
pub fn reader(contract: &Contract) -> Json {
    build(contract, Side::Reader)
}

/// The schema of patches: every field of the writer schema, none of them required.
#[must_use]
pub fn patch(contract: &Contract) -> Json {
    build(contract, Side::Patch)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Writer,
    Reader,
    Patch,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Side::Writer => "writer",
            Side::Reader => "reader",
            Side::Patch => "patch",
        }
    }

    fn requires(self, contract: &Contract, i: usize, field: &Field) -> bool {
        match self {
            Side::Writer => field.required,
            Side::Reader => {
                contract.key.contains(&i) || (field.required && field.default.is_none())
            }
            Side::Patch => false,
        }
    }
}

fn build(contract: &Contract, side: Side) -> Json {
    let mut schema = Map::new();
    schema.insert("$schema".into(), DIALECT.into());
    schema.insert(
        "$id".into(),
        format!("{}:{}", contract.urn(), side.name()).into(),
    );
    schema.insert(
        "title".into(),
        format!("{} ({})", contract.entity, side.name()).into(),
    );
    if let Some(description) = &contract.description {
        schema.insert("description".into(), description.as_str().into());
    }
    schema.insert("type".into(), "object".into());
    let properties: Map<String, Json> = contract
        .fields
        .iter()
        .map(|field| (field.name.clone(), property(field, side)))
        .collect();
    schema.insert("properties".into(), properties.into());
    let required: Vec<&str> = contract
        .fields
        .iter()
        .enumerate()
        .filter(|(i, field)| side.requires(contract, *i, field))
        .map(|(_, field)| field.name.as_str())
        .collect();
    schema.insert("required".into(), required.into());
    if side != Side::Reader && contract.extra == Extra::Reject {
        schema.insert("additionalProperties".into(), false.into());
    }
    schema.into()
}

fn property(field: &Field, side: Side) -> Json {
    let mut schema = Map::new();
    schema.insert("title".into(), field.name.as_str().into());
    if let Some(description) = &field.description {
        schema.insert("description".into(), description.as_str().into());
    }
    let kind = match field.kind {
        Type::Bool => Some("boolean"),
        Type::Int => Some("integer"),
        Type::Float => Some("number"),
        Type::Json => None,
        _ => Some("string"),
    };
    let kind = match &field.inner {
        Some(Inner::Object { .. } | Inner::Map { .. }) => Some("object"),
        Some(Inner::List { .. }) => Some("array"),
        None => kind,
    };
    match (kind, field.nullable) {
        (Some(kind), false) => _ = schema.insert("type".into(), kind.into()),
        (Some(kind), true) => _ = schema.insert("type".into(), json!([kind, "null"])),
        (None, true) => {}
        (None, false) => {
            let any = json!(["boolean", "object", "array", "number", "string"]);
            schema.insert("type".into(), any);
        }
    }
    form(field, &mut schema);
    bounds(field, &mut schema);
    if let Some(inner) = &field.inner {
        inside(inner, side, &mut schema);
    }
    // A reader that has a value for what it does not know takes anything.
    let open = |allowed: &Allowed| allowed.open || allowed.fallback.is_some();
    if let Some(allowed) = &field.allowed
        && !(open(allowed) && side == Side::Reader)
    {
        let mut values: Vec<Json> = allowed.values.iter().map(to_json).collect();
        if field.nullable {
            values.push(Json::Null);
        }
        schema.insert("enum".into(), values.into());
    }
    if let Some(default) = &field.default {
        schema.insert("default".into(), to_json(default));
    }
    schema.into()
}

/// What stands inside a document: strict for writers, and open for readers at every depth.
fn inside(inner: &Inner, side: Side, schema: &mut Map<String, Json>) {
    // A patch leaves out whole fields, never parts of a document.
    let side = match side {
        Side::Patch => Side::Writer,
        side => side,
    };
    let mut put = |key: &str, value: Json| _ = schema.insert(key.into(), value);
    let mut count = |least: (&str, &Option<u64>), most: (&str, &Option<u64>)| {
        for (key, bound) in [least, most] {
            if let Some(bound) = bound {
                put(key, (*bound).into());
            }
        }
    };
    match inner {
        Inner::Object { fields, extra } => {
            let properties: Map<String, Json> = fields
                .iter()
                .map(|field| (field.name.clone(), property(field, side)))
                .collect();
            let required: Vec<&str> = fields
                .iter()
                .filter(|field| {
                    field.required && !(side == Side::Reader && field.default.is_some())
                })
                .map(|field| field.name.as_str())
                .collect();
            put("properties", properties.into());
            put("required", required.into());
            if side != Side::Reader && *extra == Extra::Reject {
                put("additionalProperties", false.into());
            }
        }
        Inner::List {
            items,
            least,
            most,
            unique,
        } => {
            count(("minItems", least), ("maxItems", most));
            put("items", property(items, side));
            if *unique {
                put("uniqueItems", true.into());
            }
        }
        Inner::Map {
            values,
            least,
            most,
        } => {
            count(("minProperties", least), ("maxProperties", most));
            put("additionalProperties", property(values, side));
        }
    }
}

/// The form of the values that travel as strings.
fn form(field: &Field, schema: &mut Map<String, Json>) {
    let mut put = |key: &str, value: Json| _ = schema.insert(key.into(), value);
    match field.kind {
        Type::Text => {
            if let Some(pattern) = &field.limits.pattern {
                put("pattern", pattern.as_str().into());
            }
            if let Some(format) = field.limits.format {
                put("format", format.name().into());
                let mut parts: Vec<Json> = format
                    .patterns()
                    .iter()
                    .map(|pattern| json!({ "pattern": pattern }))
                    .collect();
                if let Some(most) = format.max_length() {
                    parts.push(json!({ "maxLength": most }));
                }
                put("allOf", parts.into());
            }
        }
        Type::Decimal {
            precision: Some(precision),
            scale: Some(scale),
        } => put(
            "pattern",
            range::decimal(precision, scale, &field.limits).into(),
        ),
        Type::Decimal { .. } => put("pattern", ANY_DECIMAL.into()),
        Type::Bytes => {
            put("contentEncoding", "base64".into());
            put("pattern", base64(field).into());
        }
        Type::Date => {
            put("format", "date".into());
            put("pattern", format!("^{DATE}$").into());
            if let Some(range) = range::date(&field.limits) {
                put("allOf", json!([{ "pattern": range }]));
            }
        }
        // The format `time` demands an offset from UTC, which a time of day does not have.
        Type::Time => {
            put("pattern", format!("^{TIME}$").into());
            put_all(&moments(&field.limits), &mut put);
        }
        Type::Timestamp => {
            put("format", "date-time".into());
            put("pattern", format!("^{DATE}T{TIME}Z$").into());
            put_all(&moments(&field.limits), &mut put);
        }
        Type::Uuid => {
            put("format", "uuid".into());
            put("pattern", UUID.into());
        }
        Type::Bool | Type::Int | Type::Float | Type::Json => {}
    }
}

/// Puts patterns that stand beside the one of the form.
fn put_all(patterns: &[String], put: &mut dyn FnMut(&str, Json)) {
    if !patterns.is_empty() {
        let each = patterns.iter().map(|pattern| json!({ "pattern": pattern }));
        put("allOf", each.collect());
    }
}

/// The patterns of the bounds of a time or timestamp.
fn moments(limits: &Limits) -> Vec<String> {
    let ends = [
        (&limits.minimum, End::Low, limits.exclusive_minimum),
        (&limits.maximum, End::High, limits.exclusive_maximum),
    ];
    let patterns = ends.into_iter().filter_map(|(at, end, exclusive)| {
        let at = to_json(at.as_ref()?);
        range::moment(at.as_str()?, end, exclusive)
    });
    patterns.collect()
}

fn bounds(field: &Field, schema: &mut Map<String, Json>) {
    let limits = &field.limits;
    let exclusive = (
        limits.exclusive_minimum && limits.minimum.is_some(),
        limits.exclusive_maximum && limits.maximum.is_some(),
    );
    let mut put = |key: &str, value: Json| _ = schema.insert(key.into(), value);
    match field.kind {
        Type::Text => {
            if let Some(least) = limits.min_length {
                put("minLength", least.into());
            }
            if let Some(most) = limits.max_length {
                put("maxLength", most.into());
            }
        }
        Type::Int => {
            let least = limits.minimum.clone().unwrap_or(Value::Int(i64::MIN));
            let most = limits.maximum.clone().unwrap_or(Value::Int(i64::MAX));
            let (low, high) = names(exclusive.0, exclusive.1);
            put(low, to_json(&least));
            put(high, to_json(&most));
            if let Some(step) = &limits.multiple_of {
                put("multipleOf", to_json(step));
            }
        }
        Type::Float | Type::Time | Type::Timestamp => {
            let (low, high) = match field.kind {
                Type::Float => names(exclusive.0, exclusive.1),
                _ => format_names(exclusive.0, exclusive.1),
            };
            if let Some(least) = &limits.minimum {
                put(low, to_json(least));
            }
            if let Some(most) = &limits.maximum {
                put(high, to_json(most));
            }
        }
        _ => {}
    }
}

fn names(exclusive_minimum: bool, exclusive_maximum: bool) -> (&'static str, &'static str) {
    (
        if exclusive_minimum {
            "exclusiveMinimum"
        } else {
            "minimum"
        },
        if exclusive_maximum {
            "exclusiveMaximum"
        } else {
            "maximum"
        },
    )
}

fn format_names(exclusive_minimum: bool, exclusive_maximum: bool) -> (&'static str, &'static str) {
    (
        if exclusive_minimum {
            "formatExclusiveMinimum"
        } else {
            "formatMinimum"
        },
        if exclusive_maximum {
            "formatExclusiveMaximum"
        } else {
            "formatMaximum"
        },
    )
}

/// Base64 of exactly the allowed numbers of bytes: the padding tells a length apart modulo three.
fn base64(field: &Field) -> String {
    const GROUP: &str = "(?:[A-Za-z0-9+/]{4})";
    // The unused bits of the last character are zero.
    const ENDINGS: [&str; 3] = [
        "",
        "[A-Za-z0-9+/][AQgw]==",
        "[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=",
    ];
    let least = field.limits.min_length.unwrap_or(0);
    let most = field.limits.max_length;
    if least == 0 && most.is_none() || least.max(most.unwrap_or(0)) > EXACT_BYTES_MAX {
        return format!("^{GROUP}*(?:{}|{})?$", ENDINGS[1], ENDINGS[2]);
    }
    let alternatives: Vec<String> = (0..3u64)
        .zip(ENDINGS)
        .filter_map(|(rest, ending)| {
            let from = least.saturating_sub(rest).div_ceil(3);
            let to = match most {
                Some(most) => most.checked_sub(rest)? / 3,
                None => return Some(format!("{GROUP}{{{from},}}{ending}")),
            };
            (from <= to).then(|| format!("{GROUP}{{{from},{to}}}{ending}"))
        })
        .collect();
    range::any_of(&alternatives)
}

#[cfg(test)]
mod tests;
