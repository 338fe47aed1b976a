//! The reader: pages in key order, and documents by key.
//!
//! Where an index fits the key, a page begins at a bound of that index, which compares values of all types; else every document is compared.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lockstep_core::connector::{OpenContext, Page, Reader};
use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Error, Result, Row, Shape, Value};
use mongodb::Cursor;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::options::{FindOptions, Hint, ReadConcern};

use crate::catalog::{self, Kind};
use crate::client::{Client, failure};
use crate::columns::{Field, Fields, ID, Table};
use crate::config::Config;
use crate::convert::{sought, sought_id};
use crate::record;

/// Most keys that one question asks for.
const KEYS_MAX: usize = 500;

/// Reads documents of a MongoDB database, views included.
#[derive(Debug)]
pub struct MongoReader {
    client: Client,
    config: Config,
    tables: Vec<String>,
    known: Mutex<HashMap<String, Arc<Known>>>,
}

/// A collection, and how documents are found in it.
#[derive(Debug)]
struct Known {
    table: Table,
    uniques: Vec<catalog::Unique>,
}

impl Reader for MongoReader {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        Ok(MongoReader {
            client: Client::open(&config, &cx).await?,
            config,
            tables: cx.tables,
            known: Mutex::default(),
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        let mut shapes = Vec::with_capacity(self.tables.len());
        for name in &self.tables {
            let known = self.look(name).await?;
            shapes.push(Arc::clone(&known.table.shape));
        }
        Ok(shapes)
    }

    async fn scan(&self, page: Page<'_>) -> Result<Vec<Row>> {
        let known = self.known(page.table).await?;
        let plan = Plan::new(&known, page.columns, page.key)?;
        if page.limit == 0 {
            return Ok(Vec::new());
        }
        let after = page.after.map(|after| plan.values(after)).transpose()?;
        let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
        let until = page.until.map(|until| plan.values(until)).transpose()?;
        if page.after.is_some() && page.after == page.until {
            // Nothing lies between a key and itself, and the server takes no such bounds.
            return Ok(Vec::new());
        }
        let mut options = FindOptions::default();
        (options.limit, options.sort) = (Some(limit), Some(plan.order(page.backwards)));
        let mut terms = vec![plan.has_key()];
        if let Some(condition) = page.filter {
            terms.push(known.table.condition(condition)?);
        }
        let mut last = None;
        match plan.index(&known) {
            Some(hint) => {
                options.hint = Some(Hint::Keys(hint));
                if let Some(after) = after {
                    terms.push(doc! { "$nor": [plan.equals(&after)] });
                    options.min = Some(plan.bound(&after));
                }
                if let Some(until) = until {
                    // An index is read up to a bound that it leaves out, so its document is read by itself.
                    options.max = Some(plan.bound(&until));
                    last = Some(plan.equals(&until));
                }
            }
            None => {
                options.allow_disk_use = Some(true);
                if let Some(after) = after {
                    terms.push(doc! { "$expr": plan.beyond(after) });
                }
                if let Some(until) = until {
                    terms.push(doc! { "$nor": [{ "$expr": plan.beyond(until) }] });
                }
            }
        }
        let found = doc! { "$and": terms.clone() };
        let mut rows = self.find(&plan, found, options).await?;
        if let Some(last) = last.filter(|_| rows.len() < page.limit) {
            terms.push(last);
            let last = self.find(&plan, doc! { "$and": terms }, FindOptions::default());
            rows.extend(last.await?);
        }
        Ok(rows)
    }

    async fn fetch(
        &self,
        table: &str,
        columns: &[String],
        key: &[String],
        keys: &[Vec<Value>],
    ) -> Result<Vec<Row>> {
        let known = self.known(table).await?;
        let plan = Plan::new(&known, columns, key)?;
        let mut rows = Vec::with_capacity(keys.len());
        for some in keys.chunks(KEYS_MAX) {
            let filter = plan.any_of(some);
            if let Some(filter) = filter {
                rows.extend(self.find(&plan, filter, FindOptions::default()).await?);
            }
        }
        Ok(rows)
    }
}

impl MongoReader {
    async fn find(
        &self,
        plan: &Plan,
        filter: Document,
        mut options: FindOptions,
    ) -> Result<Vec<Row>> {
        options.projection = Some(plan.projection());
        options.read_concern = Some(ReadConcern::majority());
        let documents = self
            .client
            .db
            .collection::<RawDocumentBuf>(&plan.collection);
        let cursor = documents.find(filter).with_options(options).await;
        plan.rows(cursor.map_err(|error| plan.failed(&error))?)
            .await
    }

    async fn look(&self, name: &str) -> Result<Arc<Known>> {
        let table = Table::find(&self.client, &self.config, name).await?;
        let uniques = match table.collection.kind {
            Kind::Plain | Kind::Capped => catalog::uniques(&self.client, name).await?,
            Kind::View | Kind::TimeSeries => Vec::new(),
        };
        let known = Arc::new(Known { table, uniques });
        self.all().insert(name.to_owned(), Arc::clone(&known));
        Ok(known)
    }

