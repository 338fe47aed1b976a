//! Whether one value satisfies one node, in three values: yes, no, and not known.

use std::collections::HashSet;

use serde_json::{Map, Value as Json};

use super::node::{Id, Node};
use super::store::Store;
use super::value::{canonical, decimal, kind};

/// A node that is to be satisfied, or with `false` not to be.
pub(super) type Lit = (Id, bool);

/// `and` of what may not be known.
fn both(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn negate(one: Option<bool>) -> Option<bool> {
    one.map(|holds| !holds)
}

impl Store {
    /// Whether a value satisfies all of these.
    pub(super) fn holds_all(&mut self, lits: &[Lit], value: &Json) -> Option<bool> {
        let mut all = Some(true);
        for &(id, wanted) in lits {
            let met = self.holds(id, value).map(|met| met == wanted);
            all = both(all, met);
            if all == Some(false) {
                break;
            }
        }
        all
    }

    /// Whether a value satisfies a node.
    pub(super) fn holds(&mut self, id: Id, value: &Json) -> Option<bool> {
        let node = self.node(id);
        if !node.kinds.has(kind(value)) {
            return Some(false);
        }
        if node
            .values
            .as_ref()
            .is_some_and(|values| !values.has(value))
        {
            return Some(false);
        }
        let mut all = node.opaque.is_none().then_some(true);
        all = both(all, self.own(&node, value));
        if all == Some(false) {
            return all;
        }
        both(all, self.logic(&node, value))
    }

    /// The keywords of the value's own kind.
    fn own(&mut self, node: &Node, value: &Json) -> Option<bool> {
        match value {
            Json::Number(number) => {
                let at = decimal(number);
                let low = node.low.as_ref();
                let high = node.high.as_ref();
                let above = low.is_none_or(|low| at > low.at || (!low.open && at == low.at));
                let below = high.is_none_or(|high| at < high.at || (!high.open && at == high.at));
                let multiple = node.multiple.as_ref();
                let even = multiple.is_none_or(|multiple| super::numbers::divides(multiple, &at));
                Some(above && below && even)
            }
            Json::String(text) => {
                let length = text.chars().count() as u64;
                if length < node.min_length || node.max_length.is_some_and(|most| length > most) {
                    return Some(false);
                }
                let pattern = node.pattern.as_ref();
                pattern.map_or(Some(true), |pattern| self.texts.matches(pattern, text))
            }
            Json::Array(items) => self.array(node, items),
            Json::Object(members) => self.object(node, members),
            _ => Some(true),
        }
    }

    fn array(&mut self, node: &Node, items: &[Json]) -> Option<bool> {
        let count = items.len() as u64;
        if count < node.min_items || node.max_items.is_some_and(|most| count > most) {
            return Some(false);
        }
        if node.unique {
            let mut seen = HashSet::new();
            if !items.iter().all(|item| seen.insert(canonical(item))) {
                return Some(false);
            }
        }
        let mut all = Some(true);
        for (at, item) in items.iter().enumerate() {
            let schema = node.prefix.get(at).copied().or(node.items);
            if let Some(schema) = schema {
                all = both(all, self.holds(schema, item));
            }
            if all == Some(false) {
                return all;
            }
        }
        let Some(contains) = &node.contains else {
            return all;
        };
        let (mut met, mut open) = (0, 0);
        for item in items {
            match self.holds(contains.schema, item) {
                Some(true) => met += 1,
                Some(false) => {}
                None => open += 1,
            }
        }
        let within =
            |count: u64| count >= contains.least && contains.most.is_none_or(|most| count <= most);
        let outcome = if open == 0 {
            Some(within(met))
        } else if met + open < contains.least || contains.most.is_some_and(|most| met > most) {
            Some(false)
        } else {
            None
        };
        both(all, outcome)
    }

    fn object(&mut self, node: &Node, members: &Map<String, Json>) -> Option<bool> {
        let count = members.len() as u64;
        let missing = node
            .required
            .iter()
            .any(|name| !members.contains_key(&**name));
        if missing || count < node.min_members || node.max_members.is_some_and(|most| count > most)
        {
            return Some(false);
        }
        for (name, needed) in &node.needs {
            let lacking = needed.iter().any(|name| !members.contains_key(&**name));
            if lacking && members.contains_key(&**name) {
                return Some(false);
            }
        }
        let mut all = Some(true);
        for (name, value) in members {
            let mut covered = Some(false);
            if let Some(&schema) = node.members.get(name.as_str()) {
                all = both(all, self.holds(schema, value));
                covered = Some(true);
            }
            for (pattern, &schema) in &node.patterns {
                match self.texts.matches(pattern, name) {
                    Some(true) => {
                        all = both(all, self.holds(schema, value));
                        covered = Some(true);
                    }
                    Some(false) => {}
                    None => {
                        if self.holds(schema, value) != Some(true) {
                            all = both(all, None);
                        }
                        if covered == Some(false) {
                            covered = None;
                        }
                    }
                }
            }
            if let Some(others) = node.others.filter(|_| covered != Some(true)) {
                let met = self.holds(others, value);
                // Where a pattern is not understood, only a value that fits either way is sure.
                let met = if covered.is_none() && met != Some(true) {
                    None
                } else {
                    met
                };
                all = both(all, met);
            }
            if let Some(names) = node.names {
                all = both(all, self.holds(names, &Json::String(name.clone())));
            }
            if all == Some(false) {
                return all;
            }
        }
        for (name, &schema) in &node.needs_schema {
            if members.contains_key(&**name) {
                all = both(all, self.holds(schema, &Json::Object(members.clone())));
            }
        }
        all
    }

    fn logic(&mut self, node: &Node, value: &Json) -> Option<bool> {
        let mut all = Some(true);
        for &child in &node.all {
            all = both(all, self.holds(child, value));
            if all == Some(false) {
                return all;
            }
        }
        if let Some(any) = &node.any {
            let mut none = Some(true);
            for &child in any {
                none = both(none, negate(self.holds(child, value)));
                if none == Some(false) {
                    break;
                }
            }
            all = both(all, negate(none));
        }
        if let Some(one) = &node.one {
            let (mut met, mut open) = (0, false);
            for &child in one {
                match self.holds(child, value) {
                    Some(true) => met += 1,
                    Some(false) => {}
                    None => open = true,
                }
                if met > 1 {
                    return Some(false);
                }
            }
            all = both(all, if open { None } else { Some(met == 1) });
        }
        if let Some(not) = node.not {
            all = both(all, negate(self.holds(not, value)));
        }
        if let Some([test, then, other]) = node.condition {
            let branch = match self.holds(test, value) {
                Some(true) => self.holds(then, value),
                Some(false) => self.holds(other, value),
                None => {
                    let both_ways = [self.holds(then, value), self.holds(other, value)];
                    (both_ways[0] == both_ways[1])
                        .then_some(both_ways[0])
                        .flatten()
                }
            };
            all = both(all, branch);
        }
        all
    }
}
