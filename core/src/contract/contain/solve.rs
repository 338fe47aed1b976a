//! The decision: is there a document that satisfies some nodes and not others?
//!
//! A question is split by kind, then by the choices its nodes leave open, until only facts about one value are left; members and items are questions of their own.
//! "Never" is only said where every way is closed; a question that comes up again inside itself is closed too, since the smallest document would have a smaller one inside.

use std::collections::{HashMap, HashSet};

use serde_json::Value as Json;

use super::frame::{Atom, Choice, Frame};
use super::holds::Lit;
use super::node::{Id, Kind, Kinds, NO, Node, YES};
use super::simulate::Likeness;
use super::store::Store;
use super::value::kind;

/// Deepest nesting of questions, one try after the other: what differs near the top is found before what lies deep is looked into.
const DEPTHS: [usize; 3] = [5, 16, 60];
/// Most choices open at once.
const CHOICES_MAX: usize = 4_000;
/// Deepest nesting of choices within one question.
const SPLITS_MAX: usize = 300;
/// Most ways of a choice that are tried before choosing.
const LOOK_AHEAD_MAX: usize = 40;
/// Most answers that are kept.
const MEMO_MAX: usize = 200_000;

/// What is known about a question.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// No document.
    Never,
    /// This one, as far as can be told here.
    Doc(Json),
    Unknown,
}

/// What looking ahead found.
enum Foreseen {
    Open,
    Never,
    /// A choice had this way left.
    One(Vec<Atom>),
}

/// A question being answered.
pub(super) struct Cx<'g> {
    pub(super) goal: &'g [Lit],
    /// Whether its documents are what was asked for, and not parts of such.
    pub(super) top: bool,
}

/// Looks at documents that seem right, or by our own reading are for sure, and says whether one is.
pub(super) type Judge<'a> = &'a mut dyn FnMut(&Json, bool) -> bool;

/// The state of a decision.
pub(super) struct Solver<'a> {
    pub(super) store: Store,
    judge: Judge<'a>,
    expired: &'a dyn Fn() -> bool,
    late: bool,
    steps: u64,
    memo: HashMap<Vec<Lit>, Answer>,
    /// Closed questions that rest on an open one around them, with the outermost such.
    guesses: HashMap<Vec<Lit>, usize>,
    guessed: Vec<Vec<Lit>>,
    open: HashMap<Vec<Lit>, usize>,
    depth_max: usize,
    /// Whether something lay too deep.
    was_deep: bool,
    /// The outermost open question that the answer at hand rests on.
    rests_on: usize,
    pub(super) likeness: Likeness,
}

