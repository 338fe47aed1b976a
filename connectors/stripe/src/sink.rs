//! The sink: one change after the other, each looked up before it is written.
//!
//! Stripe has no transactions and no place for progress, so a batch may stop anywhere and be sent again: what is there already is found and left as it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::connector::{Batch, Finding, Limits, OpenContext, Outcome, Receipt, Sink};
use lockstep_core::{Change, Error, Op, Result, Shape, Value};
use lockstep_http_client::Path;
use serde_json::Value as Json;

use crate::act::{self, Removal, Step};
use crate::check;
use crate::client::{Api, Refusal, Written, all, one};
use crate::config::Config;
use crate::form::Pairs;
use crate::lookup::Lookup;
use crate::reader::{discover, each};
use crate::table::{ID, Table};
use crate::writer::{self, Wanted, id, key_text, release};

/// Most changes of a batch: each may take several calls.
const BATCH_MAX: usize = 50;
/// How long a batch may take.
const DEADLINE: Duration = Duration::from_secs(300);
/// How often one object is made under a key that was used up.
const KEYS_MAX: usize = 4;

/// Applies changes to a Stripe account.
#[derive(Debug)]
pub struct StripeSink {
    api: Api,
    config: Config,
    system: String,
    tables: Vec<String>,
    lookup: Lookup,
}

/// How records of one shape are told apart.
#[derive(Clone, Debug)]
struct Target {
    table: Table,
    /// Where the key is in the shape.
    at: usize,
    /// The name in the metadata that holds it; none where it is Stripe's own id.
    name: Option<String>,
}

