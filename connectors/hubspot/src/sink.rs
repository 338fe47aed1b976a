//! The sink: records are read by their key, and what differs is written in batches, by the vendor's own upsert.
//!
//! The property that the contract's key maps to has unique values, so that whatever is repeated finds what is there: a record is never made twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::connector::{Batch, Finding, Limits, OpenContext, Outcome, Receipt, Sink};
use lockstep_core::{Change, Error, Op, Result, Shape, Value};
use serde_json::{Map, Value as Json, json};

use crate::check;
use crate::client::{Api, BATCH_MAX, Refusal, Written};
use crate::config::Config;
use crate::convert;
use crate::links;
use crate::properties::Tables;
use crate::reader::discover;
use crate::table::{Item, Table, asked, cell, held, id, linked};

/// How long a batch may take.
const DEADLINE: Duration = Duration::from_secs(300);

/// Applies changes to a HubSpot account.
#[derive(Debug)]
pub struct HubSpotSink {
    api: Api,
    names: Vec<String>,
    tables: Tables,
}

/// How records of one shape are told apart and written.
#[derive(Debug)]
struct Target {
    table: Arc<Table>,
    /// Where the key is in the shape.
    at: usize,
    /// The property of unique values that holds it; none where it is HubSpot's own id.
    by: Option<String>,
    items: Vec<Item>,
}

/// A record that is to be made or changed.
#[derive(Debug)]
struct Pending {
    /// Which change of the batch it is.
    at: usize,
    key: String,
    properties: Map<String, Json>,
}

/// One run of changes of one shape.
struct Work<'a> {
    api: &'a Api,
    target: &'a Target,
    /// The records that are there, by their keys.
    held: HashMap<String, Json>,
    pending: Vec<Pending>,
    outcomes: BTreeMap<usize, Outcome>,
}

impl Sink for HubSpotSink {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        let api = Api::open(&config, &cx)?;
        Ok(HubSpotSink {
            tables: Tables::new(api.clone(), config),
            api,
            names: cx.tables,
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        discover(&self.api, &self.tables, &self.names).await
    }

    async fn check(&self, targets: &[Arc<Shape>]) -> Result<Vec<Finding>> {
        check::writes(&self.api, &self.tables, targets).await
    }

    async fn prepare(&self, targets: &[Arc<Shape>]) -> Result<()> {
        for shape in targets {
            self.target(shape).await?;
        }
        Ok(())
    }

    async fn apply(&self, batch: &Batch) -> Result<Receipt> {
        let mut outcomes = Vec::with_capacity(batch.changes.len());
        // Runs of one shape, so that references of one table are there before those of the next.
        let runs = batch
            .changes
            .chunk_by(|a, b| Arc::ptr_eq(&a.shape, &b.shape) || a.shape == b.shape);
        for run in runs {
            let target = self.target(&run[0].shape).await?;
            let mut work = Work {
                api: &self.api,
                target: &target,
                held: HashMap::new(),
                pending: Vec::new(),
                outcomes: BTreeMap::new(),
            };
            work.read(run).await?;
            for (at, change) in run.iter().enumerate() {
                work.take(at, change, run).await?;
            }
            work.flush(run).await?;
            outcomes.extend((0..run.len()).map(|at| {
                let told = work.outcomes.remove(&at);
                told.unwrap_or_else(|| rejected("nothing was told of it"))
            }));
        }
        Ok(Receipt::Committed(outcomes))
    }

    fn limits(&self) -> Limits {
        Limits {
            batch_max: BATCH_MAX,
            progress: false,
            writers: 1,
            deadline: DEADLINE,
        }
    }
}

impl HubSpotSink {
    async fn target(&self, shape: &Shape) -> Result<Target> {
        let table = self.tables.get(&shape.name).await?;
        let names: Vec<String> = shape.names().map(str::to_owned).collect();
        let items = table.items(&names)?;
        let (at, by) = match shape.key.as_slice() {
            [at] => match items.get(*at) {
                Some(Item::Id) => (*at, None),
                Some(Item::Property(property)) if property.is_unique || !table.is_described => {
                    (*at, Some(property.name.clone()))
                }
                _ => return Err(check::no_place(&shape.name)),
            },
            _ => return Err(check::no_place(&shape.name)),
        };
        Ok(Target {
            table,
            at,
            by,
            items,
        })
    }
}

impl Work<'_> {
    /// Reads every record that these changes may concern.
    async fn read(&mut self, run: &[Change]) -> Result<()> {
        let rows = run
            .iter()
            .flat_map(|change| [Some(&change.row), change.before.as_ref()]);
        let keys: BTreeSet<String> = rows
            .flatten()
            .filter_map(|row| self.key(row.value(self.target.at)))
            .collect();
        let keys: Vec<String> = keys.into_iter().collect();
        let mut names = asked(&self.target.items);
        names.extend(self.target.by.clone());
        let (table, by) = (&self.target.table.name, self.target.by.as_deref());
        let read = self.api.read(table, &keys, by, &names).await?;
        let mut records = read.ok_or_else(|| check::no_place(table))?;
        links::attach(self.api, table, &linked(&self.target.items), &mut records).await?;
        for record in records {
            self.hold(record);
        }
        Ok(())
    }

