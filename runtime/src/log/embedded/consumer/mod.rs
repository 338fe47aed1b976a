//! Consumers: a [`Delivery`](super::delivery::Delivery) per name, shared by all handles of that name, and its row in the file.
//!
//! A durable consumer's state outlives its handles: what a dead worker was given stays in flight until its time is up, so the next worker sees newer messages before those, as on a server.
//! A restart of the log is gentler: what was unacknowledged comes again at once, in order, counted from one.
//! Where a consumer may read on is judged by its own subjects: a gap is what age took of them, not what it took of others.

mod open;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lockstep_core::connector::Boxed;
use tokio::sync::watch;
use tokio::time::Instant;

pub(super) use self::open::{Shared, delete, open};
use self::open::{check_start, missing};
use super::Inner;
use super::delivery::Plan;
use super::file::Damage;
use super::reader::{self, Found};
use super::state::lock;
use crate::log::{AckPolicy, Consumer, LogError, Result, Stored};

/// Most messages of one fetch.
const FETCH_MAX: usize = 10_000;
/// The longest wait that makes sense; longer ones are cut to it.
const WAIT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// One worker's hold of a consumer.
#[derive(Debug)]
pub(super) struct Handle {
    log: Arc<Inner>,
    shared: Arc<Shared>,
    commits: watch::Receiver<u64>,
    changes: watch::Receiver<u64>,
    /// Deliveries that a fault repeats.
    echo: Vec<Stored>,
}

impl Handle {
    fn check_open(&self) -> Result<()> {
        if self.log.readers.is_closed() {
            return Err(LogError::Closed);
        }
        match &self.shared.name {
            Some(name) if self.shared.deleted.load(Ordering::Acquire) => Err(missing(name)),
            _ => Ok(()),
        }
    }

    async fn wait(&mut self, max: usize, wait: Duration) -> Result<Vec<Stored>> {
        let deadline = Instant::now() + wait.min(WAIT_MAX);
        loop {
            self.check_open()?;
            if self.log.faults.fetch_fails() {
                return Err(LogError::Storage(
                    "disconnected, as a fault asked for".into(),
                ));
            }
            // Seen before looking, so that what comes while looking wakes the wait below.
            self.commits.borrow_and_update();
            self.changes.borrow_and_update();
            let messages = self.take(max.min(FETCH_MAX)).await?;
            let now = Instant::now();
            if !messages.is_empty() || now >= deadline || max == 0 {
                return Ok(messages);
            }
            let due = lock(&self.shared.delivery)
                .next_due()
                .filter(|due| *due > now);
            tokio::select! {
                _ = self.commits.changed() => {}
                _ = self.changes.changed() => {}
                () = tokio::time::sleep_until(due.map_or(deadline, |due| due.min(deadline))) => {}
            }
        }
    }

    /// Takes what there is, without waiting for more.
    async fn take(&mut self, max: usize) -> Result<Vec<Stored>> {
        if !self.echo.is_empty() {
            return Ok(std::mem::take(&mut self.echo));
        }
        let shared = Arc::clone(&self.shared);
        let _turn = shared.turn.lock().await;
        loop {
            let plan = lock(&shared.delivery).plan(Instant::now(), max);
            let head = shared.stream.head();
            let fresh = plan.room > 0 && plan.next <= head.last;
            if plan.again.is_empty() && !fresh {
                return Ok(Vec::new());
            }
            let lowest = plan.again.iter().min().copied().unwrap_or(plan.next);
            shared.check_gap(lowest.min(plan.next))?;
            // A save needs room before anything is marked as given.
            let lazy = shared.ack == AckPolicy::None && shared.name.is_some();
            let room = match lazy {
                true => Some(self.log.writer.room(0).await?),
                false => None,
            };
            let (again, found) = self
                .read(
                    &plan,
                    fresh.then_some((plan.next.max(head.first), head.last)),
                )
                .await?;
            let Some(mut messages) = mark(&shared, &plan, again, found) else {
                // Reset meanwhile, or age was quicker: what is to be read has changed.
                tokio::task::yield_now().await;
                continue;
            };
            if let Some(room) = room
                && !shared.saving.swap(true, Ordering::AcqRel)
            {
                let saved = Arc::clone(&shared);
                // Nobody waits for it: deliveries without acknowledgement may repeat after a crash.
                let _ = self.log.writer.post(room, move |group| saved.save(group));
            }
            if messages.is_empty() {
                // Only gone or foreign messages; look again behind them.
                continue;
            }
            if self.log.faults.fetch_doubles() {
                self.echo = messages.clone();
                self.echo
                    .iter_mut()
                    .for_each(|message| message.deliveries += 1);
            }
            messages.shrink_to_fit();
            return Ok(messages);
        }
    }

    async fn read(
        &self,
        plan: &Plan,
        fresh: Option<(u64, u64)>,
    ) -> Result<(Vec<(u64, Option<Stored>)>, Option<Found>)> {
        let stream = Arc::clone(&self.shared.stream);
        let wanted = Arc::clone(&self.shared.wanted);
        let (again, room) = (plan.again.clone(), plan.room);
        self.log
            .readers
            .read(move |conn| {
                let again = again
                    .into_iter()
                    .map(|seq| Ok((seq, reader::one(conn, &stream, seq)?)))
                    .collect::<Result<Vec<_>, Damage>>()?;
                let found = match fresh {
                    Some(bounds) => Some(reader::range(
                        conn,
                        &stream,
                        &mut lock(&wanted),
                        bounds,
                        room,
                    )?),
                    None => None,
                };
                Ok((again, found))
            })
            .await
    }

