//! Payloads that are too large for the servers: kept beside the stream as objects, and fetched when the message is read.
//!
//! The payload goes in chunks to the object store of its stream (`OBJ_<stream>`, laid out as other NATS clients read it), named by its SHA-256; only then is the message stored, with a header in place of the payload.
//! So a message never refers to something that was not there, and a kill in between leaves an object that nothing refers to. The same payload is stored once.
//!
//! Objects go by age, an hour after the last message that can refer to them, so nothing has to count references. A stream that keeps messages for ever keeps objects for ever.
//! What is read is compared with its digest: a missing or altered object is an error that names the message, never an empty payload.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::{Bytes, BytesMut};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::stream::{self, Known};
use super::{Inner, publish, service};
use crate::log::{LogError, MESSAGE_MAX, Message, PublishError, Result, Stored, StreamConfig};

/// Header: the object that has the payload, as `sha256:<hex> <bytes>`.
pub(super) const OBJECT: &str = "Lockstep-Object";
/// What the names of the streams under object stores begin with.
const STORE: &str = "OBJ_";
/// Bytes of one chunk.
const CHUNK: usize = 128 * 1024;
/// What a server adds to a message, and its own headers.
const ROOM: usize = 1024;
/// How much longer than messages objects are kept.
const LONGER: Duration = Duration::from_secs(3600);
/// How old an object may be to be referred to once more; the rest of the time is for the publish and for clocks that differ.
const REFER_WITHIN: Duration = Duration::from_secs(1800);
/// Bytes of objects that one fetch brings, beyond its first message.
const FETCH_BYTES: usize = 8 * 1024 * 1024;

/// What a store says of an object, in the words of the object store's layout.
#[derive(Debug, Serialize, Deserialize)]
struct Meta {
    name: String,
    bucket: String,
    nuid: String,
    size: usize,
    chunks: usize,
    digest: String,
    mtime: Timestamp,
}

/// The object that a message refers to.
#[derive(Debug, PartialEq, Eq)]
struct Reference {
    /// The SHA-256 of the payload, in hexadecimal.
    name: String,
    size: usize,
}

impl Reference {
    fn of(payload: &[u8]) -> Reference {
        let digest = Sha256::digest(payload);
        Reference {
            name: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            size: payload.len(),
        }
    }

    fn parse(text: &str) -> Option<Reference> {
        let (name, size) = text.strip_prefix("sha256:")?.split_once(' ')?;
        let fits = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = size.parse().ok().filter(|size| *size <= MESSAGE_MAX)?;
        let name = name.to_owned();
        fits.then_some(Reference { name, size })
    }

    fn to_header(&self) -> String {
        format!("sha256:{} {}", self.name, self.size)
    }

    fn meta_subject(&self, stream: &str) -> String {
        format!("$O.{stream}.M.{}", URL_SAFE.encode(&self.name))
    }
}

fn chunk_subject(stream: &str, nuid: &str) -> String {
    format!("$O.{stream}.C.{nuid}")
}

/// Whether a stream is under an object store.
pub(super) fn is_store(stream: &str) -> bool {
    stream.starts_with(STORE)
}

/// Whether large payloads of a stream have a place beside it: states are small.
fn may_refer(stream: &str) -> bool {
    !is_store(stream) && !stream.starts_with("KV_")
}

/// The stream under the object store of a stream.
fn declared(config: &StreamConfig) -> StreamConfig {
    let name = &config.name;
    StreamConfig {
        name: format!("{STORE}{name}"),
        subjects: vec![format!("$O.{name}.C.>"), format!("$O.{name}.M.>")],
        max_age: config.max_age.map(|age| age + LONGER),
        max_bytes: config.max_bytes,
        max_per_subject: None,
        duplicate_window: Duration::from_secs(120),
    }
}

