//! Step five, **deliver**: what has to be written, once.
//!
//! The decisions of this step are which changes of a batch still matter ([`coalesce`]), what to do when a target refuses ([`Retry`]), which transactions are whole ([`Assembly`]), and what a table must be like where there is none ([`table_of`]).

mod coalesce;
mod retry;
mod table;
mod whole;

pub use coalesce::{Folded, coalesce};
pub use retry::{Retry, Step};
pub use table::{NoTable, column_kind, table_of};
pub use whole::{Assembly, Part};
