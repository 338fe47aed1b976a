//! Rows of the binary log: from the bytes of an image to cells.

use lockstep_core::{Cell, Row, Value};
use uuid::Uuid;

use super::json;
use super::reader::Reader;
use super::table_map::{MapColumn, kind};
use crate::charset::Charset;
use crate::convert::{self, Form};

/// How the values of one column of the log become values of a shape's column.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    /// Its type.
    pub(crate) kind: u8,
    /// What the type's values look like.
    pub(crate) meta: u16,
    /// Where its values go; none for a column that nobody wants.
    pub(crate) target: Option<Target>,
}

/// A column of a shape.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Its position.
    pub(crate) place: usize,
    /// How its values look.
    pub(crate) form: Form,
    /// Whether a number has no sign.
    pub(crate) unsigned: bool,
    /// The character set of a text.
    pub(crate) charset: Charset,
    /// The values of an `enum` or `set`.
    pub(crate) members: Vec<String>,
}

impl Wire {
    /// A column whose values go nowhere yet.
    pub(crate) fn of(column: &MapColumn) -> Wire {
        Wire {
            kind: column.kind,
            meta: column.meta,
            target: None,
        }
    }
}

/// Reads one image of a row of `width` columns, of which `present` are there; nothing where the bytes are none.
pub(crate) fn image(
    r: &mut Reader<'_>,
    wires: &[Wire],
    present: &[u8],
    width: usize,
) -> Option<Row> {
    let is_present = |column: usize| bit(present, column);
    let count = (0..wires.len())
        .filter(|column| is_present(*column))
        .count();
    let nulls = r.take(count.div_ceil(8))?;
    let mut row = Row::unchanged(width);
    let mut seen = 0;
    for (column, wire) in wires.iter().enumerate() {
        if !is_present(column) {
            continue;
        }
        let is_null = bit(nulls, seen);
        seen += 1;
        let bytes = if is_null { None } else { Some(raw(r, wire)?) };
        if let Some(target) = &wire.target
            && let Some(cell) = row.0.get_mut(target.place)
        {
            *cell = Cell::Set(match bytes {
                Some(bytes) => value(bytes, wire, target),
                None => Value::Null,
            });
        }
    }
    Some(row)
}

fn bit(bits: &[u8], place: usize) -> bool {
    bits.get(place / 8)
        .is_some_and(|byte| byte & (1 << (place % 8)) != 0)
}

/// The bytes of one value.
fn raw<'a>(r: &mut Reader<'a>, wire: &Wire) -> Option<&'a [u8]> {
    let meta = usize::from(wire.meta);
    let fraction = meta.div_ceil(2);
    let length = match wire.kind {
        kind::TINY | kind::YEAR => 1,
        kind::SHORT => 2,
        kind::INT24 | kind::DATE | kind::TIME => 3,
        kind::LONG | kind::FLOAT | kind::TIMESTAMP => 4,
        kind::LONGLONG | kind::DOUBLE | kind::DATETIME => 8,
        kind::TIMESTAMP2 => 4 + fraction,
        kind::DATETIME2 => 5 + fraction,
        kind::TIME2 => 3 + fraction,
        kind::NEWDECIMAL => decimal_size(meta >> 8, meta & 0xff),
        kind::BIT => (meta >> 8) + usize::from(meta & 0xff > 0),
        kind::ENUM | kind::SET => meta,
        kind::VARCHAR | kind::VAR_STRING | kind::STRING | kind::VARCHAR_COMPRESSED => {
            usize::try_from(r.uint(if meta > 255 { 2 } else { 1 })?).ok()?
        }
        kind::JSON
        | kind::GEOMETRY
        | kind::VECTOR
        | kind::BLOB_COMPRESSED
        | kind::TINY_BLOB..=kind::BLOB => usize::try_from(r.uint(meta.min(8))?).ok()?,
        _ => return None,
    };
    r.take(length)
}

/// The value of a column.
fn value(bytes: &[u8], wire: &Wire, target: &Target) -> Value {
    read(bytes, wire, target).unwrap_or_else(|| {
        // Bytes that are no such value: they travel as what they are, and the gate says so.
        Value::Bytes(bytes.to_vec())
    })
}

