//! Arrays by their items: how many there must be, what each must be, and whether that can be.

use std::collections::HashSet;

use serde_json::{Map, Value as Json};

use super::frame::Frame;
use super::holds::Lit;
use super::node::{Id, Name};
use super::solve::{Answer, Cx, Solver};
use super::text::{Found, Wanted};
use super::value::canonical;

/// Most items that are written out.
const ITEMS_MAX: u64 = 300;
/// Furthest item that has a schema of its own.
const PREFIX_MAX: usize = 200;
/// Most numbers that are tried for another one.
const ANOTHER_MAX: i64 = 40;

impl Solver<'_> {
    /// What one item must be.
    pub(super) fn item(&mut self, frame: &Frame, at: usize) -> Vec<Lit> {
        let mut lits = frame.every.clone();
        lits.extend(frame.items.get(&at).into_iter().flatten());
        for &id in &frame.shapes {
            let node = self.store.node(id);
            let child = node.prefix.get(at).copied().or(node.items);
            lits.extend(child.map(|child| (child, true)));
        }
        lits
    }

    /// The first place from which on all items must be the same.
    fn tail(&self, frame: &Frame) -> usize {
        let prefixes = frame
            .shapes
            .iter()
            .map(|&id| self.store.node(id).prefix.len());
        let own = frame.items.keys().last().map_or(0, |last| last + 1);
        prefixes.max().unwrap_or(0).max(own)
    }

    /// How many items there can be at most, as far as is proven; `None` is without end.
    fn ceiling(&mut self, frame: &Frame) -> Option<u64> {
        let tail = self.tail(frame).min(PREFIX_MAX);
        for at in 0..=tail {
            if frame.most.is_some_and(|most| at as u64 >= most) {
                break;
            }
            let lits = self.item(frame, at);
            if self.part(lits) == Answer::Never {
                return Some(at as u64);
            }
        }
        frame.most
    }

    /// Whether there can be an item that a fact asks for, looked at by itself.
    pub(super) fn some_item(&mut self, frame: &Frame, from: usize, lit: Lit) -> Answer {
        let ceiling = self.ceiling(frame);
        let tail = self.tail(frame).max(from);
        if tail > PREFIX_MAX {
            return Answer::Unknown;
        }
        let mut unknown = false;
        for at in from..=tail {
            if ceiling.is_some_and(|most| at as u64 >= most) {
                break;
            }
            let mut lits = self.item(frame, at);
            lits.push(lit);
            match self.part(lits) {
                Answer::Never => {}
                Answer::Doc(value) => return Answer::Doc(value),
                Answer::Unknown => unknown = true,
            }
        }
        if unknown {
            Answer::Unknown
        } else {
            Answer::Never
        }
    }

    /// Finds an array for a frame of arrays.
    pub(super) fn settle_array(&mut self, cx: &Cx<'_>, frame: &Frame) -> Answer {
        let ceiling = self.ceiling(frame);
        let least = frame.least;
        if ceiling.is_some_and(|most| most < least) || (frame.unique && frame.repeated) {
            return Answer::Never;
        }
        for &(from, lit) in &frame.some_items {
            if self.some_item(frame, from, lit) == Answer::Never {
                return Answer::Never;
            }
        }
        for &(lit, count) in &frame.at_least {
            if count > 0 && self.some_item(frame, 0, lit) == Answer::Never {
                return Answer::Never;
            }
        }
        if (frame.repeated && self.no_pair(frame, ceiling)) || self.too_many(frame) {
            return Answer::Never;
        }
        if least > ITEMS_MAX {
            return Answer::Unknown;
        }
        let mut unknown = true;
        for extra in [0, 1, 2] {
            let Some(places) = self.places(frame, ceiling, extra) else {
                continue;
            };
            let Some(items) = self.items(frame, &places, &mut unknown) else {
                if !unknown {
                    return Answer::Never;
                }
                continue;
            };
            if let Answer::Doc(value) = self.offer(cx, Json::Array(items)) {
                return Answer::Doc(value);
            }
        }
        match self.all_arrays(frame, ceiling) {
            Some(all) => self.try_all(cx, &all),
            None => Answer::Unknown,
        }
    }

    /// Whether more items cannot but satisfy something than may.
    fn too_many(&mut self, frame: &Frame) -> bool {
        let tail = self.tail(frame);
        if tail > PREFIX_MAX {
            return false;
        }
        frame.at_most.iter().any(|&((id, wanted), count)| {
            let mut bound = 0;
            for at in 0..=tail {
                let left = frame.least.saturating_sub(at as u64);
                if left == 0 {
                    break;
                }
                let mut lits = self.item(frame, at);
                lits.push((id, !wanted));
                if self.part(lits) == Answer::Never {
                    // The last one stands for all that follow.
                    bound += if at == tail { left } else { 1 };
                }
            }
            bound > count
        })
    }

    /// Whether no two items can be equal.
    fn no_pair(&mut self, frame: &Frame, ceiling: Option<u64>) -> bool {
        let tail = self.tail(frame);
        if tail > 30 {
            return false;
        }
        let last = ceiling.map_or(tail + 1, |most| {
            usize::try_from(most)
                .unwrap_or(usize::MAX)
                .saturating_sub(1)
                .min(tail + 1)
        });
        for one in 0..=last {
            for other in one + 1..=last {
                let mut lits = self.item(frame, one);
                lits.extend(self.item(frame, other));
                if self.part(lits) != Answer::Never {
                    return false;
                }
            }
        }
        true
    }

    /// What each item must be once those that facts ask for have their places.
    fn places(&mut self, frame: &Frame, ceiling: Option<u64>, extra: u64) -> Option<Vec<Vec<Lit>>> {
        let mut wanted: Vec<(usize, Lit)> = frame.some_items.clone();
        for &(lit, count) in &frame.at_least {
            wanted.extend((0..count.min(ITEMS_MAX)).map(|_| (0, lit)));
        }
        let mut count = usize::try_from(frame.least + extra).ok()?;
        if frame.repeated {
            count = count.max(2);
        }
        let most = ceiling.map_or(usize::MAX, |most| {
            usize::try_from(most).unwrap_or(usize::MAX)
        });
        if count > most {
            return None;
        }
        let mut places: Vec<Vec<Lit>> = (0..count).map(|at| self.item(frame, at)).collect();
        let mut taken = vec![false; places.len()];
        for (from, lit) in wanted {
            let mut placed = false;
            for at in from..most.min(from + PREFIX_MAX + 300) {
                while places.len() <= at {
                    places.push(self.item(frame, places.len()));
                    taken.push(false);
                }
                // Each item answers one wish, so that counts add up.
                if taken[at] {
                    continue;
                }
                let mut lits = places[at].clone();
                lits.push(lit);
                if matches!(self.part(lits.clone()), Answer::Doc(_)) {
                    places[at] = lits;
                    taken[at] = true;
                    placed = true;
                    break;
                }
                if at > self.tail(frame) + ITEMS_MAX as usize {
                    break;
                }
            }
            if !placed {
                return None;
            }
        }
        for &((id, wanted), count) in &frame.at_most {
            // The first ones may, the others must not.
            let mut left = count;
            for lits in &mut places {
                let mut against = lits.clone();
                against.push((id, !wanted));
                let can_avoid = matches!(self.part(against.clone()), Answer::Doc(_));
                if can_avoid {
                    *lits = against;
                } else {
                    left = left.checked_sub(1)?;
                }
            }
        }
        Some(places)
    }

    /// Values for the places; `unknown` becomes false where it is proven that there are none.
    fn items(
        &mut self,
        frame: &Frame,
        places: &[Vec<Lit>],
        unknown: &mut bool,
    ) -> Option<Vec<Json>> {
        let mut items: Vec<Json> = Vec::with_capacity(places.len());
        let repeat = if frame.repeated {
            self.pair(places)
        } else {
            None
        };
        let mut used: Vec<Lit> = Vec::new();
        let mut seen = HashSet::new();
        let plain = frame.some_items.is_empty() && frame.at_least.is_empty();
        for (at, lits) in places.iter().enumerate() {
            let mut lits = lits.clone();
            if let Some((one, other)) = repeat {
                if at == other {
                    items.push(items[one].clone());
                    continue;
                }
                if at == one {
                    lits.extend(&places[other]);
                }
            }
            let mut answer = self.part(lits.clone());
            if let Answer::Doc(value) = &answer
                && frame.unique
                && seen.contains(&canonical(value))
            {
                answer = match self.another(&lits, value, &seen) {
                    Some(other) => Answer::Doc(other),
                    None => {
                        lits.extend(&used);
                        self.part(lits.clone())
                    }
                };
            }
            let Answer::Doc(value) = answer else {
                let same = places[..=at].windows(2).all(|pair| pair[0] == pair[1]);
                // As many different ones as there are, and all places alike: there are no more.
                if answer == Answer::Never
                    && frame.unique
                    && same
                    && plain
                    && frame.at_most.is_empty()
                    && (places.len() as u64) <= frame.least
                {
                    *unknown = false;
                }
                return None;
            };
            if frame.unique {
                seen.insert(canonical(&value));
                let id = self.exactly(value.clone());
                used.push((id, false));
            }
            items.push(value);
        }
        Some(items)
    }

    /// A value like this one that is none of those seen: looking for one from nothing is dearer, the more there are.
    fn another(&mut self, lits: &[Lit], value: &Json, seen: &HashSet<String>) -> Option<Json> {
        let mut near = Vec::new();
        match value {
            Json::String(text) => {
                near.extend(('a'..='z').map(|letter| Json::from(format!("{text}{letter}"))));
            }
            Json::Number(number) => {
                let at = number.as_i64()?;
                near.extend(
                    (1..ANOTHER_MAX)
                        .flat_map(|by| [at.saturating_add(by), at.saturating_sub(by)])
                        .map(Json::from),
                );
            }
            Json::Object(members) => {
                for (name, inner) in members {
                    let others: Vec<Json> = match inner {
                        Json::String(text) => ('a'..='z')
                            .map(|letter| format!("{text}{letter}").into())
                            .collect(),
                        Json::Number(number) => {
                            let at = number.as_i64().unwrap_or(0);
                            (0..ANOTHER_MAX)
                                .map(|by| at.saturating_add(by).into())
                                .collect()
                        }
                        Json::Array(_) => continue,
                        _ => vec![true.into(), false.into()],
                    };
                    near.extend(others.into_iter().map(|other| with(members, name, other)));
                }
                for (name, child) in self.named(lits) {
                    if members.contains_key(&*name) {
                        continue;
                    }
                    if let Answer::Doc(inner) = self.part(vec![(child, true)]) {
                        if let Json::String(text) = &inner {
                            let longer = ('a'..='z').map(|letter| format!("{text}{letter}").into());
                            near.extend(longer.map(|other| with(members, &name, other)));
                        }
                        near.push(with(members, &name, inner));
                    }
                }
            }
            _ => return None,
        }
        near.into_iter().take(400).find(|other| {
            !seen.contains(&canonical(other)) && self.store.holds_all(lits, other) == Some(true)
        })
    }

    /// Members that nodes which must hold name, with what each must be by one of them.
    fn named(&self, lits: &[Lit]) -> Vec<(Name, Id)> {
        let mut todo: Vec<Id> = lits.iter().filter(|lit| lit.1).map(|lit| lit.0).collect();
        let mut named = Vec::new();
        let mut met = 0;
        while let Some(id) = todo.pop().filter(|_| met < 20) {
            met += 1;
            let node = self.store.node(id);
            named.extend(
                node.members
                    .iter()
                    .map(|(name, &child)| (name.clone(), child))
                    .take(8),
            );
            todo.extend(&node.all);
        }
        named
    }

    /// Two places that can hold the same value.
    fn pair(&mut self, places: &[Vec<Lit>]) -> Option<(usize, usize)> {
        let pairs = (0..places.len())
            .flat_map(|one| (one + 1..places.len()).map(move |other| (one, other)));
        let pairs: Vec<_> = pairs.take(200).collect();
        pairs.into_iter().find(|&(one, other)| {
            let mut lits = places[one].clone();
            lits.extend(&places[other]);
            matches!(self.part(lits), Answer::Doc(_))
        })
    }

    /// Finds a text for a frame of texts.
    pub(super) fn settle_text(&mut self, cx: &Cx<'_>, frame: &Frame) -> Answer {
        let mut without = frame.without.clone();
        let excluded = self.excluded_texts(frame);
        without.extend(excluded.iter().map(|text| text.as_str().into()));
        let wanted = Wanted {
            least: frame.least,
            most: frame.most,
            patterns: frame.patterns.clone(),
            without,
        };
        if let Some(text) = self.of_format(frame, &wanted) {
            let answer = self.offer(cx, Json::String(text));
            if answer != Answer::Unknown {
                return answer;
            }
        }
        match self.store.texts.find(&wanted) {
            Found::Never => Answer::Never,
            Found::Text(text) => self.offer(cx, Json::String(text)),
            Found::Unknown => Answer::Unknown,
        }
    }
}

