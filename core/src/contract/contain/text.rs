//! Texts by length, patterns and exclusion: whether there is one, and which.
//!
//! Patterns are automata; a text that meets some and not others is a way through all of them at once.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::rc::Rc;

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::{Anchored, Input};

use super::ecma;
use super::node::Name;

/// Most states of the product of automata.
const STATES_MAX: usize = 20_000;
/// Most bytes of a compiled pattern, and of its states.
const COMPILED_BYTES_MAX: usize = 2 << 20;
const STATES_BYTES_MAX: usize = 16 << 20;
/// Longest text that is written out.
const LENGTH_MAX: u64 = 20_000;

/// What a text must be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    pub(super) least: u64,
    pub(super) most: Option<u64>,
    /// Patterns, and whether each must match.
    pub(super) patterns: BTreeSet<(Name, bool)>,
    pub(super) without: BTreeSet<Name>,
}

/// Whether there is such a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Never,
    Text(String),
    Unknown,
}

/// The automata of a pattern: all of them hold, each as it is or negated.
type Parts = Rc<Vec<(Machine, bool)>>;

/// The automata of the patterns met, and what has been found.
#[derive(Debug, Default)]
pub(super) struct Texts {
    machines: HashMap<Name, Option<Parts>>,
    found: HashMap<Wanted, Found>,
    matches: HashMap<Name, HashMap<String, Option<bool>>>,
}

#[derive(Debug)]
struct Machine {
    dfa: DFA,
    cache: RefCell<Cache>,
}

/// Where an automaton stands: once it has matched, it stays so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Cell {
    At(LazyStateID),
    Matched,
    Dead,
}

impl Machine {
    fn of(pattern: &str) -> Option<Machine> {
        let nfa = thompson::Config::new().nfa_size_limit(Some(COMPILED_BYTES_MAX));
        let config = DFA::config()
            .cache_capacity(STATES_BYTES_MAX)
            .skip_cache_capacity_check(true)
            .minimum_cache_clear_count(Some(0));
        let dfa = DFA::builder()
            .thompson(nfa)
            .configure(config)
            .build(pattern)
            .ok()?;
        let cache = RefCell::new(dfa.create_cache());
        Some(Machine { dfa, cache })
    }

    fn start(&self) -> Option<Cell> {
        let input = Input::new("").anchored(Anchored::No);
        let cache = &mut self.cache.borrow_mut();
        let at = self.dfa.start_state_forward(cache, &input).ok()?;
        Self::cell(at)
    }

    fn step(&self, cell: Cell, byte: u8) -> Option<Cell> {
        let Cell::At(at) = cell else {
            return Some(cell);
        };
        let cache = &mut self.cache.borrow_mut();
        Self::cell(self.dfa.next_state(cache, at, byte).ok()?)
    }

    fn cell(at: LazyStateID) -> Option<Cell> {
        if at.is_quit() {
            return None;
        }
        Some(match (at.is_match(), at.is_dead()) {
            (true, _) => Cell::Matched,
            (_, true) => Cell::Dead,
            _ => Cell::At(at),
        })
    }

    fn ends(&self, cell: Cell) -> Option<bool> {
        match cell {
            Cell::Matched => Some(true),
            Cell::Dead => Some(false),
            Cell::At(at) => {
                let cache = &mut self.cache.borrow_mut();
                let end = self.dfa.next_eoi_state(cache, at).ok()?;
                Some(end.is_match())
            }
        }
    }

    fn is_match(&self, text: &str) -> Option<bool> {
        let mut cell = self.start()?;
        for byte in text.bytes() {
            cell = self.step(cell, byte)?;
            if !matches!(cell, Cell::At(_)) {
                break;
            }
        }
        self.ends(cell)
    }
}

impl Texts {
    /// Whether a pattern matches a text; `None` where the pattern is not understood.
    pub(super) fn matches(&mut self, pattern: &Name, text: &str) -> Option<bool> {
        if let Some(known) = self.matches.get(pattern).and_then(|known| known.get(text)) {
            return *known;
        }
        let mut all = Some(true);
        match self.machines(pattern) {
            None => all = None,
            Some(parts) => {
                for (machine, holds) in parts.iter() {
                    let met = machine.is_match(text).map(|matched| matched == *holds);
                    all = match (all, met) {
                        (_, Some(false)) | (Some(false), _) => Some(false),
                        (Some(true), Some(true)) => Some(true),
                        _ => None,
                    };
                }
            }
        }
        let known = self.matches.entry(pattern.clone()).or_default();
        known.insert(text.to_owned(), all);
        all
    }

