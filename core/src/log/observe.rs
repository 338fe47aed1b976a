//! Observations of other programs: messages of an inbox as changes in contract form.
//!
//! A message is a CloudEvent in binary mode, one in structured mode, a JSON batch of them, or plain JSON data, which is an upsert.
//! What breaks the contract is for the gate to say; here is said what cannot even be read as a record of it, field by field.
//! Nothing here panics on foreign bytes, and no value of a record stands in a message.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::decode::{Attributes, before, header, is_content, op_of};
use super::json::read_value;
use super::{BATCH, CONTENT_TYPE, Channel, STRUCTURED};
use crate::change::{Change, Op};
use crate::contract::{Extra, Outcome, Violation};
use crate::diagnostic::suggestion;
use crate::key::Key;
use crate::position::Mark;
use crate::shape::Row;
use crate::value::{Cell, Type, Value};

/// Most events of a batch: what they cost to judge has to stay in proportion to what they cost to send.
pub const BATCH_EVENTS_MAX: usize = 1000;

/// When and where a message arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Its sequence in the inbox, which is the commit of its changes' marks.
    pub seq: u64,
    /// When it was stored; the time of events that name none.
    pub at: Timestamp,
}

/// One observation.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The id that its publisher gave it.
    pub id: Option<Box<str>>,
    /// The change, as far as it could be read.
    pub change: Change,
    /// Why it cannot be read as a change of the contract; the gate judges it where this is empty.
    pub violations: Vec<Violation>,
    /// Its text, where it could not be read.
    pub raw: Option<Box<str>>,
}

/// Reads a message of an inbox; a batch gives one observation per event, each judged on its own.
///
/// # Errors
/// The message as a whole is no observation: not text, not JSON, a batch that is none or holds too many events.
pub fn observe(
    channel: &Channel,
    headers: &[(String, String)],
    payload: &[u8],
    arrival: Arrival,
) -> Result<Vec<Observed>, Violation> {
    let body = std::str::from_utf8(payload)
        .map_err(|_| violation(None, "message", "the body is not UTF-8 text"))?;
    let content = header(headers, CONTENT_TYPE).unwrap_or_default();
    let reader = |ordinal| Reader {
        channel,
        mark: Mark {
            commit: arrival.seq,
            ordinal,
        },
        at: arrival.at,
        violations: Vec::new(),
    };
    if is_content(content, BATCH) {
        let events: Vec<&RawValue> = serde_json::from_str(body)
            .map_err(|_| violation(None, "message", "the body is not a JSON array of events"))?;
        if events.len() > BATCH_EVENTS_MAX {
            let message = format!(
                "the batch holds {} events, at most {BATCH_EVENTS_MAX} are taken: send several",
                events.len()
            );
            return Err(violation(None, "batch", message));
        }
        let events = events.into_iter().enumerate();
        return Ok(events
            .map(|(n, event)| reader(n as u64).structured(event.get()))
            .collect());
    }
    if is_content(content, STRUCTURED) {
        return Ok(vec![reader(0).structured(body)]);
    }
    let is_event = |(name, _): &(String, String)| {
        name.get(..3)
            .is_some_and(|start| start.eq_ignore_ascii_case("ce-"))
    };
    if !headers.iter().any(is_event) {
        return Ok(vec![reader(0).plain(body)]);
    }
    let mut attributes = Attributes::of_headers(headers)
        .map_err(|error| violation(None, "message", error.to_string()))?;
    let data: Option<&RawValue> = match body.trim() {
        "" => None,
        text => Some(serde_json::from_str(text).map_err(|_| not_json())?),
    };
    attributes.data = data;
    Ok(vec![reader(0).event(&attributes, body)])
}

/// Reads one observation.
struct Reader<'c> {
    channel: &'c Channel,
    mark: Mark,
    at: Timestamp,
    violations: Vec<Violation>,
}

