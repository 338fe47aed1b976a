//! Objects and lists of which there are few: all of them, one by one.
//!
//! That is how they are held against an `enum`, which says nothing of their parts.

use serde_json::{Map, Value as Json};

use super::frame::Frame;
use super::holds::Lit;
use super::solve::{Answer, Cx, Solver};

/// Most values that are listed.
const VALUES_MAX: usize = 256;
/// Most values of one part.
const PART_MAX: usize = 24;
/// Most parts.
const PARTS_MAX: usize = 16;

impl Solver<'_> {
    /// Every object of a frame, and perhaps more; `None` where that is not sure or they are many.
    pub(super) fn all_objects(&mut self, frame: &Frame) -> Option<Vec<Json>> {
        let names = self.mentioned(frame);
        if frame.excluded.is_empty()
            || names.len() > PARTS_MAX
            || !self.has_no_others(frame, &names)
        {
            return None;
        }
        let mut all: Vec<Map<String, Json>> = vec![Map::new()];
        for name in names {
            if frame.absent.contains(&name) {
                continue;
            }
            let lits = self.member(frame, &name);
            let values = self.all_of(lits)?;
            let optional = !frame.present.contains(&name);
            let mut next = if optional { all.clone() } else { Vec::new() };
            if all.len() * values.len() + next.len() > VALUES_MAX {
                return None;
            }
            for value in values {
                next.extend(all.iter().cloned().map(|mut members| {
                    members.insert(name.to_string(), value.clone());
                    members
                }));
            }
            all = next;
        }
        Some(all.into_iter().map(Json::Object).collect())
    }

    /// Every list of a frame, and perhaps more, where there are at most so many items.
    pub(super) fn all_arrays(&mut self, frame: &Frame, ceiling: Option<u64>) -> Option<Vec<Json>> {
        let most = usize::try_from(ceiling?).ok()?;
        if frame.excluded.is_empty() || most > PARTS_MAX {
            return None;
        }
        let mut longest: Vec<Vec<Json>> = vec![Vec::new()];
        let mut all = longest.clone();
        for at in 0..most {
            let lits = self.item(frame, at);
            let values = self.all_of(lits)?;
            if longest.len() * values.len() + all.len() > VALUES_MAX {
                return None;
            }
            let longer = longest.iter().flat_map(|items| {
                values.iter().map(|value| {
                    let mut items = items.clone();
                    items.push(value.clone());
                    items
                })
            });
            longest = longer.collect();
            all.extend(longest.iter().cloned());
        }
        Some(all.into_iter().map(Json::Array).collect())
    }

    /// Every value that a part may have.
    fn all_of(&mut self, mut lits: Vec<Lit>) -> Option<Vec<Json>> {
        let mut all = Vec::new();
        while all.len() <= PART_MAX {
            match self.part(lits.clone()) {
                Answer::Never => return Some(all),
                Answer::Unknown => return None,
                Answer::Doc(value) => {
                    let id = self.exactly(value.clone());
                    lits.push((id, false));
                    all.push(value);
                }
            }
        }
        None
    }

    /// The answer, where there are no other values than these.
    pub(super) fn try_all(&mut self, cx: &Cx<'_>, all: &[Json]) -> Answer {
        let mut unknown = false;
        for value in all {
            if self.spent() {
                return Answer::Unknown;
            }
            if self.store.holds_all(cx.goal, value) == Some(false) {
                continue;
            }
            if let Answer::Doc(value) = self.offer(cx, value.clone()) {
                return Answer::Doc(value);
            }
            unknown = true;
        }
        if unknown {
            Answer::Unknown
        } else {
            Answer::Never
        }
    }
}
