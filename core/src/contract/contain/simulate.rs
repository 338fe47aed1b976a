//! Containment by likeness: keyword by keyword, subschema by subschema.
//!
//! It is quick on large schemas that differ in few places, and it never chooses; what it cannot match is left to the decision by cases.
//! A pair met again inside itself is taken as contained: only a smaller document could show otherwise.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value as Json;

use super::node::{Id, Kind, Kinds, Name, Node, Values, YES};
use super::numbers::divides;
use super::read::{highest, lowest};
use super::solve::Solver;
use super::text::{Found, Wanted};

/// Most pairs that are compared.
const PAIRS_MAX: usize = 300_000;
/// Deepest nesting of pairs.
const DEPTH_MAX: usize = 2_000;
/// Most branches, and pairs of them, that are told apart.
const BRANCHES_MAX: usize = 2_500;
/// Most nodes that are looked at for what holds along with one.
const CONJUNCTS_MAX: usize = 24;
/// Deepest nesting of branches that are looked into for the values of a member.
const CONJUNCTS_DEPTH: usize = 6;

/// Pairs compared so far.
#[derive(Debug, Default)]
pub(super) struct Likeness {
    known: HashMap<(Id, Id), bool>,
    /// Pairs taken as contained, in the order they came up.
    trail: Vec<(Id, Id)>,
    depth: usize,
}

