//! One batch into the target: folded, mapped, applied, and what is refused set aside first.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use lockstep_core::connector::{Batch, DynSink, LaneProgress, Outcome, Receipt};
use lockstep_core::contract::{self, Class, Contract, Violation};
use lockstep_core::deliver::{Retry, Step, coalesce};
use lockstep_core::error::{Error, Kind, Result};
use lockstep_core::log::{Channel, Event, is_later};
use lockstep_core::{Cell, Change, Op, Value};
use tokio_util::sync::CancellationToken;

use super::at_once;
use super::feed::Chunk;
use super::hand::Hand;
use super::plan::{Current, may_be_the_tables};
use super::progress::Progress;
use super::unfold::Unfolding;
use super::{Delivery, in_time, moved, waiting};
use crate::quarantine::{Entry, HIDDEN, Held, Original, Stage, State, Stopped, entry_id};

/// Most bytes kept of a message that cannot be read.
const RAW_MAX: usize = 64 * 1024;
/// How often a change may wait for another record before it is set aside.
const WAITS_MAX: u32 = 20;

/// Applies batches to one target.
pub(super) struct Applier<'d> {
    pub(super) delivery: &'d Delivery,
    pub(super) sink: Arc<dyn DynSink>,
    /// What the target gets: contract, mapping, table.
    pub(super) current: Current,
    pub(super) channel: Arc<Channel>,
    pub(super) progress: Progress,
    /// Open quarantine entries of this delivery, by key.
    pub(super) open: HashMap<String, Open>,
    /// Whether it was seen to that the target gets again what it lost.
    pub(super) refilled: bool,
}

/// A record that waits in quarantine.
#[derive(Clone, Debug)]
pub(super) struct Open {
    /// The entry's id.
    pub(super) id: String,
    /// The id of its event, which gives its place in the source.
    pub(super) event: String,
    /// Whether it waits for something that may come by itself.
    pub(super) waits: bool,
}

/// What a patch of a record that waits in quarantine was laid over.
#[derive(Clone, Copy, Debug)]
enum Below {
    /// All that waits.
    Whole,
    /// What waits was too large to be kept, so the patch says too little to be sent again.
    Unknown,
}

/// What a batch did.
#[derive(Debug)]
pub(super) struct Applied {
    /// The log's sequence it ended at.
    pub(super) reached: u64,
    /// Changes that were applied.
    pub(super) changes: u64,
}

