//! What a column's rule does to one value, in both directions.

use std::fmt;

use jiff::civil::date;
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::TimeZone;

use crate::contract::Field;
use crate::gate::cast::{self, CastError, CastPlan};
use crate::gate::mapping::{FieldRule, ValueMaps};
use crate::gate::problem::{BAD_FORMAT, CONFLICTING, Problems, UNKNOWN_VALUES, WRONG_TYPE};
use crate::shape::Column;
use crate::value::{Decimal, Type, Value};

use super::values::Values;

/// Most digits that `scale` may state; more do not fit into a 64-bit count.
const SCALE_MAX: u32 = 18;

/// Which way a plan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the system to the contract.
    Read,
    /// From the contract to the system.
    Write,
}

/// A column's rule, with the cast that ends it.
#[derive(Debug)]
pub(super) struct Translation {
    rule: Rule,
    /// To the field's type when reading, to the column's when writing.
    cast: CastPlan,
    /// The field's type.
    field: Type,
}

#[derive(Debug)]
enum Rule {
    Plain,
    Values(Values),
    Scale(u32),
    Prefix(String),
    Format(String),
}

/// Why a value could not be translated; shows no value.
#[derive(Debug)]
pub(super) struct Fault {
    /// The broken rule.
    pub(super) rule: &'static str,
    /// What is wrong.
    pub(super) why: String,
}

impl Fault {
    fn new(rule: &'static str, why: impl fmt::Display) -> Fault {
        Fault {
            rule,
            why: why.to_string(),
        }
    }
}

impl From<CastError> for Fault {
    fn from(error: CastError) -> Self {
        Fault::new("type", error)
    }
}

impl Translation {
    /// Compiles what a field's rule says of its column; `None` where that cannot work.
    pub(super) fn compile(
        rule: &FieldRule,
        column: &Column,
        field: &Field,
        values: &ValueMaps,
        direction: Direction,
        problems: &mut Problems,
    ) -> Option<Translation> {
        let stated = [
            ("values", rule.values.is_some()),
            ("scale", rule.scale.is_some()),
            ("prefix", rule.prefix.is_some()),
            ("format", rule.format.is_some()),
            ("link", rule.link.is_some()),
        ];
        let stated: Vec<&str> = stated
            .iter()
            .filter(|(_, on)| *on)
            .map(|(n, _)| *n)
            .collect();
        if stated.len() > 1 {
            problems.error(
                CONFLICTING,
                &["fields", &field.name],
                format!("`{}` has {} at once", field.name, stated.join(" and ")),
                "a column takes at most one of values, scale, prefix, format and link",
            );
            return None;
        }
        let path = [
            "fields",
            &field.name,
            stated.first().copied().unwrap_or("column"),
        ];
        let place = match stated.first() {
            Some(_) => &path[..],
            None => &path[..2],
        };
        let mut typed = Typed {
            column,
            field,
            direction,
            place,
            problems,
        };
        let rule = typed.rule(rule, values)?;
        let cast = match (direction, &rule) {
            (Direction::Read, Rule::Values(_)) => CastPlan::keep(),
            (Direction::Read, _) => CastPlan::choose(None, field.kind).ok()?,
            (Direction::Write, Rule::Values(_)) => CastPlan::keep(),
            (Direction::Write, _) => match column.kind {
                Some(kind) => CastPlan::choose(None, kind).ok()?,
                None => CastPlan::keep(),
            },
        };
        Some(Translation {
            rule,
            cast,
            field: field.kind,
        })
    }

