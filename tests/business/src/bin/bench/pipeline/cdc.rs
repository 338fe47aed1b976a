//! Change data capture at three sizes of transactions, snapshots, one large transaction, and latency: everything beside a limit of the same run.
//!
//! Limits and Lockstep take turns, and which of them is first alternates from run to run.
//! `pg_recvlogical` reads each backlog twice: by how much the two differ is the noise that every ratio has.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::databases::{Backlog, Databases};
use super::limits::{self, Native};
use super::lockstep::{Log, Pipeline, Variant};
use super::{Drain, Run, latency, others, summary};
use crate::report::Report;
use crate::say;

/// Rows a transaction of the backlogs that are captured.
const SIZES: [u64; 3] = [1, 10, 100];
/// Rows a transaction of the backlogs that are carried from database to database, and what ends the name of each ratio.
const CARRIED: [(u64, &str); 2] = [(1, "_1"), (100, "")];
/// What is better lower.
const LOWER_IS_BETTER: [&str; 3] = [
    "big_transaction_v2_vs_v1",
    "snapshot_us_per_row",
    "snapshot_direct_us_per_row",
];
/// The log of everything that is measured over one log only.
const LOG: Log = Log::Nats;

/// How to measure.
#[derive(clap::Args)]
#[group(id = "cdc")]
pub(in super::super) struct Options {
    #[command(flatten)]
    pub(in super::super) pipeline: super::Options,
    /// Rows of the one large transaction; 0 leaves it out
    #[arg(long, default_value_t = 200_000)]
    large: u64,
    /// Leave the captures of other systems out
    #[arg(long)]
    no_others: bool,
    /// Leave snapshots out
    #[arg(long)]
    no_snapshot: bool,
    /// Measure snapshots and nothing else
    #[arg(long, conflicts_with = "no_snapshot")]
    only_snapshot: bool,
    /// Rows of the table that snapshots copy
    #[arg(long, default_value_t = 500_000)]
    snapshot_rows: u64,
    /// Where all figures of all runs go; beside this program unless said
    #[arg(long)]
    raw: Option<PathBuf>,
}

/// Measures as often as asked, keeps the raw figures and gives the medians.
pub(in super::super) fn measure(options: &Options) -> Result<Report> {
    let shared = &options.pipeline;
    let count = shared.common.runs.max(1);
    let copied = if options.no_snapshot {
        (0..count).map(|_| Run::default()).collect()
    } else {
        snapshots(options)?
    };
    if options.only_snapshot {
        return finished(options, summary("cdc", &copied));
    }
    say("starting two PostgreSQL clusters");
    let databases = Databases::start(shared.rows)?;
    let native = Native::create(&databases)?;
    let binary = &shared.common.lockstep;
    let mut pipelines = Vec::new();
    for &log in &shared.logs {
        say(&format!(
            "{} rows to begin with, over the {log} log",
            shared.rows
        ));
        pipelines.push(Pipeline::create(&databases, log, binary, Variant::default())?.0);
    }
    let mut bench = Bench {
        options,
        databases: &databases,
        native: &native,
        pipelines: &pipelines,
        first: true,
        run: Run::default(),
    };
    let mut runs = Vec::new();
    for (at, run) in (1..).zip(copied) {
        say(&format!("run {at} of {count}"));
        bench.run = run;
        bench.measure()?;
        bench.first = !bench.first;
        runs.push(std::mem::take(&mut bench.run));
    }
    let mut latency_ms = BTreeMap::new();
    if shared.latency_seconds > 0 {
        say("latency");
        let over = pipelines.iter().find(|pipeline| pipeline.log() == LOG);
        let over = over.or(pipelines.last());
        latency_ms = latency::measure(shared, &databases, &native, over)?;
    }
    // Last, because every slot that is there has to read it, too.
    for run in runs.iter_mut().filter(|_| options.large > 0) {
        std::mem::swap(&mut bench.run, run);
        if let Err(error) = bench.large() {
            // Everything else is measured by now, and worth being told.
            say(&format!(
                "the large transaction cannot be measured: {error:#}"
            ));
        }
        bench.first = !bench.first;
        std::mem::swap(&mut bench.run, run);
    }
    let mut report = summary("cdc", &runs);
    report.latency_ms = latency_ms;
    finished(options, report)
}

