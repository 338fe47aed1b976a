//! Storing messages: judging each against its stream, then writing its row.
//!
//! Runs inside the writer's transaction; nothing here is true before the commit.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::row::{self, Prepared};
use super::stage::Stage;
use super::state::{SUBJECTS_MAX, micros, signed};
use super::trim;
use crate::log::{Ack, PublishError};

type Answer<T> = Result<T, PublishError>;

/// Stores messages, each on its own terms.
pub(super) fn each(
    conn: &Connection,
    stage: &mut Stage,
    now: i64,
    messages: &[Answer<Prepared>],
) -> rusqlite::Result<Vec<Answer<Ack>>> {
    let mut answers = Vec::with_capacity(messages.len());
    for message in messages {
        answers.push(match message {
            Ok(message) => one(conn, stage, now, message)?,
            Err(refused) => Err(refused.clone()),
        });
    }
    Ok(answers)
}

/// Stores all messages or none. Expectations are about the time before the batch, also for its later messages.
pub(super) fn all(
    conn: &Connection,
    stage: &mut Stage,
    now: i64,
    messages: &[Prepared],
) -> rusqlite::Result<Result<Vec<Ack>, (usize, PublishError)>> {
    let mut bytes = 0;
    let mut ids = std::collections::HashSet::new();
    for (at, message) in messages.iter().enumerate() {
        let repeated = message
            .message
            .id
            .as_ref()
            .is_some_and(|id| !ids.insert(id));
        let verdict = match judge(conn, stage, now, message, bytes)? {
            Ok(None) if repeated => Err(seen(message)),
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(seen(message)),
            Err(error) => Err(error),
        };
        if let Err(error) = verdict {
            return Ok(Err((at, error)));
        }
        bytes += message.size();
    }
    let mut acks = Vec::with_capacity(messages.len());
    for message in messages {
        acks.push(store(conn, stage, now, message)?);
    }
    Ok(Ok(acks))
}

fn one(
    conn: &Connection,
    stage: &mut Stage,
    now: i64,
    message: &Prepared,
) -> rusqlite::Result<Answer<Ack>> {
    Ok(match judge(conn, stage, now, message, 0)? {
        Ok(None) => Ok(store(conn, stage, now, message)?),
        Ok(Some(seq)) => Ok(Ack {
            seq,
            duplicate: true,
        }),
        Err(error) => Err(error),
    })
}

/// Whether a message may be stored; `Some` is the sequence of an earlier one with its id.
fn judge(
    conn: &Connection,
    stage: &mut Stage,
    now: i64,
    message: &Prepared,
    ahead: u64,
) -> rusqlite::Result<Answer<Option<u64>>> {
    let text = &message.message;
    let known = stage.find(&text.subject);
    if known.is_none() {
        if !stage
            .stream
            .patterns
            .iter()
            .any(|pattern| pattern.matches(&text.subject))
        {
            return Ok(Err(PublishError::Refused(format!(
                "subject `{}` is not one of stream `{}` ({})",
                text.subject,
                stage.stream.config.name,
                stage.stream.config.subjects.join(", ")
            ))));
        }
        if stage.subjects() >= SUBJECTS_MAX {
            return Ok(Err(full(stage, format!("{SUBJECTS_MAX} subjects"))));
        }
    }
    if let Some(id) = &text.id
        && let Some(seq) = remembered(conn, stage, id, now)?
    {
        return Ok(Ok(Some(seq)));
    }
    let last = known.map_or(0, |(_, subject)| subject.last);
    if text.expect_last.is_some_and(|expected| expected != last) {
        return Ok(Err(PublishError::WrongLast {
            subject: text.subject.clone(),
            actual: last,
        }));
    }
    let Some(max) = stage.stream.config.max_bytes else {
        return Ok(Ok(None));
    };
    let freed = match known {
        Some((id, _)) => trim::superseded(conn, stage, id)?,
        None => 0,
    };
    let wanted = ahead + message.size();
    if fits(stage, wanted, freed, max) {
        return Ok(Ok(None));
    }
    // What is too old anyway makes way at once.
    if let Some(age) = stage.stream.config.max_age {
        trim::step_age(conn, stage, now.saturating_sub(micros(age)))?;
        if fits(stage, wanted, freed, max) {
            return Ok(Ok(None));
        }
    }
    Ok(Err(full(stage, format!("max_bytes {max}"))))
}