/// Lets a store that exists follow its stream's limits.
pub(super) async fn follow(log: &Arc<Inner>, config: &StreamConfig) -> Result<()> {
    if log.looks || !may_refer(&config.name) {
        return Ok(());
    }
    let declared = declared(config);
    match stream::state(log, &declared.name).await {
        Ok(_) => stream::ensure(log, &declared).await,
        Err(LogError::Missing { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The message as it can be sent: one that is too large for the server refers to its payload, which is stored by then.
pub(super) async fn fitting(
    log: &Inner,
    known: &Known,
    message: Message,
) -> Result<Message, PublishError> {
    let headers = message.headers.iter();
    let headers: usize = headers
        .map(|(name, value)| name.len() + value.len() + 4)
        .sum();
    let fits = message.payload.len() + headers + ROOM <= log.link.client.server_info().max_payload;
    if fits || !may_refer(&known.config.name) {
        return Ok(message);
    }
    let reference = put(log, &known.config, &message.payload).await?;
    let mut message = Message {
        payload: Bytes::new(),
        ..message
    };
    let header = (OBJECT.to_owned(), reference.to_header());
    message.headers.push(header);
    Ok(message)
}

async fn put(
    log: &Inner,
    config: &StreamConfig,
    payload: &Bytes,
) -> Result<Reference, PublishError> {
    let reference = Reference::of(payload);
    let declared = declared(config);
    let (store, bucket) = (&declared.name, &config.name);
    let subject = reference.meta_subject(bucket);
    let failed = |error: LogError| match error {
        LogError::Denied(subject) => PublishError::Denied(subject),
        error => PublishError::Storage(error.to_string()),
    };
    match stream::last(log, store, &subject).await {
        Ok(Some(meta)) if stays(&meta, &declared) => return Ok(reference),
        Ok(_) => {}
        Err(LogError::Missing { .. }) => stream::make(log, &declared).await.map_err(failed)?,
        Err(error) => return Err(failed(error)),
    }
    let nuid = service::unique();
    let starts = (0..payload.len()).step_by(CHUNK);
    let chunks: Vec<Message> = starts
        .map(|at| Message {
            subject: chunk_subject(bucket, &nuid),
            payload: payload.slice(at..payload.len().min(at + CHUNK)),
            ..Message::default()
        })
        .collect();
    let meta = Meta {
        name: reference.name.clone(),
        bucket: bucket.clone(),
        nuid,
        size: payload.len(),
        chunks: chunks.len(),
        digest: format!("SHA-256={}", URL_SAFE.encode(Sha256::digest(payload))),
        mtime: Timestamp::now(),
    };
    let meta = serde_json::to_vec(&meta).map_err(|error| {
        PublishError::Refused(format!("an object cannot be described: {error}"))
    })?;
    store_all(log, store, chunks).await?;
    // Only what is described is there: a kill before this leaves chunks that nobody reads.
    let meta = Message {
        subject,
        payload: meta.into(),
        ..Message::default()
    };
    store_all(log, store, vec![meta]).await?;
    Ok(reference)
}

async fn store_all(log: &Inner, store: &str, messages: Vec<Message>) -> Result<(), PublishError> {
    // Boxed, because storing asks for this module.
    let outcomes = Box::pin(publish::each(log, store, messages)).await;
    for outcome in outcomes {
        outcome.map_err(|error| match error {
            // Nothing refers to it yet, so it is as good as not stored.
            PublishError::Unknown(reason) => PublishError::Storage(reason),
            error => error,
        })?;
    }
    Ok(())
}

/// Whether an object stays as long as a message that refers to it from now on.
fn stays(meta: &Stored, declared: &StreamConfig) -> bool {
    let within = SignedDuration::try_from(REFER_WITHIN).unwrap_or_default();
    let age = Timestamp::now().duration_since(meta.at);
    declared.max_age.is_none() || age.abs() < within
}

/// How many of the messages that are ready may be handed out together, so that their objects fit into memory.
pub(super) fn at_most(ready: &VecDeque<Stored>, max: usize) -> usize {
    let mut bytes = 0;
    let mut count = 0;
    for stored in ready.iter().take(max) {
        let reference = stored.header(OBJECT).and_then(Reference::parse);
        bytes += reference.map_or(0, |reference| reference.size);
        if count > 0 && bytes > FETCH_BYTES {
            break;
        }
        count += 1;
    }
    count
}

/// The messages with the payloads that some of them only refer to.
pub(super) async fn whole(log: &Inner, stream: &str, messages: Vec<Stored>) -> Result<Vec<Stored>> {
    if !may_refer(stream) {
        return Ok(messages);
    }
    let mut all = Vec::with_capacity(messages.len());
    for mut stored in messages {
        if let Some(header) = stored.header(OBJECT) {
            let broken = |reason: String| LogError::Object {
                stream: stream.to_owned(),
                seq: stored.seq,
                reason,
            };
            let reference = Reference::parse(header).ok_or_else(|| {
                broken("it names its object in a way that cannot be read".to_owned())
            })?;
            stored.payload = match get(log, stream, &reference).await? {
                Ok(payload) => payload,
                Err(reason) => return Err(broken(reason)),
            };
            stored
                .headers
                .retain(|(name, _)| !name.eq_ignore_ascii_case(OBJECT));
        }
        all.push(stored);
    }
    Ok(all)
}

/// An object's bytes, or what is wrong with it.
async fn get(log: &Inner, stream: &str, reference: &Reference) -> Result<Result<Bytes, String>> {
    let store = format!("{STORE}{stream}");
    let found = match stream::last(log, &store, &reference.meta_subject(stream)).await {
        Ok(found) => found,
        Err(LogError::Missing { .. }) => return Ok(Err("its object store is gone".to_owned())),
        Err(error) => return Err(error),
    };
    let name = &reference.name;
    let Some(found) = found else {
        return Ok(Err(format!("its object {name} is gone")));
    };
    let Ok(meta) = serde_json::from_slice::<Meta>(&found.payload) else {
        return Ok(Err(format!(
            "the description of its object {name} cannot be read"
        )));
    };
    let mut payload = BytesMut::with_capacity(reference.size);
    let mut next = 1;
    let subject = chunk_subject(stream, &meta.nuid);
    while payload.len() < reference.size {
        let Some((chunk, _)) = stream::next(log, &store, &subject, next).await? else {
            return Ok(Err(format!("chunks of its object {name} are gone")));
        };
        if chunk.payload.is_empty() || payload.len() + chunk.payload.len() > reference.size {
            return Ok(Err(format!("its object {name} is damaged")));
        }
        next = chunk.seq + 1;
        payload.extend_from_slice(&chunk.payload);
    }
    let payload = payload.freeze();
    if Reference::of(&payload) != *reference {
        return Ok(Err(format!("its object {name} is damaged")));
    }
    Ok(Ok(payload))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reference_is_read_as_it_was_written() {
        let reference = Reference::of(b"abc");
        assert_eq!(
            reference.to_header(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 3"
        );
        assert_eq!(Reference::parse(&reference.to_header()), Some(reference));
        let endless = format!("sha256:{} {}", "0".repeat(64), MESSAGE_MAX + 1);
        assert_eq!(Reference::parse(&endless), None);
    }

    #[test]
    fn few_large_messages_are_handed_out_together() {
        let stored = |size: Option<usize>| {
            let reference = size.map(|size| Reference {
                name: "0".repeat(64),
                size,
            });
            Stored {
                seq: 1,
                subject: "a".into(),
                headers: reference
                    .map(|one| (OBJECT.to_owned(), one.to_header()))
                    .into_iter()
                    .collect(),
                payload: Bytes::new(),
                at: Timestamp::UNIX_EPOCH,
                deliveries: 1,
            }
        };
        let ready =
            |sizes: &[Option<usize>]| sizes.iter().copied().map(stored).collect::<VecDeque<_>>();
        assert_eq!(at_most(&ready(&[None, None, None]), 2), 2);
        assert_eq!(at_most(&ready(&[Some(FETCH_BYTES * 2), None]), 32), 1);
        assert_eq!(at_most(&ready(&[None, Some(FETCH_BYTES * 2), None]), 32), 1);
        assert_eq!(
            at_most(
                &ready(&[Some(FETCH_BYTES / 2), Some(FETCH_BYTES / 2), Some(1)]),
                32
            ),
            2
        );
    }

    proptest! {
        #[test]
        fn no_header_panics(text in ".{0,120}") {
            let _ = Reference::parse(&text);
        }
    }
}
