//! Messages as changes: one function for single events and frames.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::read_record;
use super::{
    BATCH, CONTENT_TYPE, Channel, Decoded, EPOCH, Event, KIND, KIND_COPY, KIND_EPOCH, POSITION,
};
use crate::change::{Change, Op};
use crate::contract::Contract;
use crate::key::{Key, KeyError};
use crate::shape::Row;
use crate::value::Type;
use crate::version::Version;

/// Why a message is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A header or attribute that every event has is missing.
    #[error("attribute `{0}` is missing")]
    Missing(&'static str),
    /// A header or attribute has a value that makes no sense.
    #[error("attribute `{0}` has the value `{1}`, which cannot be read")]
    Unreadable(&'static str, String),
    /// The event belongs to another entity or another major version.
    #[error("event type `{0}` is not of `{1}`")]
    Foreign(String, String),
    /// The event names a version of its contract that the reader does not know.
    #[error("the event is of `{0}`, which is not known here")]
    Version(String),
    /// The body is not what its content type says.
    #[error("the body cannot be read: {0}")]
    Body(String),
}

/// One event's attributes, from headers or from a batch.
#[derive(Default, Deserialize)]
pub(super) struct Attributes<'a> {
    #[serde(borrow, default)]
    pub(super) specversion: Option<Word<'a>>,
    #[serde(borrow, default)]
    pub(super) id: Option<Word<'a>>,
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: Option<Word<'a>>,
    /// Who says it; only inboxes look at it.
    #[serde(borrow, default)]
    pub(super) source: Option<Word<'a>>,
    /// The key; only inboxes look at it, and only where a delete has no data.
    #[serde(borrow, default)]
    pub(super) subject: Option<Word<'a>>,
    /// The form of the data; only inboxes look at it.
    #[serde(borrow, default)]
    pub(super) datacontenttype: Option<Word<'a>>,
    #[serde(borrow, default)]
    pub(super) dataschema: Option<Word<'a>>,
    #[serde(borrow, default)]
    pub(super) time: Option<Word<'a>>,
    #[serde(borrow, default)]
    pub(super) sequence: Option<Word<'a>>,
    #[serde(borrow, default)]
    pub(super) lsreplaces: Option<Word<'a>>,
    #[serde(borrow, default)]
    pub(super) lsreplacedby: Option<Word<'a>>,
    #[serde(borrow, default)]
    pub(super) lsorigin: Option<Word<'a>>,
    #[serde(borrow, default)]
    pub(super) data: Option<&'a RawValue>,
}

/// A text that stays where it is unless it holds escapes: behind an `Option`, serde would copy every one.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Word<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl Deref for Word<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Reads a message of a channel back, whichever of the two forms it has.
///
/// # Errors
/// Anything that the encoder did not write, and events of another version of the contract; nothing is guessed.
pub fn decode(
    channel: &Channel,
    headers: &[(String, String)],
    payload: &[u8],
) -> Result<Decoded, DecodeError> {
    decode_among(
        &|urn| (urn == channel.urn).then_some(channel),
        headers,
        payload,
    )
}

