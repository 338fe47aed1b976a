//! A small help desk behind a REST API, in several shapes, that misbehaves on demand.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use lockstep_http_client::Json;
use tokio::net::TcpListener;

pub(crate) const TOKEN: &str = "hunter2";
/// Records of a page, if nothing else is asked for.
const PAGE: usize = 5;

/// How the desk lists.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Style {
    Cursor,
    /// Newest first, with a total.
    Offset,
    /// Newest first, without a total.
    Number,
    Link,
    Url,
}

/// What goes wrong with one request.
pub(crate) enum Fault {
    Status(u16),
    Html,
    /// The work is done, and the answer is an error.
    Done,
    /// Something happens behind the answer.
    Then(Box<dyn FnOnce(&mut Books) + Send>),
    Fine,
}

/// What the desk knows.
pub(crate) struct Books {
    pub(crate) records: Vec<Json>,
    next: u64,
    now: Timestamp,
    writes: u64,
    keys: HashMap<String, Json>,
    /// Faults of the next requests.
    pub(crate) faults: VecDeque<Fault>,
    /// What the next requests were, with their queries.
    pub(crate) seen: Vec<String>,
    /// Tokens that are taken; `/token` gives new ones.
    pub(crate) tokens: Vec<String>,
    pub(crate) remembers_keys: bool,
}

#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) base: String,
    style: Style,
    pub(crate) books: Arc<Mutex<Books>>,
}

impl Desk {
    pub(crate) async fn start(style: Style) -> Desk {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let desk = Desk {
            base: format!("http://{}/api", listener.local_addr().unwrap()),
            style,
            books: Arc::new(Mutex::new(Books {
                records: Vec::new(),
                next: 0,
                now: "2024-05-01T00:00:00Z".parse().unwrap(),
                writes: 0,
                keys: HashMap::new(),
                faults: VecDeque::new(),
                seen: Vec::new(),
                tokens: vec![TOKEN.to_owned()],
                remembers_keys: true,
            })),
        };
        let router = Router::new().fallback(handle).with_state(desk.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        desk
    }

    pub(crate) fn add(&self, reference: &str, name: &str, amount: &str) -> String {
        self.books.lock().unwrap().add(reference, name, amount)
    }

    pub(crate) fn records(&self) -> Vec<Json> {
        self.books.lock().unwrap().records.clone()
    }

    pub(crate) fn writes(&self) -> u64 {
        self.books.lock().unwrap().writes
    }

    pub(crate) fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.books.lock().unwrap().faults.extend(faults);
    }

    /// The file that describes the desk.
    pub(crate) fn description(&self) -> String {
        self.described(
            "auth: { type: bearer, secret: token }",
            "idempotency: Idempotency-Key",
        )
    }

    pub(crate) fn described(&self, auth: &str, create: &str) -> String {
        let (records, page) = match self.style {
            Style::Cursor => (
                "data",
                "{ type: cursor, query: after, next: paging.next, size_query: limit, size: 7 }",
            ),
            Style::Offset => (
                "items",
                "{ type: offset, query: offset, size_query: limit, size: 4, total: total }",
            ),
            Style::Number => ("items", "{ type: number, query: page }"),
            Style::Link => ("''", "{ type: link }"),
            Style::Url => ("items", "{ type: url, next: '@next' }"),
        };
        format!(
            "\
base: {base}
{auth}
errors: error.message
limits: {{ concurrent: 3 }}
tables:
  items:
    key: [id]
    fields:
      id: text
      ref: text
      name: text
      note: text
      amount: {{ type: 'decimal(12,2)', at: money.amount }}
      updated: {{ type: timestamp, at: updated_at, read_only: true, required: true }}
    list:
      path: items
      query: {{ kind: thing }}
      records: {records}
      page: {page}
    incremental: {{ field: updated, query: updated_since, overlap_secs: 30 }}
    get: {{ path: 'items/{{id}}', record: item }}
    look_up: {{ by: ref, path: items/search, query: {{ q: '{{value}}' }}, records: found }}
    create: {{ path: items, envelope: item, record: item, {create} }}
    update: {{ path: 'items/{{id}}', envelope: item, if_match: etag }}
    delete: {{ path: 'items/{{id}}' }}
webhook:
  signature:
    secret: hook
    header: X-Signature
    part: v1
    signed: '{{timestamp}}.{{body}}'
    timestamp_header: X-Signature
    timestamp_part: t
  events: events
  kind: type
  tables: {{ item.created: items, item.deleted: items }}
  key: [data.id]
",
            base = self.base
        )
    }
}

impl Books {
    pub(crate) fn add(&mut self, reference: &str, name: &str, amount: &str) -> String {
        let text = format!(
            r#"{{"ref": {}, "name": {}, "note": null, "money": {{"amount": {amount}}}}}"#,
            Json::Text(reference.to_owned()),
            Json::Text(name.to_owned()),
        );
        let record = self.stamp(&Json::parse(text.as_bytes()).unwrap(), None);
        let id = record.get("id").and_then(Json::plain).unwrap();
        self.records.push(record);
        id
    }

