//! Tables that are to be read again: asked for, and remembered until a stored position says that it began.
//!
//! A source takes the request into its position. Positions of batches that were on their way before do not have it, so the request counts as stored only with one that was emitted after the source took it.

use std::collections::BTreeSet;

use lockstep_core::capture::{Ledger, Ticket};
use lockstep_core::connector::{Control, Feed, Filter};

/// The requests of one life of a source.
#[derive(Debug, Default)]
pub(super) struct Rereads {
    open: Vec<Reread>,
    /// The requests for parts of tables that the source was asked.
    parts: BTreeSet<String>,
    /// Entities whose tables were read to the last row, by the batch that says so, and whether its position is safe.
    whole: Vec<(usize, Ticket, bool)>,
}

#[derive(Debug)]
struct Reread {
    what: What,
    stage: Stage,
}

/// What is read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The table of an entity.
    Entity(usize),
    /// A part of a table, by the request for it.
    Part(String),
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
    ///
    /// With `every`, rows that flows do not want are told as well: targets may hold them all the same.
    pub(super) fn ask(&mut self, entity: usize, table: String, every: bool, feed: &Feed) {
        self.open.retain(|known| known.what != What::Entity(entity));
        let filter = every.then(Filter::every);
        match feed.control.try_send(Control::Backfill { table, filter }) {
            Ok(()) => self.open.push(Reread {
                what: What::Entity(entity),
                stage: Stage::Asked,
            }),
            // The mark in the log stays, so the next life asks again.
            Err(error) => {
                tracing::warn!(%error, "the source cannot be asked to read a table again now");
            }
        }
    }

    /// Asks the source to read a part of a table again, once in its life.
    pub(super) fn ask_part(&mut self, id: String, table: String, filter: Filter, feed: &Feed) {
        if !self.parts.insert(id.clone()) {
            return;
        }
        let filter = Some(filter);
        match feed.control.try_send(Control::Backfill { table, filter }) {
            Ok(()) => self.open.push(Reread {
                what: What::Part(id),
                stage: Stage::Asked,
            }),
            // The request in the log stays, so the next life asks again.
            Err(error) => {
                tracing::warn!(%error, "the source cannot be asked to read a part of a table now");
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
            reread.what == What::Entity(entity)
                && matches!(reread.stage, Stage::Asked | Stage::Taken(_))
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

    /// The log says a position that was safe before: the requests that it has.
    pub(super) fn said(&mut self) -> Vec<What> {
        let safe = self
            .open
            .extract_if(.., |reread| reread.stage == Stage::Safe);
        safe.map(|reread| reread.what).collect()
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

    const NONE: [What; 0] = [];

    fn position(commit: u64) -> Position {
        format!("i/{commit:016x}.00000000").parse().unwrap()
    }

    #[tokio::test]
    async fn a_request_is_stored_only_with_a_position_that_was_made_after_it_was_taken() {
        let (emitter, mut feed) = feed(None, 4);
        let mut ledger = Ledger::new(None);
        let mut rereads = Rereads::default();
        rereads.ask(0, "t".to_owned(), false, &feed);
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
        assert_eq!(
            enter(&mut feed, &mut rereads, &mut ledger).await,
            [What::Entity(0)]
        );
        assert_eq!(rereads.said(), NONE);
    }
}
