//! A small system behind a REST API, to run the conformance kit against.
//!
//! Replace me with your system: a sandbox of the vendor, a container, or a stand-in that behaves as its documentation says.
//! This one lists records by their ids, page by page, and refuses a missing name, a negative credit and a code that is taken.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "the program in examples/ uses a part of it, and what fails here fails the test"
)]

use std::sync::{Arc, Mutex};

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json as Body, Router};
use serde_json::{Map, Value as Json, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The token that it takes.
pub(crate) const TOKEN: &str = "let-me-in";

/// A record: its members by their names.
pub(crate) type Record = Map<String, Json>;

/// What the system holds.
#[derive(Default)]
struct Inner {
    records: Vec<Record>,
    made: u64,
    writes: u64,
}

type Shared = Arc<Mutex<Inner>>;

/// The system; ends when dropped.
pub(crate) struct StandIn {
    url: String,
    inner: Shared,
    task: JoinHandle<()>,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StandIn {
    /// Starts an empty system on a port of its own.
    pub(crate) async fn start() -> StandIn {
        StandIn::on("127.0.0.1:0").await
    }

    /// Starts an empty system at an address.
    pub(crate) async fn on(address: &str) -> StandIn {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inner = Shared::default();
        let router = Router::new()
            .route("/v1/customers", get(list).post(create))
            .route("/v1/customers/{id}", get(one).patch(change).delete(remove))
            .layer(middleware::from_fn(authorized))
            .with_state(Arc::clone(&inner));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        StandIn { url, inner, task }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Makes a record, as somebody at the system would.
    pub(crate) fn put(&self, members: &Json) {
        let mut inner = self.inner.lock().unwrap();
        inner.make(members.as_object().unwrap().clone());
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        self.inner.lock().unwrap().records.clone()
    }

    /// How many records were made, changed or deleted by calls.
    pub(crate) fn writes(&self) -> u64 {
        self.inner.lock().unwrap().writes
    }
}

impl Inner {
    fn make(&mut self, members: Record) -> Record {
        self.made += 1;
        // Whole, with what it fills by itself.
        let whole = json!({
            "id": format!("c{}", self.made), "code": null, "name": null,
            "credit": null, "active": true, "notes": null, "changed_at": now(),
        });
        let mut record = whole.as_object().unwrap().clone();
        record.extend(members);
        self.records.push(record.clone());
        record
    }

    fn at(&self, id: &str) -> Option<usize> {
        self.records.iter().position(|record| record["id"] == id)
    }

    /// Why members cannot stand in the record of an id, if they cannot.
    fn refusal(&self, members: &Record, id: &str) -> Option<Response> {
        let code = members.get("code").filter(|code| !code.is_null());
        let other = |record: &&Record| record["id"] != id && record.get("code") == code;
        if code.is_some() && self.records.iter().any(|record| other(&record)) {
            return Some(error(StatusCode::CONFLICT, "taken", "code"));
        }
        if members.get("name").is_some_and(Json::is_null) {
            return Some(error(StatusCode::UNPROCESSABLE_ENTITY, "missing", "name"));
        }
        let credit = members.get("credit").and_then(Json::as_str);
        credit
            .filter(|credit| credit.starts_with('-'))
            .map(|_| error(StatusCode::UNPROCESSABLE_ENTITY, "negative", "credit"))
    }
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

fn error(status: StatusCode, code: &str, field: &str) -> Response {
    let body = json!({ "error": { "code": code, "field": field } });
    (status, Body(body)).into_response()
}

async fn authorized(headers: HeaderMap, request: Request, next: Next) -> Response {
    let expected = format!("Bearer {TOKEN}");
    let given = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    if given != Some(expected.as_str()) {
        return error(StatusCode::UNAUTHORIZED, "who_are_you", "authorization");
    }
    next.run(request).await
}

/// A page of records in the order in which they were made: behind an id, changed since a time, of a code.
async fn list(State(inner): State<Shared>, Query(query): Query<Vec<(String, String)>>) -> Response {
    let asked = |name: &str| {
        let pair = query.iter().find(|(known, _)| known == name);
        pair.map(|(_, value)| value.as_str())
    };
    let inner = inner.lock().unwrap();
    let made = |id: &str| id[1..].parse::<u64>().unwrap_or(0);
    let after = asked("after").map_or(0, made);
    let since = asked("changed_since").map(|text| text.parse::<jiff::Timestamp>().unwrap());
    let limit = asked("limit").map_or(100, |limit| limit.parse().unwrap());
    let changed = |record: &Record| {
        let at: jiff::Timestamp = record["changed_at"].as_str().unwrap().parse().unwrap();
        since.is_none_or(|since| at >= since)
    };
    let rest: Vec<&Record> = inner
        .records
        .iter()
        .filter(|record| made(record["id"].as_str().unwrap()) > after)
        .filter(|record| changed(record))
        .filter(|record| asked("code").is_none_or(|code| record["code"] == code))
        .collect();
    let items = &rest[..rest.len().min(limit)];
    let next = (items.len() < rest.len()).then(|| items.last().map(|last| &last["id"]));
    Body(json!({ "items": items, "next": next })).into_response()
}

async fn one(State(inner): State<Shared>, Path(id): Path<String>) -> Response {
    let inner = inner.lock().unwrap();
    match inner.at(&id) {
        Some(at) => Body(&inner.records[at]).into_response(),
        None => error(StatusCode::NOT_FOUND, "unknown", "id"),
    }
}

async fn create(State(inner): State<Shared>, Body(members): Body<Record>) -> Response {
    let mut inner = inner.lock().unwrap();
    if let Some(refusal) = inner.refusal(&members, "") {
        return refusal;
    }
    inner.writes += 1;
    let record = inner.make(members);
    (StatusCode::CREATED, Body(record)).into_response()
}

async fn change(
    State(inner): State<Shared>,
    Path(id): Path<String>,
    Body(members): Body<Record>,
) -> Response {
    let mut inner = inner.lock().unwrap();
    let Some(at) = inner.at(&id) else {
        return error(StatusCode::NOT_FOUND, "unknown", "id");
    };
    if let Some(refusal) = inner.refusal(&members, &id) {
        return refusal;
    }
    inner.writes += 1;
    let record = &mut inner.records[at];
    record.extend(members);
    record.insert("changed_at".to_owned(), now().into());
    Body(record.clone()).into_response()
}

async fn remove(State(inner): State<Shared>, Path(id): Path<String>) -> Response {
    let mut inner = inner.lock().unwrap();
    let Some(at) = inner.at(&id) else {
        return error(StatusCode::NOT_FOUND, "unknown", "id");
    };
    inner.writes += 1;
    inner.records.remove(at);
    StatusCode::NO_CONTENT.into_response()
}
