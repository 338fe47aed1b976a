//! What the simulator answers.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::Response;
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::TOKEN;
use super::store::{Record, Store, instant};

/// Most records of a page of a listing, and of a batch.
const PAGE_MAX: usize = 100;
/// Most records of a page of a search.
const SEARCH_MAX: usize = 200;

struct Told {
    status: u16,
    body: Json,
}

pub(super) fn answer(store: &mut Store, head: &Parts, body: &[u8]) -> Response {
    let left = store.count();
    let told = if left == Some(0) {
        Told {
            status: 429,
            body: json!({"status": "error", "message": "You have reached your ten_secondly_rolling limit.", "errorType": "RATE_LIMIT", "policyName": "TEN_SECONDLY_ROLLING"}),
        }
    } else {
        tell(store, head, body).unwrap_or_else(|told| told)
    };
    let mut response = Response::builder()
        .status(told.status)
        .header("content-type", "application/json;charset=utf-8");
    if let (Some(left), Some(most)) = (left, store.options.calls) {
        response = response
            .header("x-hubspot-ratelimit-max", most)
            .header("x-hubspot-ratelimit-remaining", left.saturating_sub(1))
            .header(
                "x-hubspot-ratelimit-interval-milliseconds",
                store.options.window.as_millis().to_string(),
            );
    }
    let text = if told.status == 204 {
        String::new()
    } else {
        told.body.to_string()
    };
    response.body(Body::from(text)).unwrap_or_default()
}

fn refuse(status: u16, category: &str, message: impl Into<String>) -> Told {
    let message: String = message.into();
    Told {
        status,
        body: json!({"status": "error", "message": message, "correlationId": "0", "category": category}),
    }
}

fn ok(body: Json) -> Result<Told, Told> {
    Ok(Told { status: 200, body })
}

fn tell(store: &mut Store, head: &Parts, body: &[u8]) -> Result<Told, Told> {
    let path = head.uri.path().trim_matches('/').to_owned();
    let parts: Vec<&str> = path.split('/').collect();
    if parts == ["oauth", "v1", "token"] {
        return token(store, body);
    }
    let bearer = head
        .headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    let token = bearer.and_then(|value| value.strip_prefix("Bearer "));
    if !token.is_some_and(|token| store.tokens.contains(token)) {
        return Err(refuse(
            401,
            "INVALID_AUTHENTICATION",
            "Authentication credentials not found.",
        ));
    }
    let body: Json = if body.is_empty() {
        Json::Null
    } else {
        serde_json::from_slice(body)
            .map_err(|_| refuse(400, "VALIDATION_ERROR", "Invalid input JSON"))?
    };
    let query = head.uri.query().unwrap_or_default();
    match (&head.method, parts.as_slice()) {
        (&Method::GET, ["crm", "v3", "properties", object]) => properties(store, object),
        (&Method::GET, ["crm", "v3", "objects", object]) => {
            list(store, known(store, object)?, query)
        }
        (&Method::POST, ["crm", "v3", "objects", object, "search"]) => {
            search(store, known(store, object)?, &body)
        }
        (&Method::POST, ["crm", "v3", "objects", object, "batch", what]) => {
            let object = known(store, object)?.to_owned();
            batch(store, &object, what, &body)
        }
        (&Method::POST, ["crm", "v4", "associations", from, to, "batch", "read"]) => {
            links(store, from, to, &body)
        }
        (
            &Method::PUT,
            [
                "crm",
                "v4",
                "objects",
                from,
                id,
                "associations",
                "default",
                to,
                other,
            ],
        ) => {
            let link = (number(id)?, number(other)?);
            if store.find(from, link.0).is_none() || store.find(to, link.1).is_none() {
                return Err(refuse(
                    404,
                    "OBJECT_NOT_FOUND",
                    "one of the records is not there",
                ));
            }
            store.writes += 1;
            store
                .links
                .insert(((*from).to_owned(), link.0, (*to).to_owned(), link.1));
            store
                .links
                .insert(((*to).to_owned(), link.1, (*from).to_owned(), link.0));
            ok(json!({"status": "COMPLETE", "results": []}))
        }
        (&Method::DELETE, ["crm", "v4", "objects", from, id, "associations", to, other]) => {
            let link = (number(id)?, number(other)?);
            store.writes += 1;
            store
                .links
                .remove(&((*from).to_owned(), link.0, (*to).to_owned(), link.1));
            store
                .links
                .remove(&((*to).to_owned(), link.1, (*from).to_owned(), link.0));
            Ok(Told {
                status: 204,
                body: Json::Null,
            })
        }
        _ => Err(refuse(404, "NOT_FOUND", "no such call")),
    }
}

