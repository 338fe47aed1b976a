//! PostgreSQL → log → PostgreSQL, for both logs.
//!
//! Backlogs build up while nobody reads, so that a rate is the reader's and not the writer's.
//! Every reader has a slot of its own from before the backlog, so all of them read the same journal, one after another.
//! A run has two backlogs: the first is read into each log alone, beside `pg_recvlogical`, the second is carried from database to database, beside PostgreSQL's own replication.
//! After every reader, its target is compared with the source by count and by a hash over all rows.

pub(super) mod cdc;
mod databases;
mod latency;
mod limits;
mod lockstep;
mod others;

use std::collections::BTreeMap;

use anyhow::Result;

use super::report::{Figures, Report, median};
use super::{Common, say};
use databases::Databases;
use limits::Native;
use lockstep::{Log, Pipeline, Variant};

/// How to measure.
#[derive(clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    pub(super) common: Common,
    /// Rows that are there before the first change
    #[arg(long, default_value_t = 50_000)]
    rows: u64,
    /// Transactions a second while latency is measured
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// Seconds for which latency is measured, each way
    #[arg(long, default_value_t = 10)]
    latency_seconds: u32,
    /// Measure only these logs; none of them leaves the limits
    #[arg(long, value_enum, num_args = 0.., default_values_t = [Log::Embedded, Log::Nats])]
    logs: Vec<Log>,
}

/// What one reader of a backlog took.
#[derive(Clone, Debug)]
struct Drain {
    rows: u64,
    seconds: f64,
    /// CPU seconds by program.
    cpu_s: Figures,
}

impl Drain {
    fn rate(&self) -> f64 {
        self.rows as f64 / self.seconds
    }
}

/// The drains of one run by name, and what was read of each other at that time.
#[derive(Debug, Default)]
struct Run {
    ratios: Figures,
    drains: BTreeMap<String, Drain>,
    peaks_mb: Figures,
}

/// Measures as often as asked and gives the medians.
pub(super) fn measure(options: &Options) -> Result<Report> {
    say("starting two PostgreSQL clusters");
    let databases = Databases::start(options.rows)?;
    let native = Native::create(&databases)?;
    let mut pipelines = Vec::new();
    for &log in &options.logs {
        say(&format!(
            "{} rows to begin with, over the {log} log",
            options.rows
        ));
        let binary = &options.common.lockstep;
        pipelines.push(Pipeline::create(&databases, log, binary, Variant::default())?.0);
    }
    let mut runs = Vec::new();
    for at in 1..=options.common.runs.max(1) {
        say(&format!("run {at} of {}", options.common.runs.max(1)));
        runs.push(run(options, &databases, &native, &pipelines)?);
    }
    let mut report = summary("pipeline", &runs);
    if options.latency_seconds > 0 {
        say("latency");
        report.latency_ms = latency::measure(options, &databases, &native, pipelines.last())?;
    }
    Ok(report)
}

fn run(
    options: &Options,
    databases: &Databases,
    native: &Native,
    pipelines: &[Pipeline],
) -> Result<Run> {
    let mut run = Run::default();
    let (changes, each) = (options.common.changes, options.common.per_transaction);

    let backlog = databases.change(changes, each)?;
    if pipelines.is_empty() {
        let limit = limits::recvlogical(databases, &backlog)?;
        run.drains.insert("recvlogical".to_owned(), limit);
    }
    for pipeline in pipelines {
        // Beside each other: what else the machine does changes from minute to minute.
        let limit = limits::recvlogical(databases, &backlog)?;
        let drain = pipeline.capture(databases, &backlog, &mut run.peaks_mb)?;
        let name = format!("pg_to_{}", pipeline.log());
        run.compare(&name, "recvlogical", drain, limit);
    }
    native.carry(databases, &backlog)?;
    databases.forget(&backlog)?;

    let backlog = databases.change(changes, each)?;
    let limit = native.carry(databases, &backlog)?;
    let limit_rate = limit.rate();
    run.drains.insert("native".to_owned(), limit);
    for pipeline in pipelines {
        let drain = pipeline.carry(databases, &backlog, &mut run.peaks_mb)?;
        let name = format!("pg_to_pg_{}", pipeline.log());
        say(&format!(
            "{name:<20} {:>8.0} rows/s, native {limit_rate:.0}",
            drain.rate()
        ));
        run.ratios
            .insert(format!("{name}_vs_native"), drain.rate() / limit_rate);
        run.drains.insert(name, drain);
    }
    databases.forget(&backlog)?;
    Ok(run)
}

impl Run {
    fn compare(&mut self, name: &str, limit_name: &str, drain: Drain, limit: Drain) {
        say(&format!(
            "{name:<20} {:>8.0} rows/s, {limit_name} {:.0}",
            drain.rate(),
            limit.rate()
        ));
        self.ratios.insert(
            format!("{name}_vs_{limit_name}"),
            drain.rate() / limit.rate(),
        );
        self.drains.insert(name.to_owned(), drain);
        self.drains.insert(limit_name.to_owned(), limit);
    }
}

/// Medians over the runs.
fn summary(bench: &'static str, runs: &[Run]) -> Report {
    let mut report = Report {
        bench,
        ..Report::default()
    };
    let Some(first) = runs.first() else {
        return report;
    };
    for name in first.ratios.keys() {
        let ratio = median(runs.iter().filter_map(|run| run.ratios.get(name).copied()));
        report.ratios.insert(name.clone(), ratio);
    }
    for name in first.peaks_mb.keys() {
        let peak = median(
            runs.iter()
                .filter_map(|run| run.peaks_mb.get(name).copied()),
        );
        report.rss_mb.insert(name.clone(), peak);
    }
    for (name, drain) in &first.drains {
        let drains = || runs.iter().filter_map(|run| run.drains.get(name));
        let rate = median(drains().map(Drain::rate));
        let limits = ["recvlogical", "native", "copy", "reader"];
        let is_limit = limits.iter().any(|limit| name.starts_with(limit));
        let rates = if is_limit {
            &mut report.limits
        } else {
            &mut report.rows_per_s
        };
        rates.insert(name.clone(), rate);
        let program = |program: &String| {
            let each = drains().filter_map(|drain| {
                let seconds = drain.cpu_s.get(program)?;
                Some(seconds * 1e6 / drain.rows as f64)
            });
            (program.clone(), median(each))
        };
        let cpu = drain.cpu_s.keys().map(program).collect();
        report.cpu_us_per_row.insert(name.clone(), cpu);
    }
    for run in runs {
        let rates: Figures = run
            .drains
            .iter()
            .map(|(name, drain)| (name.clone(), drain.rate()))
            .collect();
        report
            .runs
            .push(serde_json::json!({"ratios": run.ratios, "rows_per_s": rates}));
    }
    report
}
