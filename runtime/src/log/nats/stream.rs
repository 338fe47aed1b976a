//! Streams: declared, compared, read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::link::Failed;
use super::wire::{self, RawMessage};
use super::{Inner, index, large};
use crate::log::rules::{self, Pattern};
use crate::log::{LogError, Result, Stored, StreamConfig, StreamInfo};

/// How often to ask whether there are servers enough for a stream.
const PLACEMENT_POLL: Duration = Duration::from_millis(200);

/// What is remembered of a stream.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) config: StreamConfig,
    pub(super) patterns: Vec<Pattern>,
}

/// A stream as the API gives it.
#[derive(Debug, Deserialize)]
pub(super) struct State {
    pub(super) config: Settings,
    created: Timestamp,
    state: Counts,
    #[serde(default)]
    cluster: Cluster,
    /// The server's clock.
    pub(super) ts: Timestamp,
}

/// The settings that matter here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Settings {
    #[serde(default)]
    subjects: Vec<String>,
    #[serde(default)]
    retention: String,
    #[serde(default)]
    discard: String,
    #[serde(default)]
    storage: String,
    #[serde(default)]
    max_age: i64,
    #[serde(default = "unbounded")]
    max_bytes: i64,
    #[serde(default = "unbounded")]
    max_msgs: i64,
    #[serde(default = "unbounded")]
    max_msgs_per_subject: i64,
    #[serde(default = "unbounded")]
    max_msg_size: i64,
    #[serde(default)]
    duplicate_window: i64,
    #[serde(default)]
    num_replicas: u8,
    #[serde(default)]
    allow_rollup_hdrs: bool,
    #[serde(default)]
    allow_atomic: bool,
    #[serde(default)]
    allow_msg_ttl: bool,
    #[serde(default)]
    deny_delete: bool,
    #[serde(default)]
    deny_purge: bool,
}

/// Which cluster keeps a stream: one without a name is a server alone.
#[derive(Debug, Default, Deserialize)]
struct Cluster {
    #[serde(default)]
    name: String,
}

#[derive(Debug, Deserialize)]
struct Counts {
    messages: u64,
    bytes: u64,
    first_seq: u64,
    last_seq: u64,
}

fn unbounded() -> i64 {
    -1
}

impl State {
    pub(super) fn info(&self) -> StreamInfo {
        let counts = &self.state;
        StreamInfo {
            first_seq: if counts.messages == 0 {
                counts.last_seq + 1
            } else {
                counts.first_seq
            },
            last_seq: counts.last_seq,
            messages: counts.messages,
            bytes: counts.bytes,
            created: self.created,
        }
    }
}

impl Settings {
    /// The settings of a declaration.
    fn of(config: &StreamConfig, replicas: u8) -> Settings {
        let count = |limit: Option<u64>| limit.map_or(-1, |limit| limit.try_into().unwrap_or(-1));
        Settings {
            subjects: config.subjects.clone(),
            retention: "limits".to_owned(),
            discard: "new".to_owned(),
            storage: "file".to_owned(),
            max_age: config.max_age.map_or(0, nanos),
            max_bytes: count(config.max_bytes),
            max_msgs: -1,
            max_msgs_per_subject: count(config.max_per_subject),
            max_msg_size: -1,
            duplicate_window: nanos(config.duplicate_window),
            num_replicas: replicas,
            allow_rollup_hdrs: false,
            allow_atomic: true,
            allow_msg_ttl: true,
            deny_delete: true,
            deny_purge: true,
        }
    }

    fn to_json(&self, name: &str) -> Json {
        json!({
            "name": name,
            "subjects": self.subjects,
            "retention": self.retention,
            "discard": self.discard,
            "storage": self.storage,
            "max_age": self.max_age,
            "max_bytes": self.max_bytes,
            "max_msgs": self.max_msgs,
            "max_msgs_per_subject": self.max_msgs_per_subject,
            "max_msg_size": self.max_msg_size,
            "duplicate_window": self.duplicate_window,
            "num_replicas": self.num_replicas,
            "allow_rollup_hdrs": self.allow_rollup_hdrs,
            "allow_atomic": self.allow_atomic,
            "allow_msg_ttl": self.allow_msg_ttl,
            "deny_delete": self.deny_delete,
            "deny_purge": self.deny_purge,
            "allow_direct": true,
        })
    }

