//! Sets of texts given by patterns: whether one is empty, and members of it.
//!
//! A set is a finite automaton over classes of characters, the product of one lazily built automaton per pattern.
//! Everything is bounded: a set too large to build is `None`, an answer too far away is [`Found::Unknown`].

use std::collections::{BTreeSet, HashMap};

use regex_automata::Input;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_syntax::hir::{Class, Hir, HirKind};

use crate::contract::pattern;

/// Most states of a product.
const STATES_MAX: usize = 8_000;
/// Most transitions of a product, counted while it is built.
const EDGES_MAX: usize = 600_000;
/// Most bytes of the lazily built automaton of one pattern.
const CACHE_BYTES_MAX: usize = 8 << 20;
/// Longest text that is spelt out, in characters.
pub(super) const TEXT_MAX: u64 = 200_000;
/// Most steps of one search.
const STEPS_MAX: usize = 8_000_000;
const NOWHERE: u32 = u32::MAX;

/// The texts that match all of some patterns and none of others.
pub(super) struct Texts {
    /// Classes of characters that no pattern tells apart, the most readable first.
    classes: Vec<(char, char)>,
    /// By state and class, the state after it.
    next: Vec<u32>,
    /// By state, whether a text may end in it.
    ends: Vec<bool>,
}

/// A text of a set.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This one.
    Text(String),
    /// There is none.
    Nothing,
    /// It was not found within the limits.
    Unknown,
}

/// An automaton of one pattern.
struct Machine {
    dfa: DFA,
    cache: Cache,
}

/// Where the machines of a product stand; `None` for one that has matched already.
type Stand = Vec<Option<LazyStateID>>;

impl Texts {
    /// Builds the set of the texts that match `all` and not one of `none`; `None` where that is too large or a pattern cannot be read.
    pub(super) fn build(all: &[String], none: &[String]) -> Option<Texts> {
        let mut edges = BTreeSet::from([0, 0x11_0000, 0xD800, 0xE000]);
        let mut machines = Vec::new();
        for written in all.iter().chain(none) {
            let regex = pattern::compile(written).ok()?;
            let hir = regex_syntax::parse(regex.as_str()).ok()?;
            boundaries(&hir, &mut edges);
            machines.push(Machine::new(regex.as_str())?);
        }
        let classes = classes(&edges);
        let needed = all.len();
        let mut texts = Texts {
            classes,
            next: Vec::new(),
            ends: Vec::new(),
        };
        let start = machines
            .iter_mut()
            .map(Machine::start)
            .collect::<Option<Stand>>()?;
        let mut known: HashMap<Stand, u32> = HashMap::from([(start.clone(), 0)]);
        let mut queue = vec![start];
        let mut at = 0;
        while at < queue.len() {
            let stand = queue[at].clone();
            at += 1;
            texts.ends.push(ends(&mut machines, &stand, needed)?);
            for (low, _) in texts.classes.clone() {
                let Some(stand) = step(&mut machines, &stand, low, needed)? else {
                    texts.next.push(NOWHERE);
                    continue;
                };
                let new = u32::try_from(known.len()).ok()?;
                let state = *known.entry(stand.clone()).or_insert(new);
                if state == new {
                    queue.push(stand);
                }
                texts.next.push(state);
            }
            if queue.len() > STATES_MAX || texts.next.len() > EDGES_MAX {
                return None;
            }
        }
        Some(texts)
    }

