//! A stage: a folder with four systems and a configuration, and a runtime that can be started, killed and judged.
//!
//! ```no_run
//! # use lockstep_business::{Setup, Stage};
//! # use std::time::Duration;
//! # fn main() -> anyhow::Result<()> {
//! # let contracts = Vec::new();
//! let folder = tempfile::tempdir()?;
//! let mut stage = Stage::create(folder.path(), &Setup::new(1, contracts)?.customers(60))?;
//! stage.start()?;
//! stage.wait_idle(Duration::from_secs(60))?;
//! stage.edit(300, 7)?;
//! stage.kill()?;
//! stage.start()?;
//! stage.settle(Duration::from_secs(60))?;
//! assert!(stage.report()?.converged);
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::configuration::configuration;
use crate::editor::{Pace, edit};
use crate::journal::now_ms;
use crate::oracle::{self, Judgement, Outage};
use crate::quarantine::{self, Entries};
use crate::report::Report;
use crate::runtime::{self, FlowStatus, Lockstep, Runtime, Status};
use crate::servers::{Servers, Victim};
use crate::setup::{NOTE, Note, Setup};
use crate::systems;
use crate::world::World;

/// How often the state is looked at while waiting.
const POLL: Duration = Duration::from_millis(200);
/// How long a runtime may take until it answers.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// A folder with four systems, and the runtime that keeps them in step.
#[derive(Debug)]
pub struct Stage {
    folder: PathBuf,
    world: World,
    lockstep: Lockstep,
    runtime: Option<Runtime>,
    servers: Servers,
    grace: Duration,
    /// What is down at the moment, and since when.
    down: BTreeMap<Victim, i64>,
    outages: Vec<Outage>,
    kills: u64,
    begun: Instant,
    stop: Arc<AtomicBool>,
}

impl Stage {
    /// Creates systems, configuration and contracts in a folder, which is made if need be and must hold no stage yet.
    ///
    /// # Errors
    /// The folder cannot be written, or holds a system already.
    pub fn create(folder: &Path, setup: &Setup) -> Result<Stage> {
        Stage::create_on(folder, setup, Servers::default())
    }

