//! One request: built by a connector, sent as often as is harmless.

use std::time::Duration;

use bytes::Bytes;
use lockstep_core::{Error, Kind, Result};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Method, Response};
use serde::Serialize;
use tokio::time::Instant;
use url::Url;

use crate::answer::Answer;
use crate::auth::{Authorized, Outgoing};
use crate::client::{Client, read_body};
use crate::failure::{Failure, Repeat, refused, transport};
use crate::path::Path;
use crate::wait;

/// Most redirects of one try.
const HOPS_MAX: usize = 5;

/// A request that is being built.
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    client: Client,
    method: Method,
    path: Path,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Bytes,
    repeatable: bool,
    accepted: Vec<u16>,
    wrong: Option<Error>,
}

/// A request whose parts were checked.
struct Prepared {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
    /// What messages call it.
    what: String,
    accepted: Vec<u16>,
}

impl Request {
    pub(crate) fn new(client: Client, method: Method, path: Path) -> Self {
        let repeatable = matches!(
            method,
            Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS
        );
        Request {
            client,
            method,
            path,
            query: Vec::new(),
            headers: Vec::new(),
            body: Bytes::new(),
            repeatable,
            accepted: Vec::new(),
            wrong: None,
        }
    }

    /// Adds parameters to the query.
    pub fn query<N: AsRef<str>, V: AsRef<str>>(mut self, pairs: &[(N, V)]) -> Self {
        self.query.extend(owned(pairs));
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.headers
            .push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sends a value as JSON.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => self.body(body, "application/json"),
            Err(error) => {
                self.wrong =
                    Some(Error::invalid("a body cannot be written as JSON").because(error));
                self
            }
        }
    }

    /// Sends pairs as a form.
    pub fn form<N: AsRef<str>, V: AsRef<str>>(self, pairs: &[(N, V)]) -> Self {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in pairs {
            form.append_pair(name.as_ref(), value.as_ref());
        }
        self.body(form.finish(), "application/x-www-form-urlencoded")
    }

    /// Sends bytes of a stated type.
    pub fn body(mut self, body: impl Into<Bytes>, content_type: &str) -> Self {
        self.body = body.into();
        self.header("content-type", content_type)
    }

    /// Says whether the request may reach the system twice: by itself only `GET`, `HEAD`, `PUT` and `DELETE` may.
    pub fn safe_to_repeat(mut self, safe: bool) -> Self {
        self.repeatable = safe;
        self
    }

    /// Statuses that are given back as an answer instead of an error.
    pub fn accept_status(mut self, statuses: &[u16]) -> Self {
        self.accepted.extend_from_slice(statuses);
        self
    }

    /// Sends it, and tries again where that is harmless and may help.
    ///
    /// Dropping the future gives the request up; whether the system saw it is then unknown.
    ///
    /// # Errors
    /// See the crate's documentation; the vendor's own words are in [`HttpError`](crate::HttpError).
    pub async fn send(self) -> Result<Answer> {
        let client = self.client.clone();
        let repeatable = self.repeatable;
        let prepared = self.prepare()?;
        let retry = client.inner.settings.retry;
        let mut left = retry.patience;
        let mut renewed = false;
        let mut tries = 0;
        loop {
            tries += 1;
            let outgoing = Outgoing {
                method: &prepared.method,
                url: &prepared.url,
                body: &prepared.body,
            };
            let authorized = client.inner.keeper.authorize(&outgoing).await?;
            let failure = match attempt(&client, &prepared, &authorized, left, tries).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            // A 401 means that nothing was done, so that even what is not repeatable may be sent again.
            if failure.status == Some(401) && !renewed {
                renewed = true;
                if client.inner.keeper.refused(authorized.token).await? {
                    continue;
                }
            }
            let may_repeat = match failure.repeat {
                Repeat::Never => false,
                Repeat::IfSafe => repeatable,
                Repeat::Always => true,
            };
            let pause = failure
                .wait
                .unwrap_or_else(|| wait::back_off(retry, tries + 1));
            if failure.error.kind() == Kind::Throttled {
                client.slow_down(pause);
            }
            if !may_repeat || tries >= retry.tries {
                return Err(failure.error);
            }
            if pause > left {
                return Err(failure.error);
            }
            left -= pause;
            tokio::time::sleep(pause).await;
        }
    }

    fn prepare(self) -> Result<Prepared> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let settings = &self.client.inner.settings;
        let what = format!("{} {}", self.method, self.path.shown);
        if self.path.unusable {
            return Err(Error::invalid(format!(
                "`{what}` names no record of system `{}`",
                settings.system
            ))
            .help("an id in a path must be neither empty, `.` nor `..`"));
        }
        let mut url = address(&settings.base, &self.path.text, &settings.system)?;
        if !self.query.is_empty() || self.client.inner.keeper.query().is_some() {
            let mut pairs = url.query_pairs_mut();
            pairs.extend_pairs(&self.query);
            pairs.extend_pairs(self.client.inner.keeper.query());
        }
        let mut headers = HeaderMap::new();
        for (name, value) in settings.headers.iter().chain(&self.headers) {
            add(&mut headers, name, value)?;
        }
        if !headers.contains_key("accept") {
            headers.insert("accept", HeaderValue::from_static("application/json"));
        }
        Ok(Prepared {
            method: self.method,
            url,
            headers,
            body: self.body,
            what,
            accepted: self.accepted,
        })
    }
}