    /// A shortest text of at least `least` and at most `most` characters.
    pub(super) fn one(&self, least: u64, most: Option<u64>) -> Found {
        let most = most.unwrap_or(u64::MAX);
        if least > most {
            return Found::Nothing;
        }
        let states = self.ends.len();
        let mut layer = vec![false; states];
        layer[0] = true;
        let mut layers: Vec<Vec<bool>> = Vec::new();
        let mut seen: HashMap<Vec<bool>, usize> = HashMap::new();
        let mut steps = 0;
        for length in 0..=most.min(TEXT_MAX) {
            let ends = (0..states).any(|s| layer[s] && self.ends[s]);
            if length >= least && ends {
                layers.push(layer);
                return Found::Text(self.spell(&layers));
            }
            if !layer.contains(&true) {
                return Found::Nothing;
            }
            let n = layers.len();
            if let Some(first) = seen.insert(layer.clone(), n) {
                // From here on the layers repeat: is there an end in one of those that are long enough?
                let period = (n - first) as u64;
                let ending =
                    (first..n).filter(|i| (0..states).any(|s| layers[*i][s] && self.ends[s]));
                let far = ending
                    .map(|i| {
                        let i = i as u64;
                        let from = least.max(i);
                        i + (from - i).div_ceil(period) * period
                    })
                    .filter(|length| *length <= most)
                    .min();
                match far {
                    None => return Found::Nothing,
                    Some(far) if far > TEXT_MAX => return Found::Unknown,
                    Some(_) => {}
                }
            }
            steps += states * self.classes.len();
            if steps > STEPS_MAX {
                return Found::Unknown;
            }
            let mut after = vec![false; states];
            for state in (0..states).filter(|s| layer[*s]) {
                for next in self.row(state).iter().filter(|next| **next != NOWHERE) {
                    after[*next as usize] = true;
                }
            }
            layers.push(layer);
            layer = after;
        }
        if most <= TEXT_MAX {
            Found::Nothing
        } else {
            Found::Unknown
        }
    }

    /// Up to `count` different texts within the lengths, and whether there are no others.
    pub(super) fn some(&self, count: usize, least: u64, most: Option<u64>) -> (Vec<String>, bool) {
        let states = self.ends.len();
        let span = 2 * states as u64;
        let far = least.saturating_add(span);
        let last = most.unwrap_or(u64::MAX).min(far).min(2_000);
        // By number of characters still to come, the states from which a text can end exactly then.
        let mut ways = vec![self.ends.clone()];
        let mut found = Vec::new();
        let mut steps = 0;
        let mut longest_that_ends = None;
        for length in 0..=last {
            if length > 0 {
                steps += states * self.classes.len();
                if steps > STEPS_MAX {
                    return (found, false);
                }
                let before = &ways[ways.len() - 1];
                let way = (0..states)
                    .map(|s| {
                        self.row(s)
                            .iter()
                            .any(|next| *next != NOWHERE && before[*next as usize])
                    })
                    .collect();
                ways.push(way);
            }
            if length >= least && ways[length as usize][0] {
                longest_that_ends = Some(length);
                let mut text = String::new();
                self.walk(0, length as usize, &ways, count, &mut text, &mut found);
                if found.len() >= count {
                    return (found, false);
                }
            }
        }
        // A set with a text longer than it has states has longer ones without end.
        let finite = last == far
            && longest_that_ends.is_none_or(|length| length < least.saturating_add(states as u64));
        (found, most.is_some_and(|most| last == most) || finite)
    }

    fn walk(
        &self,
        state: usize,
        left: usize,
        ways: &[Vec<bool>],
        count: usize,
        text: &mut String,
        found: &mut Vec<String>,
    ) {
        if left == 0 {
            found.push(text.clone());
            return;
        }
        for (class, next) in self.row(state).iter().enumerate() {
            if *next == NOWHERE || !ways[left - 1][*next as usize] {
                continue;
            }
            let (low, high) = self.classes[class];
            for c in (low..=high).take(count) {
                if found.len() >= count {
                    return;
                }
                text.push(c);
                self.walk(*next as usize, left - 1, ways, count, text, found);
                text.pop();
            }
        }
    }

    fn row(&self, state: usize) -> &[u32] {
        let width = self.classes.len();
        &self.next[state * width..(state + 1) * width]
    }

    /// The text that leads through the layers to an end.
    fn spell(&self, layers: &[Vec<bool>]) -> String {
        let Some((last, before)) = layers.split_last() else {
            return String::new();
        };
        let mut state = (0..last.len())
            .find(|s| last[*s] && self.ends[*s])
            .unwrap_or_default();
        let mut text = Vec::with_capacity(before.len());
        for layer in before.iter().rev() {
            let way = self
                .classes
                .iter()
                .enumerate()
                .find_map(|(class, (low, _))| {
                    (0..layer.len())
                        .find(|s| layer[*s] && self.row(*s)[class] as usize == state)
                        .map(|s| (s, *low))
                });
            if let Some((from, c)) = way {
                state = from;
                text.push(c);
            }
        }
        text.iter().rev().collect()
    }
}

