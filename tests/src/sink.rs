//! What every sink promises.

use std::future::Future;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use lockstep_core::change::Op;
use lockstep_core::connector::{Batch, LaneProgress, Outcome, Receipt};
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Cell, Change, Kind, Row, Shape};

use crate::bench::{Bench, FLOW, open, position};
use crate::manifest::{Creates, Deletes, declared};
use crate::{DEADLINE, System, ok};

/// A system whose sink is tested.
pub trait SinkHarness: System {
    /// The shape that changes have: columns of the first table, with at least two beside the key.
    fn target(&self) -> Arc<Shape>;

    /// A whole row of the target; `id` stands for its key and `version` for what else it holds.
    fn row(&self, id: i64, version: i64) -> Row;

    /// A row that the target refuses, if there can be one.
    fn refused(&self, id: i64) -> Option<Row>;

    /// The first table's rows as they are now, in the target's shape.
    fn read_back(&self) -> impl Future<Output = Vec<Row>> + Send;

    /// How often rows of the first table have been written so far, where the system can count that.
    fn writes(&self) -> impl Future<Output = Option<u64>> + Send {
        async { None }
    }
}

/// Makes a test of every sink check.
#[macro_export]
macro_rules! sink_conformance {
    ($harness:ty) => {
        $crate::__checks!(
            sink,
            $harness,
            what_is_declared_is_so,
            what_is_applied_is_read_back,
            a_good_target_has_no_findings_and_prepares_twice,
            twice_is_once,
            what_was_done_but_reported_failed_is_not_done_again,
            stale_progress_is_fenced,
            a_late_update_does_not_bring_back_a_deleted_row,
            bad_records_among_good_are_named,
            an_apply_that_is_dropped_anywhere_can_be_repeated,
            empty_and_maximal_batches_are_applied,
            unchanged_cells_leave_their_columns,
            a_key_change_moves_the_row,
            a_deleted_record_can_be_created_again,
            records_keep_the_ids_that_the_system_gave,
            progress_is_read_back_by_flow,
            a_truncate_empties_the_table,
        );
    };
}

/// The sink is what its manifest says.
pub async fn what_is_declared_is_so<H: SinkHarness>() {
    let bench = Bench::<H>::start().await;
    let (limits, manifest) = (bench.sink.limits(), H::manifest());
    assert_eq!(limits.progress, manifest.is_transactional(), "{manifest:?}");
    assert!(limits.batch_max > 0 && limits.writers > 0, "{limits:?}");
    assert!(
        limits.progress || limits.writers == 1 || manifest.creates == Creates::Upsert,
        "two writers that look up before they create create twice: {limits:?}"
    );
}

/// Inserts, updates and deletes, among them several of one key in one batch, end as they should.
pub async fn what_is_applied_is_read_back<H: SinkHarness>() {
    let mut bench = Bench::<H>::start().await;
    let rows = (0..30).map(|id| bench.upsert(id, id));
    bench.commit(rows.collect()).await;
    let mixed = vec![
        bench.upsert(1, 50),
        bench.delete(2),
        bench.upsert(2, 51),
        bench.upsert(2, 52),
        bench.delete(3),
        bench.delete(777),
        bench.upsert(40, 1),
        bench.delete(40),
    ];
    if H::manifest().deletes == Deletes::Refused {
        declared("the system takes no deletes");
        bench.refuse(bench.delete(2)).await;
        let kept = mixed.into_iter().filter(|change| change.op.is_upsert());
        return bench.commit(kept.collect()).await;
    }
    bench.commit(mixed).await;
}

/// A record that comes back after its delete is created again, with what it was before and with something else.
pub async fn a_deleted_record_can_be_created_again<H: SinkHarness>() {
    if H::manifest().deletes == Deletes::Refused {
        return declared("the system takes no deletes");
    }
    let mut bench = Bench::<H>::start().await;
    for version in [1, 1, 2] {
        bench.commit(vec![bench.upsert(1, version)]).await;
        bench.commit(vec![bench.delete(1)]).await;
        bench.commit(vec![bench.delete(1)]).await;
    }
    bench.commit(vec![bench.upsert(1, 1)]).await;
    bench
        .commit(vec![bench.delete(1), bench.upsert(1, 1)])
        .await;
}

