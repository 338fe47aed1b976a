//! A store that speaks S3 and goes wrong where it is told to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    None,
    /// Nothing is done; the status with an error of this code.
    Refuse(u16, &'static str),
    /// The work is done, and then a failure is reported.
    DoneButFailed,
    /// The work is done, and the connection is cut in the middle of the answer.
    DoneButCut,
    /// A page of something else.
    Html,
    /// Conditions and ranges are ignored.
    Simple,
}

/// Decides on a request by its method and path.
type Decide = Box<dyn FnMut(&Method, &str) -> Fault + Send>;

#[derive(Clone)]
pub(crate) struct Store {
    inner: Arc<Mutex<Inner>>,
    pub(crate) url: String,
}

struct Inner {
    objects: BTreeMap<String, Bytes>,
    decide: Decide,
    requests: Vec<String>,
}

impl Store {
    pub(crate) async fn start() -> Store {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let store = Store {
            url: format!("http://{}", listener.local_addr().unwrap()),
            inner: Arc::new(Mutex::new(Inner {
                objects: BTreeMap::new(),
                decide: Box::new(|_, _| Fault::None),
                requests: Vec::new(),
            })),
        };
        let router = Router::new().fallback(answer).with_state(store.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        store
    }

    /// From now on this decides.
    pub(crate) fn decide(&self, decide: impl FnMut(&Method, &str) -> Fault + Send + 'static) {
        self.inner.lock().unwrap().decide = Box::new(decide);
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.inner.lock().unwrap().objects.keys().cloned().collect()
    }

    /// Takes an object away behind everybody's back.
    pub(crate) fn lose(&self, part: &str) -> usize {
        let mut inner = self.inner.lock().unwrap();
        let before = inner.objects.len();
        inner.objects.retain(|path, _| !path.contains(part));
        before - inner.objects.len()
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.lock().unwrap().requests)
    }

    /// Settings of a lake in it.
    pub(crate) fn settings(&self) -> serde_json::Value {
        serde_json::json!({
            "root": "s3://shop/lake", "endpoint": self.url, "access_key": "key", "secret_key": "very secret",
            "batch_max": 500, "compact_at": 4, "checkpoint_every": 3, "group_rows": 100,
        })
    }
}

async fn answer(State(store): State<Store>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let path = parts.uri.path().to_owned();
    let signed = parts.headers.get("authorization").is_some_and(|value| {
        value
            .to_str()
            .unwrap()
            .starts_with("AWS4-HMAC-SHA256 Credential=key/")
    });
    if !signed {
        return error(403, "AccessDenied");
    }
    let mut inner = store.inner.lock().unwrap();
    inner.requests.push(format!("{} {path}", parts.method));
    let fault = (inner.decide)(&parts.method, &path);
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let simple = fault == Fault::Simple;
    match fault {
        Fault::Refuse(status, code) => return error(status, code),
        Fault::Html => {
            let page = "<html><title>Sign in</title></html>";
            return Response::builder()
                .header("content-type", "text/html")
                .body(page.into())
                .unwrap();
        }
        _ => {}
    }
    let done = match parts.method {
        Method::PUT => {
            if header("if-none-match").is_some() && !simple && inner.objects.contains_key(&path) {
                error(412, "PreconditionFailed")
            } else {
                inner.objects.insert(path, body);
                Response::new(Body::empty())
            }
        }
        Method::DELETE => {
            inner.objects.remove(&path);
            Response::builder().status(204).body(Body::empty()).unwrap()
        }
        Method::GET if path == "/shop" => {
            list(&inner.objects, parts.uri.query().unwrap_or_default())
        }
        Method::GET => match inner.objects.get(&path) {
            None => error(404, "NoSuchKey"),
            Some(object) => {
                let range = header("range").filter(|_| !simple);
                let range = range.and_then(|range| {
                    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
                    Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()?))
                });
                match range {
                    Some((from, to)) => {
                        let part = object.slice(from..object.len().min(to + 1));
                        Response::builder().status(206).body(part.into()).unwrap()
                    }
                    None => Response::new(object.clone().into()),
                }
            }
        },
        _ => error(405, "MethodNotAllowed"),
    };
    match fault {
        Fault::DoneButFailed => error(500, "InternalError"),
        Fault::DoneButCut => {
            // More is announced than comes.
            let cut = futures_util::stream::once(async {
                Err::<Bytes, _>(std::io::ErrorKind::ConnectionReset)
            });
            let cut = futures_util::TryStreamExt::map_err(cut, std::io::Error::from);
            Response::builder()
                .header("content-length", "1000")
                .body(Body::from_stream(cut))
                .unwrap()
        }
        _ => done,
    }
}

/// Two objects a page.
fn list(objects: &BTreeMap<String, Bytes>, query: &str) -> Response {
    let parameter = |name: &str| {
        let value = query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        value.map(|value| value.replace("%2F", "/"))
    };
    let prefix = format!("/shop/{}", parameter("prefix").unwrap_or_default());
    let after = parameter("continuation-token").unwrap_or_default();
    let mut keys = objects
        .keys()
        .filter(|key| key.starts_with(&prefix) && **key > after);
    let page: Vec<&String> = keys.by_ref().take(2).collect();
    let is_last = keys.next().is_none();
    let mut xml = format!(
        "<ListBucketResult><Name>shop</Name><IsTruncated>{}</IsTruncated>",
        !is_last
    );
    for key in &page {
        let name = key.trim_start_matches("/shop/").replace('&', "&amp;");
        xml.push_str(&format!("<Contents><Key>{name}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>"));
    }
    if let (false, Some(last)) = (is_last, page.last()) {
        xml.push_str(&format!(
            "<NextContinuationToken>{last}</NextContinuationToken>"
        ));
    }
    Response::new(format!("{xml}</ListBucketResult>").into())
}

fn error(status: u16, code: &str) -> Response {
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .body(format!("<Error><Code>{code}</Code><Message>m</Message></Error>").into())
        .unwrap()
}
