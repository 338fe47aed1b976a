//! Numbers by range, divisors and exclusion: whether there is one, and which.

use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;
use serde_json::Value as Json;

use super::frame::Frame;
use super::node::{Bound, Id, Kind};
use super::solve::{Answer, Cx, Solver};
use super::value::{decimal, number};

/// Most multiples that are tried.
const TRIES_MAX: i64 = 400;
/// Most decimal places that are reckoned with.
const SCALE_MAX: i64 = 400;

/// Whether `at` is a multiple of `of`.
pub(super) fn divides(of: &BigDecimal, at: &BigDecimal) -> bool {
    match whole(&[of, at]) {
        Some(whole) => &whole[1] % &whole[0] == BigInt::from(0),
        None => false,
    }
}

/// The numbers as multiples of one power of ten; `None` where they are too far apart.
fn whole(numbers: &[&BigDecimal]) -> Option<Vec<BigInt>> {
    let scale = scale(numbers)?;
    let each = numbers.iter().map(|number| {
        let (digits, _) = number.with_scale(scale).into_bigint_and_exponent();
        digits
    });
    Some(each.collect())
}

fn scale(numbers: &[&BigDecimal]) -> Option<i64> {
    let places = numbers
        .iter()
        .map(|number| number.normalized().as_bigint_and_exponent().1);
    let most = places.max().unwrap_or(0).max(0);
    (most <= SCALE_MAX).then_some(most)
}

/// The least common multiple.
fn common(one: &BigDecimal, other: &BigDecimal) -> Option<BigDecimal> {
    let scale = scale(&[one, other])?;
    let [a, b] = &whole(&[one, other])?[..] else {
        return None;
    };
    let (mut x, mut y) = (a.clone(), b.clone());
    while y != BigInt::from(0) {
        let rest = &x % &y;
        x = y;
        y = rest;
    }
    if x == BigInt::from(0) {
        return None;
    }
    Some(BigDecimal::new(a * b / x, scale).normalized())
}

/// Whether no real number is in the range.
pub(super) fn is_empty(low: Option<&Bound>, high: Option<&Bound>) -> bool {
    match (low, high) {
        (Some(low), Some(high)) => {
            low.at > high.at || (low.at == high.at && (low.open || high.open))
        }
        _ => false,
    }
}

