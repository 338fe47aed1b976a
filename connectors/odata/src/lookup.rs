//! Records by the values of some columns, several at once.

use lockstep_core::{Error, Result, Value};
use lockstep_http_client::Json;

use crate::client::Api;
use crate::metadata::Property;
use crate::query::{Condition, address, joined, same};
use crate::table::{self, Item, Table};

/// Most records that one address names.
const KEYS_MAX: usize = 40;
/// About how long a condition may become.
const CONDITION_MAX: usize = 1200;

/// The properties that columns are, to look records up by.
///
/// # Errors
/// A column that no record can be found by.
pub(crate) fn properties<'a>(
    table: &Table,
    columns: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<Property>> {
    let each = columns.into_iter().map(|column| match table.item(column)? {
        Item::Property(property, _) => Ok(property),
        _ => Err(Error::unsupported(format!(
            "records of `{}` cannot be found by `{column}`",
            table.name()
        ))
        .help("map the contract's key to the key of the entity set, or to a property that holds an id")),
    });
    each.collect()
}

/// The records of some keys; a key that its columns cannot hold has none.
pub(crate) async fn find(
    api: &Api,
    table: &Table,
    items: &[Item],
    key: &[Property],
    keys: &[Vec<Value>],
) -> Result<Vec<Json>> {
    let wanted: Vec<(&Vec<Value>, String)> = keys
        .iter()
        .filter_map(|values| match same(key, values) {
            Some(Condition::Text(text)) => Some((values, text)),
            _ => None,
        })
        .collect();
    let mut all = items.to_vec();
    all.extend(
        key.iter()
            .map(|property| Item::Property(property.clone(), None)),
    );
    let (select, expand) = table.asked(&all);
    let mut records = Vec::new();
    let mut rest = &wanted[..];
    while !rest.is_empty() {
        let mut length = 0;
        let fits = rest.iter().take(KEYS_MAX).take_while(|(_, text)| {
            length += text.len() + 4;
            length <= CONDITION_MAX
        });
        let (now, later) = rest.split_at(fits.count().max(1));
        rest = later;
        let texts = now.iter().map(|(_, text)| Condition::Text(text.clone()));
        let Condition::Text(filter) = joined(texts, false) else {
            continue;
        };
        let filter = filter
            .strip_prefix('(')
            .and_then(|text| text.strip_suffix(')'))
            .filter(|_| now.len() > 1)
            .unwrap_or(&filter)
            .to_owned();
        let options = [
            ("$select", &*select),
            ("$expand", &*expand),
            ("$filter", &*filter),
        ];
        let mut next = Some(address(table.name(), &options));
        while let Some(at) = next {
            let listed = api.page(&at, "").await?;
            let listed = listed.map_err(|refusal| unlisted(table.name(), &refusal.words(&[])))?;
            records.extend(listed.records);
            next = listed.next.filter(|link| *link != at);
        }
    }
    // Services compare texts in ways of their own, and a record may have changed since it was found.
    records.retain(|record| {
        let values = values(record, key);
        wanted
            .iter()
            .any(|(wanted, _)| is_same(key, wanted, &values))
    });
    Ok(records)
}

/// What a record holds of a key.
pub(crate) fn values(record: &Json, key: &[Property]) -> Vec<Value> {
    let one = |property: &Property| table::cell(record, &Item::Property(property.clone(), None));
    key.iter().map(one).collect()
}

fn is_same(key: &[Property], wanted: &[Value], held: &[Value]) -> bool {
    let fit = |property: &Property, value: &Value| crate::convert::fit(value, &property.form);
    key.iter()
        .zip(wanted)
        .zip(held)
        .all(|((property, wanted), held)| fit(property, wanted).as_ref() == Some(held))
}

pub(crate) fn unlisted(table: &str, words: &str) -> Error {
    Error::unsupported(format!("`{table}` cannot be read: {words}")).help(
        "check that the entity set can be queried by these columns, and the user's permissions",
    )
}
