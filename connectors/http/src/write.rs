//! The calls that find and write one record.

use lockstep_core::connector::Outcome;
use lockstep_core::{Cell, Change, Error, Kind as ErrorKind, Result, Row, Value};
use lockstep_http_client::{Answer, HttpError, Json, Method, Request};
use sha2::{Digest as _, Sha256};

use crate::client::{Kind, part};
use crate::describe::Write;
use crate::reader::is_same;
use crate::template;

/// A record as it stands in the system.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) row: Row,
    record: Json,
}

/// Whether records can be found by the values of these columns without listing all of them.
pub(crate) fn can_find(kind: Kind<'_>, key: &[usize]) -> bool {
    let by_id = kind.table.get.is_some() && *key == *kind.columns.shape.key;
    by_id || looks_up(kind, key)
}

fn looks_up(kind: Kind<'_>, key: &[usize]) -> bool {
    let by = kind
        .table
        .look_up
        .as_ref()
        .and_then(|look_up| kind.columns.shape.position(&look_up.by));
    by.is_some_and(|by| *key == [by])
}

/// The records whose columns have these values; none where they are gone.
pub(crate) async fn find(kind: Kind<'_>, key: &[usize], values: &[Value]) -> Result<Vec<Found>> {
    let client = &kind.api.client;
    let what = format!("one of `{}`", kind.name);
    let (answer, path) = match (&kind.table.look_up, &kind.table.get) {
        (Some(look_up), _) if looks_up(kind, key) => {
            let value = values.first().map(ToString::to_string).unwrap_or_default();
            let named = |name: &str| (name == "value").then(|| value.clone());
            let query: Vec<(&str, String)> = look_up
                .query
                .iter()
                .map(|(name, text)| (name.as_str(), template::fill(text, named)))
                .collect();
            let request = client
                .get(template::path(&look_up.path, named))
                .query(&query);
            (
                request.accept_status(&[404, 410]).send().await?,
                &look_up.records,
            )
        }
        (_, Some(get)) if *key == *kind.columns.shape.key => {
            let query: Vec<(&String, &String)> = get.query.iter().collect();
            let named = |name: &str| id_part(kind, key, values, name);
            let request = client.get(template::path(&get.path, named)).query(&query);
            (
                request.accept_status(&[404, 410]).send().await?,
                &get.record,
            )
        }
        _ => {
            return Err(Error::unsupported(format!(
                "records of `{}` cannot be found by these fields",
                kind.name
            ))
            .help("describe `get` or `look_up` of the table"));
        }
    };
    if matches!(answer.status, 404 | 410) {
        return Ok(Vec::new());
    }
    let records = match part(&answer, path, &what)? {
        Json::List(records) => records,
        Json::Null => Vec::new(),
        one => vec![one],
    };
    let mut found = Vec::new();
    for record in records {
        let row = kind.columns.read(&record)?;
        // A search may find what is only like the value.
        let is_it = key.iter().zip(values).all(|(column, value)| {
            row.value(*column)
                .is_some_and(|found| is_same(found, value))
        });
        if is_it {
            found.push(Found { row, record });
        }
    }
    Ok(found)
}

/// The value of a field of the key, by its name.
fn id_part(kind: Kind<'_>, key: &[usize], values: &[Value], name: &str) -> Option<String> {
    let position = kind.columns.shape.position(name)?;
    let place = key.iter().position(|column| *column == position)?;
    values.get(place).map(ToString::to_string)
}

/// What a call needs beside its description.
struct Call<'a> {
    kind: Kind<'a>,
    write: &'a Write,
    method: Method,
    /// The record that is written, where there is one.
    found: Option<&'a Found>,
    safe: bool,
}

impl Call<'_> {
    async fn send(self, body: Option<Json>, idempotency: Option<String>) -> Result<Answer> {
        let key = &self.kind.columns.shape.key;
        let id = self
            .found
            .and_then(|found| self.kind.columns.key(&found.row, key));
        let path = template::path(&self.write.path, |name| {
            id_part(self.kind, key, id.as_deref()?, name)
        });
        let method = match &self.write.method {
            Some(method) => Method::from_bytes(method.as_bytes())
                .map_err(|_| Error::config(format!("`{method}` is no method")))?,
            None => self.method,
        };
        let mut request: Request = self.kind.api.client.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let header = self.write.idempotency.as_ref().zip(idempotency);
        let is_safe = self.safe || header.is_some();
        if let Some((name, key)) = header {
            request = request.header(name, key);
        }
        let tag = self.write.if_match.as_ref().zip(self.found);
        if let Some((path, found)) = tag {
            let tag = found.record.at(path).and_then(Json::plain);
            if let Some(tag) = tag {
                // Sent twice, the second would meet what the first did and look like a conflict.
                return request
                    .header("if-match", tag)
                    .safe_to_repeat(false)
                    .send()
                    .await;
            }
        }
        request.safe_to_repeat(is_safe).send().await
    }
}

