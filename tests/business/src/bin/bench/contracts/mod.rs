//! Contracts at work: the compiled check beside the `jsonschema` crate, and the commands that CI waits for.
//!
//! The check is measured in this process, both sides in turn on the same orders; the commands as processes of their own.

mod orders;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use lockstep_core::Row;
use lockstep_core::contract::{Checker, Contract, NoLibrary, load, schema};
use serde::Serialize;
use serde_json::Value as Json;

use super::process;
use super::report::{Report, median};

/// How long one side is measured at a time.
const ROUND: Duration = Duration::from_millis(300);
/// Rounds of each side; the median counts.
const ROUNDS: usize = 7;
/// Times that a short command is run.
const COMMAND_RUNS: usize = 15;
/// Contracts of the large repository.
const CONTRACTS: usize = 200;
/// How long a command may take.
const DEADLINE: Duration = Duration::from_secs(120);

/// How to measure.
#[derive(clap::Args)]
pub(super) struct Options {
    /// The runtime's binary
    #[arg(long)]
    lockstep: PathBuf,
    /// Lines of JSON that are checked
    #[arg(long, default_value_t = 100_000)]
    lines: usize,
    /// Runs; the median is given
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// One run.
#[derive(Clone, Debug, Serialize)]
struct Run {
    check_per_s: f64,
    jsonschema_per_s: f64,
    check_vs_jsonschema: f64,
    lint_ms: f64,
    lint_200_s: f64,
    jsonl_100k_cpu_s: f64,
    jsonl_rss_mb: f64,
}

/// One figure of a run.
type Figure = fn(&Run) -> f64;

/// Measures as often as asked and gives the medians.
pub(super) fn measure(options: &Options) -> Result<Report> {
    let contract = order()?;
    let rows = orders::rows(&contract)?;
    let mut runs = Vec::new();
    for number in 1..=options.runs.max(1) {
        super::say(&format!("run {number} of {}", options.runs.max(1)));
        runs.push(run(options, &contract, &rows)?);
    }
    let of = |figure: Figure| median(runs.iter().map(figure));
    let mut report = Report {
        bench: "contracts",
        ..Report::default()
    };
    let ratios: [(&str, Figure); 4] = [
        ("check_vs_jsonschema", |run| run.check_vs_jsonschema),
        ("lint_ms", |run| run.lint_ms),
        ("lint_200_s", |run| run.lint_200_s),
        ("jsonl_100k_cpu_s", |run| run.jsonl_100k_cpu_s),
    ];
    for (name, figure) in ratios {
        report.ratios.insert(name.to_owned(), of(figure));
    }
    let lower = ["lint_ms", "lint_200_s", "jsonl_100k_cpu_s"];
    report.lower_is_better = lower.map(str::to_owned).to_vec();
    let limit = of(|run| run.jsonschema_per_s);
    report
        .limits
        .insert("jsonschema_validations_per_s".to_owned(), limit);
    let rate = of(|run| run.check_per_s);
    report.rows_per_s.insert("check".to_owned(), rate);
    let cpu = of(|run| run.jsonl_100k_cpu_s) * 1e6 / options.lines.max(1) as f64;
    let cpu = [("lockstep".to_owned(), cpu)].into();
    report.cpu_us_per_row.insert("jsonl".to_owned(), cpu);
    let peak = of(|run| run.jsonl_rss_mb);
    report.rss_mb.insert("jsonl".to_owned(), peak);
    for run in &runs {
        report.runs.push(serde_json::to_value(run)?);
    }
    Ok(report)
}

fn run(options: &Options, contract: &Contract, rows: &[Row]) -> Result<Run> {
    let (check_per_s, jsonschema_per_s) = check(contract, rows)?;
    let folder = tempfile::tempdir()?;
    let file = write_contract(folder.path())?;
    let lint = lockstep(
        &options.lockstep,
        folder.path(),
        &["contract", "lint", &file],
    );
    let lint_ms = median(repeat(COMMAND_RUNS, || timed(lint()))?) * 1000.0;
    let lint_200_s = many(options, folder.path())?;
    let (jsonl_100k_cpu_s, jsonl_rss_mb) = lines(options, folder.path(), contract, rows, &file)?;
    Ok(Run {
        check_per_s,
        jsonschema_per_s,
        check_vs_jsonschema: check_per_s / jsonschema_per_s,
        lint_ms,
        lint_200_s,
        jsonl_100k_cpu_s,
        jsonl_rss_mb,
    })
}

fn text() -> Result<&'static str> {
    let mut all = lockstep_schemas::contracts().iter();
    let order = all.find(|source| source.entity == "order");
    Ok(order.context("there is no contract of orders")?.text)
}

fn order() -> Result<Contract> {
    match load("order.odcs.yaml", text()?, &NoLibrary) {
        Ok(loaded) => Ok(loaded.contract),
        Err(findings) => bail!("the contract of orders cannot be read: {findings:?}"),
    }
}

