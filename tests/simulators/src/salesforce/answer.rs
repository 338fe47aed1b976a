//! What the simulator answers.

use axum::body::Body;
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::Response;
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::fault::Fault;
use super::save::{self, Saving};
use super::soql;
use super::store::{Field, Object, Record, Store, full, instant, value};
use super::token;
use super::write::text;

/// The versions of the API that it offers.
const VERSIONS: std::ops::RangeInclusive<u32> = 46..=67;
/// Most characters of an address.
const ADDRESS_MAX: usize = 16_384;
/// A page for people.
const PAGE: &str = "<!DOCTYPE html><html><head><title>Down for Maintenance</title></head><body>Sorry</body></html>";

/// An answer.
pub(super) struct Told {
    status: u16,
    body: String,
    is_page: bool,
    after: Option<u32>,
}

impl Told {
    pub(super) fn json(status: u16, body: &Json) -> Told {
        Told {
            status,
            body: text(body),
            is_page: false,
            after: None,
        }
    }
}

pub(super) fn refuse(status: u16, code: &str, words: impl Into<String>) -> Told {
    let words: String = words.into();
    Told::json(status, &json!([{"message": words, "errorCode": code}]))
}

pub(super) fn answer(store: &mut Store, head: &Parts, body: &[u8]) -> Response {
    let path = head.uri.path().to_owned();
    let told = if path == "/simulator/fault" {
        asked(store, body)
    } else {
        store.calls.push(format!("{} {path}", head.method));
        store.happen(&path);
        match store.faults.next(&path) {
            Some(fault) => wrong(store, head, body, fault),
            None => tell(store, head, body, false).unwrap_or_else(|told| told),
        }
    };
    let date = Timestamp::from_second(store.now()).unwrap_or_default();
    let mut response = Response::builder()
        .status(told.status)
        .header(
            "date",
            date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string(),
        )
        .header(
            "sforce-limit-info",
            format!("api-usage={}/{}", store.calls.len(), store.options.calls),
        )
        .header(
            "content-type",
            if told.is_page {
                "text/html"
            } else {
                "application/json;charset=UTF-8"
            },
        );
    if let Some(after) = told.after {
        response = response.header("retry-after", after);
    }
    response.body(Body::from(told.body)).unwrap_or_default()
}

fn asked(store: &mut Store, body: &[u8]) -> Told {
    let body: Json = serde_json::from_slice(body).unwrap_or_default();
    let number = |name: &str, usual: u64| body[name].as_u64().unwrap_or(usual).min(1000) as u32;
    let Some(fault) = body["fault"].as_str().and_then(Fault::named) else {
        return refuse(400, "NO_SUCH_FAULT", "no such fault");
    };
    let path = body["path"].as_str().unwrap_or_default();
    store
        .faults
        .add(fault, path, number("skip", 0), number("times", 1));
    Told::json(200, &json!({}))
}

/// What goes wrong.
fn wrong(store: &mut Store, head: &Parts, body: &[u8], fault: Fault) -> Told {
    let page = |status| Told {
        status,
        body: PAGE.to_owned(),
        is_page: true,
        after: None,
    };
    let failed = || refuse(500, "UNKNOWN_EXCEPTION", "An unexpected error occurred");
    match fault {
        Fault::DayUsed => refuse(
            403,
            "REQUEST_LIMIT_EXCEEDED",
            "TotalRequests Limit exceeded.",
        ),
        Fault::Busy => refuse(
            403,
            "REQUEST_LIMIT_EXCEEDED",
            "ConcurrentRequests (Concurrent API Requests) Limit exceeded.",
        ),
        Fault::Forbidden => refuse(403, "INSUFFICIENT_ACCESS", "insufficient access rights"),
        Fault::TooMany(after) => Told {
            after,
            ..refuse(429, "REQUEST_LIMIT_EXCEEDED", "too many requests")
        },
        Fault::Failed => failed(),
        Fault::DoneThenFailed => {
            let _ = tell(store, head, body, false);
            failed()
        }
        Fault::Html => page(200),
        Fault::Maintenance => page(503),
        Fault::Expired => {
            store.tokens.clear();
            tell(store, head, body, false).unwrap_or_else(|told| told)
        }
        Fault::Forgotten => {
            store.locators.clear();
            tell(store, head, body, false).unwrap_or_else(|told| told)
        }
        Fault::Locked => tell(store, head, body, true).unwrap_or_else(|told| told),
    }
}

