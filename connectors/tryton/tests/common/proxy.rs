//! A server between the connector and Tryton that loses answers, forgets sessions and asks for patience.

#![allow(dead_code, reason = "each test program uses a part of this")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]
#![allow(
    clippy::needless_pass_by_value,
    reason = "tests write values where they are used"
)]

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use lockstep_core::connector::Secret;
use lockstep_http_client::{Auth, Client, Settings, Url};
use lockstep_servers::tryton::{DATABASE, REST_KEY};
use serde_json::{Value as Json, json};

/// What happens to a call.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// None: it is passed on.
    None,
    /// It is answered by this status, header and body, and not carried out.
    Answer(u16, Option<(&'static str, &'static str)>, &'static str),
    /// It is carried out, and answered by an error.
    DoneThenFailed,
    /// It is carried out, and not answered.
    DoneThenSilent,
    /// Somebody writes these values to every record of a model first.
    Edited(&'static str, Json),
    /// Somebody deletes every record of a model that has one of these ids first.
    Deleted(&'static str, Vec<i64>),
}

/// What the proxy is told, and what it saw.
///
/// A call is named by its method over JSON-RPC (`model.party.party.write`), and over REST by verb, model and action, with `#` for an id (`PUT party.party/#`).
#[derive(Clone, Default)]
pub(crate) struct Script {
    /// By the end of a call's name: what happens to the next of it.
    pub(crate) troubles: Arc<Mutex<Vec<(&'static str, Trouble)>>>,
    /// The calls that came.
    pub(crate) called: Arc<Mutex<Vec<String>>>,
    /// Whether the server is as older ones, which do not know when a record was changed.
    pub(crate) is_old: bool,
}

impl Script {
    pub(crate) fn then(self, call: &'static str, trouble: Trouble) -> Script {
        self.troubles.lock().unwrap().push((call, trouble));
        self
    }

    /// How often a call came.
    pub(crate) fn count(&self, call: &str) -> usize {
        let called = self.called.lock().unwrap();
        called.iter().filter(|name| name.ends_with(call)).count()
    }

    fn next(&self, call: &str) -> Option<Trouble> {
        self.called.lock().unwrap().push(call.to_owned());
        let mut troubles = self.troubles.lock().unwrap();
        let at = troubles.iter().position(|(name, _)| call.ends_with(name))?;
        Some(troubles.remove(at).1)
    }
}

/// Starts a proxy; gives its address.
pub(crate) async fn start(target: &str, script: Script) -> String {
    let client = |auth| {
        Client::new(Settings {
            system: "behind the proxy".to_owned(),
            base: Url::parse(target).unwrap(),
            auth,
            ..Settings::default()
        })
        .unwrap()
    };
    let through = client(Auth::None);
    let aside = client(Auth::Bearer(Secret::new(REST_KEY.to_owned())));
    let router = Router::new()
        .fallback(pass)
        .with_state((through, aside, script));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// What a call is named.
fn name(method: &Method, uri: &Uri, body: &[u8]) -> String {
    let rest = format!("/{DATABASE}/rest/model/");
    if let Some(path) = uri.path().strip_prefix(&rest) {
        let part = |part: &str| {
            if part.parse::<i64>().is_ok() {
                "#".to_owned()
            } else {
                part.to_owned()
            }
        };
        let parts: Vec<String> = path.split('/').map(part).collect();
        return format!("{method} {}", parts.join("/"));
    }
    let asked: Json = serde_json::from_slice(body).unwrap();
    asked["method"].as_str().unwrap().to_owned()
}

async fn pass(
    State((through, aside, script)): State<(Client, Client, Script)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let call = name(&method, &uri, &body);
    let trouble = script.next(&call);
    match &trouble {
        Some(Trouble::Answer(status, header, body)) => {
            let status = StatusCode::from_u16(*status).unwrap();
            let header = header.unwrap_or(("content-type", "text/html"));
            return (status, [header], *body).into_response();
        }
        Some(Trouble::Edited(model, values)) => {
            let found = aside.get(format!("{DATABASE}/rest/model/{model}"));
            let found: Json = found.send().await.unwrap().json().unwrap();
            for record in found.as_array().unwrap() {
                let path = format!("{DATABASE}/rest/model/{model}/{}", record["id"]);
                aside.put(path).json(values).send().await.unwrap();
            }
        }
        Some(Trouble::Deleted(model, ids)) => {
            for id in ids {
                let path = format!("{DATABASE}/rest/model/{model}/{id}");
                aside.delete(path).send().await.unwrap();
            }
        }
        _ => {}
    }
    let mut request = through
        .request(method, uri.path_and_query().unwrap().as_str())
        .safe_to_repeat(false)
        .accept_status(&[400, 401, 403, 404, 409, 416, 423, 500]);
    for name in ["authorization", "x-tryton-context"] {
        if let Some(value) = headers.get(name) {
            request = request.header(name, value.to_str().unwrap());
        }
    }
    if let Some(kind) = headers.get("content-type") {
        request = request.body(body, kind.to_str().unwrap());
    }
    let answer = request.send().await.unwrap();
    match trouble {
        Some(Trouble::DoneThenFailed) => {
            return (StatusCode::BAD_GATEWAY, "<html>bad gateway</html>").into_response();
        }
        Some(Trouble::DoneThenSilent) => std::future::pending::<()>().await,
        _ => {}
    }
    let mut body = answer.body.clone();
    if script.is_old && call.ends_with("fields_get") {
        let mut told: Json = serde_json::from_slice(&body).unwrap();
        let fields = told["result"].as_object_mut().unwrap();
        fields.remove("last_modified_at");
        body = json!(told).to_string().into();
    }
    let kind = answer.headers.get("content-type").cloned();
    let kind = kind.unwrap_or_else(|| "text/plain".parse().unwrap());
    (
        StatusCode::from_u16(answer.status).unwrap(),
        [("content-type", kind)],
        body,
    )
        .into_response()
}
