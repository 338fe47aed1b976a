//! What subscribers of older majors get: each event once more, carried down to the newest version of the older major, on that major's own lanes.
//!
//! Copies are marked as such, so that no delivery of ours takes them for events of their own; they have their events' ids.
//! A lane says separately how far it is covered by copies, because a crash may leave a copy without its event or the other way round.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use jiff::civil::Date;
use lockstep_core::contract::Contract;
use lockstep_core::contract::migrate::Route;
use lockstep_core::log::{Channel, Event};
use lockstep_core::{Change, Key};

use crate::status::{Board, MajorStatus};
use crate::versions::{Known, older_majors, places, today};

/// An older major that is published.
#[derive(Debug)]
pub(super) struct Older {
    channel: Arc<Channel>,
    /// The way down to it; none where there is none, so that its subscribers miss everything.
    route: Option<Route>,
    until: Option<Date>,
    slots: Range<usize>,
    /// Where the fields that choose its lanes stand in the key; none where lanes are those of the newest version.
    places: Option<Vec<usize>>,
}

/// An event on its way to a lane.
#[derive(Debug)]
pub(super) struct Outgo {
    pub(super) slot: usize,
    pub(super) channel: Arc<Channel>,
    pub(super) event: Event,
}

/// The older majors of an entity that are published; `slots` says where the lanes of each are. Shows on the board which they are.
pub(super) fn published(
    system: &str,
    contract: &Contract,
    listed: &[u64],
    known: &Known,
    slots: &BTreeMap<u64, Range<usize>>,
    board: &Board,
) -> Vec<Older> {
    let mut shown = Vec::new();
    let mut published = Vec::new();
    for one in older_majors(known, &[], contract, listed, today()) {
        let major = one.contract.version.major;
        let Some(slots) = slots.get(&major) else {
            continue;
        };
        let (route, reason) = match one.route {
            Ok(route) => (Some(route), None),
            Err(reason) => (None, Some(reason)),
        };
        shown.push(MajorStatus {
            entity: contract.entity.clone(),
            major,
            version: one.contract.version.to_string(),
            until: one.until.map(|until| until.to_string()),
            published: 0,
            left_out: 0,
            reason,
        });
        published.push(Older {
            places: places(&one.contract),
            channel: Arc::new(Channel::new(system, one.contract)),
            route,
            until: one.until,
            slots: slots.clone(),
        });
    }
    board.majors(&contract.entity, shown);
    published
}

impl Older {
    /// Whether its subscribers get anything.
    pub(super) fn is_heard(&self) -> bool {
        self.route.is_some()
    }

    /// The major.
    pub(super) fn major(&self) -> u64 {
        self.channel.contract.version.major
    }

    /// Whether its sunset has come.
    pub(super) fn is_over(&self, today: Date) -> bool {
        self.until.is_some_and(|until| until <= today)
    }

    /// The copies of an event of a lane of the newest major: one, or one for each lane of a barrier. What cannot be carried down is counted and told.
    pub(super) fn copies(&self, lane: u32, event: &Event, board: &Board, into: &mut Vec<Outgo>) {
        let entity = &self.channel.contract.entity;
        let Some(route) = &self.route else {
            board.copied(entity, self.major(), 0, 1);
            return;
        };
        let change = match route.change(&event.change) {
            Ok(change) => change,
            Err(violations) => {
                let rules: Vec<String> = violations
                    .iter()
                    .map(|violation| match &violation.field {
                        Some(field) => format!("{} of `{field}`", violation.rule),
                        None => violation.rule.clone(),
                    })
                    .collect();
                let (major, rules) = (self.major(), rules.join(", "));
                tracing::warn!(entity, major, event = %event.id, rules, "subscribers of an older major miss an event: it is no record of theirs");
                board.copied(entity, major, 0, 1);
                return;
            }
        };
        let event = Event {
            change: Change {
                before: None,
                ..change
            },
            ..event.clone()
        };
        let to = |slot: usize, event: Event| Outgo {
            slot,
            channel: Arc::clone(&self.channel),
            event,
        };
        match &event.key {
            Some(key) => {
                let lane = self.lane(key, lane) as usize;
                into.push(to(self.slots.start + lane, event));
            }
            // A barrier comes on every lane of the newest major; one of them stands for all here.
            None if lane == 0 => {
                into.extend(self.slots.clone().map(|slot| to(slot, event.clone())));
            }
            None => {}
        }
    }

    fn lane(&self, key: &Key, newest: u32) -> u32 {
        let lanes = self.channel.contract.lanes;
        let chosen = self.places.as_ref().and_then(|places| {
            let values = key.values().ok()?;
            Key::encode(places.iter().map(|at| values.get(*at))).ok()
        });
        chosen
            .map_or(newest, |key| key.lane(lanes))
            .min(lanes.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests;
