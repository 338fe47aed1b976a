//! `cargo xtask test`: every test of the workspace, then the examples in the docs.
//!
//! End-to-end tests execute the runtime's binary, so it is built first and its path handed to them.
//! They talk to real servers, so these are found or installed first, and one PostgreSQL and one MariaDB are started that all tests share.

use std::env;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result};
use lockstep_servers::postgres::{self, SHARED, Server};
use lockstep_servers::{NO_SKIP, find, mariadb, mongodb};

use crate::cargo::{Built, cargo, succeeds};
use crate::repository::Metadata;
use crate::{say, servers};

/// Where tests find the runtime's binary.
const BINARY: &str = "LOCKSTEP_BIN";

pub(crate) fn run(filter: Option<&str>, ci: bool) -> Result<ExitCode> {
    let started = Instant::now();
    let ci = ci || env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    let metadata = Metadata::read(&["--no-deps"])?;
    // Whoever sets the variable has decided already, `0` included.
    let no_skip = match env::var(NO_SKIP) {
        Ok(value) => value,
        Err(_) => String::from(if ci { "1" } else { "" }),
    };
    let required = !matches!(no_skip.as_str(), "" | "0");
    let variables = servers::provide(&servers::ALL, required)?;
    let built = Built::with_tests()?;
    let shared = shared_postgres()?;
    let shared_mongodb = shared_mongodb()?;
    let shared_mariadb = shared_mariadb()?;

    let mut runner = runner(&metadata)?;
    let mut doc = cargo("test --quiet --workspace --doc --no-fail-fast");
    let mut passed = true;
    for command in [&mut runner, &mut doc] {
        command.current_dir(&metadata.workspace_root).args(filter);
        command.env(BINARY, built.path("lockstep")?);
        command
            .envs(variables.iter().cloned())
            .env(NO_SKIP, &no_skip);
        if let Some(server) = &shared {
            command.env(SHARED, server.url("postgres"));
        }
        if let Some(server) = &shared_mongodb {
            command.env(mongodb::SHARED, server.port().to_string());
        }
        if let Some(server) = &shared_mariadb {
            command.env(mariadb::SHARED, server.url("mysql"));
        }
        passed &= succeeds(command)?;
    }

    let verdict = if passed { "passed" } else { "FAILED" };
    say(&format!(
        "tests {verdict} in {:.1} s",
        started.elapsed().as_secs_f64()
    ));
    Ok(ExitCode::from(u8::from(!passed)))
}

/// The PostgreSQL that tests share, unless there is none, or somebody has named one already.
fn shared_postgres() -> Result<Option<Server>> {
    let named = env::var_os(SHARED).is_some_and(|value| !value.is_empty());
    if named || find::postgres_bin().is_none() {
        return Ok(None);
    }
    let options = postgres::Options {
        // Its databases are gone after the run; what has to outlive a crash is tested on private servers.
        fsync: false,
        ..postgres::Options::default()
    };
    let server = Server::launch(&options).context("cannot start the PostgreSQL of the tests")?;
    Ok(Some(server))
}

/// The MongoDB that tests share, unless there is none, or somebody has named one already.
fn shared_mongodb() -> Result<Option<mongodb::Server>> {
    let named = env::var_os(mongodb::SHARED).is_some_and(|value| !value.is_empty());
    if named || find::mongod().is_none() {
        return Ok(None);
    }
    let server = mongodb::Server::launch(&mongodb::Options::default());
    Ok(Some(
        server.context("cannot start the MongoDB of the tests")?,
    ))
}

/// The MariaDB that tests share, unless there is none, or somebody has named one already.
fn shared_mariadb() -> Result<Option<mariadb::Server>> {
    let named = env::var_os(mariadb::SHARED).is_some_and(|value| !value.is_empty());
    if named || find::mariadb().is_none() {
        return Ok(None);
    }
    let options = mariadb::Options {
        fsync: false,
        ..mariadb::Options::default()
    };
    let server =
        mariadb::Server::launch(&options).context("cannot start the MariaDB of the tests")?;
    Ok(Some(server))
}

/// cargo-nextest where it is or can be installed, else plain `cargo test`.
fn runner(metadata: &Metadata) -> Result<Command> {
    let Some(mut nextest) = nextest(metadata)? else {
        return Ok(cargo("test --workspace --no-fail-fast"));
    };
    nextest.args(["run", "--workspace"]);
    Ok(nextest)
}

fn nextest(metadata: &Metadata) -> Result<Option<Command>> {
    if answers(&mut cargo("nextest --version")) {
        return Ok(Some(cargo("nextest")));
    }
    let tools = metadata.target_directory.join("tools");
    let program = tools.join("bin").join("cargo-nextest");
    if !answers(Command::new(&program).args(["nextest", "--version"])) {
        say(&format!(
            "installing cargo-nextest into {}",
            tools.display()
        ));
        let mut install = cargo("install cargo-nextest --locked --root");
        if !succeeds(install.arg(&tools))? {
            say("cargo-nextest cannot be installed: falling back to `cargo test`");
            return Ok(None);
        }
    }
    let mut nextest = Command::new(program);
    nextest.arg("nextest");
    Ok(Some(nextest))
}

/// Whether a tool is there.
fn answers(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
