//! The line behind a change that halted its entity: what came after it, in its order, until somebody decides about it.
//!
//! The line is in the quarantine, entry by entry; here stands only its order.
//! A change is in line exactly if it stands behind what halted the entity and was not let through yet, whatever crashed in between.
//!
//! A crash may leave any part of a line in the quarantine.
//! So those of one life of the source stand as their source ordered them, not as they came; and nobody's turn comes before their entry is stored and the source was read beyond them, because somebody who stands before them may come again until then.

use std::collections::{HashSet, VecDeque};

use lockstep_core::log::{event_id, is_later};
use lockstep_core::position::Position;

use crate::quarantine::Place;

/// As many changes of one entity may wait; then its source is not read on.
///
/// What was read already still joins, so a line may be longer by that.
pub(crate) const LINE_MAX: usize = 10_000;

/// What halts an entity, and who waits behind it.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Open entries that halt the entity: a change of a record, and rules over all records.
    halts: Vec<Halt>,
    waiting: VecDeque<Waiter>,
    /// The events that wait.
    known: HashSet<String>,
    /// Those of them whose entries are not stored yet.
    unstored: HashSet<String>,
    /// How far the source was read.
    reached: Reached,
    /// The next place in line.
    next: u64,
}

/// How far a source was read, as this life of the capture knows.
#[derive(Clone, Debug, Default)]
enum Reached {
    /// It has said nothing so far, and goes on from nowhere in particular.
    #[default]
    Unknown,
    /// Everything up to there was taken.
    At(Position),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Halt {
    id: String,
    /// The event of the change; none where a rule over all records halts.
    event: Option<String>,
}

/// A change that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    /// Its entry.
    pub(super) id: String,
    /// Its event.
    pub(super) event: String,
    place: u64,
}

/// What a change of the entity has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It goes on.
    Goes,
    /// It is held already.
    Held,
    /// It joins the line at this place.
    Waits(u64),
}

impl Line {
    /// The line as these entries of the quarantine say.
    pub(super) fn load(places: impl Iterator<Item = Place>) -> Line {
        let mut line = Line::default();
        let mut waiting: Vec<Waiter> = Vec::new();
        for place in places {
            match place.line {
                Some(at) if !place.halts() => waiting.push(Waiter {
                    id: place.id,
                    event: place.held.event,
                    place: at,
                }),
                _ if place.halts() => line.halt(place.id, &place.held.event),
                _ => {}
            }
        }
        // Places tell which life of the source came first; inside one, its own order counts.
        waiting.sort_by_key(|waiter| waiter.place);
        line.next = waiting.last().map_or(0, |waiter| waiter.place + 1);
        for waiter in waiting {
            line.insert(waiter);
        }
        line
    }

    /// The source was read so far: everything up to there was taken.
    pub(super) fn reached(&mut self, position: &Position) {
        match &mut self.reached {
            // A replay tells again what lies behind.
            Reached::At(at)
                if at.incarnation == position.incarnation && at.mark() >= position.mark() => {}
            reached => *reached = Reached::At(position.clone()),
        }
    }

    /// An entry is in the quarantine.
    pub(super) fn stored(&mut self, id: &str) {
        self.unstored.remove(id);
    }

    /// Whether nobody can come any more who stands before a change.
    fn is_passed(&self, event: &str) -> bool {
        match &self.reached {
            Reached::Unknown => false,
            Reached::At(at) => {
                let reached = event_id(&at.incarnation, at.mark());
                // What another life left is not told again.
                life(event) != life(&reached) || !is_later(event, &reached)
            }
        }
    }

    /// Whether the turn of the first in line has come, but for what halts the entity.
    fn is_ready(&self) -> bool {
        self.waiting
            .front()
            .is_some_and(|first| !self.unstored.contains(&first.id) && self.is_passed(&first.event))
    }

    /// Puts somebody in line, behind whoever stands before them in the same life of the source.
    fn insert(&mut self, waiter: Waiter) {
        let same = |other: &Waiter| life(&other.event) == life(&waiter.event);
        let last = self.waiting.iter().rposition(same);
        let mut at = last.map_or(self.waiting.len(), |last| last + 1);
        while at > 0 {
            let before = &self.waiting[at - 1];
            if !same(before) || !is_later(&before.event, &waiter.event) {
                break;
            }
            at -= 1;
        }
        self.known.insert(waiter.event.clone());
        self.waiting.insert(at, waiter);
    }