    /// What differs from the declared settings, one by one.
    fn differences(&self, declared: &Settings) -> Vec<String> {
        let (found, wanted) = (self.to_json(""), declared.to_json(""));
        let (Json::Object(found), Json::Object(wanted)) = (found, wanted) else {
            return Vec::new();
        };
        wanted
            .into_iter()
            .filter_map(|(setting, wanted)| {
                let is = found.get(&setting).unwrap_or(&Json::Null);
                (*is != wanted).then(|| format!("{setting} is {is}, declared {wanted}"))
            })
            .collect()
    }

    /// These settings with the limits of others: they may change while the stream lives.
    fn with_limits_of(&self, other: &Settings) -> Settings {
        Settings {
            max_age: other.max_age,
            max_bytes: other.max_bytes,
            max_msgs_per_subject: other.max_msgs_per_subject,
            num_replicas: other.num_replicas,
            // It is never longer than messages are kept.
            duplicate_window: other.duplicate_window,
            ..self.clone()
        }
    }

    /// A declaration that these settings follow.
    fn declaration(&self, name: &str) -> StreamConfig {
        let limit = |count: i64| u64::try_from(count).ok().filter(|count| *count > 0);
        let time = |nanos: i64| Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
        StreamConfig {
            name: name.to_owned(),
            subjects: self.subjects.clone(),
            max_age: Some(time(self.max_age)).filter(|age| !age.is_zero()),
            max_bytes: limit(self.max_bytes),
            max_per_subject: limit(self.max_msgs_per_subject),
            duplicate_window: time(self.duplicate_window),
        }
    }
}

/// A length of time as the API takes it.
pub(super) fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is a single assignment, so what a dead thread left is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Creates a stream, or checks that it is as declared; configured limits are put in force. Who only looks is told of a stream that is missing, and nothing is changed.
pub(super) async fn ensure(log: &Arc<Inner>, config: &StreamConfig) -> Result<()> {
    rules::check_stream(config)?;
    let name = &config.name;
    if log.looks {
        let found = state(log, name).await?.config.declaration(name);
        return remember(log, found).map(drop);
    }
    let declared = Settings::of(config, log.replicas);
    let found = match state(log, name).await {
        Ok(state) => state.config,
        Err(LogError::Missing { .. }) => create(log, name, &declared).await?,
        Err(error) => return Err(error),
    };
    let configured = is_ours(name) || log.limits.iter().any(|limits| limits.name == *name);
    let found = if configured && found != declared && found.with_limits_of(&declared) == declared {
        let changes = found.differences(&declared).join(", ");
        tracing::warn!(
            stream = name,
            changes,
            "the stream's limits are changed to the configured ones"
        );
        write(log, "UPDATE", name, &declared).await?.config
    } else {
        found
    };
    let differences = found.differences(&declared);
    if !differences.is_empty() {
        return Err(LogError::Differs {
            stream: name.clone(),
            differences: differences.join(", "),
        });
    }
    remember(log, config.clone())?;
    // Nobody reads objects by their place, so no hole among them needs a note.
    if config.max_age.is_some() && !large::is_store(name) {
        index::start(log, name);
    }
    Ok(())
}

/// Whether a stream is one of the runtime's: its limits follow the configuration.
fn is_ours(name: &str) -> bool {
    let inner = name.strip_prefix("KV_").or(name.strip_prefix("OBJ_"));
    inner.unwrap_or(name).starts_with("LS_")
}

/// Makes a stream that is not there.
pub(super) async fn make(log: &Inner, config: &StreamConfig) -> Result<()> {
    let declared = Settings::of(config, log.replicas);
    create(log, &config.name, &declared).await?;
    remember(log, config.clone()).map(drop)
}

async fn create(log: &Inner, name: &str, declared: &Settings) -> Result<Settings> {
    match write(log, "CREATE", name, declared).await {
        // Somebody else made it in between.
        Err(LogError::Refused(_)) if state(log, name).await.is_ok() => {
            Ok(state(log, name).await?.config)
        }
        // A cluster makes anew on a member what that lacks.
        Ok(created) if created.cluster.name.is_empty() => {
            write_down(log, name, declared, created).await
        }
        outcome => outcome.map(|created| created.config),
    }
}

/// Lets a server write a stream's settings down once more.
///
/// A server writes settings and their checksum one after the other when it makes a stream.
/// Killed between both, it leaves the stream out at its next start; made again, the stream is there with its messages, but still without the checksum, and so it would be left out at every start from then on.
/// Only a change of settings, even to the same ones, writes both (seen with nats-server 2.15.1).
async fn write_down(
    log: &Inner,
    name: &str,
    declared: &Settings,
    created: State,
) -> Result<Settings> {
    match write(log, "UPDATE", name, declared).await {
        // The stream is there, and whole unless its server was killed while making it.
        Err(LogError::Denied(subject)) => {
            tracing::warn!(
                stream = name,
                subject,
                "the stream's settings could not be written again, because the user may not publish to this subject"
            );
            Ok(created.config)
        }
        outcome => outcome.map(|state| state.config),
    }
}