    async fn known(&self, name: &str) -> Result<Arc<Known>> {
        let known = self.all().get(name).cloned();
        match known {
            Some(known) => Ok(known),
            None => self.look(name).await,
        }
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names resolved against the collection.
struct Plan {
    collection: String,
    fields: Fields,
    key: Vec<(String, Field)>,
}

impl Plan {
    fn new(known: &Known, columns: &[String], key: &[String]) -> Result<Plan> {
        let table = &known.table;
        let name = &table.collection.name;
        let names: Vec<&str> = table.shape.names().collect();
        let resolve = |column: &String| {
            table.shape.position(column).ok_or_else(|| {
                Error::config(format!("collection `{name}` has no column `{column}`"))
                    .help(suggestion(column, names.iter().copied()))
            })
        };
        if key.is_empty() {
            return Err(Error::config(format!(
                "documents of `{name}` cannot be paged without a key"
            ))
            .help("map the contract's key fields to columns of the collection"));
        }
        let field = |column: &String| Ok(table.fields.list[resolve(column)?].clone());
        let keyed = |column: &String| Ok((column.clone(), field(column)?));
        Ok(Plan {
            collection: name.clone(),
            fields: Fields::new(columns.iter().map(field).collect::<Result<_>>()?),
            key: key.iter().map(keyed).collect::<Result<_>>()?,
        })
    }

    fn failed(&self, error: &mongodb::error::Error) -> Error {
        failure("cannot read the collection", error).with("collection", &self.collection)
    }

    /// The names of whole fields that are read: their columns are taken apart here.
    fn projection(&self) -> Document {
        let mut projection: Document = self
            .fields
            .by_name
            .keys()
            .map(|name| (name.clone(), Bson::Int32(1)))
            .collect();
        if !projection.contains_key(ID) {
            projection.insert(ID, i32::from(projection.is_empty()));
        }
        projection
    }

    fn order(&self, backwards: bool) -> Document {
        let way = if backwards { -1 } else { 1 };
        let each = self.key.iter();
        each.map(|(name, _)| (name.clone(), Bson::Int32(way)))
            .collect()
    }

    /// Leaves out documents that nothing identifies.
    fn has_key(&self) -> Document {
        let fields = self.key.iter().filter(|(name, _)| name != ID);
        let filter = fields.map(|(name, _)| (name.clone(), Bson::Document(doc! { "$ne": null })));
        filter.collect()
    }

    /// The unique index whose order is that of the key.
    fn index(&self, known: &Known) -> Option<Document> {
        let is_key = |unique: &&catalog::Unique| {
            unique
                .fields
                .iter()
                .eq(self.key.iter().map(|(name, _)| name))
        };
        known.uniques.iter().find(is_key).map(|_| self.order(false))
    }

    fn values(&self, after: &[Value]) -> Result<Vec<Bson>> {
        if after.len() != self.key.len() {
            return Err(Error::invalid(format!(
                "a page after {} values was asked for, but the key has {}",
                after.len(),
                self.key.len()
            )));
        }
        let value = |(value, (name, field)): (&Value, &(String, Field))| {
            let found = if field.path == [ID] {
                sought_id(value, field.form)
            } else {
                sought(value, field.form)
            };
            found.ok_or_else(|| {
                Error::invalid("a page cannot begin after this key").with("column", name)
            })
        };
        after.iter().zip(&self.key).map(value).collect()
    }

    fn bound(&self, values: &[Bson]) -> Document {
        let pairs = self.key.iter().zip(values);
        pairs
            .map(|((name, _), value)| (name.clone(), value.clone()))
            .collect()
    }

    fn equals(&self, values: &[Bson]) -> Document {
        let pairs = self.key.iter().zip(values);
        pairs
            .map(|((name, _), value)| (name.clone(), Bson::Document(doc! { "$eq": value.clone() })))
            .collect()
    }

    /// Compares keys as lists, which compares values of all types.
    fn beyond(&self, values: Vec<Bson>) -> Document {
        let names = self
            .key
            .iter()
            .map(|(name, _)| Bson::String(format!("${name}")));
        let values = values
            .into_iter()
            .map(|value| Bson::Document(doc! { "$literal": value }));
        doc! { "$gt": [names.collect::<Vec<_>>(), values.collect::<Vec<_>>()] }
    }

    /// What finds some keys. A key that its columns cannot hold has no document.
    fn any_of(&self, keys: &[Vec<Value>]) -> Option<Document> {
        let mut found: Vec<Vec<Bson>> = keys
            .iter()
            .filter_map(|key| self.values(key).ok())
            .collect();
        if found.is_empty() {
            return None;
        }
        if let [(name, _)] = self.key.as_slice() {
            let values: Vec<Bson> = found.drain(..).flatten().collect();
            return Some(doc! { name: { "$in": values } });
        }
        let each: Vec<Document> = found.iter().map(|values| self.equals(values)).collect();
        Some(doc! { "$or": each })
    }

    async fn rows(&self, mut cursor: Cursor<RawDocumentBuf>) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        while cursor
            .advance()
            .await
            .map_err(|error| self.failed(&error))?
        {
            rows.push(record::row(&self.fields, cursor.current()));
        }
        Ok(rows)
    }
}
