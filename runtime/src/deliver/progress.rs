//! How far a delivery got, lane by lane.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_core::connector::{DynSink, LaneProgress};
use lockstep_core::error::{Error, Result};
use lockstep_core::log::{POSITION, subject};
use lockstep_core::position::Position;

use crate::log::{self, Log, LogError, SETTLED, Stored};

/// The bucket of progress for targets that keep none themselves.
const BUCKET: &str = "LS_PROGRESS";
/// How far a quiet lane's progress may trail the log before it is moved along with the others.
const TRAIL_MAX: u64 = 1000;
/// The name, beside the lanes, of the sequence up to which all of them are applied: where lanes are applied at once, a crash leaves some further than others.
const FLOOR: &str = "*";

/// How far each lane of a delivery has been applied.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// By subject.
    lanes: BTreeMap<String, u64>,
    /// The source positions that they are covered up to.
    positions: BTreeMap<String, Option<Position>>,
    /// The stream's own life: sequences of another one mean nothing, so lanes are named with it in the target.
    life: String,
    /// The floor as the target keeps it; none where lanes are never applied at once.
    floor: Option<u64>,
    /// Every lane is applied up to here.
    whole: u64,
    /// Where messages may be missing from.
    next: u64,
    /// Key in the log's bucket, for a target that keeps no progress itself.
    kept_in_log: Option<String>,
}

impl Progress {
    /// Reads the progress of every lane of the entity, of each of its majors; 0 where there is none.
    pub(super) async fn read(
        sink: &dyn DynSink,
        log: &Arc<dyn Log>,
        (flow, to): (&str, &str),
        entity: &str,
        lanes: &BTreeMap<u64, u32>,
    ) -> Result<Progress> {
        let kept_in_log = (!sink.limits().progress).then(|| format!("{flow}.{to}"));
        let known: Vec<LaneProgress> = match &kept_in_log {
            None => sink.progress(flow).await?,
            Some(key) => {
                let bucket = log.bucket(BUCKET).await.map_err(log::to_error)?;
                match bucket.get(key).await.map_err(log::to_error)? {
                    None => Vec::new(),
                    Some(entry) => read_kept(&entry.value)?,
                }
            }
        };
        let mut progress = Progress::of(log, entity, lanes, known, kept_in_log).await?;
        if sink.limits().progress && sink.limits().writers > 1 {
            progress.floor.get_or_insert_default();
        }
        Ok(progress)
    }

    /// The progress of an entity's lanes, of what is known of any.
    async fn of(
        log: &Arc<dyn Log>,
        entity: &str,
        lanes: &BTreeMap<u64, u32>,
        known: Vec<LaneProgress>,
        kept_in_log: Option<String>,
    ) -> Result<Progress> {
        // Read after the progress, so that it is never shorter than what was applied.
        let stream = log.stream(SETTLED).await.map_err(log::to_error)?;
        let life = format!("#{}", stream.created.as_microsecond());
        // The lanes of older majors come first in the log, and have to be applied as well.
        let majors = lanes.iter();
        let all = majors.flat_map(|(major, count)| (0..*count).map(move |lane| (*major, lane)));
        let mut lanes: BTreeMap<String, u64> = all
            .map(|(major, lane)| (subject::settled(entity, major, lane), 0))
            .collect();
        let mut positions = BTreeMap::new();
        let mut floor = None;
        for step in known {
            // Lanes of another life of the stream, or of an older generation of the entity, are over.
            let subject = step.lane.strip_suffix(&life);
            if subject == Some(FLOOR) {
                floor = Some(step.reached);
            }
            let Some((subject, known)) = subject.and_then(|subject| {
                let known = lanes.get_mut(subject)?;
                Some((subject, known))
            }) else {
                continue;
            };
            *known = step.reached;
            positions.insert(subject.to_owned(), step.position);
        }
        must_carry_on(log, &lanes, &positions, stream.last_seq).await?;
        // Read together in the log's order, each lane is applied up to the furthest of them, unless a crash came between lanes that were applied at once.
        let furthest = lanes.values().max().copied().unwrap_or(0);
        let whole = floor.map_or(furthest, |floor| floor.min(furthest));
        let next = next(log, &lanes, whole, stream.last_seq).await?;
        let nothing_is_missing = next > stream.last_seq;
        Ok(Progress {
            lanes,
            positions,
            life,
            floor,
            whole: if nothing_is_missing { furthest } else { whole },
            next,
            kept_in_log,
        })
    }

    /// The sequence from which messages may be missing.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The sequence up to which everything is applied.
    pub(super) fn reached(&self) -> u64 {
        self.whole
    }

    /// Takes note that everything up to a sequence is applied.
    pub(super) fn is_whole_to(&mut self, reached: u64) {
        self.whole = self.whole.max(reached);
    }

    /// The last sequence that the log has for any of the lanes.
    pub(super) async fn head(&self, log: &dyn Log) -> Result<u64> {
        let lasts = self.lanes.keys().map(|subject| log.last(SETTLED, subject));
        let lasts = futures_util::future::try_join_all(lasts).await;
        let lasts = lasts.map_err(log::to_error)?;
        Ok(lasts
            .iter()
            .flatten()
            .map(|last| last.seq)
            .max()
            .unwrap_or(0))
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
        ends: &BTreeMap<String, (u64, Option<Position>)>,
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
        if !steps.is_empty() {
            steps.extend(self.floor_to(reached));
        }
        steps
    }

