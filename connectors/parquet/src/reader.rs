//! The reader: the rows of now, in the order of the table's key, out of all files that a commit names.
//!
//! A page that follows another one goes on in the merge of before; a page in another order than the table's looks at all rows and keeps the least.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lockstep_core::connector::{Filter, Finding, OpenContext, Page, Reader};
use lockstep_core::{Error, Result, Row, Shape, Value};
use lockstep_http_client::listing::holds;

use crate::check;
use crate::config::Config;
use crate::file::Record;
use crate::form::Form;
use crate::lake::{Lake, place};
use crate::merge::{Merge, is_of_a_record, now};
use crate::order::{self, Sorted};
use crate::read::Want;
use crate::sink::found;
use crate::state::{State, Table};
use crate::store::Gone;

/// Most merges that wait for their next page.
const PAUSED_MAX: usize = 4;
/// How long a merge waits: what is read later is read as it is then.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How often a page is begun anew because a file went while it was read.
const TRIES: usize = 3;

/// Reads a lake of Parquet files.
pub struct ParquetReader {
    lake: Arc<Lake>,
    tables: Vec<String>,
    paused: Mutex<Vec<Paused>>,
}

/// A merge between two pages.
struct Paused {
    what: Asked,
    last: Vec<Value>,
    since: Instant,
    merge: Merge,
    table: Arc<Table>,
}

/// What pages of one scan have in common.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    table: String,
    columns: Vec<String>,
    key: Vec<String>,
    until: Option<Vec<Value>>,
    filter: Option<Filter>,
    backwards: bool,
}

impl Reader for ParquetReader {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        Ok(ParquetReader {
            lake: Arc::new(Lake::open(config, &cx)?),
            tables: cx.tables,
            paused: Mutex::default(),
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        self.lake.shapes(&self.tables).await
    }

    async fn check(&self) -> Result<Vec<Finding>> {
        check::reader(&self.lake).await
    }

    async fn scan(&self, page: Page<'_>) -> Result<Vec<Row>> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.page(page).await {
                Err(error) if Gone::is_under(&error) && tries < TRIES => {}
                done => return done,
            }
        }
    }

    async fn fetch(
        &self,
        table: &str,
        columns: &[String],
        key: &[String],
        keys: &[Vec<Value>],
    ) -> Result<Vec<Row>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let state = self.lake.journal.now().await?;
            match self.rows(&state, table, columns, key, keys).await {
                Err(error) if Gone::is_under(&error) && tries < TRIES => {}
                done => return done,
            }
        }
    }
}

impl ParquetReader {
    async fn page(&self, page: Page<'_>) -> Result<Vec<Row>> {
        let what = Asked {
            table: page.table.to_owned(),
            columns: page.columns.to_vec(),
            key: page.key.to_vec(),
            until: page.until.map(<[Value]>::to_vec),
            filter: page.filter.cloned(),
            backwards: page.backwards,
        };
        let mut paused = match page.after.and_then(|after| self.resume(&what, after)) {
            Some(paused) => paused,
            None => self.begin(what, page).await?,
        };
        if !paused
            .table
            .key_names()
            .eq(page.key.iter().map(String::as_str))
        {
            return least(paused, page).await;
        }
        let reading = Reading::new(&paused.what, &paused.table.shape)?;
        let mut rows = Vec::new();
        while rows.len() < page.limit {
            let Some(all) = paused.merge.next().await? else {
                return Ok(rows);
            };
            let Some(row) = now(all, paused.table.since).filter(is_of_a_record) else {
                continue;
            };
            let key = paused.merge.key_of(&row);
            if reading.is_in(&key, page.after, &row) {
                rows.push(reading.row(&row));
                paused.last = key;
            }
        }
        if !rows.is_empty() {
            paused.since = Instant::now();
            let mut kept = self.paused();
            kept.retain(|one| one.since.elapsed() < PAUSE_MAX);
            if kept.len() >= PAUSED_MAX {
                kept.remove(0);
            }
            kept.push(paused);
        }
        Ok(rows)
    }

