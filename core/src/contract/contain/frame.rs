//! What is known of one value of one kind while deciding: keywords as facts, and choices still open.
//!
//! A node that must hold gives facts and choices; one that must not hold gives one choice between the ways to break it.

use std::collections::{BTreeMap, BTreeSet};

use bigdecimal::BigDecimal;

use super::holds::Lit;
use super::node::{Bound, Id, Kind, Name, Node};
use super::read::{highest, lowest};
use super::solve::Solver;

/// Names of members: those a fact is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Names {
    /// Those a pattern matches.
    Matching(Name),
    /// Those that neither the members nor the patterns of a node cover.
    Outside(Id),
    /// Those that, as a text, satisfy this.
    Being(Lit),
}

/// One fact about a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Atom {
    Lit(Lit),
    /// Not one of the values of a node.
    Unlisted(Id),
    Low(Bound),
    High(Bound),
    Multiple(BigDecimal),
    NotMultiple(BigDecimal),
    /// Length of a text, items of a list, members of an object.
    Least(u64),
    Most(u64),
    Pattern(Name, bool),
    Unique,
    Repeated,
    Item(usize, Lit),
    /// Some item from this one on.
    SomeItem(usize, Lit),
    AtLeast(Lit, u64),
    AtMost(Lit, u64),
    Present(Name),
    Absent(Name),
    Member(Name, Lit),
    /// Some member with such a name; its value satisfies this where one is given.
    SomeMember(Names, Option<Lit>),
    /// Something that is not understood and may be the case.
    Perhaps,
}

/// The ways to go on, one of which must be taken.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) ways: Ways,
    /// Whether it is about breaking a node: such choices decide, the others come along.
    pub(super) breaks: bool,
}

/// Ways to go on, each some facts.
pub(super) type Ways = Vec<Vec<Atom>>;

fn holding(ways: Ways) -> Choice {
    Choice {
        ways,
        breaks: false,
    }
}

/// What is known of a value.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) lits: BTreeSet<Lit>,
    /// A node whose values the value is among.
    pub(super) listed: Option<Id>,
    pub(super) excluded: Vec<Id>,
    pub(super) low: Option<Bound>,
    pub(super) high: Option<Bound>,
    pub(super) multiples: Vec<BigDecimal>,
    pub(super) not_multiples: Vec<BigDecimal>,
    pub(super) least: u64,
    pub(super) most: Option<u64>,
    pub(super) patterns: BTreeSet<(Name, bool)>,
    pub(super) without: BTreeSet<Name>,
    /// Nodes whose keywords on items or members hold.
    pub(super) shapes: Vec<Id>,
    pub(super) unique: bool,
    pub(super) repeated: bool,
    pub(super) every: Vec<Lit>,
    pub(super) items: BTreeMap<usize, Vec<Lit>>,
    pub(super) some_items: Vec<(usize, Lit)>,
    pub(super) at_least: Vec<(Lit, u64)>,
    pub(super) at_most: Vec<(Lit, u64)>,
    pub(super) names: Vec<Lit>,
    pub(super) present: BTreeSet<Name>,
    pub(super) absent: BTreeSet<Name>,
    pub(super) members: BTreeMap<Name, Vec<Lit>>,
    pub(super) some_members: Vec<(Names, Option<Lit>)>,
}

impl Frame {
    pub(super) fn new(kind: Kind) -> Frame {
        Frame {
            kind,
            lits: BTreeSet::new(),
            listed: None,
            excluded: Vec::new(),
            low: None,
            high: None,
            multiples: Vec::new(),
            not_multiples: Vec::new(),
            least: 0,
            most: None,
            patterns: BTreeSet::new(),
            without: BTreeSet::new(),
            shapes: Vec::new(),
            unique: false,
            repeated: false,
            every: Vec::new(),
            items: BTreeMap::new(),
            some_items: Vec::new(),
            at_least: Vec::new(),
            at_most: Vec::new(),
            names: Vec::new(),
            present: BTreeSet::new(),
            absent: BTreeSet::new(),
            members: BTreeMap::new(),
            some_members: Vec::new(),
        }
    }

