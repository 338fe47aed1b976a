//! `lockstep contract breaking`: what a change of contracts breaks, and for whom.

use lockstep_core::diagnostic::Severity;

use super::opening::{Comparison, Paths, Reporting, today};
use crate::cli::{Context, Exit};
use crate::contract::judge::{self, Setting};
use crate::contract::report::{Item, Report};
use crate::contract::{Trouble, links, release};

/// Stop changes that break somebody
///
/// Compares contracts with an older state and with their releases, in the directions that each promises. A break comes with a document that shows it, the systems it affects, and a fingerprint by which it can be approved. The work tree is not touched, and nothing is fetched.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lockstep contract breaking                          with the branch that changes go to, at the merge base\n  \
    lockstep contract breaking --against v1.4           with a tag\n  \
    lockstep contract breaking --against releases       with the releases alone, without Git\n  \
    lockstep contract breaking --format github --output sarif=contracts.sarif\n\n\
    Exit codes: 0 nothing breaks, 1 findings, 2 a contract cannot be read or wrong usage, 3 Git, a revision or a file is missing.")]
pub(super) struct Args {
    #[command(flatten)]
    paths: Paths,
    #[command(flatten)]
    comparison: Comparison,
    #[command(flatten)]
    reporting: Reporting,
}

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        match self.report(cx) {
            Ok((report, unreadable)) => self.reporting.finish(cx, report, unreadable),
            Err(trouble) => self.reporting.trouble(cx, "breaking", trouble),
        }
    }

    fn report(&self, cx: &Context) -> Result<(Report, bool), Trouble> {
        let repository = self.paths.open(cx)?;
        let (base, before) = self.comparison.open(&repository)?;
        let (consumers, mut items) = self.comparison.consumers(cx);
        let setting = Setting {
            consumers: &consumers,
            today: today(),
        };
        items.extend(judge::judge(&repository, &before, &setting));
        // Warnings about a contract by itself are the business of `lint`; what has errors cannot be compared.
        items.extend(repository.obstacles().map(Item::from));
        let dangling = links::dangling(&repository).into_iter();
        let dangling = dangling.filter(|finding| finding.severity == Severity::Error);
        items.extend(dangling.map(Item::from));
        let astray = release::astray(&repository, &setting);
        items.extend(astray.into_iter().map(Item::from));
        let unreadable = !repository.broken.is_empty();
        let mut report = self.reporting.report("breaking", &repository, items);
        report.against = Some(base);
        if let Some(files) = before.files() {
            let texts = files
                .by_path
                .iter()
                .filter_map(|(path, text)| Some((path.clone(), text.clone().ok()?)));
            report.sources.old = texts.collect();
        } else {
            report.sources.old.clone_from(&report.sources.new);
        }
        Ok((report, unreadable))
    }
}
