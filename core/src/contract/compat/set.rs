//! The set of JSON values that a schema of ours describes.
//!
//! Reads the keywords that [`schema`](crate::contract::schema) writes; a keyword it does not know makes the set *unread*, and nothing is ever proved about an unread set.

use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use bigdecimal::BigDecimal;
use regex::Regex;
use serde_json::{Map, Value as Json};

use crate::contract::pattern;
use crate::contract::range::{self, End};

/// A set of JSON values, by type.
#[derive(Clone, Debug, Default)]
pub(super) struct Set {
    /// The values, where they are listed.
    pub(super) values: Option<Vec<Json>>,
    pub(super) null: bool,
    pub(super) boolean: bool,
    pub(super) number: Option<Numbers>,
    pub(super) string: Option<Strings>,
    pub(super) array: Option<Box<Arrays>>,
    pub(super) object: Option<Box<Objects>>,
    /// Whether the schema says something that is not understood here.
    pub(super) unread: bool,
}

/// Numbers between bounds.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    pub(super) integer: bool,
    pub(super) low: Option<Bound>,
    pub(super) high: Option<Bound>,
    pub(super) step: Option<BigDecimal>,
}

/// One end of a range of numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bound {
    pub(super) at: BigDecimal,
    pub(super) exclusive: bool,
}

/// Texts.
#[derive(Clone, Debug, Default)]
pub(super) struct Strings {
    pub(super) patterns: BTreeSet<String>,
    pub(super) least: u64,
    pub(super) most: Option<u64>,
    pub(super) format: Option<String>,
    /// Bounds in time, as nanoseconds, themselves included.
    pub(super) low: Option<i128>,
    pub(super) high: Option<i128>,
    /// The patterns, once they are needed; none where one cannot be compiled.
    compiled: OnceCell<Option<Vec<Regex>>>,
}

/// Lists.
#[derive(Clone, Debug)]
pub(super) struct Arrays {
    /// What an item is; anything where absent.
    pub(super) items: Option<Set>,
    pub(super) least: u64,
    pub(super) most: Option<u64>,
    pub(super) unique: bool,
}

/// Objects.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    pub(super) members: BTreeMap<String, Set>,
    pub(super) required: BTreeSet<String>,
    /// What a member of another name is; anything where absent.
    pub(super) others: Option<Set>,
    pub(super) least: u64,
    pub(super) most: Option<u64>,
}

/// Deepest nesting of schemas; the loader allows less.
const DEPTH_MAX: usize = 64;

impl Set {
    /// Reads a schema.
    pub(super) fn read(schema: &Json) -> Set {
        read(schema, 0)
    }

    /// Every value.
    pub(super) fn everything() -> Set {
        Set {
            values: None,
            null: true,
            boolean: true,
            number: Some(Numbers::default()),
            string: Some(Strings::default()),
            array: Some(Box::new(Arrays {
                items: None,
                least: 0,
                most: None,
                unique: false,
            })),
            object: Some(Box::new(Objects {
                members: BTreeMap::new(),
                required: BTreeSet::new(),
                others: None,
                least: 0,
                most: None,
            })),
            unread: false,
        }
    }

    /// Whether the value is in the set.
    pub(super) fn holds(&self, value: &Json) -> bool {
        if let Some(values) = &self.values
            && !values.iter().any(|listed| same(listed, value))
        {
            return false;
        }
        match value {
            Json::Null => self.null,
            Json::Bool(_) => self.boolean,
            Json::Number(number) => match (&self.number, exact(number)) {
                (Some(set), Some(number)) => set.holds(&number),
                _ => false,
            },
            Json::String(text) => self.string.as_ref().is_some_and(|set| set.holds(text)),
            Json::Array(items) => self.array.as_ref().is_some_and(|set| set.holds(items)),
            Json::Object(members) => self.object.as_ref().is_some_and(|set| set.holds(members)),
        }
    }
}