    pub(super) fn cap(&mut self, most: u64) {
        self.most = Some(self.most.map_or(most, |old| old.min(most)));
    }

    /// Whether sizes or presence contradict each other outright.
    pub(super) fn is_pinched(&self) -> bool {
        let least = self.least.max(self.present.len() as u64);
        self.most.is_some_and(|most| most < least)
            || super::numbers::is_empty(self.low.as_ref(), self.high.as_ref())
    }
}

impl Solver<'_> {
    /// Adds a fact; `false` where it contradicts what is known.
    pub(super) fn apply(
        &mut self,
        frame: &mut Frame,
        atom: Atom,
        queue: &mut Vec<Atom>,
        choices: &mut Vec<Choice>,
    ) -> bool {
        match atom {
            Atom::Lit((id, wanted)) => {
                if frame.lits.contains(&(id, !wanted)) {
                    return false;
                }
                if !frame.lits.insert((id, wanted)) {
                    return true;
                }
                return if wanted {
                    self.hold(frame, id, queue, choices)
                } else {
                    self.avoid(frame, id, queue, choices)
                };
            }
            Atom::Unlisted(id) => frame.excluded.push(id),
            Atom::Low(bound) => frame.low = highest(frame.low.take(), bound),
            Atom::High(bound) => frame.high = lowest(frame.high.take(), bound),
            Atom::Multiple(of) => frame.multiples.push(of),
            Atom::NotMultiple(of) => frame.not_multiples.push(of),
            Atom::Least(count) => frame.least = frame.least.max(count),
            Atom::Most(count) => frame.cap(count),
            Atom::Pattern(pattern, holds) => {
                if frame.patterns.contains(&(pattern.clone(), !holds)) {
                    return false;
                }
                frame.patterns.insert((pattern, holds));
            }
            Atom::Unique => frame.unique = true,
            Atom::Repeated => {
                frame.repeated = true;
                frame.least = frame.least.max(2);
            }
            Atom::Item(at, lit) => {
                frame.least = frame.least.max(at as u64 + 1);
                frame.items.entry(at).or_default().push(lit);
            }
            Atom::SomeItem(from, lit) => {
                frame.least = frame.least.max(from as u64 + 1);
                frame.some_items.push((from, lit));
            }
            Atom::AtLeast(lit, count) => {
                frame.least = frame.least.max(count);
                if count == 1 {
                    frame.some_items.push((0, lit));
                } else if count > 1 {
                    frame.at_least.push((lit, count));
                }
            }
            Atom::AtMost((id, wanted), 0) => frame.every.push((id, !wanted)),
            Atom::AtMost(lit, count) => frame.at_most.push((lit, count)),
            Atom::Present(name) => {
                if frame.absent.contains(&name) {
                    return false;
                }
                frame.present.insert(name);
            }
            Atom::Absent(name) => {
                if frame.present.contains(&name) {
                    return false;
                }
                frame.absent.insert(name);
            }
            Atom::Member(name, lit) => {
                if frame.absent.contains(&name) {
                    return false;
                }
                frame.present.insert(name.clone());
                frame.members.entry(name).or_default().push(lit);
            }
            Atom::SomeMember(names, lit) => {
                frame.least = frame.least.max(1);
                frame.some_members.push((names, lit));
            }
            Atom::Perhaps => {}
        }
        !frame.is_pinched()
    }

    /// The facts and choices of a node that holds.
    fn hold(
        &mut self,
        frame: &mut Frame,
        id: Id,
        queue: &mut Vec<Atom>,
        choices: &mut Vec<Choice>,
    ) -> bool {
        if !self.store.kinds(id).has(frame.kind) {
            return false;
        }
        let node = self.store.node(id);
        if node.values.is_some() {
            frame.listed = Some(id);
        }
        match frame.kind {
            Kind::Integer | Kind::Fraction => {
                queue.extend(node.low.clone().map(Atom::Low));
                queue.extend(node.high.clone().map(Atom::High));
                queue.extend(node.multiple.clone().map(Atom::Multiple));
            }
            Kind::Text => {
                queue.push(Atom::Least(node.min_length));
                queue.extend(node.max_length.map(Atom::Most));
                queue.extend(
                    node.pattern
                        .clone()
                        .map(|pattern| Atom::Pattern(pattern, true)),
                );
            }
            Kind::Array => {
                if !node.prefix.is_empty() || node.items.is_some() {
                    frame.shapes.push(id);
                }
                queue.push(Atom::Least(node.min_items));
                queue.extend(node.max_items.map(Atom::Most));
                if node.unique {
                    queue.push(Atom::Unique);
                }
                if let Some(contains) = &node.contains {
                    queue.push(Atom::AtLeast((contains.schema, true), contains.least));
                    let most = contains.most;
                    queue.extend(most.map(|most| Atom::AtMost((contains.schema, true), most)));
                }
            }
            Kind::Object => hold_object(frame, id, &node, queue, choices),
            Kind::Null | Kind::Bool => {}
        }
        queue.extend(node.all.iter().map(|&child| Atom::Lit((child, true))));
        queue.extend(node.not.map(|child| Atom::Lit((child, false))));
        if let Some(any) = &node.any {
            let ways = any.iter().map(|&child| vec![Atom::Lit((child, true))]);
            choices.push(holding(ways.collect()));
        }
        if let Some(one) = &node.one {
            choices.push(holding((0..one.len()).map(|at| only(one, at)).collect()));
        }
        if let Some([test, then, other]) = node.condition {
            choices.push(holding(vec![
                vec![Atom::Lit((test, true)), Atom::Lit((then, true))],
                vec![Atom::Lit((test, false)), Atom::Lit((other, true))],
            ]));
        }
        true
    }

    /// The choice between the ways to break a node.
    fn avoid(
        &mut self,
        frame: &mut Frame,
        id: Id,
        queue: &mut Vec<Atom>,
        choices: &mut Vec<Choice>,
    ) -> bool {
        if !self.store.kinds(id).has(frame.kind) {
            return true;
        }
        let node = self.store.node(id);
        let mut ways: Ways = Vec::new();
        if node.values.is_some() {
            ways.push(vec![Atom::Unlisted(id)]);
        }
        match frame.kind {
            Kind::Integer | Kind::Fraction => avoid_number(&node, &mut ways),
            Kind::Text => {
                sizes(node.min_length, node.max_length, &mut ways);
                let pattern = node.pattern.clone();
                ways.extend(pattern.map(|pattern| vec![Atom::Pattern(pattern, false)]));
            }
            Kind::Array => avoid_array(&node, &mut ways),
            Kind::Object => avoid_object(id, &node, &mut ways),
            Kind::Null | Kind::Bool => {}
        }
        avoid_logic(&node, &mut ways);
        match ways.len() {
            0 => false,
            1 => {
                queue.extend(ways.swap_remove(0));
                true
            }
            _ => {
                choices.push(Choice { ways, breaks: true });
                true
            }
        }
    }
}

