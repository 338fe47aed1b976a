//! One event of a change stream, taken apart.
//!
//! An event that is larger than a message can be comes in fragments (server 7.0 and later), which [`Fragments`] puts together.

use mongodb::bson::{RawBsonRef, RawDocument, RawDocumentBuf};

use crate::catalog::hex;
use crate::client::to_number;

/// Most bytes of an event that is put together: a document, what it was before, and what changed in it.
const EVENT_MAX: usize = 64 * 1024 * 1024;

/// An event as the server sent it.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    document: RawDocumentBuf,
}

/// What an event says happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    Insert,
    Update,
    Replace,
    Delete,
    Drop,
    Rename,
    Create,
    Invalidate,
    Other,
}

impl Event {
    pub(crate) fn new(document: RawDocumentBuf) -> Event {
        Event { document }
    }

    pub(crate) fn happened(&self) -> Happened {
        match self.document.get_str("operationType") {
            Ok("insert") => Happened::Insert,
            Ok("update") => Happened::Update,
            Ok("replace") => Happened::Replace,
            Ok("delete") => Happened::Delete,
            Ok("drop") => Happened::Drop,
            Ok("rename") => Happened::Rename,
            Ok("create") => Happened::Create,
            Ok("invalidate") => Happened::Invalidate,
            _ => Happened::Other,
        }
    }

    /// The `_data` of its resume token.
    pub(crate) fn token(&self) -> Option<&str> {
        self.inner("_id")?.get_str("_data").ok()
    }

    /// The collection that it happened to.
    pub(crate) fn collection(&self) -> Option<&str> {
        self.inner("ns")?.get_str("coll").ok()
    }

    /// The name that a collection got.
    pub(crate) fn renamed_to(&self) -> Option<&str> {
        self.inner("to")?.get_str("coll").ok()
    }

    /// The cluster's time of its commit.
    pub(crate) fn commit(&self) -> Option<u64> {
        let time = self.document.get_timestamp("clusterTime").ok()?;
        Some(to_number(time))
    }

    /// The server's clock at its commit, in milliseconds.
    pub(crate) fn wall_ms(&self) -> Option<i64> {
        let wall = self.document.get_datetime("wallTime").ok();
        let second = self.document.get_timestamp("clusterTime").ok();
        wall.map(|at| at.timestamp_millis())
            .or_else(|| Some(i64::from(second?.time) * 1000))
    }

    /// The transaction that it is of.
    pub(crate) fn transaction(&self) -> Option<String> {
        let number = self.document.get_i64("txnNumber").ok()?;
        let session = self.inner("lsid")?.get_binary("id").ok()?;
        Some(format!("{}:{number}", hex(session.bytes)))
    }

    /// The `_id` of the document that it happened to.
    pub(crate) fn id(&self) -> Option<RawBsonRef<'_>> {
        self.inner("documentKey")?.get("_id").ok()?
    }

    /// The document after the change, where the server told it.
    pub(crate) fn after(&self) -> Option<&RawDocument> {
        self.inner("fullDocument")
    }

    /// The document before the change, where the server recorded it.
    pub(crate) fn before(&self) -> Option<&RawDocument> {
        self.inner("fullDocumentBeforeChange")
    }

    /// What changed in the document.
    pub(crate) fn description(&self) -> Option<&RawDocument> {
        self.inner("updateDescription")
    }

    /// What tells the collection from another one of its name.
    pub(crate) fn uuid(&self) -> Option<String> {
        let uuid = self.document.get_binary("collectionUUID").ok()?;
        Some(hex(uuid.bytes))
    }

    /// About how much there is of it.
    pub(crate) fn bytes(&self) -> usize {
        self.document.as_bytes().len()
    }

    fn inner(&self, name: &str) -> Option<&RawDocument> {
        self.document.get_document(name).ok()
    }
}

/// Events that come in pieces.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    begun: Option<RawDocumentBuf>,
}

impl Fragments {
    /// Takes what came next, and gives the event that is whole with it.
    ///
    /// # Errors
    /// An event that is larger than anything a document could lead to.
    pub(crate) fn take(&mut self, piece: RawDocumentBuf) -> Result<Option<Event>, TooLarge> {
        let Ok(split) = piece.get_document("splitEvent") else {
            return Ok(Some(Event::new(piece)));
        };
        let number = |name| split.get_i32(name).unwrap_or(0);
        let is_last = number("fragment") >= number("of");
        let begun = self.begun.take();
        if begun.as_ref().map_or(0, size) + size(&piece) > EVENT_MAX {
            return Err(TooLarge);
        }
        // The last fragment's token is the event's.
        let mut whole = RawDocumentBuf::new();
        for element in piece.iter_elements().flatten() {
            if let Ok(value) = element.value() {
                whole.append(element.key(), value);
            }
        }
        for element in begun
            .iter()
            .flat_map(|begun| begun.iter_elements().flatten())
        {
            let is_told = matches!(whole.get(element.key().as_str()), Ok(Some(_)));
            if !is_told && let Ok(value) = element.value() {
                whole.append(element.key(), value);
            }
        }
        if is_last {
            return Ok(Some(Event::new(whole)));
        }
        self.begun = Some(whole);
        Ok(None)
    }
}

/// Says that an event is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

fn size(document: &RawDocumentBuf) -> usize {
    document.as_bytes().len()
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Binary, Timestamp, rawdoc, spec::BinarySubtype};

    use super::*;

    #[test]
    fn an_event_is_taken_apart() {
        let session = Binary {
            subtype: BinarySubtype::Uuid,
            bytes: vec![0xab; 2],
        };
        let event = Event::new(rawdoc! {
            "_id": { "_data": "82AA" },
            "operationType": "update",
            "clusterTime": Timestamp { time: 2, increment: 3 },
            "ns": { "db": "d", "coll": "c" },
            "documentKey": { "_id": 7 },
            "lsid": { "id": session },
            "txnNumber": 9_i64,
        });
        assert_eq!(event.happened(), Happened::Update);
        assert_eq!(
            (event.token(), event.collection()),
            (Some("82AA"), Some("c"))
        );
        assert_eq!(
            (event.commit(), event.wall_ms()),
            (Some((2 << 32) + 3), Some(2000))
        );
        assert_eq!(event.transaction().as_deref(), Some("abab:9"));
        assert!(event.id().is_some() && event.after().is_none() && event.uuid().is_none());
        assert_eq!(Event::new(rawdoc! {}).happened(), Happened::Other);
    }

    #[test]
    fn fragments_become_one_event_with_the_last_token() {
        let mut fragments = Fragments::default();
        let piece = |token: &str, fragment: i32| rawdoc! { "_id": { "_data": token }, "splitEvent": { "fragment": fragment, "of": 3 } };
        let mut first = piece("1", 1);
        first.append(mongodb::bson::raw::cstr!("operationType"), "update");
        let mut second = piece("2", 2);
        second.append(
            mongodb::bson::raw::cstr!("fullDocument"),
            rawdoc! { "a": 1 },
        );
        assert!(fragments.take(first).unwrap().is_none());
        assert!(fragments.take(second).unwrap().is_none());
        let whole = fragments.take(piece("3", 3)).unwrap().unwrap();
        assert_eq!(
            (whole.happened(), whole.token()),
            (Happened::Update, Some("3"))
        );
        assert!(whole.after().is_some());
        assert!(
            fragments
                .take(rawdoc! { "_id": { "_data": "4" } })
                .unwrap()
                .is_some()
        );
    }
}
