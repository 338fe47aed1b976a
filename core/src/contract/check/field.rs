//! The check of one field's value.

use std::cmp::Ordering;
use std::collections::HashSet;

use regex::Regex;

use super::Violation;
use crate::contract::{Class, Field, pattern};
use crate::error::{Error, Result};
use crate::value::{Type, Value};

/// Lists of texts up to this length are compared one by one, longer ones by hash.
const SHORT_LIST: usize = 8;
/// Most characters of a value that a message shows.
const SHOWN_MAX: usize = 64;
/// Most allowed values that a message lists.
const LISTED_MAX: usize = 10;
/// The years that ISO 8601 writes with four digits, as events do.
const YEARS: std::ops::RangeInclusive<i16> = 0..=9999;

/// One field's checks, compiled.
#[derive(Debug)]
pub(in crate::contract) struct FieldCheck {
    pub(super) name: String,
    pub(super) required: bool,
    kind: Type,
    nullable: bool,
    class: Class,
    length: Option<Length>,
    pattern: Option<Pattern>,
    allowed: Option<Allowed>,
    minimum: Option<Bound>,
    maximum: Option<Bound>,
    /// Precision, scale and bounds of a decimal at once, where they fit.
    units: Option<Units>,
    multiple_of: Option<i64>,
}

#[derive(Debug)]
struct Length {
    least: usize,
    most: usize,
}

#[derive(Debug)]
struct Pattern {
    regex: Regex,
    written: String,
}

#[derive(Debug)]
struct Bound {
    value: Value,
    exclusive: bool,
}

#[derive(Debug)]
struct Allowed {
    values: Vec<Value>,
    texts: Option<HashSet<Box<str>>>,
}

/// The range of a decimal as a count of its smallest unit: the quick way to a yes.
#[derive(Debug)]
struct Units {
    scale: usize,
    low: i64,
    high: i64,
}

/// A broken rule before it is put into words.
enum Broken {
    Type,
    Null,
    Length,
    Pattern,
    Allowed,
    Minimum,
    Maximum,
    Multiple,
    Precision,
    Scale,
    Finite,
    Year,
}

impl FieldCheck {
    /// Compiles a field's checks.
    ///
    /// # Errors
    /// A pattern that does not compile.
    pub(in crate::contract) fn compile(field: &Field) -> Result<FieldCheck> {
        let limits = &field.limits;
        let pattern = limits
            .pattern
            .as_deref()
            .map(|text| {
                let regex = pattern::compile(text).map_err(|why| {
                    Error::config(format!("the pattern `{text}` cannot be used: {why}"))
                        .with("field", &field.name)
                })?;
                Ok::<_, Error>(Pattern {
                    regex,
                    written: text.to_owned(),
                })
            })
            .transpose()?;
        let size = |length: u64| usize::try_from(length).unwrap_or(usize::MAX);
        let bounded = limits.min_length.is_some() || limits.max_length.is_some();
        let bound = |value: &Option<Value>, exclusive| {
            value.clone().map(|value| Bound { value, exclusive })
        };
        Ok(FieldCheck {
            name: field.name.clone(),
            required: field.required,
            kind: field.kind,
            nullable: field.nullable,
            class: field.class,
            length: bounded.then(|| Length {
                least: limits.min_length.map_or(0, size),
                most: limits.max_length.map_or(usize::MAX, size),
            }),
            pattern,
            allowed: field
                .allowed
                .as_ref()
                .map(|allowed| Allowed::new(&allowed.values)),
            minimum: bound(&limits.minimum, limits.exclusive_minimum),
            maximum: bound(&limits.maximum, limits.exclusive_maximum),
            units: Units::of(field),
            multiple_of: match limits.multiple_of {
                Some(Value::Int(step)) if step != 0 => Some(step),
                _ => None,
            },
        })
    }

    /// Judges a value; `None` where nothing is wrong with it.
    pub(in crate::contract) fn judge(&self, value: &Value) -> Option<Violation> {
        self.broken(value)
            .map(|broken| self.violation(&broken, value))
    }

    /// The violation of a whole record without this field.
    pub(super) fn missing(&self) -> Violation {
        self.say("required", "the field is required and absent".to_owned())
    }

