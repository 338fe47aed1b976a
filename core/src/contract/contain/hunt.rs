//! A search for a witness among documents near those that almost were one.
//!
//! It proves nothing; whatever it finds has been judged by both validators.

use std::collections::{BTreeSet, HashSet, VecDeque};

use serde_json::{Map, Number, Value as Json};

use super::value::canonical;

/// Most documents to begin with.
pub(super) const SEEDS_MAX: usize = 60;
/// Most documents that are judged.
const TRIES_MAX: usize = 20_000;
/// Most values and names taken from the schemas.
const PARTS_MAX: usize = 120;

/// Looks for a document that `parts` the schemas, until `expired`.
pub(super) fn hunt(
    old: &Json,
    new: &Json,
    seeds: &[Json],
    parts: &dyn Fn(&Json) -> bool,
    expired: &dyn Fn() -> bool,
) -> Option<Json> {
    let mut stock = Stock::default();
    stock.read(new, 0);
    stock.read(old, 0);
    let simple = [
        Json::Null,
        true.into(),
        0.into(),
        "".into(),
        Json::Array(Vec::new()),
    ];
    let mut queue: VecDeque<(Json, usize)> = VecDeque::new();
    let mut seen = HashSet::new();
    let listed = stock.values.iter().take(PARTS_MAX);
    let empty = Json::Object(Map::new());
    for seed in seeds.iter().chain(&simple).chain([&empty]).chain(listed) {
        if seen.insert(canonical(seed)) {
            queue.push_back((seed.clone(), 0));
        }
    }
    let mut tries = 0;
    while let Some((document, distance)) = queue.pop_front() {
        tries += 1;
        if tries > TRIES_MAX || expired() {
            return None;
        }
        if parts(&document) {
            return Some(document);
        }
        if distance >= 2 {
            continue;
        }
        for near in stock.near(&document) {
            if queue.len() < TRIES_MAX && seen.insert(canonical(&near)) {
                queue.push_back((near, distance + 1));
            }
        }
    }
    None
}

/// Values and names that the schemas mention.
#[derive(Default)]
struct Stock {
    values: Vec<Json>,
    names: BTreeSet<String>,
    known: HashSet<String>,
}

impl Stock {
    fn read(&mut self, schema: &Json, depth: usize) {
        if depth > 100 || self.values.len() > PARTS_MAX * 4 {
            return;
        }
        match schema {
            Json::Object(map) => {
                for (keyword, value) in map {
                    self.keyword(keyword, value);
                    self.read(value, depth + 1);
                }
            }
            Json::Array(list) => list.iter().for_each(|inner| self.read(inner, depth + 1)),
            _ => {}
        }
    }

    fn keyword(&mut self, keyword: &str, value: &Json) {
        match (keyword, value) {
            ("enum" | "examples", Json::Array(list)) => {
                list.iter().take(20).for_each(|one| self.add(one.clone()));
            }
            ("const" | "default", one) => self.add(one.clone()),
            (
                "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf",
                Json::Number(at),
            ) => {
                if let Some(whole) = at.as_i64() {
                    for near in [-1, 0, 1] {
                        self.add(whole.saturating_add(near).into());
                    }
                }
                if let Some(near) = at.as_f64() {
                    for step in [-0.5, 0.0, 0.5] {
                        let number = Number::from_f64(near + step);
                        number
                            .into_iter()
                            .for_each(|number| self.add(Json::Number(number)));
                    }
                }
            }
            ("minLength" | "maxLength", Json::Number(at)) => {
                let at = at.as_u64().unwrap_or(0).min(2_000);
                for length in [at.saturating_sub(1), at, at + 1] {
                    let length = usize::try_from(length).unwrap_or(0);
                    self.add("a".repeat(length).into());
                }
            }
            (
                "properties" | "dependentRequired" | "dependentSchemas" | "dependencies",
                Json::Object(map),
            ) => {
                self.names.extend(map.keys().take(PARTS_MAX).cloned());
            }
            ("required", Json::Array(list)) => {
                self.names
                    .extend(list.iter().filter_map(Json::as_str).map(str::to_owned));
            }
            _ => {}
        }
    }

    fn add(&mut self, value: Json) {
        if self.known.insert(canonical(&value)) {
            self.values.push(value);
        }
    }

    /// Documents one change away.
    fn near(&self, document: &Json) -> Vec<Json> {
        let mut out = Vec::new();
        self.change(document, 0, &mut |near| out.push(near));
        out
    }

    fn change(&self, value: &Json, depth: usize, put: &mut dyn FnMut(Json)) {
        let others = [
            Json::Null,
            true.into(),
            0.into(),
            1.5.into(),
            "".into(),
            "zz".into(),
            Json::Array(Vec::new()),
        ];
        for other in others.into_iter().chain([Json::Object(Map::new())]) {
            put(other);
        }
        for other in self.values.iter().take(PARTS_MAX / (depth + 1)) {
            put(other.clone());
        }
        if depth > 6 {
            return;
        }
        match value {
            Json::Object(members) => {
                for (name, inner) in members {
                    let mut less = members.clone();
                    less.remove(name);
                    put(Json::Object(less));
                    self.change(inner, depth + 1, &mut |near| {
                        let mut with = members.clone();
                        with.insert(name.clone(), near);
                        put(Json::Object(with));
                    });
                }
                let extra = ["x-extra".to_owned(), String::new()];
                for name in self.names.iter().take(40).chain(&extra) {
                    if members.contains_key(name) {
                        continue;
                    }
                    for value in [Json::Null, 1.into(), "a".into(), Json::Object(Map::new())] {
                        let mut with = members.clone();
                        with.insert(name.clone(), value);
                        put(Json::Object(with));
                    }
                }
            }
            Json::Array(items) => {
                for at in 0..items.len().min(8) {
                    let mut less = items.clone();
                    less.remove(at);
                    put(Json::Array(less));
                    let mut twice = items.clone();
                    twice.push(items[at].clone());
                    put(Json::Array(twice));
                    self.change(&items[at], depth + 1, &mut |near| {
                        let mut with = items.clone();
                        with[at] = near;
                        put(Json::Array(with));
                    });
                }
                for value in [Json::Null, 1.into(), "a".into()] {
                    let mut with = items.clone();
                    with.push(value);
                    put(Json::Array(with));
                }
            }
            Json::String(text) => {
                put(Json::String(format!("{text}a")));
                put(Json::String(format!("{text} ")));
                put(Json::String(text.to_uppercase()));
            }
            Json::Number(number) => {
                if let Some(whole) = number.as_i64() {
                    for step in [-1, 1] {
                        put(whole.saturating_add(step).into());
                    }
                }
            }
            _ => {}
        }
    }
}
