//! The `lockstep` binary: the command line with the connectors that come with Lockstep.

use std::process::ExitCode;

fn main() -> ExitCode {
    lockstep::cli::main(registry())
}

#[cfg(feature = "builtin")]
fn registry() -> lockstep_core::connector::Registry {
    lockstep_connectors::registry()
}

#[cfg(not(feature = "builtin"))]
fn registry() -> lockstep_core::connector::Registry {
    lockstep_core::connector::Registry::default()
}
