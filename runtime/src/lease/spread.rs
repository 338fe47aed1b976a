//! Sharing the work: a runtime that has more than its share hands parts over, one at a time.
//!
//! Every runtime says that it is there, by a message that the log forgets when it is gone; how many there are decides what a share is.
//! All runtimes of a log have one configuration, so all agree on how many parts there are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockstep_core::log::subject;
use tokio_util::sync::CancellationToken;

use super::{Leases, Said, pause};
use crate::log::{AckPolicy, ConsumerConfig, LEASES, LogError, Message, Start};

/// Most runtimes of one log that are counted.
const MEMBERS_MAX: usize = 1000;

/// The parts that one runtime holds, each with the word on which it is handed over.
#[derive(Debug, Default)]
pub(super) struct Parts(Mutex<BTreeMap<String, CancellationToken>>);

impl Parts {
    fn held(&self) -> MutexGuard<'_, BTreeMap<String, CancellationToken>> {
        // Every change of the map is complete in itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A part is held from now on; gives the word on which it is handed over.
    pub(super) fn hold(&self, subject: &str) -> CancellationToken {
        let word = CancellationToken::new();
        self.held().insert(subject.to_owned(), word.clone());
        word
    }

    pub(super) fn gone(&self, subject: &str) {
        self.held().remove(subject);
    }

    /// How many parts are held.
    pub(super) fn count(&self) -> usize {
        self.held().len()
    }

    /// Asks for one part to be handed over.
    fn yield_one(&self) {
        if let Some((subject, word)) = self.held().iter().next() {
            tracing::info!(
                subject,
                "handing a part over, so that every runtime has its share"
            );
            word.cancel();
        }
    }
}

/// How many parts a runtime has beyond its share.
fn surplus(held: usize, parts: usize, members: usize) -> usize {
    held.saturating_sub(parts.div_ceil(members.max(1)))
}

impl Leases {
    /// Says that this runtime is there, and hands parts over while it has more than its share of `parts`, until `stop`.
    pub(crate) async fn spread(&self, parts: usize, stop: &CancellationToken) {
        while pause(self.times.renew, stop).await {
            let members = match self.members().await {
                Ok(members) => members,
                Err(error) => {
                    tracing::debug!(%error, "the runtimes of the log cannot be counted");
                    continue;
                }
            };
            let held = self.parts.count();
            if surplus(held, parts, members) > 0 {
                // One at a time: what moves stands still for a moment.
                self.parts.yield_one();
            }
        }
        self.attend(true).await;
    }

    /// Says that this runtime is there, or that it goes.
    async fn attend(&self, released: bool) {
        let said = Said {
            holder: self.me.clone(),
            released,
        };
        let message = Message {
            subject: subject::runtime_lease(&self.me.id),
            // Two texts and a flag always serialise.
            payload: serde_json::to_vec(&said).unwrap_or_default().into(),
            ttl: Some(self.times.ttl),
            ..Message::default()
        };
        // Who is not heard of is not counted, until it is heard of again.
        let _ = self.log.publish(LEASES, vec![message]).await;
    }

    /// How many runtimes there are, this one included.
    async fn members(&self) -> Result<usize, LogError> {
        self.attend(false).await;
        let config = ConsumerConfig {
            durable: None,
            filters: vec![subject::runtime_lease("*")],
            start: Start::LastPerSubject,
            ack: AckPolicy::None,
            ack_wait: self.times.ttl,
            max_ack_pending: 0,
        };
        let mut consumer = self.log.consume(LEASES, config).await?;
        let messages = consumer.fetch(MEMBERS_MAX, self.times.again).await?;
        let said = messages.iter().filter_map(|message| {
            let said: Said = serde_json::from_slice(&message.payload).ok()?;
            (!said.released).then_some(said.holder.id)
        });
        let mut members: BTreeSet<String> = said.collect();
        members.insert(self.me.id.clone());
        Ok(members.len())
    }

    /// How long to leave a part alone that was handed over, so that somebody else takes it.
    pub(super) fn hands_off(&self) -> Duration {
        self.times.look * 5
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn handing_over_ends_and_leaves_everybody_at_most_one_share(
            parts in 0..60_usize, members in 1..9_usize, seed: u64,
        ) {
            let mut held = vec![0; members];
            held[seed as usize % members] = parts;
            let share = parts.div_ceil(members);
            for _ in 0..=parts {
                let Some(rich) = (0..members).find(|at| surplus(held[*at], parts, members) > 0) else { break };
                held[rich] -= 1;
                // Whoever is faster takes it, as long as it has not too much itself.
                let poor = (0..members).min_by_key(|at| held[*at]).unwrap();
                held[poor] += 1;
            }
            prop_assert!(held.iter().all(|held| *held <= share), "{held:?}");
            prop_assert_eq!(held.iter().sum::<usize>(), parts);
        }
    }
}
