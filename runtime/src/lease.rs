//! Who runs what, where several runtimes share one log: each capture and each delivery under a lease of its own.
//!
//! A lease is a message on its subject that the log forgets after [`TTL`]; its holder publishes it again in time, each time expecting its own last one, and gives the part up where that fails.
//! A standby looks whether the subject is empty and takes it by compare-and-set.
//! Leases only keep two runtimes from doing the same work; what keeps them from harming each other is the epoch (capture) and the target's own progress (delivery).
//!
//! No clock of another machine is ever compared with ours: the log counts the time to live, the holder its own monotonic time.

mod spread;

use std::fs::{File, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lockstep_core::error::{Error, Result};
use lockstep_core::key::fnv1a32;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use spread::Parts;

use crate::log::{self, LEASES, Log, LogError, Message, PublishError, StreamConfig};

/// How long a lease lasts that nobody renews.
const TTL: Duration = Duration::from_secs(15);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(5);
/// How long after the last renewal a holder goes on; well before anybody else may begin.
const GIVE_UP: Duration = Duration::from_secs(10);
/// How long to wait before a renewal is tried again whose outcome is not known.
const AGAIN: Duration = Duration::from_secs(1);
/// How often a standby looks.
const LOOK: Duration = Duration::from_secs(1);
/// How long a part may take to end once its lease is lost.
const GRACE: Duration = Duration::from_secs(4);
/// How long the word of a released lease stays.
const RELEASED: Duration = Duration::from_secs(1);

/// Makes the stream of leases.
///
/// # Errors
/// A log that has it with other settings, or cannot make it.
pub(crate) async fn ensure(log: &dyn Log) -> Result<()> {
    log.ensure_stream(&stream()).await.map_err(log::to_error)
}

/// The stream of leases.
pub(crate) fn stream() -> StreamConfig {
    StreamConfig {
        name: LEASES.to_owned(),
        subjects: vec!["ls.lease.>".to_owned()],
        max_age: None,
        max_bytes: None,
        max_per_subject: Some(1),
        duplicate_window: Duration::from_secs(120),
    }
}

/// One runtime, as its leases name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Holder {
    /// For people: `<host>:<pid>`.
    pub(crate) name: String,
    /// For the log: one of a kind among those that live.
    pub(crate) id: String,
}

impl Holder {
    /// This process, as the runtime of a folder that only one can have at a time.
    ///
    /// Its id stays the same over restarts: whoever has the folder knows that the holder of that id before it is dead, and need not wait for its leases to end.
    ///
    /// # Errors
    /// A folder that another runtime has, or that cannot be written.
    pub(crate) fn of(folder: &Path) -> Result<(Holder, Folder)> {
        let path = folder.join("runtime");
        let trouble = |error: std::io::Error| {
            Error::config(format!("`{}` cannot be used", path.display())).because(error)
        };
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(trouble)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("another runtime uses the folder `{}`", folder.display());
                let help = "give every runtime of a log an `api.folder` of its own";
                return Err(Error::config(message).help(help));
            }
            Err(TryLockError::Error(error)) => return Err(trouble(error)),
        }
        let mut id = String::new();
        // What cannot be read as an id is none.
        let _ = file.read_to_string(&mut id);
        if uuid::Uuid::try_parse(id.trim()).is_err() {
            id = uuid::Uuid::new_v4().simple().to_string();
            file.set_len(0).map_err(trouble)?;
            file.seek(SeekFrom::Start(0)).map_err(trouble)?;
            file.write_all(id.as_bytes()).map_err(trouble)?;
        }
        let host = host();
        let holder = Holder {
            // A machine that was copied with its folder is another one.
            id: format!("{}-{:08x}", id.trim(), fnv1a32(host.as_bytes())),
            name: format!("{host}:{}", std::process::id()),
        };
        Ok((holder, Folder(file)))
    }
}

