//! Columns of values → the rows that `COPY … FROM STDIN (FORMAT binary)` takes, for new rows that are many.
//!
//! The server takes them for little more than half of what an insert from arrays costs it.
//! A table with a column whose binary form is not known here gets inserts.
//! Pure: no connection.

use crate::convert::oid;
use crate::encode::Values;

/// What every copy begins with: the signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What every copy ends with, in place of a row.
const END: i16 = -1;
/// Most digits behind the point, and most groups of four before it, that the server keeps of a number.
const SCALE_MAX: usize = 16_383;
const WEIGHT_MAX: usize = 32_767;

/// How an array's element becomes a field of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// As it is.
    Same,
    /// A whole number that the column keeps in fewer bytes: the last of them.
    Last(usize),
    /// A number of double precision that the column keeps in single precision.
    Single,
    /// A decimal number's text.
    Numeric,
    /// A document's text.
    Jsonb,
}

impl Field {
    /// The field of a type; none where its binary form is not known here.
    pub(crate) fn for_type(oid: u32) -> Option<Field> {
        Some(match oid {
            oid::BOOL
            | oid::INT8
            | oid::FLOAT8
            | oid::BYTEA
            | oid::UUID
            | oid::DATE
            | oid::TIME
            | oid::TIMESTAMP
            | oid::TIMESTAMPTZ
            | oid::TEXT
            | oid::VARCHAR
            | oid::BPCHAR
            | oid::JSON => Field::Same,
            oid::INT2 => Field::Last(2),
            oid::INT4 | oid::OID => Field::Last(4),
            oid::FLOAT4 => Field::Single,
            oid::NUMERIC => Field::Numeric,
            oid::JSONB => Field::Jsonb,
            _ => return None,
        })
    }

    /// Appends an element as the field's bytes, without their length.
    fn write(self, element: &[u8], out: &mut Vec<u8>) -> Option<()> {
        match self {
            Field::Same => out.extend_from_slice(element),
            Field::Last(bytes) => {
                let whole = element.last_chunk::<8>()?;
                out.extend_from_slice(whole.get(8 - bytes..)?);
            }
            Field::Single => {
                let number = f64::from_be_bytes(*element.first_chunk()?);
                out.extend((number as f32).to_be_bytes());
            }
            Field::Numeric => numeric(element, out)?,
            Field::Jsonb => {
                // The form's only version.
                out.push(1);
                out.extend_from_slice(element);
            }
        }
        Some(())
    }
}

/// The rows of these columns, from the first byte of a copy to the last; none where they cannot be copied.
pub(crate) fn rows(fields: &[Field], columns: &[Values]) -> Option<Vec<u8>> {
    let mut rest: Vec<&[u8]> = columns.iter().map(Values::elements).collect();
    let bytes: usize = rest.iter().map(|column| column.len()).sum();
    let width = i16::try_from(fields.len()).ok()?;
    let mut out = Vec::with_capacity(bytes + bytes / 8 + 64);
    out.extend_from_slice(HEADER);
    while rest.first().is_some_and(|column| !column.is_empty()) {
        out.extend(width.to_be_bytes());
        for (field, column) in fields.iter().zip(&mut rest) {
            let (length, tail) = column.split_first_chunk::<4>()?;
            *column = tail;
            // A length of minus one is null.
            let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
                out.extend((-1_i32).to_be_bytes());
                continue;
            };
            let (element, tail) = column.split_at_checked(length)?;
            *column = tail;
            let start = out.len();
            out.extend([0; 4]);
            field.write(element, &mut out)?;
            let length = i32::try_from(out.len() - start - 4).ok()?;
            out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        }
    }
    out.extend(END.to_be_bytes());
    Some(out)
}