impl Solver<'_> {
    /// Finds a number for a frame of numbers.
    pub(super) fn settle_number(&mut self, cx: &Cx<'_>, frame: &Frame) -> Answer {
        let (low, high) = (frame.low.as_ref(), frame.high.as_ref());
        if is_empty(low, high) {
            return Answer::Never;
        }
        let mut step: Option<BigDecimal> = (frame.kind == Kind::Integer).then(|| 1.into());
        for multiple in &frame.multiples {
            step = match step {
                None => Some(multiple.clone()),
                Some(step) => match common(&step, multiple) {
                    Some(both) => Some(both),
                    None => return Answer::Unknown,
                },
            };
        }
        match step {
            Some(step) => self.stepped(cx, frame, &step),
            None => self.dense(cx, frame),
        }
    }

    /// Numbers that are multiples of a step.
    fn stepped(&mut self, cx: &Cx<'_>, frame: &Frame, step: &BigDecimal) -> Answer {
        if frame.not_multiples.iter().any(|not| divides(not, step)) {
            return Answer::Never;
        }
        let one = BigDecimal::from(1);
        if frame.kind == Kind::Fraction && divides(&one, step) {
            return Answer::Never;
        }
        let (low, high) = (frame.low.as_ref(), frame.high.as_ref());
        let Some(first) = low.map(|low| at_or_above(low, step)).transpose_known() else {
            return Answer::Unknown;
        };
        let Some(last) = high.map(|high| at_or_below(high, step)).transpose_known() else {
            return Answer::Unknown;
        };
        if let (Some(first), Some(last)) = (&first, &last)
            && first > last
        {
            return Answer::Never;
        }
        let range = match (&first, &last) {
            (Some(first), Some(last)) => Some(last - first),
            _ => None,
        };
        let most = BigInt::from(TRIES_MAX);
        let complete = range.as_ref().is_some_and(|range| *range <= most);
        let count = match &range {
            Some(range) if complete => i64::try_from(range).unwrap_or(TRIES_MAX),
            _ => TRIES_MAX,
        };
        let zero = BigInt::from(0);
        let origin = match (first, last) {
            (Some(first), _) if complete || first > zero => first,
            (_, Some(last)) if last < zero => last - count,
            (Some(first), None) => first,
            (None, Some(last)) => last - count,
            (Some(first), Some(_)) => first,
            (None, None) => zero,
        };
        let mut unknown = !complete;
        for offset in 0..=count {
            let at = BigDecimal::from(&origin + offset) * step;
            match self.try_number(cx, frame, &at) {
                Answer::Doc(value) => return Answer::Doc(value),
                Answer::Unknown => unknown = true,
                Answer::Never => {}
            }
            if self.spent() {
                return Answer::Unknown;
            }
        }
        if unknown {
            self.far(cx, frame, step)
        } else {
            Answer::Never
        }
    }

    /// Far multiples, which JSON carries exactly where they are few digits and many zeros.
    fn far(&mut self, cx: &Cx<'_>, frame: &Frame, step: &BigDecimal) -> Answer {
        let mut at = step.clone();
        for _ in 0..40 {
            at *= BigDecimal::from(10);
            for at in [at.clone(), -at.clone()] {
                if let Answer::Doc(value) = self.try_number(cx, frame, &at) {
                    return Answer::Doc(value);
                }
            }
        }
        Answer::Unknown
    }

    /// Numbers of a range with no step: its ends and what lies between.
    fn dense(&mut self, cx: &Cx<'_>, frame: &Frame) -> Answer {
        let (low, high) = (frame.low.as_ref(), frame.high.as_ref());
        let mut tries: Vec<BigDecimal> = Vec::new();
        let half = BigDecimal::new(5.into(), 1);
        match (low, high) {
            (Some(low), Some(high)) => {
                tries.extend([low.at.clone(), high.at.clone()]);
                let mut width = &high.at - &low.at;
                for _ in 0..8 {
                    width = &width * &half;
                    tries.extend([&low.at + &width, &high.at - &width]);
                }
                if low.at == high.at {
                    return self.try_number(cx, frame, &low.at);
                }
            }
            (Some(one), None) => {
                tries.push(one.at.clone());
                for part in ["0.5", "1.5", "0.25", "0.01", "0.001", "10.5"] {
                    tries.extend(part.parse::<BigDecimal>().map(|part| &one.at + part));
                }
            }
            (None, Some(one)) => {
                tries.push(one.at.clone());
                for part in ["0.5", "1.5", "0.25", "0.01", "0.001", "10.5"] {
                    tries.extend(part.parse::<BigDecimal>().map(|part| &one.at - part));
                }
            }
            (None, None) => {
                for part in ["0.5", "-0.5", "1.25", "0.001", "1000000.5", "0.3"] {
                    tries.extend(part.parse::<BigDecimal>());
                }
            }
        }
        for at in tries {
            if let Answer::Doc(value) = self.try_number(cx, frame, &at) {
                return Answer::Doc(value);
            }
        }
        Answer::Unknown
    }

    /// Never where the number is outside of the frame.
    fn try_number(&mut self, cx: &Cx<'_>, frame: &Frame, at: &BigDecimal) -> Answer {
        let above = frame
            .low
            .as_ref()
            .is_none_or(|low| *at > low.at || (!low.open && *at == low.at));
        let below = frame
            .high
            .as_ref()
            .is_none_or(|high| *at < high.at || (!high.open && *at == high.at));
        let integer = at.is_integer() == (frame.kind == Kind::Integer);
        let even = frame.multiples.iter().all(|multiple| divides(multiple, at));
        let odd = frame.not_multiples.iter().all(|not| !divides(not, at));
        if !(above && below && integer && even && odd) || self.is_listed(&frame.excluded, at) {
            return Answer::Never;
        }
        match number(at) {
            // A number that JSON cannot carry exactly says nothing.
            Some(Json::Number(near)) if decimal(&near) == *at => self.offer(cx, Json::Number(near)),
            _ => Answer::Unknown,
        }
    }

    fn is_listed(&self, excluded: &[Id], at: &BigDecimal) -> bool {
        let Some(value) = number(at) else {
            return false;
        };
        excluded.iter().any(|&id| {
            let node = self.store.node(id);
            node.values
                .as_ref()
                .is_some_and(|values| values.has(&value))
        })
    }
}

/// `Some(None)` is no bound, `None` a bound that cannot be reckoned with.
trait Known {
    fn transpose_known(self) -> Option<Option<BigInt>>;
}

impl Known for Option<Option<BigInt>> {
    fn transpose_known(self) -> Option<Option<BigInt>> {
        match self {
            None => Some(None),
            Some(None) => None,
            Some(known) => Some(known),
        }
    }
}

/// The first multiple in the range, counted in steps.
fn at_or_above(low: &Bound, step: &BigDecimal) -> Option<BigInt> {
    let [at, step] = &whole(&[&low.at, step])?[..] else {
        return None;
    };
    let below = floor(at, step);
    let exact = &below * step == *at;
    Some(if exact && !low.open { below } else { below + 1 })
}

/// The last multiple in the range, counted in steps.
fn at_or_below(high: &Bound, step: &BigDecimal) -> Option<BigInt> {
    let [at, step] = &whole(&[&high.at, step])?[..] else {
        return None;
    };
    let below = floor(at, step);
    let exact = &below * step == *at;
    Some(if exact && high.open { below - 1 } else { below })
}

/// The quotient towards minus infinity, of a positive divisor.
fn floor(at: &BigInt, step: &BigInt) -> BigInt {
    let quotient = at / step;
    if &quotient * step > *at {
        quotient - 1
    } else {
        quotient
    }
}
