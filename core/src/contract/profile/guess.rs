//! Guesses of types from values.

use schemars::JsonSchema;
use serde::Serialize;

use crate::contract::{Format, wire};
use crate::gate::cast;
use crate::value::Type;

/// The likeliest type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Guess {
    /// No value was seen.
    Nothing,
    /// True or false.
    Bool,
    /// Whole numbers.
    Int,
    /// Exact decimals.
    Decimal,
    /// Doubles.
    Float,
    /// Texts.
    Text,
    /// Bytes.
    Bytes,
    /// Calendar dates.
    Date,
    /// Times of day.
    Time,
    /// Instants.
    Timestamp,
    /// Instants without an offset, which are taken as UTC.
    LocalTimestamp,
    /// UUIDs.
    Uuid,
    /// Documents with named members.
    Object,
    /// Lists.
    List,
    /// Values of several kinds.
    Json,
}

/// A guess with what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Guessed {
    /// The type.
    pub kind: Guess,
    /// Most digits in all, of a decimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<u32>,
    /// Digits after the point, of a decimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<u32>,
    /// The form of all texts, such as `email`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<&'static str>,
}

impl Guessed {
    pub(super) fn plain(kind: Guess) -> Guessed {
        Guessed {
            kind,
            precision: None,
            scale: None,
            format: None,
        }
    }

    /// The contract's type for it; `None` where nothing was seen.
    #[must_use]
    pub fn kind(&self) -> Option<Type> {
        Some(match self.kind {
            Guess::Nothing => return None,
            Guess::Bool => Type::Bool,
            Guess::Int => Type::Int,
            Guess::Decimal => Type::Decimal {
                precision: self.precision,
                scale: self.scale,
            },
            Guess::Float => Type::Float,
            Guess::Text => Type::Text,
            Guess::Bytes => Type::Bytes,
            Guess::Date => Type::Date,
            Guess::Time => Type::Time,
            Guess::Timestamp | Guess::LocalTimestamp => Type::Timestamp,
            Guess::Uuid => Type::Uuid,
            Guess::Object | Guess::List | Guess::Json => Type::Json,
        })
    }

    pub(super) fn of_type(kind: Type) -> Guessed {
        let mut guessed = Guessed::plain(match kind {
            Type::Bool => Guess::Bool,
            Type::Int => Guess::Int,
            Type::Decimal { .. } => Guess::Decimal,
            Type::Float => Guess::Float,
            Type::Text => Guess::Text,
            Type::Bytes => Guess::Bytes,
            Type::Date => Guess::Date,
            Type::Time => Guess::Time,
            Type::Timestamp => Guess::Timestamp,
            Type::Uuid => Guess::Uuid,
            Type::Json => Guess::Json,
        });
        if let Type::Decimal { precision, scale } = kind {
            guessed.precision = precision;
            guessed.scale = scale;
        }
        guessed
    }
}

/// What a text may be besides a text: each stays as long as every text is of that form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidates {
    kinds: [bool; KINDS.len()],
    formats: [bool; FORMATS.len()],
}

const KINDS: [Guess; 8] = [
    Guess::Date,
    Guess::Timestamp,
    Guess::Time,
    Guess::Uuid,
    Guess::Int,
    Guess::Decimal,
    Guess::Bool,
    Guess::LocalTimestamp,
];

/// The forms that say something; nearly every word is a host name.
const FORMATS: [Format; 4] = [Format::Email, Format::Uri, Format::Ipv4, Format::Ipv6];

impl Candidates {
    pub(super) fn all() -> Candidates {
        Candidates {
            kinds: [true; KINDS.len()],
            formats: [true; FORMATS.len()],
        }
    }

    /// Strikes out what a text is not.
    pub(super) fn see(&mut self, text: &str, forms: &Forms) {
        for (still, kind) in self.kinds.iter_mut().zip(KINDS) {
            *still = *still && is(kind, text);
        }
        for (still, form) in self.formats.iter_mut().zip(forms.checks.iter()) {
            *still = *still && form.holds(text);
        }
    }

    /// Strikes out what the texts of another column are not.
    pub(super) fn narrow(&mut self, other: Candidates) {
        for (still, theirs) in self.kinds.iter_mut().zip(other.kinds) {
            *still &= theirs;
        }
        for (still, theirs) in self.formats.iter_mut().zip(other.formats) {
            *still &= theirs;
        }
    }

    pub(super) fn is(&self, wanted: Guess) -> bool {
        KINDS
            .iter()
            .zip(self.kinds)
            .any(|(kind, still)| *kind == wanted && still)
    }

    /// The dates, times and ids among them, which are never texts by accident.
    pub(super) fn certain(&self) -> Option<Guess> {
        KINDS[..4].iter().copied().find(|kind| self.is(*kind))
    }

    pub(super) fn format(&self) -> Option<&'static str> {
        let found = FORMATS.iter().zip(self.formats).find(|(_, still)| *still);
        found.map(|(format, _)| format.name())
    }
}

/// The compiled forms, shared by all fields of a profile.
#[derive(Debug)]
pub(super) struct Forms {
    checks: Vec<crate::contract::format::FormatCheck>,
}

impl Default for Forms {
    fn default() -> Self {
        let compiled = FORMATS.iter().map(|format| format.compile());
        Forms {
            checks: compiled.filter_map(Result::ok).collect(),
        }
    }
}

fn is(kind: Guess, text: &str) -> bool {
    match kind {
        Guess::Date => wire::read_text(Type::Date, text).is_some(),
        Guess::Time => wire::read_text(Type::Time, text).is_some(),
        Guess::Timestamp => {
            let offset = text
                .get(10..)
                .is_some_and(|rest| rest.contains(['Z', 'z', '+', '-']));
            offset && cast::is_timestamp(text)
        }
        Guess::LocalTimestamp => cast::is_timestamp(text),
        Guess::Uuid => text.len() == 36 && text.parse::<uuid::Uuid>().is_ok(),
        // What begins with a zero is a code, not a number.
        Guess::Int => wire::is_decimal(text) && text.parse::<i64>().is_ok(),
        Guess::Decimal => wire::is_decimal(text),
        Guess::Bool => cast::truth(text).is_some(),
        _ => false,
    }
}