fn token(store: &mut Store, body: &[u8]) -> Result<Told, Told> {
    let body = String::from_utf8_lossy(body);
    if !body.contains("grant_type=refresh_token") || !body.contains("refresh_token=refresh-test") {
        return Err(refuse(
            400,
            "BAD_REFRESH_TOKEN",
            "missing or invalid refresh token",
        ));
    }
    let fresh = format!("{TOKEN}-{}", store.tokens.len() + 1);
    store.tokens.insert(fresh.clone());
    ok(
        json!({"token_type": "bearer", "access_token": fresh, "refresh_token": "refresh-test", "expires_in": 1800}),
    )
}

fn known<'a>(store: &Store, object: &'a str) -> Result<&'a str, Told> {
    if store.properties.contains_key(object) {
        return Ok(object);
    }
    Err(refuse(
        400,
        "VALIDATION_ERROR",
        format!("Unable to infer object type from: {object}"),
    ))
}

fn number(text: &str) -> Result<u64, Told> {
    text.parse()
        .map_err(|_| refuse(400, "VALIDATION_ERROR", "objectId are usually numeric."))
}

fn properties(store: &Store, object: &str) -> Result<Told, Told> {
    let all = store
        .properties
        .get(known(store, object)?)
        .into_iter()
        .flatten();
    let each = all.map(|(name, property)| {
        json!({
            "name": name, "label": name, "type": property.kind, "fieldType": "text",
            "hasUniqueValue": property.is_unique, "calculated": false,
            "modificationMetadata": {"readOnlyValue": property.is_filled, "archivable": true},
        })
    });
    ok(json!({ "results": each.collect::<Vec<Json>>() }))
}

/// A record as it is answered, with the properties that are asked for.
fn shown(record: &Record, names: &[String]) -> Json {
    let mut properties: BTreeMap<&str, Json> = names
        .iter()
        .map(|name| (name.as_str(), Json::Null))
        .collect();
    for (name, value) in &record.properties {
        let is_always = [
            "createdate",
            "lastmodifieddate",
            "hs_lastmodifieddate",
            "hs_object_id",
        ]
        .contains(&name.as_str());
        if is_always || names.contains(name) {
            properties.insert(name, json!(value));
        }
    }
    json!({
        "id": record.id.to_string(), "properties": properties,
        "createdAt": record.created.to_string(), "updatedAt": record.updated.to_string(), "archived": record.archived,
    })
}

fn list(store: &Store, object: &str, query: &str) -> Result<Told, Told> {
    let value = |name: &str| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(&format!("{name}=")))
    };
    let limit: usize = value("limit")
        .and_then(|limit| limit.parse().ok())
        .unwrap_or(10);
    if limit > PAGE_MAX {
        return Err(refuse(400, "VALIDATION_ERROR", "limit must be at most 100"));
    }
    let after: u64 = value("after").map(number).transpose()?.unwrap_or(0);
    let names: Vec<String> = value("properties")
        .unwrap_or_default()
        .split("%2C")
        .flat_map(|part| part.split(','))
        .map(str::to_owned)
        .collect();
    let rest = store
        .records(object)
        .filter(|record| !record.archived && record.id > after);
    let mut page: Vec<&Record> = rest.take(limit + 1).collect();
    let is_more = page.len() > limit;
    page.truncate(limit);
    let mut body =
        json!({ "results": page.iter().map(|record| shown(record, &names)).collect::<Vec<_>>() });
    if let Some(last) = page.last().filter(|_| is_more) {
        body["paging"] = json!({"next": {"after": last.id.to_string(), "link": "?"}});
    }
    ok(body)
}

