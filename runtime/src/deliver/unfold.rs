//! A refused batch part by part, as its source made it: folded, a change may skip what made room for another, as where two records swap a unique value.
//!
//! It knows no target: it says what to try next and what is refused for good.
//! Every attempt is all of the batch or nothing, so what was refused leaves no trace; a record's past counts only together with its last state.

use std::collections::{BTreeMap, HashMap, HashSet};

use lockstep_core::connector::{Batch, Outcome};
use lockstep_core::log::Event;
use lockstep_core::position::Mark;
use lockstep_core::{Change, Key};

use super::hand::Hand;

/// Most attempts part by part; beyond, what is refused folded is refused.
const ROUNDS_MAX: u32 = 8;

/// How a hand is tried.
#[derive(Debug, Default)]
pub(super) struct Unfolding {
    /// While parts are tried: the changes, by where they stood, whose parts were refused.
    folded: Option<HashSet<usize>>,
    rounds: u32,
}

/// The changes of a hand one by one.
#[derive(Debug)]
pub(super) struct Unfolded {
    pub(super) batch: Batch,
    /// For each change, which one of the hand it is part of.
    owners: Vec<usize>,
}

impl Unfolding {
    /// Begins to try a refused hand part by part. Tells whether that is anything new.
    pub(super) fn begin(&mut self, hand: &Hand) -> bool {
        if self.rounds > 0 || !hand.may_unfold() {
            return false;
        }
        self.rounds = 1;
        self.folded = Some(HashSet::new());
        true
    }

    /// What to try of a hand, if not the hand itself; `map` makes of an event what it is for the target.
    pub(super) fn of(
        &self,
        hand: &Hand,
        map: impl Fn(&Event) -> Option<Change>,
    ) -> Option<Unfolded> {
        Some(unfolded(hand, self.folded.as_ref()?, map))
    }

    /// What a hand's parts being refused means for the hand: what is refused for good, or nothing if there is more to try.
    ///
    /// Whatever was refused is tried together once more behind all others, folded.
    pub(super) fn refused(
        &mut self,
        hand: &Hand,
        unfolded: &Unfolded,
        outcomes: Vec<(usize, Outcome)>,
    ) -> Option<Vec<(usize, Outcome)>> {
        self.rounds += 1;
        if self.rounds > ROUNDS_MAX {
            self.folded = None;
            return None;
        }
        let outcomes = unfolded.of_owners(outcomes);
        let folded = self.folded.get_or_insert_default();
        let before = folded.len();
        let places = outcomes.iter().map(|(owner, _)| hand.origins[*owner].place);
        folded.extend(places);
        (folded.len() == before).then_some(outcomes)
    }

    /// The target keeps some and says what is open: that is tried as it is from now on.
    pub(super) fn ended(
        &mut self,
        unfolded: Option<&Unfolded>,
        open: Vec<(usize, Outcome)>,
    ) -> Vec<(usize, Outcome)> {
        self.folded = None;
        match unfolded {
            Some(unfolded) => unfolded.of_owners(open),
            None => open,
        }
    }
}

impl Unfolded {
    /// What a target said of the parts, for the changes of the hand they are part of: the last of each.
    fn of_owners(&self, outcomes: Vec<(usize, Outcome)>) -> Vec<(usize, Outcome)> {
        let owned = outcomes
            .into_iter()
            .filter_map(|(index, outcome)| Some((*self.owners.get(index)?, outcome)));
        let by_owner: BTreeMap<usize, Outcome> = owned.collect();
        by_owner.into_iter().collect()
    }
}

/// The changes one by one, in their source's order as far as that is known, except those that stay folded.
fn unfolded(
    hand: &Hand,
    stays: &HashSet<usize>,
    map: impl Fn(&Event) -> Option<Change>,
) -> Unfolded {
    let may_move = hand.may_move();
    let mut single: Vec<(usize, &Event, Change, usize)> = Vec::new();
    let mut last: Vec<(Change, usize)> = Vec::new();
    let rows = hand.events.iter().zip(&hand.origins);
    for (owner, ((event, origin), change)) in rows.zip(&hand.batch.changes).enumerate() {
        let stays = stays.contains(&origin.place);
        if stays && may_move {
            last.push((change.clone(), owner));
            continue;
        }
        let parts = origin.parts.iter().filter(|_| !stays);
        let parts = parts.map(|(place, part)| Some((*place, part, map(part)?, owner)));
        // What cannot be mapped of a change's past leaves with the rest of that past.
        let parts: Option<Vec<_>> = parts.collect();
        single.extend(parts.into_iter().flatten());
        single.push((origin.place, event, change.clone(), owner));
    }
    single.sort_by_key(|(place, ..)| *place);
    if is_sortable(single.iter().map(|(_, event, ..)| *event)) {
        single.sort_by_key(|(_, event, ..)| event.change.mark);
    }
    let single = single
        .into_iter()
        .map(|(_, _, change, owner)| (change, owner));
    let (changes, owners) = single.chain(last).unzip();
    Unfolded {
        batch: Batch {
            flow: hand.batch.flow.clone(),
            changes,
            progress: hand.batch.progress.clone(),
            follows: hand.batch.follows,
        },
        owners,
    }
}

