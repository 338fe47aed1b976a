//! Repeated changes of one key, folded into the last state before they cost a write each.

use std::collections::HashMap;

use crate::change::Op;
use crate::key::Key;
use crate::log::Event;
use crate::value::Cell;

/// An event that is left after folding, with what was folded into it.
#[derive(Clone, Debug)]
pub struct Folded {
    /// The event.
    pub event: Event,
    /// Where it stood among all.
    pub place: usize,
    /// What it stands for beside itself, with where that stood, in order: those and then the event lead to the same state.
    pub parts: Vec<(usize, Event)>,
}

/// Folds events of one entity so that each key is written once, keeping the order of what remains.
///
/// A later whole record replaces what came before it, a patch is laid over it, a delete ends it.
/// Key changes and truncates touch more than one key: nothing is folded across them.
#[must_use]
pub fn coalesce(events: Vec<Event>) -> Vec<Folded> {
    let mut kept: Vec<Option<Folded>> = Vec::with_capacity(events.len());
    let mut last: HashMap<Key, usize> = HashMap::with_capacity(events.len());
    for (place, event) in events.into_iter().enumerate() {
        let alone = |event| Folded {
            event,
            place,
            parts: Vec::new(),
        };
        let Some(key) = event.key.clone().filter(|_| event.replaces.is_none()) else {
            last.clear();
            kept.push(Some(alone(event)));
            continue;
        };
        let folded = match last.get(&key).and_then(|index| kept[*index].take()) {
            Some(earlier) => fold(earlier, alone(event)),
            None => alone(event),
        };
        last.insert(key, kept.len());
        kept.push(Some(folded));
    }
    kept.into_iter().flatten().collect()
}

/// The one event that leaves the same state as `earlier` followed by `later`.
fn fold(earlier: Folded, mut later: Folded) -> Folded {
    lay_over(&earlier.event, &mut later.event);
    later.parts = earlier.parts;
    later.parts.push((earlier.place, earlier.event));
    later
}

fn lay_over(earlier: &Event, later: &mut Event) {
    if !later.change.op.is_upsert() || later.change.row.is_whole() {
        return;
    }
    if !earlier.change.op.is_upsert() {
        // A patch of a record that was just deleted: there is nothing to lay it over, and the target will say so.
        return;
    }
    let over = std::mem::replace(&mut later.change.row, earlier.change.row.clone());
    for (below, above) in later.change.row.0.iter_mut().zip(over.0) {
        if let Cell::Set(value) = above {
            *below = Cell::Set(value);
        }
    }
    if later.change.row.is_whole() && later.change.op == Op::Updated {
        later.change.op = earlier.change.op;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::change::Change;
    use crate::position::Mark;
    use crate::shape::{Column, Row, Shape};
    use crate::value::{Type, Value};

    fn event(n: u64, op: Op, key: i64, cells: [Option<i64>; 2]) -> Event {
        let shape = Arc::new(Shape {
            name: "t".into(),
            columns: ["k", "a", "b"]
                .map(|name| Column::new(name, Type::Int, false))
                .into(),
            key: vec![0],
        });
        let cell = |value: Option<i64>| value.map_or(Cell::Unchanged, |v| Cell::Set(Value::Int(v)));
        Event {
            key: Some(Key::encode([Some(&Value::Int(key))]).unwrap()),
            replaces: None,
            replaced_by: None,
            id: "".into(),
            change: Change {
                shape,
                op,
                row: Row(vec![cell(Some(key)), cell(cells[0]), cell(cells[1])]),
                before: None,
                mark: Mark {
                    commit: n,
                    ordinal: 0,
                },
                committed_at: Timestamp::UNIX_EPOCH,
                origin: None,
            },
        }
    }

    /// What a target holds after the events, applied one by one.
    fn apply(events: &[Event]) -> BTreeMap<Key, Vec<Cell>> {
        let mut state: BTreeMap<Key, Vec<Cell>> = BTreeMap::new();
        for event in events {
            let key = event.key.clone().unwrap();
            if !event.change.op.is_upsert() {
                state.remove(&key);
                continue;
            }
            if event.change.row.is_whole() {
                state.insert(key, event.change.row.0.clone());
            } else if let Some(row) = state.get_mut(&key) {
                for (below, above) in row.iter_mut().zip(&event.change.row.0) {
                    if !above.is_unchanged() {
                        *below = above.clone();
                    }
                }
            }
        }
        state
    }

    proptest! {
        #[test]
        fn folding_leaves_the_same_state(
            script in proptest::collection::vec((0..3_i64, 0..3_u8, 0..9_i64, 0..9_i64), 0..40)
        ) {
            let mut known = std::collections::BTreeSet::new();
            let events: Vec<Event> = script
                .into_iter()
                .enumerate()
                .map(|(n, (key, kind, a, b))| match kind {
                    0 => { known.remove(&key); event(n as u64, Op::Deleted, key, [None, None]) }
                    // Sources patch only records that exist.
                    1 if known.contains(&key) => event(n as u64, Op::Updated, key, [Some(a), None]),
                    _ => { known.insert(key); event(n as u64, Op::Created, key, [Some(a), Some(b)]) }
                })
                .collect();
            let all = coalesce(events.clone());
            let folded: Vec<Event> = all.iter().map(|folded| folded.event.clone()).collect();
            prop_assert_eq!(apply(&folded), apply(&events));
            let parts = all.into_iter().flat_map(|folded| {
                let Folded { event, place, parts } = folded;
                parts.into_iter().chain([(place, event)])
            });
            let mut parts: Vec<(usize, Event)> = parts.collect();
            parts.sort_by_key(|(place, _)| *place);
            prop_assert!(parts.iter().map(|(place, _)| *place).eq(0..events.len()));
            let parts: Vec<Event> = parts.into_iter().map(|(_, event)| event).collect();
            for upto in 0..=events.len() {
                prop_assert_eq!(apply(&parts[..upto]), apply(&events[..upto]));
            }
            let keys: std::collections::BTreeSet<_> = events.iter().map(|e| e.key.clone()).collect();
            prop_assert_eq!(folded.len(), keys.len());
        }
    }

    #[test]
    fn nothing_is_folded_across_a_key_change() {
        let mut moved = event(2, Op::Updated, 2, [Some(1), Some(1)]);
        moved.replaces = event(0, Op::Deleted, 1, [None, None]).key;
        let events = vec![
            event(1, Op::Created, 1, [Some(1), Some(1)]),
            moved,
            event(3, Op::Created, 1, [Some(9), Some(9)]),
        ];
        assert_eq!(coalesce(events).len(), 3);
    }
}
