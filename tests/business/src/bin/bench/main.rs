//! Benchmarks of whole pipelines, as ratios to a limit measured in the same run.
//!
//! The runtime runs as its own process and is driven by its configuration file alone; its CPU time and memory are what the operating system counted for it.
//! Rates come from what stands in the target or was confirmed to the source, never from what the runtime says of itself.

mod contracts;
mod pipeline;
mod process;
mod report;
mod sqlite;

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
    /// PostgreSQL → log → PostgreSQL, for both logs, beside pg_recvlogical and PostgreSQL's own replication
    Pipeline(pipeline::Options),
    /// The same at 1, 10 and 100 rows a transaction, with snapshots, one large transaction, latency, and the noise of the machine
    Cdc(pipeline::cdc::Options),
    /// The compiled check beside the `jsonschema` crate, and the commands that CI waits for
    Contracts(contracts::Options),
    /// SQLite → embedded log → SQLite: a snapshot, then a backlog of changes
    Sqlite(sqlite::Options),
}

/// What every benchmark is told.
#[derive(clap::Args)]
struct Common {
    /// The runtime's binary
    #[arg(long)]
    lockstep: PathBuf,
    /// Changes of a backlog
    #[arg(long, default_value_t = 100_000)]
    changes: u64,
    /// Rows a transaction in the backlog
    #[arg(long, default_value_t = 100)]
    per_transaction: u64,
    /// Runs; the median is given
    #[arg(long, default_value_t = 2)]
    runs: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn main() -> Result<()> {
    let (report, json) = match Cli::parse().what {
        What::Pipeline(options) => (pipeline::measure(&options)?, options.common.json),
        What::Cdc(options) => {
            let json = options.pipeline.common.json;
            (pipeline::cdc::measure(&options)?, json)
        }
        What::Contracts(options) => (contracts::measure(&options)?, options.json),
        What::Sqlite(options) => (sqlite::measure(&options)?, options.common.json),
    };
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        write!(out, "{}", report.text())?;
    }
    Ok(())
}

/// One line on standard error; standard output is for the result.
fn say(line: &str) {
    // Nobody is left to tell if standard error is gone.
    let _ = writeln!(std::io::stderr(), "{line}");
}