impl Reader<'_> {
    /// Data without attributes: the record as it is now.
    fn plain(mut self, body: &str) -> Observed {
        let (op, row) = match serde_json::from_str::<&RawValue>(body) {
            Ok(data) => self.whole(Op::Updated, data.get()),
            Err(_) => {
                self.violations.push(not_json());
                (Op::Updated, self.nothing())
            }
        };
        self.observed(None, op, row, body)
    }

    /// An event with its attributes in one JSON object.
    fn structured(mut self, text: &str) -> Observed {
        match serde_json::from_str::<Attributes<'_>>(text) {
            Ok(attributes) => {
                self.members(text);
                self.event(&attributes, text)
            }
            Err(_) => {
                let message = "it is not a JSON object with the attributes of a CloudEvent";
                self.violations.push(violation(None, "message", message));
                let row = self.nothing();
                self.observed(None, Op::Updated, row, text)
            }
        }
    }

    fn event(mut self, attributes: &Attributes<'_>, text: &str) -> Observed {
        match attributes.specversion.as_deref() {
            Some("1.0") => {}
            Some(other) => {
                let message = format!("specversion `{}` is not `1.0`", short(other));
                self.say("specversion", message);
            }
            None => self.say("specversion", "the attribute `specversion` is missing"),
        }
        if attributes.id.is_none() {
            self.say("id", "the attribute `id` is missing");
        }
        self.filled(attributes);
        let (op, is_patch) = self.operation(attributes);
        self.dataschema(attributes);
        if let Some(time) = &attributes.time {
            match time.parse() {
                Ok(at) if is_rfc3339(time) => self.at = at,
                _ => self.say("time", format!("`{}` is not a time", short(time))),
            }
        }
        let data = attributes.data.map(RawValue::get);
        let (op, row) = match (op, data) {
            (Op::Truncated, _) => (op, Row::default()),
            (Op::Deleted, None | Some("null")) => (op, self.named(attributes)),
            (Op::Deleted, Some(data)) => (op, self.key_of(data)),
            (_, Some(data)) if is_patch => (op, self.record(data)),
            (_, Some(data)) => self.whole(op, data),
            (_, None) => {
                self.say("message", "there is no data");
                (op, self.nothing())
            }
        };
        let replaces = attributes
            .lsreplaces
            .as_deref()
            .and_then(|old| self.old_key(old));
        let origin = attributes.lsorigin.as_deref().map(Into::into);
        let mut observed = self.observed(attributes.id.as_deref(), op, row, text);
        observed.change.before = replaces;
        observed.change.origin = origin;
        observed
    }

    /// Attributes that are there have a value, and that of `datacontenttype` is a media type.
    fn filled(&mut self, attributes: &Attributes<'_>) {
        for (name, value) in [
            ("id", &attributes.id),
            ("type", &attributes.kind),
            ("source", &attributes.source),
            ("subject", &attributes.subject),
            ("dataschema", &attributes.dataschema),
            ("datacontenttype", &attributes.datacontenttype),
        ] {
            if value.as_deref() == Some("") {
                self.say(name, format!("the attribute `{name}` is empty"));
            }
        }
        let named = attributes.datacontenttype.as_deref().unwrap_or_default();
        let media = named.split(';').next().unwrap_or_default().split_once('/');
        let token = |part: &str| {
            let part = part.trim();
            !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c == '/')
        };
        if !named.is_empty() && !media.is_some_and(|(kind, sub)| token(kind) && token(sub)) {
            let message = format!("datacontenttype `{}` is not a media type", short(named));
            self.say("datacontenttype", message);
        }
    }

    /// The members of an event in structured mode: names as CloudEvents has them, plain values, data in one form only.
    fn members(&mut self, text: &str) {
        let Ok(Pairs(pairs)) = serde_json::from_str::<Pairs<'_>>(text) else {
            return;
        };
        let stands = |name: &str| {
            let found = pairs.iter().find(|(known, _)| known == name);
            found.is_some_and(|(_, value)| value.get() != "null")
        };
        if stands("data") && stands("data_base64") {
            self.say("message", "`data` and `data_base64` stand there both");
        }
        for (name, value) in &pairs {
            if matches!(name.as_ref(), "data" | "data_base64") {
                continue;
            }
            if name.is_empty() || !name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9')) {
                let message = format!(
                    "the attribute `{}` has not the name of one: lower-case letters and digits only",
                    short(name)
                );
                self.say("attribute", message);
            }
            let text = value.get();
            if text.starts_with(['{', '['])
                || text.parse::<i64>().is_err()
                    && text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
            {
                let message = format!(
                    "the attribute `{}` is neither a text, a whole number nor a truth value",
                    short(name)
                );
                self.say("attribute", message);
            }
        }
    }

    /// What the event's type says happened, and whether its data is a part of the record.
    fn operation(&mut self, attributes: &Attributes<'_>) -> (Op, bool) {
        let Some(kind) = attributes.kind.as_deref() else {
            self.say("type", "the attribute `type` is missing");
            return (Op::Updated, true);
        };
        let contract = &self.channel.contract;
        let mut rest = kind;
        if let Some((start, major)) = kind.rsplit_once(".v")
            && let Ok(major) = major.parse::<u64>()
        {
            rest = start;
            let expected = contract.version.major;
            if major != expected {
                let message = format!(
                    "the event is of major version {major}, the contract of version {expected}"
                );
                self.say("version", message);
            }
        }
        let (entity, word) = rest.rsplit_once('.').unwrap_or(("", rest));
        // A type of ours names its entity; anybody else's names what its owner likes.
        if let Some(other) = entity.strip_prefix("io.lockstep.") {
            let contract = &self.channel.contract;
            if other != contract.entity {
                let message = format!(
                    "the event is of `{}`, its subject of `{}`",
                    short(other),
                    contract.entity
                );
                self.say("type", message);
            }
        }
        match op_of(word) {
            Some(op) => (op, word == "patched"),
            None => {
                let message = format!(
                    "type `{}` does not end in created, updated, patched, snapshot, deleted or truncated",
                    short(kind)
                );
                self.say("type", message);
                (Op::Updated, true)
            }
        }
    }

    /// A contract that the event names has to be this one.
    fn dataschema(&mut self, attributes: &Attributes<'_>) {
        let contract = &self.channel.contract;
        let named = attributes.dataschema.as_deref();
        let Some(named) = named.and_then(|named| named.strip_prefix("urn:lockstep:contract:"))
        else {
            return;
        };
        let (entity, version) = named.split_once(':').unwrap_or((named, ""));
        let major = version
            .split('.')
            .next()
            .and_then(|major| major.parse().ok());
        if entity != contract.entity || major != Some(contract.version.major) {
            let message = format!(
                "the event follows the contract `{}`, the inbox `{}:{}`",
                short(named),
                contract.entity,
                contract.version
            );
            self.say("version", message);
        }
    }

    /// A whole record. What it may leave out takes the contract's default, or null.
    fn whole(&mut self, op: Op, data: &str) -> (Op, Row) {
        let mut row = self.record(data);
        let fields = &self.channel.contract.fields;
        for (cell, field) in row.0.iter_mut().zip(fields) {
            if !cell.is_unchanged() || field.required {
                continue;
            }
            match &field.default {
                Some(default) => *cell = Cell::Set(default.clone()),
                None if field.nullable => *cell = Cell::Set(Value::Null),
                None => {}
            }
        }
        // An update that is not whole would be a patch; what is created has to be whole.
        let op = match op {
            Op::Updated if !row.is_whole() => Op::Created,
            op => op,
        };
        (op, row)
    }

    /// The key in a delete's data, whatever else stands there.
    fn key_of(&mut self, data: &str) -> Row {
        let mut row = self.record(data);
        let key = &self.channel.contract.key;
        for (at, cell) in row.0.iter_mut().enumerate() {
            if !key.contains(&at) {
                *cell = Cell::Unchanged;
            }
        }
        row
    }

    /// The key that a delete without data names as its subject.
    fn named(&mut self, attributes: &Attributes<'_>) -> Row {
        let Some(subject) = attributes.subject.as_deref() else {
            self.say(
                "key",
                "a delete needs its record's key, as data or as `subject`",
            );
            return self.nothing();
        };
        let key = Key::parse(subject, &self.key_types());
        match key.and_then(|key| before(self.channel, &key)) {
            Ok(row) => row,
            Err(_) => {
                self.say("key", "`subject` is not a key of the contract");
                self.nothing()
            }
        }
    }

    /// The record under the key that the observed one had before.
    fn old_key(&mut self, text: &str) -> Option<Row> {
        let key = Key::parse(text, &self.key_types());
        match key.and_then(|key| before(self.channel, &key)) {
            Ok(row) => Some(row),
            Err(_) => {
                self.say("lsreplaces", "`lsreplaces` is not a key of the contract");
                None
            }
        }
    }

    /// The fields that stand in the data; everything about it that is not of the contract is said.
    fn record(&mut self, data: &str) -> Row {
        let mut row = self.nothing();
        let Ok(Pairs(pairs)) = serde_json::from_str::<Pairs<'_>>(data) else {
            self.say("message", "the data is not a JSON object");
            return row;
        };
        let fields = &self.channel.contract.fields;
        for (name, value) in pairs {
            let Some(at) = self.channel.contract.field(&name) else {
                // What is kept or dropped is not refused; a record holds the contract's fields alone.
                if self.channel.contract.extra != Extra::Reject {
                    continue;
                }
                let known = fields.iter().map(|field| field.name.as_str());
                let message = format!(
                    "the contract has no such field; {}",
                    suggestion(&name, known)
                );
                self.violations
                    .push(violation(Some(&short(&name)), "unknown", message));
                continue;
            };
            if !row.cell(at).is_unchanged() {
                let message = "the field stands there twice";
                self.violations
                    .push(violation(Some(&name), "message", message));
                continue;
            }
            match read_value(fields[at].kind, value.get()) {
                Some(value) => row.0[at] = Cell::Set(value),
                None => {
                    let message = mismatch(fields[at].kind, value.get());
                    self.violations
                        .push(violation(Some(&name), "type", message));
                }
            }
        }
        row
    }

    fn nothing(&self) -> Row {
        Row::unchanged(self.channel.shape.columns.len())
    }

    fn key_types(&self) -> Vec<Type> {
        let contract = &self.channel.contract;
        contract
            .key
            .iter()
            .map(|at| contract.fields[*at].kind)
            .collect()
    }

    fn say(&mut self, rule: &str, message: impl Into<String>) {
        self.violations.push(violation(None, rule, message));
    }

    fn observed(self, id: Option<&str>, op: Op, row: Row, text: &str) -> Observed {
        let raw = (!self.violations.is_empty()).then(|| text.into());
        Observed {
            id: id.map(Into::into),
            change: Change {
                shape: Arc::clone(&self.channel.shape),
                op,
                row,
                before: None,
                mark: self.mark,
                committed_at: self.at,
                origin: None,
            },
            violations: self.violations,
            raw,
        }
    }
}

