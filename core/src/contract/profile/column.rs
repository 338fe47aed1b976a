//! The summary of one field.

use std::collections::HashMap;
use std::hash::Hasher as _;

use schemars::JsonSchema;
use serde::Serialize;

use super::FieldProfile;
use super::distinct::Distinct;
use super::guess::{Candidates, Forms, Guess, Guessed};
use crate::value::{Decimal, Type, Value};

/// Most values whose frequencies are followed.
const COMMON_MAX: usize = 64;
/// Most values that a profile shows as common.
const COMMON_SHOWN: usize = 20;
/// Most characters of a value that is kept.
const KEPT_MAX: usize = 120;

/// Significant digits that doubles have, at least.
const DOUBLE_DIGITS: u32 = 15;

/// A value that a profile shows, as text.
pub type Shown = String;

/// A common value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Common {
    /// The value, as text.
    pub value: String,
    /// How often it came, at least.
    pub count: u64,
}

/// Lengths of texts in characters, or of lists in items.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Lengths {
    /// The shortest.
    pub least: u64,
    /// The longest.
    pub most: u64,
    /// The mean.
    pub mean: f64,
}

/// What is known of one field.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) path: String,
    /// How often it was an object, which is how often its members could have been there.
    pub(super) objects: u64,
    hidden: bool,
    nulls: u64,
    bools: u64,
    wholes: u64,
    fractions: u64,
    texts: u64,
    lists: u64,
    documents: u64,
    /// The type that a system says it has.
    declared: Option<Type>,
    /// Whether values come as bare texts, so that a number is written as one.
    bare: bool,
    candidates: Candidates,
    digits: u32,
    scale: u32,
    least_scale: u32,
    lengths: Option<(u64, u64, u64, u64)>,
    numbers: Option<(Decimal, Decimal)>,
    words: Option<(String, String)>,
    distinct: Distinct,
    common: HashMap<String, u64>,
    /// Whether the frequencies are lower bounds only.
    crowded: bool,
}

impl Column {
    pub(super) fn new(path: &str, hidden: bool) -> Column {
        Column {
            path: path.to_owned(),
            objects: 0,
            hidden,
            nulls: 0,
            bools: 0,
            wholes: 0,
            fractions: 0,
            texts: 0,
            lists: 0,
            documents: 0,
            declared: None,
            bare: false,
            candidates: Candidates::all(),
            digits: 0,
            scale: 0,
            least_scale: u32::MAX,
            lengths: None,
            numbers: None,
            words: None,
            distinct: Distinct::default(),
            common: HashMap::new(),
            crowded: false,
        }
    }

    pub(super) fn null(&mut self) {
        self.nulls += 1;
    }

    pub(super) fn bool(&mut self, flag: bool) {
        self.bools += 1;
        self.value(if flag { "true" } else { "false" });
    }

    /// A number as it is written in JSON.
    pub(super) fn number(&mut self, text: &str) {
        match crate::contract::check::whole(text) {
            Some(_) => self.wholes += 1,
            None => self.fractions += 1,
        }
        self.measured(text);
    }

    pub(super) fn text(&mut self, text: &str, forms: &Forms) {
        self.texts += 1;
        self.candidates.see(text, forms);
        let length = text.chars().count() as u64;
        self.length(length);
        if self.candidates.is(Guess::Decimal) {
            self.measured(text);
        } else {
            self.value(text);
        }
        if !self.hidden {
            self.word(text);
        }
    }

    /// A bare text of a text file; an empty one is a null.
    pub(super) fn written(&mut self, text: &str, forms: &Forms) {
        self.bare = true;
        if text.is_empty() {
            self.null();
        } else {
            self.text(text, forms);
        }
    }

    pub(super) fn list(&mut self, items: u64) {
        self.lists += 1;
        self.length(items);
    }

    pub(super) fn object(&mut self) {
        self.objects += 1;
    }

    /// A document whose inside is not looked at.
    pub(super) fn document(&mut self) {
        self.documents += 1;
    }