/// Reads a message whose events may be of several versions of a contract: `channel` gives the channel of the version that an event names.
///
/// Each event comes in the shape of its own version.
///
/// # Errors
/// Anything that the encoder did not write, and events of a version that `channel` does not know; nothing is guessed.
pub fn decode_among<'c>(
    channel: &dyn Fn(&str) -> Option<&'c Channel>,
    headers: &[(String, String)],
    payload: &[u8],
) -> Result<Decoded, DecodeError> {
    let header = |name: &str| header(headers, name);
    let unreadable =
        |name, value: &str| DecodeError::Unreadable(name, value.chars().take(80).collect());
    let mut decoded = Decoded::default();
    if let Some(text) = header(POSITION) {
        decoded.position = Some(text.parse().map_err(|_| unreadable(POSITION, text))?);
    }
    if let Some(text) = header(EPOCH) {
        decoded.epoch = text.parse().map_err(|_| unreadable(EPOCH, text))?;
    }
    // What a copy says was said on another lane already.
    if header(KIND).is_some_and(|kind| kind == KIND_EPOCH || kind == KIND_COPY) {
        return Ok(decoded);
    }
    let body =
        std::str::from_utf8(payload).map_err(|error| DecodeError::Body(error.to_string()))?;
    if header(CONTENT_TYPE).is_some_and(|kind| is_content(kind, BATCH)) {
        let batch: Vec<Attributes<'_>> =
            serde_json::from_str(body).map_err(|error| DecodeError::Body(error.to_string()))?;
        decoded.events.reserve(batch.len());
        let mut times = Times::default();
        for attributes in &batch {
            let data = attributes.data.map_or("{}", RawValue::get);
            let event = event(channel, attributes, data, &mut times)?;
            decoded.events.push(event);
        }
        return Ok(decoded);
    }
    let attributes = Attributes::of_headers(headers)?;
    let data = if body.trim().is_empty() { "{}" } else { body };
    let event = event(channel, &attributes, data, &mut Times::default())?;
    decoded.events.push(event);
    Ok(decoded)
}

impl<'a> Attributes<'a> {
    /// The attributes of a message in binary mode; its data is its body.
    pub(super) fn of_headers(headers: &'a [(String, String)]) -> Result<Self, DecodeError> {
        let attribute = |name: &'static str| -> Result<Option<Word<'a>>, DecodeError> {
            let Some(value) = header(headers, name) else {
                return Ok(None);
            };
            let decoded = percent_decode(value)
                .ok_or_else(|| DecodeError::Unreadable(name, value.chars().take(80).collect()))?;
            Ok(Some(Word(decoded)))
        };
        Ok(Attributes {
            specversion: attribute("ce-specversion")?,
            id: attribute("ce-id")?,
            kind: attribute("ce-type")?,
            source: attribute("ce-source")?,
            subject: attribute("ce-subject")?,
            datacontenttype: attribute("ce-datacontenttype")?,
            dataschema: attribute("ce-dataschema")?,
            time: attribute("ce-time")?,
            sequence: attribute("ce-sequence")?,
            lsreplaces: attribute("ce-lsreplaces")?,
            lsreplacedby: attribute("ce-lsreplacedby")?,
            lsorigin: attribute("ce-lsorigin")?,
            data: None,
        })
    }
}

/// The first header of a name, whatever its case.
pub(super) fn header<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    let found = headers
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

/// Tells whether a content type is this one, parameters aside.
pub(super) fn is_content(kind: &str, wanted: &str) -> bool {
    kind.get(..wanted.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(wanted))
}

/// The newest instant that was read, with its text: changes of one transaction share it.
#[derive(Default)]
struct Times<'a>(Option<(&'a str, Timestamp)>);

impl<'a> Times<'a> {
    fn read(&mut self, text: &'a str) -> Option<Timestamp> {
        match self.0 {
            Some((known, at)) if known == text => Some(at),
            _ => {
                let at = text.parse().ok()?;
                self.0 = Some((text, at));
                Some(at)
            }
        }
    }
}

