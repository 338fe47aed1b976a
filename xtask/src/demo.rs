//! `cargo xtask demo`: builds the runtime and the demo and becomes the demo.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::cargo::{Built, STAGE, become_program};

pub(crate) fn run(args: &[OsString]) -> Result<ExitCode> {
    let built = Built::build("quick", &STAGE)?;
    become_program(
        Command::new(built.path("demo")?)
            .arg("--lockstep")
            .arg(built.path("lockstep")?)
            .args(args),
    )
}
