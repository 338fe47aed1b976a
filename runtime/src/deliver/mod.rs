//! Step five, **deliver**: settled events into a target, once.
//!
//! One [`Delivery`] per flow and target. It reads every lane of its entity in the log's order (`feed`), folds, maps and applies in batches, and quarantines what the target refuses.
//! The truth about how far it got is in the target, in the same transaction as the rows; where a target keeps none, in the log's key-value store.
//!
//! Invariants: a quarantine entry is durable before the progress that covers it; a batch holds whole messages; progress is a compare-and-set, so a second worker is stopped instead of doubling anything.

mod at_once;
mod batch;
mod direct;
mod feed;
mod hand;
mod pace;
mod plan;
mod progress;
mod refill;
mod skip;
mod unfold;
mod waiting;
mod whole;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use lockstep_core::Op;
use lockstep_core::connector::{Batch, Boxed, DynSink, Receipt};
use lockstep_core::contract::{self, Checker, Contract, Violation};
use lockstep_core::error::{Error, Kind, Result};
use lockstep_core::log::{Channel, is_later, subject};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::again::{Replaced, again};
use crate::control::{Controls, Outcome, Part, Skip};
use crate::direct::{Direct, Entrance, Handover, Way};
use crate::log::{self, Log, Request};
use crate::quarantine::{Answer, Ask, Entry, Quarantine, Stage, State};
use crate::status::Board;
use crate::versions::{Readings, Versions};
use batch::{Applied, Applier, Open};
use feed::{Chunk, Feed, Versioned};
use pace::Pace;
use progress::Progress;

pub use whole::Together;

/// Most chunks read ahead of the batch that is being applied.
const AHEAD_MAX: usize = 2;

/// How often a source is asked again for what a target lacks.
const LOOK_LACKING: Duration = Duration::from_secs(3);

/// Opens a target anew; called at the start and after a failure.
pub type OpenSink = Box<dyn Fn() -> Boxed<'static, Result<Box<dyn DynSink>>> + Send + Sync>;

/// Delivers one flow into one target.
pub struct Delivery {
    /// What is delivered.
    pub plan: crate::plan::Delivered,
    /// Opens its target.
    pub open: OpenSink,
    /// The log.
    pub log: Arc<dyn Log>,
    /// Where what is refused goes.
    pub quarantine: Arc<Quarantine>,
    /// Where the state shows.
    pub board: Arc<Board>,
    /// The versions of contracts and the tables that the log knows.
    pub versions: Arc<Versions>,
    /// What somebody asks of it.
    pub controls: Arc<Controls>,
    /// Whether its time came and not all that it is for is applied.
    pub owes: AtomicBool,
    /// How often the target's table is looked at for drift.
    pub look_every: Duration,
    /// Where rows of copies come past the log.
    pub direct: Direct,
}

/// How a life of a delivery ended in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// It was told to.
    Stopped,
    /// Another one begins at once: the table, or the contract's version, is another one now.
    Changes,
}

