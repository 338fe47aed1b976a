//! Step five, **deliver**: settled events into a target, once.
//!
//! One [`Delivery`] per flow and target. It reads every lane of its entity in the log's order (`feed`), folds, maps and applies in batches, and quarantines what the target refuses.
//! The truth about how far it got is in the target, in the same transaction as the rows; where a target keeps none, in the log's key-value store.
//!
//! Invariants: a quarantine entry is durable before the progress that covers it; a batch holds whole messages; progress is a compare-and-set, so a second worker is stopped instead of doubling anything.

mod batch;
mod feed;
mod hand;
mod progress;
mod unfold;

use std::collections::HashMap;
use std::sync::Arc;

use lockstep_core::connector::{Boxed, DynSink};
use lockstep_core::error::{Error, Kind, Result};
use lockstep_core::log::{Channel, is_later, subject};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::again::{Replaced, again};
use crate::log::{self, Log, Request};
use crate::plan;
use crate::quarantine::{Answer, Entry, Quarantine, Stage, State};
use crate::status::Board;
use batch::{Applied, Applier, Open};
use feed::{Chunk, Feed};
use progress::Progress;

/// Most chunks read ahead of the batch that is being applied.
const AHEAD_MAX: usize = 2;

/// Opens a target anew; called at the start and after a failure.
pub type OpenSink = Box<dyn Fn() -> Boxed<'static, Result<Box<dyn DynSink>>> + Send + Sync>;

/// Delivers one flow into one target.
pub struct Delivery {
    /// What is delivered.
    pub plan: plan::Delivered,
    /// Opens its target.
    pub open: OpenSink,
    /// The log.
    pub log: Arc<dyn Log>,
    /// Where what is refused goes.
    pub quarantine: Arc<Quarantine>,
    /// Where the state shows.
    pub board: Arc<Board>,
}

impl Delivery {
    /// Delivers until stopped, starting again after what can be retried.
    pub async fn run(&self, stop: &CancellationToken) {
        let plan::Delivered {
            flow,
            contract,
            from,
            to,
            ..
        } = &self.plan;
        self.board.flow(flow, to, &contract.entity, from);
        let told = |error: &Error, held| self.board.flow_failed(flow, to, error, held);
        let what = format!("delivery of {flow} to {to}");
        // Where the target's progress is not what this worker left there, it is read again before anything else.
        again(&what, Replaced::ReadsAgain, stop, told, || {
            self.session(stop)
        })
        .await;
    }

    /// One life of the target's connection.
    async fn session(&self, stop: &CancellationToken) -> Result<()> {
        let plan::Delivered {
            flow,
            contract,
            from,
            to,
            write,
            shape,
            ..
        } = &self.plan;
        let sink: Arc<dyn DynSink> = Arc::from((self.open)().await?);
        sink.prepare(&[write.target()]).await?;
        let channel = Arc::new(Channel::new(from, Arc::clone(contract)));
        let progress = Progress::read(&*sink, &self.log, flow, to, contract).await?;
        let mut control = self
            .log
            .serve(&subject::deliver_control(flow, to))
            .await
            .map_err(log::to_error)?;
        let (chunks, mut ready) = mpsc::channel(AHEAD_MAX);
        let feed = Feed::open(&*self.log, Arc::clone(&channel), &progress).await?;
        let reading = tokio::spawn(feed.run(chunks));
        let mut applier = Applier {
            delivery: self,
            sink,
            shape: Arc::clone(shape),
            write: Arc::clone(write),
            channel,
            progress,
            open: self.open_entries().await?,
        };
        self.board.reached(flow, to, applier.progress.reached(), 0);
        let outcome = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break Ok(()),
                Some(request) = control.requests.recv() => self.request(&mut applier, request).await,
                chunk = ready.recv() => {
                    let Some(chunk) = chunk else { break Err(Error::unexpected("the log's consumer ended")) };
                    let chunk = gather(chunk?, &mut ready, applier.sink.limits().batch_max)?;
                    // Bound to `stop` only between attempts: what is under way is finished first.
                    let applied = applier.apply(chunk, stop).await?;
                    self.note(&applied);
                }
            }
        };
        reading.abort();
        outcome
    }

    fn note(&self, applied: &Applied) {
        self.board.reached(
            &self.plan.flow,
            &self.plan.to,
            applied.reached,
            applied.changes,
        );
    }

    /// Open entries of this delivery, by key: the newest of each.
    async fn open_entries(&self) -> Result<HashMap<String, Open>> {
        let plan::Delivered { flow, to, .. } = &self.plan;
        let mine = |entry: &Entry| {
            entry.stage == Stage::Deliver
                && entry.flow.as_ref() == Some(flow)
                && entry.system == *to
        };
        let mut open: HashMap<String, Open> = HashMap::new();
        for entry in self.quarantine.list(false).await?.into_iter().filter(mine) {
            // A dropped entry is closed by the next good version of its record.
            if !matches!(entry.state, State::Open | State::Dropped) {
                continue;
            }
            let newer = Open {
                id: entry.id,
                event: entry.held.event,
            };
            match open.get(&entry.key) {
                Some(known) if !is_later(&newer.event, &known.event) => {}
                _ => drop(open.insert(entry.key, newer)),
            }
        }
        Ok(open)
    }

    /// Applies a quarantined change again, because somebody asked for it.
    async fn request(&self, applier: &mut Applier<'_>, request: Request) {
        let id = String::from_utf8_lossy(&request.payload).into_owned();
        let answer = match self.retry(applier, &id).await {
            Ok(answer) => answer,
            Err(error) => Answer::Failed {
                reason: error.chain(),
            },
        };
        let _ = request.reply.send(answer.to_bytes());
    }

    async fn retry(&self, applier: &mut Applier<'_>, id: &str) -> Result<Answer> {
        let Some(entry) = self.quarantine.get(id).await? else {
            return Ok(Answer::Missing);
        };
        if entry.state != State::Open {
            return Ok(Answer::Closed { state: entry.state });
        }
        if entry.held.raw.is_some() {
            return Ok(Answer::Failed {
                reason: "the message cannot be read; it can only be dropped".into(),
            });
        }
        if !applier.holds(&entry) {
            // A newer change of the record is applied or in quarantine itself.
            return Ok(Answer::Closed {
                state: State::Superseded,
            });
        }
        if entry.held.cut {
            let reason = "the record is too large to be kept in quarantine; change it in its source, which still has it";
            return Ok(Answer::Failed {
                reason: reason.into(),
            });
        }
        match applier.again(&entry).await? {
            Ok(()) => {
                self.quarantine.close(id, State::Retried).await?;
                Ok(Answer::Done)
            }
            Err(violations) => Ok(Answer::rejected(&violations)),
        }
    }
}

/// Joins what is ready to one batch, up to a size: batches grow with the load and wait for nothing.
fn gather(
    mut chunk: Chunk,
    ready: &mut mpsc::Receiver<Result<Chunk>>,
    batch_max: usize,
) -> Result<Chunk> {
    while chunk.events.len() < batch_max {
        match ready.try_recv() {
            Ok(more) => chunk.append(more?),
            Err(_) => break,
        }
    }
    Ok(chunk)
}

/// The error of a target whose progress another worker moved.
fn moved(lane: &str) -> Error {
    Error::new(
        Kind::Stopped,
        "the target's progress is not where this worker left it",
    )
    .with("lane", lane)
}
