//! Salesforce's ids: 15 characters whose case counts, or the same with 3 more that tell the case; pure.

/// The characters that tell the case of five others.
const SUFFIX: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";

/// An id in its long form; none for what is no id.
pub(crate) fn full(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    if !matches!(bytes.len(), 15 | 18) || !bytes.iter().all(u8::is_ascii_alphanumeric) {
        return None;
    }
    let mut full = text[..15].to_owned();
    for five in bytes[..15].chunks(5) {
        let upper = |(at, byte): (usize, &u8)| usize::from(byte.is_ascii_uppercase()) << at;
        let place: usize = five.iter().enumerate().map(upper).sum();
        full.push(char::from(SUFFIX[place]));
    }
    // A suffix that does not fit is that of an id whose case was lost: it names nobody knows what.
    (bytes.len() == 15 || full == text).then_some(full)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms_are_one_id() {
        for (text, expected) in [
            ("001D000000IRFma", Some("001D000000IRFmaIAH")),
            ("001D000000IRFmaIAH", Some("001D000000IRFmaIAH")),
            ("001d000000irfmaIAH", None),
            ("001D000000IRFm", None),
            ("001D000000IRFm'", None),
            ("", None),
        ] {
            assert_eq!(full(text).as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_long_forms_stay(text in ".{0,20}", short in "[0-9A-Za-z]{15}") {
            if let Some(id) = full(&text) {
                prop_assert_eq!(full(&id), Some(id));
            }
            let long = full(&short).unwrap();
            prop_assert_eq!(full(&long), Some(long));
        }
    }
}
