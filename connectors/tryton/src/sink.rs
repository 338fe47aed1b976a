//! The sink: looks records up by the key of the mapping, then makes, writes and deletes what differs.
//!
//! Tryton keeps no progress and takes no idempotency keys: every batch begins with a look-up, so one that comes again finds what it made.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::change::Op;
use lockstep_core::connector::{Batch, Finding, Limits, OpenContext, Outcome, Receipt, Sink};
use lockstep_core::{Change, Error, Result, Shape, Value};
use serde_json::{Map, Value as Json};

use crate::check;
use crate::client::Client;
use crate::config::{Config, Step};
use crate::domain::Domain;
use crate::lookup;
use crate::model::{ID, Model};
use crate::plan::{Gone, Plan, Target};
use crate::reader::Models;
use crate::work::{Done, Refused, Work, Write};
use crate::workflow::Workflow;

/// Writes records of a Tryton database.
#[derive(Debug)]
pub struct TrytonSink {
    client: Client,
    models: Models,
    tables: Vec<String>,
    batch_max: usize,
    deadline: Duration,
    workflows: BTreeMap<String, Vec<Step>>,
}

impl Sink for TrytonSink {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        Ok(TrytonSink {
            client: Client::open(&config, &cx)?,
            models: Models::default(),
            tables: cx.tables,
            batch_max: config.batch_max,
            // Several calls make a batch; one alone may take as long as it is allowed to.
            deadline: Duration::from_secs(config.timeout_secs.saturating_mul(4).max(60)),
            workflows: config.workflows,
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        self.models.discover(&self.client, &self.tables).await
    }

    async fn check(&self, targets: &[Arc<Shape>]) -> Result<Vec<Finding>> {
        let workflow = |model: &str| Workflow::of(model, &self.workflows);
        check::writes(&self.client, &self.models, targets, workflow).await
    }

    async fn prepare(&self, targets: &[Arc<Shape>]) -> Result<()> {
        for target in targets {
            self.models.known(&self.client, &target.name).await?;
        }
        Ok(())
    }

    async fn apply(&self, batch: &Batch) -> Result<Receipt> {
        let mut outcomes = Vec::with_capacity(batch.changes.len());
        let mut rest = batch.changes.as_slice();
        while let Some(first) = rest.first() {
            let model = self.models.known(&self.client, &first.shape.name).await?;
            let workflow = Workflow::of(&first.shape.name, &self.workflows);
            let target = target(&model, &first.shape, workflow.as_ref())?;
            let round = round(&target, rest);
            let (now, later) = rest.split_at(round);
            outcomes.extend(self.work(&target, now).await?);
            rest = later;
        }
        Ok(Receipt::Committed(outcomes))
    }

    fn limits(&self) -> Limits {
        Limits {
            batch_max: self.batch_max,
            progress: false,
            writers: 1,
            deadline: self.deadline,
        }
    }
}

/// The fields behind a shape's columns.
fn target<'a>(
    model: &'a Model,
    shape: &Shape,
    workflow: Option<&'a Workflow>,
) -> Result<Target<'a>> {
    let fields = shape.names().map(|name| model.field(name));
    let fields = fields.collect::<Result<Vec<_>>>()?;
    for at in &shape.key {
        model.searchable(&shape.columns[*at].name)?;
    }
    Ok(Target {
        model,
        fields,
        key: shape.key.clone(),
        workflow,
    })
}

/// How many changes can be worked on at once: of one shape, and no two of one record.
fn round(target: &Target<'_>, changes: &[Change]) -> usize {
    let mut keys = HashSet::new();
    let shape = changes.first().map(|change| Arc::clone(&change.shape));
    for (at, change) in changes.iter().enumerate() {
        let is_same = shape.as_ref().is_some_and(|shape| **shape == *change.shape);
        let rows = [Some(&change.row), change.before.as_ref()];
        let named = rows.into_iter().flatten();
        let mine: HashSet<String> = named
            .filter_map(|row| Some(written(&target.sought(row).ok()?)))
            .collect();
        let is_free = mine.iter().all(|key| !keys.contains(key));
        if !is_same || !is_free {
            return at;
        }
        keys.extend(mine);
    }
    changes.len()
}

