//! What every source promises.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use lockstep_core::change::Op;
use lockstep_core::connector::Control;
use lockstep_core::position::Mark;
use lockstep_core::{Change, Position, Row};

use crate::edit::{Edit, script};
use crate::fold::key;
use crate::manifest::declared;
use crate::pump::{CAPACITY, Pump, Taken};
use crate::schema::documented;
use crate::{DEADLINE, State, System, ok};

/// A system whose source is tested.
pub trait SourceHarness: System {
    /// Edits the first table by a connection of its own, as the business system's users do; one call is one transaction.
    ///
    /// Rows should be as odd as the system allows: nulls, long and empty texts, numbers at their limits, a composite key.
    fn edit(&self, edits: &[Edit]) -> impl Future<Output = ()> + Send;

    /// The rows of the first table, whole and in its discovered shape.
    fn rows(&self) -> impl Future<Output = Vec<Row>> + Send;

    /// Cuts the source's connection; false where there is none to cut.
    fn sever(&self) -> impl Future<Output = bool> + Send {
        async { false }
    }

    /// The first change that the system still keeps for the source, where it keeps them only until they are released.
    fn kept(&self) -> impl Future<Output = Option<Mark>> + Send {
        async { None }
    }

    /// Whether a row can get another key and stay the same row; where not, [`Edit::Rekey`] is a delete and an insert, and told as two changes.
    fn rekeys() -> bool {
        true
    }

    /// How long the system lets a source be silent before it gives it up.
    fn lease(&self) -> Duration {
        Duration::from_millis(300)
    }

    /// Positions that releases have written, which later ones must still read.
    fn golden_positions() -> Vec<&'static str> {
        Vec::new()
    }
}

/// Makes a test of every source check.
#[macro_export]
macro_rules! source_conformance {
    ($harness:ty) => {
        $crate::__checks!(
            source,
            $harness,
            configuration_is_documented_and_secrets_are_marked,
            discovery_gives_the_tables_in_their_order,
            a_snapshot_is_complete,
            changes_during_a_snapshot_are_not_lost,
            a_run_resumes_from_every_position,
            changes_of_a_key_come_in_their_order,
            killed_at_every_batch_nothing_is_lost,
            a_cut_connection_loses_nothing,
            a_run_stops_within_its_grace,
            a_consumer_may_take_nothing_for_a_while,
            nothing_is_released_that_is_not_safe,
            positions_of_earlier_releases_are_read,
            a_table_is_read_again_on_request,
            a_quiet_source_stays_ready,
            a_run_says_where_it_begins,
        );
    };
}

/// Every setting has a sentence, unknown settings are refused, and what is secret says so.
pub async fn configuration_is_documented_and_secrets_are_marked<H: SourceHarness>() {
    let connector = H::connector();
    let settings = documented(&connector.schema);
    let system = H::start().await;
    for name in system.config().keys() {
        assert!(
            settings.contains(name),
            "the setting `{name}` is not in the schema"
        );
    }
}

/// The shapes come in the order of the context's tables, and each has a key.
pub async fn discovery_gives_the_tables_in_their_order<H: SourceHarness>() {
    let system = H::start().await;
    let source = H::connector()
        .open_source(system.config(), system.context())
        .await;
    let source = ok(source, "open the source");
    let shapes = ok(source.discover().await, "discover the tables");
    let names: Vec<&str> = shapes.iter().map(|shape| shape.name.as_str()).collect();
    assert_eq!(names, system.tables());
    for shape in shapes {
        assert!(!shape.key.is_empty(), "table `{}` has no key", shape.name);
    }
    let findings = ok(source.check(&[]).await, "check the source");
    let errors = findings
        .iter()
        .filter(|finding| finding.severity == lockstep_core::diagnostic::Severity::Error);
    assert_eq!(errors.count(), 0, "a good system has errors: {findings:?}");
}

