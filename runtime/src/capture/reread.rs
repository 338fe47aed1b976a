//! Tables that are to be read again: asked for, and remembered until a stored position says that it began.
//!
//! A source takes the request into its position. Positions of batches that were on their way before do not have it, so the request counts as stored only with one that was emitted after the source took it.

use lockstep_core::capture::{Ledger, Ticket};
use lockstep_core::connector::{Control, Feed};

/// The requests of one life of a source.
#[derive(Debug, Default)]
pub(super) struct Rereads {
    open: Vec<Reread>,
    /// Entities whose tables were read to the last row, by the batch that says so, and whether its position is safe.
    whole: Vec<(usize, Ticket, bool)>,
}

#[derive(Debug)]
struct Reread {
    /// The entity whose table it is.
    entity: usize,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The source has not taken it yet, as far as is known.
    Asked,
    /// So many batches may still come that were on their way before it took it.
    Taken(usize),
    /// The position of this batch has it.
    In(Ticket),
    /// That position is safe, and is said with the next one that is.
    Safe,
}

impl Rereads {
    /// Asks the source to read the table of an entity again.
    pub(super) fn ask(&mut self, entity: usize, table: String, feed: &Feed) {
        self.open.retain(|known| known.entity != entity);
        match feed.control.try_send(Control::Backfill { table }) {
            Ok(()) => self.open.push(Reread {
                entity,
                stage: Stage::Asked,
            }),
            // The mark in the log stays, so the next life asks again.
            Err(error) => {
                tracing::warn!(%error, "the source cannot be asked to read a table again now");
            }
        }
    }

    /// A batch came from the source.
    pub(super) fn entered(&mut self, ticket: Ticket, feed: &Feed) {
        let taken = feed.control.capacity() == feed.control.max_capacity();
        let on_their_way = feed.batches.len();
        for reread in &mut self.open {
            reread.stage = match reread.stage {
                Stage::Asked if taken => Stage::Taken(on_their_way),
                Stage::Taken(0) => Stage::In(ticket),
                Stage::Taken(before) => Stage::Taken(before - 1),
                other => other,
            };
        }
    }

    /// The table of an entity was read to its last row with a batch. What was begun before it was asked for again does not count.
    pub(super) fn is_whole(&mut self, entity: usize, ticket: Ticket) {
        let begun_before = |reread: &Reread| {
            reread.entity == entity && matches!(reread.stage, Stage::Asked | Stage::Taken(_))
        };
        if !self.open.iter().any(begun_before) {
            self.whole.push((entity, ticket, false));
        }
    }

    /// Batches became durable.
    pub(super) fn settled(&mut self, ledger: &Ledger) {
        for (_, ticket, safe) in &mut self.whole {
            *safe = *safe || ledger.is_safe(*ticket);
        }
        for reread in &mut self.open {
            if let Stage::In(ticket) = reread.stage
                && ledger.is_safe(ticket)
            {
                reread.stage = Stage::Safe;
            }
        }
    }

    /// The log says a position that was safe before: the entities whose request it has.
    pub(super) fn said(&mut self) -> Vec<usize> {
        let safe = self
            .open
            .extract_if(.., |reread| reread.stage == Stage::Safe);
        safe.map(|reread| reread.entity).collect()
    }

    /// The log says a position that was safe before: the entities whose tables were read to the last row by then.
    pub(super) fn wholes(&mut self) -> Vec<usize> {
        let safe = self.whole.extract_if(.., |(_, _, safe)| *safe);
        safe.map(|(entity, ..)| entity).collect()
    }
}

#[cfg(test)]
mod tests {
    use lockstep_core::connector::feed;
    use lockstep_core::position::Position;

    use super::*;

    const NONE: [usize; 0] = [];

    fn position(commit: u64) -> Position {
        format!("i/{commit:016x}.00000000").parse().unwrap()
    }

    #[tokio::test]
    async fn a_request_is_stored_only_with_a_position_that_was_made_after_it_was_taken() {
        let (emitter, mut feed) = feed(None, 4);
        let mut ledger = Ledger::new(None);
        let mut rereads = Rereads::default();
        rereads.ask(0, "t".to_owned(), &feed);
        let enter = async |feed: &mut Feed, rereads: &mut Rereads, ledger: &mut Ledger| {
            let batch = feed.batches.recv().await.unwrap();
            let ticket = ledger.enter(batch.position);
            rereads.entered(ticket, feed);
            ledger.acknowledge(ticket);
            rereads.settled(ledger);
            rereads.said()
        };
        for commit in 1..=3 {
            emitter.emit(Vec::new(), position(commit)).await.unwrap();
        }
        assert_eq!(enter(&mut feed, &mut rereads, &mut ledger).await, NONE);
        emitter.control().await;
        // Two more were on their way before, and nobody knows of the one that comes next but by its place.
        assert_eq!(enter(&mut feed, &mut rereads, &mut ledger).await, NONE);
        assert_eq!(enter(&mut feed, &mut rereads, &mut ledger).await, NONE);
        emitter.emit(Vec::new(), position(4)).await.unwrap();
        assert_eq!(enter(&mut feed, &mut rereads, &mut ledger).await, [0]);
        assert_eq!(rereads.said(), NONE);
    }
}
