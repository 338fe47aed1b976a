//! From what a source emits to events in the outbox: gated, routed, and the rejected set aside.

use std::collections::HashMap;
use std::sync::Arc;

use lockstep_core::connector::Emitted;
use lockstep_core::contract::Violation;
use lockstep_core::error::{Error, Result};
use lockstep_core::gate::{Gated, ReadPlan, Rejection, Verdict, row_name};
use lockstep_core::log::{Channel, Event, event_id};
use lockstep_core::{Change, Key, Op, Row, Shape};

use super::Capture;
use super::outbox::{EVENT_MAX, Outbox, Segment};
use super::over::{Laid, lay_over};
use super::publish::Publisher;
use super::waiting::{Below, Book, Passed};
use crate::inbox::Desk;
use crate::log::Request;
use crate::plan;
use crate::quarantine::{Answer, Entry, Former, Held, Quarantine, Stage, State};

/// Why a change that was too large to be kept whole cannot be sent again.
const TOO_LARGE_TO_RETRY: &str =
    "the record is too large to be kept in quarantine; change it in its source, which still has it";

/// Why an observation that could not be read cannot be sent again.
const UNREADABLE: &str =
    "the observation cannot be read as a record; publish it again as the contract says, or drop it";

/// Gates a system's changes.
pub(super) struct Intake {
    system: String,
    entities: Vec<Entity>,
    /// Which entities a table serves.
    by_table: HashMap<String, Vec<usize>>,
    quarantine: Arc<Quarantine>,
    /// Who waits for verdicts, where the system is an inbox.
    desk: Option<Arc<Desk>>,
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
            desk: capture.desk.clone(),
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
    /// A change of a table nobody asked for, a table whose new shape the mapping does not fit, or a quarantine that cannot be read.
    pub(super) async fn take(
        &mut self,
        batch: &Emitted,
        publisher: &Publisher,
        outbox: &mut Outbox,
    ) -> Result<()> {
        let incarnation = &batch.position.incarnation;
        for change in &batch.changes {
            if let Some((rejection, raw)) = self.unreadable(change) {
                self.set_aside_unreadable(change, rejection, raw, incarnation, outbox);
                continue;
            }
            let Some(entities) = self.by_table.get(&change.shape.name) else {
                return Err(Error::unexpected(
                    "the source sent a change of a table it was not asked for",
                )
                .with("table", &change.shape.name));
            };
            // The list is short and cloned to leave `self` free; one table nearly always serves one entity.
            for index in entities.clone() {
                self.entities[index].follow(&change.shape)?;
                let laid = self.lay_over(index, change, incarnation).await?;
                let (change, missing) = match &laid {
                    Some(laid) => (&laid.change, laid.missing.as_slice()),
                    None => (change, &[][..]),
                };
                let verdict = self.entities[index].captured.read.gate(change);
                let way = Way {
                    incarnation,
                    publisher,
                    outbox,
                };
                match incomplete(&verdict, missing) {
                    Some(rejection) => self.keep(index, change, rejection, true, way),
                    None => self.route(index, change, verdict, way),
                }
            }
        }
        Ok(())
    }

    /// A patch of a row that waits in quarantine, laid over what waits: what was refused with it is in no target.
    async fn lay_over(
        &self,
        index: usize,
        change: &Change,
        incarnation: &str,
    ) -> Result<Option<Laid>> {
        let Entity { captured, book } = &self.entities[index];
        if book.is_empty() || !change.op.is_upsert() || change.row.is_whole() {
            return Ok(None);
        }
        let event = event_id(incarnation, change.mark);
        let needed = captured.read.columns();
        Ok(match book.below(row_names(change, &event), &event) {
            None => None,
            Some(Below::Here(held)) => lay_over(change, &held, &needed),
            Some(Below::Stored(id)) => {
                let entry = self.quarantine.get(&id).await?;
                entry.and_then(|entry| lay_over(change, &entry.held, &needed))
            }
        })
    }

    /// Why an observation cannot even be read, with its beginning.
    fn unreadable(&self, change: &Change) -> Option<(Rejection, String)> {
        self.desk.as_ref()?.unreadable(change.mark)
    }