impl Solver<'_> {
    /// A text of a format that the frame names: no rule asks for it, but some validators do.
    fn of_format(&mut self, frame: &Frame, wanted: &Wanted) -> Option<String> {
        let held = frame.lits.iter().filter(|lit| lit.1);
        let formats: Vec<Name> = held
            .filter_map(|lit| self.store.node(lit.0).format.clone())
            .collect();
        let text = formats.iter().find_map(|format| sample(format))?;
        let length = text.len() as u64;
        let fits = length >= wanted.least
            && wanted.most.is_none_or(|most| length <= most)
            && !wanted.without.contains(text);
        let mut patterns = wanted.patterns.iter();
        (fits
            && patterns
                .all(|(pattern, holds)| self.store.texts.matches(pattern, text) == Some(*holds)))
        .then(|| text.to_owned())
    }
}

/// A text of a format.
fn sample(format: &str) -> Option<&'static str> {
    Some(match format {
        "date-time" => "2024-01-01T00:00:00Z",
        "date" => "2024-01-01",
        "time" => "00:00:00Z",
        "duration" => "P1D",
        "email" | "idn-email" => "a@example.com",
        "hostname" | "idn-hostname" => "example.com",
        "ipv4" | "ip-address" => "192.0.2.1",
        "ipv6" => "2001:db8::1",
        "uri" | "iri" | "url" => "https://example.com/",
        "uri-reference" | "iri-reference" | "uri-template" | "regex" => "a",
        "uuid" => "00000000-0000-4000-8000-000000000000",
        "json-pointer" => "/a",
        "relative-json-pointer" => "0",
        "color" => "#000000",
        _ => return None,
    })
}

/// The object with another value for one member.
fn with(members: &Map<String, Json>, name: &str, value: Json) -> Json {
    let mut members = members.clone();
    members.insert(name.to_owned(), value);
    Json::Object(members)
}
