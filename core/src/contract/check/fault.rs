//! Faults of values, and their words.
//!
//! A fault borrows what it is about, so that counting faults costs nothing; only [`Fault::violation`] builds texts.
//! Words never show a value whose class is personal or secret, nor a name that stands inside one.

use std::fmt::{self, Write as _};

use super::Violation;
use super::field::FieldCheck;
use crate::contract::Class;
use crate::diagnostic::a;
use crate::value::Value;

/// Most characters of a value that a message shows.
const SHOWN_MAX: usize = 64;
/// Most allowed values that a message lists.
const LISTED_MAX: usize = 10;

/// The way from a record to a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Path<'p> {
    /// The record itself.
    Record,
    /// A named member.
    Member(&'p Path<'p>, &'p str),
    /// An item of a list.
    Item(&'p Path<'p>, usize),
    /// An entry of a map.
    Entry(&'p Path<'p>, &'p str),
}

/// What breaks a rule.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seen<'v> {
    /// Nothing that can be shown.
    Nothing,
    /// A typed value.
    Value(&'v Value),
    /// A text.
    Text(&'v str),
}

/// A broken rule before it is put into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// Another type, by its name.
    Type(&'static str),
    /// A timestamp that is not in UTC, or does not say so.
    Offset,
    Null,
    Missing,
    /// Characters or bytes.
    Length(usize),
    Pattern,
    Format,
    Allowed,
    Minimum,
    Maximum,
    Multiple,
    Precision,
    Scale,
    Finite,
    Year,
    /// A name that is not agreed on.
    Unknown,
    /// A name that stands twice.
    Twice,
    /// How many items a list has, or entries a map.
    Count(usize),
    /// Which item equals an earlier one.
    Repeated(usize),
    /// Not JSON, and why.
    Malformed(&'static str),
}

/// One broken rule of one value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault<'f> {
    pub(super) path: &'f Path<'f>,
    pub(super) check: &'f FieldCheck,
    pub(super) broken: Broken,
    pub(super) seen: Seen<'f>,
}

/// Takes faults as they are found.
pub(super) type Sink<'s> = dyn FnMut(Fault<'_>) + 's;

impl Path<'_> {
    fn write(&self, out: &mut String, exact: bool) {
        // Writing to a text cannot fail.
        let _ = match self {
            Path::Record => Ok(()),
            Path::Member(of, name) => {
                of.write(out, exact);
                let dot = if out.is_empty() { "" } else { "." };
                write!(out, "{dot}{}", Short(name))
            }
            Path::Item(of, at) => {
                of.write(out, exact);
                if exact {
                    write!(out, "[{at}]")
                } else {
                    write!(out, "[]")
                }
            }
            Path::Entry(of, name) => {
                of.write(out, exact);
                if exact {
                    write!(out, ".{}", Short(name))
                } else {
                    write!(out, ".*")
                }
            }
        };
    }
}

/// A name or value, short enough for a message.
struct Short<'t>(&'t str);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(SHOWN_MAX) {
            Some((end, _)) => write!(f, "{}…", &self.0[..end]),
            None => f.write_str(self.0),
        }
    }
}

