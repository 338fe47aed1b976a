//! An entity beside its table: whether the table still fits, what was added to it, and what to do about either.
//!
//! The decision is `lockstep_core::contract::drift`'s; here it is carried out. The table as it was when all was well is kept in the log, so that drift is known after a restart, too.

use std::collections::BTreeSet;
use std::sync::Arc;

use lockstep_core::contract::drift::{
    Decision, Drift, Expected, Kind, Side, compare, extended, next_minor, with_columns,
};
use lockstep_core::error::Result;
use lockstep_core::{Column, Shape};

use super::intake::Intake;
use super::outbox::Outbox;
use super::publish::Publisher;
use crate::drift::failed;
use crate::plan;
use crate::versions::{Kept, Table, source_key, terms};

/// How an entity's table stands to its contract.
#[derive(Debug)]
pub(super) struct Standing {
    /// The shape of the last change.
    seen: Arc<Shape>,
    /// The table when all was well.
    before: Arc<Shape>,
    /// Why the entity is held.
    pub(super) held: Option<String>,
    /// Rows that were parked since it is held.
    pub(super) parked: usize,
    /// Whether the table is to be read again, which nobody asked the source for yet.
    due: bool,
    /// Whether rows that the filter leaves out may have left it while the entity was held.
    pub(super) may_have_left: bool,
}

impl Standing {
    /// A table that nobody has judged yet.
    pub(super) fn of(shape: &Arc<Shape>) -> Standing {
        Standing {
            seen: Arc::clone(shape),
            before: Arc::clone(shape),
            held: None,
            parked: 0,
            due: false,
            may_have_left: false,
        }
    }

    /// Whether the table is to be read again.
    pub(super) fn is_due(&self) -> bool {
        self.due
    }
}

impl Intake {
    /// Begins beside the tables as they are now.
    pub(super) async fn begin(&mut self, shapes: &[Arc<Shape>]) -> Result<()> {
        for index in 0..self.entities.len() {
            let captured = &mut self.entities[index].captured;
            let table = &captured.mapping.table;
            if let Some(now) = shapes.iter().find(|shape| shape.name == *table) {
                captured.found = Arc::clone(now);
            }
            self.stand(index).await?;
        }
        Ok(())
    }

    /// Finds how an entity's table stood when all was well, and judges how it stands now.
    async fn stand(&mut self, index: usize) -> Result<()> {
        let captured = &self.entities[index].captured;
        let terms = terms(&captured.contract, &captured.mapping);
        let known = self.versions.table(&self.key(index));
        let again = match &known {
            None => None,
            Some(known) if known.terms == terms => known.again.clone(),
            Some(_) => Some("its contract or its mapping changed".to_owned()),
        };
        let may_have_left = known.as_ref().is_some_and(|known| known.was_held);
        let before = match known {
            Some(known) if known.terms == terms => Arc::new(known.shape),
            _ => Arc::clone(&captured.found),
        };
        let found = Arc::clone(&captured.found);
        let standing = &mut self.entities[index].standing;
        standing.before = before;
        standing.due = again.is_some();
        standing.may_have_left = may_have_left;
        self.note(index, again).await?;
        match self.judge(index, &found) {
            Decision::Hold(reason) => self.hold(index, reason).await,
            Decision::Fail(reason) => Err(failed(&reason)),
            // A column that is new is taken along with the first change that has it.
            Decision::GoOn | Decision::Add(_) => Ok(()),
        }
    }

    /// Keeps an entity in step with its table; tells whether its changes may pass.
    ///
    /// # Errors
    /// A policy that ends the flow, or a log that cannot be written.
    pub(super) async fn follow(
        &mut self,
        index: usize,
        shape: &Arc<Shape>,
        publisher: &mut Publisher,
        outbox: &mut Outbox,
    ) -> Result<bool> {
        let entity = &mut self.entities[index];
        if Arc::ptr_eq(shape, &entity.standing.seen) {
            return Ok(entity.standing.held.is_none());
        }
        entity.standing.seen = Arc::clone(shape);
        if entity.standing.held.is_none() && *shape == entity.captured.shape {
            entity.captured.shape = Arc::clone(shape);
            return Ok(true);
        }
        self.turn(index, shape, publisher, outbox).await
    }

    /// Looks at tables beside the stream of changes.
    pub(super) async fn look(
        &mut self,
        shapes: &[Arc<Shape>],
        publisher: &mut Publisher,
        outbox: &mut Outbox,
    ) -> Result<()> {
        for index in 0..self.entities.len() {
            let entity = &self.entities[index];
            let table = &entity.captured.mapping.table;
            let Some(now) = shapes.iter().find(|shape| shape.name == *table) else {
                continue;
            };
            if entity.standing.held.is_some() {
                self.turn(index, now, publisher, outbox).await?;
                continue;
            }
            match self.judge(index, now) {
                Decision::Hold(reason) => self.hold(index, reason).await?,
                Decision::Fail(reason) => return Err(failed(&reason)),
                // Rows come in the shape that their change had; it is followed then.
                Decision::GoOn | Decision::Add(_) => {}
            }
        }
        Ok(())
    }