    /// A value of a column with a type.
    pub(super) fn typed(&mut self, value: &Value, kind: Type) {
        self.declared = Some(kind);
        match value {
            Value::Null => self.null(),
            Value::Text(text) => {
                self.texts += 1;
                self.length(text.chars().count() as u64);
                self.value(text);
                if !self.hidden {
                    self.word(text);
                }
            }
            Value::Bytes(bytes) => {
                self.documents += 1;
                self.length(bytes.len() as u64);
            }
            Value::Int(number) => {
                self.wholes += 1;
                self.measured(&number.to_string());
            }
            Value::Decimal(number) => {
                self.fractions += 1;
                self.measured(number.as_str());
            }
            Value::Float(number) => {
                self.fractions += 1;
                self.measured(&number.to_string());
            }
            Value::Bool(flag) => self.bool(*flag),
            Value::Json(_) => self.document(),
            other => {
                self.texts += 1;
                let text = other.to_string();
                self.value(&text);
                if !self.hidden {
                    self.word(&text);
                }
            }
        }
    }

    /// A value of a column without a type of its own.
    pub(super) fn untyped(&mut self, value: &Value, forms: &Forms) {
        match value {
            Value::Text(text) => self.text(text, forms),
            Value::Null => self.null(),
            Value::Int(number) => self.number(&number.to_string()),
            Value::Float(number) if number.is_finite() => self.number(&number.to_string()),
            Value::Bool(flag) => self.bool(*flag),
            _ => self.document(),
        }
    }

