//! How long a change takes at a modest rate, one row a transaction.
//!
//! The clock is read in the source's INSERT, so its commit is inside the figure, and when the row is written in the target, so that commit is not.
//! Both ways are measured alike, so their ratio is fair.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::Options;
use super::databases::{Databases, SHOP};
use super::limits::{NATIVE, Native};
use super::lockstep::Pipeline;
use crate::report::Figures;

/// The first key of the rows that are inserted here; far above all others.
const FIRST: u64 = 1_000_000_000;

/// How many rows one way may insert at most.
const ROWS_MAX: u64 = 100_000_000;

/// Measures PostgreSQL's own replication, then Lockstep.
pub(super) fn measure(
    options: &Options,
    databases: &Databases,
    native: &Native,
    pipeline: Option<&Pipeline>,
) -> Result<BTreeMap<String, Figures>> {
    databases.in_source(&format!("CREATE SEQUENCE latency START {FIRST}"))?;
    let mut measured = BTreeMap::new();
    native.go_on(databases)?;
    native.until_reading(databases)?;
    insert(options, databases)?;
    databases.until_loaded(NATIVE)?;
    measured.insert("native".to_owned(), percentiles(databases, NATIVE, FIRST)?);
    native.pause(databases)?;

    if let Some(pipeline) = pipeline {
        let target = pipeline.target();
        let mut runtime = pipeline.start()?;
        // Everything that came before, and the start itself, is not what is measured.
        pipeline.watch(&mut runtime, || databases.until_loaded(&target))?;
        let first = FIRST + ROWS_MAX;
        databases.in_source(&format!("SELECT setval('latency', {first})"))?;
        insert(options, databases)?;
        pipeline.watch(&mut runtime, || databases.until_loaded(&target))?;
        measured.insert(
            "lockstep".to_owned(),
            percentiles(databases, &target, first)?,
        );
        databases.compare(&target)?;
        runtime.stop()?;
    }
    Ok(measured)
}

/// Inserts rows at the rate that was asked for.
fn insert(options: &Options, databases: &Databases) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("insert.sql");
    std::fs::write(
        &script,
        "INSERT INTO sales SELECT id, customer, product, quantity, price, status, note, sold_on, clock_timestamp(), revision \
         FROM sale(nextval('latency'));\n",
    )?;
    let output = Command::new(databases.source().bin("pgbench"))
        .args(["-n", "-c", "2", "-M", "prepared"])
        .args(["-R", &options.rate.to_string()])
        .args(["-T", &options.latency_seconds.to_string()])
        .arg("-f")
        .arg(&script)
        .arg(databases.source().url(SHOP))
        .stdin(Stdio::null())
        .output()
        .context("cannot run pgbench")?;
    if !output.status.success() {
        bail!(
            "pgbench: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

fn percentiles(databases: &Databases, target: &str, first: u64) -> Result<Figures> {
    let of = |part: f64| -> Result<f64> {
        let answer = databases.destination().sql(
            target,
            &format!(
                "SELECT percentile_cont({part}) WITHIN GROUP (ORDER BY extract(epoch FROM arrived - changed_at) * 1000) \
                 FROM sales WHERE id >= {first}"
            ),
        )?;
        answer.parse().context("there is no latency")
    };
    Ok([("p50".to_owned(), of(0.5)?), ("p99".to_owned(), of(0.99)?)].into())
}
