//! What the server says of collections: what they are, what they record, which indexes they have.

use lockstep_core::contract::drift::GONE;
use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Error, Result};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Bson, Document, doc};

use crate::client::{Client, first_batch};

/// What the sinks of all systems keep their progress in, beside the data.
pub(crate) const PROGRESS: &str = "lockstep_progress";

/// A collection as the server describes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collection {
    pub(crate) name: String,
    /// What tells it from another one of its name, in hexadecimal digits.
    pub(crate) uuid: Option<String>,
    pub(crate) kind: Kind,
    /// Whether updates and deletes are recorded with the documents before and after them.
    pub(crate) images: bool,
    /// The `$jsonSchema` of its validator.
    pub(crate) schema: Option<Document>,
}

/// What kind of collection it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Plain,
    Capped,
    View,
    TimeSeries,
}

/// A unique index over every document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unique {
    pub(crate) name: String,
    pub(crate) fields: Vec<String>,
}

/// What the server says of a collection; an error that suggests a name where there is none.
pub(crate) async fn collection(client: &Client, name: &str) -> Result<Collection> {
    match find(client, name).await? {
        Some(found) => Ok(found),
        None => {
            let known = names(client).await?;
            let database = client.db.name();
            let hint = suggestion(name, known.iter().map(String::as_str));
            Err(Error::config(format!(
                "there is no collection `{name}` in database `{database}`"
            ))
            .code(GONE)
            .help(format!(
                "{hint}; an empty one is made by: db.createCollection(\"{name}\", {{changeStreamPreAndPostImages: {{enabled: true}}}})"
            )))
        }
    }
}

/// What the server says of a collection, if there is one.
pub(crate) async fn find(client: &Client, name: &str) -> Result<Option<Collection>> {
    let list = doc! { "listCollections": 1, "filter": { "name": name } };
    let reply = client.ask("cannot list the collections", list).await?;
    Ok(first_batch(&reply)
        .first()
        .map(|found| described(name, found)))
}

fn described(name: &str, found: &Document) -> Collection {
    let empty = Document::new();
    let options = found.get_document("options").unwrap_or(&empty);
    let info = found.get_document("info").unwrap_or(&empty);
    let kind = match found.get_str("type") {
        Ok("view") => Kind::View,
        Ok("timeseries") => Kind::TimeSeries,
        _ if options.get_bool("capped").unwrap_or(false) => Kind::Capped,
        _ => Kind::Plain,
    };
    let uuid = match info.get("uuid") {
        Some(Bson::Binary(binary)) if binary.subtype == BinarySubtype::Uuid => {
            Some(hex(&binary.bytes))
        }
        _ => None,
    };
    let images = options
        .get_document("changeStreamPreAndPostImages")
        .and_then(|images| images.get_bool("enabled"));
    let validator = options.get_document("validator").ok();
    Collection {
        name: name.to_owned(),
        uuid,
        kind,
        images: images.unwrap_or(false),
        schema: validator.and_then(|v| v.get_document("$jsonSchema").ok().cloned()),
    }
}

/// The names of all collections that are not the server's own or ours.
async fn names(client: &Client) -> Result<Vec<String>> {
    let list = doc! { "listCollections": 1, "nameOnly": true };
    let reply = client.ask("cannot list the collections", list).await?;
    let named = first_batch(&reply);
    let names = named
        .into_iter()
        .filter_map(|found| found.get_str("name").ok());
    Ok(names
        .filter(|name| !name.starts_with("system.") && *name != PROGRESS)
        .map(str::to_owned)
        .collect())
}

/// The unique indexes that every document is in, the one on `_id` included.
pub(crate) async fn uniques(client: &Client, name: &str) -> Result<Vec<Unique>> {
    let list = doc! { "listIndexes": name };
    let reply = client.ask("cannot list the indexes", list).await?;
    Ok(first_batch(&reply).into_iter().filter_map(unique).collect())
}

fn unique(index: &Document) -> Option<Unique> {
    let key = index.get_document("key").ok()?;
    let fields: Vec<String> = key.keys().cloned().collect();
    let is_id = fields == ["_id"];
    let partial = index.contains_key("partialFilterExpression")
        || index.get_bool("sparse").unwrap_or(false)
        || index.contains_key("collation");
    let plain = key.values().all(|direction| {
        let ascending = [direction.as_i32().map(i64::from), direction.as_i64()];
        ascending.contains(&Some(1)) || direction.as_f64() == Some(1.0)
    });
    let is_unique = is_id || index.get_bool("unique").unwrap_or(false);
    (is_unique && !partial && plain).then(|| Unique {
        name: index.get_str("name").unwrap_or_default().to_owned(),
        fields,
    })
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes that hexadecimal digits stand for.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let byte = |pair: &[u8]| {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        u8::try_from(high << 4 | low).ok()
    };
    digits.chunks_exact(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_is_described_by_its_options() {
        let found = doc! {
            "type": "collection",
            "options": {
                "changeStreamPreAndPostImages": { "enabled": true },
                "validator": { "$jsonSchema": { "required": ["a"] } },
            },
            "info": { "uuid": mongodb::bson::Uuid::from_bytes([7; 16]) },
        };
        let collection = described("c", &found);
        assert!(collection.images && collection.schema.is_some());
        assert_eq!(collection.uuid, Some("07".repeat(16)));
        assert_eq!(described("v", &doc! { "type": "view" }).kind, Kind::View);
    }

    #[test]
    fn only_indexes_that_hold_every_document_identify() {
        let key = doc! { "a": 1, "b": 1 };
        let whole = doc! { "name": "i", "key": key.clone(), "unique": true };
        assert_eq!(unique(&whole).unwrap().fields, ["a", "b"]);
        for index in [
            doc! { "key": key.clone() },
            doc! { "key": key.clone(), "unique": true, "sparse": true },
            doc! { "key": key, "unique": true, "partialFilterExpression": {} },
            doc! { "key": { "a": "hashed" }, "unique": true },
        ] {
            assert_eq!(unique(&index), None);
        }
        assert!(unique(&doc! { "name": "_id_", "key": { "_id": 1 } }).is_some());
    }

    #[test]
    fn digits_are_bytes() {
        assert_eq!(unhex(&hex(&[0, 255, 16])), Some(vec![0, 255, 16]));
        for text in ["0", "0g", "é"] {
            assert_eq!(unhex(text), None, "{text}");
        }
    }
}
