//! A run: the log, one capture per source system, one delivery per flow and target, the HTTP interface, and an orderly end.

use std::collections::BTreeSet;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use lockstep_core::connector::Registry;
use lockstep_core::error::{Error, Result};
use lockstep_core::schedule::Schedule;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::{self, Access, Hooks};
use crate::canary::{self, Canary};
use crate::capture::{Capture, OpenSource};
use crate::config::{self, Config, LogConfig, Mode, NatsConfig, Role};
use crate::control::{self, Backfills, Controls};
use crate::deliver::{Delivery, Together};
use crate::direct::Direct;
use crate::drift;
use crate::inbox::{self, Desk};
use crate::lease::{self, Holder, Leases};
use crate::links;
use crate::log::embedded::{Embedded, EmbeddedOptions};
use crate::log::nats::{Nats, NatsOptions, bucket_stream};
use crate::log::{self, Log, LogError, POSITIONS, SETTLED, StreamConfig};
use crate::plan::{self, Plan, Started};
use crate::quarantine::{self, Quarantine};
use crate::query;
use crate::rules::Watch;
use crate::status::{self, Board};
use crate::versions::{self, Kept, Versions};

mod part;

use part::{run_capture, run_delivery, run_together};

/// How long the tasks may take to end once the run is told to stop.
const GRACE: Duration = Duration::from_secs(20);
/// How long after a look at systems that are away the next one comes.
const LOOK_AGAIN: Duration = Duration::from_secs(3);
/// How long to wait for a log that another process holds: commands that look into it are quick, a runtime is not.
const LOOKER_GRACE: Duration = Duration::from_secs(2);

/// The buckets of targets' progress and of what was noted of streams.
const PROGRESS: &str = "LS_PROGRESS";
const INDEX: &str = "LS_INDEX";

/// An opened log with what is kept in it beside the changes.
pub struct Store {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Its quarantine.
    pub quarantine: Arc<Quarantine>,
    engine: Engine,
}

/// The engine under the log, for what only its owner does.
enum Engine {
    Embedded(Arc<Embedded>),
    Nats(Arc<Nats>),
}

impl Engine {
    /// Who only looks changes nothing there, whatever the configuration says by now.
    async fn open(config: &Config, looks: bool) -> Result<Engine, LogError> {
        let limits = if looks {
            Vec::new()
        } else {
            all_streams(config)
        };
        match &config.log {
            LogConfig::Embedded { path, .. } => {
                let options = EmbeddedOptions {
                    limits,
                    ..EmbeddedOptions::default()
                };
                take(path, &options).await.map(Engine::Embedded)
            }
            LogConfig::Nats(nats) => {
                let options = NatsOptions {
                    limits,
                    looks,
                    ..nats_options(nats)
                };
                Nats::open(options).await.map(Engine::Nats)
            }
        }
    }

    fn log(&self) -> Arc<dyn Log> {
        match self {
            Engine::Embedded(log) => Arc::clone(log) as Arc<dyn Log>,
            Engine::Nats(log) => Arc::clone(log) as Arc<dyn Log>,
        }
    }
}

/// How to reach the configured servers.
#[must_use]
pub fn nats_options(config: &NatsConfig) -> NatsOptions {
    NatsOptions {
        servers: config.servers.clone(),
        user: config.user.clone(),
        password: config.password.clone(),
        token: config.token.clone(),
        credentials: config.credentials.clone(),
        nkey: config.nkey.clone(),
        tls: config.tls.clone(),
        replicas: config.replicas,
        ..NatsOptions::default()
    }
}

/// The streams of a run: settled events, and the positions of sources.
#[must_use]
pub fn streams(log: &LogConfig) -> [StreamConfig; 2] {
    // Only the last position of a system matters; the others are for when somebody else publishes there.
    let positions = StreamConfig {
        max_per_subject: Some(8),
        ..stream(POSITIONS, "ls.pos.*")
    };
    [settled(log), positions]
}

