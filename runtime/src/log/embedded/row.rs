//! The bytes of the file's rows: headers, sets of sequences, seals.
//!
//! Pure. Everything here also reads bytes that a damaged file holds, so decoding answers `None` instead of panicking, and a seal over each row tells a flipped bit from what was written.
//! It does not know SQL.

use std::collections::BTreeSet;

use crate::log::Message;

/// A checked message, ready to be stored: what costs time is done before the writer has its turn.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) message: Message,
    /// Its headers as stored.
    pub(super) headers: Vec<u8>,
    /// The checksum of subject, headers and payload.
    pub(super) sum: u32,
}

impl Prepared {
    pub(super) fn new(message: Message) -> Self {
        let headers = encode_headers(&message.headers);
        let sum = sum(&[message.subject.as_bytes(), &headers, &message.payload]);
        Self {
            message,
            headers,
            sum,
        }
    }

    /// What it counts against the stream's limit.
    pub(super) fn size(&self) -> u64 {
        (self.message.subject.len() + self.headers.len() + self.message.payload.len()) as u64
    }
}

/// The checksum of parts and of where they end.
pub(super) fn sum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize()
}

/// Ties a checksum to the numbers of its row, so that a row under a wrong number is noticed.
pub(super) fn seal(sum: u32, numbers: &[i64]) -> i64 {
    let mut hasher = crc32fast::Hasher::new_with_initial(sum);
    for number in numbers {
        hasher.update(&number.to_le_bytes());
    }
    i64::from(hasher.finalize())
}

pub(super) fn encode_headers(headers: &[(String, String)]) -> Vec<u8> {
    let size = headers.iter().map(|(n, v)| n.len() + v.len() + 8).sum();
    let mut out = Vec::with_capacity(size);
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        push_varint(&mut out, text.len() as u64);
        out.extend_from_slice(text.as_bytes());
    }
    out
}

pub(super) fn decode_headers(mut bytes: &[u8]) -> Option<Vec<(String, String)>> {
    let mut headers = Vec::new();
    while !bytes.is_empty() {
        let name = take_text(&mut bytes)?;
        let value = take_text(&mut bytes)?;
        headers.push((name.to_owned(), value.to_owned()));
    }
    Some(headers)
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::try_from(take_varint(bytes)?).ok()?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    std::str::from_utf8(text).ok()
}

/// Sequences in rising order, as runs: the gap before the run, then its length.
pub(super) fn encode_set(sequences: impl Iterator<Item = u64>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut end = 0;
    let mut run: Option<(u64, u64)> = None;
    for seq in sequences {
        run = match run {
            Some((start, length)) if seq == start + length => Some((start, length + 1)),
            other => {
                end = push_run(&mut out, end, other);
                Some((seq, 1))
            }
        };
    }
    push_run(&mut out, end, run);
    out
}

fn push_run(out: &mut Vec<u8>, end: u64, run: Option<(u64, u64)>) -> u64 {
    let Some((start, length)) = run else {
        return end;
    };
    push_varint(out, start - end);
    push_varint(out, length);
    start + length
}

/// Gives none for what is no set, or one of more than `max` sequences.
pub(super) fn decode_set(mut bytes: &[u8], max: u64) -> Option<BTreeSet<u64>> {
    let mut set = BTreeSet::new();
    let mut end: u64 = 0;
    while !bytes.is_empty() {
        let start = end.checked_add(take_varint(&mut bytes)?)?;
        let length = take_varint(&mut bytes)?;
        if length > max - set.len() as u64 {
            return None;
        }
        end = start.checked_add(length)?;
        set.extend(start..end);
    }
    Some(set)
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn headers_come_back(headers in prop::collection::vec((".{0,20}", ".{0,200}"), 0..8)) {
            prop_assert_eq!(decode_headers(&encode_headers(&headers)), Some(headers));
        }

        #[test]
        fn sets_come_back(set in prop::collection::btree_set(0u64..400, 0..200)) {
            prop_assert_eq!(decode_set(&encode_set(set.iter().copied()), 1000), Some(set));
        }

        #[test]
        fn foreign_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (decode_headers(&bytes), decode_set(&bytes, 1000));
        }
    }

    #[test]
    fn a_set_of_neighbours_is_two_numbers() {
        assert_eq!(encode_set(1..=100_000).len(), 4);
        assert_eq!(
            decode_set(&encode_set([u64::MAX - 1].into_iter()), 1)
                .unwrap()
                .len(),
            1
        );
    }

    #[test]
    fn a_seal_depends_on_every_number() {
        assert_ne!(seal(1, &[1, 2]), seal(1, &[2, 1]));
        assert_ne!(seal(1, &[1, 2]), seal(2, &[1, 2]));
    }
}
