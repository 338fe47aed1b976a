//! What JetStream's answers and messages say: pure, and sceptical of every byte.
//!
//! Knows no connection. Whatever cannot be read is `None` or an error, never a panic.

use std::time::Duration;

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;

use crate::log::{Message, PublishError, Stored};

/// Header: store it only if the subject's last sequence is this.
const EXPECT_LAST: &str = "Nats-Expected-Last-Subject-Sequence";
/// Header: store it only in this stream.
const EXPECT_STREAM: &str = "Nats-Expected-Stream";
/// Header: the message's id.
const MESSAGE_ID: &str = "Nats-Msg-Id";
/// Header: seconds after which the message is forgotten.
const TTL: &str = "Nats-TTL";
/// Header of a status: how many messages of the request were not delivered.
const PENDING: &str = "Nats-Pending-Messages";

/// Another write to the subject is under way on a replicated stream; the outcome will show which one wins.
const CODE_BUSY: u32 = 10164;
/// A message of the same id is being stored on a replicated stream.
const CODE_ID_BUSY: u32 = 10158;
/// The subject's last sequence is another.
const CODE_WRONG_LAST: u32 = 10071;
/// The stream is at a limit, or its storage failed.
const CODE_STORE_FAILED: u32 = 10077;
/// The account or the server has no room left.
const CODES_NO_ROOM: [u32; 3] = [10023, 10028, 10047];
/// The batch was given up before its commit.
const CODES_BATCH_LOST: [u32; 2] = [10176, 10210];
/// Too few servers that could hold a stream.
pub(super) const CODE_NO_PEERS: u32 = 10005;
/// No such stream.
pub(super) const CODE_NO_STREAM: u32 = 10059;
/// No such consumer.
pub(super) const CODE_NO_CONSUMER: u32 = 10014;
/// No such message.
pub(super) const CODE_NO_MESSAGE: u32 = 10037;

/// An error as the server words it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Fault {
    /// In the manner of HTTP.
    #[serde(default)]
    pub(super) code: u16,
    /// What exactly.
    #[serde(default)]
    pub(super) err_code: u32,
    /// In words.
    #[serde(default)]
    pub(super) description: String,
}

/// The answer to a publish.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Answer {
    /// Why it was refused.
    pub(super) error: Option<Fault>,
    /// The sequence it got.
    #[serde(default)]
    pub(super) seq: u64,
    /// Whether its id was known.
    #[serde(default)]
    pub(super) duplicate: bool,
}

/// What a refusal means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Final.
    Final(PublishError),
    /// Another write to the subject is under way: ask again.
    Busy,
    /// Nobody answers for the stream just now: it was not stored.
    Nobody,
}

/// Judges a refusal of a message on `subject`.
pub(super) fn refusal(fault: &Fault, stream: &str, subject: &str) -> Refusal {
    let words = || fault.description.clone();
    Refusal::Final(match fault.err_code {
        CODE_BUSY | CODE_ID_BUSY => return Refusal::Busy,
        CODE_WRONG_LAST => match last_number(&fault.description) {
            Some(actual) => PublishError::WrongLast {
                subject: subject.to_owned(),
                actual,
            },
            None => return Refusal::Busy,
        },
        // A stream that closes may hold what it no longer answers for.
        CODE_STORE_FAILED if fault.description.contains("closed") => PublishError::Unknown(words()),
        CODE_STORE_FAILED if !fault.description.contains("maximum") => {
            PublishError::Storage(words())
        }
        code if code == CODE_STORE_FAILED || CODES_NO_ROOM.contains(&code) => PublishError::Full {
            stream: stream.to_owned(),
            limit: words(),
        },
        code if CODES_BATCH_LOST.contains(&code) => PublishError::Unknown(words()),
        _ if fault.code >= 500 || fault.code == 429 => PublishError::Storage(words()),
        _ => PublishError::Refused(words()),
    })
}

/// The number at the end of a sentence such as "wrong last sequence: 10".
fn last_number(text: &str) -> Option<u64> {
    text.rsplit(' ').next()?.parse().ok()
}

/// The headers of a message on its way to `stream`.
///
/// # Errors
/// A header that the client library does not take, by name.
pub(super) fn headers(stream: &str, message: &Message) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for (name, value) in &message.headers {
        let unfit = || format!("header `{name}` cannot be sent");
        let name: HeaderName = name.parse().map_err(|_| unfit())?;
        let value: HeaderValue = value.parse().map_err(|_| unfit())?;
        map.append(name, value);
    }
    map.insert(EXPECT_STREAM, stream);
    if let Some(last) = message.expect_last {
        map.insert(EXPECT_LAST, last.to_string());
    }
    if let Some(id) = &message.id {
        map.insert(MESSAGE_ID, id.as_str());
    }
    if let Some(ttl) = message.ttl {
        map.insert(TTL, whole_seconds(ttl).to_string());
    }
    Ok(map)
}

