//! The result on standard output, and where to look afterwards.

use std::io::{self, Write};
use std::path::Path;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use lockstep_business::Report;
use lockstep_business::report::Percentiles;

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

/// What to try on a stage that was kept.
pub(crate) fn look_around(folder: &Path, lockstep: Option<&Path>, running: Option<u32>) -> String {
    let lockstep =
        lockstep.map_or_else(|| "lockstep".to_owned(), |path| path.display().to_string());
    let folder = folder.display();
    let runtime = match running {
        Some(id) => format!("The runtime runs on as process {id}; stop it with: kill {id}"),
        None => "The runtime does not run; its log says why.".to_owned(),
    };
    format!(
        "
{runtime}
Look around:
  {lockstep} -c {folder}/lockstep.toml status
  {lockstep} -c {folder}/lockstep.toml quarantine list
  {lockstep} -c {folder}/lockstep.toml verify
  sqlite3 {folder}/crm.db 'SELECT * FROM companies LIMIT 5'
  sqlite3 {folder}/warehouse.db 'SELECT * FROM dim_customer LIMIT 5'
Systems: {folder}/crm.db, erp.db, billing.db, warehouse.db
Log of the runtime: {folder}/runtime.log
Remove it all with: rm -r {folder}"
    )
}