    /// Makes the state durable, unless it is.
    async fn remember(&self) -> Result<()> {
        let shared = &self.shared;
        let version = lock(&shared.delivery).version();
        shared.wake();
        if shared.name.is_none() || shared.saved.load(Ordering::Acquire) >= version {
            return Ok(());
        }
        let saved = Arc::clone(shared);
        let version = self
            .log
            .writer
            .run(0, move |group| saved.save(group))
            .await?;
        shared.saved.fetch_max(version, Ordering::AcqRel);
        Ok(())
    }

    async fn count(&self) -> Result<(u64, u64)> {
        let shared = &self.shared;
        let head = shared.stream.head();
        let (next, queued, in_flight) = {
            let delivery = lock(&shared.delivery);
            (
                delivery.next().max(head.first),
                delivery.queued(),
                delivery.in_flight(),
            )
        };
        let all = lock(&shared.wanted).is_all();
        let ahead = match all && !head.sparse {
            true => (head.last + 1).saturating_sub(next),
            false => {
                self.count_ahead(next, head.last, head.first, head.sparse)
                    .await?
            }
        };
        Ok((ahead + queued as u64, in_flight as u64))
    }

    /// Counts by difference to the last count, so that a status asked for often does not read a backlog often.
    async fn count_ahead(&self, next: u64, last: u64, first: u64, sparse: bool) -> Result<u64> {
        let known = *lock(&self.shared.counted);
        let known = known.filter(|&(from, to, _)| {
            !sparse && from >= first && from <= next && next <= to + 1 && to <= last
        });
        let stream = Arc::clone(&self.shared.stream);
        let wanted = Arc::clone(&self.shared.wanted);
        let count = self
            .log
            .readers
            .read(move |conn| {
                let mut wanted = lock(&wanted);
                let mut count = |from, to| reader::count(conn, &stream, &mut wanted, (from, to));
                match known {
                    Some((from, to, known)) => {
                        let given = count(from, next - 1)?;
                        Ok((known + count(to + 1, last)?).saturating_sub(given))
                    }
                    None => count(next, last),
                }
            })
            .await?;
        *lock(&self.shared.counted) = Some((next, last, count));
        Ok(count)
    }
}

/// Takes note of what a fetch gives; none if its plan is void.
fn mark(
    shared: &Shared,
    plan: &Plan,
    again: Vec<(u64, Option<Stored>)>,
    found: Option<Found>,
) -> Option<Vec<Stored>> {
    let now = Instant::now();
    let mut delivery = lock(&shared.delivery);
    let found = found.unwrap_or_default();
    let current = delivery.plan(now, 0);
    if current.era != plan.era || found.trimmed && again.is_empty() && found.messages.is_empty() {
        return None;
    }
    let mut messages = Vec::with_capacity(again.len() + found.messages.len());
    for (seq, message) in again {
        match message {
            Some(message) => messages.push(message),
            // A newer message or a time to live took it: nothing is left to deliver.
            None => delivery.done(seq),
        }
    }
    messages.extend(found.messages);
    messages.retain_mut(|message| match delivery.give(message.seq, now) {
        Some(count) => {
            message.deliveries = count;
            true
        }
        None => false,
    });
    delivery.advance(found.next);
    Some(messages)
}

impl Consumer for Handle {
    fn fetch(&mut self, max: usize, wait: Duration) -> Boxed<'_, Result<Vec<Stored>>> {
        Box::pin(self.wait(max, wait))
    }

    fn ack(&mut self, seq: u64) -> Boxed<'_, Result<()>> {
        Box::pin(async move {
            self.check_open()?;
            lock(&self.shared.delivery).ack(seq);
            self.remember().await
        })
    }

    fn nak(&mut self, seq: u64, delay: Duration) -> Boxed<'_, Result<()>> {
        Box::pin(async move {
            self.check_open()?;
            let due = Instant::now() + delay.min(WAIT_MAX);
            lock(&self.shared.delivery).postpone(seq, due);
            self.shared.wake();
            Ok(())
        })
    }

    fn term(&mut self, seq: u64) -> Boxed<'_, Result<()>> {
        Box::pin(async move {
            self.check_open()?;
            lock(&self.shared.delivery).done(seq);
            self.remember().await
        })
    }

    fn in_progress(&mut self, seq: u64) -> Boxed<'_, Result<()>> {
        Box::pin(async move {
            self.check_open()?;
            lock(&self.shared.delivery).in_progress(seq, Instant::now());
            Ok(())
        })
    }

    fn reset(&mut self, seq: u64) -> Boxed<'_, Result<()>> {
        Box::pin(async move {
            self.check_open()?;
            self.shared
                .check_gap(check_start(&self.shared.stream, seq)?)?;
            self.echo.clear();
            lock(&self.shared.delivery).reset(seq);
            self.remember().await
        })
    }

    fn pending(&self) -> Boxed<'_, Result<(u64, u64)>> {
        Box::pin(self.count())
    }
}