    /// Whether values are moved as they are, but for a cast.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.rule, Rule::Plain)
    }

    /// The field's value for a column's.
    pub(super) fn read(&self, value: &Value) -> Result<Value, Fault> {
        if value.is_null() {
            return Ok(Value::Null);
        }
        match &self.rule {
            Rule::Plain => Ok(self.cast.apply_ref(value)?),
            Rule::Values(values) => values.forth(value).ok_or_else(|| unknown(values)),
            Rule::Scale(scale) => {
                let Value::Int(units) = cast::cast(value.clone(), Type::Int)? else {
                    return Ok(Value::Null);
                };
                let number = Value::Decimal(Decimal::from_units(units, *scale));
                Ok(self.cast.apply(number)?)
            }
            Rule::Prefix(prefix) => {
                let text = as_text(value)?;
                let rest = text.strip_prefix(prefix.as_str());
                let rest = rest.ok_or_else(|| {
                    Fault::new("prefix", format!("it does not begin with `{prefix}`"))
                })?;
                Ok(self.cast.apply(Value::text(rest))?)
            }
            Rule::Format(format) => {
                let text = as_text(value)?;
                let value = parse(format, &text, self.field).ok_or_else(|| {
                    Fault::new(
                        "format",
                        format!("it is not a {} in the format `{format}`", self.field),
                    )
                })?;
                Ok(value)
            }
        }
    }

    /// The column's value for a field's.
    pub(super) fn write(&self, value: &Value) -> Result<Value, Fault> {
        if value.is_null() {
            return Ok(Value::Null);
        }
        match &self.rule {
            Rule::Plain => Ok(self.cast.apply_ref(value)?),
            Rule::Values(values) => values.back(value).ok_or_else(|| unknown(values)),
            Rule::Scale(scale) => {
                let Value::Decimal(number) = cast::cast(value.clone(), Type::DECIMAL)? else {
                    return Ok(Value::Null);
                };
                let units = number.to_units(*scale).ok_or_else(|| {
                    Fault::new(
                        "scale",
                        format!("it is not a whole number of 64 bits at {scale} decimal places"),
                    )
                })?;
                Ok(self.cast.apply(Value::Int(units))?)
            }
            Rule::Prefix(prefix) => {
                let text = format!("{prefix}{}", as_text(value)?);
                Ok(self.cast.apply(Value::Text(text))?)
            }
            Rule::Format(format) => {
                let text = print(format, value);
                // What the format leaves out would be lost without a word.
                let text = text.filter(|text| {
                    parse(format, text, self.field).is_some_and(|back| back == *value)
                });
                let text = text.ok_or_else(|| {
                    Fault::new(
                        "format",
                        format!("the format `{format}` does not hold all of it"),
                    )
                })?;
                Ok(self.cast.apply(Value::Text(text))?)
            }
        }
    }
}

/// The types around a rule while it is compiled.
struct Typed<'a, 'p> {
    column: &'a Column,
    field: &'a Field,
    direction: Direction,
    place: &'a [&'a str],
    problems: &'p mut Problems,
}

impl Typed<'_, '_> {
    fn rule(&mut self, rule: &FieldRule, values: &ValueMaps) -> Option<Rule> {
        if let Some(name) = &rule.values {
            return self.values(name, values);
        }
        if let Some(scale) = rule.scale {
            return self.scale(scale);
        }
        if let Some(prefix) = &rule.prefix {
            return self.prefix(prefix);
        }
        if let Some(format) = &rule.format {
            return self.format(format);
        }
        let (from, to) = match self.direction {
            Direction::Read => (self.column.kind, Some(self.field.kind)),
            Direction::Write => (Some(self.field.kind), self.column.kind),
        };
        match to.map(|to| CastPlan::choose(from, to)) {
            Some(Err(_)) => self.wrong_type("translate it with a rule, or map another column"),
            _ => Some(Rule::Plain),
        }
    }

    fn values(&mut self, name: &str, values: &ValueMaps) -> Option<Rule> {
        let Some(entries) = values.get(name) else {
            let known = values.keys().map(String::as_str);
            let help = crate::diagnostic::suggestion(name, known);
            let message = format!("no such value map `{name}`");
            self.problems
                .error(UNKNOWN_VALUES, self.place, message, help);
            return None;
        };
        Some(Rule::Values(Values::compile(
            name,
            entries,
            self.column,
            self.field,
            self.direction,
            self.problems,
        )))
    }

