//! What goes wrong with a request: the kind of error, and whether trying again may help.
//!
//! Messages name the system, the method and the path's fixed words; never a query, a body or a credential.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use lockstep_core::{Error, Kind};
use reqwest::header::HeaderMap;

use crate::wait;

/// An answer whose status is an error, for the connector that knows what its body means.
///
/// Neither `Display` nor `Debug` shows the body.
#[derive(Clone)]
pub struct HttpError {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as far as the limit goes.
    pub body: Bytes,
}

impl HttpError {
    /// The answer under an error, where there is one.
    #[must_use]
    pub fn of(error: &Error) -> Option<&HttpError> {
        std::error::Error::source(error)?.downcast_ref()
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {} with {} bytes", self.status, self.body.len())
    }
}

impl fmt::Debug for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for HttpError {}

/// Whether a failed request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It would fail again.
    Never,
    /// It may have been carried out.
    IfSafe,
    /// It never reached the system.
    Always,
}

/// A failed try of a request.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) repeat: Repeat,
    pub(crate) status: Option<u16>,
    /// How long the system asks to wait.
    pub(crate) wait: Option<Duration>,
}

impl Failure {
    pub(crate) fn never(error: Error) -> Self {
        Failure {
            error,
            repeat: Repeat::Never,
            status: None,
            wait: None,
        }
    }
}

/// A request that got no answer, or an answer that was cut.
pub(crate) fn transport(system: &str, what: &str, error: reqwest::Error) -> Failure {
    // The address holds the query, and that may hold anything.
    let error = error.without_url();
    if let Some(untrusted) = certificate(&error) {
        let error = Error::config(format!(
            "the certificate of system `{system}` is not trusted"
        ))
        .because(untrusted)
        .help("check the address; for an authority of your own, name its PEM file as `ca_file`");
        return Failure::never(error);
    }
    let repeat = if error.is_connect() {
        Repeat::Always
    } else {
        Repeat::IfSafe
    };
    let message = if error.is_connect() {
        format!("system `{system}` cannot be reached")
    } else if error.is_timeout() {
        format!("system `{system}` did not answer `{what}` in time")
    } else {
        format!("the connection to system `{system}` was cut during `{what}`")
    };
    Failure {
        error: Error::transient(message).because(error),
        repeat,
        status: None,
        wait: None,
    }
}

/// The certificate error under an error, where there is one.
fn certificate(error: &(dyn std::error::Error + 'static)) -> Option<rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found @ rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return Some(found.clone());
        }
        // An I/O error hides what it wraps: its source is the source of that.
        let wrapped = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner as &(dyn std::error::Error + 'static)),
            None => error.source(),
        };
    }
    None
}

/// An answer whose status is an error.
pub(crate) fn refused(
    system: &str,
    what: &str,
    status: u16,
    headers: HeaderMap,
    body: Bytes,
) -> Failure {
    let asked = wait::asked(&headers, Timestamp::now());
    let kind = kind(status, &headers, asked);
    let message = format!("system `{system}` answered {status} to `{what}`");
    let mut error = Error::new(kind, message).because(HttpError {
        status,
        headers,
        body,
    });
    if let (Kind::Throttled, Some(wait)) = (kind, asked) {
        error = error.after(wait);
    }
    if let Some(help) = help(kind, status) {
        error = error.help(help);
    }
    let repeat = match kind {
        Kind::Throttled | Kind::Transient => Repeat::IfSafe,
        _ => Repeat::Never,
    };
    Failure {
        error,
        repeat,
        status: Some(status),
        wait: asked,
    }
}

fn kind(status: u16, headers: &HeaderMap, asked: Option<Duration>) -> Kind {
    match status {
        429 => Kind::Throttled,
        503 if asked.is_some() => Kind::Throttled,
        403 if headers.contains_key("retry-after") || wait::is_used_up(headers) => Kind::Throttled,
        401 | 403 => Kind::Unauthorized,
        501 => Kind::Unsupported,
        408 | 425 | 500.. => Kind::Transient,
        _ => Kind::Invalid,
    }
}

fn help(kind: Kind, status: u16) -> Option<&'static str> {
    match (kind, status) {
        (Kind::Unauthorized, 401) => {
            Some("check the credentials: they are wrong, expired or revoked")
        }
        (Kind::Unauthorized, _) => {
            Some("give these credentials the permission or scope that the request needs")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_kind() {
        let headers = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            headers
        };
        for (status, pairs, expected) in [
            (400, &[][..], Kind::Invalid),
            (401, &[], Kind::Unauthorized),
            (403, &[], Kind::Unauthorized),
            (403, &[("retry-after", "3")], Kind::Throttled),
            (403, &[("x-ratelimit-remaining", "0")], Kind::Throttled),
            (404, &[], Kind::Invalid),
            (408, &[], Kind::Transient),
            (409, &[], Kind::Invalid),
            (412, &[], Kind::Invalid),
            (429, &[], Kind::Throttled),
            (500, &[], Kind::Transient),
            (501, &[], Kind::Unsupported),
            (502, &[], Kind::Transient),
            (503, &[], Kind::Transient),
            (503, &[("retry-after", "3")], Kind::Throttled),
            (529, &[], Kind::Transient),
        ] {
            let failure = refused("crm", "GET x", status, headers(pairs), Bytes::new());
            assert_eq!(failure.error.kind(), expected, "{status} {pairs:?}");
            assert_eq!(
                HttpError::of(&failure.error).map(|e| e.status),
                Some(status)
            );
        }
    }
}
