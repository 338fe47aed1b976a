//! A reader of its own: nothing is acknowledged, messages come once and in order, and what a lost connection swallowed is fetched again.
//!
//! It reads ahead, so that a fetch seldom waits for the server. The server's consumer is expendable: whenever a delivery is missing or the server has forgotten it, another one goes on after the last message received.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_nats::{StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use lockstep_core::connector::Boxed;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::gap::Guard;
use super::link::Failed;
use super::wire::{self, Delivery};
use super::{Inner, large, service, stream};
use crate::log::rules;
use crate::log::{Consumer, ConsumerConfig, LogError, Result, Start, Stored};

/// Messages asked for at a time.
const PULL: i64 = 256;
/// Bytes asked for at a time.
const PULL_BYTES: usize = 4 * 1024 * 1024;
/// How long the server keeps a request for messages.
const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// How often the server says that it is still there while it has nothing.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Silence after which the server's consumer counts as lost.
const SILENCE: Duration = Duration::from_secs(4);
/// How long the server keeps a consumer that nobody asks.
const IDLE_MAX: Duration = Duration::from_secs(120);
/// Pause before trying again to get a consumer.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What the server says of a consumer.
#[derive(Debug, Deserialize)]
struct Info {
    #[serde(default)]
    num_pending: u64,
}

/// A reader.
pub(super) struct Ordered {
    log: Arc<Inner>,
    stream: String,
    filters: Vec<String>,
    /// Where it starts as long as nothing was received.
    start: Start,
    headers_only: bool,
    guard: Guard,
    /// The first sequence not received.
    next: Option<u64>,
    session: Option<Session>,
    ready: VecDeque<Stored>,
}

/// One consumer of the server.
struct Session {
    name: String,
    inbox: String,
    subscriber: Subscriber,
    /// The connection it began with.
    life: u64,
    /// Messages asked for and not received.
    credit: i64,
    pulls: u64,
    /// The place of the last delivery.
    place: u64,
    /// How many more the server has, as it said last.
    pending: u64,
    heard: Instant,
}

/// Opens a reader.
pub(super) async fn open(
    log: &Arc<Inner>,
    stream: &str,
    config: ConsumerConfig,
) -> Result<Ordered> {
    open_with(log, stream, config.filters, config.start, false).await
}

async fn open_with(
    log: &Arc<Inner>,
    stream: &str,
    filters: Vec<String>,
    start: Start,
    headers_only: bool,
) -> Result<Ordered> {
    let known = stream::known(log, stream).await?;
    check_filters(&known, &filters)?;
    let state = stream::state(log, stream).await?;
    let info = state.info();
    let start = match start {
        Start::New => Start::Seq(info.last_seq + 1),
        Start::Seq(seq) if seq == 0 || seq > info.last_seq + 1 => {
            return Err(beyond(stream, seq, info.last_seq));
        }
        start => start,
    };
    let next = match start {
        Start::Seq(seq) => Some(seq),
        _ => None,
    };
    let guard = Guard::new(&known, &filters, &state, next.unwrap_or(info.first_seq))?;
    guard.judge(log, &info).await?;
    let mut reader = Ordered {
        log: Arc::clone(log),
        stream: stream.to_owned(),
        filters,
        start,
        headers_only,
        guard,
        next,
        session: None,
        ready: VecDeque::new(),
    };
    reader.session = Some(reader.begin().await?);
    Ok(reader)
}

pub(super) fn beyond(stream: &str, seq: u64, last: u64) -> LogError {
    LogError::Refused(format!(
        "stream `{stream}` cannot be read from {seq}: sequences are 1 to {}",
        last + 1
    ))
}

pub(super) fn check_filters(known: &stream::Known, filters: &[String]) -> Result<()> {
    for (filter, text) in rules::patterns(filters)?.iter().zip(filters) {
        if !known.patterns.iter().any(|known| known.overlaps(filter)) {
            return Err(LogError::Refused(format!(
                "filter `{text}` matches no subject of stream `{}` ({})",
                known.config.name,
                known.config.subjects.join(", ")
            )));
        }
    }
    Ok(())
}

