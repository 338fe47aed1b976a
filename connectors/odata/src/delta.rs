//! Delta links, read as a journal: which records of tracked tables changed or are gone.
//!
//! A cursor holds one link per table; a link that the service no longer follows has whole tables compared.

use std::collections::BTreeMap;

use lockstep_core::connector::{Notice, Noticed};
use lockstep_core::{Error, Result};
use lockstep_http_client::Json;

use crate::client::{Api, Listed};
use crate::config::Config;
use crate::query::{address, key_of};
use crate::table::{Item, Table, annotation, cell};

/// Most pages of one reading of a table.
const PAGES_MAX: usize = 20;

/// The records that delta links name behind a cursor.
pub(crate) async fn noticed(api: &Api, names: &[String], cursor: Option<&str>) -> Result<Noticed> {
    let mut links: BTreeMap<String, String> = match cursor {
        Some(cursor) => serde_json::from_str(cursor)
            .map_err(|error| lost("the cursor cannot be read").because(error))?,
        None => BTreeMap::new(),
    };
    let mut notices = Vec::new();
    let mut more = false;
    for name in tracked(&api.config, names) {
        let table = api.table(name).await?;
        let link = match links.get(name) {
            Some(link) => {
                let (link, is_more) = follow(api, &table, link, &mut notices).await?;
                more |= is_more;
                link
            }
            // A table that is tracked from now on was not read behind this cursor.
            None if cursor.is_some() => return Err(lost("a table is tracked only from now on")),
            None => begin(api, &table).await?,
        };
        links.insert(name.clone(), link);
    }
    let cursor = serde_json::to_string(&links)
        .map_err(|error| Error::unexpected("a cursor cannot be written").because(error))?;
    Ok(Noticed {
        notices,
        cursor,
        more,
    })
}

pub(crate) fn tracked<'a>(
    config: &'a Config,
    names: &'a [String],
) -> impl Iterator<Item = &'a String> {
    names.iter().filter(|name| config.table(name).track_changes)
}

fn lost(why: &str) -> Error {
    Error::invalid(format!("the delta links do not reach back so far: {why}"))
        .help("whole tables are compared instead")
}

/// Reads a table's keys to their end, where the first delta link is.
async fn begin(api: &Api, table: &Table) -> Result<String> {
    let (select, _) = table.asked(&[]);
    let mut at = address(table.name(), &[("$select", &*select)]);
    loop {
        let page = api.page(&at, "odata.track-changes").await?;
        let page = page.map_err(|refusal| untracked(table, &refusal.words(&[])))?;
        match (page.next, page.delta) {
            (Some(next), _) if next != at => at = next,
            (_, Some(delta)) => return Ok(delta),
            _ => return Err(untracked(table, "it gives no delta link")),
        }
    }
}

fn untracked(table: &Table, why: &str) -> Error {
    Error::unsupported(format!(
        "changes of `{}` are not tracked: {why}",
        table.name()
    ))
    .help("allow change tracking of the table in the service, or take `track_changes` away")
}

/// Follows a link to the next one; whether that is one in the middle of what there is.
async fn follow(
    api: &Api,
    table: &Table,
    link: &str,
    notices: &mut Vec<Notice>,
) -> Result<(String, bool)> {
    let mut at = link.to_owned();
    for _ in 0..PAGES_MAX {
        let page = api.page(&at, "").await?;
        let Listed {
            records,
            next,
            delta,
        } = page.map_err(|refusal| lost(&refusal.words(&[])))?;
        for record in &records {
            if let Some(notice) = notice(table, record)
                && !notices.contains(&notice)
            {
                notices.push(notice);
            }
        }
        match (next, delta) {
            (Some(next), _) if next != at => at = next,
            (_, Some(delta)) => return Ok((delta, false)),
            _ => return Err(lost("an answer ends without a delta link")),
        }
    }
    Ok((at, true))
}

/// The record that an entry of a delta names: one that changed, one that is gone, or one whose links changed.
fn notice(table: &Table, entry: &Json) -> Option<Notice> {
    let own: Vec<_> = table
        .key()
        .map(|property| cell(entry, &Item::Property(property.clone(), None)))
        .collect();
    let is_whole = own.iter().all(|value| !value.is_null());
    let key = if is_whole {
        own
    } else {
        let plain = |name: &str| entry.get(name).and_then(Json::as_str);
        let address = annotation(entry, "id")
            .or_else(|| plain("id"))
            .or_else(|| plain("source"))?;
        key_of(table, address)?
    };
    Some(Notice {
        table: table.name().to_owned(),
        key,
    })
}

#[cfg(test)]
mod tests {
    use lockstep_core::Value;

    use super::*;
    use crate::metadata::Service;

    #[test]
    fn entries_of_every_form_name_their_records() {
        let service = Service::parse(include_str!("../tests/shop.xml")).unwrap();
        let table = Table::of(&service, "Customers", Default::default()).unwrap();
        let id = "ee1a9172-f3c3-47ce-b0f7-dd28c740210c";
        for text in [
            format!(r#"{{"@odata.etag":"1","ID":"{id}","Name":"x"}}"#),
            format!(
                r##"{{"@odata.context":"#Customers/$deletedEntity","id":"Customers({id})","reason":"deleted"}}"##
            ),
            format!(
                r##"{{"@odata.context":"#Customers/$deletedEntity","id":"{id}","reason":"deleted"}}"##
            ),
            format!(r#"{{"@removed":{{"reason":"deleted"}},"@id":"https://h/x/Customers({id})"}}"#),
            format!(r#"{{"@removed":{{"reason":"changed"}},"ID":"{id}"}}"#),
            format!(
                r##"{{"@odata.context":"#Customers/$link","source":"Customers({id})","relationship":"r","target":"x"}}"##
            ),
        ] {
            let notice = notice(&table, &Json::parse(text.as_bytes()).unwrap());
            let expected = Value::Uuid(id.parse().unwrap());
            assert_eq!(notice.map(|one| one.key), Some(vec![expected]), "{text}");
        }
        assert!(notice(&table, &Json::parse(br#"{"x":1}"#).unwrap()).is_none());
    }
}
