//! The functions of expressions: one table with their names, and for each its types and its work.
//!
//! Every function may be written as a call or as a method: `size(x)` is `x.size()`.
//! Conversions lose nothing: `int(1.5)` is an error, not 1.

use std::borrow::Cow;
use std::cmp::Ordering;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Unit};

use super::ExpressionError;
use super::decimal::{self, Arithmetic};
use super::eval::{LIST_MAX, TEXT_MAX};
use super::operand::Operand;
use super::types::Ty;
use crate::gate::cast;
use crate::value::{Decimal, Type};

/// A function, by what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    LowerAscii,
    UpperAscii,
    Trim,
    Replace,
    Substring,
    IndexOf,
    Split,
    Join,
    OrElse,
    Convert(Type),
    Combine(Arithmetic),
    Divide,
    Round,
    CompareDecimals,
    AddDays,
    DaysBetween,
    Year,
    Month,
    Day,
}

/// Every function by its name, with how it is written.
const TABLE: &[(&str, &str, Function)] = &[
    ("size", "size(text)", Function::Size),
    ("contains", "text.contains(text)", Function::Contains),
    ("startsWith", "text.startsWith(text)", Function::StartsWith),
    ("endsWith", "text.endsWith(text)", Function::EndsWith),
    ("lowerAscii", "text.lowerAscii()", Function::LowerAscii),
    ("upperAscii", "text.upperAscii()", Function::UpperAscii),
    ("trim", "text.trim()", Function::Trim),
    ("replace", "text.replace(old, new)", Function::Replace),
    ("substring", "text.substring(from, to)", Function::Substring),
    ("indexOf", "text.indexOf(text)", Function::IndexOf),
    ("split", "text.split(separator)", Function::Split),
    ("join", "list.join(separator)", Function::Join),
    ("orElse", "orElse(value, default)", Function::OrElse),
    ("bool", "bool(value)", Function::Convert(Type::Bool)),
    ("int", "int(value)", Function::Convert(Type::Int)),
    ("double", "double(value)", Function::Convert(Type::Float)),
    ("string", "string(value)", Function::Convert(Type::Text)),
    ("dec", "dec('1.20')", Function::Convert(Type::DECIMAL)),
    ("date", "date('2024-12-31')", Function::Convert(Type::Date)),
    ("time", "time('23:59:00')", Function::Convert(Type::Time)),
    (
        "timestamp",
        "timestamp('2024-12-31T23:59:00Z')",
        Function::Convert(Type::Timestamp),
    ),
    ("uuid", "uuid(text)", Function::Convert(Type::Uuid)),
    ("decAdd", "decAdd(a, b)", Function::Combine(Arithmetic::Add)),
    ("decSub", "decSub(a, b)", Function::Combine(Arithmetic::Sub)),
    ("decMul", "decMul(a, b)", Function::Combine(Arithmetic::Mul)),
    ("decDiv", "decDiv(a, b, scale)", Function::Divide),
    ("decRound", "decRound(a, scale)", Function::Round),
    ("decCmp", "decCmp(a, b)", Function::CompareDecimals),
    ("addDays", "addDays(date, days)", Function::AddDays),
    (
        "daysBetween",
        "daysBetween(from, to)",
        Function::DaysBetween,
    ),
    ("year", "year(date)", Function::Year),
    ("month", "month(date)", Function::Month),
    ("day", "day(date)", Function::Day),
];

/// The function of a name.
pub(super) fn find(name: &str) -> Option<Function> {
    TABLE
        .iter()
        .find(|(known, _, _)| *known == name)
        .map(|(_, _, function)| *function)
}

/// The names of all functions and macros.
pub(super) fn names() -> impl Iterator<Item = &'static str> + Clone {
    let others = [
        "matches",
        "has",
        "all",
        "exists",
        "exists_one",
        "map",
        "filter",
    ];
    TABLE.iter().map(|(name, _, _)| *name).chain(others)
}

