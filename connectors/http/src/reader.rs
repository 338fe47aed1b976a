//! Reads tables of an API: whole listings put in the order that was asked for, windows by the growing field, records by their ids.
//!
//! A listing is kept while its pages are asked for; whoever comes without one has everything listed again, so any row can be gone on behind.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use lockstep_core::connector::{Call, Filter, Finding, Growing, Heard, OpenContext, Page, Reader};
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Error, Kind as ErrorKind, Result, Row, Shape, Value};

use crate::client::{Api, Kind};
use crate::config::Config;
use crate::filter::{fulfils, keys, least, order};
use crate::listing::{self, Walk};
use crate::{webhook, write};

/// How many listings are kept while their pages are asked for.
const KEPT_MAX: usize = 3;

/// Reads an API.
pub struct HttpReader {
    api: Api,
    kept: Mutex<VecDeque<Arc<Listing>>>,
}

/// A listing in an order.
struct Listing {
    table: String,
    key: Vec<usize>,
    /// The value from which on it was listed.
    from: Option<Value>,
    rows: Vec<(Vec<Value>, Row)>,
}

impl Reader for HttpReader {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        Ok(HttpReader {
            api: Api::open(config, &cx)?,
            kept: Mutex::default(),
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        self.api.shapes()
    }

    fn growing(&self, table: &str) -> Option<Growing> {
        let incremental = self.api.kind(table).ok()?.table.incremental.as_ref()?;
        Some(Growing {
            column: incremental.field.clone(),
            overlap: Duration::from_secs(incremental.overlap_secs),
        })
    }

    fn hear(&self, call: &Call) -> Result<Heard> {
        webhook::hear(&self.api, call)
    }

    async fn check(&self) -> Result<Vec<Finding>> {
        check(&self.api).await
    }

    async fn scan(&self, page: Page<'_>) -> Result<Vec<Row>> {
        let kind = self.api.kind(page.table)?;
        let shape = &kind.columns.shape;
        let key = positions(shape, page.key)?;
        let columns = positions(shape, page.columns)?;
        if let Some(newest) = self.newest(kind, &page, &key).await? {
            return Ok(newest.iter().map(|row| chosen(row, &columns)).collect());
        }
        let listing = self.listing(kind, &page, key).await?;
        let rows = listing.page(shape, &page);
        if rows.len() < page.limit {
            self.drop_listing(&listing);
        }
        Ok(rows.iter().map(|row| chosen(row, &columns)).collect())
    }

    async fn fetch(
        &self,
        table: &str,
        columns: &[String],
        key: &[String],
        wanted: &[Vec<Value>],
    ) -> Result<Vec<Row>> {
        let kind = self.api.kind(table)?;
        let shape = &kind.columns.shape;
        let columns = positions(shape, columns)?;
        let key = positions(shape, key)?;
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<Row> = if write::can_find(kind, &key) {
            let asked = wanted.iter().map(|values| write::find(kind, &key, values));
            let asked: Vec<_> = asked.collect();
            let found =
                stream::iter(asked).buffer_unordered(self.api.described.limits.concurrent.max(1));
            let found: Vec<Vec<write::Found>> = found.try_collect().await?;
            found.into_iter().flatten().map(|found| found.row).collect()
        } else {
            let rows = listing::all(kind, &[]).await?;
            let is_wanted = |row: &Row| {
                let found = kind.columns.key(row, &key);
                found.is_some_and(|found| wanted.contains(&found))
            };
            rows.into_iter().filter(is_wanted).collect()
        };
        Ok(rows.iter().map(|row| chosen(row, &columns)).collect())
    }
}

impl HttpReader {
    /// The listing that a page is of: the one that is kept, or a fresh one.
    async fn listing(
        &self,
        kind: Kind<'_>,
        page: &Page<'_>,
        key: Vec<usize>,
    ) -> Result<Arc<Listing>> {
        let growing = kind.table.incremental.as_ref().map(|i| i.field.as_str());
        let from = growing
            .and_then(|field| least(page.filter?, field))
            .cloned();
        if page.after.is_some() {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let fits = |listing: &&Arc<Listing>| {
                listing.table == kind.name && listing.key == key && listing.from == from
            };
            if let Some(listing) = kept.iter().find(fits) {
                return Ok(Arc::clone(listing));
            }
        }
        let extra = from.as_ref().and_then(|from| listing::since(kind, from));
        let rows = listing::all(kind, &extra.unwrap_or_default()).await?;
        let mut rows: Vec<(Vec<Value>, Row)> = rows
            .into_iter()
            .filter_map(|row| Some((kind.columns.key(&row, &key)?, row)))
            .collect();
        rows.sort_by(|(a, _), (b, _)| keys(a, b));
        let listing = Arc::new(Listing {
            table: kind.name.to_owned(),
            key,
            from,
            rows,
        });
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|other| {
            other.table != listing.table || other.key != listing.key || other.from != listing.from
        });
        kept.truncate(KEPT_MAX - 1);
        kept.push_front(Arc::clone(&listing));
        Ok(listing)
    }

