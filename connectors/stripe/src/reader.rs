//! The reader: listings put in order, objects by their ids, and what may have changed by events and webhooks.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use lockstep_core::connector::{Call, Finding, Heard, Noticed, OpenContext, Page, Reader};
use lockstep_core::{Error, Result, Row, Shape, Value};
use lockstep_http_client::listing::{Listing, Listings, columns_of};
use serde_json::Value as Json;
use tokio::sync::Mutex as AsyncMutex;

use crate::check;
use crate::client::{Api, all};
use crate::config::Config;
use crate::convert::{self, text};
use crate::hear;
use crate::journal;
use crate::lookup::Lookup;
use crate::table::{ID, Item, Table};

/// How often one listing may begin because its place was lost.
const BEGUN_MAX: usize = 4;

/// Reads objects of a Stripe account.
#[derive(Debug)]
pub struct StripeReader {
    api: Api,
    config: Config,
    tables: Vec<String>,
    lookup: Lookup,
    listings: AsyncMutex<Listings<Ordered>>,
    /// What was read by id while listings were under way: it is newer than what they give.
    fresh: Mutex<HashMap<String, HashMap<String, Option<Json>>>>,
}

/// Which listing it is: the table, what its rows hold, and the key that orders them.
type Ordered = (String, Vec<String>, Vec<String>);