/// A runtime's folder, its own while this lives.
pub(crate) struct Folder(#[expect(dead_code, reason = "the lock is held by holding it")] File);

fn host() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.or_else(|| std::env::var("HOSTNAME").ok());
    let host = host.map(|host| host.trim().to_owned());
    host.filter(|host| !host.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// What a lease says.
#[derive(Serialize, Deserialize)]
struct Said {
    #[serde(flatten)]
    holder: Holder,
    /// Whether the holder let go of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    released: bool,
}

/// Who holds a lease, if anybody does.
///
/// # Errors
/// A log that cannot be read.
pub(crate) async fn holder(log: &dyn Log, subject: &str) -> Result<Option<Holder>, LogError> {
    let last = match log.last(LEASES, subject).await {
        // Nobody ever made a lease here.
        Err(LogError::Missing { .. }) => None,
        last => last?,
    };
    let said = last.and_then(|stored| serde_json::from_slice::<Said>(&stored.payload).ok());
    Ok(said.filter(|said| !said.released).map(|said| said.holder))
}

/// The leases of one runtime.
#[derive(Clone)]
pub(crate) struct Leases {
    log: Arc<dyn Log>,
    me: Holder,
    times: Times,
    /// What this runtime holds.
    parts: Arc<Parts>,
}

/// How long everything takes; tests are in more of a hurry.
#[derive(Clone, Copy, Debug)]
struct Times {
    ttl: Duration,
    renew: Duration,
    give_up: Duration,
    again: Duration,
    look: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Times {
            ttl: TTL,
            renew: RENEW,
            give_up: GIVE_UP,
            again: AGAIN,
            look: LOOK,
        }
    }
}

/// A lease that is held, as its holder knows it.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// The sequence of its message, which the next renewal expects.
    seq: u64,
    /// When the last renewal that succeeded was sent.
    since: Instant,
}

/// How work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It is begun again once the lease is held again.
    ForNow,
    /// A policy ended it until the next start.
    ByPolicy,
}

/// What a look at a lease found.
enum Look {
    Taken(Held),
    Elsewhere(Holder),
    /// Somebody was faster; look again.
    Lost,
}

/// What a renewal came to.
enum Renewal {
    Held(Held),
    /// Nobody knows; try again while there is time.
    Unknown,
    Lost,
}

impl Leases {
    pub(crate) fn new(log: Arc<dyn Log>, me: Holder) -> Leases {
        Leases {
            log,
            me,
            times: Times::default(),
            parts: Arc::default(),
        }
    }

    /// Runs `work` whenever this runtime holds the lease, until `stop`, or until a policy ends it.
    ///
    /// `work` is given the word on which to end; it may also end by itself, and is begun again unless a policy said so.
    /// `told` hears what keeps the lease from being looked at, and of the end of that.
    pub(crate) async fn run<F: Future<Output = Ended>>(
        &self,
        subject: &str,
        stop: &CancellationToken,
        told: impl Fn(Option<LogError>),
        work: impl Fn(CancellationToken) -> F,
    ) {
        // Runtimes that start together take turns, so that each gets some of the work.
        if !pause(noise(self.times.look), stop).await {
            return;
        }
        let mut seen = None;
        let mut is_told = false;
        while !stop.is_cancelled() {
            let looked = self.look(subject).await;
            if looked.is_ok() && std::mem::take(&mut is_told) {
                told(None);
            }
            match looked {
                Ok(Look::Taken(held)) => {
                    tracing::info!(subject, "lease taken");
                    let (token, yielded) = (stop.child_token(), self.parts.hold(subject));
                    let work = work(token.clone());
                    let ended = self.keep(subject, held, &token, &yielded, work).await;
                    self.parts.gone(subject);
                    self.release(subject).await;
                    tracing::info!(subject, "lease released");
                    if ended == Ended::ByPolicy {
                        return;
                    }
                    if yielded.is_cancelled() && !pause(self.hands_off(), stop).await {
                        return;
                    }
                }
                Ok(Look::Elsewhere(holder)) => {
                    if seen.as_ref() != Some(&holder) {
                        tracing::info!(subject, holder = holder.name, "standing by");
                        seen = Some(holder);
                    }
                }
                Ok(Look::Lost) => {}
                Err(LogError::Missing { .. }) => {
                    tracing::warn!(subject, "the stream LS_LEASE is gone, making it again");
                    if let Err(error) = self.log.ensure_stream(&stream()).await {
                        is_told = true;
                        told(Some(error));
                    }
                }
                Err(error) => {
                    tracing::warn!(subject, %error, "the lease cannot be looked at");
                    is_told = true;
                    told(Some(error));
                }
            }
            if !pause(self.times.look + noise(self.times.look / 2), stop).await {
                return;
            }
        }
    }