    /// Puts an observation that cannot be read into quarantine; it may not even be of an entity of ours.
    fn set_aside_unreadable(
        &mut self,
        change: &Change,
        rejection: Rejection,
        raw: String,
        incarnation: &Arc<str>,
        outbox: &mut Outbox,
    ) {
        let named = |entity: &Entity| entity.captured.contract.entity == change.shape.name;
        let index = self.entities.iter().position(named);
        if let Some(desk) = &self.desk {
            desk.refused(change.mark, &rejection.violations);
        }
        let event = event_id(incarnation, change.mark);
        let mut entry = self.entry(index, change, &event, rejection);
        entry.held.raw = Some(raw);
        if let Some(index) = index {
            let book = &mut self.entities[index].book;
            let superseded = book.set_aside(row_names(change, &event), &mut entry);
            outbox.last().superseded.extend(superseded);
        }
        outbox.set_aside(entry);
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
                row_names(change, &id),
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
        self.keep(index, change, rejection, false, way);
    }

    /// Puts a change into quarantine, whole or cut already.
    fn keep(
        &mut self,
        index: usize,
        change: &Change,
        rejection: Rejection,
        cut: bool,
        way: Way<'_>,
    ) {
        let Way {
            incarnation,
            outbox,
            ..
        } = way;
        if let Some(desk) = &self.desk {
            desk.refused(change.mark, &rejection.violations);
        }
        let event = event_id(incarnation, change.mark);
        let mut entry = self.entry(Some(index), change, &event, rejection);
        entry.held.cut = cut;
        let Entity { captured, book } = &mut self.entities[index];
        entry.former = former(&captured.read, change).and_then(|(key, lane)| {
            Some(Former {
                key: key.values().ok()?,
                lane,
            })
        });
        let superseded = book.set_aside(row_names(change, &event), &mut entry);
        outbox.set_aside(entry);
        outbox.last().superseded.extend(superseded);
    }

    /// The entry of a change that does not pass, of an entity of ours or of none.
    fn entry(
        &self,
        index: Option<usize>,
        change: &Change,
        event: &str,
        rejection: Rejection,
    ) -> Entry {
        let captured = index.map(|index| &self.entities[index].captured);
        let key = captured.and_then(|captured| captured.read.key_after(change));
        let entity = change_entity(captured, change);
        Entry {
            id: format!("gate.{}.{entity}.{}", self.system, event.replace('/', ".")),
            stage: Stage::Gate,
            system: self.system.clone(),
            flow: None,
            entity: entity.to_owned(),
            key: key.map_or_else(
                || row_name(&change.shape, &change.row, event),
                |(key, _)| key.to_string(),
            ),
            at: jiff::Timestamp::now(),
            position: event.to_owned(),
            contract: captured.map_or_else(String::new, |captured| {
                captured.contract.version.to_string()
            }),
            violations: rejection.violations,
            held: Held::of(change, event),
            former: None,
            state: State::Open,
            closed_at: None,
        }
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
        if entry.held.raw.is_some() {
            return Ok(Some(Answer::Failed {
                reason: UNREADABLE.to_owned(),
            }));
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
    pub(super) async fn settled(&mut self, segment: &mut Segment) -> Result<()> {
        for entry in segment.quarantined.drain(..) {
            let of = |entity: &&mut Entity| entity.captured.contract.entity == entry.entity;
            if let Some(entity) = self.entities.iter_mut().find(of) {
                entity.book.stored(&entry);
            }
        }
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

/// The entity that a change is of, by its contract or by what its publisher called it.
fn change_entity<'c>(captured: Option<&'c plan::Captured>, change: &'c Change) -> &'c str {
    captured.map_or(&change.shape.name, |captured| &captured.contract.entity)
}

/// What the rows are called that the change of an event is about: as it is, and as it was.
fn row_names(change: &Change, event: &str) -> impl Iterator<Item = String> {
    let now = row_name(&change.shape, &change.row, event);
    let before = change.before.as_ref().map(|before| {
        // What a source did not tell of the old row is as in the new one.
        let mut row = change.row.clone();
        for (cell, old) in row.0.iter_mut().zip(&before.0) {
            if !old.is_unchanged() {
                *cell = old.clone();
            }
        }
        row_name(&change.shape, &row, event)
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

/// Why a change of a record that was too large to be kept cannot pass, though it may break no rule itself.
fn incomplete(verdict: &Verdict, missing: &[String]) -> Option<Rejection> {
    if missing.is_empty() {
        return None;
    }
    let mut violations = match verdict {
        Verdict::Reject(rejection) => rejection.violations.clone(),
        Verdict::Pass(gated) if gated.change.op.is_upsert() => Vec::new(),
        // The record is gone, whatever is missing of it.
        Verdict::Pass(_) | Verdict::Skip | Verdict::Barrier(_) => return None,
    };
    let columns = missing.join("`, `");
    violations.push(Violation {
        field: None,
        rule: "size".to_owned(),
        message: format!(
            "an earlier change of this record was too large to be kept, and this one does not bring `{columns}` again: write that anew in the source"
        ),
    });
    Some(Rejection { violations })
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