    fn machines(&mut self, pattern: &Name) -> Option<Parts> {
        let entry = self.machines.entry(pattern.clone());
        let made = entry.or_insert_with_key(|pattern| {
            let parts = ecma::parts(pattern)?;
            let machines = parts.into_iter().map(|(part, holds)| {
                let machine = Machine::of(&part)?;
                Some((machine, holds))
            });
            Some(Rc::new(machines.collect::<Option<Vec<_>>>()?))
        });
        made.clone()
    }

    /// Finds a text, a short and readable one if there is.
    pub(super) fn find(&mut self, wanted: &Wanted) -> Found {
        if wanted.most.is_some_and(|most| most < wanted.least) {
            return Found::Never;
        }
        let both = |(pattern, holds): &(Name, bool)| {
            *holds && wanted.patterns.contains(&(pattern.clone(), false))
        };
        if wanted.patterns.iter().any(both) {
            return Found::Never;
        }
        if wanted.patterns.is_empty() {
            return plain(wanted);
        }
        if let Some(found) = self.found.get(wanted) {
            return found.clone();
        }
        let found = self.search(wanted);
        self.found.insert(wanted.clone(), found.clone());
        found
    }

    fn search(&mut self, wanted: &Wanted) -> Found {
        let mut parts: Vec<(Parts, bool)> = Vec::new();
        let mut partial = false;
        for (pattern, holds) in &wanted.patterns {
            match self.machines(pattern) {
                Some(machines) => parts.push((machines, *holds)),
                None => partial = true,
            }
        }
        let product = Product::of(&parts);
        // Without lengths and exclusions the product is small, and often there is nothing already.
        let free = product.run(0, None, &BTreeSet::new());
        let found = match free {
            Found::Never => Found::Never,
            Found::Text(text) if fits(wanted, &text) => Found::Text(text),
            _ => product.run(wanted.least, wanted.most, &wanted.without),
        };
        match found {
            // A pattern that is not understood may turn the text down.
            Found::Text(_) if partial => Found::Unknown,
            Found::Text(text) if !text.bytes().all(|byte| Taste::Printable.has(byte)) => {
                Found::Text(product.nicer(wanted).unwrap_or(text))
            }
            found => found,
        }
    }
}

/// Which texts are looked for: engines do not agree on line ends and on letters of other scripts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taste {
    /// Of printable ASCII
    Printable,
    /// Of printable ASCII, tabs and line ends, the last not at the end of the text: `$` of some engines matches before one
    Lines,
    /// Any that does not end in a line end
    Unended,
    Any,
}

impl Taste {
    fn has(self, byte: u8) -> bool {
        match self {
            Taste::Printable => matches!(byte, b' '..=b'~'),
            Taste::Lines => matches!(byte, b' '..=b'~' | b'\t' | b'\n'),
            Taste::Unended | Taste::Any => true,
        }
    }
}

fn fits(wanted: &Wanted, text: &str) -> bool {
    let length = text.chars().count() as u64;
    length >= wanted.least
        && wanted.most.is_none_or(|most| length <= most)
        && !wanted.without.contains(text)
}

/// A text by length alone.
fn plain(wanted: &Wanted) -> Found {
    if wanted.least > LENGTH_MAX {
        return Found::Unknown;
    }
    let least = usize::try_from(wanted.least).unwrap_or(usize::MAX);
    for extra in 0..=wanted.without.len() {
        let extra = extra as u64;
        let (letter, longer) = (b'a' + (extra % 26) as u8, extra / 26);
        let mut length = least + usize::try_from(longer).unwrap_or(0);
        if least == 0 && extra > 0 {
            length += 1;
        }
        if wanted.most.is_some_and(|most| length as u64 > most) {
            break;
        }
        let text = char::from(letter).to_string().repeat(length);
        if !wanted.without.contains(text.as_str()) {
            return Found::Text(text);
        }
    }
    match wanted.most {
        Some(0) => Found::Never,
        // Far more texts than are excluded, but not among the plain ones.
        _ => other(wanted),
    }
}

