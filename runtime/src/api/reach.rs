//! What the command line works with: the running process where there is one, its log where there is none.

use std::time::{Duration, Instant};

use lockstep_core::Key;
use lockstep_core::connector::Boxed;
use lockstep_core::error::{Error, Result};

use super::{Client, Reached};
use crate::config::Config;
use crate::control::{Act, Control, Done, Order};
use crate::quarantine::{Answer, Ask, Closing, Entry, Stage};
use crate::report;
use crate::status::{State, Status};
use crate::supervise::Store;
use crate::verify::{Explained, InFlight};
use crate::versions::{Known, Versions};

/// How long a runtime that holds the log may take until it answers.
const STARTING_MAX: Duration = Duration::from_secs(8);
/// How long a request to skip may go unanswered.
pub(super) const SKIP_MAX: Duration = Duration::from_secs(20);
/// How long to wait between two looks at a flow that is behind.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A way to ask and to act.
pub enum Reach {
    /// Through the running process.
    Running(Client),
    /// On its log, which nobody else holds.
    Log(Store),
    /// On nothing: nothing ever ran here.
    Nothing,
}

impl Reach {
    /// Finds the running process, or opens the log.
    ///
    /// # Errors
    /// A log that is damaged, or held by a process that does not answer.
    pub async fn find(config: &Config) -> Result<Reach> {
        let until = Instant::now() + STARTING_MAX;
        loop {
            if let Reached::Running(client) = Client::find(&config.api.folder).await? {
                return Ok(Reach::Running(client));
            }
            match Store::look(config).await {
                Ok(store) => return Ok(store.map_or(Reach::Nothing, Reach::Log)),
                // Whoever holds the log may be about to answer: a runtime that starts, or a command that looks into it.
                Err(error) if error.error_code() == Some("LS-L004") && Instant::now() < until => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                Err(error) if error.error_code() == Some("LS-L004") => {
                    return Err(error.help("if a runtime holds the log, it does not answer: look at its log output, or stop it"));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The status.
    ///
    /// # Errors
    /// A process that went away, or a log that cannot be read.
    pub async fn status(&self, config: &Config) -> Result<Status> {
        match self {
            Reach::Running(client) => client.get("/status").await,
            Reach::Log(store) => report::status(config, &*store.log, &store.quarantine, None).await,
            Reach::Nothing => Ok(report::never_ran(config)),
        }
    }

    /// What the log knows of contracts and tables.
    ///
    /// # Errors
    /// A process that went away, or a log that cannot be read.
    pub async fn known(&self) -> Result<Known> {
        match self {
            Reach::Running(client) => client.get("/known").await,
            Reach::Log(store) => Ok(Versions::open(&*store.log).await?.known()),
            Reach::Nothing => Ok(Known::default()),
        }
    }

    /// Every quarantine entry, closed ones included.
    ///
    /// # Errors
    /// A process that went away, or a log that cannot be read.
    pub async fn entries(&self) -> Result<Vec<Entry>> {
        match self {
            Reach::Running(client) => client.get("/quarantine").await,
            Reach::Log(store) => store.quarantine.all().await,
            Reach::Nothing => Ok(Vec::new()),
        }
    }

    /// One quarantine entry.
    ///
    /// # Errors
    /// A process that went away, or a log that cannot be read.
    pub async fn entry(&self, id: &str) -> Result<Option<Entry>> {
        match self {
            Reach::Running(client) => client.get(&format!("/quarantine/{id}")).await,
            Reach::Log(store) => store.quarantine.get(id).await,
            Reach::Nothing => Ok(None),
        }
    }

    /// Tries a quarantined change again, as it is or corrected; only a running process can.
    ///
    /// # Errors
    /// A process that went away.
    pub async fn ask(&self, ask: &Ask) -> Result<Answer> {
        let (id, what) = match ask {
            Ask::Edit { id, .. } => (id, "edit"),
            other => (&other.id().to_owned(), "retry"),
        };
        match self {
            Reach::Running(client) => {
                let path = format!("/quarantine/{id}/{what}");
                client.post_body(&path, ask).await
            }
            Reach::Log(_) | Reach::Nothing => Err(Error::config(
                "no runtime is running, and only a running one can send a change again",
            )
            .help("start it with `lockstep run`")),
        }
    }

    /// Closes a quarantined change for good.
    ///
    /// # Errors
    /// A process that went away, or a log that cannot be written.
    pub async fn discard(&self, id: &str, closing: &Closing) -> Result<Answer> {
        match self {
            Reach::Running(client) => {
                client
                    .post_body(&format!("/quarantine/{id}/drop"), closing)
                    .await
            }
            Reach::Log(store) => store.quarantine.discard(id, closing).await,
            Reach::Nothing => Ok(Answer::Missing),
        }
    }

    /// Carries out what somebody asks of parts of a run: by the running process, or in the log, where runtimes elsewhere and later ones find it.
    ///
    /// # Errors
    /// A process that went away, a log that cannot be written, or an order that only a running process can carry out.
    pub async fn order(&self, config: &Config, order: &Order) -> Result<Vec<Done>> {
        let waits_for_a_run = order.act == Act::Skip && !config.log.is_shared()
            || order.act == Act::Retry && matches!(self, Reach::Nothing);
        match self {
            Reach::Running(client) => client.post_body("/order", order).await,
            _ if waits_for_a_run => Err(Error::config(
                "no runtime is running, and only a running one can do this",
            )
            .help("start it with `lockstep run`")),
            Reach::Log(store) => {
                let control = Control::open(&*store.log).await?;
                // A log that only one process can hold is held by this one: nobody answers.
                let patience = if config.log.is_shared() {
                    SKIP_MAX
                } else {
                    Duration::ZERO
                };
                control.carry_out(order, patience).await
            }
            // What rests from the beginning rests at the first start.
            Reach::Nothing => {
                let store = Store::open(config).await?;
                let control = Control::open(&*store.log).await?;
                let done = control.carry_out(order, SKIP_MAX).await;
                drop(control);
                store.close().await;
                done
            }
        }
    }

    /// Lets go of the log.
    pub async fn close(self) {
        if let Reach::Log(store) = self {
            store.close().await;
        }
    }

    async fn flow_state(&self, flow: &str, to: &str) -> Result<Option<State>> {
        let Reach::Running(client) = self else {
            return Ok(None);
        };
        let status: Status = client.get("/status").await?;
        let found = status
            .flows
            .iter()
            .find(|known| known.flow == flow && known.to == to);
        Ok(found.map(|found| found.state))
    }
}

impl InFlight for Reach {
    fn settle<'a>(&'a self, flow: &'a str, to: &'a str, deadline: Duration) -> Boxed<'a, bool> {
        Box::pin(async move {
            let until = Instant::now() + deadline;
            loop {
                match self.flow_state(flow, to).await {
                    // Nothing runs, so nothing is on its way.
                    Ok(None | Some(State::Idle)) => return true,
                    // It will not move by waiting, or nobody knows.
                    Ok(Some(State::Held | State::Paused)) | Err(_) => return false,
                    Ok(Some(State::Behind | State::Stalled)) => {}
                }
                if Instant::now() > until {
                    return false;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        })
    }

    fn quarantined<'a>(
        &'a self,
        entity: &'a str,
        flow: &'a str,
        to: &'a str,
    ) -> Boxed<'a, Result<Explained>> {
        Box::pin(async move {
            let concerns = |entry: &Entry| {
                entry.entity == entity
                    && (entry.stage == Stage::Gate
                        || (entry.flow.as_deref() == Some(flow) && entry.system == to))
            };
            let mut entries = self.entries().await?;
            entries.retain(concerns);
            // A dropped change stays a difference that somebody decided on; it is no drift either.
            let (holding, mut others): (Vec<Entry>, Vec<Entry>) = entries
                .into_iter()
                .partition(|entry| entry.state.explains());
            others.retain(Entry::is_corrected);
            let keys = holding.into_iter().flat_map(|entry| {
                // Targets still hold the record under the key it had.
                let former = entry.former.as_ref();
                let former =
                    former.and_then(|former| Key::encode(former.key.iter().map(Some)).ok());
                [Some(entry.key), former.map(|key| key.to_string())]
            });
            Ok(Explained {
                held: keys.flatten().collect(),
                corrected: others,
            })
        })
    }
}
