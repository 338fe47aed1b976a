//! Step one, **capture**, with step two, **gate**, on its way: a system's changes into the log.
//!
//! One [`Capture`] per source system. It takes the system over (epoch and fences, `lanes`), resumes the source, gates what it emits, publishes it lane by lane (`outbox`), and tells the source what is durable.
//!
//! Invariants: a quarantine entry is durable before the position that covers it; a position is published after what it covers; the source hears of a position only after it is published.

mod aside;
mod copies;
mod decide;
mod follow;
mod hold;
mod intake;
mod lanes;
mod line;
mod open;
mod outbox;
mod over;
mod pieces;
mod publish;
mod reread;
mod waiting;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_core::capture::Ledger;
use lockstep_core::connector::{DynSource, Feed, News, feed};
use lockstep_core::contract::drift;
use lockstep_core::error::{Error, Kind, Result};
use lockstep_core::log::subject;
use lockstep_core::position::Position;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::again::{Replaced, again};
use crate::control::{Backfill, Backfills};
use crate::direct::Direct;
use crate::inbox::Desk;
use crate::log::{self, Log, Service};
use crate::plan;
use crate::quarantine::Quarantine;
use crate::status::Board;
use crate::versions::Versions;
use intake::Intake;
pub(crate) use line::LINE_MAX;
use open::Opened;
use outbox::Outbox;
use publish::{Flight, Landed, Publisher};
use reread::{Rereads, What};

/// Most batches between a source and its gate.
const FEED_BATCHES: usize = 4;
/// How long a position may stay unpublished while nothing else is.
const POSITION_LINGER: Duration = Duration::from_millis(20);
/// How often a table that no longer fits is looked at.
const LOOK_HELD: Duration = Duration::from_secs(3);
/// How long such a look may take.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// How long a source may take to end when the runtime stops.
const GRACE: Duration = Duration::from_secs(5);

/// How a life of a source ended in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// It was told to.
    Stopped,
    /// Another one begins at once: a table that was gone is there again.
    Changes,
}

/// Opens a system's source anew, for some of its tables or for all; called at the start and after a failure.
pub type OpenSource = Box<
    dyn Fn(
            Option<BTreeSet<String>>,
        ) -> lockstep_core::connector::Boxed<'static, Result<Box<dyn DynSource>>>
        + Send
        + Sync,
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
    /// The versions of contracts and the tables that the log knows.
    pub versions: Arc<Versions>,
    /// How often the system is looked at for drift.
    pub look_every: Duration,
    /// Who waits for verdicts, where the system is an inbox.
    pub desk: Option<Arc<Desk>>,
    /// What somebody wants read again.
    pub backfills: Backfills,
    /// Where rows of copies go past the log.
    pub direct: Direct,
}

impl Capture {
    /// Captures until stopped, starting again after what can be retried; ends when another runtime took the system over.
    pub async fn run(&self, stop: &CancellationToken) {
        let told = |error: &Error, held| self.board.capture_failed(&self.system, error, held);
        let what = format!("capture of {}", self.system);
        again(&what, Replaced::Ends, stop, told, || self.session(stop)).await;
    }

    /// Captures until something goes wrong, through as many lives as it takes.
    async fn session(&self, stop: &CancellationToken) -> Result<()> {
        while self.life(stop).await? == Ended::Changes {}
        Ok(())
    }