impl Applier<'_> {
    /// Applies a chunk and moves the progress.
    pub(super) async fn apply(
        &mut self,
        chunk: Chunk,
        stop: &CancellationToken,
    ) -> Result<Applied> {
        let Chunk {
            events,
            spans,
            foreign,
            unfit,
            ends,
            reached,
            follows,
            stays,
            ..
        } = chunk;
        let changes = events.len() as u64;
        let mut refused: Vec<Entry> = foreign
            .iter()
            .map(|(message, error)| self.foreign_entry(message, &error.to_string()))
            .collect();
        // Before anything else, so that later changes of the same records find them.
        let unfit = unfit.into_iter().map(|(event, version, violations)| Entry {
            contract: version,
            ..self.entry(&event, violations)
        });
        let unfit: Vec<Entry> = unfit.collect();
        self.set_aside(unfit).await?;
        let mut hand = Hand::new(&self.delivery.plan.flow);
        let mut looked = false;
        for mut folded in coalesce(events) {
            let event = &mut folded.event;
            let follows = self.lay_over(event).await?;
            let mut mapped = self.current.write.map(&event.change);
            if mapped.is_err() && !std::mem::replace(&mut looked, true) && self.follow().await? {
                mapped = self.current.write.map(&event.change);
            }
            let violations = match mapped {
                Ok(change) if follows.is_none() => {
                    hand.push(folded, change);
                    continue;
                }
                Ok(_) => vec![follow_up()],
                Err(rejection) => rejection.violations,
            };
            let mut entry = self.entry(event, violations);
            entry.held.cut = matches!(follows, Some(Below::Unknown));
            refused.push(entry);
        }
        hand.batch.progress = if stays {
            self.progress.stays()
        } else {
            self.progress.steps(&ends, reached)
        };
        hand.batch.follows = follows;
        if hand.events.is_empty() && refused.is_empty() && hand.batch.progress.is_empty() {
            self.progress.is_whole_to(reached);
            return Ok(Applied {
                reached,
                changes: 0,
            });
        }
        // Before they are applied: from here on each is applied or in quarantine itself, whatever crashes.
        self.supersede(&hand.events).await?;
        self.set_aside(refused).await?;
        at_once::apply(&mut hand, &self.sink, &mut self.progress, &spans).await?;
        if !hand.is_done() {
            self.settle(hand, stop).await?;
        }
        self.progress.is_whole_to(reached);
        Ok(Applied { reached, changes })
    }

    /// Looks whether somebody altered the target's table, and compiles the mapping anew if so. Tells whether it did.
    pub(super) async fn follow(&mut self) -> Result<bool> {
        if !self.is_altered().await? {
            return Ok(false);
        }
        let current = self.delivery.current(&*self.sink).await?;
        if current.contract.version != self.current.contract.version {
            return Err(Error::transient("the contract has another version now"));
        }
        let table = &current.shape.name;
        tracing::info!(table, "the target's table has another shape now");
        self.sink.prepare(&[current.write.target()]).await?;
        self.refilled = self.delivery.refilled(&current).await?;
        self.current = current;
        Ok(true)
    }

    /// Whether somebody altered the target's table.
    pub(super) async fn is_altered(&self) -> Result<bool> {
        let shapes = self.sink.discover().await?;
        let table = &self.current.shape.name;
        let now = shapes.into_iter().find(|shape| shape.name == *table);
        if now.is_none_or(|now| *now != *self.current.shape) {
            return Ok(true);
        }
        Ok(self.sink.incarnation(table).await? != self.current.incarnation)
    }

    /// Lays a patch of a record that waits in quarantine over what waits, so that the newest entry holds the whole record. Tells what waits.
    async fn lay_over(&self, event: &mut Event) -> Result<Option<Below>> {
        let patch = event.change.op == Op::Updated && !event.change.row.is_whole();
        if !patch || self.open.is_empty() {
            return Ok(None);
        }
        let key = event
            .key
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let Some(open) = self
            .open
            .get(&key)
            .filter(|open| is_later(&event.id, &open.event))
        else {
            return Ok(None);
        };
        let Some(entry) = self.delivery.quarantine.get(&open.id).await? else {
            return Ok(None);
        };
        if entry.held.shape != *event.change.shape || entry.held.cut {
            return Ok(Some(Below::Unknown));
        }
        let patch = std::mem::replace(&mut event.change.row, entry.held.row);
        for (below, above) in event.change.row.0.iter_mut().zip(patch.0) {
            if !above.is_unchanged() {
                *below = above;
            }
        }
        Ok(Some(Below::Whole))
    }

    /// Closes entries that changes of this batch make meaningless.
    async fn supersede(&mut self, events: &[Event]) -> Result<()> {
        if self.open.is_empty() {
            return Ok(());
        }
        for event in events {
            let keys = [&event.key, &event.replaces].into_iter().flatten();
            let mut keys: Vec<String> = keys.map(ToString::to_string).collect();
            if event.change.op == Op::Truncated {
                keys = self.open.keys().cloned().collect();
            }
            for key in keys {
                let Some(open) = self.open.get(&key) else {
                    continue;
                };
                if !is_later(&event.id, &open.event) {
                    continue;
                }
                let id = open.id.clone();
                self.delivery
                    .quarantine
                    .close(&id, State::Superseded)
                    .await?;
                self.open.remove(&key);
            }
        }
        Ok(())
    }

    /// Whether an entry still stands for its record.
    pub(super) fn holds(&self, entry: &Entry) -> bool {
        self.open
            .get(&entry.key)
            .is_some_and(|open| open.id == entry.id)
    }

    /// Applies until the target has taken everything that it will take; the rest is in quarantine before the progress moves.
    async fn settle(&mut self, mut hand: Hand, stop: &CancellationToken) -> Result<()> {
        let mut retry = Retry::default();
        let mut waits = 0;
        let mut refused_last = usize::MAX;
        let mut unfolding = Unfolding::default();
        loop {
            let unfolded = unfolding.of(&hand, |event| self.current.write.map(&event.change).ok());
            let batch = unfolded.as_ref().map_or(&hand.batch, |one| &one.batch);
            let attempt = self.attempt(batch, &mut retry, stop).await;
            let receipt = match (attempt, self.delivery.skip()) {
                (Ok(Some(receipt)), _) => receipt,
                (Ok(None), None) => continue,
                (Err(error), Some(_)) if error.kind() == Kind::Stopped => return Err(error),
                (_, Some(skip)) => {
                    self.narrow(&mut hand, &skip).await?;
                    continue;
                }
                (Err(error), None) => return Err(self.explained(error).await),
            };
            let outcomes: Vec<(usize, Outcome)> = match receipt {
                Receipt::Committed(outcomes) => {
                    let open = outcomes.into_iter().enumerate().filter(|(_, outcome)| {
                        !matches!(outcome, Outcome::Applied { .. } | Outcome::Stale)
                    });
                    let open: Vec<_> = open.collect();
                    if open.is_empty() {
                        let steps = &hand.batch.progress;
                        return self.progress.moved(&self.delivery.log, steps).await;
                    }
                    let open = unfolding.ended(unfolded.as_ref(), open);
                    // The others are durable: only these are tried again.
                    hand.keep(|index| open.binary_search_by_key(&index, |(at, _)| *at).is_ok());
                    let outcomes = open.into_iter().map(|(_, outcome)| outcome);
                    outcomes.enumerate().collect()
                }
                Receipt::RolledBack(refused) if refused.is_empty() => {
                    return Err(Error::unexpected(
                        "the target rolled a batch back but refused nothing",
                    ));
                }
                Receipt::RolledBack(refused) => {
                    if let Some(unfolded) = &unfolded {
                        match unfolding.refused(&hand, unfolded, refused) {
                            Some(refused) => refused,
                            None => continue,
                        }
                    } else {
                        // What is refused may only stand before what makes room for it, as across lanes it can.
                        if refused.len() < refused_last && hand.may_move() {
                            refused_last = refused.len();
                            hand.move_back(&refused);
                            continue;
                        }
                        // Folded, a change may skip what made room for another, as where two records swap a unique value.
                        if unfolding.begin(&hand) {
                            continue;
                        }
                        refused
                    }
                }
            };
            waits += 1;
            if waits == 1 && self.is_altered().await? {
                // What is refused may be the table's doing: these are tried again once it fits.
                return Err(self.delivery.misfit(&*self.sink).await);
            }
            self.refuse(&mut hand, outcomes, waits).await?;
        }
    }

    /// Why a batch failed: where the table does not fit any more, that, and not the target's words for what came of it.
    async fn explained(&self, error: Error) -> Error {
        if may_be_the_tables(&error) && self.is_altered().await.unwrap_or(true) {
            return self.delivery.misfit(&*self.sink).await;
        }
        error
    }

    /// Sends a batch to the target, which may take only so long.
    pub(super) async fn send(&self, batch: &Batch) -> Result<Receipt> {
        in_time(&*self.sink, batch).await
    }

    /// One attempt; `None` after a wait when it should be tried again.
    async fn attempt(
        &self,
        batch: &Batch,
        retry: &mut Retry,
        stop: &CancellationToken,
    ) -> Result<Option<Receipt>> {
        let started = Instant::now();
        let error = match self.send(batch).await {
            Ok(receipt) => return Ok(Some(receipt)),
            Err(error) => error,
        };
        let plan = &self.delivery.plan;
        match retry.failed(&error, started.elapsed().as_nanos() as u64) {
            Step::Again(wait) if retry.failures() < 5 => {
                tracing::warn!(
                    flow = plan.flow,
                    to = plan.to,
                    error = error.chain(),
                    ?wait,
                    "the target failed, trying again"
                );
                self.delivery
                    .board
                    .flow_failed(&plan.flow, &plan.to, &error, false);
                tokio::select! {
                    () = stop.cancelled() => Err(Error::stopped()),
                    () = tokio::time::sleep(wait) => Ok(None),
                }
            }
            Step::Restart => {
                let lane = batch.progress.first().map_or("", |step| step.lane.as_str());
                Err(moved(lane).because(error))
            }
            // A new life of the connection may know better, and shows the trouble meanwhile.
            Step::Again(_) | Step::Hold(_) => Err(error),
        }
    }

    /// Sets refused changes aside and leaves those that may still pass.
    async fn refuse(
        &mut self,
        hand: &mut Hand,
        outcomes: Vec<(usize, Outcome)>,
        waits: u32,
    ) -> Result<()> {
        let mut entries = Vec::new();
        let mut gone = vec![false; hand.events.len()];
        for (index, outcome) in outcomes {
            let Some(event) = hand.events.get(index) else {
                return Err(Error::unexpected(
                    "the target refused a change that was not in the batch",
                ));
            };
            let (rule, reason) = match outcome {
                Outcome::Applied { .. } | Outcome::Stale => continue,
                Outcome::Waiting { .. } if waits < WAITS_MAX => continue,
                Outcome::Waiting { on } => {
                    ("reference", format!("waits for {on}, which did not come"))
                }
                Outcome::Conflict { reason } => ("conflict", reason),
                Outcome::Rejected { reason } => ("target", reason),
                other => ("target", format!("{other:?}")),
            };
            let reason = without_protected(reason, &self.channel.contract, &event.change);
            entries.push(self.entry(event, vec![violation(rule, &reason)]));
            gone[index] = true;
        }
        if entries.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        self.set_aside(entries).await?;
        hand.keep(|index| !gone[index]);
        Ok(())
    }

    pub(super) async fn set_aside(&mut self, entries: Vec<Entry>) -> Result<()> {
        self.delivery.quarantine.put(&entries).await?;
        for entry in entries {
            let newest = Open {
                waits: waiting::waits(&entry),
                id: entry.id,
                event: entry.held.event,
            };
            if self
                .open
                .get(&entry.key)
                .is_some_and(|open| !is_later(&newest.event, &open.event))
            {
                continue;
            }
            let older = self.open.insert(entry.key, newest);
            if let Some(older) = older {
                self.delivery
                    .quarantine
                    .close(&older.id, State::Superseded)
                    .await?;
            }
        }
        Ok(())
    }

    /// Applies a quarantined change again; the progress stays where it is.
    pub(super) async fn again(&mut self, entry: &Entry) -> Result<Result<(), Vec<Violation>>> {
        self.follow().await?;
        let record = match self.delivery.risen(entry, &self.current.contract) {
            Ok(record) => record,
            Err(violations) => return Ok(Err(violations)),
        };
        let change = match self.current.write.map(&record) {
            Ok(change) => change,
            Err(rejection) => return Ok(Err(rejection.violations)),
        };
        let batch = Batch {
            flow: self.delivery.plan.flow.clone(),
            changes: vec![change],
            progress: Vec::<LaneProgress>::new(),
            follows: false,
        };
        let refused = match self.sink.apply(&batch).await? {
            Receipt::Committed(outcomes) => outcomes
                .into_iter()
                .find(|outcome| !matches!(outcome, Outcome::Applied { .. } | Outcome::Stale)),
            Receipt::RolledBack(refused) => refused.into_iter().next().map(|(_, outcome)| outcome),
        };
        match refused {
            None => {
                self.open.remove(&entry.key);
                Ok(Ok(()))
            }
            Some(Outcome::Rejected { reason } | Outcome::Conflict { reason }) => {
                let reason = without_protected(reason, &self.current.contract, &record);
                Ok(Err(vec![violation("target", &reason)]))
            }
            Some(other) => Ok(Err(vec![violation("target", &format!("{other:?}"))])),
        }
    }

    pub(super) fn entry(&self, event: &Event, violations: Vec<Violation>) -> Entry {
        let plan = &self.delivery.plan;
        let key = event
            .key
            .as_ref()
            .map_or_else(|| "*".to_owned(), ToString::to_string);
        let id = entry_id(&["deliver", &plan.flow, &plan.to], &event.id);
        let held = Held::of(&event.change, &event.id);
        Entry::open(id, self.stopped(key), held, violations)
    }

    /// Where a change of this delivery stops.
    fn stopped(&self, key: String) -> Stopped<'_> {
        let plan = &self.delivery.plan;
        Stopped {
            stage: Stage::Deliver,
            system: &plan.to,
            flow: Some(&plan.flow),
            entity: &self.channel.contract.entity,
            key,
            contract: self.channel.contract.version.to_string(),
        }
    }

    /// The entry of a message that nobody of ours wrote.
    fn foreign_entry(&self, message: &crate::log::Stored, reason: &str) -> Entry {
        let plan = &self.delivery.plan;
        let shape = &self.channel.shape;
        let beginning = &message.payload[..message.payload.len().min(RAW_MAX)];
        let held = Held {
            op: Op::Updated,
            shape: (**shape).clone(),
            row: lockstep_core::Row::default(),
            before: None,
            mark: lockstep_core::position::Mark::default(),
            committed_at: message.at,
            event: String::new(),
            raw: Some(base64::engine::general_purpose::STANDARD.encode(beginning)),
            cut: beginning.len() < message.payload.len(),
        };
        let id = format!("deliver.{}.{}.seq-{}", plan.flow, plan.to, message.seq);
        let place = format!("{}#{}", message.subject, message.seq);
        let violations = vec![violation("message", reason)];
        let entry = Entry::open(id, self.stopped(place.clone()), held, violations);
        Entry {
            position: place,
            original: Some(Original::of(&message.payload)),
            ..entry
        }
    }
}

