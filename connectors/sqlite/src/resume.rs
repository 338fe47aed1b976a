//! Where a run begins: after its last position, or with a new snapshot where that position can no longer be trusted.
//!
//! A position is trusted only while the very row of the change table it stands on is still there; otherwise changes may have been missed, and the tables are read again.

use lockstep_core::connector::Filter;
use lockstep_core::position::Mark;
use lockstep_core::{Position, Result};
use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::capture::{Capture, highest, renew, stamp};
use crate::client::failure;
use crate::position::{Cursor, Reading};

/// Finds where to begin.
pub(crate) fn begin(
    tx: &Transaction<'_>,
    capture: &mut Capture,
    system: &str,
    resume: Option<&Position>,
) -> Result<Reading> {
    let failed = |error| failure("cannot find where to begin", error);
    let Some(position) = resume else {
        return afresh(tx, capture).map_err(failed);
    };
    match judge(tx, capture, position).map_err(failed)? {
        Trust::Whole(cursor) => go_on(tx, capture, position, cursor).map_err(failed),
        Trust::Gone(why) => {
            warn(position, why);
            afresh(tx, capture).map_err(failed)
        }
        Trust::OtherHistory(why) => {
            // Sequences up to the position's are given out a second time, so marks must count in a new life.
            capture.incarnation = renew(tx, system).map_err(failed)?.into();
            warn(position, why);
            afresh(tx, capture).map_err(failed)
        }
    }
}

/// Puts a table at the end of what is to be read.
pub(crate) fn backfill(
    conn: &Connection,
    reading: &mut Reading,
    table: &str,
    filter: Option<Filter>,
) -> Result<()> {
    let cursor = &mut reading.cursor;
    let is_due = cursor.todo.iter().any(|name| name == table);
    cursor.parts.ask(table, filter, is_due);
    if cursor.todo.first().is_some_and(|first| first == table) {
        cursor.after = None;
    }
    cursor.todo.retain(|name| name != table);
    cursor.done.retain(|name| name != table);
    cursor.todo.push(table.to_owned());
    if cursor.todo.len() == 1 {
        cursor.after = None;
    }
    new_plan(conn).map_err(|error| failure("cannot begin the backfill", error))
}

enum Trust {
    Whole(Cursor),
    Gone(&'static str),
    OtherHistory(&'static str),
}

fn warn(position: &Position, why: &str) {
    tracing::warn!(position = %position, "{why}: the tables are read again from their first rows; deletes in between show up in verification");
}

fn judge(conn: &Connection, capture: &Capture, position: &Position) -> rusqlite::Result<Trust> {
    if position.incarnation != capture.incarnation {
        return Ok(Trust::Gone(
            "the position belongs to another life of the change table",
        ));
    }
    let Some(cursor) = Cursor::of(position) else {
        return Ok(Trust::Gone("the position bears no note of this connector"));
    };
    let at: Option<i64> = conn
        .prepare_cached("SELECT at FROM _lockstep_changes WHERE seq = ?1")?
        .query_row([position.commit.cast_signed()], |row| row.get(0))
        .optional()?;
    let next: Option<i64> = conn
        .prepare_cached("SELECT min(seq) FROM _lockstep_changes WHERE seq > ?1")?
        .query_row([position.commit.cast_signed()], |row| row.get(0))?;
    let follows = position.commit.cast_signed().checked_add(1);
    Ok(match at {
        Some(_) if next.is_some() && next != follows => {
            Trust::Gone("somebody removed changes after the position")
        }
        Some(_) if next.is_none() && position.commit < highest(conn)? => {
            Trust::Gone("somebody removed changes after the position")
        }
        Some(at) if at == cursor.at => Trust::Whole(cursor),
        Some(_) => Trust::OtherHistory(
            "the file took another course after the position, as after a restore from a backup",
        ),
        None if position.commit > highest(conn)? => Trust::OtherHistory(
            "the file is older than the position, as after a restore from a backup",
        ),
        None => Trust::Gone("changes after the position are no longer kept"),
    })
}

/// Begins with a snapshot of everything, as of now.
fn afresh(conn: &Connection, capture: &Capture) -> rusqlite::Result<Reading> {
    let (commit, at) = stamp(conn)?;
    Ok(Reading {
        incarnation: capture.incarnation.clone(),
        mark: Mark { commit, ordinal: 0 },
        cursor: Cursor {
            at,
            todo: names(capture).map(str::to_owned).collect(),
            ..Cursor::default()
        },
    })
}

/// Goes on after a position; tables that are new since then, or were not captured all the time, are read as well.
fn go_on(
    conn: &Connection,
    capture: &Capture,
    position: &Position,
    mut cursor: Cursor,
) -> rusqlite::Result<Reading> {
    let before = (cursor.todo.clone(), cursor.after.clone());
    let whole = |name: &str| {
        let of = |captured: &&crate::capture::Captured| captured.table.name == name;
        capture
            .tables
            .iter()
            .find(of)
            .is_some_and(|captured| captured.since <= position.commit)
    };
    let in_work = cursor.todo.first().cloned();
    cursor.done.retain(|name| whole(name));
    cursor
        .todo
        .retain(|name| names(capture).any(|known| known == name));
    let missing: Vec<String> = names(capture)
        .filter(|name| {
            !cursor
                .done
                .iter()
                .chain(&cursor.todo)
                .any(|known| known == name)
        })
        .map(str::to_owned)
        .collect();
    cursor.todo.extend(missing);
    if cursor.todo.first() != in_work.as_ref() || !in_work.is_some_and(|name| whole(&name)) {
        cursor.after = None;
    }
    if before != (cursor.todo.clone(), cursor.after.clone()) {
        new_plan(conn)?;
    }
    Ok(Reading {
        incarnation: capture.incarnation.clone(),
        mark: position.mark(),
        cursor,
    })
}

/// Snapshot rows are marked by the highest sequence and a count. A plan that reads other rows than the one before must not count under the same sequence, or two rows could share a mark.
fn new_plan(conn: &Connection) -> rusqlite::Result<()> {
    stamp(conn).map(|_| ())
}

fn names(capture: &Capture) -> impl Iterator<Item = &str> {
    capture
        .tables
        .iter()
        .map(|captured| captured.table.name.as_str())
}
