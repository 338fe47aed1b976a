//! What the gate makes beside a record: names of rows, tombstones of former keys, reasons of its own.

use std::sync::Arc;

use lockstep_core::contract::{Outcome, Violation};
use lockstep_core::gate::{ReadPlan, Rejection, Verdict, row_name};
use lockstep_core::log::{Channel, Event, TooLarge};
use lockstep_core::{Change, Key, Op, Row};

use super::copies::Outgo;
use super::outbox::{EVENT_MAX, Outbox};
use super::publish::Publisher;
use super::waiting::Passed;
use crate::plan;

/// The entity that a change is of, by its contract or by what its publisher called it.
pub(super) fn change_entity<'c>(
    captured: Option<&'c plan::Captured>,
    change: &'c Change,
) -> &'c str {
    captured.map_or(&change.shape.name, |captured| &captured.contract.entity)
}

/// What the rows are called that the change of an event is about: as it is, and as it was.
pub(super) fn row_names(change: &Change, event: &str) -> impl Iterator<Item = String> {
    let now = row_name(&change.shape, &change.row, event);
    let before = change.before.as_ref().map(|before| {
        // What a source did not tell of the old row is as in the new one.
        let mut row = change.row.clone();
        for (cell, old) in row.0.iter_mut().zip(&before.0) {
            if !old.is_unchanged() {
                *cell = old.clone();
            }
        }
        row_name(&change.shape, &row, event)
    });
    let before = before.filter(|before| *before != now);
    std::iter::once(now).chain(before)
}

/// The key under which targets hold the record of a change that does not pass, where it would have given it another.
pub(super) fn former(plan: &ReadPlan, change: &Change) -> Option<(Key, u32)> {
    if change.op != Op::Updated {
        return None;
    }
    let before = plan.key_before(change)?;
    let same = plan
        .key_after(change)
        .is_some_and(|(key, _)| key == before.0);
    (!same).then_some(before)
}

/// The delete of a key that a record no longer has.
pub(super) fn tombstone(
    channel: &Channel,
    old: &Key,
    now: Option<&Key>,
    change: &Change,
    id: &str,
) -> Option<Event> {
    let mut row = Row::unchanged(channel.shape.columns.len());
    for (position, value) in channel.contract.key.iter().zip(old.values().ok()?) {
        row.0[*position] = value.into();
    }
    Some(Event {
        change: Change {
            shape: Arc::clone(&channel.shape),
            op: Op::Deleted,
            row,
            before: None,
            mark: change.mark,
            committed_at: change.committed_at,
            origin: change.origin.clone(),
        },
        key: Some(old.clone()),
        replaces: None,
        replaced_by: now.cloned(),
        id: id.into(),
    })
}

/// Events of an entity on their way to its lanes, and behind them what subscribers of older majors get of them.
pub(super) fn with_copies(
    publisher: &Publisher,
    entity: usize,
    events: impl Iterator<Item = (usize, Event)>,
) -> Vec<Outgo> {
    let channel = publisher.channel(entity);
    let (mut all, mut copies) = (Vec::new(), Vec::new());
    for (slot, event) in events {
        copies.extend(publisher.copies(entity, slot, &event));
        all.push(Outgo {
            slot,
            channel: Arc::clone(channel),
            event,
        });
    }
    all.extend(copies);
    all
}

/// Puts events into a segment of their own, as what is sent again, with what subscribers of older majors get of them.
///
/// # Errors
/// The first event that is too large for the log; nobody gets those behind it.
pub(super) fn send_again(
    publisher: &Publisher,
    outbox: &mut Outbox,
    entity: usize,
    events: Vec<(usize, Event)>,
) -> Result<(), TooLarge> {
    for Outgo {
        slot,
        channel,
        event,
    } in with_copies(publisher, entity, events.into_iter())
    {
        let sent = outbox.push_again(slot, &channel, event);
        if publisher.takes_copies(slot) {
            publisher.copied(&channel, &sent);
        } else {
            sent?;
        }
    }
    Ok(())
}

/// Leaves with the segment what becomes of quarantine entries once it is durable.
pub(super) fn settle(outbox: &mut Outbox, passed: Passed) {
    if passed.superseded.is_empty() && passed.taken.is_empty() {
        return;
    }
    let segment = outbox.last();
    segment.superseded.extend(passed.superseded);
    segment.taken.extend(passed.taken);
}

/// A broken rule of the gate's own.
pub(super) fn broken(rule: &str, message: &str) -> Violation {
    Violation {
        field: None,
        rule: rule.to_owned(),
        message: message.to_owned(),
        outcome: Outcome::Quarantine,
    }
}

/// Why a change stands in line.
pub(super) fn waits(message: &str) -> Rejection {
    Rejection {
        violations: vec![broken("halted", message)],
    }
}

/// Why a change of a record that was too large to be kept cannot pass, though it may break no rule itself.
pub(super) fn incomplete(verdict: &Verdict, missing: &[String]) -> Option<Rejection> {
    if missing.is_empty() {
        return None;
    }
    let mut violations = match verdict {
        Verdict::Reject(rejection) => rejection.violations.clone(),
        Verdict::Pass(gated) if gated.change.op.is_upsert() => Vec::new(),
        // The record is gone, whatever is missing of it.
        Verdict::Pass(_) | Verdict::Skip | Verdict::Barrier(_) => return None,
    };
    let columns = missing.join("`, `");
    violations.push(Violation {
        field: None,
        rule: "size".to_owned(),
        message: format!(
            "an earlier change of this record was too large to be kept, and this one does not bring `{columns}` again: write that anew in the source"
        ),
        outcome: Outcome::Quarantine,
    });
    Some(Rejection { violations })
}

pub(super) fn too_large(bytes: usize) -> Rejection {
    let message = format!(
        "the record is {bytes} bytes as an event, more than the {EVENT_MAX} that a message may hold"
    );
    Rejection {
        violations: vec![Violation {
            field: None,
            rule: "size".to_owned(),
            message,
            outcome: Outcome::Quarantine,
        }],
    }
}
