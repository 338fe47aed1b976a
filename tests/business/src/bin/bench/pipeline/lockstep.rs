//! Lockstep between the two databases, over one of its logs.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use lockstep_servers::{nats, wait};
use tempfile::TempDir;

use super::Drain;
use super::databases::{Backlog, Databases, Meter, PUBLICATION, SHOP};
use crate::process::{Runtime, peak_mb};
use crate::report::Figures;

/// The contract of the table: ten fields of every common kind.
pub(super) const CONTRACT: &str = include_str!("../sale.odcs.yaml");

/// The fields, which the columns are named after.
pub(super) const FIELDS: [&str; 10] = [
    "id",
    "customer",
    "product",
    "quantity",
    "price",
    "status",
    "note",
    "sold_on",
    "changed_at",
    "revision",
];

/// What the one who holds a target back calls himself.
const HOLDER: &str = "bench-holder";

/// A log of Lockstep's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Log {
    /// The one in a file
    Embedded,
    /// NATS JetStream, every message synced to disk
    Nats,
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Log::Embedded => "embedded",
            Log::Nats => "nats",
        })
    }
}

/// What makes a configuration another one than the next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Variant {
    /// What its names end with.
    pub(super) name: &'static str,
    /// Further settings of the source.
    pub(super) source: &'static str,
    /// Further settings of the flow.
    pub(super) flow: &'static str,
}

/// A configuration of Lockstep and everything of its own that it needs.
pub(super) struct Pipeline {
    log: Log,
    binary: PathBuf,
    folder: TempDir,
    nats: Option<nats::Server>,
    variant: Variant,
}

impl Pipeline {
    /// Makes the target and loads it with what the source holds; gives what that took.
    pub(super) fn create(
        databases: &Databases,
        log: Log,
        binary: &Path,
        variant: Variant,
    ) -> Result<(Pipeline, Drain)> {
        let pipeline = Pipeline {
            log,
            binary: binary
                .canonicalize()
                .with_context(|| format!("no runtime at `{}`", binary.display()))?,
            folder: tempfile::tempdir()?,
            nats: match log {
                Log::Embedded => None,
                Log::Nats => Some(nats::Server::launch(&nats::Options::default())?),
            },
            variant,
        };
        databases.target(&pipeline.target())?;
        pipeline.configure(databases)?;
        let rows = databases.rows()?;
        let (mut runtime, meter) = pipeline.start_metered(databases)?;
        let drain = pipeline.measured(rows, &mut runtime, &meter, || {
            databases.until_loaded(&pipeline.target())
        })?;
        databases.compare(&pipeline.target())?;
        runtime.stop()?;
        Ok((pipeline, drain))
    }

    /// Forgets the target.
    pub(super) fn remove(self, databases: &Databases) -> Result<()> {
        databases.drop_target(&self.target())
    }

    /// How long a large transaction takes from its commit until the log has all of it, beside the rows it had.
    pub(super) fn take_at_once(&self, databases: &Databases, rows: u64) -> Result<Drain> {
        let target = self.target();
        let mut runtime = self.start()?;
        self.watch(&mut runtime, || databases.until_loaded(&target))?;
        let within = databases.change_at_once(rows)?;
        let meter = Meter::start(databases, &self.servers())?;
        let drain = self.measured(rows, &mut runtime, &meter, || {
            databases.until_confirmed(&target, &within)
        })?;
        runtime.stop()?;
        Ok(drain)
    }

    pub(super) fn log(&self) -> Log {
        self.log
    }

    /// The target's database, and the source's slot.
    pub(super) fn target(&self) -> String {
        format!("lockstep_{}{}", self.log, self.variant.name)
    }

    fn configure(&self, databases: &Databases) -> Result<()> {
        let folder = self.folder.path();
        fs::create_dir_all(folder.join("contracts"))?;
        fs::write(folder.join("contracts/sale.odcs.yaml"), CONTRACT)?;
        let fields = FIELDS
            .map(|field| format!("{field} = \"{field}\"\n"))
            .concat();
        let log = match &self.nats {
            None => "engine = \"embedded\"\npath = \"lockstep.log\"\n".to_owned(),
            Some(server) => format!("engine = \"nats\"\nservers = [\"{}\"]\n", server.url()),
        };
        let target = self.target();
        let Variant { source, flow, .. } = self.variant;
        let (source_url, target_url) = (
            databases.source().url(SHOP),
            databases.destination().url(&target),
        );
        fs::write(
            folder.join("lockstep.toml"),
            format!(
                "contracts = \"contracts\"\n\n[log]\n{log}\n\
                 [systems.shop]\nconnector = \"postgres\"\nurl = \"{source_url}\"\n\
                 slot = \"{target}\"\npublication = \"{PUBLICATION}\"\n{source}\
                 [systems.shop.map.sale]\ntable = \"sales\"\n[systems.shop.map.sale.fields]\n{fields}\n\
                 [systems.{target}]\nconnector = \"postgres\"\nurl = \"{target_url}\"\n\
                 [systems.{target}.map.sale]\ntable = \"sales\"\n[systems.{target}.map.sale.fields]\n{fields}\n\
                 [flows.sales]\nentity = \"sale\"\nfrom = \"shop\"\nto = [\"{target}\"]\n{flow}"
            ),
        )
        .context("cannot write the configuration")
    }

