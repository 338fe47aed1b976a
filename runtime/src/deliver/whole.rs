//! The flows of one pair of systems that arrive in whole transactions.
//!
//! One reader over all lanes of the pair's entities; what it brings waits until the source's position in the log says that its transaction is whole, and is then applied in the order of commits, several transactions at a time, never a part of one.
//! Several transactions are written table by table with each record once, or change by change in their order where the target refuses that.
//! Nothing is set aside: a transaction without one of its changes would be none, so what the target refuses holds the pair.
//!
//! The target keeps, in the data's transaction, from where to read the log again, how far it was read, how far the source's commits are applied, and the number of the batch, by which a second worker is stopped.

mod read;

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use lockstep_core::Change;
use lockstep_core::connector::{Batch, DynSink, LaneProgress, Outcome, Receipt};
use lockstep_core::contract::Violation;
use lockstep_core::deliver::{Assembly, Part, coalesce};
use lockstep_core::error::{Error, Kind, Result};
use lockstep_core::log::{Event, subject};
use lockstep_core::position::{Mark, Position};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::feed::{Versioned, gap};
use super::plan::{Current, may_be_the_tables};
use super::progress::{Progress, next};
use super::{Delivery, Ended, answers, in_time};
use crate::again::{Replaced, again};
use crate::control::Outcome as Told;
use crate::log::{
    self, AckPolicy, Consumer, ConsumerConfig, LogError, POSITIONS, Request, SETTLED, Start,
};
use crate::quarantine::{Answer, Ask};
use crate::versions::Readings;
use read::{Fetched, Reader, Whole, watch};

/// Most changes that wait for the ends of their transactions.
const WAITING_MAX: usize = 250_000;
/// Most fetches read ahead.
const AHEAD_MAX: usize = 4;

/// The flows of a pair of systems, at least one, that are delivered together.
pub struct Together {
    /// One for each flow, all from one system and to one.
    pub members: Vec<Delivery>,
}

/// What the target keeps of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reached {
    /// Everything up to here is applied.
    safe: u64,
    /// How far the log was read when something was applied last.
    seen: u64,
    /// How far the source's commits are applied.
    cut: Option<Position>,
    /// How often something was applied.
    count: u64,
}

impl Together {
    fn lead(&self) -> &Delivery {
        &self.members[0]
    }

    /// The name of the pair: under it progress is kept. No flow can have it.
    fn name(&self) -> String {
        let plan = &self.lead().plan;
        format!("{}>{}", plan.from, plan.to)
    }

    /// Delivers until stopped, starting again after what can be retried.
    pub async fn run(&self, stop: &CancellationToken) {
        for Delivery { plan, board, .. } in &self.members {
            board.flow(&plan.flow, &plan.to, &plan.contract.entity, &plan.from);
        }
        let told = |error: &Error, held| {
            for Delivery { plan, board, .. } in &self.members {
                board.flow_failed(&plan.flow, &plan.to, error, held);
            }
        };
        let what = format!("delivery of whole transactions, {}", self.name());
        self.tell_waits(None);
        again(&what, Replaced::ReadsAgain, stop, told, || async {
            let ended = self.session(stop).await;
            if ended.is_err() {
                self.skip_nothing("a transaction without one of its changes would not be whole: mend the target, the mapping or the record").await;
            }
            ended
        })
        .await;
    }

    /// Says that all flows of the pair wait for one that somebody paused.
    pub(crate) fn rests(&self, paused: &str) {
        for Delivery { plan, board, .. } in &self.members {
            board.flow(&plan.flow, &plan.to, &plan.contract.entity, &plan.from);
        }
        self.tell_waits(Some(&format!(
            "its transactions wait for the flow `{paused}`, which is paused"
        )));
    }

    fn tell_waits(&self, waits: Option<&str>) {
        for Delivery { plan, board, .. } in &self.members {
            board.flow_waits(&plan.flow, &plan.to, waits.map(str::to_owned));
        }
    }

    /// Answers requests to skip: nothing can be left out of a transaction.
    async fn skip_nothing(&self, reason: &str) {
        for member in &self.members {
            if let Some(skip) = member.skip() {
                let reason = reason.to_owned();
                member.answer(&skip, Told::NotSkipped { reason }).await;
            }
        }
    }

