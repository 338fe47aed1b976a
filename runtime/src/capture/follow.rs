//! An entity beside its table: whether the table still fits, what was added to it, and what to do about either.
//!
//! The decision is `lockstep_core::contract::drift`'s; here it is carried out. The table as it was when all was well is kept in the log, so that drift is known after a restart, too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockstep_core::connector::News;
use lockstep_core::contract::drift::{
    Action, Decision, Drift, Expected, Kind, Side, as_taken, compare, extended, next_minor,
    with_columns,
};
use lockstep_core::error::{Error, Result};
use lockstep_core::{Change, Column, Op, Shape};

use super::intake::{Entity, Intake};
use super::open::Tables;
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
    /// Whether it is held until the next start, as its policy says.
    pub(super) failed: bool,
    /// Whether its table is not there.
    pub(super) gone: bool,
    /// Changes that passed by since it is held.
    pub(super) passed: u64,
    /// Whether columns came while nobody looked that are to be taken along with the first change.
    adds: bool,
    /// Whether the table is to be read again, which nobody asked the source for yet.
    due: bool,
    /// Whether rows that the filter leaves out may have left it while the entity was held.
    pub(super) may_have_left: bool,
    /// The older majors whose subscribers get what is said.
    majors: Vec<u64>,
    /// What was said of its table last.
    told: Vec<Drift>,
    /// The log's sequence behind which rows went to the target past the log.
    direct: Option<u64>,
}

impl Standing {
    /// A table that nobody has judged yet.
    pub(super) fn of(shape: &Arc<Shape>) -> Standing {
        Standing {
            seen: Arc::clone(shape),
            before: Arc::clone(shape),
            held: None,
            failed: false,
            gone: false,
            passed: 0,
            adds: false,
            due: false,
            may_have_left: false,
            majors: Vec::new(),
            told: Vec::new(),
            direct: None,
        }
    }

    /// Whether the table is to be read again.
    pub(super) fn is_due(&self) -> bool {
        self.due
    }
}

impl Intake {
    /// Begins beside the tables as they are now.
    pub(super) async fn begin(&mut self, tables: &Tables, publisher: &Publisher) -> Result<()> {
        for index in 0..self.entities.len() {
            self.entities[index].standing.majors = publisher.older(index);
            let captured = &mut self.entities[index].captured;
            let table = &captured.mapping.table;
            if let Some(now) = tables.shapes.iter().find(|shape| shape.name == *table) {
                captured.found = Arc::clone(now);
            }
            let gone = tables.gone.get(table);
            self.stand(index, gone).await?;
        }
        self.must_go_on()
    }

    /// Ends the capture once a policy ended each of its entities.
    fn must_go_on(&self) -> Result<()> {
        let standings = self.entities.iter().map(|entity| &entity.standing);
        let mut reasons = standings
            .clone()
            .filter(|standing| standing.failed)
            .filter_map(|standing| standing.held.clone());
        match reasons.next() {
            Some(first) if standings.clone().all(|standing| standing.failed) => Err(failed(
                &reasons.fold(first, |all, one| format!("{all}; {one}")),
            )),
            _ => Ok(()),
        }
    }

    /// Finds how an entity's table stood when all was well, and judges how it stands now.
    async fn stand(&mut self, index: usize, gone: Option<&Error>) -> Result<()> {
        let captured = &self.entities[index].captured;
        let terms = terms(&captured.contract, &captured.mapping);
        let known = self.versions.table(&self.key(index)).await?;
        let majors = &self.entities[index].standing.majors;
        let again = match &known {
            None => None,
            Some(known) if known.terms != terms => {
                Some("its contract or its mapping changed".to_owned())
            }
            Some(known) if known.again.is_some() => known.again.clone(),
            // Whoever subscribes to it missed what was said while it was not published.
            Some(known) => majors
                .iter()
                .find(|major| !known.majors.contains(major))
                .map(|major| format!("its major {major} is published from now on")),
        };
        let may_have_left = known.as_ref().is_some_and(|known| known.was_held);
        let direct = known.as_ref().and_then(|known| known.direct);
        let before = match known {
            Some(known) if known.terms == terms => Arc::new(known.shape),
            _ => Arc::clone(&captured.found),
        };
        let found = Arc::clone(&captured.found);
        let standing = &mut self.entities[index].standing;
        standing.before = before;
        standing.due = again.is_some();
        standing.may_have_left = may_have_left;
        standing.direct = direct;
        self.note(index, again).await?;
        let entity = &self.entities[index].captured.contract.entity;
        if let Some(reason) = self.board.why_ended(&self.system, entity) {
            return self.fail(index, reason).await;
        }
        if let Some(gone) = gone {
            return self.is_gone(index, gone).await;
        }
        match self.judge(index, &found) {
            Decision::Hold(reason) => self.hold(index, reason).await,
            Decision::Fail(reason) => self.fail(index, reason).await,
            // A column that is new is taken along where the source tells of it, in order with its rows.
            Decision::Add(_) => {
                self.entities[index].standing.adds = true;
                Ok(())
            }
            Decision::GoOn => Ok(()),
        }
    }

