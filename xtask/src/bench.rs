//! `cargo xtask bench`: builds the runtime and the benchmarks and becomes one of them.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::ValueEnum;

use crate::cargo::{Built, STAGE, become_program};
use crate::servers::{self, Tool};

/// Every benchmark there is.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Name {
    /// The way of a change from commit to commit
    Pipeline,
    /// The same at several sizes of transactions, snapshots, and one large transaction
    Cdc,
    /// The check of contracts, and the commands that CI waits for
    Contracts,
    /// The same between SQLite files, beside a copy by SQL alone
    Sqlite,
}

impl Name {
    fn as_str(self) -> &'static str {
        match self {
            Name::Pipeline => "pipeline",
            Name::Cdc => "cdc",
            Name::Contracts => "contracts",
            Name::Sqlite => "sqlite",
        }
    }

    /// The servers it measures.
    fn tools(self) -> &'static [Tool] {
        match self {
            Name::Pipeline | Name::Cdc => &[Tool::NatsServer, Tool::Postgres],
            Name::Contracts | Name::Sqlite => &[],
        }
    }

    /// The servers without which it measures less.
    fn more_tools(self) -> &'static [Tool] {
        match self {
            Name::Cdc => &[Tool::Mariadb, Tool::Mongod],
            Name::Pipeline | Name::Contracts | Name::Sqlite => &[],
        }
    }
}

pub(crate) fn run(name: Name, json: bool, args: &[OsString]) -> Result<ExitCode> {
    let mut variables = servers::provide(name.tools(), true)?;
    variables.extend(servers::provide(name.more_tools(), false)?);
    let built = Built::build("quick", &STAGE)?;
    let mut bench = Command::new(built.path("bench")?);
    bench.envs(variables);
    bench.arg(name.as_str());
    bench.arg("--lockstep").arg(built.path("lockstep")?);
    if json {
        bench.arg("--json");
    }
    become_program(bench.args(args))
}
