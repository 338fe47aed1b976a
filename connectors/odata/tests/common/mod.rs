//! A stand-in of our own, written to the OData 4 standard, for what no independent server shows: versions (ETags), tokens against forged requests, batches in JSON, links to further pages, delta links, deep inserts, and trouble on request.

#![allow(
    dead_code,
    clippy::needless_pass_by_value,
    clippy::unwrap_used,
    reason = "every test uses a part of it, and what fails here fails the test"
)]

mod filter;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use lockstep_core::connector::Secret;
use lockstep_http_client::{Auth, Client, Settings, Url};
use percent_encoding::percent_decode_str;
use serde_json::{Value as Json, json};

/// A request as it came, outside of batches or inside of one.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path below the service and query, decoded.
    pub(crate) url: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn is_write(&self) -> bool {
        self.method != "GET" && !self.url.starts_with("$batch")
    }
}

/// Stands for a request that is carried out and then answered with 500.
const DONE: u16 = 599;

/// An answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

pub(crate) fn told(status: u16, body: impl ToString) -> Told {
    Told {
        status,
        headers: Vec::new(),
        body: body.to_string(),
    }
}

type Rule = Box<dyn FnMut(&Asked) -> Option<Told> + Send>;

#[derive(Default)]
struct Inner {
    version: String,
    sets: BTreeMap<String, Vec<Json>>,
    /// What changed: the set, and the key of the record.
    log: Vec<(String, Json)>,
    asked: Vec<Asked>,
    rule: Option<Rule>,
    count: u64,
}

/// The stand-in; ends when dropped.
pub(crate) struct Stand {
    port: u16,
    inner: Arc<Mutex<Inner>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stand {
    pub(crate) async fn start(version: &str) -> Stand {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = Arc::new(Mutex::new(Inner {
            version: version.to_owned(),
            ..Inner::default()
        }));
        let router = Router::new().fallback(serve).with_state(Arc::clone(&inner));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Stand { port, inner, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/svc", self.port)
    }

    pub(crate) fn count(&self, which: impl Fn(&Asked) -> bool) -> u64 {
        let inner = self.inner.lock().unwrap();
        inner.asked.iter().filter(|asked| which(asked)).count() as u64
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.inner.lock().unwrap().asked.clone()
    }

    /// Decides from now on by this rule, before anything is done; none lets a request pass.
    pub(crate) fn rule(&self, rule: impl FnMut(&Asked) -> Option<Told> + Send + 'static) {
        self.inner.lock().unwrap().rule = Some(Box::new(rule));
    }

    pub(crate) fn records(&self, set: &str) -> Vec<Json> {
        let inner = self.inner.lock().unwrap();
        inner.sets.get(set).cloned().unwrap_or_default()
    }

    /// Changes a record behind everybody's back.
    pub(crate) fn edit(&self, set: &str, change: impl Fn(&mut Json)) {
        let mut inner = self.inner.lock().unwrap();
        inner.count += 1;
        let etag = format!("W/\"{}\"", inner.count);
        for record in inner.sets.get_mut(set).unwrap() {
            change(record);
            record["@odata.etag"] = json!(etag);
        }
    }
}

/// Asks a service by its own interface.
pub(crate) async fn ask(url: &str, method: &str, path: &str, body: &Json) -> Json {
    let client = Client::new(Settings {
        system: format!("test {url}"),
        base: Url::parse(url).unwrap(),
        auth: Auth::Basic {
            user: "u".to_owned(),
            password: Secret::new("p".to_owned()),
        },
        headers: vec![
            ("x-csrf-token".to_owned(), "t0ken".to_owned()),
            ("cookie".to_owned(), "sid=1".to_owned()),
        ],
        ..Settings::default()
    });
    let request = client
        .unwrap()
        .request(Method::from_bytes(method.as_bytes()).unwrap(), path);
    let request = if body.is_null() {
        request
    } else {
        request.json(body)
    };
    let answer = request.send().await.unwrap();
    serde_json::from_slice(&answer.body).unwrap_or(Json::Null)
}

async fn serve(
    State(inner): State<Arc<Mutex<Inner>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let text = uri.path_and_query().map_or("", |all| all.as_str());
    let asked = Asked {
        method: method.to_string(),
        url: decoded(text.strip_prefix("/svc").unwrap_or(text)),
        headers: headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned()))
            .collect(),
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let mut inner = inner.lock().unwrap();
    let told = inner.answer(asked);
    let mut response = Response::builder().status(told.status);
    for (name, value) in &told.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(told.body)).unwrap()
}

