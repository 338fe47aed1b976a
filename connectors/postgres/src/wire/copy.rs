//! The text form of `COPY … TO STDOUT`; pure.

use std::borrow::Cow;

/// The columns of one copied row; a null is none.
///
/// The form escapes what would end a column or a row, so a tab always separates.
pub(crate) fn lines(row: &[u8]) -> impl Iterator<Item = Option<Cow<'_, [u8]>>> {
    let row = row.strip_suffix(b"\n").unwrap_or(row);
    row.split(|byte| *byte == b'\t').map(|column| match column {
        b"\\N" => None,
        plain if !plain.contains(&b'\\') => Some(Cow::Borrowed(plain)),
        escaped => Some(Cow::Owned(unescape(escaped))),
    })
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'\\' {
            plain.push(*byte);
            continue;
        }
        // The server escapes with these letters only; any other byte stands for itself.
        match bytes.next() {
            Some(b'b') => plain.push(8),
            Some(b'f') => plain.push(12),
            Some(b'n') => plain.push(b'\n'),
            Some(b'r') => plain.push(b'\r'),
            Some(b't') => plain.push(b'\t'),
            Some(b'v') => plain.push(11),
            Some(other) => plain.push(*other),
            None => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(row: &[u8]) -> Vec<Option<Vec<u8>>> {
        lines(row)
            .map(|column| column.map(Cow::into_owned))
            .collect()
    }

    #[test]
    fn nulls_and_escapes_are_told_apart() {
        let row = b"a\t\\N\t\t\\\\N\tx\\ty\\nz\\\\\n";
        let text = |text: &[u8]| Some(text.to_vec());
        assert_eq!(
            read(row),
            [
                text(b"a"),
                None,
                text(b""),
                text(b"\\N"),
                text(b"x\ty\nz\\")
            ]
        );
    }

    proptest! {
        #[test]
        fn what_the_server_escapes_comes_back(columns in proptest::collection::vec(proptest::option::of(".*"), 1..5)) {
            let mut row = Vec::new();
            for (i, column) in columns.iter().enumerate() {
                if i > 0 { row.push(b'\t'); }
                match column {
                    None => row.extend(b"\\N"),
                    Some(text) => for byte in text.bytes() {
                        match byte {
                            b'\\' => row.extend(b"\\\\"),
                            8 => row.extend(b"\\b"),
                            9 => row.extend(b"\\t"),
                            10 => row.extend(b"\\n"),
                            11 => row.extend(b"\\v"),
                            12 => row.extend(b"\\f"),
                            13 => row.extend(b"\\r"),
                            other => row.push(other),
                        }
                    },
                }
            }
            row.push(b'\n');
            let expected: Vec<_> = columns.into_iter().map(|c| c.map(String::into_bytes)).collect();
            prop_assert_eq!(read(&row), expected);
        }

        #[test]
        fn no_row_panics(row: Vec<u8>) {
            let _ = read(&row);
        }
    }
}
