//! One run of changes of one shape: what is there, what differs, and what Salesforce says to it.

use std::collections::{BTreeMap, HashMap};

use lockstep_core::connector::Outcome;
use lockstep_core::{Change, Op, Result, Value};
use lockstep_http_client::Json;

use crate::client::Api;
use crate::convert::{self, Form, is_same};
use crate::reader::found_by;
use crate::sink::Target;
use crate::table::{cell, id};
use crate::tables::Tables;

/// What is done with the records of one collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Make them, or change them, by the external id.
    Upsert,
    /// Change them by their ids.
    Update,
    /// Put them into the recycle bin.
    Delete,
}

/// A record that is to be written.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    /// Which change of the run it is.
    pub(crate) at: usize,
    /// The key that the record has then.
    pub(crate) key: Key,
    /// The key that it had, where that is another one.
    pub(crate) old: Option<Key>,
    /// Its id, where it is there.
    pub(crate) id: Option<String>,
    pub(crate) fields: Vec<(String, Json)>,
}

/// A key: as it is written, and as Salesforce tells it from others.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) value: Value,
    pub(crate) folded: String,
}

/// One run of changes of one shape.
pub(crate) struct Work<'a> {
    pub(crate) api: &'a Api,
    pub(crate) tables: &'a Tables,
    pub(crate) target: &'a Target,
    pub(crate) run: &'a [Change],
    /// The records that are there, by their folded keys; several where the key is not unique.
    pub(crate) held: HashMap<String, Vec<Json>>,
    pub(crate) act: Act,
    pub(crate) pending: Vec<Pending>,
    pub(crate) outcomes: BTreeMap<usize, Outcome>,
}

