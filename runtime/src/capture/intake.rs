//! From what a source emits to events in the outbox: gated, routed, and the rejected set aside.

use std::collections::HashMap;
use std::sync::Arc;

use lockstep_core::connector::Emitted;
use lockstep_core::contract::Violation;
use lockstep_core::error::{Error, Result};
use lockstep_core::gate::{Gated, ReadPlan, Rejection, Verdict};
use lockstep_core::log::{Channel, Event, event_id};
use lockstep_core::{Change, Key, Op, Row, Shape};

use super::Capture;
use super::outbox::{EVENT_MAX, Outbox, Segment};
use super::publish::Publisher;
use super::waiting::{Book, Passed};
use crate::log::Request;
use crate::plan;
use crate::quarantine::{Answer, Entry, Former, Held, Quarantine, Stage, State, row_key};

/// Why a change that was too large to be kept whole cannot be sent again.
const TOO_LARGE_TO_RETRY: &str =
    "the record is too large to be kept in quarantine; change it in its source, which still has it";

/// Gates a system's changes.
pub(super) struct Intake {
    system: String,
    entities: Vec<Entity>,
    /// Which entities a table serves.
    by_table: HashMap<String, Vec<usize>>,
    quarantine: Arc<Quarantine>,
}

/// One entity of the system.
struct Entity {
    captured: plan::Captured,
    /// What of it waits in quarantine.
    book: Book,
}

/// Where a change is being taken in: its life of the source, and where its events go.
struct Way<'a> {
    incarnation: &'a Arc<str>,
    publisher: &'a Publisher,
    outbox: &'a mut Outbox,
}

impl Intake {
    /// Makes the intake, knowing what stands in quarantine.
    pub(super) async fn new(capture: &Capture) -> Result<Intake> {
        let mut intake = Intake {
            system: capture.system.clone(),
            entities: Vec::new(),
            by_table: HashMap::new(),
            quarantine: Arc::clone(&capture.quarantine),
        };
        let mut waiting: HashMap<String, Vec<Entry>> = HashMap::new();
        for entry in capture.quarantine.list(false).await? {
            // A dropped entry is closed by the next good version of its record.
            let waits = matches!(entry.state, State::Open | State::Dropped);
            if waits && entry.stage == Stage::Gate && entry.system == capture.system {
                waiting.entry(entry.entity.clone()).or_default().push(entry);
            }
        }
        for (index, captured) in capture.entities.iter().enumerate() {
            let table = captured.mapping.table.clone();
            intake.by_table.entry(table).or_default().push(index);
            let entries = waiting
                .remove(&captured.contract.entity)
                .unwrap_or_default();
            let (book, superseded) = Book::load(entries);
            for id in superseded {
                capture.quarantine.close(&id, State::Superseded).await?;
            }
            let captured = captured.clone();
            intake.entities.push(Entity { captured, book });
        }
        Ok(intake)
    }

    /// Gates a batch into the outbox.
    ///
    /// # Errors
    /// A change of a table nobody asked for, or a table whose new shape the mapping does not fit.
    pub(super) fn take(
        &mut self,
        batch: &Emitted,
        publisher: &Publisher,
        outbox: &mut Outbox,
    ) -> Result<()> {
        let incarnation = &batch.position.incarnation;
        for change in &batch.changes {
            let Some(entities) = self.by_table.get(&change.shape.name) else {
                return Err(Error::unexpected(
                    "the source sent a change of a table it was not asked for",
                )
                .with("table", &change.shape.name));
            };
            // The list is short and cloned to leave `self` free; one table nearly always serves one entity.
            for index in entities.clone() {
                self.entities[index].follow(&change.shape)?;
                let verdict = self.entities[index].captured.read.gate(change);
                let way = Way {
                    incarnation,
                    publisher,
                    outbox,
                };
                self.route(index, change, verdict, way);
            }
        }
        Ok(())
    }

    /// Puts a verdict where it belongs.
    fn route(&mut self, index: usize, change: &Change, verdict: Verdict, way: Way<'_>) {
        match verdict {
            Verdict::Skip => self.send(index, change, None, way),
            Verdict::Pass(gated) => self.send(index, change, Some(gated), way),
            Verdict::Reject(rejection) => self.set_aside(index, change, rejection, way),
            Verdict::Barrier(barrier) => self.clear(index, change, &barrier, way),
        }
    }

