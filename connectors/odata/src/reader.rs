//! The reader: pages behind a key where the service orders by it, listings put in order here where it does not, records by key.

use std::sync::Arc;
use std::time::Duration;

use lockstep_core::connector::{Finding, Growing, Noticed, OpenContext, Page, Reader};
use lockstep_core::{Error, Result, Row, Shape, Value};
use lockstep_http_client::Json;
use lockstep_http_client::listing::{Listing, Listings, columns_of};
use tokio::sync::Mutex;

use crate::check;
use crate::client::Api;
use crate::config::Config;
use crate::delta;
use crate::lookup::{self, unlisted};
use crate::metadata::Property;
use crate::query::{self, Condition, address, condition};
use crate::table::{self, Item, Table};

/// Stands in listings for the whole key, as one text; no property has such a name.
const ID: &str = "@key";

/// Reads records of an OData service.
#[derive(Debug)]
pub struct ODataReader {
    api: Api,
    names: Vec<String>,
    listings: Mutex<Listings<Ordered>>,
}

/// Which listing it is: the table, what its rows hold, the key that orders them, and what they fulfil.
type Ordered = (String, Vec<String>, Vec<String>, String);

impl Reader for ODataReader {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        let api = Api::open(config, &cx)?;
        // Which tables have a growing column is in the service's description.
        api.look().await?;
        Ok(ODataReader {
            api,
            names: cx.tables,
            listings: Mutex::default(),
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        discover(&self.api, &self.names).await
    }

    fn growing(&self, table: &str) -> Option<Growing> {
        let config = &self.api.config;
        let own = config.table(table).modified;
        let usual = config.modified.clone().filter(|column| {
            let known = self.api.known();
            let set = known.as_ref().and_then(|service| service.sets.get(table));
            set.is_some_and(|set| set.properties.iter().any(|one| one.name == *column))
        });
        Some(Growing {
            column: own.or(usual)?,
            overlap: Duration::from_secs(config.overlap_s.into()),
        })
    }

    fn has_journal(&self) -> bool {
        let tracked = |name: &String| self.api.config.table(name).track_changes;
        self.names.iter().any(tracked)
    }

    async fn noticed(&self, cursor: Option<&str>) -> Result<Noticed> {
        delta::noticed(&self.api, &self.names, cursor).await
    }

    async fn check(&self) -> Result<Vec<Finding>> {
        check::reads(&self.api, &self.names).await
    }

    async fn scan(&self, page: Page<'_>) -> Result<Vec<Row>> {
        let table = self.api.table(page.table).await?;
        if page.limit == 0 {
            return Ok(Vec::new());
        }
        let key = lookup::properties(&table, page.key.iter().map(String::as_str))?;
        let items = table.items(page.columns.iter().map(String::as_str))?;
        let is_ordered = key.iter().all(|property| property.form.is_ordered());
        let is_newest = page.backwards
            && page.after.is_none()
            && page.until.is_none()
            && page.limit == 1
            && key
                .first()
                .is_some_and(|property| property.form.is_ordered());
        if is_ordered || is_newest {
            let ordered = if is_ordered { &key[..] } else { &key[..1] };
            let records = self.behind(&table, &items, ordered, &page).await?;
            return Ok(records
                .iter()
                .map(|record| table::row(record, &items))
                .collect());
        }
        self.listed(&table, &page).await
    }

    async fn fetch(
        &self,
        table: &str,
        columns: &[String],
        key: &[String],
        keys: &[Vec<Value>],
    ) -> Result<Vec<Row>> {
        let table = self.api.table(table).await?;
        let items = table.items(columns.iter().map(String::as_str))?;
        let properties = lookup::properties(&table, key.iter().map(String::as_str))?;
        let records = lookup::find(&self.api, &table, &items, &properties, keys).await?;
        if *key == table.set.key {
            self.remember(&table, columns, keys, &properties, &records)
                .await?;
        }
        Ok(records
            .iter()
            .map(|record| table::row(record, &items))
            .collect())
    }
}

impl ODataReader {
    /// A page behind a key that the service itself orders by.
    async fn behind(
        &self,
        table: &Table,
        items: &[Item],
        key: &[Property],
        page: &Page<'_>,
    ) -> Result<Vec<Json>> {
        let (sign, back, order) = match page.backwards {
            true => ("l", "g", " desc"),
            false => ("g", "l", ""),
        };
        let refs: Vec<&Property> = key.iter().collect();
        let path = |property: &&Property| property.name.replace('.', "/");
        let mut parts: Vec<Condition> = Vec::new();
        for (bound, sign, is_inclusive) in [(page.after, sign, false), (page.until, back, true)] {
            let Some(bound) = bound else { continue };
            parts.push(
                query::beyond(&refs, bound, sign, is_inclusive).ok_or_else(|| {
                    Error::invalid("a page cannot begin or end at this key")
                        .with("table", table.name())
                })?,
            );
        }
        parts.extend(page.filter.map(|filter| condition(table, filter)));
        let nullable = refs.iter().filter(|property| property.is_nullable);
        parts.extend(nullable.map(|one| Condition::Text(format!("{} ne null", path(one)))));
        let filter = match query::joined(parts.into_iter(), true) {
            Condition::Always => String::new(),
            Condition::Never => return Ok(Vec::new()),
            Condition::Text(text) => text,
        };
        let order: Vec<String> = refs
            .iter()
            .map(|one| format!("{}{order}", path(one)))
            .collect();
        let (select, expand) = table.asked(items);
        let (order, top) = (order.join(","), page.limit.to_string());
        let options = [
            ("$select", &*select),
            ("$expand", &expand),
            ("$filter", &filter),
            ("$orderby", &order),
            ("$top", &top),
        ];
        let mut records = Vec::new();
        let mut next = Some(address(table.name(), &options));
        // A service may give less than is asked for at once, and a link to the rest.
        while let Some(at) = next.filter(|_| records.len() < page.limit) {
            let listed = self.api.page(&at, "").await?;
            let listed = listed.map_err(|refusal| unlisted(table.name(), &refusal.words(&[])))?;
            records.extend(listed.records);
            next = listed.next.filter(|link| *link != at);
        }
        records.truncate(page.limit);
        let first = records.first().map(|record| lookup::values(record, key));
        if page.after.is_some() && first.as_deref() == page.after {
            return Err(Error::unexpected(format!(
                "the service gives a record of `{}` again behind its own key",
                table.name()
            ))
            .help("its key, or the column of its changes, holds more digits than it tells"));
        }
        Ok(records)
    }

