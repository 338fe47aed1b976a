//! The reader: listings put in order, windows by search, records by their ids or a property.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lockstep_core::connector::{
    Call, Filter, Finding, Growing, Heard, OpenContext, Page, Reader, Sign,
};
use lockstep_core::{Error, Result, Row, Shape, Value};
use lockstep_http_client::listing::{Listing, Listings, columns_of};
use serde_json::{Value as Json, json};
use tokio::sync::Mutex;

use crate::check;
use crate::client::{Api, BATCH_MAX};
use crate::config::Config;
use crate::hear;
use crate::links;
use crate::properties::Tables;
use crate::table::{self, ID, Item, Table, asked, id, linked};

/// Most records of one page of a search.
const SEARCH_MAX: usize = 100;

/// Reads records of a HubSpot account.
#[derive(Debug)]
pub struct HubSpotReader {
    api: Api,
    config: Config,
    names: Vec<String>,
    tables: Tables,
    listings: Mutex<Listings<Ordered>>,
}

/// Which listing it is: the table, what its rows hold, the key that orders them, and what they fulfil.
type Ordered = (String, Vec<String>, Vec<String>, String);

impl Reader for HubSpotReader {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        let api = Api::open(&config, &cx)?;
        Ok(HubSpotReader {
            tables: Tables::new(api.clone(), config.clone()),
            api,
            config,
            names: cx.tables,
            listings: Mutex::default(),
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        discover(&self.api, &self.tables, &self.names).await
    }

    fn growing(&self, table: &str) -> Option<Growing> {
        Some(Growing {
            column: table::growing(table).to_owned(),
            overlap: Duration::from_secs(self.config.search_delay_s.into()),
        })
    }

    fn hear(&self, call: &Call) -> Result<Heard> {
        let config = &self.config;
        let secret = config.webhook_secret.as_ref();
        hear::hear(call, secret, config.webhook_tolerance_s, &self.names)
    }

    async fn check(&self) -> Result<Vec<Finding>> {
        check::reads(&self.api, &self.tables, &self.config, &self.names).await
    }

    async fn scan(&self, page: Page<'_>) -> Result<Vec<Row>> {
        let table = self.tables.get(page.table).await?;
        if page.limit == 0 {
            return Ok(Vec::new());
        }
        let growing = table::growing(page.table);
        let is_window = page.key.first().is_some_and(|column| column == growing);
        if is_window && page.backwards && page.after.is_none() && page.filter.is_none() {
            return self.newest(&table, &page, growing).await;
        }
        let columns = columns_of(&page, ID);
        let filter = format!("{:?}", page.filter.filter(|_| is_window));
        let ordered = (
            page.table.to_owned(),
            columns.clone(),
            page.key.to_vec(),
            filter,
        );
        let mut listings = self.listings.lock().await;
        if listings.lacks(&ordered, &page) {
            let from = page
                .filter
                .filter(|_| is_window)
                .and_then(|filter| least(filter, growing));
            let mut listing = Listing::new(columns.clone(), page.key);
            let items = table.items(&columns)?;
            match from {
                Some(from) => {
                    self.window(&table, &items, growing, from, &mut listing)
                        .await?;
                }
                None => self.whole(&table, &items, &mut listing).await?,
            }
            listings.insert(ordered.clone(), listing);
        }
        Ok(listings.page(&ordered, &page))
    }

    async fn fetch(
        &self,
        table: &str,
        columns: &[String],
        key: &[String],
        keys: &[Vec<Value>],
    ) -> Result<Vec<Row>> {
        let table = self.tables.get(table).await?;
        let items = table.items(columns)?;
        let [only] = key else {
            return Err(Error::unsupported(format!(
                "records of `{}` cannot be found by several columns",
                table.name
            ))
            .help("map the contract's key to `id` or to one property of unique values"));
        };
        let by = table.item(only)?;
        let wanted: Vec<String> = keys
            .iter()
            .filter_map(|key| key.first().filter(|value| !value.is_null()))
            .map(Value::to_string)
            .collect();
        let mut names = asked(&items);
        let mut records = match &by {
            Item::Id => self
                .api
                .read(&table.name, &wanted, None, &names)
                .await?
                .unwrap_or_default(),
            Item::Property(property) => {
                names.push(property.name.clone());
                names.dedup();
                self.by_property(&table, &property.name, &wanted, &names)
                    .await?
            }
            Item::Stamp(_) | Item::Link(_) => {
                return Err(Error::unsupported(format!(
                    "records of `{}` cannot be found by `{only}`",
                    table.name
                ))
                .help("map the contract's key to `id` or to one property of unique values"));
            }
        };
        // What is found by a search may have been changed since it looked.
        records.retain(|record| {
            let value = table::cell(record, &by);
            keys.iter().any(|key| key.first() == Some(&value))
        });
        links::attach(&self.api, &table.name, &linked(&items), &mut records).await?;
        if matches!(by, Item::Id) {
            self.remember(&table, columns, &wanted, &records).await?;
        }
        Ok(records
            .iter()
            .map(|record| table::row(record, &items))
            .collect())
    }
}

impl HubSpotReader {
    /// Every record of a table.
    async fn whole(&self, table: &Table, items: &[Item], listing: &mut Listing) -> Result<()> {
        let (names, to) = (asked(items), linked(items));
        let mut after: Option<String> = None;
        loop {
            let page = self.api.list(&table.name, &names, after.as_deref()).await?;
            let (mut records, next) = match page {
                Ok(page) => page,
                Err(refusal) => return Err(unlisted(&table.name, &refusal)),
            };
            links::attach(&self.api, &table.name, &to, &mut records).await?;
            self.put(&table.name, items, &records, listing)?;
            match next {
                Some(next) if after.as_ref() != Some(&next) => after = Some(next),
                _ => return Ok(()),
            }
        }
    }

