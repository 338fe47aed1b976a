//! What is to be done about one change, given the records that have its key: pure.

use lockstep_core::connector::Outcome;
use lockstep_core::{Change, Value};
use serde_json::{Map, Value as Json, json};

use crate::convert;
use crate::domain::Key;
use crate::model::{Field, Form, ID, Model, STATE};
use crate::workflow::Workflow;

/// A record's field that hides it, and makes its others read-only while it is hidden.
const ACTIVE: &str = "active";

/// What is to be done about one change.
#[derive(Debug, PartialEq)]
pub(crate) enum Plan {
    /// Nothing but to say what became of it.
    Say(Outcome),
    /// A record is to be made, and brought to a state.
    Create {
        values: Map<String, Json>,
        /// What can only be written once it is there.
        then: Map<String, Json>,
        state: Option<String>,
    },
    /// A record is to be changed, one write after another, and brought to a state; there may be nothing to write.
    Write {
        id: i64,
        stamp: Json,
        writes: Vec<Map<String, Json>>,
        state: Option<String>,
        /// The record under the old key that goes once this one is written.
        old: Option<Gone>,
    },
    /// A record is to go.
    Delete(Gone),
}

/// A record that is to be deleted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gone {
    pub(crate) id: i64,
    pub(crate) stamp: Json,
}

/// Where changes of one shape go.
pub(crate) struct Target<'a> {
    pub(crate) model: &'a Model,
    /// The fields of the shape's columns.
    pub(crate) fields: Vec<&'a Field>,
    /// Which of them are the key.
    pub(crate) key: Vec<usize>,
    pub(crate) workflow: Option<&'a Workflow>,
}

