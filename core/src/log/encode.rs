//! Changes as messages.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::json::{write_plain, write_record, write_text};
use super::{BATCH, CONTENT_TYPE, Channel, EPOCH, Event, POSITION};
use crate::key::Key;
use crate::position::Position;

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
    words: Words,
}

/// Words of an event's attributes in the making, kept because the next event often has the same and always needs the room.
#[derive(Debug, Default)]
struct Words {
    /// The newest instant with its text: changes of one transaction share it.
    time: Option<(Timestamp, String)>,
    word: String,
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
        write_event(channel, &event, &mut self.words, &mut self.payload);
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
            binary(channel, event, &mut self.words)
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

/// The value of an attribute.
enum Word<'a> {
    /// Nothing in it needs an escape in JSON.
    Plain(&'a str),
    Text(&'a str),
}

impl<'a> Word<'a> {
    fn as_str(&self) -> &'a str {
        match self {
            Word::Plain(text) | Word::Text(text) => text,
        }
    }
}

/// The attributes of an event beside its data, in the order they are written.
fn attributes(
    channel: &Channel,
    event: &Event,
    words: &mut Words,
    mut each: impl FnMut(&'static str, Word<'_>),
) {
    let Words { time, word } = words;
    let change = &event.change;
    each("specversion", Word::Plain("1.0"));
    each("id", Word::Text(&event.id));
    each("source", Word::Text(&channel.source));
    let kind = channel.event_type(change.op, change.row.is_whole());
    each("type", Word::Text(kind));
    if let Some(key) = &event.key {
        each("subject", Word::Text(written(key, word)));
    }
    let at = change.committed_at;
    if time.as_ref().is_none_or(|(known, _)| *known != at) {
        *time = Some((at, at.to_string()));
    }
    let time = time.as_ref().map_or("", |(_, text)| text.as_str());
    each("time", Word::Plain(time));
    each("dataschema", Word::Text(&channel.urn));
    word.clear();
    change.mark.write(word);
    each("sequence", Word::Plain(word));
    if let Some(key) = &event.replaces {
        each("lsreplaces", Word::Text(written(key, word)));
    }
    if let Some(key) = &event.replaced_by {
        each("lsreplacedby", Word::Text(written(key, word)));
    }
    if let Some(origin) = &change.origin {
        each("lsorigin", Word::Text(origin));
    }
}

fn written<'w>(key: &Key, word: &'w mut String) -> &'w str {
    word.clear();
    // Writing to a text cannot fail.
    let _ = write!(word, "{key}");
    word
}

fn binary(channel: &Channel, event: &Event, words: &mut Words) -> Frame {
    let mut frame = Frame::default();
    attributes(channel, event, words, |name, value| {
        frame
            .headers
            .push((format!("ce-{name}"), percent_encode(value.as_str())));
    });
    frame.headers.push((
        "ce-datacontenttype".to_owned(),
        "application/json".to_owned(),
    ));
    write_record(channel, &event.change.row, &mut frame.payload);
    frame
}

fn write_event(channel: &Channel, event: &Event, words: &mut Words, out: &mut Vec<u8>) {
    out.push(b'{');
    attributes(channel, event, words, |name, value| {
        write_plain(name, out);
        out.push(b':');
        match value {
            Word::Plain(text) => write_plain(text, out),
            Word::Text(text) => write_text(text, out),
        }
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