/// Says what of a report is noise and what is better lower, and keeps all of it.
fn finished(options: &Options, mut report: Report) -> Result<Report> {
    let again = |name: &String| name.starts_with("again_");
    report.noise = report.ratios.clone();
    report.noise.retain(|name, _| again(name));
    report.ratios.retain(|name, _| !again(name));
    report.lower_is_better = LOWER_IS_BETTER.map(str::to_owned).to_vec();
    let measured = report.ratios.clone();
    report
        .lower_is_better
        .retain(|name| measured.contains_key(name));
    keep(options, &report)?;
    Ok(report)
}

/// Writes every figure of every run into a file.
fn keep(options: &Options, report: &Report) -> Result<()> {
    let beside =
        || -> Result<PathBuf> { Ok(std::env::current_exe()?.with_file_name("bench-cdc.json")) };
    let path = options.raw.clone().map_or_else(beside, Ok)?;
    std::fs::write(&path, serde_json::to_vec_pretty(report)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    say(&format!("all figures: {}", path.display()));
    Ok(())
}

/// One run.
struct Bench<'a> {
    options: &'a Options,
    databases: &'a Databases,
    native: &'a Native,
    pipelines: &'a [Pipeline],
    /// Whether the limit is measured before Lockstep.
    first: bool,
    run: Run,
}

impl Bench<'_> {
    fn measure(&mut self) -> Result<()> {
        for size in SIZES {
            self.capture(size)?;
        }
        for (size, name) in CARRIED {
            self.carry(size, name)?;
        }
        if !self.options.no_others {
            let common = &self.options.pipeline.common;
            others::measure(common.changes, &common.lockstep, &mut self.run)?;
        }
        Ok(())
    }

    fn backlog(&self, size: u64) -> Result<Backlog> {
        let common = &self.options.pipeline.common;
        self.databases.change(common.changes / size * size, size)
    }

    /// Into each log alone, beside `pg_recvlogical`; afterwards the targets take it, too.
    fn capture(&mut self, size: u64) -> Result<()> {
        let databases = self.databases;
        let backlog = self.backlog(size)?;
        for pipeline in self.pipelines {
            let (limit, drain) = self.take_turns(
                || limits::recvlogical(databases, &backlog),
                |peaks| pipeline.capture(databases, &backlog, peaks),
            )?;
            let again = limits::recvlogical(databases, &backlog)?;
            self.run.ratios.insert(
                format!("again_recvlogical_{size}"),
                again.rate() / limit.rate(),
            );
            // The two of them say better than one what the limit is.
            let limit = faster(limit, again);
            let name = format!("capture_to_{}", pipeline.log());
            let ratio = format!("{name}_vs_recvlogical_{size}");
            self.run
                .note((&name, "recvlogical"), size, ratio, drain, limit);
        }
        self.native.carry(databases, &backlog)?;
        databases.forget(&backlog)
    }

    /// From database to database, beside PostgreSQL's own replication.
    fn carry(&mut self, size: u64, name: &str) -> Result<()> {
        let (databases, native) = (self.databases, self.native);
        let backlog = self.backlog(size)?;
        let mut limit = None;
        for pipeline in self.pipelines {
            let drain;
            match &limit {
                None => {
                    let (measured, carried) = self.take_turns(
                        || native.carry(databases, &backlog),
                        |peaks| pipeline.carry(databases, &backlog, peaks),
                    )?;
                    drain = carried;
                    limit = Some(measured);
                }
                Some(_) => drain = pipeline.carry(databases, &backlog, &mut self.run.peaks_mb)?,
            }
            let Some(limit) = limit.clone() else { continue };
            let log = match pipeline.log() {
                LOG => String::new(),
                log => format!("_{log}"),
            };
            let way = format!("pg_to_pg_{}", pipeline.log());
            let ratio = format!("pg_to_pg{log}_vs_native_replication{name}");
            self.run.note((&way, "native"), size, ratio, drain, limit);
        }
        databases.forget(&backlog)
    }

    /// One large transaction in both versions of the replication protocol.
    fn large(&mut self) -> Result<()> {
        let (databases, rows) = (self.databases, self.options.large);
        let binary = &self.options.pipeline.common.lockstep;
        let take = |name, source| -> Result<Drain> {
            let variant = Variant {
                name,
                source,
                ..Variant::default()
            };
            let (pipeline, _) = Pipeline::create(databases, LOG, binary, variant)?;
            let drain = pipeline.take_at_once(databases, rows);
            pipeline.remove(databases)?;
            databases.take_back(rows)?;
            drain
        };
        let (v1, v2) = self.take_turns(
            || take("_v1", "protocol = 1\n"),
            |_| take("_v2", "protocol = 2\n"),
        )?;
        say(&format!(
            "large transaction: {:.2} s in v2, {:.2} s in v1",
            v2.seconds, v1.seconds
        ));
        let ratio = v2.seconds / v1.seconds;
        self.run
            .ratios
            .insert("big_transaction_v2_vs_v1".to_owned(), ratio);
        self.run.drains.insert("big_transaction_v1".to_owned(), v1);
        self.run.drains.insert("big_transaction_v2".to_owned(), v2);
        Ok(())
    }

    /// Measures a limit and Lockstep, in the order of this run.
    fn take_turns(
        &mut self,
        limit: impl FnOnce() -> Result<Drain>,
        lockstep: impl FnOnce(&mut crate::report::Figures) -> Result<Drain>,
    ) -> Result<(Drain, Drain)> {
        if self.first {
            let limit = limit()?;
            return Ok((limit, lockstep(&mut self.run.peaks_mb)?));
        }
        let drain = lockstep(&mut self.run.peaks_mb)?;
        Ok((limit()?, drain))
    }
}

