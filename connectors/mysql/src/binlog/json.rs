//! MySQL's binary form of JSON documents, as text.

use lockstep_core::Value;

use super::reader::Reader;
use super::rows::decimal;
use crate::convert;

/// Deepest nesting that is followed; the server's own limit is 100.
const DEPTH_MAX: usize = 128;

/// The document's text, or nothing where the bytes are none.
pub(super) fn text(bytes: &[u8]) -> Option<Box<str>> {
    let Some((kind, body)) = bytes.split_first() else {
        // What an update left behind that wrote an invalid document reads as null.
        return Some("null".into());
    };
    let mut out = String::new();
    value(&mut out, *kind, body, DEPTH_MAX)?;
    Some(out.into())
}

fn value(out: &mut String, kind: u8, body: &[u8], depth: usize) -> Option<()> {
    use std::fmt::Write as _;
    let depth = depth.checked_sub(1)?;
    let mut r = Reader::new(body);
    match kind {
        0 | 1 => return container(out, body, kind == 1, true, depth),
        2 | 3 => return container(out, body, kind == 3, false, depth),
        4 => out.push_str(match r.u8()? {
            0 => "null",
            1 => "true",
            2 => "false",
            _ => return None,
        }),
        5 => write!(out, "{}", r.u16()?.cast_signed()).ok()?,
        6 => write!(out, "{}", r.u16()?).ok()?,
        7 => write!(out, "{}", r.u32()?.cast_signed()).ok()?,
        8 => write!(out, "{}", r.u32()?).ok()?,
        9 => write!(out, "{}", r.u64()?.cast_signed()).ok()?,
        10 => write!(out, "{}", r.u64()?).ok()?,
        11 => {
            let number = serde_json::Number::from_f64(f64::from_bits(r.u64()?))?;
            write!(out, "{number}").ok()?;
        }
        12 => {
            let length = length(&mut r)?;
            string(out, r.take(length)?)?;
        }
        15 => {
            let kind = r.u8()?;
            let length = length(&mut r)?;
            opaque(out, kind, r.take(length)?)?;
        }
        _ => return None,
    }
    Some(())
}

/// An object or an array: counts, then where keys and values stand.
fn container(out: &mut String, body: &[u8], large: bool, object: bool, depth: usize) -> Option<()> {
    let size = if large { 4 } else { 2 };
    let mut r = Reader::new(body);
    let count = usize::try_from(r.uint(size)?).ok()?;
    r.take(size)?;
    let mut keys = Reader::new(r.take(if object {
        count.checked_mul(size + 2)?
    } else {
        0
    })?);
    let mut values = Reader::new(r.take(count.checked_mul(size + 1)?)?);
    out.push(if object { '{' } else { '[' });
    for place in 0..count {
        if place > 0 {
            out.push(',');
        }
        if object {
            let start = usize::try_from(keys.uint(size)?).ok()?;
            let length = usize::from(keys.u16()?);
            string(out, body.get(start..start.checked_add(length)?)?)?;
            out.push(':');
        }
        let kind = values.u8()?;
        let entry = values.take(size)?;
        let inline = matches!(kind, 4..=6) || (large && matches!(kind, 7 | 8));
        if inline {
            value(out, kind, entry, depth)?;
        } else {
            let start = usize::try_from(Reader::new(entry).uint(size)?).ok()?;
            value(out, kind, body.get(start..)?, depth)?;
        }
    }
    out.push(if object { '}' } else { ']' });
    Some(())
}

/// Seven bits a byte, the low ones first.
fn length(r: &mut Reader<'_>) -> Option<usize> {
    let mut length = 0_usize;
    for place in 0..5 {
        let byte = r.u8()?;
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(length);
        }
    }
    None
}

fn string(out: &mut String, bytes: &[u8]) -> Option<()> {
    let text = std::str::from_utf8(bytes).ok()?;
    out.push_str(&serde_json::to_string(text).ok()?);
    Some(())
}

/// A value of a type that JSON has not, as the server shows it.
fn opaque(out: &mut String, kind: u8, bytes: &[u8]) -> Option<()> {
    let mut r = Reader::new(bytes);
    let value = match kind {
        246 => {
            let (precision, scale) = (usize::from(r.u8()?), usize::from(r.u8()?));
            let Value::Decimal(number) = decimal(r.rest(), precision, scale)? else {
                return None;
            };
            out.push_str(number.as_str());
            return Some(());
        }
        7 | 10 | 12 => {
            let packed = r.u64()?;
            let (whole, micros) = (packed >> 24, u32::try_from(packed & 0xff_ffff).ok()?);
            let (days, clock) = (whole >> 17, whole & 0x1_ffff);
            let small = |number: u64| u8::try_from(number).ok();
            let (year, month) = (
                u16::try_from((days >> 5) / 13).ok()?,
                small((days >> 5) % 13)?,
            );
            let day = small(days & 31)?;
            if kind == 10 {
                convert::date(year, month, day)
            } else {
                let hms = [
                    small(clock >> 12)?,
                    small(clock >> 6 & 63)?,
                    small(clock & 63)?,
                ];
                convert::datetime(year, month, day, hms, micros)
            }
        }
        _ => Value::Text(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
    };
    string(out, value.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn documents_are_read_as_the_server_writes_them() {
        // Made by hand after the server's own description of the form.
        let object = [
            0, 2, 0, 30, 0, 18, 0, 1, 0, 19, 0, 1, 0, 5, 7, 0, 12, 20, 0, b'a', b'b', 2, b'h', b'"',
        ];
        assert_eq!(text(&object).as_deref(), Some(r#"{"a":7,"b":"h\""}"#));
        let array = [2, 3, 0, 13, 0, 4, 0, 0, 4, 1, 0, 5, 0xff, 0xff];
        assert_eq!(text(&array).as_deref(), Some("[null,true,-1]"));
        assert_eq!(text(&[]).as_deref(), Some("null"));
        let decimal = [15, 246, 5, 4, 2, 0x8c, 0x22, 0x38];
        assert_eq!(text(&decimal[..7]).as_deref(), None);
        assert_eq!(text(&[99]).as_deref(), None);
    }

    #[test]
    fn nesting_has_an_end() {
        // An array whose only element is itself.
        let looping = [2, 1, 0, 7, 0, 2, 0, 0];
        assert_eq!(text(&looping), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = text(&bytes);
        }
    }
}
