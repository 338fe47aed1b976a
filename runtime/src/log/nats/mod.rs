//! The log over NATS JetStream: streams, consumers and buckets on a server or a cluster, for several runtimes on several machines.
//!
//! Where things are: the connection in `link`, bytes and words in `wire`, streams in `stream`, storing in `publish`, reading in `ordered` (one reader, nothing acknowledged) and `acked` (durable or acknowledged), losses in `gap` with its `index`, payloads beyond the servers' limit in `large`, key-value in `bucket`, request and answer in `service`, what `check` and `status` want to know in `survey`.
//!
//! Invariants:
//! - A publish has an outcome or is [`PublishError::Unknown`]; nothing is sent twice on the caller's behalf.
//! - Reads of last messages go to the stream's leader, so they are never stale.
//! - No stream allows roll-up: with it, whoever may publish one subject could wipe the stream.
//! - A reader that lost messages says so; where it cannot be known, it says so too.

mod acked;
mod bucket;
mod gap;
mod index;
mod large;
mod link;
mod ordered;
mod publish;
mod service;
mod stream;
pub mod survey;
mod wire;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use lockstep_core::connector::{Boxed, Secret};
use tokio_util::sync::CancellationToken;

use super::{
    Ack, AckPolicy, Bucket, Consumer, ConsumerConfig, Log, LogError, Message, PublishError, Result,
    Service, Stored, StreamConfig, StreamInfo,
};
use link::Link;
use stream::Known;

/// How to reach the servers, and what to ask of them.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    /// Addresses of one cluster: `nats://host:4222`, `tls://host:4222`.
    pub servers: Vec<String>,
    /// A user, with `password`.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret<String>>,
    /// A token.
    pub token: Option<Secret<String>>,
    /// A credentials file (JWT and seed).
    pub credentials: Option<PathBuf>,
    /// The seed of an nkey.
    pub nkey: Option<Secret<String>>,
    /// Encrypted connections; also asked for by `tls://`.
    pub tls: Option<Tls>,
    /// How many servers keep each stream.
    pub replicas: u8,
    /// How long to wait for a connection and for an answer.
    pub patience: Duration,
    /// Limits of streams as they are configured now: a stream that exists with others gets these.
    pub limits: Vec<StreamConfig>,
    /// Only looks: no stream is made or changed, whatever is declared.
    pub looks: bool,
}

/// Whom to trust, and who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of the authorities to trust; the system's if absent.
    pub ca: Option<PathBuf>,
    /// Our certificate, for servers that want one.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

impl Default for NatsOptions {
    fn default() -> Self {
        NatsOptions {
            servers: vec!["nats://127.0.0.1:4222".to_owned()],
            user: None,
            password: None,
            token: None,
            credentials: None,
            nkey: None,
            tls: None,
            replicas: 1,
            patience: Duration::from_secs(5),
            limits: Vec::new(),
            looks: false,
        }
    }
}

/// The oldest server that has what is used here.
pub const SERVER_MIN: (u64, u64) = (2, 15);

/// How long letting go of the connection may take: a server that is gone or frozen holds nobody up.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// The stream under a bucket, for who declares them all.
pub(crate) fn bucket_stream(name: &str) -> StreamConfig {
    bucket::declared(name)
}

/// A log over NATS JetStream.
#[derive(Debug)]
pub struct Nats(Arc<Inner>);

/// What the log's parts share.
#[derive(Debug)]
struct Inner {
    link: Link,
    replicas: u8,
    limits: Vec<StreamConfig>,
    looks: bool,
    streams: Mutex<HashMap<String, Arc<Known>>>,
    /// Streams whose subjects are noted.
    indexed: Mutex<HashSet<String>>,
    /// Ends what runs in the background.
    closed: CancellationToken,
}

impl Nats {
    /// Connects.
    ///
    /// # Errors
    /// Servers out of reach, credentials that they do not accept, or a server that is too old.
    pub async fn open(options: NatsOptions) -> Result<Arc<Nats>> {
        let link = Link::open(&options).await?;
        let version = link.client.server_info().version;
        if !wire::at_least(&version, SERVER_MIN) {
            return Err(LogError::Refused(too_old(&version)));
        }
        Ok(Arc::new(Nats(Arc::new(Inner::over(link, &options)))))
    }

