//! Writes records: each is looked up by its key, created where it is missing, changed where it differs.
//!
//! Applying a change again finds what the first time made, so nothing is created twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use lockstep_core::change::Op;
use lockstep_core::connector::{Batch, Finding, Limits, OpenContext, Outcome, Receipt, Sink};
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Change, Error, Key, Kind as ErrorKind, Result, Row, Shape, Value};

use crate::client::{Api, Kind};
use crate::config::Config;
use crate::reader::{self, positions};
use crate::write::{self, Found, rejected};

/// How often one change is tried where its record comes or goes meanwhile.
const TRIES: usize = 3;

/// Writes to an API.
pub struct HttpSink {
    api: Api,
}

impl Sink for HttpSink {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        Ok(HttpSink {
            api: Api::open(config, &cx)?,
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        self.api.shapes()
    }

    async fn check(&self, targets: &[Arc<Shape>]) -> Result<Vec<Finding>> {
        let mut findings = reader::check(&self.api).await?;
        for target in targets {
            findings.extend(unfit(&self.api, target)?);
        }
        Ok(findings)
    }

    async fn prepare(&self, _: &[Arc<Shape>]) -> Result<()> {
        Ok(())
    }

    async fn apply(&self, batch: &Batch) -> Result<Receipt> {
        let mut lanes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, change) in batch.changes.iter().enumerate() {
            // A key change touches two records, so it and what surrounds it stay in order.
            let is_ordered = batch.changes.iter().any(|change| change.before.is_some());
            let lane = if is_ordered {
                String::new()
            } else {
                let key = change
                    .shape
                    .key
                    .iter()
                    .map(|column| change.row.value(*column));
                Key::encode(key)
                    .map(|key| key.to_string())
                    .unwrap_or_default()
            };
            lanes.entry(lane).or_default().push(index);
        }
        let concurrent = self.api.described.limits.concurrent.max(1);
        let lanes = lanes.into_values().map(|lane| self.lane(batch, lane));
        let lanes: Vec<_> = lanes.collect();
        let done: Vec<Vec<(usize, Outcome)>> = stream::iter(lanes)
            .buffer_unordered(concurrent)
            .try_collect()
            .await?;
        let mut done: Vec<(usize, Outcome)> = done.into_iter().flatten().collect();
        done.sort_by_key(|(index, _)| *index);
        Ok(Receipt::Committed(
            done.into_iter().map(|(_, outcome)| outcome).collect(),
        ))
    }

    fn limits(&self) -> Limits {
        Limits {
            batch_max: self.api.described.limits.batch_max,
            progress: false,
            writers: 1,
            deadline: Duration::from_secs(300),
        }
    }
}

impl HttpSink {
    /// Applies the changes of one record, one after the other.
    async fn lane(&self, batch: &Batch, lane: Vec<usize>) -> Result<Vec<(usize, Outcome)>> {
        let mut done = Vec::with_capacity(lane.len());
        for index in lane {
            let outcome = match self.change(&batch.changes[index]).await {
                Ok(outcome) => outcome,
                // What cannot even be asked for, or is answered in another shape, is this record's matter alone.
                Err(error) if error.kind() == ErrorKind::Invalid => rejected(&error.to_string()),
                Err(error) => return Err(error),
            };
            done.push((index, outcome));
        }
        Ok(done)
    }