    /// The requests to all flows of the pair, as long as what comes with them is kept.
    async fn requests(&self) -> Result<(mpsc::Receiver<Request>, Vec<Aborting>)> {
        let (asked, requests) = mpsc::channel(1);
        let mut passing = Vec::with_capacity(self.members.len());
        for Delivery { plan, log, .. } in &self.members {
            let served = log
                .serve(&subject::deliver_control(&plan.flow, &plan.to))
                .await;
            let mut service = served.map_err(log::to_error)?;
            let asked = asked.clone();
            passing.push(Aborting(tokio::spawn(async move {
                while let Some(request) = service.requests.recv().await {
                    if asked.send(request).await.is_err() {
                        return;
                    }
                }
            })));
        }
        Ok((requests, passing))
    }

    /// Delivers until something goes wrong, through as many lives as it takes.
    async fn session(&self, stop: &CancellationToken) -> Result<()> {
        while self.life(stop).await? == Ended::Changes {}
        Ok(())
    }

    /// One life of the target's connection.
    async fn life(&self, stop: &CancellationToken) -> Result<Ended> {
        let (lead, name) = (self.lead(), self.name());
        let sink: Arc<dyn DynSink> = Arc::from((lead.open)().await?);
        if !sink.limits().progress {
            let error = Error::unsupported("the target has no transactions to keep together");
            return Err(error.help("leave `consistency` out of its flows"));
        }
        lead.make_tables(&*sink, &name).await?;
        let mut current = Vec::with_capacity(self.members.len());
        for member in &self.members {
            current.push(member.current(&*sink).await?);
        }
        let targets: Vec<_> = current.iter().map(|one| one.write.target()).collect();
        sink.prepare(&targets).await?;
        let stream = lead.log.stream(SETTLED).await.map_err(log::to_error)?;
        let made = stream.created.as_microsecond();
        let reached = self.reached(&*sink, &name, &current, made).await?;
        if reached.seen > stream.last_seq {
            return Err(log::to_error(LogError::SetBack {
                stream: SETTLED.to_owned(),
                reason: format!(
                    "it ends at {}, but {} was read",
                    stream.last_seq, reached.seen
                ),
            }));
        }
        let mut lanes = BTreeMap::new();
        let mut filters = Vec::new();
        for one in &current {
            let entity = &one.contract.entity;
            for (major, count) in lead.versions.known().lanes(&one.contract) {
                filters.push(subject::settled_lanes(entity, major));
                let subjects = (0..count).map(|lane| subject::settled(entity, major, lane));
                lanes.extend(subjects.map(|subject| (subject, reached.safe)));
            }
        }
        let from = next(&lead.log, &lanes, reached.safe, stream.last_seq).await?;
        let (mut requests, passing) = self.requests().await?;
        let asked = Arc::new(AtomicU64::new(0));
        let (events, mut fetched) = mpsc::channel(AHEAD_MAX);
        let reader = Reader {
            consumer: self.consume(SETTLED, filters, Start::Seq(from)).await?,
            members: self.versioned(&current),
            reached: from.saturating_sub(1),
            asked: Arc::clone(&asked),
        };
        let position = vec![subject::position(&lead.plan.from)];
        let positions = self.consume(POSITIONS, position, Start::All).await?;
        let (places, mut whole) = mpsc::channel(AHEAD_MAX);
        let reading = Aborting(tokio::spawn(reader.run(events)));
        let watching = Aborting(tokio::spawn(watch(positions, made, places)));
        let mut work = Work {
            pair: self,
            sink,
            current,
            name,
            life: format!("#{made}"),
            read: from.saturating_sub(1),
            replayed: reached.seen,
            reached,
            waiting: Assembly::default(),
            source: None,
            whole: None,
            quiet: 0,
            asked: 0,
        };
        work.tell(0);
        let mut look_at = lead.look_at(work.refilled().await?);
        let ended = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break Ended::Stopped,
                () = tokio::time::sleep_until(look_at) => {
                    if work.is_altered().await? {
                        break Ended::Changes;
                    }
                    look_at = lead.look_at(work.refilled().await?);
                }
                Some(request) = requests.recv() => work.answer(request).await,
                place = whole.recv() => {
                    let Some(place) = place else { return Err(ended()) };
                    work.whole = Some(place?);
                    work.asked += 1;
                    asked.store(work.asked, SeqCst);
                }
                more = fetched.recv() => {
                    let Some(more) = more else { return Err(ended()) };
                    let more: Fetched = more?;
                    let changes = more.changes;
                    work.take(more).await?;
                    if changes {
                        break Ended::Changes;
                    }
                }
            }
            if let Err(error) = work.apply().await {
                return Err(work.explained(error).await);
            }
            if work.waiting.is_empty() {
                self.skip_nothing("nothing stands in its way").await;
            }
        };
        drop((reading, watching, passing));
        Ok(ended)
    }

    async fn consume(
        &self,
        stream: &str,
        filters: Vec<String>,
        start: Start,
    ) -> Result<Box<dyn Consumer>> {
        let config = ConsumerConfig {
            durable: None,
            filters,
            start,
            ack: AckPolicy::None,
            ack_wait: Duration::from_secs(60),
            max_ack_pending: 0,
        };
        let opened = self.lead().log.consume(stream, config).await;
        opened.map_err(|error| gap(error, &self.name()))
    }

    /// How every member's events are read, by entity.
    fn versioned(&self, current: &[Current]) -> BTreeMap<String, (usize, Versioned)> {
        let members = self.members.iter().zip(current).enumerate();
        let versioned = members.map(|(at, (member, one))| {
            let versioned = Versioned {
                versions: Arc::clone(&member.versions),
                readings: Readings::new(&member.plan.from, Arc::clone(&one.contract)),
                own: Arc::clone(&member.plan.contract),
                pinned: member.plan.pinned,
            };
            (one.contract.entity.clone(), (at, versioned))
        });
        versioned.collect()
    }

    /// What the target says; of a pair that was never delivered together, how far its flows got one by one.
    async fn reached(
        &self,
        sink: &dyn DynSink,
        name: &str,
        current: &[Current],
        made: i64,
    ) -> Result<Reached> {
        let kept = sink.progress(name).await?;
        let of = |lane: &str| {
            let lane = format!("{lane}#{made}");
            kept.iter().find(|kept| kept.lane == lane)
        };
        if let (Some(safe), Some(seen), Some(count)) = (of(SAFE), of(SEEN), of(COUNT)) {
            return Ok(Reached {
                safe: safe.reached,
                seen: seen.reached,
                cut: safe.position.clone(),
                count: count.reached,
            });
        }
        let mut safe = u64::MAX;
        for (
            member @ Delivery {
                plan,
                log,
                versions,
                ..
            },
            one,
        ) in self.members.iter().zip(current)
        {
            let lanes = versions.known().lanes(&one.contract);
            let flow = (plan.flow.as_str(), plan.to.as_str());
            let entity = &one.contract.entity;
            let progress = Progress::read(sink, log, flow, entity, &lanes).await?;
            member.lacks_direct(progress.reached()).await?;
            safe = safe.min(progress.reached());
        }
        Ok(Reached {
            safe,
            seen: 0,
            cut: None,
            count: 0,
        })
    }
}

