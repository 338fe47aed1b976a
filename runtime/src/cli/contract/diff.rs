//! `lockstep contract diff`: the changelog between two states of contracts.

use std::fmt::Write as _;

use lockstep_core::diagnostic::Severity;
use schemars::JsonSchema;
use serde::Serialize;

use super::opening::{Comparison, Paths, today};
use crate::cli::{Context, Exit};
use crate::contract::Trouble;
use crate::contract::base::Base;
use crate::contract::changelog::{Change, Group};
use crate::contract::judge::{self, Pair, Setting};

/// Say what changed in contracts: what breaks, what is compatible, what is documentation
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lockstep contract diff                               since the branch that changes go to\n  \
    lockstep contract diff --against releases            since the last release of each contract\n  \
    lockstep contract diff customer --against customer/releases/1.0.0.lock.json\n  \
    lockstep contract diff --format markdown > CHANGES.md\n\n\
    Exit codes: 0 done, whatever changed; 2 a contract cannot be read or wrong usage; 3 Git, a revision or a file is missing.")]
pub(super) struct Args {
    #[command(flatten)]
    paths: Paths,
    #[command(flatten)]
    comparison: Comparison,
    /// The form of the changelog
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    format: Form,
}

/// A form of the changelog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// For people
    Human,
    /// For release notes
    Markdown,
    /// One JSON object
    Json,
}

/// The result of `lockstep contract diff --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct Changelog {
    /// What the contracts were compared with.
    against: Base,
    /// The contracts that changed, by entity.
    contracts: Vec<Changed>,
}

/// A contract that changed.
#[derive(Debug, Serialize, JsonSchema)]
struct Changed {
    /// The entity.
    entity: String,
    /// The contract's id.
    contract: String,
    /// Its version before; absent for a new contract.
    #[serde(skip_serializing_if = "Option::is_none")]
    old_version: Option<String>,
    /// Its version now; absent for one that is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    new_version: Option<String>,
    /// What changed, breaks first.
    changes: Vec<Change>,
}

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        let log = match self.changelog(cx) {
            Ok(log) => log,
            Err(trouble) => {
                let exit = if trouble.environment {
                    Exit::Environment
                } else {
                    Exit::Usage
                };
                return cx.fail(&[trouble.finding], exit);
            }
        };
        match self.format {
            Form::Human if !cx.output.is_json() => cx.output.text(&log.human()),
            Form::Markdown if !cx.output.is_json() => cx.output.text(&log.markdown()),
            _ => cx.output.json(&log),
        }
        Exit::Clean
    }

    fn changelog(&self, cx: &Context) -> Result<Changelog, Trouble> {
        let repository = self.paths.open(cx)?;
        if let Some(error) = repository
            .findings
            .iter()
            .find(|finding| finding.severity == Severity::Error)
        {
            return Err(Trouble {
                finding: error.clone(),
                environment: false,
            });
        }
        let (against, before) = self.comparison.open(&repository)?;
        let (consumers, _) = self.comparison.consumers(cx);
        let setting = Setting {
            consumers: &consumers,
            today: today(),
        };
        let pairs = judge::pairs(&repository, &before);
        let mut contracts: Vec<Changed> = pairs
            .iter()
            .filter_map(|pair| Changed::of(pair, &setting))
            .collect();
        contracts.sort_by(|a, b| a.entity.cmp(&b.entity));
        Ok(Changelog { against, contracts })
    }
}

impl Changed {
    /// What changed in a pair; nothing where both are equal.
    fn of(pair: &Pair<'_>, setting: &Setting<'_>) -> Option<Changed> {
        let any = pair.new.or(pair.old)?;
        let version =
            |loaded: &lockstep_core::contract::Loaded| loaded.contract.version.to_string();
        let mut changed = Changed {
            entity: any.contract.entity.clone(),
            contract: any.contract.id.clone(),
            old_version: pair.old.map(version),
            new_version: pair.new.map(version),
            changes: Vec::new(),
        };
        if pair.old.is_some() && pair.new.is_some() {
            changed.changes = judge::changed(pair, setting);
            if changed.changes.is_empty() && changed.old_version == changed.new_version {
                return None;
            }
        }
        Some(changed)
    }

    /// `customer 1.0.0 → 1.1.0`.
    fn title(&self) -> String {
        match (&self.old_version, &self.new_version) {
            (Some(old), Some(new)) if old == new => format!("{} {new}", self.entity),
            (Some(old), Some(new)) => format!("{} {old} → {new}", self.entity),
            (None, Some(new)) => format!("{} {new}, new", self.entity),
            (Some(old), None) => format!("{} {old}, removed", self.entity),
            (None, None) => self.entity.clone(),
        }
    }

    fn of_group(&self, group: Group) -> impl Iterator<Item = &Change> {
        self.changes
            .iter()
            .filter(move |change| change.group == group)
    }
}

/// The groups in their order, with their titles.
const GROUPS: [(Group, &str); 3] = [
    (Group::Breaking, "Breaking"),
    (Group::Compatible, "Compatible"),
    (Group::Documentation, "Documentation"),
];

impl Changelog {
    fn human(&self) -> String {
        let mut text = String::new();
        for changed in &self.contracts {
            let _ = writeln!(text, "{}", changed.title());
            for (group, title) in GROUPS {
                for (i, change) in changed.of_group(group).enumerate() {
                    if i == 0 {
                        let _ = writeln!(text, "  {title}");
                    }
                    let _ = writeln!(text, "    {}{}", change.message, rules(change));
                }
            }
        }
        let number = crate::cli::count(self.contracts.len(), "contract");
        text + &format!("{number} changed since {}", self.against.words())
    }

    fn markdown(&self) -> String {
        let mut text = String::new();
        for changed in &self.contracts {
            let _ = writeln!(text, "## {}\n", changed.title());
            for (group, title) in GROUPS {
                for (i, change) in changed.of_group(group).enumerate() {
                    if i == 0 {
                        let _ = writeln!(text, "### {title}\n");
                    }
                    let message = change
                        .message
                        .replace('<', "&lt;")
                        .replace(['\n', '\r'], " ");
                    let _ = writeln!(text, "- {message}{}", rules(change));
                }
                if changed.of_group(group).next().is_some() {
                    text.push('\n');
                }
            }
        }
        if text.is_empty() {
            text = format!("No contract changed since {}.\n", self.against.words());
        }
        text
    }
}

fn rules(change: &Change) -> String {
    if change.rules.is_empty() {
        return String::new();
    }
    format!(" ({})", change.rules.join(", "))
}
