//! Patterns that say a range of numbers, dates or moments, for JSON Schemas in which those travel as strings.
//!
//! JSON Schema has bounds for JSON numbers only, and a decimal is never one.
//! Because an event's decimals have a fixed scale and its dates and moments a fixed width before the fraction, a regular expression can say the range exactly.

use bigdecimal::num_bigint::{BigInt, Sign};
use jiff::civil::Date;

use super::Limits;
use crate::value::{Decimal, Value};

/// Digit ranges, one per position.
type Digits = Vec<(u8, u8)>;

/// The pattern of the decimals with `precision` digits, exactly `scale` of them after the point, within the limits; without a negative zero.
pub(super) fn decimal(precision: u32, scale: u32, limits: &Limits) -> String {
    let greatest: BigInt = BigInt::from(10).pow(precision) - 1;
    let step = |bound: &Option<Value>, exclusive: bool, by: i32| match bound {
        Some(Value::Decimal(number)) => Some(units(number, scale) + if exclusive { by } else { 0 }),
        _ => None,
    };
    let low = step(&limits.minimum, limits.exclusive_minimum, 1).unwrap_or_else(|| -&greatest);
    let high =
        step(&limits.maximum, limits.exclusive_maximum, -1).unwrap_or_else(|| greatest.clone());
    let (low, high) = (low.max(-&greatest), high.min(greatest));
    let zero = BigInt::from(0);
    let mut alternatives = Vec::new();
    if high >= zero && low <= high {
        let from = low.clone().max(zero.clone());
        alternatives.extend(magnitudes("", &from, &high, scale as usize));
    }
    if low < zero && low <= high {
        let from = (-&high).max(BigInt::from(1));
        alternatives.extend(magnitudes("-", &from, &-low, scale as usize));
    }
    any_of(&alternatives)
}

/// The pattern of the dates within the limits, to stand beside the pattern of a date; `None` without limits.
pub(super) fn date(limits: &Limits) -> Option<String> {
    let digits =
        |date: Date| format!("{:04}{:02}{:02}", date.year(), date.month(), date.day()).into_bytes();
    let low = match limits.minimum {
        Some(Value::Date(date)) if limits.exclusive_minimum => Some(date.tomorrow().ok()?),
        Some(Value::Date(date)) => Some(date),
        _ => None,
    };
    let high = match limits.maximum {
        Some(Value::Date(date)) if limits.exclusive_maximum => Some(date.yesterday().ok()?),
        Some(Value::Date(date)) => Some(date),
        _ => None,
    };
    if low.is_none() && high.is_none() {
        return None;
    }
    let low = low.map_or_else(|| b"00000000".to_vec(), digits);
    let high = high.map_or_else(|| b"99999999".to_vec(), digits);
    if low.len() != 8 || high.len() != 8 || low > high {
        return Some(any_of(&[]));
    }
    let alternatives: Vec<String> = ranges(&low, &high)
        .iter()
        .map(|digits| render(digits, &[(4, "-"), (6, "-")]))
        .collect();
    Some(any_of(&alternatives))
}

/// One end of a range in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The least moment.
    Low,
    /// The greatest.
    High,
}