/// Makes a record; gives the outcome, or none where the system says that there is one already.
pub(crate) async fn create(
    kind: Kind<'_>,
    change: &Change,
    columns: &[usize],
    key: &[usize],
) -> Result<Option<Outcome>> {
    let own = &kind.columns.shape.key;
    let Some(write) = &kind.table.create else {
        return Ok(Some(rejected("the description has no `create`")));
    };
    if *key == **own && !write.takes_key {
        return Ok(Some(rejected(
            "no record has this id, and the system gives ids itself",
        )));
    }
    if !change.row.is_whole() {
        return Ok(Some(rejected(
            "the record is not there, and only a part of it was sent",
        )));
    }
    let values: Vec<(usize, &Value)> = written(kind, change, columns)
        .filter(|(column, value)| !value.is_null() && (write.takes_key || !own.contains(column)))
        .collect();
    let body = kind.columns.body(&values, &write.envelope, &write.body)?;
    let call = Call {
        kind,
        write,
        method: Method::POST,
        found: None,
        safe: false,
    };
    match call.send(Some(body), Some(idempotency(kind, change))).await {
        Ok(answer) => Ok(Some(Outcome::Applied {
            target_id: answered_id(kind, &answer, &write.record),
        })),
        Err(error) if status(&error) == Some(409) => Ok(None),
        Err(error) => refused(kind, error).map(Some),
    }
}

/// Changes what differs of a record; none where it is gone by now.
pub(crate) async fn update(
    kind: Kind<'_>,
    change: &Change,
    columns: &[usize],
    found: &Found,
) -> Result<Option<Outcome>> {
    let own = &kind.columns.shape.key;
    let applied = Outcome::Applied {
        target_id: own_id(kind, &found.row),
    };
    let mut values: Vec<(usize, &Value)> = written(kind, change, columns)
        .filter(|(column, value)| {
            let held = found.row.value(*column).unwrap_or(&Value::Null);
            !own.contains(column) && !is_same(held, value)
        })
        .collect();
    if values.is_empty() {
        return Ok(Some(applied));
    }
    let Some(write) = &kind.table.update else {
        return Ok(Some(rejected("the description has no `update`")));
    };
    if write.method.as_deref() == Some("PUT") {
        // A PUT replaces the record: what is not sent would be lost.
        let kept = (0..kind.columns.shape.columns.len()).filter(|column| {
            kind.columns.is_writable(*column) && values.iter().all(|(other, _)| other != column)
        });
        let kept: Vec<(usize, &Value)> = kept
            .filter_map(|column| Some((column, found.row.value(column)?)))
            .collect();
        values.extend(kept);
    }
    let body = kind.columns.body(&values, &write.envelope, &write.body)?;
    let call = Call {
        kind,
        write,
        method: Method::PATCH,
        found: Some(found),
        safe: true,
    };
    match call.send(Some(body), None).await {
        Ok(_) => Ok(Some(applied)),
        Err(error) if matches!(status(&error), Some(404 | 410)) => Ok(None),
        Err(error) => refused(kind, error).map(Some),
    }
}

/// Deletes a record; one that is gone by now is fine.
pub(crate) async fn delete(kind: Kind<'_>, found: &Found) -> Result<Outcome> {
    let Some(write) = &kind.table.delete else {
        return Ok(rejected("the description has no `delete`"));
    };
    let body = if write.body.is_empty() {
        None
    } else {
        Some(kind.columns.body(&[], &write.envelope, &write.body)?)
    };
    let call = Call {
        kind,
        write,
        method: Method::DELETE,
        found: Some(found),
        safe: true,
    };
    match call.send(body, None).await {
        Ok(_) => Ok(Outcome::Applied {
            target_id: own_id(kind, &found.row),
        }),
        Err(error) if matches!(status(&error), Some(404 | 410)) => Ok(Outcome::APPLIED),
        Err(error) => refused(kind, error),
    }
}

/// The columns of a change that are set and may be written, by their places in the table.
fn written<'a>(
    kind: Kind<'a>,
    change: &'a Change,
    columns: &'a [usize],
) -> impl Iterator<Item = (usize, &'a Value)> {
    columns
        .iter()
        .enumerate()
        .filter_map(move |(place, column)| match change.row.cell(place) {
            Cell::Set(value) if kind.columns.is_writable(*column) => Some((*column, value)),
            _ => None,
        })
}

/// The key under which the system remembers a create: a pure function of the change.
fn idempotency(kind: Kind<'_>, change: &Change) -> String {
    let key = change
        .shape
        .key
        .iter()
        .map(|column| change.row.value(*column));
    let key = lockstep_core::Key::encode(key).map(|key| key.to_string());
    let mut hash = Sha256::new();
    for part in [
        kind.api.system.as_str(),
        kind.name,
        &key.unwrap_or_default(),
        &change.mark.to_text(),
    ] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    lockstep_http_client::sign::hex(&hash.finalize()[..16])
}

/// The system's own id of a row, where it is one value.
pub(crate) fn own_id(kind: Kind<'_>, row: &Row) -> Option<Value> {
    match kind.columns.shape.key.as_slice() {
        [column] => row.value(*column).filter(|id| !id.is_null()).cloned(),
        _ => None,
    }
}

fn answered_id(kind: Kind<'_>, answer: &Answer, path: &str) -> Option<Value> {
    let tree = answer.tree().ok()?;
    own_id(kind, &kind.columns.read(tree.at(path)?).ok()?)
}

fn status(error: &Error) -> Option<u16> {
    HttpError::of(error).map(|http| http.status)
}

/// What a refused call says of its record; an error where it stands in the way of all.
fn refused(kind: Kind<'_>, error: Error) -> Result<Outcome> {
    match (error.kind(), status(&error)) {
        (ErrorKind::Invalid, Some(412)) => Ok(Outcome::Conflict {
            reason: "the record was changed by somebody else in between".to_owned(),
        }),
        (ErrorKind::Invalid, Some(_)) => Ok(Outcome::Rejected {
            reason: kind.api.words(&error),
        }),
        _ => Err(error),
    }
}

pub(crate) fn rejected(reason: &str) -> Outcome {
    Outcome::Rejected {
        reason: reason.to_owned(),
    }
}
