//! Scenarios over the real binary and real databases: what a user relies on, asserted from the tables.

#![expect(
    clippy::unwrap_used,
    reason = "a scenario that cannot go on has failed"
)]

mod stage;

mod business;
mod delivery;
mod kill;
mod operation;
mod quarantine;