    /// Takes over what another column knows of values that belong to this one.
    pub(super) fn absorb(&mut self, other: Column) {
        self.objects += other.objects;
        self.nulls += other.nulls;
        self.bools += other.bools;
        self.wholes += other.wholes;
        self.fractions += other.fractions;
        self.texts += other.texts;
        self.lists += other.lists;
        self.documents += other.documents;
        self.hidden |= other.hidden;
        self.bare |= other.bare;
        self.declared = self.declared.or(other.declared);
        self.candidates.narrow(other.candidates);
        self.digits = self.digits.max(other.digits);
        self.scale = self.scale.max(other.scale);
        self.least_scale = self.least_scale.min(other.least_scale);
        self.lengths = match (self.lengths, other.lengths) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1), a.2 + b.2, a.3 + b.3)),
            (a, b) => a.or(b),
        };
        self.numbers = match (self.numbers.take(), other.numbers) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        };
        self.words = match (self.words.take(), other.words) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        };
        self.distinct.absorb(other.distinct);
        self.crowded |= other.crowded;
        for (value, count) in other.common {
            if self.common.len() < COMMON_MAX || self.common.contains_key(&value) {
                *self.common.entry(value).or_default() += count;
            } else {
                self.crowded = true;
            }
        }
    }

    /// The summary, where `around` records or documents could have had the field.
    pub(super) fn profile(&self, around: u64) -> FieldProfile {
        let guess = self.guess();
        let present = self.present();
        let (distinct, distinct_is_exact) = self.distinct.count();
        let bounds = match guess.kind {
            Guess::Int | Guess::Decimal | Guess::Float => self
                .numbers
                .as_ref()
                .map(|(least, most)| (least.to_string(), most.to_string())),
            Guess::Text
            | Guess::Date
            | Guess::Time
            | Guess::Timestamp
            | Guess::LocalTimestamp
            | Guess::Uuid => self.words.clone(),
            _ => None,
        };
        let (minimum, maximum) = bounds.filter(|_| !self.hidden).unzip();
        let item = self.path.ends_with("[]") || self.path.ends_with(".*");
        FieldProfile {
            path: self.path.clone(),
            guess,
            present,
            absent: if item {
                0
            } else {
                around.saturating_sub(present)
            },
            nulls: self.nulls,
            distinct,
            distinct_is_exact,
            unique: self.distinct.is_unique(),
            minimum,
            maximum,
            lengths: self.lengths.map(|(least, most, sum, count)| Lengths {
                least,
                most,
                mean: sum as f64 / count as f64,
            }),
            common: self.commonest(present),
            hidden: self.hidden,
        }
    }

    fn present(&self) -> u64 {
        self.nulls
            + self.bools
            + self.wholes
            + self.fractions
            + self.texts
            + self.lists
            + self.objects
            + self.documents
    }

    fn guess(&self) -> Guessed {
        if let Some(declared) = self.declared {
            return Guessed::of_type(declared);
        }
        let numbers = self.wholes + self.fractions;
        let kinds = [
            (self.bools, Guess::Bool),
            (
                numbers,
                if self.fractions == 0 {
                    Guess::Int
                } else {
                    Guess::Float
                },
            ),
            (self.texts, Guess::Text),
            (self.lists, Guess::List),
            (self.objects, Guess::Object),
            (self.documents, Guess::Json),
        ];
        let mut seen = kinds.iter().filter(|(count, _)| *count > 0);
        match (seen.next(), seen.next()) {
            (None, _) => Guessed::plain(Guess::Nothing),
            (Some((_, Guess::Text)), None) => self.of_texts(),
            (Some((_, kind)), None) => Guessed::plain(*kind),
            (Some(_), Some(_)) => Guessed::plain(Guess::Json),
        }
    }

    fn of_texts(&self) -> Guessed {
        if let Some(kind) = self.candidates.certain() {
            return Guessed::plain(kind);
        }
        let is = |kind| self.candidates.is(kind);
        if self.bare && is(Guess::Int) {
            return Guessed::plain(Guess::Int);
        }
        if self.bare && is(Guess::Bool) {
            return Guessed::plain(Guess::Bool);
        }
        // Text files are read as the gate casts texts; in JSON, only what has an offset is an instant.
        if self.bare && is(Guess::LocalTimestamp) {
            return Guessed::plain(Guess::LocalTimestamp);
        }
        // In JSON a quoted number is one only where it looks exact: always so many digits after the point.
        let exact = self.scale > 0 && self.scale == self.least_scale;
        // Programs write a double with so many digits, and amounts with few.
        let measured = !exact && self.scale > 0 && self.digits + self.scale >= DOUBLE_DIGITS;
        if self.bare && is(Guess::Decimal) && measured {
            return Guessed::plain(Guess::Float);
        }
        if is(Guess::Decimal) && (self.bare || exact) {
            return Guessed {
                precision: Some((self.digits + self.scale).max(1)),
                scale: Some(self.scale),
                ..Guessed::plain(Guess::Decimal)
            };
        }
        Guessed {
            format: self.candidates.format(),
            ..Guessed::plain(Guess::Text)
        }
    }

    /// A number as text: its digits, its place among the others.
    fn measured(&mut self, text: &str) {
        let Ok(number) = text.parse::<Decimal>() else {
            self.value(text);
            return;
        };
        self.digits = self.digits.max(number.integer_digits());
        self.scale = self.scale.max(number.scale());
        self.least_scale = self.least_scale.min(number.scale());
        self.value(text);
        if self.hidden {
            return;
        }
        match &mut self.numbers {
            None => self.numbers = Some((number.clone(), number)),
            Some((least, _)) if number < *least => *least = number,
            Some((_, most)) if number > *most => *most = number,
            Some(_) => {}
        }
    }

    fn word(&mut self, text: &str) {
        match &mut self.words {
            None => self.words = Some((short(text), short(text))),
            Some((least, _)) if text < least.as_str() => *least = short(text),
            Some((_, most)) if text > most.as_str() => *most = short(text),
            Some(_) => {}
        }
    }

    fn length(&mut self, length: u64) {
        let (least, most, sum, count) = self.lengths.unwrap_or((length, length, 0, 0));
        self.lengths = Some((least.min(length), most.max(length), sum + length, count + 1));
    }

    /// Counts a value; when too many different ones come, the rarest make room.
    fn value(&mut self, text: &str) {
        self.distinct.add(hash(text.as_bytes()));
        if self.hidden {
            return;
        }
        let text = short(text);
        if let Some(count) = self.common.get_mut(&text) {
            *count += 1;
        } else if self.common.len() < COMMON_MAX {
            self.common.insert(text, 1);
        } else {
            self.crowded = true;
            self.common.retain(|_, count| {
                *count -= 1;
                *count > 0
            });
        }
    }

    /// The values that make up at least a hundredth, or all of a short list.
    fn commonest(&self, present: u64) -> Vec<Common> {
        let short = self.common.len() <= COMMON_SHOWN && !self.crowded;
        let mut all: Vec<Common> = self
            .common
            .iter()
            .filter(|(_, count)| {
                let much = **count * 100 >= present && (**count > 1 || !self.crowded);
                much || short
            })
            .map(|(value, count)| Common {
                value: value.clone(),
                count: *count,
            })
            .collect();
        all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.value.cmp(&b.value)));
        all.truncate(COMMON_SHOWN);
        all
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(KEPT_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A hash that is the same in every run.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = std::collections::hash_map::DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}
