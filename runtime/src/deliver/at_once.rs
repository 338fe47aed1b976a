//! Several lanes at once: a batch in as many transactions of the target as it has writers, each with lanes of its own and their progress.
//!
//! Only where it does not matter which of them commits first: every change is about another record, and all came by lanes of one major.
//! What any of them does not take stays in the hand, with its lanes' progress, and goes the ordinary way: all together, as if it had been a batch of its own.
//!
//! Invariant: a crash leaves lanes of one batch at most further than others, and the floor, which is in the target before, says from where they have to be read again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use lockstep_core::Change;
use lockstep_core::connector::{Batch, DynSink, LaneProgress, Outcome, Receipt};
use lockstep_core::error::{Error, Result};
use tokio::task::JoinSet;

use super::hand::Hand;
use super::in_time;
use super::progress::Progress;

/// Fewest changes of a transaction: below, its round trips cost more than it gains.
const SHARE_MIN: usize = 200;

/// One transaction's share of a hand.
#[derive(Debug)]
struct Share {
    /// Which changes of the hand it has, in their order.
    places: Vec<usize>,
    progress: Vec<LaneProgress>,
}

/// Applies a hand in several transactions where that may be, and leaves in it what none of them took.
///
/// `spans` says by which lane each change came, `ends` how far each lane of the batch goes.
pub(super) async fn apply(
    hand: &mut Hand,
    sink: &Arc<dyn DynSink>,
    progress: &mut Progress,
    spans: &[(usize, String)],
) -> Result<()> {
    let Some(shares) = shares(hand, sink.limits().writers, progress, spans) else {
        return Ok(());
    };
    let all = hand.batch.changes.len();
    let mut changes: Vec<Option<Change>> = std::mem::take(&mut hand.batch.changes)
        .into_iter()
        .map(Some)
        .collect();
    let mut sent = JoinSet::new();
    for share in shares {
        let changes = share.places.iter().map(|place| changes[*place].take());
        let batch = Batch {
            flow: hand.batch.flow.clone(),
            changes: changes.flatten().collect(),
            progress: share.progress,
            follows: hand.batch.follows,
        };
        let sink = Arc::clone(sink);
        sent.spawn(async move {
            // Whatever went wrong is met again by who tries it the ordinary way.
            let applied = in_time(&*sink, &batch).await;
            let taken = matches!(applied, Ok(Receipt::Committed(outcomes)) if outcomes.iter().all(is_taken));
            (share.places, batch, taken)
        });
    }
    let mut left = vec![false; all];
    let mut moved = Vec::new();
    while let Some(ended) = sent.join_next().await {
        let (places, batch, taken) = ended
            .map_err(|error| Error::unexpected("a part of a batch ended early").because(error))?;
        if taken {
            moved.extend(batch.progress);
            continue;
        }
        for (place, change) in places.into_iter().zip(batch.changes) {
            left[place] = true;
            changes[place] = Some(change);
        }
    }
    progress.took(&moved);
    let is_left = |step: &LaneProgress| !moved.iter().any(|taken| taken.lane == step.lane);
    let mut steps: Vec<LaneProgress> = std::mem::take(&mut hand.batch.progress);
    let reached = steps.iter().map(|step| step.reached).max().unwrap_or(0);
    steps.retain(|step| progress.subject(step).is_some() && is_left(step));
    if !steps.is_empty() {
        steps.extend(progress.floor_to(reached));
    }
    hand.batch.progress = steps;
    hand.keep(|place| left[place]);
    hand.batch.changes = changes
        .into_iter()
        .zip(left)
        .filter_map(|(change, left)| change.filter(|_| left))
        .collect();
    Ok(())
}

fn is_taken(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Applied { .. } | Outcome::Stale)
}

/// The shares of a hand; none where it has to stay whole.
fn shares(
    hand: &Hand,
    writers: usize,
    progress: &Progress,
    spans: &[(usize, String)],
) -> Option<Vec<Share>> {
    let count = writers.min(hand.events.len() / SHARE_MIN);
    // The floor of what is applied at once is moved by the batch that follows.
    if count < 2 || !hand.batch.follows || !progress.may_part() || !hand.may_move() {
        return None;
    }
    let lane = |place: usize| {
        let at = spans.partition_point(|(end, _)| *end <= place);
        spans.get(at).map(|(_, subject)| subject.as_str())
    };
    let lanes: Option<Vec<&str>> = hand
        .origins
        .iter()
        .map(|origin| lane(origin.place))
        .collect();
    let lanes = lanes?;
    let mut loads: BTreeMap<&str, usize> = BTreeMap::new();
    for lane in &lanes {
        *loads.entry(lane).or_default() += 1;
    }
    let steps = hand.batch.progress.iter();
    let ends = steps.filter(|step| step.position.is_some());
    let ends: Vec<(&str, &LaneProgress)> = ends
        .filter_map(|step| Some((progress.subject(step)?, step)))
        .collect();
    let major = |subject: &str| subject.rsplit_once('.').map(|(major, _)| major.to_owned());
    let first = major(lanes.first()?)?;
    let is_one = |subject: &str| major(subject).as_ref() == Some(&first);
    // A record's changes of two majors are in two lanes, and what is folded into one would come again after it.
    let fits = |subject: &str| ends.iter().any(|(of, _)| *of == subject);
    if !ends.iter().all(|(subject, _)| is_one(subject)) || !loads.keys().all(|lane| fits(lane)) {
        return None;
    }
    let homes = homes(&loads, count);
    let mut shares: Vec<Share> = (0..count.min(loads.len()))
        .map(|_| Share {
            places: Vec::new(),
            progress: Vec::new(),
        })
        .collect();
    if shares.len() < 2 {
        return None;
    }
    for (place, lane) in lanes.iter().enumerate() {
        shares[homes[lane]].places.push(place);
    }
    for (subject, step) in ends {
        // A lane of which nothing is left to apply may go with any.
        let home = homes.get(subject).copied().unwrap_or(0);
        shares[home].progress.push(step.clone());
    }
    shares[0]
        .progress
        .extend(progress.floor_to(progress.reached()));
    Some(shares)
}

/// Gives each lane to one of `count` shares, the fullest first, so that all are about as long.
fn homes<'l>(loads: &BTreeMap<&'l str, usize>, count: usize) -> HashMap<&'l str, usize> {
    let mut lanes: Vec<(&str, usize)> = loads.iter().map(|(lane, load)| (*lane, *load)).collect();
    lanes.sort_by_key(|(_, load)| std::cmp::Reverse(*load));
    let mut full = vec![0; count.min(lanes.len())];
    let mut homes = HashMap::new();
    for (lane, load) in lanes {
        let emptiest = full.iter().enumerate().min_by_key(|(_, load)| **load);
        let home = emptiest.map_or(0, |(home, _)| home);
        full[home] += load;
        homes.insert(lane, home);
    }
    homes
}

#[cfg(test)]
mod tests;
