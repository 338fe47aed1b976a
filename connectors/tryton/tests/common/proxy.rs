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
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use lockstep_http_client::{Client, Method, Settings, Url};
use serde_json::{Value as Json, json};

/// What happens to a call.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// It is answered by this status, header and body, and not carried out.
    Answer(u16, Option<(&'static str, &'static str)>, &'static str),
    /// It is carried out, and answered by an error.
    DoneThenFailed,
    /// Somebody writes these values to every record of a model first.
    Edited(&'static str, Json),
}

/// What the proxy is told, and what it saw.
#[derive(Clone, Default)]
pub(crate) struct Script {
    /// By the end of a method's name: what happens to the next calls of it.
    pub(crate) troubles: Arc<Mutex<Vec<(&'static str, Trouble)>>>,
    /// The methods that were called.
    pub(crate) called: Arc<Mutex<Vec<String>>>,
    /// Whether the server is as older ones, which do not know when a record was changed.
    pub(crate) is_old: bool,
}

impl Script {
    pub(crate) fn then(self, method: &'static str, trouble: Trouble) -> Script {
        self.troubles.lock().unwrap().push((method, trouble));
        self
    }

    /// How often a method was called.
    pub(crate) fn count(&self, method: &str) -> usize {
        let called = self.called.lock().unwrap();
        called.iter().filter(|name| name.ends_with(method)).count()
    }

    fn next(&self, method: &str) -> Option<Trouble> {
        self.called.lock().unwrap().push(method.to_owned());
        let mut troubles = self.troubles.lock().unwrap();
        let at = troubles
            .iter()
            .position(|(name, _)| method.ends_with(name))?;
        Some(troubles.remove(at).1)
    }
}

/// Starts a proxy; gives its address.
pub(crate) async fn start(target: &str, script: Script) -> String {
    let client = Client::new(Settings {
        system: "behind the proxy".to_owned(),
        base: Url::parse(target).unwrap(),
        ..Settings::default()
    })
    .unwrap();
    let router = Router::new().fallback(pass).with_state((client, script));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn pass(
    State((client, script)): State<(Client, Script)>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let asked: Json = serde_json::from_slice(&body).unwrap();
    let method = asked["method"].as_str().unwrap();
    let session = headers
        .get("authorization")
        .map(|value| value.to_str().unwrap());
    let trouble = script.next(method);
    match &trouble {
        Some(Trouble::Answer(status, header, body)) => {
            let status = StatusCode::from_u16(*status).unwrap();
            let header = header.map(|(name, value)| [(name, value)]);
            return match header {
                Some(header) => (status, header, *body).into_response(),
                None => (status, [("content-type", "text/html")], *body).into_response(),
            };
        }
        Some(Trouble::Edited(model, values)) => {
            let context = json!({ "active_test": false });
            let ids = json!([[], 0, null, null, context]);
            let (_, ids) = send(
                &client,
                &uri,
                session,
                &format!("model.{model}.search"),
                ids,
            )
            .await;
            let params = json!([ids["result"], values, context]);
            send(
                &client,
                &uri,
                session,
                &format!("model.{model}.write"),
                params,
            )
            .await;
        }
        _ => {}
    }
    let (status, mut answer) = send(&client, &uri, session, method, asked["params"].clone()).await;
    if matches!(trouble, Some(Trouble::DoneThenFailed)) {
        return (StatusCode::BAD_GATEWAY, "<html>bad gateway</html>").into_response();
    }
    if script.is_old
        && method.ends_with("fields_get")
        && let Some(fields) = answer["result"].as_object_mut()
    {
        fields.remove("last_modified_at");
    }
    (StatusCode::from_u16(status).unwrap(), axum::Json(answer)).into_response()
}

async fn send(
    client: &Client,
    uri: &Uri,
    session: Option<&str>,
    method: &str,
    params: Json,
) -> (u16, Json) {
    let body = json!({ "id": 1, "method": method, "params": params });
    let mut request = client.request(Method::POST, uri.path()).json(&body);
    if let Some(session) = session {
        request = request.header("authorization", session);
    }
    let answer = request.accept_status(&[401]).send().await.unwrap();
    (answer.status, answer.json().unwrap_or(Json::Null))
}