fn search(store: &Store, object: &str, body: &Json) -> Result<Told, Told> {
    let limit = body["limit"].as_u64().map_or(10, |limit| limit as usize);
    let from: usize = match &body["after"] {
        Json::Null => 0,
        after => after
            .as_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| refuse(400, "VALIDATION_ERROR", "invalid after"))?,
    };
    if limit > SEARCH_MAX || from + limit > store.options.search_max {
        return Err(refuse(
            400,
            "VALIDATION_ERROR",
            "a search gives at most 10000 records, 200 a page",
        ));
    }
    let delay = i64::try_from(store.options.search_delay.as_millis()).unwrap_or(i64::MAX);
    let indexed = Timestamp::now().as_millisecond() - delay;
    let groups = body["filterGroups"].as_array().cloned().unwrap_or_default();
    let matches = |record: &&Record| {
        let of = |group: &Json| {
            let filters = group["filters"].as_array().cloned().unwrap_or_default();
            filters.iter().all(|filter| fulfils(record, filter))
        };
        groups.is_empty() || groups.iter().any(of)
    };
    let there = |record: &&Record| !record.archived && record.updated.as_millisecond() <= indexed;
    let mut found: Vec<&Record> = store
        .records(object)
        .filter(there)
        .filter(matches)
        .collect();
    if let Some(name) = body["sorts"][0]["propertyName"].as_str() {
        found.sort_by(|a, b| compare(a.properties.get(name), b.properties.get(name)));
        if body["sorts"][0]["direction"] == "DESCENDING" {
            found.reverse();
        }
    }
    let total = found.len();
    let names = names(body);
    let page: Vec<Json> = found
        .into_iter()
        .skip(from)
        .take(limit)
        .map(|record| shown(record, &names))
        .collect();
    let next = from + page.len();
    let mut answer = json!({"total": total, "results": page});
    if next < total {
        answer["paging"] = json!({"next": {"after": next.to_string()}});
    }
    ok(answer)
}

fn names(body: &Json) -> Vec<String> {
    let all = body["properties"].as_array().into_iter().flatten();
    all.filter_map(Json::as_str).map(str::to_owned).collect()
}

fn fulfils(record: &Record, filter: &Json) -> bool {
    let held = record
        .properties
        .get(filter["propertyName"].as_str().unwrap_or_default());
    let value = match &filter["value"] {
        Json::String(text) => Some(text.clone()),
        Json::Null => None,
        other => Some(other.to_string()),
    };
    let side = held.map(|held| compare(Some(held), value.as_ref()));
    match filter["operator"].as_str().unwrap_or_default() {
        "EQ" => side == Some(Ordering::Equal),
        "GT" => side == Some(Ordering::Greater),
        "GTE" => side.is_some_and(Ordering::is_ge),
        "LT" => side == Some(Ordering::Less),
        "LTE" => side.is_some_and(Ordering::is_le),
        "HAS_PROPERTY" => held.is_some(),
        "IN" => filter["values"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|one| one.as_str() == held.map(String::as_str)),
        _ => false,
    }
}

/// Instants and numbers by what they are, others by their texts.
fn compare(left: Option<&String>, right: Option<&String>) -> Ordering {
    let (Some(left), Some(right)) = (left, right) else {
        return left.cmp(&right);
    };
    match (instant(left), instant(right)) {
        (Some(left), Some(right)) => left.cmp(&right),
        _ => left.cmp(right),
    }
}

