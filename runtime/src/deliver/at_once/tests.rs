use std::collections::BTreeSet;
use std::sync::Mutex;

use lockstep_core::connector::{Limits, OpenContext, Sink};
use lockstep_core::log::{Channel, Event};
use lockstep_core::position::Position;
use lockstep_core::{Key, Shape, Value};
use proptest::prelude::*;

use super::super::hand::tests::push;
use super::*;
use crate::log::{Log, SETTLED, StreamConfig};

const LANES: u32 = 5;

/// A target that keeps progress in its transactions, and does not take lanes that are named.
#[derive(Debug, Default)]
struct Target {
    state: Mutex<State>,
    refuses: BTreeSet<u32>,
}

#[derive(Debug, Default)]
struct State {
    progress: BTreeMap<String, LaneProgress>,
    /// Every write of a record, by its number.
    writes: BTreeMap<u64, usize>,
    applies: usize,
}

impl Target {
    /// What it holds, as one that does not take these lanes.
    fn that_refuses(&self, refuses: BTreeSet<u32>) -> Target {
        let state = std::mem::take(&mut *self.state.lock().unwrap());
        Target {
            state: Mutex::new(state),
            refuses,
        }
    }
}

fn lane_of(record: u64) -> u32 {
    Key::encode([Some(&Value::Int(record as i64))])
        .unwrap()
        .lane(LANES)
}

impl Sink for Target {
    type Config = BTreeMap<String, String>;

    async fn open(_: Self::Config, _: OpenContext) -> Result<Self> {
        Ok(Target::default())
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        Ok(Vec::new())
    }

    async fn prepare(&self, _: &[Arc<Shape>]) -> Result<()> {
        Ok(())
    }

    async fn progress(&self, _: &str) -> Result<Vec<LaneProgress>> {
        let state = self.state.lock().unwrap();
        Ok(state.progress.values().cloned().collect())
    }

    async fn apply(&self, batch: &Batch) -> Result<Receipt> {
        let records = batch.changes.iter().map(|change| change.mark.commit);
        let records: Vec<u64> = records.collect();
        if records.iter().any(|n| self.refuses.contains(&lane_of(*n))) {
            return Err(Error::transient("away"));
        }
        let mut state = self.state.lock().unwrap();
        for step in &batch.progress {
            let stands = state
                .progress
                .get(&step.lane)
                .map_or(0, |kept| kept.reached);
            assert_eq!(stands, step.expected, "{}", step.lane);
        }
        for step in &batch.progress {
            let kept = LaneProgress {
                expected: step.reached,
                ..step.clone()
            };
            state.progress.insert(step.lane.clone(), kept);
        }
        state.applies += 1;
        for record in &records {
            *state.writes.entry(*record).or_default() += 1;
        }
        let applied = Outcome::APPLIED;
        Ok(Receipt::Committed(vec![applied; records.len()]))
    }

    fn limits(&self) -> Limits {
        Limits {
            progress: true,
            writers: 3,
            ..Limits::default()
        }
    }
}

async fn log() -> (tempfile::TempDir, Arc<dyn Log>) {
    use crate::log::embedded::{Embedded, EmbeddedOptions};
    let folder = tempfile::tempdir().unwrap();
    let log = Embedded::open(folder.path().join("log.db"), EmbeddedOptions::default()).await;
    let log: Arc<dyn Log> = log.unwrap();
    let config = StreamConfig {
        name: SETTLED.to_owned(),
        subjects: vec!["ls.set.>".to_owned()],
        max_age: None,
        max_bytes: None,
        max_per_subject: None,
        duplicate_window: std::time::Duration::from_secs(1),
    };
    log.ensure_stream(&config).await.unwrap();
    (folder, log)
}

fn subject(lane: u32) -> String {
    lockstep_core::log::subject::settled("thing", 1, lane)
}

fn position(commit: u64) -> Position {
    format!("i/{commit:016x}.00000000").parse().unwrap()
}

/// One record a message, the first of which has sequence `from`.
async fn publish(log: &Arc<dyn Log>, from: u64, upto: u64) {
    let messages = (from..=upto).map(|n| crate::log::Message {
        subject: subject(lane_of(n)),
        headers: vec![(
            lockstep_core::log::POSITION.to_owned(),
            position(n).to_string(),
        )],
        ..Default::default()
    });
    for outcome in log.publish(SETTLED, messages.collect()).await {
        outcome.unwrap();
    }
}

async fn progress(log: &Arc<dyn Log>, target: &Arc<dyn DynSink>) -> Progress {
    let lanes = BTreeMap::from([(1, LANES)]);
    Progress::read(&**target, log, ("f", "t"), "thing", &lanes)
        .await
        .unwrap()
}

type Ends = BTreeMap<String, (u64, Option<Position>)>;

/// What a batch of records brings that are not applied.
fn batch(
    channel: &Channel,
    progress: &Progress,
    records: std::ops::RangeInclusive<u64>,
) -> (Vec<Event>, Vec<(usize, String)>, Ends) {
    let (mut events, mut spans, mut ends) = (Vec::new(), Vec::new(), Ends::new());
    for n in records {
        let lane = subject(lane_of(n));
        if progress.covers(&lane, n) {
            continue;
        }
        events.push(crate::capture::tests::event(channel, n));
        spans.push((events.len(), lane.clone()));
        ends.insert(lane, (n, Some(position(n))));
    }
    (events, spans, ends)
}

