//! Step one, **capture**, with step two, **gate**, on its way: a system's changes into the log.
//!
//! One [`Capture`] per source system. It takes the system over (epoch and fences, `lanes`), resumes the source, gates what it emits, publishes it lane by lane (`outbox`), and tells the source what is durable.
//!
//! Invariants: a quarantine entry is durable before the position that covers it; a position is published after what it covers; the source hears of a position only after it is published.

mod intake;
mod lanes;
mod outbox;
mod over;
mod publish;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use lockstep_core::capture::Ledger;
use lockstep_core::connector::{DynSource, Feed, feed};
use lockstep_core::error::{Error, Kind, Result};
use lockstep_core::log::subject;
use lockstep_core::position::Position;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::again::{Replaced, again};
use crate::inbox::Desk;
use crate::log::{self, Log, Service};
use crate::plan;
use crate::quarantine::Quarantine;
use crate::status::Board;
use intake::Intake;
use outbox::Outbox;
use publish::{Flight, Landed, Publisher};

/// Most batches between a source and its gate.
const FEED_BATCHES: usize = 4;
/// How long a position may stay unpublished while nothing else is.
const POSITION_LINGER: Duration = Duration::from_millis(20);
/// How long a source may take to end when the runtime stops.
const GRACE: Duration = Duration::from_secs(5);

/// Opens a system's source anew; called at the start and after a failure.
pub type OpenSource = Box<
    dyn Fn() -> lockstep_core::connector::Boxed<'static, Result<Box<dyn DynSource>>> + Send + Sync,
>;

/// Captures one system.
pub struct Capture {
    /// The system.
    pub system: String,
    /// What is captured from it.
    pub entities: Vec<plan::Captured>,
    /// Opens its source.
    pub open: OpenSource,
    /// The log.
    pub log: Arc<dyn Log>,
    /// Where what does not pass goes.
    pub quarantine: Arc<Quarantine>,
    /// Where the state shows.
    pub board: Arc<Board>,
    /// Who waits for verdicts, where the system is an inbox.
    pub desk: Option<Arc<Desk>>,
}

impl Capture {
    /// Captures until stopped, starting again after what can be retried; ends when another runtime took the system over.
    pub async fn run(&self, stop: &CancellationToken) {
        let told = |error: &Error, held| self.board.capture_failed(&self.system, error, held);
        let what = format!("capture of {}", self.system);
        again(&what, Replaced::Ends, stop, told, || self.session(stop)).await;
    }

    /// One life of the source: take over, resume, and go on until it ends.
    async fn session(&self, stop: &CancellationToken) -> Result<()> {
        let mut publisher = Publisher::take_over(self).await?;
        let resume = publisher.resume();
        tracing::info!(
            system = self.system,
            epoch = publisher.epoch(),
            position = resume.as_ref().map(tracing::field::display),
            "capture starts"
        );
        let mut intake = Intake::new(self).await?;
        let mut control = self
            .log
            .serve(&subject::capture_control(&self.system))
            .await
            .map_err(log::to_error)?;
        let source = (self.open)().await?;
        let (emitter, feed) = feed(resume.clone(), FEED_BATCHES);
        let mut source = tokio::spawn(source.run(resume.clone(), emitter));
        self.board.capture_started(&self.system);
        let mut session = Session {
            ledger: Ledger::new(resume),
            outbox: Outbox::new(publisher.slots()),
            feed,
            unpublished: None,
            beginning: None,
        };
        let ended = session
            .run(
                self,
                &mut intake,
                &mut publisher,
                &mut control,
                &mut source,
                stop,
            )
            .await;
        // The source learns that it is over even when the session failed, and is gone before the next life begins.
        let _ = session.feed.stop.send(true);
        drop(session);
        if !source.is_finished() && tokio::time::timeout(GRACE, &mut source).await.is_err() {
            source.abort();
        }
        ended
    }
}

/// What one life of a source holds in hand.
struct Session {
    ledger: Ledger,
    outbox: Outbox,
    feed: Feed,
    /// A safe position that the log does not say yet.
    unpublished: Option<Position>,
    /// Where the newest life of the source begins.
    beginning: Option<Position>,
}