fn fits(stage: &Stage, wanted: u64, freed: u64, max: u64) -> bool {
    (stage.head.bytes + wanted).saturating_sub(freed) <= max
}

fn full(stage: &Stage, limit: String) -> PublishError {
    PublishError::Full {
        stream: stage.stream.config.name.clone(),
        limit,
    }
}

fn seen(message: &Prepared) -> PublishError {
    PublishError::Refused(format!(
        "message id `{}` is already stored; an atomic batch takes new ids only",
        message.message.id.as_deref().unwrap_or_default()
    ))
}

fn store(
    conn: &Connection,
    stage: &mut Stage,
    now: i64,
    message: &Prepared,
) -> rusqlite::Result<Ack> {
    let text = &message.message;
    let id = match stage.find(&text.subject) {
        Some((id, _)) => id,
        None => stage.add(conn, &text.subject)?,
    };
    let seq = stage.head.last + 1;
    let at = now.max(stage.head.last_at);
    let expires = text.ttl.map(|ttl| at.saturating_add(micros(ttl)));
    let seal = row::seal(message.sum, &[signed(seq), at, expires.unwrap_or(-1)]);
    conn.prepare_cached(&stage.stream.sql.insert)?
        .execute(params![
            signed(seq),
            id,
            at,
            expires,
            seal,
            message.headers,
            &text.payload[..],
        ])?;
    stage.head.last = seq;
    stage.head.last_at = at;
    stage.head.messages += 1;
    stage.head.bytes += message.size();
    let due = trim::age_due(&stage.stream, at);
    stage.due = stage.due.min(due).min(expires.unwrap_or(i64::MAX));
    if expires.is_some() && !stage.head.sparse {
        stage.head.sparse = true;
        stage.save = true;
    }
    let mut subject = stage.subject(id);
    subject.last = seq;
    subject.messages += 1;
    stage.set(id, subject);
    trim::per_subject(conn, stage, id)?;
    if let Some(id) = &text.id {
        remember(conn, stage, id, seq, at)?;
    }
    Ok(Ack {
        seq,
        duplicate: false,
    })
}

/// The sequence of the message of this id, if it was stored inside the duplicate window.
///
/// Ids are kept in slots as long as the window, so that looking looks into two and forgetting drops a whole one.
fn remembered(
    conn: &Connection,
    stage: &Stage,
    id: &str,
    now: i64,
) -> rusqlite::Result<Option<u64>> {
    let window = micros(stage.stream.config.duplicate_window);
    if window == 0 {
        return Ok(None);
    }
    let now = now.max(stage.head.last_at);
    conn.prepare_cached(
        "select seq from duplicate
         where stream = ?1 and slot in (?2, ?2 - 1) and id = ?3 and at > ?4 order by seq desc limit 1",
    )?
    .query_row(
        params![stage.stream.id, now / window, id, now - window],
        |row| row.get(0),
    )
    .optional()
}

fn remember(conn: &Connection, stage: &Stage, id: &str, seq: u64, at: i64) -> rusqlite::Result<()> {
    let window = micros(stage.stream.config.duplicate_window);
    if window == 0 {
        return Ok(());
    }
    conn.prepare_cached(
        "insert or replace into duplicate (stream, slot, id, seq, at) values (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![stage.stream.id, at / window, id, signed(seq), at])?;
    // Two go for each that comes, so the table never holds much more than two slots.
    conn.prepare_cached(
        "delete from duplicate where (stream, slot, id) in
            (select stream, slot, id from duplicate where stream = ?1 and slot < ?2 limit 2)",
    )?
    .execute(params![stage.stream.id, at / window - 1])?;
    Ok(())
}
