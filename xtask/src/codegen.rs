//! `cargo xtask codegen`: writes, or compares, what is generated from types.
//!
//! There are two writers: the binary `generate-schemas` for the contracts, and the tests named
//! `schemas` of the runtime, for the configuration and the outputs of the command line.

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};

use crate::cargo::{cargo, succeeds};
use crate::repository::Metadata;
use crate::say;

/// The binary that writes the schemas of the contracts.
const GENERATOR: &str = "generate-schemas";

/// Makes the tests of generated files write them.
const UPDATE: &str = "LOCKSTEP_UPDATE";

pub(crate) fn run(check: bool) -> Result<ExitCode> {
    let metadata = Metadata::read(&["--no-deps"])?;
    let contracts = match generator(&metadata, check) {
        Some(mut command) => succeeds(command.current_dir(&metadata.workspace_root))?,
        None => {
            say(&format!("this workspace has no binary `{GENERATOR}`"));
            true
        }
    };
    let outputs = runtime_schemas(&metadata, check)?;
    Ok(ExitCode::from(u8::from(!(contracts && outputs))))
}

/// The command of the generator, where the workspace has one.
pub(crate) fn generator(metadata: &Metadata, check: bool) -> Option<Command> {
    metadata.has_binary(GENERATOR).then(|| {
        let mut command = cargo("run -q -p lockstep-schemas --bin");
        command.arg(GENERATOR);
        if check {
            command.args(["--", "--check"]);
        }
        command
    })
}

fn runtime_schemas(metadata: &Metadata, check: bool) -> Result<bool> {
    let mut test = cargo("test -q -p lockstep --lib schemas");
    test.current_dir(&metadata.workspace_root)
        .stderr(Stdio::inherit());
    if check {
        test.env_remove(UPDATE);
    } else {
        test.env(UPDATE, "1");
    }
    let output = test.output().context("cannot run cargo test")?;
    let report = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        say(report.trim());
        return Ok(false);
    }
    // A test that was renamed would otherwise leave its files behind without a word.
    if report.contains(" 0 passed") {
        say("no test of `lockstep` has `schemas` in its name: nothing was generated");
        return Ok(false);
    }
    Ok(true)
}