impl Numbers {
    pub(super) fn holds(&self, number: &BigDecimal) -> bool {
        let above = self
            .low
            .as_ref()
            .is_none_or(|low| match number.cmp(&low.at) {
                Ordering::Greater => true,
                Ordering::Equal => !low.exclusive,
                Ordering::Less => false,
            });
        let below = self
            .high
            .as_ref()
            .is_none_or(|high| match number.cmp(&high.at) {
                Ordering::Less => true,
                Ordering::Equal => !high.exclusive,
                Ordering::Greater => false,
            });
        let stepped = self.step.as_ref().is_none_or(|step| divides(step, number));
        above && below && stepped && (!self.integer || number.is_integer())
    }
}

impl Strings {
    fn holds(&self, text: &str) -> bool {
        let length = text.chars().count() as u64;
        if length < self.least || self.most.is_some_and(|most| length > most) {
            return false;
        }
        self.is_formed(text) && self.is_in_time(text) && self.matches(text)
    }

    fn matches(&self, text: &str) -> bool {
        if self.patterns.is_empty() {
            return true;
        }
        let compile = || {
            let all = self
                .patterns
                .iter()
                .map(|written| pattern::compile(written).ok());
            all.collect::<Option<Vec<Regex>>>()
        };
        let compiled = self.compiled.get_or_init(compile);
        compiled
            .as_ref()
            .is_some_and(|all| all.iter().all(|pattern| pattern.is_match(text)))
    }

    /// Whether the text has the format, where a pattern alone cannot say so; formats that patterns say in full hold.
    fn is_formed(&self, text: &str) -> bool {
        match self.format.as_deref() {
            Some("date") => text.parse::<jiff::civil::Date>().is_ok(),
            Some("date-time") => text.parse::<jiff::Timestamp>().is_ok(),
            _ => true,
        }
    }

    fn is_in_time(&self, text: &str) -> bool {
        if self.low.is_none() && self.high.is_none() {
            return true;
        }
        instant(text).is_some_and(|at| {
            self.low.is_none_or(|low| low <= at) && self.high.is_none_or(|high| at <= high)
        })
    }
}

impl Arrays {
    fn holds(&self, items: &[Json]) -> bool {
        let count = items.len() as u64;
        count >= self.least
            && self.most.is_none_or(|most| count <= most)
            && self
                .items
                .as_ref()
                .is_none_or(|set| items.iter().all(|item| set.holds(item)))
            && !(self.unique && repeats(items))
    }
}

impl Objects {
    /// What a member of this name is; `None` where it is anything.
    pub(super) fn member(&self, name: &str) -> Option<&Set> {
        self.members.get(name).or(self.others.as_ref())
    }

    fn holds(&self, members: &Map<String, Json>) -> bool {
        let count = members.len() as u64;
        count >= self.least
            && self.most.is_none_or(|most| count <= most)
            && self.required.iter().all(|name| members.contains_key(name))
            && members
                .iter()
                .all(|(name, value)| self.member(name).is_none_or(|set| set.holds(value)))
    }
}

/// Whether two JSON values are the same one: numbers by their value.
pub(super) fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => a == b || exact(a) == exact(b),
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

pub(super) fn repeats(items: &[Json]) -> bool {
    items
        .iter()
        .enumerate()
        .any(|(i, item)| items[..i].iter().any(|before| same(before, item)))
}

/// A JSON number as an exact decimal.
pub(super) fn exact(number: &serde_json::Number) -> Option<BigDecimal> {
    if let Some(number) = number.as_i64() {
        return Some(number.into());
    }
    if let Some(number) = number.as_u64() {
        return Some(number.into());
    }
    BigDecimal::try_from(number.as_f64()?).ok()
}

pub(super) fn divides(step: &BigDecimal, number: &BigDecimal) -> bool {
    let zero = BigDecimal::from(0);
    *step == zero || (number % step) == zero
}

/// A timestamp or time of day as nanoseconds.
pub(super) fn instant(text: &str) -> Option<i128> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(at.as_nanosecond());
    }
    let time = text.parse::<jiff::civil::Time>().ok()?;
    let midnight = jiff::civil::Time::midnight();
    time.duration_since(midnight).as_nanos().into()
}