    /// Holds an entity whose table is not there, or cannot be read as it is.
    async fn is_gone(&mut self, index: usize, why: &Error) -> Result<()> {
        self.entities[index].standing.gone = true;
        let policy = self.entities[index].captured.policy;
        let reason = why.chain();
        if policy.breaking == Action::Fail {
            self.fail(index, reason).await
        } else {
            self.hold(index, reason).await
        }
    }

    /// The tables that are not there.
    pub(super) fn gone(&self) -> BTreeSet<String> {
        let gone = self.entities.iter().filter(|entity| entity.standing.gone);
        gone.map(|entity| entity.captured.mapping.table.clone())
            .collect()
    }

    /// The entities of a table.
    pub(super) fn of_table(&self, table: &str) -> Vec<usize> {
        let of = |entity: &Entity| entity.captured.mapping.table == table;
        let entities = self.entities.iter().enumerate();
        entities
            .filter(|(_, entity)| of(entity))
            .map(|(index, _)| index)
            .collect()
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
        if entity.standing.failed || entity.standing.gone {
            return Ok(false);
        }
        // The table as it was found at the start may be the first that is told of columns to take along.
        let adds = std::mem::take(&mut entity.standing.adds);
        if !adds && Arc::ptr_eq(shape, &entity.standing.seen) {
            return Ok(entity.standing.held.is_none());
        }
        entity.standing.seen = Arc::clone(shape);
        if !adds && entity.standing.held.is_none() && *shape == entity.captured.shape {
            entity.captured.shape = Arc::clone(shape);
            return Ok(true);
        }
        self.turn(index, shape, publisher, outbox).await
    }

    /// Takes note of majors that are published no more.
    pub(super) async fn retire(&mut self, publisher: &mut Publisher) -> Result<()> {
        for index in publisher.retire() {
            self.entities[index].standing.majors = publisher.older(index);
            let known = self.versions.table(&self.key(index)).await?;
            self.note(index, known.and_then(|known| known.again))
                .await?;
        }
        Ok(())
    }

    /// Takes up what a source tells of a table, behind the changes that it told before.
    pub(super) async fn hear(
        &mut self,
        shape: &Arc<Shape>,
        publisher: &mut Publisher,
        outbox: &mut Outbox,
    ) -> Result<()> {
        for index in self.of_table(&shape.name) {
            // Those that wait in line come in the shape of before.
            if self.entities[index].line.is_empty() {
                self.follow(index, shape, publisher, outbox).await?;
            }
        }
        Ok(())
    }

