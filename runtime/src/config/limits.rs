//! Lengths of time and sizes as people write them: `7d`, `1h30m`, `2GiB`.

use std::time::Duration;

const TIMES: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];

const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// A length of time: whole numbers with `ms`, `s`, `m`, `h`, `d` or `w`, longest first or in any order, such as `1h30m`.
///
/// # Errors
/// What is wrong, and what to write instead.
pub(crate) fn duration(text: &str) -> Result<Duration, (String, String)> {
    let help = "write whole numbers with ms, s, m, h, d or w, such as `7d` or `1h30m`";
    sum(text, &TIMES)
        .filter(|total| *total > 0)
        .map(Duration::from_millis)
        .ok_or_else(|| {
            (
                format!("`{}` is not a length of time", short(text)),
                help.to_owned(),
            )
        })
}

/// A size in bytes: a whole number with `B`, `kB`, `MB`, `GB`, `TB` (thousands) or `KiB`, `MiB`, `GiB`, `TiB` (1024s).
///
/// # Errors
/// What is wrong, and what to write instead.
pub(super) fn size(text: &str) -> Result<u64, (String, String)> {
    let help = "write a whole number with B, kB, MB, GB, TB, KiB, MiB, GiB or TiB, such as `2GiB`";
    sum(text, &SIZES)
        .filter(|total| *total > 0)
        .ok_or_else(|| (format!("`{}` is not a size", short(text)), help.to_owned()))
}

/// The sum of numbers with units, blanks allowed; `None` for anything else, overflow included.
fn sum(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let mut rest = text.trim();
    let mut total = 0_u64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let end = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let (_, factor) = units
            .iter()
            .find(|(unit, _)| unit.eq_ignore_ascii_case(&rest[..end]))?;
        total = total.checked_add(number.checked_mul(*factor)?)?;
        rest = rest[end..].trim_start();
    }
    Some(total)
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_people_write_is_understood() {
        for (text, seconds) in [
            ("7d", 604_800),
            ("1h30m", 5400),
            ("90 s", 90),
            ("2w", 1_209_600),
        ] {
            assert_eq!(
                duration(text).unwrap(),
                Duration::from_secs(seconds),
                "{text}"
            );
        }
        for (text, bytes) in [("2GiB", 2 << 30), ("500MB", 500_000_000), ("1 kib", 1024)] {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
        }
        for text in [
            "",
            "7",
            "d",
            "7 days",
            "-1d",
            "1.5h",
            "0s",
            "99999999999999999999d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "2", "2 GiBs", "18446744073709551615TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9a-zA-Z äé.-]*") {
            let _ = (duration(&text), size(&text));
        }
    }
}