/// A system that gives ids of its own tells them with every applied record, the same ones each time.
pub async fn records_keep_the_ids_that_the_system_gave<H: SinkHarness>() {
    if !H::manifest().own_ids {
        return declared("the system gives records no ids of its own");
    }
    let mut bench = Bench::<H>::start().await;
    let mut before = None;
    for version in [1, 2, 2] {
        let changes = (1..4).map(|id| bench.upsert(id, version)).collect();
        let batch = bench.batch(changes);
        let receipt = ok(bench.sink.apply(&batch).await, "apply a batch");
        bench.note(&batch, &receipt);
        let Receipt::Committed(outcomes) = receipt else {
            panic!("good changes were refused: {receipt:?}");
        };
        let told = |outcome: &Outcome| matches!(outcome, Outcome::Applied { target_id: Some(_) });
        assert!(outcomes.iter().all(told), "{outcomes:?}");
        if let Some(before) = before.replace(outcomes.clone()) {
            assert_eq!(before, outcomes, "ids changed");
        }
    }
}

/// A target that fits passes its check, and preparing it again changes nothing.
pub async fn a_good_target_has_no_findings_and_prepares_twice<H: SinkHarness>() {
    let mut bench = Bench::<H>::start().await;
    let findings = ok(
        bench.sink.check(&[bench.system.target()]).await,
        "check the target",
    );
    assert!(
        findings
            .iter()
            .all(|finding| finding.severity != Severity::Error),
        "{findings:?}"
    );
    bench.commit(vec![bench.upsert(1, 1)]).await;
    ok(
        bench.sink.prepare(&[bench.system.target()]).await,
        "prepare again",
    );
    bench.expect().await;
    assert_eq!(
        bench.stored().await,
        if bench.sink.limits().progress { 1 } else { 0 }
    );
}

/// A batch that is applied again, as it is or under the progress of now, changes nothing and, where the system can count, writes nothing.
pub async fn twice_is_once<H: SinkHarness>() {
    let mut bench = Bench::<H>::start().await;
    bench
        .commit((0..10).map(|id| bench.upsert(id, 1)).collect())
        .await;
    let changes: Vec<Change> = vec![
        bench.upsert(1, 2),
        bench.delete(2),
        bench.upsert(20, 3),
        bench.rekey(3, 30, 4),
    ];
    let changes: Vec<Change> = changes.into_iter().filter(can_apply::<H>).collect();
    let batch = bench.batch(changes.clone());
    bench.commit(changes.clone()).await;
    let writes = bench.system.writes().await;
    repeat(&bench, &batch).await;
    bench.commit(changes).await;
    assert_eq!(
        bench.system.writes().await,
        writes,
        "rows that were equal were written again"
    );
}

/// Whether the connector declares that it can carry a change out.
fn can_apply<H: SinkHarness>(change: &Change) -> bool {
    let manifest = H::manifest();
    match change.op {
        Op::Deleted => manifest.deletes != Deletes::Refused,
        Op::Truncated => manifest.truncates,
        _ => change.before.is_none() || manifest.key_changes,
    }
}

/// Applies a batch that is applied already: refused by progress, or without effect.
async fn repeat<H: SinkHarness>(bench: &Bench<H>, batch: &Batch) {
    match bench.sink.apply(batch).await {
        Ok(Receipt::Committed(_)) => {}
        Ok(receipt) => panic!("a batch that was applied is refused: {receipt:?}"),
        Err(error) => assert_eq!(error.kind(), Kind::Stopped, "{error:?}"),
    }
    bench.expect().await;
}

/// The sink does the work, the answer is lost, and whoever comes next finds that out.
pub async fn what_was_done_but_reported_failed_is_not_done_again<H: SinkHarness>() {
    let mut bench = Bench::<H>::start().await;
    bench.commit(vec![bench.upsert(1, 1)]).await;
    let batch = bench.batch(vec![bench.upsert(1, 2), bench.upsert(2, 2)]);
    let receipt = ok(bench.sink.apply(&batch).await, "apply a batch");
    bench.note(&batch, &receipt);
    let writes = bench.system.writes().await;
    // Another process opens the system, knowing nothing of that answer.
    bench.sink = open(&bench.system).await;
    if bench.sink.limits().progress {
        assert_eq!(bench.stored().await, batch.progress[0].reached);
    }
    repeat(&bench, &batch).await;
    assert_eq!(bench.system.writes().await, writes);
}

