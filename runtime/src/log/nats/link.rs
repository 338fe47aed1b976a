//! The connection: opening it, knowing its state, and asking over it.
//!
//! Every request ends by itself: with an answer, when its time is up, when the connection is lost under it, or when the server says that it is not permitted.
//! A lost connection is re-established by the client library for ever; whoever waits for it waits no longer than [`Link::patience`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, HeaderMap, Request};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::NatsOptions;
use super::wire::{self, Denied, Fault};
use crate::log::{LogError, Result};

/// How long the first connection may take.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// How often a quiet connection is asked whether it lives.
const PING_EVERY: Duration = Duration::from_secs(5);
/// Longest pause between two attempts to connect again.
const RECONNECT_MAX: Duration = Duration::from_millis(500);
/// Most denials that are remembered for those who wait.
const DENIALS_MAX: usize = 64;
/// How long to wait for the word that a subscription is not permitted.
const LISTEN_WAIT: Duration = Duration::from_secs(1);
/// Requests that change nothing.
const READS: [&str; 3] = ["STREAM.INFO.", "STREAM.MSG.GET.", "CONSUMER.INFO."];
/// How long one of them may take before it is asked again.
const READ_MAX: Duration = Duration::from_secs(3);
/// How long to wait before asking a server again that is busy electing or starting.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// The state of the connection, as its events tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Weather {
    /// Counts connections: what was under way in an earlier one has an unknown outcome.
    pub(super) life: u64,
    /// Whether there is one.
    pub(super) up: bool,
    /// Why there is none, in the client's words.
    trouble: Option<String>,
    /// What was denied lately, with its number.
    denied: VecDeque<(u64, String)>,
    denials: u64,
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nobody listens on the subject.
    NoResponders,
    /// The time is up.
    TimedOut,
    /// The connection was lost after it was sent.
    Lost,
    /// There is no connection: it was not sent.
    Down(String),
    /// The server does not permit it.
    Denied(String),
    /// The client refuses to send it.
    Unfit(String),
}

/// Why the API did not do what was asked.
#[derive(Debug)]
pub(super) enum Failed {
    Trouble(Trouble),
    Fault(Fault),
}

/// A connection to a server or a cluster of them.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) weather: watch::Receiver<Weather>,
    /// How long to wait for a connection, and for an answer.
    pub(super) patience: Duration,
    servers: String,
    /// Whether the connection is being let go of: its end is no trouble then.
    closing: Arc<AtomicBool>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.closes();
    }
}

