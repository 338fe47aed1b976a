//! `lockstep contract release`: publishes versions of contracts.

use lockstep_core::contract::compat;
use lockstep_core::diagnostic::{Diagnostic, Severity};
use schemars::JsonSchema;
use semver::Version;
use serde::Serialize;

use super::opening::{Comparison, Paths, today};
use crate::cli::{Context, Exit};
use crate::contract::Trouble;
use crate::contract::judge::Setting;
use crate::contract::links;
use crate::contract::release::{Plan, Wanted};
use crate::contract::report::{Item, Report, Style};
use crate::contract::repository::{Entry, Repository};

/// Publish versions of contracts
///
/// Finds the version that the change needs, writes it into the contract with all comments kept, and freezes the contract with its two schemas in `releases/VERSION.lock.json`. A published version never changes. Refused while the contract has errors or breaks somebody without approval.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lockstep contract release customer\n  \
    lockstep contract release customer --bump minor --dry-run\n  \
    lockstep contract release --all\n\n\
    Exit codes: 0 done or nothing to do, 1 refused, 2 a contract cannot be read or wrong usage, 3 environment.")]
pub(super) struct Args {
    /// The entities to release
    #[arg(value_name = "ENTITY", required_unless_present = "all")]
    entities: Vec<String>,
    /// Release everything that changed since its last release
    #[arg(long, conflicts_with = "entities")]
    all: bool,
    /// How much the version grows
    #[arg(long, value_name = "STEP", default_value = "auto")]
    bump: Bump,
    /// The version to release
    #[arg(long, value_name = "VERSION", conflicts_with_all = ["bump", "all"])]
    version: Option<Version>,
    /// Say what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// A contract file or a folder of contracts
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<std::path::PathBuf>,
}

/// How much the version grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Bump {
    /// As much as the change needs
    Auto,
    /// Somebody has to follow
    Major,
    /// Something new that nobody has to follow
    Minor,
    /// Nobody notices
    Patch,
}

/// The result of `lockstep contract release --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct Releases {
    /// Whether nothing stood in the way.
    ok: bool,
    /// Whether anything was written.
    written: bool,
    /// The releases, by entity.
    releases: Vec<Released>,
    /// Contracts that cannot be released because they have errors, by file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    broken: Vec<String>,
    /// What stands in the way, and what was approved.
    findings: Vec<Item>,
}

