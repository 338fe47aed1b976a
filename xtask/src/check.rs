//! `cargo xtask check`: everything CI can say before it runs a test, one line each.
//!
//! A failure does not stop the checks after it; the end names what failed and how to mend it.

mod direction;
mod files;
mod licences;

use std::io::{Write, stdout};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;

use crate::cargo::cargo;
use crate::codegen;
use crate::repository::Repository;

/// Every check, the quick ones first.
const CHECKS: &[Check] = &[
    Check {
        name: "format",
        mend: "cargo fmt",
        run: |repository| quiet(repository, &mut cargo("fmt --check")),
    },
    Check {
        name: "direction",
        mend: "move the dependency; xtask/README.md says which way they point",
        run: |repository| {
            let mut findings = direction::findings(&repository.metadata);
            findings.extend(direction::facade_named_elsewhere(repository)?);
            Ok(Report::failing(findings))
        },
    },
    Check {
        name: "licences",
        mend: "choose another crate, or argue for the licence in xtask/src/check/licences.rs",
        run: |repository| Ok(Report::failing(licences::findings(&repository.metadata))),
    },
    Check {
        name: "headers",
        mend: "open the file with `//!`: what it owns, what it does not know, its invariants",
        run: |repository| files::without_header(repository).map(Report::failing),
    },
    Check {
        name: "readmes",
        mend: "write the README.md: what the folder owns and what it leaves to others",
        run: |repository| Ok(Report::failing(files::without_readme(&repository.files))),
    },
    Check {
        name: "paths",
        mend: "use a path relative to the repository, or an environment variable",
        run: |repository| files::machine_paths(repository).map(Report::failing),
    },
    Check {
        name: "lengths",
        mend: "look for the second concept in the file",
        run: |repository| files::too_long(repository).map(Report::warning),
    },
    Check {
        name: "generated",
        mend: "cargo xtask codegen",
        run: |repository| match codegen::generator(&repository.metadata, true) {
            Some(mut command) => quiet(repository, &mut command),
            None => Ok(Report::warning(vec![
                "no generator in this workspace".to_owned(),
            ])),
        },
    },
    Check {
        name: "contracts",
        mend: "lockstep contract release, or mend what it names; schemas/CI.md says how",
        run: contracts,
    },
    Check {
        name: "clippy",
        mend: "cargo clippy --workspace --all-targets --fix --allow-dirty, then the rest by hand",
        run: |repository| {
            let lint = "clippy -q --workspace --all-targets --keep-going -- -D warnings";
            quiet(repository, &mut cargo(lint))
        },
    },
    Check {
        name: "docs",
        mend: "RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps, and mend what it names",
        run: |repository| {
            let mut doc = cargo("doc -q --workspace --no-deps --keep-going");
            quiet(repository, doc.env("RUSTDOCFLAGS", "-D warnings"))
        },
    },
];

struct Check {
    name: &'static str,
    /// What to do about a failure; a command where there is one.
    mend: &'static str,
    run: fn(&Repository) -> Result<Report>,
}

/// The names a person may choose from.
pub(crate) fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(CHECKS.iter().map(|check| check.name))
}

pub(crate) fn run(only: &[String]) -> Result<ExitCode> {
    let repository = Repository::open()?;
    let chosen = |check: &&Check| only.is_empty() || only.iter().any(|name| name == check.name);
    let failed = run_each(CHECKS.iter().filter(chosen), &repository, &mut stdout())?;
    Ok(ExitCode::from(u8::from(failed > 0)))
}

/// Runs the checks, reports to `out`, and counts those that failed.
fn run_each<'a>(
    checks: impl Iterator<Item = &'a Check>,
    repository: &Repository,
    out: &mut impl Write,
) -> Result<usize> {
    let mut failed = Vec::new();
    for check in checks {
        // The name stands there while the check works.
        write!(out, "{:<12}", check.name)?;
        out.flush()?;
        let started = Instant::now();
        // A check that cannot run has failed, and the others still have something to say.
        let report = (check.run)(repository)
            .unwrap_or_else(|error| Report::failing(vec![format!("{error:#}")]));
        writeln!(
            out,
            "{:<8}{:>7.1} s",
            report.verdict(),
            started.elapsed().as_secs_f64()
        )?;
        for finding in &report.findings {
            writeln!(out, "    {}", finding.trim_end().replace('\n', "\n    "))?;
        }
        if report.verdict() == "FAILED" {
            failed.push(check);
        }
    }
    for check in &failed {
        writeln!(out, "{} failed. To mend it: {}", check.name, check.mend)?;
    }
    Ok(failed.len())
}

/// What one check found.
struct Report {
    findings: Vec<String>,
    fails: bool,
}

impl Report {
    /// Findings that fail the check.
    fn failing(findings: Vec<String>) -> Self {
        let fails = true;
        Self { findings, fails }
    }

    /// Findings to think about.
    fn warning(findings: Vec<String>) -> Self {
        let fails = false;
        Self { findings, fails }
    }

    fn verdict(&self) -> &'static str {
        match (self.findings.is_empty(), self.fails) {
            (true, _) => "ok",
            (false, true) => "FAILED",
            (false, false) => "warning",
        }
    }
}

/// Holds our own contracts to what everybody else's are held to.
fn contracts(repository: &Repository) -> Result<Report> {
    let commands = ["lint", "breaking --against releases"];
    let mut findings = Vec::new();
    for command in commands {
        let line = format!("run -q -p lockstep -- contract {command} schemas/contracts");
        findings.extend(quiet(repository, &mut cargo(&line))?.findings);
    }
    Ok(Report::failing(findings))
}

/// Runs a command at the root whose output matters only when it fails.
fn quiet(repository: &Repository, command: &mut Command) -> Result<Report> {
    let output = command
        .current_dir(repository.root())
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(Report::failing(Vec::new()));
    }
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    if said.trim().is_empty() {
        said = format!("{:?} ended with {}", command.get_program(), output.status);
    }
    Ok(Report::failing(vec![said]))
}

#[cfg(test)]
mod tests {
    use anyhow::bail;
    use serde_json::json;

    use super::*;

    #[test]
    fn checks_go_on_after_a_failure_and_the_end_says_how_to_mend_it() {
        let checks = [
            Check {
                name: "one",
                mend: "do this",
                run: |_| bail!("no such tool"),
            },
            Check {
                name: "two",
                mend: "",
                run: |_| Ok(Report::warning(vec!["long".to_owned()])),
            },
            Check {
                name: "three",
                mend: "",
                run: |_| Ok(Report::failing(Vec::new())),
            },
        ];
        let metadata = json!({"packages": [], "workspace_root": "", "target_directory": ""});
        let metadata = serde_json::from_value(metadata).unwrap();
        let repository = Repository {
            metadata,
            files: Vec::new(),
        };
        let mut out = Vec::new();

        let failed = run_each(checks.iter(), &repository, &mut out).unwrap();

        let lines = String::from_utf8(out).unwrap().replace(" 0.0 s", "");
        let lines: Vec<&str> = lines.lines().map(str::trim).collect();
        let expected = [
            "one         FAILED",
            "no such tool",
            "two         warning",
            "long",
            "three       ok",
            "one failed. To mend it: do this",
        ];
        assert_eq!((failed, lines.as_slice()), (1, expected.as_slice()));
    }
}
