//! An entity whose table does not fit any more is parked by itself: everything else of the system goes on, so its position does, too.
//!
//! That its table has to be read again is noted in the log before anything passes by: reading it from its first row, once it fits again, tells whatever is there.
//! So only what a reading cannot tell is kept in quarantine meanwhile: rows that are gone, and rows that have another key. Of the others it is only counted how many passed by.

use std::sync::Arc;

use lockstep_core::contract::{Outcome, Violation, drift};
use lockstep_core::error::{Error, Result};
use lockstep_core::gate::{Rejection, Verdict};
use lockstep_core::log::{Event, event_id};
use lockstep_core::{Cell, Change, Key, Op, Row, Shape};

use super::intake::{Entity, Intake, Way};
use super::outbox::Outbox;
use super::pieces::{former, row_names, send_again, tombstone};
use super::publish::Publisher;
use crate::drift::failed;
use crate::quarantine::{Entry, Former, Held, Stage, State};

/// The rule under which changes of a held entity wait in quarantine.
pub(crate) const RULE: &str = "drift";
impl Intake {
    /// Parks an entity, or goes on with parking it.
    pub(super) async fn hold(&mut self, index: usize, reason: String) -> Result<()> {
        let entity = self.entities[index].captured.contract.entity.clone();
        let code = if self.entities[index].standing.gone {
            drift::GONE
        } else {
            drift::BREAKING
        };
        let error = Error::config(reason.clone()).code(code);
        self.board.entity_held(&self.system, &entity, Some(&error));
        if self.entities[index].standing.held.replace(reason).is_some() {
            return Ok(());
        }
        tracing::error!(
            system = self.system,
            entity,
            "the entity is held: its table does not fit any more; everything else goes on"
        );
        self.may_lack(index).await
    }

    /// Ends an entity's flow, as its policy says: it is held until the next start, and the other tables of the system go on.
    pub(super) async fn fail(&mut self, index: usize, reason: String) -> Result<()> {
        let entity = self.entities[index].captured.contract.entity.clone();
        let error = failed(&reason);
        // Another life of the capture finds it so.
        self.board.entity_ended(&self.system, &entity, &reason);
        self.board.entity_held(&self.system, &entity, Some(&error));
        let standing = &mut self.entities[index].standing;
        standing.held = Some(reason);
        if std::mem::replace(&mut standing.failed, true) {
            return Ok(());
        }
        tracing::error!(
            system = self.system,
            entity,
            error = error.chain(),
            "the entity's flow ended, as the policy says; everything else goes on"
        );
        self.may_lack(index).await
    }

    /// Before anything of an entity passes by: its table is to be read again.
    async fn may_lack(&mut self, index: usize) -> Result<()> {
        self.read_again(index);
        let Entity {
            captured, standing, ..
        } = &mut self.entities[index];
        standing.may_have_left |= captured.mapping.filter.is_some();
        let again = "it was held".to_owned();
        self.note(index, Some(again)).await
    }

    /// Keeps a change of a held entity.
    pub(super) fn park(&mut self, index: usize, change: &Change, way: Way<'_>) {
        if change.op == Op::Truncated {
            // There is nothing to map: every record is gone.
            let barrier = Change {
                shape: self.entities[index].captured.contract.shape(),
                ..change.clone()
            };
            self.clear(index, change, &barrier, way);
            return;
        }
        let Entity {
            captured,
            standing,
            book,
            ..
        } = &mut self.entities[index];
        standing.passed += 1;
        self.board
            .entity_passed(&self.system, &captured.contract.entity, standing.passed);
        let event = event_id(way.incarnation, change.mark);
        let moved = change.before.as_ref().is_some_and(|before| {
            let differs = |at: &usize| {
                let old = before.cell(*at);
                !old.is_unchanged() && old != change.row.cell(*at)
            };
            change.shape.key.iter().any(differs)
        });
        let is_known = row_names(change, &event).any(|row| book.knows(&row));
        if change.op.is_upsert() && !moved && !is_known {
            // The table is read again, and tells it then.
            return;
        }
        let reason = standing.held.clone().unwrap_or_default();
        let rejection = Rejection {
            violations: vec![Violation {
                field: None,
                rule: RULE.to_owned(),
                message: format!("the entity is held: {reason}"),
                outcome: Outcome::Quarantine,
            }],
        };
        let fitted = fitted(change, &self.entities[index].captured.shape);
        let mut entry = self.entry(Some(index), &fitted, &event, rejection);
        entry.held = Held::of(change, &event);
        let entity = &mut self.entities[index];
        entry.former = former(&entity.captured.read, &fitted).and_then(|(key, lane)| {
            Some(Former {
                key: key.values().ok()?,
                lane,
            })
        });
        let superseded = entity.book.set_aside(row_names(change, &event), &mut entry);
        way.outbox.set_aside(entry);
        way.outbox.last().superseded.extend(superseded);
    }