    pub(crate) fn remove(&mut self, id: &str) {
        self.records
            .retain(|record| record.get("id").and_then(Json::as_str) != Some(id));
    }

    /// A record with an id, a time and a tag of its own.
    fn stamp(&mut self, fields: &Json, id: Option<String>) -> Json {
        self.now += SignedDuration::from_micros(1_500_001);
        self.next += 1;
        // Ids are not in the order of creation.
        let id = id.unwrap_or_else(|| format!("i{:05}", self.next * 7919 % 99_991));
        let Json::Object(members) = fields else {
            panic!("no object");
        };
        let mut members = members.clone();
        members.retain(|(name, _)| !matches!(name.as_str(), "id" | "updated_at" | "etag"));
        members.push(("id".to_owned(), Json::Text(id)));
        members.push(("updated_at".to_owned(), Json::Text(self.now.to_string())));
        members.push(("etag".to_owned(), Json::Text(format!("e{}", self.next))));
        Json::Object(members)
    }

    fn position(&self, id: &str) -> Option<usize> {
        let is_it = |record: &Json| record.get("id").and_then(Json::as_str) == Some(id);
        self.records.iter().position(is_it)
    }
}

fn json(status: u16, text: impl Into<String>) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, [("content-type", "application/json")], text.into()).into_response()
}

