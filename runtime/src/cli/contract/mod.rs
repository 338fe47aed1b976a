//! `lockstep contract`: work with contracts, on files, in Git and in CI.

pub(super) mod approve;
mod breaking;
mod compat;
mod data;
pub(super) mod diff;
mod drift;
mod exported;
mod fmt;
mod generate;
mod import;
mod init;
mod lint;
mod named;
mod neighbours;
mod opening;
mod profile;
mod raw;
pub(super) mod release;
pub(super) mod rules;
mod system;
mod test;
pub(super) mod written;

pub(super) use self::fmt::Laid;
use super::{Context, Exit};

pub(super) use raw::Line as PairLine;

/// Work with contracts: write, check, compare, release them
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Init(init::Args),
    Lint(lint::Args),
    Fmt(fmt::Args),
    Breaking(breaking::Args),
    Diff(diff::Args),
    Release(release::Args),
    Test(test::Args),
    Profile(profile::Args),
    Drift(drift::Args),
    Compat(compat::Args),
    Gen(generate::Args),
    Import(import::Args),
    Rules(rules::Args),
    Approve(approve::Args),
}

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        match self.what {
            What::Init(args) => args.run(cx).await,
            What::Lint(args) => args.run(cx).await,
            What::Fmt(args) => args.run(cx).await,
            What::Breaking(args) => args.run(cx).await,
            What::Diff(args) => args.run(cx).await,
            What::Release(args) => args.run(cx).await,
            What::Test(args) => args.run(cx).await,
            What::Profile(args) => args.run(cx).await,
            What::Drift(args) => args.run(cx).await,
            What::Compat(args) => args.run(cx).await,
            What::Gen(args) => args.run(cx).await,
            What::Import(args) => args.run(cx).await,
            What::Rules(args) => args.run(cx).await,
            What::Approve(args) => args.run(cx).await,
        }
    }
}
