//! A reader with a name or with acknowledgements: the server remembers what was given and what was done.
//!
//! It takes no more than it was asked for, because what it held back would be kept from other workers. One round trip brings what is there.

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
use super::link::{Failed, Trouble};
use super::ordered::{beyond, check_filters, filtering, forget, merge, starting};
use super::{Inner, large, service, stream, wire};
use crate::log::rules;
use crate::log::{
    AckPolicy, Consumer, ConsumerConfig, LogError, Result, Start, Stored, StreamInfo,
};

/// Most deliveries that may be in flight for one consumer.
const IN_FLIGHT_MAX: usize = 1_000_000;
/// How long the server keeps a consumer without a name that nobody asks.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// How long beyond its time a request for messages may stay without an answer.
const SILENCE: Duration = Duration::from_secs(5);
/// Pause before asking a server again that has no leader, or another request under way.
const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// What the server says of a consumer.
#[derive(Debug, Deserialize)]
struct Info {
    config: Settings,
    #[serde(default)]
    num_pending: u64,
    #[serde(default)]
    num_ack_pending: u64,
    delivered: Place,
    ack_floor: Place,
}

#[derive(Debug, Deserialize)]
struct Place {
    #[serde(default)]
    stream_seq: u64,
}

#[derive(Debug, Deserialize)]
struct Settings {
    #[serde(default)]
    ack_policy: String,
    #[serde(default)]
    ack_wait: i64,
    #[serde(default)]
    max_ack_pending: i64,
    #[serde(default)]
    filter_subject: Option<String>,
    #[serde(default)]
    filter_subjects: Vec<String>,
}

/// A reader.
pub(super) struct Acked {
    log: Arc<Inner>,
    stream: String,
    name: String,
    durable: bool,
    ack: AckPolicy,
    guard: Guard,
    inbox: String,
    subscriber: Subscriber,
    pulls: u64,
    /// The connection it was used with last.
    life: u64,
    /// Whether its loss was told.
    lost: bool,
    ready: VecDeque<Stored>,
    /// Where to acknowledge what was given and is not done.
    given: BTreeMap<u64, String>,
}

/// Opens a reader: creates it, or goes on with the durable one.
pub(super) async fn open(log: &Arc<Inner>, stream: &str, config: ConsumerConfig) -> Result<Acked> {
    check(&config)?;
    let known = stream::known(log, stream).await?;
    check_filters(&known, &config.filters)?;
    let state = stream::state(log, stream).await?;
    let stream_info = state.info();
    let found = match &config.durable {
        Some(name) => find(log, stream, name).await?,
        None => None,
    };
    let name = config
        .durable
        .clone()
        .unwrap_or_else(|| format!("ls-{}", service::unique()));
    let (info, action) = match found {
        Some(info) => {
            same(stream, &info, &config)?;
            (Some(info), "update")
        }
        None => (None, "create"),
    };
    let next = match &info {
        Some(info) => remembered(info, config.ack) + 1,
        None => first(stream, config.start, &stream_info)?,
    };
    let guard = Guard::new(&known, &config.filters, &state, next)?;
    guard.judge(log, &stream_info).await?;
    if info.as_ref().is_none_or(|info| changes(info, &config)) {
        write(log, stream, &name, &config, action).await?;
    }
    let life = log.link.ready().await;
    let life = life.map_err(|trouble| log.link.error(trouble))?;
    let (inbox, subscriber) = listen(log).await?;
    Ok(Acked {
        log: Arc::clone(log),
        stream: stream.to_owned(),
        name,
        durable: config.durable.is_some(),
        ack: config.ack,
        guard,
        inbox,
        subscriber,
        pulls: 0,
        life,
        lost: false,
        ready: VecDeque::new(),
        given: BTreeMap::new(),
    })
}

fn check(config: &ConsumerConfig) -> Result<()> {
    if let Some(name) = &config.durable {
        rules::check_name("consumer", name)?;
    }
    let bound = 1..=IN_FLIGHT_MAX;
    if config.ack != AckPolicy::None && !bound.contains(&config.max_ack_pending) {
        return Err(LogError::Refused(format!(
            "max_ack_pending {} is not between 1 and {IN_FLIGHT_MAX}",
            config.max_ack_pending
        )));
    }
    Ok(())
}

