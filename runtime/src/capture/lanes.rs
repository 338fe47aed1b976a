//! The lanes that one capture writes: their subjects, how far each is covered, and the fence that makes this capture their only writer.

use std::time::Duration;

use bytes::Bytes;
use lockstep_core::error::{Error, Kind, Result};
use lockstep_core::log::{EPOCH, KIND, KIND_EPOCH, LIFE, OWN, POSITION, subject};
use lockstep_core::position::{Mark, Position};

use crate::log::{
    self, AckPolicy, ConsumerConfig, Log, LogError, Message, POSITIONS, PublishError, SETTLED,
    Start, Stored,
};

/// Epochs from here on are nobody's: counting never gets there.
const EPOCH_MAX: u64 = u64::MAX / 2;
/// How far to step back for a message of ours behind somebody else's, at first.
const STEP_BACK: u64 = 1000;
/// Messages of one fetch on the way.
const STEP_FETCH: usize = 64;
/// How long such a fetch may take.
const STEP_WAIT: Duration = Duration::from_secs(5);

/// One lane of one entity, as its writer knows it.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    /// `ls.set.<entity>.v<major>.<lane>`.
    pub(super) subject: String,
    /// The sequence of the subject's last message, which the next one expects.
    pub(super) last_seq: u64,
    /// How far it is covered.
    pub(super) reach: Reach,
    /// Whether it is one of an older major, and gets copies.
    pub(super) takes_copies: bool,
}

/// How far a lane is covered by its last message; nothing of another incarnation is comparable.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reach {
    /// By events that were said on it.
    pub(super) covered: Option<Position>,
    /// By copies of what was said under a newer major. They never stand for the events themselves: a crash may have left a copy alone.
    copied: Option<Position>,
}

impl Lane {
    /// Tells whether a change stands in this lane already.
    pub(super) fn covers(&self, incarnation: &str, mark: Mark) -> bool {
        let Reach { covered, copied } = &self.reach;
        let copied = copied.as_ref().filter(|_| self.takes_copies);
        let mut reached = covered.iter().chain(copied);
        reached.any(|reached| reached.covers(incarnation, mark))
    }

    /// How far the lane is covered with a message whose last change is at `mark`: it never goes back.
    pub(super) fn with(&self, incarnation: &std::sync::Arc<str>, mark: Mark) -> Reach {
        let Reach { covered, copied } = &self.reach;
        if self.takes_copies {
            return Reach {
                covered: covered.clone(),
                copied: Some(further(copied.as_ref(), incarnation, mark)),
            };
        }
        Reach {
            covered: Some(further(covered.as_ref(), incarnation, mark)),
            copied: None,
        }
    }
}

/// The further of a position and a mark.
fn further(known: Option<&Position>, incarnation: &std::sync::Arc<str>, mark: Mark) -> Position {
    let mark = match known {
        Some(known) if known.incarnation == *incarnation => known.mark().max(mark),
        _ => mark,
    };
    Position {
        incarnation: incarnation.clone(),
        commit: mark.commit,
        ordinal: mark.ordinal,
        cursor: None,
    }
}

impl Reach {
    /// The position that a message says it ends at.
    pub(super) fn position(&self) -> Option<&Position> {
        self.copied.as_ref().or(self.covered.as_ref())
    }

    /// What a message on a lane with copies says of the lane's own events.
    pub(super) fn own(&self) -> Option<(String, String)> {
        self.copied.as_ref()?;
        let own = self.covered.as_ref().map(ToString::to_string);
        Some((OWN.to_owned(), own.unwrap_or_default()))
    }
}
/// How far a system is read, and by which epoch.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    /// This writer's epoch.
    pub(super) epoch: u64,
    /// The sequence of its last message on `ls.pos.<system>`.
    pub(super) last_seq: u64,
    /// Where to resume.
    pub(super) position: Option<Position>,
    /// What the position means something for.
    pub(super) life: Life,
}

/// The life of the settled stream, and how long it is known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    /// When the stream was made, in microseconds.
    created: i64,
    /// A sequence that it has given out.
    pub(super) last_seq: u64,
}

impl Life {
    async fn of(log: &dyn Log) -> Result<Life> {
        let stream = log.stream(SETTLED).await.map_err(log::to_error)?;
        Ok(Life {
            created: stream.created.as_microsecond(),
            last_seq: stream.last_seq,
        })
    }

    fn parse(text: &str) -> Option<Life> {
        let (created, last_seq) = text.split_once('/')?;
        Some(Life {
            created: created.parse().ok()?,
            last_seq: last_seq.parse().ok()?,
        })
    }