    /// Lets an entity go on: what was parked of rows that are gone is sent, the rest is told by reading the table again.
    pub(super) async fn lift(
        &mut self,
        index: usize,
        publisher: &Publisher,
        outbox: &mut Outbox,
    ) -> Result<()> {
        let entity = self.entities[index].captured.contract.entity.clone();
        tracing::info!(
            system = self.system,
            entity,
            "the table fits again: the entity goes on"
        );
        let standing = &mut self.entities[index].standing;
        standing.held = None;
        standing.passed = 0;
        self.read_again(index);
        self.board.entity_held(&self.system, &entity, None);
        self.send_parked(index, publisher, outbox).await
    }

    /// Sends what is parked of entities that were held and are not any more, as a start finds them.
    pub(super) async fn resume(
        &mut self,
        publisher: &Publisher,
        outbox: &mut Outbox,
    ) -> Result<()> {
        for index in 0..self.entities.len() {
            let standing = &self.entities[index].standing;
            if standing.held.is_none() && standing.is_due() {
                self.send_parked(index, publisher, outbox).await?;
            }
        }
        Ok(())
    }

    /// Sends the deletes that are parked, in their order.
    async fn send_parked(
        &mut self,
        index: usize,
        publisher: &Publisher,
        outbox: &mut Outbox,
    ) -> Result<()> {
        let entity = self.entities[index].captured.contract.entity.clone();
        let parked = |entry: &Entry| {
            entry.stage == Stage::Gate
                && entry.state == State::Open
                && entry.system == self.system
                && entry.entity == entity
                && entry.held.op == Op::Deleted
                && entry
                    .violations
                    .iter()
                    .any(|violation| violation.rule == RULE)
        };
        let mut entries = self.quarantine.list(true).await?;
        entries.retain(parked);
        entries.sort_by_key(|entry| entry.held.mark);
        for entry in entries {
            let Entity { captured, book, .. } = &mut self.entities[index];
            if !book.holds(&entry) {
                continue;
            }
            let change = fitted(&entry.change(), &captured.shape);
            let mut verdict = captured.read.gate(&change);
            if matches!(verdict, Verdict::Skip) {
                // The filter left the row out at last; before the entity was held it may have been in.
                let bare = Change {
                    before: None,
                    ..change.clone()
                };
                verdict = captured.read.gate(&bare);
            }
            let gated = match verdict {
                Verdict::Pass(gated) => Some(gated),
                Verdict::Skip => None,
                // Its reason stands; somebody decides.
                Verdict::Reject(_) | Verdict::Barrier(_) => continue,
            };
            // Targets may still hold the record under the key that it had before it was parked.
            let former = book.former(&entry);
            let same = |key: &Key| gated.as_ref().is_some_and(|gated| gated.key == *key);
            let former = former.filter(|(former, _)| !same(former));
            let channel = publisher.channel(index);
            outbox.begin();
            let mut events = Vec::new();
            if let Some((former, lane)) = former {
                let id = format!("{}/former", entry.held.event);
                let event = tombstone(channel, &former, None, &change, &id);
                events.extend(event.map(|event| (publisher.slot(index, lane), event)));
            }
            events.extend(gated.map(|gated| {
                let slot = publisher.slot(index, gated.lane);
                let event = Event {
                    change: gated.change,
                    key: Some(gated.key),
                    replaces: None,
                    replaced_by: None,
                    id: entry.held.event.as_str().into(),
                };
                (slot, event)
            }));
            // They hold keys only, so none is too large.
            let _ = send_again(publisher, outbox, index, events);
            book.forget(&entry);
            outbox.last().superseded.push(entry.id);
            outbox.seal();
        }
        Ok(())
    }
}

/// A change in another shape of its table: columns by name and type, what is not there unchanged.
fn fitted(change: &Change, shape: &Arc<Shape>) -> Change {
    let row = |row: &Row| {
        let cell = |column: &lockstep_core::Column| {
            let at = change.shape.position(&column.name);
            let at = at.filter(|at| change.shape.columns[*at].kind == column.kind);
            at.map_or(Cell::Unchanged, |at| row.cell(at).clone())
        };
        Row(shape.columns.iter().map(cell).collect())
    };
    Change {
        shape: Arc::clone(shape),
        row: row(&change.row),
        before: change.before.as_ref().map(row),
        ..change.clone()
    }
}
