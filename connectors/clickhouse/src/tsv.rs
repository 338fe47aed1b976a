//! Tab-separated rows, the one form in which every version of the server reads and writes every type exactly; pure.

/// One field as it came: nothing for null, else its bytes.
pub(crate) type Field = Option<Vec<u8>>;

/// Takes rows apart.
pub(crate) fn rows(body: &[u8]) -> Vec<Vec<Field>> {
    if body.is_empty() {
        return Vec::new();
    }
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    let lines = body.split(|byte| *byte == b'\n');
    lines
        .map(|line| line.split(|byte| *byte == b'\t').map(field).collect())
        .collect()
}

fn field(raw: &[u8]) -> Field {
    if raw == b"\\N" {
        return None;
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'b') => out.push(8),
            Some(b'f') => out.push(12),
            Some(b'r') => out.push(b'\r'),
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'0') => out.push(0),
            Some(b'a') => out.push(7),
            Some(b'v') => out.push(11),
            Some(other) => out.push(other),
            None => out.push(b'\\'),
        }
    }
    Some(out)
}

/// Writes one field.
pub(crate) fn push(out: &mut Vec<u8>, field: Option<&[u8]>) {
    let Some(field) = field else {
        out.extend_from_slice(b"\\N");
        return;
    };
    for byte in field {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            0 => out.extend_from_slice(b"\\0"),
            other => out.push(*other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_survive_their_text(
            wanted in proptest::collection::vec(
                proptest::collection::vec(proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9)), 2),
                0..5,
            )
        ) {
            let mut body = Vec::new();
            for row in &wanted {
                for (place, field) in row.iter().enumerate() {
                    if place > 0 {
                        body.push(b'\t');
                    }
                    push(&mut body, field.as_deref());
                }
                body.push(b'\n');
            }
            prop_assert_eq!(rows(&body), wanted);
        }

        #[test]
        fn nothing_that_comes_panics(body: Vec<u8>) {
            rows(&body);
        }
    }
}
