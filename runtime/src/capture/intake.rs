//! From what a source emits to events in the outbox: gated, routed, and the rejected set aside.

use std::collections::HashMap;
use std::sync::Arc;

use lockstep_core::connector::{Emitted, News};
use lockstep_core::contract::{Contract, Violation, lock};
use lockstep_core::error::{Error, Result};
use lockstep_core::gate::{Gated, ReadPlan, Verdict};
use lockstep_core::log::{Event, event_id};
use lockstep_core::position::Position;
use lockstep_core::{Change, Op, Shape};

use super::Capture;
use super::copies::Outgo;
use super::follow::Standing;
use super::line::Line;
use super::outbox::{Outbox, Segment};
use super::over::{Laid, lay_over};
use super::pieces::{incomplete, row_names, settle, tombstone, too_large, with_copies};
use super::publish::Publisher;
use super::waiting::{Below, Book, Passed};
use crate::inbox::Desk;
use crate::plan;
use crate::quarantine::{Entry, Original, Place, Quarantine, Stage, State};
use crate::rules::{At, Tally};
use crate::status::Board;
use crate::versions::Versions;

/// Gates a system's changes.
pub(super) struct Intake {
    pub(super) system: String,
    pub(super) entities: Vec<Entity>,
    /// Which entities a table serves.
    by_table: HashMap<String, Vec<usize>>,
    pub(super) quarantine: Arc<Quarantine>,
    pub(super) versions: Arc<Versions>,
    pub(super) board: Arc<Board>,
    /// Who waits for verdicts, where the system is an inbox.
    pub(super) desk: Option<Arc<Desk>>,
    /// Counts and tells broken rules.
    pub(super) tally: Tally,
}

/// One entity of the system.
pub(super) struct Entity {
    pub(super) captured: plan::Captured,
    /// What of it waits in quarantine.
    pub(super) book: Book,
    /// What halts it, and who waits behind that.
    pub(super) line: Line,
    /// The contract's digest, which entries name.
    digest: (Arc<Contract>, String),
    /// How its table was when all was well, and what is wrong with it now.
    pub(super) standing: Standing,
}

/// Where a change is being taken in: its life of the source, and where its events go.
pub(super) struct Way<'a> {
    pub(super) incarnation: &'a Arc<str>,
    pub(super) publisher: &'a Publisher,
    pub(super) outbox: &'a mut Outbox,
    /// What was given, where that is not the row itself.
    pub(super) original: Option<Original>,
    /// Whether the log cannot resume this life any more, so that marks of it say nothing about how far a lane is covered.
    pub(super) is_past: bool,
    /// Whether the change waited in line, so that what this capture sent meanwhile says nothing about it.
    pub(super) waited: bool,
}

