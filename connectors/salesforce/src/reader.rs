//! The reader: pages by query, records by their ids or a field, and what was deleted.

use std::sync::Arc;
use std::time::Duration;

use lockstep_core::connector::{Finding, Growing, Noticed, OpenContext, Page, Reader, Reads};
use lockstep_core::{Error, Kind, Result, Row, Shape, Value};
use lockstep_http_client::Json;
use lockstep_http_client::listing::{Listing, Listings, columns_of};
use tokio::sync::Mutex;

use crate::check;
use crate::client::{Api, QUERY_MAX};
use crate::config::Config;
use crate::convert::Form;
use crate::id;
use crate::journal;
use crate::read::{Reading, unread};
use crate::soql::{Condition, Order, condition, literal};
use crate::table::{self, Field, ID, Table};
use crate::tables::Tables;

/// Most values of one query.
const VALUES_MAX: usize = 200;

/// Reads records of a Salesforce account.
#[derive(Debug)]
pub struct SalesforceReader {
    api: Api,
    config: Config,
    names: Vec<String>,
    reads: Vec<Reads>,
    tables: Tables,
    listings: Mutex<Listings<Ordered>>,
}

/// Which listing it is: the table, what its rows hold, and the key that orders them.
type Ordered = (String, Vec<String>, Vec<String>);

