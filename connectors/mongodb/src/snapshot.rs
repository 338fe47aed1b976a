//! Documents as they were at an instant of the cluster's time.
//!
//! The stream says up to which time everything is told, and documents are read as of exactly that time: so a row holds every change that came before it and none that comes after, without a mark in the server's log and without a right to write.
//! Servers keep that for some minutes only; what is asked too late is asked again for a later time.

use mongodb::bson::raw::RawBsonRef;
use mongodb::bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};

use lockstep_core::{Error, Result};

use crate::catalog::{hex, unhex};
use crate::client::{Client, failure, is_too_old, to_instant};
use crate::columns::ID;

/// What could be read of an instant.
#[derive(Debug)]
pub(crate) enum Read<T> {
    /// This.
    There(T),
    /// Nothing: the server does not keep that instant, or not any more.
    TooOld,
}

/// The next documents behind `after` in the order of `_id`, as of an instant. None means that there are no more.
pub(crate) async fn chunk(
    client: &Client,
    name: &str,
    (after, filter): (Option<&str>, Option<Document>),
    as_of: u64,
    limit: usize,
) -> Result<Read<Vec<RawDocumentBuf>>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut find = doc! { "find": name, "sort": { ID: 1 }, "hint": { ID: 1 } };
    let after = after.map(unpack).transpose()?;
    // Nothing is greater, and no other value is equal.
    if after == Some(Bson::MaxKey) {
        return Ok(Read::There(Vec::new()));
    }
    if let Some(after) = &after {
        // A bound of the index compares across types, which a filter does not.
        find.insert("min", doc! { ID: after.clone() });
    }
    let behind = after
        .as_ref()
        .map(|after| doc! { ID: { "$ne": after.clone() } });
    let terms: Vec<Document> = behind.into_iter().chain(filter).collect();
    if !terms.is_empty() {
        find.insert("filter", doc! { "$and": terms });
    }
    find.extend(doc! { "limit": limit, "batchSize": limit, "singleBatch": true });
    let found = read(client, name, find, as_of).await?;
    match (found, after) {
        // The greatest value of all lies beyond what a scan with such a bound reaches.
        (Read::There(found), Some(_)) if found.is_empty() => {
            let last = one(client, name, RawBsonRef::MaxKey, as_of).await?;
            Ok(match last {
                Read::There(last) => Read::There(last.into_iter().collect()),
                Read::TooOld => Read::TooOld,
            })
        }
        (found, _) => Ok(found),
    }
}

/// A document by its `_id`, as of an instant.
pub(crate) async fn one(
    client: &Client,
    name: &str,
    id: RawBsonRef<'_>,
    as_of: u64,
) -> Result<Read<Option<RawDocumentBuf>>> {
    let id = Bson::try_from(id).map_err(|error| {
        Error::unexpected("an `_id` cannot be read")
            .with("collection", name)
            .because(error)
    })?;
    // Compared as a value, because an `_id` may be a document that looks like an operator.
    let find =
        doc! { "find": name, "filter": { ID: { "$eq": id } }, "limit": 1_i64, "singleBatch": true };
    Ok(match read(client, name, find, as_of).await? {
        Read::There(mut found) => Read::There(found.pop()),
        Read::TooOld => Read::TooOld,
    })
}

async fn read(
    client: &Client,
    name: &str,
    mut find: Document,
    as_of: u64,
) -> Result<Read<Vec<RawDocumentBuf>>> {
    let concern = doc! { "level": "snapshot", "atClusterTime": to_instant(as_of) };
    find.insert("readConcern", concern);
    let failed = |error| failure("cannot read documents", &error).with("collection", name);
    let mut cursor = match client.db.run_cursor_command(find).await {
        Ok(cursor) => cursor,
        Err(error) if is_too_old(&error) => return Ok(Read::TooOld),
        Err(error) => return Err(failed(error)),
    };
    let mut documents = Vec::new();
    while cursor.advance().await.map_err(failed)? {
        documents.push(cursor.current().to_owned());
    }
    Ok(Read::There(documents))
}

/// The `_id` of a document, for a position.
pub(crate) fn pack(document: &RawDocument) -> Option<String> {
    let id = document.get(ID).ok()??;
    let mut packed = RawDocumentBuf::new();
    packed.append(mongodb::bson::raw::cstr!("_id"), id);
    Some(hex(packed.as_bytes()))
}

fn unpack(packed: &str) -> Result<Bson> {
    let bytes = unhex(packed).and_then(|bytes| RawDocumentBuf::from_bytes(bytes).ok());
    let id = bytes.and_then(|document| document.get(ID).ok()??.try_into().ok());
    id.ok_or_else(|| {
        Error::unexpected("the position's note on the snapshot cannot be read")
            .help("let the table be read again")
    })
}

#[cfg(test)]
mod tests {
    use mongodb::bson::rawdoc;

    use super::*;

    #[test]
    fn an_identity_of_any_kind_survives_its_note() {
        for id in [
            Bson::Int32(-5),
            Bson::Double(f64::INFINITY),
            Bson::String("a/\"b\"".to_owned()),
            Bson::MinKey,
            Bson::Document(doc! { "$gt": 1, "a": [1, 2] }),
        ] {
            let document: RawDocumentBuf = (&doc! { "x": 1, ID: id.clone() }).try_into().unwrap();
            assert_eq!(unpack(&pack(&document).unwrap()).unwrap(), id);
        }
        assert_eq!(pack(&rawdoc! {}), None);
        assert!(unpack("zz").is_err() && unpack("0500000000").is_err());
    }
}
