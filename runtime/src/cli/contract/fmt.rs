//! `lockstep contract fmt`: contracts in one order and layout, with every comment where it was.

use std::path::Path;

use lockstep_core::contract::edit;
use lockstep_core::diagnostic::{Diagnostic, Severity};
use schemars::JsonSchema;
use serde::Serialize;

use super::opening::Paths;
use crate::cli::{Context, Exit};
use crate::contract::Trouble;
use crate::contract::files::{CONTRACT, Files};

/// Write contracts in their usual order and layout
///
/// Puts the keys into one order and indents by two blanks. Comments and other vendors' properties stay; a file that cannot be laid out safely is left as it is, and named.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lockstep contract fmt\n  \
    lockstep contract fmt --check\n  \
    lockstep contract fmt schemas/contracts/customer --json\n\n\
    Exit codes: 0 every contract is laid out, 1 with --check: some are not, or were left, 2 a contract cannot be read or wrong usage, 3 environment.")]
pub(super) struct Args {
    #[command(flatten)]
    paths: Paths,
    /// Write nothing; only say which contracts are not laid out
    #[arg(long)]
    check: bool,
}

/// What `contract fmt --json` prints.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(in crate::cli) struct Laid {
    /// Files that were laid out, or with `--check` would be.
    changed: Vec<String>,
    /// Files that were laid out already.
    unchanged: Vec<String>,
    /// Files that were left as they are.
    left: Vec<String>,
    /// Why files were left, and what could not be read or written.
    findings: Vec<Diagnostic>,
}

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        match self.lay_out(cx) {
            Ok((laid, exit)) => {
                if cx.output.is_json() {
                    cx.output.json(&laid);
                } else {
                    let word = if self.check {
                        "not laid out"
                    } else {
                        "laid out"
                    };
                    for file in &laid.changed {
                        cx.output.text(&format!("{word}: {file}"));
                    }
                    for file in &laid.left {
                        cx.output.text(&format!("left: {file}"));
                    }
                    cx.output.findings(&laid.findings);
                }
                exit
            }
            Err(trouble) => {
                if cx.output.is_json() {
                    cx.output.json(&Laid {
                        findings: vec![trouble.finding],
                        ..Laid::default()
                    });
                } else {
                    cx.output.findings(std::slice::from_ref(&trouble.finding));
                }
                if trouble.environment {
                    Exit::Environment
                } else {
                    Exit::Usage
                }
            }
        }
    }

    fn lay_out(&self, cx: &Context) -> Result<(Laid, Exit), Trouble> {
        let roots = self.paths.roots(&cx.file)?;
        let files = Files::on_disk(&roots)?;
        let mut laid = Laid::default();
        let mut unreadable = false;
        for (path, text) in &files.by_path {
            let mut roots = roots
                .iter()
                .filter_map(|root| Some((root, root.below(path)?)));
            if !path.ends_with(CONTRACT) || !roots.any(|(root, below)| root.asks_for(below)) {
                continue;
            }
            let text = match text {
                Ok(text) => text,
                Err(finding) => {
                    laid.left.push(path.clone());
                    laid.findings.push(finding.clone());
                    unreadable = true;
                    continue;
                }
            };
            match edit::format(path, text) {
                Ok(new) if new == **text => laid.unchanged.push(path.clone()),
                Ok(new) => {
                    if !self.check {
                        write(path, &new)?;
                    }
                    laid.changed.push(path.clone());
                }
                Err(findings) => {
                    laid.left.push(path.clone());
                    for mut finding in findings {
                        // A text that merely cannot be laid out is no fault.
                        if finding.code == edit::UNSAFE_CODE {
                            finding.severity = Severity::Warning;
                        } else {
                            unreadable = true;
                        }
                        laid.findings.push(finding);
                    }
                }
            }
        }
        let exit = if unreadable {
            Exit::Usage
        } else if self.check && !(laid.changed.is_empty() && laid.left.is_empty()) {
            Exit::Findings
        } else {
            Exit::Clean
        };
        Ok((laid, exit))
    }
}

/// Replaces a file by way of a new one beside it, so that it is never half written.
fn write(path: &str, text: &str) -> Result<(), Trouble> {
    let path = Path::new(path);
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let written = std::fs::write(&beside, text).and_then(|()| {
        let permissions = std::fs::metadata(path)?.permissions();
        std::fs::set_permissions(&beside, permissions)?;
        std::fs::rename(&beside, path)
    });
    written.map_err(|error| {
        let _ = std::fs::remove_file(&beside);
        let message = format!("`{}` cannot be written: {error}", path.display());
        Trouble::environment("LS-K008", message, "mend its permissions")
    })
}