fn tell(store: &mut Store, head: &Parts, body: &[u8], is_locked: bool) -> Result<Told, Told> {
    let path = head.uri.path().trim_matches('/').to_owned();
    if head.uri.to_string().len() > ADDRESS_MAX {
        return Err(refuse(414, "URI_TOO_LONG", "the address is too long"));
    }
    let parts: Vec<String> = path.split('/').map(token::decoded).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    if parts == ["services", "oauth2", "token"] {
        return token::token(store, body);
    }
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    if !bearer.is_some_and(|token| store.tokens.contains(token)) {
        return Err(refuse(
            401,
            "INVALID_SESSION_ID",
            "Session expired or invalid",
        ));
    }
    let missing = || refuse(404, "NOT_FOUND", "The requested resource does not exist");
    let ["services", "data", version, rest @ ..] = &parts[..] else {
        return Err(missing());
    };
    let number = version
        .strip_prefix('v')
        .and_then(|text| text.strip_suffix(".0"));
    if !number
        .and_then(|text| text.parse().ok())
        .is_some_and(|number: u32| VERSIONS.contains(&number))
    {
        return Err(missing());
    }
    let json: Json = if body.is_empty() {
        Json::Null
    } else {
        serde_json::from_slice(body)
            .map_err(|_| refuse(400, "JSON_PARSER_ERROR", "Unexpected character"))?
    };
    let query = token::form(head.uri.query().unwrap_or_default());
    let given = |name: &str| query.get(name).cloned().unwrap_or_default();
    let saving = |by| Saving {
        by,
        allows_duplicates: header("sforce-duplicate-rule-header")
            .is_some_and(|value| value.contains("allowSave=true")),
        is_locked,
    };
    match (&head.method, rest) {
        (&Method::GET, []) => Ok(Told::json(
            200,
            &json!({"sobjects": "", "query": "", "limits": ""}),
        )),
        (&Method::GET, ["limits"]) => {
            let most = store.options.calls;
            let left = most.saturating_sub(store.calls.len() as u64);
            Ok(Told::json(
                200,
                &json!({"DailyApiRequests": {"Max": most, "Remaining": left}}),
            ))
        }
        (&Method::GET, ["sobjects", object, "describe"]) => describe(store, object),
        (&Method::GET, ["sobjects", object, "deleted"]) => {
            deleted(store, object, &given("start"), &given("end"))
        }
        (&Method::GET, ["query"]) => find(store, version, &given("q"), false),
        (&Method::GET, ["queryAll"]) => find(store, version, &given("q"), true),
        (&Method::GET, ["query" | "queryAll", locator]) => match store.locators.remove(*locator) {
            Some(rest) => Ok(page(store, version, rest)),
            None => Err(refuse(
                400,
                "INVALID_QUERY_LOCATOR",
                "invalid query locator",
            )),
        },
        (&Method::POST, ["composite", "sobjects", object]) => retrieve(store, object, &json),
        (&Method::PATCH, ["composite", "sobjects", object, by]) => {
            saving(Some((*object, *by))).save(store, &json)
        }
        (&Method::PATCH, ["composite", "sobjects"]) => saving(None).save(store, &json),
        (&Method::DELETE, ["composite", "sobjects"]) => save::delete(store, &given("ids")),
        _ => Err(missing()),
    }
}

fn known<'s>(store: &'s Store, object: &str) -> Result<&'s Object, Told> {
    store
        .objects
        .get(object)
        .ok_or_else(|| refuse(404, "NOT_FOUND", "The requested resource does not exist"))
}

fn describe(store: &Store, object: &str) -> Result<Told, Told> {
    let known = known(store, object)?;
    let fields: Vec<Json> = known.fields.iter().map(described).collect();
    Ok(Told::json(
        200,
        &json!({
            "name": object, "keyPrefix": known.prefix, "queryable": true, "createable": true, "updateable": true,
            "deletable": true, "retrieveable": true, "replicateable": known.is_listed, "fields": fields,
        }),
    ))
}

fn described(field: &Field) -> Json {
    let is_number = field.is_number();
    let can_ask = !matches!(field.kind.as_str(), "textarea" | "address" | "base64");
    json!({
        "name": field.name, "type": field.kind, "length": if is_number { 0 } else { field.length },
        "precision": if is_number { field.precision } else { 0 }, "scale": if is_number { field.scale } else { 0 },
        "nillable": field.nillable, "createable": field.writable && !field.calculated,
        "updateable": field.updateable && !field.calculated,
        "externalId": field.external, "idLookup": field.external || field.name == "Id", "unique": field.unique,
        "caseSensitive": field.case_sensitive, "filterable": can_ask, "sortable": can_ask,
        "calculated": field.calculated, "defaultedOnCreate": field.kind == "boolean" || !field.writable, "defaultValue": null,
    })
}