    /// Notes down what later gap questions need, and lets go of the connection; ends within seconds whatever the servers do.
    pub async fn close(&self) {
        self.0.closed.cancel();
        self.0.link.closes();
        // What is not noted or flushed by then was promised to nobody.
        let _ = tokio::time::timeout(CLOSE_WAIT, self.let_go()).await;
    }

    async fn let_go(&self) {
        let streams: Vec<_> = stream::lock(&self.0.streams).values().cloned().collect();
        for known in streams {
            if known.config.max_age.is_some() && !self.0.looks {
                // A missing note only makes a later answer more cautious.
                let _ = index::note(&self.0, &known.config.name).await;
            }
        }
        let _ = self.0.link.client.flush().await;
        let _ = self.0.link.client.drain().await;
    }
}

impl Inner {
    fn over(link: Link, options: &NatsOptions) -> Inner {
        Inner {
            link,
            replicas: options.replicas,
            limits: options.limits.clone(),
            looks: options.looks,
            streams: Mutex::default(),
            indexed: Mutex::default(),
            closed: CancellationToken::new(),
        }
    }
}

/// The sentence about a server that is too old.
fn too_old(version: &str) -> String {
    let (major, minor) = SERVER_MIN;
    format!("nats-server {version} is too old, {major}.{minor} or newer is needed")
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

impl Log for Nats {
    fn ensure_stream<'a>(&'a self, config: &'a StreamConfig) -> Boxed<'a, Result<()>> {
        Box::pin(async move {
            stream::ensure(&self.0, config).await?;
            large::follow(&self.0, config).await
        })
    }

    fn stream<'a>(&'a self, stream: &'a str) -> Boxed<'a, Result<StreamInfo>> {
        Box::pin(async move { Ok(stream::state(&self.0, stream).await?.info()) })
    }

    fn publish<'a>(
        &'a self,
        stream: &'a str,
        messages: Vec<Message>,
    ) -> Boxed<'a, Vec<Result<Ack, PublishError>>> {
        Box::pin(publish::each(&self.0, stream, messages))
    }

    fn publish_atomic<'a>(
        &'a self,
        stream: &'a str,
        messages: Vec<Message>,
    ) -> Boxed<'a, Result<Vec<Ack>, (usize, PublishError)>> {
        Box::pin(publish::atomic(&self.0, stream, messages))
    }

    fn last<'a>(&'a self, stream: &'a str, subject: &'a str) -> Boxed<'a, Result<Option<Stored>>> {
        Box::pin(stream::last(&self.0, stream, subject))
    }

    fn get(&self, stream: &str, seq: u64) -> Boxed<'_, Result<Option<Stored>>> {
        let stream = stream.to_owned();
        Box::pin(async move { stream::get(&self.0, &stream, seq).await })
    }

    fn enforce_limits<'a>(&'a self, stream: &'a str) -> Boxed<'a, Result<()>> {
        // The server does so by itself, within about its own granularity of a second.
        Box::pin(async move { stream::known(&self.0, stream).await.map(drop) })
    }

    fn consume<'a>(
        &'a self,
        stream: &'a str,
        config: ConsumerConfig,
    ) -> Boxed<'a, Result<Box<dyn Consumer>>> {
        Box::pin(async move {
            Ok(
                if config.durable.is_none() && config.ack == AckPolicy::None {
                    Box::new(ordered::open(&self.0, stream, config).await?) as Box<dyn Consumer>
                } else {
                    Box::new(acked::open(&self.0, stream, config).await?)
                },
            )
        })
    }

    fn delete_consumer<'a>(&'a self, stream: &'a str, name: &'a str) -> Boxed<'a, Result<()>> {
        Box::pin(acked::delete(&self.0, stream, name))
    }

    fn bucket<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<Box<dyn Bucket>>> {
        Box::pin(async move { Ok(Box::new(bucket::open(&self.0, name).await?) as Box<dyn Bucket>) })
    }

    fn request<'a>(
        &'a self,
        subject: &'a str,
        payload: Bytes,
        deadline: Duration,
    ) -> Boxed<'a, Result<Bytes>> {
        Box::pin(service::request(&self.0, subject, payload, deadline))
    }

    fn tell<'a>(&'a self, subject: &'a str, payload: Bytes) -> Boxed<'a, Result<()>> {
        Box::pin(service::tell(&self.0, subject, payload))
    }

    fn serve<'a>(&'a self, subject: &'a str) -> Boxed<'a, Result<Service>> {
        Box::pin(service::serve(&self.0, subject))
    }
}
