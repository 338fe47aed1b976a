//! `cargo xtask test`: every test of the workspace, then the examples in the docs.
//! `cargo xtask soak`: the tests that do harm, many times over.
//!
//! End-to-end tests execute the runtime's binary, so it is built first and its path handed to them.
//! They talk to real servers, so these are found or installed first, and one PostgreSQL and one MariaDB are started that all tests share.

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use lockstep_servers::postgres::{self, SHARED, Server};
use lockstep_servers::{NO_SKIP, find, mariadb, mongodb};

use crate::cargo::{Built, cargo, succeeds};
use crate::repository::Metadata;
use crate::{conformance, say, servers};

/// Where tests find the runtime's binary.
const BINARY: &str = "LOCKSTEP_BIN";
/// How many rounds of harm a test goes through.
const ROUNDS: &str = "LOCKSTEP_ROUNDS";

/// Tests in which processes die, freeze and are cut off; each goes through as many rounds as it is told.
const SOAKED: &str =
    "binary(e2e) & test(/^(faults|kill|limits|large|pgbench)::|killed|whatever_is|runtime_dies/)";

pub(crate) fn run(filter: Option<&str>, ci: bool) -> Result<ExitCode> {
    let started = Instant::now();
    let ci = ci || env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    let stage = Stage::prepare(ci)?;
    let mut runner = runner(&stage.metadata)?;
    let mut doc = cargo("test --quiet --workspace --doc --no-fail-fast");
    let mut passed = true;
    conformance::forget(&stage.metadata)?;
    for command in [&mut runner, &mut doc] {
        passed &= succeeds(stage.lead(command)?.args(filter))?;
    }
    // A run of everything knows what the table should say; a chosen part does not, nor does plain `cargo test`.
    if filter.is_none() && conformance::has_report(&stage.metadata) {
        passed &= conformance::is_current(&stage.metadata)?;
    }
    Ok(verdict("tests", passed, started))
}

/// The tests of [`SOAKED`], with many rounds.
pub(crate) fn soak(rounds: u32, filter: Option<&str>) -> Result<ExitCode> {
    let started = Instant::now();
    let stage = Stage::prepare(true)?;
    let Some(mut nextest) = nextest(&stage.metadata)? else {
        bail!("a soak needs cargo-nextest, which cannot be installed here");
    };
    nextest.args(["run", "--workspace", "--profile", "soak", "-E", SOAKED]);
    nextest.args(filter).env(ROUNDS, rounds.to_string());
    let passed = succeeds(stage.lead(&mut nextest)?)?;
    Ok(verdict("soak", passed, started))
}

fn verdict(what: &str, passed: bool, started: Instant) -> ExitCode {
    let word = if passed { "passed" } else { "FAILED" };
    let seconds = started.elapsed().as_secs_f64();
    say(&format!("{what} {word} in {seconds:.1} s"));
    ExitCode::from(u8::from(!passed))
}

/// What tests need around them: the runtime's binary, and servers.
pub(crate) struct Stage {
    metadata: Metadata,
    variables: Vec<(&'static str, PathBuf)>,
    no_skip: String,
    built: Built,
    postgres: Option<Server>,
    mongodb: Option<mongodb::Server>,
    mariadb: Option<mariadb::Server>,
}

impl Stage {
    /// Finds or installs the servers, builds everything once, and starts what tests share.
    pub(crate) fn prepare(all: bool) -> Result<Stage> {
        let metadata = Metadata::read(&["--no-deps"])?;
        // Whoever sets the variable has decided already, `0` included.
        let no_skip = match env::var(NO_SKIP) {
            Ok(value) => value,
            Err(_) => String::from(if all { "1" } else { "" }),
        };
        let required = !matches!(no_skip.as_str(), "" | "0");
        let variables = servers::provide(&servers::ALL, required)?;
        Ok(Stage {
            metadata,
            variables,
            no_skip,
            built: Built::with_tests()?,
            postgres: shared_postgres()?,
            mongodb: shared_mongodb()?,
            mariadb: shared_mariadb()?,
        })
    }

    /// The repository that is tested.
    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Gives a test runner what it needs to find all of that.
    pub(crate) fn lead<'c>(&self, command: &'c mut Command) -> Result<&'c mut Command> {
        command.current_dir(&self.metadata.workspace_root);
        command.env(BINARY, self.built.path("lockstep")?);
        command
            .envs(self.variables.iter().cloned())
            .env(NO_SKIP, &self.no_skip);
        if let Some(server) = &self.postgres {
            command.env(SHARED, server.url("postgres"));
        }
        if let Some(server) = &self.mongodb {
            command.env(mongodb::SHARED, server.port().to_string());
        }
        if let Some(server) = &self.mariadb {
            command.env(mariadb::SHARED, server.url("mysql"));
        }
        Ok(command)
    }
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

/// cargo-nextest, installed below the target folder where it is not there.
pub(crate) fn nextest(metadata: &Metadata) -> Result<Option<Command>> {
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
