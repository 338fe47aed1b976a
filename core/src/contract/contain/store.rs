//! All nodes of a question, each meaning once: nodes that cannot be told apart by unfolding share a number.
//!
//! That is found by refinement, as automata are made minimal, so that it holds for recursive schemas and across documents.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::node::{Id, Kinds, NO, Node, YES};
use super::text::Texts;

/// Most rounds of refinement; a schema nested deeper is not decided.
const ROUNDS_MAX: usize = 2_000;
/// Most nodes of a question.
const NODES_MAX: usize = 400_000;

/// The nodes, their kinds and what is known about texts.
#[derive(Debug)]
pub(super) struct Store {
    nodes: Vec<Rc<Node>>,
    kinds: Vec<Kinds>,
    labels: HashMap<String, Id>,
    table: HashMap<(Id, Vec<Id>), Id>,
    pub(super) texts: Texts,
}

impl Store {
    /// Takes the nodes that a reader made and gives back the numbers of `roots`; `None` where they are too many or time ran out.
    pub(super) fn of(
        mut nodes: Vec<Node>,
        roots: &[Id],
        expired: &dyn Fn() -> bool,
    ) -> Option<(Store, Vec<Id>)> {
        if nodes.len() > NODES_MAX {
            return None;
        }
        for node in &mut nodes {
            node.tidy();
        }
        undo_double_negation(&mut nodes);
        cut_cycles(&mut nodes);
        let names = aliases(&nodes);
        for node in &mut nodes {
            node.renumber(|id| names[id as usize]);
            node.tidy();
        }
        let (mut class, labels) = refine(&nodes, expired)?;
        for at in 0..nodes.len() {
            class[at] = class[names[at] as usize];
        }
        let mut store = Store {
            nodes: Vec::new(),
            kinds: Vec::new(),
            labels,
            table: HashMap::new(),
            texts: Texts::default(),
        };
        let count = class.iter().max().map_or(0, |most| *most as usize + 1);
        let mut made: Vec<Option<Rc<Node>>> = vec![None; count];
        for (at, node) in nodes.into_iter().enumerate() {
            let place = &mut made[class[at] as usize];
            if place.is_none() && names[at] as usize == at {
                let mut node = node;
                node.renumber(|id| class[id as usize]);
                node.tidy();
                *place = Some(Rc::new(node));
            }
        }
        store.nodes = made
            .into_iter()
            .map(|node| node.unwrap_or_else(|| Rc::new(Node::opaque("unused".to_owned()))))
            .collect();
        for id in 0..count {
            let key = store.key(&store.nodes[id].clone());
            store.table.insert(key, Id::try_from(id).ok()?);
        }
        store.kinds = vec![Kinds::ALL; count];
        store.find_kinds();
        let roots = roots.iter().map(|&root| class[root as usize]).collect();
        Some((store, roots))
    }

    pub(super) fn node(&self, id: Id) -> Rc<Node> {
        self.nodes[id as usize].clone()
    }

    /// Kinds outside of which the node accepts nothing.
    pub(super) fn kinds(&self, id: Id) -> Kinds {
        self.kinds[id as usize]
    }

    /// The number of a node that comes up while deciding.
    pub(super) fn add(&mut self, mut node: Node) -> Id {
        node.tidy();
        let key = self.key(&node);
        if let Some(&id) = self.table.get(&key) {
            return id;
        }
        let id = Id::try_from(self.nodes.len()).unwrap_or(Id::MAX - 1);
        self.kinds.push(self.kinds_of(&node));
        self.nodes.push(Rc::new(node));
        self.table.insert(key, id);
        id
    }

    fn key(&mut self, node: &Node) -> (Id, Vec<Id>) {
        let next = Id::try_from(self.labels.len()).unwrap_or(Id::MAX);
        let label = *self.labels.entry(node.label()).or_insert(next);
        (label, node.children(|id| id))
    }

    /// Kinds by the keywords on the same value, until nothing changes: references in place have no cycles.
    fn find_kinds(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut changed = false;
            for at in (0..self.nodes.len()).rev() {
                let kinds = self.kinds_of(&self.nodes[at]);
                changed |= self.kinds[at] != kinds;
                self.kinds[at] = kinds;
            }
            if !changed {
                break;
            }
        }
    }

    fn kinds_of(&self, node: &Node) -> Kinds {
        let of = |id: &Id| self.kinds.get(*id as usize).copied().unwrap_or_default();
        let union = |list: &Vec<Id>| list.iter().map(of).fold(Kinds::NONE, Kinds::or);
        let mut kinds = node.kinds;
        kinds = node.all.iter().map(of).fold(kinds, Kinds::and);
        kinds = node.any.iter().map(union).fold(kinds, Kinds::and);
        kinds = node.one.iter().map(union).fold(kinds, Kinds::and);
        kinds
    }
}

/// What must not fail to hold must hold.
fn undo_double_negation(nodes: &mut [Node]) {
    let bare: Vec<Option<Id>> = nodes
        .iter()
        .map(|node| {
            let bare = Node::negation(node.not?);
            (node.label() == bare.label() && node.children(|id| id) == bare.children(|id| id))
                .then_some(node.not?)
        })
        .collect();
    for node in nodes {
        if let Some(inner) = node.not.and_then(|not| bare[not as usize]) {
            node.not = None;
            node.all.push(inner);
        }
    }
}

