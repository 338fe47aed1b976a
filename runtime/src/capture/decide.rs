//! What somebody decided about a quarantined change of this system, carried out: sent again as it is or corrected, and what waited for that let through in its order.

use std::sync::Arc;

use lockstep_core::Change;
use lockstep_core::contract::Outcome;
use lockstep_core::error::Result;
use lockstep_core::gate::{Gated, Rejection, Verdict};
use lockstep_core::log::Event;

use super::intake::{Entity, Intake, Way};
use super::line::Waiter;
use super::outbox::Outbox;
use super::pieces::{send_again, tombstone, too_large};
use super::publish::Publisher;
use crate::log::Request;
use crate::quarantine::{Answer, Ask, Entry, State};

/// Why a change that was too large to be kept whole cannot be sent again.
const TOO_LARGE_TO_RETRY: &str = "the record is too large to be kept in quarantine; change it in its source, which still has it, or correct every column of it";
/// Why an observation that could not be read cannot be sent again.
const UNREADABLE: &str = "the observation cannot be read as a record; publish it again as the contract says, correct it with `lockstep quarantine edit ID --file`, or drop it";
/// Most changes in line that take their turn at once.
const RELEASED_MAX: usize = 200;

impl Intake {
    /// Does what somebody decided about an entry.
    pub(super) async fn request(
        &mut self,
        request: Request,
        publisher: &Publisher,
        outbox: &mut Outbox,
    ) {
        let ask = Ask::read(&request.payload);
        let id = ask.id().to_owned();
        let done = match &ask {
            Ask::Retry { .. } | Ask::Edit { .. } => self.try_again(ask, publisher, outbox).await,
            Ask::Closed { id } => {
                self.lift_halt(id);
                Ok(Some(Answer::Done))
            }
            Ask::Halt { id } => self.halt_entity(id).await.map(Some),
            Ask::Refill { id, reason } => {
                let refused = self.refill(id, reason.clone()).await;
                refused.map(|refused| {
                    Some(refused.map_or(Answer::Done, |reason| Answer::Failed { reason }))
                })
            }
            Ask::Mark { .. } => Ok(Some(Answer::Done)),
        };
        let answer = match done {
            Ok(None) => {
                // Answered when the event is durable.
                outbox.last().retried.push((id, request.reply));
                outbox.seal();
                return;
            }
            Ok(Some(answer)) => answer,
            Err(error) => Answer::Failed {
                reason: error.chain(),
            },
        };
        let _ = request.reply.send(answer.to_bytes());
    }

    /// Whether somebody stands in line whose turn it is.
    pub(super) fn moves(&self) -> bool {
        self.entities.iter().any(Entity::moves)
    }

    /// Lets those through whose turn it is, as many as fit.
    ///
    /// # Errors
    /// A quarantine that cannot be read.
    pub(super) async fn release(
        &mut self,
        publisher: &Publisher,
        outbox: &mut Outbox,
    ) -> Result<()> {
        for index in 0..self.entities.len() {
            for _ in 0..RELEASED_MAX {
                if !outbox.has_room() {
                    return Ok(());
                }
                if !self.entities[index].moves() {
                    break;
                }
                let Some(waiter) = self.entities[index].line.next() else {
                    break;
                };
                self.let_through(index, &waiter, publisher, outbox).await?;
            }
        }
        Ok(())
    }