impl Solver<'_> {
    /// Whether everything that satisfies `inner` satisfies `outer`; `false` says nothing.
    pub(super) fn covers(&mut self, outer: Id, inner: Id) -> bool {
        if inner == outer || outer == YES {
            return true;
        }
        let pair = (outer, inner);
        if let Some(&known) = self.likeness.known.get(&pair) {
            return known;
        }
        let full = self.likeness.known.len() > PAIRS_MAX || self.likeness.depth > DEPTH_MAX;
        if full || self.spent() {
            return false;
        }
        let mark = self.likeness.trail.len();
        self.likeness.known.insert(pair, true);
        self.likeness.trail.push(pair);
        self.likeness.depth += 1;
        let like = self.is_like(outer, inner);
        self.likeness.depth -= 1;
        if !like {
            // What was found while taking this pair as contained may rest on it.
            for pair in self.likeness.trail.split_off(mark) {
                self.likeness.known.remove(&pair);
            }
            self.likeness.known.insert(pair, false);
        }
        like
    }

    fn is_like(&mut self, outer_id: Id, inner_id: Id) -> bool {
        let (outer, inner) = (self.store.node(outer_id), self.store.node(inner_id));
        if let Some(values) = &inner.values {
            let all = values.list.iter().take(1_000).all(|value| {
                self.store.holds(outer_id, value) == Some(true)
                    || self.store.holds(inner_id, value) == Some(false)
            });
            if all && values.list.len() <= 1_000 {
                return true;
            }
        }
        if self.is_like_directly(&outer, inner_id, &inner) {
            return true;
        }
        if inner.all.iter().any(|&child| self.covers(outer_id, child)) {
            return true;
        }
        let lists = [inner.any.as_ref(), inner.one.as_ref()];
        lists
            .into_iter()
            .flatten()
            .any(|list| !list.is_empty() && list.iter().all(|&child| self.covers(outer_id, child)))
    }

    fn is_like_directly(&mut self, outer: &Node, inner_id: Id, inner: &Node) -> bool {
        let kinds = self.store.kinds(inner_id);
        if kinds.and(outer.kinds) != kinds {
            return false;
        }
        if outer.opaque.is_some() && (outer.opaque != inner.opaque || outer.about != inner.about) {
            return false;
        }
        if let Some(values) = &outer.values {
            let Some(own) = &inner.values else {
                return false;
            };
            if !own.list.iter().all(|value| values.has(value)) {
                return false;
            }
        }
        let has = |kind| kinds.has(kind);
        if (has(Kind::Integer) || has(Kind::Fraction))
            && !numbers(outer, inner, has(Kind::Fraction))
        {
            return false;
        }
        (!has(Kind::Text) || self.texts(outer, inner))
            && (!has(Kind::Array) || self.lists(outer, inner))
            && (!has(Kind::Object) || self.objects(outer, inner))
            && self.logics(outer, inner_id, inner)
    }

    fn texts(&mut self, outer: &Node, inner: &Node) -> bool {
        if inner.min_length < outer.min_length || !within(inner.max_length, outer.max_length) {
            return false;
        }
        match (&outer.pattern, &inner.pattern) {
            (None, _) => true,
            (Some(outer), Some(inner)) if outer == inner => true,
            (Some(pattern), own) => {
                let own = own.iter().map(|own| (own.clone(), true));
                let wanted = Wanted {
                    least: inner.min_length,
                    most: inner.max_length,
                    patterns: own.chain([(pattern.clone(), false)]).collect(),
                    ..Wanted::default()
                };
                self.store.texts.find(&wanted) == Found::Never
            }
        }
    }

    fn lists(&mut self, outer: &Node, inner: &Node) -> bool {
        if inner.min_items < outer.min_items
            || !within(inner.max_items, outer.max_items)
            || (outer.unique && !inner.unique)
        {
            return false;
        }
        if let Some(wanted) = &outer.contains {
            let Some(own) = &inner.contains else {
                return false;
            };
            let most = match (own.most, wanted.most) {
                (_, None) => true,
                (Some(own_most), Some(most)) => {
                    own_most <= most && self.covers(own.schema, wanted.schema)
                }
                (None, Some(_)) => false,
            };
            if !most || own.least < wanted.least || !self.covers(wanted.schema, own.schema) {
                return false;
            }
        }
        let count = outer.prefix.len().max(inner.prefix.len());
        (0..=count).all(|at| {
            let item = |node: &Node| node.prefix.get(at).copied().or(node.items).unwrap_or(YES);
            self.covers(item(outer), item(inner))
        })
    }

    fn objects(&mut self, outer: &Node, inner: &Node) -> bool {
        if inner.min_members < outer.min_members
            || !within(inner.max_members, outer.max_members)
            || !outer.required.is_subset(&inner.required)
        {
            return false;
        }
        for (name, needed) in &outer.needs {
            let own = inner.needs.get(name);
            let known = |other: &Name| {
                inner.required.contains(other) || own.is_some_and(|own| own.contains(other))
            };
            if !needed.iter().all(known) {
                return false;
            }
        }
        for (name, &child) in &outer.needs_schema {
            let Some(&own) = inner.needs_schema.get(name) else {
                return false;
            };
            if !self.covers(child, own) {
                return false;
            }
        }
        if let Some(names) = outer.names
            && !self.covers(names, inner.names.unwrap_or(YES))
        {
            return false;
        }
        for (name, &child) in &outer.members {
            if !self.member_covered(inner, name, child) {
                return false;
            }
        }
        for (pattern, &child) in &outer.patterns {
            if !self.pattern_covered(inner, pattern, child) {
                return false;
            }
        }
        outer
            .others
            .is_none_or(|others| self.others_covered(outer, inner, others))
    }

    /// Whether what `inner` asks of one member is within `wanted`.
    fn member_covered(&mut self, inner: &Node, name: &str, wanted: Id) -> bool {
        let mut own: Vec<Id> = inner.members.get(name).copied().into_iter().collect();
        for (pattern, &child) in &inner.patterns {
            match self.store.texts.matches(pattern, name) {
                Some(true) => own.push(child),
                Some(false) => {}
                None => return own.iter().any(|&own| self.covers(wanted, own)),
            }
        }
        if own.is_empty() {
            own.push(inner.others.unwrap_or(YES));
        }
        own.iter().any(|&own| self.covers(wanted, own))
    }

    fn pattern_covered(&mut self, inner: &Node, pattern: &Name, wanted: Id) -> bool {
        if let Some(&own) = inner.patterns.get(pattern)
            && self.covers(wanted, own)
        {
            return true;
        }
        let rest = inner.others.unwrap_or(YES);
        if !self.covers(wanted, rest) {
            return false;
        }
        for (name, &child) in &inner.members {
            let matched = self.store.texts.matches(pattern, name) != Some(false);
            if matched && !self.covers(wanted, child) {
                return false;
            }
        }
        inner
            .patterns
            .values()
            .all(|&child| self.covers(wanted, child))
    }

    /// Whether members that `outer` does not name are within what it asks of those.
    fn others_covered(&mut self, outer: &Node, inner: &Node, wanted: Id) -> bool {
        if !self.covers(wanted, inner.others.unwrap_or(YES)) {
            return false;
        }
        for name in inner.members.keys() {
            let mut named = outer.members.contains_key(name);
            for pattern in outer.patterns.keys() {
                named |= self.store.texts.matches(pattern, name) == Some(true);
            }
            if !named && !self.member_covered(inner, name, wanted) {
                return false;
            }
        }
        inner.patterns.iter().all(|(pattern, &child)| {
            outer.patterns.contains_key(pattern) || self.covers(wanted, child)
        })
    }

    fn logics(&mut self, outer: &Node, inner_id: Id, inner: &Node) -> bool {
        for &child in &outer.all {
            if !self.covers(child, inner_id) {
                return false;
            }
        }
        if let Some(any) = &outer.any {
            let some = any.iter().any(|&child| self.covers(child, inner_id));
            let each = || inner.any.as_ref().or(inner.one.as_ref());
            let matched = |solver: &mut Self| {
                each().is_some_and(|own| {
                    own.iter()
                        .all(|&own| any.iter().any(|&child| solver.covers(child, own)))
                })
            };
            if !some && !matched(self) {
                return false;
            }
        }
        if let Some(one) = &outer.one
            && !self.one_covered(one, inner_id)
        {
            return false;
        }
        if let Some(not) = outer.not {
            let Some(own) = inner.not else { return false };
            if !self.covers(own, not) {
                return false;
            }
        }
        if let Some([test, then, other]) = outer.condition {
            if self.covers(then, inner_id) && self.covers(other, inner_id) {
                return true;
            }
            let Some([own_test, own_then, own_other]) = inner.condition else {
                return false;
            };
            let alike = self.covers(test, own_test) && self.covers(own_test, test);
            return alike && self.covers(then, own_then) && self.covers(other, own_other);
        }
        true
    }

    /// Whether what satisfies `inner` satisfies exactly one of the branches.
    fn one_covered(&mut self, one: &[Id], inner_id: Id) -> bool {
        for id in self.conjuncts(&[inner_id]) {
            let own = self.store.node(id);
            if let Some(own) = &own.one
                && (self.same_branches(one, own) || self.wider_branches(one, own, inner_id))
            {
                return true;
            }
        }
        let Some(at) = one.iter().position(|&child| self.covers(child, inner_id)) else {
            return false;
        };
        let mut others = one.iter().enumerate().filter(|(other, _)| *other != at);
        others.all(|(_, &other)| self.is_apart_from(&[inner_id, other]))
    }

    /// Whether each own branch is within one of the others, and those that are wider reach into no own branch but theirs.
    fn wider_branches(&mut self, one: &[Id], own: &[Id], inner_id: Id) -> bool {
        let each_once: BTreeSet<Id> = one.iter().copied().collect();
        if own.len() * one.len() > BRANCHES_MAX || each_once.len() < one.len() {
            return false;
        }
        let mut left: Vec<Id> = one.to_vec();
        let mut matched: Vec<Option<Id>> = vec![None; own.len()];
        for (at, id) in own.iter().enumerate() {
            if let Some(same) = left.iter().position(|other| other == id) {
                matched[at] = Some(left.swap_remove(same));
            }
        }
        for (at, &id) in own.iter().enumerate() {
            if matched[at].is_none() {
                let Some(wider) = left.iter().position(|&other| self.covers(other, id)) else {
                    return false;
                };
                matched[at] = Some(left.swap_remove(wider));
            }
        }
        // Branches that are new, or wider than their own one.
        let pairs = own.iter().zip(&matched);
        let wider = pairs.filter_map(|(own, outer)| outer.filter(|outer| outer != own));
        let reaching: Vec<Id> = wider.chain(left).collect();
        own.iter().zip(&matched).all(|(&own, &theirs)| {
            let mut others = reaching.iter().filter(|&&other| Some(other) != theirs);
            others.all(|&other| self.is_apart_from(&[inner_id, own, other]))
        })
    }

    /// Whether no value satisfies all of these, as far as kinds and a member that tells them apart show.
    fn is_apart_from(&mut self, ids: &[Id]) -> bool {
        let kinds = ids.iter().map(|&id| self.store.kinds(id));
        let kinds = kinds.fold(Kinds::ALL, Kinds::and);
        if kinds == Kinds::NONE {
            return true;
        }
        if kinds != Kinds::of(Kind::Object) {
            return false;
        }
        let parts = self.conjuncts(ids);
        let mut required: BTreeSet<Name> = BTreeSet::new();
        for &id in &parts {
            required.extend(self.store.node(id).required.iter().cloned());
        }
        required.iter().any(|name| {
            let children: Vec<Id> = parts
                .iter()
                .filter_map(|&id| self.store.node(id).members.get(name).copied())
                .collect();
            let kinds = children.iter().map(|&child| self.store.kinds(child));
            if kinds.fold(Kinds::ALL, Kinds::and) == Kinds::NONE {
                return true;
            }
            let lists: Vec<Values> = ids
                .iter()
                .filter_map(|&id| self.values_of(id, name, 0))
                .map(Values::new)
                .collect();
            let Some((first, rest)) = lists.split_first() else {
                return false;
            };
            first.list.iter().all(|value| {
                let mut children = children.iter();
                rest.iter().any(|list| !list.has(value))
                    || children.any(|&child| self.store.holds(child, value) == Some(false))
            })
        })
    }

    /// The values that a member may have where it is there, and perhaps more; `None` where they are not listed.
    fn values_of(&self, id: Id, name: &Name, depth: usize) -> Option<Vec<Json>> {
        if depth > CONJUNCTS_DEPTH {
            return None;
        }
        let node = self.store.node(id);
        if let Some(&child) = node.members.get(name) {
            for child in self.conjuncts(&[child]) {
                if let Some(values) = &self.store.node(child).values {
                    return Some(values.list.clone());
                }
            }
        }
        for &child in &node.all {
            if let Some(values) = self.values_of(child, name, depth + 1) {
                return Some(values);
            }
        }
        let branches = node.any.as_ref().or(node.one.as_ref())?;
        let mut all = Vec::new();
        for &child in branches.iter().take(BRANCHES_MAX) {
            all.extend(self.values_of(child, name, depth + 1)?);
        }
        (branches.len() <= BRANCHES_MAX && all.len() <= BRANCHES_MAX).then_some(all)
    }

    /// Nodes that hold where these do.
    fn conjuncts(&self, ids: &[Id]) -> Vec<Id> {
        let mut found: Vec<Id> = ids.to_vec();
        let mut at = 0;
        while let Some(&id) = found.get(at) {
            at += 1;
            for &child in &self.store.node(id).all {
                if found.len() < CONJUNCTS_MAX && !found.contains(&child) {
                    found.push(child);
                }
            }
        }
        found
    }

    /// Whether two lists of branches are the same sets of values, one by one.
    fn same_branches(&mut self, one: &[Id], other: &[Id]) -> bool {
        if one.len() != other.len() {
            return false;
        }
        let mut left: Vec<Id> = other.to_vec();
        let mut rest: Vec<Id> = Vec::new();
        for id in one {
            match left.iter().position(|other| other == id) {
                Some(at) => {
                    left.swap_remove(at);
                }
                None => rest.push(*id),
            }
        }
        rest.into_iter().all(|id| {
            let found = left
                .iter()
                .position(|&other| self.covers(id, other) && self.covers(other, id));
            found.is_some_and(|at| {
                left.swap_remove(at);
                true
            })
        })
    }
}

fn numbers(outer: &Node, inner: &Node, fractions: bool) -> bool {
    let low = outer.low.as_ref().is_none_or(|low| {
        inner.low.is_some() && highest(inner.low.clone(), low.clone()) == inner.low
    });
    let high = outer.high.as_ref().is_none_or(|high| {
        inner.high.is_some() && lowest(inner.high.clone(), high.clone()) == inner.high
    });
    let multiple = outer.multiple.as_ref().is_none_or(|of| {
        inner.multiple.as_ref().is_some_and(|own| divides(of, own))
            || (!fractions && divides(of, &1.into()))
    });
    low && high && multiple
}

fn within(inner: Option<u64>, outer: Option<u64>) -> bool {
    match (inner, outer) {
        (_, None) => true,
        (Some(inner), Some(outer)) => inner <= outer,
        (None, Some(_)) => false,
    }
}