/// A key as it can be looked up in a map.
fn written(key: &[Json]) -> String {
    Json::Array(key.to_vec()).to_string()
}

/// What a round has come to, by the position of its changes.
struct Round {
    outcomes: Vec<Option<Outcome>>,
    ids: Vec<Option<i64>>,
}

impl TrytonSink {
    /// Applies changes of different records.
    async fn work(&self, target: &Target<'_>, changes: &[Change]) -> Result<Vec<Outcome>> {
        let mut round = Round {
            outcomes: vec![None; changes.len()],
            ids: vec![None; changes.len()],
        };
        let all: Vec<usize> = (0..changes.len()).collect();
        let changed = self.go(target, changes, &all, &mut round).await?;
        // Once more for what somebody else changed in between: what is written is ours to say.
        for at in self.go(target, changes, &changed, &mut round).await? {
            round.outcomes[at] = Some(Refused::Changed.outcome(std::iter::empty()));
        }
        let outcomes = round.outcomes.into_iter();
        outcomes
            .map(|outcome| {
                outcome.ok_or_else(|| Error::unexpected("a change was left without an outcome"))
            })
            .collect()
    }

    /// Looks up, plans and carries out; gives what somebody else changed in between.
    async fn go(
        &self,
        target: &Target<'_>,
        changes: &[Change],
        which: &[usize],
        round: &mut Round,
    ) -> Result<Vec<usize>> {
        if which.is_empty() {
            return Ok(Vec::new());
        }
        let mut plans = Vec::with_capacity(which.len());
        let found = self.look_up(target, changes, which).await?;
        for at in which.iter().copied() {
            plans.push((at, plan(target, &changes[at], &found)));
        }
        let work = Work {
            client: &self.client,
            model: target.model.name(),
        };
        let (mut creates, mut deletes) = (Vec::new(), Vec::new());
        let mut writes: [Vec<Write>; 2] = Default::default();
        let (mut later, mut states) = (Vec::new(), Vec::new());
        for (at, plan) in plans {
            match plan {
                Plan::Say(outcome) => round.outcomes[at] = Some(outcome),
                Plan::Create {
                    values,
                    then,
                    state,
                } => {
                    creates.push((at, values));
                    later.extend(Some((at, then)).filter(|(_, then)| !then.is_empty()));
                    states.extend(state.map(|state| (at, state)));
                }
                Plan::Write {
                    id,
                    stamp,
                    writes: these,
                    state,
                    old,
                } => {
                    round.applied(at, id);
                    for (place, values) in these.into_iter().take(2).enumerate() {
                        writes[place].push(Write {
                            at,
                            id,
                            // The first write changes what the second would be compared with.
                            stamp: if place == 0 {
                                stamp.clone()
                            } else {
                                Json::Null
                            },
                            values,
                        });
                    }
                    states.extend(state.map(|state| (at, state)));
                    deletes.extend(old.map(|old| (at, old)));
                }
                Plan::Delete(gone) => deletes.push((at, gone)),
            }
        }
        let mut changed = Vec::new();
        for (at, result) in self.create(&work, target, changes, creates).await? {
            match result {
                Ok(id) => round.applied(at, id),
                Err(Refused::Changed) => changed.push(at),
                Err(refused) => round.refused(at, refused, changes),
            }
        }
        let [first, mut second] = writes;
        second.extend(later.into_iter().filter_map(|(at, values)| {
            let id = round.ids[at]?;
            let stamp = Json::Null;
            Some(Write {
                at,
                id,
                stamp,
                values,
            })
        }));
        let written: HashSet<usize> = first.iter().chain(&second).map(|write| write.at).collect();
        for writes in [first, second] {
            // What was refused once is not written further.
            let going = writes.into_iter().filter(|write| round.is_well(write.at));
            let done = work.write(going.collect()).await?;
            changed.extend(round.take(done, changes));
        }
        let going = deletes.into_iter().filter(|(at, _)| round.may_go(*at));
        let done = delete(&work, going.collect()).await?;
        changed.extend(round.take_deletes(done, changes));
        for (at, state) in states {
            if let (Some(id), Some(workflow), true) =
                (round.ids[at], target.workflow, round.is_well(at))
            {
                let texts = texts(&changes[at]);
                let outcome = work.bring(workflow, id, &state, &texts).await?;
                // Stale is what nothing was done about; here the columns are as they should be.
                if outcome != Outcome::Stale || !written.contains(&at) {
                    round.outcomes[at] = Some(outcome);
                }
            }
        }
        Ok(changed)
    }