fn decoded(text: &str) -> String {
    let text = text.trim_start_matches('/');
    percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

fn error(status: u16, message: &str) -> Told {
    told(
        status,
        json!({"error": {"code": format!("X/{status}"), "message": message}}),
    )
}

impl Inner {
    /// The way of a request of its own.
    fn answer(&mut self, asked: Asked) -> Told {
        let header = |name: &str| asked.headers.get(name).map(String::as_str);
        if header("authorization") != Some("Basic dTpw") {
            return error(401, "who are you?");
        }
        if asked.url.starts_with("$metadata") {
            let text = include_str!("../shop.xml");
            let version = format!("edmx:Edmx Version=\"{}\"", self.version);
            return told(200, text.replace("edmx:Edmx Version=\"4.0\"", &version));
        }
        if header("x-csrf-token") == Some("Fetch") {
            let mut told = told(200, "{}");
            told.headers = vec![
                ("x-csrf-token".to_owned(), "t0ken".to_owned()),
                (
                    "set-cookie".to_owned(),
                    "sid=1; path=/; HttpOnly".to_owned(),
                ),
            ];
            return told;
        }
        let knows = header("x-csrf-token") == Some("t0ken") && header("cookie") == Some("sid=1");
        if asked.method != "GET" && !knows {
            let mut told = error(403, "CSRF token validation failed");
            told.headers
                .push(("x-csrf-token".to_owned(), "Required".to_owned()));
            return told;
        }
        if !asked.url.starts_with("$batch") {
            return self.one(asked);
        }
        self.asked.push(asked.clone());
        let fate = self.rule.as_mut().and_then(|rule| rule(&asked));
        let is_lost = fate.as_ref().is_some_and(|told| told.status == DONE);
        if let Some(told) = fate.filter(|_| !is_lost) {
            return told;
        }
        let kind = asked.headers["content-type"].clone();
        let mut told = if kind.starts_with("application/json") {
            self.json_batch(&asked)
        } else {
            self.multipart(&asked, &kind)
        };
        if is_lost {
            told = error(500, "lost");
        }
        told
    }

    fn json_batch(&mut self, asked: &Asked) -> Told {
        if self.version == "4.0" {
            return error(415, "no JSON here");
        }
        let body: Json = serde_json::from_str(&asked.body).unwrap();
        let mut responses = Vec::new();
        for request in body["requests"].as_array().unwrap() {
            let headers = request["headers"].as_object().unwrap();
            let one = Asked {
                method: request["method"].as_str().unwrap().to_owned(),
                url: decoded(request["url"].as_str().unwrap()),
                headers: headers
                    .iter()
                    .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
                    .collect(),
                body: request.get("body").map(Json::to_string).unwrap_or_default(),
            };
            let told = self.one(one);
            let headers: BTreeMap<String, String> = told.headers.into_iter().collect();
            let body: Json = serde_json::from_str(&told.body).unwrap_or(Json::Null);
            responses.insert(0, json!({"id": request["id"], "status": told.status, "headers": headers, "body": body}));
        }
        told(200, json!({ "responses": responses }))
    }

    /// Change sets are atomic.
    fn multipart(&mut self, asked: &Asked, kind: &str) -> Told {
        let outer = kind.split("boundary=").nth(1).unwrap();
        let goes_on = asked
            .headers
            .get("prefer")
            .is_some_and(|text| text.contains("continue-on-error"));
        let mut text = String::new();
        for part in parts(&asked.body, outer) {
            let head = part.split("\r\n\r\n").next().unwrap();
            let mut failed = false;
            if let Some(inner) = head.split("multipart/mixed; boundary=").nth(1) {
                let (before, log) = (self.sets.clone(), self.log.clone());
                let mut answers = Vec::new();
                for one in parts(&part, inner.trim()) {
                    let told = self.one(http(&one));
                    failed = told.status >= 400;
                    answers.push(written(&told));
                    if failed {
                        break;
                    }
                }
                if failed {
                    (self.sets, self.log) = (before, log);
                    text.push_str(&format!("--a\r\n{}\r\n", answers.pop().unwrap()));
                } else {
                    let answers: String = answers
                        .iter()
                        .map(|one| format!("--b\r\n{one}\r\n"))
                        .collect();
                    text.push_str(&format!(
                        "--a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{answers}--b--\r\n"
                    ));
                }
            } else {
                let told = self.one(http(&part));
                text.push_str(&format!("--a\r\n{}\r\n", written(&told)));
            }
            if failed && !goes_on {
                break;
            }
        }
        let mut told = told(200, format!("{text}--a--\r\n"));
        told.headers.push((
            "content-type".to_owned(),
            "multipart/mixed; boundary=a".to_owned(),
        ));
        told
    }

    /// One request, alone or in a batch.
    fn one(&mut self, asked: Asked) -> Told {
        self.asked.push(asked.clone());
        let fate = self.rule.as_mut().and_then(|rule| rule(&asked));
        let is_lost = fate.as_ref().is_some_and(|told| told.status == DONE);
        match fate.filter(|_| !is_lost) {
            Some(told) => told,
            None if is_lost => {
                self.carry_out(&asked);
                error(500, "lost")
            }
            None => self.carry_out(&asked),
        }
    }

    fn carry_out(&mut self, asked: &Asked) -> Told {
        let (path, query) = asked.url.split_once('?').unwrap_or((&asked.url, ""));
        let (set, key) = path
            .split_once('(')
            .map_or((path, None), |(set, key)| (set, key.strip_suffix(')')));
        let set = set.to_owned();
        let key_name = key_of(&set);
        let records = self.sets.entry(set.clone()).or_default();
        let place = key.and_then(|key| {
            let (name, value) = key
                .split_once('=')
                .filter(|_| !key.starts_with('\''))
                .unwrap_or((key_name, key));
            let value = value.trim_matches('\'').replace("''", "'");
            records
                .iter()
                .position(|record| plain(&record[name]) == value)
        });
        let given: Json = serde_json::from_str(&asked.body).unwrap_or(Json::Null);
        let seen = asked.headers.get("if-match");
        if let (Some(at), Some(seen)) = (place, seen)
            && seen != "*"
            && records[at]["@odata.etag"] != json!(seen)
        {
            return error(412, "changed");
        }
        match (asked.method.as_str(), place) {
            ("GET", _) if key.is_none() => self.list(&set, query, asked),
            ("POST", _) => self.create(&set, &given),
            ("PATCH", Some(_)) if asked.headers.contains_key("if-none-match") => {
                error(412, "is there")
            }
            ("PATCH", None) if asked.headers.contains_key("if-none-match") => {
                let (name, value) = key.unwrap().split_once('=').unwrap();
                let mut given = given;
                given[name] = json!(value.trim_matches('\''));
                let mut told = self.create(&set, &given);
                (told.status, told.body) = (204, String::new());
                told
            }
            ("PATCH", Some(at)) => {
                self.count += 1;
                merge(&mut records[at], &given);
                bind(&mut records[at]);
                records[at]["@odata.etag"] = json!(format!("W/\"{}\"", self.count));
                let id = records[at][key_name].clone();
                self.log.push((set, id));
                told(204, "")
            }
            ("DELETE", Some(at)) => {
                let id = records.remove(at)[key_name].clone();
                self.log.push((set, id));
                told(204, "")
            }
            _ => error(404, "no such record"),
        }
    }

    fn create(&mut self, set: &str, given: &Json) -> Told {
        self.count += 1;
        let key = key_of(set);
        let mut record = given.clone();
        if record[key].is_null() {
            record[key] = match set {
                "Orders" => json!(self.count),
                _ => json!(uuid::Uuid::from_u128(u128::from(self.count)).to_string()),
            };
        }
        let records = self.sets.entry(set.to_owned()).or_default();
        if records.iter().any(|known| known[key] == record[key]) {
            return error(400, "key exists already");
        }
        bind(&mut record);
        record["@odata.etag"] = json!(format!("W/\"{}\"", self.count));
        records.push(record.clone());
        self.log.push((set.to_owned(), record[key].clone()));
        let mut told = told(201, &record);
        let address = format!("{set}({})", plain(&record[key]));
        told.headers.push(("OData-EntityId".to_owned(), address));
        told
    }

    fn list(&self, set: &str, query: &str, asked: &Asked) -> Told {
        let option = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value.to_owned())
        };
        let all = &self.sets[set];
        if let Some(token) = option("$deltatoken") {
            let Ok(from) = token.parse::<usize>() else {
                return error(410, "gone");
            };
            let entry = |(_, id): &(String, Json)| {
                let is_there = all.iter().any(|record| record[key_of(set)] == *id);
                let id = plain(id);
                match is_there {
                    true => json!({key_of(set): id}),
                    false => {
                        json!({"@odata.context": format!("#{set}/$deletedEntity"), "id": format!("{set}({id})"), "reason": "deleted"})
                    }
                }
            };
            let changes = self.log[from.min(self.log.len())..]
                .iter()
                .filter(|(known, _)| known == set);
            let changes: Vec<Json> = changes.map(entry).collect();
            let link = format!("{set}?$deltatoken={}", self.log.len());
            return told(200, json!({"value": changes, "@odata.deltaLink": link}));
        }
        let Ok(mut rows) = filter::filtered(all, option("$filter").as_deref()) else {
            return error(400, "a filter that cannot be read");
        };
        if let Some(order) = option("$orderby") {
            filter::ordered(&mut rows, &order);
        }
        if let Some(top) = option("$top").and_then(|top| top.parse().ok()) {
            rows.truncate(top);
        }
        let prefer = asked.headers.get("prefer").cloned().unwrap_or_default();
        let size = prefer
            .split("maxpagesize=")
            .nth(1)
            .and_then(|size| size.parse().ok());
        let size: usize = size.unwrap_or(7);
        let skip: usize = option("$skiptoken")
            .and_then(|skip| skip.parse().ok())
            .unwrap_or(0);
        let mut answer = json!({"value": rows.iter().skip(skip).take(size).collect::<Vec<_>>()});
        let rest: Vec<&str> = query
            .split('&')
            .filter(|pair| !pair.starts_with("$skiptoken"))
            .collect();
        if rows.len() > skip + size {
            // Relative, as some services write it.
            let query: Vec<String> = rest
                .iter()
                .map(|pair| {
                    pair.replace(' ', "%20")
                        .replace('#', "%23")
                        .replace('+', "%2B")
                })
                .collect();
            answer["@odata.nextLink"] = json!(format!(
                "{set}?{}&$skiptoken={}",
                query.join("&"),
                skip + size
            ));
        } else if prefer.contains("track-changes") || query.contains("track") {
            answer["@odata.deltaLink"] = json!(format!("{set}?$deltatoken={}", self.log.len()));
        }
        told(200, answer)
    }
}