fn read(schema: &Json, depth: usize) -> Set {
    let object = match schema {
        Json::Bool(true) => return Set::everything(),
        Json::Bool(false) => return Set::default(),
        Json::Object(object) if depth < DEPTH_MAX => object,
        _ => {
            return Set {
                unread: true,
                ..Set::everything()
            };
        }
    };
    let mut set = types(object.get("type"));
    for (keyword, value) in object {
        if !keep(&mut set, keyword, value, depth) {
            set.unread = true;
        }
    }
    if let Some(strings) = &mut set.string {
        strings.leave_out_moments(object);
    }
    set
}

/// The types a schema names.
fn types(named: Option<&Json>) -> Set {
    let Some(named) = named else {
        return Set::everything();
    };
    let everything = Set::everything();
    let mut set = Set::default();
    let one = std::slice::from_ref(named);
    for name in named.as_array().map_or(one, Vec::as_slice) {
        match name.as_str() {
            Some("null") => set.null = true,
            Some("boolean") => set.boolean = true,
            Some("number") => set.number = Some(Numbers::default()),
            Some("integer") if set.number.is_none() => {
                set.number = Some(Numbers {
                    integer: true,
                    ..Numbers::default()
                });
            }
            Some("string") => set.string = Some(Strings::default()),
            Some("array") => set.array.clone_from(&everything.array),
            Some("object") => set.object.clone_from(&everything.object),
            _ => set.unread = true,
        }
    }
    set
}

/// Takes a keyword into the set; `false` where it is not understood.
fn keep(set: &mut Set, keyword: &str, value: &Json, depth: usize) -> bool {
    match keyword {
        "$schema" | "$id" | "$comment" | "title" | "description" | "default" | "examples"
        | "deprecated" | "readOnly" | "writeOnly" | "type" | "contentEncoding"
        | "contentMediaType" => true,
        // Vendors' annotations change no verdict.
        other if other.starts_with("x-") => true,
        "const" => {
            set.values = Some(vec![value.clone()]);
            true
        }
        "enum" => match value.as_array() {
            Some(values) => {
                set.values = Some(values.clone());
                true
            }
            None => false,
        },
        _ if keep_string(set, keyword, value) || keep_number(set, keyword, value) => true,
        _ => keep_inside(set, keyword, value, depth),
    }
}

fn keep_string(set: &mut Set, keyword: &str, value: &Json) -> bool {
    let mut none = Strings::default();
    let strings = set.string.as_mut().unwrap_or(&mut none);
    match keyword {
        // Our schemas write conjunctions of patterns only.
        "allOf" => value.as_array().is_some_and(|all| {
            all.iter()
                .filter_map(Json::as_object)
                .flatten()
                .all(|(keyword, value)| {
                    matches!(keyword.as_str(), "pattern" | "minLength" | "maxLength")
                        && strings.keep(keyword, value)
                })
        }),
        other => strings.keep(other, value),
    }
}

impl Strings {
    /// Takes away the patterns of bounds in time, which stand beside keywords that say the same.
    fn leave_out_moments(&mut self, schema: &Map<String, Json>) {
        for (keyword, end, exclusive) in [
            ("formatMinimum", End::Low, false),
            ("formatExclusiveMinimum", End::Low, true),
            ("formatMaximum", End::High, false),
            ("formatExclusiveMaximum", End::High, true),
        ] {
            let at = schema.get(keyword).and_then(Json::as_str);
            if let Some(pattern) = at.and_then(|at| range::moment(at, end, exclusive)) {
                self.patterns.remove(&pattern);
            }
        }
    }