    fn scale(&mut self, scale: u32) -> Option<Rule> {
        if scale > SCALE_MAX {
            self.problems.error(
                CONFLICTING,
                self.place,
                format!("a scale of {scale} does not fit into a 64-bit count"),
                format!("give a scale from 0 to {SCALE_MAX}; 2 is cents"),
            );
            return None;
        }
        let counts = CastPlan::choose(self.column.kind, Type::Int).is_ok();
        if !matches!(self.field.kind, Type::Decimal { .. }) || !counts {
            return self.wrong_type("scale is for a column of integers and a field of decimals");
        }
        Some(Rule::Scale(scale))
    }

    fn prefix(&mut self, prefix: &str) -> Option<Rule> {
        let holds = CastPlan::choose(Some(Type::Text), self.field.kind).is_ok();
        if !self.column_is_text() || !holds {
            return self.wrong_type("prefix is for a column of text");
        }
        Some(Rule::Prefix(prefix.to_owned()))
    }

    fn format(&mut self, format: &str) -> Option<Rule> {
        let noon = date(2001, 2, 3).at(16, 5, 6, 0);
        let sample = match self.field.kind {
            Type::Date => Value::Date(noon.date()),
            Type::Time => Value::Time(noon.time()),
            Type::Timestamp => Value::Timestamp(TimeZone::UTC.to_timestamp(noon).ok()?),
            _ => return self.wrong_type("format is for fields of type date, time or timestamp"),
        };
        if !self.column_is_text() {
            return self.wrong_type("format is for a column of text");
        }
        let read = print(format, &sample).and_then(|text| parse(format, &text, self.field.kind));
        if read.is_none() {
            self.problems.error(
                BAD_FORMAT,
                self.place,
                format!(
                    "no {} can be read from the format `{format}`",
                    self.field.kind
                ),
                "use strftime signs such as `%d.%m.%Y` or `%Y-%m-%d %H:%M:%S`",
            );
            return None;
        }
        Some(Rule::Format(format.to_owned()))
    }

    fn column_is_text(&self) -> bool {
        matches!(self.column.kind, None | Some(Type::Text))
    }

    fn wrong_type<T>(&mut self, help: &str) -> Option<T> {
        let held = self.column.kind.map_or("anything", Type::name);
        let message = format!(
            "the column `{}` holds {held}, which does not go together with the field `{}` of type {}",
            self.column.name, self.field.name, self.field.kind
        );
        self.problems.error(WRONG_TYPE, self.place, message, help);
        None
    }
}

fn unknown(values: &Values) -> Fault {
    Fault::new(
        "values",
        format!("the value map `{}` has nothing for it", values.name),
    )
}

fn as_text(value: &Value) -> Result<String, Fault> {
    match cast::cast(value.clone(), Type::Text)? {
        Value::Text(text) => Ok(text),
        other => Ok(other.to_string()),
    }
}

fn print(format: &str, value: &Value) -> Option<String> {
    let time = match value {
        Value::Date(date) => BrokenDownTime::from(*date),
        Value::Time(time) => BrokenDownTime::from(*time),
        Value::Timestamp(at) => BrokenDownTime::from(&at.to_zoned(TimeZone::UTC)),
        _ => return None,
    };
    time.to_string(format).ok()
}

/// Reads text in a format. Without an offset a timestamp is taken as UTC.
fn parse(format: &str, text: &str, kind: Type) -> Option<Value> {
    let time = strtime::parse(format, text).ok()?;
    // `%Y` takes `24` for the year 24, and nobody who writes that means it.
    if kind != Type::Time && time.year().is_some_and(|year| (0..100).contains(&year)) {
        return None;
    }
    Some(match kind {
        Type::Date => Value::Date(time.to_date().ok()?),
        Type::Time => Value::Time(time.to_time().ok()?),
        Type::Timestamp if time.offset().is_some() => Value::Timestamp(time.to_timestamp().ok()?),
        Type::Timestamp => {
            let at = time.to_datetime().ok()?;
            Value::Timestamp(TimeZone::UTC.to_timestamp(at).ok()?)
        }
        _ => return None,
    })
}
