//! What somebody asked of the parts of a run: to rest, to go on, to try at once, to do without the change that stands in the way.
//!
//! It is kept in the log's bucket `LS_CONTROL`, one entry a part, so it outlives restarts and reaches the runtime wherever that runs.
//! Every order leaves the same state however often it is given.
//! This module knows neither sources nor targets: it lets a part run or rest, and a delivery looks here whether it was told to skip.

mod backfill;
mod gate;
mod name;
mod show;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use lockstep_core::error::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::log::{self, Bucket, Log, LogError};

pub(crate) use backfill::Backfill;
pub use backfill::{Backfills, Wanted};
pub use gate::Controls;
pub use name::parts;
pub use show::Paused;
pub(crate) use show::Rests;

/// Code → page, for what is asked of a part of a run.
pub const CODES: &[(&str, &str)] = &[
    (
        "LS-F001",
        "A paused delivery needs messages that the log will soon forget, because they are nearly as old as `log.max_age`.\n\
         Check: `lockstep status` says until when the log keeps what the delivery needs next.\n\
         Safe: resume it before then, or raise `max_age` and start again. \
         Afterwards the flow is held with LS-L003 rather than going on behind a hole, and the source is read anew.",
    ),
    (
        "LS-F002",
        "A change was set aside because somebody said to skip it: it could not be applied, and everything behind it waited.\n\
         Check: `lockstep quarantine show ID` has the change, the target's error, and who skipped it.\n\
         Safe: later versions of its record go on and supersede it. \
         Mend the target and send it again with `lockstep quarantine retry ID`, or drop it.",
    ),
];

/// The bucket of what was asked.
pub(crate) const BUCKET: &str = "LS_CONTROL";
/// How often an entry is written again when somebody else wrote it meanwhile.
const TRIES: usize = 16;
/// How long whoever has a part may take to say that it tries.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How often the answer to a request is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A part of a run that can rest by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "part", rename_all = "snake_case")]
pub enum Part {
    /// The capture of a system: nothing is read from it while it rests.
    Capture {
        /// The system.
        system: String,
    },
    /// The delivery of a flow into a target: what is captured waits in the log while it rests.
    Deliver {
        /// The flow.
        flow: String,
        /// The target.
        to: String,
    },
}

impl Part {
    /// Its key in the bucket.
    fn key(&self) -> String {
        match self {
            Part::Capture { system } => format!("capture.{system}"),
            Part::Deliver { flow, to } => format!("deliver.{flow}.{to}"),
        }
    }

    /// The part of a key; names hold no dots.
    fn of(key: &str) -> Option<Part> {
        let mut words = key.split('.').map(str::to_owned);
        let part = match (words.next()?.as_str(), words.next()?, words.next()) {
            ("capture", system, None) => Part::Capture { system },
            ("deliver", flow, Some(to)) => Part::Deliver { flow, to },
            _ => return None,
        };
        words.next().is_none().then_some(part)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Capture { system } => write!(f, "capture of {system}"),
            Part::Deliver { flow, to } => write!(f, "{flow} to {to}"),
        }
    }
}

/// What is asked of a part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wish {
    /// That it rests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pause: Option<Pause>,
    /// How often somebody asked that it tries at once.
    #[serde(default)]
    pub(crate) retries: u64,
    /// How many of these were taken up.
    #[serde(default)]
    pub(crate) retried: u64,
    /// That it goes on without the change that stands in its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) skip: Option<Skip>,
    /// That a capture reads tables again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) backfills: Vec<Backfill>,
}

/// What is asked of each part of a run.
pub(crate) type Wishes = BTreeMap<Part, Wish>;

impl Wish {
    /// Whether somebody asked that it tries at once, and nothing has done so.
    fn is_to_retry(&self) -> bool {
        self.retries > self.retried
    }

    /// A request to skip that nobody answered yet.
    fn open_skip(&self) -> Option<&Skip> {
        self.skip.as_ref().filter(|skip| skip.answer.is_none())
    }
}

/// Since when a part rests, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pause {
    /// Since when.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// Who asked for it.
    pub by: String,
    /// Why, where somebody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The last sequence of the log that the delivery had applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<u64>,
}

/// A request to do without a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Skip {
    /// What tells it from other requests.
    pub(crate) id: String,
    pub(crate) by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<Outcome>,
}

/// Something to be done with parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// What.
    pub act: Act,
    /// With which parts.
    pub parts: Vec<Part>,
    /// Who asks.
    pub by: String,
    /// Why, where somebody said so.
    #[serde(default)]
    pub reason: Option<String>,
    /// What is to be read again, for a backfill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Wanted>,
}

