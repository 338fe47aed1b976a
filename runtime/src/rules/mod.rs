//! Rules on data at run time: what breaks them is counted and told.
//!
//! The gate decides about single records (`core`'s compiled check); `tally` counts what it found and tells what warns.
//! Rules over all records of an entity are judged on a schedule by `watch`, which reads the systems; it removes nothing, it tells, or halts the entity.

mod tally;
mod watch;

pub(crate) use tally::add;
pub use tally::{At, RuleCount, Tally};
pub(crate) use watch::is_over_all;
pub use watch::{SetStatus, Watch};
