//! Calls of business systems (webhooks): `/hooks/<system>`, without our token, because whoever calls signs.
//!
//! A call is answered once what it names is in the log; whichever runtime captures the system reads it there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use lockstep_core::connector::{Call, DynReader, Registry};
use lockstep_core::error::{Error, Kind, Result};

use crate::config::Config;
use crate::log::Log;
use crate::{query, verify};

/// Most bytes of a call.
pub(super) const CALL_MAX: usize = 4 * 1024 * 1024;

/// The systems that may call.
pub struct Hooks {
    config: Arc<Config>,
    registry: Arc<Registry>,
    log: Arc<dyn Log>,
    readers: Mutex<HashMap<String, Arc<dyn DynReader>>>,
}

impl Hooks {
    /// Opens nothing yet: a system is opened by its first call.
    #[must_use]
    pub fn new(config: Arc<Config>, registry: Arc<Registry>, log: Arc<dyn Log>) -> Hooks {
        Hooks {
            config,
            registry,
            log,
            readers: Mutex::default(),
        }
    }

    async fn reader(&self, system: &str) -> Result<Arc<dyn DynReader>> {
        let known = self.readers().get(system).cloned();
        if let Some(reader) = known {
            return Ok(reader);
        }
        let reader = verify::open(&self.config, &self.registry, system).await?;
        self.readers()
            .insert(system.to_owned(), Arc::clone(&reader));
        Ok(reader)
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<dyn DynReader>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take(&self, system: &str, call: &Call) -> Result<Option<String>> {
        let reader = self.reader(system).await?;
        query::take(&*reader, &self.log, system, call).await
    }
}

/// Takes a call.
pub(super) async fn take(
    State(hooks): State<Arc<Hooks>>,
    Path(system): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let captured = hooks.config.systems.get(&system);
    if captured.is_none_or(|known| known.query.is_none()) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let call = call(&method, &uri.to_string(), &headers, &body);
    match hooks.take(&system, &call).await {
        Ok(answer) => (StatusCode::OK, answer.unwrap_or_default()).into_response(),
        Err(error) => refused(&system, &error),
    }
}

fn call(method: &Method, path: &str, headers: &HeaderMap, body: &Bytes) -> Call {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // What stands before us says what was called; a signature decides whether that is true.
    let scheme = text("x-forwarded-proto").unwrap_or("http");
    let host = text("x-forwarded-host").or_else(|| text(header::HOST.as_str()));
    let lower = |(name, value): (&header::HeaderName, &header::HeaderValue)| {
        let value = value.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    };
    Call {
        method: method.as_str().to_owned(),
        url: format!("{scheme}://{}{path}", host.unwrap_or_default()),
        headers: headers.iter().filter_map(lower).collect(),
        body: body.to_vec(),
        at: Timestamp::now(),
    }
}

/// Says no more than the caller may know; the rest is in our own log.
fn refused(system: &str, error: &Error) -> Response {
    let status = match error.kind() {
        Kind::Unauthorized => StatusCode::UNAUTHORIZED,
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Unsupported | Kind::Config => StatusCode::NOT_FOUND,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    tracing::warn!(
        system,
        status = status.as_u16(),
        "a call was not taken: {}",
        error.chain()
    );
    status.into_response()
}