fn read(bytes: &[u8], wire: &Wire, target: &Target) -> Option<Value> {
    let mut r = Reader::new(bytes);
    let fraction = |r: &mut Reader<'_>| -> Option<u32> {
        let bytes = usize::from(wire.meta).div_ceil(2).min(3);
        let digits = u32::try_from(r.uint_be(bytes)?).ok()?;
        digits.checked_mul(10_u32.pow(6 - 2 * u32::try_from(bytes).ok()?))
    };
    Some(match wire.kind {
        kind::TINY | kind::SHORT | kind::INT24 | kind::LONG | kind::LONGLONG => {
            integer(bytes, target)?
        }
        kind::FLOAT => convert::float(f32::from_le_bytes(bytes.try_into().ok()?)),
        kind::DOUBLE => Value::Float(f64::from_le_bytes(bytes.try_into().ok()?)),
        kind::NEWDECIMAL => decimal(
            bytes,
            usize::from(wire.meta >> 8),
            usize::from(wire.meta & 0xff),
        )?,
        kind::YEAR => match r.u8()? {
            0 => Value::Int(0),
            years => Value::Int(1900 + i64::from(years)),
        },
        kind::DATE => {
            let packed = r.uint(3)?;
            let part = |shift: u32, mask: u64| u8::try_from(packed >> shift & mask).ok();
            convert::date(u16::try_from(packed >> 9).ok()?, part(5, 15)?, part(0, 31)?)
        }
        kind::TIME => old_time(&mut r)?,
        kind::DATETIME => old_datetime(r.u64()?)?,
        kind::TIMESTAMP => convert::timestamp(r.u32()?, 0),
        kind::TIMESTAMP2 => {
            let seconds = u32::try_from(r.uint_be(4)?).ok()?;
            convert::timestamp(seconds, fraction(&mut r)?)
        }
        kind::DATETIME2 => {
            let packed = r.uint_be(5)?.checked_sub(0x80_0000_0000)?;
            let micros = fraction(&mut r)?;
            let (days, clock) = (packed >> 17, packed & 0x1_ffff);
            let (months, day) = (days >> 5, days & 31);
            let small = |number: u64| u8::try_from(number).ok();
            let year = u16::try_from(months / 13).ok()?;
            let hms = [
                small(clock >> 12)?,
                small(clock >> 6 & 63)?,
                small(clock & 63)?,
            ];
            convert::datetime(year, small(months % 13)?, small(day)?, hms, micros)
        }
        kind::TIME2 => time(&mut r, wire.meta)?,
        kind::BIT => convert::bits(target.form, bytes),
        kind::ENUM => {
            let index = usize::try_from(r.uint(bytes.len().min(8))?).ok()?;
            match index.checked_sub(1) {
                None => Value::text(""),
                Some(place) => Value::Text(target.members.get(place)?.clone()),
            }
        }
        kind::SET => {
            let bits = r.uint(bytes.len().min(8))?;
            let members = target.members.iter().enumerate();
            let set = members.filter(|(place, _)| *place < 64 && bits >> place & 1 == 1);
            let set: Vec<&str> = set.map(|(_, member)| member.as_str()).collect();
            Value::Text(set.join(","))
        }
        kind::JSON => Value::Json(json::text(bytes)?),
        _ => text(bytes, target)?,
    })
}

fn integer(bytes: &[u8], target: &Target) -> Option<Value> {
    let number = Reader::new(bytes).uint(bytes.len())?;
    if target.unsigned {
        return Some(convert::unsigned(number));
    }
    // Its sign is the highest of its own bits.
    let unused = 64 - 8 * u32::try_from(bytes.len()).ok()?;
    let number = (number << unused).cast_signed() >> unused;
    Some(convert::int(target.form, number))
}

/// What is stored as characters or bytes.
fn text(bytes: &[u8], target: &Target) -> Option<Value> {
    let padded = |size: usize| {
        // Zeros at the end are not written.
        let mut padded = bytes.to_vec();
        padded.resize(size.max(bytes.len()), 0);
        padded
    };
    Some(match target.form {
        Form::Bytes => Value::Bytes(bytes.to_vec()),
        Form::Fixed(size) => Value::Bytes(padded(size.into())),
        Form::Uuid => Value::Uuid(Uuid::from_slice(&padded(16)).ok()?),
        Form::Inet => {
            let text = if target.unsigned {
                std::net::Ipv4Addr::from(<[u8; 4]>::try_from(padded(4)).ok()?).to_string()
            } else {
                std::net::Ipv6Addr::from(<[u8; 16]>::try_from(padded(16)).ok()?).to_string()
            };
            Value::Text(text)
        }
        form => {
            let text = match target.charset {
                Charset::Binary => std::str::from_utf8(bytes).ok()?.to_owned(),
                charset => charset.decode(bytes)?,
            };
            convert::from_text(form, text)
        }
    })
}

