//! What two versions make of each other's records, field by field.
//!
//! A field's verdict is decided on everything that it takes; where several things about it changed, each is then decided alone, to say which of them breaks.

mod values;

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::carry::{Carry, Origin};
use super::change;
use super::finding::Verdict;
use super::judge::Way;
use super::members;
use super::set::{Objects, Set, same};
use super::subset::{Answer, part};
use crate::contract::{Contract, Extra, Field, schema};
use crate::diagnostic::Severity;

/// Backward and forward, in this order.
pub(super) const BACKWARD: usize = 0;
const FORWARD: usize = 1;

/// One difference, before it is known how much it matters.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) rule: &'static str,
    pub(super) pointer: String,
    /// The part's pointer in the older version, where it has another name there.
    pub(super) old_pointer: Option<String>,
    pub(super) message: String,
    pub(super) old: Option<Json>,
    pub(super) new: Option<Json>,
    /// By direction.
    pub(super) verdicts: [Verdict; 2],
    pub(super) witnesses: [Option<Json>; 2],
    /// How much it matters where it breaks nothing.
    pub(super) mild: Severity,
}

/// Brings a made-up value to its place in a whole document of the direction.
type Lift<'l> = &'l dyn Fn(usize, Json) -> Option<Json>;

/// A verdict with the document that shows it.
type Shown = (Verdict, Option<Json>);

const FINE: Shown = (Verdict::Yes, None);

/// A comparison under way.
pub(super) struct Comparison<'a> {
    ways: [Way<'a>; 2],
    drafts: Vec<Draft>,
}

/// Members of one object on both sides.
struct Level<'l> {
    old: &'l [Field],
    new: &'l [Field],
    /// By direction, what is written and what is read.
    sets: [(&'l Objects, &'l Objects); 2],
    /// By direction and name on the reading side, where the member comes from.
    origins: [BTreeMap<String, Origin>; 2],
    pointer: String,
    /// The name of the object in messages, with a trailing dot.
    path: String,
    /// By direction, whether it is known already that nothing breaks.
    settled: [bool; 2],
}

/// Every difference between two versions that a record could show, in contract order.
pub(super) fn compare<'a>(old: &'a Contract, new: &'a Contract) -> Vec<Draft> {
    let mut comparison = Comparison {
        ways: [
            Way::new(old, new, Carry::up(old, new)),
            // Only Lockstep's own targets are carried down: whoever reads the subjects of a major gets records as they are written.
            Way::new(new, old, Carry::default()),
        ],
        drafts: Vec::new(),
    };
    comparison.run(old, new);
    comparison.forgive();
    comparison.drafts
}