/// The server's words for where a consumer starts.
pub(super) fn starting(start: Start) -> Json {
    match start {
        Start::All => json!({ "deliver_policy": "all" }),
        Start::New => json!({ "deliver_policy": "new" }),
        Start::Seq(seq) => json!({ "deliver_policy": "by_start_sequence", "opt_start_seq": seq }),
        Start::Time(at) => json!({ "deliver_policy": "by_start_time", "opt_start_time": at }),
        Start::LastPerSubject => json!({ "deliver_policy": "last_per_subject" }),
    }
}

impl Ordered {
    /// Makes a consumer that goes on after what was received.
    async fn begin(&self) -> Result<Session> {
        let link = &self.log.link;
        let life = link.ready().await.map_err(|trouble| link.error(trouble))?;
        let name = format!("ls-{}", service::unique());
        let inbox = link.client.new_inbox();
        let subscribed = link.client.subscribe(format!("{inbox}.*")).await;
        let subscriber = subscribed.map_err(|error| LogError::Refused(error.to_string()))?;
        let mut config = json!({
            "name": name,
            "ack_policy": "none",
            "max_deliver": -1,
            "mem_storage": true,
            "num_replicas": 1,
            "inactive_threshold": stream::nanos(IDLE_MAX),
            "headers_only": self.headers_only,
        });
        let start = self.next.map_or(self.start, Start::Seq);
        merge(
            &mut config,
            [starting(start), filtering(start, &self.filters)],
        );
        let body = json!({ "stream_name": self.stream, "action": "create", "config": config });
        let path = format!("CONSUMER.CREATE.{}.{name}", self.stream);
        let made = link.api::<Info>(&path, &body).await;
        let info = made.map_err(|failed| match failed {
            Failed::Fault(fault) if fault.err_code == wire::CODE_NO_STREAM => LogError::Missing {
                what: "stream",
                name: self.stream.clone(),
            },
            failed => link.failed(failed),
        })?;
        Ok(Session {
            name,
            inbox,
            subscriber,
            life,
            credit: 0,
            pulls: 0,
            place: 0,
            pending: info.num_pending,
            heard: Instant::now(),
        })
    }