impl Intake {
    /// Makes the intake, knowing what stands in quarantine.
    pub(super) async fn new(capture: &Capture) -> Result<Intake> {
        let mut intake = Intake {
            system: capture.system.clone(),
            entities: Vec::new(),
            by_table: HashMap::new(),
            quarantine: Arc::clone(&capture.quarantine),
            versions: Arc::clone(&capture.versions),
            board: Arc::clone(&capture.board),
            desk: capture.desk.clone(),
            tally: Tally::new(&capture.system, &capture.board),
        };
        let mut waiting: HashMap<String, Vec<Entry>> = HashMap::new();
        let mut in_line: HashMap<String, Vec<Place>> = HashMap::new();
        for place in capture.quarantine.places().await? {
            if place.stage == Stage::Gate && place.system == capture.system {
                in_line.entry(place.entity.clone()).or_default().push(place);
            }
        }
        for entry in capture.quarantine.list(false).await? {
            // A dropped entry is closed by the next good version of its record; so is one that was refused for good, unless nobody but its publisher ever had it.
            let stands = entry.state != State::Rejected || intake.desk.is_none();
            // A rule over all records holds no record.
            let waits = stands && !entry.held.event.is_empty();
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
            let places = in_line
                .remove(&captured.contract.entity)
                .unwrap_or_default();
            let standing = Standing::of(&captured.shape);
            let line = Line::load(places.into_iter());
            intake.entities.push(Entity {
                digest: (
                    Arc::clone(&captured.contract),
                    lock::digest(&captured.contract),
                ),
                captured,
                book,
                line,
                standing,
            });
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
        publisher: &mut Publisher,
        outbox: &mut Outbox,
    ) -> Result<()> {
        let incarnation = &batch.position.incarnation;
        for change in &batch.changes {
            if let Some((rejection, raw)) = self.unreadable(change).await {
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
                if self.has_to_wait(index, change, incarnation, outbox) {
                    continue;
                }
                let goes_on = self.follow(index, &change.shape, publisher, outbox).await?;
                let way = Way {
                    incarnation,
                    publisher,
                    outbox,
                    original: None,
                    is_past: false,
                    waited: false,
                };
                if !goes_on {
                    self.park(index, change, way);
                    continue;
                }
                let plan = Arc::clone(&self.entities[index].captured.read);
                self.gate(index, change, &plan, way).await?;
            }
        }
        for news in &batch.news {
            if let News::Shape(shape) = news {
                self.hear(shape, publisher, outbox).await?;
            }
        }
        // Where a restart would go on may lie before what was told, but whatever comes now comes after that.
        let told = batch.changes.last().map(|change| change.mark);
        let told = told.unwrap_or_default().max(batch.position.mark());
        self.reached(&Position {
            commit: told.commit,
            ordinal: told.ordinal,
            ..batch.position.clone()
        });
        Ok(())
    }

    /// Everything up to a position was taken.
    pub(super) fn reached(&mut self, position: &Position) {
        for entity in &mut self.entities {
            entity.line.reached(position);
        }
    }

    /// Gates one change and puts the verdict where it belongs. Tells whether that is quarantine.
    pub(super) async fn gate(
        &mut self,
        index: usize,
        change: &Change,
        plan: &ReadPlan,
        mut way: Way<'_>,
    ) -> Result<bool> {
        let laid = self.lay_over(index, change, way.incarnation).await?;
        let (change, missing) = match &laid {
            Some(laid) => (&laid.change, laid.missing.as_slice()),
            None => (change, &[][..]),
        };
        let verdict = plan.gate(change);
        if matches!(verdict, Verdict::Reject(_)) && way.original.is_none() {
            // Only what does not pass is worth another look at what its publisher sent.
            way.original = match &self.desk {
                Some(desk) => desk.original(change.mark).await,
                None => None,
            };
        }
        Ok(match incomplete(&verdict, missing) {
            Some(rejection) => self.keep(index, change, rejection, true, way),
            None => self.route(index, change, verdict, way),
        })
    }

    /// Whether as many changes of an entity wait in line as may: nothing more is taken from the source until somebody decided.
    pub(super) fn is_full(&self) -> bool {
        self.entities.iter().any(|entity| entity.line.is_full())
    }

    /// A patch of a row that waits in quarantine, laid over what waits: what was refused with it is in no target.
    async fn lay_over(
        &self,
        index: usize,
        change: &Change,
        incarnation: &str,
    ) -> Result<Option<Laid>> {
        let Entity { captured, book, .. } = &self.entities[index];
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

    /// Puts a verdict where it belongs. Tells whether that is quarantine.
    fn route(&mut self, index: usize, change: &Change, verdict: Verdict, way: Way<'_>) -> bool {
        match verdict {
            Verdict::Skip => {
                let gone = self.left_out(index, change);
                self.send(index, change, gone, way)
            }
            Verdict::Pass(gated) => self.send(index, change, Some(gated), way),
            Verdict::Reject(rejection) => self.set_aside(index, change, rejection, way),
            Verdict::Barrier(barrier) => self.clear(index, change, &barrier, way),
        }
    }

    /// What targets are told of a row that the filter leaves out as its table is read again: it may have been of the entity before, and left while that was held.
    fn left_out(&self, index: usize, change: &Change) -> Option<Gated> {
        let Entity {
            captured, standing, ..
        } = &self.entities[index];
        if change.op != Op::Snapshot || !standing.may_have_left {
            return None;
        }
        let left = Change {
            op: Op::Updated,
            before: None,
            ..change.clone()
        };
        match captured.read.gate(&left) {
            Verdict::Pass(gated) => Some(gated),
            _ => None,
        }
    }

    /// Sends a barrier down every lane of the entity: none of its records is left.
    pub(super) fn clear(
        &mut self,
        index: usize,
        change: &Change,
        barrier: &Change,
        way: Way<'_>,
    ) -> bool {
        let Way {
            incarnation,
            publisher,
            outbox,
            is_past,
            waited,
            ..
        } = way;
        let id = event_id(incarnation, change.mark);
        outbox.begin();
        let event = Event {
            change: barrier.clone(),
            key: None,
            replaces: None,
            replaced_by: None,
            id: id.as_str().into(),
        };
        let events = publisher.slots_of(index).map(|slot| (slot, event.clone()));
        for Outgo {
            slot,
            channel,
            event,
        } in with_copies(publisher, index, events)
        {
            if is_past || !publisher.has(slot, incarnation, change.mark, waited) {
                // A barrier has no data, so it is never too large.
                let _ = if is_past {
                    outbox.push_again(slot, &channel, event)
                } else {
                    outbox.push(slot, &channel, event, incarnation)
                };
            }
        }
        let gone = self.entities[index].book.cleared(&id);
        outbox.last().superseded.extend(gone);
        outbox.seal();
        false
    }

    /// Sends a record on, with the tombstones of the keys it has no longer; where the mapping leaves the row out, only those.
    fn send(&mut self, index: usize, change: &Change, gated: Option<Gated>, way: Way<'_>) -> bool {
        self.tell_noted(index, change, gated.as_ref(), &way);
        let Way {
            incarnation,
            publisher,
            outbox,
            original,
            is_past,
            waited,
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
            ..
        }) = gated
        {
            let slot = publisher.slot(index, lane);
            if events.is_empty() && replaces.is_none() && !passed.returned && !is_past {
                // By far the most changes go this way.
                let covered = publisher.has(slot, incarnation, mark, waited);
                let event = Event {
                    change: record,
                    key: Some(key),
                    replaces: None,
                    replaced_by: None,
                    id: id.into(),
                };
                let mut event = Some(event);
                if change.op == Op::Snapshot && !waited && !covered && publisher.goes_direct(index)
                {
                    event = event.and_then(|event| {
                        outbox.push_direct(index, slot, channel, event, incarnation)
                    });
                }
                let Some(event) = event else {
                    settle(outbox, passed);
                    return false;
                };
                let copies = publisher.copies(index, slot, &event);
                let sent = if covered {
                    Ok(())
                } else {
                    outbox.push(slot, channel, event, incarnation)
                };
                for copy in copies.into_iter().filter(|_| sent.is_ok()) {
                    if !publisher.has(copy.slot, incarnation, mark, waited) {
                        let sent = outbox.push(copy.slot, &copy.channel, copy.event, incarnation);
                        publisher.copied(&copy.channel, &sent);
                    }
                }
                settle(outbox, passed);
                let Err(large) = sent else { return false };
                let way = Way {
                    incarnation,
                    publisher,
                    outbox,
                    original,
                    is_past,
                    waited,
                };
                return self.set_aside(index, change, too_large(large.bytes), way);
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
        let anew = is_past || passed.returned;
        let mut events = with_copies(publisher, index, events.into_iter());
        events.retain(|one| anew || !publisher.has(one.slot, incarnation, mark, waited));
        if !events.is_empty() || is_past {
            outbox.begin();
        }
        let mut large = None;
        for Outgo {
            slot,
            channel,
            event,
        } in events
        {
            let is_copy = publisher.takes_copies(slot);
            if is_copy && large.is_some() {
                break;
            }
            // In a segment of their own: those of one lane are one message, so a crash never parts them.
            let sent = if is_past {
                outbox.push_again(slot, &channel, event)
            } else {
                outbox.push(slot, &channel, event, incarnation)
            };
            if is_copy {
                publisher.copied(&channel, &sent);
            } else {
                large = large.or(sent.err());
            }
        }
        settle(outbox, passed);
        outbox.seal();
        let Some(large) = large else { return false };
        let way = Way {
            incarnation,
            publisher,
            outbox,
            original,
            is_past,
            waited,
        };
        self.set_aside(index, change, too_large(large.bytes), way)
    }

    /// Counts and tells rules that a record breaks though it goes on.
    fn tell_noted(&mut self, index: usize, change: &Change, gated: Option<&Gated>, way: &Way<'_>) {
        let noted = gated.map_or(&[][..], |gated| gated.noted.as_slice());
        if noted.is_empty() {
            return;
        }
        self.count(index, noted, change, way);
        if let Some(desk) = &self.desk {
            desk.noted(change.mark, noted);
        }
    }

    /// Counts the rules that a change breaks, unless an earlier life of the capture did.
    pub(super) fn count(
        &mut self,
        index: usize,
        violations: &[Violation],
        change: &Change,
        way: &Way<'_>,
    ) {
        let at = At {
            incarnation: way.incarnation,
            mark: change.mark,
            waited: way.waited,
        };
        if way.waited || !way.publisher.took(at.incarnation, at.mark) {
            let contract = &self.entities[index].captured.contract;
            self.tally.note(Some(contract), violations, at);
        }
    }

    /// Closes what a durable segment settled.
    pub(super) async fn settled(&mut self, segment: &mut Segment) -> Result<()> {
        for entry in segment.quarantined.drain(..) {
            let of = |entity: &&mut Entity| entity.captured.contract.entity == entry.entity;
            if let Some(entity) = self.entities.iter_mut().find(of) {
                entity.book.stored(&entry);
                entity.line.stored(&entry.id);
                let halts = entry.halts() && entity.line.is_halted_by(&entry.id);
                // A replay of what somebody decided about before halts nothing.
                if halts
                    && self
                        .quarantine
                        .get(&entry.id)
                        .await?
                        .is_none_or(|now| !now.halts())
                {
                    entity.line.lift(&entry.id);
                }
            }
        }
        for id in segment.superseded.drain(..) {
            self.quarantine.close(&id, State::Superseded).await?;
        }
        for id in segment.taken.drain(..) {
            self.quarantine.forget_former(&id).await?;
        }
        for id in segment.released.drain(..) {
            self.quarantine.close(&id, State::Retried).await?;
        }
        for (id, reply) in segment.retried.drain(..) {
            self.quarantine.close(&id, State::Retried).await?;
            let _ = reply.send(crate::quarantine::Answer::Done.to_bytes());
        }
        Ok(())
    }
}

impl Entity {
    /// The digest of its contract, which may have become another one.
    pub(super) fn digest(&self) -> String {
        let (of, digest) = &self.digest;
        if Arc::ptr_eq(of, &self.captured.contract) {
            return digest.clone();
        }
        lock::digest(&self.captured.contract)
    }

    pub(super) fn compile(&self, shape: &Shape) -> Result<Arc<ReadPlan>> {
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