    /// The merge that stopped at a key.
    fn resume(&self, what: &Asked, after: &[Value]) -> Option<Paused> {
        let mut paused = self.paused();
        let is_it = |one: &Paused| {
            one.what == *what
                && one.since.elapsed() < PAUSE_MAX
                && order::compare(&one.last, after).is_eq()
        };
        let at = paused.iter().position(is_it)?;
        Some(paused.remove(at))
    }

    async fn begin(&self, what: Asked, page: Page<'_>) -> Result<Paused> {
        let state = self.lake.journal.now().await?;
        let table = Arc::new(state.table(&what.table)?.clone());
        let is_by_key = table.key_names().eq(what.key.iter().map(String::as_str));
        let (mut from, mut until) = (page.after.map(<[Value]>::to_vec), what.until.clone());
        if what.backwards {
            // The page before was above this one.
            let above = from.take();
            until = match (until, above) {
                (Some(until), Some(above)) if order::compare(&until, &above).is_lt() => Some(until),
                (until, above) => above.or(until),
            };
        }
        let want = Want {
            columns: Arc::new(wanted(&what, &table)?),
            from: from.filter(|_| is_by_key),
            until: until.filter(|_| is_by_key),
            keys: None,
            backwards: what.backwards && is_by_key,
        };
        let merge = Merge::new(&self.lake, &table, table.files.iter(), want)?;
        Ok(Paused {
            what,
            last: Vec::new(),
            since: Instant::now(),
            merge,
            table,
        })
    }

    async fn rows(
        &self,
        state: &State,
        table: &str,
        columns: &[String],
        key: &[String],
        keys: &[Vec<Value>],
    ) -> Result<Vec<Row>> {
        let table = state.table(table)?;
        let what = Asked {
            table: table.shape.name.clone(),
            columns: columns.to_vec(),
            key: key.to_vec(),
            until: None,
            filter: None,
            backwards: false,
        };
        let reading = Reading::new(&what, &table.shape)?;
        let mut want = Want {
            columns: Arc::new(wanted(&what, table)?),
            from: None,
            until: None,
            keys: None,
            backwards: false,
        };
        // The same columns in another order name the same rows.
        let places: Option<Vec<usize>> = table
            .key_names()
            .map(|name| key.iter().position(|column| column == name))
            .collect();
        if let Some(places) = places.filter(|places| places.len() == key.len()) {
            let mut sorted: Vec<Vec<Value>> = Vec::with_capacity(keys.len());
            for one in keys {
                sorted.push(
                    places
                        .iter()
                        .filter_map(|at| one.get(*at).cloned())
                        .collect(),
                );
            }
            sorted.sort_by(|a, b| order::compare(a, b));
            (want.from, want.until) = (sorted.first().cloned(), sorted.last().cloned());
            want.keys = Some(Arc::new(sorted));
            let rows = found(&self.lake, table, want).await?;
            return Ok(rows.iter().map(|row| reading.row(row)).collect());
        }
        let keys: BTreeSet<Sorted> = keys.iter().cloned().map(Sorted).collect();
        let mut merge = Merge::new(&self.lake, table, table.files.iter(), want)?;
        let mut rows = Vec::new();
        while let Some(all) = merge.next().await? {
            let row = now(all, table.since).filter(is_of_a_record);
            if let Some(row) = row.filter(|row| keys.contains(&Sorted(reading.key(row)))) {
                rows.push(reading.row(&row));
            }
        }
        Ok(rows)
    }

