//! `lockstep contract approve`: lets a finding pass, by somebody with the right role, for a reason and a time.

use std::path::{Path, PathBuf};

use jiff::ToSpan as _;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::Serialize;

use super::opening::{Comparison, Paths, today};
use crate::cli::{Context, Exit};
use crate::contract::approvals::{Approval, DAYS, DAYS_MAX, holds, who};
use crate::contract::git::Git;
use crate::contract::judge::{self, Setting};
use crate::contract::report::Item;
use crate::contract::repository::Repository;
use crate::contract::{Trouble, release};

/// Let a finding of `breaking` pass, with a reason and an end
///
/// Writes `approvals/FINGERPRINT.yaml` beside the contracts, to be committed with the change. The approver must hold the role that the rule asks for, by the contract's `team` as it was before the change.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lockstep contract approve 1f0c9a27d3b4 --reason \"billing moves to v2 in May\"\n  \
    lockstep contract approve 1f0c9a27d3b4 --reason \"agreed in DATA-112\" --by jane@example.com --expires 2027-03-31\n\n\
    Exit codes: 0 written, 1 refused, 2 a contract cannot be read or wrong usage, 3 Git, a revision or a file is missing.")]
pub(super) struct Args {
    /// The fingerprint that `breaking` shows, or its first four characters or more
    fingerprint: String,
    /// Why the change may pass
    #[arg(long)]
    reason: String,
    /// The last day on which the approval counts [default: 90 days from now; at most 366]
    #[arg(long, value_name = "DATE")]
    expires: Option<Date>,
    /// Who approves, as the contract's `team` names them [default: Git's user.email]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// The role that the approver acts in [default: the one that the rule asks for]
    #[arg(long)]
    role: Option<String>,
    /// A contract file or a folder of contracts
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    comparison: Comparison,
}

/// The result of `lockstep contract approve --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct Approved {
    /// The file that was written.
    file: String,
    /// The finding that it excuses.
    fingerprint: String,
    /// Its rule.
    rule: String,
    /// The contract's id.
    contract: String,
    /// Who approved.
    approved_by: String,
    /// In which role.
    role: String,
    /// The last day on which it counts.
    expires: String,
}

/// How an approval ended that was not written.
enum Refused {
    Trouble(Trouble),
    /// The finding cannot be approved like this.
    Finding(Trouble),
}