    /// Gates a change that waited in line, as if it came now.
    async fn let_through(
        &mut self,
        index: usize,
        waiter: &Waiter,
        publisher: &Publisher,
        outbox: &mut Outbox,
    ) -> Result<()> {
        let entry = self.quarantine.get(&waiter.id).await?;
        let Some(entry) = entry.filter(|entry| entry.state == State::Waiting) else {
            return Ok(());
        };
        if entry.held.raw.is_some() {
            let row = std::iter::once(entry.row_name());
            let entry = Entry {
                state: State::Open,
                line: None,
                ..entry
            };
            self.let_stand(index, row, entry, outbox);
            return Ok(());
        }
        let incarnation: Arc<str> = waiter.event.split('/').next().unwrap_or_default().into();
        let mut way = Way {
            is_past: !publisher.can_resume(&incarnation),
            waited: true,
            incarnation: &incarnation,
            publisher,
            outbox,
            original: entry.original.clone(),
        };
        let change = entry.change();
        if entry.held.cut {
            let rejection = Rejection {
                violations: vec![super::pieces::broken("size", TOO_LARGE_TO_RETRY)],
            };
            self.keep(index, &change, rejection, true, way);
            return Ok(());
        }
        let entity = &self.entities[index];
        let plan = if *change.shape == *entity.captured.shape {
            Arc::clone(&entity.captured.read)
        } else {
            match entity.compile(&change.shape) {
                Ok(plan) => plan,
                Err(error) => {
                    let rejection = Rejection {
                        violations: vec![super::pieces::broken("mapping", &error.chain())],
                    };
                    way.original = entry.original;
                    self.keep(index, &change, rejection, false, way);
                    return Ok(());
                }
            }
        };
        if !self.gate(index, &change, &plan, way).await? {
            outbox.last().released.push(waiter.id.clone());
        }
        Ok(())
    }

    /// An entry that may halt an entity does so no longer.
    fn lift_halt(&mut self, id: &str) {
        for entity in &mut self.entities {
            if entity.line.lift(id) {
                tracing::info!(
                    entity = entity.captured.contract.entity,
                    entry = id,
                    "decided: the entity goes on"
                );
            }
        }
    }

    /// A rule over all records halts its entity.
    async fn halt_entity(&mut self, id: &str) -> Result<Answer> {
        let Some(entry) = self.quarantine.get(id).await? else {
            return Ok(Answer::Missing);
        };
        let known = |entity: &&mut Entity| entity.captured.contract.entity == entry.entity;
        match self.entities.iter_mut().find(known) {
            Some(entity) if entry.halts() => {
                entity.line.halt(entry.id, "");
                Ok(Answer::Done)
            }
            _ => Ok(Answer::Closed { state: entry.state }),
        }
    }

    /// Tries an entry again and keeps what came of it.
    async fn try_again(
        &mut self,
        ask: Ask,
        publisher: &Publisher,
        outbox: &mut Outbox,
    ) -> Result<Option<Answer>> {
        let id = ask.id().to_owned();
        let tried = self.retry(&ask, publisher, outbox).await?;
        let answer = tried.as_ref().unwrap_or(&Answer::Done);
        if let Some(attempt) = ask.attempt(answer) {
            let edit = match &ask {
                // A correction that does not pass is not kept.
                Ask::Edit { edit, .. } if tried.is_none() => Some(edit),
                _ => None,
            };
            self.quarantine.tried(&id, edit, attempt).await?;
        }
        if tried.is_none() {
            self.lift_halt(&id);
        }
        Ok(tried)
    }

    /// Puts a quarantined change into a segment of its own, if it passes now.
    async fn retry(
        &mut self,
        ask: &Ask,
        publisher: &Publisher,
        outbox: &mut Outbox,
    ) -> Result<Option<Answer>> {
        let Some(entry) = self.quarantine.get(ask.id()).await? else {
            return Ok(Some(Answer::Missing));
        };
        if let Some(answer) = cannot_be_tried(&entry, ask) {
            return Ok(Some(answer));
        }
        let entry = ask.clone().applied(entry);
        let known = |entity: &Entity| entity.captured.contract.entity == entry.entity;
        let Some(index) = self.entities.iter().position(known) else {
            return Ok(failed("no flow captures this entity any more"));
        };
        let line = &self.entities[index].line;
        if let Some(by) = line.halted_by().filter(|_| !line.is_halted_by(&entry.id)) {
            return Ok(failed(&format!(
                "its entity is halted by {by}: decide about that one first"
            )));
        }
        if entry.held.event.is_empty() {
            return Ok(failed(
                "it is a rule over all records: it is judged again by itself, and `drop` lets the entity go on until then",
            ));
        }
        if !self.entities[index].book.holds(&entry) {
            // A newer change of the row is on its way already.
            return Ok(Some(Answer::Closed {
                state: State::Superseded,
            }));
        }
        if let Some(reason) = &self.entities[index].standing.held {
            return Ok(failed(&format!("the entity is held: {reason}")));
        }
        let change = entry.change();
        let plan = self.entities[index].compile(&change.shape)?;
        let held = Change {
            row: entry.held.row.clone(),
            ..change.clone()
        };
        let gated = match plan.gate(&change) {
            Verdict::Pass(gated)
                if plan
                    .key_after(&held)
                    .is_some_and(|(key, _)| key != gated.key) =>
            {
                let moved = super::pieces::broken(
                    "key",
                    "a correction may not give the record another key",
                );
                return Ok(Some(Answer::rejected(&[moved])));
            }
            Verdict::Pass(gated) => gated,
            Verdict::Reject(rejection) => {
                return self.still_broken(index, &entry, ask, &rejection).await;
            }
            Verdict::Skip | Verdict::Barrier(_) => {
                return Ok(failed("the mapping's filter leaves this row out"));
            }
        };
        Ok(self.send_again(index, &entry, &change, gated, publisher, outbox))
    }