/// One child holds and the others do not.
fn only(one: &[Id], at: usize) -> Vec<Atom> {
    let mut atoms = vec![Atom::Lit((one[at], true))];
    let others = one.iter().enumerate().filter(|(other, _)| *other != at);
    atoms.extend(others.map(|(_, &child)| Atom::Lit((child, false))));
    atoms
}

fn hold_object(
    frame: &mut Frame,
    id: Id,
    node: &Node,
    queue: &mut Vec<Atom>,
    choices: &mut Vec<Choice>,
) {
    if !node.members.is_empty() || !node.patterns.is_empty() || node.others.is_some() {
        frame.shapes.push(id);
    }
    queue.push(Atom::Least(node.min_members));
    queue.extend(node.max_members.map(Atom::Most));
    queue.extend(node.required.iter().cloned().map(Atom::Present));
    frame.names.extend(node.names.map(|names| (names, true)));
    for (name, needed) in &node.needs {
        let mut with = vec![Atom::Present(name.clone())];
        with.extend(needed.iter().cloned().map(Atom::Present));
        choices.push(holding(vec![vec![Atom::Absent(name.clone())], with]));
    }
    for (name, &child) in &node.needs_schema {
        choices.push(holding(vec![
            vec![Atom::Absent(name.clone())],
            vec![Atom::Present(name.clone()), Atom::Lit((child, true))],
        ]));
    }
}

