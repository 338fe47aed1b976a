//! The reader: listings put in order, windows over the time of change, records by their id or code.
//!
//! With it, the runtime captures the system by query (`capture = "query"`), compares and repairs it.

use std::sync::Arc;
use std::time::Duration;

use lockstep_core::connector::{Filter, Finding, Growing, OpenContext, Page, Reader, Sign};
use lockstep_core::{Error, Result, Row, Shape, Value};
use lockstep_http_client::listing::{Listing, Listings, columns_of};
use tokio::sync::Mutex;

use crate::check;
use crate::client::Api;
use crate::config::Config;
use crate::table::{self, CODE, GROWING, ID, table};

/// How far behind a change its time may become visible; windows overlap by it.
const OVERLAP: Duration = Duration::from_secs(30);

/// Reads records of an Acme system.
#[derive(Debug)]
pub struct AcmeReader {
    api: Api,
    listing_max: usize,
    names: Vec<String>,
    listings: Mutex<Listings<Ordered>>,
}

/// Which listing it is: the table, what its rows hold, the key that orders them, and from when on they changed.
type Ordered = (String, Vec<String>, Vec<String>, Option<String>);

impl Reader for AcmeReader {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        Ok(AcmeReader {
            api: Api::open(&config, &cx)?,
            listing_max: config.listing_max,
            names: cx.tables,
            listings: Mutex::default(),
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        table::shapes(&self.names)
    }

    fn growing(&self, _table: &str) -> Option<Growing> {
        Some(Growing {
            column: GROWING.to_owned(),
            overlap: OVERLAP,
        })
    }

    async fn check(&self) -> Result<Vec<Finding>> {
        check::reads(&self.api, &self.names).await
    }

    async fn scan(&self, page: Page<'_>) -> Result<Vec<Row>> {
        // The system lists records in an order of its own: a listing is taken whole and put in the order of the key.
        let is_window = page.key.first().is_some_and(|column| column == GROWING);
        let since = page.filter.filter(|_| is_window).and_then(since);
        let columns = columns_of(&page, ID);
        let ordered = (
            page.table.to_owned(),
            columns.clone(),
            page.key.to_vec(),
            since.clone(),
        );
        let mut listings = self.listings.lock().await;
        if listings.lacks(&ordered, &page) {
            let listing = self.list(&page, columns, since.as_deref()).await?;
            listings.insert(ordered.clone(), listing);
        }
        Ok(listings.page(&ordered, &page))
    }

    async fn fetch(
        &self,
        table_name: &str,
        columns: &[String],
        key: &[String],
        keys: &[Vec<Value>],
    ) -> Result<Vec<Row>> {
        let table = table(table_name)?;
        let kinds = table.kinds(columns)?;
        let by = match key {
            [only] if [ID, CODE].contains(&only.as_str()) => only,
            _ => {
                return Err(Error::unsupported(format!(
                    "records of `{table_name}` cannot be found by these columns"
                ))
                .help(format!("map the contract's key to `{CODE}` or `{ID}`")));
            }
        };
        let mut rows = Vec::with_capacity(keys.len());
        for value in keys.iter().filter_map(|key| key.first()) {
            if value.is_null() {
                continue;
            }
            let found = self.api.find(table.name, by, &value.to_string()).await?;
            rows.extend(found.map(|record| table::row(&record, &kinds)));
        }
        Ok(rows)
    }
}

impl AcmeReader {
    /// Every record of a table, or those that changed since a time.
    async fn list(
        &self,
        page: &Page<'_>,
        columns: Vec<String>,
        since: Option<&str>,
    ) -> Result<Listing> {
        let table = table(page.table)?;
        let kinds = table.kinds(&columns)?;
        let mut listing = Listing::new(columns, page.key);
        let mut after: Option<String> = None;
        loop {
            let (records, next) = self.api.list(table.name, since, after.as_deref()).await?;
            for record in &records {
                listing.put(&table::id(record)?, Some(table::row(record, &kinds)));
            }
            if listing.len() > self.listing_max {
                let most = self.listing_max;
                let name = table.name;
                return Err(
                    Error::unsupported(format!("`{name}` holds more than {most} records")).help(
                        "raise `listing_max` of the system, and mind the memory that it takes",
                    ),
                );
            }
            match next {
                // A system that names the same place again would be read for ever.
                Some(next) if after.as_ref() != Some(&next) => after = Some(next),
                _ => return Ok(listing),
            }
        }
    }
}

/// From which time of change on a filter wants rows, as the system writes it.
fn since(filter: &Filter) -> Option<String> {
    match filter {
        Filter::Compare(column, Sign::Greater | Sign::GreaterOrEqual | Sign::Equal, value)
            if column == GROWING =>
        {
            Some(value.to_string())
        }
        Filter::All(parts) => parts.iter().find_map(since),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_begins_where_its_filter_does_and_a_choice_has_no_beginning() {
        let at = Value::Timestamp("2026-01-31T13:45:00Z".parse().unwrap());
        let from = Filter::Compare(GROWING.to_owned(), Sign::GreaterOrEqual, at);
        let text = Some("2026-01-31T13:45:00Z".to_owned());
        assert_eq!(since(&from), text);
        assert_eq!(since(&Filter::All(vec![from.clone()])), text);
        assert_eq!(since(&Filter::Any(vec![from])), None);
    }
}
