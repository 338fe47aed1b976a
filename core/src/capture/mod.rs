//! Step one, **capture**: observe a system without ever running ahead of what is durable.
//!
//! The decision of this step is when a position is safe to tell upstream: [`Ledger`].

mod ledger;

pub use ledger::{Ledger, Ticket};
