//! Key-value buckets: one stream each, one message per key, laid out as other NATS clients expect it (`KV_<bucket>`, `$KV.<bucket>.<key>`).
//!
//! Roll-up stays off: with it, whoever may write one key could empty the bucket. A removed key is a marker that goes away by itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lockstep_core::connector::Boxed;
use tokio::sync::mpsc;

use super::{Inner, ordered, publish, stream};
use crate::log::{
    AckPolicy, Bucket, Consumer as _, ConsumerConfig, Entry, LogError, Message, PublishError,
    Result, Start, Stored, StreamConfig, rules,
};

/// Most entries that wait for a watch's receiver.
const WATCH_QUEUE: usize = 256;
/// Messages of one fetch of a watch.
const WATCH_FETCH: usize = 128;
/// How long a watch waits for something to come before it looks whether anybody still listens.
const WATCH_WAIT: Duration = Duration::from_secs(5);
/// How long the marker of a removed key is kept, for watchers that were away.
const MARKER_TTL: Duration = Duration::from_secs(3600);
/// Header of a marker.
const OPERATION: &str = "KV-Operation";

/// Opens a bucket, making it if need be.
pub(super) async fn open(log: &Arc<Inner>, name: &str) -> Result<Keys> {
    rules::check_name("bucket", name)?;
    stream::ensure(log, &declared(name)).await?;
    Ok(Keys::of(log, name))
}

/// The stream under a bucket.
pub(super) fn declared(name: &str) -> StreamConfig {
    StreamConfig {
        name: format!("KV_{name}"),
        subjects: vec![format!("$KV.{name}.>")],
        max_age: None,
        max_bytes: None,
        max_per_subject: Some(1),
        duplicate_window: Duration::from_secs(120),
    }
}

/// A bucket.
pub(super) struct Keys {
    log: Arc<Inner>,
    stream: String,
    prefix: String,
}

impl Keys {
    /// A bucket that exists.
    pub(super) fn of(log: &Arc<Inner>, name: &str) -> Keys {
        Keys {
            log: Arc::clone(log),
            stream: format!("KV_{name}"),
            prefix: format!("$KV.{name}."),
        }
    }

    /// The value of a key and its revision.
    pub(super) async fn read(&self, key: &str) -> Result<Option<Entry>> {
        rules::check_key(key)?;
        let last = stream::last(&self.log, &self.stream, &self.subject(key)).await?;
        Ok(last
            .and_then(|stored| self.entry(stored))
            .filter(|entry| !entry.removed))
    }

    /// Sets a key only if its revision is `revision`, 0 for none.
    pub(super) async fn write(&self, key: &str, value: Bytes, revision: u64) -> Result<u64> {
        rules::check_key(key)?;
        rules::check_value(key, &value)?;
        let mut expected = revision;
        loop {
            let message = Message {
                subject: self.subject(key),
                payload: value.clone(),
                expect_last: Some(expected),
                ..Message::default()
            };
            let actual = match self.publish(message).await {
                Err(PublishError::WrongLast { actual, .. }) => actual,
                outcome => return outcome.map_err(|error| failed(&error)),
            };
            let there = self.read(key).await?;
            match there {
                // A marker of a removed key, or a marker that went away just now, is nothing.
                None if revision == 0 && actual != expected => expected = actual,
                there => {
                    return Err(LogError::WrongRevision {
                        key: key.to_owned(),
                        actual: there.map_or(0, |entry| entry.revision),
                    });
                }
            }
        }
    }

    async fn publish(&self, message: Message) -> Result<u64, PublishError> {
        let mut outcomes = publish::each(&self.log, &self.stream, vec![message]).await;
        match outcomes.pop() {
            Some(outcome) => outcome.map(|ack| ack.seq),
            None => Err(PublishError::Unknown("there was no answer".to_owned())),
        }
    }

    fn subject(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn entry(&self, stored: Stored) -> Option<Entry> {
        let removed = stored.header(OPERATION).is_some();
        Some(Entry {
            key: stored.subject.strip_prefix(&self.prefix)?.to_owned(),
            revision: stored.seq,
            value: if removed {
                Bytes::new()
            } else {
                stored.payload
            },
            removed,
        })
    }
}

fn failed(error: &PublishError) -> LogError {
    match error {
        PublishError::Denied(subject) => LogError::Denied(subject.clone()),
        PublishError::Refused(reason) => LogError::Refused(reason.clone()),
        error => LogError::Storage(error.to_string()),
    }
}

impl Bucket for Keys {
    fn get<'a>(&'a self, key: &'a str) -> Boxed<'a, Result<Option<Entry>>> {
        Box::pin(self.read(key))
    }

