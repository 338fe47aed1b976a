//! A sink whose linked columns are given canonical keys.
//!
//! A change whose parent is not there yet waits; the others of its batch are applied, unless the sink takes batches whole or not at all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use lockstep_core::Change;
use lockstep_core::change::Op;
use lockstep_core::connector::{
    Batch, Boxed, DynReader, DynSink, Finding, Incarnation, LaneProgress, Limits, Outcome, Receipt,
};
use lockstep_core::error::{Error, Result};
use lockstep_core::shape::{Column, Shape};
use lockstep_core::value::{Cell, Value};

use super::known::Known;
use super::{Bound, Link, bind, outwards, with_kinds};

/// Most records that are asked for at once.
const ASK_MAX: usize = 200;
/// Most links that the log is asked for at once.
const KNOWN_AT_ONCE: usize = 16;

/// Wraps a connector's sink.
pub(super) struct LinkedSink {
    inner: Box<dyn DynSink>,
    /// Asks for parents.
    reader: Arc<dyn DynReader>,
    links: Vec<Link>,
    /// Links that lead to what is written here.
    told: Vec<Link>,
    known: Known,
    bound: Mutex<Option<Arc<Vec<Bound>>>>,
}

/// What became of the links of a batch.
struct Translated {
    changes: Vec<Change>,
    /// Where each of them stood.
    places: Vec<usize>,
    waiting: Vec<(usize, Outcome)>,
}

impl LinkedSink {
    pub(super) fn new(
        inner: Box<dyn DynSink>,
        reader: Arc<dyn DynReader>,
        links: Vec<Link>,
        told: Vec<Link>,
        known: Known,
    ) -> Self {
        LinkedSink {
            inner,
            reader,
            links,
            told,
            known,
            bound: Mutex::default(),
        }
    }

    async fn bound(&self) -> Result<Arc<Vec<Bound>>> {
        let known = self
            .bound
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(bound) = known {
            return Ok(bound);
        }
        let shapes = match self.links.is_empty() {
            true => Vec::new(),
            false => self.reader.discover().await?,
        };
        let bound = Arc::new(bind(&self.links, &shapes)?);
        let mut known = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(Arc::clone(&bound));
        Ok(bound)
    }

    /// Puts own ids in the place of canonical keys.
    async fn own(&self, batch: &Batch) -> Result<Translated> {
        let bound = self.bound().await?;
        let mut ids: BTreeMap<(String, String), Value> = BTreeMap::new();
        for bound in bound.iter() {
            let mut keys: Vec<Value> = batch
                .changes
                .iter()
                .filter_map(|change| linked(change, bound))
                .cloned()
                .collect();
            keys.sort_by_cached_key(ToString::to_string);
            keys.dedup();
            self.ask(bound, keys, &mut ids).await?;
        }
        let mut translated = Translated {
            changes: Vec::with_capacity(batch.changes.len()),
            places: Vec::new(),
            waiting: Vec::new(),
        };
        let mut shapes: Vec<(Arc<Shape>, Arc<Shape>)> = Vec::new();
        for (place, change) in batch.changes.iter().enumerate() {
            match own_change(change, &bound, &ids, &mut shapes) {
                Ok(change) => {
                    translated.changes.push(change);
                    translated.places.push(place);
                }
                Err(on) => translated.waiting.push((place, Outcome::Waiting { on })),
            }
        }
        Ok(translated)
    }

    /// Learns own ids: from what is known, or else from the system.
    async fn ask(
        &self,
        bound: &Bound,
        keys: Vec<Value>,
        ids: &mut BTreeMap<(String, String), Value>,
    ) -> Result<()> {
        let link = &bound.link;
        let name = |key: &Value| (link.entity.clone(), key.to_string());
        let mut unknown = Vec::new();
        let known = keys.into_iter().map(|key| async {
            let id = self.known.get(&link.entity, &key).await;
            (key, id)
        });
        let mut known = futures_util::stream::iter(known).buffered(KNOWN_AT_ONCE);
        while let Some((key, id)) = known.next().await {
            match id? {
                Some(id) => drop(ids.insert(name(&key), id)),
                None => unknown.push(vec![key]),
            }
        }
        let columns = [link.external.clone(), bound.own.clone()];
        for some in unknown.chunks(ASK_MAX) {
            let rows = self
                .reader
                .fetch(&link.parent, &columns, &columns[..1], some)
                .await?;
            for row in rows {
                let (Some(key), Some(id)) = (row.value(0), row.value(1)) else {
                    continue;
                };
                self.known.set(&link.entity, key, id).await?;
                ids.insert(name(key), id.clone());
            }
        }
        Ok(())
    }

