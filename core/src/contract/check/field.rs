//! The check of one field's value.

use regex::Regex;

use super::bounds::{Bound, FIRST_SECOND, LAST_SECOND, Length, Listed, Units, YEARS};
use super::fault::{Broken, Fault, Path, Seen, Sink};
use super::inside::Inside;
use super::scan::Scanner;
use super::{Violation, wire};
use crate::contract::format::FormatCheck;
use crate::contract::{Class, Field, Inner, Outcome, pattern};
use crate::error::{Error, Result};
use crate::value::{Type, Value};

/// One field's checks, compiled.
#[derive(Debug)]
pub(in crate::contract) struct FieldCheck {
    pub(super) name: String,
    pub(super) required: bool,
    pub(super) kind: Type,
    pub(super) nullable: bool,
    pub(super) class: Class,
    pub(super) outcome: Outcome,
    /// Of a text, of bytes, of a list or a map.
    pub(super) length: Option<Length>,
    /// The expression, compiled and as it is written.
    pub(super) pattern: Option<(Regex, String)>,
    pub(super) format: Option<FormatCheck>,
    pub(super) allowed: Option<Listed>,
    pub(super) minimum: Option<Bound>,
    pub(super) maximum: Option<Bound>,
    /// Precision, scale and bounds of a decimal at once, where they fit.
    pub(super) units: Option<Units>,
    pub(super) multiple_of: Option<i64>,
    pub(super) inside: Option<Inside>,
}

impl FieldCheck {
    /// Compiles a field's checks.
    ///
    /// # Errors
    /// A pattern that does not compile.
    pub(in crate::contract) fn compile(field: &Field) -> Result<FieldCheck> {
        Self::within(field, Class::Public)
    }

    /// Compiles the checks of a field that stands inside one of this class.
    pub(super) fn within(field: &Field, outer: Class) -> Result<FieldCheck> {
        let limits = &field.limits;
        let failed = |what: String| Error::config(what).with("field", &field.name);
        let pattern = limits.pattern.as_deref().map(|text| {
            pattern::compile(text)
                .map(|regex| (regex, text.to_owned()))
                .map_err(|why| failed(format!("the pattern `{text}` cannot be used: {why}")))
        });
        let format = limits.format.map(|format| {
            let compiled = format.compile();
            compiled.map_err(|why| failed(format!("the form `{format}` cannot be used: {why}")))
        });
        let bound = |value: &Option<Value>, exclusive| {
            value.clone().map(|value| Bound { value, exclusive })
        };
        let class = field.class.max(outer);
        let length = match &field.inner {
            Some(Inner::List { least, most, .. } | Inner::Map { least, most, .. }) => {
                Length::of(*least, *most)
            }
            _ => Length::of(limits.min_length, limits.max_length),
        };
        let inside = field.inner.as_ref().map(|inner| Inside::of(inner, class));
        Ok(FieldCheck {
            name: field.name.clone(),
            required: field.required,
            kind: field.kind,
            nullable: field.nullable,
            class,
            outcome: field.outcome,
            length,
            pattern: pattern.transpose()?,
            format: format.transpose()?,
            allowed: field
                .allowed
                .as_ref()
                .map(|allowed| Listed::new(&allowed.values)),
            minimum: bound(&limits.minimum, limits.exclusive_minimum),
            maximum: bound(&limits.maximum, limits.exclusive_maximum),
            units: Units::of(field),
            multiple_of: match limits.multiple_of {
                Some(Value::Int(step)) if step != 0 => Some(step),
                _ => None,
            },
            inside: inside.transpose()?,
        })
    }

    /// Judges a value; `None` where nothing is wrong with it.
    pub(in crate::contract) fn judge(&self, value: &Value) -> Option<Violation> {
        let mut first = None;
        self.check(value, &mut |fault| {
            first.get_or_insert_with(|| fault.violation());
        });
        first
    }

    /// Whether nothing is wrong with a value of the commonest sorts; of others it says no, and [`FieldCheck::check`] judges them.
    #[inline]
    pub(super) fn is_plainly_sound(&self, value: &Value) -> bool {
        match (value, self.kind) {
            (Value::Text(text), Type::Text) => {
                self.pattern.is_none()
                    && self.format.is_none()
                    && self
                        .length
                        .as_ref()
                        .is_none_or(|length| length.holds_text(text))
                    && self
                        .allowed
                        .as_ref()
                        .is_none_or(|list| list.holds_text(text))
            }
            (Value::Date(date), Type::Date) => {
                self.allowed.is_none()
                    && self.minimum.is_none()
                    && self.maximum.is_none()
                    && YEARS.contains(&date.year())
            }
            (Value::Null, _) => self.nullable,
            _ => false,
        }
    }