impl From<Trouble> for Refused {
    fn from(trouble: Trouble) -> Refused {
        Refused::Trouble(trouble)
    }
}

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        match self.approve(cx) {
            Ok(approval) => {
                let approved = Approved {
                    file: approval.file,
                    fingerprint: approval.fingerprint,
                    rule: approval.rule,
                    contract: approval.contract,
                    approved_by: approval.approved_by,
                    role: approval.role,
                    expires: approval.expires.to_string(),
                };
                if cx.output.is_json() {
                    cx.output.json(&approved);
                } else {
                    cx.output.text(&format!(
                        "{} of `{}` is approved by {} ({}) until {}; commit {}",
                        approved.rule,
                        approved.contract,
                        approved.approved_by,
                        approved.role,
                        approved.expires,
                        approved.file
                    ));
                }
                Exit::Clean
            }
            Err(Refused::Finding(trouble)) => cx.fail(&[trouble.finding], Exit::Findings),
            Err(Refused::Trouble(trouble)) => {
                let exit = if trouble.environment {
                    Exit::Environment
                } else {
                    Exit::Usage
                };
                cx.fail(&[trouble.finding], exit)
            }
        }
    }

    fn approve(&self, cx: &Context) -> Result<Approval, Refused> {
        let today = today();
        let expires = self.expires(today)?;
        if self.reason.trim().is_empty() {
            return Err(Trouble::usage(
                "LS-K012",
                "the reason is empty",
                "say why the change may pass",
            )
            .into());
        }
        let repository = Paths {
            paths: self.paths.clone(),
        }
        .open(cx)?;
        let (_, before) = self.comparison.open(&repository)?;
        let (consumers, _) = self.comparison.consumers(cx);
        let setting = Setting {
            consumers: &consumers,
            today,
        };
        let items = judge::judge(&repository, &before, &setting);
        let item = self.item(&items)?;
        let (Some(contract), Some(asked)) = (&item.contract, item.approver) else {
            return Err(refused(
                "LS-K016",
                format!("{} cannot be approved", item.rule),
                "mend the change instead",
            ));
        };
        let role = self.role.clone().unwrap_or_else(|| asked.to_owned());
        let by = self.by(&repository)?;
        let teams = judge::teams(&repository, &before);
        let members = teams.get(contract).cloned().unwrap_or_default();
        if !holds(&members, asked, &by) || !holds(&members, &role, &by) {
            let message = format!(
                "`{by}` does not hold the role `{asked}` that {} asks for",
                item.rule
            );
            return Err(refused("LS-K015", message, &who(&members, asked)));
        }
        let folder = repository
            .contract(contract)
            .or(repository.contracts.first())
            .map(|entry| repository.approvals_folder(entry));
        let mut approval = Approval {
            file: format!("{}{}.yaml", folder.unwrap_or_default(), item.fingerprint),
            text: String::new(),
            fingerprint: item.fingerprint.clone(),
            rule: item.rule.to_owned(),
            contract: contract.clone(),
            reason: self.reason.trim().to_owned(),
            approved_by: by,
            role: asked.to_owned(),
            expires,
        };
        approval.text = approval.write();
        release::replace(Path::new(&approval.file), &approval.text)?;
        Ok(approval)
    }

    fn expires(&self, today: Date) -> Result<Date, Trouble> {
        let wrong =
            |message: String| Trouble::usage("LS-K012", message, "name a day such as 2027-03-31");
        let end = |days: i64| {
            today
                .checked_add(days.days())
                .map_err(|error| wrong(error.to_string()))
        };
        let expires = match self.expires {
            Some(expires) => expires,
            None => end(DAYS)?,
        };
        if expires < today {
            return Err(wrong(format!("{expires} is over already")));
        }
        if expires > end(DAYS_MAX)? {
            return Err(wrong(format!(
                "{expires} is more than {DAYS_MAX} days away"
            )));
        }
        Ok(expires)
    }

    /// The one finding that is meant.
    fn item<'a>(&self, items: &'a [Item]) -> Result<&'a Item, Refused> {
        const SHORTEST: usize = 4;
        let asked = self.fingerprint.trim();
        if asked.len() < SHORTEST {
            return Err(refused(
                "LS-K016",
                format!("`{asked}` is too short for a fingerprint"),
                "write at least four characters of it",
            ));
        }
        let mut meant: Vec<&Item> = items
            .iter()
            .filter(|item| item.fingerprint.starts_with(asked))
            .collect();
        meant.sort_by(|a, b| a.fingerprint.cmp(&b.fingerprint));
        meant.dedup_by(|a, b| a.fingerprint == b.fingerprint);
        match meant.as_slice() {
            [item] => Ok(item),
            [] => Err(refused(
                "LS-K016",
                format!("no finding has the fingerprint `{asked}`"),
                "`lockstep contract breaking`, against the same base, shows the fingerprints",
            )),
            several => {
                let shown = several
                    .iter()
                    .map(|item| format!("{} ({})", item.fingerprint, item.rule));
                let shown = shown.collect::<Vec<_>>().join(", ");
                Err(refused(
                    "LS-K016",
                    format!("{} findings begin with `{asked}`", several.len()),
                    &format!("write more of the one that is meant: {shown}"),
                ))
            }
        }
    }

    fn by(&self, repository: &Repository) -> Result<String, Trouble> {
        if let Some(by) = &self.by {
            return Ok(by.trim().to_owned());
        }
        let folder = repository
            .files
            .roots
            .first()
            .map_or(".", |root| root.shown.as_str());
        let email = Git::open(Path::new(folder)).and_then(|git| git.setting("user.email"));
        email.ok().flatten().ok_or_else(|| {
            Trouble::usage(
                "LS-K015",
                "nobody is named as the approver",
                "say `--by NAME`, or set Git's user.email",
            )
        })
    }
}

fn refused(code: &'static str, message: String, help: &str) -> Refused {
    Refused::Finding(Trouble::usage(code, message, help))
}