/// A text of a length that plain ones did not give.
fn other(wanted: &Wanted) -> Found {
    let least = usize::try_from(wanted.least.max(1)).unwrap_or(1);
    let found = (0x100_u32..0xd000)
        .filter_map(char::from_u32)
        .take(wanted.without.len() + 1)
        .map(|letter| letter.to_string().repeat(least))
        .find(|text| fits(wanted, text));
    found.map_or(Found::Unknown, Found::Text)
}

/// Automata run side by side, with the rules of UTF-8 as one of them.
struct Product<'a> {
    groups: &'a [(Parts, bool)],
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    cells: Vec<Cell>,
    utf8: u8,
    length: u64,
    /// The node in the tree of excluded texts; zero is none, one the root.
    tree: usize,
    /// Whether the text may not end here, for its last letter is a line end.
    unended: bool,
}

impl<'a> Product<'a> {
    fn of(groups: &'a [(Parts, bool)]) -> Product<'a> {
        Product { groups }
    }

    /// One byte of each sort that automata, UTF-8 and the excluded texts tell apart.
    fn letters(&self, apart: &BTreeSet<u8>, taste: Taste) -> Vec<u8> {
        // Letters that people read come first, so that they end up in the texts; a line end comes last.
        let nice = (b'a'..=b'z').chain(b'0'..=b'9').chain(b'A'..=b'Z');
        let rest = (b' '..=b'~').chain(0x80..=0xff).chain([b'\t']);
        let rest = rest.chain((0..=0x7f).filter(|&byte| byte != b'\n'));
        let all = nice.chain(rest).chain([b'\n']);
        let mut seen = HashSet::new();
        let letters = all.filter(|&byte| {
            if !taste.has(byte) {
                return false;
            }
            let machines = self.groups.iter().flat_map(|(parts, _)| parts.iter());
            let classes = machines.map(|(machine, _)| machine.dfa.byte_classes().get(byte));
            let own = if apart.contains(&byte) {
                [1, byte]
            } else {
                [0, 0]
            };
            let key: Vec<u8> = classes.chain([utf8_class(byte)]).chain(own).collect();
            seen.insert(key)
        });
        letters.collect()
    }

    fn run(&self, least: u64, most: Option<u64>, without: &BTreeSet<Name>) -> Found {
        let found = self.search(least, most, without, Taste::Any);
        found.unwrap_or(Found::Unknown)
    }

    /// A text that all engines judge alike, if there is one.
    fn nicer(&self, wanted: &Wanted) -> Option<String> {
        let tastes = [Taste::Printable, Taste::Lines, Taste::Unended];
        tastes.into_iter().find_map(|taste| {
            let found = self.search(wanted.least, wanted.most, &wanted.without, taste);
            match found? {
                Found::Text(text) => Some(text),
                _ => None,
            }
        })
    }

    fn search(
        &self,
        least: u64,
        most: Option<u64>,
        without: &BTreeSet<Name>,
        taste: Taste,
    ) -> Option<Found> {
        let tree = Tree::of(without);
        let cap = most.map_or(least, |most| most.saturating_add(1));
        let letters = self.letters(&tree.bytes(), taste);
        let machines = self.groups.iter().flat_map(|(parts, _)| parts.iter());
        let cells = machines.map(|(machine, _)| machine.start());
        let first = State {
            cells: cells.collect::<Option<_>>()?,
            utf8: 0,
            length: 0,
            tree: 1,
            unended: false,
        };
        let mut from: Vec<(usize, u8)> = vec![(0, 0)];
        let mut seen = HashSet::from([first.clone()]);
        let mut queue = VecDeque::from([(0, first)]);
        while let Some((at, state)) = queue.pop_front() {
            let long = state.length >= least && most.is_none_or(|most| state.length <= most);
            let whole = state.utf8 == 0 && !state.unended;
            if long && whole && !tree.ends(state.tree) && self.ends(&state)? {
                return Some(Found::Text(way(&from, at)?));
            }
            for &byte in &letters {
                let Some(utf8) = utf8_step(state.utf8, byte) else {
                    continue;
                };
                let begins = byte & 0xc0 != 0x80;
                let length = (state.length + u64::from(begins)).min(cap);
                if most.is_some_and(|most| length > most) {
                    continue;
                }
                let machines = self.groups.iter().flat_map(|(parts, _)| parts.iter());
                let pairs = machines.zip(&state.cells);
                let cells = pairs.map(|((machine, _), &cell)| machine.step(cell, byte));
                let next = State {
                    cells: cells.collect::<Option<_>>()?,
                    utf8,
                    length,
                    tree: tree.step(state.tree, byte),
                    unended: byte == b'\n' && taste != Taste::Any,
                };
                if self.is_lost(&next) || seen.contains(&next) {
                    continue;
                }
                if seen.len() >= STATES_MAX {
                    return None;
                }
                seen.insert(next.clone());
                from.push((at, byte));
                queue.push_back((from.len() - 1, next));
            }
        }
        Some(Found::Never)
    }

    /// Whether nothing that follows can mend it.
    fn is_lost(&self, state: &State) -> bool {
        let mut cells = state.cells.iter();
        self.groups.iter().any(|(parts, holds)| {
            let mut all_met = true;
            let mut one_failed = false;
            for ((_, wanted), cell) in parts.iter().zip(&mut cells) {
                let settled = match cell {
                    Cell::Matched => Some(*wanted),
                    Cell::Dead => Some(!*wanted),
                    Cell::At(_) => None,
                };
                all_met &= settled == Some(true);
                one_failed |= settled == Some(false);
            }
            if *holds { one_failed } else { all_met }
        })
    }

    fn ends(&self, state: &State) -> Option<bool> {
        let mut cells = state.cells.iter();
        for (parts, holds) in self.groups {
            let mut all = true;
            for ((machine, wanted), &cell) in parts.iter().zip(&mut cells) {
                all &= machine.ends(cell)? == *wanted;
            }
            if all != *holds {
                return Some(false);
            }
        }
        Some(true)
    }
}

/// The text that led to a state.
fn way(from: &[(usize, u8)], mut at: usize) -> Option<String> {
    let mut bytes = Vec::new();
    while at != 0 {
        let (before, byte) = from[at];
        bytes.push(byte);
        at = before;
    }
    bytes.reverse();
    String::from_utf8(bytes).ok()
}

/// Excluded texts as a tree of bytes.
struct Tree {
    nodes: Vec<(HashMap<u8, usize>, bool)>,
}

impl Tree {
    fn of(texts: &BTreeSet<Name>) -> Tree {
        let mut nodes = vec![(HashMap::new(), false); 2];
        for text in texts {
            let mut at = 1;
            for byte in text.bytes() {
                let next = nodes.len();
                let to = *nodes[at].0.entry(byte).or_insert(next);
                if to == next {
                    nodes.push((HashMap::new(), false));
                }
                at = to;
            }
            nodes[at].1 = true;
        }
        Tree { nodes }
    }

