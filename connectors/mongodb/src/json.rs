//! BSON values as JSON text.
//!
//! What JSON has itself is written plainly; everything else is an object of MongoDB's Extended JSON (`{"$oid": …}`, `{"$date": …}`), so that [`parse`](crate::parse) gives it back.
//! Documents come from outside: their depth is bounded, and what has no exact form in JSON is refused with a word that names no value.

use std::collections::HashSet;
use std::fmt::{self, Write as _};

use mongodb::bson::raw::RawElement;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Decimal128, RawBsonRef, RawDocument};

/// The deepest nesting that is written; MongoDB itself takes no more.
const DEPTH_MAX: usize = 100;
/// As many names are compared one by one; more are looked up.
const FEW: usize = 12;

/// Why a value has no form of its own in Lockstep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    /// A name stands twice in one document.
    #[error("a name stands twice in one document")]
    Twice,
    /// Documents within documents, too deep.
    #[error("documents are nested deeper than 100 levels")]
    Deep,
    /// Text that is no text, or bytes that are no BSON.
    #[error("there is text that is not UTF-8, or a document that cannot be read")]
    Broken,
    /// A pointer of a kind that MongoDB gave up.
    #[error("there is a DBPointer, which is read no more")]
    Pointer,
}

/// Writes a value.
pub(crate) fn text(value: RawBsonRef<'_>) -> Result<String, Unfit> {
    let mut out = String::new();
    write(value, &mut out, 0)?;
    Ok(out)
}

fn write(value: RawBsonRef<'_>, out: &mut String, depth: usize) -> Result<(), Unfit> {
    if depth > DEPTH_MAX {
        return Err(Unfit::Deep);
    }
    match value {
        RawBsonRef::Null => out.push_str("null"),
        RawBsonRef::Boolean(flag) => out.push_str(if flag { "true" } else { "false" }),
        RawBsonRef::Int32(number) => put(out, number),
        RawBsonRef::Int64(number) => put(out, number),
        RawBsonRef::Double(number) => double(number, out),
        RawBsonRef::String(text) => string(text, out),
        RawBsonRef::Document(document) => object(document, out, depth)?,
        RawBsonRef::Array(array) => {
            out.push('[');
            for (i, item) in array.iter_elements().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(value_of(item)?, out, depth + 1)?;
            }
            out.push(']');
        }
        RawBsonRef::JavaScriptCodeWithScope(code) => {
            out.push_str("{\"$code\":");
            string(code.code, out);
            out.push_str(",\"$scope\":");
            object(code.scope, out, depth + 1)?;
            out.push('}');
        }
        RawBsonRef::DbPointer(_) => return Err(Unfit::Pointer),
        special => wrapped(special, out),
    }
    Ok(())
}

fn object(document: &RawDocument, out: &mut String, depth: usize) -> Result<(), Unfit> {
    let mut names = Names::default();
    out.push('{');
    for (i, element) in document.iter_elements().enumerate() {
        let element = element.map_err(|_| Unfit::Broken)?;
        let name = element.key().as_str();
        if !names.add(name) {
            return Err(Unfit::Twice);
        }
        if i > 0 {
            out.push(',');
        }
        string(name, out);
        out.push(':');
        write(element.value().map_err(|_| Unfit::Broken)?, out, depth + 1)?;
    }
    out.push('}');
    Ok(())
}

fn value_of(
    element: mongodb::bson::error::Result<RawElement<'_>>,
) -> Result<RawBsonRef<'_>, Unfit> {
    element
        .and_then(|element| element.value())
        .map_err(|_| Unfit::Broken)
}

/// Names that were met in a document.
#[derive(Default)]
pub(crate) struct Names<'d> {
    few: Vec<&'d str>,
    many: HashSet<&'d str>,
}

impl<'d> Names<'d> {
    /// Takes note of a name; false where it was met before.
    pub(crate) fn add(&mut self, name: &'d str) -> bool {
        if self.many.is_empty() {
            if self.few.contains(&name) {
                return false;
            }
            self.few.push(name);
            if self.few.len() > FEW {
                self.many.extend(self.few.drain(..));
            }
            return true;
        }
        self.many.insert(name)
    }
}

