//! What `check` and `status` want to know of a server before or beside a run: it changes nothing.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value as Json;

use super::link::{Failed, Link, Trouble};
use super::{Inner, NatsOptions, stream, too_old, wire};
use crate::log::{LogError, Result, StreamConfig};

/// How long the monitoring address may take to answer.
const MONITOR_WAIT: Duration = Duration::from_secs(2);
/// A message and its headers have to fit: what a server takes by default.
pub const PAYLOAD_NEEDED: usize = 1024 * 1024;

/// How soon the server's disk holds what it acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before it acknowledges.
    Always,
    /// Up to this long after.
    Every(Duration),
    /// Nobody said where to ask, or there was no answer.
    Unknown(String),
}

impl std::fmt::Display for Sync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Sync::Always => f.write_str("always"),
            Sync::Every(time) => write!(f, "every {} s", time.as_secs()),
            Sync::Unknown(reason) => write!(f, "unknown ({reason})"),
        }
    }
}

/// What was found on a server.
#[derive(Debug)]
pub struct Survey {
    /// Its version, where it is too old.
    pub too_old: Option<String>,
    /// Most bytes of a message, headers included.
    pub max_payload: usize,
    /// How many servers there are in its cluster, as far as it says.
    pub clustered: bool,
    /// Bytes the account may store; no bound if absent.
    pub max_storage: Option<u64>,
    /// Bytes it stores.
    pub storage: u64,
    /// What the user may not do, by subject.
    pub denied: Vec<String>,
    /// For each stream that exists with other settings, which ones.
    pub drift: Vec<(String, Vec<String>)>,
    /// The server's clock minus ours, where the server told its time.
    pub skew: Option<SignedDuration>,
}

/// Looks at a server.
///
/// # Errors
/// A server out of reach, credentials that it does not accept, or no JetStream.
pub async fn survey(options: NatsOptions, streams: &[StreamConfig]) -> Result<Survey> {
    #[derive(Deserialize)]
    struct Account {
        #[serde(default)]
        storage: u64,
        limits: Limits,
    }
    #[derive(Deserialize)]
    struct Limits {
        max_storage: i64,
    }
    let link = Link::open(&options).await?;
    let about = link.client.server_info();
    let account: Account = match link.api("INFO", &Json::Null).await {
        Ok(account) => account,
        Err(Failed::Fault(fault)) if fault.description.contains("not enabled") => {
            return Err(LogError::Unreachable {
                servers: options.servers.join(", "),
                reason: fault.description,
            });
        }
        Err(failed) => return Err(link.failed(failed)),
    };
    let log = std::sync::Arc::new(Inner::over(link, &options));
    let mut survey = Survey {
        too_old: (!wire::at_least(&about.version, super::SERVER_MIN))
            .then(|| too_old(&about.version)),
        max_payload: about.max_payload,
        clustered: about.cluster.is_some(),
        max_storage: u64::try_from(account.limits.max_storage).ok(),
        storage: account.storage,
        denied: Vec::new(),
        drift: Vec::new(),
        skew: None,
    };
    for config in streams {
        let asked = Timestamp::now();
        let started = Instant::now();
        match stream::state(&log, &config.name).await {
            Ok(state) => {
                // The server looked at its clock somewhere between question and answer.
                let ours = asked + signed(started.elapsed() / 2);
                survey.skew = Some(state.ts.duration_since(ours));
            }
            Err(LogError::Missing { .. }) => {}
            Err(LogError::Denied(subject)) => {
                survey.denied.push(subject);
                continue;
            }
            Err(error) => return Err(error),
        }
        if let Some(drift) = stream::drift(&log, config)
            .await?
            .filter(|drift| !drift.is_empty())
        {
            survey.drift.push((config.name.clone(), drift));
        }
    }
    survey.denied.extend(probe(&log).await);
    Ok(survey)
}