    fn broken(&self, value: &Value) -> Option<Broken> {
        match (value, self.kind) {
            (Value::Null, _) => return (!self.nullable).then_some(Broken::Null),
            (Value::Text(text), Type::Text) => {
                // A character has one to four bytes, so most texts need no counting.
                if let Some(length) = &self.length
                    && !(text.len() <= length.most && text.len().div_ceil(4) >= length.least)
                    && !length.holds(text.chars().count())
                {
                    return Some(Broken::Length);
                }
                if let Some(pattern) = &self.pattern
                    && !pattern.regex.is_match(text)
                {
                    return Some(Broken::Pattern);
                }
            }
            (Value::Bytes(bytes), Type::Bytes) => {
                if let Some(length) = &self.length
                    && !length.holds(bytes.len())
                {
                    return Some(Broken::Length);
                }
            }
            (Value::Int(number), Type::Int) => {
                if let Some(step) = self.multiple_of
                    && number.checked_rem(step).is_some_and(|rest| rest != 0)
                {
                    return Some(Broken::Multiple);
                }
            }
            (Value::Decimal(number), Type::Decimal { precision, scale }) => {
                if let Some(units) = &self.units
                    && self.allowed.is_none()
                    && units.holds(number.as_str())
                {
                    return None;
                }
                let has = number.scale();
                if scale.is_some_and(|scale| scale != has) {
                    return Some(Broken::Scale);
                }
                if precision.is_some_and(|most| number.integer_digits() + has > most.max(has)) {
                    return Some(Broken::Precision);
                }
            }
            (Value::Float(number), Type::Float) => {
                if !number.is_finite() {
                    return Some(Broken::Finite);
                }
            }
            (Value::Date(date), Type::Date) => {
                if !YEARS.contains(&date.year()) {
                    return Some(Broken::Year);
                }
            }
            (Value::Timestamp(at), Type::Timestamp) => {
                if !(FIRST_SECOND..=LAST_SECOND).contains(&at.as_second()) {
                    return Some(Broken::Year);
                }
            }
            (Value::Json(text), Type::Json) => {
                // On the wire a JSON null is a null.
                if !self.nullable && text.trim() == "null" {
                    return Some(Broken::Null);
                }
            }
            (Value::Bool(_), Type::Bool)
            | (Value::Time(_), Type::Time)
            | (Value::Uuid(_), Type::Uuid) => {}
            _ => return Some(Broken::Type),
        }
        self.listed_and_bounded(value)
    }

    fn listed_and_bounded(&self, value: &Value) -> Option<Broken> {
        if let Some(allowed) = &self.allowed
            && !allowed.holds(value)
        {
            return Some(Broken::Allowed);
        }
        if let Some(bound) = &self.minimum {
            let holds = match compare(value, &bound.value) {
                Some(Ordering::Greater) | None => true,
                Some(Ordering::Equal) => !bound.exclusive,
                Some(Ordering::Less) => false,
            };
            if !holds {
                return Some(Broken::Minimum);
            }
        }
        if let Some(bound) = &self.maximum {
            let holds = match compare(value, &bound.value) {
                Some(Ordering::Less) | None => true,
                Some(Ordering::Equal) => !bound.exclusive,
                Some(Ordering::Greater) => false,
            };
            if !holds {
                return Some(Broken::Maximum);
            }
        }
        None
    }

    fn violation(&self, broken: &Broken, value: &Value) -> Violation {
        let shown = self.shown(value);
        match broken {
            Broken::Type => self.say(
                "type",
                format!(
                    "a {} stands where a {} belongs",
                    value.type_name(),
                    self.kind
                ),
            ),
            Broken::Null => self.say("nullable", "the field may not be null".to_owned()),
            Broken::Length => self.length(value),
            Broken::Pattern => {
                let pattern = self.pattern.as_ref().map_or("", |pattern| &pattern.written);
                self.say("pattern", format!("{shown} does not match `{pattern}`"))
            }
            Broken::Allowed => self.say("allowed", format!("{shown} is not {}", self.listed())),
            Broken::Minimum => self.bound(
                "minimum",
                &shown,
                self.minimum.as_ref(),
                ["below", "not above"],
            ),
            Broken::Maximum => self.bound(
                "maximum",
                &shown,
                self.maximum.as_ref(),
                ["above", "not below"],
            ),
            Broken::Multiple => self.say(
                "multiple_of",
                format!(
                    "{shown} is not a multiple of {}",
                    self.multiple_of.unwrap_or_default()
                ),
            ),
            Broken::Precision => self.say(
                "precision",
                format!("{shown} has too many digits for {}", self.kind),
            ),
            Broken::Scale => self.say(
                "scale",
                format!(
                    "{shown} has not the digits after the point of {}",
                    self.kind
                ),
            ),
            Broken::Finite => self.say("type", format!("{shown} is not a finite number")),
            Broken::Year => self.say("year", format!("{shown} is not in the years 0000 to 9999")),
        }
    }

    fn length(&self, value: &Value) -> Violation {
        let (count, unit) = match value {
            Value::Text(text) => (text.chars().count(), "characters"),
            Value::Bytes(bytes) => (bytes.len(), "bytes"),
            _ => (0, "characters"),
        };
        let Some(length) = &self.length else {
            return self.say("max_length", String::new());
        };
        if count < length.least {
            let least = length.least;
            self.say(
                "min_length",
                format!("the value has {count} {unit}; at least {least} are needed"),
            )
        } else {
            let most = length.most;
            self.say(
                "max_length",
                format!("the value has {count} {unit}; at most {most} are allowed"),
            )
        }
    }

