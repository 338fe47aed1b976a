//! What identifies a record, as canonical bytes.
//!
//! The bytes are the key fields in contract order, each as tag, length and bytes, so that no two different keys share them and every process in any language computes the same lane.

use std::fmt;

use crate::value::{Decimal, Type, Value};

/// A record's canonical key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Box<[u8]>);

/// Says why values cannot be a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A key field is null.
    #[error("key field {0} is null")]
    Null(usize),
    /// A key field was not sent by the source.
    #[error("key field {0} was not sent by the source")]
    Unchanged(usize),
    /// A key field has a type that cannot identify anything.
    #[error("key field {0} is of type {1}, which cannot be part of a key")]
    Type(usize, &'static str),
    /// The bytes are not a canonical key.
    #[error("these bytes are not a canonical key")]
    Malformed,
}

impl Key {
    /// Encodes key values in contract order.
    ///
    /// # Errors
    /// A null, an unsent field, a float or a JSON document cannot be part of a key.
    pub fn encode<'v>(
        values: impl IntoIterator<Item = Option<&'v Value>>,
    ) -> Result<Key, KeyError> {
        let mut bytes = Vec::with_capacity(24);
        for (i, value) in values.into_iter().enumerate() {
            let value = value.ok_or(KeyError::Unchanged(i))?;
            match value {
                Value::Null => return Err(KeyError::Null(i)),
                Value::Float(_) | Value::Json(_) => {
                    return Err(KeyError::Type(i, value.type_name()));
                }
                Value::Text(text) => push(&mut bytes, b's', text.as_bytes()),
                Value::Int(number) => {
                    let mut buffer = itoa::Buffer::new();
                    push(&mut bytes, b'i', buffer.format(*number).as_bytes());
                }
                Value::Bool(flag) => push(&mut bytes, b'b', &[u8::from(*flag)]),
                Value::Decimal(number) => {
                    // Numerically equal decimals must be one key.
                    let text = number.as_str();
                    let text = if text.contains('.') {
                        text.trim_end_matches('0').trim_end_matches('.')
                    } else {
                        text
                    };
                    push(&mut bytes, b'n', text.as_bytes());
                }
                Value::Bytes(raw) => push(&mut bytes, b'x', raw),
                Value::Date(date) => push(&mut bytes, b'd', date.to_string().as_bytes()),
                Value::Time(time) => push(&mut bytes, b't', time.to_string().as_bytes()),
                Value::Timestamp(at) => push(&mut bytes, b'T', at.to_string().as_bytes()),
                Value::Uuid(id) => push(&mut bytes, b'u', id.as_bytes()),
            }
        }
        Ok(Key(bytes.into()))
    }

    /// The canonical bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The lane of this key among `lanes`: `fnv1a32(bytes) mod lanes`, the same function as the NATS server's `partition()`.
    #[must_use]
    pub fn lane(&self, lanes: u32) -> u32 {
        fnv1a32(&self.0) % lanes.max(1)
    }

    /// The key's values again, in contract order.
    ///
    /// # Errors
    /// Only for bytes that [`Key::encode`] did not make.
    pub fn values(&self) -> Result<Vec<Value>, KeyError> {
        let value = |part: Result<(u8, &[u8]), KeyError>| {
            let (tag, raw) = part?;
            decode(tag, raw).ok_or(KeyError::Malformed)
        };
        self.parts().map(value).collect()
    }

    /// Tag and bytes of each value.
    fn parts(&self) -> impl Iterator<Item = Result<(u8, &[u8]), KeyError>> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let Some((tag, raw, tail)) = split_first(rest) else {
                rest = &[];
                return Some(Err(KeyError::Malformed));
            };
            rest = tail;
            Some(Ok((tag, raw)))
        })
    }

    /// Reads a key as people write it (see `Display`), given the types of its fields.
    ///
    /// # Errors
    /// Another number of values than types, or a value that is not of its type.
    pub fn parse(text: &str, kinds: &[Type]) -> Result<Key, KeyError> {
        let parts = split(text);
        if parts.len() != kinds.len() {
            return Err(KeyError::Malformed);
        }
        let values = parts
            .into_iter()
            .zip(kinds)
            .map(|(part, kind)| typed(part, *kind).ok_or(KeyError::Malformed))
            .collect::<Result<Vec<Value>, KeyError>>()?;
        Key::encode(values.iter().map(Some))
    }

    /// Reads back bytes that [`Key::as_bytes`] gave.
    ///
    /// # Errors
    /// Bytes that are not a canonical key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Key, KeyError> {
        let key = Key(bytes.into());
        key.values()?;
        Ok(key)
    }
}

fn push(bytes: &mut Vec<u8>, tag: u8, raw: &[u8]) {
    bytes.push(tag);
    bytes.extend_from_slice(&(raw.len() as u32).to_be_bytes());
    bytes.extend_from_slice(raw);
}

/// The first value's tag and bytes, and what follows.
fn split_first(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, a, b, c, d, tail @ ..] = bytes else {
        return None;
    };
    let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
    let (raw, tail) = tail.split_at_checked(length)?;
    Some((*tag, raw, tail))
}