/// Why a change of a record that waits in quarantine waits with it.
fn follow_up() -> Violation {
    violation(
        "order",
        "follows a change of the same record that is in quarantine",
    )
}

/// A target's words without the protected values of the record: a trigger of its own may quote them.
fn without_protected(mut reason: String, contract: &Contract, change: &Change) -> String {
    // Shorter ones stand in many words by chance, and say little.
    const SAYING: usize = 3;
    let rows = [Some(&change.row), change.before.as_ref()];
    for row in rows.into_iter().flatten() {
        for (column, cell) in change.shape.columns.iter().zip(&row.0) {
            let class = contract
                .field(&column.name)
                .map(|at| contract.fields[at].class);
            let Cell::Set(value) = cell else { continue };
            if class.is_none_or(|class| class < Class::Personal) || *value == Value::Null {
                continue;
            }
            let text = value.to_string();
            if text.chars().count() >= SAYING {
                reason = reason.replace(&text, HIDDEN);
            }
        }
    }
    reason
}

pub(super) fn violation(rule: &str, message: &str) -> Violation {
    Violation {
        field: None,
        rule: rule.to_owned(),
        message: message.to_owned(),
        outcome: contract::Outcome::Quarantine,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use lockstep_core::contract::Field;
    use lockstep_core::position::Mark;
    use lockstep_core::{Column, Row, Shape, Type};

    use super::*;

    #[test]
    fn words_of_a_target_are_told_without_protected_values() {
        let mut mail = Field::new("mail", Type::Text);
        mail.class = Class::Personal;
        let fields = vec![Field::new("id", Type::Int), mail];
        let contract = Contract::new("customer", "1.0.0".parse().unwrap(), fields);
        let change = Change {
            shape: Arc::new(Shape {
                name: "customer".to_owned(),
                columns: vec![
                    Column::new("id", Type::Int, false),
                    Column::new("mail", Type::Text, true),
                ],
                key: vec![0],
            }),
            op: Op::Updated,
            row: Row::of([Value::Int(1234), Value::text("very.private@person.org")]),
            before: None,
            mark: Mark::default(),
            committed_at: Timestamp::UNIX_EPOCH,
            origin: None,
        };
        let said = "bad address very.private@person.org of 1234".to_owned();
        assert_eq!(
            without_protected(said, &contract, &change),
            format!("bad address {HIDDEN} of 1234")
        );
    }
}