    /// The step that moves the floor; none where none is kept.
    pub(super) fn floor_to(&self, reached: u64) -> Option<LaneProgress> {
        self.floor.map(|floor| LaneProgress {
            lane: format!("{FLOOR}{}", self.life),
            expected: floor,
            reached: reached.max(floor),
            position: None,
        })
    }

    /// The subject of a step's lane; none for the floor.
    pub(super) fn subject<'s>(&self, step: &'s LaneProgress) -> Option<&'s str> {
        let subject = step.lane.strip_suffix(&self.life)?;
        (subject != FLOOR).then_some(subject)
    }

    /// Whether lanes may be applied at once: a crash in between is told by the floor, which has to be in the target before.
    pub(super) fn may_part(&self) -> bool {
        self.floor.is_some_and(|floor| floor > 0)
    }

    /// The steps of a batch that moves no lane, and must not be applied where another worker moved one.
    pub(super) fn stays(&self) -> Vec<LaneProgress> {
        let applied = self.lanes.iter().filter(|(_, reached)| **reached > 0);
        let step = |(lane, reached): (&String, &u64)| LaneProgress {
            lane: format!("{lane}{}", self.life),
            expected: *reached,
            reached: *reached,
            position: self.positions.get(lane).cloned().flatten(),
        };
        applied.map(step).collect()
    }

    /// Takes note of what is durable in the target.
    pub(super) fn took(&mut self, steps: &[LaneProgress]) {
        for step in steps {
            match self.subject(step) {
                Some(subject) => {
                    let subject = subject.to_owned();
                    self.positions
                        .insert(subject.clone(), step.position.clone());
                    self.lanes.insert(subject, step.reached);
                }
                None => self.floor = Some(step.reached),
            }
        }
    }

    /// The same, storing it in the log for a target that keeps none.
    pub(super) async fn moved(&mut self, log: &Arc<dyn Log>, steps: &[LaneProgress]) -> Result<()> {
        self.took(steps);
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

/// What a target without progress of its own has in the log's bucket.
fn read_kept(body: &[u8]) -> Result<Vec<LaneProgress>> {
    let kept: Vec<(String, u64)> = serde_json::from_slice(body)
        .map_err(|error| Error::unexpected("stored progress cannot be read").because(error))?;
    let step = |(lane, reached)| LaneProgress {
        lane,
        expected: reached,
        reached,
        position: None,
    };
    Ok(kept.into_iter().map(step).collect())
}

/// Makes sure that the stream still holds what was applied of it: one that was set back gives sequences out again, and what they name now would be skipped.
async fn must_carry_on(
    log: &Arc<dyn Log>,
    lanes: &BTreeMap<String, u64>,
    positions: &BTreeMap<String, Option<Position>>,
    last_seq: u64,
) -> Result<()> {
    let set_back = |reason| {
        log::to_error(LogError::SetBack {
            stream: SETTLED.to_owned(),
            reason,
        })
    };
    let reached = lanes.values().max().copied().unwrap_or(0);
    if reached > last_seq {
        let reason = format!("it ends at {last_seq}, but {reached} was applied already");
        return Err(set_back(reason));
    }
    // It may have grown beyond that again. The last message that was applied is one of these lanes, and says the same as then.
    let Some(stored) = log.get(SETTLED, reached).await.map_err(log::to_error)? else {
        return Ok(());
    };
    let known = match lanes.get(&stored.subject) {
        Some(at) => *at == reached,
        // Somebody else's message, on a lane that the entity does not have.
        None => lanes
            .keys()
            .any(|lane| entity_of(lane) == entity_of(&stored.subject)),
    };
    let then = positions.get(&stored.subject).and_then(Option::as_ref);
    let now = stored
        .header(POSITION)
        .and_then(|text| text.parse::<Position>().ok());
    let same = match (then, now) {
        (Some(then), Some(now)) => *then == now,
        _ => true,
    };
    if known && same {
        return Ok(());
    }
    let reason = format!("its message {reached} is not the one that was applied");
    Err(set_back(reason))
}

/// A lane's subject without its number.
fn entity_of(lane: &str) -> Option<&str> {
    lane.rsplit_once('.').map(|(entity, _)| entity)
}

/// The first sequence that may not be applied.
///
/// Every lane is applied up to `whole`, and some further.
/// Lanes whose last messages are applied miss nothing, however old that is. Of a lane that is empty nobody knows without asking: what it held may have aged out before it was applied.
pub(super) async fn next(
    log: &Arc<dyn Log>,
    lanes: &BTreeMap<String, u64>,
    whole: u64,
    last_seq: u64,
) -> Result<u64> {
    let lasts = lanes.keys().map(|subject| log.last(SETTLED, subject));
    let lasts = futures_util::future::try_join_all(lasts)
        .await
        .map_err(log::to_error)?;
    let missing = |(last, applied): (&Option<Stored>, &u64)| {
        last.as_ref()
            .is_none_or(|last| last.seq > whole.max(*applied))
    };
    // What is published while the lanes are looked at comes after `last_seq`.
    Ok(if lasts.iter().zip(lanes.values()).any(missing) {
        whole + 1
    } else {
        last_seq + 1
    })
}

#[cfg(test)]
mod tests;
