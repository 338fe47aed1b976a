//! The sink: records are looked up by their key, and what differs is written in batches.
//!
//! Whatever is repeated finds what is there: a record is never made twice by one writer.
//! A record that somebody else changed in between is looked at once more, and then is a conflict.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::connector::{Batch, Finding, Limits, OpenContext, Outcome, Receipt, Sink};
use lockstep_core::{Change, Error, Result, Shape, Value};
use lockstep_http_client::Json;

use crate::batch::{Operation, Reply};
use crate::check;
use crate::client::Api;
use crate::config::{BatchStyle, ChangeSets, Config};
use crate::lookup;
use crate::plan::{Plan, Step, Target, What};
use crate::query;
use crate::reader::discover;
use crate::refusal::Refusal;

/// How long a batch may take.
const DEADLINE: Duration = Duration::from_secs(600);

/// Applies changes to an OData service.
#[derive(Debug)]
pub struct ODataSink {
    api: Api,
    names: Vec<String>,
}

impl Sink for ODataSink {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        Ok(ODataSink {
            api: Api::open(config, &cx)?,
            names: cx.tables,
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        discover(&self.api, &self.names).await
    }

    async fn check(&self, targets: &[Arc<Shape>]) -> Result<Vec<Finding>> {
        check::writes(&self.api, targets).await
    }

    async fn prepare(&self, targets: &[Arc<Shape>]) -> Result<()> {
        for shape in targets {
            self.target(shape).await?;
        }
        Ok(())
    }

    async fn apply(&self, batch: &Batch) -> Result<Receipt> {
        let mut outcomes = Vec::with_capacity(batch.changes.len());
        let mut rest = batch.changes.as_slice();
        while let Some(first) = rest.first() {
            let target = self.target(&first.shape).await?;
            let (now, later) = rest.split_at(round(&target, rest).max(1));
            outcomes.extend(self.work(&target, now).await?);
            rest = later;
        }
        Ok(Receipt::Committed(outcomes))
    }

    fn limits(&self) -> Limits {
        Limits {
            batch_max: self.api.config.batch_max,
            progress: false,
            writers: 1,
            deadline: DEADLINE,
        }
    }
}

/// How many changes can be worked on at once: of one shape, and no two of one record.
fn round(target: &Target, changes: &[Change]) -> usize {
    let mut keys = HashSet::new();
    for (at, change) in changes.iter().enumerate() {
        let rows = [Some(&change.row), change.before.as_ref()];
        let mine: HashSet<String> = rows
            .into_iter()
            .flatten()
            .filter_map(|row| Some(token(&target.key_of(row)?)))
            .collect();
        if *change.shape != *changes[0].shape || mine.iter().any(|key| keys.contains(key)) {
            return at;
        }
        keys.extend(mine);
    }
    changes.len()
}

/// A key as it can be looked up in a map.
fn token(key: &[Value]) -> String {
    let parts: Vec<String> = key.iter().map(|value| format!("{value:?}")).collect();
    parts.join("\u{1f}")
}

/// One change at work.
struct Work {
    /// Which change of the round it is.
    at: usize,
    steps: std::vec::IntoIter<Step>,
    id: Option<Value>,
}

impl ODataSink {
    async fn target(&self, shape: &Shape) -> Result<Target> {
        let table = self.api.table(&shape.name).await?;
        let items = table.items(shape.names())?;
        let names = shape.key.iter().map(|at| shape.columns[*at].name.as_str());
        let key = lookup::properties(&table, names)?;
        if key.is_empty() {
            return Err(check::no_place(&shape.name));
        }
        let names: HashSet<&str> = key.iter().map(|property| property.name.as_str()).collect();
        let is_own = names == table.set.key.iter().map(String::as_str).collect();
        Ok(Target {
            table,
            items,
            at: shape.key.clone(),
            key,
            is_own,
        })
    }