    /// Whether every change goes on.
    pub(super) fn is_empty(&self) -> bool {
        self.halts.is_empty() && self.waiting.is_empty()
    }

    /// Whether as many wait as may.
    ///
    /// As long as somebody may come who stands before others, the source has to be read all the same: those could never go on otherwise.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= LINE_MAX
            && self
                .waiting
                .back()
                .is_some_and(|last| self.is_passed(&last.event))
    }

    /// The entry that halts the entity.
    pub(super) fn halted_by(&self) -> Option<&str> {
        self.halts.first().map(|halt| halt.id.as_str())
    }

    /// Whether an entry halts the entity.
    pub(super) fn is_halted_by(&self, id: &str) -> bool {
        self.halts.iter().any(|halt| halt.id == id)
    }

    /// Whether somebody waits whom nothing holds up any more.
    pub(super) fn moves(&self) -> bool {
        self.halts.is_empty() && self.is_ready()
    }

    /// What a change has to do, by its event.
    pub(super) fn turn(&self, event: &str) -> Turn {
        if self.is_empty() {
            return Turn::Goes;
        }
        if self.known.contains(event) {
            return Turn::Held;
        }
        let mut held = false;
        let mut waits = false;
        for halt in &self.halts {
            match &halt.event {
                Some(at) => {
                    held |= at == event;
                    waits |= is_later(event, at);
                }
                None => waits = true,
            }
        }
        if held {
            return Turn::Held;
        }
        // A replay of what stood before the line was settled before anybody in it.
        let behind = |first: &Waiter| is_later(event, &first.event);
        if waits || self.waiting.front().is_some_and(behind) {
            return Turn::Waits(self.next);
        }
        Turn::Goes
    }

    /// A change joins the line; its turn does not come before its entry is [stored](Line::stored).
    pub(super) fn join(&mut self, id: String, event: String) {
        self.unstored.insert(id.clone());
        self.insert(Waiter {
            id,
            event,
            place: self.next,
        });
        self.next += 1;
    }

    /// An entry halts the entity; without an event, behind whatever was taken so far.
    pub(super) fn halt(&mut self, id: String, event: &str) {
        if !self.is_halted_by(&id) {
            let event = (!event.is_empty()).then(|| event.to_owned());
            self.halts.push(Halt { id, event });
        }
    }

    /// An entry halts the entity no longer. Tells whether it did.
    pub(super) fn lift(&mut self, id: &str) -> bool {
        let before = self.halts.len();
        self.halts.retain(|halt| halt.id != id);
        self.halts.len() < before
    }

    /// The next whose turn it is.
    pub(super) fn next(&mut self) -> Option<Waiter> {
        if !self.moves() {
            return None;
        }
        let first = self.waiting.pop_front()?;
        self.known.remove(&first.event);
        Some(first)
    }
}

