//! The lanes that one capture writes: their subjects, how far each is covered, and the fence that makes this capture their only writer.

use bytes::Bytes;
use lockstep_core::error::{Error, Kind, Result};
use lockstep_core::log::{EPOCH, KIND, POSITION, subject};
use lockstep_core::position::{Mark, Position};

use crate::log::{self, Log, Message, POSITIONS, PublishError, SETTLED, Stored};

/// One lane of one entity, as its writer knows it.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    /// `ls.set.<entity>.v<major>.<lane>`.
    pub(super) subject: String,
    /// The sequence of the subject's last message, which the next one expects.
    pub(super) last_seq: u64,
    /// What the subject's last message covers; nothing of another incarnation is comparable.
    pub(super) covered: Option<Position>,
}

impl Lane {
    /// Tells whether a change stands in this lane already.
    pub(super) fn covers(&self, incarnation: &str, mark: Mark) -> bool {
        self.covered
            .as_ref()
            .is_some_and(|covered| covered.covers(incarnation, mark))
    }

    /// The position that a message of this lane carries when its last change is at `mark`: it never goes back.
    pub(super) fn reach(&self, incarnation: &std::sync::Arc<str>, mark: Mark) -> Position {
        let mark = match &self.covered {
            Some(covered) if covered.incarnation == *incarnation => covered.mark().max(mark),
            _ => mark,
        };
        Position {
            incarnation: incarnation.clone(),
            commit: mark.commit,
            ordinal: mark.ordinal,
            cursor: None,
        }
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
}

/// Takes the system over: raises the epoch on its position subject by compare-and-set.
pub(super) async fn own(log: &dyn Log, system: &str) -> Result<Owned> {
    let subject = subject::position(system);
    loop {
        let last = log.last(POSITIONS, &subject).await.map_err(log::to_error)?;
        let position = last.as_ref().map(position_of).transpose()?.flatten();
        let epoch = last.as_ref().map_or(0, epoch_of) + 1;
        let expect = last.as_ref().map_or(0, |stored| stored.seq);
        let message = position_message(system, position.as_ref(), epoch, expect);
        match publish_one(log, POSITIONS, message).await {
            Ok(seq) => {
                return Ok(Owned {
                    epoch,
                    last_seq: seq,
                    position,
                });
            }
            // Another owner came between, or the answer was lost: whoever holds the highest epoch wins.
            Err(PublishError::WrongLast { .. } | PublishError::Unknown(_)) => {}
            Err(error) => return Err(log::not_published(&error)),
        }
    }
}

/// Fences a lane: writes an epoch message as its last, so that an older writer's expectation fails from now on.
pub(super) async fn fence(log: &dyn Log, subject: String, epoch: u64) -> Result<Lane> {
    loop {
        let last = log.last(SETTLED, &subject).await.map_err(log::to_error)?;
        if let Some(stored) = &last {
            let theirs = epoch_of(stored);
            if theirs > epoch {
                return Err(replaced(&subject, theirs, epoch));
            }
            if theirs == epoch {
                // Our own message, whose answer was lost.
                let covered = position_of(stored)?;
                return Ok(Lane {
                    subject,
                    last_seq: stored.seq,
                    covered,
                });
            }
        }
        // What an older writer slipped in before us is covered by its message's position.
        let covered = last.as_ref().map(position_of).transpose()?.flatten();
        let mut headers = vec![
            (KIND.to_owned(), "epoch".to_owned()),
            (EPOCH.to_owned(), epoch.to_string()),
        ];
        headers.extend(
            covered
                .as_ref()
                .map(|at| (POSITION.to_owned(), at.to_string())),
        );
        let message = Message {
            subject: subject.clone(),
            headers,
            expect_last: Some(last.map_or(0, |stored| stored.seq)),
            ..Message::default()
        };
        match publish_one(log, SETTLED, message).await {
            Ok(seq) => {
                return Ok(Lane {
                    subject,
                    last_seq: seq,
                    covered,
                });
            }
            Err(PublishError::WrongLast { .. } | PublishError::Unknown(_)) => {}
            Err(error) => return Err(log::not_published(&error)),
        }
    }
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
) -> Message {
    let mut headers = vec![(EPOCH.to_owned(), epoch.to_string())];
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

fn epoch_of(stored: &Stored) -> u64 {
    stored
        .header(EPOCH)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

fn position_of(stored: &Stored) -> Result<Option<Position>> {
    let Some(text) = stored.header(POSITION) else {
        return Ok(None);
    };
    text.parse()
        .map(Some)
        .map_err(|error: lockstep_core::position::NotAPosition| {
            Error::unexpected("a message holds a position that cannot be read")
                .with("subject", &stored.subject)
                .because(error)
        })
}
