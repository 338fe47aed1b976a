//! The sink: a record is looked up by its key, and what differs is written.
//!
//! The system has no transactions, so nothing can be rolled back and no progress be kept in it.
//! Twice is once all the same: whoever comes again looks first, and finds what is there already.

use std::sync::Arc;
use std::time::Duration;

use lockstep_core::connector::{Batch, Finding, Limits, OpenContext, Outcome, Receipt, Sink};
use lockstep_core::{Change, Error, Op, Result, Row, Shape, Value};
use lockstep_http_client::Json;

use crate::check;
use crate::client::{Api, Written};
use crate::config::Config;
use crate::convert;
use crate::table::{self, FILLED, ID, Table, table};

/// Most changes of one batch; each is one or two calls.
const BATCH_MAX: usize = 50;
/// How long a batch may take.
const DEADLINE: Duration = Duration::from_secs(300);
/// How often a record is looked at that others change meanwhile.
const LOOKS_MAX: usize = 3;

/// Applies changes to an Acme system.
#[derive(Debug)]
pub struct AcmeSink {
    api: Api,
    names: Vec<String>,
}

impl Sink for AcmeSink {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        Ok(AcmeSink {
            api: Api::open(&config, &cx)?,
            names: cx.tables,
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        table::shapes(&self.names)
    }

    async fn check(&self, targets: &[Arc<Shape>]) -> Result<Vec<Finding>> {
        check::writes(&self.api, targets).await
    }

    async fn prepare(&self, targets: &[Arc<Shape>]) -> Result<()> {
        targets.iter().try_for_each(|shape| key(shape).map(|_| ()))
    }

    async fn apply(&self, batch: &Batch) -> Result<Receipt> {
        let mut outcomes = Vec::with_capacity(batch.changes.len());
        for change in &batch.changes {
            outcomes.push(self.take(change).await?);
        }
        Ok(Receipt::Committed(outcomes))
    }

    fn limits(&self) -> Limits {
        Limits {
            batch_max: BATCH_MAX,
            progress: false,
            // Two that look up before they create would create twice.
            writers: 1,
            deadline: DEADLINE,
        }
    }
}

impl AcmeSink {
    async fn take(&self, change: &Change) -> Result<Outcome> {
        let (table, by) = (table(&change.shape.name)?, key(&change.shape)?);
        if change.op == Op::Truncated {
            return rejected("tables of the system are not emptied at once: delete their records");
        }
        let Some(key) = key_of(change, &change.row) else {
            return rejected("the key is null");
        };
        // Somebody else may make or delete the record between the look and the write.
        for _ in 0..LOOKS_MAX {
            let held = self.api.find(table.name, by, &key).await?;
            if !change.op.is_upsert() {
                return self.delete(table, held).await;
            }
            let held = self.moved(change, table, by, &key, held).await?;
            if let Some(outcome) = self.upsert(change, table, by, held).await? {
                return Ok(outcome);
            }
        }
        Err(Error::transient(format!(
            "a record of `{}` changes while it is looked at",
            table.name
        )))
    }

    /// The record that is to become what the change says: of a key change the one with the old key, unless the new key has one, too.
    async fn moved(
        &self,
        change: &Change,
        table: &Table,
        by: &str,
        key: &str,
        held: Option<Json>,
    ) -> Result<Option<Json>> {
        let old = change.before.as_ref().and_then(|row| key_of(change, row));
        let Some(old) = old.filter(|old| old != key) else {
            return Ok(held);
        };
        let old = self.api.find(table.name, by, &old).await?;
        if held.is_some() {
            self.delete(table, old).await?;
            return Ok(held);
        }
        Ok(old)
    }

    /// Makes a record what a change says; none where it has to be looked at again.
    async fn upsert(
        &self,
        change: &Change,
        table: &Table,
        by: &str,
        held: Option<Json>,
    ) -> Result<Option<Outcome>> {
        let Some(record) = held else {
            if by == ID {
                return rejected("there is no such record, and the system gives ids itself")
                    .map(Some);
            }
            if !change.row.is_whole() {
                return rejected("the record is not there, and only some of its columns were sent")
                    .map(Some);
            }
            return match differing(change, table, None)? {
                Ok(members) => outcome(self.api.create(table.name, &members).await?),
                Err(reason) => rejected(reason).map(Some),
            };
        };
        match differing(change, table, Some(&record))? {
            Ok(Json::Object(members)) if members.is_empty() => applied(&record).map(Some),
            Ok(members) => {
                let id = table::id(&record)?;
                outcome(self.api.change(table.name, &id, &members).await?)
            }
            Err(reason) => rejected(reason).map(Some),
        }
    }

    async fn delete(&self, table: &Table, held: Option<Json>) -> Result<Outcome> {
        let Some(record) = held else {
            return Ok(Outcome::APPLIED);
        };
        match self.api.delete(table.name, &table::id(&record)?).await? {
            Written::Refused(reason) => rejected(reason),
            Written::Taken => rejected("other records refer to it"),
            Written::Done(_) | Written::Gone => Ok(Outcome::APPLIED),
        }
    }
}

/// The members that a record does not hold as a change says, those of a new record where there is none; or why the system cannot take one of them.
fn differing(
    change: &Change,
    table: &Table,
    record: Option<&Json>,
) -> Result<Result<Json, String>> {
    let mut members = Vec::new();
    for (at, column) in change.shape.names().enumerate() {
        let Some(value) = change.row.value(at) else {
            continue; // It was not sent, so it stays as it is.
        };
        let kind = table.kind(column)?;
        let is_there = record.is_some_and(|record| convert::is_held(record, column, value, kind));
        if is_there || FILLED.contains(&column) {
            continue;
        }
        match convert::write(value, kind) {
            Ok(member) => members.push((column.to_owned(), member)),
            Err(reason) => return Ok(Err(format!("`{column}`: {reason}"))),
        }
    }
    Ok(Ok(Json::Object(members)))
}

/// What a write came to; none where the record is not as it was looked at.
fn outcome(written: Written) -> Result<Option<Outcome>> {
    match written {
        Written::Done(record) => applied(&record).map(Some),
        Written::Refused(reason) => rejected(reason).map(Some),
        Written::Gone | Written::Taken => Ok(None),
    }
}

fn applied(record: &Json) -> Result<Outcome> {
    Ok(Outcome::Applied {
        target_id: Some(Value::text(table::id(record)?)),
    })
}

fn rejected(reason: impl Into<String>) -> Result<Outcome> {
    Ok(Outcome::Rejected {
        reason: reason.into(),
    })
}

/// The column by which records of a target are told apart.
fn key(shape: &Shape) -> Result<&str> {
    check::key(shape).ok_or_else(|| {
        Error::config(format!(
            "records of `{}` cannot be found by their key",
            shape.name
        ))
        .help(format!("map the contract's key to `{}`", table::CODE))
    })
}

fn key_of(change: &Change, row: &Row) -> Option<String> {
    let at = change.shape.key.first()?;
    let value = row.value(*at).filter(|value| !value.is_null())?;
    Some(value.to_string()).filter(|key| !key.is_empty())
}