    fn put<'a>(&'a self, key: &'a str, value: Bytes) -> Boxed<'a, Result<u64>> {
        Box::pin(async move {
            rules::check_key(key)?;
            rules::check_value(key, &value)?;
            let message = Message {
                subject: self.subject(key),
                payload: value,
                ..Message::default()
            };
            let outcome = self.publish(message).await;
            outcome.map_err(|error| failed(&error))
        })
    }

    fn update<'a>(&'a self, key: &'a str, value: Bytes, revision: u64) -> Boxed<'a, Result<u64>> {
        Box::pin(self.write(key, value, revision))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Boxed<'a, Result<()>> {
        Box::pin(async move {
            if self.read(key).await?.is_none() {
                return Ok(());
            }
            let marker = Message {
                subject: self.subject(key),
                headers: vec![(OPERATION.to_owned(), "DEL".to_owned())],
                ttl: Some(MARKER_TTL),
                ..Message::default()
            };
            let outcome = self.publish(marker).await;
            outcome.map(drop).map_err(|error| failed(&error))
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Boxed<'a, Result<Vec<Entry>>> {
        Box::pin(async move {
            let all = ordered::lasts(&self.log, &self.stream, Vec::new(), false).await?;
            // A key that changed while it was read came twice; the later one holds.
            let mut entries: std::collections::BTreeMap<String, Entry> = all
                .into_iter()
                .filter_map(|stored| self.entry(stored))
                .filter(|entry| entry.key.starts_with(prefix))
                .map(|entry| (entry.key.clone(), entry))
                .collect();
            entries.retain(|_, entry| !entry.removed);
            Ok(entries.into_values().collect())
        })
    }

    fn scan<'a>(&'a self, each: &'a mut (dyn FnMut(Entry) + Send)) -> Boxed<'a, Result<()>> {
        Box::pin(async move {
            let mut one = |stored| {
                if let Some(entry) = self.entry(stored).filter(|entry| !entry.removed) {
                    each(entry);
                }
            };
            ordered::each_last(&self.log, &self.stream, Vec::new(), false, &mut one).await
        })
    }

    fn watch<'a>(&'a self, prefix: &'a str) -> Boxed<'a, Result<mpsc::Receiver<Entry>>> {
        Box::pin(async move {
            let there = stream::state(&self.log, &self.stream)
                .await?
                .info()
                .last_seq;
            let config = ConsumerConfig {
                durable: None,
                filters: Vec::new(),
                start: Start::LastPerSubject,
                ack: AckPolicy::None,
                ack_wait: Duration::from_secs(60),
                max_ack_pending: 0,
            };
            let mut reader = ordered::open(&self.log, &self.stream, config).await?;
            let (sender, receiver) = mpsc::channel(WATCH_QUEUE);
            let bucket = Keys {
                log: Arc::clone(&self.log),
                stream: self.stream.clone(),
                prefix: self.prefix.clone(),
            };
            let prefix = prefix.to_owned();
            tokio::spawn(async move {
                loop {
                    let fetched = tokio::select! {
                        () = sender.closed() => return,
                        fetched = reader.fetch(WATCH_FETCH, WATCH_WAIT) => fetched,
                    };
                    let messages = match fetched {
                        Ok(messages) => messages,
                        // The reader goes on by itself once there is a connection again.
                        Err(LogError::Unreachable { .. }) => continue,
                        Err(error) => {
                            tracing::warn!(bucket = bucket.stream, %error, "a watch has ended");
                            return;
                        }
                    };
                    let entries = messages
                        .into_iter()
                        .filter_map(|stored| bucket.entry(stored));
                    // What was removed before the watch began was never there for it.
                    let told = entries.filter(|entry| {
                        entry.key.starts_with(&prefix)
                            && !(entry.removed && entry.revision <= there)
                    });
                    for entry in told {
                        if sender.send(entry).await.is_err() {
                            return;
                        }
                    }
                }
            });
            Ok(receiver)
        })
    }
}