fn sizes(least: u64, most: Option<u64>, ways: &mut Ways) {
    if least > 0 {
        ways.push(vec![Atom::Most(least - 1)]);
    }
    if let Some(more) = most.and_then(|most| most.checked_add(1)) {
        ways.push(vec![Atom::Least(more)]);
    }
}

fn avoid_number(node: &Node, ways: &mut Ways) {
    let turned = |bound: &Bound| Bound {
        at: bound.at.clone(),
        open: !bound.open,
    };
    ways.extend(node.low.as_ref().map(|low| vec![Atom::High(turned(low))]));
    ways.extend(node.high.as_ref().map(|high| vec![Atom::Low(turned(high))]));
    let multiple = node.multiple.clone();
    ways.extend(multiple.map(|multiple| vec![Atom::NotMultiple(multiple)]));
}

fn avoid_array(node: &Node, ways: &mut Ways) {
    sizes(node.min_items, node.max_items, ways);
    if node.unique {
        ways.push(vec![Atom::Repeated]);
    }
    for (at, &child) in node.prefix.iter().enumerate() {
        ways.push(vec![Atom::Item(at, (child, false))]);
    }
    if let Some(items) = node.items {
        ways.push(vec![Atom::SomeItem(node.prefix.len(), (items, false))]);
    }
    if let Some(contains) = &node.contains {
        let lit = (contains.schema, true);
        if contains.least > 0 {
            ways.push(vec![Atom::AtMost(lit, contains.least - 1)]);
        }
        if let Some(more) = contains.most.and_then(|most| most.checked_add(1)) {
            ways.push(vec![Atom::AtLeast(lit, more)]);
        }
    }
}

fn avoid_object(id: Id, node: &Node, ways: &mut Ways) {
    for name in &node.required {
        ways.push(vec![Atom::Absent(name.clone())]);
    }
    sizes(node.min_members, node.max_members, ways);
    for (name, &child) in &node.members {
        ways.push(vec![Atom::Member(name.clone(), (child, false))]);
    }
    for (pattern, &child) in &node.patterns {
        let names = Names::Matching(pattern.clone());
        ways.push(vec![Atom::SomeMember(names, Some((child, false)))]);
    }
    if let Some(others) = node.others {
        let names = Names::Outside(id);
        ways.push(vec![Atom::SomeMember(names, Some((others, false)))]);
    }
    if let Some(names) = node.names {
        ways.push(vec![Atom::SomeMember(Names::Being((names, false)), None)]);
    }
    for (name, needed) in &node.needs {
        for other in needed {
            ways.push(vec![
                Atom::Present(name.clone()),
                Atom::Absent(other.clone()),
            ]);
        }
    }
    for (name, &child) in &node.needs_schema {
        ways.push(vec![Atom::Present(name.clone()), Atom::Lit((child, false))]);
    }
}

fn avoid_logic(node: &Node, ways: &mut Ways) {
    if node.opaque.is_some() {
        ways.push(vec![Atom::Perhaps]);
    }
    for &child in &node.all {
        ways.push(vec![Atom::Lit((child, false))]);
    }
    if let Some(any) = &node.any {
        ways.push(any.iter().map(|&child| Atom::Lit((child, false))).collect());
    }
    if let Some(one) = &node.one {
        ways.push(one.iter().map(|&child| Atom::Lit((child, false))).collect());
        for (at, &first) in one.iter().enumerate() {
            for &second in &one[at + 1..] {
                ways.push(vec![Atom::Lit((first, true)), Atom::Lit((second, true))]);
            }
        }
    }
    if let Some(not) = node.not {
        ways.push(vec![Atom::Lit((not, true))]);
    }
    if let Some([test, then, other]) = node.condition {
        ways.push(vec![Atom::Lit((test, true)), Atom::Lit((then, false))]);
        ways.push(vec![Atom::Lit((test, false)), Atom::Lit((other, false))]);
    }
}