/// Makes nodes opaque that would have to look at the same value for ever.
fn cut_cycles(nodes: &mut [Node]) {
    let left = on_cycles(nodes);
    for (at, node) in nodes.iter_mut().enumerate() {
        if left[at] {
            *node = Node::opaque(format!("cycle {at}"));
        }
    }
}

/// Whether some node would have to look at the same value for ever.
pub(super) fn has_cycle(nodes: &[Node]) -> bool {
    on_cycles(nodes).contains(&true)
}

fn on_cycles(nodes: &[Node]) -> Vec<bool> {
    let edges: Vec<Vec<Id>> = nodes.iter().map(|node| node.in_place().collect()).collect();
    let mut back: Vec<Vec<Id>> = vec![Vec::new(); nodes.len()];
    for (from, to) in edges.iter().enumerate() {
        for &to in to {
            back[to as usize].push(from as Id);
        }
    }
    let mut left = vec![true; nodes.len()];
    peel(&edges, &back, &mut left);
    peel(&back, &edges, &mut left);
    left
}

/// Takes away, again and again, what has no edge to anything left.
fn peel(edges: &[Vec<Id>], back: &[Vec<Id>], left: &mut [bool]) {
    let mut count: Vec<usize> = edges
        .iter()
        .map(|to| to.iter().filter(|&&to| left[to as usize]).count())
        .collect();
    let mut todo: Vec<usize> = (0..edges.len())
        .filter(|&at| left[at] && count[at] == 0)
        .collect();
    while let Some(at) = todo.pop() {
        left[at] = false;
        for &from in &back[at] {
            let from = from as usize;
            count[from] = count[from].saturating_sub(1);
            if left[from] && count[from] == 0 {
                todo.push(from);
            }
        }
    }
}

/// For each node the one it is another name of, or itself.
fn aliases(nodes: &[Node]) -> Vec<Id> {
    let direct: Vec<Option<Id>> = nodes
        .iter()
        .map(|node| {
            if node.kinds == Kinds::NONE {
                return Some(NO);
            }
            node.alias()
        })
        .collect();
    let mut names: Vec<Id> = Vec::with_capacity(nodes.len());
    for at in 0..nodes.len() {
        let mut end = at as Id;
        // Cycles in place are cut already, so that this ends.
        while let Some(next) = direct[end as usize].filter(|&next| next != end) {
            end = next;
        }
        names.push(end);
    }
    names
}

/// The class of each node, and the labels met.
///
/// Classes are split, never joined: only those above a class that was split are looked at again.
fn refine(nodes: &[Node], expired: &dyn Fn() -> bool) -> Option<(Vec<Id>, HashMap<String, Id>)> {
    let mut labels: HashMap<String, Id> = HashMap::new();
    let mut class: Vec<Id> = Vec::with_capacity(nodes.len());
    let mut members: Vec<Vec<usize>> = Vec::new();
    let mut above: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        let next = labels.len() as Id;
        let own = *labels.entry(node.label()).or_insert(next);
        class.push(own);
        if own == next {
            members.push(Vec::new());
        }
        members[own as usize].push(at);
        for child in node.children(|id| id) {
            // Marks between groups are no children.
            if let Some(above) = above.get_mut(child as usize) {
                above.push(at);
            }
        }
    }
    let mut dirty: BTreeSet<Id> = (0..members.len() as Id).collect();
    for _ in 0..ROUNDS_MAX {
        if dirty.is_empty() {
            return Some((in_order(&class), labels));
        }
        let mut moved: Vec<usize> = Vec::new();
        let mut splits: Vec<(Id, Vec<Vec<usize>>)> = Vec::new();
        for &id in &dirty {
            let list = &members[id as usize];
            if list.len() < 2 {
                continue;
            }
            if expired() {
                return None;
            }
            let mut groups: HashMap<Vec<Id>, usize> = HashMap::new();
            let mut parts: Vec<Vec<usize>> = Vec::new();
            for &at in list {
                let fresh = parts.len();
                let key = nodes[at].children(|id| class[id as usize]);
                let part = *groups.entry(key).or_insert(fresh);
                if part == fresh {
                    parts.push(Vec::new());
                }
                parts[part].push(at);
            }
            if parts.len() > 1 {
                splits.push((id, parts));
            }
        }
        for (id, mut parts) in splits {
            // The largest part keeps its number: the fewest have to be looked at again.
            parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
            let mut parts = parts.into_iter();
            members[id as usize] = parts.next().unwrap_or_default();
            for part in parts {
                let new = members.len() as Id;
                part.iter().for_each(|&at| class[at] = new);
                moved.extend(&part);
                members.push(part);
            }
        }
        let touched = moved.iter().flat_map(|&at| &above[at]);
        dirty = touched.map(|&at| class[at]).collect();
    }
    None
}

/// The classes by the order in which nodes come, so that the two constants keep their numbers.
fn in_order(class: &[Id]) -> Vec<Id> {
    let mut numbers: HashMap<Id, Id> = HashMap::new();
    let mut number = |id: &Id| {
        let next = numbers.len() as Id;
        *numbers.entry(*id).or_insert(next)
    };
    let ordered: Vec<Id> = class.iter().map(&mut number).collect();
    debug_assert_eq!((ordered[0], ordered[1]), (YES, NO));
    ordered
}