    fn key(&self, value: Option<&Value>) -> Option<String> {
        let text = value.filter(|value| !value.is_null())?.to_string();
        Some(text).filter(|text| !text.is_empty())
    }

    fn hold(&mut self, record: Json) {
        let key = cell(&record, &self.target.items[self.target.at]);
        if let Some(key) = self.key(Some(&key)) {
            self.held.insert(key, record);
        }
    }

    async fn take(&mut self, at: usize, change: &Change, run: &[Change]) -> Result<()> {
        let target = self.target;
        if change.op == Op::Truncated {
            let why = "objects of HubSpot are not emptied at once: delete their records";
            self.outcomes.insert(at, rejected(why));
            return Ok(());
        }
        let Some(key) = self.key(change.row.value(target.at)) else {
            self.outcomes.insert(at, rejected("the key is null"));
            return Ok(());
        };
        let old = change
            .before
            .as_ref()
            .and_then(|row| self.key(row.value(target.at)));
        let old = old.filter(|old| *old != key);
        let is_busy = |key: &String| self.pending.iter().any(|pending| pending.key == *key);
        if !change.op.is_upsert()
            || old.is_some()
            || is_busy(&key)
            || self.pending.len() == BATCH_MAX
        {
            self.flush(run).await?;
        }
        if !change.op.is_upsert() {
            let outcome = self.archive(&key).await?;
            self.outcomes.insert(at, outcome);
            return Ok(());
        }
        if let Some(old) = old {
            match self.held.remove(&old) {
                Some(record) if !self.held.contains_key(&key) && target.by.is_some() => {
                    return self.rekey(at, change, &key, record).await;
                }
                Some(record) => {
                    self.held.insert(old.clone(), record);
                    self.archive(&old).await?;
                }
                None => {}
            }
        }
        let record = self.held.get(&key);
        if record.is_none() && target.by.is_none() {
            let why = "there is no such record, and HubSpot gives ids itself";
            self.outcomes.insert(at, rejected(why));
            return Ok(());
        }
        if record.is_none() && !change.row.is_whole() {
            let why = "the record is not there, and only some of its columns were sent";
            self.outcomes.insert(at, rejected(why));
            return Ok(());
        }
        match self.differing(change, record) {
            Err(why) => {
                self.outcomes.insert(at, rejected(why));
            }
            Ok(properties) if record.is_some() && properties.is_empty() => {
                self.settle(at, change, &key).await?;
            }
            Ok(properties) => self.pending.push(Pending {
                at,
                key,
                properties,
            }),
        }
        Ok(())
    }

    /// The properties that a record does not hold as a change says; all that are set, where there is none.
    fn differing(
        &self,
        change: &Change,
        record: Option<&Json>,
    ) -> Result<Map<String, Json>, String> {
        let mut properties = Map::new();
        for (at, item) in self.target.items.iter().enumerate() {
            let (Some(value), Item::Property(property)) = (change.row.value(at), item) else {
                continue;
            };
            let wanted = convert::write(value, &property.name, property.form)?;
            let is_there = match record {
                Some(record) => {
                    convert::is_same(held(record, &property.name), &wanted, property.form)
                }
                None => wanted.is_empty(),
            };
            if !is_there {
                properties.insert(property.name.clone(), Json::String(wanted));
            }
        }
        Ok(properties)
    }