/// The members of a JSON object in their order, repeated ones included.
struct Pairs<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Whether a time is written as RFC 3339 has it: to the second at least, with its offset from UTC in full.
fn is_rfc3339(text: &str) -> bool {
    let Some((day, rest)) = text.split_once(['T', 't']) else {
        return false;
    };
    let rest = match rest.strip_suffix(['Z', 'z']) {
        Some(rest) => rest,
        None => match rest.rfind(['+', '-']) {
            Some(at) if shaped(&rest[at + 1..], "00:00") && rest[at + 1..] < *"24" => &rest[..at],
            _ => return false,
        },
    };
    let (time, fraction) = match rest.split_once('.') {
        Some((time, fraction)) => (time, fraction),
        None => (rest, "0"),
    };
    shaped(day, "0000-00-00")
        && shaped(time, "00:00:00")
        && !fraction.is_empty()
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a text has digits where the form has zeros, and the form's own signs elsewhere.
fn shaped(text: &str, form: &str) -> bool {
    let alike = |(a, b): (u8, u8)| match b {
        b'0' => a.is_ascii_digit(),
        sign => a == sign,
    };
    text.len() == form.len() && text.bytes().zip(form.bytes()).all(alike)
}

/// What stands where a value of a type belongs; never the value itself.
fn mismatch(kind: Type, json: &str) -> String {
    let stands = match json.bytes().next() {
        Some(b'"') => "text",
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b't' | b'f') => "true or false",
        _ => "a number",
    };
    let wanted = match kind {
        Type::Bool => "true or false",
        Type::Int => "a whole number",
        Type::Float => "a number",
        Type::Text => "text",
        Type::Decimal { .. } => "a decimal, written as text such as \"12.50\"",
        Type::Bytes => "bytes, written as base64 text",
        Type::Date => "a date, written as text such as \"2026-01-31\"",
        Type::Time => "a time of day, written as text such as \"13:45:00\"",
        Type::Timestamp => "an instant, written as text such as \"2026-01-31T13:45:00Z\"",
        Type::Uuid => "a uuid, written as text",
        Type::Json => "JSON",
    };
    format!("there is {stands} where {wanted} belongs")
}

fn not_json() -> Violation {
    violation(None, "message", "the body is not JSON")
}

fn violation(field: Option<&str>, rule: &str, message: impl Into<String>) -> Violation {
    Violation {
        field: field.map(ToOwned::to_owned),
        rule: rule.to_owned(),
        message: message.into(),
        outcome: Outcome::Quarantine,
    }
}

/// A foreign word, short enough for a message.
fn short(word: &str) -> String {
    word.chars().take(80).collect()
}

#[cfg(test)]
mod tests;