/// A record as it is answered.
fn shown(object: &Object, name: &str, record: &Record, fields: &[String]) -> Json {
    let mut shown = json!({"attributes": {"type": name, "url": format!("/services/data/v60.0/sobjects/{name}/{}", record.id)}});
    for field in fields.iter().filter_map(|field| object.field(field)) {
        shown[&field.name] = value(record, field);
    }
    shown
}

fn find(store: &mut Store, version: &str, text: &str, all: bool) -> Result<Told, Told> {
    let refused = |(code, words): soql::Refused| refuse(400, code, words);
    let query = soql::parse(text).map_err(refused)?;
    let Some(object) = store.objects.get(&query.object) else {
        return Err(refuse(
            400,
            "INVALID_TYPE",
            format!("sObject type '{}' is not supported.", query.object),
        ));
    };
    let found = query.find(object, all).map_err(refused)?;
    let shown = found
        .iter()
        .map(|record| shown(object, &query.object, record, &query.fields));
    let shown: Vec<Json> = shown.collect();
    Ok(page(store, version, shown))
}

/// The first of these records; the others behind a locator.
fn page(store: &mut Store, version: &str, mut records: Vec<Json>) -> Told {
    let rest = records.split_off(records.len().min(store.options.page));
    let mut body = json!({"totalSize": records.len() + rest.len(), "done": rest.is_empty(), "records": records});
    if !rest.is_empty() {
        let locator = format!("01gD0000002HU6KIAW-{}", store.calls.len());
        body["nextRecordsUrl"] = json!(format!("/services/data/{version}/query/{locator}"));
        store.locators.insert(locator, rest);
    }
    Told::json(200, &body)
}

fn retrieve(store: &Store, name: &str, body: &Json) -> Result<Told, Told> {
    let object = known(store, name)?;
    let texts = |name: &str| -> Vec<String> {
        let list = body[name].as_array().into_iter().flatten();
        list.filter_map(Json::as_str).map(str::to_owned).collect()
    };
    let (ids, fields) = (texts("ids"), texts("fields"));
    if ids.len() > 2000 {
        return Err(refuse(400, "LIMIT_EXCEEDED", "too many ids"));
    }
    if let Some(field) = fields.iter().find(|field| object.field(field).is_none()) {
        return Err(refuse(
            400,
            "INVALID_FIELD",
            format!("No such column '{field}' on entity '{name}'."),
        ));
    }
    let mut records = Vec::new();
    for id in ids {
        let id =
            full(&id).ok_or_else(|| refuse(400, "MALFORMED_ID", format!("malformed id {id}")))?;
        let record = object.records.get(&id).filter(|record| !record.is_deleted);
        records.push(record.map_or(Json::Null, |record| shown(object, name, record, &fields)));
    }
    Ok(Told::json(200, &Json::Array(records)))
}

fn deleted(store: &Store, name: &str, start: &str, end: &str) -> Result<Told, Told> {
    let object = known(store, name)?;
    let second = |text: &str| {
        text.parse::<Timestamp>()
            .ok()
            .map(|at| at.as_second() / 60 * 60)
    };
    let refused = |words: &str| refuse(400, "INVALID_REPLICATION_DATE", words.to_owned());
    let (Some(start), Some(end)) = (second(start), second(end)) else {
        return Err(refused("no dates"));
    };
    if !object.is_listed {
        return Err(refuse(400, "INVALID_TYPE_FOR_OPERATION", "not replicable"));
    }
    if end - start <= 60 {
        return Err(refused(
            "startDate must be more than a minute before endDate",
        ));
    }
    if start < store.now() - 30 * 24 * 3600 {
        return Err(refused("startDate cannot be more than 30 days ago"));
    }
    let told = object
        .deletes
        .iter()
        .filter(|(at, _)| (start..end).contains(at));
    let told: Vec<Json> = told
        .map(|(at, id)| json!({"id": id, "deletedDate": instant(*at)}))
        .collect();
    Ok(Told::json(
        200,
        &json!({"deletedRecords": told, "earliestDateAvailable": instant(object.earliest), "latestDateCovered": instant(end)}),
    ))
}
