//! What was seen of the values of one field.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use lockstep_core::Decimal;
use lockstep_core::contract::{Allowed, Field};
use lockstep_core::value::{Type, Value};
use serde_json::Value as Json;
use uuid::Uuid;

use super::super::notes::Notes;
use super::super::{DEPTH_MAX, FIELDS_MAX};
use super::Form;

/// Most values that are taken for a list.
const LISTED_MAX: usize = 12;
/// Longest value that is taken for one of a list, in characters.
const LISTED_LENGTH_MAX: usize = 40;
/// Fewest rows that a list is read out of, and how often each value must stand there on average.
const LISTED_ROWS_MIN: u64 = 50;
const LISTED_TIMES_MIN: u64 = 10;

/// Forms that a text may have, each as long as every text has it.
#[derive(Clone, Copy, Debug)]
struct Forms {
    date: bool,
    timestamp: bool,
    civil: bool,
    time: bool,
    uuid: bool,
    integer: bool,
    decimal: bool,
    flag: bool,
    mail: bool,
}

/// What was seen of one field.
#[derive(Clone, Debug)]
pub(in super::super) struct Seen {
    /// How often it was there, null included.
    pub(super) times: u64,
    pub(super) nulls: u64,
    flags: u64,
    integers: u64,
    numbers: u64,
    texts: u64,
    pub(super) lists: u64,
    pub(super) maps: u64,
    forms: Forms,
    /// The longest text, in characters.
    longest: usize,
    /// Digits before and after the point of texts that are decimals.
    digits: (u32, u32),
    /// Whether all of them have the same digits after the point.
    scale: Option<u32>,
    /// Texts and how often they stand there, as long as they are few.
    values: Option<BTreeMap<String, u64>>,
    /// Hashes of all values, as long as none repeats.
    once: Option<HashSet<u64>>,
    pub(super) members: Members,
    pub(super) items: Option<Box<Seen>>,
}

/// Members of an object in the order in which they were met.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Members {
    order: Vec<(String, Seen)>,
    places: std::collections::HashMap<String, usize>,
}