/// The pattern of the moments on the inner side of an end, to stand beside the pattern of a time of day or a timestamp; `None` where every moment is.
///
/// `at` is the end as it is written: a time of day, or a timestamp in UTC. A fraction has up to nine digits and may end in zeros.
pub(super) fn moment(at: &str, end: End, exclusive: bool) -> Option<String> {
    if at.starts_with('-') {
        // Before the first year that has a written form.
        return (end == End::High).then(|| any_of(&[]));
    }
    let bare = at.trim_end_matches('Z');
    let (whole, fraction) = bare.split_once('.').unwrap_or((bare, ""));
    let fraction = fraction.trim_end_matches('0');
    let dated = whole.contains('T');
    let digits: Vec<u8> = whole.bytes().filter(u8::is_ascii_digit).collect();
    let separators: &[(usize, &str)] = if dated {
        &[(4, "-"), (6, "-"), (8, "T"), (10, ":"), (12, ":")]
    } else {
        &[(2, ":"), (4, ":")]
    };
    let z = if dated { "Z" } else { "" };
    let mut alternatives = Vec::new();
    // The same second: its fraction decides.
    let same = render(&single(&digits), separators);
    let parts = match end {
        End::Low => fractions_above(fraction, exclusive),
        End::High => fractions_below(fraction, exclusive),
    };
    alternatives.extend(parts.map(|parts| format!("{same}{parts}{z}")));
    // Another second: no fraction matters.
    let other = neighbour(&digits, end);
    let seconds = match (&other, end) {
        (None, _) => Vec::new(),
        (Some(from), End::Low) => ranges(from, &vec![b'9'; digits.len()]),
        (Some(to), End::High) => ranges(&vec![b'0'; digits.len()], to),
    };
    let seconds = seconds.iter().map(|digits| {
        let second = render(digits, separators);
        format!(r"{second}(?:\.[0-9]+)?{z}")
    });
    alternatives.extend(seconds);
    Some(any_of(&alternatives))
}

fn single(digits: &[u8]) -> Digits {
    digits.iter().map(|digit| (*digit, *digit)).collect()
}

/// The next string of digits inside of an end, if there is one of that length.
fn neighbour(digits: &[u8], end: End) -> Option<Vec<u8>> {
    let (turn, back) = match end {
        End::Low => (b'9', b'0'),
        End::High => (b'0', b'9'),
    };
    let at = digits.iter().rposition(|digit| *digit != turn)?;
    let mut next = digits.to_vec();
    next[at] = match end {
        End::Low => next[at] + 1,
        End::High => next[at] - 1,
    };
    next[at + 1..].fill(back);
    Some(next)
}

/// Fractions of a second above the one with these digits, of which the last is no zero.
fn fractions_above(digits: &str, exclusive: bool) -> Option<String> {
    if digits.is_empty() {
        return Some(if exclusive {
            r"\.0*[1-9][0-9]*".to_owned()
        } else {
            r"(?:\.[0-9]+)?".to_owned()
        });
    }
    let mut ways = Vec::new();
    for (at, digit) in digits
        .bytes()
        .enumerate()
        .filter(|(_, digit)| *digit < b'9')
    {
        ways.push(format!(
            "{}[{}-9][0-9]*",
            &digits[..at],
            char::from(digit + 1)
        ));
    }
    ways.push(if exclusive {
        format!("{digits}0*[1-9][0-9]*")
    } else {
        format!("{digits}[0-9]*")
    });
    Some(format!(r"\.(?:{})", ways.join("|")))
}

/// Fractions below it, or none at all; `None` where there is nothing below.
fn fractions_below(digits: &str, exclusive: bool) -> Option<String> {
    if digits.is_empty() {
        return (!exclusive).then(|| r"(?:\.0+)?".to_owned());
    }
    let mut ways = Vec::new();
    for (at, digit) in digits.bytes().enumerate() {
        if digit > b'0' {
            ways.push(format!(
                "{}[0-{}][0-9]*",
                &digits[..at],
                char::from(digit - 1)
            ));
        }
        // A fraction that ends earlier is a lesser one.
        if at > 0 {
            ways.push(digits[..at].to_owned());
        }
    }
    if !exclusive {
        ways.push(format!("{digits}0*"));
    }
    Some(format!(r"(?:\.(?:{}))?", ways.join("|")))
}

/// The number as a count of its smallest unit at `scale`.
fn units(number: &Decimal, scale: u32) -> BigInt {
    let (units, _) = number
        .to_big()
        .with_scale(i64::from(scale))
        .into_bigint_and_exponent();
    units
}