    /// Records that changed from an instant until now.
    ///
    /// They are asked for by their ids, so that no page shifts while others change, and no search ends at 10,000 records.
    async fn window(
        &self,
        table: &Table,
        items: &[Item],
        growing: &str,
        from: Timestamp,
        listing: &mut Listing,
    ) -> Result<()> {
        let (names, to) = (asked(items), linked(items));
        // What changes while this is read is left to the next window, which begins before it.
        let until = self.api.now().as_millisecond().to_string();
        let from = from.as_millisecond().to_string();
        let mut last = "0".to_owned();
        loop {
            let filter = |name: &str, operator: &str, value: &str| json!({ "propertyName": name, "operator": operator, "value": value });
            let filters = [
                filter(growing, "GTE", &from),
                filter(growing, "LTE", &until),
                filter("hs_object_id", "GT", &last),
            ];
            let body = json!({
                "filterGroups": [{ "filters": filters }],
                "sorts": [{ "propertyName": "hs_object_id", "direction": "ASCENDING" }],
                "properties": names,
                "limit": SEARCH_MAX,
            });
            let mut records = self.api.search(&table.name, &body).await?;
            links::attach(&self.api, &table.name, &to, &mut records).await?;
            self.put(&table.name, items, &records, listing)?;
            match records.last().and_then(id) {
                Some(id) if records.len() == SEARCH_MAX && id != last => last = id.to_owned(),
                _ => return Ok(()),
            }
        }
    }

    fn put(
        &self,
        name: &str,
        items: &[Item],
        records: &[Json],
        listing: &mut Listing,
    ) -> Result<()> {
        for record in records {
            if let Some(id) = id(record) {
                listing.put(id, Some(table::row(record, items)));
            }
        }
        let max = self.config.listing_max;
        if listing.len() > max {
            return Err(
                Error::unsupported(format!("`{name}` holds more than {max} records"))
                    .help("raise `listing_max` of the system, and mind the memory that it takes"),
            );
        }
        Ok(())
    }

