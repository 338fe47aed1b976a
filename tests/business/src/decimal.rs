//! Exact decimals as integer counts of a smallest unit, and as their shortest plain text.
//!
//! The oracle must not share code with what it judges, so this is its own arithmetic; sixty-four bits are plenty for the data.

/// The count of units of 10^-`scale` in a plain decimal; `None` where the text is no decimal, does not fit, or has further digits.
#[must_use]
pub fn to_units(text: &str, scale: u32) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) || digits.ends_with('.') {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let missing = (scale as usize).checked_sub(fraction.len())?;
    let units: i64 = format!("{whole}{fraction}{}", "0".repeat(missing))
        .parse()
        .ok()?;
    Some(if negative { -units } else { units })
}

/// The shortest plain text of a count of units: 1250 at 2 is `12.5`.
#[must_use]
pub fn from_units(units: i64, scale: u32) -> String {
    let digits = format!(
        "{:0width$}",
        units.unsigned_abs(),
        width = scale as usize + 1
    );
    let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
    let sign = if units < 0 { "-" } else { "" };
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{dot}{fraction}")
}

/// Divides and rounds half away from zero.
#[must_use]
pub fn div_round(number: i64, by: i64) -> i64 {
    let half = by.abs() / 2;
    if (number < 0) == (by < 0) {
        (number.abs() + half) / by.abs()
    } else {
        -((number.abs() + half) / by.abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_units_meet() {
        for (text, scale, units) in [
            ("12.5", 2, 1250),
            ("12.50", 2, 1250),
            ("-0.05", 2, -5),
            ("3", 4, 30_000),
            ("0", 0, 0),
        ] {
            assert_eq!(to_units(text, scale), Some(units), "{text}");
        }
        assert_eq!(from_units(1250, 2), "12.5");
        assert_eq!(from_units(-5, 2), "-0.05");
        assert_eq!(from_units(30_000, 4), "3");
        assert_eq!(from_units(100, 0), "100");
    }

    #[test]
    fn what_is_no_exact_decimal_is_refused() {
        for text in ["", "-", ".5", "1.", "1e3", "free", "1.234", "--1", "1.2.3"] {
            assert_eq!(to_units(text, 2), None, "{text}");
        }
    }

    #[test]
    fn halves_round_away_from_zero() {
        assert_eq!(div_round(15, 10), 2);
        assert_eq!(div_round(-15, 10), -2);
        assert_eq!(div_round(14, 10), 1);
    }
}