impl Machine {
    fn new(pattern: &str) -> Option<Machine> {
        let config = DFA::config()
            .cache_capacity(CACHE_BYTES_MAX)
            .minimum_cache_clear_count(Some(0))
            .skip_cache_capacity_check(true);
        let dfa = DFA::builder().configure(config).build(pattern).ok()?;
        let cache = dfa.create_cache();
        Some(Machine { dfa, cache })
    }

    fn start(&mut self) -> Option<Option<LazyStateID>> {
        let start = self
            .dfa
            .start_state_forward(&mut self.cache, &Input::new(""));
        start.ok().map(Some)
    }

    /// Where the machine stands after a character: `Some(None)` once it has matched.
    fn step(&mut self, from: LazyStateID, c: char) -> Option<Option<LazyStateID>> {
        let mut state = from;
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            state = self.dfa.next_state(&mut self.cache, state, byte).ok()?;
            if state.is_match() {
                return Some(None);
            }
            if state.is_quit() || state.is_unknown() {
                return None;
            }
        }
        Some(Some(state))
    }

    fn ends(&mut self, at: LazyStateID) -> Option<bool> {
        let end = self.dfa.next_eoi_state(&mut self.cache, at).ok()?;
        Some(end.is_match())
    }
}

/// Whether a text that ends here is in the set.
fn ends(machines: &mut [Machine], stand: &Stand, needed: usize) -> Option<bool> {
    for (i, machine) in machines.iter_mut().enumerate() {
        let matches = match stand[i] {
            None => true,
            Some(at) => machine.ends(at)?,
        };
        if matches != (i < needed) {
            return Some(false);
        }
    }
    Some(true)
}

/// Where the machines stand after a character; `Some(None)` where no text of the set goes on so.
fn step(machines: &mut [Machine], stand: &Stand, c: char, needed: usize) -> Option<Option<Stand>> {
    let mut after = Vec::with_capacity(stand.len());
    for (i, machine) in machines.iter_mut().enumerate() {
        let state = match stand[i] {
            None => None,
            Some(at) => machine.step(at, c)?,
        };
        let lost = match state {
            None => i >= needed,
            Some(at) => i < needed && at.is_dead(),
        };
        if lost {
            return Some(None);
        }
        after.push(state);
    }
    Some(Some(after))
}

/// Adds the code points at which the pattern begins to tell characters apart.
fn boundaries(hir: &Hir, edges: &mut BTreeSet<u32>) {
    let mut range = |low: u32, high: u32| {
        edges.insert(low);
        edges.insert(high + 1);
    };
    match hir.kind() {
        HirKind::Literal(literal) => {
            for c in String::from_utf8_lossy(&literal.0).chars() {
                range(c.into(), c.into());
            }
        }
        HirKind::Class(Class::Unicode(class)) => {
            for each in class.iter() {
                range(each.start().into(), each.end().into());
            }
        }
        HirKind::Class(Class::Bytes(class)) => {
            for each in class.iter() {
                range(each.start().into(), each.end().into());
            }
        }
        HirKind::Look(_) => {
            for (low, high) in [
                ('0', '9'),
                ('A', 'Z'),
                ('_', '_'),
                ('a', 'z'),
                ('\n', '\n'),
                ('\r', '\r'),
            ] {
                range(low.into(), high.into());
            }
        }
        HirKind::Repetition(inner) => boundaries(&inner.sub, edges),
        HirKind::Capture(inner) => boundaries(&inner.sub, edges),
        HirKind::Concat(all) | HirKind::Alternation(all) => {
            for each in all {
                boundaries(each, edges);
            }
        }
        HirKind::Empty => {}
    }
}