impl Delivery {
    /// Delivers until stopped, starting again after what can be retried.
    pub async fn run(&self, stop: &CancellationToken) {
        let crate::plan::Delivered {
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
        again(&what, Replaced::ReadsAgain, stop, told, || async {
            let ended = self.session(stop).await;
            if let (Err(error), Some(skip)) = (&ended, self.skip()) {
                // It is no change that stands in the way, or nobody can tell which.
                let reason = error.chain();
                self.answer(&skip, Outcome::NotSkipped { reason }).await;
            }
            ended
        })
        .await;
    }

    /// What it is called where somebody asks something of it.
    pub(crate) fn part(&self) -> Part {
        Part::Deliver {
            flow: self.plan.flow.clone(),
            to: self.plan.to.clone(),
        }
    }

    /// What somebody asked it to skip.
    fn skip(&self) -> Option<Skip> {
        self.controls.skip(&self.part())
    }

    async fn answer(&self, skip: &Skip, outcome: Outcome) {
        self.controls.answer(&self.part(), skip, outcome).await;
    }

    /// Delivers until something goes wrong, through as many lives as it takes.
    async fn session(&self, stop: &CancellationToken) -> Result<()> {
        while self.life(stop).await? == Ended::Changes {}
        Ok(())
    }

    /// One life of the target's connection.
    async fn life(&self, stop: &CancellationToken) -> Result<Ended> {
        let crate::plan::Delivered { flow, from, to, .. } = &self.plan;
        let sink: Arc<dyn DynSink> = Arc::from((self.open)().await?);
        self.make_tables(&*sink, &self.plan.flow).await?;
        let current = self.current(&*sink).await?;
        sink.prepare(&[current.write.target()]).await?;
        let contract = &current.contract;
        let lanes = self.versions.known().lanes(contract);
        let readings = Readings::new(from, Arc::clone(contract));
        let channel = Arc::new(Channel::new(from, Arc::clone(contract)));
        let progress =
            Progress::read(&*sink, &self.log, (flow, to), &contract.entity, &lanes).await?;
        let mut control = self
            .log
            .serve(&subject::deliver_control(flow, to))
            .await
            .map_err(log::to_error)?;
        let (chunks, mut ready) = mpsc::channel(AHEAD_MAX);
        let versions = Versioned {
            versions: Arc::clone(&self.versions),
            readings,
            own: Arc::clone(&self.plan.contract),
            pinned: self.plan.pinned,
        };
        let feed = Feed::open(&*self.log, versions, &lanes, &progress).await?;
        let reading = tokio::spawn(feed.run(chunks));
        self.lacks_direct(progress.reached()).await?;
        let refilled = self.refilled(&current).await?;
        let mut applier = Applier {
            delivery: self,
            sink,
            current,
            channel,
            progress,
            open: self.open_entries().await?,
            refilled,
        };
        self.board.reached(flow, to, applier.progress.reached(), 0);
        applier.nothing_to_skip(applier.progress.reached()).await;
        let mut look_at = self.look_at(applier.refilled);
        let mut try_at = waiting::next();
        let mut pace = Pace::new(&self.plan.mode, &self.owes);
        let mut goal = None;
        let mut entrance = self.entrance(&*applier.sink);
        let mut handed: Option<Handover> = None;
        let outcome = loop {
            let reached = applier.progress.reached();
            if let Some(handover) = handed.take_if(|handed| handed.after <= reached) {
                // Behind more than its capture knows of, it is older than what stands here: its rows are not taken.
                if handover.after == reached {
                    let applied = applier.take_direct(&handover.rows, stop).await?;
                    handover.taken();
                    self.note(&applied);
                }
                continue;
            }
            if pace.owes() {
                // What comes after its time waits for the next one.
                let goal = match goal {
                    Some(goal) => goal,
                    None => *goal.insert(applier.progress.head(&*self.log).await?),
                };
                if applier.progress.reached() >= goal {
                    pace.rests();
                }
            }
            if !pace.owes() {
                goal = None;
            }
            self.board.flow_waits(flow, to, pace.waits());
            let mut now = None;
            tokio::select! {
                biased;
                () = stop.cancelled() => break Ok(Ended::Stopped),
                () = tokio::time::sleep_until(look_at) => {
                    // What does not fit any more is found by the life that begins then, and so are columns that were taken along while nothing came.
                    let rests = ready.is_empty();
                    if applier.is_altered().await? || (rests && self.goes_further(&applier.current)) {
                        break Ok(Ended::Changes);
                    }
                    applier.refilled = self.refilled(&applier.current).await?;
                    look_at = self.look_at(applier.refilled);
                }
                () = tokio::time::sleep_until(try_at), if applier.has_waiting() => {
                    applier.try_waiting().await?;
                    try_at = waiting::next();
                }
                Some(request) = control.requests.recv() => self.request(&mut applier, request).await,
                () = pace.time() => now = pace.came(),
                next = come(&mut entrance), if handed.is_none() => handed = Some(next),
                chunk = ready.recv(), if pace.takes() => {
                    let Some(chunk) = chunk else { break Err(Error::unexpected("the log's consumer ended")) };
                    let chunk = gather(chunk?, &mut ready, applier.sink.limits().batch_max)?;
                    now = pace.take(chunk);
                }
            }
            if let Some(chunk) = now {
                let changes = chunk.changes;
                // Bound to `stop` only between attempts: what is under way is finished first.
                let applied = applier.apply(chunk, stop).await?;
                self.note(&applied);
                if !applier.refilled {
                    look_at = look_at.min(self.look_at(false));
                }
                applier.nothing_to_skip(applied.reached).await;
                if changes {
                    break Ok(Ended::Changes);
                }
            }
        };
        reading.abort();
        outcome
    }

    /// Where rows come past the log; none where the target could not tell a second writer.
    fn entrance(&self, sink: &dyn DynSink) -> Option<Entrance> {
        let crate::plan::Delivered { flow, to, .. } = &self.plan;
        let opens = self.plan.direct && sink.limits().progress;
        opens.then(|| {
            self.direct.open(Way {
                flow: flow.clone(),
                to: to.clone(),
            })
        })
    }

    /// When the target's table is looked at next; soon while it lacks something.
    fn look_at(&self, refilled: bool) -> tokio::time::Instant {
        let wait = if refilled {
            self.look_every
        } else {
            LOOK_LACKING.min(self.look_every)
        };
        tokio::time::Instant::now() + wait
    }

    /// Makes the tables that the target did not have when it was looked at, unless one was filled before and is gone.
    async fn make_tables(&self, sink: &dyn DynSink, progress: &str) -> Result<()> {
        let plan = &self.plan;
        if plan.makes.is_empty() || !sink.progress(progress).await?.is_empty() {
            return Ok(());
        }
        for table in &plan.makes {
            tracing::info!(to = plan.to, table = table.name, "a table is made");
            sink.create_table(table).await?;
        }
        Ok(())
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
        let crate::plan::Delivered { flow, to, .. } = &self.plan;
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
                waits: entry.state == State::Open && waiting::waits(&entry),
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

    /// Applies a quarantined change again, as it is or corrected, because somebody asked for it.
    async fn request(&self, applier: &mut Applier<'_>, request: Request) {
        let ask = Ask::read(&request.payload);
        let answer = match self.try_again(applier, ask).await {
            Ok(answer) => answer,
            Err(error) => Answer::Failed {
                reason: error.chain(),
            },
        };
        let _ = request.reply.send(answer.to_bytes());
    }

    async fn try_again(&self, applier: &mut Applier<'_>, ask: Ask) -> Result<Answer> {
        if let Ask::Mark { within_ms } = ask {
            return Ok(answers(&*applier.sink, &self.plan.flow, within_ms).await);
        }
        let id = ask.id().to_owned();
        if !matches!(ask, Ask::Retry { .. } | Ask::Edit { .. }) {
            // Nothing waits for a target's entries.
            return Ok(Answer::Done);
        }
        let answer = self.retry(applier, &ask).await?;
        if let Some(attempt) = ask.attempt(&answer) {
            let edit = match &ask {
                Ask::Edit { edit, .. } if answer == Answer::Done => Some(edit),
                _ => None,
            };
            self.quarantine.tried(&id, edit, attempt).await?;
        }
        Ok(answer)
    }

    async fn retry(&self, applier: &mut Applier<'_>, ask: &Ask) -> Result<Answer> {
        let id = ask.id();
        let Some(entry) = self.quarantine.get(id).await? else {
            return Ok(Answer::Missing);
        };
        if entry.state != State::Open {
            return Ok(Answer::Closed { state: entry.state });
        }
        let failed = |reason: &str| {
            Ok(Answer::Failed {
                reason: reason.into(),
            })
        };
        if entry.held.raw.is_some() {
            return failed("the message cannot be read; it can only be dropped");
        }
        if !applier.holds(&entry) {
            // A newer change of the record is applied or in quarantine itself.
            return Ok(Answer::Closed {
                state: State::Superseded,
            });
        }
        let columns = entry.held.shape.columns.len();
        let entry = ask.clone().applied(entry);
        if entry.row().0.len() != columns {
            return failed("the correction has not as many columns as the record");
        }
        if entry.held.cut {
            return failed(
                "the record is too large to be kept in quarantine; change it in its source, which still has it",
            );
        }
        if matches!(ask, Ask::Edit { .. }) {
            let broken = broken(&applier.channel.contract, &entry)?;
            if !broken.is_empty() {
                return Ok(Answer::rejected(&broken));
            }
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

/// What of the contract a corrected record breaks; another key would be another record.
fn broken(contract: &Contract, entry: &Entry) -> Result<Vec<Violation>> {
    let row = entry.row();
    let mut broken = Vec::new();
    Checker::compile(contract)?.check(row, entry.held.op != Op::Updated, &mut broken);
    broken.retain(|broken| broken.outcome > contract::Outcome::Warn);
    let mut key = contract.key.iter();
    if key.any(|at| row.cell(*at) != entry.held.row.cell(*at)) {
        broken.push(Violation {
            field: None,
            rule: "key".to_owned(),
            message: "a correction may not give the record another key".to_owned(),
            outcome: contract::Outcome::Quarantine,
        });
    }
    Ok(broken)
}

/// Waits for rows that come past the log; for ever where none can.
async fn come(entrance: &mut Option<Entrance>) -> Handover {
    match entrance {
        Some(entrance) => entrance.next().await,
        None => std::future::pending().await,
    }
}

/// Joins what is ready to one batch, up to a size: batches grow with the load and wait for nothing.
fn gather(
    mut chunk: Chunk,
    ready: &mut mpsc::Receiver<Result<Chunk>>,
    batch_max: usize,
) -> Result<Chunk> {
    while chunk.events.len() < batch_max && !chunk.changes {
        match ready.try_recv() {
            Ok(more) => chunk.append(more?),
            Err(_) => break,
        }
    }
    chunk.follows |= !ready.is_empty();
    Ok(chunk)
}

/// Sends a batch to a target, which may take only so long.
async fn in_time(sink: &dyn DynSink, batch: &Batch) -> Result<Receipt> {
    let deadline = sink.limits().deadline;
    let applied = tokio::time::timeout(deadline, sink.apply(batch)).await;
    applied.unwrap_or_else(|_| {
        let error = Error::transient("the target did not answer in time");
        Err(error.with("after_ms", deadline.as_millis()))
    })
}

/// The error of a target whose progress another worker moved.
fn moved(lane: &str) -> Error {
    Error::new(
        Kind::Stopped,
        "the target's progress is not where this worker left it",
    )
    .with("lane", lane)
}

/// Whether a target answers over the connection that changes take.
async fn answers(sink: &dyn DynSink, progress_of: &str, within_ms: u64) -> Answer {
    let asked = sink.progress(progress_of);
    let reason = match tokio::time::timeout(Duration::from_millis(within_ms), asked).await {
        Ok(Ok(_)) => return Answer::Done,
        Ok(Err(error)) => error.chain(),
        Err(_) => "no answer in time".to_owned(),
    };
    Answer::Failed { reason }
}
