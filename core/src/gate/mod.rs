//! Step two, **gate**: from a system's shape to the contract's and back, checked on the way.
//!
//! A [`Mapping`] is what the configuration says; [`ReadPlan`] and [`WritePlan`] are that mapping compiled against both shapes, once per schema version, into moves over column positions.
//! A record that cannot pass is a [`Rejection`] that names field and rule; what to do with it is the runtime's business.
//!
//! This module knows no systems and no log. It never panics on a value and never drops one silently.

pub mod cast;
pub mod expression;
pub(crate) mod json;
pub mod mapping;
pub mod plan;
pub mod problem;

pub use expression::{Expression, Scope};
pub use mapping::{ColumnMap, FieldMap, FieldRule, Mapping, ValueMaps};
pub use plan::{Gated, ReadPlan, Rejection, Verdict, WritePlan, row_name};
pub use problem::{CODES, Problem};