/// Applies records up to `upto` at once; tells what is left.
async fn apply_to(
    progress: &mut Progress,
    target: &Arc<dyn DynSink>,
    records: std::ops::RangeInclusive<u64>,
) -> Hand {
    let channel = crate::capture::tests::channel();
    let reached = *records.end();
    let (events, spans, ends) = batch(&channel, progress, records);
    let mut hand = Hand::new("f");
    for (place, event) in events.into_iter().enumerate() {
        push(&mut hand, event, Vec::new());
        hand.origins[place].place = place;
    }
    hand.batch.progress = progress.steps(&ends, reached);
    hand.batch.follows = true;
    apply(&mut hand, target, progress, &spans).await.unwrap();
    hand
}

/// The same, and what is left behind it together.
async fn settle_to(
    progress: &mut Progress,
    log: &Arc<dyn Log>,
    target: &Arc<dyn DynSink>,
    records: std::ops::RangeInclusive<u64>,
) {
    let reached = *records.end();
    let hand = apply_to(progress, target, records).await;
    if !hand.is_done() {
        target.apply(&hand.batch).await.unwrap();
        progress.moved(log, &hand.batch.progress).await.unwrap();
    }
    progress.is_whole_to(reached);
}

fn of(target: &Arc<Target>) -> Arc<dyn DynSink> {
    Arc::clone(target) as Arc<dyn DynSink>
}

fn once(target: &Target, upto: u64) {
    let state = target.state.lock().unwrap();
    let wanted: BTreeMap<u64, usize> = (1..=upto).map(|n| (n, 1)).collect();
    assert_eq!(state.writes, wanted);
}

#[tokio::test]
async fn lanes_are_shared_out_once_the_floor_is_in_the_target() {
    let (_folder, log) = log().await;
    publish(&log, 1, 2000).await;
    let target = Arc::new(Target::default());
    let sink = of(&target);
    let mut progress = progress(&log, &sink).await;
    settle_to(&mut progress, &log, &sink, 1..=1000).await;
    assert_eq!(
        target.state.lock().unwrap().applies,
        1,
        "the first is whole"
    );
    settle_to(&mut progress, &log, &sink, 1001..=2000).await;
    assert_eq!(target.state.lock().unwrap().applies, 4);
    assert_eq!(progress.reached(), 2000);
    once(&target, 2000);
}

#[tokio::test]
async fn what_one_lane_does_not_take_stays_in_hand_with_its_progress() {
    let (_folder, log) = log().await;
    publish(&log, 1, 2000).await;
    let kept = Arc::new(Target::default());
    let sink = of(&kept);
    let mut all = progress(&log, &sink).await;
    settle_to(&mut all, &log, &sink, 1..=1000).await;
    let target = Arc::new(kept.that_refuses(BTreeSet::from([2])));
    let sink = of(&target);
    let hand = apply_to(&mut all, &sink, 1001..=2000).await;
    assert!(!hand.is_done());
    let wanted: Vec<u64> = hand
        .events
        .iter()
        .map(|event| event.change.mark.commit)
        .collect();
    let sent: Vec<u64> = hand
        .batch
        .changes
        .iter()
        .map(|change| change.mark.commit)
        .collect();
    assert_eq!(wanted, sent, "the lists go together, in order");
    assert!(wanted.is_sorted() && wanted.iter().any(|n| lane_of(*n) == 2));
    let refused: BTreeSet<String> = wanted.iter().map(|n| subject(lane_of(*n))).collect();
    let steps = hand.batch.progress.iter();
    let steps: BTreeSet<String> = steps
        .filter_map(|step| all.subject(step))
        .map(str::to_owned)
        .collect();
    assert_eq!(steps, refused);
    // A crash here leaves lanes at different places: everything is read again from the last floor, and nothing is written twice.
    let mended = Arc::new(target.that_refuses(BTreeSet::new()));
    let sink = of(&mended);
    let mut again = progress(&log, &sink).await;
    assert_eq!((again.reached(), again.next()), (1000, 1001));
    settle_to(&mut again, &log, &sink, 1001..=2000).await;
    once(&mended, 2000);
    // The floor trails what was applied at once, but nothing is missing any more.
    let after = progress(&log, &sink).await;
    assert_eq!((after.reached(), after.next()), (2000, 2001));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Runs of batches, each cut off with some lanes refused or none, each followed by a restart or not.
    #[test]
    fn crashes_between_lanes_lose_and_double_nothing(
        rounds in proptest::collection::vec((400u64..900, proptest::collection::btree_set(0..LANES, 0..4), any::<bool>()), 1..6)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_folder, log) = log().await;
            let mut target = Arc::new(Target::default());
            let mut known = progress(&log, &of(&target)).await;
            let mut end = 0;
            for (size, refuses, restarts) in rounds {
                publish(&log, end + 1, end + size).await;
                target = Arc::new(target.that_refuses(refuses));
                let from = known.reached() + 1;
                end += size;
                let hand = apply_to(&mut known, &of(&target), from..=end).await;
                target = Arc::new(target.that_refuses(BTreeSet::new()));
                if restarts {
                    known = progress(&log, &of(&target)).await;
                    assert!(known.next() <= end + 1);
                } else if !hand.is_done() {
                    of(&target).apply(&hand.batch).await.unwrap();
                    known.moved(&log, &hand.batch.progress).await.unwrap();
                    known.is_whole_to(end);
                } else {
                    known.is_whole_to(end);
                }
            }
            known = progress(&log, &of(&target)).await;
            let from = known.reached() + 1;
            settle_to(&mut known, &log, &of(&target), from..=end).await;
            once(&target, end);
        });
    }
}