    fn paused(&self) -> std::sync::MutexGuard<'_, Vec<Paused>> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The columns that a scan looks at, with their forms.
fn wanted(what: &Asked, table: &Table) -> Result<Vec<(String, Form)>> {
    let mut names: Vec<&str> = Vec::new();
    let filter: BTreeSet<&str> = what.filter.iter().flat_map(Filter::columns).collect();
    let asked = what.columns.iter().chain(&what.key).map(String::as_str);
    for name in asked.chain(table.key_names()).chain(filter) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let form = |name: &str| {
        let column = &table.shape.columns[place(&table.shape, name)?];
        Ok((name.to_owned(), Form::of(column.kind, table.timestamps)))
    };
    names.into_iter().map(form).collect()
}

/// How rows that are read become rows that were asked for.
struct Reading<'a> {
    what: &'a Asked,
    places: BTreeMap<String, usize>,
}

impl<'a> Reading<'a> {
    fn new(what: &'a Asked, shape: &Shape) -> Result<Reading<'a>> {
        let mut places = BTreeMap::new();
        let filter: BTreeSet<&str> = what.filter.iter().flat_map(Filter::columns).collect();
        let key = shape.key.iter().map(|at| shape.columns[*at].name.as_str());
        let columns = what.columns.iter().chain(&what.key).map(String::as_str);
        for name in columns.chain(key).chain(filter) {
            let next = places.len();
            places.entry(name.to_owned()).or_insert(next);
        }
        Ok(Reading { what, places })
    }

    fn value<'r>(&self, row: &'r Record, name: &str) -> Option<&'r Value> {
        row.values.get(*self.places.get(name)?)
    }

    /// The values that the scan is ordered by.
    fn key(&self, row: &Record) -> Vec<Value> {
        let value = |name: &String| self.value(row, name).cloned().unwrap_or(Value::Null);
        self.what.key.iter().map(value).collect()
    }

    /// Whether a row is one of the page, as far as its limit is not concerned.
    fn is_in(&self, key: &[Value], after: Option<&[Value]>, row: &Record) -> bool {
        let behind = |after: &[Value]| {
            let side = order::compare(key, after);
            if self.what.backwards {
                side.is_lt()
            } else {
                side.is_gt()
            }
        };
        let within = |until: &Vec<Value>| order::compare(key, until).is_le();
        !key.iter().any(Value::is_null)
            && after.is_none_or(behind)
            && self.what.until.as_ref().is_none_or(within)
            && (self.what.filter.as_ref())
                .is_none_or(|filter| holds(filter, &|name| self.value(row, name)))
    }

    fn row(&self, row: &Record) -> Row {
        let value = |name: &String| self.value(row, name).cloned().unwrap_or(Value::Null);
        Row::of(self.what.columns.iter().map(value))
    }
}

/// A page in an order that files do not have: of all rows behind its beginning, the least.
async fn least(mut paused: Paused, page: Page<'_>) -> Result<Vec<Row>> {
    let what = paused.what.clone();
    if what.key.is_empty() {
        return Err(Error::config(format!(
            "rows of table `{}` cannot be paged without a key",
            what.table
        ))
        .help("map the contract's key fields to columns of the table"));
    }
    let reading = Reading::new(&what, &paused.table.shape)?;
    // Several rows may share a key that is not the table's.
    let mut kept: BTreeMap<(Sorted, Sorted), Record> = BTreeMap::new();
    while let Some(all) = paused.merge.next().await? {
        let Some(row) = now(all, paused.table.since).filter(is_of_a_record) else {
            continue;
        };
        let key = reading.key(&row);
        if !reading.is_in(&key, page.after, &row) {
            continue;
        }
        kept.insert((Sorted(key), Sorted(paused.merge.key_of(&row))), row);
        if kept.len() > page.limit {
            let _ = if page.backwards {
                kept.pop_first()
            } else {
                kept.pop_last()
            };
        }
    }
    let rows = kept.values().map(|row| reading.row(row));
    let mut rows: Vec<Row> = rows.collect();
    if page.backwards {
        rows.reverse();
    }
    Ok(rows)
}
