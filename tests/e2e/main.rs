//! Scenarios over the real binary and real databases: what a user relies on, asserted from the tables.

#![expect(
    clippy::unwrap_used,
    reason = "a scenario that cannot go on has failed"
)]

mod stage;
mod things;

mod away;
mod business;
mod canary;
mod company;
mod connector;
mod delivery;
mod direct;
mod evolve;
mod faults;
mod import;
mod kill;
mod lake;
mod large;
mod leases;
mod limits;
mod links;
mod mariadb;
mod modes;
mod mongodb;
mod nats;
mod on_postgres;
mod operation;
mod outside;
mod pgbench;
mod quarantine;
mod query;
mod readme;
mod rules;
mod salesforce;
mod steer;
mod tables;
mod told;