/// A writer whose idea of a lane's progress is not the target's writes nothing at all.
pub async fn stale_progress_is_fenced<H: SinkHarness>() {
    let mut bench = Bench::<H>::start().await;
    if !H::manifest().is_transactional() {
        return declared("the sink keeps no progress");
    }
    bench.commit(vec![bench.upsert(1, 1)]).await;
    bench.commit(vec![bench.upsert(1, 2)]).await;
    for expected in [0, 1, 3, u64::MAX >> 1] {
        let mut batch = bench.batch(vec![bench.upsert(1, 9), bench.upsert(7, 9)]);
        batch.progress.insert(
            0,
            LaneProgress {
                lane: "lane.1".to_owned(),
                expected: 0,
                reached: 5,
                position: None,
            },
        );
        batch.progress[1].expected = expected;
        match bench.sink.apply(&batch).await {
            Err(error) => assert_eq!(error.kind(), Kind::Stopped, "{error:?}"),
            Ok(receipt) => panic!("a stale writer was let through: {receipt:?}"),
        }
        bench.expect().await;
        let lanes = ok(bench.sink.progress(FLOW).await, "read the progress");
        assert_eq!(lanes.len(), 1, "a lane moved beside a stale one: {lanes:?}");
    }
}

/// An update that comes after the delete that followed it finds the lane further on.
pub async fn a_late_update_does_not_bring_back_a_deleted_row<H: SinkHarness>() {
    let mut bench = Bench::<H>::start().await;
    if !H::manifest().is_transactional() {
        return declared("the sink keeps no progress");
    }
    bench
        .commit(vec![bench.upsert(1, 1), bench.upsert(2, 1)])
        .await;
    let late = bench.batch(vec![bench.upsert(1, 2)]);
    bench.commit(vec![bench.upsert(1, 2)]).await;
    bench.commit(vec![bench.delete(1)]).await;
    assert!(bench.sink.apply(&late).await.is_err());
    bench.expect().await;
    assert_eq!(bench.state.len(), 1);
}

/// Every refused change is named; with transactions nothing is written then, and without them the rest goes in.
pub async fn bad_records_among_good_are_named<H: SinkHarness>() {
    let mut bench = Bench::<H>::start().await;
    let (Some(bad), Some(worse)) = (bench.system.refused(5), bench.system.refused(7)) else {
        return declared("the target refuses nothing");
    };
    bench.commit(vec![bench.upsert(1, 1)]).await;
    let mut changes: Vec<Change> = (1..10).map(|id| bench.upsert(id, 2)).collect();
    changes[4] = bench.change(Op::Created, bad);
    changes[6] = bench.change(Op::Created, worse);
    let batch = bench.batch(changes.clone());
    let receipt = ok(
        bench.sink.apply(&batch).await,
        "apply a batch with bad records",
    );
    let refused: Vec<(usize, Outcome)> = match receipt {
        Receipt::RolledBack(refused) => refused,
        Receipt::Committed(outcomes) if !bench.sink.limits().progress => {
            let applied = |outcome: &Outcome| matches!(outcome, Outcome::Applied { .. });
            outcomes
                .into_iter()
                .enumerate()
                .filter(|(_, outcome)| !applied(outcome))
                .collect()
        }
        receipt => panic!("bad records were written: {receipt:?}"),
    };
    let named: Vec<usize> = refused.iter().map(|(index, _)| *index).collect();
    assert_eq!(named, [4, 6], "{refused:?}");
    for (_, outcome) in &refused {
        let said = matches!(outcome, Outcome::Rejected { reason } if !reason.is_empty());
        assert!(said, "a refusal gives its reason: {outcome:?}");
    }
    if bench.sink.limits().progress {
        bench.expect().await;
        assert_eq!(bench.stored().await, bench.reached);
    }
    changes.remove(6);
    changes.remove(4);
    bench.commit(changes).await;
}

