//! `cargo xtask test`: every test of the workspace, then the examples in the docs.
//!
//! End-to-end tests execute the runtime's binary, so it is built first and its path handed to them.

use std::env;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Result;

use crate::cargo::{Built, cargo, succeeds};
use crate::repository::Metadata;
use crate::say;

/// Where tests find the runtime's binary.
const BINARY: &str = "LOCKSTEP_BIN";

/// Makes a test that would skip fail instead.
const NO_SKIP: &str = "LOCKSTEP_NO_SKIP";

pub(crate) fn run(filter: Option<&str>, ci: bool) -> Result<ExitCode> {
    let started = Instant::now();
    let ci = ci || env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    let metadata = Metadata::read(&["--no-deps"])?;
    let built = Built::build("dev", &["lockstep"])?;

    let mut runner = runner(&metadata)?;
    let mut doc = cargo("test --quiet --workspace --doc --no-fail-fast");
    let mut passed = true;
    for command in [&mut runner, &mut doc] {
        command.current_dir(&metadata.workspace_root).args(filter);
        command.env(BINARY, built.path("lockstep")?);
        // Whoever sets the variable has decided already, `0` included.
        if ci && env::var_os(NO_SKIP).is_none() {
            command.env(NO_SKIP, "1");
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