impl Target<'_> {
    /// The fields of the key.
    pub(crate) fn key(&self) -> Key<'_> {
        self.key.iter().map(|at| self.fields[*at]).collect()
    }

    /// The key of a row in the server's words; why it is none.
    pub(crate) fn sought(&self, row: &lockstep_core::Row) -> Result<Vec<Json>, Outcome> {
        let each = self.key.iter().map(|at| {
            let field = self.fields[*at];
            let rejected = |reason: String| Outcome::Rejected { reason };
            let value = match row.value(*at) {
                None | Some(Value::Null) => {
                    return Err(rejected(format!("key column `{}` is null", field.name)));
                }
                Some(value) => value,
            };
            let json = convert::json(field, value).map_err(rejected)?;
            // Another key would come back, and the record would be made again each time.
            let changes = matches!(value, Value::Text(text) if json.as_str() != Some(text));
            let is_empty = json.as_str() == Some("");
            if changes || is_empty {
                return Err(rejected(format!(
                    "key column `{}` is empty or has white space at its ends, which tryton does not keep",
                    field.name
                )));
            }
            Ok(json)
        });
        each.collect()
    }

    /// The key that a record has.
    pub(crate) fn held(&self, record: &Json) -> Vec<Json> {
        let names = self.key.iter().map(|at| &self.fields[*at].name);
        names
            .map(|name| self.model.cell(record, name).clone())
            .collect()
    }

    /// What is to be done about an upsert; `now` and `old` are the records with its key and with the one before.
    pub(crate) fn upsert(&self, change: &Change, now: &[Json], old: &[Json]) -> Plan {
        let (record, rest) = match (now, old) {
            ([], []) => return self.create(change),
            ([], [only]) => (only, None),
            ([only], []) => (only, None),
            ([only], [before]) if before.get(ID) == only.get(ID) => (only, None),
            ([only], [before]) => (only, gone(before)),
            _ => return several(now.len().max(old.len())),
        };
        let Some(Gone { id, stamp }) = gone(record) else {
            return unreadable();
        };
        let mut writes = Map::new();
        for (field, json) in match self.values(change) {
            Ok(values) => values,
            Err(outcome) => return Plan::Say(outcome),
        } {
            match self.difference(field, record, json) {
                Ok(Some(json)) => writes.insert(field.name.clone(), json),
                Ok(None) => None,
                Err(outcome) => return Plan::Say(outcome),
            };
        }
        if writes.contains_key(ID) {
            return Plan::Say(Outcome::Rejected {
                reason: "a record's own id cannot be changed".to_owned(),
            });
        }
        let mut ordered = Vec::new();
        // What is not active takes no other values: it is woken first and put to sleep last.
        let active = writes.remove(ACTIVE);
        let wakes = active == Some(Json::Bool(true));
        let active = active.map(|value| Map::from_iter([(ACTIVE.to_owned(), value)]));
        if wakes {
            ordered.extend(active.clone());
        }
        ordered.extend(Some(writes).filter(|writes| !writes.is_empty()));
        if !wakes {
            ordered.extend(active);
        }
        Plan::Write {
            id,
            stamp,
            writes: ordered,
            state: self.state(change),
            old: rest,
        }
    }

    /// What is to be done about a delete.
    pub(crate) fn delete(&self, now: &[Json]) -> Plan {
        match now {
            [] => Plan::Say(Outcome::APPLIED),
            [only] => gone(only).map_or_else(unreadable, Plan::Delete),
            _ => several(now.len()),
        }
    }

    fn create(&self, change: &Change) -> Plan {
        if self.key().iter().any(|field| field.name == ID) {
            return Plan::Say(Outcome::Rejected {
                reason: "there is no record with this id, and tryton chooses ids itself".to_owned(),
            });
        }
        if !change.row.is_whole() {
            return Plan::Say(Outcome::Rejected {
                reason: "there is no record with this key, and the change holds a part of one"
                    .to_owned(),
            });
        }
        let mut values = Map::new();
        let mut then = Map::new();
        for (field, json) in match self.values(change) {
            Ok(values) => values,
            Err(outcome) => return Plan::Say(outcome),
        } {
            match (field.form, &json) {
                // Absent is what the model's default is for; null is what somebody said.
                (Form::Links, Json::Array(ids)) if ids.is_empty() => None,
                (Form::Links, _) => values.insert(field.name.clone(), json!([["add", json]])),
                (_, Json::Bool(false) | Json::Null) if field.name == ACTIVE => {
                    then.insert(field.name.clone(), json)
                }
                _ => values.insert(field.name.clone(), json),
            };
        }
        Plan::Create {
            values,
            then,
            state: self.state(change),
        }
    }

    /// What the change sets, the state apart.
    fn values(&self, change: &Change) -> Result<Vec<(&Field, Json)>, Outcome> {
        let mut values = Vec::with_capacity(self.fields.len());
        for (at, field) in self.fields.iter().enumerate() {
            let is_state = field.name == STATE && self.workflow.is_some();
            let Some(value) = change.row.value(at).filter(|_| !is_state) else {
                continue;
            };
            let json =
                convert::json(field, value).map_err(|reason| Outcome::Rejected { reason })?;
            values.push((*field, json));
        }
        Ok(values)
    }

    /// What has to be written so that the record holds a value; none where it does.
    fn difference(
        &self,
        field: &Field,
        record: &Json,
        wanted: Json,
    ) -> Result<Option<Json>, Outcome> {
        let current = self.model.cell(record, &field.name);
        let (Some(now), Some(then)) = (
            convert::value(field.form, current),
            convert::value(field.form, &wanted),
        ) else {
            return Err(Outcome::Rejected {
                reason: format!(
                    "the record holds in `{}` what is no {}",
                    field.name,
                    field.form.kind()
                ),
            });
        };
        if convert::is_same(field.form, &now, &then) {
            return Ok(None);
        }
        if field.form != Form::Links {
            return Ok(Some(wanted));
        }
        let ids = |json: &Json| -> Vec<Json> { json.as_array().cloned().unwrap_or_default() };
        let (now, then) = (ids(current), ids(&wanted));
        let without = |all: &[Json], others: &[Json]| -> Vec<Json> {
            let kept = all.iter().filter(|id| !others.contains(id));
            kept.cloned().collect()
        };
        let commands = [
            ("add", without(&then, &now)),
            ("remove", without(&now, &then)),
        ];
        let commands = commands.iter().filter(|(_, ids)| !ids.is_empty());
        Ok(Some(
            commands.map(|(word, ids)| json!([word, ids])).collect(),
        ))
    }

    fn state(&self, change: &Change) -> Option<String> {
        self.workflow?;
        let at = self.fields.iter().position(|field| field.name == STATE)?;
        match change.row.value(at) {
            Some(Value::Text(state)) => Some(state.clone()),
            _ => None,
        }
    }
}

fn gone(record: &Json) -> Option<Gone> {
    Some(Gone {
        id: record.get(ID)?.as_i64()?,
        stamp: record.get("_timestamp").cloned().unwrap_or(Json::Null),
    })
}

fn several(count: usize) -> Plan {
    Plan::Say(Outcome::Rejected {
        reason: format!(
            "{count} records have this key: merge them in tryton, or map a column that is unique"
        ),
    })
}

fn unreadable() -> Plan {
    Plan::Say(Outcome::Rejected {
        reason: "the server gave the record without an id".to_owned(),
    })
}