    /// One life of the source: take over, resume, and go on until it ends.
    async fn life(&self, stop: &CancellationToken) -> Result<Ended> {
        let mut publisher = Publisher::take_over(self).await?;
        let resume = publisher.resume();
        tracing::info!(
            system = self.system,
            epoch = publisher.epoch(),
            position = resume.as_ref().map(tracing::field::display),
            "capture starts"
        );
        self.board.capture_judges(&self.system);
        // Before the quarantine is read: what somebody decides meanwhile is heard.
        let mut control = self
            .log
            .serve(&subject::capture_control(&self.system))
            .await
            .map_err(log::to_error)?;
        let mut intake = Intake::new(self).await?;
        let Opened { source, tables } = self.opened(&BTreeSet::new()).await?;
        if self.desk.is_none() {
            intake.begin(&tables, &publisher).await?;
        }
        let Some(source) = source else {
            // Nothing of the system can be read; its entities are held, and it is looked at again after a while.
            let why = tables.gone.into_values().next();
            return Err(
                why.unwrap_or_else(|| Error::config("no flow reads a table of this system"))
            );
        };
        if let Some(position) = &resume {
            intake.reached(position);
        }
        let mut outbox = Outbox::new(publisher.slots());
        intake.resume(&publisher, &mut outbox).await?;
        let (emitter, feed) = feed(resume.clone(), FEED_BATCHES);
        let mut source = tokio::spawn(source.run(resume.clone(), emitter));
        self.board.capture_started(&self.system);
        let mut session = Session {
            ledger: Ledger::new(resume),
            outbox,
            feed,
            unpublished: None,
            beginning: None,
            rereads: Rereads::default(),
            look_at: Instant::now() + self.look_every,
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
        ended.map_err(|error| {
            match error.error_code() {
                // The next life looks at the tables as they are, and holds what does not fit, and nothing else.
                Some(drift::BREAKING) => {
                    Error::transient("a table has other columns now").because(error)
                }
                Some(drift::GONE) => Error::transient("a table is not there now").because(error),
                _ => error,
            }
        })
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
    /// Tables that are to be read again.
    rereads: Rereads,
    /// When the system's tables are looked at next.
    look_at: Instant,
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
    ) -> Result<Ended> {
        let mut flight: Option<Flight> = None;
        let mut ended: Option<Result<()>> = None;
        let mut drained = false;
        let mut stopping = false;
        let mut in_hand = false;
        let mut passed_by = false;
        let mut orders = capture.backfills.watch();
        self.take_orders(capture, intake).await?;
        loop {
            if intake.moves() && self.outbox.has_room() {
                intake.release(publisher, &mut self.outbox).await?;
            }
            if flight.is_none() {
                flight = self.depart(publisher)?;
            }
            if flight.is_none() && drained {
                match (self.unpublished.take(), ended.take()) {
                    (Some(position), kept) => {
                        flight = Some(publisher.send(None, Some(position)));
                        ended = kept;
                    }
                    (None, Some(ended)) => return ended.map(|()| Ended::Stopped),
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
            let full = intake.is_full();
            let position_due = flight.is_none() && self.unpublished.is_some();
            for index in intake.due() {
                let (table, every) = intake.rereads(index);
                self.rereads.ask(index, table, every, &self.feed);
            }
            if intake.is_held() {
                self.look_at = self.look_at.min(Instant::now() + LOOK_HELD);
            }
            tokio::select! {
                biased;
                landed = wait(&mut flight), if flight.is_some() => {
                    flight = None;
                    self.land(capture, intake, publisher, landed?).await?;
                }
                () = orders.changed(), if !stopping => {
                    self.take_orders(capture, intake).await?;
                }
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    let _ = self.feed.stop.send(true);
                }
                batch = self.feed.batches.recv(), if !drained && self.outbox.has_room() && (stopping || !full) => {
                    let Some(batch) = batch else {
                        drained = true;
                        continue;
                    };
                    passed_by |= full;
                    if passed_by {
                        // The end of the pipe is all that is wanted; no position covers this, so it comes again.
                        continue;
                    }
                    let ticket = self.ledger.enter(batch.position.clone());
                    self.rereads.entered(ticket, &self.feed);
                    if batch.changes.is_empty() && self.begins(&batch.position, publisher) {
                        self.beginning = Some(batch.position.clone());
                    } else {
                        capture.board.captured(&capture.system, batch.changes.len());
                    }
                    intake.take(&batch, publisher, &mut self.outbox).await?;
                    intake.count_rows(&batch.changes);
                    for news in &batch.news {
                        if let News::Read(table) = news {
                            for index in intake.of_table(table) {
                                self.rereads.is_whole(index, ticket);
                            }
                        }
                        intake.note_news(news);
                    }
                    self.outbox.last().tickets.push(ticket);
                }
                Some(request) = control.requests.recv() => {
                    intake.request(request, publisher, &mut self.outbox).await;
                }
                () = tokio::time::sleep_until(self.look_at.into()), if !drained && !stopping => {
                    if self.look(capture, intake, publisher).await? == Ended::Changes {
                        return Ok(Ended::Changes);
                    }
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

    /// Takes up what somebody wants read again.
    async fn take_orders(&mut self, capture: &Capture, intake: &mut Intake) -> Result<()> {
        for backfill in capture.backfills.open() {
            let Backfill {
                id,
                wanted,
                by,
                reason,
            } = backfill;
            let (entity, system) = (&wanted.entity, &capture.system);
            tracing::info!(
                system,
                entity,
                by,
                reason,
                "somebody wants a table read again"
            );
            match (intake.index_of(entity), wanted.filter) {
                // It is noted with the table, where a crash finds it.
                (Some(_), None) => {
                    let why = reason.unwrap_or_else(|| format!("{by} asked for it"));
                    if let Some(refused) = intake.refill(entity, why).await? {
                        tracing::warn!(system, entity, refused, "a table cannot be read again");
                    }
                }
                (Some(index), Some(filter)) => {
                    let (table, _) = intake.rereads(index);
                    self.rereads.ask_part(id, table, filter, &self.feed);
                    continue;
                }
                (None, _) => {
                    tracing::warn!(
                        system,
                        entity,
                        "no flow reads the table that was to be read again"
                    );
                }
            }
            capture.backfills.taken(&id).await;
        }
        Ok(())
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
            for said in self.rereads.said() {
                match said {
                    What::Entity(index) => intake.is_read_again(index).await?,
                    What::Part(id) => capture.backfills.taken(&id).await,
                }
            }
            for index in self.rereads.wholes() {
                intake.is_whole_again(index).await?;
            }
            // The log says it, so the source may release it.
            let _ = self.feed.safe.send(Some(position));
        }
        capture.board.published(&landed.heads);
        let Some(mut segment) = landed.segment else {
            return Ok(());
        };
        if landed.comes_back {
            let taken_back = self.outbox.take_back(segment);
            return taken_back.map_err(|large| {
                Error::unexpected("a row that was not taken is too large for the log")
                    .with("bytes", large.bytes)
            });
        }
        if let Some(rows) = &segment.direct {
            // Before the position that covers them.
            intake.went_direct(rows.entity, rows.after).await?;
        }
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
        self.rereads.settled(&self.ledger);
        Ok(())
    }

    /// Looks whether the system's tables still fit; one that is away is looked at another time. Tells whether another life has to begin, because a table is there again.
    async fn look(
        &mut self,
        capture: &Capture,
        intake: &mut Intake,
        publisher: &mut Publisher,
    ) -> Result<Ended> {
        self.look_at = Instant::now() + capture.look_every;
        intake.retire(publisher).await?;
        if capture.desk.is_some() {
            return Ok(Ended::Stopped);
        }
        let gone = intake.gone();
        let looked = tokio::time::timeout(LOOK_MAX, capture.opened(&gone)).await;
        match looked {
            Ok(Ok(Opened { tables, .. })) => {
                intake.look(&tables, publisher, &mut self.outbox).await?;
                let is_back = gone.iter().any(|table| !tables.gone.contains_key(table));
                return Ok(if is_back {
                    Ended::Changes
                } else {
                    Ended::Stopped
                });
            }
            Ok(Err(error)) => {
                tracing::warn!(
                    system = capture.system,
                    error = error.chain(),
                    "the tables cannot be looked at now"
                );
            }
            Err(_) => {}
        }
        Ok(Ended::Stopped)
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
    use lockstep_core::contract::{Contract, Field};
    use lockstep_core::log::{Channel, Event, event_id};
    use lockstep_core::position::Mark;
    use lockstep_core::{Change, Key, Op, Row, Type, Value};

    /// A channel whose records are one number.
    pub(crate) fn channel() -> Channel {
        let field = Field::new("id", Type::Int);
        let contract = Contract {
            lanes: 2,
            ..Contract::new("thing", "1.0.0".parse().unwrap(), vec![field])
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
