//! The reader: pages in the order of a key, and records by key.
//!
//! Pages begin behind a key and not at an offset, so records that come and go move no others.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockstep_core::connector::{Finding, Growing, OpenContext, Page, Reader};
use lockstep_core::{Error, Result, Row, Shape, Value};
use serde_json::Value as Json;

use crate::check;
use crate::client::{Client, Search};
use crate::config::Config;
use crate::convert;
use crate::domain::{Domain, Key, Part, sought};
use crate::lookup;
use crate::model::{CHANGED_AT, Form, ID, Model};

/// Reads records of a Tryton database.
#[derive(Debug)]
pub struct TrytonReader {
    client: Client,
    models: Models,
    tables: Vec<String>,
    overlap: Duration,
    page_max: usize,
}

/// The models that were looked at.
#[derive(Debug, Default)]
pub(crate) struct Models(Mutex<HashMap<String, Arc<Model>>>);

impl Models {
    /// A model, as it was when it was looked at last.
    pub(crate) async fn known(&self, client: &Client, name: &str) -> Result<Arc<Model>> {
        let known = self.all().get(name).cloned();
        match known {
            Some(model) => Ok(model),
            None => self.look(client, name).await,
        }
    }

    /// The shapes of some models as they are now.
    pub(crate) async fn discover(
        &self,
        client: &Client,
        names: &[String],
    ) -> Result<Vec<Arc<Shape>>> {
        let mut shapes = Vec::with_capacity(names.len());
        for name in names {
            shapes.push(Arc::clone(&self.look(client, name).await?.shape));
        }
        Ok(shapes)
    }