    /// The same with log and systems on servers, which the stage owns from then on.
    ///
    /// # Errors
    /// See [`Stage::create`]; or a server refuses.
    pub fn create_on(folder: &Path, setup: &Setup, servers: Servers) -> Result<Stage> {
        let begun = Instant::now();
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create `{}`", folder.display()))?;
        let folder = folder.canonicalize()?;
        let note = Note {
            seed: setup.seed,
            customers: setup.customers,
        };
        let world = note.world()?;
        servers.prepare(&folder)?;
        systems::create(&folder, &world)?;
        fs::write(folder.join(NOTE), serde_json::to_string(&note)?)?;
        let configuration = configuration(&folder, &servers.log())?;
        fs::write(folder.join("lockstep.toml"), configuration)?;
        for (entity, yaml) in &setup.contracts {
            let own = folder.join("contracts").join(entity);
            fs::create_dir_all(&own)?;
            fs::write(own.join(format!("{entity}.odcs.yaml")), yaml)?;
        }
        Ok(Stage {
            lockstep: Lockstep::new(&setup.lockstep, &folder),
            folder,
            world,
            runtime: None,
            servers,
            grace: setup.grace,
            down: BTreeMap::new(),
            outages: Vec::new(),
            kills: 0,
            begun,
            stop: Arc::default(),
        })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the systems held at the beginning.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The runtime's command line.
    #[must_use]
    pub fn lockstep(&self) -> &Lockstep {
        &self.lockstep
    }

    /// Set it to true, from a signal handler's thread for instance, and every wait ends with an error.
    #[must_use]
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// How often anything was killed.
    #[must_use]
    pub fn kills(&self) -> u64 {
        self.kills
    }

    /// How long ago the stage was begun.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Runs `lockstep check`.
    ///
    /// # Errors
    /// It found something, or could not run; the message is what it said.
    pub fn check(&self) -> Result<()> {
        let answer = self.lockstep.ask(&["check"])?;
        ensure!(
            answer.code == Some(0),
            "`lockstep check` ended with {}:\n{}{}",
            answer.told_code(),
            answer.stdout,
            answer.stderr
        );
        Ok(())
    }

    /// Starts the runtime and waits until it answers.
    ///
    /// # Errors
    /// It cannot be started, ends by itself, or does not answer within a minute.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.runtime.is_none(), "the runtime is running already");
        self.runtime = Some(self.lockstep.run()?);
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            self.look()?;
            match self.lockstep.status() {
                Ok(status) if status.running && !status.flows.is_empty() => break,
                answer if Instant::now() > deadline => {
                    let why = answer.err().map_or_else(
                        || "its flows do not begin".to_owned(),
                        |error| format!("{error:#}"),
                    );
                    return Err(self.explain(&format!("the runtime does not answer: {why}")));
                }
                _ => sleep(POLL),
            }
        }
        self.is_back(Victim::Runtime);
        Ok(())
    }

    /// Kills the runtime without a warning.
    ///
    /// # Errors
    /// It does not run, or cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        let mut runtime = self.runtime.take().context("no runtime is running")?;
        self.is_down(Victim::Runtime);
        runtime.kill()
    }

    /// Kills the runtime, or the server under the log or under a system, without a warning.
    ///
    /// # Errors
    /// There is no such server, or it cannot be killed.
    pub fn kill_one(&mut self, victim: Victim) -> Result<()> {
        if victim == Victim::Runtime {
            return self.kill();
        }
        self.servers.kill(victim)?;
        self.is_down(victim);
        Ok(())
    }

    /// Starts what was killed again: the runtime as [`Stage::start`] does; a server on its old port and data, and waits until no flow stands still for it, as long as that may take.
    ///
    /// # Errors
    /// It does not start, or the runtime ends meanwhile.
    pub fn restart_one(&mut self, victim: Victim) -> Result<()> {
        if victim == Victim::Runtime {
            return self.start();
        }
        self.servers.restart(victim)?;
        let end = Instant::now() + START_DEADLINE;
        while self.runtime.is_some() && Instant::now() < end {
            self.look()?;
            let status = self.lockstep.status();
            let moves = |flow: &FlowStatus| matches!(flow.state.as_str(), "idle" | "behind");
            if status.is_ok_and(|status| status.flows.iter().all(moves)) {
                break;
            }
            sleep(POLL);
        }
        self.is_back(victim);
        Ok(())
    }

    /// Everything that can be killed, the runtime first.
    #[must_use]
    pub fn victims(&self) -> Vec<Victim> {
        self.servers.victims()
    }

    /// The servers.
    #[must_use]
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    fn is_down(&mut self, victim: Victim) {
        self.down.entry(victim).or_insert_with(now_ms);
        self.kills += 1;
    }

    fn is_back(&mut self, victim: Victim) {
        let outage = self.down.remove(&victim).map(|from_ms| Outage {
            from_ms,
            to_ms: now_ms(),
        });
        self.outages.extend(outage);
    }

    /// Edits the systems from this process, as fast as the disk allows, and says how many edits it made.
    ///
    /// # Errors
    /// The systems cannot be written.
    pub fn edit(&self, edits: u64, seed: u64) -> Result<u64> {
        let pace = Pace {
            edits,
            seed,
            per_second: None,
        };
        edit(&self.folder, &self.world, pace, &mut |_| !self.stopped())
    }

    /// Waits until every flow is idle.
    ///
    /// # Errors
    /// The deadline passes (the message says what the flows are at), the runtime ends, or the stage is stopped.
    pub fn wait_idle(&mut self, deadline: Duration) -> Result<()> {
        self.wait_idle_with(deadline, &mut |_| {})
    }

    /// The same, telling `seen` each status on the way.
    ///
    /// # Errors
    /// See [`Stage::wait_idle`].
    pub fn wait_idle_with(
        &mut self,
        deadline: Duration,
        seen: &mut dyn FnMut(&Status),
    ) -> Result<()> {
        let end = Instant::now() + deadline;
        loop {
            self.look()?;
            let status = self.lockstep.status();
            if let Ok(status) = &status {
                seen(status);
                if !status.flows.is_empty() && status.flows.iter().all(|flow| flow.state == "idle")
                {
                    return Ok(());
                }
            }
            if Instant::now() > end {
                let told = match status {
                    Ok(status) => busy(&status),
                    Err(error) => format!("{error:#}"),
                };
                let seconds = deadline.as_secs();
                return Err(self.explain(&format!("not idle after {seconds} s: {told}")));
            }
            sleep(POLL);
        }
    }

    /// Waits until every flow is idle and every target right; returns without complaint where idle flows stay wrong, because judging that is the oracle's business.
    ///
    /// # Errors
    /// See [`Stage::wait_idle`].
    pub fn settle(&mut self, deadline: Duration) -> Result<()> {
        self.settle_with(deadline, &mut |_| {})
    }

    /// The same, telling `seen` each status on the way.
    ///
    /// # Errors
    /// See [`Stage::wait_idle`].
    pub fn settle_with(&mut self, deadline: Duration, seen: &mut dyn FnMut(&Status)) -> Result<()> {
        let end = Instant::now() + deadline;
        let mut idle_since = None;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            self.wait_idle_with(left, seen)?;
            let since = *idle_since.get_or_insert_with(Instant::now);
            if oracle::differences(&self.folder, &self.world)? == 0 {
                return Ok(());
            }
            if since.elapsed() > self.grace.min(deadline) {
                return Ok(());
            }
            sleep(POLL);
        }
    }

    /// The answer of `lockstep verify --json`.
    ///
    /// # Errors
    /// The command failed.
    pub fn verify(&self) -> Result<Value> {
        self.lockstep.ask_json(&["verify"])
    }

    /// The open entries of the quarantine.
    ///
    /// # Errors
    /// The command failed, or answers in an unknown shape.
    pub fn quarantine(&self) -> Result<Entries> {
        quarantine::read(&self.lockstep.ask_json(&["quarantine", "list"])?)
    }

    /// What the oracle says.
    ///
    /// # Errors
    /// A database or the journal cannot be read.
    pub fn judge(&self) -> Result<Judgement> {
        let mut outages = self.outages.clone();
        outages.extend(self.down.values().map(|from_ms| Outage {
            from_ms: *from_ms,
            to_ms: i64::MAX,
        }));
        oracle::judge(&self.folder, &self.world, &outages)
    }

    /// Everything together: the oracle, the quarantine against the records that are broken, and the runtime's own verification.
    ///
    /// # Errors
    /// A database or the journal cannot be read.
    pub fn report(&self) -> Result<Report> {
        let judgement = self.judge()?;
        let mut reproaches = Vec::new();
        match self.verify() {
            Ok(answer) if answer.get("equal") == Some(&Value::Bool(true)) => {}
            Ok(answer) => reproaches.push(unequal(&answer)),
            Err(error) => reproaches.push(format!("{error:#}")),
        }
        let quarantine = self.quarantine().unwrap_or_else(|error| {
            reproaches.push(format!("{error:#}"));
            Entries::new()
        });
        let broken = judgement.broken.iter();
        let expected = broken
            .map(|(entity, key)| (entity.name().to_owned(), key.clone()))
            .collect();
        reproaches.extend(quarantine::compare(&expected, &quarantine));
        Ok(Report::of(
            &self.folder,
            &judgement,
            &quarantine,
            reproaches,
            self.kills,
            self.elapsed(),
        ))
    }

    /// The runtime's process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.runtime.as_ref().and_then(Runtime::id)
    }

    /// Lets the runtime run on.
    pub fn release(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.release();
        }
    }

    /// Makes sure that nobody asked to stop and that the runtime, where one should, still runs.
    ///
    /// # Errors
    /// One of the two.
    pub fn look(&mut self) -> Result<()> {
        ensure!(!self.stopped(), "interrupted");
        if let Some(runtime) = &mut self.runtime
            && let Err(error) = runtime.alive()
        {
            return Err(self.explain(&error.to_string()));
        }
        Ok(())
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// An error with the end of the runtime's log.
    fn explain(&self, what: &str) -> anyhow::Error {
        let log = self.lockstep.log();
        anyhow::anyhow!(
            "{what}\n--- the end of {} ---\n{}",
            log.display(),
            runtime::tail(&log)
        )
    }
}

fn busy(status: &Status) -> String {
    let busy = status.flows.iter().filter(|flow| flow.state != "idle");
    let told: Vec<String> = busy.map(FlowStatus::told).collect();
    told.join(", ")
}

/// The pairs of a verification that are not equal, in words.
fn unequal(answer: &Value) -> String {
    let pairs = answer.get("pairs").and_then(Value::as_array);
    let number = |pair: &Value, field: &str| pair.get(field).and_then(Value::as_u64).unwrap_or(0);
    let told: Vec<String> = pairs
        .into_iter()
        .flatten()
        .filter(|pair| {
            ["missing", "extra", "different"]
                .iter()
                .any(|field| number(pair, field) > 0)
        })
        .map(|pair| {
            let name = |field: &str| {
                pair.get(field)
                    .map_or_else(String::new, crate::record::plain)
            };
            format!(
                "{} {} ↔ {}: {} missing, {} extra, {} different",
                name("entity"),
                name("left"),
                name("right"),
                number(pair, "missing"),
                number(pair, "extra"),
                number(pair, "different")
            )
        })
        .collect();
    format!("`lockstep verify` finds differences: {}", told.join(", "))
}