/// Seconds, rounded up: a lease never ends before its time.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// The headers that somebody wrote, by name; the server's own are left out, the values of one name keep their order.
pub(super) fn written(map: &HeaderMap) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = map
        .iter()
        .filter(|(name, _)| !is_servers(name.as_ref()))
        .flat_map(|(name, values)| {
            values
                .iter()
                .map(|value| (name.to_string(), value.to_string()))
        })
        .collect();
    headers.sort_by(|a, b| a.0.cmp(&b.0));
    headers
}

fn is_servers(name: &str) -> bool {
    name.get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("nats-"))
}

/// A header block as the server stores it, read into all its headers in order.
fn block(bytes: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.split("\r\n").skip(1);
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

/// How many messages of a pull request were not delivered, as its last status says.
pub(super) fn undelivered(map: Option<&HeaderMap>) -> Option<i64> {
    map?.get(PENDING)?.as_str().parse().ok()
}

/// A message as the API gives it.
#[derive(Debug, Deserialize)]
pub(super) struct RawMessage {
    subject: String,
    seq: u64,
    #[serde(default)]
    hdrs: Option<String>,
    #[serde(default)]
    data: Option<String>,
    time: Timestamp,
}

impl RawMessage {
    /// The message, and the sequence that its writer expected on its subject.
    pub(super) fn open(self) -> Option<(Stored, Option<u64>)> {
        let decode = |text: Option<String>| STANDARD.decode(text.unwrap_or_default()).ok();
        let all = block(&decode(self.hdrs)?);
        let expected = all
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(EXPECT_LAST));
        let expected = expected.and_then(|(_, value)| value.parse().ok());
        let mut headers: Vec<(String, String)> = all
            .into_iter()
            .filter(|(name, _)| !is_servers(name))
            .collect();
        headers.sort_by(|a, b| a.0.cmp(&b.0));
        let stored = Stored {
            seq: self.seq,
            subject: self.subject,
            headers,
            payload: Bytes::from(decode(self.data)?),
            at: self.time,
            deliveries: 1,
        };
        Some((stored, expected))
    }
}

/// What the reply subject of a delivery says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivery<'a> {
    /// The consumer.
    pub(super) consumer: &'a str,
    /// How often it was delivered, from 1.
    pub(super) deliveries: u32,
    /// Its sequence in the stream.
    pub(super) seq: u64,
    /// Its place among this consumer's deliveries, from 1.
    pub(super) place: u64,
    /// When it was stored.
    pub(super) at: Timestamp,
    /// How many more the consumer has for now.
    pub(super) pending: u64,
}

impl<'a> Delivery<'a> {
    /// Reads `$JS.ACK.<stream>.<consumer>.<deliveries>.<seq>.<place>.<time>.<pending>`, also with domain and account before the stream.
    pub(super) fn parse(reply: &'a str) -> Option<Self> {
        let rest = reply.strip_prefix("$JS.ACK.")?;
        let tokens: Vec<&str> = rest.split('.').collect();
        let skipped = match tokens.len() {
            7 => 0,
            9.. => 2,
            _ => return None,
        };
        let [_, consumer, deliveries, seq, place, time, pending, ..] = tokens[skipped..] else {
            return None;
        };
        Some(Delivery {
            consumer,
            deliveries: deliveries.parse().ok()?,
            seq: seq.parse().ok()?,
            place: place.parse().ok()?,
            at: Timestamp::from_nanosecond(time.parse().ok()?).ok()?,
            pending: pending.parse().ok()?,
        })
    }
}

/// A delivered message, if it is one.
pub(super) fn delivered(message: async_nats::Message) -> Option<Stored> {
    let reply = message.reply.as_ref()?;
    let delivery = Delivery::parse(reply)?;
    Some(Stored {
        seq: delivery.seq,
        at: delivery.at,
        deliveries: delivery.deliveries,
        subject: message.subject.to_string(),
        headers: message.headers.as_ref().map(written).unwrap_or_default(),
        payload: message.payload,
    })
}

/// Tells whether a version such as `2.15.1` is at least another; what is no version is not.
pub(super) fn at_least(version: &str, wanted: (u64, u64)) -> bool {
    let version = version.strip_prefix('v').unwrap_or(version);
    let mut parts = version.split(['.', '-']).map(str::parse::<u64>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= wanted,
        _ => false,
    }
}

/// The subject in `Permissions Violation for Publish to "…"`, and whether publishing or subscribing was denied.
pub(super) fn denied(text: &str) -> Option<(Denied, String)> {
    let lower = text.to_ascii_lowercase();
    let after = |words: &str| lower.find(words).map(|at| at + words.len());
    let (what, at) = match (
        after("permissions violation for publish to"),
        after("permissions violation for subscription to"),
    ) {
        (Some(at), _) => (Denied::Publish, at),
        (None, Some(at)) => (Denied::Subscribe, at),
        (None, None) => return None,
    };
    let subject = text.get(at..)?.trim();
    let subject = subject.trim_matches(|c| c == '"' || c == '\'');
    let subject = subject.split(['"', ' ']).next()?;
    Some((what, subject.to_owned()))
}