    /// The records that changed last.
    async fn newest(&self, table: &Table, page: &Page<'_>, growing: &str) -> Result<Vec<Row>> {
        let items = table.items(page.columns)?;
        let body = json!({
            "sorts": [{ "propertyName": growing, "direction": "DESCENDING" }],
            "properties": asked(&items),
            "limit": page.limit.min(SEARCH_MAX),
        });
        let mut records = self.api.search(&table.name, &body).await?;
        links::attach(&self.api, &table.name, &linked(&items), &mut records).await?;
        Ok(records
            .iter()
            .map(|record| table::row(record, &items))
            .collect())
    }

    /// Records by the values of a property: at once where its values are unique, else by search.
    async fn by_property(
        &self,
        table: &Table,
        property: &str,
        wanted: &[String],
        names: &[String],
    ) -> Result<Vec<Json>> {
        if let Some(found) = self
            .api
            .read(&table.name, wanted, Some(property), names)
            .await?
        {
            return Ok(found);
        }
        let mut found = Vec::new();
        for some in wanted.chunks(BATCH_MAX) {
            let filter = json!({ "propertyName": property, "operator": "IN", "values": some });
            let body = json!({
                "filterGroups": [{ "filters": [filter] }],
                "properties": names,
                "limit": SEARCH_MAX,
            });
            let hits = self.api.search(&table.name, &body).await?;
            let ids: Vec<String> = hits.iter().filter_map(id).map(str::to_owned).collect();
            found.extend(
                self.api
                    .read(&table.name, &ids, None, names)
                    .await?
                    .unwrap_or_default(),
            );
        }
        Ok(found)
    }

    /// What was read by its id is newer than what listings hold; a listing of other columns is read anew.
    async fn remember(
        &self,
        table: &Table,
        read: &[String],
        ids: &[String],
        records: &[Json],
    ) -> Result<()> {
        let mut listings = self.listings.lock().await;
        let is_read = |column: &String| column == ID || read.contains(column);
        let listings = listings.held();
        listings
            .retain(|(name, columns, ..), _| *name != table.name || columns.iter().all(is_read));
        for ((name, columns, ..), listing) in listings.iter_mut() {
            if *name != table.name {
                continue;
            }
            let items = table.items(columns)?;
            for wanted in ids {
                let record = records.iter().find(|record| id(record) == Some(wanted));
                listing.put(wanted, record.map(|record| table::row(record, &items)));
            }
        }
        Ok(())
    }
}

/// The shapes of tables, as the account describes them.
pub(crate) async fn discover(
    api: &Api,
    tables: &Tables,
    names: &[String],
) -> Result<Vec<Arc<Shape>>> {
    let mut shapes = Vec::with_capacity(names.len());
    for name in names {
        let table = tables.look(name).await?;
        if !table.is_described
            && let Err(refusal) = api.list(name, &[], None).await?
        {
            return Err(unlisted(name, &refusal));
        }
        shapes.push(table.shape());
    }
    Ok(shapes)
}

fn unlisted(table: &str, refusal: &crate::client::Refusal) -> Error {
    Error::unsupported(format!(
        "`{table}` cannot be listed: {}",
        refusal.words(std::iter::empty())
    ))
    .code(lockstep_core::contract::drift::GONE)
    .help("name a standard object (contacts, companies, deals, products, …) or a custom one by its id (2-…) or its full name")
}

/// From which instant on a filter wants rows.
fn least(filter: &Filter, column: &str) -> Option<Timestamp> {
    match filter {
        Filter::Compare(
            name,
            Sign::Greater | Sign::GreaterOrEqual | Sign::Equal,
            Value::Timestamp(at),
        ) if name == column => Some(*at),
        Filter::All(parts) => parts.iter().filter_map(|part| least(part, column)).max(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_begins_where_every_part_of_its_filter_does() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let from = |second| {
            Filter::Compare(
                "m".to_owned(),
                Sign::GreaterOrEqual,
                Value::Timestamp(at(second)),
            )
        };
        assert_eq!(least(&from(5), "m"), Some(at(5)));
        assert_eq!(
            least(&Filter::All(vec![from(5), from(7)]), "m"),
            Some(at(7))
        );
        assert_eq!(least(&Filter::Any(vec![from(5), from(7)]), "m"), None);
        assert_eq!(least(&from(5), "other"), None);
    }
}