/// Wherever an apply is cut off, the batch is in as a whole or not at all, the progress says which, and going on by it ends right.
pub async fn an_apply_that_is_dropped_anywhere_can_be_repeated<H: SinkHarness>() {
    let mut bench = Bench::<H>::start().await;
    for round in 0..24u32 {
        let version = i64::from(round) + 1;
        let changes: Vec<Change> = (0..40)
            .map(|id| bench.upsert(id, version))
            .chain([bench.delete(version), bench.upsert(100 + version, 1)])
            .filter(can_apply::<H>)
            .collect();
        let batch = bench.batch(changes);
        // Even rounds count polls; odd ones cut at a moment.
        let cut = if round % 2 == 0 {
            cut_after_polls(bench.sink.apply(&batch), round / 2).await
        } else {
            let moment = Duration::from_micros(u64::from(round) * 60);
            tokio::time::timeout(moment, bench.sink.apply(&batch))
                .await
                .is_err()
        };
        if cut && bench.sink.limits().progress {
            finish(&mut bench, &batch).await;
        } else if cut {
            let receipt = ok(bench.sink.apply(&batch).await, "apply a batch again");
            bench.note(&batch, &receipt);
        } else {
            batch
                .changes
                .iter()
                .for_each(|change| bench.state.apply(change));
            bench.reached = batch.progress[0].reached;
        }
        bench.expect().await;
    }
}

/// Goes on after an apply whose end is not known: by another connection, as after a crash.
async fn finish<H: SinkHarness>(bench: &mut Bench<H>, batch: &Batch) {
    bench.sink = open(&bench.system).await;
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < DEADLINE, "the batch never gets in");
        if bench.stored().await == batch.progress[0].reached {
            batch
                .changes
                .iter()
                .for_each(|change| bench.state.apply(change));
            bench.reached = batch.progress[0].reached;
            return;
        }
        match bench.sink.apply(batch).await {
            Ok(receipt) => return bench.note(batch, &receipt),
            // The cut-off apply may have come to its end after all; its progress is read again.
            Err(error) => assert!(
                error.kind() == Kind::Stopped || error.kind().is_retryable(),
                "{error:?}"
            ),
        }
    }
}

