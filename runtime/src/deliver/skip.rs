//! Going on without the change that cannot be applied, because somebody said so.
//!
//! A batch that fails as a whole does not say which change is at fault. So it is applied change by change, without moving the progress, until one fails by itself: that one is set aside, and the rest goes the ordinary way.
//! What was applied here and is applied again after a crash leaves the same rows.

use lockstep_core::connector::{Batch, Outcome, Receipt};
use lockstep_core::error::{Error, Result};

use super::batch::{Applier, violation};
use super::hand::Hand;
use crate::control::{Outcome as Told, Skip};

impl Applier<'_> {
    /// Sets aside the first change that fails by itself, while its target answers.
    ///
    /// # Errors
    /// A target that does not answer: then no change is at fault.
    pub(super) async fn narrow(&mut self, hand: &mut Hand, skip: &Skip) -> Result<()> {
        let mut taken = 0;
        while taken < hand.events.len() {
            let alone = Batch {
                flow: hand.batch.flow.clone(),
                changes: vec![hand.batch.changes[taken].clone()],
                progress: Vec::new(),
                follows: false,
            };
            let error = match self.send(&alone).await {
                Ok(Receipt::Committed(outcomes)) if outcomes.iter().all(is_applied) => {
                    taken += 1;
                    continue;
                }
                // Refused with a reason of its own, so the ordinary way sets it aside.
                Ok(_) => break,
                Err(error) => error,
            };
            let deadline = self.sink.limits().deadline;
            match tokio::time::timeout(deadline, self.sink.discover()).await {
                Ok(Ok(_)) => {}
                Ok(Err(away)) => return Err(away),
                Err(_) => return Err(Error::transient("the target did not answer in time")),
            }
            let why = skip.reason.as_ref();
            let why = why.map_or_else(String::new, |reason| format!(" ({reason})"));
            let said = format!("skipped by {}{why}: {}", skip.by, error.chain());
            let entry = self.entry(&hand.events[taken], vec![violation("skipped", &said)]);
            let id = entry.id.clone();
            tracing::warn!(
                flow = self.delivery.plan.flow,
                to = self.delivery.plan.to,
                entry = id,
                by = skip.by,
                "a change is skipped (LS-F002)"
            );
            self.set_aside(vec![entry]).await?;
            hand.keep(|index| index > taken);
            self.delivery
                .answer(skip, Told::Skipped { entry: id })
                .await;
            return Ok(());
        }
        hand.keep(|index| index >= taken);
        Ok(())
    }

    /// Answers a request to skip where everything that the log has is applied.
    pub(super) async fn nothing_to_skip(&self, reached: u64) {
        let Some(skip) = self.delivery.skip() else {
            return;
        };
        let entity = &self.channel.contract.entity;
        if reached >= self.delivery.board.head_of(entity) {
            let reason = "nothing stands in its way".to_owned();
            self.delivery
                .answer(&skip, Told::NotSkipped { reason })
                .await;
        }
    }
}

fn is_applied(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Applied { .. } | Outcome::Stale)
}