impl Members {
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Seen> {
        self.places.get(name).map(|at| &self.order[*at].1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Seen)> {
        self.order.iter().map(|(name, seen)| (name, seen))
    }

    fn entry(&mut self, name: &str) -> Option<&mut Seen> {
        let at = match self.places.get(name) {
            Some(at) => *at,
            // One more than may be read, so that somebody can say so.
            None if self.order.len() > FIELDS_MAX => return None,
            None => {
                self.places.insert(name.to_owned(), self.order.len());
                self.order.push((name.to_owned(), Seen::default()));
                self.order.len() - 1
            }
        };
        Some(&mut self.order[at].1)
    }
}

impl<'m> IntoIterator for &'m Members {
    type Item = (&'m String, &'m Seen);
    type IntoIter = std::iter::Map<
        std::slice::Iter<'m, (String, Seen)>,
        fn(&'m (String, Seen)) -> (&'m String, &'m Seen),
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.order.iter().map(|(name, seen)| (name, seen))
    }
}

impl Default for Seen {
    fn default() -> Seen {
        let all = Forms {
            date: true,
            timestamp: true,
            civil: true,
            time: true,
            uuid: true,
            integer: true,
            decimal: true,
            flag: true,
            mail: true,
        };
        Seen {
            times: 0,
            nulls: 0,
            flags: 0,
            integers: 0,
            numbers: 0,
            texts: 0,
            lists: 0,
            maps: 0,
            forms: all,
            longest: 0,
            digits: (1, 0),
            scale: None,
            values: Some(BTreeMap::new()),
            once: Some(HashSet::new()),
            members: Members::default(),
            items: None,
        }
    }
}

impl Seen {
    /// Looks at one value; below [`DEPTH_MAX`] insides are not looked at.
    pub(in super::super) fn add(&mut self, value: &Json, depth: usize) {
        self.times += 1;
        match value {
            Json::Null => {
                self.nulls += 1;
                return;
            }
            Json::Bool(_) => self.flags += 1,
            Json::Number(number) if number.is_i64() => self.integers += 1,
            Json::Number(_) => self.numbers += 1,
            Json::String(text) => self.text(text),
            Json::Array(list) => {
                self.lists += 1;
                if depth < DEPTH_MAX {
                    let items = self.items.get_or_insert_default();
                    list.iter().for_each(|item| items.add(item, depth + 1));
                }
            }
            Json::Object(map) => {
                self.maps += 1;
                if depth < DEPTH_MAX {
                    for (name, value) in map {
                        if let Some(member) = self.members.entry(name) {
                            member.add(value, depth + 1);
                        }
                    }
                }
            }
        }
        if depth != 1 || value.is_array() || value.is_object() {
            return;
        }
        if let Some(once) = &mut self.once {
            let mut hasher = DefaultHasher::new();
            value.to_string().hash(&mut hasher);
            if !once.insert(hasher.finish()) {
                self.once = None;
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.texts += 1;
        self.longest = self.longest.max(text.chars().count());
        self.forms.narrow(text);
        if self.forms.decimal
            && let Ok(number) = text.parse::<Decimal>()
        {
            let scale = number.scale();
            self.digits = (
                self.digits.0.max(number.integer_digits()),
                self.digits.1.max(scale),
            );
            if self.texts == 1 {
                self.scale = Some(scale);
            } else if self.scale != Some(scale) {
                self.scale = None;
            }
        }
        if let Some(values) = &mut self.values {
            if text.chars().nth(LISTED_LENGTH_MAX).is_none() {
                *values.entry(text.to_owned()).or_default() += 1;
            }
            if values.len() > LISTED_MAX || text.chars().nth(LISTED_LENGTH_MAX).is_some() {
                self.values = None;
            }
        }
    }

    /// The type of the values.
    pub(super) fn kind(&self, path: &str, form: Form, notes: &mut Notes<'_>) -> Type {
        let kinds = [
            self.flags,
            self.integers + self.numbers,
            self.texts,
            self.lists,
            self.maps,
        ];
        let several = kinds.iter().filter(|times| **times > 0).count();
        if several == 0 {
            notes.warn(
                "LS-I113",
                path,
                None,
                "no row says a value, so its type is not known; a text was taken",
                "name the type that it has",
            );
            return Type::Text;
        }
        if several > 1 {
            notes.warn(
                "LS-I113",
                path,
                None,
                "its values are of several types, so any value is allowed",
                "a field of a contract has one type",
            );
            return Type::Json;
        }
        if self.flags > 0 {
            return Type::Bool;
        }
        if self.numbers > 0 {
            let what = "numbers with a fraction, read as doubles";
            notes.tell(
                "LS-I113",
                path,
                None,
                what,
                "for exact amounts write `physicalType: decimal(12,2)` and send them as texts",
            );
            return Type::Float;
        }
        if self.integers > 0 {
            return Type::Int;
        }
        if self.texts == 0 {
            return Type::Json;
        }
        self.text_kind(path, form, notes)
    }

    fn text_kind(&self, path: &str, form: Form, notes: &mut Notes<'_>) -> Type {
        let forms = &self.forms;
        // Two digits of room: amounts grow.
        let decimal = Type::Decimal {
            precision: Some((self.digits.0 + self.digits.1 + 2).min(100)),
            scale: Some(self.digits.1.min(98)),
        };
        if forms.uuid {
            Type::Uuid
        } else if forms.date {
            Type::Date
        } else if forms.timestamp {
            Type::Timestamp
        } else if forms.time {
            Type::Time
        } else if form == Form::Csv && forms.flag {
            Type::Bool
        } else if form == Form::Csv && forms.integer {
            Type::Int
        } else if form == Form::Csv && forms.decimal && self.digits.1 > 0 {
            decimal
        } else if form == Form::Csv && forms.civil {
            let what = "no offset from UTC stands there; records carry it as UTC";
            notes.tell(
                "LS-I113",
                path,
                None,
                what,
                "say in the mapping what offset it has, if another",
            );
            Type::Timestamp
        } else if forms.decimal && self.scale.is_some_and(|scale| scale > 0) {
            decimal
        } else {
            Type::Text
        }
    }

    /// Length and, where few values repeat, the list of them.
    pub(in super::super) fn listed(
        &self,
        field: &mut Field,
        count: u64,
        path: &str,
        notes: &mut Notes<'_>,
    ) {
        let personal = super::super::draft::reads_personal(&field.name);
        let few = self.values.as_ref().filter(|values| {
            let distinct = values.len() as u64;
            !personal
                && !self.forms.mail
                && distinct > 0
                && count >= LISTED_ROWS_MIN
                && self.texts >= distinct * LISTED_TIMES_MIN
        });
        if let Some(values) = few {
            field.allowed = Some(Allowed {
                values: values
                    .keys()
                    .map(|text| Value::text(text.as_str()))
                    .collect(),
                open: true,
                fallback: None,
            });
            let what = format!(
                "only {} values stand in {count} rows, so they are listed; others may come",
                values.len()
            );
            notes.tell(
                "LS-I113",
                path,
                None,
                what,
                "set `lockstep.enumOpen` to false where no others may come",
            );
            return;
        }
        const ROOM: [u64; 9] = [16, 32, 64, 100, 200, 500, 1000, 2000, 4000];
        let wanted = self.longest as u64 * 3 / 2;
        field.limits.max_length = ROOM
            .into_iter()
            .find(|room| self.texts > 0 && *room >= wanted);
    }

    /// Whether no value repeats.
    pub(super) fn is_unique(&self) -> bool {
        self.once.is_some() && self.nulls == 0 && self.times > 0
    }

    pub(super) fn is_mail(&self) -> bool {
        self.texts > 0 && self.forms.mail
    }

    /// How sure what was inferred is, in words without a value.
    pub(super) fn sureness(&self, count: u64) -> String {
        let there = match (self.times == count, self.nulls) {
            (true, 0) => format!("there in all {count} rows"),
            (true, nulls) => format!("null in {nulls} of {count} rows"),
            (false, nulls) => format!("there in {} of {count} rows, null in {nulls}", self.times),
        };
        match &self.once {
            Some(_) if self.times > 1 && self.nulls == 0 => format!("{there}, no value twice"),
            _ => there,
        }
    }
}

impl Forms {
    /// Takes away every form that this text does not have.
    fn narrow(&mut self, text: &str) {
        // Long texts have none of the forms, and parsers need not see them.
        let short = text.len() <= 64;
        let keep = |form: &mut bool, is: fn(&str) -> bool| *form = *form && short && is(text);
        keep(&mut self.date, |text| {
            text.parse::<Date>()
                .is_ok_and(|date| date.to_string() == text)
        });
        keep(&mut self.timestamp, |text| {
            text.parse::<Timestamp>().is_ok()
        });
        keep(&mut self.civil, |text| {
            text.parse::<DateTime>().is_ok() && text.len() > 10
        });
        keep(&mut self.time, |text| {
            text.parse::<Time>()
                .is_ok_and(|time| time.to_string() == text)
        });
        keep(&mut self.uuid, |text| {
            text.parse::<Uuid>().is_ok_and(|id| id.to_string() == text)
        });
        keep(&mut self.integer, |text| {
            text.parse::<i64>().is_ok_and(|n| n.to_string() == text)
        });
        keep(&mut self.decimal, |text| {
            let bare = text.strip_prefix('-').unwrap_or(text);
            let plain = bare.bytes().all(|b| b.is_ascii_digit() || b == b'.') && !bare.is_empty();
            // A leading zero counts in codes, never in numbers.
            let code = bare.len() > 1 && bare.starts_with('0') && !bare.starts_with("0.");
            plain && !code && text.parse::<Decimal>().is_ok()
        });
        keep(&mut self.flag, |text| {
            matches!(text, "true" | "false" | "True" | "False" | "TRUE" | "FALSE")
        });
        self.mail = self.mail
            && text.len() <= 254
            && text.split_once('@').is_some_and(|(user, host)| {
                !user.is_empty()
                    && host.contains('.')
                    && !host.contains('@')
                    && !text.contains(char::is_whitespace)
            });
    }
}
