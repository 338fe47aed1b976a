//! Runs a source the way the runtime does, and sees to it that what comes out keeps the promises that hold always.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_core::change::Op;
use lockstep_core::connector::{Control, Emitted, Feed, feed};
use lockstep_core::position::Mark;
use lockstep_core::{Change, Kind, Position, Result, Row, Shape};
use tokio::task::JoinHandle;

use crate::source::SourceHarness;
use crate::{DEADLINE, State, ok};

/// Most batches that wait for the consumer in these checks.
pub(crate) const CAPACITY: usize = 3;

/// A running source.
pub(crate) struct Pump {
    pub(crate) feed: Feed,
    pub(crate) shape: Arc<Shape>,
    task: JoinHandle<Result<()>>,
    last: Option<(Arc<str>, Mark)>,
}

/// A batch that has been taken; its room is free again.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) changes: Vec<Change>,
    pub(crate) position: Position,
}

impl Pump {
    pub(crate) async fn start<H: SourceHarness>(system: &H, resume: Option<Position>) -> Pump {
        let source = H::connector()
            .open_source(system.config(), system.context())
            .await;
        let source = ok(source, "open the source");
        let shapes = ok(source.discover().await, "discover the tables");
        let (emitter, feed) = feed(resume.clone(), CAPACITY);
        let task = tokio::spawn(source.run(resume, emitter));
        Pump {
            feed,
            shape: Arc::clone(&shapes[0]),
            task,
            last: None,
        }
    }

    /// The next batch, checked; `None` when none came within `wait`.
    pub(crate) async fn next_within(&mut self, wait: Duration) -> Option<Taken> {
        let emitted = tokio::time::timeout(wait, self.feed.batches.recv())
            .await
            .ok()?;
        let Some(Emitted {
            changes, position, ..
        }) = emitted
        else {
            let end = (&mut self.task).await;
            panic!("the source ended by itself: {end:?}");
        };
        self.inspect(&changes, &position);
        Some(Taken { changes, position })
    }

    pub(crate) async fn next(&mut self) -> Taken {
        match self.next_within(DEADLINE).await {
            Some(taken) => taken,
            None => panic!("no batch within {DEADLINE:?}"),
        }
    }

    /// Takes batches into `state` until it is what the system holds.
    pub(crate) async fn settle<H: SourceHarness>(
        &mut self,
        system: &H,
        state: &mut State,
    ) -> Vec<Taken> {
        let start = Instant::now();
        let mut taken = Vec::new();
        loop {
            let truth = State::of(&self.shape, system.rows().await);
            // An equal state is the end only once the source has said something since it was begun.
            if *state == truth && !taken.is_empty() {
                return taken;
            }
            assert!(
                start.elapsed() < DEADLINE,
                "the source did not tell what the system holds:\n{}",
                state.difference(&truth)
            );
            if let Some(batch) = self.next_within(Duration::from_millis(100)).await {
                self.fold(state, &batch);
                taken.push(batch);
            } else if *state == truth {
                return taken;
            }
        }
    }

    /// Applies the changes of the first table.
    pub(crate) fn fold(&self, state: &mut State, batch: &Taken) {
        let first = batch
            .changes
            .iter()
            .filter(|change| change.shape.name == self.shape.name);
        first.for_each(|change| state.apply(change));
    }

    /// Ends the source in the middle of whatever it does.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// Asks the source to end, and waits for it.
    pub(crate) async fn stop(self, grace: Duration) {
        self.feed.stop.send_replace(true);
        let Ok(end) = tokio::time::timeout(grace, self.task).await else {
            panic!("the source did not end within {grace:?}");
        };
        match end {
            Ok(Ok(())) => {}
            Ok(Err(error)) => assert_eq!(error.kind(), Kind::Stopped, "{error:?}"),
            Err(error) => panic!("the source panicked: {error}"),
        }
    }

    pub(crate) async fn ask(&self, control: Control) {
        assert!(
            self.feed.control.send(control).await.is_ok(),
            "the source takes no requests"
        );
    }

    /// What holds for every batch of every run.
    fn inspect(&mut self, changes: &[Change], position: &Position) {
        for change in changes {
            if let Some((incarnation, last)) = &self.last
                && *incarnation == position.incarnation
            {
                assert!(
                    change.mark > *last,
                    "mark {:?} follows {last:?}",
                    change.mark
                );
            }
            assert!(
                change.mark <= position.mark(),
                "the position {position} does not cover the change at {:?}",
                change.mark
            );
            assert!(
                change.op != Op::Deleted || only_key(&change.shape, &change.row),
                "a delete sets more or less than the key: {:?}",
                change.row
            );
            self.last = Some((Arc::clone(&position.incarnation), change.mark));
        }
        let text = position.to_string();
        assert_eq!(
            text.parse::<Position>().as_ref(),
            Ok(position),
            "a position must survive its text"
        );
    }
}

fn only_key(shape: &Shape, row: &Row) -> bool {
    (0..shape.columns.len())
        .all(|column| row.cell(column).is_unchanged() != shape.key.contains(&column))
}
