//! Searches: pages of records behind each other, and records by their keys.

use lockstep_core::{Error, Result};
use serde_json::{Value as Json, json};

use crate::client::Client;
use crate::domain::{Domain, Key};

/// Most keys that one search asks for.
pub(crate) const KEYS_MAX: usize = 200;

/// Records that fulfil a condition, with some fields, in an order.
pub(crate) async fn search(
    client: &Client,
    model: &str,
    domain: &Json,
    limit: Option<usize>,
    order: &Json,
    fields: &[&str],
) -> Result<Vec<Json>> {
    let method = format!("model.{model}.search_read");
    let params = vec![
        domain.clone(),
        json!(0),
        json!(limit),
        order.clone(),
        json!(fields),
    ];
    let asked = client.read(&method, params).await;
    match asked.map_err(|fault| fault.error(&format!("a search in `{model}`")))? {
        Json::Array(records) => Ok(records),
        _ => Err(Error::unexpected(format!(
            "the server's answer to a search in `{model}` is no list"
        ))),
    }
}

/// The records that have one of some keys.
pub(crate) async fn by_keys(
    client: &Client,
    domain: &Domain<'_>,
    key: &Key<'_>,
    keys: &[Vec<Json>],
    fields: &[&str],
) -> Result<Vec<Json>> {
    let mut records = Vec::with_capacity(keys.len());
    for some in keys.chunks(KEYS_MAX) {
        let wanted = domain.any_of(key, some);
        let order = json!([["id", "ASC"]]);
        let found = search(client, domain.model.name(), &wanted, None, &order, fields).await?;
        records.extend(found);
    }
    Ok(records)
}