/// Every row that is there comes out, once, as a snapshot.
pub async fn a_snapshot_is_complete<H: SourceHarness>() {
    for count in [0, 1, 57] {
        let system = H::start().await;
        insert(&system, 0..count).await;
        let mut pump = Pump::start(&system, None).await;
        let mut state = State::default();
        let taken = pump.settle(&system, &mut state).await;
        assert_eq!(state.len(), usize::try_from(count).unwrap_or(0));
        let rows = taken.iter().flat_map(|batch| &batch.changes);
        let rows = rows.filter(|change| change.shape.name == pump.shape.name);
        let ops: Vec<Op> = rows.map(|change| change.op).collect();
        assert_eq!(ops, vec![Op::Snapshot; state.len()]);
        pump.stop(DEADLINE).await;
    }
}

/// Inserts, updates, deletes and key changes while the snapshot runs end up as if it had run before or after them.
pub async fn changes_during_a_snapshot_are_not_lost<H: SourceHarness>() {
    let system = H::start().await;
    insert(&system, 0..60).await;
    let mut pump = Pump::start(&system, None).await;
    let mut state = State::default();
    let mut taken = Vec::new();
    for edits in script() {
        let batch = pump.next().await;
        pump.fold(&mut state, &batch);
        taken.push(batch);
        system.edit(&edits).await;
    }
    taken.extend(pump.settle(&system, &mut state).await);
    let told = taken.iter().flat_map(|batch| &batch.changes);
    never_backwards(told.filter(|change| change.shape.name == pump.shape.name));
    pump.stop(DEADLINE).await;
}

/// A snapshot's row holds every change that came before it and none that comes after it, so what was told of a row is what the next change of it finds.
fn never_backwards<'c>(told: impl Iterator<Item = &'c Change>) {
    let mut known: BTreeMap<String, Option<Row>> = BTreeMap::new();
    let same = |a: &Row, b: &Row| a == b || !a.is_whole() || !b.is_whole();
    for change in told {
        let now = key(&change.shape, &change.row);
        if change.op == Op::Snapshot {
            match known.get(&now) {
                Some(Some(row)) => assert!(
                    same(row, &change.row),
                    "{now} was {row:?} before {change:?}"
                ),
                Some(None) => panic!("{now} was deleted before {change:?}"),
                None => {}
            }
        }
        if let Some(before) = change.before.as_ref().filter(|before| before.is_whole()) {
            let old = key(&change.shape, before);
            if let Some(Some(row)) = known.get(&old) {
                assert!(same(row, before), "{old} was {row:?} before {change:?}");
            }
            known.insert(old, None);
        }
        let row = change.op.is_upsert().then(|| change.row.clone());
        known.insert(now, row);
    }
}

/// A run that begins after any position that was ever emitted leads to the same state, and tells the same changes under the same marks.
pub async fn a_run_resumes_from_every_position<H: SourceHarness>() {
    let system = H::start().await;
    insert(&system, 0..40).await;
    let mut pump = Pump::start(&system, None).await;
    let mut state = State::default();
    let mut history: Vec<(Taken, State)> = Vec::new();
    for edits in script() {
        let batch = pump.next().await;
        pump.fold(&mut state, &batch);
        history.push((batch, state.clone()));
        system.edit(&edits).await;
    }
    for batch in pump.settle(&system, &mut state.clone()).await {
        pump.fold(&mut state, &batch);
        history.push((batch, state.clone()));
    }
    pump.kill().await;

    let streamed: BTreeMap<Mark, Change> = history
        .iter()
        .flat_map(|(batch, _)| &batch.changes)
        .filter(|change| change.op != Op::Snapshot)
        .map(|change| (change.mark, change.clone()))
        .collect();
    // In their order, because a source may forget what lies behind the position it is given.
    for (batch, state) in &history {
        let text = batch.position.to_string();
        let Ok(position) = text.parse::<Position>() else {
            panic!("`{text}` is not a position");
        };
        let mut state = state.clone();
        let mut pump = Pump::start(&system, Some(position.clone())).await;
        for replayed in pump.settle(&system, &mut state).await {
            assert_eq!(
                replayed.position.incarnation, position.incarnation,
                "a position was not trusted: {position}"
            );
            for change in replayed
                .changes
                .iter()
                .filter(|change| change.op != Op::Snapshot)
            {
                if let Some(first) = streamed.get(&change.mark) {
                    assert_eq!(
                        (first.op, &first.row),
                        (change.op, &change.row),
                        "at {:?}",
                        change.mark
                    );
                }
            }
        }
        pump.kill().await;
    }
}

