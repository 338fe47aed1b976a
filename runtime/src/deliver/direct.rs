//! Rows of a copy that came past the log, into the target.
//!
//! They are whole records that stand in their order between what is applied and what is not, so they are mapped and written as they are; as soon as one of them is not plainly taken, the rest goes the way of every change, with all that it does about refusals.
//! Invariant: no lane moves with them, and none may have been moved by another worker.

use lockstep_core::connector::{Batch, Outcome, Receipt};
use lockstep_core::error::Result;
use lockstep_core::log::Event;
use tokio_util::sync::CancellationToken;

use super::batch::{Applied, Applier};
use super::feed::Chunk;

impl Applier<'_> {
    /// Writes rows; once it returns they are durable, or in quarantine.
    ///
    /// # Errors
    /// A target that takes nothing now, or that another worker writes to: nobody knows then how many of the rows it has.
    pub(super) async fn take_direct(
        &mut self,
        rows: &[Event],
        stop: &CancellationToken,
    ) -> Result<Applied> {
        let batch_max = self.sink.limits().batch_max.max(1);
        let mut rest = rows;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(batch_max));
            // Only the last one waits for the disk: it makes the others durable, too.
            let follows = !later.is_empty();
            if !self.write_direct(now, follows).await? {
                let chunk = Chunk {
                    events: now.to_vec(),
                    reached: self.progress.reached(),
                    stays: true,
                    follows,
                    ..Chunk::default()
                };
                self.apply(chunk, stop).await?;
            }
            rest = later;
        }
        Ok(Applied {
            reached: self.progress.reached(),
            changes: rows.len() as u64,
        })
    }

    /// Writes rows of which nothing is to be said; tells whether all of them were taken.
    async fn write_direct(&self, rows: &[Event], follows: bool) -> Result<bool> {
        if !self.open.is_empty() {
            // One of them may be the good version of a record that waits in quarantine.
            return Ok(false);
        }
        let mapped = rows.iter().map(|row| self.current.write.map(&row.change));
        let Ok(changes) = mapped.collect() else {
            return Ok(false);
        };
        let batch = Batch {
            flow: self.delivery.plan.flow.clone(),
            changes,
            progress: self.progress.stays(),
            follows,
        };
        Ok(match self.send(&batch).await {
            Ok(Receipt::Committed(outcomes)) => {
                let is_done =
                    |outcome: &Outcome| matches!(outcome, Outcome::Applied { .. } | Outcome::Stale);
                outcomes.iter().all(is_done)
            }
            // The ordinary way tries again, names what is refused, or gives up.
            Ok(Receipt::RolledBack(_)) | Err(_) => false,
        })
    }
}
