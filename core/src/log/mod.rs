//! Step three, **log**: what a message holds, byte by byte.
//!
//! Every message is CloudEvents 1.0: one change in binary mode, or a *frame* of many as a CloudEvents JSON batch (`application/cloudevents-batch+json`).
//! One function, [`decode`], reads both; [`observe`] reads what other programs publish, which may be less than an event of ours and may break its contract.
//! This module knows no broker: it makes headers and bytes, and reads them.

mod decode;
mod encode;
mod json;
mod observe;
pub mod subject;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::change::{Change, Op};
use crate::contract::Contract;
use crate::key::Key;
use crate::position::{Mark, Position};
use crate::shape::Shape;

pub use decode::{DecodeError, decode, decode_among};
pub use encode::{Frame, FrameBuilder, TooLarge};
pub use json::{read_record, write_record};
pub use observe::{Arrival, BATCH_EVENTS_MAX, Observed, observe};

/// Header: the content type of a frame.
pub const CONTENT_TYPE: &str = "content-type";
/// The content type of a frame of many changes.
pub const BATCH: &str = "application/cloudevents-batch+json";
/// The content type of one event in structured mode.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// Header: the subject to which the verdict on an observation goes.
pub const REPLY_TO: &str = "lsreplyto";
/// Header: the source position that a message ends at.
pub const POSITION: &str = "ls-pos";
/// Header: which life of the settled stream a position belongs to, and a sequence that it had given out: `<made at, in microseconds>/<sequence>`.
pub const LIFE: &str = "ls-life";
/// Header: the epoch of the writer.
pub const EPOCH: &str = "ls-epoch";
/// Header: `epoch` marks the first message of a new writer, which carries no change; `copy` marks what was said under a newer major and is said once more for subscribers of an older one.
pub const KIND: &str = "ls-kind";
/// [`KIND`] of the first message of a new writer.
pub const KIND_EPOCH: &str = "epoch";
/// [`KIND`] of a copy for subscribers of an older major.
pub const KIND_COPY: &str = "copy";
/// Header, on lanes that got copies: the source position up to which events of their own stand there, empty where none does. [`POSITION`] counts the copies there.
pub const OWN: &str = "ls-own";

/// One change of a settled entity, as the log carries it.
#[derive(Clone, Debug)]
pub struct Event {
    /// The change, in contract form.
    pub change: Change,
    /// The record's key; empty for a truncate.
    pub key: Option<Key>,
    /// The key the record had before, on an upsert that gave it another.
    pub replaces: Option<Key>,
    /// The key the record has now, on the tombstone of its old key.
    pub replaced_by: Option<Key>,
    /// The CloudEvents `id`: `<incarnation>/<mark>`, the same at every replay.
    pub id: Box<str>,
}

/// What events of one entity from one system have in common, worked out once.
#[derive(Clone, Debug)]
pub struct Channel {
    /// The contract.
    pub contract: Arc<Contract>,
    /// The contract's shape.
    pub shape: Arc<Shape>,
    /// The CloudEvents `source`: `/lockstep/<system>/<entity>`.
    pub source: String,
    /// The CloudEvents `dataschema`.
    pub urn: String,
    /// Field names as JSON, quoted and with their colon, in contract order.
    names: Vec<String>,
    /// The CloudEvents `type` for each of [`KINDS`].
    types: [String; 6],
}

/// What an event's type can say, in the words of the type.
const KINDS: [&str; 6] = [
    "snapshot",
    "created",
    "updated",
    "patched",
    "deleted",
    "truncated",
];

/// A message read back.
#[derive(Clone, Debug, Default)]
pub struct Decoded {
    /// Its changes, in order; none in an epoch message.
    pub events: Vec<Event>,
    /// The source position that it ends at.
    pub position: Option<Position>,
    /// The epoch of its writer.
    pub epoch: u64,
}

impl Channel {
    /// The channel of an entity from a system.
    #[must_use]
    pub fn new(system: &str, contract: Arc<Contract>) -> Self {
        let shape = contract.shape();
        let (entity, major) = (&contract.entity, contract.version.major);
        Channel {
            types: KINDS.map(|word| format!("io.lockstep.{entity}.{word}.v{major}")),
            source: format!("/lockstep/{system}/{}", contract.entity),
            urn: contract.urn(),
            names: shape
                .names()
                .map(|name| format!("{}:", serde_json::json!(name)))
                .collect(),
            shape,
            contract,
        }
    }

    /// The CloudEvents `type` of an operation: `io.lockstep.<entity>.<operation>.v<major>`.
    ///
    /// An update that does not carry the whole record is `patched`.
    #[must_use]
    pub fn event_type(&self, op: Op, whole: bool) -> &str {
        &self.types[match op {
            Op::Snapshot => 0,
            Op::Created => 1,
            Op::Updated if whole => 2,
            Op::Updated => 3,
            Op::Deleted => 4,
            Op::Truncated => 5,
        }]
    }
}

/// The deterministic id of a change: a pure function of incarnation and mark.
#[must_use]
pub fn event_id(incarnation: &str, mark: Mark) -> String {
    let mut id = String::with_capacity(incarnation.len() + 26);
    id.push_str(incarnation);
    id.push('/');
    mark.write(&mut id);
    id
}

/// Tells whether the change of one event id stands after that of another in their source; ids of different incarnations are always apart, and the one asked about counts as later.
#[must_use]
pub fn is_later(id: &str, other: &str) -> bool {
    let parts = |id: &str| -> Option<(String, Mark)> {
        let mut parts = id.split('/');
        let incarnation = parts.next()?.to_owned();
        Some((incarnation, parts.next()?.parse().ok()?))
    };
    match (parts(id), parts(other)) {
        (Some((one, mark)), Some((two, than))) => one != two || mark > than,
        _ => true,
    }
}