    /// A change that still does not pass; it may halt its entity no longer, where its rules ask for less by now.
    async fn still_broken(
        &mut self,
        index: usize,
        entry: &Entry,
        ask: &Ask,
        rejection: &Rejection,
    ) -> Result<Option<Answer>> {
        let line = &self.entities[index].line;
        let halted = line.is_halted_by(&entry.id);
        if halted && rejection.outcome() < Outcome::Halt && matches!(ask, Ask::Retry { .. }) {
            self.quarantine
                .broken_by_now(&entry.id, &rejection.violations)
                .await?;
            self.lift_halt(&entry.id);
        }
        Ok(Some(Answer::rejected(&rejection.violations)))
    }

    fn send_again(
        &mut self,
        index: usize,
        entry: &Entry,
        change: &Change,
        gated: Gated,
        publisher: &Publisher,
        outbox: &mut Outbox,
    ) -> Option<Answer> {
        let Gated {
            change: record,
            key,
            lane,
            ..
        } = gated;
        let channel = publisher.channel(index);
        // The row its record had is known by what waits, not by the change: another record may have that key by now.
        let former = self.entities[index].book.former(entry);
        let former = former.filter(|(former, _)| *former != key);
        outbox.begin();
        let mut events = Vec::new();
        if let Some((former, lane)) = former {
            let id = format!("{}/former", entry.held.event);
            let event = tombstone(channel, &former, Some(&key), change, &id);
            events.extend(event.map(|event| (publisher.slot(index, lane), event)));
        }
        let event = Event {
            change: Change {
                before: None,
                ..record
            },
            key: Some(key),
            replaces: None,
            replaced_by: None,
            id: entry.held.event.as_str().into(),
        };
        events.push((publisher.slot(index, lane), event));
        if let Err(large) = send_again(publisher, outbox, index, events) {
            return Some(Answer::rejected(&too_large(large.bytes).violations));
        }
        self.entities[index].book.forget(entry);
        None
    }
}

impl Entity {
    /// Whether somebody in line has their turn; of a table that does not fit nobody has.
    fn moves(&self) -> bool {
        self.line.moves() && self.standing.held.is_none()
    }
}

/// Why an entry cannot even be tried.
fn cannot_be_tried(entry: &Entry, ask: &Ask) -> Option<Answer> {
    if entry.state == State::Waiting {
        return failed(
            "it waits in line behind the change that halted its entity: it goes on by itself",
        );
    }
    if entry.state != State::Open {
        return Some(Answer::Closed { state: entry.state });
    }
    match ask {
        Ask::Edit { edit, .. } if edit.row.0.len() != entry.held.shape.columns.len() => {
            failed("the correction has not as many columns as the record")
        }
        Ask::Edit { edit, .. } if entry.held.cut && !edit.row.is_whole() => {
            failed(TOO_LARGE_TO_RETRY)
        }
        Ask::Edit { .. } => None,
        _ if entry.held.raw.is_some() => failed(UNREADABLE),
        _ if entry.held.cut => failed(TOO_LARGE_TO_RETRY),
        _ => None,
    }
}

fn failed(reason: &str) -> Option<Answer> {
    Some(Answer::Failed {
        reason: reason.to_owned(),
    })
}

#[cfg(test)]
mod tests;