    async fn look(&self, client: &Client, name: &str) -> Result<Arc<Model>> {
        let model = Arc::new(Model::find(client, name).await?);
        self.all().insert(name.to_owned(), Arc::clone(&model));
        Ok(model)
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Model>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader for TrytonReader {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        Ok(TrytonReader {
            client: Client::open(&config, &cx)?,
            models: Models::default(),
            overlap: Duration::from_secs(config.overlap_secs.into()),
            page_max: config.page_max,
            tables: cx.tables,
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        self.models.discover(&self.client, &self.tables).await
    }

    fn growing(&self, _: &str) -> Option<Growing> {
        Some(Growing {
            column: CHANGED_AT.to_owned(),
            overlap: self.overlap,
        })
    }

    async fn check(&self) -> Result<Vec<Finding>> {
        check::reads(&self.client, &self.tables).await
    }

    async fn scan(&self, page: Page<'_>) -> Result<Vec<Row>> {
        let model = self.models.known(&self.client, page.table).await?;
        let key = ordering(&model, page.key)?;
        if page.limit == 0 {
            return Ok(Vec::new());
        }
        let records = if page.key[0] == CHANGED_AT && model.modified().is_none() {
            // In this order a record that is written for the first time in between is in both, and not in none.
            let fresh = self.part(&model, &key, &page, Some(Part::Fresh)).await?;
            let written = self.part(&model, &key, &page, Some(Part::Written)).await?;
            merge(&model, &key, written, fresh, &page)?
        } else {
            self.part(&model, &key, &page, None).await?
        };
        let rows = records.iter();
        rows.map(|record| convert::row(&model, page.columns, record))
            .collect()
    }

    async fn fetch(
        &self,
        table: &str,
        columns: &[String],
        key: &[String],
        keys: &[Vec<Value>],
    ) -> Result<Vec<Row>> {
        let model = self.models.known(&self.client, table).await?;
        let named = key.iter().map(|name| model.searchable(name));
        let key: Key<'_> = named.collect::<Result<_>>()?;
        // A key that its columns cannot hold has no record.
        let wanted: Vec<Vec<Json>> = keys.iter().filter_map(|one| sought(&key, one)).collect();
        let fields = model.reads(columns.iter().map(String::as_str));
        let domain = Domain {
            model: &model,
            part: None,
        };
        let records = lookup::by_keys(&self.client, &domain, &key, &wanted, &fields).await?;
        let rows = records.iter();
        rows.map(|record| convert::row(&model, columns, record))
            .collect()
    }
}

impl TrytonReader {
    /// The records of a page, or of a part of them, read in as many calls as it takes.
    async fn part(
        &self,
        model: &Model,
        key: &Key<'_>,
        page: &Page<'_>,
        part: Option<Part>,
    ) -> Result<Vec<Json>> {
        let domain = Domain { model, part };
        let mut terms = domain.keyed(key);
        for (bound, sign, is_inclusive) in [(page.after, ">", false), (page.until, "<", true)] {
            if let Some(values) = bound {
                let values = bounds(key, values)?;
                terms.push(domain.beyond(key, &values, sign, is_inclusive));
            }
        }
        terms.extend(page.filter.and_then(|filter| domain.filter(filter)));
        let order = domain.order(key, page.backwards);
        let columns = page.columns.iter().chain(page.key).map(String::as_str);
        let fields = model.reads(columns);
        let onward = if page.backwards { "<" } else { ">" };
        let mut records: Vec<Json> = Vec::new();
        loop {
            let wanted = (page.limit - records.len()).min(self.page_max);
            let mut terms = terms.clone();
            if let Some(last) = records.last() {
                let values: Vec<Json> = key
                    .iter()
                    .map(|field| model.cell(last, &field.name).clone())
                    .collect();
                terms.push(domain.beyond(key, &values, onward, false));
            }
            let search = Search {
                model: model.name(),
                domain: &Json::Array(terms),
                limit: Some(wanted),
                order: &order,
                fields: &fields,
            };
            let found = lookup::search(&self.client, search).await?;
            let count = found.len();
            records.extend(found);
            if count < wanted || records.len() >= page.limit {
                return Ok(records);
            }
        }
    }
}

/// The fields to order by, if the server orders by them as it compares them.
fn ordering<'a>(model: &'a Model, names: &[String]) -> Result<Key<'a>> {
    if names.is_empty() {
        return Err(Error::config(format!(
            "records of `{}` cannot be paged without a key",
            model.name()
        ))
        .help("map the contract's key fields to columns of the model"));
    }
    let each = names.iter().map(|name| {
        let field = model.searchable(name)?;
        let fits = matches!(
            field.form,
            Form::Int
                | Form::Link
                | Form::Date
                | Form::DateTime
                | Form::Timestamp
                | Form::Decimal { .. }
                | Form::Text { .. }
        );
        if fits && field.is_sortable {
            return Ok(field);
        }
        Err(Error::config(format!(
            "records of `{}` cannot be paged by `{name}`: tryton does not order by it",
            model.name()
        ))
        .help(format!("take `{ID}` or another column that tryton stores")))
    });
    each.collect()
}

fn bounds(key: &Key<'_>, values: &[Value]) -> Result<Vec<Json>> {
    sought(key, values).ok_or_else(|| {
        let names: Vec<&str> = key.iter().map(|field| field.name.as_str()).collect();
        Error::invalid("a page cannot begin or end at this key").with("columns", names.join(", "))
    })
}

/// Two parts of a page as one, in the order of the key.
fn merge(
    model: &Model,
    key: &Key<'_>,
    a: Vec<Json>,
    b: Vec<Json>,
    page: &Page<'_>,
) -> Result<Vec<Json>> {
    let columns: Vec<String> = key.iter().map(|field| field.name.clone()).collect();
    let keyed = |record: Json| -> Result<(Row, Json)> {
        Ok((convert::row(model, &columns, &record)?, record))
    };
    let mut all = a
        .into_iter()
        .chain(b)
        .map(keyed)
        .collect::<Result<Vec<_>>>()?;
    all.sort_by(|(a, _), (b, _)| {
        let order = compare(a, b);
        if page.backwards {
            order.reverse()
        } else {
            order
        }
    });
    let mut seen = std::collections::HashSet::new();
    let id = |record: &Json| record.get(ID).and_then(Json::as_i64);
    let records = all.into_iter().map(|(_, record)| record);
    let mut records: Vec<Json> = records.filter(|record| seen.insert(id(record))).collect();
    records.truncate(page.limit);
    Ok(records)
}

fn compare(a: &Row, b: &Row) -> Ordering {
    let pairs = a.0.iter().zip(&b.0);
    let each = pairs.map(|(a, b)| match (a.value(), b.value()) {
        (Some(Value::Int(a)), Some(Value::Int(b))) => a.cmp(b),
        (Some(Value::Timestamp(a)), Some(Value::Timestamp(b))) => a.cmp(b),
        (Some(Value::Text(a)), Some(Value::Text(b))) => a.cmp(b),
        (Some(Value::Date(a)), Some(Value::Date(b))) => a.cmp(b),
        _ => Ordering::Equal,
    });
    each.fold(Ordering::Equal, Ordering::then)
}