impl Link {
    /// Connects.
    pub(super) async fn open(options: &NatsOptions) -> Result<Link> {
        // Whoever comes first chooses; there is one provider in the binary.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let servers = options.servers.join(", ");
        let unreachable = |reason: String| LogError::Unreachable {
            servers: servers.clone(),
            reason,
        };
        let (sender, weather) = watch::channel(Weather::default());
        let sender = Arc::new(sender);
        let closing = Arc::new(AtomicBool::new(false));
        let closed = Arc::clone(&closing);
        let connect = connect_options(options)
            .await
            .map_err(LogError::Credentials)?
            .event_callback(move |event| {
                if !closed.load(Ordering::Relaxed) {
                    note(&sender, &event);
                }
                async {}
            });
        let asked = tokio::time::timeout(CONNECT_WAIT * 2, connect.connect(&options.servers[..]));
        let client = match asked.await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => {
                let words = chain(&error);
                return Err(match error.kind() {
                    // Said by the client, before the server is asked.
                    ConnectErrorKind::Authentication if options.nkey.is_some() => {
                        LogError::Credentials("`log.nkey` cannot be read as a seed".to_owned())
                    }
                    ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                        LogError::Credentials(format!("`{servers}` does not accept them"))
                    }
                    // The server ended the handshake: it is about our certificate, or the lack of one.
                    ConnectErrorKind::Io | ConnectErrorKind::Tls
                        if words.contains("fatal alert") =>
                    {
                        LogError::Credentials(format!(
                            "`{servers}` does not accept our certificate ({words})"
                        ))
                    }
                    _ => unreachable(words),
                });
            }
            Err(_) => {
                return Err(unreachable(format!(
                    "no answer within {} s",
                    CONNECT_WAIT.as_secs() * 2
                )));
            }
        };
        let link = Link {
            client,
            weather,
            patience: options.patience,
            servers,
            closing,
        };
        link.ready().await.map_err(|trouble| link.error(trouble))?;
        Ok(link)
    }

    /// From now on, the end of the connection is meant.
    pub(super) fn closes(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Waits for the connection, no longer than the patience allows; gives its number.
    pub(super) async fn ready(&self) -> Result<u64, Trouble> {
        let mut weather = self.weather.clone();
        let is_up = tokio::time::timeout(self.patience, weather.wait_for(|now| now.up)).await;
        match is_up {
            Ok(Ok(now)) => Ok(now.life),
            _ => Err(Trouble::Down(
                self.weather
                    .borrow()
                    .trouble
                    .clone()
                    .unwrap_or_else(|| "the connection is lost".to_owned()),
            )),
        }
    }

    /// Sends a request now and waits for its answer. The caller has seen to it that there is a connection.
    ///
    /// The first poll hands it to the connection: requests polled in an order are sent in it.
    pub(super) async fn send(
        &self,
        subject: &str,
        headers: Option<HeaderMap>,
        payload: Bytes,
        deadline: Duration,
    ) -> Result<async_nats::Message, Trouble> {
        let mut weather = self.weather.clone();
        let (life, denials) = {
            let now = weather.borrow_and_update();
            (now.life, now.denials)
        };
        let mut request = Request::new().payload(payload).timeout(None);
        request.headers = headers;
        let asked = self.client.send_request(subject.to_owned(), request);
        tokio::pin!(asked);
        let over = tokio::time::sleep(deadline);
        tokio::pin!(over);
        loop {
            tokio::select! {
                biased;
                answer = &mut asked => return answer.map_err(|error| match error.kind() {
                    RequestErrorKind::NoResponders => Trouble::NoResponders,
                    RequestErrorKind::TimedOut => Trouble::TimedOut,
                    RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => Trouble::Unfit(chain(&error)),
                    RequestErrorKind::Other => Trouble::Lost,
                }),
                changed = weather.changed() => {
                    let now = weather.borrow_and_update();
                    let ours = |(number, denied): &&(u64, String)| *number > denials && (denied == subject || is_inbox(denied));
                    if let Some((_, denied)) = now.denied.iter().find(ours) {
                        return Err(Trouble::Denied(denied.clone()));
                    }
                    if changed.is_err() || now.life != life || !now.up {
                        return Err(Trouble::Lost);
                    }
                }
                () = &mut over => return Err(Trouble::TimedOut),
            }
        }
    }

    /// Waits for the connection, sends a request and waits for its answer.
    pub(super) async fn request(
        &self,
        subject: &str,
        payload: Bytes,
        deadline: Duration,
    ) -> Result<async_nats::Message, Trouble> {
        self.ready().await?;
        self.send(subject, None, payload, deadline).await
    }

    /// Asks JetStream's API. While the server starts or elects, asks again; a request that would do twice what it should do once is asked once.
    pub(super) async fn api<T: DeserializeOwned>(
        &self,
        what: &str,
        body: &Json,
    ) -> Result<T, Failed> {
        let subject = format!("$JS.API.{what}");
        let payload = match body {
            Json::Null => Bytes::new(),
            body => Bytes::from(body.to_string()),
        };
        let until = Instant::now() + self.patience;
        // A server that dies takes questions with it that it had not answered; a read may be asked again.
        let reads = READS.iter().any(|read| what.starts_with(read));
        let once = if reads {
            READ_MAX.min(self.patience)
        } else {
            self.patience
        };
        loop {
            let outcome = self
                .request(&subject, payload.clone(), once)
                .await
                .map_err(Failed::Trouble)
                .and_then(|message| answer(&message.payload));
            let again = match &outcome {
                Err(Failed::Trouble(Trouble::NoResponders | Trouble::Lost)) => true,
                Err(Failed::Trouble(Trouble::TimedOut)) => reads,
                Err(Failed::Fault(fault)) => fault.code == 503,
                _ => false,
            };
            if !again || Instant::now() > until {
                return outcome;
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// Whether the server lets us subscribe to a subject; a server that says nothing does.
    pub(super) async fn may_listen(&self, subject: &str) -> bool {
        let mut weather = self.weather.clone();
        let before = weather.borrow_and_update().denials;
        let Ok(subscriber) = self.client.subscribe(subject.to_owned()).await else {
            return true;
        };
        let denied = |now: &Weather| {
            let ours = |(number, denied): &(u64, String)| *number > before && denied == subject;
            now.denied.iter().any(ours)
        };
        let told = tokio::time::timeout(LISTEN_WAIT, async {
            // An answer to a later request on this connection comes after the denial.
            let later = self.api::<Json>("INFO", &Json::Null);
            tokio::select! {
                biased;
                found = weather.wait_for(denied) => found.is_ok(),
                _ = later => false,
            }
        });
        let told = told.await.unwrap_or(false) || denied(&self.weather.borrow());
        drop(subscriber);
        !told
    }

    /// What trouble means for who asked something of the log.
    pub(super) fn error(&self, trouble: Trouble) -> LogError {
        let unreachable = |reason: &str| LogError::Unreachable {
            servers: self.servers.clone(),
            reason: reason.to_owned(),
        };
        match trouble {
            Trouble::NoResponders => {
                unreachable("JetStream does not answer: it is off, or has no leader")
            }
            Trouble::TimedOut => unreachable("no answer in time"),
            Trouble::Lost => unreachable("the connection was lost"),
            Trouble::Down(reason) if is_unauthorized(&reason) => {
                LogError::Credentials(format!("`{}` does not accept them any more", self.servers))
            }
            Trouble::Down(reason) => unreachable(&reason),
            Trouble::Denied(subject) => LogError::Denied(subject),
            Trouble::Unfit(reason) => LogError::Refused(reason),
        }
    }

    /// What a failure of the API means, where nothing more special is known.
    pub(super) fn failed(&self, failed: Failed) -> LogError {
        match failed {
            Failed::Trouble(trouble) => self.error(trouble),
            Failed::Fault(fault) if fault.code == 503 => LogError::Unreachable {
                servers: self.servers.clone(),
                reason: fault.description,
            },
            Failed::Fault(fault) => LogError::Refused(fault.description),
        }
    }
}

fn answer<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Failed> {
    let unreadable = |error: serde_json::Error| {
        Failed::Fault(Fault {
            description: format!("the server's answer cannot be read: {error}"),
            ..Fault::default()
        })
    };
    let mut value: Json = serde_json::from_slice(payload).map_err(unreadable)?;
    if let Some(fault) = value.get_mut("error").map(Json::take) {
        return Err(Failed::Fault(
            serde_json::from_value(fault).map_err(unreadable)?,
        ));
    }
    serde_json::from_value(value).map_err(unreadable)
}

/// Whether a server's words are about who we are.
fn is_unauthorized(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    words.contains("authorization violation") || words.contains("authentication")
}

fn is_inbox(subject: &str) -> bool {
    subject.starts_with("_INBOX.")
}

fn note(weather: &watch::Sender<Weather>, event: &Event) {
    match event {
        Event::Connected => weather.send_modify(|now| {
            now.life += 1;
            now.up = true;
            now.trouble = None;
        }),
        Event::Disconnected | Event::Closed => {
            if *event == Event::Disconnected {
                tracing::warn!("the connection to the log is lost, connecting again");
            }
            weather.send_modify(|now| {
                now.up = false;
                // Why it was lost may have been said just before.
                if !now.trouble.as_deref().is_some_and(is_unauthorized) {
                    now.trouble = Some("the connection is lost".to_owned());
                }
            });
        }
        Event::ClientError(error) => {
            weather.send_modify(|now| now.trouble = Some(error.to_string()));
        }
        Event::ServerError(error) => {
            let text = error.to_string();
            let Some((what, subject)) = wire::denied(&text) else {
                tracing::debug!(error = text, "the log's server says");
                if is_unauthorized(&text) {
                    weather.send_modify(|now| now.trouble = Some(text));
                }
                return;
            };
            let action = match what {
                Denied::Publish => "publish to",
                Denied::Subscribe => "subscribe to",
            };
            tracing::warn!(subject, "the log's server does not let us {action} this");
            weather.send_modify(|now| {
                now.denials += 1;
                if now.denied.len() == DENIALS_MAX {
                    now.denied.pop_front();
                }
                now.denied.push_back((now.denials, subject));
            });
        }
        _ => {}
    }
}

async fn connect_options(options: &NatsOptions) -> Result<ConnectOptions, String> {
    let mut connect = ConnectOptions::new()
        .name("lockstep")
        .connection_timeout(CONNECT_WAIT)
        .ping_interval(PING_EVERY)
        .reconnect_delay_callback(|attempts| {
            let doublings = u32::try_from(attempts).unwrap_or(u32::MAX).min(8);
            (Duration::from_millis(2) * 2_u32.pow(doublings)).min(RECONNECT_MAX)
        });
    if let (Some(user), Some(password)) = (&options.user, &options.password) {
        connect = connect.user_and_password(user.clone(), password.expose().clone());
    }
    if let Some(token) = &options.token {
        connect = connect.token(token.expose().clone());
    }
    if let Some(seed) = &options.nkey {
        connect = connect.nkey(seed.expose().clone());
    }
    if let Some(path) = &options.credentials {
        connect = connect.credentials_file(path).await.map_err(|error| {
            format!(
                "the file `{}` cannot be used: {}",
                path.display(),
                error.kind()
            )
        })?;
    }
    if let Some(tls) = &options.tls {
        connect = connect.require_tls(true);
        for path in [&tls.ca, &tls.certificate, &tls.key].into_iter().flatten() {
            let readable = tokio::fs::File::open(path).await;
            readable.map_err(|error| {
                format!(
                    "the file `{}` cannot be read: {}",
                    path.display(),
                    error.kind()
                )
            })?;
        }
        if let Some(ca) = &tls.ca {
            connect = connect.add_root_certificates(ca.clone());
        }
        if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
            connect = connect.add_client_certificate(certificate.clone(), key.clone());
        }
    }
    Ok(connect)
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        // Some wrappers repeat their cause.
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}