async fn write(log: &Inner, what: &str, name: &str, settings: &Settings) -> Result<State> {
    let body = settings.to_json(name);
    let subject = format!("STREAM.{what}.{name}");
    let patience = Instant::now() + log.link.patience;
    let written = loop {
        match log.link.api::<State>(&subject, &body).await {
            // A server that comes back is no peer for a moment.
            Err(Failed::Fault(fault))
                if fault.err_code == wire::CODE_NO_PEERS && Instant::now() < patience =>
            {
                tokio::time::sleep(PLACEMENT_POLL).await;
            }
            outcome => break outcome,
        }
    };
    written.map_err(|failed| match failed {
        Failed::Fault(fault) if fault.code != 503 => LogError::Refused(format!(
            "stream `{name}` over {}: {}",
            settings.subjects.join(", "),
            fault.description
        )),
        failed => log.link.failed(failed),
    })
}

fn remember(log: &Inner, config: StreamConfig) -> Result<Arc<Known>> {
    let known = Arc::new(Known {
        patterns: rules::patterns(&config.subjects)?,
        config,
    });
    lock(&log.streams).insert(known.config.name.clone(), Arc::clone(&known));
    Ok(known)
}

/// What is known of a stream; asks once.
pub(super) async fn known(log: &Inner, name: &str) -> Result<Arc<Known>> {
    let known = lock(&log.streams).get(name).cloned();
    match known {
        Some(known) => Ok(known),
        None => {
            let state = state(log, name).await?;
            remember(log, state.config.declaration(name))
        }
    }
}

/// The state of a stream.
pub(super) async fn state(log: &Inner, name: &str) -> Result<State> {
    rules::check_name("stream", name)?;
    let asked = log
        .link
        .api(&format!("STREAM.INFO.{name}"), &Json::Null)
        .await;
    asked.map_err(|failed| missing(log, failed, name))
}

fn missing(log: &Inner, failed: Failed, name: &str) -> LogError {
    match failed {
        Failed::Fault(fault) if fault.err_code == wire::CODE_NO_STREAM => LogError::Missing {
            what: "stream",
            name: name.to_owned(),
        },
        failed => log.link.failed(failed),
    }
}

/// The last message on a subject.
pub(super) async fn last(log: &Inner, stream: &str, subject: &str) -> Result<Option<Stored>> {
    rules::check_subject(subject).map_err(LogError::Refused)?;
    let found = message(log, stream, &json!({ "last_by_subj": subject })).await?;
    Ok(found.map(|(stored, _)| stored))
}

/// The message of a sequence.
pub(super) async fn get(log: &Inner, stream: &str, seq: u64) -> Result<Option<Stored>> {
    if seq == 0 {
        return known(log, stream).await.map(|_| None);
    }
    let found = message(log, stream, &json!({ "seq": seq })).await?;
    Ok(found.map(|(stored, _)| stored))
}

/// The first message kept that a pattern takes, from a sequence on, and what its writer expected on its subject.
pub(super) async fn next(
    log: &Inner,
    stream: &str,
    subject: &str,
    seq: u64,
) -> Result<Option<(Stored, Option<u64>)>> {
    message(log, stream, &json!({ "next_by_subj": subject, "seq": seq })).await
}

async fn message(log: &Inner, stream: &str, which: &Json) -> Result<Option<(Stored, Option<u64>)>> {
    #[derive(Deserialize)]
    struct Found {
        message: RawMessage,
    }
    rules::check_name("stream", stream)?;
    let asked = log
        .link
        .api::<Found>(&format!("STREAM.MSG.GET.{stream}"), which)
        .await;
    match asked {
        Ok(found) => match found.message.open() {
            Some(found) => Ok(Some(found)),
            None => Err(LogError::Storage(format!(
                "a message of stream `{stream}` cannot be read"
            ))),
        },
        Err(Failed::Fault(fault)) if fault.err_code == wire::CODE_NO_MESSAGE => Ok(None),
        Err(failed) => Err(missing(log, failed, stream)),
    }
}

/// What drifted from a declaration, for who only wants to look; `None` where there is no such stream.
pub(super) async fn drift(log: &Inner, config: &StreamConfig) -> Result<Option<Vec<String>>> {
    match state(log, &config.name).await {
        Ok(state) => {
            let declared = Settings::of(config, log.replicas);
            Ok(Some(state.config.differences(&declared)))
        }
        Err(LogError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
