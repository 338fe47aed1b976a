//! What happens in Lockstep: the six steps as actions, with configuration, supervision and the command line around them.
//!
//! The steps stand under the same names as in `lockstep_core`, which decides; this crate carries out.
//! Capture gates on its way, because a change is never in hand without being checked; settle has no action of its own yet, because every entity has one writer.

pub mod cli;
pub mod config;
pub mod plan;

pub mod capture;
pub mod deliver;
mod direct;
pub mod log;
pub mod verify;

mod again;
pub mod api;
mod canary;
pub mod contract;
pub mod control;
pub mod drift;
pub mod explain;
pub mod inbox;
mod lease;
mod links;
pub mod quarantine;
pub mod query;
pub mod report;
pub mod rules;
pub mod status;
pub mod supervise;
pub mod versions;