    /// Looks at tables beside the stream of changes.
    pub(super) async fn look(
        &mut self,
        tables: &Tables,
        publisher: &mut Publisher,
        outbox: &mut Outbox,
    ) -> Result<()> {
        for index in 0..self.entities.len() {
            let entity = &self.entities[index];
            let table = &entity.captured.mapping.table;
            if let Some(gone) = tables.gone.get(table) {
                if !entity.standing.gone {
                    self.is_gone(index, gone).await?;
                }
                continue;
            }
            let Some(now) = tables.shapes.iter().find(|shape| shape.name == *table) else {
                continue;
            };
            // A policy that ended it, or another life of the source, decides.
            if entity.standing.failed || entity.standing.gone {
                continue;
            }
            if entity.standing.held.is_some() {
                self.turn(index, now, publisher, outbox).await?;
                continue;
            }
            match self.judge(index, now) {
                Decision::Hold(reason) => self.hold(index, reason).await?,
                Decision::Fail(reason) => self.fail(index, reason).await?,
                // The source tells of it in order with its rows; it is followed then.
                Decision::GoOn | Decision::Add(_) => {}
            }
        }
        self.must_go_on()
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
            Decision::Fail(reason) => {
                self.fail(index, reason).await?;
                self.must_go_on()?;
                return Ok(false);
            }
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

    fn judge(&mut self, index: usize, now: &Shape) -> Decision {
        let Entity {
            captured, standing, ..
        } = &self.entities[index];
        let plan::Captured {
            contract,
            mapping,
            values,
            policy,
            ..
        } = captured;
        let expected = Expected {
            contract,
            mapping,
            values,
            side: Side::Source,
            before: Some(&standing.before),
            policy: *policy,
        };
        let drifts = compare(expected, now);
        let decision = policy.decide(&drifts);
        self.tell(index, drifts);
        decision
    }

    /// Shows what does not fit, and says what of it is new.
    fn tell(&mut self, index: usize, mut drifts: Vec<Drift>) {
        drifts.retain(|drift| drift.kind != Kind::Ok);
        let Entity {
            captured, standing, ..
        } = &mut self.entities[index];
        let entity = &captured.contract.entity;
        for drift in drifts.iter().filter(|drift| !standing.told.contains(drift)) {
            tracing::warn!(system = self.system, entity, kind = ?drift.kind, "{drift}");
        }
        standing.told.clone_from(&drifts);
        self.board.drift(&self.system, entity, drifts);
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
        let mut version = next_minor(&contract.version);
        let contract = loop {
            let next = Arc::new(extended(&contract, columns, version));
            let kept = Kept::taking(Arc::clone(&next), &taken);
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
        let standing = &mut entities[index].standing;
        standing.before = Arc::new(as_taken(&standing.before, shape, columns));
        standing.due = true;
        let known = self.versions.known();
        publisher.goes_on_with(index, &entities[index].captured.contract, &known);
        // Rows may have had values there before anybody saw the column.
        let again = "columns were taken along".to_owned();
        self.note(index, Some(again)).await?;
        // What was taken along is as expected now; what cannot be is told on.
        self.judge(index, shape);
        Ok(())
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
            incarnation: None,
            columns: BTreeMap::new(),
            writes: Vec::new(),
            majors: entity.standing.majors.clone(),
            direct: entity.standing.direct,
        };
        self.versions.keep_table(&self.key(index), table).await
    }

    /// Notes that rows went past the log behind a sequence of it: a target that stands before that has them brought again.
    pub(super) async fn went_direct(&mut self, index: usize, after: u64) -> Result<()> {
        if self.entities[index].standing.direct == Some(after) {
            return Ok(());
        }
        self.entities[index].standing.direct = Some(after);
        let known = self.versions.table(&self.key(index)).await?;
        self.note(index, known.and_then(|known| known.again)).await
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

    /// The table of an entity that is to be read again, and whether every row of it: those that the filter leaves out may have left it.
    pub(super) fn rereads(&self, index: usize) -> (String, bool) {
        let Entity {
            captured, standing, ..
        } = &self.entities[index];
        (captured.mapping.table.clone(), standing.may_have_left)
    }

    /// Shows how many rows were read that are no changes.
    pub(super) fn count_rows(&self, changes: &[Change]) {
        let mut rest = changes;
        while let Some(first) = rest.first() {
            let same = |change: &&Change| Arc::ptr_eq(&change.shape, &first.shape);
            let run = rest.iter().take_while(same).count();
            let (these, others) = rest.split_at(run);
            rest = others;
            let rows = these
                .iter()
                .filter(|change| change.op == Op::Snapshot)
                .count();
            if rows == 0 {
                continue;
            }
            for index in self.of_table(&first.shape.name) {
                let entity = &self.entities[index].captured.contract.entity;
                self.board.rows_read(&self.system, entity, rows as u64);
            }
        }
    }

    /// Shows what a source tells of a table beside its shape.
    pub(super) fn note_news(&self, news: &News) {
        let (News::Read(table)
        | News::ReadPart(table)
        | News::Reading { table, .. }
        | News::Withheld { table, .. }) = news
        else {
            return;
        };
        for index in self.of_table(table) {
            let entity = &self.entities[index].captured.contract.entity;
            match news {
                News::Withheld { reason, .. } => {
                    let error = reason.clone().map(Error::config);
                    self.board.withheld(&self.system, entity, error.as_ref());
                }
                News::Reading { of, .. } => {
                    self.board.reading(&self.system, entity, Some(*of), false);
                }
                _ => {
                    let whole = matches!(news, News::Read(_));
                    self.board.reading(&self.system, entity, None, whole);
                }
            }
        }
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

    /// An entity's table was read to its last row: targets hold no row that its filter leaves out.
    pub(super) async fn is_whole_again(&mut self, index: usize) -> Result<()> {
        let standing = &mut self.entities[index].standing;
        if standing.due || standing.held.is_some() || !standing.may_have_left {
            return Ok(());
        }
        standing.may_have_left = false;
        let known = self.versions.table(&self.key(index)).await?;
        self.note(index, known.and_then(|known| known.again)).await
    }

    /// Where an entity stands.
    pub(super) fn index_of(&self, entity: &str) -> Option<usize> {
        let of = |known: &Entity| known.captured.contract.entity == entity;
        self.entities.iter().position(of)
    }

    /// Has an entity's table read again because somebody lacks rows of it; tells why it cannot be.
    pub(super) async fn refill(&mut self, entity: &str, reason: String) -> Result<Option<String>> {
        if self.desk.is_some() {
            return Ok(Some(
                "what other programs published cannot be read again: they have to publish it again"
                    .to_owned(),
            ));
        }
        let Some(index) = self.index_of(entity) else {
            return Ok(Some("no flow captures this entity here".to_owned()));
        };
        self.read_again(index);
        self.note(index, Some(reason)).await?;
        Ok(None)
    }

    /// Has an entity's table read again.
    pub(super) fn read_again(&mut self, index: usize) {
        self.entities[index].standing.due = true;
    }

    /// Whether an entity is held.
    pub(super) fn is_held(&self) -> bool {
        let held = |entity: &Entity| entity.standing.held.is_some();
        self.entities.iter().any(held)
    }
}