    /// Starts the runtime.
    pub(super) fn start(&self) -> Result<Runtime> {
        Runtime::start(&self.binary, self.folder.path())
    }

    /// Reads a backlog into the log while the target is held back; then lets it through, to see that the log had all of it.
    pub(super) fn capture(
        &self,
        databases: &Databases,
        backlog: &Backlog,
        peaks_mb: &mut Figures,
    ) -> Result<Drain> {
        let target = self.target();
        thread::scope(|scope| {
            // Whoever writes into the table waits for this transaction, whoever reads does not.
            let holder = scope.spawn(|| {
                let hold = format!(
                    "SET application_name = '{HOLDER}'; BEGIN; LOCK TABLE sales IN EXCLUSIVE MODE; SELECT pg_sleep(3600)"
                );
                databases.destination().sql(&target, &hold)
            });
            let captured = self.until_held(databases).and_then(|()| {
                let (mut runtime, meter) = self.start_metered(databases)?;
                let drain = self.measured(backlog.changes, &mut runtime, &meter, || {
                    databases.until_confirmed(&target, &backlog.within_last)
                })?;
                Ok((runtime, drain))
            });
            databases.destination().sql(
                &target,
                &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{HOLDER}'"),
            )?;
            // It ends with an error, because it was ended.
            let _ = holder.join();
            let (mut runtime, drain) = captured?;
            self.watch(&mut runtime, || databases.until_applied(&target, backlog))?;
            self.end(databases, runtime, peaks_mb)?;
            Ok(drain)
        })
    }

    fn until_held(&self, databases: &Databases) -> Result<()> {
        let held = format!(
            "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
             WHERE a.application_name = '{HOLDER}' AND l.mode = 'ExclusiveLock' AND l.locktype = 'relation' AND l.granted"
        );
        wait::until("the lock on the target", Duration::from_secs(20), || {
            let count = databases.destination().sql(&self.target(), &held)?;
            Ok((count != "0").then_some(()))
        })
    }

    /// Carries a backlog from database to database.
    pub(super) fn carry(
        &self,
        databases: &Databases,
        backlog: &Backlog,
        peaks_mb: &mut Figures,
    ) -> Result<Drain> {
        let (mut runtime, meter) = self.start_metered(databases)?;
        let drain = self.measured(backlog.changes, &mut runtime, &meter, || {
            databases.until_applied(&self.target(), backlog)
        })?;
        self.end(databases, runtime, peaks_mb)?;
        Ok(drain)
    }

    /// Starts the runtime, and begins to count once it reads its slot.
    fn start_metered(&self, databases: &Databases) -> Result<(Runtime, Meter)> {
        let target = self.target();
        Meter::once_read(databases, &target, &self.servers(), || self.start())
    }

    /// Whatever else takes part.
    fn servers(&self) -> Vec<(&'static str, Option<u32>)> {
        let nats = self.nats.as_ref().map(|nats| ("nats_server", nats.pid()));
        nats.into_iter().collect()
    }

    /// Counts until something is done. All that the runtime used counts, its start included.
    fn measured(
        &self,
        rows: u64,
        runtime: &mut Runtime,
        meter: &Meter,
        done: impl FnOnce() -> Result<()> + Send,
    ) -> Result<Drain> {
        self.watch(runtime, done)?;
        let mut drain = meter.stop(rows)?;
        drain.cpu_s.insert("lockstep".to_owned(), runtime.cpu_s()?);
        Ok(drain)
    }

    /// Waits for something, and fails at once when the runtime ends before.
    pub(super) fn watch(
        &self,
        runtime: &mut Runtime,
        done: impl FnOnce() -> Result<()> + Send,
    ) -> Result<()> {
        thread::scope(|scope| {
            let waiting = scope.spawn(done);
            while !waiting.is_finished() {
                runtime.alive()?;
                thread::sleep(Duration::from_millis(2));
            }
            let waited = waiting.join().map_err(|_| anyhow!("waiting panicked"))?;
            waited.with_context(|| format!("the runtime said:\n{}", runtime.log()))
        })
    }

    fn end(&self, databases: &Databases, runtime: Runtime, peaks_mb: &mut Figures) -> Result<()> {
        let mut keep = |name: String, peak: f64| {
            let most = peaks_mb.entry(name).or_default();
            *most = most.max(peak);
        };
        keep(format!("lockstep_{}", self.log), runtime.peak_mb()?);
        if let Some(pid) = self.nats.as_ref().and_then(nats::Server::pid) {
            keep("nats_server".to_owned(), peak_mb(pid)?);
        }
        // Before the stop: what is still in the log then stays there.
        databases.compare(&self.target())?;
        runtime.stop()
    }
}