/// The objects that a batch may concern, by table and key.
type Found = HashMap<(&'static str, String), BTreeMap<String, Json>>;

impl Sink for StripeSink {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        let api = Api::open(&config, &cx)?;
        Ok(StripeSink {
            lookup: Lookup::new(api.clone(), config.listing_max),
            api,
            config,
            system: cx.system,
            tables: cx.tables,
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        discover(&self.api, &self.config, &self.tables).await
    }

    async fn check(&self, targets: &[Arc<Shape>]) -> Result<Vec<Finding>> {
        check::writes(&self.api, &self.config, targets).await
    }

    async fn prepare(&self, targets: &[Arc<Shape>]) -> Result<()> {
        for shape in targets {
            self.target(shape)?;
        }
        Ok(())
    }

    async fn apply(&self, batch: &Batch) -> Result<Receipt> {
        let mut found = self.find(&batch.changes).await?;
        let mut outcomes = Vec::with_capacity(batch.changes.len());
        for change in &batch.changes {
            let target = self.target(&change.shape)?;
            outcomes.push(self.apply_one(&target, change, &mut found).await?);
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

impl StripeSink {
    fn target(&self, shape: &Shape) -> Result<Target> {
        let table = Table::of(&shape.name, &self.config)?;
        let column = match shape.key.as_slice() {
            [at] => shape
                .columns
                .get(*at)
                .map(|column| (*at, column.name.clone())),
            _ => None,
        };
        let named = column.and_then(|(at, column)| {
            if column == ID {
                return Some((at, None));
            }
            let item = table.item(&column).ok()?;
            Some((at, Some(item.metadata()?.to_owned())))
        });
        match named {
            Some((at, name)) => Ok(Target { table, at, name }),
            None => Err(check::no_place(&shape.name)),
        }
    }

    /// Reads every object that a batch may concern.
    async fn find(&self, changes: &[Change]) -> Result<Found> {
        let mut keys: BTreeMap<(&'static str, Option<String>), BTreeSet<String>> = BTreeMap::new();
        for change in changes {
            let target = self.target(&change.shape)?;
            let rows = [Some(&change.row), change.before.as_ref()];
            let texts = rows
                .into_iter()
                .flatten()
                .filter_map(|row| key_text(row, target.at));
            keys.entry((target.table.kind.table, target.name))
                .or_default()
                .extend(texts);
        }
        let mut found = Found::new();
        for ((table, name), keys) in keys {
            let table = Table::of(table, &self.config)?;
            let keys: Vec<String> = keys.into_iter().collect();
            let ids: BTreeSet<String> = match &name {
                None => keys.into_iter().collect(),
                Some(name) => {
                    let ids = self.lookup.find(table.kind, name, &keys).await?;
                    ids.into_values().flatten().collect()
                }
            };
            for (id, object) in self.api.objects(table.kind, ids, &[]).await? {
                let Some(object) = object else { continue };
                // What the search says may be old; the object itself says what it bears.
                let key = match &name {
                    None => Some(id.clone()),
                    Some(name) => borne(&object, name),
                };
                if let Some(key) = key {
                    found
                        .entry((table.kind.table, key))
                        .or_default()
                        .insert(id, object);
                }
            }
        }
        Ok(found)
    }

    async fn apply_one(
        &self,
        target: &Target,
        change: &Change,
        found: &mut Found,
    ) -> Result<Outcome> {
        if change.op == Op::Truncated {
            return self.empty(target, change, found).await;
        }
        let Some(key) = key_text(&change.row, target.at) else {
            return Ok(rejected("the key is null"));
        };
        let table = target.table.kind.table;
        let old = change
            .before
            .as_ref()
            .and_then(|before| key_text(before, target.at));
        let old = old.filter(|old| *old != key);
        let mut now = found
            .get(&(table, key.clone()))
            .cloned()
            .unwrap_or_default();
        if !change.op.is_upsert() {
            let mut outcome = Outcome::APPLIED;
            for (id, object) in now {
                outcome = self
                    .remove(target, change, &key, &id, &object, found)
                    .await?;
                if outcome != Outcome::APPLIED {
                    break;
                }
            }
            return Ok(outcome);
        }
        if let Some(old) = old {
            let before = found
                .get(&(table, old.clone()))
                .cloned()
                .unwrap_or_default();
            if now.is_empty() && target.name.is_some() {
                // The record under the old key is the one: it gets the new key with the rest.
                now = before;
            } else {
                for (id, object) in before {
                    self.remove(target, change, &old, &id, &object, found)
                        .await?;
                }
            }
        }
        if now.len() > 1 {
            return Ok(Outcome::Conflict {
                reason: format!("{} records of `{table}` bear the same identity", now.len()),
            });
        }
        let wanted = match Wanted::of(&target.table, &change.shape, &change.row) {
            Ok(wanted) => wanted,
            Err(why) => return Ok(rejected(why)),
        };
        let object = match now.into_values().next() {
            Some(object) => object,
            None if !change.row.is_whole() => {
                return Ok(rejected(
                    "the record is not there, and only some of its columns were sent",
                ));
            }
            None => match self.create(target, change, &key, &wanted).await? {
                Ok(object) => object,
                Err(outcome) => return Ok(outcome),
            },
        };
        let object = match self.update(target, change, &wanted, object).await? {
            Ok(object) => object,
            Err(outcome) => return Ok(outcome),
        };
        if let Some(name) = &target.name
            && borne(&object, name).as_deref() != Some(&*key)
        {
            return Err(Error::unsupported(format!(
                "the server does not keep `metadata.{name}` of `{table}`, by which records are found again"
            ))
            .help("nothing more is written, because every repetition would make another record; map the key to `id`"));
        }
        self.note(target, &key, &object, found).await;
        Ok(Outcome::Applied {
            target_id: id(&object).map(Value::text),
        })
    }

    /// Removes every object that bears an identity; others were not brought by anybody.
    async fn empty(&self, target: &Target, change: &Change, found: &mut Found) -> Result<Outcome> {
        let Some(name) = &target.name else {
            return Ok(rejected(
                "records are emptied only where their identity stands in the metadata",
            ));
        };
        let kind = target.table.kind;
        let list = kind.list.iter();
        let parameters: Vec<(&str, String)> = list
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        let mut all = Vec::new();
        each(&self.api, &target.table, &parameters, |object| {
            if let (Some(key), Some(id)) = (borne(object, name), id(object)) {
                all.push((key, id.to_owned(), object.clone()));
            }
            Ok(())
        })
        .await?;
        for (key, id, object) in all {
            let outcome = self
                .remove(target, change, &key, &id, &object, found)
                .await?;
            if outcome != Outcome::APPLIED {
                return Ok(outcome);
            }
        }
        Ok(Outcome::APPLIED)
    }

    /// Makes an object that is not there.
    async fn create(
        &self,
        target: &Target,
        change: &Change,
        key: &str,
        wanted: &Wanted,
    ) -> Result<Result<Json, Outcome>> {
        let kind = target.table.kind;
        if !kind.made {
            return Ok(Err(rejected(format!("`{}` cannot be made", kind.table))));
        }
        if target.name.is_none() && !kind.named {
            return Ok(Err(rejected(format!(
                "there is no such record, and Stripe gives the ids of `{}` itself",
                kind.table
            ))));
        }
        // From here on until an answer is read, nobody knows whether it was made: also where this is dropped.
        self.lookup.begin(kind);
        let made = self.make(target, change, key, wanted).await?;
        self.lookup.end(kind);
        Ok(made)
    }

    async fn make(
        &self,
        target: &Target,
        change: &Change,
        key: &str,
        wanted: &Wanted,
    ) -> Result<Result<Json, Outcome>> {
        let kind = target.table.kind;
        let pairs = wanted.creation();
        let mut salt = String::new();
        for _ in 0..KEYS_MAX {
            let mark = change.mark.to_text();
            let idempotency = writer::key(&[&self.system, kind.table, key, &mark, &salt]);
            let written = self.api.post(all(kind), &pairs, Some(&idempotency)).await?;
            match written {
                Written::Done {
                    object,
                    replayed: false,
                } => return Ok(Ok(object)),
                Written::Done {
                    object,
                    replayed: true,
                } => {
                    // An old answer: what it tells of may be another state, or be gone.
                    let id = id(&object).unwrap_or_default().to_owned();
                    if let Some(object) = self.api.object(kind, &id, &[]).await? {
                        return Ok(Ok(object));
                    }
                    salt = format!("{salt}after {id}");
                }
                Written::Refused(refusal) if refusal.is_other_use_of_key() => {
                    // The same change, mapped otherwise since: nothing was found that it made.
                    salt = format!("{salt}as {}", writer::key(&pairs_of(&pairs)));
                }
                Written::Refused(refusal) if refusal.replayed.is_some() => {
                    // An old refusal, whose reason may be gone.
                    salt = format!("{salt}not {}", refusal.replayed.unwrap_or_default());
                }
                Written::Refused(refusal) => return Ok(Err(outcome(&refusal, wanted))),
            }
        }
        Err(Error::transient("every key for making a record is used up")
            .help("it is tried again; Stripe forgets keys after a day"))
    }

    /// Makes an object what a row says, and takes it to the status that is wanted.
    async fn update(
        &self,
        target: &Target,
        change: &Change,
        wanted: &Wanted,
        object: Json,
    ) -> Result<Result<Json, Outcome>> {
        let kind = target.table.kind;
        let mut object = object;
        let Some(id) = id(&object).map(str::to_owned) else {
            return Err(Error::unexpected("an object without an id was answered"));
        };
        let pairs = match wanted.update(&target.table, &object) {
            Ok(pairs) => pairs,
            Err(why) => return Ok(Err(rejected(why))),
        };
        if !pairs.is_empty() {
            match self.api.post(one(kind, &id), &pairs, None).await? {
                Written::Done { object: now, .. } => object = now,
                Written::Refused(refusal) => return Ok(Err(outcome(&refusal, wanted))),
            }
        }
        let Some(status) = wanted.status() else {
            return Ok(Ok(object));
        };
        let steps = match act::towards(kind, &object, status) {
            Ok(steps) => steps,
            Err(why) => return Ok(Err(rejected(why))),
        };
        for step in &steps {
            let mut pairs = Pairs::new();
            if *step == Step::Post("pay") && wanted.is_paid_elsewhere() {
                pairs.push(("paid_out_of_band".to_owned(), "true".to_owned()));
            }
            match self.step(target, change, &id, step, &pairs).await? {
                Written::Done { object: now, .. } => object = now,
                // A server without this call may do without it.
                Written::Refused(refusal) if refusal.is_no_call() && steps.len() > 1 => {}
                Written::Refused(refusal) => return Ok(Err(outcome(&refusal, wanted))),
            }
        }
        Ok(Ok(object))
    }

    async fn step(
        &self,
        target: &Target,
        change: &Change,
        id: &str,
        step: &Step,
        pairs: &Pairs,
    ) -> Result<Written> {
        let path: Path = one(target.table.kind, id);
        match step {
            Step::Delete => self.api.delete(path).await,
            Step::Post(what) => {
                let mark = change.mark.to_text();
                let key = writer::key(&[&self.system, target.table.kind.table, id, &mark, what]);
                self.api.post(path.then(what), pairs, Some(&key)).await
            }
        }
    }

    async fn remove(
        &self,
        target: &Target,
        change: &Change,
        key: &str,
        id: &str,
        object: &Json,
        found: &mut Found,
    ) -> Result<Outcome> {
        let kind = target.table.kind;
        let Removal {
            steps,
            stays,
            or_archive,
        } = match act::removal(kind, object) {
            Ok(removal) => removal,
            Err(why) => return Ok(rejected(why)),
        };
        let mut archive = stays;
        for step in &steps {
            let written = self.step(target, change, id, step, &Pairs::new()).await?;
            let refusal = match written {
                Written::Done { .. } => continue,
                Written::Refused(refusal) => refusal,
            };
            // Gone is gone; but a server that has no such call says the same.
            if refusal.is_missing() && self.api.object(kind, id, &[]).await?.is_none() {
                archive = false;
                continue;
            }
            if !or_archive {
                return Ok(rejected(refusal.words([key].into_iter())));
            }
            archive = true;
        }
        if archive {
            let mut pairs: Pairs = target.name.iter().map(|name| release(name)).collect();
            if object.get("active") == Some(&Json::Bool(true)) {
                pairs.push(("active".to_owned(), "false".to_owned()));
            }
            if !pairs.is_empty() {
                match self.api.post(one(kind, id), &pairs, None).await? {
                    Written::Done { .. } => {}
                    Written::Refused(refusal) if refusal.is_missing() => {}
                    Written::Refused(refusal) => {
                        return Ok(rejected(refusal.words([key].into_iter())));
                    }
                }
            }
        }
        if let Some(name) = &target.name {
            self.lookup.unlearn(kind, name, key, id).await;
        }
        if let Some(objects) = found.get_mut(&(kind.table, key.to_owned())) {
            objects.remove(id);
        }
        Ok(Outcome::APPLIED)
    }

    /// Takes note of an object as it is now.
    async fn note(&self, target: &Target, key: &str, object: &Json, found: &mut Found) {
        let kind = target.table.kind;
        let Some(id) = id(object) else { return };
        for ((table, other), objects) in found.iter_mut() {
            if *table == kind.table
                && other != key
                && objects.remove(id).is_some()
                && let Some(name) = &target.name
            {
                self.lookup.unlearn(kind, name, other, id).await;
            }
        }
        let objects = found.entry((kind.table, key.to_owned())).or_default();
        objects.insert(id.to_owned(), object.clone());
        if let Some(name) = &target.name {
            self.lookup.learn(kind, name, key, id).await;
        }
    }
}

/// What an object bears under a name of its metadata.
fn borne(object: &Json, name: &str) -> Option<String> {
    let value = object.get("metadata")?.get(name)?.as_str()?;
    Some(value.to_owned()).filter(|value| !value.is_empty())
}

fn pairs_of(pairs: &Pairs) -> Vec<&str> {
    let each = pairs
        .iter()
        .flat_map(|(name, value)| [name.as_str(), value.as_str()]);
    each.collect()
}

fn rejected(reason: impl Into<String>) -> Outcome {
    Outcome::Rejected {
        reason: reason.into(),
    }
}

/// What a refusal means for the record that was sent.
fn outcome(refusal: &Refusal, wanted: &Wanted) -> Outcome {
    if refusal.is_missing() {
        let named = wanted.reference(refusal.param.as_deref());
        if let Some(column) = named.or_else(|| wanted.reference(None)) {
            return Outcome::Waiting {
                on: format!("the record that `{column}` refers to"),
            };
        }
    }
    rejected(refusal.words(wanted.texts()))
}
