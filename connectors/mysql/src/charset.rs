//! Character sets of texts in the binary log, which come as they are stored.
//!
//! Results of statements come as UTF-8 always; only the log needs this.

/// A character set whose texts can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charset {
    /// No text at all.
    Binary,
    /// `utf8mb3`, `utf8mb4` and `ascii`.
    Utf8,
    /// What MySQL calls `latin1`: Windows code page 1252, its five gaps filled with control characters.
    Latin1,
    /// `ucs2` and `utf16`, the high byte first.
    Utf16,
    /// `utf16le`.
    Utf16Le,
    /// `utf32`.
    Utf32,
}

/// Code page 1252 from 0x80 to 0x9f.
const WINDOWS: [u16; 32] = [
    0x20ac, 0x81, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160, 0x2039,
    0x0152, 0x8d, 0x017d, 0x8f, 0x90, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014,
    0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0x9d, 0x017e, 0x0178,
];

impl Charset {
    /// By the name that the catalog gives.
    pub(crate) fn named(name: &str) -> Option<Charset> {
        Some(match name {
            "binary" => Charset::Binary,
            "utf8" | "utf8mb3" | "utf8mb4" | "ascii" => Charset::Utf8,
            "latin1" => Charset::Latin1,
            "ucs2" | "utf16" => Charset::Utf16,
            "utf16le" => Charset::Utf16Le,
            "utf32" => Charset::Utf32,
            _ => return None,
        })
    }

    /// The text, or nothing where the bytes are none.
    pub(crate) fn decode(self, bytes: &[u8]) -> Option<String> {
        match self {
            Charset::Binary => None,
            Charset::Utf8 => std::str::from_utf8(bytes).ok().map(str::to_owned),
            Charset::Latin1 => Some(bytes.iter().map(|byte| latin1(*byte)).collect()),
            Charset::Utf16 => utf16(bytes, u16::from_be_bytes),
            Charset::Utf16Le => utf16(bytes, u16::from_le_bytes),
            Charset::Utf32 => bytes
                .chunks(4)
                .map(|four| char::from_u32(u32::from_be_bytes(four.try_into().ok()?)))
                .collect(),
        }
    }
}

fn latin1(byte: u8) -> char {
    match byte {
        0x80..=0x9f => char::from_u32(WINDOWS[usize::from(byte - 0x80)].into())
            .unwrap_or(char::REPLACEMENT_CHARACTER),
        other => char::from(other),
    }
}

fn utf16(bytes: &[u8], unit: impl Fn([u8; 2]) -> u16) -> Option<String> {
    let units: Option<Vec<u16>> = bytes
        .chunks(2)
        .map(|two| two.try_into().ok().map(&unit))
        .collect();
    String::from_utf16(&units?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_are_read_in_their_character_sets() {
        for (name, bytes, text) in [
            ("utf8mb4", "ü🚲".as_bytes(), Some("ü🚲")),
            ("latin1", &[0x80, 0xfc, 0x41][..], Some("€üA")),
            ("ucs2", &[0x20, 0xac][..], Some("€")),
            ("utf16le", &[0xac, 0x20][..], Some("€")),
            ("utf32", &[0, 1, 0xf6, 0xb2][..], Some("🚲")),
            ("utf8mb4", &[0xff][..], None),
            ("utf16", &[0x20][..], None),
        ] {
            let read = Charset::named(name).and_then(|charset| charset.decode(bytes));
            assert_eq!(read.as_deref(), text, "{name}");
        }
        assert_eq!(Charset::named("gbk"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            for charset in [Charset::Utf8, Charset::Latin1, Charset::Utf16, Charset::Utf16Le, Charset::Utf32] {
                let _ = charset.decode(&bytes);
            }
        }
    }
}
