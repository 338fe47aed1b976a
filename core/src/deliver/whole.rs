//! Whole transactions out of events that come lane by lane.
//!
//! A log keeps order inside a lane; which changes one transaction made, across lanes and entities, shows in their marks.
//! Events wait here until their source's position says that everything up to a commit is in the log.
//! Knows no log: the caller says when a position is reached.

use std::collections::BTreeMap;

use crate::log::Event;
use crate::position::Mark;

/// An event with where it came from.
#[derive(Clone, Debug)]
pub struct Part {
    /// Which of the caller's entities it is of.
    pub member: usize,
    /// The sequence of its message.
    pub seq: u64,
    /// The event.
    pub event: Event,
}

/// Events that wait for the end of their transactions.
#[derive(Debug, Default)]
pub struct Assembly {
    /// In the order of their source; those of one mark in the order they came.
    waiting: BTreeMap<(Mark, u64), Part>,
    came: u64,
}

impl Assembly {
    /// Takes an event.
    pub fn push(&mut self, part: Part) {
        self.came += 1;
        let place = (part.event.change.mark, self.came);
        self.waiting.insert(place, part);
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether anything up to here waits.
    #[must_use]
    pub fn has(&self, upto: Mark) -> bool {
        let first = self.waiting.first_key_value();
        first.is_some_and(|((mark, _), _)| *mark <= upto)
    }

    /// The first sequence that something waits of.
    #[must_use]
    pub fn first_seq(&self) -> Option<u64> {
        self.waiting.values().map(|part| part.seq).min()
    }

    /// The next transactions in the order of their commits, none of them beyond `upto`: as many whole ones as it takes to have `most` changes, and at least one.
    pub fn take(&mut self, upto: Mark, most: usize) -> Vec<Part> {
        let mut taken: Vec<Part> = Vec::new();
        while let Some(first) = self.waiting.first_entry() {
            let mark = first.key().0;
            let begins = taken
                .last()
                .is_none_or(|last| last.event.change.mark.commit != mark.commit);
            if mark > upto || (begins && taken.len() >= most) {
                break;
            }
            taken.push(first.remove());
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::change::{Change, Op};
    use crate::shape::{Row, Shape};

    fn part(commit: u64, ordinal: u64, seq: u64) -> Part {
        let shape = Arc::new(Shape {
            name: "t".into(),
            columns: Vec::new(),
            key: Vec::new(),
        });
        let change = Change {
            shape,
            op: Op::Created,
            row: Row::default(),
            before: None,
            mark: Mark { commit, ordinal },
            committed_at: Timestamp::UNIX_EPOCH,
            origin: None,
        };
        Part {
            member: 0,
            seq,
            event: Event {
                change,
                key: None,
                replaces: None,
                replaced_by: None,
                id: "".into(),
            },
        }
    }

    proptest! {
        #[test]
        fn transactions_come_out_whole_and_in_order(
            sizes in proptest::collection::vec(1..6_u64, 0..12),
            lanes in proptest::collection::vec(0..3_usize, 60),
            upto in 0..14_u64,
            most in 1..9_usize,
        ) {
            // Three lanes, one after the other: order holds inside each, and nowhere else.
            let mut by_lane: [Vec<(u64, u64)>; 3] = Default::default();
            let mut lane = lanes.iter().cycle();
            for (commit, size) in sizes.iter().enumerate() {
                for ordinal in 0..*size {
                    by_lane[*lane.next().unwrap()].push((commit as u64, ordinal));
                }
            }
            let mut assembly = Assembly::default();
            for (seq, (commit, ordinal)) in by_lane.into_iter().flatten().enumerate() {
                assembly.push(part(commit, ordinal, seq as u64));
            }
            let upto = Mark { commit: upto, ordinal: u64::MAX };
            let mut seen = Vec::new();
            loop {
                let taken = assembly.take(upto, most);
                if taken.is_empty() {
                    break;
                }
                let commits: Vec<u64> = taken.iter().map(|part| part.event.change.mark.commit).collect();
                let last = *commits.last().unwrap();
                let of_last = commits.iter().filter(|commit| **commit == last).count();
                prop_assert_eq!(of_last as u64, sizes[last as usize], "cut inside a transaction");
                prop_assert!(taken.len() - of_last < most, "more than it takes");
                seen.extend(taken.iter().map(|part| part.event.change.mark));
            }
            prop_assert!(seen.is_sorted());
            let all: u64 = sizes.iter().take(upto.commit as usize + 1).sum();
            prop_assert_eq!(seen.len() as u64, all);
            prop_assert_eq!(assembly.len() as u64, sizes.iter().sum::<u64>() - all);
        }
    }

    #[test]
    fn what_waits_says_from_where_to_read_again() {
        let mut assembly = Assembly::default();
        assert_eq!(assembly.first_seq(), None);
        for part in [part(2, 0, 7), part(1, 0, 9)] {
            assembly.push(part);
        }
        assert_eq!(assembly.first_seq(), Some(7));
        let upto = Mark {
            commit: 1,
            ordinal: 0,
        };
        assert_eq!(assembly.take(upto, 10).len(), 1);
        assert!(assembly.take(upto, 10).is_empty());
    }
}
