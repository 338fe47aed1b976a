//! Step one, **capture**: observe a system without ever running ahead of what is durable.
//!
//! The decisions of this step: when a position is safe to tell upstream ([`Ledger`]), and, for systems that keep no log, what a reading of a table says beside what was known of it ([`listing`], [`watermark`]).

mod ledger;
pub mod listing;
pub mod watermark;

pub use ledger::{Ledger, Ticket};