/// The lanes that a pair's progress is kept in, before the life of the stream.
const SAFE: &str = "whole.safe";
const SEEN: &str = "whole.seen";
const COUNT: &str = "whole.count";

/// A task that ends with whoever began it.
struct Aborting(tokio::task::JoinHandle<()>);

impl Drop for Aborting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn ended() -> Error {
    Error::unexpected("the log's consumer ended")
}

/// A life at work.
struct Work<'t> {
    pair: &'t Together,
    sink: Arc<dyn DynSink>,
    current: Vec<Current>,
    name: String,
    life: String,
    /// How far this life has read the log.
    read: u64,
    /// Up to where an earlier life had read: what it applied of that comes again.
    replayed: u64,
    reached: Reached,
    waiting: Assembly,
    /// The life of the source that what waits is of.
    source: Option<Box<str>>,
    whole: Option<Whole>,
    /// The newest question that was answered with silence.
    quiet: u64,
    asked: u64,
}

impl Work<'_> {
    async fn take(&mut self, fetched: Fetched) -> Result<()> {
        self.quiet = self.quiet.max(fetched.quiet.unwrap_or(0));
        for part in fetched.parts {
            let life = part.event.id.split('/').next().unwrap_or_default();
            if self.source.as_deref().is_some_and(|source| source != life) {
                // Nobody ends what an earlier life of the source began; it is read anew from here on.
                self.apply_upto(EVERYTHING, None).await?;
            }
            let again = part.seq <= self.replayed
                && self
                    .reached
                    .cut
                    .as_ref()
                    .is_some_and(|cut| cut.covers(life, part.event.change.mark));
            if self.source.as_deref() != Some(life) {
                self.source = Some(life.into());
            }
            if !again {
                self.waiting.push(part);
            }
        }
        if fetched.reached > self.read {
            self.read = fetched.reached;
            if self.waiting.is_empty() {
                self.tell(0);
            }
        }
        if self.waiting.len() > WAITING_MAX {
            let message =
                format!("more than {WAITING_MAX} changes wait for the end of a transaction");
            return Err(Error::unsupported(message).help(
                "leave `consistency` out of these flows until the transaction is through, or make it in smaller ones",
            ));
        }
        Ok(())
    }

    /// Applies what is whole by now.
    async fn apply(&mut self) -> Result<()> {
        let Some(whole) = self.whole.clone() else {
            return Ok(());
        };
        let all_here = self.read >= whole.seq || (self.quiet == self.asked && self.asked > 0);
        let of_this_life = self.source.as_deref() == Some(&*whole.position.incarnation);
        if !all_here || !of_this_life {
            return Ok(());
        }
        // A position may stand inside its own commit, never inside an earlier one.
        let Some(commit) = whole.position.commit.checked_sub(1) else {
            return Ok(());
        };
        let upto = Mark {
            commit,
            ordinal: u64::MAX,
        };
        self.apply_upto(upto, Some(whole.position)).await
    }

    async fn apply_upto(&mut self, upto: Mark, cut: Option<Position>) -> Result<()> {
        let most = self.sink.limits().batch_max;
        loop {
            let parts = self.waiting.take(upto, most);
            let Some(last) = parts.last() else {
                return Ok(());
            };
            let mark = last.event.change.mark;
            let cut = cut.as_ref().map(|cut| Position {
                commit: mark.commit,
                ordinal: mark.ordinal,
                cursor: None,
                ..cut.clone()
            });
            let follows = self.waiting.has(upto);
            self.commit(parts, cut, follows).await?;
        }
    }

    /// Applies whole transactions in one of the target's.
    async fn commit(
        &mut self,
        parts: Vec<Part>,
        cut: Option<Position>,
        follows: bool,
    ) -> Result<()> {
        let before = &self.reached;
        let after = Reached {
            safe: self.waiting.first_seq().map_or(self.read, |seq| seq - 1),
            // What an earlier life had read further comes again, and is known by that.
            seen: self.read.max(self.replayed),
            cut: cut.or_else(|| before.cut.clone()),
            count: before.count + 1,
        };
        let step = |lane: &str, expected, reached, position| LaneProgress {
            lane: format!("{lane}{}", self.life),
            expected,
            reached,
            position,
        };
        // What is not kept yet stands at 0.
        let kept = before.count > 0;
        let expected = |value: u64| if kept { value } else { 0 };
        let mut batch = Batch {
            flow: self.name.clone(),
            changes: self.mapped(&folded(&parts))?,
            progress: vec![
                step(SAFE, expected(before.safe), after.safe, after.cut.clone()),
                step(SEEN, expected(before.seen), after.seen, None),
                step(COUNT, before.count, after.count, None),
            ],
            follows,
        };
        let mut receipt = self.attempt(&batch).await?;
        if let Receipt::RolledBack(_) = receipt {
            // What one change needs another may have made first.
            let all: Vec<(usize, &Event)> = parts.iter().map(|p| (p.member, &p.event)).collect();
            batch.changes = self.mapped(&all)?;
            receipt = self.attempt(&batch).await?;
        }
        let outcomes = match receipt {
            Receipt::Committed(outcomes) => outcomes.into_iter().enumerate().collect(),
            Receipt::RolledBack(refused) => refused,
        };
        let fine = |outcome: &Outcome| matches!(outcome, Outcome::Applied { .. } | Outcome::Stale);
        if let Some((at, outcome)) = outcomes.into_iter().find(|(_, outcome)| !fine(outcome)) {
            return Err(self.refusal(&parts, at, outcome));
        }
        self.reached = after;
        self.tell(parts.len() as u64);
        Ok(())
    }

    async fn attempt(&self, batch: &Batch) -> Result<Receipt> {
        in_time(&*self.sink, batch).await
    }

    /// Events as the target's rows.
    fn mapped<E: Borrow<Event>>(&self, events: &[(usize, E)]) -> Result<Vec<Change>> {
        let mapped = events.iter().map(|(member, event)| {
            let (one, event) = (&self.current[*member], event.borrow());
            one.write.map(&event.change).map_err(|rejection| {
                let why = told(&rejection.violations);
                refused(&one.contract.entity, &event.id, &why)
            })
        });
        mapped.collect()
    }

    fn refusal(&self, parts: &[Part], at: usize, outcome: Outcome) -> Error {
        let part = parts.get(at);
        let entity = part.map_or("", |part| &*self.current[part.member].contract.entity);
        let id = part.map_or("", |part| &*part.event.id);
        match outcome {
            Outcome::Waiting { on } => {
                let message = format!("a transaction waits for {on}");
                Error::transient(message)
                    .with("entity", entity)
                    .with("event", id)
            }
            Outcome::Rejected { reason } | Outcome::Conflict { reason } => {
                refused(entity, id, &reason)
            }
            other => refused(entity, id, &format!("{other:?}")),
        }
    }

    /// Answers what is asked of one of the flows; nothing is set aside here, so there is nothing to try again.
    async fn answer(&self, request: Request) {
        let answer = match Ask::read(&request.payload) {
            Ask::Mark { within_ms } => answers(&*self.sink, &self.name, within_ms).await,
            Ask::Retry { .. } | Ask::Edit { .. } => Answer::Failed {
                reason: "its flow arrives in whole transactions now: change the record in its source, and the new version goes its way".to_owned(),
            },
            // Nothing waits for a target's entries.
            _ => Answer::Done,
        };
        // Whoever asked may have gone.
        let _ = request.reply.send(answer.to_bytes());
    }

    /// Why transactions could not be applied: where a table does not fit any more, that, and not the target's words for what came of it.
    async fn explained(&self, error: Error) -> Error {
        if !may_be_the_tables(&error) || !self.is_altered().await.unwrap_or(true) {
            return error;
        }
        for member in &self.pair.members {
            if let Err(misfit) = member.current(&*self.sink).await {
                return misfit;
            }
        }
        Error::transient("the target's tables were altered").because(error)
    }

    async fn is_altered(&self) -> Result<bool> {
        let now = self.sink.discover().await?;
        let is_there = |one: &Current| now.iter().any(|shape| **shape == *one.shape);
        if !self.current.iter().all(is_there) {
            return Ok(true);
        }
        for one in &self.current {
            if self.sink.incarnation(&one.shape.name).await? != one.incarnation {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sees to it that every flow's table gets again what it lost; tells whether there is nothing more to see to.
    async fn refilled(&self) -> Result<bool> {
        let mut all = true;
        for (member, one) in self.pair.members.iter().zip(&self.current) {
            all &= member.refilled(one).await?;
        }
        Ok(all)
    }

    /// Shows how far it got; the changes count for the first flow.
    fn tell(&self, changes: u64) {
        for (at, Delivery { plan, board, .. }) in self.pair.members.iter().enumerate() {
            let changes = if at == 0 { changes } else { 0 };
            let reached = match self.waiting.is_empty() {
                true => self.read,
                false => self.reached.safe,
            };
            board.reached(&plan.flow, &plan.to, reached, changes);
        }
    }
}

/// The same table by table, each record written once: nobody sees what stands between the first and the last of these transactions.
fn folded(parts: &[Part]) -> Vec<(usize, Event)> {
    let mut events: BTreeMap<usize, Vec<Event>> = BTreeMap::new();
    for part in parts {
        let of = events.entry(part.member).or_default();
        of.push(part.event.clone());
    }
    let each = events.into_iter().flat_map(|(member, events)| {
        let folded = coalesce(events).into_iter();
        folded.map(move |folded| (member, folded.event))
    });
    each.collect()
}

/// Beyond every mark.
const EVERYTHING: Mark = Mark {
    commit: u64::MAX,
    ordinal: u64::MAX,
};

/// A change without which its transaction would not be whole.
fn refused(entity: &str, event: &str, why: &str) -> Error {
    Error::new(
        Kind::Invalid,
        format!("a change of `{entity}` cannot be applied, and its transaction not without it: {why}"),
    )
    .with("event", event)
    .help("mend the target, the mapping or the record in its source; or leave `consistency` out, so that the record alone is set aside")
}

fn told(violations: &[Violation]) -> String {
    let each = violations.iter().map(|violation| match &violation.field {
        Some(field) => format!("`{field}`: {}", violation.message),
        None => violation.message.clone(),
    });
    each.collect::<Vec<_>>().join("; ")
}