/// Appends a decimal number's binary form: groups of four digits, the first of which stands for ten thousand to the power of the weight.
fn numeric(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let point = digits.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(point) => (&digits[..point], &digits[point + 1..]),
        None => (digits, &[][..]),
    };
    let is_number = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    let weight = whole.len().div_ceil(4);
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    if weight > WEIGHT_MAX || fraction.len() > SCALE_MAX {
        return None;
    }
    let group = |four: &[u8]| {
        four.iter()
            .fold(0, |n, byte| n * 10 + i16::from(byte - b'0'))
    };
    let (first, others) = whole.split_at(whole.len() - whole.len() / 4 * 4);
    let mut weight = weight as i32 - 1;
    let start = out.len();
    out.extend([0; 8]);
    let before = (!first.is_empty()).then(|| group(first)).into_iter();
    let before = before.chain(others.chunks(4).map(group));
    let behind = fraction.chunks(4).map(|four| {
        let missing = 4 - four.len() as u32;
        group(four) * 10_i16.pow(missing)
    });
    for group in before.chain(behind) {
        // Groups of zeros at the beginning are left out, and so is each at the end.
        if group == 0 && out.len() == start + 8 {
            weight -= 1;
            continue;
        }
        out.extend(group.to_be_bytes());
    }
    while out.len() > start + 8 && out.ends_with(&[0, 0]) {
        out.truncate(out.len() - 2);
    }
    let groups = (out.len() - start - 8) / 2;
    let is_zero = groups == 0;
    let sign: u16 = if negative && !is_zero { 0x4000 } else { 0 };
    let weight = if is_zero { 0 } else { weight as i16 };
    let head = [
        groups as u16,
        weight.cast_unsigned(),
        sign,
        fraction.len() as u16,
    ];
    for (place, number) in out[start..start + 8].chunks_mut(2).zip(head) {
        place.copy_from_slice(&number.to_be_bytes());
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use lockstep_core::Value;
    use proptest::prelude::*;

    use super::*;
    use crate::convert::kind;
    use crate::encode::Encoder;

    fn of_text(text: &str) -> Option<Vec<i16>> {
        let mut out = Vec::new();
        numeric(text.as_bytes(), &mut out)?;
        let pairs = out
            .chunks(2)
            .map(|pair| i16::from_be_bytes([pair[0], pair[1]]));
        Some(pairs.collect())
    }

    #[test]
    fn numbers_have_the_servers_form() {
        // Count of groups, weight, sign, scale, groups: as `numeric_send` gives them.
        for (text, form) in [
            ("0", vec![0, 0, 0, 0]),
            ("-0.00", vec![0, 0, 0, 2]),
            ("1", vec![1, 0, 0, 0, 1]),
            ("10000", vec![1, 1, 0, 0, 1]),
            ("12345.678", vec![3, 1, 0, 3, 1, 2345, 6780]),
            ("-12.50", vec![2, 0, 0x4000, 2, 12, 5000]),
            ("0.00001", vec![1, -2, 0, 5, 1000]),
            ("100000000", vec![1, 2, 0, 0, 1]),
        ] {
            assert_eq!(of_text(text), Some(form), "{text}");
        }
        for text in ["", "-", "NaN", "1e5", ".5", "1.2.3", "+1"] {
            assert_eq!(of_text(text), None, "{text}");
        }
    }

    #[test]
    fn a_row_holds_its_fields_in_their_order() {
        let kinds = [oid::INT4, oid::TEXT, oid::JSONB];
        let values = [Value::Int(-2), Value::Null, Value::Json("{}".into())];
        let fields: Vec<Field> = kinds
            .iter()
            .filter_map(|oid| Field::for_type(*oid))
            .collect();
        let column = |(oid, value): (&u32, &Value)| {
            let encoder = Encoder::for_type(*oid, -1, kind(*oid, -1));
            let mut values = Values::new(&encoder);
            values.push(&encoder, value).unwrap();
            values
        };
        let columns: Vec<Values> = kinds.iter().zip(&values).map(column).collect();
        let copied = rows(&fields, &columns).unwrap();
        let row = [
            &[0, 3, 0, 0, 0, 4, 255, 255, 255, 254][..],
            &[255; 4],
            &[0, 0, 0, 3, 1, b'{', b'}'],
            &[255, 255],
        ];
        assert_eq!(&copied[..HEADER.len()], HEADER);
        assert_eq!(copied[HEADER.len()..], row.concat());
        assert_eq!(Field::for_type(1186), None, "an interval has another form");
    }

    proptest! {
        #[test]
        fn no_text_panics(text: Vec<u8>, number in "-?[0-9.]{0,30}") {
            let _ = numeric(&text, &mut Vec::new());
            let _ = of_text(&number);
        }

        #[test]
        fn a_number_means_the_same_again(text in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,12})?") {
            let form = of_text(&text).unwrap();
            let (groups, weight, scale) = (&form[4..], i32::from(form[1]), form[3] as usize);
            let digits = |power: i32| {
                let at = usize::try_from(weight - power).ok();
                at.and_then(|at| groups.get(at)).copied().unwrap_or(0)
            };
            let whole: String = (0..=weight.max(0)).rev().map(|p| format!("{:04}", digits(p))).collect();
            let whole = whole.trim_start_matches('0');
            let fraction: String = (1..=3).map(|p| format!("{:04}", digits(-p))).collect();
            let sign = if form[2] == 0x4000 { "-" } else { "" };
            let mut again = format!("{sign}{}", if whole.is_empty() { "0" } else { whole });
            if scale > 0 {
                again += &format!(".{}", &fraction[..scale]);
            }
            let is_zero = text.bytes().all(|byte| matches!(byte, b'-' | b'0' | b'.'));
            let expected = if is_zero { text.trim_start_matches('-') } else { &text };
            prop_assert_eq!(again, expected);
        }
    }
}
