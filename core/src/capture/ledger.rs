//! Positions in order, over acknowledgements out of order.

use std::collections::VecDeque;

use crate::position::Position;

/// Remembers what was handed on, and says how far everything is durable.
///
/// Batches are entered in the order they were emitted and acknowledged in any order; the safe position is that of the last batch before which none is missing, so it never runs ahead.
#[derive(Debug, Default)]
pub struct Ledger {
    open: VecDeque<(bool, Position)>,
    /// The ticket number of the front of `open`.
    first: u64,
    safe: Option<Position>,
}

/// Stands for one batch in a [`Ledger`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

impl Ledger {
    /// A ledger whose safe position is where the source resumed.
    #[must_use]
    pub fn new(resumed: Option<Position>) -> Self {
        Ledger {
            open: VecDeque::new(),
            first: 0,
            safe: resumed,
        }
    }

    /// Enters a batch by the position after it.
    pub fn enter(&mut self, position: Position) -> Ticket {
        self.open.push_back((false, position));
        Ticket(self.first + self.open.len() as u64 - 1)
    }

    /// Notes that a batch is durable. Gives the new safe position, if it moved.
    ///
    /// A ticket that was acknowledged before changes nothing.
    pub fn acknowledge(&mut self, ticket: Ticket) -> Option<&Position> {
        let index = usize::try_from(ticket.0.checked_sub(self.first)?).ok()?;
        self.open.get_mut(index)?.0 = true;
        let mut moved = false;
        while self.open.front().is_some_and(|(durable, _)| *durable) {
            self.safe = self.open.pop_front().map(|(_, position)| position);
            self.first += 1;
            moved = true;
        }
        self.safe.as_ref().filter(|_| moved)
    }

    /// How far everything is durable.
    #[must_use]
    pub fn safe(&self) -> Option<&Position> {
        self.safe.as_ref()
    }

    /// Whether a batch, and every batch before it, is durable.
    #[must_use]
    pub fn is_safe(&self, ticket: Ticket) -> bool {
        ticket.0 < self.first
    }

    /// How many batches are not yet safe.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn position(commit: u64) -> Position {
        Position {
            incarnation: "i".into(),
            commit,
            ordinal: 0,
            cursor: None,
        }
    }

    #[test]
    fn the_safe_position_waits_for_the_missing_batch() {
        let mut ledger = Ledger::new(None);
        let tickets: Vec<_> = (1..=3).map(|n| ledger.enter(position(n))).collect();
        assert_eq!(ledger.acknowledge(tickets[1]), None);
        assert_eq!(ledger.acknowledge(tickets[2]), None);
        assert_eq!(ledger.safe(), None);
        assert_eq!(ledger.acknowledge(tickets[0]), Some(&position(3)));
        assert_eq!(ledger.acknowledge(tickets[0]), None);
        assert_eq!(ledger.pending(), 0);
    }

    proptest! {
        #[test]
        fn safe_is_the_longest_durable_prefix(order in Just((0..20_usize).collect::<Vec<_>>()).prop_shuffle()) {
            let mut ledger = Ledger::new(None);
            let tickets: Vec<_> = (0..20).map(|n| ledger.enter(position(n))).collect();
            let mut durable = [false; 20];
            for index in order {
                ledger.acknowledge(tickets[index]);
                durable[index] = true;
                let prefix = durable.iter().take_while(|d| **d).count();
                let expected = prefix.checked_sub(1).map(|last| position(last as u64));
                prop_assert_eq!(ledger.safe().cloned(), expected);
            }
        }
    }
}