/// Patterns of the numbers from `low` to `high` units, both at least 0.
fn magnitudes(sign: &str, low: &BigInt, high: &BigInt, scale: usize) -> Vec<String> {
    let text = |number: &BigInt| {
        debug_assert!(number.sign() != Sign::Minus);
        format!(
            "{number:0>width$}",
            number = number.to_string(),
            width = scale + 1
        )
        .into_bytes()
    };
    let (low, high) = (text(low), text(high));
    let dot: &[(usize, &str)] = if scale > 0 { &[(0, r"\.")] } else { &[] };
    let written = |digits: &Digits| {
        let at = digits.len() - scale;
        let dot: Vec<_> = dot.iter().map(|(_, dot)| (at, *dot)).collect();
        format!("{sign}{}", render(digits, &dot))
    };
    if low.len() == high.len() {
        return ranges(&low, &high).iter().map(written).collect();
    }
    let mut all: Vec<String> = ranges(&low, &vec![b'9'; low.len()])
        .iter()
        .map(written)
        .collect();
    // Every number of a length in between is in the range: one alternative for all of them.
    let (shortest, longest) = (low.len() + 1 - scale, high.len() - 1 - scale);
    if shortest <= longest {
        let fraction = match scale {
            0 => String::new(),
            _ => format!(r"\.[0-9]{{{scale}}}"),
        };
        let (least, most) = (shortest - 1, longest - 1);
        all.push(format!("{sign}[1-9][0-9]{{{least},{most}}}{fraction}"));
    }
    let mut first = vec![b'0'; high.len()];
    first[0] = b'1';
    all.extend(ranges(&first, &high).iter().map(written));
    all
}

/// Splits the digit strings from `low` to `high`, of one length, into products of digit ranges.
fn ranges(low: &[u8], high: &[u8]) -> Vec<Digits> {
    let ([first_low, low @ ..], [first_high, high @ ..]) = (low, high) else {
        return vec![Vec::new()];
    };
    let under = |digit: u8, rest: Vec<Digits>| {
        rest.into_iter().map(move |mut digits| {
            digits.insert(0, (digit, digit));
            digits
        })
    };
    if first_low == first_high {
        return under(*first_low, ranges(low, high)).collect();
    }
    let nines = vec![b'9'; low.len()];
    let zeros = vec![b'0'; high.len()];
    let (mut from, mut to) = (*first_low, *first_high);
    let mut all = Vec::new();
    let mut last = Vec::new();
    if low != zeros {
        all.extend(under(from, ranges(low, &nines)));
        from += 1;
    }
    if high != nines {
        last.extend(under(to, ranges(&zeros, high)));
        to -= 1;
    }
    if from <= to {
        let mut digits = vec![(from, to)];
        digits.extend(std::iter::repeat_n((b'0', b'9'), low.len()));
        all.push(digits);
    }
    all.extend(last);
    all
}

/// Writes digit ranges, with separators before the given positions.
fn render(digits: &Digits, separators: &[(usize, &str)]) -> String {
    let mut out = String::new();
    let mut i = 0;
    while i < digits.len() {
        if let Some((_, separator)) = separators.iter().find(|(at, _)| *at == i) {
            out.push_str(separator);
        }
        let same = digits[i..]
            .iter()
            .enumerate()
            .take_while(|(n, range)| {
                **range == digits[i] && (*n == 0 || !separators.iter().any(|(at, _)| *at == i + n))
            })
            .count();
        match digits[i] {
            (low, high) if low == high => out.push(char::from(low)),
            (low, high) => out.push_str(&format!("[{}-{}]", char::from(low), char::from(high))),
        }
        if same > 1 {
            out.push_str(&format!("{{{same}}}"));
        }
        i += same;
    }
    out
}