/// Polls a future that often and drops it; whether it was not done by then.
async fn cut_after_polls<T>(future: impl Future<Output = T>, polls: u32) -> bool {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(true);
        }
        left -= 1;
        match future.poll_unpin(cx) {
            Poll::Ready(_) => Poll::Ready(false),
            Poll::Pending if left == 0 => Poll::Ready(true),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// A batch without changes still moves its lane, and a batch of the stated size goes in.
pub async fn empty_and_maximal_batches_are_applied<H: SinkHarness>() {
    let mut bench = Bench::<H>::start().await;
    bench.commit(Vec::new()).await;
    if bench.sink.limits().progress {
        assert_eq!(bench.stored().await, 1);
    }
    let most = i64::try_from(bench.sink.limits().batch_max).unwrap_or(i64::MAX);
    bench
        .commit((0..most).map(|id| bench.upsert(id, id)).collect())
        .await;
}

/// A column that was not sent keeps what it holds; a row that is not there cannot be made of parts.
pub async fn unchanged_cells_leave_their_columns<H: SinkHarness>() {
    let mut bench = Bench::<H>::start().await;
    bench
        .commit(vec![bench.upsert(1, 1), bench.upsert(2, 1)])
        .await;
    let others: Vec<usize> = (0..bench.shape.columns.len())
        .filter(|column| !bench.shape.key.contains(column))
        .collect();
    for column in &others {
        let mut part = bench.upsert(1, 5);
        part.row.0[*column] = Cell::Unchanged;
        bench.commit(vec![part]).await;
    }
    let mut part = bench.upsert(1, 8);
    for column in &others[1..] {
        part.row.0[*column] = Cell::Unchanged;
    }
    bench.commit(vec![part.clone(), bench.upsert(2, 3)]).await;
    let mut only_key = bench.upsert(1, 8);
    for column in &others {
        only_key.row.0[*column] = Cell::Unchanged;
    }
    bench.commit(vec![only_key]).await;

    let mut missing = part;
    for column in &bench.shape.key {
        missing.row.0[*column] = bench.system.row(99, 0).cell(*column).clone();
    }
    let receipt = ok(
        bench.sink.apply(&bench.batch(vec![missing])).await,
        "apply a part",
    );
    let refused = match &receipt {
        Receipt::RolledBack(refused) => refused.len(),
        Receipt::Committed(outcomes) => outcomes
            .iter()
            .filter(|outcome| !matches!(outcome, Outcome::Applied { .. }))
            .count(),
    };
    assert_eq!(refused, 1, "a row was made of parts: {receipt:?}");
    bench.expect().await;
}

/// The old row goes in the same batch, also where a row of the new key exists already.
pub async fn a_key_change_moves_the_row<H: SinkHarness>() {
    let mut bench = Bench::<H>::start().await;
    if !H::manifest().key_changes {
        declared("a record keeps its key");
        bench.commit(vec![bench.upsert(1, 1)]).await;
        return bench.refuse(bench.rekey(1, 50, 2)).await;
    }
    bench
        .commit((1..8).map(|id| bench.upsert(id, 1)).collect())
        .await;
    bench.commit(vec![bench.rekey(1, 50, 2)]).await;
    bench.commit(vec![bench.rekey(2, 3, 2)]).await;
    bench
        .commit(vec![
            bench.rekey(4, 60, 2),
            bench.rekey(5, 4, 2),
            bench.rekey(60, 5, 3),
        ])
        .await;
    // The old row was never there, or is gone already.
    bench.commit(vec![bench.rekey(99, 98, 1)]).await;
    bench.commit(vec![bench.rekey(99, 98, 1)]).await;
    // A row whose values were not sent keeps them under its new key.
    let mut part = bench.rekey(6, 61, 1);
    for column in 0..bench.shape.columns.len() {
        if !bench.shape.key.contains(&column) {
            part.row.0[column] = Cell::Unchanged;
        }
    }
    bench.commit(vec![part]).await;
}

/// Each flow finds its own lanes, with the positions it stored.
pub async fn progress_is_read_back_by_flow<H: SinkHarness>() {
    let mut bench = Bench::<H>::start().await;
    if !H::manifest().is_transactional() {
        return declared("the sink keeps no progress");
    }
    bench.commit(vec![bench.upsert(1, 1)]).await;
    let lane = |lane: &str, expected, reached| LaneProgress {
        lane: lane.to_owned(),
        expected,
        reached,
        position: Some(position(reached)),
    };
    let other = Batch {
        flow: "another flow".to_owned(),
        changes: Vec::new(),
        progress: vec![lane("lane.0", 0, 7), lane("lane.1", 0, 9)],
        follows: false,
    };
    ok(bench.sink.apply(&other).await, "apply for another flow");
    let mut read = ok(
        bench.sink.progress("another flow").await,
        "read the progress",
    );
    read.sort_by(|a, b| a.lane.cmp(&b.lane));
    // Read back, what is expected next is what was reached.
    assert_eq!(read, [lane("lane.0", 7, 7), lane("lane.1", 9, 9)]);
    assert_eq!(bench.stored().await, bench.reached);
    assert!(ok(bench.sink.progress("no flow").await, "read the progress").is_empty());
}

/// Every row goes, and the table takes new ones.
pub async fn a_truncate_empties_the_table<H: SinkHarness>() {
    let mut bench = Bench::<H>::start().await;
    bench
        .commit((0..20).map(|id| bench.upsert(id, 1)).collect())
        .await;
    if !H::manifest().truncates {
        declared("a table cannot be emptied at once");
        let truncate = bench.change(Op::Truncated, Row::default());
        return bench.refuse(truncate).await;
    }
    bench
        .commit(vec![
            bench.change(Op::Truncated, Row::default()),
            bench.upsert(3, 2),
        ])
        .await;
    assert_eq!(bench.state.len(), 1);
}