    /// Applies changes of different records.
    async fn work(&self, target: &Target, changes: &[Change]) -> Result<Vec<Outcome>> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; changes.len()];
        let all: Vec<usize> = (0..changes.len()).collect();
        let changed = self.go(target, changes, &all, &mut outcomes).await?;
        // Once more for what somebody else changed in between.
        for at in self.go(target, changes, &changed, &mut outcomes).await? {
            outcomes[at] = Some(Outcome::Conflict {
                reason: "somebody else changes the record at the same time".to_owned(),
            });
        }
        let missing = || Error::unexpected("a change was left without an outcome");
        outcomes
            .into_iter()
            .map(|one| one.ok_or_else(missing))
            .collect()
    }

    /// Looks up, plans and carries out; gives what somebody else changed in between.
    async fn go(
        &self,
        target: &Target,
        changes: &[Change],
        which: &[usize],
        outcomes: &mut [Option<Outcome>],
    ) -> Result<Vec<usize>> {
        if which.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.look_up(target, changes, which).await?;
        let none = Vec::new();
        let records = |key: Option<Vec<Value>>| match key {
            Some(key) => found.get(&token(&key)).unwrap_or(&none),
            None => &none,
        };
        let mut works = Vec::new();
        for at in which.iter().copied() {
            let change = &changes[at];
            let key = target.key_of(&change.row);
            let old = change.before.as_ref().and_then(|row| target.key_of(row));
            let old = old.filter(|old| key.as_ref() != Some(old));
            match target.plan(change, records(key), records(old)) {
                Plan::Say(outcome) => outcomes[at] = Some(outcome),
                Plan::Send { steps, id } => works.push(Work {
                    at,
                    steps: steps.into_iter(),
                    id,
                }),
            }
        }
        let mut changed = Vec::new();
        while !works.is_empty() {
            works = self
                .step(target, changes, works, outcomes, &mut changed)
                .await?;
        }
        Ok(changed)
    }

    /// The records that have the keys of some changes, or the keys before them.
    async fn look_up(
        &self,
        target: &Target,
        changes: &[Change],
        which: &[usize],
    ) -> Result<HashMap<String, Vec<Json>>> {
        let mut keys = Vec::new();
        for at in which {
            let rows = [Some(&changes[*at].row), changes[*at].before.as_ref()];
            keys.extend(
                rows.into_iter()
                    .flatten()
                    .filter_map(|row| target.key_of(row)),
            );
        }
        let mut seen = HashSet::new();
        keys.retain(|key| seen.insert(token(key)));
        let found =
            lookup::find(&self.api, &target.table, &target.items, &target.key, &keys).await?;
        let mut records: HashMap<String, Vec<Json>> = HashMap::new();
        for record in found {
            let key = lookup::values(&record, &target.key);
            records.entry(token(&key)).or_default().push(record);
        }
        Ok(records)
    }

    /// Carries out the next step of every change; gives those that go on.
    async fn step(
        &self,
        target: &Target,
        changes: &[Change],
        mut works: Vec<Work>,
        outcomes: &mut [Option<Outcome>],
        changed: &mut Vec<usize>,
    ) -> Result<Vec<Work>> {
        let steps: Vec<Step> = works
            .iter_mut()
            .filter_map(|work| work.steps.next())
            .collect();
        let operations: Vec<Operation> = steps.iter().map(|step| step.operation.clone()).collect();
        let replies = self.send(&operations).await?;
        let mut going = Vec::new();
        for ((mut work, step), reply) in works.into_iter().zip(steps).zip(replies) {
            let at = work.at;
            match (step.what, reply.status) {
                (What::Delete, 404 | 410) | (_, 200..=299) => {
                    if step.what == What::Create {
                        work.id = made(target, &reply).or(own_key(target, &changes[at]));
                    }
                    let is_delete = !changes[at].op.is_upsert();
                    let target_id = work.id.clone().filter(|_| !is_delete);
                    outcomes[at] = Some(Outcome::Applied { target_id });
                    if work.steps.len() > 0 {
                        going.push(work);
                    }
                }
                // Changed, made or gone since it was looked up.
                (_, 412) | (What::Update, 404 | 410) => {
                    outcomes[at] = None;
                    changed.push(at);
                }
                (What::Create, 404) => {
                    outcomes[at] = Some(Outcome::Waiting {
                        on: "a record that it refers to".to_owned(),
                    });
                }
                _ => outcomes[at] = Some(Refusal::of(&reply).outcome(&texts(&changes[at]))),
            }
        }
        Ok(going)
    }

    /// Sends operations until each is answered: a service may stop at the first that it refuses.
    async fn send(&self, operations: &[Operation]) -> Result<Vec<Reply>> {
        if self.api.config.change_sets == ChangeSets::Together
            && self.api.config.batch != BatchStyle::None
        {
            return self.together(operations).await;
        }
        let mut replies: Vec<Option<Reply>> = vec![None; operations.len()];
        loop {
            let open: Vec<usize> = (0..operations.len())
                .filter(|at| replies[*at].is_none())
                .collect();
            if open.is_empty() {
                return Ok(replies.into_iter().flatten().collect());
            }
            let rest: Vec<Operation> = open.iter().map(|at| operations[*at].clone()).collect();
            let answered = self.api.write(&rest).await?;
            if answered.iter().all(Option::is_none) {
                return Err(Error::transient(format!(
                    "system `{}` answered nothing of a batch",
                    self.api.system()
                )));
            }
            for (at, reply) in open.into_iter().zip(answered) {
                replies[at] = reply;
            }
        }
    }

    /// Sends operations in one change set, in halves where it is refused.
    async fn together(&self, operations: &[Operation]) -> Result<Vec<Reply>> {
        let mut done = Vec::with_capacity(operations.len());
        let mut waiting = vec![operations];
        while let Some(part) = waiting.pop() {
            if part.is_empty() {
                continue;
            }
            let replies: Vec<Reply> = self.api.write(part).await?.into_iter().flatten().collect();
            let is_done = replies.len() == part.len() && replies.iter().all(|one| one.status < 400);
            if is_done || part.len() == 1 {
                let missing = || Error::transient("a change set was not answered");
                if replies.is_empty() {
                    return Err(missing());
                }
                done.extend(replies);
                continue;
            }
            let (left, right) = part.split_at(part.len() / 2);
            waiting.push(right);
            waiting.push(left);
        }
        Ok(done)
    }
}

/// The own id of a record that was made: in the answer's body, or in the address that it tells.
fn made(target: &Target, reply: &Reply) -> Option<Value> {
    let body = reply.json().and_then(|record| target.table.own_id(&record));
    body.or_else(|| {
        let address = reply
            .header("odata-entityid")
            .or_else(|| reply.header("location"))?;
        match query::key_of(&target.table, address)?.as_slice() {
            [only] => Some(only.clone()),
            _ => None,
        }
    })
}

/// The own id, where the contract's key is the entity's.
fn own_key(target: &Target, change: &Change) -> Option<Value> {
    let key = target.key_of(&change.row).filter(|_| target.is_own)?;
    match key.as_slice() {
        [only] => Some(only.clone()),
        several => {
            let pairs: Vec<_> = target.key.iter().zip(several.iter().cloned()).collect();
            query::predicate(&pairs).map(Value::Text)
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