    /// Waits until something is ready, or the time is up.
    async fn fill(&mut self, until: Instant) -> Result<()> {
        loop {
            self.receive();
            if !self.ready.is_empty() && self.session.is_some() {
                return self.pull().await;
            }
            if !self.ready.is_empty() {
                return Ok(());
            }
            if self.session.is_none() {
                match self.again().await {
                    Ok(session) => self.session = Some(session),
                    Err(error @ LogError::Unreachable { .. }) if Instant::now() > until => {
                        return Err(error);
                    }
                    Err(LogError::Unreachable { .. }) => {
                        tokio::time::sleep(AGAIN_AFTER).await;
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            self.pull().await?;
            if Instant::now() >= until {
                return Ok(());
            }
            self.wait(until).await?;
        }
    }

    /// A consumer in place of a lost one: nothing may be lost in between.
    async fn again(&mut self) -> Result<Session> {
        let info = self.guard.look(&self.log).await?;
        if let Some(next) = self.next.filter(|next| *next > info.last_seq + 1) {
            // A server that lost its disk's last writes gives them out again: they would be skipped.
            return Err(LogError::SetBack {
                stream: self.stream.clone(),
                reason: format!(
                    "it ends at {}, but {} was read already",
                    info.last_seq,
                    next - 1
                ),
            });
        }
        self.begin().await
    }

    /// Waits for the next message, a change of the connection, or the end of the time.
    async fn wait(&mut self, until: Instant) -> Result<()> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        let mut weather = self.log.link.weather.clone();
        let changed = {
            let now = weather.borrow_and_update();
            !now.up || now.life != session.life
        };
        if changed {
            // What came before the connection was lost is still there to be read.
            self.receive();
            self.session = None;
            return Ok(());
        }
        let silence = session.heard + SILENCE;
        tokio::select! {
            biased;
            message = session.subscriber.next() => match message {
                Some(message) => self.take(message),
                None => self.session = None,
            },
            _ = weather.changed() => {}
            () = tokio::time::sleep_until(until.min(silence)) => {
                if Instant::now() >= silence {
                    self.session = None;
                }
            }
        }
        Ok(())
    }

    /// Takes everything that has arrived.
    fn receive(&mut self) {
        while let Some(session) = &mut self.session {
            match session.subscriber.next().now_or_never() {
                Some(Some(message)) => self.take(message),
                Some(None) => self.session = None,
                None => return,
            }
        }
    }

    fn take(&mut self, message: async_nats::Message) {
        let Some(session) = &mut self.session else {
            return;
        };
        session.heard = Instant::now();
        let place = message
            .reply
            .as_ref()
            .and_then(|reply| Delivery::parse(reply))
            .filter(|delivery| delivery.consumer == session.name)
            .map(|delivery| (delivery.place, delivery.pending));
        let Some((place, pending)) = place else {
            return self.heed(&message);
        };
        if place != session.place + 1 {
            tracing::debug!(stream = self.stream, "a delivery is missing, reading again");
            self.session = None;
            return;
        }
        session.place = place;
        session.pending = pending;
        session.credit -= 1;
        if let Some(stored) = wire::delivered(message) {
            self.next = Some(stored.seq + 1);
            self.ready.push_back(stored);
        }
    }

    /// Heeds a status of the server.
    fn heed(&mut self, message: &async_nats::Message) {
        let Some(session) = &mut self.session else {
            return;
        };
        let undelivered = wire::undelivered(message.headers.as_ref()).unwrap_or(0);
        match message.status {
            Some(StatusCode::IDLE_HEARTBEAT) => {}
            Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => session.credit -= undelivered,
            Some(status) => {
                let text = message.description.as_deref().unwrap_or_default();
                // The request was as large as agreed; the consumer goes on.
                if text.contains("MaxBytes") || text.contains("Batch Completed") {
                    session.credit -= undelivered;
                } else {
                    tracing::debug!(stream = self.stream, %status, text, "the server's consumer is gone, reading again");
                    self.session = None;
                }
            }
            None => {}
        }
    }

    /// Asks for more before what was asked for is used up.
    async fn pull(&mut self) -> Result<()> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        if session.credit > PULL / 2 {
            return Ok(());
        }
        let body = json!({
            "batch": PULL,
            "max_bytes": PULL_BYTES,
            "expires": stream::nanos(PULL_EXPIRES),
            "idle_heartbeat": stream::nanos(HEARTBEAT),
        });
        session.pulls += 1;
        session.credit += PULL;
        session.heard = Instant::now();
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.stream, session.name);
        let reply = format!("{}.{}", session.inbox, session.pulls);
        let body = Bytes::from(body.to_string());
        let client = &self.log.link.client;
        let sent = client.publish_with_reply(subject, reply, body).await;
        sent.map_err(|_| LogError::Closed)
    }
}

/// The server's words for what a consumer reads.
pub(super) fn filtering(start: Start, filters: &[String]) -> Json {
    match (start, filters) {
        // The server wants it said.
        (Start::LastPerSubject, []) => json!({ "filter_subjects": [">"] }),
        (_, []) => json!({}),
        (_, filters) => json!({ "filter_subjects": filters }),
    }
}

/// Adds fields to an object.
pub(super) fn merge(object: &mut Json, more: impl IntoIterator<Item = Json>) {
    let Json::Object(object) = object else { return };
    for fields in more {
        if let Json::Object(fields) = fields {
            object.extend(fields);
        }
    }
}