    /// Sends a barrier down every lane of the entity: none of its records is left.
    fn clear(&mut self, index: usize, change: &Change, barrier: &Change, way: Way<'_>) {
        let Way {
            incarnation,
            publisher,
            outbox,
        } = way;
        let id = event_id(incarnation, change.mark);
        outbox.begin();
        for slot in publisher.slots_of(index) {
            if !publisher.covers(slot, incarnation, change.mark) {
                let event = Event {
                    change: barrier.clone(),
                    key: None,
                    replaces: None,
                    replaced_by: None,
                    id: id.as_str().into(),
                };
                // A barrier has no data, so it is never too large.
                let _ = outbox.push(slot, publisher.channel(index), event, incarnation);
            }
        }
        let gone = self.entities[index].book.cleared(&id);
        outbox.last().superseded.extend(gone);
        outbox.seal();
    }

    /// Sends a record on, with the tombstones of the keys it has no longer; where the mapping leaves the row out, only those.
    fn send(&mut self, index: usize, change: &Change, gated: Option<Gated>, way: Way<'_>) {
        let Way {
            incarnation,
            publisher,
            outbox,
        } = way;
        let id = event_id(incarnation, change.mark);
        let mut passed = Passed::default();
        let book = &mut self.entities[index].book;
        if !book.is_empty() {
            passed = book.passed(
                row_keys(change),
                &id,
                gated.as_ref().map(|gated| &gated.key),
            );
        }
        let channel = publisher.channel(index);
        let mark = change.mark;
        let mut events: Vec<(usize, Event)> = Vec::new();
        for (n, (former, lane)) in passed.farewells.iter().enumerate() {
            let id = format!("{id}/former{n}");
            let now = gated.as_ref().map(|gated| &gated.key);
            let tombstone = tombstone(channel, former, now, change, &id);
            events.extend(tombstone.map(|event| (publisher.slot(index, *lane), event)));
        }
        if let Some(Gated {
            change: record,
            key,
            lane,
            replaces,
        }) = gated
        {
            let slot = publisher.slot(index, lane);
            if events.is_empty() && replaces.is_none() && !passed.returned {
                // By far the most changes go this way.
                let covered = publisher.covers(slot, incarnation, mark);
                let event = Event {
                    change: record,
                    key: Some(key),
                    replaces: None,
                    replaced_by: None,
                    id: id.into(),
                };
                let sent = if covered {
                    Ok(())
                } else {
                    outbox.push(slot, channel, event, incarnation)
                };
                settle(outbox, passed);
                if let Err(large) = sent {
                    let way = Way {
                        incarnation,
                        publisher,
                        outbox,
                    };
                    self.set_aside(index, change, too_large(large.bytes), way);
                }
                return;
            }
            let old = replaces.as_ref().and_then(|(old, old_lane)| {
                let event = tombstone(channel, old, Some(&key), change, &format!("{id}/old"))?;
                Some((publisher.slot(index, *old_lane), event))
            });
            let event = Event {
                change: record,
                key: Some(key),
                replaces: replaces.map(|(old, _)| old),
                replaced_by: None,
                id: id.into(),
            };
            // The upsert before its old key's tombstone, so that whoever applies in order keeps the row.
            events.push((slot, event));
            events.extend(old);
        }
        // What was held in quarantine itself is not in its lane, however far the lane is.
        events.retain(|(slot, _)| passed.returned || !publisher.covers(*slot, incarnation, mark));
        if !events.is_empty() {
            outbox.begin();
        }
        let mut large = None;
        for (slot, event) in events {
            // In a segment of their own: those of one lane are one message, so a crash never parts them.
            let sent = outbox.push(slot, channel, event, incarnation);
            large = large.or(sent.err());
        }
        settle(outbox, passed);
        outbox.seal();
        if let Some(large) = large {
            let way = Way {
                incarnation,
                publisher,
                outbox,
            };
            self.set_aside(index, change, too_large(large.bytes), way);
        }
    }

