//! Saving records: what the vendor refuses, and what it keeps otherwise than it was written.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::answer::{Told, refuse};
use super::store::{Field, Store, full};

/// Most records of a collection.
pub(super) const BATCH_MAX: usize = 200;

/// Why a record is not saved: a code, words, and the fields.
type Refused = (&'static str, String, Vec<String>);

/// How a collection is saved.
pub(super) struct Saving<'a> {
    /// The object and the field that records are written by; none where they are by their ids.
    pub(super) by: Option<(&'a str, &'a str)>,
    pub(super) allows_duplicates: bool,
    pub(super) is_locked: bool,
}

impl Saving<'_> {
    pub(super) fn save(&self, store: &mut Store, body: &Json) -> Result<Told, Told> {
        let records = body["records"]
            .as_array()
            .ok_or_else(|| refuse(400, "JSON_PARSER_ERROR", "records is required"))?;
        if records.len() > BATCH_MAX {
            return Err(refuse(
                400,
                "LIMIT_EXCEEDED",
                "Number of records exceeds 200",
            ));
        }
        for record in records {
            self.understood(store, record)?;
        }
        let mut seen = BTreeSet::new();
        let mut results = Vec::new();
        for (at, record) in records.iter().enumerate() {
            let key = self.by.map(|(_, by)| record[by].to_string());
            let saved = if self.is_locked && at == 0 {
                Err((
                    "UNABLE_TO_LOCK_ROW",
                    "unable to obtain exclusive access to this record".to_owned(),
                    Vec::new(),
                ))
            } else if key.is_some_and(|key| !seen.insert(key)) {
                Err((
                    "DUPLICATE_VALUE",
                    "Duplicate external id specified".to_owned(),
                    Vec::new(),
                ))
            } else {
                self.one(store, record)
            };
            results.push(result(saved));
        }
        Ok(Told::json(200, &Json::Array(results)))
    }

    /// Whether a record can be read at all; the whole call is refused where one cannot.
    fn understood(&self, store: &Store, record: &Json) -> Result<(), Told> {
        let object = record["attributes"]["type"].as_str().unwrap_or_default();
        let Some(known) = store.objects.get(object) else {
            return Err(refuse(
                400,
                "INVALID_TYPE",
                format!("sObject type '{object}' is not supported."),
            ));
        };
        let is_id = |name: &str| name == "attributes" || (self.by.is_none() && name == "id");
        for (name, value) in record.as_object().into_iter().flatten() {
            let Some(field) = known.field(name).filter(|_| !is_id(name)) else {
                if is_id(name) {
                    continue;
                }
                return Err(refuse(
                    400,
                    "INVALID_FIELD",
                    format!("No such column '{name}' on sobject of type {object}"),
                ));
            };
            let is_fine = match field.kind.as_str() {
                _ if value.is_null() => field.kind != "boolean",
                "boolean" => value.is_boolean(),
                "int" => value.is_i64(),
                _ if field.is_number() => value.is_number(),
                _ => value.is_string(),
            };
            if !is_fine {
                return Err(refuse(
                    400,
                    "JSON_PARSER_ERROR",
                    format!(
                        "Cannot deserialize instance of {} from value {value}",
                        field.kind
                    ),
                ));
            }
        }
        Ok(())
    }

    fn one(&self, store: &mut Store, record: &Json) -> Result<(String, bool), Refused> {
        let object = record["attributes"]["type"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let id = match self.by {
            Some((expected, _)) if expected != object => {
                return Err((
                    "INVALID_TYPE",
                    "records are of another type".to_owned(),
                    Vec::new(),
                ));
            }
            Some((_, by)) => self.by_key(store, &object, by, &record[by])?,
            None => Some(there(store, record["id"].as_str().unwrap_or_default())?),
        };
        let mut values = BTreeMap::new();
        for (name, value) in record.as_object().into_iter().flatten() {
            let known = store
                .objects
                .get(&object)
                .and_then(|object| object.field(name));
            if let Some(field) = known.filter(|field| field.name != "Id").cloned() {
                values.insert(
                    field.name.clone(),
                    kept(store, &object, &field, value, id.as_deref())?,
                );
            }
        }
        self.required(store, &object, id.as_deref(), &values)?;
        self.ruled(store, &object, id.as_deref(), &values)?;
        let is_new = id.is_none();
        Ok((store.put(&object, id.as_deref(), values), is_new))
    }

    fn by_key(
        &self,
        store: &Store,
        object: &str,
        by: &str,
        key: &Json,
    ) -> Result<Option<String>, Refused> {
        let known = store.objects.get(object);
        let field = known
            .and_then(|known| known.field(by))
            .filter(|field| field.external);
        let (Some(known), Some(field)) = (known, field) else {
            return Err((
                "INVALID_FIELD",
                format!(
                    "Field name provided, {by} does not match an External ID, Salesforce Id, or indexed field for {object}"
                ),
                Vec::new(),
            ));
        };
        if key.as_str().is_some_and(str::is_empty) || key.is_null() {
            return Err((
                "MISSING_ARGUMENT",
                format!("{by} not specified"),
                Vec::new(),
            ));
        }
        let found = known.by(field, key);
        match &found[..] {
            [] => Ok(None),
            [one] => Ok(Some(one.clone())),
            several => Err((
                "DUPLICATE_EXTERNAL_ID",
                format!(
                    "{by}: more than one record found for external id field: [{}]",
                    several.join(", ")
                ),
                vec![by.to_owned()],
            )),
        }
    }

    fn required(
        &self,
        store: &Store,
        object: &str,
        id: Option<&str>,
        values: &BTreeMap<String, Json>,
    ) -> Result<(), Refused> {
        let Some(known) = store.objects.get(object) else {
            return Ok(());
        };
        let is_missing = |field: &&Field| {
            let is_null = values.get(&field.name).is_none_or(Json::is_null);
            let is_touched = id.is_none() || values.contains_key(&field.name);
            field.writable && !field.nillable && field.kind != "boolean" && is_null && is_touched
        };
        let missing: Vec<String> = known
            .fields
            .iter()
            .filter(is_missing)
            .map(|field| field.name.clone())
            .collect();
        match missing.is_empty() {
            true => Ok(()),
            false => Err((
                "REQUIRED_FIELD_MISSING",
                format!("Required fields are missing: [{}]", missing.join(", ")),
                missing,
            )),
        }
    }

    fn ruled(
        &self,
        store: &Store,
        object: &str,
        id: Option<&str>,
        values: &BTreeMap<String, Json>,
    ) -> Result<(), Refused> {
        for (of, field, text) in &store.rules {
            if of == object && values.get(field).and_then(Json::as_str) == Some(text) {
                return Err((
                    "FIELD_CUSTOM_VALIDATION_EXCEPTION",
                    format!("Not like that: {text}"),
                    vec![field.clone()],
                ));
            }
        }
        let known = store
            .objects
            .get(object)
            .filter(|_| id.is_none() && !self.allows_duplicates);
        for (_, name) in store.duplicates.iter().filter(|(of, _)| of == object) {
            let field = known.and_then(|known| known.field(name));
            if let (Some(known), Some(field), Some(value)) = (known, field, values.get(name))
                && !known.by(field, value).is_empty()
            {
                return Err((
                    "DUPLICATES_DETECTED",
                    "Use one of these records?".to_owned(),
                    Vec::new(),
                ));
            }
        }
        Ok(())
    }
}

