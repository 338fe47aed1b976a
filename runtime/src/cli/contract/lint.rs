//! `lockstep contract lint`: everything that can be wrong with contracts, releases and approvals as they stand.

use super::opening::{Paths, Reporting, today};
use crate::cli::{Context, Exit};
use crate::contract::consumers::Consumers;
use crate::contract::judge::{self, Before, Setting};
use crate::contract::report::Item;
use crate::contract::repository::Repository;
use crate::contract::{Trouble, approvals, links, release};

/// Look for mistakes in contracts
///
/// Reads contracts, the types that they share, their releases and approvals, and names every mistake with its place and what to do. Changes nothing and needs no Git.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lockstep contract lint\n  \
    lockstep contract lint schemas/contracts/customer\n  \
    lockstep contract lint --fail-on warning --output junit=lint.xml\n\n\
    Exit codes: 0 clean (warnings allowed unless --fail-on), 1 findings, 2 a contract cannot be read or wrong usage, 3 environment.")]
pub(super) struct Args {
    #[command(flatten)]
    paths: Paths,
    #[command(flatten)]
    reporting: Reporting,
}

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        match self.lint(cx) {
            Ok((repository, items)) => {
                let report = self.reporting.report("lint", &repository, items);
                self.reporting.finish(cx, report, repository.unreadable)
            }
            Err(trouble) => self.reporting.trouble(cx, "lint", trouble),
        }
    }

    fn lint(&self, cx: &Context) -> Result<(Repository, Vec<Item>), Trouble> {
        let repository = self.paths.open(cx)?;
        let today = today();
        // Nothing tells what stood before the change, so whoever holds a role now or by the last release holds it.
        let teams = judge::teams(&repository, &Before::Releases);
        let all_read = repository.broken.is_empty();
        let approvals = approvals::lint(&repository.approvals, &teams, all_read, today);
        let setting = Setting {
            consumers: &Consumers::default(),
            today,
        };
        let astray = release::astray(&repository, &setting);
        let items = repository
            .findings
            .iter()
            .cloned()
            .chain(links::dangling(&repository))
            .chain(approvals)
            .chain(astray)
            .map(Item::from)
            .collect();
        Ok((repository, items))
    }
}
