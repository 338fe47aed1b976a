//! The direct way: rows of a copy of a table, checked, from the capture to the only delivery of their entity, past the log.
//!
//! A delivery that works in this process keeps an [`Entrance`] open; the capture hands rows in and waits until they stand in the target.
//! Invariants: a handover is taken only where the target stands exactly behind the last message that the capture knows on the entity's lanes, so that rows and messages are applied in one order; a handover that is dropped counts as not taken, and its rows go through the log.
//! Does not know how rows are read, checked or written.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::log::Event;
use tokio::sync::{mpsc, oneshot, watch};

/// How long the first rows of a capture wait for a delivery that is still about to begin.
const BEGIN_MAX: Duration = Duration::from_secs(5);

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
    /// How long the next rows wait for an entrance.
    patience: Duration,
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
            patience: BEGIN_MAX,
        }
    }
}

impl Exit {
    /// Hands rows in, and waits until they stand in the target or somebody says that they will not; tells which.
    ///
    /// Only the first rows wait for an entrance: a target that is away must not hold up what else is captured.
    pub(super) fn hand(
        &mut self,
        way: Way,
        rows: Arc<Vec<Event>>,
        after: u64,
    ) -> impl Future<Output = bool> + Send + use<> {
        let patience = std::mem::take(&mut self.patience);
        let mut open = self.direct.0.subscribe();
        async move {
            let known = open.wait_for(|open| open.contains_key(&way));
            let entrance = match tokio::time::timeout(patience, known).await {
                Ok(Ok(open)) => open.get(&way).cloned(),
                _ => None,
            };
            let Some(entrance) = entrance else {
                return false;
            };
            let (taken, answer) = oneshot::channel();
            let handover = Handover { rows, after, taken };
            entrance.send(handover).await.is_ok() && answer.await.is_ok()
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
        let mut exit = direct.exit();
        let handing = tokio::spawn(exit.hand(way(), Arc::default(), 7));
        tokio::task::yield_now().await;
        let mut entrance = direct.open(way());
        let handover = entrance.next().await;
        assert_eq!(handover.after, 7);
        handover.taken();
        assert!(handing.await.unwrap());
        drop(entrance);
        let before = tokio::time::Instant::now();
        assert!(!exit.hand(way(), Arc::default(), 7).await);
        assert_eq!(before.elapsed(), Duration::ZERO, "nobody waits twice");
    }

    #[tokio::test]
    async fn what_is_dropped_is_not_taken() {
        let direct = Direct::default();
        let mut exit = direct.exit();
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