impl Consumer for Ordered {
    fn fetch(&mut self, max: usize, wait: Duration) -> Boxed<'_, Result<Vec<Stored>>> {
        Box::pin(async move {
            self.fill(Instant::now() + wait).await?;
            if self.ready.is_empty() {
                if self.guard.must_look_idle() {
                    self.guard.look(&self.log).await?;
                }
                return Ok(Vec::new());
            }
            let max = large::at_most(&self.ready, max);
            let given = self.guard.hand_out(&self.log, &mut self.ready, max);
            let given = given.await?;
            if self.headers_only {
                return Ok(given);
            }
            large::whole(&self.log, &self.stream, given).await
        })
    }

    fn ack(&mut self, _seq: u64) -> Boxed<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn nak(&mut self, _seq: u64, _delay: Duration) -> Boxed<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn term(&mut self, _seq: u64) -> Boxed<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn in_progress(&mut self, _seq: u64) -> Boxed<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn reset(&mut self, seq: u64) -> Boxed<'_, Result<()>> {
        Box::pin(async move {
            let state = stream::state(&self.log, &self.stream).await?;
            let info = state.info();
            if seq == 0 || seq > info.last_seq + 1 {
                return Err(beyond(&self.stream, seq, info.last_seq));
            }
            let before = self.guard.next;
            self.guard.restart(seq);
            if let Err(error) = self.guard.judge(&self.log, &info).await {
                self.guard.restart(before);
                return Err(error);
            }
            self.next = Some(seq);
            self.ready.clear();
            self.session = None;
            self.session = Some(self.begin().await?);
            Ok(())
        })
    }

    fn pending(&self) -> Boxed<'_, Result<(u64, u64)>> {
        Box::pin(async move {
            let Some(session) = &self.session else {
                return Ok((self.ready.len() as u64, 0));
            };
            let path = format!("CONSUMER.INFO.{}.{}", self.stream, session.name);
            let asked = self.log.link.api::<Progress>(&path, &Json::Null).await;
            let there = asked.map_err(|failed| self.log.link.failed(failed))?;
            // What the server sent and this reader has not handed out is still to come for who asks.
            let handed_out = session.place.saturating_sub(self.ready.len() as u64);
            let on_the_way = there.delivered.consumer_seq.saturating_sub(handed_out);
            Ok((there.num_pending + on_the_way, 0))
        })
    }
}

/// How far the server's consumer got.
#[derive(Debug, Deserialize)]
struct Progress {
    #[serde(default)]
    num_pending: u64,
    delivered: Delivered,
}

#[derive(Debug, Deserialize)]
struct Delivered {
    #[serde(default)]
    consumer_seq: u64,
}

impl Drop for Ordered {
    fn drop(&mut self) {
        if let Some(session) = &self.session {
            forget(&self.log, &self.stream, &session.name);
        }
    }
}

/// Deletes a consumer without waiting; if that fails, the server forgets it after a while.
pub(super) fn forget(log: &Inner, stream: &str, name: &str) {
    let subject = format!("$JS.API.CONSUMER.DELETE.{stream}.{name}");
    let client = log.link.client.clone();
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(async move {
            let _ = client.publish(subject, Bytes::new()).await;
        });
    }
}

/// Everything that some subjects hold last, as the stream is now.
pub(super) async fn lasts(
    log: &Arc<Inner>,
    stream: &str,
    filters: Vec<String>,
    headers_only: bool,
) -> Result<Vec<Stored>> {
    let mut all = Vec::new();
    each_last(log, stream, filters, headers_only, &mut |stored| {
        all.push(stored);
    })
    .await?;
    Ok(all)
}

/// Shows everything that some subjects hold last, one pull in memory at a time.
pub(super) async fn each_last(
    log: &Arc<Inner>,
    stream: &str,
    filters: Vec<String>,
    headers_only: bool,
    each: &mut (dyn FnMut(Stored) + Send),
) -> Result<()> {
    let mut reader = open_with(log, stream, filters, Start::LastPerSubject, headers_only).await?;
    loop {
        // Nothing is left when the server said so with the last message, or from the start.
        let drained = reader.ready.is_empty()
            && reader
                .session
                .as_ref()
                .is_some_and(|session| session.pending == 0);
        if drained {
            return Ok(());
        }
        let messages = reader
            .fetch(PULL as usize, Duration::from_millis(200))
            .await?;
        // Messages that were replaced meanwhile may never come.
        if messages.is_empty() && reader.pending().await?.0 == 0 {
            return Ok(());
        }
        messages.into_iter().for_each(&mut *each);
    }
}

/// The last sequence of every subject.
pub(super) async fn last_sequences(
    log: &Arc<Inner>,
    stream: &str,
) -> Result<BTreeMap<String, u64>> {
    let all = lasts(log, stream, Vec::new(), true).await?;
    Ok(all
        .into_iter()
        .map(|stored| (stored.subject, stored.seq))
        .collect())
}