    /// Takes a keyword in beside what is there; `false` where it is not understood.
    fn keep(&mut self, keyword: &str, value: &Json) -> bool {
        let time = |value: &Json| value.as_str().and_then(instant);
        match keyword {
            "pattern" => value
                .as_str()
                .map(|text| self.patterns.insert(text.to_owned()))
                .is_some(),
            "format" => put(&mut self.format, value.as_str().map(str::to_owned)),
            "minLength" => value
                .as_u64()
                .map(|least| self.least = self.least.max(least))
                .is_some(),
            "maxLength" => value
                .as_u64()
                .map(|most| self.most = Some(self.most.map_or(most, |before| before.min(most))))
                .is_some(),
            "formatMinimum" => put(&mut self.low, time(value)),
            "formatExclusiveMinimum" => put(&mut self.low, time(value).map(|at| at + 1)),
            "formatMaximum" => put(&mut self.high, time(value)),
            "formatExclusiveMaximum" => put(&mut self.high, time(value).map(|at| at - 1)),
            _ => false,
        }
    }
}

fn keep_number(set: &mut Set, keyword: &str, value: &Json) -> bool {
    let mut none = Numbers::default();
    let numbers = set.number.as_mut().unwrap_or(&mut none);
    let exclusive = keyword.starts_with("exclusive");
    let at = || value.as_number().and_then(exact);
    let bound = at().map(|at| Bound { at, exclusive });
    match keyword {
        "minimum" | "exclusiveMinimum" => {
            let tighter =
                |old: &Bound, new: &Bound| (&new.at, exclusive) > (&old.at, old.exclusive);
            tighten(&mut numbers.low, bound, tighter)
        }
        "maximum" | "exclusiveMaximum" => {
            let tighter =
                |old: &Bound, new: &Bound| new.at < old.at || (new.at == old.at && new.exclusive);
            tighten(&mut numbers.high, bound, tighter)
        }
        "multipleOf" => put(&mut numbers.step, at()),
        _ => false,
    }
}

fn keep_inside(set: &mut Set, keyword: &str, value: &Json, depth: usize) -> bool {
    let inner = |schema: &Json| Some(read(schema, depth + 1));
    let anything = |value: &Json| *value == Json::Bool(true);
    if let Some(array) = &mut set.array {
        let known = match keyword {
            "items" if anything(value) => true,
            "items" => put(&mut array.items, inner(value)),
            "minItems" => value.as_u64().is_some_and(|least| {
                array.least = least;
                true
            }),
            "maxItems" => put(&mut array.most, value.as_u64()),
            "uniqueItems" => value.as_bool().is_some_and(|unique| {
                array.unique = unique;
                true
            }),
            _ => false,
        };
        if known {
            return true;
        }
    }
    if let Some(object) = &mut set.object {
        return match keyword {
            "properties" => value.as_object().is_some_and(|members| {
                for (name, schema) in members {
                    object.members.insert(name.clone(), read(schema, depth + 1));
                }
                true
            }),
            "required" => value.as_array().is_some_and(|names| {
                let names = names.iter().filter_map(Json::as_str);
                object.required.extend(names.map(str::to_owned));
                true
            }),
            "additionalProperties" if anything(value) => true,
            "additionalProperties" => put(&mut object.others, inner(value)),
            "minProperties" => value.as_u64().is_some_and(|least| {
                object.least = least;
                true
            }),
            "maxProperties" => put(&mut object.most, value.as_u64()),
            _ => false,
        };
    }
    // Keywords of a type that the schema does not allow say nothing.
    matches!(
        keyword,
        "items"
            | "minItems"
            | "maxItems"
            | "uniqueItems"
            | "properties"
            | "required"
            | "additionalProperties"
            | "minProperties"
            | "maxProperties"
    )
}

/// Puts what was read, and tells whether it could be.
fn put<T>(slot: &mut Option<T>, read: Option<T>) -> bool {
    let known = read.is_some();
    *slot = read;
    known
}

fn tighten(
    slot: &mut Option<Bound>,
    bound: Option<Bound>,
    tighter: impl Fn(&Bound, &Bound) -> bool,
) -> bool {
    let Some(bound) = bound else {
        return false;
    };
    if slot.as_ref().is_none_or(|old| tighter(old, &bound)) {
        *slot = Some(bound);
    }
    true
}
