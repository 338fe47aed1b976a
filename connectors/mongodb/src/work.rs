//! One batch on its way into the database: tried until it is in, or until everything that is refused is known.
//!
//! A transaction that nobody ends stays open in the server, and whatever it wrote is locked, for a minute.
//! So the work goes on in a task when its `apply` is dropped, and takes the transaction back at the next step; one session does all transactions of a sink, one after another; and its name is kept in the database, so that the next process can end what a killed one left.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lockstep_core::connector::{Batch, Outcome, Receipt};
use lockstep_core::{Error, Result};
use mongodb::ClientSession;
use mongodb::options::{
    Acknowledgment, ReadConcern, ReadPreference, SelectionCriteria, TransactionOptions,
    WriteConcern,
};
use tokio::sync::Mutex;

use crate::client::{Client, write_failure};
use crate::progress;
use crate::refusal::{Failed, rejected};
use crate::writer::{Target, runs};

/// How long it goes on trying: a little less than an `apply` may take, so that it says itself what stands in the way.
const PATIENCE: Duration = Duration::from_secs(100);
/// How long to wait before a transaction that met another one is tried again, at first and at most.
const PAUSE: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Says that nobody knows whether a transaction was committed.
const UNKNOWN: &str = "UnknownTransactionCommitResult";

/// What all transactions of a sink share.
#[derive(Debug, Default)]
pub(crate) struct Held {
    session: Option<ClientSession>,
    /// The flows that were taken over for it.
    claimed: HashSet<String>,
}

/// A batch, and what it takes to write it.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) client: Client,
    pub(crate) batch: Batch,
    pub(crate) targets: Vec<Arc<Target>>,
}

/// Says, when it is dropped, that nobody waits for the work any more.
struct Waits(Arc<AtomicBool>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Work {
    /// Does the work in a task of its own.
    pub(crate) async fn begin(self, held: Arc<Mutex<Held>>) -> Result<Receipt> {
        let waits = Waits(Arc::new(AtomicBool::new(false)));
        let given_up = Arc::clone(&waits.0);
        let task = tokio::spawn(async move {
            let mut held = held.lock().await;
            let mut attempts = Attempts {
                work: &self,
                given_up,
                started: Instant::now(),
                refused: HashMap::new(),
                opens: false,
            };
            attempts.run(&mut held).await
        });
        let done = task.await;
        drop(waits);
        done.map_err(|error| Error::unexpected("the work on a batch ended").because(error))?
    }
}

/// Attempts at one batch.
struct Attempts<'w> {
    work: &'w Work,
    given_up: Arc<AtomicBool>,
    started: Instant,
    refused: HashMap<usize, Outcome>,
    /// Whether nulls above columns are made documents first. They are rare, and looking for them is not free, so that is done once one stood in the way.
    opens: bool,
}

impl Attempts<'_> {
    async fn run(&mut self, held: &mut Held) -> Result<Receipt> {
        let mut pause = PAUSE;
        loop {
            match self.attempt(held).await {
                Ok(()) if self.refused.is_empty() => {
                    let outcomes = vec![Outcome::APPLIED; self.work.batch.changes.len()];
                    return Ok(Receipt::Committed(outcomes));
                }
                Ok(()) => {
                    let mut refused: Vec<_> = self.refused.drain().collect();
                    refused.sort_by_key(|(place, _)| *place);
                    return Ok(Receipt::RolledBack(refused));
                }
                Err(Failed::Closed(..)) if !self.opens => self.opens = true,
                Err(Failed::Refused(place, outcome) | Failed::Closed(place, outcome)) => {
                    self.refused.insert(place, outcome);
                }
                Err(Failed::Again(_)) if self.started.elapsed() < PATIENCE => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(Failed::Again(error)) => {
                    return Err(write_failure(
                        "the batch meets other writers again and again",
                        &error,
                    ));
                }
                Err(Failed::Stop(error)) => return Err(error),
            }
        }
    }

    /// Writes the batch without what is refused, and keeps it where nothing is.
    async fn attempt(&mut self, held: &mut Held) -> Result<(), Failed> {
        self.must_go_on()?;
        let session = self.session(held).await?;
        let begun = session.start_transaction().with_options(options()).await;
        begun.map_err(|error| stop(error, "cannot begin a transaction"))?;
        let mut done = self.write(session).await;
        if done.is_ok() && self.refused.is_empty() {
            done = commit(session, self.started).await;
            if done.is_ok() {
                return done;
            }
        }
        // Where even that fails, the session may be in any state, and another one takes its place.
        if session.abort_transaction().await.is_err() {
            *held = Held::default();
        }
        done
    }

    async fn write(&mut self, session: &mut ClientSession) -> Result<(), Failed> {
        let Work {
            client,
            batch,
            targets,
        } = self.work;
        progress::advance(client, session, batch).await?;
        let runs = match runs(&batch.changes, &self.refused, targets) {
            Ok(runs) => runs,
            Err(unsendable) => {
                for (place, reason) in unsendable {
                    self.refused.insert(place, rejected(reason));
                }
                runs(&batch.changes, &self.refused, targets).unwrap_or_default()
            }
        };
        for run in runs {
            self.must_go_on()?;
            run.write(client, session, self.opens).await?;
        }
        self.must_go_on()
    }

    /// Ends the work of an `apply` that was dropped.
    fn must_go_on(&self) -> Result<(), Failed> {
        if self.given_up.load(Ordering::Relaxed) {
            return Err(Failed::Stop(Error::stopped()));
        }
        Ok(())
    }

    /// The session of the sink's transactions, for which the flow is taken over.
    async fn session<'h>(&self, held: &'h mut Held) -> Result<&'h mut ClientSession, Failed> {
        let client = &self.work.client;
        let session = match held.session.take() {
            Some(session) => session,
            None => {
                held.claimed.clear();
                let started = client.inner.start_session().await;
                started.map_err(|error| stop(error, "cannot begin a session"))?
            }
        };
        let flow = &self.work.batch.flow;
        let session = held.session.insert(session);
        if !held.claimed.contains(flow) {
            let claimed = progress::claim(client, flow, session.id()).await;
            claimed.map_err(Failed::Stop)?;
            held.claimed.insert(flow.clone());
        }
        Ok(session)
    }
}

fn options() -> TransactionOptions {
    let durable = WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .build();
    TransactionOptions::builder()
        .read_concern(ReadConcern::snapshot())
        .write_concern(durable)
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .build()
}

fn stop(error: mongodb::error::Error, what: &str) -> Failed {
    Failed::of(error, |error| write_failure(what, error))
}

/// Commits, and asks again as long as nobody knows whether it was.
async fn commit(session: &mut ClientSession, started: Instant) -> Result<(), Failed> {
    let mut pause = PAUSE;
    loop {
        let Err(error) = session.commit_transaction().await else {
            return Ok(());
        };
        if error.contains_label(UNKNOWN) && started.elapsed() < PATIENCE {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
            continue;
        }
        return Err(stop(error, "cannot commit a batch"));
    }
}