/// Hours, minutes and seconds with a sign, in steps of a 64-bit number of which the last 24 bits are microseconds.
fn time(r: &mut Reader<'_>, digits: u16) -> Option<Value> {
    let packed: i64 = match digits {
        0 => (i64::try_from(r.uint_be(3)?).ok()? - 0x80_0000) << 24,
        1..=4 => {
            let (bytes, unit, micros) = if digits <= 2 {
                (1, 0x100, 10_000)
            } else {
                (2, 0x1_0000, 100)
            };
            let mut whole = i64::try_from(r.uint_be(3)?).ok()? - 0x80_0000;
            let mut part = i64::try_from(r.uint_be(bytes)?).ok()?;
            if whole < 0 && part > 0 {
                whole += 1;
                part -= unit;
            }
            (whole << 24) + part * micros
        }
        _ => i64::try_from(r.uint_be(6)?).ok()? - 0x8000_0000_0000,
    };
    let size = packed.unsigned_abs();
    let (clock, micros) = (size >> 24, u32::try_from(size & 0xff_ffff).ok()?);
    let small = |number: u64| u8::try_from(number & 63).ok();
    let hours = u32::try_from(clock >> 12 & 1023).ok()?;
    Some(convert::time(
        packed < 0,
        hours,
        small(clock >> 6)?,
        small(clock)?,
        micros,
    ))
}

/// `HHMMSS` as a number, as columns hold it that are older than MySQL 5.6.
fn old_time(r: &mut Reader<'_>) -> Option<Value> {
    let number = u32::try_from(r.uint(3)?).ok()?;
    let signed = (number << 8).cast_signed() >> 8;
    let size = signed.unsigned_abs();
    let part = |number: u32| u8::try_from(number % 100).ok();
    Some(convert::time(
        signed < 0,
        size / 10_000,
        part(size / 100)?,
        part(size)?,
        0,
    ))
}

/// `YYYYMMDDHHMMSS` as a number.
fn old_datetime(number: u64) -> Option<Value> {
    let part = |unit: u64| u8::try_from(number / unit % 100).ok();
    let year = u16::try_from(number / 10_000_000_000).ok()?;
    let clock = [part(10_000)?, part(100)?, part(1)?];
    Some(convert::datetime(
        year,
        part(100_000_000)?,
        part(1_000_000)?,
        clock,
        0,
    ))
}

/// Bytes that nine decimal digits, and fewer, take.
const DIGIT_BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

fn decimal_size(precision: usize, scale: usize) -> usize {
    let whole = precision.saturating_sub(scale);
    (whole / 9) * 4 + DIGIT_BYTES[whole % 9] + (scale / 9) * 4 + DIGIT_BYTES[scale % 9]
}

/// Groups of nine digits, four bytes each, the outermost groups shorter; the first bit is set where the number is not negative, and all bits of a negative one are turned over.
pub(super) fn decimal(bytes: &[u8], precision: usize, scale: usize) -> Option<Value> {
    use std::fmt::Write as _;

    let whole = precision.checked_sub(scale)?;
    let positive = bytes.first()? & 0x80 != 0;
    let mut turned: Vec<u8> = bytes
        .iter()
        .map(|byte| if positive { *byte } else { !byte })
        .collect();
    turned[0] ^= 0x80;
    let mut r = Reader::new(&turned);
    let mut text = String::with_capacity(precision + 3);
    if !positive {
        text.push('-');
    }
    let mut group = |text: &mut String, digits: usize| -> Option<()> {
        if digits > 0 {
            let number = r.uint_be(DIGIT_BYTES[digits])?;
            write!(text, "{number:0digits$}").ok()?;
        }
        Some(())
    };
    text.push('0');
    group(&mut text, whole % 9)?;
    for _ in 0..whole / 9 {
        group(&mut text, 9)?;
    }
    if scale > 0 {
        text.push('.');
        for _ in 0..scale / 9 {
            group(&mut text, 9)?;
        }
        group(&mut text, scale % 9)?;
    }
    text.parse().ok().map(Value::Decimal)
}