    /// Lets go of a listing whose last page was given.
    fn drop_listing(&self, listing: &Arc<Listing>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|other| !Arc::ptr_eq(other, listing));
    }

    /// The newest row by the growing field, where that is asked for and the system tells it on one page.
    async fn newest(
        &self,
        kind: Kind<'_>,
        page: &Page<'_>,
        key: &[usize],
    ) -> Result<Option<Vec<Row>>> {
        let Some(incremental) = &kind.table.incremental else {
            return Ok(None);
        };
        let growing = kind.columns.shape.position(&incremental.field);
        let is_newest = page.backwards
            && page.limit == 1
            && page.after.is_none()
            && page.until.is_none()
            && page.filter.is_none_or(Filter::is_every)
            && growing == key.first().copied();
        if !is_newest || incremental.newest.is_empty() {
            return Ok(None);
        }
        let extra: Vec<(String, String)> = incremental.newest.clone().into_iter().collect();
        let records = Walk::new(kind, &extra).page().await?.unwrap_or_default();
        let mut best: Option<(Vec<Value>, Row)> = None;
        for record in &records {
            let row = kind.columns.read(record)?;
            let Some(values) = kind.columns.key(&row, key) else {
                continue;
            };
            if best
                .as_ref()
                .is_none_or(|(best, _)| keys(best, &values) == Ordering::Less)
            {
                best = Some((values, row));
            }
        }
        Ok(Some(best.into_iter().map(|(_, row)| row).collect()))
    }
}

impl Listing {
    /// The rows of a page.
    fn page(&self, shape: &Shape, page: &Page<'_>) -> Vec<Row> {
        let beyond = |key: &[Value], bound: &[Value]| {
            let order = keys(key, bound);
            if page.backwards {
                order.reverse()
            } else {
                order
            }
        };
        let is_inside = |(key, row): &&(Vec<Value>, Row)| {
            page.after.is_none_or(|after| beyond(key, after).is_gt())
                && page.until.is_none_or(|until| beyond(key, until).is_le())
                && page.filter.is_none_or(|filter| fulfils(filter, shape, row))
        };
        let rows = |(_, row): &(Vec<Value>, Row)| row.clone();
        if page.backwards {
            let inside = self.rows.iter().rev().filter(is_inside);
            return inside.take(page.limit).map(rows).collect();
        }
        // The part before `after` need not be looked at row by row.
        let begin = page.after.map_or(0, |after| {
            self.rows
                .partition_point(|(key, _)| keys(key, after).is_le())
        });
        let inside = self.rows[begin..].iter().filter(is_inside);
        inside.take(page.limit).map(rows).collect()
    }
}

/// Whether the credentials are good, and what is missing where not.
pub(crate) async fn check(api: &Api) -> Result<Vec<Finding>> {
    let tried = match (&api.described.check, api.described.tables.keys().next()) {
        (Some(path), _) => api.client.get(path.as_str()).send().await.map(drop),
        (None, Some(table)) => Walk::new(api.kind(table)?, &[]).page().await.map(drop),
        (None, None) => Ok(()),
    };
    match tried {
        Ok(()) => Ok(Vec::new()),
        Err(error) if matches!(error.kind(), ErrorKind::Unauthorized | ErrorKind::Config) => {
            Ok(vec![finding(&error)])
        }
        Err(error) => Err(error),
    }
}

fn finding(error: &Error) -> Finding {
    Finding {
        severity: Severity::Error,
        message: error.to_string(),
        help: error
            .help_text()
            .unwrap_or("check the system's settings")
            .to_owned(),
    }
}

/// The positions of columns by name.
pub(crate) fn positions(shape: &Shape, names: &[String]) -> Result<Vec<usize>> {
    let position = |name: &String| {
        shape.position(name).ok_or_else(|| {
            Error::config(format!("`{}` has no field `{name}`", shape.name))
                .help("add it to `fields` in the description")
        })
    };
    names.iter().map(position).collect()
}

fn chosen(row: &Row, columns: &[usize]) -> Row {
    Row(columns
        .iter()
        .map(|column| row.cell(*column).clone())
        .collect())
}

/// Whether two values are the same to a system that knows no types.
pub(crate) fn is_same(a: &Value, b: &Value) -> bool {
    a == b || order(a, b).is_eq()
}