impl<'a> Work<'a> {
    pub(crate) fn new(
        api: &'a Api,
        tables: &'a Tables,
        target: &'a Target,
        run: &'a [Change],
    ) -> Work<'a> {
        Work {
            api,
            tables,
            target,
            run,
            held: HashMap::new(),
            act: Act::Upsert,
            pending: Vec::new(),
            outcomes: BTreeMap::new(),
        }
    }

    /// Does it all; what became of each change.
    pub(crate) async fn done(mut self) -> Result<Vec<Outcome>> {
        self.read().await?;
        for (at, change) in self.run.iter().enumerate() {
            if let Err(why) = self.take(at, change).await? {
                self.outcomes.insert(at, rejected(why));
            }
        }
        self.flush().await?;
        let told = |at| {
            let told = self.outcomes.remove(&at);
            told.unwrap_or_else(|| rejected("nothing was told of it"))
        };
        Ok((0..self.run.len()).map(told).collect())
    }

    /// Reads every record that these changes may concern.
    async fn read(&mut self) -> Result<()> {
        let target = self.target;
        let rows = self.run.iter();
        let rows = rows.flat_map(|change| [Some(&change.row), change.before.as_ref()]);
        let keys: BTreeMap<String, Value> = rows
            .flatten()
            .filter_map(|row| self.key(row.value(target.at)).ok())
            .map(|key| (key.folded, key.value))
            .collect();
        let columns: Vec<String> = target
            .fields
            .iter()
            .map(|field| field.name.clone())
            .collect();
        let records = if target.is_by_id() {
            let ids: Vec<String> = keys.into_keys().collect();
            let read = self.api.retrieve(&target.table, &ids, &columns).await?;
            read.map_err(|refusal| self.unfit(&refusal))?
        } else {
            let values: Vec<&Value> = keys.values().collect();
            let (tables, table) = (self.tables, &target.table);
            found_by(self.api, tables, table, &columns, &target.key, &values).await?
        };
        for record in records {
            if let Ok(key) = self.key(Some(&cell(&record, &target.key))) {
                self.held.entry(key.folded).or_default().push(record);
            }
        }
        Ok(())
    }

    /// A key as Salesforce keeps it.
    fn key(&self, value: Option<&Value>) -> Result<Key, String> {
        let field = &self.target.key;
        let written = convert::write(value.unwrap_or(&Value::Null), &field.name, field.form)?;
        let value = convert::read(&written, field.form);
        let text = match &value {
            Value::Null => return Err("the key is null".to_owned()),
            value => value.to_string(),
        };
        if field.form == Form::Text && text.trim() != text {
            return Err(format!(
                "`{}` keeps no blanks around a text, so that the key would be another one",
                field.name
            ));
        }
        let folded = match field.form == Form::Text && !field.is_case_sensitive {
            true => text.to_lowercase(),
            false => text,
        };
        Ok(Key { value, folded })
    }

    /// The one record that bears a key.
    fn there(&self, key: &Key) -> Result<Option<&Json>, String> {
        let name = &self.target.key.name;
        match self.held.get(&key.folded).map(Vec::as_slice) {
            None | Some([]) => Ok(None),
            Some([record]) if cell(record, &self.target.key) == key.value => Ok(Some(record)),
            Some([_]) => Err(format!(
                "another record bears this key in other letters, and `{name}` does not tell upper from lower case"
            )),
            Some(several) => Err(format!(
                "{} records bear this value of `{name}`: make its values unique",
                several.len()
            )),
        }
    }

    /// Takes a change; says why it cannot be applied, where that is known at once.
    async fn take(&mut self, at: usize, change: &Change) -> Result<Result<(), String>> {
        if change.op == Op::Truncated {
            let why = "objects of Salesforce are not emptied at once: delete their records";
            return Ok(Err(why.to_owned()));
        }
        let key = match self.key(change.row.value(self.target.at)) {
            Ok(key) => key,
            Err(why) => return Ok(Err(why)),
        };
        let old = change
            .before
            .as_ref()
            .and_then(|row| row.value(self.target.at));
        let old = old.and_then(|value| self.key(Some(value)).ok());
        let old = old.filter(|old| old.value != key.value);
        let is_busy = |key: &Key| {
            let same = |other: &Key| other.folded == key.folded;
            let mut pending = self.pending.iter();
            pending.any(|one| same(&one.key) || one.old.as_ref().is_some_and(same))
        };
        if is_busy(&key) || old.as_ref().is_some_and(is_busy) {
            self.flush().await?;
        }
        if !change.op.is_upsert() {
            return self.remove(at, key).await;
        }
        match old {
            Some(old) => self.rekey(at, change, key, old).await,
            None => self.put(at, change, key).await,
        }
    }

    /// Makes or changes a record.
    async fn put(&mut self, at: usize, change: &Change, key: Key) -> Result<Result<(), String>> {
        let target = self.target;
        let record = match self.there(&key) {
            Ok(record) => record,
            Err(why) => return Ok(Err(why)),
        };
        if record.is_none() && target.is_by_id() {
            let why = "there is no such record, and Salesforce gives ids itself";
            return Ok(Err(why.to_owned()));
        }
        if record.is_none() && !change.row.is_whole() {
            let why = "the record is not there, and only some of its columns were sent";
            return Ok(Err(why.to_owned()));
        }
        let fields = match self.differing(change, record) {
            Ok(fields) => fields,
            Err(why) => return Ok(Err(why)),
        };
        let own = record.and_then(id);
        if let (Some(own), true) = (&own, fields.is_empty()) {
            self.outcomes.insert(at, applied(own));
            return Ok(Ok(()));
        }
        let act = match target.is_by_id() {
            true => Act::Update,
            false => Act::Upsert,
        };
        let one = Pending {
            at,
            key,
            old: None,
            id: own,
            fields,
        };
        self.push(act, one).await.map(Ok)
    }

    /// Gives a record another key, with everything else that the change says.
    async fn rekey(
        &mut self,
        at: usize,
        change: &Change,
        key: Key,
        old: Key,
    ) -> Result<Result<(), String>> {
        if self.target.is_by_id() {
            return Ok(Err(
                "Salesforce gives ids itself, and never another one".to_owned()
            ));
        }
        let (record, there) = match (self.there(&old), self.there(&key)) {
            // A key that differs from the old one in case only is borne by the same record.
            (Ok(record), _) if old.folded == key.folded => (record, None),
            (Ok(record), Ok(there)) => (record, there),
            (Err(why), _) | (_, Err(why)) => return Ok(Err(why)),
        };
        let Some(record) = record else {
            return self.put(at, change, key).await;
        };
        let own = id(record);
        if there.is_some() {
            let one = Pending {
                at,
                key: old,
                old: None,
                id: own,
                fields: Vec::new(),
            };
            self.push(Act::Delete, one).await?;
            self.flush().await?;
            if matches!(self.outcomes.get(&at), Some(Outcome::Rejected { .. })) {
                return Ok(Ok(()));
            }
            return self.put(at, change, key).await;
        }
        let mut fields = match self.differing(change, Some(record)) {
            Ok(fields) => fields,
            Err(why) => return Ok(Err(why)),
        };
        let field = &self.target.key;
        match convert::write(&key.value, &field.name, field.form) {
            Ok(value) => fields.push((field.name.clone(), value)),
            Err(why) => return Ok(Err(why)),
        }
        let one = Pending {
            at,
            key,
            old: Some(old),
            id: own,
            fields,
        };
        self.push(Act::Update, one).await.map(Ok)
    }

    /// Removes a record; one that is gone already is.
    async fn remove(&mut self, at: usize, key: Key) -> Result<Result<(), String>> {
        let own = match self.there(&key) {
            Ok(record) => record.and_then(id),
            // The record in other letters is another one.
            Err(_)
                if self
                    .held
                    .get(&key.folded)
                    .is_some_and(|held| held.len() == 1) =>
            {
                None
            }
            Err(why) => return Ok(Err(why)),
        };
        if own.is_none() {
            self.outcomes.insert(at, Outcome::APPLIED);
            return Ok(Ok(()));
        }
        let one = Pending {
            at,
            key,
            old: None,
            id: own,
            fields: Vec::new(),
        };
        self.push(Act::Delete, one).await.map(Ok)
    }

    /// The fields that a record does not hold as a change says; all that are set, where there is none.
    fn differing(
        &self,
        change: &Change,
        record: Option<&Json>,
    ) -> Result<Vec<(String, Json)>, String> {
        let mut fields = Vec::new();
        for (at, field) in self.target.fields.iter().enumerate() {
            let Some(value) = change.row.value(at).filter(|_| at != self.target.at) else {
                continue;
            };
            let wanted = convert::write(value, &field.name, field.form)?;
            let is_there = match record {
                Some(record) => {
                    let held = record.get(&field.name).unwrap_or(&Json::Null);
                    is_same(held, &wanted, field.form)
                }
                // What nobody writes is null, unless Salesforce fills it.
                None => wanted.is_null() && !(field.is_defaulted && field.is_nillable),
            };
            if !is_there {
                fields.push((field.name.clone(), wanted));
            }
        }
        Ok(fields)
    }
}

pub(crate) fn applied(id: &str) -> Outcome {
    Outcome::Applied {
        target_id: Some(Value::text(id)),
    }
}

pub(crate) fn rejected(reason: impl Into<String>) -> Outcome {
    Outcome::Rejected {
        reason: reason.into(),
    }
}