    async fn change(&self, change: &Change) -> Result<Outcome> {
        if change.op == Op::Truncated {
            return Ok(rejected("a table cannot be emptied at once through an API"));
        }
        let kind = self.api.kind(&change.shape.name)?;
        let names: Vec<String> = change.shape.names().map(str::to_owned).collect();
        let columns = positions(&kind.columns.shape, &names)?;
        let key: Vec<usize> = change
            .shape
            .key
            .iter()
            .map(|place| columns[*place])
            .collect();
        let Some(values) = key_of(&change.shape, &change.row) else {
            return Ok(rejected("the record's key holds a null"));
        };
        for _ in 0..TRIES {
            let found = match one(write::find(kind, &key, &values).await?) {
                Ok(found) => found,
                Err(outcome) => return Ok(outcome),
            };
            if change.op == Op::Deleted {
                return match found {
                    Some(found) => write::delete(kind, &found).await,
                    None => Ok(Outcome::APPLIED),
                };
            }
            let outcome = match self.moved(kind, change, &key, &values).await? {
                None => match &found {
                    Some(found) => write::update(kind, change, &columns, found).await?,
                    None => write::create(kind, change, &columns, &key).await?,
                },
                Some(Err(outcome)) => Some(outcome),
                Some(Ok(old)) => match &found {
                    // The new key has a record already: it stays, and the old one goes.
                    Some(found) => {
                        let gone = write::delete(kind, &old).await?;
                        if !matches!(gone, Outcome::Applied { .. }) {
                            return Ok(gone);
                        }
                        write::update(kind, change, &columns, found).await?
                    }
                    None => write::update(kind, change, &columns, &old).await?,
                },
            };
            if let Some(outcome) = outcome {
                return Ok(outcome);
            }
        }
        Err(Error::transient(format!(
            "a record of `{}` came and went each of {TRIES} times that it was written",
            kind.name
        )))
    }

    /// The record under the key that a change takes away, if it does and there is one.
    async fn moved(
        &self,
        kind: Kind<'_>,
        change: &Change,
        key: &[usize],
        now: &[Value],
    ) -> Result<Option<std::result::Result<Found, Outcome>>> {
        let before = change.before.as_ref();
        let Some(old) = before.and_then(|row| key_of(&change.shape, row)) else {
            return Ok(None);
        };
        if old == *now {
            return Ok(None);
        }
        if *key == *kind.columns.shape.key {
            return Ok(Some(Err(rejected(
                "a record keeps the id that the system gave it",
            ))));
        }
        Ok(match one(write::find(kind, key, &old).await?) {
            Ok(found) => found.map(Ok),
            Err(outcome) => Some(Err(outcome)),
        })
    }
}

/// The one record that was found, if any; two are nobody's.
fn one(mut found: Vec<Found>) -> std::result::Result<Option<Found>, Outcome> {
    if found.len() > 1 {
        return Err(rejected(&format!(
            "{} records of the system have this key",
            found.len()
        )));
    }
    Ok(found.pop())
}

fn key_of(shape: &Shape, row: &Row) -> Option<Vec<Value>> {
    let value = |column: &usize| row.value(*column).filter(|value| !value.is_null()).cloned();
    shape.key.iter().map(value).collect()
}

/// What keeps a target from being written.
fn unfit(api: &Api, target: &Shape) -> Result<Vec<Finding>> {
    let kind = api.kind(&target.name)?;
    let names: Vec<String> = target.names().map(str::to_owned).collect();
    let columns = positions(&kind.columns.shape, &names)?;
    let key: Vec<usize> = target.key.iter().map(|place| columns[*place]).collect();
    let mut findings = Vec::new();
    let mut find = |message: String, help: &str| {
        findings.push(Finding {
            severity: Severity::Error,
            message,
            help: help.to_owned(),
        });
    };
    let name = kind.name;
    if kind.table.create.is_none() && kind.table.update.is_none() {
        find(
            format!("`{name}` cannot be written"),
            "describe `create`, `update` and `delete` of the table",
        );
    }
    if !write::can_find(kind, &key) {
        find(
            format!(
                "records of `{name}` cannot be found by the contract's key, so a create could be done twice"
            ),
            "map the contract's key to a field that `look_up` finds, or to the table's own id with `get`",
        );
    }
    for column in columns {
        let name = &kind.columns.shape.columns[column].name;
        if !kind.columns.is_writable(column) && !key.contains(&column) {
            find(
                format!("field `{name}` of `{}` is read-only", kind.name),
                "leave it out of the mapping",
            );
        }
    }
    Ok(findings)
}
