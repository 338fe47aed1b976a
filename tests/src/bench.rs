//! A sink at work for a check, and what its table should hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use lockstep_core::change::Op;
use lockstep_core::connector::{Batch, DynSink, LaneProgress, Outcome, Receipt};
use lockstep_core::position::Mark;
use lockstep_core::{Change, Kind, Position, Row, Shape};

use crate::{SinkHarness, State, ok};

/// The flow that checks apply for.
pub(crate) const FLOW: &str = "flow";
const LANE: &str = "lane.0";

/// A sink at work, and the state its table should have.
pub(crate) struct Bench<H> {
    pub(crate) system: H,
    pub(crate) sink: Box<dyn DynSink>,
    pub(crate) shape: Arc<Shape>,
    pub(crate) state: State,
    pub(crate) reached: u64,
    /// Each change has a mark of its own: what is made of marks must differ.
    marks: AtomicU64,
}

impl<H: SinkHarness> Bench<H> {
    pub(crate) async fn start() -> Bench<H> {
        let system = H::start().await;
        let shape = system.target();
        let sink = open(&system).await;
        Bench {
            system,
            sink,
            shape,
            state: State::default(),
            reached: 0,
            marks: AtomicU64::new(1),
        }
    }

    pub(crate) fn change(&self, op: Op, row: Row) -> Change {
        Change {
            shape: Arc::clone(&self.shape),
            op,
            row,
            before: None,
            mark: Mark {
                commit: self.marks.fetch_add(1, Ordering::Relaxed),
                ordinal: 0,
            },
            committed_at: Timestamp::UNIX_EPOCH,
            origin: None,
        }
    }

    pub(crate) fn upsert(&self, id: i64, version: i64) -> Change {
        self.change(Op::Updated, self.system.row(id, version))
    }

    pub(crate) fn delete(&self, id: i64) -> Change {
        self.change(Op::Deleted, self.key_row(id))
    }

    pub(crate) fn rekey(&self, from: i64, to: i64, version: i64) -> Change {
        Change {
            before: Some(self.key_row(from)),
            ..self.upsert(to, version)
        }
    }

    pub(crate) fn key_row(&self, id: i64) -> Row {
        let whole = self.system.row(id, 0);
        let mut row = Row::unchanged(self.shape.columns.len());
        for column in &self.shape.key {
            row.0[*column] = whole.cell(*column).clone();
        }
        row
    }

    /// The next batch of the lane.
    pub(crate) fn batch(&self, changes: Vec<Change>) -> Batch {
        let reached = self.reached + 1;
        Batch {
            flow: FLOW.to_owned(),
            changes,
            progress: vec![LaneProgress {
                lane: LANE.to_owned(),
                expected: self.reached,
                reached,
                position: Some(position(reached)),
            }],
            follows: false,
        }
    }

    /// Applies changes that are fine.
    pub(crate) async fn commit(&mut self, changes: Vec<Change>) {
        let batch = self.batch(changes);
        let receipt = ok(self.sink.apply(&batch).await, "apply a batch");
        self.note(&batch, &receipt);
        self.expect().await;
    }

    pub(crate) fn note(&mut self, batch: &Batch, receipt: &Receipt) {
        let Receipt::Committed(outcomes) = receipt else {
            panic!("good changes were refused: {receipt:?}");
        };
        assert_eq!(outcomes.len(), batch.changes.len(), "one outcome a change");
        let applied = |outcome: &&Outcome| matches!(outcome, Outcome::Applied { .. });
        assert_eq!(
            outcomes.iter().filter(applied).count(),
            outcomes.len(),
            "{outcomes:?}"
        );
        batch
            .changes
            .iter()
            .for_each(|change| self.state.apply(change));
        self.reached = batch.progress[0].reached;
    }

    /// Applies a change that the connector declares it cannot carry out: it says so, and nothing changes.
    pub(crate) async fn refuse(&self, change: Change) {
        match self.sink.apply(&self.batch(vec![change])).await {
            Ok(Receipt::Committed(outcomes)) => assert!(
                matches!(&outcomes[..], [Outcome::Rejected { .. }]),
                "declared as not possible, and applied: {outcomes:?}"
            ),
            Ok(Receipt::RolledBack(refused)) => assert_eq!(refused.len(), 1),
            Err(error) => assert_eq!(error.kind(), Kind::Unsupported, "{error:?}"),
        }
        self.expect().await;
    }

    /// The table holds what it should.
    pub(crate) async fn expect(&self) {
        let held = State::of(&self.shape, self.system.read_back().await);
        assert!(
            held == self.state,
            "the target holds / should hold:\n{}",
            held.difference(&self.state)
        );
    }

    pub(crate) async fn stored(&self) -> u64 {
        let lanes = ok(self.sink.progress(FLOW).await, "read the progress");
        lanes
            .iter()
            .find(|lane| lane.lane == LANE)
            .map_or(0, |lane| lane.reached)
    }
}

/// Opens and prepares the system's sink.
pub(crate) async fn open<H: SinkHarness>(system: &H) -> Box<dyn DynSink> {
    let sink = H::connector()
        .open_sink(system.config(), system.context())
        .await;
    let sink = ok(sink, "open the sink");
    ok(sink.prepare(&[system.target()]).await, "prepare the sink");
    sink
}

/// A position with an odd note.
pub(crate) fn position(commit: u64) -> Position {
    Position {
        incarnation: "life".into(),
        commit,
        ordinal: 3,
        cursor: Some("{\"odd\": \"/ü\"}".into()),
    }
}
