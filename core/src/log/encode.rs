//! Changes as messages.

use super::json::{write_record, write_text};
use super::{BATCH, CONTENT_TYPE, Channel, EPOCH, Event, POSITION};
use crate::position::Position;
use crate::version::Version;

/// Headers and body of one message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frame {
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub payload: Vec<u8>,
}

/// Collects events of one channel and lane into one message, encoding each as it comes.
///
/// One event becomes a message in binary mode, more become a JSON batch.
#[derive(Debug, Default)]
pub struct FrameBuilder {
    /// The only event so far, for binary mode.
    single: Option<Event>,
    events: usize,
    /// The batch so far, without its closing bracket.
    payload: Vec<u8>,
}

/// An event that alone is larger than a message may be.
#[derive(Debug)]
pub struct TooLarge {
    /// The event.
    pub event: Box<Event>,
    /// Its size in bytes.
    pub bytes: usize,
}

impl FrameBuilder {
    /// Adds an event, unless it alone is larger than `event_max` bytes.
    ///
    /// # Errors
    /// The event, handed back.
    pub fn push(
        &mut self,
        channel: &Channel,
        event: Event,
        event_max: usize,
    ) -> Result<(), TooLarge> {
        let before = self.payload.len();
        self.payload
            .push(if self.events == 0 { b'[' } else { b',' });
        write_event(channel, &event, &mut self.payload);
        let bytes = self.payload.len() - before;
        if bytes > event_max {
            self.payload.truncate(before);
            return Err(TooLarge {
                event: Box::new(event),
                bytes,
            });
        }
        self.events += 1;
        self.single = (self.events == 1).then_some(event);
        Ok(())
    }

    /// The number of its events.
    #[must_use]
    pub fn events(&self) -> usize {
        self.events
    }

    /// The size of its body so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.payload.len()
    }

    /// The message: `position` is the source position that its lane is covered up to with it, `epoch` the writer's.
    #[must_use]
    pub fn finish(mut self, channel: &Channel, position: Option<&Position>, epoch: u64) -> Frame {
        let mut frame = if let Some(event) = &self.single {
            binary(channel, event)
        } else {
            self.payload
                .extend_from_slice(if self.events == 0 { b"[]" } else { b"]" });
            let kind = (CONTENT_TYPE.to_owned(), BATCH.to_owned());
            Frame {
                headers: vec![kind],
                payload: self.payload,
            }
        };
        let position = position.map(|at| (POSITION.to_owned(), at.to_string()));
        frame.headers.extend(position);
        frame.headers.push((EPOCH.to_owned(), epoch.to_string()));
        frame
    }
}

/// The attributes of an event beside its data, in the order they are written.
fn attributes(channel: &Channel, event: &Event, mut each: impl FnMut(&'static str, &str)) {
    let change = &event.change;
    each("specversion", "1.0");
    each("id", &event.id);
    each("source", &channel.source);
    each(
        "type",
        &channel.event_type(change.op, change.row.is_whole()),
    );
    if let Some(key) = &event.key {
        each("subject", &key.to_string());
    }
    each("time", &change.committed_at.to_string());
    each("dataschema", &channel.urn);
    each("sequence", &Version(change.mark).to_string());
    if let Some(key) = &event.replaces {
        each("lsreplaces", &key.to_string());
    }
    if let Some(key) = &event.replaced_by {
        each("lsreplacedby", &key.to_string());
    }
    if let Some(origin) = &change.origin {
        each("lsorigin", origin);
    }
}

fn binary(channel: &Channel, event: &Event) -> Frame {
    let mut frame = Frame::default();
    attributes(channel, event, |name, value| {
        frame
            .headers
            .push((format!("ce-{name}"), percent_encode(value)));
    });
    frame.headers.push((
        "ce-datacontenttype".to_owned(),
        "application/json".to_owned(),
    ));
    write_record(channel, &event.change.row, &mut frame.payload);
    frame
}

fn write_event(channel: &Channel, event: &Event, out: &mut Vec<u8>) {
    out.push(b'{');
    attributes(channel, event, |name, value| {
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        write_text(value, out);
        out.push(b',');
    });
    out.extend_from_slice(b"\"data\":");
    write_record(channel, &event.change.row, out);
    out.push(b'}');
}

/// Percent-encodes a header value as the CloudEvents HTTP and NATS bindings ask: blank, `"`, `%` and everything outside U+0021 to U+007E.
fn percent_encode(value: &str) -> String {
    if value
        .bytes()
        .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'%')
    {
        return value.to_owned();
    }
    let mut text = String::with_capacity(value.len() + 8);
    for byte in value.bytes() {
        if byte.is_ascii_graphic() && byte != b'"' && byte != b'%' {
            text.push(byte as char);
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}
