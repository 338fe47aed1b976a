//! Four small business systems with real order data: the stage of the demo, the kill tests and the pipeline benchmark.
//!
//! A [`stage::Stage`] is a folder with four systems of different shapes, SQLite files or PostgreSQL databases ([`db`]), filled from real data ([`superstore`], [`world`], [`systems`]), and a runtime that can be started, killed and judged.
//! An [`editor`] works in the systems with plain SQL and keeps a [`journal`]; from both the [`oracle`] knows what every system should hold and which writes should have led there ([`story`]).
//! Log and systems may stand on real [`servers`], which can be killed like the runtime.
//! Nothing here depends on the crates that make up Lockstep: the oracle's translation between the systems ([`shape`]) is its own, so that it can catch Lockstep's.

pub mod decimal;
pub mod random;
pub mod record;

pub mod superstore;
pub mod world;

pub mod shape;
mod tables;

pub mod db;
pub mod systems;

pub mod journal;

pub mod editor;
pub mod story;

pub mod oracle;

pub mod configuration;
pub mod quarantine;
pub mod report;
pub mod runtime;
pub mod servers;
pub mod setup;
pub mod stage;

pub use report::Report;
pub use servers::{Servers, Victim};
pub use setup::Setup;
pub use stage::Stage;
