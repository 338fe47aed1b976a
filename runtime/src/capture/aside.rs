//! What of a source's changes does not go on: set aside in quarantine for good or until somebody decides, or in line behind what halts its entity.
//!
//! Whether a change passes is decided before, at the gate; here its entry is made, and what it means for those that come after it.

use std::sync::Arc;

use lockstep_core::Change;
use lockstep_core::contract::Outcome;
use lockstep_core::gate::{Rejection, row_name};
use lockstep_core::log::event_id;

use super::intake::{Entity, Intake, Way};
use super::line::Turn;
use super::outbox::Outbox;
use super::pieces::{change_entity, former, row_names, waits};
use crate::quarantine::{Entry, Former, Held, Original, Stage, State, Stopped, entry_id};
use crate::rules::At;

/// Behind whom a change waits where nothing halts any more.
const OTHERS: &str = "those before it";

impl Intake {
    /// Puts a change in line where its entity is halted, or where others still wait before it.
    pub(super) fn has_to_wait(
        &mut self,
        index: usize,
        change: &Change,
        incarnation: &Arc<str>,
        outbox: &mut Outbox,
    ) -> bool {
        if self.entities[index].line.is_empty() {
            return false;
        }
        let event = event_id(incarnation, change.mark);
        let at = match self.entities[index].line.turn(&event) {
            Turn::Goes => return false,
            Turn::Held => return true,
            Turn::Waits(at) => at,
        };
        let line = &self.entities[index].line;
        let message = format!("waits behind {}", line.halted_by().unwrap_or(OTHERS));
        let mut entry = self.entry(Some(index), change, &event, waits(&message));
        entry.line = Some(at);
        if let Some(desk) = &self.desk {
            desk.waits(change.mark, &message);
        }
        self.join(index, entry, outbox);
        true
    }

    /// Keeps a change that waits in line.
    fn join(&mut self, index: usize, entry: Entry, outbox: &mut Outbox) {
        let event = entry.held.event.clone();
        self.entities[index].line.join(entry.id.clone(), event);
        outbox.set_aside(Entry {
            state: State::Waiting,
            ..entry
        });
    }

    /// Why an observation cannot even be read, with what its publisher sent.
    pub(super) async fn unreadable(&self, change: &Change) -> Option<(Rejection, Original)> {
        let desk = self.desk.as_ref()?;
        let (rejection, seen) = desk.unreadable(change.mark)?;
        let original = desk.original(change.mark).await;
        Some((rejection, original.unwrap_or(seen)))
    }

    /// Puts an observation that cannot be read into quarantine; it may not even be of an entity of ours.
    pub(super) fn set_aside_unreadable(
        &mut self,
        change: &Change,
        rejection: Rejection,
        raw: Original,
        incarnation: &Arc<str>,
        outbox: &mut Outbox,
    ) {
        let named = |entity: &Entity| entity.captured.contract.entity == change.shape.name;
        let index = self.entities.iter().position(named);
        if let Some(desk) = &self.desk {
            desk.refused(change.mark, &rejection.violations);
        }
        let contract = index.map(|index| &*self.entities[index].captured.contract);
        let at = At {
            incarnation,
            mark: change.mark,
            waited: false,
        };
        self.tally.note(contract, &rejection.violations, at);
        let event = event_id(incarnation, change.mark);
        let mut entry = self.entry(index, change, &event, rejection);
        entry.held.raw = Some(raw.base64.clone());
        entry.original = Some(raw);
        let Some(index) = index else {
            outbox.set_aside(entry);
            return;
        };
        match self.entities[index].line.turn(&event) {
            Turn::Goes => self.let_stand(index, row_names(change, &event), entry, outbox),
            Turn::Held => {}
            // It says something about its record, so it takes its turn like any other.
            Turn::Waits(at) => {
                entry.line = Some(at);
                self.join(index, entry, outbox);
            }
        }
    }

    /// Lets an entry stand for its rows.
    pub(super) fn let_stand(
        &mut self,
        index: usize,
        rows: impl Iterator<Item = String>,
        mut entry: Entry,
        outbox: &mut Outbox,
    ) {
        let superseded = self.entities[index].book.set_aside(rows, &mut entry);
        outbox.set_aside(entry);
        outbox.last().superseded.extend(superseded);
    }

    /// Puts a change into quarantine; an older entry of the same row has no meaning any more.
    pub(super) fn set_aside(
        &mut self,
        index: usize,
        change: &Change,
        rejection: Rejection,
        way: Way<'_>,
    ) -> bool {
        self.keep(index, change, rejection, false, way)
    }

    /// Puts a change into quarantine, whole or cut already: to wait for somebody, refused for good, or halting its entity.
    pub(super) fn keep(
        &mut self,
        index: usize,
        change: &Change,
        rejection: Rejection,
        cut: bool,
        way: Way<'_>,
    ) -> bool {
        self.count(index, &rejection.violations, change, &way);
        let Way {
            incarnation,
            outbox,
            original,
            ..
        } = way;
        if let Some(desk) = &self.desk {
            desk.refused(change.mark, &rejection.violations);
        }
        let event = event_id(incarnation, change.mark);
        let outcome = rejection.outcome();
        let mut entry = self.entry(Some(index), change, &event, rejection);
        entry.held.cut = cut;
        entry.original = original;
        if outcome == Outcome::Reject {
            entry.state = State::Rejected;
            entry.closed_at = Some(entry.at);
            if self.desk.is_some() {
                // An observation that is refused for good was never made: it neither holds its key nor says anything about it.
                outbox.set_aside(entry);
                return true;
            }
        }
        let Entity { captured, line, .. } = &mut self.entities[index];
        entry.former = former(&captured.read, change).and_then(|(key, lane)| {
            Some(Former {
                key: key.values().ok()?,
                lane,
            })
        });
        if outcome == Outcome::Halt {
            line.halt(entry.id.clone(), &event);
        }
        self.let_stand(index, row_names(change, &event), entry, outbox);
        true
    }

    /// The entry of a change that does not pass, of an entity of ours or of none.
    pub(super) fn entry(
        &self,
        index: Option<usize>,
        change: &Change,
        event: &str,
        rejection: Rejection,
    ) -> Entry {
        let captured = index.map(|index| &self.entities[index].captured);
        let key = captured.and_then(|captured| captured.read.key_after(change));
        let entity = change_entity(captured, change);
        let stopped = Stopped {
            stage: Stage::Gate,
            system: &self.system,
            flow: None,
            entity,
            key: key.map_or_else(
                || row_name(&change.shape, &change.row, event),
                |(key, _)| key.to_string(),
            ),
            contract: captured.map_or_else(String::new, |captured| {
                captured.contract.version.to_string()
            }),
        };
        let id = entry_id(&["gate", &self.system, entity], event);
        Entry {
            digest: index.map(|index| self.entities[index].digest()),
            ..Entry::open(id, stopped, Held::of(change, event), rejection.violations)
        }
    }
}