impl Comparison<'_> {
    fn run(&mut self, old: &Contract, new: &Contract) {
        let written = [
            self.ways[BACKWARD].written().cloned(),
            self.ways[FORWARD].written().cloned(),
        ];
        let read = [
            self.ways[BACKWARD].read().cloned(),
            self.ways[FORWARD].read().cloned(),
        ];
        let ([Some(w0), Some(w1)], [Some(r0), Some(r1)]) = (written, read) else {
            return;
        };
        let names = |contract: &'_ Contract| -> Vec<String> {
            contract
                .fields
                .iter()
                .map(|field| field.name.clone())
                .collect()
        };
        let (old_names, new_names) = (names(old), names(new));
        let level = Level {
            old: &old.fields,
            new: &new.fields,
            sets: [(&w0, &r0), (&w1, &r1)],
            origins: [
                self.ways[BACKWARD]
                    .carry
                    .origins(old_names.iter().map(String::as_str)),
                self.ways[FORWARD]
                    .carry
                    .origins(new_names.iter().map(String::as_str)),
            ],
            pointer: String::new(),
            path: String::new(),
            settled: [false, false],
        };
        let lift = |_: usize, document: Json| Some(document);
        self.level(&level, &lift);
        self.extra(&level, (old.extra, new.extra), &lift);
    }

    /// Takes breaks back where nothing can be written at all.
    fn forgive(&mut self) {
        for way in [BACKWARD, FORWARD] {
            let breaks = self
                .drafts
                .iter()
                .any(|draft| draft.verdicts[way] != Verdict::Yes);
            if breaks && self.ways[way].is_void() {
                for draft in &mut self.drafts {
                    draft.verdicts[way] = Verdict::Yes;
                    draft.witnesses[way] = None;
                }
            }
        }
    }

    /// Compares the members of one object.
    fn level(&mut self, level: &Level<'_>, lift: Lift<'_>) {
        let mut met = Vec::new();
        for new in level.new {
            let before = match level.origins[BACKWARD].get(&new.name) {
                Some(Origin::Field(name) | Origin::Mapped(name, _)) => Some(name.as_str()),
                // A field that a migration fills is the one it was, if there was one.
                Some(Origin::Fixed(_) | Origin::Computed) => Some(new.name.as_str()),
                None => None,
            };
            let old = before.and_then(|name| level.old.iter().find(|old| old.name == name));
            match old {
                Some(old) => {
                    met.push(old.name.as_str());
                    self.both(level, old, new, lift);
                }
                None => self.added(level, new, lift),
            }
        }
        for old in level.old {
            if !met.contains(&old.name.as_str()) {
                self.removed(level, old, lift);
            }
        }
    }

    fn added(&mut self, level: &Level<'_>, new: &Field, lift: Lift<'_>) {
        let backward = worst(
            self.presence(level, BACKWARD, &new.name, lift),
            self.value(level, BACKWARD, &new.name, lift),
        );
        let forward = self.foreign(level, FORWARD, &new.name, lift);
        let (rule, how) = match (new.required, &new.default) {
            (true, None) => (
                "LSC-FIELD-ADDED-REQUIRED",
                "a required field without default",
            ),
            (true, Some(_)) => ("LSC-FIELD-ADDED-DEFAULT", "a required field with default"),
            (false, _) => ("LSC-FIELD-ADDED", "an optional field"),
        };
        self.push(Draft {
            rule,
            pointer: format!("{}/fields/{}", level.pointer, new.name),
            old_pointer: None,
            message: format!("`{}{}` is new: {how}", level.path, new.name),
            old: None,
            new: Some(change::values(new)),
            verdicts: [backward.0, forward.0],
            witnesses: [backward.1, forward.1],
            mild: Severity::Info,
        });
    }

    fn removed(&mut self, level: &Level<'_>, old: &Field, lift: Lift<'_>) {
        let backward = self.foreign(level, BACKWARD, &old.name, lift);
        let forward = worst(
            self.presence(level, FORWARD, &old.name, lift),
            self.value(level, FORWARD, &old.name, lift),
        );
        let (rule, how) = if old.required {
            ("LSC-FIELD-REMOVED-REQUIRED", "it was required")
        } else {
            ("LSC-FIELD-REMOVED", "it was optional")
        };
        let pointer = format!("{}/fields/{}", level.pointer, old.name);
        self.push(Draft {
            rule,
            old_pointer: Some(pointer.clone()),
            pointer,
            message: format!("`{}{}` is gone; {how}", level.path, old.name),
            old: Some(change::values(old)),
            new: None,
            verdicts: [backward.0, forward.0],
            witnesses: [backward.1, forward.1],
            mild: if old.deprecation.is_some() {
                Severity::Info
            } else {
                Severity::Warning
            },
        });
    }

    /// Compares a field that both versions have.
    fn both(&mut self, level: &Level<'_>, old: &Field, new: &Field, lift: Lift<'_>) {
        let pointer = format!("{}/fields/{}", level.pointer, new.name);
        let old_pointer = format!("{}/fields/{}", level.pointer, old.name);
        let name = format!("{}{}", level.path, new.name);
        let first = self.drafts.len();
        let presence = [
            self.presence(level, BACKWARD, &new.name, lift),
            self.presence(level, FORWARD, &old.name, lift),
        ];
        self.presence_drafts(old, new, &pointer, &name, presence);
        let values = [
            self.value(level, BACKWARD, &new.name, lift),
            self.value(level, FORWARD, &old.name, lift),
        ];
        let sources = [old.name.as_str(), new.name.as_str()];
        let place = |way: usize, value: Json| {
            let (written, _) = level.sets[way];
            lift(
                way,
                members::object(written, &[(sources[way], value)], None)?,
            )
        };
        let anything = Set::everything();
        let (w0, r0) = level.sets[BACKWARD];
        let (w1, r1) = level.sets[FORWARD];
        let or_any = |set: Option<&Set>| set.unwrap_or(&anything).clone();
        let sets = [
            (or_any(w0.member(&old.name)), or_any(r0.member(&new.name))),
            (or_any(w1.member(&new.name)), or_any(r1.member(&old.name))),
        ];
        self.values(
            old,
            new,
            &pointer,
            &name,
            [&sets[0], &sets[1]],
            values,
            &place,
        );
        if pointer != old_pointer {
            for draft in &mut self.drafts[first..] {
                let rest = draft
                    .pointer
                    .strip_prefix(pointer.as_str())
                    .unwrap_or_default();
                draft.old_pointer = Some(format!("{old_pointer}{rest}"));
            }
        }
    }

    /// Reports changes in whether a field is there, and its new name.
    fn presence_drafts(
        &mut self,
        old: &Field,
        new: &Field,
        pointer: &str,
        name: &str,
        [backward, forward]: [Shown; 2],
    ) {
        let breaks = backward.0 != Verdict::Yes || forward.0 != Verdict::Yes;
        let mut shown = Some(([backward.0, forward.0], [backward.1, forward.1]));
        let mut draft = |rule, part: &str, message: String, old: Json, new: Json, mild| {
            let (verdicts, witnesses) = shown.take().unwrap_or(([Verdict::Yes; 2], [None, None]));
            self.drafts.push(Draft {
                rule,
                pointer: format!("{pointer}{part}"),
                old_pointer: None,
                message: format!("`{name}`{message}"),
                old: Some(old).filter(|old| !old.is_null()),
                new: Some(new).filter(|new| !new.is_null()),
                verdicts,
                witnesses,
                mild,
            });
        };
        let (before, after) = (old.required, new.required);
        if old.name != new.name {
            let message = format!(" is the new name of `{}`", old.name);
            let names = (old.name.clone().into(), new.name.clone().into());
            draft(
                "LSC-FIELD-RENAMED",
                "",
                message,
                names.0,
                names.1,
                Severity::Warning,
            );
        }
        if before != after {
            let (rule, message) = if after {
                ("LSC-REQUIRED-ADDED", " is required now")
            } else {
                ("LSC-REQUIRED-REMOVED", " is no longer required")
            };
            draft(
                rule,
                "/required",
                message.to_owned(),
                before.into(),
                after.into(),
                Severity::Info,
            );
        }
        let (a, b) = (
            change::json_of(old.default.as_ref()),
            change::json_of(new.default.as_ref()),
        );
        if a != b || old.default.is_some() != new.default.is_some() {
            let (rule, message, mild) = match (&old.default, &new.default) {
                (None, _) => ("LSC-DEFAULT-ADDED", " has a default now", Severity::Info),
                (Some(_), None) => (
                    "LSC-DEFAULT-REMOVED",
                    " has no default any more",
                    Severity::Info,
                ),
                _ => (
                    "LSC-DEFAULT-CHANGED",
                    " has another default",
                    Severity::Warning,
                ),
            };
            draft(rule, "/default", message.to_owned(), a, b, mild);
        } else if breaks && before == after && old.name == new.name {
            // Such as a field that joins the key, which readers may not fill.
            draft(
                "LSC-REQUIRED-ADDED",
                "/required",
                " must be there now".to_owned(),
                before.into(),
                after.into(),
                Severity::Info,
            );
        }
    }

    /// What becomes of producers that send fields nobody knows.
    fn extra(&mut self, level: &Level<'_>, (old, new): (Extra, Extra), lift: Lift<'_>) {
        if old == new {
            return;
        }
        let verdict = |way: usize, from: Extra, to: Extra| match (from, to) {
            (Extra::Keep | Extra::Drop, Extra::Reject) => self.unknown(level, way, lift),
            _ => FINE,
        };
        let (backward, forward) = (verdict(BACKWARD, old, new), verdict(FORWARD, new, old));
        let word = |extra| match extra {
            Extra::Reject => "reject",
            Extra::Keep => "keep",
            Extra::Drop => "drop",
        };
        let of = level.path.trim_end_matches('.');
        let of = if of.is_empty() {
            String::new()
        } else {
            format!(" of `{of}`")
        };
        self.push(Draft {
            rule: "LSC-EXTRA",
            pointer: format!("{}/extra", level.pointer),
            old_pointer: None,
            message: format!(
                "what becomes of unknown fields{of} changed from {} to {}",
                word(old),
                word(new)
            ),
            old: Some(word(old).into()),
            new: Some(word(new).into()),
            verdicts: [backward.0, forward.0],
            witnesses: [backward.1, forward.1],
            mild: if new == Extra::Keep {
                Severity::Info
            } else {
                Severity::Warning
            },
        });
    }

    /// A record with a field that nobody knows: one side lets producers send it, the other refuses them.
    ///
    /// A producer meets the break and no reader does, so both writer schemas are asked.
    fn unknown(&self, level: &Level<'_>, way: usize, lift: Lift<'_>) -> Shown {
        let fields = || level.old.iter().chain(level.new);
        let mut names = (0..).map(|i| match i {
            0 => "unknown".to_owned(),
            i => format!("unknown{i}"),
        });
        let is_free = |name: &String| !fields().any(|field| field.name == *name);
        let document = names.find(is_free).and_then(|name| {
            let (written, _) = level.sets[way];
            lift(way, members::object(written, &[(&name, "a".into())], None)?)
        });
        match document {
            Some(document) if self.ways[way].refuses(&self.ways[1 - way], &document) => {
                (Verdict::No, Some(document))
            }
            _ => (Verdict::Unproven, None),
        }
    }

    /// Whether readers that must have the field always get it.
    fn presence(&self, level: &Level<'_>, way: usize, name: &str, lift: Lift<'_>) -> Shown {
        let (written, read) = level.sets[way];
        if level.settled[way] || !read.required.contains(name) {
            return FINE;
        }
        let source = match level.origins[way].get(name) {
            Some(Origin::Fixed(_) | Origin::Computed) => return FINE,
            Some(Origin::Field(source) | Origin::Mapped(source, _)) => source.as_str(),
            None => name,
        };
        if written.required.contains(source) {
            return FINE;
        }
        let document = members::object(written, &[], Some(source));
        self.judged(way, document.and_then(|object| lift(way, object)))
    }

    /// Whether readers understand every value of a field of theirs.
    fn value(&self, level: &Level<'_>, way: usize, name: &str, lift: Lift<'_>) -> Shown {
        let (written, read) = level.sets[way];
        let Some(reader) = read.member(name).filter(|_| !level.settled[way]) else {
            return FINE;
        };
        let anything = Set::everything();
        let writer = |source: &str| written.member(source).unwrap_or(&anything);
        let whole = |source: &str, value: Json| {
            lift(way, members::object(written, &[(source, value)], None)?)
        };
        match level.origins[way].get(name) {
            Some(Origin::Field(source)) => {
                self.shown(way, part(writer(source), reader), &|_, value| {
                    whole(source, value)
                })
            }
            None => self.shown(way, part(writer(name), reader), &|_, value| {
                whole(name, value)
            }),
            Some(Origin::Fixed(value)) if reader.holds(value) => FINE,
            Some(Origin::Fixed(_)) => {
                let document = members::object(written, &[], None);
                self.judged(way, document.and_then(|object| lift(way, object)))
            }
            Some(Origin::Computed) => {
                let fields = if way == BACKWARD {
                    level.new
                } else {
                    level.old
                };
                let target = fields.iter().find(|field| field.name == name);
                (
                    target.map_or(Verdict::Unproven, |target| computed(target, reader)),
                    None,
                )
            }
            Some(Origin::Mapped(source, values)) => {
                let answer = mapped(writer(source), reader, values);
                self.shown(way, answer, &|_, value| whole(source, value))
            }
        }
    }

    /// Whether readers that do not know a field bear it.
    fn foreign(&self, level: &Level<'_>, way: usize, name: &str, lift: Lift<'_>) -> Shown {
        let (written, read) = level.sets[way];
        let carried = level.origins[way]
            .values()
            .any(|origin| matches!(origin, Origin::Field(source) if source == name));
        let Some(others) = read
            .others
            .as_ref()
            .filter(|_| carried && !level.settled[way])
        else {
            return FINE;
        };
        let anything = Set::everything();
        let answer = part(written.member(name).unwrap_or(&anything), others);
        self.shown(way, answer, &|way, value| {
            lift(way, members::object(written, &[(name, value)], None)?)
        })
    }

    /// The verdict on an answer, once its value is seen in a whole document.
    fn shown(&self, way: usize, answer: Answer, place: Lift<'_>) -> Shown {
        match answer {
            Answer::Yes => FINE,
            Answer::Unproven => (Verdict::Unproven, None),
            Answer::No(value) => self.judged(way, place(way, value)),
        }
    }

    fn judged(&self, way: usize, document: Option<Json>) -> Shown {
        match document {
            Some(document) if self.ways[way].shows(&document) => (Verdict::No, Some(document)),
            _ => (Verdict::Unproven, None),
        }
    }

    fn push(&mut self, draft: Draft) {
        self.drafts.push(draft);
    }
}