/// Every stream that a run of this configuration keeps on servers, those under buckets included.
pub(crate) fn all_streams(config: &Config) -> Vec<StreamConfig> {
    let buckets = [
        quarantine::BUCKET,
        PROGRESS,
        INDEX,
        versions::CONTRACTS,
        versions::TABLES,
        control::BUCKET,
        canary::BUCKET,
    ];
    let mut all = Vec::from(streams(&config.log));
    all.extend(inbox::configured(config));
    all.extend([quarantine::stream(), lease::stream()]);
    all.extend(buckets.map(bucket_stream));
    all
}

fn settled(log: &LogConfig) -> StreamConfig {
    let max_age = log.max_age();
    let settled = stream(SETTLED, "ls.set.>");
    StreamConfig {
        max_age,
        max_bytes: log.max_bytes(),
        // Nothing is remembered for longer than it is kept.
        duplicate_window: max_age.map_or(settled.duplicate_window, |age| {
            age.min(settled.duplicate_window)
        }),
        ..settled
    }
}

fn stream(name: &str, subject: &str) -> StreamConfig {
    StreamConfig {
        name: name.to_owned(),
        subjects: vec![subject.to_owned()],
        max_age: None,
        max_bytes: None,
        max_per_subject: None,
        duplicate_window: Duration::from_secs(120),
    }
}

impl Store {
    /// Opens the log that the configuration names, and makes its streams.
    ///
    /// # Errors
    /// A log that is in use, damaged, out of reach, or cannot be written.
    pub async fn open(config: &Config) -> Result<Store> {
        let engine = Box::pin(Engine::open(config, false))
            .await
            .map_err(log::to_error)?;
        let log = engine.log();
        for config in &streams(&config.log) {
            log.ensure_stream(config).await.map_err(log::to_error)?;
        }
        Store::over(engine).await.map_err(log::to_error)
    }

    /// Opens the log to look into it; none where nothing ever ran. Settings and streams stay as they are.
    ///
    /// # Errors
    /// A log that is in use, damaged or out of reach.
    pub async fn look(config: &Config) -> Result<Option<Store>> {
        if let LogConfig::Embedded { path, .. } = &config.log
            && !path.exists()
        {
            return Ok(None);
        }
        let engine = Box::pin(Engine::open(config, true))
            .await
            .map_err(log::to_error)?;
        let log = engine.log();
        for declared in &streams(&config.log) {
            match log.stream(&declared.name).await {
                Ok(_) => {}
                Err(LogError::Missing { .. }) if config.log.is_shared() => return Ok(None),
                // A run that was cut short before it made them: the file is nobody else's.
                Err(LogError::Missing { .. }) => {
                    log.ensure_stream(declared).await.map_err(log::to_error)?;
                }
                Err(error) => return Err(log::to_error(error)),
            }
        }
        match Store::over(engine).await {
            Ok(store) => Ok(Some(store)),
            Err(LogError::Missing { .. }) => Ok(None),
            Err(error) => Err(log::to_error(error)),
        }
    }

    async fn over(engine: Engine) -> Result<Store, LogError> {
        let log = engine.log();
        let quarantine = Arc::new(Quarantine::over(Arc::clone(&log)).await?);
        Ok(Store {
            log,
            quarantine,
            engine,
        })
    }