impl<'a> Solver<'a> {
    pub(super) fn new(store: Store, judge: Judge<'a>, expired: &'a dyn Fn() -> bool) -> Solver<'a> {
        Solver {
            store,
            judge,
            expired,
            late: false,
            steps: 0,
            memo: HashMap::new(),
            guesses: HashMap::new(),
            guessed: Vec::new(),
            open: HashMap::new(),
            depth_max: DEPTHS[DEPTHS.len() - 1],
            was_deep: false,
            rests_on: usize::MAX,
            likeness: Likeness::default(),
        }
    }

    /// Whether time is up; asked often, looked up now and then.
    pub(super) fn spent(&mut self) -> bool {
        self.steps += 1;
        if self.steps.is_multiple_of(64) && !self.late {
            self.late = (self.expired)();
        }
        self.late
    }

    /// Answers the question that all the others are about.
    pub(super) fn decide(&mut self, lits: &[Lit]) -> Answer {
        let Some(goal) = self.tidy(lits.to_vec()) else {
            return Answer::Never;
        };
        for depth_max in DEPTHS {
            self.depth_max = depth_max;
            let answer = self.solve(&goal, true);
            if answer != Answer::Unknown || self.late || !std::mem::take(&mut self.was_deep) {
                return answer;
            }
            // What was not known may be so for lack of depth only.
            self.memo.retain(|_, answer| *answer != Answer::Unknown);
        }
        Answer::Unknown
    }

    /// Answers a question about a part of a document.
    pub(super) fn part(&mut self, lits: Vec<Lit>) -> Answer {
        let Some(goal) = self.tidy(lits) else {
            return Answer::Never;
        };
        if goal.is_empty() {
            return Answer::Doc(Json::Null);
        }
        if let Some(answer) = self.memo.get(&goal) {
            return answer.clone();
        }
        if let Some(&at) = self.guesses.get(&goal) {
            self.rests_on = self.rests_on.min(at);
            return Answer::Never;
        }
        if let Some(&at) = self.open.get(&goal) {
            self.rests_on = self.rests_on.min(at);
            return Answer::Never;
        }
        let depth = self.open.len();
        if depth >= self.depth_max {
            self.was_deep = true;
            return Answer::Unknown;
        }
        if self.spent() {
            return Answer::Unknown;
        }
        let outer = std::mem::replace(&mut self.rests_on, usize::MAX);
        let mark = self.guessed.len();
        self.open.insert(goal.clone(), depth);
        let answer = self.solve(&goal, false);
        self.open.remove(&goal);
        let rests_on = self.rests_on;
        self.close(goal, depth, mark, &answer);
        self.rests_on = outer.min(if rests_on < depth {
            rests_on
        } else {
            usize::MAX
        });
        answer
    }

    /// Keeps an answer as long as what it rests on is true.
    fn close(&mut self, goal: Vec<Lit>, depth: usize, mark: usize, answer: &Answer) {
        let own = self.rests_on >= depth;
        if *answer == Answer::Never {
            if own {
                // What rested on this question alone is now proven.
                for guess in self.guessed.split_off(mark) {
                    self.guesses.remove(&guess);
                    self.memo.insert(guess, Answer::Never);
                }
                self.memo.insert(goal, Answer::Never);
            } else {
                self.guesses.insert(goal.clone(), self.rests_on);
                self.guessed.push(goal);
            }
            return;
        }
        for guess in self.guessed.split_off(mark) {
            self.guesses.remove(&guess);
        }
        if !self.late && self.memo.len() < MEMO_MAX {
            self.memo.insert(goal, answer.clone());
        }
    }

    /// The question in its one spelling; `None` where it contradicts itself.
    pub(super) fn tidy(&mut self, mut lits: Vec<Lit>) -> Option<Vec<Lit>> {
        lits.retain(|lit| *lit != (YES, true) && *lit != (NO, false));
        lits.sort_unstable();
        lits.dedup();
        let clash = lits.windows(2).any(|pair| pair[0].0 == pair[1].0);
        let never = lits
            .iter()
            .any(|lit| *lit == (YES, false) || *lit == (NO, true));
        if clash || never {
            return None;
        }
        let held: Vec<Id> = lits.iter().filter(|lit| lit.1).map(|lit| lit.0).collect();
        let avoided: Vec<Id> = lits.iter().filter(|lit| !lit.1).map(|lit| lit.0).collect();
        for &outer in &avoided {
            if held.iter().any(|&inner| self.covers(outer, inner)) {
                return None;
            }
        }
        Some(lits)
    }

    fn solve(&mut self, goal: &[Lit], top: bool) -> Answer {
        let cx = Cx { goal, top };
        let held = goal.iter().filter(|lit| lit.1);
        let listed: Option<Id> = held
            .clone()
            .map(|lit| lit.0)
            .filter(|&id| self.store.node(id).values.is_some())
            .min_by_key(|&id| self.store.node(id).values.as_ref().map(|v| v.list.len()));
        if let Some(id) = listed {
            return self.pick(&cx, None, id);
        }
        let kinds = held
            .map(|lit| self.store.kinds(lit.0))
            .fold(Kinds::ALL, Kinds::and);
        let mut unknown = false;
        for kind in Kind::ALL {
            if !kinds.has(kind) {
                continue;
            }
            match self.of_kind(&cx, kind) {
                Answer::Doc(value) => return Answer::Doc(value),
                Answer::Unknown => unknown = true,
                Answer::Never => {}
            }
        }
        if unknown {
            Answer::Unknown
        } else {
            Answer::Never
        }
    }

    fn of_kind(&mut self, cx: &Cx<'_>, kind: Kind) -> Answer {
        let values = match kind {
            Kind::Null => vec![Json::Null],
            Kind::Bool => vec![true.into(), false.into()],
            _ => {
                let queue = cx.goal.iter().rev().map(|&lit| Atom::Lit(lit)).collect();
                return self.search(cx, Frame::new(kind), queue, Vec::new(), 0);
            }
        };
        self.try_each(cx, None, &values)
    }

    /// One of a node's values.
    fn pick(&mut self, cx: &Cx<'_>, frame: Option<&Frame>, listed: Id) -> Answer {
        let node = self.store.node(listed);
        let Some(values) = node.values.clone() else {
            return Answer::Unknown;
        };
        self.try_each(cx, frame, &values.list)
    }

    fn try_each(&mut self, cx: &Cx<'_>, frame: Option<&Frame>, values: &[Json]) -> Answer {
        let mut unknown = false;
        for value in values {
            if self.spent() {
                return Answer::Unknown;
            }
            if frame.is_some_and(|frame| !self.fits(frame, value)) {
                continue;
            }
            match self.store.holds_all(cx.goal, value) {
                Some(false) => {}
                Some(true) if !cx.top => return Answer::Doc(value.clone()),
                _ => match self.offer(cx, value.clone()) {
                    Answer::Doc(value) => return Answer::Doc(value),
                    _ => unknown = true,
                },
            }
        }
        if unknown {
            Answer::Unknown
        } else {
            Answer::Never
        }
    }

    /// Whether a value may stand in a frame that began with facts of its own.
    fn fits(&mut self, frame: &Frame, value: &Json) -> bool {
        if kind(value) != frame.kind {
            return false;
        }
        let Json::String(text) = value else {
            return true;
        };
        let mut patterns = frame.patterns.iter();
        !frame.without.contains(text.as_str())
            && patterns
                .all(|(pattern, holds)| self.store.texts.matches(pattern, text) != Some(!holds))
    }

    /// Gives a value that seems to answer the question; never says that there is none.
    pub(super) fn offer(&mut self, cx: &Cx<'_>, value: Json) -> Answer {
        let held = self.store.holds_all(cx.goal, &value);
        if held == Some(false) {
            return Answer::Unknown;
        }
        // A part of a document is one for sure, or it proves nothing about the whole.
        if !cx.top || (self.judge)(&value, held == Some(true)) {
            return Answer::Doc(value);
        }
        Answer::Unknown
    }

    /// Looks for a value within a frame, one choice at a time.
    pub(super) fn search(
        &mut self,
        cx: &Cx<'_>,
        mut frame: Frame,
        mut queue: Vec<Atom>,
        mut choices: Vec<Choice>,
        splits: usize,
    ) -> Answer {
        loop {
            while let Some(atom) = queue.pop() {
                if !self.apply(&mut frame, atom, &mut queue, &mut choices) {
                    return Answer::Never;
                }
            }
            if let Some(listed) = frame.listed {
                return self.pick(cx, Some(&frame), listed);
            }
            if self.spent() || choices.len() > CHOICES_MAX || splits > SPLITS_MAX {
                return Answer::Unknown;
            }
            // The only choice that breaks something is taken way by way, each in full: looking into all of them first is the same work, and the first open one may do.
            let alone = choices.iter().filter(|choice| choice.breaks).count() == 1;
            let mut kept = Vec::with_capacity(choices.len());
            for choice in choices.drain(..) {
                let deeply = !(alone && choice.breaks);
                match self.narrow(&frame, choice, deeply) {
                    None => {}
                    Some(mut choice) => match choice.ways.len() {
                        0 => return Answer::Never,
                        1 => queue.extend(choice.ways.swap_remove(0)),
                        _ => kept.push(choice),
                    },
                }
            }
            choices = kept;
            if queue.is_empty() {
                break;
            }
        }
        let settled = self.settle(cx, &frame);
        if settled != Answer::Unknown || choices.is_empty() {
            return settled;
        }
        if choices.iter().filter(|choice| choice.breaks).count() != 1 {
            match self.foresee(cx, &frame, &mut choices) {
                Foreseen::Open => {}
                Foreseen::Never => return Answer::Never,
                Foreseen::One(way) => return self.search(cx, frame, way, choices, splits + 1),
            }
        }
        self.split(cx, &frame, choices, splits)
    }

    /// Takes away ways that are closed by the facts alone, until one choice has a single way left.
    fn foresee(&mut self, cx: &Cx<'_>, frame: &Frame, choices: &mut Vec<Choice>) -> Foreseen {
        for at in 0..choices.len() {
            let before = choices[at].ways.len();
            let mut left = Vec::with_capacity(before);
            for way in std::mem::take(&mut choices[at].ways) {
                if before > LOOK_AHEAD_MAX || self.late || !self.is_dead(cx, frame, &way) {
                    left.push(way);
                }
            }
            match left.len() {
                0 => return Foreseen::Never,
                1 => {
                    choices.swap_remove(at);
                    return Foreseen::One(left.swap_remove(0));
                }
                _ => choices[at].ways = left,
            }
        }
        Foreseen::Open
    }

    /// Takes one choice, way by way.
    fn split(
        &mut self,
        cx: &Cx<'_>,
        frame: &Frame,
        mut choices: Vec<Choice>,
        splits: usize,
    ) -> Answer {
        let rank = |at: &usize| (!choices[*at].breaks, choices[*at].ways.len());
        let Some(at) = (0..choices.len()).min_by_key(rank) else {
            return Answer::Unknown;
        };
        let mut unknown = false;
        for way in choices.swap_remove(at).ways {
            match self.search(cx, frame.clone(), way, choices.clone(), splits + 1) {
                Answer::Doc(value) => return Answer::Doc(value),
                Answer::Unknown => unknown = true,
                Answer::Never => {}
            }
            if self.late {
                return Answer::Unknown;
            }
        }
        if unknown {
            Answer::Unknown
        } else {
            Answer::Never
        }
    }

    /// Whether a way is closed by the facts alone, other choices left aside.
    fn is_dead(&mut self, cx: &Cx<'_>, frame: &Frame, way: &[Atom]) -> bool {
        let mut frame = frame.clone();
        let mut queue = way.to_vec();
        let mut choices = Vec::new();
        while let Some(atom) = queue.pop() {
            if !self.apply(&mut frame, atom, &mut queue, &mut choices) {
                return true;
            }
        }
        if frame.listed.is_some()
            || cx.top && frame.kind == Kind::Object && frame.present.len() > 200
        {
            return false;
        }
        for choice in choices {
            if self
                .narrow(&frame, choice, true)
                .is_some_and(|choice| choice.ways.is_empty())
            {
                return true;
            }
        }
        let apart = Cx {
            goal: cx.goal,
            top: false,
        };
        self.settle(&apart, &frame) == Answer::Never
    }

    /// A choice without the ways that are closed; `None` where one of them is open for sure.
    fn narrow(&mut self, frame: &Frame, choice: Choice, deeply: bool) -> Option<Choice> {
        let mut left = Vec::with_capacity(choice.ways.len());
        for way in choice.ways {
            let mut closed = false;
            let mut certain = true;
            for atom in &way {
                let probed = if deeply {
                    self.probe(frame, atom)
                } else {
                    self.glance(frame, atom)
                };
                match probed {
                    Some(true) => {}
                    Some(false) => {
                        closed = true;
                        break;
                    }
                    None => certain = false,
                }
            }
            if closed {
                continue;
            }
            if certain {
                return None;
            }
            left.push(way);
        }
        Some(Choice {
            ways: left,
            breaks: choice.breaks,
        })
    }

    /// A value of the frame's facts.
    fn settle(&mut self, cx: &Cx<'_>, frame: &Frame) -> Answer {
        match frame.kind {
            Kind::Integer | Kind::Fraction => self.settle_number(cx, frame),
            Kind::Text => self.settle_text(cx, frame),
            Kind::Array => self.settle_array(cx, frame),
            Kind::Object => self.settle_object(cx, frame),
            // Their values have been tried one by one.
            Kind::Null | Kind::Bool => Answer::Unknown,
        }
    }

    /// Documents of the old node, also within single ways to break the new one: where a search may begin.
    pub(super) fn samples(&mut self, old: Id, new: Id) -> Vec<Json> {
        let was_late = std::mem::replace(&mut self.late, false);
        let node = self.store.node(new);
        let mut goals = vec![vec![(old, true)]];
        goals.extend(
            node.in_place()
                .map(|child| vec![(old, true), (child, false)]),
        );
        goals.extend(
            node.in_place()
                .map(|child| vec![(old, true), (child, true)]),
        );
        let mut samples = Vec::new();
        for goal in goals.into_iter().take(20) {
            if let Answer::Doc(value) = self.part(goal) {
                samples.push(value);
            }
            if self.late {
                break;
            }
        }
        self.late |= was_late;
        samples
    }

    /// A node for one value, to exclude it.
    pub(super) fn exactly(&mut self, value: Json) -> Id {
        self.store.add(Node::of_values([value]))
    }

    /// Excluded texts of a frame.
    pub(super) fn excluded_texts(&self, frame: &Frame) -> HashSet<String> {
        let mut texts = HashSet::new();
        for &id in &frame.excluded {
            let node = self.store.node(id);
            let values = node.values.iter().flat_map(|values| &values.list);
            texts.extend(values.filter_map(Json::as_str).map(str::to_owned));
        }
        texts
    }
}