/// What can be done with a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Let it rest.
    Pause,
    /// Let it go on.
    Resume,
    /// Let it try at once instead of waiting.
    Retry,
    /// Set the change aside that stands in its way.
    Skip,
    /// Let a capture read a table again.
    Backfill,
}

/// What became of an order for one part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Done {
    /// The part.
    #[serde(flatten)]
    pub part: Part,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It rests now, or did so before.
    Paused {
        /// Whether it ran before.
        changed: bool,
        /// Since when, and why.
        pause: Pause,
    },
    /// It goes on now, or did so before.
    Resumed {
        /// Whether it rested before.
        changed: bool,
    },
    /// It tries, a scheduled one without waiting for its time.
    Retried {
        /// When.
        when: When,
    },
    /// A table will be read again, or was to be before.
    Backfill {
        /// Whether nobody had asked for it before.
        changed: bool,
        /// The entity.
        entity: String,
    },
    /// A change was set aside.
    Skipped {
        /// Its quarantine entry.
        entry: String,
    },
    /// Nothing was skipped.
    NotSkipped {
        /// Why.
        reason: String,
    },
}

/// When a part tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Now.
    Now,
    /// When it is resumed, because it is paused.
    Resumed,
    /// At the next start, because no runtime has it now.
    Start,
}

impl Outcome {
    /// Whether what was asked for is so now.
    #[must_use]
    pub fn is_done(&self) -> bool {
        !matches!(self, Outcome::NotSkipped { .. })
    }
}

/// What was asked of the parts of one log's runs.
pub struct Control {
    bucket: Box<dyn Bucket>,
}

impl Control {
    /// Opens it, making its bucket if need be.
    ///
    /// # Errors
    /// A log that cannot be read or written.
    pub async fn open(log: &dyn Log) -> Result<Control> {
        let bucket = log.bucket(BUCKET).await.map_err(log::to_error)?;
        Ok(Control { bucket })
    }

    /// Carries an order out; of a skip it waits for the answer, at most for `patience` a part.
    ///
    /// # Errors
    /// A log that cannot be read or written.
    pub async fn carry_out(&self, order: &Order, patience: Duration) -> Result<Vec<Done>> {
        let mut done = Vec::with_capacity(order.parts.len());
        for part in &order.parts {
            let outcome = match order.act {
                Act::Pause => self.pause(part, order).await?,
                Act::Resume => self.resume(part).await?,
                // All of them are asked before anybody is waited for.
                Act::Retry => return self.retry(order, patience.min(RETRY_MAX)).await,
                Act::Skip => self.skip(part, order, patience).await?,
                Act::Backfill => self.backfill(part, order).await?,
            };
            let part = part.clone();
            done.push(Done { part, outcome });
        }
        Ok(done)
    }

    async fn pause(&self, part: &Part, order: &Order) -> Result<Outcome> {
        let pause = Pause {
            since: Timestamp::now(),
            by: order.by.clone(),
            reason: order.reason.clone(),
            reached: None,
        };
        let set = |wish: &mut Wish| match &wish.pause {
            Some(earlier) => (false, earlier.clone()),
            None => {
                wish.pause = Some(pause.clone());
                (true, pause.clone())
            }
        };
        let (changed, pause) = self.alter(part, set).await?;
        Ok(Outcome::Paused { changed, pause })
    }

    async fn resume(&self, part: &Part) -> Result<Outcome> {
        let changed = self.alter(part, |wish| wish.pause.take().is_some()).await?;
        Ok(Outcome::Resumed { changed })
    }