/// The first sequence that a new reader has not been given.
fn first(stream: &str, start: Start, info: &StreamInfo) -> Result<u64> {
    match start {
        Start::Seq(seq) if seq == 0 || seq > info.last_seq + 1 => {
            Err(beyond(stream, seq, info.last_seq))
        }
        Start::Seq(seq) => Ok(seq),
        Start::New => Ok(info.last_seq + 1),
        _ => Ok(info.first_seq),
    }
}

/// The last sequence that a durable reader is done with.
fn remembered(info: &Info, ack: AckPolicy) -> u64 {
    match ack {
        AckPolicy::None => info.delivered.stream_seq,
        _ => info.ack_floor.stream_seq,
    }
}

/// A durable consumer's settings stay what they were; its times and limits may change.
fn same(stream: &str, info: &Info, config: &ConsumerConfig) -> Result<()> {
    let settings = &info.config;
    let mut filters = settings.filter_subjects.clone();
    filters.extend(
        settings
            .filter_subject
            .clone()
            .filter(|one| !one.is_empty()),
    );
    let mut differences = Vec::new();
    if filters != config.filters {
        differences.push(format!("filters {filters:?}, not {:?}", config.filters));
    }
    if settings.ack_policy != word(config.ack) {
        differences.push(format!(
            "ack {}, not {}",
            settings.ack_policy,
            word(config.ack)
        ));
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(LogError::Differs {
        stream: stream.to_owned(),
        differences: format!(
            "consumer `{}` has {}",
            config.durable.as_deref().unwrap_or_default(),
            differences.join(", ")
        ),
    })
}

fn changes(info: &Info, config: &ConsumerConfig) -> bool {
    config.ack != AckPolicy::None
        && (info.config.ack_wait != stream::nanos(config.ack_wait)
            || info.config.max_ack_pending != in_flight(config))
}

fn in_flight(config: &ConsumerConfig) -> i64 {
    i64::try_from(config.max_ack_pending).unwrap_or(i64::MAX)
}

fn word(ack: AckPolicy) -> &'static str {
    match ack {
        AckPolicy::None => "none",
        AckPolicy::All => "all",
        AckPolicy::Explicit => "explicit",
    }
}

async fn find(log: &Inner, stream: &str, name: &str) -> Result<Option<Info>> {
    let path = format!("CONSUMER.INFO.{stream}.{name}");
    match log.link.api(&path, &Json::Null).await {
        Ok(info) => Ok(Some(info)),
        Err(Failed::Fault(fault)) if fault.err_code == wire::CODE_NO_CONSUMER => Ok(None),
        Err(failed) => Err(log.link.failed(failed)),
    }
}

async fn write(
    log: &Inner,
    stream: &str,
    name: &str,
    config: &ConsumerConfig,
    action: &str,
) -> Result<()> {
    let mut settings = json!({
        "name": name,
        "ack_policy": word(config.ack),
        "max_deliver": -1,
    });
    if config.ack != AckPolicy::None {
        let acknowledged = json!({
            "ack_wait": stream::nanos(config.ack_wait),
            "max_ack_pending": in_flight(config),
        });
        merge(&mut settings, [acknowledged]);
    }
    let life = match &config.durable {
        Some(name) => json!({ "durable_name": name }),
        None => json!({ "inactive_threshold": stream::nanos(IDLE_MAX) }),
    };
    let filtering = filtering(config.start, &config.filters);
    merge(&mut settings, [life, starting(config.start), filtering]);
    // An update keeps where it started; two workers may create the same one at once.
    let action = if action == "update" { "update" } else { "" };
    let body = json!({ "stream_name": stream, "action": action, "config": settings });
    let path = format!("CONSUMER.CREATE.{stream}.{name}");
    let written = log.link.api::<Json>(&path, &body).await;
    written.map(drop).map_err(|failed| log.link.failed(failed))
}

async fn listen(log: &Inner) -> Result<(String, Subscriber)> {
    let inbox = log.link.client.new_inbox();
    let subscribed = log.link.client.subscribe(format!("{inbox}.*")).await;
    let subscriber = subscribed.map_err(|error| LogError::Refused(error.to_string()))?;
    Ok((inbox, subscriber))
}