/// A subject of requests that nobody serves.
const CONTROL: &str = "ls.ctl.probe.none";
/// What a run publishes to, by subjects that store nothing and ask for nothing that is there.
const PUBLISHED: [&str; 16] = [
    "$JS.API.STREAM.INFO.LS-PROBE",
    "$JS.API.STREAM.CREATE.LS-PROBE",
    "$JS.API.STREAM.UPDATE.LS-PROBE",
    "$JS.API.STREAM.MSG.GET.LS-PROBE",
    "$JS.API.CONSUMER.CREATE.LS-PROBE.x",
    "$JS.API.CONSUMER.INFO.LS-PROBE.x",
    "$JS.API.CONSUMER.DELETE.LS-PROBE.x",
    "$JS.API.CONSUMER.MSG.NEXT.LS-PROBE.x",
    "$KV.LS_QUARANTINE.probe",
    "$KV.LS_PROGRESS.probe",
    "$KV.LS_INDEX.probe",
    "ls.dlq.probe.probe",
    "ls.lease.probe.none",
    "ls.set.probe.v0.probe",
    "ls.pos.probe.none",
    CONTROL,
];
/// How long a denial may take to come.
const DENIAL_WAIT: Duration = Duration::from_millis(300);

/// What the user may not do, of what a run does.
async fn probe(log: &Inner) -> Vec<String> {
    let asked = PUBLISHED.map(|subject| {
        let nothing = bytes::Bytes::new();
        log.link.send(subject, Some(never()), nothing, DENIAL_WAIT)
    });
    let asked = futures_util::future::join_all(asked).await;
    // Neither an answer nor the lack of one matters: only a denial does.
    let denied = asked.into_iter().filter_map(|asked| match asked {
        Err(Trouble::Denied(subject)) => Some(subject),
        _ => None,
    });
    let mut denied: Vec<String> = denied.collect();
    if !denied.iter().any(|subject| subject == CONTROL) && !log.link.may_listen(CONTROL).await {
        denied.push(CONTROL.to_owned());
    }
    denied
}

/// Headers with which no stream stores a message.
fn never() -> async_nats::HeaderMap {
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Expected-Stream", "LS-PROBE");
    headers
}

fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

/// What a server's monitoring address says about its disk and its clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitored {
    /// How soon its disk holds what it acknowledged.
    pub sync: Sync,
    /// Its clock minus ours.
    pub skew: Option<SignedDuration>,
}

/// Asks a server's monitoring address, such as `http://host:8222`.
pub async fn monitor(address: Option<&str>) -> Monitored {
    let unknown = |reason: String| Monitored {
        sync: Sync::Unknown(reason),
        skew: None,
    };
    let Some(address) = address else {
        return unknown("`log.monitor` is not set".to_owned());
    };
    // The provider has to be chosen before an HTTP client is made.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let asked = Timestamp::now();
    let started = Instant::now();
    let answer = async {
        let client = reqwest::Client::builder().timeout(MONITOR_WAIT).build()?;
        let url = format!("{}/varz", address.trim_end_matches('/'));
        client.get(url).send().await?.json::<Json>().await
    };
    match answer.await {
        Ok(said) => read(&said, asked + signed(started.elapsed() / 2)).unwrap_or_else(|| {
            unknown("`log.monitor` is not that of a server with JetStream".to_owned())
        }),
        Err(_) => unknown("`log.monitor` does not answer".to_owned()),
    }
}

fn read(said: &Json, ours: Timestamp) -> Option<Monitored> {
    let config = said.pointer("/jetstream/config")?;
    let sync = if config.get("sync_always").and_then(Json::as_bool) == Some(true) {
        Sync::Always
    } else {
        Sync::Every(Duration::from_nanos(config.get("sync_interval")?.as_u64()?))
    };
    let now = said.get("now").and_then(Json::as_str);
    let now: Option<Timestamp> = now.and_then(|text| text.parse().ok());
    Some(Monitored {
        sync,
        skew: now.map(|now| now.duration_since(ours)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_sync_level_is_read_from_what_the_server_says() {
        let now = Timestamp::UNIX_EPOCH;
        let said = |config: Json| json!({ "now": "1970-01-01T01:00:00Z", "jetstream": { "config": config } });
        let always = read(
            &said(json!({ "sync_always": true, "sync_interval": 1 })),
            now,
        )
        .unwrap();
        assert_eq!(always.sync, Sync::Always);
        assert_eq!(always.skew, Some(SignedDuration::from_hours(1)));
        let two_minutes =
            read(&said(json!({ "sync_interval": 120_000_000_000_u64 })), now).unwrap();
        assert_eq!(two_minutes.sync.to_string(), "every 120 s");
        assert_eq!(read(&json!({ "jetstream": {} }), now), None);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(text in ".{0,40}", number: i64) {
            let said = json!({ "now": text, "jetstream": { "config": { "sync_interval": number } } });
            let _ = read(&said, Timestamp::UNIX_EPOCH);
        }
    }
}