    /// A page of a listing that is put in order here.
    async fn listed(&self, table: &Table, page: &Page<'_>) -> Result<Vec<Row>> {
        let columns = columns_of(page, ID);
        let filter = page.filter.map(|filter| condition(table, filter));
        let filter = match filter.unwrap_or(Condition::Always) {
            Condition::Always => String::new(),
            Condition::Never => return Ok(Vec::new()),
            Condition::Text(text) => text,
        };
        let name = (
            table.name().to_owned(),
            columns.clone(),
            page.key.to_vec(),
            filter.clone(),
        );
        let mut listings = self.listings.lock().await;
        if listings.lacks(&name, page) {
            let listing = self.list(table, &columns, page.key, &filter).await?;
            listings.insert(name.clone(), listing);
        }
        Ok(listings.page(&name, page))
    }

    /// Every record that fulfils a condition, by the links of the service.
    async fn list(
        &self,
        table: &Table,
        columns: &[String],
        key: &[String],
        filter: &str,
    ) -> Result<Listing> {
        let mut listing = Listing::new(columns.to_vec(), key);
        let items = listed_items(table, columns)?;
        let (select, expand) = table.asked(&items);
        let options = [
            ("$select", &*select),
            ("$expand", &expand),
            ("$filter", filter),
        ];
        let prefer = format!("odata.maxpagesize={}", self.api.config.page_max);
        let max = self.api.config.listing_max;
        let mut next = Some(address(table.name(), &options));
        while let Some(at) = next {
            let listed = self.api.page(&at, &prefer).await?;
            let listed = listed.map_err(|refusal| unlisted(table.name(), &refusal.words(&[])))?;
            for record in &listed.records {
                put(table, &items, record, &mut listing);
            }
            if listing.len() > max {
                return Err(Error::unsupported(format!(
                    "`{}` holds more than {max} records",
                    table.name()
                ))
                .help("raise `listing_max` of the system, and mind the memory that it takes"));
            }
            next = listed.next.filter(|link| *link != at);
        }
        Ok(listing)
    }

    /// What was read by its key is newer than what listings hold; a listing of other columns is read anew.
    async fn remember(
        &self,
        table: &Table,
        read: &[String],
        keys: &[Vec<Value>],
        key: &[Property],
        records: &[Json],
    ) -> Result<()> {
        let mut listings = self.listings.lock().await;
        let listings = listings.held();
        let is_read = |column: &String| {
            column == ID || read.contains(column) || table.set.key.contains(column)
        };
        listings
            .retain(|(name, columns, ..), _| name != table.name() || columns.iter().all(is_read));
        for ((name, columns, ..), listing) in listings.iter_mut() {
            if name != table.name() {
                continue;
            }
            for values in keys {
                let pairs: Vec<_> = key.iter().zip(values.iter().cloned()).collect();
                if let Some(id) = query::predicate(&pairs) {
                    listing.put(&id, None);
                }
            }
            let items = listed_items(table, columns)?;
            for record in records {
                put(table, &items, record, listing);
            }
        }
        Ok(())
    }
}

/// The columns of a listing but its last, which stands for the key.
fn listed_items(table: &Table, columns: &[String]) -> Result<Vec<Item>> {
    let columns = columns.iter().filter(|column| *column != ID);
    table.items(columns.map(String::as_str))
}

fn put(table: &Table, items: &[Item], record: &Json, listing: &mut Listing) {
    if let Some(id) = table.predicate(record) {
        let mut row = table::row(record, items);
        row.0.push(Value::text(&id).into());
        listing.put(&id, Some(row));
    }
}

/// The shapes of tables, as the service describes them now.
pub(crate) async fn discover(api: &Api, names: &[String]) -> Result<Vec<Arc<Shape>>> {
    let service = api.look().await?;
    let shape = |name: &String| Ok(Table::of(&service, name, api.config.table(name))?.shape());
    names.iter().map(shape).collect()
}