impl Function {
    /// How it is written, for messages.
    pub(super) fn usage(self) -> &'static str {
        TABLE
            .iter()
            .find(|(_, _, function)| *function == self)
            .map_or("", |(_, usage, _)| usage)
    }

    /// The type of its result, or `None` where it does not take these types.
    pub(super) fn result(self, args: &[Ty]) -> Option<Ty> {
        let text = |ty: &Ty| ty.may_be(&Ty::Text);
        let int = |ty: &Ty| ty.may_be(&Ty::Int);
        let number = |ty: &Ty| ty.may_be(&Ty::Decimal) || *ty == Ty::Int;
        let date = |ty: &Ty| ty.may_be(&Ty::Date);
        let fits = |yes: bool, ty: Ty| yes.then_some(ty);
        match (self, args) {
            (Function::Size, [of]) => fits(
                text(of) || matches!(of, Ty::Bytes | Ty::List(_) | Ty::Map(..)),
                Ty::Int,
            ),
            (Function::Contains | Function::StartsWith | Function::EndsWith, [a, b]) => {
                fits(text(a) && text(b), Ty::Bool)
            }
            (Function::LowerAscii | Function::UpperAscii | Function::Trim, [a]) => {
                fits(text(a), Ty::Text)
            }
            (Function::Replace, [a, b, c]) => fits(text(a) && text(b) && text(c), Ty::Text),
            (Function::Substring, [a, from]) => fits(text(a) && int(from), Ty::Text),
            (Function::Substring, [a, from, to]) => fits(text(a) && int(from) && int(to), Ty::Text),
            (Function::IndexOf, [a, b]) => fits(text(a) && text(b), Ty::Int),
            (Function::Split, [a, b]) => fits(text(a) && text(b), Ty::List(Box::new(Ty::Text))),
            (Function::Join, [list, rest @ ..]) if rest.len() < 2 => {
                let texts = match list {
                    Ty::List(of) => text(of),
                    other => *other == Ty::Dyn,
                };
                fits(texts && rest.iter().all(text), Ty::Text)
            }
            (Function::OrElse, [a, b]) => a.clone().join(b.clone()),
            (Function::Convert(to), [from]) => fits(converts(from, to), Ty::from(Some(to))),
            (Function::Combine(_), [a, b]) => fits(number(a) && number(b), Ty::Decimal),
            (Function::Divide, [a, b, scale]) => {
                fits(number(a) && number(b) && int(scale), Ty::Decimal)
            }
            (Function::Round, [a, scale]) => fits(number(a) && int(scale), Ty::Decimal),
            (Function::CompareDecimals, [a, b]) => fits(number(a) && number(b), Ty::Int),
            (Function::AddDays, [a, days]) => fits(date(a) && int(days), Ty::Date),
            (Function::DaysBetween, [a, b]) => fits(date(a) && date(b), Ty::Int),
            (Function::Year | Function::Month | Function::Day, [a]) => {
                fits(date(a) || *a == Ty::Timestamp, Ty::Int)
            }
            _ => None,
        }
    }

    /// Runs it. The types were checked; what is of a type known only now is checked here.
    pub(super) fn call<'a>(self, args: Vec<Operand<'a>>) -> Result<Operand<'a>, ExpressionError> {
        if self != Function::OrElse && args.iter().any(|arg| matches!(arg, Operand::Null)) {
            return Err(ExpressionError::new(format!(
                "{} is given null; write orElse(value, default) or ask `== null` before",
                self.usage()
            )));
        }
        match self {
            Function::OrElse => or_else(args),
            Function::Convert(to) => one(args).and_then(|value| convert(value, to)),
            Function::Size => one(args).and_then(|of| size(&of)),
            Function::Join => join(args),
            Function::Combine(_)
            | Function::Divide
            | Function::Round
            | Function::CompareDecimals => self.arithmetic(&args),
            Function::AddDays
            | Function::DaysBetween
            | Function::Year
            | Function::Month
            | Function::Day => self.calendar(&args),
            _ => self.on_text(&args),
        }
    }

    fn arithmetic<'a>(self, args: &[Operand<'_>]) -> Result<Operand<'a>, ExpressionError> {
        let number = |i: usize| {
            args.get(i)
                .and_then(Operand::to_decimal)
                .ok_or_else(|| self.unfit(args))
        };
        let owned = |number: Decimal| Operand::Decimal(Cow::Owned(number));
        match self {
            Function::Combine(how) => decimal::combine(how, &number(0)?, &number(1)?).map(owned),
            Function::Divide => {
                decimal::divide(&number(0)?, &number(1)?, self.int(args, 2)?).map(owned)
            }
            Function::Round => decimal::round(&number(0)?, self.int(args, 1)?).map(owned),
            _ => Ok(Operand::Int(match number(0)?.cmp(&number(1)?) {
                Ordering::Less => -1,
                Ordering::Equal => 0,
                Ordering::Greater => 1,
            })),
        }
    }

    fn calendar<'a>(self, args: &[Operand<'_>]) -> Result<Operand<'a>, ExpressionError> {
        let date = |i: usize| match args.get(i) {
            Some(Operand::Date(date)) => Ok(*date),
            Some(Operand::Timestamp(at)) => Ok(at.to_zoned(TimeZone::UTC).date()),
            _ => Err(self.unfit(args)),
        };
        match self {
            Function::AddDays => {
                let days = self.int(args, 1)?;
                add_days(date(0)?, days).map(Operand::Date)
            }
            Function::DaysBetween => date(0)?
                .until((Unit::Day, date(1)?))
                .map(|span| Operand::Int(i64::from(span.get_days())))
                .map_err(|_| self.unfit(args)),
            Function::Year => Ok(Operand::Int(i64::from(date(0)?.year()))),
            Function::Month => Ok(Operand::Int(i64::from(date(0)?.month()))),
            _ => Ok(Operand::Int(i64::from(date(0)?.day()))),
        }
    }

    fn on_text<'a>(self, args: &[Operand<'a>]) -> Result<Operand<'a>, ExpressionError> {
        let text = |i: usize| match args.get(i) {
            Some(Operand::Text(text)) => Ok(text.as_ref()),
            _ => Err(self.unfit(args)),
        };
        let owned = |text: String| Operand::Text(Cow::Owned(text));
        let subject = text(0)?;
        Ok(match self {
            Function::Contains => Operand::Bool(subject.contains(text(1)?)),
            Function::StartsWith => Operand::Bool(subject.starts_with(text(1)?)),
            Function::EndsWith => Operand::Bool(subject.ends_with(text(1)?)),
            Function::LowerAscii => owned(subject.to_ascii_lowercase()),
            Function::UpperAscii => owned(subject.to_ascii_uppercase()),
            Function::Trim => owned(subject.trim().to_owned()),
            Function::Replace => owned(replace(subject, text(1)?, text(2)?)?),
            Function::Substring => {
                let to = if args.len() > 2 {
                    Some(self.int(args, 2)?)
                } else {
                    None
                };
                owned(substring(subject, self.int(args, 1)?, to)?)
            }
            Function::IndexOf => {
                let found = subject.find(text(1)?);
                Operand::Int(found.map_or(-1, |at| subject[..at].chars().count() as i64))
            }
            Function::Split => {
                let parts: Vec<&str> = subject.split(text(1)?).take(LIST_MAX + 1).collect();
                if parts.len() > LIST_MAX {
                    return Err(too_long_list());
                }
                let part = |part: &str| owned(part.to_owned());
                Operand::List(parts.into_iter().map(part).collect())
            }
            _ => return Err(self.unfit(args)),
        })
    }

    fn int(self, args: &[Operand<'_>], i: usize) -> Result<i64, ExpressionError> {
        match args.get(i) {
            Some(Operand::Int(number)) => Ok(*number),
            _ => Err(self.unfit(args)),
        }
    }

    fn unfit(self, args: &[Operand<'_>]) -> ExpressionError {
        let types: Vec<&str> = args.iter().map(Operand::type_name).collect();
        ExpressionError::new(format!(
            "{} does not take ({})",
            self.usage(),
            types.join(", ")
        ))
    }
}

/// Tells whether a conversion function may take values of a type.
fn converts(from: &Ty, to: Type) -> bool {
    let from = match from {
        Ty::Null | Ty::Dyn => return true,
        Ty::Bool => Type::Bool,
        Ty::Int => Type::Int,
        Ty::Double => Type::Float,
        Ty::Decimal => Type::DECIMAL,
        Ty::Text => Type::Text,
        Ty::Date => Type::Date,
        Ty::Time => Type::Time,
        Ty::Timestamp => Type::Timestamp,
        Ty::Uuid => Type::Uuid,
        Ty::Bytes | Ty::List(_) | Ty::Map(..) => return false,
    };
    cast::CastPlan::choose(Some(from), to).is_ok()
}

fn convert<'a>(value: Operand<'a>, to: Type) -> Result<Operand<'a>, ExpressionError> {
    // The day of an instant is asked for in words here, so dropping the time of day is no loss.
    if let (Operand::Timestamp(at), Type::Date) = (&value, to) {
        return Ok(Operand::Date(at.to_zoned(TimeZone::UTC).date()));
    }
    let converted = cast::cast(value.into_value()?, to)
        .map_err(|error| ExpressionError::new(error.to_string()))?;
    Ok(match converted {
        crate::Value::Bool(v) => Operand::Bool(v),
        crate::Value::Int(v) => Operand::Int(v),
        crate::Value::Float(v) => Operand::Double(v),
        crate::Value::Decimal(v) => Operand::Decimal(Cow::Owned(v)),
        crate::Value::Text(v) => Operand::Text(Cow::Owned(v)),
        crate::Value::Date(v) => Operand::Date(v),
        crate::Value::Time(v) => Operand::Time(v),
        crate::Value::Timestamp(v) => Operand::Timestamp(v),
        crate::Value::Uuid(v) => Operand::Uuid(v),
        crate::Value::Bytes(v) => Operand::Bytes(Cow::Owned(v)),
        crate::Value::Null | crate::Value::Json(_) => Operand::Null,
    })
}