    /// The records that have the keys of some changes, or the keys before them.
    async fn look_up(
        &self,
        target: &Target<'_>,
        changes: &[Change],
        which: &[usize],
    ) -> Result<HashMap<String, Vec<Json>>> {
        let mut keys = Vec::new();
        for at in which {
            let rows = [Some(&changes[*at].row), changes[*at].before.as_ref()];
            let named = rows.into_iter().flatten();
            keys.extend(named.filter_map(|row| target.sought(row).ok()));
        }
        let mut seen = HashSet::new();
        keys.retain(|key| seen.insert(written(key)));
        let columns = target.fields.iter().map(|field| field.name.as_str());
        let mut fields = target.model.reads(columns);
        fields.push("_timestamp");
        let mut found: HashMap<String, Vec<Json>> = HashMap::new();
        for record in self.find(target, &keys, &fields).await? {
            let key = target.held(&record);
            found.entry(written(&key)).or_default().push(record);
        }
        Ok(found)
    }

    async fn find(
        &self,
        target: &Target<'_>,
        keys: &[Vec<Json>],
        fields: &[&str],
    ) -> Result<Vec<Json>> {
        let domain = Domain {
            model: target.model,
            part: None,
        };
        lookup::by_keys(&self.client, &domain, &target.key(), keys, fields).await
    }

    /// Makes records, and looks whether each is the only one of its key: a call that was thought dead may have made another at the same time.
    async fn create(
        &self,
        work: &Work<'_>,
        target: &Target<'_>,
        changes: &[Change],
        records: Vec<(usize, Map<String, Json>)>,
    ) -> Result<Done<i64>> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let mut made = work.create(records).await?;
        let mut ours: HashMap<String, i64> = HashMap::new();
        let mut keys = Vec::new();
        for (at, id) in &made {
            if let (Ok(id), Ok(key)) = (id, target.sought(&changes[*at].row)) {
                ours.insert(written(&key), *id);
                keys.push(key);
            }
        }
        let mut fields = vec![ID];
        fields.extend(target.key().iter().map(|field| field.name.as_str()));
        let mut doubles = Vec::new();
        for record in self.find(target, &keys, &fields).await? {
            let key = target.held(&record);
            let id = record.get(ID).and_then(Json::as_i64);
            match (id, ours.get(&written(&key))) {
                // The older one stays; whoever made it comes to the same conclusion.
                (Some(other), Some(mine)) if other < *mine => doubles.push(*mine),
                _ => {}
            }
        }
        if doubles.is_empty() {
            return Ok(made);
        }
        tracing::warn!(
            model = target.model.name(),
            count = doubles.len(),
            "records were made a second time at the same moment; the newer ones are removed"
        );
        let gone = doubles.iter().map(|id| {
            let (id, stamp) = (*id, Json::Null);
            (0, Gone { id, stamp })
        });
        work.delete(gone.collect()).await?;
        for (_, result) in &mut made {
            // The one that stays is looked up and written as any other.
            if matches!(result, Ok(id) if doubles.contains(id)) {
                *result = Err(Refused::Changed);
            }
        }
        Ok(made)
    }
}

