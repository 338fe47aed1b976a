//! The direct way: rows of a copy of a table, checked, from the capture to the only delivery of their entity, past the log.
//!
//! A delivery that works in this process keeps an [`Entrance`] open; the capture hands rows in and waits until they stand in the target.
//! Invariants: a handover is taken only where the target stands exactly behind the last message that the capture knows on the entity's lanes, so that rows and messages are applied in one order; a handover that is dropped counts as not taken, and its rows go through the log.
//! Does not know how rows are read, checked or written.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lockstep_core::log::Event;
use tokio::sync::{mpsc, oneshot, watch};

/// How long the first rows of a capture wait for a delivery that is still about to begin.
const BEGIN_MAX: Duration = Duration::from_secs(30);

/// How long rows wait for another life of a delivery whose life ended over them.
const AGAIN_MAX: Duration = Duration::from_secs(10);

/// A flow and its target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// The flow.
    pub flow: String,
    /// The target.
    pub to: String,
}

/// The entrances that are open in this process.
#[derive(Clone, Default)]
pub struct Direct(Arc<watch::Sender<Entrances>>);

type Entrances = BTreeMap<Way, mpsc::Sender<Handover>>;

/// Rows on their way into a target.
pub(crate) struct Handover {
    /// The rows, as the log would have carried them.
    pub(crate) rows: Arc<Vec<Event>>,
    /// The last sequence of the entity's lanes: everything up to it comes before the rows, and nothing may come between.
    pub(crate) after: u64,
    taken: oneshot::Sender<()>,
}

/// A delivery's end; closed when it is dropped.
pub(crate) struct Entrance {
    direct: Direct,
    way: Way,
    handovers: mpsc::Receiver<Handover>,
}

/// A capture's end.
pub(super) struct Exit {
    direct: Direct,
    /// Whether the next rows wait for an entrance.
    waits: Arc<AtomicBool>,
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.0.borrow();
        f.debug_set().entries(open.keys()).finish()
    }
}

impl Direct {
    /// Opens the entrance of a delivery, in place of one that is open.
    pub(crate) fn open(&self, way: Way) -> Entrance {
        let (sender, handovers) = mpsc::channel(1);
        self.0
            .send_modify(|open| drop(open.insert(way.clone(), sender)));
        Entrance {
            direct: self.clone(),
            way,
            handovers,
        }
    }

    /// A capture's end.
    pub(super) fn exit(&self) -> Exit {
        Exit {
            direct: self.clone(),
            waits: Arc::new(AtomicBool::new(true)),
        }
    }
}

impl Exit {
    /// Hands rows in, and waits until they stand in the target or somebody says that they will not; tells which.
    ///
    /// Only the first rows, and those behind rows that were taken, wait for an entrance: a target that is away must not hold up what else is captured.
    pub(super) fn hand(
        &self,
        way: Way,
        rows: Arc<Vec<Event>>,
        after: u64,
    ) -> impl Future<Output = bool> + Send + use<> {
        let waits = Arc::clone(&self.waits);
        let mut open = self.direct.0.subscribe();
        async move {
            let (mut begin, again) = match waits.swap(false, Ordering::Relaxed) {
                true => (BEGIN_MAX, AGAIN_MAX),
                false => (Duration::ZERO, Duration::ZERO),
            };
            for _ in 0..2 {
                let known = open.wait_for(|open| open.contains_key(&way));
                let entrance = match tokio::time::timeout(begin, known).await {
                    Ok(Ok(open)) => open.get(&way).cloned(),
                    _ => None,
                };
                let Some(entrance) = entrance else { break };
                let (taken, answer) = oneshot::channel();
                let rows = Arc::clone(&rows);
                let handover = Handover { rows, after, taken };
                if entrance.send(handover).await.is_ok() && answer.await.is_ok() {
                    waits.store(true, Ordering::Relaxed);
                    return true;
                }
                // Where another life of the delivery begins soon, that one may take them: once more or not, they are the same rows.
                let is_over = |open: &Entrances| {
                    let now = open.get(&way);
                    now.is_none_or(|now| !now.same_channel(&entrance))
                };
                if tokio::time::timeout(again, open.wait_for(is_over))
                    .await
                    .is_err()
                {
                    break;
                }
                begin = again;
            }
            tracing::info!(
                flow = way.flow,
                to = way.to,
                "rows of a copy go through the log: the delivery does not take them now"
            );
            false
        }
    }
}

impl Entrance {
    /// Waits for the next rows; for ever where none come.
    pub(crate) async fn next(&mut self) -> Handover {
        match self.handovers.recv().await {
            Some(handover) => handover,
            // Another life of the delivery has the entrance.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.handovers.close();
        let is_ours = |sender: &mpsc::Sender<Handover>| sender.is_closed();
        self.direct.0.send_if_modified(|open| {
            let ours = open.get(&self.way).is_some_and(is_ours);
            if ours {
                open.remove(&self.way);
            }
            ours
        });
    }
}

impl Handover {
    /// The rows stand in the target, durably.
    pub(crate) fn taken(self) {
        // A capture that is gone reads them again.
        let _ = self.taken.send(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way() -> Way {
        Way {
            flow: "f".to_owned(),
            to: "t".to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rows_wait_once_for_a_delivery_that_is_about_to_begin() {
        let direct = Direct::default();
        let exit = direct.exit();
        let handing = tokio::spawn(exit.hand(way(), Arc::default(), 7));
        tokio::task::yield_now().await;
        let mut entrance = direct.open(way());
        let handover = entrance.next().await;
        assert_eq!(handover.after, 7);
        handover.taken();
        assert!(handing.await.unwrap());
        drop(entrance);
        let before = tokio::time::Instant::now();
        for waited in [BEGIN_MAX, BEGIN_MAX] {
            assert!(!exit.hand(way(), Arc::default(), 7).await);
            assert_eq!(before.elapsed(), waited, "nobody waits twice");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn another_life_of_the_delivery_may_take_what_the_first_dropped() {
        let direct = Direct::default();
        let mut first = direct.open(way());
        let handing = tokio::spawn(direct.exit().hand(way(), Arc::default(), 1));
        let handover = first.next().await;
        drop(first);
        drop(handover);
        let mut second = direct.open(way());
        second.next().await.taken();
        assert!(handing.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_dropped_is_not_taken() {
        let direct = Direct::default();
        let exit = direct.exit();
        let mut entrance = direct.open(way());
        let handing = tokio::spawn(exit.hand(way(), Arc::default(), 1));
        drop(entrance.next().await);
        assert!(!handing.await.unwrap());
        // Handed in, but never looked at.
        let handing = tokio::spawn(exit.hand(way(), Arc::default(), 1));
        tokio::task::yield_now().await;
        drop(entrance);
        assert!(!handing.await.unwrap());
    }

    #[tokio::test]
    async fn an_old_entrance_does_not_close_a_new_one() {
        let direct = Direct::default();
        let old = direct.open(way());
        let mut new = direct.open(way());
        drop(old);
        let handing = tokio::spawn(direct.exit().hand(way(), Arc::default(), 1));
        new.next().await.taken();
        assert!(handing.await.unwrap());
    }
}