/// Whether the values are understood once some of them are replaced.
fn mapped(writer: &Set, reader: &Set, values: &[(Json, Json)]) -> Answer {
    let image = |value: &Json| {
        let to = values.iter().find(|(from, _)| same(from, value));
        to.map_or_else(|| value.clone(), |(_, to)| to.clone())
    };
    if writer.values.is_some() && !writer.unread && !reader.unread {
        let all = members::some(writer, usize::MAX);
        let lost = all
            .values
            .into_iter()
            .find(|value| !reader.holds(&image(value)));
        return lost.map_or(Answer::Yes, Answer::No);
    }
    let replaced = values
        .iter()
        .find(|(from, to)| writer.holds(from) && !reader.holds(to));
    if let Some((from, _)) = replaced {
        return Answer::No(from.clone());
    }
    match part(writer, reader) {
        // The value found may be one of those that are replaced.
        Answer::No(value) if reader.holds(&image(&value)) => Answer::Unproven,
        answer => answer,
    }
}

/// Whether a field takes whatever an expression of its type gives, null included; no more is known about expressions.
fn computed(target: &Field, reader: &Set) -> Verdict {
    let bare = Field {
        nullable: true,
        ..Field::new(target.name.clone(), target.kind)
    };
    let contract = Contract::new("field", semver::Version::new(1, 0, 0), vec![bare]);
    let schema = schema::writer(&contract);
    match part(
        &Set::read(&schema["properties"][target.name.as_str()]),
        reader,
    ) {
        Answer::Yes => Verdict::Yes,
        Answer::No(_) | Answer::Unproven => Verdict::Unproven,
    }
}

fn worst(a: Shown, b: Shown) -> Shown {
    if b.0 > a.0 { b } else { a }
}
