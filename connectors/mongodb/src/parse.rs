//! JSON text as BSON values: the way back of [`json`](crate::json).
//!
//! Whole numbers become the narrowest of MongoDB's integers, others doubles, and only where a double says the same.
//! An object is one of Extended JSON's wrappers only where its every member fits; else it is a document.

use lockstep_core::Decimal;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Binary, Bson, DateTime, Document, JavaScriptCodeWithScope, Regex, Timestamp};
use serde_json::{Map, Value as Json};

use crate::json;

/// Reads a JSON text.
///
/// # Errors
/// What MongoDB has no exact value for, in words without the value.
pub(crate) fn value(text: &str) -> Result<Bson, &'static str> {
    let json: Json = serde_json::from_str(text).map_err(|_| "it is not a JSON document")?;
    if !numbers_fit(text) {
        return Err("a number in the document has more digits than a double holds");
    }
    bson(json)
}

fn bson(json: Json) -> Result<Bson, &'static str> {
    Ok(match json {
        Json::Null => Bson::Null,
        Json::Bool(flag) => Bson::Boolean(flag),
        Json::String(text) => Bson::String(text),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => narrow(whole),
            (None, Some(double)) if !number.is_u64() => Bson::Double(double),
            _ => return Err("a whole number in the document does not fit into 64 bits"),
        },
        Json::Array(items) => Bson::Array(items.into_iter().map(bson).collect::<Result<_, _>>()?),
        Json::Object(members) => match wrapper(&members) {
            Some(value) => value,
            None => Bson::Document(document(members)?),
        },
    })
}

/// A whole number in as few bytes as hold it.
pub(crate) fn narrow(number: i64) -> Bson {
    i32::try_from(number).map_or(Bson::Int64(number), Bson::Int32)
}

fn document(members: Map<String, Json>) -> Result<Document, &'static str> {
    let mut document = Document::new();
    for (name, member) in members {
        if name.contains('\0') {
            return Err("a name in the document holds a zero byte, which MongoDB's names cannot");
        }
        document.insert(name, bson(member)?);
    }
    Ok(document)
}

/// The value that an object of Extended JSON stands for, if it is one.
fn wrapper(members: &Map<String, Json>) -> Option<Bson> {
    let mut each = members.iter();
    let (name, inner) = each.next()?;
    if !name.starts_with('$') {
        return None;
    }
    if members.len() == 2 {
        let (other, scope) = each.next()?;
        return code_with_scope(name, inner, other, scope);
    }
    if members.len() != 1 {
        return None;
    }
    let text = inner.as_str();
    Some(match name.as_str() {
        "$oid" => Bson::ObjectId(ObjectId::parse_str(text?).ok()?),
        "$date" => Bson::DateTime(DateTime::from_millis(millis(inner)?)),
        "$numberDecimal" => Bson::Decimal128(text?.parse().ok()?),
        "$numberDouble" => Bson::Double(text?.parse().ok()?),
        "$numberLong" => Bson::Int64(text?.parse().ok()?),
        "$numberInt" => Bson::Int32(text?.parse().ok()?),
        "$binary" => binary(inner)?,
        "$uuid" => Bson::Binary(Binary {
            subtype: json::subtype(4),
            bytes: uuid::Uuid::try_parse(text?).ok()?.as_bytes().to_vec(),
        }),
        "$regularExpression" => {
            let [pattern, options] = two(inner, "pattern", "options")?;
            Bson::RegularExpression(Regex {
                pattern: pattern.as_str()?.to_owned().try_into().ok()?,
                options: options.as_str()?.to_owned().try_into().ok()?,
            })
        }
        "$timestamp" => {
            let [time, increment] = two(inner, "t", "i")?;
            Bson::Timestamp(Timestamp {
                time: time.as_u64()?.try_into().ok()?,
                increment: increment.as_u64()?.try_into().ok()?,
            })
        }
        "$code" => Bson::JavaScriptCode(text?.to_owned()),
        "$symbol" => Bson::Symbol(text?.to_owned()),
        "$minKey" if inner == 1 => Bson::MinKey,
        "$maxKey" if inner == 1 => Bson::MaxKey,
        "$undefined" if inner == true => Bson::Undefined,
        _ => return None,
    })
}

fn code_with_scope(name: &str, inner: &Json, other: &str, scope: &Json) -> Option<Bson> {
    let (code, scope) = match (name, other) {
        ("$code", "$scope") => (inner, scope),
        ("$scope", "$code") => (scope, inner),
        _ => return None,
    };
    Some(Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
        code: code.as_str()?.to_owned(),
        scope: document(scope.as_object()?.clone()).ok()?,
    }))
}

fn millis(date: &Json) -> Option<i64> {
    match date {
        Json::String(text) => {
            let at: jiff::Timestamp = text.parse().ok()?;
            let exact = at.subsec_nanosecond() % 1_000_000 == 0;
            exact.then(|| at.as_millisecond())
        }
        Json::Object(members) if members.len() == 1 => {
            members.get("$numberLong")?.as_str()?.parse().ok()
        }
        _ => None,
    }
}

fn binary(inner: &Json) -> Option<Bson> {
    let [base64, subtype] = two(inner, "base64", "subType")?;
    Some(Bson::Binary(Binary {
        subtype: json::subtype(u8::from_str_radix(subtype.as_str()?, 16).ok()?),
        bytes: json::from_base64(base64.as_str()?)?,
    }))
}

/// The two members of an object that has no more.
fn two<'j>(object: &'j Json, first: &str, second: &str) -> Option<[&'j Json; 2]> {
    let members = object.as_object().filter(|members| members.len() == 2)?;
    Some([members.get(first)?, members.get(second)?])
}

/// Whether doubles say the same as the numbers of a JSON text that are no integers.
fn numbers_fit(text: &str) -> bool {
    let mut rest = text;
    loop {
        let Some(at) = rest.find(['"', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
        else {
            return true;
        };
        rest = &rest[at..];
        if rest.starts_with('"') {
            rest = behind_string(rest);
            continue;
        }
        let end = rest.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'));
        let (number, after) = rest.split_at(end.unwrap_or(rest.len()));
        if !number_fits(number) {
            return false;
        }
        rest = after;
    }
}

fn behind_string(text: &str) -> &str {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return &text[at + 1..],
            _ => {}
        }
    }
    ""
}

fn number_fits(number: &str) -> bool {
    if number.parse::<i64>().is_ok() {
        return true;
    }
    let Ok(double) = number.parse::<f64>() else {
        return false;
    };
    let shortest = serde_json::to_string(&double).unwrap_or_default();
    match (number.parse::<Decimal>(), shortest.parse::<Decimal>()) {
        (Ok(said), Ok(kept)) => said == kept,
        _ => false,
    }
}