/// The life of the source that an event is of.
fn life(event: &str) -> &str {
    event.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lockstep_core::position::Mark;
    use proptest::prelude::*;

    use super::*;
    use crate::quarantine::{Broken, HeldPlace, Stage, State};

    fn event(commit: u64) -> String {
        event_id("i", Mark { commit, ordinal: 0 })
    }

    fn position(commit: u64) -> Position {
        Position {
            incarnation: "i".into(),
            commit,
            ordinal: 0,
            cursor: None,
        }
    }

    fn place(commit: u64, line: Option<u64>) -> Place {
        let halts = line.is_none();
        Place {
            id: format!("e{commit}"),
            stage: Stage::Gate,
            system: "crm".into(),
            flow: None,
            entity: "thing".into(),
            key: "k".into(),
            at: jiff::Timestamp::UNIX_EPOCH,
            violations: vec![Broken {
                rule: "r".into(),
                outcome: lockstep_core::contract::Outcome::Halt,
            }],
            held: HeldPlace {
                event: event(commit),
            },
            line,
            state: if halts { State::Open } else { State::Waiting },
            closed_at: None,
        }
    }

    #[test]
    fn what_stands_before_the_halt_goes_on_and_what_stands_behind_it_waits() {
        let line = Line::load([place(5, None), place(6, Some(0))].into_iter());
        assert_eq!(line.turn(&event(4)), Turn::Goes);
        assert_eq!(line.turn(&event(5)), Turn::Held);
        assert_eq!(line.turn(&event(6)), Turn::Held);
        assert_eq!(line.turn(&event(7)), Turn::Waits(1));
        assert_eq!(
            line.turn(&event_id("another life", Mark::default())),
            Turn::Waits(1)
        );
    }

    #[test]
    fn nobody_overtakes_those_who_still_wait_when_the_halt_is_lifted() {
        let mut line =
            Line::load([place(5, None), place(6, Some(0)), place(7, Some(1))].into_iter());
        line.reached(&position(7));
        assert_eq!(line.next(), None);
        assert!(line.lift("e5") && line.moves());
        assert_eq!(line.turn(&event(5)), Turn::Goes, "it was decided");
        assert_eq!(line.turn(&event(8)), Turn::Waits(2));
        assert_eq!(line.next().unwrap().id, "e6");
        // A crash between: what was let through comes again and stands before the line.
        assert_eq!(line.turn(&event(6)), Turn::Goes);
        assert_eq!(line.turn(&event(8)), Turn::Waits(2));
        assert_eq!(line.next().unwrap().id, "e7");
        assert_eq!(line.turn(&event(8)), Turn::Goes);
    }

    #[test]
    fn nobody_goes_on_whose_entry_is_not_stored() {
        let mut line = Line::default();
        line.halt("e1".into(), &event(1));
        line.join("e2".into(), event(2));
        line.reached(&position(2));
        assert!(line.lift("e1") && !line.moves());
        assert_eq!(line.next(), None);
        assert_eq!(line.turn(&event(3)), Turn::Waits(1));
        line.stored("e2");
        assert_eq!(line.next().unwrap().id, "e2");
    }

    #[test]
    fn holes_that_a_crash_left_are_filled_before_anybody_behind_them_goes_on() {
        let mut line = Line::load([place(3, Some(1)), place(6, Some(4))].into_iter());
        line.reached(&position(1));
        assert!(!line.moves(), "what stands before it comes again");
        // Nothing halts any more, so what stands before everybody goes on at once.
        assert_eq!(line.turn(&event(2)), Turn::Goes);
        assert_eq!(line.turn(&event(3)), Turn::Held);
        for commit in [4, 5] {
            let Turn::Waits(_) = line.turn(&event(commit)) else {
                panic!("{commit} overtakes");
            };
            line.join(format!("e{commit}"), event(commit));
            line.stored(&format!("e{commit}"));
        }
        line.reached(&position(5));
        let ids = |line: &mut Line| -> Vec<String> {
            std::iter::from_fn(|| line.next())
                .map(|waiter| waiter.id)
                .collect()
        };
        assert_eq!(ids(&mut line), ["e3", "e4", "e5"]);
        line.reached(&position(6));
        assert_eq!(ids(&mut line), ["e6"]);
    }

    #[test]
    fn a_full_line_is_read_on_until_its_holes_are_filled() {
        let most = LINE_MAX as u64;
        let places = (0..most).map(|at| place(at * 2 + 2, Some(at)));
        let mut line = Line::load(std::iter::once(place(1, None)).chain(places));
        line.reached(&position(1));
        assert!(!line.is_full());
        assert_eq!(line.turn(&event(3)), Turn::Waits(most));
        line.reached(&position(most * 2));
        assert!(line.is_full());
    }

    #[test]
    fn a_rule_over_all_records_halts_behind_whatever_was_taken() {
        let mut line = Line::default();
        line.halt("rule".into(), "");
        assert_eq!(line.turn(&event(1)), Turn::Waits(0));
        line.join("e1".into(), event(1));
        assert!(line.lift("rule"));
        assert_eq!(line.turn(&event(2)), Turn::Waits(1));
    }

    /// What happens to one entity.
    #[derive(Clone, Debug)]
    enum Step {
        /// A change of a key comes; it halts, or it is good.
        Comes { key: u8, halts: bool },
        /// Somebody decides about what halts: without it, or with it.
        Decides { with: bool },
        /// So many in line take their turn.
        Moves(usize),
        /// What came so far is stored.
        Lands,
        /// The process dies: of the entries that were not stored yet these are left, and what was not safe comes again, and so many changes before.
        Dies { stored: u64, back: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0u8..4, prop::bool::weighted(0.2)).prop_map(|(key, halts)| Step::Comes { key, halts }),
            2 => any::<bool>().prop_map(|with| Step::Decides { with }),
            3 => (1usize..4).prop_map(Step::Moves),
            3 => Just(Step::Lands),
            2 => (any::<u64>(), 0u64..6).prop_map(|(stored, back)| Step::Dies { stored, back }),
        ]
    }

    /// An entity with its entries, and what its log holds.
    #[derive(Default)]
    struct World {
        line: Line,
        entries: BTreeMap<u64, Place>,
        /// Entries on their way to the quarantine.
        unstored: BTreeMap<u64, Place>,
        /// Everything up to this commit is safe.
        safe: u64,
        /// Every change by commit: its key, and whether it halts.
        changes: BTreeMap<u64, (u8, bool)>,
        sent: Vec<u64>,
        dropped: Vec<u64>,
        decided: std::collections::BTreeSet<u64>,
    }

    impl World {
        fn comes(&mut self, commit: u64) {
            match self.line.turn(&event(commit)) {
                Turn::Goes => self.gate(commit),
                Turn::Held => {}
                Turn::Waits(at) => {
                    self.line.join(format!("e{commit}"), event(commit));
                    self.unstored.insert(commit, place(commit, Some(at)));
                }
            }
            self.line.reached(&position(commit));
        }

        fn lands(&mut self) {
            for (commit, place) in std::mem::take(&mut self.unstored) {
                self.line.stored(&place.id);
                self.entries.insert(commit, place);
            }
            self.safe = self.changes.len() as u64;
        }

        fn gate(&mut self, commit: u64) {
            let halts = self.changes[&commit].1;
            if self.decided.contains(&commit) || self.sent.contains(&commit) {
                // The entry is closed, or the lane covers it.
            } else if halts {
                self.line.halt(format!("e{commit}"), &event(commit));
                self.unstored.insert(commit, place(commit, None));
            } else {
                self.entries.remove(&commit);
                self.sent.push(commit);
            }
        }

        fn take(&mut self, step: &Step) {
            match *step {
                Step::Comes { key, halts } => {
                    let commit = self.changes.len() as u64 + 1;
                    self.changes.insert(commit, (key, halts));
                    self.comes(commit);
                }
                Step::Decides { with } => {
                    let Some(id) = self.line.halted_by().map(str::to_owned) else {
                        return;
                    };
                    let commit: u64 = id[1..].parse().unwrap();
                    if self.unstored.contains_key(&commit) {
                        // Nobody sees it yet.
                        return;
                    }
                    self.decided.insert(commit);
                    self.entries.remove(&commit);
                    if with {
                        self.sent.push(commit);
                    } else {
                        self.dropped.push(commit);
                    }
                    assert!(self.line.lift(&id));
                }
                Step::Moves(n) => {
                    for _ in 0..n {
                        let Some(waiter) = self.line.next() else {
                            break;
                        };
                        self.gate(waiter.id[1..].parse().unwrap());
                    }
                }
                Step::Lands => self.lands(),
                Step::Dies { stored, back } => {
                    for (at, (commit, place)) in
                        std::mem::take(&mut self.unstored).into_iter().enumerate()
                    {
                        if stored >> (at % 64) & 1 == 1 {
                            self.entries.insert(commit, place);
                        }
                    }
                    self.line = Line::load(self.entries.values().cloned());
                    let from = self.safe.saturating_sub(back);
                    self.line.reached(&position(from));
                    for commit in from + 1..=self.changes.len() as u64 {
                        // Whose turn it is goes on, however far the source is.
                        self.take(&Step::Moves(3));
                        self.comes(commit);
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn every_change_is_sent_once_in_its_order_whatever_halts_and_crashes(
            steps in prop::collection::vec(step(), 1..80)
        ) {
            let mut world = World::default();
            for step in steps {
                world.take(&step);
            }
            // In the end somebody decides about everything.
            while !world.line.is_empty() {
                world.take(&Step::Lands);
                world.take(&Step::Decides { with: true });
                world.take(&Step::Moves(100));
            }
            world.take(&Step::Lands);
            let mut seen = world.sent.clone();
            prop_assert!(world.sent.is_sorted(), "{:?}", world.sent);
            seen.extend(&world.dropped);
            seen.sort_unstable();
            let all: Vec<u64> = world.changes.keys().copied().collect();
            prop_assert_eq!(seen, all);
            prop_assert!(world.entries.is_empty());
        }
    }
}
