//! What migrations make of the fields of a record on its way from one version to another.
//!
//! A migration between two versions bridges them; versions without one between them are alike.

use std::collections::BTreeMap;

use semver::Version;
use serde_json::{Map, Value as Json};

use super::members;
use super::set::{Objects, Set, same};
use crate::contract::wire::to_json;
use crate::contract::{Contract, Migration, Step};

/// The way of records from one version to another.
#[derive(Clone, Debug, Default)]
pub(super) struct Carry<'a> {
    steps: Vec<&'a Step>,
}

/// Where the value of a field comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Origin {
    /// A field of the record before.
    Field(String),
    /// A field of the record before, some of whose values are replaced.
    Mapped(String, Vec<(Json, Json)>),
    /// This value, whatever the record was.
    Fixed(Json),
    /// An expression.
    Computed,
}

impl<'a> Carry<'a> {
    /// The way from an older version to a newer one, by the `up` steps that both know of.
    pub(super) fn up(old: &Contract, new: &'a Contract) -> Carry<'a> {
        let steps = path(new, &old.version, &new.version)
            .into_iter()
            .flat_map(|migration| &migration.up)
            .collect();
        Carry { steps }
    }

    /// By name after the way, where the fields that stand in a record before it end up.
    pub(super) fn origins<'n>(
        &self,
        fields: impl Iterator<Item = &'n str>,
    ) -> BTreeMap<String, Origin> {
        let mut at: BTreeMap<String, Origin> = fields
            .map(|name| (name.to_owned(), Origin::Field(name.to_owned())))
            .collect();
        for step in &self.steps {
            match step {
                Step::Rename { from, to } => {
                    if let Some(origin) = at.remove(from) {
                        at.insert(to.clone(), origin);
                    }
                }
                Step::Set { field, value } => {
                    at.insert(field.clone(), Origin::Fixed(to_json(value)));
                }
                Step::Compute { field, .. } => {
                    at.insert(field.clone(), Origin::Computed);
                }
                Step::Drop { field } => _ = at.remove(field),
                Step::Map { field, values } => {
                    let values: Vec<(Json, Json)> = values
                        .iter()
                        .map(|(from, to)| (to_json(from), to_json(to)))
                        .collect();
                    if let Some(origin) = at.get_mut(field) {
                        *origin = mapped(origin, values);
                    }
                }
            }
        }
        at
    }

    /// The record after the way; computed fields get a value that `reader` takes, so that they are not what it fails by.
    pub(super) fn apply(&self, record: &Json, reader: &Objects) -> Option<Json> {
        let mut record: Map<String, Json> = record.as_object()?.clone();
        for step in &self.steps {
            match step {
                Step::Rename { from, to } => {
                    if let Some(value) = record.shift_remove(from) {
                        record.insert(to.clone(), value);
                    }
                }
                Step::Set { field, value } => {
                    record.insert(field.clone(), to_json(value));
                }
                Step::Compute { field, .. } => {
                    let anything = Set::everything();
                    let value = members::one(reader.member(field).unwrap_or(&anything))?;
                    record.insert(field.clone(), value);
                }
                Step::Drop { field } => _ = record.shift_remove(field),
                Step::Map { field, values } => {
                    if let Some(value) = record.get_mut(field) {
                        let to = values.iter().find(|(from, _)| same(&to_json(from), value));
                        if let Some((_, to)) = to {
                            *value = to_json(to);
                        }
                    }
                }
            }
        }
        Some(Json::Object(record))
    }
}

/// A further replacement of values.
fn mapped(origin: &Origin, values: Vec<(Json, Json)>) -> Origin {
    let replace = |value: &Json| {
        let to = values.iter().find(|(from, _)| same(from, value));
        to.map_or_else(|| value.clone(), |(_, to)| to.clone())
    };
    match origin {
        Origin::Field(name) => Origin::Mapped(name.clone(), values),
        Origin::Fixed(value) => Origin::Fixed(replace(value)),
        Origin::Computed => Origin::Computed,
        Origin::Mapped(name, first) => {
            let mut all: Vec<(Json, Json)> = first
                .iter()
                .map(|(from, to)| (from.clone(), replace(to)))
                .collect();
            let more = values
                .iter()
                .filter(|(from, _)| !first.iter().any(|(f, _)| same(f, from)));
            all.extend(more.cloned());
            Origin::Mapped(name.clone(), all)
        }
    }
}

/// The migrations on the way between two versions, in the order in which the runtime takes them.
fn path<'a>(new: &'a Contract, from: &Version, to: &Version) -> Vec<&'a Migration> {
    let mut path: Vec<&Migration> = new
        .migrations
        .iter()
        .filter(|migration| *from < migration.to && migration.to <= *to)
        .collect();
    path.sort_by(|a, b| (&a.to, &a.from).cmp(&(&b.to, &b.from)));
    path
}