    /// Judges a table's shape and acts on it; tells whether changes of that shape may pass.
    async fn turn(
        &mut self,
        index: usize,
        shape: &Arc<Shape>,
        publisher: &mut Publisher,
        outbox: &mut Outbox,
    ) -> Result<bool> {
        match self.judge(index, shape) {
            Decision::Fail(reason) => return Err(failed(&reason)),
            Decision::Hold(reason) => {
                self.hold(index, reason).await?;
                return Ok(false);
            }
            Decision::Add(columns) => self.take_along(index, &columns, shape, publisher).await?,
            Decision::GoOn => match self.entities[index].compile(shape) {
                Ok(read) => {
                    tracing::info!(table = shape.name, "the table has another shape now");
                    let captured = &mut self.entities[index].captured;
                    captured.read = read;
                    captured.shape = Arc::clone(shape);
                }
                Err(error) => {
                    self.hold(index, error.chain()).await?;
                    return Ok(false);
                }
            },
        }
        if self.entities[index].standing.held.is_some() {
            self.lift(index, publisher, outbox).await?;
        }
        Ok(true)
    }

    fn judge(&self, index: usize, now: &Shape) -> Decision {
        let entity = &self.entities[index];
        let plan::Captured {
            contract,
            mapping,
            values,
            policy,
            ..
        } = &entity.captured;
        let expected = Expected {
            contract,
            mapping,
            values,
            side: Side::Source,
            before: Some(&entity.standing.before),
        };
        let drifts = compare(expected, now);
        let decision = policy.decide(&drifts);
        for drift in drifts.iter().filter(|drift| drift.kind != Kind::Ok) {
            tracing::warn!(system = self.system, entity = contract.entity, kind = ?drift.kind, "{drift}");
        }
        self.tell(index, drifts);
        decision
    }

    fn tell(&self, index: usize, drifts: Vec<Drift>) {
        let entity = &self.entities[index].captured.contract.entity;
        let drifts = drifts.into_iter().filter(|drift| drift.kind != Kind::Ok);
        self.board.drift(&self.system, entity, drifts.collect());
    }

    /// Makes new columns of a source optional fields of the next minor version, which events have from here on.
    async fn take_along(
        &mut self,
        index: usize,
        columns: &[Column],
        shape: &Arc<Shape>,
        publisher: &mut Publisher,
    ) -> Result<()> {
        let captured = &self.entities[index].captured;
        let contract = Arc::clone(&captured.contract);
        let known = self.versions.known();
        let taken = known.by_urn(&contract.urn()).map(|kept| &kept.taken);
        let mut taken: BTreeSet<String> = taken.into_iter().flatten().cloned().collect();
        taken.extend(columns.iter().map(|column| column.name.clone()));
        let taken: Vec<String> = taken.into_iter().collect();
        let mut version = next_minor(&contract.version);
        let contract = loop {
            let next = Arc::new(extended(&contract, columns, version));
            let mut kept = Kept::of(Arc::clone(&next));
            kept.taken.clone_from(&taken);
            match self.versions.enter(kept).await {
                Ok(()) => break next,
                // Somebody released that version with other contents.
                Err(error) if error.error_code() == Some("LS-E005") => {
                    version = next_minor(&next.version);
                }
                Err(error) => return Err(error),
            }
        };
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        tracing::info!(
            system = self.system,
            entity = contract.entity,
            version = %contract.version,
            columns = names.join(", "),
            "columns are taken along; `lockstep contract drift` shows what to put into the contract's file"
        );
        let captured = &mut self.entities[index].captured;
        captured.mapping = with_columns(&captured.mapping, names);
        captured.contract = contract;
        captured.shape = Arc::clone(shape);
        let read = self.entities[index].compile(shape)?;
        let Self { entities, .. } = self;
        entities[index].captured.read = read;
        entities[index].standing.before = Arc::clone(shape);
        entities[index].standing.due = true;
        publisher.goes_on_with(index, &entities[index].captured.contract);
        // Rows may have had values there before anybody saw the column.
        let again = "columns were taken along".to_owned();
        self.note(index, Some(again)).await
    }

    /// Writes how the table was when all was well, and why it has to be read again.
    pub(super) async fn note(&self, index: usize, again: Option<String>) -> Result<()> {
        let entity = &self.entities[index];
        let captured = &entity.captured;
        let table = Table {
            shape: (*entity.standing.before).clone(),
            terms: terms(&captured.contract, &captured.mapping),
            version: captured.contract.version.clone(),
            again,
            was_held: entity.standing.may_have_left,
        };
        self.versions.keep_table(&self.key(index), table).await
    }

    fn key(&self, index: usize) -> String {
        source_key(&self.system, &self.entities[index].captured.contract.entity)
    }

    /// The entities whose tables are to be read again and may be.
    pub(super) fn due(&mut self) -> Vec<usize> {
        let mut due = Vec::new();
        for (index, entity) in self.entities.iter_mut().enumerate() {
            let standing = &mut entity.standing;
            if standing.due && standing.held.is_none() {
                standing.due = false;
                due.push(index);
            }
        }
        due
    }

    /// The table of an entity.
    pub(super) fn table(&self, index: usize) -> String {
        self.entities[index].captured.mapping.table.clone()
    }

    /// A position says that an entity's table is being read again.
    pub(super) async fn is_read_again(&self, index: usize) -> Result<()> {
        let standing = &self.entities[index].standing;
        if standing.due || standing.held.is_some() {
            // There is a newer reason.
            return Ok(());
        }
        self.note(index, None).await
    }

    /// Has an entity's table read again.
    pub(super) fn read_again(&mut self, index: usize) {
        self.entities[index].standing.due = true;
    }

    /// Whether an entity is held.
    pub(super) fn is_held(&self) -> bool {
        let held = |entity: &super::intake::Entity| entity.standing.held.is_some();
        self.entities.iter().any(held)
    }
}