    /// Puts a change into quarantine; an older entry of the same row has no meaning any more.
    fn set_aside(&mut self, index: usize, change: &Change, rejection: Rejection, way: Way<'_>) {
        let Way {
            incarnation,
            outbox,
            ..
        } = way;
        let Entity { captured, book } = &mut self.entities[index];
        let contract = &captured.contract;
        let event = event_id(incarnation, change.mark);
        let key = captured.read.key_after(change);
        let former = former(&captured.read, change);
        let mut entry = Entry {
            id: format!(
                "gate.{}.{}.{}",
                self.system,
                contract.entity,
                event.replace('/', ".")
            ),
            stage: Stage::Gate,
            system: self.system.clone(),
            flow: None,
            entity: contract.entity.clone(),
            key: key.map_or_else(
                || row_key(&change.shape, &change.row),
                |(key, _)| key.to_string(),
            ),
            at: jiff::Timestamp::now(),
            position: event.clone(),
            contract: contract.version.to_string(),
            violations: rejection.violations,
            held: Held::of(change, &event),
            former: former.and_then(|(key, lane)| {
                Some(Former {
                    key: key.values().ok()?,
                    lane,
                })
            }),
            state: State::Open,
            closed_at: None,
        };
        let superseded = book.set_aside(row_keys(change), &mut entry);
        outbox.set_aside(entry);
        outbox.last().superseded.extend(superseded);
    }