impl Reader for StripeReader {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        let api = Api::open(&config, &cx)?;
        for table in &cx.tables {
            Table::of(table, &config)?;
        }
        Ok(StripeReader {
            lookup: Lookup::new(api.clone(), config.listing_max),
            api,
            config,
            tables: cx.tables,
            listings: AsyncMutex::default(),
            fresh: Mutex::default(),
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        discover(&self.api, &self.config, &self.tables).await
    }

    fn has_journal(&self) -> bool {
        self.config.events
    }

    async fn noticed(&self, cursor: Option<&str>) -> Result<Noticed> {
        let overlap = self.config.events_overlap_s;
        journal::noticed(&self.api, &self.tables, overlap, cursor).await
    }

    fn hear(&self, call: &Call) -> Result<Heard> {
        let config = &self.config;
        let tolerance = config.webhook_tolerance_s;
        hear::hear(call, &config.webhook_secrets, tolerance, &self.tables)
    }

    async fn check(&self) -> Result<Vec<Finding>> {
        check::reads(&self.api, &self.config, &self.tables).await
    }

    async fn scan(&self, page: Page<'_>) -> Result<Vec<Row>> {
        let table = Table::of(page.table, &self.config)?;
        let columns = columns_of(&page, ID);
        let ordered: Ordered = (page.table.to_owned(), columns.clone(), page.key.to_vec());
        if page.limit == 0 {
            return Ok(Vec::new());
        }
        let mut listings = self.listings.lock().await;
        if listings.lacks(&ordered, &page) {
            let listing = self.list(&table, columns, page.key).await?;
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
        let table = Table::of(table, &self.config)?;
        let items = items(&table, columns)?;
        let expand = expansions(&table, &items, "");
        let wanted = keys.iter().filter_map(|key| match key.as_slice() {
            [Value::Text(text)] => Some(text.clone()),
            _ => None,
        });
        let ids: Vec<String> = match key {
            [only] if only == ID => wanted.collect(),
            [only] => {
                let item = table.item(only)?;
                let Some(name) = item.metadata() else {
                    return Err(unkeyed(&table, only));
                };
                let wanted: Vec<String> = wanted.collect();
                let found = self.lookup.find(table.kind, name, &wanted).await?;
                found.into_values().flatten().collect()
            }
            _ => return Err(unkeyed(&table, &key.join(", "))),
        };
        let objects = self.api.objects(table.kind, ids, &expand).await?;
        self.remember(&table, &expand, &objects)?;
        let is_wanted = |object: &Json| {
            // What the search found may have been changed since it looked.
            let value = table.item(&key[0]).map(|item| convert::cell(object, &item));
            value.is_ok_and(|value| keys.iter().any(|key| key.first() == Some(&value)))
        };
        let found = objects.iter().filter_map(|(_, object)| object.as_ref());
        Ok(found
            .filter(|object| is_wanted(object))
            .map(|object| convert::row(object, &items))
            .collect())
    }
}

impl StripeReader {
    /// Reads a table whole.
    async fn list(&self, table: &Table, columns: Vec<String>, key: &[String]) -> Result<Listing> {
        let items = items(table, &columns)?;
        let expand = expansions(table, &items, "data.");
        let bare = expansions(table, &items, "");
        let name = table.kind.table.to_owned();
        self.fresh().insert(name.clone(), HashMap::new());
        let mut parameters: Vec<(&str, String)> = table
            .kind
            .list
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        parameters.extend(expand.into_iter().map(|path| ("expand[]", path)));
        let mut listing = Listing::new(columns, key);
        let max = self.config.listing_max;
        let mut seen = 0;
        each(&self.api, table, &parameters, |object| {
            seen += 1;
            if seen > max {
                return Err(Error::unsupported(format!(
                    "`{}` holds more than {max} records",
                    table.kind.table
                ))
                .help("raise `listing_max` of the system, and mind the memory that it takes"));
            }
            if let Some(id) = text(object, ID) {
                listing.put(id, Some(convert::row(object, &items)));
            }
            Ok(())
        })
        .await?;
        let fresh = self.fresh().remove(&name).unwrap_or_default();
        for (id, object) in fresh {
            // What was read meanwhile may not have been expanded as this listing is.
            let object = match object {
                Some(_) if !bare.is_empty() => self.api.object(table.kind, &id, &bare).await?,
                object => object,
            };
            listing.put(&id, object.map(|object| convert::row(&object, &items)));
        }
        Ok(listing)
    }

    /// Takes note of objects that were read by their ids, with these paths expanded.
    fn remember(
        &self,
        table: &Table,
        expanded: &[String],
        objects: &[(String, Option<Json>)],
    ) -> Result<()> {
        if let Some(fresh) = self.fresh().get_mut(table.kind.table) {
            fresh.extend(objects.iter().cloned());
        }
        // A listing under way takes them from there; one that is read page by page takes them here.
        let Ok(mut listings) = self.listings.try_lock() else {
            return Ok(());
        };
        let mut lacking = Vec::new();
        for (ordered, listing) in listings.held().iter_mut() {
            if ordered.0 != table.kind.table {
                continue;
            }
            let items = items(table, listing.columns())?;
            if expansions(table, &items, "")
                .iter()
                .any(|path| !expanded.contains(path))
            {
                lacking.push(ordered.clone());
                continue;
            }
            for (id, object) in objects {
                listing.put(
                    id,
                    object.as_ref().map(|object| convert::row(object, &items)),
                );
            }
        }
        // Those are read anew.
        listings
            .held()
            .retain(|ordered, _| !lacking.contains(ordered));
        Ok(())
    }

    fn fresh(&self) -> std::sync::MutexGuard<'_, HashMap<String, HashMap<String, Option<Json>>>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The shapes of tables: what is documented, what the configuration adds, and what stands in the metadata of some objects.
pub(crate) async fn discover(
    api: &Api,
    config: &Config,
    tables: &[String],
) -> Result<Vec<Arc<Shape>>> {
    let mut shapes = Vec::with_capacity(tables.len());
    for name in tables {
        let table = Table::of(name, config)?;
        let parameters: Vec<(&str, String)> = table
            .kind
            .list
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        let page = match api.page(all(table.kind), &parameters, None).await? {
            Ok(page) => page,
            Err(refusal) if refusal.status == 404 => {
                return Err(Error::unsupported(format!("the server has no `{name}`"))
                    .code(lockstep_core::contract::drift::GONE)
                    .help(
                        "an older or smaller API may know `plans` where this asks for `prices`",
                    ));
            }
            Err(refusal) => return Err(refusal.into_error(&format!("the list of `{name}`"))),
        };
        let metadata = page
            .data
            .iter()
            .filter_map(|object| object.get("metadata")?.as_object());
        let names: std::collections::BTreeSet<&str> = metadata
            .flat_map(|fields| fields.keys().map(String::as_str))
            .collect();
        shapes.push(table.clone().with_metadata(names.into_iter()).shape());
    }
    Ok(shapes)
}

/// Sees every object of a table, each at least once.
///
/// # Errors
/// A place that is lost again and again, and what `see` fails with.
pub(crate) async fn each(
    api: &Api,
    table: &Table,
    parameters: &[(&str, String)],
    mut see: impl FnMut(&Json) -> Result<()> + Send,
) -> Result<()> {
    let mut behind: Option<String> = None;
    let mut before: Vec<String> = Vec::new();
    let mut begun = 0;
    let mut first: Option<String> = None;
    loop {
        let page = api
            .page(all(table.kind), parameters, behind.as_deref())
            .await?;
        let page = match page {
            Ok(page) => page,
            Err(refusal) if behind.is_some() && refusal.is_missing() => {
                // The object is gone behind which it was to go on; the one before it has the same neighbours.
                before.pop();
                behind = before.last().cloned();
                continue;
            }
            Err(refusal) => {
                let what = format!("the list of `{}`", table.kind.table);
                return Err(refusal.into_error(&what));
            }
        };
        page.data.iter().try_for_each(&mut see)?;
        let read: Vec<String> = page
            .data
            .iter()
            .filter_map(|object| text(object, ID).map(str::to_owned))
            .collect();
        // Some servers begin again from the top where they do not find the place: what was seen is seen again, and it ends all the same.
        if behind.is_none() || (first.is_some() && read.first() == first.as_ref()) {
            begun += 1;
            first = read.first().cloned();
        }
        if begun > BEGUN_MAX {
            let table = table.kind.table;
            return Err(Error::transient(format!(
                "the listing of `{table}` lost its place {begun} times"
            ))
            .help("records are being deleted while they are listed; it is tried again"));
        }
        match read.last() {
            Some(last) if page.has_more && behind.as_ref() != Some(last) => {
                behind = Some(last.clone());
                before = read;
            }
            _ => return Ok(()),
        }
    }
}

pub(crate) fn items(table: &Table, columns: &[String]) -> Result<Vec<Item>> {
    columns.iter().map(|column| table.item(column)).collect()
}

/// What has to be expanded for these columns.
fn expansions(table: &Table, items: &[Item], lead: &str) -> Vec<String> {
    let paths = items.iter().filter_map(|item| item.expansion(table));
    let paths: BTreeMap<String, ()> = paths.map(|path| (format!("{lead}{path}"), ())).collect();
    paths.into_keys().collect()
}

fn unkeyed(table: &Table, key: &str) -> Error {
    Error::unsupported(format!(
        "records of `{}` cannot be found by `{key}`",
        table.kind.table
    ))
    .help("map the contract's key to `id` or to one column of the metadata, such as `metadata.crm_id`")
}