/// What the server does not permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    Publish,
    Subscribe,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reply_subjects_of_both_forms_are_read() {
        let short = "$JS.ACK.s.c.2.10.7.1795409773118298192.9";
        let long = "$JS.ACK.hub.ABC.s.c.2.10.7.1795409773118298192.9.x";
        for text in [short, long] {
            let found = Delivery::parse(text).unwrap();
            assert_eq!(
                (
                    found.consumer,
                    found.deliveries,
                    found.seq,
                    found.place,
                    found.pending
                ),
                ("c", 2, 10, 7, 9),
                "{text}"
            );
            assert_eq!(found.at.as_nanosecond(), 1_795_409_773_118_298_192);
        }
        for text in ["", "$JS.ACK.", "$JS.ACK.s.c.1.2", "$JS.ACK.s.c.a.b.c.d.e"] {
            assert_eq!(Delivery::parse(text), None, "{text}");
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let fault = |code, err_code, description: &str| Fault {
            code,
            err_code,
            description: description.to_owned(),
        };
        let wrong = |actual| PublishError::WrongLast {
            subject: "s.a".into(),
            actual,
        };
        let full = |limit: &str| PublishError::Full {
            stream: "s".into(),
            limit: limit.into(),
        };
        for (given, expected) in [
            (
                fault(400, 10071, "wrong last sequence: 10"),
                Refusal::Final(wrong(10)),
            ),
            (fault(400, 10164, "wrong last sequence"), Refusal::Busy),
            (
                fault(409, 10158, "duplicate message id is in process"),
                Refusal::Busy,
            ),
            (
                fault(503, 10077, "store is closed"),
                Refusal::Final(PublishError::Unknown("store is closed".into())),
            ),
            (
                fault(503, 10077, "maximum bytes exceeded"),
                Refusal::Final(full("maximum bytes exceeded")),
            ),
            (
                fault(503, 10077, "no space left on device"),
                Refusal::Final(PublishError::Storage("no space left on device".into())),
            ),
            (
                fault(503, 10023, "insufficient resources"),
                Refusal::Final(full("insufficient resources")),
            ),
            (
                fault(400, 10060, "expected stream does not match"),
                Refusal::Final(PublishError::Refused(
                    "expected stream does not match".into(),
                )),
            ),
            (
                fault(400, 10176, "incomplete"),
                Refusal::Final(PublishError::Unknown("incomplete".into())),
            ),
        ] {
            assert_eq!(refusal(&given, "s", "s.a"), expected, "{given:?}");
        }
    }

    #[test]
    fn denials_are_recognised() {
        for (text, expected) in [
            (
                "Permissions Violation for Publish to \"ls.set.x\"",
                Some((Denied::Publish, "ls.set.x")),
            ),
            (
                "'Permissions Violation for Publish to \"a.b\"'",
                Some((Denied::Publish, "a.b")),
            ),
            (
                "Permissions Violation for Subscription to \"_INBOX.x.*\"",
                Some((Denied::Subscribe, "_INBOX.x.*")),
            ),
            ("Authorization Violation", None),
        ] {
            let found = denied(text);
            let found = found
                .as_ref()
                .map(|(what, subject)| (*what, subject.as_str()));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_server_is_new_enough_from_its_version_on() {
        for (version, expected) in [
            ("2.15.0", true),
            ("2.15.1", true),
            ("v2.16.0-beta.1", true),
            ("3.0.0", true),
            ("2.14.9", false),
            ("1.99.0", false),
            ("", false),
            ("new", false),
        ] {
            assert_eq!(at_least(version, (2, 15)), expected, "{version}");
        }
    }

    #[test]
    fn the_servers_own_headers_are_hidden() {
        let message = Message {
            headers: vec![
                ("b".into(), "2".into()),
                ("a".into(), "1".into()),
                ("b".into(), "1".into()),
            ],
            expect_last: Some(7),
            ttl: Some(Duration::from_millis(1500)),
            ..Message::default()
        };
        let map = headers("s", &message).unwrap();
        assert_eq!(map.get(TTL).unwrap().as_str(), "2");
        assert_eq!(map.get(EXPECT_LAST).unwrap().as_str(), "7");
        let expected = [("a", "1"), ("b", "2"), ("b", "1")];
        assert_eq!(
            written(&map),
            expected.map(|(n, v)| (n.to_owned(), v.to_owned()))
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoders_panic(bytes: Vec<u8>, text in ".{0,60}") {
            let _ = (block(&bytes), denied(&text), at_least(&text, (2, 15)), last_number(&text));
            let _ = Delivery::parse(&format!("$JS.ACK.{text}"));
            let _ = serde_json::from_slice::<RawMessage>(&bytes).ok().and_then(RawMessage::open);
            let raw = serde_json::json!({ "subject": "s", "seq": 1, "hdrs": text, "data": text, "time": "2026-01-01T00:00:00Z" });
            let _ = serde_json::from_value::<RawMessage>(raw).unwrap().open();
        }
    }
}
