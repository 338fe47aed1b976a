//! Searches: pages of records behind each other, and records by their keys.

use lockstep_core::{Error, Kind, Result};
use serde_json::{Value as Json, json};

use crate::check::{self, Right};
use crate::client::{Client, Search};
use crate::domain::{Domain, Key};
use crate::fault::Fault;

/// Most keys that one search asks for.
const KEYS_MAX: usize = 200;

/// Records that fulfil a condition, with some fields, in an order.
pub(crate) async fn search(client: &Client, search: Search<'_>) -> Result<Vec<Json>> {
    let model = search.model;
    match client.search(search).await {
        Ok(records) => Ok(records),
        Err(fault) => {
            let is_refusal = matches!(fault, Fault::User(_));
            let error = fault.error(&format!("a search in `{model}`"));
            if is_refusal && !check::may(client, model, Right::Read).await? {
                return Err(Error::new(
                    Kind::Unauthorized,
                    format!("the user may not read records of `{model}`"),
                )
                .because(error)
                .help(check::HELP));
            }
            Err(error)
        }
    }
}

/// The record with an own id, where it is there.
pub(crate) async fn one(
    client: &Client,
    model: &str,
    id: i64,
    fields: &[&str],
) -> Result<Option<Json>> {
    let wanted = Search {
        model,
        domain: &json!([["id", "=", id]]),
        limit: Some(1),
        order: &Json::Null,
        fields,
    };
    Ok(search(client, wanted).await?.pop())
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
    for some in portions(key, keys, client.condition_max()) {
        let wanted = Search {
            model: domain.model.name(),
            domain: &domain.any_of(key, some),
            limit: None,
            order: &json!([["id", "ASC"]]),
            fields,
        };
        records.extend(search(client, wanted).await?);
    }
    Ok(records)
}

/// Keys in portions whose conditions stay within some bytes, as far as a single one does.
fn portions<'k>(
    key: &Key<'_>,
    keys: &'k [Vec<Json>],
    bytes_max: usize,
) -> impl Iterator<Item = &'k [Vec<Json>]> {
    // What a field's name, a sign and the brackets around them take.
    let words: usize = key.iter().map(|field| field.name.len() + 20).sum();
    let length = move |values: &Vec<Json>| {
        let values = values.iter().map(|value| value.to_string().len());
        values.sum::<usize>() + words
    };
    let mut rest = keys;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = rest.iter().take(KEYS_MAX).take_while(|values| {
            bytes += length(values);
            bytes <= bytes_max
        });
        let count = fits.count().max(1).min(rest.len());
        let (now, later) = rest.split_at(count);
        rest = later;
        (!now.is_empty()).then_some(now)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::model;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_key_is_asked_for_once(lengths in prop::collection::vec(0_usize..200, 0..300), bytes_max in 1_usize..2000) {
            let model = model(true);
            let key = vec![model.field("code").unwrap()];
            let keys: Vec<Vec<Json>> = lengths.iter().map(|length| vec![json!("x".repeat(*length))]).collect();
            let domain = Domain { model: &model, part: None };
            let mut asked = Vec::new();
            for some in portions(&key, &keys, bytes_max) {
                prop_assert!((1..=KEYS_MAX).contains(&some.len()));
                prop_assert!(some.len() == 1 || domain.any_of(&key, some).to_string().len() <= bytes_max + 20);
                asked.extend_from_slice(some);
            }
            prop_assert_eq!(asked, keys);
        }
    }
}
