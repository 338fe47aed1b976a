//! How far a delivery got, lane by lane.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_core::connector::{DynSink, LaneProgress};
use lockstep_core::contract::Contract;
use lockstep_core::error::{Error, Result};
use lockstep_core::log::subject;

use crate::log::{self, Log, SETTLED};

/// The bucket of progress for targets that keep none themselves.
const BUCKET: &str = "LS_PROGRESS";
/// How far a quiet lane's progress may trail the log before it is moved along with the others.
const TRAIL_MAX: u64 = 1000;

/// How far each lane of a delivery has been applied.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// By subject.
    lanes: BTreeMap<String, u64>,
    /// The stream's own life: sequences of another one mean nothing, so lanes are named with it in the target.
    life: String,
    /// Where messages may be missing from.
    next: u64,
    /// Key in the log's bucket, for a target that keeps no progress itself.
    kept_in_log: Option<String>,
}

impl Progress {
    /// Reads the progress of every lane of the entity; 0 where there is none.
    pub(super) async fn read(
        sink: &dyn DynSink,
        log: &Arc<dyn Log>,
        flow: &str,
        to: &str,
        contract: &Contract,
    ) -> Result<Progress> {
        let stream = log.stream(SETTLED).await.map_err(log::to_error)?;
        let life = format!("#{}", stream.created.as_microsecond());
        let mut lanes: BTreeMap<String, u64> = (0..contract.lanes)
            .map(|lane| {
                let subject = subject::settled(&contract.entity, contract.version.major, lane);
                (subject, 0)
            })
            .collect();
        let kept_in_log = (!sink.limits().progress).then(|| format!("{flow}.{to}"));
        let known: Vec<(String, u64)> = match &kept_in_log {
            None => {
                let known = sink.progress(flow).await?;
                known.into_iter().map(|p| (p.lane, p.reached)).collect()
            }
            Some(key) => {
                let bucket = log.bucket(BUCKET).await.map_err(log::to_error)?;
                match bucket.get(key).await.map_err(log::to_error)? {
                    None => Vec::new(),
                    Some(entry) => serde_json::from_slice(&entry.value).map_err(|error| {
                        Error::unexpected("stored progress cannot be read").because(error)
                    })?,
                }
            }
        };
        for (lane, reached) in known {
            // Lanes of another life of the stream, or of an older generation of the entity, are over.
            let subject = lane.strip_suffix(&life);
            if let Some(known) = subject.and_then(|subject| lanes.get_mut(subject)) {
                *known = reached;
            }
        }
        let next = next(log, &lanes, stream.last_seq).await?;
        Ok(Progress {
            lanes,
            life,
            next,
            kept_in_log,
        })
    }

    /// The sequence from which messages may be missing.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The greatest sequence that is applied.
    pub(super) fn reached(&self) -> u64 {
        self.lanes.values().max().copied().unwrap_or(0)
    }

    /// Whether a message of a lane is applied already.
    pub(super) fn covers(&self, lane: &str, seq: u64) -> bool {
        self.lanes.get(lane).is_some_and(|reached| seq <= *reached)
    }

    /// The steps of a batch that ends the lanes at these sequences, `reached` being the last of all.
    ///
    /// Quiet lanes that trail far behind move along, since nothing of theirs stands in between: otherwise a restart would read the log again from there.
    pub(super) fn steps(
        &self,
        ends: &BTreeMap<String, (u64, Option<lockstep_core::Position>)>,
        reached: u64,
    ) -> Vec<LaneProgress> {
        let mut steps = Vec::new();
        for (lane, stored) in &self.lanes {
            let (end, position) = match ends.get(lane) {
                Some((end, position)) => (*end, position.clone()),
                None if stored + TRAIL_MAX < reached => (reached, None),
                None => continue,
            };
            steps.push(LaneProgress {
                lane: format!("{lane}{}", self.life),
                expected: *stored,
                reached: end,
                position,
            });
        }
        steps
    }

    /// Takes note of what is durable in the target, storing it in the log for a target that keeps none.
    pub(super) async fn moved(&mut self, log: &Arc<dyn Log>, steps: &[LaneProgress]) -> Result<()> {
        for step in steps {
            let subject = step.lane.strip_suffix(&self.life).unwrap_or(&step.lane);
            self.lanes.insert(subject.to_owned(), step.reached);
        }
        let Some(key) = &self.kept_in_log else {
            return Ok(());
        };
        let named = self
            .lanes
            .iter()
            .map(|(lane, reached)| (format!("{lane}{}", self.life), reached));
        let body = serde_json::to_vec(&named.collect::<Vec<_>>())
            .map_err(|error| Error::unexpected("progress cannot be written").because(error))?;
        let bucket = log.bucket(BUCKET).await.map_err(log::to_error)?;
        bucket.put(key, body.into()).await.map_err(log::to_error)?;
        Ok(())
    }
}

/// The first sequence that some lane has not applied. A lane whose last message is applied misses nothing, however old that is and whether it is kept or not.
async fn next(log: &Arc<dyn Log>, lanes: &BTreeMap<String, u64>, last_seq: u64) -> Result<u64> {
    // What is published while the lanes are looked at comes after `last_seq`.
    let mut next = last_seq + 1;
    let lasts = lanes.keys().map(|subject| log.last(SETTLED, subject));
    let lasts = futures_util::future::try_join_all(lasts)
        .await
        .map_err(log::to_error)?;
    for (reached, last) in lanes.values().zip(lasts) {
        if last.is_some_and(|last| last.seq > *reached) {
            next = next.min(reached + 1);
        }
    }
    Ok(next)
}
