//! The result on standard output, and where to look afterwards.

use std::io::{self, Write};
use std::path::Path;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use lockstep_business::configuration::Log;
use lockstep_business::report::Percentiles;
use lockstep_business::{Report, Stage};

/// Prints the one object.
pub(crate) fn json(report: &Report) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, report)?;
    writeln!(out)
}

/// Prints the tables and the verdict.
pub(crate) fn tables(report: &Report) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", entities(report))?;
    let systems: Vec<String> = report
        .systems
        .iter()
        .map(|system| format!("{} ({}) {}", system.name, system.connector, system.records))
        .collect();
    writeln!(out, "records: {}", systems.join(", "))?;
    writeln!(
        out,
        "{} edits, {} kills, {} lost, {} duplicated, {} quarantined, latency p50 {} ms, p99 {} ms, {:.1} s",
        report.changes,
        report.kills,
        report.lost,
        report.duplicated,
        report.quarantined,
        told(report.latency_ms.p50),
        told(report.latency_ms.p99),
        report.wall_s
    )?;
    match &report.error {
        None if report.converged => writeln!(out, "converged: every system holds what it should"),
        None => writeln!(out, "not converged"),
        Some(error) => writeln!(out, "not converged: {error}"),
    }
}

fn entities(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header([
        "entity",
        "system",
        "records",
        "changes",
        "quarantined",
        "lag p50 ms",
        "lag p99 ms",
        "differences",
    ]);
    for row in &report.entities {
        let Percentiles { p50, p99 } = row.lag_ms;
        table.add_row([
            row.entity.clone(),
            row.system.clone(),
            row.records.to_string(),
            row.changes.to_string(),
            row.quarantined.to_string(),
            told(p50),
            told(p99),
            row.differences.to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn told(milliseconds: Option<i64>) -> String {
    milliseconds.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// What to try on a stage that is kept; passwords stay in files.
pub(crate) fn look_around(stage: &Stage, lockstep: Option<&Path>, alive: bool) -> String {
    let lockstep =
        lockstep.map_or_else(|| "lockstep".to_owned(), |path| path.display().to_string());
    let folder = stage.folder().display();
    let servers = stage.servers();
    let runtime = match stage.pid().filter(|_| alive) {
        Some(_) if !servers.is_empty() => {
            "Runtime and servers run until you press Ctrl-C.".to_owned()
        }
        Some(id) => format!("The runtime runs on as process {id}; stop it with: kill {id}"),
        None if !servers.is_empty() => {
            "The runtime does not run; its log says why. Its servers run until you press Ctrl-C."
                .to_owned()
        }
        None => "The runtime does not run; its log says why.".to_owned(),
    };
    let mut lines = vec![runtime, "Look around:".to_owned()];
    for command in ["status", "quarantine list", "verify"] {
        lines.push(format!("  {lockstep} -c {folder}/lockstep.toml {command}"));
    }
    for (system, query) in [
        ("crm", "SELECT * FROM companies LIMIT 5"),
        ("erp", "SELECT * FROM orders LIMIT 5"),
        ("warehouse", "SELECT * FROM dim_customer LIMIT 5"),
    ] {
        lines.push(match servers.port(system) {
            None => format!("  sqlite3 {folder}/{system}.db '{query}'"),
            Some(port) => format!(
                "  PGPASSFILE={folder}/pgpass psql -h 127.0.0.1 -p {port} -U postgres {system} -c '{query}'"
            ),
        });
    }
    if let Log::Nats { server, .. } = servers.log() {
        lines.push(format!("  nats --server {server} stream ls"));
        lines.push(format!("  nats --server {server} sub 'ls.set.order.>'"));
    }
    lines.push(format!("Log of the runtime: {folder}/runtime.log"));
    lines.push(format!("Remove it all with: rm -r {folder}"));
    format!("\n{}", lines.join("\n"))
}
