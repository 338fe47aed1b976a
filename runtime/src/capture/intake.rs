//! From what a source emits to events in the outbox: gated, routed, and the rejected set aside.

use std::collections::HashMap;
use std::sync::Arc;

use lockstep_core::connector::Emitted;
use lockstep_core::contract::{Contract, Outcome, lock};
use lockstep_core::error::{Error, Result};
use lockstep_core::gate::{Gated, ReadPlan, Rejection, Verdict, row_name};
use lockstep_core::log::{Event, event_id};
use lockstep_core::position::Position;
use lockstep_core::{Change, Op, Shape};

use super::Capture;
use super::follow::Standing;
use super::line::{Line, Turn};
use super::outbox::{Outbox, Segment};
use super::over::{Laid, lay_over};
use super::pieces::{
    change_entity, former, incomplete, row_names, settle, tombstone, too_large, waits,
};
use super::publish::Publisher;
use super::waiting::{Below, Book, Passed};
use crate::inbox::Desk;
use crate::plan;
use crate::quarantine::{Entry, Former, Held, Original, Place, Quarantine, Stage, State, Stopped};
use crate::rules::Tally;
use crate::status::Board;
use crate::versions::Versions;

/// Behind whom a change waits where nothing halts any more.
const OTHERS: &str = "those before it";

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
    tally: Tally,
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

    /// Puts a change in line where its entity is halted, or where others still wait before it.
    fn has_to_wait(
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

    /// Whether as many changes of an entity wait in line as may: nothing more is taken from the source until somebody decided.
    pub(super) fn is_full(&self) -> bool {
        self.entities.iter().any(|entity| entity.line.is_full())
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

    /// Why an observation cannot even be read, with what its publisher sent.
    async fn unreadable(&self, change: &Change) -> Option<(Rejection, Original)> {
        let desk = self.desk.as_ref()?;
        let (rejection, seen) = desk.unreadable(change.mark)?;
        let original = desk.original(change.mark).await;
        Some((rejection, original.unwrap_or(seen)))
    }

    /// Puts an observation that cannot be read into quarantine; it may not even be of an entity of ours.
    fn set_aside_unreadable(
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
        self.tally.note(contract, &rejection.violations);
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
        for slot in publisher.slots_of(index) {
            if is_past || !publisher.has(slot, incarnation, change.mark, waited) {
                let event = Event {
                    change: barrier.clone(),
                    key: None,
                    replaces: None,
                    replaced_by: None,
                    id: id.as_str().into(),
                };
                let channel = publisher.channel(index);
                // A barrier has no data, so it is never too large.
                let _ = if is_past {
                    outbox.push_again(slot, channel, event)
                } else {
                    outbox.push(slot, channel, event, incarnation)
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
        self.tell_noted(index, change, gated.as_ref());
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
                let sent = if covered {
                    Ok(())
                } else {
                    outbox.push(slot, channel, event, incarnation)
                };
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
        events.retain(|(slot, _)| anew || !publisher.has(*slot, incarnation, mark, waited));
        if !events.is_empty() || is_past {
            outbox.begin();
        }
        let mut large = None;
        for (slot, event) in events {
            // In a segment of their own: those of one lane are one message, so a crash never parts them.
            let sent = if is_past {
                outbox.push_again(slot, channel, event)
            } else {
                outbox.push(slot, channel, event, incarnation)
            };
            large = large.or(sent.err());
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
    fn tell_noted(&mut self, index: usize, change: &Change, gated: Option<&Gated>) {
        let noted = gated.map_or(&[][..], |gated| gated.noted.as_slice());
        if noted.is_empty() {
            return;
        }
        let contract = &self.entities[index].captured.contract;
        self.tally.note(Some(contract), noted);
        if let Some(desk) = &self.desk {
            desk.noted(change.mark, noted);
        }
    }

    /// Puts a change into quarantine; an older entry of the same row has no meaning any more.
    fn set_aside(
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
        let Way {
            incarnation,
            outbox,
            original,
            ..
        } = way;
        if let Some(desk) = &self.desk {
            desk.refused(change.mark, &rejection.violations);
        }
        let contract = &self.entities[index].captured.contract;
        self.tally.note(Some(contract), &rejection.violations);
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
        let id = format!("gate.{}.{entity}.{}", self.system, event.replace('/', "."));
        Entry {
            digest: index.map(|index| self.entities[index].digest()),
            ..Entry::open(id, stopped, Held::of(change, event), rejection.violations)
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
    fn digest(&self) -> String {
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