    /// Takes the lease if nobody has it.
    async fn look(&self, subject: &str) -> Result<Look, LogError> {
        let last = self.log.last(LEASES, subject).await?;
        let said = last.as_ref().and_then(|stored| {
            let said: Said = serde_json::from_slice(&stored.payload).ok()?;
            Some(said)
        });
        match said {
            // One that is ours is of an earlier life of this runtime, or of a renewal whose answer was lost.
            Some(said) if !said.released && said.holder.id != self.me.id => {
                return Ok(Look::Elsewhere(said.holder));
            }
            _ => {}
        }
        let expected = last.map_or(0, |stored| stored.seq);
        let since = Instant::now();
        match self.say(subject, expected, false, self.times.ttl).await {
            Ok(seq) => Ok(Look::Taken(Held { seq, since })),
            Err(PublishError::WrongLast { .. } | PublishError::Unknown(_)) => Ok(Look::Lost),
            Err(PublishError::Denied(subject)) => Err(LogError::Denied(subject)),
            Err(error) => Err(LogError::Storage(error.to_string())),
        }
    }

    /// Works, renewing the lease, until the work ends, the lease is lost or the part is to be handed over.
    async fn keep(
        &self,
        subject: &str,
        mut held: Held,
        token: &CancellationToken,
        yielded: &CancellationToken,
        work: impl Future<Output = Ended>,
    ) -> Ended {
        let mut work = pin!(work);
        let mut wait = self.times.renew;
        loop {
            tokio::select! {
                ended = &mut work => return ended,
                () = yielded.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
            let left = self.times.give_up.saturating_sub(held.since.elapsed());
            let renewed = tokio::select! {
                ended = &mut work => return ended,
                renewed = tokio::time::timeout(left, self.renew(subject, held)) => renewed,
            };
            match renewed {
                Ok(Renewal::Held(renewed)) => {
                    held = renewed;
                    wait = self.times.renew;
                }
                Ok(Renewal::Unknown) if held.since.elapsed() < self.times.give_up => {
                    wait = self.times.again;
                }
                Ok(Renewal::Unknown | Renewal::Lost) | Err(_) => {
                    tracing::warn!(subject, "the lease could not be renewed: ending the work");
                    break;
                }
            }
        }
        token.cancel();
        // Whoever takes over fences what is still on its way.
        if tokio::time::timeout(GRACE, work).await.is_err() {
            tracing::warn!(subject, "the work did not end in time and was dropped");
        }
        Ended::ForNow
    }

    async fn renew(&self, subject: &str, held: Held) -> Renewal {
        let since = Instant::now();
        match self.say(subject, held.seq, false, self.times.ttl).await {
            Ok(seq) => Renewal::Held(Held { seq, since }),
            // Either somebody took it, or it is our own message, whose answer was lost.
            Err(PublishError::WrongLast { .. }) => match self.log.last(LEASES, subject).await {
                Ok(Some(stored)) if self.is_mine(&stored.payload) => Renewal::Held(Held {
                    seq: stored.seq,
                    // It counts from when it may have been sent.
                    since: held.since,
                }),
                Ok(_) => Renewal::Lost,
                Err(_) => Renewal::Unknown,
            },
            Err(_) => Renewal::Unknown,
        }
    }

    /// Lets go of a lease that is ours, so that a standby need not wait for its end.
    async fn release(&self, subject: &str) {
        let released = async {
            let last = self.log.last(LEASES, subject).await.ok().flatten()?;
            if !self.is_mine(&last.payload) {
                return None;
            }
            self.say(subject, last.seq, true, RELEASED).await.ok()
        };
        // A log that does not answer forgets the lease by itself.
        let _ = tokio::time::timeout(AGAIN, released).await;
    }

    fn is_mine(&self, payload: &Bytes) -> bool {
        let said: Option<Said> = serde_json::from_slice(payload).ok();
        said.is_some_and(|said| said.holder.id == self.me.id)
    }

    async fn say(
        &self,
        subject: &str,
        expected: u64,
        released: bool,
        ttl: Duration,
    ) -> Result<u64, PublishError> {
        let said = Said {
            holder: self.me.clone(),
            released,
        };
        let message = Message {
            subject: subject.to_owned(),
            // Two texts and a flag always serialise.
            payload: serde_json::to_vec(&said).unwrap_or_default().into(),
            expect_last: Some(expected),
            ttl: Some(ttl),
            ..Message::default()
        };
        match self.log.publish(LEASES, vec![message]).await.pop() {
            Some(outcome) => outcome.map(|ack| ack.seq),
            None => Err(PublishError::Unknown("the log gave no answer".to_owned())),
        }
    }
}

/// Waits, unless told to stop first. Tells whether to go on.
async fn pause(wait: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        () = stop.cancelled() => false,
        () = tokio::time::sleep(wait) => true,
    }
}

/// A random time up to `most`.
fn noise(most: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX).max(1);
    Duration::from_micros(random % most)
}

#[cfg(test)]
mod tests;