async fn handle(
    State(desk): State<Desk>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut books = desk.books.lock().unwrap();
    let path = uri.path().trim_start_matches("/api").to_owned();
    let query: HashMap<String, String> = axum::extract::Query::try_from_uri(&uri)
        .map(|q| q.0)
        .unwrap_or_default();
    if path == "/token" {
        let token = format!("t{}", books.tokens.len());
        books.tokens.push(token.clone());
        return json(200, format!(r#"{{"access_token":"{token}"}}"#));
    }
    books.seen.push(format!("{method} {uri}"));
    let bearer = headers
        .get("authorization")
        .and_then(|v| v.to_str().ok())
        .unwrap_or("");
    let is_known = books
        .tokens
        .iter()
        .any(|token| bearer == format!("Bearer {token}"));
    let is_signed = headers.get("x-mac").is_some_and(|mac| {
        let signed = format!("{method}\n{uri}\n{}\n", headers["x-time"].to_str().unwrap());
        let hash = lockstep_http_client::sign::Hash::Sha256;
        let mac = lockstep_http_client::sign::unhex(mac.to_str().unwrap()).unwrap();
        lockstep_http_client::sign::is_mac(hash, b"whsec", &[signed.as_bytes(), &body], &mac)
    });
    if !is_known && !is_signed {
        return json(401, "{}");
    }
    match books.faults.pop_front() {
        Some(Fault::Status(status)) => return json(status, r#"{"error":{"message":"fault"}}"#),
        Some(Fault::Html) => {
            return ([("content-type", "text/html")], "<title>Sign in</title>").into_response();
        }
        Some(Fault::Done) => {
            let _ = route(&desk, &mut books, &method, &path, &query, &headers, &body);
            return json(500, "{}");
        }
        Some(Fault::Then(act)) => {
            let answer = route(&desk, &mut books, &method, &path, &query, &headers, &body);
            act(&mut books);
            return answer;
        }
        Some(Fault::Fine) | None => {}
    }
    route(&desk, &mut books, &method, &path, &query, &headers, &body)
}

fn route(
    desk: &Desk,
    books: &mut Books,
    method: &Method,
    path: &str,
    query: &HashMap<String, String>,
    headers: &HeaderMap,
    body: &[u8],
) -> Response {
    let id = path.strip_prefix("/items/");
    match (method.as_str(), id) {
        ("GET", None) => list(desk, books, query),
        ("GET", Some("search")) => {
            // As searches are: it finds more than was asked for.
            let wanted = query["q"].to_lowercase();
            let first = wanted.split('/').next().unwrap_or_default();
            let like = |record: &&Json| {
                let reference = record.get("ref").and_then(Json::plain).unwrap_or_default();
                reference.to_lowercase().starts_with(first)
            };
            let found: Vec<Json> = books.records.iter().filter(like).cloned().collect();
            json(200, format!(r#"{{"found": {}}}"#, Json::List(found)))
        }
        ("GET", Some(id)) => match books.position(id) {
            Some(at) => json(200, format!(r#"{{"item": {}}}"#, books.records[at])),
            None => json(404, "{}"),
        },
        (method, id) => {
            books.writes += 1;
            write(books, method, id, headers, body)
        }
    }
}

fn write(
    books: &mut Books,
    method: &str,
    id: Option<&str>,
    headers: &HeaderMap,
    body: &[u8],
) -> Response {
    let key = headers
        .get("idempotency-key")
        .map(|key| key.to_str().unwrap().to_owned());
    if let Some(made) = key.as_ref().and_then(|key| books.keys.get(key)) {
        return json(201, format!(r#"{{"item": {made}}}"#));
    }
    let at = id.map(|id| books.position(id));
    if at == Some(None) {
        return json(404, "{}");
    }
    let at = at.flatten();
    if method == "DELETE" {
        books.records.remove(at.unwrap());
        return json(204, "");
    }
    let body = Json::parse(body).unwrap();
    let fields = body.get("item").unwrap();
    let amount = fields
        .at("money.amount")
        .and_then(Json::plain)
        .unwrap_or_default();
    if amount.starts_with('-') {
        return json(
            422,
            r#"{"error": {"message": "amount must not be negative"}}"#,
        );
    }
    let Some(at) = at else {
        let record = books.stamp(fields, None);
        let reference = record.get("ref").cloned();
        if books
            .records
            .iter()
            .any(|other| other.get("ref") == reference.as_ref())
        {
            return json(409, r#"{"error": {"message": "ref is taken"}}"#);
        }
        books.records.push(record.clone());
        if let Some(key) = key.filter(|_| books.remembers_keys) {
            books.keys.insert(key, record.clone());
        }
        return json(201, format!(r#"{{"item": {record}}}"#));
    };
    let before = books.records[at].clone();
    let tag = headers
        .get("if-match")
        .map(|tag| tag.to_str().unwrap().to_owned());
    if tag.is_some() && tag != before.get("etag").and_then(Json::plain) {
        return json(412, "{}");
    }
    let (Json::Object(mut members), Json::Object(changes)) = (before, fields.clone()) else {
        panic!("no objects");
    };
    for (name, value) in changes {
        members.retain(|(other, _)| *other != name);
        members.push((name, value));
    }
    let record = books.stamp(&Json::Object(members), id.map(str::to_owned));
    books.records[at] = record.clone();
    json(200, format!(r#"{{"item": {record}}}"#))
}

fn list(desk: &Desk, books: &Books, query: &HashMap<String, String>) -> Response {
    assert_eq!(
        query.get("kind").map(String::as_str),
        Some("thing"),
        "{query:?}"
    );
    let since: Option<Timestamp> = query.get("updated_since").map(|at| at.parse().unwrap());
    let is_new = |record: &&Json| {
        let updated = record.get("updated_at").and_then(Json::as_str).unwrap();
        since.is_none_or(|since| updated.parse::<Timestamp>().unwrap() >= since)
    };
    let mut records: Vec<Json> = books.records.iter().filter(is_new).cloned().collect();
    let number = |name: &str, or: usize| query.get(name).map_or(or, |n| n.parse().unwrap());
    let limit = number("limit", PAGE);
    let page = |records: &[Json], from: usize| -> Vec<Json> {
        records.iter().skip(from).take(limit).cloned().collect()
    };
    let same = format!("{}/items?kind=thing", desk.base);
    let same = match query.get("updated_since") {
        Some(since) => format!("{same}&updated_since={since}"),
        None => same,
    };
    match desk.style {
        Style::Cursor => {
            records.sort_by_key(|record| record.get("id").and_then(Json::plain));
            let after = query.get("after").cloned().unwrap_or_default();
            records.retain(|record| record.get("id").and_then(Json::plain).unwrap() > after);
            let shown = page(&records, 0);
            let next = match shown.last().filter(|_| records.len() > limit) {
                Some(last) => last.get("id").unwrap().to_string(),
                None => "null".to_owned(),
            };
            json(
                200,
                format!(
                    r#"{{"data": {}, "paging": {{"next": {next}}}}}"#,
                    Json::List(shown)
                ),
            )
        }
        Style::Offset => {
            records.reverse();
            let shown = page(&records, number("offset", 0));
            let total = records.len();
            json(
                200,
                format!(r#"{{"items": {}, "total": {total}}}"#, Json::List(shown)),
            )
        }
        Style::Number => {
            records.reverse();
            let from = (number("page", 1) - 1) * limit;
            if from > 0 && from >= records.len() {
                return json(404, "{}");
            }
            json(
                200,
                format!(r#"{{"items": {}}}"#, Json::List(page(&records, from))),
            )
        }
        Style::Link => {
            let from = number("from", 0);
            let mut answer = json(200, Json::List(page(&records, from)).to_string());
            if from + limit < records.len() {
                let link = format!("<{same}&from={}>; rel=\"next\"", from + limit);
                answer.headers_mut().insert("link", link.parse().unwrap());
            }
            answer
        }
        Style::Url => {
            let from = number("from", 0);
            let next = if from + limit < records.len() {
                // Relative to the address that answered.
                let path = same.split_once("/api/").unwrap().1;
                format!(r#""{path}&from={}""#, from + limit)
            } else {
                "null".to_owned()
            };
            let shown = Json::List(page(&records, from));
            json(200, format!(r#"{{"items": {shown}, "@next": {next}}}"#))
        }
    }
}
