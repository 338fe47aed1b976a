//! One text for all texts of one JSON value: systems keep documents in their own way, and only what they mean is compared.
//!
//! Numbers are compared digit by digit as they are written, never as floating point: `1.0`, `1` and `100e-2` are one, `0.1` and `0.10000000000000001` are two.
//! Knows neither records nor contracts.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::gate::json::json_with;

/// The one text; a text that is no JSON, or nested too deeply, stands for itself.
pub(super) fn one_form(text: &str) -> Cow<'_, str> {
    match json_with(text, &number) {
        Some(form) => Cow::Owned(form.into()),
        None => Cow::Borrowed(text),
    }
}

/// A number as its digits without zeros at either end, and the power of ten that they stand before; anything else as it is.
fn number(text: &str, out: &mut String) {
    match parts(text) {
        Some((_, digits, _)) if digits.is_empty() => out.push('0'),
        Some((sign, digits, power)) => {
            // Writing to a text cannot fail.
            let _ = write!(out, "{sign}{digits}e{power}");
        }
        None => out.push_str(text),
    }
}

/// Sign, digits without zeros at either end, and the power of ten of the last of them; none where the text is no number, or its exponent is beyond counting.
fn parts(text: &str) -> Option<(&'static str, String, i64)> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text),
    };
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kept = digits.trim_end_matches('0');
    let dropped = i64::try_from(digits.len() - kept.len()).ok()?;
    let after_point = i64::try_from(fraction.len()).ok()?;
    let power = exponent
        .parse::<i64>()
        .ok()?
        .checked_sub(after_point)?
        .checked_add(dropped)?;
    let kept = kept.trim_start_matches('0');
    if kept.is_empty() {
        return Some(("", String::new(), 0));
    }
    Some((sign, kept.to_owned(), power))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn documents_that_mean_the_same_have_one_form_and_no_digit_is_lost() {
        let table = [
            ("1.0", "1", true),
            ("1e2", "100", true),
            ("100E-2", "1.00", true),
            ("-0.0", "0", true),
            ("0e99999999999999999999", "0", false),
            ("1e99999999999999999999", "1", false),
            ("0.1", "0.10000000000000001", false),
            ("9007199254740993", "9007199254740992", false),
            ("12345678901234567890.10", "12345678901234567890.1", true),
            ("1", "-1", false),
            ("10", "1", false),
            (r#"{"a":[1.50,{"b":2e0}]}"#, r#"{"a":[1.5,{"b":2}]}"#, true),
            (r#"{"a":"1.0"}"#, r#"{"a":"1"}"#, false),
            ("true", "false", false),
            ("null", "0", false),
            ("[1]", "[[1]]", false),
        ];
        for (one, other, same) in table {
            assert_eq!(one_form(one) == one_form(other), same, "{one} {other}");
        }
        let deep = "[".repeat(500) + &"]".repeat(500);
        assert_eq!(one_form(&deep), deep.as_str());
    }

    proptest! {
        #[test]
        fn a_number_written_otherwise_is_the_same_number(whole in any::<i64>(), zeros in 0_usize..20, up in 0_i64..40) {
            let plain = whole.to_string();
            let longer = format!("{whole}.{}", "0".repeat(zeros + 1));
            let shifted = format!("{whole}{}e-{up}", "0".repeat(usize::try_from(up).unwrap()));
            prop_assert_eq!(one_form(&plain), one_form(&longer));
            prop_assert_eq!(one_form(&plain), one_form(&shifted));
            let next = whole.wrapping_add(1).to_string();
            prop_assert_ne!(one_form(&plain), one_form(&next));
        }

        #[test]
        fn no_text_is_too_odd(text in ".*") {
            let _ = one_form(&text);
        }
    }
}
