//! Sending what is to be done as collections of records, and what Salesforce says of each of them.

use std::collections::BTreeSet;
use std::time::Duration;

use lockstep_core::connector::Outcome;
use lockstep_core::{Error, Result};
use lockstep_http_client::Json;

use crate::client::{BATCH_MAX, Saved, Written};
use crate::convert;
use crate::refusal::Refusal;
use crate::table::ID;
use crate::work::{Act, Pending, Work, applied, rejected};

/// How often a record is sent that somebody else holds, and how long it is waited first.
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(200);

impl Work<'_> {
    /// Takes note of a record that is to be written, with others of its kind.
    pub(crate) async fn push(&mut self, act: Act, one: Pending) -> Result<()> {
        if self.act != act || self.pending.len() == BATCH_MAX {
            self.flush().await?;
        }
        self.act = act;
        self.pending.push(one);
        Ok(())
    }

    /// Sends what is waiting as one collection; what somebody else holds, again.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        let mut pending = std::mem::take(&mut self.pending);
        let mut tries = 1;
        while !pending.is_empty() {
            let results = self.send(&pending).await?;
            let mut held: Vec<(Pending, Refusal)> = Vec::new();
            for (one, result) in pending.into_iter().zip(results) {
                match result {
                    Ok(saved) => self.saved(&one, saved),
                    Err(refusal) if self.is_passing(&refusal, tries) => held.push((one, refusal)),
                    Err(refusal) => self.refused(&one, &refusal)?,
                }
            }
            if let (Some((_, refusal)), true) = (held.first(), tries == TRIES) {
                return Err(Error::transient(format!(
                    "a record of `{}` cannot be written now: {}",
                    self.target.table.name, refusal.code
                ))
                .help("somebody else holds it, or the record above it; it is tried again"));
            }
            pending = held.into_iter().map(|(one, _)| one).collect();
            if !pending.is_empty() {
                tokio::time::sleep(FIRST_WAIT * 2u32.pow(tries - 1)).await;
            }
            tries += 1;
        }
        Ok(())
    }

    /// Whether the same may be done in a moment.
    fn is_passing(&self, refusal: &Refusal, tries: u32) -> bool {
        // While a lost call is still at work, its records are not found yet, but their keys are taken.
        let key = &self.target.key.name;
        let is_own = refusal.fields.contains(key) || refusal.message.contains(key.as_str());
        let is_taken = refusal.code == "DUPLICATE_VALUE" && self.act == Act::Upsert && is_own;
        refusal.is_passing() || (is_taken && tries < 3)
    }

    /// Sends records as a collection; one by one where that is refused as a whole.
    async fn send(&self, pending: &[Pending]) -> Result<Vec<Result<Saved, Refusal>>> {
        match self.collection(pending).await? {
            Ok(results) => Ok(results),
            Err(refusal) if refusal.is_of_shape() => Err(self.unfit(&refusal)),
            Err(refusal) if pending.len() == 1 => Ok(vec![Err(refusal)]),
            Err(_) => {
                let mut results = Vec::with_capacity(pending.len());
                for one in pending {
                    match self.collection(std::slice::from_ref(one)).await? {
                        Ok(one) => results.extend(one),
                        Err(refusal) => results.push(Err(refusal)),
                    }
                }
                Ok(results)
            }
        }
    }

    async fn collection(&self, pending: &[Pending]) -> Result<Written> {
        let table = &self.target.table.name;
        match self.act {
            Act::Delete => {
                let ids: Vec<String> = pending.iter().filter_map(|one| one.id.clone()).collect();
                self.api.delete(&ids).await
            }
            Act::Update => self.api.update(self.records(pending)).await,
            Act::Upsert => {
                let by = &self.target.key.name;
                self.api.upsert(table, by, self.records(pending)).await
            }
        }
    }

    fn records(&self, pending: &[Pending]) -> Vec<Json> {
        let table = Json::Text(self.target.table.name.clone());
        let attributes = Json::Object(vec![("type".to_owned(), table)]);
        let key = &self.target.key;
        let record = |one: &Pending| {
            let mut members = vec![("attributes".to_owned(), attributes.clone())];
            match (self.act, &one.id) {
                (Act::Update, Some(id)) => members.push(("id".to_owned(), Json::Text(id.clone()))),
                _ => {
                    let value = convert::write(&one.key.value, &key.name, key.form);
                    members.push((key.name.clone(), value.unwrap_or(Json::Null)));
                }
            }
            members.extend(one.fields.iter().cloned());
            Json::Object(members)
        };
        pending.iter().map(record).collect()
    }

    /// Takes note of a record that was written.
    fn saved(&mut self, one: &Pending, saved: Saved) {
        let outcome = match self.act {
            Act::Delete => Outcome::APPLIED,
            _ => applied(&saved.id),
        };
        self.outcomes.insert(one.at, outcome);
        let before = one.old.as_ref().unwrap_or(&one.key);
        let held = self
            .held
            .remove(&before.folded)
            .and_then(|mut held| held.pop());
        if self.act == Act::Delete {
            return;
        }
        let mut members = match held {
            Some(Json::Object(members)) => members,
            _ => Vec::new(),
        };
        members.push((ID.to_owned(), Json::Text(saved.id)));
        let key = &self.target.key;
        if let Ok(value) = convert::write(&one.key.value, &key.name, key.form) {
            members.push((key.name.clone(), value));
        }
        members.extend(one.fields.iter().cloned());
        let record = Json::Object(members);
        self.held.insert(one.key.folded.clone(), vec![record]);
    }

    /// What a refused record means.
    fn refused(&mut self, one: &Pending, refusal: &Refusal) -> Result<()> {
        if refusal.code == "STORAGE_LIMIT_EXCEEDED" {
            return Err(Error::transient("the account's storage is full").help(
                "delete records that nobody needs, or buy storage; the rest is tried again",
            ));
        }
        let outcome = match self.act {
            Act::Delete if refusal.is_gone() => {
                self.held.remove(&one.key.folded);
                Outcome::APPLIED
            }
            _ if refusal.is_gone() && self.references(one).is_empty() => {
                // It was deleted since it was looked up: the next look-up knows that.
                return Err(Error::transient(format!(
                    "a record of `{}` was deleted while it was written",
                    self.target.table.name
                )));
            }
            _ if refusal.is_gone() => {
                let named: BTreeSet<String> = refusal.fields.iter().cloned().collect();
                let mut on = self.references(one);
                if on.iter().any(|field| named.contains(field)) {
                    on.retain(|field| named.contains(field));
                }
                Outcome::Waiting {
                    on: format!("the record that `{}` leads to", on.join("` or `")),
                }
            }
            _ => rejected(self.reason(one, refusal)),
        };
        self.outcomes.insert(one.at, outcome);
        Ok(())
    }

    /// The references that a record is to have.
    fn references(&self, one: &Pending) -> Vec<String> {
        let fields = self.target.fields.iter().filter(|field| field.is_reference);
        let is_set = |name: &String| {
            let mut fields = one.fields.iter();
            fields.any(|(field, value)| field == name && !value.is_null())
        };
        fields
            .map(|field| field.name.clone())
            .filter(is_set)
            .collect()
    }

    fn reason(&self, one: &Pending, refusal: &Refusal) -> String {
        let mut values: Vec<String> = one
            .fields
            .iter()
            .filter_map(|(_, value)| value.plain())
            .collect();
        values.push(one.key.value.to_string());
        let words = refusal.words(values.iter().map(String::as_str));
        match refusal.code.as_str() {
            "DUPLICATES_DETECTED" => format!(
                "{words} (a duplicate rule of Salesforce; `allow_duplicates` saves what it only warns of)"
            ),
            "DUPLICATE_EXTERNAL_ID" => format!(
                "several records bear this value of `{}`: make its values unique ({})",
                self.target.key.name, refusal.code
            ),
            _ => words,
        }
    }

    /// The object is not what it was described as.
    pub(crate) fn unfit(&self, refusal: &Refusal) -> Error {
        let name = &self.target.table.name;
        self.tables.forget(name);
        Error::config(format!(
            "`{name}` does not take what is written: {}",
            refusal.words_of_query()
        ))
        .help("a field was removed, or hidden from the integration's user: see its field-level security and `lockstep check`")
    }
}