    /// Whether a position that was said of `then` still says what this stream holds; an error where nobody can go on from what is there.
    fn carries_on(self, then: Life) -> Result<bool> {
        if self.created == then.created && self.last_seq < then.last_seq {
            return Err(log::to_error(LogError::SetBack {
                stream: SETTLED.to_owned(),
                reason: format!(
                    "it ends at {}, but had {} messages when the position was stored",
                    self.last_seq, then.last_seq
                ),
            }));
        }
        Ok(self.created == then.created)
    }
}

/// What a message of ours says of its writer; nothing that can be read means that it is not ours.
struct Said {
    epoch: u64,
    position: Option<Position>,
    /// Up to where a lane with copies has events of its own.
    own: Option<Option<Position>>,
}

impl Said {
    /// By a message on a lane.
    fn on_lane(stored: &Stored) -> Option<Said> {
        let epoch = stored.header(EPOCH)?.parse().ok();
        let position = stored.header(POSITION).map(str::parse).transpose().ok()?;
        let own = match stored.header(OWN) {
            None => None,
            Some("") => Some(None),
            Some(text) => Some(Some(text.parse().ok()?)),
        };
        Some(Said {
            epoch: epoch.filter(|epoch| *epoch < EPOCH_MAX)?,
            position,
            own,
        })
    }

    /// By a message on `ls.pos.<system>`, which has no body.
    fn of_system(stored: &Stored) -> Option<(Said, Option<Life>)> {
        let said = Said::on_lane(stored).filter(|_| stored.payload.is_empty())?;
        let life = match stored.header(LIFE) {
            Some(text) => Some(Life::parse(text)?),
            None => None,
        };
        Some((said, life))
    }

    /// How far a lane is covered with this message, if that is known.
    fn reach(stored: &Stored) -> Option<Reach> {
        let Said { position, own, .. } = Said::on_lane(stored)?;
        let begins = stored.header(KIND).is_some_and(|kind| kind == KIND_EPOCH);
        let (covered, copied) = match own {
            Some(own) => (own, position),
            None if begins || position.is_some() => (position, None),
            None => return None,
        };
        Some(Reach { covered, copied })
    }
}

/// Takes the system over: raises the epoch on its position subject by compare-and-set.
pub(super) async fn own(log: &dyn Log, system: &str) -> Result<Owned> {
    let subject = subject::position(system);
    loop {
        let last = log.last(POSITIONS, &subject).await.map_err(log::to_error)?;
        let found = match &last {
            Some(stored) => Some(last_of_ours(log, stored).await?),
            None => None,
        };
        // Read after the position, so that it is never shorter than what the position knew.
        let life = Life::of(log).await?;
        let epoch = above(&subject, found.as_ref().map_or(0, |(said, _)| said.epoch))?;
        let position = match found {
            Some((said, then)) => of_this_life(system, said.position, then, life)?,
            None => None,
        };
        let expect = last.as_ref().map_or(0, |stored| stored.seq);
        let message = position_message(system, position.as_ref(), epoch, expect, life);
        match publish_one(log, POSITIONS, message).await {
            Ok(seq) => {
                return Ok(Owned {
                    epoch,
                    last_seq: seq,
                    position,
                    life,
                });
            }
            // Another owner came between, or the answer was lost: whoever holds the highest epoch wins.
            Err(PublishError::WrongLast { .. } | PublishError::Unknown(_)) => {}
            Err(error) => return Err(log::not_published(&error)),
        }
    }
}

/// What the last message of ours on a system's position subject says, `last` being the last of all.
///
/// # Errors
/// None of ours is left: a system that was read must never be taken for a new one.
async fn last_of_ours(log: &dyn Log, last: &Stored) -> Result<(Said, Option<Life>)> {
    let found = Said::of_system(last);
    if let Some(said) = found.filter(|(_, life)| life.is_some()) {
        return Ok(said);
    }
    let mut kept = before(log, POSITIONS, last, 0).await?;
    kept.push(last.clone());
    let with_life = |stored: &Stored| Said::of_system(stored).filter(|(_, life)| life.is_some());
    // Older versions did not write it; nobody writes without it after somebody did.
    let ours = kept.iter().rev().find_map(with_life);
    let Some(ours) = ours else {
        let older = kept.iter().rev().find_map(Said::of_system);
        return older.ok_or_else(|| foreign_position(&last.subject, last.seq));
    };
    tracing::warn!(
        subject = last.subject,
        sequence = last.seq,
        "a message that is not lockstep's stands on this subject; going on from the last one that is"
    );
    Ok(ours)
}

