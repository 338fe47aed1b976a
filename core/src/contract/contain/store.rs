//! All nodes of a question, each meaning once: nodes that cannot be told apart by unfolding share a number.
//!
//! That is found by refinement, as automata are made minimal, so that it holds for recursive schemas and across documents.

use std::collections::HashMap;
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

    /// Whether every pattern has an automaton.
    pub(super) fn knows_patterns(&mut self) -> bool {
        let Store { nodes, texts, .. } = self;
        let mut patterns = nodes
            .iter()
            .flat_map(|node| node.pattern.iter().chain(node.patterns.keys()));
        patterns.all(|pattern| texts.knows(pattern))
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
fn refine(nodes: &[Node], expired: &dyn Fn() -> bool) -> Option<(Vec<Id>, HashMap<String, Id>)> {
    let mut labels: HashMap<String, Id> = HashMap::new();
    let mut own: Vec<Id> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let next = labels.len() as Id;
        own.push(*labels.entry(node.label()).or_insert(next));
    }
    let mut class = own.clone();
    let mut count = 0;
    for _ in 0..ROUNDS_MAX {
        if expired() {
            return None;
        }
        let mut table: HashMap<(Id, Vec<Id>), Id> = HashMap::new();
        // The two constants keep their numbers.
        let mut next: Vec<Id> = Vec::with_capacity(nodes.len());
        for (at, node) in nodes.iter().enumerate() {
            let fresh = table.len() as Id;
            let key = (own[at], node.children(|id| class[id as usize]));
            next.push(*table.entry(key).or_insert(fresh));
        }
        let found = table.len();
        class = next;
        if found == count {
            debug_assert_eq!((class[0], class[1]), (YES, NO));
            return Some((class, labels));
        }
        count = found;
    }
    None
}