fn one(args: Vec<Operand<'_>>) -> Result<Operand<'_>, ExpressionError> {
    args.into_iter()
        .next()
        .ok_or_else(|| ExpressionError::new("an argument is missing"))
}

fn or_else(args: Vec<Operand<'_>>) -> Result<Operand<'_>, ExpressionError> {
    Ok(args
        .into_iter()
        .find(|arg| !matches!(arg, Operand::Null))
        .unwrap_or(Operand::Null))
}

fn size<'a>(of: &Operand<'_>) -> Result<Operand<'a>, ExpressionError> {
    let size = match of {
        Operand::Text(text) => text.chars().count(),
        Operand::Bytes(bytes) => bytes.len(),
        Operand::List(items) => items.len(),
        Operand::Map(entries) => entries.len(),
        other => {
            return Err(ExpressionError::new(format!(
                "{} has no size",
                other.type_name()
            )));
        }
    };
    Ok(Operand::Int(size as i64))
}

fn join(args: Vec<Operand<'_>>) -> Result<Operand<'_>, ExpressionError> {
    let unfit = || ExpressionError::new("list.join(separator) takes a list of texts");
    let mut args = args.into_iter();
    let Some(Operand::List(items)) = args.next() else {
        return Err(unfit());
    };
    let separator = match args.next() {
        None => Cow::Borrowed(""),
        Some(Operand::Text(separator)) => separator,
        Some(_) => return Err(unfit()),
    };
    let mut text = String::new();
    for (i, item) in items.iter().enumerate() {
        let Operand::Text(item) = item else {
            return Err(unfit());
        };
        if i > 0 {
            text.push_str(&separator);
        }
        text.push_str(item);
        if text.len() > TEXT_MAX {
            return Err(too_long_text());
        }
    }
    Ok(Operand::Text(Cow::Owned(text)))
}

fn replace(subject: &str, old: &str, new: &str) -> Result<String, ExpressionError> {
    let found = subject.matches(old).count();
    if subject
        .len()
        .saturating_add(found.saturating_mul(new.len()))
        > TEXT_MAX
    {
        return Err(too_long_text());
    }
    Ok(subject.replace(old, new))
}

/// Characters from `from` up to but not including `to`.
fn substring(subject: &str, from: i64, to: Option<i64>) -> Result<String, ExpressionError> {
    let length = subject.chars().count();
    let end = to.unwrap_or(length as i64);
    let (Ok(start), Ok(stop)) = (usize::try_from(from), usize::try_from(end)) else {
        return Err(outside(from, end, length));
    };
    if start > stop || stop > length {
        return Err(outside(from, end, length));
    }
    Ok(subject.chars().skip(start).take(stop - start).collect())
}

fn outside(from: i64, to: i64, length: usize) -> ExpressionError {
    ExpressionError::new(format!(
        "the characters {from} to {to} are not all inside a text of {length}"
    ))
}

fn add_days(date: Date, days: i64) -> Result<Date, ExpressionError> {
    let outside = || ExpressionError::new(format!("{days} days from there is not a date"));
    let span = Span::new().try_days(days).map_err(|_| outside())?;
    date.checked_add(span).map_err(|_| outside())
}

pub(super) fn too_long_text() -> ExpressionError {
    ExpressionError::new(format!("the text grows beyond {TEXT_MAX} bytes"))
}

pub(super) fn too_long_list() -> ExpressionError {
    ExpressionError::new(format!("the list has more than {LIST_MAX} items"))
}