/// One release.
#[derive(Debug, Serialize, JsonSchema)]
struct Released {
    /// The entity.
    entity: String,
    /// The contract's id.
    contract: String,
    /// The last release before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    /// The version.
    version: String,
    /// The contract's file.
    file: String,
    /// The release file.
    lock: String,
    /// Whether something about this very contract stands in the way.
    refused: bool,
}

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        match self.release(cx) {
            Ok(releases) => {
                let exit = if releases.ok {
                    Exit::Clean
                } else {
                    Exit::Findings
                };
                if cx.output.is_json() {
                    cx.output.json(&releases);
                } else {
                    cx.output.text(&self.human(releases));
                }
                exit
            }
            Err(trouble) => {
                let exit = match trouble {
                    Trouble {
                        environment: true, ..
                    } => Exit::Environment,
                    Trouble {
                        finding:
                            Diagnostic {
                                code: "LS-K017" | "LS-K018",
                                ..
                            },
                        ..
                    } => Exit::Findings,
                    _ => Exit::Usage,
                };
                cx.fail(&[trouble.finding], exit)
            }
        }
    }

    fn release(&self, cx: &Context) -> Result<Releases, Trouble> {
        let repository = Paths {
            paths: self.paths.clone(),
        }
        .open(cx)?;
        let entries = self.entries(&repository)?;
        let (consumers, _) = Comparison::default().consumers(cx);
        let setting = Setting {
            consumers: &consumers,
            today: today(),
        };
        let mut plans = Vec::new();
        for entry in &entries {
            let wanted = self.wanted();
            plans.extend(Plan::of(&repository, entry, &wanted, &setting)?);
        }
        let mut items: Vec<Item> = own_errors(&repository, &entries, self.all);
        for plan in &plans {
            items.extend(
                plan.items
                    .iter()
                    .filter(|item| item.severity == Severity::Error)
                    .cloned(),
            );
        }
        let ok = items.iter().all(|item| item.approved.is_some());
        let written = ok && !self.dry_run && !plans.is_empty();
        if ok {
            // Everything is looked at before anything is written, and where nothing will be.
            let mut prepared = Vec::new();
            for plan in &plans {
                prepared.extend(plan.prepare(&repository)?);
            }
            for release in prepared.iter().filter(|_| written) {
                release.perform()?;
            }
        }
        let broken = repository.broken.iter().filter(|_| self.all).cloned();
        Ok(Releases {
            ok,
            written,
            releases: plans.iter().map(Released::of).collect(),
            broken: broken.collect(),
            findings: items,
        })
    }

    fn entries<'a>(&self, repository: &'a Repository) -> Result<Vec<&'a Entry>, Trouble> {
        if self.all {
            return Ok(repository
                .contracts
                .iter()
                .filter(|entry| entry.asked)
                .collect());
        }
        let mut entries = Vec::new();
        for name in &self.entities {
            let named =
                |entry: &&Entry| entry.loaded.contract.entity == *name || entry.id() == name;
            let Some(entry) = repository.contracts.iter().find(named) else {
                // A contract with errors has no entity that could be named.
                let error = repository
                    .findings
                    .iter()
                    .find(|finding| finding.severity == Severity::Error);
                let known = repository
                    .contracts
                    .iter()
                    .map(|entry| entry.loaded.contract.entity.as_str());
                let help = lockstep_core::diagnostic::suggestion(name, known);
                return Err(error.map_or_else(
                    || {
                        Trouble::usage(
                            "LS-U001",
                            format!("no contract is about an entity `{name}`"),
                            help,
                        )
                    },
                    |error| Trouble {
                        finding: error.clone(),
                        environment: false,
                    },
                ));
            };
            entries.push(entry);
        }
        Ok(entries)
    }

    fn wanted(&self) -> Wanted {
        match (&self.version, self.bump) {
            (Some(version), _) => Wanted::Version(version.clone()),
            (None, Bump::Auto) => Wanted::Auto,
            (None, Bump::Major) => Wanted::Step(compat::Bump::Major),
            (None, Bump::Minor) => Wanted::Step(compat::Bump::Minor),
            (None, Bump::Patch) => Wanted::Step(compat::Bump::Patch),
        }
    }

    fn human(&self, releases: Releases) -> String {
        let mut text = String::new();
        for file in &releases.broken {
            text += &format!("refused {file}: it has errors\n");
        }
        for released in &releases.releases {
            let verb = match (releases.ok, released.refused, self.dry_run) {
                (false, true, _) => "refused",
                // All or nothing, so that what belongs together is published together.
                (false, false, _) => "held back",
                (true, _, true) => "would release",
                (true, _, false) => "released",
            };
            let from = released
                .last
                .as_ref()
                .map_or_else(String::new, |last| format!(" after {last}"));
            text += &format!(
                "{verb} {} {}{from}: {}\n",
                released.entity, released.version, released.lock
            );
        }
        if !releases.findings.is_empty() {
            let mut report = Report::new("release", releases.findings, Severity::Error);
            report.contracts = releases.releases.len() + releases.broken.len();
            text += &report.render(crate::contract::report::Format::Human, Style::default());
        } else if releases.releases.is_empty() {
            text = "nothing changed since the last release".to_owned();
        }
        text
    }
}

impl Released {
    fn of(plan: &Plan) -> Released {
        Released {
            entity: plan.entity.clone(),
            contract: plan.contract.clone(),
            last: plan.last.as_ref().map(ToString::to_string),
            version: plan.version.to_string(),
            file: plan.file.clone(),
            lock: plan.lock.clone(),
            refused: plan.obstacles().next().is_some(),
        }
    }
}

/// Errors of the contracts to release themselves, and of their releases; of everything where everything is asked for.
fn own_errors(repository: &Repository, entries: &[&Entry], all: bool) -> Vec<Item> {
    let concerns = |finding: &&Diagnostic| {
        let file = finding.place.as_ref().map(|place| place.file.as_str());
        let of = |file: &str| {
            let own =
                |entry: &&Entry| entry.file == file || file.starts_with(&entry.releases_folder());
            entries.iter().any(own)
        };
        all || file.is_none_or(of)
    };
    let dangling = links::dangling(repository).into_iter();
    let dangling = dangling.filter(|finding| finding.severity == Severity::Error);
    let errors = repository.obstacles().chain(dangling);
    let errors = errors.filter(|finding| concerns(&finding));
    errors.map(Item::from).collect()
}