/// A position, if it belongs to this life of the settled stream; what an earlier one held is gone with it.
fn of_this_life(
    system: &str,
    position: Option<Position>,
    then: Option<Life>,
    now: Life,
) -> Result<Option<Position>> {
    // Positions stored by an older version do not say what they belong to.
    let Some(then) = then else {
        return Ok(position);
    };
    if now.carries_on(then)? {
        return Ok(position);
    }
    if let Some(position) = position {
        tracing::warn!(
            system,
            %position,
            "the stream of settled events was made anew: the source is read from the start again, and `lockstep verify` names what was deleted meanwhile"
        );
    }
    Ok(None)
}

/// Makes sure that nobody took the system over since.
///
/// # Errors
/// Somebody did.
pub(super) async fn still_ours(log: &dyn Log, system: &str, epoch: u64) -> Result<()> {
    let subject = subject::position(system);
    let last = log.last(POSITIONS, &subject).await.map_err(log::to_error)?;
    let said = last.as_ref().and_then(Said::of_system);
    let said = said.filter(|(_, life)| life.is_some());
    match said.map(|(said, _)| said.epoch) {
        Some(theirs) if theirs > epoch => Err(replaced(&subject, theirs, epoch)),
        _ => Ok(()),
    }
}

/// Fences lanes together, so that they share a commit of the log.
///
/// A lane with a higher epoch than that of a system which nobody took over (its positions were lost, or a message is not ours) lifts the epoch above it at once.
///
/// # Errors
/// Somebody took the system over.
pub(super) async fn fence_all(
    log: &dyn Log,
    system: &str,
    owned: &mut Owned,
    subjects: &[String],
) -> Result<Vec<Lane>> {
    loop {
        let fences = subjects
            .iter()
            .map(|subject| fence(log, subject.clone(), owned.epoch));
        let fenced = futures_util::future::try_join_all(fences).await?;
        let fenced: Result<Vec<Lane>, u64> = fenced.into_iter().collect();
        match fenced {
            Ok(lanes) => return Ok(lanes),
            Err(theirs) => lift(log, system, owned, theirs).await?,
        }
    }
}

/// Lifts this writer's epoch above another.
async fn lift(log: &dyn Log, system: &str, owned: &mut Owned, theirs: u64) -> Result<()> {
    let epoch = above(&subject::position(system), theirs)?;
    let position = owned.position.as_ref();
    let message = position_message(system, position, epoch, owned.last_seq, owned.life);
    match publish_one(log, POSITIONS, message).await {
        Ok(seq) => {
            tracing::warn!(
                system,
                theirs,
                epoch,
                "a lane has a higher epoch than its system: going above it"
            );
            owned.epoch = epoch;
            owned.last_seq = seq;
            Ok(())
        }
        Err(error) => {
            if matches!(error, PublishError::WrongLast { .. }) {
                still_ours(log, system, owned.epoch).await?;
            }
            Err(Error::transient("the epoch could not be raised").because(error))
        }
    }
}

/// Fences a lane: writes an epoch message as its last, so that an older writer's expectation fails from now on. Gives the lane's epoch instead where that is higher.
async fn fence(log: &dyn Log, subject: String, epoch: u64) -> Result<Result<Lane, u64>> {
    loop {
        let last = log.last(SETTLED, &subject).await.map_err(log::to_error)?;
        let said = last.as_ref().and_then(Said::on_lane);
        if let Some(said) = said.filter(|said| said.epoch > epoch) {
            return Ok(Err(said.epoch));
        }
        // What an older writer slipped in before us is covered by its message's position.
        let reach = match &last {
            Some(stored) => match Said::reach(stored) {
                Some(reach) => reach,
                None => reach_before(log, stored).await?,
            },
            None => Reach::default(),
        };
        let lane = |last_seq, reach| Lane {
            subject: subject.clone(),
            last_seq,
            reach,
            takes_copies: false,
        };
        let ours = |stored: &&Stored| Said::on_lane(stored).is_some_and(|said| said.epoch == epoch);
        if let Some(stored) = last.as_ref().filter(ours) {
            // Our own message, whose answer was lost.
            return Ok(Ok(lane(stored.seq, reach)));
        }
        let mut headers = vec![
            (KIND.to_owned(), KIND_EPOCH.to_owned()),
            (EPOCH.to_owned(), epoch.to_string()),
        ];
        let position = reach.position();
        headers.extend(position.map(|at| (POSITION.to_owned(), at.to_string())));
        headers.extend(reach.own());
        let message = Message {
            subject: subject.clone(),
            headers,
            expect_last: Some(last.map_or(0, |stored| stored.seq)),
            ..Message::default()
        };
        match publish_one(log, SETTLED, message).await {
            Ok(seq) => {
                return Ok(Ok(lane(seq, reach)));
            }
            Err(PublishError::WrongLast { .. } | PublishError::Unknown(_)) => {}
            Err(error) => return Err(log::not_published(&error)),
        }
    }
}

