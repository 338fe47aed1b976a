//! `cargo xtask conformance`: which connector keeps which promise of the kit, as the tests just said it.
//!
//! The runner's report (JUnit) is the only source: nothing is listed by hand, and a check that did not run has no place in the table.
//! What stands in `connectors/README.md` between two marks is this table; `cargo xtask test` compares it with the report of its own run.

mod report;
mod table;

use std::fs;
use std::io::{Write, stdout};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::cargo::succeeds;
use crate::repository::Metadata;
use crate::say;
use crate::test::{self, Stage};
use table::Table;

/// Where the table stands.
const README: &str = "connectors/README.md";
/// The kit's checks, by the end of their names; `report` leaves out what is no connector's.
const CHECKS: &str = "kind(test) & test(/(^|::)(source|sink|reader)::[a-z_0-9]+$/)";

/// What becomes of the table.
pub(crate) enum Then {
    /// Printed as it stands in the README.
    Print,
    /// Written into the README.
    Write,
    /// Printed as one JSON object.
    Json,
}

/// Runs the checks of all connectors, and only these.
pub(crate) fn run(then: &Then) -> Result<ExitCode> {
    let stage = Stage::prepare(matches!(then, Then::Write))?;
    let metadata = stage.metadata();
    let Some(mut nextest) = test::nextest(metadata)? else {
        bail!("the table needs cargo-nextest, which cannot be installed here");
    };
    nextest.args(["run", "--workspace", "-E", CHECKS]);
    forget(metadata)?;
    let passed = succeeds(stage.lead(&mut nextest)?)?;
    let table = read(metadata)?;
    match then {
        Then::Print => write!(stdout(), "{}", table.markdown())?,
        Then::Json => writeln!(stdout(), "{}", table.json())?,
        Then::Write if !passed || table.is_partial() => {
            bail!("{README} is left as it is: checks failed or were skipped")
        }
        Then::Write => {
            let path = metadata.workspace_root.join(README);
            let text = text(&path)?;
            fs::write(&path, table::put(&text, &table.markdown())?)
                .with_context(|| format!("cannot write {README}"))?;
        }
    }
    Ok(ExitCode::from(u8::from(!passed)))
}

/// Removes the report of an earlier run, which would otherwise speak for one that wrote none.
pub(crate) fn forget(metadata: &Metadata) -> Result<()> {
    match fs::remove_file(report::path(metadata)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("cannot remove the last report of the tests")
        }
        _ => Ok(()),
    }
}

/// Whether the runner wrote a report.
pub(crate) fn has_report(metadata: &Metadata) -> bool {
    report::path(metadata).is_file()
}

/// Whether the README says what a run of everything has just said; where not, says so.
pub(crate) fn is_current(metadata: &Metadata) -> Result<bool> {
    let table = read(metadata)?;
    if table.is_partial() {
        say(&format!(
            "the table in {README} was not compared: checks failed or were skipped"
        ));
        return Ok(true);
    }
    let text = text(&metadata.workspace_root.join(README))?;
    let current = table::put(&text, &table.markdown())? == text;
    if !current {
        say(&format!(
            "the table in {README} is not what the tests say: cargo xtask conformance --write"
        ));
    }
    Ok(current)
}

fn read(metadata: &Metadata) -> Result<Table> {
    let report = text(&report::path(metadata))?;
    let table = Table::of(&report::outcomes(&report, metadata)?);
    if table.is_empty() {
        bail!("the report of the tests names no check of the kit");
    }
    Ok(table)
}

fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