/// Each state that the table went through is gone through again, in order, and a key change is one change.
pub async fn changes_of_a_key_come_in_their_order<H: SourceHarness>() {
    let system = H::start().await;
    insert(&system, 0..3).await;
    let mut pump = Pump::start(&system, None).await;
    let mut state = State::default();
    let taken = pump.settle(&system, &mut state).await;
    let position = taken.last().map(|batch| batch.position.clone());
    let shape = pump.shape.clone();
    pump.kill().await;

    let mut states = vec![state.clone()];
    let edits = [
        Edit::Insert { id: 10, version: 1 },
        Edit::Update { id: 10, version: 2 },
        Edit::Update { id: 10, version: 3 },
        Edit::Delete { id: 10 },
        Edit::Insert { id: 10, version: 4 },
        Edit::Rekey { from: 10, to: 11 },
        Edit::Update { id: 11, version: 5 },
        Edit::Rekey { from: 0, to: 10 },
        Edit::Delete { id: 11 },
        Edit::Update { id: 1, version: 6 },
    ];
    for edit in edits.into_iter().flat_map(told_as::<H>) {
        system.edit(&[edit]).await;
        states.push(State::of(&shape, system.rows().await));
    }
    let mut pump = Pump::start(&system, position).await;
    let mut at = 0;
    let start = Instant::now();
    while at + 1 < states.len() {
        assert!(start.elapsed() < DEADLINE, "stuck at edit {at}");
        let Some(batch) = pump.next_within(Duration::from_millis(100)).await else {
            continue;
        };
        for change in batch
            .changes
            .iter()
            .filter(|change| change.shape.name == shape.name)
        {
            state.apply(change);
            let found = states[at..].iter().position(|known| *known == state);
            let Some(further) = found else {
                panic!("after edit {at} comes a state the table never had: {change:?}");
            };
            at += further;
        }
    }
    pump.stop(DEADLINE).await;
}

/// The edits that a source can tell one by one.
fn told_as<H: SourceHarness>(edit: Edit) -> Vec<Edit> {
    match edit {
        Edit::Rekey { from, to } if !H::rekeys() => {
            vec![
                Edit::Delete { id: from },
                Edit::Insert { id: to, version: 0 },
            ]
        }
        edit => vec![edit],
    }
}

/// However often the source dies, each time after one more batch, the state is reached.
pub async fn killed_at_every_batch_nothing_is_lost<H: SourceHarness>() {
    let system = H::start().await;
    insert(&system, 0..40).await;
    let (mut state, mut position) = (State::default(), None);
    let mut script = script().into_iter();
    let start = Instant::now();
    loop {
        let mut pump = Pump::start(&system, position.clone()).await;
        match pump.next_within(lull(&system)).await {
            // An empty batch after the last edit says that there is nothing more.
            Some(batch) if !batch.changes.is_empty() || script.len() > 0 => {
                pump.fold(&mut state, &batch);
                position = Some(batch.position);
            }
            _ => {
                pump.settle(&system, &mut state).await;
                pump.kill().await;
                return;
            }
        }
        // The source may be in the middle of anything now; what it emitted beyond that batch is not durable and is lost.
        pump.kill().await;
        if let Some(edits) = script.next() {
            system.edit(&edits).await;
        }
        assert!(
            start.elapsed() < DEADLINE * 3,
            "the source makes no progress between its deaths"
        );
    }
}

/// A connection that is cut ends the run with an error to be tried again, or not at all; the next run goes on.
pub async fn a_cut_connection_loses_nothing<H: SourceHarness>() {
    let system = H::start().await;
    insert(&system, 0..40).await;
    let mut pump = Pump::start(&system, None).await;
    let batch = pump.next().await;
    let mut state = State::default();
    pump.fold(&mut state, &batch);
    let cut = system.sever().await;
    system
        .edit(&[Edit::Update { id: 1, version: 9 }, Edit::Delete { id: 2 }])
        .await;
    if cut {
        pump.kill().await;
        pump = Pump::start(&system, Some(batch.position)).await;
    } else {
        declared("the harness cuts no connection of the source");
    }
    pump.settle(&system, &mut state).await;
    pump.stop(DEADLINE).await;
}

