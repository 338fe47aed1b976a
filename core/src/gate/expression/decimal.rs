//! Exact decimal arithmetic. Halves are rounded away from zero, as invoices are.

use bigdecimal::num_bigint::{BigInt, Sign};
use bigdecimal::{BigDecimal, RoundingMode};

use super::ExpressionError;
use crate::value::Decimal;

/// Most digits of a number that takes part; keeps one evaluation short whatever a system sends.
const DIGITS_MAX: usize = 2000;
/// Most digits after the point that a result may be asked for.
pub(super) const SCALE_MAX: i64 = 100;

/// The four operations and what they are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Sub,
    Mul,
}

/// `a` and `b` combined, every digit kept.
pub(super) fn combine(
    how: Arithmetic,
    a: &Decimal,
    b: &Decimal,
) -> Result<Decimal, ExpressionError> {
    let (a, b) = (big(a)?, big(b)?);
    Ok(Decimal::from(match how {
        Arithmetic::Add => a + b,
        Arithmetic::Sub => a - b,
        Arithmetic::Mul => a * b,
    }))
}

/// `a / b` with `scale` digits after the point.
pub(super) fn divide(a: &Decimal, b: &Decimal, scale: i64) -> Result<Decimal, ExpressionError> {
    let scale = bounded(scale)?;
    let (a, a_scale) = big(a)?.into_bigint_and_exponent();
    let (b, b_scale) = big(b)?.into_bigint_and_exponent();
    if b.sign() == Sign::NoSign {
        return Err(ExpressionError::new("division by zero"));
    }
    // a·10^-as / b·10^-bs at `scale` digits is a·10^(scale + bs - as) / b as a whole number.
    let shift = scale + b_scale - a_scale;
    let power = |n: i64| BigInt::from(10).pow(u32::try_from(n).unwrap_or_default());
    let (numerator, denominator) = if shift >= 0 {
        (a * power(shift), b)
    } else {
        (a, b * power(-shift))
    };
    let negative = (numerator.sign() == Sign::Minus) != (denominator.sign() == Sign::Minus);
    let (n, d) = (numerator.magnitude(), denominator.magnitude());
    let quotient = (n * 2u32 + d) / (d * 2u32);
    let sign = if negative { Sign::Minus } else { Sign::Plus };
    Ok(Decimal::from(BigDecimal::new(
        BigInt::from_biguint(sign, quotient),
        scale,
    )))
}

/// `a` with exactly `scale` digits after the point.
pub(super) fn round(a: &Decimal, scale: i64) -> Result<Decimal, ExpressionError> {
    let scale = bounded(scale)?;
    Ok(Decimal::from(
        big(a)?.with_scale_round(scale, RoundingMode::HalfUp),
    ))
}

fn big(number: &Decimal) -> Result<BigDecimal, ExpressionError> {
    if number.as_str().len() > DIGITS_MAX {
        return Err(ExpressionError::new(format!(
            "a number of {} digits is too long to calculate with, at most {DIGITS_MAX} are accepted",
            number.as_str().len()
        )));
    }
    Ok(number.to_big())
}

fn bounded(scale: i64) -> Result<i64, ExpressionError> {
    if (0..=SCALE_MAX).contains(&scale) {
        Ok(scale)
    } else {
        Err(ExpressionError::new(format!(
            "a scale of {scale} is not between 0 and {SCALE_MAX}"
        )))
    }
}