/// Whether events can be put in the order in which their source made them: lanes come one after the other, but what was sent again is older than what it follows.
fn is_sortable<'e>(events: impl Iterator<Item = &'e Event>) -> bool {
    let mut life: Option<&str> = None;
    let mut newest: HashMap<&Key, Mark> = HashMap::new();
    for event in events {
        let of = event.id.split('/').next().unwrap_or_default();
        // A barrier is about every key.
        let Some(key) = event.key.as_ref().filter(|_| *life.get_or_insert(of) == of) else {
            return false;
        };
        let mark = event.change.mark;
        for key in [Some(key), event.replaces.as_ref()].into_iter().flatten() {
            if newest.insert(key, mark).is_some_and(|before| before > mark) {
                return false;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use lockstep_core::log::{Channel, event_id};

    use super::*;
    use crate::capture::tests::{channel, event};
    use crate::deliver::hand::tests::push;

    /// An event of a record at a place in the source.
    fn of(channel: &Channel, key: u64, commit: u64) -> Event {
        let mark = Mark { commit, ordinal: 0 };
        let mut event = event(channel, key);
        event.id = event_id("i", mark).into();
        event.change.mark = mark;
        event
    }

    /// Two lanes, one after the other: record 1 as changed at 1 and 3, record 2 at 2.
    fn swap() -> Hand {
        let channel = channel();
        let mut hand = Hand::new("f");
        let past = vec![(0, of(&channel, 1, 1))];
        push(&mut hand, of(&channel, 1, 3), past);
        push(&mut hand, of(&channel, 2, 2), Vec::new());
        hand
    }

    fn commits(unfolded: &Unfolded) -> Vec<u64> {
        let changes = unfolded.batch.changes.iter();
        changes.map(|change| change.mark.commit).collect()
    }

    fn try_of(unfolding: &Unfolding, hand: &Hand) -> Unfolded {
        let map = |event: &Event| Some(event.change.clone());
        unfolding.of(hand, map).unwrap()
    }

    fn no() -> Outcome {
        Outcome::Rejected {
            reason: "no".into(),
        }
    }

    #[test]
    fn parts_are_tried_in_the_order_of_their_source() {
        let hand = swap();
        let mut unfolding = Unfolding::default();
        assert!(unfolding.begin(&hand));
        assert_eq!(commits(&try_of(&unfolding, &hand)), [1, 2, 3]);
        let unmappable = unfolding.of(&hand, |_| None).unwrap();
        assert_eq!(commits(&unmappable), [2, 3]);
    }

    #[test]
    fn what_is_refused_is_tried_once_more_folded_before_it_is_set_aside() {
        let hand = swap();
        let mut unfolding = Unfolding::default();
        assert!(unfolding.begin(&hand));
        let first = try_of(&unfolding, &hand);
        assert!(unfolding.refused(&hand, &first, vec![(0, no())]).is_none());
        let second = try_of(&unfolding, &hand);
        assert_eq!(commits(&second), [2, 3], "the record's past left with it");
        let refused = unfolding.refused(&hand, &second, vec![(1, no())]);
        assert_eq!(refused, Some(vec![(0, no())]));
        assert!(!unfolding.begin(&hand), "once is enough");
    }

    #[test]
    fn what_was_sent_again_stays_behind_what_it_follows() {
        let channel = channel();
        let mut hand = Hand::new("f");
        let past = vec![(0, of(&channel, 1, 7))];
        push(&mut hand, of(&channel, 1, 3), past);
        push(&mut hand, of(&channel, 2, 2), Vec::new());
        let mut unfolding = Unfolding::default();
        assert!(unfolding.begin(&hand));
        assert_eq!(commits(&try_of(&unfolding, &hand)), [7, 3, 2]);
    }

    #[test]
    fn a_hand_as_its_source_made_it_is_not_tried_again() {
        let channel = channel();
        let mut hand = Hand::new("f");
        push(&mut hand, of(&channel, 1, 1), Vec::new());
        assert!(!Unfolding::default().begin(&hand));
    }
}