impl Run {
    fn note(
        &mut self,
        (way, beside): (&str, &str),
        size: u64,
        ratio: String,
        drain: Drain,
        limit: Drain,
    ) {
        let end = if size == 0 {
            String::new()
        } else {
            format!("_{size}")
        };
        say(&format!(
            "{way}{end:<8} {:>8.0} rows/s, {beside} {:.0}",
            drain.rate(),
            limit.rate()
        ));
        self.ratios.insert(ratio, drain.rate() / limit.rate());
        self.drains.insert(format!("{way}{end}"), drain);
        self.drains.insert(format!("{beside}{end}"), limit);
    }
}

/// First copies of a table into new targets, through the log and past it, beside a pipe between two COPYs; on servers of their own, because nothing else is to read so many rows.
fn snapshots(options: &Options) -> Result<Vec<Run>> {
    let common = &options.pipeline.common;
    let rows = options.snapshot_rows;
    say(&format!("two clusters, and a table of {rows} rows to copy"));
    let databases = Databases::start(rows)?;
    let mut runs = Vec::new();
    for at in 0..common.runs.max(1) {
        let mut run = Run::default();
        for (way, name, flow) in [
            ("snapshot", "_snapshot", ""),
            ("snapshot_direct", "_direct", "snapshot = \"direct\"\n"),
        ] {
            let copy = || limits::copy_pipe(&databases, "copied");
            let variant = Variant {
                name,
                flow,
                ..Variant::default()
            };
            let take = || -> Result<Drain> {
                let (pipeline, drain) =
                    Pipeline::create(&databases, LOG, &common.lockstep, variant)?;
                pipeline.remove(&databases)?;
                Ok(drain)
            };
            // Which of them is first alternates from run to run.
            let (limit, drain) = if at % 2 == 0 {
                let limit = copy()?;
                (limit, take()?)
            } else {
                let drain = take()?;
                (copy()?, drain)
            };
            let spent: f64 = drain.cpu_s.values().sum();
            run.ratios
                .insert(format!("{way}_us_per_row"), spent * 1e6 / rows as f64);
            run.note((way, "copy"), 0, format!("{way}_vs_copy"), drain, limit);
        }
        runs.push(run);
    }
    Ok(runs)
}

fn faster(one: Drain, other: Drain) -> Drain {
    if one.rate() >= other.rate() {
        one
    } else {
        other
    }
}
