//! One observed change of one row.

use std::sync::Arc;

use jiff::Timestamp;

use crate::position::Mark;
use crate::shape::{Row, Shape};

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// The row was there when the source was first read.
    Snapshot,
    /// The row is new.
    Created,
    /// The row has other values, possibly another key.
    Updated,
    /// The row is gone. Only its key columns are set.
    Deleted,
    /// Every row of the table is gone. The row is empty.
    Truncated,
}

/// One observed change, in the shape of the system that told it or in the shape of a contract.
///
/// Upserts carry the row as it is after the change; columns the source did not send are [`Cell::Unchanged`](crate::Cell::Unchanged).
#[derive(Clone, Debug)]
pub struct Change {
    /// Names the columns of `row` and `before`.
    pub shape: Arc<Shape>,
    /// What happened.
    pub op: Op,
    /// The row after the change; for a delete, the key.
    pub row: Row,
    /// The row before the change as far as the source told it; at least the old key when the key changed.
    pub before: Option<Row>,
    /// Where the change stands in its source.
    pub mark: Mark,
    /// When the source committed it, by the source's clock.
    pub committed_at: Timestamp,
    /// The system in which the change was born, where the source can tell that it was not itself.
    pub origin: Option<Arc<str>>,
}

impl Op {
    /// Tells whether a row exists after the change.
    #[must_use]
    pub fn is_upsert(self) -> bool {
        matches!(self, Op::Snapshot | Op::Created | Op::Updated)
    }

    /// The word for it in messages and event types.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Op::Snapshot => "snapshot",
            Op::Created => "created",
            Op::Updated => "updated",
            Op::Deleted => "deleted",
            Op::Truncated => "truncated",
        }
    }
}