fn event<'c, 'a>(
    channel: &dyn Fn(&str) -> Option<&'c Channel>,
    attributes: &'a Attributes<'_>,
    data: &str,
    times: &mut Times<'a>,
) -> Result<Event, DecodeError> {
    let unreadable =
        |name, value: &str| DecodeError::Unreadable(name, value.chars().take(80).collect());
    match attributes.specversion.as_deref() {
        Some("1.0") => {}
        Some(other) => return Err(unreadable("specversion", other)),
        None => return Err(DecodeError::Missing("specversion")),
    }
    let id = attributes.id.as_deref().ok_or(DecodeError::Missing("id"))?;
    let kind = attributes
        .kind
        .as_deref()
        .ok_or(DecodeError::Missing("type"))?;
    let urn = attributes.dataschema.as_deref();
    let urn = urn.ok_or(DecodeError::Missing("dataschema"))?;
    let channel =
        channel(urn).ok_or_else(|| DecodeError::Version(urn.chars().take(200).collect()))?;
    let op = operation(channel, kind)?;
    let time = attributes
        .time
        .as_deref()
        .ok_or(DecodeError::Missing("time"))?;
    let sequence = attributes
        .sequence
        .as_deref()
        .ok_or(DecodeError::Missing("sequence"))?;
    let version: Version = sequence
        .parse()
        .map_err(|_| unreadable("sequence", sequence))?;
    let row =
        read_record(&channel.shape, data).map_err(|error| DecodeError::Body(error.to_string()))?;
    let old_key = |name, text: &Option<Word<'_>>| match text {
        None => Ok(None),
        Some(text) => {
            let Contract { key, fields, .. } = &*channel.contract;
            let kinds: Vec<Type> = key.iter().map(|at| fields[*at].kind).collect();
            Key::parse(text, &kinds)
                .map(Some)
                .map_err(|_| unreadable(name, text))
        }
    };
    let replaces = old_key("lsreplaces", &attributes.lsreplaces)?;
    let before = replaces
        .as_ref()
        .map(|key| before(channel, key))
        .transpose()
        .map_err(|_| unreadable("lsreplaces", attributes.lsreplaces.as_deref().unwrap_or("")))?;
    let key = match op {
        Op::Truncated => None,
        _ => Some(
            Key::encode(
                channel
                    .contract
                    .key
                    .iter()
                    .map(|position| row.value(*position)),
            )
            .map_err(|error| DecodeError::Body(error.to_string()))?,
        ),
    };
    Ok(Event {
        key,
        replaces,
        replaced_by: old_key("lsreplacedby", &attributes.lsreplacedby)?,
        id: id.into(),
        change: Change {
            shape: Arc::clone(&channel.shape),
            op,
            row,
            before,
            mark: version.0,
            committed_at: times.read(time).ok_or_else(|| unreadable("time", time))?,
            origin: attributes.lsorigin.as_deref().map(Into::into),
        },
    })
}

/// The record before a key change, of which only the old key is known.
pub(super) fn before(channel: &Channel, key: &Key) -> Result<Row, KeyError> {
    let mut row = Row::unchanged(channel.shape.columns.len());
    for (position, value) in channel.contract.key.iter().zip(key.values()?) {
        row.0[*position] = value.into();
    }
    Ok(row)
}

fn operation(channel: &Channel, kind: &str) -> Result<Op, DecodeError> {
    let contract = &channel.contract;
    let foreign =
        || DecodeError::Foreign(kind.chars().take(120).collect(), contract.entity.clone());
    let rest = kind
        .strip_prefix("io.lockstep.")
        .and_then(|rest| rest.strip_prefix(contract.entity.as_str()))
        .and_then(|rest| rest.strip_prefix('.'))
        .ok_or_else(foreign)?;
    let (word, major) = rest.split_once(".v").ok_or_else(foreign)?;
    if major.parse() != Ok(contract.version.major) {
        return Err(foreign());
    }
    op_of(word).ok_or_else(foreign)
}

/// What a word at the end of an event's type says happened.
pub(super) fn op_of(word: &str) -> Option<Op> {
    match word {
        "snapshot" => Some(Op::Snapshot),
        "created" => Some(Op::Created),
        "updated" | "patched" => Some(Op::Updated),
        "deleted" => Some(Op::Deleted),
        "truncated" => Some(Op::Truncated),
        _ => None,
    }
}

/// Decodes a header value once; `None` for a broken escape or text that is not UTF-8.
fn percent_decode(value: &str) -> Option<Cow<'_, str>> {
    if !value.contains('%') {
        return Some(Cow::Borrowed(value));
    }
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [byte, tail @ ..] = rest {
        if *byte == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*byte);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}
