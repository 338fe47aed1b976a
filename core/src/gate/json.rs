//! JSON documents in one form: what two systems write differently and mean alike is one text.
//!
//! Nothing is read as a number, so no digit is lost. Knows neither records nor mappings.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// How deep documents may be nested.
const DEPTH_MAX: usize = 64;

/// The document with sorted keys and without needless space; numbers keep their text, so no digit is lost.
///
/// `None` where the text is not JSON, is nested too deeply, or names a key twice.
pub(crate) fn canonical_json(text: &str) -> Option<Box<str>> {
    json_with(text, &|number, out| out.push_str(number))
}

/// The same, with its numbers, and what else is no text, written by `plain`.
pub(crate) fn json_with(text: &str, plain: &dyn Fn(&str, &mut String)) -> Option<Box<str>> {
    let raw: &RawValue = serde_json::from_str(text).ok()?;
    let mut out = String::with_capacity(text.len());
    write(raw.get(), plain, DEPTH_MAX, &mut out)?;
    Some(out.into())
}

fn write(
    text: &str,
    plain: &dyn Fn(&str, &mut String),
    depth: usize,
    out: &mut String,
) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    match text.as_bytes().first()? {
        b'{' => {
            let fields: Fields<'_> = serde_json::from_str(text).ok()?;
            out.push('{');
            for (i, (name, value)) in fields.0.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&serde_json::to_string(name).ok()?);
                out.push(':');
                write(value.get(), plain, depth, out)?;
            }
            out.push('}');
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item.get(), plain, depth, out)?;
            }
            out.push(']');
        }
        b'"' => {
            let content: String = serde_json::from_str(text).ok()?;
            out.push_str(&serde_json::to_string(&content).ok()?);
        }
        _ => plain(text, out),
    }
    Some(())
}

/// The fields of an object, sorted; a name that stands twice is an error, because one value would be lost.
struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl<'de> serde::Deserialize<'de> for Fields<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Self::Value, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if fields.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom("a name stands twice"));
                    }
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}
