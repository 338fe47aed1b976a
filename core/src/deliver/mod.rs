//! Step five, **deliver**: what has to be written, once.
//!
//! The decisions of this step are which changes of a batch still matter ([`coalesce`]) and what to do when a target refuses ([`Retry`]).

mod coalesce;
mod retry;

pub use coalesce::{Folded, coalesce};
pub use retry::{Retry, Step};
