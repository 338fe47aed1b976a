//! Reading rows in an order that queries know, as many as are asked for, whatever becomes of single pages.
//!
//! Where the columns are too many for an address, ids are asked for first, and then the records by their ids.

use lockstep_core::{Error, Result, Value};
use lockstep_http_client::Json;

use crate::client::{Api, QUERY_MAX};
use crate::refusal::Refusal;
use crate::soql::{Order, Query};
use crate::table::{Table, cell, id};
use crate::tables::{Tables, gone};

/// What is read of a table, and in which order.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    pub(crate) api: &'a Api,
    pub(crate) tables: &'a Tables,
    pub(crate) table: &'a Table,
    /// The columns that are wanted.
    pub(crate) fields: Vec<String>,
    /// What rows have to fulfil.
    pub(crate) conditions: Vec<String>,
    pub(crate) order: Order,
    pub(crate) backwards: bool,
    /// Whether records of the recycle bin are read too.
    pub(crate) all: bool,
}

/// Some of the rows, in their order.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) records: Vec<Json>,
    /// The key of the last one that was seen, be it there still or not.
    pub(crate) last: Option<Vec<Value>>,
    /// Whether there are no more.
    pub(crate) is_end: bool,
}

impl Reading<'_> {
    /// The next rows behind a key.
    pub(crate) async fn step(&self, after: Option<&[Value]>, want: usize) -> Result<Step> {
        let mut conditions = self.conditions.clone();
        if let Some(after) = after {
            conditions.push(self.order.beside(after, !self.backwards, false)?);
        }
        let keys: Vec<String> = self
            .order
            .columns()
            .into_iter()
            .map(str::to_owned)
            .collect();
        let mut fields = self.fields.clone();
        fields.extend(keys.iter().cloned());
        fields.sort();
        fields.dedup();
        let query = |fields: &[String]| {
            let query = Query {
                table: &self.table.name,
                fields,
                conditions: &conditions,
                order: &self.order,
                backwards: self.backwards,
                limit: want,
            };
            query.text()
        };
        let mut text = query(&fields);
        let is_wide = encoded_len(&text) > QUERY_MAX;
        if is_wide {
            text = query(&keys);
        }
        let found = match self.api.query(&text, self.all).await? {
            Ok(found) => found,
            Err(refusal) => return Err(self.unread(&refusal)),
        };
        let last = match found.records.last() {
            Some(record) => Some(self.key_of(record)?),
            None => None,
        };
        let is_end = !found.is_cut && found.records.len() < want;
        let records = match is_wide {
            true => self.widened(found.records, &keys, &fields).await?,
            false => found.records,
        };
        Ok(Step {
            records,
            last,
            is_end,
        })
    }

    /// Every row behind a key, up to a limit.
    pub(crate) async fn rows(
        &self,
        after: Option<&[Value]>,
        limit: usize,
        page: usize,
    ) -> Result<Vec<Json>> {
        let mut rows = Vec::new();
        let mut after = after.map(<[Value]>::to_vec);
        while rows.len() < limit {
            let want = (limit - rows.len()).min(page);
            let step = self.step(after.as_deref(), want).await?;
            rows.extend(step.records);
            if step.is_end || step.last.is_none() {
                break;
            }
            after = step.last;
        }
        Ok(rows)
    }

    fn key_of(&self, record: &Json) -> Result<Vec<Value>> {
        let columns = self.order.columns();
        let value = |column: &&str| Ok(cell(record, self.table.field(column)?));
        columns.iter().map(value).collect()
    }

    /// The records of some keys with all their columns; those that are gone meanwhile are left out.
    ///
    /// They keep the keys by which they were found: a later time would lead past rows that were not read yet.
    async fn widened(
        &self,
        narrow: Vec<Json>,
        keys: &[String],
        fields: &[String],
    ) -> Result<Vec<Json>> {
        let ids: Vec<String> = narrow.iter().filter_map(id).collect();
        let wide = match self.api.retrieve(self.table, &ids, fields).await? {
            Ok(wide) => wide,
            Err(refusal) => return Err(self.unread(&refusal)),
        };
        let mut by_id: std::collections::HashMap<String, Json> = wide
            .into_iter()
            .filter_map(|record| Some((id(&record)?, record)))
            .collect();
        let mut records = Vec::with_capacity(narrow.len());
        for found in &narrow {
            let record = id(found).and_then(|id| by_id.remove(&id));
            let Some(Json::Object(mut members)) = record else {
                continue;
            };
            for key in keys {
                let value = found.get(key).cloned().unwrap_or(Json::Null);
                members.push((key.clone(), value));
            }
            records.push(Json::Object(members));
        }
        Ok(records)
    }

    /// A query that was refused: what it asks for is not there any more, or it is not understood.
    pub(crate) fn unread(&self, refusal: &Refusal) -> Error {
        unread(self.tables, self.table, refusal)
    }
}

/// What a refused reading of a table means.
pub(crate) fn unread(tables: &Tables, table: &Table, refusal: &Refusal) -> Error {
    let name = &table.name;
    if refusal.code == "INVALID_TYPE" {
        tables.forget(name);
        return gone(name, refusal);
    }
    let words = refusal.words_of_query();
    if refusal.is_of_shape() {
        // It is described anew, and whoever needs the field is told that it is not there.
        tables.forget(name);
        return Error::unexpected(format!("`{name}` is not as it was described: {words}"))
            .help("a field was removed or hidden from the integration's user: see its field-level security");
    }
    if refusal.is_passing() || refusal.code == "OPERATION_TOO_LARGE" {
        return Error::transient(format!("`{name}` cannot be read now: {words}"));
    }
    Error::unsupported(format!("`{name}` cannot be read: {words}"))
        .help("see whether the columns that are read or filtered by may be queried")
}

/// How long a query is in an address.
fn encoded_len(text: &str) -> usize {
    let len = |byte: u8| if byte.is_ascii_alphanumeric() { 1 } else { 3 };
    text.bytes().map(len).sum()
}
