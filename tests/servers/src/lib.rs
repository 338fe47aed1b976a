//! Real servers for tests, the demo and the benchmarks.
//!
//! Owns finding databases, brokers, business systems and stand-ins of such on this machine, starting them on free loopback ports in a temporary folder, and ending them.
//! It knows nothing of Lockstep, and it blocks: a test in async code may call it all the same, because a start takes about a second.
//!
//! Invariants: a server listens on 127.0.0.1 only; it is ended by its pid and by nothing else; neither a process nor a folder outlives
//! its owner, even when the owner is killed; a missing server is never an error of a test but a line that starts with `skipped:`,
//! unless `LOCKSTEP_NO_SKIP` says that nothing may be skipped.
//!
//! ```no_run
//! # fn test() {
//! use lockstep_servers::{nats, postgres};
//!
//! let Some(mut server) = nats::Server::start(&nats::Options::default()) else {
//!     return; // It said "skipped: nats-server is not installed".
//! };
//! let Some(database) = postgres::Database::fresh() else {
//!     return;
//! };
//! server.kill().expect("killed");
//! server.restart().expect("the same port and the same data");
//! # let _ = database.url();
//! # }
//! ```

pub mod backlot;
pub mod certificates;
pub mod clickhouse;
pub mod find;
mod http;
pub mod mariadb;
pub mod mongodb;
pub mod nats;
pub mod odata;
mod port;
pub mod postgres;
mod process;
mod random;
pub mod s3;
pub mod stripe;
pub mod tryton;
pub mod wait;

use std::io::{Write, stderr};

/// The variable that turns every skip into a failure; empty and `0` do not count.
pub const NO_SKIP: &str = "LOCKSTEP_NO_SKIP";

/// Says that a test is skipped because something is not on this machine.
///
/// # Panics
///
/// When [`NO_SKIP`] is set, so that nothing goes untested unnoticed.
pub fn skip(what: &str) {
    let line = format!("skipped: {what} is not installed");
    let forbidden = std::env::var(NO_SKIP).is_ok_and(|value| !value.is_empty() && value != "0");
    assert!(!forbidden, "{line}");
    // Written past the capture of the test harness, which would hide it from whoever reads the run.
    let _ = writeln!(stderr(), "{line}");
}