/// The record of an id, if it is there.
fn there(store: &Store, id: &str) -> Result<String, Refused> {
    let gone = || {
        (
            "INVALID_CROSS_REFERENCE_KEY",
            "invalid cross reference id".to_owned(),
            Vec::new(),
        )
    };
    let id = full(id).ok_or(("MALFORMED_ID", format!("bad id {id}"), Vec::new()))?;
    let object = store.object_of(&id).ok_or_else(gone)?;
    let records = store.objects.get(&object).map(|object| &object.records);
    match records.and_then(|records| records.get(&id)) {
        None => Err(gone()),
        Some(record) if record.is_deleted => Err((
            "ENTITY_IS_DELETED",
            "entity is deleted".to_owned(),
            Vec::new(),
        )),
        Some(_) => Ok(id),
    }
}

/// A value as it is kept.
fn kept(
    store: &Store,
    object: &str,
    field: &Field,
    value: &Json,
    id: Option<&str>,
) -> Result<Json, Refused> {
    let refused = |code, words: String| Err((code, words, vec![field.name.clone()]));
    if !field.writable || (id.is_some() && !field.updateable) {
        return refused(
            "INVALID_FIELD_FOR_INSERT_UPDATE",
            format!(
                "Unable to create/update fields: {}. Please check the security settings of this field",
                field.name
            ),
        );
    }
    let value = match value.as_str() {
        Some(text) => match text.trim() {
            "" => Json::Null,
            text => json!(text),
        },
        None => value.clone(),
    };
    if field.is_number() && value.as_f64().is_some_and(|number| number.abs() >= 1e16) {
        return refused(
            "NUMBER_OUTSIDE_VALID_RANGE",
            format!(
                "{}: value outside of valid range on numeric field: {value}",
                field.name
            ),
        );
    }
    let Some(text) = value.as_str() else {
        // Numbers are doubles there.
        return Ok(match value.as_f64().filter(|_| field.kind != "int") {
            Some(number) => json!(number),
            None => value,
        });
    };
    if text.chars().count() > field.length as usize {
        return refused(
            "STRING_TOO_LONG",
            format!(
                "{}: data value too large: {text} (max length={})",
                field.name, field.length
            ),
        );
    }
    match field.kind.as_str() {
        "reference" => {
            let found = there(store, text)
                .map_err(|(code, words, _)| (code, words, vec![field.name.clone()]))?;
            let leads = store.object_of(&found);
            match leads == field.to {
                true => Ok(json!(found)),
                false => refused(
                    "FIELD_INTEGRITY_EXCEPTION",
                    format!("{}: id value of incorrect type: {text}", field.name),
                ),
            }
        }
        "email" if !text.contains('@') => refused(
            "INVALID_EMAIL_ADDRESS",
            format!("{}: invalid email address: {text}", field.name),
        ),
        "picklist"
            if !field.choices.is_empty() && !field.choices.iter().any(|choice| choice == text) =>
        {
            refused(
                "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
                format!(
                    "{}: bad value for restricted picklist field: {text}",
                    field.name
                ),
            )
        }
        "multipicklist" => {
            let mut parts: Vec<&str> = text.split(';').collect();
            parts.sort_unstable();
            Ok(json!(parts.join(";")))
        }
        "datetime" => match text.parse::<jiff::Timestamp>() {
            Ok(at) => Ok(json!(super::store::instant(at.as_second()))),
            Err(_) => refused("INVALID_DATE", "no instant".to_owned()),
        },
        "date" => match text.parse::<jiff::civil::Date>() {
            Ok(_) => Ok(value),
            Err(_) => refused("INVALID_DATE", "no day".to_owned()),
        },
        _ if field.unique => {
            let known = store.objects.get(object);
            let others = known
                .map(|known| known.by(field, &value))
                .unwrap_or_default();
            match others.iter().find(|other| Some(other.as_str()) != id) {
                Some(other) => refused(
                    "DUPLICATE_VALUE",
                    format!(
                        "duplicate value found: {} duplicates value on record with id: {other}",
                        field.name
                    ),
                ),
                None => Ok(value),
            }
        }
        _ => Ok(value),
    }
}

fn result(saved: Result<(String, bool), Refused>) -> Json {
    match saved {
        Ok((id, is_new)) => json!({"id": id, "success": true, "errors": [], "created": is_new}),
        Err((code, words, fields)) => {
            json!({"success": false, "errors": [{"statusCode": code, "message": words, "fields": fields}]})
        }
    }
}

/// Puts records into the recycle bin.
pub(super) fn delete(store: &mut Store, ids: &str) -> Result<Told, Told> {
    let ids: Vec<&str> = ids.split(',').collect();
    if ids.len() > BATCH_MAX {
        return Err(refuse(
            400,
            "LIMIT_EXCEEDED",
            "Number of records exceeds 200",
        ));
    }
    let results = ids.into_iter().map(|id| {
        let found = there(store, id);
        if let Ok(id) = &found
            && let Some(object) = store.object_of(id)
        {
            store.delete(&object, id, None);
        }
        result(found.map(|id| (id, false)))
    });
    Ok(Told::json(200, &results.collect()))
}
