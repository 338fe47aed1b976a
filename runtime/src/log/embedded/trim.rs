//! Removing messages: by age, by time to live, by a newer one on the subject.
//!
//! All of it happens on the writer's thread, in steps of [`STEP`] messages, so that publishers never wait for a long clean-up; the pages it frees are used again.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::stage::Stage;
use super::state::{Stream, micros, signed};

/// Most messages removed in one transaction.
pub(super) const STEP: usize = 1000;
/// Longest time a message outlives its age, so that ageing ones go together and not one by one.
const SLACK_US: i64 = 1_000_000;

/// A message about to go.
struct Victim {
    seq: u64,
    subject: u32,
    size: u64,
}

/// Removes one step of what is due at `now`; gives whether the step was full, so that more may be due.
pub(super) fn step(conn: &Connection, stage: &mut Stage, now: i64) -> rusqlite::Result<bool> {
    let expired = victims(conn, &stage.stream.sql.expired, now, STEP, i64::MAX)?;
    let mut full = expired.len() == STEP;
    for victim in &expired {
        remove(conn, stage, victim)?;
    }
    if let Some(age) = stage.stream.config.max_age {
        full |= step_age(conn, stage, now.saturating_sub(micros(age)))?;
    }
    Ok(full)
}

/// Removes one step of the messages stored at or before `cutoff`.
pub(super) fn step_age(
    conn: &Connection,
    stage: &mut Stage,
    cutoff: i64,
) -> rusqlite::Result<bool> {
    let from = signed(stage.head.first);
    let old = victims(conn, &stage.stream.sql.oldest, from, STEP, cutoff)?;
    let (Some(first), Some(last)) = (old.first(), old.last()) else {
        return Ok(false);
    };
    conn.prepare_cached(&stage.stream.sql.remove_range)?
        .execute([signed(first.seq), signed(last.seq)])?;
    for victim in &old {
        let mut subject = stage.subject(victim.subject);
        subject.lost = victim.seq;
        stage.set(victim.subject, subject);
        forget(conn, stage, victim)?;
    }
    settle_first(conn, stage)?;
    Ok(old.len() == STEP)
}

/// Removes a subject's oldest messages beyond the stream's limit.
pub(super) fn per_subject(conn: &Connection, stage: &mut Stage, id: u32) -> rusqlite::Result<()> {
    let Some(max) = stage.stream.config.max_per_subject else {
        return Ok(());
    };
    let beyond = stage.subject(id).messages.saturating_sub(max);
    let beyond = usize::try_from(beyond).unwrap_or(usize::MAX).min(STEP);
    if beyond == 0 {
        return Ok(());
    }
    let sql = &stage.stream.sql.oldest_of_subject;
    for victim in victims(conn, sql, i64::from(id), beyond, i64::MAX)? {
        remove(conn, stage, &victim)?;
    }
    Ok(())
}

/// The bytes that storing one more message of a subject would free.
pub(super) fn superseded(conn: &Connection, stage: &Stage, id: u32) -> rusqlite::Result<u64> {
    match stage.stream.config.max_per_subject {
        Some(max) if stage.subject(id).messages >= max => {
            let sql = &stage.stream.sql.oldest_of_subject;
            let oldest = victims(conn, sql, i64::from(id), 1, i64::MAX)?;
            let name = stage.name(id).map_or(0, |name| name.len() as u64);
            Ok(oldest.iter().map(|victim| victim.size + name).sum())
        }
        _ => Ok(0),
    }
}

/// When, in microseconds, the next message has to go.
pub(super) fn next_due(conn: &Connection, stream: &Stream) -> rusqlite::Result<i64> {
    let expiry: Option<i64> = conn
        .prepare_cached(&stream.sql.next_expiry)?
        .query_row([], |row| row.get(0))?;
    let oldest: Option<i64> = conn
        .prepare_cached(&stream.sql.at_or_after)?
        .query_row([0], |row| row.get(1))
        .optional()?;
    let aged = oldest.map_or(i64::MAX, |at| age_due(stream, at));
    Ok(expiry.unwrap_or(i64::MAX).min(aged))
}

/// When a message stored at `at` has to go for its age.
pub(super) fn age_due(stream: &Stream, at: i64) -> i64 {
    match stream.config.max_age.map(micros) {
        Some(age) => at
            .saturating_add(age)
            .saturating_add(SLACK_US.min(age / 10)),
        None => i64::MAX,
    }
}

fn victims(
    conn: &Connection,
    sql: &str,
    key: i64,
    max: usize,
    cutoff: i64,
) -> rusqlite::Result<Vec<Victim>> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params![key, signed(max as u64)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if row.get::<_, i64>(2)? > cutoff {
            break;
        }
        found.push(Victim {
            seq: row.get(0)?,
            subject: row.get(1)?,
            size: row.get(3)?,
        });
    }
    Ok(found)
}

fn remove(conn: &Connection, stage: &mut Stage, victim: &Victim) -> rusqlite::Result<()> {
    conn.prepare_cached(&stage.stream.sql.remove)?
        .execute([signed(victim.seq)])?;
    forget(conn, stage, victim)?;
    settle_first(conn, stage)
}

/// Takes a removed message out of the counters.
fn forget(conn: &Connection, stage: &mut Stage, victim: &Victim) -> rusqlite::Result<()> {
    let name = stage
        .name(victim.subject)
        .map_or(0, |name| name.len() as u64);
    stage.save = true;
    stage.head.messages = stage.head.messages.saturating_sub(1);
    stage.head.bytes = stage.head.bytes.saturating_sub(victim.size + name);
    let mut subject = stage.subject(victim.subject);
    subject.messages = subject.messages.saturating_sub(1);
    if subject.messages == 0 {
        subject.last = 0;
    } else if subject.last == victim.seq {
        // Its last message had a time to live, an older one had none.
        subject.last = conn
            .prepare_cached(&stage.stream.sql.before)?
            .query_row(params![victim.subject, signed(victim.seq)], |row| {
                row.get(0)
            })
            .optional()?
            .unwrap_or(0);
    }
    stage.set(victim.subject, subject);
    Ok(())
}

fn settle_first(conn: &Connection, stage: &mut Stage) -> rusqlite::Result<()> {
    stage.head.first = conn
        .prepare_cached(&stage.stream.sql.at_or_after)?
        .query_row([signed(stage.head.first)], |row| row.get(0))
        .optional()?
        .unwrap_or(stage.head.last + 1);
    Ok(())
}
