//! SQLite → embedded log → SQLite.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Serialize;

use super::process::Runtime;
use super::stage::Stage;
use super::{Options, floor};

/// How long one phase may take.
const DEADLINE: Duration = Duration::from_secs(300);

/// What was measured.
#[derive(Serialize)]
pub(super) struct Report {
    bench: &'static str,
    machine: Machine,
    ratios: BTreeMap<&'static str, f64>,
    lower_is_better: Vec<&'static str>,
    limits: BTreeMap<&'static str, f64>,
    rows_per_s: BTreeMap<&'static str, f64>,
    cpu_us_per_row: BTreeMap<&'static str, f64>,
    rss_mb: BTreeMap<&'static str, f64>,
    runs: Vec<Run>,
}

#[derive(Serialize)]
struct Machine {
    cores: usize,
    os: &'static str,
    arch: &'static str,
}

/// One run: a snapshot, then a backlog.
#[derive(Clone, Serialize)]
struct Run {
    floor_rows_per_s: f64,
    snapshot_rows_per_s: f64,
    snapshot_cpu_us: f64,
    stream_rows_per_s: f64,
    stream_cpu_us: f64,
    rss_mb: f64,
}

/// Measures as often as asked and gives the medians.
pub(super) fn measure(options: &Options) -> Result<Report> {
    let mut runs = Vec::new();
    for _ in 0..options.runs.max(1) {
        runs.push(run(options)?);
    }
    let median = |of: fn(&Run) -> f64| {
        let mut figures: Vec<f64> = runs.iter().map(of).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    let ratio = |of: fn(&Run) -> f64| {
        let mut figures: Vec<f64> = runs
            .iter()
            .map(|run| of(run) / run.floor_rows_per_s)
            .collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    Ok(Report {
        bench: "pipeline",
        machine: Machine {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
        },
        ratios: [
            (
                "sqlite_snapshot_vs_copy",
                ratio(|run| run.snapshot_rows_per_s),
            ),
            ("sqlite_stream_vs_copy", ratio(|run| run.stream_rows_per_s)),
        ]
        .into(),
        lower_is_better: Vec::new(),
        limits: [("sqlite_copy_rows_per_s", median(|run| run.floor_rows_per_s))].into(),
        rows_per_s: [
            ("snapshot", median(|run| run.snapshot_rows_per_s)),
            ("stream", median(|run| run.stream_rows_per_s)),
        ]
        .into(),
        cpu_us_per_row: [
            ("snapshot", median(|run| run.snapshot_cpu_us)),
            ("stream", median(|run| run.stream_cpu_us)),
        ]
        .into(),
        rss_mb: [("lockstep", median(|run| run.rss_mb))].into(),
        runs,
    })
}

fn run(options: &Options) -> Result<Run> {
    let folder = tempfile::tempdir()?;
    let floor_rows_per_s = floor_rate(&folder.path().join("floor"), options.rows)?;
    let stage = Stage::create(&folder.path().join("stage"), options.rows)?;
    stage
        .source()?
        .execute("UPDATE sales SET revision = 1000001 WHERE id = 1", [])?;

    let mut runtime = Runtime::start(&options.lockstep, stage.folder())?;
    let (snapshot_s, snapshot_cpu) = wait(&stage, &mut runtime, 1_000_001)?;
    let snapshot_rss = runtime.peak_mb()?;
    drop(runtime);

    // The backlog builds up while nobody reads, so that the rate is the pipeline's and not the editor's.
    stage.change(
        options.rows,
        options.changes,
        options.per_transaction,
        1_000_002,
    )?;
    let mut runtime = Runtime::start(&options.lockstep, stage.folder())?;
    let (stream_s, stream_cpu) = wait(&stage, &mut runtime, 1_000_002)?;
    let rss_mb = runtime.peak_mb()?.max(snapshot_rss);
    Ok(Run {
        floor_rows_per_s,
        snapshot_rows_per_s: options.rows as f64 / snapshot_s,
        snapshot_cpu_us: snapshot_cpu * 1e6 / options.rows as f64,
        stream_rows_per_s: options.changes as f64 / stream_s,
        stream_cpu_us: stream_cpu * 1e6 / options.changes as f64,
        rss_mb,
    })
}

fn floor_rate(folder: &Path, rows: u64) -> Result<f64> {
    let stage = Stage::create(folder, rows)?;
    let seconds = floor::copy(&stage.source()?, &mut stage.target()?)?;
    Ok(rows as f64 / seconds)
}

/// Waits until the target holds the source's rows; seconds since the start, and CPU seconds used.
fn wait(stage: &Stage, runtime: &mut Runtime, mark: u64) -> Result<(f64, f64)> {
    let started = Instant::now();
    let target = stage.target()?;
    loop {
        runtime.alive(stage.folder())?;
        if Stage::mark(&target) == Some(mark) && stage.equal()? {
            return Ok((started.elapsed().as_secs_f64(), runtime.cpu_s()?));
        }
        if started.elapsed() > DEADLINE {
            bail!("the target did not converge in {} s", DEADLINE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Report {
    /// The report for people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (name, ratio) in &self.ratios {
            let _ = writeln!(text, "{name:<28} {ratio:.2}");
        }
        for (name, rate) in &self.limits {
            let _ = writeln!(text, "{name:<28} {rate:.0}");
        }
        for (name, rate) in &self.rows_per_s {
            let cpu = self.cpu_us_per_row.get(name).copied().unwrap_or_default();
            let _ = writeln!(text, "{name:<28} {rate:.0} rows/s, {cpu:.1} CPU µs/row");
        }
        for (name, rss) in &self.rss_mb {
            let _ = writeln!(text, "{name:<28} {rss:.0} MB at most");
        }
        text
    }
}