/// Asked to end, a run ends: while it waits for changes, and while it waits for room.
pub async fn a_run_stops_within_its_grace<H: SourceHarness>() {
    let grace = Duration::from_secs(5);
    let system = H::start().await;
    insert(&system, 0..60).await;
    let waiting_for_room = Pump::start(&system, None).await;
    full(&waiting_for_room).await;
    waiting_for_room.stop(grace).await;
    let mut waiting_for_changes = Pump::start(&system, None).await;
    waiting_for_changes
        .settle(&system, &mut State::default())
        .await;
    waiting_for_changes.stop(grace).await;
}

/// A consumer that stalls for longer than the system's lease finds no more batches than there was room for, and loses nothing.
pub async fn a_consumer_may_take_nothing_for_a_while<H: SourceHarness>() {
    let system = H::start().await;
    insert(&system, 0..60).await;
    let mut pump = Pump::start(&system, None).await;
    full(&pump).await;
    // The length of the stall is what is tested here.
    tokio::time::sleep(system.lease() * 2).await;
    assert!(
        pump.feed.batches.len() <= CAPACITY,
        "more batches than there was room for"
    );
    system.edit(&[Edit::Update { id: 1, version: 8 }]).await;
    pump.settle(&system, &mut State::default()).await;
    pump.stop(DEADLINE).await;
}

