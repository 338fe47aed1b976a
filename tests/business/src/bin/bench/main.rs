//! Benchmarks of whole pipelines, as ratios to a limit measured in the same run.
//!
//! The runtime runs as its own process; its CPU time and memory are what the operating system counted for it.
//! Rates come from what stands in the target, never from what the runtime says of itself.

mod floor;
mod pipeline;
mod process;
mod stage;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measure Lockstep beside a limit of this machine, in one run
#[derive(Parser)]
#[command(name = "bench")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// SQLite → embedded log → SQLite: a snapshot, then a backlog of changes
    Pipeline(Options),
}

/// How to measure.
#[derive(clap::Args)]
struct Options {
    /// The runtime's binary
    #[arg(long)]
    lockstep: PathBuf,
    /// Rows of the snapshot
    #[arg(long, default_value_t = 200_000)]
    rows: u64,
    /// Changes of the backlog
    #[arg(long, default_value_t = 200_000)]
    changes: u64,
    /// Rows a transaction in the backlog
    #[arg(long, default_value_t = 100)]
    per_transaction: u64,
    /// Runs; the median is given
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn main() -> Result<()> {
    let What::Pipeline(options) = Cli::parse().what;
    let report = pipeline::measure(&options)?;
    let mut out = std::io::stdout().lock();
    if options.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        write!(out, "{}", report.text())?;
    }
    Ok(())
}