fn key_of(set: &str) -> &'static str {
    if set == "Lines" { "No" } else { "ID" }
}

fn plain(value: &Json) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn merge(record: &mut Json, given: &Json) {
    for (name, value) in given.as_object().unwrap() {
        match value {
            Json::Object(_) if record[name].is_object() => merge(&mut record[name], value),
            value => record[name] = value.clone(),
        }
    }
}

/// Follows the reference of an order to its customer.
fn bind(record: &mut Json) {
    let bound = record
        .as_object_mut()
        .unwrap()
        .remove("customer@odata.bind");
    if let Some(bound) = bound {
        let id = bound
            .as_str()
            .and_then(|text| text.strip_prefix("Customers(")?.strip_suffix(')'));
        record["_customer_value"] = json!(id);
    }
}

fn parts(text: &str, boundary: &str) -> Vec<String> {
    let mark = format!("--{boundary}\r\n");
    let end = format!("--{boundary}--");
    let text = text.split(&end).next().unwrap();
    text.split(&mark).skip(1).map(str::to_owned).collect()
}

/// A request inside a batch.
fn http(part: &str) -> Asked {
    let (_, request) = part.split_once("\r\n\r\n").unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let mut line = lines.next().unwrap().split(' ');
    let header = |line: &str| {
        line.split_once(": ")
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
    };
    Asked {
        method: line.next().unwrap().to_owned(),
        url: decoded(line.next().unwrap()),
        headers: lines.filter_map(header).collect(),
        body: body.trim().to_owned(),
    }
}

fn written(told: &Told) -> String {
    let headers: String = told
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!(
        "Content-Type: application/http\r\n\r\nHTTP/1.1 {} X\r\n{headers}\r\n{}\r\n",
        told.status, told.body
    )
}
