//! What a delivery has in hand: a batch for the target, and beside each change the event it came from and what was folded into that.

use std::collections::HashSet;

use lockstep_core::Change;
use lockstep_core::connector::{Batch, Outcome};
use lockstep_core::deliver::Folded;
use lockstep_core::log::Event;

/// A batch with the events behind it; the lists go together, index by index.
#[derive(Debug)]
pub(super) struct Hand {
    pub(super) events: Vec<Event>,
    pub(super) batch: Batch,
    pub(super) origins: Vec<Origin>,
}

/// Where an event comes from among those of its batch.
#[derive(Debug)]
pub(super) struct Origin {
    /// Where it stood, which is its name while others leave.
    pub(super) place: usize,
    /// What was folded into it, with where that stood.
    pub(super) parts: Vec<(usize, Event)>,
}

impl Hand {
    /// An empty hand for a batch of a flow.
    pub(super) fn new(flow: &str) -> Self {
        Hand {
            events: Vec::new(),
            batch: Batch {
                flow: flow.to_owned(),
                changes: Vec::new(),
                progress: Vec::new(),
                follows: false,
            },
            origins: Vec::new(),
        }
    }

    /// Takes an event with what it is for the target.
    pub(super) fn push(&mut self, folded: Folded, change: Change) {
        let Folded {
            event,
            place,
            parts,
        } = folded;
        self.events.push(event);
        self.batch.changes.push(change);
        self.origins.push(Origin { place, parts });
    }

    /// Whether nothing is left to do.
    pub(super) fn is_done(&self) -> bool {
        self.events.is_empty() && self.batch.progress.is_empty()
    }

    /// Keeps the changes at these places.
    pub(super) fn keep(&mut self, kept: impl Fn(usize) -> bool) {
        let mut index = 0..;
        self.events.retain(|_| index.next().is_some_and(&kept));
        let mut index = 0..;
        self.batch
            .changes
            .retain(|_| index.next().is_some_and(&kept));
        let mut index = 0..;
        self.origins.retain(|_| index.next().is_some_and(&kept));
    }

    /// Whether the order of the changes may be altered: each is about another record.
    pub(super) fn may_move(&self) -> bool {
        let mut keys = HashSet::with_capacity(self.events.len());
        self.events.iter().all(|event| {
            event.replaces.is_none() && event.key.as_ref().is_some_and(|key| keys.insert(key))
        })
    }

    /// Puts refused changes behind all others.
    pub(super) fn move_back(&mut self, refused: &[(usize, Outcome)]) {
        let refused: HashSet<usize> = refused.iter().map(|(index, _)| *index).collect();
        self.events = behind(std::mem::take(&mut self.events), &refused);
        self.batch.changes = behind(std::mem::take(&mut self.batch.changes), &refused);
        self.origins = behind(std::mem::take(&mut self.origins), &refused);
    }

    /// Whether the source made these changes in another way than they stand here.
    pub(super) fn may_unfold(&self) -> bool {
        !self.may_move() || self.origins.iter().any(|origin| !origin.parts.is_empty())
    }
}

fn behind<T>(all: Vec<T>, last: &HashSet<usize>) -> Vec<T> {
    let (back, front): (Vec<_>, Vec<_>) = all
        .into_iter()
        .enumerate()
        .partition(|(index, _)| last.contains(index));
    front.into_iter().chain(back).map(|(_, one)| one).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::capture::tests::{channel, event};

    fn hand(keys: &[u64]) -> Hand {
        let channel = channel();
        let mut hand = Hand::new("f");
        for key in keys {
            push(&mut hand, event(&channel, *key), Vec::new());
        }
        hand
    }

    pub(in crate::deliver) fn push(hand: &mut Hand, event: Event, parts: Vec<(usize, Event)>) {
        let change = event.change.clone();
        let folded = Folded {
            place: parts.last().map_or(0, |(place, _)| place + 1) + 10 * hand.events.len(),
            event,
            parts,
        };
        hand.push(folded, change);
    }

    fn marks(hand: &Hand) -> Vec<u64> {
        let marks: Vec<u64> = hand
            .batch
            .changes
            .iter()
            .map(|change| change.mark.commit)
            .collect();
        let events: Vec<u64> = hand
            .events
            .iter()
            .map(|event| event.change.mark.commit)
            .collect();
        assert_eq!(marks, events, "the lists go together");
        marks
    }

    #[test]
    fn refused_changes_move_behind_the_others_in_their_order() {
        let mut hand = hand(&[1, 2, 3, 4]);
        assert!(hand.may_move());
        hand.move_back(&[(0, Outcome::Stale), (2, Outcome::Stale)]);
        assert_eq!(marks(&hand), [2, 4, 1, 3]);
        hand.keep(|index| index != 1);
        assert_eq!(marks(&hand), [2, 1, 3]);
    }

    #[test]
    fn changes_of_one_record_keep_their_order() {
        assert!(!hand(&[1, 2, 1]).may_move());
    }
}