fn decode(tag: u8, raw: &[u8]) -> Option<Value> {
    let text = || std::str::from_utf8(raw).ok();
    Some(match tag {
        b's' => Value::Text(text()?.to_owned()),
        b'i' => Value::Int(text()?.parse().ok()?),
        b'b' => Value::Bool(*raw.first()? != 0),
        b'n' => Value::Decimal(text()?.parse::<Decimal>().ok()?),
        b'x' => Value::Bytes(raw.to_vec()),
        b'd' => Value::Date(text()?.parse().ok()?),
        b't' => Value::Time(text()?.parse().ok()?),
        b'T' => Value::Timestamp(text()?.parse().ok()?),
        b'u' => Value::Uuid(uuid::Uuid::from_slice(raw).ok()?),
        _ => return None,
    })
}

/// Splits at `|`, undoing the escapes.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let last = parts.len() - 1;
        match letter {
            '|' => parts.push(String::new()),
            '\\' => parts[last].extend(letters.next()),
            other => parts[last].push(other),
        }
    }
    parts
}

fn typed(text: String, kind: Type) -> Option<Value> {
    Some(match kind {
        Type::Text => Value::Text(text),
        Type::Int => Value::Int(text.parse().ok()?),
        Type::Bool => Value::Bool(text.parse().ok()?),
        Type::Decimal { .. } => Value::Decimal(text.parse().ok()?),
        Type::Date => Value::Date(text.parse().ok()?),
        Type::Time => Value::Time(text.parse().ok()?),
        Type::Timestamp => Value::Timestamp(text.parse().ok()?),
        Type::Uuid => Value::Uuid(text.parse().ok()?),
        Type::Bytes => Value::Bytes(
            (0..text.len())
                .step_by(2)
                .map(|i| u8::from_str_radix(text.get(i..i + 2)?, 16).ok())
                .collect::<Option<_>>()?,
        ),
        Type::Float | Type::Json => return None,
    })
}

/// FNV-1a, 32 bit.
#[must_use]
pub fn fnv1a32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// The key as people write it: values joined by `|`, with `|` and `\` inside a value escaped by `\`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.parts().enumerate() {
            let (tag, raw) = part.map_err(|_| fmt::Error)?;
            if i > 0 {
                f.write_str("|")?;
            }
            // Their bytes are their text.
            if matches!(tag, b's' | b'i' | b'n' | b'd' | b't' | b'T') {
                write_escaped(std::str::from_utf8(raw).map_err(|_| fmt::Error)?, f)?;
            } else {
                let value = decode(tag, raw).ok_or(fmt::Error)?;
                write_escaped(&value.to_string(), f)?;
            }
        }
        Ok(())
    }
}

fn write_escaped(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if text.contains(['|', '\\']) {
        f.write_str(&text.replace('\\', "\\\\").replace('|', "\\|"))
    } else {
        f.write_str(text)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(values: &[Value]) -> Key {
        Key::encode(values.iter().map(Some)).unwrap()
    }

    #[test]
    fn the_lane_function_is_the_published_one() {
        // Reference values of FNV-1a 32 from the algorithm's own test vectors.
        assert_eq!(fnv1a32(b""), 0x811c_9dc5);
        assert_eq!(fnv1a32(b"a"), 0xe40c_292c);
        assert_eq!(fnv1a32(b"foobar"), 0xbf9c_f968);
    }

    #[test]
    fn different_keys_never_share_bytes() {
        let one = key(&[Value::text("a|b"), Value::text("c")]);
        let two = key(&[Value::text("a"), Value::text("b|c")]);
        assert_ne!(one, two);
        assert_ne!(one.to_string(), two.to_string());
        assert_ne!(key(&[Value::Int(1)]), key(&[Value::text("1")]));
    }

    #[test]
    fn equal_numbers_are_one_key() {
        let a = Value::Decimal("1.50".parse().unwrap());
        let b = Value::Decimal("1.5".parse().unwrap());
        assert_eq!(key(&[a]), key(&[b]));
    }

    #[test]
    fn what_cannot_identify_is_refused() {
        assert_eq!(Key::encode([Some(&Value::Null)]), Err(KeyError::Null(0)));
        assert_eq!(Key::encode([None]), Err(KeyError::Unchanged(0)));
        assert!(Key::encode([Some(&Value::Float(1.0))]).is_err());
    }

    proptest! {
        #[test]
        fn keys_come_back_as_they_were(text in ".*", number: i64, raw: Vec<u8>) {
            let values = [Value::text(text), Value::Int(number), Value::Bytes(raw)];
            prop_assert_eq!(key(&values).values().unwrap(), values.to_vec());
        }

        #[test]
        fn keys_come_back_from_their_text(text in ".*", number: i64, raw: Vec<u8>) {
            let key = key(&[Value::text(text), Value::Int(number), Value::Bytes(raw)]);
            let kinds = [Type::Text, Type::Int, Type::Bytes];
            prop_assert_eq!(Key::parse(&key.to_string(), &kinds).unwrap(), key);
        }

        #[test]
        fn foreign_bytes_never_panic(raw: Vec<u8>) {
            let _ = Key::from_bytes(&raw);
        }
    }
}
