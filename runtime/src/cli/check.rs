//! `lockstep check`: everything that can be known before a start.

use lockstep_core::diagnostic::{Diagnostic, Severity};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Context, Exit, any_error};
use crate::config::{self, Config};
use crate::contract::repository::is_unreadable;
use crate::versions::Known;

/// Look at everything before the start: configuration, contracts, systems, mappings, log
///
/// Opens every system, compares every mapping with the tables that are there, asks every connector what would keep it from working. Changes nothing, and may run beside a running Lockstep.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lockstep check\n  \
    lockstep check --offline          only the files, no system is opened\n  \
    lockstep check --json | jq .findings\n\n\
    Exit codes: 0 clean (warnings allowed), 1 errors, 2 the configuration or a contract cannot be read (no TOML, no YAML, no contract there), 3 a system is out of reach or the log's folder cannot be written.")]
pub(super) struct Args {
    /// Judge the configuration and the contracts only, without opening a system
    #[arg(long)]
    offline: bool,
}

/// The result of `lockstep check --json`, and of every command that could not start.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Checked<'a> {
    /// Whether no finding is an error.
    ok: bool,
    /// Everything that was found, in the order of the files.
    findings: &'a [Diagnostic],
}

impl<'a> Checked<'a> {
    pub(super) fn of(findings: &'a [Diagnostic]) -> Self {
        Checked {
            ok: !any_error(findings),
            findings,
        }
    }
}

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        let (mut config, mut findings) = match config::load(&cx.file, &cx.registry) {
            Ok(loaded) => loaded,
            Err(findings) => {
                // A text that cannot be read is no finding about what it says.
                let unreadable = |f: &Diagnostic| {
                    matches!(f.code, "LS-G001" | "LS-G002" | "LS-G023") || is_unreadable(f)
                };
                let exit = if findings.iter().any(unreadable) {
                    Exit::Usage
                } else {
                    Exit::Findings
                };
                return cx.fail(&findings, exit);
            }
        };
        let mut exit = Exit::Clean;
        if self.offline {
            findings.extend(config::preflight::between(&config));
            if any_error(&findings) {
                exit = Exit::Findings;
            }
        } else {
            let known = Known::reach(&config).await;
            let refused = known.judge(&config);
            known.apply(&mut config);
            let preflight = config::preflight(&config, &cx.registry).await;
            exit = if preflight.is_sound() && refused.is_empty() {
                Exit::Clean
            } else if !refused.is_empty() {
                Exit::Findings
            } else if preflight.is_environment() {
                Exit::Environment
            } else {
                Exit::Findings
            };
            findings.extend(refused);
            findings.extend(preflight.findings);
            findings.extend(config::preflight::running(&config).await);
        }
        findings.extend(config::preflight::links(&config));
        if cx.output.is_json() {
            cx.output.json(&Checked::of(&findings));
        } else {
            cx.output.findings(&findings);
            cx.output.text(&summary(&config, &findings, self.offline));
        }
        exit
    }
}

fn summary(config: &Config, findings: &[Diagnostic], offline: bool) -> String {
    let of = |severity| findings.iter().filter(|f| f.severity == severity).count();
    let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
    let sound = if errors > 0 {
        "not ready"
    } else if offline {
        "the files are sound; no system was opened"
    } else {
        "ready"
    };
    format!(
        "{sound}: {}, {}, {}; {}, {}",
        count(config.contracts.len(), "contract"),
        count(config.systems.len(), "system"),
        count(config.flows.len(), "flow"),
        count(errors, "error"),
        count(warnings, "warning"),
    )
}

/// `1 flow`, `2 flows`.
pub(crate) fn count(number: usize, what: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {what}{s}")
}
