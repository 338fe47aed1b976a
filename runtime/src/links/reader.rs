//! A reader whose linked columns hold canonical keys.
//!
//! A row that names a record which has no canonical key in this system yet holds null there; the contract says whether that may be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lockstep_core::connector::{
    Boxed, Call, Definition, DynReader, Filter, Finding, Growing, Heard, Noticed, OpenContext, Page,
};
use lockstep_core::error::{Error, Result};
use lockstep_core::shape::{Row, Shape};
use lockstep_core::value::{Cell, Value};

use super::{Bound, Link, bind, outwards};

/// Most keys that are held in memory; then they are asked for anew.
const HELD_MAX: usize = 100_000;
/// Most records that are asked for at once.
const ASK_MAX: usize = 200;

/// Wraps a connector's reader.
pub(super) struct LinkedReader {
    inner: Arc<dyn DynReader>,
    /// What whoever opened it asked for, without the tables that links lead to.
    cx: OpenContext,
    links: Vec<Link>,
    bound: Mutex<Option<Arc<Vec<Bound>>>>,
    /// Canonical keys by the parent's table and the text of the own id.
    held: Mutex<HashMap<(String, String), Value>>,
}

impl LinkedReader {
    pub(super) fn new(inner: Arc<dyn DynReader>, cx: OpenContext, links: Vec<Link>) -> Self {
        LinkedReader {
            inner,
            cx,
            links,
            bound: Mutex::default(),
            held: Mutex::default(),
        }
    }

    async fn shapes(&self) -> Result<Vec<Arc<Shape>>> {
        let shapes = self.inner.discover().await?;
        let bound = Arc::new(bind(&self.links, &shapes)?);
        let mut known = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(Arc::clone(&bound));
        let asked = shapes
            .into_iter()
            .filter(|shape| self.cx.tables.contains(&shape.name));
        Ok(outwards(asked.collect(), &bound))
    }

    async fn bound(&self) -> Result<Arc<Vec<Bound>>> {
        let known = self
            .bound
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match known {
            Some(bound) => Ok(bound),
            None => {
                self.shapes().await?;
                let known = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(known.clone().unwrap_or_default())
            }
        }
    }

    /// Puts canonical keys in the place of own ids.
    async fn canonical(
        &self,
        table: &str,
        columns: &[String],
        mut rows: Vec<Row>,
    ) -> Result<Vec<Row>> {
        for bound in self.bound().await?.iter() {
            let link = &bound.link;
            let at = columns.iter().position(|column| *column == link.column);
            let Some(at) = at.filter(|_| link.table == table) else {
                continue;
            };
            let ids = rows.iter().filter_map(|row| row.value(at));
            let ids: Vec<Value> = ids.filter(|id| !id.is_null()).cloned().collect();
            self.ask(bound, &ids).await?;
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            for row in &mut rows {
                let Some(id) = row.value(at).filter(|id| !id.is_null()) else {
                    continue;
                };
                let key = held.get(&(link.parent.clone(), id.to_string()));
                row.0[at] = Cell::Set(key.cloned().unwrap_or(Value::Null));
            }
        }
        Ok(rows)
    }

    /// Learns the canonical keys of records by their own ids.
    async fn ask(&self, bound: &Bound, ids: &[Value]) -> Result<()> {
        let link = &bound.link;
        let name = |id: &Value| (link.parent.clone(), id.to_string());
        let mut unknown: Vec<Vec<Value>> = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            if held.len() >= HELD_MAX {
                held.clear();
            }
            let unknown = ids.iter().filter(|id| !held.contains_key(&name(id)));
            unknown.map(|id| vec![id.clone()]).collect()
        };
        unknown.sort_by_cached_key(|id| id[0].to_string());
        unknown.dedup();
        let columns = [bound.own.clone(), link.external.clone()];
        for some in unknown.chunks(ASK_MAX) {
            let rows = self
                .inner
                .fetch(&link.parent, &columns, &columns[..1], some)
                .await?;
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            for row in rows {
                let (Some(own), Some(key)) = (row.value(0), row.value(1)) else {
                    continue;
                };
                // A record that gets its key later is asked for again.
                if !key.is_null() {
                    held.insert(name(own), key.clone());
                }
            }
        }
        Ok(())
    }

    fn is_linked(&self, table: &str, column: &str) -> bool {
        let mut links = self.links.iter();
        links.any(|link| link.table == table && link.column == column)
    }

    /// A filter that the system can judge: it may let more through than is wanted.
    fn judged<'f>(&self, table: &str, filter: Option<&'f Filter>) -> Option<&'f Filter> {
        filter.filter(|filter| {
            let columns = filter.columns();
            !columns.iter().any(|column| self.is_linked(table, column))
        })
    }

    fn no_key(&self, table: &str, key: &[String]) -> Result<()> {
        match key.iter().find(|column| self.is_linked(table, column)) {
            None => Ok(()),
            Some(column) => Err(Error::config(format!(
                "`{column}` of `{table}` is linked, so it cannot be part of what identifies a row"
            ))
            .code("LS-G045")),
        }
    }
}

impl DynReader for LinkedReader {
    fn discover(&self) -> Boxed<'_, Result<Vec<Arc<Shape>>>> {
        Box::pin(self.shapes())
    }

    fn definition<'a>(&'a self, table: &'a str) -> Boxed<'a, Result<Option<Definition>>> {
        self.inner.definition(table)
    }

    fn growing(&self, table: &str) -> Option<Growing> {
        self.inner.growing(table)
    }

    fn has_journal(&self) -> bool {
        self.inner.has_journal()
    }

    fn noticed<'a>(&'a self, cursor: Option<&'a str>) -> Boxed<'a, Result<Noticed>> {
        self.inner.noticed(cursor)
    }

    fn hear(&self, call: &Call) -> Result<Heard> {
        self.inner.hear(call)
    }

    fn check(&self) -> Boxed<'_, Result<Vec<Finding>>> {
        self.inner.check()
    }

    fn scan<'a>(&'a self, page: Page<'a>) -> Boxed<'a, Result<Vec<Row>>> {
        Box::pin(async move {
            self.no_key(page.table, page.key)?;
            let asked = Page {
                filter: self.judged(page.table, page.filter),
                ..page
            };
            let rows = self.inner.scan(asked).await?;
            self.canonical(page.table, page.columns, rows).await
        })
    }

    fn fetch<'a>(
        &'a self,
        table: &'a str,
        columns: &'a [String],
        key: &'a [String],
        keys: &'a [Vec<Value>],
    ) -> Boxed<'a, Result<Vec<Row>>> {
        Box::pin(async move {
            self.no_key(table, key)?;
            let rows = self.inner.fetch(table, columns, key, keys).await?;
            self.canonical(table, columns, rows).await
        })
    }
}
