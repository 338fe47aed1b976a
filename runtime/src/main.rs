//! The `lockstep` binary: the command line with the connectors that come with Lockstep.

use std::process::ExitCode;

/// Rows are made by one thread and dropped by another, which costs the usual allocator near half of all the time that a copy takes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // One provider for every encrypted connection, chosen before any is made. Somebody who chose another first is left alone.
    let _ = rustls::crypto::ring::default_provider().install_default();
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
