//! Changes in the values that a field takes, and inside the documents that it holds.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{BACKWARD, Comparison, Draft, FINE, FORWARD, Level, Lift, Shown};
use crate::contract::compat::carry::Origin;
use crate::contract::compat::change::{self, Change};
use crate::contract::compat::finding::Verdict;
use crate::contract::compat::members;
use crate::contract::compat::set::Set;
use crate::contract::compat::subset::part;
use crate::contract::{Contract, Field, Inner, schema};
use crate::diagnostic::Severity;

impl Comparison<'_> {
    /// Reports changes in the values that a field takes; `whole` is the verdict on all of them together.
    #[expect(clippy::too_many_arguments, reason = "one field, seen from every side")]
    pub(super) fn values(
        &mut self,
        old: &Field,
        new: &Field,
        pointer: &str,
        name: &str,
        sets: [&(Set, Set); 2],
        whole: [Shown; 2],
        place: Lift<'_>,
    ) {
        let first = self.drafts.len();
        let changes = change::changes(old, new);
        let nested = changes.iter().all(|change| change.rule != change::TYPE);
        let nested = nested && old.inner.is_some() && old.inner != new.inner;
        let alone = changes.len() == 1 && !nested;
        for change in changes {
            let shown = [BACKWARD, FORWARD].map(|way| match &whole[way] {
                (Verdict::Yes, _) => FINE,
                shown if alone => shown.clone(),
                _ => {
                    let (source, target) = if way == BACKWARD {
                        (old, new)
                    } else {
                        (new, old)
                    };
                    let reader = alone_changed(&change, source, target);
                    let answer = part(&sets[way].0, &reader);
                    self.shown(way, answer, place)
                }
            });
            self.push(draft_of(change, pointer, name, shown));
        }
        if nested {
            let settled = [BACKWARD, FORWARD].map(|way| whole[way].0 == Verdict::Yes);
            self.nested(old, new, pointer, name, sets, settled, place);
        }
        self.explain(first, old, new, pointer, name, whole);
    }

    /// Makes sure that every break of the field as a whole stands in a finding of its own.
    fn explain(
        &mut self,
        first: usize,
        old: &Field,
        new: &Field,
        pointer: &str,
        name: &str,
        whole: [Shown; 2],
    ) {
        for (way, (verdict, witness)) in whole.into_iter().enumerate() {
            let worst = self.drafts[first..]
                .iter()
                .map(|draft| draft.verdicts[way])
                .max();
            if worst.unwrap_or(Verdict::Yes) >= verdict {
                continue;
            }
            if self.drafts.len() == first {
                let change = Change {
                    rule: change::TYPE,
                    part: "type",
                    message: "takes other values now".to_owned(),
                    old: change::values(old),
                    new: change::values(new),
                    apply: Box::new(|_, _| {}),
                    doubtful: false,
                };
                self.push(draft_of(change, pointer, name, [FINE, FINE]));
            }
            // Only together do the changes break.
            if let Some(draft) = self.drafts.get_mut(first) {
                draft.verdicts[way] = verdict;
                draft.witnesses[way] = witness;
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one field, seen from every side")]
    fn nested(
        &mut self,
        old: &Field,
        new: &Field,
        pointer: &str,
        name: &str,
        sets: [&(Set, Set); 2],
        settled: [bool; 2],
        place: Lift<'_>,
    ) {
        match (&old.inner, &new.inner) {
            (
                Some(Inner::Object {
                    fields: a,
                    extra: a_extra,
                }),
                Some(Inner::Object {
                    fields: b,
                    extra: b_extra,
                }),
            ) => {
                let object = |set: &Set| set.object.as_deref().cloned();
                let (Some(w0), Some(r0), Some(w1), Some(r1)) = (
                    object(&sets[0].0),
                    object(&sets[0].1),
                    object(&sets[1].0),
                    object(&sets[1].1),
                ) else {
                    return;
                };
                let identity = |fields: &[Field]| -> BTreeMap<String, Origin> {
                    fields
                        .iter()
                        .map(|field| (field.name.clone(), Origin::Field(field.name.clone())))
                        .collect()
                };
                let level = Level {
                    old: a,
                    new: b,
                    sets: [(&w0, &r0), (&w1, &r1)],
                    origins: [identity(a), identity(b)],
                    pointer: pointer.to_owned(),
                    path: format!("{name}."),
                    settled,
                };
                self.level(&level, place);
                self.extra(&level, (*a_extra, *b_extra), place);
            }
            (Some(Inner::List { items: a, .. }), Some(Inner::List { items: b, .. })) => {
                let lists = [sets[0].0.array.clone(), sets[1].0.array.clone()];
                let lift = |way: usize, value: Json| {
                    let list = lists[way].as_deref()?;
                    place(way, members::list(list, Some(value), list.least.max(1))?)
                };
                let item = |set: &Set| set.array.as_ref().and_then(|array| array.items.clone());
                let pointer = format!("{pointer}/items");
                self.inside(
                    a,
                    b,
                    &pointer,
                    &format!("{name}[]"),
                    sets,
                    settled,
                    &item,
                    &lift,
                );
            }
            (Some(Inner::Map { values: a, .. }), Some(Inner::Map { values: b, .. })) => {
                let maps = [sets[0].0.object.clone(), sets[1].0.object.clone()];
                let lift = |way: usize, value: Json| {
                    let map = maps[way].as_deref()?;
                    place(way, members::object(map, &[("a", value)], None)?)
                };
                let each = |set: &Set| set.object.as_ref().and_then(|map| map.others.clone());
                let pointer = format!("{pointer}/values");
                self.inside(
                    a,
                    b,
                    &pointer,
                    &format!("{name}.*"),
                    sets,
                    settled,
                    &each,
                    &lift,
                );
            }
            _ => {}
        }
    }

    /// Compares what each item or entry is.
    #[expect(clippy::too_many_arguments, reason = "one field, seen from every side")]
    fn inside(
        &mut self,
        old: &Field,
        new: &Field,
        pointer: &str,
        name: &str,
        sets: [&(Set, Set); 2],
        settled: [bool; 2],
        each: &dyn Fn(&Set) -> Option<Set>,
        lift: Lift<'_>,
    ) {
        let inner = sets.map(|(written, read)| {
            let anything = Set::everything;
            (
                each(written).unwrap_or_else(anything),
                each(read).unwrap_or_else(anything),
            )
        });
        let whole = [BACKWARD, FORWARD].map(|way| {
            if settled[way] {
                return FINE;
            }
            let answer = part(&inner[way].0, &inner[way].1);
            self.shown(way, answer, lift)
        });
        self.values(old, new, pointer, name, [&inner[0], &inner[1]], whole, lift);
    }
}

/// The reading side of a field with this one part as it is on the other side.
fn alone_changed(change: &Change, source: &Field, target: &Field) -> Set {
    let mut field = source.clone();
    (change.apply)(&mut field, target);
    let name = field.name.clone();
    let contract = Contract::new("field", semver::Version::new(1, 0, 0), vec![field]);
    let schema = schema::reader(&contract);
    Set::read(&schema["properties"][name.as_str()])
}

fn draft_of(change: Change, pointer: &str, name: &str, shown: [Shown; 2]) -> Draft {
    let [backward, forward] = shown;
    let rule = match (change.rule, backward.0, forward.0) {
        (change::TYPE, Verdict::Yes, _) => "LSC-TYPE-WIDENED",
        (change::TYPE, _, Verdict::Yes) => "LSC-TYPE-NARROWED",
        (rule, ..) => rule,
    };
    Draft {
        rule,
        pointer: format!("{pointer}/{}", change.part),
        old_pointer: None,
        message: format!("`{name}`: {}", change.message),
        old: Some(change.old).filter(|old| !old.is_null()),
        new: Some(change.new).filter(|new| !new.is_null()),
        verdicts: [backward.0, forward.0],
        witnesses: [backward.1, forward.1],
        mild: if change.doubtful {
            Severity::Warning
        } else {
            Severity::Info
        },
    }
}