    /// Takes note of the own ids that the system gave.
    async fn learn(&self, batch: &Batch, outcomes: &[Outcome]) -> Result<()> {
        for (change, outcome) in batch.changes.iter().zip(outcomes) {
            let Outcome::Applied { target_id } = outcome else {
                continue;
            };
            let told = self.told.iter();
            for link in told.filter(|link| link.parent == change.shape.name) {
                let at = change.shape.position(&link.external);
                let Some(key) = at.and_then(|at| change.row.value(at)) else {
                    continue;
                };
                match (change.op, target_id) {
                    (Op::Deleted, _) => self.known.forget(&link.entity, key).await?,
                    (_, Some(id)) => self.known.set(&link.entity, key, id).await?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    async fn apply_all(&self, batch: &Batch) -> Result<Receipt> {
        let translated = self.own(batch).await?;
        if translated.waiting.is_empty() || !self.inner.limits().progress {
            return self.apply_some(batch, translated).await;
        }
        Ok(Receipt::RolledBack(translated.waiting))
    }

    async fn apply_some(&self, batch: &Batch, translated: Translated) -> Result<Receipt> {
        let Translated {
            changes,
            places,
            waiting,
        } = translated;
        let some = Batch {
            flow: batch.flow.clone(),
            changes,
            progress: batch.progress.clone(),
            follows: batch.follows,
        };
        let applied = match self.inner.apply(&some).await? {
            Receipt::Committed(applied) => applied,
            Receipt::RolledBack(refused) => {
                let at = refused.iter().map(|(index, _)| *index);
                let at = at.filter_map(|index| places.get(index).copied());
                self.doubt(batch, at).await?;
                let refused = refused.into_iter();
                let at = |(index, outcome)| Some((*places.get(index)?, outcome));
                return Ok(Receipt::RolledBack(refused.filter_map(at).collect()));
            }
        };
        let mut all: BTreeMap<usize, Outcome> = places.into_iter().zip(applied).collect();
        all.extend(waiting);
        let all: Vec<Outcome> = all.into_values().collect();
        if all.len() != batch.changes.len() {
            return Err(Error::unexpected(
                "the target did not say of every change what became of it",
            ));
        }
        self.learn(batch, &all).await?;
        let refused = all.iter().enumerate();
        let refused = refused.filter(|(_, outcome)| {
            matches!(outcome, Outcome::Rejected { .. } | Outcome::Waiting { .. })
        });
        self.doubt(batch, refused.map(|(place, _)| place)).await?;
        Ok(Receipt::Committed(all))
    }

    /// What the links of refused changes name may not be there any more: they are asked for anew.
    async fn doubt(&self, batch: &Batch, places: impl Iterator<Item = usize>) -> Result<()> {
        let bound = self.bound().await?;
        for change in places.filter_map(|place| batch.changes.get(place)) {
            for bound in bound.iter() {
                if let Some(key) = linked(change, bound) {
                    self.known.forget(&bound.link.entity, key).await?;
                }
            }
        }
        Ok(())
    }

    /// Shapes with the linked columns as the system has them.
    async fn inwards(&self, targets: &[Arc<Shape>]) -> Result<Vec<Arc<Shape>>> {
        let bound = self.bound().await?;
        let of = |shape: &Arc<Shape>| with_kinds(Arc::clone(shape), &bound, |b| b.own_kind);
        Ok(targets.iter().map(of).collect())
    }
}

/// The canonical key that a change gives a linked column.
fn linked<'c>(change: &'c Change, bound: &Bound) -> Option<&'c Value> {
    if change.shape.name != bound.link.table || !change.op.is_upsert() {
        return None;
    }
    let at = change.shape.position(&bound.link.column)?;
    change.row.value(at).filter(|value| !value.is_null())
}

/// A change with own ids, or what it waits for.
fn own_change(
    change: &Change,
    bound: &[Bound],
    ids: &BTreeMap<(String, String), Value>,
    shapes: &mut Vec<(Arc<Shape>, Arc<Shape>)>,
) -> Result<Change, String> {
    let mut own = change.clone();
    for bound in bound {
        let Some(key) = linked(change, bound) else {
            continue;
        };
        let id = ids.get(&(bound.link.entity.clone(), key.to_string()));
        let Some(id) = id else {
            return Err(format!(
                "the `{}` that its `{}` names",
                bound.link.entity, bound.link.column
            ));
        };
        if let Some(at) = change.shape.position(&bound.link.column) {
            own.row.0[at] = Cell::Set(id.clone());
        }
    }
    let known = shapes
        .iter()
        .find(|(shape, _)| Arc::ptr_eq(shape, &change.shape));
    own.shape = match known {
        Some((_, own)) => Arc::clone(own),
        None => {
            let inwards = with_kinds(Arc::clone(&change.shape), bound, |bound| bound.own_kind);
            shapes.push((Arc::clone(&change.shape), Arc::clone(&inwards)));
            inwards
        }
    };
    Ok(own)
}

impl DynSink for LinkedSink {
    fn discover(&self) -> Boxed<'_, Result<Vec<Arc<Shape>>>> {
        Box::pin(async {
            let shapes = self.inner.discover().await?;
            Ok(outwards(shapes, &self.bound().await?))
        })
    }

    fn check<'a>(&'a self, targets: &'a [Arc<Shape>]) -> Boxed<'a, Result<Vec<Finding>>> {
        Box::pin(async move {
            let targets = self.inwards(targets).await?;
            self.inner.check(&targets).await
        })
    }

    fn prepare<'a>(&'a self, targets: &'a [Arc<Shape>]) -> Boxed<'a, Result<()>> {
        Box::pin(async move {
            let targets = self.inwards(targets).await?;
            self.inner.prepare(&targets).await
        })
    }

    fn add_columns<'a>(&'a self, table: &'a str, columns: &'a [Column]) -> Boxed<'a, Result<()>> {
        self.inner.add_columns(table, columns)
    }

    fn incarnation<'a>(&'a self, table: &'a str) -> Boxed<'a, Result<Option<Incarnation>>> {
        self.inner.incarnation(table)
    }

    fn missing(&self) -> Boxed<'_, Result<Vec<String>>> {
        self.inner.missing()
    }

    fn create_table<'a>(&'a self, table: &'a Shape) -> Boxed<'a, Result<()>> {
        self.inner.create_table(table)
    }

    fn progress<'a>(&'a self, flow: &'a str) -> Boxed<'a, Result<Vec<LaneProgress>>> {
        self.inner.progress(flow)
    }

    fn apply<'a>(&'a self, batch: &'a Batch) -> Boxed<'a, Result<Receipt>> {
        Box::pin(self.apply_all(batch))
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }
}