    /// Sends what is waiting, as one batch; one by one where that is refused, so that each is told its own reason.
    async fn flush(&mut self, run: &[Change]) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return Ok(());
        }
        let inputs: Vec<Json> = pending.iter().map(|one| self.input(one)).collect();
        let written = self.write(&inputs).await?;
        let is_whole = matches!(&written, Written::Done(records) if records.len() == inputs.len());
        if is_whole {
            self.noted(written).await?;
        }
        for one in pending {
            if !is_whole {
                match self.write(&[self.input(&one)]).await? {
                    Written::Refused(refusal) => {
                        let values = one.properties.values().filter_map(Json::as_str);
                        let reason = refusal.words(values.chain([one.key.as_str()]));
                        self.outcomes.insert(one.at, rejected(reason));
                        continue;
                    }
                    written => self.noted(written).await?,
                }
            }
            self.settle(one.at, &run[one.at], &one.key).await?;
        }
        Ok(())
    }

    fn input(&self, one: &Pending) -> Json {
        match &self.target.by {
            Some(by) => json!({ "id": one.key, "idProperty": by, "properties": one.properties }),
            None => json!({ "id": one.key, "properties": one.properties }),
        }
    }

    async fn write(&self, inputs: &[Json]) -> Result<Written> {
        let what = if self.target.by.is_some() {
            "upsert"
        } else {
            "update"
        };
        self.api.batch(&self.target.table.name, what, inputs).await
    }

    /// Takes note of records that were written: an answer need not hold every property, so they are read.
    async fn noted(&mut self, written: Written) -> Result<()> {
        let Written::Done(records) = written else {
            return Ok(());
        };
        let ids: Vec<String> = records.iter().filter_map(id).map(str::to_owned).collect();
        let mut names = asked(&self.target.items);
        names.extend(self.target.by.clone());
        let table = &self.target.table.name;
        let mut records = self
            .api
            .read(table, &ids, None, &names)
            .await?
            .unwrap_or_default();
        links::attach(self.api, table, &linked(&self.target.items), &mut records).await?;
        for record in records {
            self.hold(record);
        }
        Ok(())
    }

    /// A record holds its properties: what it is associated with, and what is told of it.
    async fn settle(&mut self, at: usize, change: &Change, key: &str) -> Result<()> {
        let Some(mut record) = self.held.get(key).cloned() else {
            return Err(
                Error::transient("a record that was written is not found by its key")
                    .help("it is looked up and tried again"),
            );
        };
        let own = id(&record).unwrap_or_default().to_owned();
        let outcome = match self.associate(change, &own, &mut record).await? {
            Some(outcome) => outcome,
            None => Outcome::Applied {
                target_id: Some(Value::text(own)),
            },
        };
        self.held.insert(key.to_owned(), record);
        self.outcomes.insert(at, outcome);
        Ok(())
    }

    async fn associate(
        &self,
        change: &Change,
        own: &str,
        record: &mut Json,
    ) -> Result<Option<Outcome>> {
        let table = &self.target.table.name;
        for (at, item) in self.target.items.iter().enumerate() {
            let (Some(value), Item::Link(to)) = (change.row.value(at), item) else {
                continue;
            };
            let wanted = self.key(Some(value));
            let there = links::all(record, to);
            if let Some(other) = wanted.as_ref().filter(|other| !there.contains(*other))
                && let Some(refusal) = self.api.link(table, own, to, other, true).await?
            {
                return Ok(Some(unlinked(&refusal, to)));
            }
            for other in there.iter().filter(|other| Some(*other) != wanted.as_ref()) {
                if let Some(refusal) = self.api.link(table, own, to, other, false).await?
                    && refusal.status != 404
                {
                    return Ok(Some(unlinked(&refusal, to)));
                }
            }
            let now: Vec<String> = wanted.into_iter().collect();
            links::note(record, to, &now);
        }
        Ok(None)
    }

    /// Gives a record another key, with everything else that the change says.
    async fn rekey(&mut self, at: usize, change: &Change, key: &str, record: Json) -> Result<()> {
        let own = id(&record).unwrap_or_default().to_owned();
        let properties = match self.differing(change, Some(&record)) {
            Ok(properties) => properties,
            Err(why) => {
                self.outcomes.insert(at, rejected(why));
                return Ok(());
            }
        };
        let input = json!({ "id": own, "properties": properties });
        match self
            .api
            .batch(&self.target.table.name, "update", &[input])
            .await?
        {
            Written::Refused(refusal) => {
                let values = properties.values().filter_map(Json::as_str);
                self.outcomes.insert(at, rejected(refusal.words(values)));
                Ok(())
            }
            written => {
                self.noted(written).await?;
                self.settle(at, change, key).await
            }
        }
    }

    async fn archive(&mut self, key: &str) -> Result<Outcome> {
        let Some(record) = self.held.remove(key) else {
            return Ok(Outcome::APPLIED);
        };
        let inputs = [json!({ "id": id(&record).unwrap_or_default() })];
        let table = &self.target.table.name;
        Ok(match self.api.batch(table, "archive", &inputs).await? {
            Written::Done(_) => Outcome::APPLIED,
            Written::Refused(refusal) if refusal.status == 404 => Outcome::APPLIED,
            Written::Refused(refusal) => rejected(refusal.words([key].into_iter())),
        })
    }
}

fn rejected(reason: impl Into<String>) -> Outcome {
    Outcome::Rejected {
        reason: reason.into(),
    }
}

/// What a refused association means: the other record is not there, or such two cannot be associated.
fn unlinked(refusal: &Refusal, to: &str) -> Outcome {
    if refusal.status == 404 || refusal.category.contains("NOT_FOUND") {
        return Outcome::Waiting {
            on: format!("the record of `{to}` that it is associated with"),
        };
    }
    rejected(refusal.words(std::iter::empty()))
}
