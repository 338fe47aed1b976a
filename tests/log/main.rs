//! What a log promises, as named tests: every engine runs the same list ([`suite`]).
//!
//! [`embedded`] runs it over the embedded engine; [`crash`] kills a real process in the middle of publishing; [`damage`] gives the embedded engine broken files, full disks and other holders; [`model`] compares it with a model under random steps.
//! [`nats`] runs it over a real nats-server that is restarted, killed and cut off on the way, alone and as a cluster of three.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and a child process talks to its parent"
)]

mod crash;
mod damage;
mod embedded;
mod model;
mod nats;
mod suite;