/// Forgets a durable consumer.
pub(super) async fn delete(log: &Inner, stream: &str, name: &str) -> Result<()> {
    rules::check_name("consumer", name)?;
    let path = format!("CONSUMER.DELETE.{stream}.{name}");
    match log.link.api::<Json>(&path, &Json::Null).await {
        Ok(_) => Ok(()),
        Err(Failed::Fault(fault)) if fault.err_code == wire::CODE_NO_CONSUMER => Err(missing(name)),
        Err(failed) => Err(log.link.failed(failed)),
    }
}

fn missing(name: &str) -> LogError {
    LogError::Missing {
        what: "consumer",
        name: name.to_owned(),
    }
}

/// What came in answer to a request for messages.
enum Heard {
    Message,
    /// The request is over.
    Over,
    /// Another request of this reader is still under way.
    Busy,
    /// The server has no such consumer, or nobody to answer for it.
    Gone,
    Nothing,
}

impl Acked {
    async fn fetch_until(&mut self, max: usize, until: Instant) -> Result<()> {
        loop {
            self.notice().await?;
            while let Some(Some(message)) = self.subscriber.next().now_or_never() {
                self.take(message, None);
            }
            if !self.ready.is_empty() {
                return Ok(());
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.ask(max, left).await? {
                Heard::Gone => {
                    if find(&self.log, &self.stream, &self.name).await?.is_none() {
                        return Err(missing(&self.name));
                    }
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
                Heard::Busy => tokio::time::sleep(AGAIN_AFTER).await,
                _ => {}
            }
            if !self.ready.is_empty() || Instant::now() >= until {
                return Ok(());
            }
        }
    }

    /// A connection that was lost since the last use is an error once: what was in flight comes again in its time.
    async fn notice(&mut self) -> Result<()> {
        let link = &self.log.link;
        if self.lost {
            let life = link.ready().await;
            self.life = life.map_err(|trouble| link.error(trouble))?;
            self.lost = false;
        }
        let (up, life) = {
            let weather = link.weather.borrow();
            (weather.up, weather.life)
        };
        if up && life == self.life {
            return Ok(());
        }
        self.lost = true;
        Err(link.error(Trouble::Lost))
    }

    /// Asks for messages and waits until the server has answered or the connection is lost.
    async fn ask(&mut self, max: usize, left: Duration) -> Result<Heard> {
        self.pulls += 1;
        let token = self.pulls.to_string();
        let mut body = json!({ "batch": max, "no_wait": true });
        if left > Duration::ZERO {
            merge(&mut body, [json!({ "expires": stream::nanos(left) })]);
        }
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.stream, self.name);
        let reply = format!("{}.{token}", self.inbox);
        let client = &self.log.link.client;
        let sent = client.publish_with_reply(subject, reply, Bytes::from(body.to_string()));
        sent.await.map_err(|_| LogError::Closed)?;
        let mut weather = self.log.link.weather.clone();
        let silence = Instant::now() + left + SILENCE;
        loop {
            let message = tokio::select! {
                biased;
                message = self.subscriber.next() => message.ok_or(LogError::Closed)?,
                _ = weather.changed() => {
                    if !self.ready.is_empty() {
                        return Ok(Heard::Over);
                    }
                    self.notice().await?;
                    continue;
                }
                () = tokio::time::sleep_until(silence) => return Err(self.log.link.error(Trouble::TimedOut)),
            };
            match self.take(message, Some(&token)) {
                Heard::Message if self.ready.len() >= max => return Ok(Heard::Over),
                Heard::Message | Heard::Nothing => {}
                over => return Ok(over),
            }
        }
    }

    fn take(&mut self, message: async_nats::Message, token: Option<&str>) -> Heard {
        let Some(status) = message.status else {
            let reply = message.reply.as_ref().map(ToString::to_string);
            let Some(stored) = wire::delivered(message) else {
                return Heard::Nothing;
            };
            if let (Some(reply), true) = (reply, self.ack != AckPolicy::None) {
                self.given.insert(stored.seq, reply);
            }
            self.ready.push_back(stored);
            return Heard::Message;
        };
        let ours = token.is_some_and(|token| message.subject.ends_with(&format!(".{token}")));
        let text = message.description.as_deref().unwrap_or_default();
        if !ours {
            return Heard::Nothing;
        }
        match status {
            StatusCode::NO_RESPONDERS => Heard::Gone,
            StatusCode::TIMEOUT if text.contains("Requests Pending") => Heard::Busy,
            StatusCode::TIMEOUT | StatusCode::NOT_FOUND => Heard::Over,
            StatusCode::IDLE_HEARTBEAT => Heard::Nothing,
            _ if text.contains("Batch Completed") => Heard::Over,
            _ => Heard::Gone,
        }
    }

    /// Where to say something about a delivery; also about one that another worker was given.
    fn reply_to(&self, seq: u64) -> String {
        self.given
            .get(&seq)
            .cloned()
            .unwrap_or_else(|| format!("$JS.ACK.{}.{}.1.{seq}.{seq}.0.0", self.stream, self.name))
    }

    /// Tells the server something about a delivery and waits until it knows.
    async fn tell(&mut self, seq: u64, what: String) -> Result<()> {
        if self.ack == AckPolicy::None {
            return Ok(());
        }
        let link = &self.log.link;
        let subject = self.reply_to(seq);
        let told = link.request(&subject, Bytes::from(what), link.patience);
        told.await.map(drop).map_err(|trouble| link.error(trouble))
    }
}

impl Consumer for Acked {
    fn fetch(&mut self, max: usize, wait: Duration) -> Boxed<'_, Result<Vec<Stored>>> {
        Box::pin(async move {
            self.fetch_until(max, Instant::now() + wait).await?;
            if self.ready.is_empty() && self.guard.must_look_idle() {
                self.guard.look(&self.log).await?;
            }
            let max = large::at_most(&self.ready, max);
            let given = self.guard.hand_out(&self.log, &mut self.ready, max);
            large::whole(&self.log, &self.stream, given.await?).await
        })
    }