fn owned<'a, N: AsRef<str>, V: AsRef<str>>(
    pairs: &'a [(N, V)],
) -> impl Iterator<Item = (String, String)> + 'a {
    pairs
        .iter()
        .map(|(name, value)| (name.as_ref().to_owned(), value.as_ref().to_owned()))
}

/// Sends a request once, following redirects to the same host.
async fn attempt(
    client: &Client,
    prepared: &Prepared,
    authorized: &Authorized,
    patience: Duration,
    tries: u32,
) -> std::result::Result<Answer, Failure> {
    let system = client.system();
    let inner = &client.inner;
    let mut headers = prepared.headers.clone();
    for (name, value) in &authorized.headers {
        add(&mut headers, name, value.expose()).map_err(Failure::never)?;
    }
    let Some(_permit) = inner.meter.admit(patience).await else {
        return Err(Failure::never(
            Error::new(
                Kind::Throttled,
                format!("system `{system}` asked to be left alone for longer than a request waits"),
            )
            .after(inner.meter.silent_for()),
        ));
    };
    let began = Instant::now();
    let mut url = match &authorized.base {
        Some(base) => on_host(&prepared.url, base),
        None => prepared.url.clone(),
    };
    for _ in 0..=HOPS_MAX {
        let sent = inner
            .http
            .request(prepared.method.clone(), url.clone())
            .headers(headers.clone())
            .body(prepared.body.clone())
            .send()
            .await;
        let mut response = sent.map_err(|error| transport(system, &prepared.what, error))?;
        if let Some(next) = redirect(&response, prepared, &url, system)? {
            url = next;
            continue;
        }
        let status = response.status().as_u16();
        if let Some(pause) =
            (inner.settings.pace.as_ref()).and_then(|pace| pace(status, response.headers()))
        {
            client.slow_down(pause);
        }
        let max = inner.settings.body_max;
        let body = read_body(&mut response, max, system, &prepared.what).await;
        tracing::debug!(
            system,
            request = prepared.what,
            status,
            tries,
            elapsed_ms = began.elapsed().as_millis() as u64,
            "answered"
        );
        let headers = std::mem::take(response.headers_mut());
        if response.status().is_success() || prepared.accepted.contains(&status) {
            return Ok(Answer {
                status,
                headers,
                body: body?,
                url,
                what: prepared.what.clone(),
                system: system.to_owned(),
            });
        }
        // The status says more than that its body was too long or cut.
        let body = body.unwrap_or_default();
        return Err(refused(system, &prepared.what, status, headers, body));
    }
    Err(Failure::never(Error::config(format!(
        "system `{system}` redirects `{}` more than {HOPS_MAX} times",
        prepared.what
    ))))
}

/// An address on the host that a token is for.
fn on_host(url: &Url, base: &Url) -> Url {
    let mut moved = base.clone();
    moved.set_path(url.path());
    moved.set_query(url.query());
    moved
}

/// Where an answer redirects to, if it does and may be followed.
fn redirect(
    response: &Response,
    prepared: &Prepared,
    url: &Url,
    system: &str,
) -> std::result::Result<Option<Url>, Failure> {
    let status = response.status().as_u16();
    if !matches!(status, 301 | 302 | 303 | 307 | 308) || prepared.accepted.contains(&status) {
        return Ok(None);
    }
    let target = response
        .headers()
        .get(LOCATION)
        .and_then(|target| target.to_str().ok())
        .and_then(|target| url.join(target).ok());
    let Some(target) = target else {
        return Ok(None);
    };
    let refuse = |message: String, help: &'static str| {
        Err(Failure::never(Error::config(message).help(help)))
    };
    if target.origin() != url.origin() {
        let to = target.origin().ascii_serialization();
        return refuse(
            format!("system `{system}` redirects `{}` to `{to}`", prepared.what),
            "credentials are not sent to another host: give that address as the base, if it is the right one",
        );
    }
    // Of the older statuses, clients make a GET: a write would turn into a listing that looks like a success.
    let keeps_method = matches!(status, 307 | 308);
    if !keeps_method && !matches!(prepared.method, Method::GET | Method::HEAD) {
        return refuse(
            format!("system `{system}` redirects `{}`", prepared.what),
            "a write is not sent to where it was not meant to go: check the base address",
        );
    }
    Ok(Some(target))
}

/// The address of a path.
pub(crate) fn address(base: &Url, path: &str, system: &str) -> Result<Url> {
    let is_whole = path.starts_with("http://") || path.starts_with("https://");
    let text = if is_whole {
        path.to_owned()
    } else {
        let base = base.as_str().trim_end_matches('/');
        let path = path.trim_start_matches('/');
        let slash = if path.is_empty() || path.starts_with('?') {
            ""
        } else {
            "/"
        };
        format!("{base}{slash}{path}")
    };
    let unusable = |error: url::ParseError| {
        Error::invalid(format!("an address of system `{system}` cannot be read")).because(error)
    };
    let url = Url::parse(&text).map_err(unusable)?;
    if url.origin() != base.origin() {
        return Err(Error::invalid(format!(
            "system `{system}` links to `{}`",
            url.origin().ascii_serialization()
        ))
        .help("credentials are not sent to another host: give that address as the base, if it is the right one"));
    }
    Ok(url)
}

fn add(headers: &mut HeaderMap, name: &str, value: &str) -> Result<()> {
    let unusable = || {
        Error::invalid(format!(
            "header `{name}` cannot be sent: its name or value holds characters that headers do not take"
        ))
    };
    let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable())?;
    let mut value = HeaderValue::from_str(value).map_err(|_| unusable())?;
    value.set_sensitive(true);
    headers.insert(key, value);
    Ok(())
}