    fn bytes(&self) -> BTreeSet<u8> {
        self.nodes
            .iter()
            .flat_map(|node| node.0.keys().copied())
            .collect()
    }

    fn step(&self, at: usize, byte: u8) -> usize {
        self.nodes[at].0.get(&byte).copied().unwrap_or(0)
    }

    fn ends(&self, at: usize) -> bool {
        self.nodes[at].1
    }
}

/// Bytes that UTF-8 treats alike.
fn utf8_class(byte: u8) -> u8 {
    match byte {
        0..=0x7f => 0,
        0x80..=0x8f => 1,
        0x90..=0x9f => 2,
        0xa0..=0xbf => 3,
        0xc2..=0xdf => 4,
        0xe0 => 5,
        0xe1..=0xec | 0xee..=0xef => 6,
        0xed => 7,
        0xf0 => 8,
        0xf1..=0xf3 => 9,
        0xf4 => 10,
        _ => 11,
    }
}

/// The state after a byte: how many bytes must follow, and which the next may be.
fn utf8_step(state: u8, byte: u8) -> Option<u8> {
    Some(match (state, byte) {
        (0, 0..=0x7f) => 0,
        (0, 0xc2..=0xdf) => 1,
        (0, 0xe0) => 2,
        (0, 0xe1..=0xec | 0xee..=0xef) => 3,
        (0, 0xed) => 4,
        (0, 0xf0) => 5,
        (0, 0xf1..=0xf3) => 6,
        (0, 0xf4) => 7,
        (1, 0x80..=0xbf) => 0,
        (2, 0xa0..=0xbf) | (3, 0x80..=0xbf) | (4, 0x80..=0x9f) => 1,
        (5, 0x90..=0xbf) | (6, 0x80..=0xbf) | (7, 0x80..=0x8f) => 3,
        _ => return None,
    })
}
