//! A run: the log, one capture per source system, one delivery per flow and target, the HTTP interface, and an orderly end.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_core::connector::Registry;
use lockstep_core::error::{Error, Result};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::{self, Access};
use crate::capture::Capture;
use crate::config::{Config, LogConfig, Role};
use crate::deliver::Delivery;
use crate::log::embedded::{Embedded, EmbeddedOptions};
use crate::log::{self, Log, LogError, POSITIONS, SETTLED, StreamConfig};
use crate::plan::Plan;
use crate::quarantine::Quarantine;
use crate::status::Board;

/// How long the tasks may take to end once the run is told to stop.
const GRACE: Duration = Duration::from_secs(20);
/// How long to wait for a log that another process holds: commands that look into it are quick, a runtime is not.
const LOOKER_GRACE: Duration = Duration::from_secs(2);

/// An opened log with what is kept in it beside the changes.
pub struct Store {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Its quarantine.
    pub quarantine: Arc<Quarantine>,
    engine: Arc<Embedded>,
}

impl Store {
    /// Opens the log that the configuration names, and makes its streams.
    ///
    /// # Errors
    /// A log that is in use, damaged, or cannot be written.
    pub async fn open(config: &Config) -> Result<Store> {
        let LogConfig::Embedded {
            path,
            max_age,
            max_bytes,
        } = &config.log;
        let stream = |name: &str, subject: &str| StreamConfig {
            name: name.to_owned(),
            subjects: vec![subject.to_owned()],
            max_age: None,
            max_bytes: None,
            max_per_subject: None,
            duplicate_window: Duration::from_secs(120),
        };
        let settled = StreamConfig {
            max_age: *max_age,
            max_bytes: *max_bytes,
            ..stream(SETTLED, "ls.set.>")
        };
        // Only the last position of a system matters.
        let positions = StreamConfig {
            max_per_subject: Some(1),
            ..stream(POSITIONS, "ls.pos.*")
        };
        let options = EmbeddedOptions {
            limits: vec![settled.clone()],
            ..EmbeddedOptions::default()
        };
        let engine = take(path, &options).await.map_err(log::to_error)?;
        let log: Arc<dyn Log> = engine.clone();
        for config in [&settled, &positions] {
            log.ensure_stream(config).await.map_err(log::to_error)?;
        }
        let quarantine = Arc::new(Quarantine::open(Arc::clone(&log)).await?);
        Ok(Store {
            log,
            quarantine,
            engine,
        })
    }

    /// Writes down what is under way and closes the log.
    pub async fn close(self) {
        if let Err(error) = self.engine.close().await {
            tracing::warn!(%error, "the log did not close cleanly; the next start looks it over");
        }
    }
}

/// Opens the log, waiting a moment for a command that only looks into it to let go of it.
async fn take(path: &Path, options: &EmbeddedOptions) -> Result<Arc<Embedded>, LogError> {
    let until = Instant::now() + LOOKER_GRACE;
    loop {
        match Embedded::open(path, options.clone()).await {
            Err(LogError::InUse { .. }) if Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            outcome => return outcome,
        }
    }
}

/// Runs a plan until `stop`, or until something ends that should not.
///
/// # Errors
/// A log or HTTP interface that cannot be opened. Trouble with systems is retried or held, and shown by `lockstep status`.
pub async fn run(
    config: Arc<Config>,
    registry: Arc<Registry>,
    plan: Plan,
    stop: CancellationToken,
) -> Result<()> {
    let store = Store::open(&config).await?;
    let expired = store.quarantine.expire(jiff::Timestamp::now()).await?;
    tracing::debug!(expired, "quarantine looked over");
    let board = Arc::new(Board::default());
    let mut tasks = JoinSet::new();
    let access = Access::create(&config.api.folder)?;
    let server =
        api::Server::bind(&config, &store, Arc::clone(&board), &access, stop.clone()).await?;
    tracing::info!(address = %server.address(), "lockstep runs");
    tasks.spawn(named("api".to_owned(), server.serve(stop.clone())));
    for (system, entities) in plan.captures {
        let capture = Capture {
            open: {
                let (config, registry, system) =
                    (Arc::clone(&config), Arc::clone(&registry), system.clone());
                Box::new(move || {
                    let (config, registry, system) =
                        (Arc::clone(&config), Arc::clone(&registry), system.clone());
                    Box::pin(async move {
                        let (connector, settings) = of(&config, &system)?;
                        let cx = config.open_context(&system, Role::Source);
                        registry.get(connector)?.open_source(settings, cx).await
                    })
                })
            },
            system,
            entities,
            log: Arc::clone(&store.log),
            quarantine: Arc::clone(&store.quarantine),
            board: Arc::clone(&board),
        };
        let name = format!("capture of {}", capture.system);
        tasks.spawn(named(name, capture.run(stop.clone())));
    }
    for delivered in plan.deliveries {
        let delivery = Delivery {
            open: {
                let (config, registry, system) = (
                    Arc::clone(&config),
                    Arc::clone(&registry),
                    delivered.to.clone(),
                );
                Box::new(move || {
                    let (config, registry, system) =
                        (Arc::clone(&config), Arc::clone(&registry), system.clone());
                    Box::pin(async move {
                        let (connector, settings) = of(&config, &system)?;
                        let cx = config.open_context(&system, Role::Sink);
                        registry.get(connector)?.open_sink(settings, cx).await
                    })
                })
            },
            plan: delivered,
            log: Arc::clone(&store.log),
            quarantine: Arc::clone(&store.quarantine),
            board: Arc::clone(&board),
        };
        let name = format!("delivery of {} to {}", delivery.plan.flow, delivery.plan.to);
        tasks.spawn(named(name, delivery.run(stop.clone())));
    }
    let died = tokio::select! {
        () = stop.cancelled() => None,
        // Tasks end only when they are told to, or when they panic.
        ended = tasks.join_next() => match ended {
            Some(Err(error)) if error.is_panic() => Some(error),
            _ => {
                stop.cancelled().await;
                None
            }
        },
    };
    stop.cancel();
    tracing::info!("lockstep stops: finishing what is under way");
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        tracing::warn!(
            "some tasks did not end in time; what they had in hand is done again at the next start"
        );
        tasks.shutdown().await;
    }
    access.remove();
    store.close().await;
    tracing::info!("lockstep has stopped");
    match died {
        None => Ok(()),
        Some(error) => Err(Error::unexpected("a part of the runtime failed in a way it should not; what was under way is done again at the next start").because(error)),
    }
}

/// A task that says when it has ended, so that a stop that takes long can be explained.
async fn named(name: String, task: impl Future<Output = ()>) {
    task.await;
    tracing::debug!(name, "task ended");
}

fn of<'c>(
    config: &'c Config,
    system: &str,
) -> Result<(&'c str, lockstep_core::connector::RawConfig)> {
    let system = config
        .systems
        .get(system)
        .ok_or_else(|| Error::config(format!("no such system `{system}`")))?;
    Ok((&system.connector, system.settings.clone()))
}