impl Session {
    async fn run(
        &mut self,
        capture: &Capture,
        intake: &mut Intake,
        publisher: &mut Publisher,
        control: &mut Service,
        source: &mut JoinHandle<Result<()>>,
        stop: &CancellationToken,
    ) -> Result<()> {
        let mut flight: Option<Flight> = None;
        let mut ended: Option<Result<()>> = None;
        let mut drained = false;
        let mut stopping = false;
        let mut in_hand = false;
        loop {
            if flight.is_none() {
                flight = self.depart(publisher)?;
            }
            if flight.is_none() && drained {
                match (self.unpublished.take(), ended.take()) {
                    (Some(position), kept) => {
                        flight = Some(publisher.send(None, Some(position)));
                        ended = kept;
                    }
                    (None, Some(ended)) => return ended,
                    (None, None) => {
                        ended = Some(finish(source).await);
                        continue;
                    }
                }
            }
            let now_in_hand = self.ledger.pending() > 0;
            if now_in_hand != in_hand {
                in_hand = now_in_hand;
                capture.board.in_hand(&capture.system, in_hand);
            }
            let position_due = flight.is_none() && self.unpublished.is_some();
            tokio::select! {
                biased;
                landed = wait(&mut flight), if flight.is_some() => {
                    flight = None;
                    self.land(capture, intake, publisher, landed?).await?;
                }
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    let _ = self.feed.stop.send(true);
                }
                batch = self.feed.batches.recv(), if !drained && self.outbox.has_room() => {
                    let Some(batch) = batch else {
                        drained = true;
                        continue;
                    };
                    let ticket = self.ledger.enter(batch.position.clone());
                    if batch.changes.is_empty() && self.begins(&batch.position, publisher) {
                        self.beginning = Some(batch.position.clone());
                    } else {
                        capture.board.captured(&capture.system, batch.changes.len());
                    }
                    intake.take(&batch, publisher, &mut self.outbox).await?;
                    self.outbox.last().tickets.push(ticket);
                }
                Some(request) = control.requests.recv() => {
                    intake.request(request, publisher, &mut self.outbox).await;
                }
                () = tokio::time::sleep(POSITION_LINGER), if position_due => {
                    flight = Some(publisher.send(None, self.unpublished.take()));
                }
                outcome = &mut *source, if ended.is_none() => {
                    ended = Some(outcome_of(outcome));
                }
            }
        }
    }

    /// Whether a position is the first of a life of the source that the log does not know.
    fn begins(&self, position: &Position, publisher: &Publisher) -> bool {
        let known = self
            .beginning
            .as_ref()
            .is_some_and(|at| at.incarnation == position.incarnation);
        !known && !publisher.can_resume(&position.incarnation)
    }

    /// Sends the next segment off, together with the last safe position.
    ///
    /// Nothing of a life of the source enters the log before the log says where that life can be resumed.
    fn depart(&mut self, publisher: &mut Publisher) -> Result<Option<Flight>> {
        let unknown = |life: &&Arc<str>| !publisher.can_resume(life);
        if let Some(life) = self.outbox.next_life().filter(unknown) {
            let begins = self.beginning.take().filter(|at| at.incarnation == *life);
            let begins = begins.ok_or_else(|| {
                Error::unexpected("the source sent changes without saying where it begins")
                    .with("incarnation", life)
            })?;
            // Whatever is safe of an earlier life would lead a restart back there.
            self.unpublished = None;
            return Ok(Some(publisher.send(None, Some(begins))));
        }
        let Some(segment) = self.outbox.take() else {
            return Ok(None);
        };
        Ok(Some(publisher.send(Some(segment), self.unpublished.take())))
    }

    /// Takes note of what became durable.
    async fn land(
        &mut self,
        capture: &Capture,
        intake: &mut Intake,
        publisher: &mut Publisher,
        landed: Landed,
    ) -> Result<()> {
        publisher.landed(&landed);
        if let Some(position) = landed.position {
            // The log says it, so the source may release it.
            let _ = self.feed.safe.send(Some(position));
        }
        capture.board.published(&landed.heads);
        let Some(mut segment) = landed.segment else {
            return Ok(());
        };
        intake.settled(&mut segment).await?;
        for ticket in segment.tickets {
            if let Some(position) = self.ledger.acknowledge(ticket) {
                if let Some(desk) = &capture.desk {
                    // Before the position is stored: a crash answers again rather than never.
                    desk.durable(position.commit).await;
                }
                self.unpublished = Some(position.clone());
            }
        }
        Ok(())
    }
}

async fn wait(flight: &mut Option<Flight>) -> Result<Landed> {
    match flight {
        Some(flight) => flight.await,
        None => std::future::pending().await,
    }
}

/// Waits for a source whose pipe has ended.
async fn finish(source: &mut JoinHandle<Result<()>>) -> Result<()> {
    match tokio::time::timeout(GRACE, source).await {
        Ok(outcome) => outcome_of(outcome),
        Err(_) => Err(Error::unexpected(
            "the source closed its pipe but did not end",
        )),
    }
}

fn outcome_of(outcome: Result<Result<()>, tokio::task::JoinError>) -> Result<()> {
    match outcome {
        Ok(Err(error)) if error.kind() == Kind::Stopped => Ok(()),
        Ok(Ok(())) => Err(Error::unexpected(
            "the source ended though nobody asked it to",
        )),
        Ok(Err(error)) => Err(error),
        Err(error) => Err(Error::unexpected("the source panicked").because(error)),
    }
}

#[cfg(test)]
mod fence;

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use lockstep_core::contract::{Class, Contract, Deletes, Field, Limits, Truth};
    use lockstep_core::log::{Channel, Event, event_id};
    use lockstep_core::position::Mark;
    use lockstep_core::{Change, Key, Op, Row, Type, Value};

    /// A channel whose records are one number.
    pub(crate) fn channel() -> Channel {
        let field = Field {
            name: "id".into(),
            kind: Type::Int,
            required: true,
            nullable: false,
            description: None,
            limits: Limits::default(),
            allowed: None,
            default: None,
            class: Class::Internal,
            handling: Default::default(),
            owner: None,
            truth: None,
        };
        let contract = Contract {
            id: "thing".into(),
            entity: "thing".into(),
            version: "1.0.0".parse().unwrap(),
            description: None,
            fields: vec![field],
            key: vec![0],
            lane_key: vec![0],
            lanes: 2,
            owner: None,
            truth: Truth::Owner,
            deletes: Deletes::Propagate,
            rules: Vec::new(),
        };
        Channel::new("crm", Arc::new(contract))
    }

    /// The creation of record `n`.
    pub(crate) fn event(channel: &Channel, n: u64) -> Event {
        let mark = Mark {
            commit: n,
            ordinal: 0,
        };
        let value = Value::Int(n as i64);
        Event {
            key: Key::encode([Some(&value)]).ok(),
            replaces: None,
            replaced_by: None,
            id: event_id("i", mark).into(),
            change: Change {
                shape: Arc::clone(&channel.shape),
                op: Op::Created,
                row: Row::of([value]),
                before: None,
                mark,
                committed_at: Timestamp::UNIX_EPOCH,
                origin: None,
            },
        }
    }
}