/// Deletes records; one that is gone already is as wanted.
async fn delete(work: &Work<'_>, records: Vec<(usize, Gone)>) -> Result<Done<()>> {
    let mut done = Vec::with_capacity(records.len());
    let by_position: HashMap<usize, i64> =
        records.iter().map(|(at, gone)| (*at, gone.id)).collect();
    for (at, result) in work.delete(records).await? {
        let is_gone = match (&result, by_position.get(&at)) {
            (Err(_), Some(id)) => {
                let found = lookup::one(work.client, work.model, *id, &[ID]);
                found.await?.is_none()
            }
            _ => false,
        };
        done.push((at, if is_gone { Ok(()) } else { result }));
    }
    Ok(done)
}

fn plan(target: &Target<'_>, change: &Change, found: &HashMap<String, Vec<Json>>) -> Plan {
    let none = Vec::new();
    let key = match target.sought(&change.row) {
        Ok(key) => key,
        Err(_) if change.op == Op::Truncated => {
            return Plan::Say(Outcome::Rejected {
                reason: "a business system is not emptied: delete the records in tryton, or let their deletes come one by one".to_owned(),
            });
        }
        Err(outcome) => return Plan::Say(outcome),
    };
    let now = found.get(&written(&key)).unwrap_or(&none);
    match change.op {
        Op::Deleted => target.delete(now),
        _ => {
            let before = change.before.as_ref();
            let old = before.and_then(|row| target.sought(row).ok());
            let old = old.filter(|old| *old != key);
            let old = old.and_then(|old| found.get(&written(&old)));
            target.upsert(change, now, old.unwrap_or(&none))
        }
    }
}

/// What a row holds, as it may stand in a message.
fn texts(change: &Change) -> Vec<String> {
    let rows = [Some(&change.row), change.before.as_ref()];
    let cells = rows.into_iter().flatten().flat_map(|row| &row.0);
    let values = cells.filter_map(|cell| cell.value());
    values
        .filter(|value| !matches!(value, Value::Null | Value::Bool(_)))
        .map(Value::to_string)
        .collect()
}

impl Round {
    fn applied(&mut self, at: usize, id: i64) {
        self.ids[at] = Some(id);
        self.outcomes[at] = Some(Outcome::Applied {
            target_id: Some(Value::Int(id)),
        });
    }

    fn refused(&mut self, at: usize, refused: Refused, changes: &[Change]) {
        let texts = texts(&changes[at]);
        self.outcomes[at] = Some(refused.outcome(texts.iter().map(String::as_str)));
    }

    fn is_well(&self, at: usize) -> bool {
        matches!(self.outcomes[at], Some(Outcome::Applied { .. }))
    }

    /// Whether a delete may follow: it is all there is to do, or what came before it went well.
    fn may_go(&self, at: usize) -> bool {
        self.outcomes[at].is_none() || self.is_well(at)
    }

    /// Notes what was refused; gives what somebody else changed.
    fn take(&mut self, done: Done<()>, changes: &[Change]) -> Vec<usize> {
        let mut changed = Vec::new();
        for (at, result) in done {
            match result {
                Ok(()) => {}
                Err(Refused::Changed) => {
                    self.outcomes[at] = None;
                    changed.push(at);
                }
                Err(refused) => self.refused(at, refused, changes),
            }
        }
        changed
    }

    fn take_deletes(&mut self, done: Done<()>, changes: &[Change]) -> Vec<usize> {
        for (at, result) in &done {
            if result.is_ok() && self.outcomes[*at].is_none() {
                self.outcomes[*at] = Some(Outcome::APPLIED);
            }
        }
        self.take(done, changes)
    }
}