    /// Asks all parts first, then waits for whoever has them to take it up.
    async fn retry(&self, order: &Order, patience: Duration) -> Result<Vec<Done>> {
        let mut asked = Vec::with_capacity(order.parts.len());
        for part in &order.parts {
            let ask = |wish: &mut Wish| {
                wish.retries += 1;
                wish.retries
            };
            asked.push((part, self.alter(part, ask).await?));
        }
        let until = tokio::time::Instant::now() + patience;
        let mut done = Vec::with_capacity(asked.len());
        for (part, nth) in asked {
            let when = loop {
                let (wish, _) = self.read(part).await?;
                if wish.retried >= nth {
                    break When::Now;
                }
                if wish.pause.is_some() {
                    break When::Resumed;
                }
                if tokio::time::Instant::now() >= until {
                    break When::Start;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            };
            done.push(Done {
                part: part.clone(),
                outcome: Outcome::Retried { when },
            });
        }
        Ok(done)
    }

    /// Takes note that a part tries because somebody asked for it so many times.
    pub(crate) async fn takes_up(&self, part: &Part, retries: u64) -> Result<()> {
        let set = |wish: &mut Wish| wish.retried = wish.retried.max(retries);
        self.alter(part, set).await
    }

    async fn backfill(&self, part: &Part, order: &Order) -> Result<Outcome> {
        let Some(wanted) = order.wanted.clone() else {
            return Err(Error::config("a backfill has to say of what"));
        };
        let backfill = Backfill {
            id: uuid::Uuid::new_v4().simple().to_string(),
            wanted,
            by: order.by.clone(),
            reason: order.reason.clone(),
        };
        self.alter(part, |wish| backfill::add(wish, &backfill))
            .await
    }

    async fn skip(&self, part: &Part, order: &Order, patience: Duration) -> Result<Outcome> {
        let refused = |reason: &str| {
            Ok(Outcome::NotSkipped {
                reason: reason.to_owned(),
            })
        };
        if matches!(part, Part::Capture { .. }) {
            return refused(
                "changes are skipped where they are delivered; what stops at the gate is in quarantine already",
            );
        }
        let skip = Skip {
            id: uuid::Uuid::new_v4().simple().to_string(),
            by: order.by.clone(),
            reason: order.reason.clone(),
            answer: None,
        };
        let set = |wish: &mut Wish| {
            let rests = wish.pause.is_some();
            if !rests {
                wish.skip = Some(skip.clone());
            }
            rests
        };
        if self.alter(part, set).await? {
            return refused("it is paused; resume it first");
        }
        let until = tokio::time::Instant::now() + patience;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let (wish, _) = self.read(part).await?;
            match wish.skip {
                Some(now) if now.id == skip.id => {
                    if let Some(answer) = now.answer {
                        self.alter(part, |wish| wish.skip = None).await?;
                        return Ok(answer);
                    }
                }
                _ => return refused("somebody else asked as well; look at the status"),
            }
            if tokio::time::Instant::now() > until {
                self.alter(part, |wish| wish.skip = None).await?;
                return refused(
                    "no change failed meanwhile: either no runtime delivers it now, or something else stands in its way; see `lockstep status`",
                );
            }
        }
    }

    /// Answers a request to skip.
    pub(crate) async fn answer(&self, part: &Part, id: &str, outcome: Outcome) -> Result<()> {
        let set = |wish: &mut Wish| {
            if let Some(skip) = wish.skip.as_mut().filter(|skip| skip.id == id) {
                skip.answer = Some(outcome.clone());
            }
        };
        self.alter(part, set).await
    }

    /// Takes note of how far a delivery was when it went to rest.
    pub(crate) async fn rests_at(&self, part: &Part, reached: u64) -> Result<()> {
        let set = |wish: &mut Wish| {
            if let Some(pause) = &mut wish.pause {
                pause.reached = Some(reached);
            }
        };
        self.alter(part, set).await
    }

    /// What is asked of each part.
    pub(crate) async fn wishes(&self) -> Result<BTreeMap<Part, Wish>> {
        let entries = self.bucket.list("").await.map_err(log::to_error)?;
        let wish = |entry: log::Entry| Some((Part::of(&entry.key)?, read(&entry.value)));
        Ok(entries.into_iter().filter_map(wish).collect())
    }

    async fn read(&self, part: &Part) -> Result<(Wish, u64)> {
        let entry = self.bucket.get(&part.key()).await;
        Ok(match entry.map_err(log::to_error)? {
            Some(entry) => (read(&entry.value), entry.revision),
            None => (Wish::default(), 0),
        })
    }

    /// Alters what is asked of a part, by compare-and-set; nothing is written where nothing is altered.
    async fn alter<T>(&self, part: &Part, set: impl Fn(&mut Wish) -> T) -> Result<T> {
        let key = part.key();
        for _ in 0..TRIES {
            let (before, revision) = self.read(part).await?;
            let mut wish = before.clone();
            let given = set(&mut wish);
            if wish == before {
                return Ok(given);
            }
            let body = serde_json::to_vec(&wish)
                .map_err(|error| Error::unexpected("an order cannot be written").because(error))?;
            match self.bucket.update(&key, body.into(), revision).await {
                Ok(_) => return Ok(given),
                Err(LogError::WrongRevision { .. }) => {}
                Err(error) => return Err(log::to_error(error)),
            }
        }
        Err(Error::transient(format!(
            "others kept writing what is asked of `{part}`"
        )))
    }
}

/// What an entry says; what cannot be read asks for nothing.
fn read(value: &[u8]) -> Wish {
    serde_json::from_slice(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