    /// Gates a quarantined change again, because somebody asked for it.
    pub(super) async fn request(
        &mut self,
        request: Request,
        publisher: &Publisher,
        outbox: &mut Outbox,
    ) {
        let id = String::from_utf8_lossy(&request.payload).into_owned();
        let answer = match self.retry(&id, publisher, outbox).await {
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

    /// Puts a quarantined change into a segment of its own, if it passes now.
    async fn retry(
        &mut self,
        id: &str,
        publisher: &Publisher,
        outbox: &mut Outbox,
    ) -> Result<Option<Answer>> {
        let Some(entry) = self.quarantine.get(id).await? else {
            return Ok(Some(Answer::Missing));
        };
        if entry.state != State::Open {
            return Ok(Some(Answer::Closed { state: entry.state }));
        }
        if entry.held.cut {
            return Ok(Some(Answer::Failed {
                reason: TOO_LARGE_TO_RETRY.to_owned(),
            }));
        }
        let known = |entity: &Entity| entity.captured.contract.entity == entry.entity;
        let Some(index) = self.entities.iter().position(known) else {
            let reason = "no flow captures this entity any more".to_owned();
            return Ok(Some(Answer::Failed { reason }));
        };
        if !self.entities[index].book.holds(&entry) {
            // A newer change of the row is on its way already.
            return Ok(Some(Answer::Closed {
                state: State::Superseded,
            }));
        }
        let change = entry.change();
        let plan = self.entities[index].compile(&change.shape)?;
        let Gated {
            change: record,
            key,
            lane,
            ..
        } = match plan.gate(&change) {
            Verdict::Pass(gated) => gated,
            Verdict::Reject(rejection) => return Ok(Some(Answer::rejected(&rejection.violations))),
            Verdict::Skip | Verdict::Barrier(_) => {
                let reason = "the mapping's filter leaves this row out".to_owned();
                return Ok(Some(Answer::Failed { reason }));
            }
        };
        let channel = publisher.channel(index);
        // The row its record had is known by what waits, not by the change: another record may have that key by now.
        let former = self.entities[index].book.former(&entry);
        let former = former.filter(|(former, _)| *former != key);
        outbox.begin();
        if let Some((former, lane)) = former {
            let id = format!("{}/former", entry.held.event);
            if let Some(event) = tombstone(channel, &former, Some(&key), &change, &id) {
                // It holds a key only, so it is never too large.
                let _ = outbox.push_again(publisher.slot(index, lane), channel, event);
            }
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
        if let Err(large) = outbox.push_again(publisher.slot(index, lane), channel, event) {
            return Ok(Some(Answer::rejected(&too_large(large.bytes).violations)));
        }
        self.entities[index].book.forget(&entry);
        Ok(None)
    }

    /// Closes what a durable segment settled.
    pub(super) async fn settled(&self, segment: &mut Segment) -> Result<()> {
        for id in segment.superseded.drain(..) {
            self.quarantine.close(&id, State::Superseded).await?;
        }
        for id in segment.taken.drain(..) {
            self.quarantine.forget_former(&id).await?;
        }
        for (id, reply) in segment.retried.drain(..) {
            self.quarantine.close(&id, State::Retried).await?;
            let _ = reply.send(Answer::Done.to_bytes());
        }
        Ok(())
    }
}

impl Entity {
    /// Keeps the plan in step with the table's shape.
    fn follow(&mut self, shape: &Arc<Shape>) -> Result<()> {
        if Arc::ptr_eq(shape, &self.captured.shape) {
            return Ok(());
        }
        if **shape != *self.captured.shape {
            tracing::info!(
                table = shape.name,
                "the table has another shape now, compiling its mapping anew"
            );
            self.captured.read = self.compile(shape)?;
        }
        self.captured.shape = Arc::clone(shape);
        Ok(())
    }

    fn compile(&self, shape: &Shape) -> Result<Arc<ReadPlan>> {
        let plan::Captured {
            mapping,
            contract,
            values,
            ..
        } = &self.captured;
        ReadPlan::compile(mapping, shape, contract, values, false)
            .map(Arc::new)
            .map_err(|problems| {
                let first = problems
                    .first()
                    .map_or("", |problem| problem.message.as_str());
                Error::config(format!(
                    "the mapping of `{}` does not fit the table's new shape: {first}",
                    contract.entity
                ))
                .with("table", &shape.name)
                .help(
                    "change the mapping or the table, then start again: nothing is lost meanwhile",
                )
            })
    }
}

/// The row's own keys that a change is about: as it is, and as it was.
fn row_keys(change: &Change) -> impl Iterator<Item = String> {
    let now = row_key(&change.shape, &change.row);
    let before = change.before.as_ref().map(|before| {
        // What a source did not tell of the old row is as in the new one.
        let mut row = change.row.clone();
        for (cell, old) in row.0.iter_mut().zip(&before.0) {
            if !old.is_unchanged() {
                *cell = old.clone();
            }
        }
        row_key(&change.shape, &row)
    });
    let before = before.filter(|before| *before != now);
    std::iter::once(now).chain(before)
}

/// The key under which targets hold the record of a change that does not pass, where it would have given it another.
fn former(plan: &ReadPlan, change: &Change) -> Option<(Key, u32)> {
    if change.op != Op::Updated {
        return None;
    }
    let before = plan.key_before(change)?;
    let same = plan
        .key_after(change)
        .is_some_and(|(key, _)| key == before.0);
    (!same).then_some(before)
}

/// The delete of a key that a record no longer has.
fn tombstone(
    channel: &Channel,
    old: &Key,
    now: Option<&Key>,
    change: &Change,
    id: &str,
) -> Option<Event> {
    let mut row = Row::unchanged(channel.shape.columns.len());
    for (position, value) in channel.contract.key.iter().zip(old.values().ok()?) {
        row.0[*position] = value.into();
    }
    Some(Event {
        change: Change {
            shape: Arc::clone(&channel.shape),
            op: Op::Deleted,
            row,
            before: None,
            mark: change.mark,
            committed_at: change.committed_at,
            origin: change.origin.clone(),
        },
        key: Some(old.clone()),
        replaces: None,
        replaced_by: now.cloned(),
        id: id.into(),
    })
}

/// Leaves with the segment what becomes of quarantine entries once it is durable.
fn settle(outbox: &mut Outbox, passed: Passed) {
    if passed.superseded.is_empty() && passed.taken.is_empty() {
        return;
    }
    let segment = outbox.last();
    segment.superseded.extend(passed.superseded);
    segment.taken.extend(passed.taken);
}

fn too_large(bytes: usize) -> Rejection {
    let message = format!(
        "the record is {bytes} bytes as an event, more than the {EVENT_MAX} that a message may hold"
    );
    Rejection {
        violations: vec![Violation {
            field: None,
            rule: "size".to_owned(),
            message,
        }],
    }
}