    /// Writes down what is under way and closes the log.
    pub async fn close(self) {
        match self.engine {
            Engine::Embedded(engine) => {
                if let Err(error) = engine.close().await {
                    tracing::warn!(%error, "the log did not close cleanly; the next start looks it over");
                }
            }
            Engine::Nats(engine) => engine.close().await,
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
    let versions = Arc::new(enter_versions(&config, &store).await?);
    let mut tasks = JoinSet::new();
    let access = Access::create(&config.api.folder)?;
    let me = if config.log.is_shared() {
        Some(Holder::of(&config.api.folder)?)
    } else {
        None
    };
    let board = Arc::new(match &me {
        Some((me, _)) => Board::of(me.clone()),
        None => Board::default(),
    });
    let hooks = Hooks::new(
        Arc::clone(&config),
        Arc::clone(&registry),
        Arc::clone(&store.log),
    );
    let served = Arc::clone(&board);
    let server = api::Server::bind(&config, &store, served, &access, hooks, stop.clone()).await?;
    tracing::info!(address = %server.address(), "lockstep runs");
    tasks.spawn(named("api".to_owned(), server.serve(stop.clone())));
    inbox::ensure(&*store.log, &config).await?;
    let controls = Arc::new(Controls::open(&store.log).await?);
    let following = {
        let (controls, stop) = (Arc::clone(&controls), stop.clone());
        async move { controls.follow(&stop).await }
    };
    tasks.spawn(named("orders".to_owned(), following));
    let canary = Canary {
        config: Arc::clone(&config),
        registry: Arc::clone(&registry),
        log: Arc::clone(&store.log),
        board: Arc::clone(&board),
    };
    let marking = {
        let stop = stop.clone();
        async move { canary.run(&stop).await }
    };
    tasks.spawn(named("canary".to_owned(), Box::pin(marking)));
    let parts = Parts {
        controls: &controls,
        config: &config,
        registry: &registry,
        store: &store,
        board: &board,
        versions: &versions,
        running: Running::default(),
        direct: Direct::default(),
    };
    // A log that only one runtime can hold needs no leases.
    let leases = match &me {
        Some((me, _)) => {
            let all = Plan::parts_of(&config);
            Some(share(me, &store.log, &board, all, &stop, &mut tasks).await?)
        }
        None => None,
    };
    let mut starting = Starting {
        parts,
        leases,
        started: Started::default(),
    };
    starting.begin(plan, &mut tasks, &stop)?;
    let mut missing = pin!(missing(&config, &registry));
    let watch = Watch::new(&config, &registry, &store, &board);
    let mut watching = pin!(watch.run(&stop));
    starting.tell_missing();
    let mut failed = false;
    let died = loop {
        tokio::select! {
            () = stop.cancelled() => break None,
            () = &mut watching => break None,
            () = board.failed(), if config.drift_exit => {
                failed = true;
                break None;
            }
            found = &mut missing, if !starting.is_complete() => {
                starting.begin(found, &mut tasks, &stop)?;
                missing.set(self::missing(&config, &registry));
            }
            // Tasks end only when they are told to, when they panic, or when a policy says so.
            ended = tasks.join_next() => match ended {
                Some(Err(error)) if error.is_panic() => break Some(error),
                Some(_) if starting.nothing_runs() && !stop.is_cancelled() => {
                    failed = true;
                    break None;
                }
                Some(_) => {}
                None => {
                    stop.cancelled().await;
                    break None;
                }
            },
        }
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
        None if failed && config.drift_exit => {
            Err(drift::failed("a flow ended, and the run with it"))
        }
        None if failed => Err(drift::failed("nothing is left to run")),
        None if board.has_failed() => Err(drift::failed("a flow ended before the stop")),
        None => Ok(()),
        Some(error) => Err(Error::unexpected("a part of the runtime failed in a way it should not; what was under way is done again at the next start").because(error)),
    }
}

/// Looks, after a while, what a configuration amounts to by now.
async fn missing(config: &Config, registry: &Registry) -> Plan {
    tokio::time::sleep(LOOK_AGAIN).await;
    Plan::of(config, &config::preflight(config, registry).await)
}

/// Begins captures and deliveries, now and when what they need comes back.
struct Starting<'a> {
    parts: Parts<'a>,
    leases: Option<Leases>,
    started: Started,
}

impl Starting<'_> {
    /// Begins what does not run yet.
    fn begin(
        &mut self,
        plan: Plan,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> Result<()> {
        let mut plan = plan.without(&self.started);
        for members in plan.take_whole(self.parts.config) {
            self.started.add_whole(&members);
            let tables: BTreeSet<String> = members.iter().map(table).collect();
            let members = members
                .into_iter()
                .map(|member| self.parts.delivery(member, &tables));
            let pair = Together {
                members: members.collect(),
            };
            let task = Box::pin(run_together(pair, self.leases.clone(), stop.clone()));
            let part = self.parts.running.begin();
            tasks.spawn(async move {
                named("delivery of whole transactions".to_owned(), task).await;
                drop(part);
            });
        }
        self.started.add(&plan);
        for (system, entities) in plan.captures {
            let capture = self.parts.capture(system, entities)?;
            let name = format!("capture of {}", capture.system);
            let controls = Arc::clone(self.parts.controls);
            let leases = self.leases.clone();
            let task = Box::pin(run_capture(capture, controls, leases, stop.clone()));
            let part = self.parts.running.begin();
            tasks.spawn(async move {
                named(name, task).await;
                drop(part);
            });
        }
        for delivered in plan.deliveries {
            let tables = BTreeSet::from([table(&delivered)]);
            let delivery = self.parts.delivery(delivered, &tables);
            let name = format!("delivery of {} to {}", delivery.plan.flow, delivery.plan.to);
            let task = Box::pin(run_delivery(delivery, self.leases.clone(), stop.clone()));
            let part = self.parts.running.begin();
            tasks.spawn(async move {
                named(name, task).await;
                drop(part);
            });
        }
        Ok(())
    }

    /// Whether everything that was begun has ended, because a policy said so.
    fn nothing_runs(&self) -> bool {
        self.started.parts() > 0 && self.parts.running.is_none()
    }

    /// Whether everything that is configured runs.
    fn is_complete(&self) -> bool {
        self.started.parts() >= Plan::parts_of(self.parts.config)
    }

    /// Shows the flows that cannot run yet.
    fn tell_missing(&self) {
        let error =
            Error::transient("a system of this flow was away or unfit when lockstep started")
                .help("`lockstep check` says which; the flow starts by itself once it is back");
        for flow in self.parts.config.flows.values() {
            for to in &flow.to {
                if !self.started.delivers(&flow.name, to) {
                    let board = self.parts.board;
                    board.flow(&flow.name, to, &flow.entity, &flow.from);
                    board.flow_failed(&flow.name, to, &error, false);
                    tracing::warn!(
                        flow = flow.name,
                        to,
                        "not started yet: a system is away or unfit"
                    );
                }
            }
        }
    }
}

/// Begins what the runtimes of one log do for each other, and gives the leases of this one.
async fn share(
    me: &Holder,
    log: &Arc<dyn Log>,
    board: &Arc<Board>,
    parts: usize,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<Leases> {
    lease::ensure(&**log).await?;
    let leases = Leases::new(Arc::clone(log), me.clone());
    let answering = {
        let (log, board, stop) = (Arc::clone(log), Arc::clone(board), stop.clone());
        async move { status::answer(&*log, &board, &stop).await }
    };
    tasks.spawn(named("status for others".to_owned(), answering));
    let spreading = {
        let (leases, stop) = (leases.clone(), stop.clone());
        async move { leases.spread(parts, &stop).await }
    };
    tasks.spawn(named("sharing of the work".to_owned(), spreading));
    Ok(leases)
}

/// How many captures and deliveries run.
#[derive(Clone, Debug, Default)]
struct Running(Arc<()>);

impl Running {
    /// Something runs until what this gives is dropped.
    fn begin(&self) -> Arc<()> {
        Arc::clone(&self.0)
    }

    fn is_none(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// Writes the versions of the contracts that are about to run.
async fn enter_versions(config: &Config, store: &Store) -> Result<Versions> {
    let versions = Versions::open(&*store.log).await?;
    if versions.known().is_news(config) {
        return Err(
            Error::transient("columns were taken along that this start has not heard of")
                .help("start again: the log could not be looked at before"),
        );
    }
    let used: BTreeSet<&String> = config.flows.values().map(|flow| &flow.entity).collect();
    for entity in used {
        let Some(contract) = config.contracts.get(entity) else {
            continue;
        };
        let mut kept = Kept::of(Arc::clone(contract));
        kept.taken = config.taken.get(entity).cloned().unwrap_or_default();
        versions.enter(kept).await?;
        // Events and targets may be on a version that never ran here.
        for released in config.released.get(entity).into_iter().flatten() {
            versions.enter_released(released).await?;
        }
    }
    Ok(versions)
}

/// What captures and deliveries are made from.
struct Parts<'a> {
    controls: &'a Arc<Controls>,
    config: &'a Arc<Config>,
    registry: &'a Arc<Registry>,
    store: &'a Store,
    board: &'a Arc<Board>,
    versions: &'a Arc<Versions>,
    running: Running,
    direct: Direct,
}

impl Parts<'_> {
    fn capture(&self, system: String, entities: Vec<plan::Captured>) -> Result<Capture> {
        let log = &self.store.log;
        let known = self.config.systems.get(&system);
        let (open, desk) = match known.filter(|known| known.is_inbox()) {
            Some(known) => {
                let desk = Arc::new(Desk::new(Arc::clone(log)));
                let contracts = entities.iter().map(|captured| &captured.contract);
                let contracts =
                    contracts.map(|contract| (contract.entity.clone(), Arc::clone(contract)));
                let open = inbox::opener(known, contracts.collect(), log, &desk)?;
                (open, Some(desk))
            }
            None => {
                let mut names = query::Names::new();
                for captured in &entities {
                    let of = names.entry(captured.mapping.table.clone()).or_default();
                    of.extend(captured.read.naming_columns());
                }
                (self.source(system.clone(), names), None)
            }
        };
        Ok(Capture {
            backfills: Backfills::of(self.controls, &system),
            open,
            system,
            entities,
            log: Arc::clone(log),
            quarantine: Arc::clone(&self.store.quarantine),
            board: Arc::clone(self.board),
            versions: Arc::clone(self.versions),
            look_every: self.config.drift_every,
            desk,
            direct: self.direct.clone(),
        })
    }

    /// Opens a system for the tables that are planned: a run without some flows does not ask for theirs.
    fn source(&self, system: String, names: query::Names) -> OpenSource {
        let (config, registry) = (Arc::clone(self.config), Arc::clone(self.registry));
        let (log, names) = (Arc::clone(&self.store.log), Arc::new(names));
        Box::new(move |only| {
            let (config, registry, system) =
                (Arc::clone(&config), Arc::clone(&registry), system.clone());
            let (log, names) = (Arc::clone(&log), Arc::clone(&names));
            let tables = only.unwrap_or_else(|| names.keys().cloned().collect());
            Box::pin(async move {
                let mut cx = config.open_context(&system, Role::Source);
                cx.tables.retain(|table| tables.contains(table));
                query::open_source(&config, &registry, cx, &names, Some(&log)).await
            })
        })
    }

    /// A delivery whose target is opened for these tables: what becomes of others is no business of it.
    fn delivery(&self, delivered: plan::Delivered, tables: &BTreeSet<String>) -> Delivery {
        let (config, registry) = (Arc::clone(self.config), Arc::clone(self.registry));
        let (to, tables) = (delivered.to.clone(), tables.clone());
        let log = Arc::clone(&self.store.log);
        // Who knows only how often begins with what is there; who knows the time waits for it.
        let starts_at_once = matches!(delivered.mode, Mode::Scheduled(Schedule::Every(_)));
        Delivery {
            open: Box::new(move || {
                let (config, registry, system) =
                    (Arc::clone(&config), Arc::clone(&registry), to.clone());
                let (tables, log) = (tables.clone(), Arc::clone(&log));
                Box::pin(async move {
                    let mut cx = config.open_context(&system, Role::Sink);
                    cx.tables.retain(|table| tables.contains(table));
                    links::open_sink(&config, &registry, cx, Some(&log)).await
                })
            }),
            plan: delivered,
            log: Arc::clone(&self.store.log),
            quarantine: Arc::clone(&self.store.quarantine),
            board: Arc::clone(self.board),
            versions: Arc::clone(self.versions),
            controls: Arc::clone(self.controls),
            owes: AtomicBool::new(starts_at_once),
            look_every: self.config.drift_every,
            direct: self.direct.clone(),
        }
    }
}

/// The table that a delivery writes.
fn table(delivered: &plan::Delivered) -> String {
    delivered.mapping.table.clone()
}

/// A task that says when it has ended, so that a stop that takes long can be explained.
async fn named(name: String, task: impl Future<Output = ()>) {
    task.await;
    tracing::debug!(name, "task ended");
}
