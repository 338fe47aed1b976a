//! A client of one system: connections, credentials and budget behind one cheap handle.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lockstep_core::{Error, Kind, Result};
use reqwest::{Method, Response};
use url::Url;

use crate::auth::Keeper;
use crate::budget::Meter;
use crate::failure::{Failure, Repeat, transport};
use crate::path::Path;
use crate::request::Request;
use crate::settings::Settings;
use crate::tls;

/// Sends requests to one system; clones share everything.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) http: reqwest::Client,
    pub(crate) keeper: Keeper,
    pub(crate) meter: Arc<Meter>,
}

impl Client {
    /// Makes a client; connects to nothing yet.
    ///
    /// # Errors
    /// [`Kind::Config`] for settings that cannot work: an address with credentials in it, a budget out of range, an unreadable `ca_file` or key.
    pub fn new(settings: Settings) -> Result<Client> {
        check(&settings)?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::config(settings.ca_file.as_deref())?)
            // Redirects are followed here, where it is known which of them are safe.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(settings.timeouts.connect)
            .read_timeout(settings.timeouts.idle)
            .timeout(settings.timeouts.total)
            .pool_idle_timeout(Duration::from_secs(20))
            .user_agent(concat!("lockstep/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| {
                Error::config("no HTTP client can be made").because(error.without_url())
            })?;
        let origin = settings.base.origin().ascii_serialization();
        let meter = Meter::of(&settings.system, &origin, settings.budget)?;
        let keeper = Keeper::new(
            settings.auth.clone(),
            &http,
            &settings.system,
            settings.base_in.as_deref(),
        )?;
        Ok(Client {
            inner: Arc::new(Inner {
                settings,
                http,
                keeper,
                meter,
            }),
        })
    }

    /// Begins a request. A path is relative to the base; a whole address must be of the same scheme, host and port.
    pub fn request(&self, method: Method, path: impl Into<Path>) -> Request {
        Request::new(self.clone(), method, path.into())
    }

    /// Begins a `GET`.
    pub fn get(&self, path: impl Into<Path>) -> Request {
        self.request(Method::GET, path)
    }

    /// Begins a `POST`.
    pub fn post(&self, path: impl Into<Path>) -> Request {
        self.request(Method::POST, path)
    }

    /// Begins a `PUT`.
    pub fn put(&self, path: impl Into<Path>) -> Request {
        self.request(Method::PUT, path)
    }

    /// Begins a `PATCH`.
    pub fn patch(&self, path: impl Into<Path>) -> Request {
        self.request(Method::PATCH, path)
    }

    /// Begins a `DELETE`.
    pub fn delete(&self, path: impl Into<Path>) -> Request {
        self.request(Method::DELETE, path)
    }

    /// What paths are relative to.
    #[must_use]
    pub fn base(&self) -> &Url {
        &self.inner.settings.base
    }

    /// The system's name.
    #[must_use]
    pub fn system(&self) -> &str {
        &self.inner.settings.system
    }

    /// Leaves the system alone for a while: holds for every client of it in this process.
    pub fn slow_down(&self, pause: Duration) {
        self.inner.meter.slow_down(pause);
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("settings", &self.inner.settings)
            .finish_non_exhaustive()
    }
}

fn check(settings: &Settings) -> Result<()> {
    let base = &settings.base;
    let system = &settings.system;
    if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
        return Err(Error::config(format!(
            "the address of system `{system}` has the scheme `{}`",
            base.scheme()
        ))
        .help("give an address that begins with https:// (or http:// on this machine)"));
    }
    if !base.username().is_empty() || base.password().is_some() || base.query().is_some() {
        return Err(Error::config(format!(
            "the address of system `{system}` holds a user, a password or a query"
        ))
        .help("give credentials by their own settings: addresses are printed"));
    }
    if settings.retry.tries == 0 || settings.body_max == 0 {
        return Err(Error::config(format!(
            "system `{system}` may be tried 0 times, or answer 0 bytes"
        ))
        .help("give at least 1"));
    }
    Ok(())
}

/// Reads a body up to a limit; what lies beyond is never read.
pub(crate) async fn read_body(
    response: &mut Response,
    max: usize,
    system: &str,
    what: &str,
) -> std::result::Result<Bytes, Failure> {
    let too_large = || {
        Failure::never(
            Error::new(
                Kind::Invalid,
                format!("system `{system}` answered more than {max} bytes to `{what}`"),
            )
            .help("ask for smaller pages, or raise the limit of a body"),
        )
    };
    let told = response.content_length().unwrap_or(0);
    if told > max as u64 {
        return Err(too_large());
    }
    let mut body = BytesMut::with_capacity(usize::try_from(told).unwrap_or(0).min(64 * 1024));
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > max => return Err(too_large()),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body.freeze()),
            Err(error) => {
                let mut failure = transport(system, what, error);
                // The answer had begun: the request did reach the system.
                failure.repeat = Repeat::IfSafe;
                return Err(failure);
            }
        }
    }
}
