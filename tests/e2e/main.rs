//! Scenarios over the real binary and real databases: what a user relies on, asserted from the tables.

#![expect(
    clippy::unwrap_used,
    reason = "a scenario that cannot go on has failed"
)]

mod stage;

mod away;
mod business;
mod delivery;
mod evolve;
mod kill;
mod leases;
mod nats;
mod operation;
mod outside;
mod pgbench;
mod quarantine;
mod readme;
mod rules;