/// How far a lane is covered where somebody who is no writer of ours wrote its last message: by the last one of ours before it.
async fn reach_before(log: &dyn Log, last: &Stored) -> Result<Reach> {
    let mut back = STEP_BACK;
    loop {
        let kept = log.stream(SETTLED).await.map_err(log::to_error)?.first_seq;
        let from = last.seq.saturating_sub(back).max(kept);
        let before = before(log, SETTLED, last, from).await?;
        match before.iter().rev().find_map(Said::reach) {
            Some(reach) => return Ok(reach),
            None if from == kept => return Ok(Reach::default()),
            None => back = back.saturating_mul(10),
        }
    }
}

/// The last few messages on the subject of `last` before it, from a sequence on (0 for the first kept), headers and all; enough to find the last of ours among some that are not.
async fn before(log: &dyn Log, stream: &str, last: &Stored, from: u64) -> Result<Vec<Stored>> {
    let config = ConsumerConfig {
        durable: None,
        filters: vec![last.subject.clone()],
        start: if from == 0 {
            Start::All
        } else {
            Start::Seq(from)
        },
        ack: AckPolicy::None,
        ack_wait: Duration::from_secs(60),
        max_ack_pending: 0,
    };
    let mut reader = log.consume(stream, config).await.map_err(log::to_error)?;
    let mut found: Vec<Stored> = Vec::new();
    let mut reached = 0;
    while reached < last.seq {
        let messages = reader.fetch(STEP_FETCH, STEP_WAIT).await;
        let messages = messages.map_err(log::to_error)?;
        // The last message itself is there, unless it aged out just now.
        let Some(newest) = messages.last() else { break };
        reached = newest.seq;
        let ours = |stored: &Stored| Said::on_lane(stored).is_some();
        let older = messages.into_iter().filter(|stored| stored.seq < last.seq);
        found.extend(older.filter(ours));
        // Only the newest matter.
        found.drain(..found.len().saturating_sub(STEP_FETCH));
    }
    Ok(found)
}

/// The next epoch; none where counting has no meaning any more.
fn above(subject: &str, epoch: u64) -> Result<u64> {
    match epoch.checked_add(1).filter(|next| *next < EPOCH_MAX) {
        Some(next) => Ok(next),
        None => Err(not_ours(
            Error::config("an epoch is too high to be one of lockstep's"),
            subject,
        )
        .with("epoch", epoch)),
    }
}

/// The error of a position subject on which nothing of ours is left.
fn foreign_position(subject: &str, seq: u64) -> Error {
    let what = "the message that says how far a system is read is not lockstep's";
    not_ours(Error::config(what), subject).with("sequence", seq)
}

fn not_ours(error: Error, subject: &str) -> Error {
    error
        .with("subject", subject)
        .code("LS-L011")
        .help("keep other programs from publishing to `ls.pos.>`, then see `lockstep explain LS-L011` for how to read the source anew")
}

/// The error of a writer that somebody replaced.
fn replaced(subject: &str, theirs: u64, ours: u64) -> Error {
    Error::new(Kind::Stopped, "another runtime took this system over")
        .with("subject", subject)
        .with("its epoch", theirs)
        .with("ours", ours)
}

/// The message that says how far a system is read.
pub(super) fn position_message(
    system: &str,
    position: Option<&Position>,
    epoch: u64,
    expect_last: u64,
    life: Life,
) -> Message {
    let Life { created, last_seq } = life;
    let mut headers = vec![
        (EPOCH.to_owned(), epoch.to_string()),
        (LIFE.to_owned(), format!("{created}/{last_seq}")),
    ];
    headers.extend(position.map(|at| (POSITION.to_owned(), at.to_string())));
    Message {
        subject: subject::position(system),
        headers,
        payload: Bytes::new(),
        expect_last: Some(expect_last),
        ..Message::default()
    }
}

async fn publish_one(log: &dyn Log, stream: &str, message: Message) -> Result<u64, PublishError> {
    match log.publish(stream, vec![message]).await.pop() {
        Some(outcome) => outcome.map(|ack| ack.seq),
        None => Err(PublishError::Unknown("the log gave no answer".to_owned())),
    }
}
