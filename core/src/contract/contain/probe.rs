//! Whether a fact is already certain, or already impossible, before anything is chosen.
//!
//! This is what keeps unions apart: a branch whose discriminator cannot fit is closed at once.

use super::frame::{Atom, Frame};
use super::holds::Lit;
use super::node::{Id, Kind};
use super::numbers::is_empty;
use super::read::{highest, lowest};
use super::solve::{Answer, Solver};
use super::text::{Found, Wanted};

impl Solver<'_> {
    /// `Some(true)` where the fact follows from the frame, `Some(false)` where it contradicts it.
    ///
    /// Only what is proven may be said; `None` is always right.
    pub(super) fn probe(&mut self, frame: &Frame, atom: &Atom) -> Option<bool> {
        match atom {
            Atom::Lit(lit) => self.probe_lit(frame, *lit),
            Atom::Low(bound) => {
                let both = highest(frame.low.clone(), bound.clone());
                settled(
                    both == frame.low,
                    is_empty(both.as_ref(), frame.high.as_ref()),
                )
            }
            Atom::High(bound) => {
                let both = lowest(frame.high.clone(), bound.clone());
                settled(
                    both == frame.high,
                    is_empty(frame.low.as_ref(), both.as_ref()),
                )
            }
            Atom::Multiple(of) => frame.multiples.contains(of).then_some(true),
            Atom::NotMultiple(of) => frame.multiples.contains(of).then_some(false),
            Atom::Least(count) => {
                let known = frame.least.max(frame.present.len() as u64);
                settled(
                    *count <= known,
                    frame.most.is_some_and(|most| *count > most),
                )
            }
            Atom::Most(count) => {
                let known = frame.least.max(frame.present.len() as u64);
                settled(
                    frame.most.is_some_and(|most| most <= *count),
                    *count < known,
                )
            }
            Atom::Pattern(pattern, holds) => self.probe_pattern(frame, pattern, *holds),
            Atom::Unique => frame
                .repeated
                .then_some(false)
                .or(frame.unique.then_some(true)),
            Atom::Repeated => settled(
                frame.repeated,
                frame.unique || frame.most.is_some_and(|most| most < 2),
            ),
            Atom::Item(at, lit) => self.probe_item(frame, *at, *lit),
            Atom::SomeItem(from, lit) => {
                let none = self.some_item(frame, *from, *lit) == Answer::Never;
                none.then_some(false)
            }
            Atom::AtLeast(lit, count) => {
                let none = *count > 0 && self.some_item(frame, 0, *lit) == Answer::Never;
                settled(*count == 0, none)
            }
            Atom::Present(name) => {
                if frame.present.contains(name) {
                    return Some(true);
                }
                (frame.absent.contains(name) || self.cannot_have(frame, name)).then_some(false)
            }
            Atom::Absent(name) => {
                if frame.present.contains(name) {
                    return Some(false);
                }
                (frame.absent.contains(name) || self.cannot_have(frame, name)).then_some(true)
            }
            Atom::Member(name, lit) => self.probe_member(frame, name, *lit),
            Atom::SomeMember(names, lit) => {
                let none = self.some_member(frame, names, *lit) == Answer::Never;
                none.then_some(false)
            }
            Atom::Unlisted(id) => self.probe_unlisted(frame, *id),
            Atom::AtMost(..) | Atom::Perhaps => None,
        }
    }

    /// What [`Self::probe`] says of facts about parts, without looking into them.
    pub(super) fn glance(&mut self, frame: &Frame, atom: &Atom) -> Option<bool> {
        match atom {
            Atom::Member(name, lit) => {
                if frame.absent.contains(name) {
                    return Some(false);
                }
                let mut lits = self.member(frame, name);
                lits.push(*lit);
                self.tidy(lits).is_none().then_some(false)
            }
            Atom::Item(at, lit) => {
                let mut lits = self.item(frame, *at);
                lits.push(*lit);
                self.tidy(lits).is_none().then_some(false)
            }
            Atom::SomeMember(..) | Atom::SomeItem(..) | Atom::AtLeast(..) => None,
            Atom::Lit((id, wanted)) => {
                if frame.lits.contains(&(*id, *wanted)) {
                    return Some(true);
                }
                let impossible =
                    frame.lits.contains(&(*id, !wanted)) || !self.store.kinds(*id).has(frame.kind);
                if impossible {
                    let other = !self.store.kinds(*id).has(frame.kind);
                    return Some(other && !wanted);
                }
                None
            }
            other => self.probe(frame, other),
        }
    }

    fn probe_lit(&mut self, frame: &Frame, (id, wanted): Lit) -> Option<bool> {
        if frame.lits.contains(&(id, wanted)) {
            return Some(true);
        }
        if frame.lits.contains(&(id, !wanted)) {
            return Some(false);
        }
        let impossible = !self.store.kinds(id).has(frame.kind)
            || (frame.kind == Kind::Object && self.is_apart(frame, id))
            || (frame.kind == Kind::Array && self.is_apart_list(frame, id));
        impossible.then_some(!wanted)
    }

    /// Whether the members of a node that holds could not be those of the frame.
    fn is_apart(&mut self, frame: &Frame, id: Id) -> bool {
        let node = self.store.node(id);
        for name in &node.required {
            if frame.absent.contains(name) {
                return true;
            }
            if frame.present.contains(name) {
                continue;
            }
            if self.cannot_have(frame, name) {
                return true;
            }
        }
        for (name, &child) in &node.members {
            let needed = node.required.contains(name) || frame.present.contains(name);
            if needed {
                let mut lits = self.member(frame, name);
                lits.push((child, true));
                if self.part(lits) == Answer::Never {
                    return true;
                }
            }
        }
        if node.others.is_some() {
            for name in frame.present.clone() {
                let covered = self.shape(id, &name);
                let Some(covered) = covered else { continue };
                let mut lits = self.member(frame, &name);
                lits.extend(covered);
                if self.part(lits) == Answer::Never {
                    return true;
                }
            }
        }
        // One level of conjuncts: a base with a discriminator beside it.
        let inner: Vec<Id> = node.all.clone();
        inner.into_iter().any(|child| {
            let child_node = self.store.node(child);
            child_node.all.is_empty() && self.is_apart(frame, child)
        })
    }

    fn is_apart_list(&mut self, frame: &Frame, id: Id) -> bool {
        let node = self.store.node(id);
        let least = frame.least.max(node.min_items);
        if frame.most.is_some_and(|most| most < least)
            || node.max_items.is_some_and(|most| most < least)
        {
            return true;
        }
        let count = usize::try_from(least)
            .unwrap_or(usize::MAX)
            .min(node.prefix.len() + 1);
        (0..count).any(|at| {
            let Some(child) = node.prefix.get(at).copied().or(node.items) else {
                return false;
            };
            let mut lits = self.item(frame, at);
            lits.push((child, true));
            self.part(lits) == Answer::Never
        })
    }

    fn probe_pattern(
        &mut self,
        frame: &Frame,
        pattern: &super::node::Name,
        holds: bool,
    ) -> Option<bool> {
        if frame.patterns.contains(&(pattern.clone(), holds)) {
            return Some(true);
        }
        let mut impossible = |holds: bool| {
            let mut patterns = frame.patterns.clone();
            patterns.insert((pattern.clone(), holds));
            let wanted = Wanted {
                least: frame.least,
                most: frame.most,
                patterns,
                without: frame.without.clone(),
            };
            self.store.texts.find(&wanted) == Found::Never
        };
        if impossible(holds) {
            return Some(false);
        }
        impossible(!holds).then_some(true)
    }

    fn probe_item(&mut self, frame: &Frame, at: usize, lit: Lit) -> Option<bool> {
        if frame.most.is_some_and(|most| at as u64 >= most) {
            return Some(false);
        }
        for before in 0..at {
            let lits = self.item(frame, before);
            if self.part(lits) == Answer::Never {
                return Some(false);
            }
        }
        let mut lits = self.item(frame, at);
        let there = frame.least > at as u64;
        if there && lits.contains(&lit) {
            return Some(true);
        }
        lits.push(lit);
        if self.part(lits.clone()) == Answer::Never {
            return Some(false);
        }
        if there && self.is_small(lit.0) {
            lits.pop();
            lits.push((lit.0, !lit.1));
            return (self.part(lits) == Answer::Never).then_some(true);
        }
        None
    }

    fn probe_member(&mut self, frame: &Frame, name: &super::node::Name, lit: Lit) -> Option<bool> {
        if frame.absent.contains(name) {
            return Some(false);
        }
        let there = frame.present.contains(name);
        if !there && self.is_full(frame) {
            return Some(false);
        }
        let mut lits = self.member(frame, name);
        if there && lits.contains(&lit) {
            return Some(true);
        }
        lits.push(lit);
        if self.part(lits.clone()) == Answer::Never || self.bad_name(frame, name) {
            return Some(false);
        }
        if there && self.is_small(lit.0) {
            lits.pop();
            lits.push((lit.0, !lit.1));
            return (self.part(lits) == Answer::Never).then_some(true);
        }
        None
    }

    /// Whether every value of the frame is outside of a list, as far as discriminators show.
    fn probe_unlisted(&mut self, frame: &Frame, id: Id) -> Option<bool> {
        let node = self.store.node(id);
        let values = node.values.as_ref()?;
        let any = values
            .list
            .iter()
            .any(|value| super::value::kind(value) == frame.kind);
        if !any || frame.excluded.contains(&id) {
            return Some(true);
        }
        None
    }

    /// Whether a node is cheap to ask about once more.
    fn is_small(&self, id: Id) -> bool {
        let node = self.store.node(id);
        node.values.is_some() || (node.members.is_empty() && node.in_place().next().is_none())
    }

    /// Whether no member of this name can be there.
    fn cannot_have(&mut self, frame: &Frame, name: &super::node::Name) -> bool {
        if self.is_full(frame) || self.bad_name(frame, name) {
            return true;
        }
        let lits = self.member(frame, name);
        self.part(lits) == Answer::Never
    }

    fn is_full(&self, frame: &Frame) -> bool {
        frame
            .most
            .is_some_and(|most| frame.present.len() as u64 >= most)
    }
}

/// The answer for a fact that is certain, impossible or neither.
fn settled(certain: bool, impossible: bool) -> Option<bool> {
    if impossible {
        return Some(false);
    }
    certain.then_some(true)
}