    fn bound(&self, rule: &str, shown: &str, bound: Option<&Bound>, sides: [&str; 2]) -> Violation {
        let [inclusive, exclusive] = sides;
        let message = bound.map(|bound| {
            let side = if bound.exclusive {
                exclusive
            } else {
                inclusive
            };
            format!("{shown} is {side} {}", bound.value)
        });
        self.say(rule, message.unwrap_or_default())
    }

    fn say(&self, rule: &str, message: String) -> Violation {
        Violation {
            field: Some(self.name.clone()),
            rule: rule.to_owned(),
            message,
        }
    }

    /// The value for a message, or a stand-in where the field's class hides it.
    fn shown(&self, value: &Value) -> String {
        match self.class {
            Class::Personal => return "the value (personal, not shown)".to_owned(),
            Class::Secret => return "the value (secret, not shown)".to_owned(),
            Class::Public | Class::Internal => {}
        }
        let text = value.to_string();
        let mut short: String = text.chars().take(SHOWN_MAX).collect();
        if short.len() < text.len() {
            short.push('…');
        }
        format!("`{short}`")
    }

    fn listed(&self) -> String {
        let values = self
            .allowed
            .as_ref()
            .map_or(&[][..], |allowed| &allowed.values);
        let mut names: Vec<String> = values
            .iter()
            .take(LISTED_MAX)
            .map(|value| value.to_string().chars().take(SHOWN_MAX).collect())
            .collect();
        if values.len() > LISTED_MAX {
            names.push(format!("{} more", values.len() - LISTED_MAX));
        }
        format!("one of {}", names.join(", "))
    }
}

/// 0000-01-01T00:00:00Z.
const FIRST_SECOND: i64 = -62_167_219_200;
/// 9999-12-31T23:59:59Z.
const LAST_SECOND: i64 = 253_402_300_799;

/// Compares two values of one ordered type; `None` for all others.
pub(in crate::contract) fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Decimal(a), Value::Decimal(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Date(a), Value::Date(b)) => Some(a.cmp(b)),
        (Value::Time(a), Value::Time(b)) => Some(a.cmp(b)),
        (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

impl Units {
    /// Most digits whose count fits; wider decimals are compared as text.
    const DIGITS_MAX: u32 = 18;

    fn of(field: &Field) -> Option<Units> {
        let Type::Decimal {
            precision: Some(precision @ 1..=Self::DIGITS_MAX),
            scale: Some(scale),
        } = field.kind
        else {
            return None;
        };
        let limits = &field.limits;
        let greatest = 10_i64.pow(precision) - 1;
        // A bound between two units or far out leaves the judgement to the slow way.
        let bound = |value: &Option<Value>, none: i64, step: i64| match value {
            None => Some(none),
            Some(Value::Decimal(number)) => number.to_units(scale)?.checked_add(step),
            Some(_) => None,
        };
        let low = bound(&limits.minimum, -greatest, limits.exclusive_minimum.into())?;
        let high = bound(
            &limits.maximum,
            greatest,
            -i64::from(limits.exclusive_maximum),
        )?;
        Some(Units {
            scale: scale as usize,
            low: low.max(-greatest),
            high: high.min(greatest),
        })
    }

    /// Whether a plain decimal text has the scale and lies in the range.
    fn holds(&self, text: &str) -> bool {
        let (negative, digits) = match text.as_bytes() {
            [b'-', rest @ ..] => (true, rest),
            all => (false, all),
        };
        let fraction = self.scale + usize::from(self.scale > 0);
        if digits.len() > Self::DIGITS_MAX as usize + usize::from(self.scale > 0) {
            return false;
        }
        let point = digits.len().checked_sub(fraction);
        let Some(point) = point.filter(|point| *point > 0) else {
            return false;
        };
        let mut units = 0_i64;
        for (i, byte) in digits.iter().enumerate() {
            match byte {
                b'0'..=b'9' => units = units * 10 + i64::from(byte - b'0'),
                b'.' if i == point && self.scale > 0 => {}
                _ => return false,
            }
        }
        if self.scale > 0 && digits[point] != b'.' {
            return false;
        }
        let units = if negative { -units } else { units };
        (self.low..=self.high).contains(&units)
    }
}

impl Length {
    fn holds(&self, length: usize) -> bool {
        (self.least..=self.most).contains(&length)
    }
}

impl Allowed {
    fn new(values: &[Value]) -> Self {
        let text = |value: &Value| match value {
            Value::Text(text) => Some(text.as_str().into()),
            _ => None,
        };
        let long = values.len() > SHORT_LIST;
        Allowed {
            values: values.to_vec(),
            texts: long.then(|| values.iter().map(text).collect()).flatten(),
        }
    }

    fn holds(&self, value: &Value) -> bool {
        match (value, &self.texts) {
            (Value::Text(text), Some(texts)) => texts.contains(text.as_str()),
            _ => self.values.contains(value),
        }
    }
}