    fn ack(&mut self, seq: u64) -> Boxed<'_, Result<()>> {
        Box::pin(async move {
            self.tell(seq, "+ACK".to_owned()).await?;
            match self.ack {
                AckPolicy::All => self.given = self.given.split_off(&(seq + 1)),
                _ => drop(self.given.remove(&seq)),
            }
            Ok(())
        })
    }

    fn nak(&mut self, seq: u64, delay: Duration) -> Boxed<'_, Result<()>> {
        Box::pin(async move {
            let what = format!("-NAK {}", json!({ "delay": stream::nanos(delay) }));
            self.tell(seq, what).await
        })
    }

    fn term(&mut self, seq: u64) -> Boxed<'_, Result<()>> {
        Box::pin(async move {
            self.tell(seq, "+TERM".to_owned()).await?;
            self.given.remove(&seq);
            Ok(())
        })
    }

    fn in_progress(&mut self, seq: u64) -> Boxed<'_, Result<()>> {
        Box::pin(async move { self.tell(seq, "+WPI".to_owned()).await })
    }

    fn reset(&mut self, seq: u64) -> Boxed<'_, Result<()>> {
        Box::pin(async move {
            let info = stream::state(&self.log, &self.stream).await?.info();
            if seq == 0 || seq > info.last_seq + 1 {
                return Err(beyond(&self.stream, seq, info.last_seq));
            }
            let before = self.guard.next;
            self.guard.restart(seq);
            if let Err(error) = self.guard.judge(&self.log, &info).await {
                self.guard.restart(before);
                return Err(error);
            }
            let path = format!("CONSUMER.RESET.{}.{}", self.stream, self.name);
            let body = json!({ "seq": seq });
            let reset = self.log.link.api::<Json>(&path, &body).await;
            reset.map_err(|failed| self.log.link.failed(failed))?;
            // Whatever is still on its way to the old inbox belongs to the past.
            (self.inbox, self.subscriber) = listen(&self.log).await?;
            self.ready.clear();
            self.given.clear();
            Ok(())
        })
    }

    fn pending(&self) -> Boxed<'_, Result<(u64, u64)>> {
        Box::pin(async move {
            let Some(info) = find(&self.log, &self.stream, &self.name).await? else {
                return Err(missing(&self.name));
            };
            let held = self.ready.len() as u64;
            Ok((
                info.num_pending + held,
                info.num_ack_pending.saturating_sub(held),
            ))
        })
    }
}

impl Drop for Acked {
    fn drop(&mut self) {
        if !self.durable {
            forget(&self.log, &self.stream, &self.name);
        }
    }
}