/// The system is told to forget only what is safe: before that everything can be read again, and after it the rest.
pub async fn nothing_is_released_that_is_not_safe<H: SourceHarness>() {
    let system = H::start().await;
    insert(&system, 0..5).await;
    let mut pump = Pump::start(&system, None).await;
    let mut state = State::default();
    let mut taken = pump.settle(&system, &mut state).await;
    for version in 1..20 {
        system
            .edit(&[Edit::Update {
                id: version % 5,
                version,
            }])
            .await;
    }
    taken.extend(pump.settle(&system, &mut state).await);
    let Some(first) = taken
        .iter()
        .flat_map(|batch| &batch.changes)
        .find(|change| change.op != Op::Snapshot)
    else {
        panic!("no change was streamed");
    };
    // One in the middle of those past the first change, so that what is released can be told from what is not, also where others write to the same system.
    let past: Vec<_> = taken
        .iter()
        .filter(|batch| batch.position.mark() > first.mark)
        .collect();
    let Some(middle) = past.get(past.len() / 2) else {
        panic!("no position is past the first change");
    };
    tokio::time::sleep(system.lease()).await;
    if let Some(kept) = system.kept().await {
        assert!(
            kept <= first.mark,
            "released up to {kept:?} before anything was safe"
        );
        pump.feed.safe.send_replace(Some(middle.position.clone()));
        let start = Instant::now();
        loop {
            let Some(kept) = system.kept().await else {
                break;
            };
            assert!(
                kept <= middle.position.mark(),
                "released up to {kept:?}, safe is {}",
                middle.position
            );
            if kept > first.mark {
                break;
            }
            assert!(start.elapsed() < DEADLINE, "what is safe is never released");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    } else {
        declared("the system forgets changes by a rule of its own, whatever was released");
    }
    pump.kill().await;
    let mut again = Pump::start(&system, Some(middle.position.clone())).await;
    for batch in again.settle(&system, &mut state).await {
        assert_eq!(
            batch.position.incarnation, middle.position.incarnation,
            "the safe position was not trusted"
        );
    }
    again.kill().await;
}

/// A position's text is a stored format.
pub async fn positions_of_earlier_releases_are_read<H: SourceHarness>() {
    for text in H::golden_positions() {
        match text.parse::<Position>() {
            Ok(position) => assert_eq!(position.to_string(), text),
            Err(error) => panic!("{error}"),
        }
        // A position of another life of the system is no reason to stop, only one to read everything.
        let system = H::start().await;
        insert(&system, 0..3).await;
        let mut pump = Pump::start(&system, text.parse().ok()).await;
        pump.settle(&system, &mut State::default()).await;
        pump.kill().await;
    }
}

/// On request a table is read again from its first row, while changes go on.
pub async fn a_table_is_read_again_on_request<H: SourceHarness>() {
    let system = H::start().await;
    insert(&system, 0..40).await;
    let mut pump = Pump::start(&system, None).await;
    pump.settle(&system, &mut State::default()).await;
    let table = pump.shape.name.clone();
    pump.ask(Control::Backfill {
        table,
        filter: None,
    })
    .await;
    system
        .edit(&[Edit::Update { id: 3, version: 7 }, Edit::Delete { id: 39 }])
        .await;
    let mut again = State::default();
    let start = Instant::now();
    let truth = State::of(&pump.shape, system.rows().await);
    let mut rows = 0;
    while rows < truth.len() || again != truth {
        assert!(
            start.elapsed() < DEADLINE,
            "the table was not read again: {rows} rows"
        );
        if let Some(batch) = pump.next_within(Duration::from_millis(100)).await {
            rows += batch
                .changes
                .iter()
                .filter(|change| change.op == Op::Snapshot)
                .count();
            pump.fold(&mut again, &batch);
        }
    }
    system.edit(&[Edit::Insert { id: 90, version: 1 }]).await;
    pump.settle(&system, &mut again).await;
    pump.stop(DEADLINE).await;
}

/// With nothing to say a source says nothing, and is there when something happens.
pub async fn a_quiet_source_stays_ready<H: SourceHarness>() {
    let system = H::start().await;
    let mut pump = Pump::start(&system, None).await;
    let first = pump.next().await;
    assert!(
        first.changes.is_empty(),
        "an empty system tells changes: {:?}",
        first.changes
    );
    let start = Instant::now();
    while start.elapsed() < system.lease() * 2 {
        if let Some(batch) = pump.next_within(Duration::from_millis(50)).await {
            assert!(
                batch.changes.is_empty(),
                "changes out of nothing: {:?}",
                batch.changes
            );
        }
    }
    insert(&system, 0..1).await;
    let mut state = State::default();
    let taken = pump.settle(&system, &mut state).await;
    assert_eq!(state.len(), 1);
    let position = taken.into_iter().next_back().map(|batch| batch.position);
    pump.stop(DEADLINE).await;
    // A source that goes on says as well that there is nothing, so that idle can be told from slow.
    let mut pump = Pump::start(&system, position).await;
    assert!(
        pump.next().await.changes.is_empty(),
        "the same change is told again"
    );
    pump.stop(DEADLINE).await;
}

/// The first batch of a run from the beginning is empty, and a later run from its position misses nothing: not even what is deleted meanwhile.
pub async fn a_run_says_where_it_begins<H: SourceHarness>() {
    let system = H::start().await;
    insert(&system, 0..10).await;
    let mut pump = Pump::start(&system, None).await;
    let first = pump.next().await;
    assert!(
        first.changes.is_empty(),
        "changes come before the beginning is said"
    );
    let mut state = State::default();
    let batch = pump.next().await;
    pump.fold(&mut state, &batch);
    pump.kill().await;
    system
        .edit(&[Edit::Delete { id: 1 }, Edit::Delete { id: 2 }])
        .await;
    // Only the beginning became durable, though what followed may have been seen by others already.
    let mut pump = Pump::start(&system, Some(first.position)).await;
    pump.settle(&system, &mut state).await;
    pump.stop(DEADLINE).await;
}

async fn insert<H: SourceHarness>(system: &H, ids: std::ops::Range<i64>) {
    let edits: Vec<Edit> = ids.map(|id| Edit::Insert { id, version: id }).collect();
    system.edit(&edits).await;
}

/// Long enough for a source that has something to say.
fn lull<H: SourceHarness>(system: &H) -> Duration {
    system.lease() * 2
}

/// Waits until the source has filled its room.
async fn full(pump: &Pump) {
    let start = Instant::now();
    while pump.feed.batches.len() < CAPACITY {
        assert!(
            start.elapsed() < DEADLINE,
            "the source fills only {} of {CAPACITY} places",
            pump.feed.batches.len()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