/// The pattern of the texts that are one of several patterns; of no text where there is none.
pub(super) fn any_of(alternatives: &[String]) -> String {
    match alternatives {
        // A range without a value: nothing matches.
        [] => "^[^\\s\\S]$".to_owned(),
        [one] => format!("^{one}$"),
        many => format!("^(?:{})$", many.join("|")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(low: Option<Value>, high: Option<Value>, exclusive: (bool, bool)) -> Limits {
        Limits {
            minimum: low,
            maximum: high,
            exclusive_minimum: exclusive.0,
            exclusive_maximum: exclusive.1,
            ..Limits::default()
        }
    }

    #[test]
    fn the_patterns_people_read_are_short() {
        let number = |text: &str| Some(Value::Decimal(text.parse().unwrap()));
        let at_least_zero = limits(number("0"), None, (false, false));
        assert_eq!(
            decimal(12, 2, &at_least_zero),
            r"^(?:[0-9]\.[0-9]{2}|[1-9][0-9]{1,8}\.[0-9]{2}|[1-9][0-9]{9}\.[0-9]{2})$"
        );
        let share = limits(number("0"), number("1"), (false, false));
        assert_eq!(decimal(4, 2, &share), r"^(?:0\.[0-9]{2}|1\.0{2})$");
    }

    proptest! {
        #[test]
        fn patterns_of_moments_hold_exactly_the_range(
            bound in 0i64..200_000, at in 0i64..200_000, near in -1i64..=1, zeros in 0usize..4, exclusive: bool, dated: bool, scale in prop::sample::select(vec![1i64, 5_000_000, 250_000_000, 700_000_000])
        ) {
            let at = if near == 0 { at } else { (bound + near).max(0) };
            let moment = |units: i64| {
                let span = jiff::SignedDuration::from_nanos(units * scale);
                if dated {
                    let first: jiff::Timestamp = "2023-12-31T23:59:50Z".parse().unwrap();
                    first.checked_add(span).unwrap().to_string()
                } else {
                    let first = jiff::civil::time(9, 59, 50, 0);
                    first.wrapping_add(span).to_string()
                }
            };
            let mut text = moment(at);
            // Zeros at the end of a fraction change nothing.
            if let Some((_, fraction)) = text.trim_end_matches('Z').split_once('.') {
                let more = "0".repeat(zeros.min(9 - fraction.len()));
                text = format!("{}{more}{}", text.trim_end_matches('Z'), if dated { "Z" } else { "" });
            }
            let wrapped = !dated && (200_000 * scale) / 1_000_000_000 > 50_000;
            prop_assume!(!wrapped);
            for (end, inside) in [(End::Low, at > bound || (at == bound && !exclusive)), (End::High, at < bound || (at == bound && !exclusive))] {
                let pattern = super::moment(&moment(bound), end, exclusive).unwrap();
                let matched = regex::Regex::new(&pattern).unwrap().is_match(&text);
                prop_assert_eq!(matched, inside, "{} {} {:?}", text, pattern, end);
            }
        }

        #[test]
        fn decimal_patterns_hold_exactly_the_range(
            low in proptest::option::of(-1_200i64..1_200), high in proptest::option::of(-1_200i64..1_200),
            exclusive: (bool, bool), scale in 0u32..4, extra in 0u32..3, number in -12_000i64..12_000,
        ) {
            let precision = (scale + extra).max(1);
            let at = |units: i64| Decimal::from_units(units, scale);
            let bounds = limits(
                low.map(|units| Value::Decimal(at(units))),
                high.map(|units| Value::Decimal(at(units))),
                exclusive,
            );
            let pattern = regex::Regex::new(&decimal(precision, scale, &bounds)).unwrap();
            let inside = number.abs() < 10i64.pow(precision)
                && low.is_none_or(|low| number > low || (number == low && !exclusive.0))
                && high.is_none_or(|high| number < high || (number == high && !exclusive.1));
            prop_assert_eq!(pattern.is_match(at(number).as_str()), inside, "{} {}", at(number), pattern);
            // No canonical decimal is a negative zero.
            let negative_zero = format!("-{}", at(0));
            prop_assert!(!pattern.is_match(&negative_zero), "{}", pattern);
        }

        #[test]
        fn date_patterns_hold_exactly_the_range(
            low in 0i32..4000, span in -10i32..4000, day in -100i32..5000, exclusive: (bool, bool)
        ) {
            let date = |days: i32| jiff::civil::date(1998, 1, 1).checked_add(jiff::Span::new().days(days)).unwrap();
            let bounds = limits(Some(Value::Date(date(low))), Some(Value::Date(date(low + span))), exclusive);
            let pattern = regex::Regex::new(&super::date(&bounds).unwrap()).unwrap();
            let inside = (low < day || (low == day && !exclusive.0))
                && (day < low + span || (day == low + span && !exclusive.1));
            prop_assert_eq!(pattern.is_match(&date(day).to_string()), inside);
        }
    }
}