/// The classes between the boundaries, letters and digits first, so that made-up texts can be read.
fn classes(edges: &BTreeSet<u32>) -> Vec<(char, char)> {
    // Splitting at printable ASCII gives every class a readable first character.
    let mut edges = edges.clone();
    edges.extend([
        u32::from(' '),
        u32::from('!'),
        u32::from('0'),
        u32::from('A'),
        u32::from('a'),
        0x7F,
    ]);
    let edges: Vec<u32> = edges.into_iter().collect();
    let mut all: Vec<(char, char)> = edges
        .windows(2)
        .filter_map(|pair| Some((char::from_u32(pair[0])?, char::from_u32(pair[1] - 1)?)))
        .collect();
    all.sort_by_key(|(low, _)| {
        let rank = match low {
            'a'..='z' => 0,
            'A'..='Z' => 1,
            '0'..='9' => 2,
            '!'..='~' => 3,
            ' ' => 4,
            _ => 5,
        };
        (rank, *low)
    });
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(all: &[&str], none: &[&str]) -> Texts {
        let own = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        Texts::build(&own(all), &own(none)).unwrap()
    }

    #[test]
    fn what_one_pattern_allows_and_another_does_not_is_found() {
        assert_eq!(
            texts(&["^[a-z]+$"], &["^[a-z0-9]+$"]).one(0, None),
            Found::Nothing
        );
        assert_eq!(
            texts(&["^[a-z0-9]+$"], &["^[a-z]+$"]).one(0, None),
            Found::Text("0".into())
        );
        assert_eq!(
            texts(&["^a*$"], &[]).one(3, Some(5)),
            Found::Text("aaa".into())
        );
        assert_eq!(
            texts(&["^(?:aa)*$"], &[]).one(1_000_001, Some(1_000_001)),
            Found::Nothing
        );
        assert_eq!(
            texts(&["^(?:aa)*$"], &[]).one(1_000_001, None),
            Found::Unknown
        );
        assert_eq!(
            texts(&["x"], &["^x"]).one(0, None),
            Found::Text("ax".into())
        );
        assert_eq!(texts(&[r"\bx\b"], &["x"]).one(0, None), Found::Nothing);
    }

    #[test]
    fn a_small_set_is_spelt_out_in_full() {
        let (mut all, complete) = texts(&["^[AB]?[0-1]$"], &[]).some(10, 0, None);
        all.sort();
        assert_eq!(all, ["0", "1", "A0", "A1", "B0", "B1"]);
        assert!(complete);
        let (some, complete) = texts(&["^a+b$"], &[]).some(5, 0, None);
        assert_eq!((some.len(), complete), (5, false));
        let (some, complete) = texts(&["^.$"], &[]).some(50, 0, None);
        assert_eq!((some.len(), complete), (50, false));
        assert_eq!(
            texts(&["^[^\\s\\S]$"], &[]).some(5, 0, None),
            (vec![], true)
        );
    }

    proptest! {
        /// The automaton says nothing else than the regular expressions do.
        #[test]
        fn members_match_and_nothing_means_nothing(
            a in r"\^?[abc.\[\]|()*+?]{1,8}\$?", b in r"\^?[abc.\[\]|()*+?]{1,8}\$?", text in "[abcd]{0,6}"
        ) {
            let (Ok(one), Ok(other)) = (pattern::compile(&a), pattern::compile(&b)) else { return Ok(()) };
            let Some(texts) = Texts::build(std::slice::from_ref(&a), std::slice::from_ref(&b)) else { return Ok(()) };
            let inside = |text: &str| one.is_match(text) && !other.is_match(text);
            match texts.one(0, None) {
                Found::Text(found) => prop_assert!(inside(&found), "{found}"),
                Found::Nothing => prop_assert!(!inside(&text), "{text}"),
                Found::Unknown => {}
            }
            let (some, complete) = texts.some(40, 0, Some(6));
            prop_assert!(some.iter().all(|text| inside(text)));
            prop_assert!(!complete || !inside(&text) || some.contains(&text), "{text} {some:?}");
        }
    }
}