fn batch(store: &mut Store, object: &str, what: &str, body: &Json) -> Result<Told, Told> {
    let inputs = body["inputs"].as_array().cloned().unwrap_or_default();
    if inputs.len() > PAGE_MAX {
        return Err(refuse(
            400,
            "VALIDATION_ERROR",
            "a batch holds at most 100 inputs",
        ));
    }
    let names = names(body);
    let (mut results, mut errors) = (Vec::new(), Vec::new());
    let mut seen = Vec::new();
    for input in &inputs {
        let key = input["id"].as_str().unwrap_or_default().to_owned();
        if what != "archive" && seen.contains(&key) {
            return Err(refuse(
                400,
                "VALIDATION_ERROR",
                "Duplicate IDs found in batch input",
            ));
        }
        seen.push(key.clone());
        let by = body["idProperty"]
            .as_str()
            .or_else(|| input["idProperty"].as_str());
        if let Some(by) = by
            && !store
                .properties
                .get(object)
                .and_then(|all| all.get(by))
                .is_some_and(|property| property.is_unique)
        {
            return Err(refuse(
                400,
                "VALIDATION_ERROR",
                format!("{by} is not a unique identifier property"),
            ));
        }
        let found = match by {
            Some(by) => store.by(object, by, &key),
            None => Some(number(&key)?).filter(|id| store.find(object, *id).is_some()),
        };
        let done = one(store, object, what, by, &key, found, input);
        match done {
            Ok(Some(id)) => {
                results.extend(store.find(object, id).map(|record| shown(record, &names)));
            }
            Ok(None) => {}
            Err((category, message)) => {
                errors.push(json!({"status": "error", "category": category, "message": message}));
            }
        }
    }
    if what == "archive" {
        return Ok(Told {
            status: 204,
            body: Json::Null,
        });
    }
    match (errors.first(), results.is_empty() && what != "read") {
        (None, _) => ok(json!({"status": "COMPLETE", "results": results})),
        (Some(error), true) => Err(Told {
            status: 400,
            body: error.clone(),
        }),
        (Some(_), false) => Ok(Told {
            status: 207,
            body: json!({"status": "COMPLETE", "results": results, "numErrors": errors.len(), "errors": errors}),
        }),
    }
}

fn one(
    store: &mut Store,
    object: &str,
    what: &str,
    by: Option<&str>,
    key: &str,
    found: Option<u64>,
    input: &Json,
) -> Result<Option<u64>, (&'static str, String)> {
    let missing = || {
        (
            "OBJECT_NOT_FOUND",
            "Could not get some of the ids provided".to_owned(),
        )
    };
    match what {
        "read" => return found.map(Some).ok_or_else(missing),
        "archive" => {
            if let Some(id) = found {
                store.archive(object, id);
            }
            return Ok(None);
        }
        _ => {}
    }
    let given = input["properties"].as_object().into_iter().flatten();
    let mut properties: BTreeMap<String, String> = given
        .map(|(name, value)| {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), text)
        })
        .collect();
    if what == "update" && found.is_none() {
        return Err(missing());
    }
    if let (Some(by), None) = (by, found) {
        properties.insert(by.to_owned(), key.to_owned());
    }
    store.judge(object, found, &properties)?;
    Ok(Some(store.put(object, found, &properties)))
}

fn links(store: &Store, from: &str, to: &str, body: &Json) -> Result<Told, Told> {
    let inputs = body["inputs"].as_array().into_iter().flatten();
    let mut results = Vec::new();
    for input in inputs {
        let id = number(input["id"].as_str().unwrap_or_default())?;
        let linked = store
            .links
            .iter()
            .filter(|(a, one, b, _)| a == from && *one == id && b == to);
        let to: Vec<Json> = linked
            .map(|(.., other)| json!({"toObjectId": other, "associationTypes": [{"category": "HUBSPOT_DEFINED", "typeId": 1, "label": null}]}))
            .collect();
        if !to.is_empty() {
            results.push(json!({"from": {"id": id.to_string()}, "to": to}));
        }
    }
    ok(json!({"status": "COMPLETE", "results": results}))
}