/// What JSON has no form for.
fn wrapped(value: RawBsonRef<'_>, out: &mut String) {
    match value {
        RawBsonRef::ObjectId(id) => put(out, format_args!("{{\"$oid\":\"{}\"}}", id.to_hex())),
        RawBsonRef::DateTime(at) => date(at.timestamp_millis(), out),
        RawBsonRef::Decimal128(number) => decimal(number, out),
        RawBsonRef::Binary(binary) => {
            out.push_str("{\"$binary\":{\"base64\":\"");
            base64(binary.bytes, out);
            let subtype = u8::from(binary.subtype);
            put(out, format_args!("\",\"subType\":\"{subtype:02x}\"}}}}"));
        }
        RawBsonRef::RegularExpression(regex) => {
            out.push_str("{\"$regularExpression\":{\"pattern\":");
            string(regex.pattern.as_str(), out);
            out.push_str(",\"options\":");
            string(regex.options.as_str(), out);
            out.push_str("}}");
        }
        RawBsonRef::JavaScriptCode(code) => labelled("$code", code, out),
        RawBsonRef::Symbol(symbol) => labelled("$symbol", symbol, out),
        RawBsonRef::Timestamp(at) => put(
            out,
            format_args!(
                "{{\"$timestamp\":{{\"t\":{},\"i\":{}}}}}",
                at.time, at.increment
            ),
        ),
        RawBsonRef::MinKey => out.push_str("{\"$minKey\":1}"),
        RawBsonRef::MaxKey => out.push_str("{\"$maxKey\":1}"),
        // Whatever else there may come is at least no silent null.
        _ => out.push_str("{\"$undefined\":true}"),
    }
}

fn labelled(label: &str, text: &str, out: &mut String) {
    put(out, format_args!("{{\"{label}\":"));
    string(text, out);
    out.push('}');
}

fn double(number: f64, out: &mut String) {
    if number.is_finite() {
        // The shortest text that gives the same double, with a point or an exponent: it stays a double.
        match serde_json::to_string(&number) {
            Ok(text) => out.push_str(&text),
            Err(_) => put(out, number),
        }
        return;
    }
    let word = match number {
        number if number.is_nan() => "NaN",
        number if number > 0.0 => "Infinity",
        _ => "-Infinity",
    };
    put(out, format_args!("{{\"$numberDouble\":\"{word}\"}}"));
}

fn decimal(number: Decimal128, out: &mut String) {
    put(out, format_args!("{{\"$numberDecimal\":\"{number}\"}}"));
}

/// A date as people read it where that is exact, else its milliseconds.
fn date(millis: i64, out: &mut String) {
    // The years 1970 to 9999, as Extended JSON has it.
    const READABLE: std::ops::Range<i64> = 0..253_402_300_800_000;
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(at) if READABLE.contains(&millis) => put(out, format_args!("{{\"$date\":\"{at}\"}}")),
        _ => put(
            out,
            format_args!("{{\"$date\":{{\"$numberLong\":\"{millis}\"}}}}"),
        ),
    }
}

/// Writes a JSON string.
pub(crate) fn string(text: &str, out: &mut String) {
    match serde_json::to_string(text) {
        Ok(quoted) => out.push_str(&quoted),
        // A text always has a JSON form.
        Err(_) => out.push_str("\"\""),
    }
}

fn put(out: &mut String, what: impl fmt::Display) {
    // Writing into a string cannot fail.
    let _ = write!(out, "{what}");
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8], out: &mut String) {
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let number = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            if place > three.len() {
                out.push('=');
                continue;
            }
            let digit = (number >> (18 - 6 * place)) & 63;
            out.push(char::from(DIGITS[digit as usize]));
        }
    }
}

/// The bytes that base64 stands for.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if text.len() - digits.len() > 2 || !text.len().is_multiple_of(4) {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for four in digits.as_bytes().chunks(4) {
        let mut number = 0;
        for digit in four {
            let value = DIGITS.iter().position(|known| known == digit)?;
            number = number << 6 | u32::try_from(value).ok()?;
        }
        number <<= 6 * (4 - four.len());
        let [_, a, b, c] = number.to_be_bytes();
        bytes.extend(&[a, b, c][..four.len().checked_sub(1)?]);
    }
    Some(bytes)
}

/// The subtype that a number stands for.
pub(crate) fn subtype(number: u8) -> BinarySubtype {
    BinarySubtype::from(number)
}