impl Reader for SalesforceReader {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        let api = Api::open(&config, &cx)?;
        let reader = SalesforceReader {
            tables: Tables::new(api.clone()),
            api,
            config,
            reads: cx.tables.iter().map(|table| cx.reads(table)).collect(),
            names: cx.tables,
            listings: Mutex::default(),
        };
        // Which column grows is asked before anything else; what cannot be seen at all is told by whoever looks for it.
        for name in &reader.names {
            match reader.tables.look(name).await {
                Err(error) if matches!(error.kind(), Kind::Transient | Kind::Throttled) => {
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(reader)
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        self.tables.discover(&self.names).await
    }

    fn growing(&self, table: &str) -> Option<Growing> {
        let column = match self.tables.known(table) {
            Some(known) => known.growing()?,
            None => "SystemModstamp",
        };
        Some(Growing {
            column: column.to_owned(),
            overlap: Duration::from_secs(self.config.overlap_s.into()),
        })
    }

    fn has_journal(&self) -> bool {
        true
    }

    async fn noticed(&self, cursor: Option<&str>) -> Result<Noticed> {
        let overlap_s = i64::from(self.config.overlap_s);
        journal::noticed(&self.api, &self.tables, &self.names, overlap_s, cursor).await
    }

    async fn check(&self) -> Result<Vec<Finding>> {
        check::reads(&self.api, &self.tables, &self.names, &self.reads).await
    }

    async fn scan(&self, page: Page<'_>) -> Result<Vec<Row>> {
        let table = self.tables.get(page.table).await?;
        if page.limit == 0 {
            return Ok(Vec::new());
        }
        match Order::of(page.key, &table) {
            Some(order) => self.page(&table, order, &page).await,
            None => self.listed(&table, &page).await,
        }
    }

    async fn fetch(
        &self,
        table: &str,
        columns: &[String],
        key: &[String],
        keys: &[Vec<Value>],
    ) -> Result<Vec<Row>> {
        let table = self.tables.get(table).await?;
        let fields = table.all(columns)?;
        let unfit = |what: &str| {
            Error::unsupported(format!(
                "records of `{}` cannot be found by {what}",
                table.name
            ))
            .help("map the contract's key to `Id` or to one external id")
        };
        let [only] = key else {
            return Err(unfit("several columns"));
        };
        let by = table.field(only)?;
        let wanted: Vec<&Value> = keys.iter().filter_map(|key| key.first()).collect();
        let records = match by {
            by if by.name == ID => self.by_id(&table, columns, &wanted).await?,
            by if by.is_filterable => self.by_field(&table, columns, by, &wanted).await?,
            _ => return Err(unfit(&format!("`{only}`"))),
        };
        Ok(records
            .iter()
            .map(|record| table::row(record, &fields))
            .collect())
    }
}

impl SalesforceReader {
    /// A page in an order that queries know.
    async fn page(&self, table: &Table, order: Order, page: &Page<'_>) -> Result<Vec<Row>> {
        let fields = table.all(page.columns)?;
        let mut conditions = Vec::new();
        match page
            .filter
            .map(|filter| condition(filter, table))
            .transpose()?
        {
            Some(Condition::Never) => return Ok(Vec::new()),
            Some(Condition::Text(text)) => conditions.push(text),
            Some(Condition::Always) | None => {}
        }
        if let Some(until) = page.until {
            conditions.push(order.beside(until, page.backwards, true)?);
        }
        let reading = Reading {
            api: &self.api,
            tables: &self.tables,
            table,
            fields: page.columns.to_vec(),
            conditions,
            order,
            backwards: page.backwards,
            all: false,
        };
        let records = reading
            .rows(page.after, page.limit, self.config.page_max)
            .await?;
        Ok(records
            .iter()
            .map(|record| table::row(record, &fields))
            .collect())
    }

    /// A page in any other order: of texts, queries have an order of their own that keys do not tell.
    async fn listed(&self, table: &Table, page: &Page<'_>) -> Result<Vec<Row>> {
        let columns = columns_of(page, ID);
        let ordered = (page.table.to_owned(), columns.clone(), page.key.to_vec());
        let mut listings = self.listings.lock().await;
        if listings.lacks(&ordered, page) {
            let fields = table.all(&columns)?;
            let mut listing = Listing::new(columns.clone(), page.key);
            let reading = Reading {
                api: &self.api,
                tables: &self.tables,
                table,
                fields: columns,
                conditions: Vec::new(),
                order: Order::Id,
                backwards: false,
                all: false,
            };
            let mut after = None;
            loop {
                let step = reading.step(after.as_deref(), self.config.page_max).await?;
                self.put(table, &fields, &step.records, &mut listing)?;
                if step.is_end || step.last.is_none() {
                    break;
                }
                after = step.last;
            }
            listings.insert(ordered.clone(), listing);
        }
        Ok(listings.page(&ordered, page))
    }

    fn put(
        &self,
        table: &Table,
        fields: &[Field],
        records: &[Json],
        listing: &mut Listing,
    ) -> Result<()> {
        for record in records {
            if let Some(id) = table::id(record) {
                listing.put(&id, Some(table::row(record, fields)));
            }
        }
        let max = self.config.listing_max;
        if listing.len() > max {
            return Err(Error::unsupported(format!(
                "`{}` holds more than {max} records",
                table.name
            ))
            .help("raise `listing_max` of the system, and mind the memory that it takes"));
        }
        Ok(())
    }

    async fn by_id(&self, table: &Table, columns: &[String], keys: &[&Value]) -> Result<Vec<Json>> {
        let id = |key: &&Value| match key {
            Value::Text(text) => id::full(text),
            _ => None,
        };
        let mut ids: Vec<String> = keys.iter().filter_map(id).collect();
        ids.sort();
        ids.dedup();
        let read = self.api.retrieve(table, &ids, columns).await?;
        read.map_err(|refusal| unread(&self.tables, table, &refusal))
    }

    async fn by_field(
        &self,
        table: &Table,
        columns: &[String],
        by: &Field,
        keys: &[&Value],
    ) -> Result<Vec<Json>> {
        let found = found_by(&self.api, &self.tables, table, columns, by, keys).await?;
        // Texts are compared there without regard to case.
        let is_asked = |record: &Json| keys.contains(&&table::cell(record, by));
        Ok(found.into_iter().filter(is_asked).collect())
    }
}

/// Records that bear values of a field, those included whose texts differ in case only.
pub(crate) async fn found_by(
    api: &Api,
    tables: &Tables,
    table: &Table,
    columns: &[String],
    by: &Field,
    values: &[&Value],
) -> Result<Vec<Json>> {
    let mut literals: Vec<String> = values
        .iter()
        .filter_map(|value| literal(value, by.form))
        .collect();
    literals.sort();
    literals.dedup();
    let mut fields = columns.to_vec();
    fields.push(by.name.clone());
    let mut found = Vec::new();
    for some in chunks(&literals) {
        let list = some.join(", ");
        let condition = match by.form {
            Form::Choices => continue,
            _ => format!("{} IN ({list})", by.name),
        };
        let reading = Reading {
            api,
            tables,
            table,
            fields: fields.clone(),
            conditions: vec![condition],
            order: Order::Id,
            backwards: false,
            all: false,
        };
        found.extend(reading.rows(None, usize::MAX, 2000).await?);
    }
    Ok(found)
}

/// Parts of a list of literals that leave room for the rest of a query.
fn chunks(literals: &[String]) -> Vec<&[String]> {
    let mut parts = Vec::new();
    let (mut start, mut length) = (0, 0);
    for (at, literal) in literals.iter().enumerate() {
        // Encoded, a byte may take three.
        let more = literal.len() * 3 + 2;
        if at > start && (at - start == VALUES_MAX || length + more > QUERY_MAX / 2) {
            parts.push(&literals[start..at]);
            (start, length) = (at, 0);
        }
        length += more;
    }
    if start < literals.len() {
        parts.push(&literals[start..]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_values_leave_room_in_the_address() {
        let all: Vec<String> = (0..950).map(|n| format!("'{n:030}'")).collect();
        let parts = chunks(&all);
        assert_eq!(parts.concat(), all);
        for part in &parts {
            assert!(part.len() <= VALUES_MAX);
            assert!(part.join(", ").len() * 3 < QUERY_MAX);
        }
        assert!(chunks(&[]).is_empty());
        let long = vec!["x".repeat(9000); 3];
        assert_eq!(chunks(&long).len(), 3);
    }
}