impl Fault<'_> {
    /// The rule's id.
    pub(super) fn rule(&self) -> &'static str {
        let below = |length: usize| {
            let least = self.check.length.as_ref().map_or(0, |bound| bound.least);
            length < least
        };
        match self.broken {
            Broken::Type(_) | Broken::Offset | Broken::Finite => "type",
            Broken::Null => "nullable",
            Broken::Missing => "required",
            Broken::Length(length) if below(length) => "min_length",
            Broken::Length(_) => "max_length",
            Broken::Pattern => "pattern",
            Broken::Format => "format",
            Broken::Allowed => "allowed",
            Broken::Minimum => "minimum",
            Broken::Maximum => "maximum",
            Broken::Multiple => "multiple_of",
            Broken::Precision => "precision",
            Broken::Scale => "scale",
            Broken::Year => "year",
            Broken::Unknown => "unknown",
            Broken::Twice => "duplicate",
            Broken::Count(count) if below(count) => self.check.count_rules().0,
            Broken::Count(_) => self.check.count_rules().1,
            Broken::Repeated(_) => "unique_items",
            Broken::Malformed(_) => "json",
        }
    }

    /// The way to the value for people; entries of protected maps are not named.
    fn way(&self) -> Option<String> {
        self.written(self.check.is_visible())
    }

    /// The way with positions and entries left open, such as `tags[]`: the same for all values of one field.
    pub(super) fn general(&self) -> Option<String> {
        self.written(false)
    }

    fn written(&self, exact: bool) -> Option<String> {
        let unknown = matches!(self.broken, Broken::Unknown | Broken::Twice);
        let path = match self.path {
            Path::Record => return None,
            Path::Member(of, _) if unknown && !self.check.is_visible() => of,
            path => path,
        };
        let mut out = String::new();
        path.write(&mut out, exact);
        Some(out)
    }

    /// The fault in words.
    pub(super) fn violation(&self) -> Violation {
        Violation {
            field: self.way(),
            rule: self.rule().to_owned(),
            message: self.message(),
            outcome: self.check.outcome,
        }
    }

    fn message(&self) -> String {
        let check = self.check;
        let shown = self.check.shown(self.seen);
        match self.broken {
            Broken::Type(stands) => {
                format!("{} stands where {} belongs", a(stands), a(&check.wanted()))
            }
            Broken::Offset => "a timestamp has to be in UTC, ending in `Z`".to_owned(),
            Broken::Null => "the field may not be null".to_owned(),
            Broken::Missing => "the field is required and absent".to_owned(),
            Broken::Length(length) => self.length(length),
            Broken::Pattern => {
                let pattern = check.pattern.as_ref().map_or("", |(_, written)| written);
                format!("{shown} does not match `{pattern}`")
            }
            Broken::Format => {
                let format = check.format.as_ref().map_or("", |format| format.name());
                format!("{shown} is not of the form `{format}`")
            }
            Broken::Allowed => format!("{shown} is not {}", check.listed()),
            Broken::Minimum => side(&shown, check.minimum.as_ref(), ["below", "not above"]),
            Broken::Maximum => side(&shown, check.maximum.as_ref(), ["above", "not below"]),
            Broken::Multiple => {
                let step = check.multiple_of.unwrap_or_default();
                format!("{shown} is not a multiple of {step}")
            }
            Broken::Precision => format!("{shown} has too many digits for {}", check.kind),
            Broken::Scale => format!(
                "{shown} has not the digits after the point of {}",
                check.kind
            ),
            Broken::Finite => format!("{shown} is not a finite number"),
            Broken::Year => format!("{shown} is not in the years 0000 to 9999"),
            Broken::Unknown => match check.is_visible() {
                true => "the contract has no such field".to_owned(),
                false => "the value has a member that the contract does not know".to_owned(),
            },
            Broken::Twice => match check.is_visible() {
                true => "the field stands there twice".to_owned(),
                false => "a member stands there twice".to_owned(),
            },
            Broken::Count(count) => self.count(count),
            Broken::Repeated(at) => format!("item {at} equals an earlier one"),
            Broken::Malformed(what) => format!("the value is not JSON: {what}"),
        }
    }

    fn length(&self, count: usize) -> String {
        let unit = match self.seen {
            Seen::Value(Value::Bytes(_)) => "bytes",
            _ if self.check.kind == crate::Type::Bytes => "bytes",
            _ => "characters",
        };
        self.amount(count, unit)
    }

    fn count(&self, count: usize) -> String {
        self.amount(count, self.check.count_rules().2)
    }

    fn amount(&self, count: usize, unit: &str) -> String {
        let Some(length) = &self.check.length else {
            return String::new();
        };
        if count < length.least {
            let least = length.least;
            format!("the value has {count} {unit}; at least {least} are needed")
        } else {
            let most = length.most;
            format!("the value has {count} {unit}; at most {most} are allowed")
        }
    }
}

fn side(shown: &str, bound: Option<&super::bounds::Bound>, sides: [&str; 2]) -> String {
    let [inclusive, exclusive] = sides;
    let words = bound.map(|bound| {
        let side = if bound.exclusive {
            exclusive
        } else {
            inclusive
        };
        format!("{shown} is {side} {}", bound.value)
    });
    words.unwrap_or_default()
}

impl FieldCheck {
    /// Whether messages may show values.
    pub(super) fn is_visible(&self) -> bool {
        self.class < Class::Personal
    }

    /// The value for a message, or a stand-in where the field's class hides it.
    pub(super) fn shown(&self, seen: Seen<'_>) -> String {
        match self.class {
            Class::Personal => return "the value (personal, not shown)".to_owned(),
            Class::Secret => return "the value (secret, not shown)".to_owned(),
            Class::Public | Class::Internal => {}
        }
        match seen {
            Seen::Nothing => "the value".to_owned(),
            Seen::Text(text) => format!("`{}`", Short(text)),
            Seen::Value(value) => format!("`{}`", Short(&value.to_string())),
        }
    }

    /// The allowed values for a message.
    fn listed(&self) -> String {
        let values = self
            .allowed
            .as_ref()
            .map_or(&[][..], |allowed| &allowed.values);
        listed(values)
    }
}

/// A list of values for a message.
pub(super) fn listed(values: &[Value]) -> String {
    let mut names: Vec<String> = values
        .iter()
        .take(LISTED_MAX)
        .map(|value| Short(&value.to_string()).to_string())
        .collect();
    if values.len() > LISTED_MAX {
        names.push(format!("{} more", values.len() - LISTED_MAX));
    }
    format!("one of {}", names.join(", "))
}