    /// Judges a value of a record, telling everything that is wrong with it.
    pub(super) fn check(&self, value: &Value, sink: &mut Sink<'_>) {
        let path = Path::Member(&Path::Record, &self.name);
        let mut tell = |broken, seen| {
            sink(Fault {
                path: &path,
                check: self,
                broken,
                seen,
            });
        };
        let (Value::Json(text), Type::Json) = (value, self.kind) else {
            if let Some(broken) = self.broken(value) {
                tell(broken, Seen::Value(value));
            }
            return;
        };
        let mut scan = Scanner::new(text);
        let read = self.json(&mut scan, &path, 0, sink);
        if let Err(malformed) = read.and_then(|()| scan.end()) {
            sink(Fault {
                path: &path,
                check: self,
                broken: Broken::Malformed(malformed.what),
                seen: Seen::Nothing,
            });
        }
    }

    /// Tells that a whole record has no such field.
    pub(super) fn missing(&self, sink: &mut Sink<'_>) {
        sink(Fault {
            path: &Path::Member(&Path::Record, &self.name),
            check: self,
            broken: Broken::Missing,
            seen: Seen::Nothing,
        });
    }

    /// What is wrong with a value, the inside of documents left out.
    pub(super) fn broken(&self, value: &Value) -> Option<Broken> {
        match (value, self.kind) {
            (Value::Null, _) => return (!self.nullable).then_some(Broken::Null),
            (Value::Text(text), Type::Text) => return self.text(text),
            (Value::Bytes(bytes), Type::Bytes) => {
                if let Some(length) = &self.length
                    && !length.holds(bytes.len())
                {
                    return Some(Broken::Length(bytes.len()));
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
            (Value::Bool(_), Type::Bool)
            | (Value::Time(_), Type::Time)
            | (Value::Uuid(_), Type::Uuid)
            | (Value::Json(_), Type::Json) => {}
            _ => return Some(Broken::Type(value.type_name())),
        }
        self.listed_and_bounded(value)
    }

    /// What is wrong with a text in a field of texts.
    #[inline]
    pub(super) fn text(&self, text: &str) -> Option<Broken> {
        if let Some(length) = &self.length
            && !length.holds_text(text)
        {
            return Some(Broken::Length(text.chars().count()));
        }
        if let Some((pattern, _)) = &self.pattern
            && !pattern.is_match(text)
        {
            return Some(Broken::Pattern);
        }
        if let Some(format) = &self.format
            && !format.holds(text)
        {
            return Some(Broken::Format);
        }
        let listed = self
            .allowed
            .as_ref()
            .is_none_or(|list| list.holds_text(text));
        (!listed).then_some(Broken::Allowed)
    }

    /// What is wrong with a text in a field whose values travel as texts.
    pub(super) fn written(&self, text: &str) -> Option<Broken> {
        if self.kind == Type::Text {
            return self.text(text);
        }
        if let Some(units) = &self.units
            && self.allowed.is_none()
            && units.holds(text)
            && wire::is_decimal(text)
        {
            return None;
        }
        match wire::read_text(self.kind, text) {
            Some(value) => self.broken(&value),
            None if self.kind == Type::Timestamp && is_elsewhere(text) => Some(Broken::Offset),
            None => Some(Broken::Type("text")),
        }
    }

    pub(super) fn listed_and_bounded(&self, value: &Value) -> Option<Broken> {
        if let Some(allowed) = &self.allowed
            && !allowed.holds(value)
        {
            return Some(Broken::Allowed);
        }
        if let Some(bound) = &self.minimum
            && !bound.is_least(value)
        {
            return Some(Broken::Minimum);
        }
        if let Some(bound) = &self.maximum
            && !bound.is_greatest(value)
        {
            return Some(Broken::Maximum);
        }
        None
    }

    /// What belongs into the field, for messages.
    pub(super) fn wanted(&self) -> String {
        match &self.inside {
            Some(inside) => inside.name().to_owned(),
            None => self.kind.to_string(),
        }
    }

    /// The rules for too few and too many, and of what.
    pub(super) fn count_rules(&self) -> (&'static str, &'static str, &'static str) {
        match &self.inside {
            Some(Inside::Map { .. }) => ("min_entries", "max_entries", "entries"),
            _ => ("min_items", "max_items", "items"),
        }
    }
}

/// Whether a text is a time with an offset from UTC, or a local one, and so would be a timestamp once it were written in UTC.
fn is_elsewhere(text: &str) -> bool {
    let clock = text.len() > "2020-01-01".len() && !text.ends_with('Z');
    clock
        && (text.parse::<jiff::Timestamp>().is_ok()
            || text.parse::<jiff::civil::DateTime>().is_ok())
}