/// Validations a second of the compiled check and of the `jsonschema` crate, on the same records in turn.
fn check(contract: &Contract, rows: &[Row]) -> Result<(f64, f64)> {
    let checker = Checker::compile(contract).map_err(|error| anyhow::anyhow!("{error}"))?;
    let validator = jsonschema::validator_for(&schema::writer(contract))?;
    let documents: Vec<Json> = rows
        .iter()
        .map(|row| orders::document(contract, row))
        .collect();
    let mut found = Vec::new();
    let mut ours = || {
        for row in rows {
            checker.check(std::hint::black_box(row), true, &mut found);
        }
        found.is_empty()
    };
    let theirs = || {
        let mut valid = documents.iter();
        valid.all(|document| validator.is_valid(std::hint::black_box(document)))
    };
    let (mut our_rates, mut their_rates) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        our_rates.push(rate(rows.len(), &mut ours)?);
        their_rates.push(rate(rows.len(), theirs)?);
    }
    Ok((median(our_rates), median(their_rates)))
}

/// Records a second of a pass over them all, repeated for a while.
fn rate(records: usize, mut pass: impl FnMut() -> bool) -> Result<f64> {
    let started = Instant::now();
    let mut passes = 0_u32;
    while started.elapsed() < ROUND {
        ensure!(pass(), "an order is not valid");
        passes += 1;
    }
    Ok(f64::from(passes) * records as f64 / started.elapsed().as_secs_f64())
}

/// Seconds to lint a repository of many contracts and to compare each with an older state.
fn many(options: &Options, folder: &Path) -> Result<f64> {
    let older = folder.join("older");
    let newer = folder.join("newer");
    for number in 0..CONTRACTS {
        let entity = format!("order_{number:03}");
        let old = text()?
            .replace("id: lockstep-order", &format!("id: lockstep-{entity}"))
            .replace("name: order\n", &format!("name: {entity}\n"));
        let field = "      - name: note\n        description: What else is to say.\n        logicalType: string\n";
        let new = old.replace("version: 1.0.0", "version: 1.1.0");
        let new = format!("{}\n{field}", new.trim_end());
        for (root, text) in [(&older, &old), (&newer, &new)] {
            let place = root.join(&entity);
            fs::create_dir_all(&place)?;
            fs::write(place.join(format!("{entity}.odcs.yaml")), text)?;
        }
    }
    let lint = lockstep(&options.lockstep, folder, &["contract", "lint", "newer"]);
    let compare = ["contract", "breaking", "newer", "--against", "older"];
    let compare = lockstep(&options.lockstep, folder, &compare);
    let both = || Ok(timed(lint())? + timed(compare())?);
    Ok(median(repeat(3, both)?))
}

/// CPU seconds and memory to check lines of JSON, of which some are at fault.
fn lines(
    options: &Options,
    folder: &Path,
    contract: &Contract,
    rows: &[Row],
    file: &str,
) -> Result<(f64, f64)> {
    let data = folder.join("orders.jsonl");
    if !data.exists() {
        orders::write(&data, contract, rows, options.lines)?;
    }
    let command = ["--json", "contract", "test", file, "--data", "orders.jsonl"];
    let command = lockstep(&options.lockstep, folder, &command);
    let mut cpu = Vec::new();
    let mut peak: f64 = 0.0;
    for _ in 0..3 {
        let ended = ended(command().stdout(Stdio::null()).spawn()?)?;
        // Some lines are at fault, so that there is something to count.
        ensure!(ended.code == Some(1), "the data was not tested");
        cpu.push(ended.cpu_s);
        peak = peak.max(ended.peak_mb);
    }
    Ok((median(cpu), peak))
}

fn write_contract(folder: &Path) -> Result<String> {
    let place = folder.join("contracts/order");
    fs::create_dir_all(&place)?;
    fs::write(place.join("order.odcs.yaml"), text()?)?;
    Ok("contracts/order/order.odcs.yaml".to_owned())
}

/// A command of the runtime in a folder.
fn lockstep(binary: &Path, folder: &Path, args: &[&str]) -> impl Fn() -> Command + use<> {
    let (binary, folder) = (binary.to_owned(), folder.to_owned());
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    move || {
        let mut command = Command::new(&binary);
        command
            .args(&args)
            .current_dir(&folder)
            .stdin(Stdio::null());
        command.env_remove("LOCKSTEP_CONFIG");
        command
    }
}

fn repeat(times: usize, measured: impl Fn() -> Result<f64>) -> Result<Vec<f64>> {
    (0..times).map(|_| measured()).collect()
}

/// Seconds until a command that has nothing to complain about has ended.
fn timed(mut command: Command) -> Result<f64> {
    let started = Instant::now();
    let output = command.stdout(Stdio::null()).output()?;
    let elapsed = started.elapsed().as_secs_f64();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ended with {}: {said}", output.status);
    }
    Ok(elapsed)
}

/// What a process has used by its end.
struct Ended {
    cpu_s: f64,
    peak_mb: f64,
    code: Option<i32>,
}

/// Waits until a process has ended.
fn ended(mut child: Child) -> Result<Ended> {
    let started = Instant::now();
    let mut peak_mb: f64 = 0.0;
    loop {
        // An ended process holds no memory any more, but its figures stand there until somebody waits for it.
        peak_mb = peak_mb.max(process::peak_mb(child.id()).unwrap_or_default());
        if let Some(cpu_s) = process::ended_cpu_s(child.id())? {
            let code = child.wait()?.code();
            return Ok(Ended {
                cpu_s,
                peak_mb,
                code,
            });
        }
        if started.elapsed() > DEADLINE {
            let _ = child.kill();
            let _ = child.wait();
            bail!("it did not end within {} s", DEADLINE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
