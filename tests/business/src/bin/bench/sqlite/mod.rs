//! SQLite → embedded log → SQLite.

mod floor;
mod stage;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Serialize;

use super::Common;
use super::process::Runtime;
use super::report::{Report, median};
use stage::Stage;

/// How long one phase may take.
const DEADLINE: Duration = Duration::from_secs(300);

/// How to measure.
#[derive(clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    pub(super) common: Common,
    /// Rows of the snapshot
    #[arg(long, default_value_t = 200_000)]
    rows: u64,
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

/// One figure of a run.
type Figure = fn(&Run) -> f64;

/// Measures as often as asked and gives the medians.
pub(super) fn measure(options: &Options) -> Result<Report> {
    let mut runs = Vec::new();
    for _ in 0..options.common.runs.max(1) {
        runs.push(run(options)?);
    }
    let of = |figure: Figure| median(runs.iter().map(figure));
    let mut report = Report {
        bench: "sqlite",
        ..Report::default()
    };
    let ratios: [(&str, Figure); 2] = [
        ("sqlite_snapshot_vs_copy", |run| {
            run.snapshot_rows_per_s / run.floor_rows_per_s
        }),
        ("sqlite_stream_vs_copy", |run| {
            run.stream_rows_per_s / run.floor_rows_per_s
        }),
    ];
    for (name, ratio) in ratios {
        report.ratios.insert(name.to_owned(), of(ratio));
    }
    let floor = of(|run| run.floor_rows_per_s);
    report
        .limits
        .insert("sqlite_copy_rows_per_s".to_owned(), floor);
    let ways: [(&str, Figure, Figure); 2] = [
        (
            "snapshot",
            |run| run.snapshot_rows_per_s,
            |run| run.snapshot_cpu_us,
        ),
        (
            "stream",
            |run| run.stream_rows_per_s,
            |run| run.stream_cpu_us,
        ),
    ];
    for (way, rate, cpu) in ways {
        report.rows_per_s.insert(way.to_owned(), of(rate));
        let cpu = [("lockstep".to_owned(), of(cpu))].into();
        report.cpu_us_per_row.insert(way.to_owned(), cpu);
    }
    let peak = of(|run| run.rss_mb);
    report.rss_mb.insert("lockstep".to_owned(), peak);
    for run in &runs {
        report.runs.push(serde_json::to_value(run)?);
    }
    Ok(report)
}

fn run(options: &Options) -> Result<Run> {
    let folder = tempfile::tempdir()?;
    let floor_rows_per_s = floor_rate(&folder.path().join("floor"), options.rows)?;
    let stage = Stage::create(&folder.path().join("stage"), options.rows)?;
    stage
        .source()?
        .execute("UPDATE sales SET revision = 1000001 WHERE id = 1", [])?;

    let mut runtime = Runtime::start(&options.common.lockstep, stage.folder())?;
    let (snapshot_s, snapshot_cpu) = wait(&stage, &mut runtime, 1_000_001)?;
    let snapshot_rss = runtime.peak_mb()?;
    drop(runtime);

    // The backlog builds up while nobody reads, so that the rate is the pipeline's and not the editor's.
    stage.change(
        options.rows,
        options.common.changes,
        options.common.per_transaction,
        1_000_002,
    )?;
    let mut runtime = Runtime::start(&options.common.lockstep, stage.folder())?;
    let (stream_s, stream_cpu) = wait(&stage, &mut runtime, 1_000_002)?;
    let rss_mb = runtime.peak_mb()?.max(snapshot_rss);
    Ok(Run {
        floor_rows_per_s,
        snapshot_rows_per_s: options.rows as f64 / snapshot_s,
        snapshot_cpu_us: snapshot_cpu * 1e6 / options.rows as f64,
        stream_rows_per_s: options.common.changes as f64 / stream_s,
        stream_cpu_us: stream_cpu * 1e6 / options.common.changes as f64,
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
        runtime.alive()?;
        if Stage::mark(&target) == Some(mark) && stage.equal()? {
            return Ok((started.elapsed().as_secs_f64(), runtime.cpu_s()?));
        }
        if started.elapsed() > DEADLINE {
            bail!("the target did not converge in {} s", DEADLINE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
